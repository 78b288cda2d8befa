"""Solve a posterior's draws at new times, under a plan of doses: what forecasts and designs rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import bind, means, phi_of, psi_of
from icans.population.nlme.records import Records
from icans.population.posterior.known import fit_digest, known_by
from icans.population.posterior.value import Posterior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Sets that are solved together.
CHUNK = 4096


@dataclass(frozen=True)
class Solved:
    """Outputs of the structural model at requests: ``values`` (n, S, R), and individual parameters ``psi`` (n, S, P)
    of the first occasion. ``lost``: (n,), the weight of the draws that could not be solved; another draw of the patient
    stands in their place (all values are NaN where none could).
    """

    values: Array
    psi: Array
    lost: Array


def solve_draws(
    fit: Fit, posterior: Posterior, records: Records, time_h: Array, output: Ints,
    plans: Mapping[str, Sequence[Any]] | None = None,
) -> Solved:  # fmt: skip
    """Every draw of every patient at the requests ``time_h`` and ``output`` (n, R).

    ``plans``: patient -> doses to be given after the landmark; those given by then are taken from the records. Doses
    that the records have after the landmark are not used: they were not known.

    Raises
    ------
    ModelError
        Another fit, other patients, plans for patients that are not there or for times before the landmark.
    """
    _check(fit, posterior, records, plans or {})
    model, population = fit.model, fit.population
    known = known_by(model, records, posterior.landmark_h)
    bound = bind(model, known, empty=True)
    planned = [replace(s, doses=(*s.doses, *(plans or {}).get(s.id, ()))) for s in known.subjects]
    solver = model.structural.bind(planned, time_h, output)
    mean = np.stack([means(bound, population, c) for c in range(len(population.shares))])
    n, size, d = posterior.draws.shape
    who, cls = np.repeat(np.arange(n), size), posterior.classes.ravel()
    b = posterior.draws.reshape(n * size, d)
    values = np.empty((n * size, time_h.shape[1]))
    psi = np.empty((n * size, len(model.parameters)))
    for low in range(0, n * size, CHUNK):
        at = slice(low, low + CHUNK)
        here = psi_of(bound, phi_of(bound, mean[cls[at], who[at]], b[at]))
        values[at] = solver.values(here, who[at])
        psi[at] = here[:, 0]
    return _mended(values.reshape(n, size, -1), psi.reshape(n, size, -1), np.isfinite(time_h), posterior.weights)


def _mended(values: Array, psi: Array, asked: npt.NDArray[np.bool_], weights: Array) -> Solved:
    """Draws that could not be solved take the course of the next draw that could."""
    bad: npt.NDArray[np.bool_] = np.any(np.isnan(values) & asked[:, None, :], axis=2)
    for i in np.flatnonzero(np.any(bad, axis=1) & ~np.all(bad, axis=1)):
        fine = np.flatnonzero(~bad[i])
        gone = np.flatnonzero(bad[i])
        donor = fine[np.searchsorted(fine, gone) % len(fine)]
        values[i, gone], psi[i, gone] = values[i, donor], psi[i, donor]
    return Solved(values, psi, np.where(bad, weights, 0.0).sum(axis=1))


def grid(count: int, time_h: Array, outputs: Sequence[int]) -> tuple[Array, Ints]:
    """Requests of every output at every time, output by output: (n, K * T) each."""
    times = np.tile(np.asarray(time_h, float), len(outputs))
    return np.tile(times, (count, 1)), np.tile(np.repeat(np.asarray(outputs, np.int64), len(time_h)), (count, 1))


def _check(fit: Fit, posterior: Posterior, records: Records, plans: Mapping[str, Sequence[Any]]) -> None:
    problems = []
    if fit_digest(fit) != posterior.fit_digest:
        remedy = "Use the fit that it was computed with."
        problems.append(Problem("posterior", None, "fit", fit.method, "the fit of the posterior", remedy))
    if records.ids != posterior.who:
        different = ", ".join(sorted(set(records.ids) ^ set(posterior.who))[:8]) or "their order"
        problems.append(
            Problem("records", None, "id", different, "the posterior's patients in order", "Mend the list.")
        )
    for name, doses in plans.items():
        if name not in posterior.who:
            problems.append(Problem("plans", None, name, name, "a patient of the posterior", "Leave the plan out."))
        for row, dose in enumerate(doses, 1):
            if dose.time_h < posterior.landmark_h:
                expected = f"a time from the landmark ({posterior.landmark_h:g} h) on"
                remedy = "Doses given already belong to the records."
                problems.append(Problem(f"plan of {name}", row, "time_h", f"{dose.time_h:g}", expected, remedy))
    if problems:
        raise ModelError(problems)
