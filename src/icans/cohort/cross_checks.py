"""What holds between the tables: patients that exist, nothing before birth, nothing sampled after death."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from icans.cohort.findings import Findings, always
from icans.cohort.value_checks import Checked
from icans.cohort.vocabulary import near

#: Hours in a year of age (365.25 days).
YEAR_H = 365.25 * 24.0
#: Ages are often whole years: a row is before birth when it is more than a year beyond the age.
AGE_SLACK_Y = 1.0
#: Times of death are often whole days: rows up to a day later are not questioned.
DEATH_SLACK_H = 24.0
#: Near misses are looked for among so many patients, for so many unknown names: the search is slow.
HINTS_FROM, HINTS = 2000, 20


def check_across(tables: Mapping[str, Checked], findings: Findings) -> None:
    """Every check that needs two tables. Tables that could not be parsed are not in ``tables``."""
    patients = tables.get("patients")
    if patients is None:
        return
    first = patients.frame.drop_duplicates("patient_id").dropna(subset=["patient_id"]).set_index("patient_id")
    ids = list(first.index)
    events = tables.get("events")
    death = None
    if events is not None:
        dead = events.frame[events.frame["event"] == "death"]
        death = dead.groupby("patient_id")["time_h"].min()
    for name, checked in tables.items():
        if name == "patients":
            continue
        patient = checked.frame["patient_id"]
        _strangers(checked, ids, findings)
        if "time_h" not in checked.frame:
            continue
        time = checked.frame["time_h"].to_numpy(float)
        birth = -(patient.map(first["age_y"]).to_numpy(float) + AGE_SLACK_Y) * YEAR_H
        _tell(
            checked,
            time < birth,
            "time_h",
            "birth",
            "a time after birth",
            "Check age_y and the unit of time.",
            findings,
        )
        if death is not None and len(death) and name != "events":
            late = time > patient.map(death).to_numpy(float) + DEATH_SLACK_H
            _tell(checked, late, "time_h", "death", "a time before the patient's death",
                  "Check the time of the row and of the death.", findings, "warning")  # fmt: skip


def _strangers(checked: Checked, ids: list[str], findings: Findings) -> None:
    patient = checked.frame["patient_id"]
    stranger = (patient.notna() & ~patient.isin(ids)).to_numpy(bool)
    where = np.flatnonzero(stranger)
    hints: dict[str | None, str] = {}

    def describe(value: str | None) -> tuple[str, str]:
        if value not in hints and len(hints) < HINTS:
            hints[value] = near(value or "", ids[:HINTS_FROM])
        hint = hints.get(value) or "."
        return "a patient of the table 'patients'", f"Add the patient there, or correct the name{hint}"

    if checked.name == "changes":
        return
    shown = patient.iloc[where[:1000]]
    findings.add_rows(checked.file, "patient_id", "stranger", checked.lines[where], shown, describe)


def _tell(
    checked: Checked,
    mask: np.ndarray,
    column: str,
    kind: str,
    expected: str,
    remedy: str,
    findings: Findings,
    severity: str = "error",
) -> None:
    where = np.flatnonzero(mask)
    shown = checked.frame[column].iloc[where[:1000]]
    words = always(expected, remedy)
    findings.add_rows(checked.file, column, kind, checked.lines[where], shown, words, severity=severity)
