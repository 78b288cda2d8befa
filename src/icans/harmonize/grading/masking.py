"""When fever is no longer needed: treatment since CRS began, episode by episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from icans.cohort.cohort import Cohort
from icans.core.times import day_number
from icans.harmonize.grading.crs import fever
from icans.harmonize.grading.daily import Day
from icans.harmonize.grading.findings import Findings
from icans.harmonize.grading.options import GradingOptions

#: Drugs after which fever is no longer needed for CRS (Lee 2019: antipyretic, anti-cytokine, steroid).
MASKING_DRUGS = frozenset(
    {
        "tocilizumab", "siltuximab", "anakinra", "sarilumab", "emapalumab", "ruxolitinib", "etanercept", "infliximab",
        "dexamethasone", "methylprednisolone", "prednisone", "prednisolone", "hydrocortisone", "corticosteroid",
        "paracetamol", "acetaminophen", "ibuprofen", "metamizole",
    }
)  # fmt: skip
#: Day of a dose, and when it could be known (hours).
Dose = tuple[int, float]


def with_masking(bedside: list[Day], cohort: Cohort, options: GradingOptions) -> list[Day]:
    """Days on which a treatment since CRS began makes fever unnecessary carry the item that says so.

    CRS begins with the first day of fever; the masking ends when fever, hypotension and hypoxia were absent (or
    not recorded) on ``options.masking_persists_days`` days in a row.
    """
    given = cohort.treatments[cohort.treatments["drug"].isin(MASKING_DRUGS)]
    doses = {
        str(patient): list(zip(day_number(part["time_h"]).tolist(), part["available_h"].tolist()))
        for patient, part in given.sort_values("time_h").groupby("patient_id")
    }
    result: list[Day] = []
    state = _Masking(options)
    for day in bedside:
        if day.patient_id != state.patient_id:
            state = _Masking(options, day.patient_id, doses.get(day.patient_id, []))
        result.append(state.see(day))
    return result


class _Masking:
    """One patient's episode of CRS, day by day."""

    def __init__(self, options: GradingOptions, patient_id: str = "", doses: list[Dose] | None = None) -> None:
        self.options, self.patient_id, self.doses = options, patient_id, doses or []
        self.began: int | None = None
        self.began_known_h = -np.inf
        self.last_sign = 0

    def see(self, day: Day) -> Day:
        """The day, with the item set when treatment since onset makes fever unnecessary."""
        febrile = bool(fever(day.found, self.options))
        if self.began is not None and day.day - self.last_sign > self.options.masking_persists_days:
            self.began = None
        if self.began is None and febrile:
            self.began, self.began_known_h = day.day, day.available_h
        if self.began is not None and (febrile or _unwell(day.found)):
            self.last_sign = day.day
        if self.began is None or "antipyretic_or_anticytokine" in day.found.values:
            return day
        first = -np.inf if self.options.prophylaxis_masks else float(self.began)
        known = [available for given, available in self.doses if first <= given <= day.day]
        values = {**day.found.values, "antipyretic_or_anticytokine": bool(known)}
        available = max(day.available_h, self.began_known_h, min(known, default=-np.inf))
        return replace(day, found=replace(day.found, values=values), available_h=available)


def _unwell(found: Findings) -> bool:
    low = found.flag("hypotension") or found.flag("vasopressin") or (found.number("vasopressors") or 0) > 0
    oxygen = bool(found.words("oxygen_device") - {"none"}) or bool(found.number("oxygen_flow_l_min"))
    return bool(low or oxygen)
