"""One call for every kind of input: recognise what a path holds and read it.

Recognised are our own folder (or .zip) of tables, FHIR (JSON, NDJSON, packed or not, or a folder of them),
SDTM (a folder with ``dm``), OMOP (a folder with ``person``) and NONMEM-style data sets. Nothing is guessed
beyond that: what is not recognised, or could be two things, is an error that says what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from icans.cohort.cohort import Cohort
from icans.cohort.safety import read_bytes
from icans.core.errors import DataError, Problem

Kind = Literal["folder", "fhir", "sdtm", "omop", "nonmem"]
KINDS: dict[str, str] = {
    "folder": "a folder (or .zip) of tables with 'patients'",
    "fhir": "FHIR resources as .json or .ndjson (also .gz), or a folder of them",
    "sdtm": "a folder of SDTM domains with 'dm'",
    "omop": "a folder of OMOP tables with 'person'",
    "nonmem": "a .csv with the columns ID, TIME and DV",
}
_TABLES = (".csv", ".csv.gz", ".parquet", ".xpt", ".sas7bdat")
_FHIR = (".json", ".ndjson", ".json.gz", ".ndjson.gz")


def read(path: Path | str, kind: Kind | None = None, **options: Any) -> Cohort:
    """The cohort that a path holds.

    Parameters
    ----------
    path
        File or folder.
    kind
        What it is; without it, :func:`recognise` says.
    options
        Passed to the reader. NONMEM-style data need ``options``
        (:class:`~icans.cohort.nonmem_options.NonmemOptions` or the same as a dictionary).

    Raises
    ------
    DataError
        The path is not recognised, or what it holds has problems.
    ValueError
        ``kind`` is none of the known.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {list(KINDS)}; got {kind!r}")
    return _READERS[kind or recognise(path)](Path(path), **options)


def recognise(path: Path | str) -> Kind:
    """What a path holds, by names and, for a table file, by its header."""
    path = Path(path)
    found = _folder_kinds(path) if path.is_dir() else _file_kinds(path)
    if len(found) == 1:
        return found[0]
    seen = "nothing that is known" if not found else "more than one: " + ", ".join(found)
    if not path.exists():
        seen = "nothing there"
    expected = "; or ".join(KINDS.values())
    raise DataError([Problem(str(path), None, None, seen, expected, "Check the path, or say which kind it is.")])


def _folder_kinds(path: Path) -> list[Kind]:
    names = {entry.name.lower() for entry in path.iterdir() if not entry.name.startswith(".")}
    stems = {name.removesuffix(suffix) for name in names for suffix in _TABLES if name.endswith(suffix)}
    found: list[Kind] = []
    if "patients" in stems or "cohort.toml" in names:
        found.append("folder")
    if "dm" in stems:
        found.append("sdtm")
    if "person" in stems:
        found.append("omop")
    if not found and any(name.endswith(_FHIR) for name in names):
        found.append("fhir")
    return found


def _file_kinds(path: Path) -> list[Kind]:
    name = path.name.lower()
    if not path.is_file():
        return []
    if name.endswith(".zip"):
        return ["folder"]
    if name.endswith(_FHIR):
        return ["fhir"]
    if name.endswith((".csv", ".csv.gz", ".dat", ".txt")):
        first = read_bytes(path).split(b"\n", 1)[0].decode("utf-8", errors="replace")
        header = {cell.strip().strip('"').upper() for cell in first.lstrip("\ufeff").split(",")}
        return ["nonmem"] if {"ID", "TIME", "DV"} <= header else []
    return []


def _read_folder(path: Path, **options: Any) -> Cohort:
    from icans.cohort.folder import read_folder

    return read_folder(path, **options)


def _read_fhir(path: Path, **options: Any) -> Cohort:
    from icans.cohort.fhir import read_fhir

    return read_fhir(path, **options)


def _read_sdtm(path: Path, **options: Any) -> Cohort:
    from icans.cohort.sdtm import read_sdtm

    return read_sdtm(path, **options)


def _read_omop(path: Path, **options: Any) -> Cohort:
    from icans.cohort.omop import read_omop

    return read_omop(path, **options)


def _read_nonmem(path: Path, options: Any = None, **more: Any) -> Cohort:
    from icans.cohort.nonmem import NonmemOptions, read_nonmem

    if options is None:
        remedy = "Give 'options': what DV, AMT and the covariates are (see icans.cohort.nonmem_options)."
        raise DataError([Problem(str(path), None, None, None, "to be told what the columns mean", remedy)])
    chosen = options if isinstance(options, NonmemOptions) else NonmemOptions.from_dict(options)
    return read_nonmem(path, chosen, **more)


_READERS: dict[str, Callable[..., Cohort]] = {
    "folder": _read_folder,
    "fhir": _read_fhir,
    "sdtm": _read_sdtm,
    "omop": _read_omop,
    "nonmem": _read_nonmem,
}
