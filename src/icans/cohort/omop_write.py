"""From a cohort to OMOP CDM 5.4: the model's own fields first, the rest as OBSERVATION records that point back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, extras, schema, vocabulary
from icans.cohort.cohort import Cohort
from icans.cohort.omop_concepts import VOCABULARY, Concepts, Registry
from icans.cohort.omop_read import OWN_ETL, SIMULATED
from icans.cohort.omop_rows import (
    ANALYTE,
    EVENT,
    FIELD,
    GRADE,
    INFUSION,
    ITEM,
    PATIENT,
    RECORDING,
    ROW,
    measurements,
    observations,
    treatments,
)
from icans.core.errors import UnitError
from icans.core.units import ucum

CDM_VERSION = "5.4"
_OBSERVED = {"assessments": ("item", ITEM), "grades": ("toxicity", GRADE), "events": ("event", EVENT),
             "recordings": ("kind", RECORDING)}  # fmt: skip


class Writer:
    """The tables of one extract while they are made."""

    def __init__(self, cohort: Cohort, epoch: dt.datetime | None) -> None:
        self.cohort = cohort
        self.zeros = clock.time_zeros(cohort.patients, epoch)
        self.registry = Registry()
        self.person_ids = {name: i + 1 for i, name in enumerate(cohort.patient_ids)}
        self.type = self.registry.standard("ehr", "Type Concept")
        self.tables: dict[str, pd.DataFrame] = {}
        self.observed: list[pd.DataFrame] = []

    def ids(self, truth: pd.DataFrame) -> pd.Series:
        """person_id of each row."""
        return truth["patient_id"].map(self.person_ids).astype("int64")

    def times(self, truth: pd.DataFrame, hours: pd.Series, stem: str) -> dict[str, pd.Series]:
        """Date and datetime fields of a record."""
        zero = pd.Series(self.zeros.reindex(truth["patient_id"]).array)
        text = clock.text(clock.instants(hours, zero), zone=False)
        return {f"{stem}_date": text.str[:10], f"{stem}_datetime": text}

    def observe(self, frame: pd.DataFrame) -> None:
        """Add OBSERVATION records (without ids, which come at the end)."""
        if len(frame):
            self.observed.append(frame)

    def code(self, prefix: str, values: pd.Series, domain: str) -> dict[str, pd.Series]:
        """Concept, source concept and source value of this package's own codes."""
        full = prefix + values.astype("object")
        ids = self.registry.ids(VOCABULARY, full, {}, domain)
        return {"concept": ids, "source_value": full}


def tables(cohort: Cohort, epoch: dt.datetime | None) -> dict[str, pd.DataFrame]:
    """Every table of the extract."""
    writer = Writer(cohort, epoch)
    parts = {
        "measurement": ("measurements", _measurement(writer)),
        "drug_exposure": ("treatments", _drug_exposure(writer)),
    }
    observed = {name: _observation(writer, name, *_OBSERVED[name]) for name in _OBSERVED}
    _number(writer, observed)
    _people(writer, epoch)
    concepts = Concepts.of(writer.registry.frame())
    for table, (name, frame) in parts.items():
        writer.tables[table] = frame
        reader = measurements if table == "measurement" else treatments
        _point_back(writer, table, frame, reader(frame, concepts).frame, name)
    for name, frame in observed.items():
        _point_back(writer, "observation", frame, observations(frame, concepts, name).frame, name)
    _finish(writer)
    return writer.tables


