"""Rhythmic delta activity (GRDA, LRDA): how regular the slow waves are, how often, and on which side.

Terms of the American Clinical Neurophysiology Society (Hirsch et al. 2021, doi:10.1097/WNP.0000000000000806;
recalled): waves of 4 Hz or less that repeat without a pause, generalised or lateralised. Regularity is the height of
the autocorrelation of the delta band at its best delay, in pieces of 4 s: 1 for a sine, about 0.4 for noise of that
band.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import filters
from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.scene import Scene

Array = npt.NDArray[np.float64]

PIECE_S = 4.0
DELTA_BAND = (0.7, 4.5)
DELTA = (0.5, 4.0)
#: Regularity from which a piece counts as rhythmic, and the amplitude below which nothing does.
RHYTHMIC, AUDIBLE_UV = 0.6, 20.0
NEARLY = 0.85


def regularity(data: Array, low: float, high: float) -> tuple[Array, Array]:
    """Height and frequency (Hz) of the best peak of the autocorrelation, last axis, for periods of ``low`` to ``high``.

    The autocorrelation is corrected for the shrinking overlap. Height 0 and frequency NaN where there is no peak.
    """
    return best_peak(autocorrelation(data), low, high)


def autocorrelation(data: Array) -> Array:
    """Autocorrelation of each signal, last axis, corrected for the shrinking overlap; 1 at no delay."""
    centred = data - data.mean(axis=-1, keepdims=True)
    n = centred.shape[-1]
    power = np.abs(np.fft.rfft(centred, 2 * n, axis=-1)) ** 2
    raw = np.fft.irfft(power, axis=-1)[..., :n]
    return np.asarray(raw / np.maximum(raw[..., :1], 1e-12) / (1.0 - np.arange(n) / n), dtype=float)


def best_peak(shape: Array, low: float, high: float) -> tuple[Array, Array]:
    """Height and frequency of the best peak of autocorrelations, last axis."""
    first, last = max(1, int(RATE / high)), min(int(np.ceil(RATE / low)), shape.shape[-1] - 2)
    middle = shape[..., first : last + 1]
    peak = (middle >= shape[..., first - 1 : last]) & (middle > shape[..., first + 1 : last + 2])
    height = np.where(peak, middle, -1.0)
    # multiples of a period are peaks, too: the first that is nearly as high as the highest is the period
    best = (height >= NEARLY * height.max(axis=-1, keepdims=True)).argmax(axis=-1)
    found = np.take_along_axis(height, best[..., None], axis=-1)[..., 0]
    there = found > 0
    return np.where(there, np.minimum(found, 1.0), 0.0), np.where(there, RATE / (best + first), np.nan)


def rhythm_features(scene: Scene) -> dict[str, float]:
    """Rhythmic delta activity of one window.

    Returns
    -------
    dict
        ``grda_index``: regularity of the median derivation in the best piece. ``rda_prevalence``: share of pieces in
        which it is at least 0.6 and at least 20 uV. ``rda_frequency`` and ``rda_amplitude_uv`` of the best piece.
        ``lrda_index``: regularity of the stronger side, weighted by how much stronger it is (0 to 1).
        ``rda_lateralisation``: -1 all right to 1 all left.
    """
    names = ("grda_index", "rda_prevalence", "rda_frequency", "rda_amplitude_uv", "lrda_index", "rda_lateralisation")
    rows = scene.bipolar_good.mean(axis=1) >= 0.5
    if not rows.any():
        return dict.fromkeys(names, float("nan"))
    slow = filters.pieces(filters.band_pass(scene.bipolar[rows], *DELTA_BAND), PIECE_S)
    height, _ = regularity(slow, *DELTA)
    span = slow.max(axis=2) - slow.min(axis=2)
    whole, amplitude = np.median(height, axis=1), np.median(span, axis=1)
    best = int(np.argmax(np.where(amplitude >= AUDIBLE_UV, whole, -1.0)))
    loud = bool(amplitude[best] >= AUDIBLE_UV)
    out = {
        "grda_index": float(whole[best]) if loud else 0.0,
        "rda_prevalence": float(((whole >= RHYTHMIC) & (amplitude >= AUDIBLE_UV)).mean()),
        "rda_frequency": _dominant(slow[best]) if loud else float("nan"),
        "rda_amplitude_uv": float(amplitude[best]),
    }
    return out | _sides(scene.leads.bipolar.sides()[rows], height, span)


def _dominant(piece: Array) -> float:
    """Frequency (Hz) of the peak of the power that the derivations have together, from 0.5 to 4 Hz.

    The best delay of the autocorrelation will not do: it takes twice the period for the period when noise helps.
    """
    window = np.hanning(piece.shape[1])
    count = 8 * piece.shape[1]
    power = (np.abs(np.fft.rfft((piece - piece.mean(axis=1, keepdims=True)) * window, count, axis=1)) ** 2).sum(axis=0)
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    inside = (hertz >= DELTA[0]) & (hertz <= DELTA[1])
    return float(hertz[inside][np.argmax(power[inside])])


def _sides(side: Array, height: Array, span: Array) -> dict[str, float]:
    left, right = side < 0, side > 0
    if left.sum() < 2 or right.sum() < 2:
        return {"lrda_index": float("nan"), "rda_lateralisation": float("nan")}
    strength = height * np.where(span >= AUDIBLE_UV, span, 0.0)
    on_left, on_right = strength[:, left].mean(axis=1), strength[:, right].mean(axis=1)
    total = on_left + on_right
    lean = np.where(total > 0, (on_left - on_right) / np.maximum(total, 1e-9), 0.0)
    stronger = np.where(lean > 0, height[:, left].mean(axis=1), height[:, right].mean(axis=1))
    index = np.abs(lean) * stronger
    return {"lrda_index": float(index.max()), "rda_lateralisation": float(lean[index.argmax()])}
