"""Harmonisation on real cohorts: units that nobody declared, limits, typing errors, time and memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, make
from icans.harmonize.pipeline import Harmonized, HarmonizeSettings, harmonize

NAMES = {
    "Temp": "temperature",
    "CRP": "crp",
    "Ferritin": "ferritin",
    "Procalcitonin": "procalcitonin",
    "IL_6": "il_6",
    "WBC": "wbc",
}


@pytest.fixture(scope="module")
def daily(data_folder: Path) -> pd.DataFrame:
    path = data_folder / "bwh_icans" / "daily.csv"
    if not path.exists():
        pytest.skip("the folder of public data has no bwh_icans/daily.csv")
    table = pd.read_csv(path).assign(order=lambda d: np.arange(len(d)))
    long = table.melt(["SID", "HospitalDay", "order"], list(NAMES), "column", "value").dropna(subset="value")
    long = long.assign(
        analyte=long["column"].map(NAMES), patient_id=long["SID"].astype(str), time_h=24.0 * long["HospitalDay"]
    )
    # One row a patient, time and analyte in the order of the file, as the cohort sorts them.
    return long.sort_values(["patient_id", "time_h", "analyte"], kind="stable", ignore_index=True)


@pytest.fixture(scope="module")
def cohort(daily: pd.DataFrame) -> Cohort:
    rows = daily[["patient_id", "time_h", "analyte", "value"]].assign(available_h=daily["time_h"] + 24.0)
    patients = pd.DataFrame({"patient_id": sorted(daily["patient_id"].unique())})
    return make("bwh", {"patients": patients, "measurements": rows})


#: Everything that merges or drops rows is off, so that rows in and out can be compared one by one.
ONE_BY_ONE = HarmonizeSettings(placeholders=False, conflicts="keep", limits=False, precision="none")


@pytest.fixture(scope="module")
def harmonized(cohort: Cohort) -> Harmonized:
    return harmonize(cohort, ONE_BY_ONE)


def truth_by_value(daily: pd.DataFrame) -> pd.Series:
    """Rows stored in another unit, judged by eye and by physiology, not by any rule of the program.

    Temperatures of 96 to 105 are Fahrenheit. CRP is stored tenfold in the patients who have Fahrenheit
    temperatures, apart from stretches of three of them: 128 from day 0 (one decimal, and 132 mg/L falling to 6.8
    and rising to 85 within two days is impossible), 89 from day 11 (5.8 falling to 2.7, 2.0, 1.0, 0.6), 71 on day
    0 (239.6, then 257.1). Patients 119 and 182 have no temperatures and one-decimal values down to 0.3.
    """
    fahrenheit = daily[daily["analyte"] == "temperature"].groupby("patient_id")["value"].min() > 50
    warm = daily["patient_id"].map(fahrenheit).eq(True)
    sid, day = daily["SID"], daily["HospitalDay"]
    plain = ((sid == 128) & (day >= 0)) | ((sid == 89) & (day >= 11)) | ((sid == 71) & (day == 0))
    tenfold = (daily["analyte"] == "crp") & warm & ~plain
    return tenfold | ((daily["analyte"] == "temperature") & (daily["value"] > 50))


def converted(harmonized: Harmonized, daily: pd.DataFrame) -> pd.DataFrame:
    """Rows by whether they were converted, from the ratio of values after and before."""
    # The one exact duplicate that the file holds is dropped by the program.
    kept = daily[~daily.duplicated(["patient_id", "time_h", "analyte", "value"])].reset_index(drop=True)
    after = harmonized.cohort.measurements
    assert len(after) == len(kept)
    assert (after["patient_id"].to_numpy() == kept["patient_id"].to_numpy()).all()
    return kept.assign(after=after["value"].to_numpy(), moved=after["value"].to_numpy() != kept["value"].to_numpy())


def test_every_fahrenheit_and_every_tenfold_row_is_found_and_nothing_else(harmonized: Harmonized, daily: pd.DataFrame):
    rows = converted(harmonized, daily)
    truth = truth_by_value(rows)
    for analyte in ("temperature", "crp"):
        mine = rows["analyte"] == analyte
        assert (rows.loc[mine, "moved"] == truth[mine]).all(), analyte
    assert not rows.loc[~rows["analyte"].isin(["temperature", "crp"]), "moved"].any()
    temperature = rows.loc[rows["analyte"] == "temperature", "after"]
    assert temperature.between(35.0, 41.5).all()
    crp = rows[(rows["analyte"] == "crp") & rows["moved"]]
    np.testing.assert_allclose(crp["after"], crp["value"] / 10.0, rtol=1e-9)


def test_every_change_is_recorded_with_old_new_rule_and_confidence(harmonized: Harmonized, daily: pd.DataFrame):
    changes = harmonized.cohort.changes
    detected = changes[changes["rule"] == "unit.detected"]
    assert len(detected) == int(converted(harmonized, daily)["moved"].sum())
    assert detected[["patient_id", "time_h", "item", "old", "new", "why"]].notna().all().all()
    assert (detected["confidence"] >= HarmonizeSettings().apply).all()
    found = harmonized.findings
    units = found[found["kind"] == "unit.detected"]
    assert units["n_rows"].sum() == len(detected)
    assert set(units["analyte"]) == {"crp", "temperature"}
    mixed = units[(units["analyte"] == "crp") & (units["scope"] == "row")]
    assert set(mixed["patient_id"]) == {"71", "89", "128"}


def test_against_the_authors_row_rule(harmonized: Harmonized, daily: pd.DataFrame):
    """The authors' loader divides all CRP of the second delivery by ten, also values that are in mg/L already.

    In this part of the file the second delivery begins with the first Fahrenheit row. The program agrees with the
    rule on every row but the 45 that the values themselves contradict: 29 rows of patients 119 and 182, and 16 rows
    in mixed series.
    """
    rows = converted(harmonized, daily)
    crp = rows[rows["analyte"] == "crp"]
    first = daily.loc[(daily["analyte"] == "temperature") & (daily["value"] > 50), "order"].min()
    rule = crp["order"] >= first
    table = pd.crosstab(rule, crp["moved"])
    assert table.loc[False, :].to_dict() == {False: int((~rule).sum()), True: 0}
    divided_by_rule_only = crp[rule & ~crp["moved"]]
    assert divided_by_rule_only.groupby("SID").size().to_dict() == {71: 1, 89: 4, 119: 15, 128: 11, 182: 14}
    # Under the rule these patients would have CRP below the floor of the assay (0.3 mg/L).
    assert (divided_by_rule_only["value"] / 10.0 < 0.3).sum() == 16


def test_below_the_threshold_nothing_is_applied(cohort: Cohort):
    result = harmonize(
        cohort, HarmonizeSettings(apply=1.0, conflicts="keep", limits=False, placeholders=False, precision="none")
    )
    sure = result.findings[result.findings["kind"] == "unit.detected"]
    unsure = sure[~sure["applied"].astype(bool)]
    assert len(unsure)
    assert (unsure["confidence"] < 1.0).all()


def test_regimes_tell_the_delivery_of_each_series(harmonized: Harmonized):
    regimes = harmonized.regimes.set_index(["analyte", "patient_id"])["regime"]
    assert regimes["temperature"].value_counts().index.tolist() == ["Cel", "[degF]"] or set(regimes["temperature"]) == {
        "Cel",
        "[degF]",
    }
    assert regimes[("crp", "119")] == "mg/L"
    assert regimes[("crp", "89")] == "mg/L times 10 + mg/L"


@pytest.fixture(scope="module")
def reported(cohort: Cohort) -> Harmonized:
    return harmonize(cohort)


def test_two_series_of_one_patient_are_reported_split_or_set_aside(cohort: Cohort, reported: Harmonized):
    double = reported.findings[reported.findings["kind"] == "patient.two_series"]
    assert double["patient_id"].tolist() == ["107"]
    split = harmonize(cohort, HarmonizeSettings(two_series="split")).cohort
    assert "107#2" in split.patient_ids
    ferritin = split.measurements[split.measurements["analyte"] == "ferritin"].groupby("patient_id")["value"]
    assert ferritin.max()["107"] < 50 < 900 < ferritin.min()["107#2"]
    aside = harmonize(cohort, HarmonizeSettings(two_series="set_aside")).cohort
    assert "107" not in set(aside.measurements["patient_id"])
    assert "patient.set_aside" in set(aside.changes["rule"])


def test_ceilings_and_floors_of_the_icans_cohort(reported: Harmonized):
    result = reported
    limits = result.findings[result.findings["kind"].isin(["limit.floor", "limit.ceiling"])]
    found = set(zip(limits["analyte"], limits["proposal"], strict=True))
    assert {("il_6", "at or above 400"), ("il_6", "at or above 401"), ("crp", "at or above 300")} <= found
    assert "wbc" not in set(limits["analyte"])
    rows = result.cohort.measurements
    at = rows[(rows["analyte"] == "il_6") & (rows["censor"] == "right")]
    assert (at["value"] == at["limit"]).all()


def test_floors_of_the_cytokine_plates(data_folder: Path):
    path = data_folder / "cd22_car_hlh" / "cytokines_daily.csv"
    if not path.exists():
        pytest.skip("the folder of public data has no cd22_car_hlh")
    table = pd.read_csv(path)
    names = {
        "GM-CSF": "gm_csf",
        "IL-1B": "il_1b",
        "IL-2": "il_2",
        "IL-10": "il_10",
        "IL-15": "il_15",
        "TNF-alpha": "tnf",
    }
    table = table[table["cytokine"].isin(names)]
    rows = pd.DataFrame(
        {
            "patient_id": table["patient_id"].astype(str), "time_h": 24.0 * table["day"], "unit": "pg/mL",
            "analyte": table["cytokine"].map(names), "value": table["pg_per_mL"],
        }
    )  # fmt: skip
    patients = pd.DataFrame({"patient_id": rows["patient_id"].unique()})
    result = harmonize(make("cd22", {"patients": patients, "measurements": rows}))
    limits = result.findings[result.findings["kind"].str.startswith("limit")]
    found = {
        name: part["proposal"].str.split().str[-1].astype(float).tolist() for name, part in limits.groupby("analyte")
    }
    assert {0.38, 0.54, 0.55} <= set(found["gm_csf"])
    assert {0.27, 0.28, 0.29} <= set(found["il_1b"])
    assert {0.70, 0.71, 0.72} <= set(found["il_2"])
    assert found["il_10"] == [750.0]
    assert "il_15" not in found
    assert "tnf" not in found
    assert not result.findings["kind"].str.startswith("unit").any()


@pytest.fixture(scope="module")
def intensive_care(data_folder: Path) -> Cohort:
    path = data_folder / "cinc2012_icu" / "set_a_long.csv.gz"
    if not path.exists():
        pytest.skip("the folder of public data has no cinc2012_icu")
    table = pd.read_csv(path)
    names = {
        "Temp": "temperature", "pH": "ph", "Height": "height", "HR": "heart_rate", "SysABP": "sbp", "DiasABP": "dbp",
        "MAP": "map", "GCS": "gcs", "Glucose": "glucose", "Creatinine": "creatinine", "WBC": "wbc", "K": "potassium",
        "Na": "sodium", "Platelets": "platelets", "Lactate": "lactate", "BUN": "bun", "HCT": "haematocrit",
        "Urine": "urine_output", "FiO2": "fio2", "PaO2": "pao2", "PaCO2": "paco2", "RespRate": "respiratory_rate",
        "Weight": "weight", "Mg": "magnesium", "HCO3": "bicarbonate", "NISysABP": "sbp", "NIDiasABP": "dbp",
        "NIMAP": "map", "AST": "ast", "ALT": "alt", "ALP": "alkaline_phosphatase", "Bilirubin": "bilirubin",
        "Albumin": "albumin", "SaO2": "sao2", "MechVent": "mechanical_ventilation", "TroponinT": "troponin_t",
        "TroponinI": "troponin_i", "Cholesterol": "cholesterol",
    }  # fmt: skip
    table = table[table["Parameter"].isin(names) & (table["Value"] != -1)]
    rows = pd.DataFrame(
        {
            "patient_id": table["RecordID"].astype(str), "time_h": table["minute"] / 60.0,
            "analyte": table["Parameter"].map(names), "value": table["Value"], "method": table["Parameter"],
            "unit": np.where(table["Parameter"] == "Mg", "mg/dL", None),
        }
    )  # fmt: skip
    patients = pd.DataFrame({"patient_id": rows["patient_id"].unique()})
    return make("icu", {"patients": patients, "measurements": rows})


def test_intensive_care_typing_errors_are_found_and_wide_analytes_left_alone(intensive_care: Cohort):
    began = time.perf_counter()
    result = harmonize(intensive_care)
    seconds = time.perf_counter() - began
    found = result.findings[result.findings["kind"].isin(["unit.detected", "value.implausible"])]
    rows = found.groupby("analyte")["n_rows"].sum().to_dict()
    assert set(rows) <= {"temperature", "ph", "height", "weight", "dbp", "potassium"}
    assert rows["ph"] == 2
    twice = found[(found["analyte"] == "temperature") & (found["kind"] == "unit.detected")]
    assert twice["proposal"].str.contains("twice").all()
    inches = found[(found["analyte"] == "height") & found["proposal"].str.contains("in_i")]
    assert len(inches) == 2
    # 8 s is the aim on an idle machine (3.8 s measured); the test allows for a busy one.
    assert len(intensive_care.measurements) > 400_000
    assert seconds < 40


def test_harmonising_twice_finds_no_new_units(harmonized: Harmonized):
    again = harmonize(harmonized.cohort, ONE_BY_ONE)
    assert not again.findings["kind"].str.startswith("unit").any()
    pd.testing.assert_series_equal(again.cohort.measurements["value"], harmonized.cohort.measurements["value"])
