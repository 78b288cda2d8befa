"""The words of a cohort: analytes, bedside items and drugs, read from the TOML files beside this one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from icans.core.units import convert


@dataclass(frozen=True, slots=True)
class Analyte:
    """One analyte: names and codes, canonical unit (UCUM), plausible range in that unit.

    ``catalytic``: the activity of an enzyme, so that international units (IU) are U.
    """

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
    loinc_checked: str = "none"
    catalytic: bool = False

    def convert(self, values: npt.ArrayLike, source: str, target: str | None = None) -> npt.NDArray[np.float64]:
        """Values of this analyte from one unit to another (by default its canonical one).

        Raises
        ------
        UnitError
            Unknown unit, or no conversion exists for this analyte.
        """
        return convert(values, source, target or self.unit, molar_mass_g_mol=self.molar_mass, catalytic=self.catalytic)


@dataclass(frozen=True, slots=True)
class Item:
    """One bedside item and the values that it may take."""

    name: str
    label: str
    kind: str
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drug:
    """One drug or cell product: other names, class and usual routes."""

    name: str
    label: str
    group: str
    synonyms: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@cache
def analytes() -> dict[str, Analyte]:
    """Every analyte by name."""
    return {
        name: Analyte(name=name, **{**entry, "loinc": tuple(entry["loinc"]), "also": tuple(entry["also"])})
        for name, entry in _read("analytes.toml").items()
    }


def extended(extra: Mapping[str, Analyte] | None = None) -> dict[str, Analyte]:
    """The vocabulary and analytes of the caller's own, e.g. the concentration of a study drug.

    Nothing is registered anywhere: pass the same mapping to every function that takes ``extra_analytes``.

    Raises
    ------
    ValueError
        A key that is not the analyte's name, or a name that the vocabulary has with another meaning.
    """
    known = dict(analytes())
    for name, entry in (extra or {}).items():
        if entry.name != name:
            raise ValueError(f"extra analyte {name!r} calls itself {entry.name!r}")
        if known.get(name, entry) != entry:
            raise ValueError(f"analyte {name!r} is in the vocabulary with another definition; choose another name")
        known[name] = entry
    return known


@cache
def items() -> dict[str, Item]:
    """Every bedside item by name."""
    return {
        name: Item(name=name, **{**entry, "allowed": tuple(entry.get("allowed", ()))})
        for name, entry in _read("items.toml").items()
    }


@cache
def drugs() -> dict[str, Drug]:
    """Every drug by generic name."""
    return {
        name: Drug(
            **{
                **entry,
                "name": name,
                "synonyms": tuple(entry.get("synonyms", ())),
                "routes": tuple(entry.get("routes", ())),
            }
        )
        for name, entry in _read("drugs.toml").items()
    }


@cache
def by_synonym() -> dict[str, str]:
    """Generic name of a drug by any of its names in lower case, the generic name included."""
    return {word.lower(): drug.name for drug in drugs().values() for word in (drug.name, *drug.synonyms)}


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
    """``"; did you mean 'crp'?"`` for a name close to a known one (upper and lower case alike), else nothing."""
    folded = {word.lower(): word for word in known}
    close = [folded[word] for word in difflib.get_close_matches(name.lower(), list(folded), n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _read(file: str) -> dict[str, dict]:
    return tomllib.loads((resources.files(__package__) / file).read_text(encoding="utf-8"))
