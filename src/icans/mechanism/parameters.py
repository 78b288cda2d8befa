"""Parameters: one table, read from TOML, each number with unit, variability, bounds and source.

A file ``parameters/<module>.toml`` holds one table per parameter::

    [rho_E]
    value = 0.0375
    unit = "1/h"
    meaning = "largest net growth rate of effector CAR T cells in blood"
    transform = "log"            # log | logit | none: the scale on which patients vary (normally)
    iiv = 0.2                    # SD between patients on that scale; 0: the same in everybody
    lower = 0.005
    upper = 0.12
    status = "read"              # read | computed | recalled | calibrated | assumed (hypothetical drugs only)
    source = "Stein et al. 2019, doi 10.1002/psp4.12388, Table 1"
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

TRANSFORMS = ("log", "logit", "none")
STATUSES = ("read", "computed", "recalled", "calibrated", "assumed")
_KEYS = {"value", "unit", "meaning", "transform", "iiv", "lower", "upper", "status", "source"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of the model; the fields are those of the TOML table, ``module`` the file's name."""

    name: str
    value: float
    unit: str
    meaning: str
    module: str
    transform: str = "log"
    iiv: float = 0.0
    lower: float = 0.0
    upper: float = math.inf
    status: str = "read"
    source: str = ""


@dataclass(frozen=True)
class ParameterTable(Mapping[str, Parameter]):
    """Parameters in a fixed order, by name."""

    rows: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", {row.name: i for i, row in enumerate(self.rows)})

    def __getitem__(self, name: str) -> Parameter:
        return self.rows[self._place[name]]  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(row.name for row in self.rows)

    def values_array(self) -> npt.NDArray[np.float64]:
        """Typical values, shape (n,)."""
        return np.array([row.value for row in self.rows])

    def place(self, name: str) -> int:
        """Position of a parameter.

        Raises
        ------
        ModelError
            There is none of that name; the nearest names are told.
        """
        found = self._place.get(name)  # type: ignore[attr-defined]
        if found is None:
            raise ModelError([unknown("parameter", name, self.names)])
        return found

    def select(self, names: Iterable[str]) -> ParameterTable:
        """The rows of these names, in this order."""
        return ParameterTable(tuple(self.rows[self.place(name)] for name in names))

    def with_values(self, values: Mapping[str, float]) -> ParameterTable:
        """The table with other typical values, checked against the bounds.

        Raises
        ------
        ModelError
            An unknown name, NaN, or a value outside its bounds.
        """
        problems = [unknown("parameter", n, self.names) for n in values if n not in self._place]  # type: ignore[attr-defined]
        rows = tuple(replace(row, value=float(values.get(row.name, row.value))) for row in self.rows)
        problems += bound_problems(rows, np.array([[row.value for row in rows]]))
        if problems:
            raise ModelError(problems)
        return ParameterTable(rows)


def bound_problems(rows: Iterable[Parameter], values: npt.NDArray[np.float64]) -> list[Problem]:
    """Problems of parameter values, shape (patients, parameters): NaN, infinite or outside the bounds."""
    found = []
    for place, row in enumerate(rows):
        column = values[:, place]
        bad = np.flatnonzero(~((column >= row.lower) & (column <= row.upper) & np.isfinite(column)))
        for patient in bad[:3]:
            found.append(
                Problem(
                    "parameters", int(patient) + 1, row.name, repr(float(column[patient])),
                    f"a number from {row.lower:g} to {row.upper:g} {row.unit}",
                    f"It is the {row.meaning}; correct it ({len(bad)} such value{'s' if len(bad) != 1 else ''}).",
                )
            )  # fmt: skip
    return found


def unknown(kind: str, name: str, known: Iterable[str]) -> Problem:
    """A problem for a name that does not exist, with the nearest ones as remedy."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else "See the list in the documentation."
    return Problem("model", None, None, name, f"the name of a {kind}", hint)


@cache
def read_parameters() -> ParameterTable:
    """Every parameter of ``parameters/*.toml``, files and tables in order.

    Raises
    ------
    ModelError
        Entries that are incomplete, out of their own bounds, or named twice; all of them.
    """
    folder = resources.files(__package__) / "parameters"
    return read_table(sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name))


def read_table(files: Iterable[Traversable]) -> ParameterTable:
    """The parameters of these files, in order.

    Raises
    ------
    ModelError
        Entries that are incomplete, out of their own bounds, or named twice; all of them.
    """
    rows: list[Parameter] = []
    problems: list[Problem] = []
    for file in files:
        for name, entry in tomllib.loads(file.read_text(encoding="utf-8")).items():
            problems += _entry_problems(file.name, name, entry)
            if not problems:
                fields = {**entry, "value": float(entry["value"])}
                rows.append(Parameter(name=name, module=file.name.removesuffix(".toml"), **fields))
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            problems.append(Problem(row.module, None, row.name, None, "a name used once", "Rename one of the two."))
        seen.add(row.name)
    if problems:
        raise ModelError(problems)
    return ParameterTable(tuple(rows))


def _entry_problems(file: str, name: str, entry: Mapping[str, object]) -> list[Problem]:
    def problem(value: object, expected: str, remedy: str) -> Problem:
        return Problem(file, None, name, None if value is None else str(value), expected, remedy)

    found = [problem(k, f"one of {sorted(_KEYS)}", "Remove or rename the key.") for k in entry.keys() - _KEYS]
    found += [
        problem(None, f"a key {k!r}", "Add it.")
        for k in ("value", "unit", "meaning", "status", "source")
        if k not in entry
    ]
    if found:
        return found
    value, low, high = (float(entry.get(k, d)) for k, d in (("value", 0), ("lower", 0.0), ("upper", math.inf)))  # type: ignore[arg-type]
    if not low <= value <= high:
        found.append(problem(value, f"a value from {low:g} to {high:g}", "Correct the value or its bounds."))
    if entry.get("transform", "log") not in TRANSFORMS:
        found.append(problem(entry["transform"], f"one of {TRANSFORMS}", "Choose one."))
    if entry["status"] not in STATUSES:
        found.append(problem(entry["status"], f"one of {STATUSES}", "Choose one."))
    if not str(entry["source"]).strip():
        found.append(problem(None, "a source", "Say where the number comes from."))
    if float(entry.get("iiv", 0.0)) < 0:  # type: ignore[arg-type]
        found.append(problem(entry["iiv"], "an SD of at least 0", "Correct it."))
    return found
