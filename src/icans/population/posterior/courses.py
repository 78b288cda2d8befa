"""Forecast of every observable and model output from a posterior, with bands, under a plan of doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.population.fit.result import Fit
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import error_layout
from icans.population.nlme.records import Records
from icans.population.nlme.terms import spread
from icans.population.posterior.outcomes import chances, drawn_path, last_grade, predictor
from icans.population.posterior.solving import grid, solve_draws
from icans.population.posterior.value import Posterior, weighted_quantiles

Array = npt.NDArray[np.float64]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Courses:
    """Forecast courses of n patients: ``values`` (n, S, T, K) of the quantities ``names`` (K) at ``time_h`` (T), with
    the draws' ``weights`` (n, S). ``residual``: residual errors, and draws of outcomes, are part of them.
    """

    who: tuple[str, ...]
    landmark_h: float
    time_h: Array
    names: tuple[str, ...]
    values: Array
    weights: Array
    residual: bool

    def quantiles(self, levels: Sequence[float] = LEVELS) -> Array:
        """Bands, (n, levels, T, K)."""
        n, size, t, k = self.values.shape
        flat = weighted_quantiles(self.values.reshape(n, size, t * k), self.weights, levels)
        return flat.reshape(n, len(levels), t, k)

    def table(self, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
        """One row a patient, quantity and time: ``id, name, time_h, mean, q05, ...``."""
        n, _, t, k = self.values.shape
        out = pd.DataFrame({
            "id": np.repeat(self.who, k * t), "name": np.tile(np.repeat(self.names, t), n),
            "time_h": np.tile(self.time_h, n * k),
            "mean": np.moveaxis(np.einsum("ns,nstk->ntk", self.weights, self.values), 2, 1).ravel(),
        })  # fmt: skip
        bands = np.moveaxis(self.quantiles(levels), 3, 2)
        for j, level in enumerate(levels):
            out[f"q{100 * level:02.0f}" if 100 * level == round(100 * level) else f"q{level:g}"] = bands[:, j].ravel()
        return out


def forecast_courses(
    fit: Fit, posterior: Posterior, records: Records, time_h: Sequence[float] | Array, *, seed: int,
    names: Sequence[str] | None = None, plans: Mapping[str, Sequence[Any]] | None = None, residual: bool = True,
) -> Courses:  # fmt: skip
    """Courses of observables and outputs at ``time_h``, ascending hours, from every draw of the posterior.

    ``names``: of observables or outputs of the structural model (all observables but events if None; a name that is
    both is the observable). With ``residual`` a measured value has its error and a grade or count is drawn (a grade
    with memory follows the patient's last known one, one forecast time after the other); without, a value is the
    prediction and a grade or count its expectation. Times of events: :func:`event_probability`.

    Raises
    ------
    ModelError
        Unknown names, times out of order, and what :func:`~icans.population.posterior.solving.solve_draws` refuses.
    """
    model = fit.model
    times = np.asarray(time_h, dtype=float)
    wanted = tuple(names) if names is not None else tuple(
        o.name for o in model.observed if not (isinstance(o, Outcome) and o.kind == "event")
    )  # fmt: skip
    observed = {o.name: k for k, o in enumerate(model.observed)}
    _check(fit, wanted, times)
    outputs = [
        model.structural.outputs.index(model.observed[observed[w]].output if w in observed else w) for w in wanted
    ]
    solved = solve_draws(fit, posterior, records, *grid(len(posterior), times, outputs), plans)
    n, size = posterior.log_weights.shape
    f = solved.values.reshape(n, size, len(wanted), len(times))
    layout = error_layout(model.observed)
    values = np.empty((n, size, len(times), len(wanted)))
    for j, w in enumerate(wanted):
        if w not in observed:
            values[:, :, :, j] = f[:, :, j]
            continue
        k = observed[w]
        what = model.observed[k]
        errors = fit.population.errors[[i for i, e in enumerate(layout) if e.observed == k]]
        for i, name in enumerate(posterior.who):
            rng = stream(seed, "forecast", name, w)
            if isinstance(what, Observation):
                here = f[i, :, j]
                values[i, :, :, j] = measured(what, errors, here, _noise(what, here.shape, rng)) if residual else here
            else:
                u = predictor(fit, what, f[i, :, j], solved.psi[i])
                before = last_grade(records.subjects[i], w, posterior.landmark_h)
                values[i, :, :, j] = drawn_path(what, errors, u, before, rng) if residual else _expected(
                    what, errors, u, before)  # fmt: skip
    return Courses(posterior.who, posterior.landmark_h, times, wanted, values, posterior.weights, residual)


def measured(what: Observation, errors: Array, f: Array, noise: Array) -> Array:
    """Measured values of predictions, by the reference assay, with standard ``noise`` of the error's distribution."""
    flat = f.ravel()
    part = spread(what, errors, flat)
    drawn = part.m + part.s * noise.ravel()
    if what.error in ("lognormal", "logstudent"):
        drawn = np.maximum(np.exp(drawn) - what.floor, 0.0)
    return np.asarray(drawn.reshape(f.shape))


def _noise(what: Observation, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_t(what.df, shape) if "student" in what.error else rng.standard_normal(shape)


def _expected(what: Outcome, errors: Array, u: Array, before: float) -> Array:
    if what.kind == "count":
        return np.asarray(np.exp(errors[0] + errors[1] * u))
    return np.asarray(chances(what, errors, u, before) @ np.arange(len(what.cuts) + 1.0))


def _check(fit: Fit, wanted: Sequence[str], times: Array) -> None:
    known = {o.name for o in fit.model.observed} | set(fit.model.structural.outputs)
    events = {o.name for o in fit.model.observed if isinstance(o, Outcome) and o.kind == "event"}
    remedy = f"There are: {', '.join(sorted(known)[:20])}."
    problems = [Problem("forecast", None, "names", w, "an observable or output", remedy)
                for w in wanted if w not in known]  # fmt: skip
    problems += [Problem("forecast", None, "names", w, "a quantity with a course", "Ask event_probability for events.")
                 for w in wanted if w in events]  # fmt: skip
    if len(times) == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        problems.append(Problem("forecast", None, "time_h", str(times[:4]), "ascending hours", "Sort them."))
    if problems:
        raise ModelError(problems)
