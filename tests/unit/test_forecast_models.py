"""The models: against peers, closed forms and limits; preprocessing piece by piece."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError, NotFittedError
from icans.core.random import stream
from icans.forecast.dataset import examples
from icans.forecast.incidence import incidence
from icans.forecast.ladder import ladder
from icans.forecast.models.base import DayBaseline, labels
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.coherent import isotonic
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.models.recalibrated import Recalibrated
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.preprocess import PrepareSpec, preprocessor
from icans.forecast.ridge import expit, fit_path
from icans.forecast.tuning import choose, ever_event, one_se, patient_folds

HORIZONS = (Horizon(72.0), Horizon(168.0))
DATA = examples(simulated(150, seed=2), TASKS["icans_any"], (48.0, 72.0, 120.0))
FAST = {"inner_folds": 3}


def test_ridge_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = stream(1, "ridge")
    X = rng.normal(size=(200, 5))
    y = (rng.random(200) < expit(X[:, 0] - 0.5)).astype(float)
    weight = rng.random(200) + 0.2
    for penalty in (1.0, 0.1, 0.001):
        ours = fit_path(X, y, weight, (penalty,))[0]
        # The peer puts C on the sum of losses; ours is a weighted mean.
        peer = LogisticRegression(C=1.0 / (penalty * weight.sum()), tol=1e-10, max_iter=5000)
        peer.fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(ours.coefficients, peer.coef_[0], atol=2e-4)
        np.testing.assert_allclose(ours.intercept, peer.intercept_[0], atol=2e-4)


def test_ridge_path_equals_single_fits_and_takes_an_offset():
    rng = stream(2, "ridge")
    X, offset = rng.normal(size=(120, 3)), rng.normal(size=120)
    y = (rng.random(120) < expit(offset + X[:, 1])).astype(float)
    path = fit_path(X, y, np.ones(120), (0.01, 1.0, 0.1), offset)
    assert [m.penalty for m in path] == [0.01, 1.0, 0.1]
    for model in path:
        alone = fit_path(X, y, np.ones(120), (model.penalty,), offset)[0]
        np.testing.assert_allclose(model.coefficients, alone.coefficients, atol=1e-5)
        p = model.probability(X, offset)
        np.testing.assert_allclose(np.mean(p), y.mean(), atol=1e-6)  # the intercept is free


def test_ridge_stays_finite_when_classes_are_separated():
    X = np.linspace(-1, 1, 40)[:, None]
    model = fit_path(X, (X[:, 0] > 0).astype(float), np.ones(40), (1e-3,))[0]
    assert np.isfinite(model.coefficients).all()


def test_prevalence_is_the_incidence_of_the_risk_set():
    model = Prevalence().fit(DATA.table, DATA.outcome, HORIZONS)
    rows = DATA.outcome[DATA.outcome["landmark_h"] == 72.0]
    expected = float(incidence(rows["time_h"], rows["event"])(168.0))
    risk = model.predict(DATA.table, HORIZONS[1])[(DATA.outcome["landmark_h"] == 72.0).to_numpy()]
    assert np.ptp(risk) == 0
    assert risk[0] == pytest.approx((expected * len(rows) + 0.5) / (len(rows) + 1))


def test_day_baseline_between_and_beyond_landmarks():
    baseline = DayBaseline.fit(DATA.outcome, HORIZONS)
    frame = pd.DataFrame(
        index=pd.MultiIndex.from_tuples([("x", 24.0), ("x", 60.0), ("x", 300.0)], names=["patient_id", "landmark_h"])
    )
    found, at = baseline.logit(frame, 72.0), baseline.log_odds[Horizon(72.0)]
    np.testing.assert_allclose(found, [at[0], (at[0] + at[1]) / 2, at[2]])


@pytest.mark.parametrize("model", [LastValueLogistic(penalties=(1e6,)), Boosting(trees=(0,), **FAST)])
def test_without_effects_a_model_is_the_incidence_by_day(model):
    horizon = HORIZONS[1]
    plain = Prevalence().fit(DATA.table, DATA.outcome, HORIZONS).predict(DATA.table, horizon)
    ours = model.fit(DATA.table, DATA.outcome, HORIZONS).predict(DATA.table, horizon)
    np.testing.assert_allclose(ours, plain, atol=0.02)


def test_cox_without_effects_is_the_aalen_johansen_incidence():
    model = LandmarkCox(penalties=(1e9,)).fit(DATA.table, DATA.outcome, HORIZONS)
    for landmark in (48.0, 72.0, 120.0):
        rows = (DATA.outcome["landmark_h"] == landmark).to_numpy()
        expected = float(incidence(DATA.outcome["time_h"][rows], DATA.outcome["event"][rows])(168.0))
        np.testing.assert_allclose(model.predict(DATA.table, 168.0)[rows], expected, atol=0.002)


def test_cox_of_one_landmark_and_no_rival_is_the_plain_cox_model_with_grouped_hazards():
    from icans.forecast.cox import PenalisedCox

    data = examples(simulated(150, seed=2), TASKS["icans_any"], (72.0,))
    outcome = data.outcome.assign(event=data.outcome["event"].where(data.outcome["event"] != 2, 0))
    model = LandmarkCox(penalties=(0.1,)).fit(data.table, outcome, (Horizon(168.0),))
    X = model.stack.matrix(data.table)
    time = np.minimum(outcome["time_h"], 168.0)
    event = (outcome["event"] == 1) & (outcome["time_h"] <= 168.0)
    peer = PenalisedCox(alpha=0.1 * event.sum(), ties="efron").fit(X, time, event)
    np.testing.assert_allclose(model.own.coefficients, peer.coefficients)
    steps = np.diff(peer.baseline[0][2], prepend=0.0)[peer.baseline[0][1] <= 168.0]
    expected = 1 - np.prod((1 - steps)[None, :] ** np.exp(peer.linear_predictor(X))[:, None], axis=1)
    np.testing.assert_allclose(model.predict(data.table, 168.0), expected, atol=1e-10)


@pytest.mark.parametrize(
    "model",
    [Prevalence(), Recalibrated(("grade.CRS.max",)), Recalibrated(("grade.CRS.max",), method="intercept"),
     LastValueLogistic(**FAST), LandmarkCox(**FAST),
     LandmarkCox(interactions=True, **FAST), Boosting(**FAST)],
    ids=["prevalence", "recalibrated", "shifted", "logistic", "cox", "supermodel", "boosting"],
)  # fmt: skip
def test_every_model_gives_risks_that_rise_with_the_horizon_and_repeats_itself(model):
    fitted = model.fit(DATA.table, DATA.outcome, HORIZONS, seed=4)
    again = model.fit(DATA.table, DATA.outcome, HORIZONS, seed=4)
    short, long = (fitted.predict(DATA.table, h) for h in HORIZONS)
    assert ((short >= 0) & (long <= 1)).all()
    assert (long >= short).all()
    np.testing.assert_array_equal(long, again.predict(DATA.table, HORIZONS[1]))
    y, weight = labels(DATA.outcome, HORIZONS[1])
    assert np.average(y, weights=weight) == pytest.approx(np.average(long, weights=np.ones(len(long))), abs=0.05)
    assert len(fitted.reasons(DATA.table, HORIZONS[1])) == len(DATA.table)
    assert fitted.parameters >= 0
    assert all(np.isfinite(v) for v in fitted.settings().values())
    with pytest.raises((NotFittedError, KeyError)):
        if isinstance(model, LandmarkCox):
            raise KeyError  # a Cox model can be asked for any horizon
        fitted.predict(DATA.table, Horizon(1.0))


@pytest.mark.parametrize(
    "model", [LastValueLogistic(**FAST), Boosting(trees=(20,), **FAST)], ids=["logistic", "boosting"]
)
def test_reasons_add_up_to_the_log_odds(model):
    fitted = model.fit(DATA.table, DATA.outcome, HORIZONS[1:])
    risk = fitted.predict(DATA.table, HORIZONS[1])
    logit = np.log(risk / (1 - risk)) - fitted.baseline.logit(DATA.table, HORIZONS[1])
    rest = logit - fitted.reasons(DATA.table, HORIZONS[1]).sum(axis=1).to_numpy()
    np.testing.assert_allclose(rest, rest[0], atol=1e-8)  # a constant: the average patient


def test_isotonic_agrees_with_scikit_learn_and_leaves_coherent_rows_alone():
    from sklearn.isotonic import IsotonicRegression

    values = stream(4, "isotonic").random((50, 5))
    ours = isotonic(values)
    for row, smooth in zip(values, ours, strict=True):
        np.testing.assert_allclose(smooth, IsotonicRegression().fit_transform(np.arange(5), row), atol=1e-12)
    rising = np.sort(values, axis=1)
    np.testing.assert_allclose(isotonic(rising), rising, atol=1e-12)


def test_a_strong_marker_is_found():
    cohort = simulated(200, seed=8, signal=2.0)
    train = examples(cohort, TASKS["icans_any"], (120.0,))
    test = examples(simulated(400, seed=9, signal=2.0), TASKS["icans_any"], (120.0,))
    y, weight = labels(test.outcome, HORIZONS[1])
    for rung in ladder(scores=(), names=["logistic_last", "cox_last", "boosting"]):
        fitted = rung.model.fit(train.table, train.outcome, HORIZONS)
        risk = fitted.predict(test.table, HORIZONS[1])
        case, control = risk[(y == 1) & (weight > 0)], risk[(y == 0) & (weight > 0)]
        assert np.mean(case[:, None] > control[None, :]) > 0.65, rung.name


def test_a_score_that_is_not_there_or_does_not_vary_is_not_estimable():
    with pytest.raises(NotEstimableError, match="which this cohort does not have"):
        Recalibrated(("score.EASIX",)).fit(DATA.table, DATA.outcome, HORIZONS)
    constant = DATA.table.assign(c=1.0)
    with pytest.raises(NotEstimableError, match="the same in every row"):
        Recalibrated(("c",)).fit(constant, DATA.outcome, HORIZONS)
    absent = DATA.table.assign(c=np.where(np.arange(len(DATA.table)) % 10 == 0, 1.0, np.nan))
    with pytest.raises(NotEstimableError, match="10% of the rows"):
        Recalibrated(("c",)).fit(absent, DATA.outcome, HORIZONS)


def scored(landmarks=(72.0,), missing=0, seed=5):
    """Rows, outcomes and a score that tells something about the event, some values missing."""
    data = examples(simulated(300, seed=seed), TASKS["icans_any"], landmarks)
    y, weight = labels(data.outcome, HORIZONS[1])
    score = 3.0 + y + stream(seed, "score").normal(size=len(y))
    score[:missing] = np.nan
    return data.table.assign(s=score), data.outcome, y, weight


def test_recalibration_by_intercept_and_slope_is_logistic_regression():
    from statsmodels.api import GLM, add_constant, families

    table, outcome, y, weight = scored()
    table = table.assign(s=table["s"].clip(2.0, 5.0))  # the preprocessing's own limits then change nothing
    fitted = Recalibrated(("s",)).fit(table, outcome, HORIZONS[1:])
    design = add_constant(table["s"].to_numpy())
    oracle = GLM(y, design, family=families.Binomial(), freq_weights=weight).fit()
    # The ridge that keeps a separated score finite moves a slope by less than a hundredth.
    np.testing.assert_allclose(fitted.predict(table, HORIZONS[1]), oracle.predict(design), atol=5e-3)
    assert fitted.parameters == 1


def test_recalibration_by_intercept_shifts_log_odds_and_nothing_else():
    from statsmodels.api import GLM, families

    table, outcome, y, weight = scored(landmarks=(48.0, 120.0))
    fitted = Recalibrated(("s",), method="intercept").fit(table, outcome, HORIZONS)
    risk = fitted.predict(table, HORIZONS[1])
    assert np.average(risk, weights=weight) == pytest.approx(np.average(y, weights=weight))
    oracle = GLM(y, np.ones((len(y), 1)), family=families.Binomial(), freq_weights=weight, offset=table["s"]).fit()
    assert fitted.settings()[f"shift, {HORIZONS[1].label}"] == pytest.approx(oracle.params[0], abs=1e-6)
    shift = np.log(risk / (1 - risk)) - table["s"]
    np.testing.assert_allclose(shift, oracle.params[0], atol=1e-6)
    rest = np.log(risk / (1 - risk)) - fitted.reasons(table, HORIZONS[1])["s"]
    np.testing.assert_allclose(rest, rest.iloc[0], atol=1e-8)


def test_separated_and_infinite_scores_give_finite_risks():
    table, outcome, y, weight = scored()
    apart = table.assign(s=np.where(y == 1, 10.0, -10.0))
    slope = Recalibrated(("s",)).fit(apart, outcome, HORIZONS[1:])
    risk = slope.predict(apart, HORIZONS[1])
    assert ((risk > 0) & (risk < 1)).all()
    assert risk[(y == 1) & (weight > 0)].min() > risk[(y == 0) & (weight > 0)].max()
    endless = table.assign(s=np.where(np.arange(len(y)) % 7 == 0, np.inf, table["s"]))
    shifted = Recalibrated(("s",), method="intercept").fit(endless, outcome, HORIZONS[1:])
    assert np.isfinite(shifted.predict(endless, HORIZONS[1])).all()


def test_rows_without_a_score_have_the_incidence_of_their_day():
    table, outcome, _, _ = scored(landmarks=(48.0, 120.0), missing=40)
    fitted = Recalibrated(("s",), method="intercept").fit(table, outcome, HORIZONS[1:])
    day = expit(fitted.baseline.logit(table, HORIZONS[1]))
    risk = fitted.predict(table, HORIZONS[1])
    np.testing.assert_allclose(risk[:40], day[:40])
    assert np.isfinite(risk).all()
    assert np.isfinite(Recalibrated(("s",)).fit(table, outcome, HORIZONS[1:]).predict(table, HORIZONS[1])).all()


def test_no_event_is_not_estimable():
    none = DATA.outcome.assign(event=0)
    shifted = Recalibrated(("grade.CRS.max",), method="intercept")
    for model in (LastValueLogistic(), LandmarkCox(), Boosting(), shifted):
        with pytest.raises(NotEstimableError):
            model.fit(DATA.table, none, HORIZONS)


def test_tables_out_of_step_are_refused():
    with pytest.raises(ValueError, match="same patients and landmarks"):
        Prevalence().fit(DATA.table.iloc[::-1], DATA.outcome, HORIZONS)


def test_one_se_takes_the_simplest_setting_near_the_best():
    losses = np.array([[1.00, 0.99, 0.98], [1.00, 0.99, 1.00], [1.00, 0.99, 0.98]])
    assert one_se(losses) == 1
    assert choose(losses, "best") == 2
    assert one_se(np.array([[2.0, 1.0, 0.9], [2.0, 1.0, 0.9]])) == 2
    assert one_se(np.full((3, 2), np.nan)) == 0
    with pytest.raises(ValueError, match="rule must be"):
        choose(losses, "luck")


def test_folds_keep_patients_whole_and_outcomes_balanced():
    strata = ever_event(DATA.outcome)
    fold = patient_folds(strata, 5, stream(1, "f"))
    assert fold.index.equals(strata.index)
    assert fold.value_counts().max() - fold.value_counts().min() <= 1
    share = (strata == 2).groupby(fold).sum()
    assert share.max() - share.min() <= 1
    pd.testing.assert_series_equal(
        fold, patient_folds(strata.sample(frac=1, random_state=1), 5, stream(1, "f")).reindex(strata.index)
    )
    with pytest.raises(ValueError, match="folds must lie between"):
        patient_folds(strata.head(3), 5, stream(1))


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_preprocessing_learns_from_the_rows_of_fit_only():
    train = frame(**{"lab.crp.last": [1.0, 10.0, 100.0, np.nan], "static.age_y": [50.0, 60.0, 70.0, 60.0]})
    test = frame(**{"lab.crp.last": [np.nan, 1e9], "static.age_y": [60.0, np.nan]})
    fitted = preprocessor().fit(train)
    out = fitted.transform(test)
    assert out["static.age_y"].tolist() == [0.0, 0.0]
    assert out["lab.crp.last"].iloc[1] <= fitted.transform(train)["lab.crp.last"].max() + 1e-9  # drawn in
    before = fitted.transform(train)
    np.testing.assert_allclose(before.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(before.std(ddof=0), 1.0)


def test_categories_rare_unseen_and_missing_fall_to_the_reference():
    train = frame(**{"static.product": ["axi"] * 10 + ["tisa"] * 8 + ["odd"] * 0 + ["liso"] * 1 + [None] * 1})
    fitted = preprocessor(PrepareSpec(standardise=False)).fit(train)
    assert fitted.transform(train).columns.tolist() == ["static.product=tisa", "static.product=liso"]
    out = fitted.transform(frame(**{"static.product": ["axi", "tisa", "new", None]}))
    assert out["static.product=tisa"].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_columns_that_tell_who_measured_are_left_out():
    train = frame(**{"static.disease": ["DLBCL", None, None, "FL"], "lab.il_6.last": [1.0, np.nan, np.nan, np.nan],
                     "lab.crp.last": [1.0, 2.0, np.nan, 4.0], "same": [1.0, 1.0, 1.0, 1.0],
                     "lab.crp.max_all": [1.0, 2.0, np.nan, 4.0]})  # fmt: skip
    fitted = preprocessor().fit(train)
    assert fitted.transform(train).columns.tolist() == ["lab.crp.last"]
    assert set(fitted.named_steps["select"].dropped_) == {"static.disease", "lab.il_6.last"}
    asked = preprocessor(PrepareSpec(indicators=True)).fit(train).transform(train)
    assert "lab.crp.last=missing" in asked


def test_transforms():
    rng = stream(3, "skew")
    train = frame(**{"lab.crp.last": np.exp(rng.normal(3, 1, 300)), "lab.sodium.last": rng.normal(140, 3, 300)})
    logged = preprocessor(PrepareSpec(winsor=None, standardise=False)).fit_transform(train)
    assert abs(logged["lab.crp.last"].skew()) < 0.5
    np.testing.assert_array_equal(logged["lab.sodium.last"], train["lab.sodium.last"])
    power = preprocessor(PrepareSpec(transform="yeo-johnson")).fit_transform(train)
    assert abs(power["lab.crp.last"].skew()) < 0.5
    with pytest.raises(ValueError, match="transform must be"):
        PrepareSpec(transform="magic")
    with pytest.raises(NotFittedError):
        preprocessor().named_steps["select"].transform(train)


def test_ladder_in_order_and_by_name():
    names = [rung.name for rung in ladder()]
    assert names[0] == "prevalence"
    assert names[-1] == "boosting"
    assert [r.name for r in ladder(names=["boosting", "prevalence"])] == ["prevalence", "boosting"]
    assert all(rung.description for rung in ladder())
    with pytest.raises(KeyError, match="the ladder has no"):
        ladder(names=["oracle"])
