"""Forecasts of a marker's course: the hierarchical model with and without priors from other therapies, and its rivals.

cd22_car_hlh (41 children, CD22 CAR T cells), five folds. Every model learns from n patients of the training folds
and forecasts the held-out patients' values after day 5 from their values up to it, on ln(value). Given: mean absolute
error of the median, continuous ranked probability score (CRPS, ln units), coverage of the 90 % interval.

Run: ``ICANS_DATA=... python benchmarks/trajectory.py``; results go to ``benchmarks/results/trajectory.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.core.random import stream
from icans.datasets import load
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.forecast.course_rivals import KERNELS, Series, carried_forward, fit_gaussian
from icans.forecast.filters.trajectory import Course, TrajectoryPrior, fit_trajectory, published

RESULTS = Path(__file__).resolve().parent / "results"
LANDMARK, LAST = 5.0, 28.0
SIZES = (4, 8, 16, 32)
FOLDS = 5
INFORMED, VAGUE = "hierarchical, informed prior", "hierarchical, vague prior"


def series_of(analyte: str) -> dict[str, Series]:
    """Days and ln values of each patient, days 0 to 28, positive values."""
    rows = load("cd22_car_hlh").measurements.query("analyte == @analyte and value > 0").sort_values("time_h")
    rows = rows[(rows["time_h"] >= 0) & (rows["time_h"] <= 24 * LAST)]
    return {p: (g["time_h"].to_numpy() / 24.0, np.log(g["value"].to_numpy())) for p, g in rows.groupby("patient_id")}


def draws_of(analyte: str, train: list[Series], own: Series, after: np.ndarray, fitted: dict) -> dict[str, np.ndarray]:
    """Draws (T, S) of every model for one patient."""
    out = {"carried forward": carried_forward(train, own, after, LANDMARK)}
    for name in KERNELS:
        out[name] = fitted[name].forecast(own, after)
    for name in (INFORMED, VAGUE):
        out[name] = fitted[name].forecast(Course.exact(*own), after, seed=1)
    return out


def fits(analyte: str, train: list[Series], seed: int) -> dict:
    """Everything that learns."""
    courses = [Course.exact(*s) for s in train]
    level = float(np.mean(np.concatenate([y for _, y in train])))
    priors = {INFORMED: TrajectoryPrior.informed(analyte), VAGUE: TrajectoryPrior.vague(level)}
    made: dict = {name: fit_gaussian(name, train) for name in KERNELS}
    for name, prior in priors.items():
        made[name] = fit_trajectory(courses, prior, draws=200, warm=150, seed=seed)
    return made


def crps(draws: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS of draws (T, S) at y (T,): Gneiting T, Raftery AE, J Am Stat Assoc 2007;102:359."""
    x = np.sort(draws, axis=1)
    S = x.shape[1]
    spread = (x * (2 * np.arange(1, S + 1) - S - 1)).sum(axis=1) / S**2
    return np.abs(x - y[:, None]).mean(axis=1) - spread


def study(analyte: str, seed: int) -> pd.DataFrame:
    """One row a forecast: n, model, patient, error, crps, inside."""
    every = series_of(analyte)
    ids = sorted(p for p, (t, _) in every.items() if len(t) >= 2)
    order = stream(seed, "trajectory folds").permutation(len(ids))
    rows = []
    for fold in range(FOLDS):
        held = [ids[k] for k in order[fold::FOLDS]]
        pool = [ids[k] for k in order if ids[k] not in held]
        for n in SIZES:
            train = [every[p] for p in pool[:n]]
            fitted = fits(analyte, train, seed)
            for p in held:
                t, y = every[p]
                after = t > LANDMARK
                if not after.any():
                    continue
                own = (t[~after], y[~after])
                for model, draws in draws_of(analyte, train, own, t[after], fitted).items():
                    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
                    rows.append(pd.DataFrame({
                        "analyte": analyte, "n": len(train), "size": n, "model": model, "patient_id": p,
                        "error": np.abs(np.median(draws, axis=1) - y[after]), "crps": crps(draws, y[after]),
                        "inside": (y[after] >= low) & (y[after] <= high),
                    }))  # fmt: skip
        print(analyte, fold, file=sys.stderr, flush=True)
    return pd.concat(rows, ignore_index=True)


def summary(found: pd.DataFrame, seed: int) -> list[dict[str, object]]:
    """Means by analyte, size and model, and the CRPS difference from the vague prior (patients resampled)."""
    rows = []
    for (analyte, size), part in found.groupby(["analyte", "size"]):
        base = part[part["model"] == VAGUE]
        weight = np.vstack([np.ones(len(base)), patient_counts(base["patient_id"], 1000, seed, "trajectory")])
        for model, own in part.groupby("model", sort=False):
            gap = (weight * (own["crps"].to_numpy() - base["crps"].to_numpy())).sum(axis=1) / weight.sum(axis=1)
            interval = percentile_interval(gap[0], gap[1:])
            rows.append({
                "analyte": analyte, "n": int(size), "model": model, "error": float(own["error"].mean()),
                "crps": float(own["crps"].mean()), "coverage90": float(own["inside"].mean()), "values": len(own),
                "patients": int(own["patient_id"].nunique()),
                "crps minus vague": [interval.value, interval.low, interval.high],
            })  # fmt: skip
    return rows


def page(rows: list[dict], seed: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Forecasts of marker courses after day 5: hierarchical model and rivals", "",
        f"Made by `benchmarks/trajectory.py --seed {seed}`. {__doc__.split(chr(10) * 2)[1].replace(chr(10), ' ')} "
        "Differences from the vague prior: 95 % intervals from 1000 resamples of patients.", "",
        "| analyte | n | model | abs. error (ln) | CRPS | CRPS minus vague prior | coverage of 90 % | values |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        v = r["crps minus vague"]
        lines.append(
            f"| {r['analyte']} | {r['n']} | {r['model']} | {r['error']:.3f} | {r['crps']:.3f} | {v[0]:.3f} "
            f"({v[1]:.3f}, {v[2]:.3f}) | {100 * r['coverage90']:.0f} % | {r['values']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if "ICANS_DATA" not in os.environ:
        sys.exit("set ICANS_DATA to the folder with the public data sets")
    found = pd.concat([study(analyte, chosen.seed) for analyte in published()], ignore_index=True)
    rows = summary(found, chosen.seed)
    write_text(RESULTS / "trajectory.json", json.dumps(rows, indent=1) + "\n")
    write_text(RESULTS / "trajectory.md", page(rows, chosen.seed))


if __name__ == "__main__":
    main()
