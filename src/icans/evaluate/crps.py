"""Scores of forecasts of quantities that may be censored: continuous ranked probability score, coverage.

A forecast is a set of weighted draws. Where an assay has limits, draws and the observation are both moved onto them:
the score is then proper for what the assay can show (a threshold-weighted CRPS, Gneiting and Ranjan 2011, J Bus Econ
Stat 29:411, doi 10.1198/jbes.2010.08110), and censored values count as far as they say something.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def crps(draws: Array, y: Array, weights: Array | None = None, low: Array | None = None,
         high: Array | None = None) -> Array:  # fmt: skip
    """CRPS of n forecasts, ``E|X - y| - E|X - X'| / 2`` (Gneiting and Raftery 2007, doi 10.1198/016214506000001437).

    Parameters
    ----------
    draws
        (n, S); ``weights`` (n, S) sum to 1 in every row (equal if None).
    y
        (n,), in the unit of the draws; a censored value is its limit.
    low, high
        (n,), limits that the assay can show (-inf, inf where there is none).
    """
    x, y, w = _prepared(draws, y, weights, low, high)
    order = np.argsort(x, axis=1)
    x, w = np.take_along_axis(x, order, axis=1), np.take_along_axis(w, order, axis=1)
    away = (w * np.abs(x - y[:, None])).sum(axis=1)
    below = np.cumsum(w, axis=1) - 0.5 * w
    spread = 2.0 * (w * x * (2.0 * below - 1.0)).sum(axis=1)
    return np.asarray(away - 0.5 * spread)


def covered(draws: Array, y: Array, level: float = 0.9, weights: Array | None = None, low: Array | None = None,
            high: Array | None = None) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Whether the central interval of each forecast holds the observation, (n,)."""
    x, y, w = _prepared(draws, y, weights, low, high)
    order = np.argsort(x, axis=1)
    x, total = np.take_along_axis(x, order, axis=1), np.cumsum(np.take_along_axis(w, order, axis=1), axis=1)
    tail = 0.5 * (1.0 - level)
    rows, last = np.arange(len(x)), x.shape[1] - 1
    bottom = x[rows, np.minimum((total < tail - 1e-12).sum(axis=1), last)]
    top = x[rows, np.minimum((total < 1.0 - tail - 1e-12).sum(axis=1), last)]
    return np.asarray((bottom <= y) & (y <= top))


def _prepared(
    draws: Array, y: Array, weights: Array | None, low: Array | None, high: Array | None
) -> tuple[Array, Array, Array]:
    x, at = np.asarray(draws, dtype=float), np.asarray(y, dtype=float)
    w = np.full(x.shape, 1.0 / x.shape[1]) if weights is None else np.asarray(weights, dtype=float)
    if low is not None:
        x, at = np.maximum(x, low[:, None]), np.maximum(at, low)
    if high is not None:
        x, at = np.minimum(x, high[:, None]), np.minimum(at, high)
    return x, at, w
