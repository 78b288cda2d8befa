"""Doses, resets and switches, and what they become: a list of events for every patient.

Doses come in the units of a chart and are turned into additions to states and rates of infusion. At one and the same
time a measurement comes first, then doses, then resets and switches (so a trough taken at the time of a dose is a
trough).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem, UnitError
from icans.mechanism.numeric import of_parameters
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    from icans.mechanism.declare import Input
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]

#: Kinds of event, in the order in which they happen at one time.
ADD, RATE, SET, SWITCH = 0, 1, 2, 3
#: More doses than this from one entry are a mistake.
MOST_REPEATS = 100_000


@dataclass(frozen=True, slots=True)
class Dose:
    """An amount of a drug or product, given once or repeatedly.

    ``time_h``: hours since infusion of the product. ``duration_h``: 0 for a bolus. ``every_h`` and ``count``: one dose
    every so many hours, so many times. A loading dose is an entry of its own.
    """

    time_h: float
    drug: str
    amount: float
    unit: str
    route: str = "iv"
    duration_h: float = 0.0
    every_h: float | None = None
    count: int = 1

    def times(self) -> Array:
        """Times of administration, hours, shape (count,)."""
        return np.asarray(self.time_h + (self.every_h or 0.0) * np.arange(self.count), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Reset:
    """At a time, a state takes a value (in the model's unit)."""

    time_h: float
    state: str
    value: float


@dataclass(frozen=True, slots=True)
class Switch:
    """From a time on, a parameter has another value (within its bounds)."""

    time_h: float
    parameter: str
    value: float


Action = Dose | Reset | Switch


@dataclass(frozen=True)
class Schedule:
    """Events of one patient in order: time (h), kind, place (state, input or parameter), value; each of shape (m,).

    ``ADD`` adds to a state, ``RATE`` sets the rate of an input (unit of its state per hour), ``SET`` sets a state,
    ``SWITCH`` a parameter. ``delay`` is the part of the time that is a lag of absorption.
    """

    time: Array
    kind: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    value: Array

    def __len__(self) -> int:
        return len(self.time)


def check(model: PatientModel, actions: Iterable[Action]) -> None:
    """Refuse what cannot be given.

    Raises
    ------
    ModelError
        Unknown drugs, states or parameters (nearest names told), a route that the drug does not have, units that do
        not convert, negative or undefined amounts and times: all of them.
    """
    problems = [p for number, action in enumerate(actions, 1) for p in _problems(model, action, number)]
    if problems:
        raise ModelError(problems)


def schedule(model: PatientModel, actions: Sequence[Action], parameters: Array) -> Schedule:
    """Events of one patient.

    Parameters
    ----------
    actions
        Checked ones (:func:`check`).
    parameters
        The patient's, shape (parameters,); lag and bioavailability are taken from them.
    """
    places = {name: i for i, name in enumerate(model.state_names)}
    events: list[tuple[float, int, int, float]] = []
    infusions: dict[int, list[tuple[float, float, float]]] = {}
    for action in actions:
        if isinstance(action, Reset):
            events.append((action.time_h, SET, places[action.state], action.value))
        elif isinstance(action, Switch):
            events.append((action.time_h, SWITCH, model.parameters.place(action.parameter), action.value))
        else:
            for number, entry in _inputs(model, action):
                factor, lag = _enters(model, entry, parameters)
                amount = action.amount * unit_factor(action.unit, entry.unit) * factor
                for start in (action.times() + lag).tolist():
                    if action.duration_h > 0:
                        span = (start, start + action.duration_h, amount / action.duration_h)
                        infusions.setdefault(number, []).append(span)
                    else:
                        events.append((start, ADD, places[entry.state], amount))
    for number, spans in infusions.items():
        events += _rates(number, spans)
    events.sort(key=lambda e: e[:2])  # stable: entries of one time and kind stay in the order given
    columns = list(zip(*events)) or [(), (), (), ()]
    return Schedule(np.array(columns[0], float), np.array(columns[1], np.int64), np.array(columns[2], np.int64),
                    np.array(columns[3], float))  # fmt: skip


def _rates(number: int, spans: list[tuple[float, float, float]]) -> list[tuple[float, int, int, float]]:
    """Rate of an input at every time at which it changes: the sum over the infusions that run, anew each time.

    Adding and subtracting would leave rounding errors running for ever.
    """
    edges = sorted({edge for start, stop, _ in spans for edge in (start, stop)})
    return [(edge, RATE, number, sum(r for start, stop, r in spans if start <= edge < stop)) for edge in edges]


def _inputs(model: PatientModel, dose: Dose) -> list[tuple[int, Input]]:
    return [(i, e) for i, e in enumerate(model.inputs) if e.drug == dose.drug and dose.route in e.routes]


def _enters(model: PatientModel, entry: Input, parameters: Array) -> tuple[float, float]:
    """How much of a dose reaches the state (in the state's unit per unit), and after which lag."""
    texts = [entry.scale, entry.bioavailable, entry.lag_h]
    scale, bioavailable, lag = of_parameters(model, texts, parameters[None])[0]
    return float(scale * bioavailable), float(lag)


@cache
def unit_factor(unit: str, target: str) -> float:
    """What one of ``unit`` is in ``target``.

    Raises
    ------
    UnitError
        There is no such unit or conversion.
    """
    if unit == target:
        return 1.0
    from icans.core.units import convert

    return float(convert([1.0], _code(unit), _code(target))[0])


def _code(unit: str) -> str:
    """Counts of cells as UCUM: ``cells`` is 1, ``1e6 cells`` a million of them."""
    text = unit.strip()
    if not text.endswith("cells"):
        return text
    number = text.removesuffix("cells").strip().replace("^", "*")
    if not number:
        return "1"
    if number.lower().startswith("1e"):
        return f"10*{int(number[2:])}"
    return number


def _problems(model: PatientModel, action: Action, number: int) -> list[Problem]:
    def problem(column: str, value: object, expected: str, remedy: str) -> Problem:
        return Problem("doses", number, column, repr(value), expected, remedy)

    found: list[Problem] = []
    if not math.isfinite(action.time_h):
        found.append(problem("time_h", action.time_h, "a time in hours since infusion", "Give it."))
    if isinstance(action, Reset):
        if action.state not in model.state_names:
            found.append(unknown("state", action.state, model.state_names))
        if not math.isfinite(action.value):
            found.append(problem("value", action.value, "a number", "Give the value that the state is to take."))
    elif isinstance(action, Switch):
        if action.parameter not in model.parameters:
            return [*found, unknown("parameter", action.parameter, model.parameters.names)]
        row = model.parameters[action.parameter]
        if not row.lower <= action.value <= row.upper:
            expected = f"a number from {row.lower:g} to {row.upper:g} {row.unit}"
            found.append(problem("value", action.value, expected, f"It is the {row.meaning}."))
    else:
        found += _dose_problems(model, action, problem)
    return found


def _dose_problems(
    model: PatientModel, dose: Dose, problem: Callable[[str, object, str, str], Problem]
) -> list[Problem]:
    found = []
    if not (math.isfinite(dose.amount) and dose.amount >= 0):
        found.append(problem("amount", dose.amount, "an amount of at least 0", "Give what was administered."))
    if not (math.isfinite(dose.duration_h) and dose.duration_h >= 0):
        found.append(problem("duration_h", dose.duration_h, "hours, at least 0 (0: a bolus)", "Correct it."))
    if not (isinstance(dose.count, int) and 1 <= dose.count <= MOST_REPEATS):
        found.append(problem("count", dose.count, f"a whole number from 1 to {MOST_REPEATS}", "Correct it."))
    if dose.every_h is not None and not (math.isfinite(dose.every_h) and dose.every_h > 0):
        found.append(problem("every_h", dose.every_h, "hours between doses, above 0", "Correct it."))
    if dose.every_h is None and dose.count != 1:
        found.append(problem("every_h", None, "hours between doses where count is above 1", "Give every_h."))
    offered = [e for e in model.inputs if e.drug == dose.drug]
    if not offered:
        return [*found, unknown("drug of this model", dose.drug, {e.drug for e in model.inputs})]
    routes = sorted({route for e in offered for route in e.routes})
    if dose.route not in routes:
        return [
            *found,
            problem("route", dose.route, f"a route that {dose.drug} has: {', '.join(routes)}", "Choose one."),
        ]
    if not isinstance(dose.unit, str) or not dose.unit.strip():
        return [*found, problem("unit", dose.unit, f"a unit such as {offered[0].unit}", "Say what the amount is in.")]
    for _, entry in _inputs(model, dose):
        try:
            unit_factor(dose.unit, entry.unit)
        except (UnitError, ValueError) as error:
            found.append(problem("unit", dose.unit, f"a unit that converts to {entry.unit}", str(error)))
    return found
