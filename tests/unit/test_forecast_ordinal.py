"""Ordered outcomes: against statsmodels and brute force; tests of proportionality; the worst grade to come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from forecast_cohorts import simulated
from forecast_parts import travelled
from icans.cohort.cohort import make
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.grade_outcomes import worst_grades
from icans.forecast.grades_crossval import GRADES_OF_RISK_SET, cross_validate_grades
from icans.forecast.models.grades import OrdinalGrades
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.ordinal import OrderedRegression, design
from icans.forecast.ordinal_likelihood import Ordered, derivatives, log_likelihood, probabilities, score_rows
from icans.forecast.outcomes import TASKS, Horizon, Task
from icans.forecast.proportionality import brant_test, free_columns, score_test

WEEK = Horizon(168.0)


def ordered(seed=1, n=400, effects=(1.0, -0.5, 0.0), cuts=(-1.0, 0.5, 1.5, 3.0)):
    rng = stream(seed, "ordered")
    X = rng.normal(size=(n, len(effects)))
    return X, np.digitize(X @ np.array(effects) + rng.logistic(size=n), cuts)


def test_proportional_odds_agree_with_statsmodels():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    X, y = ordered()
    ours = OrderedRegression().fit(X, y)
    peer = OrderedModel(y, X, distr="logit").fit(method="bfgs", disp=0, gtol=1e-9)
    np.testing.assert_allclose(ours.coefficients, peer.params[:3], atol=1e-5)
    np.testing.assert_allclose(ours.standard_errors(), peer.bse[:3], atol=1e-4)
    np.testing.assert_allclose(ours.predict(X), peer.model.predict(peer.params), atol=1e-5)


def test_adjacent_categories_with_every_effect_free_are_the_multinomial_logit():
    from statsmodels.discrete.discrete_model import MNLogit

    X, y = ordered(2, 300, (1.0, -0.5), (-0.5, 0.7))
    ours = OrderedRegression("adjacent", free=(0, 1)).fit(X, y)
    peer = MNLogit(y, np.column_stack([np.ones(len(X)), X])).fit(disp=0, method="newton")
    effects = peer.params[1:].T
    np.testing.assert_allclose(ours.by_cut(), np.diff(effects, axis=0, prepend=0.0), atol=1e-5)


@pytest.mark.parametrize("link", ["cumulative", "adjacent"])
def test_a_penalised_fit_with_weights_and_offset_is_the_optimum_found_by_brute_force(link):
    X, y = ordered(3, 120, (0.8, -0.4), (-0.5, 0.7))
    rng = stream(3, "weights")
    weight, offset = rng.random(120) + 0.1, np.repeat(rng.normal(size=(120, 1)) * 0.3, 2, axis=1)
    ours = OrderedRegression(link, penalty=0.1).fit(X, y, weight, offset)
    data = Ordered(design(X, 2), y.astype(np.intp), weight / weight.sum(), offset)
    share = np.array([0, 0, 1, 1])

    def loss(theta):
        value = log_likelihood(data, theta, link)
        return 0.05 * (share * theta**2).sum() - value if np.isfinite(value) else 1e9

    start = np.array([1.0, -1.0, 0.0, 0.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-13, "maxiter": 4000})
    np.testing.assert_allclose(ours.theta, found.x, atol=1e-5)


@pytest.mark.parametrize("link", ["cumulative", "adjacent"])
def test_derivatives_are_those_of_the_likelihood(link):
    X, y = ordered(4, 60, (0.8, -0.4))
    z = design(X, 4, (0,))
    data = Ordered(z, y.astype(np.intp), stream(4, "w").random(60), np.zeros((60, 4)))
    theta = np.r_[1.5, 0.2, -1.0, -2.5, 0.5, -0.3, 0.05, -0.1, 0.02]
    gradient, information = derivatives(data, theta, link)
    steps = np.eye(len(theta)) * 1e-5
    numeric = [(log_likelihood(data, theta + e, link) - log_likelihood(data, theta - e, link)) / 2e-5 for e in steps]
    np.testing.assert_allclose(numeric, gradient, atol=1e-6)
    curve = [(derivatives(data, theta + e, link)[0] - derivatives(data, theta - e, link)[0]) / 2e-5 for e in steps]
    np.testing.assert_allclose(curve, -information, atol=1e-5)
    np.testing.assert_allclose(score_rows(data, theta, link).sum(axis=0), gradient, atol=1e-12)


def test_probabilities_are_probabilities_even_where_cuts_cross():
    eta = np.array([[0.0, 1.0, -1.0], [200.0, 0.0, -200.0]])
    for link in ("cumulative", "adjacent"):
        chance = probabilities(eta, link)
        assert (chance >= 0).all()
        np.testing.assert_allclose(chance.sum(axis=1), 1.0)


def test_both_tests_keep_their_level_and_find_a_violation():
    p = {"score": [], "robust": [], "brant": []}
    for seed in range(30):
        X, y = ordered(100 + seed, 300, (1.0, -0.5), (-1.0, 0.5, 1.5))
        p["score"].append(score_test(X, y, ["a", "b"])["p"].iloc[-1])
        p["robust"].append(score_test(X, y, ["a", "b"], groups=range(300))["p"].iloc[-1])
        p["brant"].append(brant_test(X, y, ["a", "b"])["p"].iloc[-1])
    for name, found in p.items():
        assert np.mean(np.array(found) < 0.05) <= 0.2, name
        assert 0.3 < np.mean(found) < 0.7, name
    X, y = violated()
    for table in (score_test(X, y, ["a", "b"]), brant_test(X, y, ["a", "b"])):
        found = table.set_index("column")["p"]
        assert found["a"] < 1e-4
        assert found["(all)"] < 1e-4
        assert found["b"] > 0.01
    assert free_columns(X, y, ["a", "b"])[0] == (0,)


def violated(n=800):
    """The first column matters at the highest cut only."""
    rng = stream(7, "violated")
    X = rng.normal(size=(n, 2))
    above = [1 / (1 + np.exp(-(1.2 - 0.5 * X[:, 1]))), 1 / (1 + np.exp(-(-1.5 - 0.5 * X[:, 1] + 1.2 * X[:, 0])))]
    above[1] = np.minimum(above[1], above[0])
    u = rng.random(n)
    return X, (u < above[0]).astype(int) + (u < above[1])


def test_score_brant_and_likelihood_ratio_agree_in_large_samples():
    X, y = violated(6000)
    small, large = (OrderedRegression(free=free).fit(X, y) for free in ((), (0, 1)))
    none = np.zeros((len(y), 2))
    data = [Ordered(design(X, 2, m.free), y.astype(np.intp), np.ones(len(y)), none) for m in (small, large)]
    ratio = 2 * (
        log_likelihood(data[1], large.theta, "cumulative") - log_likelihood(data[0], small.theta, "cumulative")
    )
    assert score_test(X, y, ["a", "b"])["statistic"].iloc[-1] == pytest.approx(ratio, rel=0.1)
    assert brant_test(X, y, ["a", "b"])["statistic"].iloc[-1] == pytest.approx(ratio, rel=0.15)


def test_partial_proportional_odds_find_effects_that_differ():
    X, y = violated(3000)
    free = OrderedRegression(free=(0,)).fit(X, y)
    np.testing.assert_allclose(free.by_cut()[:, 0], [0.0, 1.2], atol=0.2)
    np.testing.assert_allclose(free.by_cut()[:, 1], -0.5, atol=0.1)


def test_what_cannot_be_ordered_or_tested_is_refused():
    X, y = ordered(5, 60)
    with pytest.raises(NotEstimableError, match="one category"):
        OrderedRegression().fit(X, np.zeros(60, dtype=int))
    for test in (score_test, brant_test):
        with pytest.raises(NotEstimableError, match="two categories"):
            test(X, (y > 1).astype(int), list("abc"))
    with pytest.raises(NotEstimableError, match="separated"):
        brant_test(np.arange(60.0)[:, None], np.repeat([0, 1, 2], 20), ["a"])
    assert free_columns(X, (y > 1).astype(int), list("abc"))[0] == ()


def small_cohort():
    rows = []
    for pid, grades in {"a": [0, 0, 2, 1], "b": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "c": [0, 3], "d": [1, 0, 0]}.items():
        rows += [(pid, 24.0 * d, 24.0 * (d + 1), "ICANS", "ASTCT", float(g)) for d, g in enumerate(grades)]
    grades = pd.DataFrame(rows, columns=["patient_id", "time_h", "available_h", "toxicity", "scheme", "grade"])
    events = pd.DataFrame({"patient_id": ["c"], "time_h": 60.0, "available_h": 60.0, "event": "death"})
    patients = pd.DataFrame({"patient_id": list("abcd")})
    return make("small", {"patients": patients, "grades": grades, "events": events})


def test_worst_grades_of_four_patients():
    found = worst_grades(small_cohort(), Task("any"), (24.0,), WEEK).set_index("patient_id")
    assert found["grade"].to_dict() == {"a": 2, "b": 0, "c": 3}  # d has had its event by hour 24
    assert found["weight"].gt(0).to_dict() == {"a": False, "b": True, "c": True}  # a leaves, c dies
    everybody = worst_grades(small_cohort(), Task("any"), (24.0,), WEEK, free_only=False).set_index("patient_id")
    assert everybody.loc["d", "grade"] == 0
    short = worst_grades(small_cohort(), Task("any"), (24.0,), Horizon(24.0)).set_index("patient_id")
    assert short["grade"].to_dict() == {"a": 0, "b": 0, "c": 3}
    assert (short["weight"] == 1).all()


@pytest.fixture(scope="module")
def rows():
    cohort = simulated(200, seed=11, signal=2.0)
    grades = worst_grades(cohort, TASKS["icans_any"], (48.0, 96.0), WEEK)
    plan = grades[["patient_id", "landmark_h"]]
    spec = FeatureSpec(scores=(), statistics=(), windows_d=()).resolve(cohort)
    return features_at(cohort, plan, plan["landmark_h"].to_numpy(), spec), grades


@pytest.mark.parametrize("link", ["cumulative", "adjacent"])
def test_grades_of_the_ladder(rows, link):
    table, grades = rows
    model = OrdinalGrades(link, penalties=(1.0, 0.1), inner_folds=3)
    fitted = model.fit(table, grades, seed=2)
    chance = fitted.predict(table)
    np.testing.assert_allclose(chance.sum(axis=1), 1.0)
    known = grades["weight"].to_numpy() > 0
    observed = np.average(grades["grade"].to_numpy()[known] >= 1, weights=grades["weight"].to_numpy()[known])
    assert fitted.chance(table, 1).mean() == pytest.approx(observed, abs=0.06)
    assert (fitted.chance(table, 1) >= fitted.chance(table, 2)).all()
    risk, some = fitted.chance(table, 1)[known], grades["grade"].to_numpy()[known] >= 1
    assert np.mean(risk[some][:, None] > risk[~some][None, :]) > 0.65
    again = from_parts(*travelled(to_parts(fitted)))
    np.testing.assert_array_equal(again.predict(table), chance)
    pd.testing.assert_frame_equal(again.reasons(table), fitted.reasons(table))
    np.testing.assert_array_equal(model.fit(table, grades, seed=2).predict(table), chance)


def test_without_effects_grades_are_those_of_the_landmark(rows):
    table, grades = rows
    fitted = OrdinalGrades(penalties=(1e6,)).fit(table, grades)
    mine = (grades["landmark_h"] == 48.0).to_numpy()
    count = np.bincount(grades["grade"][mine], grades["weight"][mine], 6)
    np.testing.assert_allclose(fitted.predict(table)[mine][0], count / count.sum(), atol=0.03)


def test_rare_grades_join_the_next_lower_and_one_grade_is_refused(rows):
    table, grades = rows
    rare = grades.assign(grade=np.where(grades["grade"] > 0, 1, 0))
    rare.loc[rare["patient_id"].isin(rare["patient_id"].unique()[:3]), "grade"] = 4
    fitted = OrdinalGrades(penalties=(0.1,)).fit(table, rare)
    assert fitted.top == 1
    with pytest.raises(NotEstimableError, match="same worst grade"):
        OrdinalGrades().fit(table, grades.assign(grade=0))
    tested = OrdinalGrades(penalties=(0.1,), free="test").fit(table, grades)
    assert "(all)" in set(tested.tested["column"])


def test_cross_validated_grades_are_ordinal_predictions_of_unseen_patients():
    from icans.evaluate.ordinal import ordinal_scores

    cohort = simulated(90, seed=12, signal=2.0)
    models = {"reference": GRADES_OF_RISK_SET, "odds": OrdinalGrades(penalties=(0.3,))}
    spec = FeatureSpec(scores=(), statistics=(), windows_d=())
    found, fits = cross_validate_grades(cohort, TASKS["icans_any"], (72.0,), WEEK, models, spec=spec, folds=3)
    assert (fits["error"] == "").all()
    assert len(found) == 2 * found["patient_id"].nunique()
    again, _ = cross_validate_grades(cohort, TASKS["icans_any"], (72.0,), WEEK, models, spec=spec, folds=3)
    pd.testing.assert_frame_equal(found, again)
    scores = ordinal_scores(found, n_boot=2).set_index(["model", "metric"])["value"]
    assert scores["odds", "rps"] < scores["reference", "rps"]
    with pytest.raises(NotEstimableError, match="fewer than 3 folds"):
        cross_validate_grades(cohort.subset(cohort.patient_ids[:2]), TASKS["icans_any"], (72.0,), WEEK, folds=3)
