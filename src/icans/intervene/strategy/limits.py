"""Largest doses (``limits.toml``), and what a strategy gives at most."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import numpy as np

from icans.mechanism.doses import unit_factor
from icans.mechanism.regimens import Planned

#: Size of the patient for whom amounts per kilogram and square metre are compared with the limits.
WEIGHT_KG, SURFACE_M2 = 70.0, 1.8
DAY_H = 24.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Most of a drug, mg: in one administration, within 24 h, over the course."""

    single_mg: float
    day_mg: float
    course_mg: float
    source: str
    status: str


@cache
def limits() -> Mapping[str, Limit]:
    """Limits by drug."""
    text = (resources.files(__package__) / "limits.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: Limit(**entry) for name, entry in tomllib.loads(text).items()})


def milligrams(dose: Planned) -> float:
    """One administration to the patient of 70 kg, mg."""
    given = dose.resolve(WEIGHT_KG, SURFACE_M2)
    return float(given.amount * unit_factor(given.unit, "mg"))


def administrations(doses: Sequence[Planned], drug: str) -> tuple[np.ndarray, np.ndarray]:
    """Hours and mg of every administration of a drug, in order."""
    times: list[float] = []
    amounts: list[float] = []
    for dose in doses:
        if dose.drug == drug:
            times += [dose.time_h + (dose.every_h or 0.0) * k for k in range(dose.count)]
            amounts += [milligrams(dose)] * dose.count
    order = np.argsort(times, kind="stable")
    return np.asarray(times, float)[order], np.asarray(amounts, float)[order]


def most_in_a_day(times: np.ndarray, amounts: np.ndarray) -> float:
    """Most mg within any 24 hours (the end not included)."""
    if len(times) == 0:
        return 0.0
    before = np.concatenate([[0.0], np.cumsum(amounts)])
    ends = np.searchsorted(times, times + DAY_H - 1e-9, side="left")
    return float((before[ends] - before[np.arange(len(times))]).max())
