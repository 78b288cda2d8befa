"""Steady states: integrate for a long time without doses, then Newton's method on the rates of change.

The last part is one step of backward Euler over :data:`STEP` hours, repeated: Newton's method for all purposes, but
still defined where a state does not come back to anything. States that only accumulate (nothing depends on them, not
even their own rate) have no steady state and keep their initial value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba import njit

from icans.mechanism.engine.tangent import scatter, solve_block
from icans.mechanism.engine.vector import call_2, call_4, call_5

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel

Array = npt.NDArray[np.float64]

#: Hours for which is integrated, and hours of a step of the last part.
LONG, STEP = 1e5, 1e9
#: Steps of the last part, and the change of a state (as a part of its size) below which it stands.
MOST, STANDS = 40, 1e-9
#: How far, as a part of its size, a state may be moved by the last part.
NEAR = 0.01


def accumulators(kernel: Kernel) -> npt.NDArray[np.int64]:
    """1 for states on which no rate of change depends, else 0; shape (states,)."""
    made = np.ones(kernel.n, np.int64)
    made[np.asarray(kernel.jac_cols, np.int64)] = 0
    return made


@cache
def polisher() -> Callable[..., None]:
    """Compiled ``polish(calls, plan, patterns, work, p, y, fixed, scale, s)``.

    ``y``, shape (patients, states), is brought to the steady state, NaN where none is found; ``s``, shape (patients or
    0, directions, states), gets its derivatives.
    """
    from icans.mechanism.engine.driver import sources

    version = sources("steady.py")

    def polish(calls: Any, plan: Any, pt: Any, ws: Any, p: Any, y: Any, fixed: Any, scale: Any, s: Any) -> None:
        version  # noqa: B018
        c, pl = calls[0], plan[0]
        for first in range(0, p.shape[0], pl.lanes):
            newton(c, pl, pt, ws, p, y, fixed, scale, s, first)

    made: Callable[..., None] = njit(nogil=True, cache=True)(polish)
    return made


@njit
def newton(c: Any, pl: Any, pt: Any, ws: Any, p: Any, y: Any, fixed: Any, scale: Any, s: Any, first: int) -> None:
    """The patients from ``first`` on that fill the lanes."""
    w, last = pl.lanes, p.shape[0] - 1
    for lane in range(w):
        patient = min(first + lane, last)
        for i in range(pl.parameters):
            ws[pl.p + i * w + lane] = p[patient, i]
        for i in range(pl.n):
            ws[pl.y + i * w + lane] = y[patient, i]
        ws[pl.ghinv + lane] = 1.0 / STEP
    call_2(ws, c.prepare, pl.p, pl.q)
    moved = np.full(w, np.inf)
    for _ in range(MOST):
        call_4(ws, c.rhs, pl.y, pl.q, pl.rate, pl.f)
        call_5(ws, c.factor, pl.y, pl.q, pl.rate, pl.ghinv, pl.lu)
        call_2(ws, c.solve, pl.lu, pl.f)
        for lane in range(w):
            if moved[lane] > STANDS * 1e-3:  # each patient ends by himself, whoever shares the vector
                step(pl, ws, fixed, scale, moved, lane)
    if s.shape[0] > 0:
        slopes(c, pl, pt, ws, fixed, s, first)
    for lane in range(min(w, p.shape[0] - first)):
        for i in range(pl.n):
            y[first + lane, i] = ws[pl.y + i * w + lane] if moved[lane] <= STANDS else np.nan


@njit
def slopes(c: Any, pl: Any, pt: Any, ws: Any, fixed: Any, s: Any, first: int) -> None:
    """Derivatives of the steady states: ``J s = -df/dp``."""
    w = pl.lanes
    call_5(ws, c.factor, pl.y, pl.q, pl.rate, pl.ghinv, pl.lu)
    call_4(ws, c.dfdp, pl.y, pl.q, pl.rate, pl.fp)
    for e in range(pl.ms):
        ws[pl.s + e] = 0.0
    scatter(pl, ws, pt, pl.s)
    solve_block(pl, ws, pt, pl.s)
    for lane in range(min(w, s.shape[0] - first)):
        for j in range(s.shape[1]):
            for i in range(pl.n):
                s[first + lane, j, i] = 0.0 if fixed[i] else ws[pl.s + i * pl.row + j * w + lane]


@njit
def step(pl: Any, ws: Any, fixed: Any, scale: Any, moved: Any, lane: int) -> None:
    """Add the step in one lane and note the largest relative change."""
    w, most = pl.lanes, 0.0
    for i in range(pl.n):
        if not fixed[i]:
            change = ws[pl.f + i * w + lane]
            ws[pl.y + i * w + lane] += change
            size = abs(change) / (abs(ws[pl.y + i * w + lane]) + scale[i])
            most = max(most, size) if np.isfinite(size) else np.inf
    moved[lane] = most
