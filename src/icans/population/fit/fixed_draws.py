"""Maximum likelihood with the model solved at fixed draws only (Geyer and Thompson 1992, J R Stat Soc B 54:657).

Around every subject's mode random effects are drawn once and the structural model is solved there. The marginal
likelihood of *any* population is then a weighted mean over these draws: the population parameters are moved, and their
exact observed information computed, without solving again. When the population has moved, draws are laid anew (where
the weighted draws say the posterior is) and the search goes on: two or three rounds end it. Cheap where solving is
dear; it begins near the estimate (from SAEM, or from a truth that is to be recovered) and gives likelihood and
standard errors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.population.fit.evaluator import Evaluator
from icans.population.fit.modes import find_modes
from icans.population.fit.priors import log_prior, slopes_like
from icans.population.fit.result import Fit, RandomEffects
from icans.population.nlme.likelihood import Bound, bind, means, phi_of
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Packing, Population, packing, start
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Degrees of freedom and widening of the proposals; effective draws, as a multiple of the random effects, from which a
#: subject's draws are trusted to say where its posterior is.
DF, WIDER, TRUST = 6.0, 1.15, 3.0
#: Step of differences of the gradient, by the packed vector.
STEP = 1e-4
FEW = 10.0


@dataclass(frozen=True)
class DrawSettings:
    """``draws``: of a subject in the last round (earlier ones have half). ``rounds``: how often draws are laid.
    ``reach``: how far a packed number may move in a round. ``iterations``: of the search in a round.
    """

    draws: int = 200
    rounds: int = 2
    reach: float = 1.0
    iterations: int = 60
    mode_iterations: int = 15
    mode_tolerance: float = 1e-2


@dataclass(frozen=True)
class Laid:
    """Draws and what was solved at them: ``v`` (M, D) varying parameters on their scales, ``rest`` (N, P) the means
    they were laid with, ``f`` (M, R) outputs, ``log_q`` (M,).
    """

    evaluator: Evaluator
    phi: Array
    v: Array
    f: Array
    log_q: Array
    count: int


@dataclass(frozen=True)
class Looked:
    """Log-likelihood of the subjects (N,), weights of their draws (N, K), and slopes by natural values."""

    logp: Array
    weights: Array
    by: Population


def fit_fixed_draws(
    model: NlmeModel, records: Records, *, seed: int, begin: Population | None = None,
    settings: DrawSettings | None = None,
) -> Fit:  # fmt: skip
    """Fit from a population nearby.

    Raises
    ------
    ModelError
        Models with occasions, classes, or estimated parameters that do not vary (their typical values cannot be moved
        without solving); a start without a likelihood: all of them.
    """
    chosen = settings or DrawSettings()
    bound = bind(model, records)
    population = begin or start(model)
    _refuse(bound)
    pack = packing(model, population)
    centre, root, objective = None, None, []
    for r in range(chosen.rounds):
        count = chosen.draws if r == chosen.rounds - 1 else max(32, chosen.draws // 2)
        if centre is None or root is None:
            centre, root = _modes(bound, population, chosen)
        laid = lay(bound, population, centre, root, count, stream(seed, "fixed draws", r))
        if not np.isfinite(look(bound, laid, population).logp).all():
            raise ModelError(_lost(bound, look(bound, laid, population).logp))
        vector = _climb(bound, laid, pack, population, chosen)
        population = pack.unpack(vector)
        got = look(bound, laid, population)
        objective.append(-2.0 * float(got.logp.sum()))
        centre, root = _posterior(bound, laid, population, got, centre, root)
    return _finished(bound, laid, pack, population, got, objective, chosen, seed)


def _refuse(bound: Bound) -> None:
    model, problems = bound.model, []
    if model.mixture is not None or model.occasional:
        problems.append(Problem("model", None, "iov, mixture", "given", "neither", "Fit by SAEM or FOCEI."))
    for p, q in enumerate(model.parameters):
        moves = not q.fixed or any(e.parameter == q.name and not e.fixed for e in model.effects)
        if moves and p not in model.varying:
            remedy = "Let it vary, fix it, or fit by SAEM or FOCEI."
            problems.append(Problem("model", None, q.name, "no variability", "an SD above 0, or fixed", remedy))
    if problems:
        raise ModelError(problems)


def _lost(bound: Bound, logp: Array) -> list[Problem]:
    remedy = "Begin nearer to the estimate (SAEM), or look at units, doses and censoring."
    return [Problem(f"subject {bound.records.ids[i]}", None, "likelihood", "-inf", "a finite likelihood", remedy)
            for i in np.flatnonzero(~np.isfinite(logp))]  # fmt: skip


def _modes(bound: Bound, population: Population, chosen: DrawSettings) -> tuple[Array, Array]:
    modes = find_modes(bound, population, iterations=chosen.mode_iterations, tolerance=chosen.mode_tolerance,
                       restart=False)  # fmt: skip
    centre = means(bound, population)[:, list(bound.model.varying)] + modes.mode
    return centre, np.linalg.cholesky(modes.covariance)


def lay(bound: Bound, population: Population, centre: Array, root: Array, count: int, rng: np.random.Generator) -> Laid:
    """Draws of all subjects around ``centre`` (N, D) with roots of covariances (N, D, D), solved."""
    n, d = centre.shape
    half = rng.standard_normal((n, (count + 1) // 2, d))
    z = np.concatenate([half, -half], axis=1)[:, :count] * WIDER
    z /= np.sqrt(rng.chisquare(DF, (n, count, 1)) / DF)
    v = (centre[:, None] + np.einsum("nij,nkj->nki", root, z)).reshape(n * count, d)
    _, log_det = np.linalg.slogdet(root)
    size = (z * z).sum(axis=2) / WIDER**2
    log_q = (
        gammaln((DF + d) / 2) - gammaln(DF / 2) - 0.5 * d * np.log(DF * np.pi) - d * np.log(WIDER) - log_det[:, None]
        - 0.5 * (DF + d) * np.log1p(size / DF)
    )  # fmt: skip
    who = np.repeat(np.arange(n), count)
    evaluator = Evaluator(bound, who)
    mean = means(bound, population)
    phi = phi_of(bound, mean[who], v - mean[who][:, list(bound.model.varying)])
    return Laid(evaluator, phi, v, evaluator.outputs(phi), log_q.ravel(), count)


def look(bound: Bound, laid: Laid, population: Population) -> Looked:
    """The likelihood of a population from draws that are laid, with its gradient; nothing is solved."""
    n, k, varying = len(bound), laid.count, list(bound.model.varying)
    b = laid.v - means(bound, population)[laid.evaluator.who][:, varying]
    factor = np.linalg.cholesky(population.omega)
    precision = np.linalg.inv(population.omega)
    pull = b @ precision
    prior = -0.5 * (pull * b).sum(axis=1) - np.log(np.diag(factor)).sum() - 0.5 * b.shape[1] * np.log(2.0 * np.pi)
    joint = (laid.evaluator.log_likelihood(population, laid.phi, laid.f) + prior - laid.log_q).reshape(n, k)
    logp = logsumexp(joint, axis=1) - np.log(k)
    with np.errstate(invalid="ignore"):
        weights = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    weights = np.where(np.isfinite(weights), weights, 0.0)
    flat = weights.ravel()
    by_mean = (weights[:, :, None] * pull.reshape(n, k, -1)).sum(axis=1)
    typical = np.zeros(len(bound.model.parameters))
    typical[varying] = by_mean.sum(axis=0)
    order = {bound.model.names[p]: j for j, p in enumerate(varying)}
    effects = np.array([
        float(by_mean[:, order[e.parameter]] @ bound.design[:, j]) if e.parameter in order else 0.0
        for j, e in enumerate(bound.model.effects)
    ])  # fmt: skip
    omega = 0.5 * ((pull * flat[:, None]).T @ pull - n * precision)
    errors = flat @ laid.evaluator.scores(population, laid.phi, laid.f).score
    by = replace(slopes_like(population), typical=typical, effects=effects, omega=omega, errors=errors)
    return Looked(logp, weights, by)


def _penalised(bound: Bound, laid: Laid, pack: Packing, vector: Array) -> tuple[float, Array]:
    """Minus the (penalised) log-likelihood and its gradient by the packed vector."""
    population = pack.unpack(vector)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            got = look(bound, laid, population)
    except np.linalg.LinAlgError:
        return 1e12, np.zeros(len(vector))
    prior = log_prior(bound.model, population)
    value = -float(got.logp.sum()) - prior.logp
    if not np.isfinite(value):
        return 1e12, np.zeros(len(vector))
    return value, -pack.gradient(vector, got.by) - pack.gradient(vector, prior.by)


def _climb(bound: Bound, laid: Laid, pack: Packing, population: Population, chosen: DrawSettings) -> Array:
    begin = pack.pack(population)
    done = minimize(
        lambda x: _penalised(bound, laid, pack, x), begin, jac=True, method="L-BFGS-B",
        bounds=[(x - chosen.reach, x + chosen.reach) for x in begin],
        options={"maxiter": chosen.iterations, "ftol": 1e-9, "gtol": 1e-3},
    )  # fmt: skip
    return np.asarray(done.x, dtype=np.float64)


def _posterior(
    bound: Bound, laid: Laid, population: Population, got: Looked, centre: Array, root: Array
) -> tuple[Array, Array]:
    """Where each subject's posterior is by its weighted draws; where they are few, draws are laid where they were."""
    n, k, d = len(bound), laid.count, centre.shape[1]
    v, w = laid.v.reshape(n, k, d), got.weights
    mean = np.einsum("nk,nkd->nd", w, v)
    away = v - mean[:, None]
    cov = np.einsum("nk,nki,nkj->nij", w, away, away)
    enough = 1.0 / np.maximum((w * w).sum(axis=1), 1e-300) > TRUST * d
    new = root.copy()
    for i in np.flatnonzero(enough):
        try:
            new[i] = np.linalg.cholesky(cov[i] + 1e-10 * np.eye(d))
        except np.linalg.LinAlgError:
            enough[i] = False
    best = v[np.arange(n), np.argmax(w, axis=1)]
    return np.where(enough[:, None], mean, best), new


