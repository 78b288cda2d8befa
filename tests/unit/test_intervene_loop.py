"""The closed loop: Gymnasium's checks, limits, rewards, episodes, policies, plans played forward."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import icans.intervene.loop
from icans.core.errors import ModelError
from icans.intervene.loop import menu as menus
from icans.intervene.loop.belief import make_library
from icans.intervene.loop.compare import Teachers, compare, policy, run_policy
from icans.intervene.loop.env import ClosedLoop, ClosedLoopVector
from icans.intervene.loop.menu import Actions, Limits, make_menu
from icans.intervene.loop.pareto import dominates, front
from icans.intervene.loop.planning import PLANS, Planner, play
from icans.intervene.loop.policies import Guideline, Never, Threshold, anakinra_prophylaxis
from icans.intervene.loop.replay import read_log
from icans.intervene.loop.spaces import from_actions
from icans.intervene.loop.ward import Settings, Ward
from icans.intervene.world import ANALYTES
from icans.population import arms, artefact
from icans.population.readings import reading_errors

SMALL = {"pool": 8}


@pytest.fixture(scope="module")
def env():
    return ClosedLoop(**SMALL)


@pytest.fixture(scope="module")
def ward():
    return Ward(Settings(**SMALL))


def idle(env):
    return {k: np.zeros_like(v) if isinstance(v, np.ndarray) else 0 for k, v in env.action_space.sample().items()}


def test_environment_passes_the_checks_of_gymnasium():
    made = gymnasium.make(icans.intervene.loop.ID, **SMALL)
    check_env(made.unwrapped)  # warnings are errors here


def test_same_seed_same_trajectory(env):
    def play_once():
        env.action_space.seed(5)
        seen = [env.reset(seed=9)[0]]
        for _ in range(10):
            found = env.step(env.action_space.sample())
            seen.append(found[0] | {"reward": found[1]})
        return seen

    for one, other in zip(play_once(), play_once()):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_vector_form_gives_what_single_ones_give(env):
    many = ClosedLoopVector(3, in_order=True, **SMALL)
    many.action_space.seed(2)
    seen, _ = many.reset(seed=1)
    asked = [many.action_space.sample() for _ in range(6)]
    found = [many.step(a) for a in asked]
    for row in range(3):
        env.reset(seed=3, options={"patient": row})
        env.ward.begin(np.array([row]))  # the first episode, as in order
        for a, (obs, reward, *_) in zip(asked, found):
            one, gain, *_ = env.step({k: v[row] for k, v in a.items()})
            assert gain == pytest.approx(reward[row], abs=1e-5)
            for name in one:
                np.testing.assert_allclose(one[name], obs[name][row], rtol=1e-4, atol=1e-4)
    assert many.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert many.observation_space.contains(seen)


def test_vector_form_is_registered_and_begins_anew_after_the_end():
    made = gymnasium.make_vec(icans.intervene.loop.ID, num_envs=4, vectorization_mode="vector_entry_point",
                              horizon_d=1.0, step_h=12.0, **SMALL)  # fmt: skip
    made.reset(seed=1)
    none = {k: np.zeros_like(v) for k, v in made.action_space.sample().items()}
    first = made.step(none)
    assert not first[3].any()
    last = made.step(none)
    assert last[3].all()
    assert not last[2].any()
    new = made.step(none)
    assert (new[0]["time_h"] == 0).all()
    assert (new[1] == 0).all()
    assert not new[3].any()


def test_deaths_end_an_episode_and_another_patient_comes():
    made = ClosedLoopVector(6, horizon_d=2.0, step_h=12.0, deaths=True, in_order=True, **SMALL)
    made.reset(seed=1)
    none = {k: np.zeros_like(v) for k, v in made.action_space.sample().items()}
    made.ward.world.tally.infections[:3] = 1e3  # death is certain
    _, _, died, over, _ = made.step(none)
    assert died[:3].all()
    assert not over[:3].any()
    seen, reward, *_ = made.step(none)
    assert (seen["time_h"][:3] == 0).all()
    assert (reward[:3] == 0).all()
    assert (seen["time_h"][~died] == 24.0).all()


def test_rewards_add_up_to_the_loss(ward):
    chart, total, start = ward.begin(np.arange(8)), np.zeros(8), ward.loss.copy()
    for _ in range(24):
        reward, _ = ward.step(Guideline().act(chart))
        total += reward
        chart = ward.chart()
    np.testing.assert_allclose(total, start - ward.loss, atol=1e-9)
    weights = menus.weights()
    table = ward.world.outcomes()
    np.testing.assert_allclose(ward.loss, sum(table[k] * w for k, w in weights.items()), atol=1e-9)


def test_limits_hold():
    menu = make_menu(("tocilizumab", "dexamethasone"), None)
    limits, weight = Limits.none(1, menu), np.array([70.0])
    given = []
    for hour in range(0, 121, 2):
        levels, mg = limits.take(menu, np.array([[1, 2]]), np.array([float(hour)]), weight)
        given.append((hour, *levels[0], *mg[0]))
    toci = [g[0] for g in given if g[1]]
    dexa = [g[0] for g in given if g[2]]
    assert toci == [0, 8, 16, 24]  # eight hours apart, four in all
    assert np.diff(dexa).min() >= 6
    for start in dexa:
        assert sum(g[4] for g in given if start <= g[0] < start + 24) <= 80.0
    assert {g[3] for g in given} == {0.0, 560.0}


def test_switch_is_used_once_and_nothing_is_given_before_the_start():
    ward = Ward(Settings(start_h=12.0, pool=2))
    chart = ward.begin(np.arange(2))
    no = np.zeros(2, bool)
    wanted = Actions(np.ones((2, len(ward.menu.items)), np.int64), np.zeros((2, len(ANALYTES)), bool), no, ~no, ~no)
    history = []
    for _ in range(4):
        assert chart.allowed.any() == (chart.seen.time_h[0] >= 12.0)
        _, done = ward.step(wanted)
        history.append((done.switch.all(), done.mg.sum() > 0))
        chart = ward.chart()
    assert history == [(False, False), (False, False), (True, True), (False, True)]
    for _ in range(12):
        ward.step(wanted)
        ward.chart()
    assert ward.world.doses_mg[:, ward.world.drugs.index("dasatinib")].tolist() == [600.0, 600.0]  # one course


def test_orders_eeg_and_refusals_are_told(env):
    env.reset(seed=1)
    act = idle(env) | {"eeg": 1, "assays": np.ones(len(ANALYTES), np.int8)}
    env.step(act)
    seen, *_ = env.step(act)
    assert seen["eeg"][1] == 1.0
    assert seen["known"][ANALYTES.index("CRP")] == 1
    assert seen["pending"][ANALYTES.index("ANG2")] >= 1
    both = idle(env) | {"doses": np.array([1, 1, 1, 1])}
    env.step(both)
    *_, info = env.step(both)
    assert info["refused"] >= 2
    assert info["truth"]["car_blood"] > 0


def test_log_holds_every_transition(tmp_path):
    file = tmp_path / "log.npz"
    made = ClosedLoopVector(3, horizon_d=1.0, step_h=12.0, log=str(file), **SMALL)
    made.reset(seed=4)
    made.action_space.seed(1)
    asked, rewards = [], []
    for _ in range(5):  # two steps, new patients, two steps
        act = made.action_space.sample()
        _, reward, *_ = made.step(act)
        asked.append(act)
        rewards.append(reward)
    made.close()
    about, rows = read_log(file)
    assert about["synthetic"] is True
    assert about["settings"]["product"] == "axi-cel"
    kept = [0, 1, 3, 4]
    np.testing.assert_array_equal(rows["action.doses"], np.concatenate([asked[k]["doses"] for k in kept]))
    np.testing.assert_allclose(rows["reward"], np.concatenate([rewards[k] for k in kept]))
    assert rows["ended"].tolist() == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    assert rows["seen.time_h"].ravel().tolist() == [0.0] * 3 + [12.0] * 3 + [0.0] * 3 + [12.0] * 3


def test_mismatch_moves_the_world_of_all_patients_alike():
    plain, other = Ward(Settings(pool=3)), Ward(Settings(pool=3, mismatch=0.3))
    ratio = other.people.parameters["neuro_on"] / plain.people.parameters["neuro_on"]
    assert ratio.nunique() == 1 or ratio.std() < 1e-9
    assert abs(ratio.iloc[0] - 1) > 0.01
    assert (other.people.parameters["tum_growth"] == plain.people.parameters["tum_growth"]).all()


def test_never_is_the_calibrated_population_without_care():
    n, known = 60, artefact.read()
    found = run_policy(Ward(Settings(pool=n, horizon_d=16.0)), Never()).outcomes
    arm = arms.run(arms.Key("axi-cel", "LBCL", "none"), n, 1, known.factors, known.readings, threads=1,
                   outputs=("crs_severity", "encephalopathy"), times_h=np.arange(0.0, 16 * 24 + 1, 6.0))  # fmt: skip
    noise, _, _ = reading_errors(n, 1)
    cuts = {"nt": known.readings.nt["astct"].cuts, "crs": known.readings.crs["astct"].cuts}
    for name, column, output in (("nt", "max_icans_grade", "encephalopathy"),
                                 ("crs", "max_crs_grade", "crs_severity")):  # fmt: skip
        top = arm.series[output].max(axis=1) * np.exp(noise[name])
        grade = np.minimum(np.searchsorted(cuts[name], top, side="right"), 4)
        assert (grade == found[column]).mean() > 0.98  # a severity on a cut may fall to either side
    assert found.filter(like="dose_").to_numpy().sum() == 0


def test_guideline_gives_by_grade_and_prophylaxis_by_the_clock():
    ward = Ward(Settings(pool=8, horizon_d=14.0))
    found = run_policy(ward, Guideline()).outcomes
    assert (found.dose_tocilizumab[found.max_crs_grade < 2] == 0).all()
    assert (found.dose_tocilizumab[found.max_crs_grade >= 2] > 0).all()
    ahead = run_policy(ward, anakinra_prophylaxis()).outcomes
    assert (ahead.dose_anakinra == 1600.0).all()


def test_what_is_given_in_all_does_not_depend_on_the_step():
    totals, worst = [], []
    for step in (1.0, 6.0, 12.0):
        care = Guideline(crs_from=9, icans_from=9)  # by the clock alone: what answers to grades looks more often
        ahead = replace(anakinra_prophylaxis(), care=care, until_h=96.0)
        found = run_policy(Ward(Settings(pool=2, step_h=step, horizon_d=6.0)), ahead).outcomes
        totals.append(found.dose_anakinra.tolist())
        worst.append(found.car_auc_0_28.to_numpy())
    assert totals == [[800.0, 800.0]] * 3
    np.testing.assert_allclose(worst, np.broadcast_to(worst[0], np.shape(worst)), rtol=1e-3)


def test_threshold_treats_where_the_forecast_says_so():
    class Certain:
        toxicity, grade = "icans", 2

        def predict(self, seen):
            return np.where(np.arange(len(seen)) < 3, 0.9, 0.1)

    care = Guideline(crs_from=9, icans_from=9)
    made = Threshold(Certain(), 0.5, (("anakinra", 1, 12.0),), until_h=48.0, care=care)
    found = run_policy(Ward(Settings(pool=8, horizon_d=6.0)), made).outcomes
    assert (found.dose_anakinra[:3] == 600.0).all()  # at 0 to 60 h: alarms until 48 h, held for a day
    assert (found.dose_anakinra[3:] == 0).all()


def test_a_plan_played_on_the_truth_is_what_comes_true(ward):
    chart = ward.begin(np.arange(4))
    for _ in range(20):
        ward.step(Guideline().act(chart))
        chart = ward.chart()
    state = ward.world.hidden.state.copy()
    said = play(ward.world, ward.limits, ward.menu, PLANS[:2], horizon_h=1e9, course_h=48.0, until_h=14 * 24.0,
                weights=ward.weights, care=Guideline())  # fmt: skip
    np.testing.assert_array_equal(ward.world.hidden.state, state)  # looking ahead moves nobody
    while ward.world.time_h < 14 * 24.0 - 1e-6:
        ward.step(Guideline().act(chart))
        chart = ward.chart()
    toxic = {k: w for k, w in ward.weights.items() if k != "response_probability"}
    cost = sum(w * ward.world.outcome_columns()[k] for k, w in toxic.items())
    gain = ward.weights["response_probability"] * _expected(ward.world)
    np.testing.assert_allclose(said[:, 0], cost + gain, rtol=1e-3, atol=1e-2)


def _expected(world):
    from icans.intervene.loop.planning import _response

    return _response(world.branch(np.arange(len(world))))


def test_planners_plan_from_belief_and_oracle_from_truth():
    settings = Settings(pool=3, horizon_d=9.0)
    teachers = Teachers(settings, members=16)
    found = {}
    library = teachers.library
    for made in (Guideline(), Planner("mpc", library, scenarios=2, keep=3, horizon_h=48.0, every_h=48.0),
                 Planner("oracle", None, every_h=48.0)):  # fmt: skip
        found[made.name] = run_policy(Ward(settings), made)
    assert found["oracle"].loss.mean() <= found["guideline"].loss.mean() + 1e-6
    assert found["mpc"].failed == 0
    assert (found["mpc"].outcomes.dose_anakinra.sum() + found["mpc"].outcomes.dose_dexamethasone.sum()) > 0
    again = run_policy(Ward(settings), Planner("mpc", library, scenarios=2, keep=3, horizon_h=48.0, every_h=48.0))
    np.testing.assert_allclose(again.loss, found["mpc"].loss)


def test_belief_finds_the_patient_among_others():
    """A patient who is a member of the library (with another number) is weighted above the prior."""
    settings = Settings(pool=12)
    ward = Ward(settings)
    library = make_library(12, "axi-cel", "LBCL", ward.menu.drugs, seed=1, first=1, horizon_d=28.0)
    made = Planner("mpc", library, keep=12)
    chart = ward.begin(np.arange(12))
    made.begin(ward)
    for _ in range(28):
        made.belief.see(chart)
        ward.step(Never().act(chart))
        chart = ward.chart()
    made.belief.see(chart)
    world, weight = made.belief.members(np.arange(12), 168.0)
    mine = world.numbers.reshape(12, 12) == np.arange(1, 13)[:, None]
    assert np.median((weight * mine).sum(axis=1)) > 2 / 12  # drawn more often than one in twelve


def test_comparison_is_paired_and_told_with_its_front():
    made = compare(Settings(horizon_d=10.0, step_h=12.0), ("never", "anakinra"), patients=10)
    table = made.table()
    assert list(table.policy) == ["guideline", "never", "anakinra prophylaxis"]
    assert table.difference[0] == 0.0
    assert table.on_front.any()
    gaps = made.differences().to_numpy()
    np.testing.assert_allclose(gaps, -gaps.T)


def test_pareto_front_by_hand():
    points = [[1.0, 0.9], [2.0, 0.95], [2.0, 0.9], [3.0, 0.2], [1.0, 0.9]]
    assert front(points, [True, False]).tolist() == [True, True, False, False, True]
    assert dominates(points, [True, False])[0].tolist() == [False, False, True, True, False]
    with pytest.raises(ValueError, match="without NaN"):
        front([[np.nan, 1.0]], [True, True])


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Settings(step_h=5.0).check(), "whole part"),
        (lambda: Settings(step_h=0.0, mismatch=3.0).check(), "0 to 1"),
        (lambda: ClosedLoop(produkt="axi-cel"), "produkt"),
        (lambda: menus.weights({"happiness": 1.0}), "happiness"),
        (lambda: menus.weights({"icu_days": np.nan}), "a number"),
        (lambda: make_menu(("aspirin",), None), "aspirin"),
        (lambda: make_menu((), "off"), "switch"),
        (lambda: policy("magic", None), "magic"),
        (lambda: policy("threshold:2", None), "between 0 and 1"),
        (lambda: policy("mpc:0.1", None), "policy"),
    ],
)
def test_what_makes_no_sense_is_refused(act, words):
    with pytest.raises(ModelError, match=words):
        act()


def test_actions_survive_the_space(env):
    made = menus.nothing(2, env.ward.menu).with_dose(1, 2, np.array([True, False]))
    assert made.doses.tolist() == [[0, 2, 0, 0], [0, 0, 0, 0]]
    assert made.with_dose(-1, 1, np.array([True, True])) is made
    arrays = from_actions(replace(made, eeg=np.array([False, True])))
    assert arrays["eeg"].tolist() == [0, 1]
