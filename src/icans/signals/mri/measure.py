"""One examination in, its table of regions out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import Labels, on_grid, regions
from icans.signals.mri.lesions import Lesions, by_threshold, from_mask
from icans.signals.mri.outline import Outline, outline, refuse_non_brain
from icans.signals.mri.registration import Registration, align, to_template
from icans.signals.mri.shading import evened
from icans.signals.mri.volume import Array, Volume, gather_flags

#: A rigid shift between images of one examination beyond this is told, mm.
SHIFT_MM = 20.0


@dataclass(frozen=True)
class Examination:
    """The images of one patient at one time; any may be missing, but T1 or FLAIR must be there.

    Attributes
    ----------
    t1, flair, adc, t1_post, cbf
        T1 before contrast, FLAIR, map of diffusion (mm2/s or a power of ten of it), T1 after contrast, and map of
        blood flow (mL/100 g/min).
    lesions
        Lesions drawn elsewhere, in the space of the FLAIR image (of T1 without one).
    brain
        Brain mask made elsewhere, in the space of T1 (of FLAIR without one).
    tumour
        A tumour known before, in the space of T1 (of FLAIR without one).
    one_space
        The images share the scanner's space and the patient did not move: no rigid alignment is done.
    """

    t1: Volume | None = None
    flair: Volume | None = None
    adc: Volume | None = None
    t1_post: Volume | None = None
    cbf: Volume | None = None
    lesions: Volume | None = None
    brain: Volume | None = None
    tumour: Volume | None = None
    one_space: bool = False

    @property
    def reference(self) -> Volume:
        """The image that is registered to the template: T1, else FLAIR.

        Raises
        ------
        DataError
            Neither is there.
        """
        found = self.t1 or self.flair
        if found is None:
            raise DataError([Problem("examination", None, None, None, "a T1 or a FLAIR image", "Give one of them.")])
        return found


@dataclass(frozen=True)
class RegionTable:
    """What was measured.

    Attributes
    ----------
    table
        One row a region and one for the whole brain (``region``), columns by measure; ``_low`` and ``_high`` bound a
        measure over the sweep of thresholds and of an error of the region's borders.
    whole
        Measures that have no region (fluid, focality).
    flags
        What a reader must know.
    about
        How it was made: registration, thresholds, names of the images.
    """

    table: pd.DataFrame
    whole: dict[str, float]
    flags: tuple[Flag, ...]
    about: dict[str, Any] = field(default_factory=dict)


def regional_volume(mask: np.ndarray, labels: Labels, voxel_ml: float) -> dict[str, float]:
    """Volume of a mask in every region and in the whole brain, mL."""
    counts = np.bincount(labels[mask], minlength=256)
    found = {r.name: float(counts[r.code]) * voxel_ml for r in regions()}
    found["brain"] = float(mask.sum()) * voxel_ml
    return found


def shifts() -> list[tuple[float, float, float]]:
    """Errors of the borders that are tried: none, and one step along each axis both ways, MNI mm."""
    step = thresholds.value("border_mm")
    moved = [tuple(float(s) for s in sign * step * np.eye(3)[axis]) for axis in range(3) for sign in (-1, 1)]
    return [(0.0, 0.0, 0.0), *moved]  # type: ignore[list-item]


@dataclass(frozen=True)
class Placed:
    """An image in its place: its transform to MNI space, its masks and its labels."""

    image: Volume
    to_mni: Array
    found: Outline


def place(exam: Examination, *, seed: int = 1) -> tuple[dict[str, Placed], Registration, list[Flag]]:
    """Every image of an examination registered: the reference to the template, the others to the reference.

    Raises
    ------
    DataError
        No image to register, or the reference does not look like a brain.
    """
    reference = exam.reference
    affine = to_template(reference, seed=seed)
    given = None
    if exam.brain is not None:
        given = from_mask(exam.brain, reference).mask
    first = outline(reference, affine.matrix, given)
    refuse_non_brain(reference, affine.matrix, affine.information, first.brain)
    placed: dict[str, Placed] = {}
    flags: list[Flag] = []
    for name in ("t1", "flair", "adc", "t1_post", "cbf"):
        image = getattr(exam, name)
        if image is None:
            continue
        if image is reference:
            placed[name] = Placed(image, affine.matrix, first)
            continue
        rigid = np.eye(4) if exam.one_space else align(image, reference, seed=seed).matrix
        moved = float(np.linalg.norm(rigid[:3, 3]))
        if moved > SHIFT_MM:
            flags.append(Flag("align.far", "doubt", f"lies {moved:.0f} mm from the reference image", image.name))
        placed[name] = Placed(
            image, affine.matrix @ rigid, _follow(image, affine.matrix @ rigid, rigid, reference, first)
        )
    return placed, affine, flags


def _follow(image: Volume, to_mni: Array, rigid: Array, reference: Volume, first: Outline) -> Outline:
    """The reference's masks on the grid of another image."""
    from icans.signals.mri.lesions import carry_mask

    brain = carry_mask(reference.with_data(first.brain), image, rigid)
    inside = carry_mask(reference.with_data(first.inside), image, rigid)
    return Outline(brain, inside, on_grid(image, to_mni))


def measure(exam: Examination, *, seed: int = 1) -> RegionTable:
    """Measure one examination.

    Parameters
    ----------
    seed
        Of the voxels that registration draws.

    Raises
    ------
    DataError
        No T1 or FLAIR, or an image that is no brain.
    IcansError
        An optional package is missing.
    """
    placed, affine, flags = place(exam, seed=seed)
    home = placed["flair"] if "flair" in placed else placed["t1"]
    table = pd.DataFrame({"region": [*(r.name for r in regions()), "brain"]}).set_index("region")
    table["volume_ml"] = pd.Series(regional_volume(home.found.brain, home.found.labels, home.image.voxel_ml))
    lesions = _lesions(exam, placed, home)
    if lesions is not None:
        flags += lesions.flags
        for column, values in lesion_columns(lesions, home, table["volume_ml"]).items():
            table[column] = pd.Series(values)
    return RegionTable(
        table.reset_index(),
        {},
        tuple(dict.fromkeys((*gather_flags([p.image for p in placed.values()]), *flags))),
        {"information": affine.information, "to_mni": affine.matrix.tolist()},
    )


def _lesions(exam: Examination, placed: dict[str, Placed], home: Placed) -> Lesions | None:
    if exam.lesions is not None:
        return from_mask(exam.lesions, home.image)
    if "flair" not in placed:
        return None
    return by_threshold(evened(home.image, home.found.brain), home.found)


def lesion_columns(lesions: Lesions, home: Placed, volumes: pd.Series) -> dict[str, dict[str, float]]:
    """Volume of lesions in every region with its range over thresholds and borders, and their share of the region."""
    scale = home.image.voxel_ml
    best = regional_volume(lesions.mask, home.found.labels, scale)
    others = [regional_volume(mask, home.found.labels, scale) for mask in lesions.sweep.values()]
    others += [
        regional_volume(lesions.mask, on_grid(home.image, home.to_mni, shift), scale) for shift in shifts()[1:]
    ]  # fmt: skip
    low = {name: min(best[name], *(o[name] for o in others)) for name in best}
    high = {name: max(best[name], *(o[name] for o in others)) for name in best}
    share = {name: best[name] / volumes[name] if volumes[name] > 0 else float("nan") for name in best}
    return {"flair_ml": best, "flair_ml_low": low, "flair_ml_high": high, "flair_share": share}
