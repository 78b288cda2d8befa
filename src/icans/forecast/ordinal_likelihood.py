"""Ordered outcomes: likelihoods of the cumulative and the adjacent-category logit, and penalised Newton steps.

For an outcome y in 0..J and cuts j = 0..J-1 both models have one linear predictor a cut, eta_ij:

    cumulative          P(y_i > j) = 1 / (1 + exp(-eta_ij))
    adjacent category   P(y_i = j + 1) / P(y_i = j) = exp(eta_ij)

With the same coefficients at every cut the first is the proportional-odds model (McCullagh P, J R Stat Soc B
1980;42:109), the second its adjacent-category twin (Agresti A, Analysis of Ordinal Categorical Data, 2010). The
design is an array (n, J, q), so that coefficients may also differ between cuts (Peterson B, Harrell FE, Appl Stat
1990;39:205: partial proportional odds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Link = Literal["cumulative", "adjacent"]

MAX_STEPS = 100
TOLERANCE = 1e-10
#: Bound on a linear predictor either way.
MAX_PREDICTOR = 35.0
#: Least probability of a category while fitting (cuts of a partly proportional model may cross).
LEAST = 1e-12


@dataclass(frozen=True)
class Ordered:
    """Data of an ordered outcome.

    Attributes
    ----------
    z
        Design, shape (n, J, q).
    y
        Category 0..J, shape (n,).
    weight
        Shape (n,).
    offset
        Added to the linear predictors, shape (n, J).
    """

    z: Floats
    y: Ints
    weight: Floats
    offset: Floats

    @property
    def cuts(self) -> int:
        """Number of cuts J."""
        return self.z.shape[1]

    def predictor(self, theta: Floats) -> Floats:
        """Linear predictors, shape (n, J)."""
        return np.clip(self.offset + self.z @ theta, -MAX_PREDICTOR, MAX_PREDICTOR)


def probabilities(eta: Floats, link: Link) -> Floats:
    """Probability of each category, shape (n, J + 1); crossed cuts of a cumulative model are put in order."""
    n = len(eta)
    if link == "adjacent":
        power = np.cumsum(np.column_stack([np.zeros(n), eta]), axis=1)
        power = np.exp(power - power.max(axis=1, keepdims=True))
        return np.asarray(power / power.sum(axis=1, keepdims=True))
    above = np.minimum.accumulate(_expit(eta), axis=1)
    edges = np.column_stack([np.ones(n), above, np.zeros(n)])
    return edges[:, :-1] - edges[:, 1:]


def log_likelihood(data: Ordered, theta: Floats, link: Link) -> float:
    """Weighted log likelihood (-inf where a cumulative model's cuts cross at an observed category)."""
    return float(data.weight @ _rows(data, data.predictor(theta), link))


def _rows(data: Ordered, eta: Floats, link: Link) -> Floats:
    own = np.arange(len(eta))
    if link == "adjacent":
        power = np.cumsum(np.column_stack([np.zeros(len(eta)), eta]), axis=1)
        top = power.max(axis=1)
        return np.asarray(power[own, data.y] - top - np.log(np.exp(power - top[:, None]).sum(axis=1)))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(_own_probability(data, eta), 0.0)))


def _own_probability(data: Ordered, eta: Floats) -> Floats:
    """P(y_i) of a cumulative model; differences of the smaller tails, so that far cuts keep their digits."""
    own = np.arange(len(eta))
    padded = np.column_stack([np.full(len(eta), np.inf), eta, np.full(len(eta), -np.inf)])
    upper, lower = padded[own, data.y], padded[own, data.y + 1]
    flip = lower > 0
    a, b = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    return _expit(a) - _expit(b)


def derivatives(data: Ordered, theta: Floats, link: Link) -> tuple[Floats, Floats]:
    """Gradient (q,) and observed information (q, q) of the weighted log likelihood."""
    slope, curve = (_adjacent if link == "adjacent" else _cumulative)(data, data.predictor(theta))
    gradient = np.einsum("i,ij,ijq->q", data.weight, slope, data.z)
    information = np.zeros((data.z.shape[2], data.z.shape[2]))
    for j in range(data.cuts):
        for k in range(j, data.cuts):
            if not curve[:, j, k].any():
                continue
            block = data.z[:, j].T @ ((data.weight * curve[:, j, k])[:, None] * data.z[:, k])
            information -= block if j == k else block + block.T
    return gradient, information


