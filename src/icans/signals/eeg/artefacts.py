"""Seconds of channels that are no EEG: jumps, flat stretches, broken samples. What is left out is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.windows import Window

Array = npt.NDArray[np.float64]

#: A second is a jump where a channel spans this many times what channels span in the window, and at least so much.
JUMP_FACTOR, JUMP_UV = 8.0, 250.0
FLAT_UV = 0.05
#: A channel with less than this share of good seconds is left out of the window.
ENOUGH = 0.4


@dataclass(frozen=True)
class LeftOut:
    """Seconds ``start_s`` to ``stop_s`` of a channel that no feature used, and why."""

    channel: str
    start_s: float
    stop_s: float
    reason: str


def good_seconds(window: Window, names: tuple[str, ...]) -> tuple[npt.NDArray[np.bool_], list[LeftOut]]:
    """Which seconds of which channel may be used, shape (channels, seconds), and the record of the others."""
    count = max(1, window.data.shape[1] // RATE)
    shaped = window.data[:, : count * RATE].reshape(len(names), count, -1)
    span = shaped.max(axis=2) - shaped.min(axis=2)
    broken = window.broken[:, : count * RATE].reshape(len(names), count, -1).any(axis=2)
    usual = np.median(span[~broken]) if (~broken).any() else 0.0
    jump = (span > max(JUMP_FACTOR * usual, JUMP_UV)) & ~broken
    flat = (span < FLAT_UV) & ~broken
    left_out = []
    for reason, cells in (("no number", broken), ("jump", jump), ("flat", flat)):
        left_out += _runs(np.asarray(cells, dtype=bool), names, window.start_s, reason)
    good = ~(broken | jump | flat)
    poor = good.mean(axis=1) < ENOUGH
    left_out += [LeftOut(names[i], window.start_s, window.stop_s, "too few good seconds") for i in np.flatnonzero(poor)]
    good[poor] = False
    return good, left_out


def _runs(cells: npt.NDArray[np.bool_], names: tuple[str, ...], start_s: float, reason: str) -> list[LeftOut]:
    found = []
    for i in np.flatnonzero(cells.any(axis=1)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], cells[i].astype(int), [0]])))
        found += [LeftOut(names[i], start_s + a, start_s + b, reason) for a, b in zip(edges[::2], edges[1::2])]
    return found


def derived(good: npt.NDArray[np.bool_], matrix: Array) -> npt.NDArray[np.bool_]:
    """Good seconds of derivations: those in which every electrode that makes them is good.

    The average reference takes part in every derivation with a small weight; it does not count.
    """
    strong = np.abs(matrix) > 0.5
    return np.array([good[row].all(axis=0) for row in strong])
