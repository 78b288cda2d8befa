"""What each lane does between steps: take the next patient, apply events, say where to stop, choose the step.

Functions of numba, called by the driver. Nothing here depends on what other lanes do.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from icans.mechanism.doses import ADD, RATE, SET, SWITCH
from icans.mechanism.engine.layout import (
    BAD_START, DONE, MANY_DOSES, Batch, Calls, Lanes, Options, Plan,
)  # fmt: skip
from icans.mechanism.engine.vector import call_2, call_4

#: A kind of waiting event of triggers alone: look whether the threshold is still passed.
CHECK = 9
#: The first step after a start or an event, as a part of the time in which the state changes by its own size.
FIRST = 0.01


@njit
def load(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, lane: int, patient: int) -> None:  # type: ignore[no-untyped-def]
    """Put a patient into a lane, up to the events at the start."""
    w = pl.lanes
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
    for j in range(pl.inputs):
        ws[pl.rate + j * w + lane] = 0.0
    ln.slots[lane] = 0.0
    ln.patient[lane] = patient
    ln.t[lane] = bt.t_start
    ln.error[lane] = 1.0
    ln.fresh[lane] = 1
    ln.rejected[lane] = 0
    ln.steps[lane] = 0
    ln.output[lane] = bt.time_at[patient, 0]
    ln.last_output[lane] = bt.time_at[patient, 1]
    ln.event[lane] = bt.ev_at[patient, 0]
    ln.last_event[lane] = bt.ev_at[patient, 1]
    ln.end[lane] = bt.times[bt.time_at[patient, 1] - 1]
    ln.waiting[lane] = 0
    ln.side[lane] = -1
    ln.armed[lane] = -np.inf
    ln.fired[lane] = 0
    ln.stale[lane] = 1
    first_outputs(c, pl, ws, ln, bt, lane)
    set_stop(ln, bt, lane)


@njit
def first_outputs(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, lane: int) -> None:  # type: ignore[no-untyped-def]
    """Outputs at the start itself, before any event."""
    at = ln.output[lane]
    if at >= ln.last_output[lane] or bt.times[at] > bt.t_start:
        return
    patient = ln.patient[lane]
    call_4(ws, c.observe, pl.y, pl.q, pl.rate, pl.o)
    while ln.output[lane] < ln.last_output[lane] and bt.times[ln.output[lane]] <= bt.t_start:
        row = ln.output[lane] - bt.time_at[patient, 0]
        for j in range(pl.outputs):
            bt.values[patient, row, j] = ws[pl.o + j * pl.lanes + lane]
        ln.output[lane] += 1


@njit
def set_stop(ln: Lanes, bt: Batch, lane: int) -> None:
    """The next time at which the lane must end a step exactly."""
    stop = ln.end[lane]
    if ln.event[lane] < ln.last_event[lane]:
        stop = min(stop, bt.ev_time[ln.event[lane]])
    if ln.waiting[lane] > 0:
        stop = min(stop, ln.wait_time[lane, 0])
    ln.stop[lane] = stop


@njit
def apply_events(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, lane: int) -> None:  # type: ignore[no-untyped-def]
    """Everything due by now, doses before resets before switches; then the next stop."""
    switched = False
    t = ln.t[lane]
    while True:
        own = ln.event[lane] < ln.last_event[lane] and bt.ev_time[ln.event[lane]] <= t
        waits = ln.waiting[lane] > 0 and ln.wait_time[lane, 0] <= t
        if own and waits:
            own = bt.ev_kind[ln.event[lane]] <= ln.wait_kind[lane, 0]
        if own:
            at = ln.event[lane]
            kind, place, value, slot = bt.ev_kind[at], bt.ev_place[at], bt.ev_value[at], 0
            ln.event[lane] += 1
        elif waits:
            kind, place, value = ln.wait_kind[lane, 0], ln.wait_place[lane, 0], ln.wait_value[lane, 0]
            slot = ln.wait_slot[lane, 0]
            forget_first(ln, lane)
        else:
            break
        switched |= apply_one(pl, ws, ln, bt, lane, kind, place, value, slot)
    if switched:
        call_2(ws, c.prepare, pl.p, pl.q)
    set_stop(ln, bt, lane)


@njit
def apply_one(pl: Plan, ws, ln: Lanes, bt: Batch, lane: int, kind: int, place: int, value: float, slot: int) -> bool:  # type: ignore[no-untyped-def]
    """One event; True if parameters changed."""
    w = pl.lanes
    if kind == ADD:
        ws[pl.y + place * w + lane] += value
    elif kind == RATE:
        ln.slots[lane, slot, place] = value
        total = 0.0
        for k in range(ln.slots.shape[1]):
            total += ln.slots[lane, k, place]
        ws[pl.rate + place * w + lane] = total
    elif kind == SET:
        ws[pl.y + place * w + lane] = value
    elif kind == SWITCH:
        ws[pl.p + place * w + lane] = value
    elif bt.tr_sustained[place]:  # CHECK: the trigger fires again if its quantity is still beyond the threshold
        ln.side[lane, place] = -1
    ln.stale[lane] = 1
    if kind != CHECK:
        ln.fresh[lane] = 1
    return kind == SWITCH


@njit
def forget_first(ln: Lanes, lane: int) -> None:
    """Drop the first waiting event."""
    last = ln.waiting[lane] - 1
    for k in range(last):
        ln.wait_time[lane, k] = ln.wait_time[lane, k + 1]
        ln.wait_kind[lane, k] = ln.wait_kind[lane, k + 1]
        ln.wait_place[lane, k] = ln.wait_place[lane, k + 1]
        ln.wait_value[lane, k] = ln.wait_value[lane, k + 1]
        ln.wait_slot[lane, k] = ln.wait_slot[lane, k + 1]
    ln.waiting[lane] = last


@njit
def wait(ln: Lanes, lane: int, time: float, kind: int, place: int, value: float, slot: int) -> bool:
    """Put an event among the waiting ones, in order of time and kind; False if there is no room."""
    k = ln.waiting[lane]
    if k >= ln.wait_time.shape[1]:
        return False
    while k > 0 and (
        ln.wait_time[lane, k - 1] > time or (ln.wait_time[lane, k - 1] == time and ln.wait_kind[lane, k - 1] > kind)
    ):
        ln.wait_time[lane, k] = ln.wait_time[lane, k - 1]
        ln.wait_kind[lane, k] = ln.wait_kind[lane, k - 1]
        ln.wait_place[lane, k] = ln.wait_place[lane, k - 1]
        ln.wait_value[lane, k] = ln.wait_value[lane, k - 1]
        ln.wait_slot[lane, k] = ln.wait_slot[lane, k - 1]
        k -= 1
    ln.wait_time[lane, k] = time
    ln.wait_kind[lane, k] = kind
    ln.wait_place[lane, k] = place
    ln.wait_value[lane, k] = value
    ln.wait_slot[lane, k] = slot
    ln.waiting[lane] += 1
    return True


@njit
def first_step(pl: Plan, ws, lane: int) -> float:  # type: ignore[no-untyped-def]
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
def choose_step(pl: Plan, ws, op: Options, ln: Lanes, lane: int) -> bool:  # type: ignore[no-untyped-def]
    """Set the step of this attempt; False if the state or its rate is not finite."""
    if ln.fresh[lane]:
        ln.h[lane] = first_step(pl, ws, lane)
        if np.isnan(ln.h[lane]):
            ln.h_used[lane] = 1.0
            return False
        ln.fresh[lane] = 0
        ln.error[lane] = 1.0
    h = min(ln.h[lane], op.h_max)
    if op.fixed > 0:
        h = op.fixed
    left = ln.stop[lane] - ln.t[lane]
    ln.t_new[lane] = ln.t[lane] + h
    if h * 1.000001 >= left:
        h = left
        ln.t_new[lane] = ln.stop[lane]
    elif 2 * h > left and op.fixed <= 0:  # two equal steps rather than a long and a very short one
        h = 0.5 * left
        ln.t_new[lane] = ln.t[lane] + h
    ln.h_used[lane] = h
    return True


@njit
def finish(pl: Plan, ws, ln: Lanes, bt: Batch, lane: int, status: int) -> None:  # type: ignore[no-untyped-def]
    """Close a patient and leave the lane idle."""
    patient, w = ln.patient[lane], pl.lanes
    bt.status[patient] = status
    bt.steps[patient, 0], bt.steps[patient, 1] = ln.steps[lane], ln.rejected[lane]
    if status == DONE:
        if bt.y_end.shape[0] > 0:
            for i in range(pl.n):
                bt.y_end[patient, i] = ws[pl.y + i * w + lane]
    else:
        bt.fail_time[patient] = ln.t[lane]
        bt.fail_state[patient] = worst_state(pl, ws, lane, status)
        for j in range(ln.output[lane] - bt.time_at[patient, 0], bt.values.shape[1]):
            bt.values[patient, j, :] = np.nan
    ln.patient[lane] = -1


@njit
def worst_state(pl: Plan, ws, lane: int, status: int) -> int:  # type: ignore[no-untyped-def]
    """The state that is not finite, or else has the largest error."""
    w, worst, most = pl.lanes, -1, -1.0
    if status == MANY_DOSES:
        return -1
    for i in range(pl.n):
        at = i * w + lane
        if not np.isfinite(ws[pl.y + at] + ws[pl.f + at]) or (status != BAD_START and not np.isfinite(ws[pl.y_new + at])):
            return i
        error = abs(ws[pl.u + (pl.stages - 1) * pl.m + at]) / (ws[pl.atol + i] + ws[pl.rtol] * abs(ws[pl.y + at]))
        if error > most:
            worst, most = i, error
    return worst
