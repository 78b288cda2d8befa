"""Cells that lie on one another at the start: found, pushed apart, told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icans.tissue.agents.births import inside

if TYPE_CHECKING:
    from icans.tissue.agents.model import Tissue

#: Cells overlap where their centres are nearer than this part of the sum of their radii.
TOUCHING = 0.5
ROUNDS = 50


@dataclass(frozen=True)
class Mended:
    """How many cells overlapped, how far they were moved (um, the most), how many still do."""

    place: str
    overlapping: int
    moved_um: float
    still_overlapping: int

    def __str__(self) -> str:
        text = f"{self.place}: {self.overlapping} cells lay on others; pushed apart by up to {self.moved_um:.1f} um"
        return text + (f"; {self.still_overlapping} still overlap for want of room" if self.still_overlapping else "")


def mend_overlaps(tissue: Tissue, new: slice) -> list[Mended]:
    """Push the new cells off one another and off those that are there, where centres are nearer than half a touch.

    Cells that were there stay; nobody leaves the tissue. Returns what was mended (nothing, or one entry).
    """
    from scipy.spatial import cKDTree

    cells = tissue.cells
    if new.stop == new.start:
        return []
    x, radius = cells["x"].T.copy(), cells["radius"]
    fresh = np.zeros(cells.n, bool)
    fresh[new] = True
    start = x.copy()
    first = None
    jitter = np.random.default_rng(tissue.seed % 2**32)
    for _ in range(ROUNDS):
        pairs = cKDTree(x).query_pairs(2 * TOUCHING * float(radius.max()), output_type="ndarray")
        a, b = pairs[:, 0], pairs[:, 1]
        apart = x[a] - x[b]
        d = np.sqrt((apart**2).sum(axis=1))
        need = TOUCHING * (radius[a] + radius[b])
        close = (d < need) & (fresh[a] | fresh[b])
        if first is None:
            first = np.unique(np.concatenate([a[close & fresh[a]], b[close & fresh[b]]])).size
        if not close.any():
            break
        a, b, apart, d, need = a[close], b[close], apart[close], d[close], need[close]
        same = d < 1e-9
        apart[same] = jitter.normal(size=(int(same.sum()), 3)) * ([1, 1, 0] if tissue.flat else 1)
        unit = apart / np.maximum(np.sqrt((apart**2).sum(axis=1)), 1e-12)[:, None]
        share = np.where(fresh[a] & fresh[b], 0.5, 1.0)
        step = (1.02 * (need - d) * share)[:, None] * unit
        move = np.zeros_like(x)
        np.add.at(move, a, np.where(fresh[a][:, None], step, 0.0))
        np.add.at(move, b, np.where(fresh[b][:, None], -step, 0.0))
        trial = np.clip(x + move, 0.0, tissue.size)
        x = np.where(inside(tissue, trial.T)[:, None], trial, x)
    if not first:
        return []
    pairs = cKDTree(x).query_pairs(2 * TOUCHING * float(radius.max()), output_type="ndarray")
    d = np.sqrt(((x[pairs[:, 0]] - x[pairs[:, 1]]) ** 2).sum(axis=1))
    still = d < TOUCHING * (radius[pairs[:, 0]] + radius[pairs[:, 1]]) * 0.98
    still &= fresh[pairs[:, 0]] | fresh[pairs[:, 1]]
    cells.data["x"][:, : cells.n] = x.T
    name = tissue.names.kinds[int(cells["kind"][new.start])]
    moved = float(np.sqrt(((x - start) ** 2).sum(axis=1)).max())
    return [Mended(name, int(first), moved, int(np.unique(pairs[still]).size))]
