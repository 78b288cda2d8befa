"""What a rule waits for: a grade, an available result, a forecast, fever. Each knows whether it holds, and its words.

Everything is read from an observation (:class:`Seen`) that holds what is known at one time and nothing later: the
newest *available* result of an analyte with the hours since it was drawn, the grades of the last bedside examination,
forecasts made from these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Toxicities with bedside grades, and their names for people.
GRADED = {"crs": "CRS", "icans": "ICANS", "iechs": "IEC-HS"}
#: Where nothing is said, an older result than this no longer counts, hours.
STALE_H = 48.0


class Seen(Protocol):
    """What is known of n patients at one time.

    ``grades``: toxicity of :data:`GRADED` -> grade, shape (n,). ``values``: analyte -> newest available result in the
    unit of the patient model, NaN where there is none. ``age_h``: hours since those were drawn.
    """

    @property
    def grades(self) -> Mapping[str, npt.NDArray[Any]]:
        """Grades at the bedside."""
        ...

    @property
    def values(self) -> Mapping[str, Array]:
        """Newest available results."""
        ...

    @property
    def age_h(self) -> Mapping[str, Array]:
        """Their age."""
        ...

    def forecast(self, toxicity: str, grade: int, within_h: float) -> Array:
        """P(the toxicity reaches the grade within so many hours), shape (n,); NaN where none can be made."""
        ...


@dataclass(frozen=True, slots=True)
class GradeSeen:
    """A toxicity of at least a grade at the bedside."""

    toxicity: str
    grade: int

    def holds(self, seen: Seen) -> Mask:
        """Whether it is seen, shape (n,)."""
        return np.asarray(seen.grades[self.toxicity] >= self.grade)

    def describe(self) -> str:
        """In words."""
        return f"{GRADED[self.toxicity]} of grade {self.grade} or more"


@dataclass(frozen=True, slots=True)
class Result:
    """An available result at or above, or below, a level (the laboratory's unit), drawn at most ``max_age_h`` ago."""

    analyte: str
    above: float = math.nan
    below: float = math.nan
    max_age_h: float = STALE_H

    def holds(self, seen: Seen) -> Mask:
        """Whether there is such a result, shape (n,). No result holds nothing."""
        value, age = seen.values[self.analyte], seen.age_h[self.analyte]
        with np.errstate(invalid="ignore"):
            fresh = np.isfinite(value) & (age <= self.max_age_h + 1e-9)
            if math.isfinite(self.above):
                fresh &= value >= self.above
            if math.isfinite(self.below):
                fresh &= value < self.below
        return np.asarray(fresh)

    def describe(self) -> str:
        """In words."""
        from icans.intervene.strategy.results import result_named

        entry = result_named(self.analyte)
        bounds = [f"at or above {self.above:g}"] if math.isfinite(self.above) else []
        bounds += [f"below {self.below:g}"] if math.isfinite(self.below) else []
        text = f"an available {entry.label} {' and '.join(bounds)} {entry.unit_label}"
        return text if self.max_age_h == STALE_H else f"{text} drawn at most {self.max_age_h:g} h ago"


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast: P(the toxicity reaches a grade within so many hours) above a threshold."""

    toxicity: str
    grade: int
    within_h: float
    above: float

    def holds(self, seen: Seen) -> Mask:
        """Whether the forecast is above it, shape (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(seen.forecast(self.toxicity, self.grade, self.within_h) > self.above)

    def describe(self) -> str:
        """In words."""
        name = GRADED[self.toxicity]
        return f"a forecast P({name} grade {self.grade} or more within {self.within_h:g} h) above {self.above:g}"


@dataclass(frozen=True, slots=True)
class Fever:
    """A temperature of at least so many degrees Celsius."""

    from_c: float = 38.0

    def holds(self, seen: Seen) -> Mask:
        """Whether there is fever, shape (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(seen.values["temperature"] >= self.from_c)

    def describe(self) -> str:
        """In words."""
        return f"a temperature of {self.from_c:g} °C or more"


Condition = GradeSeen | Result | Forecast | Fever


def analytes_of(conditions: tuple[Condition, ...]) -> tuple[str, ...]:
    """Results that conditions read, in alphabetical order."""
    named = {c.analyte for c in conditions if isinstance(c, Result)}
    return tuple(sorted(named | ({"temperature"} if any(isinstance(c, Fever) for c in conditions) else set())))
