"""Risks that never fall when the horizon grows.

Models fitted for each horizon on its own may give a patient a smaller risk within seven days than within three.
The risks of a row are drawn together by isotonic regression over its windows (the closest non-decreasing sequence
in least squares; Barlow et al. 1972), which moves coherent rows not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from icans.forecast.models.base import landmarks
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Table

Floats = NDArray[np.float64]


def coherent(raw: Callable[[Horizon], Floats], table: Table, horizons: Sequence[Horizon], wanted: Horizon) -> Floats:
    """Risk within ``wanted`` for each row, made non-decreasing over ``horizons`` (which contain it)."""
    return coherent_risks(raw, table, horizons)[:, list(horizons).index(wanted)]


def coherent_risks(raw: Callable[[Horizon], Floats], table: Table, horizons: Sequence[Horizon]) -> Floats:
    """Risks within every horizon, made non-decreasing over them, shape (n, horizons)."""
    if len(table) == 0:
        return np.empty((0, len(horizons)))
    risk, at = np.stack([raw(h) for h in horizons], axis=1), landmarks(table)
    return in_order(risk, np.stack([h.window(at) for h in horizons], axis=1))


def in_order(risk: Floats, window: Floats) -> Floats:
    """Risks of rows, shape (n, horizons), made non-decreasing over their windows, hours."""
    order = np.argsort(window, axis=1, kind="stable")
    row = np.arange(len(risk))[:, None]
    smooth = np.empty_like(risk)
    smooth[row, order] = isotonic(risk[row, order])
    return smooth


def isotonic(values: Floats) -> Floats:
    """Closest non-decreasing sequence of each row, shape (n, k), by the max-min formula (k is small)."""
    falls = ~(values[:, 1:] >= values[:, :-1]).all(axis=1)  # most rows are coherent as they are
    if not falls.all():
        result = values.copy()
        if falls.any():
            result[falls] = isotonic(values[falls])
        return result
    k = values.shape[1]
    total = np.column_stack([np.zeros(len(values)), np.cumsum(values, axis=1)])
    result = np.empty_like(values)
    for i in range(k):
        best = np.full(len(values), -np.inf)
        for start in range(i + 1):
            means = [(total[:, end + 1] - total[:, start]) / (end + 1 - start) for end in range(i, k)]
            best = np.maximum(best, np.min(means, axis=0))
        result[:, i] = best
    return result
