"""Monte Carlo expectation-maximisation by importance sampling, with the likelihood and its exact information.

Around every subject's posterior random effects are drawn and the structural model is solved there; weighted draws stand
for the expectation, the population that maximises it follows without solving (importance-sampling EM, as NONMEM's
IMP; Wei and Tanner 1990, doi 10.1080/01621459.1990.10474930). Proposals are a multivariate t around each subject's
mode; estimates are averages over the last rounds. At the end the marginal likelihood around the population is a
weighted mean over many fixed draws (Geyer and Thompson 1992, J R Stat Soc B 54:657): its gradient says how far the
maximum still is, its observed information gives standard errors. It begins near the estimate (at SAEM's, or at a truth
that is to be recovered): EM is slow where the data say little.
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
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Degrees of freedom of the proposals; their widenings, and the share of each: the wide ones catch skewed posteriors.
DF, WIDER, SHARES = 6.0, (1.1, 1.9), (0.75, 0.25)
#: Step of differences of the gradient, by the packed vector.
STEP = 1e-4
#: Effective draws below which a subject is told; draws of the population tried as starts of the first modes.
FEW, EXPLORE = 10.0, 12
#: How far a packed number may move in one maximisation.
REACH = 1.0


@dataclass(frozen=True)
class DrawSettings:
    """``rounds`` of expectation and maximisation with ``draws`` a subject, of which the last ``averaged`` are averaged;
    the last look has ``final`` draws. ``farthest``: standard errors that the maximum may be away without being told.
    """

    rounds: int = 8
    draws: int = 60
    final: int = 300
    iterations: int = 30
    farthest: float = 3.0
    averaged: int = 4
    mode_iterations: int = 80
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


def fit_importance_em(
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
    near: Array | None = None
    objective: list[float] = []
    vectors: list[Array] = []
    for r in range(chosen.rounds + 1):
        last = r == chosen.rounds
        rng = stream(seed, "draws", r)
        centre, root, near = _modes(bound, population, chosen, near)
        laid = lay(bound, population, centre, root, chosen.final if last else chosen.draws, rng)
        got = look(bound, laid, population)
        if not np.isfinite(got.logp).all():
            raise ModelError(_lost(bound, got.logp))
        objective.append(-2.0 * float(got.logp.sum()))
        if not last:
            vectors.append(_maximised(bound, laid, pack, population, got.weights, chosen.iterations))
            mean = np.mean(vectors[-chosen.averaged :], axis=0)
            population = pack.unpack(mean if r == chosen.rounds - 1 else vectors[-1])
    return _finished(bound, laid, pack, population, objective, chosen, seed)


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


def _modes(
    bound: Bound, population: Population, chosen: DrawSettings, near: Array | None
) -> tuple[Array, Array, Array]:
    """Centres of proposals on the parameters' scales (N, D), roots of their covariances, and the modes themselves."""
    modes = find_modes(bound, population, near, iterations=chosen.mode_iterations, tolerance=chosen.mode_tolerance,
                       restart=False, explore=EXPLORE if near is None else 0)  # fmt: skip
    centre = means(bound, population)[:, list(bound.model.varying)] + modes.mode
    return centre, np.asarray(np.linalg.cholesky(modes.covariance), dtype=np.float64), modes.mode


