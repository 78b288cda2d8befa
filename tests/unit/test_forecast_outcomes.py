"""Outcome tables, as small patient tables that read as documentation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, make
from icans.core.errors import DataError
from icans.forecast.outcomes import (
    TASKS,
    Horizon,
    Task,
    daily_landmarks,
    known_status,
    landmark_times,
    outcome_table,
    subjects,
    unobserved,
)


def daily(paths: dict[str, list[float]], *, events: list[tuple] = (), first_day: int = 0, **more: object) -> Cohort:
    """Daily ICANS grades: day d is known at the end of day d."""
    rows = [
        (pid, 24.0 * (first_day + d), 24.0 * (first_day + d + 1), "ICANS", "ASTCT", g)
        for pid, path in paths.items()
        for d, g in enumerate(path)
    ]
    grades = pd.DataFrame(rows, columns=["patient_id", "time_h", "available_h", "toxicity", "scheme", "grade"])
    patients = pd.DataFrame({"patient_id": sorted(paths)})
    table = pd.DataFrame(list(events), columns=["patient_id", "time_h", "event"])
    return make("daily", {"patients": patients, "grades": grades, "events": table, **more})


def row(table: pd.DataFrame, pid: str, landmark: float) -> tuple[float, int] | None:
    found = table[(table["patient_id"] == pid) & (table["landmark_h"] == landmark)]
    return None if found.empty else (float(found["time_h"].iloc[0]), int(found["event"].iloc[0]))


def test_onset_on_day_3_is_still_ahead_of_a_forecast_on_the_morning_of_day_3():
    table = outcome_table(daily({"a": [0, 0, 0, 1, 2]}), TASKS["icans_any"], daily_landmarks(5))
    assert row(table, "a", 0.0) == (96.0, 1)
    assert row(table, "a", 72.0) == (24.0, 1)  # known by the end of day 3, a day ahead
    assert row(table, "a", 96.0) is None  # no longer at risk


def test_on_the_stated_clock_the_same_onset_has_come_by_the_morning_of_day_3():
    task = Task("stated", clock="stated")
    table = outcome_table(daily({"a": [0, 0, 0, 1, 2]}), task, daily_landmarks(5))
    assert row(table, "a", 48.0) == (24.0, 1)
    assert row(table, "a", 72.0) is None


def test_grades_missing_after_discharge_censor():
    cohort = daily({"a": [0, 0, 0, np.nan, np.nan]})
    table = outcome_table(cohort, TASKS["icans_any"], [0.0, 48.0, 72.0])
    assert row(table, "a", 0.0) == (72.0, 0)
    assert row(table, "a", 48.0) == (24.0, 0)
    assert row(table, "a", 72.0) is None  # nobody looked after 72 h


@pytest.mark.parametrize(
    ("death_h", "expected"),
    [(60.0, (60.0, 2)), (100.0, (100.0, 2)), (200.0, (72.0, 0))],
    ids=["during", "soon after the last grade", "long after"],
)
def test_death_competes_when_it_ends_the_observation(death_h, expected):
    cohort = daily({"a": [0, 0, 0]}, events=[("a", death_h, "death")])
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == expected


def test_onset_before_or_at_the_hour_of_death_is_the_event():
    cohort = daily({"a": [0, 0, 4]}, events=[("a", 72.0, "death")])
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == (72.0, 1)


def test_relapse_competes_when_asked_to():
    cohort = daily({"a": [0, 0, 0, 0]}, events=[("a", 50.0, "relapse")])
    task = Task("t", competing=("death", "relapse"))
    assert row(outcome_table(cohort, task, [0.0]), "a", 0.0) == (50.0, 2)
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == (96.0, 0)


def test_half_steps_count_as_any_only_when_asked_to():
    cohort = daily({"a": [0, 0.5, 1, 3, 0]})
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == (72.0, 1)
    positive = Task("positive", threshold=0.0, strict=True)
    assert row(outcome_table(cohort, positive, [0.0]), "a", 0.0) == (48.0, 1)
    assert row(outcome_table(cohort, TASKS["icans_severe"], [0.0]), "a", 0.0) == (96.0, 1)


def test_a_grade_before_infusion_is_not_the_toxicity():
    cohort = daily({"a": [2, 0, 0, 0]}, first_day=-1)
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == (72.0, 0)


def test_severity_given_icans_counts_from_each_case_s_own_onset():
    cohort = daily({"a": [0, 0, 1, 2, 3], "b": [0, 3, 0], "c": [0, 0, 0, 0], "d": [0, 1, 1]})
    task = TASKS["severity_given_icans"]
    table = outcome_table(cohort, task, [0.0])
    assert table["patient_id"].tolist() == ["a", "b", "d"]
    assert row(table, "a", 0.0) == (72.0, 1)  # onset at 48 h, grade 3 known at 120 h
    assert row(table, "b", 0.0) == (24.0, 1)  # severe at once: still unknown on the morning of onset
    assert row(table, "d", 0.0) == (48.0, 0)
    assert landmark_times(cohort, task, table).tolist() == [48.0, 24.0, 24.0]


def test_cases_only_leaves_out_patients_without_toxicity_and_says_so():
    cohort = daily({"a": [0, 1], "b": [0, 0]})
    assert subjects(cohort, TASKS["onset_given_icans"]).index.tolist() == ["a"]
    assert unobserved(cohort, TASKS["onset_given_icans"])["patient_id"].tolist() == ["b"]


def test_patients_without_any_grade_are_told_not_counted_as_free():
    cohort = daily({"a": [0, 0], "b": [np.nan, np.nan]})
    assert subjects(cohort, TASKS["icans_any"]).index.tolist() == ["a"]
    assert unobserved(cohort, TASKS["icans_any"])["reason"].tolist() == ["has no ICANS grade"]


@pytest.mark.parametrize(("follow_up", "end"), [("last_row", 200.0), ("discharge", 150.0), ("last_seen", 200.0)])
def test_follow_up_may_end_elsewhere(follow_up, end):
    labs = pd.DataFrame({"patient_id": ["a"], "time_h": [200.0], "analyte": ["crp"], "value": [1.0]})
    cohort = daily({"a": [0, 0]}, events=[("a", 150.0, "discharge")], measurements=labs)
    assert subjects(cohort, Task("t", follow_up=follow_up)).loc["a", "end_h"] == end


def test_an_event_after_the_chosen_end_does_not_count():
    cohort = daily({"a": [0, 0, 0, 2]}, events=[("a", 60.0, "discharge")])
    assert row(outcome_table(cohort, Task("t", follow_up="discharge"), [0.0]), "a", 0.0) == (60.0, 0)


def test_follow_up_is_cut_at_the_end_of_the_task():
    cohort = daily({"a": [0] * 40 + [2]})
    assert row(outcome_table(cohort, TASKS["icans_any"], [0.0]), "a", 0.0) == (720.0, 0)


def test_two_schemes_need_a_choice():
    rows = pd.DataFrame(
        {"patient_id": ["a", "a"], "time_h": [24.0, 24.0], "toxicity": "ICANS", "scheme": ["ASTCT", "CTCAE5"],
         "grade": [0.0, 2.0]}
    )  # fmt: skip
    cohort = make("two", {"patients": pd.DataFrame({"patient_id": ["a"]}), "grades": rows})
    with pytest.raises(DataError, match="Name one scheme"):
        outcome_table(cohort, TASKS["icans_any"], [0.0])
    assert row(outcome_table(cohort, Task("t", scheme="CTCAE5"), [0.0]), "a", 0.0) == (24.0, 1)


def test_delivered_grades_are_preferred_to_derived_ones():
    rows = pd.DataFrame(
        {"patient_id": "a", "time_h": [24.0, 24.0], "toxicity": "ICANS", "scheme": "ASTCT", "grade": [1.0, 0.0],
         "source": ["derived", "delivered"]}
    )  # fmt: skip
    cohort = make("two", {"patients": pd.DataFrame({"patient_id": ["a"]}), "grades": rows})
    assert subjects(cohort, TASKS["icans_any"])["max_grade"].tolist() == [0.0]
    assert subjects(cohort, Task("t", source="derived"))["max_grade"].tolist() == [1.0]


def test_no_grades_at_all_is_told():
    cohort = make("none", {"patients": pd.DataFrame({"patient_id": ["a"]})})
    with pytest.raises(DataError, match="no grade"):
        outcome_table(cohort, TASKS["icans_any"], [0.0])


def test_status_of_a_window():
    time, event = np.array([24.0, 48.0, 48.0, 24.0, 72.0]), np.array([1, 0, 2, 0, 1])
    assert known_status(time, event, 48.0).tolist()[:3] == [1.0, 0.0, 0.0]
    assert np.isnan(known_status(time, event, 48.0)[3])
    assert known_status(time, event, 48.0)[4] == 0.0


def test_horizons():
    assert Horizon(72.0).window(np.array([0.0, 48.0])).tolist() == [72.0, 72.0]
    assert Horizon(72.0, until=True).window(np.array([0.0, 48.0, 96.0])).tolist() == [72.0, 24.0, 0.0]
    assert Horizon(72.0).label == "3 d"
    assert Horizon(720.0, until=True).label == "to day 30"
