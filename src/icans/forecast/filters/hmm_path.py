"""A hidden Markov model of the grade path: unseen phases of the course, seen through grades and results.

Each day a patient is in one of a few phases; phases follow each other by a Markov chain. What a phase emits:

* the day's grade, given the phase and the grade of the day before (with ``memory``: the phases switch between
  Markov chains of grades, Hamilton JD, Econometrica 1989;57:357) or given the phase alone;
* results known by the end of the day, normal within a phase on a prepared scale (log, standardised), those missing
  left out, to the power ``result_weight``: many correlated results would otherwise outvote the grade.

All parameters are learned by expectation-maximisation (:mod:`icans.core.chains`) as posterior modes under priors
worth a few days; a day without a row is a day on which nothing was seen. A forecast filters the patient's rows up to
a day and runs the chain on; days to come emit nothing but the grade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.chains import Passes, Plan, forward, forward_backward
from icans.core.errors import NotFittedError
from icans.core.random import stream
from icans.forecast.filters.days import covariates
from icans.forecast.grade_path import STATES
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Days that the prior of a row of transitions is worth, and the share of it that stays in the phase.
PRIOR_DAYS, PRIOR_STAY = 4.0, 0.8
#: Days that the grades of all phases together are worth for each phase (and row of its grade chain).
PRIOR_GRADES = 4.0
#: Days that the spread of all days is worth for the mean and variance of a result in a phase.
PRIOR_RESULT = 5.0
#: Most rounds of expectation-maximisation, and the relative gain that ends them.
ITERATIONS, TOLERANCE = 40, 5e-5


@dataclass(frozen=True)
class PhaseParameters:
    """Start (K,), transitions (K, K), grades (K, 6, 6): phase, grade before, grade; means and variances (K, p).

    ``first`` (K, 6): grades on a day whose day before was not graded.
    """

    start: Floats
    transition: Floats
    grades: Floats
    first: Floats
    mean: Floats
    variance: Floats


@dataclass(frozen=True)
class PhasePath:
    """Hidden Markov model of the daily grade.

    Parameters
    ----------
    name
        For tables.
    phases
        Number of hidden phases.
    memory
        Whether the grade also depends on the grade of the day before.
    columns
        Feature columns of the path that are emitted; None: none (grades alone). Absent ones are left out.
    result_weight
        Power of the results' density, 0 to 1.
    starts, seed
        Random beginnings of the search; the one with the highest posterior density is kept.
    iterations
        Most rounds of expectation-maximisation.
    """

    name: str = "hmm"
    phases: int = 4
    memory: bool = True
    columns: tuple[str, ...] | None = None
    result_weight: float = 0.25
    starts: int = 3
    seed: int = 1
    iterations: int = ITERATIONS
    parameters: PhaseParameters | None = None
    prepared: Preparation | None = None
    objective: tuple[float, ...] = ()

    def fit(self, path: pd.DataFrame) -> PhasePath:
        """Expectation-maximisation from several beginnings."""
        prepared = None
        frame = self._features(path)
        if frame.shape[1]:
            prepared = preprocessor(PrepareSpec(impute=False))
            prepared.learn(frame)
        grid = _Grid.of(path, None if prepared is None else prepared.matrix(frame))
        best: tuple[tuple[float, ...], PhaseParameters] | None = None
        for k in range(self.starts):
            trace, parameters = self._climb(
                grid, _begin(grid, self.phases, self.memory, stream(self.seed, "phases", k))
            )
            if best is None or trace[-1] > best[0][-1]:
                best = (trace, parameters)
        if best is None:
            raise ValueError("starts must be at least 1")
        return replace(self, parameters=best[1], prepared=prepared, objective=best[0])

    def predict_path(self, path: pd.DataFrame, ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days after each row, shape (n, 6)."""
        if self.parameters is None:
            raise NotFittedError("fit the grade path model first")
        now = self.parameters
        grid = self._grid(path)
        weights = _filtered(grid, now, self._emission(grid, now))[grid.row]
        state = path["state"].to_numpy(dtype=np.intp)
        chance = weights[:, :, None] * np.eye(STATES)[state][:, None, :]
        for _ in range(ahead):
            moved = np.einsum("nkg,kj->njg", chance, now.transition)
            chance = np.einsum("njg,jgh->njh", moved, now.grades)
        return chance.sum(axis=1)

    def phases_of(self, path: pd.DataFrame, *, smooth: bool = False) -> Floats:
        """Probability of each phase at each row, (n, K): from rows up to it, or (``smooth``) from the whole path."""
        if self.parameters is None:
            raise NotFittedError("fit the grade path model first")
        grid = self._grid(path)
        emission = self._emission(grid, self.parameters)
        if not smooth:
            return _filtered(grid, self.parameters, emission)[grid.row]
        start, links = _weights(grid, self.parameters, emission)
        return forward_backward(start, links, grid.plan, grid.series).posterior[grid.row]

    def log_likelihood(self, path: pd.DataFrame) -> Floats:
        """Of each patient's grades (and weighted results), in the order of sorted patient numbers."""
        if self.parameters is None:
            raise NotFittedError("fit the grade path model first")
        grid = self._grid(path)
        start, links = _weights(grid, self.parameters, self._emission(grid, self.parameters))
        return forward_backward(start, links, grid.plan, grid.series).evidence

    def _grid(self, path: pd.DataFrame) -> _Grid:
        return _Grid.of(path, None if self.prepared is None else self.prepared.matrix(self._features(path)))

    def _features(self, path: pd.DataFrame) -> pd.DataFrame:
        known = set(covariates(path))
        return path[[c for c in self.columns or () if c in known]].reset_index(drop=True)

    def _climb(self, grid: _Grid, now: PhaseParameters) -> tuple[tuple[float, ...], PhaseParameters]:
        trace: list[float] = []
        for _ in range(self.iterations):
            emission = self._emission(grid, now)
            start, links = _weights(grid, now, emission)
            passes = forward_backward(start, links, grid.plan, grid.series)
            trace.append(float(passes.evidence.sum()) + _log_prior(now, grid, self.memory, self.result_weight))
            if len(trace) > 1 and trace[-1] - trace[-2] < TOLERANCE * abs(trace[-1]):
                break
            now = _maximise(grid, passes, self.memory, self.result_weight)
        return tuple(trace), now

    def _emission(self, grid: _Grid, now: PhaseParameters) -> Floats:
        """Log density of what each row shows in each phase, (n, K)."""
        out = np.zeros((len(grid.grade), len(now.start)))
        seen, after = grid.grade >= 0, grid.before >= 0
        out[seen & after] = np.log(now.grades[:, grid.before[seen & after], grid.grade[seen & after]]).T
        out[seen & ~after] = np.log(now.first[:, grid.grade[seen & ~after]]).T
        if grid.results.shape[1]:
            gap = grid.results[:, None, :] - now.mean[None]
            density = -0.5 * (np.log(2 * np.pi * now.variance)[None] + gap**2 / now.variance[None])
            out += self.result_weight * np.nansum(density, axis=2)
        return out


