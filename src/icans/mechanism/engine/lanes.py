"""What each lane does between steps: take the next patient, apply events, say where to stop, choose the step.

Functions of numba, called by the driver. Nothing here depends on what other lanes do. Everywhere ``c`` are the
addresses of the kernel, ``pl`` the plan, ``ws`` the workspace, ``wk`` what belongs to the worker, ``bt`` the batch
(:mod:`icans.mechanism.engine.layout`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icans.mechanism.doses import ADD, RATE, SET, SWITCH
from icans.mechanism.engine.layout import BAD_START, DONE, MANY_DOSES
from icans.mechanism.engine.tangent import (
    load_tangents,
    moves,
    observe_tangents,
    spread_theta,
    tangent_event,
    tangent_jump,
    write_tangents,
)  # fmt: skip
from icans.mechanism.engine.vector import call_2, call_4

#: A kind of waiting event of triggers alone: the lock ends.
CHECK = 9
#: The first step after a start or an event, as a part of the time in which the state changes by its own size.
FIRST = 0.01
#: The shortest step to an event, as a part of the time or of an hour: with less, 1/h would be no number.
NEXT = 1e-13


@njit
def load(c: Any, pl: Any, op: Any, ws: Any, wk: Any, bt: Any, pt: Any, lane: int, patient: int) -> None:
    """Put a patient into a lane, up to the events at the start."""
    w, me, him = pl.lanes, wk.lane[lane], bt.patient[patient]
    for j in range(pl.parameters):
        ws[pl.p + j * w + lane] = bt.p[patient, j]
    call_2(ws, c.prepare, pl.p, pl.q)
    if bt.y0.shape[0] > 0:
        for i in range(pl.n):
            ws[pl.y + i * w + lane] = bt.y0[patient, i]
    else:
        call_2(ws, c.initial, pl.q, pl.y_stage)
        for i in range(pl.n):
            ws[pl.y + i * w + lane] = ws[pl.y_stage + i * w + lane]
    forget(pl, ws, wk, lane)
    me.patient, me.t, me.error, me.fresh, me.stale = patient, op.t_start, 1.0, 1, 1
    me.rejected, me.steps, me.waiting = 0, 0, 0
    if him.h_start > 0:  # goes on where it stopped
        me.h, me.fresh, me.verdict = him.h_start, 0, 1
    me.output, me.first_output, me.last_output = him.time_from, him.time_from, him.time_to
    me.event, me.last_event = him.event_from, him.event_to
    me.end = bt.times[him.time_to - 1]
    if pl.directions > 0:
        load_tangents(c, pl, ws, bt, lane, patient)
    if bt.times[me.output] <= op.t_start:  # outputs at the start itself, before any event
        call_4(ws, c.observe, pl.y, pl.q, pl.rate, pl.o)
        if pl.directions > 0:
            ws[pl.theta + lane] = 0.0
            spread_theta(pl, ws)
            observe_tangents(c, pl, ws, pt, pl.y)
        while me.output < me.last_output and bt.times[me.output] <= op.t_start:
            write_values(pl, ws, bt, pl.y, lane, patient, me.output - me.first_output)
            if pl.directions > 0:
                write_tangents(pl, ws, pt, bt.derivatives, patient, me.output - me.first_output, lane)
            me.output += 1
    set_stop(wk, bt, lane)


@njit
def write_values(pl: Any, ws: Any, bt: Any, y: int, lane: int, patient: int, record: int) -> None:
    """A patient's outputs: states from ``y`` where all of them are states, else what the kernel observed."""
    for j in range(bt.plain.shape[0]):
        bt.values[patient, record, j] = ws[y + bt.plain[j] * pl.lanes + lane]
    for j in range(bt.picked.shape[0] if bt.plain.shape[0] == 0 else 0):
        bt.values[patient, record, j] = ws[pl.o + bt.picked[j] * pl.lanes + lane]


