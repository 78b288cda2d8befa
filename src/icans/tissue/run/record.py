"""What a run writes: counts in time, frames of cells and fields, as one Zarr group for a replicate.

``time_h`` (frames,), ``fields`` (frames, substances, *grid), ``first`` (frames + 1,): the cells of frame f are entries
first[f] … first[f + 1] - 1 of the arrays in ``cells``. ``counts`` (times, kinds, states), ``kills`` (times, kinds,
kinds), ``levels`` (times, substances; mean over the tissue), ``counts_time_h`` (times,). Attributes name everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.errors import IcansError
from icans.tissue.agents.model import Tissue

#: Columns of the cells that frames keep, with their type on disk.
KEPT = {"identity": "i8", "kind": "i2", "state": "i1", "radius": "f4", "damage": "f4", "trait": "f4", "plugged": "i1",
        "barrier": "f4", "pressure": "f4", "x": "f4"}  # fmt: skip
STATES = ("live", "apoptotic", "necrotic", "lysed")


@dataclass
class Record:
    """Grows as the run goes on; written at the end."""

    time_h: list[float] = field(default_factory=list)
    counts: list[Any] = field(default_factory=list)
    kills: list[Any] = field(default_factory=list)
    levels: list[Any] = field(default_factory=list)
    damage: list[Any] = field(default_factory=list)
    frame_h: list[float] = field(default_factory=list)
    fields: list[Any] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    def count(self, tissue: Tissue) -> None:
        """Take the numbers of now."""
        kinds, states = len(tissue.kinds), len(STATES)
        flat = tissue.cells["kind"].astype(np.int64) * states + tissue.cells["state"]
        self.time_h.append(tissue.time_min / 60)
        self.counts.append(np.bincount(flat, minlength=kinds * states).reshape(kinds, states))
        self.kills.append(tissue.kills.copy())
        self.levels.append(tissue.field.values[:, tissue.field.grid.tissue].mean(axis=1))
        total = np.bincount(tissue.cells["kind"], tissue.cells["damage"], minlength=kinds)
        self.damage.append(total / np.maximum(np.bincount(tissue.cells["kind"], minlength=kinds), 1))

    def frame(self, tissue: Tissue) -> None:
        """Take a picture of now."""
        self.frame_h.append(tissue.time_min / 60)
        self.fields.append(tissue.field.values.astype(np.float32))
        self.frames.append({name: tissue.cells[name].astype(kind) for name, kind in KEPT.items()})

    def arrays(self) -> dict[str, Any]:
        """Everything as arrays by name."""
        first = np.cumsum([0, *(frame["kind"].size for frame in self.frames)])
        cells = {
            f"cells/{name}": np.concatenate([frame[name] for frame in self.frames], axis=-1) for name in KEPT
        } if self.frames else {}  # fmt: skip
        return {
            "counts_time_h": np.array(self.time_h), "counts": np.array(self.counts), "kills": np.array(self.kills),
            "levels": np.array(self.levels), "damage": np.array(self.damage), "time_h": np.array(self.frame_h),
            "fields": np.array(self.fields), "first": first, **cells,
        }  # fmt: skip


def labels(tissue: Tissue) -> dict[str, Any]:
    """What the axes and numbers of the arrays mean."""
    grid = tissue.field.grid
    holes = np.flatnonzero(~grid.tissue)
    return {
        "kinds": list(tissue.names.kinds),
        "colours": [kind.colour for kind in tissue.kinds],
        "substances": list(tissue.field.names),
        "states": list(STATES),
        "diffusion_um2_min": [s.diffusion_um2_min for s in tissue.field.substances],
        "decay_per_min": [s.decay_per_min for s in tissue.field.substances],
        "shape": list(grid.shape),
        "spacing_um": tissue.h,
        "voxels_without_tissue": holes.tolist(),
        "units": {"x": "um", "radius": "um", "fields": "as substance_units says, else pg/mL", "time": "h"},
        "origin": "simulated: no measured data",
    }


def write_zarr(path: Path, arrays: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Write arrays and attributes as a Zarr group.

    Raises
    ------
    IcansError
        The extra ``tissue`` is not installed.
    """
    zarr = _zarr()
    root = zarr.open_group(str(path), mode="w")
    root.attrs.update(attributes)
    for name, values in arrays.items():
        root.create_array(name, data=np.ascontiguousarray(values))


def read_zarr(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays by name and attributes of a group that :func:`write_zarr` wrote."""
    root = _zarr().open_group(str(path), mode="r")
    found = {name: np.asarray(each[...]) for name, each in root.arrays()}
    if "cells" in root:
        found.update({f"cells/{name}": np.asarray(each[...]) for name, each in root["cells"].arrays()})
    return found, dict(root.attrs)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise IcansError("results of tissue are written as Zarr: install icans[tissue]") from None
    return zarr
