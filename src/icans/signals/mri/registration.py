"""Linear registration by mutual information, coarse to fine (Mattes et al. 2003, 10.1109/TMI.2003.809072), SimpleITK.

Every transform is a 4 x 4 matrix between millimetre spaces (right, front, top). Images are never resampled here:
labels are carried to the images, so that no measured intensity is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from icans.signals.mri.atlas import template
from icans.signals.mri.optional import need
from icans.signals.mri.volume import Array, Volume

#: Right, front, top (here) to left, back, top (ITK): the same matrix both ways.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Head heights tried as a start, mm: the centre of mass of a head lies below that of the brain by what neck is in view.
_STARTS_MM = (0.0, 25.0, 50.0)
#: First steps of the affine optimisation, mm: the next is tried where the one before made the fit worse.
AFFINE_STEPS_MM = (0.5, 0.1)
#: Bins of the joint histogram.
BINS = 32
#: The metric looks this far beyond the template's brain, so that the dark skull counts, mm. Not as far as the skin: the
#: fit gets better when the head is stretched until it leaves the view (0.6 mm of error in phantoms at 6 mm, 0.4 at 4).
SKULL_MM = 4.0


@dataclass(frozen=True)
class Registration:
    """A transform and how well it fits.

    Attributes
    ----------
    matrix
        Shape (4, 4): millimetres of the moving image's space to those of the fixed one's.
    information
        Mattes mutual information at the end (higher is better; depends on both images).
    evaluations
        Number of steps of the optimiser.
    """

    matrix: Array
    information: float
    evaluations: int

    def shift_mm(self) -> float:
        """How far the point at the middle of MNI space moves, mm."""
        return float(np.linalg.norm(self.matrix[:3, 3]))


def to_template(moving: Volume, *, seed: int = 1, samples: float = 0.2, start: Array | None = None) -> Registration:
    """Affine transform of a head to MNI space.

    Parameters
    ----------
    moving
        A T1, T2, FLAIR or other image of the head; contrast need not be that of the template.
    seed, samples
        Seed of the voxels drawn, and their share.
    start
        Shape (4, 4): a transform made elsewhere. It is kept as it is; only its fit is computed.

    Raises
    ------
    IcansError
        SimpleITK or nilearn is not installed.
    """
    fixed, mask = template(2)
    if start is not None:
        return Registration(np.asarray(start, dtype=float), fit_of(moving, start), 0)
    return _register(fixed, moving, mask=mask, kind="affine", seed=seed, samples=samples)


def fit_of(moving: Volume, matrix: Array) -> float:
    """Mattes mutual information of a head with the template under a transform (4 x 4, head to MNI millimetres)."""
    sitk = need("SimpleITK")
    fixed, mask = template(2)
    given = _FLIP @ np.linalg.inv(matrix) @ _FLIP
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(given[:3, :3].ravel().tolist())
    affine.SetTranslation(given[:3, 3].tolist())
    method = _metric(sitk, _skull(sitk, mask), 1.0, 0)
    method.SetInitialTransform(affine)
    return -float(method.MetricEvaluate(_image(sitk, fixed), _image(sitk, moving)))


def align(moving: Volume, fixed: Volume, *, seed: int = 1, samples: float = 0.1) -> Registration:
    """Rigid transform of one image of a head to another of the same patient (any two contrasts)."""
    return _register(fixed, moving, mask=None, kind="rigid", seed=seed, samples=samples)


def _register(
    fixed: Volume, moving: Volume, *, mask: Volume | None, kind: Literal["affine", "rigid"], seed: int, samples: float
) -> Registration:
    sitk = need("SimpleITK")
    pair = _Pair(sitk, _image(sitk, fixed), _image(sitk, moving), None if mask is None else _skull(sitk, mask))
    # About 2 mm is enough for either: what is left is far below the size of a region.
    fine = max(1, round(2.0 / max(fixed.spacing)))
    start, found, tried = None, -np.inf, 0
    for candidate in _starts(sitk, pair.still, pair.mobile, mask is not None):
        quick, value, count = _run(pair, candidate, 4 * fine, 1.0, seed)
        tried += count
        if value > found:
            start, found = quick, value
    assert start is not None
    rigid, found, count = _run(pair, start, 2 * fine, max(samples, 0.5), seed, step=1.0)
    tried += count
    if kind == "affine":
        final, found, count = _affine(pair, rigid, fine, samples, seed)
    else:
        final, found, count = _run(pair, rigid, fine, samples, seed, step=0.5)
    # SimpleITK gives the map from fixed to moving points; its inverse carries the moving image's space.
    matrix = np.asarray(np.linalg.inv(_FLIP @ _matrix(final) @ _FLIP), dtype=float)
    return Registration(matrix, found, tried + count)


@dataclass
class _Pair:
    """Both images as SimpleITK has them, and what each level of the pyramid needs, smoothed once."""

    sitk: Any
    still: Any
    mobile: Any
    outline: Any
    levels: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def level(self, shrink: int) -> tuple[Any, Any]:
        """Fixed and moving image for steps of ``shrink`` voxels of the fixed one.

        Both are smoothed by half a step, and the moving one is thinned to that, which takes nothing more from it.
        """
        if shrink not in self.levels:
            sigma = 0.5 * shrink * min(self.still.GetSpacing()) if shrink > 1 else 0.0
            smooth = [self.sitk.SmoothingRecursiveGaussian(i, sigma) if sigma else i for i in (self.still, self.mobile)]
            thin = [max(1, int(sigma / edge)) for edge in self.mobile.GetSpacing()]
            self.levels[shrink] = smooth[0], self.sitk.Shrink(smooth[1], thin)
        return self.levels[shrink]


def _affine(pair: _Pair, rigid: Any, fine: int, samples: float, seed: int) -> tuple[Any, float, int]:
    """The rigid transform with scales and shears added.

    Gradient descent may walk away from a good start; the fit of all voxels tells. Then smaller steps are tried, and at
    last the rigid transform itself is kept.
    """
    start = pair.sitk.AffineTransform(3)
    start.SetCenter(rigid.GetCenter())
    start.SetMatrix(rigid.GetMatrix())
    start.SetTranslation(rigid.GetTranslation())

    def fit(transform: Any) -> float:
        method = _metric(pair.sitk, pair.outline, 1.0, seed)
        method.SetInitialTransform(transform)
        return -float(method.MetricEvaluate(pair.still, pair.mobile))

    before, count = fit(start), 0
    for step in AFFINE_STEPS_MM:
        moved = pair.sitk.AffineTransform(start)
        for shrink in (2 * fine, fine):
            moved, _, tried = _run(pair, moved, shrink, samples, seed, step=step)
            count += tried
        after = fit(moved)
        if after > before:
            return moved, after, count
    return start, before, count


def _image(sitk: Any, source: Volume) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(source.data.transpose(2, 1, 0)))
    affine = _FLIP @ source.affine
    image.SetSpacing(source.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / np.array(source.spacing)).ravel().tolist())
    return image


def _skull(sitk: Any, mask: Volume) -> Any:
    """The template's brain with what lies just around it."""
    inside = sitk.Cast(_image(sitk, mask) > 0.5, sitk.sitkUInt8)
    return sitk.BinaryDilate(inside, [round(SKULL_MM / edge) for edge in mask.spacing])


