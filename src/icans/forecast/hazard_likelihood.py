"""Penalised multinomial hazards in discrete time: likelihood and Newton steps that use the shape of the design.

Row i is observed in bins b; in each at most one of K events happens. With covariates x_i and functions of time t_ib

    P(event c in bin b | none before) = exp(eta_ibc) / (1 + sum_k exp(eta_ibk)),
    eta_ibc = offset_ibc + sum_j sum_m x_ij t_ibm B_cjm.

Bins of one row share x_i, so that all sums over bins are taken before anything is multiplied with the covariates:
the cost of a Newton step is that of rows, not of rows times bins. The penalty is a ridge on the *sum* of the log
likelihood, as in :mod:`icans.forecast.cox`.

References: Allison PD, Sociol Methodol 1982;13:61; Tutz G, Schmid M, Modeling Discrete Time-to-Event Data, 2016,
doi 10.1007/978-3-319-28158-2 (competing risks: chapter 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError

Floats = NDArray[np.float64]

MAX_STEPS = 60
#: Newton's iterations end when twice the gain that the quadratic model still promises is below this.
TOLERANCE = 1e-8
#: Bound on the linear predictor either way.
MAX_PREDICTOR = 40.0


@dataclass(frozen=True)
class Observed:
    """What was seen, for n rows, B bins and K kinds of event.

    Attributes
    ----------
    x
        Covariates, shape (n, p).
    t
        Functions of time, shape (n, B, m).
    at_risk
        Whether a row is seen through a bin, shape (n, B).
    event
        1 in the bin and for the kind of event that ended the row, shape (n, B, K).
    offset
        Log odds of each event against none without covariates, shape (n, B, K).
    weight
        Shape (n,).
    """

    x: Floats
    t: Floats
    at_risk: Floats
    event: Floats
    offset: Floats
    weight: Floats

    def predictor(self, beta: Floats) -> Floats:
        """Linear predictors, shape (n, B, K); ``beta`` has shape (K, m, p)."""
        return np.clip(self.offset + self.effect(beta), -MAX_PREDICTOR, MAX_PREDICTOR)

    def effect(self, beta: Floats) -> Floats:
        """What covariates add to the linear predictors, shape (n, B, K)."""
        return np.einsum("ibm,ikm->ibk", self.t, np.einsum("ip,kmp->ikm", self.x, beta))


def hazards(eta: Floats) -> Floats:
    """Hazard of each event, last axis the events."""
    top = np.maximum(eta.max(axis=-1, keepdims=True), 0.0)
    odds = np.exp(eta - top)
    return np.asarray(odds / (np.exp(-top) + odds.sum(axis=-1, keepdims=True)))


def log_likelihood(seen: Observed, eta: Floats) -> float:
    """Weighted log likelihood."""
    top = np.maximum(eta.max(axis=-1), 0.0)
    total = top + np.log(np.exp(-top) + np.exp(eta - top[..., None]).sum(axis=-1))
    per_row = (seen.event * eta).sum(axis=(1, 2)) - (seen.at_risk * total).sum(axis=1)
    return float(seen.weight @ per_row)


def maximise(seen: Observed, penalty: Floats, start: Floats | None = None) -> Floats:
    """Coefficients of highest penalised likelihood, shape (K, m, p).

    Parameters
    ----------
    penalty
        Broadcasts to (K, m, p), positive.
    start
        Coefficients to begin at; noughts by default.

    Raises
    ------
    NotEstimableError
        No event, or an information matrix that is singular.
    """
    kinds, functions, columns = seen.event.shape[2], seen.t.shape[2], seen.x.shape[1]
    if kinds == 0 or not seen.event.any():
        raise NotEstimableError("no event in the training data")
    beta = np.zeros((kinds, functions, columns)) if start is None else start
    return _newton(seen, np.broadcast_to(np.asarray(penalty, dtype=float), beta.shape), beta)


def _newton(seen: Observed, alpha: Floats, beta: Floats) -> Floats:
    if beta.size == 0:
        return beta
    eta = seen.predictor(beta)
    value = log_likelihood(seen, eta) - 0.5 * float((alpha * beta**2).sum())
    for _ in range(MAX_STEPS):
        gradient, information = _derivatives(seen, eta)
        gradient = gradient - (alpha * beta).ravel()
        information.flat[:: len(information) + 1] += alpha.ravel()
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError as error:
            raise NotEstimableError("the information matrix of the hazards is singular: use a penalty") from error
        if float(gradient @ step) < TOLERANCE:
            return beta + step.reshape(beta.shape)
        size = 1.0
        while True:
            trial = beta + size * step.reshape(beta.shape)
            eta = seen.predictor(trial)
            new = log_likelihood(seen, eta) - 0.5 * float((alpha * trial**2).sum())
            if new >= value or size < 1e-6:
                break
            size /= 2.0
        beta, value = trial, new
    return beta


def _derivatives(seen: Observed, eta: Floats) -> tuple[Floats, Floats]:
    """Gradient and information of the log likelihood, coefficients in the order (K, m, p)."""
    hazard = hazards(eta)
    exposed = seen.at_risk * seen.weight[:, None]
    error = seen.event * seen.weight[:, None, None] - exposed[..., None] * hazard
    gradient = np.einsum("ikm,ip->kmp", np.einsum("ibk,ibm->ikm", error, seen.t), seen.x)
    kinds, functions, columns = hazard.shape[2], seen.t.shape[2], seen.x.shape[1]
    size = functions * columns
    information = np.empty((kinds * size, kinds * size))
    pairs = np.einsum("ibm,ibl->ibml", seen.t, seen.t)
    for a in range(kinds):
        for b in range(a, kinds):
            spread = exposed * hazard[:, :, a] * ((a == b) - hazard[:, :, b])
            inner = np.einsum("ib,ibml->iml", spread, pairs)
            for m in range(functions):
                for l in range(m if a == b else 0, functions):
                    block = seen.x.T @ (inner[:, m, l, None] * seen.x)
                    _place(information, block, a * functions + m, b * functions + l, columns)
    return gradient.ravel(), information


def _place(matrix: Floats, block: Floats, row: int, column: int, size: int) -> None:
    """Write a symmetric block and its mirror image."""
    first, second = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
    matrix[first, second] = block
    matrix[second, first] = block
