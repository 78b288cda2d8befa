"""The density of one patient's random effects given data and population, for many sets at once.

Everything happens in whitened effects z with ``b = root z`` and ``z ~ N(0, 1)`` before data: the prior has no shape
left, and a variance that an estimator let collapse to 0 does no harm. With latent classes a set also has a class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.population.nlme.likelihood import Bound, covariance, local, log_likelihood, means, phi_of
from icans.population.nlme.population import Population

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOG_2PI = float(np.log(2.0 * np.pi))
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
        """Whitened effects of random effects, (..., D); 0 in directions that do not vary."""
        return np.asarray(b @ np.linalg.pinv(self.root).T)

    def phi(self, z: Array, who: Ints, cls: Ints) -> Array:
        """Individual parameters on their scales, (M, O, P)."""
        return phi_of(self.bound, self.mean[cls, who], self.b(z))

    def log_likelihood(self, z: Array, who: Ints, cls: Ints) -> Array:
        """Log-likelihood of the observations, (M,)."""
        out = np.empty(len(z))
        for low in range(0, len(z), CHUNK):
            at = slice(low, low + CHUNK)
            chosen = self.bound.rows.select(who[at])
            out[at] = log_likelihood(self.bound, self.population, self.phi(z[at], who[at], cls[at]), chosen)
        return out

    def prior(self, z: Array, cls: Ints) -> Array:
        """Log density of effects and classes before data, (M,)."""
        return np.asarray(-0.5 * (z * z).sum(axis=-1) - 0.5 * self.size * LOG_2PI + np.log(self.population.shares)[cls])

    def slopes(self, z: Array, who: Ints, cls: Ints) -> tuple[Array, Array, Array]:
        """Log-likelihood (M,), its derivatives by z (M, D) and the information on z (M, D, D)."""
        logp, score = np.empty(len(z)), np.empty((len(z), self.size))
        information = np.empty((len(z), self.size, self.size))
        for low in range(0, len(z), CHUNK):
            at = slice(low, low + CHUNK)
            chosen = self.bound.rows.select(who[at])
            here = local(self.bound, self.population, self.phi(z[at], who[at], cls[at]), chosen)
            by, info = here.by_b(self.bound)
            logp[at], score[at], information[at] = here.logp, by @ self.root, self.root.T @ info @ self.root
        return logp, score, information


def make_target(bound: Bound, population: Population) -> Target:
    """The density of a bound model at a population."""
    value, vector = np.linalg.eigh(covariance(bound, population)) if bound.size else (np.zeros(0), np.zeros((0, 0)))
    root = vector * np.sqrt(np.maximum(value, 0.0))
    mean = np.stack([means(bound, population, c) for c in range(len(population.shares))])
    return Target(bound, population, root, mean)


def of_class(population: Population, cls: int) -> Population:
    """The population of one class alone."""
    none = np.zeros((1, population.shifts.shape[1]))
    return replace(population, typical=population.typical + population.shifts[cls], shares=np.ones(1), shifts=none)


def class_shares(log_evidence: Array, population: Population) -> Array:
    """Probabilities of classes (N, C) from the log evidence of each (N, C)."""
    joint = log_evidence + np.log(population.shares)
    joint = np.where(np.isfinite(joint), joint, -1e300)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))
