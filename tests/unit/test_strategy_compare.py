"""Strategies on the same virtual patients: one call and rounds agree, nothing looks ahead, numbers add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.intervene.compare.arm import Course, run_course
from icans.intervene.compare.results import StrategyResults, outcome_table
from icans.intervene.compare.running import Group, run_strategies
from icans.intervene.compare.sensitivity import assumed_parameters
from icans.intervene.compare.summary import (
    BY_NAME,
    differences,
    on_front,
    paired,
    pareto,
    risk_group,
    summary,
    wilson,
)
from icans.intervene.compare.watch import Ward, make_watch
from icans.intervene.strategy.conditions import GradeSeen, Result
from icans.intervene.strategy.deciding import Memory, SeenInWorld, decide, doses_of
from icans.intervene.strategy.reading import strategy
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world import Cast, cast, make_world
from icans.population import artefact

OUTPUTS = ("crs_severity", "encephalopathy", "car_blood", "TUM", "BCELL", "ANC", "iechs_drive", "SEIZ_HAZ", "FERRITIN")
DRUGS = ("dexamethasone", "tocilizumab")
N, SEED = 24, 3
HOURS = np.arange(0.0, 16 * 24.0 + 1, 6.0)


@pytest.fixture(scope="module")
def patients() -> Cast:
    return cast(N, "axi-cel", "LBCL", SEED, drugs=DRUGS)


@pytest.fixture(scope="module")
def modern() -> Strategy:
    return strategy("present")


@pytest.fixture(scope="module")
def upon_ferritin(modern: Strategy) -> Strategy:
    rule = replace(modern.rules[-1], when=(Result("ferritin", above=600.0),), delay_h=0.0, sustained=False)
    return Strategy("upon_ferritin", "Dexamethasone upon ferritin", rules=(rule,))


@pytest.fixture(scope="module")
def course(patients: Cast, upon_ferritin: Strategy) -> Course:
    return run_course(upon_ferritin, patients, artefact.read().readings, OUTPUTS, ward=Ward(seed=SEED), times_h=HOURS)


def in_world(patients: Cast, strategy: Strategy, every_h: float, hours: float) -> tuple[np.ndarray, pd.DataFrame]:
    """The same by a world that is stepped: hours at which the first rule acted, and the outcomes."""
    world = make_world(patients, drugs=DRUGS, seed=SEED, reader_error=False)
    memory = Memory.fresh(len(patients), strategy)
    acted = np.full((len(patients), strategy.rules[0].most_times), np.nan)
    for hour in np.arange(0.0, hours, every_h):
        acts, memory = decide(strategy, SeenInWorld(world.observe(), {}), memory, float(hour))
        given = []
        for i, k in np.argwhere(acts):
            if k == 0:
                acted[i, np.argmax(np.isnan(acted[i]))] = hour
            mask = np.arange(len(patients)) == i
            for d in doses_of(strategy.rules[k], float(hour), float(world.weight_kg[i]), float(world.surface_m2[i])):
                given.append(world.give(d.drug, d.amount, d.unit, who=mask, route=d.route, at_h=d.time_h,
                                        duration_h=d.duration_h, every_h=d.every_h, count=d.count))  # fmt: skip
        world.step(every_h, given)
    return acted, world.outcomes()


def test_rounds_agree_with_a_world_that_is_stepped(patients: Cast, upon_ferritin: Strategy, course: Course) -> None:
    """Two ways to the same: simulate again from the start, or step on from stored states; same samples, same hours."""
    acted, outcomes = in_world(patients, upon_ferritin, 6.0, float(HOURS[-1]))
    assert 3 < np.isfinite(acted[:, 0]).sum() < N
    np.testing.assert_array_equal(course.acted[0][:, : acted.shape[1]], acted)
    mine = outcome_table(course, patients, artefact.read().readings, SEED)
    assert np.corrcoef(mine["tumour_log10_reduction"], outcomes["tumour_log10_reduction"])[0, 1] > 0.999
    np.testing.assert_allclose(mine["dose_dexamethasone"], outcomes["dose_dexamethasone"])


def test_the_solver_alone_agrees_with_rounds_of_an_hour(patients: Cast) -> None:
    """A rule on a grade: by the solver at the hour it appears, or looked at every hour."""
    base = strategy("present").rules[-1]
    one = Strategy("one", "Dexamethasone upon ICANS", rules=(replace(base, when=(GradeSeen("icans", 1),)),))
    assert one.one_call
    found = run_course(one, patients, artefact.read().readings, OUTPUTS, times_h=HOURS)
    acted, _ = in_world(patients, one, 1.0, 8 * 24.0)
    first, rounds = found.acted[0][:, 0], acted[:, 0]
    first = np.where(first < 8 * 24.0 - 1.0, first, np.nan)
    assert np.isfinite(first).sum() >= 6
    assert (np.isfinite(first) == np.isfinite(rounds)).all()
    late = rounds - first
    assert np.nanmin(late) >= -0.02
    assert np.nanmax(late) <= 1.02


def test_no_decision_rests_on_what_is_not_back(patients: Cast, course: Course) -> None:
    """Change every level after a draw: what was known up to the result's hour stays as it was."""
    readings, ward = artefact.read().readings, Ward(seed=SEED, latency_h={"ferritin": 30.0})
    cool = {"TEMP": np.full((N, len(HOURS)), 37.0)}
    whole = make_watch(HOURS, {k: np.asarray(v) for k, v in course.series.items()} | cool,
                       ("ferritin",), patients.numbers, readings, ward)  # fmt: skip
    rng = np.random.default_rng(1)
    for hour in (0.0, 24.0, 54.0, 96.0, 150.0):
        changed = {k: np.array(v, copy=True) for k, v in course.series.items()} | {
            "TEMP": np.full((N, len(HOURS)), 37.0)
        }
        late = hour - 30.0 < HOURS
        changed["FERRITIN"][:, late] *= rng.uniform(2.0, 9.0, (N, int(late.sum())))
        other = make_watch(HOURS, changed, ("ferritin",), patients.numbers, readings, ward)
        a, b = whole.at(hour, np.arange(N)), other.at(hour, np.arange(N))
        np.testing.assert_array_equal(a.values["ferritin"], b.values["ferritin"])
        assert np.isnan(a.values["ferritin"]).all() == (hour < 30.0)
        if hour >= 30:
            assert (a.age_h["ferritin"] >= 30.0).all()


