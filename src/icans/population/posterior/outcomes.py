"""What a posterior says of grades and events: probabilities, exact given each draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from icans.core.errors import ModelError, Problem
from icans.population.fit.result import Fit
from icans.population.nlme.observed import Outcome
from icans.population.nlme.population import error_layout
from icans.population.nlme.records import Records, Subject
from icans.population.nlme.rows import NODES, WEIGHTS
from icans.population.posterior.solving import grid, solve_draws
from icans.population.posterior.value import Posterior

Array = npt.NDArray[np.float64]


def predictor(fit: Fit, what: Outcome, f: Array, psi: Array) -> Array:
    """The predictor x of an outcome (S, T) from outputs (S, T) and individual parameters (S, P)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.log(f + what.floor) if what.link == "log" else f
    return u if what.frailty is None else u + psi[:, fit.model.names.index(what.frailty)][:, None]


def last_grade(s: Subject, name: str, landmark_h: float) -> float:
    """The last grade known at a landmark, 0 where there is none."""
    table = s.until(landmark_h).observations
    mine = table[table["observable"] == name].sort_values("time_h", kind="stable")
    return float(mine["value"].iloc[-1]) if len(mine) else 0.0


def step_chances(what: Outcome, errors: Array, u: Array, previous: Array | float) -> Array:
    """Probabilities of every grade at one assessment, (..., grades)."""
    top = len(what.cuts)
    memory = errors[top + 1] if what.memory is not None else 0.0
    linear = errors[top] * u + memory * np.asarray(previous)
    above = expit(linear[..., None] - errors[:top])
    edge = np.concatenate([np.ones((*linear.shape, 1)), above, np.zeros((*linear.shape, 1))], axis=-1)
    return np.asarray(edge[..., :-1] - edge[..., 1:])


def chances(what: Outcome, errors: Array, u: Array, before: float) -> Array:
    """Probabilities of every grade at T assessments given each of S draws, (S, T, grades).

    With memory the grade is a Markov chain over the assessments: its distribution is carried forward.
    """
    if what.memory is None:
        return step_chances(what, errors, u, 0.0)
    grades = np.arange(len(what.cuts) + 1.0)
    now = np.broadcast_to((grades == before).astype(float), (len(u), len(grades)))
    out = np.empty((*u.shape, len(grades)))
    for t in range(u.shape[1]):
        by_previous = step_chances(what, errors, u[:, t, None], grades[None, :])
        now = np.einsum("sp,spg->sg", now, by_previous)
        out[:, t] = now
    return out


def drawn_path(what: Outcome, errors: Array, u: Array, before: float, rng: np.random.Generator) -> Array:
    """Grades or counts drawn at T assessments for each of S draws, (S, T)."""
    if what.kind == "count":
        with np.errstate(over="ignore"):
            mean = np.exp(errors[0] + errors[1] * u)
        if what.dispersion is not None:
            mean = rng.gamma(1.0 / errors[2], mean * errors[2])
        return np.asarray(rng.poisson(mean), dtype=float)
    out = np.empty(u.shape)
    previous = np.full(len(u), before)
    for t in range(u.shape[1]):
        above = 1.0 - np.cumsum(step_chances(what, errors, u[:, t], previous), axis=1)[:, :-1]
        previous = (rng.random(len(u))[:, None] < above).sum(axis=1).astype(float)
        out[:, t] = previous
    return out


def grade_probability(
    fit: Fit, posterior: Posterior, records: Records, name: str, time_h: Sequence[float] | Array, *,
    plans: Mapping[str, Sequence[Any]] | None = None,
) -> Array:  # fmt: skip
    """P(grade >= k) of an ordinal outcome at assessments at ``time_h`` given each draw, (n, S, T, grades - 1).

    With memory, grades follow one another over the times asked for: ask for those at which it is assessed.

    Raises
    ------
    ModelError
        No ordinal outcome of that name; what ``solve_draws`` refuses.
    """
    what, errors = _outcome(fit, name, "ordinal")
    times = np.asarray(time_h, dtype=float)
    place = fit.model.structural.outputs.index(what.output)
    solved = solve_draws(fit, posterior, records, *grid(len(posterior), times, [place]), plans)
    out = []
    for i, s in enumerate(records.subjects):
        u = predictor(fit, what, solved.values[i], solved.psi[i])
        single = chances(what, errors, u, last_grade(s, name, posterior.landmark_h))
        out.append(1.0 - np.cumsum(single, axis=-1)[..., :-1])
    return np.clip(np.stack(out), 0.0, 1.0)


def event_probability(
    fit: Fit, posterior: Posterior, records: Records, name: str, time_h: Sequence[float] | Array, *,
    plans: Mapping[str, Sequence[Any]] | None = None,
) -> Array:  # fmt: skip
    """P(event by t | none by the landmark) at ``time_h`` given each draw, (n, S, T): 0 up to the landmark.

    For patients whose event is known already it is 1 from then on.

    Raises
    ------
    ModelError
        No event outcome of that name; what ``solve_draws`` refuses.
    """
    what, errors = _outcome(fit, name, "event")
    times = np.asarray(time_h, dtype=float)
    start = max(what.start_h, posterior.landmark_h) if np.isfinite(posterior.landmark_h) else what.start_h
    ends = np.unique(times[times > start])
    out = np.zeros((*posterior.log_weights.shape, len(times)))
    if len(ends):
        nodes, weights, stop = _nodes(start, ends, what.step_h)
        place = fit.model.structural.outputs.index(what.output)
        solved = solve_draws(fit, posterior, records, *grid(len(posterior), nodes, [place]), plans)
        for i in range(len(posterior)):
            u = predictor(fit, what, solved.values[i], solved.psi[i])
            with np.errstate(over="ignore"):
                risk = np.cumsum(weights * np.exp(errors[0] + errors[1] * u), axis=1)
            later = times > start
            at = stop[np.searchsorted(ends, times[later])]
            out[i][:, later] = -np.expm1(-risk[:, at])
    for i, s in enumerate(records.subjects):
        table = s.until(posterior.landmark_h).observations
        mine = table[(table["observable"] == name) & (table["censor"] == "none")]
        if len(mine):
            out[i] = (times >= float(mine["value"].iloc[0])).astype(float)
    return out


def _nodes(start: float, ends: Array, step_h: float) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Times and weights (h) of a quadrature from ``start`` through ``ends``, and the last node before each end."""
    times, weights, stop, low = [], [], [], start
    for end in ends:
        edges = np.linspace(low, end, max(1, int(np.ceil((end - low) / step_h))) + 1)
        half = np.diff(edges)[:, None] / 2.0
        times.append((edges[:-1, None] + half * (NODES + 1.0)).ravel())
        weights.append((half * WEIGHTS).ravel())
        stop.append(sum(map(len, times)) - 1)
        low = float(end)
    return np.concatenate(times), np.concatenate(weights), np.array(stop)


def _outcome(fit: Fit, name: str, kind: str) -> tuple[Outcome, Array]:
    layout = error_layout(fit.model.observed)
    for k, o in enumerate(fit.model.observed):
        if isinstance(o, Outcome) and o.name == name and o.kind == kind:
            return o, fit.population.errors[[i for i, e in enumerate(layout) if e.observed == k]]
    known = ", ".join(o.name for o in fit.model.observed if isinstance(o, Outcome) and o.kind == kind) or "none"
    raise ModelError([Problem("outcome", None, "name", name, f"an outcome of kind {kind}", f"There are: {known}.")])
