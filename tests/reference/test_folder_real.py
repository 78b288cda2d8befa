"""Real cohorts pass the checks and survive being written and read, within seconds."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from icans.cohort.check import check, check_cohort
from icans.cohort.folder import read_folder, write_folder
from icans.cohort.schema import TABLES
from icans.datasets import load


@pytest.mark.parametrize("name", ["bwh_icans", "cd22_car_hlh", "nulisa_cart_lbcl", "cinc2012_icu"])
def test_real_cohorts_round_trip(data_folder, tmp_path, name):
    cohort = load(name)
    assert check_cohort(cohort).ok
    format = "parquet" if name == "cinc2012_icu" else "csv"
    write_folder(cohort, tmp_path / name, format=format)
    start = time.process_time()
    report = check(tmp_path / name)
    assert time.process_time() - start < 10, "a table of 420,000 rows is checked in seconds"
    assert report.ok
    back = read_folder(tmp_path / name)
    for table in (*TABLES, "changes"):
        pd.testing.assert_frame_equal(cohort.table(table), back.table(table), check_exact=True)


def test_undeclared_fahrenheit_is_warned_of_not_changed(data_folder):
    cohort = load("bwh_icans")
    told = [p for p in check_cohort(cohort).warnings if "temperature, no unit declared" in p.expected]
    assert told
    assert cohort.measurements.loc[cohort.measurements["analyte"] == "temperature", "value"].max() > 90
