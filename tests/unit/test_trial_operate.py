"""Whole trials: error and power of every kind, the bank, bad input."""

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ConfigError
from icans.intervene.trial import bank as banks
from icans.intervene.trial.assess import assurance, calibrate, historical_drift
from icans.intervene.trial.design import make_design, read_design
from icans.intervene.trial.operate import NULL, Scenario, operate

TWO = [{"name": "control", "rate": 0.4}, {"name": "new", "rate": 0.2}]
MARKED = [{"name": "control", "rate": 0.3, "rate_positive": 0.5}, {"name": "new", "rate": 0.3, "rate_positive": 0.2}]
MARKER = {"prevalence": 0.4, "sensitivity": 0.9, "specificity": 0.9, "failure": 0.05}
TIMED = [{"name": "control", "hazard": 0.05}, {"name": "new", "hazard": 0.025}]
KINDS = {
    "three arms": {"arms": [*TWO, {"name": "other", "rate": 0.3}], "design": {"patients": 240}},
    "competing": {"arms": TIMED, "endpoint": {"kind": "competing", "against_hazard": 0.02},
                  "design": {"patients": 160}},
    "ordinal": {"arms": [{"name": "control", "grades": [0.4, 0.3, 0.2, 0.1]},
                         {"name": "new", "grades": [0.6, 0.25, 0.1, 0.05]}],
                "endpoint": {"kind": "ordinal"}, "design": {"patients": 160}},
    "stratified": {"arms": MARKED, "biomarker": MARKER, "design": {"kind": "stratified", "patients": 300}},
    "guided": {"arms": MARKED, "biomarker": MARKER, "design": {"kind": "guided", "patients": 500}},
    "events": {"arms": TIMED, "endpoint": {"kind": "time"},
               "design": {"kind": "group_sequential", "patients": 160, "events_planned": 100, "boundary": "pocock"}},
    "single arm": {"arms": [{"name": "history", "rate": 0.8}, {"name": "new", "rate": 0.6}],
                   "design": {"kind": "single_arm", "p0": 0.2, "p1": 0.4}, "analysis": {"sided": 1}},
    "adaptive": {"arms": TWO, "design": {"kind": "adaptive", "patients": 120, "superiority": 0.981, "pipeline": 10,
                                         "least_allocation": 0.2}},
}  # fmt: skip


def _design(kind, **trial):
    return make_design({"trial": {"name": kind, "seed": 8, **trial}, **KINDS[kind]})


@pytest.mark.parametrize("kind", KINDS)
def test_every_design_keeps_its_error_and_finds_what_is_there(kind):
    simulations = 1200
    null, real = operate(_design(kind), simulations=simulations)
    assert null.any_rejected < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / simulations)
    assert null.any_rejected > 0.02
    assert real.any_rejected > 0.6
    table = real.table()
    known = table[np.isfinite(table["truth"])]
    if kind not in ("single arm", "events", "adaptive"):  # stopping early moves estimates: that is told, not hidden
        assert np.allclose(known["estimate_mean"], known["truth"], atol=0.012)
        assert ((known["coverage"] > 0.92) & (known["coverage"] < 0.975)).all()
    assert np.all(real.found["allocated"].sum(axis=1) == real.found["n"])


class Backwards:
    """Does the last item first, as workers might."""

    def map(self, function, items, label="work"):
        return [function(item) for item in items[::-1]][::-1]


def test_results_do_not_depend_on_order_of_work_or_on_how_many_trials_are_asked_for():
    design = _design("three arms")
    few, more = operate(design, simulations=250), operate(design, simulations=500)
    spread = operate(design, simulations=500, executor=Backwards())
    for a, b, c in zip(few, more, spread):
        assert np.array_equal(a.found["estimate"], b.found["estimate"][:250])
        assert np.array_equal(b.found["estimate"], c.found["estimate"])


def test_a_share_of_the_effect_lies_between_nothing_and_all():
    _, half, whole = operate(
        _design("three arms"), scenarios=[NULL, Scenario("half", 0.5), Scenario("all")], simulations=600
    )
    gap = half.rates[1] - half.rates[0], whole.rates[1] - whole.rates[0]
    assert gap[0] == pytest.approx(0.5 * gap[1], abs=0.01)
    assert 0.1 < half.any_rejected < whole.any_rejected


@pytest.mark.parametrize(("rule", "bias"), [("complete", 0.0), ("event", 0.0), ("no_event", 0.0), ("worst", 0.2)])
def test_rules_for_missing_outcomes_do_what_they_say(rule, bias):
    design = make_design({"trial": {"name": "m"}, "arms": [TWO[0], {"name": "new", "rate": 0.4}],
                          "conduct": {"missing": 0.2}, "analysis": {"missing": rule}})  # fmt: skip
    (null,) = operate(design, scenarios=[NULL], simulations=400)
    assert null.found["estimate"].mean() == pytest.approx(bias, abs=0.01)


