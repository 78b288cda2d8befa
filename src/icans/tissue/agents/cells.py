"""The cells of a tissue as arrays, one entry a cell: growth by doubling, removal by packing, order by place.

Cells 0 … n-1 are there (alive, dying or dead but not yet gone); the rest of the arrays is room. ``identity`` is
for ever, the slot is not: cells are put in order of place now and then, so that neighbours lie together in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

LIVE, APOPTOTIC, NECROTIC, LYSED = range(4)
NONE = -1

#: Name, leading shape, type and the value of empty room. Positions in um, velocities in um/min, volumes in um3.
COLUMNS: dict[str, tuple[tuple[int, ...], Any, float]] = {
    "identity": ((), np.int64, -1),
    "kind": ((), np.int16, 0),
    "state": ((), np.int8, LIVE),
    "x": ((3,), np.float64, 0.0),
    "velocity": ((3,), np.float64, 0.0),
    "heading": ((3,), np.float64, 0.0),
    "fluid": ((), np.float64, 0.0),
    "nuclear": ((), np.float64, 0.0),
    "cytoplasm": ((), np.float64, 0.0),
    "radius": ((), np.float64, 0.0),
    "clock": ((), np.float64, 0.0),
    "age": ((), np.float64, 0.0),
    "damage": ((), np.float64, 0.0),
    "trait": ((), np.float64, 1.0),
    "pace": ((), np.float64, 1.0),
    "partner": ((), np.int64, NONE),
    "held": ((), np.int64, 0),
    "pressure": ((), np.float64, 0.0),
    "barrier": ((), np.float64, 1.0),
    "pericyte": ((), np.float64, 1.0),
    "plugged": ((), np.int8, 0),
}


@dataclass
class Cells:
    """``data[name]`` has shape (…, room); ``behaviour`` (behaviours, room); the first ``n`` entries count."""

    behaviours: int
    most: int = 1_000_000
    n: int = 0
    next_identity: int = 0
    data: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    behaviour: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.data:
            self.data = {name: np.full((*lead, 0), empty, kind) for name, (lead, kind, empty) in COLUMNS.items()}
            self.behaviour = np.zeros((self.behaviours, 0))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.data[name][..., : self.n]

    @property
    def room(self) -> int:
        """How many cells fit before the arrays must grow."""
        return int(self.behaviour.shape[1])

    def reserve(self, count: int) -> None:
        """Make room for ``count`` cells in all, by doubling.

        Raises
        ------
        ModelError
            More than ``most`` cells.
        """
        if count <= self.room:
            return
        if count > self.most:
            expected = f"at most {self.most} cells (capacity)"
            remedy = "Raise the capacity, if the memory is there, or lower division and entry, or the start."
            raise ModelError([Problem("cells", None, "capacity", str(count), expected, remedy)])
        room = min(max(count, 2 * self.room, 64), self.most)
        for name, (lead, kind, empty) in COLUMNS.items():
            fresh = np.full((*lead, room), empty, kind)
            fresh[..., : self.n] = self.data[name][..., : self.n]
            self.data[name] = fresh
        table = np.zeros((self.behaviours, room))
        table[:, : self.n] = self.behaviour[:, : self.n]
        self.behaviour = table

    def add(self, values: Mapping[str, Any], count: int) -> slice:
        """Add ``count`` cells with these columns (the rest as empty room says); returns their slots."""
        self.reserve(self.n + count)
        new = slice(self.n, self.n + count)
        for name, (_, _, empty) in COLUMNS.items():
            self.data[name][..., new] = values.get(name, empty)
        self.data["identity"][new] = np.arange(self.next_identity, self.next_identity + count)
        self.next_identity += count
        self.n += count
        return new

    def arrange(self, order: npt.NDArray[np.int64]) -> None:
        """Keep the cells of ``order`` (m,), in that order; partners that are gone become none."""
        place = np.full(self.n + 1, NONE, np.int64)
        place[order] = np.arange(order.size)
        m = order.size
        for values in self.data.values():
            values[..., :m] = values[..., order]
        self.behaviour[:, :m] = self.behaviour[:, order]
        self.n = m
        partner = self.data["partner"]
        partner[:m] = place[partner[:m]]  # NONE reads the last entry, which stays NONE


def memory_bytes(cells: int, behaviours: int, voxels: int, substances: int) -> int:
    """Memory that a run needs: cells with growth in hand, signals, and the field with its sources and work space."""
    per_cell = sum(int(np.prod(lead, dtype=int)) * np.dtype(kind).itemsize for lead, kind, _ in COLUMNS.values())
    per_cell += 8 * 2 * behaviours + 8 * 32  # behaviours, signals of about the same count, lists
    return 2 * cells * per_cell + 8 * 6 * voxels * substances
