"""Fill values that give the outcome away.

Where missing values were filled with, say, the median *of patients with the same grade*, one exact value repeats far
beyond what its neighbourhood explains, and nearly all its repeats carry one grade. A model then reads the grade off
the fill value. Rounded values, detection limits and ceilings repeat, too; they are told apart because their
neighbours repeat as much, because they lie at an edge, or because they are not pure beyond chance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom

from icans.cohort.cohort import Cohort
from icans.evaluate.audit_features import decimals

#: A suspicious value occurs in at least this many patient-label pairs ...
MIN_REPEATS = 10
#: ... and this many times as often as the typical distinct value near it that is written with as few decimals
#: (rounding makes those alike; where only part of the data is rounded, finer neighbours are rarer for that reason).
EXCESS = 8.0
#: Neighbours on each side that make up "near it".
NEIGHBOURS = 5
#: Rows on each side of the value, by rank, that give the share of a label to be expected there: an analyte that rises
#: with the grade, or a batch that holds one outcome only, makes the whole neighbourhood pure, not one value.
LOCAL_ROWS = 30
#: Share of its repeats that carry one label.
PURITY = 0.95
#: At most this probability of such purity by chance, after correction for the number of values looked at.
MAX_CHANCE = 1e-4
#: Share of the other values that must lie on each side: a detection limit or a ceiling lies at the edge.
INTERIOR = 0.05

COLUMNS = ["analyte", "label", "value", "repeats", "share_of_rows", "mostly", "purity", "expected", "chance"]


def outcome_fills(cohort: Cohort, labels: pd.DataFrame) -> pd.DataFrame:
    """Values whose repeats give a label away.

    Parameters
    ----------
    cohort
        Cohort as delivered (before any imputation of our own).
    labels
        One row for each measurement row, aligned by index with ``cohort.measurements``; each column is one label
        (the patient's outcome, the grade of the day ...); missing labels are left out.

    Returns
    -------
    pandas.DataFrame
        One row for each suspicious value and label, columns as in ``COLUMNS``: ``mostly`` is the label that its
        repeats carry, ``expected`` the share of that label among rows with nearby values.
    """
    rows = cohort.measurements
    found = []
    for name in labels:
        usable = rows["value"].notna() & labels[name].notna() & (rows["censor"] == "none")
        frame = pd.DataFrame(
            {
                "patient_id": rows["patient_id"][usable].astype(str),
                "analyte": rows["analyte"][usable].astype(str),
                "value": rows["value"][usable],
                "label": labels[name][usable].astype(str),
            }
        )
        for analyte, part in frame.groupby("analyte"):
            found += [{"analyte": analyte, "label": name, **row} for row in _suspicious(part)]
    return pd.DataFrame(found, columns=COLUMNS)


def grade_labels(cohort: Cohort, outcome: pd.Series) -> pd.DataFrame:
    """Labels of every measurement row: the patient's outcome and each toxicity's worst grade of the same day."""
    rows = cohort.measurements
    labels = {"outcome": rows["patient_id"].map(outcome)}
    day = np.floor(rows["time_h"] / 24.0)
    for toxicity, part in cohort.grades.groupby("toxicity"):
        graded = part[part["grade"].notna()]
        worst = graded.groupby([graded["patient_id"], np.floor(graded["time_h"] / 24.0)])["grade"].max()
        index = pd.MultiIndex.from_arrays([rows["patient_id"], day])
        labels[f"{toxicity} grade of the day"] = pd.Series(worst.reindex(index).to_numpy(), index=rows.index)
    return pd.DataFrame(labels, index=rows.index)


def _suspicious(part: pd.DataFrame) -> list[dict[str, object]]:
    """Suspicious values of one analyte under one label."""
    values, counts = np.unique(part["value"].to_numpy(), return_counts=True)
    ordered = part.sort_values("value", kind="stable")
    places = decimals(values)
    often = np.flatnonzero(counts >= MIN_REPEATS).tolist()
    candidates = [k for k in often if _stands_out(counts, places, k) and _interior(counts, k)]
    rows = []
    for k in candidates:
        mine = part[part["value"] == values[k]].drop_duplicates(["patient_id", "label"])
        share = mine["label"].value_counts(normalize=True)
        mostly, purity, n = str(share.index[0]), float(share.iloc[0]), len(mine)
        expected = _expected(ordered, float(values[k]), mostly)
        chance = float(binom.sf(round(purity * n) - 1, n, expected)) * len(candidates)
        if n >= MIN_REPEATS and purity >= PURITY and chance <= MAX_CHANCE:
            rows.append(
                {
                    "value": float(values[k]),
                    "repeats": int(counts[k]),
                    "share_of_rows": float(counts[k] / len(part)),
                    "mostly": mostly,
                    "purity": purity,
                    "expected": expected,
                    "chance": min(chance, 1.0),
                }
            )
    return rows


def _expected(ordered: pd.DataFrame, value: float, label: str) -> float:
    """Share of a label among the rows just below and above a value (with one row of each kind added)."""
    column = ordered["value"].to_numpy()
    low, high = int(np.searchsorted(column, value, "left")), int(np.searchsorted(column, value, "right"))
    near = np.r_[np.arange(max(low - LOCAL_ROWS, 0), low), np.arange(high, min(high + LOCAL_ROWS, len(column)))]
    hits = int((ordered["label"].to_numpy()[near] == label).sum())
    return (hits + 1) / (len(near) + 2)


def _stands_out(counts: np.ndarray, places: np.ndarray, k: int) -> bool:
    alike = np.flatnonzero(places <= places[k])
    at = int(np.searchsorted(alike, k))
    near = np.r_[alike[max(at - NEIGHBOURS, 0) : at], alike[at + 1 : at + 1 + NEIGHBOURS]]
    if not len(near):
        near = np.r_[np.arange(max(k - NEIGHBOURS, 0), k), np.arange(k + 1, min(k + 1 + NEIGHBOURS, len(counts)))]
    return len(near) > 0 and bool(counts[k] >= EXCESS * np.median(counts[near]))


def _interior(counts: np.ndarray, k: int) -> bool:
    others = counts.sum() - counts[k]
    below, above = counts[:k].sum(), counts[k + 1 :].sum()
    return others > 0 and min(below, above) >= INTERIOR * others
