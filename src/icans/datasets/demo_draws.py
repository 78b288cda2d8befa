"""Random numbers of the synthetic cohort: one stream a patient, so that patient i is the same whatever n is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from icans.core.random import stream


class Draws:
    """Standard normal numbers by name for every patient.

    Parameters
    ----------
    layout
        Name -> how many numbers each patient needs under it. The order of the names is part of the stream.
    n, seed
        Number of patients and seed. Row i comes from the stream ``(seed, "demo", i)``.
    """

    def __init__(self, layout: Mapping[str, int], n: int, seed: int) -> None:
        ends = np.cumsum(list(layout.values()))
        self._place = {name: slice(int(end - size), int(end)) for (name, size), end in zip(layout.items(), ends)}
        total = int(ends[-1])
        self._numbers = np.stack([stream(seed, "demo", i).standard_normal(total) for i in range(n)])

    def normal(self, name: str) -> np.ndarray:
        """Shape (n,) for a single number, else (n, size)."""
        block = self._numbers[:, self._place[name]]
        return block[:, 0] if block.shape[1] == 1 else block

    def uniform(self, name: str) -> np.ndarray:
        """The same numbers as uniforms between 0 and 1."""
        return ndtr(self.normal(name))