def _starts(sitk: Any, still: Any, mobile: Any, whole_head: bool) -> list[Any]:
    """Rigid starts: as the scanner says, by centres of mass, and those moved along the body."""
    centred = sitk.CenteredTransformInitializer(
        still, mobile, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    centre, translation = centred.GetCenter(), np.array(centred.GetTranslation())
    made = []
    for height in _STARTS_MM if whole_head else (0.0,):
        one = sitk.Euler3DTransform()
        one.SetCenter(centre)
        one.SetTranslation((translation + np.array([0.0, 0.0, height])).tolist())
        made.append(one)
    unmoved = sitk.Euler3DTransform()
    unmoved.SetCenter(centre)
    return [*made, unmoved]


def _run(pair: _Pair, start: Any, shrink: int, samples: float, seed: int, step: float = 2.0) -> tuple[Any, float, int]:
    """One optimisation at one level: the transform, the mutual information and the number of steps.

    ``step``: length of the first step, mm.
    """
    still, mobile = pair.level(shrink)
    method = _metric(pair.sitk, pair.outline, samples, seed)
    method.SetOptimizerAsRegularStepGradientDescent(step, 1e-3, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([0.0])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(still, mobile)
    return start, -float(method.GetMetricValue()), int(method.GetOptimizerIteration())


def _metric(sitk: Any, outline: Any, samples: float, seed: int) -> Any:
    """Mutual information as the thing to improve."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    if samples < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(samples, seed)
    else:
        # Few samples make mutual information look high, and differently so for every start: coarse levels use all.
        method.SetMetricSamplingStrategy(method.NONE)
    if outline is not None:
        method.SetMetricFixedMask(outline)
    method.SetInterpolator(sitk.sitkLinear)
    # One thread: the sum of the metric then does not depend on how threads were scheduled.
    method.SetNumberOfThreads(1)
    return method


def _matrix(transform: Any) -> Array:
    """A centred ITK transform as a matrix."""
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, translation = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + translation - turn @ centre
    return matrix


def displacement_mm(found: Array, truth: Array, points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and greatest distance between where two transforms carry ``points`` (shape (n, 3)), mm."""
    difference = found - truth
    apart = np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1)
    return float(apart.mean()), float(apart.max())
