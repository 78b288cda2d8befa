"""The study of the piece of brain: what drives injury and amplification, which regions suffer, and the closure.

Three parts, each made of independent runs that an executor may share out: Morris screening of every number of the
micro model (Morris 1991, 10.1080/00401706.1991.10484804; Campolongo 2007, 10.1016/j.envsoft.2006.10.004); regions
under the course of the typical patient, with equal barriers and with those of the patient model; a grid of levels in
plasma and losses of the barrier, to which the closure is fitted. Everything is synthetic: a model of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.execute import Executor, Serial
from icans.tissue.brain.build import region_of
from icans.tissue.brain.macro import BrainCourse, MacroInput, run_brain, steady_input
from icans.tissue.closure import Closure, fit_closure
from icans.tissue.parameters import Region, numbers

Array = npt.NDArray[np.float64]

#: Substances of the tissue that blood brings, by their name in the patient model.
FROM_BLOOD = ("IL6", "TNF", "IL1B", "IFNG", "MCP1")
#: Order of regions by how often MRI in ICANS shows them (10.1111/jon.13138, abstract: thalamus, external capsule,
#: brainstem, subcortical and periventricular white matter, splenium, cerebellum; the hippocampus and the cortex are not
#: among them). Ranks, 1 the most often; equal ranks where the abstract does not tell.
MRI_RANK = {"thalamus": 1.5, "white_matter": 1.5, "hippocampus": 3.5, "cortex": 3.5}
#: Numbers that are not varied: the size of things, not a mechanism.
FIXED = ("box_um", "voxel_um", "fluid_share")
DENSITIES = ("capillaries_mm2", "microglia_mm3", "astrocytes_mm3")


@dataclass(frozen=True)
class Settings:
    """How much is run. ``replicates`` of every region and of every point of the grid; ``paths`` of Morris' design."""

    paths: int = 8
    levels: int = 4
    replicates: int = 3
    driver_hours: float = 48.0
    region_hours: float = 120.0
    closure_hours: float = 72.0
    box_um: float = 400.0
    plasma: tuple[float, ...] = (0.0, 25.0, 75.0, 225.0, 1000.0)
    losses: tuple[float, ...] = (0.0, 0.15, 0.3, 0.6, 0.9)


@dataclass(frozen=True)
class Course:
    """The typical patient of the patient model: excess in plasma, loss of the barrier, CAR T cells in blood."""

    time_h: Array
    plasma: dict[str, Array]
    loss: Array
    circulating: Array

    @property
    def peak(self) -> dict[str, float]:
        """Each cytokine's level when IL-6 is highest, and the circulating cells then (``"cells"``)."""
        at = int(np.argmax(self.plasma["IL6"]))
        return {n: float(c[at]) for n, c in self.plasma.items()} | {"cells": float(self.circulating[at])}


def typical_course(hours: float = 240.0, start_h: float = 48.0) -> Course:
    """The course from ``start_h`` after infusion on, as the patient model has it (1.5e8 cells, no treatment)."""
    import icans as ic

    time = np.arange(0.0, start_h + hours + 6.0, 6.0)
    wanted = [*FROM_BLOOD, "bar_loss_mean", "t_cell_output"]
    course = ic.simulate(ic.patient_model(), doses=[ic.Dose(0, "car_t", 1.5e8, "cells")], times=time, outputs=wanted)
    got = {name: np.asarray(course[name], float).reshape(-1) for name in wanted}
    late = time >= start_h
    plasma = {name: np.maximum(got[name] - got[name][0], 0.0)[late] for name in FROM_BLOOD}
    return Course(time[late] - start_h, plasma, got["bar_loss_mean"][late], got["t_cell_output"][late])


@dataclass(frozen=True)
class _Job:
    region: Region
    macro: MacroInput
    hours: float
    seed: int
    changed: dict[str, float]


def _run(job: _Job) -> BrainCourse:
    return run_brain(job.region, job.macro, job.hours, seed=job.seed, changed=job.changed)


