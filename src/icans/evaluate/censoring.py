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
from icans.core.survival import (
    CENSORED,
    COMPETING,
    EVENT,
    Curve,
    Floats,
    Integers,
    as_weights,
    check_outcome,
    counts,
    kaplan_meier,
    product,
    ratio,
)

__all__ = [
    "CENSORED", "COMPETING", "EVENT", "Curve", "Floats", "HorizonStatus", "Integers", "aalen_johansen", "as_weights",
    "censoring_curve", "check_outcome", "horizon_status", "kaplan_meier", "pseudo_values", "require_status",
]  # fmt: skip


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


def censoring_curve(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """Probability of not yet being censored; events leave the risk set before censorings at the same time."""
    t, e = check_outcome(time, event)
    w = as_weights(weights, len(t))
    times, at_risk, (events, censored) = counts(t, w, [e != CENSORED, e == CENSORED])
    return Curve(times, product(censored, at_risk - events), 1.0)


def aalen_johansen(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None = None, cause: int = EVENT) -> Curve:
    """Cumulative incidence of one cause in the presence of the other."""
    t, e = check_outcome(time, event)
    times, at_risk, (mine, every) = counts(t, as_weights(weights, len(t)), [e == cause, e != CENSORED])
    free = product(every, at_risk)
    before = np.concatenate([np.ones((*free.shape[:-1], 1)), free[..., :-1]], axis=-1)
    return Curve(times, np.cumsum(before * ratio(mine, at_risk), axis=-1), 0.0)


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
