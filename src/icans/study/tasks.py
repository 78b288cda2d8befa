"""What a study forecasts: occurrence, severity, and the two tasks within cases; with landmarks and horizons of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError
from icans.core.times import HOURS_PER_DAY
from icans.forecast.outcomes import END_DAY, Horizon, Task, subjects
from icans.study.config import ForecastSection, OutcomeSection

#: Landmarks of the severity task, days after a case's own onset: at onset (the day's grade not yet known), then as
#: the first days' grades and results come in. ICANS peaks a median of one day after onset (clinical series).
AFTER_ONSET_D = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class StudyTask:
    """A task with the landmarks (hours from its anchor) and horizons at which it is forecast, and words for it."""

    task: Task
    label: str
    description: str
    landmarks_h: tuple[float, ...]
    horizons: tuple[Horizon, ...]


def study_tasks(cohort: Cohort, outcome: OutcomeSection, forecast: ForecastSection) -> tuple[StudyTask, ...]:
    """The tasks that a cohort's grades allow; none when it has no grades of the toxicity."""
    name = outcome.toxicity
    if not (cohort.grades["toxicity"] == name).any():
        return ()
    any_rule, any_words = _any_rule(cohort, outcome)
    severe = outcome.severe_grade
    common: dict[str, Any] = {"toxicity": name, "scheme": outcome.scheme or _only_scheme(cohort, name)}
    case: dict[str, Any] = {"case_threshold": 0.0 if any_rule["strict"] else any_rule["threshold"], "cases_only": True}
    key = name.lower().replace("-", "")
    landmarks = tuple(HOURS_PER_DAY * d for d in forecast.landmarks_d)
    horizons = _horizons(forecast)
    after_onset = tuple(HOURS_PER_DAY * d for d in AFTER_ONSET_D)
    windows = tuple(h for h in horizons if not h.until)
    tasks = (
        StudyTask(
            Task(f"{key}_any", **common, **any_rule),
            f"Any {name}",
            f"First {name} of {any_words} after the landmark, among patients without it so far.",
            landmarks,
            horizons,
        ),
        StudyTask(
            Task(f"{key}_severe", threshold=severe, **common),
            f"Severe {name}",
            f"First {name} of grade {severe:g} or higher after the landmark, among patients without it so far.",
            landmarks,
            horizons,
        ),
        StudyTask(
            Task(f"severity_given_{key}", threshold=severe, anchor="onset", **common, **case),
            f"Severity given {name}",
            f"Grade {severe:g} or higher after the landmark, among patients with {name} who have not reached it; "
            "landmarks count from each patient's own onset.",
            after_onset,
            windows,
        ),
        StudyTask(
            Task(f"onset_given_{key}", **common, **any_rule, **case),
            f"Onset given {name}",
            f"Whether {name} begins within the window, among patients who will have it: timing, not occurrence.",
            landmarks,
            windows,
        ),
    )
    return tuple(t for t in tasks if _has_subjects(cohort, t.task))


def _any_rule(cohort: Cohort, outcome: OutcomeSection) -> tuple[dict[str, Any], str]:
    """Least grade of "any": as configured, else 1, else (grades in half steps: means of raters) above 0."""
    if outcome.any_grade is not None:
        return {"threshold": outcome.any_grade, "strict": False}, f"grade {outcome.any_grade:g} or higher"
    grades = cohort.grades.loc[cohort.grades["toxicity"] == outcome.toxicity, "grade"].dropna()
    if ((grades * 2) % 2 == 1).any():
        return {"threshold": 0.0, "strict": True}, "any positive score (scores come in half steps, means of raters)"
    return {"threshold": 1.0, "strict": False}, "grade 1 or higher"


def _only_scheme(cohort: Cohort, toxicity: str) -> str | None:
    """The ASTCT scheme where there are several (the present consensus), else None: the only one is taken."""
    schemes = set(cohort.grades.loc[cohort.grades["toxicity"] == toxicity, "scheme"].dropna())
    return "ASTCT" if len(schemes) > 1 and "ASTCT" in schemes else None


def _horizons(forecast: ForecastSection) -> tuple[Horizon, ...]:
    windows = tuple(Horizon(HOURS_PER_DAY * d) for d in forecast.horizons_d)
    return (*windows, Horizon(HOURS_PER_DAY * END_DAY, until=True)) if forecast.by_day_30 else windows


def _has_subjects(cohort: Cohort, task: Task) -> bool:
    try:
        return len(subjects(cohort, task)) > 0
    except DataError:
        return False
