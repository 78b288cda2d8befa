"""Forecasts inside a rule: risk of a grade within some hours from what the ward knows, learned on *other* patients.

A ridge logistic regression on landmarks of simulated patients who are never those that are treated by it, under the
care that the strategies share. Its columns are read from :class:`icans.intervene.compare.watch.Known` alone, so that it
cannot see what is not back yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError
from icans.forecast.ridge import RidgeLogistic, fit_path
from icans.intervene.compare.arm import run_course
from icans.intervene.compare.watch import SEVERITY, Known, Ward, make_watch, outputs_for
from icans.intervene.strategy.strategy import Strategy
from icans.population import artefact

if TYPE_CHECKING:
    from icans.intervene.compare.running import Group

Array = npt.NDArray[np.float64]

#: Results that forecasts read: the daily laboratory.
ANALYTES = ("crp", "ferritin", "ldh", "platelets", "il_6")
#: Patients of each group that they learn from; their numbers lie far above those of any comparison.
LEARN, FROM = 1000, 5_000_001
PENALTY = 1e-3
#: Landmarks: hours between them, and the last.
EVERY_H, LAST_H = 12.0, 14 * 24.0


def columns(known: Known, analytes: Sequence[str] = ANALYTES) -> Array:
    """Columns of a forecast, shape (n, columns): time, grades, fever, results (ln), whether and how old they are."""
    n, day = len(known), known.time_h / 24.0
    time = np.tile([day, min(day, 4.0), max(day - 7.0, 0.0)], (n, 1))
    crs, icans = known.grades["crs"], known.grades["icans"]
    graded = np.stack([crs, crs >= 2, known.highest["crs"], icans >= 1, icans, known.highest["icans"]], axis=1)
    temperature = known.values["temperature"]
    fever = np.stack([temperature, np.maximum(temperature - 38.0, 0.0)], axis=1)
    there = np.stack([np.isfinite(known.values[a]) for a in analytes], axis=1)
    level = np.stack([np.log(known.values[a]) for a in analytes], axis=1)
    age = np.stack([np.minimum(known.age_h[a], 96.0) / 24.0 for a in analytes], axis=1)
    return np.concatenate([time, graded, fever, there, np.where(there, level, 0.0), np.where(there, age, 0.0)], axis=1)


@dataclass(frozen=True)
class LandmarkForecast:
    """One fitted forecast; ``rows`` and ``events`` it was fitted to."""

    model: RidgeLogistic
    centre: Array
    scale: Array
    rows: int
    events: int

    def predict(self, known: Known, analytes: Sequence[str]) -> Array:
        """Risk of every patient."""
        return np.asarray(self.model.probability((columns(known, analytes) - self.centre) / self.scale))


@dataclass(frozen=True)
class LandmarkForecasts:
    """Forecasts by toxicity, grade and hours ahead; 1 where the grade is there already."""

    made: dict[tuple[str, int, float], LandmarkForecast]
    analytes: tuple[str, ...] = ANALYTES

    def predict(self, known: Known, toxicity: str, grade: int, within_h: float) -> Array:
        """P(the grade within so many hours), shape (n,)."""
        risk = self.made[(toxicity, grade, within_h)].predict(known, self.analytes)
        return np.where(known.grades[toxicity] >= grade, 1.0, risk)

    @classmethod
    def for_groups(
        cls, groups: Sequence[Group], strategies: Sequence[Strategy], seed: int, ward: Ward, *, learn: int = LEARN
    ) -> LandmarkForecasts:  # fmt: skip
        """Fit what the strategies' rules ask for on other patients of the groups, under guideline care.

        Raises
        ------
        NotEstimableError
            Fewer than ten events among those learned from.
        """
        wanted = {(f.toxicity, f.grade, f.within_h) for s in strategies for f in s.forecasts}
        landmarks: list[Array] = []
        marks: dict[tuple[str, int, float], list[Array]] = {key: [] for key in wanted}
        for group in dict.fromkeys(replace(g, n=learn, first=1) for g in groups):
            _learn(group, seed, ward, landmarks, marks)
        X = np.concatenate(landmarks)
        return cls({key: _fit(X, np.concatenate(y), key) for key, y in marks.items()})


def _learn(
    group: Group, seed: int, ward: Ward, landmarks: list[Array], marks: dict[tuple[str, int, float], list[Array]]
) -> None:  # fmt: skip
    """Landmarks of one group, under a seed of its own so that nobody is treated by what was learned from him."""
    from icans.intervene.strategy.reading import strategy

    care, readings = strategy("guideline"), artefact.read().readings
    other = int(seed) + FROM
    patients = group.draw(other, care.drugs)
    outputs = outputs_for(ANALYTES)
    course = run_course(care, patients, readings, outputs)
    watch = make_watch(course.times_h, course.series, ANALYTES, patients.numbers, readings, replace(ward, seed=other))
    rows = np.flatnonzero(course.ok)
    cuts = {"crs": readings.crs["astct"].cuts, "icans": readings.nt["astct"].cuts}
    for hour in np.arange(EVERY_H, LAST_H + 1, EVERY_H):
        known = watch.at(float(hour), rows)
        landmarks.append(columns(known))
        for (toxicity, grade, within), kept in marks.items():
            ahead = (course.times_h > hour) & (course.times_h <= hour + within)
            severity = np.asarray(course.series[SEVERITY[toxicity]])[rows]
            follows = severity[:, ahead].max(axis=1) >= cuts[toxicity][grade - 1]
            kept.append(np.where(known.grades[toxicity] >= grade, np.nan, follows.astype(float)))


def _fit(X: Array, y: Array, key: tuple[str, int, float]) -> LandmarkForecast:
    at_risk = np.isfinite(y)
    X, y = X[at_risk], y[at_risk]
    if y.sum() < 10 or y.sum() == len(y):
        raise NotEstimableError(f"forecast of {key[0]} grade {key[1]} within {key[2]:g} h: {int(y.sum())} events of "
                                f"{len(y)} landmarks; ten are needed, and some without")  # fmt: skip
    centre, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)
    model = fit_path((X - centre) / scale, y, np.ones(len(y)), (PENALTY,))[0]
    return LandmarkForecast(model, centre, scale, len(y), int(y.sum()))
