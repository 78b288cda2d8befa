"""Markov chains of latent variables given data: all chains of all subjects move at once.

Kernels, each leaving the conditional distribution unchanged (Kuhn and Lavielle 2005, doi 10.1016/j.csda.2004.07.009):

* proposals from the population (of class and latent variables together);
* the independent proposal of f-SAEM (Karimi, Lavielle and Moulines 2020, doi 10.1016/j.csda.2019.106882): multivariate
  t around every subject's mode with the covariance of Laplace's approximation, for each class of a mixture;
* random walks along single directions, their length adapted per subject and direction;
* random walks in all directions, their length adapted per subject;
* classes given everything else (Gibbs), where a mixture's classes differ in parameters that are not sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.population.fit.evaluator import Evaluator
from icans.population.fit.latent import Latent
from icans.population.nlme.population import Population

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Acceptance aimed at: one direction, all directions. Degrees of freedom of independent proposals.
SINGLE, WHOLE, FREEDOM = 0.4, 0.3, 6.0


@dataclass
class Chains:
    """Where M chains are: ``v`` (M, D), class ``z`` (M,), outputs ``f`` (M, R), log-likelihood ``ll`` (M,)."""

    v: Array
    z: Ints
    f: Array
    ll: Array


@dataclass
class Tuning:
    """Of N subjects: ``root`` (N, D, D), columns are directions of walks; ``scale`` (N, D) and ``whole`` (N,) lengths.

    ``steps``: how often lengths were adapted. ``centre`` (C, N, D), ``spread`` (C, N, D, D) with its inverse and log
    determinant, ``odds`` (C, N): the independent proposal, None before there is one. ``accepted``: running rates.
    """

    root: Array
    scale: Array
    whole: Array
    steps: int = 0
    centre: Array | None = None
    spread: Array | None = None
    inverse: Array | None = None
    log_det: Array | None = None
    odds: Array | None = None
    rates: dict[str, Array] | None = None


class Target:
    """The conditional distribution of latent variables at one population."""

    def __init__(self, latent: Latent, evaluator: Evaluator, population: Population) -> None:
        self.latent, self.evaluator, self.population = latent, evaluator, population
        self.who = evaluator.who
        bound = latent.bound
        self.means = latent.mean(population)
        self.values = evaluator.values(population)
        self.precision = latent.precision(population)
        self._bases = latent.base(population)
        self.single = len(population.shares) == 1
        self._base = self._bases[0, self.who] if self.single else None
        self._mean = self.means[0, self.who] if self.single else None
        self._load = bound.loading.reshape(bound.occasions * len(bound.model.parameters), bound.size).T
        self._shape = (len(self.who), bound.occasions, len(bound.model.parameters))
        self.log_shares = np.log(population.shares)

    def mean(self, z: Ints) -> Array:
        """Mean of every chain's ``v``, (M, D)."""
        return self._mean if self._mean is not None else self.means[z, self.who]

    def phi(self, v: Array, z: Ints) -> Array:
        """Individual parameters on their scales, (M, O, P)."""
        base = self._base if self._base is not None else self._bases[z, self.who]
        return np.asarray((v @ self._load).reshape(self._shape) + base[:, None, :])

    def prior(self, v: Array, z: Ints) -> Array:
        """Log density of ``v`` in its class, up to a constant, (M,)."""
        from icans.population.fit.kernel_maths import log_prior

        return np.asarray(log_prior(v, self.means, z, self.precision))

    def look(self, v: Array, z: Ints) -> tuple[Array, Array]:
        """Outputs and log-likelihood of all chains."""
        phi = self.phi(v, z)
        f = self.evaluator.outputs(phi)
        return f, self.evaluator.log_likelihood(self.population, phi, f, self.values)

    def class_logits(self, v: Array) -> Array:
        """Log of share times density of ``v`` in each class, (M, C)."""
        return np.stack([
            self.log_shares[c] + self.prior(v, np.full(len(v), c)) for c in range(len(self.log_shares))
        ], axis=1)  # fmt: skip


def refresh(target: Target, chains: Chains) -> Chains:
    """The chains with outputs and likelihoods at the target's population."""
    f, ll = target.look(chains.v, chains.z)
    return Chains(chains.v, chains.z, f, ll)


def first_tuning(latent: Latent, population: Population) -> Tuning:
    """Walks along the axes, as long as the population's SDs."""
    n, d = latent.active.shape
    sd = np.sqrt(np.diag(latent.covariance(population)))
    root = np.diag(sd) * latent.active[:, :, None]
    return Tuning(root, np.ones((n, d)), np.full(n, 1.0 / np.sqrt(max(d, 1))), rates={})


def _accept(
    chains: Chains, tuning: Tuning, name: str, v: Array, z: Ints, f: Array, ll: Array, log_ratio: Array,
    rng: np.random.Generator, n: int,
) -> Array:  # fmt: skip
    """Metropolis and Hastings: the part of each subject's chains that moved, (N,); running rates are kept."""
    from icans.population.fit.kernel_maths import accept

    now: Array = accept(chains.v, chains.z, chains.f, chains.ll, v, z, f, ll, log_ratio, rng.random(len(ll)), n)
    assert tuning.rates is not None
    old = tuning.rates.get(name)
    tuning.rates[name] = now if old is None else 0.95 * old + 0.05 * now
    return now


