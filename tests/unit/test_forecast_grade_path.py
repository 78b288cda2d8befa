"""The daily grade path: states, transitions, forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_forecast_outcomes import daily

from forecast_cohorts import simulated
from icans.core.random import stream
from icans.evaluate.discrimination import ranked_probability_score
from icans.forecast.grade_path import (
    PATH_LADDER,
    STATES,
    GradesOfDay,
    MarkovPath,
    Persistence,
    cross_validate_path,
    daily_path,
)
from icans.forecast.outcomes import TASKS, Task

CHANCES = [f"p{k}" for k in range(STATES)]


def as_path(paths: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(p, d, s, 0) for p, path in paths.items() for d, s in enumerate(path)]
    return pd.DataFrame(rows, columns=["patient_id", "day", "state", "split"])


def test_states_are_whole_grades_and_gaps_are_gaps():
    path = daily_path(daily({"a": [0, 0.5, 1.4, np.nan, 3.5]}), TASKS["icans_any"])
    assert path[["day", "state"]].to_numpy().tolist() == [[0, 0], [1, 1], [2, 1], [4, 4]]


def test_a_grade_not_known_by_the_end_of_its_day_is_not_today_s_grade():
    cohort = daily({"a": [0, 2]})
    late = cohort.with_table("grades", cohort.grades.assign(available_h=[24.0, 60.0]))
    assert daily_path(late, TASKS["icans_any"])["day"].tolist() == [0]


def test_split_by_another_toxicity_as_known():
    cohort = simulated(10, seed=1)
    task = Task("crs", toxicity="CRS", threshold=1)
    path = daily_path(cohort, TASKS["icans_any"], split=task)
    crs = cohort.grades[(cohort.grades["toxicity"] == "CRS") & (cohort.grades["grade"] >= 1)]
    first = crs.groupby("patient_id")["available_h"].min()
    for row in path.itertuples():
        assert row.split == int(first.get(row.patient_id, np.inf) <= 24 * (row.day + 1))


def test_transitions_are_counted_between_consecutive_days_only():
    path = as_path({"a": [0, 0, 1, 1, 0]})
    gap = path[path["day"] != 2]
    model = MarkovPath(periods=(0,)).fit(gap)
    # Transitions 0->0 (day 0-1) and 1->0 (day 3-4); pooled prior: stay 3/4, up 1/4 in grade 0.
    pooled = (1 + 0.75) / 2
    assert model.matrices[0, 0, 0, 0] == pytest.approx((1 + 5 * pooled) / 6)


def test_persistence_and_one_step_of_the_chain_by_hand():
    state, day, split = np.array([2]), np.array([3]), np.array([0])
    assert Persistence().fit(as_path({"a": [0]})).predict(state, day, split, 5).argmax() == 2
    matrix = np.zeros((2, 1, STATES, STATES))
    matrix[:] = np.eye(STATES)
    matrix[0, 0, 0, :2] = [0.9, 0.1]
    matrix[0, 0, 1, :2] = [0.5, 0.5]
    chain = MarkovPath(periods=(0,), matrices=matrix)
    two = chain.predict(np.array([0]), np.array([0]), np.array([0]), 2)[0]
    np.testing.assert_allclose(two[:2], [0.9 * 0.9 + 0.1 * 0.5, 0.9 * 0.1 + 0.1 * 0.5])


def test_the_chain_finds_the_transitions_that_made_the_paths():
    rng = stream(1, "chain")
    truth = np.array([[0.9, 0.1, 0], [0.3, 0.5, 0.2], [0.0, 0.4, 0.6]])
    paths = {}
    for i in range(300):
        state, path = 0, [0]
        for _ in range(12):
            state = int(rng.choice(3, p=truth[state]))
            path.append(state)
        paths[f"p{i:03d}"] = path
    model = MarkovPath(periods=(0,)).fit(as_path(paths))
    np.testing.assert_allclose(model.matrices[0, 0, :3, :3], truth, atol=0.04)


@pytest.mark.parametrize("model", PATH_LADDER, ids=lambda m: m.name)
def test_forecasts_are_distributions(model):
    path = daily_path(simulated(30, seed=2), TASKS["icans_any"])
    found = cross_validate_path(path, [model], repeats=1, folds=3)
    assert found[CHANCES].to_numpy() == pytest.approx(np.clip(found[CHANCES].to_numpy(), 0, 1))
    np.testing.assert_allclose(found[CHANCES].sum(axis=1), 1.0)


def test_the_chain_beats_persistence_where_toxicity_passes():
    path = daily_path(simulated(80, seed=2), TASKS["icans_any"])
    found = cross_validate_path(path, repeats=1)
    far = found[found["horizon_h"] == 72.0]
    score = {
        name: float(ranked_probability_score(rows["observed"].to_numpy(), rows[CHANCES].to_numpy()))
        for name, rows in far.groupby("model")
    }
    assert score["markov"] < score["persistence"]


def test_held_out_patients_do_not_train():
    path = as_path({"a": [0, 0, 0], "b": [0, 0, 0], "c": [0, 0, 0], "d": [5, 5, 5]})
    found = cross_validate_path(path, [GradesOfDay()], folds=4, repeats=1, days_ahead=(1,))
    assert (found.loc[found["patient_id"] == "d", "p5"] < 0.05).all()


def test_unfitted_models_say_so():
    for model in (GradesOfDay(), MarkovPath()):
        with pytest.raises(ValueError, match="fit first"):
            model.predict(np.array([0]), np.array([0]), np.array([0]), 1)
