"""The M-step of SAEM: population parameters from stochastically averaged statistics.

Coefficients by generalised least squares (ridge where a prior is declared), Omega and Gamma in closed form (block by
block; half-normal priors of SDs by the quadratic matrix equation they lead to), one-parameter errors in closed form.
What has no closed form takes one Newton step on the score of the complete data at the chains' present places: error
parameters with censoring, of combined errors, of outcomes and batches, and typical values that do not vary. Its
information is averaged over iterations; with the gains of Robbins and Monro the score is zero where it ends, so that
nothing is biased by maximising over single draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.population.fit.evaluator import Evaluator
from icans.population.fit.kernels import Chains, Target
from icans.population.fit.latent import Latent
from icans.population.nlme.likelihood import local
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population, block_places
from icans.population.nlme.records import QUANTIFIED

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Longest step of a logarithm or logit, and of another number as a part of itself.
LONGEST = 0.5
#: Part of the declared variance below which a variance does not fall (it is reported as gone to zero long before).
FLOOR = 1e-6
#: Damping of Newton steps of error parameters; how often a step that lowers the likelihood is halved.
DAMPING, HALVINGS = 0.01, 6


@dataclass
class Moments:
    """Averages over chains of N subjects. ``weight`` (C, N): of classes; ``first`` (C, N, D): of v in them; ``second``
    (N, D, D): of v v'; ``squares`` (observables,): of squared standardised residuals times their variance factor;
    ``errors`` (K, K) and ``still`` (Q, Q): information for Newton steps.
    """

    weight: Array
    first: Array
    second: Array
    squares: Array
    errors: Array
    still: Array

    def towards(self, new: Moments, gain: float) -> Moments:
        """A step of stochastic approximation."""
        if gain == 1.0:
            return new
        names = ("weight", "first", "second", "squares", "errors", "still")
        return Moments(**{n: getattr(self, n) + gain * (getattr(new, n) - getattr(self, n)) for n in names})


@dataclass(frozen=True)
class Plan:
    """What the M-step does with which parameter. ``exact``: observables whose one error parameter has a closed form,
    with its place; ``newton``: places of error parameters moved by Newton steps; ``still``: free coefficients of
    parameters that are not sampled; ``omega``, ``gamma``: free blocks; ``omega_prior``, ``gamma_prior``: scales.
    """

    exact: tuple[tuple[int, int], ...]
    rows: Ints
    newton: Ints
    positive: npt.NDArray[np.bool_]
    still: Ints
    omega: tuple[tuple[int, ...], ...]
    gamma: tuple[tuple[int, ...], ...]
    omega_prior: Array
    gamma_prior: Array
    occasions: int
    floor: Array
    floor_gamma: Array


def make_plan(latent: Latent, evaluator: Evaluator) -> Plan:
    """The plan for a bound model."""
    bound = latent.bound
    model, rows = bound.model, bound.rows
    exact, newton = [], []
    for k, o in enumerate(model.observed):
        own = [int(j) for j in bound.own[k] if not bound.layout[j].fixed]
        simple = isinstance(o, Observation) and o.error in ("additive", "proportional", "lognormal") and not o.batches
        if simple and evaluator.fast and bool((rows.role[rows.observed == k] == QUANTIFIED).all()):
            exact += [(k, j) for j in own]
        else:
            newton += own
    counts = np.array([((rows.observed == k) & (rows.role == QUANTIFIED)).sum() for k in range(len(model.observed))])
    scales = [
        np.array([model.parameters[p].iiv_prior or np.inf for p in order])
        for order in (model.varying, model.occasional)
    ]
    d = len(model.varying)
    own_occasions = int(latent.active[:, d:].sum() // max(1, len(model.occasional)))
    return Plan(
        tuple(exact), counts, np.array(newton, dtype=np.int64),
        np.array([bound.layout[j].positive for j in newton], dtype=bool),
        np.flatnonzero(latent.free & ~latent.inside), block_places(model), block_places(model, occasions=True),
        scales[0], scales[1], own_occasions, FLOOR * np.array([model.parameters[p].iiv ** 2 for p in model.varying]),
        FLOOR * np.array([model.parameters[p].iov ** 2 for p in model.occasional]),
    )  # fmt: skip


# --- what the chains say -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """Newton directions of this iteration: scores of error parameters (in their moving scale) and of coefficients.

    ``height``: log-likelihood of the chains' present places as a function of the error parameters.
    """

    errors: Array
    still: Array
    height: Callable[[Array], float] | None = None


def observe(target: Target, chains: Chains, probability: Array, plan: Plan) -> tuple[Moments, Steps]:
    """Moments of the present places, and scores for Newton steps; both per chain (averages over chains)."""
    n, d = len(target.latent.bound), chains.v.shape[1]
    repeats = len(chains.v) // n
    v = chains.v.reshape(repeats, n, d)
    if target.single:
        weight, first = np.ones((1, n)), v.mean(axis=0)[None]
    else:
        p = probability.reshape(repeats, n, -1)
        weight = p.mean(axis=0).T
        first = np.einsum("rnc,rnd->cnd", p, v) / repeats
    w = np.swapaxes(v, 0, 1)
    second = np.swapaxes(w, 1, 2) @ w / repeats
    squares, error_score, error_info = _errors(target, chains, plan, repeats)
    still_score, still_info = _still(target, chains, plan, repeats)
    moments = Moments(weight, first, second, squares, error_info, still_info)

    def height(errors: Array) -> float:
        there = replace(target.population, errors=errors)
        return float(target.evaluator.log_likelihood(there, target.phi(chains.v, chains.z), chains.f).sum())

    return moments, Steps(error_score, still_score, height)


def _errors(target: Target, chains: Chains, plan: Plan, repeats: int) -> tuple[Array, Array, Array]:
    """Sums of squared residuals (times the present variance factor), score and information of error parameters."""
    population, evaluator = target.population, target.evaluator
    phi = target.phi(chains.v, chains.z)
    got = evaluator.scores(population, phi, chains.f)
    squares = np.zeros(len(plan.rows))
    for k, j in plan.exact:
        assert got.squares is not None
        squares[k] = got.squares[k] * population.errors[j] ** 2 / repeats
    if len(plan.newton) == 0:
        return squares, np.zeros(0), np.zeros((0, 0))
    factor = np.where(plan.positive, population.errors[plan.newton], 1.0)
    score = got.score[:, plan.newton].sum(axis=0) * factor
    if got.information is not None:
        info = got.information[np.ix_(plan.newton, plan.newton)] * np.outer(factor, factor)
    else:
        info = _differenced(evaluator, population, phi, chains.f, plan, score)
    return squares, score / repeats, info / repeats


def _differenced(
    evaluator: Evaluator, population: Population, phi: Array, f: Array, plan: Plan, score: Array
) -> Array:  # fmt: skip
    """Minus the Hessian by differences of the score, made positive by the absolute values of its eigenvalues."""
    out = np.empty((len(score), len(score)))
    for column, j in enumerate(plan.newton):
        step = 1e-4
        errors = population.errors.copy()
        errors[j] = errors[j] * np.exp(step) if plan.positive[column] else errors[j] + step
        there = replace(population, errors=errors)
        factor = np.where(plan.positive, errors[plan.newton], 1.0)
        out[column] = (score - evaluator.scores(there, phi, f).score[:, plan.newton].sum(axis=0) * factor) / step
    value, vector = np.linalg.eigh(0.5 * (out + out.T))
    value = np.maximum(np.abs(value), 1e-8 * max(np.abs(value).max(initial=0.0), 1e-8))
    return np.asarray((vector * value) @ vector.T)


def _still(target: Target, chains: Chains, plan: Plan, repeats: int) -> tuple[Array, Array]:
    """Score and Gauss-Newton information of coefficients of parameters that are not sampled."""
    if len(plan.still) == 0:
        return np.zeros(0), np.zeros((0, 0))
    by, load = still_scores(target, chains, plan.still)
    return by.sum(axis=0) / repeats, load / repeats


def still_scores(target: Target, chains: Chains, which: Ints) -> tuple[Array, Array]:
    """Derivatives of every chain's log-likelihood by the coefficients ``which``, (M, Q); their information (Q, Q)."""
    latent, who = target.latent, target.who
    with np.errstate(all="ignore"):
        here = local(latent.bound, target.population, target.phi(chains.v, chains.z), target.evaluator.chosen)
    m, o, p = here.score.shape
    # What a unit of each coefficient adds to phi of a chain, the same on all occasions: (M, P, Q).
    add = np.zeros((m, p, len(which)))
    for column, q in enumerate(which):
        x = latent.bound.design[who, latent.covariate[q]] if latent.covariate[q] >= 0 else np.ones(m)
        if latent.classes[q] > 0:
            x = x * (chains.z == latent.classes[q])
        add[:, latent.owner[q], column] = x
    score = np.einsum("mop,mpq->mq", here.score, add)
    info = here.information.reshape(m, o, p, o, p).sum(axis=(1, 3))
    return score, np.einsum("mpa,mpq,mar->qr", info, add, add, optimize=True)


