"""What a stored number may mean: the readings that are weighed against each other for one analyte.

A *reading* is an affine map from the stored number to the canonical unit, ``canonical = slope * stored +
offset``. The first reading of every analyte is the identity. The others are the units that laboratories send
for the analyte, powers of ten (a shifted decimal point), and units converted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from icans.cohort.vocabulary import Analyte
from icans.core.errors import UnitError

#: Two readings whose slopes differ by less than this share are the same reading.
SAME_SLOPE = 0.02
#: Relative weights of the kinds of readings before anything is seen: an alternative unit is the usual cause, a
#: shifted decimal point less usual, a unit converted twice rare. Only their order matters to the results.
KIND_WEIGHT = {"unit": 1.0, "power": 0.5, "twice": 0.1}
#: Decimal points shift by one to three places.
POWERS = (1, 2, 3)
#: Scores, stages, yes/no items: their numbers have no unit that could be mistaken.
UNITLESS = ("{score}", "{rank}", "{stage}", "{INR}")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of stored numbers: ``canonical = slope * stored + offset``."""

    label: str
    kind: str
    slope: float
    offset: float = 0.0

    def canonical(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Stored numbers as canonical ones."""
        return stored * self.slope + self.offset

    @property
    def words(self) -> str:
        """The conversion, in words."""
        shift = f" {'+' if self.offset > 0 else '-'} {abs(self.offset):.6g}" if self.offset else ""
        return f"read as {self.label}: value x {self.slope:.6g}{shift}"


@cache
def readings(analyte: Analyte) -> tuple[Reading, ...]:
    """The readings of an analyte, the identity first; only the identity where the unit cannot be mistaken."""
    identity = Reading(analyte.unit, "unit", 1.0)
    if analyte.unit in UNITLESS or (analyte.unit == "1" and not analyte.also):
        return (identity,)
    found = [identity]
    units = [(unit, *_affine(analyte, unit)) for unit in analyte.also if _convertible(analyte, unit)]
    for unit, slope, offset in units:
        _add(found, Reading(unit, "unit", slope, offset))
    for power in (p * sign for p in POWERS for sign in (-1, 1)):
        times = f"{analyte.unit} times {10.0**-power:g}"
        _add(found, Reading(times, "power", 10.0**power))
    for unit, slope, offset in units:
        _add(found, Reading(f"{analyte.unit}, converted from {unit} twice", "twice", 1 / slope, -offset / slope))
    return tuple(found)


def _affine(analyte: Analyte, unit: str) -> tuple[float, float]:
    zero, one = analyte.convert([0.0, 1.0], unit)
    return float(one - zero), float(zero)


def _convertible(analyte: Analyte, unit: str) -> bool:
    try:
        _affine(analyte, unit)
    except UnitError:
        return False
    return True


def _add(found: list[Reading], new: Reading) -> None:
    """Append unless a reading with the same effect is there already."""
    for old in found:
        if old.offset == new.offset and abs(old.slope / new.slope - 1.0) < SAME_SLOPE:
            return
    found.append(new)
