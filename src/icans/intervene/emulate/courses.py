"""Daily courses of the patients that a target trial could have enrolled, and who was left out and why.

Question: "start steroids at grade 1, or wait for grade 2?" Time zero is the first day with a grade of the toxicity, if
that grade is the entry grade and no steroid was given before. Within a day the grade is taken to be known before the
treatment of that day is chosen: records by the day do not tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.times import day_number

if TYPE_CHECKING:
    from icans.cohort.cohort import Cohort

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Protocol:
    """The target trial.

    Attributes
    ----------
    toxicity, scheme
        Which grades: ``"ICANS"``; the scheme with most rows if None.
    entry, wait
        Grade at entry; grade from which the waiting arm may treat.
    outcome
        Grade that counts as the event.
    grace
        Days after time zero within which the early arm must have begun (0: on the day itself).
    days
        Days of follow-up.
    drug
        Group of drugs that is started: ``"corticosteroid"``.
    other
        Drug whose earlier use may have moved the choice.
    covariates
        What the choice of a day may have hung on: ``grade``, ``crs``, ``other``, ``day``, ``first`` (time zero or
        not).
    after_last
        ``"resolved"``: after the last grade there is no event; ``"censored"``: patients are lost, with weights.
    ridge
        Penalty on standardised coefficients of the models of treatment and loss: few patients.
    most_weight
        Quantile of the weights at which they are cut.
    """

    toxicity: str = "ICANS"
    scheme: str | None = None
    entry: int = 1
    wait: int = 2
    outcome: int = 3
    grace: int = 1
    days: int = 10
    drug: str = "corticosteroid"
    other: str = "tocilizumab"
    covariates: tuple[str, ...] = ("grade", "crs", "day")
    after_last: str = "resolved"
    ridge: float = 1.0
    most_weight: float = 0.99

    def problems(self) -> list[Problem]:
        """What makes no trial."""
        found = []

        def say(name: str, value: object, expected: str) -> None:
            found.append(Problem("target trial", None, name, repr(value), expected, "Correct it."))

        if not 1 <= self.entry < self.wait <= self.outcome <= 5:
            say("entry", (self.entry, self.wait, self.outcome), "entry < wait <= outcome, grades 1 to 5")
        if not 0 <= self.grace < self.days:
            say("grace", self.grace, f"days from 0 to below the follow-up of {self.days}")
        if self.days > 60:
            say("days", self.days, "at most 60 days of follow-up")
        if self.after_last not in ("resolved", "censored"):
            say("after_last", self.after_last, "'resolved' or 'censored'")
        wrong = [c for c in self.covariates if c not in COVARIATES]
        if wrong:
            say("covariates", wrong, f"some of {', '.join(COVARIATES)}")
        if self.ridge < 0 or not 0.5 < self.most_weight <= 1:
            say("ridge", (self.ridge, self.most_weight), "a penalty of at least 0 and a quantile above 0.5")
        return found


#: What a choice may hang on.
COVARIATES = ("grade", "crs", "other", "day", "first")


@dataclass(frozen=True)
class Courses:
    """P patients over days 0 to H from time zero, (P, H + 1) each.

    ``grade``: of the day (of days without one: 0); ``treated``: the drug on that day; ``known``: graded that day, or a
    later day was; ``covariates``: (P, H + 1, C), as known when the day's treatment is chosen, with their ``names``.
    """

    patients: tuple[str, ...]
    grade: Array
    treated: Mask
    known: Mask
    covariates: Array
    names: tuple[str, ...]
    flow: tuple[tuple[str, int], ...] = field(default=())

    @property
    def start(self) -> npt.NDArray[np.int64]:
        """First day of treatment of each patient; a large number if never."""
        return np.where(self.treated.any(axis=1), self.treated.argmax(axis=1), 10_000)

    def first(self, grade: float) -> npt.NDArray[np.int64]:
        """First day with at least a grade; a large number if never."""
        reached = self.grade >= grade
        return np.where(reached.any(axis=1), reached.argmax(axis=1), 10_000)

    @property
    def last(self) -> npt.NDArray[np.int64]:
        """Last day with a grade."""
        return self.known.sum(axis=1) - 1


def courses_of(cohort: Cohort, protocol: Protocol) -> Courses:
    """Courses of the eligible patients of a cohort with daily grades and treatments.

    Raises
    ------
    DataError
        The protocol makes no trial, the cohort has no such grades or treatments, or nobody is eligible; all reasons.
    """
    problems = protocol.problems()
    grades = _daily(cohort, protocol.toxicity, protocol.scheme)
    if grades.empty:
        problems.append(Problem("grades", None, "toxicity", protocol.toxicity, "rows with a grade and a time",
                                "Choose a cohort with daily grades."))  # fmt: skip
    given = _given(cohort, protocol.drug)
    if given.empty:
        problems.append(Problem("treatments", None, "drug", protocol.drug, "days on which the drug was given",
                                "Choose a cohort that records it."))  # fmt: skip
    if problems:
        raise DataError(problems)
    chosen, flow = _eligible(cohort, grades, given, protocol)
    if not chosen:
        told = "; ".join(f"{a}: {n}" for a, n in flow)
        remedy = "Change the entry of the target trial."
        raise DataError([Problem("patients", None, None, told, "at least one eligible patient", remedy)])
    return _filled(cohort, chosen, grades, given, protocol, flow)


def _daily(cohort: Cohort, toxicity: str, scheme: str | None) -> pd.DataFrame:
    rows = cohort.grades[(cohort.grades["toxicity"] == toxicity) & cohort.grades["grade"].notna()]
    rows = rows[rows["time_h"].notna()]
    if rows.empty:
        return pd.DataFrame({"patient_id": [], "day": [], "grade": []})
    named = scheme or rows["scheme"].value_counts().index[0]
    rows = rows[rows["scheme"] == named]
    return (
        rows.assign(day=day_number(rows["time_h"].to_numpy()))
        .groupby(["patient_id", "day"], as_index=False)["grade"]
        .max()
    )


def _given(cohort: Cohort, drug: str) -> pd.DataFrame:
    from icans.cohort.vocabulary import drugs

    rows = cohort.treatments
    group = {name: entry.group for name, entry in drugs().items()}
    mine = rows[(rows["drug"] == drug) | (rows["drug"].map(lambda d: group.get(d)) == drug)]
    mine = mine[mine["time_h"].notna()]
    return mine.assign(day=day_number(mine["time_h"].to_numpy()))[["patient_id", "day"]].drop_duplicates()


def _eligible(
    cohort: Cohort, grades: pd.DataFrame, given: pd.DataFrame, protocol: Protocol
) -> tuple[dict[str, int], tuple[tuple[str, int], ...]]:  # fmt: skip
    """Time zero (day since infusion) of every eligible patient, and counts of who was left out."""
    reached = grades[grades["grade"] > 0].sort_values("day").groupby("patient_id").first()
    first_dose = given.groupby("patient_id")["day"].min()
    everyone = len(cohort.patient_ids)
    never = everyone - len(reached)
    jumped = reached[reached["grade"] != protocol.entry]
    reached = reached[reached["grade"] == protocol.entry]
    before = first_dose.reindex(reached.index) < reached["day"]
    kept = reached[~before.to_numpy(dtype=bool, na_value=False)]
    flow = (
        ("in the cohort", everyone),
        (f"never any {protocol.toxicity}", never),
        (f"first grade was not {protocol.entry}", len(jumped)),
        (f"{protocol.drug} before time zero", int(before.sum())),
        ("eligible", len(kept)),
    )
    return {str(p): int(d) for p, d in kept["day"].items()}, flow


def _filled(
    cohort: Cohort, chosen: dict[str, int], grades: pd.DataFrame, given: pd.DataFrame, protocol: Protocol,
    flow: tuple[tuple[str, int], ...],
) -> Courses:  # fmt: skip
    length, count = protocol.days + 1, len(chosen)
    place = {patient: i for i, patient in enumerate(chosen)}

    def spread(rows: pd.DataFrame, value: Array) -> Array:
        made = np.full((count, length), np.nan)
        mine = rows["patient_id"].isin(list(place)).to_numpy()
        row = rows["patient_id"][mine].map(place).to_numpy(dtype=int)
        k = rows["day"].to_numpy()[mine].astype(int) - np.array([*chosen.values()])[row]
        inside = (k >= 0) & (k < length)
        made[row[inside], k[inside]] = value[mine][inside]
        return made

    grade = spread(grades, grades["grade"].to_numpy(dtype=float))
    crs_rows = _daily(cohort, "CRS", protocol.scheme)
    crs = spread(crs_rows, crs_rows["grade"].to_numpy(dtype=float)) if len(crs_rows) else np.full(grade.shape, np.nan)
    treated = spread(given, np.ones(len(given))) == 1.0
    other_rows = _given(cohort, protocol.other)
    first_other = other_rows.groupby("patient_id")["day"].min()
    zero = np.array([*chosen.values()])
    when = np.array([first_other.get(p, np.inf) for p in chosen]) - zero
    other = np.arange(length)[None, :] >= when[:, None]
    known = np.cumsum(np.isfinite(grade)[:, ::-1], axis=1)[:, ::-1] > 0
    columns = {
        "grade": np.nan_to_num(grade), "crs": np.nan_to_num(crs), "other": other.astype(float),
        "day": np.broadcast_to(np.arange(length, dtype=float), grade.shape),
        "first": np.broadcast_to((np.arange(length) == 0).astype(float), grade.shape),
    }  # fmt: skip
    used = np.stack([columns[name] for name in protocol.covariates], axis=2)
    return Courses(tuple(chosen), np.nan_to_num(grade), treated, known, used, protocol.covariates, flow)