# --- maximisation ------------------------------------------------------------------------------------------------


def maximise(
    latent: Latent, plan: Plan, population: Population, moments: Moments, steps: Steps, gain: float
) -> Population:  # fmt: skip
    """The next population."""
    precision = latent.precision(population)
    theta = regress(latent, moments, precision, latent.theta(population))
    new = latent.with_theta(population, theta)
    if latent.active.shape[1]:
        new = _covariances(latent, plan, new, moments)
    if len(new.shares) > 1:
        shares = np.maximum(moments.weight.mean(axis=1), 1e-6)
        new = replace(new, shares=shares / shares.sum())
    errors = new.errors.copy()
    for k, j in plan.exact:
        errors[j] = np.sqrt(max(moments.squares[k] / max(plan.rows[k], 1), 1e-300))
    if len(plan.newton):
        _newton_errors(latent, plan, errors, moments, steps, gain)
    new = replace(new, errors=errors)
    if len(plan.still):
        new = latent.with_theta(new, _newton_still(latent, plan, latent.theta(new), moments, steps, gain))
    return new


def regress(latent: Latent, moments: Moments, precision: Array, theta: Array) -> Array:
    """Coefficients by generalised least squares with their priors; what is fixed or not sampled stays."""
    free = np.flatnonzero(latent.free & latent.inside)
    if len(free) == 0:
        return theta
    if latent.simple:
        out = theta.copy()
        out[latent.rows] = moments.first[0].mean(axis=0)
        return out
    q = latent.design.shape[3]
    normal, right = np.zeros((q, q)), np.zeros(q)
    for c, design in enumerate(latent.design):
        pulled = precision @ design
        weighted = design * moments.weight[c][:, None, None]
        normal += weighted.reshape(-1, q).T @ pulled.reshape(-1, q)
        right += pulled.reshape(-1, q).T @ moments.first[c].reshape(-1)
    held = np.setdiff1d(np.flatnonzero(latent.inside), free)
    target = right[free] - normal[np.ix_(free, held)] @ theta[held]
    matrix = normal[np.ix_(free, free)].copy()
    for place, prior in latent.priors.items():
        at = np.flatnonzero(free == place)
        matrix[at, at] += prior.sd**-2
        target[at] += prior.mean * prior.sd**-2
    out = theta.copy()
    # Least squares: a coefficient without any information (a covariate that is constant) stays where it is.
    out[free] += np.linalg.lstsq(matrix, target - matrix @ theta[free], rcond=1e-12)[0]
    return out


