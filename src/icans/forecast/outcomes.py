"""What is forecast: tasks, their risk sets at each landmark, and the outcome table.

A *task* names a toxicity and a grade; its event is the first grade at or above it. Time is taken on the clock
of the forecaster by default (``clock="known"``): an event happens when it *could be known* (``available_h``),
because a patient whose onset nobody can know of yet is still in the risk set of a real forecast. A daily
summary of day d has ``time_h = 24 d`` and ``available_h = 24 (d + 1)``, so an onset on day 5 falls into the
day that begins at hour 120 and is still ahead of a forecast made at hour 120.

Follow-up ends, and what comes later is censored, at (``Task.follow_up``)

``last_grade``
    the last grade of the toxicity that is not missing. Grades that are missing after discharge are censoring,
    not grade 0. The default. Patients with no grade at all cannot be judged; :func:`unobserved` lists them.
``last_row``
    the last row of any table: for sources that write a grade only when there is toxicity.
``discharge``, ``last_seen``
    that event; where a patient has none, the last row.

A competing event (death by default) counts when it comes no later than ``competing_grace_h`` after follow-up
ended: a death the day after the last grade ended the observation, a death weeks after discharge did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem

FollowUp = Literal["last_grade", "last_row", "discharge", "last_seen"]
Clock = Literal["known", "stated"]
Anchor = Literal["infusion", "onset"]

#: Event codes of the outcome table.
CENSORED, EVENT, COMPETING = 0, 1, 2

#: Landmarks (days) and windows (days) at which forecasts are made and judged; the end of follow-up is day 30,
#: the period in which trials report ICANS.
LANDMARK_DAYS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0)
WINDOW_DAYS = (1.0, 3.0, 5.0, 7.0)
END_DAY = 30.0

OUTCOME_COLUMNS = ["patient_id", "landmark_h", "time_h", "event"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to forecast.

    Parameters
    ----------
    name
        Short name, used in tables.
    toxicity, threshold, strict
        The event is the first grade >= ``threshold``, or > ``threshold`` when ``strict``. Integer grades:
        any = 1. Where a source holds means of raters in half steps, ``threshold=0, strict=True`` takes every
        positive score as toxicity.
    scheme, source
        Which grades to take. None: the only scheme there is (several are an error), delivered grades where
        there are any, else derived ones.
    competing
        Events that end the risk.
    follow_up, clock, competing_grace_h
        See the module's text.
    from_h
        Grades with ``time_h`` before this (the infusion) are not the toxicity.
    anchor
        Landmarks count from the infusion, or from each case's own onset: the stated time of its first grade
        >= ``case_threshold``, the day of onset itself not yet known when grades are daily.
    case_threshold
        What makes a case; 0 takes every positive grade.
    cases_only
        Only patients who ever reach ``case_threshold``. Such a task is conditional on the future: it asks
        what distinguishes cases, and is not a forecast for a patient without toxicity.
    end_h
        Follow-up is cut here, hours from the anchor.
    """

    name: str
    toxicity: str = "ICANS"
    threshold: float = 1.0
    strict: bool = False
    scheme: str | None = None
    source: str | None = None
    competing: tuple[str, ...] = ("death",)
    follow_up: FollowUp = "last_grade"
    clock: Clock = "known"
    competing_grace_h: float = 48.0
    from_h: float = 0.0
    anchor: Anchor = "infusion"
    cases_only: bool = False
    case_threshold: float = 1.0
    end_h: float = END_DAY * 24.0

    def hit(self, grade: pd.Series) -> pd.Series:
        """True where a grade is the event (NaN: false)."""
        return grade > self.threshold if self.strict else grade >= self.threshold

    def is_case(self, grade: pd.Series) -> pd.Series:
        """True where a grade makes its patient a case."""
        return grade > 0 if self.case_threshold == 0 else grade >= self.case_threshold


TASKS: dict[str, Task] = {
    "icans_any": Task("icans_any"),
    "icans_severe": Task("icans_severe", threshold=3.0),
    "crs_severe": Task("crs_severe", toxicity="CRS", threshold=3.0),
    "onset_given_icans": Task("onset_given_icans", cases_only=True),
    "severity_given_icans": Task("severity_given_icans", threshold=3.0, cases_only=True, anchor="onset"),
}


