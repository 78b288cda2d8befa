"""A hidden Markov model of readings: which reading each row of each patient's series was stored under.

The hidden state of a row is its reading (see :mod:`icans.harmonize.candidates`) or ``junk`` (no reading makes
it possible). Patients keep a reading from row to row with high probability; the weights of the readings at a
series' start, and how often a reading changes, are learned. What is seen of a row:

* its canonical value under the reading, given the row before it (patients change gradually: a Student t about
  the last value, mixed with the spread of the whole cohort, so that a real jump is not taken for a unit), zero
  where that value is impossible;
* how many decimals it was written with, given the reading and the size of the stored number.

Forward-backward passes and expectation-maximisation (Baum et al. 1970, doi 10.1214/aoms/1177697196; Rabiner
1989, doi 10.1109/5.18626) run over all series at once; the emission depends on the previous and the present
state, which leaves the recursions exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.core.chains import Plan, forward_backward

Array = npt.NDArray[np.float64]

#: Weight of the cohort's spread in the density of a row given the row before it: one real jump in twenty rows.
JUMP = 0.05
#: Degrees of freedom of the Student densities: heavy enough that magnitude alone rarely decides.
DEGREES = 4.0
#: Log density of an impossible value under a reading: never zero, so that a series with one typing error survives.
IMPOSSIBLE = -25.0
#: Weight of junk before anything is seen: about one typing error in two thousand rows.
JUNK = 5e-4
#: Scale of the density of junk, in spreads of the cohort.
JUNK_WIDTH = 10.0
#: Pseudo-rows behind the table of decimals of each reading: enough that a few odd rows do not vouch for themselves.
PRECISION_ROWS = 30.0
#: Pseudo-counts for changes of reading: one in a hundred rows before anything is seen.
CHANGE = (0.5, 49.5)
#: Pseudo-series behind the weights of the readings.
WEIGHT_SERIES = 1.0


@dataclass(frozen=True)
class Rows:
    """Rows of one analyte, ordered by series and time.

    ``values`` (n, S): canonical values on the modelling scale (log for concentrations) under each reading;
    ``possible`` (n, S); ``series`` (n,): 0, 1, ... ascending; ``gap`` (n,): hours since the row before;
    ``places`` (n,): class of decimals; ``size`` (n,): class of magnitude of the stored number;
    ``log_prior`` (number of series, S): what other analytes, batch and declaration say of each series;
    ``single`` (S,): readings that explain single rows (typing errors) and do not last.
    """

    values: Array
    possible: npt.NDArray[np.bool_]
    series: npt.NDArray[np.int64]
    gap: Array
    places: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    log_prior: Array
    jacobian: Array
    single: npt.NDArray[np.bool_]


@dataclass
class Parameters:
    """What is learned: location and spread of the cohort, step within a patient, weights, changes, decimals."""

    location: float
    spread: float
    step: float
    typical_gap: float
    weights: Array
    change: float
    precision: Array = field(repr=False)


@dataclass(frozen=True)
class Fit:
    """Posterior of each row (n, S + 1; the last state is junk), and the parameters behind it."""

    posterior: Array
    parameters: Parameters
    log_likelihood: float


def fit(rows: Rows, start: Parameters, *, iterations: int = 25, tolerance: float = 1e-4) -> Fit:
    """Run expectation-maximisation from ``start``; deterministic."""
    plan = Plan.of(rows.series)
    now, last = start, -np.inf
    for _ in range(iterations):
        posterior, initial, changes, total = _expect(rows, now, plan)
        if total - last < tolerance * max(1.0, abs(total)) * 1e-2:
            break
        last = total
        now = _maximise(rows, now, posterior, initial, changes, plan)
    posterior, _, _, total = _expect(rows, now, plan)
    return Fit(posterior, now, total)


def _t(deviation: Array, scale: Array | float) -> Array:
    """Log density of a Student t with :data:`DEGREES` degrees of freedom."""
    constant = -0.9808292530117262  # log of Gamma(5/2) / (Gamma(2) sqrt(4 pi)), for 4 degrees of freedom
    return constant - np.log(scale) - 0.5 * (DEGREES + 1) * np.log1p((deviation / scale) ** 2 / DEGREES)


def _marginal(rows: Rows, now: Parameters) -> Array:
    """Log density of each row's value under the cohort's spread, (n, S)."""
    density = _t(rows.values - now.location, now.spread) + rows.jacobian
    return np.where(rows.possible, density, IMPOSSIBLE)


def _decimals(rows: Rows, now: Parameters) -> Array:
    """Log probability of each row's decimals, (n, S)."""
    return np.log(now.precision[:, rows.size, rows.places]).T


