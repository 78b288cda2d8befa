"""Bring a posterior up to date when results arrive: weigh its draws anew, and move them where too few still count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.core.errors import ModelError, Problem
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import bind
from icans.population.nlme.records import Records
from icans.population.posterior.individual import FEW, ROUNDS, draw_weighted, individual_posterior
from icans.population.posterior.known import fit_digest, known_by
from icans.population.posterior.proposals import DF, Proposal, defensive, fitted
from icans.population.posterior.psis import TRUSTED, effective, normalised, smoothed
from icans.population.posterior.target import Target, make_target
from icans.population.posterior.value import ROWS, Posterior

Array = npt.NDArray[np.float64]


def update(posterior: Posterior, fit: Fit, records: Records, landmark_h: float, *, seed: int) -> Posterior:
    """The posterior at a later landmark.

    ``records``: all of the patients' records, old and new; those that a laboratory has corrected count as corrected.
    One batched solve gives every draw's likelihood of the new results; patients for whom fewer than 30 % of the draws
    still count, or whose k-hat is above 0.7, get new draws from a t fitted to the weighted ones, and where that does
    not suffice the whole computation (:func:`~icans.population.posterior.individual.individual_posterior`). Mode and
    covariance are those of the last whole computation, or of the weighted draws where these were moved.

    Raises
    ------
    ModelError
        A posterior of another fit, other patients, or an earlier landmark than the posterior's.
    """
    _check(posterior, fit, records, landmark_h)
    known = known_by(fit.model, records, landmark_h)
    target = make_target(bind(fit.model, known, empty=True), fit.population)
    size = posterior.draws.shape[1]
    like, before = _likelihood(target, posterior), posterior.log_likelihood
    if np.isnan(before).any():  # draws of Laplace's method, which solves none of them
        then = known_by(fit.model, records, posterior.landmark_h)
        before = _likelihood(make_target(bind(fit.model, then, empty=True), fit.population), posterior)
    with np.errstate(invalid="ignore"):
        change = np.where(np.isfinite(before), like - before, -np.inf)
        change = np.where(np.isnan(change), -np.inf, change)
    raw = posterior.log_weights + change
    weights, k_hat = smoothed(raw)
    same = (change == 0.0).all(axis=1)
    weights[same], k_hat[same] = posterior.log_weights[same], posterior.k_hat[same]
    evidence = posterior.log_evidence + logsumexp(raw, axis=1)
    poor = np.flatnonzero(~same & ((k_hat > TRUSTED) | (effective(weights) < FEW * size)))
    method = [old if s else "updated" for old, s in zip(posterior.method, same, strict=True)]
    now = replace(posterior, landmark_h=float(landmark_h), log_weights=weights, log_likelihood=like, k_hat=k_hat,
                  log_evidence=evidence, method=tuple(method), data_digest=known.digest(), seed=seed)  # fmt: skip
    return _moved(now, fit, records, target, poor, normalised(raw), seed) if len(poor) else now


def _likelihood(target: Target, posterior: Posterior) -> Array:
    """Log-likelihood of every patient's records at every draw, (n, S)."""
    n, size, _ = posterior.draws.shape
    z = target.z(posterior.draws).reshape(n * size, -1)
    return target.log_likelihood(z, np.repeat(np.arange(n), size), posterior.classes.ravel()).reshape(n, size)


def _check(posterior: Posterior, fit: Fit, records: Records, landmark_h: float) -> None:
    problems = []
    if fit_digest(fit) != posterior.fit_digest:
        remedy = "Update with the fit it was computed with, or compute it anew."
        problems.append(Problem("posterior", None, "fit", fit.method, "the fit of the posterior", remedy))
    if records.ids != posterior.who:
        different = ", ".join(sorted(set(records.ids) ^ set(posterior.who))[:8]) or "their order"
        remedy = "Give records of the posterior's patients in its order, or take a subset of it."
        problems.append(Problem("posterior", None, "who", different, "the posterior's patients", remedy))
    if landmark_h < posterior.landmark_h:
        expected = f"{posterior.landmark_h:g} h or later"
        problems.append(Problem("posterior", None, "landmark_h", f"{landmark_h:g}", expected, "Compute it anew."))
    if problems:
        raise ModelError(problems)


def _moved(
    now: Posterior, fit: Fit, records: Records, target: Target, poor: npt.NDArray[np.intp], weights: Array, seed: int
) -> Posterior:  # fmt: skip
    """The posterior with new draws for the patients ``poor``."""
    n, size, d = now.draws.shape
    fields = {name: getattr(now, name).copy() for name in ROWS}
    method, messages = list(now.method), list(now.messages)
    z = target.z(now.draws)
    back = np.linalg.inv(target.root)
    whitened = back @ now.covariance @ back.T
    factor: Array = np.asarray(np.linalg.cholesky(whitened))[:, None].repeat(target.classes, axis=1)
    share = np.tile(np.asarray(target.population.shares, float), (n, 1))
    centre = target.z(now.mode)[:, None].repeat(target.classes, axis=1)
    proposal = Proposal(defensive(share), centre, factor, DF)
    at, cls, w = poor, now.classes[poor], weights[poor]
    draws = z[poor]
    for round_ in range(ROUNDS):
        proposal = fitted(proposal, draws, cls, w, at, widen=1.2)
        got = draw_weighted(target, now.who, proposal, at, seed, size, ("update", now.landmark_h, round_))
        fields["draws"][at], fields["classes"][at] = target.b(got.z), got.classes
        fields["log_likelihood"][at], fields["log_weights"][at] = got.log_likelihood, got.log_weights
        fields["k_hat"][at], fields["log_evidence"][at] = got.k_hat, got.log_evidence
        fresh = replace(now, **fields)
        away = fresh.draws[at] - fresh.mean[at][:, None]
        fields["mode"][at] = fresh.mean[at]
        fields["covariance"][at] = np.einsum("ns,nsd,nse->nde", fresh.weights[at], away, away)
        left = (got.k_hat > TRUSTED) | (effective(got.log_weights) < FEW * size)
        at, cls, w, draws = at[left], got.classes[left], got.log_weights[left], got.z[left]
        if len(at) == 0:
            break
    if len(at):
        some = individual_posterior(fit, records.subset(map(int, at)), now.landmark_h, method="importance", seed=seed,
                                    draws=size)  # fmt: skip
        if some.draws.shape[2] == d:
            for name in ROWS:
                fields[name][at] = getattr(some, name)
            for row, i in enumerate(at):
                method[i], messages[i] = some.method[row], some.messages[row]
    return replace(now, **fields, method=tuple(method), messages=tuple(messages))