def score_rows(data: Ordered, theta: Floats, link: Link) -> Floats:
    """Each row's part of the gradient, shape (n, q)."""
    slope, _ = (_adjacent if link == "adjacent" else _cumulative)(data, data.predictor(theta))
    return np.asarray(np.einsum("ij,ijq->iq", slope * data.weight[:, None], data.z))


def _adjacent(data: Ordered, eta: Floats) -> tuple[Floats, Floats]:
    """First and second derivatives of each row's log likelihood in its linear predictors."""
    chance = probabilities(eta, "adjacent")
    above = 1.0 - np.cumsum(chance, axis=1)[:, :-1]
    cut = np.arange(data.cuts)
    slope = (data.y[:, None] > cut) - above
    higher = np.maximum(cut[:, None], cut[None, :])
    return slope, -(above[:, higher] - above[:, :, None] * above[:, None, :])


def _cumulative(data: Ordered, eta: Floats) -> tuple[Floats, Floats]:
    n, cuts = eta.shape
    own = np.arange(n)
    chance = np.maximum(_own_probability(data, eta), LEAST)
    p = _expit(eta)
    density = p * (1.0 - p)
    change = density * (1.0 - 2.0 * p)
    slope, curve = np.zeros((n, cuts)), np.zeros((n, cuts, cuts))
    low, high = data.y > 0, data.y < cuts  # whether there is a cut below the category, and one above
    first, second = own[low], own[high]
    j, k = data.y[low] - 1, data.y[high]
    slope[first, j] += density[first, j] / chance[low]
    slope[second, k] -= density[second, k] / chance[high]
    curve[first, j, j] += change[first, j] / chance[low]
    curve[second, k, k] -= change[second, k] / chance[high]
    curve -= slope[:, :, None] * slope[:, None, :]
    return slope, curve


def maximise(data: Ordered, penalty: Floats, link: Link, start: Floats) -> Floats:
    """Coefficients of highest  log likelihood - sum(penalty * theta**2) / 2.

    Raises
    ------
    NotEstimableError
        The information matrix is singular (separated data without a penalty).
    """
    theta = start.copy()
    value = log_likelihood(data, theta, link) - 0.5 * float(penalty @ theta**2)
    if not np.isfinite(value):
        raise ValueError("the start has crossed cuts")
    for _ in range(MAX_STEPS):
        gradient, information = derivatives(data, theta, link)
        gradient = gradient - penalty * theta
        step = _solve(information, penalty, gradient)
        gain = float(gradient @ step)
        if gain < TOLERANCE:
            break
        size, found = 1.0, False
        while size > 1e-8:
            trial = theta + size * step
            new = log_likelihood(data, trial, link) - 0.5 * float(penalty @ trial**2)
            if new >= value - 1e-12 * (1 + abs(value)):
                found = True
                break
            size /= 2.0
        if not found:
            break
        theta, value = trial, new
    return theta


def _solve(information: Floats, penalty: Floats, gradient: Floats) -> Floats:
    """A Newton step; where the likelihood is not concave (crossing cuts) the matrix is lifted until it is definite."""
    matrix = information + np.diag(penalty)
    scale = np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-12))
    scaled = matrix / np.outer(scale, scale)
    lift = 1e-12
    while lift < 1e3:
        try:
            factor = np.linalg.cholesky(scaled + lift * np.eye(len(scaled)))
        except np.linalg.LinAlgError:
            lift = max(lift * 100.0, 1e-8)
            continue
        return np.linalg.solve(factor.T, np.linalg.solve(factor, gradient / scale)) / scale
    raise NotEstimableError("the information matrix of the ordered model is singular: use a penalty or fewer columns")


def _expit(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-x)))
