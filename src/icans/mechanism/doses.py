"""Doses, resets and switches, and what they become: a list of events for every patient.

Doses come in the units of a chart and are turned into additions to states and rates of infusion. At one and the same
time a measurement comes first, then doses, then resets and switches (so a trough taken at the time of a dose is a
trough).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem, UnitError
from icans.mechanism.language import names_in
from icans.mechanism.numeric import needed, of_parameters
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    from icans.mechanism.declare import Input
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Kinds of event, in the order in which they happen at one time.
ADD, RATE, SET, SWITCH = 0, 1, 2, 3
#: Sign of the directions of a trigger.
DIRECTIONS = {"up": 1, "down": -1}
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


@dataclass(frozen=True, slots=True)
class Trigger:
    """Doses given when a quantity passes a threshold.

    ``quantity`` is a state or definition; ``direction`` ``"up"`` or ``"down"``. The doses' times are hours after the
    passage, to which ``delay_h`` is added. For ``lockout_h`` after a passage the trigger rests; what passes then is
    not made up for, unless ``sustained``: then it fires again at the end of the rest, and at the start, as long as the
    quantity is beyond the threshold. It fires ``max_times`` times at most.
    """

    quantity: str
    threshold: float
    direction: str = "up"
    doses: tuple[Dose, ...] = ()
    delay_h: float = 0.0
    lockout_h: float = 0.0
    max_times: int = 1
    label: str = ""
    sustained: bool = False


@dataclass(frozen=True)
class Schedule:
    """Events in order: time (h), kind, place (state, input or parameter), value; each of shape (m,).

    ``ADD`` adds to a state, ``RATE`` sets the rate of an input (unit of its state per hour), ``SET`` sets a state,
    ``SWITCH`` a parameter. ``entry`` is the input of a dose, -1 for others.
    """

    time: Array
    kind: Ints
    place: Ints
    value: Array
    entry: Ints

    def __len__(self) -> int:
        return len(self.time)

    def entered(self, factor: Array, lag: Array) -> Schedule:
        """For one patient: doses multiplied and delayed by what :func:`entering` gave for each input."""
        of_dose = self.entry >= 0
        time = np.where(of_dose, self.time + lag[self.entry], self.time) if len(lag) else self.time
        value = np.where(of_dose, self.value * factor[self.entry], self.value) if len(lag) else self.value
        order = np.lexsort((self.kind, time))  # stable: entries of one time and kind stay in the order given
        return Schedule(time[order], self.kind[order], self.place[order], value[order], self.entry[order])


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


def planned(model: PatientModel, actions: Sequence[Action]) -> Schedule:
    """Events of checked actions, before a patient's lag and bioavailability."""
    places = {name: i for i, name in enumerate(model.state_names)}
    events: list[tuple[float, int, int, float, int]] = []
    infusions: dict[int, list[tuple[float, float, float]]] = {}
    for action in actions:
        if isinstance(action, Reset):
            events.append((action.time_h, SET, places[action.state], action.value, -1))
        elif isinstance(action, Switch):
            events.append((action.time_h, SWITCH, model.parameters.place(action.parameter), action.value, -1))
        else:
            for number, entry in _inputs(model, action):
                amount = action.amount * unit_factor(action.unit, entry.unit)
                for start in action.times().tolist():
                    if action.duration_h > 0:
                        span = (start, start + action.duration_h, amount / action.duration_h)
                        infusions.setdefault(number, []).append(span)
                    else:
                        events.append((start, ADD, places[entry.state], amount, number))
    for number, spans in infusions.items():
        events += _rates(number, spans)
    events.sort(key=lambda e: e[:2])
    columns = list(zip(*events)) or [()] * 5
    return Schedule(np.array(columns[0], float), np.array(columns[1], np.int64), np.array(columns[2], np.int64),
                    np.array(columns[3], float), np.array(columns[4], np.int64))  # fmt: skip


def entering(model: PatientModel, parameters: Array) -> tuple[Array, Array]:
    """How much of a dose reaches the state (in the state's unit per unit), and after which lag (h), for every input.

    Parameters
    ----------
    parameters
        Shape (patients, parameters).

    Returns
    -------
    Two arrays, each of shape (patients, inputs).
    """
    texts = [text for i in model.inputs for text in (i.scale, i.bioavailable, i.lag_h)]
    found = of_parameters(model, texts, parameters).reshape(len(parameters), len(model.inputs), 3)
    return found[:, :, 0] * found[:, :, 1], found[:, :, 2]


