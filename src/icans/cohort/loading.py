"""The tables of a cohort folder, read and checked, with every problem collected: what reading and checking share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icans.cohort import schema
from icans.cohort.checking import check_tables
from icans.cohort.describe_file import Description, read_description
from icans.cohort.findings import Findings
from icans.cohort.rawtable import read_raw
from icans.cohort.safety import DEFAULT_LIMITS, Limits
from icans.cohort.table_checks import definition, parse_table
from icans.cohort.value_checks import Checked
from icans.cohort.vocabulary import Analyte, extended
from icans.core.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
NAMES = (*schema.TABLES, "changes")


@dataclass(frozen=True)
class Loaded:
    """The tables of a folder, parsed and checked, and what was found. Load it only without errors."""

    description: Description
    tables: dict[str, Checked]
    files: dict[str, Path]
    findings: Findings


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
