"""Our metrics against scikit-learn, scikit-survival, lifelines, statsmodels, SciPy and dcurves."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from icans.core.random import stream
from icans.evaluate import brier, calibration, censoring, discrimination, net_benefit, smooth


def survival_data(n: int = 300, seed: int = 1, ties: bool = False) -> tuple[NDArray, NDArray, NDArray]:
    """Times, event codes 0/1 and risks at horizon 1."""
    rng = stream(seed, "survival")
    lp = rng.normal(size=n)
    event = rng.exponential(1 / np.exp(lp - 0.5))
    censor = rng.exponential(2.0, n)
    time = np.minimum(event, censor)
    if ties:
        time = np.ceil(time * 8) / 8
    risk = 1 - np.exp(-np.exp(lp * 0.8 - 0.3))
    return time, (event <= censor).astype(int), risk


def binary_data(n: int = 240, seed: int = 2, digits: int = 2) -> tuple[NDArray, NDArray]:
    rng = stream(seed, "binary")
    risk = np.round(rng.beta(2, 4, n), digits)
    return (rng.random(n) < risk**0.8).astype(int), risk


def test_auroc_average_precision_and_brier_equal_sklearn_with_ties_and_weights() -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    y, risk = binary_data(digits=1)
    w = stream(3, "w").integers(0, 4, len(y)).astype(float)
    for weights in (None, w):
        options = {"sample_weight": weights}
        assert discrimination.auroc(y, risk, weights) == pytest.approx(roc_auc_score(y, risk, **options), abs=1e-12)
        expected = average_precision_score(y, risk, **options)
        assert discrimination.average_precision(y, risk, weights) == pytest.approx(expected, abs=1e-12)
        assert brier.brier(y, risk, weights) == pytest.approx(brier_score_loss(y, risk, **options), abs=1e-12)


def test_curves_equal_lifelines_and_sksurv() -> None:
    from lifelines import AalenJohansenFitter, KaplanMeierFitter
    from sksurv.nonparametric import CensoringDistributionEstimator
    from sksurv.util import Surv

    time, event, _ = survival_data(ties=True)
    grid = np.arange(0.1, 2.0, 0.3)
    peer = KaplanMeierFitter().fit(time, event).survival_function_at_times(grid)
    np.testing.assert_allclose(censoring.kaplan_meier(time, event).at(grid), peer, atol=1e-12)
    censored = CensoringDistributionEstimator().fit(Surv.from_arrays(event.astype(bool), time))
    np.testing.assert_allclose(
        censoring.censoring_curve(time, event).at(grid), censored.predict_proba(grid), atol=1e-12
    )

    untied, cause, _ = survival_data(80)
    cause = np.where((cause == 1) & (np.arange(80) % 3 == 0), 2, cause)
    for code in (1, 2):
        fitted = AalenJohansenFitter(calculate_variance=False).fit(untied, cause, event_of_interest=code)
        ours = censoring.aalen_johansen(untied, cause, cause=code).at(grid)
        np.testing.assert_allclose(ours, fitted.predict(grid).to_numpy().ravel(), atol=1e-12)


@pytest.mark.parametrize("horizon", [0.31, 0.77, 1.3])
def test_dynamic_auc_and_brier_equal_sksurv(horizon: float) -> None:
    from sksurv.metrics import brier_score, cumulative_dynamic_auc
    from sksurv.util import Surv

    time, event, risk = survival_data()
    outcome = Surv.from_arrays(event.astype(bool), time)
    peer, _ = cumulative_dynamic_auc(outcome, outcome, risk, [horizon])
    assert discrimination.cumulative_dynamic_auc(time, event, risk, horizon) == pytest.approx(peer[0], abs=1e-9)
    _, score = brier_score(outcome, outcome, 1 - risk[:, None], [horizon])
    assert brier.ipcw_brier(time, event, risk, horizon) == pytest.approx(score[0], abs=1e-9)


def test_integrated_brier_equals_sksurv() -> None:
    from sksurv.metrics import integrated_brier_score
    from sksurv.util import Surv

    time, event, risk = survival_data()
    outcome = Surv.from_arrays(event.astype(bool), time)
    grid = np.linspace(0.2, 1.4, 9)
    risks = 1 - (1 - risk[:, None]) ** grid
    peer = integrated_brier_score(outcome, outcome, 1 - risks, grid)
    assert brier.integrated_brier(time, event, risks, grid) == pytest.approx(peer, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_concordance_equals_sksurv(ties: bool) -> None:
    from sksurv.metrics import concordance_index_censored, concordance_index_ipcw
    from sksurv.util import Surv

    time, event, risk = survival_data(ties=ties)
    risk = np.round(risk, 2)
    horizon = 1.0
    cut, happened = np.minimum(time, horizon), (event == 1) & (time <= horizon)
    peer = concordance_index_censored(happened, cut, risk)[0]
    assert discrimination.harrell_c(time, event, risk, horizon) == pytest.approx(peer, abs=1e-12)
    if not ties:  # at ties it takes G at, not just before, the event
        outcome = Surv.from_arrays(event.astype(bool), time)
        peer = concordance_index_ipcw(outcome, outcome, risk, tau=horizon)[0]
        assert discrimination.uno_c(time, event, risk, horizon) == pytest.approx(peer, abs=1e-9)


def test_somers_d_equals_scipy() -> None:
    from scipy.stats import somersd

    rng = stream(4, "ordinal")
    y = rng.integers(0, 5, 120)
    score = np.round(y + rng.normal(0, 1.5, 120), 0)
    assert discrimination.somers_dxy(y, score) == pytest.approx(somersd(y, score).statistic, abs=1e-12)


@pytest.mark.parametrize("span", [0.3, 0.75])
def test_lowess_equals_statsmodels(span: float) -> None:
    from statsmodels.nonparametric.smoothers_lowess import lowess

    y, risk = binary_data(180, digits=8)
    peer = lowess(y, risk, frac=span, it=0, delta=0.0, return_sorted=False)
    np.testing.assert_allclose(smooth.lowess(risk, y, span), peer, atol=1e-8)


def test_ici_equals_its_definition_on_the_statsmodels_curve() -> None:
    from statsmodels.nonparametric.smoothers_lowess import lowess

    y, risk = binary_data(180, digits=8)
    distance = np.abs(np.clip(lowess(y, risk, frac=0.75, it=0, delta=0.0, return_sorted=False), 0, 1) - risk)
    ours = calibration.binary_calibration(y, risk)
    assert ours.ici == pytest.approx(distance.mean(), abs=1e-8)
    assert ours.e50 == pytest.approx(np.quantile(distance, 0.5, method="inverted_cdf"), abs=1e-8)
    assert ours.e90 == pytest.approx(np.quantile(distance, 0.9, method="inverted_cdf"), abs=1e-8)


def test_intercept_and_slope_equal_statsmodels() -> None:
    import statsmodels.api as sm

    y, risk = binary_data(digits=6)
    w = stream(3, "w").integers(0, 4, len(y)).astype(float)
    lp = calibration.logit(risk)
    ours = calibration.binary_calibration(y, risk, w)
    family = sm.families.Binomial()
    slope = sm.GLM(y, sm.add_constant(lp), family=family, freq_weights=w).fit().params[1]
    intercept = sm.GLM(y, np.ones((len(y), 1)), family=family, offset=lp, freq_weights=w).fit().params[0]
    assert ours.slope == pytest.approx(slope, abs=1e-6)
    assert ours.intercept == pytest.approx(intercept, abs=1e-6)


def test_spline_basis_equals_the_natural_spline_space() -> None:
    """The same column space as a natural cubic spline: fitted values of least squares agree with patsy's cr()."""
    import patsy

    x = np.sort(stream(5, "x").normal(size=200))
    y = np.sin(2 * x)
    knots = np.quantile(x, (0.05, 0.35, 0.65, 0.95))
    ours = np.column_stack([np.ones(200), smooth.restricted_cubic(x, knots)])
    inside = (x >= knots[0]) & (x <= knots[-1])
    peer = np.asarray(
        patsy.dmatrix(
            "cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1",
            {"x": x[inside], "inner": knots[1:-1], "low": knots[0], "high": knots[-1]},
        )
    )
    mine = ours[inside] @ np.linalg.lstsq(ours[inside], y[inside], rcond=None)[0]
    theirs = peer @ np.linalg.lstsq(peer, y[inside], rcond=None)[0]
    np.testing.assert_allclose(mine, theirs, atol=1e-8)


