"""What a simulation is given, checked and laid out in the tables that the compiled loop reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import (
    DIRECTIONS,
    RATE,
    Action,
    Schedule,
    Trigger,
    check,
    entering,
    entering_derivatives,
    planned,
)
from icans.mechanism.engine.layout import EVENT, TRIGGER
from icans.mechanism.language import names_in
from icans.mechanism.numeric import function, needed
from icans.mechanism.parameters import ParameterTable, bound_problems, unknown

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

#: Infusions of one trigger that may run at the same time, and triggered events that may wait.
MOST_AT_ONCE, MOST_WAITING = 64, 4096


def parameter_table(model: PatientModel, given: Any) -> Array:
    """Parameters of every patient, shape (patients, parameters).

    Parameters
    ----------
    given
        None (one typical patient), values by name, a table with a column per parameter (those that are missing are
        typical), or an array of shape (patients, parameters) or (parameters,).

    Raises
    ------
    ModelError
        Unknown names, a wrong shape, values that are NaN or out of their bounds: all of them.
    """
    typical = model.parameters.values_array()
    if given is None:
        return typical[None]
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        names = [str(n) for n in given]
        problems = [unknown("parameter", n, model.parameters.names) for n in names if n not in model.parameters]
        if problems:
            raise ModelError(problems)
        columns = [np.atleast_1d(np.asarray(given[n], dtype=float)) for n in given]
        rows = len(given) if hasattr(given, "columns") else max((len(c) for c in columns), default=1)
        values = np.tile(typical, (rows, 1))
        for name, column in zip(names, columns):
            values[:, model.parameters.place(name)] = column
    else:
        values = np.atleast_2d(np.asarray(given, dtype=float))
        if values.ndim != 2 or values.shape[1] != len(typical):
            raise ModelError([Problem("parameters", None, None, str(values.shape),
                                      f"an array of shape (patients, {len(typical)})",
                                      "Give one column per model.parameters.names.")])  # fmt: skip
    problems = [] if within(model, values).all() else bound_problems(model.parameters.rows, values)
    if len(values) == 0:
        problems.append(Problem("parameters", None, None, "0", "at least one patient", "Give one."))
    if problems:
        raise ModelError(problems)
    return np.ascontiguousarray(values)


def within(model: PatientModel, values: Array) -> npt.NDArray[np.bool_]:
    """Whether all parameters of each patient are numbers within their bounds; shape (patients,)."""
    low, high = _bounds(model.parameters)
    return np.asarray(((values >= low) & (values <= high) & np.isfinite(values)).all(axis=1), dtype=bool)


#: Bounds of the tables used of late, by identity (tables are immutable, and kept here).
_BOUNDS: dict[int, tuple[ParameterTable, Array, Array]] = {}


def _bounds(table: ParameterTable) -> tuple[Array, Array]:
    if id(table) not in _BOUNDS:
        if len(_BOUNDS) > 64:
            _BOUNDS.clear()
        rows = table.rows
        _BOUNDS[id(table)] = (table, np.array([r.lower for r in rows]), np.array([r.upper for r in rows]))
    return _BOUNDS[id(table)][1:]


class Entering:
    """How doses enter (:func:`icans.mechanism.doses.entering`), compiled once; ``by``: parameters of derivatives."""

    def __init__(self, model: PatientModel, by: Sequence[str] = ()) -> None:
        texts = [text for i in model.inputs for text in (i.scale, i.bioavailable, i.lag_h)]
        self.model, self.by, self.count = model, tuple(by), len(model.inputs)
        inside = needed(model, texts)
        whole = [*texts, *(d.text for d in model.definitions if d.name in inside)]
        self.used = frozenset(name for text in whole for name in names_in(text)) & set(model.parameters.names)
        self.slopes = not self.used.isdisjoint(by)
        fixed = not self.used
        self._zero = [0.0] * len(model.states)
        self._made = function(model, texts)
        self._always = np.array(self._made(self._zero, ()), dtype=float) if fixed else None

    def __call__(self, parameters: Array) -> tuple[Array, Array]:
        """Factors and lags, (patients, inputs) each."""
        if self._always is not None:
            found = np.broadcast_to(self._always, (len(parameters), len(self._always)))
        else:
            found = np.array([self._made(self._zero, row) for row in parameters.tolist()], dtype=float)
        found = found.reshape(len(parameters), self.count, 3)
        return found[:, :, 0] * found[:, :, 1], found[:, :, 2]


def time_table(times: Any, patients: int, t_start: float) -> tuple[Array, Array, Ints]:
    """Times as asked for, shape (T,) or (patients, T); all of them in a row; each patient's part, (patients, 2).

    Raises
    ------
    ModelError
        No times, times before the start, out of order or not finite.
    """
    asked = np.asarray(times, dtype=float)
    own = asked.ndim == 2
    if asked.ndim not in (1, 2) or (own and len(asked) != patients):
        raise ModelError([Problem("times", None, None, str(asked.shape), f"shape (T,) or ({patients}, T)",
                                  "Give hours since infusion.")])  # fmt: skip
    rows = asked if own else asked[None]
    problems = []
    parts = np.zeros((len(rows), 2), np.int64)
    kept: list[Array] = []
    at = 0
    for number, row in enumerate(rows):
        used = row[~np.isnan(row)] if own else row
        if own and np.isnan(row[: len(used)]).any():
            used = row  # NaN is padding only at the end
        if len(used) == 0 or not np.isfinite(used).all() or (np.diff(used) < 0).any() or used[0] < t_start:
            problems.append(Problem("times", number + 1, None, str(used[:5]), f"hours from {t_start:g} on, ascending",
                                    "Sort them, and leave out what is before the start."))  # fmt: skip
        parts[number] = at, at + len(used)
        at += len(used)
        kept.append(used)
    if problems:
        raise ModelError(problems)
    return asked, np.concatenate(kept), parts if own else np.tile(parts, (patients, 1))


def plans(model: PatientModel, doses: Sequence[Any], count: int, t_start: float) -> list[Schedule]:
    """Events before lag and bioavailability: one schedule for all, or one for each of ``count`` patients.

    Raises
    ------
    ModelError
        Doses that cannot be given, or that come before the start.
    """
    doses = list(doses)
    per_patient = bool(doses) and isinstance(doses[0], (list, tuple))
    if per_patient and len(doses) != count:
        expected = f"one list of doses for each of {count} patients"
        raise ModelError([Problem("doses", None, None, str(len(doses)), expected,
                                  "Give a list per patient, or one list for all.")])  # fmt: skip
    given = [tuple(d) for d in doses] if per_patient else [tuple(doses)]
    made: dict[tuple[Action, ...], Schedule] = {}
    problems: list[Problem] = []
    for number, actions in enumerate(given, 1):
        if actions not in made:
            found = _problems(model, actions, number if per_patient else None, t_start)
            problems += found
            made[actions] = planned(model, () if found else actions)
    if problems:
        raise ModelError(problems)
    return [made[actions] for actions in given]


def event_table(
    model: PatientModel, doses: Sequence[Any], parameters: Array, t_start: float, *, share: bool = True
) -> tuple[Records, Ints, Array, Array]:  # fmt: skip
    """Events of every patient in a row; each patient's part, (patients, 2); what doses lead to, see ``entering``.

    Raises
    ------
    ModelError
        Doses that cannot be given, or that come before the start.
    """
    n = len(parameters)
    factor, lag = entering(model, parameters)
    made_plans = plans(model, doses, n, t_start)
    lists = made_plans if len(made_plans) > 1 else made_plans * n
    sizes = np.array([len(s) for s in lists], np.int64)
    parts = np.stack([np.cumsum(sizes) - sizes, np.cumsum(sizes)], axis=1)
    events = np.zeros(int(sizes.sum()), dtype=EVENT)
    alike = share and all(one is lists[0] for one in lists) and (factor == factor[0]).all() and (lag == lag[0]).all()
    if alike:  # one list serves all
        made = records(lists[0].entered(factor[0], lag[0]))
        return made, np.tile(np.array([0, len(made)], np.int64), (n, 1)), factor, lag
    for p, plan in enumerate(lists):
        if len(plan):
            events[parts[p, 0] : parts[p, 1]] = records(plan.entered(factor[p], lag[p]))
    return events, parts, factor, lag


def event_derivatives(
    model: PatientModel, events: Records, parts: Ints, parameters: Array, by: Sequence[str], factor: Array
) -> tuple[Array, Array]:  # fmt: skip
    """Derivatives of the values and times of events by parameters, each of shape (events, parameters).

    They come from scale, bioavailability and lag of the inputs.
    """
    return event_slopes(events, parts, factor, *entering_derivatives(model, parameters, by))


def event_slopes(events: Records, parts: Ints, factor: Array, d_factor: Array, d_lag: Array) -> tuple[Array, Array]:
    """Derivatives of the values and times of events from those of factors and lags, (patients, inputs, parameters)."""
    shape = (len(events), d_factor.shape[2])
    values, times = np.zeros(shape), np.zeros(shape)
    for p, (first, last) in enumerate(parts.tolist()):
        entry = events["entry"][first:last]
        dose = np.flatnonzero(entry >= 0)
        if len(dose) == 0:
            continue
        which = entry[dose]
        with np.errstate(divide="ignore", invalid="ignore"):
            per = np.where(factor[p, which] != 0, events["value"][first:last][dose] / factor[p, which], 0.0)
        values[first + dose] = per[:, None] * d_factor[p, which]
        times[first + dose] = d_lag[p, which]
    return values, times


def _problems(model: PatientModel, actions: tuple[Action, ...], patient: int | None, t_start: float) -> list[Problem]:
    place = "doses" if patient is None else f"doses of patient {patient}"
    found: list[Problem] = []
    try:
        check(model, actions)
    except ModelError as error:
        found += [replace(p, file=place) if p.file == "doses" else p for p in error.problems]
    found += [
        Problem(place, None, "time_h", repr(a.time_h), f"a time from the start ({t_start:g} h) on",
                "Begin earlier (t_start), or correct it.")
        for a in actions if a.time_h < t_start
    ]  # fmt: skip
    return found


def records(plan: Schedule) -> Records:
    """Events as the compiled loop reads them."""
    made = np.zeros(len(plan), dtype=EVENT)
    made["time"], made["kind"], made["place"], made["value"] = plan.time, plan.kind, plan.place, plan.value
    made["entry"] = plan.entry
    return made


def trigger_tables(
    triggers: Sequence[Trigger], names: Sequence[str], model: PatientModel, factor: Array, lag: Array
) -> tuple[Records, Records, Ints, int]:  # fmt: skip
    """Triggers; the events that they cause, with each patient's part (patients, triggers, 2); room for waiting events.

    Raises
    ------
    ModelError
        A trigger whose infusions could pile up without end.
    """
    table = np.zeros(len(triggers), dtype=TRIGGER)
    plans = [planned(model, one.doses) for one in triggers]
    slot, room = 1, 0
    problems = []
    for k, (one, plan) in enumerate(zip(triggers, plans)):
        copies = _copies(one, plan)
        if copies > MOST_AT_ONCE:
            problems.append(Problem("triggers", k + 1, "lockout_h", repr(one.lockout_h),
                                    f"at most {MOST_AT_ONCE} courses at the same time",
                                    "Lengthen lockout_h or lower max_times."))  # fmt: skip
        table[k] = (one.threshold, one.delay_h, one.lockout_h, list(names).index(one.quantity),
                    DIRECTIONS[one.direction], one.max_times, int(one.sustained), slot, copies)  # fmt: skip
        slot += copies if (plan.kind == RATE).any() else 0
        room += copies * len(plan) + 2
    if problems:
        raise ModelError(problems)
    n = len(factor)
    answers, at = [], np.zeros((n, len(triggers), 2), np.int64)
    alike = (factor == factor[0]).all() and (lag == lag[0]).all()
    position = 0
    for p in range(1 if alike else n):
        for k, plan in enumerate(plans):
            made = records(plan.entered(factor[p], lag[p]))
            answers.append(made)
            at[p, k] = position, position + len(made)
            position += len(made)
    if alike:
        at[:] = at[0]
    return table, np.concatenate(answers or [np.zeros(0, dtype=EVENT)]), at, min(room, MOST_WAITING)


def _copies(one: Trigger, plan: Schedule) -> int:
    """How many courses of a trigger may be under way at the same time."""
    span = float(plan.time[-1] - plan.time[0]) if len(plan) else 0.0
    if one.lockout_h <= 0:
        return one.max_times
    return min(one.max_times, 1 + math.ceil(span / one.lockout_h))
