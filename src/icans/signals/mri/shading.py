"""Removal of the slow shading that receive coils leave: N4 (Tustison et al. 2010, 10.1109/TMI.2010.2046908)."""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.signals.mri.optional import need
from icans.signals.mri.outline import Mask
from icans.signals.mri.volume import Volume

#: The field is estimated on voxels of about this size, mm: it is smooth.
COARSE_MM = 6.0
#: Iterations per level of the spline, and distance of its first knots, mm. Knots this far apart cannot follow a lesion.
ITERATIONS = (30, 30, 20)
KNOTS_MM = 150.0


def evened(image: Volume, brain: Mask) -> Volume:
    """The image divided by its estimated shading; the median of the brain is kept.

    Raises
    ------
    IcansError
        SimpleITK is not installed.
    """
    if not brain.any():
        return image
    sitk = need("SimpleITK")
    # N4 works on logarithms: what is zero or below has no place in it.
    positive = brain & (image.data > 0)
    field = _log_field(sitk, image, positive)
    data = image.data / np.exp(field)
    before, after = float(np.median(image.data[positive])), float(np.median(data[positive]))
    return image.with_data(data * (before / after) if after > 0 else data)


def _log_field(sitk: Any, image: Volume, brain: Mask) -> np.ndarray:
    def itk(data: np.ndarray, kind: int) -> Any:
        made = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
        made.SetSpacing(image.spacing)
        return sitk.Cast(made, kind)

    whole = itk(np.maximum(image.data, 0.0), sitk.sitkFloat32)
    inside = itk(brain.astype(np.uint8), sitk.sitkUInt8)
    factors = [max(1, round(COARSE_MM / edge)) for edge in image.spacing]
    coarse, coarse_inside = sitk.Shrink(whole, factors), sitk.Shrink(inside, factors)
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetMaximumNumberOfIterations(list(ITERATIONS))
    extent = [n * s for n, s in zip(coarse.GetSize(), coarse.GetSpacing(), strict=True)]
    method.SetNumberOfControlPoints([4 + round(length / KNOTS_MM) for length in extent])
    method.SetNumberOfThreads(1)
    method.Execute(coarse, coarse_inside)
    field = method.GetLogBiasFieldAsImage(whole)
    return np.asarray(sitk.GetArrayFromImage(field)).transpose(2, 1, 0)
