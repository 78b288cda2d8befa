"""The arithmetic of the published scores, on plain arrays in the units that the formula wants.

Every function takes arrays of one shape (n,) by analyte and returns (n,); a missing input gives NaN. Units are
the business of :mod:`icans.forecast.scores`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Inputs = Mapping[str, Array]

#: Platelets below this count as this: analysers report less as "<5", and a zero would make EASIX infinite.
PLATELET_FLOOR_E9_L = 5.0
#: CRP below this counts as this (0.3 mg/L, the usual limit of a sensitive assay): the logarithm needs it above 0.
CRP_FLOOR_MG_DL = 0.03


def easix(values: Inputs) -> Array:
    """log2(LDH x creatinine / platelets)."""
    return _log2(_positive(values["ldh"]) * _positive(values["creatinine"]) / _platelets(values))


def s_easix(values: Inputs) -> Array:
    """log2(LDH / platelets)."""
    return _log2(_positive(values["ldh"]) / _platelets(values))


def m_easix(values: Inputs) -> Array:
    """log2(LDH x CRP / platelets), CRP in mg/dL."""
    crp = np.where(values["crp"] < 0, np.nan, np.maximum(values["crp"], CRP_FLOOR_MG_DL))
    return _log2(_positive(values["ldh"]) * crp / _platelets(values))


def hematotox(values: Inputs) -> Array:
    """CAR-HEMATOTOX points, 0-7."""
    limits = _limits("hematotox")
    low, high = limits["platelets"]
    platelets = np.where(values["platelets"] < low, 2.0, np.where(values["platelets"] <= high, 1.0, 0.0))
    low, high = limits["ferritin"]
    ferritin = np.where(values["ferritin"] > high, 2.0, np.where(values["ferritin"] >= low, 1.0, 0.0))
    points = (
        platelets
        + ferritin
        + (values["anc"] <= limits["anc"])
        + (values["haemoglobin"] < limits["haemoglobin"])
        + (values["crp"] > limits["crp"])
    )
    return _where_known(points, values, ("platelets", "ferritin", "anc", "haemoglobin", "crp"))


def gust2017(values: Inputs) -> Array:
    """1 when fever, IL-6 and MCP-1 are all above their limits, 0 when any is below, NaN when that is unknown."""
    return _all_above(values, ("temperature", "il_6", "mcp_1"))


def hay2017(values: Inputs) -> Array:
    """1 when fever and MCP-1 are above their limits, 0 when either is below, NaN when that is unknown."""
    return _all_above(values, ("temperature", "mcp_1"))


#: Function of each score of ``published/scores.toml``.
FORMULAS: dict[str, Callable[[Inputs], Array]] = {
    "EASIX": easix,
    "s-EASIX": s_easix,
    "m-EASIX": m_easix,
    "CAR-HEMATOTOX": hematotox,
    "Gust2017": gust2017,
    "Hay2017": hay2017,
}
#: Scores that can be told although an input is missing (one branch of a tree that fails decides it).
DECIDED_BY_ANY = frozenset({"Gust2017", "Hay2017"})


def _all_above(values: Inputs, names: tuple[str, ...]) -> Array:
    limits = _limits("tree")
    answer = np.ones(np.shape(values[names[0]]))
    for name in names:
        above = np.where(np.isnan(values[name]), np.nan, (values[name] >= limits[name]).astype(float))
        # false wins over unknown, unknown over true
        answer = np.where((answer == 0) | (above == 0), 0.0, np.where(np.isnan(answer + above), np.nan, 1.0))
    return answer


@cache
def published() -> dict[str, Any]:
    """The table of published scores, as read."""
    text = (resources.files(__package__) / "published" / "scores.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _limits(name: str) -> dict[str, Any]:
    return published()["limits"][name]


def _positive(value: Array) -> Array:
    return np.where(value > 0, value, np.nan)


def _platelets(values: Inputs) -> Array:
    count = values["platelets"]
    return np.where(count < 0, np.nan, np.maximum(count, PLATELET_FLOOR_E9_L))


def _log2(value: Array) -> Array:
    return np.log2(value)


def _where_known(points: Array, values: Inputs, names: tuple[str, ...]) -> Array:
    known = np.all([np.isfinite(values[name]) for name in names], axis=0)
    return np.where(known, points, np.nan)
