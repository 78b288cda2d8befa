"""The world of hidden patients: exact stepping, whatever the steps; the laboratory; the outcome vector by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.intervene.world import ANALYTES, RiskForecast, cast, chance, collect, join, make_world, read_assays
from icans.intervene.world.bedside import Reader
from icans.intervene.world.dosing import Given, events_of_step
from icans.intervene.world.outcomes import NEEDED, Tally, parameters
from icans.intervene.world.outcomes import table as outcomes
from icans.mechanism.doses import Dose
from icans.mechanism.engine.simulate import simulate
from icans.mechanism.patient import patient_model
from icans.mechanism.regimens import regimens

DRUGS = ("anakinra", "dasatinib", "dexamethasone", "methylprednisolone", "tocilizumab")


@pytest.fixture(scope="module")
def people():
    return cast(6, "axi-cel", "LBCL", 1, drugs=DRUGS)


@pytest.fixture(scope="module")
def infusion(people):
    return make_world(people, drugs=DRUGS, seed=1, rtol=1e-6)


def treated(world):
    """An infusion over 7 h that begins between steps, a depot, one with lag, a repeated bolus."""
    return [
        world.give("tocilizumab", 8 * world.weight_kg, at_h=49.5, duration_h=7.0),
        world.give("tocilizumab", 100, at_h=53.0, duration_h=2.0, who=[1, 2]),
        world.give("anakinra", 100, route="sc", at_h=3.0, every_h=12, count=9),
        world.give("dasatinib", 100, route="po", at_h=60.0),
        world.give("dexamethasone", 10, at_h=100.0, every_h=6, count=7),
    ]


@pytest.fixture(scope="module")
def courses(infusion):
    made = {}
    for step in (1.0, 6.0, 12.0):
        world = infusion.branch(np.arange(len(infusion)))
        for k in range(round(168 / step)):
            world.step(step, treated(world) if k == 0 else None)
        made[step] = world
    return made


@pytest.mark.parametrize("step", [1.0, 12.0])
def test_dose_and_course_do_not_depend_on_the_step(courses, step):
    one, other = courses[6.0], courses[step]
    np.testing.assert_allclose(other.doses_mg, one.doses_mg, rtol=1e-12)
    np.testing.assert_allclose(other.hidden.state, one.hidden.state, rtol=2e-4, atol=2e-5)
    a, b = one.outcomes(), other.outcomes()
    assert (a.max_icans_grade == b.max_icans_grade).all()
    np.testing.assert_allclose(a.car_auc_0_28, b.car_auc_0_28, rtol=1e-4)
    np.testing.assert_array_equal(one.results.drawn, other.results.drawn)


def test_steps_agree_with_one_simulation(people, courses):
    model = patient_model(DRUGS, regions=("brain",))
    doses = []
    for p, (cells, weight) in enumerate(zip(people.doses, people.covariates["weight_kg"])):
        mine = [*cells, Dose(49.5, "tocilizumab", 8 * weight, "mg", duration_h=7.0),
                Dose(3.0, "anakinra", 100, "mg", "sc", every_h=12, count=9), Dose(60.0, "dasatinib", 100, "mg", "po"),
                Dose(100.0, "dexamethasone", 10, "mg", every_h=6, count=7)]  # fmt: skip
        doses.append([*mine, Dose(53.0, "tocilizumab", 100, "mg", duration_h=2.0)] if p in (1, 2) else mine)
    whole = simulate(model, people.parameters, doses, [0.0, 168.0], outputs=("TOCI_C", "encephalopathy"), rtol=1e-8,
                     threads=1)  # fmt: skip
    np.testing.assert_allclose(courses[1.0].hidden.state, whole.end, rtol=2e-4, atol=2e-5)


def test_two_infusions_at_once_add_up_and_end_at_nothing():
    spans = Given(np.array([0, 0]), np.array([1.0, 2.0]), np.array([3, 3]), np.array([0.1, 0.2]), np.array([3.0, 1.0]))
    none = Given(*(np.zeros(0, d) for d in (np.int64, float, np.int64, float, float)))
    events, parts = events_of_step(none, spans, np.zeros(1), 6.0, np.zeros(4, np.int64))
    assert parts.tolist() == [[0, 4]]
    assert events["time"].tolist() == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(events["value"], [0.1, 0.3, 0.1, 0.0])
    assert events["value"][-1] == 0.0
    later, _ = events_of_step(none, spans, np.full(1, 2.5), 6.0, np.zeros(4, np.int64))
    np.testing.assert_allclose(later["value"][later["time"] == 0.0][-1], 0.3)  # goes on where the last step ended


def test_a_patient_is_the_same_alone_and_among_others(people, infusion):
    alone = make_world(people.rows([3]), drugs=DRUGS, seed=1, rtol=1e-6)
    among = infusion.branch(np.arange(6))
    for _ in range(9):
        alone.step(6.0)
        among.step(6.0)
    a, b = alone.observe(), among.observe()
    np.testing.assert_array_equal(a.value[0], b.value[3])
    np.testing.assert_array_equal(a.vitals[0], b.vitals[3])
    assert a.crs[0] == b.crs[3]


def test_a_branch_goes_on_like_its_origin_and_leaves_it_alone(infusion):
    world = infusion.branch(np.arange(6))
    world.step(60.0, treated(world))
    before = world.hidden.state.copy()
    copy = world.branch([4, 4, 1])
    copy.step(24.0)
    np.testing.assert_array_equal(world.hidden.state, before)
    world.step(24.0)
    np.testing.assert_array_equal(copy.hidden.state[0], world.hidden.state[4])
    np.testing.assert_array_equal(copy.hidden.state[2], world.hidden.state[1])
    np.testing.assert_array_equal(copy.doses_mg[1], world.doses_mg[4])


def test_new_patients_in_old_rows_start_clean(infusion):
    world = infusion.branch(np.arange(6))
    world.step(54.0, treated(world))  # infusions run and doses wait
    world.put([0, 5], infusion.branch([2, 3]))
    world.step(30.0)
    fresh = infusion.branch([2, 3])
    fresh.step(30.0)
    np.testing.assert_allclose(world.hidden.state[[0, 5]], fresh.hidden.state, rtol=1e-10)
    assert world.clock_h.tolist() == [30.0, 84.0, 84.0, 84.0, 84.0, 30.0]
    assert world.outcomes().car_auc_0_28[0] == pytest.approx(fresh.outcomes().car_auc_0_28[0])


def test_results_come_late_grow_old_and_are_marked(people):
    lab = read_assays(turnaround_h={"CRP": 5.0, "IL6": 30.0}, routine_h={"CRP": 24.0}, error=False)
    lab = replace(lab, lloq=np.where(np.array(ANALYTES) == "IL6", 1e4, lab.lloq))
    world = make_world(people, drugs=DRUGS, assays=lab)
    base = world.truth("CRP")[:, 0]
    world.order(["IL6"], who=[0])
    crp, il6 = ANALYTES.index("CRP"), ANALYTES.index("IL6")
    world.step(4.0)
    seen = world.observe()
    assert np.isnan(seen.value[:, crp]).all()
    assert seen.pending[:, crp].tolist() == [1] * 6
    assert seen.pending[:, il6].tolist() == [1, 0, 0, 0, 0, 0]
    world.step(2.0)
    seen = world.observe()
    np.testing.assert_allclose(seen.value[:, crp], base)
    assert (seen.age_h[:, crp] == 6.0).all()
    world.step(24.0)
    seen = world.observe()
    assert (seen.age_h[:, crp] == 6.0).all()
    assert seen.value[0, il6] == pytest.approx(lab.lloq[il6])
    assert bool(seen.below[0, il6])
    assert seen.age_h[0, il6] == 30.0


def test_lost_samples_never_come_and_mixed_ones_are_of_others(people):
    lost = make_world(people, drugs=DRUGS, assays=read_assays(dropped=1.0))
    mixed = make_world(people, drugs=DRUGS, assays=read_assays(wrong_patient=1.0, error=False))
    right = make_world(people, drugs=DRUGS, assays=read_assays(error=False))
    late = make_world(people, drugs=DRUGS, assays=read_assays(late_h=40.0))
    for world in (lost, mixed, right, late):
        for _ in range(6):
            world.step(6.0)
    assert np.isnan(lost.observe().value).all()
    assert (lost.observe().pending[:, 0] == 2).all()
    a, b = mixed.observe(), right.observe()
    plt = ANALYTES.index("PLT")
    np.testing.assert_array_equal(a.age_h, b.age_h)
    assert (np.abs(a.value[:, plt] / b.value[:, plt] - 1.0) > 1e-3).all()
    assert np.isnan(late.observe().value).all()


def test_eeg_and_intensive_care(infusion):
    world = infusion.branch([0, 1])
    world.eeg([True, False])
    assert np.isnan(world.observe().eeg).all()  # nothing yet
    world.transfer([False, True])
    world.step(6.0)
    seen = world.observe()
    assert np.isfinite(seen.eeg[0])
    assert np.isnan(seen.eeg[1])
    assert world.outcomes().icu_days.tolist() == [0.0, 0.25]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda w: w.give("aspirin", 1), "drug of this world"),
        (lambda w: w.give("tocilizumab", 8, route="po"), "route that tocilizumab has"),
        (lambda w: w.give("tocilizumab", -1), "at least 0"),
        (lambda w: w.give("tocilizumab", 1, count=2), "hours above 0 between doses"),
        (lambda w: w.step(0.0), "hours above 0"),
        (lambda w: w.order(["sodium"]), "analyte"),
        (lambda w: w.order(np.ones((2, 3), bool)), "shape"),
        (lambda w: w.truth("aspirin"), "output of this world"),
        (lambda w: (w.step(6.0), w.step(6.0, w.give("tocilizumab", 1, at_h=2.0))), "has not passed"),
        (lambda w: read_assays(dropped=2.0, routine_h={"CRP": 5.0}), "share from 0 to 1"),
        (lambda w: make_world(3), "Cast or a VirtualPopulation"),
        (lambda w: cast(0, "axi-cel", "LBCL"), "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(infusion, act, words):
    with pytest.raises(ModelError, match=words):
        act(infusion.branch([0, 1]))


def hours(count, **levels):
    base = dict.fromkeys(NEEDED, 0.0) | {"TUM": 1.0, "BCELL": 1.0, "ANC": 3.0}
    return [{k: np.array([levels.get(k, base[k])]) for k in NEEDED} for _ in range(count)]


@pytest.fixture
def plain():
    cuts = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    return Reader(cuts, cuts, 0.35, 1.0, np.zeros((1, 2)), np.array([0.5]), {})


def tallied(reader, *stretches):
    tally, time = Tally.begin(hours(1)[0]), 0.0
    for values in stretches:
        for one in values:
            time += 6.0
            tally.add(one, np.array([time]), 6.0, np.array([True]), reader)
    return tally


def told(tally, reader, drugs=(), doses=None):
    made = tally.columns(reader, drugs, np.zeros((1, len(drugs))) if doses is None else np.array([doses]), np.zeros(1))
    return {k: float(v[0]) for k, v in made.items()}


def test_outcome_vector_by_hand(plain):
    p = parameters()
    sick = hours(8, encephalopathy=3.4, crs_severity=2.1, car_blood=10.0, ANC=0.2, BCELL=0.01, TUM=1e-5, steroid=0.5)
    out = told(tallied(plain, hours(4), sick, hours(4, TUM=1e-5)), plain, ("dexamethasone", "methylprednisolone"),
               [10.0, 100.0])  # fmt: skip
    assert out["max_icans_grade"] == 3
    assert (out["days_icans_ge2"], out["days_icans_ge3"], out["days_crs_ge2"]) == (2.0, 2.0, 2.0)
    assert (out["neutropenia_days"], out["bcell_aplasia_days"], out["icu_days"]) == (2.0, 2.0, 2.0)
    assert out["car_auc_0_28"] == pytest.approx(20.0)  # trapezoid: half a step is lost before and won after
    assert out["tumour_log10_reduction"] == pytest.approx(5.0)
    assert out["response_probability"] == pytest.approx(
        1 / (1 + np.exp(-p["response_slope"] * (5 - p["response_middle"])))
    )
    rate = p["infection_per_day"] * (2 + 2 * p["infection_neutropenia"] * p["infection_steroid"])
    assert out["infection_days"] == pytest.approx(rate * p["infection_days_each"])
    assert out["steroid_mg_dex_equivalent"] == pytest.approx(10 + 18.75)
    assert out["death_probability"] == pytest.approx(-np.expm1(-p["death_per_infection"] * rate))
    assert (out["missed"], out["false_alarm"]) == (1, 0)


def test_deaths_rise_with_severity_and_fall_with_intensive_care(plain):
    cared = tallied(plain, hours(1, encephalopathy=4.5))
    worst = Tally.begin(hours(1)[0])
    worst.add(hours(1, encephalopathy=4.5)[0], np.array([6.0]), 6.0, np.array([True]), plain, icu_by_grade=False)
    beyond = tallied(plain, hours(1, encephalopathy=5.5))
    risks = [told(t, plain)["death_probability"] for t in (tallied(plain, hours(1)), cared, worst, beyond)]
    assert risks == sorted(risks)
    assert len(set(risks)) == 4
    assert told(beyond, plain)["max_icans_grade"] == 4


def test_every_outcome_and_assumption_has_words_and_a_source(plain):
    named = {k for k in told(tallied(plain, hours(1)), plain) if not k.startswith("dose_")}
    assert named == set(outcomes()["outcome"])
    for entry in outcomes()["parameter"].values():
        assert {"value", "unit", "source", "status"} == set(entry)
        assert entry["status"] in ("read", "recalled", "calibrated", "assumed")


def test_numbers_by_counting_are_uniform_and_do_not_depend_on_company():
    key = chance.key(1, "a")
    u = chance.uniforms(key, np.arange(20_000), 7)
    assert 0 < u.min() < u.max() < 1
    counts, _ = np.histogram(u, bins=20, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-squared, 19 degrees, 0.001
    assert u[123] == chance.uniforms(key, 123, 7)
    z = chance.normals(key, 5, np.arange(20_000))
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.03
    assert abs(np.corrcoef(u, chance.uniforms(key, np.arange(20_000), 8))[0, 1]) < 0.03
    assert abs(np.corrcoef(u, chance.uniforms(chance.key(1, "b"), np.arange(20_000), 7))[0, 1]) < 0.03


def test_forecast_ranks_other_patients(people):
    train = cast(100, "axi-cel", "LBCL", 11, drugs=DRUGS)
    made = RiskForecast.fit(*collect(train, drugs=DRUGS, rtol=1e-3))
    seen, events = collect(cast(50, "axi-cel", "LBCL", 12, drugs=DRUGS), drugs=DRUGS, rtol=1e-3)
    risk = np.concatenate([made.predict(o) for o in seen])
    y = np.concatenate(events)
    known = np.isfinite(y)
    hit, miss = risk[known & (y == 1)], risk[known & (y == 0)]
    assert (hit[:, None] > miss[None, :]).mean() > 0.75
    there = np.concatenate([o.icans >= 2 for o in seen])
    assert (risk[there] == 1.0).all()


def test_joined_doses_and_regimens_have_drugs_that_a_world_can_have(infusion):
    assert len(join([])) == 0
    world = infusion.branch([0, 1])
    for dose in regimens()["anakinra_days_0_7"].given(70.0):
        given = world.give(dose.drug, dose.amount, dose.unit, route=dose.route, at_h=dose.time_h, every_h=dose.every_h,
                           count=dose.count)  # fmt: skip
        world.step(200.0, given)
    assert world.doses_mg[:, world.drugs.index("anakinra")].tolist() == [1600.0, 1600.0]
