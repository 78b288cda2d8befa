"""Synthetic heads with known lesions, for tests, examples and benchmarks. Never data of a patient.

Tissue comes from the template's anatomy, so a phantom checks the arithmetic, the geometry and the pipeline. It says
nothing about how brains differ from the template, nor about lesions in patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from icans.core.random import stream
from icans.signals.mri.atlas import CSF_CODE, atlas, on_grid, regions, template
from icans.signals.mri.outline import Mask, carried
from icans.signals.mri.volume import Array, Volume

#: Signal of tissue classes; FLAIR and T1 in units of white matter, ADC in mm2/s. Assumed, in the order seen in health.
FLAIR = {"grey": 1.2, "white": 1.0, "deep": 1.15, "brainstem": 1.05, "cerebellum": 1.15, "mixed": 1.1, "fluid": 0.15}
ADC = {"grey": 0.82e-3, "white": 0.72e-3, "deep": 0.76e-3, "brainstem": 0.75e-3, "cerebellum": 0.75e-3,
       "mixed": 0.78e-3, "fluid": 3.0e-3}  # fmt: skip


@dataclass(frozen=True)
class Spot:
    """A lesion: where, how large, and what it does to each contrast.

    Attributes
    ----------
    region
        Name of a region; the lesion grows around its middle on one side and stays inside it.
    ml
        Its volume, mL.
    side
        ``"left"`` or ``"right"``.
    flair
        Signal in units of the tissue's own.
    adc
        Diffusion in mm2/s.
    gain
        Gain of T1 signal after contrast, as a share.
    """

    region: str
    ml: float
    side: str = "left"
    flair: float = 1.9
    adc: float = 1.5e-3
    gain: float = 0.0


@dataclass(frozen=True)
class Phantom:
    """A synthetic head: its images, its true lesions and its true place in MNI space (``to_mni``, shape (4, 4))."""

    t1: Volume
    flair: Volume
    adc: Volume
    t1_post: Volume
    to_mni: Array
    truth: Mask
    by_region_ml: Mapping[str, float] = field(default_factory=dict)


def phantom(
    spots: tuple[Spot, ...] = (),
    *,
    spacing: float = 2.0,
    to_mni: Array | None = None,
    noise: float = 0.03,
    shading: float = 0.2,
    blur_mm: float = 1.0,
    seed: int = 1,
) -> Phantom:
    """A synthetic head.

    Parameters
    ----------
    spots
        Lesions.
    spacing
        Edge of a voxel, mm.
    to_mni
        Shape (4, 4): the head's millimetres to MNI millimetres; None for the same space.
    noise, shading
        Noise as a share of white matter's signal, and depth of the coil's shading as a share.
    blur_mm
        Standard deviation of the blur (partial volume), mm.
    seed
        Seed of the noise.
    """
    place = np.eye(4) if to_mni is None else np.asarray(to_mni, dtype=float)
    grid = _grid(spacing, place)
    labels = on_grid(grid, place)
    truth, changed = _lesions(spots, labels, grid, place)
    average, mask = template(1 if spacing < 2 else 2)
    inside = carried(mask, grid, place) > 0.5
    scalp = _scalp(inside, spacing)
    t1 = carried(average, grid, place) / 0.8
    t1[scalp] = 1.3
    post = t1.copy()
    tissue = _by_tissue(labels, FLAIR)
    tissue[inside & (labels == 0)] = FLAIR["fluid"]
    adc = _by_tissue(labels, ADC)
    adc[inside & (labels == 0)] = ADC["fluid"]
    tissue[scalp], adc[scalp] = 1.4, 0.3e-3
    for spot, where in changed:
        tissue[where] *= spot.flair
        adc[where] = spot.adc
        post[where] *= 1.0 + spot.gain
    rng = stream(seed, "mri phantom")
    bias = _bias(grid, shading)

    def finish(data: np.ndarray, scale: float, name: str, shaded: bool) -> Volume:
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(data, blur_mm / spacing) if blur_mm > 0 else data
        # Noise of magnitude images (Rice): two channels, so that air is dark but not zero.
        level = noise if shaded else noise * 0.8e-3
        seen = np.hypot((smooth * bias if shaded else smooth) + level * rng.standard_normal(data.shape),
                        level * rng.standard_normal(data.shape))  # fmt: skip
        return grid.with_data(scale * seen, f"synthetic {name}")

    names = {r.code: r.name for r in regions()}
    counts = {names[c]: float((truth & (labels == c)).sum()) * grid.voxel_ml for c in names}
    return Phantom(
        t1=finish(t1, 600.0, "T1", True),
        flair=finish(tissue, 300.0, "FLAIR", True),
        adc=finish(adc, 1.0, "ADC", False),
        t1_post=finish(post, 700.0, "T1 after contrast", True),
        to_mni=place,
        truth=truth,
        by_region_ml=counts,
    )


def _grid(spacing: float, place: Array) -> Volume:
    """An empty grid around the head: 190 x 226 x 190 mm of MNI space, upright in the head's own space."""
    middle = np.linalg.inv(place) @ np.array([0.0, -18.0, 12.0, 1.0])
    shape = tuple(int(np.ceil(length / spacing)) for length in (196.0, 232.0, 204.0))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = middle[:3] - spacing * (np.array(shape) - 1) / 2
    return Volume(np.zeros(shape, dtype=np.float32), affine, "synthetic")


