"""Table 1: who the patients are, by group.

:func:`table_one` computes, tidy and unrounded; :func:`lay_out` turns the result into the table that people read.
No p-values: groups are described, not tested. The standardised difference (largest over pairs of groups) says how
far apart groups are, whatever their size: difference of means over the pooled SD for numbers (Cohen's d), and for
shares the same with binomial variances (Austin, Stat Med 2009;28:3083, doi 10.1002/sim.3697).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.cohort.vocabulary import analytes
from icans.core.times import HOURS_PER_DAY
from icans.report import format as fmt
from icans.report.outcomes import onset_h, outcome_groups, worst_grade

OVERALL = "All patients"

#: Last value at or before the infusion, for the analytes that pre-infusion scores use.
BASELINE_ANALYTES = ("crp", "ferritin", "ldh", "platelets", "creatinine", "anc", "haemoglobin", "il_6", "temperature")

#: How far back a baseline value may lie, hours (a month covers lymphodepletion and the visit before it).
BASELINE_REACH_H = 30 * HOURS_PER_DAY

#: Drugs whose use is counted, with the names that count as one of them.
DRUGS: dict[str, tuple[str, ...]] = {
    "Tocilizumab": ("tocilizumab",),
    "Corticosteroid": ("corticosteroid", "dexamethasone", "methylprednisolone", "prednisone", "hydrocortisone"),
    "Anakinra": ("anakinra",),
    "Siltuximab": ("siltuximab",),
}

#: End of the label of a variable that only cases have: others do not miss it.
CASES = " (cases)"

_CATEGORIES = {
    "site": "Site",
    "source": "Source of data",
    "sex": "Sex",
    "race": "Race",
    "ethnicity": "Ethnicity",
    "disease": "Disease",
    "product": "Cell product",
    "costimulation": "Costimulatory domain",
    "lymphodepletion": "Lymphodepletion",
    "cns_involvement": "CNS involvement",
    "developmental_delay": "Developmental delay",
}


def table_one(cohort: Cohort, by: str | pd.Series | None = None) -> pd.DataFrame:
    """Counts and quantiles of what is known of the patients, by group and overall.

    Parameters
    ----------
    cohort
        The patients.
    by
        ``"outcome"`` (worst ICANS grade), the name of a column of ``patients`` (``"source"``, ``"site"`` ...), or a
        Series with the group of each patient (index: patient_id). None: overall only.

    Returns
    -------
    DataFrame
        Columns variable, level (text; missing for numbers), kind (``count``, ``number``), group, size (patients in
        the group), n (with a value), missing, count, share (of those with a value), median, q1, q3, low, high,
        difference (standardised, largest over pairs of groups, the same in every row of a variable and level).
        Variables that nobody has a value for are left out.
    """
    groups = _groups(cohort, by)
    rows: list[dict[str, Any]] = []
    for label, values in _numbers(cohort):
        rows += _describe(label, values, groups, by, _number_row, _number_difference)
    for label, values in _factors(cohort):
        if isinstance(by, str) and label == _CATEGORIES.get(by):
            continue
        rows += _describe(label, values, groups, by, _factor_rows, None)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS = (
    "variable", "level", "kind", "group", "size", "n", "missing", "count", "share",
    "median", "q1", "q3", "low", "high", "difference",
)  # fmt: skip


def lay_out(table: pd.DataFrame) -> pd.DataFrame:
    """``table_one`` as text: one row for a number, one row a level for a category, one column a group."""
    if table.empty:
        return pd.DataFrame()
    groups = list(dict.fromkeys(table["group"]))
    sizes = table.drop_duplicates("group").set_index("group")["size"]
    shown = []
    for (variable, kind), part in table.groupby(["variable", "kind"], sort=False):
        wide = {group: rows for group, rows in part.groupby("group", sort=False)}
        if kind == "number":
            shown.append(_number_line(variable, wide, groups))
        else:
            shown += _factor_lines(variable, wide, groups)
    frame = pd.DataFrame(shown)
    frame = frame.rename(columns={g: f"{g} (n = {fmt.whole(sizes[g])})" for g in groups})
    return frame.drop(columns="Std. diff.") if len(groups) < 3 else frame


def _groups(cohort: Cohort, by: str | pd.Series | None) -> dict[str, pd.Index]:
    """Patients of each group, overall first; a group without a name is "not recorded"."""
    everyone = pd.Index(cohort.patient_ids)
    groups = {OVERALL: everyone}
    if by is None:
        return groups
    if isinstance(by, pd.Series):
        label = by.reindex(everyone)
    elif by == "outcome":
        label = outcome_groups(cohort)
    else:
        label = cohort.patients.set_index("patient_id")[by]
    label = label.astype(object).where(label.notna(), "not recorded").astype(str)
    for name in sorted(label.unique(), key=_group_order):
        groups[name] = label.index[label == name]
    return groups


def _group_order(name: str) -> tuple[int, str]:
    from icans.report.outcomes import GROUPS

    return (GROUPS.index(name), name) if name in GROUPS else (len(GROUPS) + (name == "not recorded"), name)


def _numbers(cohort: Cohort) -> Iterable[tuple[str, pd.Series]]:
    """Label and value by patient of everything that is a number."""
    patients = cohort.patients.set_index("patient_id")
    yield "Age, years", patients["age_y"]
    yield "Prior lines of therapy", patients["prior_lines"].astype("float64")
    for column, label in (("dose", "Cell dose"), ("tumour_burden", "Tumour burden")):
        units = patients[f"{column}_unit"].astype(object).where(patients[f"{column}_unit"].notna(), "unit not declared")
        for unit in sorted(units[patients[column].notna()].unique()):
            yield f"{label}, {fmt.unit(unit)}", patients[column].where(units == unit)
    for name in BASELINE_ANALYTES:
        rows = _baseline(cohort, name)
        for unit in sorted(rows["unit"].unique()):
            label = f"Baseline {_lower(analytes()[name].label)}, {fmt.unit(unit)}"
            yield label, rows.loc[rows["unit"] == unit, "value"].reindex(patients.index)
    for toxicity in ("ICANS", "CRS"):
        onset = onset_h(cohort, toxicity) / HOURS_PER_DAY
        if len(onset):
            yield f"Day of first {toxicity} grade ≥ 1{CASES}", onset.reindex(patients.index)


def _factors(cohort: Cohort) -> Iterable[tuple[str, pd.Series]]:
    """Label and category by patient."""
    patients = cohort.patients.set_index("patient_id")
    for column, label in _CATEGORIES.items():
        values = patients[column]
        if str(values.dtype) == "boolean":
            values = values.map({True: "yes", False: "no"})
        yield label, values.astype(object)
    for toxicity in ("ICANS", "CRS"):
        worst = worst_grade(cohort, toxicity)
        yield f"Worst {toxicity} grade", worst.map(lambda g: f"{g:g}", na_action="ignore").astype(object)
    given = cohort.treatments
    for label, names in DRUGS.items():
        having = given.loc[given["drug"].isin(names), "patient_id"].unique()
        if len(having):
            yield f"{label} given", pd.Series(np.where(patients.index.isin(having), "yes", "no"), patients.index)
    dead = cohort.events.loc[cohort.events["event"] == "death", "patient_id"].unique()
    if len(dead):
        yield "Died during follow-up", pd.Series(np.where(patients.index.isin(dead), "yes", "no"), patients.index)


def _baseline(cohort: Cohort, analyte: str) -> pd.DataFrame:
    """Last value at or before infusion, within :data:`BASELINE_REACH_H`, and its unit ("?": none), by patient."""
    rows = cohort.measurements
    mine = (rows["analyte"] == analyte) & rows["value"].notna()
    mine &= (rows["time_h"] <= 0) & (rows["time_h"] >= -BASELINE_REACH_H)
    last = rows[mine].sort_values("time_h", kind="stable").drop_duplicates("patient_id", keep="last")
    last = last.assign(unit=last["unit"].astype(object).fillna("?"))
    return last.set_index("patient_id")[["value", "unit"]]


def _describe(
    label: str,
    values: pd.Series,
    groups: dict[str, pd.Index],
    by: object,
    rows_of: Callable[[str, str, pd.Series, list[str]], list[dict[str, Any]]],
    difference: Callable[[list[pd.Series]], float] | None,
) -> list[dict[str, Any]]:
    """Rows of one variable for every group; none when nobody has a value."""
    if not values.notna().any():
        return []
    levels = [] if difference else _levels(values)
    rows = []
    for name, members in groups.items():
        rows += rows_of(label, name, values.reindex(members), levels)
    apart = [values.reindex(members) for name, members in groups.items() if name != OVERALL]
    found: dict[str | None, float] = {}  # the same in every group
    for row in rows:
        level = row["level"]
        if by is None or len(apart) < 2:
            found[level] = np.nan
        elif level not in found:
            found[level] = difference(apart) if difference else _share_difference(apart, level)
        row["difference"] = found[level]
    return rows


def _number_row(label: str, group: str, values: pd.Series, levels: list[str]) -> list[dict[str, Any]]:
    known = values.dropna().astype(float)
    q1, median, q3 = known.quantile([0.25, 0.5, 0.75]) if len(known) else (np.nan,) * 3
    return [
        {
            "variable": label, "level": None, "kind": "number", "group": group, "size": len(values),
            "n": len(known), "missing": len(values) - len(known), "count": len(known), "share": np.nan,
            "median": median, "q1": q1, "q3": q3, "low": known.min(), "high": known.max(),
        }
    ]  # fmt: skip


def _factor_rows(label: str, group: str, values: pd.Series, levels: list[str]) -> list[dict[str, Any]]:
    known = values.dropna().astype(str)
    rows = []
    for level in levels:
        count = int((known == level).sum())
        rows.append(
            {
                "variable": label, "level": level, "kind": "count", "group": group, "size": len(values),
                "n": len(known), "missing": len(values) - len(known), "count": count,
                "share": count / len(known) if len(known) else np.nan,
            }
        )  # fmt: skip
    return rows


def _levels(values: pd.Series) -> list[str]:
    """Levels: grades and other numbers in order, words by frequency."""
    counts = values.dropna().astype(str).value_counts()
    try:
        return sorted(counts.index, key=float)
    except ValueError:
        return sorted(counts.index, key=lambda level: (-counts[level], level))


def _number_difference(groups: list[pd.Series]) -> float:
    return _largest(groups, lambda s: (s.mean(), s.var(ddof=1)))


def _share_difference(groups: list[pd.Series], level: str) -> float:
    def moments(values: pd.Series) -> tuple[float, float]:
        share = float((values.astype(str) == level).mean())
        return share, share * (1 - share)

    return _largest(groups, moments)


def _largest(groups: list[pd.Series], moments: Callable[[pd.Series], tuple[float, float]]) -> float:
    """Largest absolute standardised difference over pairs of groups that both have two values or more."""
    known = [moments(values.dropna()) for values in groups if values.notna().sum() > 1]
    found = []
    for (mean_a, var_a), (mean_b, var_b) in combinations(known, 2):
        spread = np.sqrt((var_a + var_b) / 2)
        if spread > 0:
            found.append(abs(mean_a - mean_b) / spread)
        elif mean_a != mean_b:
            found.append(np.inf)
        else:
            found.append(0.0)
    return float(max(found)) if found else np.nan


def _number_line(variable: str, wide: dict[str, pd.DataFrame], groups: list[str]) -> dict[str, str]:
    line = {"Characteristic": f"{variable}, median [IQR]"}
    for group in groups:
        row = wide[group].iloc[0]
        text = f"{fmt.compact(row['median'])} [{fmt.compact(row['q1'])} to {fmt.compact(row['q3'])}]"
        line[group] = (text if row["n"] else fmt.NOTHING) + _missing(row)
    return {**line, "Std. diff.": _difference(wide[groups[0]].iloc[0])}


def _factor_lines(variable: str, wide: dict[str, pd.DataFrame], groups: list[str]) -> list[dict[str, str]]:
    levels = list(wide[groups[0]]["level"])
    yes_only = set(levels) <= {"yes", "no"} and "yes" in levels
    head = {"Characteristic": f"{variable}, n (%)", "Std. diff.": ""}
    for group in groups:
        head[group] = _missing(wide[group].iloc[0]).removeprefix("; ")
    lines = [] if yes_only else [head]
    for level in ["yes"] if yes_only else levels:
        line = {"Characteristic": f"{variable}, n (%)" if yes_only else f"    {level}"}
        for group in groups:
            row = wide[group].loc[wide[group]["level"] == level].iloc[0]
            text = f"{fmt.whole(row['count'])} ({fmt.percent(row['share'])})" if row["n"] else fmt.NOTHING
            line[group] = text + (_missing(row) if yes_only else "")
        lines.append({**line, "Std. diff.": _difference(row)})
    return lines


def _missing(row: pd.Series) -> str:
    if str(row["variable"]).endswith(CASES):
        return f"; n {fmt.whole(row['n'])}" if row["n"] else ""
    return f"; missing {fmt.whole(row['missing'])}" if row["missing"] else ""


def _difference(row: pd.Series) -> str:
    value = row["difference"]
    return "∞" if np.isinf(value) else fmt.number(value)


def _lower(label: str) -> str:
    """The label with a small first letter, unless it begins with an abbreviation."""
    return label if label[1:2].isupper() or label[1:2] in "-" else label[:1].lower() + label[1:]
