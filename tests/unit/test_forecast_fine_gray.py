"""The Fine-Gray model: against comprisk (which follows R's cmprsk), a plain Cox identity, and known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.cox import PenalisedCox
from icans.forecast.dataset import examples
from icans.forecast.fine_gray import FineGray, effects_on_incidence
from icans.forecast.incidence import incidence
from icans.forecast.outcomes import TASKS
from icans.forecast.preprocess import PrepareSpec


def bone_marrow():
    """35 patients after bone-marrow transplantation (Scrucca L et al., Bone Marrow Transplant 2007;40:381)."""
    from sksurv.datasets import load_bmt

    x, y = load_bmt()
    return x.to_numpy(dtype=float), y["ftime"].astype(float), y["status"].astype(int)


def made(seed=1, n=300, leave=0.3):
    """Known subdistribution hazard ratios (Fine and Gray's own recipe): incidence 1 - (1 - p (1 - e^-t))^exp(bx)."""
    rng = stream(seed, "fine-gray")
    x = rng.normal(size=(n, 2))
    ratio = np.exp(x @ np.array([0.7, -0.4]))
    ever = 1 - 0.4**ratio  # 1 - (1 - p)^ratio with p = 0.6
    first = rng.random(n) < ever
    u = rng.random(n) * ever
    own = -np.log(1 - (1 - (1 - u) ** (1 / ratio)) / 0.6)
    time = np.where(first, own, rng.exponential(1.0, n))
    stop = rng.exponential(1.0 / leave, n)
    return x, np.minimum(time, stop), np.where(time <= stop, np.where(first, 1, 2), 0)


def test_published_coefficient_of_the_bone_marrow_data():
    x, time, event = bone_marrow()
    assert FineGray().fit(x, time, event).coefficients[0] == pytest.approx(0.7652, abs=1e-4)


@pytest.mark.parametrize("rounded", [False, True], ids=["continuous", "ties"])
def test_coefficients_errors_and_incidence_are_those_of_comprisk(rounded):
    comprisk = pytest.importorskip("comprisk")
    x, time, event = made()
    if rounded:
        time = np.ceil(time * 5)
    ours = FineGray().fit(x, time, event)
    theirs, robust = (comprisk.FineGrayRegression(robust_se=r, gtol=1e-10).fit(
        x, comprisk.Surv.from_arrays(event=event, time=time)) for r in (False, True))  # fmt: skip
    np.testing.assert_allclose(ours.coefficients, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.inverse_information)), theirs.se_, atol=1e-6)
    np.testing.assert_allclose(ours.standard_errors, robust.se_, rtol=0.01)


def test_without_censoring_it_is_a_cox_model_whose_competing_rows_never_leave():
    x, time, event = made(2, leave=1e-9)
    assert (event > 0).all()
    ours = FineGray().fit(x, time, event)
    forever = np.where(event == 1, time, time.max() + 1)
    peer = PenalisedCox(ties="breslow").fit(x, forever, event == 1)
    np.testing.assert_allclose(ours.coefficients, peer.coefficients, atol=1e-7)
    at = np.quantile(time, [0.2, 0.8])
    np.testing.assert_allclose(ours.incidence(x, at), 1 - peer.predict_survival(x, at), atol=1e-8)


def test_known_ratios_are_found_and_intervals_cover_them():
    truth, inside, found = np.array([0.7, -0.4]), [], []
    for seed in range(40):
        fitted = FineGray().fit(*made(100 + seed, 250))
        found.append(fitted.coefficients)
        inside.append(np.abs(fitted.coefficients - truth) < 1.96 * fitted.standard_errors)
    np.testing.assert_allclose(np.mean(found, axis=0), truth, atol=0.06)
    assert 0.86 < np.mean(inside) <= 1.0
    x, _, _ = made(3)
    fitted = FineGray().fit(*made(4, 1500))
    expected = 1 - (1 - 0.6 * (1 - np.exp(-1.0))) ** np.exp(x @ truth)
    np.testing.assert_allclose(fitted.incidence(x, [1.0])[:, 0], expected, atol=0.08)


def test_without_columns_or_with_an_endless_ridge_it_is_next_to_the_aalen_johansen_curve():
    x, time, event = made(5)
    curve = float(incidence(time, event)(1.0))
    for fitted in (FineGray().fit(np.empty((300, 0)), time, event), FineGray(1e9).fit(x, time, event)):
        assert fitted.incidence(x[:, : len(fitted.centre)], [1.0])[0, 0] == pytest.approx(curve, abs=0.01)


def test_what_cannot_be_fitted_is_refused():
    x, time, event = made(6)
    with pytest.raises(NotEstimableError, match="no event"):
        FineGray().fit(x, time, np.where(event == 1, 0, event))
    with pytest.raises(NotEstimableError, match="singular"):
        FineGray().fit(np.column_stack([x, x[:, 0]]), time, event)
    with pytest.raises(ValueError, match="same length"):
        FineGray().fit(x, time[1:], event)


def test_the_table_to_report():
    data = examples(simulated(200, seed=2), TASKS["icans_any"], (72.0,))
    columns = ["lab.crp.last", "static.age_y"]
    table = effects_on_incidence(data.table, data.outcome, 72.0, columns, prepare=PrepareSpec())
    assert table["column"].tolist() == columns
    assert ((table["low"] < table["ratio"]) & (table["ratio"] < table["high"])).all()
    assert table["ratio"].iloc[0] > 1
    assert isinstance(table, pd.DataFrame)
    with pytest.raises(NotEstimableError, match="fewer than 5 for each"):
        effects_on_incidence(data.table, data.outcome, 72.0, data.table.columns.tolist())
