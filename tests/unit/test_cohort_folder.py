"""Folders are written whole and read back to the last bit, in every format."""

from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest

from cohort_folders import swap, write_valid
from icans.cohort.cohort import change_rows, make
from icans.cohort.folder import read_folder, write_folder
from icans.cohort.readers import read, recognise
from icans.cohort.schema import TABLES
from icans.core.errors import DataError
from icans.core.provenance import Provenance

FORMATS = ("csv", "csv.gz", "parquet")


def assert_same(left, right, but: tuple[str, ...] = ()):
    for name in (*TABLES, "changes"):
        if name not in but:
            pd.testing.assert_frame_equal(left.table(name), right.table(name), check_exact=True)


@pytest.fixture
def awkward():
    floats = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789, np.nan]
    texts = ["=1+1", "'=x", "'", "''", 'a,"b"\nc\r\nd', "+49 123", "-"]
    patients = pd.DataFrame(
        {
            "patient_id": ["=cmd()", "é\u0301", "001", "1e5", "P-5", "Ω", "x'y"],
            "comorbidities": texts,
            "site": ["", " lead", "trail ", "\ttab", "@home", "'quoted'", None],
            "prior_lines": pd.array([0, 1, 2, None, 4, 5, 6], dtype="Int64"),
            "cns_involvement": pd.array([True, False, None, True, None, False, True], dtype="boolean"),
        }
    )
    measured = pd.DataFrame(
        {
            "patient_id": patients["patient_id"],
            "time_h": np.linspace(-1, 1, 7) / 3,
            "analyte": "ferritin",
            "value": floats,
        }
    )
    changes = change_rows("measurements", "=rule", "+why", patient_id="001", old="-1", new="'")
    notes = ("one", 'two "quoted"\n')
    provenance = Provenance('trial "x"\x7f', True, "Doe 2024", "CC0", {"raw.csv": "ab" * 32}, notes)
    return make("näme", {"patients": patients, "measurements": measured}, provenance=provenance, changes=changes)


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip_is_exact(tmp_path, awkward, format):
    write_folder(awkward, tmp_path / "study", format=format)
    back = read_folder(tmp_path / "study")
    assert_same(awkward, back)
    assert np.signbit(back.measurements.set_index("patient_id").loc["P-5", "value"])
    assert back.name == "näme"
    mine, theirs = awkward.provenance, back.provenance
    assert (theirs.source, theirs.synthetic, theirs.citation, theirs.licence) == (
        mine.source, mine.synthetic, mine.citation, mine.licence
    )  # fmt: skip
    assert theirs.notes == (*mine.notes, f"derived from raw.csv, sha256 {'ab' * 32}")
    assert set(theirs.inputs) == {f"patients.{format}", f"measurements.{format}", f"changes.{format}", "cohort.toml"}
    write_folder(back, tmp_path / "again", format=format)
    assert_same(back, read_folder(tmp_path / "again"))


def test_formats_give_one_cohort(tmp_path):
    cohort = read_folder(write_valid(tmp_path / "study"))
    for format in FORMATS:
        write_folder(cohort, tmp_path / format, format=format)
    assert_same(read_folder(tmp_path / "csv"), read_folder(tmp_path / "parquet"))
    assert_same(read_folder(tmp_path / "csv"), read_folder(tmp_path / "csv.gz"))


def test_written_csv_holds_no_formula(tmp_path, awkward):
    write_folder(awkward, tmp_path / "study")
    patients = pd.read_csv(tmp_path / "study" / "patients.csv", dtype=str, keep_default_na=False)
    cells = pd.Series(patients.to_numpy().ravel())
    risky = cells[cells.str.match(r"[=+\-@\t\r]")]
    assert set(risky) <= {"-"}
    assert "'=cmd()" in set(patients["patient_id"])


def test_values_are_read_as_written(tmp_path):
    cohort = read_folder(write_valid(tmp_path / "study"))
    patients = cohort.patients.set_index("patient_id")
    assert patients.loc["P2", "site"] == "Zürich, Uni"
    assert patients.loc["P2", "comorbidities"] == 'asthma; "old" stroke'
    assert patients.loc["P3", "cns_involvement"] is pd.NA
    assert bool(cohort.assessments.set_index("item").loc["seizure", "attributable"]) is True
    assert cohort.measurements["censor"].tolist() == ["none", "none", "left", "none", "right", "none"]
    assert cohort.name == "study"
    assert not cohort.synthetic


