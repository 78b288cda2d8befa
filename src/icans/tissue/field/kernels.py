"""Compiled loops of the explicit schemes: transport between voxels and the stages of Runge-Kutta-Legendre.

Everything is one flat array in the order (z, y, x), so that the compiler uses vector units; the transport of a row goes
into a short buffer first, which keeps the number of arrays in a loop small. A neighbour that does not exist is the
voxel itself: nothing passes a closed face. Indices are unsigned, which spares a test for negative ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from icans.tissue.field.grid import Array


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


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _same(moved: Array, c: Array, rates: Array, z: int, y: int, shape: tuple[int, int, int]) -> None:
    """Transport into row (z, y) where rates are the same everywhere."""
    nz, ny, nx = shape
    cz, cy, cx = rates[0], rates[1], rates[2]
    one, n = uintp(1), uintp(nx)
    row, plane = uintp((z * ny + y) * nx), uintp(z * ny * nx)
    north, south = plane + uintp(max(y - 1, 0) * nx), plane + uintp(min(y + 1, ny - 1) * nx)
    if nx > 1:
        last = n - one
        moved[0] = cx * (c[row + one] - c[row]) + cy * (c[north] + c[south] - 2.0 * c[row])
        for x in range(one, last):
            mid = c[row + x]
            across = c[row + x - one] + c[row + x + one] - 2.0 * mid
            moved[x] = cx * across + cy * (c[north + x] + c[south + x] - 2.0 * mid)
        moved[last] = cx * (c[row + last - one] - c[row + last]) + cy * (
            c[north + last] + c[south + last] - 2.0 * c[row + last]
        )
    else:
        moved[0] = cy * (c[north] + c[south] - 2.0 * c[row])
    if nz > 1:
        above = uintp((max(z - 1, 0) * ny + y) * nx)
        below = uintp((min(z + 1, nz - 1) * ny + y) * nx)
        for x in range(n):
            moved[x] += cz * (c[above + x] + c[below + x] - 2.0 * c[row + x])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _from(moved: Array, c: Array, row: int, other: int, come: Array, leave: Array, at: int, n: int) -> None:
    """Add to a row what comes from another and take off what goes there; ``at``: place of the rates."""
    for x in range(uintp(n)):
        moved[x] += come[uintp(at) + x] * c[uintp(other) + x] - leave[uintp(at) + x] * c[uintp(row) + x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _varying(moved: Array, c: Array, out: Array, back: Array, z: int, y: int, shape: tuple[int, int, int]) -> None:
    """Transport into row (z, y) where rates differ; ``out`` and ``back``, shape (3, voxels)."""
    nz, ny, nx = shape
    one, n = uintp(1), uintp(nx)
    row = uintp((z * ny + y) * nx)
    forth, come = out[2], back[2]
    for x in range(n):
        moved[x] = 0.0
    for x in range(one, n):
        moved[x] = forth[row + x - one] * c[row + x - one] - come[row + x - one] * c[row + x]
    for x in range(n - one):
        moved[x] += come[row + x] * c[row + x + one] - forth[row + x] * c[row + x]
    line, plane = nx, ny * nx
    at = (z * ny + y) * nx
    if y > 0:
        _from(moved, c, at, at - line, out[1], back[1], at - line, nx)
    if y < ny - 1:
        _from(moved, c, at, at + line, back[1], out[1], at, nx)
    if z > 0:
        _from(moved, c, at, at - plane, out[0], back[0], at - plane, nx)
    if z < nz - 1:
        _from(moved, c, at, at + plane, back[0], out[0], at, nx)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _moved(moved: Array, c: Array, rates: Array, out: Array, back: Array, z: int, y: int,
           shape: tuple[int, int, int]) -> None:  # fmt: skip
    if out.shape[1] > 0:
        _varying(moved, c, out, back, z, y, shape)
    else:
        _same(moved, c, rates, z, y, shape)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def slope(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
          result: Array) -> None:  # fmt: skip
    """Rate of change of one substance, pg/mL/min; everything flat, ``out`` and ``back`` (3, voxels or 0)."""
    nz, ny, nx = shape
    moved = np.empty(nx)
    for z in range(nz):
        for y in range(ny):
            _moved(moved, c, rates, out, back, z, y, shape)
            row = uintp((z * ny + y) * nx)
            for x in range(uintp(nx)):
                result[row + x] = moved[x] + gain[row + x] - loss[row + x] * c[row + x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _stage(second: Array, first: Array, start: Array, initial: Array, loss: Array, gain: Array, rates: Array,
           out: Array, back: Array, shape: tuple[int, int, int], w: Array) -> None:  # fmt: skip
    """The next stage, in place of the stage before the last.

    Weights: of the last stage, of the one before, of the start, of the present and of the first rate of change.
    """
    nz, ny, nx = shape
    mu, nu, rest, present, early = w[0], w[1], w[2], w[3], w[4]
    moved = np.empty(nx)
    for z in range(nz):
        for y in range(ny):
            _moved(moved, first, rates, out, back, z, y, shape)
            row = uintp((z * ny + y) * nx)
            for x in range(uintp(nx)):
                moved[x] += gain[row + x] - loss[row + x] * first[row + x]
            for x in range(uintp(nx)):
                i = row + x
                known = mu * first[i] + nu * second[i] + rest * start[i]
                second[i] = known + present * moved[x] + early * initial[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def euler(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
          dt: float, work: Array) -> None:  # fmt: skip
    """One step of forward Euler of one substance, in place."""
    initial = work[0]
    slope(c, loss, gain, rates, out, back, shape, initial)
    for i in range(c.size):
        c[i] += dt * initial[i]


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
