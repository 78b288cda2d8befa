"""Curves for figures: calibration, decision and ROC curves and risk groups of every group of a prediction table.

Forecasts of a patient are averaged over the repeats of the cross-validation first; bands are pointwise percentile
intervals over resampled patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.evaluate.bootstrap import band, patient_counts
from icans.evaluate.calibration import Smoother, calibration_curve, risk_groups
from icans.evaluate.censoring import Floats, horizon_status, require_status
from icans.evaluate.net_benefit import THRESHOLDS, decision_curve
from icans.evaluate.tables import Group, Repeat, check_predictions, groups

#: Points of a calibration curve between the 2.5th and 97.5th centile of the forecasts; outside lie too few patients.
POINTS = 50
SHOWN = (0.025, 0.975)
#: False-positive rates at which ROC curves are given.
GRID = tuple(np.linspace(0, 1, 51).tolist())


def calibration_curves(
    predictions: pd.DataFrame,
    *,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
    smoother: Smoother = "lowess",
) -> pd.DataFrame:
    """Smoothed observed risk against forecast risk, with bands.

    Returns
    -------
    pandas.DataFrame
        task, model, landmark_h, horizon_h, risk, observed, low, high. Groups without an event or without a patient
        free of it are left out.
    """

    def one(group: Group, mean: Repeat) -> pd.DataFrame:
        low, high = np.quantile(mean.risk, SHOWN)
        at = np.linspace(low, high, POINTS) if high > low else np.array([low])
        counts = patient_counts(mean.patient_id, n_boot, seed, group.task, group.landmark_h)
        args = (mean.time, mean.event, mean.risk, group.horizon_h, at)
        drawn = calibration_curve(*args, counts, smoother=smoother) if n_boot else np.full((2, len(at)), np.nan)
        observed = calibration_curve(*args, smoother=smoother)
        lower, upper = band(drawn, level)
        return pd.DataFrame({"risk": at, "observed": observed, "low": lower, "high": upper})

    return _each(predictions, one)


def calibration_groups(predictions: pd.DataFrame, *, number: int = 5, level: float = 0.95) -> pd.DataFrame:
    """Observed incidence in groups of rising forecast risk (:func:`icans.evaluate.calibration.risk_groups`)."""

    def one(group: Group, mean: Repeat) -> pd.DataFrame:
        return risk_groups(mean.time, mean.event, mean.risk, group.horizon_h, number, level)

    return _each(predictions, one)


def decision_curves(
    predictions: pd.DataFrame,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit over thresholds (:func:`icans.evaluate.net_benefit.decision_curve`)."""

    def one(group: Group, mean: Repeat) -> pd.DataFrame:
        counts = patient_counts(mean.patient_id, n_boot, seed, group.task, group.landmark_h) if n_boot else None
        return decision_curve(mean.time, mean.event, mean.risk, group.horizon_h, thresholds, counts, level=level)

    return _each(predictions, one)


def roc_curves(predictions: pd.DataFrame, *, n_boot: int = 200, seed: int = 0, level: float = 0.95) -> pd.DataFrame:
    """Sensitivity at given false-positive rates, weighted for censoring, with bands.

    Returns
    -------
    pandas.DataFrame
        task, model, landmark_h, horizon_h, false_positive, sensitivity, low, high.
    """

    def one(group: Group, mean: Repeat) -> pd.DataFrame:
        counts = patient_counts(mean.patient_id, max(n_boot, 1), seed, group.task, group.landmark_h)
        sensitivity, drawn = (_roc(mean, group.horizon_h, w) for w in (np.ones((1, len(mean.risk))), counts))
        lower, upper = band(drawn, level) if n_boot else (np.full(len(GRID), np.nan),) * 2
        return pd.DataFrame({"false_positive": GRID, "sensitivity": sensitivity[0], "low": lower, "high": upper})

    return _each(predictions, one)


def _roc(mean: Repeat, horizon: float, weights: Floats) -> Floats:
    """Sensitivity at each false-positive rate of GRID, shape (B, k), by linear interpolation between cut-offs."""
    status = horizon_status(mean.time, mean.event, horizon, weights)
    order = np.argsort(-mean.risk, kind="stable")
    _, starts = np.unique(-mean.risk[order], return_index=True)
    curves = []
    for case, control in zip(status.case[:, order], status.control[:, order], strict=True):
        hits = np.r_[0, np.cumsum(np.add.reduceat(case, starts))]
        alarms = np.r_[0, np.cumsum(np.add.reduceat(control, starts))]
        usable = hits[-1] > 0 and alarms[-1] > 0
        curves.append(np.interp(GRID, alarms / alarms[-1], hits / hits[-1]) if usable else np.full(len(GRID), np.nan))
    return np.stack(curves)


def _each(predictions: pd.DataFrame, one: Callable[[Group, Repeat], pd.DataFrame]) -> pd.DataFrame:
    """Apply to each estimable group and stack, the group's key in front."""
    frames = []
    for group in groups(check_predictions(predictions)):
        mean = group.averaged()
        try:
            require_status(horizon_status(mean.time, mean.event, group.horizon_h), group.horizon_h)
        except NotEstimableError:
            continue
        frame = one(group, mean)
        for position, (name, value) in enumerate(group.key.items()):
            frame.insert(position, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