@njit
def forget(pl: Any, ws: Any, wk: Any, lane: int) -> None:
    """No infusion runs and no trigger has fired."""
    for j in range(pl.inputs):
        ws[pl.rate + j * pl.lanes + lane] = 0.0
        for k in range(wk.slots.shape[1]):
            wk.slots[lane, k, j] = 0.0
    for k in range(wk.watch.shape[1]):
        wk.watch[lane, k].side, wk.watch[lane, k].fired, wk.watch[lane, k].armed = -1, 0, -np.inf


@njit
def set_stop(wk: Any, bt: Any, lane: int) -> None:
    """The next time at which the lane must end a step exactly."""
    me = wk.lane[lane]
    me.stop = me.end
    if me.event < me.last_event:
        me.stop = min(me.stop, bt.events[me.event].time)
    if me.waiting > 0:
        me.stop = min(me.stop, wk.wait[lane, 0].time)


@njit
def apply_events(c: Any, pl: Any, ws: Any, wk: Any, bt: Any, lane: int) -> None:
    """Everything due by now, doses before resets before switches; then the next stop."""
    switched, me = False, wk.lane[lane]
    while True:
        own = me.event < me.last_event and bt.events[me.event].time <= me.t
        waits = me.waiting > 0 and wk.wait[lane, 0].time <= me.t
        if own and waits:
            own = bt.events[me.event].kind <= wk.wait[lane, 0].kind
        if own:
            moving = pl.directions > 0 and moves(pl, bt, me.event)
            if moving:
                call_4(ws, c.rhs, pl.y, pl.q, pl.rate, pl.f)
            switched |= apply_one(pl, ws, wk, bt.triggers, lane, bt.events[me.event])
            if pl.directions > 0:
                tangent_event(pl, ws, bt, lane, me.event)
            if moving:
                call_4(ws, c.rhs, pl.y, pl.q, pl.rate, pl.rest)
                tangent_jump(pl, ws, bt, lane, me.event, pl.f, pl.rest)
            me.event += 1
        elif waits:
            switched |= apply_one(pl, ws, wk, bt.triggers, lane, wk.wait[lane, 0])
            me.waiting -= 1
            for k in range(me.waiting):
                wk.wait[lane, k] = wk.wait[lane, k + 1]
        else:
            break
    if switched:
        call_2(ws, c.prepare, pl.p, pl.q)
    set_stop(wk, bt, lane)


@njit
def apply_one(pl: Any, ws: Any, wk: Any, triggers: Any, lane: int, event: Any) -> bool:
    """One event; True if parameters changed."""
    w, me, place = pl.lanes, wk.lane[lane], event.place
    me.stale = 1
    if event.kind == CHECK:
        if triggers[place].sustained:  # fires again if its quantity is still beyond the threshold
            wk.watch[lane, place].side = -1
        return False
    me.fresh = 1
    if event.kind == ADD:
        ws[pl.y + place * w + lane] += event.value
    elif event.kind == RATE:
        wk.slots[lane, event.slot, place] = event.value
        total = 0.0
        for k in range(wk.slots.shape[1]):
            total += wk.slots[lane, k, place]
        ws[pl.rate + place * w + lane] = total
    elif event.kind == SET:
        ws[pl.y + place * w + lane] = event.value
    else:
        ws[pl.p + place * w + lane] = event.value
    return bool(event.kind == SWITCH)


@njit
def room_for(wk: Any, lane: int, time: float, kind: int) -> int:
    """A free place among the waiting events, which are in order of time and kind; -1 if there is none."""
    me, queue = wk.lane[lane], wk.wait[lane]
    k = me.waiting
    if k >= queue.shape[0]:
        return -1
    while k > 0 and (queue[k - 1].time > time or (queue[k - 1].time == time and queue[k - 1].kind > kind)):
        queue[k] = queue[k - 1]
        k -= 1
    me.waiting += 1
    return int(k)


