"""Pareto-smoothed importance weights, many sets at once.

Vehtari, Simpson, Gelman, Yao, Gabry 2024, J Mach Learn Res 25:72 (PSIS); the generalised Pareto distribution is fitted
after Zhang and Stephens 2009, Technometrics 51:316, doi 10.1198/tech.2009.08017.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Array = npt.NDArray[np.float64]

#: Above this k-hat importance weights are not to be trusted.
TRUSTED = 0.7
#: Weight of the prior of k (at 0.5), in draws, and the constant of Zhang and Stephens' grid.
PRIOR_DRAWS, GRID = 10.0, 3.0


def smoothed(log_weights: Array) -> tuple[Array, Array]:
    """Smoothed, normalised log weights (n, S) of raw ones (n, S), and k-hat (n,).

    k-hat is 0 where the largest weights are all equal, and infinite where fewer than five draws have any weight.
    Weights of minus infinity stay so.
    """
    n, size = log_weights.shape
    out = normalised(log_weights)
    tail = int(min(0.2 * size, 3.0 * np.sqrt(size)))
    k_hat = np.full(n, np.inf)
    if size <= tail or tail < 5:
        return out, k_hat
    order = np.argsort(out, axis=1, kind="stable")
    ranked = np.take_along_axis(out, order, axis=1)
    top = ranked[:, -1:]
    enough = np.isfinite(ranked[:, -tail])
    with np.errstate(invalid="ignore"):
        cut = np.exp(np.maximum(ranked[:, -tail - 1 : -tail] - top, -700.0))
        excess = np.exp(ranked[:, -tail:] - top) - cut
    enough &= np.isfinite(log_weights).any(axis=1)
    flat = enough & ~(excess[:, -1] > 1e-12)
    k_hat[flat] = 0.0
    at = np.flatnonzero(enough & ~flat)
    if len(at):
        k, sigma = pareto_fit(np.maximum(excess[at], 0.0))
        k_hat[at] = k
        p = (np.arange(tail) + 0.5) / tail
        mended = np.log(np.minimum(_pareto_quantile(p, k, sigma) + cut[at], 1.0))
        ranked[at, -tail:] = mended + top[at]
        mine = out[at]
        np.put_along_axis(mine, order[at], ranked[at], axis=1)
        out[at] = mine
    return normalised(out), k_hat


def normalised(log_weights: Array) -> Array:
    """Log weights (n, S) that sum to 1; uniform where none is finite."""
    whole = logsumexp(log_weights, axis=1, keepdims=True)
    return np.where(np.isfinite(whole), log_weights - np.where(np.isfinite(whole), whole, 0.0),
                    -np.log(log_weights.shape[1]))  # fmt: skip


def effective(log_weights: Array) -> Array:
    """Effective number of draws of normalised log weights (n, S): ``1 / sum w^2``, shape (n,)."""
    return np.asarray(np.exp(-logsumexp(2.0 * log_weights, axis=1)))


def pareto_fit(excess: Array) -> tuple[Array, Array]:
    """Shape k (regularised) and scale of the generalised Pareto distribution of rows (n, m), each ascending."""
    m = excess.shape[1]
    count = 30 + int(np.sqrt(m))
    grid = 1.0 - np.sqrt(count / (np.arange(1, count + 1) - 0.5))
    quartile = np.maximum(excess[:, int(m / 4 + 0.5) - 1], 1e-300)
    b = grid[None, :] / (GRID * quartile[:, None]) + 1.0 / excess[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.log1p(-b[:, :, None] * excess[:, None, :]).mean(axis=2)
        profile = m * (np.log(-(b / k)) - k - 1.0)
    profile = np.where(np.isfinite(profile), profile, -np.inf)
    weight = np.exp(profile - logsumexp(profile, axis=1, keepdims=True))
    best = np.where(weight > 10 * np.finfo(float).eps, b * weight, 0.0).sum(axis=1)
    shape = np.log1p(-best[:, None] * excess).mean(axis=1)
    sigma = -shape / best
    return (m * shape + PRIOR_DRAWS * 0.5) / (m + PRIOR_DRAWS), sigma


def _pareto_quantile(p: Array, k: Array, sigma: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = sigma[:, None] * np.expm1(-k[:, None] * np.log1p(-p)[None]) / k[:, None]
    return np.asarray(np.where(np.abs(k)[:, None] < 1e-12, -sigma[:, None] * np.log1p(-p)[None], curved))
