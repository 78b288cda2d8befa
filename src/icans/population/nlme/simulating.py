"""Simulate what a population model says would be observed: for visual predictive checks, power, and recovery studies.

Random effects, residual errors and outcomes are drawn; the design (times, doses, covariates, limits of assays) is that
of the records. Everything that comes out is synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.core.random import stream
from icans.population.nlme.likelihood import Bound, covariance, means, phi_of, psi_of
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import Population
from icans.population.nlme.records import LEFT, QUANTIFIED, RIGHT, Records, Subject
from icans.population.nlme.rows import EVENT, NODE, Selection
from icans.population.nlme.terms import spread

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Simulated:
    """Synthetic observations of S replicates of N subjects.

    ``values``: (S, N, R), in the order of ``bound.rows``; NaN where a row is padding, a node of a hazard, or the set
    could not be solved. ``predictions``: (S, N, R) outputs without residual error. ``b``: (S, N, D). ``events``: name
    of an event outcome -> time of the event (S, N), NaN where it did not happen by the last node.
    """

    values: Array
    predictions: Array
    b: Array
    events: dict[str, Array]


def draw_effects(bound: Bound, population: Population, rng: np.random.Generator, replicates: int) -> tuple[Array, Ints]:
    """Random effects (S, N, D) and classes (S, N) from the population."""
    n = len(bound)
    b = np.zeros((replicates, n, bound.size))
    if bound.size:
        # An eigenvalue root, since a variance may be zero.
        value, vector = np.linalg.eigh(covariance(bound, population))
        root = vector * np.sqrt(np.maximum(value, 0.0))
        b = rng.standard_normal((replicates, n, bound.size)) @ root.T
    classes = rng.choice(len(population.shares), size=(replicates, n), p=population.shares)
    return b, classes


def simulate_observations(
    bound: Bound, population: Population, seed: int, replicates: int = 1, *, b: Array | None = None
) -> Simulated:  # fmt: skip
    """Draw ``replicates`` of all subjects; ``b`` (S, N, D): random effects to use instead of drawn ones."""
    rng = stream(seed, "simulated observations")
    drawn, classes = draw_effects(bound, population, rng, replicates)
    b = drawn if b is None else b
    s, n = b.shape[:2]
    by_class = np.stack([means(bound, population, c) for c in range(len(population.shares))])
    mean = by_class[classes, np.arange(n)[None]].reshape(s * n, -1)
    phi = phi_of(bound, mean, b.reshape(s * n, bound.size))
    psi = psi_of(bound, phi)
    chosen = bound.rows.select(np.tile(np.arange(n), s))
    f = bound.solver.values(psi, chosen.who)
    values = np.full(f.shape, np.nan)
    events: dict[str, Array] = {}
    for k, at in enumerate(chosen.places):
        what, errors = bound.model.observed[k], population.errors[bound.own[k]]
        if isinstance(what, Observation):
            values[at] = _measure(bound, k, what, errors, f[at], chosen, rng)
            continue
        u = np.log(f[at] + what.floor) if what.link == "log" else f[at]
        if what.frailty is not None:
            u = u + psi[at[0], 0, bound.model.names.index(what.frailty)]
        if what.kind == "event":
            events[what.name] = _events(errors, u, chosen, k, s * n, rng).reshape(s, n)
        elif what.kind == "count":
            values[at] = _counts(what, errors, u, rng)
        else:
            values[at] = _grades(what, errors, u, chosen, k, rng)
    return Simulated(values.reshape(s, n, -1), f.reshape(s, n, -1), b, events)


def _measure(
    bound: Bound, k: int, what: Observation, errors: Array, f: Array, chosen: Selection, rng: np.random.Generator
) -> Array:
    batch = np.asarray(chosen.of("batch", k), dtype=np.int64)
    if what.batches:
        first = len(bound.own[k]) - len(what.batches)
        f = f * np.exp(np.concatenate([[0.0], errors[first:]])[batch])
    part = spread(what, errors, f)
    noise = rng.standard_t(what.df, len(f)) if "student" in what.error else rng.standard_normal(len(f))
    drawn = part.m + part.s * noise
    if what.error in ("lognormal", "logstudent"):
        return np.asarray(np.maximum(np.exp(drawn) - what.floor, 0.0))
    return np.asarray(drawn)


def _grades(
    what: Outcome, errors: Array, u: Array, chosen: Selection, k: int, rng: np.random.Generator
) -> Array:  # fmt: skip
    """Ordinal draws; with memory, one row after the other, each from the grade drawn before."""
    top = len(what.cuts)
    cuts, linear = errors[:top], errors[top] * u
    logistic = rng.logistic(size=len(u))
    if what.memory is None:
        return np.asarray((linear[:, None] + logistic[:, None] > cuts[None]).sum(axis=1), dtype=float)
    m, _ = chosen.places[k]
    time = np.asarray(chosen.of("time_h", k), dtype=float)
    order = np.lexsort((time, m))
    out, previous, last = np.zeros(len(u)), 0.0, -1
    for place in order:
        previous = previous if m[place] == last else 0.0
        last = int(m[place])
        previous = float((linear[place] + errors[top + 1] * previous + logistic[place] > cuts).sum())
        out[place] = previous
    return out


def _counts(what: Outcome, errors: Array, u: Array, rng: np.random.Generator) -> Array:
    mean = np.exp(errors[0] + errors[1] * u)
    if what.dispersion is not None:
        size = 1.0 / errors[2]
        mean = rng.gamma(size, mean / size)
    return np.asarray(rng.poisson(mean), dtype=float)


def _events(errors: Array, u: Array, chosen: Selection, k: int, sets: int, rng: np.random.Generator) -> Array:
    """Times at which the cumulative hazard passes an exponential draw, linear between nodes; NaN if it does not."""
    m, _ = chosen.places[k]
    role, time = np.asarray(chosen.of("role", k)), np.asarray(chosen.of("time_h", k), dtype=float)
    weight = np.asarray(chosen.of("weight", k), dtype=float)
    node = np.flatnonzero(role == NODE)
    node = node[np.lexsort((time[node], m[node]))]
    who, t, hours = m[node], time[node], weight[node]
    total = np.cumsum(hours * np.exp(errors[0] + errors[1] * u[node]))
    first = np.searchsorted(who, np.arange(sets))
    last = np.searchsorted(who, np.arange(sets), side="right") - 1
    out = np.full(sets, np.nan)
    known = last >= first
    base = np.where(first > 0, total[np.maximum(first, 1) - 1], 0.0)
    bar = base + rng.exponential(size=sets)
    happened = known & (np.where(known, total[np.maximum(last, 0)], -np.inf) > bar)
    j = np.searchsorted(total, bar[happened], side="right")
    begin = j == first[happened]
    before = np.where(begin, base[happened], total[np.maximum(j, 1) - 1])
    start = np.where(begin, np.maximum(0.0, t[j] - hours[j]), t[np.maximum(j, 1) - 1])
    out[happened] = start + (t[j] - start) * (bar[happened] - before) / (total[j] - before)
    return out


def simulated_records(bound: Bound, population: Population, seed: int, *, prefix: str = "synthetic ") -> Records:
    """One replicate as records of the same design, censored at the same limits.

    The limit of a row is its own (a censored row's value, the ``limit`` of a quantified one), else the median of those
    that the observable has in these records. Events are censored at the time the subject was last seen.
    """
    drawn = simulate_observations(bound, population, seed)
    floors, ceilings = _limits(bound, LEFT, -np.inf), _limits(bound, RIGHT, np.inf)
    return Records(tuple(
        _subject(bound, drawn, i, floors, ceilings, prefix) for i in range(len(bound))
    ))  # fmt: skip


def _limits(bound: Bound, role: int, none: float) -> dict[int, float]:
    rows, out = bound.rows, {}
    for k in range(len(bound.model.observed)):
        limits = rows.value[(rows.observed == k) & (rows.role == role)]
        out[k] = float(np.median(limits)) if len(limits) else none
    return out


def _subject(
    bound: Bound, drawn: Simulated, i: int, floors: dict[int, float], ceilings: dict[int, float], prefix: str
) -> Subject:
    rows, s = bound.rows, bound.records.subjects[i]
    table = s.observations
    value, censor = table["value"].to_numpy(float).copy(), table["censor"].to_numpy(object).copy()
    for place, name in enumerate(table["observable"]):
        if name in drawn.events:
            time = drawn.events[name][0, i]
            happened = np.isfinite(time) and time <= value[place]
            value[place], censor[place] = (time, "none") if happened else (value[place], "right")
    for r in np.flatnonzero((rows.source[i] >= 0) & (rows.role[i] != EVENT)):
        k, place, role = int(rows.observed[i, r]), int(rows.source[i, r]), int(rows.role[i, r])
        y, low, high = drawn.values[0, i, r], -np.inf, np.inf
        if isinstance(bound.model.observed[k], Observation):
            own = rows.limit[i, r] if role == QUANTIFIED else rows.value[i, r]
            low = own if role in (QUANTIFIED, LEFT) and np.isfinite(own) else floors[k]
            high = own if role == RIGHT else ceilings[k]
        value[place] = min(max(y, low), high)
        censor[place] = "left" if y < low else ("right" if y > high else "none")
    return replace(s, id=f"{prefix}{s.id}", observations=table.assign(value=value, censor=censor))
