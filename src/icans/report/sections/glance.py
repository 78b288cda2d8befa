"""1. At a glance: what was done, and what it found, never without the leakage audit beside it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.report import format as fmt
from icans.report.model import ReportData
from icans.report.outcomes import ANY_GRADE, SEVERE_GRADE, worst_grade
from icans.report.page import Builder, Callout, Facts, Heading, Section, Text, absent, blocks_of
from icans.report.sections import focus

#: Rows of the small result table at most.
RESULT_LIMIT = 12

LEAD = "What was done, and what it found. A score stands here only beside what the leakage audit says about it."


def section(builder: Builder) -> Section:
    """Facts of the cohort, the audit's judgement, then the declared headline or the results among cases."""
    data = builder.data
    return Section(
        "glance",
        "At a glance",
        LEAD,
        blocks_of(_facts(data), _warnings(data), Heading("Main result"), _results(builder)),
    )


def _facts(data: ReportData) -> Facts | Callout:
    cohort = data.cohort
    if cohort is None:
        return absent("No cohort was handed to the report.")
    worst = worst_grade(cohort, "ICANS")
    graded = int(worst.notna().sum())
    cases, severe = int((worst >= ANY_GRADE).sum()), int((worst >= SEVERE_GRADE).sum())
    items = [(fmt.whole(len(cohort)), "Patients", f"{fmt.whole(graded)} with an ICANS grade")]
    if graded:
        items.append((fmt.whole(cases), "Had ICANS", f"{fmt.percent(cases / graded)} of those graded"))
        items.append((fmt.whole(severe), "Grade 3 or higher", f"{fmt.percent(severe / graded)} of those graded"))
    results = int(cohort.measurements["value"].notna().sum())
    analytes = len(cohort.analytes())
    items.append((fmt.whole(results), "Results", f"of {fmt.plural(analytes, 'analyte')}"))
    changed = int(cohort.changes["rows"].fillna(1).sum())
    items.append((fmt.whole(changed), "Rows changed", "or assumed; each with its reason"))
    return Facts(tuple(items))


def _warnings(data: ReportData) -> Callout | None:
    if not data.problems:
        return None
    count = len(data.problems)
    return Callout(
        f"{fmt.plural(count, 'kind')} of warning from the data checks", ("They are listed in section 3.",), "caution"
    )


def _results(builder: Builder) -> tuple[Any, ...]:
    data = builder.data
    if data.performance is None or data.performance.empty:
        return (absent("This run made no forecasts.", "The report describes the data only."),)
    if data.audit is None:
        return (
            Callout(
                "No score is shown here: the leakage audit was not run",
                ("Without it a score may measure how the data were collected. Section 7 has the numbers.",),
                "bad",
            ),
        )
    declared_among_cases = data.headline is not None and data.task(data.headline.task).cases_only
    if data.audit.occurrence_can_be_validated is False and not declared_among_cases:
        return blocks_of(
            Callout(
                "The occurrence of ICANS cannot be validated on this cohort",
                _brief(data)
                or ("The leakage audit found that the outcome can be told from how the data were delivered.",),
                "bad",
            ),
            _cases_only(builder),
        )
    return blocks_of(_headline(builder), _audit_summary(data))


def _brief(data: ReportData) -> tuple[str, ...]:
    """The audit's first sentence, and where the others are."""
    sentences = focus.said(data)
    more = ("What was found, check by check, is in the section on the leakage audit.",) if len(sentences) > 1 else ()
    return (*sentences[:1], *more)


def _audit_summary(data: ReportData) -> Callout:
    assert data.audit is not None
    if data.audit.occurrence_can_be_validated is None:
        return Callout("The leakage audit could not decide", _brief(data), "caution")
    return Callout("What the leakage audit says", _brief(data), "good")


def _headline(builder: Builder) -> Any:
    """The declared result, or the ladder of the first task where none was declared."""
    data = builder.data
    rows = data.performance
    assert rows is not None
    if data.headline is None:
        first = focus.tasks_in_order(data, rows)[0].name
        return _result_table(builder, _front(data, rows[rows["task"] == first]))
    chosen = _declared(data, rows)
    if chosen.empty:
        return absent("The declared main result could not be estimated.", "Section 7 has what could.")
    return Text(focus.result_sentence(data, chosen.iloc[0])), _result_table(builder, chosen)


def _declared(data: ReportData, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the headline's task, landmark, horizon and metric: the declared model, then the rest of the ladder."""
    h = data.headline
    if h is None:
        return rows.iloc[:0]
    mine = (rows["task"] == h.task) & (rows["landmark_h"] == h.landmark_h)
    mine &= (rows["horizon_h"] == h.horizon_h) & (rows["metric"] == h.metric)
    chosen = rows[mine & rows["value"].notna()]
    if h.model not in set(chosen["model"]):
        return chosen.iloc[:0]
    return chosen.sort_values("model", key=lambda m: m != h.model, kind="stable")


def _cases_only(builder: Builder) -> Any:
    data = builder.data
    rows = data.performance
    assert rows is not None
    names = [t.name for t in focus.tasks_in_order(data, rows) if t.cases_only]
    if not names:
        return absent("No result among cases only was made; no score can lead this report.")
    parts = [_front(data, rows[rows["task"] == name]) for name in names]
    intro = Text("Results among patients who had ICANS, which the audit allows:")
    return intro, [_result_table(builder, part) for part in parts]


def _front(data: ReportData, rows: pd.DataFrame) -> pd.DataFrame:
    """The ladder of one task: first metric, one horizon, the landmark with most events."""
    rows = rows[rows["metric"] == focus.metrics_in_order(rows)[0]]
    rows = focus.one_horizon(data, rows)
    events = rows.groupby("landmark_h")["events"].max()
    landmark = events.idxmax() if events.notna().any() else rows["landmark_h"].min()
    rows = rows[rows["landmark_h"] == landmark]
    order = data.model_order(list(rows["model"]))
    return rows.sort_values("model", key=lambda m: m.map(order.index), kind="stable")


def _result_table(builder: Builder, rows: pd.DataFrame) -> Any:
    """Models on one task, landmark, horizon and metric; the audit stands right beside the value, on a phone, too."""
    data, first = builder.data, rows.iloc[0]
    lines = [
        {
            "Model": data.model_label(row.model),
            f"{fmt.metric(row.metric)} (interval)": fmt.estimate(row.value, row.low, row.high),
            "Leakage audit": focus.audit_beside(data, data.task(row.task), row.landmark_h),
            "Events / patients": f"{fmt.whole(row.events)} / {fmt.whole(row.n)}",
        }
        for row in rows.head(RESULT_LIMIT).itertuples()
    ]
    task = data.task(first["task"])
    title = f"{task.label}, forecast on {focus.when(task, first['landmark_h'])}, next {fmt.horizon(first['horizon_h'])}"
    note = (
        "Leakage audit: AUROC reached without any clinical value, from where rows came from and how they "
        "are written, and from how many rows were known at that landmark. Other landmarks, horizons and "
        "metrics are in the section on forecasts."
    )
    return builder.table(pd.DataFrame(lines), title, note=note, fold=False)
