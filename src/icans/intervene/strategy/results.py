"""Results that rules may wait for: names of cohorts for analytes of the laboratory (``results.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from icans.core.errors import ModelError
from icans.intervene.world.assays import table
from icans.mechanism.parameters import unknown

#: Hours between draws of an analyte that is not drawn unasked, once a rule waits for it.
ASKED_H = 24.0


@dataclass(frozen=True, slots=True)
class ResultInfo:
    """A result.

    Attributes
    ----------
    analyte
        Its name in the laboratory; empty for a vital sign, which is read at once.
    output
        The output of the patient model that it measures.
    turnaround_h
        Hours from draw to result: shortest and longest.
    every_h
        Hours between draws.
    lloq, top
        Lowest and highest value that is reported.
    """

    name: str
    label: str
    analyte: str
    output: str
    unit_label: str
    turnaround_h: tuple[float, float]
    every_h: float
    lloq: float
    top: float


@cache
def results() -> Mapping[str, ResultInfo]:
    """Every result, by the name that cohorts use."""
    mine = tomllib.loads((resources.files(__package__) / "results.toml").read_text(encoding="utf-8"))["result"]
    return MappingProxyType({name: _made(name, entry) for name, entry in mine.items()})


def _made(name: str, entry: Mapping[str, Any]) -> ResultInfo:
    if "analyte" not in entry:
        return ResultInfo(name, entry["label"], "", entry["output"], entry["unit_label"], (0.0, 0.0), 0.0, 0.0,
                          float(entry["top"]))  # fmt: skip
    analyte = entry["analyte"]
    lab = table()["analyte"][analyte]
    low, high = map(float, lab["turnaround_h"])
    every = float(table()["routine"].get(analyte, ASKED_H))
    return ResultInfo(name, lab["label"], analyte, lab["output"], entry["unit_label"], (low, high), every,
                      float(lab["lloq"]), float(entry["top"]))  # fmt: skip


def result_named(name: str) -> ResultInfo:
    """One of them.

    Raises
    ------
    ModelError
        There is none of that name; the nearest are told.
    """
    if name not in results():
        raise ModelError([unknown("result", name, results())])
    return results()[name]
