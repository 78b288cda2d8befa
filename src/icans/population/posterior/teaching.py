"""Which measurement would teach most next: information about the patient, and about one thing in particular.

Two computations that share only the draws. The linear one takes draws and results as jointly normal. The preposterior
one lets draws be true in turn, simulates the result, weighs all draws by its likelihood (with the assay's limit) and
averages what remains (Chaloner and Verdinelli 1995, doi 10.1214/ss/1177009939). Where they differ the second is right,
up to Monte Carlo error; the first is there to check it, and is smooth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import logsumexp, ndtri

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.population.fit.result import Fit
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import ErrorParameter, error_layout
from icans.population.nlme.records import LEFT, QUANTIFIED, Records
from icans.population.nlme.terms import Columns, spread, terms, transformed
from icans.population.posterior.courses import measured
from icans.population.posterior.outcomes import predictor, step_chances
from icans.population.posterior.proposals import even_uniforms
from icans.population.posterior.solving import Solved, solve_draws
from icans.population.posterior.value import Posterior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A measurement that could be made: when, of what; ``limit``: the assay's lower limit of quantification."""

    time_h: float
    observable: str
    limit: float = float("nan")


@dataclass(frozen=True, slots=True)
class Aim:
    """What one wants to know: the largest value of an output over ``times_h`` (one time: the value there).

    ``log``: its logarithm (for quantities of which factors matter). ``grade``: instead, the probability that the
    ordinal outcome ``name`` is at least ``grade`` at the time where that is likeliest (its memory left out).
    """

    name: str
    times_h: tuple[float, ...]
    log: bool = True
    grade: int | None = None


def worth_of_measuring(
    fit: Fit, posterior: Posterior, records: Records, candidates: Sequence[Candidate], *, seed: int,
    aim: Aim | None = None, plans: Mapping[str, Sequence[Any]] | None = None, outer: int = 64,
) -> pd.DataFrame:  # fmt: skip
    """What each candidate would teach about each patient, best first within a patient.

    Columns: ``id, time_h, observable``; ``information`` and ``information_linear``: expected information about the
    random effects (nats); with an aim also ``aim_sd`` (now), and ``reduction`` and ``reduction_linear``: the share of
    the aim's variance that the result is expected to remove; ``outer``: how many draws are true in turn. Ordinal
    outcomes need no simulation: every grade is weighed.

    Raises
    ------
    ModelError
        Unknown observables, candidates before the landmark, an aim that the model does not have.
    """
    _check(fit, posterior, candidates, aim)
    places = [_output(fit, c.observable) for c in candidates]
    aimed = [_aim_output(fit, aim)] * len(aim.times_h) if aim else []
    times = np.array([c.time_h for c in candidates] + (list(aim.times_h) if aim else []))
    n = len(posterior)
    solved = solve_draws(fit, posterior, records, np.tile(times, (n, 1)), np.tile(places + aimed, (n, 1)), plans)
    rows = []
    for i, name in enumerate(posterior.who):
        w = posterior.weights[i]
        goal = _goal(fit, aim, solved, i, len(candidates)) if aim else None
        for j, c in enumerate(candidates):
            pairs = even_uniforms(stream(seed, "teaching", name, c.time_h, c.observable), outer, 2)
            view = _View(fit, c, solved.values[i, :, j], solved.psi[i], w, goal)
            rows.append({"id": name, "time_h": c.time_h, "observable": c.observable, **view.linear(),
                         **view.preposterior(pairs)})  # fmt: skip
            if goal is not None:
                rows[-1]["aim_sd"] = float(np.sqrt(_variance(goal, w)))
    table = pd.DataFrame(rows)
    by = "reduction" if aim else "information"
    order = pd.Categorical(table["id"], posterior.who, ordered=True)
    ranked = table.assign(_who=order).sort_values(["_who", by], ascending=[True, False], kind="stable")
    return ranked.drop(columns="_who").reset_index(drop=True)


def _variance(x: Array, w: Array) -> float:
    return float(w @ (x - w @ x) ** 2)


