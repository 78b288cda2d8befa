"""Diffusion, flow and exchange at faces as rates between neighbouring voxels.

A substance leaves a voxel for the next one along an axis at ``out`` and comes back at ``back`` (1/min): finite volumes,
so that what leaves one voxel enters the other. With flow the two differ by exponential fitting (Scharfetter & Gummel
1969, 10.1109/T-ED.1969.16566), which never makes a concentration negative and is of second order for small voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icans.core.errors import ModelError
from icans.tissue.field.grid import FACES, Array, Face, Grid, Mask, Medium, Substance, checked, per_substance, problem


@dataclass(frozen=True)
class Operator:
    """Rates of a grid's linear transport; every array has three axes (z, y, x), the first of length 1 in 2-D.

    ``uniform``, shape (S, 3): rate to a neighbour along (z, y, x) where it is the same everywhere, used if ``out`` is
    empty. ``out`` and ``back``, shape (3, S, nz, ny, nx): from a voxel to the next one, and from the next one back; 0
    at the last voxel. ``loss`` and ``gain``, shape (S, nz, ny, nx) (or (S, 1, 1, 1) if the same everywhere): decay and
    exchange at faces, 1/min and pg/mL/min.
    """

    shape: tuple[int, int, int]
    uniform: Array
    out: Array
    back: Array
    loss: Array
    gain: Array
    fastest: Array

    @property
    def general(self) -> bool:
        """Rates differ from voxel to voxel."""
        return bool(self.out.size)


def operator(grid: Grid, substances: Sequence[Substance], medium: Medium) -> Operator:
    """The rates of transport.

    Raises
    ------
    ModelError
        Arrays of another shape, unknown faces, negative factors.
    """
    _check_faces(grid, medium)
    flat = grid.dimensions == 2
    shape: tuple[int, int, int] = (1, *grid.shape) if flat else grid.shape  # type: ignore[assignment]
    spacing = np.array([np.inf, *grid.spacing] if flat else grid.spacing)
    count = len(substances)
    diffusion = np.array([s.diffusion_um2_min for s in substances])
    uniform = diffusion[:, None] / spacing**2
    mask = grid.tissue.reshape(shape)
    if grid.mask is None and medium.relative_diffusion is None and medium.flow_um_min is None:
        out = back = np.empty((3, 0, 1, 1, 1))
    else:
        out, back = _between(grid, medium, shape, spacing, diffusion, mask)
    loss, gain = _open_faces(grid, substances, medium, shape, spacing, mask)
    loss += np.array([s.decay_per_min for s in substances])[:, None, None, None]
    if medium.washout_per_min is not None:
        loss += checked("washout_per_min", medium.washout_per_min, grid.shape).reshape(shape)
    loss[:, ~mask] = 0.0
    leaving = _leaving(uniform, out, back, shape)
    fastest = 2 * leaving.reshape(count, -1).max(axis=1)
    return Operator(shape, uniform, out, back, loss, gain, fastest)


def _open_faces(
    grid: Grid, substances: Sequence[Substance], medium: Medium, shape: tuple[int, ...], spacing: Array, mask: Mask
) -> tuple[Array, Array]:
    """Loss and gain through the faces that are not closed, shape (S, nz, ny, nx)."""
    loss, gain = np.zeros((2, len(substances), *shape))
    diffusion = np.array([s.diffusion_um2_min for s in substances])[:, None, None, None]
    relative = _relative(grid, medium).reshape(shape)
    for name, face in medium.faces.items():
        _through(name, face, substances, spacing, diffusion * relative, mask, loss, gain)
    return loss, gain


def loss_parts(grid: Grid, substances: Sequence[Substance], medium: Medium) -> tuple[Array, Array, Array]:
    """The losses of :attr:`Operator.loss` apart, 1/min, shape (substances, voxels): decay, washout, open faces."""
    flat = grid.dimensions == 2
    shape = (1, *grid.shape) if flat else grid.shape
    spacing = np.array([np.inf, *grid.spacing] if flat else grid.spacing)
    mask = grid.tissue.reshape(shape)
    faces, _ = _open_faces(grid, substances, medium, shape, spacing, mask)
    decay = np.broadcast_to(np.array([s.decay_per_min for s in substances])[:, None, None, None], faces.shape)
    washed = np.zeros(shape) if medium.washout_per_min is None else np.reshape(medium.washout_per_min, shape)
    parts = (decay, np.broadcast_to(washed, faces.shape), faces)
    first, second, third = (np.where(mask, part, 0.0).reshape(len(substances), -1) for part in parts)
    return first, second, third


def _check_faces(grid: Grid, medium: Medium) -> None:
    allowed = FACES if grid.dimensions == 3 else FACES[2:]
    wrong = [problem("faces", n, f"one of {allowed}", "Name the face.") for n in medium.faces if n not in allowed]
    if wrong:
        raise ModelError(wrong)


def _relative(grid: Grid, medium: Medium) -> Array:
    if medium.relative_diffusion is None:
        return np.ones(grid.shape)
    return checked("relative_diffusion", medium.relative_diffusion, grid.shape)


def _ahead(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of all voxels but the last along an axis, and of those that follow them."""
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -1), slice(1, None)
    return tuple(here), tuple(there)


