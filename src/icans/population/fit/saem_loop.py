"""The iterations of SAEM: state, phases, kernels in turn, and the test whether the first phase has settled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.population.fit.evaluator import Evaluator
from icans.population.fit.kernels import (
    Chains,
    Target,
    Tuning,
    draw_classes,
    from_population,
    independent,
    refresh,
    set_independent,
    walk_one,
    walk_whole,
)
from icans.population.fit.latent import Latent
from icans.population.fit.modes import find_modes
from icans.population.fit.saem_step import Moments, Plan, annealed, maximise, observe
from icans.population.nlme.likelihood import Bound, covariance
from icans.population.nlme.population import Packing, Population

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SaemSettings:
    """How SAEM runs.

    ``chains``: per subject (None: so many that there are 100 sets or more). ``explore``: iterations of the first phase
    at most; it ends earlier, once ``anneal`` + 2 ``window`` iterations are done and nothing has moved between the last
    two windows. ``smooth``: iterations of the second phase, with gains k^-``power``; estimates are averages over its
    last three quarters. ``polish``: Newton steps afterwards at most, each with ``final`` iterations (from 40 on; 0:
    none). ``rate``: variances fall no faster than this while annealed. ``laplace``: independent proposals from modes
    (None: where derivatives are cheap). ``final``: iterations at the estimates, for conditional means and standard
    errors. ``standard_errors``: ``"louis"``, ``"linear"`` (Hessian of the linearised likelihood) or ``"none"``.
    ``importance``: draws per subject for the likelihood (0: none).
    """

    chains: int | None = None
    explore: int = 300
    anneal: int = 60
    window: int = 30
    rate: float = 0.92
    smooth: int = 150
    power: float = 0.7
    polish: int = 4
    final: int = 100
    laplace: bool | None = None
    standard_errors: str = "louis"
    importance: int = 1000


@dataclass
class State:
    """Where a run is: everything it needs to go on, and what it did."""

    population: Population
    chains: Chains
    tuning: Tuning
    rng: np.random.Generator
    moments: Moments | None = None
    iteration: int = 0
    explored: int | None = None
    settled: bool = False
    moving: tuple[str, ...] = ()
    vectors: list[Array] = field(default_factory=list)
    complete: list[float] = field(default_factory=list)
    averaged: Array | None = None
    modes: int = 0


@dataclass(frozen=True)
class Run:
    """What does not change during a run."""

    bound: Bound
    latent: Latent
    evaluator: Evaluator
    plan: Plan
    pack: Packing
    settings: SaemSettings
    laplace: bool


def iterate(run: Run, state: State, count: int) -> State:
    """Go on by ``count`` iterations, or until the second phase is over."""
    for _ in range(count):
        if finished(run, state):
            break
        _iteration(run, state)
    return state


def finished(run: Run, state: State) -> bool:
    """Whether the second phase is over."""
    return state.explored is not None and state.iteration >= state.explored + run.settings.smooth


def _iteration(run: Run, state: State) -> None:
    settings, k = run.settings, state.iteration
    target = Target(run.latent, run.evaluator, state.population)
    moved = len(run.plan.still) > 0
    state.chains = _current(target, state.chains, moved)
    if run.laplace and due(run, state):
        lay_modes(run, state, state.population)
    sweep(run, target, state.chains, state.tuning, state.rng, k)
    probability = draw_classes(target, state.chains, bool(run.latent.classes[~run.latent.inside].any()), state.rng)
    smoothing = state.explored is not None
    gain = (k - state.explored + 1.0) ** -settings.power if state.explored is not None else 1.0
    moments, steps = observe(target, state.chains, probability, run.plan)
    state.moments = moments if state.moments is None else _averaged(state.moments, moments, gain)
    new = maximise(run.latent, run.plan, state.population, state.moments, steps, gain)
    if not smoothing and k < settings.anneal:
        new = annealed(run.plan, state.population, new, settings.rate)
    state.population = new
    _keep_absent(run, state)
    state.vectors.append(run.pack.pack(new))
    state.complete.append(float(state.chains.ll.mean() * len(run.bound)))
    state.iteration += 1
    if smoothing:
        assert state.explored is not None
        _average(state, settings, state.iteration - state.explored)
    else:
        _test(run, state)


def _current(target: Target, chains: Chains, moved: bool) -> Chains:
    """Chains with likelihoods at a new population; outputs are computed anew only where they changed."""
    if moved:
        return refresh(target, chains)
    chains.ll = target.evaluator.log_likelihood(
        target.population, target.phi(chains.v, chains.z), chains.f, target.values
    )
    return chains


#: Memory of the information that scales Newton steps in the first phase, where the moments have none.
MEMORY = 0.2


def _averaged(old: Moments, new: Moments, gain: float) -> Moments:
    out = old.towards(new, gain)
    slow = min(gain, MEMORY)
    out.errors = old.errors + slow * (new.errors - old.errors)
    out.still = old.still + slow * (new.still - old.still)
    return out


def _keep_absent(run: Run, state: State) -> None:
    """Occasions that a subject does not have stay at their mean (0)."""
    if not run.latent.everywhere:
        state.chains.v *= run.latent.active[run.evaluator.who]


def sweep(run: Run, target: Target, chains: Chains, tuning: Tuning, rng: np.random.Generator, k: int) -> None:
    """One turn of the kernels."""
    d = chains.v.shape[1]
    if d == 0:
        return
    rates = tuning.rates or {}
    prior = float(np.mean(rates["population"])) if "population" in rates else 1.0
    if k < 10 or prior > 0.05 or k % 10 == 0:
        root = np.asarray(np.linalg.cholesky(run.latent.covariance(target.population)))
        from_population(target, chains, tuning, root, rng)
    good = 0.0
    if tuning.centre is not None:
        good = float(np.min(rates["independent"])) if "independent" in rates else 1.0
        independent(target, chains, tuning, rng)
    # Where independent proposals are taken in every subject a walk now and then is enough.
    ones = min(d, 6) if good < 0.1 else (1 if good < 0.4 or k % 2 else 0)
    for i in range(ones):
        walk_one(target, chains, tuning, (k * max(ones, 1) + i) % d if good < 0.4 else (k // 2) % d, rng)
    if d > 1 and (good < 0.4 or k % 2 == 0):
        walk_whole(target, chains, tuning, rng)
    tuning.steps += 1


# --- independent proposals ---------------------------------------------------------------------------------------


def due(run: Run, state: State) -> bool:
    """Whether modes are to be found anew: often at first, then rarely, and when the second phase starts."""
    k = state.iteration
    if state.chains.v.shape[1] == 0:
        return False
    cheap = getattr(run.bound.model.structural, "rtol", None) is None
    early = k in ((3, 10, 20, 35, 50) if cheap else (10, 50))
    every = 25 if cheap else 100
    if state.explored is None:
        return early or (k >= every and k % every == 0)
    return k == state.explored or (k - state.explored) % (2 * every) == 0


def lay_modes(run: Run, state: State, population: Population) -> None:
    """Modes and curvatures of all subjects in all classes as independent proposals."""
    latent, tuning = run.latent, state.tuning
    means = latent.mean(population)
    centres, spreads, odds = [], [], []
    for c, share in enumerate(population.shares):
        start = None if tuning.centre is None else tuning.centre[c] - means[c]
        modes = find_modes(run.bound, population, start, cls=c, tolerance=0.02, iterations=25, restart=False)
        centres.append(means[c] + modes.mode * latent.active)
        spreads.append(_positive(modes.precision, covariance(run.bound, population)))
        odds.append(np.log(share) + np.where(np.isfinite(modes.log_joint), modes.log_evidence, -1e300))
    logits = np.stack(odds)
    odds_now = np.exp(logits - logits.max(axis=0))
    set_independent(tuning, latent, np.stack(centres), np.stack(spreads), odds_now / odds_now.sum(axis=0),
                    directions=True)  # fmt: skip
    state.modes += 1


#: Independent proposals are wider than the normal approximation by this factor of SDs.
WIDER = 1.1


def _positive(precision: Array, prior: Array) -> Array:
    """Inverses; the population's covariance where a precision is not positive."""
    value, vector = np.linalg.eigh(np.where(np.isfinite(precision), precision, 0.0))
    fine = value[:, 0] > 1e-12 * value[:, -1]
    inverse = np.einsum("nij,nj,nkj->nik", vector, 1.0 / np.where(value > 0.0, value, 1.0), vector)
    return np.asarray(np.where(fine[:, None, None], inverse, prior) * WIDER**2)


