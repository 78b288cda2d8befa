"""From rows of ``assessments`` to one :class:`Findings` per patient and day.

Rules of combination
--------------------
* A day is 24 hours from infusion (day 0: 0 <= t < 24 h). Nothing is carried over from one day to the next.
* Within a day the worst value of an item counts (the lowest for scores where less is worse); of a choice, all
  words found are kept and each scheme takes the worst by its own reading.
* ICE and CAPD items are summed per assessment, not per day. A sheet with missing items is used only when the
  day has no complete one, and only when it is the day's only sheet.
* Cognitive tests and arousal recorded under sedation do not count; when others of the day do, the day's grade is
  a lower bound, otherwise the day is sedated.
* A finding judged not attributable does not count; the item is remembered as excluded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.core.times import day_number
from icans.harmonize.grading.cognition import CAPD_ITEMS, ICE_ITEMS
from icans.harmonize.grading.findings import NO, YES, Findings, Value

#: Items of which less is worse; of all other numbers more is.
LESS_IS_WORSE = frozenset({*ICE_ITEMS, "ice_total", "cartox10", "head_of_state", "rass"})
#: Items that sedation spoils.
SPOILT_BY_SEDATION = frozenset(
    {*ICE_ITEMS, *CAPD_ITEMS, "ice_total", "capd_total", "cartox10", "head_of_state", "cognitive_test_untestable",
     "consciousness", "rass"}
)  # fmt: skip
#: Scores of which the last value before infusion is the baseline.
BASELINE_SCORES = ("ice_total", "capd_total")
#: Words of ``baseline_neurology`` that tell of earlier seizures.
SEIZURE_WORDS = r"seizure|epilep"


@dataclass(frozen=True)
class Day:
    """A patient's day: its findings and when the last of them could be known."""

    patient_id: str
    day: int
    found: Findings
    available_h: float


def days(cohort: Cohort) -> list[Day]:
    """Every patient-day that has a finding, sorted by patient and day.

    Raises
    ------
    DataError
        Items that the vocabulary does not have or values that they cannot take; every one is listed.
    """
    rows = cohort.assessments
    if rows.empty:
        return []
    rows = _coded(rows.assign(day=day_number(rows["time_h"])))
    rows = with_totals(rows)
    baseline = _baselines(rows)
    available = _available(rows)
    rows, sedated, partly = _without_sedated(rows)
    values, excluded = _values(rows)
    context = _context(cohort)
    result = []
    for key in sorted(set(values) | set(excluded) | sedated):
        patient, day = key
        found = dict(values.get(key, {}))
        if key in sedated:
            found["sedated"] = True
        elif key in partly:
            found.pop("sedated", None)
        result.append(
            Day(
                patient,
                day,
                Findings(
                    found,
                    frozenset(excluded.get(key, ())) - set(found),
                    baseline=baseline.get(patient, {}),
                    incomplete=key in partly,
                    **context.get(patient, {}),
                ),
                max(available.get(key, 0.0), 24.0 * (day + 1)),
            )
        )
    return result


