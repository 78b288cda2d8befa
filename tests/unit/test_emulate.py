"""Clone, censor, weight: against a known truth, a g-formula from the same data, records by hand, and a real cohort."""

import os

import numpy as np
import pandas as pd
import pytest

import icans as ic
from emulate_cases import DAYS, World, draw, truth
from icans.core.errors import DataError, NotEstimableError
from icans.intervene.emulate import diagnose
from icans.intervene.emulate.courses import Courses, Protocol, courses_of
from icans.intervene.emulate.estimate import ARMS, clone, emulate, naive, risks
from icans.intervene.emulate.weights import pooled_logistic


def _exact(**more):
    return Protocol(days=DAYS, ridge=0.0, most_weight=1.0, **more)


@pytest.fixture(scope="module")
def many():
    return draw(World(), 40_000, 1)


@pytest.mark.parametrize("grace", [0, 1, 2])
def test_the_truth_is_found(many, grace):
    protocol = _exact(grace=grace)
    ones = np.ones(len(many.patients))
    found = risks(many, clone(many, protocol, ones), protocol, ones)[:, -1]
    want = [truth(World(), protocol, arm) for arm in ARMS]
    assert found == pytest.approx(want, abs=0.012)
    events, counts = zip(*naive(many, protocol).values())
    crude = np.array(events) / np.array(counts)
    assert abs((crude[0] - crude[1]) - (want[0] - want[1])) > 0.02  # what the naive comparison gets wrong


def _g_formula(courses, protocol, arm):
    """The non-parametric g-formula: shares of the data, carried forward under the arm. No weights, no clones."""
    c, length = courses.covariates[:, 0, 0], courses.grade.shape[1]
    start, event = courses.start, courses.first(protocol.outcome)
    risk = 0.0
    for sign in (0.0, 1.0):
        mine = c == sign
        state = {(1, False): 1.0}
        for k in range(length):
            if k > 0:
                after = {}
                for (g, on), p in state.items():
                    here = mine & (courses.grade[:, k - 1] == g) & ((start <= k - 1) == on) & (event > k - 1)
                    if not here.any():
                        continue
                    risk += mine.mean() * p * np.mean(event[here] == k)
                    for to in (1, 2):
                        share = np.mean((event[here] != k) & (courses.grade[here, k] == to))
                        after[(to, on)] = after.get((to, on), 0.0) + p * share
                state = after
            chosen = {}
            for (g, on), p in state.items():
                here = mine & (courses.grade[:, k] == g) & (start >= k) & (event > k)
                natural = np.mean(start[here] == k) if here.any() else 0.0
                forced = 1.0 if k == protocol.grace else natural
                begin = 1.0 if on else forced if arm == "early" else natural if g >= protocol.wait else 0.0
                chosen[(g, True)] = chosen.get((g, True), 0.0) + p * begin
                chosen[(g, False)] = chosen.get((g, False), 0.0) + p * (1 - begin)
            state = chosen
    return risk


@pytest.mark.parametrize("grace", [0, 1])
def test_it_agrees_with_a_g_formula_from_the_same_patients(many, grace):
    protocol = _exact(grace=grace)
    ones = np.ones(len(many.patients))
    found = risks(many, clone(many, protocol, ones), protocol, ones)[:, -1]
    other = [_g_formula(many, protocol, arm) for arm in ARMS]
    assert found == pytest.approx(other, abs=0.01)  # the other pools what is Markov: other noise


def test_without_an_effect_there_is_none_to_find():
    courses, protocol = draw(World(help=1.0), 12_000, 3), _exact(grace=1)
    ones = np.ones(len(courses.patients))
    early, wait = risks(courses, clone(courses, protocol, ones), protocol, ones)[:, -1]
    assert early - wait == pytest.approx(0.0, abs=0.025)
    (a, b), (c, d) = naive(courses, protocol).values()
    assert abs(a / b - c / d) > 0.05  # the naive comparison finds one all the same


def test_a_seed_gives_the_same_interval_and_the_ends_lie_around_the_value():
    courses, protocol = draw(World(), 300, 3), _exact(grace=1)
    first, again = (emulate(courses, protocol, 4, resamples=15).difference for _ in range(2))
    assert first == again
    assert first[1] < first[0] < first[2]


