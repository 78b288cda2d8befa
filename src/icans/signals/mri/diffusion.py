"""Low and high diffusion: cytotoxic swelling lowers the apparent diffusion coefficient, vasogenic oedema raises it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import CSF_CODE, regions
from icans.signals.mri.outline import Mask, Outline, large_pieces
from icans.signals.mri.volume import Volume

#: Powers of ten by which scanners store the map: mm2/s, um2/s, and 1e-3 or 1e-5 mm2/s.
FACTORS = (1.0, 1e-3, 1e-5, 1e-6)
#: Below this a voxel is a void of signal (air, iron, bone), not tissue, mm2/s.
VOID = 0.0001


@dataclass(frozen=True)
class Diffusion:
    """Masks on the grid of the map: tissue, and low and high diffusion at every threshold of their sweeps."""

    tissue: Mask
    low: dict[float, Mask]
    high: dict[float, Mask]


def coefficient(plain: Volume, weighted: Volume, b: float) -> Volume:
    """Apparent diffusion coefficient (mm2/s) from an image without and one with diffusion weighting.

    Parameters
    ----------
    b
        Weighting of the second, s/mm2.

    Raises
    ------
    DataError
        The grids differ or ``b`` is not positive.
    """
    problems = []
    if not plain.same_grid(weighted):
        expected = f"the grid of {plain.name}"
        problems.append(Problem(weighted.name, None, "grid", None, expected, "Give both images of one series."))
    if not b > 0:
        problems.append(Problem(weighted.name, None, "b", f"{b:g}", "a positive number, s/mm2", "Give the b value."))
    if problems:
        raise DataError(problems)
    usable = (plain.data > 0) & (weighted.data > 0)
    ratio = np.where(usable, plain.data, 1.0) / np.where(usable, weighted.data, 1.0)
    return plain.with_data(np.where(usable, np.log(ratio) / b, 0.0), f"ADC of {plain.name} and {weighted.name}")


def in_mm2_s(image: Volume, brain: Mask) -> tuple[Volume, list[Flag]]:
    """The map in mm2/s: the unit is told by the median of the brain, which differs by powers of ten.

    Raises
    ------
    DataError
        In no usual unit does the brain's median look like diffusion.
    """
    inside = image.data[brain & (image.data > 0)]
    middle = float(np.median(inside)) if inside.size else float("nan")
    about = thresholds.table()["adc_normal"]
    fitting = [factor for factor in FACTORS if about["low"] <= middle * factor <= about["high"]]
    if not fitting:
        expected = f"a median of {about['low']:g} to {about['high']:g} mm2/s in some power of ten"
        remedy = "Check that this is an ADC map (not the diffusion-weighted image)."
        raise DataError([Problem(image.name, None, "unit", f"median {middle:.3g}", expected, remedy)])
    factor = fitting[0]
    if factor == 1.0:
        return image, []
    text = f"values were multiplied by {factor:g} to be mm2/s (told by the brain's median, {middle:.3g})"
    return image.with_data(image.data * factor), [Flag("adc.unit", "note", text, image.name)]


def diffusion(image: Volume, found: Outline) -> Diffusion:
    """Low and high diffusion in tissue of a map in mm2/s.

    Tissue within one voxel of fluid does not count: a voxel half in fluid would look like oedema.
    """
    from scipy.ndimage import binary_dilation

    fluid = image.data > thresholds.value("adc_fluid")
    labelled = found.brain & (found.labels > 0) & (found.labels < CSF_CODE)
    tissue = labelled & ~binary_dilation(fluid, np.ones((3, 3, 3))) & (image.data > VOID)
    low = {cut: large_pieces(tissue & (image.data < cut), image.voxel_ml) for cut in thresholds.sweep("adc_low")}
    high = {cut: large_pieces(tissue & (image.data > cut), image.voxel_ml) for cut in thresholds.sweep("adc_high")}
    return Diffusion(tissue, low, high)


def shares(
    masks: dict[float, Mask], chosen: float, within: Mask, found: Outline
) -> dict[str, tuple[float, float, float]]:
    """Share of every region's tissue that a mask takes up: at the chosen threshold, lowest and highest of the sweep."""
    total = _counts(within, found)
    by_cut = {cut: _counts(mask & within, found) for cut, mask in masks.items()}
    answer = {}
    for name, count in total.items():
        part = {cut: counts[name] / count if count else float("nan") for cut, counts in by_cut.items()}
        answer[name] = (part[chosen], min(part.values()), max(part.values()))
    return answer


def _counts(mask: Mask, found: Outline) -> dict[str, int]:
    counts = np.bincount(found.labels[mask], minlength=256)
    return {**{r.name: int(counts[r.code]) for r in regions()}, "brain": int(mask.sum())}
