"""FHIR R4 bundles: read into a cohort, and a cohort written as a transaction or a searchset.

Read are Patient, Observation, Condition, MedicationAdministration, Procedure (the infusion, time zero),
DocumentReference (recordings) and Encounter (anchor, discharge), with the Specimen and Medication they refer to.
Everything else is counted in ``changes``. What has no public code uses the code systems ``urn:icans:...``; what
FHIR has no element for travels in extensions ``urn:icans:row:<column>``.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icans.cohort import schema
from icans.cohort.cohort import Cohort, make
from icans.cohort.fhir_bundle import Bundles, files_of, gather
from icans.cohort.fhir_read import (
    Reading,
    account,
    add_implied_events,
    build_table,
    find_patients,
    find_zeros,
    gather_rows,
    patients_table,
)
from icans.cohort.fhir_write import SYNTHETIC_TAG, bundle
from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path, sha256
from icans.core.provenance import Provenance

KINDS = ("transaction", "searchset")


def read_fhir(
    path: Path | str,
    *,
    anchor: str = "infusion",
    infusion: Mapping[str, dt.datetime | dt.date | str] | None = None,
    validate: bool = True,
    name: str | None = None,
) -> Cohort:
    """A cohort from FHIR R4 bundles.

    Parameters
    ----------
    path
        A bundle (``.json``, ``.json.gz``) or a folder of bundles, which may refer to each other.
    anchor
        Where time zero comes from when nothing else says: ``"infusion"`` (a Procedure or MedicationAdministration of
        CAR T cells; a patient without one is a problem) or ``"first_encounter"`` (for records without CAR T cells).
    infusion
        Time zero by patient, where the caller knows it; goes before everything else.
    validate
        Check every resource against the FHIR R4B definitions as well (needs the extra ``fhir``).
    name
        Name of the cohort; default: the bundle's identifier, else the name of the file or folder.

    Raises
    ------
    DataError
        All problems, with file and JSON path (in ``column``).
    UnsafeInputError
        Too large or too deep.
    ImportError
        ``validate`` without the extra.
    """
    path = Path(path)
    files = files_of(path)
    bundles = gather(files)
    if validate:
        _validate(bundles)
    reading = Reading(bundles)
    find_patients(reading)
    if not reading.patients and not reading.problems:
        expected = "at least one Patient resource"
        reading.problems.append(Problem(path.name, None, "$.entry", None, expected, "Export patients with the bundle."))
    gather_rows(reading)
    find_zeros(reading, anchor, infusion)
    add_implied_events(reading)
    tables = {t.name: build_table(reading, t) for t in schema.TABLES.values() if t.name != "patients"}
    tables["patients"] = patients_table(reading)
    if reading.problems:
        raise DataError(reading.problems)
    names = sorted(set(bundles.names))
    title = name or (names[0] if len(names) == 1 else path.name.split(".")[0])
    synthetic = f"{SYNTHETIC_TAG['system']}|{SYNTHETIC_TAG['code']}" in bundles.tags
    provenance = Provenance(source=f"FHIR: {path.name}", synthetic=synthetic, inputs={f.name: sha256(f) for f in files})
    return make(title, tables, provenance=provenance, changes=account(reading))


def write_fhir(
    cohort: Cohort, path: Path | str, *, kind: str = "transaction", epoch: dt.datetime | None = None
) -> None:
    """Write a cohort as one bundle, ``.json`` or ``.json.gz``.

    Parameters
    ----------
    kind
        ``"transaction"`` (each resource PUT under a stable id, so that sending twice changes nothing) or
        ``"searchset"``.
    epoch
        Time zero of patients without an ``infusion_date``; default 2000-01-01T00:00:00+00:00. The bundle's ``meta``
        says so. Hours between times stay right; the dates mean nothing.

    Raises
    ------
    ValueError
        An unknown ``kind``.
    DataError
        An infusion date that is no date.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}; got {kind!r}")
    text = json.dumps(bundle(cohort, kind, epoch), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path = Path(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".gz":
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            temporary.write_text(text, encoding="utf-8")


def _validate(bundles: Bundles) -> None:
    """Hold each resource against the classes of fhir.resources (element names, types, cardinality)."""
    try:
        from fhir.resources.R4B import get_fhir_model_class
    except ImportError as error:
        message = "checking FHIR resources needs fhir.resources: install icans[fhir], or read with validate=False"
        raise ImportError(message) from error
    from pydantic import ValidationError

    for entry in bundles.live.values():
        try:
            get_fhir_model_class(entry.kind).model_validate(entry.resource)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False)[:10]:
                where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"])
                bundles.problems.append(entry.problem(where, _shown(item.get("input")), item["msg"], "Correct it."))
        except Exception as error:  # noqa: BLE001,RUF100 - the library fails in many ways on elements of the wrong kind
            expected = f"a {entry.kind} of FHIR R4 ({type(error).__name__}: {str(error)[:80]})"
            bundles.problems.append(entry.problem("", None, expected, "Correct it."))


def _shown(value: Any) -> str | None:
    return None if isinstance(value, (dict, list)) else str(value)
