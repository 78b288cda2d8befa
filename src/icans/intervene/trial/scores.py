"""Tests of many simulated trials at once: one standard normal score a trial, negative when events are fewer.

Every score compares arm 1 with arm 0. With nothing to compare (an empty arm, no event) the score is 0: no evidence.

Sources: pooled two-sample proportions and the stratified form of Cochran (1954, doi 10.2307/3001616) and of Mantel and
Haenszel (1959, doi 10.1093/jnci/22.4.719); rank sums with ties (Lehmann 1975, "Nonparametrics"); log rank (Mantel 1966;
Peto and Peto 1972, doi 10.2307/2344317) with the hypergeometric variance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _ratio(top: Array, variance: Array) -> Array:
    safe = np.where(variance > 1e-12, variance, 1.0)
    return np.where(variance > 1e-12, top / np.sqrt(safe), 0.0)


def two_proportions(x0: Array, n0: Array, x1: Array, n1: Array) -> Array:
    """Pooled score of a difference of proportions, shape (R,)."""
    return stratified(x0[:, None], n0[:, None], x1[:, None], n1[:, None], small_sample=False)


def stratified(x0: Array, n0: Array, x1: Array, n1: Array, *, small_sample: bool = True) -> Array:
    """Cochran-Mantel-Haenszel score over strata, shape (R,) from counts of shape (R, S).

    ``small_sample``: the hypergeometric variance (divisor N - 1); with one stratum and False it is the pooled score.
    """
    x0, n0, x1, n1 = (np.asarray(v, float) for v in (x0, n0, x1, n1))
    n = n0 + n1
    safe = np.maximum(n, 1.0)
    p = (x0 + x1) / safe
    both = (n0 > 0) & (n1 > 0)
    top = np.where(both, x1 - n1 * p, 0.0)
    divisor = np.maximum(n - 1.0, 1.0) if small_sample else safe
    variance = np.where(both, n0 * n1 / divisor * p * (1.0 - p), 0.0)
    return _ratio(top.sum(axis=1), variance.sum(axis=1))


def rank_sum(c0: Array, c1: Array) -> Array:
    """Wilcoxon-Mann-Whitney score with ties from counts by ordered category, shape (R,) from (R, K).

    Lower categories are better; fewer of the high ones in arm 1 give a negative score.
    """
    c0, c1 = np.asarray(c0, float), np.asarray(c1, float)
    total = c0 + c1
    n0, n1 = c0.sum(axis=1), c1.sum(axis=1)
    n = n0 + n1
    mid = np.cumsum(total, axis=1) - 0.5 * total + 0.5
    top = (c1 * mid).sum(axis=1) - n1 * (n + 1.0) / 2.0
    ties = (total**3 - total).sum(axis=1)
    safe = np.maximum(n, 2.0)
    variance = n0 * n1 / 12.0 * ((safe + 1.0) - ties / (safe * (safe - 1.0)))
    return _ratio(top, variance)


def better_chance(c0: Array, c1: Array) -> Array:
    """Chance that a patient of arm 1 has a lower category than one of arm 0, ties counting half; shape (R,)."""
    c0, c1 = np.asarray(c0, float), np.asarray(c1, float)
    above = c0.sum(axis=1)[:, None] - np.cumsum(c0, axis=1)
    pairs = np.maximum(c0.sum(axis=1) * c1.sum(axis=1), 1.0)
    return np.asarray((c1 * (above + 0.5 * c0)).sum(axis=1) / pairs)


def log_rank_parts(time: Array, event: Mask, arm: Array, counted: Mask) -> tuple[Array, Array, Array]:
    """Observed less expected events of arm 1, its variance, and events in all, shape (R,) each.

    Parameters
    ----------
    time, event, arm, counted
        Shape (R, n): follow-up, whether it ended with the event, 0 or 1, and who counts. Tied times share a risk set.
    """
    rows, n = time.shape
    key = np.where(counted, time, np.inf)
    order = np.argsort(key, axis=1, kind="stable")
    at = np.take_along_axis(key, order, axis=1)
    hit = np.take_along_axis((event & counted).astype(float), order, axis=1)
    one = np.take_along_axis(np.where(counted, arm, 0).astype(float), order, axis=1)
    in_all = counted.sum(axis=1, keepdims=True)
    at_risk = in_all - np.arange(n)
    at_risk_1 = one[:, ::-1].cumsum(axis=1)[:, ::-1]
    begins = np.ones((rows, n), dtype=bool)
    begins[:, 1:] = at[:, 1:] != at[:, :-1]
    starts = np.flatnonzero(begins.ravel())
    d = np.add.reduceat(hit.ravel(), starts)
    d1 = np.add.reduceat((hit * one).ravel(), starts)
    risk, risk1 = at_risk.ravel()[starts].astype(float), at_risk_1.ravel()[starts]
    safe = np.maximum(risk, 1.0)
    share = risk1 / safe
    spread = d * share * (1.0 - share) * (safe - d) / np.maximum(safe - 1.0, 1.0)
    row = starts // n
    less = np.bincount(row, d1 - d * share, rows)
    variance = np.bincount(row, np.where(d > 0, spread, 0.0), rows)
    return np.asarray(less, float), np.asarray(variance, float), np.asarray(np.bincount(row, d, rows), float)


def log_rank(time: Array, event: Mask, arm: Array, counted: Mask, stratum: Array | None = None) -> Array:
    """Log-rank score, stratified where ``stratum`` (R, n) is given; shape (R,)."""
    if stratum is None:
        less, variance, _ = log_rank_parts(time, event, arm, counted)
        return _ratio(less, variance)
    parts = [log_rank_parts(time, event, arm, counted & (stratum == s))[:2] for s in np.unique(stratum)]
    return _ratio(np.sum([p[0] for p in parts], axis=0), np.sum([p[1] for p in parts], axis=0))


def counts(value: npt.NDArray[Any], arm: npt.NDArray[Any], counted: Mask, arms: int, levels: int) -> Array:
    """How many of each arm have each level, shape (R, arms, levels) from (R, n)."""
    rows = np.arange(len(value))[:, None]
    place = (rows * arms + arm) * levels + value.astype(int)
    flat = np.bincount(place[counted], minlength=len(value) * arms * levels)
    return np.asarray(flat.reshape(len(value), arms, levels), float)
