"""How well a table of features alone tells the outcome: cross-validated AUROC with a patient-bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.evaluate.bootstrap import Interval, patient_counts, percentile_interval
from icans.evaluate.censoring import Floats
from icans.evaluate.discrimination import stratified_auc
from icans.forecast.ridge import fit_path

#: Folds and repeats of the cross-validation; at n near 100 three repeats halve the scatter from the choice of folds.
FOLDS = 5
REPEATS = 3
#: Fewest patients with and without the outcome: two in each fold.
MIN_CLASS = 2 * FOLDS
#: Inverse ridge penalty of the logistic regression on standardised columns: a mild, fixed shrinkage, because tuning
#: would cost data and a leak worth the name does not need it. It multiplies the summed loss beside half the sum of
#: squared coefficients, as in scikit-learn.
INVERSE_PENALTY = 0.1


@dataclass(frozen=True)
class Score:
    """AUROC of features alone, or the reason why there is none."""

    auroc: Interval | None
    n: int
    events: int
    columns: int
    reason: str = ""


def score(
    features: pd.DataFrame, outcome: pd.Series, *, n_boot: int = 200, seed: int = 0, level: float = 0.95
) -> Score:
    """Cross-validated AUROC of a ridge logistic regression on the features.

    Parameters
    ----------
    features
        One row for each patient (index ``patient_id``), numeric, no missing values.
    outcome
        0/1 by patient; patients without an outcome are left out.
    n_boot, seed, level
        Patient bootstrap of the out-of-fold forecasts.

    Returns
    -------
    Score
        AUROC of pairs within the same fold, averaged over the repeats. It can fall below 0.5 by chance only.
    """
    y = outcome.dropna().astype(int)
    if features.shape[1] == 0:
        return Score(None, len(y), int(y.sum()), 0, "nothing here tells patients apart")
    table = features.reindex(y.index).dropna(axis=0, how="all")
    y = y.reindex(table.index)
    n, events = len(y), int(y.sum())
    if min(events, n - events) < MIN_CLASS:
        return Score(None, n, events, table.shape[1], f"needs {MIN_CLASS} patients with and {MIN_CLASS} without it")
    x, truth = table.to_numpy(dtype=float), y.to_numpy()
    ids = table.index.to_numpy().astype(str)
    forecasts = [_out_of_fold(x, truth, stream(seed, "audit", r)) for r in range(REPEATS)]
    value = _auc(forecasts, truth, np.ones(n))
    drawn = _auc(forecasts, truth, patient_counts(ids, n_boot, seed, "audit"))
    return Score(percentile_interval(value, drawn, level), n, events, table.shape[1])


def _auc(forecasts: list[tuple[Floats, np.ndarray]], truth: np.ndarray, weights: Floats) -> Floats:
    parts = [stratified_auc(risk, weights * truth, weights * (1 - truth), fold) for risk, fold in forecasts]
    return np.asarray(np.mean(parts, axis=0))


def _out_of_fold(x: Floats, y: np.ndarray, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    """Out-of-fold forecasts and the fold of each patient; folds are stratified by outcome."""
    fold = np.empty(len(y), dtype=np.int64)
    for label in (0, 1):
        mine = np.flatnonzero(y == label)
        fold[rng.permutation(mine)] = np.arange(len(mine)) % FOLDS
    risk = np.empty(len(y))
    for k in range(FOLDS):
        risk[fold == k] = _fit_predict(x[fold != k], y[fold != k], x[fold == k])
    return risk, fold


def _fit_predict(train: Floats, y: np.ndarray, test: Floats) -> Floats:
    """Ridge logistic regression on ranks and squared ranks, so that thresholds and U-shapes are seen, too."""
    a, b = _ranks(train, train), _ranks(train, test)
    scale = a.std(axis=0)
    kept = scale > 0
    if not kept.any():
        return np.full(len(test), y.mean())
    penalty = 1.0 / (INVERSE_PENALTY * len(y))  # of the mean loss
    model = fit_path(a[:, kept] / scale[kept], y.astype(float), np.ones(len(y)), (penalty,))[0]
    return model.probability(b[:, kept] / scale[kept])


def _ranks(train: Floats, x: Floats) -> Floats:
    """Mid-ranks within the training values, -1 to 1, and their squares (binary columns: ranks only)."""
    n = len(train)
    ordered = np.sort(train, axis=0)
    several = np.flatnonzero((ordered[1:] != ordered[:-1]).sum(axis=0) >= 2)
    ranks = np.empty(x.shape)
    for k in range(train.shape[1]):
        low = np.searchsorted(ordered[:, k], x[:, k], "left")
        high = np.searchsorted(ordered[:, k], x[:, k], "right")
        ranks[:, k] = (low + high) / n - 1.0
    return np.hstack([ranks, ranks[:, several] ** 2])
