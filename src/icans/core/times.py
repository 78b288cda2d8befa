"""Time: hours since infusion inside, days on display. The infusion is time 0, on day 0."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

HOURS_PER_DAY = 24.0
#: Hours in the units that data sets count time in.
TIME_UNITS_H = {"s": 1 / 3600.0, "min": 1 / 60.0, "h": 1.0, "d": 24.0, "wk": 168.0}

T = TypeVar("T", float, npt.NDArray[np.float64])


def days(time_h: T) -> T:
    """Hours since infusion as days since infusion (the infusion day is day 0)."""
    return time_h / HOURS_PER_DAY


def hours(time_d: T) -> T:
    """Days since infusion as hours since infusion."""
    return time_d * HOURS_PER_DAY


def day_number(time_h: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The whole day that a time falls in: 0 <= t < 24 h is day 0, -24 <= t < 0 is day -1."""
    return np.floor(np.asarray(time_h, dtype=float) / HOURS_PER_DAY).astype(np.int64)


def show(time_h: float) -> str:
    """A time for people: ``day 3.5`` (days since infusion, at most two decimals)."""
    value = time_h / HOURS_PER_DAY
    return f"day {value:.2f}".rstrip("0").rstrip(".")
