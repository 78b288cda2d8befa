"""Where each subject's random effects are most likely, given data and population: all subjects at once.

Quasi-Newton ascent of the joint log density of observations and random effects: the first curvature is the information
of the observations plus that of the population (Gauss-Newton), BFGS updates make it exact, and steps that do not rise
are damped (Levenberg-Marquardt). Only subjects that have not arrived are solved again. A subject without a finite
likelihood at its start begins at 0, then at draws of the population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.core.random import stream
from icans.population.fit.result import RandomEffects
from icans.population.nlme.likelihood import Bound, covariance, local, log_likelihood, means, phi_of
from icans.population.nlme.population import Population
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Damping beyond which no shorter step is tried; a Newton step (in posterior SDs) that still counts as arrived then;
#: steps without a rise after which a climb is taken to hang at a kink.
MOST_DAMPING, NEAR, STUCK = 1e8, 1e-3, 3
#: Draws from the population tried for a subject whose start has no likelihood, and how many of the best are climbed.
DRAWS, CLIMBED = 64, 3
NO_LIKELIHOOD = "no finite likelihood at any random effects tried: look at its units, times, doses and censoring"
NOT_ARRIVED = (
    "the climb to the mode stopped short of a flat top: a kink of the model (a lag or a switch at a sampling time), or "
    "effects that its data do not determine; its part of the likelihood is approximate"
)


@dataclass(frozen=True)
class Modes:
    """Of N subjects: ``mode`` (N, D), ``precision`` (N, D, D) there (information plus prior) and ``log_joint`` (N,).

    ``log_joint``: log density of observations and random effects, constants included. ``failed``: subject -> why; its
    mode is 0 and its precision the population's. ``iterations``: of the slowest.
    """

    mode: Array
    precision: Array
    log_joint: Array
    failed: Mapping[str, str] = field(default_factory=dict)
    iterations: int = 0

    @property
    def covariance(self) -> Array:
        """Covariances of the normal approximations, (N, D, D)."""
        return np.asarray(np.linalg.inv(self.precision)) if self.precision.size else np.zeros_like(self.precision)

    @property
    def log_evidence(self) -> Array:
        """Log-likelihood of each subject by Laplace's approximation with this precision, (N,)."""
        _, log_det = np.linalg.slogdet(self.precision)
        return np.asarray(self.log_joint + 0.5 * self.mode.shape[1] * LOG_2PI - 0.5 * log_det)

    def effects(self) -> RandomEffects:
        """As the random effects of a :class:`~icans.population.fit.result.Fit`."""
        return RandomEffects(self.mode, self.covariance, "mode", self.failed)


@dataclass
class Climb:
    """M climbs on their way. ``b`` (M, D), ``height`` (M,), ``slope`` (M, D), ``precision`` (M, D, D)."""

    b: Array
    height: Array
    slope: Array
    precision: Array
    arrived: Bools
    iterations: int = 0


def find_modes(
    bound: Bound, population: Population, start_b: Array | None = None, *, cls: int = 0, tolerance: float = 1e-6,
    iterations: int = 100, explore: int = 0, seed: int = 0, restart: bool = True, curvature: Array | None = None,
) -> Modes:  # fmt: skip
    """Modes of the random effects of all subjects.

    Parameters
    ----------
    start_b
        Where to begin, (N, D); 0 if None.
    cls
        Class of the mixture that subjects are taken to belong to.
    tolerance
        A climb has arrived when the Newton step is shorter than this many SDs of the normal approximation. Solvers
        with errors of 1e-6 do not get below 1e-5.
    explore
        Draws from the population also tried as starts of every subject (guards against a lower second mode).
    restart
        Climb again from elsewhere where a climb did not arrive (a kink of the model at an observation: a lag). Those
        without a likelihood always are.
    curvature
        Hessians (N, D, D) of minus the joint log density from nearby, where they are known (saves steps).
    """
    mean, who = means(bound, population, cls), np.arange(len(bound))
    begin = np.zeros((len(bound), bound.size)) if start_b is None else np.array(start_b, dtype=np.float64)
    if explore and bound.size:
        begin = _best_of(bound, population, mean, who, begin, explore, seed)
    found = climb(bound, population, mean, who, begin, tolerance, iterations, curvature)
    lost = np.flatnonzero(~found.arrived)
    if not restart:
        lost = lost[~np.isfinite(found.height[lost])]
    if len(lost) and bound.size:
        _again(bound, population, mean, lost, found, tolerance, iterations, seed)
    failed = {}
    for i in np.flatnonzero(~found.arrived):
        failed[bound.records.ids[i]] = NOT_ARRIVED if np.isfinite(found.height[i]) else NO_LIKELIHOOD
        if not np.isfinite(found.height[i]):
            found.b[i] = 0.0
    return Modes(found.b, found.precision, found.height, failed, found.iterations)


