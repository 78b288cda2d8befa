"""What is counted from trajectories: by hand, against SciPy, and against a bootstrap written out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from icans.core.random import stream
from icans.mechanism.doses import Dose, Trigger
from icans.population.readings import readings
from icans.study import simulate_results as results
from icans.study.simulate_config import make_scenario

TIMES = np.arange(0.0, 10 * 24.0 + 1, 6.0)
TYPICAL = make_scenario({"patients": {"n": 1}})


def hill(peak: float, day: float = 5.0) -> np.ndarray:
    return peak * np.exp(-((TIMES / 24 - day) ** 2))


def run(severities: list[float], name: str = "a", failed: tuple[int, ...] = ()) -> results.ArmRun:
    """An arm whose patients have these peaks of neurological severity on day 5, and half of it in the circulation."""
    nervous = np.array([hill(s) for s in severities])
    nervous[list(failed)] = np.nan
    series = {"encephalopathy": nervous, "crs_severity": nervous / 2, "BAR_cortex": 1 - nervous / 10}
    ok = np.isfinite(nervous).all(axis=1)
    empty = pd.DataFrame(columns=results.GIVEN)
    failures = pd.DataFrame({"patient": [f + 1 for f in failed], "time_h": 0.0, "reason": "made up"})
    return results.ArmRun(name, np.arange(1, len(severities) + 1), readings(), TIMES, series, ok, failures, empty)


@pytest.mark.parametrize(("events", "n"), [(0, 10), (3, 10), (10, 10), (57, 200)])
def test_wilson_as_scipy_has_it(events, n):
    other = binomtest(events, n).proportion_ci(method="wilson")
    assert results.wilson(events, n) == pytest.approx((other.low, other.high), abs=1e-9)


def test_grades_are_where_the_cuts_are():
    cuts = readings().nt["astct"].cuts
    peaks = [0.9 * cuts[0], *(c * 1.01 for c in cuts)]
    for peak, grade in zip(peaks, range(6), strict=True):
        assert results.graded(run([peak]), TYPICAL)["ICANS"].grade.tolist() == [grade]


def test_nobody_is_graded_after_death():
    table = results.daily(run([9.0]), TYPICAL, 0)
    nervous = table[table["toxicity"] == "ICANS"]
    assert nervous["grade"].iloc[-1] == results.DEATH
    assert (nervous["grade"] == results.DEATH).sum() == 1
    assert table["day"].max() == nervous["day"].max() < 9


def test_days_are_whole_and_the_end_begins_no_new_one():
    table = results.daily(run([2.0]), TYPICAL, 0)
    assert table.groupby("toxicity")["day"].apply(list).tolist() == [list(range(10))] * 2


def test_who_failed_in_one_arm_is_left_out_of_all():
    arms = [run([1.5, 2.0, 3.0], "a", failed=(1,)), run([1.0, 1.0, 1.0], "b")]
    assert results.kept(arms).tolist() == [True, False, True]
    bands = results.bands(arms, ["encephalopathy"])
    top = bands[bands["arm"] == "a"]["q50"].max()
    assert top == pytest.approx((1.5 + 3.0) / 2)


def test_differences_are_paired_and_their_interval_is_that_of_a_bootstrap():
    rng = stream(1, "test")
    first, second = rng.integers(0, 4, 80), rng.integers(0, 4, 80)
    rows = [(arm, k + 1, g) for arm, grades in (("a", first), ("b", second)) for k, g in enumerate(grades)]
    table = pd.DataFrame(rows, columns=["arm", "patient", "icans_grade"]).assign(crs_grade=0)
    found = results.differences(table, ["a", "b"], seed=3).set_index("label").loc["ICANS, grade 3+"]
    gap = (second >= 3).astype(float) - (first >= 3)
    picks = rng.integers(0, 80, (20_000, 80))
    low, high = np.quantile(gap[picks].mean(axis=1), [0.025, 0.975])
    assert found["value"] == pytest.approx(gap.mean())
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.02)


def test_worst_grades_are_shares():
    table = pd.DataFrame({"arm": "a", "patient": [1, 2, 3, 4], "icans_grade": [0, 0, 1, 4], "crs_grade": [1, 1, 1, 1]})
    shares = results.worst(table).set_index(["toxicity", "grade"])["share"]
    assert shares["ICANS"].tolist() == [0.5, 0.25, 0, 0, 0.25, 0]
    assert shares["CRS"].tolist() == [0, 1, 0, 0, 0, 0]


def test_patients_shown_are_severe_ones_spread_by_severity():
    grades = [0, 1, 3, 3, 3, 5, 2]
    peaks = [0.1, 1.0, 2.7, 3.3, 3.0, 9.0, 2.0]
    table = pd.DataFrame({"arm": "a", "patient": range(1, 8), "icans_grade": grades, "encephalopathy_peak": peaks})
    assert results.examples(table, "a", 1) == [5]
    assert results.examples(table, "a", 3) == [3, 5, 4]
    assert results.examples(table.assign(icans_grade=0), "a", 1) == [3]  # the median of all


def test_the_barrier_map_is_about_the_ill_where_there_are_enough():
    many = run([0.1] * 5 + [3.0] * 5)
    table = pd.DataFrame({"arm": "a", "patient": many.ids, "icans_grade": [0] * 5 + [3] * 5})
    mask, who = results.cases([many], table)
    assert mask.sum() == 5
    assert who == "the 5 virtual patients who have ICANS"
    mask, who = results.cases([many], table.assign(icans_grade=0))
    assert mask.all()
    assert who == "the virtual patients"


def test_doses_that_triggers_gave_are_dated_from_the_firing():
    rule = Trigger("TEMP", 38.5, "up", (Dose(0, "anakinra", 100, "mg", every_h=12, count=3),), delay_h=2, label="r [1]")
    found = SimpleNamespace(
        times_h=np.array([0.0, 40.0]), fired=(SimpleNamespace(patient=2, label="r [1]", time_h=20.0),)
    )
    given = results.given_by(found, (rule,), np.array([11, 12, 13]))
    assert given[["patient", "time_h"]].to_numpy().tolist() == [[12, 22.0], [12, 34.0]]  # the third is after the end


def test_timing_counts_those_who_have_it():
    table = pd.DataFrame(
        {"arm": "a", "icans_grade": [0, 1, 3], "icans_onset_day": [np.nan, 4, 6], "icans_duration_days": [np.nan, 2, 8],
         "crs_grade": 0, "crs_onset_day": np.nan, "crs_duration_days": np.nan}
    )  # fmt: skip
    told = results.timing(table).set_index("toxicity")
    assert told.loc["ICANS", "patients"] == 2
    assert told.loc["ICANS", "onset"].startswith("5 (")
    assert told.loc["CRS", "onset"] == "–"
