"""The temporal biomarker atlas: each analyte in each window after infusion, from real values only.

The layout follows the conceptual figure of the review that this project starts from (sources by time windows:
before infusion, early on treatment, diagnostic days 7 to 14, recovery); the content is the cohort's own.

Computation
-----------
A patient counts once in a window: the median of that patient's values there. A window's centre is the median
over patients, with quartiles. A left-censored value stands at its limit; where half of a window's patients or
more are at a limit, its median is only an upper bound and is marked so. Change is against the baseline window of
the same analyte, matrix and stratum: log2 of the ratio of medians for analytes on a ratio scale; for analytes
that the vocabulary does not treat on the log scale (temperature, scores), the difference of medians divided by
the baseline's robust SD (IQR / 1.349), since a ratio of degrees Celsius has no meaning. Windows with fewer
than ``min_n`` patients get no median and no change. The patients of two windows need not be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.cohort.vocabulary import analytes
from icans.report.outcomes import ANY_GRADE, SEVERE_GRADE, worst_grade

#: Patients below which a window is not summarised.
MIN_PATIENTS = 5

#: IQR of a normal distribution in SDs.
IQR_PER_SD = 1.349

#: Sources in the order of the review's figure; the matrices that belong to each.
SOURCES: dict[str, tuple[str, ...]] = {
    "Plasma, serum, blood": ("plasma", "serum", "blood"),
    "CSF": ("csf",),
    "EEG": ("eeg",),
    "MRI": ("mri",),
    "Vital signs and bedside": ("vital", "clinical"),
    "Urine": ("urine",),
    "Other": ("unknown",),
}

ALL = "All patients"


@dataclass(frozen=True)
class Window:
    """Hours ``start_h <= t < end_h`` since infusion."""

    name: str
    start_h: float
    end_h: float


#: Default windows. The first is the baseline: the month before, and the day of infusion itself.
WINDOWS = (
    Window("Baseline (to day 0)", -30 * 24.0, 24.0),
    Window("Days 1–3", 24.0, 4 * 24.0),
    Window("Days 4–6", 4 * 24.0, 7 * 24.0),
    Window("Days 7–14", 7 * 24.0, 15 * 24.0),
    Window("Days 15–30", 15 * 24.0, 31 * 24.0),
)

#: Stands between the units of an analyte that comes in several.
SEVERAL = " | "

COLUMNS = (
    "source", "group", "analyte", "label", "unit", "matrix", "scale", "stratum", "window", "n", "n_values",
    "n_at_limit", "median", "q1", "q3", "is_bound", "change", "shown",
)  # fmt: skip


def atlas(
    cohort: Cohort,
    windows: Sequence[Window] = WINDOWS,
    by: str | pd.Series | None = None,
    min_n: int = MIN_PATIENTS,
) -> pd.DataFrame:
    """Median of each analyte in each window and stratum, and its change from the first window.

    Parameters
    ----------
    cohort
        Harmonised (one unit an analyte).
    windows
        The first is the baseline. They may not overlap.
    by
        None; ``"icans"`` (ICANS grade >= 1 at any time, or not); ``"severity"`` (cases only: grade >= 3, or less);
        or a Series with the stratum of each patient (index: patient_id; missing: in no stratum). The stratum of
        all patients is always there.
    min_n
        Patients below which a window is counted but not summarised.

    Returns
    -------
    DataFrame
        One row for every analyte, matrix, stratum and window (:data:`COLUMNS`). ``scale`` is ``log2`` or ``sd``;
        ``unit`` is the unit of the values as harmonised (several: joined, and nothing is summarised).

    Raises
    ------
    ValueError
        Windows overlap, or ``by`` is none of the above.
    """
    for earlier, later in pairwise(sorted(windows, key=lambda w: w.start_h)):
        if later.start_h < earlier.end_h:
            raise ValueError(f"window {later.name!r} overlaps window {earlier.name!r}")
    rows = _values(cohort, windows)
    strata = _strata(cohort, by)
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    parts = [_summarise(rows, stratum, members, len(windows), min_n) for stratum, members in strata.items()]
    table = pd.concat(parts, ignore_index=True)
    table["window"] = table["place"].map({i: w.name for i, w in enumerate(windows)})
    table = _describe(table, rows)
    table.loc[table["unit"].str.contains(SEVERAL, regex=False), ["median", "q1", "q3"]] = np.nan
    table["shown"] = table["median"].notna()
    table["change"] = _change(table)
    order = {name: i for i, name in enumerate(SOURCES)}
    table = table.sort_values(
        ["source", "group", "label", "matrix", "stratum", "place"],
        key=lambda s: s.map(order) if s.name == "source" else s.map({n: i for i, n in enumerate(strata)})
        if s.name == "stratum" else s,
        kind="stable", ignore_index=True,
    )  # fmt: skip
    return table[list(COLUMNS)]


def unclear_units(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Labels of the analytes of an atlas that come in several units, and of those whose unit was not declared."""
    first = table.drop_duplicates(["analyte", "matrix"])
    several = first["unit"].str.contains(SEVERAL, regex=False)
    return first.loc[several, "label"].tolist(), first.loc[first["unit"] == "?", "label"].tolist()


