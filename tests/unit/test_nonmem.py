"""NONMEM-style data sets: what each column means, and what is refused with a reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from icans.cohort.nonmem import Dosed, NonmemOptions, Observed, read_nonmem, write_nonmem
from icans.cohort.readers import read
from icans.cohort.vocabulary import Analyte
from icans.core.errors import DataError

DRUG = Analyte("drug_x", "Drug X", "mg/L", 0, 1e6, "plasma", "drug", True)
PLAIN = NonmemOptions(Observed("drug_x", "mg/L"), Dosed("drug_x", "mg", "iv"), extra_analytes={"drug_x": DRUG})


def load(tmp_path, text: str, options: NonmemOptions = PLAIN, **changed):
    path = tmp_path / "set.csv"
    path.write_text(text)
    return read_nonmem(path, dataclasses.replace(options, **changed))


def rules(cohort) -> dict[str, int]:
    return cohort.changes.groupby("rule")["rows"].sum().to_dict()


def test_observations_doses_and_missing_samples(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,DV,MDV,EVID\n1,0,100,.,1,1\n1,2,.,3.5,0,0\n1,4,.,.,1,0\n2,0,0,9,1,0\n")
    measured = cohort.measurements
    assert measured["time_h"].tolist() == [2.0, 4.0, 0.0]
    np.testing.assert_array_equal(measured["value"], [3.5, np.nan, np.nan])
    assert set(measured["unit"]) == {"mg/L"}
    assert set(measured["matrix"]) == {"plasma"}
    dose = cohort.treatments[["patient_id", "time_h", "duration_h", "amount"]]
    assert dose.values.tolist() == [["1", 0.0, 0.0, 100.0]]
    assert rules(cohort)["mdv.missing"] == 1  # DV 9 with MDV 1


def test_evid_and_mdv_are_derived_where_absent(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,DV,MDV\n1,0,100,0,1\n1,2,0,3.5,0\n1,3,0,0,1\n")
    assert len(cohort.treatments) == 1
    assert len(cohort.measurements) == 1
    assert rules(cohort)["evid.set_aside"] == 1


def test_rate_and_duration(tmp_path):
    text = "ID,TIME,AMT,RATE,DUR,DV,EVID\n1,0,100,50,.,0,1\n1,5,100,0,4,0,1\n1,9,100,25,4,0,1\n"
    assert load(tmp_path, text).treatments["duration_h"].tolist() == [2.0, 4.0, 4.0]
    with pytest.raises(DataError, match="AMT / RATE"):
        load(tmp_path, text.replace("25,4", "25,5"))


def test_time_units(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,RATE,ADDL,II,DV,EVID\n1,0.5,10,20,1,1,0,1\n1,2,0,0,0,0,3,0\n", time_unit="d")
    assert cohort.treatments["time_h"].tolist() == [12.0, 36.0]
    assert cohort.treatments["duration_h"].tolist() == [12.0, 12.0]
    assert cohort.measurements["time_h"].tolist() == [48.0]


def test_additional_doses_are_written_out(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,ADDL,II,DV,EVID\n1,1,10,3,12,0,1\n1,100,20,0,0,0,1\n")
    assert cohort.treatments["time_h"].tolist() == [1.0, 13.0, 25.0, 37.0, 100.0]
    assert cohort.treatments["amount"].tolist() == [10.0] * 4 + [20.0]
    assert rules(cohort)["addl.expanded"] == 3


def test_censoring(tmp_path):
    text = "ID,TIME,DV,EVID,CENS,LIMIT\n1,0,0.5,0,1,.\n1,1,40,0,-1,.\n1,2,3,0,0,.\n1,3,0.5,0,1,0\n1,4,0.5,0,1,0.1\n"
    cohort = load(tmp_path, text)
    assert cohort.measurements["censor"].tolist() == ["left", "right", "none", "left", "left"]
    np.testing.assert_array_equal(cohort.measurements["limit"], [0.5, 40, np.nan, 0.5, 0.5])
    np.testing.assert_array_equal(cohort.measurements["value"], [np.nan, np.nan, 3, np.nan, np.nan])
    kept = cohort.changes[cohort.changes["rule"] == "censor.interval"]
    assert kept[["patient_id", "time_h", "old"]].values.tolist() == [["1", 4.0, "0.1"]]
    with pytest.raises(DataError, match="less than DV"):
        load(tmp_path, "ID,TIME,DV,EVID,CENS,LIMIT\n1,0,0.5,0,1,0.9\n")


def test_several_analytes_and_drugs(tmp_path):
    options = NonmemOptions(
        {"cp": Observed("drug_x", "mg/L"), "2": Observed("crp", "mg/L")},
        {"1": Dosed("drug_x", "mg", "po"), "2": Dosed("dexamethasone", "mg", "iv")},
        extra_analytes={"drug_x": DRUG},
    )
    text = "ID,TIME,AMT,DV,DVID,EVID,CMT\n1,0,5,.,.,1,1\n1,1,7,.,.,1,2.0\n1,2,0,3,cp,0,.\n1,2,0,4,2,0,.\n"
    cohort = load(tmp_path, text, options)
    assert cohort.treatments["drug"].tolist() == ["drug_x", "dexamethasone"]
    assert cohort.measurements["analyte"].tolist() == ["crp", "drug_x"]
    assert cohort.measurements["matrix"].tolist() == ["serum", "plasma"]
    with pytest.raises(DataError) as caught:
        load(tmp_path, text.replace(",cp,", ",pca,").replace("1,2.0", "1,3"), options)
    assert {(p.row, p.column, p.value) for p in caught.value.problems} == {(4, "DVID", "pca"), (3, "CMT", "3")}


def test_covariates(tmp_path):
    meanings = {"WT": "weight", "SEX": "patients.sex", "AGE": "patients.age_y"}
    options = dataclasses.replace(PLAIN, covariates=meanings, codes={"SEX": {"0": "male", "1": "female"}})
    text = "ID,TIME,DV,EVID,WT,SEX,AGE\n1,0,1,0,70,0,50\n1,1,1,0,70,0,50\n1,2,1,0,71.5,0,50\n2,0,1,0,.,1.0,.\n"
    cohort = load(tmp_path, text, options)
    weight = cohort.measurements[cohort.measurements["analyte"] == "weight"]
    assert weight[["patient_id", "time_h", "value", "unit", "method"]].values.tolist() == [
        ["1", 0.0, 70.0, "kg", "covariate"],
        ["1", 2.0, 71.5, "kg", "covariate"],
    ]
    assert cohort.patients["sex"].tolist() == ["male", "female"]
    np.testing.assert_array_equal(cohort.patients["age_y"], [50.0, np.nan])
    with pytest.raises(DataError) as caught:
        load(tmp_path, text.replace("71.5,0,50", "71.5,1,51").replace("1.0,.", "3,."), options)
    assert {(p.row, p.column) for p in caught.value.problems} == {(4, "SEX"), (4, "AGE"), (5, "SEX")}


def test_unknown_columns_need_a_word(tmp_path):
    text = "ID,TIME,DV,EVID,X\n1,0,1,0,5\n"
    with pytest.raises(DataError, match="'covariates' with its meaning, or in 'ignore'"):
        load(tmp_path, text)
    assert rules(load(tmp_path, text, ignore=("X",)))["column.set_aside"] == 1
    with pytest.raises(DataError, match="the covariate WT"):
        load(tmp_path, "ID,TIME,DV\n1,0,1\n", covariates={"WT": "weight"})


def test_resets(tmp_path):
    text = "ID,TIME,AMT,DV,EVID\n1,0,10,.,4\n1,5,.,2,0\n1,0,10,.,4\n1,5,.,3,0\n1,6,.,.,3\n1,7,.,4,0\n"
    with pytest.raises(DataError, match="resets='split'"):
        load(tmp_path, text)
    cohort = load(tmp_path, text, resets="split")
    assert cohort.patient_ids == ["1", "1/2", "1/3"]
    assert cohort.measurements.set_index("patient_id")["value"].to_dict() == {"1": 2.0, "1/2": 3.0, "1/3": 4.0}
    assert rules(cohort)["reset.split"] == 2


def test_steady_state(tmp_path):
    text = "ID,TIME,AMT,SS,II,DV,EVID\n1,0,10,1,12,.,1\n1,6,.,.,.,3,0\n"
    with pytest.raises(DataError, match="steady state does not say when it began"):
        load(tmp_path, text)
    cohort = load(tmp_path, text, steady_state_doses=3)
    assert cohort.treatments["time_h"].tolist() == [-36.0, -24.0, -12.0, 0.0]
    assert "approximation" in cohort.changes.loc[cohort.changes["rule"] == "ss.expanded", "why"].item()
    with pytest.raises(DataError, match="SS 2"):
        load(tmp_path, text.replace("10,1,12", "10,2,12"))


def test_classic_evid(tmp_path):
    text = "ID,TIME,AMT,DV,EVID\n1,0,10,.,101\n1,6,.,3,0\n"
    with pytest.raises(DataError, match="classic_evid"):
        load(tmp_path, text)
    assert load(tmp_path, text, classic_evid=True, dosed={"1": Dosed("drug_x")}).treatments["amount"].tolist() == [10.0]
    with pytest.raises(DataError, match="classic form"):
        load(tmp_path, text.replace("101", "10101"), classic_evid=True)


BAD = [
    ("1,5,.,3,0\n1,4,.,3,0\n", 3, "TIME"),
    ("1,5,.,3,0\n2,4,.,3,0\n1,6,.,3,0\n", 4, "ID"),
    ("1,,.,3,0\n", 2, "TIME"),
    ("1,8:30,.,3,0\n", 2, "TIME"),
    (",5,.,3,0\n", 2, "ID"),
    ("1,5,.,.,0\n", 2, "DV"),
    ("1,5,.,BLQ,0\n", 2, "DV"),
    ("1,5,-3,.,1\n", 2, "AMT"),
    ("1,5,.,.,1\n", 2, "AMT"),
    ("1,5,3,4,0\n", 2, "AMT"),
    ("1,5,.,3,7\n", 2, "EVID"),
]


@pytest.mark.parametrize(("rows", "row", "column"), BAD, ids=lambda v: str(v)[:20])
def test_bad_records(tmp_path, rows, row, column):
    with pytest.raises(DataError) as caught:
        load(tmp_path, "ID,TIME,AMT,DV,EVID\n" + rows)
    assert (row, column) in {(p.row, p.column) for p in caught.value.problems}
    assert all(p.file == "set.csv" for p in caught.value.problems)


@pytest.mark.parametrize(
    ("columns", "values", "column"),
    [("RATE", "-2", "RATE"), ("DUR", "-1", "DUR"), ("ADDL,II", "2,0", "II"), ("ADDL,II", "1.5,12", "ADDL"),
     ("ADDL,II", "9999999,1", "ADDL"), ("CENS", "2", "CENS"), ("CENS", "1", "CENS"), ("DATE", "2020-01-01", "DATE")],
)  # fmt: skip
def test_bad_doses(tmp_path, columns, values, column):
    with pytest.raises(DataError) as caught:
        load(tmp_path, f"ID,TIME,AMT,DV,EVID,{columns}\n1,0,10,.,1,{values}\n", ignore=("DATE",))
    assert column in {p.column for p in caught.value.problems}


def test_missing_columns_and_structure(tmp_path):
    with pytest.raises(DataError, match="a column DV"):
        load(tmp_path, "ID,TIME\n1,0\n")
    with pytest.raises(DataError, match="cells, as the header has"):
        load(tmp_path, "ID,TIME,DV\n1,0\n")
    with pytest.raises(DataError, match="commas"):
        load(tmp_path, "ID TIME;DV\n1;0;3\n")


def test_ties_are_told(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,DV,EVID\n1,0,10,.,1\n1,0,.,0.7,0\n1,1,.,2,0\n")
    assert rules(cohort)["order.tie"] == 1


def test_options_are_checked_and_come_from_plain_values(tmp_path):
    drug = {"label": "X", "unit": "mg/L", "low": 0, "high": 100, "matrix": "plasma", "group": "drug", "log": True}
    plain = {
        "observed": {"analyte": "drug_x", "unit": "mg/L"},
        "dosed": {"1": {"drug": "drug_x", "unit": "mg"}},
        "ignore": ["X"],
        "extra_analytes": {"drug_x": drug},
    }
    options = NonmemOptions.from_dict(plain)
    assert options.ignore == ("X",)
    path = tmp_path / "set.csv"
    path.write_text("ID,TIME,DV,AMT,EVID,CMT,X\n1,0,.,10,1,1,q\n1,1,2,.,0,2,q\n")
    assert len(read(path, options=plain).treatments) == 1
    for wrong in (
        {"observe": 1},
        {"time_unit": "year"},
        {"observed_by": "X"},
        {"resets": "x"},
        {"steady_state_doses": 0},
        {"covariates": {"WT": "patients.weight"}},
        {"extra_analytes": {}},
        {"observed": 3},
    ):
        with pytest.raises(ValueError):
            NonmemOptions.from_dict({**plain, **wrong})


def test_writing_names_what_has_no_place(tmp_path):
    cohort = load(tmp_path, "ID,TIME,AMT,DV,EVID\n1,0,10,.,1\n1,1,.,2,0\n")
    grade = {"patient_id": "1", "time_h": 3.0, "available_h": 24.0, "toxicity": "CRS", "scheme": "ASTCT", "grade": 1.0}
    richer = cohort.with_table("grades", pd.DataFrame([grade]))
    richer = richer.with_table("measurements", cohort.measurements.assign(batch="b1", available_h=9.0))
    left = write_nonmem(richer, tmp_path / "out.csv", PLAIN)
    assert left == {"grades": 1, "measurements.available_h": 1, "measurements.batch": 1}
    with pytest.raises(FileExistsError):
        write_nonmem(cohort, tmp_path / "out.csv", PLAIN)
    other = cohort.with_table("measurements", cohort.measurements.assign(analyte="crp"))
    with pytest.raises(DataError, match="what 'observed' names"):
        write_nonmem(other, tmp_path / "new.csv", PLAIN)
    assert not (tmp_path / "new.csv").exists()
    assert write_nonmem(cohort, tmp_path / "out.csv", PLAIN, overwrite=True) == {}
