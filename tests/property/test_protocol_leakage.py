"""Leaks that the protocol must catch: blocks and fold models that see test patients, filled-in outcomes, the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort, make
from icans.core.random import stream
from icans.evaluate.audit import audit
from icans.evaluate.audit_shuffle import future_shuffled, labels_shuffled
from icans.evaluate.fold_models import fold_models
from icans.evaluate.latency import delayed
from icans.forecast.blocks import with_blocks
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import Rung, ladder
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon

TASK, HORIZON = TASKS["icans_any"], Horizon(120.0)
QUICK = Rung("quick", "", LastValueLogistic(penalties=(0.1,), inner_folds=2))
CALLS: list[tuple[frozenset[str], frozenset[str]]] = []


@dataclass(frozen=True)
class Recording:
    """A block that writes down whom it was fitted on and whom it was asked about: what a population fit does."""

    def fit(self, cohort: Cohort, seed: int) -> RecordingFitted:
        rows = cohort.measurements
        mean = float(rows.loc[rows["analyte"] == "crp", "value"].mean())
        return RecordingFitted(frozenset(cohort.patient_ids), mean)


@dataclass(frozen=True)
class RecordingFitted:
    seen: frozenset[str]
    mean: float
    name: str = "mech"

    def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: np.ndarray) -> pd.DataFrame:
        CALLS.append((self.seen, frozenset(plan["patient_id"])))
        table = features_at(cohort, plan, at_h, FeatureSpec(analytes=("crp",), scores=(), statistics=("max",)))
        return pd.DataFrame({"mech.distance": table["lab.crp.last"].to_numpy() - self.mean})


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulated(60, seed=21)


def test_a_block_never_learns_from_the_patients_it_is_judged_on(cohort: Cohort):
    CALLS.clear()
    design = Design(landmarks_h=(48.0,), horizons=(HORIZON,), repeats=1, folds=3, min_events=5)
    result = cross_validate(cohort, TASK, [QUICK], design, blocks=[Recording()], spec=FeatureSpec(analytes=("crp",)))
    assert len(CALLS) == 6  # training and held-out rows of three folds
    fold = result.folds.set_index("patient_id")["fold"]
    judged = [(seen, asked) for seen, asked in CALLS if not seen & asked]
    assert len(judged) == 3
    for seen, asked in judged:
        mine = set(fold[sorted(asked)])
        assert len(mine) == 1  # one fold's patients, and nobody of that fold was seen
        assert not seen & set(fold.index[fold == mine.pop()])


def test_fold_models_fit_blocks_steps_and_model_on_other_patients(cohort: Cohort):
    CALLS.clear()
    models = fold_models(cohort, TASK, QUICK, HORIZON, (48.0, 72.0), blocks=[Recording()], folds=3)
    every = [set(m.outcome["patient_id"]) for m in models.models]
    assert sum(map(len, every)) == len(set().union(*every))
    for model, held_out in zip(models.models, every, strict=True):
        (block,) = model.blocks
        assert not block.seen & held_out
        assert model.inputs.table["mech.distance"].notna().any()
    again = models.inputs_of(cohort)
    for model, inputs in zip(models.models, again, strict=True):
        pd.testing.assert_frame_equal(inputs.table, model.inputs.table)
    assert all(not seen & asked for seen, asked in CALLS[-3:])


def test_a_block_that_looks_ahead_is_caught(cohort: Cohort):
    """The check of the audit by shuffling the future, on a model with an honest block and with one that peeks."""

    @dataclass(frozen=True)
    class Peeking(RecordingFitted):
        def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: np.ndarray) -> pd.DataFrame:
            worst = cohort.grades[cohort.grades["toxicity"] == "ICANS"].groupby("patient_id")["grade"].max()
            return pd.DataFrame({"mech.distance": plan["patient_id"].map(worst).to_numpy()})

    def forecaster(block: RecordingFitted):
        def forecast(other: Cohort, at_h: float) -> pd.Series:
            plan = pd.DataFrame({"patient_id": other.patient_ids, "landmark_h": at_h})
            at = np.full(len(plan), at_h)
            table = with_blocks(
                features_at(other, plan, at, FeatureSpec(analytes=("crp",), scores=())), at, other, [block]
            )
            return pd.Series(table["mech.distance"].to_numpy(), index=plan["patient_id"].to_numpy())

        return forecast

    honest = future_shuffled(forecaster(RecordingFitted(frozenset(), 0.0)), cohort, 72.0)
    peeking = future_shuffled(forecaster(Peeking(frozenset(), 0.0)), cohort, 72.0)
    assert honest["verdict"] == "passes"
    assert peeking["verdict"] == "fails"


def test_shuffled_labels_give_a_half_and_a_target_encoded_outside_the_fold_does_not(cohort: Cohort):
    models = fold_models(cohort, TASK, QUICK, HORIZON, (72.0,), folds=3)
    outcome = pd.concat([m.outcome for m in models.models], ignore_index=True)
    y = ((outcome["event"] == 1) & (outcome["time_h"] <= 120)).to_numpy().astype(int)
    x = stream(5, "noise").normal(size=(len(y), 3))
    fold = np.arange(len(y)) % 3

    def honest(labels: np.ndarray) -> np.ndarray:
        return _out_of_fold(x, labels, fold)

    def leaking(labels: np.ndarray) -> np.ndarray:
        site = np.arange(len(labels)) // 2  # pairs of patients, each with the mean outcome of both
        encoded = pd.Series(labels).groupby(site).transform("mean").to_numpy()
        return _out_of_fold(np.column_stack([x, encoded]), labels, fold)

    assert labels_shuffled(honest, y, repeats=12)["verdict"] == "passes"
    assert labels_shuffled(leaking, y, repeats=12)["verdict"] == "fails"


def _out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    risk = np.empty(len(y))
    for k in range(3):
        risk[fold == k] = LogisticRegression(C=0.3).fit(x[fold != k], y[fold != k]).predict_proba(x[fold == k])[:, 1]
    return risk


def test_the_trap_of_imputation_by_outcome_is_caught():
    """Missing CRP filled with the mean of patients with the same outcome: a model reads the outcome off the fill."""
    rng = stream(6, "trap")
    n = 120
    ids = np.array([f"P{i:03d}" for i in range(n)])
    y = rng.permutation(np.arange(n) % 2)
    value = np.round(rng.normal(60, 20, (n, 4)), 1)
    filled = rng.random((n, 4)) < 0.4
    trap = np.where(filled, np.where(y[:, None] == 1, 61.37, 58.93), value)
    honest = np.where(filled, 60.12, value)
    onset = np.where(y == 1, 120.0, np.nan)
    verdicts = {}
    for name, table in (("trap", trap), ("honest", honest)):
        rows = pd.DataFrame(
            {"patient_id": np.repeat(ids, 4), "time_h": np.tile(24.0 * np.arange(4), n), "analyte": "crp",
             "matrix": "serum", "unit": "mg/L", "value": table.ravel()}
        ).assign(available_h=lambda d: d["time_h"] + 12)  # fmt: skip
        cohort = make(name, {"patients": pd.DataFrame({"patient_id": ids}), "measurements": rows})
        outcome = pd.DataFrame({"patient_id": ids, "outcome": y, "onset_h": onset, "end_h": 240.0})
        found = audit(cohort, cohort, outcome, task="ICANS", n_boot=50)
        verdicts[name] = found
    assert not verdicts["trap"].occurrence_can_be_validated
    assert set(verdicts["trap"].fills["value"]) == {61.37, 58.93}
    assert any("repeated values give the outcome away" in reason for reason in verdicts["trap"].reasons)
    assert verdicts["honest"].occurrence_can_be_validated


def test_late_results_are_only_ever_less(cohort: Cohort):
    """With a delay a forecast knows a subset of what it knew; bedside values stay, and the outcome does not move."""
    plan = pd.DataFrame({"patient_id": cohort.patient_ids, "landmark_h": 72.0})
    at, spec = np.full(len(plan), 72.0), FeatureSpec(missingness_features=True).resolve(cohort)
    before, after = (features_at(c, plan, at, spec) for c in (cohort, delayed(cohort, 24.0)))
    counts = [c for c in before if ".count_all" in c]
    assert (after[counts].fillna(0).to_numpy() <= before[counts].fillna(0).to_numpy()).all()
    assert (after[counts].fillna(0).to_numpy() < before[counts].fillna(0).to_numpy()).any()
    grades = [c for c in before if c.startswith(("grade.", "drug."))]
    pd.testing.assert_frame_equal(before[grades], after[grades])
    bedside = cohort.with_table("measurements", cohort.measurements.assign(matrix="vital"))
    pd.testing.assert_frame_equal(
        features_at(delayed(bedside, 24.0), plan, at, spec), features_at(bedside, plan, at, spec)
    )
    with pytest.raises(ValueError, match="negative"):
        delayed(cohort, -1.0)


def test_inputs_are_those_of_the_record_without_delay(cohort: Cohort):
    models = fold_models(cohort, TASK, ladder(names=["crs_rule"])[0], HORIZON, (72.0,), folds=3)
    for model, inputs in zip(models.models, models.inputs_of(delayed(cohort, 0.0)), strict=True):
        pd.testing.assert_frame_equal(Inputs.of(inputs).table, model.inputs.table)
    risks = models.risks()
    table = models.predictions(risks)
    assert len(table) == sum(map(len, risks))
    assert table["risk"].between(0, 1).all()