@dataclass(frozen=True)
class _Grid:
    """Every day from a patient's first row to the last, in patients' and days' order.

    ``series`` (n,), ``grade`` and ``before`` (n,; -1: not seen), ``results`` (n, p; NaN: not known); ``row``: place
    of each of the path's rows.
    """

    plan: Plan
    series: Ints
    grade: Ints
    before: Ints
    results: Floats
    row: Ints

    @classmethod
    def of(cls, path: pd.DataFrame, results: Floats | None) -> _Grid:
        code, ids = pd.factorize(path["patient_id"], sort=True)
        day = path["day"].to_numpy(dtype=np.int64)
        first = pd.Series(day).groupby(code).min().to_numpy()
        length = pd.Series(day).groupby(code).max().to_numpy() - first + 1
        begin = np.concatenate([[0], np.cumsum(length)[:-1]])
        row = begin[code] + day - first[code]
        n = int(length.sum())
        grade = np.full(n, -1, dtype=np.int64)
        grade[row] = path["state"].to_numpy(dtype=np.int64)
        before = np.concatenate([[-1], grade[:-1]])
        before[begin] = -1
        wide = np.full((n, 0 if results is None else results.shape[1]), np.nan)
        if results is not None:
            wide[row] = results
        series = np.repeat(np.arange(len(ids)), length)
        return cls(Plan.of(series), series, grade, before, wide, row)


def _weights(grid: _Grid, now: PhaseParameters, emission: Floats) -> tuple[Floats, list[Floats]]:
    step = np.log(now.transition)[None]
    links = [step + emission[grid.plan.rows(k)][:, None, :] for k in range(1, len(grid.plan.alive))]
    return np.log(now.start)[None] + emission[grid.plan.first], links


def _filtered(grid: _Grid, now: PhaseParameters, emission: Floats) -> Floats:
    start, links = _weights(grid, now, emission)
    ahead = forward(start, links, grid.plan, len(grid.series))
    return np.exp(ahead - np.logaddexp.reduce(ahead, axis=1, keepdims=True))


