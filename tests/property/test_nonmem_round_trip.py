"""A cohort of doses and observations survives being written for NONMEM and read again, to the last bit."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.cohort.check import check_cohort
from icans.cohort.cohort import make
from icans.cohort.nonmem import Dosed, NonmemOptions, Observed, read_nonmem, write_nonmem
from icans.cohort.vocabulary import Analyte
from icans.core.errors import DataError

OPTIONS = NonmemOptions(
    {"1": Observed("drug_x", "mg/L"), "2": Observed("crp", "mg/L", "serum")},
    {"1": Dosed("drug_x", "mg", "sc"), "2": Dosed("tocilizumab", "mg", "iv")},
    covariates={"SEX": "patients.sex", "AGE": "patients.age_y", "WT": "weight"},
    codes={"SEX": {"0": "male", "1": "female"}},
    extra_analytes={"drug_x": Analyte("drug_x", "Drug X", "mg/L", 0, 1e6, "plasma", "drug", True)},
)
TIME = st.floats(-100, 1000)
POSITIVE = st.floats(1e-6, 1e6)


@st.composite
def cohorts(draw):
    ids = draw(st.lists(st.sampled_from(["1", "2", "30", "A-1", "é"]), min_size=1, max_size=3, unique=True))
    measured, given_doses = [], []
    for patient in ids:
        for time in draw(st.lists(TIME, max_size=5)):
            analyte, matrix = draw(st.sampled_from([("drug_x", "plasma"), ("crp", "serum")]))
            censor = draw(st.sampled_from(["none", "none", "left", "right"]))
            number = draw(POSITIVE)
            value = draw(st.sampled_from([number, np.nan])) if censor == "none" else np.nan
            limit = np.nan if censor == "none" else number
            measured.append((patient, time, analyte, matrix, value, "mg/L", censor, limit))
        for time in draw(st.lists(TIME, max_size=4)):
            drug, route = draw(st.sampled_from([("drug_x", "sc"), ("tocilizumab", "iv")]))
            duration = draw(st.sampled_from([0.0, 1.0, 0.7, 24 / 7]))
            given_doses.append((patient, time, duration, drug, draw(POSITIVE), "mg", route))
    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "sex": [draw(st.sampled_from(["male", "female", None])) for _ in ids],
            "age_y": [draw(st.sampled_from([30.5, 61.25, np.nan])) for _ in ids],
        }
    )
    columns = ["patient_id", "time_h", "analyte", "matrix", "value", "unit", "censor", "limit"]
    doses = ["patient_id", "time_h", "duration_h", "drug", "amount", "unit", "route"]
    tables = {"patients": patients}
    if measured:
        tables["measurements"] = pd.DataFrame(measured, columns=columns)
    if given_doses:
        tables["treatments"] = pd.DataFrame(given_doses, columns=doses)
    return make("x", tables)


def ordered(cohort, table: str) -> pd.DataFrame:
    """Rows in an order that does not depend on the order in which they came."""
    frame = cohort.table(table)
    return frame.sort_values(list(frame.columns), ignore_index=True)


@settings(max_examples=10)
@given(cohorts().filter(lambda cohort: check_cohort(cohort, extra_analytes=OPTIONS.extra_analytes).ok))
def test_round_trip(cohort):
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "set.csv"
        assert write_nonmem(cohort, path, OPTIONS) == {}
        back = read_nonmem(path, OPTIONS)
        pd.testing.assert_frame_equal(ordered(cohort, "patients"), ordered(back, "patients"))
        for table in ("measurements", "treatments"):
            pd.testing.assert_frame_equal(ordered(cohort, table), ordered(back, table), check_exact=True)
        again = Path(scratch) / "again.csv"
        write_nonmem(back, again, OPTIONS)
        assert again.read_bytes() == path.read_bytes()


CELL = st.sampled_from(["0", "0", "1", "1", "2", "2", "3", "4", "-1", "5.5", ".", "", "NA", "x", "1e999", "nan", "=1"])
RECORDS = st.lists(st.lists(CELL, min_size=8, max_size=8), max_size=6)


@settings(max_examples=25)
@given(RECORDS, st.booleans(), st.sampled_from(["refuse", "split"]))
def test_any_records_load_or_tell(rows, classic, resets):
    options = dataclasses.replace(OPTIONS, covariates={"WT": "weight"}, codes={}, classic_evid=classic, resets=resets)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "set.csv"
        text = ["ID,TIME,AMT,DV,EVID,CENS,DVID,WT", *(",".join(row) for row in rows)]
        path.write_text("\n".join(text) + "\n")
        try:
            cohort = read_nonmem(path, options)
        except DataError as error:
            told = {p.file for p in error.problems}
        else:
            told = set(np.where(np.isfinite(cohort.measurements["time_h"]), "set.csv", "not finite"))
            told |= {"set.csv"}
        assert told
        assert told <= {"set.csv", "measurements", "treatments", "patients"}


@settings(max_examples=10)
@given(st.integers(1, 6), st.floats(0.5, 48), st.floats(-10, 100), POSITIVE)
def test_additional_doses_are_those_written_one_by_one(count, interval, start, amount):
    options = NonmemOptions(Observed("crp"), Dosed("tocilizumab", "mg"))
    with tempfile.TemporaryDirectory() as scratch:
        short, long = Path(scratch) / "short.csv", Path(scratch) / "long.csv"
        short.write_text(f"ID,TIME,AMT,DV,EVID,ADDL,II\n1,{start!r},{amount!r},.,1,{count},{interval!r}\n")
        lines = [f"1,{start + k * interval!r},{amount!r},.,1\n" for k in range(count + 1)]
        long.write_text("ID,TIME,AMT,DV,EVID\n" + "".join(lines))
        left, right = read_nonmem(short, options), read_nonmem(long, options)
        pd.testing.assert_frame_equal(left.treatments, right.treatments, check_exact=True)
