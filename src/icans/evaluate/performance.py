"""Performance of every forecast in a prediction table, with patient-bootstrap intervals and paired differences.

Each metric is computed in each repeat of the cross-validation and averaged over the repeats; a resample draws the
same patients in every repeat. Forecasts are fixed: intervals speak of the patients at hand, not of refitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from icans.core.execute import Executor, Serial
from icans.evaluate.bootstrap import CHUNK_CELLS, patient_counts, percentile_interval
from icans.evaluate.brier import brier_of_status
from icans.evaluate.calibration import Smoother, calibration_of_status
from icans.evaluate.censoring import Floats, horizon_status
from icans.evaluate.discrimination import auc_pairs, harrell_c, precision_area, safe_ratio, stratified_auc, uno_c
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
        Resamples of patients, seed, level of the intervals.
    thresholds
        Threshold probabilities whose net benefit is listed.
    smoother
        Smoother of the flexible calibration curve.
    """

    n_boot: int = 500
    seed: int = 0
    level: float = 0.95
    thresholds: tuple[float, ...] = LISTED_THRESHOLDS
    smoother: Smoother = "lowess"


def performance(
    predictions: pd.DataFrame,
    *,
    n_boot: int = 500,
    seed: int = 0,
    level: float = 0.95,
    thresholds: Sequence[float] = LISTED_THRESHOLDS,
    smoother: Smoother = "lowess",
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Every metric of every task, model, landmark and horizon, with patient-bootstrap intervals.

    Parameters
    ----------
    predictions
        Prediction table (see :mod:`icans.evaluate.tables`).
    n_boot, seed, level
        Resamples of patients (0: no intervals), seed, level.
    thresholds
        Threshold probabilities whose net benefit is listed.
    smoother
        ``"lowess"`` or ``"spline"``.
    executor
        Where groups are worked; results do not depend on it.

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
    settings = Settings(n_boot, seed, level, tuple(thresholds), smoother)
    work = list(groups(check_predictions(predictions)))
    done = (executor or Serial()).map(partial(_measure, settings=settings), work, "performance")
    rows = [row for group, (point, drawn) in zip(work, done, strict=True) for row in _rows(group, point, drawn, level)]
    return pd.DataFrame(rows)


def compare(
    predictions: pd.DataFrame,
    reference_model: str,
    *,
    n_boot: int = 500,
    seed: int = 0,
    level: float = 0.95,
    thresholds: Sequence[float] = LISTED_THRESHOLDS,
    smoother: Smoother = "lowess",
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Each model minus the reference model, on the patients that both forecast and in the same resamples.

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
    settings = Settings(n_boot, seed, level, tuple(thresholds), smoother)
    work = list(groups(check_predictions(predictions)))
    models = sorted({g.model for g in work})
    if reference_model not in models:
        raise KeyError(f"no model {reference_model!r} in the prediction table; it has {models}")
    place = {(g.task, g.landmark_h, g.horizon_h): g for g in work if g.model == reference_model}
    pairs = []
    for group in work:
        rival = place.get((group.task, group.landmark_h, group.horizon_h))
        if rival is not None and group.model != reference_model:
            pairs.append((group.shared_with(rival), rival.shared_with(group)))
    parts = [side for pair in pairs for side in pair]
    done = (executor or Serial()).map(partial(_measure, settings=settings), parts, "comparison")
    rows: list[dict[str, object]] = []
    for k, (group, _) in enumerate(pairs):
        rows += _difference_rows(group, reference_model, done[2 * k], done[2 * k + 1], level)
    return pd.DataFrame(rows)


Measured = tuple[dict[str, float], dict[str, Floats]]


def _measure(group: Group, settings: Settings) -> Measured:
    """Metrics of a group: values, and values of every resample."""
    patients = group.patients
    ones = np.ones(len(patients))
    point = {name: float(value) for name, value in _averaged(group, patients, ones, settings).items()}
    if settings.n_boot == 0:
        return point, {name: np.empty(0) for name in point}
    counts = patient_counts(patients, settings.n_boot, settings.seed, group.task, group.landmark_h)
    size = max(1, CHUNK_CELLS // len(patients))
    parts = [_averaged(group, patients, counts[i : i + size], settings) for i in range(0, len(counts), size)]
    return point, {name: np.concatenate([part[name] for part in parts]) for name in point}


def _averaged(group: Group, patients: np.ndarray, weights: Floats, settings: Settings) -> dict[str, Floats]:
    """Metrics averaged over the repeats; ``weights`` has one column for each of ``patients``."""
    found = []
    for repeat in group.repeats:
        own = weights[..., np.searchsorted(patients, repeat.patient_id)]
        found.append(metrics_of(repeat, group.horizon_h, own, settings))
    return {name: np.mean([f[name] for f in found], axis=0) for name in found[0]}


def metrics_of(repeat: Repeat, horizon: float, weights: Floats, settings: Settings) -> dict[str, Floats]:
    """Every metric of the forecasts of one repeat; shapes () or (B,) after the weights."""
    status = horizon_status(repeat.time, repeat.event, horizon, weights)
    score, scaled = brier_of_status(repeat.risk, status)
    numbers = calibration_of_status(repeat.risk, status, weights, smoother=settings.smoother)
    known = np.isfinite(status.incidence)
    found = {
        "auc": safe_ratio(*auc_pairs(repeat.risk, status.case, status.control)),
        "auc_within_fold": stratified_auc(repeat.risk, status.case, status.control, repeat.fold),
        "c_harrell": harrell_c(repeat.time, repeat.event, repeat.risk, horizon, weights),
        "c_uno": uno_c(repeat.time, repeat.event, repeat.risk, horizon, weights),
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


def _difference_rows(
    group: Group, reference: str, own: Measured, rival: Measured, level: float
) -> list[dict[str, object]]:
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
