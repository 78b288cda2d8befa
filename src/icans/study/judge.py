"""From out-of-sample predictions to what a report shows: metrics, paired differences, curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.core.execute import Executor
from icans.evaluate.bootstrap import patient_counts
from icans.evaluate.calibration import calibration_curve
from icans.evaluate.net_benefit import decision_curve
from icans.evaluate.performance import compare, performance
from icans.evaluate.tables import Group, check_predictions, groups
from icans.forecast.crossval import CrossValidation, Design
from icans.forecast.outcomes import known_status
from icans.study.config import EvaluateSection

#: Points of a calibration curve and thresholds of a decision curve.
CURVE_POINTS, THRESHOLD_POINTS = 41, 26
#: Resamples for the bands of curves: a band is read by eye, and 200 place its edges well within a line's width.
CURVE_BOOTSTRAP = 200


#: What is told of a group that training left out.
OUTSIDE_METRICS = ("auc", "brier_scaled", "oe", "slope")


@dataclass(frozen=True)
class Judgement:
    """Everything that was computed from the predictions, as tidy tables (see :mod:`icans.report.model`)."""

    performance: pd.DataFrame
    comparisons: pd.DataFrame
    calibration: pd.DataFrame
    decision: pd.DataFrame


def judge(
    predictions: pd.DataFrame, settings: EvaluateSection, seed: int, references: Sequence[str], executor: Executor
) -> Judgement:
    """Metrics with intervals, differences from the reference models, calibration and decision curves.

    Parameters
    ----------
    predictions
        The tidy prediction table of all tasks.
    references
        Models that every other is compared with, where they were fitted.
    """
    metrics = performance(predictions, n_boot=settings.bootstrap, seed=seed, executor=executor)
    fitted = set(predictions["model"])
    pairs = [
        compare(predictions, name, n_boot=settings.bootstrap, seed=seed, executor=executor)
        for name in references
        if name in fitted
    ]
    filled = [p for p in pairs if len(p)]
    comparisons = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    thresholds = np.linspace(settings.threshold_low, settings.threshold_high, THRESHOLD_POINTS)
    calibration, decision = [], []
    for group in groups(check_predictions(predictions)):
        weights = _weights(group, seed)
        calibration.append(_calibration(group, weights))
        decision.append(_decision(group, weights, thresholds))
    return Judgement(metrics, comparisons, pd.concat(calibration), _with_references(pd.concat(decision)))


def judge_left_out(
    left_out: Sequence[tuple[str, str, CrossValidation]], settings: EvaluateSection, seed: int, executor: Executor
) -> pd.DataFrame:
    """Performance in each group that training left out.

    Parameters
    ----------
    left_out
        Task, column that names the groups, and its leave-one-group-out predictions.

    Returns
    -------
    DataFrame
        by, group, task, model, landmark_h, horizon_h, metric, value, low, high, n, events; only groups and cells
        with as many events and patients free of it as a cell needs to be judged at all.
    """
    frames = []
    for _, by, result in left_out:
        names = result.folds.drop_duplicates("fold").set_index("fold")["group"]
        for fold, part in result.predictions.groupby("fold"):
            kept = part.groupby(["landmark_h", "horizon_h", "model"]).filter(_enough)
            if kept.empty:
                continue
            table = performance(kept, n_boot=settings.bootstrap, seed=seed, executor=executor)
            table = table[table["metric"].isin(OUTSIDE_METRICS)]
            frames.append(table.assign(by=by, group=names[fold]))
    if not frames:
        return pd.DataFrame()
    keys = ["by", "group", "task", "model", "landmark_h", "horizon_h", "metric", "value", "low", "high", "n", "events"]
    return pd.concat(frames, ignore_index=True)[keys]


def _enough(cell: pd.DataFrame) -> bool:
    window = float(cell["horizon_h"].iloc[0])
    status = known_status(cell["time_h"].to_numpy(), cell["event"].to_numpy(), window)
    return min((status == 1).sum(), (status == 0).sum()) >= Design().min_events


def _weights(group: Group, seed: int) -> np.ndarray:
    return patient_counts(group.averaged().patient_id, CURVE_BOOTSTRAP, seed, group.task, group.landmark_h)


def _calibration(group: Group, weights: np.ndarray) -> pd.DataFrame:
    one = group.averaged()
    if np.ptp(one.risk) < 1e-6:  # the same risk for everybody has no curve
        return pd.DataFrame()
    lowest, highest = np.quantile(one.risk, [0.01, 0.99]).tolist()
    at = np.linspace(lowest, highest, CURVE_POINTS)
    observed = calibration_curve(one.time, one.event, one.risk, group.horizon_h, at)
    drawn = calibration_curve(one.time, one.event, one.risk, group.horizon_h, at, weights)
    low, high = _band(drawn)
    return pd.DataFrame({**group.key, "predicted": at, "observed": observed, "low": low, "high": high})


def _decision(group: Group, weights: np.ndarray, thresholds: np.ndarray) -> pd.DataFrame:
    one = group.averaged()
    curve = decision_curve(one.time, one.event, one.risk, group.horizon_h, thresholds, weights)
    return curve.assign(**group.key)


def _with_references(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves with "treat all" and "treat none" once for each cell, as models of their own."""
    own = curves[curves["strategy"] == "model"]
    cell = ["task", "landmark_h", "horizon_h", "threshold", "strategy"]
    rest = curves[curves["strategy"] != "model"].drop_duplicates(cell)
    rest = rest.assign(model="treat " + rest["strategy"].astype(str))
    return pd.concat([own, rest], ignore_index=True)


def _band(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise 95 % band; NaN where fewer than half of the resamples reach."""
    enough = np.isfinite(drawn).mean(axis=0) >= 0.5
    band = np.full((2, drawn.shape[1]), np.nan)
    if enough.any():
        band[:, enough] = np.nanquantile(drawn[:, enough], [0.025, 0.975], axis=0)
    return band[0], band[1]
