"""Cross-validation: who trains whom, what is judged, and that a run can be stopped and repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import ConfigError, NotEstimableError
from icans.core.execute import Processes
from icans.forecast.crossval import PREDICTION_COLUMNS, Design, cross_validate
from icans.forecast.dataset import cells, end_of_support
from icans.forecast.ladder import Rung, ladder
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.outcomes import TASKS, Horizon, Task, outcome_table

COHORT = simulated(60, seed=21)
TASK = TASKS["icans_any"]
DESIGN = Design(landmarks_h=(48.0, 72.0), horizons=(Horizon(72.0), Horizon(168.0)), folds=3, repeats=2, min_events=5)
RUNGS = (Rung("prevalence", "", Prevalence()), Rung("lr", "", LastValueLogistic(inner_folds=3)))


@pytest.fixture(scope="module")
def result():
    return cross_validate(COHORT, TASK, RUNGS, DESIGN)


def test_the_prediction_table_has_its_columns_and_each_patient_once_per_repeat(result):
    table = result.predictions
    assert table.columns.tolist() == PREDICTION_COLUMNS
    assert not table.duplicated(["model", "landmark_h", "horizon_h", "repeat", "patient_id"]).any()
    at_risk = outcome_table(COHORT, TASK, [48.0])["patient_id"]
    mine = table[(table["model"] == "lr") & (table["landmark_h"] == 48.0) & (table["horizon_h"] == 168.0)]
    assert sorted(mine.loc[mine["repeat"] == 0, "patient_id"]) == sorted(at_risk)
    assert table["risk"].between(0, 1).all()


def test_a_patient_is_in_one_fold_at_all_landmarks(result):
    folds = result.predictions.groupby(["repeat", "patient_id"])["fold"].nunique()
    assert (folds == 1).all()


def test_outcomes_travel_with_the_predictions(result):
    outcome = outcome_table(COHORT, TASK, DESIGN.landmarks_h).set_index(["patient_id", "landmark_h"])
    mine = result.predictions.set_index(["patient_id", "landmark_h"])[["time_h", "event"]]
    pd.testing.assert_frame_equal(mine, outcome.loc[mine.index], check_dtype=False)


def test_a_second_run_is_identical_and_so_is_one_in_processes(result):
    again = cross_validate(COHORT, TASK, RUNGS, DESIGN, executor=Processes(2))
    pd.testing.assert_frame_equal(result.predictions, again.predictions, check_exact=True)
    other = cross_validate(COHORT, TASK, RUNGS, replace(DESIGN, seed=2))
    assert not other.predictions["fold"].equals(result.predictions["fold"])


def test_fits_are_listed_with_parameters_and_settings(result):
    fits = result.fits[result.fits["model"] == "lr"]
    assert len(fits) == 6
    assert (fits["parameters"] >= 5).all()
    assert fits["settings"].str.contains("penalty, 3 d = ").all()


class StoppedError(RuntimeError):
    pass


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch, result):
    calls = []
    original = Prevalence.fit

    def counted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise StoppedError
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Prevalence, "fit", counted)
    with pytest.raises(StoppedError):
        cross_validate(COHORT, TASK, RUNGS, DESIGN, folder=tmp_path)
    resumed = cross_validate(COHORT, TASK, RUNGS, DESIGN, folder=tmp_path)
    assert len(calls) == 3 + 4  # two of six folds had been stored
    pd.testing.assert_frame_equal(resumed.predictions, result.predictions, check_exact=True)
    cross_validate(COHORT, TASK, RUNGS, DESIGN, folder=tmp_path)
    assert len(calls) == 7  # everything read back
    changed = COHORT.with_table("patients", COHORT.patients.assign(age_y=COHORT.patients["age_y"] + 1))
    cross_validate(changed, TASK, RUNGS, DESIGN, folder=tmp_path)
    assert len(calls) == 13  # other data: nothing is reused


@pytest.mark.parametrize("by", ["site", "product"])
def test_leaving_out_one_site_or_product(by):
    found = cross_validate(COHORT, TASK, RUNGS[:1], replace(DESIGN, leave_one_out_by=by))
    label = COHORT.patients.set_index("patient_id")[by]
    assert (found.folds.groupby("fold")["group"].nunique() == 1).all()
    for _, group in found.folds.groupby("fold"):
        assert set(label[group["patient_id"]]) == set(group["group"])
        everybody = set(outcome_table(COHORT, TASK, [48.0])["patient_id"])
        assert {p for p in everybody if label[p] == group["group"].iloc[0]} <= set(group["patient_id"])


def test_leaving_out_one_batch():
    rows = COHORT.measurements
    batch = rows["patient_id"].map(lambda p: "plate1" if int(p[1:]) % 3 else "plate2")
    cohort = COHORT.with_table("measurements", rows.assign(batch=batch))
    found = cross_validate(cohort, TASK, RUNGS[:1], replace(DESIGN, leave_one_out_by="batch"))
    assert set(found.folds["group"]) == {"plate1", "plate2"}


def test_leaving_out_by_what_does_not_tell_patients_apart_is_refused():
    with pytest.raises(ConfigError, match="at least two different values"):
        cross_validate(COHORT, TASK, RUNGS, replace(DESIGN, leave_one_out_by="disease"))
    with pytest.raises(ConfigError):
        cross_validate(COHORT, TASK, RUNGS, replace(DESIGN, leave_one_out_by="nothing"))


def test_cells_with_few_events_are_told_not_judged():
    outcome = outcome_table(COHORT, TASK, (0.0, 72.0, 240.0))
    table = cells(outcome, (Horizon(24.0), Horizon(168.0), Horizon(72.0, until=True)), 5)
    first = table[(table["landmark_h"] == 0.0) & (table["horizon"] == "1 d")].iloc[0]
    assert first["events"] == 0
    assert first["reason"] == "0 events, fewer than 5"
    past = table[(table["landmark_h"] == 240.0) & (table["horizon"] == "to day 3")].iloc[0]
    assert "at or after the end" in past["reason"]
    judged = table[(table["landmark_h"] == 0.0) & (table["horizon"] == "7 d")].iloc[0]
    assert judged["reason"] == ""
    assert judged["events"] + judged["free"] <= judged["at_risk"]


def test_day_30_is_replaced_by_what_follow_up_supports():
    design = replace(DESIGN, horizons=(Horizon(168.0), Horizon(720.0, until=True)), repeats=1)
    found = cross_validate(COHORT, TASK, RUNGS[:1], design)
    limit = end_of_support(outcome_table(COHORT, TASK, design.landmarks_h), design.min_events)
    assert limit < 720.0
    assert Horizon(limit, until=True) in found.horizons
    assert "follow-up does not reach day 30" in found.notes[0]
    kept = cross_validate(COHORT, TASK, RUNGS[:1], replace(design, end_at_support=False))
    assert kept.skipped["reason"].str.startswith("follow-up ends before").any()


def test_too_few_events_anywhere_is_an_error_that_says_how_many():
    with pytest.raises(NotEstimableError, match="the most events"):
        cross_validate(COHORT, Task("grade4", threshold=4.0), RUNGS, replace(DESIGN, min_events=40))


def test_a_rung_that_cannot_be_fitted_is_listed_with_its_reason():
    rungs = [*RUNGS[:1], *(r for r in ladder() if r.name == "score_Hay2017")]
    found = cross_validate(COHORT, TASK, rungs, replace(DESIGN, repeats=1))
    errors = found.fits.loc[found.fits["model"] == "score_Hay2017", "error"]
    assert len(errors) == 3
    assert errors.str.contains("does not have").all()
    assert set(found.predictions["model"]) == {"prevalence"}


def test_severity_among_cases_counts_from_onset():
    design = Design(landmarks_h=(0.0,), horizons=(Horizon(72.0),), folds=3, repeats=1, min_events=3)
    found = cross_validate(simulated(120, seed=3), TASKS["severity_given_icans"], RUNGS, design)
    assert set(found.predictions["landmark_h"]) == {0.0}
    assert np.isfinite(found.predictions["risk"]).all()
