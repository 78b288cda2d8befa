"""The log-likelihood by importance sampling, with its Monte Carlo error.

Random effects are drawn from multivariate t distributions around each subject's conditional mean or mode (Kuhn and
Lavielle 2005, section 4; t with few degrees of freedom bounds the weights). Without random effects it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from icans.core.random import stream
from icans.population.fit.evaluator import Evaluator
from icans.population.fit.modes import find_modes
from icans.population.fit.result import RandomEffects
from icans.population.nlme.likelihood import Bound, means, phi_of, prior_logp
from icans.population.nlme.population import Population

Array = npt.NDArray[np.float64]

#: Degrees of freedom of the proposals; sets solved together; SD of a proposal in SDs of the approximation.
FREEDOM, TOGETHER, WIDER = 5.0, 20_000, 1.0


@dataclass(frozen=True)
class Importance:
    """Of N subjects: ``log_likelihood`` (N,), Monte Carlo SE ``se`` (N,), effective draws ``effective`` (N,)."""

    log_likelihood: Array
    se: Array
    effective: Array

    @property
    def total(self) -> float:
        """Of all subjects."""
        return float(self.log_likelihood.sum())

    @property
    def total_se(self) -> float:
        """Monte Carlo standard error of the total."""
        return float(np.sqrt((self.se**2).sum()))


def importance_likelihood(
    bound: Bound, population: Population, effects: RandomEffects | None, seed: int, draws: int = 1000
) -> Importance:
    """The log-likelihood of every subject.

    Parameters
    ----------
    effects
        Centres and covariances of the proposals, (N, D) and (N, D, D); modes are found where it is None, and always
        for the classes of a mixture, whose likelihoods are summed.
    draws
        Per subject and class.
    """
    n, d = len(bound), bound.size
    parts, weights = [], []
    single = len(population.shares) == 1
    for c, share in enumerate(population.shares):
        mean = means(bound, population, c)
        if d == 0:
            every = Evaluator(bound, np.arange(n))
            phi = phi_of(bound, mean, np.zeros((n, 0)))
            logs = every.log_likelihood(population, phi, every.outputs(phi))[None]
        else:
            own = effects if effects is not None and single else find_modes(bound, population, cls=c).effects()
            logs = _draws(bound, population, mean, own, stream(seed, "importance", c), draws)
        parts.append(np.log(share) + logsumexp(logs, axis=0) - np.log(len(logs)))
        weights.append(logs)
    stacked = np.stack(parts)
    total = logsumexp(stacked, axis=0)
    variance, effective = np.zeros(n), np.full(n, np.inf)
    for part, logs in zip(stacked, weights, strict=True):
        w = np.exp(logs - logs.max(axis=0))
        if len(w) > 1:
            relative = w.var(axis=0, ddof=1) / w.mean(axis=0) ** 2 / len(w)
            variance += np.exp(2.0 * (part - total)) * relative
            effective = np.minimum(effective, w.sum(axis=0) ** 2 / (w**2).sum(axis=0))
    return Importance(total, np.sqrt(variance), effective)


def _draws(
    bound: Bound, population: Population, mean: Array, effects: RandomEffects, rng: np.random.Generator, draws: int
) -> Array:
    """Log weights, (draws, N)."""
    n, d = effects.mode.shape
    root = np.linalg.cholesky(effects.covariance) * WIDER
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    constant = gammaln(0.5 * (FREEDOM + d)) - gammaln(0.5 * FREEDOM) - 0.5 * d * np.log(FREEDOM * np.pi) - log_det
    out, at_once = [], max(1, min(draws, TOGETHER // n))
    evaluator = Evaluator(bound, np.tile(np.arange(n), at_once))
    for begin in range(0, draws, at_once):
        now = min(at_once, draws - begin)
        if now < at_once:
            evaluator = Evaluator(bound, np.tile(np.arange(n), now))
        noise = rng.standard_normal((now, n, d)) * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, (now, n)))[..., None]
        b = (effects.mode + np.einsum("nde,rne->rnd", root, noise)).reshape(now * n, d)
        log_q = constant - 0.5 * (FREEDOM + d) * np.log1p((noise**2).sum(axis=2) / FREEDOM)
        phi = phi_of(bound, mean[evaluator.who], b)
        with np.errstate(all="ignore"):
            ll = evaluator.log_likelihood(population, phi, evaluator.outputs(phi))
        out.append((ll + prior_logp(bound, population, b)).reshape(now, n) - log_q)
    return np.concatenate(out)
