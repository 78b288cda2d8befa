"""The rich patient through every format; what is lost is what the table of losses says; real public files load."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, change_rows, make
from icans.cohort.fhir import read_fhir, write_fhir
from icans.cohort.omop import read_omop, write_omop
from icans.cohort.routes import BLANKS, CHANGES, PROVENANCE, routes
from icans.cohort.sdtm import read_sdtm, write_sdtm
from icans.core.provenance import Provenance

sys.path.insert(0, str(Path(__file__).parent))
from rich_patient import assert_same_patient, rich_cohort

ROUTES = sorted(routes())


@pytest.mark.parametrize("name", ROUTES)
def test_rich_patient_comes_back_the_same_and_without_any_assumption(name: str, tmp_path: Path) -> None:
    route, cohort = routes()[name], rich_cohort()
    route.write(cohort, tmp_path / route.target)
    back = route.read(tmp_path / route.target)
    assert_same_patient(back, cohort)
    assert back.changes.empty


def test_all_routes_give_one_cohort_through_each_other(tmp_path: Path) -> None:
    cohort = rich_cohort()
    for i, name in enumerate(["fhir-searchset", "omop-parquet", "sdtm-xpt8", "fhir-transaction", "sdtm-csv"]):
        route = routes()[name]
        path = tmp_path / str(i) / route.target
        path.parent.mkdir()
        route.write(cohort, path)
        cohort = route.read(path)
    assert_same_patient(cohort, rich_cohort())


def test_csv_folder_and_formats_agree(tmp_path: Path) -> None:
    folder = pytest.importorskip("icans.cohort.folder")
    cohort = rich_cohort()
    known = cohort.measurements["unit"].ne("furlongs") | cohort.measurements["unit"].isna()  # the folder refuses it
    cohort = cohort.with_table("measurements", cohort.measurements[known])
    folder.write_folder(cohort, tmp_path / "csv")
    write_fhir(cohort, tmp_path / "b.json")
    assert_same_patient(read_fhir(tmp_path / "b.json"), folder.read_folder(tmp_path / "csv"), except_=("name",))


@pytest.mark.parametrize("name", ROUTES)
def test_losses_are_exactly_those_listed(name: str, tmp_path: Path) -> None:
    route = routes()[name]
    noted = rich_cohort().with_changes(change_rows("events", "made.up", "for the test"))
    noted = dataclasses.replace(noted, provenance=Provenance(synthetic=True, citation="A", licence="B", notes=("c",)))
    padded = noted.events.assign(detail=noted.events["detail"] + "  ")
    noted = noted.with_table("events", padded)
    route.write(noted, tmp_path / route.target)
    back = route.read(tmp_path / route.target)
    lost = set()
    if "made.up" not in set(back.changes["rule"]):
        lost.add(CHANGES)
    if (back.provenance.citation, back.provenance.licence, back.provenance.notes) != ("A", "B", ("c",)):
        lost.add(PROVENANCE)
    if back.events["detail"].dropna().tolist() != noted.events["detail"].dropna().tolist():
        lost.add(BLANKS)
    assert lost == set(route.losses)
    assert_same_patient(back, noted, except_=("events.detail",))


def test_epoch_changes_dates_but_not_hours_and_is_said(tmp_path: Path) -> None:
    write_fhir(rich_cohort(), tmp_path / "b.json", epoch=pd.Timestamp("2031-05-06T07:08:09+02:00").to_pydatetime())
    bundle = json.loads((tmp_path / "b.json").read_text())
    assert any("2031-05-06T05:08:09" in tag.get("display", "") for tag in bundle["meta"]["tag"])
    assert "2031-05-06T" in (tmp_path / "b.json").read_text()
    assert_same_patient(read_fhir(tmp_path / "b.json"), rich_cohort())


def test_same_cohort_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_fhir(rich_cohort(), tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_written_bundle_is_valid_fhir_as_a_whole(tmp_path: Path) -> None:
    bundle = pytest.importorskip("fhir.resources.R4B.bundle")
    for kind in ("transaction", "searchset"):
        write_fhir(rich_cohort(), tmp_path / "b.json", kind=kind)
        bundle.Bundle.model_validate_json((tmp_path / "b.json").read_text())


def test_xpt5_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    from icans.core.errors import DataError

    cohort = rich_cohort()
    long = cohort.with_table("recordings", cohort.recordings.assign(path="x" * 201))
    with pytest.raises(DataError, match="xpt8"):
        write_sdtm(long, tmp_path / "sdtm", form="xpt5")
    assert not (tmp_path / "sdtm").exists()
    write_sdtm(long, tmp_path / "sdtm", form="xpt8")
    assert_same_patient(read_sdtm(tmp_path / "sdtm"), long)


@pytest.mark.parametrize("write", [write_sdtm, write_omop])
def test_writers_do_not_overwrite_unasked(write: object, tmp_path: Path) -> None:
    write(rich_cohort(), tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(FileExistsError):
        write(rich_cohort(), tmp_path / "x")  # type: ignore[operator]
    write(rich_cohort(), tmp_path / "x", overwrite=True)  # type: ignore[operator]


def test_a_cohort_of_patients_only(tmp_path: Path) -> None:
    bare = make("bare", {"patients": pd.DataFrame({"patient_id": ["p"]})})
    for name, route in routes().items():
        (tmp_path / name).mkdir()
        route.write(bare, tmp_path / name / route.target)
        assert_same_patient(route.read(tmp_path / name / route.target), bare)


def test_synthea_bundles_load(data_folder: Path) -> None:
    cohort = read_fhir(data_folder / "fhir_synthea_r4", anchor="first_encounter")
    counts = cohort.measurements["analyte"].value_counts()
    assert len(cohort) == 8
    assert counts["sbp"] == counts["dbp"] == counts["weight"] == 33
    assert counts["platelets"] == counts["wbc"] == 12
    assert cohort.patients["sex"].notna().all()
    assert cohort.patients["age_y"].between(0, 110).all()
    assert set(cohort.events["event"]) == {"death"}
    unread = cohort.changes[cohort.changes["rule"] == "fhir.not_read"].set_index("item")["rows"]
    assert unread["Claim"] == 79
    assert unread["ExplanationOfBenefit"] == 65
    assert (cohort.measurements["available_h"] >= cohort.measurements["time_h"]).all()


def test_pilot_study_loads(data_folder: Path) -> None:
    cohort = read_sdtm(data_folder / "cdisc_sdtm", anchor="RFXSTDTC")
    assert len(cohort) == 254
    untreated = cohort.changes[cohort.changes["rule"] == "sdtm.untreated"]
    assert untreated["patient_id"].nunique() == 52
    assert len(cohort.measurements) == 62_237
    medians = cohort.measurements.groupby("analyte")["value"].median()
    assert medians["sodium"] == 141
    assert medians["temperature"] == pytest.approx(36.67, abs=0.01)
    assert "ph" not in medians.index  # the study's PH is that of urine
    censored = cohort.measurements[cohort.measurements["censor"] == "left"]
    assert sorted(censored["limit"].unique()) == [2.2204, 3.42]
    unknown = cohort.changes[(cohort.changes["rule"] == "sdtm.unknown") & (cohort.changes["table"] == "measurements")]
    assert unknown["item"].is_unique
    assert unknown.set_index("item")["rows"]["CK (Creatine Kinase)"] == 1814
    missing = cohort.measurements[cohort.measurements["value"].isna()]
    assert set(missing["analyte"]) == {"dbp", "sbp", "heart_rate"}
    assert (cohort.events["event"] == "death").sum() == 3


def test_many_rows_are_quick_through_omop_and_sdtm(tmp_path: Path) -> None:
    import time

    n = 20_000
    labs = pd.DataFrame(
        {"patient_id": [f"p{i % 300:03d}" for i in range(n)], "time_h": [float(i // 300) for i in range(n)],
         "analyte": "crp", "matrix": "serum", "value": [i / 7 for i in range(n)], "unit": "mg/L"}
    )  # fmt: skip
    people = pd.DataFrame({"patient_id": sorted(labs["patient_id"].unique())})
    cohort: Cohort = make("many", {"patients": people, "measurements": labs})
    start = time.process_time()
    write_omop(cohort, tmp_path / "omop")
    write_sdtm(cohort, tmp_path / "sdtm")
    assert_same_patient(read_omop(tmp_path / "omop"), cohort)
    assert_same_patient(read_sdtm(tmp_path / "sdtm"), cohort)
    assert time.process_time() - start < 60
