"""Triggers: find on the dense output when a watched quantity passes its threshold, and give what it triggers.

Arguments as in :mod:`icans.mechanism.engine.lanes`.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from icans.mechanism.engine.lanes import finish, wait, wait_check
from icans.mechanism.engine.layout import BLOCK, MANY_DOSES
from icans.mechanism.engine.vector import between, call_4

#: Parts of a step at which the watched quantities are looked at, so that a short excursion is not overlooked.
LOOKS = 4
#: Halvings by which a passage is located: far below the resolution of time.
HALVINGS = 48


@njit
def look_at(c: Any, pl: Any, ws: Any) -> None:
    """What the kernel observes at the part ``theta`` of the step of each lane, on the dense output."""
    for e in range(pl.lanes, BLOCK):
        ws[pl.theta + e] = ws[pl.theta + e % pl.lanes]
    between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
    call_4(ws, c.observe, pl.y_stage, pl.q, pl.rate, pl.o)


@njit
def above(pl: Any, ws: Any, trigger: Any, lane: int) -> int:
    """1 if the quantity is at or above the threshold, else 0."""
    return 1 if ws[pl.o + trigger.quantity * pl.lanes + lane] >= trigger.threshold else 0


@njit
def passes(pl: Any, ws: Any, wk: Any, triggers: Any, lane: int, time: float) -> bool:
    """Whether, by the last look, a trigger that may fire by ``time`` has been passed."""
    for k in range(triggers.shape[0]):
        own, trigger = wk.watch[lane, k], triggers[k]
        if own.fired < trigger.most and time > own.armed:
            now = above(pl, ws, trigger, lane)
            if own.side >= 0 and now != own.side and trigger.direction == (1 if now == 1 else -1):
                return True
    return False


@njit
def settle(pl: Any, ws: Any, wk: Any, bt: Any, lane: int) -> None:
    """Note on which side every quantity is (the last look was at the lane's time); fire what passed."""
    me = wk.lane[lane]
    me.stale = 0
    for k in range(bt.triggers.shape[0]):
        own, trigger = wk.watch[lane, k], bt.triggers[k]
        now, before = above(pl, ws, trigger, lane), own.side
        beyond = (now == 1) == (trigger.direction == 1)
        own.side = now
        passed = beyond and (before == 1 - now or (trigger.sustained == 1 and before < 0))
        fires = passed and own.fired < trigger.most and me.t >= own.armed
        if fires and not fire(wk, bt, lane, k):
            finish(pl, ws, wk, bt, lane, MANY_DOSES)
            return


@njit
def fire(wk: Any, bt: Any, lane: int, number: int) -> bool:
    """Line up the events of a trigger; False if there is no room for them."""
    me, own, trigger = wk.lane[lane], wk.watch[lane, number], bt.triggers[number]
    if own.fired < bt.fired.shape[2]:
        bt.fired[me.patient, number, own.fired] = me.t
    slot = trigger.slot + own.fired % trigger.copies
    own.fired += 1
    own.armed = me.t + trigger.lockout
    for e in range(bt.answers_at[me.patient, number, 0], bt.answers_at[me.patient, number, 1]):
        event = bt.answers[e]
        at = me.t + trigger.delay + event.time
        if not wait(wk, lane, at, event, slot):
            return False
    if trigger.lockout > 0 and own.fired < trigger.most:
        # A stop where the lock ends: what passes before it is not taken for a passage after it.
        return wait_check(wk, lane, own.armed, number)
    return True


@njit
def cut_steps(c: Any, pl: Any, ws: Any, wk: Any, bt: Any) -> None:
    """Set ``part`` of each lane: the part of an accepted step after which it is cut because a trigger fires, or 1."""
    found = False
    for lane in range(pl.lanes):
        me = wk.lane[lane]
        me.part, me.root, me.low, me.high = 1.0, 0, 0.0, 1.0
    for look in range(1, LOOKS + 1):
        for lane in range(pl.lanes):
            ws[pl.theta + lane] = look / LOOKS
        look_at(c, pl, ws)
        for lane in range(pl.lanes):
            me = wk.lane[lane]
            if me.verdict == 1 and me.root == 0:
                time = me.t + (look / LOOKS) * me.h_used if look < LOOKS else me.t_new
                if passes(pl, ws, wk, bt.triggers, lane, time):
                    me.root, me.low, me.high = 1, (look - 1) / LOOKS, look / LOOKS
                    found = True
                else:
                    for k in range(bt.triggers.shape[0]):
                        wk.watch[lane, k].side = above(pl, ws, bt.triggers[k], lane)
    if found:
        halve(c, pl, ws, wk, bt)


@njit
def halve(c: Any, pl: Any, ws: Any, wk: Any, bt: Any) -> None:
    """Locate the passages that :func:`cut_steps` found, to the side on which they have happened."""
    for _ in range(HALVINGS):
        for lane in range(pl.lanes):
            ws[pl.theta + lane] = 0.5 * (wk.lane[lane].low + wk.lane[lane].high)
        look_at(c, pl, ws)
        for lane in range(pl.lanes):
            me = wk.lane[lane]
            if me.root == 1:
                if passes(pl, ws, wk, bt.triggers, lane, me.t + ws[pl.theta + lane] * me.h_used):
                    me.high = ws[pl.theta + lane]
                else:
                    me.low = ws[pl.theta + lane]
    for lane in range(pl.lanes):
        me = wk.lane[lane]
        if me.root == 1:
            me.part = me.high
            if me.part < 1.0:
                me.t_new = me.t + me.part * me.h_used