def test_net_benefit_equals_dcurves() -> None:
    from dcurves import dca

    y, risk = binary_data(digits=6)
    grid = list(net_benefit.THRESHOLDS)
    peer = dca(pd.DataFrame({"y": y, "m": risk}), "y", ["m"], thresholds=grid)
    mine = net_benefit.binary_net_benefit(y, risk, grid)
    np.testing.assert_allclose(mine, peer[peer["model"] == "m"].sort_values("threshold")["net_benefit"], atol=1e-9)
    every = peer[peer["model"] == "all"].sort_values("threshold")["net_benefit"]
    np.testing.assert_allclose(net_benefit.treat_all(np.array(y.mean()), grid), every, atol=1e-9)


def test_censored_net_benefit_equals_dcurves() -> None:
    from dcurves import dca

    time, event, risk = survival_data()
    grid = [0.1, 0.3, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = dca(
            pd.DataFrame({"y": event, "m": risk, "t": time}), "y", ["m"], thresholds=grid, time=0.8,
            time_to_outcome_col="t",
        )  # fmt: skip
    expected = peer[peer["model"] == "m"].sort_values("threshold")["net_benefit"]
    flagged = net_benefit.net_benefit(time, event, risk, 0.8, grid, method="flagged")
    np.testing.assert_allclose(flagged, expected, atol=1e-9)
    # Weighting by the censoring curve of all is another estimator of the same thing.
    np.testing.assert_allclose(net_benefit.net_benefit(time, event, risk, 0.8, grid), expected, atol=0.02)