def test_a_later_result_changes_nothing_before_it(patients: Cast, upon_ferritin: Strategy, course: Course) -> None:
    slow = run_course(upon_ferritin, patients, artefact.read().readings, OUTPUTS, times_h=HOURS,
                      ward=Ward(seed=SEED, latency_h={"ferritin": 48.0}))  # fmt: skip
    first, later = course.acted[0][:, 0], slow.acted[0][:, 0]
    both = np.isfinite(first) & np.isfinite(later)
    assert both.any()
    assert (later[both] > first[both]).all()
    for i in np.flatnonzero(both):
        before = first[i] >= HOURS
        for name in ("encephalopathy", "car_blood"):
            np.testing.assert_allclose(
                course.series[name][i, before], slow.series[name][i, before], rtol=2e-3, atol=1e-6
            )


@pytest.fixture(scope="module")
def results() -> StrategyResults:
    rules = [strategy("never"), strategy("present")]
    return run_strategies(Group(n=20), rules, SEED)


def test_chunks_and_company_change_nothing(results: StrategyResults) -> None:
    other = run_strategies(Group(n=9, first=7), [strategy("present")], SEED, chunk=4).of("present")
    mine = results.of("present").query("7 <= patient < 16").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, other[mine.columns], check_dtype=False)


def test_summary_and_differences_are_those_of_the_table(results: StrategyResults) -> None:
    told = summary(results).set_index(["strategy", "measure"])
    mine = results.of("present")
    row = told.loc[("present", "icans_any")]
    assert row["value"] == pytest.approx((mine["max_icans_grade"] >= 1).mean())
    assert (row["low"], row["high"]) == pytest.approx(wilson(row["value"], 20))
    d = differences(results, "never").set_index("measure")
    gain = mine["icu_days"].to_numpy() - results.of("never")["icu_days"].to_numpy()
    assert d.loc["icu_days", "difference"] == pytest.approx(1000 * gain.mean())
    assert d.loc["icu_days", "low"] == pytest.approx(1000 * (gain.mean() - 1.959964 * gain.std(ddof=1) / np.sqrt(20)))
    assert d.loc["treated", "difference"] > 0
    parts = summary(results, ["product", "risk"]).query("measure == 'death' and strategy == 'never'")
    assert parts["n"].sum() == 20
    assert set(parts["risk"]) == {"high burden", "other"}
    assert (risk_group(results.table) == "high burden").groupby(results.table["patient"]).nunique().max() == 1


