"""Features: each statistic against a plain loop, and the rules of what counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort, make
from icans.core.errors import DataError
from icans.forecast.features import FeatureSpec, feature_table


def one(rows: list[tuple[float, float, float]], *, unit: str = "mg/L", **tables: object) -> Cohort:
    """One patient's CRP as (time_h, available_h, value)."""
    frame = pd.DataFrame(rows, columns=["time_h", "available_h", "value"])
    frame = frame.assign(patient_id="a", analyte="crp", matrix="serum", unit=unit)
    return make(
        "one", {"patients": pd.DataFrame({"patient_id": ["a"], "age_y": [61.0]}), "measurements": frame, **tables}
    )


SPEC = FeatureSpec(analytes=("crp",), scores=(), missingness_features=True)


def at(cohort: Cohort, landmark: float, spec: FeatureSpec = SPEC) -> pd.Series:
    return feature_table(cohort, [landmark], spec).iloc[0]


def test_statistics_by_hand():
    cohort = one([(0, 4, 10.0), (24, 28, 20.0), (48, 52, 60.0), (72, 76, 5.0)])
    found = at(cohort, 60.0)
    assert found["day"] == 2.5
    assert found["static.age_y"] == 61.0
    assert found["lab.crp.last"] == 60.0
    assert found["lab.crp.max_all"] == 60.0
    assert found["lab.crp.min_all"] == 10.0
    assert found["lab.crp.mean_all"] == 30.0
    assert found["lab.crp.slope_all"] == pytest.approx(25.0)  # per day
    assert found["lab.crp.area_all"] == pytest.approx(15.0 + 40.0)  # value x day
    assert found["lab.crp.count_all"] == 3
    assert found["lab.crp.age_d"] == pytest.approx(0.5)


def test_a_result_counts_when_it_is_known_not_when_it_was_drawn():
    cohort = one([(0, 4, 10.0), (24, 50, 99.0)])
    assert at(cohort, 49.0)["lab.crp.last"] == 10.0
    assert at(cohort, 50.0)["lab.crp.last"] == 99.0


def test_newest_is_by_sample_time_even_when_an_older_sample_is_reported_later():
    cohort = one([(10, 60, 1.0), (20, 30, 2.0)])
    assert at(cohort, 72.0)["lab.crp.last"] == 2.0


def test_windows_look_back_from_the_landmark():
    cohort = one([(0, 0, 100.0), (80, 80, 1.0), (90, 90, 3.0)])
    found = at(cohort, 96.0)
    assert found["lab.crp.max_3d"] == 3.0
    assert found["lab.crp.max_all"] == 100.0


def test_one_sample_has_no_slope_and_no_area():
    found = at(one([(0, 0, 7.0)]), 24.0)
    assert np.isnan(found["lab.crp.slope_all"])
    assert found["lab.crp.area_all"] == 0.0


def test_nothing_known_is_missing_not_zero():
    found = at(one([(48, 48, 7.0)]), 24.0)
    assert np.isnan(found["lab.crp.last"])
    assert found["lab.crp.count_all"] == 0


def test_a_censored_result_enters_with_its_limit():
    frame = pd.DataFrame(
        {"patient_id": "a", "time_h": [0.0, 5.0], "analyte": "crp", "value": np.nan, "censor": ["left", "none"],
         "limit": [0.6, 3.0], "unit": "mg/L"}
    )  # fmt: skip
    cohort = make("c", {"patients": pd.DataFrame({"patient_id": ["a"]}), "measurements": frame})
    assert at(cohort, 24.0)["lab.crp.last"] == 0.6


def test_two_units_are_refused():
    frame = pd.DataFrame(
        {"patient_id": "a", "time_h": [0.0, 5.0], "analyte": "crp", "value": 1.0, "unit": ["mg/L", "mg/dL"]}
    )
    cohort = make("c", {"patients": pd.DataFrame({"patient_id": ["a"]}), "measurements": frame})
    with pytest.raises(DataError, match="one unit for crp"):
        feature_table(cohort, [24.0])


