"""Heads: from a network's summary of a record to probabilities, and the losses they are trained by.

* **Competing risks**: in each bin of time after the landmark, softmax of {none, event, competing event} among those
  still free (discrete-time cause-specific hazards: Allison 1982, doi 10.2307/270718; Lee 2018 for networks). Rows that
  are censored enter with the bins that they completed.
* **Ordinal grade**: cumulative logits with ordered cuts (McCullagh 1980, doi 10.1111/j.2517-6161.1980.tb01109.x).
* **Several labels** (phenotypes): a logistic each; labels that are not known do not enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.forecast.models.base import as_horizon
from icans.forecast.outcomes import COMPETING, EVENT, Horizon
from icans.forecast.sequence.engine import NUMPY, Tensor, log_softmax, sigmoid, softplus

Floats = NDArray[np.float64]

#: More bins than this are not made; beyond it windows lie inside bins and risk is interpolated.
MAX_BINS = 12
#: Fewer windows than this are cut at quartiles of the times of events, which then say something about the hazard.
MIN_BINS = 4
#: Pseudo-rows by which the hazards of each landmark are drawn towards those of all landmarks together.
POOLING = 20.0


@dataclass(frozen=True)
class Grid:
    """Bins after the landmark, and the hazards of everybody, from which a network starts.

    Attributes
    ----------
    edges
        Upper ends of the bins, hours after the landmark, shape (K,).
    at
        Landmarks, hours, shape (L,).
    offset
        ln of the probability of {none, event, competing} in each bin, shape (L, K, 3).
    """

    edges: Floats
    at: Floats
    offset: Floats

    @classmethod
    def fit(cls, outcome: pd.DataFrame, horizons: Sequence[Horizon]) -> Grid:
        """Bins from the windows that will be asked for; hazards counted in the training rows."""
        at = np.sort(outcome["landmark_h"].unique().astype(float))
        windows = np.unique(np.concatenate([h.window(at) for h in horizons]))
        edges = _edges(windows[windows > 0], outcome)
        known, cause = targets(outcome["time_h"], outcome["event"], edges)
        landmark = outcome["landmark_h"].to_numpy(dtype=float)
        pooled = _hazard(known, cause, np.full((len(edges), 3), [1.0, 0.5, 0.5]) / 2.0)
        rows = [landmark == s for s in at]
        offset = np.stack([np.log(_hazard(known[m], cause[m], POOLING * pooled)) for m in rows])
        return cls(edges, at, offset)

    def start(self, landmark_h: ArrayLike) -> NDArray[np.float32]:
        """Offsets of rows, shape (n, K, 3); between landmarks interpolated, beyond them those of the nearest."""
        s = np.clip(np.asarray(landmark_h, dtype=float), self.at[0], self.at[-1])
        upper = np.clip(np.searchsorted(self.at, s), 1, max(len(self.at) - 1, 1)) if len(self.at) > 1 else 0 * s
        upper = upper.astype(int)
        lower = np.maximum(upper - 1, 0)
        width = self.at[upper] - self.at[lower]
        share = np.divide(s - self.at[lower], width, out=np.zeros(len(s)), where=width > 0)[:, None, None]
        return ((1 - share) * self.offset[lower] + share * self.offset[upper]).astype(np.float32)

    def risk(self, probability: Floats, landmark_h: ArrayLike, horizon: Horizon | float) -> Floats:
        """Cumulative incidence of the event within a window, linear inside bins; from (n, K, 3), shape (n,)."""
        curve = np.column_stack([np.zeros(len(probability)), incidence(probability)])
        window = as_horizon(horizon).window(np.asarray(landmark_h, dtype=float))
        ends = np.r_[0.0, self.edges]
        k = np.clip(np.searchsorted(ends, window, side="left"), 1, len(self.edges))
        share = np.clip((window - ends[k - 1]) / (ends[k] - ends[k - 1]), 0.0, 1.0)
        row = np.arange(len(curve))
        return np.asarray((1 - share) * curve[row, k - 1] + share * curve[row, k])


def _edges(windows: Floats, outcome: pd.DataFrame) -> Floats:
    """Ends of the windows; where these are few, also quartiles of the times of events inside them."""
    if len(windows) == 0:
        return np.array([24.0])
    if len(windows) > MAX_BINS:
        return np.asarray(windows[np.unique(np.linspace(0, len(windows) - 1, MAX_BINS).round().astype(int))])
    if len(windows) >= MIN_BINS:
        return np.asarray(windows)
    time = outcome["time_h"].to_numpy(dtype=float)
    inside = time[(outcome["event"].to_numpy() == EVENT) & (time < windows[-1])]
    if len(inside) < MIN_BINS:
        return np.asarray(windows)
    return np.unique(np.r_[windows, np.quantile(inside, np.arange(1, MIN_BINS) / MIN_BINS)])


def targets(time_h: ArrayLike, event: ArrayLike, edges: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Which bins of a row are known (n, K), and what happened in each (n, K): 0 none, 1 event, 2 competing."""
    time, code = np.asarray(time_h, dtype=float)[:, None], np.asarray(event)[:, None]
    start = np.r_[0.0, edges[:-1]]
    passed = time >= edges
    # An event at the very end of a bin belongs to it.
    here = (time > start) & (time <= edges) & np.isin(code, (EVENT, COMPETING))
    return (passed | here).astype(float), np.where(here, code, 0).astype(np.intp)


