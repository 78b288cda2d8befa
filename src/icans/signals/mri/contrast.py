"""Uptake of contrast: T1 after contrast against T1 before, beyond the gain of the whole brain.

Vessels, choroid plexus and the meninges take up contrast in health: the ventricles' surroundings and the surface of the
brain are left out, large veins inside the brain are not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import VENTRICLE_CODE
from icans.signals.mri.lesions import DARK_SHARE, FEWEST, RIM_MM
from icans.signals.mri.outline import Mask, Outline, large_pieces
from icans.signals.mri.volume import Array, Volume

#: Surroundings of the labelled ventricles that are left out, mm.
PLEXUS_MM = 3.0


def gain(before: Volume, after: Volume, found: Outline, move: Array) -> npt.NDArray[np.float64]:
    """Relative gain of signal on the grid of ``after``, less the brain's median gain.

    Parameters
    ----------
    found
        Masks on the grid of ``after``.
    move
        Shape (4, 4): millimetres of ``after`` to those of ``before``.

    Returns
    -------
    Shape of ``after``; NaN where the image before contrast is dark (fluid, bone) or does not reach.

    Raises
    ------
    NotEstimableError
        The images share too little brain.
    """
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(before.affine) @ move @ after.affine
    plain = affine_transform(before.data, matrix[:3, :3], matrix[:3, 3], after.data.shape, order=1, mode="constant")
    brain = found.brain & (plain > 0)
    if int(brain.sum()) < FEWEST:
        raise NotEstimableError(f"{after.name}: shares {int(brain.sum())} voxels of brain with {before.name}")
    bright = brain & (plain > DARK_SHARE * np.median(plain[brain]))
    ratio = np.full(after.data.shape, np.nan)
    ratio[bright] = after.data[bright] / plain[bright]
    return np.asarray(ratio / np.nanmedian(ratio) - 1.0)


def enhancing(relative: npt.NDArray[np.float64], after: Volume, found: Outline) -> dict[float, Mask]:
    """Tissue that takes up contrast, at every threshold of the sweep."""
    from scipy.ndimage import distance_transform_edt

    known = np.isfinite(relative)
    spread = 1.4826 * float(np.median(np.abs(relative[known])))
    plexus = distance_transform_edt(found.labels != VENTRICLE_CODE, sampling=after.spacing) <= PLEXUS_MM
    deep = distance_transform_edt(found.inside | found.brain, sampling=after.spacing) > RIM_MM
    allowed = known & deep & ~plexus & (found.labels > 0)
    beyond = thresholds.value("enhancement_z") * spread
    values = np.where(known, relative, -np.inf)
    return {
        cut: large_pieces(allowed & (values > max(cut, beyond)), after.voxel_ml)
        for cut in thresholds.sweep("enhancement_share")
    }
