"""Compiled loops of the explicit schemes: transport between voxels and the stages of Runge-Kutta-Legendre.

Everything is one flat array in the order (z, y, x), so that the compiler uses vector units; the rate of change of a
row goes into a short buffer first where much is added to it, which keeps the number of arrays in a loop small. A
neighbour that does not exist is the voxel itself: nothing passes a closed face. Indices are unsigned, which spares a
test for negative ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from icans.tissue.compiled import renewed
from icans.tissue.field.grid import Array


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def total(base: Array, added: Array, tissue: Array, result: Array) -> float:
    """``result = tissue*(base + added)``; the largest value, or -1 if something added is negative or not finite."""
    largest, bad = 0.0, 0
    for i in range(result.size):
        value = added[i]
        bad |= not (0.0 <= value < np.inf)
        result[i] = tissue[i] * (base[i] + value)
    for i in range(result.size):
        largest = max(largest, result[i])
    return -1.0 if bad else largest


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _same(result: Array, at: int, c: Array, loss: Array, gain: Array, rates: Array, z: int, y: int,
          shape: tuple[int, int, int]) -> None:  # fmt: skip
    """Rate of change of row (z, y), from place ``at`` of ``result``, where transport is the same everywhere."""
    nz, ny, nx = shape
    cz, cy, cx = rates[0], rates[1], rates[2]
    one, n = uintp(1), uintp(nx)
    last = n - one
    to, row = uintp(at), uintp((z * ny + y) * nx)
    north, south = uintp((z * ny + max(y - 1, 0)) * nx), uintp((z * ny + min(y + 1, ny - 1)) * nx)
    for x in range(one, last):
        mid = c[row + x]
        moved = cx * (c[row + x - one] + c[row + x + one] - 2.0 * mid) + cy * (c[north + x] + c[south + x] - 2.0 * mid)
        result[to + x] = moved + gain[row + x] - loss[row + x] * mid
    for e in (uintp(0), last):
        mid = c[row + e]
        before, after = row + (e - one if e > 0 else e), row + (e + one if e < last else e)
        moved = cx * (c[before] + c[after] - 2.0 * mid) + cy * (c[north + e] + c[south + e] - 2.0 * mid)
        result[to + e] = moved + gain[row + e] - loss[row + e] * mid
    if nz > 1:
        above, below = uintp((max(z - 1, 0) * ny + y) * nx), uintp((min(z + 1, nz - 1) * ny + y) * nx)
        for x in range(n):
            result[to + x] += cz * (c[above + x] + c[below + x] - 2.0 * c[row + x])


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _from(result: Array, at: int, c: Array, row: int, other: int, come: Array, leave: Array, rate: int,
          n: int) -> None:  # fmt: skip
    """Add to a row what comes from another and take off what goes there; ``rate``: place of the rates."""
    a, r, o, k = uintp(at), uintp(row), uintp(other), uintp(rate)
    for x in range(uintp(n)):
        result[a + x] += come[k + x] * c[o + x] - leave[k + x] * c[r + x]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _varying(result: Array, at: int, c: Array, loss: Array, gain: Array, out: Array, back: Array, z: int, y: int,
             shape: tuple[int, int, int]) -> None:  # fmt: skip
    """The same where rates differ from voxel to voxel; ``out`` and ``back``, shape (3, voxels)."""
    nz, ny, nx = shape
    line, plane = nx, ny * nx
    row = (z * ny + y) * nx
    to, here = uintp(at), uintp(row)
    for x in range(uintp(nx)):
        result[to + x] = gain[here + x] - loss[here + x] * c[here + x]
    _from(result, at + 1, c, row + 1, row, out[2], back[2], row, nx - 1)
    _from(result, at, c, row, row + 1, back[2], out[2], row, nx - 1)
    if y > 0:
        _from(result, at, c, row, row - line, out[1], back[1], row - line, nx)
    if y < ny - 1:
        _from(result, at, c, row, row + line, back[1], out[1], row, nx)
    if z > 0:
        _from(result, at, c, row, row - plane, out[0], back[0], row - plane, nx)
    if z < nz - 1:
        _from(result, at, c, row, row + plane, back[0], out[0], row, nx)


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def slope(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
          result: Array) -> None:  # fmt: skip
    """Rate of change of one substance, pg/mL/min; everything flat, ``out`` and ``back`` (3, voxels or 0)."""
    nz, ny, nx = shape
    varies = out.shape[1] > 0
    for z in range(nz):
        for y in range(ny):
            if varies:
                _varying(result, (z * ny + y) * nx, c, loss, gain, out, back, z, y, shape)
            else:
                _same(result, (z * ny + y) * nx, c, loss, gain, rates, z, y, shape)


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _stage(second: Array, first: Array, start: Array, initial: Array, loss: Array, gain: Array, rates: Array,
           out: Array, back: Array, shape: tuple[int, int, int], w: Array) -> None:  # fmt: skip
    """The next stage, in place of the stage before the last.

    Weights: of the last stage, of the one before, of the start, of the present and of the first rate of change.
    """
    nz, ny, nx = shape
    mu, nu, rest, present, early = w[0], w[1], w[2], w[3], w[4]
    rate = np.empty(nx)
    varies = out.shape[1] > 0
    for z in range(nz):
        for y in range(ny):
            if varies:
                _varying(rate, 0, first, loss, gain, out, back, z, y, shape)
            else:
                _same(rate, 0, first, loss, gain, rates, z, y, shape)
            row = uintp((z * ny + y) * nx)
            for x in range(uintp(nx)):
                i = row + x
                known = mu * first[i] + nu * second[i] + rest * start[i]
                second[i] = known + present * rate[x] + early * initial[i]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def euler(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
          dt: float, work: Array) -> None:  # fmt: skip
    """One step of forward Euler of one substance, in place."""
    initial = work[0]
    slope(c, loss, gain, rates, out, back, shape, initial)
    for i in range(c.size):
        c[i] += dt * initial[i]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def legendre(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
             dt: float, weights: Array, work: Array) -> None:  # fmt: skip
    """One step of one substance in place; ``weights`` of :func:`icans.tissue.field.explicit.legendre_weights`.

    ``work``, shape (3, voxels).
    """
    initial, latest, earlier = work[0], work[1], work[2]
    slope(c, loss, gain, rates, out, back, shape, initial)
    first = weights[0, 3] * dt
    for i in range(c.size):
        latest[i] = c[i] + first * initial[i]
    for i in range(c.size):
        earlier[i] = c[i]
    w = np.empty(5)
    for j in range(1, weights.shape[0]):
        w[:] = weights[j]
        w[3] *= dt
        w[4] *= dt
        _stage(earlier, latest, c, initial, loss, gain, rates, out, back, shape, w)
        latest, earlier = earlier, latest
    for i in range(c.size):
        c[i] = latest[i]
