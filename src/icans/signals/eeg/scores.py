"""Scores of EEG severity from findings that are there, absent, or unknown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its bounds: ``value`` counts unknown findings as absent, ``high`` as present.

    ``parts`` holds the points of each finding that is there; ``unknown`` the findings that nobody looked for.
    """

    value: float
    high: float
    parts: dict[str, float]
    unknown: tuple[str, ...]


@cache
def ve_cam_s_points() -> dict[str, Any]:
    """The published table: points, severe findings, labels."""
    text = (resources.files(__package__) / "ve_cam_s.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def ve_cam_s(findings: Mapping[str, bool | None]) -> Score:
    """VE-CAM-S (Tesh et al. 2022, doi:10.1097/CCE.0000000000000611) of findings, read by an expert or found by this
    package.

    Parameters
    ----------
    findings
        Name in ``ve_cam_s.toml`` -> there, absent, or None for unknown. What is not named is unknown.

    Raises
    ------
    KeyError
        A finding that the score does not know.

    Notes
    -----
    GPD and BiPD are one kind of finding at two synchronies; both count where both are there, as published.

    >>> ve_cam_s({"gpd": True, "diffuse_delta": True, "lpd": False}).value
    6.0
    """
    table = ve_cam_s_points()
    points: dict[str, float] = table["points"]
    severe = set(table["severe_findings"])
    unknown_names = sorted(set(findings) - set(points) - severe)
    if unknown_names:
        raise KeyError(f"VE-CAM-S knows no finding {unknown_names}; it knows {sorted([*points, *severe])}")
    there = {name for name, found in findings.items() if found}
    unknown = tuple(name for name in [*points, *severe] if findings.get(name) is None)
    parts = {name: float(points[name]) for name in points if name in there}
    hit = sorted(there & severe)
    value = float(table["severe"]) if hit else min(sum(parts.values()), float(table["severe"]))
    possible = value + sum(points[name] for name in unknown if name in points)
    high = float(table["severe"]) if hit or set(unknown) & severe else min(possible, float(table["severe"]))
    return Score(value, high, parts | {name: float(table["severe"]) for name in hit}, unknown)


def ve_cam_s_of_labels(labels: Mapping[str, float]) -> Score:
    """VE-CAM-S of a row of the published labels (0/1 by their printed names)."""
    names: dict[str, str] = ve_cam_s_points()["labels"]
    return ve_cam_s({name: bool(labels[label]) for name, label in names.items()})
