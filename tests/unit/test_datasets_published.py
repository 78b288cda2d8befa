"""Reading the files as their owners publish them, on small files made here in exactly that layout.

Each test writes the published layout and the converted layout of the same invented values and demands the same
cohort from both (or what the published file alone can give).
"""

from __future__ import annotations

import json
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from icans.cohort import schema
from icans.core.errors import DataError, IcansError
from icans.datasets import load
from icans.datasets.cd22_sheet import CYTOKINE_NAMES, PATIENT_COLUMNS
from icans.datasets.cinc import read_records
from icans.datasets.ve_icans import FEATURES
from icans.datasets.vecams import read_score

TABLES = [*schema.TABLES, "changes"]


def same(one, other):
    """Two cohorts hold the same tables."""
    for name in TABLES:
        assert_frame_equal(one.table(name), other.table(name), obj=name)


# --- bwh_icans -------------------------------------------------------------------------------------------------

BWH = [
    "SID", "Age", "Sex", "Diagnosis", "Subtype", "Aggressive", "HospitalDay", "Temp", "CRP", "Ferritin", "meanscore",
    "Procalcitonin", "IL_6", "WBC", "CRS Peak Severity", "CRS Onset Day", "CRS Peak Day", "Toci doses", "From DR",
]  # fmt: skip
NA = np.nan
BWH_ROWS = [
    # 7: no CRS (filler peak day), m for male, one series
    (7, 60, "m", NA, "DL BCL", 1, -1, 98.1, 20, NA, 0, NA, NA, 4.0, NA, NA, NA, NA, NA),
    (7, 60, "m", NA, "DL BCL", 1, 0, 98.3, 22, 500, 0, NA, 2, 3.0, 0, NA, -1, 0, 1),
    (7, 60, "m", NA, "DL BCL", 1, 1, NA, NA, NA, NA, NA, NA, NA, NA, NA, NA, NA, NA),
    # 8: onset day 1, peak day 3, two doses; day 2 twice with other grades and CRP
    (8, 50, "F", "Lymphoma", "FL", 0, 0, 37.0, 5, 100, 0, 0.1, 4, 3, 2, 1, 3, 2, 0),
    (8, 50, "F", "Lymphoma", "FL", 0, 1, 38.0, 9, 200, 0.5, 0.1, 40, 2, NA, NA, NA, NA, NA),
    (8, 50, "F", "Lymphoma", "FL", 0, 2, 39.0, 11, 300, 1, 0.1, 400, 1, NA, NA, NA, NA, NA),
    (8, 50, "F", "Lymphoma", "FL", 0, 2, 39.0, 12, 300, 2, 0.1, 400, 1, NA, NA, NA, NA, NA),
    (8, 50, "F", "Lymphoma", "FL", 0, 3, 38.0, 9, NA, 0, 0.1, NA, 1, NA, NA, NA, NA, NA),
    # 9: grade 3 with onset and without a peak day; then 7 again: another series
    (9, 70, "M", "Myeloma", "MM", NA, 0, 36.5, 1, 10, 0, NA, NA, 5, 3, 2, NA, 0, 0),
    (9, 70, "M", "Myeloma", "MM", NA, 5, 36.6, 1, 10, 0, NA, NA, 5, NA, NA, NA, NA, NA),
    (7, 60, "M", NA, "DL BCL", 1, 0, 36.9, 2, 50, 0, NA, NA, 4, NA, NA, NA, NA, 0),
]


@pytest.fixture
def bwh(tmp_path):
    frame = pd.DataFrame(BWH_ROWS, columns=BWH)
    (tmp_path / "raw").mkdir()
    (tmp_path / "tidy").mkdir()
    with pd.ExcelWriter(tmp_path / "raw" / "AllBWH_5days_deID.xlsx") as writer:
        frame.to_excel(writer, sheet_name="Sheet1", index=False)
        pd.DataFrame({"note": [1]}).to_excel(writer, sheet_name="other", index=False)
    frame.to_csv(tmp_path / "tidy" / "daily.csv", index=False)
    return tmp_path


def test_bwh_reads_alike_from_the_spreadsheet_and_the_table(bwh):
    same(load("bwh_icans", bwh / "raw"), load("bwh_icans", bwh / "tidy"))


