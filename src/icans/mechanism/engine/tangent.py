"""Derivatives by parameters: the scheme itself differentiated, step by step, with the same factors.

Stage i of a step solves ``(I/(g h) - J) u_i = f(y_i) + sum_j c_ij/h u_j``; its derivative in the direction of one
parameter solves, with the same matrix,

    ``(I/(g h) - J) u_i' = J(y_i) y_i' + f_p(y_i) + sum_j c_ij/h u_j' + J' u_i``,    ``y_i' = y' + sum_j a_ij u_j'``,

where ``J' u_i`` is ``K_i y' + J_p u_i``: second derivatives commute, so that ``K_i``, the derivative of J along
``u_i``, serves all parameters. The result is the derivative of the numbers that the solver gives for these steps, not
an approximation of its own. At an event whose time depends on the parameter (a lag), ``y'`` jumps by
``(f before - f after)`` times the derivative of the time.

Arguments as in :mod:`icans.mechanism.engine.lanes`; ``pt`` are the patterns of the kernel.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from icans.mechanism.doses import ADD, RATE, SET
from icans.mechanism.engine.layout import BLOCK
from icans.mechanism.engine.vector import (
    between,
    blend,
    call_2,
    call_4,
    call_5,
    combine,
    products_1_1,
    products_1_2,
    products_1_4,
    products_4_1,
    products_4_2,
    products_4_4,
    products_8_1,
    products_8_2,
    products_8_4,
    scatter_1,
    scatter_4,
    scatter_8,
    stage,
)  # fmt: skip


@njit
def products(pl: Any, ws: Any, pt: Any, out: int, a: int, b: int, s: int, block: int) -> None:
    """``u_i' += J(y_i) y_i' + K_i y'`` for a block of parameters."""
    by, x, m = pl.stages * pl.m, pl.s_x, pl.m
    if pl.lanes == 8:
        if block == 4:
            products_8_4(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
        elif block == 2:
            products_8_2(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
        else:
            products_8_1(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
    elif pl.lanes == 4:
        if block == 4:
            products_4_4(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
        elif block == 2:
            products_4_2(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
        else:
            products_4_1(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
    elif block == 4:
        products_1_4(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
    elif block == 2:
        products_1_2(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)
    else:
        products_1_1(ws, out, by, a, x, b, s, m, pt.starts, pt.col, pl.n)


@njit
def scatter(pl: Any, ws: Any, out: int, values: int, place: Any, row: Any, start: int, stop: int) -> None:
    """``out[row] += values[place]``."""
    if pl.lanes == 8:
        scatter_8(ws, out, values, place, row, start, stop)
    elif pl.lanes == 4:
        scatter_4(ws, out, values, place, row, start, stop)
    else:
        scatter_1(ws, out, values, place, row, start, stop)


@njit
def tangent_step(c: Any, pl: Any, ws: Any, pt: Any, dense: bool) -> None:
    """New derivatives of all directions, and the rows of their dense output if asked, for the step just made."""
    for i in range(pl.stages):
        at = pl.y
        if i > 0:
            combine(ws, pl.y_stage, pl.y, pl.u, pl.m, pl.a + i * pl.stages, i, pl.m)
            at = pl.y_stage
        call_4(ws, c.jacobian, at, pl.q, pl.rate, pl.jv + i * pl.mj)
        call_4(ws, c.dfdp, at, pl.q, pl.rate, pl.fp + i * pl.mf)
        call_5(ws, c.dj_dy, pl.y, pl.q, pl.rate, pl.u + i * pl.m, pl.kv + i * pl.mj)
    call_4(ws, c.dj_dp, pl.y, pl.q, pl.rate, pl.djp)
    first = 0
    while first < pl.directions:
        left = pl.directions - first
        block = 4 if left >= 4 else (2 if left >= 2 else 1)
        tangent_block(c, pl, ws, pt, first, block)
        for j in range(first, first + block):
            u = pl.s_u + (j - first) * pl.stages * pl.m
            x = pl.s_x + (j - first) * pl.m
            combine(ws, pl.s_new + j * pl.m, x, u + (pl.stages - 1) * pl.m, pl.m, pl.one, 1, pl.m)
            for row in range(pl.dense_rows if dense else 0):
                at = pl.s_k + (j * pl.dense_rows + row) * pl.m
                combine(ws, at, pl.zero, u, pl.m, pl.d + row * pl.stages, pl.stages, pl.m)
        first += block


@njit
def tangent_block(c: Any, pl: Any, ws: Any, pt: Any, first: int, block: int) -> None:
    """The stages of the derivatives by ``block`` parameters from ``first`` on; ``y_i'`` of the last one is kept."""
    for i in range(pl.stages):
        for d in range(block):
            u = pl.s_u + d * pl.stages * pl.m
            stage(ws, pl.s_x + d * pl.m, u + i * pl.m, pl.s + (first + d) * pl.m, u, pl.m, pl.a + i * pl.stages,
                  pl.c + i * pl.stages, pl.hinv, i, pl.m)  # fmt: skip
        products(pl, ws, pt, pl.s_u + i * pl.m, pl.jv + i * pl.mj, pl.kv + i * pl.mj, pl.s + first * pl.m, block)
        for d in range(block):
            here, j = pl.s_u + (d * pl.stages + i) * pl.m, first + d
            scatter(pl, ws, here, pl.fp + i * pl.mf, pt.fp_place, pt.fp_row, pt.fp_from[j], pt.fp_from[j + 1])
            add_by_parameter(pl, ws, pt, here, pl.u + i * pl.m, j)
            add_rates(pl, ws, pt, here, j)
            call_2(ws, c.solve, pl.lu, here)


@njit
def add_by_parameter(pl: Any, ws: Any, pt: Any, out: int, u: int, j: int) -> None:
    """``out += J_p u`` for parameter ``j``."""
    w = pl.lanes
    for z in range(pt.djp_from[j], pt.djp_from[j + 1]):
        value, to, at = pl.djp + pt.djp_place[z] * w, out + pt.djp_row[z] * w, u + pt.djp_col[z] * w
        for lane in range(w):
            ws[to + lane] += ws[value + lane] * ws[at + lane]


@njit
def add_rates(pl: Any, ws: Any, pt: Any, out: int, j: int) -> None:
    """Derivatives of the rates of infusion."""
    w = pl.lanes
    for i in range(pl.inputs):
        at, state = pl.rate_dp + (j * pl.inputs + i) * w, pt.input_state[i]
        for lane in range(w):
            if ws[at + lane] != 0.0:
                ws[out + state * w + lane] += ws[at + lane]


@njit
def take_tangents(pl: Any, ws: Any) -> None:
    """Take the new derivatives in the lanes of the mask."""
    for j in range(pl.directions):
        blend(ws, pl.s + j * pl.m, pl.s_new + j * pl.m, pl.mask, pl.m)


@njit
def tangents_between(pl: Any, ws: Any) -> None:
    """Derivatives at the part ``theta`` of the step, on the dense output."""
    for j in range(pl.directions):
        at = pl.s_k + j * pl.dense_rows * pl.m
        between(ws, pl.s_at + j * pl.m, pl.s + j * pl.m, pl.s_new + j * pl.m, at, pl.m, pl.dense_rows, pl.theta, pl.m)


@njit
def observe_tangents(c: Any, pl: Any, ws: Any, pt: Any, y: int) -> None:
    """Derivatives of what is observed at ``y``, by states and by parameters."""
    call_4(ws, c.observe_jac, y, pl.q, pl.rate, pl.oj)
    call_4(ws, c.observe_dp, y, pl.q, pl.rate, pl.op)


@njit
def write_tangents(pl: Any, ws: Any, pt: Any, out: Any, s: int, lane: int) -> None:
    """Derivatives of one patient's outputs at one time, into ``out`` (outputs, directions)."""
    w = pl.lanes
    for i in range(out.shape[0]):
        for j in range(pl.directions):
            out[i, j] = 0.0
    for z in range(pt.oj_row.shape[0]):
        value = ws[pl.oj + z * w + lane]
        for j in range(pl.directions):
            out[pt.oj_row[z], j] += value * ws[s + j * pl.m + pt.oj_col[z] * w + lane]
    for z in range(pt.op_row.shape[0]):
        out[pt.op_row[z], pt.op_col[z]] += ws[pl.op + z * w + lane]


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
            ws[pl.s + j * pl.m + i * w + lane] = value
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
        if event.kind == ADD:
            ws[pl.s + j * pl.m + event.place * w + lane] += bt.value_dp[at, j]
        elif event.kind == SET:
            ws[pl.s + j * pl.m + event.place * w + lane] = 0.0
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
                ws[pl.s + j * pl.m + i * w + lane] += change * slope


@njit
def spread_theta(pl: Any, ws: Any) -> None:
    """Repeat the parts of the step over the whole pattern."""
    for e in range(pl.lanes, BLOCK):
        ws[pl.theta + e] = ws[pl.theta + e % pl.lanes]
