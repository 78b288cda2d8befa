"""The partial likelihood of the Cox model on whole arrays, and Newton's search for its penalised maximum.

Ties: Breslow N, Biometrics 1974;30:89; Efron B, J Am Stat Assoc 1977;72:557.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError

Floats = NDArray[np.float64]
Ties = Literal["breslow", "efron"]

#: Newton's iterations end when twice the gain in log likelihood that the quadratic model still promises is below
#: this (the promised step is still taken), or after MAX_STEPS.
TOLERANCE = 1e-9
MAX_STEPS = 100
#: Halvings of one Newton step before the search is given up.
MAX_HALVINGS = 30
#: Bound on the linear predictor either way, so that exp() of it, the ratio of two of them and the product of a
#: baseline and a risk all stay inside the range of floating point (e^709 down to e^-708) in separated data.
MAX_PREDICTOR = 300.0


@dataclass(frozen=True)
class Design:
    """Rows sorted by stratum and falling time, and one 'step' for each event (tied events share a risk set)."""

    x: Floats
    w: Floats
    event: NDArray[np.bool_]
    time: Floats
    stratum: NDArray[np.intp]
    last_of_tie: NDArray[np.intp]  # last row with the same stratum and time
    step_row: NDArray[np.intp]  # row of each event
    step_group: NDArray[np.intp]  # tie group of each event, 0..G-1
    step_fraction: Floats  # Efron's l/d (zeros for Breslow)
    step_weight: Floats  # mean weight of the tied events

    @classmethod
    def build(cls, x: Floats, t: Floats, d: NDArray[np.bool_], w: Floats, s: NDArray[np.generic], ties: Ties) -> Design:
        """Sort rows and lay out the risk sets; rows of weight zero are left out."""
        kept = w > 0
        codes = np.unique(s, return_inverse=True)[1]
        x, t, d, w, codes = x[kept], t[kept], d[kept], w[kept], codes[kept]
        order = np.lexsort((-t, codes))
        x, t, d, w, codes = x[order], t[order], d[order], w[order], codes[order]
        n = len(t)
        new_tie = np.r_[True, (t[1:] != t[:-1]) | (codes[1:] != codes[:-1])]
        tie = np.cumsum(new_tie) - 1
        ends = np.r_[np.flatnonzero(new_tie)[1:], n] - 1
        rows = np.flatnonzero(d)
        _, group, size = np.unique(tie[rows], return_inverse=True, return_counts=True)
        rank = np.arange(len(rows)) - np.r_[0, np.cumsum(size)[:-1]][group]
        fraction = rank / size[group] if ties == "efron" else np.zeros(len(rows))
        weight = (np.bincount(group, w[rows]) / size)[group]
        return cls(x, w, d, t, codes, ends[tie], rows, group, fraction, weight)

    def at_risk(self, values: Floats) -> Floats:
        """Sum of ``values`` over the risk set of each step (same stratum, time at least the event's)."""
        return self.running(values)[self.last_of_tie[self.step_row]]

    def running(self, values: Floats) -> Floats:
        """Running sums down the rows that begin anew with each stratum.

        One sum over all rows less what stood before the stratum would lose a stratum of small risks behind one
        of large risks to rounding, down to a risk set of sum zero.
        """
        edges = np.flatnonzero(np.diff(self.stratum)) + 1
        return np.concatenate([np.cumsum(part, axis=0) for part in np.split(values, edges)])

    def upward(self, values: Floats) -> Floats:
        """The same from the last row of each stratum up."""
        edges = np.flatnonzero(np.diff(self.stratum)) + 1
        return np.concatenate([np.cumsum(part[::-1], axis=0)[::-1] for part in np.split(values, edges)])

    def tied(self, values: Floats) -> Floats:
        """Sum of ``values`` over the events tied with each step."""
        flat = values[self.step_row]
        total = np.zeros((self.step_group[-1] + 1, *flat.shape[1:]))
        np.add.at(total, self.step_group, flat)
        return total[self.step_group]


def _moments(design: Design, beta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Linear predictor, relative risk, sum of risks and sum of risk*x at each step (Efron-reduced)."""
    eta = np.clip(design.x @ beta, -MAX_PREDICTOR, MAX_PREDICTOR)
    risk = design.w * np.exp(eta - eta.max())
    s0 = design.at_risk(risk) - design.step_fraction * design.tied(risk)
    weighted = risk[:, None] * design.x
    s1 = design.at_risk(weighted) - design.step_fraction[:, None] * design.tied(weighted)
    return eta, risk, s0, s1


def _log_likelihood(design: Design, beta: Floats) -> float:
    eta = np.clip(design.x @ beta, -MAX_PREDICTOR, MAX_PREDICTOR)
    top = eta.max()
    risk = design.w * np.exp(eta - top)
    s0 = design.at_risk(risk) - design.step_fraction * design.tied(risk)
    own = float(design.w[design.step_row] @ eta[design.step_row])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = own - float(design.step_weight @ (np.log(s0) + top))
    return value if np.isfinite(value) else -np.inf


def _derivatives(design: Design, beta: Floats) -> tuple[Floats, Floats]:
    """Gradient and information of the log partial likelihood.

    The sums over risk sets are turned round: each row counts with the hazard it has been exposed to, so that no
    array of size (events, p, p) is needed.
    """
    _, risk, s0, s1 = _moments(design, beta)
    jump = design.step_weight / s0
    exposure = _exposure(design, jump)
    gradient = design.w[design.step_row] @ design.x[design.step_row] - (risk * exposure) @ design.x
    mean = s1 / s0[:, None]
    information = design.x.T @ ((risk * exposure)[:, None] * design.x) - mean.T @ (design.step_weight[:, None] * mean)
    return gradient, information


def _exposure(design: Design, jump: Floats) -> Floats:
    """Hazard to which each row was exposed: steps at or before its time in its stratum, less Efron's share."""
    per_row = np.zeros(len(design.time))
    np.add.at(per_row, design.step_row, jump)
    # Rows fall in time, so "steps at or before my time" is a sum over later rows of the stratum, ties included.
    exposure = design.upward(per_row)[_first_of_tie(design)]
    share = np.zeros(design.step_group[-1] + 1)
    np.add.at(share, design.step_group, design.step_fraction * jump)
    exposure[design.step_row] -= share[design.step_group]
    return exposure


def _first_of_tie(design: Design) -> NDArray[np.intp]:
    new = np.r_[True, design.last_of_tie[1:] != design.last_of_tie[:-1]]
    return np.flatnonzero(new)[np.cumsum(new) - 1]


def newton(design: Design, penalty: Floats) -> tuple[Floats, float, Floats, bool]:
    """Maximise log likelihood - sum(penalty * beta**2) / 2.

    Returns
    -------
    tuple
        Coefficients, log partial likelihood without the penalty, penalised information, whether it converged.
    """
    beta = np.zeros(design.x.shape[1])
    current = _log_likelihood(design, beta)
    if len(beta) == 0:
        return beta, current, np.zeros((0, 0)), True
    converged = False
    information = np.zeros((len(beta), len(beta)))
    for _ in range(MAX_STEPS):
        gradient, curvature = _derivatives(design, beta)
        gradient = gradient - penalty * beta
        information = curvature + np.diag(penalty)
        step = _solve(information, gradient)
        decrement = float(gradient @ step)
        # The decrement is twice the gain that the quadratic model still promises, free of units.
        if decrement < TOLERANCE:
            beta, converged = beta + step, True
            break
        moved, current = _search(design, penalty, beta, step, current)
        if moved is None:
            break
        beta = moved
    return beta, _log_likelihood(design, beta), information, converged


def _search(
    design: Design, penalty: Floats, beta: Floats, step: Floats, likelihood: float
) -> tuple[Floats | None, float]:
    """Halve a Newton step until the penalised likelihood does not fall."""
    before = likelihood - 0.5 * float(penalty @ beta**2)
    slack = 1e-10 * (1.0 + abs(before))
    size = 1.0
    for _ in range(MAX_HALVINGS):
        trial = beta + size * step
        value = _log_likelihood(design, trial)
        if value - 0.5 * float(penalty @ trial**2) >= before - slack:
            return trial, value
        size /= 2.0
    return None, likelihood


def _solve(matrix: Floats, vector: Floats) -> Floats:
    scale = np.sqrt(np.clip(np.diag(matrix), 0, None))
    if np.any(scale <= 0) or np.linalg.cond(matrix / np.outer(scale, scale)) > 1e13:
        raise NotEstimableError(
            "the information matrix of the Cox model is singular: a column is constant, two columns carry the same, "
            "or events are too few; use a ridge penalty (alpha > 0) or fewer columns"
        )
    return np.linalg.solve(matrix / np.outer(scale, scale), vector / scale) / scale
