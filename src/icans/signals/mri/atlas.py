"""The brain's regions in MNI space, made once from one atlas and a table of rules (``regions.toml``), and the template.

Template: the MNI ICBM 2009a nonlinear symmetric T1 average (Fonov et al. 2009, 10.1016/S1053-8119(09)70884-5; 2011,
10.1016/j.neuroimage.2010.07.033) as nilearn brings it inside its package, brain only. Licence of the MNI averages:
use, copying, change and distribution free for any purpose (text of McConnell Brain Imaging Centre, McGill University).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from icans.core.errors import DataError, Problem
from icans.core.files import sha256
from icans.signals.mri.optional import folder_of, need
from icans.signals.mri.volume import Array, Volume, volume

Labels = npt.NDArray[np.uint8]

#: Codes beyond the regions: fluid inside the brain's outline, and choroid plexus with it (enhances in health).
CSF_CODE = 100
VENTRICLE_CODE = 101
#: Tissue this near to a region is counted to it where no label names it, mm.
NEARBY_MM = 4.0


@dataclass(frozen=True, slots=True)
class Region:
    """One region of the table: its name, label, code in the label image, and tissue class."""

    name: str
    label: str
    code: int
    tissue: str


@dataclass(frozen=True)
class Atlas:
    """Labels in MNI space.

    Attributes
    ----------
    labels
        Shape (i, j, k): code of a region, :data:`CSF_CODE`, :data:`VENTRICLE_CODE`, or 0 outside.
    affine
        Shape (4, 4), voxel index to MNI millimetres.
    """

    labels: Labels
    affine: Array

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each region in the template, mL (the template is larger than a mean brain)."""
        scale = abs(np.linalg.det(self.affine[:3, :3])) / 1000.0
        return {r.name: float((self.labels == r.code).sum() * scale) for r in regions()}


@cache
def rules() -> dict:
    """The table of regions as written in ``regions.toml``."""
    return tomllib.loads((resources.files(__package__) / "regions.toml").read_text(encoding="utf-8"))


@cache
def regions() -> tuple[Region, ...]:
    """Every region, in the order of the table."""
    return tuple(Region(name, r["label"], r["code"], r["tissue"]) for name, r in rules()["regions"].items())


@cache
def template(spacing: int = 1) -> tuple[Volume, Volume]:
    """T1 average (brain only, 0 to 1) and its brain mask in MNI space, resampled to ``spacing`` mm.

    Raises
    ------
    IcansError
        nilearn is not installed.
    """
    datasets = need("nilearn.datasets")
    image = datasets.load_mni152_template(resolution=spacing)
    outline = datasets.load_mni152_brain_mask(resolution=spacing)
    average = volume(image.get_fdata(dtype=np.float32), image.affine, "MNI ICBM 2009a")
    mask = volume(np.asarray(outline.dataobj, dtype=np.float32), outline.affine, "MNI ICBM 2009a mask")
    return average, mask


@cache
def atlas() -> Atlas:
    """The regions at 1 mm, built on first use (about two seconds).

    Raises
    ------
    IcansError
        The package with the atlas is not installed.
    DataError
        The atlas file is not the one that the table of regions was written for.
    """
    about = rules()["atlas"]
    path = folder_of(about["package"]) / about["file"]
    if not path.is_file() or sha256(path) != about["sha256"]:
        expected = f"the atlas of {about['package']} 0.3.2 (sha256 {about['sha256'][:12]}…)"
        remedy = f"Install it again: pip install {about['package']}==0.3.2"
        raise DataError([Problem(path.name, None, None, None, expected, remedy)])
    image = need("nibabel").load(path)
    # Labels are turned to right, front, top like every volume; float32 holds codes up to 2^24 exactly.
    raw = volume(np.asarray(image.dataobj, dtype=np.float32), image.affine, path.name)
    return Atlas(_build(raw.data.astype(np.int32), raw.affine, raw.spacing), raw.affine)


