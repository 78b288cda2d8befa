"""Ridge-penalised logistic regression by Newton steps, a whole path of penalties at once.

Minimises  sum_i w_i * loss_i / sum_i w_i  +  penalty / 2 * sum_j b_j^2,  the intercept free. Columns are expected
on a common scale (standardised). Hoerl and Kennard 1970; le Cessie and van Houwelingen, Appl Stat 1992;41:191.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError

Floats = NDArray[np.float64]

MAX_STEPS = 50
TOLERANCE = 1e-12
#: Risks are kept this far from 0 and 1 before their log odds are taken.
EDGE = 1e-6
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


def log_odds(risk: ArrayLike, edge: float = EDGE) -> Floats:
    """Log odds of risks that are kept within ``edge`` of 0 and 1."""
    p = np.clip(np.asarray(risk, dtype=float), edge, 1.0 - edge)
    return np.asarray(np.log(p / (1.0 - p)))


def fit_path(
    X: Floats, y: Floats, weight: Floats, penalties: tuple[float, ...], offset: Floats | float = 0.0
) -> list[RidgeLogistic]:
    """One model for each penalty, in the order given; each starts from the one before.

    ``offset`` is a part of the linear predictor that is taken as it is (the incidence by day, for example). With more
    columns than rows the coefficients are a mixture of the rows (the penalty leaves nothing else), and as many numbers
    as rows are sought (Hastie and Tibshirani, Biostatistics 2004;5:329).

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
    basis = None
    if X.shape[1] > len(X) and min(penalties) > 0:
        basis, X = _row_space(X)
    design = np.column_stack([np.ones(len(y)), X])
    beta = np.zeros(design.shape[1])
    beta[0] = np.log(rate / (1 - rate)) - float(np.average(offset, weights=weight))
    fitted: dict[int, RidgeLogistic] = {}
    for k in np.argsort(penalties)[::-1].tolist():
        beta = _newton(design, y, w, offset, penalties[k], beta)
        own = beta[1:].copy() if basis is None else basis @ beta[1:]
        fitted[k] = RidgeLogistic(float(beta[0]), own, penalties[k])
    return [fitted[k] for k in range(len(penalties))]


def _row_space(X: Floats) -> tuple[Floats, Floats]:
    """An orthonormal basis of the rows, shape (p, r), and the rows in it, shape (n, r); r is at most n.

    Directions below 1e-7 of the largest are left out: a ridge lets them contribute nothing.
    """
    value, vector = np.linalg.eigh(X @ X.T)
    kept = value > 1e-14 * value[-1]
    size = np.sqrt(value[kept])
    return X.T @ (vector[:, kept] / size), vector[:, kept] * size


def deviance(y: Floats, risk: Floats, weight: Floats) -> float:
    """Weighted mean of -2 log likelihood; risks are kept off 0 and 1 by 1e-6."""
    p = np.clip(risk, 1e-6, 1 - 1e-6)
    return float(-2.0 * np.average(y * np.log(p) + (1 - y) * np.log1p(-p), weights=weight))


def _newton(design: Floats, y: Floats, w: Floats, offset: Floats, penalty: float, start: Floats) -> Floats:
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 0.0
    beta = start.copy()
    eta = _predictor(design, offset, beta)
    loss = _loss(y, w, ridge, beta, eta)
    for _ in range(MAX_STEPS):
        p = 1.0 / (1.0 + np.exp(-eta))
        gradient = design.T @ (w * (y - p)) - ridge * beta
        # The floor keeps the matrix invertible when columns repeat each other and the penalty is tiny.
        curvature = design.T @ (design * (w * p * (1 - p))[:, None])
        curvature.flat[:: len(beta) + 1] += ridge + 1e-10
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < TOLERANCE:
            break
        size, new = 1.0, beta + step
        eta = _predictor(design, offset, new)
        while (value := _loss(y, w, ridge, new, eta)) > loss and size > 1e-4:
            size /= 2.0
            new = beta + size * step
            eta = _predictor(design, offset, new)
        beta, loss = new, value
    return beta


def _predictor(design: Floats, offset: Floats, beta: Floats) -> Floats:
    return np.clip(offset + design @ beta, -MAX_LOGIT, MAX_LOGIT)


def _loss(y: Floats, w: Floats, ridge: Floats, beta: Floats, eta: Floats) -> float:
    return float(w @ (np.logaddexp(0.0, eta) - y * eta) + 0.5 * ridge @ beta**2)
