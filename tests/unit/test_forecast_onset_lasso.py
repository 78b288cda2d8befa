"""The lasso path and the published rival's onset hazard as a rung."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.discrimination import auroc
from icans.forecast.dataset import examples_for
from icans.forecast.features import FeatureSpec
from icans.forecast.filters.lasso import fit_lasso, lasso_path
from icans.forecast.filters.rung import OnsetLasso, from_parts, largest_so_far
from icans.forecast.outcomes import TASKS, Horizon, outcome_table

HORIZONS = (Horizon(72.0), Horizon(168.0))


def test_a_path_equals_another_solver():
    rng = stream(1, "lasso")
    X = rng.normal(size=(200, 5))
    y = (rng.random(200) < 1 / (1 + np.exp(-(X[:, 0] - 0.5 * X[:, 1] - 1)))).astype(float)
    for penalty, ours in zip((0.1, 0.01), lasso_path(X, y, np.array([0.1, 0.01])), strict=True):
        other = LogisticRegression(
            l1_ratio=1.0, C=1.0 / (penalty * 200), solver="saga", tol=1e-8, max_iter=20000
        ).fit(X, y)  # fmt: skip
        np.testing.assert_allclose(ours.coefficients, other.coef_[0], atol=1e-4)
        assert ours.intercept == pytest.approx(other.intercept_[0], abs=1e-4)


def test_noise_is_left_out_and_one_outcome_is_refused():
    rng = stream(2, "lasso")
    X = rng.normal(size=(300, 6))
    y = (rng.random(300) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(float)
    fold = np.arange(300) % 5
    kept = np.abs(fit_lasso(X, y, fold, 5).coefficients)
    assert kept[0] > 1.0
    assert kept[1:].max() < 0.3
    with pytest.raises(NotEstimableError, match="same outcome"):
        fit_lasso(X, np.zeros(300), fold, 5)


@pytest.fixture(scope="module")
def fitted():
    data = {}
    for name, seed in (("train", 1), ("test", 2)):
        cohort = simulated(150, seed, signal=3.0)
        outcome = outcome_table(cohort, TASKS["icans_any"], [72.0, 120.0])
        data[name] = examples_for(cohort, TASKS["icans_any"], outcome, FeatureSpec(scores=()), stream=True)
    model = OnsetLasso().fit(data["train"].inputs, data["train"].outcome, HORIZONS, seed=1)
    return model, data["test"]


def test_it_ranks_and_calibrates_patients_it_has_not_seen(fitted):
    model, test = fitted
    risk = model.predict(test.inputs, HORIZONS[0])
    event = (test.outcome["event"] == 1) & (test.outcome["time_h"] <= 72.0)
    assert auroc(event.to_numpy(dtype=float), risk) > 0.65
    assert risk.mean() == pytest.approx(event.mean(), abs=0.1)
    assert (model.predict(test.inputs, HORIZONS[1]) >= risk).all()


def test_largest_so_far_is_what_was_known(fitted):
    model, test = fitted
    values = largest_so_far(test.inputs, model.channels)
    column = model.channels.index("lab.crp")
    expected = test.table["lab.crp.max_all"].to_numpy(dtype=float)
    np.testing.assert_allclose(values[:, column], expected)


def test_parts_make_the_same_model_and_reasons_add_up(fitted):
    model, test = fitted
    again = from_parts(*model.to_parts())
    np.testing.assert_array_equal(again.predict(test.inputs, HORIZONS[0]), model.predict(test.inputs, HORIZONS[0]))
    parts = model.reasons(test.inputs, HORIZONS[0]).sum(axis=1).to_numpy()
    hazard = model.predict(test.inputs, 24.0)
    np.testing.assert_allclose(model.hazard.lasso.intercept + parts, np.log(hazard / (1 - hazard)), atol=1e-6)
    with pytest.raises(NotEstimableError, match="stream"):
        OnsetLasso().fit(test.table, test.outcome, HORIZONS)