def test_losing_the_well_is_made_up_for_by_weights():
    """Patients at grade 1 leave the hospital; those left are worse. Without weights the risk is too high."""
    courses = draw(World(), 30_000, 5)
    rng = np.random.default_rng(6)
    leaves = (rng.random(courses.grade.shape) < 0.25) & (courses.grade == 1)
    leaves[:, 0] = False
    gone = np.where(leaves.any(axis=1), leaves.argmax(axis=1), DAYS)
    known = np.arange(DAYS + 1)[None, :] <= gone[:, None]
    seen = Courses(courses.patients, np.where(known, courses.grade, 0.0), courses.treated, known,
                   courses.covariates, courses.names)  # fmt: skip
    ones = np.ones(len(courses.patients))
    protocol = _exact(grace=1, after_last="censored")
    want = np.array([truth(World(), protocol, arm) for arm in ARMS])
    found = risks(seen, clone(seen, protocol, ones), protocol, ones)[:, -1]
    assert found == pytest.approx(want, abs=0.03)


def test_pooled_logistic_is_that_of_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, -1.0]
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.3 + 0.5 * x[:, 0] - 0.1 * x[:, 1])))).astype(float)
    w = rng.integers(0, 3, 400).astype(float)
    fit = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial(), freq_weights=w).fit()
    assert pooled_logistic(x, y, w, 0.0) == pytest.approx(np.asarray(fit.params), abs=1e-6)
    shrunk = pooled_logistic(x, y, w, 1e6)
    assert shrunk[1:] == pytest.approx(0.0, abs=1e-3)


def _cohort():
    """Six patients by hand: who is eligible, and who is not, and why."""
    grades = {"a": [0, 1, 2, 3, 0], "b": [0, 1, 1, 0, 0], "c": [0, 2, 3, 1, 0], "d": [0, 0, 0, 0, 0],
              "e": [0, 0, 1, 1, 0], "f": [1, 0, 0]}  # fmt: skip
    doses = {"a": [2], "b": [1], "e": [1], "c": [1]}
    rows = [(p, 24.0 * k, "ICANS", g) for p, seen in grades.items() for k, g in enumerate(seen)]
    rows += [(p, 24.0 * k, "CRS", 1) for p in grades for k in range(3)]
    table = pd.DataFrame(rows, columns=["patient_id", "time_h", "toxicity", "grade"])
    table = table.assign(available_h=table["time_h"] + 24.0, scheme="ASTCT", source="delivered", lower_bound=False)
    given = pd.DataFrame([(p, 24.0 * k) for p, ks in doses.items() for k in ks], columns=["patient_id", "time_h"])
    given = given.assign(drug="dexamethasone", available_h=given["time_h"])
    from icans.cohort.cohort import make

    patients = pd.DataFrame({"patient_id": list(grades)})
    return make("hand", {"patients": patients, "grades": table, "treatments": given})


def test_courses_by_hand():
    protocol = Protocol(days=4)
    found = courses_of(_cohort(), protocol)
    assert found.patients == ("a", "b", "f")
    assert dict(found.flow) == {"in the cohort": 6, "never any ICANS": 1, "first grade was not 1": 1,
                                "corticosteroid before time zero": 1, "eligible": 3}  # fmt: skip
    assert found.grade.tolist() == [[1, 2, 3, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert found.start.tolist() == [1, 0, 10_000]
    assert found.last.tolist() == [3, 3, 2]
    assert found.first(3).tolist() == [2, 10_000, 10_000]
    made = clone(found, protocol, np.ones(3))
    assert made.stays[0, :, -1].tolist() == [True, True, False]  # c did not begin within the grace period
    assert made.stays[1, :, -1].tolist() == [True, False, True]  # a waited for grade 2, b did not


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"entry": 2}, "entry < wait <= outcome"),
        ({"grace": 10}, "below the follow-up"),
        ({"covariates": ("crs", "mood")}, "some of grade"),
        ({"toxicity": "HLH"}, "rows with a grade"),
        ({"drug": "ruxolitinib"}, "days on which the drug was given"),
    ],
)
def test_what_is_no_target_trial_is_refused(change, expected):
    with pytest.raises(DataError) as caught:
        courses_of(_cohort(), Protocol(**change))
    assert any(expected in p.expected for p in caught.value.problems)


def test_an_arm_that_nobody_followed_is_not_estimable():
    courses = draw(World(start=((0.0, 0.0), (0.0, 0.0))), 60, 1)
    with pytest.raises(NotEstimableError, match="early"):
        emulate(courses, _exact(grace=0), resamples=5)


@pytest.mark.skipif("ICANS_DATA" not in os.environ, reason="needs ICANS_DATA: nulisa_cart_lbcl")
def test_the_real_cohort_answers_little_and_says_so():
    courses = courses_of(ic.load("nulisa_cart_lbcl"), Protocol())
    found = emulate(courses, Protocol(), resamples=100)
    value, low, high = found.difference
    assert low < value < high
    assert high - low > 0.4
    told = " ".join(diagnose.limits(found))
    assert "effective number" in told
    assert "not recorded" in told
    assert diagnose.weights_table(found)["effective number"].max() < 10
    assert set(diagnose.balance(courses, found.cloned)["arm"]) == set(ARMS)
