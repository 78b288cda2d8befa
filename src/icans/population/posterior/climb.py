"""The posterior mode of every subject and class at once, and the normal approximation around it.

Levenberg-Marquardt ascent on whitened effects with the information of the likelihood as curvature (Gauss-Newton): the
prior adds 1 to it in every direction, so that every step exists. Subjects that have arrived are no longer solved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from icans.population.posterior.proposals import even_uniforms
from icans.population.posterior.target import Target

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Iterations at most; rise that the quadratic model still promises at which a climb has arrived; limits of damping.
MOST, ARRIVED, LEAST_DAMPING, MOST_DAMPING = 100, 1e-7, 1e-9, 1e9
#: Points tried as starts besides the typical patient, and how far they spread (in prior SDs).
STARTS, REACH = 15, 0.8


@dataclass(frozen=True)
class Modes:
    """Of N subjects in C classes: ``z`` (N, C, D), ``precision`` (N, C, D, D) there, log density ``top`` (N, C) up to
    the prior's constant, ``log_evidence`` by Laplace (N, C), and which climbs ``arrived`` (N, C).
    """

    z: Array
    precision: Array
    top: Array
    log_evidence: Array
    arrived: npt.NDArray[np.bool_]

    @property
    def factor(self) -> Array:
        """Cholesky factors of the covariances, (N, C, D, D)."""
        return np.asarray(np.linalg.cholesky(np.linalg.inv(self.precision)))


def find_tops(target: Target, at: Ints, start: Array | None = None) -> Modes:
    """Modes of the n subjects ``at`` in all classes; ``start`` (n, C, D): where to begin, even points tried if None."""
    n, c, d = len(at), target.classes, target.size
    who, cls = np.repeat(at, c), np.tile(np.arange(c), n)
    begin = _starts(target, who, cls) if start is None else start.reshape(n * c, d)
    z, top, precision, arrived = _climb(target, begin, who, cls)
    _, half = np.linalg.slogdet(precision)
    # Prior constant and the normal integral's (2 pi)^(D/2) cancel.
    evidence = np.where(np.isfinite(top), top - 0.5 * half, -np.inf)
    shape = (n, c)
    return Modes(z.reshape(*shape, d), precision.reshape(*shape, d, d), top.reshape(shape), evidence.reshape(shape),
                 arrived.reshape(shape))  # fmt: skip


def _starts(target: Target, who: Ints, cls: Ints) -> Array:
    """The best of the typical patient and a few even points of the prior, for every set."""
    d = target.size
    if d == 0:
        return np.zeros((len(who), 0))
    points = np.concatenate([np.zeros((1, d)), REACH * ndtri(even_uniforms(np.random.default_rng(0), STARTS, d))])
    tried = np.tile(points, (len(who), 1))
    height = target.log_likelihood(tried, np.repeat(who, len(points)), np.repeat(cls, len(points)))
    height = height.reshape(len(who), len(points)) - 0.5 * (points**2).sum(axis=1)
    return np.asarray(points[np.argmax(height, axis=1)])


def _climb(target: Target, z: Array, who: Ints, cls: Ints) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """Modes (M, D), heights (M,), precisions (M, D, D) and arrivals of M climbs."""
    m, d = z.shape
    z = z.copy()
    top, slope, precision = _look(target, z, who, cls)
    damping = np.full(m, 1e-3)
    arrived = ~np.isfinite(top) | (d == 0)
    for _ in range(MOST):
        at = np.flatnonzero(~arrived & (damping < MOST_DAMPING))
        if len(at) == 0:
            break
        diagonal = np.diagonal(precision[at], axis1=1, axis2=2)
        step = np.linalg.solve(precision[at] + (damping[at, None] * diagonal)[:, :, None] * np.eye(d),
                               slope[at][..., None])[..., 0]  # fmt: skip
        promised = 0.5 * (slope[at] * np.linalg.solve(precision[at], slope[at][..., None])[..., 0]).sum(axis=1)
        done = promised < ARRIVED
        arrived[at[done]] = True
        at, step = at[~done], step[~done]
        if len(at) == 0:
            break
        there = _look(target, z[at] + step, who[at], cls[at])
        better = there[0] > top[at]
        up, down = at[better], at[~better]
        z[up] += step[better]
        top[up], slope[up], precision[up] = (part[better] for part in there)
        damping[up] = np.maximum(damping[up] / 10.0, LEAST_DAMPING)
        damping[down] *= 10.0
    return z, top, precision, arrived & np.isfinite(top)


def _look(target: Target, z: Array, who: Ints, cls: Ints) -> tuple[Array, Array, Array]:
    """Height, slope and precision (Gauss-Newton) at sets; whatever cannot be computed is minus infinity high."""
    logp, score, information = target.slopes(z, who, cls)
    return logp - 0.5 * (z * z).sum(axis=1), score - z, information + np.eye(z.shape[1])
