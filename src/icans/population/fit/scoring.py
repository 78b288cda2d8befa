"""The expected information on the population's parameters: the metric of the first step of a fit.

Around each subject's mode the observations are taken as normal with the information W of their rows on the predictors
(Gauss-Newton). With J the derivatives of the predictors by the individual parameters and Sigma the covariance of the
random effects, the marginal precision of the predictors is ``V^-1 = W - W J (J'WJ + Sigma^-1)^-1 J'W`` and the expected
information of a normal vector gives, for means and covariances,

    ``I_mean = J' V^-1 J``,   ``I_cov(j, k) = tr(S dSigma_j S dSigma_k) / 2`` with ``S = J' V^-1 J`` in the effects.

A step in this metric is one of Fisher scoring (Jennrich and Sampson 1976, Technometrics 18:11,
doi 10.1080/00401706.1976.10489395); the sum of products of scores, which stands in for what has no such form (cuts,
slopes, shares), needs many more subjects than parameters before it says as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.population.fit.focei_rows import make_frame, predict, row_terms
from icans.population.fit.modes import Modes, prior_precision
from icans.population.nlme.likelihood import Bound, covariance, means, phi_of
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population

if TYPE_CHECKING:
    from icans.population.fit.ascend import Point
    from icans.population.fit.focei import Objective
    from icans.population.fit.focei_objective import Evaluation

Array = npt.NDArray[np.float64]

#: Step of the differences by which packed numbers move means and covariances.
STEP = 1e-5


def expected_information(objective: Objective, point: Point[Evaluation]) -> Array:
    """About the Hessian of -2 log-likelihood by the packed vector at a point, positive semidefinite; (L, L)."""
    bound, got, x = objective.bound, point.extra, point.x
    size = len(x)
    sides = [tuple(objective.pack.unpack(x + s * STEP * np.eye(size)[j]) for s in (1.0, -1.0)) for j in range(size)]
    turns = np.stack([(covariance(bound, u) - covariance(bound, v)) / (2.0 * STEP) for u, v in sides])
    out, own = np.zeros((size, size)), np.zeros(len(bound.layout))
    for c, modes in enumerate(got.modes):
        on_means, on_effects, on_errors = _class(bound, got.population, c, modes, got.weights[:, c])
        moves = np.stack([(means(bound, u, c) - means(bound, v, c)) / (2.0 * STEP) for u, v in sides])
        out += 2.0 * np.einsum("jnp,npq,knq->jk", moves, on_means, moves, optimize=True)
        bent = got.weights[:, c, None, None] ** 0.5 * on_effects
        turned = bent[None] @ turns[:, None]
        out += np.einsum("jnde,kned->jk", turned, turned, optimize=True)
        own += on_errors
    by_errors = np.stack([(u.errors - v.errors) / (2.0 * STEP) for u, v in sides])
    at, place = np.nonzero(by_errors)
    for j, k in zip(at, place, strict=True):
        out[j, j] += 2.0 * own[k] * (by_errors[j, k] / got.population.errors[k]) ** 2 if own[k] > 0.0 else 0.0
    bare = np.diag(out) <= 0.0
    if bare.any():
        # Scores are of -2 ln L: the sum of their products over 2 estimates its Hessian.
        scores = objective.subject_gradients(point)[:, bare]
        out[np.ix_(bare, bare)] = 0.5 * scores.T @ scores
    return out


def _class(bound: Bound, population: Population, c: int, modes: Modes, weight: Array) -> tuple[Array, Array, Array]:
    """Information on the means (N, P, P), weighted; on the effects (N, D, D); on logarithms of SDs of errors (K,)."""
    frame = make_frame(bound, bound.everyone)
    with np.errstate(all="ignore"):
        phi = phi_of(bound, means(bound, population, c), modes.mode)
        at = predict(bound, phi, frame.chosen)
        w = np.maximum(np.nan_to_num(row_terms(frame, population, at.u).information), 0.0)
    jb = at.jac @ bound.flat_loading
    prior, _ = prior_precision(bound, population)
    weighed, weighed_b = np.swapaxes(at.jac, 1, 2) * w[:, None, :], np.swapaxes(jb, 1, 2) * w[:, None, :]
    crossed, inner = weighed @ jb, weighed_b @ jb
    inverse = np.linalg.inv(inner + prior)
    whole = weighed @ at.jac - crossed @ inverse @ np.swapaxes(crossed, 1, 2)
    n, o, p = phi.shape
    on_means = whole.reshape(n, o, p, o, p).sum(axis=(1, 3)) * weight[:, None, None]
    taken = w * ((jb @ inverse) * jb).sum(axis=2)
    on_errors = np.zeros(len(bound.layout))
    for k, (what, own) in enumerate(zip(bound.model.observed, bound.own, strict=True)):
        if isinstance(what, Observation):
            rows = frame.chosen.places[k]
            free = (1.0 - np.minimum(taken[rows], 1.0)) * weight[rows[0]]
            on_errors[[j for j in own if bound.layout[j].positive]] = 2.0 * free.sum()
    return on_means, inner - inner @ inverse @ inner, on_errors
