"""The solver's loop: many patients in lanes of one vector, each with its own time and step.

One attempt is made in all lanes at once; afterwards every lane judges its own error, takes or repeats the step, writes
the outputs that lie in it from the dense output (so that output times never change the steps), and, at its own event
times, applies its own events. A lane whose patient has ended takes the next one. A patient that fails is closed with
the reason and leaves its lane to the next.

The loop is compiled once for all models and kept on disk by numba: kernels are called through addresses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numba import njit

from icans.mechanism.engine.lanes import apply_events, choose_step, finish, load, set_stop
from icans.mechanism.engine.layout import (
    BAD_START, BLOCK, DONE, MANY_STEPS, SMALL_STEP, STOPPED, Batch, Calls, Lanes, Options, Plan,
)  # fmt: skip
from icans.mechanism.engine.roots import cut_steps, settle
from icans.mechanism.engine.vector import (
    add, between, blend, call_2, call_4, call_5, combine, norm_1, norm_4, norm_8, stage,
)  # fmt: skip

#: A step below this part of the time (or of an hour) cannot advance it.
SMALLEST = 1e-14
#: How much a step shrinks when something in it is not finite.
BACK_OFF = 0.1


@njit
def attempt(c: Calls, pl: Plan, op: Options, ws, ln: Lanes) -> None:  # type: ignore[no-untyped-def]
    """One step of every lane from ``y`` to ``y_new``; ``f`` at ``y`` and the steps are given."""
    for e in range(BLOCK):
        ws[pl.hinv + e] = 1.0 / ln.h_used[e % pl.lanes]
    for lane in range(pl.lanes):
        ws[pl.ghinv + lane] = 1.0 / (op.gamma * ln.h_used[lane])
    call_5(ws, c.factor, pl.y, pl.q, pl.rate, pl.ghinv, pl.lu)
    combine(ws, pl.u, pl.f, pl.u, pl.m, pl.b, 0, pl.m)
    call_2(ws, c.solve, pl.lu, pl.u)
    for i in range(1, pl.stages):
        here = pl.u + i * pl.m
        stage(ws, pl.y_stage, pl.rest, pl.y, pl.u, pl.m, pl.a + i * pl.stages, pl.c + i * pl.stages, pl.hinv, i, pl.m)
        call_4(ws, c.rhs, pl.y_stage, pl.q, pl.rate, here)
        add(ws, here, pl.rest, pl.m)
        call_2(ws, c.solve, pl.lu, here)
    last = pl.u + (pl.stages - 1) * pl.m
    combine(ws, pl.y_new, pl.y_stage, last, pl.m, pl.one, 1, pl.m)
    if pl.lanes == 8:
        norm_8(ws, pl.norm, pl.y, pl.y_new, last, pl.atol, pl.rtol, pl.n)
    elif pl.lanes == 4:
        norm_4(ws, pl.norm, pl.y, pl.y_new, last, pl.atol, pl.rtol, pl.n)
    else:
        norm_1(ws, pl.norm, pl.y, pl.y_new, last, pl.atol, pl.rtol, pl.n)


@njit
def judge(pl: Plan, op: Options, ws, ln: Lanes, bt: Batch, lane: int) -> None:  # type: ignore[no-untyped-def]
    """Take or reject the step of a lane, and choose the next one."""
    error = np.sqrt(ws[pl.norm + lane] / pl.n)
    h = ln.h_used[lane]
    if op.fixed > 0 and np.isfinite(error):
        ln.verdict[lane] = 1
        ln.steps[lane] += 1
        return
    if error <= 1.0:
        error = max(error, 1e-10)
        factor = op.safety * error ** (-op.exponent) * (ln.error[lane] / error) ** op.memory
        factor = min(max(factor, op.shrink), op.grow if ln.verdict[lane] != 2 else 1.0)
        if ln.t_new[lane] < ln.stop[lane] or h * factor > ln.h[lane]:
            ln.h[lane] = h * factor
        ln.error[lane] = error
        ln.verdict[lane] = 1
        ln.steps[lane] += 1
        return
    ln.verdict[lane] = 2
    ln.rejected[lane] += 1
    factor = BACK_OFF
    if np.isfinite(error):
        factor = max(op.shrink, op.safety * error ** (-op.exponent))
    ln.h[lane] = h * factor
    if ln.h[lane] < SMALLEST * max(abs(ln.t[lane]), 1.0):
        finish(pl, ws, ln, bt, lane, SMALL_STEP)
        ln.verdict[lane] = 0
    elif ln.steps[lane] + ln.rejected[lane] >= op.max_steps:
        finish(pl, ws, ln, bt, lane, MANY_STEPS)
        ln.verdict[lane] = 0


@njit
def dense(pl: Plan, ws) -> None:  # type: ignore[no-untyped-def]
    """Coefficients of the dense output of the last attempt."""
    for row in range(pl.dense_rows):
        at = pl.k + row * pl.m
        for e in range(pl.m):
            ws[at + e] = 0.0
        combine(ws, at, at, pl.u, pl.m, pl.d + row * pl.stages, pl.stages, pl.m)


@njit
def outputs_due(ln: Lanes, bt: Batch, lane: int) -> bool:
    """Whether an output lies in the accepted step."""
    return (
        ln.verdict[lane] == 1
        and ln.output[lane] < ln.last_output[lane]
        and bt.times[ln.output[lane]] <= ln.t_new[lane]
    )  # fmt: skip


@njit
def write_outputs(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch) -> None:  # type: ignore[no-untyped-def]
    """Every output in the accepted steps; lanes with none left ride along."""
    w = pl.lanes
    while True:
        some = False
        for lane in range(w):
            ws[pl.theta + lane] = 1.0
            ln.record[lane] = -1
            if outputs_due(ln, bt, lane):
                at = ln.output[lane]
                ws[pl.theta + lane] = min((bt.times[at] - ln.t[lane]) / ln.h_used[lane], 1.0)
                ln.record[lane] = at - bt.time_at[ln.patient[lane], 0]
                ln.output[lane] += 1
                some = True
        if not some:
            return
        for e in range(w, BLOCK):
            ws[pl.theta + e] = ws[pl.theta + e % w]
        between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
        call_4(ws, c.observe, pl.y_stage, pl.q, pl.rate, pl.o)
        for lane in range(w):
            if ln.record[lane] >= 0:
                for j in range(pl.outputs):
                    bt.values[ln.patient[lane], ln.record[lane], j] = ws[pl.o + j * w + lane]


@njit
def advance(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, theta, part) -> None:  # type: ignore[no-untyped-def]
    """Move the lanes whose step was accepted: cut it where a trigger fires, write outputs, take the new state."""
    w, triggers = pl.lanes, bt.tr_quantity.shape[0]
    due = triggers > 0
    for lane in range(w):
        part[lane] = 1.0
        due |= outputs_due(ln, bt, lane)
    if due:
        dense(pl, ws)
    if triggers > 0:
        cut_steps(c, pl, ws, ln, bt, theta, part)
    cut = False
    for lane in range(w):
        if part[lane] < 1.0:
            ln.t_new[lane] = ln.t[lane] + part[lane] * ln.h_used[lane]
            cut = True
        if ln.verdict[lane] == 1 and ln.root[lane]:
            ln.stale[lane] = 1
    if due:
        write_outputs(c, pl, ws, ln, bt)
    if cut:
        for e in range(BLOCK):
            ws[pl.theta + e] = part[e % w]
        between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
        for e in range(BLOCK):
            ws[pl.mask + e] = 1.0 if part[e % w] < 1.0 else 0.0
        blend(ws, pl.y_new, pl.y_stage, pl.mask, pl.m)
    for e in range(BLOCK):
        ws[pl.mask + e] = 1.0 if ln.verdict[e % w] == 1 else 0.0
    blend(ws, pl.y, pl.y_new, pl.mask, pl.m)
    for lane in range(w):
        if ln.verdict[lane] == 1:
            ln.t[lane] = ln.t_new[lane]
            ln.root[lane] = 0


@njit
def arrive(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, following: int, last: int) -> int:  # type: ignore[no-untyped-def]
    """Events that are due, patients that have ended, patients that follow; returns the next patient in line."""
    w, triggers = pl.lanes, bt.tr_quantity.shape[0]
    again = True
    while again:
        again, stale = False, False
        for lane in range(w):
            if ln.patient[lane] >= 0 and ln.output[lane] >= ln.last_output[lane]:
                finish(pl, ws, ln, bt, lane, DONE)
            while ln.patient[lane] < 0 and following < last:
                load(c, pl, ws, ln, bt, lane, following)
                following += 1
                if ln.output[lane] >= ln.last_output[lane]:
                    finish(pl, ws, ln, bt, lane, DONE)
            if ln.patient[lane] >= 0:
                if ln.stop[lane] <= ln.t[lane]:
                    apply_events(c, pl, ws, ln, bt, lane)
                stale |= ln.stale[lane] == 1
        if triggers > 0 and stale:
            call_4(ws, c.watch, pl.y, pl.q, pl.rate, pl.g)
            for lane in range(w):
                if ln.patient[lane] >= 0 and ln.stale[lane] == 1:
                    settle(c, pl, ws, ln, bt, lane)
                    if ln.patient[lane] >= 0:
                        set_stop(ln, bt, lane)
                    again |= ln.patient[lane] < 0 or ln.stop[lane] <= ln.t[lane]
    return following


@cache
def driver() -> Callable[..., None]:
    """The compiled loop ``run(calls, plan, options, lanes, batch, work, first, last, stop, done)``.

    It solves the patients from ``first`` to before ``last``, writes into ``batch``, counts finished patients in
    ``done[0]`` and gives up (patients closed as interrupted) as soon as ``stop[0]`` is not 0.
    """
    # numba's cache looks at the file of the outermost function alone: a value in its closure makes the others count.
    version = _sources()

    def run(c: Calls, pl: Plan, op: Options, ln: Lanes, bt: Batch, ws: Any, first: int, last: int, stop: Any,
            done: Any) -> None:  # fmt: skip
        version  # noqa: B018
        w = pl.lanes
        theta, part = np.ones(w), np.ones(w)
        for lane in range(w):  # numbers that exist in every lane, also in those that stay idle
            load(c, pl, ws, ln, bt, lane, first)
            ln.patient[lane] = -1
            ln.h_used[lane] = 1.0
        following = arrive(c, pl, ws, ln, bt, first, last)
        while np.max(ln.patient) >= 0:
            call_4(ws, c.rhs, pl.y, pl.q, pl.rate, pl.f)
            for lane in range(w):
                if ln.patient[lane] < 0:
                    ln.verdict[lane] = 0
                elif stop[0] != 0:
                    finish(pl, ws, ln, bt, lane, STOPPED)
                    ln.verdict[lane] = 0
                elif not choose_step(pl, ws, op, ln, lane):
                    finish(pl, ws, ln, bt, lane, BAD_START)
                    ln.verdict[lane] = 0
            attempt(c, pl, op, ws, ln)
            for lane in range(w):
                if ln.patient[lane] >= 0:
                    judge(pl, op, ws, ln, bt, lane)
                else:
                    ln.verdict[lane] = 0
            advance(c, pl, ws, ln, bt, theta, part)
            if stop[0] == 0:
                following = arrive(c, pl, ws, ln, bt, following, last)
            done[0] = following - first

    made: Callable[..., None] = njit(nogil=True, cache=True)(run)
    return made


def _sources() -> str:
    """A digest of the texts that the compiled loop is made of."""
    digest = hashlib.sha256()
    for name in ("driver.py", "lanes.py", "layout.py", "roots.py", "vector.py"):
        digest.update((resources.files(__package__) / name).read_bytes())
    return digest.hexdigest()
