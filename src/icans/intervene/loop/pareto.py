"""Pareto fronts: which strategies no other beats on all counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def dominates(points: npt.ArrayLike, lower_is_better: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Whether point i is at least as good as j on every count and better on one; shape (m, m).

    Parameters
    ----------
    points
        Shape (m, counts).
    lower_is_better
        For each count.
    """
    x = np.asarray(points, dtype=float) * np.where(lower_is_better, 1.0, -1.0)
    if x.ndim != 2 or x.shape[1] != len(lower_is_better) or np.isnan(x).any():
        raise ValueError(f"points of shape (m, {len(lower_is_better)}) without NaN, not {x.shape}")
    good = (x[:, None] <= x[None, :]).all(axis=2)
    better = (x[:, None] < x[None, :]).any(axis=2)
    return np.asarray(good & better)


def front(points: npt.ArrayLike, lower_is_better: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Which points no other dominates, shape (m,)."""
    return np.asarray(~dominates(points, lower_is_better).any(axis=0))