def _measurement(writer: Writer) -> pd.DataFrame:
    truth = writer.cohort.measurements
    pairs = truth[["analyte", "matrix"]].astype("object").where(truth[["analyte", "matrix"]].notna(), None)
    unique = pairs.drop_duplicates()
    loinc = {(a, m): codes.loinc_for(a, m) for a, m in unique.itertuples(index=False)}
    code = pd.Series([loinc[p] for p in pairs.itertuples(index=False, name=None)], dtype="object")
    labels = {c: vocabulary.analytes()[n].label for c, (n, _) in codes.loinc_meanings().items()}
    own = ANALYTE + truth["analyte"].astype("object")
    limited = truth["censor"].isin(["left", "right"]) & truth["limit"].notna()
    number = truth["limit"].where(limited, truth["value"])
    sign = truth["censor"].map({"left": "<", "right": ">"}).where(limited)
    operator = {"<": writer.registry.standard("less", "Meas Value Operator"),
                ">": writer.registry.standard("greater", "Meas Value Operator")}  # fmt: skip
    unit = {u: _ucum(u) for u in truth["unit"].dropna().unique()}
    shown = extras.as_text(number, schema.MEASUREMENTS.column("value")).set_axis(truth.index)
    return pd.DataFrame(
        {
            "measurement_id": np.arange(1, len(truth) + 1), "person_id": writer.ids(truth),
            "measurement_concept_id": writer.registry.ids("LOINC", code, labels, "Measurement"),
            **writer.times(truth, truth["time_h"], "measurement"), "measurement_type_concept_id": writer.type,
            "operator_concept_id": sign.map(operator).astype("Int64"), "value_as_number": number,
            "unit_concept_id": writer.registry.ids("UCUM", truth["unit"].map(unit), {}, "Unit"),
            "measurement_source_value": truth["analyte"].astype("object"),
            "measurement_source_concept_id": writer.registry.ids(VOCABULARY, own, {}, "Measurement"),
            "unit_source_value": truth["unit"].astype("object"),
            "value_source_value": sign.fillna("").astype("object") + shown,
        }
    )  # fmt: skip


def _ucum(unit: str) -> str | None:
    try:
        return ucum(unit)
    except UnitError:
        return None


def _drug_exposure(writer: Writer) -> pd.DataFrame:
    truth = writer.cohort.treatments
    atc = truth["drug"].map({name: codes.atc_for(name) for name in truth["drug"].unique()})
    names = dict(codes.table()["atc"])
    end = writer.times(truth, truth["time_h"] + truth["duration_h"].fillna(0), "end")
    return pd.DataFrame(
        {
            "drug_exposure_id": np.arange(1, len(truth) + 1), "person_id": writer.ids(truth),
            "drug_concept_id": writer.registry.ids("ATC", atc, names, "Drug"),
            **writer.times(truth, truth["time_h"], "drug_exposure_start"),
            "drug_exposure_end_date": end["end_date"],
            "drug_exposure_end_datetime": end["end_datetime"].where(truth["duration_h"].notna(), ""),
            "drug_type_concept_id": writer.type, "quantity": truth["amount"], "route_concept_id": 0,
            "drug_source_value": truth["drug"].astype("object"), "drug_source_concept_id": 0,
            "route_source_value": truth["route"].astype("object"),
            "dose_unit_source_value": truth["unit"].astype("object"),
        }
    )  # fmt: skip


def _observation(writer: Writer, name: str, column: str, prefix: str) -> pd.DataFrame:
    truth = writer.cohort.table(name)
    code = writer.code(prefix, truth[column], "Observation")
    text = {"assessments": "value", "events": "detail", "recordings": "path"}.get(name)
    number = truth["grade"] if name == "grades" else pd.Series(np.nan, index=truth.index)
    if name == "assessments":
        number = extras.exact(truth["value"])
        number = number.where(np.isfinite(number))
    return pd.DataFrame(
        {
            "person_id": writer.ids(truth), "observation_concept_id": code["concept"],
            **writer.times(truth, truth["time_h"], "observation"), "observation_type_concept_id": writer.type,
            "value_as_number": number, "value_as_string": truth[text].astype("object") if text else None,
            "observation_source_value": code["source_value"], "observation_source_concept_id": code["concept"],
            "qualifier_source_value": truth["scheme"].astype("object") if name == "grades" else None,
        },
        index=truth.index,
    )  # fmt: skip


def _number(writer: Writer, observed: dict[str, pd.DataFrame]) -> None:
    """Give the observations their ids, so that attributes can point at them."""
    start = 1
    for name, frame in observed.items():
        observed[name] = frame.assign(observation_id=np.arange(start, start + len(frame)))
        start += len(frame)
        writer.observe(observed[name])


