"""Grade a cohort: rows of ``grades`` with source "derived" from its assessments, treatments and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import Cohort, change_rows, stack
from icans.core.errors import GradingError
from icans.core.times import HOURS_PER_DAY
from icans.harmonize.grading import cytopenia, registry
from icans.harmonize.grading.daily import Day, days
from icans.harmonize.grading.findings import Findings, Grade
from icans.harmonize.grading.iec_hs import grade_iec_hs
from icans.harmonize.grading.laboratory import daily_labs, daily_series, highest_temperature, without_unit
from icans.harmonize.grading.masking import with_masking
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.remember import remembering
from icans.harmonize.grading.rules import rules

ADJUSTED = "ASTCT_adjusted"
FLAGS = {
    "capd_only": "grade 3 rests on CAPD alone, which calls one child too many severe for each it finds",
    "unverified": "the rules of this scheme were written from memory",
}

#: One row of ``grades``, in the order of :data:`COLUMNS`.
Row = tuple[str, float, float, str, str, float | None, str, bool]
COLUMNS = [column.name for column in schema.GRADES.columns]


def grade_cohort(cohort: Cohort, schemes: Iterable[str] | None = None, *, options: GradingOptions = DEFAULT) -> Cohort:
    """The cohort with derived grades added to ``grades`` (delivered ones stay; earlier derived ones are replaced).

    A daily grade of day ``d`` has ``time_h = 24 d`` and is available when the day is over (or later, when its
    last finding was). Days without a finding that a scheme reads have no row. Raw ICANS is scheme ``ASTCT``;
    where there is a score before infusion, the baseline-adjusted grade stands beside it as ``ASTCT_adjusted``.
    Cytopenia grades have one row per patient at the end of their window.

    Parameters
    ----------
    schemes
        ``"toxicity/scheme"`` names of :data:`registry.SCHEMES` and rules of :data:`cytopenia.RULES`. None: all
        schemes that the cohort has items for, and cytopenia of patients with a CAR T product. IEC-HS is told
        from laboratory results only when ``"IEC-HS/IEC-HS2023"`` is named: its criteria are recalled, and many
        a patient with CRS meets them.

    Raises
    ------
    DataError
        ``assessments`` with items or values that the vocabulary does not have; every one is listed.
    GradingError
        An unknown scheme.
    """
    chosen = None if schemes is None else list(schemes)
    by_day = [registry.scheme(name) for name in chosen if name not in cytopenia.RULES] if chosen is not None else None
    by_series = list(cytopenia.RULES) if chosen is None else [name for name in chosen if name in cytopenia.RULES]
    bedside = _bedside(cohort, options)
    rows: list[Row] = []
    flags: Counter[str] = Counter()
    for scheme in by_day if by_day is not None else registry.SCHEMES.values():
        if scheme.toxicity == "IEC-HS" and by_day is not None:
            continue  # below: it needs the course of CRS
        graded, flagged = _daily_rows(bedside, scheme, cohort, options)
        rows += graded
        flags += flagged
    if by_day is not None and any(s.toxicity == "IEC-HS" for s in by_day):
        rows += _iec_hs_rows(bedside, cohort, rows, options)
    treated = None if chosen is not None else _treated(cohort)
    for name in by_series:
        rows += _series_rows(cohort, name, treated)
    kept = cohort.grades[~((cohort.grades["source"] == "derived").fillna(False))]
    derived = schema.GRADES.shape_up(pd.DataFrame(rows, columns=COLUMNS)) if rows else schema.GRADES.empty()
    graded_cohort = cohort.with_table("grades", stack(schema.GRADES, [kept, derived]))
    return graded_cohort.with_changes(_notes(cohort, len(derived), flags, options)) if len(derived) else graded_cohort


def grade_days(cohort: Cohort, scheme: str, *, options: GradingOptions = DEFAULT) -> list[tuple[Day, Grade]]:
    """Every patient-day with its full grade (domains, flags, notes) under one scheme, for reading why."""
    entry = registry.scheme(scheme)
    bedside = _bedside(cohort, options)
    if entry.toxicity == "CRS" and entry.scheme == "ASTCT":
        bedside = with_masking(bedside, cohort, options)
    grade = remembering(entry, options)
    return [(day, grade(day.found)) for day in bedside if _speaks(day, entry)]


def maximum_grades(grades: pd.DataFrame, *, from_h: float = 0.0) -> pd.DataFrame:
    """Highest grade of each patient by toxicity, scheme and source.

    Parameters
    ----------
    grades
        Rows of the ``grades`` table.
    from_h
        Rows before this time do not count (days before the infusion are baseline, not toxicity).

    Returns
    -------
    DataFrame
        ``patient_id, toxicity, scheme, source, grade, time_h`` (first time of the highest grade),
        ``lower_bound`` (true when any graded or ungradable day could have been higher), ``days`` (rows).
    """
    keys = ["patient_id", "toxicity", "scheme", "source"]
    columns = [*keys, "grade", "time_h", "lower_bound", "days"]
    grades = grades[grades["time_h"] >= from_h]
    if grades.empty:
        return pd.DataFrame({name: pd.Series(dtype="object") for name in columns})
    ordered = grades.sort_values([*keys, "grade", "time_h"], ascending=[True] * 4 + [False, True], kind="stable")
    best = ordered.drop_duplicates(keys)[[*keys, "grade", "time_h"]]
    doubt = grades.assign(lower_bound=grades["lower_bound"].fillna(False).astype(bool) | grades["grade"].isna())
    summary = doubt.groupby(keys, dropna=False).agg(lower_bound=("lower_bound", "any"), days=("grade", "size"))
    result = best.merge(summary.reset_index(), on=keys, how="left")
    return result[columns].reset_index(drop=True)


def _speaks(day: Day, scheme: registry.Scheme) -> bool:
    """Whether the day has anything that the scheme reads (found, excluded, or spoilt by sedation)."""
    found = day.found
    return bool(scheme.reads & (found.values.keys() | found.not_attributable))


def _bedside(cohort: Cohort, options: GradingOptions) -> list[Day]:
    """Days of bedside findings, with the measured temperature where none was noted."""
    bedside = days(cohort)
    if not options.measured_temperature or not bedside:
        return bedside
    highest = highest_temperature(cohort)
    result = []
    for day in bedside:
        measured = highest.get((day.patient_id, day.day))
        found = day.found
        noted = found.has("temperature_max_c", "fever") or found.not_attributable & {"temperature_max_c", "fever"}
        if measured is None or noted:
            result.append(day)
            continue
        values = {**found.values, "temperature_max_c": measured[0]}
        available = max(day.available_h, measured[1])
        result.append(replace(day, found=replace(found, values=values), available_h=available))
    return result


def _notes(cohort: Cohort, rows: int, flags: Counter[str], options: GradingOptions) -> pd.DataFrame:
    why = f"graded from bedside findings and counts; options {options}"
    notes = [change_rows("grades", "grades.derived", why, rows=rows)]
    notes += [
        change_rows("grades", f"grades.flag.{flag}", FLAGS.get(flag, "see the scheme"), rows=number)
        for flag, number in sorted(flags.items())
    ]
    notes += [
        change_rows(
            "measurements", "grades.no_unit", "not used for grading: no unit is declared", item=name, rows=number
        )
        for name, number in without_unit(cohort).items()
    ]
    return stack(schema.CHANGES, notes)


def _daily_rows(
    bedside: list[Day], scheme: registry.Scheme, cohort: Cohort, options: GradingOptions
) -> tuple[list[Row], Counter[str]]:
    if scheme.toxicity == "CRS" and scheme.scheme == "ASTCT":
        bedside = with_masking(bedside, cohort, options)
    grade = remembering(scheme, options)
    rows: list[Row] = []
    flags: Counter[str] = Counter()
    for day in bedside:
        if not _speaks(day, scheme):
            continue
        result = grade(day.found)
        flags.update(result.flags)
        rows.append(_row(day, scheme.toxicity, scheme.scheme, result.grade, result.lower_bound))
        if scheme.name == "ICANS/ASTCT" and day.found.baseline:
            rows.append(_row(day, scheme.toxicity, ADJUSTED, result.adjusted, result.lower_bound))
    return rows, flags


def _iec_hs_rows(bedside: list[Day], cohort: Cohort, rows: list[Row], options: GradingOptions) -> list[Row]:
    """IEC-HS from the course noted and from laboratory results."""
    graded = pd.DataFrame(rows, columns=COLUMNS)
    crs = graded[(graded["toxicity"] == "CRS") & (graded["scheme"] == "ASTCT")]
    delivered = cohort.grades[(cohort.grades["toxicity"] == "CRS") & (cohort.grades["source"] == "delivered")]
    by_day = {(day.patient_id, day.day): day for day in bedside}
    labs = daily_labs(cohort, delivered if crs.empty else crs)
    noted = {key for key, day in by_day.items() if day.found.has("iec_hs_course", "death_attributed")}
    result = []
    for key in sorted(set(labs) | noted):
        patient, number = key
        day = by_day.get(key, Day(patient, number, Findings(), HOURS_PER_DAY * (number + 1)))
        lab, available = labs.get(key, (None, day.available_h))
        grade = grade_iec_hs(day.found, lab, options)
        day = replace(day, available_h=max(day.available_h, available))
        result.append(_row(day, "IEC-HS", "IEC-HS2023", grade.grade, grade.lower_bound))
    return result


def _row(day: Day, toxicity: str, scheme: str, grade: float | None, lower_bound: bool) -> Row:
    return day.patient_id, HOURS_PER_DAY * day.day, day.available_h, toxicity, scheme, grade, "derived", lower_bound


def _treated(cohort: Cohort) -> set[str]:
    """Patients known to have been given CAR T cells: ICAHT is a toxicity of theirs, not any low count."""
    given = cohort.treatments.loc[cohort.treatments["drug"] == "car_t", "patient_id"]
    return set(given) | set(cohort.patients.loc[cohort.patients["product"].notna(), "patient_id"])


def _series_rows(cohort: Cohort, name: str, treated: set[str] | None) -> list[Row]:
    if name not in cytopenia.RULES:
        raise GradingError(f"no cytopenia rule {name!r}; there are {cytopenia.RULES}")
    rule = rules()["cytopenia"][name]
    rows = []
    for patient, series in daily_series(cohort, rule["analyte"]).items():
        if treated is not None and patient not in treated:
            continue
        result = cytopenia.grade_cytopenia(series, name)
        if result.grade is None:
            continue
        end = float(rule["to_day"]) if series.end_day is None else min(float(rule["to_day"]), series.end_day)
        day = Day(patient, int(end), Findings(), HOURS_PER_DAY * (int(end) + 1))
        rows.append(_row(day, result.toxicity, name.removeprefix("T-"), result.grade, result.lower_bound))
    return rows
