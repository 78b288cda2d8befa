"""Ridge-penalised logistic regression by Newton steps, a whole path of penalties at once.

Minimises  sum_i w_i * loss_i / sum_i w_i  +  penalty / 2 * sum_j b_j^2,  the intercept free. Columns are expected
on a common scale (standardised). Hoerl and Kennard 1970; le Cessie and van Houwelingen, Appl Stat 1992;41:191.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError

Floats = NDArray[np.float64]

MAX_STEPS = 50
TOLERANCE = 1e-12
#: Linear predictors are held within this while iterating, so that probabilities stay off 0 and 1.
MAX_LOGIT = 30.0


@dataclass(frozen=True)
class RidgeLogistic:
    """A fitted model: intercept and coefficients, shape (p,)."""

    intercept: float
    coefficients: Floats
    penalty: float

    def logit(self, X: Floats, offset: Floats | float = 0.0) -> Floats:
        """Linear predictor, shape (n,)."""
        return offset + self.intercept + X @ self.coefficients

    def probability(self, X: Floats, offset: Floats | float = 0.0) -> Floats:
        """Probability of the event, shape (n,)."""
        return expit(self.logit(X, offset))


def expit(x: Floats) -> Floats:
    """The logistic function, without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(x, -MAX_LOGIT, MAX_LOGIT)))


def fit_path(
    X: Floats, y: Floats, weight: Floats, penalties: tuple[float, ...], offset: Floats | float = 0.0
) -> list[RidgeLogistic]:
    """One model for each penalty, in the order given; each starts from the one before.

    ``offset`` is a part of the linear predictor that is taken as it is (the incidence by day, for example).

    Raises
    ------
    NotEstimableError
        All rows with weight have the same outcome.
    """
    seen = weight > 0
    offset = np.broadcast_to(np.asarray(offset, dtype=float), y.shape)[seen]
    X, y, weight = X[seen], y[seen], weight[seen]
    rate = float(np.average(y, weights=weight)) if len(y) else 0.0
    if not 0.0 < rate < 1.0:
        raise NotEstimableError("all training rows have the same outcome within the horizon: nothing to fit")
    w = weight / weight.sum()
    design = np.column_stack([np.ones(len(y)), X])
    beta = np.zeros(design.shape[1])
    beta[0] = np.log(rate / (1 - rate)) - float(np.average(offset, weights=weight))
    fitted: dict[int, RidgeLogistic] = {}
    for k in np.argsort(penalties)[::-1].tolist():
        beta = _newton(design, y, w, offset, penalties[k], beta)
        fitted[k] = RidgeLogistic(float(beta[0]), beta[1:].copy(), penalties[k])
    return [fitted[k] for k in range(len(penalties))]


def deviance(y: Floats, risk: Floats, weight: Floats) -> float:
    """Weighted mean of -2 log likelihood; risks are kept off 0 and 1 by 1e-6."""
    p = np.clip(risk, 1e-6, 1 - 1e-6)
    return float(-2.0 * np.average(y * np.log(p) + (1 - y) * np.log1p(-p), weights=weight))


def _newton(design: Floats, y: Floats, w: Floats, offset: Floats, penalty: float, start: Floats) -> Floats:
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 0.0
    beta = start.copy()
    loss = _loss(design, y, w, offset, ridge, beta)
    for _ in range(MAX_STEPS):
        p = expit(offset + design @ beta)
        gradient = design.T @ (w * (y - p)) - ridge * beta
        # The floor keeps the matrix invertible when columns repeat each other and the penalty is tiny.
        curvature = (design * (w * p * (1 - p))[:, None]).T @ design + np.diag(ridge + 1e-10)
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < TOLERANCE:
            break
        size, new = 1.0, beta + step
        while (value := _loss(design, y, w, offset, ridge, new)) > loss and size > 1e-4:
            size /= 2.0
            new = beta + size * step
        beta, loss = new, value
    return beta


def _loss(design: Floats, y: Floats, w: Floats, offset: Floats, ridge: Floats, beta: Floats) -> float:
    eta = np.clip(offset + design @ beta, -MAX_LOGIT, MAX_LOGIT)
    return float(w @ (np.logaddexp(0.0, eta) - y * eta) + 0.5 * ridge @ beta**2)
