"""Default values that fill one day of many patients are found; limits, rounding and rare schedules are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.core.random import stream
from icans.datasets import load
from icans.harmonize.pipeline import HarmonizeSettings, harmonize
from icans.harmonize.placeholders import find_placeholders


def series(patients: int = 60, days: int = 10, decimals: int = 2, seed: int = 0) -> pd.DataFrame:
    """White cells of patients by day, log-normal, rounded."""
    rng = stream(seed, "placeholders")
    grid = pd.MultiIndex.from_product([[f"P{i}" for i in range(patients)], range(days)], names=["patient_id", "day"])
    frame = grid.to_frame(index=False)
    value = np.round(np.exp(rng.normal(0.5, 0.8, len(frame))), decimals)
    return frame.assign(
        time_h=frame["day"] * 24.0, available_h=frame["day"] * 24.0, analyte="wbc", value=value, censor="none"
    )


def test_a_default_on_the_day_of_infusion_becomes_missing_and_is_told():
    table = series()
    filled = (table["day"] == 0) & table["patient_id"].isin([f"P{i}" for i in range(25)])
    table.loc[filled, "value"] = 0.0
    result = find_placeholders(table, 0.9)
    assert result.table.loc[filled, "value"].isna().all()
    pd.testing.assert_frame_equal(result.table[~filled], table[~filled])
    assert len(result.findings) == 1
    assert result.findings["n_rows"].iloc[0] == 25
    assert len(result.changes) == 25
    assert set(result.changes["rule"]) == {"value.placeholder"}
    assert (result.changes["old"] == "0").all()


def test_the_same_value_on_another_day_stays():
    table = series()
    table.loc[(table["day"] == 0) & table["patient_id"].isin([f"P{i}" for i in range(25)]), "value"] = 2.0
    table.loc[table.index[(table["day"] == 5) & (table["patient_id"] == "P40")], "value"] = 2.0
    result = find_placeholders(table, 0.9)
    assert result.table["value"].isna().sum() == 25
    assert result.table.loc[(table["day"] == 5) & (table["patient_id"] == "P40"), "value"].item() == 2.0


def test_below_the_threshold_it_is_only_reported():
    table = series()
    table.loc[(table["day"] == 0) & (table["patient_id"] < "P4"), "value"] = 2.0
    result = find_placeholders(table, 1.0)
    pd.testing.assert_frame_equal(result.table, table)
    assert len(result.findings) == 1
    assert not result.findings["applied"].iloc[0]
    assert result.changes.empty


@pytest.mark.parametrize("decimals", [0, 1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_ordinary_rounded_values_are_left_alone(decimals: int, seed: int):
    assert find_placeholders(series(decimals=decimals, seed=seed), 0.9).findings.empty


def test_a_detection_limit_that_holds_on_every_day_is_left_alone():
    table = series()
    table["value"] = table["value"].clip(lower=1.0)
    assert find_placeholders(table, 0.9).findings.empty


def test_an_analyte_that_is_measured_on_one_day_only_is_left_alone():
    table = series(days=1, decimals=0)
    assert find_placeholders(table, 0.9).findings.empty


def test_the_defaults_of_the_day_of_infusion_in_a_real_cohort(data_folder: Path):
    found = harmonize(load("bwh_icans", data_folder / "bwh_icans")).findings
    found = found[found["kind"] == "value.placeholder"]
    told = {(r.analyte, r.proposal.split(" ")[0]): r.n_rows for r in found.itertuples()}
    assert told[("wbc", "0")] == 23
    assert told[("procalcitonin", "0")] == 23
    assert told[("procalcitonin", "2")] == 31
    assert told[("wbc", "1")] == 23
    assert (found["time_h"] == 0).all()


@pytest.mark.parametrize("name", ["cd22_car_hlh", "pbc2"])
def test_other_real_cohorts_hold_none(name: str, data_folder: Path):
    none_in(name)


def test_a_thousand_intensive_care_stays_hold_none(data_folder: Path, full: None):
    none_in("cinc2012_icu")


def none_in(name: str) -> None:
    """Harmonisation finds no placeholder in a public data set."""
    found = harmonize(load(name), HarmonizeSettings(soft=False)).findings
    assert found[found["kind"] == "value.placeholder"].empty
