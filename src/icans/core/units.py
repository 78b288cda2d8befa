"""Units at the border: UCUM codes, the spellings that laboratories use, and conversion.

Inside the package every analyte has one canonical unit (``cohort/vocabulary/analytes.toml``), written in
UCUM. Reading UCUM is left to ``ucumvert``, arithmetic to ``pint``; what they say of the vocabulary's own units is
stored in ``units_known.json`` (written by :mod:`icans.cohort.vocabulary.known_units`, held to them by a test), because
to start them takes a second. Mass-to-mole conversion needs the
molar mass of the analyte; conversion between fibrinogen-equivalent (FEU) and D-dimer (DDU) units needs a
factor and is refused here. So is conversion of international units: what one is, is agreed for each substance.
The exception are enzymes (``catalytic=True``), whose international unit is the U, 1 umol/min.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import UnitError

#: Spellings met in laboratory exports, as UCUM codes. Keys are compared after :func:`_plain`.
SPELLINGS: dict[str, str] = {
    "c": "Cel", "degc": "Cel", "°c": "Cel", "celsius": "Cel",
    "f": "[degF]", "degf": "[degF]", "°f": "[degF]", "fahrenheit": "[degF]",
    "k/ul": "10*3/uL", "k/mm3": "10*3/uL", "th/ul": "10*3/uL", "thou/ul": "10*3/uL", "10^3/ul": "10*3/uL",
    "x10^3/ul": "10*3/uL", "10e3/ul": "10*3/uL", "10^9/l": "10*9/L", "x10^9/l": "10*9/L", "10e9/l": "10*9/L",
    "giga/l": "10*9/L", "g/l": "g/L", "cells/ul": "/uL", "cells/mm3": "/uL", "/mm3": "/uL", "10^12/l": "10*12/L",
    "mmhg": "mm[Hg]", "cmh2o": "cm[H2O]", "bpm": "/min", "beats/min": "/min", "breaths/min": "/min",
    "iu/l": "[IU]/L", "iu/dl": "[IU]/dL", "iu/ml": "[IU]/mL", "ui/l": "[IU]/L", "u/l": "U/L",
    "mg/l": "mg/L", "mg/dl": "mg/dL", "ng/ml": "ng/mL", "pg/ml": "pg/mL", "ug/l": "ug/L", "mcg/l": "ug/L",
    "ug/ml": "ug/mL", "mcg/ml": "ug/mL", "ng/l": "ng/L", "ng/dl": "ng/dL", "g/dl": "g/dL", "ug/dl": "ug/dL",
    "umol/l": "umol/L", "mmol/l": "mmol/L", "nmol/l": "nmol/L", "pmol/l": "pmol/L", "meq/l": "meq/L",
    "mg/l feu": "mg/L{FEU}", "ug/ml feu": "ug/mL{FEU}", "ng/ml feu": "ng/mL{FEU}", "mg/l ddu": "mg/L{DDU}",
    "ug/ml ddu": "ug/mL{DDU}", "ng/ml ddu": "ng/mL{DDU}", "seconds": "s", "sec": "s", "percent": "%",
    "ratio": "1", "fraction": "1", "inr": "{INR}", "l/min": "L/min", "ml": "mL", "score": "{score}", "": "1",
}  # fmt: skip


def ucum(unit: str) -> str:
    """The UCUM code of a unit as written: known spellings first (``K/uL`` would be kelvin), then UCUM.

    Raises
    ------
    UnitError
        The text is neither.
    """
    text = unit.strip().replace("µ", "u").replace("μ", "u").replace("·", ".")
    if text == "G/L":
        raise UnitError("unit 'G/L' may mean 10*9/L (giga) or g/L (gram): write the one that is meant")
    known = SPELLINGS.get(_plain(text))
    if known is not None:
        return known
    if _is_ucum(text):
        return text
    raise UnitError(f"unit {unit!r} is neither a UCUM code nor a spelling known here")


def convert(
    values: npt.ArrayLike,
    source: str,
    target: str,
    *,
    molar_mass_g_mol: float | None = None,
    catalytic: bool = False,
) -> npt.NDArray[np.float64]:
    """Values in ``source`` units as values in ``target`` units.

    Parameters
    ----------
    values
        Shape (n,) or scalar; NaN stays NaN.
    source, target
        UCUM codes or known spellings.
    molar_mass_g_mol
        Needed between mass and amount of substance.
    catalytic
        The values are activities of an enzyme, so that 1 IU is 1 U, 1 umol/min (International Union of
        Biochemistry 1964; recalled, and found alike in public texts). UCUM's ``[IU]`` is the other international
        unit, that of biological preparations (interferons, vitamins), which no factor turns into U.

    Raises
    ------
    UnitError
        Unknown unit, or no conversion exists.
    """
    source, target = (as_activity(ucum(code)) if catalytic else ucum(code) for code in (source, target))
    array = np.asarray(values, dtype=float)
    if source == target:
        return array.copy()
    slope, offset = _affine(source, target, molar_mass_g_mol)
    return array * slope + offset


def as_activity(code: str) -> str:
    """A code in which international units of an enzyme are written as what they are, U."""
    return re.sub(r"\[[iI]U\]", "U", code)


@cache
def _affine(source: str, target: str, molar_mass_g_mol: float | None) -> tuple[float, float]:
    """``target = slope * source + offset``."""
    if _basis(source) != _basis(target):
        raise UnitError(
            f"{source!r} and {target!r} count different things (neither FEU and DDU nor international units and "
            "others can be interchanged)"
        )
    known = _known()[1].get((source, target, molar_mass_g_mol))
    return known or measured_affine(source, target, molar_mass_g_mol)


def measured_affine(source: str, target: str, molar_mass_g_mol: float | None) -> tuple[float, float]:
    """Slope and offset of a conversion as ``pint`` has them, of UCUM codes; what is stored is not looked at.

    Raises
    ------
    UnitError
        No conversion exists.
    """
    registry = _registry()
    units = registry.from_ucum(_bare(source)).units, registry.from_ucum(_bare(target)).units
    scale = tuple(registry.from_ucum(_bare(code)).magnitude for code in (source, target))
    context: list[Any] = []
    if molar_mass_g_mol is not None:
        context = ["chemistry"]

    def one(value: float) -> float:
        quantity = registry.Quantity(value * scale[0], units[0])
        mass = registry.Quantity(molar_mass_g_mol, "g/mol") if molar_mass_g_mol is not None else None
        moved = quantity.to(units[1], *context, **({"mw": mass} if mass is not None else {}))
        return float(moved.magnitude) / scale[1]

    import pint

    try:
        at_zero, at_one = one(0.0), one(1.0)
    except (pint.errors.PintError, ZeroDivisionError) as error:  # mass and moles may meet in a denominator
        hint = "" if molar_mass_g_mol is not None else " (a molar mass would be needed between mass and moles)"
        raise UnitError(f"no conversion from {source!r} to {target!r}{hint}") from error
    return at_one - at_zero, at_zero


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().lower().replace("×", "x")).replace(" / ", "/")


def _basis(code: str) -> str | None:
    """What a unit counts where its dimension does not tell: kind of D-dimer unit, or international units.

    International units have no dimension in UCUM: without this, IU/mL would pass for cells/uL.
    """
    found = re.search(r"\{(FEU|DDU)\}|\[[iI]U\]", code)
    return found.group(0).upper() if found else None


def _bare(code: str) -> str:
    """The code without annotations in braces, which carry no dimension."""
    return re.sub(r"\{[^}]*\}", "", code) or "1"


def quantity(unit: str) -> Any:
    """One of a unit as a ``pint`` quantity, for those who write units in another notation.

    Raises
    ------
    UnitError
        The text is no unit.
    """
    return _registry().from_ucum(_bare(ucum(unit)))


@cache
def _is_ucum(text: str) -> bool:
    if not text:
        return False
    if text in _known()[0]:
        return True
    return measured_ucum(text)


def measured_ucum(text: str) -> bool:
    """Whether a text is a UCUM code as ``ucumvert`` reads it; what is stored is not looked at."""
    try:
        _registry().from_ucum(_bare(text))
    except Exception:  # lark and pint raise many kinds; any of them means "not UCUM"
        return False
    return True


_Conversions = dict[tuple[str, str, float | None], tuple[float, float]]


@cache
def _known() -> tuple[frozenset[str], _Conversions]:
    """Codes that are known to be UCUM, and conversions between them, as stored."""
    file = resources.files(__package__) / "units_known.json"
    if not file.is_file():
        return frozenset(), {}
    stored = json.loads(file.read_text(encoding="utf-8"))
    rows = {(s, t, mass): (slope, offset) for s, t, mass, slope, offset in stored["conversions"]}
    return frozenset(stored["codes"]), rows


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    registry = PintUcumRegistry()
    registry.enable_contexts()
    return registry
