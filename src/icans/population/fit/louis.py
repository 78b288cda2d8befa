"""Fisher information of population parameters from draws of the conditional distribution (Louis 1982).

    I = sum over subjects of ( E[-second derivatives of the complete log density] - Cov[its score] ), given the data

(T. A. Louis, J R Stat Soc B 44:226). Complete data are latent variables and classes. Their own density is quadratic in
the latent variables, so that its expected second derivatives follow from moments; those of the observations' density,
by error parameters and by typical values that do not vary, are differences of exact scores at a few draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from icans.population.fit.kernels import Chains, Target
from icans.population.fit.priors import log_prior, slopes_like
from icans.population.fit.saem_step import Moments, residual_second, still_scores
from icans.population.nlme.likelihood import local
from icans.population.nlme.population import Packing, Population

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Draws at which second derivatives of the observations' density are taken; step of differences.
KEPT, STEP = 10, 1e-4


@dataclass
class Gathered:
    """Sums over draws at one population: scores of N subjects, their squares, and some draws themselves."""

    population: Population
    pack: Packing
    to_packed: Array
    still: Ints
    draws: int = 0
    first: Array | None = None
    second: Array | None = None
    moments: Moments | None = None
    kept: list[tuple[Array, Ints, Array]] = field(default_factory=list)

    def take(self, target: Target, chains: Chains, moments: Moments, keep: bool) -> None:
        """Add the chains' present places."""
        n = len(target.latent.bound)
        score = (complete_scores(target, chains, self.still) @ self.to_packed).reshape(-1, n, len(self.pack))
        first = score.mean(axis=0)
        second = np.einsum("rni,rnj->nij", score, score) / len(score)
        self.draws += 1
        if self.first is None or self.second is None or self.moments is None:
            self.first, self.second, self.moments = first, second, moments
        else:
            self.first += (first - self.first) / self.draws
            self.second += (second - self.second) / self.draws
            self.moments = self.moments.towards(moments, 1.0 / self.draws)
        if keep:
            self.kept.append((chains.v.copy(), chains.z.copy(), chains.f.copy()))


def gather(population: Population, pack: Packing, still: Ints, target: Target) -> Gathered:
    """Ready to take draws at a population; ``still``: coefficients of parameters that are not sampled."""
    return Gathered(population, pack, _to_packed(target, pack, population), still)


def _to_packed(target: Target, pack: Packing, population: Population) -> Array:
    """The linear map from natural derivatives (columns as :func:`complete_scores`) to packed ones."""
    vector, zero = pack.pack(population), slopes_like(population)
    rows = []
    q = target.latent.design.shape[3]
    for place in range(q):
        theta = np.zeros(q)
        theta[place] = 1.0
        rows.append(pack.gradient(vector, target.latent.with_theta(zero, theta)))
    for name in ("omega", "gamma", "errors", "shares"):
        shape = getattr(population, name).shape
        for place in range(int(np.prod(shape))):
            unit = np.zeros(int(np.prod(shape)))
            unit[place] = 1.0
            rows.append(pack.gradient(vector, replace(zero, **{name: unit.reshape(shape)})))
    return np.array(rows).reshape(-1, len(pack))


def complete_scores(target: Target, chains: Chains, still: Ints) -> Array:
    """Derivatives of every chain's complete log density by natural values: coefficients, Omega, Gamma, errors, shares;
    shape (M, all of them).
    """  # fmt: skip
    latent, population, m = target.latent, target.population, len(chains.v)
    d, k = population.omega.shape[0], population.gamma.shape[0]
    pull = (chains.v - target.mean(chains.z)) @ target.precision
    theta = np.einsum("mdq,md->mq", latent.design[chains.z, target.who], pull)
    if len(still):
        theta[:, still] = still_scores(target, chains, still)[0]
    eta = pull[:, :d]
    omega = 0.5 * (eta[:, :, None] * eta[:, None, :] - target.precision[:d, :d])
    gamma = np.zeros((m, k, k))
    for o in range(latent.bound.occasions if k else 0):
        at = slice(d + o * k, d + (o + 1) * k)
        own = pull[:, at]
        there = latent.active[target.who, d + o * k]
        gamma += 0.5 * there[:, None, None] * (own[:, :, None] * own[:, None, :] - target.precision[at, at])
    phi = target.phi(chains.v, chains.z)
    errors = target.evaluator.scores(population, phi, chains.f).score
    classes = (chains.z[:, None] == np.arange(len(population.shares))) / population.shares
    return np.concatenate([theta, omega.reshape(m, -1), gamma.reshape(m, -1), errors, classes], axis=1)


