"""Implicit scheme: approximate factorisation along the axes, for masks, heterogeneous tissue and stiff sinks.

With c' = T c + gain - loss c and T the sum of one tridiagonal operator per axis, a step solves
(1 + dt/2 loss) (1 - dt/2 T_x) (1 - dt/2 T_y) (1 - dt/2 T_z) (c_new - c) = dt c', one line at a time (Douglas & Gunn
1964, 10.1007/BF01386093; Beam & Warming 1976, 10.1016/0021-9991(76)90110-8). It is of second order and stable at any
step, keeps mass to rounding, and a steady state carries no error of the step. Very large steps do not damp fast modes:
for steady states use :func:`icans.tissue.field.steady.steady_state`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.tissue.field.grid import Array
from icans.tissue.field.operator import Operator


@dataclass(frozen=True)
class Factors:
    """Factored lines for one step length; see :mod:`icans.tissue.field.sweeps`.

    ``lower``, ``upper``, ``pivot``: shape (S, 3, voxels), or (S, 3, longest axis) in uniform boxes.
    """

    dt: float
    lower: Array
    upper: Array
    pivot: Array


def factors(op: Operator, dt: float) -> Factors:
    """Factor every line along every axis for steps of ``dt`` minutes."""
    count, half = len(op.uniform), 0.5 * dt
    made = np.zeros((3, count, 3, *(op.shape if op.general else (max(op.shape),))))
    for axis, n in enumerate(op.shape):
        if op.general:
            out, back = (np.moveaxis(a[axis], axis + 1, 0) for a in (op.out, op.back))
            np.moveaxis(made[:, :, axis], axis + 2, 1)[:] = _line(half, out, back)
        else:
            out = np.repeat(op.uniform[None, :, axis], n, axis=0)
            out[-1] = 0
            made[:, :, axis, :n] = np.moveaxis(_line(half, out, out), 1, 2)
    lower, upper, pivot = made.reshape(3, count, 3, -1)
    return Factors(dt, lower, upper, pivot)


def _line(half: float, out: Array, back: Array) -> Array:
    """Lower, upper and pivot of 1 - half T along the first axis; ``out`` and ``back`` of shape (n, ...)."""
    lower, upper, pivot = np.zeros((3, *out.shape))
    diagonal = 1 + half * out
    diagonal[1:] += half * back[:-1]
    pivot[0] = 1 / diagonal[0]
    for i in range(1, len(out)):
        upper[i - 1] = -half * back[i - 1] * pivot[i - 1]
        low = -half * out[i - 1]
        pivot[i] = 1 / (diagonal[i] - low * upper[i - 1])
        lower[i] = low * pivot[i]
    return np.stack([lower, upper, pivot])


def varying(op: Operator) -> tuple[Array, Array]:
    """``out`` and ``back`` of the operator, written out where they are the same everywhere; (3, S, nz, ny, nx)."""
    if op.general:
        return op.out, op.back
    out = np.zeros((3, len(op.uniform), *op.shape))
    for axis in range(3):
        index: list[slice] = [slice(None)] * 4
        index[axis + 1] = slice(None, -1)
        out[axis][tuple(index)] = op.uniform[:, axis][:, None, None, None]
    return out, out