@dataclass(frozen=True, slots=True, order=True)
class Horizon:
    """How far a forecast looks: a window of ``hours`` from the landmark, or (``until``) up to that hour."""

    hours: float
    until: bool = False

    def window(self, landmark_h: np.ndarray | float) -> np.ndarray:
        """Hours ahead of each landmark (zero when the end has passed)."""
        landmark = np.asarray(landmark_h, dtype=float)
        return np.maximum(self.hours - landmark, 0.0) if self.until else np.full_like(landmark, self.hours)

    @property
    def label(self) -> str:
        """For people: ``3 d`` or ``to day 30``."""
        days = f"{self.hours / 24.0:g}"
        return f"to day {days}" if self.until else f"{days} d"


DEFAULT_HORIZONS: tuple[Horizon, ...] = (*(Horizon(24.0 * d) for d in WINDOW_DAYS), Horizon(24.0 * END_DAY, until=True))
DEFAULT_LANDMARKS_H: tuple[float, ...] = tuple(24.0 * d for d in LANDMARK_DAYS)


def daily_landmarks(last_day: int = 14) -> tuple[float, ...]:
    """Landmarks at the start of days 0 .. ``last_day``, hours."""
    return tuple(24.0 * d for d in range(last_day + 1))


def task_grades(cohort: Cohort, task: Task, *, required: bool = True) -> pd.DataFrame:
    """The grades that a task is judged by: one scheme, one source, from ``task.from_h`` on, none missing.

    Raises
    ------
    DataError
        More than one scheme and none named by the task, or (when ``required``) no grade left.
    """
    grades = cohort.grades[cohort.grades["toxicity"] == task.toxicity]
    if task.scheme is not None:
        grades = grades[grades["scheme"] == task.scheme]
    source = task.source or ("delivered" if (grades["source"] == "delivered").any() else "derived")
    grades = grades[(grades["source"] == source) & grades["grade"].notna() & (grades["time_h"] >= task.from_h)]
    schemes = sorted(grades["scheme"].unique())
    if len(schemes) > 1 or (required and grades.empty):
        found = f"schemes {schemes}" if schemes else "no grade"
        wanted = f"grades of {task.toxicity} (source {source}) under one scheme"
        remedy = f"Name one scheme for task {task.name!r}." if schemes else "Deliver grades, or derive them first."
        raise DataError([Problem("grades", None, "scheme", found, wanted, remedy)])
    return grades


def subjects(cohort: Cohort, task: Task) -> pd.DataFrame:
    """One row per patient who can be judged, indexed by patient_id.

    Columns (hours since infusion): ``anchor_h`` (0, or the own onset), ``onset_h`` (the event, NaN: none),
    ``onset_stated_h`` (the same on the source's clock), ``competing_h`` (NaN: none), ``end_h`` (end of
    follow-up), ``max_grade``, ``case``. An event after the end of follow-up does not count.
    """
    grades = task_grades(cohort, task)
    time = "available_h" if task.clock == "known" else "time_h"
    hits = grades[task.hit(grades["grade"])]
    cases = grades[task.is_case(grades["grade"])]
    table = pd.DataFrame(index=pd.Index(cohort.patient_ids, name="patient_id"))
    table["anchor_h"] = 0.0
    table["onset_h"] = hits.groupby("patient_id")[time].min()
    table["onset_stated_h"] = hits.groupby("patient_id")["time_h"].min()
    table["max_grade"] = grades.groupby("patient_id")["grade"].max()
    table["case"] = table.index.isin(cases["patient_id"])
    if task.anchor == "onset":
        table["anchor_h"] = cases.groupby("patient_id")["time_h"].min()
    table["end_h"] = _follow_up_end(cohort, task, grades, time)
    competing = cohort.events[cohort.events["event"].isin(task.competing)]
    table["competing_h"] = competing.groupby("patient_id")[time].min()
    late = table["competing_h"] > table["end_h"] + task.competing_grace_h
    table.loc[late, "competing_h"] = np.nan
    table["end_h"] = table[["end_h", "competing_h"]].max(axis=1).where(table["end_h"].notna())
    table["end_h"] = np.minimum(table["end_h"], table["anchor_h"] + task.end_h)
    table.loc[table["onset_h"] > table["end_h"], ["onset_h", "onset_stated_h"]] = np.nan
    table.loc[table["competing_h"] > table["end_h"], "competing_h"] = np.nan
    table.loc[table["competing_h"] < table["onset_h"], ["onset_h", "onset_stated_h"]] = np.nan
    judged = table["end_h"].notna() & table["anchor_h"].notna()
    if task.cases_only:
        judged &= table["case"]
    columns = ["anchor_h", "onset_h", "onset_stated_h", "competing_h", "end_h", "max_grade", "case"]
    return table.loc[judged, columns].astype({"onset_h": float, "competing_h": float})


