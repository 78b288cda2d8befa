"""10. Limits of use and methods."""

from __future__ import annotations

import pandas as pd

from icans.report import format as fmt
from icans.report.atlas import MIN_PATIENTS
from icans.report.model import ReportData
from icans.report.outcomes import ANY_GRADE, main_scheme, worst_grade
from icans.report.page import Builder, Bullets, Callout, Grid, Heading, Section, Text, blocks_of

LEAD = "What this report may not be used for, and how it was made, in the order of the TRIPOD+AI checklist."

#: Cases below which any result is called fragile (common advice for validation samples: at least 100 events;
#: Collins, Ogundimu, Altman, Stat Med 2016;35:214, doi 10.1002/sim.6787).
EVENTS_ADVISED = 100


def section(builder: Builder) -> Section:
    """Limits, sample size, and the facts of method."""
    data = builder.data
    size = (Heading("Sample size"), Bullets(tuple(data.sample_size))) if data.sample_size else None
    return Section(
        "limits",
        "Limits of use and methods",
        LEAD,
        blocks_of(
            _use(data), Bullets(_limits(data)), size, Heading("Methods"), _methods(builder),
            Text(
                "Items follow TRIPOD+AI (Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378). Items "
                "that need a person's judgement (aims, setting, ethics, interpretation) are not answered by a program.",
                soft=True,
            ),
        ),
    )  # fmt: skip


def _use(data: ReportData) -> Callout:
    lines = ["Not a medical device. Nothing here may guide the care of a patient."]
    if data.is_synthetic:
        lines.append(
            "All or part of the data are synthetic: numbers show that the program works, not how patients fare."
        )
    return Callout("Research use only", tuple(lines), "bad")


def _limits(data: ReportData) -> tuple[str, ...]:
    """What the study says, and what can be seen in the data."""
    found = list(data.limits)
    if data.cohort is not None:
        cases = int((worst_grade(data.cohort, "ICANS") >= ANY_GRADE).sum())
        if cases < EVENTS_ADVISED:
            found.append(
                f"{fmt.plural(cases, 'patient')} had ICANS. Validation of a forecast is commonly advised to have "
                f"{EVENTS_ADVISED} events or more (Collins et al. 2016, doi 10.1002/sim.6787); intervals here are wide."
            )
        assumed = data.cohort.changes
        assumed = assumed[assumed["rule"] == "available.assumed"]
        if len(assumed):
            found.append(
                "The source does not say when results became known; they count as known when taken. Real forecasts "
                "would come later by the laboratory's delay."
            )
    found.append("Forecasts are under usual care: treatment given before a landmark is part of what they describe.")
    found.append(
        f"Cells of the atlas with fewer than {MIN_PATIENTS} patients are not summarised; a day without a bedside "
        "finding has no grade."
    )
    return tuple(found)


def _methods(builder: Builder) -> Grid:
    facts = {**_facts(builder.data), **{str(k): str(v) for k, v in builder.data.methods.items()}}
    frame = pd.DataFrame({"Item": list(facts), "In this run": list(facts.values())})
    return builder.table(frame, "Facts of method", fold=False, row_heads=True)


def _facts(data: ReportData) -> dict[str, str]:
    facts: dict[str, str] = {}
    cohort = data.cohort
    if cohort is not None:
        about = cohort.provenance
        facts["Source of data"] = " ".join(p for p in (about.source, about.citation) if p)
        facts["Licence of the data"] = about.licence
        facts["Participants"] = fmt.plural(len(cohort), "patient")
        scheme = main_scheme(cohort, "ICANS")
        if scheme:
            facts["Outcome"] = f"ICANS, {scheme[0]} grades as {scheme[1]}"
        facts["Predictors available"] = (
            fmt.plural(len(cohort.analytes()), "analyte") + " beside what is known of patients"
        )
        facts["Known traps of the data"] = " ".join(about.notes)
    rows = data.performance
    if rows is not None and len(rows):
        facts["Landmarks"] = fmt.joined([fmt.landmark(x) for x in sorted(rows["landmark_h"].unique())])
        facts["Horizons"] = fmt.joined([fmt.horizon(x) for x in sorted(rows["horizon_h"].unique())])
        facts["Models compared"] = fmt.joined([data.model_label(m) for m in data.model_order(list(rows["model"]))])
        facts["Measures"] = fmt.joined([fmt.metric(m) for m in dict.fromkeys(rows["metric"])])
    return {item: text for item, text in facts.items() if text}
