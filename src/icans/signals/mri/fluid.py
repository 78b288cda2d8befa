"""Fluid inside the skull now and at baseline: swelling of the brain presses it out (oedema), hydrocephalus widens it.

Both images are read through one outline, carried from one to the other rigidly, so that its error counts twice and
cancels. Bone at the rim is dark like fluid on T1 and FLAIR: the outline is drawn in by a few millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.core.errors import NotEstimableError
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import CSF_CODE, VENTRICLE_CODE, Labels
from icans.signals.mri.outline import Mask
from icans.signals.mri.volume import Volume

#: The outline is drawn in by this much, mm.
RIM_MM = 3.0
#: Fluid this near to the labelled ventricles counts as theirs, mm.
VENTRICLE_MM = 8.0
#: Fewest mL of fluid at baseline from which a change can be told.
FEWEST_ML = 1.0


@dataclass(frozen=True)
class Zones:
    """Where fluid is sought on one grid: near the ventricles, and over the surface."""

    ventricles: Mask
    surface: Mask


@dataclass(frozen=True, slots=True)
class Change:
    """Relative change from baseline, with the lowest and highest over the thresholds, and both volumes in mL."""

    share: float
    low: float
    high: float
    before_ml: float
    now_ml: float


def zones(inside: Mask, labels: Labels, spacing: tuple[float, float, float]) -> Zones:
    """The zones from the skull's inside and the labels on one grid."""
    from scipy.ndimage import distance_transform_edt

    drawn_in = distance_transform_edt(inside, sampling=spacing) > RIM_MM
    near = distance_transform_edt(labels != VENTRICLE_CODE, sampling=spacing) <= VENTRICLE_MM
    return Zones(drawn_in & near, drawn_in & ~near)


def fluid_ml(image: Volume, labels: Labels, zone: Zones) -> dict[str, dict[float, float]]:
    """Fluid (mL) in each zone at every threshold of the sweep, on an image on which fluid is dark.

    Raises
    ------
    NotEstimableError
        The image shows no difference between fluid and tissue.
    """
    tissue = float(np.median(image.data[(labels > 0) & (labels < CSF_CODE)]))
    everywhere = zone.ventricles | zone.surface
    dark = float(np.percentile(image.data[zone.ventricles], 2.0)) if zone.ventricles.any() else tissue
    if not dark < 0.7 * tissue:
        raise NotEstimableError(f"{image.name}: fluid is not darker than tissue (T1 or FLAIR is needed)")
    answer: dict[str, dict[float, float]] = {"fluid": {}, "ventricle": {}, "sulcal": {}}
    for part in thresholds.sweep("fluid_share"):
        wet = image.data < dark + part * (tissue - dark)
        answer["fluid"][part] = float((wet & everywhere).sum()) * image.voxel_ml
        answer["ventricle"][part] = float((wet & zone.ventricles).sum()) * image.voxel_ml
        answer["sulcal"][part] = float((wet & zone.surface).sum()) * image.voxel_ml
    return answer


def fluid_change(now: dict[str, dict[float, float]], before: dict[str, dict[float, float]]) -> dict[str, Change]:
    """Change of each zone's fluid; a zone with hardly any fluid at baseline is left out."""
    chosen = thresholds.value("fluid_share")
    answer = {}
    for name, volumes in now.items():
        earlier = before[name]
        if min(earlier.values()) < FEWEST_ML:
            continue
        shares = {part: volumes[part] / earlier[part] - 1.0 for part in volumes}
        answer[name] = Change(
            shares[chosen], min(shares.values()), max(shares.values()), earlier[chosen], volumes[chosen]
        )
    return answer
