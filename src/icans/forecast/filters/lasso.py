"""Lasso-penalised logistic regression, a path of penalties by accelerated proximal gradients.

Minimises the mean log loss + penalty * sum |b_j|, the intercept free (Tibshirani R, J R Stat Soc B 1996;58:267; Beck A,
Teboulle M, SIAM J Imaging Sci 2009;2:183). Meant for few columns and many rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.ridge import expit

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Penalties on the path, and the smallest as a share of the one that holds all coefficients at zero.
COUNT, SMALLEST = 10, 1e-3
STEPS, TOLERANCE = 3000, 1e-7
#: The same while penalties are compared: their deviance moves in the fourth digit.
ROUGH_STEPS, ROUGH = 100, 3e-4


@dataclass(frozen=True)
class Lasso:
    """Intercept, coefficients (p,) on the columns as given, and the penalty."""

    intercept: float
    coefficients: Floats
    penalty: float

    def probability(self, X: Floats) -> Floats:
        """Probability of the event, shape (n,)."""
        return expit(self.intercept + X @ self.coefficients)


def lasso_path(X: Floats, y: Floats, penalties: Floats, *, rough: bool = False) -> list[Lasso]:
    """A solution for each penalty, largest first, each starting from the one before."""
    n, p = X.shape
    design = np.column_stack([np.ones(n), X])
    # Curvature of the mean log loss is at most a quarter of the design's.
    bound = float(np.linalg.eigvalsh(design.T @ design / n)[-1]) / 4.0
    rate = float(y.mean())
    beta = np.concatenate([[np.log(rate / (1.0 - rate))], np.zeros(p)])
    found = []
    for penalty in penalties:
        beta = _descend(design, y, float(penalty), beta, bound, rough)
        found.append(Lasso(float(beta[0]), beta[1:].copy(), float(penalty)))
    return found


def fit_lasso(X: Floats, y: Floats, fold: Ints, folds: int) -> Lasso:
    """The penalty of least deviance over given folds, then the fit on all rows.

    Raises
    ------
    NotEstimableError
        All rows have the same outcome.
    """
    if not 0.0 < y.mean() < 1.0:
        raise NotEstimableError("all training days have the same outcome: no onset hazard to fit")
    largest = float(np.abs(X.T @ (y - y.mean())).max()) / len(y)
    penalties = np.maximum(largest, 1e-8) * np.geomspace(1.0, SMALLEST, COUNT)
    loss = np.zeros(COUNT)
    for k in range(folds):
        train, test = fold != k, fold == k
        if test.any() and 0.0 < y[train].mean() < 1.0:
            for j, model in enumerate(lasso_path(X[train], y[train], penalties, rough=True)):
                chance = np.clip(model.probability(X[test]), 1e-6, 1 - 1e-6)
                loss[j] -= float((y[test] * np.log(chance) + (1 - y[test]) * np.log1p(-chance)).sum())
    best = int(np.argmin(loss))
    return lasso_path(X, y, penalties[best : best + 1])[0]


def _descend(design: Floats, y: Floats, penalty: float, beta: Floats, bound: float, rough: bool) -> Floats:
    ahead, momentum = beta, 1.0
    for _ in range(ROUGH_STEPS if rough else STEPS):
        gradient = design.T @ (expit(design @ ahead) - y) / len(y)
        moved = ahead - gradient / bound
        moved[1:] = np.sign(moved[1:]) * np.maximum(np.abs(moved[1:]) - penalty / bound, 0.0)
        step = moved - beta
        # Momentum that points uphill is dropped (O'Donoghue B, Candes E, Found Comput Math 2015;15:715).
        if float((ahead - moved) @ step) > 0:
            momentum = 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        ahead = moved + (momentum - 1.0) / following * step
        beta, momentum = moved, following
        if float(np.abs(step).max()) < (ROUGH if rough else TOLERANCE):
            break
    return beta
