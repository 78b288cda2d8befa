"""Doses of many patients as arrays: what was ordered, what waits, what runs; and the solver's events of one step.

A dose is given exactly once, whatever the steps: it waits in ``planned`` until the step in which its time lies, then it
becomes an addition to a state (after its lag) or an infusion that runs from one time to another. Both carry over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import ADD, MOST_REPEATS, RATE, Dose, unit_factor
from icans.mechanism.engine.layout import EVENT, Records
from icans.mechanism.model import PatientModel
from icans.mechanism.parameters import unknown

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Times closer than this (h) are the same.
SAME = 1e-9


@dataclass(frozen=True)
class Given:
    """Doses, each of shape (m,): whom (row), when (hours since infusion), by which input of the model, how much.

    ``amount`` is in the unit of the input; ``duration_h`` 0 for a bolus.
    """

    who: Ints
    time_h: Array
    entry: Ints
    amount: Array
    duration_h: Array

    def __len__(self) -> int:
        return len(self.who)

    def take(self, chosen: npt.ArrayLike) -> Given:
        """Some of them."""
        at = np.asarray(chosen)
        return Given(*(getattr(self, f.name)[at] for f in fields(self)))

    def of(self, rows: Ints) -> Given:
        """The doses of patients who become rows 0, 1, ... of a batch (a patient may come several times)."""
        return nothing() if len(self) == 0 else _spread(self, rows)


def _spread(given: Given, rows: Ints) -> Given:
    order = np.argsort(given.who, kind="stable")
    sorted_who = given.who[order]
    first, last = np.searchsorted(sorted_who, rows), np.searchsorted(sorted_who, rows, side="right")
    counts = last - first
    who = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    found = given.take(order[place])
    return Given(who, found.time_h, found.entry, found.amount, found.duration_h)


def nothing() -> Given:
    """No dose."""
    return Given(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def join(parts: Sequence[Given]) -> Given:
    """All of them."""
    kept = [p for p in parts if len(p)]
    if not kept:
        return nothing()
    return (
        kept[0]
        if len(kept) == 1
        else Given(*(np.concatenate([getattr(p, f.name) for p in kept]) for f in fields(Given)))
    )


class Entries:
    """The inputs of a model by drug and route."""

    def __init__(self, model: PatientModel) -> None:
        self.model = model
        self.drugs = tuple(dict.fromkeys(i.drug for i in model.inputs))
        self.drug_of = np.array([self.drugs.index(i.drug) for i in model.inputs], np.int64)
        places = {name: k for k, name in enumerate(model.state_names)}
        self.state = np.array([places[i.state] for i in model.inputs], np.int64)

    def find(self, drug: str, route: str) -> list[int]:
        """Places of the inputs that a dose enters by.

        Raises
        ------
        ModelError
            The world has no such drug, or the drug no such route.
        """
        found = [k for k, i in enumerate(self.model.inputs) if i.drug == drug and route in i.routes]
        if not found:
            if drug not in self.drugs:
                raise ModelError([unknown("drug of this world", drug, self.drugs)])
            routes = sorted({r for i in self.model.inputs if i.drug == drug for r in i.routes})
            raise ModelError([Problem("doses", None, "route", route, f"a route that {drug} has: {', '.join(routes)}",
                                      "Choose one.")])  # fmt: skip
        return found

    def give(
        self, who: Ints, drug: str, amount: npt.ArrayLike, unit: str, at_h: npt.ArrayLike, *, route: str = "iv",
        duration_h: float = 0.0, every_h: float | None = None, count: int = 1,
    ) -> Given:  # fmt: skip
        """Doses of one drug for several patients; ``amount`` and ``at_h`` are numbers or of shape (len(who),).

        Raises
        ------
        ModelError
            Amounts, times or repetitions that make no sense, an unknown drug or route: all of them.
        """
        much = np.broadcast_to(np.asarray(amount, dtype=float), who.shape)
        when = np.broadcast_to(np.asarray(at_h, dtype=float), who.shape)
        wrong = [
            Problem("doses", None, name, str(value), expected, "Correct it.")
            for name, value, good, expected in (
                ("amount", amount, bool((np.isfinite(much) & (much >= 0)).all()), "amounts of at least 0"),
                ("at_h", at_h, bool(np.isfinite(when).all()), "hours since infusion"),
                ("duration_h", duration_h, bool(np.isfinite(duration_h) and duration_h >= 0), "hours, at least 0"),
                ("count", count, 1 <= count <= MOST_REPEATS, "a whole number from 1"),
                ("every_h", every_h, count == 1 or bool(every_h and every_h > 0), "hours above 0 between doses"),
            )
            if not good
        ]
        if wrong:
            raise ModelError(wrong)
        parts = []
        times = (when[:, None] + (every_h or 0.0) * np.arange(count)).ravel()
        for k in self.find(drug, route):
            factor = unit_factor(unit, self.model.inputs[k].unit)
            parts.append(Given(np.repeat(who, count), times, np.full(len(times), k), np.repeat(much * factor, count),
                               np.full(len(times), float(duration_h))))  # fmt: skip
        return join(parts)

    def from_doses(self, lists: Sequence[Sequence[Dose]]) -> Given:
        """Lists of doses, one for each patient."""
        return join([
            self.give(np.array([p]), d.drug, d.amount, d.unit, d.time_h, route=d.route, duration_h=d.duration_h,
                      every_h=d.every_h, count=d.count)
            for p, doses in enumerate(lists) for d in doses
        ])  # fmt: skip


def events_of_step(
    boluses: Given, infusions: Given, clock_h: Array, hours: float, state_of: Ints
) -> tuple[Records, Ints]:  # fmt: skip
    """The solver's events of a step, times from its start; each patient's part of them, shape (n, 2).

    Parameters
    ----------
    boluses
        In units of states, at the time at which they enter.
    infusions
        ``amount`` is a rate (unit of the state per hour), running from ``time_h`` for ``duration_h``.
    clock_h
        Hours since infusion at the start of the step, shape (n,).
    """
    n = len(clock_h)
    start = np.maximum(boluses.time_h - clock_h[boluses.who], 0.0)
    made = [(boluses.who, start, np.full(len(boluses), ADD), state_of[boluses.entry], boluses.amount, boluses.entry)]
    if len(infusions):
        made.append(_rates(infusions, clock_h, hours))
    who, time, kind, place, value, entry = (np.concatenate(c) for c in zip(*made))
    order = np.lexsort((kind, time, who))
    table = np.zeros(len(who), dtype=EVENT)
    for name, column in (("time", time), ("kind", kind), ("place", place), ("value", value), ("entry", entry)):
        table[name] = column[order]
    edges = np.searchsorted(who[order], np.arange(n + 1))
    return table, np.stack([edges[:-1], edges[1:]], axis=1)


def _rates(spans: Given, clock_h: Array, hours: float) -> tuple[Ints, Array, Ints, Ints, Array, Ints]:
    """Rates at every edge in the step: sums over the infusions that run; exactly 0 where none does."""
    begin = np.maximum(spans.time_h - clock_h[spans.who], 0.0)
    end = spans.time_h + spans.duration_h - clock_h[spans.who]
    who, entry = np.tile(spans.who, 2), np.tile(spans.entry, 2)
    time, change = np.concatenate([begin, end]), np.concatenate([spans.amount, -spans.amount])
    step = np.repeat([1, -1], len(spans))
    order = np.lexsort((-step, time, entry, who))
    who, entry, time, change, step = who[order], entry[order], time[order], change[order], step[order]
    first = np.flatnonzero(np.diff(who, prepend=-1) | np.diff(entry, prepend=-1))
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(who))))
    rate, running = np.cumsum(change), np.cumsum(step)
    base_rate, base_running = (np.concatenate([[0], c[first[1:] - 1]]) for c in (rate, running))
    rate, running = rate - base_rate[group], running - base_running[group]
    inside = time < hours - SAME
    value = np.where(running > 0, rate, 0.0)
    return (who[inside], time[inside], np.full(int(inside.sum()), RATE), entry[inside], value[inside], entry[inside])
