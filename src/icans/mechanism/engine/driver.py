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

from icans.mechanism.engine.blocks import claim
from icans.mechanism.engine.lanes import apply_events, choose_step, finish, load, set_stop, write_values
from icans.mechanism.engine.layout import BAD_START, BLOCK, DONE, MANY_STEPS, SMALL_STEP, STOPPED
from icans.mechanism.engine.roots import cut_steps, settle
from icans.mechanism.engine.tangent import (
    observe_tangents,
    spread_theta,
    take_tangents,
    tangent_step,
    write_tangents,
)  # fmt: skip
from icans.mechanism.engine.vector import (
    add,
    between,
    blend,
    call_2,
    call_4,
    call_5,
    combine,
    mix,
    norm_1,
    norm_4,
    norm_8,
    stage,
)  # fmt: skip

#: A step below this part of the time (or of an hour) cannot advance it.
SMALLEST = 1e-14
#: How much a step shrinks when something in it is not finite.
BACK_OFF = 0.1


@njit
def attempt(c: Any, pl: Any, op: Any, ws: Any, lanes: Any) -> None:
    """One step of every lane from ``y`` to ``y_new``; ``f`` at ``y`` and the steps are given."""
    for e in range(BLOCK):
        ws[pl.hinv + e] = 1.0 / lanes[e % pl.lanes].h_used
    for lane in range(pl.lanes):
        ws[pl.ghinv + lane] = 1.0 / (op.gamma * lanes[lane].h_used)
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
def judge(op: Any, me: Any, error: float) -> int:
    """Take or reject the step of a lane and choose the next one; the status with which its patient ends, or 0."""
    if op.fixed > 0 and np.isfinite(error):
        me.verdict = 1
        me.steps += 1
        return 0
    if error <= 1.0:
        error = max(error, 1e-10)
        factor = op.safety * error ** (-op.exponent) * (me.error / error) ** op.memory
        factor = min(max(factor, op.shrink), op.grow if me.verdict != 2 else 1.0)
        if me.t_new < me.stop or me.h_used * factor > me.h:  # a step cut short by an event does not hold back the next
            me.h = me.h_used * factor
        me.error = error
        me.verdict = 1
        me.steps += 1
        return 0
    me.verdict = 2
    me.rejected += 1
    factor = BACK_OFF
    if np.isfinite(error):
        factor = max(op.shrink, op.safety * error ** (-op.exponent))
    me.h = me.h_used * factor
    if me.h < SMALLEST * max(abs(me.t), 1.0):
        return SMALL_STEP
    return MANY_STEPS if me.steps + me.rejected >= op.max_steps else 0


@njit
def dense(pl: Any, ws: Any) -> None:
    """Coefficients of the dense output of the last attempt."""
    for row in range(pl.dense_rows):
        mix(ws, pl.k + row * pl.m, pl.u, pl.u + pl.m, pl.m, pl.d + row * pl.stages, pl.stages - 1, pl.ones, pl.m)


@njit
def outputs_due(me: Any, times: Any) -> bool:
    """Whether an output lies in the accepted step."""
    return bool(me.verdict == 1 and me.output < me.last_output and times[me.output] <= me.t_new)


@njit
def write_outputs(c: Any, pl: Any, ws: Any, wk: Any, bt: Any, pt: Any) -> None:
    """Every output in the accepted steps; lanes with none left ride along."""
    w = pl.lanes
    while True:
        some = False
        for lane in range(w):
            me = wk.lane[lane]
            ws[pl.theta + lane], me.record = 1.0, -1
            if outputs_due(me, bt.times):
                ws[pl.theta + lane] = min((bt.times[me.output] - me.t) / me.h_used, 1.0)
                me.record = me.output - me.first_output
                me.output += 1
                some = True
        if not some:
            return
        spread_theta(pl, ws)
        between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
        if bt.plain.shape[0] == 0:
            call_4(ws, c.observe, pl.y_stage, pl.q, pl.rate, pl.o)
        if pl.directions > 0:
            observe_tangents(c, pl, ws, pt, pl.y_stage)
        for lane in range(w):
            me = wk.lane[lane]
            if me.record >= 0:
                if pl.directions > 0:
                    write_tangents(pl, ws, pt, bt.derivatives, me.patient, me.record, lane)
                write_values(pl, ws, bt, pl.y_stage, lane, me.patient, me.record)


@njit
def cut(pl: Any, ws: Any, wk: Any) -> None:
    """Put the state where a trigger cut the step in the place of the one at its end."""
    some = False
    for e in range(BLOCK):
        part = wk.lane[e % pl.lanes].part
        ws[pl.theta + e], ws[pl.mask + e] = part, 1.0 if part < 1.0 else 0.0
        some |= part < 1.0
    if some:
        between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
        blend(ws, pl.y_new, pl.y_stage, pl.mask, pl.m)


