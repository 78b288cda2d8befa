"""Markov chains over one patient's random effects, all chains of all patients in one batch.

Every step is one of two Metropolis-Hastings moves: to a fresh draw of the proposal around the mode (independence
sampler), which mixes at once where the posterior is near it, and a random walk shaped like it, which reaches what it
misses. Both need values of the model only, no derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.population.posterior.proposals import Proposal
from icans.population.posterior.target import Target

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Rate of acceptance that the random walk is tuned to (Roberts, Gelman, Gilks 1997, doi 10.1214/aoap/1034625254).
WANTED = 0.3
#: R-hat above which chains are said not to have mixed (Vehtari et al. 2021, doi 10.1214/20-BA1221).
MIXED = 1.01


@dataclass(frozen=True)
class Chains:
    """Draws of n subjects by C chains: ``z`` (n, C, T, D), ``cls`` and ``log_likelihood`` (n, C, T); shares of
    accepted moves (n,) of the independence sampler and of the random walk.
    """

    z: Array
    cls: Ints
    log_likelihood: Array
    accepted: tuple[Array, Array]


@dataclass(frozen=True)
class Streams:
    """One stream of random numbers a subject, each for ``chains`` sets: who else is in the batch does not matter."""

    subjects: Sequence[np.random.Generator]
    chains: int

    def normal(self, d: int) -> Array:
        """Standard normal (n * chains, d)."""
        return np.concatenate([g.standard_normal((self.chains, d)) for g in self.subjects])

    def uniform(self) -> Array:
        """Uniform (n * chains,)."""
        return np.concatenate([g.random(self.chains) for g in self.subjects])

    def chisquare(self, df: float) -> Array:
        """Chi-square (n * chains,)."""
        return np.concatenate([g.chisquare(df, self.chains) for g in self.subjects])


def run_chains(
    target: Target, proposal: Proposal, start: tuple[Array, Ints], at: Ints, rng: Streams, *,
    warmup: int, steps: int, thin: int = 1,
) -> Chains:  # fmt: skip
    """Chains of the subjects ``at`` (n,) from ``start``: whitened effects (n, C, D) and classes (n, C).

    ``steps`` kept steps after ``warmup``, each the last of ``thin``. The walk's length is tuned in the warm-up only.
    """
    n, chains, d = start[0].shape
    who = np.repeat(at, chains)
    z, cls = start[0].reshape(-1, d).copy(), start[1].ravel().copy()
    like = target.log_likelihood(z, who, cls)
    height = like + target.prior(z, cls)
    own = proposal.log_density(z, cls, who)
    length = np.full(len(who), 2.0 / np.sqrt(max(d, 1)))
    kept = np.empty((steps, len(who), d)), np.empty((steps, len(who)), np.int64), np.empty((steps, len(who)))
    taken, tried = np.zeros((2, len(who))), np.zeros(2)
    for t in range(warmup + steps * thin):
        walk = bool(t % 2)
        if walk:
            noise = length[:, None] * rng.normal(d)
            new_cls = cls
            new = z + np.einsum("mde,me->md", proposal.factor[who, cls], noise)
        else:
            new, new_cls = _fresh(proposal, who, rng)
        new_like = target.log_likelihood(new, who, new_cls)
        new_height = new_like + target.prior(new, new_cls)
        new_own = proposal.log_density(new, new_cls, who)
        ratio = new_height - height + (0.0 if walk else own - new_own)
        go = np.log(rng.uniform()) < np.where(np.isnan(ratio), -np.inf, ratio)
        z[go], cls = new[go], np.where(go, new_cls, cls)
        like, height, own = np.where(go, new_like, like), np.where(go, new_height, height), np.where(go, new_own, own)
        if t < warmup and walk:
            length *= np.exp((go - WANTED) / np.sqrt(1.0 + 0.5 * t))
        if t >= warmup:
            taken[int(walk)] += go
            tried[int(walk)] += 1.0
            place, last = divmod(t - warmup, thin)
            if last == thin - 1:
                kept[0][place], kept[1][place], kept[2][place] = z, cls, like
    shape = (steps, n, chains)
    rates = (taken / np.maximum(tried, 1.0)[:, None]).reshape(2, n, chains).mean(axis=2)
    return Chains(
        np.moveaxis(kept[0].reshape(*shape, d), 0, 2), np.moveaxis(kept[1].reshape(shape), 0, 2),
        np.moveaxis(kept[2].reshape(shape), 0, 2), (rates[0], rates[1]),
    )  # fmt: skip


def _fresh(proposal: Proposal, who: Ints, rng: Streams) -> tuple[Array, Ints]:
    """One draw of the proposal for every set."""
    d = proposal.centre.shape[2]
    share = proposal.share[who]
    cls = (rng.uniform()[:, None] > np.cumsum(share, axis=1)[:, :-1]).sum(axis=1).astype(np.int64)
    noise = rng.normal(d)
    if np.isfinite(proposal.df):
        noise *= np.sqrt(proposal.df / rng.chisquare(proposal.df))[:, None]
    return proposal.place(noise, cls, who), cls


def mixing(draws: Array) -> tuple[float, float, float]:
    """Largest rank-normalised R-hat, smallest bulk and tail effective sample size of draws (chains, steps, D)."""
    from arviz_stats.base.array import array_stats

    if draws.shape[2] == 0:
        return 1.0, float(draws.shape[0] * draws.shape[1]), float(draws.shape[0] * draws.shape[1])
    moved = np.moveaxis(draws, 2, 0)
    flat = np.ptp(moved, axis=(1, 2)) <= 0.0
    moved = moved[~flat]
    if len(moved) == 0:
        return float("inf"), 0.0, 0.0
    rhat = np.atleast_1d(array_stats.rhat(moved, chain_axis=1, draw_axis=2))
    bulk = np.atleast_1d(array_stats.ess(moved, chain_axis=1, draw_axis=2, method="bulk"))
    tail = np.atleast_1d(array_stats.ess(moved, chain_axis=1, draw_axis=2, method="tail", prob=0.9))
    return float(rhat.max()), float(bulk.min()), float(tail.min())