def unobserved(cohort: Cohort, task: Task) -> pd.DataFrame:
    """Patients that the task leaves out, each with the reason (columns patient_id, reason)."""
    kept = set(subjects(cohort, task).index)
    graded = set(task_grades(cohort, task)["patient_id"])
    rows = []
    for patient in cohort.patient_ids:
        if patient not in kept:
            why = f"has no {task.toxicity} grade" if patient not in graded else "is not a case of this task"
            rows.append({"patient_id": patient, "reason": why})
    return pd.DataFrame(rows, columns=["patient_id", "reason"])


def outcome_table(cohort: Cohort, task: Task, landmarks_h: Sequence[float]) -> pd.DataFrame:
    """The risk set of each landmark and what became of it.

    Returns
    -------
    DataFrame
        Columns patient_id, landmark_h (hours from the task's anchor), time_h (hours from the landmark to the
        event, the competing event or the end of follow-up; > 0), event (0 censored, 1 event, 2 competing),
        sorted by landmark and patient. A patient is at risk at s when follow-up goes beyond s and neither the
        event nor a competing event has come by s.
    """
    table = subjects(cohort, task)
    times = np.stack([table["onset_h"].to_numpy(), table["competing_h"].to_numpy(), table["end_h"].to_numpy()])
    times = times - table["anchor_h"].to_numpy()
    stop = np.nanmin(times, axis=0)
    # argmin takes the first of equals: an event at the hour of death, or at the end, is an event.
    first = np.argmin(np.where(np.isnan(times), np.inf, times), axis=0)
    code = np.array([EVENT, COMPETING, CENSORED])[first]
    frames = []
    for landmark in sorted(set(map(float, landmarks_h))):
        at_risk = stop > landmark
        frames.append(
            pd.DataFrame(
                {
                    "patient_id": table.index[at_risk],
                    "landmark_h": landmark,
                    "time_h": stop[at_risk] - landmark,
                    "event": code[at_risk],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)[OUTCOME_COLUMNS].sort_values(
        ["landmark_h", "patient_id"], ignore_index=True
    )


def landmark_times(cohort: Cohort, task: Task, outcome: pd.DataFrame) -> pd.Series:
    """Hours since infusion of each row's landmark (the anchor added), aligned with ``outcome``."""
    anchor = subjects(cohort, task)["anchor_h"]
    return outcome["landmark_h"] + outcome["patient_id"].map(anchor).to_numpy()


def known_status(time_h: np.ndarray, event: np.ndarray, window_h: np.ndarray | float) -> np.ndarray:
    """1: event within the window; 0: none (competing events too); NaN: censored before its end.

    A patient followed exactly to the end of the window is known to be free of the event within it.
    """
    time, code = np.asarray(time_h, dtype=float), np.asarray(event)
    window = np.broadcast_to(np.asarray(window_h, dtype=float), time.shape)
    status = np.where((time < window) & (code == CENSORED), np.nan, 0.0)
    return np.where((time <= window) & (code == EVENT), 1.0, status)


def _follow_up_end(cohort: Cohort, task: Task, grades: pd.DataFrame, time: str) -> pd.Series:
    if task.follow_up == "last_grade":
        return grades.groupby("patient_id")[time].max()
    tables = [cohort.measurements, cohort.treatments, cohort.assessments, cohort.grades, cohort.events]
    rows = pd.concat([frame[["patient_id", time]] for frame in tables], ignore_index=True)
    last = rows.groupby("patient_id")[time].max()
    if task.follow_up == "last_row":
        return last
    events = cohort.events[cohort.events["event"] == task.follow_up]
    return events.groupby("patient_id")[time].max().combine_first(last)
