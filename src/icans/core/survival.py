"""Survival curves: the Kaplan-Meier estimate and the counts that all step functions of events are made of.

Ties: an event at a time precedes a censoring at the same time. Kaplan EL, Meier P, J Am Stat Assoc 1958;53:457.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CENSORED, EVENT, COMPETING = 0, 1, 2


@dataclass(frozen=True)
class Curve:
    """A right-continuous step function of time, or one for each resample.

    Attributes
    ----------
    times
        Times of the steps, rising, shape (k,).
    values
        Value from each step on, shape (..., k).
    start
        Value before the first step.
    """

    times: Floats
    values: Floats
    start: float

    def at(self, time: ArrayLike) -> Floats:
        """Value at each time, shape (..., m)."""
        return self._look_up(time, "right")

    def before(self, time: ArrayLike) -> Floats:
        """Left limit at each time, shape (..., m)."""
        return self._look_up(time, "left")

    def _look_up(self, time: ArrayLike, side: str) -> Floats:
        index = np.searchsorted(self.times, np.atleast_1d(np.asarray(time, dtype=float)), side=side)  # type: ignore[call-overload]
        first = np.full((*self.values.shape[:-1], 1), self.start)
        return np.concatenate([first, self.values], axis=-1)[..., index]


def check_outcome(time: ArrayLike, event: ArrayLike) -> tuple[Floats, Integers]:
    """Times and event codes as arrays.

    Raises
    ------
    ValueError
        Lengths differ, a time is negative or missing, or a code is not 0, 1 or 2.
    """
    t = np.asarray(time, dtype=float)
    e = np.asarray(event)
    if t.ndim != 1 or t.shape != e.shape:
        raise ValueError(f"time and event must be one-dimensional and equally long; got {t.shape} and {e.shape}")
    if not np.isfinite(t).all() or np.any(t < 0):
        raise ValueError("time must be finite and not negative")
    codes = e.astype(np.int64)
    if np.any(codes != e) or np.any((codes < CENSORED) | (codes > COMPETING)):
        raise ValueError(f"event must be 0 (censored), 1 (event) or 2 (competing); got {np.unique(e)[:10]}")
    return t, codes


def as_weights(weights: ArrayLike | None, n: int) -> Floats:
    """Frequency weights of shape (n,) or (B, n); ones where none are given.

    Raises
    ------
    ValueError
        Wrong shape, or a negative or missing weight.
    """
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, dtype=float)
    if w.ndim not in (1, 2) or w.shape[-1] != n:
        raise ValueError(f"weights must have shape ({n},) or (resamples, {n}); got {w.shape}")
    if not np.isfinite(w).all() or np.any(w < 0):
        raise ValueError("weights must be finite and not negative")
    return w


def kaplan_meier(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """Probability of having had no event of any kind (codes 1 and 2)."""
    t, e = check_outcome(time, event)
    times, at_risk, (events,) = counts(t, as_weights(weights, len(t)), [e != CENSORED])
    return Curve(times, product(events, at_risk), 1.0)


def counts(t: Floats, w: Floats, masks: list[NDArray[np.bool_]]) -> tuple[Floats, Floats, list[Floats]]:
    """Distinct times, number at risk at each, and weighted counts of each mask at each; shapes (..., k)."""
    order = np.argsort(t, kind="stable")
    times, starts = np.unique(t[order], return_index=True)
    sorted_weights = w[..., order]
    at_times = np.add.reduceat(sorted_weights, starts, axis=-1)
    at_risk = np.cumsum(at_times[..., ::-1], axis=-1)[..., ::-1]
    sums = [np.add.reduceat(sorted_weights * mask[order], starts, axis=-1) for mask in masks]
    return times, at_risk, sums


def ratio(part: Floats, whole: Floats) -> Floats:
    """Part of the whole; 0 where the whole is nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 1e-12)


def product(leaving: Floats, at_risk: Floats) -> Floats:
    """Share that has stayed after each time."""
    staying = 1.0 - np.clip(ratio(leaving, at_risk), 0.0, 1.0)
    return np.asarray(np.cumprod(staying, axis=-1), dtype=np.float64)
