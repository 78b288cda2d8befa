"""3. Data quality: what the checks found, what the harmonisation found and changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.cohort.schema import TABLES
from icans.cohort.vocabulary import analytes
from icans.report import format as fmt
from icans.report.model import ReportData
from icans.report.page import FOLD_ABOVE, Builder, Chip, Fold, Heading, Section, Text, absent, blocks_of

LEAD = "What was wrong or doubtful in the data as delivered, and every change that was made before the analysis."

#: Confidence from which a finding is called sure, and below which doubtful (only for the colour of its chip).
SURE, DOUBTFUL = 0.95, 0.8


def section(builder: Builder) -> Section:
    """Warnings, findings, changes, censoring and duplicates."""
    data = builder.data
    return Section(
        "quality",
        "Data quality and harmonisation",
        LEAD,
        blocks_of(
            _sizes(builder), Heading("Warnings of the checks"), _problems(builder),
            Heading("Units, batches and limits that were found"), _findings(builder),
            Heading("Changes"), _changes(builder),
            Heading("Results at a limit, and repeated rows"), _censoring(builder), _duplicates(data),
        ),
    )  # fmt: skip


def _sizes(builder: Builder) -> Any:
    """Rows of each table as delivered and as analysed."""
    delivered, harmonised = builder.data.delivered, builder.data.harmonised
    if delivered is None and harmonised is None:
        return None
    columns = {"As delivered": delivered, "As analysed": harmonised}
    lines = [
        {"Table": name, **{head: len(c.table(name)) for head, c in columns.items() if c is not None}}
        for name in TABLES
    ]  # fmt: skip
    frame = pd.DataFrame(lines)
    return builder.table(frame[frame.iloc[:, 1:].sum(axis=1) > 0], "Rows of each table")


def _problems(builder: Builder) -> tuple[Any, ...]:
    problems = list(builder.data.problems)
    if not problems:
        return (Text("The checks had no warnings."),)
    kinds = Counter((p.severity, p.file, p.column or fmt.NOTHING, p.expected) for p in problems)
    summary = pd.DataFrame(
        [(s, f, c, e, n) for (s, f, c, e), n in kinds.most_common()],
        columns=["Severity", "File", "Column", "Expected", "Count"],
    )
    full = pd.DataFrame([p.as_dict() for p in problems])[["file", "row", "column", "value", "expected", "remedy"]]
    full["row"] = full["row"].astype("Int64")
    parts: list[Any] = [builder.table(summary, f"Warnings by kind ({len(problems)} in all)")]
    if len(problems) > len(summary) or len(problems) <= 5:
        listed = builder.table(full, "Every warning", file="problems.parquet", fold=False)
        parts.append(Fold(f"Every warning ({fmt.whole(len(problems))})", (listed,)))
    return tuple(parts)


def _findings(builder: Builder) -> Any:
    findings = builder.data.findings
    if findings is None or findings.empty:
        return Text("No finding on units, batches or limits was handed to the report.")
    known = analytes()
    where = findings["scope"].astype(str)
    if "patient_id" in findings:
        where = where + findings["patient_id"].map(lambda p: "" if fmt.absent(p) else f" {p}")
    table = pd.DataFrame(
        {
            "Analyte": [known[a].label if a in known else str(a) for a in findings["analyte"]],
            "Where": where,
            "Finding": findings["kind"].astype(str).str.replace("_", " "),
            "Proposal": findings["proposal"],
            "Rows": findings["n_rows"],
            "Confidence": [_confidence(c) for c in findings["confidence"]],
            "Evidence": findings["evidence"],
        }
    )
    order = findings.assign(wide=findings["scope"].ne("batch")).sort_values(
        ["wide", "n_rows"], ascending=[True, False], kind="stable"
    )
    table = table.loc[order.index]
    note = "A finding below the confidence that the study asks for is reported, not applied."
    title = "What the harmonisation found"
    if len(table) <= FOLD_ABOVE:
        return builder.table(table, title, note=note, file="findings.parquet")
    keys = ["analyte", "scope", "kind", "proposal"]
    counts = findings.fillna({k: fmt.NOTHING for k in keys}).groupby(keys, sort=False)
    summary = counts.agg(findings=("n_rows", "size"), rows=("n_rows", "sum"), confidence=("confidence", "min"))
    summary = summary.sort_values("rows", ascending=False, kind="stable").reset_index()
    summary["analyte"] = [known[a].label if a in known else str(a) for a in summary["analyte"]]
    summary["confidence"] = pd.Series([_confidence(c) for c in summary["confidence"]], dtype=object)
    head = f"Findings by analyte and kind ({len(table)} in all)"
    brief = builder.table(summary, head, names={"confidence": "least confidence"}, note=note, fold=False)
    return brief, builder.table(table, title, file="findings.parquet")


def _confidence(value: float) -> Chip:
    if fmt.absent(value):
        return Chip(fmt.NOTHING)
    look = "good" if value >= SURE else "caution" if value >= DOUBTFUL else "bad"
    return Chip(fmt.number(value), look)


def _changes(builder: Builder) -> tuple[Any, ...]:
    cohort = builder.data.cohort
    if cohort is None or cohort.changes.empty:
        return (Text("Nothing was changed or assumed."),)
    rows = cohort.changes
    keys = ["table", "item", "column", "rule", "why"]
    grouped = rows.fillna({k: "" for k in keys}).assign(rows=rows["rows"].fillna(1))
    summary = grouped.groupby(keys, sort=False, observed=True).agg(
        lines=("rows", "size"), rows=("rows", "sum"), patients=("patient_id", "nunique")
    )  # fmt: skip
    summary = summary.sort_values("rows", ascending=False, kind="stable").reset_index()
    summary["patients"] = [fmt.whole(p) if p else "all" for p in summary["patients"]]
    summary = summary.drop(columns="lines")
    names = {"item": "Analyte, drug, item", "why": "Reason", "rows": "Rows", "rule": "Rule", "table": "Table"}
    called = {**names, "column": "Column", "patients": "Patients", "patient_id": "Patient"}
    brief = builder.table(summary, "Changes by rule", names=called, fold=False)
    full = rows[["table", "patient_id", "time_h", "item", "column", "old", "new", "rule", "confidence", "rows"]]
    listed = builder.table(full, "Every change", file="changes.parquet", fold=False, names=called)
    return brief, Fold(f"Every change ({fmt.plural(len(full), 'line')})", (listed,))


def _censoring(builder: Builder) -> Any:
    cohort = builder.data.cohort
    if cohort is None:
        return absent("No cohort was handed to the report.")
    rows = cohort.measurements
    limited = rows[rows["censor"].isin(["left", "right"])]
    if limited.empty:
        return Text("No result is marked as below or above a limit.")
    totals = rows[rows["value"].notna() | rows["censor"].ne("none")].groupby("analyte").size()
    table = limited.groupby(["analyte", "censor"], as_index=False).agg(
        rows=("censor", "size"), limits=("limit", "nunique"), lowest=("limit", "min"), highest=("limit", "max")
    )
    known = analytes()
    shown = pd.DataFrame(
        {
            "Analyte": [known[a].label if a in known else a for a in table["analyte"]],
            "Side": table["censor"].map({"left": "below limit", "right": "above limit"}),
            "Rows": table["rows"],
            "Share of results": (table["rows"] / table["analyte"].map(totals)).map(lambda s: fmt.percent(s, 1)),
            "Different limits": table["limits"],
            "Lowest limit": table["lowest"],
            "Highest limit": table["highest"],
        }
    )  # fmt: skip
    return builder.table(shown.sort_values("Rows", ascending=False), "Results at a limit")


def _duplicates(data: ReportData) -> Text | None:
    cohort = data.cohort
    if cohort is None:
        return None
    counts = {"measurements": _repeated(cohort, "measurements"), "grades": _repeated(cohort, "grades")}
    found = [f"{fmt.whole(n)} rows of {name}" for name, n in counts.items() if n]
    if not found:
        return Text("No row repeats the patient, time and name of another.")
    return Text(f"{fmt.joined(found).capitalize()} share patient, time and name with an earlier row.")


def _repeated(cohort: Cohort, table: str) -> int:
    return int(cohort.table(table).duplicated(list(TABLES[table].key)).sum())
