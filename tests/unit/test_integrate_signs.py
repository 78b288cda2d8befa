"""Signs: what is held is held, what agrees is left alone, and the bounded fit is the constrained optimum."""

from __future__ import annotations

import numpy as np
import pytest

from icans.forecast.integrate.signs import SignedLogistic, bounded, sign_of, signs
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.ridge import RidgeLogistic, expit, fit_path
from integrate_tables import HORIZONS, QUICK, truth


def test_signs_are_found_for_values_and_not_for_slopes_or_categories():
    assert sign_of("lab.ferritin.last") == 1
    assert sign_of("lab.platelets.min_3d") == -1
    assert sign_of("grade.CRS.max") == 1
    assert [sign_of(c) for c in ("lab.ferritin.slope_3d", "static.sex=male", "day", "drug.steroid.given")] == [0] * 4
    assert sign_of("lab.il_6@csf.last") == 1
    assert set(signs().values()) == {1, -1}


def test_a_sign_against_the_data_leaves_the_value_out():
    data = truth(220, 31, effects={"lab.ferritin.last": -0.9, "lab.crp.last": 0.9}, missing=0.0)
    free = LastValueLogistic(**QUICK).fit(data.table, data.outcome, HORIZONS, 1)
    held = SignedLogistic(LastValueLogistic(**QUICK)).fit(data.table, data.outcome, HORIZONS, 1)
    at = held.names.index("lab.ferritin.last")
    for horizon in HORIZONS:
        assert free.models[horizon].coefficients[at] < -0.2
        assert held.models[horizon].coefficients[at] == 0.0
        assert held.models[horizon].coefficients[held.names.index("lab.crp.last")] > 0.2
    agrees = SignedLogistic(LastValueLogistic(**QUICK), {"ferritin": -1, "crp": 1})
    same = agrees.fit(data.table, data.outcome, HORIZONS, 1)
    assert np.array_equal(same.predict(data.table, HORIZONS[0]), free.predict(data.table, HORIZONS[0]))


def test_the_bounded_fit_meets_the_conditions_of_an_optimum():
    """Without bounds it is the ridge fit; with them the gradient is zero inside and points outwards at a bound."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 4))
    y = (rng.random(300) < expit(X @ np.array([1.0, -0.8, 0.5, 0.0]) - 0.5)).astype(float)
    w = np.ones(300)
    ridge = fit_path(X, y, w, (0.05,))[0]
    start = RidgeLogistic(0.0, np.zeros(4), 0.05)
    plain = bounded(X, y, w, start, np.zeros(4, dtype=int), np.zeros(300))
    assert plain.coefficients == pytest.approx(ridge.coefficients, abs=1e-4)
    held = bounded(X, y, w, start, np.array([1, 1, 1, -1]), np.zeros(300))
    gradient = X.T @ (expit(held.logit(X)) - y) / 300 + 0.05 * held.coefficients
    assert held.coefficients[1] == 0.0
    assert gradient[1] > 0.01
    inside = held.coefficients != 0
    assert np.abs(gradient[inside]).max() < 1e-4
