"""Metrics on cases small enough to work out by hand, and what happens where nothing can be estimated."""

from __future__ import annotations

import numpy as np
import pytest

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate import brier, calibration, censoring, discrimination, net_benefit, smooth

TIME = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
EVENT = np.array([1, 0, 2, 0, 1])


def test_curves_by_hand() -> None:
    """At 2 an event precedes a censoring: 4 at risk for the competing event, then 3 for the censoring."""
    free = censoring.kaplan_meier(TIME, EVENT)
    np.testing.assert_allclose(free.at([0.5, 1, 2, 3, 4]), [1, 4 / 5, 4 / 5 * 3 / 4, 3 / 5, 0])
    lost = censoring.censoring_curve(TIME, EVENT)
    np.testing.assert_allclose(lost.at([1, 2, 3, 4]), [1, 2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(lost.before([2, 3]), [1, 2 / 3])
    np.testing.assert_allclose(censoring.aalen_johansen(TIME, EVENT).at([1, 3, 4]), [1 / 5, 1 / 5, 1 / 5 + 3 / 5])
    np.testing.assert_allclose(censoring.aalen_johansen(TIME, EVENT, cause=2).at(4), [1 / 5])


def test_weights_by_hand() -> None:
    """By 3: a case, a competing event (control), two event-free (G(3-) = 2/3), one lost at 2."""
    status = censoring.horizon_status(TIME, EVENT, 3.0)
    np.testing.assert_allclose(status.case, [1, 0, 0, 0, 0])
    np.testing.assert_allclose(status.control, [0, 0, 1, 1.5, 1.5])
    assert status.total.sum() == pytest.approx(5)
    assert status.incidence == pytest.approx(1 / 5)


def test_everybody_censored_at_the_horizon_is_known_there() -> None:
    time, event = np.array([1.0, 5, 5, 5]), np.array([1, 0, 0, 0])
    np.testing.assert_allclose(censoring.horizon_status(time, event, 5.0).control, [0, 1, 1, 1])


def test_a_horizon_beyond_follow_up_is_refused_or_missing() -> None:
    status = censoring.horizon_status([1.0, 2.0, 3.0], [1, 0, 0], 9.0)
    assert np.isnan(status.total).all()
    with pytest.raises(NotEstimableError, match="nobody was followed"):
        censoring.require_status(status, 9.0)
    weights = np.array([[1, 1, 1, 1], [2, 1, 1, 0]])
    batch = censoring.horizon_status([1.0, 2.0, 3.0, 9.0], [1, 0, 0, 0], 9.0, weights)
    assert np.isfinite(batch.total[0]).all()
    assert np.isnan(batch.total[1]).all()
    no_case = censoring.horizon_status([5.0, 5.0], [0, 0], 5.0)
    with pytest.raises(NotEstimableError, match="no event by"):
        censoring.require_status(no_case, 5.0)


def test_pseudo_values_without_censoring_are_the_status() -> None:
    np.testing.assert_allclose(censoring.pseudo_values([1.0, 2, 3, 4], [1, 2, 1, 1], 3.5), [1, 0, 1, 0], atol=1e-12)


def test_auc_by_hand() -> None:
    assert discrimination.auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8]) == pytest.approx(3.5 / 4)
    assert discrimination.auroc([0, 1], [0.5, 0.5]) == 0.5
    assert np.isnan(discrimination.auroc([1, 1], [0.1, 0.2]))
    assert discrimination.average_precision([0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6]) == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_a_competing_event_is_a_control() -> None:
    """Cases 0.6; controls: competing at 0.8 (higher), free at 0.1 (lower)."""
    auc = discrimination.cumulative_dynamic_auc([1.0, 1.5, 9.0], [1, 2, 0], [0.6, 0.8, 0.1], 3.0)
    assert auc == pytest.approx(0.5)


def test_concordance_with_a_competing_event_counts_it_as_never() -> None:
    time, event, risk = [2.0, 1.0, 5.0], [1, 2, 0], [0.7, 0.9, 0.2]
    assert discrimination.harrell_c(time, event, risk) == pytest.approx(0.5)
    assert discrimination.uno_c(time, event, risk, 3.0) == pytest.approx(0.5)
    assert np.isnan(discrimination.harrell_c(time, event, risk, horizon=1.5))


def test_pairs_of_the_same_fold_only() -> None:
    """Within folds forecasts are perfect; between them they are not."""
    case, risk = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.2, 0.1])
    fold = np.array([0, 0, 1, 1])
    assert discrimination.stratified_auc(risk, case, 1 - case, fold) == 1.0
    assert discrimination.auroc(case, risk) == 0.75


