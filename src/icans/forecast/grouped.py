"""Summaries of dated values in many groups at once: newest, largest, mean, slope, area ...

Rows are sorted once by (group, time); asking at another landmark only masks them, so that every statistic is one
pass over an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Dated values sorted by group, sample time, time known and value (so the order of delivery is no matter)."""

    group: NDArray[np.intp]
    time_h: Floats
    available_h: Floats
    value: Floats

    @classmethod
    def build(cls, group: NDArray[np.intp], frame: pd.DataFrame, value: Floats) -> Rows:
        """Rows of a cohort's table (columns time_h, available_h) with their groups and values."""
        time = frame["time_h"].to_numpy(dtype=float)
        available = frame["available_h"].fillna(frame["time_h"]).to_numpy(dtype=float)
        order = np.lexsort((value, available, time, group))
        return cls(group[order], time[order], available[order], value[order])

    def known(self, limit_h: Floats) -> Rows:
        """Rows available by ``limit_h`` of their group, shape (groups,)."""
        return self._where(self.available_h <= limit_h[self.group])

    def before(self, hour: float) -> Rows:
        """Rows whose sample time is before ``hour``."""
        return self._where(self.time_h < hour)

    def since(self, start_h: Floats) -> Rows:
        """Rows whose sample time is after ``start_h`` of their group."""
        return self._where(self.time_h > start_h[self.group])

    def _where(self, mask: NDArray[np.bool_]) -> Rows:
        return Rows(self.group[mask], self.time_h[mask], self.available_h[mask], self.value[mask])


def summarise(
    rows: Rows, at_h: Floats, window_h: float | None, groups: int, statistics: tuple[str, ...]
) -> dict[str, Floats]:
    """Statistics of each group's rows within ``window_h`` before ``at_h`` (None: all rows).

    ``at_h`` has shape (groups,). Groups without rows are NaN (count: 0). Slope is per day by least squares, NaN
    for a single time; area is the trapezoid between the first and the last row, value x day, 0 for a single row;
    age is days from the newest row to ``at_h``. Of rows at one time the one known last counts as newest.
    """
    if window_h is not None:
        rows = rows.since(at_h - window_h)
    size = np.bincount(rows.group, minlength=groups).astype(float)
    result: dict[str, Floats] = {}
    filled = np.flatnonzero(size)
    starts = np.flatnonzero(np.r_[True, rows.group[1:] != rows.group[:-1]]) if len(rows.group) else np.empty(0, np.intp)
    for name in statistics:
        values = np.full(groups, np.nan)
        if name == "count":
            values = size
        elif len(filled):
            values[filled] = _STATISTIC[name](rows, starts, at_h, size, filled)
        result[name] = values
    return result


def _last(rows: Rows, starts: NDArray[np.intp], *_: object) -> Floats:
    return rows.value[np.r_[starts[1:], len(rows.value)] - 1]


def _age(rows: Rows, starts: NDArray[np.intp], at_h: Floats, _size: Floats, filled: NDArray[np.intp]) -> Floats:
    return (at_h[filled] - rows.time_h[np.r_[starts[1:], len(rows.value)] - 1]) / 24.0


def _mean(rows: Rows, starts: NDArray[np.intp], _at: Floats, size: Floats, filled: NDArray[np.intp]) -> Floats:
    return np.add.reduceat(rows.value, starts) / size[filled]


def _slope(rows: Rows, starts: NDArray[np.intp], _at: Floats, size: Floats, filled: NDArray[np.intp]) -> Floats:
    count = size[filled]
    which = np.repeat(np.arange(len(starts)), count.astype(np.intp))
    day = rows.time_h / 24.0
    day = day - (np.add.reduceat(day, starts) / count)[which]
    value = rows.value - (np.add.reduceat(rows.value, starts) / count)[which]
    spread = np.add.reduceat(day * day, starts)
    # Two rows at one time leave rounding in the sum of squares; below a second there is no slope.
    several = spread > 1e-10
    return np.where(several, np.add.reduceat(day * value, starts) / np.where(several, spread, 1.0), np.nan)


def _area(rows: Rows, starts: NDArray[np.intp], *_: object) -> Floats:
    step = np.diff(rows.time_h, prepend=0.0) / 24.0 * (rows.value + np.r_[0.0, rows.value[:-1]]) / 2.0
    step[starts] = 0.0
    return np.add.reduceat(step, starts)


_STATISTIC: dict[str, Callable[..., Floats]] = {
    "last": _last,
    "age": _age,
    "max": lambda rows, starts, *_: np.maximum.reduceat(rows.value, starts),
    "min": lambda rows, starts, *_: np.minimum.reduceat(rows.value, starts),
    "mean": _mean,
    "slope": _slope,
    "area": _area,
}