def test_bwh_a_number_in_two_stretches_is_two_patients(bwh):
    cohort = load("bwh_icans", bwh / "raw")
    assert cohort.patient_ids == ["SID-7", "SID-7.2", "SID-8", "SID-9"]
    split = cohort.changes[cohort.changes["rule"] == "patient.split"]
    assert split["new"].tolist() == ["SID-7.2"]
    assert split["rows"].tolist() == [1]


def test_bwh_values_are_daily_and_units_stay_undeclared(bwh):
    m = load("bwh_icans", bwh / "raw").measurements
    assert m["unit"].isna().all()
    assert (m["available_h"] == m["time_h"] + 24).all()
    assert m.loc[(m["patient_id"] == "SID-7") & (m["analyte"] == "temperature"), "time_h"].tolist() == [-24.0, 0.0]
    assert len(m[m["patient_id"] == "SID-7"]) == 3 + 5  # an empty cell gives no row


def test_bwh_a_repeated_day_keeps_the_higher_grade_and_tells_the_conflict(bwh):
    cohort = load("bwh_icans", bwh / "raw")
    mine = cohort.grades[(cohort.grades["patient_id"] == "SID-8") & (cohort.grades["toxicity"] == "ICANS")]
    assert mine["grade"].tolist() == [0.0, 0.5, 2.0, 0.0]
    told = cohort.changes[(cohort.changes["rule"] == "duplicate.day") & cohort.changes["item"].notna()]
    assert sorted(zip(told["item"], told["old"], told["new"])) == [("CRP", "12", "11"), ("meanscore", "1", "2")]


def test_bwh_crs_is_not_known_before_it_could_be(bwh):
    g = load("bwh_icans", bwh / "raw").grades
    crs = g[g["toxicity"] == "CRS"]
    columns = ["grade", "time_h", "available_h", "lower_bound", "source"]

    def rows(patient):
        return sorted(crs.loc[crs["patient_id"] == patient, columns].to_numpy().tolist())

    assert rows("SID-7") == [[0, 24, 48, False, "delivered"]]  # no CRS: known at the end of the record
    assert rows("SID-8") == [[1, 24, 48, True, "delivered"], [2, 72, 96, False, "delivered"]]
    assert rows("SID-9") == [[1, 48, 72, True, "derived"], [3, 48, 144, False, "delivered"]]


def test_bwh_undated_doses_are_told_and_not_invented(bwh):
    cohort = load("bwh_icans", bwh / "raw")
    assert cohort.treatments.empty
    told = cohort.changes[cohort.changes["rule"] == "treatment.undated"]
    assert list(zip(told["patient_id"], told["item"], told["old"])) == [("SID-8", "tocilizumab", "2 doses")]


def test_bwh_codes_are_brought_to_agreed_names(bwh):
    cohort = load("bwh_icans", bwh / "raw")
    people = cohort.patients.set_index("patient_id")
    assert people["sex"].to_dict() == {"SID-7": "male", "SID-7.2": "male", "SID-8": "female", "SID-9": "male"}
    assert people["disease"].to_dict() == {"SID-7": "DLBCL", "SID-7.2": "DLBCL", "SID-8": "FL", "SID-9": "MM"}
    renamed = cohort.changes[cohort.changes["rule"] == "code.renamed"]
    assert set(renamed["old"]) == {"m", "M", "F", "DL BCL"}


def test_bwh_a_cell_that_is_no_number_is_named(bwh):
    path = bwh / "tidy" / "daily.csv"
    path.write_text(path.read_text().replace("98.1", "98,1x"))
    text = path.read_text().replace('"98,1x"', "abc").replace("98,1x", "abc")
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load("bwh_icans", bwh / "tidy")
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.value) == (2, "Temp", "abc")


# --- nulisa_cart_lbcl ------------------------------------------------------------------------------------------


