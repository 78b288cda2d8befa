"""Our penalised Cox model against lifelines, scikit-survival and statsmodels."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.cox import PenalisedCox, cause_specific_incidence


def simulated(n: int = 250, seed: int = 3, grid: float = 0.25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = stream(seed, "cox")
    x = rng.normal(size=(n, 4)) * [1.0, 2.0, 0.5, 1.0] + [0, 3, -1, 0]
    event = rng.exponential(1 / np.exp(x @ [0.7, -0.2, 0.4, 0.0] + 0.3))
    censor = rng.exponential(2.0, n)
    time = np.ceil(np.minimum(event, censor) / grid) * grid  # many ties
    return x, time, event <= censor


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("alpha", [0.01, 10.0])
def test_coefficients_and_survival_equal_sksurv(ties: str, alpha: float) -> None:
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    x, time, event = simulated()
    peer = CoxPHSurvivalAnalysis(alpha=alpha, ties=ties, n_iter=200, tol=1e-12).fit(x, Surv.from_arrays(event, time))
    ours = PenalisedCox(alpha, ties).fit(x, time, event)
    assert ours.converged
    np.testing.assert_allclose(ours.coefficients, peer.coef_, rtol=1e-6, atol=1e-8)
    grid = np.array([0.25, 0.5, 1.1, 2.0])
    theirs = np.array([f(grid) for f in peer.predict_survival_function(x[:9])])
    np.testing.assert_allclose(ours.predict_survival(x[:9], grid), theirs, atol=1e-7)


def test_unpenalised_efron_equals_lifelines_with_standard_errors() -> None:
    from lifelines import CoxPHFitter

    x, time, event = simulated()
    frame = pd.DataFrame(x, columns=list("abcd")).assign(time=time, event=event)
    peer = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    ours = PenalisedCox().fit(x, time, event)
    np.testing.assert_allclose(ours.coefficients, peer.params_, rtol=1e-6)
    errors = np.sqrt(np.diag(np.linalg.inv(ours.information)))
    np.testing.assert_allclose(errors, peer.standard_errors_, rtol=1e-6)
    assert ours.log_likelihood == pytest.approx(peer.log_likelihood_, abs=1e-6)


def test_strata_and_ridge_equal_lifelines() -> None:
    """lifelines divides the likelihood by n and standardises columns: penalizer = alpha / n."""
    from lifelines import CoxPHFitter

    x, time, event = simulated(160)
    strata = np.arange(160) % 3
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    frame = pd.DataFrame(x, columns=list("abcd")).assign(time=time, event=event, s=strata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = CoxPHFitter(penalizer=5 / 160).fit(frame, "time", "event", strata="s", fit_options={"precision": 1e-10})
    ours = PenalisedCox(5.0).fit(x, time, event, strata=strata)
    np.testing.assert_allclose(ours.coefficients, peer.params_, rtol=1e-5, atol=1e-7)
    grid = [0.5, 1.0]
    theirs = (
        peer.predict_survival_function(frame.head(6), times=grid)[list(range(6))].to_numpy().T
    )  # it sorts by stratum
    np.testing.assert_allclose(ours.predict_survival(x[:6], grid, strata[:6]), theirs, atol=1e-6)


def test_strata_equal_statsmodels() -> None:
    from statsmodels.duration.hazard_regression import PHReg

    x, time, event = simulated(160)
    strata = np.arange(160) % 3
    for ties in ("breslow", "efron"):
        peer = PHReg(time, x, event.astype(int), strata=strata, ties=ties).fit()
        ours = PenalisedCox(ties=ties).fit(x, time, event, strata=strata)
        np.testing.assert_allclose(ours.coefficients, peer.params, atol=1e-5)


def breslow_by_hand(eta, time, event, strata, weights):
    """Last height of each stratum's baseline, by a sum over each risk set in logarithms."""
    heights = {}
    for label in np.unique(strata):
        logs = []
        for i in np.flatnonzero((strata == label) & event & (weights > 0)):
            at_risk = (strata == label) & (time >= time[i]) & (weights > 0)
            logs.append(np.log(weights[i]) - np.logaddexp.reduce(eta[at_risk] + np.log(weights[at_risk])))
        heights[label] = np.exp(np.logaddexp.reduce(logs))
    return heights


@pytest.mark.parametrize("outlier", [40.0, 60.0, 400.0, 1e4])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_stratum_of_small_risks_behind_one_of_large_risks_keeps_its_own(outlier: float, alpha: float) -> None:
    """An outlier whose relative risk is beyond the precision of the sums; warnings are errors here."""
    rng = stream(4, "outlier")
    x = rng.normal(size=120)
    time, event, strata = rng.exponential(np.exp(-x)), rng.random(120) < 0.8, np.arange(120) % 2
    x[0], time[0], event[0] = outlier, time.min() / 2, True
    with_it = PenalisedCox(alpha).fit(x[:, None], time, event, strata=strata)
    assert with_it.converged
    # It dies first and was all but certain to: its term of the likelihood is 1 whatever the slope, and tells nothing.
    without = PenalisedCox(alpha).fit(x[1:, None], time[1:], event[1:], strata=strata[1:])
    np.testing.assert_allclose(with_it.coefficients, without.coefficients, rtol=1e-6)
    eta = np.clip(with_it.linear_predictor(x[:, None]), -300, 300)
    expected = breslow_by_hand(eta, time, event, strata, np.ones(120))
    for label, _, height in with_it.baseline:
        assert height[-1] == pytest.approx(expected[label], rel=1e-9)


