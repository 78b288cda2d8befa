"""9. Patients, one by one: what was known, what was given, and what was forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.report import format as fmt
from icans.report.figures.timeline import fig_timeline
from icans.report.model import ReportData
from icans.report.outcomes import GROUPS, onset_h, outcome_groups, worst_grade
from icans.report.page import Builder, Heading, Picture, Section, Text, absent, blocks_of
from icans.report.sections import focus

LEAD = "Single courses beside their forecasts. A forecast at a dotted line knew only what lies left of it."

#: Patients shown by default, and at most (a figure is about 60 kB).
SAMPLE, LIMIT = 6, 40


def section(builder: Builder) -> Section:
    """One timeline a patient."""
    data, cohort = builder.data, builder.data.cohort
    if cohort is None or not len(cohort):
        return Section("individuals", "Patients, one by one", LEAD, (absent("No cohort was handed to the report."),))
    chosen = [p for p in data.sample_patients if p in set(cohort.patient_ids)] or sample(cohort)
    rule = Text(
        "Shown: the patients that the study names."
        if data.sample_patients
        else "Shown: from each outcome group in turn, the patients with most results (ties by patient number).",
        soft=True,
    )
    left_out = Text(f"{LIMIT} of {len(chosen)} patients asked for are shown.") if len(chosen) > LIMIT else None
    parts = [
        block
        for patient in chosen[:LIMIT]
        for block in (Heading(f"Patient {patient}"), _timeline(builder, cohort, patient))
    ]
    return Section("individuals", "Patients, one by one", LEAD, blocks_of(rule, left_out, parts))


def sample(cohort: Cohort, size: int = SAMPLE) -> list[str]:
    """Patients taken in turn from each outcome group, those with most results first; no randomness."""
    results = cohort.measurements[cohort.measurements["value"].notna()].groupby("patient_id").size()
    frame = pd.DataFrame({"group": outcome_groups(cohort)})
    frame["results"] = results.reindex(frame.index).fillna(0)
    frame = frame.rename_axis("patient_id").reset_index()
    frame = frame.sort_values(["results", "patient_id"], ascending=[False, True], kind="stable")
    frame["turn"] = frame.groupby("group").cumcount()
    frame["place"] = frame["group"].map({g: i for i, g in enumerate((GROUPS[2], GROUPS[1], GROUPS[0], GROUPS[3]))})
    return frame.sort_values(["turn", "place"], kind="stable")["patient_id"].head(size).tolist()


def _timeline(builder: Builder, cohort: Cohort, patient: str) -> Picture:
    data = builder.data
    forecasts, which = _forecasts(data, patient)
    worst = worst_grade(cohort, "ICANS").get(patient, np.nan)
    onset = onset_h(cohort, "ICANS").get(patient, np.nan)
    words = "no ICANS grade recorded" if np.isnan(worst) else f"worst ICANS grade {worst:g}"
    if not np.isnan(onset):
        words += f", first on {fmt.landmark(onset)}"
    caption = f"{words[0].upper()}{words[1:]}. {which} Open triangles: results at a limit."
    alt = f"Timeline of patient {patient}: {words}. {which}"
    figure = fig_timeline(cohort, patient, forecasts)
    return builder.picture(figure, f"Patient {patient}", caption.replace("  ", " "), alt)


def _forecasts(data: ReportData, patient: str) -> tuple[pd.DataFrame | None, str]:
    """Forecasts of one patient for the headline's task and model (else the first with rows), in words, too."""
    rows = data.forecasts
    if rows is None or rows.empty:
        return None, ""
    task = (
        data.headline.task
        if data.headline is not None and (rows["task"] == data.headline.task).any()
        else rows["task"].iloc[0]
    )
    rows = rows[rows["task"] == task]
    model = focus.curve_models(data, rows)[0]
    rows = focus.one_horizon(data, rows[rows["model"] == model])
    mine = rows[rows["patient_id"] == patient]
    if mine.empty:
        return None, "No forecast was made for this patient."
    listed = [
        f"{fmt.landmark(r.landmark_h)} {fmt.percent(r.risk)}" for r in mine.sort_values("landmark_h").itertuples()
    ]
    return mine, f"Forecasts of {data.model_label(model)} for {data.task(str(task)).label}: {', '.join(listed)}."
