"""The onset part of the published rival as a rung of the ladder: lasso on the largest values so far, day by day.

Before onset the hidden Markov model of Amidi et al. 2022 is in its first phase with certainty, so that the risk of a
patient without the event is that of the onset hazard alone (:mod:`icans.forecast.filters.onset_lasso`). Every patient
at risk gives one row a day from the first landmark on: what was known at the day's start, and whether the event came
before its end. A forecast multiplies the chances of the days to come; results stay as they are known, the day
advances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.filters.lasso import Lasso
from icans.forecast.filters.onset_lasso import PUBLISHED, OnsetHazard
from icans.forecast.inputs import Inputs
from icans.forecast.models.base import as_horizon, check_aligned, landmarks
from icans.forecast.outcomes import EVENT, Horizon

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Channels beside the published ones that a set without laboratory values may offer.
OTHERS = ("grade.CRS",)
AGE = "static.age_y"


@dataclass(frozen=True)
class OnsetLasso:
    """Daily lasso hazard (Amidi 2022).

    Parameters
    ----------
    channels
        Channels of the stream whose largest value so far is a predictor; absent ones are left out.
    """

    channels: tuple[str, ...] = (*(f"lab.{name}" for name in PUBLISHED), *OTHERS)
    uses_history = True

    def fit(
        self, table: Inputs | pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedOnsetLasso:
        """Learn the daily hazard.

        Raises
        ------
        NotEstimableError
            The inputs carry no stream of events, or no day is followed by the event.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        if inputs.history is None:
            raise NotEstimableError("the onset lasso reads the stream of events, and these inputs carry none")
        channels = tuple(c for c in self.channels if c in inputs.history.channels)
        days = _days_at_risk(inputs, outcome)
        values = largest_so_far(days.inputs, channels)
        hazard = OnsetHazard.fit(values, days.day, days.onset, days.patient, seed)
        return FittedOnsetLasso(channels, hazard)


@dataclass(frozen=True)
class FittedOnsetLasso:
    """A fitted daily hazard."""

    channels: tuple[str, ...]
    hazard: OnsetHazard

    @property
    def parameters(self) -> int:
        """Candidate predictors: channels, age, usual course, day, day squared."""
        return len(self.hazard.centre)

    def predict(self, table: Inputs | pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon; parts of a day count as a share of its cumulative hazard."""
        inputs = Inputs.of(table)
        values = largest_so_far(inputs, self.channels)
        day = _day(inputs)
        window = as_horizon(horizon).window(landmarks(inputs.table)) / 24.0
        log_free = np.zeros(len(values))
        for k in range(int(np.ceil(window.max(initial=0.0)))):
            share = np.clip(window - k, 0.0, 1.0)
            log_free += share * np.log1p(-np.clip(self.hazard.hazard(values, day + k), 0.0, 1.0 - 1e-9))
        return -np.expm1(log_free)

    def reasons(self, table: Inputs | pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Coefficient x distance from the training mean on the log odds of the first day's hazard."""
        inputs = Inputs.of(table)
        parts = self.hazard.contributions(largest_so_far(inputs, self.channels), _day(inputs))
        names = [*(f"{c}.max_all" for c in self.channels), AGE, "usual course", "day", "day squared"]
        frame = pd.DataFrame(parts, index=inputs.table.index, columns=names)
        frame["day"] = frame["day"] + frame.pop("usual course") + frame.pop("day squared")
        return frame

    def settings(self) -> dict[str, float]:
        """The penalty and how many coefficients it left."""
        return {"penalty": self.hazard.lasso.penalty, "kept": float((self.hazard.lasso.coefficients != 0).sum())}

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """Plain values and arrays that :func:`from_parts` makes the model from again."""
        h = self.hazard
        plain = {
            "kind": "onset_lasso",
            "channels": list(self.channels),
            "intercept": h.lasso.intercept,
            "penalty": h.lasso.penalty,
        }
        arrays = {
            "coefficients": h.lasso.coefficients, "median": h.median, "centre": h.centre, "scale": h.scale,
            "curve": h.curve,
        }  # fmt: skip
        return plain, arrays


def from_parts(plain: dict[str, Any], arrays: dict[str, Floats]) -> FittedOnsetLasso:
    """The model from what :meth:`FittedOnsetLasso.to_parts` gave."""
    lasso = Lasso(float(plain["intercept"]), arrays["coefficients"], float(plain["penalty"]))
    hazard = OnsetHazard(lasso, arrays["median"], arrays["centre"], arrays["scale"], arrays["curve"])
    return FittedOnsetLasso(tuple(plain["channels"]), hazard)


def largest_so_far(inputs: Inputs, channels: Sequence[str]) -> Floats:
    """Largest value of each channel known at each row's time, and age: (n, channels + 1), NaN where not known."""
    events = inputs.events()
    out = np.full((len(inputs), len(channels) + 1), np.nan)
    row = np.repeat(np.arange(len(inputs)), np.diff(events.start))
    code = np.full(len(events.channels), -1)
    for j, name in enumerate(channels):
        if name in events.channels:
            code[events.channels.index(name)] = j
    column = code[events.channel]
    used = (column >= 0) & ~np.isnan(events.value)
    np.fmax.at(out, (row[used], column[used]), events.value[used])
    if AGE in inputs.table:
        out[:, -1] = inputs.table[AGE].to_numpy(dtype=float)
    return out


@dataclass(frozen=True)
class _Days:
    """A row for each day at risk."""

    inputs: Inputs
    day: Ints
    onset: Floats
    patient: Ints


def _day(inputs: Inputs) -> Ints:
    return np.floor(landmarks(inputs.table) / 24.0).astype(np.intp)


def _days_at_risk(inputs: Inputs, outcome: pd.DataFrame) -> _Days:
    """Days from each patient's first landmark to the event or the end; days not seen to their end count only with
    the event in them.
    """  # fmt: skip
    first = outcome.groupby("patient_id")["landmark_h"].idxmin()
    rows = outcome.loc[first]
    place = first.to_numpy(dtype=np.intp) - int(outcome.index[0])
    begin = rows["landmark_h"].to_numpy(dtype=float)
    length = rows["time_h"].to_numpy(dtype=float) / 24.0
    event = rows["event"].to_numpy() == EVENT
    count = np.where(event, np.ceil(length - 1e-9), np.floor(length + 1e-9)).astype(np.intp)
    patient = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(patient)) - np.repeat(np.cumsum(count) - count, count)
    at = begin[patient] + 24.0 * offset
    onset = ((offset == count[patient] - 1) & event[patient]).astype(float)
    table = inputs.table.iloc[place[patient]].copy()
    ids = table.index.get_level_values("patient_id")
    table.index = pd.MultiIndex.from_arrays([ids, at], names=["patient_id", "landmark_h"])
    seen_h = inputs.at_h[place[patient]] + 24.0 * offset
    return _Days(Inputs(table, seen_h, inputs.history), np.floor(at / 24.0).astype(np.intp), onset, patient)
