"""Conformal statements: closed forms, small cells, and the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from icans.core.random import stream
from icans.forecast.integrate.conformal import (
    OnsetBound,
    OutcomeSets,
    coverage_by_group,
    exact_interval,
    onset_coverage,
    set_coverage,
    smallest_cell,
)

WINDOWS = (24.0, 72.0, 120.0, 240.0, 480.0)


def onsets(n: int, rng: np.random.Generator, *, censored: bool, bias: float = 1.0):
    """Exponential onsets with known hazards; forecasts from hazards that are wrong by ``bias``; death competes."""
    hazard = 0.004 * np.exp(rng.normal(0, 0.8, n))
    onset, death = rng.exponential(1 / hazard), rng.exponential(3000.0, n)
    end = rng.uniform(40.0, 600.0, n) if censored else np.full(n, 1e5)
    stop = np.minimum(np.minimum(onset, death), end)
    event = np.where(stop == onset, 1, np.where(stop == death, 2, 0))
    risks = -np.expm1(-bias * hazard[:, None] * np.array(WINDOWS))
    return risks, stop, event, np.where(onset < death, onset, np.inf)


def test_without_censoring_the_level_is_an_order_statistic():
    """Split conformal in closed form: the k-th smallest own risk, k = floor(alpha (n + 1))."""
    risks, time, event, _ = onsets(59, stream(1, "bound"), censored=False)
    own = [np.interp(t, [0.0, *WINDOWS], [0.0, *r]) for r, t, e in zip(risks, time, event, strict=True) if e == 1]
    for alpha in (0.05, 0.1, 0.25):
        bound = OnsetBound.fit(risks, WINDOWS, time, event, alpha=alpha)
        inside = np.sort(own)
        assert bound.level["(all)"] == pytest.approx(inside[int(np.floor(alpha * 60)) - 1])


@pytest.mark.parametrize("bias", [0.5, 1.0, 2.0])
def test_bounds_cover_whatever_the_model_is_worth(bias):
    """Censored calibration data, models that are wrong by a factor; coverage over 120 calibrations."""
    rng = stream(2, "coverage", bias)
    missed, total = 0.0, 0
    for _ in range(120):
        risks, time, event, _ = onsets(120, rng, censored=True, bias=bias)
        bound = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.1)
        new, _, _, onset = onsets(100, rng, censored=False, bias=bias)
        missed += float((onset < bound.lower(new)["hours"].to_numpy()).sum())
        total += 100
    share = missed / total
    assert 0.06 < share < 0.105


def test_each_group_is_covered_and_the_pooled_one_is_not_enough():
    """Two products, the model wrong in opposite directions: pooled calibration fails one, its own does not."""
    rng = stream(3, "groups")
    own, pooled = {"a": [], "b": []}, {"a": [], "b": []}
    for _ in range(35):
        parts = {g: onsets(100, rng, censored=True, bias=b) for g, b in (("a", 0.4), ("b", 2.5))}
        risks, time, event = (np.concatenate([parts[g][k] for g in "ab"]) for k in range(3))
        group = np.repeat(["a", "b"], 100)
        mondrian = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.1, group=group)
        plain = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.1)
        for g, b in (("a", 0.4), ("b", 2.5)):
            new, _, _, onset = onsets(100, rng, censored=False, bias=b)
            own[g].append(np.mean(onset >= mondrian.lower(new, [g] * 100)["hours"]))
            pooled[g].append(np.mean(onset >= plain.lower(new)["hours"]))
    assert min(np.mean(own["a"]), np.mean(own["b"])) > 0.89
    assert min(np.mean(pooled["a"]), np.mean(pooled["b"])) < 0.87


def test_small_and_unknown_cells_promise_nothing_or_say_that_they_borrow():
    assert [smallest_cell(a) for a in (0.05, 0.1, 0.2)] == [19, 9, 4]
    risks, time, event, _ = onsets(50, stream(4, "small"), censored=False)
    group = np.array(["a"] * 42 + ["b"] * 8)
    bound = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.1, group=group)
    found = bound.lower(risks[:3], ["a", "b", "new"])
    assert found["source"].tolist() == ["own", "none", "none"]
    assert found["hours"].iloc[1:].tolist() == [0.0, 0.0]
    assert found["n"].tolist() == [42, 8, 0]
    borrowed = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.1, group=group, small="pool")
    assert borrowed.lower(risks[:3], ["a", "b", "new"])["source"].tolist() == ["own", "pooled", "pooled"]
    exactly = OnsetBound.fit(risks[:9], WINDOWS, time[:9], event[:9], alpha=0.1)
    one_less = OnsetBound.fit(risks[:8], WINDOWS, time[:8], event[:8], alpha=0.1)
    assert exactly.level["(all)"] > 0.0
    assert one_less.level["(all)"] == 0.0


def test_a_patient_who_never_reaches_the_level_is_bounded_by_the_last_window():
    risks, time, event, _ = onsets(60, stream(5, "never"), censored=False)
    bound = OnsetBound.fit(risks, WINDOWS, time, event, alpha=0.2)
    assert bound.lower(np.full((1, 5), 1e-6))["hours"].tolist() == [480.0]
    rising = bound.lower(np.array([[0.1, 0.2, 0.4, 0.6, 0.9], [0.3, 0.5, 0.7, 0.8, 0.9]]))["hours"]
    assert rising.iloc[1] < rising.iloc[0]


def test_observed_coverage_of_bounds_counts_the_censored_through_the_others():
    rng = stream(6, "observed")
    _, time, event, onset = onsets(4000, rng, censored=True)
    hours = np.full(4000, 60.0)
    table = onset_coverage(hours, time, event)
    assert table["covered"].iloc[0] == pytest.approx(np.mean(onset >= 60.0), abs=0.02)
    assert table["effective"].iloc[0] <= table["n"].iloc[0]
    naive = np.mean(~((event == 1) & (time < 60.0)))
    assert abs(table["covered"].iloc[0] - np.mean(onset >= 60.0)) <= abs(naive - np.mean(onset >= 60.0)) + 0.01


def test_sets_cover_each_class_and_tell_when_the_model_cannot():
    rng = stream(7, "sets")
    held = {0: [], 1: []}
    for _ in range(60):
        x, new = rng.normal(size=(2, 150))
        y, target = (rng.random((2, 150)) < 1 / (1 + np.exp(1.5 - 2 * np.stack([x, new])))).astype(int)
        risk = lambda v: 1 / (1 + np.exp(0.2 - v))  # wrong on purpose  # noqa: E731
        sets = OutcomeSets.fit(risk(x), y, alpha=0.2).sets(risk(new))["set"].to_numpy()
        table = set_coverage(sets, target).set_index("status")["covered"]
        for k in (0, 1):
            held[k].append(table[k])
    assert 0.785 < np.mean(held[0]) < 0.83
    assert 0.785 < np.mean(held[1]) < 0.84
    few = OutcomeSets.fit([0.1, 0.2, 0.9], [0, 0, 1], alpha=0.1)
    assert few.sets([0.5])[["set", "source"]].iloc[0].tolist() == ["either", "none"]


def test_exact_intervals_are_those_of_scipy():
    for k, n in ((0, 12), (3, 12), (12, 12), (47, 50)):
        theirs = binomtest(k, n).proportion_ci(0.95, method="exact")
        assert exact_interval(k, n) == pytest.approx((theirs.low, theirs.high))
    table = coverage_by_group([True, True, False, True], ["a", "a", "a", "b"])
    assert table.set_index("group").loc["a", "covered"] == pytest.approx(2 / 3)
    assert table.set_index("group").loc["b", "n"] == 1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        smallest_cell(1.0)
    with pytest.raises(ValueError, match="rise"):
        OnsetBound.fit(np.zeros((2, 2)), (5.0, 5.0), [1.0, 2.0], [1, 1])
    with pytest.raises(ValueError, match="shape"):
        OnsetBound.fit(np.zeros((2, 3)), (5.0, 6.0), [1.0, 2.0], [1, 1])
