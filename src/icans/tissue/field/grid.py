"""The box of tissue, the substances in it and what happens at its faces.

Units: micrometres, minutes, pg/mL of interstitial fluid. Arrays follow the order (z, y, x); in two dimensions (y, x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Names of the outer faces, and ``mask``: every face between a voxel of tissue and one outside the mask.
FACES = ("z-", "z+", "y-", "y+", "x-", "x+", "mask")


def problem(name: str, value: object, expected: str, remedy: str) -> Problem:
    """A problem of a tissue model, named by what is wrong."""
    return Problem("tissue", None, name, None if value is None else str(value), expected, remedy)


@dataclass(frozen=True)
class Grid:
    """A box of equal voxels, of which a mask may leave some out.

    Parameters
    ----------
    shape
        Voxels along (y, x) or (z, y, x).
    spacing_um
        Edge of a voxel, um: one number or one per axis, in the same order.
    mask
        Shape ``shape``, True where there is tissue; None for everywhere.
    thickness_um
        Depth of the voxels of a two-dimensional grid, um; default: the last spacing.

    Raises
    ------
    ModelError
        No voxels, no tissue, a spacing that is not positive, a mask of another shape: all of them at once.
    """

    shape: tuple[int, ...]
    spacing_um: float | tuple[float, ...] = 20.0
    mask: npt.NDArray[np.bool_] | None = None
    thickness_um: float | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        wrong = []
        if len(shape) not in (2, 3) or min(shape, default=0) < 1:
            wrong.append(problem("shape", self.shape, "two or three positive numbers of voxels",
                                 "A domain needs at least one voxel along (y, x) or (z, y, x)."))  # fmt: skip
        given = self.spacing_um
        spacing = (float(given),) * len(shape) if np.ndim(given) == 0 else tuple(float(h) for h in given)  # type: ignore[arg-type,union-attr]
        if len(spacing) != len(shape) or not all(np.isfinite(h) and h > 0 for h in spacing):
            wrong.append(
                problem("spacing_um", given, "one positive length, or one per axis", "Give it in micrometres.")
            )
        if self.thickness_um is not None and not self.thickness_um > 0:
            wrong.append(problem("thickness_um", self.thickness_um, "a positive length", "Leave it out for cubes."))
        if self.mask is not None:
            mask = np.asarray(self.mask, bool)
            object.__setattr__(self, "mask", mask)
            if mask.shape != shape:
                wrong.append(problem("mask", mask.shape, f"shape {shape}", "Give one value per voxel of the grid."))
            elif not mask.any():
                wrong.append(problem("mask", "all False", "at least one voxel of tissue", "The domain is empty."))
        if wrong:
            raise ModelError(wrong)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing_um", spacing)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edges of a voxel, um, one per axis."""
        return self.spacing_um  # type: ignore[return-value]

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def voxels(self) -> int:
        """Number of voxels, those outside the mask included."""
        return int(np.prod(self.shape))

    @property
    def tissue(self) -> npt.NDArray[np.bool_]:
        """True where there is tissue, shape ``shape``."""
        return np.ones(self.shape, bool) if self.mask is None else self.mask

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel, um3."""
        depth = 1.0
        if self.dimensions == 2:
            depth = self.spacing[-1] if self.thickness_um is None else self.thickness_um
        return float(np.prod(self.spacing)) * depth

    @property
    def size_um(self) -> tuple[float, ...]:
        """Edges of the box, um, one per axis."""
        return tuple(n * h for n, h in zip(self.shape, self.spacing, strict=True))

    def centres(self) -> list[Array]:
        """Coordinates of voxel centres, um, one array of shape ``shape`` per axis."""
        axes = [(np.arange(n) + 0.5) * h for n, h in zip(self.shape, self.spacing, strict=True)]
        return list(np.meshgrid(*axes, indexing="ij"))

    def voxel_of(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Flat index of the voxel that holds each point; -1 outside the box or the mask.

        Parameters
        ----------
        points
            Shape (n, dimensions), um, in the order of the axes.
        """
        place = np.atleast_2d(np.asarray(points, float))
        index = np.floor(place / np.asarray(self.spacing)).astype(np.int64)
        inside = ((index >= 0) & (index < np.asarray(self.shape))).all(axis=1)
        flat = np.full(len(place), -1, np.int64)
        flat[inside] = np.ravel_multi_index(tuple(index[inside].T), self.shape)
        outside = flat >= 0
        outside[outside] = ~self.tissue.reshape(-1)[flat[outside]]
        flat[outside] = -1
        return flat


@dataclass(frozen=True)
class Substance:
    """One diffusing substance.

    ``diffusion_um2_min`` is the effective coefficient in tissue (free coefficient over squared tortuosity);
    ``decay_per_min`` a uniform first-order loss.
    """

    name: str
    diffusion_um2_min: float
    decay_per_min: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            problem(f"{self.name}.{what}", value, "a finite number >= 0", "Rates and coefficients cannot be negative.")
            for what, value in (
                ("diffusion_um2_min", self.diffusion_um2_min),
                ("decay_per_min", self.decay_per_min),
            )
            if not (np.isfinite(value) and value >= 0)
        ]
        if wrong:
            raise ModelError(wrong)


