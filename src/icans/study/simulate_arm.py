"""One arm through the engine, in batches so that memory grows with what is kept and not with what is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.execute import Executor
from icans.mechanism.doses import Dose, Trigger
from icans.study import simulate_results as results

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel
    from icans.population.quantities import Readings
    from icans.study.simulate_setup import Patients

#: Patients integrated at a time; the same where an executor shares the work out.
BATCH, SHARED_BATCH = 2000, 250
#: Most memory for the courses that are kept, bytes; single precision is kept, which is more than any figure shows.
MEMORY = 4e9
FAILURES = ["patient", "time_h", "reason", "state"]


@dataclass(frozen=True)
class Batch:
    """Patients integrated together: ``parameters`` (n, P), one list of doses each, their ``ids``."""

    parameters: npt.NDArray[np.float64]
    doses: list[list[Dose]]
    ids: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is the same for every batch of an arm."""

    model: PatientModel
    triggers: tuple[Trigger, ...]
    times: npt.NDArray[np.float64]
    quantities: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """Results of a batch. ``values``: shape (n, Q, T); ``failures``, ``given``: as in :class:`results.ArmRun`."""

    values: npt.NDArray[np.float32]
    failures: pd.DataFrame
    given: pd.DataFrame


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


def run_batch(task: Task, threads: int | None, batch: Batch) -> Piece:
    """Simulate a batch."""
    from icans.mechanism.engine.simulate import simulate

    found = simulate(
        task.model, batch.parameters, batch.doses, task.times, outputs=task.quantities, threads=threads,
        triggers=task.triggers,
    )  # fmt: skip
    values = np.ascontiguousarray(found.values.transpose(0, 2, 1), dtype=np.float32)
    failures = [(int(batch.ids[f.patient - 1]), f.time_h, f.reason, f.state) for f in found.failures]
    told = pd.DataFrame(failures, columns=FAILURES)
    return Piece(values, told, results.given_by(found, task.triggers, batch.ids))


def run_arm(
    name: str, model: PatientModel, patients: Patients, doses: Sequence[list[Dose]], triggers: tuple[Trigger, ...],
    times: npt.NDArray[np.float64], quantities: Sequence[str], readings: Readings, threads: int | None,
    executor: Executor | None = None,
) -> results.ArmRun:  # fmt: skip
    """Simulate the patients of an arm; neither batches nor the executor change a bit of the result.

    Parameters
    ----------
    executor
        Shares the batches out, with one thread each; None: one batch after the other, in ``threads`` threads.
    """
    n = len(patients)
    size = BATCH if executor is None else SHARED_BATCH
    slices = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    batches = [Batch(patients.parameters[s], list(doses[s]), patients.ids[s]) for s in slices]
    task = Task(model, triggers, times, tuple(quantities))
    pieces: Iterator[Piece]
    if executor is None:
        pieces = map(partial(run_batch, task, threads), batches)
    else:
        pieces = iter(executor.map(partial(run_batch, task, 1), batches, name))
    values = np.empty((n, len(task.quantities), len(times)), dtype=np.float32)
    failures, given = [], []
    for rows, piece in zip(slices, pieces, strict=True):
        values[rows] = piece.values
        failures.append(piece.failures)
        given.append(piece.given)
    return arm_run(
        name,
        patients,
        readings,
        times,
        task.quantities,
        Piece(values, results.stacked(failures), results.stacked(given)),
    )


def arm_run(
    name: str, patients: Patients, readings: Readings, times: npt.NDArray[np.float64], quantities: Sequence[str],
    piece: Piece,
) -> results.ArmRun:  # fmt: skip
    """An arm from the results of all its patients."""
    series = {q: piece.values[:, place] for place, q in enumerate(quantities)}
    ok = np.asarray(np.isfinite(piece.values).all(axis=(1, 2)))
    return results.ArmRun(name, patients.ids, readings, times, series, ok, piece.failures, piece.given)
