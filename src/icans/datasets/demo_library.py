"""The library of simulated courses behind the synthetic cohort: ``python -m icans.datasets.demo_library`` makes it.

For every product of ``demo.toml`` virtual patients (:mod:`icans.population`) are drawn and simulated under present care
with the patient model; then a few hundred are chosen, with weights, such that incidences, onsets and durations are
those published for the product. What is kept: the two episodes under ASTCT, times of tocilizumab and dexamethasone, a
few covariates, and levels of what a laboratory measures, every 12 hours. The cohort draws from it, so that making the
cohort needs neither a compiler nor a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.datasets.demo import numbers
from icans.population import artefact, studies
from icans.population.arms import Key, run
from icans.population.observe import first_crossing
from icans.population.quantities import View
from icans.population.tilt import Moment, tilt

Array = npt.NDArray[np.float64]

FILE = "demo_courses.npz"
#: Disease of the population for each product of the cohort.
DISEASE = {"axi-cel": "LBCL", "brexu-cel": "MCL", "tisa-cel": "LBCL", "liso-cel": "LBCL"}
#: Levels kept: name in the cohort's vocabulary -> output of the model.
LEVELS = {
    "crp": "CRP", "ferritin": "FERRITIN", "ldh": "LDH", "platelets": "PLT", "creatinine": "CREAT",
    "fibrinogen": "FIBRINOGEN", "temperature": "TEMP", "il_6": "IL6", "ifn_g": "IFNG", "il_10": "IL10",
    "il_15": "IL15", "mcp_1": "MCP1", "ang_2": "ANG2",
}  # fmt: skip
GRID_H = np.arange(0.0, 30 * 24.0 + 1, 12.0)
SEED, ENTROPY, LEAST_ESS = 20260215, 0.01, 0.04


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the library."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulate", type=int, default=3000, help="virtual patients per product")
    parser.add_argument("--keep", type=int, default=300, help="courses kept per product")
    options = parser.parse_args(arguments)
    kept: dict[str, Any] = {}
    for product in numbers()["product"]:
        for name, values in _library(product, options.simulate, options.keep).items():
            kept[f"{product}|{name}"] = values
    path = Path(str(resources.files(__package__) / FILE))
    np.savez_compressed(path, grid_h=GRID_H, **kept)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def _library(product: str, simulate: int, keep: int) -> dict[str, Any]:
    known = artefact.read()
    key = Key(product, DISEASE[product], "modern")
    outputs = ("crs_severity", "encephalopathy", *LEVELS.values())
    fine = np.arange(0.0, 30 * 24.0 + 1, 6.0)
    arm = run(key, simulate, SEED, known.factors, known.readings, outputs=outputs, times_h=fine)
    days = fine / 24.0
    view = _view(arm, days, known)
    crs, icans = view.graded("crs"), view.graded("nt")
    weights = _weights(product, crs, icans, studies.axes_of(arm.individuals.axes), arm.ok)
    chosen = _systematic(weights, crs.grade * 10 + icans.grade, keep)
    levels = {name: arm.series[output][chosen][:, ::2] for name, output in LEVELS.items()}
    made: dict[str, Any] = {f"level {k}": np.log(np.maximum(v, 1e-3)).astype(np.float16) for k, v in levels.items()}
    for name, episode in (("crs", crs), ("icans", icans)):
        made[f"{name} grade"] = np.minimum(episode.grade[chosen], 4).astype(np.int8)
        for part in ("onset", "peak", "end"):
            made[f"{name} {part}"] = np.nan_to_num(getattr(episode, part)[chosen]).astype(np.float32)
    made["tocilizumab_h"] = _given(days, arm.series["crs_severity"], known.readings.crs["astct"].cuts[1])[chosen]
    made["dexamethasone_h"] = _given(days, arm.series["encephalopathy"], known.readings.nt["astct"].cuts[1])[chosen]
    made["score"] = arm.individuals.axes["z_burden"].to_numpy(np.float32)[chosen]
    made["inflammation"] = arm.individuals.axes["inflammation"].to_numpy(np.float32)[chosen]
    return made


def _view(arm: Any, days: Array, known: artefact.Calibration) -> View:
    """The arm with grades as a bedside has them: without the reader's error, so that care and grade agree."""
    n = len(arm.patients)
    nothing = np.zeros(n)
    series = {k: np.nan_to_num(arm.series[k]).astype(float) for k in ("crs_severity", "encephalopathy")}
    stray = {"any": nothing + 1.0, "mild": nothing, "onset": nothing, "duration": nothing}
    return View(days, series, arm.patients, np.full(n, 1.0 / n), known.readings, {"crs": nothing, "nt": nothing}, stray,
                {"seizure": nothing}, nothing, np.zeros(n, dtype=bool))  # fmt: skip


