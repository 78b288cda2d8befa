"""What the records of an OMOP table say, as rows of the cohort with times still as text; whole columns at a time.

The reader uses this to read; the writer uses it to see what its own records would be understood as, and adds the
difference as OBSERVATION records that point at the record (:mod:`icans.cohort.extras`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.cohort import codes, vocabulary
from icans.cohort.extras import either, exact
from icans.cohort.omop_concepts import VOCABULARY, Concepts, standard_ids
from icans.cohort.omop_files import moments, numbers, words
from icans.cohort.schema import EVENTS, RECORDING_KINDS
from icans.core.errors import UnitError
from icans.core.units import ucum

ITEM, GRADE, EVENT, RECORDING, PATIENT, ROW, ANALYTE, PROCEDURE, FIELD = (
    "item:", "grade:", "event:", "recording:", "patient:", "row:", "analyte:", "procedure:", "field:")  # fmt: skip
INFUSION = PROCEDURE + "car_t_infusion"
_RESULT = r"^\s*(?P<sign><=|>=|<|>)\s*(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*$"


@dataclass
class Understood:
    """Rows of one table (index: position in the OMOP table), their times as text, and what each record was."""

    table: str
    frame: pd.DataFrame
    start: pd.Series
    end: pd.Series
    label: pd.Series


def measurements(frame: pd.DataFrame, concepts: Concepts) -> Understood:
    """Results of MEASUREMENT."""
    own = concepts.coded(frame, "measurement", VOCABULARY)
    own = own.where(own.str.startswith(ANALYTE), "").str.removeprefix(ANALYTE)
    source = words(frame, "measurement_source_value").str.strip()
    own = own.mask(own.eq("") & source.isin(vocabulary.analytes()), source)
    loinc = concepts.coded(frame, "measurement", "LOINC")
    by_loinc = loinc.map({c: m[0] for c, m in codes.loinc_meanings().items()})
    analyte = either(own.where(own.ne("")), by_loinc)
    matrices = {name: word.matrix for name, word in vocabulary.analytes().items()}
    matrix = loinc.map({c: m[1] for c, m in codes.loinc_meanings().items()}).where(own.eq(""), own.map(matrices))
    value, sign = _results(frame, concepts)
    censor = sign.str[:1].map({"<": "left", ">": "right"}).fillna("none")
    rows = pd.DataFrame(
        {"analyte": analyte, "matrix": matrix, "value": value, "unit": _units(frame, concepts), "censor": censor,
         "limit": value.where(censor.ne("none"))}
    )  # fmt: skip
    name = concepts.look(numbers(frame, "measurement_concept_id"))["name"]
    return Understood("measurements", rows, moments(frame, "measurement"), _none(frame), _label(source, name))


def _results(frame: pd.DataFrame, concepts: Concepts) -> tuple[pd.Series, pd.Series]:
    """Value and comparator: by operator concept, else from a source value like ``<5``."""
    operator = numbers(frame, "operator_concept_id")
    less = operator.isin(standard_ids("less", "less_or_equal"))
    more = operator.isin(standard_ids("greater", "greater_or_equal"))
    named = concepts.look(operator)["name"]
    written = words(frame, "value_source_value").str.extract(_RESULT)
    value = numbers(frame, "value_as_number")
    value = value.fillna(exact(written["number"]))
    sign = pd.Series(np.select([less | named.str.startswith("<"), more | named.str.startswith(">")], ["<", ">"], ""))
    sign = sign.set_axis(frame.index).astype("object")
    return value, sign.where(sign.ne(""), written["sign"].fillna("")).where(value.notna(), "")


def _units(frame: pd.DataFrame, concepts: Concepts) -> pd.Series:
    """The unit as declared when it means the same as the UCUM concept beside it, else the concept's code."""
    declared = words(frame, "unit_source_value").str.strip()
    known = concepts.look(numbers(frame, "unit_concept_id"))
    code = known["code"].where(known["vocabulary"].eq("UCUM"), "")
    pairs = pd.DataFrame({"declared": declared, "code": code}).drop_duplicates()
    choice = {(d, c): d if d and (not c or _same(d, c)) else c for d, c in pairs.itertuples(index=False)}
    unit = pd.Series([choice[pair] for pair in zip(declared, code)], index=frame.index, dtype="object")
    return unit.where(unit.ne(""))


def _same(declared: str, code: str) -> bool:
    try:
        return ucum(declared) == code
    except UnitError:
        return False


