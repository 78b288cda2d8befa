"""One image volume in known orientation, and the checks that every volume passes before it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

#: Edge of a voxel that a brain can be measured with, mm.
VOXEL_MM = (0.2, 10.0)
#: Longest over shortest edge of a voxel; beyond it, small regions lie between slices.
ANISOTROPY = 3.0
#: Extent of a head on every axis, mm. Less is a slab or another organ; more is no head.
EXTENT_MM = (60.0, 600.0)
#: Share of voxels without a number that is filled with zero and told; more is refused.
MISSING_SHARE = 0.001


@dataclass(frozen=True)
class Volume:
    """A three-dimensional image whose axes run to the right, front and top (nearest to it).

    Attributes
    ----------
    data
        Shape (i, j, k), no NaN.
    affine
        Shape (4, 4): voxel index to millimetres in the scanner's or template's space (right, front, top).
    name
        Name of the file.
    flags
        What a reader of the numbers must know.
    """

    data: Image
    affine: Array
    name: str = "volume"
    flags: tuple[Flag, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edges of a voxel, mm."""
        edges = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return (float(edges[0]), float(edges[1]), float(edges[2]))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def with_data(self, data: npt.NDArray[np.generic], name: str | None = None) -> Volume:
        """Other numbers on the same grid."""
        return replace(self, data=np.asarray(data, dtype=np.float32), name=name or self.name)

    def same_grid(self, other: Volume) -> bool:
        """Whether both have the same voxels in the same places (to a hundredth of a millimetre)."""
        return self.data.shape == other.data.shape and bool(np.allclose(self.affine, other.affine, atol=0.01))


def volume(data: npt.ArrayLike, affine: npt.ArrayLike, name: str = "volume") -> Volume:
    """A checked volume from numbers in memory; axes are turned and flipped to right, front, top.

    Raises
    ------
    DataError
        With every problem: not three dimensions, impossible voxels, no or too many missing numbers, one constant value.
    """
    grid = np.asarray(data)
    matrix = np.asarray(affine, dtype=float)
    problems = _shape_problems(grid, matrix, name)
    if problems:
        raise DataError(problems)
    while grid.ndim > 3:
        grid = grid[..., 0]
    values = np.asarray(grid, dtype=np.float32)
    turned, placed = _turned(values, matrix)
    problems, flags = _value_checks(turned, placed, name)
    if problems:
        raise DataError(problems)
    filled = np.nan_to_num(turned, nan=0.0, posinf=0.0, neginf=0.0)
    return Volume(np.ascontiguousarray(filled), placed, name, tuple(flags))


def _shape_problems(grid: npt.NDArray[np.generic], matrix: Array, name: str) -> list[Problem]:
    found: list[Problem] = []
    if grid.dtype.kind not in "fiub":
        remedy = "Export one grey image (colour maps of directions or screenshots cannot be measured)."
        return [Problem(name, None, "type", str(grid.dtype), "one real number a voxel", remedy)]
    shape = grid.shape
    if len(shape) < 3 or (len(shape) > 3 and any(n != 1 for n in shape[3:])):
        remedy = "Take one volume (time point, b value or echo) of it, or average them." if len(shape) > 3 else (
            "A single slice cannot be placed in a brain; give the whole series.")  # fmt: skip
        found.append(Problem(name, None, "dimensions", "x".join(map(str, shape)), "three dimensions", remedy))
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        remedy = "Convert the series again; without its position no region can be named."
        found.append(Problem(name, None, "affine", None, "a position of the voxels that can be inverted", remedy))
        return found
    edges = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if (edges < VOXEL_MM[0]).any() or (edges > VOXEL_MM[1]).any():
        written = " x ".join(f"{e:.3g}" for e in edges) + " mm"
        expected = f"edges of {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm"
        found.append(Problem(name, None, "voxel", written, expected, "Check the unit and the header of the file."))
    elif len(shape) >= 3:
        extent = edges * np.array(shape[:3])
        if (extent < EXTENT_MM[0]).any() or (extent > EXTENT_MM[1]).any():
            written = " x ".join(f"{e:.0f}" for e in extent) + " mm"
            expected = f"a head: {EXTENT_MM[0]:g} to {EXTENT_MM[1]:g} mm on every axis"
            found.append(Problem(name, None, "extent", written, expected, "Give the series that covers the brain."))
    return found


def _value_checks(data: Image, affine: Array, name: str) -> tuple[list[Problem], list[Flag]]:
    problems: list[Problem] = []
    flags: list[Flag] = []
    finite = np.isfinite(data)
    missing = 1.0 - float(finite.mean())
    if missing > MISSING_SHARE:
        # A field of view padded with NaN is common after resampling; a brain full of holes is not: both are told apart
        # by where the holes are, so the middle half of the field decides.
        middle = tuple(slice(n // 4, n - n // 4) for n in data.shape)
        inside = 1.0 - float(finite[middle].mean())
        if inside > MISSING_SHARE:
            expected = f"numbers (at most {MISSING_SHARE:.1%} missing in the middle of the field)"
            problems.append(Problem(name, None, "values", f"{inside:.1%} not numbers", expected, "Export it again."))
    if missing > 0 and not problems:
        flags.append(Flag("volume.missing", "note", f"{missing:.2%} of the voxels had no number and count as 0", name))
    values = data[finite]
    if values.size == 0 or float(values.max()) == float(values.min()):
        expected = "an image with contrast"
        problems.append(Problem(name, None, "values", "one constant value", expected, "The file holds no picture."))
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if edges.max() / edges.min() > ANISOTROPY:
        written = " x ".join(f"{e:.2g}" for e in edges)
        text = f"voxels of {written} mm: small regions (splenium, hippocampus) lie between few slices"
        flags.append(Flag("volume.anisotropic", "doubt", text, name))
    direction = affine[:3, :3] / edges
    if np.abs(direction.T @ direction - np.eye(3)).max() > 0.01:
        flags.append(Flag("volume.sheared", "doubt", "the axes are not at right angles (gantry tilt or a fault)", name))
    return problems, flags


def _turned(data: Image, affine: Array) -> tuple[Image, Array]:
    """Axes permuted and flipped so that they run nearest to right, front, top."""
    # Local import: nibabel is optional, and this is its own rule for it.
    from icans.signals.mri.optional import need

    orientations = need("nibabel.orientations")
    codes = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(data, codes)
    return turned, affine @ orientations.inv_ornt_aff(codes, data.shape)


def gather_flags(volumes: Sequence[Volume]) -> tuple[Flag, ...]:
    """The flags of several volumes, each once."""
    return tuple(dict.fromkeys(flag for one in volumes for flag in one.flags))


def short(path: str | Path) -> str:
    """Name of a file without its folder: folders may name a patient."""
    return Path(path).name
