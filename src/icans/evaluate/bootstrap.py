"""Uncertainty: patient bootstrap by frequency weights, paired differences, and optimism correction.

Patients (clusters), not rows, are drawn with replacement; a patient's rows carry the number of times that the patient
was drawn. Metrics take these counts as weights, so that hundreds of resamples are one array operation.

References: Efron B, Tibshirani RJ, An Introduction to the Bootstrap, 1993; Harrell FE et al., Stat Med 1996;15:361
(optimism); Noma H et al., Stat Med 2021;40:5691 (interval of the corrected value by shifting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.evaluate.censoring import Floats

#: Resamples handled in one array operation: bounds the memory of (resamples, rows) arrays.
CHUNK_CELLS = 4_000_000
#: An interval is given only when at least this share of the resamples could be evaluated; below it the estimable
#: resamples are a selected half and their spread says little.
MIN_ESTIMABLE = 0.5

Statistic = Callable[[Floats], "Mapping[str, Floats] | Floats"]


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    ``degenerate`` counts the resamples in which the value could not be estimated (no events, for example); the
    interval is of the others, and NaN when they are too few.
    """

    value: float
    low: float
    high: float
    n_boot: int
    degenerate: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def patient_counts(patient_ids: ArrayLike, n_boot: int, seed: int, *keys: object) -> Floats:
    """How often each row is drawn in each resample of the patients, shape (n_boot, rows).

    Resample b depends on the seed, the keys, b and the sorted set of patients only; not on the order or number of
    rows. Two calls with the same patients give the same draws (this is what pairs a comparison).
    """
    ids, index = np.unique(np.asarray(patient_ids).astype(str), return_inverse=True)
    if not len(ids):
        raise NotEstimableError("there are no patients to resample")
    return _counts(len(ids), n_boot, seed, *keys)[:, index]


@lru_cache(maxsize=8, typed=True)
def _counts(patients: int, n_boot: int, seed: int, *keys: object) -> Floats:
    """How often each of so many patients is drawn, shape (n_boot, patients).

    The models of a cell are resampled alike, and a stream for each resample costs more than its draws: the last few
    tables are kept. They are not written to.
    """
    counts = np.zeros((n_boot, patients))
    for b in range(n_boot):
        drawn = stream(seed, "bootstrap", *keys, b).integers(0, patients, patients)
        counts[b] = np.bincount(drawn, minlength=patients)
    counts.flags.writeable = False
    return counts


def percentile_interval(value: ArrayLike, drawn: ArrayLike, level: float = 0.95) -> Interval:
    """The percentile interval of resampled values; missing ones are counted as degenerate."""
    draws = np.asarray(drawn, dtype=float).ravel()
    good = draws[np.isfinite(draws)]
    low = high = np.nan
    if len(good) >= max(2, MIN_ESTIMABLE * len(draws)):
        tail = (1 - level) / 2
        low, high = np.quantile(good, (tail, 1 - tail))
    return Interval(float(np.asarray(value)), float(low), float(high), len(draws), len(draws) - len(good))