def test_nulisa_reads_alike_from_the_spreadsheet_and_the_table(tmp_path):
    days = pd.DataFrame(
        [
            ("Yes", "P02", 0, 0, 0, 0, 0, 0, 0),
            ("Yes", "P02", 1, 2, 1, 1, 0, 1, 0),
            ("Yes", "P02", 2, NA, NA, NA, NA, NA, NA),
            ("KTE-C19", "P05", 0, 1, 0, 0, 1, 0, 0),
            ("Tec", "P05", 0, 1, NA, 0, 0, 0, 1),
            ("Kym", "P9", 3, 0, 0, 0, 0, 0, 0),
            ("Bre", "P10", 3, 0, 0, 0, 0, 0, 0),
        ],
        columns=["code", "patient", "day", "crs_grade", "icans_grade", "toci", "siltux", "steroids", "anakinra"],
    )  # fmt: skip
    rest = ["crs_grade", "icans_grade", "toci", "siltux", "steroids", "anakinra"]
    raw = pd.DataFrame({"ID": days["code"] + " " + days["patient"], "therapy_day": days["day"], **days[rest]})
    tidy = pd.DataFrame({"patient_id": days["patient"] + days["code"], "product_code": days["code"], "day": days["day"],
                         **days[rest]})  # fmt: skip
    (tmp_path / "raw" / "data" / "public").mkdir(parents=True)
    (tmp_path / "tidy").mkdir()
    raw.to_excel(tmp_path / "raw" / "data" / "public" / "swimmer_plot_data.xlsx", index=False)
    tidy.to_csv(tmp_path / "tidy" / "daily_toxicity.csv", index=False)
    cohort = load("nulisa_cart_lbcl", tmp_path / "raw")
    same(cohort, load("nulisa_cart_lbcl", tmp_path / "tidy"))
    people = cohort.patients.set_index("patient_id")
    assert people["product"].to_dict() == {
        "P02Yes": "axi-cel", "P05KTE-C19": "axi-cel", "P05Tec": "brexu-cel", "P10Bre": "liso-cel", "P9Kym": "tisa-cel",
    }  # fmt: skip
    assert people["costimulation"].tolist() == ["CD28", "CD28", "CD28", "4-1BB", "4-1BB"]
    drugs = cohort.treatments[["patient_id", "time_h", "available_h", "drug"]].to_numpy().tolist()
    assert ["P02Yes", 24.0, 48.0, "tocilizumab"] in drugs
    assert ["P02Yes", 24.0, 48.0, "corticosteroid"] in drugs
    assert ["P05KTE-C19", 0.0, 24.0, "siltuximab"] in drugs
    assert ["P05Tec", 0.0, 24.0, "anakinra"] in drugs
    assert cohort.treatments["amount"].isna().all()
    assert len(cohort.grades) == 6 + 5  # empty days have no row
    assert cohort.events.set_index("patient_id")["time_h"].to_dict()["P02Yes"] == 24.0


def test_nulisa_an_id_that_cannot_be_split_is_named(tmp_path):
    columns = ["ID", "therapy_day", "crs_grade", "toci", "siltux", "icans_grade", "steroids", "anakinra"]
    pd.DataFrame([["P02", 0, 0, 0, 0, 0, 0, 0]], columns=columns).to_excel(
        tmp_path / "swimmer_plot_data.xlsx", index=False
    )
    with pytest.raises(DataError, match="product and patient"):
        load("nulisa_cart_lbcl", tmp_path)


# --- cd22_car_hlh ----------------------------------------------------------------------------------------------


DAYS = ["patient_id", "nominal_day", "actual_day"]
UNITS = {"CRP": "mg/L", "ferritin": "ug/L", "LDH": "U/L"}


