"""SDTM (and ADSL) folders: read into a cohort, and a cohort written as CSV or SAS transport files.

DM gives the patients (ADSL where there is no DM), LB and VS the measurements, EX and CM the treatments, AE and FA the
grades, QS the bedside items, CE the events, ZR (a sponsor-defined domain) the recordings. What SDTM has no variable
for travels in SUPP--. Test codes that the vocabulary does not know are counted in ``changes``, one line each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from icans.cohort import schema, sdtm_files
from icans.cohort.cohort import Cohort, make, stack
from icans.cohort.sdtm_files import words
from icans.cohort.sdtm_read import (
    SYNTHETIC_PARAMETER,
    Study,
    check_subjects,
    find_zeros,
    implied_events,
    patients_table,
    read_domain,
)
from icans.cohort.sdtm_rows import READERS
from icans.cohort.sdtm_write import domains, labels
from icans.core.errors import DataError, Problem
from icans.core.files import atomic_folder, sha256
from icans.core.provenance import Provenance

FORMS = ("csv", "csv.gz", "xpt5", "xpt8")


def read_sdtm(
    path: Path | str,
    *,
    anchor: str = "infusion",
    infusion: Mapping[str, dt.datetime | dt.date | str] | None = None,
    name: str | None = None,
) -> Cohort:
    """A cohort from a folder of SDTM domains (``.csv``, ``.csv.gz``, ``.xpt``).

    Parameters
    ----------
    anchor
        ``"infusion"``: time zero is the first CAR T-cell record of EX or CM. ``"RFXSTDTC"`` (first study treatment)
        or ``"RFSTDTC"``: that reference date of DM where there is no such record. A subject without time zero was
        never treated and is set aside with a line in ``changes``.
    infusion
        Time zero by USUBJID, where the caller knows it; goes before everything else.
    name
        Name of the cohort; default: the title in TS, else STUDYID, else the folder's name.

    Raises
    ------
    DataError
        All problems of all domains, with file, line and column.
    """
    path = Path(path)
    found, other = sdtm_files.find(path)
    if "dm" not in found and "adsl" not in found:
        raise DataError([Problem(str(path), None, None, None, "a DM (or ADSL) domain", "Add dm.csv or dm.xpt.")])
    study = Study({}, {domain: file.name for domain, file in found.items()})
    for domain, file in found.items():
        _load(study, domain, file)
    if study.problems:
        raise DataError(study.problems)
    check_subjects(study)
    find_zeros(study, anchor, infusion)
    if study.problems:
        raise DataError(study.problems)
    tables = _tables(study)
    if study.problems:
        raise DataError(study.problems)
    for unread in other:
        study.note("folder", "sdtm.not_read", "no domain that is read here", item=unread)
    if "dm" in found and "adsl" in found:
        study.note("folder", "sdtm.not_read", "DM is there; ADSL adds nothing to it", item=found["adsl"].name)
    title, synthetic = _summary(study, name or path.name, given=name is not None)
    hashes = {file.name: sha256(file) for file in found.values()}
    provenance = Provenance(source=f"SDTM: {path.name}", synthetic=synthetic, inputs=hashes)
    return make(title, tables, provenance=provenance, changes=stack(schema.CHANGES, study.changes))


def _load(study: Study, domain: str, file: Path) -> None:
    try:
        frame = sdtm_files.load(file)
    except DataError as error:
        if type(error) is not DataError:
            raise
        study.problems.extend(error.problems)
        return
    needed = ["USUBJID"] if domain not in ("ts",) else []
    needed += ["QNAM", "QVAL"] if domain.startswith("supp") else []
    for column in needed:
        if column not in frame:
            expected = f"a column {column}"
            study.problems.append(Problem(file.name, 1, column, None, expected, "Export the domain whole."))
    study.domains[domain] = frame


def _tables(study: Study) -> dict[str, pd.DataFrame]:
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in schema.TABLES}
    for domain in READERS:
        if domain in study.domains:
            table, rows = read_domain(study, domain)
            parts[table].append(rows)
    tables = {name: stack(schema.TABLES[name], frames) for name, frames in parts.items() if name != "patients"}
    tables["patients"] = patients_table(study)
    tables["events"] = implied_events(study, tables["events"])
    return tables


def _summary(study: Study, fallback: str, *, given: bool) -> tuple[str, bool]:
    """Name of the study and whether its data are simulated."""
    ids = words(study.dm, "STUDYID").unique() if len(study.dm) else []
    title = study.parameter("TITLE") or (str(ids[0]) if len(ids) == 1 and ids[0] else fallback)
    return (fallback if given else title), study.parameter(SYNTHETIC_PARAMETER) == "Y"


def write_sdtm(
    cohort: Cohort, path: Path | str, *, form: str = "csv", epoch: dt.datetime | None = None, overwrite: bool = False
) -> None:
    """Write a cohort as a folder of SDTM domains.

    Parameters
    ----------
    form
        ``"csv"``, ``"csv.gz"``, ``"xpt5"`` (SAS transport version 5, texts up to 200 bytes) or ``"xpt8"``.
    epoch
        Time zero of patients without an ``infusion_date``; default 2000-01-01T00:00:00+00:00, noted in TS.

    Raises
    ------
    FileExistsError
        The folder exists and ``overwrite`` is false.
    DataError
        A text that XPT version 5 cannot hold, or an infusion date that is no date.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}; got {form!r}")
    made = domains(cohort, epoch)
    with atomic_folder(path, overwrite=overwrite) as folder:
        for domain, frame in made.items():
            sdtm_files.store(frame, folder, domain, form, labels())
