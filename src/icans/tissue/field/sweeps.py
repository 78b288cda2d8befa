"""Compiled solves of tridiagonal lines, many lines at once, and the factored step made of them.

Forward: d[i] = pivot[i] d[i] - lower[i] d[i-1]; back: d[i] -= upper[i] d[i+1]. Lines along y and z are solved side by
side over x (vector units), rows along x four at a time (a row waits for itself). Coefficients are one per voxel, or,
in uniform boxes, one per place on a line.
"""

from __future__ import annotations

from numba import njit, uintp

from icans.tissue.compiled import renewed
from icans.tissue.field.grid import Array
from icans.tissue.field.kernels import slope


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _side(d: Array, low: Array, up: Array, piv: Array, start: int, count: int, stride: int, width: int) -> None:
    """Solve ``width`` lines side by side, ``stride`` between the voxels of one; coefficients per voxel."""
    s, w = uintp(stride), uintp(width)
    at = uintp(start)
    for x in range(w):
        d[at + x] *= piv[at + x]
    for _ in range(1, count):
        at += s
        for x in range(w):
            d[at + x] = piv[at + x] * d[at + x] - low[at + x] * d[at - s + x]
    for _ in range(1, count):
        at -= s
        for x in range(w):
            d[at + x] -= up[at + x] * d[at + s + x]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _side_same(d: Array, low: Array, up: Array, piv: Array, start: int, count: int, stride: int, width: int) -> None:
    """The same with coefficients per place on the line."""
    s, w = uintp(stride), uintp(width)
    at = uintp(start)
    for x in range(w):
        d[at + x] *= piv[0]
    for i in range(1, count):
        at += s
        p, q = piv[i], low[i]
        for x in range(w):
            d[at + x] = p * d[at + x] - q * d[at - s + x]
    for i in range(1, count):
        at -= s
        r = up[count - 1 - i]
        for x in range(w):
            d[at + x] -= r * d[at + s + x]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _rows(d: Array, low: Array, up: Array, piv: Array, rows: int, length: int, per_voxel: bool) -> None:
    """Solve rows of ``length`` voxels; ``per_voxel``: coefficients per voxel, else per place in the row."""
    n, one = uintp(length), uintp(1)
    last = n - one
    for four in range(rows // 4):
        a = uintp(4 * four * length)
        b = a + n
        c = b + n
        e = c + n
        ka, kb, kc, ke = (a, b, c, e) if per_voxel else (uintp(0), uintp(0), uintp(0), uintp(0))
        da, db, dc, de = d[a] * piv[ka], d[b] * piv[kb], d[c] * piv[kc], d[e] * piv[ke]
        d[a], d[b], d[c], d[e] = da, db, dc, de
        for i in range(one, n):
            da = piv[ka + i] * d[a + i] - low[ka + i] * da
            db = piv[kb + i] * d[b + i] - low[kb + i] * db
            dc = piv[kc + i] * d[c + i] - low[kc + i] * dc
            de = piv[ke + i] * d[e + i] - low[ke + i] * de
            d[a + i], d[b + i], d[c + i], d[e + i] = da, db, dc, de
        for k in range(one, n):
            j = last - k
            da = d[a + j] - up[ka + j] * da
            db = d[b + j] - up[kb + j] * db
            dc = d[c + j] - up[kc + j] * dc
            de = d[e + j] - up[ke + j] * de
            d[a + j], d[b + j], d[c + j], d[e + j] = da, db, dc, de
    for rest in range((rows - rows % 4) * length, rows * length, length):
        a = uintp(rest)
        ka = a if per_voxel else uintp(0)
        d[a] *= piv[ka]
        for i in range(one, n):
            d[a + i] = piv[ka + i] * d[a + i] - low[ka + i] * d[a + i - one]
        for k in range(one, n):
            d[a + last - k] -= up[ka + last - k] * d[a + last - k + one]


@renewed
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def factored(c: Array, loss: Array, gain: Array, rates: Array, out: Array, back: Array, shape: tuple[int, int, int],
             dt: float, lower: Array, upper: Array, pivot: Array, work: Array) -> None:  # fmt: skip
    """One factored step of one substance in place.

    ``lower``, ``upper`` and ``pivot``: shape (3, voxels) where ``out`` has voxels, else (3, longest axis).
    """
    nz, ny, nx = shape
    varies = out.shape[1] > 0
    d = work[0]
    slope(c, loss, gain, rates, out, back, shape, d)
    half = 0.5 * dt
    for i in range(d.size):
        d[i] = dt * d[i] / (1.0 + half * loss[i])
    if nx > 1:
        _rows(d, lower[2], upper[2], pivot[2], nz * ny, nx, varies)
    for z in range(nz if ny > 1 else 0):
        if varies:
            _side(d, lower[1], upper[1], pivot[1], z * ny * nx, ny, nx, nx)
        else:
            _side_same(d, lower[1], upper[1], pivot[1], z * ny * nx, ny, nx, nx)
    for y in range(ny if nz > 1 else 0):
        if varies:
            _side(d, lower[0], upper[0], pivot[0], y * nx, nz, ny * nx, nx)
        else:
            _side_same(d, lower[0], upper[0], pivot[0], y * nx, nz, ny * nx, nx)
    for i in range(d.size):
        c[i] += d[i]
