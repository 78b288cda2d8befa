"""OMOP and SDTM from strangers: what each field means, what is set aside, and broken input."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.cohort import clock, codes, schema, vocabulary
from icans.cohort.omop import read_omop
from icans.cohort.omop_concepts import FIRST_LOCAL, local_id
from icans.cohort.sdtm import read_sdtm
from icans.cohort.sdtm_codes import NAME_LENGTH, meanings, qualifiers, short, written_codes
from icans.core.errors import DataError


def write(folder: Path, **tables: str) -> Path:
    """Small tables, written as text with columns separated by blanks and ``.`` for missing."""
    folder.mkdir(exist_ok=True)
    for name, text in tables.items():
        lines = [",".join("" if cell == "." else cell for cell in line.split()) for line in text.strip().splitlines()]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


DM = """
USUBJID RFSTDTC     RFXSTDTC         SITEID AGE AGEU   SEX DTHDTC
S1      2024-03-01  2024-03-01T10:00 12     61  YEARS  F   2024-05-01T10:00
S2      2024-03-01  .                12     40  YEARS  M   .
"""
EX = """
USUBJID EXSEQ EXTRT    EXDOSE EXDOSU EXROUTE     EXSTDTC          EXENDTC
S1      1     Kymriah  3e8    cells  INTRAVENOUS 2024-03-01T10:00 2024-03-01T10:30
"""
LB = """
USUBJID LBSEQ LBTESTCD LBORRES LBORRESU LBSTRESC LBSTRESN LBSTRESU LBSTAT   LBSPEC LBNAM LBMETHOD LBDTC            LBDY
S1      1     CRP      <5      mg/L     .        .        .        .        SERUM  Lab1  Neph     2024-03-02T10:00 2
S1      2     CRP      12      mg/dL    120      120      mg/L     .        SERUM  .     .        2024-03-03       3
S1      3     CRP      .       .        .        .        .        NOT_DONE .      .     .        2024-03-04T10:00 4
S1      4     INTLK6   >9999   pg/mL    >9999    .        pg/mL    .        CSF    .     .        2024-03-04T10:00 4
S1      5     PLAT     88      GI/L     88       88       GI/L     .        .      .     .        .                4
S1      6     WEIRD    1       .        1        1        .        .        .      .     .        2024-03-04T10:00 4
S1      7     CRP      trace   .        trace    .        .        .        .      .     .        2024-03-05T10:00 5
S1      8     CRP      3       mg/L     3        3        mg/L     .        .      .     .        2024-03          .
"""


def test_sdtm_results(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", dm=DM, ex=EX, lb=LB.replace("NOT_DONE", "NOT-DONE"))
    (folder / "lb.csv").write_text((folder / "lb.csv").read_text().replace("NOT-DONE", "NOT DONE"))
    cohort = read_sdtm(folder)
    labs = cohort.measurements.reset_index(drop=True)
    first = labs.iloc[0]
    assert (first["time_h"], first["censor"], first["limit"], first["unit"]) == (24.0, "left", 5.0, "mg/L")
    assert (first["assay"], first["matrix"]) == ("Lab1 / Neph", "serum")
    dated = labs[labs["value"] == 120].iloc[0]
    assert (dated["time_h"], dated["available_h"]) == (38.0, 62.0)
    assert labs["value"].isna().sum() == 2  # not done, and a result in words
    csf = labs[labs["analyte"] == "il_6"].iloc[0]
    assert (csf["matrix"], csf["censor"], csf["limit"]) == ("csf", "right", 9999.0)
    platelets = labs[labs["analyte"] == "platelets"].iloc[0]
    assert (platelets["unit"], platelets["time_h"]) == ("10*9/L", 62.0)  # day 4 from --DY
    rules = cohort.changes.set_index("rule")["rows"]
    for rule in ("sdtm.unknown", "sdtm.words", "sdtm.no_time", "sdtm.study_day", "sdtm.date_only", "sdtm.unit"):
        assert rules[rule] == 1
    assert cohort.patient_ids == ["S1"]
    assert cohort.changes.loc[cohort.changes["rule"] == "sdtm.untreated", "patient_id"].tolist() == ["S2"]
    assert cohort.patients.loc[0, "product"] == "tisa-cel"
    assert cohort.treatments[["drug", "duration_h", "route"]].values.tolist() == [["car_t", 0.5, "iv"]]
    assert cohort.events[["event", "time_h"]].values.tolist() == [["death", 1464.0]]


def test_sdtm_adverse_events_give_grades(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", dm=DM, ex=EX)
    (folder / "ae.csv").write_text(
        "USUBJID,AESEQ,AETERM,AEDECOD,AETOXGR,AESTDTC\n"
        "S1,1,CRS,Cytokine release syndrome,2,2024-03-03T10:00\n"
        "S1,2,x,Immune effector cell-associated neurotoxicity syndrome,GRADE 3,2024-03-05T10:00\n"
        "S1,3,Nausea,Nausea,1,2024-03-05T10:00\n"
    )
    cohort = read_sdtm(folder)
    assert cohort.grades[["toxicity", "grade", "time_h", "scheme"]].values.tolist() == [
        ["CRS", 2.0, 48.0, "CTCAE5"], ["ICANS", 3.0, 96.0, "CTCAE5"],
    ]  # fmt: skip
    assert "sdtm.scheme" in set(cohort.changes["rule"])


def test_sdtm_problems_are_all_told_with_their_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", dm=DM, ex=EX, lb=LB)
    text = (folder / "lb.csv").read_text().replace("2024-03-02T10:00", "2024-02-31").replace("S1,2,", "S9,2,")
    (folder / "lb.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_sdtm(folder)
    assert [(p.file, p.row, p.column, p.value) for p in caught.value.problems] == [("lb.csv", 3, "USUBJID", "S9")]
    (folder / "lb.csv").write_text(text.replace("S9,2,", "S1,2,"))
    with pytest.raises(DataError) as caught:
        read_sdtm(folder)
    assert [(p.file, p.row, p.column, p.value) for p in caught.value.problems] == [("lb.csv", 2, "LBDTC", "2024-02-31")]


def test_sdtm_without_infusion_says_how_to_give_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", dm=DM, lb=LB)
    with pytest.raises(DataError, match="anchor='RFXSTDTC'"):
        read_sdtm(folder)
    assert read_sdtm(folder, anchor="RFXSTDTC").patient_ids == ["S1"]
    assert read_sdtm(folder, infusion={"S2": "2024-03-01"}).patient_ids == ["S2"]
    with pytest.raises(DataError, match="a subject of DM"):
        read_sdtm(folder, anchor="RFXSTDTC", infusion={"S7": "2024-03-01"})
    with pytest.raises(ValueError, match="anchor"):
        read_sdtm(folder, anchor="x")


PERSON = """
person_id gender_concept_id year_of_birth month_of_birth day_of_birth person_source_value race_source_value
1         8532              1960          3              1            A                   Asian
2         8507              1970          .              .            .                   .
3         8507              1970          .              .            C                   .
"""
CONCEPT = """
concept_id concept_name          vocabulary_id concept_code
3020460    CRP                   LOINC         1988-5
8751       mg/L                  UCUM          mg/L
612865     tocilizumab           RxNorm        612865
45000      ICANS3                ICD10CM       G92.03
45001      lymphoma              ICD10CM       C83.30
"""
PROCEDURE = """
procedure_occurrence_id person_id procedure_concept_id procedure_date procedure_datetime  procedure_source_value
1                       1         0                    2024-03-01     2024-03-01T10:00:00 XW043J7
2                       2         0                    2024-03-01     2024-03-01T10:00:00 XW043C7
"""
MEASUREMENT = """
measurement_id person_id measurement_concept_id measurement_date measurement_datetime operator_concept_id value_as_number unit_concept_id unit_source_value measurement_source_value value_source_value
1              1         3020460                2024-03-02       2024-03-02T10:00:00  4171756             5               8751            mg/l              .                        .
2              1         0                      2024-03-03       2024-03-03T10:00:00  .                   .               .               ng/mL             LOINC:2276-4             >2000
3              2         0                      2024-03-03       .                    .                   39              .               degC              8310-5                   .
4              1         77                     2024-03-03       2024-03-03T10:00:00  .                   1               .               .                 mystery                  .
"""  # noqa: E501
DRUG = """
drug_exposure_id person_id drug_concept_id drug_exposure_start_date drug_exposure_start_datetime drug_exposure_end_date drug_exposure_end_datetime quantity drug_source_value dose_unit_source_value route_source_value
1                1         612865          2024-03-02               2024-03-02T10:00:00          2024-03-02             2024-03-02T11:00:00        8        50242013501       mg/kg                  Intravenous
"""  # noqa: E501
CONDITION = """
condition_occurrence_id person_id condition_concept_id condition_start_date condition_start_datetime condition_source_value
1                       1         45000                2024-03-05           2024-03-05T10:00:00      .
2                       1         45001                2023-01-01           2023-01-01T00:00:00      .
3                       1         0                    2023-01-01           2023-01-01T09:00:00      I10
"""  # noqa: E501


def omop(folder: Path) -> Path:
    death = "person_id death_date\n1 2024-05-01\n"
    return write(folder, person=PERSON, concept=CONCEPT, procedure_occurrence=PROCEDURE, measurement=MEASUREMENT,
                 drug_exposure=DRUG, condition_occurrence=CONDITION, death=death)  # fmt: skip


def test_omop_tables(tmp_path: Path) -> None:
    cohort = read_omop(omop(tmp_path / "o"))
    labs = cohort.measurements.set_index("analyte")
    assert labs.loc["crp", ["time_h", "censor", "limit", "unit"]].tolist() == [24.0, "left", 5.0, "mg/l"]
    assert labs.loc["ferritin", ["censor", "limit", "unit"]].tolist() == ["right", 2000.0, "ng/mL"]
    assert labs.loc["temperature", ["time_h", "available_h"]].tolist() == [38.0, 62.0]
    dose = cohort.treatments.set_index("drug").loc["tocilizumab"]
    assert dose[["time_h", "duration_h", "amount", "unit", "route"]].tolist() == [24.0, 1.0, 8.0, "mg/kg", "iv"]
    assert (cohort.treatments["drug"] == "car_t").sum() == 2
    assert cohort.grades[["toxicity", "grade", "scheme", "time_h"]].values.tolist() == [["ICANS", 3.0, "ASTCT", 96.0]]
    people = cohort.patients.set_index("patient_id")
    assert people.index.tolist() == ["2", "A"]
    assert people.loc["A", ["sex", "disease", "product", "race"]].tolist() == ["female", "DLBCL", "tisa-cel", "Asian"]
    assert people.loc["A", "age_y"] == pytest.approx(64.0, abs=0.01)
    assert cohort.events[["event", "available_h"]].values.tolist() == [["death", 1478.0]]
    rules = cohort.changes.groupby("rule")["rows"].sum()
    assert rules["omop.unknown"] == 1
    assert rules["omop.birth_year"] == 1
    assert cohort.changes.loc[cohort.changes["rule"] == "omop.untreated", "patient_id"].tolist() == ["C"]
    assert "I10" in set(cohort.changes["item"])


def test_omop_problems(tmp_path: Path) -> None:
    folder = omop(tmp_path / "o")
    text = (folder / "measurement.csv").read_text()
    (folder / "measurement.csv").write_text(text.replace("\n1,1,", "\n1,9,"))
    with pytest.raises(DataError, match="a person of PERSON"):
        read_omop(folder)
    (folder / "measurement.csv").write_text(text.replace("2024-03-02T10:00:00", "yesterday"))
    with pytest.raises(DataError, match="yesterday"):
        read_omop(folder)
    (folder / "measurement.csv").write_text(text.replace("measurement_id,", "number,"))
    with pytest.raises(DataError, match="measurement_id"):
        read_omop(folder)
    (folder / "measurement.csv").unlink()
    (folder / "procedure_occurrence.csv").unlink()
    with pytest.raises(DataError, match="anchor='first_visit'"):
        read_omop(folder)
    with pytest.raises(DataError, match="a table 'person'"):
        read_omop(write(tmp_path / "empty"))


def _broken(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bytes changed, lost or doubled."""
    array = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(array)))
        match rng.integers(4):
            case 0:
                array[place] = int(rng.integers(256))
            case 1:
                del array[place : place + int(rng.integers(1, 40))]
            case 2:
                array[place:place] = array[place : place + 30]
            case _:
                array[place:place] = rng.choice([b",", b"\n", b'"', b"1e999", b"-", b"\x00", b"\xff"])
    return bytes(array)


