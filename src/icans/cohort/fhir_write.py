"""From a cohort to FHIR R4 resources and bundles."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import uuid
from collections.abc import Iterator
from typing import Any

import pandas as pd

from icans.cohort import clock, codes, extras, schema, vocabulary
from icans.cohort.cohort import Cohort
from icans.cohort.fhir_bundle import Bundles, Entry
from icans.cohort.fhir_read import ETHNICITY, RACE
from icans.cohort.fhir_rows import (
    ABSENT_EXTENSION,
    ANALYTE,
    AVAILABLE_EXTENSION,
    EVENT,
    INFUSION_CODE,
    ITEM,
    PROCEDURE,
    READERS,
    RECORDING,
    ROW_EXTENSION,
    SCHEME,
    TOXICITY,
)
from icans.core.errors import UnitError
from icans.core.units import ucum

#: Names of resources are made of what they say, so that the same cohort gives the same bundle.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:icans:resource")
SYNTHETIC_TAG = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}
EPOCH_TAG = {"system": codes.LOCAL + "clock", "code": "synthetic-epoch"}
VITAL = ("vital",)

Json = dict[str, Any]


def resources(cohort: Cohort, epoch: dt.datetime | None) -> Iterator[Json]:
    """Every resource of a cohort, patient resources first."""
    zeros = clock.time_zeros(cohort.patients, epoch)
    people = {name: _name("Patient", name) for name in cohort.patient_ids}
    yield from _patients(cohort, zeros, people)
    for name in ("measurements", "treatments", "assessments", "grades", "events", "recordings"):
        table, frame = schema.TABLES[name], cohort.table(name)
        zero = (
            pd.Series(zeros.loc[frame["patient_id"].tolist()].array) if len(frame) else pd.Series([], dtype=clock._US)
        )
        times = pd.DataFrame({"start": clock.text(clock.instants(frame["time_h"], zero)),
                              "known": clock.text(clock.instants(frame["available_h"], zero))})  # fmt: skip
        if name == "treatments":
            times["end"] = clock.text(clock.instants(frame["time_h"] + frame["duration_h"], zero))
        records = frame.astype("object").where(frame.notna(), None).to_dict("records")
        made = [_BUILDERS[name](row, time, people) for row, time in zip(records, times.to_dict("records"), strict=True)]
        for i, resource in enumerate(made):
            resource["id"] = _name(name, records[i]["patient_id"], i)
        _attach_extras(made, frame, table)
        yield from made


def _attach_extras(made: list[Json], frame: pd.DataFrame, table: schema.Table) -> None:
    """Give each resource what it would not be understood to say by itself."""
    reader, empty = READERS, Bundles()
    understood = []
    for resource in made:
        entry = Entry("", "$", "", resource)
        rows = list(reader[resource["resourceType"]](entry, empty))
        understood.append(rows[0].values if rows else {})
    seen = pd.DataFrame(understood, index=range(len(made)))
    for row, column, text in extras.differences(
        _typed(seen, table), frame, table, skip=("time_h", "available_h", "duration_h")
    ).itertuples(index=False):
        made[row].setdefault("extension", []).append(_row_extension(column, text))


def _typed(seen: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    return table.shape_up(seen[[c for c in seen.columns if c in table.names]])


def _row_extension(column: str, text: str) -> Json:
    if text == "":
        return {"url": ROW_EXTENSION + column, "extension": [{"url": ABSENT_EXTENSION, "valueCode": "unknown"}]}
    return {"url": ROW_EXTENSION + column, "valueString": text}


def _name(*parts: object) -> str:
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(map(str, parts))))


def _subject(row: Json, people: dict[str, str]) -> Json:
    return {"reference": f"urn:uuid:{people[row['patient_id']]}"}


def _patients(cohort: Cohort, zeros: pd.Series, people: dict[str, str]) -> Iterator[Json]:
    deaths = cohort.events[cohort.events["event"] == "death"].groupby("patient_id")["time_h"].min()
    stamps = clock.text(pd.Series(zeros.array)).tolist()
    records = cohort.patients.astype("object").where(cohort.patients.notna(), None).to_dict("records")
    made, understood = [], []
    for row in records:
        name = row["patient_id"]
        person: Json = {
            "resourceType": "Patient", "id": people[name],
            "identifier": [{"system": codes.LOCAL + "patient", "value": name}],
        }  # fmt: skip
        kept = {"sex": row["sex"], "disease": row["disease"]}
        extension = []
        for url, key in ((RACE, "race"), (ETHNICITY, "ethnicity")):
            if row[key]:
                extension.append({"url": url, "extension": [{"url": "text", "valueString": row[key]}]})
                kept[key] = row[key]
        if extension:
            person["extension"] = extension
        if row["sex"]:
            person["gender"] = row["sex"]
        if name in deaths.index:
            zero = pd.Series([zeros[name]])
            person["deceasedDateTime"] = clock.text(clock.instants([deaths[name]], zero)).iloc[0]
        made.append(person)
        understood.append(kept)
    seen = schema.PATIENTS.shape_up(pd.DataFrame(understood, index=range(len(made))))
    for i, column, text in extras.differences(seen, cohort.patients, schema.PATIENTS).itertuples(index=False):
        made[i].setdefault("extension", []).append(_row_extension(column, text))
    for row, person, stamp in zip(records, made, stamps, strict=True):
        yield person
        yield _infusion(row, stamp, people)
        if row["disease"]:
            yield _disease(row, stamp, people)


def _infusion(row: Json, stamp: str, people: dict[str, str]) -> Json:
    return {
        "resourceType": "Procedure", "id": _name("infusion", row["patient_id"]), "status": "completed",
        "code": {"coding": [{"system": PROCEDURE, "code": INFUSION_CODE}], "text": "Infusion of CAR T cells"},
        "subject": _subject(row, people), "performedDateTime": stamp,
    }  # fmt: skip


def _disease(row: Json, stamp: str, people: dict[str, str]) -> Json:
    coding = [{"system": codes.LOCAL + "patient", "code": "disease"}]
    public = codes.disease_code(row["disease"])
    if public is not None:
        coding.append({"system": codes.system("icd10cm"), "code": public})
    return {
        "resourceType": "Condition", "id": _name("disease", row["patient_id"]),
        "code": {"coding": coding, "text": row["disease"]},
        "subject": _subject(row, people), "recordedDate": stamp,
    }  # fmt: skip


def _observation(row: Json, time: Json, people: dict[str, str], category: str, code: Json) -> Json:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation", "status": "final",
        "category": [{"coding": [{"system": system, "code": category}]}],
        "code": code, "subject": _subject(row, people),
        "effectiveDateTime": time["start"], **({"issued": time["known"]} if time["known"] else {}),
    }  # fmt: skip


def _measurement(row: Json, time: Json, people: dict[str, str]) -> Json:
    name, matrix = row["analyte"], row["matrix"]
    coding = []
    loinc = codes.loinc_for(name, matrix)
    if loinc is not None:
        coding.append({"system": codes.system("loinc"), "code": loinc})
    coding.append({"system": ANALYTE, "code": name})
    known = vocabulary.analytes().get(name)
    code = {"coding": coding, "text": known.label if known else name}
    made = _observation(row, time, people, "vital-signs" if matrix in VITAL else "laboratory", code)
    limited = row["censor"] in ("left", "right") and row["limit"] is not None
    number = row["limit"] if limited else row["value"]
    if number is None or not math.isfinite(number):
        made["dataAbsentReason"] = _absent_reason()
    else:
        made["valueQuantity"] = _quantity(number, row["unit"])
        if limited:
            made["valueQuantity"]["comparator"] = "<" if row["censor"] == "left" else ">"
    if matrix in codes.table()["specimens"]:
        snomed = codes.table()["specimens"][matrix][0]
        made["contained"] = [
            {"resourceType": "Specimen", "id": "specimen",
             "type": {"coding": [{"system": codes.system("snomed"), "code": snomed}]}}
        ]  # fmt: skip
        made["specimen"] = {"reference": "#specimen"}
    if row["assay"]:
        made["device"] = {"display": row["assay"]}
    if row["method"]:
        made["method"] = {"text": row["method"]}
    return made


def _absent_reason() -> Json:
    system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
    return {"coding": [{"system": system, "code": "unknown"}]}


def _quantity(value: float, unit: str | None) -> Json:
    quantity: Json = {"value": int(value) if float(value).is_integer() and abs(value) < 1e15 else float(value)}
    if unit:
        quantity["unit"] = unit
        with contextlib.suppress(UnitError):  # a unit that UCUM does not know travels as text
            quantity |= {"system": codes.system("ucum"), "code": ucum(unit)}
    return quantity


def _treatment(row: Json, time: Json, people: dict[str, str]) -> Json:
    atc = codes.atc_for(row["drug"])
    concept: Json = {"text": row["drug"]}
    if atc is not None:
        concept["coding"] = [{"system": codes.system("atc"), "code": atc}]
    made: Json = {
        "resourceType": "MedicationAdministration", "status": "completed",
        "medicationCodeableConcept": concept, "subject": _subject(row, people),
    }  # fmt: skip
    if time["end"]:
        made["effectivePeriod"] = {"start": time["start"], "end": time["end"]}
    else:
        made["effectiveDateTime"] = time["start"]
    if row["amount"] is not None:
        made["dosage"] = {"dose": _quantity(row["amount"], row["unit"])}
        if row["route"]:
            made["dosage"]["route"] = {"text": row["route"]}
    return _available(made, time)


def _available(made: Json, time: Json) -> Json:
    if time["known"]:
        made.setdefault("extension", []).append({"url": AVAILABLE_EXTENSION, "valueDateTime": time["known"]})
    return made


def _assessment(row: Json, time: Json, people: dict[str, str]) -> Json:
    known = vocabulary.items().get(row["item"])
    code = {"coding": [{"system": ITEM, "code": row["item"]}], "text": known.label if known else row["item"]}
    made = _observation(row, time, people, "exam", code)
    value = row["value"]
    if not value:
        made["dataAbsentReason"] = _absent_reason()
    elif len(value) < 9 and value.lstrip("-").isascii() and value.lstrip("-").isdigit() and str(int(value)) == value:
        made["valueInteger"] = int(value)
    else:
        made["valueString"] = value
    return made


def _grade(row: Json, time: Json, people: dict[str, str]) -> Json:
    code = {"coding": [{"system": TOXICITY, "code": row["toxicity"]}], "text": f"{row['toxicity']} grade"}
    made = _observation(row, time, people, "exam", code)
    made["method"] = {"coding": [{"system": SCHEME, "code": row["scheme"]}]}
    if row["grade"] is None:
        made["dataAbsentReason"] = _absent_reason()
    else:
        made["valueQuantity"] = _quantity(row["grade"], "{grade}")
    return made


def _event(row: Json, time: Json, people: dict[str, str]) -> Json:
    code = {"coding": [{"system": EVENT, "code": row["event"]}], "text": row["event"]}
    made = _observation(row, time, people, "exam", code)
    if row["detail"]:
        made["valueString"] = row["detail"]
    else:
        made["valueBoolean"] = True
    return made


def _recording(row: Json, time: Json, people: dict[str, str]) -> Json:
    made = {
        "resourceType": "DocumentReference", "status": "current",
        "type": {"coding": [{"system": RECORDING, "code": row["kind"]}]},
        "subject": _subject(row, people),
        "content": [{"attachment": {"url": row["path"]}}],
        "context": {"period": {"start": time["start"]}},
    }  # fmt: skip
    return _available(made, time)


_BUILDERS = {
    "measurements": _measurement,
    "treatments": _treatment,
    "assessments": _assessment,
    "grades": _grade,
    "events": _event,
    "recordings": _recording,
}


def bundle(cohort: Cohort, kind: str, epoch: dt.datetime | None) -> Json:
    """The bundle of a cohort: ``transaction`` or ``searchset``."""
    made: Json = {"resourceType": "Bundle"}
    tags = [SYNTHETIC_TAG] if cohort.synthetic else []
    if cohort.patients["infusion_date"].isna().any():
        moment = clock.as_utc(epoch or clock.EPOCH).isoformat()
        tags = [*tags, {**EPOCH_TAG, "display": f"time zero set to {moment} where no infusion date may be kept"}]
    if tags:
        made["meta"] = {"tag": tags}
    made["identifier"] = {"system": codes.LOCAL + "cohort", "value": cohort.name}
    made["type"] = kind
    entries = []
    for resource in resources(cohort, epoch):
        entry: Json = {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
        if kind == "transaction":
            entry["request"] = {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
        else:
            entry["search"] = {"mode": "match"}
        entries.append(entry)
    if kind == "searchset":
        made["total"] = len(entries)
    if entries:
        made["entry"] = entries
    return made
