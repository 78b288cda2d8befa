"""Parts of trials: scores against other programs, decisions, allocation, enrolment, adaptive rules by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from icans.intervene.trial import adaptive, analyse, posterior, scores
from icans.intervene.trial.conduct import _when, allocate, draw_people
from icans.intervene.trial.design import ConductSection


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(5)


def test_rank_sum_is_that_of_scipy(rng):
    for _ in range(20):
        a, b = rng.integers(0, 5, 40), rng.integers(0, 4, 31)
        z = scores.rank_sum(np.bincount(a, minlength=5)[None], np.bincount(b, minlength=5)[None])
        other = stats.mannwhitneyu(b, a, use_continuity=False, method="asymptotic")
        assert 2 * stats.norm.sf(abs(z[0])) == pytest.approx(other.pvalue, rel=1e-9)
        better = scores.better_chance(np.bincount(a, minlength=5)[None], np.bincount(b, minlength=5)[None])
        assert better[0] == pytest.approx(1.0 - other.statistic / (len(a) * len(b)))


def test_log_rank_is_that_of_lifelines_with_ties_and_absent_patients(rng):
    from lifelines.statistics import logrank_test

    time = np.round(rng.exponential(5, (8, 70))) + 1.0
    event, arm, counted = rng.random((8, 70)) < 0.7, rng.integers(0, 2, (8, 70)), rng.random((8, 70)) < 0.9
    z = scores.log_rank(time, event, arm, counted)
    for i in range(8):
        one, none = counted[i] & (arm[i] == 1), counted[i] & (arm[i] == 0)
        other = logrank_test(time[i][one], time[i][none], event[i][one], event[i][none])
        assert z[i] ** 2 == pytest.approx(other.test_statistic, rel=1e-9)


def test_mantel_haenszel_is_that_of_statsmodels(rng):
    from statsmodels.stats.contingency_tables import StratifiedTable

    n0, n1 = rng.integers(5, 30, (6, 4)), rng.integers(5, 30, (6, 4))
    x0, x1 = rng.binomial(n0, 0.4), rng.binomial(n1, 0.3)
    z = scores.stratified(x0, n0, x1, n1)
    for i in range(6):
        tables = [np.array([[x1[i, s], n1[i, s] - x1[i, s]], [x0[i, s], n0[i, s] - x0[i, s]]]) for s in range(4)]
        assert z[i] ** 2 == pytest.approx(StratifiedTable(tables).test_null_odds().statistic, rel=1e-9)


def test_scores_without_anything_to_compare_are_no_evidence():
    nothing = np.zeros(3)
    assert np.all(scores.two_proportions(nothing, nothing, nothing, nothing) == 0)
    assert np.all(scores.two_proportions(nothing, nothing + 9, nothing, nothing + 9) == 0)
    empty = np.zeros((2, 5))
    assert np.all(scores.log_rank(empty, empty > 1, empty, empty > 1) == 0)


def test_multiple_testing_is_that_of_statsmodels(rng):
    from statsmodels.stats.multitest import multipletests

    for count in (1, 2, 3, 6) * 6:
        p = rng.random((1, count)) ** 3
        for rule, name in (("holm", "holm"), ("hochberg", "simes-hochberg"), ("bonferroni", "bonferroni")):
            other = multipletests(p[0], 0.05, method=name)[0]
            assert analyse.decide(p, 0.05, rule)[0].tolist() == other.tolist(), (rule, p)


def test_a_fixed_sequence_stops_at_the_first_that_fails():
    p = np.array([[0.01, 0.2, 0.001], [0.2, 0.001, 0.001], [0.04, 0.03, 0.05]])
    want = [[True, False, False], [False, False, False], [True, True, True]]
    assert analyse.decide(p, 0.05, "fixed_sequence").tolist() == want


def test_interval_of_a_difference_is_newcombes():
    from statsmodels.stats.proportion import confint_proportions_2indep

    d, low, high = analyse.difference(np.array([30.0]), np.array([80.0]), np.array([12.0]), np.array([75.0]))
    other = confint_proportions_2indep(12, 75, 30, 80, method="newcomb", compare="diff")
    assert d[0] == pytest.approx(12 / 75 - 30 / 80)
    assert (low[0], high[0]) == pytest.approx(other)


@given(st.integers(8, 90), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_blocks_keep_arms_balanced_within_strata(n, second, seed):
    rng = np.random.default_rng(seed)
    stratum = rng.integers(0, 2, (3, n))
    arm = allocate(rng.random((3, n)), (1, second), stratum)
    for row in range(3):
        for s in (0, 1):
            mine = arm[row][stratum[row] == s]
            size = 2 * (1 + second)
            for block in range(len(mine) // size):
                assert np.sum(mine[block * size : (block + 1) * size] == 1) == 2 * second


def test_sites_that_open_late_enrol_late():
    opened, rate = np.array([0.0, 2.0, 4.0]), 1.5
    month = np.linspace(0.0, 9.0, 50)
    expected = rate * np.maximum(month[:, None] - opened[None, :], 0.0).sum(axis=1)
    assert _when(expected, opened, rate) == pytest.approx(month)
    people, _ = draw_people(np.random.default_rng(1), 400, 60, ConductSection(sites=3, per_month=1.5, open_every=2.0))
    assert np.all(np.diff(people.month, axis=1) >= 0)
    assert np.all(opened[people.site] <= people.month)
    counted = (people.month < 6.0).sum(axis=1)
    assert counted.mean() == pytest.approx(rate * (6 + 4 + 2), abs=4 * np.sqrt(18 / 400))


def test_posterior_chances_are_those_of_draws():
    rng = np.random.default_rng(2)
    a, b = np.array([[20.0, 25.0, 30.0], [2.0, 3.0, 1.0]]), np.array([[80.0, 70.0, 72.0], [9.0, 4.0, 5.0]])
    on = np.array([[True, True, True], [True, True, False]])
    draws = np.where(on, rng.beta(a, b, (200_000, 2, 3)), np.nan)
    best = np.nanargmin(draws, axis=2)
    seen = np.stack([(best == arm).mean(axis=0) for arm in range(3)], axis=1)
    assert posterior.chance_best(a, b, on) == pytest.approx(seen, abs=0.005)
    close = (np.nanmax(draws, axis=2) - np.nanmin(draws, axis=2) < 0.05).mean(axis=0)
    assert posterior.chance_close(a, b, on, 0.05) == pytest.approx(close, abs=0.005)
    control = np.array([0, 1])
    gap = draws[:, [0, 1], control][..., None] - draws
    better = posterior.chance_better(a, b, control, on, 0.03)
    assert better[0, 1:] == pytest.approx((gap > 0.03).mean(axis=0)[0, 1:], abs=0.005)
    assert better[1, 0] == pytest.approx((gap > 0.03).mean(axis=0)[1, 0], abs=0.005)


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), st.floats(0.0, 0.33))
def test_allocation_keeps_its_limits(chance, least):
    rules = adaptive.Rules((10,), (10,), 3, least=least)
    active = np.array([[True, True, True], [True, False, True]])
    share = adaptive.allocate(np.array([chance, chance]), active, rules)
    assert share.sum(axis=1) == pytest.approx(1.0)
    assert np.all(share[active] >= least - 1e-9)
    assert share[1, 1] == 0.0


def test_an_arm_that_harms_everybody_is_dropped_and_the_other_wins():
    rules = adaptive.Rules((40, 80, 120), (40, 80, 120), 3, superiority=0.99, inferiority=0.01)
    outcome = np.zeros((5, 120, 3), dtype=bool)
    outcome[:, :, 2] = True
    outcome[:, ::2, 1] = True
    course = adaptive.run(outcome, rules, np.random.default_rng(1).random((5, 120)))
    assert np.all(course.winner == 0)
    assert np.all(course.dropped[:, 2] == 0)
    assert np.all(course.events[:, 0] == 0)
    assert np.all(course.n.sum(axis=1) == np.asarray(rules.randomised)[course.look])


def test_futility_and_equivalence_end_a_trial_of_like_arms():
    outcome = np.zeros((4, 400, 2), dtype=bool)
    outcome[:, ::4] = True
    uniform = np.random.default_rng(1).random((4, 400))
    alike = adaptive.Rules((200, 400), (200, 400), 2, equivalence=0.5, equivalence_margin=0.15)
    assert np.all(adaptive.run(outcome, alike, uniform).state == 2)
    futile = adaptive.Rules((200, 400), (200, 400), 2, control=0, futility=0.5, futility_margin=0.1)
    assert np.all(adaptive.run(outcome, futile, uniform).state == 3)
