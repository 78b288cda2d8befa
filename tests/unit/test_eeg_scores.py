"""Scores: VE-CAM-S as published, and whole points that keep their order whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.signals.eeg.points import (
    VE_ICANS_ORDER,
    Order,
    fit_points,
    holds,
    order_basis,
    proportional_odds,
    read_points,
)
from icans.signals.eeg.scores import ve_cam_s, ve_cam_s_points

NAMES = ("fast", "slow", "slower", "good", "spikes")
ORDER = Order(chains=(("fast", "slow", "slower"),), good=frozenset({"good"}), free=frozenset({"fast"}))


def test_points_add_up_and_unknown_findings_widen_the_score():
    points = ve_cam_s_points()["points"]
    nothing = dict.fromkeys([*points, *ve_cam_s_points()["severe_findings"]], False)
    assert ve_cam_s(nothing).value == ve_cam_s(nothing).high == 0
    score = ve_cam_s({**nothing, "gpd": True, "diffuse_delta": True, "absent_sleep_features": None})
    assert (score.value, score.high, score.unknown) == (6.0, 7.0, ("absent_sleep_features",))
    assert ve_cam_s({"gpd": True}).high == 20  # nobody looked for the severe findings


def test_a_severe_finding_is_twenty_whatever_else_is_there():
    assert ve_cam_s({"burst_suppression": True, "gpd": True}).value == 20
    assert ve_cam_s(dict.fromkeys(ve_cam_s_points()["points"], True)).value == 20  # the sum would be 24


def test_an_unknown_finding_is_refused():
    with pytest.raises(KeyError, match="gpds"):
        ve_cam_s({"gpds": True})


@given(st.dictionaries(st.sampled_from(sorted(ve_cam_s_points()["points"])), st.booleans()), st.data())
def test_one_finding_more_never_lowers_the_score(found, data):
    more = data.draw(st.sampled_from(sorted(ve_cam_s_points()["points"])))
    assert ve_cam_s({**found, more: True}).value >= ve_cam_s({**found, more: False}).value


@settings(max_examples=12)
@given(arrays(float, (40, 5), elements=st.sampled_from([0.0, 1.0])), st.integers(0, 1000))
def test_learned_points_are_whole_and_keep_their_order(table, seed):
    grade = stream(seed, "eeg", "grades").integers(0, 5, 40).astype(float)
    try:
        learned = fit_points(table, NAMES, grade, ORDER)
    except NotEstimableError:
        return
    weights = np.array([learned.weights[n] for n in NAMES], dtype=float)
    assert holds(weights, NAMES, ORDER)
    assert np.abs(weights).max() <= 6
    assert learned.weights["good"] <= 0 <= learned.weights["spikes"]
    chances = learned.probability(np.arange(-6, 20))
    assert (np.diff(chances, axis=1) <= 1e-9).all()


def test_the_basis_spans_only_what_is_allowed():
    basis = order_basis(NAMES, ORDER)
    rng = stream(1, "eeg", "basis")
    for _ in range(50):
        assert holds(basis @ rng.exponential(size=basis.shape[1]), NAMES, ORDER)
    assert not holds(np.array([0, 2, 1, 0, 0.0]), NAMES, ORDER)
    assert not holds(np.array([0, 0, 0, 1, 0.0]), NAMES, ORDER)


def made(count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Findings and grades (synthetic) made with points -1, 1, 4, -3, 2 in proportional odds."""
    rng = stream(4, "eeg", "made")
    table = (rng.uniform(size=(count, 5)) < 0.4).astype(float)
    line = 0.8 * table @ np.array([-1, 1, 4, -3, 2.0])
    chance = expit(line[:, None] - np.array([-0.5, 0.8, 2.0, 3.2]))
    return table, (rng.uniform(size=(count, 1)) < chance).sum(axis=1).astype(float)


def test_points_that_made_the_grades_are_found_again(tmp_path):
    table, grade = made()
    learned = fit_points(table, NAMES, grade, ORDER, most=4, source="synthetic")
    weights = np.array([learned.weights[n] for n in NAMES])
    np.testing.assert_allclose(weights, [-1, 1, 4, -3, 2], atol=1)
    learned.write(tmp_path / "points.json")
    assert read_points(tmp_path / "points.json") == learned
    np.testing.assert_allclose(
        learned.scores(table[:3], NAMES), [learned.score(dict(zip(NAMES, r))) for r in table[:3]]
    )
    with pytest.raises(KeyError, match="spikes"):
        learned.score({"fast": True, "slow": False, "slower": False, "good": None})


def test_proportional_odds_are_the_maximum_of_their_likelihood():
    """Checked by the score equations: at the maximum, expected and observed counts agree at every cut."""
    table, grade = made()
    score = table @ np.array([-1, 1, 4, -3, 2.0])
    levels, slope, cuts = proportional_odds(score, grade, (1, 2, 3, 4))
    np.testing.assert_allclose(levels, [-0.5, 0.8, 2.0, 3.2], atol=0.35)
    np.testing.assert_allclose(slope, 0.8, rtol=0.1)

    def likelihood(at_levels: np.ndarray, at_slope: float) -> float:
        upper = np.hstack([np.ones((len(score), 1)), expit(at_slope * score[:, None] - at_levels),
                           np.zeros((len(score), 1))])  # fmt: skip
        rows = np.arange(len(score))
        k = grade.astype(int)
        return float(np.log(upper[rows, k] - upper[rows, k + 1]).sum())

    best = likelihood(np.array(levels), slope)
    for step in np.eye(5) * 0.02:
        for sign in (-1, 1):
            assert likelihood(np.array(levels) + sign * step[:4], slope + sign * step[4]) < best
    assert cuts == (1.0, 2.0, 3.0, 4.0)


def test_grades_that_are_all_alike_teach_nothing():
    with pytest.raises(NotEstimableError):
        fit_points(np.eye(5), NAMES, np.ones(5), ORDER)


def test_the_order_of_ve_icans_names_findings_of_its_table():
    from icans.datasets.ve_icans import FEATURES

    named = {name for chain in VE_ICANS_ORDER.chains for name in chain} | VE_ICANS_ORDER.good
    assert named <= set(FEATURES)
