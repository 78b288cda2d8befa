"""Derivatives by parameters: the variational equation, solved along every accepted step for all parameters at once.

The derivative ``S`` of the state by the parameters obeys ``S' = J(y(t)) S + f_p(y(t))``, linear in ``S``. Each step of
the state is followed by one step of a diagonally implicit method (:mod:`icans.mechanism.engine.sdirk`) of the same
length, with ``y`` at the stages' times from the dense output: each stage takes one factorisation, shared by all
parameters, and one solution for each of them; only the first needs a product with the Jacobian. At an event whose time
depends on the parameter (a lag), ``S`` jumps by ``(f before - f after)`` times the derivative of the time.

Arguments as in :mod:`icans.mechanism.engine.lanes`; ``pt`` are the patterns of the kernel.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from icans.mechanism.doses import ADD, RATE, SET
from icans.mechanism.engine.blocks import (
    AT_ONCE,
    AT_ONCE_8,
    STAGES,
    pick_1,
    pick_4,
    pick_8,
    product_rows_1,
    product_rows_4,
    product_rows_8,
    scatter_1,
    scatter_4,
    scatter_8,
    solve_rows_1,
    solve_rows_4,
    solve_rows_8,
)  # fmt: skip
from icans.mechanism.engine.layout import BLOCK, SIDE
from icans.mechanism.engine.sdirk import sdirk
from icans.mechanism.engine.vector import between, blend, call_2, call_4, call_5, mix

_METHOD = sdirk()
GAMMA, TIMES = _METHOD.gamma, _METHOD.times
DENSE = _METHOD.dense


@njit
def scatter(pl: Any, ws: Any, pt: Any, out: int) -> None:
    """Add df/dp (as the kernel gave it) to a block of derivatives."""
    count = pt.fp_place.shape[0]
    if pl.lanes == 8:
        scatter_8(ws, out, pl.fp, pt.fp_place, pt.fp_at, 0, count)
    elif pl.lanes == 4:
        scatter_4(ws, out, pl.fp, pt.fp_place, pt.fp_at, 0, count)
    else:
        scatter_1(ws, out, pl.fp, pt.fp_place, pt.fp_at, 0, count)


@njit
def solve_block(pl: Any, ws: Any, pt: Any, out: int) -> None:
    """Solve, with the factors at hand, for all directions of a block, in place."""
    wide = pl.lanes if pl.lanes > SIDE else SIDE
    total, most = pl.row // wide, AT_ONCE_8 if pl.lanes == 8 else AT_ONCE
    for e in range(out + pl.n * pl.row, out + (pl.n + pl.apart) * pl.row):
        ws[e] = 0.0
    passes, first = -(-total // most), 0
    while passes > 0:
        count, at = -(-(total - first) // passes), out + first * wide
        if pl.lanes == 8:
            solve_rows_8(ws, pl.lu, at, count, pl.row, pt.lu_starts, pt.lu_diagonal, pt.lu_cols, pt.lu_order)
        elif pl.lanes == 4:
            solve_rows_4(ws, pl.lu, at, count, pl.row, pt.lu_starts, pt.lu_diagonal, pt.lu_cols, pt.lu_order)
        else:
            solve_rows_1(ws, pl.lu, at, count, pl.row, pt.lu_starts, pt.lu_diagonal, pt.lu_cols, pt.lu_order)
        first += count
        passes -= 1


@njit
def product_block(pl: Any, ws: Any, pt: Any, x: int, out: int) -> None:
    """``out += J x`` for all directions of a block."""
    wide = pl.lanes if pl.lanes > SIDE else SIDE
    total, most = pl.row // wide, AT_ONCE_8 if pl.lanes == 8 else AT_ONCE
    passes, first = -(-total // most), 0
    while passes > 0:
        count, at, to = -(-(total - first) // passes), x + first * wide, out + first * wide
        if pl.lanes == 8:
            product_rows_8(ws, pl.jv, at, to, count, pl.row, pt.jac_starts, pt.jac_cols)
        elif pl.lanes == 4:
            product_rows_4(ws, pl.jv, at, to, count, pl.row, pt.jac_starts, pt.jac_cols)
        else:
            product_rows_1(ws, pl.jv, at, to, count, pl.row, pt.jac_starts, pt.jac_cols)
        first += count
        passes -= 1


@njit
def tangent_step(c: Any, pl: Any, ws: Any, wk: Any, pt: Any) -> None:
    """The stages of all directions for the step just made; the last of them is the new derivative."""
    for lane in range(pl.lanes):
        ws[pl.ghinv + lane] = 1.0 / (GAMMA * wk.lane[lane].h_used)
    for e in range(BLOCK):
        ws[pl.hinv + e] = ws[pl.ghinv + e % pl.lanes]
    for i in range(STAGES):
        at = pl.y_new
        if TIMES[i] != 1.0:
            at = pl.y_stage
            for e in range(BLOCK):
                ws[pl.theta + e] = TIMES[i]
            between(ws, at, pl.y, pl.y_new, pl.k, pl.m, pl.dense_rows, pl.theta, pl.m)
        if i == 0:
            mix(ws, pl.s_u, pl.s, pl.s_u, pl.ms, pl.s_c, 0, pl.hinv, pl.ms)
            call_4(ws, c.jacobian, pl.y, pl.q, pl.rate, pl.jv)
            call_4(ws, c.dfdp, pl.y, pl.q, pl.rate, pl.fp)
            product_block(pl, ws, pt, pl.s, pl.s_u)
            scatter(pl, ws, pt, pl.s_u)
            add_rates(pl, ws, pt, pl.s_u)
        call_5(ws, c.factor, at, pl.q, pl.rate, pl.ghinv, pl.lu)
        call_4(ws, c.dfdp, at, pl.q, pl.rate, pl.fp)
        here = pl.s_u + i * pl.ms
        if i > 0:
            mix(ws, here, pl.s, pl.s_u, pl.ms, pl.s_c + i * (STAGES + 1), i, pl.hinv, pl.ms)
        scatter(pl, ws, pt, here)
        add_rates(pl, ws, pt, here)
        solve_block(pl, ws, pt, here)


@njit
def add_rates(pl: Any, ws: Any, pt: Any, out: int) -> None:
    """Derivatives of the rates of infusion."""
    w = pl.lanes
    for i in range(pl.inputs):
        for j in range(pl.directions):
            at, to = pl.rate_dp + (j * pl.inputs + i) * w, out + pt.input_state[i] * pl.row + j * w
            for lane in range(w):
                ws[to + lane] += ws[at + lane]


@njit
def take_tangents(pl: Any, ws: Any) -> None:
    """Take the new derivatives in the lanes of the mask."""
    blend(ws, pl.s, pl.s_u + (STAGES - 1) * pl.ms, pl.mask, pl.ms)


@njit
def observe_tangents(c: Any, pl: Any, ws: Any, pt: Any, y: int) -> None:
    """Derivatives of what is observed at ``y``, by states and by parameters, and those of the states it depends on.

    All at the part ``theta`` of the step of each lane; 0: before the step.
    """
    call_4(ws, c.observe_jac, y, pl.q, pl.rate, pl.oj)
    call_4(ws, c.observe_dp, y, pl.q, pl.rate, pl.op)
    for e in range(BLOCK):
        t = ws[pl.theta + e]
        for j in range(STAGES + 1):
            weight = 1.0 if j == 0 else 0.0
            if t == 1.0:  # exactly the result of the step
                weight = 1.0 if j == STAGES else 0.0
            elif t > 0.0:
                weight += t * (
                    DENSE[j, 0] + t * (DENSE[j, 1] + t * (DENSE[j, 2] + t * (DENSE[j, 3] + t * DENSE[j, 4])))
                )
            ws[pl.s_d + j * BLOCK + e] = weight
    if pl.lanes == 8:
        pick_8(ws, pl.s_at, pl.s, pl.s_u, pl.ms, pl.s_d, pl.row, pt.seen)
    elif pl.lanes == 4:
        pick_4(ws, pl.s_at, pl.s, pl.s_u, pl.ms, pl.s_d, pl.row, pt.seen)
    else:
        pick_1(ws, pl.s_at, pl.s, pl.s_u, pl.ms, pl.s_d, pl.row, pt.seen)


@njit
def write_tangents(pl: Any, ws: Any, pt: Any, out: Any, patient: int, record: int, lane: int) -> None:
    """Derivatives of one patient's outputs, as just observed, into ``out`` (patients, times, outputs, directions)."""
    w = pl.lanes
    for i in range(out.shape[2]):
        for j in range(pl.directions):
            out[patient, record, i, j] = 0.0
    for z in range(pt.oj_row.shape[0]):
        value, at, i = ws[pl.oj + z * w + lane], pl.s_at + pt.oj_seen[z] * pl.row + lane, pt.oj_row[z]
        for j in range(pl.directions):
            out[patient, record, i, j] += value * ws[at + j * w]
    for z in range(pt.op_row.shape[0]):
        out[patient, record, pt.op_row[z], pt.op_col[z]] += ws[pl.op + z * w + lane]