def cd22_sheet() -> tuple[list[list[object]], dict[str, pd.DataFrame]]:
    """The published sheet (rows of cells) of two invented patients, and the tidy tables of the same values."""
    names = list(dict.fromkeys(CYTOKINE_NAMES.values()))
    width = 597
    title = [[None] * width for _ in range(3)]
    title[0][0], title[2][0] = "invented", "id"
    people = [
        [11, 1, 9, 1, 3, 4, 0, 1, 1, 1, 0, 0, 1, 80.5, 1, 0, 2, 0, 1, 1, 0],
        [12, 0, None, 0, 0, None, 4, 0, 0, 0, 0, 0, 0, "---", "---", 0, 1, 1, None, 0, 1],
    ]
    rows = [[*person, *[None] * (width - len(person))] for person in people]
    labs, car, cytokines = [], [], []
    for place, (lab, label) in enumerate((("CRP", "CRP mg/L"), ("ferritin", "Ferritin"), ("LDH", "LDH"))):
        for number, day in enumerate((0, 7, 14, 21, 28)):
            column = 21 + 10 * place + 2 * number
            title[0][column] = label if number == 0 else None  # a merged cell over the block
            title[1][column], title[2][column], title[2][column + 1] = f"Day {day}", "value", "true day"
            for row in rows[: 1 if day == 28 else 2]:
                row[column], row[column + 1] = 10 * place + day + 0.5, day + 0.25
                labs.append((row[0], day, day + 0.25, lab, UNITS[lab], row[column]))
    for number, day in enumerate((0, 7, 14, 21, 28)):
        rows[0][134 + 3 * number : 137 + 3 * number] = [day / 2, 3.0 * day, day + 1]
        car.append((11, day, day + 1, day / 2, 3.0 * day))
    column = 149
    for day in range(32):
        for name in names:
            title[1][column] = day if name == names[0] else None
            title[2][column] = {"TNF-alpha": "TNF-α", "IL-1B": "IL-1β", "IL-2": "IL-2 (pg/mL)"}.get(name, name)
            if day in (0, 5):
                rows[0][column] = day + len(name) / 10
                cytokines.append((11, day, name, day + len(name) / 10))
            column += 1
    assert column == width
    tidy = {
        "patients": pd.DataFrame(people, columns=list(PATIENT_COLUMNS)),
        "inflammatory_labs": pd.DataFrame(labs, columns=[*DAYS, "analyte", "unit", "value"]),
        "car_expansion": pd.DataFrame(car, columns=[*DAYS, "car_pct_of_T", "car_abs_per_uL"]),
        "cytokines_daily": pd.DataFrame(cytokines, columns=["patient_id", "day", "cytokine", "pg_per_mL"]),
    }  # fmt: skip
    return title + rows, tidy


