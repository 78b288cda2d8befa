"""Stacked risk sets in bins of time: who is seen through which bin, and the hazards of each landmark's life table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.hazard_likelihood import MAX_PREDICTOR, hazards
from icans.forecast.outcomes import CENSORED, Horizon

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: With at most this many different event times each gets a bin of its own (daily grades do); with more, bins hold
#: equal shares of the events.
MAX_BINS = 40
#: Hazards are held this far off 0 and 1, so that their log odds exist.
FLOOR = 1e-9
#: Rounds of matching expected to observed events; each leaves an error of the order of the hazard times the last one.
MATCHES = 5


@dataclass(frozen=True)
class Grid:
    """Bins (edges[b], edges[b + 1]] in hours from the landmark."""

    edges: Floats

    @classmethod
    def of(cls, outcome: pd.DataFrame, horizons: Sequence[Horizon], most: int = MAX_BINS) -> Grid:
        """Bins that end at every window of the horizons and at the times of events."""
        at = np.unique(outcome["landmark_h"].to_numpy(dtype=float))
        windows = np.unique(np.concatenate([h.window(at) for h in horizons]))
        windows = windows[windows > 0]
        time = outcome["time_h"].to_numpy(dtype=float)
        times = np.unique(time[(outcome["event"].to_numpy() != CENSORED) & (time <= windows.max())])
        if len(times) > most:
            times = np.unique(np.quantile(times, np.linspace(0, 1, most + 1)[1:], method="higher"))
        return cls(np.unique(np.r_[0.0, times, windows]))

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    @property
    def middle(self) -> Floats:
        """Middle of each bin, shape (B,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2.0

    def exposure(self, outcome: pd.DataFrame, codes: Sequence[int]) -> tuple[Floats, Floats]:
        """How much of each bin a row is seen through, shape (n, B), and its event, shape (n, B, codes).

        A row with an event counts whole in the bin of the event; a censored one by the part of its last bin that it
        was seen (the actuarial rule), which is none or all of it where censoring falls on an edge.
        """
        time, code = outcome["time_h"].to_numpy(dtype=float), outcome["event"].to_numpy()
        width = np.diff(self.edges)
        seen = np.clip((time[:, None] - self.edges[None, :-1]) / width, 0.0, 1.0)
        place = np.searchsorted(self.edges, time, side="left") - 1
        event = np.zeros((len(time), self.bins, len(codes)))
        for k, wanted in enumerate(codes):
            rows = np.flatnonzero((code == wanted) & (place < self.bins))
            event[rows, place[rows], k] = 1.0
            seen[rows, place[rows]] = 1.0
        return seen, event


@dataclass(frozen=True)
class LifeTable:
    """Log odds of each kind of event in each bin, for a patient without effects of features.

    Attributes
    ----------
    at
        Landmarks, hours.
    log_odds
        Shape (landmarks, B, K).
    pooled
        Hazards of all landmarks together, shape (B, K).
    """

    at: Floats
    log_odds: Floats
    pooled: Floats

    @classmethod
    def fit(cls, landmark: Floats, seen: Floats, event: Floats, shrink: float) -> LifeTable:
        """Events over exposure in each landmark's risk set.

        Parameters
        ----------
        landmark, seen, event
            Shapes (n,), (n, B), (n, B, K).
        shrink
            Each landmark's hazard is drawn to that of all landmarks by this many rows.
        """
        at = np.unique(landmark)
        pooled = event.sum(axis=0) / np.maximum(seen.sum(axis=0), 1e-12)[:, None]
        tables = []
        for one in at:
            mine = landmark == one
            total = seen[mine].sum(axis=0)[:, None] + shrink
            tables.append((event[mine].sum(axis=0) + shrink * pooled) / np.maximum(total, 1e-12))
        hazard = np.clip(np.array(tables), FLOOR, 1.0)
        none = np.clip(1.0 - hazard.sum(axis=2, keepdims=True), 1e-6, 1.0)
        return cls(at, np.log(hazard / none), pooled)

    def matched(self, landmark: Floats, seen: Floats, event: Floats, effect: Floats, shrink: float) -> LifeTable:
        """Moved until the events expected in each landmark's bins are those that came (Breslow's estimator).

        ``effect``, shape (n, B, K), is what features add to the log odds; the other arguments are those of
        :meth:`fit`.
        """
        moved = self.log_odds.copy()
        # The rows that draw a landmark to all landmarks have no effects, and the events of all landmarks.
        prior = shrink * np.maximum(self.pooled, FLOOR)
        for k, one in enumerate(self.at):
            mine = landmark == one
            goal = event[mine].sum(axis=0) + prior
            for _ in range(MATCHES):
                hazard = hazards(np.clip(moved[k] + effect[mine], -MAX_PREDICTOR, MAX_PREDICTOR))
                plain = hazards(moved[k])
                expected = (seen[mine][..., None] * hazard).sum(axis=0) + shrink * plain
                step = np.log(np.maximum(goal, FLOOR) / np.maximum(expected, FLOOR))
                moved[k] = np.clip(moved[k] + step, -MAX_PREDICTOR, MAX_PREDICTOR)
        return LifeTable(self.at, moved, self.pooled)

    def offset(self, landmark: Floats) -> Floats:
        """Log odds for rows at these landmarks, shape (n, B, K); a landmark not seen takes the nearest one's."""
        nearest = np.argmin(np.abs(landmark[:, None] - self.at[None, :]), axis=1)
        return np.asarray(self.log_odds[nearest])
