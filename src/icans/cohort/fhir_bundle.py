"""Bundles as a flat list of resources that refer to each other: entries, references, statuses, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icans.cohort import fhir_json
from icans.core.errors import DataError, Problem

BUNDLE_TYPES = ("transaction", "collection", "searchset", "batch", "document", "history", "message")

#: Required bindings of FHIR R4 (hl7.org/fhir/R4/terminologies.html): what the status of a resource may be.
STATUSES: dict[str, tuple[str, ...]] = {
    "Observation": (
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"),
    "MedicationAdministration": (
        "in-progress", "not-done", "on-hold", "completed", "entered-in-error", "stopped", "unknown"),
    "Procedure": (
        "preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "entered-in-error", "unknown"),
    "DocumentReference": ("current", "superseded", "entered-in-error"),
    "Encounter": ("planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled",
                  "entered-in-error", "unknown"),
}  # fmt: skip
GENDERS = ("male", "female", "other", "unknown")
COMPARATORS = ("<", "<=", ">=", ">")

#: Resources of these statuses say that something did not happen or was wrong; they are set aside, with a change row.
VOID = frozenset({"entered-in-error", "cancelled", "not-done", "registered", "preparation", "planned", "superseded"})

READ_TYPES = (
    "Patient", "Observation", "Condition", "MedicationAdministration", "Procedure", "DocumentReference", "Encounter",
    "Specimen", "Medication", "Device",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource: where it stands (file, JSON path), its address, itself."""

    file: str
    path: str
    url: str
    resource: dict[str, Any]

    @property
    def kind(self) -> str:
        """The resource type."""
        return self.resource["resourceType"]

    def problem(self, where: str, value: object, expected: str, remedy: str) -> Problem:
        """A problem of this resource; ``where`` is the path below it, e.g. ``.valueQuantity.value``."""
        shown = None if value is None else str(value)[:200]
        return Problem(self.file, None, self.path + where, shown, expected, remedy)


@dataclass
class Bundles:
    """Every readable resource of the input, the addresses they have, and what was not read."""

    live: dict[int, Entry] = field(default_factory=dict)
    address: dict[str, Entry] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)
    void: Counter[tuple[str, str]] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    tags: set[str] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def of(self, kind: str) -> list[Entry]:
        """Resources of one type, in the order of the input."""
        return [entry for entry in self.live.values() if entry.kind == kind]

    def resolve(self, reference: Any, at: Entry) -> Entry | None:
        """The resource that a reference points to: contained, by fullUrl, by type and id, or by the URL's tail."""
        text = get(reference, "reference", str)
        if text is None:
            return None
        if text.startswith("#"):
            for i, inner in enumerate(items(at.resource, "contained")):
                if inner.get("id") == text[1:] and isinstance(inner.get("resourceType"), str):
                    return Entry(at.file, f"{at.path}.contained[{i}]", text, inner)
            return None
        plain = text.split("/_history/")[0]
        tail = "/".join(plain.split("/")[-2:])
        return self.address.get(plain) or self.address.get(tail)


