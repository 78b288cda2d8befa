"""The published rival on ICANS: hidden Markov model and lasso onset hazard (Amidi et al. 2022), for the grade path.

Amidi Y et al., J Immunother Cancer 2022;10:e005459. Four phases: before, rising (from the last day before onset to
the last day of the largest grade), falling (to the last day of toxicity), over. In training they are read off the
whole course; transitions between phases and grades given phase and the grade of the day before are counted, with
copies of the courses in which each positive day is moved up or down by one grade with probability 0.2. In a forecast
the phase is filtered; the chance of entering the rising phase is that of the lasso onset hazard of the day
(:mod:`icans.forecast.filters.onset_lasso`).

Departures beside those of the hazard: the grade of the day before is known and is conditioned on as it stands
(the published script carries it as if it were hidden); rows of the tables that no course visits are drawn to "stay".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError, NotFittedError
from icans.core.random import stream
from icans.forecast.filters.onset_lasso import PUBLISHED, OnsetHazard
from icans.forecast.grade_path import STATES

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

BEFORE, RISING, FALLING, OVER = range(4)
#: Days that "stay in the phase, stay at the grade" is worth in each row of the tables.
STAY_DAYS = 0.05
#: Chance that a positive day of a copied course is moved by one grade; copies for each patient (5000 for 199).
MOVED, COPIES = 0.2, 25


@dataclass(frozen=True)
class AmidiPath:
    """Hidden Markov model with a lasso onset hazard.

    Parameters
    ----------
    name
        For tables.
    columns
        Columns of the path that the hazard may use, absent ones left out: the published ones by default. Where a
        set has no laboratory values, name what it has (``grade.CRS.max`` ...).
    lead
        0, as published: the hazard of a day is learned from, and used with, what is known at that day's end. 1: it
        is learned for the day after.
    copies, seed
        Perturbed copies of each course, and their stream.
    """

    name: str = "hmm_lasso"
    columns: tuple[str, ...] = (*(f"lab.{name}.max_all" for name in PUBLISHED), "static.age_y")
    lead: int = 0
    copies: int = COPIES
    seed: int = 1
    transition: Floats | None = None
    grades: Floats | None = None
    hazard: OnsetHazard | None = None

    def fit(self, path: pd.DataFrame) -> AmidiPath:
        """Count phases and grades of whole courses, fit the onset hazard."""
        path = path.sort_values(["patient_id", "day"], ignore_index=True)
        transition, grades = _count(path, self.copies, stream(self.seed, "perturbed courses"))
        return replace(self, transition=transition, grades=grades, hazard=self._onset(path))

    def predict_path(self, path: pd.DataFrame, ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days after each row, shape (n, 6)."""
        if self.transition is None or self.grades is None:
            raise NotFittedError("fit the grade path model first")
        ordered = path.reset_index(drop=True).sort_values(["patient_id", "day"])
        enter = self._entering(ordered)
        weights = self._filter(ordered, enter)
        state = ordered["state"].to_numpy(dtype=np.intp)
        chance = weights[:, :, None] * np.eye(STATES)[state][:, None, :]
        for step in range(ahead):
            # As published: the day's hazard holds for the first step, the counted transitions after it.
            moved = np.einsum("nkg,nkj->njg", chance, self._steps(enter if step == 0 else np.full(len(enter), np.nan)))
            chance = np.einsum("njg,jgh->njh", moved, self.grades)
        out = np.empty((len(path), STATES))
        out[ordered.index.to_numpy()] = chance.sum(axis=1)
        return out

    def _onset(self, path: pd.DataFrame) -> OnsetHazard | None:
        group = path["patient_id"]
        ill = (path["state"] > 0).groupby(group).cummax()
        first = ill & ~ill.groupby(group).shift(1, fill_value=False)
        if self.lead:
            following = (path["day"].groupby(group).shift(-1) - path["day"]) == 1
            at_risk = ~ill & following
            onset = first.groupby(group).shift(-1, fill_value=False)
        else:
            at_risk, onset = ~ill | first, first
        rows = path[at_risk]
        try:
            return OnsetHazard.fit(
                self._values(rows), rows["day"].to_numpy(dtype=np.intp), onset[at_risk].to_numpy(dtype=float),
                pd.factorize(rows["patient_id"])[0], self.seed,
            )  # fmt: skip
        except NotEstimableError:
            return None

    def _values(self, path: pd.DataFrame) -> Floats:
        return path[[c for c in self.columns if c in path.columns]].to_numpy(dtype=float)

    def _entering(self, path: pd.DataFrame) -> Floats:
        """Onset hazard of each row's day, (n,); NaN: that of the counted transitions."""
        if self.hazard is None:
            return np.full(len(path), np.nan)
        return self.hazard.hazard(self._values(path), path["day"].to_numpy(dtype=np.intp))

    def _steps(self, enter: Floats) -> Floats:
        """Transitions of each row, (n, 4, 4), with its own chance of entering the rising phase."""
        if self.transition is None:
            raise NotFittedError("fit the grade path model first")
        steps = np.repeat(self.transition[None], len(enter), axis=0)
        own = ~np.isnan(enter)
        steps[own, BEFORE, RISING] = enter[own]
        return steps / steps.sum(axis=2, keepdims=True)

    def _filter(self, path: pd.DataFrame, enter: Floats) -> Floats:
        """Probability of each phase given the grades so far, (n, 4); ``path`` ordered by patient and day."""
        grades, patient = self.grades, path["patient_id"].to_numpy()
        if grades is None:
            raise NotFittedError("fit the grade path model first")
        state, day = path["state"].to_numpy(dtype=np.intp), path["day"].to_numpy(dtype=np.intp)
        steps = self._steps(enter)
        out = np.zeros((len(path), 4))
        for i in range(len(path)):
            new = i == 0 or patient[i] != patient[i - 1]
            weight, gap = (np.eye(4)[BEFORE], 1) if new else (out[i - 1], day[i] - day[i - 1])
            before = 0 if new else state[i - 1]
            for _ in range(gap):
                weight = weight @ steps[i]
            # Across days that were not graded the last grade that was seen stands for the one of the day before.
            weight = weight * grades[:, before, state[i]]
            out[i] = weight / weight.sum()
        return out