def _between(
    grid: Grid, medium: Medium, shape: tuple[int, ...], spacing: Array, diffusion: Array, mask: Mask
) -> tuple[Array, Array]:
    """Rates to the next voxel and back along each axis."""
    relative = _relative(grid, medium).reshape(shape)
    flow = np.zeros((3, *shape))
    if medium.flow_um_min is not None:
        if len(medium.flow_um_min) != grid.dimensions:
            raise ModelError([problem("flow_um_min", len(medium.flow_um_min), f"{grid.dimensions} arrays",
                                      "Give one velocity per axis.")])  # fmt: skip
        for axis, u in enumerate(medium.flow_um_min):
            flow[axis + 3 - grid.dimensions] = checked("flow_um_min", u, grid.shape, negative=True).reshape(shape)
    out = np.zeros((3, len(diffusion), *shape))
    back = np.zeros_like(out)
    for axis in range(3 - grid.dimensions, 3):
        here, there = _ahead(axis)
        joined = mask[here] & mask[there]
        sum_ = relative[here] + relative[there]
        mean = np.divide(2 * relative[here] * relative[there], sum_, out=np.zeros_like(sum_), where=sum_ > 0)
        d = diffusion[:, None, None, None] * mean / spacing[axis] ** 2
        carried = 0.5 * (flow[axis][here] + flow[axis][there]) / spacing[axis]
        forth, come = fitted(d, carried)
        out[axis][(slice(None), *here)] = np.where(joined, forth, 0.0)
        back[axis][(slice(None), *here)] = np.where(joined, come, 0.0)
    return out, back


def fitted(diffusion: Array, carried: Array) -> tuple[Array, Array]:
    """Rates forth and back for a rate of diffusion and one of flow (both 1/min), exponentially fitted.

    Without diffusion this is the upwind scheme.
    """
    carried = np.broadcast_to(carried, diffusion.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        peclet = np.where(diffusion > 0, carried / diffusion, 0.0)
        small = np.abs(peclet) < 1e-8
        bernoulli = np.where(small, 1 - peclet / 2, peclet / np.expm1(np.where(small, 1.0, peclet)))
        come = np.where(diffusion > 0, diffusion * bernoulli, np.maximum(-carried, 0.0))
    come = np.where(np.isfinite(come), come, 0.0)
    return come + carried, come


def _through(
    name: str, face: Face, substances: Sequence[Substance], spacing: Array, diffusion: Array, mask: Mask,
    loss: Array, gain: Array,
) -> None:  # fmt: skip
    """Add to loss and gain what passes one face, or every face of the mask."""
    if face.kind == "closed":
        return
    outside = per_substance(face.outside, substances, f"faces.{name}.outside")[:, None, None, None]
    velocity = per_substance(face.velocity_um_min, substances, f"faces.{name}.velocity_um_min")[:, None, None, None]
    for axis, at in _faces(name, mask):
        rate = 2 * diffusion / spacing[axis] ** 2
        if face.kind == "exchange":
            through = velocity / spacing[axis]
            total = rate + through
            rate = np.divide(rate * through, total, out=np.zeros_like(total), where=total > 0)
        passed = np.where(at, rate, 0.0)
        loss += passed
        gain += passed * outside


def _faces(name: str, mask: Mask) -> list[tuple[int, Mask]]:
    """Axis and voxels (True) that touch the named face."""
    found = []
    if name != "mask":
        axis, side = "zyx".index(name[0]), 0 if name[1] == "-" else -1
        at = np.zeros_like(mask)
        index: list[slice | int] = [slice(None)] * 3
        index[axis] = side
        at[tuple(index)] = mask[tuple(index)]
        return [(axis, at)]
    for axis in range(3):
        here, there = _ahead(axis)
        before, after = np.zeros_like(mask), np.zeros_like(mask)
        before[here] = mask[here] & ~mask[there]
        after[there] = mask[there] & ~mask[here]
        found += [(axis, before), (axis, after)]
    return found


def _leaving(uniform: Array, out: Array, back: Array, shape: tuple[int, ...]) -> Array:
    """Rate at which a substance leaves a voxel for its neighbours, shape (S, nz, ny, nx) or (S, 1)."""
    if not out.size:
        return (2 * uniform * (np.array(shape) > 1)).sum(axis=1, keepdims=True)
    total: Array = out.sum(axis=0)
    for axis in range(3):
        here, there = _ahead(axis)
        total[(slice(None), *there)] += back[axis][(slice(None), *here)]
    return total
