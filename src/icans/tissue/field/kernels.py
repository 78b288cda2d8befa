"""Compiled loops of the explicit schemes: transport between voxels and the stages of Runge-Kutta-Legendre.

Rows along x are contiguous; neighbouring rows that do not exist are the row itself, so that nothing passes a closed
face. A row's transport goes into a short buffer first: few enough pointers for the compiler to use vector units.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from icans.tissue.field.grid import Array


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _combine(second: Array, first: Array, start: Array, slope: Array, moved: Array, loss: Array, gain: Array,
             w: Array) -> None:  # fmt: skip
    """One row of the next stage, in place of the stage before the last.

    Weights: of the last stage, of the one before, of the start, of the present and of the first rate of change.
    """
    mu, nu, rest, present, initial = w[0], w[1], w[2], w[3], w[4]
    for x in range(second.size):
        rate = moved[x] + gain[x] - loss[x] * first[x]
        second[x] = mu * first[x] + nu * second[x] + rest * start[x] + present * rate + initial * slope[x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _neighbours(moved: Array, row: Array, north: Array, south: Array, above: Array, below: Array,
                cz: float, cy: float, cx: float) -> None:  # fmt: skip
    """Transport into a row where rates are the same everywhere."""
    n = row.size
    left, mid, right, into = row[: n - 2], row[1 : n - 1], row[2:], moved[1 : n - 1]
    for x in range(n - 2):
        into[x] = cx * (left[x] + right[x] - 2.0 * mid[x])
    if n > 1:
        moved[0] = cx * (row[1] - row[0])
        moved[n - 1] = cx * (row[n - 2] - row[n - 1])
    else:
        moved[0] = 0.0
    for x in range(n):
        moved[x] += cy * (north[x] + south[x] - 2.0 * row[x])
    if cz > 0.0:
        for x in range(n):
            moved[x] += cz * (above[x] + below[x] - 2.0 * row[x])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _from(moved: Array, row: Array, other: Array, come: Array, leave: Array) -> None:
    """Add what comes from another row and take off what goes there."""
    for x in range(row.size):
        moved[x] += come[x] * other[x] - leave[x] * row[x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _general(moved: Array, c: Array, out: Array, back: Array, z: int, y: int) -> None:
    """Transport into a row where rates differ from voxel to voxel; ``c`` (nz, ny, nx), rates (3, nz, ny, nx)."""
    nz, ny, nx = c.shape
    row = c[z, y]
    for x in range(nx):
        moved[x] = 0.0
    if nx > 1:
        forth, come = out[2, z, y], back[2, z, y]
        _from(moved[1:], row[1:], row[: nx - 1], forth[: nx - 1], come[: nx - 1])
        _from(moved[: nx - 1], row[: nx - 1], row[1:], come[: nx - 1], forth[: nx - 1])
    if y > 0:
        _from(moved, row, c[z, y - 1], out[1, z, y - 1], back[1, z, y - 1])
    if y < ny - 1:
        _from(moved, row, c[z, y + 1], back[1, z, y], out[1, z, y])
    if z > 0:
        _from(moved, row, c[z - 1, y], out[0, z - 1, y], back[0, z - 1, y])
    if z < nz - 1:
        _from(moved, row, c[z + 1, y], back[0, z, y], out[0, z, y])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _moved(moved: Array, c: Array, rates: Array, out: Array, back: Array, general: bool, z: int, y: int) -> None:
    if general:
        _general(moved, c, out, back, z, y)
    else:
        nz, ny = c.shape[0], c.shape[1]
        _neighbours(moved, c[z, y], c[z, max(y - 1, 0)], c[z, min(y + 1, ny - 1)], c[max(z - 1, 0), y],
                    c[min(z + 1, nz - 1), y], rates[0], rates[1], rates[2])  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def slope(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, result: Array) -> None:
    """Rate of change of one substance, pg/mL/min, shape (nz, ny, nx)."""
    nz, ny, nx = c.shape
    moved = np.empty(nx)
    general = out.size > 0
    for z in range(nz):
        for y in range(ny):
            _moved(moved, c, rates, out, back, general, z, y)
            row, k, p, r = c[z, y], loss[z, y], gain[z, y], result[z, y]
            for x in range(nx):
                r[x] = moved[x] + p[x] - k[x] * row[x]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _stage(second: Array, first: Array, start: Array, initial: Array, loss: Array, gain: Array, rates: Array,
           out: Array, back: Array, w: Array) -> None:  # fmt: skip
    nz, ny, nx = first.shape
    moved = np.empty(nx)
    general = out.size > 0
    for z in range(nz):
        for y in range(ny):
            _moved(moved, first, rates, out, back, general, z, y)
            _combine(second[z, y], first[z, y], start[z, y], initial[z, y], moved, loss[z, y], gain[z, y], w)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def legendre(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, dt: float, weights: Array,
             initial: Array, one: Array, two: Array) -> None:  # fmt: skip
    """One step of one substance in place; ``weights`` of :func:`icans.tissue.field.explicit.legendre_weights`.

    Three work arrays of the shape of ``c``. One row of weights is forward Euler.
    """
    slope(c, loss, gain, rates, out, back, initial)
    nz, ny, nx = c.shape
    first = weights[0, 3] * dt
    for z in range(nz):
        for y in range(ny):
            row, made, kept, s = c[z, y], one[z, y], two[z, y], initial[z, y]
            for x in range(nx):
                made[x] = row[x] + first * s[x]
            for x in range(nx):
                kept[x] = row[x]
    latest, earlier = one, two
    w = np.empty(5)
    for j in range(1, weights.shape[0]):
        w[:] = weights[j]
        w[3] *= dt
        w[4] *= dt
        _stage(earlier, latest, c, initial, loss, gain, rates, out, back, w)
        latest, earlier = earlier, latest
    c[:] = latest
