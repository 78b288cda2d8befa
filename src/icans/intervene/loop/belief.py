"""What a planner believes of a patient it cannot see into: other virtual patients, weighted by what is known of him.

A library of other patients is stepped without treatment once. At a decision its members are weighted by the likelihood
of what is known from before the first treatment; a few are drawn by weight, run through the patient's own doses, and
weighted by what has become known since. So treatment is accounted for and nobody's truth is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from icans.intervene.loop.ward import Chart
from icans.intervene.world import ANALYTES, Given, World, cast, join, make_world
from icans.intervene.world.world import RECORD_H

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

#: SD (ln) by which the model misses a level of a patient, beside the assay's; and a severity, beside its reader's.
MISS, MISS_SEVERITY = 0.7, 0.35
#: Powers of the likelihood: readings one after the other tell nearly the same, and members are few. Set on patients who
#: are in no comparison, by how well weights tell grade 2 within five days: with 0.4, 0.25 and 0.5 in place of 0.7, 0.25
#: and 0.25 the weights rest on 5 members in place of 60 of 600, with a log loss of 0.84 in place of 0.51.
GRADE_POWER, RESULT_POWER = 0.25, 0.25
#: Severity is never told below this, so that its ln exists.
LEAST_SEVERITY = 0.02


@dataclass
class Record:
    """What a ward has come to know of one batch: results by the hour of their sample, grades by hour, doses given."""

    result_h: list[Array] = field(default_factory=list)
    results: list[Array] = field(default_factory=list)
    hours: list[Array] = field(default_factory=list)
    grades: list[tuple[Ints, Ints]] = field(default_factory=list)
    newest: Array | None = None

    def add(self, chart: Chart) -> None:
        """What is new: a result is new where its sample is."""
        seen = chart.seen
        drawn = seen.time_h[:, None] - seen.age_h
        with np.errstate(invalid="ignore"):
            new = np.isfinite(drawn) if self.newest is None else ~(drawn <= self.newest + 1e-6) & np.isfinite(drawn)
        self.newest = drawn
        self.result_h.append(np.where(new, drawn, np.nan))
        self.results.append(np.where(new, seen.value, np.nan))
        self.hours.append(seen.time_h.copy())
        self.grades.append((seen.crs, seen.icans))


@dataclass(eq=False)
class Library:
    """Untreated members on the grid of hours: ln levels (T, members, analytes), severities (T, members, 2)."""

    world: World
    levels: npt.NDArray[np.float32]
    severities: npt.NDArray[np.float32]


def make_library(
    members: int, product: str, disease: str, drugs: tuple[str, ...], *, seed: int, first: int, horizon_d: float,
    rtol: float = 1e-3, threads: int = 1,
) -> Library:  # fmt: skip
    """A library of patients ``first`` on of the calibrated population: others than those who are treated."""
    people = cast(members, product, disease, seed, drugs=drugs, first=first)
    world = make_world(people, drugs=drugs, seed=seed, rtol=rtol, threads=threads)
    went = world.branch(np.arange(members)).hidden.step(horizon_d * 24.0)
    levels, severities = _predicted(world, np.concatenate([world.now[:, None], went.values], axis=1))
    return Library(
        world, np.moveaxis(levels, 1, 0).astype(np.float32), np.moveaxis(severities, 1, 0).astype(np.float32)
    )


def _predicted(world: World, values: Array) -> tuple[Array, Array]:
    """Ln levels (n, T, analytes) and severities (n, T, 2) from outputs (n, T, outputs)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.log(np.maximum(values[:, :, world.rules.place(world.rules.assays.outputs)], 1e-6))
    return levels, values[:, :, world.rules.place(("crs_severity", "encephalopathy"))]


