"""Worst grades, daily shares, states of missingness: small tables worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import make
from icans.report.missing import daily_missingness
from icans.report.outcomes import daily_worst, grade_shares, main_scheme, onset_h, outcome_groups, worst_grade
from report_cohorts import synthetic_cohort


def graded(rows, patients="ab"):
    frame = pd.DataFrame(rows, columns=["patient_id", "time_h", "scheme", "grade", "source"]).assign(toxicity="ICANS")
    return make("hand", {"patients": pd.DataFrame({"patient_id": list(patients)}), "grades": frame})


def test_the_scheme_with_most_patients_speaks():
    cohort = graded(
        [("a", 0, "CARTOX", 1, "derived"), ("b", 0, "CARTOX", 2, "derived"), ("a", 0, "ASTCT", 4, "delivered")]
    )
    assert main_scheme(cohort, "ICANS") == ("CARTOX", "derived")
    assert worst_grade(cohort, "ICANS").to_dict() == {"a": 1.0, "b": 2.0}


def test_delivered_before_derived_and_astct_before_others():
    rows = [("a", 0, s, 1, o) for s in ("CARTOX", "ASTCT") for o in ("derived", "delivered")]
    assert main_scheme(graded(rows), "ICANS") == ("ASTCT", "delivered")
    assert main_scheme(graded(rows), "CRS") is None


def test_groups_and_onset():
    rows = [
        ("a", 24, "ASTCT", 0.5, "delivered"),
        ("a", 48, "ASTCT", 2.5, "delivered"),
        ("b", 0, "ASTCT", 0, "delivered"),
    ]
    cohort = graded(rows, "abc")
    assert outcome_groups(cohort).tolist() == ["ICANS grade 1–2", "No ICANS", "Not graded"]
    assert onset_h(cohort, "ICANS").to_dict() == {"a": 48.0}
    assert np.isnan(worst_grade(cohort, "ICANS")["c"])


def test_a_worst_grade_without_a_time_counts_but_has_no_day():
    cohort = graded([("a", np.nan, "ASTCT", 3, "delivered")])
    assert worst_grade(cohort, "ICANS")["a"] == 3
    assert daily_worst(cohort, "ICANS").empty


def test_shares_by_hand():
    daily = pd.DataFrame({"patient_id": list("abab"), "day": [0, 0, 2, 3], "grade": [0.0, 1.5, 3.0, 4.0]})
    shares = grade_shares(daily, 0, 3).set_index("day")
    assert shares["n"].tolist() == [2, 0, 1, 1]
    assert shares.loc[0, [0, 1, 2]].tolist() == [0.5, 0.0, 0.5]
    assert shares.loc[1, range(6)].isna().all()


def test_shares_sum_to_one_wherever_anyone_was_graded():
    shares = grade_shares(daily_worst(synthetic_cohort(), "ICANS"), 0, 20)
    sums = shares[list(range(6))].sum(axis=1)
    assert np.allclose(sums[shares["n"] > 0], 1.0)


def test_four_states_of_a_day_by_hand():
    labs = pd.DataFrame(
        [
            ("a", 0.0, "crp", 5.0, "none", np.nan), ("a", 1.0, "crp", np.nan, "none", np.nan),
            ("b", 0.0, "crp", 1.0, "left", 1.0), ("c", 0.0, "crp", np.nan, "none", np.nan),
            ("d", 0.0, "il_6", 2.0, "none", np.nan), ("d", 30.0, "il_6", 2.0, "none", np.nan),
        ],
        columns=["patient_id", "time_h", "analyte", "value", "censor", "limit"],
    )  # fmt: skip
    cohort = make("hand", {"patients": pd.DataFrame({"patient_id": list("abcde")}), "measurements": labs})
    table = daily_missingness(cohort, 0, 5).set_index(["analyte", "day"])
    crp = table.loc[("crp", 0)]
    assert crp.to_dict() == {"observed": 4, "measured": 1, "censored": 1, "missing": 1, "not_measured": 1}
    assert table.loc[("crp", 1)].to_dict() == {
        "observed": 1, "measured": 0, "censored": 0, "missing": 0, "not_measured": 1,
    }  # fmt: skip
    assert set(table.index.get_level_values("day")) == {0, 1}


def test_states_add_up_to_the_patients_observed():
    table = daily_missingness(synthetic_cohort(), -3, 20)
    states = table[["measured", "censored", "missing", "not_measured"]]
    assert (states.sum(axis=1) == table["observed"]).all()
    assert (states >= 0).all().all()
    assert {"measured", "censored", "missing"} <= set(states.columns[states.sum() > 0])


@pytest.mark.parametrize("toxicity", ["CRS", "TIAN"])
def test_no_grades_of_a_toxicity(toxicity):
    cohort = graded([("a", 0, "ASTCT", 1, "delivered")])
    assert worst_grade(cohort, toxicity).isna().all()
    assert onset_h(cohort, toxicity).empty
