"""Carrying out a batch: the compiled loop in several threads, which share one queue of patients."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.mechanism.engine import layout
from icans.mechanism.engine.rodas import Tableau

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel
    from icans.mechanism.engine.simulate import Control
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]

#: Step control: safety, smallest and largest change of a step, weight of the last error (Gustafsson 1991,
#: doi 10.1145/210232.210242).
SAFETY, SHRINK, GROW, MEMORY = 0.9, 0.2, 6.0, 0.0


@dataclass(frozen=True, eq=False)
class Setup:
    """What the compiled loop needs beside a batch. ``spaces``: workspaces that no thread uses at the moment.
    ``places``: of outputs asked for before.
    """

    kernel: Kernel
    method: Tableau
    atol: Array
    rtol: float
    calls: layout.Records
    plan: layout.Records
    patterns: layout.Patterns
    options: layout.Records
    spaces: list[Array] = field(default_factory=list)
    places: dict[tuple[str, ...], layout.Ints] = field(default_factory=dict)

    def picked(self, outputs: tuple[str, ...]) -> layout.Ints:
        """Places of outputs among what the kernel observes."""
        if outputs not in self.places:
            self.places[outputs] = np.array([self.kernel.outputs.index(o) for o in outputs], np.int64)
        return self.places[outputs]

    def space(self) -> Array:
        """A workspace."""
        try:
            return self.spaces.pop()
        except IndexError:
            return layout.make_workspace(self.plan[0], self.method, self.atol, self.rtol)


def input_states(model: PatientModel) -> list[int]:
    """The state into which each input leads."""
    states = {name: i for i, name in enumerate(model.state_names)}
    return [states[i.state] for i in model.inputs]


def make_setup(
    model: PatientModel, kernel: Kernel, method: Tableau, control: Control, atol: Array, t_start: float
) -> Setup:
    """Lay out everything for one kernel, method and control."""
    options = layout.one_record(
        layout.OPTIONS, gamma=method.gamma, exponent=1.0 / (method.error_order + 1), memory=MEMORY, safety=SAFETY,
        shrink=SHRINK, grow=GROW, h_max=control.h_max, fixed=control.fixed, t_start=t_start,
        max_steps=control.max_steps,
    )  # fmt: skip
    return Setup(kernel, method, atol, control.rtol, layout.make_calls(kernel), layout.make_plan(kernel, method),
                 layout.make_patterns(kernel, input_states(model)), options)  # fmt: skip


def patients(times: Any, events: Any) -> layout.Records:
    """Patients to be solved, with their parts of the tables of times and events, (patients, 2) each."""
    made = np.zeros(len(times), dtype=layout.PATIENT)
    made["time_from"], made["time_to"] = times.T
    made["event_from"], made["event_to"] = events.T
    made["status"], made["fail_time"], made["fail_state"] = layout.RUNNING, np.nan, -1
    return made


def plain_states(model: PatientModel, outputs: tuple[str, ...]) -> layout.Ints:
    """The states that the outputs are; none if one of them is something else."""
    place = {name: i for i, name in enumerate(model.state_names)}
    return np.array([place[o] for o in outputs] if all(o in place for o in outputs) else [], np.int64)


def execute(
    setup: Setup, batch: layout.Batch, room: int = 0, threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Solve a batch; an interruption ends all threads before it is passed on.

    Parameters
    ----------
    room
        Events of triggers that may wait.
    threads
        As many as there are processors if None.
    progress
        Called now and then with the number of patients begun and of all.
    """
    from icans.mechanism.engine.driver import driver

    run, n = driver(), len(batch.p)
    workers = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    workers = max(1, min(workers, -(-n // setup.kernel.lanes)))
    stop, queue = np.zeros(1, np.int64), np.zeros(1, np.int64)

    def one() -> None:
        work, space = layout.make_work(setup.plan[0], batch.triggers, room), setup.space()
        run(setup.calls, setup.plan, setup.options, work, batch, setup.patterns, space, queue, stop)
        setup.spaces.append(space)

    if workers == 1 and progress is None:
        one()
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(one) for _ in range(workers)}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2)
                for future in finished:
                    future.result()
                if progress is not None:
                    progress(min(int(queue[0]), n), n)
        except BaseException:
            stop[0] = 1
            for future in waiting:
                future.cancel()
            raise