def test_ranked_probability_score_by_hand() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    expected = ((0.2**2 + 0.3**2) / 2 + 0.0) / 2  # outcome 1: cumulative 0.2, 0.7 against 0, 1; outcome 2: perfect
    assert discrimination.ranked_probability_score([1, 2], p) == pytest.approx(expected)
    two = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert discrimination.ranked_probability_score([0, 0], two) == pytest.approx(brier.brier([0, 0], two[:, 1]))
    with pytest.raises(ValueError, match="add up to 1"):
        discrimination.ranked_probability_score([0], [[0.5, 0.6]])
    with pytest.raises(ValueError, match="categories 0 to 1"):
        discrimination.ranked_probability_score([2], [[0.5, 0.5]])


def test_brier_by_hand() -> None:
    assert brier.brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert brier.scaled_brier([1, 0, 1, 0], [0.5] * 4) == pytest.approx(0.0)
    assert brier.scaled_brier([1, 0, 1, 0], [1, 0, 1, 0]) == 1.0
    assert brier.ipcw_scaled_brier(TIME, EVENT, np.full(5, 0.2), 3.0) == pytest.approx(0.0)
    steady = np.full((5, 3), 0.2)
    average = brier.integrated_brier(TIME, EVENT, steady, [1.0, 2.0, 3.0])
    assert average == pytest.approx(0.16)  # the incidence is 0.2 at each of them


def test_calibration_by_hand() -> None:
    y = np.repeat([1, 0, 1, 0], [20, 80, 60, 40])
    risk = np.repeat([0.2, 0.6], 100)
    found = calibration.binary_calibration(y, risk)
    assert found.oe == pytest.approx(1)
    assert found.intercept == pytest.approx(0, abs=1e-6)
    assert found.slope == pytest.approx(1, abs=1e-6)
    assert found.ici == pytest.approx(0, abs=1e-6)
    halved = calibration.binary_calibration(y, risk / 2)
    assert halved.oe == pytest.approx(2)
    assert halved.difference == pytest.approx(0.2)
    assert halved.ici == pytest.approx(0.2, abs=1e-6)


def test_calibration_slope_of_exaggerated_forecasts_is_the_factor() -> None:
    lp = stream(1, "slope").normal(-1, 1, 4000)
    p = 1 / (1 + np.exp(-lp))
    y = (stream(2, "slope").random(4000) < p).astype(int)
    one = calibration.binary_calibration(y, p)
    doubled = calibration.binary_calibration(y, 1 / (1 + np.exp(-2 * lp)))
    assert doubled.slope == pytest.approx(float(one.slope) / 2, rel=1e-6)
    spline = calibration.binary_calibration(y, p, smoother="spline")
    assert spline.ici < 0.03
    assert calibration.binary_calibration(y, 1 / (1 + np.exp(-2 * lp)), smoother="spline").ici > 0.06


