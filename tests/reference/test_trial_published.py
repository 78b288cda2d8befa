"""Published numbers of trial designs, and closed forms.

* Constants and inflation factors of Pocock and O'Brien-Fleming boundaries: Jennison and Turnbull 2000, tables 2.1 to
  2.4 (two-sided 5 %, power 90 %), recalled.
* rpact (Wassmer and Pahlke), its own unit tests, read in the repository rpact-com/rpact, commit 1d81a55:
  tests/testthat/test-f_design_group_sequential.R (getDesignInverseNormal, getDesignCharacteristics).
* Simon 1989, doi 10.1016/0197-2456(89)90015-9, tables 1 and 2, recalled.
* adaptr (Granholm et al. 2022, doi 10.21105/joss.04284), README as of version 1.4.0, read in the repository
  INCEPTdk/adaptr, commit 039aa48: three arms, response-adaptive, 1,000 simulations of each of two scenarios, with its
  bootstrap intervals of 95 %.
"""

import numpy as np
import pytest
from scipy.stats import norm

from icans.core.errors import ConfigError
from icans.intervene.trial import adaptive, closed, simon
from icans.intervene.trial.boundaries import boundaries, conditional_power, crossing, drift_for_power, inflation, spent
from icans.intervene.trial.design import make_design
from icans.intervene.trial.operate import operate

PUBLISHED_CONSTANTS = {  # looks: Pocock, O'Brien-Fleming, inflation of either
    2: (2.178, 1.977, 1.100, 1.007),
    3: (2.289, 2.004, 1.151, 1.016),
    5: (2.413, 2.040, 1.207, 1.026),
    10: (2.555, 2.087, 1.271, 1.037),
}


@pytest.mark.parametrize("looks", PUBLISHED_CONSTANTS)
def test_constants_of_jennison_and_turnbull(looks):
    fraction = np.arange(1, looks + 1) / looks
    pocock, obf = boundaries("pocock", fraction), boundaries("obrien_fleming", fraction)
    found = (pocock[-1], obf[-1], inflation(fraction, pocock, 0.05, 2, 0.9), inflation(fraction, obf, 0.05, 2, 0.9))
    assert found == pytest.approx(PUBLISHED_CONSTANTS[looks], abs=6e-4)
    assert obf * np.sqrt(fraction) == pytest.approx(obf[-1])


def test_rpact_obrien_fleming():
    bound = boundaries("obrien_fleming", [1 / 3, 2 / 3, 1.0], 0.025, 1)
    assert bound == pytest.approx([3.4710914, 2.4544323, 2.0040356], abs=2e-6)
    passed = crossing([1 / 3, 2 / 3, 1.0], [-np.inf] * 3, bound)
    assert passed.above.cumsum() == pytest.approx([0.00025917372, 0.0071600594, 0.025], abs=1e-8)


def test_rpact_spending_with_its_power_and_sizes():
    t = [0.2, 0.4, 1.0]
    bound = boundaries("spend_hsd", t, 0.03, 1, 0.0)
    assert bound == pytest.approx([2.5121443, 2.4228747, 2.0280392], abs=2e-6)
    none = [-np.inf] * 3
    drift = drift_for_power(t, none, bound, 0.86)
    assert drift**2 == pytest.approx(9.4594101, rel=1e-6)
    assert inflation(t, bound, 0.03, 1, 0.86) == pytest.approx(1.0788327, rel=1e-6)
    seen = crossing(t, none, bound, drift)
    assert seen.above == pytest.approx([0.12783451, 0.21271713, 0.51944835], abs=1e-6)
    ratio = drift**2 / 8.7681899  # their sizes are told over the fixed design
    assert seen.expected_fraction * ratio == pytest.approx(0.83081135, abs=1e-6)
    assert crossing(t, none, bound, 0.0).expected_fraction * ratio == pytest.approx(1.0697705, abs=1e-6)


