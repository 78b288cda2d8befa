"""Which analytes of a cohort the patient model has, and on which scale they are compared."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Smallest level that is compared on a logarithmic scale: cells and cytokines may be reported as zero.
LEAST = 1e-3


@dataclass(frozen=True)
class Observable:
    """An analyte that the patient model has: its output, unit, scale and where its residual SD starts."""

    name: str
    output: str
    unit: str
    scale: Literal["log", "linear"]
    sd: float

    def working(self, value: ArrayLike) -> Floats:
        """Values on the scale on which they are compared."""
        values = np.asarray(value, dtype=float)
        return np.log(np.maximum(values, LEAST)) if self.scale == "log" else values


@cache
def observables() -> dict[str, Observable]:
    """The contents of ``observables.toml``."""
    text = (resources.files(__package__) / "observables.toml").read_text(encoding="utf-8")
    return {name: Observable(name, **entry) for name, entry in tomllib.loads(text).items()}


def known(analytes: Sequence[str]) -> tuple[str, ...]:
    """Those of some analytes that the model has, in the table's order."""
    wanted = set(analytes)
    return tuple(name for name in observables() if name in wanted)
