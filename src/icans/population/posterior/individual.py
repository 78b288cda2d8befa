"""The posterior of every patient at a landmark, given the population: Laplace, importance-corrected, or by MCMC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.core.errors import ModelError, Problem
from icans.core.provenance import Provenance
from icans.core.random import stream
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import bind
from icans.population.nlme.records import Records
from icans.population.posterior.chains import MIXED, Streams, mixing, run_chains
from icans.population.posterior.climb import Tops, find_tops
from icans.population.posterior.known import effect_names, fit_digest, known_by
from icans.population.posterior.proposals import DF, Proposal, defensive, even_uniforms, fitted, noise_and_classes
from icans.population.posterior.psis import TRUSTED, effective, normalised, smoothed
from icans.population.posterior.target import Target, class_shares, make_target
from icans.population.posterior.value import Posterior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WAYS = ("laplace", "importance", "mcmc")
#: Chains of a patient; share of effective draws below which the proposal is fitted to its draws and drawn again, and
#: how often.
CHAINS, FEW, ROUNDS = 4, 0.3, 2


@dataclass
class Sheet:
    """What is filled in, patient by patient, while a posterior is computed (whitened effects)."""

    z: Array
    log_weights: Array
    classes: Ints
    log_likelihood: Array
    k_hat: Array
    log_evidence: Array
    method: list[str]
    messages: list[str]


def individual_posterior(
    fit: Fit, records: Records, landmark_h: float, *, method: str = "importance", seed: int, draws: int = 1024,
    steps: int = 1000, warmup: int = 300, thin: int = 2,
) -> Posterior:  # fmt: skip
    """Random effects of every patient given what was available by ``landmark_h``, at the fit's population parameters.

    Patients without any record by the landmark have the population as posterior; patients whose records have no
    likelihood under any effects do, too, with method ``"failed"`` and a message. Uncertainty of the population
    parameters is not part of it. A patient's result depends on the seed and the patient's own records alone.

    Parameters
    ----------
    method
        ``"laplace"``: draws of the normal approximation at the mode. ``"importance"``: draws of a multivariate t around
        the mode with Pareto-smoothed weights; the t is fitted to its draws where few of them count; patients whose
        k-hat stays above 0.7 get Markov chains. ``"mcmc"``: Markov chains for all.
    draws
        Draws of a patient (S); a power of 2 serves importance best.
    steps, warmup, thin
        Of the chains: 4 a patient, ``steps`` kept of each, one in ``thin``; ``draws`` of them stay, evenly taken.

    Raises
    ------
    ModelError
        An unknown method, fewer than 32 draws, records that the model cannot take.
    """
    _check(method, draws)
    known = known_by(fit.model, records, landmark_h)
    target = make_target(bind(fit.model, known, empty=True), fit.population)
    sheet = _from_population(target, known, seed, draws)
    at = np.flatnonzero((target.bound.rows.observed >= 0).any(axis=1))
    modes = find_tops(target)
    if len(at):
        alive = np.isfinite(modes.log_evidence[at]).any(axis=1)
        _failed(sheet, known, at[~alive])
        at = at[alive]
    if len(at):
        _fill(target, known, sheet, modes, at, method, seed, draws, (steps, warmup, thin))
    return _value(fit, known, target, sheet, modes, landmark_h, seed)


def _check(method: str, draws: int) -> None:
    problems = []
    if method not in WAYS:
        problems.append(Problem("posterior", None, "method", method, f"one of {', '.join(WAYS)}", "Choose one."))
    if draws < 32:
        problems.append(Problem("posterior", None, "draws", str(draws), "32 or more", "Ask for more draws."))
    if problems:
        raise ModelError(problems)


def _uniforms(ids: Sequence[str], at: npt.NDArray[np.intp], seed: int, draws: int, d: int, word: object) -> Array:
    """Even uniforms of the subjects ``at``, (n, S, D + 2); each patient has a stream of their own."""
    return np.stack([even_uniforms(stream(seed, "posterior", ids[i], word), draws, d + 2) for i in at])


def _from_population(target: Target, known: Records, seed: int, draws: int) -> Sheet:
    """Draws before data: what patients without records keep."""
    n, d = len(known), target.size
    share = np.asarray(target.population.shares)
    pairs = [noise_and_classes(u, share, np.inf) for u in _uniforms(known.ids, np.arange(n), seed, draws, d, "prior")]
    return Sheet(
        np.stack([p[0] for p in pairs]), np.full((n, draws), -np.log(draws)), np.stack([p[1] for p in pairs]),
        np.zeros((n, draws)), np.zeros(n), np.zeros(n), ["prior"] * n, [""] * n,
    )  # fmt: skip


def _failed(sheet: Sheet, known: Records, at: npt.NDArray[np.intp]) -> None:
    for i in at:
        sheet.method[i] = "failed"
        sheet.log_evidence[i] = -np.inf
        sheet.messages[i] = (
            f"{known.ids[i]}: no likelihood at any effects tried; the population's draws are kept. Check units, times "
            "and doses of this patient, or give the observable a floor or a Student-t error."
        )


def _fill(
    target: Target, known: Records, sheet: Sheet, modes: Tops, at: npt.NDArray[np.intp], method: str, seed: int,
    draws: int, chain: tuple[int, int, int],
) -> None:  # fmt: skip
    for i in at[~modes.arrived[at].any(axis=1)]:
        sheet.messages[i] = f"{known.ids[i]}: the climb to the mode did not end; prefer method mcmc. "
    share = class_shares(modes.log_evidence, target.population)
    df = np.inf if method == "laplace" else DF
    proposal = Proposal(defensive(share) if method != "laplace" else share, modes.z, modes.factor, df)
    sheet.log_evidence[at] = logsumexp(modes.log_evidence[at] + np.log(target.population.shares), axis=1)
    _draw(target, known, sheet, proposal, at, seed, draws, 0, weigh=method != "laplace")
    if method == "laplace":
        return
    for round_ in range(1, ROUNDS + 1):
        poor = at[(sheet.k_hat[at] > TRUSTED) | (effective(sheet.log_weights[at]) < FEW * draws)]
        if len(poor) == 0 or target.size == 0:
            break
        proposal = fitted(proposal, sheet.z[poor], sheet.classes[poor], sheet.log_weights[poor], poor, widen=1.2)
        _draw(target, known, sheet, proposal, poor, seed, draws, round_, weigh=True)
    chained = at if method == "mcmc" else at[sheet.k_hat[at] > TRUSTED]
    if len(chained):
        _chains(target, known, sheet, proposal, chained, seed, draws, chain)


@dataclass(frozen=True)
class Drawn:
    """Weighted draws of n subjects: (n, S, D) whitened, (n, S) and (n,) as in :class:`Sheet`."""

    z: Array
    classes: Ints
    log_likelihood: Array
    log_weights: Array
    k_hat: Array
    log_evidence: Array


def draw_weighted(
    target: Target, ids: Sequence[str], proposal: Proposal, at: npt.NDArray[np.intp], seed: int, draws: int,
    word: object, *, weigh: bool = True,
) -> Drawn:  # fmt: skip
    """Draw the proposals of the subjects ``at`` and weigh them; ``word`` names the stream."""
    d = target.size
    uniform = _uniforms(ids, at, seed, draws, d, word)
    pairs = [noise_and_classes(u, proposal.share[i], proposal.df) for u, i in zip(uniform, at, strict=True)]
    who = np.repeat(at, draws)
    cls = np.concatenate([p[1] for p in pairs])
    z = proposal.place(np.concatenate([p[0] for p in pairs]), cls, who)
    shape = (len(at), draws)
    if not weigh:  # nothing is solved: the likelihood of these draws is not known until an update asks for it
        like = np.full(shape, np.nan)
        return Drawn(z.reshape(*shape, d), cls.reshape(shape), like, np.full(shape, -np.log(draws)), np.zeros(len(at)),
                     np.full(len(at), np.nan))  # fmt: skip
    like = target.log_likelihood(z, who, cls)
    raw = (like + target.prior(z, cls) - proposal.log_density(z, cls, who)).reshape(shape)
    evidence = logsumexp(raw, axis=1) - np.log(draws)
    if d == 0:
        weights, k_hat = normalised(raw), np.zeros(len(at))
    else:
        weights, k_hat = smoothed(raw)
    return Drawn(z.reshape(*shape, d), cls.reshape(shape), like.reshape(shape), weights, k_hat, evidence)


def _draw(
    target: Target, known: Records, sheet: Sheet, proposal: Proposal, at: npt.NDArray[np.intp], seed: int, draws: int,
    round_: int, *, weigh: bool,
) -> None:  # fmt: skip
    """Draw and weigh, onto the sheet. Laplace keeps its own evidence and no weights."""
    got = draw_weighted(target, known.ids, proposal, at, seed, draws, round_, weigh=weigh)
    for name in ("z", "classes", "log_likelihood", "log_weights", "k_hat", *(("log_evidence",) if weigh else ())):
        getattr(sheet, name)[at] = getattr(got, name)
    for i in at:
        sheet.method[i] = "importance" if weigh else "laplace"


def _chains(
    target: Target, known: Records, sheet: Sheet, proposal: Proposal, at: npt.NDArray[np.intp], seed: int, draws: int,
    chain: tuple[int, int, int],
) -> None:  # fmt: skip
    """Markov chains of subjects ``at``, started from their weighted draws, one patient after the other in the batch."""
    steps, warmup, thin = chain
    size = CHAINS
    for block in np.array_split(at, max(1, int(np.ceil(len(at) / 64)))):
        starts = [_starts(sheet, int(i), size, stream(seed, "posterior start", known.ids[i])) for i in block]
        start = np.stack([s[0] for s in starts]), np.stack([s[1] for s in starts])
        streams = Streams([stream(seed, "posterior chains", known.ids[i]) for i in block], size)
        run = run_chains(target, proposal, start, block, streams, warmup=warmup, steps=steps, thin=thin)
        keep = np.linspace(0, size * steps - 1, draws).round().astype(int)
        for row, i in enumerate(block):
            r_hat, bulk, _ = mixing(run.z[row])
            sheet.z[i] = run.z[row].reshape(size * steps, -1)[keep]
            sheet.classes[i] = run.cls[row].ravel()[keep]
            sheet.log_likelihood[i] = run.log_likelihood[row].ravel()[keep]
            sheet.log_weights[i], sheet.k_hat[i], sheet.method[i] = -np.log(draws), 0.0, "mcmc"
            if r_hat > MIXED:
                sheet.messages[i] += (
                    f"{known.ids[i]}: chains have not mixed (R-hat {r_hat:.3f}, {bulk:.0f} effective draws); "
                    "ask for more steps or warm-up."
                )


def _starts(sheet: Sheet, i: int, size: int, rng: np.random.Generator) -> tuple[Array, Ints]:
    picked = rng.choice(sheet.z.shape[1], size=size, p=np.exp(sheet.log_weights[i]))
    return sheet.z[i, picked], sheet.classes[i, picked]


def _value(
    fit: Fit, known: Records, target: Target, sheet: Sheet, modes: Tops, landmark_h: float, seed: int
) -> Posterior:
    best = np.argmax(modes.log_evidence + np.log(target.population.shares), axis=1)
    rows = np.arange(len(known))
    covariance = np.linalg.inv(modes.precision[rows, best])
    synthetic = any(s.id.startswith("synthetic") for s in known.subjects)
    return Posterior(
        known.ids, float(landmark_h), effect_names(fit.model, target.bound.occasions), target.b(sheet.z),
        sheet.log_weights, sheet.classes, sheet.log_likelihood, target.b(modes.z[rows, best]),
        target.root @ covariance @ target.root.T, sheet.k_hat, sheet.log_evidence, tuple(sheet.method),
        tuple(sheet.messages), fit_digest(fit), known.digest(), seed,
        Provenance(f"individual posterior, population by {fit.method}", synthetic,
                   inputs={"records": known.digest(), "fit": fit_digest(fit)}),
    )  # fmt: skip