@pytest.mark.parametrize("kind", ["omop", "sdtm"])
def test_broken_files_are_read_or_refused_but_never_crash(tmp_path: Path, kind: str) -> None:
    folder = omop(tmp_path / "x") if kind == "omop" else write(tmp_path / "x", dm=DM, ex=EX, lb=LB)
    read = read_omop if kind == "omop" else read_sdtm
    rng = np.random.default_rng(3)
    files = sorted(folder.iterdir())
    for _ in range(25):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        file.write_bytes(_broken(whole, rng))
        try:
            read(folder)
        except DataError as error:
            assert error.problems  # noqa: PT017 - either outcome is right
        finally:
            file.write_bytes(whole)


@pytest.mark.parametrize("name", ["lb.csv.gz", "lb.xpt"])
def test_torn_binary_files(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "s", dm=DM, ex=EX)
    (folder / name).write_bytes(gzip.compress(LB.encode())[:-15] if name.endswith("gz") else b"HEADER RECORD" * 9)
    with pytest.raises(DataError, match=r"lb\."):
        read_sdtm(folder)


def test_names_of_eight_characters_are_unique_and_stable() -> None:
    names = [*vocabulary.analytes(), *vocabulary.items()]
    made = [short(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(len(code) <= NAME_LENGTH and code.isalnum() and code.startswith("Z") for code in made)
    assert short("ve_cam_s") == short("ve_cam_s")
    for domain in ("lb", "vs", "qs"):
        assert all(meanings(domain)[code] == name for name, code in written_codes(domain).items())
        assert set(meanings(domain).values()) <= set(names)
    columns = {c.name for t in schema.TABLES.values() for c in t.columns} - {"patient_id"}
    assert set(qualifiers().values()) == columns
    assert all(len(code) <= NAME_LENGTH for code in qualifiers())


def test_local_concepts_do_not_collide() -> None:
    known = [f"analyte:{n}" for n in vocabulary.analytes()] + [f"item:{n}" for n in vocabulary.items()]
    known += [f"row:{c.name}" for t in schema.TABLES.values() for c in t.columns]
    ids = {local_id("ICANS", code) for code in set(known)}
    assert len(ids) == len(set(known))
    assert all(FIRST_LOCAL <= i < 2**31 for i in ids)


def test_code_tables_point_into_the_vocabulary() -> None:
    table = codes.table()
    assert {name for name, _ in table["loinc"].values()} <= set(vocabulary.analytes())
    assert set(table["specimens"]) <= set(schema.MATRICES)
    assert {t for t, _ in table["graded"]["codes"].values()} | set(table["terms"].values()) <= set(schema.TOXICITIES)
    assert codes.graded_scheme() in schema.SCHEMES
    assert codes.drug("Tocilizumab 20 MG/ML Injectable Solution") == "tocilizumab"
    assert codes.drug("Yescarta") == "car_t"
    assert codes.loinc_for("il_6", "csf") == "49919-4"
    assert codes.loinc_for("crp", "csf") is None


@pytest.mark.parametrize(
    ("text", "precision"),
    [("2024-03-01", "day"), ("2024-03-01T10", "time"), ("2024-03-01 10:30:15.25", "time"), ("2024-03", "coarse"),
     ("2024", "coarse"), ("2024-02-30", "bad"), ("2024-03-01T25:00", "bad"), ("soon", "bad"), ("", "none")],
)  # fmt: skip
def test_precision_of_times(text: str, precision: str) -> None:
    assert clock.parse(pd.Series([text]))["precision"].tolist() == [precision]


def test_hours_go_out_and_in_to_the_microsecond() -> None:
    time = np.array([0.0, 1 / 3, -1234.567891, 99999.999999, np.nan])
    zero = pd.Series([pd.Timestamp("2024-03-31T00:30:00+01:00").tz_convert("UTC").as_unit("us")] * 5)
    back = clock.hours(clock.parse(clock.text(clock.instants(time, zero)))["instant"], zero)
    np.testing.assert_allclose(back, time, atol=clock.TOLERANCE_H)
