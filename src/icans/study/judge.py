"""From out-of-sample predictions to what a report shows: metrics, paired differences, curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from icans.core.execute import Executor
from icans.evaluate.curves import calibration_curves, decision_curves
from icans.evaluate.performance import compare, measure, performance
from icans.forecast.crossval import CrossValidation, Design
from icans.forecast.outcomes import known_status
from icans.study.config import EvaluateSection

#: Thresholds of a decision curve: one a percentage point over the default range.
THRESHOLD_POINTS = 26
#: Most resamples behind the bands of curves, which are looked at and not quoted.
CURVE_RESAMPLES = 200
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
    measured = measure(predictions, n_boot=settings.bootstrap, seed=seed, executor=executor)
    fitted = set(predictions["model"])
    pairs = [compare(measured, name) for name in references if name in fitted]
    cells = [cell for _, cell in predictions.groupby(["task", "landmark_h", "horizon_h"], sort=False)]
    thresholds = tuple(np.linspace(settings.threshold_low, settings.threshold_high, THRESHOLD_POINTS).tolist())
    n_boot = min(settings.bootstrap, CURVE_RESAMPLES)
    curves = executor.map(partial(_curves, thresholds=thresholds, seed=seed, n_boot=n_boot), cells, "curves")
    return Judgement(
        performance(measured),
        _stacked(pairs),
        _stacked([calibration for calibration, _ in curves]).rename(columns={"risk": "predicted"}),
        _with_references(_stacked([decision for _, decision in curves])),
    )


def _curves(
    cell: pd.DataFrame, thresholds: tuple[float, ...], seed: int, n_boot: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    # The same risk for everybody has no calibration curve.
    varied = cell.groupby("model").filter(lambda rows: np.ptp(rows["risk"]) > 1e-6)
    calibration = calibration_curves(varied, seed=seed, n_boot=n_boot) if len(varied) else pd.DataFrame()
    return calibration, decision_curves(cell, thresholds=thresholds, seed=seed, n_boot=n_boot)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


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


def _with_references(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves with "treat all" and "treat none" once for each cell, as models of their own."""
    if curves.empty:
        return curves
    own = curves[curves["strategy"] == "model"]
    cell = ["task", "landmark_h", "horizon_h", "threshold", "strategy"]
    rest = curves[curves["strategy"] != "model"].drop_duplicates(cell)
    rest = rest.assign(model="treat " + rest["strategy"].astype(str))
    return pd.concat([own, rest], ignore_index=True)