def _coded(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with ``kind`` and ``number`` (yes/no as 1/0); rows without a value are left out (missing)."""
    known = vocabulary.items()
    rows = rows[rows["value"].notna()].copy()
    rows["kind"] = rows["item"].map({name: item.kind for name, item in known.items()})
    text = rows["value"].str.strip()
    numeric = rows["kind"].isin(["integer", "number"])
    yesno, choice = rows["kind"] == "yesno", rows["kind"] == "choice"
    number = pd.Series(np.nan, index=rows.index)
    number[numeric] = pd.to_numeric(text[numeric], errors="coerce").astype(float)
    lower = text.str.lower()
    number[yesno] = lower[yesno].map({**dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0)}).astype(float)
    rows["number"] = number
    rows["word"] = text.where(choice)
    allowed = {(name, word) for name, item in known.items() for word in item.allowed}
    pairs = pd.Series(list(zip(rows["item"], text)), index=rows.index, dtype=object)
    low = rows["item"].map({n: i.low for n, i in known.items() if i.low is not None}).astype(float)
    high = rows["item"].map({n: i.high for n, i in known.items() if i.high is not None}).astype(float)
    wrong = rows["kind"].isna() | ((numeric | yesno) & number.isna()) | (choice & ~pairs.isin(allowed))
    wrong |= numeric & ((number < low) | (number > high))
    wrong |= (rows["kind"] == "integer") & (number != np.floor(number)) & number.notna()
    if wrong.any():
        raise DataError(_problems(rows[wrong]))
    return rows


def _problems(rows: pd.DataFrame) -> list[Problem]:
    known = vocabulary.items()
    found = []
    for row in rows.itertuples():
        item = known.get(row.item)
        if item is None:
            expected, remedy = "an item of the vocabulary", f"Rename it{vocabulary.near(str(row.item), known)}."
            column, value = "item", row.item
        else:
            expected = f"one of {list(item.allowed)}" if item.allowed else f"{item.kind} for {row.item}"
            if item.low is not None and not item.allowed:
                expected += f" from {item.low:g} to {item.high:g}"
            remedy, column, value = "Correct the value or remove the row.", "value", row.value
        found.append(Problem("assessments", int(row.Index) + 1, column, str(value), expected, remedy))
    return found


def with_totals(rows: pd.DataFrame) -> pd.DataFrame:
    """ICE and CAPD totals in place of complete sheets of items; incomplete sheets only where nothing else is."""
    for items, total in ((tuple(ICE_ITEMS), "ice_total"), (CAPD_ITEMS, "capd_total")):
        part = rows["item"].isin(items)
        if not part.any():
            continue
        sheets = rows[part].groupby(["patient_id", "day", "time_h"], sort=False)
        complete = sheets["item"].transform("nunique") == len(items)
        summed = rows[part][complete].groupby(["patient_id", "day", "time_h"], sort=False)
        sums = summed.agg(
            number=("number", "sum"), available_h=("available_h", "max"), attributable=("attributable", "min")
        ).reset_index()  # fmt: skip
        blank = pd.Series(np.nan, index=sums.index).astype(rows["word"].dtype)
        written = sums["number"].map("{:g}".format).astype(rows["value"].dtype)
        sums = sums.assign(item=total, kind="integer", value=written, word=blank)
        rest = rows[part][~complete]
        rows = _stacked(rows[~part], sums)
        rows = _stacked(rows, _lone_sheets(rest, rows, total))
    return rows


def _stacked(*frames: pd.DataFrame) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _lone_sheets(rest: pd.DataFrame, rows: pd.DataFrame, total: str) -> pd.DataFrame:
    """Incomplete sheets of days that have no total and no second sheet."""
    if rest.empty:
        return rest
    keys = pd.MultiIndex.from_frame(rest[["patient_id", "day"]])
    done = rows.loc[rows["item"] == total, ["patient_id", "day"]]
    has_total = keys.isin(pd.MultiIndex.from_frame(done))
    sheets = rest.groupby(["patient_id", "day"], sort=False)["time_h"].transform("nunique")
    return rest[~has_total & (sheets == 1).to_numpy()]


def _without_sedated(
    rows: pd.DataFrame,
) -> tuple[pd.DataFrame, set[tuple[str, int]], set[tuple[str, int]]]:
    """Rows without what sedation spoils; days wholly sedated; days partly sedated."""
    states = rows[(rows["item"] == "sedated") & ~(rows["attributable"] == False).fillna(False)]  # noqa: E712
    if not (states["number"] == 1).any():
        return rows, set(), set()
    states = states.groupby(["patient_id", "day", "time_h"], as_index=False)["number"].max()
    spoilt = rows["item"].isin(SPOILT_BY_SEDATION)
    tests = rows.loc[spoilt, ["patient_id", "day", "time_h"]].reset_index()
    merged = pd.merge_asof(
        tests.sort_values("time_h"), states.sort_values("time_h").astype({"patient_id": tests["patient_id"].dtype}),
        on="time_h", by=["patient_id", "day"],
    )  # fmt: skip
    under = merged.loc[merged["number"] == 1, "index"]
    kept = rows.drop(index=under)
    sedated_days = set(_keys(states[states["number"] == 1]))
    assessed = set(_keys(kept[kept["item"].isin(SPOILT_BY_SEDATION)]))
    return kept[kept["item"] != "sedated"], sedated_days - assessed, sedated_days & assessed


def _values(
    rows: pd.DataFrame,
) -> tuple[dict[tuple[str, int], dict[str, Value]], dict[tuple[str, int], set[str]]]:
    """Item values and excluded items of each patient-day."""
    other_cause = (rows["attributable"] == False).fillna(False).to_numpy(bool)  # noqa: E712
    values: dict[tuple[str, int], dict[str, Value]] = {}
    excluded: dict[tuple[str, int], set[str]] = {}
    ours = rows[~other_cause]
    is_word = ours["word"].notna().to_numpy()
    for patient, day, item, kind, number in _worst_numbers(ours[~is_word]):
        values.setdefault((patient, day), {})[item] = bool(number) if kind == "yesno" else number
    words: dict[tuple[str, int, str], set[str]] = {}
    for patient, day, item, word in zip(
        *(ours.loc[is_word, c].tolist() for c in ("patient_id", "day", "item", "word"))
    ):
        words.setdefault((patient, day, item), set()).add(word)
    for (patient, day, item), found in words.items():
        values.setdefault((patient, day), {})[item] = frozenset(found)
    for patient, day, item in rows.loc[other_cause, ["patient_id", "day", "item"]].itertuples(index=False):
        excluded.setdefault((patient, day), set()).add(item)
    return values, excluded


def _worst_numbers(rows: pd.DataFrame) -> Iterable[tuple[str, int, str, str, float]]:
    """Patient, day, item, kind and worst number of every item of every patient-day."""
    number = rows["number"].to_numpy(dtype=float)
    badness = np.where(rows["item"].isin(LESS_IS_WORSE), -number, number)
    who, item = pd.factorize(rows["patient_id"])[0], pd.factorize(rows["item"])[0]
    day = rows["day"].to_numpy()
    order = np.lexsort((badness, item, day, who))
    group = np.column_stack([who, day, item])[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (group[1:] != group[:-1]).any(axis=1)
    worst = rows.iloc[order[last]]
    return zip(*(worst[name].tolist() for name in ("patient_id", "day", "item", "kind", "number")))


def _baselines(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Last total before infusion that was known by then, by patient."""
    known = (rows["time_h"] < 0) & (rows["available_h"].fillna(rows["time_h"]) <= 0)
    before = rows[known & rows["item"].isin(BASELINE_SCORES)].sort_values("time_h", kind="stable")
    last = before.groupby(["patient_id", "item"])["number"].last()
    found: dict[str, dict[str, float]] = {}
    for (patient, item), number in last.items():
        found.setdefault(str(patient), {})[str(item)] = float(number)
    return found


def _context(cohort: Cohort) -> dict[str, dict[str, Any]]:
    patients = cohort.patients
    history = patients["baseline_neurology"].str.contains(SEIZURE_WORDS, case=False, regex=True)
    return {
        patient: {
            "age_y": None if pd.isna(age) else float(age),
            "developmental_delay": None if pd.isna(delay) else bool(delay),
            "seizure_history": None if pd.isna(had) else bool(had),
        }
        for patient, age, delay, had in zip(
            patients["patient_id"], patients["age_y"], patients["developmental_delay"], history
        )
    }  # fmt: skip


def _available(rows: pd.DataFrame) -> dict[tuple[str, int], float]:
    known = rows["available_h"].fillna(rows["time_h"])
    top = known.groupby([rows["patient_id"], rows["day"]]).max()
    return {(str(patient), int(day)): float(value) for (patient, day), value in top.items()}


def _keys(frame: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(frame["patient_id"].tolist(), frame["day"].tolist()))