def lay(bound: Bound, population: Population, centre: Array, root: Array, count: int, rng: np.random.Generator) -> Laid:
    """Draws of all subjects around ``centre`` (N, D) with roots of covariances (N, D, D), solved."""
    n, d = centre.shape
    half = rng.standard_normal((n, (count + 1) // 2, d))
    z = np.concatenate([half, -half], axis=1)[:, :count] / np.sqrt(rng.chisquare(DF, (n, count, 1)) / DF)
    z *= np.resize(np.repeat(WIDER, np.round(4 * np.array(SHARES)).astype(int)), count)[:, None]
    v = (centre[:, None] + np.einsum("nij,nkj->nki", root, z)).reshape(n * count, d)
    _, log_det = np.linalg.slogdet(root)
    size = (z * z).sum(axis=2)
    constant = gammaln((DF + d) / 2) - gammaln(DF / 2) - 0.5 * d * np.log(DF * np.pi)
    log_q = logsumexp([
        np.log(share) + constant - d * np.log(wide) - 0.5 * (DF + d) * np.log1p(size / wide**2 / DF)
        for share, wide in zip(SHARES, WIDER, strict=True)
    ], axis=0) - log_det[:, None]  # fmt: skip
    who = np.repeat(np.arange(n), count)
    evaluator = Evaluator(bound, who)
    mean = means(bound, population)
    phi = phi_of(bound, mean[who], v - mean[who][:, list(bound.model.varying)])
    return Laid(evaluator, phi, v, evaluator.outputs(phi), log_q.ravel(), count)


def look(bound: Bound, laid: Laid, population: Population) -> Looked:
    """The likelihood of a population from draws that are laid, with its gradient; nothing is solved."""
    n, k = len(bound), laid.count
    joint = (_complete(bound, laid, population) - laid.log_q).reshape(n, k)
    whole = logsumexp(joint, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        weights = np.exp(joint - whole)
    weights = np.where(np.isfinite(weights), weights, 0.0)
    return Looked(whole[:, 0] - np.log(k), weights, _slopes(bound, laid, population, weights))


def _complete(bound: Bound, laid: Laid, population: Population) -> Array:
    """Log density of observations and random effects at every draw, (M,)."""
    b = laid.v - means(bound, population)[laid.evaluator.who][:, list(bound.model.varying)]
    factor = np.linalg.cholesky(population.omega)
    z = np.linalg.solve(factor, b.T)
    prior = -0.5 * (z * z).sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * b.shape[1] * LOG_2PI
    return np.asarray(laid.evaluator.log_likelihood(population, laid.phi, laid.f) + prior)


def _slopes(bound: Bound, laid: Laid, population: Population, weights: Array, *, rows: bool = True) -> Population:
    """Weighted derivatives of that by natural values; without ``rows``, those by error parameters are 0."""
    n, k, varying = len(bound), laid.count, list(bound.model.varying)
    precision = np.linalg.inv(population.omega)
    pull = (laid.v - means(bound, population)[laid.evaluator.who][:, varying]) @ precision
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
    # A draw that could not be solved has weight 0, and slopes that are no numbers.
    by = replace(slopes_like(population), typical=typical, effects=effects, omega=omega)
    if not rows:
        return by
    return replace(by, errors=flat @ np.nan_to_num(laid.evaluator.scores(population, laid.phi, laid.f).score))


def _maximised(
    bound: Bound, laid: Laid, pack: Packing, population: Population, weights: Array, iterations: int
) -> Array:
    """The packed vector with the largest expected log density of complete data (plus priors), weights held."""
    flat = weights.ravel()
    used = flat > 0.0

    def objective(vector: Array) -> tuple[float, Array]:
        there = pack.unpack(vector)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                joint = _complete(bound, laid, there)
        except np.linalg.LinAlgError:
            return 1e12, np.zeros(len(vector))
        prior = log_prior(bound.model, there)
        value = -float(flat[used] @ joint[used]) - prior.logp
        if not np.isfinite(value):
            return 1e12, np.zeros(len(vector))
        slope = _slopes(bound, laid, there, weights)
        return value, -pack.gradient(vector, slope) - pack.gradient(vector, prior.by)

    begin = pack.pack(population)
    done = minimize(
        objective, begin, jac=True, method="L-BFGS-B", bounds=[(x - REACH, x + REACH) for x in begin],
        options={"maxiter": iterations},
    )  # fmt: skip
    return np.asarray(done.x, dtype=np.float64)


def _gradient(bound: Bound, laid: Laid, pack: Packing, vector: Array) -> Array:
    """Gradient of minus the (penalised) marginal log-likelihood."""
    population = pack.unpack(vector)
    got, prior = look(bound, laid, population), log_prior(bound.model, population)
    return np.asarray(-pack.gradient(vector, got.by) - pack.gradient(vector, prior.by))


def hessian(bound: Bound, laid: Laid, pack: Packing, vector: Array) -> Array:
    """Observed information of the packed vector, (K, K), by Louis' identity over the weighted draws; nothing solved.

    The second derivative of the log of a weighted mean is the mean of the complete data's plus the covariance of their
    scores. Scores by error parameters do not depend on the others, nor the others' on them.
    """
    population = pack.unpack(vector)
    weights = look(bound, laid, population).weights
    scores = _scores(bound, laid, pack, population).reshape(*weights.shape, len(vector))
    first = np.einsum("nk,nka->na", weights, scores)
    spread = np.einsum("nk,nka,nkb->ab", weights, scores, scores, optimize=True) - first.T @ first
    complete = np.empty((len(vector), len(vector)))
    for j in range(len(vector)):
        step = np.zeros(len(vector))
        step[j] = STEP
        rows = bool(np.any(pack.unpack(vector + step).errors != population.errors))
        high, low = (_expected_slope(bound, laid, pack, vector + s * step, weights, rows) for s in (1.0, -1.0))
        complete[j] = (high - low) / (2.0 * STEP)
    return np.asarray(-0.5 * (complete + complete.T) - spread)


def _expected_slope(
    bound: Bound, laid: Laid, pack: Packing, vector: Array, weights: Array, rows: bool
) -> Array:  # fmt: skip
    there = pack.unpack(vector)
    slope = pack.gradient(vector, _slopes(bound, laid, there, weights, rows=rows))
    return np.asarray(slope + pack.gradient(vector, log_prior(bound.model, there).by))


def _scores(bound: Bound, laid: Laid, pack: Packing, population: Population) -> Array:
    """Derivatives of the complete log density by the packed vector at every draw, (M, K)."""
    vector, zero = pack.pack(population), slopes_like(population)
    who, varying, names = laid.evaluator.who, list(bound.model.varying), bound.model.names
    precision = np.linalg.inv(population.omega)
    pull = (laid.v - means(bound, population)[who][:, varying]) @ precision
    omega = 0.5 * (pull[:, :, None] * pull[:, None, :] - precision)
    errors = np.nan_to_num(laid.evaluator.scores(population, laid.phi, laid.f).score)
    parts: list[tuple[str, Array]] = [("typical", np.zeros((len(who), len(names)))), ("omega", omega)]
    parts[0][1][:, varying] = pull
    parts.append(("errors", errors))
    order = {names[p]: j for j, p in enumerate(varying)}
    effects = np.zeros((len(who), len(bound.model.effects)))
    for j, e in enumerate(bound.model.effects):
        if e.parameter in order:
            effects[:, j] = pull[:, order[e.parameter]] * bound.design[who, j]
    parts.append(("effects", effects))
    out = np.zeros((len(who), len(vector)))
    for name, values in parts:
        shape = getattr(population, name).shape
        flat = values.reshape(len(who), -1)
        for place in range(flat.shape[1]):
            unit = np.zeros(flat.shape[1])
            unit[place] = 1.0
            out += flat[:, place, None] * pack.gradient(vector, replace(zero, **{name: unit.reshape(shape)}))
    return out


def _finished(
    bound: Bound, laid: Laid, pack: Packing, population: Population, objective: list[float], chosen: DrawSettings,
    seed: int,
) -> Fit:  # fmt: skip
    vector = pack.pack(population)
    information = hessian(bound, laid, pack, vector)
    messages: list[str] = []
    covariance: Array | None = None
    length = float("nan")
    try:
        np.linalg.cholesky(information)
        covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    except np.linalg.LinAlgError:
        low = np.linalg.eigh(information)[1][:, 0]
        names = ", ".join(pack.names[j] for j in np.argsort(-np.abs(low))[:4])
        messages.append(f"The information is not positive: the data do not determine {names}. Fix or remove one of "
                        "them, or give it a prior.")  # fmt: skip
    if covariance is not None:
        slope = _gradient(bound, laid, pack, vector)
        length = float(np.sqrt(max(float(slope @ covariance @ slope), 0.0)))
        if length > chosen.farthest:
            messages.append(f"The maximum seems {length:.1f} standard errors away: give more rounds.")
    got = look(bound, laid, population)
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
    told: dict[str, Any] = {
        **asdict(chosen), "seed": seed, "effective": float(np.median(effective)),
        "least_effective": float(effective.min()), "distance": length if np.isfinite(length) else None,
    }  # fmt: skip
    return Fit(
        bound.model, "importance EM", population, float(got.logp.sum()), "importance", bound.records.ids,
        int(bound.n_rows.sum()), RandomEffects(mean, cov, "mean"), covariance,
        "" if covariance is None else "observed information", float(np.sqrt((mc**2).sum())),
        bool(length <= chosen.farthest),
        tuple(messages), {"objective": np.array(objective)}, told, bound.records.digest(),
    )  # fmt: skip
