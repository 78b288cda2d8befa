"""Rosenbrock methods of the RODAS family: linearly implicit, L-stable, with an embedded estimate and dense output.

The coefficients are in ``rodas.toml`` with their sources. ``rodas4`` (Hairer & Wanner 1996, section IV.7) has six
stages and order 4(3), ``rodas5p`` (Steinebach 2023, doi 10.1007/s10543-023-00967-x) eight and order 5(4).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tableau:
    """Coefficients of one method: ``a``, ``c`` (stages, stages), ``b`` (stages,), ``dense`` (rows, stages).

    The error estimate is the last stage; ``error_order`` is the order of the result without it.
    """

    name: str
    gamma: float
    order: int
    error_order: int
    a: Array
    b: Array
    c: Array
    dense: Array
    source: str

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.b)


@cache
def tableau(name: str = "rodas4") -> Tableau:
    """A method by name.

    Raises
    ------
    ValueError
        There is no such method.
    """
    text = (resources.files(__package__) / "rodas.toml").read_text(encoding="utf-8")
    methods = tomllib.loads(text)
    if name not in methods:
        raise ValueError(f"no method {name!r}; there are {', '.join(methods)}")
    row = methods[name]
    return Tableau(
        name, row["gamma"], row["order"], row["error_order"], _lower(row["a"]), np.array(row["b"]), _lower(row["c"]),
        np.array(row["dense"]), row["source"],
    )  # fmt: skip


def _lower(rows: list[list[float]]) -> Array:
    made = np.zeros((len(rows), len(rows)))
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return made
