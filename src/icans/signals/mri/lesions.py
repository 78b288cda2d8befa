"""Bright tissue on FLAIR, by a threshold against the same patient's own tissue, or from a mask made elsewhere.

White matter, grey matter, brainstem and cerebellum differ on FLAIR in health: each class is compared with itself, and
near a border with a brighter class with that one, as an affine map leaves borders uncertain by millimetres. Lesions are
looked for away from the brain's surface and then drawn to their border, which may lie there. What is
bright by nature (caps of the ventricles, septum, vessels, pulsation, a rim of skull the mask kept) is bright here too.
The accuracy on patients' lesions was not measured and is not claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import DataError, NotEstimableError, Problem
from icans.signals.eeg.flags import Flag
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import CSF_CODE, Labels, regions
from icans.signals.mri.outline import Mask, Outline
from icans.signals.mri.volume import Volume

#: Fewest voxels that a tissue class must have to serve as its own reference.
FEWEST = 200
#: Fewest connected voxels of a lesion: on coarse grids two neighbours may be bright by chance.
FEWEST_TOGETHER = 5
#: Tissue darker than this share of the brain's median is fluid or bone on FLAIR and no reference.
DARK_SHARE = 0.5
#: Layers of the mask's surface where threshold lesions are not sought, mm: skull and pulsation are bright there.
RIM_MM = 2.0
#: From where it was found a lesion is drawn this far at most, mm; into the rim, too.
REACH_MM = 3.0
#: How far down the slope of signal the outside of a border is looked at, mm: about twice the blur of an image.
OUTSIDE_MM = 2.0
#: Share of a lesion's contrast by which a voxel must stand out of its own tissue class.
GROWTH = 0.25
#: Width of the smoothing before the comparison (standard deviation), mm: single voxels are noise.
SMOOTH_MM = 1.0
#: A class is judged by voxels this far inside it where it has enough of them, mm: its border is mixed with others.
INTERIOR_MM = 2.0
#: Rounds of the reference that leave out what the last round called abnormal.
ROUNDS = 5


@dataclass(frozen=True)
class Lesions:
    """Lesion masks on the grid of one image.

    Attributes
    ----------
    mask
        At the threshold itself (or as given).
    sweep
        At every threshold of the sweep; empty for a mask made elsewhere.
    z
        Robust z score of every brain voxel against its tissue class, 0 elsewhere; None for a mask made elsewhere.
    flags
        What a reader must know.
    """

    mask: Mask
    sweep: dict[float, Mask]
    z: npt.NDArray[np.float32] | None = None
    flags: tuple[Flag, ...] = ()


def by_threshold(flair: Volume, found: Outline) -> Lesions:
    """Bright tissue of a FLAIR image whose slow shading was removed.

    Raises
    ------
    NotEstimableError
        No tissue class has enough voxels.
    """
    smooth = flair.with_data(_smoothed(flair, found.brain))
    z, flags = robust_z(smooth, found)
    tissue = found.brain & (_tissue_class(found.labels) > 0) & _deep(found, flair.spacing)
    room = found.brain | found.inside
    masks = {cut: _lesions(flair, smooth, z, tissue, room, cut) for cut in thresholds.sweep("flair_z")}
    chosen = masks[thresholds.value("flair_z")]
    share = float(chosen.sum()) / max(float(tissue.sum()), 1.0)
    if share > 0.15:
        text = f"{share:.0%} of the brain is called bright: shading, motion or a wrong contrast are more likely"
        flags = [*flags, Flag("flair.implausible", "doubt", text, flair.name)]
    return Lesions(chosen, masks, z.above, tuple(flags))


def from_mask(mask: Volume, image: Volume, move: npt.NDArray[np.float64] | None = None) -> Lesions:
    """A mask made elsewhere, carried to the grid of ``image`` (nearest neighbour).

    Parameters
    ----------
    move
        Shape (4, 4): millimetres of the image's space to those of the mask's; None where they share it.

    Raises
    ------
    DataError
        The mask holds other numbers than 0 and whole labels, or does not meet the image.
    """
    values = np.unique(mask.data)
    if values.size > 256 or not np.allclose(values, np.round(values)) or values.min() < 0:
        written = f"{values.size} different values, {values.min():g} to {values.max():g}"
        remedy = "Give a binary mask; cut probabilities first."
        raise DataError([Problem(mask.name, None, "values", written, "0 and 1 (or whole labels)", remedy)])
    flags = []
    if values.max() > 1:
        flags.append(
            Flag("mask.labels", "note", f"labels up to {values.max():g}: every label counts as lesion", mask.name)
        )
    placed = carry_mask(mask, image, move)
    before, after = float((mask.data > 0).sum()) * mask.voxel_ml, float(placed.sum()) * image.voxel_ml
    if before > 0 and after < 0.5 * before:
        expected = f"the {before:.1f} mL of the mask to lie inside the image"
        remedy = "Give mask and image in one space, or register them first."
        raise DataError([Problem(mask.name, None, "position", f"{after:.1f} mL inside", expected, remedy)])
    return Lesions(placed, {}, None, tuple(flags))


def carry_mask(mask: Volume, image: Volume, move: npt.NDArray[np.float64] | None = None) -> Mask:
    """A binary mask on the grid of another image (nearest neighbour)."""
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(mask.affine) @ (np.eye(4) if move is None else move) @ image.affine
    binary = (mask.data > 0).astype(np.uint8)
    return np.asarray(affine_transform(binary, matrix[:3, :3], matrix[:3, 3], image.data.shape, order=0) > 0)


@dataclass(frozen=True)
class Brightness:
    """Every brain voxel against normal tissue.

    Attributes
    ----------
    above
        Robust z score against the brightest class within reach; 0 outside the brain.
    own
        Signal at the middle of the voxel's own class; 0 where it has none.
    """

    above: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]


def robust_z(image: Volume, found: Outline) -> tuple[Brightness, list[Flag]]:
    """How far every brain voxel lies above the middle of normal tissue, in robust standard deviations.

    Raises
    ------
    NotEstimableError
        No tissue class has enough voxels.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    data, tissue = image.data, _tissue_class(found.labels)
    box = [2 * max(1, round(INTERIOR_MM / edge)) + 1 for edge in image.spacing]
    pure = maximum_filter(tissue, size=box) == minimum_filter(tissue, size=box)
    brain = found.brain & (tissue > 0)
    if int(brain.sum()) < FEWEST:
        raise NotEstimableError(
            f"{image.name}: {int(brain.sum())} voxels of brain are too few to compare tissue with itself"
        )
    dark = DARK_SHARE * float(np.median(data[brain]))
    references: dict[int, tuple[float, float]] = {}
    for code in np.unique(tissue[brain]):
        members = brain & (tissue == code) & (data > dark)
        if int((members & pure).sum()) >= FEWEST:
            members &= pure
        if int(members.sum()) >= FEWEST:
            middle, spread = _reference(data[members])
            references[int(code)] = (middle, max(spread, thresholds.value("spread_floor") * middle))
    if not references:
        raise NotEstimableError(f"{image.name}: no tissue class has {FEWEST} voxels")
    above = _against_brightest_near(data, tissue, brain, references, image.spacing)
    own = np.zeros(256, dtype=np.float32)
    own[list(references)] = [middle for middle, _ in references.values()]
    white, deep = (references.get(_classes()[name]) for name in ("white", "deep"))
    flags = []
    if white is not None and deep is not None and white[0] > 1.1 * deep[0]:
        text = "white matter is brighter than deep grey matter: diffuse disease would hide in its own reference"
        flags.append(Flag("flair.reference", "doubt", text, image.name))
    return Brightness(above, own[tissue]), flags