def _lesions(
    spots: tuple[Spot, ...], labels: np.ndarray, grid: Volume, place: Array
) -> tuple[Mask, list[tuple[Spot, Mask]]]:
    codes = {r.name: r.code for r in regions()}
    truth = np.zeros(labels.shape, dtype=bool)
    made = []
    for spot in spots:
        centre = np.linalg.inv(grid.affine) @ np.linalg.inv(place) @ _deepest(codes[spot.region], spot.side)
        i, j, k = np.ogrid[tuple(slice(0, n) for n in labels.shape)]
        far = (i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (k - centre[2]) ** 2
        own = labels == codes[spot.region]
        wanted = min(max(1, round(spot.ml / grid.voxel_ml)), int(own.sum()))
        order = np.argsort(np.where(own, far, np.inf), axis=None, kind="stable")[:wanted]
        where = np.zeros(labels.shape, dtype=bool)
        where.ravel()[order] = True
        truth |= where
        made.append((spot, where))
    return truth, made


@cache
def _deepest(code: int, side: str) -> Array:
    """The point of a region farthest from its border on one side, MNI millimetres (with a 1 for translation)."""
    from scipy.ndimage import distance_transform_edt, find_objects

    source = atlas()
    box = find_objects((source.labels == code).astype(np.uint8))[0]
    member = np.pad(source.labels[box] == code, 1)
    start = np.array([b.start for b in box]) - 1
    x = source.affine[0, 0] * (np.arange(member.shape[0]) + start[0]) + source.affine[0, 3]
    member &= ((x > 0) if side == "right" else (x < 0))[:, None, None]
    at = np.unravel_index(int(np.argmax(distance_transform_edt(member))), member.shape)
    return np.asarray(source.affine @ np.array([*(np.array(at) + start), 1.0]))


def _by_tissue(labels: np.ndarray, signal: Mapping[str, float]) -> np.ndarray:
    lookup = np.zeros(256)
    for region in regions():
        lookup[region.code] = signal[region.tissue]
    lookup[CSF_CODE:] = signal["fluid"]
    return lookup[labels]


def _scalp(inside: Mask, spacing: float) -> Mask:
    """A shell of skin beyond a dark skull of 6 mm."""
    from scipy.ndimage import distance_transform_edt

    away = distance_transform_edt(~inside) * spacing
    return np.asarray((away > 6.0) & (away <= 11.0))


def _bias(grid: Volume, depth: float) -> np.ndarray:
    """Smooth shading from one corner to the other, between 1 - depth and 1 + depth."""
    axes = [np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in grid.data.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.asarray(1.0 + depth * np.clip(0.5 * x + 0.4 * y - 0.35 * z**2 + 0.15, -1.0, 1.0))