@dataclass(frozen=True)
class Face:
    """What happens at a face of the box.

    ``kind`` is ``"closed"`` (no flux), ``"fixed"`` (concentration ``outside`` at the face; Dirichlet) or ``"exchange"``
    (flux ``velocity_um_min`` times the difference between ``outside`` and the concentration at the face; Robin).
    ``outside``, pg/mL, and ``velocity_um_min`` are one number or one per substance, by name.
    """

    kind: str = "closed"
    outside: float | Mapping[str, float] = 0.0
    velocity_um_min: float | Mapping[str, float] = 0.0

    def __post_init__(self) -> None:
        wrong = []
        if self.kind not in ("closed", "fixed", "exchange"):
            wrong.append(problem("face", self.kind, "closed, fixed or exchange", "Choose one of them."))
        for what, given in (("outside", self.outside), ("velocity_um_min", self.velocity_um_min)):
            numbers = list(given.values()) if isinstance(given, Mapping) else [given]
            if not all(np.isfinite(v) and v >= 0 for v in numbers):
                wrong.append(problem(f"face.{what}", given, "finite numbers >= 0", "Mend the value."))
        if wrong:
            raise ModelError(wrong)


@dataclass(frozen=True)
class Medium:
    """What the tissue is like, beside the substances.

    Parameters
    ----------
    relative_diffusion
        Shape of the grid: factor on every substance's coefficient (white matter against grey, scar); None for 1.
        Between two voxels counts the harmonic mean.
    flow_um_min
        One array of the grid's shape per axis: velocity of the interstitial fluid at voxel centres, um/min; None for
        none. Between two voxels counts the mean. Nothing flows through closed faces.
    faces
        Name of :data:`FACES` to :class:`Face`; those not named are closed.
    washout_per_min
        Shape of the grid: loss of every substance, 1/min, for instance where fluid leaves along vessels.
    """

    relative_diffusion: Array | None = None
    flow_um_min: Sequence[Array] | None = None
    faces: Mapping[str, Face] = field(default_factory=dict)
    washout_per_min: Array | None = None


def per_substance(given: float | Mapping[str, float], substances: Sequence[Substance], what: str) -> Array:
    """One number per substance, from one for all or from a table that names them.

    Raises
    ------
    ModelError
        The table names an unknown substance or leaves one out.
    """
    names = [s.name for s in substances]
    if not isinstance(given, Mapping):
        return np.full(len(names), float(given))
    wrong = [problem(what, name, f"one of {names}", "No such substance.") for name in given if name not in names]
    wrong += [problem(what, None, f"a value for {name}", "Add it.") for name in names if name not in given]
    if wrong:
        raise ModelError(wrong)
    return np.array([float(given[name]) for name in names])


def checked(name: str, array: Any, shape: tuple[int, ...], *, negative: bool = False) -> Array:
    """The array as contiguous floats of the given shape (what can be broadcast is).

    Raises
    ------
    ModelError
        Another shape, values that are not finite, negative ones where they are not allowed.
    """
    values = np.asarray(array, float)
    if values.size == np.prod(shape) and values.ndim < len(shape):
        values = values.reshape(shape)
    try:
        values = np.ascontiguousarray(np.broadcast_to(values, shape))
    except ValueError:
        raise ModelError([problem(name, values.shape, f"shape {shape}",
                                  "It belongs to another grid or another list of substances.")]) from None  # fmt: skip
    low = float(values.min(initial=0.0))
    if not np.isfinite(values.sum()):
        raise ModelError([problem(name, "not finite", "finite numbers", "Look for NaN or infinity.")])
    if low < 0 and not negative:
        raise ModelError([problem(name, low, "numbers >= 0", "Rates and concentrations cannot be negative.")])
    return values


def perivascular_flow(grid: Grid, speed_um_min: float, spacing_um: float) -> Medium:
    """Fluid that enters the tissue in planes (along arterioles) and leaves it in others (along venules).

    The planes lie ``spacing_um`` apart along the last axis; between them the fluid moves at up to ``speed_um_min``.
    Where it leaves, it takes along what is dissolved in it (``washout_per_min``); what enters brings nothing.

    Raises
    ------
    ModelError
        A negative speed or a spacing that is not positive.
    """
    wrong = []
    if not speed_um_min >= 0:
        wrong.append(problem("speed_um_min", speed_um_min, "a number >= 0", "Mend the speed."))
    if not spacing_um > 0:
        wrong.append(problem("spacing_um", spacing_um, "a positive length", "Give it in micrometres."))
    if wrong:
        raise ModelError(wrong)
    x = grid.centres()[-1]
    u = speed_um_min * np.sin(np.pi * x / spacing_um)
    between = 0.5 * (u[..., 1:] + u[..., :-1])
    closed = np.zeros((*grid.shape[:-1], 1))
    faces = np.concatenate([closed, between, closed], axis=-1)
    spreading = np.diff(faces, axis=-1) / grid.spacing[-1]
    flow = [np.zeros(grid.shape)] * (grid.dimensions - 1) + [u]
    return Medium(flow_um_min=flow, washout_per_min=np.maximum(-spreading, 0.0))