def residual_second(latent: Latent, moments: Moments, means: Array) -> Array:
    """Second moments of b = v - mean, summed over classes: (N, D, D)."""
    out = moments.second.copy()
    for c, mean in enumerate(means):
        crossed = mean[:, :, None] * moments.first[c][:, None, :]
        weighted = mean * moments.weight[c][:, None]
        out += weighted[:, :, None] * mean[:, None, :] - crossed - np.swapaxes(crossed, 1, 2)
    return out


def _covariances(latent: Latent, plan: Plan, population: Population, moments: Moments) -> Population:
    d, k = population.omega.shape[0], population.gamma.shape[0]
    total = residual_second(latent, moments, latent.mean(population)).sum(axis=0)
    omega, gamma = population.omega.copy(), population.gamma.copy()
    alone = [b[0] for b in plan.omega if len(b) == 1 and np.isinf(plan.omega_prior[b[0]])]
    if alone:
        omega[alone, alone] = np.maximum(total[alone, alone] / len(latent.bound), plan.floor[alone])
    for b in [b for b in plan.omega if b[0] not in alone]:
        omega[np.ix_(b, b)] = _block(total[np.ix_(b, b)], len(latent.bound), plan.omega_prior[list(b)],
                                     plan.floor[list(b)])  # fmt: skip
    if k:
        over = sum(total[d + o * k : d + (o + 1) * k, d + o * k : d + (o + 1) * k]
                   for o in range(latent.bound.occasions))  # fmt: skip
        for b in plan.gamma:
            gamma[np.ix_(b, b)] = _block(np.asarray(over)[np.ix_(b, b)], plan.occasions, plan.gamma_prior[list(b)],
                                         plan.floor_gamma[list(b)])  # fmt: skip
    return replace(population, omega=omega, gamma=gamma)


def _block(total: Array, count: int, scale: Array, floor: Array) -> Array:
    """Covariance from a sum of squares: the maximum of its penalised likelihood.

    With half-normal priors (scales s) the maximum solves ``n W + W D W = S``, D = diag(1 / s^2): in the coordinates of
    D a quadratic equation of each eigenvalue.
    """
    total = 0.5 * (total + total.T)
    if np.isinf(scale).all():
        out = total / count
    else:
        root = 1.0 / np.where(np.isinf(scale), 1e6 * np.sqrt(np.diag(total) / count + 1e-300), scale)
        value, vector = np.linalg.eigh(total * np.outer(root, root))
        value = 2.0 * np.maximum(value, 0.0) / (count + np.sqrt(count**2 + 4.0 * np.maximum(value, 0.0)))
        out = (vector * value) @ vector.T / np.outer(root, root)
    value, vector = np.linalg.eigh(out)
    if value[0] <= 1e-10 * value[-1] or (np.diag(out) < floor).any():
        out = out + np.diag(np.maximum(floor, 1e-9 * np.diag(out)))
    return np.asarray(out)


