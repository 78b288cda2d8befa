"""Resampling with a long filter as products of matrices.

The same sums as ``scipy.signal.resample_poly`` with ``padtype="line"`` (polyphase filters: Crochiere and Rabiner 1981,
doi:10.1109/PROC.1981.11969; recalled), taken block by block: a block of outputs is one product of the stretch of input
that it sees with a band matrix of taps. The zeros of that matrix cost less than what a tuned product of matrices gains.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Outputs of one block, about: few zeros in the matrix, and a product large enough to be quick.
BLOCK = 64


def resample(data: Array, up: int, down: int, taps: Array) -> Array:
    """``data`` (channels, samples) at ``up / down`` times its rate.

    Parameters
    ----------
    taps
        Low-pass at ``up`` times the rate of ``data``, an odd number of taps, gain 1.

    Beyond its ends a channel goes on along the straight line through its first and last sample.
    """
    count = data.shape[1]
    slope = (data[:, -1] - data[:, 0]) / max(count - 1, 1)
    made = -(-count * up // down)
    matrix, before = _band(up, down, taps.tobytes())
    span, block = matrix.shape
    step = block * down // up
    blocks = -(-made // block)
    padded = np.empty(max(before + count, (blocks - 1) * step + span))
    ahead, behind = np.arange(-before, 0), np.arange(1, len(padded) - before - count + 1)
    view = np.lib.stride_tricks.sliding_window_view(padded, span)[::step][:blocks]
    out = np.empty((len(data), made))
    for row, line in enumerate(data):
        padded[:before] = line[0] + slope[row] * ahead
        padded[before : before + count] = line
        padded[before + count :] = line[-1] + slope[row] * behind
        out[row] = (np.ascontiguousarray(view) @ matrix).ravel()[:made]
    return out


@lru_cache(maxsize=8)
def _band(up: int, down: int, raw: bytes) -> tuple[Array, int]:
    """Matrix (inputs, outputs) of one block, and how many inputs lie before the one that the first output falls on."""
    taps = np.frombuffer(raw)
    half = len(taps) // 2
    block = up * max(1, round(BLOCK / up))
    before = half // up
    span = before + ((block - 1) * down + half) // up + 1
    index = half + np.arange(block)[None] * down - (np.arange(span)[:, None] - before) * up
    inside = (index >= 0) & (index < len(taps))
    return np.where(inside, up * taps[np.clip(index, 0, len(taps) - 1)], 0.0), before
