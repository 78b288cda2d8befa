"""How the declared forecast behaves: alarms, groups of patients, other centres, drift, late results, instability."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.report import format as fmt
from icans.report.behaviour import Behaviour
from icans.report.figures.behaviour import fig_drift, fig_instability
from icans.report.page import Builder, Bullets, Grid, Heading, Section, Text, absent, blocks_of
from icans.report.sections import focus

LEAD = (
    "What the declared forecast would mean day by day, for whom it holds, and how firm it is: one model at one "
    "landmark and horizon, chosen before any result."
)
ALARMS = {
    "threshold": "Threshold", "alarms_per_day": "Alarms per patient-day", "detected": "Events foreseen",
    "in_time": "24 h ahead or more", "lead_h": "Median lead, hours", "false_patients": "Patients alarmed in vain",
    "right": "Alarms followed by the event", "alarms_per_detected": "Alarms for each event foreseen",
}  # fmt: skip
SUBGROUP_METRICS = {
    "auc": "AUROC",
    "oe": "Observed / expected",
    "slope": "Calibration slope",
    "net_benefit": "Net benefit at 20%",
}
#: The rate of alarms that is printed; the table in the results has the others.
RATE = 0.10


def section(builder: Builder) -> Section:
    """One part for each question of the protocol."""
    b = builder.data.behaviour
    if b is None:
        why = "The study switched it off, or no forecast was judged."
        return Section(
            "behaviour", "The forecast in use", LEAD, (absent("The rest of the protocol was not run.", why),)
        )
    task = builder.data.task(b.task)
    what = Text(
        f"{task.label}, {builder.data.model_label(b.model)}, forecast on {focus.when(task, b.landmark_h)} for the next "
        f"{fmt.horizon(b.horizon_h)}, unless a table says otherwise."
    )
    return Section(
        "behaviour",
        "The forecast in use",
        LEAD,
        blocks_of(what, focus.audit_callout(builder.data, task) if builder.data.audit else None, _alarms(builder, b),
                  _distribution(builder, b), _pooled(builder, b), _subgroups(builder, b), _drift(builder, b),
                  _latency(builder, b), _instability(builder, b), _ordinal(builder, b)),
    )  # fmt: skip


def _alarms(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("alarms")
    if table is None:
        return [Heading("Alarms"), absent("No alarms", "They need two landmarks or more at one horizon.")]
    mine = table[(table["horizon_h"] == b.horizon_h) & (table["rate"] == RATE)]
    order = builder.data.model_order(list(dict.fromkeys(mine["model"])))
    rows = []
    for model in order:
        by = mine[mine["model"] == model].set_index("metric")
        line = {"Model": builder.data.model_label(model)}
        for name, title in ALARMS.items():
            digits = 0 if name == "lead_h" else 2
            value, low, high = by.loc[name, ["value", "low", "high"]].to_numpy(dtype=float)
            line[title] = fmt.estimate(value, low, high, digits)
        rows.append(line)
    note = (
        "The threshold of each model is the lowest at which alarms do not come more often; in every resample of the "
        "patients it is set anew. An alarm foresees an event within the horizon. A full protocol has other rates, too."
    )
    title = f"Alarms at no more than {RATE:g} a patient-day, forecasts at every landmark"
    return [Heading("Alarms and lead time"), builder.table(pd.DataFrame(rows), title, note, fold=False, row_heads=True)]


def _distribution(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("distribution")
    if table is None:
        return []
    mine = table[table["model"] == b.model]
    shown = pd.DataFrame(
        {
            "Landmark": mine["landmark_h"].map(fmt.landmark),
            "Outcome": mine["outcome"],
            "Patients": mine["n"],
            "Mean risk": mine["mean"].map(lambda v: fmt.percent(v)),
            "5 / 25 / 50 / 75 / 95 centile": [
                " / ".join(fmt.percent(v) for v in row) for row in mine[["q5", "q25", "q50", "q75", "q95"]].to_numpy()
            ],
            "Difference of the means": [
                fmt.estimate(*row) for row in mine[["separation", "separation_low", "separation_high"]].to_numpy()
            ],
        }
    )
    return [Heading("Risks by outcome"), builder.table(shown, "Distribution of forecast risks by outcome")]


def _pooled(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("pooled")
    head = Heading("Groups that training left out")
    if table is None:
        return [head, Text(b.reasons.get("pooled", "No group was left out."), soft=True)]
    mine = table[table["model"] == b.model]
    shown = pd.DataFrame(
        {
            "Left out": mine["by"], "Metric": mine["metric"].map(fmt.metric), "Groups": mine["groups"],
            "Mean (interval)": [fmt.estimate(*r) for r in mine[["value", "low", "high"]].to_numpy()],
            "To expect in a new group": [
                fmt.NOTHING if fmt.absent(r[0]) else f"{fmt.number(r[0])} to {fmt.number(r[1])}"
                for r in mine[["expect_low", "expect_high"]].to_numpy(dtype=float)
            ],
            "Share between groups": mine["i2"].map(lambda v: fmt.percent(v)), "Note": mine["note"].fillna(""),
        }
    )  # fmt: skip
    note = (
        "Random-effects meta-analysis (REML; Hartung-Knapp intervals) of the groups, each forecast by models that "
        "never saw it. With few groups the prediction interval is wide: that is what so few groups can say."
    )
    blocks = [head, builder.table(shown, "Performance over left-out groups", note, fold=False)]
    updating = b.table("updating")
    return blocks if updating is None else [*blocks, _updating(builder, updating)]


def _updating(builder: Builder, table: pd.DataFrame) -> Grid:
    shown = table[[c for c in ("by", "group", "n", "events", "choice", "intercept", "slope", "p_value") if c in table]]
    small = {"p_value": lambda p: "< 0.001" if p < 0.001 else fmt.number(p, 3)}
    note = (
        "The least update that the group's own data do not reject (closed test at 5 %, Vergouwe 2017). Where groups "
        "are small, no update is also what little power gives."
    )
    return builder.table(
        shown, "Recalibration that each left-out group asks for", note, show=small, names={"p_value": "p for no update"}
    )


def _subgroups(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("subgroups")
    head = Heading("Groups of patients")
    if table is None:
        return [head, absent("No groups", "The patients table tells no groups apart.")]
    mine = table[table["model"] == b.model]
    rows = []
    for (grouping, level), part in mine.groupby(["grouping", "level"], sort=False):
        by = part.set_index("metric")
        line = {"Grouping": str(grouping).replace("_", " "), "Group": level,
                "Events / patients": f"{int(part['events'].iloc[0])} / {int(part['n'].iloc[0])}"}  # fmt: skip
        for name, title in SUBGROUP_METRICS.items():
            line[title] = fmt.estimate(*by.loc[name, ["value", "low", "high"]])
        line["Verdict"] = _verdict(part)
        rows.append(line)
    note = (
        "No verdict with fewer than 20 patients with, or without, the event. 'Differs': the interval of the difference "
        f"from all other patients excludes 0. {len(mine)} comparisons: one in twenty would differ by chance. "
        "Net benefit differs, too, where the event is simply more or less common."
    )
    return [
        head,
        builder.table(pd.DataFrame(rows), "Performance by group of patients", note, file="protocol_subgroups.parquet"),
    ]


def _verdict(part: pd.DataFrame) -> str:
    if (part["verdict"] == "uninformative").all():
        return "uninformative"
    said = [
        f"{SUBGROUP_METRICS[m]}: {v}" for m, v in zip(part["metric"], part["verdict"], strict=True)
        if v in ("differs", "off target")
    ]  # fmt: skip
    return "; ".join(said) or "no difference seen"


def _drift(builder: Builder, b: Behaviour) -> list[Any]:
    windows, path = b.table("drift_windows"), b.table("drift_path")
    if windows is None or path is None:
        return [Heading("Drift"), Text(f"Not looked at: {b.reasons.get('drift_windows', 'no forecasts')}.", soft=True)]
    said = b.words.get("drift_windows", ())
    axis = "Patients by date of infusion" if "dates of infusion" in " ".join(said) else "Patients as delivered"
    picture = builder.picture(
        fig_drift(windows, path, axis),
        "Observed against forecast along the order of patients",
        "Left: moving windows with exact Poisson intervals. Right: risk-adjusted CUSUM for twice (above) and half "
        "(below) the odds; dashed: limits.",
        " ".join(said),
    )
    return [Heading("Drift"), Bullets(said), picture]


def _latency(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("latency")
    head = Heading("Late results")
    if table is None:
        return [head, Text(f"Not looked at: {b.reasons.get('latency', 'no forecasts')}.", soft=True)]
    rows = []
    for delay, part in table.groupby("delay_h"):
        by = part.set_index("metric")
        line = {"Laboratory results": "as recorded" if delay == 0 else f"{delay:g} h later"}
        for name in ("auc_within_fold", "brier", "oe"):
            line[fmt.metric(name)] = fmt.estimate(*by.loc[name, ["value", "low", "high"]])
        line["Change of AUROC"] = fmt.estimate(*by.loc["auc_within_fold", ["change", "change_low", "change_high"]])
        line["Mean shift of a risk"] = fmt.percent(float(part["moved"].iloc[0]), 1)
        rows.append(line)
    note = (
        "The model learned from the record as it is; at forecast time laboratory results come later, bedside findings "
        "do not. " + " ".join(b.words.get("latency", ()))
    )
    return [
        head,
        builder.table(pd.DataFrame(rows), "Performance when results are late", note, fold=False, row_heads=True),
    ]


def _instability(builder: Builder, b: Behaviour) -> list[Any]:
    patients, summary = b.table("instability_patients"), b.table("instability_summary")
    head = Heading("Instability")
    if patients is None or summary is None:
        return [head, Text(f"Not looked at: {b.reasons.get('instability_summary', 'no refits')}.", soft=True)]
    value = summary.set_index("metric")["value"]
    curves = b.table("instability_curves")
    said = (
        "Had other patients been there to learn from, a patient's risk would differ by "
        f"{fmt.percent(value['mape'], 1)} on average (absolute; 95th centile of patients "
        f"{fmt.percent(value['mape_p95'], 1)}), and "
        f"{fmt.percent(value['flips_0.20'])} of the refits would put a patient on the other side of 20%."
    )
    picture = builder.picture(
        fig_instability(patients, pd.DataFrame(columns=["refit", "risk", "observed"]) if curves is None else curves),
        f"Instability over {b.refits} refits on resampled patients",
        "Every refit forecasts the original patients. Calibration: black, the model itself on its own training "
        "patients (optimistic); blue, refits.",
        said,
    )
    return [head, Text(said), picture]


def _ordinal(builder: Builder, b: Behaviour) -> list[Any]:
    table = b.table("ordinal")
    if table is None:
        return []
    shown = table[table["metric"].isin(["rps", "rps_skill", "dxy"])].copy()
    shown["value"] = [fmt.estimate(*r) for r in shown[["value", "low", "high"]].to_numpy(dtype=float)]
    kept = shown[["model", "horizon_h", "metric", "value", "n"]]
    return [
        Heading("The grade itself"),
        builder.table(kept, "Scores of the forecast grade", file="protocol_ordinal.parquet"),
    ]