def climb(
    bound: Bound, population: Population, mean: Array, who: Ints, begin: Array, tolerance: float, iterations: int,
    curvature: Array | None = None,
) -> Climb:  # fmt: skip
    """M climbs of the subjects ``who`` (M,) with typical values ``mean`` (M, P), from ``begin`` (M, D).

    ``curvature``: (M, D, D), a better Hessian of minus the joint log density than the information, where one is known.
    """
    prior, constant = prior_precision(bound, population)
    b, m, d = begin.copy(), len(who), bound.size
    height, slope, precision = _look(bound, population, mean, who, b, prior, constant)
    done = Climb(b, height, slope, precision, np.isfinite(height) & (d == 0))
    inverse = np.asarray(np.linalg.inv(upright(precision if curvature is None else curvature, prior)), np.float64)
    damping, growth, tiny = np.zeros(m), np.full(m, 4.0), np.zeros(m, dtype=np.int64)
    active = np.flatnonzero(np.isfinite(height) & ~done.arrived)
    while len(active) and done.iterations < iterations:
        done.iterations += 1
        step, length = _steps(done, inverse, damping, active, prior)
        done.arrived[active[length < tolerance]] = True
        on = (length >= tolerance) & (damping[active] <= MOST_DAMPING) & (tiny[active] < STUCK)
        active, step, length = active[on], step[on], length[on]
        if len(active) == 0:
            break
        there = _look(bound, population, mean[active], who[active], b[active] + step, prior, constant)
        # Where the step is so short that heights differ by rounding, the slope decides.
        slack = np.where(length < 1e-3, 1e-12 * (1.0 + np.abs(height[active])), 0.0)
        better = there[0] >= height[active] - slack
        up, down = active[better], active[~better]
        tiny[up] = np.where((there[0][better] - height[up] < 1e-9) & (length[better] > NEAR), tiny[up] + 1, 0)
        inverse[up] = _turned(inverse[up], step[better], slope[up] - there[1][better])
        held = up[damping[up] > 0.0]
        b[up] += step[better]
        height[up], slope[up], precision[up] = (part[better] for part in there)
        inverse[held] = np.linalg.inv(upright(precision[held], prior))
        damping[up], growth[up] = np.where(damping[up] > 1e-3, damping[up] / 5.0, 0.0), 4.0
        damping[down] = np.maximum(growth[down] * damping[down], 1e-2)
        growth[down] *= 2.0
    near = np.flatnonzero(~done.arrived & np.isfinite(height))
    if len(near):
        done.arrived[near] = _steps(done, inverse, np.zeros(m), near, prior)[1] < NEAR
    return done


def _turned(inverse: Array, move: Array, turn: Array) -> Array:
    """BFGS updates of many inverse Hessians; left as they are where the curvature along the move is not positive."""
    curve = (move * turn).sum(axis=1)
    bent = (inverse @ turn[..., None])[..., 0]
    size = (bent * turn).sum(axis=1)
    good = (curve > 1e-4 * size) & (curve > 1e-300)
    safe = np.where(good, curve, 1.0)
    part = move[:, :, None] * bent[:, None, :]
    scale = (1.0 + size / safe) / safe
    out = inverse + scale[:, None, None] * move[:, :, None] * move[:, None, :]
    out -= (part + np.swapaxes(part, 1, 2)) / safe[:, None, None]
    return np.asarray(np.where(good[:, None, None], out, inverse))


def prior_precision(bound: Bound, population: Population) -> tuple[Array, float]:
    """Inverse of the covariance of ``b``, (D, D), and the log of the density at 0."""
    if bound.size == 0:
        return np.zeros((0, 0)), 0.0
    factor = np.linalg.cholesky(covariance(bound, population))
    root = np.asarray(np.linalg.solve(factor, np.eye(bound.size)), dtype=np.float64)
    return root.T @ root, float(-np.log(np.diag(factor)).sum() - 0.5 * bound.size * LOG_2PI)


def _look(
    bound: Bound, population: Population, mean: Array, who: Ints, b: Array, prior: Array, constant: float
) -> tuple[Array, Array, Array]:
    """Height, slope and precision at ``b``; whatever cannot be computed is minus infinity high."""
    whole = len(who) == len(bound) and (who == np.arange(len(bound))).all()
    chosen = bound.everyone if whole else bound.rows.select(who)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        here = local(bound, population, phi_of(bound, mean, b), chosen, by_errors=False)
    score, information = here.by_b(bound)
    pull = b @ prior
    return here.logp - 0.5 * (pull * b).sum(axis=1) + constant, score - pull, information + prior


