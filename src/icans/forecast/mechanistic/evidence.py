"""What a cohort tells the posterior: laboratory values, daily grades, first doses, product class; and what it does not.

Everything keeps the time from which it could be known; nothing is cut here (:mod:`.likelihood` cuts at each landmark).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.forecast.features import DRUG_CLASSES, analyte_keys, drug_rows, grade_rows
from icans.forecast.mechanistic.library import CLASSES, DRUGS, HOURS, SEVERITIES
from icans.forecast.mechanistic.observed import known, observables

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Samples up to so long before the infusion speak of its hour: lymphodepletion has been given, nothing else has begun.
BEFORE_H = 36.0
#: Hours after which neither samples nor grades are used (end of the library's grid).
UNTIL_H = 30 * HOURS
#: What a value of an analyte says of the truth: it, at most it, at least it.
EXACT, BELOW, ABOVE = 0, -1, 1


@dataclass(frozen=True)
class Labs:
    """Laboratory values; ``analyte`` is a position in :attr:`Evidence.analytes`, ``value`` on the working scale."""

    patient: Ints
    analyte: Ints
    time_h: Floats
    available_h: Floats
    value: Floats
    side: NDArray[np.int8]

    def of(self, rows: NDArray[np.bool_] | Ints) -> Labs:
        """Some rows."""
        return Labs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Grades:
    """Daily grades; ``toxicity`` is a position in :data:`.library.SEVERITIES`. Half steps are kept."""

    patient: Ints
    toxicity: Ints
    day: Ints
    available_h: Floats
    grade: Floats


@dataclass(frozen=True)
class Doses:
    """Administrations; ``drug`` is a position in :data:`.library.DRUGS`."""

    patient: Ints
    drug: Ints
    time_h: Floats
    available_h: Floats


@dataclass(frozen=True)
class Evidence:
    """Everything that the patient model can use of a cohort.

    Attributes
    ----------
    ids, analytes
        Patients, and analytes that the model has.
    marks
        A name for each patient that tells apart people of the same number: his whole row of the patients table.
    group
        Product class of each patient as a position in :data:`.library.CLASSES`; -1: not known or of another kind.
    recorded
        Whether the cohort records each of :data:`.library.DRUGS` at all (else a missing dose says nothing).
    notes
        What could not be used, in sentences.
    """

    ids: tuple[str, ...]
    analytes: tuple[str, ...]
    labs: Labs
    grades: Grades
    doses: Doses
    group: Ints
    recorded: tuple[bool, ...]
    notes: tuple[str, ...]
    marks: tuple[str, ...] = ()

    @property
    def toxicities(self) -> tuple[str, ...]:
        """Toxicities of which the cohort has grades."""
        there = set(self.grades.toxicity.tolist())
        return tuple(name for k, name in enumerate(SEVERITIES) if k in there)


def evidence(cohort: Cohort) -> Evidence:
    """What the patient model can use of a harmonised cohort."""
    ids = tuple(cohort.patient_ids)
    code = pd.Series(range(len(ids)), index=list(ids))
    analytes, labs, notes = _labs(cohort, code)
    grades = _grades(cohort, code)
    doses, recorded = _doses(cohort, code)
    named = cohort.patients.set_index("patient_id")["costimulation"].reindex(list(ids)).astype(object)
    position = {name: k for k, name in enumerate(CLASSES)}
    group = np.array([position.get(str(name), -1) for name in named], dtype=np.intp)
    if (group < 0).any():
        notes.append(f"{int((group < 0).sum())} patients of no product class that the library has: all members stand")
    if not len(grades.patient):
        notes.append("no grades of CRS or ICANS: the posterior rests on laboratory values alone")
    rows = cohort.patients.set_index("patient_id").reindex(list(ids))
    marks = tuple(repr((name, *row)) for name, row in zip(ids, rows.astype(str).to_numpy().tolist(), strict=True))
    return Evidence(ids, analytes, labs, grades, doses, group, recorded, tuple(notes), marks)


def _labs(cohort: Cohort, code: pd.Series) -> tuple[tuple[str, ...], Labs, list[str]]:
    frame = cohort.measurements
    keys = analyte_keys(frame)
    table = observables()
    units = frame["unit"].astype(object)
    wanted = keys.map({name: entry.unit for name, entry in table.items()})
    other = wanted.notna() & units.notna() & (units != wanted)
    notes = []
    unseen = sorted(set(keys.dropna()) - set(table))
    if unseen:
        notes.append(f"the patient model has no {', '.join(unseen)}: not used by the mechanistic block")
    if other.any():
        notes.append(f"{sorted(set(keys[other]))} not in the unit of the model: not used by the mechanistic block")
    value = frame["value"].where(frame["value"].notna() | (frame["censor"] == "none"), frame["limit"])
    time = frame["time_h"]
    kept = wanted.notna() & ~other & value.notna() & (time >= -BEFORE_H) & (time <= UNTIL_H)
    frame, keys, value = frame[kept], keys[kept], value[kept]
    analytes = known(sorted(set(keys)))
    position = keys.map({name: j for j, name in enumerate(analytes)}).to_numpy(dtype=np.intp)
    numbers = value.to_numpy(dtype=float)
    working = np.empty(len(numbers))
    for j, name in enumerate(analytes):
        working[position == j] = table[name].working(numbers[position == j])
    side = frame["censor"].map({"left": BELOW, "right": ABOVE}).fillna(EXACT).to_numpy(dtype=np.int8)
    available = frame["available_h"].fillna(frame["time_h"]).to_numpy(dtype=float)
    patient = frame["patient_id"].map(code).to_numpy(dtype=np.intp)
    labs = Labs(patient, position, frame["time_h"].to_numpy(dtype=float), available, working, side)
    order = np.lexsort((labs.value, labs.time_h, labs.available_h, labs.patient, labs.analyte))
    return analytes, labs.of(order), notes


def _grades(cohort: Cohort, code: pd.Series) -> Grades:
    parts = []
    for axis, toxicity in enumerate(SEVERITIES):
        if not (cohort.grades["toxicity"] == toxicity).any():
            continue
        rows = grade_rows(cohort, toxicity, code)
        inside = (rows.time_h >= 0.0) & (rows.time_h < UNTIL_H)
        day = (rows.time_h[inside] // HOURS).astype(np.intp)
        parts.append((rows.group[inside], np.full(len(day), axis, dtype=np.intp), day, rows.available_h[inside],
                      rows.value[inside]))  # fmt: skip
    if not parts:
        none = np.empty(0, dtype=np.intp)
        return Grades(none, none, none, np.empty(0), np.empty(0))
    patient, axes, day, available, grade = (np.concatenate([p[k] for p in parts]) for k in range(5))
    order = np.lexsort((day, axes, available, patient))
    return Grades(patient[order], axes[order], day[order], available[order], grade[order])


def _doses(cohort: Cohort, code: pd.Series) -> tuple[Doses, tuple[bool, ...]]:
    parts, recorded = [], []
    for number, name in enumerate(DRUGS):
        rows = drug_rows(cohort, DRUG_CLASSES[name], code)
        recorded.append(len(rows.group) > 0)
        after = rows.time_h >= 0.0
        parts.append((rows.group[after], np.full(int(after.sum()), number, dtype=np.intp), rows.time_h[after],
                      rows.available_h[after]))  # fmt: skip
    return Doses(*(np.concatenate([p[k] for p in parts]) for k in range(4))), tuple(recorded)
