"""Brier scores: plain, scaled against a constant forecast, weighted for censoring, integrated over horizons.

References: Brier GW, Mon Weather Rev 1950;78:1; Graf E et al., Stat Med 1999;18:2529; Schoop R et al., Biom J
2011;53:88 (competing risks).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icans.evaluate.censoring import Floats, HorizonStatus, as_weights, check_outcome, horizon_status
from icans.evaluate.discrimination import check_risk, safe_ratio


def brier_of_status(risk: Floats, status: HorizonStatus) -> tuple[Floats, Floats]:
    """Brier score and scaled Brier score (1 - score / score of the constant observed incidence), shapes (...).

    The divisor is the sum of the weights, which equals the number of patients.
    """
    total = status.total.sum(axis=-1)
    score = safe_ratio(status.case @ (1 - risk) ** 2 + status.control @ risk**2, total)
    incidence = status.incidence
    return score, 1 - safe_ratio(score, np.asarray(incidence * (1 - incidence)))


def brier(outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Mean squared difference of a 0/1 outcome and its forecast probability. Shape () or (B,)."""
    return brier_of_status(*_binary_status(outcome, risk, weights))[0]


def scaled_brier(outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Share of the constant forecast's Brier score that is removed: 1 perfect, 0 no better, negative worse."""
    return brier_of_status(*_binary_status(outcome, risk, weights))[1]


def ipcw_brier(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> Floats:
    """Brier score at the horizon, weighted for censoring; a competing event counts as no event."""
    status = horizon_status(time, event, horizon, weights)
    return brier_of_status(check_risk(risk, status.case.shape[-1]), status)[0]


def ipcw_scaled_brier(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> Floats:
    """Scaled Brier score at the horizon, against the constant Aalen-Johansen incidence."""
    status = horizon_status(time, event, horizon, weights)
    return brier_of_status(check_risk(risk, status.case.shape[-1]), status)[1]


def integrated_brier(
    time: ArrayLike, event: ArrayLike, risks: ArrayLike, horizons: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Brier score averaged over a range of horizons (trapezoid rule). Shape () or (B,).

    Parameters
    ----------
    time, event
        Outcome, shape (n,).
    risks
        Forecast probability of the event by each horizon, shape (n, k).
    horizons
        Rising horizons, shape (k,), k >= 2.
    weights
        Frequency weights.
    """
    t, e = check_outcome(time, event)
    grid = np.asarray(horizons, dtype=float)
    r = np.asarray(risks, dtype=float)
    if grid.ndim != 1 or len(grid) < 2 or np.any(np.diff(grid) <= 0):
        raise ValueError("horizons must rise and be at least two")
    if r.shape != (len(t), len(grid)):
        raise ValueError(f"risks must have shape ({len(t)}, {len(grid)}); got {r.shape}")
    scores = np.stack([ipcw_brier(t, e, r[:, k], h, weights) for k, h in enumerate(grid.tolist())])
    return np.asarray(np.trapezoid(scores, grid, axis=0) / (grid[-1] - grid[0]))


def _binary_status(outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, HorizonStatus]:
    y = np.asarray(outcome, dtype=float)
    if y.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("outcome must be one-dimensional and hold 0 and 1 only")
    w = as_weights(weights, len(y))
    return check_risk(risk, len(y)), HorizonStatus(w * y, w * (1 - y))
