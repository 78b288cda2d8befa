"""One examination in, its table of regions out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.signals.eeg.flags import Flag
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import Labels, named_nearby, on_grid, regions, right_side
from icans.signals.mri.contrast import enhancing, gain
from icans.signals.mri.diffusion import Diffusion, diffusion, in_mm2_s, shares
from icans.signals.mri.examination import Examination, Placed, Placement, follow, place
from icans.signals.mri.fluid import fluid_change, fluid_ml, zones
from icans.signals.mri.focality import focality
from icans.signals.mri.lesions import Lesions, by_threshold, carry_mask, from_mask
from icans.signals.mri.outline import Mask
from icans.signals.mri.perfusion import flow_columns
from icans.signals.mri.shading import evened
from icans.signals.mri.volume import Volume, gather_flags

Columns = dict[str, dict[str, float]]


@dataclass(frozen=True)
class RegionTable:
    """What was measured.

    Attributes
    ----------
    table
        One row a region and one for the whole brain (``region``), columns by measure; ``_low`` and ``_high`` bound a
        measure over the sweep of thresholds and of an error of the region's borders (quartiles for blood flow). They
        are no confidence intervals: nobody knows the error on patients.
    whole
        Measures that have no region (fluid, focality), with their ranges.
    flags
        What a reader must know.
    about
        How it was made: registration, thresholds, where the lesions come from.
    """

    table: pd.DataFrame
    whole: dict[str, float]
    flags: tuple[Flag, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values; measures without a value are null."""
        table = self.table.astype(object).where(self.table.notna(), None)
        whole = {name: value if np.isfinite(value) else None for name, value in self.whole.items()}
        return {
            "regions": table.to_dict(orient="records"),
            "whole": whole,
            "flags": [flag.as_dict() for flag in self.flags],
            "about": self.about,
        }


@dataclass(frozen=True)
class Measured:
    """The table, and the images and lesions that it was made from (for figures and further measures)."""

    result: RegionTable
    placement: Placement
    home: Placed
    lesions: Lesions | None


def measure(exam: Examination, *, before: Examination | None = None, seed: int = 1) -> Measured:
    """Measure one examination.

    Parameters
    ----------
    before
        An earlier examination (the baseline): the change of fluid is then told. It is aligned rigidly with this one,
        unless both say ``one_space``.
    seed
        Of the voxels that registration draws.

    Raises
    ------
    DataError
        No T1 or FLAIR, an image that is no brain, or a map or mask that is none.
    IcansError
        An optional package is missing.
    """
    placement = place(exam, seed=seed)
    images, flags = placement.images, list(placement.flags)
    home = images["flair"] if "flair" in images else images["t1"]
    lesions = _lesions(exam, home)
    columns: Columns = {"volume_ml": _volumes(home.found.brain, home.found.labels, home.image.voxel_ml)}
    whole: dict[str, float] = {}
    if lesions is not None:
        flags += lesions.flags
        columns |= _lesion_columns(lesions, home, columns["volume_ml"])
    if "adc" in images:
        flags += _add_diffusion(columns, whole, images["adc"], home, lesions)
    if "t1_post" in images and "t1" in images:
        flags += _guarded("contrast", lambda: columns.update(_contrast_columns(images["t1"], images["t1_post"])))
    if "cbf" in images:
        columns |= flow_columns(images["cbf"].image, images["cbf"].found)
    if before is not None:
        flags += _guarded("fluid", lambda: whole.update(_fluid(exam, before, images, seed)))
    if exam.tumour is not None and lesions is not None:
        flags += _guarded("focality", lambda: whole.update(_focality(exam, home, lesions)))
    table = pd.DataFrame(columns)
    table = table.loc[[*(r.name for r in regions()), "brain"]].rename_axis("region").reset_index()
    told = dict.fromkeys((*gather_flags([p.image for p in images.values()]), *flags))
    about = _about(exam, placement, home, lesions)
    return Measured(RegionTable(table, whole, tuple(told), about), placement, home, lesions)


def _lesions(exam: Examination, home: Placed) -> Lesions | None:
    if exam.lesions is not None:
        return from_mask(exam.lesions, home.image)
    if exam.flair is None:
        return None
    return by_threshold(evened(home.image, home.found.brain), home.found)


def _volumes(mask: Mask, labels: Labels, voxel_ml: float) -> dict[str, float]:
    """Volume of a mask in every region and in the whole brain, mL."""
    counts = np.bincount(labels[mask], minlength=256)
    found = {r.name: float(counts[r.code]) * voxel_ml for r in regions()}
    return {**found, "brain": float(mask.sum()) * voxel_ml}


def _found(mask: Mask, labels: Labels, image: Volume) -> dict[str, float]:
    """Volume of what was found in every region and in the whole brain, mL.

    What no region names counts to the nearest one.
    """
    counts = np.bincount(named_nearby(labels, mask, image.spacing), minlength=256)
    found = {r.name: float(counts[r.code]) * image.voxel_ml for r in regions()}
    return {**found, "brain": float(mask.sum()) * image.voxel_ml}


def _shifts() -> list[tuple[float, float, float]]:
    """Errors of the borders that are tried: one step along each axis both ways, MNI mm."""
    step = thresholds.value("border_mm")
    steps = (step * sign * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1))
    return [(float(s[0]), float(s[1]), float(s[2])) for s in steps]


