"""A simulation as an array job: each shard has some of the patients in every arm. Everything in it is synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from icans.core.errors import DataError, Problem
from icans.core.execute import Executor, opened
from icans.core.progress import stage
from icans.core.provenance import now
from icans.core.shards import Job, Shard, Whole
from icans.study.folder import check_target
from icans.study.merge import PartResult, several_processors
from icans.study.shards import Made, run_shard
from icans.study.simulate import (
    Prepared,
    SimulationResult,
    prepare,
    simulate_arm,
    summarise,
    target_folder,
    write_results,
)
from icans.study.simulate_arm import Piece, arm_run
from icans.study.simulate_config import Scenario, make_scenario

if TYPE_CHECKING:
    from icans.study.simulate_results import ArmRun

KIND = "simulate"


def job_of(scenario: Scenario) -> Job:
    """The job whose items are the patients of a scenario."""
    return Job(KIND, scenario.as_dict(), scenario.patients.n)


def simulate_shard(
    scenario: Scenario,
    shard: Shard | str,
    *,
    output: Path | str | None = None,
    threads: int | None = None,
    executor: Executor | str | None = None,
) -> PartResult:
    """Simulate one shard of a scenario and write its part to ``<results folder>.parts``.

    A part that is there already is not made again, so that the same array job can be handed in until it is complete.

    Parameters
    ----------
    shard
        A shard, or its text ``i/n``.
    output
        The results folder of the whole, as in :func:`icans.study.simulate.simulate_scenario`.
    threads, executor
        As there.

    Raises
    ------
    ConfigError
        No shard, or more shards than patients.
    DataError
        There is a part of another job in its place.
    ModelError
        See :func:`icans.study.simulate.run_scenario`.
    """

    def make(rows: slice) -> Made:
        ready = prepare(scenario)
        runs = []
        with nullcontext() if executor is None else opened(executor) as where:
            for arm in scenario.arms:
                with stage(f"simulating patients {rows.start + 1} to {rows.stop} of {job.total}: {arm.name}"):
                    runs.append(simulate_arm(ready, arm, rows, threads, where))
        return (
            {f"{kind}_{k}": getattr(run, kind) for k, run in enumerate(runs) for kind in ("failures", "given")},
            {f"courses_{k}": np.stack([run.series[q] for q in ready.names], axis=1) for k, run in enumerate(runs)},
        )

    job = job_of(scenario)
    return run_shard(job, shard, target_folder(scenario, output), make)


def finish(whole: Whole, output: Path, *, overwrite: bool, command: str) -> SimulationResult:
    """The results folder of a simulation from all its parts: the tables of a run in one piece, to the byte.

    Raises
    ------
    FileExistsError
        The folder exists and must not be replaced.
    DataError
        The parts do not fit the scenario that they name.
    """
    check_target(output, overwrite)
    started, clock = now(), perf_counter()
    scenario = make_scenario(dict(whole.job.spec), file="part.json")
    ready = prepare(scenario)
    runs = _runs(whole, ready)
    seconds = {"shards, all together": whole.seconds, "merging": perf_counter() - clock}
    return write_results(summarise(ready, runs, seconds), output, overwrite=overwrite, started=started, command=command,
                         notes=several_processors(whole))  # fmt: skip


def _runs(whole: Whole, ready: Prepared) -> Sequence[ArmRun]:
    shape = (len(ready.patients), len(ready.names), len(ready.times))
    runs = []
    for k, arm in enumerate(ready.scenario.arms):
        values = whole.arrays.get(f"courses_{k}")
        if values is None or values.shape != shape:
            found = None if values is None else str(values.shape)
            remedy = "Run the shards again."
            raise DataError([Problem("parts", None, f"courses_{k}", found, f"courses of shape {shape}", remedy)])
        piece = Piece(values, whole.tables[f"failures_{k}"], whole.tables[f"given_{k}"])
        runs.append(arm_run(arm.name, ready.patients, ready.readings, ready.times, ready.names, piece))
    return runs
