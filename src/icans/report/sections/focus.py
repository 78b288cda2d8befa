"""Which rows of the many results stand in front: one horizon a landmark, a few models, tasks in a fixed order."""

from __future__ import annotations

import re

import pandas as pd

from icans.report import format as fmt
from icans.report.figures.curves import REFERENCES
from icans.report.model import Audit, ReportData, Task
from icans.report.page import Callout, Chip, verdict

#: Models drawn in one calibration or decision plot at most; more cannot be told apart.
CURVES_LIMIT = 3

#: Metrics that are printed, in this order; the full table has the rest. Where none of them is there, all are printed.
METRIC_ORDER = ("auc_within_fold", "auc", "auroc", "brier_scaled", "oe", "slope", "ici")
_AUROC = METRIC_ORDER[:3]


def tasks_in_order(data: ReportData, frame: pd.DataFrame) -> list[Task]:
    """Tasks of a table: as declared; those among cases first when occurrence cannot be validated."""
    met = list(dict.fromkeys(frame["task"]))
    declared = [task.name for task in data.tasks if task.name in met]
    tasks = [data.task(name) for name in declared + [n for n in met if n not in declared]]
    if data.audit is not None and data.audit.occurrence_can_be_validated is False:
        tasks.sort(key=lambda task: not task.cases_only)
    return tasks


def one_horizon(data: ReportData, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one horizon a landmark.

    The headline's horizon where the rows have it; else the horizon that most landmarks share (of several, the
    longest); landmarks without it keep their longest.
    """
    if frame.empty:
        return frame
    shared = frame.groupby("horizon_h")["landmark_h"].nunique()
    wanted = shared[shared == shared.max()].index.max()
    if data.headline is not None and data.headline.horizon_h in shared.index:
        wanted = data.headline.horizon_h
    longest = frame.groupby("landmark_h")["horizon_h"].max()
    has = frame.loc[frame["horizon_h"] == wanted, "landmark_h"].unique()
    chosen = longest.where(~longest.index.isin(has), wanted)
    return frame[frame["horizon_h"] == frame["landmark_h"].map(chosen)]


def metrics_in_order(frame: pd.DataFrame) -> list[str]:
    """Metrics of a table that are printed, those that are read first in front."""
    met = list(dict.fromkeys(frame["metric"]))
    first = next((m for m in _AUROC if m in met), None)
    return [m for m in METRIC_ORDER if m in met and (m == first or m not in _AUROC)] or met


def when(task: Task, landmark_h: float) -> str:
    """A landmark of a task: ``day 3``, or ``day 1 from onset``."""
    return fmt.landmark(landmark_h) + (f" from {task.anchor}" if task.anchor != "infusion" else "")


def curve_models(data: ReportData, frame: pd.DataFrame) -> list[str]:
    """Models for curves: those asked for, else the headline's first and then the ladder's second and last."""
    met = list(ladder_labels(data, frame))
    if data.shown_models:
        return [m for m in data.shown_models if m in met][:CURVES_LIMIT] or met[:1]
    first = [data.headline.model] if data.headline is not None and data.headline.model in met else []
    return list(dict.fromkeys([*first, *met[1:2], *met[-1:], *met]))[:CURVES_LIMIT]


def ladder_labels(data: ReportData, frame: pd.DataFrame) -> dict[str, str]:
    """Label by model in the order of the whole ladder (so that a model keeps its colour), reference strategies not."""
    met = [m for m in dict.fromkeys(frame["model"]) if m not in REFERENCES]
    return {m: data.model_label(m) for m in data.model_order([*data.models, *met])}


def audit_chip(data: ReportData, task: Task) -> Chip:
    """The audit's judgement of one task in a word: its worst verdict, and how many checks had one so bad."""
    assert data.audit is not None
    chips = _verdicts(data.audit, task)
    for look in ("bad", "caution"):
        found = [chip for chip in chips if chip.look == look]
        if found:
            return Chip(f"{found[0].text} ({len(found)} of {len(chips)} checks)", look)
    if task.cases_only and not chips:
        return Chip("cases only", "good")
    if data.audit.occurrence_can_be_validated is None or not chips:
        return Chip("undecided", "caution")
    return Chip(f"quiet in {fmt.plural(len(chips), 'check')}", "good")


