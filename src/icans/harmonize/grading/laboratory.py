"""Measured values that grading reads: the day's highest temperature, and the laboratory side of IEC-HS."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.core.times import HOURS_PER_DAY, day_number
from icans.harmonize.grading.cytopenia import CENSORING_EVENTS, Series
from icans.harmonize.grading.iec_hs import Labs

#: Analytes of IEC-HS; of fibrinogen the lowest counts, of the others the highest.
IEC_HS_ANALYTES = ("ferritin", "ast", "alt", "fibrinogen")
LOWEST_COUNTS = frozenset({"fibrinogen"})
#: Everything that grading reads from ``measurements``.
READ = frozenset({*IEC_HS_ANALYTES, "temperature", "anc", "platelets"})

Key = tuple[str, int]


def highest_temperature(cohort: Cohort) -> dict[Key, tuple[float, float]]:
    """Highest plausible temperature of each patient-day in degrees Celsius, and when it could be known."""
    rows = canonical_rows(cohort, ("temperature",))
    if rows.empty:
        return {}
    top = rows.groupby(["patient_id", "day"]).agg(value=("value", "max"), available=("available_h", "max"))
    return {(str(p), int(d)): (float(v), float(a)) for (p, d), v, a in zip(top.index, top["value"], top["available"])}


def daily_labs(cohort: Cohort, crs: pd.DataFrame) -> dict[Key, tuple[Labs, float]]:
    """Results of each patient-day from infusion on that bear on IEC-HS, and when they could be known.

    Parameters
    ----------
    crs
        Grades of CRS by day (``patient_id, time_h, grade``), to tell whether CRS has begun to resolve.
    """
    rows = canonical_rows(cohort, IEC_HS_ANALYTES)
    if rows.empty:
        return {}
    before = rows[rows["time_h"] < 0].sort_values("time_h", kind="stable")
    baseline = before.groupby(["patient_id", "analyte"])["value"].last()
    after = rows[rows["time_h"] >= 0]
    after = after.assign(badness=np.where(after["analyte"].isin(LOWEST_COUNTS), -after["value"], after["value"]))
    worst = after.groupby(["patient_id", "day", "analyte"])["badness"].max().abs()
    available = after.groupby(["patient_id", "day"])["available_h"].max()
    values: dict[Key, dict[str, float]] = {}
    for (patient, day, analyte), value in worst.items():
        values.setdefault((str(patient), int(day)), {})[str(analyte)] = float(value)
    bases: dict[str, dict[str, float]] = {}
    for (patient, analyte), value in baseline.items():
        bases.setdefault(str(patient), {})[str(analyte)] = float(value)
    resolving = _resolving(crs)
    return {
        key: (
            Labs(found, bases.get(key[0], {}), crs_resolving=resolving_on(resolving.get(key[0]), key[1])),
            float(available[key]),
        )
        for key, found in values.items()
    }


def resolving_on(course: dict[int, float] | None, day: int) -> bool | None:
    """Whether CRS has begun to resolve by a day: it was there, and is now below its highest grade.

    None when no grade of CRS is known up to that day.
    """
    known = {d: grade for d, grade in (course or {}).items() if d <= day}
    if not known:
        return None
    highest, latest = max(known.values()), known[max(known)]
    return highest >= 1 and latest < highest


def _resolving(crs: pd.DataFrame) -> dict[str, dict[int, float]]:
    if crs.empty:
        return {}
    crs = crs[crs["grade"].notna()]
    by_day = pd.DataFrame(
        {"patient_id": crs["patient_id"], "day": day_number(crs["time_h"]), "grade": crs["grade"].astype(float)}
    ).groupby(["patient_id", "day"])["grade"].max()  # fmt: skip
    course: dict[str, dict[int, float]] = {}
    for (patient, day), grade in by_day.items():
        course.setdefault(str(patient), {})[int(day)] = float(grade)
    return course


def canonical_rows(cohort: Cohort, analytes: tuple[str, ...]) -> pd.DataFrame:
    """Rows of some analytes in canonical units; without a declared unit, or outside the plausible range, left out.

    A censored result counts as its limit.
    """
    rows = cohort.measurements
    rows = rows[rows["analyte"].isin(analytes) & rows["unit"].notna()]
    parts = []
    for (analyte, unit), part in rows.groupby(["analyte", "unit"], sort=False):
        known = vocabulary.analyte(str(analyte))
        number = np.where(part["value"].isna(), part["limit"], part["value"]).astype(float)
        value = known.convert(number, str(unit))
        kept = (value >= known.low) & (value <= known.high)
        parts.append(part.assign(value=value, day=day_number(part["time_h"]))[kept])
    if not parts:
        return rows.assign(day=day_number(rows["time_h"]))
    return pd.concat(parts, ignore_index=True)


def daily_series(cohort: Cohort, analyte: str) -> dict[str, Series]:
    """Lowest count of each day, 10*9/L, patient by patient, cut at the first censoring event."""
    rows = canonical_rows(cohort, (analyte,))
    events = cohort.events[cohort.events["event"].isin(CENSORING_EVENTS)]
    end = events.groupby("patient_id")["time_h"].min() / HOURS_PER_DAY
    died = set(events.loc[events["event"] == "death", "patient_id"])
    lowest = rows.groupby(["patient_id", "day"], sort=True)["value"].min().reset_index()
    return {
        str(patient): Series(
            part["day"].to_numpy(dtype=np.int64), part["value"].to_numpy(dtype=float), end.get(patient), patient in died
        )
        for patient, part in lowest.groupby("patient_id", sort=True)
    }


def without_unit(cohort: Cohort) -> dict[str, int]:
    """Rows by analyte that grading reads and had to leave out because no unit is declared."""
    rows = cohort.measurements
    lacking = rows[rows["unit"].isna() & rows["value"].notna() & rows["analyte"].isin(READ)]
    return {str(analyte): int(n) for analyte, n in lacking["analyte"].value_counts().sort_index().items()}
