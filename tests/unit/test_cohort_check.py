"""Every kind of problem of a folder is found, with its file, row, column and remedy, all at once."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest

from cohort_folders import TABLES, swap, write_valid
from icans.cohort.check import check, check_cohort
from icans.cohort.cohort import make
from icans.cohort.folder import read_folder
from icans.core.errors import DataError


def found(tmp_path, **replaced):
    report = check(write_valid(tmp_path / "study", **replaced))
    return report, [(p.file, p.row, p.column, p.value, p.severity) for p in report.problems]


def test_a_valid_folder_has_no_problems(tmp_path):
    report, problems = found(tmp_path)
    assert problems == []
    assert report.ok
    assert report.rows == {
        "patients": 3, "measurements": 6, "treatments": 3, "assessments": 4, "grades": 2, "events": 2, "recordings": 1
    }  # fmt: skip
    assert "can be loaded: 0 errors, 0 warnings" in report.text()
    json.dumps(report.as_dict())


BROKEN = [
    # table, old text, new text, row, column, value, part of expectation, part of remedy
    ("measurements", "12.3", '"12,5"', 2, "value", "12,5", "decimal point", "12.5"),
    ("measurements", "12.3", "NA", 2, "value", "NA", "number", "Leave the cell empty"),
    ("measurements", "12.3", "n/a", 2, "value", "n/a", "number", "Leave the cell empty"),
    ("measurements", "12.3", "#N/A", 2, "value", "#N/A", "number", "Leave the cell empty"),
    ("measurements", "12.3", "<5", 2, "value", "<5", "number", "'censor' to 'left'"),
    ("measurements", "12.3", ">500", 2, "value", ">500", "number", "'censor' to 'right'"),
    ("measurements", "12.3", '"1,234.5"', 2, "value", "1,234.5", "number", "thousands"),
    ("measurements", "12.3", "12.3 mg/L", 2, "value", "12.3 mg/L", "number", "'unit'"),
    ("measurements", "12.3", "inf", 2, "value", "inf", "finite", "Correct"),
    ("measurements", "12.3", "1e999", 2, "value", "1e999", "finite", "Correct"),
    ("measurements", "12.3", "high", 2, "value", "high", "number", "Correct the cell"),
    ("measurements", "-2.5", "", 2, "time_h", None, "a value in every row", "Fill"),
    ("measurements", "P1,-2.5", "P1,nan", 2, "time_h", "nan", "number", "Leave the cell empty"),
    ("measurements", "P1,-2.5,-1", "P1,900000,900001", 2, "time_h", "900000", "hours since infusion", "hours"),
    ("measurements", "-2.5,-1", "-2.5,-3", 2, "available_h", "-3", "at or after", "known before"),
    ("measurements", "P1,-2.5", ",-2.5", 2, "patient_id", None, "a value in every row", "Fill"),
    ("measurements", "P1,-2.5", "P11,-2.5", 2, "patient_id", "P11", "table 'patients'", "did you mean"),
    ("measurements", "P1,-2.5", "P1 ,-2.5", 2, "patient_id", "P1 ", "without spaces", "Remove"),
    ("measurements", "P1,-2.5", "=P1,-2.5", 2, "patient_id", "=P1", "no formula", "apostrophe"),
    ("measurements", "24,26.25,ferritin", "24,26.25,feritin", 3, "analyte", "feritin", "vocabulary", "'ferritin'"),
    ("measurements", "12.3,mg/L", "12.3,mg/LL", 2, "unit", "mg/LL", "converts to mg/L", "did you mean 'mg/L'"),
    ("measurements", "12.3,mg/L", "12.3,mmol/L", 2, "unit", "mmol/L", "converts to mg/L", "molar mass"),
    ("measurements", "12.3,mg/L,none", "12.3,mg/L,nope", 2, "censor", "nope", "one of none", "did you mean 'none'"),
    ("measurements", "left,1.5", "left,", 4, "limit", None, "limit that censors", "'none'"),
    ("measurements", "il_6,plasma,,", "il_6,plasma,3,", 4, "value", "3", "side of its limit", "Exchange"),
    ("measurements", "crp,serum,12.3", "crp,Serum,12.3", 2, "matrix", "Serum", "one of plasma", "did you mean 'serum"),
    ("patients", "61.5", "610", 2, "age_y", "610", "between 0 and 120", "Correct"),
    ("patients", "61.5,female", "61.5,F", 2, "sex", "F", "one of female", "one of these"),
    ("patients", "axi-cel,2", "axi-cel,2.5", 2, "prior_lines", "2.5", "whole number", "Correct"),
    ("patients", "2,false", "2,nein", 2, "cns_involvement", "nein", "true or false", "Write"),
    ("patients", "P2,", "P1,", 3, "patient_id", "P1", "one row for each patient_id", "right row"),
    ("treatments", "tocilizumab", "Actemra", 3, "drug", "Actemra", "generic name", "'tocilizumab'"),
    ("treatments", "tocilizumab", "Tocilizumab", 3, "drug", "Tocilizumab", "generic name", "'tocilizumab'"),
    ("treatments", "P1,0,0.5", "P1,0,-0.5", 2, "duration_h", "-0.5", "between 0", "Correct"),
    ("assessments", "ice_total,7", "ice_total,11", 2, "value", "11", "0 to 10", "Correct"),
    ("assessments", "ice_total,7", "ice_total,6.5", 2, "value", "6.5", "whole number", "Correct"),
    ("assessments", "ice_total,7", "ice_totl,7", 2, "item", "ice_totl", "item of the vocabulary", "'ice_total'"),
    ("assessments", "seizure,none", "seizure,some", 4, "value", "some", "one of none", "these words"),
    ("assessments", "fever,yes", "fever,38.5", 5, "value", "38.5", "yes or no", "Write"),
    ("grades", "ASTCT,1,", "ASTCT,6,", 2, "grade", "6", "between 0 and 5", "Correct"),
    ("grades", "ASTCT,1,", "ASTCT,1.3,", 2, "grade", "1.3", "half grade", "Correct"),
    ("grades", "ICANS,ASTCT", "ICAN,ASTCT", 2, "toxicity", "ICAN", "one of ICANS", "did you mean"),
    ("events", "discharge", "discharged", 2, "event", "discharged", "one of discharge", "did you mean"),
    ("recordings", "eeg/p1.edf", "../p1.edf", 2, "path", "../p1.edf", "without '..'", "below"),
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN, ids=lambda c: f"{c[0]}-{c[2]}"[:40])
def test_one_broken_cell(tmp_path, case):
    table, old, new, row, column, value, expected, remedy = case
    report, _ = found(tmp_path, **swap(table, old, new))
    mine = [
        p
        for p in report.errors
        if (p.file, p.row, p.column, p.value) == (f"{table}.csv", row, column, value)
        and expected in p.expected
        and remedy in p.remedy
    ]
    assert len(mine) == 1, report.text()
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path / "study")
    assert caught.value.problems == report.errors


WARNED = [
    ("measurements", "12.3", "9000", 2, "value", "plausible"),
    ("measurements", "mg/L,none,,\nP1", "mg/L,none,3,\nP1", 2, "limit", "'censor'"),
    ("measurements", "P1,24,26.25,il_6,plasma,,", "P1,24,26.25,il_6,plasma,0.75,", 4, "value", "limit itself"),
    ("treatments", "tocilizumab", "newdrugumab", 3, "drug", "vocabulary"),
    ("treatments", "P1,0,0.5", "P1,100,0.5", 2, "time_h", "time 0"),
    ("treatments", "560,mg", "560,", 3, "amount", "unit"),
    ("patients", "hypertension", "NA", 2, "comorbidities", "words"),
    ("patients", "hypertension", "=1+1", 2, "comorbidities", "formula"),
    ("patients", "P3,", "p2,", 4, "patient_id", "case"),
    ("events", "P2,900", "P2,10", None, None, "before the patient's death"),
]  # fmt: skip


@pytest.mark.parametrize("case", WARNED, ids=lambda c: f"{c[0]}-{c[2]}"[:40])
def test_what_is_only_warned_of_is_loaded(tmp_path, case):
    table, old, new, row, column, expected = case
    report, _ = found(tmp_path, **swap(table, old, new))
    assert report.ok, report.text()
    assert any(
        expected in p.expected and (row is None or (p.row, p.column) == (row, column)) for p in report.warnings
    ), report.text()
    assert len(read_folder(tmp_path / "study")) == 3


def test_censoring_needs_a_limit_where_the_column_is_absent(tmp_path):
    table = "patient_id,time_h,analyte,value,censor\nP1,1,crp,,left\n"
    report, problems = found(tmp_path, measurements=table)
    assert ("measurements.csv", 2, "limit", None, "error") in problems
    assert not report.ok


def test_before_birth(tmp_path):
    early = f"P3,{-10 * 8766},,crp,serum,1,mg/L,none,,\n"
    _, problems = found(tmp_path, measurements=TABLES["measurements"] + early)
    assert ("measurements.csv", 8, "time_h", "-87660", "error") in problems


def test_header_problems(tmp_path):
    header, rest = TABLES["measurements"].split("\n", 1)
    _, problems = found(tmp_path, measurements=header.replace("analyte", "anlyte") + "\n" + rest)
    assert ("measurements.csv", 1, "anlyte", "anlyte", "error") in problems
    assert ("measurements.csv", None, "analyte", None, "error") in problems
    report, problems = found(tmp_path, measurements=header.replace("assay", "value") + "\n" + rest)
    assert ("measurements.csv", 1, "value", "value", "error") in problems
    report, _ = found(tmp_path, measurements=header.replace("value", "") + "\n" + rest)
    texts = [p.remedy for p in report.errors]
    assert any("without a name" in text for text in texts)


def test_remedy_names_the_near_miss(tmp_path):
    report, _ = found(tmp_path, **swap("patients", "age_y", "Age y"))
    assert any(p.remedy.startswith("Rename it to 'age_y'") for p in report.errors)


def test_structure_problems(tmp_path):
    _, problems = found(tmp_path, **swap("events", "discharge,home", "discharge,home,again"))
    assert ("events.csv", 2, None, "5 cells", "error") in problems
    _, problems = found(tmp_path, **swap("events", "discharge,home", "discharge"))
    assert ("events.csv", 2, None, "3 cells", "error") in problems
    report, _ = found(tmp_path, **swap("events", "discharge,home", 'discharge,"home'))
    assert any("closing quotation mark" in p.expected for p in report.errors)
    report, _ = found(tmp_path, **swap("events", "discharge,home", 'discharge,5" wide"'))
    assert any(p.row == 2 and "around whole cells" in p.expected for p in report.errors)
    report, _ = found(tmp_path, events=TABLES["events"].replace(",", ";"))
    assert any("commas" in p.expected for p in report.errors)
    report, _ = found(tmp_path, events="\n\n")
    assert any("header line" in p.expected for p in report.errors)


def test_rows_are_lines_of_the_file(tmp_path):
    text = (
        "patient_id,time_h,event,detail\n\n"
        'P1,400,discharge,"two\nlines"\n'
        "P2,x,death,\n"
        '\nP2,"y",relapse,"three\n\nlines"\nP2,z,relapse,\n'
    )
    _, problems = found(tmp_path, events=text)
    assert [(row, value) for file, row, column, value, _ in problems if column == "time_h" and value] == [
        (5, "x"),
        (7, "y"),
        (10, "z"),
    ]
    _, problems = found(tmp_path, events=text.replace("\n", "\r\n"))
    assert [p[1] for p in problems if p[2] == "time_h" and p[3]] == [5, 7, 10]


def test_duplicates(tmp_path):
    dose = "P1,30.1,1,tocilizumab,560,mg,iv\n"
    report, problems = found(tmp_path, treatments=TABLES["treatments"] + dose)
    assert ("treatments.csv", 5, "patient_id", "P1", "error") in problems
    report, _ = found(tmp_path, treatments=TABLES["treatments"] + dose.replace("560", "280"))
    assert report.ok
    assert "Both rows are loaded" in report.warnings[0].remedy
    grade = "P1,48,ICANS,ASTCT,3,delivered,false\n"
    report, _ = found(tmp_path, grades=TABLES["grades"] + grade)
    assert not report.ok


def test_files_of_a_folder(tmp_path):
    folder = write_valid(tmp_path / "study")
    (folder / "measurements.csv").rename(folder / "Measurement.csv")
    report = check(folder)
    assert any("Rename it to measurements.csv" in p.remedy for p in report.errors)
    (folder / "Measurement.csv").rename(folder / "notes.csv")
    report = check(folder)
    assert report.ok
    assert "not read" in report.warnings[0].remedy
    (folder / "patients.parquet").write_bytes((folder / "patients.csv").read_bytes())
    assert any("one file for table 'patients'" in p.expected for p in check(folder).errors)
    (folder / "patients.parquet").unlink()
    (folder / "patients.csv").unlink()
    assert any(p.file == "patients.csv" for p in check(folder).errors)
    assert not check(tmp_path / "absent").ok


def test_problems_of_all_files_come_together(tmp_path):
    replaced = {
        **swap("patients", "61.5", "sixty"),
        **swap("measurements", "12.3", "NA"),
        **swap("grades", "ASTCT,1,", "ASTCT,9,"),
        "events": "patient_id;time_h\n",
    }
    report, _ = found(tmp_path, **replaced)
    assert {p.file for p in report.errors} == {"patients.csv", "measurements.csv", "grades.csv", "events.csv"}


def test_many_problems_are_counted(tmp_path):
    rows = "".join(f"P1,{i},crp,bad{i},mg/L\n" for i in range(3000))
    report, _ = found(tmp_path, measurements="patient_id,time_h,analyte,value,unit\n" + rows)
    mine = [p for p in report.errors if p.column == "value"]
    assert len(mine) == 1001
    assert mine[-1].value == "2000 more of this kind"
    assert [p.row for p in mine[:3]] == [2, 3, 4]
    text = report.text()
    assert len(text.split("\n")) < 30
    assert "more like the last" in text


def test_a_column_of_rubbish_takes_no_time(tmp_path):
    count = 3_000
    rows = "".join(f"Q{i},{i % 900},an{i},{i},u{i}\n" for i in range(count))
    rows += "".join(f"P1,{i % 900},crp,{i},u{i}\n" for i in range(count))
    start = time.process_time()
    report, _ = found(
        tmp_path,
        measurements="patient_id,time_h,analyte,value,unit\n" + rows,
        treatments="patient_id,time_h,drug\n" + "".join(f"P1,0,d{i}\n" for i in range(count)),
        assessments="patient_id,time_h,item,value\n" + "".join(f"P1,0,i{i},{i}\n" for i in range(count)),
    )
    assert time.process_time() - start < 15
    told = {(p.file, p.column): p.value for p in report.problems if "more of this kind" in (p.value or "")}
    assert told["measurements.csv", "patient_id"] == "2000 more of this kind"
    assert told["measurements.csv", "analyte"] == "2000 more of this kind"
    assert told["treatments.csv", "drug"] == "2000 more of this kind"
    assert told["assessments.csv", "item"] == "2000 more of this kind"


def test_tables_without_rows(tmp_path):
    empty = {name: text.split("\n", 1)[0] + "\n" for name, text in TABLES.items()}
    report, _ = found(tmp_path, **empty)
    assert report.ok
    assert len(read_folder(tmp_path / "study")) == 0


def test_headers_without_end(tmp_path):
    report, _ = found(tmp_path, events="x" * 200_000 + "\n")
    assert any("a header of at most" in p.expected for p in report.errors)
    report, _ = found(tmp_path, events="x," * 2_000 + "\n")
    assert any("at most 1000 columns" in p.expected for p in report.errors)


def test_cohort_toml_problems(tmp_path):
    folder = write_valid(tmp_path / "study")
    (folder / "cohort.toml").write_text('nmae = "x"\nsynthetic = "yes"\ninfusion_day = 1\nnotes = "one"\n')
    problems = {p.column: p for p in check(folder).errors}
    assert set(problems) == {"nmae", "synthetic", "infusion_day", "notes"}
    assert "did you mean 'name'" in problems["nmae"].remedy
    (folder / "cohort.toml").write_text("name = \n")
    assert "valid TOML" in check(folder).errors[0].expected
    other = 'label = "x"\nunit = "g"\nlow = 0\nhigh = 1\nmatrix = "serum"\ngroup = "g"\nlog = true\n'
    (folder / "cohort.toml").write_text('[analytes.mine]\nlabel = "x"\n[analytes.crp]\n' + other)
    assert {p.column for p in check(folder).errors} == {"analytes.mine", "analytes.crp"}


def test_own_analytes_of_a_folder(tmp_path):
    own = ('[analytes.drug_x]\nlabel = "Drug X"\nunit = "ng/mL"\nlow = 0\nhigh = 1e4\nmatrix = "plasma"\n'
           'group = "drug"\nlog = true\n')  # fmt: skip
    replaced = swap("measurements", "P1,-2.5,-1,crp,serum,12.3,mg/L", "P1,-2.5,-1,drug_x,plasma,12.3,ug/L")
    folder = write_valid(tmp_path / "study", **replaced)
    assert not check(folder).ok
    (folder / "cohort.toml").write_text(own)
    assert check(folder).ok
    assert "drug_x" in read_folder(folder).analytes()


def test_check_cohort_in_memory():
    cohort = make(
        "mine",
        {
            "patients": pd.DataFrame({"patient_id": ["A", "B "]}),
            "measurements": pd.DataFrame(
                {"patient_id": ["A", "C"], "time_h": [0.0, float("inf")], "analyte": "crp", "value": [1.0, 2.0]}
            ),
        },
    )
    report = check_cohort(cohort)
    found = {(p.file, p.row, p.column) for p in report.errors}
    assert found >= {("patients", 2, "patient_id"), ("measurements", 2, "time_h"), ("measurements", 2, "patient_id")}
