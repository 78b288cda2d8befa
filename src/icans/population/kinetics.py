"""Growth of products whose peak is published relative to another's: matched by simulation, apart from any toxicity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icans.population.arms import Key, run
from icans.population.products import tables
from icans.population.quantities import Readings

#: Hours of the search for a peak, and doses of care that it needs (none).
SEARCH_H = np.arange(0.0, 22 * 24.0, 12.0)


def wanted() -> list[tuple[str, str, tuple[str, str], float]]:
    """Product, disease, comparator (product, disease) and ratio of median peaks, for every match."""
    made = []
    for name, entry in tables()["product"].items():
        about: dict[str, Any] = entry.get("kinetics", {})
        if "like" not in about:
            continue
        comparator = (str(about["like"][0]), str(about["like"][1]))
        for disease in DISEASES.get(name, ()):
            ratio = about.get("peak_ratio_in", {}).get(disease, about.get("peak_ratio", 1.0))
            made.append((name, disease, comparator, float(ratio)))
    return made


#: Diseases in which each matched product is studied.
DISEASES = {
    "tisa-cel": ("pALL",), "SCRI": ("pALL",), "brexu-cel": ("MCL", "aALL"),
    "liso-cel": ("LBCL", "LBCL-2L", "FL", "CLL"), "cilta-cel": ("MM",), "obe-cel": ("aALL",),
}  # fmt: skip


def median_peak(
    key: Key, n: int, seed: int, factors: Mapping[str, float], now: Readings, threads: int | None = None
) -> float:  # fmt: skip
    """Median of the patients' largest number of CAR T cells in blood, per microlitre."""
    arm = run(key, n, seed, factors, now, outputs=("car_blood",), times_h=SEARCH_H, rtol=1e-3, threads=threads)
    return float(np.median(arm.series["car_blood"][arm.ok].max(axis=1)))


def match_peaks(
    n: int, seed: int, factors: Mapping[str, float], now: Readings, *, threads: int | None = None, steps: int = 5
) -> dict[str, float]:  # fmt: skip
    """Growth relative to the comparator, by path ``kinetics.<product>.<disease>``, that gives the published peak.

    For a product in several diseases the growth is matched in the first and used in all: it belongs to the product.
    """
    made: dict[str, float] = {}
    for name, disease, comparator, ratio in wanted():
        first = DISEASES[name][0]
        if disease != first and "peak_ratio_in" not in tables()["product"][name]["kinetics"]:
            made[f"kinetics.{name}.{disease}"] = made[f"kinetics.{name}.{first}"]
            continue
        path = f"kinetics.{name}.{disease}"
        known = {**factors, **made}
        goal = np.log(ratio * median_peak(Key(*comparator), n, seed, known, now, threads))
        tried: list[tuple[float, float]] = []
        x = 0.0
        for _ in range(steps):
            peak = median_peak(Key(name, disease), n, seed, {**known, path: float(np.exp(x))}, now, threads)
            tried.append((x, float(np.log(peak)) - float(goal)))
            if abs(tried[-1][1]) < 0.05:
                break
            x = _next(tried)
        made[path] = float(np.exp(min(tried, key=lambda t: abs(t[1]))[0]))
    return made


def _next(tried: list[tuple[float, float]]) -> float:
    """Secant step; the first assumes that ln peak rises eightfold with ln growth."""
    (x, y) = tried[-1]
    slope = 8.0
    if len(tried) > 1 and abs(x - tried[-2][0]) > 1e-6:
        slope = max((y - tried[-2][1]) / (x - tried[-2][0]), 2.0)
    return float(np.clip(x - y / slope, x - 0.15, x + 0.15))
