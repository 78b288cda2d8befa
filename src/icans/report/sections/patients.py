"""2. Patients: Table 1, overall and by source, site and outcome."""

from __future__ import annotations

from typing import Any

from icans.cohort.cohort import Cohort
from icans.report.page import Builder, Fold, Grid, Section, Text, absent, blocks_of
from icans.report.tables import lay_out, table_one

LEAD = "Who was studied. Differences between groups are described, not tested."

NOTE = (
    "Numbers: median [lower to upper quartile]. Shares are of patients with a value; \"missing\" counts those "
    "without one. Std. diff.: largest standardised difference between groups (above 0.1 is often called an imbalance)."
)  # fmt: skip

#: More groups than this make a table that nobody can read.
GROUP_LIMIT = 8


def section(builder: Builder) -> Section:
    """Table 1 by outcome in the open; by source and by site folded."""
    cohort = builder.data.cohort
    if cohort is None:
        return Section("patients", "Patients", LEAD, (absent("No cohort was handed to the report."),))
    graded = cohort.grades["toxicity"].eq("ICANS").any()
    first = _table(
        builder, cohort, "outcome" if graded else None, "Patients by worst ICANS grade" if graded else "Patients"
    )
    others = [_grouped(builder, cohort, column) for column in ("source", "site", "product", "disease")]
    return Section("patients", "Patients", LEAD, blocks_of(_origin(cohort), first, others))


def _origin(cohort: Cohort) -> Text | None:
    parts = [
        p
        for p in (cohort.provenance.citation, cohort.provenance.licence and f"Licence: {cohort.provenance.licence}.")
        if p
    ]
    return Text(" ".join(parts), soft=True) if parts else None


def _table(builder: Builder, cohort: Cohort, by: str | None, title: str) -> Grid:
    return builder.table(lay_out(table_one(cohort, by)), title, note=NOTE, fold=False, row_heads=True)


def _grouped(builder: Builder, cohort: Cohort, column: str) -> Any:
    """Table 1 by a column of patients, when it makes between two and :data:`GROUP_LIMIT` groups."""
    values = cohort.patients[column]
    if not 2 <= values.nunique(dropna=False) <= GROUP_LIMIT or values.isna().all():
        return None
    title = f"Patients by {column}"
    return Fold(title, (_table(builder, cohort, column, title),))
