"""Triggers: find on the dense output when a watched quantity passes its threshold, and give what it triggers."""

from __future__ import annotations

import numpy as np
from numba import njit

from icans.mechanism.engine.lanes import CHECK, finish, wait
from icans.mechanism.engine.layout import BLOCK, MANY_DOSES, Batch, Calls, Lanes, Plan
from icans.mechanism.engine.vector import between, call_4

#: Parts of a step at which the watched quantities are looked at, so that a short excursion is not overlooked.
LOOKS = 4
#: Halvings by which a passage is located: far below the resolution of time.
HALVINGS = 48


@njit
def watch_at(c: Calls, pl: Plan, ws, theta) -> None:  # type: ignore[no-untyped-def]
    """Watched quantities at a part of the step of each lane, on the dense output."""
    for e in range(BLOCK):
        ws[pl.theta + e] = theta[e % pl.lanes]
    between(ws, pl.y_stage, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
    call_4(ws, c.watch, pl.y_stage, pl.q, pl.rate, pl.g)


@njit
def above(pl: Plan, ws, bt: Batch, trigger: int, lane: int) -> int:  # type: ignore[no-untyped-def]
    """1 if the quantity is at or above the threshold, else 0."""
    return 1 if ws[pl.g + bt.tr_quantity[trigger] * pl.lanes + lane] >= bt.tr_threshold[trigger] else 0


@njit
def passes(pl: Plan, ws, ln: Lanes, bt: Batch, lane: int, time: float) -> bool:  # type: ignore[no-untyped-def]
    """Whether, going by the last look at the watched quantities, a trigger that may fire by ``time`` has passed."""
    for k in range(bt.tr_quantity.shape[0]):
        if ln.fired[lane, k] < bt.tr_max[k] and time > ln.armed[lane, k]:
            now, before = above(pl, ws, bt, k, lane), ln.side[lane, k]
            if before >= 0 and now != before and bt.tr_direction[k] == (1 if now == 1 else -1):
                return True
    return False


@njit
def settle(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, lane: int) -> None:  # type: ignore[no-untyped-def]
    """Note on which side every quantity is (the last look was at the lane's time); fire what passed."""
    t = ln.t[lane]
    for k in range(bt.tr_quantity.shape[0]):
        now, before = above(pl, ws, bt, k, lane), ln.side[lane, k]
        beyond = (now == 1) == (bt.tr_direction[k] == 1)
        passed = beyond and (before == 1 - now or (bt.tr_sustained[k] == 1 and before < 0))
        ln.side[lane, k] = now
        if passed and ln.fired[lane, k] < bt.tr_max[k] and t >= ln.armed[lane, k]:
            if not fire(ln, bt, lane, k, t):
                finish(pl, ws, ln, bt, lane, MANY_DOSES)
                return
    ln.stale[lane] = 0


@njit
def fire(ln: Lanes, bt: Batch, lane: int, trigger: int, t: float) -> bool:
    """Line up the events of a trigger; False if there is no room for them."""
    patient = ln.patient[lane]
    if ln.fired[lane, trigger] < bt.fired.shape[2]:
        bt.fired[patient, trigger, ln.fired[lane, trigger]] = t
    ln.fired[lane, trigger] += 1
    ln.armed[lane, trigger] = t + bt.tr_lockout[trigger]
    for e in range(bt.te_at[patient, trigger, 0], bt.te_at[patient, trigger, 1]):
        at = t + bt.tr_delay[trigger] + bt.te_time[e]
        if not wait(ln, lane, at, bt.te_kind[e], bt.te_place[e], bt.te_value[e], trigger + 1):
            return False
    if bt.tr_lockout[trigger] > 0 and ln.fired[lane, trigger] < bt.tr_max[trigger]:
        # A stop where the lock ends: what passes before it is not taken for a passage after it.
        return bool(wait(ln, lane, ln.armed[lane, trigger], CHECK, trigger, 0.0, 0))
    return True


@njit
def cut_steps(c: Calls, pl: Plan, ws, ln: Lanes, bt: Batch, theta, part) -> None:  # type: ignore[no-untyped-def]
    """Set ``part[lane]``, the part of an accepted step after which it is to be cut because a trigger fires; else 1."""
    w = pl.lanes
    for lane in range(w):
        part[lane], ln.root[lane], ln.low[lane], ln.high[lane] = 1.0, 0, 0.0, 1.0
    for look in range(1, LOOKS + 1):
        theta[:] = look / LOOKS
        watch_at(c, pl, ws, theta)
        for lane in range(w):
            if ln.verdict[lane] == 1 and not ln.root[lane]:
                time = ln.t[lane] + theta[lane] * ln.h_used[lane] if look < LOOKS else ln.t_new[lane]
                if passes(pl, ws, ln, bt, lane, time):
                    ln.root[lane], ln.low[lane], ln.high[lane] = 1, (look - 1) / LOOKS, look / LOOKS
                else:
                    note(pl, ws, ln, bt, lane)
    if np.max(ln.root) == 0:
        return
    for _ in range(HALVINGS):
        for lane in range(w):
            theta[lane] = 0.5 * (ln.low[lane] + ln.high[lane])
        watch_at(c, pl, ws, theta)
        for lane in range(w):
            if ln.root[lane]:
                if passes(pl, ws, ln, bt, lane, ln.t[lane] + theta[lane] * ln.h_used[lane]):
                    ln.high[lane] = theta[lane]
                else:
                    ln.low[lane] = theta[lane]
    for lane in range(w):
        if ln.root[lane]:
            part[lane] = ln.high[lane]


@njit
def note(pl: Plan, ws, ln: Lanes, bt: Batch, lane: int) -> None:  # type: ignore[no-untyped-def]
    """Remember on which side the quantities are, where nothing fires (passing back, or while locked)."""
    for k in range(bt.tr_quantity.shape[0]):
        ln.side[lane, k] = above(pl, ws, bt, k, lane)
