"""What is reported of a hidden severity: grade under a scheme, onset, end; with a reader's noise and stray events.

The model gives one latent severity of cytokine release and one of the nervous system. A scheme cuts it
(``schemes.toml``); the reader multiplies it by a log-normal error, the same for a patient under all schemes. Broad
definitions of neurotoxicity also count headache, tremor, insomnia and the like, which are not caused by the severity:
a share of patients has such a stray event whatever their severity. The three definitions of one trial (Pasquini et
al. 2019, doi 10.1182/bloodadvances.2019001305 gives 58, 45 and 17 % of the same patients) are told apart by that
share alone.

Times are reported in whole days, infusion on day 0; an event that lasts from day 2 to day 4 lasts three days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scheme:
    """Cuts of the latent severity for grades 1 to 5, and stray events.

    ``stray`` is the share of patients with a stray event, ``stray_mild`` the share of those that are of grade 1 (the
    rest is grade 2), ``stray_onset_d`` and ``stray_duration_d`` medians of log-normal times with SD ``stray_sd``.
    """

    cuts: tuple[float, ...]
    stray: float = 0.0
    stray_mild: float = 0.75
    stray_onset_d: float = 6.0
    stray_duration_d: float = 5.0
    stray_sd: float = 0.8


@dataclass(frozen=True)
class Graded:
    """Reported toxicity of every patient, shape (n,) each; days are NaN where the grade is 0.

    ``onset`` and ``end`` are exact days since infusion; ``peak`` the day on which the highest grade is first reached.
    """

    grade: npt.NDArray[np.int64]
    onset: Array
    peak: Array
    end: Array

    @property
    def onset_day(self) -> Array:
        """Whole day of onset, infusion on day 0."""
        return np.floor(self.onset)

    @property
    def duration_days(self) -> Array:
        """Days touched from onset to end."""
        return np.floor(self.end) - np.floor(self.onset) + 1.0


def first_crossing(times: Array, series: Array, level: float | Array) -> Array:
    """First time at which each row of (n, T) reaches its level, between samples by a straight line; NaN if never."""
    level = np.broadcast_to(np.asarray(level, float), (len(series),))
    above = series >= level[:, None]
    place = np.argmax(above, axis=1)
    before = np.maximum(place - 1, 0)
    row = np.arange(len(series))
    high, low = series[row, place], series[row, before]
    gap = np.where(high > low, high - low, 1.0)
    part = np.where(place > before, np.clip((level - low) / gap, 0.0, 1.0), 1.0)
    time = times[before] + part * (times[place] - times[before])
    return np.where(above.any(axis=1), time, np.nan)


def last_crossing(times: Array, series: Array, level: float) -> Array:
    """Last time at which each row of (n, T) is at its level; the last sample if it ends above; NaN if never."""
    back = first_crossing(-times[::-1], series[:, ::-1], level)
    return -back


def grade(
    times: Array, severity: Array, scheme: Scheme, noise: Array, stray: Mapping[str, Array] | None = None
) -> Graded:  # fmt: skip
    """Reported toxicity.

    Parameters
    ----------
    times
        Days, shape (T,).
    severity
        Latent severity, shape (n, T).
    scheme
        Cuts and stray events.
    noise
        Reader's error of each patient (ln), shape (n,).
    stray
        Uniform numbers ``"any"``, ``"mild"`` and standard normal ``"onset"``, ``"duration"``, shape (n,) each; None:
        no stray events.
    """
    seen = severity * np.exp(noise)[:, None]
    cuts = np.asarray(scheme.cuts)
    top = np.searchsorted(cuts, seen.max(axis=1), side="right")
    onset = first_crossing(times, seen, cuts[0])
    end = last_crossing(times, seen, cuts[0])
    peak = first_crossing(times, seen, cuts[np.maximum(top - 1, 0)])
    if stray is None or scheme.stray <= 0.0:
        return Graded(top, onset, peak, end)
    hit = stray["any"] < scheme.stray
    mild = np.where(stray["mild"] < scheme.stray_mild, 1, 2)
    began = scheme.stray_onset_d * np.exp(scheme.stray_sd * stray["onset"])
    ended = began + scheme.stray_duration_d * np.exp(scheme.stray_sd * stray["duration"])
    hit &= began < times[-1]
    worse = hit & (mild > top)
    return Graded(
        np.where(worse, mild, top),
        np.where(hit, np.fmin(onset, began), onset),
        np.where(worse, began, peak),
        np.where(hit, np.fmax(end, ended), end),
    )


def share(mask: npt.NDArray[np.bool_], weights: Array) -> float:
    """Weighted share in percent; NaN without weight."""
    total = float(weights.sum())
    return 100.0 * float(weights[mask].sum()) / total if total > 0 else float("nan")


def median(values: Array, weights: Array) -> float:
    """Weighted median of the finite values; NaN without any."""
    return quantile(values, weights, (0.5,))[0]


def quantile(values: Array, weights: Array, levels: Sequence[float]) -> list[float]:
    """Weighted quantiles of the finite values."""
    kept = np.isfinite(values) & (weights > 0)
    if not kept.any():
        return [float("nan")] * len(levels)
    order = np.argsort(values[kept], kind="stable")
    sorted_values, sorted_weights = values[kept][order], weights[kept][order]
    place = (np.cumsum(sorted_weights) - 0.5 * sorted_weights) / sorted_weights.sum()
    return [float(np.interp(level, place, sorted_values)) for level in levels]
