"""How much of the lesions lies at a tumour known before: TIAN is inflammation of the tumour's bed, ICANS is not.

Of the brain, too, a share lies near the tumour: the index is the share of lesions over that share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.core.errors import NotEstimableError
from icans.signals.mri import thresholds
from icans.signals.mri.outline import Mask
from icans.signals.mri.volume import Volume

#: Fewest mL of lesions from which a share can be told.
FEWEST_ML = 0.1


@dataclass(frozen=True, slots=True)
class Focality:
    """Lesions relative to a tumour.

    Attributes
    ----------
    share, share_low, share_high
        Share of the lesions within the distance chosen, and its range over the sweep of distances.
    index, index_low, index_high
        The share over the share of the brain that lies as near.
    median_mm
        Median distance of lesion voxels from the tumour (0 inside).
    lesion_ml
        Volume of lesions.
    """

    share: float
    share_low: float
    share_high: float
    index: float
    index_low: float
    index_high: float
    median_mm: float
    lesion_ml: float


def focality(lesions: Mask, tumour: Mask, brain: Mask, image: Volume) -> Focality:
    """Focality of lesions on the grid of ``image``.

    Raises
    ------
    NotEstimableError
        No tumour on this grid, or too few lesions.
    """
    from scipy.ndimage import distance_transform_edt

    volume = float(lesions.sum()) * image.voxel_ml
    if volume < FEWEST_ML:
        raise NotEstimableError(f"{volume:.2f} mL of lesions are too few to say where they lie")
    if not tumour.any():
        raise NotEstimableError("the tumour's mask is empty on the grid of the lesions")
    away = distance_transform_edt(~tumour, sampling=image.spacing)
    shares, indices = {}, {}
    for reach in thresholds.sweep("focal_mm"):
        shares[reach] = float((away[lesions] <= reach).mean())
        expected = float((away[brain | lesions] <= reach).mean())
        indices[reach] = shares[reach] / expected
    chosen = thresholds.value("focal_mm")
    return Focality(
        shares[chosen], min(shares.values()), max(shares.values()),
        indices[chosen], min(indices.values()), max(indices.values()),
        float(np.median(away[lesions])), volume,
    )  # fmt: skip
