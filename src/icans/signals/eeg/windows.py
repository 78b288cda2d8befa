"""A recording as windows of 15 s of working signal, read block by block, so that memory does not grow with hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.prepare import PADDING_S, RATE, beats, mend, ratio, without_heart, working
from icans.signals.eeg.reading import Part, Recording

Array = npt.NDArray[np.float64]

WINDOW_S = 15.0
#: Windows read at once: 4 min of 64 channels at 1 kHz are about 120 MB on the way.
BLOCK_WINDOWS = 12


@dataclass(frozen=True)
class Window:
    """Seconds ``start_s`` to ``stop_s`` of the recording: ``data`` (channels, samples), microvolts at 128 Hz.

    ``broken`` marks samples that were no numbers in the file; ``heart`` is the share of power of each channel that
    removing heart beats took in the block.
    """

    start_s: float
    stop_s: float
    data: Array
    broken: npt.NDArray[np.bool_]
    heart: Array


def stream(
    recording: Recording, names: tuple[str, ...], scale: float, *, window_s: float = WINDOW_S, heart: bool = True
) -> Iterator[Window]:
    """Windows of the channels ``names``, in that order, one after the other.

    Parameters
    ----------
    scale
        Microvolts for one unit of the file as read (1e6 where the file is right about volts).
    heart
        Remove heart beats where the file has an ECG.

    A last piece shorter than half a window is left out (a recording shorter than a window is one window).
    """
    starts, length, total = _starts(recording, window_s)
    for first in range(0, len(starts), BLOCK_WINDOWS):
        yield from _block_windows(recording, names, scale, starts[first : first + BLOCK_WINDOWS], length, total, heart)


def window_at(recording: Recording, names: tuple[str, ...], scale: float, number: int) -> Window:
    """The window of that number as :func:`stream` gives it, its whole block read again."""
    starts, length, total = _starts(recording, WINDOW_S)
    first = number // BLOCK_WINDOWS * BLOCK_WINDOWS
    group = starts[first : first + BLOCK_WINDOWS]
    return list(_block_windows(recording, names, scale, group, length, total, True))[number - first]


def _starts(recording: Recording, window_s: float) -> tuple[list[int], int, int]:
    """Working sample numbers at which windows start, their length, and that of the recording."""
    total, length = int(recording.seconds * RATE), int(window_s * RATE)
    starts = list(range(0, total, length))
    if len(starts) > 1 and total - starts[-1] < length // 2:
        starts.pop()
    return starts, length, total


def _block_windows(
    recording: Recording, names: tuple[str, ...], scale: float, group: list[int], length: int, total: int, heart: bool
) -> Iterator[Window]:
    begin, end = group[0], min(group[-1] + length, total)
    data, broken, taken = block(recording, names, scale, begin, end, heart=heart)
    for start in group:
        here = slice(start - begin, min(start + length, end) - begin)
        yield Window(start / RATE, min(start + length, end) / RATE, data[:, here], broken[:, here], taken)


def block(
    recording: Recording, names: tuple[str, ...], scale: float, begin: int, end: int, *, heart: bool = True
) -> tuple[Array, npt.NDArray[np.bool_], Array]:
    """Working samples ``begin`` to ``end`` of the channels ``names``: data, broken samples, share of heart."""
    data = np.zeros((len(names), end - begin))
    broken = np.ones((len(names), end - begin), dtype=bool)
    taken = np.zeros(len(names))
    pulse = _pulse(recording, begin, end) if heart else None
    for part in recording.parts:
        rows = [i for i, c in enumerate(part.channels) if c.kind == "eeg" and c.name in names]
        if not rows:
            continue
        signal, bad, offset = _read(part, rows, begin, end)
        signal = signal * scale
        share = np.zeros(len(rows))
        if pulse is not None:
            signal, share = without_heart(signal, pulse - offset)
        for k, row in enumerate(rows):
            place = names.index(part.channels[row].name)
            here = signal[k, begin - offset : end - offset]
            data[place, : len(here)] = here
            broken[place, : len(here)] = bad[k, begin - offset : end - offset]
            taken[place] = share[k]
    return data, broken, taken


def _pulse(recording: Recording, begin: int, end: int) -> npt.NDArray[np.int64] | None:
    """Working sample numbers, from the start of the recording, of the heart beats; None without an ECG."""
    for part in recording.parts:
        rows = [i for i, c in enumerate(part.channels) if c.kind == "ecg"]
        if rows:
            ecg, _, offset = _read(part, rows[:1], begin, end)
            return beats(ecg[0]) + offset
    return None


def _read(part: Part, rows: list[int], begin: int, end: int) -> tuple[Array, npt.NDArray[np.bool_], int]:
    """Working signal with padding, broken samples, and the working sample number of its first sample."""
    scale = ratio(part.rate)
    pad = int(PADDING_S * RATE)
    offset = max(0, (begin - pad) // scale.numerator * scale.numerator)
    first = offset // scale.numerator * scale.denominator
    last = min(part.samples, int(np.ceil((end + pad) / float(scale))) + 1)
    raw, bad = mend(part.read(first, last)[rows])
    signal = working(raw, part.rate)
    if bad.any():
        index = np.minimum((np.arange(signal.shape[1]) / float(scale)).astype(int), bad.shape[1] - 1)
        wide = np.array([np.convolve(row, np.ones(int(part.rate)), "same") > 0 for row in bad])
        return signal, wide[:, index], offset
    return signal, np.zeros(signal.shape, dtype=bool), offset