def _values(cohort: Cohort, windows: Sequence[Window]) -> pd.DataFrame:
    """Values with their window's place; a censored value at its limit."""
    rows = cohort.measurements
    place = np.full(len(rows), -1)
    for i, window in enumerate(windows):
        inside = (rows["time_h"] >= window.start_h) & (rows["time_h"] < window.end_h)
        place[inside.to_numpy()] = i
    at_limit = rows["censor"] == "left"
    value = rows["value"].where(~(rows["censor"].isin(["left", "right"]) & rows["limit"].notna()), rows["limit"])
    matrix = rows["matrix"].astype(object).where(rows["matrix"].notna(), _usual_matrix(rows["analyte"]))
    kept = rows[["patient_id", "analyte", "unit"]].assign(
        matrix=matrix, value=value, at_limit=at_limit, place=place, unit=rows["unit"].astype(object).fillna("?")
    )
    return kept[(place >= 0) & value.notna().to_numpy()]


def _usual_matrix(names: pd.Series) -> pd.Series:
    known = analytes()
    return names.map({n: known[n].matrix for n in names.unique() if n in known}).astype(object).fillna("unknown")


def _strata(cohort: Cohort, by: str | pd.Series | None) -> dict[str, pd.Index]:
    everyone = pd.Index(cohort.patient_ids)
    strata = {ALL: everyone}
    if by is None:
        return strata
    named = _named_strata(cohort, by) if isinstance(by, str) else by
    label = named.reindex(everyone).dropna().astype(str)
    for name in dict.fromkeys(sorted(label)):
        strata[name] = label.index[label == name]
    return strata


def _named_strata(cohort: Cohort, by: str) -> pd.Series:
    worst = worst_grade(cohort, "ICANS").dropna()
    if by == "icans":
        return worst.ge(ANY_GRADE).map({True: "ICANS", False: "No ICANS"})
    if by == "severity":
        cases = worst[worst >= ANY_GRADE]
        return cases.ge(SEVERE_GRADE).map({True: "ICANS grade ≥ 3", False: "ICANS grade 1–2"})
    raise ValueError(f"by is {by!r}: expected None, 'icans', 'severity' or a Series by patient_id")


def _summarise(rows: pd.DataFrame, stratum: str, members: pd.Index, places: int, min_n: int) -> pd.DataFrame:
    """One row for every analyte, matrix and window; patients count once in each."""
    keys = ["analyte", "matrix", "place"]
    mine = rows[rows["patient_id"].isin(members)]
    grouped = mine.groupby([*keys, "patient_id"])
    patient = grouped.agg(value=("value", "median"), rows=("value", "size"), limit=("at_limit", "mean")).reset_index()
    patient["limited"] = patient["limit"] >= 0.5
    cell = patient.groupby(keys)
    table = cell.agg(
        n=("value", "size"), n_values=("rows", "sum"), n_at_limit=("limited", "sum"), median=("value", "median")
    )
    quartiles = cell["value"].quantile([0.25, 0.75]).unstack()
    table = table.assign(q1=quartiles.get(0.25), q3=quartiles.get(0.75))
    pairs = rows[["analyte", "matrix"]].drop_duplicates()
    index = pd.MultiIndex.from_tuples(
        [(a, m, p) for a, m in pairs.itertuples(index=False) for p in range(places)], names=keys
    )
    table = table.reindex(index)
    counts = ["n", "n_values", "n_at_limit"]
    table[counts] = table[counts].fillna(0).astype(int)
    table["is_bound"] = (table["n"] > 0) & (2 * table["n_at_limit"] >= table["n"])
    table.loc[table["n"] < min_n, ["median", "q1", "q3"]] = np.nan
    return table.reset_index().assign(stratum=stratum)


def _describe(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Names, units, source and scale of each analyte."""
    known = analytes()
    home = {matrix: source for source, matrices in SOURCES.items() for matrix in matrices}
    units = rows.groupby(["analyte", "matrix"])["unit"].agg(lambda u: SEVERAL.join(sorted(set(u))))
    keys = pd.MultiIndex.from_frame(table[["analyte", "matrix"]])
    name = table["analyte"]
    return table.assign(
        label=name.map(lambda n: known[n].label if n in known else n.replace("_", " ")),
        group=name.map(lambda n: known[n].group if n in known else "other"),
        scale=name.map(lambda n: "log2" if n not in known or known[n].log else "sd"),
        source=table["matrix"].map(home).fillna("Other"),
        unit=units.reindex(keys).to_numpy(),
    )


def _change(table: pd.DataFrame) -> np.ndarray:
    """log2 ratio or standardised difference from the baseline window; NaN where either is missing."""
    keys = ["analyte", "matrix", "stratum"]
    base = table[table["place"] == 0].set_index(keys)
    index = pd.MultiIndex.from_frame(table[keys])
    start = base["median"].reindex(index).to_numpy(dtype=float)
    spread = ((base["q3"] - base["q1"]) / IQR_PER_SD).reindex(index).to_numpy(dtype=float)
    now = table["median"].to_numpy(dtype=float)
    change = np.full(len(table), np.nan)
    ratio = (table["scale"] == "log2").to_numpy() & (now > 0) & (start > 0)
    change[ratio] = np.log2(now[ratio] / start[ratio])
    difference = (table["scale"] == "sd").to_numpy() & (spread > 0)
    change[difference] = (now[difference] - start[difference]) / spread[difference]
    return change
