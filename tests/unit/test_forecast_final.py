"""Forecasts for single patients, and their files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_forecast_outcomes import daily

from forecast_cohorts import simulated
from icans.core.errors import DataError, NotEstimableError
from icans.core.execute import Processes
from icans.forecast.crossval import Design
from icans.forecast.final import fit_final
from icans.forecast.forecast import Forecast, Reason, read_forecasts, write_forecasts
from icans.forecast.ladder import ladder
from icans.forecast.outcomes import TASKS, Horizon

TRAIN = simulated(80, seed=31)
NEW = simulated(20, seed=32)
DESIGN = Design(landmarks_h=(48.0, 72.0, 120.0), horizons=(Horizon(72.0), Horizon(168.0)))


@pytest.fixture(scope="module")
def model():
    return fit_final(TRAIN, TASKS["icans_any"], ladder(names=["logistic_last"])[0], DESIGN, refits=8)


def test_one_forecast_per_patient_at_risk_and_horizon(model):
    made, gone = model.forecast(NEW, 72.0)
    assert len(made) == 2 * (len(NEW) - len(gone))
    assert all(f.low <= f.high and 0 <= f.risk <= 1 for f in made)
    assert all(f.data_cutoff_h == 72.0 and f.newest_data_h <= 72.0 for f in made)
    assert all(f.synthetic for f in made)
    assert all(len(f.reasons) <= 5 and abs(f.reasons[0].contribution) >= abs(f.reasons[-1].contribution) for f in made)
    assert model.training[0] == 80


def test_who_is_known_to_have_the_event_or_to_be_dead_gets_none(model):
    cohort = daily({"a": [0, 0, 2, 2], "b": [0, 0, 0, 0], "c": [0, 0, 0, 0]}, events=[("c", 70.0, "death")])
    made, gone = model.forecast(cohort, 72.0)
    assert {f.patient_id for f in made} == {"b"}
    assert dict(gone.itertuples(index=False)) == {"a": "has had the event", "c": "death"}
    early, _ = model.forecast(cohort, 48.0)  # the onset of day 2 is not known yet
    assert {f.patient_id for f in early} == {"a", "b", "c"}


def test_a_landmark_between_those_of_the_training_and_some_patients_only(model):
    made, _ = model.forecast(NEW, 90.0, ["p0000"])
    assert {f.patient_id for f in made} <= {"p0000"}


def test_intervals_do_not_depend_on_the_executor(model):
    rung = ladder(names=["logistic_last"])[0]
    other = fit_final(TRAIN, TASKS["icans_any"], rung, DESIGN, refits=8, executor=Processes(2))
    assert other.forecast(NEW, 72.0)[0] == model.forecast(NEW, 72.0)[0]


def test_without_refits_there_is_no_interval():
    plain = fit_final(TRAIN, TASKS["icans_any"], ladder(names=["prevalence"])[0], DESIGN, refits=0)
    made, _ = plain.forecast(NEW, 72.0)
    assert np.isnan(made[0].low)
    assert made[0].reasons == ()


def test_a_study_task_makes_no_forecast():
    rung = ladder(names=["prevalence"])[0]
    design = Design(landmarks_h=(0.0,), horizons=(Horizon(72.0),))
    final = fit_final(TRAIN, TASKS["severity_given_icans"], rung, design, refits=0)
    with pytest.raises(NotEstimableError, match="counts from onset"):
        final.forecast(NEW, 72.0)


numbers = st.floats(0, 1, allow_nan=False)
maybe = st.one_of(numbers, st.just(float("nan")))
text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
reasons = st.builds(Reason, text, st.one_of(st.none(), numbers, text), numbers)
forecasts = st.builds(
    Forecast, text, numbers, numbers, text, numbers, maybe, maybe, st.lists(reasons, max_size=3).map(tuple), numbers,
    maybe, text, text, st.booleans(),
)  # fmt: skip


def same(a: Forecast, b: Forecast) -> bool:
    return a.as_dict() == b.as_dict()


@given(st.lists(forecasts, max_size=4))
@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_files_round_trip(tmp_path_factory, ending, made):
    path = tmp_path_factory.mktemp("forecasts") / f"f.{ending}"
    write_forecasts(path, made)
    back = read_forecasts(path)
    assert len(back) == len(made)
    assert all(same(a, b) for a, b in zip(made, back, strict=True))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other/1"}', "{nonsense"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "f.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read_forecasts(path)
