"""Cumulative-logit regression on top of a given distribution: the ordinal model behind the grade path.

A forecast distribution p (from a Markov chain, say) is tilted by what is known of the patient:
``logit P(Y > k) = logit p(Y > k) + x' b`` for every k, so that one coefficient moves all cuts (proportional odds,
McCullagh P, J R Stat Soc B 1980;42:109). With an endless penalty the result *is* the given distribution. The log
likelihood is concave in b (Pratt JW, J Am Stat Assoc 1981;76:103); Newton steps find the ridge solution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Probabilities of passing a cut are kept this far from 0 and 1 before they become log odds.
EDGE = 1e-4
STEPS = 30
TOLERANCE = 1e-8


def cut_logits(chance: Floats) -> Floats:
    """Log odds of passing each cut, (n, K - 1), of distributions over K ordered classes, (n, K)."""
    above = 1.0 - np.cumsum(chance, axis=1)[:, :-1]
    above = np.clip(above, EDGE, 1.0 - EDGE)
    return np.log(above / (1.0 - above))


def tilted(offset: Floats, shift: Floats) -> Floats:
    """Distributions, (n, K), whose cuts' log odds are ``offset`` (n, K - 1) moved by ``shift`` (n,)."""
    above = _expit(offset + shift[:, None])
    full = np.concatenate([np.ones((len(above), 1)), above, np.zeros((len(above), 1))], axis=1)
    return np.maximum(full[:, :-1] - full[:, 1:], 0.0)


def fit_tilt(
    X: Floats,
    offset: Floats,
    observed: Ints,
    penalty: Floats,
    weight: Floats | None = None,
    start: Floats | None = None,
) -> Floats:
    """Ridge coefficients, shape (p,).

    Parameters
    ----------
    X
        Design, (n, p), columns on a common scale.
    offset
        Log odds of the cuts, (n, K - 1), falling along a row.
    observed
        Class of each row, 0 .. K - 1.
    penalty
        Ridge of each coefficient, (p,), against the *mean* log likelihood.
    weight
        Of rows; equal by default.
    start
        Where to begin, e.g. the solution of a larger penalty.
    """
    w = np.full(len(X), 1.0 / len(X)) if weight is None else weight / weight.sum()
    low, high = _edges(offset, observed)
    beta = np.zeros(X.shape[1]) if start is None else start.copy()
    loss = _loss(X, low, high, w, penalty, beta)
    for _ in range(STEPS):
        a, b = _expit(low + X @ beta), _expit(high + X @ beta)
        gradient = X.T @ (w * (1.0 - a - b)) - penalty * beta
        bend = w * (a * (1.0 - a) + b * (1.0 - b))
        curvature = (X * bend[:, None]).T @ X
        curvature.flat[:: len(beta) + 1] += penalty + 1e-10
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < TOLERANCE:
            break
        size = 1.0
        while (value := _loss(X, low, high, w, penalty, beta + size * step)) > loss and size > 1e-4:
            size /= 2.0
        beta, loss = beta + size * step, value
    return beta


def _edges(offset: Floats, observed: Ints) -> tuple[Floats, Floats]:
    """Log odds of the cut below and the cut above the observed class (infinite at the ends)."""
    wide = np.concatenate([np.full((len(offset), 1), np.inf), offset, np.full((len(offset), 1), -np.inf)], axis=1)
    rows = np.arange(len(offset))
    return wide[rows, observed], wide[rows, observed + 1]


def _loss(X: Floats, low: Floats, high: Floats, w: Floats, penalty: Floats, beta: Floats) -> float:
    eta = X @ beta
    # log(F(a) - F(b)) = log F(a) + log(1 - F(b)) + log(1 - exp(b - a)), F the logistic function.
    a, b = low + eta, high + eta
    gap = np.where(np.isinf(a) | np.isinf(b), -np.inf, high - low)
    value = -np.logaddexp(0.0, -a) - np.logaddexp(0.0, b) + np.log1p(-np.exp(np.minimum(gap, -1e-12)))
    return float(-(w @ value) + 0.5 * penalty @ beta**2)


def _expit(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0)))