@pytest.fixture(scope="module")
def cd22(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("cd22")
    sheet, tidy = cd22_sheet()
    raw = tmp_path / "raw" / "revisions" / "data"
    raw.mkdir(parents=True)
    pd.DataFrame(sheet).to_excel(raw / "clinical_data_05-12-20_v1.xlsx", header=False, index=False)
    (tmp_path / "tidy").mkdir()
    for name, frame in tidy.items():
        frame.to_csv(tmp_path / "tidy" / f"{name}.csv", index=False)
    return load("cd22_car_hlh", tmp_path / "raw"), load("cd22_car_hlh", tmp_path / "tidy")


def test_cd22_reads_alike_from_the_spreadsheet_and_the_tables(cd22):
    raw, tidy = cd22
    for name in ("patients", "grades", "events"):
        assert_frame_equal(raw.table(name), tidy.table(name), obj=name)
    units = raw.measurements["analyte"].isin(["crp", "ferritin", "ldh"])
    assert raw.measurements.loc[units, "unit"].isna().all()  # the spreadsheet declares none
    assert_frame_equal(raw.measurements.drop(columns="unit"), tidy.measurements.drop(columns="unit"))
    assert len(raw.measurements) == 27 + 10 + 28


def test_cd22_grades_say_when_they_could_be_known(cd22):
    g = cd22[0].grades
    crs = g[(g["toxicity"] == "CRS") & (g["patient_id"] == "CD22-11")].set_index("source")
    assert crs.loc["delivered", ["grade", "time_h", "available_h"]].tolist() == [3, 96, 30 * 24]
    assert crs.loc["derived", ["grade", "time_h", "available_h"]].tolist() == [1, 96, 120]
    hlh = g[g["toxicity"] == "IEC-HS"].set_index("patient_id")
    assert hlh["grade"].tolist() == [1, 0]
    assert hlh.loc["CD22-11", "time_h"] == 216


def test_cd22_marks_and_undated_treatments_are_told(cd22):
    cohort = cd22[0]
    assert cohort.treatments.empty
    told = cohort.changes[cohort.changes["rule"] == "treatment.undated"]
    assert sorted(zip(told["patient_id"], told["item"])) == [
        ("CD22-11", "corticosteroid"), ("CD22-11", "tocilizumab"), ("CD22-12", "anakinra"),
    ]  # fmt: skip
    assert (cohort.changes["rule"] == "missing.mark").sum() == 1
    assert cohort.patients["tumour_burden"].tolist()[0] == 80.5
    assert np.isnan(cohort.patients["tumour_burden"].tolist()[1])


def test_cd22_limits_in_cells_become_censored_values(tmp_path):
    sheet, _ = cd22_sheet()
    sheet[3][149] = "<0.54"
    sheet[3][150] = "> 750"
    pd.DataFrame(sheet).to_excel(tmp_path / "clinical_data_05-12-20_v1.xlsx", header=False, index=False)
    m = load("cd22_car_hlh", tmp_path).measurements
    marked = m[m["censor"] != "none"].sort_values("value")
    assert marked[["value", "censor", "limit"]].to_numpy().tolist() == [[0.54, "left", 0.54], [750.0, "right", 750.0]]


def test_cd22_every_fault_of_another_layout_is_named(tmp_path):
    sheet, _ = cd22_sheet()
    faults = {(0, 21): "Labs", (2, 200): "IL-99", (3, 160): "high"}
    for (row, column), cell in faults.items():
        sheet[row][column] = cell
    pd.DataFrame(sheet).to_excel(tmp_path / "clinical_data_05-12-20_v1.xlsx", header=False, index=False)
    with pytest.raises(DataError) as caught:
        load("cd22_car_hlh", tmp_path)
    columns = {problem.column for problem in caught.value.problems}
    assert {"column 160", "column 200"} <= columns
    assert "column 21" in columns
    assert all("one of CRP" in p.expected for p in caught.value.problems if p.column in ("column 21", "column 23"))


def test_cd22_a_narrow_sheet_is_refused(tmp_path):
    pd.DataFrame([[1, 2]] * 5).to_excel(tmp_path / "clinical_data_05-12-20_v1.xlsx", header=False, index=False)
    with pytest.raises(DataError, match="597 columns"):
        load("cd22_car_hlh", tmp_path)


# --- ve_icans_eeg ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["one sheet", "two sheets"])
def test_ve_icans_reads_grade_and_ranks_wherever_they_stand(tmp_path, layout):
    random = np.random.default_rng(1)
    features = pd.DataFrame(random.integers(0, 2, (5, len(FEATURES))), columns=list(FEATURES))
    features.insert(0, "SID", [4, 4, 9, 2, 4])
    more = pd.DataFrame({"icans": [0, 1.5, 2, 3, 4], "Rank1": [1, 2, 3, 4, 5], "Rank2": [5, 4, 3, 2, 1]})
    (tmp_path / "raw").mkdir()
    (tmp_path / "tidy").mkdir()
    whole = pd.concat([features, more], axis=1).assign(**{"mean rank": 3})
    whole.to_csv(tmp_path / "tidy" / "features_and_grade.csv", index=False)
    with pd.ExcelWriter(tmp_path / "raw" / "ImagesDataNewFeatures_deI.xlsx") as writer:
        if layout == "one sheet":
            whole.to_excel(writer, sheet_name="a", index=False)
        else:
            features.to_excel(writer, sheet_name="a", index=False)
            more.rename(columns={"icans": "ICANS grade"}).to_excel(writer, sheet_name="b", index=False)
            pd.DataFrame({"icans": [9.0]}).to_excel(writer, sheet_name="too short", index=False)
    cohort = load("ve_icans_eeg", tmp_path / "raw")
    tidy = load("ve_icans_eeg", tmp_path / "tidy")
    for name in schema.TABLES:
        assert_frame_equal(cohort.table(name), tidy.table(name), obj=name)
    mine = cohort.grades[cohort.grades["patient_id"] == "VE-4"]
    assert mine[["time_h", "grade"]].to_numpy().tolist() == [[0, 0], [1, 1.5], [2, 4]]
    assert (cohort.changes["rule"] == "time.unknown").sum() == 2


def test_ve_icans_without_a_grade_is_refused(tmp_path):
    features = pd.DataFrame(0, index=range(2), columns=["SID", *FEATURES])
    features.to_excel(tmp_path / "ImagesDataNewFeatures_deI.xlsx", index=False)
    with pytest.raises(DataError, match="ICANS grade"):
        load("ve_icans_eeg", tmp_path)


# --- vecams_eeg_clips ------------------------------------------------------------------------------------------


def test_vecams_reads_scores_from_matlab_files(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is optional")
    (tmp_path / "Data").mkdir()
    for number, score in ((5, 3.0), (6, 20.0)):
        with h5py.File(tmp_path / "Data" / f"eFig{number:02d}_data.mat", "w", userblock_size=512) as file:
            file["score"] = np.array([[score]])
            file["Fs"] = np.array([[200.0]])
            file["data"] = np.zeros((10, 20))
    labels = pd.DataFrame({"Var1": ["eFig04.png", "eFig05.png", "eFig06.png"], "GPD": [0, 0, 1], "GRDA": [0, 1, 0]})
    labels.to_csv(tmp_path / "FeaturesInAppendixFigures.csv", index=False)
    cohort = load("vecams_eeg_clips", tmp_path)
    assert cohort.patient_ids == ["eFig05", "eFig06"]
    m = cohort.measurements
    assert m.loc[m["analyte"] == "ve_cam_s", "value"].tolist() == [3.0, 20.0]
    assert m.loc[m["method"] == "GPD", "value"].tolist() == [0.0, 1.0]
    assert cohort.recordings["path"].str.endswith(("eFig05_data.mat", "eFig06_data.mat")).all()
    assert cohort.recordings["sha256"].str.len().eq(64).all()


def test_vecams_without_h5py_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(IcansError, match="h5py"):
        read_score(tmp_path / "eFig05_data.mat")


def test_vecams_without_recordings_says_so(tmp_path):
    (tmp_path / "FeaturesInAppendixFigures.csv").write_text("Var1,GPD\neFig05.png,0\n")
    with pytest.raises(DataError, match="eFigNN_data"):
        load("vecams_eeg_clips", tmp_path)


# --- cinc2012_icu ----------------------------------------------------------------------------------------------


def record(number: int) -> list[tuple[str, str, float]]:
    seed = np.random.default_rng(zlib.crc32(str(number).encode()))
    person = {"RecordID": number, "Age": 60 + number % 10, "Gender": number % 3 - 1, "Height": -1}
    person |= {"ICUType": 1 + number % 4, "Weight": -1 if number % 2 else 80}
    static = [("00:00", name, value) for name, value in person.items()]
    times = [f"{h:02d}:{m:02d}" for h, m in zip(range(0, 48, 6), seed.integers(0, 60, 8))]
    return static + [(t, p, round(float(seed.normal(50, 5)), 1)) for t in times for p in ("HR", "SysABP", "NISysABP")]


@pytest.fixture
def cinc(tmp_path):
    raw, tidy = tmp_path / "raw" / "set-a", tmp_path / "tidy"
    raw.mkdir(parents=True)
    tidy.mkdir()
    rows = []
    for number in (132539, 132540, 132541):
        lines = record(number)
        text = "Time,Parameter,Value\n" + "\n".join(f"{t},{p},{v:g}" for t, p, v in lines)
        (raw / f"{number}.txt").write_text(text + ("\n" if number % 2 else ""))  # one file without a last newline
        rows += [(number, int(t[:2]) * 60 + int(t[3:]), p, float(f"{v:g}")) for t, p, v in lines if p != "RecordID"]
    outcomes = pd.DataFrame(
        [(132539, 6, 1, 5, -1, 0), (132540, 16, 8, 8, 3, 1), (132541, -1, -1, -1, 40, 0)],
        columns=["RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"],
    )
    outcomes.to_csv(tmp_path / "raw" / "Outcomes-a.txt", index=False)
    outcomes.to_csv(tidy / "outcomes_a.csv", index=False)
    long = pd.DataFrame(rows, columns=["RecordID", "minute", "Parameter", "Value"])
    long.to_csv(tidy / "set_a_long.csv.gz", index=False)
    return tmp_path


def test_cinc_reads_alike_from_the_records_and_the_long_table(cinc):
    cohort = load("cinc2012_icu", cinc / "raw")
    same(cohort, load("cinc2012_icu", cinc / "tidy"))
    assert len(cohort) == 3
    assert len(cohort.provenance.inputs) == 4


def test_cinc_minus_one_is_missing_at_admission(cinc):
    cohort = load("cinc2012_icu", cinc / "raw")
    assert "height" not in cohort.analytes()
    assert cohort.patients["sex"].isna().sum() == 1
    told = cohort.changes[cohort.changes["rule"] == "missing.mark"].set_index("item")["rows"].to_dict()
    assert told == {"Gender": 1, "Height": 3, "Weight": 2}


def test_cinc_pressures_are_one_analyte_with_two_methods(cinc):
    m = load("cinc2012_icu", cinc / "raw").measurements
    assert set(m.loc[m["analyte"] == "sbp", "method"]) == {"invasive", "cuff"}
    assert m.loc[m["analyte"] == "heart_rate", "method"].isna().all()


def test_cinc_events_follow_the_outcomes(cinc):
    events = load("cinc2012_icu", cinc / "raw").events.set_index("patient_id")
    assert events.loc["ICU-132539", ["event", "time_h"]].tolist() == ["discharge", 120.0]
    assert events.loc["ICU-132540", ["event", "time_h"]].tolist() == ["death", 72.0]
    assert events.loc["ICU-132541", ["event", "time_h"]].tolist() == ["death", 960.0]


def test_cinc_records_are_read_in_one_go(cinc):
    paths = sorted((cinc / "raw" / "set-a").glob("*.txt"))
    long = read_records(paths)
    assert long["RecordID"].value_counts().tolist() == [29, 29, 29]
    assert long["minute"].max() < 48 * 60


def test_cinc_an_unknown_variable_is_named(cinc):
    path = cinc / "raw" / "set-a" / "132539.txt"
    path.write_text(path.read_text() + "\n01:00,Mystery,1\n".lstrip("\n"))
    with pytest.raises(DataError, match="Mystery"):
        load("cinc2012_icu", cinc / "raw")


# --- pbc -------------------------------------------------------------------------------------------------------


def test_pbc_versions_agree_on_the_same_patients(tmp_path):
    common = {"albumin": [3.0, 2.5, 4.0], "spiders": ["Yes", NA, "No"]}
    drug, status = ["D-penicil", "D-penicil", "placebo"], ["dead", "dead", "transplanted"]
    edema = ["No edema", "edema no diuretics", "edema despite diuretics"]
    words = pd.DataFrame({
        "id": [1, 1, 2], "years": [2.0, 2.0, 4.0], "status": status, "drug": drug, "age": 50.0,
        "sex": ["female", "female", "male"], "year": [0.0, 1.0, 0.0], "ascites": ["No", "Yes", "No"],
        "hepatomegaly": "Yes", **common, "edema": edema, "serBilir": [1.0, 2.0, 3.0], "serChol": [NA, 200, 300],
        "alkaline": 1000.0, "SGOT": 90.0, "platelets": 150.0, "prothrombin": 10.0, "histologic": 4,
    })  # fmt: skip
    codes = pd.DataFrame({
        "id": [1, 1, 2], "futime": [730.48, 730.48, 1460.96], "status": [2, 2, 1], "trt": [1, 1, 0], "age": 50.0,
        "sex": ["f", "f", "m"], "day": [0.0, 365.24, 0.0], "ascites": [0, 1, 0], "hepato": 1, "spiders": [1, NA, 0],
        "edema": [0, 0.5, 1], "bili": [1.0, 2.0, 3.0], "chol": [NA, 200, 300], "albumin": [3.0, 2.5, 4.0],
        "alk.phos": 1000.0, "ast": 90.0, "platelet": 150.0, "protime": 10.0, "stage": 4,
    })  # fmt: skip
    words.to_csv(tmp_path / "pbc2.csv")
    codes.to_csv(tmp_path / "pbcseq.csv", index=False)
    one, other = load("pbc2", tmp_path), load("pbcseq", tmp_path)
    for name in schema.TABLES:
        assert_frame_equal(one.table(name), other.table(name), obj=name)
    assert one.events.set_index("patient_id")["event"].to_dict() == {"PBC-1": "death", "PBC-2": "transplant"}
    assert one.treatments["drug"].tolist() == ["d-penicillamine", "placebo"]


# --- all of them -----------------------------------------------------------------------------------------------


def test_provenance_names_licence_and_hashes_and_survives_json(bwh):
    provenance = load("bwh_icans", bwh / "raw").provenance
    assert provenance.licence == "CC BY-NC 4.0"
    assert not provenance.synthetic
    assert list(provenance.inputs) == ["AllBWH_5days_deID.xlsx"]
    assert json.loads(json.dumps(provenance.as_dict()))["notes"]


def test_reading_leaves_the_files_alone(bwh):
    path = bwh / "raw" / "AllBWH_5days_deID.xlsx"
    before = path.read_bytes()
    load("bwh_icans", bwh / "raw")
    assert path.read_bytes() == before
