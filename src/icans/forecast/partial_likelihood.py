"""The partial likelihood of the Cox model on whole arrays, and Newton's search for its penalised maximum.

Ties: Breslow N, Biometrics 1974;30:89; Efron B, J Am Stat Assoc 1977;72:557.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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
#: Condition number of the scaled information from which its inverse has no correct digit that matters.
MAX_CONDITION = 1e13


@dataclass(frozen=True)
class Design:
    """Rows sorted by stratum and falling time, and one 'step' for each event (tied events share a risk set).

    The risk sets of a stratum are nested, so that rows are summed once between one risk set and the next (a
    *segment*), and running sums go over segments: one for each distinct event time instead of one for each row.
    """

    x: Floats
    w: Floats
    time: Floats
    stratum: NDArray[np.intp]
    step_row: NDArray[np.intp]  # row of each event
    step_group: NDArray[np.intp]  # tie group of each event, 0..G-1
    step_fraction: Floats  # Efron's l/d (zeros for Breslow)
    step_weight: Floats  # mean weight of the tied events
    group_start: NDArray[np.intp]  # first event of each tie group
    cut: NDArray[np.intp]  # first row of each segment; the last of a stratum may lie in no risk set
    cut_group: NDArray[np.intp]  # the segment that ends with the risk set of each tie group
    row_group: NDArray[np.intp]  # largest risk set's group of each row, G where there is none
    blocks: tuple[slice, ...]  # tie groups of each stratum

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
        ends = np.r_[np.flatnonzero(new_tie)[1:], n]
        rows = np.flatnonzero(d)
        tied, start, group, size = np.unique(tie[rows], return_index=True, return_inverse=True, return_counts=True)
        rank = np.arange(len(rows)) - start[group]
        fraction = rank / size[group] if ties == "efron" else np.zeros(len(rows))
        weight = (np.bincount(group, w[rows]) / size)[group]
        # A segment ends after the last row of each risk set and at the end of each stratum.
        stratum_of = codes[rows][start]
        stop = ends[tied]
        cut = np.unique(np.r_[0, stop[stop < n], np.flatnonzero(np.diff(codes)) + 1])
        cut_group = np.searchsorted(cut, stop) - 1
        row_group = np.searchsorted(stop, np.arange(n), side="right")
        inside = row_group < len(tied)
        inside[inside] = stratum_of[row_group[inside]] == codes[inside]
        edges = np.r_[0, np.flatnonzero(np.diff(stratum_of)) + 1, len(tied)]
        blocks = tuple(slice(a, b) for a, b in pairwise(edges.tolist()))
        return cls(
            x, w, t, codes, rows, group, fraction, weight, start, cut, cut_group,
            np.where(inside, row_group, len(tied)), blocks,
        )  # fmt: skip

    def at_risk(self, values: Floats) -> Floats:
        """Sum of ``values`` over the risk set of each step (same stratum, time at least the event's).

        Sums begin anew with each stratum: one sum over all rows less what stood before the stratum would lose a
        stratum of small risks behind one of large risks to rounding, down to a risk set of sum zero.
        """
        parts = np.add.reduceat(values, self.cut, axis=0)[self.cut_group]
        for block in self.blocks:
            np.cumsum(parts[block], axis=0, out=parts[block])
        return parts[self.step_group]

    def tied(self, values: Floats) -> Floats:
        """Sum of ``values`` over the events tied with each step."""
        return np.asarray(np.add.reduceat(values[self.step_row], self.group_start, axis=0)[self.step_group])

    def exposure(self, jump: Floats) -> Floats:
        """Hazard to which each row was exposed: steps at or before its time in its stratum, less Efron's share."""
        per_group = np.add.reduceat(jump, self.group_start)
        for block in self.blocks:
            per_group[block] = np.cumsum(per_group[block][::-1])[::-1]
        exposure = np.r_[per_group, 0.0][self.row_group]
        share = np.add.reduceat(self.step_fraction * jump, self.group_start)
        exposure[self.step_row] -= share[self.step_group]
        return np.asarray(exposure)


@dataclass(frozen=True)
class Point:
    """The likelihood at one set of coefficients, with what its derivatives need."""

    risk: Floats
    s0: Floats
    likelihood: float

    @classmethod
    def at(cls, design: Design, beta: Floats) -> Point:
        """Relative risks, their (Efron-reduced) sums over risk sets, log partial likelihood (-inf: overflow)."""
        eta = np.clip(design.x @ beta, -MAX_PREDICTOR, MAX_PREDICTOR)
        top = eta.max()
        risk = design.w * np.exp(eta - top)
        s0 = design.at_risk(risk) - design.step_fraction * design.tied(risk)
        own = float(design.w[design.step_row] @ eta[design.step_row])
        with np.errstate(divide="ignore", invalid="ignore"):
            value = own - float(design.step_weight @ (np.log(s0) + top))
        return cls(risk, s0, value if np.isfinite(value) else -np.inf)


def _derivatives(design: Design, point: Point) -> tuple[Floats, Floats]:
    """Gradient and information of the log partial likelihood.

    The sums over risk sets are turned round: each row counts with the hazard it has been exposed to, so that no
    array of size (events, p, p) is needed.
    """
    weighted = point.risk[:, None] * design.x
    s1 = design.at_risk(weighted) - design.step_fraction[:, None] * design.tied(weighted)
    exposure = design.exposure(design.step_weight / point.s0)
    gradient = design.w[design.step_row] @ design.x[design.step_row] - exposure @ weighted
    mean = s1 / point.s0[:, None]
    information = design.x.T @ (exposure[:, None] * weighted) - mean.T @ (design.step_weight[:, None] * mean)
    return gradient, information


def newton(design: Design, penalty: Floats, start: Floats | None = None) -> tuple[Floats, float, Floats, bool]:
    """Maximise log likelihood - sum(penalty * beta**2) / 2.

    Parameters
    ----------
    start
        Coefficients to begin at (the solution for a penalty near by); zeros by default.

    Returns
    -------
    tuple
        Coefficients, log partial likelihood without the penalty, penalised information, whether it converged.
    """
    beta = np.zeros(design.x.shape[1]) if start is None else start
    current = Point.at(design, beta)
    if len(beta) == 0:
        return beta, current.likelihood, np.zeros((0, 0)), True
    converged = False
    information = np.zeros((len(beta), len(beta)))
    for _ in range(MAX_STEPS):
        gradient, curvature = _derivatives(design, current)
        gradient = gradient - penalty * beta
        information = curvature + np.diag(penalty)
        step = _solve(information, gradient)
        decrement = float(gradient @ step)
        # The decrement is twice the gain that the quadratic model still promises, free of units.
        if decrement < TOLERANCE:
            beta, converged = beta + step, True
            current = Point.at(design, beta)
            break
        found = _search(design, penalty, beta, step, current)
        if found is None:
            break
        beta, current = found
    return beta, current.likelihood, information, converged


def _search(design: Design, penalty: Floats, beta: Floats, step: Floats, current: Point) -> tuple[Floats, Point] | None:
    """Halve a Newton step until the penalised likelihood does not fall; None: it always falls."""
    before = current.likelihood - 0.5 * float(penalty @ beta**2)
    slack = 1e-10 * (1.0 + abs(before))
    size = 1.0
    for _ in range(MAX_HALVINGS):
        trial = beta + size * step
        point = Point.at(design, trial)
        if point.likelihood - 0.5 * float(penalty @ trial**2) >= before - slack:
            return trial, point
        size /= 2.0
    return None


def _solve(matrix: Floats, vector: Floats) -> Floats:
    scale = np.sqrt(np.clip(np.diag(matrix), 0, None))
    if np.any(scale <= 0) or _singular(scaled := matrix / np.outer(scale, scale)):
        raise NotEstimableError(
            "the information matrix of the Cox model is singular: a column is constant, two columns carry the same, "
            "or events are too few; use a ridge penalty (alpha > 0) or fewer columns"
        )
    return np.linalg.solve(scaled, vector / scale) / scale


def _singular(matrix: Floats) -> bool:
    """Whether the condition number of a matrix with a unit diagonal is above ``MAX_CONDITION``.

    The reciprocal condition number in the 1-norm (LAPACK's estimate, within a factor of three in practice) differs
    from that in the 2-norm by a factor of the size of the matrix at most; only doubtful cases need singular values.
    """
    from scipy.linalg.lapack import dpocon, dpotrf  # scipy.linalg: a fifth of a second, which no forecast needs

    factor, failed = dpotrf(matrix)
    if not failed:
        share, _ = dpocon(factor, np.abs(matrix).sum(axis=0).max())
        if share * MAX_CONDITION > len(matrix) * 10.0:
            return False
    return bool(np.linalg.cond(matrix) > MAX_CONDITION)