def treatments(frame: pd.DataFrame, concepts: Concepts) -> Understood:
    """Administrations of DRUG_EXPOSURE."""
    known = concepts.look(numbers(frame, "drug_concept_id"))
    atc = known["code"].where(known["vocabulary"].eq("ATC"), "")
    source = words(frame, "drug_source_value").str.strip()
    name = known["name"].where(known["name"].ne("") & known["vocabulary"].ne("ATC"), source)
    pairs = pd.DataFrame({"name": name, "atc": atc}).drop_duplicates()
    meaning = {(n, a): codes.drug(n, a or None) for n, a in pairs.itertuples(index=False)}
    drug = pd.Series([meaning[pair] for pair in zip(name, atc)], index=frame.index, dtype="object")
    route = words(frame, "route_source_value").str.strip()
    route = route.where(route.ne(""), concepts.look(numbers(frame, "route_concept_id"))["name"])
    short = route.str.upper().map(codes.routes())
    unit = words(frame, "dose_unit_source_value").str.strip()
    rows = pd.DataFrame(
        {"drug": drug.where(drug.ne("")), "amount": numbers(frame, "quantity"), "unit": unit.where(unit.ne("")),
         "route": either(short, route.where(route.ne("")))}
    )  # fmt: skip
    end = words(frame, "drug_exposure_end_datetime")
    return Understood("treatments", rows, moments(frame, "drug_exposure_start"), end, _label(source, name))


def observations(frame: pd.DataFrame, concepts: Concepts, table: str) -> Understood:
    """Bedside items, grades, events or recordings of OBSERVATION, by this package's own codes."""
    code = concepts.coded(frame, "observation", VOCABULARY)
    text = words(frame, "value_as_string")
    number = numbers(frame, "value_as_number")
    start = moments(frame, "observation")
    if table == "assessments":
        shown = pd.Series([f"{x:.15g}" if x == x else "" for x in number], index=frame.index, dtype="object")
        value = text.where(text.ne(""), shown)
        rows = pd.DataFrame({"item": _part(code, ITEM), "value": value.where(value.ne(""))})
    elif table == "grades":
        scheme = words(frame, "qualifier_source_value").str.strip()
        rows = pd.DataFrame({"toxicity": _part(code, GRADE), "scheme": scheme.where(scheme.ne("")), "grade": number,
                             "source": "delivered", "lower_bound": False})  # fmt: skip
    elif table == "events":
        event = _part(code, EVENT)
        rows = pd.DataFrame({"event": event.where(event.isin(EVENTS)), "detail": text.where(text.ne(""))})
    else:
        kind = _part(code, RECORDING)
        rows = pd.DataFrame({"kind": kind.where(kind.isin(RECORDING_KINDS)), "path": text.where(text.ne(""))})
    return Understood(table, rows, start, _none(frame), code)


def _part(code: pd.Series, prefix: str) -> pd.Series:
    return code.str.removeprefix(prefix).where(code.str.startswith(prefix))


def conditions(frame: pd.DataFrame, concepts: Concepts) -> tuple[Understood, pd.Series]:
    """Graded diagnoses of CONDITION_OCCURRENCE, and the disease that a record names (NaN: none)."""
    icd = concepts.coded(frame, "condition", "ICD10CM")
    unique = icd.unique()
    graded = {code: codes.graded(code) for code in unique}
    toxicity = icd.map({code: g[0] if g else None for code, g in graded.items()})
    grade = icd.map({code: g[1] if g else np.nan for code, g in graded.items()}).astype("float64")
    rows = pd.DataFrame({"toxicity": toxicity, "scheme": codes.graded_scheme(), "grade": grade, "source": "delivered",
                         "lower_bound": grade.isna()})  # fmt: skip
    disease = icd.map({code: codes.disease(code) for code in unique})
    own = concepts.look(numbers(frame, "condition_source_concept_id"))
    mine = own["vocabulary"].eq(VOCABULARY) & own["code"].eq(PATIENT + "disease")
    source = words(frame, "condition_source_value")
    disease = disease.astype("object").where(~mine, source)
    rows["toxicity"] = rows["toxicity"].astype("object").where(~mine, None)
    name = concepts.look(numbers(frame, "condition_concept_id"))["name"]
    return Understood("grades", rows, moments(frame, "condition_start"), _none(frame), _label(source, name)), disease


def infusions(frame: pd.DataFrame, concepts: Concepts) -> tuple[pd.Series, pd.Series]:
    """Of PROCEDURE_OCCURRENCE: is it this package's mark of time zero; the cell product that it names (None: none)."""
    own = concepts.coded(frame, "procedure", VOCABULARY).eq(INFUSION)
    pcs = concepts.coded(frame, "procedure", "ICD10PCS")
    name = concepts.look(numbers(frame, "procedure_concept_id"))["name"]
    pairs = pd.DataFrame({"pcs": pcs, "name": name}).drop_duplicates()
    known = {(c, n): codes.product(f"{n} {c}", c) for c, n in pairs.itertuples(index=False)}
    product = pd.Series([known[pair] for pair in zip(pcs, name)], index=frame.index, dtype="object")
    return own, product.mask(own, None)


def _label(source: pd.Series, name: pd.Series) -> pd.Series:
    both = source + " (" + name + ")"
    return both.where(source.ne("") & name.ne(""), source + name)


def _none(frame: pd.DataFrame) -> pd.Series:
    return pd.Series("", index=frame.index, dtype="object")
