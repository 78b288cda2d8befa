"""When the event comes: distribution, quantiles, restricted means, and whether intervals cover what happened.

An event that may never come has no median: a median is given for patients whose incidence reaches one half, and,
for everybody, quantiles *given that the event comes* before the end of the grid (labelled so). The restricted mean
is the expected time free of every event up to a day tau (Royston P, Parmar MK, BMC Med Res Methodol 2013;13:152).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.incidence import MAX_WEIGHT, censoring, incidence
from icans.forecast.outcomes import EVENT

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OnsetTimes:
    """The distribution of the time to the event, row by row.

    Attributes
    ----------
    edges
        Hours from the landmark, rising from 0, shape (B + 1,).
    incidence
        Cumulative incidence of the event at the edges, shape (n, B + 1).
    free
        Probability of being free of every event at the edges, shape (n, B + 1).
    index
        Of the rows (patient_id, landmark_h).
    """

    edges: Floats
    incidence: Floats
    free: Floats
    index: pd.Index

    @property
    def chance(self) -> Floats:
        """Probability that the event comes by the last edge, shape (n,)."""
        return np.asarray(self.incidence[:, -1])

    def quantile(self, level: float, *, given_onset: bool = False) -> Floats:
        """Hours by which the incidence reaches ``level`` (NaN: it does not by the last edge), shape (n,).

        With ``given_onset`` among patients who have the event by the last edge: then it is always a number.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie between 0 and 1; got {level}")
        goal = level * self.chance if given_onset else np.full(len(self.incidence), level)
        return np.array([_reach(self.edges, curve, g) for curve, g in zip(self.incidence, goal, strict=True)])

    def interval(self, level: float = 0.9) -> tuple[Floats, Floats]:
        """The central interval of the onset, given that it comes; hours from the landmark."""
        tail = (1.0 - level) / 2.0
        return self.quantile(tail, given_onset=True), self.quantile(1.0 - tail, given_onset=True)

    def restricted_mean(self, tau_h: float) -> Floats:
        """Expected hours free of every event up to ``tau_h`` (trapezoids between edges), shape (n,).

        Raises
        ------
        ValueError
            ``tau_h`` lies beyond the last edge, where nothing was learned.
        """
        if not 0.0 < tau_h <= self.edges[-1]:
            raise ValueError(f"tau must lie between 0 and the last edge ({self.edges[-1]:g} h); got {tau_h}")
        inside = self.edges < tau_h
        grid = np.r_[self.edges[inside], tau_h]
        free = np.array([np.interp(grid, self.edges, curve) for curve in self.free])
        return np.asarray(np.trapezoid(free, grid, axis=1)) if len(free) else np.empty(0)

    def table(self) -> pd.DataFrame:
        """For people: chance, median, and the middle half and nine tenths given onset (hours from the landmark)."""
        columns = {"chance": self.chance, "median_h": self.quantile(0.5)}
        columns |= {
            f"given_onset_q{round(100 * q):02d}_h": self.quantile(q, given_onset=True)
            for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        }
        return pd.DataFrame(columns, index=self.index)


def _reach(edges: Floats, curve: Floats, goal: float) -> float:
    """First time at which a non-decreasing curve, straight between edges, reaches ``goal``."""
    if goal <= 0.0 or curve[-1] < goal:
        return float("nan")
    k = int(np.searchsorted(curve, goal, side="left"))
    rise = curve[k] - curve[k - 1]
    return float(edges[k - 1] + (edges[k] - edges[k - 1]) * (goal - curve[k - 1]) / rise)


def coverage(times: OnsetTimes, outcome: pd.DataFrame, level: float = 0.9) -> dict[str, float]:
    """How often the interval given onset held the onset, among those who had it by the last edge.

    Parameters
    ----------
    times
        For the rows of ``outcome``.
    outcome
        time_h, event, landmark_h. Onsets are weighted by 1 / P(still observed at the onset), estimated at each
        landmark, because early onsets are seen more often than late ones.

    Returns
    -------
    dict
        ``onsets`` (number seen), ``coverage``, ``below`` and ``above`` (shares of onsets before and after the
        interval). NaN without an onset.
    """
    time, code = outcome["time_h"].to_numpy(dtype=float), outcome["event"].to_numpy()
    at = outcome["landmark_h"].to_numpy(dtype=float)
    weight = np.zeros(len(time))
    for one in np.unique(at):
        mine = at == one
        seen = np.maximum(censoring(time[mine], code[mine]).just_before(time[mine]), 1.0 / MAX_WEIGHT)
        weight[mine] = 1.0 / seen
    weight *= (code == EVENT) & (time <= times.edges[-1])
    low, high = times.interval(level)
    # Bins are half-open: a time in the bin that holds a bound lies on the bound, as far as the grid can tell.
    lower = times.edges[np.maximum(np.searchsorted(times.edges, np.nan_to_num(low), side="left") - 1, 0)]
    upper = times.edges[
        np.minimum(np.searchsorted(times.edges, np.nan_to_num(high), side="left"), len(times.edges) - 1)
    ]
    total = weight.sum()
    if total == 0:
        return {"onsets": 0.0, "coverage": np.nan, "below": np.nan, "above": np.nan}
    below, above = float(weight @ (time <= lower) / total), float(weight @ (time > upper) / total)
    return {"onsets": float((weight > 0).sum()), "coverage": 1.0 - below - above, "below": below, "above": above}


def population_median(outcome: pd.DataFrame) -> float:
    """Median time to the event given that it comes, in one risk set, by Aalen-Johansen (hours); the plain rival."""
    curve = incidence(outcome["time_h"], outcome["event"], EVENT)
    if len(curve.at) == 0 or curve.height[-1] <= 0:
        return float("nan")
    return float(curve.at[np.searchsorted(curve.height, curve.height[-1] / 2.0)])
