"""Placeholders: one exact value in many patients, nearly always on the same day.

Some exports fill a day (often the day of infusion) with a default where nothing was measured: white cells of 0, a
procalcitonin of 2. Such a value is no measurement, and where one delivery fills and another does not, it gives the
delivery away. A detection limit repeats, too, but on every day on which values are low; a placeholder keeps to its day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import change_rows, stack
from icans.core.times import day_number
from icans.harmonize.findings import FINDINGS, finding

#: Patients in whom the value occurs, at least.
MIN_PATIENTS = 10
#: Share of its occurrences that fall on one day, at least (the value may also be a real result on another day).
ON_ONE_DAY = 0.8
#: How many times as often as the usual distinct value of that day: ordinary rounding makes values of a day alike.
EXCESS = 5.0
#: Chance of keeping to one day so closely, after correction for the values looked at, at most.
MAX_CHANCE = 1e-6
#: Confidence is never quite 1: the record cannot show what was meant.
CEILING = 0.999


@dataclass(frozen=True)
class Placeholders:
    """The table with placeholders missing, and what was found and changed."""

    table: pd.DataFrame
    changes: pd.DataFrame
    findings: pd.DataFrame


def find_placeholders(table: pd.DataFrame, threshold: float) -> Placeholders:
    """Find placeholders; from the confidence ``threshold`` on they become missing values, and ``changes`` says so.

    Parameters
    ----------
    table
        Measurements in canonical units.
    threshold
        Confidence from which a finding is acted upon; below, it is only reported.
    """
    rows = table[table["value"].notna() & (table["censor"] == "none")]
    found, changes, gone = [], [], np.zeros(len(table), dtype=bool)
    for analyte, part in rows.groupby("analyte", sort=True):
        for value, day, share, chance in _suspects(part):
            mine = part[(part["value"] == value) & (day_number(part["time_h"].to_numpy()) == day)]
            confidence = min(1.0 - chance, CEILING)
            applied = confidence >= threshold
            told = (
                f"exactly {value:g} in {mine['patient_id'].nunique()} patients on day {day}, which is {share:.0%} of "
            )
            told += f"that value's occurrences; by chance: {chance:.1g}"
            found.append(
                finding(
                    analyte, "value.placeholder", proposal=f"{value:g} on day {day}: a default, not a result; missing",
                    n_rows=len(mine), time_h=float(mine["time_h"].min()), confidence=confidence, evidence=told,
                    applied=applied,
                )
            )  # fmt: skip
            if applied:
                gone[table.index.get_indexer(mine.index)] = True
                changes.append(
                    change_rows(
                        "measurements", "value.placeholder", told, patient_id=mine["patient_id"],
                        time_h=mine["time_h"], item=analyte, column="value", old=mine["value"], confidence=confidence,
                    )
                )  # fmt: skip
    findings = FINDINGS.shape_up(pd.DataFrame(found)) if found else FINDINGS.empty()
    kept = table.assign(value=table["value"].where(~gone))
    return Placeholders(kept, stack(schema.CHANGES, changes), findings)


def _suspects(part: pd.DataFrame) -> list[tuple[float, int, float, float]]:
    """Value, day, share of its occurrences on that day, and chance of that, of each placeholder of one analyte."""
    patients = part.drop_duplicates(["patient_id", "value"])["value"].value_counts()
    candidates = patients.index[patients >= MIN_PATIENTS]
    if not len(candidates):
        return []
    day = pd.Series(day_number(part["time_h"].to_numpy()), index=part.index)
    found = []
    for value in sorted(candidates):
        mine = part["value"] == value
        counts = day[mine].value_counts()
        modal, here, n = int(counts.index[0]), int(counts.iloc[0]), int(mine.sum())
        if here < ON_ONE_DAY * n or here < MIN_PATIENTS:
            continue
        others = ~mine
        usual = part.loc[others & (day == modal), "value"].value_counts().median()
        elsewhere = float((day[others] == modal).mean()) if others.any() else 1.0
        from scipy.stats import binom  # a second of imports, which few cohorts need

        chance = float(binom.sf(here - 1, n, elsewhere)) * len(candidates) * day.nunique()
        if here >= EXCESS * (1.0 if np.isnan(usual) else usual) and chance <= MAX_CHANCE:
            found.append((float(value), modal, here / n, chance))
    return found
