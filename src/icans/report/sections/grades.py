"""5. Toxicity grades: by day, patient by patient, and under rival schemes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.report import format as fmt
from icans.report.atlas import MIN_PATIENTS
from icans.report.figures.grades import fig_crosswalk, fig_grade_rows, fig_grade_shares
from icans.report.outcomes import daily_worst, main_scheme, worst_grade
from icans.report.page import Builder, Gallery, Heading, Picture, Section, Text, absent, blocks_of, merge_interval

LEAD = "How the toxicity ran from day to day. A day without a grade is not a day without toxicity."

LAST_DAY = 30

#: Toxicities drawn at most.
LIMIT = 4


def section(builder: Builder) -> Section:
    """Shares by day, one row a patient, and agreement between schemes."""
    cohort = builder.data.cohort
    if cohort is None or cohort.grades["grade"].notna().sum() == 0:
        body: tuple[Any, ...] = (absent("The cohort has no grades."),)
        return Section("grades", "Toxicity grades", LEAD, body)
    names = sorted(cohort.grades["toxicity"].dropna().unique(), key=lambda t: (t != "ICANS", t != "CRS", t))
    parts = [part for name in names[:LIMIT] for part in _toxicity(builder, cohort, name)]
    return Section("grades", "Toxicity grades", LEAD, blocks_of(parts, _schemes(builder)))


def _toxicity(builder: Builder, cohort: Cohort, toxicity: str) -> list[Any]:
    chosen = main_scheme(cohort, toxicity)
    if chosen is None:
        return [Text(f"{toxicity}: every grade is missing.")]
    worst = worst_grade(cohort, toxicity)
    counts = worst.value_counts().sort_index()
    words = ", ".join(f"grade {g:g}: {fmt.whole(n)}" for g, n in counts.items())
    head = [
        Heading(f"{toxicity}, {chosen[0]} grades as {chosen[1]}"),
        Text(f"Worst grade of each patient: {words}; never graded: {fmt.whole(worst.isna().sum())}."),
    ]
    daily = daily_worst(cohort, toxicity)
    if daily.empty:
        return [*head, Text("The grades carry no day; only the worst grade of each patient is known.")]
    last = int(min(LAST_DAY, max(7, daily["day"].max())))
    shown = daily[daily["day"].between(0, last)]
    if shown.groupby("patient_id").size().median() <= 1:
        once = Text("Most patients have one grade only (the worst), on one day: no course by day can be shown.")
        return [*head, once, _rows(builder, cohort, toxicity, shown, last)]
    shares = builder.picture(
        fig_grade_shares(shown, toxicity, 0, last),
        f"{toxicity} grade by day",
        "Shares are of the patients graded on that day (n above each bar), which changes as patients go home. "
        f"Hatched: fewer than {MIN_PATIENTS} graded. Half grades count with the grade above.",
        f"Stacked bars of the share of each {toxicity} grade by day. {words}.",
    )
    return [*head, shares, _rows(builder, cohort, toxicity, shown, last)]


def _rows(builder: Builder, cohort: Cohort, toxicity: str, shown: pd.DataFrame, last: int) -> Picture:
    return builder.picture(
        fig_grade_rows(shown, toxicity, cohort.patient_ids, 0, last),
        f"{toxicity} in every patient",
        "One row a patient, worst grade and earliest onset on top; white: not graded on that day.",
        f"Grid of patients by days, coloured by {toxicity} grade, sorted by worst grade.",
    )


def _schemes(builder: Builder) -> tuple[Any, ...]:
    data = builder.data
    parts: list[Any] = []
    if data.crosswalk is not None and len(data.crosswalk):
        pairs = list(data.crosswalk.groupby(["toxicity", "scheme_a", "scheme_b"], sort=False))
        pictures = [
            builder.picture(
                fig_crosswalk(rows, str(a), str(b)),
                f"{toxicity}: {a} against {b}",
                "Counts; colour: share of the row.",
                f"Counts of {toxicity} grades under {a} (rows) and {b} (columns).",
            )
            for (toxicity, a, b), rows in pairs
        ]
        parts.append(Gallery(tuple(pictures)))
    if data.agreement is not None and len(data.agreement):
        parts.append(builder.table(_agreement(data.agreement), "Agreement of schemes on the same patients"))
    if not parts:
        return ()
    intro = Text("The same patients get different grades under different schemes.")
    return (Heading("Agreement between schemes"), intro, *parts)


def _agreement(table: pd.DataFrame) -> pd.DataFrame:
    """``kappa`` with its interval in one column, where the table has them."""
    return merge_interval(table, "kappa").rename(columns={"kappa": "weighted kappa", "exact": "same grade"})
