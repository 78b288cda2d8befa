"""8. Leakage audit: could a score come from how the data were collected?"""

from __future__ import annotations

import pandas as pd

from icans.report import format as fmt
from icans.report.model import Audit
from icans.report.page import Builder, Bullets, Callout, Grid, Section, blocks_of, verdict

LEAD = (
    "Whether the outcome can be told from things that no disease causes: the source, the units, the rounding, what "
    "was measured, how long the record is."
)


def section(builder: Builder) -> Section:
    """The judgement, its sentences, and every check with its verdict."""
    audit = builder.data.audit
    if audit is None:
        missing = Callout("No leakage audit was run", ("No score of this report should be quoted.",), "bad")
        return Section("audit", "Leakage audit", LEAD, (missing,))
    sentences = Bullets(audit.sentences) if audit.sentences else None
    return Section("audit", "Leakage audit", LEAD, blocks_of(_judgement(audit), sentences, _table(builder, audit)))


def _judgement(audit: Audit) -> Callout:
    if audit.occurrence_can_be_validated is False:
        return Callout(
            "The occurrence of ICANS cannot be validated on this cohort",
            ("Scores for occurrence are printed for the record only; results among cases lead the report.",),
            "bad",
        )
    if audit.occurrence_can_be_validated is None:
        return Callout("The audit could not decide", ("Read the checks below before any score.",), "caution")
    return Callout("No check found a leak that would explain the scores", (), "good")


def _table(builder: Builder, audit: Audit) -> Grid:
    table = audit.table.copy()
    if {"value", "low", "high"} <= set(table.columns):
        shown = [fmt.estimate(*row) for row in table[["value", "low", "high"]].itertuples(index=False)]
        table["value"] = shown
        table = table.drop(columns=["low", "high"])
    for column, show in (("landmark_h", fmt.landmark), ("horizon_h", fmt.horizon)):
        if column in table:
            table[column] = table[column].map(show)
    if "verdict" in table:
        table["verdict"] = pd.Series([verdict(v) for v in table["verdict"]], index=table.index, dtype=object)
    names = {"landmark_h": "landmark", "horizon_h": "horizon", "value": "value (interval)"}
    return builder.table(table, "Checks of the audit", names=names, file="audit.parquet", fold=False)
