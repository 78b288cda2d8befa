"""Standard errors of first-order fits: Hessian (R), outer products of scores (S), and the sandwich R^-1 S R^-1.

With ``l`` = -ln L (penalised): R is its Hessian by central differences of exact gradients, S the sum over subjects of
the outer products of their gradients. NONMEM's default covariance is R^-1 S R^-1; it stays valid where the model of
the errors is wrong (White 1982, Econometrica 50:1, doi 10.2307/1912526). All are of the packed vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.population.fit.ascend import Point
from icans.population.fit.focei_objective import Evaluation
from icans.population.nlme.population import Packing

if TYPE_CHECKING:
    from icans.population.fit.focei import Objective

Array = npt.NDArray[np.float64]

#: Step of differences of gradients, in units of the packed vector (logarithms, mostly), and its largest.
STEP, WIDEST = 1e-3, 1e-2
#: Information on the logarithm of an SD below which it has collapsed: nothing depends on it.
FLAT = 1e-2


@dataclass(frozen=True)
class StandardErrors:
    """``r``, ``s``: (n, n) matrices of the packed vector. ``scores``: (N, n), gradients of each subject's ln L.

    ``condition``: of R scaled to unit diagonal: largest over smallest eigenvalue (infinite: not positive definite).
    ``weakest``: parameters (names) of the eigenvector with the smallest eigenvalue, largest part first. ``held``: SDs
    that collapsed: nothing depends on their logarithm any more, so they are held and have no standard error (0).
    """

    r: Array
    s: Array
    scores: Array
    condition: float
    weakest: tuple[str, ...]
    held: tuple[str, ...] = ()
    free: npt.NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, dtype=bool))

    @property
    def positive(self) -> bool:
        """Whether R is positive definite."""
        return bool(np.isfinite(self.condition))

    def pick(self, kind: str) -> Array | None:
        """Covariance ``"sandwich"``, ``"R"`` (R^-1) or ``"S"`` (S^-1); None where it does not exist."""
        own = np.ix_(self.free, self.free)
        r, s = self.r[own], self.s[own]
        inverse = _inverse(s if kind == "S" else r)
        if inverse is None:
            return None
        out = np.zeros_like(self.r)
        out[own] = inverse @ s @ inverse if kind == "sandwich" else inverse
        return np.asarray(0.5 * (out + out.T))


def standard_errors(objective: Objective, point: Point[Evaluation], step: float = STEP) -> StandardErrors:
    """R, S and what they say about the parameters, at a point."""
    scores = subject_scores(objective, point)
    r = hessian(objective, point, step)
    free = ~(logarithms(objective.pack) & (np.abs(np.diag(r)) < FLAT))
    names = objective.pack.names
    held = tuple(n for n, kept in zip(names, free, strict=True) if not kept)
    kept = tuple(n for n, own in zip(names, free, strict=True) if own)
    condition, weakest = condition_of(r[np.ix_(free, free)], kept)
    return StandardErrors(r, scores.T @ scores, scores, condition, weakest, held, free)


def logarithms(pack: Packing) -> npt.NDArray[np.bool_]:
    """Which numbers of the packed vector are logarithms of SDs: diagonals of Cholesky factors, errors."""
    out = np.zeros(len(pack), dtype=bool)
    at = len(pack.typical) + len(pack.effects)
    for block in (*pack.omega, *pack.gamma):
        for i in range(len(block)):
            out[at + i * (i + 1) // 2 + i] = True
        at += len(block) * (len(block) + 1) // 2
    for j, place in enumerate(pack.errors):
        out[at + j] = pack.layout[int(place)].positive
    return out


def subject_scores(objective: Objective, point: Point[Evaluation]) -> Array:
    """Derivatives of every subject's log-likelihood by the packed vector, (N, n): the rows of S and of influence."""
    return np.asarray(-0.5 * objective.subject_gradients(point))


def hessian(objective: Objective, point: Point[Evaluation], step: float = STEP) -> Array:
    """Hessian of the penalised -ln L by the packed vector: central differences of exact gradients."""
    n = len(point.x)
    out = np.zeros((n, n))
    width = step * np.clip(np.abs(point.x), 1.0, WIDEST / step)
    for j in range(n):
        move = np.zeros(n)
        move[j] = width[j]
        up, down = objective.point(point.x + move, point), objective.point(point.x - move, point)
        out[:, j] = (up.gradient - down.gradient) / (4.0 * width[j])
    return np.asarray(0.5 * (out + out.T))


def condition_of(r: Array, names: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
    """Condition number of a Hessian scaled to unit diagonal, and the parameters of its weakest direction."""
    if not np.isfinite(r).all() or len(r) == 0:
        return (np.inf, ()) if len(r) else (1.0, ())
    size = np.sqrt(np.abs(np.diag(r)))
    size[size == 0.0] = 1.0
    value, vector = np.linalg.eigh(r / np.outer(size, size))
    part = np.abs(vector[:, 0])
    order = [int(i) for i in np.argsort(-part) if part[i] > 0.3]
    weakest = tuple(names[i] for i in order)
    return (float(value[-1] / value[0]) if value[0] > 1e-12 else float("inf")), weakest


def _inverse(matrix: Array) -> Array | None:
    if not np.isfinite(matrix).all():
        return None
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(np.linalg.inv(matrix))