def _weights(product: str, crs: Any, icans: Any, axes: Array, ok: npt.NDArray[np.bool_]) -> Array:
    """Weights that give the published incidences, onsets and durations of the product (``demo.toml``)."""
    about = numbers()["product"][product]
    moments = []
    for name, episode in (("crs", crs), ("icans", icans)):
        low, high = about[f"{name}_any_bounds"]
        had = (episode.grade >= 1).astype(float)
        moments.append(Moment(had, np.ones(len(had)), about[f"{name}_any"], (high - low) / 16))
        low, high = about[f"{name}_severe_bounds"]
        severe = (episode.grade >= 3).astype(float)
        moments.append(Moment(severe, np.ones(len(had)), about[f"{name}_severe"], (high - low) / 16))
        for values, wanted in (
            (episode.onset_day, about[f"{name}_onset"]),
            (episode.duration_days, about[f"{name}_duration"] + 0.5),
        ):
            early = 1.0 / (1.0 + np.exp(np.clip((np.nan_to_num(values) - wanted) / 0.7, -30, 30)))
            moments.append(Moment(early, had, 0.5, 0.08))
    alone = ((icans.grade >= 1) & (crs.grade == 0)).astype(float)
    moments.append(Moment(alone, (icans.grade >= 1).astype(float), 0.05, 0.04))
    gap = np.nan_to_num(icans.onset_day - crs.onset_day)
    both = ((icans.grade >= 1) & (crs.grade >= 1)).astype(float)
    moments.append(Moment(1.0 / (1.0 + np.exp(np.clip((gap - 2.5) / 0.5, -30, 30))), both, 0.5, 0.1))
    # grades themselves are axes here: the cohort imitates one published table, and is not a test of the model
    marks = [crs.grade >= 1, crs.grade >= 3, icans.grade >= 1, icans.grade >= 3]
    marks += [(icans.grade >= 1) & (crs.grade == 0)]
    late = [np.tanh(np.nan_to_num(v - w) / 3.0) for v, w in (
        (crs.onset_day, about["crs_onset"]), (icans.onset_day, about["icans_onset"]),
        (crs.duration_days, about["crs_duration"]), (icans.duration_days, about["icans_duration"]))]  # fmt: skip
    every = np.column_stack([axes, *(m.astype(float) for m in marks), *late])
    return tilt(every, moments, ok.astype(float), ENTROPY, LEAST_ESS).weights


def _systematic(weights: Array, order: npt.NDArray[np.int64], keep: int) -> npt.NDArray[np.int64]:
    """``keep`` rows with these weights, evenly through the grades, so that shares hold to one row."""
    place = np.argsort(order, kind="stable")
    edges = np.cumsum(weights[place]) / weights.sum()
    return np.asarray(place[np.searchsorted(edges, (np.arange(keep) + 0.5) / keep)])


def _given(days: Array, series: npt.NDArray[Any], level: float) -> npt.NDArray[np.float32]:
    """Hour of the first dose of what care gives at a level (four hours after it is reached); inf: never."""
    reached = first_crossing(days, np.nan_to_num(series).astype(float), level) * 24.0 + 4.0
    return np.where(np.isfinite(reached), reached, np.inf).astype(np.float32)


if __name__ == "__main__":
    main()