def entering_derivatives(
    model: PatientModel, parameters: Array, by: Sequence[str],
    of: Callable[[Array], tuple[Array, Array]] | None = None, used: Collection[str] | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Derivatives of what :func:`entering` gives by parameters, each of shape (patients, inputs, len(by)).

    By central differences in steps of a hundred-thousandth of the parameter, good to ten digits for these short
    expressions. ``of``: :func:`entering` for this model, where it is at hand; ``used``: the parameters it uses.
    """
    places = [model.parameters.place(name) for name in by]
    shape = (len(parameters), len(model.inputs), len(by))
    d_factor, d_lag = np.zeros(shape), np.zeros(shape)
    if used is None:
        used = set().union(*(_used(model, text) for i in model.inputs for text in (i.scale, i.bioavailable, i.lag_h)))
    find = of or partial(entering, model)
    for k, (name, place) in enumerate(zip(by, places)):
        if name not in used:
            continue
        step = 1e-5 * np.maximum(np.abs(parameters[:, place]), 1e-3)
        up, down = parameters.copy(), parameters.copy()
        up[:, place] += step
        down[:, place] -= step
        span = (up[:, place] - down[:, place])[:, None]
        high, low = find(up), find(down)
        d_factor[:, :, k], d_lag[:, :, k] = (high[0] - low[0]) / span, (high[1] - low[1]) / span
    return d_factor, d_lag


def _used(model: PatientModel, text: str) -> set[str]:
    """Names that an expression uses, also through definitions."""
    found = set(names_in(text))
    for name in needed(model, [text]):
        found |= names_in(next(d.text for d in model.definitions if d.name == name))
    return found


def schedule(model: PatientModel, actions: Sequence[Action], parameters: Array) -> Schedule:
    """Events of one patient with parameters of shape (parameters,); see :func:`planned`, :func:`entering`."""
    factor, lag = entering(model, parameters[None])
    return planned(model, actions).entered(factor[0], lag[0])


def _rates(number: int, spans: list[tuple[float, float, float]]) -> list[tuple[float, int, int, float, int]]:
    """Rate of an input at every time at which it changes: the sum over the infusions that run, anew each time.

    Adding and subtracting would leave rounding errors running for ever.
    """
    edges = sorted({edge for start, stop, _ in spans for edge in (start, stop)})
    return [(e, RATE, number, sum(r for start, stop, r in spans if start <= e < stop), number) for e in edges]


def _inputs(model: PatientModel, dose: Dose) -> list[tuple[int, Input]]:
    return [(i, e) for i, e in enumerate(model.inputs) if e.drug == dose.drug and dose.route in e.routes]


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


def check_triggers(model: PatientModel, triggers: Sequence[Trigger]) -> None:
    """Refuse triggers that cannot work.

    Raises
    ------
    ModelError
        All that is wrong with them.
    """
    found: list[Problem] = []
    for number, one in enumerate(triggers, 1):

        def problem(column: str, value: object, expected: str, remedy: str, number: int = number) -> Problem:
            return Problem("triggers", number, column, repr(value), expected, remedy)

        if one.quantity not in model.units:
            found.append(unknown("state or definition", one.quantity, model.units))
        if one.direction not in DIRECTIONS:
            found.append(problem("direction", one.direction, "'up' or 'down'", "Choose one."))
        if not math.isfinite(one.threshold):
            found.append(problem("threshold", one.threshold, "a number", "Give it."))
        for name in ("delay_h", "lockout_h"):
            value = getattr(one, name)
            if not (math.isfinite(value) and value >= 0):
                found.append(problem(name, value, "hours, at least 0", "Correct it."))
        if not (isinstance(one.max_times, int) and one.max_times >= 1):
            found.append(problem("max_times", one.max_times, "a whole number from 1", "Correct it."))
        if one.sustained and one.max_times > 1 and not one.lockout_h > 0:
            found.append(problem("lockout_h", one.lockout_h, "hours above 0 where sustained", "Give it."))
        found += [p for dose in one.doses for p in _problems(model, dose, number)]
        found += [
            problem("doses", dose.time_h, "hours after the passage, at least 0", "Correct it.")
            for dose in one.doses
            if dose.time_h < 0
        ]
    if found:
        raise ModelError(found)


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
