"""Zero-phase Butterworth filters and smoothing of working signals."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.prepare import RATE, there_and_back

Array = npt.NDArray[np.float64]


@cache
def _sos(low: float | None, high: float | None, order: int) -> tuple[Array, Array]:
    from scipy.signal import butter, sosfilt_zi

    if low is None:
        made = butter(order, high, "lowpass", fs=RATE, output="sos")
    elif high is None:
        made = butter(order, low, "highpass", fs=RATE, output="sos")
    else:
        made = butter(order, [low, high], "bandpass", fs=RATE, output="sos")
    return np.asarray(made, dtype=float), np.asarray(sosfilt_zi(made), dtype=float)


def band_pass(data: Array, low: float | None, high: float | None, order: int = 2) -> Array:
    """Signals between two frequencies (Hz; None: no bound), last axis, without delay."""
    pad = min(int(3 * RATE / (low or 1.0)), data.shape[-1] - 1)
    return there_and_back(*_sos(low, high, order), data, pad)


def smooth(data: Array, seconds: float) -> Array:
    """Moving average with a Hann kernel of that length, last axis."""
    from scipy.ndimage import convolve1d

    kernel = np.hanning(max(3, int(seconds * RATE)) + 2)[1:-1]
    return np.asarray(convolve1d(data, kernel / kernel.sum(), axis=-1, mode="reflect"), dtype=float)


def pieces(data: Array, seconds: float) -> Array:
    """Half-overlapping pieces, shape (pieces, signals, samples); one shorter piece where there is no whole one."""
    length = min(int(seconds * RATE), data.shape[-1])
    starts = np.arange(0, data.shape[-1] - length + 1, max(1, length // 2))
    return np.stack([data[:, s : s + length] for s in starts])
