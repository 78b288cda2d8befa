"""8. Leakage audit: could a score come from how the data were collected?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.report.model import Audit
from icans.report.page import Builder, Bullets, Callout, Section, blocks_of, merge_interval, verdict
from icans.report.sections import focus

LEAD = (
    "Whether the outcome can be told from things that no disease causes: the source, the units, the rounding, what "
    "was measured, how long the record is."
)

#: Checks up to which all are printed in the open, and the columns of the short table beyond.
FEW = 15
BRIEF = ("task", "check", "scope", "data", "value", "verdict", "meaning", "what")


def section(builder: Builder) -> Section:
    """The judgement, its sentences, and every check with its verdict."""
    audit = builder.data.audit
    if audit is None:
        missing = Callout("No leakage audit was run", ("No score of this report should be quoted.",), "bad")
        return Section("audit", "Leakage audit", LEAD, (missing,))
    sentences = Bullets(focus.said(builder.data)) if audit.sentences else None
    return Section("audit", "Leakage audit", LEAD, blocks_of(_judgement(audit), sentences, _tables(builder, audit)))


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


def _tables(builder: Builder, audit: Audit) -> tuple[Any, ...]:
    """The checks that speak up in the open, every check folded."""
    table = merge_interval(audit.table)
    names = {"value": "AUROC (interval)", "events": "cases", "columns": "features"}
    if "verdict" not in table:
        return (builder.table(table, "Checks of the audit", names=names, file="audit.parquet", fold=False),)
    chips = [verdict(word) for word in table["verdict"]]
    table["verdict"] = pd.Series(chips, index=table.index, dtype=object)
    loud = table[[chip.look in ("bad", "caution") for chip in chips]]
    if len(table) <= FEW or loud.empty:
        return (builder.table(table, "Checks of the audit", names=names, file="audit.parquet", fold=len(table) > FEW),)
    loud = loud.iloc[sorted(range(len(loud)), key=lambda i: loud["verdict"].iloc[i].look != "bad")]
    kept = [c for c in BRIEF if c in loud]
    title = f"Checks that speak up ({len(loud)} of {len(table)}{f'; first {FEW} shown' if len(loud) > FEW else ''})"
    return (
        builder.table(loud[kept].head(FEW), title, names=names, fold=False),
        builder.table(table, "Every check of the audit", names=names, file="audit.parquet", fold=True),
    )
