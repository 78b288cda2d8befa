"""What one FHIR resource says, as rows of the cohort with calendar times still as text.

The reader uses this to read; the writer uses it to see what its own resources would be understood as, and attaches
the difference as extensions (:mod:`icans.cohort.extras`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icans.cohort import codes, vocabulary
from icans.cohort.fhir_bundle import COMPARATORS, Bundles, Entry, codings, concept_text, get, items

ROW_EXTENSION = codes.LOCAL + "row:"
AVAILABLE_EXTENSION = codes.LOCAL + "available"
ABSENT_EXTENSION = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
INFUSION_CODE = "car_t_infusion"
ANALYTE, ITEM, TOXICITY, SCHEME, EVENT, RECORDING, PROCEDURE, BATCH = (
    codes.LOCAL + name for name in ("analyte", "item", "toxicity", "scheme", "event", "recording", "procedure", "batch")
)
_NUMBER_TEXT = re.compile(r"^\s*(<=|>=|<|>)?\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*$")


@dataclass
class Row:
    """One row to be: table, values, times as text, and extras that the resource carries."""

    table: str
    entry: Entry
    values: dict[str, Any]
    time: str | None = None
    available: str | None = None
    end: str | None = None
    extras: list[tuple[str, str]] = field(default_factory=list)


class Unread(Exception):  # noqa: N818 - not an error: the resource has nothing for the cohort
    """The resource is of no use here; the argument says what it was, for counting."""


def observation(entry: Entry, bundles: Bundles) -> Iterator[Row]:
    """Rows of an Observation: a result, the components of a panel, a bedside item, a grade or an event."""
    resource = entry.resource
    known = dict(codings(resource.get("code")))
    if TOXICITY in known:
        yield _row("grades", entry, _grade(entry, bundles, known[TOXICITY]))
        return
    if ITEM in known:
        value = None if _absent(resource) else _words(resource)
        yield _row("assessments", entry, {"item": known[ITEM], "value": value})
        return
    if EVENT in known:
        yield _row("events", entry, {"event": known[EVENT], "detail": get(resource, "valueString", str)})
        return
    parts = items(resource, "component")
    meaning = _analyte(resource.get("code"))
    if meaning is not None and not (parts and "valueQuantity" not in resource and "dataAbsentReason" not in resource):
        yield _row("measurements", entry, _result(resource, meaning, entry, bundles, ""))
    elif not parts:
        raise Unread(f"Observation {_label(resource.get('code'))}")
    for i, part in enumerate(parts):
        inner = _analyte(part.get("code"))
        if inner is None:
            bundles.unread[f"Observation component {_label(part.get('code'))}"] += 1
            continue
        yield _row("measurements", entry, _result(part, inner, entry, bundles, f".component[{i}]"), extras=False)


def _label(concept: Any) -> str:
    text, known = concept_text(concept), codings(concept)
    return f"{known[0][1]} ({text})" if known else repr(text)


def _analyte(concept: Any) -> tuple[str, str | None] | None:
    """Analyte and matrix of a code: our own code first, then LOINC."""
    known = codings(concept)
    for system, code in known:
        if system == ANALYTE:
            word = vocabulary.analytes().get(code)
            return code, word.matrix if word else None
    for system, code in known:
        if system == codes.system("loinc") and code in codes.loinc_meanings():
            return codes.loinc_meanings()[code]
    return None


def _result(
    holder: dict[str, Any], meaning: tuple[str, str | None], entry: Entry, bundles: Bundles, where: str
) -> dict[str, Any]:
    """Value, unit, censoring of an Observation or of one component, with what surrounds it."""
    value, unit, comparator = _quantity(holder, entry, bundles, where)
    censor = {"<": "left", ">": "right"}.get((comparator or "")[:1], "none")
    if comparator in ("<=", ">="):
        bundles.unread[f"the '=' of comparator {comparator} (read as {comparator[0]})"] += 1
    resource = entry.resource
    return {
        "analyte": meaning[0],
        "matrix": _matrix(entry, bundles) or meaning[1],
        "value": value,
        "unit": unit,
        "censor": censor,
        "limit": value if censor != "none" else np.nan,
        "assay": get(get(resource, "device", dict), "display", str),
        "method": concept_text(resource.get("method")) or None,
    }


def _quantity(
    holder: dict[str, Any], entry: Entry, bundles: Bundles, where: str
) -> tuple[float, str | None, str | None]:
    """Number, unit and comparator of ``value[x]``; NaN where the result is absent."""
    if _absent(holder):
        return np.nan, None, None
    whole = holder.get("valueInteger")
    if isinstance(whole, int) and not isinstance(whole, bool):
        return float(whole), None, None
    text = holder.get("valueString")
    if isinstance(text, str):
        found = _NUMBER_TEXT.match(text)
        if found:
            return float(found.group(2)), None, found.group(1)
        bundles.unread["Observation result in words (kept as missing)"] += 1
        return np.nan, None, None
    quantity = holder.get("valueQuantity")
    if not isinstance(quantity, dict):
        if "valueQuantity" in holder:
            bundles.problems.append(entry.problem(f"{where}.valueQuantity", quantity, "an object", ""))
        elif any(key.startswith("value") for key in holder):
            bundles.unread["Observation result that is no number (kept as missing)"] += 1
        return np.nan, None, None
    number = quantity.get("value")
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
        bundles.problems.append(entry.problem(f"{where}.valueQuantity.value", number, "a number", "Correct it."))
        number = None
    comparator = quantity.get("comparator")
    if comparator is not None and comparator not in COMPARATORS:
        bundles.problems.append(
            entry.problem(f"{where}.valueQuantity.comparator", comparator, f"one of {' '.join(COMPARATORS)}", "")
        )
        comparator = None
    return (np.nan if number is None else float(number)), _unit(quantity), comparator


def _unit(quantity: dict[str, Any]) -> str | None:
    """The unit as declared when it means the same as the UCUM code beside it, else the code."""
    words, code = get(quantity, "unit", str), get(quantity, "code", str)
    if code is None or get(quantity, "system", str) != codes.system("ucum"):
        return words or code
    return words if words is not None and _same_unit(words, code) else code


def _same_unit(words: str, code: str) -> bool:
    from icans.core.errors import UnitError
    from icans.core.units import ucum

    if words == code:
        return True
    try:
        return ucum(words) == code
    except UnitError:
        return False


def _absent(holder: dict[str, Any]) -> bool:
    return "dataAbsentReason" in holder


def _words(resource: dict[str, Any]) -> str | None:
    """A bedside value as text."""
    for key in ("valueString", "valueInteger", "valueBoolean", "valueCodeableConcept", "valueQuantity"):
        found = resource.get(key)
        if isinstance(found, bool):
            return "yes" if found else "no"
        if isinstance(found, (int, float)):
            return str(found)
        if isinstance(found, str):
            return found
        if isinstance(found, dict):
            number = found.get("value")
            return str(number) if key == "valueQuantity" and number is not None else concept_text(found) or None
    return None


def _grade(entry: Entry, bundles: Bundles, toxicity: str) -> dict[str, Any]:
    value, _, _ = _quantity(entry.resource, entry, bundles, "")
    scheme = dict(codings(entry.resource.get("method"))).get(SCHEME)
    return {"toxicity": toxicity, "scheme": scheme, "grade": value, "source": "delivered", "lower_bound": False}


def _matrix(entry: Entry, bundles: Bundles) -> str | None:
    """Matrix from the specimen, where there is one that can be read."""
    reference = get(entry.resource, "specimen", dict)
    if reference is None:
        return None
    specimen = bundles.resolve(reference, entry)
    words = [code for _, code in codings(specimen.resource.get("type"))] if specimen is not None else []
    words.append(concept_text(specimen.resource.get("type")) if specimen is not None else "")
    words.append(get(reference, "display", str) or "")
    return next((codes.specimens()[w.upper()] for w in words if w.upper() in codes.specimens()), None)


def administration(entry: Entry, bundles: Bundles) -> Iterator[Row]:
    """The treatment row of a MedicationAdministration."""
    resource = entry.resource
    concept = resource.get("medicationCodeableConcept")
    if concept is None:
        reference = get(resource, "medicationReference", dict)
        medication = bundles.resolve(reference, entry)
        concept = medication.resource.get("code") if medication is not None else None
        concept = concept or {"text": get(reference, "display", str)}
    name = concept_text(concept)
    atc = next((code for system, code in codings(concept) if system == codes.system("atc")), None)
    drug = codes.drug(name, atc)
    if not drug:
        bundles.problems.append(
            entry.problem(".medicationCodeableConcept", None, "a drug by text, display or code", "Name the drug.")
        )
        return
    dosage = get(resource, "dosage", dict) or {}
    amount, unit, _ = _quantity({"valueQuantity": dosage["dose"]}, entry, bundles, ".dosage") \
        if "dose" in dosage else (np.nan, None, None)  # fmt: skip
    values = {"drug": drug, "amount": amount, "unit": unit, "route": _route(dosage.get("route"))}
    yield _row("treatments", entry, values)


def _route(concept: Any) -> str | None:
    for _, code in codings(concept):
        if code in codes.routes():
            return codes.routes()[code]
    text = concept_text(concept)
    return codes.routes().get(text.upper(), text) or None


def recording(entry: Entry, bundles: Bundles) -> Iterator[Row]:
    """The recording row of a DocumentReference that this package wrote."""
    kind = dict(codings(entry.resource.get("type"))).get(RECORDING)
    if kind is None:
        raise Unread(f"DocumentReference {_label(entry.resource.get('type'))}")
    content = items(entry.resource, "content")
    attachment = get(content[0], "attachment", dict) if content else None
    yield _row("recordings", entry, {"kind": kind, "path": get(attachment, "url", str)})


def condition(entry: Entry, bundles: Bundles) -> Iterator[Row]:
    """The grade row of a graded diagnosis, or the disease (a ``patients`` row with that one value)."""
    concept = entry.resource.get("code")
    for system, code in codings(concept):
        if system == codes.LOCAL + "patient" and code == "disease":
            yield Row("patients", entry, {"disease": concept_text(concept)})
            return
        if "icd-10" not in system and "2.16.840.1.113883.6.90" not in system:
            continue
        graded = codes.graded(code)
        if graded is not None:
            values = {"toxicity": graded[0], "scheme": codes.graded_scheme(), "grade": graded[1],
                      "source": "delivered", "lower_bound": bool(np.isnan(graded[1]))}  # fmt: skip
            yield _row("grades", entry, values)
            return
        disease = codes.disease(code)
        if disease is not None:
            yield Row("patients", entry, {"disease": disease})
            return
    raise Unread(f"Condition {_label(concept)}")


def _row(table: str, entry: Entry, values: dict[str, Any], *, extras: bool = True) -> Row:
    time, end = moment(entry.resource)
    row = Row(table, entry, values, time, _available(entry.resource), end)
    if extras:
        row.extras = row_extras(entry.resource)
    return row


def moment(resource: dict[str, Any]) -> tuple[str | None, str | None]:
    """Start and end of what a resource speaks of, as text."""
    for key in ("effective", "performed", "onset", "occurrence"):
        for suffix in ("DateTime", "Instant"):
            found = get(resource, key + suffix, str)
            if found is not None:
                return found, None
        period = get(resource, key + "Period", dict)
        if period is not None:
            return get(period, "start", str) or get(period, "end", str), get(period, "end", str)
    period = get(get(resource, "context", dict), "period", dict)
    start = get(period, "start", str) if period is not None else None
    return start or get(resource, "recordedDate", str) or get(resource, "date", str), None


def _available(resource: dict[str, Any]) -> str | None:
    for extension in items(resource, "extension"):
        if extension.get("url") == AVAILABLE_EXTENSION:
            return get(extension, "valueDateTime", str)
    return get(resource, "issued", str) or get(resource, "recordedDate", str)


def row_extras(resource: dict[str, Any]) -> list[tuple[str, str]]:
    """Column and text of the extensions in which a row's own values travel."""
    found = []
    for extension in items(resource, "extension"):
        url = get(extension, "url", str) or ""
        if url.startswith(ROW_EXTENSION):
            found.append((url.removeprefix(ROW_EXTENSION), get(extension, "valueString", str) or ""))
    return found


READERS = {
    "Observation": observation,
    "MedicationAdministration": administration,
    "Condition": condition,
    "DocumentReference": recording,
}
