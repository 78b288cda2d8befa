"""Numbers of the piece of brain: value, unit, range for sweeps, status, source (``parameters.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from icans.core.errors import ModelError
from icans.tissue.field.grid import problem

STATUSES = ("read", "computed", "recalled", "assumed")


@dataclass(frozen=True)
class Parameter:
    """One number, with the range over which studies vary it; ``scale`` is ``log`` or ``linear``."""

    name: str
    value: float
    unit: str
    meaning: str
    low: float
    high: float
    status: str
    source: str
    scale: str = "log"

    def at(self, share: float) -> float:
        """The value a share (0 to 1) of the way from low to high, on the parameter's scale."""
        if self.scale == "linear":
            return self.low + share * (self.high - self.low)
        return float(np.exp(np.log(self.low) + share * (np.log(self.high) - np.log(self.low))))


@dataclass(frozen=True)
class SubstanceData:
    """What the model knows of one substance; production is pg per mL of fluid and hour with every cell active."""

    name: str
    diffusion_um2_min: float
    loss_per_h: float
    radius_nm: float
    carrier_per_h: float
    microglia_pg_ml_h: float
    astrocyte_pg_ml_h: float
    half: float
    status: str
    source: str


@dataclass(frozen=True)
class Region:
    """A region of the brain: how dense vessels and cells are, and how readily its barrier fails."""

    name: str
    capillaries_mm2: float
    microglia_mm3: float
    astrocytes_mm3: float
    neurons_mm3: float
    barrier_weight: float
    status: str
    source: str


@dataclass(frozen=True)
class Numbers:
    """The whole file."""

    parameters: Mapping[str, Parameter]
    substances: tuple[SubstanceData, ...]
    regions: Mapping[str, Region]


@cache
def numbers() -> Numbers:
    """The numbers that come with the package."""
    table = tomllib.loads((resources.files("icans.tissue") / "parameters.toml").read_text(encoding="utf-8"))
    substances = tuple(SubstanceData(name, **row) for name, row in table.pop("substance").items())
    regions = {name: Region(name, **row) for name, row in table.pop("region").items()}
    return Numbers({name: Parameter(name, **row) for name, row in table.items()}, substances, regions)


def values(changed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Every parameter's value, some of them changed.

    Raises
    ------
    ModelError
        Unknown names, values that are negative or not finite; all of them at once.
    """
    known = numbers().parameters
    made = {name: p.value for name, p in known.items()}
    wrong = []
    for name, value in (changed or {}).items():
        if name not in known:
            wrong.append(problem(name, value, f"one of {', '.join(known)}", "No such parameter of the tissue."))
        elif not (np.isfinite(value) and value >= 0):
            wrong.append(problem(name, value, f"a finite number >= 0 ({known[name].unit})", "Mend the value."))
        else:
            made[name] = float(value)
    if wrong:
        raise ModelError(wrong)
    return made