def test_rpact_gamma_family_and_power_family():
    # their design with futility bounds that are not binding: the upper bounds are those without them
    assert boundaries("spend_hsd", [0.2, 0.4, 1.0], 0.07, 1, -1.0) == pytest.approx(
        [2.364813, 2.1928805, 1.5660474], abs=2e-6
    )
    assert spent("spend_hsd", 0.07, np.array([0.2, 0.4, 1.0]), -1.0) == pytest.approx([0.0090195874, 0.020036136, 0.07])
    found = boundaries("spend_power", [0.3, 0.7, 1.0], 0.03, 1, 2.2)
    assert found == pytest.approx([2.8594012, 2.2435708, 1.9735737], abs=2e-6)


def test_boundaries_agree_with_simulated_scores():
    t = np.array([0.3, 0.6, 1.0])
    bound = boundaries("spend_pocock", t)
    rng = np.random.default_rng(3)
    steps = rng.standard_normal((400_000, 3)) * np.sqrt(np.diff(np.r_[0, t]))
    z = steps.cumsum(axis=1) / np.sqrt(t)
    assert np.mean((np.abs(z) > bound).any(axis=1)) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 400_000))


def test_conditional_power_at_the_end_and_by_integration():
    z, t, final, drift = 1.2, 0.5, 1.96, 2.8
    rng = np.random.default_rng(4)
    end = z * np.sqrt(t) + drift * (1 - t) + np.sqrt(1 - t) * rng.standard_normal(400_000)
    assert conditional_power(np.array(z), t, final, drift) == pytest.approx(np.mean(end > final), abs=0.004)


@pytest.mark.parametrize(
    ("rates", "optimal", "mean", "minimax"),
    [
        ((0.05, 0.25), (0, 9, 2, 17), 12.0, (0, 12, 2, 16)),
        ((0.10, 0.30), (1, 10, 5, 29), 15.0, (1, 15, 5, 25)),
        ((0.20, 0.40), (3, 13, 12, 43), 20.6, (4, 18, 10, 33)),
    ],
)
def test_two_stage_designs_of_simon(rates, optimal, mean, minimax):
    best = simon.two_stage(*rates, 0.05, 0.8)
    assert (best.r1, best.n1, best.r, best.n) == optimal
    assert best.expected_n == pytest.approx(mean, abs=0.06)
    small = simon.two_stage(*rates, 0.05, 0.8, minimax=True)
    assert (small.r1, small.n1, small.r, small.n) == minimax
    go, stop, size = simon.characteristics(*optimal, rates[0])
    assert (go, stop, size) == pytest.approx((best.error, best.stop_early, best.expected_n))


def test_impossible_two_stages_are_refused():
    with pytest.raises(ConfigError, match="0 < p0 < p1"):
        simon.two_stage(0.4, 0.3, 0.05, 0.8)
    with pytest.raises(ConfigError, match="a design within"):
        simon.two_stage(0.30, 0.31, 0.05, 0.8, most=25)


def test_closed_forms_agree_with_each_other_and_with_statsmodels():
    from statsmodels.stats.power import NormalIndPower

    assert closed.schoenfeld_power(0.5, closed.schoenfeld_events(0.5, 0.9)) == pytest.approx(0.9, abs=1e-4)
    effect = np.log(0.6) * 0.5  # events as observations of a normal mean difference with the same information
    other = NormalIndPower().power(effect * 2, 60, 0.05, ratio=1.0) if effect else 0.0
    assert closed.schoenfeld_power(0.6, 120) == pytest.approx(other, abs=2e-3)
    exact = closed.exact_power_two_proportions(0.4, 0.2, 80, 80)
    assert closed.power_two_proportions(0.4, 0.2, 80, 80) == pytest.approx(exact, abs=0.01)


ADAPTR = {
    "no difference": ((0.25, 0.25, 0.25), {"size": (1727.2, 1772.1), "harms": (432.74, 444.66),
                      "superior": (0.04, 0.06), "equivalent": (0.35, 0.41), "most": (0.54, 0.60)}),
    "difference": ((0.25, 0.20, 0.30), {"size": (1209.895, 1273.025), "harms": (277.724, 291.991),
                   "superior": (0.706, 0.759), "equivalent": (0.125, 0.167), "most": (0.102, 0.143)}),
}  # fmt: skip


