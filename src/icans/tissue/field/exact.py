"""Exact propagator of transport in uniform boxes, and sources and sinks split from it.

In a box with the same coefficients everywhere the operators of the axes commute, so that a step of any length is one
dense product per axis: exp(dt T) = exp(dt T_z) exp(dt T_y) exp(dt T_x). Closed, fixed and exchange faces and a uniform
flow are parts of the axes' operators. Sources and sinks that differ from voxel to voxel are solved exactly in each
voxel for half a step before and after (Strang 1968, 10.1137/0705041), which is of second order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from icans.core.errors import ModelError
from icans.tissue.field.grid import Array, Grid, Medium, Substance, problem
from icans.tissue.field.operator import operator


@dataclass(frozen=True)
class Propagator:
    """One step of transport: per substance and axis a square matrix, and what faces bring in meanwhile.

    ``matrices[s]`` holds those of (z, y, x) (None for an axis of one closed voxel); ``brought``, shape (S, nz, ny, nx)
    or None.
    """

    dt: float
    matrices: tuple[tuple[Array | None, ...], ...]
    brought: Array | None


def propagator(grid: Grid, substances: Sequence[Substance], medium: Medium, dt: float, gain: Array) -> Propagator:
    """The propagator for steps of ``dt`` minutes; ``gain``, shape (S, nz, ny, nx), is what faces bring in per minute.

    Raises
    ------
    ModelError
        The box has a mask, heterogeneous diffusion or a flow that is not the same everywhere.
    """
    from scipy.linalg import expm

    axes = _axes(grid, substances, medium)
    decay = np.array([s.decay_per_min for s in substances])
    matrices = []
    for s in range(len(substances)):
        share = decay[s] / sum(a is not None for a in axes)
        matrices.append(tuple(None if a is None else expm(dt * (a[s] - share * np.eye(len(a[s])))) for a in axes))
    brought = _brought(axes, decay, gain, dt) if gain.any() else None
    return Propagator(dt, tuple(matrices), brought)


def _axes(grid: Grid, substances: Sequence[Substance], medium: Medium) -> list[Array | None]:
    """The operator of each axis, shape (S, n, n), without decay."""
    uneven = grid.mask is not None or medium.relative_diffusion is not None or medium.washout_per_min is not None
    if uneven or "mask" in medium.faces:
        raise ModelError([problem("scheme", "exact", "a uniform box",
                                  "The exact propagator knows neither masks nor heterogeneous diffusion:"
                                  " use 'explicit' or 'implicit'.")])  # fmt: skip
    still = [Substance(s.name, s.diffusion_um2_min) for s in substances]
    axes: list[Array | None] = [None] * (3 - grid.dimensions)
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        name = "zyx"[axis + 3 - grid.dimensions]
        faces = {f"x{side}": medium.faces[name + side] for side in "-+" if name + side in medium.faces}
        flow = None
        if medium.flow_um_min is not None:
            u = np.asarray(medium.flow_um_min[axis], float)
            if np.ptp(u) > 0:
                raise ModelError([problem("scheme", "exact", "the same flow everywhere", "Use 'explicit'.")])
            flow = [np.zeros((1, n)), np.full((1, n), u.flat[0])]
        op = operator(Grid((1, n), h), still, Medium(np.ones((1, n)), flow, faces))
        if n == 1 and not faces:
            axes.append(None)
            continue
        out, back, loss = op.out[2, :, 0, 0, :-1], op.back[2, :, 0, 0, :-1], op.loss[:, 0, 0]
        made = np.zeros((len(substances), n, n))
        i = np.arange(n - 1)
        made[:, i + 1, i], made[:, i, i + 1] = out, back
        made[:, i, i] -= out
        made[:, i + 1, i + 1] -= back
        made[:, np.arange(n), np.arange(n)] -= loss
        axes.append(made)
    if all(a is None for a in axes):
        axes[-1] = np.zeros((len(substances), 1, 1))
    return axes


def _brought(axes: list[Array | None], decay: Array, gain: Array, dt: float) -> Array:
    """What a constant gain adds in a step: the integral of exp(s T) gain from 0 to ``dt``.

    A Taylor series over a step so short that it converges, then doubled: I(2h) = I(h) + exp(h T) I(h).
    """
    from scipy.linalg import expm

    result = np.empty_like(gain)
    for s in range(len(gain)):
        own = [None if a is None else a[s] for a in axes]
        doublings, h = _halved(own, decay[s], dt)
        term = total = h * gain[s]
        for k in range(2, 12):
            parts = sum(along(a, term, axis) for axis, a in enumerate(own) if a is not None)
            term = (parts - decay[s] * term) * h / k
            total = total + term
        for _ in range(doublings):
            moved = total
            for axis, a in enumerate(own):
                if a is not None:
                    moved = along(expm(h * a), moved, axis)
            total = total + np.exp(-decay[s] * h) * moved
            h *= 2
        result[s] = total
    return result


def _halved(own: list[Array | None], decay: float, dt: float) -> tuple[int, float]:
    """How often a step must be halved, and the step then, for the series of one substance to converge."""
    size = decay + sum(np.abs(a).sum(axis=1).max() for a in own if a is not None)
    doublings = max(0, int(np.ceil(np.log2(max(size * dt / 0.1, 1.0)))))
    return doublings, dt / 2**doublings


def exposure(
    grid: Grid, substances: Sequence[Substance], medium: Medium, dt: float, gain: Array
) -> Callable[[Array, int], Array]:
    """A function of (concentrations (nz, ny, nx), substance): the integral over ``dt`` of what transport makes of them.

    With I(h) the integral of exp(s T) C and J(h) that of what faces bring: I as in :func:`_brought`, and
    J(2h) = J(h) + h I_gain(h) + exp(h T) J(h).
    """
    axes = _axes(grid, substances, medium)
    decay = np.array([s.decay_per_min for s in substances])
    come = _twice(axes, decay, gain, dt) if gain.any() else None

    def integral(c: Array, s: int) -> Array:
        own = [None if a is None else a[s : s + 1] for a in axes]
        total: Array = _brought(own, decay[s : s + 1], c[None], dt)[0]
        return total if come is None else total + come[s]

    return integral


def _twice(axes: list[Array | None], decay: Array, gain: Array, dt: float) -> Array:
    """The integral over the step of :func:`_brought`, by the same doubling."""
    from scipy.linalg import expm

    result = np.empty_like(gain)
    for s in range(len(gain)):
        own = [None if a is None else a[s] for a in axes]
        doublings, h = _halved(own, decay[s], dt)
        term = once = h * gain[s]
        twice = 0.5 * h * once
        for k in range(2, 12):
            parts = sum(along(a, term, axis) for axis, a in enumerate(own) if a is not None)
            term = (parts - decay[s] * term) * h / k
            once = once + term
            twice = twice + term * h / (k + 1)
        for _ in range(doublings):
            both = np.stack([once, twice])
            for axis, a in enumerate(own):
                if a is not None:
                    matrix = expm(h * a)
                    both = np.stack([along(matrix, each, axis) for each in both])
            both = np.exp(-decay[s] * h) * both
            twice = twice + h * once + both[1]
            once = once + both[0]
            h *= 2
        result[s] = twice
    return result


def along(matrix: Array, c: Array, axis: int) -> Array:
    """The product of a matrix with every line of ``c`` (nz, ny, nx) along an axis."""
    if axis == 2:
        return c @ matrix.T
    if axis == 1:
        return matrix @ c
    return np.tensordot(matrix, c, axes=(1, 0))


def propagate(c: Array, step: Propagator, s: int) -> Array:
    """One step of transport of substance ``s``; ``c`` of shape (nz, ny, nx)."""
    for axis in (2, 1, 0):
        matrix = step.matrices[s][axis]
        if matrix is not None:
            c = along(matrix, c, axis)
    return c if step.brought is None else c + step.brought[s]


def react(c: Array, production: Array, loss: Array, dt: float) -> None:
    """Solve dC/dt = production - loss C in every voxel for ``dt`` minutes, in place."""
    x = loss * dt
    kept = np.exp(-x)
    small = x < 1e-8
    share = np.where(small, 1 - x / 2, -np.expm1(-x) / np.where(small, 1.0, x))
    c *= kept
    c += production * share * dt
