"""What was measured on which day: results, results at a limit, results asked for and missing, and no row at all.

These are four different things; a forecast may learn from each, and so may a leak.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.times import day_number
from icans.report.outcomes import observed_span

COLUMNS = ("analyte", "day", "observed", "measured", "censored", "missing", "not_measured")


def daily_missingness(cohort: Cohort, first_day: int = 0, last_day: int = 30) -> pd.DataFrame:
    """Patients by state of each analyte on each day.

    A patient is *observed* on the days between the first and the last row of any table. On such a day an analyte
    is *measured* (a result that is not censored), *censored* (only results at a limit), *missing* (only rows
    without a value) or *not measured* (no row). The best state of the day counts.

    Returns
    -------
    DataFrame
        :data:`COLUMNS`; counts of patients, one row for every analyte and day on which anybody was observed.
    """
    rows = cohort.measurements[["patient_id", "analyte", "time_h", "value", "censor"]].dropna(subset=["time_h"])
    rows = rows.assign(day=day_number(rows["time_h"].to_numpy()))
    rows = rows[(rows["day"] >= first_day) & (rows["day"] <= last_day)]
    state = np.select(
        [rows["value"].notna() & ~rows["censor"].isin(["left", "right"]), rows["censor"] != "none"], [0, 1], 2
    )
    best = rows.assign(state=state).groupby(["analyte", "day", "patient_id"])["state"].min()
    counts = best.groupby(level=[0, 1]).value_counts().unstack(fill_value=0).reindex(columns=[0, 1, 2], fill_value=0)
    counts.columns = pd.Index(["measured", "censored", "missing"])
    observed = _observed(cohort, first_day, last_day)
    index = pd.MultiIndex.from_product([cohort.analytes(), observed.index], names=["analyte", "day"])
    table = counts.reindex(index, fill_value=0).reset_index()
    table["observed"] = table["day"].map(observed)
    table["not_measured"] = table["observed"] - table[["measured", "censored", "missing"]].sum(axis=1)
    return table[list(COLUMNS)]


def _observed(cohort: Cohort, first_day: int, last_day: int) -> pd.Series:
    """Patients under observation by day; days with nobody are left out."""
    span = observed_span(cohort)
    days = np.arange(first_day, last_day + 1)
    begin, end = day_number(span["first_h"]), day_number(span["last_h"])
    counts = ((begin[None, :] <= days[:, None]) & (end[None, :] >= days[:, None])).sum(axis=1)
    series = pd.Series(counts, index=pd.Index(days, name="day"))
    return series[series > 0]
