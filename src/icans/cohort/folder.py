"""A cohort as a folder: one file per table, and ``cohort.toml``.

Tables are ``patients.csv``, ``measurements.csv`` ... (or ``.csv.gz``, ``.parquet``), columns as in
:mod:`icans.cohort.schema`. Reading checks everything first and loads all or nothing. Writing puts the whole
folder in place at once, overwrites nothing unless asked, and keeps every number to the last bit.

In CSV a text that a spreadsheet program would run as a formula is written with an apostrophe before it; so is
one that begins with an apostrophe and a sign. Reading takes the apostrophe away again, so that every text
survives (:func:`icans.cohort.cells.escape`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from icans.cohort import schema
from icans.cohort.check import check_cohort, check_tables
from icans.cohort.cohort import Cohort, make
from icans.cohort.describe_file import FILE, Description, description_text, read_description
from icans.cohort.findings import Findings
from icans.cohort.rawtable import read_raw
from icans.cohort.safety import DEFAULT_LIMITS, Limits, opened_folder
from icans.cohort.table_checks import definition, parse_table
from icans.cohort.value_checks import Checked
from icans.cohort.vocabulary import Analyte, extended
from icans.core.errors import DataError
from icans.core.files import atomic_folder, sha256
from icans.core.provenance import Provenance

SUFFIXES = (".csv", ".csv.gz", ".parquet")
NAMES = (*schema.TABLES, "changes")


@dataclass(frozen=True)
class Loaded:
    """The tables of a folder, parsed and checked, and what was found. Load it only without errors."""

    description: Description
    tables: dict[str, Checked]
    files: dict[str, Path]
    findings: Findings


def read_folder(
    path: Path | str,
    *,
    name: str | None = None,
    extra_analytes: Mapping[str, Analyte] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Cohort:
    """The cohort in a folder (or a .zip of one).

    Parameters
    ----------
    path
        Folder with ``patients`` and any other tables.
    name
        Name of the cohort; without one, that of ``cohort.toml``, else of the folder.
    extra_analytes
        Analytes beside the vocabulary (also: ``[analytes.NAME]`` in ``cohort.toml``).

    Raises
    ------
    DataError
        With every problem of every file; nothing is loaded then.
    """
    path = Path(path)
    with opened_folder(path, limits) as folder:
        loaded = load_tables(folder, extra_analytes=extra_analytes, limits=limits)
        errors = [p for p in loaded.findings.problems() if p.severity == "error"]
        if errors:
            raise DataError(errors)
        described = loaded.description
        found = folder / FILE
        files = [*loaded.files.values(), *([found] if found.exists() else [])]
        inputs = {file.name: sha256(file) for file in files}
    own = name or described.name or path.resolve().stem
    derived = tuple(f"derived from {file}, sha256 {digest}" for file, digest in described.derived_from.items())
    provenance = Provenance(
        source=described.source or own,
        synthetic=described.synthetic,
        citation=described.citation,
        licence=described.licence,
        inputs=inputs,
        notes=described.notes + tuple(note for note in derived if note not in described.notes),
    )
    tables = {key: checked.frame for key, checked in loaded.tables.items() if key != "changes"}
    changes = loaded.tables["changes"].frame if "changes" in loaded.tables else None
    return make(own, tables, provenance=provenance, changes=changes)


def load_tables(
    folder: Path, *, extra_analytes: Mapping[str, Analyte] | None = None, limits: Limits = DEFAULT_LIMITS
) -> Loaded:
    """Read and check every table of a folder; problems are collected, none is raised."""
    findings = Findings()
    try:
        description = read_description(folder, limits)
    except DataError as error:
        findings.extend(error.problems)
        description = Description()
    files = _find_files(folder, findings)
    tables: dict[str, Checked] = {}
    absent: dict[str, frozenset[str]] = {}
    for name, path in files.items():
        raw = read_raw(path, findings, limits)
        if raw is not None:
            tables[name] = Checked(name, raw.file, parse_table(raw, name, findings), raw.lines)
            absent[name] = frozenset(definition(name).names) - set(raw.names)
    analytes = extended({**description.analytes, **(extra_analytes or {})})
    check_tables(tables, analytes, findings, absent)
    return Loaded(description, tables, files, findings)


def write_folder(
    cohort: Cohort,
    path: Path | str,
    *,
    overwrite: bool = False,
    format: Literal["csv", "csv.gz", "parquet"] = "csv",
    extra_analytes: Mapping[str, Analyte] | None = None,
) -> Path:
    """Write a cohort so that :func:`read_folder` gives the same tables again, to the last bit.

    Raises
    ------
    FileExistsError
        The folder exists and ``overwrite`` is false, or it holds anything that this function does not write.
    DataError
        The cohort breaks its own rules and could not be read back; nothing is written.
    ValueError
        ``format`` is not one of the three.
    """
    if format not in ("csv", "csv.gz", "parquet"):
        raise ValueError(f"format must be 'csv', 'csv.gz' or 'parquet'; got {format!r}")
    path = Path(path)
    _may_be_replaced(path, overwrite)
    errors = check_cohort(cohort, extra_analytes=extra_analytes).errors
    if errors:
        raise DataError(errors)
    with atomic_folder(path, overwrite=overwrite) as folder:
        for name in NAMES:
            frame = cohort.table(name)
            if len(frame) or name == "patients":
                _write_table(frame, folder / f"{name}.{format}")
        text = description_text(cohort.name, cohort.provenance, extra_analytes)
        (folder / FILE).write_text(text, encoding="utf-8")
    return path


def _may_be_replaced(path: Path, overwrite: bool) -> None:
    """Only a folder of tables is ever replaced: recordings and other files beside them are not ours to remove."""
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists; choose another folder or allow overwriting")
    if not path.is_dir():
        raise FileExistsError(f"{path} is a file; choose a folder")
    own = {FILE, *(name + suffix for name in NAMES for suffix in SUFFIXES)}
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in own)
    if others:
        raise FileExistsError(f"{path} also holds {', '.join(others[:3])}, which overwriting would remove")


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, compression="zstd")
        return
    from icans.cohort.csv_out import csv_bytes

    content = csv_bytes(frame)
    if path.suffix == ".gz":
        import gzip

        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def _find_files(folder: Path, findings: Findings) -> dict[str, Path]:
    found: dict[str, list[Path]] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        findings.add(str(folder), f"a folder that can be read ({error.strerror})", "Check its permissions.")
        return {}
    for path in entries:
        stem, suffix = _split(path.name)
        if path.is_dir() or suffix is None or path.name.startswith("."):
            continue
        if stem in NAMES:
            found.setdefault(stem, []).append(path)
            continue
        close = difflib.get_close_matches(stem.lower(), NAMES, n=1, cutoff=0.75)
        if close:
            findings.add(path.name, f"a table name of {', '.join(NAMES)}", f"Rename it to {close[0]}{suffix}.")
        else:
            findings.add(
                path.name,
                f"a table name of {', '.join(NAMES)}",
                "The file is not read; move it elsewhere if that is right.",
                severity="warning",
            )
    for name, paths in found.items():
        if len(paths) > 1:
            files = ", ".join(p.name for p in paths)
            findings.add(paths[0].name, f"one file for table {name!r}; there are {files}", "Keep one of them.")
    if "patients" not in found:
        findings.add("patients.csv", "a table 'patients' in the folder", "Add it, with at least 'patient_id'.")
    return {name: found[name][0] for name in NAMES if name in found}


def _split(file: str) -> tuple[str, str | None]:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if file.lower().endswith(suffix):
            return file[: -len(suffix)], file[-len(suffix) :].lower()
    return file, None