def _ranged(column: str, mask: Mask, sweep: dict[float, Mask], where: Placed) -> Columns:
    """Regional volumes of a mask, and their range over its sweep and over errors of the borders."""
    image, labels = where.image, where.found.labels
    best = _found(mask, labels, image)
    others = [_found(other, labels, image) for other in sweep.values()]
    if mask.any():
        others += [_found(mask, on_grid(image, where.to_mni, shift), image) for shift in _shifts()]
    return {
        column: best,
        f"{column}_low": {name: min(best[name], *(o[name] for o in others)) if others else best[name] for name in best},
        f"{column}_high": {
            name: max(best[name], *(o[name] for o in others)) if others else best[name] for name in best
        },
    }


def _lesion_columns(lesions: Lesions, home: Placed, volumes: dict[str, float]) -> Columns:
    columns = _ranged("flair_ml", lesions.mask, lesions.sweep, home)
    best = columns["flair_ml"]
    columns["flair_share"] = {n: best[n] / volumes[n] if volumes[n] > 0 else float("nan") for n in best}
    right = _found(lesions.mask & right_side(home.image, home.to_mni), home.found.labels, home.image)
    columns["flair_right_share"] = {n: right[n] / best[n] if best[n] > 0 else float("nan") for n in best}
    return columns


def _add_diffusion(
    columns: Columns, whole: dict[str, float], placed: Placed, home: Placed, lesions: Lesions | None
) -> list[Flag]:
    """Shares of low and high diffusion: in every region, and in the lesions."""
    image, flags = in_mm2_s(placed.image, placed.found.brain)
    seen = diffusion(image, placed.found)
    inside = None
    if lesions is not None and lesions.mask.any():
        move = np.linalg.inv(home.to_reference) @ placed.to_reference
        inside = carry_mask(home.image.with_data(lesions.mask), image, move) & seen.tissue
    for kind, sweep in (("adc_low", seen.low), ("adc_high", seen.high)):
        chosen = thresholds.value(kind)
        found = shares(sweep, chosen, seen.tissue, placed.found)
        for position, suffix in enumerate(("", "_low", "_high")):
            columns[f"{kind}_share{suffix}"] = {name: values[position] for name, values in found.items()}
        if inside is not None and inside.any():
            whole |= _lesion_shares(kind, sweep, chosen, inside, seen)
    return flags


def _lesion_shares(
    kind: str, sweep: dict[float, Mask], chosen: float, inside: Mask, seen: Diffusion
) -> dict[str, float]:
    values = {cut: float((mask & inside).sum() / inside.sum()) for cut, mask in sweep.items()}
    name = f"lesion_{kind}_share"
    return {name: values[chosen], f"{name}_low": min(values.values()), f"{name}_high": max(values.values())}


def _contrast_columns(before: Placed, after: Placed) -> Columns:
    move = np.linalg.inv(before.to_reference) @ after.to_reference
    relative = gain(before.image, after.image, after.found, move)
    masks = enhancing(relative, after.image, after.found)
    return _ranged("enhancing_ml", masks[thresholds.value("enhancement_share")], masks, after)


def _fluid(exam: Examination, before: Examination, images: dict[str, Placed], seed: int) -> dict[str, float]:
    """Change of fluid between the same kind of image then and now."""
    kind = next((k for k in ("t1", "flair") if getattr(exam, k) is not None and getattr(before, k) is not None), None)
    if kind is None:
        raise NotEstimableError("the change of fluid needs T1 then and now, or FLAIR then and now")
    now = images[kind]
    then = follow(getattr(before, kind), now, seed=seed, one_space=exam.one_space and before.one_space)
    volumes = []
    for one in (now, then):
        even = evened(one.image, one.found.brain)
        volumes.append(fluid_ml(even, one.found.labels, zones(one.found.inside, one.found.labels, even.spacing)))
    answer: dict[str, float] = {}
    for name, change in fluid_change(*volumes).items():
        answer |= {f"{name}_change": change.share, f"{name}_change_low": change.low, f"{name}_change_high": change.high}
    return answer


def _focality(exam: Examination, home: Placed, lesions: Lesions) -> dict[str, float]:
    assert exam.tumour is not None
    tumour = carry_mask(exam.tumour, home.image, home.to_reference)
    found = focality(lesions.mask, tumour, home.found.brain, home.image)
    return {
        "near_tumour_share": found.share, "near_tumour_share_low": found.share_low,
        "near_tumour_share_high": found.share_high, "focality": found.index, "focality_low": found.index_low,
        "focality_high": found.index_high, "tumour_distance_mm": found.median_mm,
    }  # fmt: skip


def _guarded(code: str, step: Any) -> list[Flag]:
    """Run a step that may find nothing to measure; then a flag says why, and the rest stands."""
    try:
        step()
    except NotEstimableError as error:
        return [Flag(f"{code}.not_measured", "note", str(error))]
    return []


def _about(exam: Examination, placement: Placement, home: Placed, lesions: Lesions | None) -> dict[str, Any]:
    source = "none" if lesions is None else "threshold" if exam.lesions is None else "a mask made elsewhere"
    return {
        "lesions": source,
        "lesions_on": home.image.name,
        "images": {name: placed.image.name for name, placed in placement.images.items()},
        "mutual_information": placement.registration.information,
        "to_mni": placement.registration.matrix.tolist(),
        "thresholds": {name: entry["value"] for name, entry in thresholds.table().items()},
        "accuracy": "measured on phantoms only; nothing is claimed for lesions of patients",
    }
