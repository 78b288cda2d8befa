"""Measured values that grading reads: the day's highest temperature, and the laboratory side of IEC-HS."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.core.times import day_number
from icans.core.units import convert
from icans.harmonize.grading.iec_hs import Labs

#: Analytes of IEC-HS; of fibrinogen the lowest counts, of the others the highest.
IEC_HS_ANALYTES = ("ferritin", "ast", "alt", "fibrinogen")
LOWEST_COUNTS = frozenset({"fibrinogen"})

Key = tuple[str, int]


def highest_temperature(cohort: Cohort) -> dict[Key, tuple[float, float]]:
    """Highest plausible temperature of each patient-day in degrees Celsius, and when it could be known."""
    rows = _canonical(cohort, ("temperature",))
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
    rows = _canonical(cohort, IEC_HS_ANALYTES)
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


def _canonical(cohort: Cohort, analytes: tuple[str, ...]) -> pd.DataFrame:
    """Rows of some analytes in canonical units; without a declared unit, or outside the plausible range, left out.

    A censored result counts as its limit.
    """
    rows = cohort.measurements
    rows = rows[rows["analyte"].isin(analytes) & rows["unit"].notna()]
    parts = []
    for (analyte, unit), part in rows.groupby(["analyte", "unit"], sort=False):
        known = vocabulary.analyte(str(analyte))
        number = np.where(part["value"].isna(), part["limit"], part["value"]).astype(float)
        value = convert(number, str(unit), known.unit, molar_mass_g_mol=known.molar_mass)
        kept = (value >= known.low) & (value <= known.high)
        parts.append(part.assign(value=value, day=day_number(part["time_h"]))[kept])
    if not parts:
        return rows.assign(day=day_number(rows["time_h"]))
    return pd.concat(parts, ignore_index=True)
