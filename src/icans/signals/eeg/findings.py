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


def ve_icans_findings(windows: pd.DataFrame, spectrogram: pd.DataFrame) -> dict[str, bool | None]:
    """Findings by the names of the VE-ICANS table (Jones et al. 2022) from features of a recording.

    Which slow band is present is read from the mean frequency of the power from 0.5 to 4 Hz (where delta is more than
    alpha and beta together) and from 4 to 8 Hz (where theta is at least half of what is above 4 Hz). No public
    recording has a VE-ICANS reading: the mapping is ours and was not compared with one.
    """
    there = findings(windows)
    middle = windows.median(numeric_only=True)
    density = spectrogram.median()
    hertz = spectrogram.columns.to_numpy(dtype=float)

    def mean_hz(low: float, high: float) -> float:
        inside = (hertz >= low) & (hertz < high)
        weights = density.to_numpy(dtype=float)[inside]
        return float((hertz[inside] * weights).sum() / weights.sum())

    fast = middle["rel_alpha"] + middle["rel_beta"]
    delta = mean_hz(0.5, 4.0) if middle["rel_delta"] > fast else float("nan")
    theta = mean_hz(4.0, 8.0) if middle["rel_theta"] >= fast else float("nan")
    rhythm = middle.get("pdr_frequency", float("nan"))
    present = middle.get("pdr_present", float("nan"))
    bands = {
        "delta <=1Hz": delta <= 1, "delta 1<=2Hz": 1 < delta <= 2, "delta 2<=3Hz": 2 < delta <= 3,
        "delta 3<=4Hz": 3 < delta <= 4, "theta 4<=5Hz": 4 < theta <= 5, "theta 5<=6Hz": 5 < theta <= 6,
        "theta 6<=8Hz": 6 < theta <= 8, "alpha <=8Hz": 7 < rhythm <= 8, "alpha 8<=9Hz": 8 < rhythm < 10,
        "alpha >=10Hz": rhythm >= 10,
    }  # fmt: skip
    return {
        **{name: bool(value) for name, value in bands.items()},
        "mlv": there["moderately_low_voltage"], "elv": there["extreme_low_voltage"],
        "pdr present": None if np.isnan(present) else bool(present >= FREQUENT and rhythm >= 7),
        "any GRDA": there["grda"], "any GPDs": there["gpd"], "LRDA": there["lrda"], "LPDs": there["lpd"],
        "Intermittent brief attenuation": there["intermittent_brief_attenuation"],
        "Burst suppression": there["burst_suppression"],
    }  # fmt: skip