def _against_brightest_near(
    data: npt.NDArray[np.float32],
    tissue: Labels,
    brain: Mask,
    references: dict[int, tuple[float, float]],
    spacing: tuple[float, float, float],
) -> npt.NDArray[np.float32]:
    """Scores against the brightest class within reach of a voxel (classes ranked by their middle)."""
    from scipy.ndimage import maximum_filter

    ordered = sorted(references, key=lambda code: references[code][0])
    rank = np.zeros(256, dtype=np.uint8)
    rank[ordered] = np.arange(1, len(ordered) + 1)
    reach = thresholds.value("neighbour_mm")
    size = [2 * max(1, round(reach / edge)) + 1 for edge in spacing]
    brightest = maximum_filter(rank[tissue], size=size)
    middle = np.array([0.0, *(references[code][0] for code in ordered)], dtype=np.float32)
    spread = np.array([1.0, *(references[code][1] for code in ordered)], dtype=np.float32)
    z = np.zeros(data.shape, dtype=np.float32)
    where = brain & (brightest > 0)
    z[where] = (data[where] - middle[brightest[where]]) / spread[brightest[where]]
    return z


def _smoothed(image: Volume, brain: Mask) -> npt.NDArray[np.float32]:
    """The image under a narrow blur that does not reach across the border of the brain."""
    from scipy.ndimage import gaussian_filter

    sigma = [SMOOTH_MM / edge for edge in image.spacing]
    weight = gaussian_filter(brain.astype(np.float32), sigma)
    return np.where(brain, gaussian_filter(image.data * brain, sigma) / np.maximum(weight, 1e-3), image.data)


def _classes() -> dict[str, int]:
    names = dict.fromkeys(region.tissue for region in regions())
    return {name: code for code, name in enumerate(names, start=1)}


