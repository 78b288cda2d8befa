"""The thresholds of ``thresholds.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources


@cache
def table() -> dict[str, dict]:
    """Every threshold with its sweep, unit, status and source."""
    return tomllib.loads((resources.files(__package__) / "thresholds.toml").read_text(encoding="utf-8"))


def value(name: str) -> float:
    """The threshold called ``name``."""
    return float(table()[name]["value"])


def sweep(name: str) -> tuple[float, ...]:
    """Thresholds around it that the uncertainty is told by; the threshold itself is one of them."""
    return tuple(float(v) for v in table()[name]["sweep"])
