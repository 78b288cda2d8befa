"""``icans check``: every problem of a cohort folder at once.

>>> from icans.cohort.check import check
>>> check("study/cohort").ok  # doctest: +SKIP
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icans.cohort import schema
from icans.cohort.checking import check_tables
from icans.cohort.findings import Findings
from icans.cohort.loading import load_tables
from icans.cohort.rawtable import RawTable
from icans.cohort.safety import DEFAULT_LIMITS, Limits, opened_folder
from icans.cohort.table_checks import check_text, definition
from icans.cohort.value_checks import Checked
from icans.cohort.vocabulary import Analyte, extended
from icans.core.errors import DataError, Problem

if TYPE_CHECKING:
    from icans.cohort.cohort import Cohort

#: Problems of one file, column and expectation that :meth:`CheckReport.text` prints before it only counts.
PRINTED_PER_KIND = 5


@dataclass(frozen=True)
class CheckReport:
    """What was looked at and every problem that was found.

    ``tables`` maps a table to its file, ``rows`` to its number of rows. ``problems`` holds each problem, up
    to a thousand of one kind (then one more line counts the rest).
    """

    path: str
    problems: tuple[Problem, ...]
    tables: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid loading."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are told and loaded."""
        return tuple(p for p in self.problems if p.severity != "error")

    @property
    def ok(self) -> bool:
        """Whether the cohort can be loaded (warnings do not count)."""
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "path": self.path,
            "ok": self.ok,
            "tables": dict(self.tables),
            "rows": {name: int(count) for name, count in self.rows.items()},
            "problems": [p.as_dict() for p in self.problems],
        }

    def text(self) -> str:
        """The report for people: errors first, a few of each kind, then the verdict."""
        lines = [f"{self.path}"]
        lines += [f"  {name}: {self.rows.get(name, 0):,} rows in {file}" for name, file in self.tables.items()]
        for label, problems in (("ERROR", self.errors), ("warning", self.warnings)):
            lines += _printed(label, problems)
        errors, warnings = len(self.errors), len(self.warnings)
        verdict = "can be loaded" if self.ok else "cannot be loaded"
        lines.append(f"{verdict}: {errors} error{_s(errors)}, {warnings} warning{_s(warnings)}")
        return "\n".join(lines)


def check(
    path: Path | str, *, extra_analytes: Mapping[str, Analyte] | None = None, limits: Limits = DEFAULT_LIMITS
) -> CheckReport:
    """Look through a folder of tables (or a .zip of one) and report every problem of every file.

    Nothing is raised for what the files hold and nothing is written; a folder that cannot be read is a
    problem in the report, too.
    """
    try:
        with opened_folder(path, limits) as folder:
            loaded = load_tables(folder, extra_analytes=extra_analytes, limits=limits)
    except DataError as error:
        return CheckReport(str(path), error.problems)
    return CheckReport(
        str(path),
        loaded.findings.problems(),
        {name: checked.file for name, checked in loaded.tables.items()},
        {name: len(checked.frame) for name, checked in loaded.tables.items()},
    )


def check_cohort(cohort: Cohort, *, extra_analytes: Mapping[str, Analyte] | None = None) -> CheckReport:
    """The same checks on a cohort in memory; rows are numbered from 1 in the order of each table."""
    findings = Findings()
    tables: dict[str, Checked] = {}
    for name in [*schema.TABLES, "changes"]:
        frame = cohort.table(name)
        if len(frame) or name == "patients":
            tables[name] = Checked(name, name, frame, np.arange(1, len(frame) + 1))
            raw = RawTable(name, list(frame.columns), [], tables[name].lines, typed=True)
            for column in definition(name).columns:
                if column.kind == "text":
                    check_text(frame[column.name], column.name, name, raw, findings)
    check_tables(tables, extended(extra_analytes), findings)
    return CheckReport(
        cohort.name,
        findings.problems(),
        dict.fromkeys(tables, "memory"),
        {name: len(checked.frame) for name, checked in tables.items()},
    )


def _printed(label: str, problems: tuple[Problem, ...]) -> list[str]:
    kinds: dict[tuple[str, str | None, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.file, problem.column, problem.expected), []).append(problem)
    lines: list[str] = []
    for same in kinds.values():
        lines += [f"  {label} {problem}" for problem in same[:PRINTED_PER_KIND]]
        more = len(same) - PRINTED_PER_KIND
        if more > 0:
            lines.append(f"  {label} {same[0].file}: … and {more} more like the last")
    return lines


def _s(count: int) -> str:
    return "" if count == 1 else "s"
