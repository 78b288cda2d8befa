"""FHIR from strangers: what each element means, what is set aside, and hostile input."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icans.cohort import fhir_json
from icans.cohort.cohort import Cohort
from icans.cohort.fhir import read_fhir
from icans.core.errors import DataError, UnsafeInputError

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
ZERO = "2024-03-01T10:00:00-05:00"


def patient(**more: Any) -> dict:
    return {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-03-01", **more}


def infusion(**more: Any) -> dict:
    coding = {"system": "http://www.cms.gov/Medicare/Coding/ICD10", "code": "XW033H7"}
    return {"resourceType": "Procedure", "id": "inf", "status": "completed", "code": {"coding": [coding]},
            "subject": {"reference": "Patient/p1"}, "performedDateTime": ZERO, **more}  # fmt: skip


def lab(code: str = "1988-5", value: float = 12.0, **more: Any) -> dict:
    return {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": LOINC, "code": code}]},
            "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2024-03-02T10:00:00-05:00",
            "issued": "2024-03-02T12:30:00-05:00",
            "valueQuantity": {"value": value, "unit": "mg/L", "system": UCUM, "code": "mg/L"}, **more}  # fmt: skip


def bundle(*resources: dict) -> dict:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}


def read(tmp_path: Path, *resources: dict, **options: Any) -> Cohort:
    (tmp_path / "b.json").write_text(json.dumps(bundle(*resources)))
    return read_fhir(tmp_path / "b.json", **options)


def problems(tmp_path: Path, *resources: dict, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *resources, **options)
    assert all(p.file in ("b.json", "infusion") for p in caught.value.problems)
    return str(caught.value)


def test_a_result_its_time_and_when_it_was_known(tmp_path: Path) -> None:
    cohort = read(tmp_path, patient(), infusion(), lab())
    row = cohort.measurements.iloc[0]
    assert (row["analyte"], row["matrix"], row["value"], row["unit"]) == ("crp", "serum", 12.0, "mg/L")
    assert (row["time_h"], row["available_h"]) == (24.0, 26.5)
    assert cohort.patients.loc[0, "product"] == "axi-cel"
    assert cohort.patients.loc[0, "age_y"] == pytest.approx(64.0, abs=0.01)
    assert cohort.treatments[["drug", "time_h"]].values.tolist() == [["car_t", 0.0]]


def test_comparator_means_censored(tmp_path: Path) -> None:
    below, above = lab(), lab("2276-4")
    below["valueQuantity"]["comparator"], above["valueQuantity"]["comparator"] = "<", ">="
    cohort = read(tmp_path, patient(), infusion(), below, above)
    found = cohort.measurements.set_index("analyte")
    assert found.loc["crp", ["censor", "limit"]].tolist() == ["left", 12.0]
    assert found.loc["ferritin", ["censor", "limit"]].tolist() == ["right", 12.0]
    assert cohort.changes["item"].str.contains(">=", na=False).any()


def test_absent_result_is_a_missing_row(tmp_path: Path) -> None:
    gone = lab(dataAbsentReason={"text": "haemolysed"})
    del gone["valueQuantity"]
    cohort = read(tmp_path, patient(), infusion(), gone)
    assert len(cohort.measurements) == 1
    assert np.isnan(cohort.measurements.loc[0, "value"])


def test_blood_pressure_panel_gives_two_rows(tmp_path: Path) -> None:
    def part(code: str, value: float) -> dict:
        quantity = {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}
        return {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": quantity}

    panel = lab("85354-9", component=[part("8480-6", 120), part("8462-4", 70)])
    del panel["valueQuantity"]
    cohort = read(tmp_path, patient(), infusion(), panel)
    assert dict(zip(cohort.measurements["analyte"], cohort.measurements["value"])) == {"sbp": 120.0, "dbp": 70.0}
    assert cohort.measurements["unit"].tolist() == ["mmHg", "mmHg"]


def test_csf_by_code_and_by_specimen(tmp_path: Path) -> None:
    specimen = {"resourceType": "Specimen", "id": "s", "type": {"coding": [{"code": "258450006"}]}}
    by_specimen = lab("26881-3", specimen={"reference": "Specimen/s"}, effectiveDateTime="2024-03-03T00:00:00Z")
    cohort = read(tmp_path, patient(), infusion(), lab("49919-4"), specimen, by_specimen)
    assert cohort.measurements["matrix"].tolist() == ["csf", "csf"]
    assert set(cohort.measurements["analyte"]) == {"il_6"}


@pytest.mark.parametrize(
    ("code", "toxicity", "grade"), [("G92.03", "ICANS", 3.0), ("D89.832", "CRS", 2.0), ("G9200", "ICANS", np.nan)]
)
def test_graded_diagnoses(tmp_path: Path, code: str, toxicity: str, grade: float) -> None:
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "onsetDateTime": "2024-03-04",
                 "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}}  # fmt: skip
    lymphoma = copy.deepcopy(condition)
    lymphoma["code"]["coding"][0]["code"] = "C83.39"
    cohort = read(tmp_path, patient(), infusion(), condition, lymphoma)
    row = cohort.grades.iloc[0]
    assert (row["toxicity"], row["scheme"], row["source"]) == (toxicity, "ASTCT", "delivered")
    assert row["grade"] == grade or (np.isnan(grade) and np.isnan(row["grade"]) and row["lower_bound"])
    assert row["available_h"] == row["time_h"] + 24  # dated to the day
    assert "fhir.date_only" in set(cohort.changes["rule"])
    assert cohort.patients.loc[0, "disease"] == "DLBCL"


def test_drugs_their_dose_and_length(tmp_path: Path) -> None:
    dose = {"resourceType": "MedicationAdministration", "status": "completed", "subject": {"reference": "Patient/p1"},
            "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "L04AC07"}]},
            "effectivePeriod": {"start": "2024-03-02T15:00:00Z", "end": "2024-03-02T16:30:00Z"},
            "dosage": {"dose": {"value": 8, "unit": "mg/kg"}, "route": {"coding": [{"code": "47625008"}]}}}  # fmt: skip
    undone = {**dose, "status": "not-done"}
    cohort = read(tmp_path, patient(), infusion(), dose, undone)
    row = cohort.treatments[cohort.treatments["drug"] == "tocilizumab"].iloc[0]
    assert (row["time_h"], row["duration_h"], row["amount"], row["unit"], row["route"]) == (
        24.0,
        1.5,
        8.0,
        "mg/kg",
        "iv",
    )
    assert cohort.changes.loc[cohort.changes["rule"] == "fhir.void", "old"].tolist() == ["not-done"]


def test_death_and_discharge(tmp_path: Path) -> None:
    stay = {"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"},
            "subject": {"reference": "Patient/p1"},
            "period": {"start": "2024-02-25T08:00:00Z", "end": "2024-03-11T15:00:00Z"}}  # fmt: skip
    cohort = read(tmp_path, patient(deceasedDateTime="2024-04-01T15:00:00Z"), infusion(), stay)
    assert dict(zip(cohort.events["event"], cohort.events["time_h"])) == {"discharge": 240.0, "death": 744.0}


def test_entered_in_error_and_unknown_are_counted_not_silent(tmp_path: Path) -> None:
    cohort = read(tmp_path, patient(), infusion(), lab(status="entered-in-error"), lab("99999-9"), lab("99999-9"),
                  {"resourceType": "Immunization"}, {"resourceType": "Immunization"})  # fmt: skip
    assert cohort.measurements.empty
    rows = cohort.changes.set_index("item")["rows"]
    assert rows["Immunization"] == 2
    assert rows["Observation 99999-9 ('')".replace("('')", "(99999-9)")] == 2
    assert rows["Observation"] == 1


def test_time_zero_must_come_from_somewhere(tmp_path: Path) -> None:
    assert "anchor='first_encounter'" in problems(tmp_path, patient(), lab())
    cohort = read(tmp_path, patient(), lab(), infusion={"p1": "2024-03-01T15:00:00+00:00"})
    assert cohort.measurements["time_h"].tolist() == [24.0]
    assert "a patient of the bundles" in problems(tmp_path, patient(), infusion(), infusion={"p9": "2024-03-01"})
    with pytest.raises(ValueError, match="anchor"):
        read(tmp_path, patient(), anchor="birth")


def test_every_problem_at_once_with_its_path(tmp_path: Path) -> None:
    text = problems(
        tmp_path, patient(gender="F"), infusion(), lab(status="done"), lab(subject={"reference": "Patient/nobody"}),
        lab(effectiveDateTime="2024-02-31T00:00:00Z"), lab(valueQuantity={"value": "12"}), validate=False,
    )  # fmt: skip
    for path in ("entry[0].resource.gender", "entry[2].resource.status", "entry[3].resource.subject",
                 "entry[4].resource (time)", "entry[5].resource.valueQuantity.value"):  # fmt: skip
        assert path in text


def test_later_version_replaces_the_earlier(tmp_path: Path) -> None:
    first = lab(id="o", meta={"lastUpdated": "2024-03-02T12:00:00Z"})
    second = lab(id="o", value=15.0, meta={"lastUpdated": "2024-03-02T13:00:00Z"})
    for order in ((first, second), (second, first)):
        cohort = read(tmp_path, patient(), infusion(), *order)
        assert cohort.measurements["value"].tolist() == [15.0]
        assert "fhir.replaced" in set(cohort.changes["rule"])


def test_a_folder_of_bundles_may_refer_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(bundle(patient(), infusion())))
    with gzip.open(tmp_path / "b.json.gz", "wt") as handle:
        json.dump(bundle(lab()), handle)
    assert len(read_fhir(tmp_path).measurements) == 1
    with pytest.raises(DataError, match="a FHIR bundle"):
        read_fhir(tmp_path / "nothing")


HOSTILE = {
    "deep list": ("[" * 100_000, UnsafeInputError),
    "deep and closed": ("[" * 5000 + "]" * 5000, UnsafeInputError),
    "deep enough": ('{"a":' * 100 + "1" + "}" * 100, UnsafeInputError),
    "nan": ('{"resourceType":"Bundle","type":"collection","x":NaN}', DataError),
    "infinite": ('{"resourceType":"Bundle","type":"collection","x":1e999}', DataError),
    "digits": ('{"resourceType":"Bundle","type":"collection","x":' + "9" * 10_000 + "}", DataError),
    "double key": ('{"resourceType":"Bundle","type":"collection","type":"batch"}', DataError),
    "long string": ('{"x":"' + "a" * 2_000_000 + '"}', UnsafeInputError),
    "no json": ("<html>", DataError),
    "no bundle": ("[1,2]", DataError),
    "null": ("null", DataError),
    "empty": ("", DataError),
    "entry is text": ('{"resourceType":"Bundle","type":"collection","entry":"x"}', DataError),
    "entries are odd": ('{"resourceType":"Bundle","type":"collection","entry":[1,null,[],{"resource":[]}]}', DataError),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_json_is_refused(tmp_path: Path, name: str) -> None:
    text, error = HOSTILE[name]
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(error) as caught:
        read_fhir(tmp_path / "x.json")
    assert all(p.file == "x.json" for p in caught.value.problems)


def test_bombs_and_broken_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_json, "MAX_BYTES", 10_000)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 1_000_000))
    with pytest.raises(UnsafeInputError):
        read_fhir(tmp_path / "bomb.json.gz")
    (tmp_path / "torn.json.gz").write_bytes(gzip.compress(b'{"a": 1}' * 50)[:-12])
    with pytest.raises(DataError):
        read_fhir(tmp_path / "torn.json.gz")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(DataError, match="UTF-8"):
        read_fhir(tmp_path / "latin.json")


ODD: list[Any] = [
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    [],
    {},
    [None],
    [{}],
    {"coding": "x"},
    {"reference": 1},
    {"a": {"b": []}},
]


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        found += _places(child, (*path, key))
    return found


def test_any_element_of_the_wrong_kind_never_crashes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each element of a good bundle (every third, unless ``--full``) made odd: read, or refused with a DataError."""
    contained = [{"resourceType": "Specimen", "id": "s", "type": {"text": "csf"}}]
    good = bundle(
        patient(deceasedDateTime="2024-05-01"), infusion(), lab(contained=contained, specimen={"reference": "#s"})
    )
    rng = np.random.default_rng(7)
    for place in _places(good)[:: 1 if request.config.getoption("--full") else 3]:
        made = copy.deepcopy(good)
        target = made
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = ODD[rng.integers(len(ODD))]
        (tmp_path / "b.json").write_text(json.dumps(made))
        try:
            read_fhir(tmp_path / "b.json", validate=bool(rng.integers(2)))
        except DataError as error:
            assert error.problems  # noqa: PT017 - either outcome is right


def test_references_in_a_circle_end(tmp_path: Path) -> None:
    circle = {"resourceType": "Medication", "id": "m", "ingredient": [{"itemReference": {"reference": "Medication/m"}}]}
    dose = {"resourceType": "MedicationAdministration", "status": "completed", "subject": {"reference": "Patient/p1"},
            "medicationReference": {"reference": "Medication/m"}, "effectiveDateTime": ZERO}  # fmt: skip
    assert "a drug by text" in problems(tmp_path, patient(), infusion(), circle, dose, validate=False)


def test_missing_extra_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fhir.resources.R4B", None)
    with pytest.raises(ImportError, match=r"icans\[fhir\]"):
        read(tmp_path, patient(), infusion())
    assert len(read(tmp_path, patient(), infusion(), validate=False)) == 1
