"""Corrections that learn: batches and assays, fitted on training patients."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort
from icans.core.random import stream
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.ladder import ladder
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.steps import AssayStep, BatchStep

FACTOR = 4.0


def batched(n: int = 60, seed: int = 41) -> Cohort:
    """Half of the patients ran on a plate that reads four times as much."""
    cohort = simulated(n, seed=seed)
    rows = cohort.measurements
    second = rows["patient_id"].str[1:].astype(int) % 2 == 1
    value = rows["value"].where(~second, rows["value"] * FACTOR)
    return cohort.with_table("measurements", rows.assign(batch=np.where(second, "two", "one"), value=value))


def log_gap(cohort: Cohort, analyte: str = "crp") -> float:
    rows = cohort.measurements[cohort.measurements["analyte"] == analyte]
    mean = np.log(rows["value"]).groupby(rows["batch"]).mean()
    return float(mean["two"] - mean["one"])


def test_batches_are_brought_together_and_the_change_is_told():
    cohort = batched()
    fixed = BatchStep().fit(cohort).apply(cohort)
    assert abs(log_gap(cohort)) > 1.2
    assert abs(log_gap(fixed)) < 0.1
    told = fixed.changes[fixed.changes["rule"] == "batch.combat"]
    assert sorted(told["item"]) == ["crp", "ferritin", "temperature"]
    assert told["rows"].sum() == len(cohort.measurements)


def test_what_was_learned_applies_to_new_patients():
    new = batched(30, seed=42)
    fixed = BatchStep().fit(batched()).apply(new)
    assert abs(log_gap(fixed)) < abs(log_gap(new)) / 2


def test_a_batch_left_out_of_training_is_drawn_in_without_outcomes():
    cohort = batched()
    third = cohort.measurements["patient_id"].str[1:].astype(int) % 3 == 0
    rows = cohort.measurements.assign(batch=cohort.measurements["batch"].where(~third, "three"))
    cohort = cohort.with_table("measurements", rows)
    two = cohort.subset(sorted(set(rows.loc[~third, "patient_id"])))
    rest = cohort.subset(sorted(set(rows.loc[third, "patient_id"])))
    fixed = BatchStep().fit(two).apply(rest)
    assert np.isfinite(fixed.measurements["value"]).all()
    assert not fixed.measurements["value"].equals(rest.measurements["value"])


@pytest.mark.parametrize("step", [BatchStep(), AssayStep()])
def test_without_batches_or_assays_nothing_changes(step):
    cohort = simulated(20)
    fixed = step.fit(cohort).apply(cohort)
    pd.testing.assert_frame_equal(fixed.measurements, cohort.measurements)


def test_assays_are_brought_to_the_reference():
    cohort = simulated(30, seed=7)
    rows = cohort.measurements[cohort.measurements["analyte"] == "crp"]
    other = rows.assign(assay="b", value=rows["value"] * 2.0 * np.exp(stream(1, "a").normal(0, 0.05, len(rows))))
    both = cohort.with_table("measurements", pd.concat([rows.assign(assay="a"), other.iloc[: len(other) // 2]]))
    fixed = AssayStep().fit(both).apply(both)
    ratio = fixed.measurements.groupby("assay")["value"].median()
    before = both.measurements.groupby("assay")["value"].median()
    assert abs(np.log(ratio["b"] / ratio["a"])) < abs(np.log(before["b"] / before["a"])) / 3


def test_the_steps_run_inside_cross_validation_also_when_a_batch_is_left_out():
    design = Design(landmarks_h=(72.0,), horizons=(Horizon(168.0),), folds=3, repeats=1, min_events=5)
    rungs = ladder(scores=(), names=["logistic_last"])
    found = cross_validate(batched(), TASKS["icans_any"], rungs, design, steps=[BatchStep(), AssayStep()])
    assert found.predictions["risk"].between(0, 1).all()
    left = Design(landmarks_h=(72.0,), horizons=(Horizon(168.0),), min_events=5, leave_one_out_by="batch")
    out = cross_validate(batched(), TASKS["icans_any"], rungs, left, steps=[BatchStep()])
    assert set(out.folds["group"]) == {"one", "two"}


def test_fitted_corrections_go_through_plain_parts(tmp_path):
    cohort = batched()
    rows = cohort.measurements
    twice = pd.concat(
        [rows.assign(assay="a"), rows.assign(assay="b", value=rows["value"] * 2.0, time_h=rows["time_h"] + 0.5)],
        ignore_index=True,
    ).astype(rows.dtypes.to_dict())
    both = cohort.with_table("measurements", twice)
    for step, seen in ((BatchStep(), cohort), (AssayStep(), both), (AssayStep(), cohort)):
        fitted = step.fit(seen)
        meta, arrays = to_parts(fitted)
        np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
            again = from_parts(json.loads(json.dumps(meta)), dict(stored))
        assert again.apply(seen).measurements.equals(fitted.apply(seen).measurements)