def from_population(
    target: Target, chains: Chains, tuning: Tuning, root: Array, rng: np.random.Generator
) -> None:  # fmt: skip
    """Propose class and latent variables from the population; ``root``: of the covariance (D, D)."""
    m, n = len(target.who), len(target.means[0])
    z = chains.z if target.single else _draw(np.tile(target.population.shares, (m, 1)), rng)
    b = (rng.standard_normal((m, root.shape[0])) @ root.T) * target.latent.active[target.who]
    v = target.mean(z) + b
    f, ll = target.look(v, z)
    _accept(chains, tuning, "population", v, z, f, ll, ll - chains.ll, rng, n)


def _draw(probability: Array, rng: np.random.Generator) -> Ints:
    total = np.cumsum(probability, axis=1)
    picked = (rng.random(len(probability))[:, None] * total[:, -1:] > total[:, :-1]).sum(axis=1)
    return np.asarray(picked, dtype=np.int64)


def independent(target: Target, chains: Chains, tuning: Tuning, rng: np.random.Generator) -> None:
    """Propose around the modes (of all classes), whatever the place of the chain."""
    from icans.population.fit.kernel_maths import around, log_t

    assert tuning.centre is not None
    assert tuning.spread is not None
    assert tuning.odds is not None
    m, n = len(target.who), len(target.means[0])
    who = target.who
    z = chains.z if target.single else _draw(tuning.odds[:, who].T, rng)
    noise = rng.standard_normal(chains.v.shape) * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, m))[:, None]
    v = around(tuning.centre, tuning.spread, z, noise)
    f, ll = target.look(v, z)
    ratio = ll + target.prior(v, z) - chains.ll - target.prior(chains.v, chains.z)
    there = (tuning.centre, tuning.inverse, tuning.log_det)
    ratio += log_t(chains.v, *there, chains.z, FREEDOM) - log_t(v, *there, z, FREEDOM)
    if not target.single:
        with np.errstate(divide="ignore"):
            odds = np.log(tuning.odds)
        ratio += target.log_shares[z] - target.log_shares[chains.z] + odds[chains.z, who] - odds[z, who]
    _accept(chains, tuning, "independent", v, z, f, ll, ratio, rng, n)


def set_independent(
    tuning: Tuning, latent: Latent, centre: Array, covariance: Array, odds: Array, *, directions: bool
) -> None:
    """Take modes (C, N, D) and covariances (C, N, D, D) as the independent proposal, and as directions of walks."""
    spread = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    # Occasions that a subject does not have stay at their mean.
    spread = spread * latent.active[None, :, :, None]
    safe = np.where(latent.active[None, :, :, None], spread, np.eye(spread.shape[-1]))
    tuning.centre, tuning.spread, tuning.inverse = centre, spread, np.linalg.inv(safe)
    tuning.log_det = np.log(np.abs(np.diagonal(safe, axis1=2, axis2=3))).sum(axis=2)
    tuning.odds = np.maximum(odds, 0.02) / np.maximum(odds, 0.02).sum(axis=0)
    if directions:
        best = np.argmax(odds, axis=0)
        fresh = tuning.steps == 0
        tuning.root = spread[best, np.arange(spread.shape[1])]
        if fresh:
            tuning.scale[:] = 2.0
            tuning.whole[:] = 2.0 / np.sqrt(max(tuning.scale.shape[1], 1))


def walk_one(target: Target, chains: Chains, tuning: Tuning, j: int, rng: np.random.Generator) -> None:
    """A random walk along direction j of every subject."""
    from icans.population.fit.kernel_maths import along

    v = along(chains.v, tuning.root, tuning.scale[:, j], rng.standard_normal(len(chains.v)), j)
    now = _walked(target, chains, v, tuning, "one direction", rng)
    tuning.scale[:, j] *= np.exp(np.clip(_pace(tuning) * (now - SINGLE), -0.7, 0.7))


def walk_whole(target: Target, chains: Chains, tuning: Tuning, rng: np.random.Generator) -> None:
    """A random walk in all directions."""
    from icans.population.fit.kernel_maths import everywhere

    v = everywhere(chains.v, tuning.root, tuning.whole, rng.standard_normal(chains.v.shape))
    now = _walked(target, chains, v, tuning, "all directions", rng)
    tuning.whole *= np.exp(np.clip(_pace(tuning) * (now - WHOLE), -0.7, 0.7))


def _pace(tuning: Tuning) -> float:
    """How far lengths still adapt: less and less, so that the chains' distribution is kept."""
    return float((1.0 + tuning.steps / 50.0) ** -0.6)


def _walked(
    target: Target, chains: Chains, v: Array, tuning: Tuning, name: str, rng: np.random.Generator
) -> Array:  # fmt: skip
    f, ll = target.look(v, chains.z)
    ratio = ll - chains.ll + target.prior(v, chains.z) - target.prior(chains.v, chains.z)
    return _accept(chains, tuning, name, v, chains.z, f, ll, ratio, rng, len(target.means[0]))


def draw_classes(target: Target, chains: Chains, still: bool, rng: np.random.Generator) -> Array:
    """Gibbs step of the classes; their probabilities (M, C). ``still``: classes differ in what is not sampled, too."""
    if target.single:
        return np.ones((len(chains.v), 1))
    logits = target.class_logits(chains.v)
    options = []
    if still:
        for c in range(logits.shape[1]):
            f, ll = target.look(chains.v, np.full(len(chains.z), c))
            options.append((f, ll))
            logits[:, c] += ll
    probability = np.exp(logits - logsumexp(logits, axis=1)[:, None])
    chains.z[:] = _draw(probability, rng)
    for c, (f, ll) in enumerate(options):
        mine = chains.z == c
        chains.f[mine], chains.ll[mine] = f[mine], ll[mine]
    return np.asarray(probability)
