"""Censoring, incidence and weights against lifelines and closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from icans.core.random import stream
from icans.forecast.incidence import MAX_WEIGHT, censoring, incidence, ipcw, supported


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times on a coarse grid (many ties), about half events, a tenth competing."""
    rng = stream(seed, "incidence")
    return 24.0 * rng.integers(1, 12, n), rng.choice([0, 1, 2], n, p=[0.4, 0.5, 0.1])


@pytest.mark.parametrize("seed", range(4))
def test_incidences_of_both_causes_add_up_to_one_minus_kaplan_meier_of_lifelines(seed):
    from lifelines import KaplanMeierFitter

    time, event = sample(80, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lifelines warns about its own pandas calls
        survival = KaplanMeierFitter().fit(time, event > 0).survival_function_at_times(time).to_numpy()
    both = incidence(time, event)(time) + incidence(time, event, cause=2)(time)
    np.testing.assert_allclose(both, 1 - survival, atol=1e-12)


def test_incidence_agrees_with_lifelines_without_ties():
    from lifelines import AalenJohansenFitter

    rng = stream(9, "no ties")
    time, event = rng.permutation(np.arange(1.0, 61.0)), rng.choice([0, 1, 2], 60, p=[0.3, 0.5, 0.2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = AalenJohansenFitter().fit(time, event, event_of_interest=1).cumulative_density_
    at = oracle.index.to_numpy()
    np.testing.assert_allclose(incidence(time, event)(at), oracle.iloc[:, 0].to_numpy(), atol=1e-12)


def test_censoring_counts_the_censored_after_events_of_the_same_time():
    # At 24 h one event and one censored among four: G drops by 1/3, not 1/4.
    curve = censoring([24.0, 24.0, 48.0, 72.0], [1, 0, 1, 0])
    assert curve.just_before(24.0) == 1.0
    assert float(curve(24.0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("window", [48.0, 120.0, 200.0])
def test_weighted_share_of_events_is_the_aalen_johansen_incidence(window):
    time, event = sample(400, 5)
    y, weight = ipcw(time, event, window)
    assert (weight * y).sum() / len(time) == pytest.approx(float(incidence(time, event)(window)), abs=1e-10)
    assert weight.sum() / len(time) == pytest.approx(1.0, abs=1e-10)


def test_weights_never_exceed_the_cap_and_windows_end_at_support():
    time = np.r_[np.full(5, 24.0), np.full(95, 48.0), 240.0]
    event = np.r_[np.ones(5, int), np.zeros(95, int), 1]
    assert supported(time, event) == 48.0
    y, weight = ipcw(time, event, 240.0)
    assert weight.max() <= MAX_WEIGHT
    assert y.sum() == 5  # the lone event of day 10 lies beyond what can be learned
    assert supported([1.0, 2.0], [1, 1]) == np.inf


def test_strata_have_their_own_censoring():
    time, event = np.array([10.0, 20, 20, 20, 20, 20]), np.array([0, 1, 0, 0, 1, 0])
    strata = np.array([0, 0, 0, 1, 1, 1])
    _, weight = ipcw(time, event, 15.0, strata)
    assert weight.tolist() == pytest.approx([0.0, 1.5, 1.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("seed", range(4))
def test_what_models_learn_from_and_are_judged_by_is_the_same_curve(seed):
    """The plain curves of the forecasts and the resampled ones of the evaluation."""
    from icans.evaluate.censoring import aalen_johansen, censoring_curve, horizon_status

    time, event = sample(90, seed)
    grid = np.arange(0.0, 300.0, 12.0)
    np.testing.assert_allclose(censoring(time, event)(grid), censoring_curve(time, event).at(grid), atol=1e-14)
    before = censoring_curve(time, event).before(grid)
    np.testing.assert_allclose(censoring(time, event).just_before(grid), before, atol=1e-14)
    for cause in (1, 2):
        ours, theirs = incidence(time, event, cause)(grid), aalen_johansen(time, event, cause=cause).at(grid)
        np.testing.assert_allclose(ours, theirs, atol=1e-14)
    window = min(120.0, supported(time, event))
    status, weight = ipcw(time, event, window)
    judged = horizon_status(time, event, window)
    np.testing.assert_allclose(weight, judged.total, atol=1e-12)
    np.testing.assert_allclose(weight * status, judged.case, atol=1e-12)
