"""What the checks of the leakage audit mean, in plain language."""

from __future__ import annotations

import pandas as pd

MEANINGS = {
    "source": "delivery or extraction that the patient came in",
    "site": "centre; it may treat other patients, but it is no property of the patient",
    "product": "cell product; a real cause, but not to be told from all else that differs between its users",
    "batch": "plate, run or delivery of the results",
    "assay": "platform of the results",
    "method": "how values were summarised",
    "unit": "units as declared",
    "unit regime": "units in which a patient's values were found to be written",
    "filled-in fields": "which columns of the patient table are filled in",
    "decimals": "how many decimals values are written with",
    "missingness pattern": "on which days which analyte has a value",
    "row counts": "how many rows and values there are",
    "record length": "first and last day of the record",
    "fill values": "exact values that repeat far beyond chance and nearly always with the same outcome or grade",
    "future shuffled": "forecasts after everything later than the landmark was permuted",
    "labels shuffled": "AUROC of the fitting procedure, cross-validation included, on permuted outcomes",
}


def sentences(
    task: str, table: pd.DataFrame, fills: pd.DataFrame, groupings: pd.DataFrame, worst: str, reasons: list[str]
) -> tuple[str, ...]:
    """Sentences for the report: the verdict first, then what led to it, then what can be studied instead."""
    if not reasons:
        return (_all_clear(task, table), *_tells(table), *_fills(fills))
    said = [
        f"Whether {task} occurs cannot be validated on these data: something other than the patients' biology tells "
        "it nearly as well as any forecast could. An AUROC for occurrence would measure the delivery of the data.",
        "Found: " + "; ".join(reasons) + ".",
    ]
    if worst:
        said.append(_levels(groupings, worst))
    said.append(_instead(groupings, worst))
    named = table[~((table["verdict"] == "separates") & table["scope"].str.startswith("known by"))]
    return (*said, *_tells(named), *_fills(fills))


def _all_clear(task: str, table: pd.DataFrame) -> str:
    done = int(table["auroc"].notna().sum())
    if not done:
        return (
            f"The leakage audit could not score a single check of {task}: too few patients with and without it, or "
            "nothing that tells patients apart. It speaks neither for nor against a forecast."
        )
    return (
        f"No check of the leakage audit stands in the way of validating {task}: {done} sets of features without "
        "clinical meaning were tried, and none that says where the data come from or what was known early separates "
        "patients with and without it."
    )


def _tells(table: pd.DataFrame) -> list[str]:
    rows = table[table["verdict"].isin(["tells", "separates"]) & (table["kind"] == "process")]
    top = rows.sort_values("auroc", ascending=False).drop_duplicates("check")
    parts = [f"{r.check} ({r.scope}) {r.auroc:.2f} ({r.low:.2f} to {r.high:.2f})" for r in top.itertuples()]
    if not parts:
        return []
    return [
        "How patients were watched tells part of the outcome (AUROC): " + "; ".join(parts) + ". After onset that is "
        "care; before it, read forecasts that use counts or missingness with this in mind."
    ]


def _fills(fills: pd.DataFrame) -> list[str]:
    if fills.empty:
        return []
    shown = [
        f"{r.analyte} = {r.value:g} ({r.repeats} times, {r.purity:.0%} with {r.label} {r.mostly}, "
        f"expected {r.expected:.0%})"
        for r in fills.head(5).itertuples()
    ]
    more = f", and {len(fills) - 5} more" if len(fills) > 5 else ""
    return [
        "Values look as if they were filled in by outcome: " + "; ".join(shown) + more + ". Ask the source for the "
        "data before imputation; no model should be trained on these."
    ]


def _levels(groupings: pd.DataFrame, worst: str) -> str:
    part = groupings[groupings["grouping"] == worst]
    shown = ", ".join(f"{r.level}: {r.events} of {r.n} patients" for r in part.head(6).itertuples())
    return f"Patients with the outcome by {worst}: {shown}."


def _instead(groupings: pd.DataFrame, worst: str) -> str:
    inside = groupings[(groupings["grouping"] == worst) & groupings["enough"].astype(bool)]
    if len(inside):
        names = ", ".join(inside["level"].astype(str))
        within = f"occurrence within one level of {worst} ({names}), and "
    elif worst:
        within = f"(occurrence within one level of {worst} has too few patients of both kinds) "
    else:
        within = ""
    return f"What can be studied: {within}severity, onset and course among patients who had it."
