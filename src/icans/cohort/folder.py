"""A cohort as a folder: one file per table, and ``cohort.toml``.

Tables are ``patients.csv``, ``measurements.csv`` ... (or ``.csv.gz``, ``.parquet``), columns as in
:mod:`icans.cohort.schema`. Reading checks everything first and loads all or nothing. Writing puts the whole
folder in place at once, overwrites nothing unless asked, and keeps every number to the last bit.

In CSV a text that a spreadsheet program would run as a formula is written with an apostrophe before it; so is
one that begins with an apostrophe and a sign. Reading takes the apostrophe away again, so that every text
survives (:func:`icans.cohort.cells.escape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from icans.cohort.check import check_cohort
from icans.cohort.cohort import Cohort, make
from icans.cohort.describe_file import FILE, description_text
from icans.cohort.loading import NAMES, SUFFIXES, load_tables
from icans.cohort.safety import DEFAULT_LIMITS, Limits, opened_folder
from icans.cohort.vocabulary import Analyte
from icans.core.errors import DataError
from icans.core.files import atomic_folder, sha256
from icans.core.provenance import Provenance


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