@pytest.mark.parametrize("scenario", ADAPTR)
def test_operating_characteristics_of_adaptr(scenario):
    """Ours, of 1,000 trials, lies within Monte-Carlo error of the published 1,000 (three SE of the difference)."""
    rates, published = ADAPTR[scenario]
    looks = tuple(range(300, 2001, 100))
    rules = adaptive.Rules(looks, (*range(400, 2001, 100), 2000), 3, superiority=0.9814318, inferiority=1 - 0.9814318,
                           equivalence=0.9, equivalence_margin=0.05, least=0.2)  # fmt: skip
    rng = np.random.default_rng(11)
    course = adaptive.run(rng.random((1000, 2000, 3)) < np.array(rates), rules, rng.random((1000, 2000)))
    size, harms = course.n.sum(axis=1), course.events.sum(axis=1)
    ours = {"size": (size.mean(), size.std() / np.sqrt(1000)), "harms": (harms.mean(), harms.std() / np.sqrt(1000))}
    for name, state in (("most", 0), ("superior", 1), ("equivalent", 2)):
        share = float((course.state == state).mean())
        ours[name] = (share, np.sqrt(share * (1 - share) / 1000))
    for name, (low, high) in published.items():
        theirs, se = (low + high) / 2, (high - low) / 2 / 1.96
        assert abs(ours[name][0] - theirs) < 3.0 * np.hypot(se, ours[name][1]), (name, ours[name], (low, high))
    if scenario == "difference":  # their selection of the best arm: B in 96.2 %, A in 3.8 %
        chosen = np.where(course.winner >= 0, course.winner, course.best)
        assert (chosen == 1).mean() == pytest.approx(0.962, abs=0.026)


def _operate(design, simulations=3000, **more):
    raw = {"trial": {"name": "closed form", "seed": 3}, **design}
    return operate(make_design(raw), simulations=simulations, **more)


def test_power_and_error_of_two_proportions_are_the_exact_ones():
    null, real = _operate({"arms": [{"name": "c", "rate": 0.4}, {"name": "n", "rate": 0.2}],
                           "design": {"patients": 160}})  # fmt: skip
    for found, p1 in ((null, 0.4), (real, 0.2)):
        exact = closed.exact_power_two_proportions(0.4, p1, 80, 80)
        assert found.any_rejected == pytest.approx(exact, abs=3.5 * np.sqrt(exact * (1 - exact) / 3000))


def test_power_of_the_log_rank_test_is_schoenfelds():
    """Within Monte-Carlo error, and the point by which Schoenfeld's approximation itself may be off."""
    _, real = _operate({"arms": [{"name": "c", "hazard": 0.05}, {"name": "n", "hazard": 0.03}],
                        "endpoint": {"kind": "time"}, "design": {"patients": 160}})  # fmt: skip
    events = 80 * (1 - np.exp(-0.05 * 30)) + 80 * (1 - np.exp(-0.03 * 30))
    want = closed.schoenfeld_power(0.6, events)
    assert real.found["events"].mean() == pytest.approx(events, rel=0.01)
    assert real.any_rejected == pytest.approx(want, abs=0.01 + 3 * np.sqrt(want * (1 - want) / 3000))


def test_a_group_sequential_trial_does_what_its_boundaries_say():
    looks = [1 / 3, 2 / 3, 1.0]
    null, real = _operate({"arms": [{"name": "c", "rate": 0.5}, {"name": "n", "rate": 0.35}],
                           "design": {"kind": "group_sequential", "patients": 360, "looks": looks}})  # fmt: skip
    bound = boundaries("spend_obrien_fleming", looks)
    assert null.any_rejected == pytest.approx(0.05, abs=0.01)
    drift = 0.15 / np.sqrt((0.25 + 0.35 * 0.65) / 180)
    seen = crossing(looks, -bound, bound, drift)
    stops = [(real.found["look"] == k)[real.found["rejected"][:, 0]].sum() / real.simulations for k in range(3)]
    assert stops == pytest.approx(seen.above, abs=0.025)
    assert norm.isf(0.025) < bound[-1] < 2.02
