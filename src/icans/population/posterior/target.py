"""The density of one patient's random effects given data and population, for many sets at once.

Everything happens in whitened effects z with ``b = root z`` and ``z ~ N(0, 1)`` before data: the prior has no shape
left. With latent classes a set also has a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.population.nlme.likelihood import Bound, covariance, log_likelihood, means, phi_of
from icans.population.nlme.population import Population
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Sets that are solved together: bounds the memory of a call.
CHUNK = 4096


@dataclass(frozen=True)
class Target:
    """A model bound to subjects, seen as a density of z (M, D) for the subjects ``who`` (M,) in the classes ``cls``.

    ``root``: (D, D), ``b = z @ root.T``. ``mean``: (C, N, P) typical values by class.
    """

    bound: Bound
    population: Population
    root: Array
    mean: Array

    @property
    def size(self) -> int:
        """Number D of random effects."""
        return self.bound.size

    @property
    def classes(self) -> int:
        """Number C of latent classes (1 without a mixture)."""
        return len(self.mean)

    def b(self, z: Array) -> Array:
        """Random effects of whitened ones, (..., D)."""
        return np.asarray(z @ self.root.T)

    def z(self, b: Array) -> Array:
        """Whitened effects of random effects, (..., D)."""
        return np.asarray(np.linalg.solve(self.root, b.reshape(-1, self.size).T).T.reshape(b.shape))

    def phi(self, z: Array, who: Ints, cls: Ints) -> Array:
        """Individual parameters on their scales, (M, O, P)."""
        return phi_of(self.bound, self.mean[cls, who], self.b(z))

    def log_likelihood(self, z: Array, who: Ints, cls: Ints) -> Array:
        """Log-likelihood of the observations, (M,)."""
        out = np.empty(len(z))
        for low in range(0, len(z), CHUNK):
            at = slice(low, low + CHUNK)
            chosen = self.bound.rows.select(who[at])
            phi = self.phi(z[at], who[at], cls[at])
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out in a tail
                out[at] = log_likelihood(self.bound, self.population, phi, chosen)
        return out

    def prior(self, z: Array, cls: Ints) -> Array:
        """Log density of effects and classes before data, (M,)."""
        return np.asarray(-0.5 * (z * z).sum(axis=-1) - 0.5 * self.size * LOG_2PI + np.log(self.population.shares)[cls])


def make_target(bound: Bound, population: Population) -> Target:
    """The density of a bound model at a population."""
    root: Array = np.zeros((0, 0))
    if bound.size:
        root = np.asarray(np.linalg.cholesky(covariance(bound, population)))
    mean = np.stack([means(bound, population, c) for c in range(len(population.shares))])
    return Target(bound, population, root, mean)


def class_shares(log_evidence: Array, population: Population) -> Array:
    """Probabilities of classes (N, C) from the log evidence of each (N, C)."""
    joint = log_evidence + np.log(population.shares)
    joint = np.where(np.isfinite(joint), joint, -1e300)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))
