"""A cheap forecast for use inside a rule: risk of a grade within some hours from what the ward knows.

A ridge logistic regression on landmarks of *other* simulated patients than those who are treated by it. Its features
are of the observation alone, so it cannot see what is not back yet; ages of results are among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError
from icans.forecast.ridge import RidgeLogistic, fit_path
from icans.intervene.world.assays import ANALYTES
from icans.intervene.world.observation import Observation
from icans.intervene.world.world import World, make_world

Array = npt.NDArray[np.float64]

#: Strength of the ridge penalty (columns standardised).
PENALTY = 1e-3
#: Hours between landmarks, and the first and last.
EVERY_H, FIRST_H, LAST_H = 12.0, 12.0, 14 * 24.0


def features(seen: Observation, analytes: Sequence[str] = ANALYTES) -> Array:
    """Columns of a forecast, shape (n, columns): grades, vital signs, ln of results, their rise and age, time."""
    at = [ANALYTES.index(a) for a in analytes]
    known = np.isfinite(seen.value[:, at])
    with np.errstate(invalid="ignore", divide="ignore"):
        level, first, peak = (np.nan_to_num(np.log(v[:, at]), nan=0.0) for v in (seen.value, seen.first, seen.peak))
        age = np.where(known, np.minimum(seen.age_h[:, at], 96.0) / 24.0, 0.0)
    day = seen.time_h / 24.0
    days = np.stack([day, np.minimum(day, 4.0), np.maximum(day - 7.0, 0.0)], axis=1)
    graded = np.stack([seen.crs, seen.crs >= 2, seen.icans >= 1, seen.icans, seen.crs_peak, seen.icans_peak,
                       10 - seen.ice], axis=1).astype(float)  # fmt: skip
    treated = [k for k, d in enumerate(seen.drugs) if d != "car_t"]
    any_drug = np.log1p(seen.doses_mg[:, treated].sum(axis=1))[:, None]
    fever = np.maximum(seen.vitals[:, :1] - 38.0, 0.0)
    return np.concatenate([days, graded, seen.vitals, fever, known.astype(float), level, level - first, peak - first,
                           age, any_drug], axis=1)  # fmt: skip


@dataclass(frozen=True)
class RiskForecast:
    """P(grade of ``toxicity`` at least ``grade`` within ``hours``) at a time of decision."""

    model: RidgeLogistic
    centre: Array
    scale: Array
    analytes: tuple[str, ...]
    toxicity: str
    grade: int
    hours: float
    rows: int
    events: int

    @classmethod
    def fit(
        cls, observations: Sequence[Observation], events: Sequence[npt.ArrayLike], *, toxicity: str = "icans",
        grade: int = 2, hours: float = 48.0, analytes: Sequence[str] = ANALYTES, penalty: float = PENALTY,
    ) -> RiskForecast:  # fmt: skip
        """Fit to landmarks.

        Parameters
        ----------
        observations, events
            Observations at landmarks and whether the event followed within ``hours``, shape (n,) each; NaN: not at
            risk (the grade was there already), left out.

        Raises
        ------
        NotEstimableError
            Fewer than ten events, or nobody without.
        """
        X = np.concatenate([features(o, analytes) for o in observations])
        y = np.concatenate([np.asarray(e, dtype=float) for e in events])
        at_risk = np.isfinite(y)
        X, y = X[at_risk], y[at_risk]
        if y.sum() < 10 or y.sum() == len(y):
            raise NotEstimableError(f"{int(y.sum())} events of {len(y)}; a forecast needs ten, and patients without")
        centre, scale = X.mean(axis=0), X.std(axis=0)
        scale = np.where(scale > 1e-9, scale, np.inf)
        model = fit_path((X - centre) / scale, y, np.ones(len(y)), (penalty,))[0]
        return cls(model, centre, scale, tuple(analytes), toxicity, grade, hours, len(y), int(y.sum()))

    def predict(self, seen: Observation) -> Array:
        """Risk of every patient, shape (n,); 1 where the grade is there already."""
        now = seen.icans if self.toxicity == "icans" else seen.crs
        risk = self.model.probability((features(seen, self.analytes) - self.centre) / self.scale)
        return np.where(now >= self.grade, 1.0, risk)


def collect(
    patients: Any, *, toxicity: str = "icans", grade: int = 2, hours: float = 48.0, seed: int = 1, **world: Any
) -> tuple[list[Observation], list[Array]]:  # fmt: skip
    """Landmarks of untreated patients and whether the event followed: what :meth:`RiskForecast.fit` takes.

    Parameters
    ----------
    patients
        Others than those to be treated.
    world
        Arguments of :func:`make_world`.
    """
    made = make_world(patients, seed=seed, **world)
    marks = np.arange(EVERY_H, LAST_H + hours + 1e-6, EVERY_H)
    seen = []
    for _ in marks:
        made.step(EVERY_H)
        seen.append(made.observe())
    name = f"{toxicity}_{grade}_at"
    if not hasattr(made.tally, name):
        raise ValueError(f"no first time of {toxicity} grade {grade}; there are icans 1 to 3 and crs 2")
    first = np.asarray(getattr(made.tally, name))
    kept = [o for o in seen if o.time_h[0] <= LAST_H]
    events = []
    for o in kept:
        there = np.nan_to_num(first, nan=np.inf) <= o.time_h
        follows = np.nan_to_num(first, nan=np.inf) <= o.time_h + hours
        events.append(np.where(there, np.nan, follows.astype(float)))
    return kept, events


__all__ = ["RiskForecast", "World", "collect", "features"]
