"""Performance of every forecast in a prediction table, with patient-bootstrap intervals and paired differences.

Each metric is computed in each repeat of the cross-validation and averaged over the repeats; a resample draws the
same patients in every repeat. Forecasts are fixed: intervals speak of the patients at hand, not of refitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.execute import Executor, Serial
from icans.evaluate.bootstrap import CHUNK_CELLS, patient_counts, percentile_interval
from icans.evaluate.brier import brier_of_status
from icans.evaluate.calibration import Smoother, calibration_of_status
from icans.evaluate.censoring import Floats, HorizonStatus, horizon_status
from icans.evaluate.discrimination import Concordance, auc_pairs, precision_area, safe_ratio, stratified_auc
from icans.evaluate.net_benefit import net_benefit_of_status
from icans.evaluate.tables import Group, Repeat, check_predictions, groups

#: Thresholds for which net benefit is listed beside the other metrics (the whole curve: decision_curves).
LISTED_THRESHOLDS = (0.05, 0.10, 0.20, 0.30)
#: Below this number of events a result is called uninformative (protocol, rule for groups of patients).
FEW_EVENTS = 20
#: Metric name to (meaning, what is better: "high", "low", a target value, or "none").
METRICS: dict[str, tuple[str, str]] = {
    "auc": ("cumulative/dynamic AUC, folds pooled", "high"),
    "auc_within_fold": ("cumulative/dynamic AUC, pairs within the same fold only", "high"),
    "c_harrell": ("Harrell's C up to the horizon", "high"),
    "c_uno": ("Uno's C up to the horizon", "high"),
    "auprc": ("average precision", "high"),
    "brier": ("Brier score", "low"),
    "brier_scaled": ("share of the constant forecast's Brier score removed", "high"),
    "observed": ("observed incidence by the horizon (Aalen-Johansen)", "none"),
    "expected": ("mean forecast risk", "none"),
    "oe": ("observed/expected incidence", "1"),
    "intercept": ("calibration in the large (slope fixed at 1)", "0"),
    "slope": ("calibration slope", "1"),
    "ici": ("mean distance of forecast and smoothed observed risk", "low"),
    "e50": ("median of that distance", "low"),
    "e90": ("90th centile of that distance", "low"),
}


@dataclass(frozen=True)
class Settings:
    """How performance is measured.

    Parameters
    ----------
    n_boot, seed, level
        Resamples of patients (0: no intervals), seed, level of the intervals.
    thresholds
        Threshold probabilities whose net benefit is listed.
    smoother
        Smoother of the flexible calibration curve, ``"lowess"`` or ``"spline"``.
    """

    n_boot: int = 500
    seed: int = 0
    level: float = 0.95
    thresholds: tuple[float, ...] = LISTED_THRESHOLDS
    smoother: Smoother = "lowess"


#: Metrics of a group: values, and values of every resample.
Values = tuple[dict[str, float], dict[str, Floats]]


@dataclass(frozen=True)
class Measured:
    """A prediction table with every metric of every group in every resample; tables are made from it."""

    settings: Settings
    groups: tuple[Group, ...]
    values: tuple[Values, ...]

    def performance(self) -> pd.DataFrame:
        """The table of :func:`performance`."""
        rows = [
            row
            for group, (point, drawn) in zip(self.groups, self.values, strict=True)
            for row in _rows(group, point, drawn, self.settings.level)
        ]
        return pd.DataFrame(rows)

    def compare(self, reference_model: str) -> pd.DataFrame:
        """The table of :func:`compare`."""
        models = sorted({g.model for g in self.groups})
        if reference_model not in models:
            raise KeyError(f"no model {reference_model!r} in the prediction table; it has {models}")
        place = {
            (g.task, g.landmark_h, g.horizon_h): k for k, g in enumerate(self.groups) if g.model == reference_model
        }
        rows: list[dict[str, object]] = []
        for k, group in enumerate(self.groups):
            other = place.get((group.task, group.landmark_h, group.horizon_h))
            if other is None or other == k:
                continue
            own, rival = self.values[k], self.values[other]
            if not group.same_patients(self.groups[other]):
                pair = (group.shared_with(self.groups[other]), self.groups[other].shared_with(group))
                group, (own, rival) = pair[0], _measure(pair, self.settings)
            rows += _difference_rows(group, reference_model, own, rival, self.settings.level)
        return pd.DataFrame(rows)


def measure(
    predictions: pd.DataFrame,
    *,
    n_boot: int = 500,
    seed: int = 0,
    level: float = 0.95,
    thresholds: Sequence[float] = LISTED_THRESHOLDS,
    smoother: Smoother = "lowess",
    executor: Executor | None = None,
) -> Measured:
    """Measure once, for the table of performance and any number of comparisons.

    Parameters
    ----------
    predictions
        Prediction table (see :mod:`icans.evaluate.tables`).
    n_boot, seed, level, thresholds, smoother
        See :class:`Settings`.
    executor
        Where tasks, landmarks and horizons are worked; results do not depend on it.

    Raises
    ------
    DataError
        The table has problems.
    """
    settings = Settings(n_boot, seed, level, tuple(thresholds), smoother)
    cells: dict[tuple[str, float, float], list[Group]] = {}
    order = list(groups(check_predictions(predictions)))
    for group in order:
        cells.setdefault((group.task, group.landmark_h, group.horizon_h), []).append(group)
    work = [tuple(cell) for cell in cells.values()]
    done = (executor or Serial()).map(partial(_measure, settings=settings), work, "performance")
    found = {id(g): v for cell, values in zip(work, done, strict=True) for g, v in zip(cell, values, strict=True)}
    return Measured(settings, tuple(order), tuple(found[id(g)] for g in order))


def performance(predictions: pd.DataFrame | Measured, **options: Any) -> pd.DataFrame:
    """Every metric of every task, model, landmark and horizon, with patient-bootstrap intervals.

    Parameters
    ----------
    predictions
        Prediction table, or what :func:`measure` made of it.
    options
        Those of :func:`measure`.

    Returns
    -------
    pandas.DataFrame
        Columns task, model, landmark_h, horizon_h, metric, value, low, high, n, events, competing, repeats, n_boot,
        degenerate, note.

    Raises
    ------
    DataError
        The table has problems.
    """
    return _measured(predictions, options).performance()


def compare(predictions: pd.DataFrame | Measured, reference_model: str, **options: Any) -> pd.DataFrame:
    """Each model minus the reference model, on the patients that both forecast and in the same resamples.

    Parameters
    ----------
    predictions
        Prediction table, or what :func:`measure` made of it.
    reference_model
        Name of the model that is subtracted.
    options
        Those of :func:`measure`.

    Returns
    -------
    pandas.DataFrame
        Columns task, model, reference_model, landmark_h, horizon_h, metric, difference, low, high, n, events,
        competing, n_boot, degenerate, better (yes/no where the interval excludes 0 and the metric has a direction,
        else unclear).

    Raises
    ------
    DataError
        The table has problems.
    KeyError
        The reference model is not in the table.
    """
    return _measured(predictions, options).compare(reference_model)


def _measured(predictions: pd.DataFrame | Measured, options: dict[str, Any]) -> Measured:
    if isinstance(predictions, Measured):
        if options:
            raise TypeError(f"these were settled when the table was measured: {sorted(options)}")
        return predictions
    return measure(predictions, **options)


def _measure(cell: tuple[Group, ...], settings: Settings) -> list[Values]:
    """Metrics of the groups of one task, landmark and horizon (they share outcomes and resamples)."""
    patients = np.unique(np.concatenate([group.patients for group in cell]))
    task, landmark = cell[0].task, cell[0].landmark_h
    point = [_averaged(group, patients, np.ones(len(patients)), settings, {}) for group in cell]
    counts = patient_counts(patients, settings.n_boot, settings.seed, task, landmark)
    size = max(1, CHUNK_CELLS // len(patients))
    parts: list[list[dict[str, Floats]]] = [[] for _ in cell]
    for start in range(0, len(counts), size):
        shared: dict[bytes, Shared] = {}
        for k, group in enumerate(cell):
            parts[k].append(_averaged(group, patients, counts[start : start + size], settings, shared))
    return [
        (
            {name: float(value) for name, value in point[k].items()},
            {name: np.concatenate([p[name] for p in parts[k]]) if parts[k] else np.empty(0) for name in point[k]},
        )
        for k in range(len(cell))
    ]


@dataclass(frozen=True)
class Shared:
    """What the metrics of several models share: weights, status at the horizon, pairs of patients."""

    weights: Floats
    status: HorizonStatus
    pairs: Concordance

    @classmethod
    def of(cls, repeat: Repeat, horizon: float, weights: Floats) -> Shared:
        """Work it out for the patients of one repeat; weights of shape (n,) or (B, n)."""
        return cls(
            weights,
            horizon_status(repeat.time, repeat.event, horizon, weights),
            Concordance(repeat.time, repeat.event, horizon, weights),
        )


def _averaged(
    group: Group, patients: NDArray[np.str_], weights: Floats, settings: Settings, shared: dict[bytes, Shared]
) -> dict[str, Floats]:
    """Metrics averaged over the repeats; ``weights`` has one column for each of ``patients``."""
    found = []
    for repeat in group.repeats:
        column = np.searchsorted(patients, repeat.patient_id)
        key = column.tobytes()
        if key not in shared:
            shared[key] = Shared.of(repeat, group.horizon_h, weights[..., column])
        found.append(metrics_of(repeat, shared[key], settings))
    return {name: np.mean([f[name] for f in found], axis=0) for name in found[0]}


def metrics_of(repeat: Repeat, shared: Shared, settings: Settings) -> dict[str, Floats]:
    """Every metric of the forecasts of one repeat; shapes () or (B,) after the weights."""
    status = shared.status
    score, scaled = brier_of_status(repeat.risk, status)
    numbers = calibration_of_status(repeat.risk, status, shared.weights, smoother=settings.smoother)
    found = {
        "auc": safe_ratio(*auc_pairs(repeat.risk, status.case, status.control)),
        "auc_within_fold": stratified_auc(repeat.risk, status.case, status.control, repeat.fold),
        "c_harrell": shared.pairs.harrell(repeat.risk),
        "c_uno": shared.pairs.uno(repeat.risk),
        "auprc": precision_area(repeat.risk, status.case, status.control),
        "brier": score,
        "brier_scaled": scaled,
        "observed": numbers.observed,
        "expected": numbers.expected,
        "oe": numbers.oe,
        "intercept": numbers.intercept,
        "slope": numbers.slope,
        "ici": numbers.ici,
        "e50": numbers.e50,
        "e90": numbers.e90,
    }
    benefit = net_benefit_of_status(repeat.risk, status, settings.thresholds)
    found.update({f"net_benefit_{t:.2f}": benefit[..., k] for k, t in enumerate(settings.thresholds)})
    known = np.isfinite(status.incidence)
    return {name: np.where(known, value, np.nan) for name, value in found.items()}


def _rows(group: Group, point: dict[str, float], drawn: dict[str, Floats], level: float) -> list[dict[str, object]]:
    counts = group.outcomes()
    note = _note(counts)
    rows = []
    for name, value in point.items():
        interval = percentile_interval(value, drawn[name], level)
        rows.append(
            {
                **group.key,
                "metric": name,
                "value": value,
                "low": interval.low,
                "high": interval.high,
                **counts,
                "repeats": len(group.repeats),
                "n_boot": interval.n_boot,
                "degenerate": interval.degenerate,
                "note": note,
            }
        )
    return rows


def _note(counts: dict[str, int]) -> str:
    if counts["events"] == 0:
        return "no event by the horizon: discrimination and calibration cannot be estimated"
    if counts["events"] < FEW_EVENTS:
        return f"fewer than {FEW_EVENTS} events: uninformative"
    return ""


def _difference_rows(group: Group, reference: str, own: Values, rival: Values, level: float) -> list[dict[str, object]]:
    rows = []
    for name, value in own[0].items():
        interval = percentile_interval(value - rival[0][name], own[1][name] - rival[1][name], level)
        rows.append(
            {
                **group.key,
                "reference_model": reference,
                "metric": name,
                "difference": interval.value,
                "low": interval.low,
                "high": interval.high,
                **group.outcomes(),
                "n_boot": interval.n_boot,
                "degenerate": interval.degenerate,
                "better": _better(name, interval.low, interval.high),
            }
        )
    return rows


def _better(metric: str, low: float, high: float) -> str:
    direction = "high" if metric.startswith("net_benefit") else METRICS[metric][1]
    if direction not in ("high", "low") or not np.isfinite([low, high]).all() or low <= 0 <= high:
        return "unclear"
    return "yes" if (low > 0) == (direction == "high") else "no"
