"""Findings of an EEG (diffuse delta, GPD, burst suppression ...) from its features, window by window."""

from __future__ import annotations

import operator
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

_RELATIONS: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<": operator.lt,
    "abs>=": lambda value, limit: abs(value) >= limit,
}
#: A finding is there when it holds for this share of the windows that can tell ("frequent" in the terms of the
#: American Clinical Neurophysiology Society).
FREQUENT = 0.1


@cache
def rules() -> dict[str, dict[str, Any]]:
    """The limits of every finding, with where they are from."""
    text = (resources.files(__package__) / "findings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def window_findings(windows: pd.DataFrame) -> pd.DataFrame:
    """Each finding in each window: 1.0 there, 0.0 not, NaN where a feature it needs is missing."""
    out = {}
    for name, rule in rules().items():
        there = np.ones(len(windows))
        for feature, relation, limit in rule["all"]:
            if feature not in windows:
                there[:] = np.nan
                continue
            values = windows[feature].to_numpy(dtype=float)
            there = np.where(np.isnan(values), np.nan, there * _RELATIONS[relation](values, limit))
        out[name] = there
    return pd.DataFrame(out, index=windows.index)


def prevalence(windows: pd.DataFrame) -> dict[str, float]:
    """Share of windows with each finding, of those that can tell; NaN where none can."""
    found = window_findings(windows)
    return {name: float(found[name].mean()) if found[name].notna().any() else float("nan") for name in found}


def findings(windows: pd.DataFrame) -> dict[str, bool | None]:
    """Whether each finding is there (a tenth of the windows or more); None where that is unknown."""
    return {name: None if np.isnan(share) else share >= FREQUENT for name, share in prevalence(windows).items()}