def _verdicts(audit: Audit, task: Task) -> list[Chip]:
    """Verdicts of the rows that speak of a task; of all rows when the audit names no tasks (not for cases only)."""
    if "verdict" not in audit.table:
        return []
    if "task" in audit.table:
        rows = audit.table[audit.table["task"].isna() | (audit.table["task"].astype(str) == task.name)]
    else:
        rows = audit.table.iloc[:0] if task.cases_only else audit.table
    return [_chip_of(row) for _, row in rows.iterrows()]


def _chip_of(row: pd.Series) -> Chip:
    """The verdict of a check. How long and how often a patient was watched *after* onset is care: a caution at most."""
    chip = verdict(row["verdict"])
    late = row.get("kind") == "process" and not str(row.get("scope", "")).startswith("known by")
    return Chip(chip.text, "caution") if late and chip.look == "bad" else chip


def audit_beside(data: ReportData, task: Task, landmark_h: float) -> Chip:
    """What stands beside a score: the AUROC of the record's source alone and of row counts alone.

    *Source* is the strongest check of where rows came from and how they were written (the product is a real cause and
    left out); *counts* are the rows known by the score's landmark, else of the whole record.
    """
    assert data.audit is not None
    table, judged = data.audit.table, audit_chip(data, task)
    if not {"task", "check", "kind", "scope", "value"} <= set(table.columns):
        return judged
    rows = table[(table["task"].astype(str) == task.name) & table["value"].notna()]
    source = rows.loc[(rows["kind"] == "provenance") & (rows["check"] != "product"), "value"]
    counts = rows[rows["check"] == "row counts"]
    known = counts[counts["scope"] == f"known by day {landmark_h / 24:g}"]
    counts = known if len(known) else counts
    parts = [f"source {source.max():.2f}"] if len(source) else []
    parts += [f"counts {counts['value'].iloc[0]:.2f}"] if len(counts) else []
    return Chip(", ".join(parts), judged.look) if parts else judged


def said(data: ReportData) -> tuple[str, ...]:
    """The sentences of the audit, with the tasks' labels for their names."""
    found = list(data.audit.sentences) if data.audit is not None else []
    for task in data.tasks:
        found = [re.sub(rf"\b{re.escape(task.name)}\b", lambda _, t=task: t.label, text) for text in found]  # type: ignore[misc]
    return tuple(found)


def audit_callout(data: ReportData, task: Task) -> Callout:
    """What the leakage audit says of the scores of a task; stands in front of them."""
    if data.audit is None:
        return Callout(
            "No leakage audit was run",
            ("The scores below may measure how the data were collected rather than the disease. Do not quote them.",),
            "bad",
        )
    can = data.audit.occurrence_can_be_validated
    if task.cases_only:
        return Callout(
            "Leakage audit: compares cases only",
            (
                "All patients of this task had ICANS: whether the source tells cases from others does not matter here.",
                f"Its own checks: {audit_chip(data, task).text}.",
            ),
            audit_chip(data, task).look,
        )
    if can is False:
        return Callout(
            "Leakage audit: these scores are not evidence",
            (
                "In this cohort the way a patient's data were delivered tells whether the patient had ICANS. "
                "A score for occurrence measures that, too, and may not be quoted as performance.",
            ),
            "bad",
        )
    if can is None:
        return Callout("Leakage audit: undecided", said(data)[:2], "caution")
    return Callout("Leakage audit: no leak found that would explain these scores", said(data)[:1], "good")


def result_sentence(data: ReportData, row: pd.Series) -> str:
    """One result in words, with who it speaks of."""
    task, label = data.task(row["task"]), data.model_label(row["model"])
    value = fmt.estimate(row["value"], row["low"], row["high"])
    who = f"{fmt.whole(row['events'])} events among {fmt.whole(row['n'])} patients"
    when_made = f"forecast on {when(task, row['landmark_h'])} for the next {fmt.horizon(row['horizon_h'])}"
    return f"{task.label}, {when_made}: {label} reached {fmt.metric(row['metric'])} {value}, with {who}."
