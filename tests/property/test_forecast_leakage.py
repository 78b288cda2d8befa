"""Nothing from the future, nothing from the held-out patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort, make
from icans.core.random import stream
from icans.evaluate.discrimination import cumulative_dynamic_auc
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.features import FeatureSpec, feature_table
from icans.forecast.final import fit_final
from icans.forecast.ladder import Rung, ladder
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.preprocess import preprocessor

COHORT = simulated(25, seed=11)
SPEC = FeatureSpec(missingness_features=True).resolve(COHORT)
DATED = ("measurements", "treatments", "grades", "events")


def disturbed(cohort: Cohort, landmark: float, seed: int) -> Cohort:
    """The cohort with everything that becomes known after the landmark permuted, deleted or made up."""
    rng = stream(seed, "future")
    tables = {"patients": cohort.patients}
    for name in DATED:
        frame = cohort.table(name)
        later = frame["available_h"] > landmark
        future = frame[later].sample(frac=float(rng.random()), random_state=int(rng.integers(1 << 30)))
        columns = [c for c in future.columns if c not in ("time_h", "available_h")]
        mixed = future[columns].iloc[rng.permutation(len(future))].reset_index(drop=True)
        future = future.reset_index(drop=True).assign(**{c: mixed[c] for c in columns})
        extra = frame.sample(min(40, len(frame)), random_state=int(rng.integers(1 << 30)))
        extra = extra.assign(available_h=landmark + 0.5 + rng.random(len(extra)) * 100)
        if "value" in extra:
            extra = extra.assign(value=extra["value"] * 1000)
        if "grade" in extra:
            extra = extra.assign(grade=5.0)
        together = pd.concat([frame[~later], future, extra])
        tables[name] = together.iloc[rng.permutation(len(together))]
    return make(cohort.name, tables)


@given(st.sampled_from([0.0, 24.0, 60.0, 100.0, 168.0]), st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_future_does_not_touch_the_features(landmark, seed):
    before = feature_table(COHORT, [landmark], SPEC)
    after = feature_table(disturbed(COHORT, landmark, seed), [landmark], SPEC)
    pd.testing.assert_frame_equal(before, after, check_exact=True)


@given(st.sampled_from([24.0, 100.0]))
@settings(max_examples=4)
def test_features_are_those_of_what_was_available(landmark):
    before = feature_table(COHORT, [landmark], SPEC)
    after = feature_table(COHORT.available_by(landmark), [landmark], SPEC)
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_the_future_does_not_touch_a_forecast():
    train = simulated(60, seed=3)
    model = fit_final(train, TASKS["icans_any"], ladder(names=["logistic_last"])[0], refits=2)
    before, gone = model.forecast(COHORT, 72.0)
    after, gone_after = model.forecast(disturbed(COHORT, 72.0, 1), 72.0)
    assert before == after
    pd.testing.assert_frame_equal(gone, gone_after)


def shuffled_outcomes(cohort: Cohort, seed: int) -> Cohort:
    """Whole ICANS paths handed to other patients: incidence by day stays, the link to the labs goes."""
    ids = np.array(cohort.patient_ids)
    moved = dict(zip(ids, ids[stream(seed, "labels").permutation(len(ids))], strict=True))
    grades = cohort.grades
    icans = grades["toxicity"] == "ICANS"
    return cohort.with_table(
        "grades", grades.assign(patient_id=grades["patient_id"].where(~icans, grades["patient_id"].map(moved)))
    )


def test_shuffled_labels_cannot_be_predicted():
    rungs = [
        Rung("logistic", "", LastValueLogistic(penalties=(1.0, 0.03), inner_folds=3)),
        Rung("cox", "", LandmarkCox(penalties=(1.0, 0.03), inner_folds=3)),
        Rung("boosting", "", Boosting(trees=(20,), inner_folds=2)),
    ]
    design = Design(landmarks_h=(72.0, 120.0), horizons=(Horizon(120.0),), repeats=1, folds=4)
    spec = FeatureSpec(toxicities=("CRS",))
    found: dict[str, list[float]] = {}
    for seed in range(3):
        cv = cross_validate(
            shuffled_outcomes(simulated(120, seed=7), seed), TASKS["icans_any"], rungs, design, spec=spec
        )
        for (model, _, _fold), rows in cv.predictions.groupby(["model", "landmark_h", "fold"]):
            y = rows["event"].to_numpy() == 1
            if 0 < y.sum() < len(y):
                auc = cumulative_dynamic_auc(rows["time_h"], rows["event"], rows["risk"], 120.0)
                found.setdefault(model, []).append(float(auc))
    for model, values in found.items():
        mean = np.nanmean(values)
        error = np.nanstd(values) / np.sqrt(np.sum(~np.isnan(values)))
        assert abs(mean - 0.5) < 3 * error + 0.01, (model, mean, error)


SENTINEL = 987654.0


def test_preprocessing_is_fitted_on_the_training_patients_only(monkeypatch):
    """A sentinel value sits with one patient; no fit in whose test fold that patient is may ever see it."""
    cohort = simulated(60, seed=5)
    patients = cohort.patients.assign(age_y=cohort.patients["age_y"].where(cohort.patients.index != 0, SENTINEL))
    tagged = cohort.patients["patient_id"].iloc[0]
    cohort = cohort.with_table("patients", patients)
    seen: list[bool] = []

    class Watching(type(preprocessor())):
        def learn(self, X):
            seen.append(bool((X["static.age_y"] == SENTINEL).any()))
            return super().learn(X)

    def watched(spec=None):
        return Watching(preprocessor(spec).steps)

    monkeypatch.setattr("icans.forecast.models.logistic.preprocessor", watched)
    design = Design(landmarks_h=(48.0,), horizons=(Horizon(168.0),), repeats=1, folds=3, min_events=5)
    cv = cross_validate(cohort, TASKS["icans_any"], [Rung("lr", "", LastValueLogistic(inner_folds=3))], design)
    plan = cv.folds.set_index("patient_id")["fold"]
    per_fold = np.array(seen).reshape(3, -1)  # inner folds, then the fit of the outer fold
    assert not per_fold[plan[tagged]].any()
    assert all(per_fold[k].any() for k in range(3) if k != plan[tagged])


@dataclass(frozen=True)
class Centre:
    """A step that learns the mean CRP of the cohort it is fitted on."""

    def fit(self, cohort: Cohort) -> Centred:
        rows = cohort.measurements
        return Centred(float(rows.loc[rows["analyte"] == "crp", "value"].mean()), len(cohort))


@dataclass(frozen=True)
class Centred:
    mean: float
    patients: int

    def apply(self, cohort: Cohort) -> Cohort:
        LEARNED.append((self.mean, self.patients, len(cohort)))
        rows = cohort.measurements
        crp = rows["analyte"] == "crp"
        return cohort.with_table(
            "measurements", rows.assign(value=rows["value"].where(~crp, rows["value"] - self.mean))
        )


LEARNED: list[tuple[float, int, int]] = []


def test_steps_that_learn_are_fitted_on_the_training_patients_of_each_fold():
    LEARNED.clear()
    cohort = simulated(60, seed=5)
    design = Design(landmarks_h=(48.0,), horizons=(Horizon(168.0),), repeats=1, folds=3, min_events=5)
    rungs = ladder(names=["logistic_last"])
    cross_validate(cohort, TASKS["icans_any"], rungs, design, steps=[Centre()])
    assert len(LEARNED) == 6  # train and test of three folds
    assert len({mean for mean, _, _ in LEARNED}) == 3
    assert {(fitted, applied) for _, fitted, applied in LEARNED} == {(40, 40), (40, 20)}


def test_sampling_intensity_is_not_a_feature_unless_asked_for():
    """Who is measured more often cannot be told from the default features when values carry nothing."""
    rng = stream(4, "intensity")
    rows = [
        (f"q{i}", 24.0 * d + k, "crp", 5.0 + rng.normal(0, 1e-9), "mg/L")
        for i in range(20)
        for d in range(4)
        for k in range(1 + 5 * (i % 2))
    ]
    frame = pd.DataFrame(rows, columns=["patient_id", "time_h", "analyte", "value", "unit"])
    cohort = make("i", {"patients": pd.DataFrame({"patient_id": sorted({r[0] for r in rows})}), "measurements": frame})
    plain = feature_table(cohort, [72.0], FeatureSpec(statistics=("max", "min", "mean")))
    labs = plain.filter(like="lab.")
    assert np.allclose(labs, 5.0, atol=1e-6)
    asked = feature_table(cohort, [72.0], FeatureSpec(missingness_features=True))
    assert asked["lab.crp.count_all"].nunique() == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_rows_is_no_matter(seed):
    rng = stream(seed, "order")
    tables = {name: COHORT.table(name).iloc[rng.permutation(len(COHORT.table(name)))] for name in (*DATED, "patients")}
    pd.testing.assert_frame_equal(
        feature_table(COHORT, [96.0], SPEC), feature_table(make("x", tables), [96.0], SPEC), check_exact=True
    )