@njit
def advance(c: Any, pl: Any, ws: Any, wk: Any, bt: Any, pt: Any) -> None:
    """Move the lanes whose step was accepted: cut it where a trigger fires, write outputs, take the new state."""
    w, triggers = pl.lanes, bt.triggers.shape[0]
    due, moved = triggers > 0, False
    for lane in range(w):
        wk.lane[lane].part = 1.0
        due |= outputs_due(wk.lane[lane], bt.times)
        moved |= wk.lane[lane].verdict == 1
    if due or pl.directions > 0:
        dense(pl, ws)
    if pl.directions > 0 and moved:
        tangent_step(c, pl, ws, wk, pt)
    if due:
        if triggers > 0:
            cut_steps(c, pl, ws, wk, bt)
        write_outputs(c, pl, ws, wk, bt, pt)
        cut(pl, ws, wk)
    for e in range(BLOCK):
        ws[pl.mask + e] = 1.0 if wk.lane[e % w].verdict == 1 else 0.0
    blend(ws, pl.y, pl.y_new, pl.mask, pl.m)
    if pl.directions > 0:
        take_tangents(pl, ws)
    for lane in range(w):
        me = wk.lane[lane]
        if me.verdict == 1:
            me.t = me.t_new
            if me.root == 1:
                me.root, me.stale, me.fresh = 0, 1, 1


@njit
def follow(c: Any, pl: Any, op: Any, ws: Any, wk: Any, bt: Any, pt: Any, lane: int, queue: Any) -> bool:
    """Put the next patient of the queue into a lane; False if there is none."""
    if queue[0] >= bt.p.shape[0]:
        return False
    patient = claim(queue)
    if patient >= bt.p.shape[0]:  # another worker was quicker
        return False
    load(c, pl, op, ws, wk, bt, pt, lane, patient)
    return True


@njit
def arrive(c: Any, pl: Any, op: Any, ws: Any, wk: Any, bt: Any, pt: Any, queue: Any) -> None:
    """Events that are due, patients that have ended, patients that follow from the queue."""
    w, triggers = pl.lanes, bt.triggers.shape[0]
    again = True
    while again:
        again, stale = False, False
        for lane in range(w):
            me = wk.lane[lane]
            if me.patient >= 0 and me.output >= me.last_output:
                finish(pl, ws, wk, bt, lane, DONE)
            while me.patient < 0 and follow(c, pl, op, ws, wk, bt, pt, lane, queue):
                if me.output >= me.last_output:
                    finish(pl, ws, wk, bt, lane, DONE)
            if me.patient >= 0:
                if me.stop <= me.t:
                    apply_events(c, pl, ws, wk, bt, lane)
                stale |= me.stale == 1
        if triggers > 0 and stale:
            call_4(ws, c.observe, pl.y, pl.q, pl.rate, pl.o)
            for lane in range(w):
                me = wk.lane[lane]
                if me.patient >= 0 and me.stale == 1:
                    settle(pl, ws, wk, bt, lane)
                    if me.patient >= 0:
                        set_stop(wk, bt, lane)
                    again |= me.patient < 0 or me.stop <= me.t


@njit
def step_all(c: Any, pl: Any, op: Any, ws: Any, wk: Any, bt: Any, stopped: bool) -> None:
    """Choose the steps, make an attempt, judge it; lanes without a patient ride along."""
    call_4(ws, c.rhs, pl.y, pl.q, pl.rate, pl.f)
    for lane in range(pl.lanes):
        me = wk.lane[lane]
        if me.patient >= 0:
            if stopped:
                finish(pl, ws, wk, bt, lane, STOPPED)
            elif not choose_step(pl, op, ws, me, lane):
                finish(pl, ws, wk, bt, lane, BAD_START)
    attempt(c, pl, op, ws, wk.lane)
    for lane in range(pl.lanes):
        me = wk.lane[lane]
        if me.patient >= 0:
            ended = judge(op, me, np.sqrt(ws[pl.norm + lane] / pl.n))
            if ended > 0:
                finish(pl, ws, wk, bt, lane, ended)


@cache
def driver() -> Callable[..., None]:
    """The compiled loop ``run(calls, plan, options, work, batch, patterns, workspace, queue, stop)``.

    It solves patients and writes into ``batch``: those that it draws from ``queue[0]``, the number of the next one,
    which several workers may share. It gives up (patients closed as interrupted) as soon as ``stop[0]`` is not 0.
    """
    # numba's cache looks at the file of the outermost function alone: a value in its closure makes the others count.
    version = sources()

    def run(calls: Any, plan: Any, options: Any, wk: Any, bt: Any, pt: Any, ws: Any, queue: Any, stop: Any) -> None:
        version  # noqa: B018
        c, pl, op = calls[0], plan[0], options[0]
        for lane in range(pl.lanes):  # numbers that exist in every lane, also in those that stay idle
            load(c, pl, op, ws, wk, bt, pt, lane, 0)
            wk.lane[lane].patient, wk.lane[lane].h_used = -1, 1.0
        arrive(c, pl, op, ws, wk, bt, pt, queue)
        running = True
        while running:
            step_all(c, pl, op, ws, wk, bt, stop[0] != 0)
            advance(c, pl, ws, wk, bt, pt)
            if stop[0] == 0:
                arrive(c, pl, op, ws, wk, bt, pt, queue)
            running = False
            for lane in range(pl.lanes):
                running |= wk.lane[lane].patient >= 0

    made: Callable[..., None] = njit(nogil=True, cache=True)(run)
    return made


def sources(*more: str) -> str:
    """A digest of the texts that a compiled loop is made of."""
    digest = hashlib.sha256()
    for name in (
        "driver.py",
        "lanes.py",
        "layout.py",
        "roots.py",
        "sdirk.py",
        "sdirk.toml",
        "tangent.py",
        "vector.py",
        *more,
    ):
        digest.update((resources.files(__package__) / name).read_bytes())
    return digest.hexdigest()
