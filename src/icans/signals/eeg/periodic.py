"""Periodic discharges (GPD, LPD, BiPD): sharp transients that look alike and recur.

Terms of the American Clinical Neurophysiology Society (Hirsch et al. 2021, doi:10.1097/WNP.0000000000000806;
recalled): waveforms of uniform morphology with a clear interval between them, recurring nearly regularly (intervals
that differ by less than half) for at least six cycles. Transients are found where the line length of the 3 to 20 Hz
band rises in many derivations at once; each is compared with the average of the others, over all derivations, and
those that resemble it are the discharges. The same is done on either side alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import filters
from icans.signals.eeg.prepare import RATE
from icans.signals.eeg.scene import Scene

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

BEFORE, AFTER, SLIDE = int(0.15 * RATE), int(0.25 * RATE), 8
#: How far the envelope must rise above its median, how far a peak must stand out, and how close two may be (s).
RISE, PROMINENCE, APART_S = 1.5, 0.5, 0.25
#: Correlation with the average of the others from which a transient is one of the discharges.
ALIKE = 0.4
#: Discharges below this amplitude are suppression, not a pattern.
LEAST_UV = 10.0
#: Discharges of the two sides that are closer than this (s) are one generalised discharge.
TOGETHER_S = 0.15
ENVELOPE_S = 0.12


@dataclass(frozen=True)
class Train:
    """Discharges of one window: sample numbers, their likeness, and the average waveform (derivations, samples)."""

    at: Whole
    alike: float
    waveform: Array | None

    @property
    def intervals(self) -> Array:
        """Seconds between neighbours."""
        return np.diff(self.at) / RATE

    @property
    def regular(self) -> float:
        """Share of intervals that differ from the median one by less than half."""
        if len(self.at) < 4:
            return 0.0
        middle = np.median(self.intervals)
        return float((np.abs(self.intervals - middle) < 0.5 * middle).mean())

    @property
    def span(self) -> Array:
        """Peak-to-peak amplitude of the waveform in each derivation, microvolts."""
        if self.waveform is None:
            return np.zeros(0)
        return np.asarray(self.waveform.max(axis=1) - self.waveform.min(axis=1))


def find_train(signal: Array, envelope: Array) -> Train:
    """Discharges in ``signal`` (derivations, samples), 1 to 20 Hz, where ``envelope`` (same shape) rises."""
    from scipy.signal import find_peaks

    middle = np.median(envelope, axis=1, keepdims=True)
    together = np.minimum(envelope / np.maximum(middle, 1e-9), 8.0).mean(axis=0)
    peaks, _ = find_peaks(together, height=RISE, distance=int(APART_S * RATE), prominence=PROMINENCE)
    inside = (peaks >= BEFORE + SLIDE) & (peaks < signal.shape[1] - AFTER - SLIDE)
    peaks = peaks[inside].astype(np.int64)
    if len(peaks) < 3:
        return Train(np.array([], dtype=np.int64), 0.0, None)
    return _resembling(signal, peaks)


def _resembling(signal: Array, peaks: Whole) -> Train:
    """The transients that resemble the average of the others, each slid to fit best (three rounds)."""
    shifts = np.arange(-SLIDE, SLIDE + 1, 2)
    index = peaks[:, None, None] + shifts[None, :, None] + np.arange(-BEFORE, AFTER)[None, None]
    every = signal[:, index].transpose(1, 2, 0, 3)  # transients, shifts, derivations, samples
    every = every - every.mean(axis=3, keepdims=True)
    norm = np.sqrt((every**2).sum(axis=(2, 3))) + 1e-12
    chosen = np.full(len(peaks), len(shifts) // 2)
    weight = np.ones(len(peaks))
    rows = np.arange(len(peaks))
    likeness = np.zeros(len(peaks))
    for _ in range(3):
        current = every[rows, chosen] * weight[:, None, None]
        template = current.sum(axis=0) - current
        size = np.sqrt((template**2).sum(axis=(1, 2))) + 1e-12
        fit = np.einsum("nsdt,ndt->ns", every, template) / (norm * size[:, None])
        chosen = fit.argmax(axis=1)
        likeness = fit[rows, chosen]
        weight = np.where(likeness > 0.5 * ALIKE, 1.0, 0.2)
    ones = likeness >= ALIKE
    if not ones.any():
        return Train(np.array([], dtype=np.int64), float(np.median(likeness)), None)
    at = np.unique(peaks[ones] + shifts[chosen[ones]])
    return Train(at, float(np.median(likeness)), every[rows, chosen][ones].mean(axis=0))


def periodic_features(scene: Scene) -> dict[str, float]:
    """Periodic discharges of one window.

    Returns
    -------
    dict
        ``pd_rate``: discharges a second, whole head (0 where they are below 10 uV). ``pd_frequency``: one over the
        median interval, Hz. ``pd_regularity``: share of near-regular intervals. ``pd_similarity``: correlation of the
        median transient with the others. ``pd_amplitude_uv``, ``pd_duration_ms``: height of the average waveform in
        the median derivation, and width of its largest wave at half its height (70 and 200 ms part spike, sharp and
        blunt). ``pd_coincidence``: share of one-sided discharges that come on both sides at once.
        ``pd_lateralisation``: -1 all right to 1 all left. ``gpd_rate``: ``pd_rate`` times coincidence times balance.
        ``lpd_rate``: the larger of the whole-head train weighted by its lateralisation and of the busier side's train
        that the other side does not share. ``bipd_rate``: the quieter side's train that the other does not share; it
        does not tell BiPD (AUROC 0.45 on 30 clips with expert labels), and nothing rests on it.
    """
    names = ("pd_rate", "pd_frequency", "pd_regularity", "pd_similarity", "pd_amplitude_uv", "pd_duration_ms",
             "pd_coincidence", "pd_lateralisation", "gpd_rate", "lpd_rate", "bipd_rate")  # fmt: skip
    rows = _rows(scene)
    if not rows.any():
        return dict.fromkeys(names, float("nan"))
    signal, envelope = _signals(scene, rows)
    seconds = scene.bipolar.shape[1] / RATE
    whole = find_train(signal, envelope)
    out = _describe(whole, seconds)
    side = scene.leads.bipolar.sides()[rows]
    if (side < 0).sum() < 2 or (side > 0).sum() < 2:
        unknown = dict.fromkeys(("pd_coincidence", "pd_lateralisation", "gpd_rate", "lpd_rate", "bipd_rate"), np.nan)
        return {name: float({**out, **unknown}[name]) for name in names}
    left, right = (find_train(signal[side == s], envelope[side == s]) for s in (-1.0, 1.0))
    return {name: float(value) for name, value in (out | _sided(whole, left, right, side, seconds)).items()}


def discharges(scene: Scene) -> Array:
    """Seconds (in the window) of the discharges of the whole head that are at least 10 uV."""
    rows = _rows(scene)
    if not rows.any():
        return np.zeros(0)
    train = find_train(*_signals(scene, rows))
    loud = train.waveform is not None and np.median(train.span) >= LEAST_UV
    return train.at / RATE if loud else np.zeros(0)


def _rows(scene: Scene) -> npt.NDArray[np.bool_]:
    """Derivations that are good at least half of the time; none in a window shorter than 4 s."""
    if scene.bipolar.shape[1] < 4 * RATE:
        return np.zeros(len(scene.bipolar), dtype=bool)
    return np.asarray(scene.bipolar_good.mean(axis=1) >= 0.5)


def _signals(scene: Scene, rows: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Signal from 1 to 20 Hz and envelope of its sharp parts, shape (derivations, samples)."""
    data = scene.bipolar[rows] * _mask(scene.bipolar_good[rows], scene.bipolar.shape[1])
    signal = filters.band_pass(data, 1.0, 20.0)
    sharp = np.diff(filters.band_pass(data, 3.0, 20.0), axis=1, prepend=0.0)
    return signal, filters.smooth(np.abs(sharp), ENVELOPE_S)