def band(drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Pointwise percentile band of resampled curves, shape (B, k); NaN where too few resamples have a value."""
    lower, upper = np.full(drawn.shape[1], np.nan), np.full(drawn.shape[1], np.nan)
    tail = (1 - level) / 2
    enough = np.isfinite(drawn).mean(axis=0) >= MIN_ESTIMABLE
    whole = np.isfinite(drawn).all(axis=0)
    if whole.any():
        lower[whole], upper[whole] = np.quantile(drawn[:, whole], (tail, 1 - tail), axis=0)
    if (gaps := enough & ~whole).any():
        lower[gaps], upper[gaps] = np.nanquantile(drawn[:, gaps], (tail, 1 - tail), axis=0)
    return lower, upper


def bootstrap(
    statistic: Statistic,
    patient_ids: ArrayLike,
    *,
    n_boot: int = 500,
    seed: int = 0,
    level: float = 0.95,
    executor: Executor | None = None,
) -> dict[str, Interval]:
    """Percentile intervals of one or several statistics over patients.

    Parameters
    ----------
    statistic
        Takes frequency weights of shape (n,) or (B, n) and gives a value of shape () or (B,), or a mapping of names
        to such values. With a process executor it must be picklable.
    patient_ids
        Patient of each row, shape (n,).
    n_boot, seed, level
        Number of resamples, seed, level of the interval.
    executor
        Where chunks of resamples are worked; the result does not depend on it.

    Returns
    -------
    dict
        Name to :class:`Interval` (``"value"`` for a statistic without names).
    """
    ids = np.asarray(patient_ids)
    point = _named(statistic(np.ones(len(ids))))
    drawn = resample(statistic, ids, n_boot=n_boot, seed=seed, executor=executor)
    return {name: percentile_interval(value, drawn[name], level) for name, value in point.items()}


def resample(
    statistic: Statistic, patient_ids: ArrayLike, *, n_boot: int, seed: int, executor: Executor | None = None
) -> dict[str, Floats]:
    """Statistics of every resample, name to array of shape (n_boot,)."""
    counts = patient_counts(patient_ids, n_boot, seed)
    size = max(1, CHUNK_CELLS // max(counts.shape[1], 1))
    chunks = [counts[i : i + size] for i in range(0, n_boot, size)]
    done = (executor or Serial()).map(partial(_apply, statistic), chunks, "bootstrap")
    names = done[0] if done else _named(statistic(np.ones(counts.shape[1])))
    return {name: np.concatenate([part[name] for part in done]) if done else np.empty(0) for name in names}


def paired_difference(
    first: Statistic,
    second: Statistic,
    patient_ids: ArrayLike,
    *,
    n_boot: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of first minus second over the same resamples, for the names that both give."""
    n = len(np.asarray(patient_ids))
    a0, b0 = _named(first(np.ones(n))), _named(second(np.ones(n)))
    a = resample(first, patient_ids, n_boot=n_boot, seed=seed)
    b = resample(second, patient_ids, n_boot=n_boot, seed=seed)
    return {k: percentile_interval(a0[k] - b0[k], a[k] - b[k], level) for k in a0 if k in b0}


def _apply(statistic: Statistic, counts: Floats) -> dict[str, Floats]:
    return _named(statistic(counts))


def _named(value: Mapping[str, Floats] | Floats) -> dict[str, Floats]:
    if isinstance(value, Mapping):
        return {name: np.asarray(part, dtype=float) for name, part in value.items()}
    return {"value": np.asarray(value, dtype=float)}


Rows = NDArray[np.intp]
#: Fits on the given rows (repeats allowed) and gives a function from rows to forecasts.
Fit = Callable[[Rows], Callable[[Rows], Floats]]
#: Metrics of forecasts for the given rows.
Metrics = Callable[[Rows, Floats], Mapping[str, float]]


@dataclass(frozen=True)
class Optimism:
    """Result of the optimism-corrected bootstrap.

    ``table`` has one row for each metric: metric, apparent, optimism, corrected, low, high, n_boot, degenerate.
    """

    table: pd.DataFrame
    failures: tuple[str, ...]


def optimism_corrected(
    fit: Fit,
    metrics: Metrics,
    patient_ids: ArrayLike,
    *,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
    executor: Executor | None = None,
) -> Optimism:
    """Harrell's optimism correction with the whole pipeline refitted in every resample.

    For each resample of patients the pipeline is fitted on it and judged twice: on the resample (apparent) and on the
    original data (test); the mean difference is the optimism. Everything that learns from data (imputation,
    harmonisation, feature selection, tuning) belongs inside ``fit``. Where many columns are selected from at random
    the correction is known to fall short, because a resample keeps what was selected by chance; cross-validate then.

    Parameters
    ----------
    fit
        Function from row positions (with repeats) to a predictor of row positions.
    metrics
        Function from row positions and their forecasts to named numbers; NaN where not estimable.
    patient_ids
        Patient of each row, shape (n,); patients are drawn, with all their rows.
    n_boot, seed, level, executor
        As in :func:`bootstrap`. ``fit`` and ``metrics`` must be picklable for a process executor.

    Returns
    -------
    Optimism
        Corrected values; the interval is the percentile interval of the apparent values, shifted by the optimism.
        ``failures`` lists the distinct reasons for which a resample could not be fitted.
    """
    ids, index = np.unique(np.asarray(patient_ids).astype(str), return_inverse=True)
    every = np.arange(len(index))
    apparent = dict(metrics(every, fit(every)(every)))
    rows_of = [np.flatnonzero(index == k) for k in range(len(ids))]
    draws: list[Rows] = []
    for b in range(n_boot):
        chosen = stream(seed, "optimism", b).integers(0, len(ids), len(ids))
        draws.append(np.concatenate([rows_of[k] for k in chosen]))
    done = (executor or Serial()).map(partial(_refit, fit, metrics, every), draws, "optimism bootstrap")
    reasons = tuple(sorted({reason for _, _, reason in done if reason}))
    table = pd.DataFrame([_corrected(name, value, done, level) for name, value in apparent.items()])
    return Optimism(table, reasons)


Refit = tuple[dict[str, float], dict[str, float], str]


def _refit(fit: Fit, metrics: Metrics, every: Rows, rows: Rows) -> Refit:
    try:
        predict = fit(rows)
        return dict(metrics(rows, predict(rows))), dict(metrics(every, predict(every))), ""
    except NotEstimableError as error:
        return {}, {}, str(error)


def _corrected(name: str, apparent: float, done: Sequence[Refit], level: float) -> dict[str, object]:
    inside = np.array([own.get(name, np.nan) for own, _, _ in done])
    outside = np.array([test.get(name, np.nan) for _, test, _ in done])
    gap = inside - outside
    good = np.isfinite(gap)
    optimism = float(gap[good].mean()) if good.any() else np.nan
    interval = percentile_interval(apparent, np.where(good, inside, np.nan), level)
    return {
        "metric": name,
        "apparent": apparent,
        "optimism": optimism,
        "corrected": apparent - optimism,
        "low": interval.low - optimism,
        "high": interval.high - optimism,
        "n_boot": len(done),
        "degenerate": int((~good).sum()),
    }


def share_degenerate(intervals: Mapping[str, Interval]) -> float:
    """Largest share of degenerate resamples among several intervals (0 when there are none)."""
    return max((i.degenerate / i.n_boot for i in intervals.values() if i.n_boot), default=0.0)
