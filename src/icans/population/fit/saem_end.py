"""After SAEM's iterations: draws at the estimates, for conditional means and SDs and for standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.population.fit.kernels import Target, draw_classes
from icans.population.fit.louis import KEPT, Gathered, gather, information, score_information
from icans.population.fit.priors import log_prior
from icans.population.fit.result import RandomEffects
from icans.population.fit.saem_loop import Run, State, lay_modes, sweep
from icans.population.fit.saem_step import observe
from icans.population.nlme.likelihood import covariance
from icans.population.nlme.population import Population

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Conditional:
    """What draws at the estimates gave: random effects, class probabilities (C, N), sums for standard errors."""

    effects: RandomEffects
    classes: Array
    gathered: Gathered
    target: Target
    score: Array
    acceptance: dict[str, Array]


def conditional(run: Run, state: State, population: Population) -> Conditional:
    """Go on sampling at the estimates: ``settings.final`` iterations after a tenth as many that are thrown away."""
    target = Target(run.latent, run.evaluator, population)
    chains, tuning, rng = state.chains, state.tuning, state.rng
    run_still = bool(run.latent.classes[~run.latent.inside].any())
    chains.f, chains.ll = target.look(chains.v, chains.z)
    if run.laplace:
        lay_modes(run, state, population)
    tuning.rates = {}
    gathered = gather(population, run.pack, run.plan.still, target)
    settings = run.settings
    final = max(settings.final, 1)
    every = max(1, final // KEPT)
    for k in range(-(final // 10), final):
        sweep(run, target, chains, tuning, rng, max(k, 0) + 11)
        probability = draw_classes(target, chains, run_still, rng)
        if k >= 0:
            moments, _ = observe(target, chains, probability, run.plan)
            gathered.take(target, chains, moments, k % every == 0)
    assert gathered.moments is not None
    moments = gathered.moments
    mean_v = moments.first.sum(axis=0)
    spread = moments.second - mean_v[:, :, None] * mean_v[:, None, :]
    best = np.argmax(moments.weight, axis=0)
    b = mean_v - target.means[best, np.arange(len(best))]
    absent = ~run.latent.active
    prior = covariance(run.bound, population)
    either = absent[:, :, None] | absent[:, None, :]
    cov = np.where(either, prior[None], spread)
    own = RandomEffects(b, _at_least(cov, prior), "mean")
    assert gathered.first is not None
    return Conditional(own, moments.weight, gathered, target, gathered.first.sum(axis=0), dict(tuning.rates))


def _at_least(cov: Array, prior: Array) -> Array:
    """Covariances kept positive (a chain that never moved has none)."""
    if cov.shape[1] == 0:
        return cov
    return np.asarray(0.5 * (cov + np.swapaxes(cov, 1, 2)) + 1e-6 * np.diag(np.diag(prior)))


FROM_LINEARISED = (
    "The information from draws is not positive: standard errors are from the linearised likelihood. Raise `final` "
    "(draws at the estimates), or look for parameters that the data do not determine."
)
#: The shortest Newton step that is worth while and the longest that is taken, in standard errors; draws that a score
#: must have.
SHORTEST, LONGEST, DRAWS = 0.1, 1.0, 40


def polished(run: Run, state: State, population: Population) -> tuple[Population, Conditional]:
    """Draws at the estimates, moved by Newton steps on the averaged score where that is not yet zero.

    EM, and SAEM with it, creeps in directions in which the missing data carry most of the information (the share of a
    variance between patients and between occasions). At the estimates both the score and the information are known
    from the same draws, so that the rest of the way is one step (Le Cam's one-step estimator).
    """
    last = conditional(run, state, population)
    for _ in range(run.settings.polish if run.settings.final >= DRAWS else 0):
        if len(run.pack) == 0:
            break
        cov = inverted(information(last.target, last.gathered))
        cov = linearised(run, population, last.effects) if cov is None else cov
        if cov is None:
            break
        step = cov @ total_score(run, last)
        length = float(np.max(np.abs(step) / np.sqrt(np.diag(cov))))
        if length < SHORTEST:
            break
        population = run.pack.unpack(run.pack.pack(population) + min(1.0, LONGEST / length) * step)
        last = conditional(run, state, population)
    return population, last


def total_score(run: Run, last: Conditional) -> Array:
    """Derivatives of the log-likelihood and of the priors by the packed estimates, (K,)."""
    population = last.gathered.population
    prior = log_prior(run.bound.model, population).by
    return np.asarray(last.score + run.pack.gradient(run.pack.pack(population), prior))


def uncertainty(run: Run, last: Conditional, population: Population) -> tuple[Array | None, str, list[str]]:
    """Covariance of the packed estimates, how it was got, and what is to be said of it."""
    wanted = run.settings.standard_errors
    if wanted == "none" or len(run.pack) == 0:
        return None, "", []
    told: list[str] = []
    if wanted == "louis":
        cov = inverted(information(last.target, last.gathered))
        if cov is not None:
            return cov, "Louis", []
        told = [FROM_LINEARISED]
    cov = linearised(run, population, last.effects)
    if cov is not None:
        return cov, "linearised", told
    cov = inverted(score_information(last.gathered)) if len(run.bound) > len(run.pack) else None
    if cov is not None:
        told = ["Standard errors are from squares of the subjects' scores: other information was not positive. Look "
                "for parameters that the data do not determine (large relative standard errors)."]  # fmt: skip
        return cov, "scores", told
    return None, "", ["No standard errors: the information is not positive. Fix or remove parameters that the data do "
                      "not determine, or use a bootstrap."]  # fmt: skip


def linearised(run: Run, population: Population, effects: RandomEffects) -> Array | None:
    """Inverse of half the Hessian of the linearised (FOCEI) objective, by differences of its exact gradient."""
    from icans.population.fit.focei_objective import accuracy_for, evaluate

    bound, pack = run.bound, run.pack
    vector, accuracy = pack.pack(population), accuracy_for(bound)
    here = evaluate(bound, population, accuracy)
    step = max(1e-4, 10.0 * accuracy.step)

    def slope(x: Array) -> Array:
        there = pack.unpack(x)
        one = evaluate(bound, there, accuracy, near=here)
        assert one.slopes is not None
        return pack.gradient(x, one.slopes.total(bound)) - 2.0 * pack.gradient(x, log_prior(bound.model, there).by)

    hessian = np.empty((len(pack), len(pack)))
    for j in range(len(pack)):
        away = np.zeros(len(pack))
        away[j] = step
        hessian[j] = (slope(vector + away) - slope(vector - away)) / (2.0 * step)
    return inverted(0.25 * (hessian + hessian.T))


def inverted(matrix: Array) -> Array | None:
    """The inverse of a positive matrix, None if it is not positive."""
    if not np.isfinite(matrix).all() or (np.diag(matrix) <= 0.0).any():
        return None
    size = np.sqrt(np.diag(matrix))
    value, vector = np.linalg.eigh(matrix / np.outer(size, size))
    if value[0] <= 1e-8:
        return None
    return np.asarray((vector / value) @ vector.T / np.outer(size, size))
