"""Rows that say the same thing twice, rows that contradict each other, and patients that are two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import Cohort, change_rows
from icans.harmonize.findings import FINDINGS, finding
from icans.harmonize.units import tidy

KEY = list(schema.MEASUREMENTS.key)
#: A patient identity holds two series when at least this share of its times carry a contradiction, ...
TWO_SERIES_SHARE = 0.5
#: ... at no fewer than this many times.
TWO_SERIES_TIMES = 5
#: Values of one key that differ by no more than this share are the same value, rounded differently.
ROUNDING = 0.01


@dataclass(frozen=True)
class Kept:
    """Which rows stay, and the record of those that do not."""

    keep: npt.NDArray[np.bool_]
    changes: list[pd.DataFrame]


@dataclass(frozen=True)
class Merged:
    """The table after conflicts were resolved, with record and findings."""

    table: pd.DataFrame
    changes: list[pd.DataFrame]
    findings: pd.DataFrame


def exact(table: pd.DataFrame) -> Kept:
    """Mark rows that repeat an earlier row in key, value, unit, censoring and batch."""
    again = np.zeros(len(table), dtype=bool)
    place, _ = _repeated(table)
    part = table.iloc[place]
    again[place] = part.duplicated([*KEY, "value", "unit", "censor", "limit", "batch"]).to_numpy()
    counts = table.loc[again, "analyte"].value_counts().sort_index()
    why = "the same row was delivered more than once"
    notes = [change_rows("measurements", "duplicate.exact", why, item=name, rows=int(n)) for name, n in counts.items()]
    return Kept(~again, notes)


def conflicts(table: pd.DataFrame, rule: str) -> Merged:
    """Values that contradict each other under one key: merged within rounding, else kept and reported."""
    place, codes = _repeated(table)
    known = table["value"].notna().to_numpy()[place]
    place, codes = place[known], codes[known]
    if not len(place):
        return Merged(table, [], FINDINGS.empty())
    part = table.iloc[place].assign(key=codes, row=place)
    grouped = part.groupby("key")["value"]
    low, high, size = (grouped.transform(how) for how in ("min", "max", "size"))
    close = ((high - low) <= ROUNDING * np.maximum(high.abs(), low.abs())) & (size > 1)
    close &= (part["censor"] == "none").groupby(part["key"]).transform("all")
    changes, drop = [], np.zeros(len(table), dtype=bool)
    if rule == "median" and close.any():
        merged = part[close]
        median = merged.groupby("key")["value"].transform("median")
        first = ~merged["key"].duplicated()
        value = table["value"].to_numpy().copy()
        value[merged.loc[first, "row"]] = tidy(median[first].to_numpy())
        drop[merged.loc[~first, "row"]] = True
        why = "several values of one key that differ by no more than rounding; their median is kept"
        for name, count in merged["analyte"].value_counts().sort_index().items():
            changes.append(
                change_rows("measurements", "duplicate.median", why, item=name, column="value", rows=int(count))
            )
        table = table.assign(value=value)
    open_ = part[~close & (size > 1)]
    found = [
        finding(
            name, "duplicate.conflict", proposal="keep all; ask the source", n_rows=len(rows), confidence=1.0,
            evidence=f"{rows['key'].nunique()} keys of {rows['patient_id'].nunique()} patients have values that differ "
            f"by more than rounding, e.g. patient {rows['patient_id'].iloc[0]} at {rows['time_h'].iloc[0]:g} h",
        )
        for name, rows in open_.groupby("analyte", sort=True)
    ]  # fmt: skip
    frame = FINDINGS.shape_up(pd.DataFrame(found)) if found else FINDINGS.empty()
    return Merged(table[~drop].reset_index(drop=True), changes, frame)


def two_series(cohort: Cohort, rule: str) -> tuple[Cohort, pd.DataFrame]:
    """Find patient identities that hold two series side by side, and report, split or set them aside."""
    table = cohort.measurements
    place, codes = _repeated(table)
    if not len(place):
        return cohort, FINDINGS.empty()
    part = table.iloc[place][["patient_id", "time_h", "value"]].assign(key=codes).dropna(subset="value")
    spread = part.groupby("key")["value"].transform("max") - part.groupby("key")["value"].transform("min")
    level = part.groupby("key")["value"].transform(lambda x: x.abs().max())
    clash = part[(spread > ROUNDING * level).to_numpy()]
    clashing = clash.groupby("patient_id")["time_h"].nunique()
    mine = table[table["patient_id"].isin(clashing.index) & table["value"].notna()]
    times = mine.groupby("patient_id")["time_h"].nunique()
    share = clashing / times.reindex(clashing.index)
    double = share[(share >= TWO_SERIES_SHARE) & (clashing >= TWO_SERIES_TIMES)]
    found = []
    for patient, part in double.items():
        found.append(
            finding(
                None, "patient.two_series", scope="patient", patient_id=patient, confidence=min(float(part), 0.99),
                n_rows=int((table["patient_id"] == patient).sum()), applied=rule != "report",
                proposal="split into two patients, or set the patient's measurements aside",
                evidence=f"{clashing[patient]} of {times[patient]} times carry two different values of one analyte: "
                "two courses seem to share one identity",
            )
        )  # fmt: skip
    for patient in double.index:
        cohort = _split(cohort, patient) if rule == "split" else cohort
        cohort = _set_aside(cohort, patient) if rule == "set_aside" else cohort
    return cohort, FINDINGS.shape_up(pd.DataFrame(found)) if found else FINDINGS.empty()


def _split(cohort: Cohort, patient: str) -> Cohort:
    """Give the second row of every repeated key to a new patient, in every table.

    Tables keep the order of delivery within a key, so the first of two rows belongs to the first series.
    """
    new = f"{patient}#2"
    moved = 0
    for name, definition in schema.TABLES.items():
        frame = cohort.table(name)
        mine = (frame["patient_id"] == patient).to_numpy()
        if not mine.any():
            continue
        if name == "patients":
            frame = pd.concat([frame, frame[mine].assign(patient_id=new)], ignore_index=True)
        else:
            second = mine & frame.duplicated(list(definition.key)).to_numpy()
            if name == "measurements":
                second |= _nearer_second(frame, mine, second)
            moved += int(second.sum())
            frame = frame.assign(patient_id=frame["patient_id"].mask(second, new))
        cohort = cohort.with_table(name, frame)
    why = "two courses shared one identity; the second of every repeated key became a patient of its own"
    return cohort.with_changes(
        change_rows("patients", "patient.split", why, patient_id=patient, column="patient_id", old=patient, new=new,
                    rows=moved)
    )  # fmt: skip


def _nearer_second(
    frame: pd.DataFrame, mine: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Rows whose key occurs once that continue the second series rather than the first: nearest in time and value."""
    once = mine & ~frame.duplicated(KEY, keep=False).to_numpy() & frame["value"].notna().to_numpy()
    moved = np.zeros(len(frame), dtype=bool)
    for row in np.flatnonzero(once):
        same = mine & ~once & (frame["analyte"] == frame["analyte"].iloc[row]).to_numpy(bool)
        same &= frame["value"].notna().to_numpy()
        if not (same & second).any() or not (same & ~second).any():
            continue
        gap = []
        for series in (same & ~second, same & second):
            near = frame[series].iloc[(frame[series]["time_h"] - frame["time_h"].iloc[row]).abs().argmin()]
            scale = max(abs(near["value"]), abs(frame["value"].iloc[row]), 1e-9)
            gap.append(abs(near["value"] - frame["value"].iloc[row]) / scale)
        moved[row] = gap[1] < gap[0]
    return moved


def _set_aside(cohort: Cohort, patient: str) -> Cohort:
    mine = (cohort.measurements["patient_id"] == patient).to_numpy()
    why = "two courses share one identity; which row belongs to which is not known"
    note = change_rows("measurements", "patient.set_aside", why, patient_id=patient, rows=int(mine.sum()))
    return cohort.with_table("measurements", cohort.measurements[~mine], note)


def _repeated(table: pd.DataFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose key occurs more than once (their places), and a number for each of their keys."""
    quick = np.zeros(len(table), dtype=np.int64)
    for name in ("patient_id", "analyte", "time_h"):
        codes, values = pd.factorize(table[name], use_na_sentinel=False)
        quick = quick * (len(values) + 1) + codes
    place = np.flatnonzero(pd.Series(quick).duplicated(keep=False).to_numpy())
    if not len(place):
        return place, place
    codes = table.iloc[place].groupby(KEY, dropna=False, sort=False).ngroup().to_numpy()
    again = pd.Series(codes).duplicated(keep=False).to_numpy()
    return place[again], codes[again]
