"""Patients' paths through states: well, severe ICAHT, CRS, IEC-HS, ICANS, recovered, death.

A patient is in one state at a time: the highest toxicity of the day in the order given (several are often there at
once; the order says which one the state speaks of). ``recovered`` is no toxicity after some, ``death`` is for ever.
Time is that of the forecaster: the state of day d is known at its end, 24 (d + 1) hours, and holds from then on until
the next day's is known. A day on which nothing was graded keeps the state of the day before, for ``carry_d`` days at
the most; after a longer gap the patient is not observed and comes back (delayed entry) with the next grade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, NotEstimableError, Problem
from icans.forecast.outcomes import Task, task_grades

WELL, RECOVERED, DEATH = "well", "recovered", "death"
#: What follows a spell that was not seen to end.
UNSEEN = -1
SPELL_COLUMNS = ["patient_id", "state", "start_h", "stop_h", "next"]


@dataclass(frozen=True, slots=True)
class State:
    """A toxicity at or above a grade."""

    name: str
    toxicity: str
    threshold: float = 1.0


#: Lowest first: where two toxicities meet, the later one in this list names the state.
STATES = (
    State("severe ICAHT", "ICAHT", 3.0),
    State("CRS", "CRS"),
    State("IEC-HS", "IEC-HS"),
    State("ICANS", "ICANS"),
)


@dataclass(frozen=True)
class Spells:
    """Time spent in states.

    Attributes
    ----------
    names
        States; ``table`` holds positions in them.
    table
        patient_id, state, start_h, stop_h, next (state that follows, -1: not seen to end), sorted by patient and
        time. A patient is at risk of leaving a state at t when start_h < t <= stop_h.
    """

    names: tuple[str, ...]
    table: pd.DataFrame

    def number(self, name: str) -> int:
        """Position of a state by its name.

        Raises
        ------
        NotEstimableError
            These patients were never in such a state.
        """
        if name not in self.names:
            raise NotEstimableError(f"no state {name!r} in these data; there are {list(self.names)}")
        return self.names.index(name)

    def transitions(self) -> pd.DataFrame:
        """Number of moves from each state (rows) to each state, and patients who were in it."""
        seen = self.table[self.table["next"] != UNSEEN]
        counts = np.zeros((len(self.names), len(self.names)), dtype=int)
        np.add.at(counts, (seen["state"].to_numpy(), seen["next"].to_numpy()), 1)
        frame = pd.DataFrame(counts, index=list(self.names), columns=list(self.names))
        patients = self.table.groupby("state")["patient_id"].nunique()
        return frame.assign(patients=patients.reindex(range(len(self.names)), fill_value=0).to_numpy())

    def of(self, patient_ids: Sequence[str] | set[str]) -> Spells:
        """The spells of some patients."""
        mine = self.table["patient_id"].isin(set(patient_ids))
        return Spells(self.names, self.table[mine].reset_index(drop=True))


def spells(
    cohort: Cohort,
    states: Sequence[State] = STATES,
    *,
    scheme: str | None = None,
    carry_d: int = 2,
    end_h: float = 720.0,
    death_grace_h: float = 48.0,
) -> Spells:
    """Paths of a graded cohort.

    Parameters
    ----------
    cohort
        With grades of at least one of the toxicities.
    states
        Lowest first; toxicities that the cohort does not grade are left out.
    scheme
        Grading scheme, where a toxicity comes under several.
    carry_d
        Days without any grade over which a state is kept.
    end_h
        Follow-up is cut here.
    death_grace_h
        A death this long after the last day that was graded still counts.

    Raises
    ------
    DataError
        No toxicity of ``states`` is graded.
    """
    graded = set(cohort.grades["toxicity"])
    used = tuple(state for state in states if state.toxicity in graded)
    if not used:
        wanted = f"grades of one of {[s.toxicity for s in states]}"
        raise DataError([Problem("grades", None, "toxicity", str(sorted(graded)), wanted, "Grade the cohort first.")])
    names = (WELL, *(state.name for state in used), RECOVERED, DEATH)
    daily = _daily(cohort, used, scheme, end_h, carry_d)
    deaths = cohort.events[cohort.events["event"] == "death"].groupby("patient_id")["available_h"].min()
    rows: list[tuple[str, int, float, float, int]] = []
    for patient, part in daily.groupby("patient_id", sort=True):
        death = float(deaths.get(patient, np.inf))
        rows += _path(str(patient), part, names, carry_d, (death, death_grace_h, end_h))
    return Spells(names, pd.DataFrame(rows, columns=SPELL_COLUMNS))


def _daily(cohort: Cohort, states: tuple[State, ...], scheme: str | None, end_h: float, carry_d: int) -> pd.DataFrame:
    """patient_id, at (end of day, hours), level (-1: no toxicity, else position in ``states``); graded days only."""
    worst = []
    for level, state in enumerate(states):
        own = (
            scheme
            if (cohort.grades.loc[cohort.grades["toxicity"] == state.toxicity, "scheme"] == scheme).any()
            else None
        )
        grades = task_grades(cohort, Task(state.name, state.toxicity, state.threshold, scheme=own), required=False)
        day = np.floor(grades["time_h"] / 24.0)
        at = np.maximum(24.0 * (day + 1), 24.0 * np.ceil(grades["available_h"] / 24.0))
        frame = pd.DataFrame({"patient_id": grades["patient_id"], "at": at, "on": grades["grade"] >= state.threshold})
        found = frame.groupby(["patient_id", "at"])["on"].max()
        worst.append(found.rename(str(level)))
    table = pd.concat(worst, axis=1).sort_index().reset_index()
    table = table[(table["at"] > 0) & (table["at"] <= end_h)]
    level_of = np.full(len(table), -1)
    for level in range(len(states)):
        on = _carried(table, str(level), carry_d)
        level_of[on] = level
    return pd.DataFrame({"patient_id": table["patient_id"], "at": table["at"], "level": level_of})


def _carried(table: pd.DataFrame, column: str, carry_d: int) -> np.ndarray:
    """Whether a toxicity is on, its last grade kept for ``carry_d`` days where another one was graded."""
    known = table[column].notna()
    value = table[column].where(known).astype(object)
    by = table["patient_id"]
    last = value.groupby(by).ffill()
    when = table["at"].where(known).groupby(by).ffill()
    recent = (table["at"] - when) <= 24.0 * carry_d
    return np.asarray((last == True) & recent, dtype=bool)  # noqa: E712


def _path(
    patient: str, days: pd.DataFrame, names: tuple[str, ...], carry_d: int, ends: tuple[float, float, float]
) -> list[tuple[str, int, float, float, int]]:
    """Spells of one patient."""
    death, grace, end = ends
    at, level = days["at"].to_numpy(dtype=float), days["level"].to_numpy()
    ill = np.maximum.accumulate(level >= 0)
    state = np.where(level >= 0, level + 1, np.where(ill, len(names) - 2, 0))
    rows: list[tuple[str, int, float, float, int]] = []
    now, since, last = 0, 0.0, 0.0
    for t, s in zip(at.tolist(), state.tolist(), strict=True):
        if t >= death:
            break
        if t - last > 24.0 * (carry_d + 1):
            if last > since:
                rows.append((patient, now, since, last, UNSEEN))
            now, since = s, t
        elif s != now:
            rows.append((patient, now, since, t, s))
            now, since = s, t
        last = t
    if death <= min(last + grace, end):
        stop = max(death, since + 1e-6)
        rows.append((patient, now, since, stop, len(names) - 1))
    elif last > since:
        rows.append((patient, now, since, last, UNSEEN))
    return rows