def test_what_calibration_cannot_say_is_missing() -> None:
    constant = calibration.binary_calibration([0, 1, 0, 1], [0.4] * 4)
    assert np.isnan(constant.slope)
    assert np.isfinite(constant.intercept)
    separated = calibration.binary_calibration([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert np.isnan(separated.slope)
    none = calibration.binary_calibration([0, 0, 0], [0.1, 0.2, 0.3])
    assert np.isnan(none.intercept)
    assert none.oe == 0


def test_risk_groups_cover_all_and_intervals_are_wilsons_without_censoring() -> None:
    rng = stream(3, "groups")
    risk = rng.random(200)
    event = np.where(rng.random(200) < risk, 1, 0)
    time = np.where(event == 1, 1.0, 5.0)
    table = calibration.risk_groups(time, event, risk, 5.0, groups=4)
    assert table["n"].sum() == 200
    assert table["expected"].is_monotonic_increasing
    first = table.iloc[0]
    low, high = calibration.wilson(first["observed"], first["n"])
    assert first["observed"] == pytest.approx(first["events"] / first["n"])
    assert (first["low"], first["high"]) == (pytest.approx(low), pytest.approx(high))
    same = calibration.risk_groups(time, event, np.full(200, 0.5), 5.0)
    assert same["n"].tolist() == [200]


def test_wilson_by_hand() -> None:
    """Newcombe RG, Stat Med 1998;17:857, table I: 81/263 gives 0.2553 to 0.3662, 0/20 gives 0 to 0.1611."""
    assert calibration.wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert calibration.wilson(0.0, 20) == (0.0, pytest.approx(0.1611, abs=5e-5))


def test_censoring_widens_the_interval_of_an_incidence() -> None:
    rng = stream(4, "incidence")
    time, censor = rng.exponential(2, 150), rng.exponential(1, 150)
    full = calibration.incidence_interval(time, np.ones(150), 1.0)
    cut = calibration.incidence_interval(np.minimum(time, censor), (time <= censor).astype(int), 1.0)
    assert cut[2] - cut[1] > full[2] - full[1]
    assert calibration.incidence_interval([0.5, 0.6], [0, 0], 1.0) == (0.0, 0.0, 1.0)


def test_net_benefit_by_hand() -> None:
    """10 patients, 3 cases; at 0.2 five are flagged, two of them cases: 0.2 - 0.3 * 0.25."""
    y = [1, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    risk = [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert net_benefit.binary_net_benefit(y, risk, [0.2])[0] == pytest.approx(0.2 - 0.3 * 0.25)
    assert net_benefit.treat_all(np.array(0.3), [0.2])[0] == pytest.approx(0.3 - 0.7 * 0.25)
    with pytest.raises(ValueError, match="between 0 and 1"):
        net_benefit.binary_net_benefit(y, risk, [1.0])


def test_both_ways_of_net_benefit_agree_without_censoring() -> None:
    rng = stream(5, "benefit")
    risk = rng.random(90)
    event = rng.choice([1, 2], 90)
    time = rng.random(90) * 3
    one = net_benefit.net_benefit(time, event, risk, 1.5, [0.1, 0.4])
    np.testing.assert_allclose(one, net_benefit.net_benefit(time, event, risk, 1.5, [0.1, 0.4], method="flagged"))
    np.testing.assert_allclose(one, net_benefit.binary_net_benefit((event == 1) & (time <= 1.5), risk, [0.1, 0.4]))


def test_decision_curve_table() -> None:
    rng = stream(6, "decision")
    risk = rng.random(80)
    event = (rng.random(80) < risk).astype(int)
    time = np.where(event == 1, 1.0, 4.0)
    counts = rng.multinomial(80, np.full(80, 1 / 80), size=50)
    table = net_benefit.decision_curve(time, event, risk, 4.0, [0.1, 0.2, 0.3], counts)
    assert len(table) == 9
    model = table[table["strategy"] == "model"]
    assert ((model["low"] <= model["net_benefit"]) & (model["net_benefit"] <= model["high"])).all()
    assert (table.loc[table["strategy"] == "none", "net_benefit"] == 0).all()
    assert model["flagged"].is_monotonic_decreasing
    assert net_benefit.decision_curve(time, event, risk, 4.0, [0.1])["low"].isna().all()


def test_lowess_reproduces_a_straight_line_and_survives_ties() -> None:
    x = np.linspace(0, 1, 40)
    np.testing.assert_allclose(smooth.lowess(x, 2 * x + 1), 2 * x + 1)
    tied = np.repeat([0.2, 0.7], 30)
    y = np.r_[np.zeros(15), np.ones(45)]
    np.testing.assert_allclose(smooth.lowess(tied, y, span=0.4), np.repeat([0.5, 1.0], 30))
    np.testing.assert_allclose(smooth.lowess(np.full(10, 0.3), np.arange(10.0)), 4.5)


def test_many_points_are_interpolated_within_a_thousandth() -> None:
    rng = stream(7, "smooth")
    x = rng.random(900)
    y = (rng.random(900) < x**2).astype(float)
    exact = smooth.LocalLinear(x[:150])
    assert len(exact.points) == 150
    coarse = smooth.LocalLinear(x)
    assert len(coarse.points) <= smooth.MAX_EVALUATIONS
    at = np.sort(x)
    fine = np.concatenate(
        [smooth.LocalLinear(x, at=at[k : k + 150]).curve(y, np.ones(900)) for k in range(0, 900, 150)]
    )
    np.testing.assert_allclose(coarse.fitted(coarse.curve(y, np.ones(900)), at), fine, atol=1e-3)


@pytest.mark.parametrize(
    ("time", "event", "match"),
    [
        ([1.0], [3], "0 .censored"),
        ([-1.0], [0], "not negative"),
        ([np.nan], [0], "finite"),
        ([1.0, 2.0], [1], "equally"),
    ],
)
def test_bad_outcomes_are_refused(time: list, event: list, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        censoring.check_outcome(time, event)


def test_bad_forecasts_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="0-1"):
        brier.brier([0, 1], [0.5, 1.5])
    with pytest.raises(ValueError, match="finite"):
        discrimination.auroc([0, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match="shape"):
        discrimination.auroc([0, 1], [0.5])
    with pytest.raises(ValueError, match="0 and 1 only"):
        discrimination.auroc([0, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="not negative"):
        discrimination.auroc([0, 1], [0.5, 0.6], [-1, 1])
    with pytest.raises(ValueError, match="weights must have shape"):
        discrimination.auroc([0, 1], [0.5, 0.6], [1, 1, 1])
    with pytest.raises(ValueError, match="horizon must be positive"):
        censoring.horizon_status([1.0], [1], 0.0)
    with pytest.raises(ValueError, match="rise"):
        brier.integrated_brier([1.0, 2.0], [1, 0], np.zeros((2, 1)), [1.0])