def _build(raw: npt.NDArray[np.int32], affine: Array, spacing: tuple[float, float, float]) -> Labels:
    groups = {name: _members(raw, rule) for name, rule in rules()["groups"].items()}
    table = rules()["regions"]
    labels = np.zeros(raw.shape, dtype=np.uint8)
    labels[groups["csf"]] = CSF_CODE
    labels[groups["ventricles"]] = VENTRICLE_CODE
    labels[groups["cortex"] & ~groups["insula"]] = table["cortex"]["code"]
    for rule in table.values():
        if "labels" in rule:
            labels[np.isin(raw, rule["labels"])] = rule["code"]
    white = groups["white"]
    labels[white] = table["subcortical_white_matter"]["code"]
    near = table["periventricular_white_matter"]
    labels[white & _within(groups["ventricles"], spacing, near["within_mm"])] = near["code"]
    capsule = table["external_capsule_insula"]
    reach = capsule["within_mm"]
    between = _within(groups["putamen"], spacing, reach) & _within(groups["insula"], spacing, reach)
    labels[groups["insula"] | (white & between)] = capsule["code"]
    splenium = table["splenium"]
    x = affine[0, 0] * np.arange(raw.shape[0]) + affine[0, 3]
    central = (np.abs(x) <= splenium["max_x_mm"])[:, None, None]
    close = _within(groups["callosum_posterior"], spacing, splenium["within_mm"])
    labels[white & central & close] = splenium["code"]
    return labels


def _members(raw: npt.NDArray[np.int32], rule: dict) -> npt.NDArray[np.bool_]:
    found = np.isin(raw, rule.get("labels", []))
    for first, last in rule.get("ranges", []):
        found |= (raw >= first) & (raw <= last)
    return found


def _within(of: npt.NDArray[np.bool_], spacing: tuple[float, float, float], reach_mm: float) -> npt.NDArray[np.bool_]:
    """Which voxels lie within a distance of a set; sought only around it, which is much quicker."""
    from scipy.ndimage import distance_transform_edt

    answer = np.zeros(of.shape, dtype=bool)
    where = np.argwhere(of)
    margin = np.ceil(reach_mm / np.array(spacing)).astype(int) + 1
    low, high = np.maximum(where.min(axis=0) - margin, 0), where.max(axis=0) + margin + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    answer[box] = distance_transform_edt(~of[box], sampling=spacing) <= reach_mm
    return answer


def on_grid(target: Volume, to_mni: Array, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Labels:
    """The regions on the grid of ``target``.

    Parameters
    ----------
    to_mni
        Shape (4, 4): millimetres of ``target``'s space to MNI millimetres.
    shift_mm
        An error of registration to try, in MNI millimetres.

    Returns
    -------
    Codes with the shape of ``target.data``.
    """
    from scipy.ndimage import affine_transform

    source = atlas()
    move = np.eye(4)
    move[:3, 3] = shift_mm
    matrix = np.linalg.inv(source.affine) @ move @ to_mni @ target.affine
    return np.asarray(
        affine_transform(source.labels, matrix[:3, :3], matrix[:3, 3], target.data.shape, order=0, mode="constant")
    )


def named_nearby(labels: Labels, where: npt.NDArray[np.bool_], spacing: tuple[float, float, float]) -> Labels:
    """Codes of the voxels ``where``, in their order: those outside every region get that of the nearest one.

    An affine map leaves borders uncertain; what lies at most :data:`NEARBY_MM` outside a region is counted to it.
    0 where none is so near.
    """
    at = np.stack(np.nonzero(where), axis=1)
    codes = labels[where].copy()
    codes[codes >= CSF_CODE] = 0
    reach = [int(NEARBY_MM // edge) for edge in spacing]
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    far = np.linalg.norm(steps * np.array(spacing), axis=1)
    for step in steps[np.argsort(far, kind="stable")][1 : int((far <= NEARBY_MM).sum())]:
        open_ = np.flatnonzero(codes == 0)
        if not len(open_):
            break
        beside = np.clip(at[open_] + step, 0, np.array(labels.shape) - 1)
        found = labels[tuple(beside.T)]
        codes[open_] = np.where(found < CSF_CODE, found, 0)
    return codes


def right_side(target: Volume, to_mni: Array) -> npt.NDArray[np.bool_]:
    """Which voxels of ``target`` lie right of the midline of MNI space."""
    row = (to_mni @ target.affine)[0]
    i, j, k = (np.arange(n, dtype=np.float32) for n in target.data.shape)
    x = row[0] * i[:, None, None] + row[1] * j[None, :, None] + row[2] * k[None, None, :] + row[3]
    return np.asarray(x > 0)