def upright(matrix: Array, prior: Array) -> Array:
    """Matrices (M, D, D) with those that are not positive (censored rows with combined errors) made so: no direction
    has less than the prior's curvature. With a matrix that is not positive a step leads down, and its length is none.
    """
    try:
        np.linalg.cholesky(matrix)
        return matrix
    except np.linalg.LinAlgError:
        pass
    root = np.linalg.cholesky(prior)
    half = np.linalg.solve(root, np.where(np.isfinite(matrix), matrix, 0.0))
    share, turned = np.linalg.eigh(np.linalg.solve(root, np.swapaxes(half, 1, 2)))
    spread = root @ turned
    better = np.einsum("mde,me,mfe->mdf", spread, np.maximum(share, 1.0), spread)
    return np.asarray(np.where((share.min(axis=1) > 0.0)[:, None, None], matrix, better))


def _steps(done: Climb, inverse: Array, damping: Array, active: Ints, prior: Array) -> tuple[Array, Array]:
    """Quasi-Newton steps of the active climbs (damped: with the information); lengths of undamped ones, in SDs."""
    slope = done.slope[active]
    full = (inverse[active] @ slope[..., None])[..., 0]
    length = np.sqrt(np.maximum((full * slope).sum(axis=1), 0.0))
    held = np.flatnonzero(damping[active] > 0.0)
    if len(held):
        matrix = upright(done.precision[active[held]], prior)
        size = np.diagonal(matrix, axis1=1, axis2=2) * damping[active[held], None]
        heavy = matrix + size[:, :, None] * np.eye(matrix.shape[1])
        full[held] = np.linalg.solve(heavy, slope[held][..., None])[..., 0]
    return full, length


def _best_of(
    bound: Bound, population: Population, mean: Array, who: Ints, begin: Array, draws: int, seed: int
) -> Array:
    """The best of each subject's start, 0 and draws of the population."""
    factor = np.linalg.cholesky(covariance(bound, population))
    noise = stream(seed, "modes", "explore").standard_normal((draws, bound.size)) @ factor.T
    shared = np.concatenate([np.zeros((1, bound.size)), noise])
    tried = np.concatenate([begin[:, None], np.broadcast_to(shared, (len(who), *shared.shape))], axis=1)
    heights = _heights(bound, population, mean, who, tried)
    return np.asarray(tried[np.arange(len(who)), np.argmax(heights, axis=1)])


def _heights(bound: Bound, population: Population, mean: Array, who: Ints, tried: Array) -> Array:
    """Log joint densities at ``tried`` (M, K, D), up to a constant; (M, K)."""
    m, k, d = tried.shape
    prior, _ = prior_precision(bound, population)
    flat, each = tried.reshape(m * k, d), np.repeat(np.arange(m), k)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logp = log_likelihood(bound, population, phi_of(bound, mean[each], flat), bound.rows.select(who[each]))
    return np.asarray((logp - 0.5 * ((flat @ prior) * flat).sum(axis=1)).reshape(m, k))


def _again(
    bound: Bound, population: Population, mean: Array, lost: Ints, found: Climb, tolerance: float, iterations: int,
    seed: int,
) -> None:  # fmt: skip
    """Climb again for the subjects ``lost``: from 0, and from the best of many draws, widely and narrowly spread."""
    d = bound.size
    factor = np.linalg.cholesky(covariance(bound, population))
    noise = stream(seed, "modes", "again").standard_normal((DRAWS, d)) @ factor.T
    noise *= np.resize([1.0, 0.3, 2.0, 0.1], DRAWS)[:, None]
    shared = np.concatenate([np.zeros((1, d)), noise])
    tried = np.broadcast_to(shared, (len(lost), *shared.shape))
    heights = _heights(bound, population, mean[lost], lost, tried)
    order = np.argsort(-np.nan_to_num(heights, nan=-np.inf), axis=1)[:, :CLIMBED]
    for k in range(order.shape[1]):
        at = np.flatnonzero(np.isfinite(heights[np.arange(len(lost)), order[:, k]]))
        if len(at) == 0:
            continue
        mine = lost[at]
        one = climb(bound, population, mean[mine], mine, tried[at, order[at, k]], tolerance, 2 * iterations)
        better = (one.height > found.height[mine]) & (one.arrived | ~found.arrived[mine])
        for name in ("b", "height", "slope", "precision", "arrived"):
            getattr(found, name)[mine[better]] = getattr(one, name)[better]
