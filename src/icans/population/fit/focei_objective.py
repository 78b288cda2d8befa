"""The marginal likelihood by Laplace's approximation, per subject, with its exact gradient.

For a subject with data y, random effects b ~ N(0, Sigma) and J(b) = ln p(y | b) + ln p(b), at the mode b*:

    ``-2 ln L = -2 J(b*) - D ln(2 pi) + ln det H(b*)``

FOCEI takes for H the information of the observations (with the interaction of prediction and error) plus Sigma^-1,
Laplace the exact Hessian of -J. The gradient by population parameters is that of Almquist, Leander and Jirstrand (2015,
J Pharmacokinet Pharmacodyn 42:191, doi 10.1007/s10928-015-9409-1): the mode moves with the parameters by the implicit
function theorem. It is computed in adjoint form: one vector per subject, ``u = M^-1 d ln det H / d b`` with M the exact
Hessian, gives the part that is due to the motion of the mode.

Where errors have heavy tails, or rows are censored and errors combined, H can be flat or bend the wrong way far from
the estimate; the objective would be without a value, or without a bound below. Directions in which H has less than a
share ``BLUNT`` of a curvature that is positive are given more, smoothly (:mod:`icans.population.fit.curvature`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.population.fit.curvature import raised
from icans.population.fit.focei_rows import (
    Bends,
    Frame,
    Predicted,
    RowTerms,
    bends,
    make_frame,
    predict,
    row_terms,
    second_derivatives,
    steps_of_b,
    sum_errors,
)
from icans.population.fit.modes import Modes, find_modes, prior_precision
from icans.population.nlme.likelihood import Bound, covariance, means, phi_of
from icans.population.nlme.population import Population
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Accuracy:
    """How exactly things are computed.

    ``step``: of differences of first derivatives, in log units of parameters; about the cube root of the solver's
    relative error (closed forms: 1e-5; a solver with 1e-6: 1e-2). ``step2``: of second differences (Laplace only).
    ``inner``: length of the Newton step, in SDs, at which a mode is found.
    """

    step: float = 1e-5
    step2: float = 1e-3
    inner: float = 1e-6
    iterations: int = 100


def accuracy_for(bound: Bound) -> Accuracy:
    """What suits the structural model: exact for closed forms, by the tolerance ``rtol`` of a solver."""
    rtol = getattr(bound.model.structural, "rtol", None)
    if rtol is None:
        return Accuracy()
    error = max(float(rtol), 1e-12)
    return Accuracy(step=error ** (1 / 3), step2=error**0.25, inner=max(1e-6, 10.0 * error))


@dataclass(frozen=True)
class Slopes:
    """Derivatives of each subject's objective by natural population values.

    ``mean``: by the typical values of the subject in each class (C, N, P). ``omega``, ``gamma``: (N, d, d), symmetric.
    ``errors``: (N, K). ``shares``: (N, C).
    """

    mean: Array
    omega: Array
    gamma: Array
    errors: Array
    shares: Array

    def of_subjects(self, bound: Bound) -> list[Population]:
        """One population of slopes per subject."""
        return [self._population(bound, slice(i, i + 1)) for i in range(len(bound))]

    def total(self, bound: Bound) -> Population:
        """Of the sum over subjects."""
        return self._population(bound, slice(None))

    def _population(self, bound: Bound, at: slice) -> Population:
        names = bound.model.names
        by_mean = self.mean[:, at].sum(axis=0)
        effects = [
            float(by_mean[:, names.index(e.parameter)] @ bound.design[at, j]) for j, e in enumerate(bound.model.effects)
        ]
        shifts = self.mean[:, at].sum(axis=1)
        shifts[0] = 0.0
        return Population(
            by_mean.sum(axis=0), np.array(effects), self.omega[at].sum(axis=0), self.gamma[at].sum(axis=0),
            self.errors[at].sum(axis=0), self.shares[at].sum(axis=0), shifts,
        )  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """The objective at a population: ``objective`` (N,) is -2 ln L of each subject, constants included.

    ``modes``: of each class. ``weights``: probabilities of classes, (N, C). ``slopes``: None where not asked for.
    ``motion``: what predicts the modes at a population nearby.
    """

    population: Population
    objective: Array
    modes: tuple[Modes, ...]
    weights: Array
    slopes: Slopes | None = None
    motion: tuple[Motion, ...] = field(default=())
    #: Subjects whose H was raised, (N,), in the class that weighs most.
    blunt: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    @property
    def total(self) -> float:
        """Of all subjects."""
        return float(self.objective.sum())


@dataclass(frozen=True)
class Motion:
    """How modes move: ``hessian`` M (N, D, D); derivatives of the slope of J in b by the means (N, D, P), the error
    parameters (N, D, K) and, through ``pull`` = Sigma^-1 b (N, D), the covariance.
    """

    hessian: Array
    by_mean: Array
    by_errors: Array
    pull: Array
    precision: Array

    @property
    def bowl(self) -> Array | None:
        """The Hessians, where all are positive definite."""
        try:
            np.linalg.cholesky(self.hessian)
        except np.linalg.LinAlgError:
            return None
        return self.hessian

    def ahead(self, bound: Bound, here: Population, there: Population, mode: Array, cls: int) -> Array:
        """Modes expected at another population, to first order; (N, D)."""
        move = means(bound, there, cls) - means(bound, here, cls)
        change = np.einsum("ndp,np->nd", self.by_mean, move)
        change += self.by_errors @ (there.errors - here.errors)
        change += self.pull @ (covariance(bound, there) - covariance(bound, here)) @ self.precision
        step = _solve(self.hessian, change)
        size = np.sqrt(np.maximum(np.einsum("nd,nde,ne->n", step, self.hessian, step), 0.0))
        return np.asarray(mode + step * np.minimum(1.0, 2.0 / np.maximum(size, 1e-300))[:, None])


def evaluate(
    bound: Bound, population: Population, accuracy: Accuracy, *, laplace: bool = False, gradient: bool = True,
    near: Evaluation | None = None, explore: int = 0, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """FOCEI's (or Laplace's) objective of every subject, with slopes; modes start from an evaluation nearby."""
    classes = len(population.shares)
    parts = []
    for c in range(classes):
        begin, curvature = None, None
        if near is not None:
            begin = near.modes[c].mode
            if near.motion:
                begin = near.motion[c].ahead(bound, near.population, population, begin, c)
                curvature = near.motion[c].bowl
        modes = find_modes(
            bound, population, begin, cls=c, tolerance=accuracy.inner, iterations=accuracy.iterations,
            explore=explore, seed=seed, restart=near is None, curvature=curvature,
        )  # fmt: skip
        parts.append(_class(bound, population, c, modes, accuracy, laplace, gradient))
    objective = np.stack([p.objective for p in parts], axis=1)
    logs = -0.5 * objective + np.log(population.shares)
    whole = logsumexp(logs, axis=1)
    with np.errstate(invalid="ignore"):
        weights = np.exp(logs - whole[:, None])
    weights = np.where(np.isfinite(weights), weights, population.shares)
    modes_all = tuple(p.modes for p in parts)
    blunt = np.asarray(np.stack([p.blunt for p in parts], axis=1)[np.arange(len(bound)), weights.argmax(axis=1)])
    if not gradient:
        return Evaluation(population, -2.0 * whole, modes_all, weights, blunt=blunt)
    slopes = _mixed([p.slopes for p in parts if p.slopes is not None], weights, population)
    motion = tuple(p.motion for p in parts if p.motion is not None)
    return Evaluation(population, -2.0 * whole, modes_all, weights, slopes, motion, blunt)


def _mixed(parts: list[Slopes], weights: Array, population: Population) -> Slopes:
    w = weights.T
    return Slopes(
        np.concatenate([p.mean * w[c][None, :, None] for c, p in enumerate(parts)]),
        np.asarray(sum(p.omega * w[c][:, None, None] for c, p in enumerate(parts))),
        np.asarray(sum(p.gamma * w[c][:, None, None] for c, p in enumerate(parts))),
        np.asarray(sum(p.errors * w[c][:, None] for c, p in enumerate(parts))),
        -2.0 * weights / population.shares,
    )


@dataclass(frozen=True)
class OneClass:
    """Objective (N,) and what belongs to it of one class; ``blunt`` (N,): where the Hessian was raised."""

    objective: Array
    modes: Modes
    slopes: Slopes | None
    motion: Motion | None
    blunt: Bools


@dataclass(frozen=True)
class Around:
    """Everything at the modes of one class. ``load``: (Q, D). ``jb``: (M, R, D) derivatives of predictors by b.

    ``twice``: second derivatives, (M, R, Q, D); ``bb``: those by b twice, (M, R, D, D).
    """

    frame: Frame
    at: Predicted
    rows: RowTerms
    load: Array
    jb: Array
    phi: Array
    step: Array
    prior: Array
    twice: Array
    bb: Array
    bend: Bends


def _class(
    bound: Bound, population: Population, c: int, modes: Modes, accuracy: Accuracy, laplace: bool, gradient: bool
) -> OneClass:  # fmt: skip
    d, prior = bound.size, prior_precision(bound, population)[0]
    flat = raised(modes.precision, np.broadcast_to(prior, modes.precision.shape))
    if not (laplace or gradient):
        return OneClass(-2.0 * modes.log_joint - d * LOG_2PI + flat.log_det, modes, None, None, flat.blunt)
    look = _around(bound, population, c, modes, accuracy)
    exact = _hessian(look)
    # Beside the information, or beside the prior where that is not positive enough, either.
    beside = np.where(flat.blunt[:, None, None], look.prior, modes.precision)
    got = raised(exact, beside) if laplace else flat
    objective = -2.0 * modes.log_joint - d * LOG_2PI + got.log_det
    if not gradient:
        return OneClass(objective, modes, None, None, got.blunt)
    by_phi, by_errors = (_laplace_part if laplace else _focei_part)(look, got.by_matrix, accuracy)
    if laplace and got.blunt.any():
        by_information = np.where(flat.blunt[:, None, None], 0.0, got.by_reference)
        more = _focei_part(look, by_information, accuracy)
        by_phi, by_errors = by_phi + more[0], by_errors + more[1]
    # Sigma^-1 is part of H, and of what it is raised beside.
    slopes, motion = _assembled(bound, look, modes, exact, got.by_matrix + got.by_reference, by_phi, by_errors)
    return OneClass(objective, modes, slopes, motion, got.blunt)


def _around(bound: Bound, population: Population, c: int, modes: Modes, accuracy: Accuracy) -> Around:
    frame = make_frame(bound, bound.everyone)
    phi = phi_of(bound, means(bound, population, c), modes.mode)
    with np.errstate(all="ignore"):
        at = predict(bound, phi, frame.chosen)
        rows = row_terms(frame, population, at.u)
        load = bound.flat_loading
        spread_b = np.sqrt(np.diag(covariance(bound, population)))
        step = steps_of_b(bound, phi, spread_b, accuracy.step)
        twice = second_derivatives(frame, phi, step)
        bb = np.swapaxes(twice, 2, 3) @ load
        bend = bends(frame, population, at.u, rows)
    prior, _ = prior_precision(bound, population)
    return Around(frame, at, rows, load, at.jac @ load, phi, step, prior, twice, 0.5 * (bb + np.swapaxes(bb, 2, 3)),
                  bend)  # fmt: skip


def _hessian(a: Around) -> Array:
    """Exact Hessian of -J by b at the modes, (M, D, D)."""
    out = -np.swapaxes(a.jb, 1, 2) @ (a.bend.second[..., None] * a.jb)
    return np.asarray(out - np.einsum("mr,mrde->mde", a.rows.slope, a.bb) + a.prior)


def _focei_part(a: Around, inverse: Array, accuracy: Accuracy) -> tuple[Array, Array]:
    """Derivatives of ln det H by ``phi`` (M, Q) and by error parameters (M, K), at fixed modes."""
    solved = a.jb @ inverse
    size = (solved * a.jb).sum(axis=2)
    by_phi = np.einsum("mr,mrq->mq", a.bend.information_u * size, a.at.jac)
    by_phi += 2.0 * np.einsum("mrd,mrqd->mq", a.rows.information[..., None] * solved, a.twice)
    return by_phi, sum_errors(a.frame, a.bend.information_e * size[..., None])


def _laplace_part(a: Around, inverse: Array, accuracy: Accuracy) -> tuple[Array, Array]:
    """The same where H is the exact Hessian."""
    solved = a.jb @ inverse
    size = (solved * a.jb).sum(axis=2)
    curved = np.einsum("mde,mrde->mr", inverse, a.bb)
    by_phi = np.einsum("mr,mrq->mq", a.bend.third * size + a.bend.second * curved, a.at.jac)
    by_phi += 2.0 * np.einsum("mrd,mrqd->mq", a.bend.second[..., None] * solved, a.twice)
    roots = np.asarray(np.linalg.cholesky(inverse), dtype=np.float64)
    # Steps along the directions of the posterior, bounded in the units of the parameters.
    longest = np.abs(roots).max(axis=(1, 2), initial=1e-12)
    step = (accuracy.step2 * np.maximum(a.step.max(axis=1, initial=0.0) / accuracy.step, 1e-12) / longest)[:, None]
    with np.errstate(all="ignore"):
        third = second_derivatives(a.frame, a.phi, step, roots, a.at)
    by_phi += np.einsum("mr,mrqk->mq", a.rows.slope, third)
    by_errors = a.bend.second_e * size[..., None] + a.bend.slope_e * curved[..., None]
    return -by_phi, -sum_errors(a.frame, by_errors)


def _assembled(
    bound: Bound, a: Around, modes: Modes, exact: Array, inverse: Array, by_phi: Array, by_errors: Array
) -> tuple[Slopes, Motion]:  # fmt: skip
    """The total derivative: fixed mode, determinant, and the motion of the mode (adjoint u)."""
    n, o, p = a.phi.shape
    u = _solve(exact, by_phi @ a.load)
    along = (a.jb * u[:, None, :]).sum(axis=2)
    phi = by_phi + np.einsum("mr,mrq->mq", a.bend.second * along - 2.0 * a.rows.slope, a.at.jac)
    phi += np.einsum("mr,mrq->mq", a.rows.slope, (a.twice @ u[:, None, :, None])[..., 0])
    errors = by_errors + sum_errors(a.frame, a.bend.slope_e * along[..., None] - 2.0 * a.rows.errors)
    pull = modes.mode @ a.prior
    turn = u @ a.prior
    sigma = a.prior - pull[:, :, None] * pull[:, None, :] - a.prior @ inverse @ a.prior
    sigma = sigma + 0.5 * (turn[:, :, None] * pull[:, None, :] + pull[:, :, None] * turn[:, None, :])
    d, k = len(bound.model.varying), len(bound.model.occasional)
    gamma = np.zeros((n, k, k))
    for place in range(o if k else 0):
        at = slice(d + place * k, d + (place + 1) * k)
        gamma += sigma[:, at, at]
    mean = phi.reshape(n, o, p).sum(axis=1)
    slopes = Slopes(mean[None], sigma[:, :d, :d], gamma, errors, np.ones((n, 1)))
    crossed = np.swapaxes(a.jb, 1, 2) @ (a.bend.second[..., None] * a.at.jac)
    crossed += np.einsum("mr,mrqd->mdq", a.rows.slope, a.twice)
    by_mean = crossed.reshape(n, bound.size, o, p).sum(axis=2)
    moved = [sum_errors(a.frame, a.bend.slope_e * a.jb[:, :, e, None]) for e in range(bound.size)]
    moved_errors = np.stack(moved, axis=1) if moved else np.zeros((n, 0, errors.shape[1]))
    return slopes, Motion(exact, by_mean, moved_errors, pull, a.prior)


def _solve(matrix: Array, right: Array) -> Array:
    """Solutions of many small systems; least squares where one is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(matrix) @ right[..., None])[..., 0])