def _point_back(writer: Writer, table: str, frame: pd.DataFrame, seen: pd.DataFrame, name: str) -> None:
    """Attributes of records, as observations that name the record they belong to."""
    truth = writer.cohort.table(name)
    seen = seen.assign(available_h=truth["time_h"].to_numpy())
    different = extras.differences(seen, truth, schema.TABLES[name], skip=("time_h", "duration_h"))
    if not len(different):
        return
    at = different["row"].to_numpy()
    dates = {"measurement": "measurement", "drug_exposure": "drug_exposure_start", "observation": "observation"}
    stem = dates[table]
    field = writer.registry.id(VOCABULARY, f"{FIELD}{table}.{table}_id", f"{table}.{table}_id", "Metadata")
    code = writer.code(ROW, different["column"], "Observation")
    writer.observe(
        pd.DataFrame(
            {
                "person_id": frame["person_id"].to_numpy()[at], "observation_concept_id": code["concept"],
                "observation_date": frame[f"{stem}_date"].to_numpy()[at],
                "observation_datetime": frame[f"{stem}_datetime"].to_numpy()[at],
                "observation_type_concept_id": writer.type, "value_as_string": different["value"],
                "observation_source_value": code["source_value"], "observation_source_concept_id": code["concept"],
                "observation_event_id": frame[f"{table}_id"].to_numpy()[at], "obs_event_field_concept_id": field,
            }
        )
    )  # fmt: skip


def _people(writer: Writer, epoch: dt.datetime | None) -> None:
    """PERSON, the infusion, the disease, deaths, and covariates as observations."""
    truth = writer.cohort.patients
    zero = pd.Series(writer.zeros.reindex(truth["patient_id"]).array)
    ids = writer.ids(truth)
    at_zero = writer.times(truth, pd.Series(0.0, index=truth.index), "x")
    sexes = {name: writer.registry.standard(name, "Gender") for name in ("female", "male", "other")}
    born = zero.dt.year - np.floor(truth["age_y"])
    writer.tables["person"] = pd.DataFrame(
        {
            "person_id": ids, "gender_concept_id": truth["sex"].map(sexes).astype("float64").fillna(0).astype("int64"),
            "year_of_birth": born, "race_concept_id": 0, "ethnicity_concept_id": 0,
            "person_source_value": truth["patient_id"].astype("object"),
            "gender_source_value": truth["sex"].astype("object"), "race_source_value": truth["race"].astype("object"),
            "ethnicity_source_value": truth["ethnicity"].astype("object"),
        }
    )  # fmt: skip
    infusion = writer.registry.id(VOCABULARY, INFUSION, "Infusion of CAR T cells", "Procedure")
    writer.tables["procedure_occurrence"] = pd.DataFrame(
        {
            "procedure_occurrence_id": ids, "person_id": ids, "procedure_concept_id": infusion,
            "procedure_date": at_zero["x_date"], "procedure_datetime": at_zero["x_datetime"],
            "procedure_type_concept_id": writer.type, "procedure_source_value": INFUSION,
            "procedure_source_concept_id": infusion,
        }
    )  # fmt: skip
    _diseases(writer, truth, ids, at_zero)
    seen = truth[["sex", "race", "ethnicity", "disease"]]
    different = extras.differences(seen, truth, schema.PATIENTS)
    row = different["row"].to_numpy()
    code = writer.code(PATIENT, different["column"], "Observation")
    writer.observe(
        pd.DataFrame(
            {
                "person_id": ids.to_numpy()[row], "observation_concept_id": code["concept"],
                "observation_date": at_zero["x_date"].to_numpy()[row],
                "observation_datetime": at_zero["x_datetime"].to_numpy()[row],
                "observation_type_concept_id": writer.type, "value_as_string": different["value"],
                "observation_source_value": code["source_value"], "observation_source_concept_id": code["concept"],
            }
        )
    )  # fmt: skip
    _deaths(writer)
    writer.tables["cdm_source"] = _source(writer, epoch)