def _hazard(known: Floats, cause: NDArray[np.intp], prior: Floats) -> Floats:
    count = np.stack([(known * (cause == c)).sum(axis=0) for c in range(3)], axis=1) + prior
    return np.asarray(count / count.sum(axis=1, keepdims=True))


def incidence(probability: Floats) -> Floats:
    """Cumulative incidence of the event at the end of each bin, shape (n, K) (Aalen-Johansen)."""
    free = np.cumprod(probability[:, :, 0], axis=1)
    before = np.column_stack([np.ones(len(free)), free[:, :-1]])
    return np.asarray(np.cumsum(before * probability[:, :, 1], axis=1))


def competing_loss(xp: Any, logits: Tensor, known: Tensor, cause: Tensor, weight: Tensor) -> Tensor:
    """Mean negative log-likelihood of a row; ``logits`` and ``cause`` (one-hot) (n, K, 3), ``known`` (n, K)."""
    each = -xp.sum(log_softmax(xp, logits) * cause, axis=-1) * known
    return xp.sum(xp.sum(each, axis=-1) * weight) / xp.maximum(xp.sum(weight), 1.0)


def ordinal_cuts(xp: Any, raw: Tensor) -> Tensor:
    """Increasing cuts from free numbers: the first, and the steps to the next as softplus."""
    return xp.concatenate([raw[:1], raw[:1] + xp.cumsum(softplus(xp, raw[1:]))])


def ordinal_probability(xp: Any, score: Tensor, cuts: Tensor) -> Tensor:
    """P(grade = g), shape (n, grades), from P(grade > g) = expit(score - cut g)."""
    above = sigmoid(xp, score[:, None] - cuts[None, :])
    one, zero = xp.ones_like(score)[:, None], xp.zeros_like(score)[:, None]
    return xp.concatenate([one, above], axis=1) - xp.concatenate([above, zero], axis=1)


def ordinal_loss(xp: Any, score: Tensor, cuts: Tensor, grade: Tensor, weight: Tensor) -> Tensor:
    """Mean negative log-likelihood; ``grade`` one-hot (n, grades), weight 0 where the grade is not known."""
    chance = xp.sum(ordinal_probability(xp, score, cuts) * grade, axis=1)
    return -xp.sum(xp.log(xp.maximum(chance, 1e-7)) * weight) / xp.maximum(xp.sum(weight), 1.0)


def label_loss(xp: Any, logits: Tensor, label: Tensor, known: Tensor) -> Tensor:
    """Mean negative log-likelihood of several 0/1 labels (n, labels), over those that are known."""
    each = softplus(xp, logits) - label * logits
    return xp.sum(each * known) / xp.maximum(xp.sum(known), 1.0)


def cuts_init(grades: int, share: ArrayLike) -> NDArray[np.float32]:
    """Free numbers whose cuts give everybody the observed share of each grade (score 0)."""
    below = np.cumsum(np.asarray(share, dtype=float))[: grades - 1]
    cuts = np.log(below / (1 - below))
    steps = np.maximum(np.diff(cuts), 1e-3)
    return np.r_[cuts[:1], np.log(np.expm1(steps))].astype(np.float32)


def probabilities(logits: Tensor) -> Floats:
    """Softmax over the last axis, in double precision."""
    return np.exp(np.asarray(log_softmax(NUMPY.xp, np.asarray(logits, dtype=np.float64))))
