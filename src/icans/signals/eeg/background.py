"""The background: posterior dominant rhythm, aperiodic slope, entropy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import montage
from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.scene import Scene
from icans.signals.eeg.spectral import TOTAL, median

Array = npt.NDArray[np.float64]

#: Range of the fit of the aperiodic part, Hz: above the high-pass, below muscle.
APERIODIC = (2.0, 25.0)
RHYTHM = (4.0, 13.0)
#: A peak counts as a rhythm from this height above the aperiodic part (log10 of power: twice as much).
LEAST_HEIGHT = 0.3


def _lines(x: Array, y: Array, kept: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Slope and intercept of the least-squares line of each row of ``y`` over ``x``, the points in ``kept`` only."""
    n = kept.sum(axis=-1)
    mean_x, mean_y = (kept * x).sum(axis=-1) / n, np.where(kept, y, 0.0).sum(axis=-1) / n
    away = np.where(kept, x - mean_x[..., None], 0.0)
    slope = (away * np.where(kept, y, 0.0)).sum(axis=-1) / (away**2).sum(axis=-1)
    return slope, mean_y - slope * mean_x


def aperiodic(frequency: Array, density: Array) -> tuple[Array, Array]:
    """Exponent and log10 offset of ``density`` ~ 10**offset / f**exponent, the rhythms left out, last axis.

    A line in log-log coordinates, fitted again to the points that are not above it, after Donoghue et al. 2020
    (doi:10.1038/s41593-020-00744-x), who subtract peaks. NaN where there is no power.
    """
    inside = (frequency >= APERIODIC[0]) & (frequency <= APERIODIC[1])
    x, power = np.log10(frequency[inside]), density[..., inside]
    silent = ~np.all(power > 0, axis=-1)
    y = np.log10(np.where(power > 0, power, 1.0))
    kept = np.ones(y.shape, dtype=bool)
    slope, offset = _lines(x, y, kept)
    for _ in range(3):
        above = y - (slope[..., None] * x + offset[..., None])
        kept = above <= np.percentile(above, 60, axis=-1, keepdims=True)
        slope, offset = _lines(x, y, kept)
    return np.where(silent, np.nan, -slope), np.where(silent, np.nan, offset)


def rhythm(frequency: Array, density: Array) -> tuple[float, float]:
    """Frequency (Hz) and height (log10 over the aperiodic part) of the highest peak from 4 to 13 Hz.

    NaN and 0 where no point of that range is higher than its neighbours.
    """
    exponent, offset = (float(value) for value in aperiodic(frequency, density))
    if not np.isfinite(exponent):
        return float("nan"), float("nan")
    smoothed = np.convolve(density, [0.25, 0.5, 0.25], "same")
    positive = frequency > 0
    excess = np.full(len(frequency), -np.inf)
    excess[positive] = np.log10(np.maximum(smoothed[positive], 1e-12)) - (
        offset - exponent * np.log10(frequency[positive])
    )
    inside = np.flatnonzero((frequency >= RHYTHM[0]) & (frequency <= RHYTHM[1]))
    peaks = [i for i in inside if excess[i] > excess[i - 1] and excess[i] >= excess[i + 1]]
    if not peaks:
        return float("nan"), 0.0
    best = max(peaks, key=lambda i: excess[i])
    a, b, c = excess[best - 1 : best + 2]
    shift = 0.5 * (a - c) / (a - 2 * b + c) if (a - 2 * b + c) < 0 else 0.0
    return float(frequency[best] + shift * (frequency[1] - frequency[0])), float(b)


def background_features(scene: Scene) -> dict[str, float]:
    """Background of one window.

    Returns
    -------
    dict
        ``pdr_present`` (0/1), ``pdr_frequency`` (Hz; NaN where absent), ``pdr_height``: the posterior dominant rhythm
        in the median posterior channel. ``aperiodic_exponent``, ``aperiodic_offset``: median channel.
        ``spectral_entropy`` (0.5 to 30 Hz, 0 to 1), ``permutation_entropy`` (order 3, 0 to 1): median over channels.
    """
    frequency, density = scene.spectra
    names = scene.leads.average.names
    behind = [i for i, n in enumerate(names) if any(part in montage.POSTERIOR for part in n.split("-"))]
    usable = np.isfinite(density[:, 1])
    out = {"pdr_present": float("nan"), "pdr_frequency": float("nan"), "pdr_height": float("nan")}
    posterior = [i for i in behind if usable[i]]
    if posterior:
        at, height = rhythm(frequency, np.median(density[posterior], axis=0))
        there = height >= LEAST_HEIGHT
        out = {"pdr_present": float(there), "pdr_frequency": at if there else float("nan"), "pdr_height": height}
    exponent, offset = aperiodic(frequency, density[usable])
    out |= {"aperiodic_exponent": median(exponent), "aperiodic_offset": median(offset)}
    out["spectral_entropy"] = median(spectral_entropy(frequency, density))
    rows = scene.average_good.mean(axis=1) >= 0.5
    out["permutation_entropy"] = median(permutation_entropy(scene.average[rows]))
    return out


def spectral_entropy(frequency: Array, density: Array) -> Array:
    """Shannon entropy of the spectrum from 0.5 to 30 Hz over its largest possible value, last axis (Inouye et al.
    1991, doi:10.1016/0013-4694(91)90138-T).
    """
    inside = density[..., (frequency >= TOTAL[0]) & (frequency < TOTAL[1])]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = inside / inside.sum(axis=-1, keepdims=True)
        terms = np.where(share > 0, share * np.log(share), 0.0)
        terms = np.where(np.isfinite(share), terms, np.nan)
    return np.asarray(-terms.sum(axis=-1) / np.log(inside.shape[-1]), dtype=float)


def permutation_entropy(data: Array, step: int = 1) -> Array:
    """Entropy of the order of three samples ``step`` apart over log 6, last axis (Bandt and Pompe 2002,
    doi:10.1103/PhysRevLett.88.174102; for EEG Olofsen et al. 2008, doi:10.1093/bja/aen290; recalled).
    """
    a, b, c = data[..., : -2 * step], data[..., step:-step], data[..., 2 * step :]
    code = (a <= b) * 4 + (b <= c) * 2 + (a <= c) * 1
    entropy = np.zeros(data.shape[:-1])
    for value in range(8):
        share = (code == value).mean(axis=-1)
        entropy -= np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0.0)
    return np.asarray(entropy / np.log(6.0), dtype=float)


def muscle(frequency: Array, density: Array) -> float:
    """Exponent of the power from 20 to 38 Hz, sign turned (median channel): above 0, power rises there, as muscle's.

    The working rate of 128 Hz and its filter end at 40 Hz.
    """
    inside = (frequency >= 20.0) & (frequency <= min(38.0, RATE / 2))
    power = density[:, inside]
    power = power[np.all(power > 0, axis=1)]
    if not len(power):
        return float("nan")
    return median(_lines(np.log10(frequency[inside]), np.log10(power), np.ones(power.shape, dtype=bool))[0])