def _newton_errors(
    latent: Latent, plan: Plan, errors: Array, moments: Moments, steps: Steps, gain: float
) -> None:  # fmt: skip
    layout, model = latent.bound.layout, latent.bound.model
    score, info = steps.errors.copy(), moments.errors.copy()
    longest = np.full(len(plan.newton), LONGEST)
    for place, j in enumerate(plan.newton):
        what = model.observed[layout[j].observed]
        if layout[j].field == "batch" and isinstance(what, Observation):
            score[place] -= errors[j] / what.batch_sd**2
            info[place, place] += what.batch_sd**-2
        if not plan.positive[place]:
            longest[place] *= max(abs(errors[j]), 1.0)
    # a and b of a combined error may be all but exchangeable: a little damping, and a step that keeps its direction.
    step = gain * solve_scaled(info + DAMPING * np.diag(np.diag(info)), score)
    step *= min(1.0, float(np.min(longest / np.maximum(np.abs(step), 1e-300))))
    before = errors.copy()
    for _ in range(HALVINGS):
        moved = np.where(plan.positive, before[plan.newton] * np.exp(step), before[plan.newton] + step)
        errors[plan.newton] = moved
        _keep_order(latent, plan, errors)
        if gain < 1.0 or steps.height is None or steps.height(errors) >= steps.height(before):
            return
        step *= 0.5
    errors[:] = before


def _keep_order(latent: Latent, plan: Plan, errors: Array) -> None:
    """Cuts stay ascending: where a step crossed them they are put a little apart."""
    layout = latent.bound.layout
    for j in plan.newton:
        if layout[j].field == "cut" and layout[j].place > 0 and errors[j] <= errors[j - 1]:
            errors[j] = errors[j - 1] + 1e-3


def _newton_still(
    latent: Latent, plan: Plan, theta: Array, moments: Moments, steps: Steps, gain: float
) -> Array:  # fmt: skip
    score, info = steps.still.copy(), moments.still.copy()
    longest = np.full(len(plan.still), LONGEST)
    for place, q in enumerate(plan.still):
        prior = latent.priors.get(int(q))
        if prior is not None:
            score[place] -= (theta[q] - prior.mean) / prior.sd**2
            info[place, place] += prior.sd**-2
        if latent.bound.model.parameters[latent.owner[q]].scale.kind in ("normal", "boxcox"):
            longest[place] *= max(abs(theta[q]), 1e-12)
    step = gain * solve_scaled(info, score)
    out = theta.copy()
    out[plan.still] += step * min(1.0, float(np.min(longest / np.maximum(np.abs(step), 1e-300))))
    return out


def solve_scaled(matrix: Array, right: Array) -> Array:
    """Solution of a positive system in the scale of its diagonal; directions without information do not move."""
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    size = np.where(size > 0.0, size, 1.0)
    scaled = matrix / np.outer(size, size)
    return np.asarray(np.linalg.lstsq(scaled, right / size, rcond=1e-10)[0] / size)


# --- simulated annealing -----------------------------------------------------------------------------------------


def annealed(plan: Plan, before: Population, after: Population, rate: float) -> Population:
    """Variances and residual SDs that do not fall faster than ``rate`` an iteration (Monolix and saemix do so)."""
    errors = after.errors.copy()
    for j in [j for _, j in plan.exact] + [int(j) for j, p in zip(plan.newton, plan.positive, strict=True) if p]:
        errors[j] = max(errors[j], rate**0.5 * before.errors[j])
    return replace(
        after, omega=_slowly(before.omega, after.omega, rate, plan.omega),
        gamma=_slowly(before.gamma, after.gamma, rate, plan.gamma), errors=errors,
    )  # fmt: skip


def _slowly(before: Array, after: Array, rate: float, blocks: tuple[tuple[int, ...], ...]) -> Array:
    out = after.copy()
    alone = [b[0] for b in blocks if len(b) == 1]
    out[alone, alone] = np.maximum(rate * before[alone, alone], after[alone, alone])
    for b in [b for b in blocks if len(b) > 1]:
        at = np.ix_(b, b)
        size = np.diag(after[at])
        grow = np.sqrt(np.maximum(rate * np.diag(before[at]), size) / size)
        out[at] = after[at] * np.outer(grow, grow)
    return out