@dataclass(frozen=True)
class _View:
    """One candidate of one patient: outputs ``f`` (S,), parameters (S, P), weights, and the aim's values (S,)."""

    fit: Fit
    candidate: Candidate
    f: Array
    psi: Array
    w: Array
    goal: Array | None

    @property
    def place(self) -> int:
        return [o.name for o in self.fit.model.observed].index(self.candidate.observable)

    @property
    def mine(self) -> tuple[tuple[ErrorParameter, ...], Array]:
        layout = error_layout(self.fit.model.observed)
        at = [j for j, e in enumerate(layout) if e.observed == self.place]
        return tuple(layout[j] for j in at), self.fit.population.errors[at]

    def linear(self) -> dict[str, float]:
        """Gains where location and aim are taken as jointly normal over the draws."""
        what, (_, errors) = self.fit.model.observed[self.place], self.mine
        if isinstance(what, Observation):
            part = spread(what, errors, self.f)
            factor = what.df / (what.df - 2.0) if "student" in what.error and what.df > 2.0 else 1.0
            m, noise = part.m, float(self.w @ part.s**2) * factor
        else:
            chance = self._grades(what)
            grades = np.arange(chance.shape[1])
            m = chance @ grades
            noise = float(self.w @ (chance @ grades**2 - m**2))
        total = _variance(m, self.w) + noise
        out = {"information_linear": 0.5 * float(np.log(total / noise))}
        if self.goal is not None:
            both = float(self.w @ ((m - self.w @ m) * (self.goal - self.w @ self.goal)))
            spare = _variance(self.goal, self.w) * total
            out["reduction_linear"] = both**2 / spare if spare > 0.0 else 0.0
        return out

    def _grades(self, what: Outcome) -> Array:
        u = predictor(self.fit, what, self.f[:, None], self.psi)[:, 0]
        return step_chances(what, self.mine[1], u, 0.0)

    def preposterior(self, pairs: Array) -> dict[str, float]:
        """Gains averaged over simulated results; ``pairs`` (outer, 2): even uniforms for the true draw and error."""
        what, (mine, errors) = self.fit.model.observed[self.place], self.mine
        log_w = np.log(np.maximum(self.w, 1e-300))
        if isinstance(what, Observation):
            order = np.argsort(self.f, kind="stable")
            at = np.searchsorted(np.cumsum(self.w[order]), pairs[:, 0] * self.w.sum())
            picked = order[np.minimum(at, len(order) - 1)]
            like = self._likelihoods(what, mine, errors, picked, pairs[:, 1])
            share = np.full(len(picked), 1.0 / len(picked))
            told = like[np.arange(len(picked)), picked]
        else:
            like = np.log(np.maximum(self._grades(what), 1e-300)).T
            share = np.exp(like) @ self.w
            told = (np.exp(like) * like) @ self.w / np.maximum(share, 1e-300)
        marginal = logsumexp(like + log_w, axis=1)
        out = {"information": float(share @ (told - marginal))}
        if self.goal is not None:
            after = np.exp(like + log_w - marginal[:, None])
            mean = after @ self.goal
            left = np.maximum(after @ self.goal**2 - mean**2, 0.0)
            now = _variance(self.goal, self.w)
            out["reduction"] = 1.0 - float(share @ left) / now if now > 0.0 else 0.0
        return out

    def _likelihoods(
        self, what: Observation, mine: tuple[ErrorParameter, ...], errors: Array, picked: Ints, uniform: Array
    ) -> Array:
        """Log-likelihood of each simulated result under every draw, (outer, S)."""
        noise = stats.t.ppf(uniform, what.df) if "student" in what.error else ndtri(uniform)
        y = measured(what, errors, self.f[picked], noise)
        low = self.candidate.limit
        below = np.isfinite(low) & (y < low)
        y = np.where(below, low, y)
        if what.error in ("lognormal", "logstudent"):  # a result of 0 has no logarithm
            y = np.where(np.isfinite(transformed(what, y)), y, np.finfo(float).tiny)
        count, size = len(picked), len(self.f)
        value = np.repeat(y, size)
        zero = np.zeros(count * size)
        role = np.where(np.repeat(below, size), LEFT, QUANTIFIED)
        columns = Columns(role, value, np.full(count * size, np.nan), zero, zero, np.zeros(count * size, np.int64))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of derivatives that are not asked for
            logp = terms(what, mine, errors, np.tile(self.f, count), columns).logp
        return np.maximum(logp.reshape(count, size), -1e6)


def _output(fit: Fit, name: str) -> int:
    what = next(o for o in fit.model.observed if o.name == name)
    return fit.model.structural.outputs.index(what.output)


def _aim_output(fit: Fit, aim: Aim) -> int:
    if aim.grade is not None:
        return _output(fit, aim.name)
    outputs = fit.model.structural.outputs
    return outputs.index(aim.name) if aim.name in outputs else _output(fit, aim.name)


def _goal(fit: Fit, aim: Aim, solved: Solved, i: int, first: int) -> Array:
    """The aim at every draw of one patient, (S,)."""
    f = solved.values[i, :, first:]
    if aim.grade is None:
        top = f.max(axis=1)
        return np.log(np.maximum(top, 1e-300)) if aim.log else top
    k = [o.name for o in fit.model.observed].index(aim.name)
    what = fit.model.observed[k]
    assert isinstance(what, Outcome)
    layout = error_layout(fit.model.observed)
    errors = fit.population.errors[[j for j, e in enumerate(layout) if e.observed == k]]
    chance = step_chances(what, errors, predictor(fit, what, f, solved.psi[i]), 0.0)
    return np.asarray(chance[..., aim.grade :].sum(axis=-1).max(axis=1))


def _check(fit: Fit, posterior: Posterior, candidates: Sequence[Candidate], aim: Aim | None) -> None:
    fine = {o.name: o for o in fit.model.observed if isinstance(o, Observation) or o.kind == "ordinal"}
    problems = []
    if not candidates:
        problems.append(Problem("candidates", None, None, None, "at least one measurement", "Name some."))
    for row, c in enumerate(candidates, 1):
        if c.observable not in fine:
            remedy = f"There are: {', '.join(fine)}."
            problems.append(Problem("candidates", row, "observable", c.observable, "a measured value or grade", remedy))
        if c.time_h < posterior.landmark_h:
            expected = f"{posterior.landmark_h:g} h or later"
            problems.append(Problem("candidates", row, "time_h", f"{c.time_h:g}", expected, "It is past."))
    if aim is not None:
        outcome = fine.get(aim.name)
        known = aim.name in fit.model.structural.outputs or aim.name in fine
        if aim.grade is not None:
            known = isinstance(outcome, Outcome) and 1 <= aim.grade <= len(outcome.cuts)
        if not known or not aim.times_h:
            expected = "an output, observable or grade of the model, and times"
            problems.append(Problem("aim", None, "name", f"{aim.name} {aim.grade or ''}", expected, "Mend the aim."))
    if problems:
        raise ModelError(problems)
