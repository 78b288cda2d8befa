"""The hybrid: blood and barrier drive a piece of brain, which answers with production, clearance and injury.

The macro model gives, over time in hours, cytokines in plasma (above health), the integrity of the barrier and
circulating CAR T cells, as plain arrays. The piece of brain returns region averages per mL of interstitial fluid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError
from icans.tissue.agents.model import Tissue
from icans.tissue.brain.build import (
    ACTIVE,
    ASTROCYTE,
    MICROGLIA,
    NEURON,
    PRIMED,
    REACTIVE,
    T_CELL,
    UM3_PER_ML,
    brain_tissue,
)
from icans.tissue.field.grid import Array, problem
from icans.tissue.parameters import Region

#: Minutes between looks at the macro model, and between records.
LOOK_MIN = 60.0


@dataclass(frozen=True)
class MacroInput:
    """What blood does. ``plasma``: substance to shape (n,), pg/mL above health; those not named stay 0.

    ``barrier``: integrity, shape (n,), 1 intact; ``circulating``: CAR T cells/uL, shape (n,). Between times in
    ``time_h`` the course is linear; after the last it stays.

    Raises
    ------
    ModelError
        Times that do not rise, arrays of another length, negative or not finite values, a barrier above 1.
    """

    time_h: Array
    plasma: Mapping[str, Array]
    barrier: Array
    circulating: Array

    def __post_init__(self) -> None:
        time = np.atleast_1d(np.asarray(self.time_h, float))
        wrong = []
        if time.size == 0 or np.any(np.diff(time) <= 0) or not np.isfinite(time).all():
            wrong.append(problem("time_h", None, "rising times", "Sort them and leave out repetitions."))
        given = {"barrier": self.barrier, "circulating": self.circulating}
        given |= {f"plasma {name}": course for name, course in self.plasma.items()}
        for name, course in given.items():
            values = np.atleast_1d(np.asarray(course, float))
            if values.shape != time.shape:
                wrong.append(problem(name, values.shape, f"shape {time.shape}", "Give one value per time."))
            elif not (np.isfinite(values).all() and values.min() >= 0):
                wrong.append(problem(name, values.min(), "finite numbers >= 0", "Give levels above health."))
        if not wrong and float(np.max(self.barrier)) > 1:
            wrong.append(problem("barrier", np.max(self.barrier), "integrity from 0 to 1", "1 is intact."))
        if wrong:
            raise ModelError(wrong)

    def at(self, hour: float, names: tuple[str, ...]) -> tuple[Array, float, float]:
        """Plasma in the order of ``names``, barrier and circulating cells at a time."""
        plasma = np.array([np.interp(hour, self.time_h, self.plasma[n]) if n in self.plasma else 0.0 for n in names])
        return (
            plasma,
            float(np.interp(hour, self.time_h, self.barrier)),
            float(np.interp(hour, self.time_h, self.circulating)),
        )


def steady_input(plasma: Mapping[str, float], barrier: float, circulating: float) -> MacroInput:
    """The same levels all the time."""
    return MacroInput(np.zeros(1), {n: np.array([x]) for n, x in plasma.items()}, np.array([barrier]),
                      np.array([circulating]))  # fmt: skip


@dataclass(frozen=True)
class BrainCourse:
    """Region averages over time; arrays of shape (times,) or (times, substances).

    ``level`` pg/mL; ``production`` by glia and T cells and ``influx`` from blood, pg/mL/h; ``clearance``: effective
    loss, 1/h (NaN without substance); ``injury``: neurons' damage, dead ones as 1, mean of the smaller of it and 1;
    ``dead``, ``active``, ``reactive``: shares of neurons, microglia, astrocytes; ``plugged``, ``pericyte_loss``: of
    vessels; ``t_cells``: per mm3. IL6 is that made in the tissue, IL6B that from blood. LEAK is in % of plasma's
    albumin, GLU in the relative unit of the patient model.
    """

    region: str
    substances: tuple[str, ...]
    time_h: Array
    level: Array
    production: Array
    influx: Array
    clearance: Array
    injury: Array
    dead: Array
    active: Array
    reactive: Array
    plugged: Array
    pericyte_loss: Array
    t_cells: Array

    def mean(self, what: str, since_h: float = 0.0) -> npt.NDArray[np.float64]:
        """Mean over time from an hour on."""
        return np.asarray(getattr(self, what)[self.time_h >= since_h].mean(axis=0))

    def amplification(self) -> float:
        """IL-6 that the tissue makes over that which blood brings, both summed; inf where blood brings nothing."""
        made = float(self.production[:, self.substances.index("IL6")].sum())
        came = float(self.influx[:, self.substances.index("IL6B")].sum())
        return made / came if came > 0 else np.inf


def run_brain(
    region: str | Region,
    macro: MacroInput,
    hours: float,
    *,
    seed: int,
    changed: Mapping[str, float] | None = None,
    threads: int = 1,
) -> BrainCourse:
    """Let blood act on a square of a region.

    Parameters
    ----------
    region, changed, seed
        As for :func:`icans.tissue.brain.build.brain_tissue`.
    macro
        What blood and barrier do.
    hours
        Length of the run.

    Raises
    ------
    ModelError
        What building raises; plasma of a substance that the tissue does not have; less than an hour.
    """
    tissue = brain_tissue(region, changed, seed=seed, threads=threads)
    names = tissue.field.names
    wrong = [problem("plasma", n, f"one of {names}", "No such substance in the tissue.")
             for n in macro.plasma if n not in names]  # fmt: skip
    if not hours >= LOOK_MIN / 60:
        wrong.append(problem("hours", hours, f"at least {LOOK_MIN / 60:g} h", "Make the run longer."))
    if wrong:
        raise ModelError(wrong)
    rows: list[dict[str, npt.ArrayLike]] = []
    neurons = tissue.count(NEURON)
    before = tissue.field.values.reshape(len(names), -1).mean(axis=1)
    for hour in range(round(hours * 60 / LOOK_MIN)):
        _drive(tissue, macro, hour * LOOK_MIN / 60)
        tissue.run((hour + 1) * LOOK_MIN)
        row = _look(tissue, neurons)
        after = np.asarray(row["level"])
        gained = np.asarray(row["production"]) + np.asarray(row["influx"]) - (after - before) / (LOOK_MIN / 60)
        row["clearance"] = np.divide(gained, after, out=np.full(after.size, np.nan), where=after > 1e-9)
        before = after
        rows.append(row)
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return BrainCourse(region if isinstance(region, str) else region.name, names, **columns)


def _drive(tissue: Tissue, macro: MacroInput, hour: float) -> None:
    plasma, barrier, circulating = macro.at(hour, tissue.field.names)
    names = tissue.field.names
    plasma[names.index("LEAK")] = 100.0
    plasma[names.index("IL6B")], plasma[names.index("IL6")] = plasma[names.index("IL6")], 0.0
    tissue.plasma[:] = plasma
    tissue.circulating[tissue.names.kinds.index(T_CELL)] = circulating
    tissue.cells["barrier"][tissue.of("vessel")] = barrier


def _look(tissue: Tissue, neurons: int) -> dict[str, npt.ArrayLike]:
    """Averages of the moment."""
    cells, names, field_ = tissue.cells, tissue.names, tissue.field
    count, n = len(field_.names), cells.n
    fluid = field_.grid.voxel_um3 * tissue.steps.fluid_share
    fluid_ml = fluid * field_.grid.voxels / UM3_PER_ML
    first = names.behaviour_block("{} export")
    made = cells.behaviour[first : first + count, :n].sum(axis=1) * 60 / fluid_ml
    first = names.behaviour_block("{} exchange")
    opened = cells.behaviour[first : first + count, :n] * (cells["plugged"] == 0)
    x = cells["x"]
    voxel = field_.grid.voxel_of(np.clip(x[[1, 0]].T, 0, np.array(field_.grid.size_um) - 1e-9))
    flat = field_.values.reshape(count, -1)
    came = (opened * (tissue.plasma[:, None] - flat[:, voxel])).sum(axis=1) * 60 / (fluid * field_.grid.voxels)
    alive = tissue.of(NEURON) & (cells["state"] == 0)
    dead = 1 - alive.sum() / neurons
    vessels = tissue.of("vessel")
    glia = {kind: tissue.count(kind) for kind in (MICROGLIA, PRIMED, ACTIVE, ASTROCYTE, REACTIVE)}
    return {
        "time_h": tissue.time_min / 60,
        "level": flat.mean(axis=1),
        "production": made,
        "influx": came,
        "injury": (np.minimum(cells["damage"][alive], 1.0).sum() + neurons - alive.sum()) / neurons,
        "dead": dead,
        "active": glia[ACTIVE] / (glia[ACTIVE] + glia[PRIMED] + glia[MICROGLIA]),
        "reactive": glia[REACTIVE] / (glia[REACTIVE] + glia[ASTROCYTE]),
        "plugged": float((cells["plugged"][vessels] != 0).mean()),
        "pericyte_loss": float(1 - cells["pericyte"][vessels].mean()),
        "t_cells": tissue.count(T_CELL) / (field_.grid.voxel_um3 * field_.grid.voxels * 1e-9),
    }
