"""A fast approximate posterior of very many patients at once: the normal distribution nearest to each posterior.

Starts at the Laplace approximation and maximises the evidence bound by natural gradients (Opper and Archambeau 2009,
doi 10.1162/neco.2008.08-07-592): at the optimum the mean score is 0 and the precision is the mean curvature, both
averaged over the normal itself at a few even points (with their mirror images, so that odd errors cancel). Curvature is
that of Gauss and Newton, so precisions are always positive. Each iteration is one batched solve of all patients who
still move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import qmc

from icans.core.random import stream
from icans.population.fit.modes import Modes, find_modes, prior_precision
from icans.population.fit.result import RandomEffects
from icans.population.nlme.likelihood import Bound, local, means, phi_of
from icans.population.nlme.population import Population
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Step of the natural gradient; change (SDs) at which a patient has arrived; sets solved together.
STEP, ARRIVED, CHUNK = 0.7, 0.02, 4096


@dataclass(frozen=True)
class Variational:
    """Of N patients: ``mean`` (N, D), ``covariance`` (N, D, D), who ``arrived``, ``iterations`` of the slowest;
    ``bound``: lower bound of each one's log evidence up to Monte Carlo error (N,); ``failed``: patient -> why.
    """

    mean: Array
    covariance: Array
    bound: Array
    arrived: npt.NDArray[np.bool_]
    iterations: int
    failed: dict[str, str]

    def effects(self) -> RandomEffects:
        """As the random effects of a :class:`~icans.population.fit.result.Fit`."""
        return RandomEffects(self.mean, self.covariance, "variational", self.failed)


def variational_posterior(
    bound: Bound, population: Population, seed: int, *, points: int = 16, iterations: int = 15,
    modes: Modes | None = None, cls: int = 0,
) -> Variational:  # fmt: skip
    """Normal approximations of the random effects of all patients (of class ``cls`` of a mixture).

    ``points``: evaluations of a patient per iteration, half of them mirror images. ``modes``: where to begin, found if
    None. Patients without a likelihood keep the population and are named.
    """
    found = modes or find_modes(bound, population, cls=cls, tolerance=1e-3)
    n, d = len(bound), bound.size
    prior, constant = prior_precision(bound, population)
    centre, precision = found.mode.copy(), found.precision.copy()
    arrived = np.array([not np.isfinite(h) for h in found.log_joint]) | (d == 0)
    base = means(bound, population, cls)
    noise = _points(d, points, seed)
    lower = found.log_evidence.copy()
    done = 0
    while done < iterations and not arrived.all():
        done += 1
        at = np.flatnonzero(~arrived)
        root = np.swapaxes(np.linalg.inv(np.linalg.cholesky(precision[at])), 1, 2)
        b = centre[at][:, None] + np.einsum("nde,ke->nkd", root, noise)
        logp, score, information = _average(bound, population, base, at, b, prior)
        half = 0.5 * np.einsum("nkd,de,nke->nk", b, prior, b).mean(axis=1)
        spread = -np.linalg.slogdet(precision[at])[1]
        lower[at] = logp - half + constant + 0.5 * (spread + d * (1.0 + LOG_2PI))
        wanted = information + prior
        move = np.linalg.solve(wanted, score[..., None])[..., 0]
        change = np.sqrt(np.maximum(np.einsum("nd,nde,ne->n", move, precision[at], move), 0.0))
        # No step longer than one SD, however wrong the curvature is.
        centre[at] += STEP * move / np.maximum(1.0, change)[:, None]
        widths = np.diagonal(wanted, axis1=1, axis2=2) / np.diagonal(precision[at], axis1=1, axis2=2)
        precision[at] += STEP * (wanted - precision[at])
        arrived[at] = (change < ARRIVED) & (np.abs(np.log(widths)).max(axis=1, initial=0.0) < 4.0 * ARRIVED)
    covariance = np.linalg.inv(precision) if d else np.zeros((n, 0, 0))
    failed = {i: why for i, why in found.failed.items() if not np.isfinite(found.log_joint[bound.records.ids.index(i)])}
    return Variational(centre, np.asarray(covariance), lower, arrived, done, failed)


def _points(d: int, points: int, seed: int) -> Array:
    """Even standard normal points (K, D) with their mirror images, scaled to unit variance in every direction."""
    half = max(1, points // 2)
    if d == 0:
        return np.zeros((2 * half, 0))
    sampler = qmc.Sobol(d, scramble=True, rng=stream(seed, "variational"))
    x = ndtri(np.clip(sampler.random_base2(int(np.ceil(np.log2(half))))[:half], 1e-9, 1.0 - 1e-9))
    x = np.concatenate([x, -x])
    return np.asarray(x / np.sqrt((x * x).mean(axis=0)))


def _average(
    bound: Bound, population: Population, base: Array, at: npt.NDArray[np.intp], b: Array, prior: Array
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Means over the points of b (n, K, D): log-likelihood (n,), score of the joint density (n, D), information of the
    data (n, D, D). Points that cannot be solved are left out.
    """
    n, k, d = b.shape
    who, flat = np.repeat(at, k), b.reshape(n * k, d)
    logp, score, information = np.empty(n * k), np.empty((n * k, d)), np.empty((n * k, d, d))
    for low in range(0, n * k, CHUNK):
        part = slice(low, low + CHUNK)
        phi = phi_of(bound, base[who[part]], flat[part])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            here = local(bound, population, phi, bound.rows.select(who[part]))
        logp[part] = here.logp
        score[part], information[part] = here.by_b(bound)
    score -= flat @ prior
    fine = np.isfinite(logp).reshape(n, k)
    count = np.maximum(fine.sum(axis=1), 1)
    weight = fine / count[:, None]
    logp = np.where(np.isfinite(logp), logp, 0.0).reshape(n, k)
    return (
        (weight * logp).sum(axis=1), np.einsum("nk,nkd->nd", weight, score.reshape(n, k, d)),
        np.einsum("nk,nkde->nde", weight, information.reshape(n, k, d, d)),
    )  # fmt: skip
