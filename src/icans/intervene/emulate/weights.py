"""Chances of being treated and of being lost, day by day, and the weights that follow.

Pooled logistic regression over patient-days with a ridge penalty on standardised coefficients (few patients); with
``ridge=0`` and a column for every cell it is the share seen in each cell.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.intervene.emulate.courses import Courses, Protocol

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Chances are kept this far from 0 and 1; where a fit presses against it, there is no positivity.
EDGE = 1e-6


def pooled_logistic(x: Array, y: Array, weight: Array, ridge: float, steps: int = 60) -> Array:
    """Coefficients, intercept first, by Newton's method; the intercept is not penalised.

    Parameters
    ----------
    x, y, weight
        (N, C) covariates, (N,) outcomes 0 or 1, (N,) weights.
    ridge
        Penalty on coefficients of standardised covariates.

    Returns
    -------
    (C + 1,) coefficients on the scale of ``x``.
    """
    total = max(float(weight.sum()), 1e-12)
    centre = (weight @ x) / total
    spread = np.sqrt(weight @ (x - centre) ** 2 / total)
    spread = np.where(spread > 1e-12, spread, 1.0)
    design = np.column_stack([np.ones(len(x)), (x - centre) / spread])
    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(design.shape[1])
    rate = np.clip((weight @ y) / total, 1e-3, 1 - 1e-3)
    beta[0] = np.log(rate / (1 - rate))
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (y - p)) - penalty @ beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + penalty
        move = np.linalg.lstsq(curvature + 1e-9 * np.eye(len(beta)), gradient, rcond=None)[0]
        move *= min(1.0, 4.0 / max(float(np.abs(move).max()), 1e-12))
        beta = beta + move
        if float(np.abs(move).max()) < 1e-9:
            break
    slope = beta[1:] / spread
    return np.concatenate([[beta[0] - float(slope @ centre)], slope])


def chance(x: Array, beta: Array) -> Array:
    """Chances of a fit, kept off 0 and 1."""
    p = 1.0 / (1.0 + np.exp(-np.clip(beta[0] + x @ beta[1:], -30, 30)))
    return np.asarray(np.clip(p, EDGE, 1 - EDGE))


def may_start(courses: Courses, outcome: int) -> Mask:
    """Patient-days on which treatment could begin: none before, no event before or on the day, follow-up known."""
    k = np.arange(courses.grade.shape[1])[None, :]
    naive = k <= courses.start[:, None]
    return naive & (k < courses.first(outcome)[:, None]) & courses.known


def start_chances(courses: Courses, protocol: Protocol, times: Array) -> tuple[Array, Array]:
    """Chance to start treatment on each day, given none before, (P, H + 1), and the coefficients.

    Fitted on the days whose chances weights are made of: before the waiting grade, and within the grace period. Later,
    treatment is near certain and would bend the fit. ``times``: how often each patient counts, (P,).
    """
    k = np.arange(courses.grade.shape[1])[None, :]
    used = (k < courses.first(protocol.wait)[:, None]) | (k <= protocol.grace)
    row, day = np.nonzero(may_start(courses, protocol.outcome) & used)
    y = (courses.start[row] == day).astype(float)
    x = courses.covariates[row, day]
    beta = pooled_logistic(x, y, times[row], protocol.ridge)
    return chance(courses.covariates, beta), beta


def loss_chances(courses: Courses, outcome: int, times: Array, ridge: float) -> Array:
    """Chance that a day is the last with a grade, (P, H + 1)."""
    length = courses.grade.shape[1]
    k = np.arange(length)[None, :]
    at_risk = courses.known & (k < courses.first(outcome)[:, None]) & (k < length - 1)
    row, day = np.nonzero(at_risk)
    y = (courses.last[row] == day).astype(float)
    if not y.any():
        return np.full(courses.grade.shape, 0.0)
    return chance(courses.covariates, pooled_logistic(courses.covariates[row, day], y, times[row], ridge))
