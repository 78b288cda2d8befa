"""Performance over all cells of a task together, and paired differences between models, with patient intervals.

A cell (landmark and horizon) of a small cohort cannot tell two models apart. Here a metric is averaged over the judged
cells of a task, and a resample draws the same patients in every cell, so that the interval speaks of patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.brier import brier_of_status
from icans.evaluate.censoring import horizon_status
from icans.evaluate.discrimination import stratified_auc
from icans.evaluate.tables import Group, check_predictions, groups

Floats = NDArray[np.float64]

#: Metric -> whether more is better.
POOLED = {"auc_within_fold": True, "brier": False, "log_score": True}
#: Risks are kept off 0 and 1 by so much in the logarithmic score.
LEAST_RISK = 1e-3


@dataclass(frozen=True)
class Pooled:
    """Values of the observed patients (first) and of every resample: task -> model -> metric -> shape (1 + B,)."""

    values: Mapping[str, Mapping[str, Mapping[str, Floats]]]

    def table(self) -> pd.DataFrame:
        """Columns task, model, metric, value, low, high."""
        rows = []
        for task, models in self.values.items():
            for model, metrics in models.items():
                for metric, drawn in metrics.items():
                    i = percentile_interval(drawn[0], drawn[1:])
                    rows.append((task, model, metric, i.value, i.low, i.high))
        return pd.DataFrame(rows, columns=["task", "model", "metric", "value", "low", "high"])

    def differences(self, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
        """Each first model minus the second one: task, model, reference_model, metric, difference, low, high, better.

        ``better``: yes or no where the interval excludes 0, else unclear. Pairs of which a model is missing are left
        out.
        """
        rows = []
        for task, models in self.values.items():
            for model, reference in pairs:
                if model not in models or reference not in models:
                    continue
                for metric, more in POOLED.items():
                    gap = models[model][metric] - models[reference][metric]
                    i = percentile_interval(gap[0], gap[1:])
                    clear = np.isfinite([i.low, i.high]).all() and not i.low <= 0 <= i.high
                    better = ("yes" if (i.low > 0) == more else "no") if clear else "unclear"
                    rows.append((task, model, reference, metric, i.value, i.low, i.high, better))
        columns = ["task", "model", "reference_model", "metric", "difference", "low", "high", "better"]
        return pd.DataFrame(rows, columns=columns)


def pooled(predictions: pd.DataFrame, *, n_boot: int = 200, seed: int = 0) -> Pooled:
    """Metrics of every task and model, averaged over the cells that all models of the task forecast.

    Parameters
    ----------
    predictions
        Prediction table (see :mod:`icans.evaluate.tables`).
    n_boot, seed
        Resamples of patients.

    Raises
    ------
    DataError
        The table has problems.
    """
    cells: dict[str, dict[tuple[float, float], dict[str, Group]]] = {}
    for group in groups(check_predictions(predictions)):
        cells.setdefault(group.task, {}).setdefault((group.landmark_h, group.horizon_h), {})[group.model] = group
    values = {}
    for task, found in cells.items():
        models = sorted(set().union(*found.values()))
        shared = [cell for cell in found.values() if set(cell) == set(models)]
        values[task] = {name: _average(shared, name, n_boot, seed) for name in models if shared}
    return Pooled(values)


def _average(cells: Sequence[Mapping[str, Group]], model: str, n_boot: int, seed: int) -> dict[str, Floats]:
    """Metrics of a model averaged over cells, observed first; a resample without a value in a cell leaves it out."""
    patients = np.unique(np.concatenate([cell[model].patients for cell in cells]))
    counts = np.vstack([np.ones(len(patients)), patient_counts(patients, n_boot, seed, "pooled")])
    parts: dict[str, list[Floats]] = {name: [] for name in POOLED}
    for cell in cells:
        found = [_metrics(cell[model], k, patients, counts) for k in range(len(cell[model].repeats))]
        for name in POOLED:
            parts[name].append(np.mean([f[name] for f in found], axis=0))
    averaged = {}
    for name, values in parts.items():
        stacked = np.stack(values)
        there = np.isfinite(stacked).sum(axis=0)
        averaged[name] = np.where(there > 0, np.nansum(stacked, axis=0) / np.maximum(there, 1), np.nan)
    return averaged


def _metrics(group: Group, k: int, patients: NDArray[np.str_], counts: Floats) -> dict[str, Floats]:
    repeat = group.repeats[k]
    weights = counts[:, np.searchsorted(patients, repeat.patient_id)]
    status = horizon_status(repeat.time, repeat.event, group.horizon_h, weights)
    risk = np.clip(repeat.risk, LEAST_RISK, 1 - LEAST_RISK)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = (status.case + status.control).sum(axis=-1)
        log = (status.case @ np.log(risk) + status.control @ np.log1p(-risk)) / total
    brier, _ = brier_of_status(repeat.risk, status)
    auc = stratified_auc(repeat.risk, status.case, status.control, repeat.fold)
    return {"auc_within_fold": auc, "brier": brier, "log_score": log}
