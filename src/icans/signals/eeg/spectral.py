"""Power by frequency: multitaper spectra (Thomson 1982, doi:10.1109/PROC.1982.12433) and what is read from them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.prepare import RATE

Array = npt.NDArray[np.float64]

#: Bands of the International Federation of Clinical Neurophysiology glossary (Kane et al. 2017,
#: doi:10.1016/j.cnp.2017.07.002), lower bound included, Hz.
BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}
TOTAL = (0.5, 30.0)
SEGMENT_S = 4.0
TAPERS = 3
#: Bands of the 3:10 Hz ratio, Hz (bispectral-free two-lead screening of delirium: Shinozaki et al. 2018,
#: doi:10.1111/pcn.12669; recalled).
LOW_BIN, HIGH_BIN = (2.5, 3.5), (9.5, 10.5)


@cache
def _tapers(length: int) -> Array:
    from scipy.signal.windows import dpss

    tapers: Array = dpss(length, 2.0, TAPERS)
    return tapers


def segments(
    data: Array, good: npt.NDArray[np.bool_], seconds: float = SEGMENT_S
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Half-overlapping pieces, shape (channels, pieces, samples), and whether each is free of artefact.

    ``good`` marks seconds of each channel, shape (channels, seconds).
    """
    length = min(int(seconds * RATE), data.shape[1])
    starts = np.arange(0, data.shape[1] - length + 1, max(1, length // 2))
    pieces = data[:, starts[:, None] + np.arange(length)]
    last = good.shape[1] - 1
    usable = np.stack(
        [good[:, min(s // RATE, last) : min((s + length - 1) // RATE, last) + 1].all(axis=1) for s in starts]
    )
    return pieces, np.asarray(usable.T, dtype=bool)


def spectra(data: Array, good: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Frequencies (Hz) and power density (uV2/Hz), shape (channels, frequencies); NaN where nothing is usable.

    Mean over tapers, median over pieces free of artefact: one blink does not make a slow EEG.
    """
    pieces, usable = segments(data, good)
    tapers = _tapers(pieces.shape[2])
    pieces = pieces - pieces.mean(axis=2, keepdims=True)
    power = np.zeros((*pieces.shape[:2], pieces.shape[2] // 2 + 1))
    for taper in tapers:
        spectrum = np.fft.rfft(pieces * taper, axis=2)
        power += spectrum.real**2 + spectrum.imag**2
    power *= 2.0 / (RATE * len(tapers))
    power[~usable] = np.nan
    with np.errstate(invalid="ignore"):
        density = _nanmedian(power)
    return np.asarray(np.fft.rfftfreq(pieces.shape[2], 1 / RATE), dtype=float), density


def _nanmedian(power: Array) -> Array:
    """Median over pieces (axis 1); NaN where every piece is NaN, without the warning."""
    empty: npt.NDArray[np.bool_] = np.all(np.isnan(power[:, :, 0]), axis=1)
    filled = np.where(empty[:, None, None], 0.0, power)
    median: Array = np.nanmedian(filled, axis=1) if np.isnan(filled).any() else np.median(filled, axis=1)
    median[empty] = np.nan
    return median


def band(frequency: Array, density: Array, low: float, high: float) -> Array:
    """Power (uV2) from ``low`` (included) to ``high`` (left out), last axis."""
    step = frequency[1] - frequency[0]
    inside = (frequency >= low) & (frequency < high)
    total: Array = density[..., inside].sum(axis=-1) * step
    return total


def quantile(frequency: Array, density: Array, share: float) -> Array:
    """Frequency below which ``share`` of the power between 0.5 and 30 Hz lies, interpolated; last axis."""
    inside = (frequency >= TOTAL[0]) & (frequency < TOTAL[1])
    step = frequency[1] - frequency[0]
    power = np.atleast_2d(density[..., inside])
    edges = np.append(frequency[inside] - step / 2, frequency[inside][-1] + step / 2)
    cumulated = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
    out = np.full(len(power), np.nan)
    for row, line in enumerate(cumulated):
        if np.isfinite(line[-1]) and line[-1] > 0:
            out[row] = np.interp(share * line[-1], line, edges)
    return out.reshape(density.shape[:-1])


def band_features(frequency: Array, density: Array) -> dict[str, float]:
    """Band powers and their ratios, each the median over channels.

    Parameters
    ----------
    frequency, density
        From :func:`spectra`.

    ``dtabr`` is (delta + theta) / (alpha + beta); the hazard ratio per unit of (delta + theta) / alpha in the
    prospective study of EEG and ICANS was 1.37 (J Neurol 2025, doi:10.1007/s00415-025-13102-3).
    """
    power = {name: band(frequency, density, *edges) for name, edges in BANDS.items()}
    total = band(frequency, density, *TOTAL)
    with np.errstate(divide="ignore", invalid="ignore"):
        channels = {f"power_{name}": value for name, value in power.items()}
        channels |= {f"rel_{name}": value / total for name, value in power.items()}
        slow, fast = power["delta"] + power["theta"], power["alpha"] + power["beta"]
        channels["dtabr"] = slow / fast
        channels["dtar"] = slow / power["alpha"]
        channels["alpha_delta"] = power["alpha"] / power["delta"]
        channels["ratio_3_10"] = band(frequency, density, *LOW_BIN) / band(frequency, density, *HIGH_BIN)
        channels["sef95"] = quantile(frequency, density, 0.95)
        channels["median_frequency"] = quantile(frequency, density, 0.5)
    return dict(zip(channels, medians(np.stack(list(channels.values()))), strict=True))


def medians(rows: Array) -> list[float]:
    """Median of the finite values of each row; NaN where there is none."""
    if rows.size and np.isfinite(rows).all():
        return [float(value) for value in np.median(rows, axis=1)]
    return [median(row) for row in rows]


def median(values: Array) -> float:
    """Median of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
