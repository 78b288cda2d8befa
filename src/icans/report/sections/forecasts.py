"""7. Forecasts: the ladder of models, calibration, decision curves, and the path of grades."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.report import format as fmt
from icans.report.figures.curves import fig_calibration, fig_decision
from icans.report.figures.performance import fig_grade_paths, fig_ladder
from icans.report.model import ReportData, Task
from icans.report.page import Builder, Fold, Gallery, Grid, Heading, Section, Text, absent, blocks_of, merge_interval
from icans.report.sections import focus

LEAD = (
    "How well each model foresaw what came, on patients it had not seen. Every claim is measured against simpler "
    "rivals; forecasts are under usual care."
)

#: Landmarks drawn at most for the grade paths, evenly spread; the table has all.
PATH_PANELS = 5

#: Metrics that get a figure of their own; the table has all.
FIGURE_METRICS = 2


def section(builder: Builder) -> Section:
    """One part a task, then the grade paths; each begins with what the audit says."""
    data = builder.data
    if data.performance is None or data.performance.empty:
        why = "The sections on patients, data and grades stand for themselves."
        return Section(
            "forecasts", "Forecasts", LEAD, blocks_of(absent("This run made no forecasts.", why), _extras(builder))
        )
    parts: list[Any] = [_models(builder)]
    for task in focus.tasks_in_order(data, data.performance):
        parts += _task(builder, task)
    return Section("forecasts", "Forecasts", LEAD, blocks_of(parts, _grade_paths(builder), _extras(builder)))


def _task(builder: Builder, task: Task) -> list[Any]:
    data = builder.data
    assert data.performance is not None
    rows = data.performance[data.performance["task"] == task.name]
    front = focus.one_horizon(data, rows)
    return [
        Heading(task.label),
        Text(task.description) if task.description else None,
        focus.audit_callout(data, task),
        *_ladders(builder, task, front),
        _performance_table(builder, task, rows),
        _comparisons(builder, task),
        _calibration(builder, task),
        _decision(builder, task),
    ]


def _ladders(builder: Builder, task: Task, rows: pd.DataFrame) -> list[Any]:
    pictures = []
    anchor = "" if task.anchor == "infusion" else f" (days from {task.anchor})"
    for name in focus.metrics_in_order(rows)[:FIGURE_METRICS]:
        part = rows[(rows["metric"] == name) & rows["value"].notna()]
        if part.empty:
            continue
        labels = focus.ladder_labels(builder.data, part)
        horizons = fmt.joined([fmt.horizon(h) for h in sorted(part["horizon_h"].unique())], "or")
        pictures.append(
            builder.picture(
                fig_ladder(part, labels),
                f"{task.label}: {fmt.metric(name)} within {horizons} of each landmark{anchor}",
                "One panel a landmark, with events of patients above it; dots with intervals. Dashed: no better than "
                "chance.",
                _ladder_words(builder.data, part),
            )
        )
    return pictures


def _ladder_words(data: ReportData, rows: pd.DataFrame) -> str:
    first = rows[rows["landmark_h"] == rows["landmark_h"].min()]
    values = [f"{data.model_label(r.model)} {fmt.estimate(r.value, r.low, r.high)}" for r in first.itertuples()]
    name, when = fmt.metric(str(rows["metric"].iloc[0])), fmt.landmark(first["landmark_h"].iloc[0])
    return f"{name} at {when}: {'; '.join(values)}."


def _performance_table(builder: Builder, task: Task, rows: pd.DataFrame) -> Grid:
    """One row a landmark, horizon and model; one column a metric."""
    data = builder.data
    metrics = focus.metrics_in_order(rows)
    order = data.model_order(list(dict.fromkeys(rows["model"])))
    lines = []
    for (landmark, horizon, model), part in rows.groupby(["landmark_h", "horizon_h", "model"]):
        by = part.drop_duplicates("metric").set_index("metric")
        line = {
            "Landmark": focus.when(task, landmark), "Horizon": fmt.horizon(horizon),
            "Model": data.model_label(str(model)),
            "Events / patients": f"{fmt.whole(part['events'].max())} / {fmt.whole(part['n'].max())}",
        }  # fmt: skip
        for name in metrics:
            line[fmt.metric(name)] = (
                fmt.estimate(*by.loc[name, ["value", "low", "high"]]) if name in by.index else fmt.NOTHING
            )
        lines.append((landmark, horizon, order.index(model), line))
    frame = pd.DataFrame([line for *_, line in sorted(lines, key=lambda x: x[:3])])
    note = (
        "Value (interval), out of sample; the section on limits and methods names the resampling. Further metrics are "
        "in the Parquet file."
    )
    return builder.table(
        frame, f"{task.label}: every landmark, horizon and model", note=note, file="performance.parquet"
    )


def _comparisons(builder: Builder, task: Task) -> Grid | None:
    data = builder.data
    if data.comparisons is None or not (data.comparisons["task"] == task.name).any():
        return None
    rows = data.comparisons[data.comparisons["task"] == task.name]
    rows = rows[rows["metric"].isin(focus.metrics_in_order(rows))]
    shown = pd.DataFrame(
        {
            "Landmark": [focus.when(task, x) for x in rows["landmark_h"]],
            "Horizon": rows["horizon_h"].map(fmt.horizon),
            "Metric": rows["metric"].map(fmt.metric),
            "Model": rows["model"].map(data.model_label),
            "against": rows["reference_model"].map(data.model_label),
            "Difference (interval)": [
                fmt.estimate(*v) for v in rows[["difference", "low", "high"]].itertuples(index=False)
            ],
        }
    )
    note = "Paired: both models on the same resampled patients. An interval that holds 0 shows no difference."
    return builder.table(shown, f"{task.label}: differences between models", note=note, file="comparisons.parquet")


def _calibration(builder: Builder, task: Task) -> Any:
    data = builder.data
    if data.calibration is None:
        return None
    rows = focus.one_horizon(data, data.calibration[data.calibration["task"] == task.name])
    if rows.empty:
        return None
    labels, shown = focus.ladder_labels(data, rows), focus.curve_models(data, rows)
    first, named = shown[0], fmt.joined([data.model_label(m) for m in shown])
    pictures = []
    for (landmark, horizon), part in rows.groupby(["landmark_h", "horizon_h"]):
        risks = _risks(data, task, first, float(landmark), float(horizon))
        title = f"{focus.when(task, landmark)}, next {fmt.horizon(horizon)}"
        caption = f"Beneath: risks of {labels[first]} by outcome." if risks is not None else ""
        alt = f"Calibration curves of {named} at {title}, observed share against predicted risk."
        figure = fig_calibration(part, risks, labels, shown, title)
        pictures.append(builder.picture(figure, f"{task.label}: calibration, {title}", caption, alt))
    text = Text(
        "Calibration: on the dashed line, predicted and observed risks agree. Shaded: interval of the curve.", soft=True
    )
    return [text, Gallery(tuple(pictures))]


def _risks(data: ReportData, task: Task, model: str, landmark: float, horizon: float) -> pd.DataFrame | None:
    """Mean out-of-sample risk of each patient whose outcome by the horizon is known."""
    rows = data.predictions
    if rows is None or not {"time_h", "event"} <= set(rows.columns):
        return None
    mine = (rows["task"] == task.name) & (rows["model"] == model)
    mine &= (rows["landmark_h"] == landmark) & (rows["horizon_h"] == horizon)
    one = (
        rows[mine]
        .groupby("patient_id")
        .agg(risk=("risk", "mean"), time_h=("time_h", "first"), event=("event", "first"))
    )
    known = one[~((one["event"] == 0) & (one["time_h"] < horizon))]
    if known.empty:
        return None
    return known.assign(had_event=(known["event"] == 1) & (known["time_h"] <= horizon))[["risk", "had_event"]]


def _decision(builder: Builder, task: Task) -> Any:
    data = builder.data
    if data.decision is None:
        return None
    rows = focus.one_horizon(data, data.decision[data.decision["task"] == task.name])
    if rows.empty:
        return None
    labels, shown = focus.ladder_labels(data, rows), focus.curve_models(data, rows)
    named = fmt.joined([data.model_label(m) for m in shown])
    pictures = []
    for (landmark, horizon), part in rows.groupby(["landmark_h", "horizon_h"]):
        title = f"{focus.when(task, landmark)}, next {fmt.horizon(horizon)}"
        alt = f"Net benefit of {named} against the risk threshold at {title}."
        figure = fig_decision(part, labels, shown, title)
        pictures.append(builder.picture(figure, f"{task.label}: decision curves, {title}", "", alt))
    text = (
        "Decision curves: net benefit of acting on patients whose forecast exceeds a threshold. A model is useful only "
        "where it lies above both treating all and treating none."
    )
    return [Text(text, soft=True), Gallery(tuple(pictures))]


def _grade_paths(builder: Builder) -> tuple[Any, ...]:
    data = builder.data
    if data.grade_paths is None or data.grade_paths.empty:
        return ()
    rows = data.grade_paths
    spread = sorted(rows["landmark_h"].unique())
    panels = spread[:: -(-len(spread) // PATH_PANELS)]
    labels = focus.ladder_labels(data, rows)
    met = [label for model, label in labels.items() if (rows["model"] == model).any()]
    picture = builder.picture(
        fig_grade_paths(rows[rows["landmark_h"].isin(panels)], labels),
        "Forecast of the grade on each following day",
        "Ranked probability score: squared distance between the forecast and the seen grade; lower is better. "
        "Persistence says that tomorrow is like today.",
        f"Ranked probability score against days ahead for {fmt.joined(met)}.",
    )
    shown = pd.DataFrame(
        {
            "Landmark": rows["landmark_h"].map(fmt.landmark),
            "Days ahead": rows["lead_h"].map(fmt.days),
            "Model": rows["model"].map(data.model_label),
            "RPS (interval)": [
                fmt.estimate(r.rps, getattr(r, "low", None), getattr(r, "high", None), 3) for r in rows.itertuples()
            ],
            **({"n": rows["n"]} if "n" in rows else {}),
        }
    )
    table = builder.table(shown, "Grade path forecasts", file="grade_paths.parquet")
    return (Heading("Path of the grade"), picture, table)


def _extras(builder: Builder) -> tuple[Any, ...]:
    """Tables that the study adds, each folded."""
    tables = builder.data.extra_tables.items()
    return tuple(Fold(t, (builder.table(merge_interval(f), t, fold=False),)) for t, f in tables if len(f))


def _models(builder: Builder) -> Any:
    """What each model is, where the study describes them."""
    data = builder.data
    said = {data.model_label(name): text for name, text in data.models.items() if text != data.model_label(name)}
    if not said:
        return None
    frame = pd.DataFrame({"Model": list(said), "What it is": list(said.values())})
    return builder.table(frame, "The ladder: every model, simplest first", fold=False, row_heads=True)