def _diseases(writer: Writer, truth: pd.DataFrame, ids: pd.Series, at_zero: dict[str, pd.Series]) -> None:
    has = truth["disease"].notna()
    code = truth["disease"][has].map({d: codes.disease_code(d) for d in truth["disease"].dropna().unique()})
    names = {code: name for code, name in codes.table()["diseases"].items()}
    writer.tables["condition_occurrence"] = pd.DataFrame(
        {
            "condition_occurrence_id": ids[has], "person_id": ids[has],
            "condition_concept_id": writer.registry.ids("ICD10CM", code, names, "Condition"),
            "condition_start_date": at_zero["x_date"][has], "condition_start_datetime": at_zero["x_datetime"][has],
            "condition_type_concept_id": writer.type, "condition_source_value": truth["disease"][has].astype("object"),
            "condition_source_concept_id": writer.registry.id(
                VOCABULARY, PATIENT + "disease", "Disease treated", "Condition"),
        }
    )  # fmt: skip


def _deaths(writer: Writer) -> None:
    died = writer.cohort.events[writer.cohort.events["event"].eq("death")]
    died = died.drop_duplicates("patient_id").reset_index(drop=True)
    writer.tables["death"] = pd.DataFrame(
        {"person_id": writer.ids(died), **writer.times(died, died["time_h"], "death"),
         "death_type_concept_id": writer.type}
    )  # fmt: skip


def _source(writer: Writer, epoch: dt.datetime | None) -> pd.DataFrame:
    """CDM_SOURCE: name, and what must be known of these data (simulated; dates that mean nothing)."""
    said = [SIMULATED] if writer.cohort.synthetic else []
    if writer.cohort.patients["infusion_date"].isna().any():
        moment = clock.as_utc(epoch or clock.EPOCH).isoformat()
        said.append(f"Time zero is set to {moment} where no infusion date may be kept.")
    return pd.DataFrame(
        {
            "cdm_source_name": [writer.cohort.name], "cdm_source_abbreviation": ["ICANS"], "cdm_holder": ["not stated"],
            "source_description": [" ".join(said)], "cdm_etl_reference": [OWN_ETL], "cdm_version": [CDM_VERSION],
        }
    )  # fmt: skip


def _finish(writer: Writer) -> None:
    """OBSERVATION with all its ids, OBSERVATION_PERIOD, and the CONCEPT table of everything used."""
    observed = pd.concat(writer.observed, ignore_index=True) if writer.observed else pd.DataFrame({"person_id": []})
    if len(observed):
        missing = observed["observation_id"].isna() if "observation_id" in observed else pd.Series(True, observed.index)
        first = 1 + (observed["observation_id"].max() if (~missing).any() else 0)
        given = observed.get("observation_id", pd.Series(np.nan, index=observed.index)).astype("float64")
        given[missing] = np.arange(first, first + int(missing.sum()))
        observed = observed.assign(observation_id=given.astype("int64"))
    writer.tables["observation"] = observed
    writer.tables["observation_period"] = _periods(writer)
    writer.tables["concept"] = writer.registry.frame()


def _periods(writer: Writer) -> pd.DataFrame:
    """First and last date of each person's records."""
    frames = []
    for table, stem in (("measurement", "measurement"), ("drug_exposure", "drug_exposure_start"),
                        ("observation", "observation"), ("procedure_occurrence", "procedure")):  # fmt: skip
        frame = writer.tables[table]
        if len(frame):
            frames.append(pd.DataFrame({"person_id": frame["person_id"], "date": frame[f"{stem}_date"]}))
    span = pd.concat(frames, ignore_index=True).groupby("person_id")["date"].agg(["min", "max"])
    return pd.DataFrame(
        {"observation_period_id": span.index, "person_id": span.index, "observation_period_start_date": span["min"],
         "observation_period_end_date": span["max"], "period_type_concept_id": writer.type}
    )  # fmt: skip
