"""The exception tree.

::

    IcansError                   everything this package raises on purpose
    ├── DataError                a file or table has problems; carries all of them (``problems``)
    │   └── UnsafeInputError     the input looks hostile (bomb, traversal, oversized)
    ├── ConfigError              a study file is wrong; carries all problems, too
    ├── ModelError               a patient model, its parameters or doses are wrong; carries all problems, too
    ├── UnitError                an unknown unit, or two units that cannot be converted
    ├── GradingError             findings that no grading scheme can read
    ├── NotFittedError           ``transform``/``predict`` before ``fit``
    ├── UnseenBatchError         a batch that was not there when the correction was fitted
    ├── NotEstimableError        a statistic that these data cannot give (reason in the message)
    └── ClusterError             no cluster, other versions on its workers, or workers that die over an item

A :class:`Problem` names the place (file, row, column), the value found, what was expected and how
to mend it, so that a user can act on the whole list at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    ``row`` is the 1-based line of a text file (the header is line 1), or the 1-based row of a table
    without lines; None when the whole file or column is meant. ``severity`` is ``"error"`` (nothing is
    loaded) or ``"warning"`` (loaded, and told).
    """

    file: str
    row: int | None
    column: str | None
    value: str | None
    expected: str
    remedy: str
    severity: str = "error"

    def __str__(self) -> str:
        place = self.file
        if self.row is not None:
            place += f", row {self.row}"
        if self.column is not None:
            place += f", column {self.column!r}"
        found = "" if self.value is None else f" found {_short(self.value)};"
        return f"{place}:{found} expected {self.expected}. {self.remedy}".strip()

    def as_dict(self) -> dict[str, Any]:
        """The problem as plain JSON values."""
        return asdict(self)


def _short(value: str, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


class IcansError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(IcansError):
    """A file or table has problems. Nothing of it was loaded. ``problems`` holds every one of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        count = len(self.problems)
        lines = [str(p) for p in self.problems[:20]]
        if count > len(lines):
            lines.append(f"… and {count - len(lines)} more")
        super().__init__(f"{count} problem{'' if count == 1 else 's'}:\n" + "\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its problems: it comes back whole from another process."""
        return type(self), (self.problems,)


class UnsafeInputError(DataError):
    """The input looks hostile or far too large (archive bomb, path traversal, deep nesting)."""


class ConfigError(IcansError):
    """A study file is wrong. ``problems`` holds every one of its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its problems: it comes back whole from another process."""
        return type(self), (self.problems,)


class ModelError(IcansError):
    """A patient model, its parameters, doses or covariates are wrong. ``problems`` holds every one of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its problems: it comes back whole from another process."""
        return type(self), (self.problems,)


class UnitError(IcansError):
    """An unknown unit, or a conversion that does not exist."""


class GradingError(IcansError):
    """Findings that no grading scheme can read."""


class NotFittedError(IcansError):
    """``transform`` or ``predict`` was called before ``fit``."""


class UnseenBatchError(IcansError):
    """A batch that was not present when the correction was fitted."""


class NotEstimableError(IcansError):
    """A statistic that the data at hand cannot give; the message says why."""


class ClusterError(IcansError):
    """A cluster that is not there, is gone, has other versions than the caller, or loses workers over an item."""
