"""Incidence and censoring in a risk set: Kaplan-Meier of censoring, Aalen-Johansen incidence, IPCW.

All functions take times > 0 and event codes 0 (censored), 1 (event), 2 (competing). At tied times events come
before censoring. Whoever is censored at c has been observed up to and including c, so the probability of being
observed at t is P(C >= t) = G(t-).

References: Aalen OO, Johansen S, Scand J Stat 1978;5:141; Graf E et al., Stat Med 1999;18:2529 (weights);
Blanche P et al., Biostatistics 2015;16:381 (competing risks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.forecast.outcomes import CENSORED, COMPETING, EVENT, known_status

Floats = NDArray[np.float64]

#: No weight is larger than this: where fewer than one in ten of a risk set would still be seen, the weight would
#: be carried by very few patients, and the window is cut instead.
MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class Steps:
    """A right-continuous step function: ``before`` until the first of ``at``, then ``height``."""

    at: Floats
    height: Floats
    before: float

    def __call__(self, time: ArrayLike) -> Floats:
        """Value at and after each time."""
        return np.r_[self.before, self.height][np.searchsorted(self.at, np.asarray(time, dtype=float), side="right")]

    def just_before(self, time: ArrayLike) -> Floats:
        """Left limit at each time."""
        return np.r_[self.before, self.height][np.searchsorted(self.at, np.asarray(time, dtype=float), side="left")]


def censoring(time_h: ArrayLike, event: ArrayLike) -> Steps:
    """G(t) = P(censoring after t), by Kaplan-Meier with the roles of event and censoring exchanged."""
    time, code = np.asarray(time_h, dtype=float), np.asarray(event)
    at, censored, gone = _counts(time, code == CENSORED, code != CENSORED)
    at_risk = len(time) - np.r_[0, np.cumsum(censored + gone)[:-1]] - gone
    factor = 1.0 - np.divide(censored, at_risk, out=np.zeros(len(at)), where=at_risk > 0)
    return Steps(at, np.cumprod(factor), 1.0)


def incidence(time_h: ArrayLike, event: ArrayLike, cause: int = EVENT) -> Steps:
    """Aalen-Johansen cumulative incidence of ``cause``, the other code competing."""
    time, code = np.asarray(time_h, dtype=float), np.asarray(event)
    other = COMPETING if cause == EVENT else EVENT
    at, mine, rest = _counts(time, code == cause, code != cause)
    _, theirs, _ = _counts(time, code == other, code != other)
    at_risk = len(time) - np.r_[0, np.cumsum(mine + rest)[:-1]]
    free = np.cumprod(1.0 - (mine + theirs) / at_risk)
    return Steps(at, np.cumsum(np.r_[1.0, free[:-1]] * mine / at_risk), 0.0)


def supported(time_h: ArrayLike, event: ArrayLike, min_followed: float = 1.0 / MAX_WEIGHT) -> float:
    """The longest window (hours) at whose end at least ``min_followed`` of a risk set would still be seen.

    Infinite when nobody is censored. Beyond it there are next to no patients known to be free of the event, and
    what happens there cannot be learned or judged.
    """
    time, code = np.asarray(time_h, dtype=float), np.asarray(event)
    curve = censoring(time, code)
    low = np.flatnonzero(curve.height < min_followed)
    return float(curve.at[low[0]]) if len(low) else float("inf")


def ipcw(
    time_h: ArrayLike, event: ArrayLike, window_h: ArrayLike, strata: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Status within the window (0/1) and weight of each row (0 where censored before its end).

    ``strata`` (the landmark, when risk sets are stacked): censoring is estimated in each of them. A window that
    reaches beyond :func:`supported` ends there; so no weight exceeds ``MAX_WEIGHT``.
    """
    time, code = np.asarray(time_h, dtype=float), np.asarray(event)
    window = np.broadcast_to(np.asarray(window_h, dtype=float), time.shape)
    groups = np.zeros(len(time)) if strata is None else np.asarray(strata)
    status, weight = np.full(len(time), np.nan), np.zeros(len(time))
    for group in np.unique(groups):
        mine = groups == group
        end = np.minimum(window[mine], supported(time[mine], code[mine]))
        status[mine] = known_status(time[mine], code[mine], end)
        weight[mine] = 1.0 / censoring(time[mine], code[mine]).just_before(np.minimum(time[mine], end))
    known = ~np.isnan(status)
    return np.where(known, status, 0.0), np.where(known, weight, 0.0)


def _counts(time: Floats, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    at, index = np.unique(time, return_inverse=True)
    counts = [np.bincount(index, mask, len(at)).astype(np.float64) for mask in (first, second)]
    return at, counts[0], counts[1]