def _tissue_class(labels: Labels) -> Labels:
    """Code of the tissue class of every voxel; 0 for fluid and outside."""
    lookup = np.zeros(256, dtype=np.uint8)
    for region in regions():
        lookup[region.code] = _classes()[region.tissue]
    return np.asarray(lookup[labels])


def _reference(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Middle and robust spread of normal-appearing tissue: outliers above are left out round by round.

    The spread is the smaller of those of both halves: fluid widens the lower one, lesions the upper one.
    """
    kept = values
    middle = spread = 0.0
    for _ in range(ROUNDS):
        middle = float(np.median(kept))
        halves = np.median(middle - kept[kept <= middle]), np.median(kept[kept >= middle] - middle)
        spread = max(1.4826 * float(min(halves)), 1e-6 * max(abs(middle), 1e-12))
        trimmed = values[values <= middle + 3.0 * spread]
        if trimmed.size == kept.size:
            break
        kept = trimmed
    return middle, spread


def _deep(found: Outline, spacing: tuple[float, float, float]) -> Mask:
    """Tissue away from the surface of the brain mask and from fluid of the atlas's outside."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    whole = binary_fill_holes(found.brain | ((found.labels >= CSF_CODE) & found.inside))
    return np.asarray(distance_transform_edt(whole, sampling=spacing) > RIM_MM)


def _lesions(image: Volume, smooth: Volume, scores: Brightness, seeds: Mask, room: Mask, cut: float) -> Mask:
    """Connected bright tissue: found away from the surface, then drawn to its border within ``room``.

    The border lies half way between a piece's own signal and what lies just outside: tissue or, darker, fluid. What
    is taken must also stand out of its own tissue class by :data:`GROWTH` of the piece's contrast, so that tissue
    between a lesion and fluid stays out.
    """
    from scipy import ndimage

    together = np.ones((3, 3, 3))
    parts, count = ndimage.label(seeds & (scores.above > cut), structure=together)
    if count == 0:
        return np.zeros(seeds.shape, dtype=bool)
    peak = ndimage.labeled_comprehension(
        smooth.data, parts, np.arange(1, count + 1), lambda v: np.percentile(v, 75), float, 0.0
    )
    peak = np.concatenate([[0.0], peak])
    half = scores.own + thresholds.value("flair_edge") * (peak[parts] - scores.own)
    # Drawing a border adds voxels: whether a piece is more than noise is asked before.
    core = (parts > 0) & (smooth.data >= half)
    parts[~_large(parts, core, image.voxel_ml)[parts]] = 0
    if not parts.any():
        return np.zeros(seeds.shape, dtype=bool)
    away, nearest = ndimage.distance_transform_edt(parts == 0, sampling=image.spacing, return_indices=True)
    near = np.nonzero((away <= REACH_MM) & room)
    closest = tuple(axis[near] for axis in nearest)
    own = np.where(scores.own[near] > 0, scores.own[near], scores.own[closest])
    top = peak[parts[closest]]
    outside = np.minimum(_outwards(image, smooth, near), own)
    edge = outside + thresholds.value("flair_edge") * (top - outside)
    kept = np.zeros(seeds.shape, dtype=bool)
    kept[near] = image.data[near] >= np.maximum(edge, own + GROWTH * (top - own))
    pieces, _ = ndimage.label(kept, structure=together)
    grown = np.zeros(int(pieces.max()) + 1, dtype=bool)
    grown[np.unique(pieces[parts > 0])] = True
    return np.asarray((_large(pieces, kept, image.voxel_ml) & grown)[pieces])


def _large(parts: npt.NDArray[np.int32], where: Mask, voxel_ml: float) -> Mask:
    """Which pieces (by number; 0, the rest, never) are large enough within ``where`` to be more than noise."""
    sizes = np.bincount(parts[where], minlength=int(parts.max()) + 1)
    large = (sizes * voxel_ml >= thresholds.value("smallest_ml")) & (sizes >= FEWEST_TOGETHER)
    large[0] = False
    return np.asarray(large)


def _outwards(image: Volume, smooth: Volume, near: tuple[npt.NDArray[np.intp], ...]) -> npt.NDArray[np.float64]:
    """Signal one step down the slope from each of the voxels ``near``: what lies outside the border they are at."""
    from scipy.ndimage import map_coordinates

    gradient = np.asarray(np.gradient(smooth.data, *image.spacing), dtype=float)
    slope = np.stack([gradient[axis][near] for axis in range(3)])
    length = np.sqrt((slope**2).sum(axis=0))
    at = np.stack(near) - OUTSIDE_MM * slope / np.maximum(length, 1e-12) / np.array(image.spacing)[:, None]
    return np.asarray(map_coordinates(image.data, at, order=1, mode="nearest"), dtype=float)