def test_where_nobody_differs_the_rule_of_three_holds(results: StrategyResults) -> None:
    never = results.of("never")
    assert paired(BY_NAME["icans_3"], never, never) == pytest.approx((0.0, -150.0, 150.0))  # 3 of 20
    assert paired(BY_NAME["icu_days"], never, never) == (0.0, 0.0, 0.0)


def test_wilson_against_scipy() -> None:
    from scipy.stats import binomtest

    exact = binomtest(7, 40).proportion_ci(method="wilson")
    assert wilson(7 / 40, 40) == pytest.approx((exact.low, exact.high))


def test_front_by_hand() -> None:
    toxicity, efficacy = np.array([0.3, 0.2, 0.2, 0.1]), np.array([0.6, 0.6, 0.5, 0.4])
    assert on_front(toxicity, efficacy).tolist() == [False, True, False, True]


def test_pareto_of_results(results: StrategyResults) -> None:
    found = pareto(results, resamples=60).set_index("strategy")
    assert found["front"].any()
    assert found["probability"].between(0, 1).all()
    never = results.of("never")
    assert found.loc["never", "toxicity"] == pytest.approx((never["max_icans_grade"] >= 3).mean())


def test_assumed_parameters_are_the_therapies_own() -> None:
    found = {m.name: m for m in assumed_parameters(("tie2_agonist",), statuses=("assumed",))}
    assert set(found) == {"tie2_cl", "tie2_v1", "tie2_q", "tie2_v2", "tie2_half", "tie2_max"}
    assert found["tie2_half"].up == pytest.approx(2.0)
    assert found["tie2_max"].up < 2.0  # it is a share: no more than its bound


def test_outcomes_move_with_their_assumptions() -> None:
    from icans.intervene.compare.sensitivity import outcome_sensitivity
    from icans.intervene.world.outcomes import assuming, parameters

    with assuming(death_per_infection=0.5):
        assert parameters()["death_per_infection"] == 0.5
    assert parameters()["death_per_infection"] == 0.03
    with pytest.raises(KeyError), assuming(nothing=1.0):
        pass
    found = outcome_sensitivity(Group(n=6), strategy("present"), strategy("never"), SEED, measures=("infection_days",))
    rows = found.set_index(["parameter", "side"])["difference"]
    as_is = rows[("", "as is")]
    assert rows[("infection_days_each", "up")] == pytest.approx(2 * as_is)
    assert rows[("infection_days_each", "down")] == pytest.approx(as_is / 2)
    assert rows[("response_slope", "up")] == pytest.approx(as_is)


def test_refusals() -> None:
    with pytest.raises(ModelError, match="each name once"):
        run_strategies(Group(n=2), [strategy("never"), strategy("never")], 1)
    with pytest.raises(ModelError, match="Did you mean 'axi-cel'"):
        run_strategies(Group(product="axi-cell", n=2), [strategy("never")], 1)
    with pytest.raises(ModelError, match="at least one strategy"):
        run_strategies(Group(n=2), [], 1)
