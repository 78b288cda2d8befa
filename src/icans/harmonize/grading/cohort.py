"""Grade a cohort: rows of ``grades`` with source "derived" from its assessments, treatments and counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import Cohort, change_rows, stack
from icans.core.errors import GradingError
from icans.core.times import HOURS_PER_DAY, day_number
from icans.harmonize.grading import cytopenia, registry
from icans.harmonize.grading.crs import fever
from icans.harmonize.grading.daily import Day, days
from icans.harmonize.grading.findings import Findings, Grade
from icans.harmonize.grading.options import DEFAULT, GradingOptions

#: Drugs after which fever is no longer needed for CRS (Lee 2019: antipyretic, anti-cytokine, steroid).
MASKING_DRUGS = frozenset(
    {
        "tocilizumab", "siltuximab", "anakinra", "sarilumab", "emapalumab", "ruxolitinib", "etanercept", "infliximab",
        "dexamethasone", "methylprednisolone", "prednisone", "prednisolone", "hydrocortisone", "corticosteroid",
        "paracetamol", "acetaminophen", "ibuprofen", "metamizole",
    }
)  # fmt: skip
ADJUSTED = "ASTCT_adjusted"


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
        schemes that the cohort has items or counts for.

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
    bedside = days(cohort)
    rows: list[dict[str, object]] = []
    for scheme in by_day if by_day is not None else registry.SCHEMES.values():
        rows += _daily_rows(bedside, scheme, cohort, options)
    for name in by_series:
        rows += _series_rows(cohort, name)
    kept = cohort.grades[~((cohort.grades["source"] == "derived").fillna(False))]
    derived = schema.GRADES.shape_up(pd.DataFrame(rows)) if rows else schema.GRADES.empty()
    note = change_rows(
        "grades", "grades.derived", f"graded from bedside findings and counts; options {options}", rows=len(derived)
    )  # fmt: skip
    return cohort.with_table("grades", stack(schema.GRADES, [kept, derived]), note if len(derived) else None)


def grade_days(cohort: Cohort, scheme: str, *, options: GradingOptions = DEFAULT) -> list[tuple[Day, Grade]]:
    """Every patient-day with its full grade (domains, flags, notes) under one scheme, for reading why."""
    entry = registry.scheme(scheme)
    bedside = days(cohort)
    if entry.toxicity == "CRS" and entry.scheme == "ASTCT":
        bedside = _with_masking(bedside, cohort, options)
    return [(day, entry.function(day.found, options)) for day in bedside if _speaks(day, entry)]


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


def _daily_rows(
    bedside: list[Day], scheme: registry.Scheme, cohort: Cohort, options: GradingOptions
) -> list[dict[str, object]]:
    if scheme.toxicity == "CRS" and scheme.scheme == "ASTCT":
        bedside = _with_masking(bedside, cohort, options)
    grade = _remembering(scheme, options)
    rows = []
    for day in bedside:
        if not _speaks(day, scheme):
            continue
        result = grade(day.found)
        rows.append(_row(day, scheme.toxicity, scheme.scheme, result.grade, result.lower_bound))
        if scheme.name == "ICANS/ASTCT" and day.found.baseline:
            rows.append(_row(day, scheme.toxicity, ADJUSTED, result.adjusted, result.lower_bound))
    return rows


def _row(day: Day, toxicity: str, scheme: str, grade: float | None, lower_bound: bool) -> dict[str, object]:
    return {
        "patient_id": day.patient_id,
        "time_h": HOURS_PER_DAY * day.day,
        "available_h": day.available_h,
        "toxicity": toxicity,
        "scheme": scheme,
        "grade": grade,
        "source": "derived",
        "lower_bound": lower_bound,
    }


def _remembering(scheme: registry.Scheme, options: GradingOptions):
    """The scheme's function with equal findings graded once (most days of a ward look alike)."""

    @cache
    def by_key(key: tuple) -> Grade:
        values, rest = key
        return scheme.function(replace(rest_of[rest], values=dict(values)), options)

    rest_of: dict[tuple, Findings] = {}

    def grade(found: Findings) -> Grade:
        rest = (found.not_attributable, found.age_y, found.developmental_delay, found.seizure_history,
                tuple(sorted(found.baseline.items())), found.incomplete)  # fmt: skip
        rest_of.setdefault(rest, found)
        return by_key((frozenset(found.values.items()), rest))

    return grade


def _with_masking(bedside: list[Day], cohort: Cohort, options: GradingOptions) -> list[Day]:
    """Days on which a treatment since CRS began makes fever unnecessary carry the item that says so.

    CRS begins with the first day of fever; the masking ends when fever, hypotension and hypoxia were absent (or
    not recorded) on ``options.masking_persists_days`` days in a row.
    """
    given = cohort.treatments[cohort.treatments["drug"].isin(MASKING_DRUGS)]
    drug_days = {
        str(patient): sorted(set(day_number(part["time_h"]).tolist())) for patient, part in given.groupby("patient_id")
    }
    result: list[Day] = []
    state = _Masking(options)
    for day in bedside:
        if day.patient_id != state.patient_id:
            state = _Masking(options, day.patient_id, drug_days.get(day.patient_id, []))
        result.append(state.see(day))
    return result


class _Masking:
    """One patient's episode of CRS, day by day."""

    def __init__(self, options: GradingOptions, patient_id: str = "", drug_days: list[int] | None = None) -> None:
        self.options, self.patient_id, self.drug_days = options, patient_id, drug_days or []
        self.began: int | None = None
        self.last_sign = 0

    def see(self, day: Day) -> Day:
        """The day, with the item set when treatment since onset makes fever unnecessary."""
        febrile = bool(fever(day.found, self.options))
        if self.began is not None and day.day - self.last_sign > self.options.masking_persists_days:
            self.began = None
        if self.began is None and febrile:
            self.began = day.day
        if self.began is not None and (febrile or _unwell(day.found)):
            self.last_sign = day.day
        since = -(10**6) if self.options.prophylaxis_masks else self.began
        if self.began is None or "antipyretic_or_anticytokine" in day.found.values:
            return day
        treated = any(since <= given <= day.day for given in self.drug_days)  # type: ignore[operator]
        values = {**day.found.values, "antipyretic_or_anticytokine": treated}
        return replace(day, found=replace(day.found, values=values))


def _unwell(found: Findings) -> bool:
    low = found.flag("hypotension") or found.flag("vasopressin") or (found.number("vasopressors") or 0) > 0
    oxygen = bool(found.words("oxygen_device") - {"none"}) or bool(found.number("oxygen_flow_l_min"))
    return bool(low or oxygen)


def _series_rows(cohort: Cohort, name: str) -> list[dict[str, object]]:
    if name not in cytopenia.RULES:
        raise GradingError(f"no cytopenia rule {name!r}; there are {cytopenia.RULES}")
    rule = cytopenia.rules()["cytopenia"][name]
    rows = []
    for patient, series in cytopenia.daily_series(cohort, rule["analyte"]).items():
        result = cytopenia.grade_cytopenia(series, name)
        if result.grade is None:
            continue
        end = float(rule["to_day"]) if series.end_day is None else min(float(rule["to_day"]), series.end_day)
        day = Day(patient, int(end), Findings(), HOURS_PER_DAY * (int(end) + 1))
        rows.append(_row(day, result.toxicity, name.removeprefix("T-"), result.grade, result.lower_bound))
    return rows