def hessian(bound: Bound, laid: Laid, pack: Packing, vector: Array) -> Array:
    """Observed information of the packed vector, (K, K): differences of the exact gradient, nothing solved."""
    out = np.empty((len(vector), len(vector)))
    for j in range(len(vector)):
        step = np.zeros(len(vector))
        step[j] = STEP
        high, low = (_penalised(bound, laid, pack, vector + s * step)[1] for s in (1.0, -1.0))
        out[j] = (high - low) / (2.0 * STEP)
    return np.asarray(0.5 * (out + out.T))


def _finished(
    bound: Bound, laid: Laid, pack: Packing, population: Population, got: Looked, objective: list[float],
    chosen: DrawSettings, seed: int,
) -> Fit:  # fmt: skip
    vector = pack.pack(population)
    information = hessian(bound, laid, pack, vector)
    messages, covariance = [], None
    try:
        np.linalg.cholesky(information)
        covariance = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        low = np.linalg.eigh(information)[1][:, 0]
        names = ", ".join(pack.names[j] for j in np.argsort(-np.abs(low))[:4])
        messages.append(f"The information is not positive: the data do not determine {names}. Fix or remove one of "
                        "them, or give it a prior.")  # fmt: skip
    effective = 1.0 / np.maximum((got.weights**2).sum(axis=1), 1e-300)
    poor = [bound.records.ids[i] for i in np.flatnonzero(effective < FEW)]
    if poor:
        messages.append(f"{len(poor)} subjects have fewer than {FEW:g} effective draws: raise draws or rounds.")
    n, k = got.weights.shape
    b = (laid.v - means(bound, population)[laid.evaluator.who][:, list(bound.model.varying)]).reshape(n, k, -1)
    mean = np.einsum("nk,nkd->nd", got.weights, b)
    away = b - mean[:, None]
    cov = np.einsum("nk,nki,nkj->nij", got.weights, away, away)
    spread = k * got.weights
    mc = np.sqrt(np.maximum((spread**2).mean(axis=1) - 1.0, 0.0) / k)
    told: dict[str, Any] = {**asdict(chosen), "seed": seed, "effective": float(np.median(effective)),
                            "least_effective": float(effective.min())}  # fmt: skip
    last = abs(objective[-1] - objective[-2]) if len(objective) > 1 else np.inf
    return Fit(
        bound.model, "fixed draws", population, float(got.logp.sum()), "importance", bound.records.ids,
        int(bound.n_rows.sum()), RandomEffects(mean, cov, "mean"), covariance,
        "" if covariance is None else "observed information", float(np.sqrt((mc**2).sum())), bool(last < 20.0),
        tuple(messages), {"objective": np.array(objective)}, told, bound.records.digest(),
    )  # fmt: skip
