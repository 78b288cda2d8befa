"""One working signal for every device: microvolts at 128 Hz, 0.5 to 40 Hz, whatever the file's rate."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.resampling import resample

Array = npt.NDArray[np.float64]

RATE = 128
#: Pass band of the working signal, Hz. Mains (50 or 60 Hz) falls into the stop band of the resampling filter.
LOW, HIGH, STOP = 0.5, 40.0, 48.0
#: Seconds read before and after a block, so that blocks join without a seam.
PADDING_S = 6.0


@cache
def ratio(rate: float) -> Fraction:
    """Working rate over the file's rate, as a fraction with a small denominator."""
    return Fraction(RATE / rate).limit_denominator(1024)


@cache
def _taps(rate: float) -> Array:
    """Kaiser low-pass (80 dB) at the rate between the two resampling steps, gain 1."""
    from scipy.signal import firwin, kaiserord

    up = ratio(rate).numerator
    high, stop = (HIGH, STOP) if rate >= 2 * STOP else (0.42 * rate, 0.5 * rate)
    fast = rate * up
    count, beta = kaiserord(80.0, (stop - high) / (fast / 2))
    taps: Array = firwin(count | 1, (high + stop) / 2, window=("kaiser", beta), fs=fast)
    return taps


@cache
def _high_pass() -> tuple[Array, Array]:
    from scipy.signal import butter, sosfilt_zi

    sos = np.asarray(butter(2, LOW, "highpass", fs=RATE, output="sos"), dtype=float)
    return sos, np.asarray(sosfilt_zi(sos), dtype=float)


def working(data: Array, rate: float) -> Array:
    """``data`` (channels, samples at ``rate``) at the working rate and band, without delay.

    The first and last seconds of ``data`` carry the edge of the filters: pass :data:`PADDING_S` more on either side
    and cut it off.
    """
    scale = ratio(rate)
    centred = data - data.mean(axis=1, keepdims=True)
    slow = resample(centred, scale.numerator, scale.denominator, _taps(rate))
    return there_and_back(*_high_pass(), slow, min(int(3 * RATE / LOW), slow.shape[1] - 1))


def there_and_back(sos: Array, rest: Array, data: Array, pad: int) -> Array:
    """Signals, last axis, through second-order sections forwards and backwards, as ``scipy.signal.sosfiltfilt`` does.

    ``rest`` (``sosfilt_zi``) is made once a filter: that takes as long as filtering a window.
    """
    from scipy.signal import sosfilt

    # Turned round at both ends, so that the filter meets no step (odd extension).
    left = 2 * data[..., :1] - data[..., pad:0:-1]
    right = 2 * data[..., -1:] - data[..., -2 : -(pad + 2) : -1]
    wide = np.concatenate([left, data, right], axis=-1)
    state = rest.reshape(len(sos), *[1] * (data.ndim - 1), 2)
    forth, _ = sosfilt(sos, wide, axis=-1, zi=state * wide[..., :1])
    back, _ = sosfilt(sos, forth[..., ::-1], axis=-1, zi=state * forth[..., -1:])
    return np.asarray(back[..., ::-1][..., pad : pad + data.shape[-1]], dtype=float)


def mend(data: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Samples that are no numbers bridged by straight lines, and where they were, shape of ``data``."""
    broken = ~np.isfinite(data)
    if not broken.any():
        return data, broken
    mended = data.copy()
    time = np.arange(data.shape[1])
    for row in np.flatnonzero(broken.any(axis=1)):
        good = ~broken[row]
        mended[row] = np.interp(time, time[good], data[row, good]) if good.any() else 0.0
    return mended, broken


def beats(ecg: Array) -> npt.NDArray[np.int64]:
    """Sample numbers of the R waves in an ECG at the working rate; none where no regular heart beat stands out."""
    from scipy.signal import butter, find_peaks, sosfiltfilt

    if ecg.std() == 0 or len(ecg) < 4 * RATE:
        return np.array([], dtype=np.int64)
    band = sosfiltfilt(butter(2, [8.0, 30.0], "bandpass", fs=RATE, output="sos"), ecg)
    height = np.convolve(band**2, np.ones(8) / 8, "same")
    level = np.percentile(height, 98)
    found, _ = find_peaks(height, height=0.25 * level, distance=int(0.3 * RATE))
    between = np.diff(found) / RATE
    regular = len(found) > 5 and 0.33 <= np.median(between) <= 2.0
    if not regular or np.median(height[found]) < 8 * np.median(height):
        return np.array([], dtype=np.int64)
    return np.asarray(found, dtype=np.int64)


def without_heart(data: Array, at: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Signals less the average that follows each heart beat, and the share of power that this took, one a channel.

    Average artefact subtraction (Allen et al. 1998, doi:10.1006/nimg.1998.0361). What beats add is taken only from
    channels where the average stands out of what averaging that many beats leaves by chance.
    """
    before, after = int(0.20 * RATE), int(0.36 * RATE)
    inside = at[(at >= before) & (at < data.shape[1] - after)]
    if len(inside) < 6:
        return data, np.zeros(len(data))
    around = inside[:, None] + np.arange(-before, after)[None]
    pieces = data[:, around]
    pieces = pieces - pieces.mean(axis=2, keepdims=True)
    template = pieces.mean(axis=1)
    chance = pieces.var(axis=1).mean(axis=1) / len(inside)
    stands_out = (template**2).mean(axis=1) > 3.0 * chance
    edge = np.hanning(2 * (before // 2))
    taper = np.ones(before + after)
    taper[: before // 2], taper[-(before // 2) :] = edge[: before // 2], edge[before // 2 :]
    cleaned = data.copy()
    subtract = template * taper * stands_out[:, None]
    for start in inside - before:
        cleaned[:, start : start + before + after] -= subtract
    total = np.maximum(data.var(axis=1), 1e-12)
    return cleaned, np.clip(1.0 - cleaned.var(axis=1) / total, 0.0, 1.0)