def _pairs(rows: Rows, now: Parameters, index: npt.NDArray[np.int64], marginal: Array) -> Array:
    """Log density of rows ``index`` given the row before, (m, S before, S now)."""
    scale = now.step * np.sqrt(np.clip(rows.gap[index] / now.typical_gap, 0.25, 16.0))[:, None, None]
    deviation = rows.values[index][:, None, :] - rows.values[index - 1][:, :, None]
    local = _t(deviation, scale) + rows.jacobian[None, None, :]
    mixed = np.logaddexp(np.log1p(-JUMP) + local, np.log(JUMP) + marginal[index][:, None, :])
    usable = rows.possible[index - 1][:, :, None]
    density = np.where(usable, mixed, marginal[index][:, None, :])
    return np.where(rows.possible[index][:, None, :], density, IMPOSSIBLE)


def _start(rows: Rows, now: Parameters, plan: Plan) -> Array:
    """Log weights of the states at the start of each series, in the order of the plan, (m, S + 1)."""
    prior = np.log(now.weights)[None, :] + rows.log_prior[plan.order]
    prior = prior - np.logaddexp.reduce(prior, axis=1, keepdims=True)
    junk = np.full((len(prior), 1), np.log(JUNK))
    return np.concatenate([prior + np.log1p(-JUNK), junk], axis=1)


def _transition(rows: Rows, start: Array, now: Parameters) -> Array:
    """Log probabilities of the next state, (m, S + 1, S + 1): stay, or draw anew; junk never lasts."""
    count = start.shape[1] - 1
    anew = np.log(now.change) + start
    matrix = np.broadcast_to(anew[:, None, :], (len(start), count + 1, count + 1)).copy()
    stay = np.log1p(-now.change) + np.log1p(-JUNK)
    own = np.arange(count)
    matrix[:, own, own] = np.logaddexp(matrix[:, own, own], stay)
    matrix[:, :count, count] = np.log(JUNK)
    matrix[:, count, :] = start
    matrix[:, np.flatnonzero(rows.single), :] = start[:, None, :]
    return matrix


def _emission(rows: Rows, now: Parameters, index: npt.NDArray[np.int64], marginal: Array, written: Array) -> Array:
    """Log density of rows given the state before and the present state, (m, S + 1, S + 1)."""
    count = rows.values.shape[1]
    full = np.empty((len(index), count + 1, count + 1))
    full[:, :count, :count] = _pairs(rows, now, index, marginal) + written[index][:, None, :]
    full[:, count, :count] = marginal[index] + written[index]
    full[:, :, count] = _junk(rows, now)[index][:, None]
    return full


def _junk(rows: Rows, now: Parameters) -> Array:
    """Log density of junk, for impossible values only: a Cauchy density far wider than the cohort's spread."""
    scale = JUNK_WIDTH * now.spread
    wide = -np.log(np.pi * scale) - np.log1p(((rows.values[:, 0] - now.location) / scale) ** 2)
    return np.where(rows.possible[:, 0], -1e3, wide - np.log(now.precision.shape[2]))


def _expect(rows: Rows, now: Parameters, plan: Plan) -> tuple[Array, Array, tuple[float, float], float]:
    marginal, written = _marginal(rows, now), _decimals(rows, now)
    start = _start(rows, now, plan)
    steps = _transition(rows, start, now)
    first = np.concatenate([marginal[plan.first] + written[plan.first], _junk(rows, now)[plan.first][:, None]], axis=1)
    links = []
    for k in range(1, len(plan.alive)):
        index = plan.rows(k)
        links.append(steps[: len(index)] + _emission(rows, now, index, marginal, written))
    found = forward_backward(start + first, links, plan, rows.series)
    kept = found.joint[0, :-1, :-1]
    stayed = float(np.trace(kept))
    posterior = found.posterior
    return posterior, posterior[plan.first], (stayed, float(kept.sum()) - stayed), float(found.evidence.sum())


def _maximise(
    rows: Rows, now: Parameters, posterior: Array, initial: Array, changes: tuple[float, float], plan: Plan
) -> Parameters:
    states = posterior[:, :-1]
    weights = initial[:, :-1].sum(axis=0) + WEIGHT_SERIES * now.weights
    change = (changes[1] + CHANGE[0]) / (changes[0] + changes[1] + sum(CHANGE))
    precision = np.empty_like(now.precision)
    for s in range(states.shape[1]):
        table = np.zeros(now.precision.shape[1:])
        np.add.at(table, (rows.size, rows.places), states[:, s])
        overall = (table.sum(axis=0) + PRECISION_ROWS * now.precision[s].mean(axis=0)) / (table.sum() + PRECISION_ROWS)
        precision[s] = (table + PRECISION_ROWS * overall) / (table.sum(axis=1, keepdims=True) + PRECISION_ROWS)
    best = rows.values[np.arange(len(rows.values)), states.argmax(axis=1)]
    sure = states.max(axis=1) > 0.5
    location = float(np.median(best[sure])) if sure.any() else now.location
    return Parameters(
        location, now.spread, now.step, now.typical_gap, weights / weights.sum(), float(min(change, 0.2)), precision
    )
