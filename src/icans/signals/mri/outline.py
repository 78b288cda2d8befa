"""Which voxels are brain: the template's outline carried to the image, then refined by the image itself.

The refinement keeps bright tissue inside the carried outline and cuts bridges to skin and eyes by morphology. It is
simple on purpose; a mask made elsewhere can take its place. Fluid outside the brain is not part of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import DataError, Problem
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import CSF_CODE, Labels, on_grid, regions, template
from icans.signals.mri.volume import Array, Volume

Mask = npt.NDArray[np.bool_]

#: How far beyond the carried outline brain may lie, mm (an affine map leaves a few millimetres at the surface).
MARGIN_MM = 4.0
#: Tissue is brighter than this share of the median of labelled brain tissue; fluid (T1, FLAIR) and bone are darker.
TISSUE_SHARE = 0.45
#: Bridges thinner than twice this are cut, mm.
BRIDGE_MM = 2.0
#: Volumes of brain tissue that a person past infancy can have, mL (adult 900 to 1700; child of one year from 600).
BRAIN_ML = (500.0, 2200.0)
#: Smallest share of the signal's variance inside the skull that labels of fluid, white and grey matter explain.
EXPLAINED = 0.05
#: Smallest mutual information with the template, and range of the scales of the affine map, of a head.
INFORMATION = 0.12
SCALES = (0.7, 1.45)


@dataclass(frozen=True)
class Outline:
    """Masks on the grid of one image: brain tissue, everything inside the skull, and the regions' labels."""

    brain: Mask
    inside: Mask
    labels: Labels


def outline(image: Volume, to_mni: Array, given: Mask | None = None) -> Outline:
    """Brain tissue of a T1 or FLAIR image (fluid dark).

    Parameters
    ----------
    to_mni
        Shape (4, 4), millimetres of the image's space to MNI millimetres.
    given
        A brain mask made elsewhere, on the image's grid; it then stands as it is.
    """
    labels = on_grid(image, to_mni)
    inside = carried(template(2)[1], image, to_mni) > 0.5
    if given is not None:
        return Outline(given, inside | given, labels)
    return Outline(_tissue(image, inside, labels), inside, labels)


def carried(source: Volume, image: Volume, to_mni: Array) -> npt.NDArray[np.float32]:
    """A volume of MNI space on the grid of ``image`` (linear)."""
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(source.affine) @ to_mni @ image.affine
    return np.asarray(
        affine_transform(source.data, matrix[:3, :3], matrix[:3, 3], image.data.shape, order=1, mode="constant")
    )


def _tissue(image: Volume, inside: Mask, labels: Labels) -> Mask:
    from scipy import ndimage

    known = (labels > 0) & (labels < CSF_CODE)
    level = float(np.median(image.data[known])) if known.any() else float(np.median(image.data))
    near = ndimage.distance_transform_edt(~inside, sampling=image.spacing) <= MARGIN_MM
    bright = near & (image.data > TISSUE_SHARE * level)
    eroded = ndimage.distance_transform_edt(bright, sampling=image.spacing) > BRIDGE_MM
    parts, count = ndimage.label(eroded)
    if count == 0:
        return bright
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    grown = ndimage.distance_transform_edt(~largest, sampling=image.spacing) <= BRIDGE_MM + max(image.spacing) / 2
    return np.asarray(grown & bright)


def explained(image: Volume, found: Outline) -> float:
    """Share of the variance of signal inside the skull that fluid, white and grey matter explain (0 to 1).

    An outline alone can fit anything round; only a brain has its tissue where the atlas has it.
    """
    where = found.inside & (found.labels > 0)
    values = image.data[where].astype(float)
    if values.size < 2:
        return 0.0
    values = np.clip(values, *np.percentile(values, [1, 99]))
    white = [region.code for region in regions() if region.tissue == "white"]
    group = np.where(found.labels[where] >= CSF_CODE, 0, np.where(np.isin(found.labels[where], white), 1, 2))
    total = float(values.var())
    if total <= 0:
        return 0.0
    means = np.array([values[group == g].mean() if (group == g).any() else 0.0 for g in range(3)])
    return float(means[group].var() / total)


def refuse_non_brain(image: Volume, to_mni: Array, information: float, found: Outline) -> None:
    """Stop where the image does not look like a head that was placed on the template.

    Raises
    ------
    DataError
        With what speaks against a brain: little mutual information, tissue not where the atlas has it, an affine map
        that scales too much, or too little or too much tissue.
    """
    scales = np.linalg.svd(to_mni[:3, :3], compute_uv=False)
    millilitres = float(found.brain.sum()) * image.voxel_ml
    tissue = explained(image, found)
    problems: list[Problem] = []
    remedy = "Check that this is the brain of one patient, whole, and no derived map."
    if information < INFORMATION:
        written, expected = f"{information:.3f}", f"at least {INFORMATION:g} with the template (a head)"
        problems.append(Problem(image.name, None, "mutual information", written, expected, remedy))
    if tissue < EXPLAINED:
        expected = f"at least {EXPLAINED:g} of the variance explained by fluid, white and grey matter"
        problems.append(Problem(image.name, None, "tissue", f"{tissue:.3f}", expected, remedy))
    if scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        written = " x ".join(f"{s:.2f}" for s in scales)
        expected = f"scales of {SCALES[0]:g} to {SCALES[1]:g} to the template"
        problems.append(Problem(image.name, None, "size", written, expected, remedy))
    if not BRAIN_ML[0] <= millilitres <= BRAIN_ML[1]:
        expected = f"{BRAIN_ML[0]:g} to {BRAIN_ML[1]:g} mL of brain tissue"
        problems.append(Problem(image.name, None, "brain volume", f"{millilitres:.0f} mL", expected, remedy))
    if problems:
        raise DataError(problems)


def large_pieces(mask: Mask, voxel_ml: float) -> Mask:
    """The mask without connected pieces too small to be more than noise."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    large = np.bincount(parts.ravel()) * voxel_ml >= thresholds.value("smallest_ml")
    large[0] = False
    return np.asarray(large[parts])
