"""4. Missingness: what was measured on which day, and what was not."""

from __future__ import annotations

from icans.cohort.vocabulary import analytes
from icans.report import format as fmt
from icans.report.figures.missingness import fig_missingness
from icans.report.missing import daily_missingness
from icans.report.page import Builder, Section, absent

LEAD = (
    "Not measured, asked for without a value, and below a limit are three different things. Who is measured, and "
    "when, often says more about the ward than about the disease."
)

#: Days shown.
FIRST_DAY, LAST_DAY = -3, 30


def section(builder: Builder) -> Section:
    """Heat maps by analyte and day, and the numbers by analyte."""
    cohort = builder.data.cohort
    if cohort is None or cohort.measurements.empty:
        return Section("missingness", "Missingness", LEAD, (absent("The cohort has no measurements."),))
    table = daily_missingness(cohort, FIRST_DAY, LAST_DAY)
    picture = builder.picture(
        fig_missingness(table),
        "What was measured on which day",
        "Rows are analytes, most often measured first; columns are days. Darker: a larger share of the patients who "
        "were under observation on that day.",
        "Heat maps of the share of patients with a result, with results only at a limit, with a request but no value, "
        "and without a row, by analyte and day. The table beneath has the sums.",
    )
    sums = table.groupby("analyte", as_index=False)[
        ["observed", "measured", "censored", "missing", "not_measured"]
    ].sum()
    sums = sums.sort_values(["measured", "analyte"], ascending=[False, True])
    known = analytes()
    sums["analyte"] = [known[a].label if a in known else a for a in sums["analyte"]]
    for state in ("measured", "censored", "missing", "not_measured"):
        sums[state] = [
            f"{fmt.whole(n)} ({fmt.percent(n / o)})" for n, o in zip(sums[state], sums["observed"], strict=True)
        ]
    names = {"observed": "patient-days observed", "censored": "at a limit", "missing": "asked for, no value"}
    grid = builder.table(sums, f"Patient-days by state, days {fmt.whole(FIRST_DAY)} to {LAST_DAY}", names=names)
    return Section("missingness", "Missingness", LEAD, (picture, grid))