def get(value: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    """``value[key]`` when ``value`` is an object and the element of the kind; else None."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, kind) and not (isinstance(found, bool) and kind is not bool) else None


def items(value: Any, key: str) -> list[dict[str, Any]]:
    """The objects of the list ``value[key]`` (empty when it is no list)."""
    return [item for item in (get(value, key, list) or []) if isinstance(item, dict)]


def codings(concept: Any) -> list[tuple[str, str]]:
    """System and code of every coding of a CodeableConcept."""
    found = ((get(c, "system", str) or "", get(c, "code", str)) for c in items(concept, "coding"))
    return [(system, code) for system, code in found if code is not None]


def concept_text(concept: Any) -> str:
    """The words of a CodeableConcept: its text, else the first display, else the first code."""
    text = get(concept, "text", str)
    if text:
        return text
    for coding in items(concept, "coding"):
        shown = get(coding, "display", str) or get(coding, "code", str)
        if shown:
            return shown
    return ""


def files_of(path: Path) -> list[Path]:
    """The bundle files of a path: itself, or ``*.json`` and ``*.json.gz`` of a folder, sorted.

    Raises
    ------
    DataError
        Nothing is there.
    """
    if path.is_file():
        return [path]
    found = sorted([*path.glob("*.json"), *path.glob("*.json.gz")]) if path.is_dir() else []
    if not found:
        expected = "a FHIR bundle (.json, .json.gz) or a folder of them"
        raise DataError([Problem(str(path), None, None, None, expected, "Give the path of the export.")])
    return found


def gather(paths: Iterable[Path]) -> Bundles:
    """Every resource of the bundles, indexed; problems are collected in ``problems``."""
    bundles = Bundles()
    for path in paths:
        try:
            value = fhir_json.load(path)
        except DataError as error:
            if type(error) is not DataError:
                raise
            bundles.problems.extend(error.problems)
            continue
        _take(bundles, path.name, value)
    return bundles


def _take(bundles: Bundles, file: str, value: Any) -> None:
    if get(value, "resourceType", str) != "Bundle":
        bundles.problems.append(
            Problem(file, None, "$.resourceType", str(get(value, "resourceType", str)), "Bundle", "Export a bundle.")
        )
        return
    if value.get("type") not in BUNDLE_TYPES:
        bundles.problems.append(
            Problem(file, None, "$.type", str(value.get("type"))[:80], f"one of {', '.join(BUNDLE_TYPES)}", "")
        )
    for tag in items(get(value, "meta", dict), "tag"):
        bundles.tags.add(f"{get(tag, 'system', str)}|{get(tag, 'code', str)}")
    name = get(get(value, "identifier", dict), "value", str)
    if name:
        bundles.names.append(name)
    entries = value.get("entry", [])
    if not isinstance(entries, list):
        bundles.problems.append(Problem(file, None, "$.entry", type(entries).__name__, "a list", ""))
        return
    for i, entry in enumerate(entries):
        resource = get(entry, "resource", dict)
        kind = get(resource, "resourceType", str)
        if kind is None:
            if get(get(entry, "request", dict), "method", str) == "DELETE":
                bundles.unread["DELETE request"] += 1
                continue
            expected = "a resource with a resourceType"
            bundles.problems.append(Problem(file, None, f"$.entry[{i}].resource", None, expected, "Remove the entry."))
            continue
        url = get(entry, "fullUrl", str) or ""
        _enter(bundles, Entry(file, f"$.entry[{i}].resource", url, resource))


def _enter(bundles: Bundles, entry: Entry) -> None:
    """Index one entry; a later version of the same resource takes the place of the earlier one."""
    kind = entry.kind
    if kind not in READ_TYPES:
        bundles.unread[kind] += 1
        return
    name = get(entry.resource, "id", str)
    keys = [key for key in (entry.url, f"{kind}/{name}" if name else "") if key]
    if not _status_fits(bundles, entry):
        return
    earlier = next((bundles.address[key] for key in keys if key in bundles.address), None)
    if earlier is not None:
        bundles.replaced[kind] += 1
        if _version(entry) < _version(earlier):
            return
        bundles.live.pop(id(earlier.resource), None)
    bundles.live[id(entry.resource)] = entry
    for key in keys:
        bundles.address[key] = entry


def _version(entry: Entry) -> str:
    return get(get(entry.resource, "meta", dict), "lastUpdated", str) or ""


def _status_fits(bundles: Bundles, entry: Entry) -> bool:
    """Check required bindings; False when the resource is to be set aside."""
    kind, resource = entry.kind, entry.resource
    status: Any = resource.get("status")
    if kind in STATUSES and status not in STATUSES[kind]:
        bundles.problems.append(entry.problem(".status", status, f"one of {', '.join(STATUSES[kind])}", "Correct it."))
        return False
    if kind == "Condition":
        verified = [code for _, code in codings(resource.get("verificationStatus"))]
        status = next((code for code in verified if code in ("entered-in-error", "refuted")), None)
    if kind == "Patient" and resource.get("gender") not in (None, *GENDERS):
        bundles.problems.append(entry.problem(".gender", resource["gender"], f"one of {', '.join(GENDERS)}", ""))
    if isinstance(status, str) and (status in VOID or status == "refuted"):
        bundles.void[(kind, status)] += 1
        return False
    return True