def test_nothing_is_overwritten_unless_asked(tmp_path, awkward):
    write_folder(awkward, tmp_path / "study")
    before = {p.name: p.read_bytes() for p in (tmp_path / "study").iterdir()}
    other = read_folder(write_valid(tmp_path / "valid"))
    with pytest.raises(FileExistsError):
        write_folder(other, tmp_path / "study")
    assert {p.name: p.read_bytes() for p in (tmp_path / "study").iterdir()} == before
    write_folder(other, tmp_path / "study", overwrite=True)
    assert_same(other, read_folder(tmp_path / "study"))
    (tmp_path / "study" / "eeg").mkdir()
    with pytest.raises(FileExistsError, match="also holds eeg"):
        write_folder(other, tmp_path / "study", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        write_folder(other, tmp_path / "file", overwrite=True)


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    for column, value in (("site", "nul\x00"), ("patient_id", "A "), ("site", "x" * 40_000)):
        frame = pd.DataFrame({"patient_id": ["A"], "site": ["s"]})
        frame[column] = value
        with pytest.raises(DataError):
            write_folder(make("x", {"patients": frame}), tmp_path / "study")
    unknown = pd.DataFrame({"patient_id": ["A"], "time_h": [0.0], "analyte": ["no_such"], "value": [1.0]})
    with pytest.raises(DataError, match="no_such"):
        write_folder(make("x", {"patients": frame[["patient_id"]].assign(patient_id="A"), "measurements": unknown}),
                     tmp_path / "study")  # fmt: skip
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="format"):
        write_folder(make("x", {"patients": frame}), tmp_path / "study", format="xlsx")


def test_a_zip_of_a_folder_is_read(tmp_path):
    folder = write_valid(tmp_path / "study")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"study/{path.name}")
    back = read_folder(tmp_path / "sent.zip")
    assert_same(read_folder(folder), back)
    assert back.name == "sent"


def test_parquet_of_other_programs(tmp_path):
    folder = write_valid(tmp_path / "study")
    (folder / "patients.csv").unlink()
    ids = pd.Categorical(["P1", "P2", "P3"])
    frame = pd.DataFrame({"patient_id": ids, "age_y": [61, 47, 8], "cns_involvement": [1, 0, 1]})
    frame.to_parquet(folder / "patients.parquet")
    cohort = read_folder(folder)
    assert cohort.patients["age_y"].tolist() == [61.0, 47.0, 8.0]
    assert cohort.patients["cns_involvement"].tolist() == [True, False, True]
    frame.assign(age_y=pd.Timestamp("2020-01-01"), cns_involvement=[0.5, 1, 0]).to_parquet(folder / "patients.parquet")
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    places = {(p.row, p.column) for p in caught.value.problems}
    assert places == {(row, column) for row in (1, 2, 3) for column in ("age_y", "cns_involvement")}


def test_reader_recognises_what_it_is_given(tmp_path):
    folder = write_valid(tmp_path / "study")
    assert recognise(folder) == "folder"
    assert len(read(folder)) == 3
    for name, text, kind in (
        ("nm.csv", "ID,TIME,DV\n", "nonmem"),
        ("lower.csv", "id,time,dv\n", "nonmem"),
        ("b.json", "{}", "fhir"),
        ("c.ndjson", "", "fhir"),
    ):
        (tmp_path / name).write_text(text)
        assert recognise(tmp_path / name) == kind
    for files, kind in ((("dm.xpt", "ae.xpt"), "sdtm"), (("person.csv",), "omop"), (("one.json",), "fhir")):
        made = tmp_path / kind
        made.mkdir()
        for file in files:
            (made / file).write_text("x")
        assert recognise(made) == kind
    (tmp_path / "both").mkdir()
    for file in ("dm.csv", "person.csv"):
        (tmp_path / "both" / file).write_text("x")
    with pytest.raises(DataError, match="more than one"):
        recognise(tmp_path / "both")
    (tmp_path / "other.csv").write_text("a,b\n")
    for path in ("other.csv", "absent"):
        with pytest.raises(DataError, match="noth"):
            recognise(tmp_path / path)
    with pytest.raises(DataError, match="what the columns mean"):
        read(tmp_path / "nm.csv")
    with pytest.raises(ValueError, match="kind must be"):
        read(folder, kind="excel")


def test_hash_and_problems_of_a_broken_folder_leave_no_trace(tmp_path):
    folder = write_valid(tmp_path / "study", **swap("patients", "61.5", "old"))
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(DataError):
        read_folder(folder)
    assert sorted(p.name for p in folder.iterdir()) == before