# --- phases ------------------------------------------------------------------------------------------------------


def _average(state: State, settings: SaemSettings, done: int) -> None:
    """Average of the packed estimates over the last three quarters of the second phase."""
    begin = settings.smooth // 4
    if done <= begin:
        return
    x, n = state.vectors[-1], done - begin
    state.averaged = x.copy() if state.averaged is None else state.averaged + (x - state.averaged) / n


def _test(run: Run, state: State) -> None:
    """End the first phase where the last two windows agree, or where its iterations are used up."""
    settings, k = run.settings, state.iteration
    window = settings.window
    if k >= settings.anneal + 2 * window and (k - settings.anneal) % 10 == 0:
        course = np.column_stack([np.array(state.vectors[-2 * window :]), state.complete[-2 * window :]])
        names = (*run.pack.names, "complete log-likelihood")
        moving = [n for n, x in zip(names, course.T, strict=True) if _moves(x)]
        state.moving = tuple(moving)
        if not moving:
            state.explored, state.settled = k, True
    if state.explored is None and k >= settings.explore:
        state.explored = k


#: Windows differ where their means are further apart than this many standard errors and by more than this in itself.
APART, TOLERATED = 3.0, 0.02


def _moves(x: Array) -> bool:
    """Whether the second half of a course lies elsewhere than the first (standard errors for an AR(1) course)."""
    half = len(x) // 2
    first, second = x[:half], x[half:]
    away = abs(float(second.mean() - first.mean()))
    if away < TOLERATED:
        return False
    noise = 0.0
    for part in (first, second):
        d = part - part.mean()
        rho = float(np.clip((d[1:] @ d[:-1]) / max(d @ d, 1e-300), 0.0, 0.95))
        noise += float(d @ d) / half * (1.0 + rho) / (1.0 - rho) / half
    return away > APART * float(np.sqrt(noise))