def test_outcomes_missing_with_the_event_flatter_only_complete_cases():
    raw = {"trial": {"name": "m"}, "arms": TWO, "conduct": {"missing": 0.0, "missing_with_event": 0.4}}
    found = {}
    for rule in ("complete", "event"):
        design = make_design({**raw, "analysis": {"missing": rule}})
        found[rule] = operate(design, scenarios=[Scenario("all")], simulations=400)[0].found["estimate"].mean()
    assert found["event"] == pytest.approx(-0.2, abs=0.01)
    assert found["complete"] == pytest.approx(0.12 / 0.92 - 0.24 / 0.84, abs=0.01)


def test_assurance_averages_power_over_beliefs():
    design = make_design({"trial": {"name": "a", "seed": 2}, "arms": TWO, "design": {"patients": 160},
                          "assurance": {"nothing": 0.3, "points": 3}})  # fmt: skip
    found = assurance(design, simulations=500)
    assert found.weight.sum() == pytest.approx(1.0)
    assert found.success[0] < 0.05  # rejections in favour of harm are no success
    assert found.value == pytest.approx(found.weight @ found.success)
    assert found.success[-1] > found.value > found.success[0]


def test_a_threshold_can_be_found_that_keeps_the_error():
    loose = make_design({"trial": {"name": "c", "seed": 5}, "arms": TWO,
                         "design": {"kind": "adaptive", "patients": 100, "superiority": 0.9}})  # fmt: skip
    assert operate(loose, scenarios=[NULL], simulations=500)[0].any_rejected > 0.1
    tight = calibrate(loose, simulations=500, steps=5)
    assert tight.design.superiority > 0.95
    assert 0.02 < operate(tight, scenarios=[NULL], simulations=500)[0].any_rejected <= 0.05


def test_a_drifting_control_ruins_a_single_arm():
    table = historical_drift(_design("single arm")).set_index("drift")["called"]
    assert table[0.0] <= 0.05 < 0.2 < table[0.10]
    assert table.is_monotonic_increasing


# ---- the bank -----------------------------------------------------------------------------------------------------


def _bank(peaks):
    """A bank by hand: severity rises in a straight line to its peak on day 10 in each arm; patients in columns."""
    peaks = np.asarray(peaks, float)
    day = 10.0 * banks.LADDER[None, None, :] / peaks[:, :, None]
    reach = np.where(banks.LADDER[None, None, :] <= peaks[:, :, None], day, np.inf).astype(np.float32)
    count = peaks.shape[1]
    people = pd.DataFrame({"age_y": np.linspace(40, 80, count), "ldh": np.linspace(100, 900, count)})
    never = np.full(peaks.shape, np.inf)
    flat = np.full(peaks.shape, 10.0)
    return banks.Bank(("control", "new"), people, {"icans": reach, "crs": reach}, {"icans": peaks, "crs": peaks},
                      {"icans": flat, "crs": flat}, never, np.ones(count, dtype=bool))  # fmt: skip


SIMULATED = {
    "patients": {"product": "axi-cel", "disease": "LBCL"},
    "arms": [{"name": "control", "care": "modern"}, {"name": "new", "care": "early steroids"}],
}


def test_days_between_steps_of_the_ladder_are_right():
    bank = _bank([[2.0, 4.0], [1.0, 0.2]])
    patient, level = np.array([[0, 1, 0]]), np.array([[1.0, 3.0, 2.5]])
    assert banks.day_of(bank, "icans", 0, patient, level)[0] == pytest.approx([5.0, 7.5, np.inf], rel=1e-3)
    assert banks.day_of(bank, "icans", 1, np.array([0, 1]), np.array([1.0, 1.0])) == pytest.approx([10.0, np.inf])


def test_trials_draw_from_the_bank_and_see_what_is_in_it():
    peaks = np.vstack([np.linspace(0.1, 5.0, 400), 0.5 * np.linspace(0.1, 5.0, 400)])
    design = make_design({"trial": {"name": "b", "seed": 4}, **SIMULATED, "endpoint": {"events": ["icans>=2"]}})
    null, real = operate(design, _bank(peaks), simulations=300)
    from icans.population import artefact
    from icans.population.readings import schemes

    cut, sd = artefact.read().readings.nt["astct"].cuts[1], schemes()["noise"]["nt"]
    rng = np.random.default_rng(1)
    seen = peaks[:, rng.integers(0, 400, 200_000)] * np.exp(sd * rng.standard_normal(200_000))
    assert real.rates == pytest.approx((seen >= cut).mean(axis=1), abs=0.01)
    assert null.rates[0] == pytest.approx(null.rates[1])


def _rates(bank, **endpoint):
    design = make_design({"trial": {"name": "b", "seed": 4}, **SIMULATED, "endpoint": endpoint})
    return operate(design, bank, [Scenario("all")], simulations=200)[0].rates


