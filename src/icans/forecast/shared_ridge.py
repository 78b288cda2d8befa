"""Several yes/no outcomes with effects that are alike: one common effect of each feature and small deviations.

Label l has log odds  offset_l + intercept_l + x'(common + deviation_l),  with a ridge on the common effects and a
tighter one on the deviations, so that labels with few events lean on those with many (Evgeniou T, Pontil M, KDD 2004,
doi 10.1145/1014052.1014067). A row may lack any of its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.ridge import MAX_LOGIT, expit

Floats = NDArray[np.float64]

MAX_STEPS, TOLERANCE = 50, 1e-12


@dataclass(frozen=True)
class SharedRidge:
    """A fitted model: intercepts (L,), common effects (p,), deviations (L, p)."""

    intercept: Floats
    common: Floats
    deviation: Floats
    penalty: float

    def logit(self, X: Floats, offset: Floats | float = 0.0) -> Floats:
        """Log odds of each label, shape (n, L)."""
        return offset + self.intercept + X @ (self.common + self.deviation).T


def fit_path(X: Floats, Y: Floats, penalties: Sequence[float], tightness: float, offset: Floats) -> list[SharedRidge]:
    """One model for each penalty, each begun where the one before ended.

    Parameters
    ----------
    X
        Shape (n, p), on a common scale.
    Y
        0, 1, or NaN (not known), shape (n, L).
    penalties
        Ridge on the common effects, on the mean log likelihood over known cells.
    tightness
        How many times as tightly deviations are held.
    offset
        Shape (n, L).

    Raises
    ------
    NotEstimableError
        A label of which all known rows are alike.
    """
    known = ~np.isnan(Y)
    y = np.where(known, Y, 0.0)
    share = y.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    if ((share <= 0) | (share >= 1)).any():
        raise NotEstimableError("a label has the same outcome in every row in which it is known")
    w = known / known.sum()
    labels, columns = Y.shape[1], X.shape[1]
    theta = np.zeros(labels + (labels + 1) * columns)
    found = []
    for penalty in penalties:
        ridge = np.r_[np.zeros(labels), np.full(columns, penalty), np.full(labels * columns, penalty * tightness)]
        theta = _newton(X, y, w, offset, ridge, theta)
        effects = theta[labels:].reshape(labels + 1, columns)
        found.append(SharedRidge(theta[:labels].copy(), effects[0].copy(), effects[1:].copy(), penalty))
    return found


def _logit(X: Floats, offset: Floats, theta: Floats, labels: int) -> Floats:
    effects = theta[labels:].reshape(labels + 1, X.shape[1])
    return np.clip(offset + theta[:labels] + X @ (effects[0] + effects[1:]).T, -MAX_LOGIT, MAX_LOGIT)


def _newton(X: Floats, y: Floats, w: Floats, offset: Floats, ridge: Floats, theta: Floats) -> Floats:
    labels = y.shape[1]

    def loss(at: Floats) -> float:
        eta = _logit(X, offset, at, labels)
        return float((w * (np.logaddexp(0.0, eta) - y * eta)).sum() + 0.5 * ridge @ at**2)

    value = loss(theta)
    for _ in range(MAX_STEPS):
        q = expit(_logit(X, offset, theta, labels))
        error, spread = w * (y - q), w * q * (1 - q)
        pull = X.T @ error  # (p, L)
        gradient = np.concatenate([error.sum(axis=0), pull.sum(axis=1), pull.T.ravel()]) - ridge * theta
        curvature = _curvature(X, spread)
        curvature.flat[:: len(theta) + 1] += ridge + 1e-10
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < TOLERANCE:
            break
        size = 1.0
        while (new := loss(theta + size * step)) > value and size > 1e-4:
            size /= 2.0
        theta, value = theta + size * step, new
    return theta


def _curvature(X: Floats, spread: Floats) -> Floats:
    """Second derivatives: labels meet only in the common effects, so that each needs one product of the columns."""
    labels, p = spread.shape[1], X.shape[1]
    matrix = np.zeros((labels + (labels + 1) * p,) * 2)
    common = slice(labels, labels + p)
    for l in range(labels):
        own = slice(labels + (l + 1) * p, labels + (l + 2) * p)
        line = spread[:, l] @ X
        block = X.T @ (spread[:, l, None] * X)
        matrix[l, l] = spread[:, l].sum()
        for part in (common, own):
            matrix[l, part] = line
            matrix[part, l] = line
        matrix[common, common] += block
        matrix[own, own] = block
        matrix[common, own] = block
        matrix[own, common] = block
    return matrix