def log_likelihood(
    record: Record, rows: Ints, until_h: Array, levels: Floats, severities: Floats, world: World
) -> Array:  # fmt: skip
    """Log likelihood of what is known of patients ``rows`` by hour ``until_h`` under members, shape (rows, members).

    Parameters
    ----------
    levels, severities
        On the grid, for all rows alike (T, members, ...), or for each (rows, T, members, ...).
    """
    own = levels.ndim == 4
    members = levels.shape[2] if own else levels.shape[1]
    total = np.zeros((len(rows), members))
    lab, top = world.rules.assays, (levels.shape[1] if own else levels.shape[0]) - 1
    sd = np.sqrt(lab.sd**2 + MISS**2)
    index = np.arange(len(rows))
    for when, value, hours, (crs, icans) in zip(record.result_h, record.results, record.hours, record.grades):
        for a in np.flatnonzero(np.isfinite(value[rows]).any(axis=0)):
            at, seen = when[rows, a], value[rows, a]
            good = np.isfinite(seen) & (at <= until_h + 1e-6)
            if not good.any():
                continue
            place = np.clip(np.rint(np.nan_to_num(at) / RECORD_H).astype(np.int64), 0, top)
            mean = levels[index, place, :, a] if own else levels[place, :, a]
            z = (np.log(np.maximum(np.nan_to_num(seen, nan=1.0), 1e-6))[:, None] - mean) / sd[a]
            limit = np.log(lab.lloq[a])
            below = np.nan_to_num(seen, nan=1.0) <= lab.lloq[a] * 1.000001
            found = np.where(below[:, None], log_ndtr((limit - mean) / sd[a]), -0.5 * np.minimum(z * z, 25.0))
            total += np.where(good[:, None], RESULT_POWER * found, 0.0)
        at = hours[rows]
        on_grid = (at <= until_h + 1e-6) & (np.abs(np.mod(at + 1e-6, RECORD_H)) < 1e-5)
        if on_grid.any():
            place = np.clip(np.rint(at / RECORD_H).astype(np.int64), 0, top)
            told = severities[index, place] if own else severities[place]
            for k, (grade, cuts) in enumerate(((crs, world.reader.crs_cuts), (icans, world.reader.icans_cuts))):
                total += np.where(on_grid[:, None], GRADE_POWER * _grade(grade[rows], cuts, told[..., k]), 0.0)
    return total


def _grade(grade: Ints, cuts: Array, severity: Array) -> Array:
    """Log probability that a severity is read as a grade, shape (rows, members)."""
    edges = np.log(np.concatenate([[1e-9], cuts[:4], [1e9]]))
    middle = np.log(np.maximum(severity, LEAST_SEVERITY))
    upper = (edges[grade + 1][:, None] - middle) / MISS_SEVERITY
    lower = (edges[grade][:, None] - middle) / MISS_SEVERITY
    with np.errstate(divide="ignore"):
        chance = np.exp(log_ndtr(upper)) - np.exp(log_ndtr(lower))
    return np.log(np.maximum(chance, 1e-6))


def _drawn(score: Array, k: int) -> Ints:
    """Places of ``k`` members drawn by weight from rows of scores in falling order: evenly over the weights."""
    weight = np.exp(score - score[:, :1])
    total = np.cumsum(weight, axis=1)
    marks = (np.arange(k) + 0.5) / k
    return np.stack([np.searchsorted(t / t[-1], marks) for t in total])


@dataclass
class Belief:
    """Belief about a batch of patients.

    ``keep``: members that are run through each patient's own doses: drawn by weight, or the weightiest (``top``).
    """

    library: Library
    keep: int = 12
    top: bool = False
    record: Record = field(default_factory=Record)
    given: list[Given] = field(default_factory=list)
    treated_h: Array | None = None

    def begin(self, n: int) -> None:
        """Nothing is known."""
        self.record, self.given, self.treated_h = Record(), [], np.full(n, np.inf)

    def see(self, chart: Chart) -> None:
        """Take in a chart."""
        self.record.add(chart)

    def treat(self, doses: Given) -> None:
        """Remember doses that were given."""
        assert self.treated_h is not None
        if len(doses):
            self.given.append(doses)
            np.minimum.at(self.treated_h, doses.who, doses.time_h)

    def members(self, rows: Ints, time_h: float) -> tuple[World, Array]:
        """Members for patients ``rows`` at an hour, under the patients' own doses.

        Returns
        -------
        A world of ``len(rows) * keep`` patients (those of the first row first), and weights (rows, keep).
        """
        assert self.treated_h is not None
        lib, k = self.library, min(self.keep, len(self.library.world))
        free = np.minimum(self.treated_h[rows], time_h)
        score = log_likelihood(self.record, rows, free, lib.levels, lib.severities, lib.world)
        best = np.argsort(-score, axis=1, kind="stable")
        index = np.arange(len(rows))[:, None]
        if not self.top:
            best = np.take_along_axis(best, _drawn(score[index, best], k), axis=1)
        best = best[:, :k]
        before = score[index, best]
        world = lib.world.branch(best.ravel())
        self._give(world, rows, k)
        values = world.now[:, None]
        if time_h > 0:
            went = world.hidden.step(time_h)
            values = np.concatenate([values, went.values], axis=1)
            world.now = went.end
        levels, severities = _predicted(world, values)
        shape = (len(rows), k, values.shape[1])
        mine = (
            np.moveaxis(levels.reshape(*shape, len(ANALYTES)), 1, 2),
            np.moveaxis(severities.reshape(*shape, 2), 1, 2),
        )
        score = log_likelihood(self.record, rows, np.full(len(rows), time_h), *mine, lib.world)
        score = score if self.top else score - before  # what drew them counts once
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        return world, weight / weight.sum(axis=1, keepdims=True)

    def _give(self, world: World, rows: Ints, k: int) -> None:
        doses = join(self.given)
        if len(doses):
            world.hidden.plan(doses.of(np.repeat(rows, k)))
