"""Outcomes of strategies on the same patients, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.intervene.compare.arm import Course
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world import outcomes as vector
from icans.intervene.world.bedside import make_reader
from icans.intervene.world.cast import Cast
from icans.population.quantities import Readings

Array = npt.NDArray[np.float64]

#: Covariates that are kept beside the outcome vector, where patients have them.
COVARIATES = ("burden", "age_y")
#: Hours at which grades are first reached, among the columns.
FIRST = ("icans_1_at", "icans_2_at", "icans_3_at", "crs_2_at", "treated_at")


@dataclass(frozen=True)
class StrategyResults:
    """Outcomes of every patient under every strategy.

    ``table``: a row per strategy and patient with the outcome vector (``world/outcomes.toml``), the hours of
    :data:`FIRST`, and ``strategy, patient, product, disease, burden, age_y, ok, patient_ok`` (integrated under every
    strategy); all of it is synthetic. ``strategies``: by name.
    """

    table: pd.DataFrame
    strategies: Mapping[str, Strategy]
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Strategies in order."""
        return tuple(self.strategies)

    def of(self, strategy: str) -> pd.DataFrame:
        """Rows of one strategy, ordered by patient, of patients that were integrated under all of them."""
        mine = self.table[(self.table["strategy"] == strategy) & self.table["patient_ok"]]
        return mine.sort_values(["product", "disease", "patient"], kind="stable").reset_index(drop=True)

    def wide(self, outcome: str) -> pd.DataFrame:
        """One outcome, a column per strategy, a row per patient (product, disease, number)."""
        kept = self.table[self.table["patient_ok"]]
        made = kept.pivot(index=["product", "disease", "patient"], columns="strategy", values=outcome)
        return made[list(self.names)]


def join(tables: Sequence[pd.DataFrame], strategies: Mapping[str, Strategy], seed: int) -> StrategyResults:
    """Results from tables of chunks; patients who failed under one strategy are left out of all (paired)."""
    table = pd.concat(list(tables), ignore_index=True)
    good = table.groupby(["product", "disease", "patient"])["ok"].transform("all")
    return StrategyResults(table.assign(patient_ok=good), dict(strategies), seed)


def outcome_table(course: Course, patients: Cast, readings: Readings, seed: int) -> pd.DataFrame:
    """The outcome vector of a course's patients, a row each.

    Read on the times of the course; the reader's errors are those of the patients' numbers in the population of that
    seed.
    """
    reader = make_reader(patients.numbers, seed, readings=readings)
    ok = course.ok
    series = {k: np.nan_to_num(np.asarray(course.series[k], dtype=float)) for k in vector.NEEDED if k in course.series}
    series.setdefault("steroid", np.zeros_like(series["TUM"]))
    tally = vector.Tally.begin({k: v[:, 0] for k, v in series.items()})
    everyone = np.ones(len(patients), bool)
    tally.treated_at = first_treatment(course)
    for j in range(1, len(course.times_h)):
        hour, step = float(course.times_h[j]), float(course.times_h[j] - course.times_h[j - 1])
        tally.add({k: v[:, j] for k, v in series.items()}, np.full(len(patients), hour), step, everyone, reader)
    drugs = tuple(course.given_mg)
    doses = np.stack([course.given_mg[d] for d in drugs], axis=1) if drugs else np.zeros((len(patients), 0))
    made = pd.DataFrame(tally.columns(reader, drugs, doses, np.zeros(len(patients))))
    for name in FIRST:
        made[name] = getattr(tally, name)
    made.insert(0, "strategy", course.strategy.name)
    made.insert(1, "patient", patients.numbers)
    for name in ("product", "disease"):
        made[name] = patients.covariates[name].to_numpy() if name in patients.covariates else ""
    for name in COVARIATES:
        made[name] = patients.covariates[name].to_numpy() if name in patients.covariates else np.nan
    return made.assign(ok=ok)


def first_treatment(course: Course) -> Array:
    """Hour of the first treatment of toxicity (antiepileptic prophylaxis is none), NaN without, shape (n,)."""
    n = len(course.ok)
    planned = [d.time_h for d in course.strategy.doses if d.drug not in vector.NOT_TREATMENT]
    first = np.full(n, min(planned, default=np.inf))
    for rule, acted in zip(course.strategy.rules, course.acted, strict=True):
        if any(d.drug not in vector.NOT_TREATMENT for d in rule.doses):
            hours = np.where(np.isnan(acted), np.inf, acted).min(axis=1) + rule.delay_h
            first = np.minimum(first, hours)
    return np.where(np.isfinite(first), first, np.nan)
