"""What the likelihood looks at, row by row: every observation, and the times at which hazards are integrated.

A row asks the structural model for one output at one time. Rows of subjects are padded to a common length R.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.records import CENSOR_WORDS, QUANTIFIED, Records, Subject

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Roles of rows beyond those of :mod:`~icans.population.nlme.records`: a node of the integral of a hazard, an event.
NODE, EVENT = 4, 5
#: Gauss-Legendre nodes per step of the integral of a hazard.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)


@dataclass(frozen=True)
class Rows:
    """Rows of N subjects, each of shape (N, R).

    ``time_h`` (NaN pads), ``output`` and ``observed`` (places; -1 pads), ``role`` (quantified, left, right, interval,
    node, event), ``value``, ``limit``, ``weight`` (hours of a node), ``previous`` (previous grade), ``batch`` (0 the
    reference), ``source`` (row of the subject's table, -1 for nodes).
    """

    time_h: Array
    output: Ints
    observed: Ints
    role: Ints
    value: Array
    limit: Array
    weight: Array
    previous: Array
    batch: Ints
    source: Ints

    def select(self, who: Ints) -> Selection:
        """Places of the rows of M parameter sets, by what they observe."""
        mine = self.observed[who]
        count = int(self.observed.max(initial=-1)) + 1
        places = [np.nonzero(mine == k) for k in range(count)]
        return Selection(self, who, tuple((m, r) for m, r in places))


@dataclass(frozen=True)
class Columns:
    """The columns of :class:`~icans.population.nlme.rows.Rows` at n rows that observe one thing."""

    role: Ints
    value: Array
    limit: Array
    weight: Array
    previous: Array
    batch: Ints


@dataclass(frozen=True)
class Selection:
    """The rows of M parameter sets of subjects ``who``; ``places[k]``: set and row of all rows that observe k."""

    rows: Rows
    who: Ints
    places: tuple[tuple[Ints, Ints], ...]

    def of(self, name: str, k: int) -> npt.NDArray[np.generic]:
        """A column of :class:`Rows` at ``places[k]``."""
        m, r = self.places[k]
        column: npt.NDArray[np.generic] = getattr(self.rows, name)[self.who[m], r]
        return column

    @cached_property
    def columns(self) -> tuple[Columns, ...]:
        """What the terms of each observable need, gathered once."""
        names = ("role", "value", "limit", "weight", "previous", "batch")
        return tuple(Columns(**{n: self.of(n, k) for n in names}) for k in range(len(self.places)))  # type: ignore[arg-type]


def make_rows(model: NlmeModel, records: Records, *, empty: bool = False) -> Rows:
    """Rows of all subjects; ``empty``: subjects without any observation are taken, too (nothing is known of them yet).

    Raises
    ------
    ModelError
        Observables that the model does not have, subjects without any observation, a grade that the outcome does not
        know, an event recorded twice, values that an error model cannot take: all of them, by subject and row.
    """
    places = {o.name: k for k, o in enumerate(model.observed)}
    problems: list[Problem] = []
    parts = [_subject(model, places, s, problems, empty) for s in records.subjects]
    if problems:
        raise ModelError(problems)
    most = max(1, *(len(p) for p in parts))
    columns: dict[str, Array] = {}
    for c, (name, pad) in enumerate(FIELDS):
        column = np.full((len(parts), most), pad, dtype=np.float64)
        for i, part in enumerate(parts):
            column[i, : len(part)] = [row[c] for row in part]
        columns[name] = column
    whole = ("output", "observed", "role", "batch", "source")
    return Rows(**{n: v.astype(np.int64) if n in whole else v for n, v in columns.items()})  # type: ignore[arg-type]


FIELDS = (
    ("time_h", np.nan), ("output", -1), ("observed", -1), ("role", QUANTIFIED), ("value", 0.0), ("limit", np.nan),
    ("weight", 0.0), ("previous", 0.0), ("batch", 0), ("source", -1),
)  # fmt: skip
Row = tuple[float, int, int, int, float, float, float, float, int, int]


def _subject(
    model: NlmeModel, places: dict[str, int], s: Subject, problems: list[Problem], empty: bool
) -> list[Row]:  # fmt: skip
    if s.observations.empty and not empty:
        remedy = "Leave the subject out of the fit (a forecast from the population needs no records)."
        problems.append(Problem(f"subject {s.id}", None, None, None, "at least one observation", remedy))
    rows: list[Row] = []
    previous: dict[int, float] = {}
    order = np.argsort(s.observations["time_h"].to_numpy(dtype=float), kind="stable")
    columns = ("time_h", "observable", "value", "censor", "limit", "batch")
    listed = [s.observations[c].tolist() for c in columns]
    for source in order.tolist():
        t, name, value, word, limit, batch = (column[source] for column in listed)
        k = places.get(str(name))
        if k is None:
            remedy = f"The model observes: {', '.join(places)}. Declare it or leave the rows out."
            problems.append(Problem(f"subject {s.id}", source + 1, "observable", str(name), "an observable", remedy))
            continue
        what, role = model.observed[k], CENSOR_WORDS[word]
        output = model.structural.outputs.index(what.output)
        if isinstance(what, Observation):
            place = what.batches.index(batch) + 1 if batch in what.batches else 0
            problems += _refuse_value(what, s, source, value, role)
            if role != QUANTIFIED and what.censoring in ("M1", "M2"):
                continue
            rows.append((t, output, k, role, value, limit, 0.0, 0.0, place, source))
        elif what.kind == "event":
            if k in previous:
                problems.append(
                    Problem(f"subject {s.id}", source + 1, name, str(value), "one event", "Keep the first.")
                )
            previous[k] = value
            rows += _event(what, k, output, value, role, source)
        else:
            problems += _refuse_outcome(what, s, source, value)
            rows.append((t, output, k, role, value, limit, 0.0, previous.get(k, 0.0), 0, source))
            previous[k] = value
    return rows


def _refuse_value(what: Observation, s: Subject, source: int, value: float, role: int) -> list[Problem]:
    if what.error in ("lognormal", "logstudent") and value + what.floor <= 0.0:
        remedy = "Give the assay's limit with censor = left, or another error model."
        place = f"subject {s.id}"
        return [Problem(place, source + 1, what.name, str(value), "a value above 0 (its error is log-normal)", remedy)]
    return []


def _refuse_outcome(what: Outcome, s: Subject, source: int, value: float) -> list[Problem]:
    top = len(what.cuts) if what.kind == "ordinal" else np.inf
    if value != int(value) or not 0 <= value <= top:
        expected = f"a whole number from 0{f' to {top}' if np.isfinite(top) else ' on'}"
        return [Problem(f"subject {s.id}", source + 1, what.name, str(value), expected, "Mend it, or add cuts.")]
    return []


def _event(what: Outcome, k: int, output: int, end: float, role: int, source: int) -> list[Row]:
    steps = max(1, int(np.ceil((end - what.start_h) / what.step_h)))
    edges = np.linspace(what.start_h, max(end, what.start_h), steps + 1)
    rows: list[Row] = []
    for low, high in pairwise(edges):
        half = (high - low) / 2.0
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            rows.append((low + half * (node + 1.0), output, k, NODE, 0.0, np.nan, weight * half, 0.0, 0, -1))
    if role == QUANTIFIED:
        rows.append((end, output, k, EVENT, end, np.nan, 0.0, 0.0, 0, source))
    return rows
