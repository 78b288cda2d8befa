"""OMOP CDM 5.4 folders: read into a cohort, and a cohort written as CSV or Parquet.

PERSON gives the patients, MEASUREMENT the results (LOINC through the concept table or the source value), DRUG_EXPOSURE
the treatments, CONDITION_OCCURRENCE the disease and graded diagnoses, PROCEDURE_OCCURRENCE the infusion, DEATH and
VISIT_OCCURRENCE events. What OMOP has no standard concept for uses concepts of vocabulary ``ICANS`` in the range from
two billion that is a site's own; what it has no field for becomes OBSERVATION records that point at the record they
belong to (``observation_event_id``). Texts may be longer than the 60 characters of the database field: load them into
a wider one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from icans.cohort import omop_files, schema
from icans.cohort.cohort import Cohort, make, stack
from icans.cohort.omop_concepts import Concepts
from icans.cohort.omop_files import words
from icans.cohort.omop_people import implied_events, patients_table, unread_observations
from icans.cohort.omop_read import SIMULATED, Extract, find_persons, find_zeros, read_table
from icans.cohort.omop_write import tables
from icans.core.errors import DataError, Problem
from icans.core.files import atomic_folder, sha256
from icans.core.provenance import Provenance

FORMS = ("csv", "parquet")


def read_omop(
    path: Path | str,
    *,
    anchor: str = "infusion",
    infusion: Mapping[str, dt.datetime | dt.date | str] | None = None,
    name: str | None = None,
) -> Cohort:
    """A cohort from a folder of OMOP CDM tables (``.csv``, ``.csv.gz``, ``.parquet``).

    Parameters
    ----------
    anchor
        ``"infusion"``: time zero is the infusion of CAR T cells in PROCEDURE_OCCURRENCE or DRUG_EXPOSURE.
        ``"first_visit"``: the first visit where there is none. A person without time zero is set aside with a line
        in ``changes``; when nobody has one, that is a problem.
    infusion
        Time zero by person_source_value (or person_id), where the caller knows it; goes before everything else.
    name
        Name of the cohort; default: cdm_source_name, else the folder's name.

    Raises
    ------
    DataError
        All problems of all tables, with file, line and field.
    """
    path = Path(path)
    found, other = omop_files.find(path)
    extract = _load(found)
    find_persons(extract)
    if extract.problems:
        raise DataError(extract.problems)
    find_zeros(extract, anchor, infusion)
    if extract.problems:
        raise DataError(extract.problems)
    made = {t: read_table(extract, t) for t in schema.TABLES if t != "patients"}
    made["patients"] = patients_table(extract)
    made["events"] = implied_events(extract, made["events"])
    unread_observations(extract)
    if extract.problems:
        raise DataError(extract.problems)
    for file in other:
        extract.note("folder", "omop.not_read", "no table that is read here", item=file)
    source = extract.table("cdm_source")
    named = [n for n in words(source, "cdm_source_name") if n]
    synthetic = bool(words(source, "source_description").str.startswith(SIMULATED).any())
    provenance = Provenance(
        source=f"OMOP: {path.name}", synthetic=synthetic, inputs={f.name: sha256(f) for f in found.values()}
    )
    title = name or (named[0] if named else path.name)
    return make(title, made, provenance=provenance, changes=stack(schema.CHANGES, extract.changes))


def _load(found: dict[str, Path]) -> Extract:
    problems: list[Problem] = []
    frames: dict[str, pd.DataFrame] = {}
    for table, file in found.items():
        if table == "observation_period":
            continue
        try:
            frames[table] = omop_files.load(file, table)
        except DataError as error:
            if type(error) is not DataError:
                raise
            problems.extend(error.problems)
    if problems:
        raise DataError(problems)
    return Extract(frames, {t: f.name for t, f in found.items()}, Concepts.of(frames.get("concept")))


def write_omop(
    cohort: Cohort, path: Path | str, *, form: str = "csv", epoch: dt.datetime | None = None, overwrite: bool = False
) -> None:
    """Write a cohort as a folder of OMOP CDM 5.4 tables.

    Parameters
    ----------
    form
        ``"csv"`` or ``"parquet"``.
    epoch
        Time zero of patients without an ``infusion_date``; default 2000-01-01T00:00:00+00:00, noted in CDM_SOURCE.

    Raises
    ------
    FileExistsError
        The folder exists and ``overwrite`` is false.
    DataError
        An infusion date that is no date.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}; got {form!r}")
    made = tables(cohort, epoch)
    with atomic_folder(path, overwrite=overwrite) as folder:
        for table, frame in made.items():
            omop_files.store(frame, folder, table, form)