def _mask(good: npt.NDArray[np.bool_], samples: int) -> Array:
    """1 in good seconds, 0 elsewhere, with soft edges, shape (derivations, samples)."""
    second = np.minimum(np.arange(samples) // RATE, good.shape[1] - 1)
    hard = good[:, second].astype(float)
    return hard if good.all() else filters.smooth(hard, 0.25)


def _describe(train: Train, seconds: float) -> dict[str, float]:
    amplitude = float(np.median(train.span)) if train.waveform is not None else 0.0
    enough = amplitude >= LEAST_UV
    middle = float(np.median(train.intervals)) if len(train.at) > 3 else float("nan")
    return {
        "pd_rate": len(train.at) / seconds if enough else 0.0,
        "pd_frequency": 1.0 / middle if enough else float("nan"),
        "pd_regularity": train.regular if enough else 0.0,
        "pd_similarity": max(train.alike, 0.0),
        "pd_amplitude_uv": amplitude,
        "pd_duration_ms": _duration(train) if enough else float("nan"),
    }


def _duration(train: Train) -> float:
    """Width in ms of the largest wave of the average waveform, in the derivation that shows it best."""
    if train.waveform is None:
        return float("nan")
    best = train.waveform[int(np.argmax(train.span))]
    peak = int(np.argmax(np.abs(best)))
    above = best * np.sign(best[peak]) >= 0.5 * abs(best[peak])
    start = stop = peak
    while start > 0 and above[start - 1]:
        start -= 1
    while stop < len(above) - 1 and above[stop + 1]:
        stop += 1
    return 1000.0 * (stop - start + 1) / RATE


def _sided(whole: Train, left: Train, right: Train, side: Array, seconds: float) -> dict[str, float]:
    shared = _shared(left.at, right.at)
    counted = len(left.at) + len(right.at)
    together = float(shared.sum() / counted) if counted else 0.0
    lean = 0.0
    if whole.waveform is not None:
        on_left, on_right = whole.span[side < 0].mean(), whole.span[side > 0].mean()
        lean = float((on_left - on_right) / max(on_left + on_right, 1e-9))
    enough = whole.waveform is not None and np.median(whole.span) >= LEAST_UV
    rate = len(whole.at) / seconds if enough else 0.0
    alone = [
        (len(train.at) - part.sum()) / seconds if train.waveform is not None and train.span.max() >= LEAST_UV else 0.0
        for train, part in ((left, shared[: len(left.at)]), (right, shared[len(left.at) :]))
    ]
    return {
        "pd_coincidence": together,
        "pd_lateralisation": lean,
        "gpd_rate": rate * together * (1.0 - abs(lean)),
        "lpd_rate": max(rate * abs(lean), max(alone) - min(alone)),
        "bipd_rate": min(alone),
    }


def _shared(left: Whole, right: Whole) -> npt.NDArray[np.bool_]:
    """Which discharges (left ones first) have one of the other side close by."""
    if not len(left) or not len(right):
        return np.zeros(len(left) + len(right), dtype=bool)
    close = np.abs(left[:, None] - right[None]) < TOGETHER_S * RATE
    return np.concatenate([close.any(axis=1), close.any(axis=0)])
