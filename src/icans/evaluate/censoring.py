"""Survival, censoring and incidence curves, and inverse-probability-of-censoring weights.

Ties: an event at a time precedes a censoring at the same time. So a patient censored exactly at the horizon is
known to be event-free there, and the weight of an event at T uses the censoring curve just before T.

References: Kaplan EL, Meier P, J Am Stat Assoc 1958;53:457; Aalen OO, Johansen S, Scand J Stat 1978;5:141;
Graf E et al., Stat Med 1999;18:2529 (weights); Blanche P et al., Stat Med 2013;32:5381, doi 10.1002/sim.5958
(competing events as controls); Andersen PK, Perme MP, Stat Methods Med Res 2010;19:71 (pseudo-values).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError

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


@dataclass(frozen=True)
class HorizonStatus:
    """What is known at the horizon, as weights that make up for the censored.

    Attributes
    ----------
    case
        Weight of each patient as a case (event by the horizon), shape (..., n).
    control
        Weight of each patient as a control (event-free, or competing event first), shape (..., n).
    """

    case: Floats
    control: Floats

    @property
    def total(self) -> Floats:
        """Case plus control weight, shape (..., n); its sum is the number of patients."""
        return self.case + self.control

    @property
    def incidence(self) -> Floats:
        """Weighted share of cases: equals the Aalen-Johansen incidence at the horizon."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.case.sum(axis=-1) / self.total.sum(axis=-1)


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
    times, at_risk, (events,) = _counts(t, as_weights(weights, len(t)), [e != CENSORED])
    return Curve(times, _product(events, at_risk), 1.0)


def censoring_curve(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """Probability of not yet being censored; events leave the risk set before censorings at the same time."""
    t, e = check_outcome(time, event)
    w = as_weights(weights, len(t))
    times, at_risk, (events, censored) = _counts(t, w, [e != CENSORED, e == CENSORED])
    return Curve(times, _product(censored, at_risk - events), 1.0)


def aalen_johansen(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None = None, cause: int = EVENT) -> Curve:
    """Cumulative incidence of one cause in the presence of the other."""
    t, e = check_outcome(time, event)
    times, at_risk, (mine, every) = _counts(t, as_weights(weights, len(t)), [e == cause, e != CENSORED])
    free = _product(every, at_risk)
    before = np.concatenate([np.ones((*free.shape[:-1], 1)), free[..., :-1]], axis=-1)
    return Curve(times, np.cumsum(before * _ratio(mine, at_risk), axis=-1), 0.0)


def horizon_status(
    time: ArrayLike, event: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> HorizonStatus:
    """Case and control weights at the horizon (times frequency weights).

    An event or competing event at T <= horizon counts 1/G(T-), a patient followed to the horizon without either
    counts 1/G(horizon-), a patient censored before it counts 0; G is the Kaplan-Meier curve of censoring.
    Where nobody's status at the horizon is known beyond doubt (G is 0), the weights of that resample are NaN.
    """
    t, e = check_outcome(time, event)
    if not horizon > 0:
        raise ValueError(f"horizon must be positive; got {horizon}")
    w = as_weights(weights, len(t))
    curve = censoring_curve(t, e, w)
    happened = (t <= horizon) & (e != CENSORED)
    followed = ~happened & (t >= horizon)
    known = happened | followed
    probability = curve.before(np.minimum(t, horizon))
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(known & (w > 0), w / probability, 0.0)
    lost = (w * followed).sum(axis=-1) == 0
    short = np.asarray(lost & _follow_up_too_short(t, e, w, horizon))
    weight = np.where(short[..., None], np.nan, weight)
    return HorizonStatus(weight * (happened & (e == EVENT)), weight * (followed | (happened & (e == COMPETING))))


def _follow_up_too_short(t: Floats, e: Integers, w: Floats, horizon: float) -> NDArray[np.bool_]:
    """True where the last patient under observation was censored before the horizon."""
    present = w > 0
    last = np.where(present, t, -np.inf).max(axis=-1)
    censored_last = (present & (t == last[..., None]) & (e == CENSORED)).any(axis=-1)
    return np.asarray((last < horizon) & censored_last)


def require_status(status: HorizonStatus, horizon: float) -> None:
    """Raise when the sample itself (not a resample) cannot say anything at the horizon.

    Raises
    ------
    NotEstimableError
        Follow-up ends before the horizon, or there are no cases, or no controls.
    """
    if np.isnan(status.total).any():
        raise NotEstimableError(f"nobody was followed to the horizon {horizon:g}; choose a shorter one")
    if not status.case.any() or not status.control.any():
        kind = "event" if not status.case.any() else "patient without the event"
        raise NotEstimableError(f"there is no {kind} by the horizon {horizon:g}")


def pseudo_values(time: ArrayLike, event: ArrayLike, horizon: float, cause: int = EVENT) -> Floats:
    """Jackknife pseudo-values of the cumulative incidence at the horizon, shape (n,); their mean estimates it."""
    t, e = check_outcome(time, event)
    n = len(t)
    full = aalen_johansen(t, e, cause=cause).at(horizon)[0]
    left_out = aalen_johansen(t, e, np.ones((n, n)) - np.eye(n), cause).at(horizon)[:, 0]
    return n * full - (n - 1) * left_out


def _counts(t: Floats, w: Floats, masks: list[NDArray[np.bool_]]) -> tuple[Floats, Floats, list[Floats]]:
    """Distinct times, number at risk at each, and weighted counts of each mask at each; shapes (..., k)."""
    order = np.argsort(t, kind="stable")
    times, starts = np.unique(t[order], return_index=True)
    sorted_weights = w[..., order]
    at_times = np.add.reduceat(sorted_weights, starts, axis=-1)
    at_risk = np.cumsum(at_times[..., ::-1], axis=-1)[..., ::-1]
    sums = [np.add.reduceat(sorted_weights * mask[order], starts, axis=-1) for mask in masks]
    return times, at_risk, sums


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 1e-12)


def _product(leaving: Floats, at_risk: Floats) -> Floats:
    staying = 1.0 - np.clip(_ratio(leaving, at_risk), 0.0, 1.0)
    return np.asarray(np.cumprod(staying, axis=-1), dtype=np.float64)