def driver_names() -> tuple[str, ...]:
    """What the screening varies: parameters, densities, and the barrier and levels that blood brings."""
    named = tuple(name for name in numbers().parameters if name not in FIXED)
    return (*named, *DENSITIES, "barrier loss", "plasma")


def drivers(course: Course, settings: Settings, seed: int, executor: Executor | None = None) -> list[dict[str, Any]]:
    """Morris screening of injury and amplification in the cortex: one row a driver, the strongest first.

    ``injury`` and ``production``: mean absolute elementary effect (mu*) over the whole range, with the half-width of
    its 95 % interval by resampling paths; ``*_spread``: standard deviation of the effects (interaction, bends).
    Injury is the mean of the last 12 h; production is that of IL-6, as log10 of one plus pg/mL/h.
    """
    design = driver_design(settings, seed)
    runs = (executor or Serial()).map(_run, [_driver_job(course, settings, seed, row) for row in design], "drivers")
    return driver_rows(design, runs, settings, seed)


def _space() -> dict[str, Any]:
    names = driver_names()
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}


def driver_design(settings: Settings, seed: int) -> Array:
    """The points of the screening, shape (runs, drivers), each a share of its driver's range."""
    from SALib.sample import morris as sample

    return np.asarray(sample.sample(_space(), settings.paths, num_levels=settings.levels, seed=seed))


def driver_rows(design: Array, runs: Sequence[BrainCourse], settings: Settings, seed: int) -> list[dict[str, Any]]:
    """What :func:`drivers` returns, from the runs of its design."""
    from SALib.analyze import morris as analyse

    late = settings.driver_hours - 12
    il6 = runs[0].substances.index("IL6")
    outcomes = {
        "injury": np.array([float(r.mean("injury", late)) for r in runs]),
        "production": np.array([np.log10(1 + float(r.mean("production", late)[il6])) for r in runs]),
    }
    rows: list[dict[str, Any]] = [{"driver": name} for name in driver_names()]
    for what, y in outcomes.items():
        made = analyse.analyze(_space(), design, y, num_levels=settings.levels, seed=seed)
        for i, row in enumerate(rows):
            row |= {what: float(made["mu_star"][i]), f"{what}_half_width": float(made["mu_star_conf"][i]),
                    f"{what}_direction": float(made["mu"][i]), f"{what}_spread": float(made["sigma"][i])}  # fmt: skip
    return sorted(rows, key=lambda row: -row["injury"])


def _driver_job(course: Course, settings: Settings, seed: int, shares: Array) -> _Job:
    at = dict(zip(driver_names(), shares, strict=True))
    known = numbers().parameters
    changed = {name: known[name].at(share) for name, share in at.items() if name in known}
    place = region_of("cortex")
    # Densities over a factor of four, from half to twice the cortex's; the barrier's loss from none to 0.6; levels in
    # plasma from the typical patient's peak to ten times that.
    dense = {name: getattr(place, name) * 4.0 ** (at[name] - 0.5) for name in DENSITIES}
    factor = 10.0 ** at["plasma"]
    return _Job(
        Region(**{**vars(place), **dense}),
        _steady(course, factor, 0.6 * at["barrier loss"]),
        settings.driver_hours,
        seed,
        {**changed, "box_um": settings.box_um},
    )


def _steady(course: Course, factor: float, loss: float) -> MacroInput:
    peak = course.peak
    return steady_input({n: factor * peak[n] for n in FROM_BLOOD}, 1 - loss, factor * peak["cells"])