def test_another_matrix_is_another_feature():
    frame = pd.DataFrame(
        {"patient_id": "a", "time_h": 0.0, "analyte": "il_6", "value": [1.0, 50.0, 2.0],
         "matrix": ["plasma", "csf", "serum"], "unit": "pg/mL"}
    )  # fmt: skip
    cohort = make("c", {"patients": pd.DataFrame({"patient_id": ["a"]}), "measurements": frame})
    found = feature_table(cohort, [24.0]).iloc[0]
    assert found["lab.il_6.max_all"] == 2.0
    assert found["lab.il_6@csf.last"] == 50.0


def test_grades_and_drugs_as_known():
    grades = pd.DataFrame(
        {"patient_id": "a", "time_h": [0.0, 24.0, 48.0, 120.0], "available_h": [24.0, 48.0, 72.0, 144.0],
         "toxicity": "CRS", "scheme": "ASTCT", "grade": [0.0, 2.0, 1.0, 4.0]}
    )  # fmt: skip
    drugs = pd.DataFrame({"patient_id": "a", "time_h": [50.0, 60.0], "drug": ["tocilizumab", "dexamethasone"]})
    cohort = one([(0, 0, 1.0)], grades=grades, treatments=drugs)
    found = at(cohort, 72.0)
    assert (found["grade.CRS.now"], found["grade.CRS.max"], found["grade.CRS.max_d0_3"]) == (1.0, 2.0, 2.0)
    assert (found["drug.tocilizumab.given"], found["drug.steroid.given"], found["drug.anakinra.given"]) == (1, 1, 0)
    late = at(cohort, 200.0)
    assert (late["grade.CRS.max"], late["grade.CRS.max_d0_3"], late["drug.steroid.recent"]) == (4.0, 2.0, 0.0)
    early = at(cohort, 20.0)
    assert (early["grade.CRS.now"], early["drug.steroid.given"]) == (0.0, 0.0)


def test_sampling_features_are_off_by_default():
    names = feature_table(one([(0, 0, 1.0)]), [24.0]).columns
    assert not [n for n in names if ".age_d" in n or ".count" in n]


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="statistics must be of"):
        FeatureSpec(statistics=("median",))


def test_one_landmark_for_each_patient():
    cohort = simulated(5)
    table = feature_table(cohort, {"p0001": 24.0, "p0003": 100.0})
    assert table.index.tolist() == [("p0001", 24.0), ("p0003", 100.0)]
    every = feature_table(cohort, [24.0, 100.0], FeatureSpec().resolve(cohort))
    pd.testing.assert_series_equal(table.iloc[1], every.loc[("p0003", 100.0)])


@pytest.mark.parametrize("window", [None, 3.0])
def test_statistics_agree_with_a_plain_loop(window):
    cohort = simulated(12, seed=3)
    spec = FeatureSpec(analytes=("crp", "ferritin"), windows_d=(window,), scores=())
    table = feature_table(cohort, [60.0, 130.0], spec)
    suffix = "all" if window is None else "3d"
    rows = cohort.measurements
    for (pid, landmark), found in table.iterrows():
        for analyte in ("crp", "ferritin"):
            mine = rows[(rows["patient_id"] == pid) & (rows["analyte"] == analyte) & (rows["available_h"] <= landmark)]
            if window is not None:
                mine = mine[mine["time_h"] > landmark - 72.0]
            day, value = mine["time_h"].to_numpy() / 24, mine["value"].to_numpy()
            expected = {
                "max": value.max() if len(value) else np.nan,
                "min": value.min() if len(value) else np.nan,
                "mean": value.mean() if len(value) else np.nan,
                "slope": np.polyfit(day, value, 1)[0] if len(value) > 1 else np.nan,
                "area": np.trapezoid(value, day) if len(value) else np.nan,
            }
            for name, number in expected.items():
                np.testing.assert_allclose(found[f"lab.{analyte}.{name}_{suffix}"], number, rtol=1e-9, err_msg=name)