@njit
def load_tangents(c: Any, pl: Any, ws: Any, bt: Any, lane: int, patient: int) -> None:
    """Derivatives of a patient's initial state."""
    w, k = pl.lanes, pl.directions
    if bt.y0.shape[0] == 0:
        call_2(ws, c.initial_dp, pl.q, pl.start_dp)
    for j in range(k):
        for i in range(pl.n):
            value = 0.0
            if bt.s0.shape[0] > 0:
                value = bt.s0[patient, j, i]
            elif bt.y0.shape[0] == 0:
                value = ws[pl.start_dp + (i * k + j) * w + lane]
            ws[pl.s + i * pl.row + j * w + lane] = value
            for stage in range(STAGES):  # what a patient who failed has left is no number
                ws[pl.s_u + stage * pl.ms + i * pl.row + j * w + lane] = 0.0
        for i in range(pl.inputs):
            ws[pl.rate_dp + (j * pl.inputs + i) * w + lane] = 0.0


@njit
def moves(pl: Any, bt: Any, at: int) -> bool:
    """Whether the time of an event depends on a parameter."""
    found = False
    for j in range(pl.directions):
        found |= bt.time_dp[at, j] != 0.0
    return found


@njit
def tangent_event(pl: Any, ws: Any, bt: Any, lane: int, at: int) -> None:
    """What an event itself does to the derivatives (see :func:`tangent_jump` for what its time does)."""
    w, event = pl.lanes, bt.events[at]
    for j in range(pl.directions):
        place = pl.s + event.place * pl.row + j * w + lane
        if event.kind == ADD:
            ws[place] += bt.value_dp[at, j]
        elif event.kind == SET:
            ws[place] = 0.0
        elif event.kind == RATE:
            ws[pl.rate_dp + (j * pl.inputs + event.place) * w + lane] = bt.value_dp[at, j]


@njit
def tangent_jump(pl: Any, ws: Any, bt: Any, lane: int, at: int, before: int, after: int) -> None:
    """The jump at an event whose time depends on a parameter, from the rates of change before and after it."""
    w = pl.lanes
    for j in range(pl.directions):
        slope = bt.time_dp[at, j]
        if slope != 0.0:
            for i in range(pl.n):
                change = ws[before + i * w + lane] - ws[after + i * w + lane]
                ws[pl.s + i * pl.row + j * w + lane] += change * slope


@njit
def spread_theta(pl: Any, ws: Any) -> None:
    """Repeat the parts of the step over the whole pattern."""
    for e in range(pl.lanes, BLOCK):
        ws[pl.theta + e] = ws[pl.theta + e % pl.lanes]
