"""Table 1, worked by hand on a few made-up patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import make
from icans.report.tables import OVERALL, lay_out, table_one
from report_cohorts import synthetic_cohort


@pytest.fixture
def cohort():
    """Four made-up patients: ages 50, 60, 70 and missing; two had ICANS."""
    patients = pd.DataFrame(
        {"patient_id": list("abcd"), "age_y": [50, 60, 70, np.nan], "sex": ["female", "male", "male", None],
         "site": ["X", "X", "Y", None]}
    )  # fmt: skip
    grades = pd.DataFrame(
        {"patient_id": ["a", "a", "b", "c"], "time_h": [0.0, 72.0, 48.0, 24.0], "toxicity": "ICANS", "scheme": "ASTCT",
         "grade": [0.0, 3.0, 1.0, 0.0]}
    )  # fmt: skip
    labs = pd.DataFrame(
        {"patient_id": ["a", "a", "a", "b"], "time_h": [-48.0, -2.0, 5.0, -900.0], "analyte": "crp",
         "value": [9, 5, 99, 7], "unit": "mg/L"}
    )  # fmt: skip
    given = pd.DataFrame(
        {"patient_id": ["a", "a", "b"], "time_h": [1.0, 2.0, 3.0], "drug": ["tocilizumab"] * 2 + ["car_t"]}
    )
    return make("hand", {"patients": patients, "grades": grades, "measurements": labs, "treatments": given})


def row(table, variable, group, level=None):
    mine = table[(table["variable"] == variable) & (table["group"] == group)]
    if level is not None:
        mine = mine[mine["level"] == level]
    assert len(mine) == 1
    return mine.iloc[0]


def test_a_number_by_hand(cohort):
    age = row(table_one(cohort), "Age, years", OVERALL)
    assert (age["n"], age["missing"], age["median"], age["q1"], age["q3"]) == (3, 1, 60, 55, 65)


def test_a_share_is_of_those_with_a_value(cohort):
    male = row(table_one(cohort), "Sex", OVERALL, "male")
    assert (male["count"], male["n"], male["missing"]) == (2, 3, 1)
    assert male["share"] == pytest.approx(2 / 3)


def test_groups_by_outcome_cover_everyone(cohort):
    table = table_one(cohort, by="outcome")
    sizes = table.drop_duplicates("group").set_index("group")["size"].to_dict()
    assert sizes == {OVERALL: 4, "No ICANS": 1, "ICANS grade 1–2": 1, "ICANS grade ≥ 3": 1, "Not graded": 1}


def test_a_missing_group_has_its_own_name_and_the_grouping_is_not_a_row(cohort):
    table = table_one(cohort, by="site")
    assert list(dict.fromkeys(table["group"])) == [OVERALL, "X", "Y", "not recorded"]
    assert "Site" not in set(table["variable"])


def test_baseline_is_the_last_value_at_or_before_infusion_within_reach(cohort):
    crp = row(table_one(cohort), "Baseline C-reactive protein, mg/L", OVERALL)
    assert (crp["n"], crp["median"]) == (1, 5.0)


def test_baselines_in_other_units_stay_apart(cohort):
    labs = cohort.measurements.copy()
    labs["unit"] = labs["unit"].astype(object)
    labs.loc[labs["patient_id"] == "b", ["time_h", "unit"]] = [-1.0, None]
    table = table_one(cohort.with_table("measurements", labs))
    assert row(table, "Baseline C-reactive protein, mg/L", OVERALL)["n"] == 1
    assert row(table, "Baseline C-reactive protein, unit not declared", OVERALL)["n"] == 1


def test_drugs_count_patients_not_doses(cohort):
    assert row(table_one(cohort), "Tocilizumab given", OVERALL, "yes")["count"] == 1


def test_standardised_difference_against_the_formula():
    cohort = synthetic_cohort(40)
    by = pd.Series(["u"] * 20 + ["v"] * 20, index=cohort.patient_ids)
    table = table_one(cohort, by=by)
    age = cohort.patients.set_index("patient_id")["age_y"]
    u, v = age[by == "u"].dropna(), age[by == "v"].dropna()
    expected = abs(u.mean() - v.mean()) / np.sqrt((u.var(ddof=1) + v.var(ddof=1)) / 2)
    assert row(table, "Age, years", "u")["difference"] == pytest.approx(expected)
    sex = cohort.patients.set_index("patient_id")["sex"]
    p, q = (sex[by == "u"] == "male").mean(), (sex[by == "v"] == "male").mean()
    expected = abs(p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    assert row(table, "Sex", "v", "male")["difference"] == pytest.approx(expected)


def test_counts_add_up_over_groups():
    cohort = synthetic_cohort(50)
    table = table_one(cohort, by="source")
    counts = table[table["kind"] == "count"]
    parts = counts[counts["group"] != OVERALL].groupby(["variable", "level"])["count"].sum()
    whole = counts[counts["group"] == OVERALL].set_index(["variable", "level"])["count"]
    pd.testing.assert_series_equal(parts.sort_index(), whole.sort_index(), check_names=False, check_index_type=False)


def test_layout_reads_as_a_table(cohort):
    shown = lay_out(table_one(cohort, by="outcome")).set_index("Characteristic")
    assert shown.loc["Age, years, median [IQR]", "All patients (n = 4)"] == "60 [55 to 65]; missing 1"
    assert shown.loc["    male", "All patients (n = 4)"] == "2 (67%)"
    assert "n 2" in shown.loc["Day of first ICANS grade ≥ 1 (cases), median [IQR]", "All patients (n = 4)"]
    assert "Std. diff." in shown.columns
    assert "Std. diff." not in lay_out(table_one(cohort)).columns


def test_a_cohort_of_nobody_known():
    bare = make("bare", {"patients": pd.DataFrame({"patient_id": ["a"]})})
    assert table_one(bare).empty
    assert lay_out(table_one(bare)).empty