@njit
def wait(wk: Any, lane: int, time: float, event: Any, slot: int) -> bool:
    """Put an event of a trigger among the waiting ones; False if there is no room."""
    k = room_for(wk, lane, time, event.kind)
    if k < 0:
        return False
    wk.wait[lane, k] = event
    wk.wait[lane, k].time, wk.wait[lane, k].slot = time, slot
    return True


@njit
def wait_check(wk: Any, lane: int, time: float, trigger: int) -> bool:
    """Stop where the lock of a trigger ends; False if there is no room."""
    k = room_for(wk, lane, time, CHECK)
    if k < 0:
        return False
    it = wk.wait[lane, k]
    it.time, it.kind, it.place, it.value, it.slot, it.entry = time, CHECK, trigger, 0.0, 0, -1
    return True


@njit
def first_step(pl: Any, ws: Any, lane: int) -> float:
    """A careful first step: a hundredth of the time in which the state would change by its own size."""
    w, rtol = pl.lanes, ws[pl.rtol]
    size, speed = 0.0, 0.0
    for i in range(pl.n):
        y = abs(ws[pl.y + i * w + lane])
        scale = ws[pl.atol + i] + rtol * y
        size += (y / scale) ** 2
        speed += (ws[pl.f + i * w + lane] / scale) ** 2
    if not np.isfinite(size + speed):
        return np.nan
    size, speed = np.sqrt(size / pl.n), np.sqrt(speed / pl.n)
    if speed < 1e-10:
        return 1.0
    return FIRST * max(size, 1.0) / speed


@njit
def choose_step(pl: Any, op: Any, ws: Any, me: Any, lane: int) -> bool:
    """Set the step of this attempt; False if the state or its rate is not finite."""
    if me.fresh:
        me.h = first_step(pl, ws, lane)
        if np.isnan(me.h):
            me.h_used = 1.0
            return False
        me.fresh = 0
        me.error = 1.0
        me.verdict = 1
    h = min(me.h, op.h_max)
    if op.fixed > 0:
        h = op.fixed
    left = me.stop - me.t
    if h * 1.000001 >= left:
        me.h_used, me.t_new = max(left, NEXT * max(abs(me.t), 1.0)), me.stop
        return True
    if 2 * h > left and op.fixed <= 0:  # two equal steps rather than a long and a very short one
        h = 0.5 * left
    me.h_used, me.t_new = h, me.t + h
    return True


@njit
def finish(pl: Any, ws: Any, wk: Any, bt: Any, lane: int, status: int) -> None:
    """Close a patient and leave the lane idle."""
    me = wk.lane[lane]
    patient, him = me.patient, bt.patient[me.patient]
    him.status, him.accepted, him.rejected, him.h_end = status, me.steps, me.rejected, me.h
    if status == DONE:
        if bt.y_end.shape[0] > 0:
            for i in range(pl.n):
                bt.y_end[patient, i] = ws[pl.y + i * pl.lanes + lane]
    else:
        him.fail_time = me.t
        him.fail_state = worst_state(pl, ws, lane, status)
    me.patient, me.verdict = -1, 0


@njit
def worst_state(pl: Any, ws: Any, lane: int, status: int) -> int:
    """The state that is not finite, or else has the largest error; -1 where no state is to blame."""
    w, worst, most = pl.lanes, -1, -1.0
    if status != BAD_START and status > MANY_DOSES - 1:
        return -1
    last = pl.u + (pl.stages - 1) * pl.m
    for i in range(pl.n):
        at = i * w + lane
        if not np.isfinite(ws[pl.y + at] + ws[pl.f + at]):
            return i
        error = abs(ws[last + at]) / (ws[pl.atol + i] + ws[pl.rtol] * abs(ws[pl.y + at]))
        if not np.isfinite(ws[pl.y_new + at] + error) and status != BAD_START:
            return i
        if error > most:
            worst, most = i, error
    return worst
