"""The words of a cohort: analytes, bedside items and drugs, read from the TOML files beside this one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Analyte:
    """One analyte: names and codes, canonical unit (UCUM), plausible range in that unit."""

    name: str
    label: str
    unit: str
    low: float
    high: float
    matrix: str
    group: str
    log: bool
    loinc: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    molar_mass: float | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One bedside item and the values that it may take."""

    name: str
    label: str
    kind: str
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()


@cache
def analytes() -> dict[str, Analyte]:
    """Every analyte by name."""
    return {
        name: Analyte(name=name, **{**entry, "loinc": tuple(entry["loinc"]), "also": tuple(entry["also"])})
        for name, entry in _read("analytes.toml").items()
    }


@cache
def items() -> dict[str, Item]:
    """Every bedside item by name."""
    return {
        name: Item(name=name, **{**entry, "allowed": tuple(entry.get("allowed", ()))})
        for name, entry in _read("items.toml").items()
    }


@cache
def by_loinc() -> dict[str, str]:
    """Analyte name by LOINC code (the first analyte that lists a code has it)."""
    found: dict[str, str] = {}
    for analyte in analytes().values():
        for code in analyte.loinc:
            found.setdefault(code, analyte.name)
    return found


def analyte(name: str) -> Analyte:
    """The analyte called ``name``; KeyError with near misses when there is none."""
    try:
        return analytes()[name]
    except KeyError:
        raise KeyError(f"unknown analyte {name!r}{near(name, analytes())}") from None


def near(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'crp'?"`` for a name close to a known one, else nothing."""
    close = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _read(file: str) -> dict[str, dict]:
    return tomllib.loads((resources.files(__package__) / file).read_text(encoding="utf-8"))
