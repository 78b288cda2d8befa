"""The images of one examination, and each of them in its place on the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag
from icans.signals.mri.atlas import on_grid
from icans.signals.mri.lesions import carry_mask, from_mask
from icans.signals.mri.outline import Outline, outline, refuse_non_brain
from icans.signals.mri.registration import Registration, align, to_template
from icans.signals.mri.volume import Array, Volume

#: A rigid shift between images of one examination beyond this is told, mm.
SHIFT_MM = 20.0
#: Images in the order in which they are placed.
IMAGES = ("t1", "flair", "adc", "t1_post", "cbf")


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
    brain, tumour
        Brain mask made elsewhere, and a tumour known before, in the space of T1 (of FLAIR without one).
    to_mni
        Shape (4, 4): a transform of T1 (of FLAIR without one) to MNI space made elsewhere; None: it is found here.
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
    to_mni: Array | None = None
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
class Placed:
    """An image in its place.

    Attributes
    ----------
    image
        The image.
    to_mni, to_reference
        Shape (4, 4): its millimetres to MNI millimetres, and to those of the reference image.
    found
        Masks and labels on its grid.
    """

    image: Volume
    to_mni: Array
    to_reference: Array
    found: Outline


@dataclass(frozen=True)
class Placement:
    """Every image of an examination in its place, how the reference was registered, and flags."""

    images: dict[str, Placed]
    registration: Registration
    flags: tuple[Flag, ...]


def place(exam: Examination, *, seed: int = 1) -> Placement:
    """Register an examination: the reference to the template, the others to the reference.

    Raises
    ------
    DataError
        No image to register, or the reference does not look like a brain.
    """
    reference = exam.reference
    affine = to_template(reference, seed=seed, start=exam.to_mni)
    given = None if exam.brain is None else from_mask(exam.brain, reference).mask
    first = outline(reference, affine.matrix, given)
    refuse_non_brain(reference, affine.matrix, affine.information, first)
    placed: dict[str, Placed] = {}
    flags: list[Flag] = []
    for name in IMAGES:
        image = getattr(exam, name)
        if image is None:
            continue
        if image is reference:
            placed[name] = Placed(image, affine.matrix, np.eye(4), first)
            continue
        move = np.eye(4) if exam.one_space else align(image, reference, seed=seed).matrix
        far = _shift_of_brain(move, image)
        if far > SHIFT_MM:
            text = f"lies {far:.0f} mm from the reference image: of another day, or aligned wrongly"
            flags.append(Flag("align.far", "doubt", text, image.name))
        placed[name] = _follow(image, affine.matrix, move, reference, first)
    return Placement(placed, affine, tuple(flags))


def follow(image: Volume, leader: Placed, *, seed: int = 1, one_space: bool = False) -> Placed:
    """Another image of the same patient in the place of one that was placed (a baseline, a later day)."""
    move = np.eye(4) if one_space else align(image, leader.image, seed=seed).matrix
    return _follow(image, leader.to_mni, move, leader.image, leader.found)


def _follow(image: Volume, to_mni: Array, move: Array, reference: Volume, first: Outline) -> Placed:
    """The reference's masks on the grid of another image."""
    whole = to_mni @ move
    brain = carry_mask(reference.with_data(first.brain), image, move)
    inside = carry_mask(reference.with_data(first.inside), image, move)
    return Placed(image, whole, move, Outline(brain, inside, on_grid(image, whole)))


def _shift_of_brain(move: Array, image: Volume) -> float:
    """How far the middle of an image's field moves, mm."""
    middle = image.affine @ np.array([*(np.array(image.data.shape) / 2.0), 1.0])
    return float(np.linalg.norm((move @ middle - middle)[:3]))