def phases(state: Ints) -> Ints:
    """Phase of each day of whole courses (..., days), as the paper reads them off in hindsight."""
    ill = state > 0
    day, days = np.arange(state.shape[-1]), state.shape[-1]
    some = ill.any(axis=-1, keepdims=True)
    first = ill.argmax(axis=-1)[..., None]
    last = days - 1 - ill[..., ::-1].argmax(axis=-1)[..., None]
    worst = state == state.max(axis=-1, keepdims=True)
    peak = days - 1 - worst[..., ::-1].argmax(axis=-1)[..., None]
    phase = np.where(day >= np.maximum(first - 1, 0), RISING, BEFORE)
    phase = np.where(day >= peak, FALLING, phase)
    return np.where(some, np.where(day > last, OVER, phase), BEFORE)


def _count(path: pd.DataFrame, copies: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    moves = np.eye(4) * STAY_DAYS
    grades = np.repeat(np.eye(STATES)[None] * STAY_DAYS + STAY_DAYS / STATES, 4, axis=0)
    # Each patient's grades in the order of days; days without a grade are passed over, as published.
    for _, rows in path.groupby("patient_id", sort=False):
        state = rows["state"].to_numpy(dtype=np.intp)
        courses = np.concatenate([state[None], _perturbed(np.repeat(state[None], copies, axis=0), rng)])
        phase = phases(courses)
        np.add.at(moves, (phase[:, :-1], phase[:, 1:]), 1.0)
        np.add.at(grades, (phase[:, 1:], courses[:, :-1], courses[:, 1:]), 1.0)
    return moves / moves.sum(axis=1, keepdims=True), grades / grades.sum(axis=2, keepdims=True)


def _perturbed(state: Ints, rng: np.random.Generator) -> Ints:
    moved = (rng.random(state.shape) < MOVED) * rng.choice([-1, 1], state.shape) * (state > 0)
    return np.clip(state + moved, 0, 4).astype(np.intp)
