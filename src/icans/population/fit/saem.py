"""SAEM: maximum likelihood (or penalised likelihood) by stochastic approximation of expectation-maximisation.

E. Kuhn and M. Lavielle (2005, Comput Stat Data Anal 49:1020, doi 10.1016/j.csda.2004.07.009), with the fast sampling of
Karimi, Lavielle and Moulines (2020, doi 10.1016/j.csda.2019.106882), variability between occasions as a second level
(Panhard and Samson 2009, Biostatistics 10:121, doi 10.1093/biostatistics/kxn020), censored values by their exact
likelihood (as Samson, Lavielle and Mentre 2006, doi 10.1016/j.csda.2006.05.007, but without imputing them), and latent
classes sampled with the latent variables (Lavielle and Mbogning 2014, doi 10.1007/s11222-013-9396-2).
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.progress import track
from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.population.fit.evaluator import Evaluator
from icans.population.fit.importance import importance_likelihood
from icans.population.fit.kernels import Chains, Target, first_tuning, from_population
from icans.population.fit.latent import latent_model
from icans.population.fit.result import Fit, RandomEffects
from icans.population.fit.saem_end import Conditional, polished, uncertainty
from icans.population.fit.saem_loop import Run, SaemSettings, State, finished, iterate
from icans.population.fit.saem_messages import messages
from icans.population.fit.saem_step import make_plan
from icans.population.nlme.likelihood import Bound, bind, covariance
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Population, packing, start
from icans.population.nlme.records import Records

__all__ = ["SaemSettings", "fit_saem"]

Array = npt.NDArray[np.float64]
#: Sets (chains x subjects) that are solved together at least; iterations between checkpoints; tries of a start.
SETS, CHUNK, TRIES = 100, 50, 60


def fit_saem(
    model: NlmeModel, records: Records, *, seed: int, settings: SaemSettings | None = None,
    begin: Population | None = None, folder: Path | str | None = None,
) -> Fit:  # fmt: skip
    """Fit a population model by SAEM.

    Parameters
    ----------
    model, records
        As for :func:`~icans.population.nlme.likelihood.bind`.
    seed
        The same seed, model, records and settings give the same numbers.
    begin
        Where to start, if not at the declared starts.
    folder
        Where the run is stored after every 50 iterations; a run that was interrupted goes on from there.

    Raises
    ------
    ModelError
        What ``bind`` refuses; no subject with a finite likelihood at the start.
    """
    settings = settings or SaemSettings()
    whole = bind(model, records)
    population = begin or start(model)
    run, state, lost = _prepared(whole, population, settings, seed)
    key = [type(model.structural).__name__, repr(model.parameters), repr(model.observed), repr(model.effects),
           repr((model.blocks, model.iov_blocks, model.mixture)), records.digest(), asdict(settings), seed]  # fmt: skip
    store = None if folder is None else Checkpoints(Path(folder), key)
    state = _through(run, state, store)
    averaged = state.averaged if state.averaged is not None else state.vectors[-1]
    population, last = polished(run, state, run.pack.unpack(averaged))
    effects = _for_all(whole, run.bound, last, population, lost)
    likelihood, se = np.nan, 0.0
    if settings.importance > 0:
        own = RandomEffects(last.effects.mode, last.effects.covariance, "mean")
        drawn = importance_likelihood(run.bound, population, own, seed, settings.importance)
        likelihood, se = drawn.total, drawn.total_se
    cov, how, trouble = uncertainty(run, last, population)
    told = messages(run, state, last, population, cov, lost, likelihood_se=se) + trouble
    return Fit(
        model, "saem", population, likelihood, "importance" if whole.size else "exact", records.ids,
        int(run.bound.n_rows.sum()), effects, cov, how, se, state.settled, tuple(told), _history(run, state),
        {**asdict(settings), "seed": seed, "chains": len(run.evaluator.who) // len(run.bound),
         "explored": state.explored}, records.digest(),
    )  # fmt: skip


def _prepared(
    bound: Bound, population: Population, settings: SaemSettings, seed: int
) -> tuple[Run, State, dict[str, str]]:  # fmt: skip
    """A run and its first state; subjects without any finite likelihood are left out, and told."""
    run = _run(bound, population, settings)
    chains, lost = _first_chains(run, population, seed)
    if len(lost):
        ids = bound.records.ids
        why = "no finite likelihood at any of its starts: look at its units, times, doses and censoring"
        if len(lost) == len(bound):
            expected, remedy = "a finite likelihood at the start", "Look at units, doses, starts and error models."
            raise ModelError([Problem(f"subject {i}", None, None, "-inf", expected, remedy) for i in ids])
        kept = [i for i in range(len(bound)) if i not in set(lost.tolist())]
        smaller = bind(bound.model, bound.records.subset(kept))
        run, state, _ = _prepared(smaller, population, settings, seed)
        return run, state, {ids[i]: why for i in lost}
    state = State(population, chains, first_tuning(run.latent, population), stream(seed, "saem", "chains"))
    return run, state, {}


def _run(bound: Bound, population: Population, settings: SaemSettings) -> Run:
    n = len(bound)
    chains = settings.chains or max(1, -(-SETS // n))
    evaluator = Evaluator(bound, np.tile(np.arange(n), chains))
    latent = latent_model(bound)
    cheap = getattr(bound.model.structural, "rtol", None) is None or bound.occasions == 1
    laplace = (cheap if settings.laplace is None else settings.laplace) and bound.size > 0
    base = packing(bound.model, start(bound.model))
    return Run(bound, latent, evaluator, make_plan(latent, evaluator), base, settings, laplace)


def _first_chains(run: Run, population: Population, seed: int) -> tuple[Chains, npt.NDArray[np.int64]]:
    """Chains drawn from the population until all have a likelihood; places of subjects for which none was found."""
    rng = stream(seed, "saem", "start")
    m, n, d = len(run.evaluator.who), len(run.bound), run.bound.size
    z = np.asarray(rng.choice(len(population.shares), size=m, p=population.shares), dtype=np.int64)
    target = Target(run.latent, run.evaluator, population)
    root = np.asarray(np.linalg.cholesky(covariance(run.bound, population))) if d else np.zeros((0, 0))
    chains = Chains(target.mean(z).copy(), z, np.zeros((m, 1)), np.full(m, -np.inf))
    with np.errstate(all="ignore"):
        chains.f, chains.ll = target.look(chains.v, z)
        tuning = first_tuning(run.latent, population)
        for attempt in range(TRIES if d else 1):
            if d:
                from_population(target, chains, tuning, root * (0.3, 1.0, 2.0)[attempt % 3], rng)
            if attempt >= 5 and np.isfinite(chains.ll).all():
                break
    # A chain that found nothing starts where another of the same subject does.
    ll = chains.ll.reshape(-1, n)
    best = np.argmax(ll, axis=0)
    for r, i in zip(*np.nonzero(~np.isfinite(ll)), strict=True):
        here, there = r * n + i, best[i] * n + i
        for part in (chains.v, chains.z, chains.f, chains.ll):
            part[here] = part[there]
    return chains, np.flatnonzero(~np.isfinite(chains.ll.reshape(-1, n)[0]))


def _through(run: Run, state: State, store: Checkpoints | None) -> State:
    """All iterations, in chunks that are stored where a folder was given."""
    settings = run.settings
    for chunk in track(range(-(-(settings.explore + settings.smooth) // CHUNK) + 1), "SAEM"):
        if finished(run, state):
            break
        if store is None:
            state = iterate(run, state, CHUNK)
        else:
            state = store.step(f"saem-{chunk:03d}", partial(_onward, run, state))
    return state


def _onward(run: Run, state: State) -> State:
    """A chunk of iterations from a copy, so that an interruption leaves the stored state as it was."""
    return iterate(run, copy.deepcopy(state), CHUNK)


def _for_all(
    whole: Bound, used: Bound, last: Conditional, population: Population, lost: dict[str, str]
) -> RandomEffects:  # fmt: skip
    """Random effects of all subjects: those that were left out have the population's."""
    if not lost:
        return last.effects
    prior = covariance(used, population)
    mode, cov = np.zeros((len(whole), whole.size)), np.tile(np.zeros_like(prior), (len(whole), 1, 1))
    kept = [i for i, name in enumerate(whole.records.ids) if name not in lost]
    cov[:] = covariance(whole, population)
    if used.size == whole.size:
        mode[kept], cov[kept] = last.effects.mode, last.effects.covariance
    return replace(last.effects, mode=mode, covariance=cov, failed=lost)


def _history(run: Run, state: State) -> dict[str, Array]:
    course = np.array(state.vectors).reshape(-1, len(run.pack))
    out = {name: course[:, j] for j, name in enumerate(run.pack.names)}
    return {**out, "complete log-likelihood": np.array(state.complete)}