def information(target: Target, gathered: Gathered) -> Array:
    """Observed information of the packed estimates (with that of declared priors), (K, K)."""
    assert gathered.first is not None
    assert gathered.second is not None
    spread = gathered.second - gathered.first[:, :, None] * gathered.first[:, None, :]
    out = -_hessian_of_latent(target, gathered) - _hessian_of_rows(target, gathered) - spread.sum(axis=0)
    return np.asarray(0.5 * (out + out.T))


def score_information(gathered: Gathered) -> Array:
    """Information as the sum of squares of subjects' scores (Delattre and Kuhn 2023): positive, for many subjects."""
    assert gathered.first is not None
    return np.asarray(gathered.first.T @ gathered.first)


def _hessian_of_latent(target: Target, gathered: Gathered) -> Array:
    """Second derivatives of the expected log density of latent variables, classes and priors."""
    pack, vector = gathered.pack, gathered.pack.pack(gathered.population)
    out = np.empty((len(pack), len(pack)))
    for j in range(len(pack)):
        step = np.zeros(len(pack))
        step[j] = STEP
        out[j] = _latent_slope(target, gathered, vector + step) - _latent_slope(target, gathered, vector - step)
    out /= 2.0 * STEP
    return 0.5 * (out + out.T)


def _latent_slope(target: Target, gathered: Gathered, vector: Array) -> Array:
    latent, moments = target.latent, gathered.moments
    assert moments is not None
    population = gathered.pack.unpack(vector)
    precision, means = latent.precision(population), latent.mean(population)
    d, k, n = population.omega.shape[0], population.gamma.shape[0], len(latent.bound)
    theta = np.zeros(latent.design.shape[3])
    for c, design in enumerate(latent.design):
        away = moments.first[c] - moments.weight[c][:, None] * means[c]
        theta += np.einsum("ndq,nd->q", design, away @ precision)
    pulled = precision @ residual_second(latent, moments, means).sum(axis=0) @ precision
    omega = 0.5 * (pulled[:d, :d] - n * precision[:d, :d])
    gamma = np.zeros((k, k))
    for o in range(latent.bound.occasions if k else 0):
        at = slice(d + o * k, d + (o + 1) * k)
        gamma += 0.5 * (pulled[at, at] - latent.active[:, d + o * k].sum() * precision[at, at])
    by = replace(
        latent.with_theta(slopes_like(population), theta), omega=omega, gamma=gamma,
        shares=moments.weight.sum(axis=1) / population.shares,
    )  # fmt: skip
    prior = log_prior(latent.bound.model, population).by
    total = Population(**{name: getattr(by, name) + getattr(prior, name) for name in (
        "typical", "effects", "omega", "gamma", "errors", "shares", "shifts")})  # fmt: skip
    return gathered.pack.gradient(vector, total)


def _hessian_of_rows(target: Target, gathered: Gathered) -> Array:
    """Second derivatives of the expected log density of observations given latent variables."""
    pack, vector = gathered.pack, gathered.pack.pack(gathered.population)
    out = np.zeros((len(pack), len(pack)))
    kept = gathered.kept
    for j in range(len(pack)):
        step = np.zeros(len(pack))
        step[j] = STEP
        if not _touches_rows(target, gathered, vector + step):
            continue
        for draw in kept:
            high = _rows_slope(target, gathered, vector + step, draw)
            out[j] += (high - _rows_slope(target, gathered, vector - step, draw)) / (2.0 * STEP * len(kept))
    return out


def _touches_rows(target: Target, gathered: Gathered, vector: Array) -> bool:
    there, still = gathered.pack.unpack(vector), gathered.still
    change = target.latent.theta(there)[still] - target.latent.theta(gathered.population)[still]
    return bool(np.any(there.errors != gathered.population.errors) or np.any(change != 0.0))


def _rows_slope(target: Target, gathered: Gathered, vector: Array, draw: tuple[Array, Ints, Array]) -> Array:
    population, (v, z, f) = gathered.pack.unpack(vector), draw
    latent, n = target.latent, len(target.latent.bound)
    there = Target(latent, target.evaluator, population)
    chains = Chains(v, z, f, np.zeros(len(v)))
    theta = np.zeros(latent.design.shape[3])
    if len(gathered.still):
        theta[gathered.still] = still_scores(there, chains, gathered.still)[0].sum(axis=0)
        errors = local(latent.bound, population, there.phi(v, z), target.evaluator.chosen).errors
    else:
        errors = target.evaluator.scores(population, there.phi(v, z), f).score
    repeats = len(v) // n
    by = replace(latent.with_theta(slopes_like(population), theta / repeats), errors=errors.sum(axis=0) / repeats)
    return gathered.pack.gradient(vector, by)
