"""Which grade each patient reached, and on which day: the small computations that several sections share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.times import day_number

#: Grades from which a patient counts as a case, and as a severe case.
ANY_GRADE = 1.0
SEVERE_GRADE = 3.0

#: Schemes in the order in which they are preferred when a cohort has several for one toxicity.
PREFERRED = ("ASTCT", "CTCAE5", "CTCAE4", "CARTOX", "mCRES", "Lee2014", "Penn", "ICE")

GROUPS = ("No ICANS", "ICANS grade 1–2", "ICANS grade ≥ 3", "Not graded")


def main_scheme(cohort: Cohort, toxicity: str) -> tuple[str, str] | None:
    """The (scheme, source) that speaks for a toxicity: most patients graded, then the preferred scheme.

    Delivered grades win over derived ones where both cover as many patients.
    """
    mine = cohort.grades[(cohort.grades["toxicity"] == toxicity) & cohort.grades["grade"].notna()]
    if mine.empty:
        return None
    covered = mine.groupby(["scheme", "source"])["patient_id"].nunique()

    def rank(key: tuple[str, str]) -> tuple[int, int, bool]:
        scheme, source = key
        place = PREFERRED.index(scheme) if scheme in PREFERRED else len(PREFERRED)
        return (-int(covered[key]), place, source != "delivered")

    return min(((str(a), str(b)) for a, b in covered.index), key=rank)


def grades_of(cohort: Cohort, toxicity: str, scheme: str | None = None, source: str | None = None) -> pd.DataFrame:
    """Rows of ``grades`` of one toxicity under one scheme (default: :func:`main_scheme`), with ``day``."""
    if scheme is None:
        chosen = main_scheme(cohort, toxicity)
        if chosen is None:
            return cohort.grades.iloc[:0].assign(day=pd.Series([], dtype="int64"))
        scheme, source = chosen
    mine = (cohort.grades["toxicity"] == toxicity) & (cohort.grades["scheme"] == scheme)
    if source is not None:
        mine &= cohort.grades["source"] == source
    rows = cohort.grades[mine & cohort.grades["time_h"].notna()]
    return rows.assign(day=day_number(rows["time_h"].to_numpy()))


def worst_grade(cohort: Cohort, toxicity: str) -> pd.Series:
    """Highest grade of each patient (index: every patient of the cohort; NaN: never graded).

    Grades without a time (delivered as "worst during follow-up") count.
    """
    chosen = main_scheme(cohort, toxicity)
    index = pd.Index(cohort.patient_ids, name="patient_id")
    if chosen is None:
        return pd.Series(np.nan, index=index)
    rows = cohort.grades
    mine = rows[(rows["toxicity"] == toxicity) & (rows["scheme"] == chosen[0]) & (rows["source"] == chosen[1])]
    return mine.groupby("patient_id")["grade"].max().reindex(index).astype(float)


def onset_h(cohort: Cohort, toxicity: str, grade: float = ANY_GRADE) -> pd.Series:
    """Time of the first grade at or above ``grade``, hours; patients without one are not in the index."""
    rows = grades_of(cohort, toxicity)
    reached = rows[rows["grade"] >= grade]
    return reached.groupby("patient_id")["time_h"].min()


def outcome_groups(cohort: Cohort) -> pd.Series:
    """One of :data:`GROUPS` for every patient (index), by worst ICANS grade of the main scheme."""
    worst = worst_grade(cohort, "ICANS")
    groups = pd.Series(GROUPS[3], index=worst.index)
    groups[worst < ANY_GRADE] = GROUPS[0]
    groups[(worst >= ANY_GRADE) & (worst < SEVERE_GRADE)] = GROUPS[1]
    groups[worst >= SEVERE_GRADE] = GROUPS[2]
    return groups


def daily_worst(cohort: Cohort, toxicity: str, scheme: str | None = None, source: str | None = None) -> pd.DataFrame:
    """Worst grade of each patient on each day with a grade: columns patient_id, day, grade."""
    rows = grades_of(cohort, toxicity, scheme, source)
    rows = rows[rows["grade"].notna()]
    return rows.groupby(["patient_id", "day"], as_index=False)["grade"].max()


def grade_shares(daily: pd.DataFrame, first_day: int, last_day: int) -> pd.DataFrame:
    """Share of each whole grade among the patients graded on a day.

    Half grades are counted with the grade above. Returns columns day, n (patients graded) and 0 ... 5 (shares; NaN
    where nobody was graded), one row for every day of the range.
    """
    days = pd.RangeIndex(first_day, last_day + 1, name="day")
    whole = np.ceil(daily["grade"]).astype(int)
    counts = pd.crosstab(daily["day"], whole).reindex(index=days, columns=range(6), fill_value=0)
    n = counts.sum(axis=1)
    shares = counts.div(n.where(n > 0), axis=0)
    return shares.assign(n=n).reset_index()


def observed_span(cohort: Cohort) -> pd.DataFrame:
    """First and last hour with any row, by patient: columns first_h, last_h (patients without a row: absent)."""
    parts = [
        cohort.table(name)[["patient_id", "time_h"]]
        for name in ("measurements", "treatments", "assessments", "grades", "events")
    ]
    filled = [part.dropna() for part in parts if len(part)]
    if not filled:
        return pd.DataFrame({"first_h": [], "last_h": []}, dtype=float)
    rows = pd.concat(filled, ignore_index=True)
    return rows.groupby("patient_id")["time_h"].agg(first_h="min", last_h="max")
