"""Run a batch on threads: patients in chunks, each chunk in the lanes of one worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.mechanism.engine.layout import (
    DONE, EVENT, OPTIONS, PATIENT, REASONS, RUNNING, TRIGGER, Batch, make_calls, make_plan, make_work, make_workspace,
    one_record,
)  # fmt: skip
from icans.mechanism.engine.rodas import tableau

if TYPE_CHECKING:
    from icans.mechanism.engine.batch import Events
    from icans.mechanism.engine.kernel import Kernel
    from icans.mechanism.engine.triggers import Trigger

Array = npt.NDArray[np.float64]

#: Patients in a chunk: enough that a lane is rarely idle at its end, few enough that threads end together.
CHUNK = 64
#: Step control: memory of the last error (Gustafsson 1991, doi 10.1145/210232.210242), safety, least and largest change.
MEMORY, SAFETY, SHRINK, GROW = 0.08, 0.9, 0.2, 6.0
LOOK_S = 0.2


@dataclass(frozen=True)
class Found:
    """What a batch gave: values (patients, T, outputs), how each patient ended, steps, final states, firings."""

    values: Array
    status: npt.NDArray[np.int64]
    failures: list[tuple[int, float, str, str]]
    steps: npt.NDArray[np.int64]
    y_end: Array
    fired: Array


def run_batch(
    kernel: Kernel, parameters: Array, times: Array, events: Events, *, outputs: Sequence[str], y0: Array | None = None,
    triggers: Sequence[Trigger] = (), answers: Sequence[Events] = (), directions: Mapping[str, int] | None = None,
    rtol: float = 1e-6, atol: Array, t_start: float = 0.0, threads: int | None = None, max_steps: int = 100_000,
    fixed: float = 0.0, keep_end: bool = False, progress: bool = False, method: str = "rodas4",
) -> Found:  # fmt: skip
    """Solve every patient.

    ``kernel`` must observe ``outputs`` and what the triggers watch. Patients are numbered as in ``parameters``.
    """
    scheme = tableau(method)
    n = len(parameters)
    plan = make_plan(kernel, scheme)
    options = one_record(
        OPTIONS, gamma=scheme.gamma, exponent=1.0 / (scheme.error_order + 1), memory=MEMORY, safety=SAFETY,
        shrink=SHRINK, grow=GROW, h_max=np.inf, fixed=fixed, t_start=t_start, max_steps=max_steps,
    )  # fmt: skip
    batch = _batch(kernel, parameters, times, events, outputs, y0, triggers, answers, directions or {}, keep_end)
    capacity = sum((a.most + 2) * min(t.max_times, 8) for a, t in zip(answers, triggers))
    _solve(kernel, plan, options, batch, n, capacity, threads, scheme, atol, rtol, progress)
    status = batch.patient["status"].astype(np.int64)
    failures = [
        (int(i), float(batch.patient["fail_time"][i]), REASONS.get(int(status[i]), "not solved"),
         kernel.states[int(batch.patient["fail_state"][i])] if batch.patient["fail_state"][i] >= 0 else "")
        for i in np.flatnonzero(status != DONE)
    ]  # fmt: skip
    steps = np.stack([batch.patient["accepted"], batch.patient["rejected"]], axis=1).astype(np.int64)
    return Found(batch.values, status, failures, steps, batch.y_end, batch.fired)


def _batch(
    kernel: Kernel, parameters: Array, times: Array, events: Events, outputs: Sequence[str], y0: Array | None,
    triggers: Sequence[Trigger], answers: Sequence[Events], directions: Mapping[str, int], keep_end: bool,
) -> Batch:  # fmt: skip
    n, k = len(parameters), len(triggers)
    place = {name: i for i, name in enumerate(kernel.outputs)}
    patient = np.zeros(n, dtype=PATIENT)
    patient["time_to"], patient["status"], patient["fail_state"] = len(times), RUNNING, -1
    patient["fail_time"] = np.nan
    patient["event_from"], patient["event_to"] = events.ranges[:, 0], events.ranges[:, 1]
    rules = np.zeros(k, dtype=TRIGGER)
    for row, t in zip(rules, triggers):
        row["threshold"], row["delay"], row["lockout"] = t.threshold, t.delay_h, t.lockout_h
        row["quantity"], row["direction"] = place[t.quantity], directions[t.direction]
        row["most"], row["sustained"] = t.max_times, int(t.sustained)
    at = np.zeros((n, k, 2), dtype=np.int64)
    start = 0
    for number, mine in enumerate(answers):
        at[:, number] = mine.ranges + start
        start += len(mine.table)
    most = max((t.max_times for t in triggers), default=0)
    return Batch(
        p=parameters, y0=np.zeros((0, kernel.n)) if y0 is None else y0, patient=patient, times=times,
        events=events.table, triggers=rules,
        answers=np.concatenate([a.table for a in answers]) if answers else np.zeros(0, dtype=EVENT), answers_at=at,
        picked=np.array([place[name] for name in outputs], dtype=np.int64),
        values=np.full((n, len(times), len(outputs)), np.nan),
        y_end=np.full((n if keep_end else 0, kernel.n), np.nan), fired=np.full((n, k, most), np.nan),
    )  # fmt: skip


def _solve(
    kernel: Kernel, plan: npt.NDArray[np.void], options: npt.NDArray[np.void], batch: Batch, n: int, capacity: int,
    threads: int | None, scheme: object, atol: Array, rtol: float, progress: bool,
) -> None:  # fmt: skip
    from icans.mechanism.engine.driver import driver

    loop, calls = driver(), make_calls(kernel)
    stop = np.zeros(1, dtype=np.int64)
    workers = max(1, min(threads or os.cpu_count() or 1, -(-n // max(kernel.lanes, 1))))
    size = max(kernel.lanes, min(CHUNK, -(-n // workers)))
    starts = list(range(0, n, size))
    done = np.zeros((len(starts), 1), dtype=np.int64)

    def chunk(number: int) -> None:
        first = starts[number]
        work = make_work(plan[0], len(batch.triggers), capacity)
        space = make_workspace(plan[0], scheme, atol, rtol)  # type: ignore[arg-type]
        loop(calls, plan, options, work, batch, space, first, min(first + size, n), stop, done[number])

    if workers == 1 and not progress:
        for number in range(len(starts)):
            chunk(number)
        return
    chunk(0)  # the loop is compiled (or read from disk) once, before threads need it
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[None]] = {pool.submit(chunk, number) for number in range(1, len(starts))}
        try:
            _watch(waiting, done, n, progress)
        except BaseException:
            stop[0] = 1
            for future in waiting:
                future.cancel()
            raise


def _watch(waiting: set[Future[None]], done: npt.NDArray[np.int64], n: int, progress: bool) -> None:
    """Wait for all; pass on the first error; show how many patients are done."""
    from icans.core.progress import track

    bar = iter(track(range(n), "patients", total=n)) if progress else None
    shown = 0
    while waiting:
        finished, waiting = wait(waiting, timeout=LOOK_S)
        for future in finished:
            future.result()
        while bar is not None and shown < min(int(done.sum()), n - 1):
            next(bar)
            shown += 1
    if bar is not None:
        for _ in bar:
            pass