def test_composites_schemes_and_readers_change_what_is_counted():
    peaks = np.vstack([np.linspace(0.1, 4.0, 300), np.linspace(0.1, 4.0, 300)])
    bank = _bank(peaks)
    icans, crs, both = (_rates(bank, events=e)[0] for e in (["icans>=2"], ["crs>=4"], ["icans>=2", "crs>=4"]))
    assert max(icans, crs) < both < icans + crs
    narrow, broad = (_rates(bank, events=["icans>=1"], icans_scheme=s)[0] for s in ("astct", "ctcae_broad"))
    assert broad > narrow + 0.05  # events that no severity causes
    sure = _rates(bank, events=["icans>=5", "death"])
    assert np.all(sure > 0)


def test_competing_events_take_the_chance_of_the_event():
    peaks = np.vstack([np.full(50, 4.0), np.full(50, 4.0)])
    bank = _bank(peaks)
    first = _rates(bank, kind="competing", events=["icans>=1"], against=["icans>=3"])[0]
    never = _rates(bank, kind="competing", events=["icans>=3"], against=["icans>=1"])[0]
    assert first > 0.98
    assert never == 0.0


def test_a_trial_without_an_eligible_patient_is_refused_with_counts():
    bank = _bank(np.ones((2, 5)))
    design = make_design({"trial": {"name": "b"}, **SIMULATED,
                          "patients": {**SIMULATED["patients"], "eligible": ["age_y <= 60", "ldh > 800"]}})  # fmt: skip
    with pytest.raises(ConfigError, match=r"age_y <= 60 \(3 of 5\); ldh > 800 \(1 of 5\)"):
        operate(design, bank, simulations=100)


def test_the_bank_is_stored_and_taken_up(tmp_path):
    design = make_design({"trial": {"name": "b"}, **SIMULATED, "patients": {**SIMULATED["patients"], "bank": 20}})
    first = banks.make_bank(design.patients, design.arms, 3, tmp_path)
    stored = sorted(tmp_path.glob("*.pickle"))
    assert len(stored) == 2
    stored[1].unlink()  # interrupted after the first arm
    again = banks.make_bank(design.patients, design.arms, 3, tmp_path)
    for toxicity in ("icans", "crs"):
        assert np.array_equal(first.reach[toxicity], again.reach[toxicity])
    assert first.peak["icans"].shape == (2, 20)


# ---- bad input ----------------------------------------------------------------------------------------------------

BAD = """
[trial]
name = "bad"

[patients]
product = "axi-sell"
disease = "LBCL"
eligible = ["age <= 75", "age_y roughly 60"]

[[arms]]
name = "control"
care = "modem"

[[arms]]
name = "control"
strategy = "wishful"

[endpoint]
events = ["icans>=7"]
icans_scheme = "astct3"

[design]
kind = "group_sequential"
looks = [0.5, 0.4, 1.0]
"""


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(BAD, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_design(path)
    told = {(p.row, p.value) for p in caught.value.problems}
    expected = {
        (6, "axi-sell"), (8, "age"), (8, "age_y roughly 60"), (12, "modem"), (15, "control"), (16, "wishful"),
        (19, "icans>=7"), (20, "astct3"), (24, "(0.5, 0.4, 1.0)"),
    }  # fmt: skip
    assert expected <= told, expected - told
    assert all(p.remedy and p.expected for p in caught.value.problems)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arms": [TWO[0]]}, "at least two arms"),
        ({"arms": [*TWO, {"name": "x", "care": "modern"}]}, "all arms simulated, or all arms stated"),
        ({"arms": [TWO[0], {"name": "x"}]}, "one of care, strategy, rate"),
        ({"design": {"kind": "stratified"}}, "a biomarker"),
        ({"design": {"kind": "single_arm", "p0": 0.5, "p1": 0.4}}, "above p0"),
        ({"design": {"kind": "adaptive", "least_allocation": 0.6}}, "at most 1/2"),
        ({"design": {"kind": "adaptive", "first_look": 300}}, "at most the 200 patients"),
        ({"design": {"kind": "adaptive", "equivalence": 0.9}}, "a margin above 0"),
        ({"design": {"patients": 10_000}, "conduct": {"sites": 1}}, "enrolment within 20 years"),
        ({"endpoint": {"kind": "time"}}, "hazard: the endpoint is time"),
        ({"endpoint": {"kind": "competing", "events": ["icans>=2"]}, "arms": TIMED}, "what competes"),
        ({"conduct": {"missing": 1.0}}, "a share below 1"),
        ({"design": {"allocation": [1, 2, 1]}}, "2 whole numbers"),
        ({"design": {"kinds": "parallel"}}, "a known setting"),
    ],
)
def test_impossible_designs_are_refused(change, expected):
    with pytest.raises(ConfigError) as caught:
        make_design({"trial": {"name": "x"}, "arms": TWO, **change})
    assert any(expected in p.expected for p in caught.value.problems), [str(p) for p in caught.value.problems]
