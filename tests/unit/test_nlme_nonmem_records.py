"""NONMEM-style data sets as records: meaning of columns, real sets, round trips, and every kind of bad input."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlme_cases
from icans.core.errors import ModelError
from icans.mechanism.doses import Dose
from icans.population.nlme.nonmem_records import Given, nonmem_frame, read_nonmem_records
from icans.population.nlme.records import Administration, Records, Subject, make_records

GOOD = """ID,TIME,EVID,AMT,DUR,CMT,DV,CENS,LIMIT,ADDL,II,SS,OCC,WT
1,0,1,100,0,1,.,0,.,2,12,0,1,70
1,1,0,0,0,2,5.5,0,.,0,0,0,1,70
1,9,0,0,0,2,1,1,.,0,0,0,1,70
1,30,4,50,2,1,.,0,.,0,0,0,2,70
1,31,0,0,0,2,2,1,0.5,0,0,0,2,70
1,40,0,0,0,2,9,-1,.,0,0,0,2,70
2,0,1,100,0,1,.,0,.,0,12,1,1,80
2,4,3,0,0,1,.,0,.,0,0,0,1,80
2,5,0,0,0,2,3.25,0,.,0,0,0,1,80
"""


def table(text):
    return pd.read_csv(io.StringIO(text), dtype=str)


def problems(source, *args, **options):
    with pytest.raises(ModelError) as error:
        read_nonmem_records(source, *args, **options)
    return error.value.problems


def test_what_the_columns_mean(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(GOOD, encoding="utf-8")
    records = read_nonmem_records(path, "cp", covariates=["WT"])
    one, two = records.subjects
    assert one.doses == (
        Administration(0.0, 100.0), Administration(12.0, 100.0), Administration(24.0, 100.0),
        Administration(30.0, 50.0, duration_h=2.0, reset=True),
    )  # fmt: skip
    assert two.doses == (Administration(0.0, 100.0, interval_h=12.0), Administration(4.0, 0.0, reset=True))
    assert list(one.observations["censor"]) == ["none", "left", "interval", "right"]
    assert list(one.observations["value"]) == [5.5, 1.0, 0.5, 9.0]
    assert one.observations["limit"].iloc[2] == 2.0
    assert one.occasions == (0.0, 30.0)
    assert (one.covariates, two.covariates) == ({"WT": 70.0}, {"WT": 80.0})


def test_days_rates_and_drugs():
    text = "ID,TIME,AMT,RATE,CMT,DV\n1,0,10,5,1,.\n1,0.5,.,.,2,3\n"
    days = read_nonmem_records(table(text), time_unit="d", dosed={"1": "central"}).subjects[0]
    assert days.doses == (Administration(0.0, 10.0, "central", 48.0),)
    assert days.observations["time_h"].tolist() == [12.0]
    drug = read_nonmem_records(table(text), dosed={"1": Given("tocilizumab", "mg")}).subjects[0]
    assert drug.doses == (Dose(0.0, "tocilizumab", 10.0, "mg", "iv", 2.0),)


def test_what_is_no_error_is_told():
    text = "ID,TIME,AMT,DV\n1,0,10,.\n1,0,.,2\n1,5,.,3\n1,6,10,.\n2,0,10,.\n"
    told = []
    records = read_nonmem_records(table(text), told=told)
    assert len(records) == 2
    assert [(p.row, p.column) for p in told] == [(4, "TIME"), (5, "ID"), (2, "TIME")]
    assert all(p.severity == "warning" and p.remedy for p in told)


def edit(line, **cells):
    rows = table(GOOD)
    for column, value in cells.items():
        rows.loc[line - 2, column] = value
    return rows


#: An edit of a line of GOOD, and the column that must be named.
BAD = {
    "time is no number": (3, {"TIME": "noon"}, "TIME"), "time is missing": (3, {"TIME": "."}, "TIME"),
    "time goes backwards": (4, {"TIME": "0.5"}, "TIME"), "unknown EVID": (3, {"EVID": "101"}, "EVID"),
    "no amount": (2, {"AMT": "."}, "AMT"), "negative amount": (2, {"AMT": "-1"}, "AMT"),
    "amount of an observation": (3, {"AMT": "5"}, "AMT"), "value missing": (3, {"DV": "."}, "DV"),
    "ADDL without II": (2, {"II": "0"}, "II"), "half a dose more": (2, {"ADDL": "0.5"}, "ADDL"),
    "CENS": (3, {"CENS": "2"}, "CENS"), "LIMIT above": (6, {"LIMIT": "3"}, "LIMIT"),
    "SS 2": (8, {"SS": "2"}, "SS"), "SS without II": (8, {"II": "."}, "II"), "no ID": (3, {"ID": "."}, "ID"),
    "covariate changes": (3, {"WT": "71"}, "WT"), "covariate is no number": (3, {"WT": "heavy"}, "WT"),
    "subjects mixed": (3, {"ID": "2"}, "ID"), "occasions go backwards": (5, {"OCC": "0"}, "OCC"),
    "two compartments": (2, {"CMT": "2"}, "CMT"), "negative duration": (5, {"DUR": "-1"}, "DUR"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_cells_are_named(name):
    line, cells, column = BAD[name]
    found = problems(edit(line, **cells), covariates=["WT"])
    assert column in {p.column for p in found}
    assert all(p.remedy and p.expected for p in found)
    assert all(p.row is not None for p in found if p.column == column)


def test_all_problems_are_told_at_once_with_lines_of_the_file(tmp_path):
    path = tmp_path / "bad.csv"
    text = GOOD.replace("1,1,0,0,0,2,5.5", "1,1,0,0,0,2,x").replace("2,5,0,0,0,2", "2,5,0,7,0,2")
    path.write_text(text, encoding="utf-8")
    found = {(p.file, p.row, p.column) for p in problems(path, covariates=["WT"])}
    assert {("bad.csv", 3, "DV"), ("bad.csv", 10, "AMT")} <= found


def test_columns_and_names_that_are_not_known():
    assert [p.column for p in problems(table(GOOD))] == ["WT"]
    assert {p.column for p in problems(table("ID,TIME\n1,0\n"))} == {"DV"}
    assert {p.column for p in problems(table("ID,TIME,DV,dv\n1,0,1,1\n"))} == {"DV"}
    text = "ID,TIME,AMT,DV,DVID,CMT\n1,0,10,.,0,7\n1,1,.,2,3,2\n"
    found = problems(table(text), {"1": "cp", "2": "pca"}, dosed={"1": "depot"})
    assert {(p.column, p.value) for p in found} == {("DVID", "3"), ("CMT", "7")}
    assert {p.column for p in problems(table(GOOD), time_unit="y", observed_by="TYPE", mdv="x")} == {
        "time_unit", "observed_by", "mdv"
    }  # fmt: skip
    assert problems(table("ID,TIME,DV\n"))[0].expected == "at least one row"


def test_a_value_where_mdv_is_one():
    text = "ID,TIME,EVID,MDV,DV\n1,0,0,1,5\n1,1,0,0,2\n"
    assert [(p.row, p.column) for p in problems(table(text))] == [(1, "DV")]
    kept = read_nonmem_records(table(text), mdv="drop").subjects[0].observations
    assert kept["value"].tolist() == [2.0]


def test_rates_that_a_model_estimates():
    text = "ID,TIME,AMT,RATE,DV\n1,0,10,-2,.\n1,1,.,.,2\n"
    assert [p.column for p in problems(table(text))] == ["RATE"]
    got = read_nonmem_records(table(text), estimated_duration=True)
    assert got.subjects[0].doses == (Administration(0.0, 10.0),)


times = st.integers(0, 200).map(lambda n: n / 4.0)
values = st.integers(1, 4000).map(lambda n: n / 16.0)


@st.composite
def subjects(draw, name):
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        word = draw(st.sampled_from(("none", "left", "right", "interval")))
        value = draw(values)
        limit = value + draw(values) if word == "interval" else np.nan
        rows.append((draw(times), draw(st.sampled_from(("cp", "pca"))), value, word, limit))
    frame = pd.DataFrame(sorted(rows), columns=["time_h", "observable", "value", "censor", "limit"])
    doses = []
    for t in sorted({draw(times) for _ in range(draw(st.integers(0, 4)))}):
        reset = draw(st.booleans())
        amount = draw(st.sampled_from((0.0, 5.0))) if reset else draw(values)
        steady = draw(st.sampled_from((0.0, 12.0))) if amount else 0.0
        doses.append(Administration(t, amount, draw(st.sampled_from(("depot", "central"))),
                                    draw(st.sampled_from((0.0, 1.5))) if amount else 0.0, steady, reset))  # fmt: skip
    return Subject(name, frame, tuple(doses), {"WT": draw(values)})


@given(st.data())
def test_records_come_back_as_they_were(data):
    records = make_records([data.draw(subjects(name)) for name in ("1", "a b", "7")])
    frame, dvid, cmt = nonmem_frame(records)
    back = read_nonmem_records(frame, dvid, dosed=cmt, covariates=["WT"])
    assert back.ids == records.ids
    for ours, theirs in zip(back.subjects, records.subjects, strict=True):
        assert ours.doses == theirs.doses
        assert dict(ours.covariates) == dict(theirs.covariates)
        columns = ["time_h", "observable", "value", "censor", "limit"]
        pd.testing.assert_frame_equal(ours.observations[columns], theirs.observations[columns], check_dtype=False)


@given(st.data())
def test_whatever_is_in_the_cells_it_is_read_or_told(data):
    rows = table(GOOD)
    for _ in range(data.draw(st.integers(1, 5))):
        row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(list(rows.columns)))
        junk = ("", ".", "-1", "1e400", "nan", "inf", "0", "3", "x", "2.5", "-2", "1e15", "\u00e9")
        rows.loc[row, column] = data.draw(st.sampled_from(junk))
    records, found = None, ()
    try:
        records = read_nonmem_records(rows, covariates=["WT"])
    except ModelError as error:
        found = error.problems
    assert (records is None) == bool(found)
    assert all(p.remedy and p.expected for p in found)
    if records is not None:
        assert np.isfinite(records.frame()[["time_h", "value"]].to_numpy(float)).all()


def same(ours, theirs):
    assert ours.ids == theirs.ids
    for a, b in zip(ours.subjects, theirs.subjects, strict=True):
        assert a.doses == b.doses
        pd.testing.assert_frame_equal(a.observations, b.observations, check_dtype=False)


def test_real_data_sets_read_as_they_are(data_folder):
    _, theophylline = nlme_cases.theophylline(data_folder)
    path = data_folder / "nlmixr2data" / "theo_sd.csv"
    same(read_nonmem_records(path, classic_evid=True, covariates=["WT"]), theophylline)
    _, phenobarbital = nlme_cases.phenobarbital(data_folder)
    path = data_folder / "pharmpy_pheno_moxo" / "pheno.dta"
    same(read_nonmem_records(path, covariates=["WGT", "APGR"], ignore=["FA1", "FA2"]), phenobarbital)
    warfarin = nlme_cases.warfarin_records(data_folder, pca=True)
    path = data_folder / "nlmixr2data" / "warfarin.csv"
    names, codes = {"cp": "cp", "pca": "pca"}, {"sex": {"male": 1.0, "female": 0.0}}
    got = read_nonmem_records(path, names, covariates={"wt": "wt", "age": "age", "sex": "male"}, codes=codes)
    same(got, warfarin)
    assert [dict(s.covariates) for s in got.subjects] == [dict(s.covariates) for s in warfarin.subjects]


def test_occasions_come_back():
    _, records = nlme_cases.synthetic_oral(3, iov=0.2)
    frame, dvid, cmt = nonmem_frame(records)
    back = read_nonmem_records(frame, dvid, dosed=cmt, covariates=["WT"])
    assert [s.occasions for s in back.subjects] == [s.occasions for s in records.subjects]
    bare = Records(tuple(replace(s, doses=(Dose(0.0, "x", 1.0, "mg"),)) for s in records.subjects))
    with pytest.raises(ModelError, match="closed form"):
        nonmem_frame(bare)
