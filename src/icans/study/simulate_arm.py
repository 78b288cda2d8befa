"""One arm through the engine, in batches so that memory grows with what is kept and not with what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Dose, Trigger
from icans.study import simulate_results as results

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel
    from icans.population.quantities import Readings
    from icans.study.simulate_setup import Patients

#: Patients integrated at a time.
BATCH = 2000
#: Most memory for the courses that are kept, bytes; single precision is kept, which is more than any figure shows.
MEMORY = 4e9


def check_memory(patients: int, times: int, quantities: int, arms: int) -> None:
    """Refuse what would not fit, before anything is integrated.

    Raises
    ------
    ModelError
        The courses of all arms would need more than :data:`MEMORY`.
    """
    needed = 4.0 * patients * times * quantities * arms
    if needed > MEMORY:
        raise ModelError([Problem(
            "scenario", None, "patients.n", str(patients), f"courses of at most {MEMORY / 1e9:.0f} GB",
            f"These need {needed / 1e9:.1f} GB: raise simulation.every_h, or have fewer patients, days or arms.",
        )])  # fmt: skip


def run_arm(
    name: str, model: PatientModel, patients: Patients, doses: Sequence[list[Dose]], triggers: tuple[Trigger, ...],
    times: npt.NDArray[np.float64], quantities: Sequence[str], readings: Readings, threads: int | None,
) -> results.ArmRun:  # fmt: skip
    """Simulate the patients of an arm; the batches do not change a bit of the result."""
    from icans.mechanism.engine.simulate import simulate

    n = len(patients)
    series = {q: np.empty((n, len(times)), dtype=np.float32) for q in quantities}
    failures, given = [], []
    for start in range(0, n, BATCH):
        rows = slice(start, min(start + BATCH, n))
        found = simulate(
            model, patients.parameters[rows], list(doses[rows]), times, outputs=tuple(quantities), threads=threads,
            triggers=triggers,
        )  # fmt: skip
        for place, q in enumerate(quantities):
            series[q][rows] = found.values[:, :, place]
        ids = patients.ids[rows]
        failures += [(int(ids[f.patient - 1]), f.time_h, f.reason, f.state) for f in found.failures]
        given.append(results.given_by(found, triggers, ids))
    ok = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in series.values()])
    told = pd.DataFrame(failures, columns=["patient", "time_h", "reason", "state"])
    needed = pd.concat([g for g in given if len(g)] or given[:1], ignore_index=True)
    return results.ArmRun(name, patients.ids, readings, times, series, ok, told, needed)