def test_weights_of_zero_and_hardly_more_leave_no_empty_risk_set() -> None:
    x, time, event = simulated(90)
    strata = np.arange(90) % 3
    weights = np.where(time > np.median(time), 0.0, 1.0)
    weights[strata == 2] *= 1e-30
    fitted = PenalisedCox(1.0).fit(x, time, event, weights=weights, strata=strata)
    expected = breslow_by_hand(fitted.linear_predictor(x), time, event, strata, weights)
    for label, _, height in fitted.baseline:
        assert height[-1] == pytest.approx(expected[label], rel=1e-9)
    assert np.isfinite(fitted.predict_survival(x, [0.5, 5.0], strata)).all()


def test_separated_data_give_finite_hazards() -> None:
    x = np.r_[np.full(10, -1e3), np.full(10, 1e3)]
    time, event = np.r_[np.arange(11.0, 21.0), np.arange(1.0, 11.0)], np.ones(20)
    fitted = PenalisedCox(1e-9).fit(x[:, None], time, event)
    extreme = np.array([[-1e6], [0.0], [1e6]])
    assert np.isfinite(fitted.cumulative_hazard(extreme, [5.0, 30.0])).all()
    incidence = cause_specific_incidence([fitted, fitted], extreme, [5.0, 30.0])
    assert np.isfinite(incidence).all()
    assert (incidence.sum(axis=0) <= 1 + 1e-12).all()


def test_integer_weights_equal_copies_under_breslow() -> None:
    x, time, event = simulated(80)
    weights = stream(1, "w").integers(0, 4, 80)
    copies = np.repeat(np.arange(80), weights)
    weighted = PenalisedCox(1.0, "breslow").fit(x, time, event, weights=weights)
    copied = PenalisedCox(1.0, "breslow").fit(x[copies], time[copies], event[copies])
    np.testing.assert_allclose(weighted.coefficients, copied.coefficients, atol=1e-8)
    np.testing.assert_allclose(weighted.predict_survival(x, [0.7]), copied.predict_survival(x, [0.7]), atol=1e-8)


def test_closed_form_without_covariates_is_nelson_aalen() -> None:
    fitted = PenalisedCox().fit(np.empty((4, 0)), [1.0, 2.0, 2.0, 3.0], [1, 1, 0, 1])
    hazard = fitted.cumulative_hazard(np.empty((1, 0)), [0.5, 1.0, 2.5, 9.0])[0]
    np.testing.assert_allclose(hazard, [0, 1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3 + 1])


def test_closed_form_two_patients_per_event() -> None:
    """One binary covariate, one event in a risk set of one exposed and one not: l(b) = b - log(1 + e^b) - a b^2/2."""
    from scipy.optimize import brentq

    alpha = 0.4
    fitted = PenalisedCox(alpha).fit([[1.0], [0.0]], [1.0, 2.0], [1, 0])
    root = brentq(lambda b: 1 - 1 / (1 + np.exp(-b)) - alpha * b, 0, 10)
    assert fitted.coefficients[0] == pytest.approx(root, abs=1e-9)


def test_standardised_penalty_does_not_depend_on_units() -> None:
    x, time, event = simulated(100)
    one = PenalisedCox(20.0, standardise=True).fit(x, time, event)
    other = PenalisedCox(20.0, standardise=True).fit(x * [1, 10, 100, 0.1], time, event)
    np.testing.assert_allclose(one.predict_risk(x, 1.0), other.predict_risk(x * [1, 10, 100, 0.1], 1.0), atol=1e-7)


def test_cause_specific_incidence_without_covariates_is_aalen_johansen() -> None:
    from lifelines import AalenJohansenFitter

    rng = stream(5, "aj")
    time = rng.permutation(np.arange(1.0, 61.0))
    cause = rng.integers(0, 3, 60)
    models = [PenalisedCox().fit(np.empty((60, 0)), time, cause == k) for k in (1, 2)]
    ours = cause_specific_incidence(models, np.empty((1, 0)), [10.0, 30.0, 60.0])
    for k in (1, 2):
        peer = AalenJohansenFitter(calculate_variance=False).fit(time, cause, event_of_interest=k)
        theirs = peer.predict([10.0, 30.0, 60.0]).to_numpy().ravel()
        np.testing.assert_allclose(ours[k - 1, 0], theirs, atol=1e-9)


def test_what_cannot_be_estimated_is_said() -> None:
    x, time, event = simulated(30)
    with pytest.raises(NotEstimableError, match="at least one event"):
        PenalisedCox().fit(x, time, np.zeros(30))
    with pytest.raises(NotEstimableError, match="singular"):
        PenalisedCox().fit(np.c_[x, np.ones(30)], time, event)
    with pytest.raises(NotEstimableError, match="impute"):
        PenalisedCox().fit(np.where(x > 1, np.nan, x), time, event)
    with pytest.raises(ValueError, match="lengths differ"):
        PenalisedCox().fit(x, time[:-1], event)
    with pytest.raises(KeyError, match="stratum 9"):
        PenalisedCox(1.0).fit(x, time, event, strata=np.arange(30) % 2).predict_survival(x[:1], [1.0], [9])
    separated = PenalisedCox(0.01).fit(
        np.r_[np.zeros(5), np.ones(5)][:, None], np.arange(10.0, 0, -1), [0] * 5 + [1] * 5
    )
    assert np.isfinite(separated.coefficients).all()