def regional(course: Course, settings: Settings, seed: int, executor: Executor | None = None) -> list[dict[str, Any]]:
    """Injury and production by region under the typical patient's course, with equal barriers and with weighted ones.

    One row a region and barrier: mean over replicates and its standard error; the highest injury over time.
    """
    cases = [(name, weighted, k) for name in numbers().regions for weighted in (False, True)
             for k in range(settings.replicates)]  # fmt: skip
    jobs = []
    for name, weighted, k in cases:
        place = region_of(name)
        # A loss that a weight multiplies at its source: odds of loss are proportional to the weight.
        odds = course.loss / (1 - course.loss) * (place.barrier_weight if weighted else 1.0)
        macro = MacroInput(course.time_h, course.plasma, 1 / (1 + odds), course.circulating)
        jobs.append(_Job(place, macro, settings.region_hours, seed + k, {}))
    runs = (executor or Serial()).map(_run, jobs, "regions")
    rows = []
    for name in numbers().regions:
        for weighted in (False, True):
            own = [r for case, r in zip(cases, runs, strict=True) if case[:2] == (name, weighted)]
            rows.append({"region": name, "barrier": "weighted" if weighted else "equal", **_summary(own)})
    return rows


def _summary(runs: Sequence[BrainCourse]) -> dict[str, float]:
    il6 = runs[0].substances.index("IL6")
    columns = {
        "injury": [float(r.injury.max()) for r in runs],
        "production": [float(r.production[:, il6].max()) for r in runs],
        "amplification": [r.amplification() for r in runs],
        "active": [float(r.active.max()) for r in runs],
        "plugged": [float(r.plugged.max()) for r in runs],
        "t_cells": [float(r.t_cells.max()) for r in runs],
        "clearance": [_settled(r.clearance[:, il6]) for r in runs],
    }
    made = {}
    for name, values in columns.items():
        made[name] = float(np.mean(values))
        made[f"{name}_se"] = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return made


def ranking(rows: Sequence[dict[str, Any]], barrier: str) -> tuple[list[str], float]:
    """Regions from the most injured on, and Kendall's tau-b with the order on MRI (1 the same, -1 reversed)."""
    from scipy.stats import kendalltau

    own = [row for row in rows if row["barrier"] == barrier]
    names = [row["region"] for row in own]
    tau = kendalltau([-row["injury"] for row in own], [MRI_RANK[name] for name in names]).statistic
    return [row["region"] for row in sorted(own, key=lambda row: -row["injury"])], float(tau)


def closure(
    course: Course, settings: Settings, seed: int, executor: Executor | None = None
) -> tuple[Closure, list[dict[str, float]]]:
    """The closure of the cortex and the runs it was fitted to.

    Cytokines and CAR T cells in blood go with IL-6 in the proportions of the typical patient's peak; production is the
    mean of the last 12 h.
    """
    peak = course.peak["IL6"]
    cases = [(c, loss, k) for c in settings.plasma for loss in settings.losses for k in range(settings.replicates)]
    jobs = [_Job(region_of("cortex"), _steady(course, c / peak, loss), settings.closure_hours, seed + k,
                 {"box_um": settings.box_um}) for c, loss, k in cases]  # fmt: skip
    runs = (executor or Serial()).map(_run, jobs, "closure")
    il6, late = runs[0].substances.index("IL6"), settings.closure_hours - 12
    rows = [
        {"plasma": c, "loss": loss, "replicate": float(k), "production": float(r.mean("production", late)[il6]),
         "active": float(r.mean("active", late)), "injury": float(r.mean("injury", late)),
         "clearance": _settled(r.clearance[:, il6]), "half_time": _half_time(r.time_h, r.production[:, il6])}
        for (c, loss, k), r in zip(cases, runs, strict=True)
    ]  # fmt: skip
    plasma, loss_, made = (np.array([row[name] for row in rows]) for name in ("plasma", "loss", "production"))
    return fit_closure(plasma, loss_, made, seed=seed), rows


def _settled(clearance: Array) -> float:
    """Median of the last half day; NaN where there was nothing to clear."""
    last = clearance[-12:]
    return float(np.nanmedian(last)) if np.isfinite(last).any() else float("nan")


def _half_time(time_h: Array, made: Array) -> float:
    """Hours until production reaches half of its last level; NaN where nothing is made."""
    end = float(made[-6:].mean())
    return float(time_h[np.argmax(made >= end / 2)]) if end > 1 else float("nan")
