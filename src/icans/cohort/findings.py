"""Collecting problems: all of them, a thousand of each kind in full and the rest counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icans.core.errors import Problem

#: Problems of one kind (file, column, kind) that are kept one by one. The rest are counted and stated:
#: nobody mends the two-thousandth wrong cell by hand.
KEPT_PER_KIND = 1000

Describe = Callable[[str | None], tuple[str, str]]


def always(expected: str, remedy: str) -> Describe:
    """The same words for every value."""
    return lambda _: (expected, remedy)


@dataclass
class Findings:
    """Problems as they are found. ``problems()`` gives them by file, then row."""

    _kinds: dict[tuple[str, str | None, str, str], list[Problem]] = field(default_factory=dict)
    _left_out: dict[tuple[str, str | None, str, str], int] = field(default_factory=dict)

    def add(
        self,
        file: str,
        expected: str,
        remedy: str,
        *,
        row: int | None = None,
        column: str | None = None,
        value: str | None = None,
        severity: str = "error",
    ) -> None:
        """One problem."""
        self.extend([Problem(file, row, column, value, expected, remedy, severity)])

    def add_rows(
        self,
        file: str,
        column: str | None,
        kind: str,
        rows: Sequence[int] | np.ndarray,
        values: Iterable[Any] | None,
        describe: Describe,
        *,
        severity: str = "error",
    ) -> None:
        """One problem per row. ``describe(value)`` gives what was expected and the remedy."""
        if len(rows) == 0:
            return
        key = (file, column, kind, severity)
        kept = self._kinds.setdefault(key, [])
        room = KEPT_PER_KIND - len(kept)
        shown = list(rows[:room]) if room > 0 else []
        found = [None] * len(shown) if values is None else _texts(values, len(shown))
        for row, value in zip(shown, found, strict=True):
            expected, remedy = describe(value)
            kept.append(Problem(file, int(row), column, value, expected, remedy, severity))
        self._left_out[key] = self._left_out.get(key, 0) + len(rows) - len(shown)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Problems that another part found."""
        for problem in problems:
            key = (problem.file, problem.column, f"one:{problem.expected}", problem.severity)
            kept = self._kinds.setdefault(key, [])
            if len(kept) < KEPT_PER_KIND:
                kept.append(problem)
            else:
                self._left_out[key] = self._left_out.get(key, 0) + 1

    def problems(self) -> tuple[Problem, ...]:
        """Every problem, by file and row; a line of its own says how many of a kind were only counted."""
        listed: list[Problem] = []
        for key, kept in self._kinds.items():
            listed.extend(kept)
            more = self._left_out.get(key, 0)
            if more:
                file, column, _, severity = key
                first = kept[0]
                listed.append(
                    Problem(file, None, column, f"{more} more of this kind", first.expected, first.remedy, severity)
                )
        return tuple(sorted(listed, key=lambda p: (p.file, p.row is None, p.row or 0, p.column or "")))

    def has_errors(self) -> bool:
        """Whether any problem forbids loading."""
        return any(severity == "error" and kept for (_, _, _, severity), kept in self._kinds.items())


def _texts(values: Iterable[Any], count: int) -> list[str | None]:
    found: list[str | None] = []
    for value, _ in zip(values, range(count)):
        missing = value is None or (isinstance(value, float) and np.isnan(value))
        found.append(None if missing else _text(value))
    return found


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.12g}"
    return str(value)