def _begin(grid: _Grid, phases: int, memory: bool, rng: np.random.Generator) -> PhaseParameters:
    """Random phases by the day's grade and its place in the course, then one maximisation."""
    place = np.arange(len(grid.series)) - grid.plan.first[np.argsort(grid.plan.order)][grid.series]
    # Nearly hard phases: soft ones lie by the saddle where all phases are alike, from which EM hardly moves.
    signal = np.maximum(grid.grade, 0) + place / max(place.max(), 1) * 2.0 + rng.normal(0.0, 0.5, len(place))
    centre = np.quantile(signal, (np.arange(phases) + rng.uniform(0.2, 0.8, phases)) / phases)
    posterior = np.full((len(signal), phases), 0.1 / phases)
    posterior[np.arange(len(signal)), np.abs(signal[:, None] - centre[None]).argmin(axis=1)] += 0.9
    inside = np.flatnonzero(np.diff(grid.series) == 0)
    joint = np.einsum("ni,nj->ij", posterior[inside], posterior[inside + 1])[None]
    return _maximise(grid, Passes(posterior, posterior, joint, np.zeros(0)), memory, 1.0)


def _maximise(grid: _Grid, passes: Passes, memory: bool, result_weight: float) -> PhaseParameters:
    weight = passes.posterior
    phases = weight.shape[1]
    start = weight[grid.plan.first].sum(axis=0) + 1.0
    transition = passes.joint[0] + _prior_transition(phases)
    grades, first = _grade_tables(grid, weight, memory)
    mean, variance = _moments(grid, result_weight * weight, result_weight)
    return PhaseParameters(_rows(start), _rows(transition), grades, first, mean, variance)


def _grade_tables(grid: _Grid, weight: Floats, memory: bool) -> tuple[Floats, Floats]:
    """Grades given phase and grade before, drawn to those of all phases; and without a grade before."""
    pooled_pair, pooled = _pooled(grid)
    pair = np.zeros((weight.shape[1], STATES, STATES))
    single = np.zeros((weight.shape[1], STATES))
    seen, after = grid.grade >= 0, grid.before >= 0
    both = seen & after
    np.add.at(pair.transpose(1, 2, 0), (grid.before[both], grid.grade[both]), weight[both])
    np.add.at(single.T, grid.grade[seen & ~after], weight[seen & ~after])
    if not memory:
        single = single + pair.sum(axis=1)
        first = _rows(single + PRIOR_GRADES * pooled[None])
        return np.repeat(first[:, None, :], STATES, axis=1), first
    return _rows(pair + PRIOR_GRADES * pooled_pair[None]), _rows(single + PRIOR_GRADES * pooled[None])


def _pooled(grid: _Grid) -> tuple[Floats, Floats]:
    """Grades of all phases, given the grade before (drawn to "stay or move by one") and without it."""
    seen, after = grid.grade >= 0, grid.before >= 0
    pair = np.zeros((STATES, STATES))
    np.add.at(pair, (grid.before[seen & after], grid.grade[seen & after]), 1.0)
    near = 0.5 * np.eye(STATES) + 0.25 * np.eye(STATES, k=1) + 0.25 * np.eye(STATES, k=-1)
    near[0, 0] += 0.25
    near[-1, -1] += 0.25
    single = np.bincount(grid.grade[seen], minlength=STATES).astype(float)
    return _rows(pair + near + 0.01), _rows(single + 0.5)


def _moments(grid: _Grid, weight: Floats, result_weight: float) -> tuple[Floats, Floats]:
    """Means and variances of the results in each phase; the results of all days are standardised."""
    known = ~np.isnan(grid.results)
    values = np.where(known, grid.results, 0.0)
    prior = PRIOR_RESULT * result_weight
    mass = weight.T @ known
    mean = (weight.T @ values) / (mass + prior)
    square = weight.T @ values**2 - 2 * mean * (weight.T @ values) + mean**2 * mass
    return mean, np.maximum((square + prior * mean**2 + prior) / (mass + prior), 1e-3)


def _prior_transition(phases: int) -> Floats:
    other = (1.0 - PRIOR_STAY) / max(phases - 1, 1)
    return PRIOR_DAYS * (np.full((phases, phases), other) + (PRIOR_STAY - other) * np.eye(phases))


def _log_prior(now: PhaseParameters, grid: _Grid, memory: bool, result_weight: float) -> float:
    """Log density of the priors, constants left out: what makes the objective that EM raises."""
    pooled_pair, pooled = _pooled(grid)
    total = float(np.log(now.start).sum() + (_prior_transition(len(now.start)) * np.log(now.transition)).sum())
    total += PRIOR_GRADES * float((pooled[None] * np.log(now.first)).sum())
    if memory:
        total += PRIOR_GRADES * float((pooled_pair[None] * np.log(now.grades)).sum())
    if now.mean.shape[1]:
        prior = PRIOR_RESULT * result_weight
        total -= 0.5 * prior * float((np.log(now.variance) + (now.mean**2 + 1.0) / now.variance).sum())
    return total


def _rows(counts: Floats) -> Floats:
    return counts / counts.sum(axis=-1, keepdims=True)
