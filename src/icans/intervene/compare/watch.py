"""What is known on rounds, read off simulated courses: results as the laboratory gives them, grades, fever.

Draws, errors and turnarounds are those of :mod:`icans.intervene.world.assays` to the last bit: a patient has the same
sample, the same error and the same delay in every arm, and in a world that is stepped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.intervene.strategy.results import result_named
from icans.intervene.world import chance
from icans.intervene.world.assays import ANALYTES, Assays, read_assays
from icans.population.quantities import Readings

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Hours between rounds, on which results are looked at and decisions made.
ROUND_H = 6.0
#: Severities behind the bedside grades.
SEVERITY = {"crs": "crs_severity", "icans": "encephalopathy", "iechs": "iechs_drive"}


@dataclass(frozen=True)
class Ward:
    """How results come about: the laboratory, what is drawn how often where it is not routine, the seed of its errors.

    ``latency_h``: turnaround of chosen results in place of the laboratory's; ``every_h``: hours between their draws.
    """

    assays: Assays = field(default_factory=read_assays)
    seed: int = 1
    latency_h: Mapping[str, float] = field(default_factory=dict)
    every_h: Mapping[str, float] = field(default_factory=dict)

    def interval(self, name: str) -> float:
        """Hours between draws of a result."""
        info = result_named(name)
        routine = float(self.assays.routine_h[ANALYTES.index(info.analyte)])
        return float(self.every_h.get(name, routine if math.isfinite(routine) else info.every_h))


@dataclass(frozen=True)
class Known:
    """What is known at one round of some patients; see :class:`icans.intervene.strategy.conditions.Seen`."""

    time_h: float
    grades: Mapping[str, Ints]
    values: Mapping[str, Array]
    age_h: Mapping[str, Array]
    highest: Mapping[str, Ints]
    forecaster: Callable[[Known, str, int, float], Array] | None = None

    def __len__(self) -> int:
        return len(self.grades["crs"])

    def forecast(self, toxicity: str, grade: int, within_h: float) -> Array:
        """A forecast from what is known.

        Raises
        ------
        ValueError
            No forecaster was given.
        """
        if self.forecaster is None:
            raise ValueError("a rule asks for a forecast, and no forecaster was given")
        return self.forecaster(self, toxicity, grade, within_h)


@dataclass(frozen=True)
class Samples:
    """Samples of one result, shape (n, K): hours of the draws (K), when each is there, what it says."""

    drawn_h: Array
    ready_h: Array
    value: Array

    def newest(self, time_h: float) -> tuple[Array, Array]:
        """Newest available value and its age, (n,) each, NaN where there is none."""
        there = self.ready_h <= time_h + 1e-9
        place = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        rows = np.arange(len(there))
        any_ = there.any(axis=1)
        value = np.where(any_, self.value[rows, place], np.nan)
        return value, np.where(any_, time_h - self.drawn_h[place], np.nan)


@dataclass(frozen=True)
class Watch:
    """The courses of some patients as the ward sees them."""

    times_h: Array
    graded: Mapping[str, Ints]
    samples: Mapping[str, Samples]
    temperature: Array

    def at(
        self, time_h: float, rows: Ints, forecaster: Callable[[Known, str, int, float], Array] | None = None
    ) -> Known:
        """What is known of some patients at a round."""
        place = int(np.searchsorted(self.times_h, time_h + 1e-9) - 1)
        found = {name: s.newest(time_h) for name, s in self.samples.items()}
        values = {name: v[rows] for name, (v, _) in found.items()} | {"temperature": self.temperature[rows, place]}
        age = {name: a[rows] for name, (_, a) in found.items()} | {"temperature": np.zeros(len(rows))}
        grades = {name: g[rows, place] for name, g in self.graded.items()}
        highest = {name: g[rows, : place + 1].max(axis=1) for name, g in self.graded.items()}
        return Known(time_h, grades, values, age, highest, forecaster)


def outputs_for(analytes: Sequence[str]) -> tuple[str, ...]:
    """Outputs of the model that a watch of these results needs."""
    made = [*SEVERITY.values(), "TEMP", *(result_named(a).output for a in analytes)]
    return tuple(dict.fromkeys(made))


def make_watch(
    times_h: Array, series: Mapping[str, npt.NDArray[np.floating]], analytes: Sequence[str], numbers: Ints,
    readings: Readings, ward: Ward,
) -> Watch:  # fmt: skip
    """The watch over courses of shape (n, T); draws that lie between the times are read off a straight line."""
    cuts = {"crs": readings.crs["astct"].cuts, "icans": readings.nt["astct"].cuts, "iechs": (readings.cut["iechs"],)}
    graded = {
        name: np.searchsorted(np.asarray(cuts[name]), np.nan_to_num(series[output]), side="right").astype(np.int64)
        for name, output in SEVERITY.items()
    }
    samples = {
        name: _samples(name, times_h, np.asarray(series[result_named(name).output], float), numbers, ward)
        for name in analytes if result_named(name).analyte
    }  # fmt: skip
    return Watch(times_h, graded, samples, np.asarray(series["TEMP"], float))


def _samples(name: str, times_h: Array, truth: Array, numbers: Ints, ward: Ward) -> Samples:
    info, assays = result_named(name), ward.assays
    what = ANALYTES.index(info.analyte)
    drawn = np.arange(0.0, times_h[-1] + 1e-9, ward.interval(name))
    low = np.clip(np.searchsorted(times_h, drawn, side="right") - 1, 0, len(times_h) - 2)
    part = (drawn - times_h[low]) / (times_h[low + 1] - times_h[low])
    level = truth[:, low] + part * (truth[:, low + 1] - truth[:, low])
    person = np.broadcast_to(numbers[:, None], level.shape)
    count = np.broadcast_to(np.rint(drawn * 60.0).astype(np.int64) * len(ANALYTES) + what, level.shape)
    if assays.error:
        level = level * np.exp(assays.sd[what] * chance.normals(chance.key(ward.seed, "assay", "error"), person, count))
    shortest, longest = assays.turnaround_h[what]
    if name in ward.latency_h:
        shortest = longest = float(ward.latency_h[name])
    late = chance.uniforms(chance.key(ward.seed, "assay", "turnaround"), person, count)
    ready = drawn + shortest + (longest - shortest) * late + assays.late_h
    return Samples(drawn, ready, np.clip(level, assays.lloq[what], info.top))
