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
from icans.mechanism.parameters import bound_problems, unknown

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
    problems = bound_problems(model.parameters.rows, values)
    if len(values) == 0:
        problems.append(Problem("parameters", None, None, "0", "at least one patient", "Give one."))
    if problems:
        raise ModelError(problems)
    return np.ascontiguousarray(values)


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
    doses = list(doses)
    per_patient = bool(doses) and isinstance(doses[0], (list, tuple))
    if per_patient and len(doses) != n:
        raise ModelError([Problem("doses", None, None, str(len(doses)), f"one list of doses for each of {n} patients",
                                  "Give a list per patient, or one list for all.")])  # fmt: skip
    given = [tuple(d) for d in doses] if per_patient else [tuple(doses)]
    factor, lag = entering(model, parameters)
    plans: dict[tuple[Action, ...], Schedule] = {}
    problems: list[Problem] = []
    for number, actions in enumerate(given, 1):
        if actions not in plans:
            found = _problems(model, actions, number if per_patient else None, t_start)
            problems += found
            plans[actions] = planned(model, () if found else actions)
    if problems:
        raise ModelError(problems)
    lists = [plans[given[p if per_patient else 0]] for p in range(n)]
    sizes = np.array([len(s) for s in lists], np.int64)
    parts = np.stack([np.cumsum(sizes) - sizes, np.cumsum(sizes)], axis=1)
    events = np.zeros(int(sizes.sum()), dtype=EVENT)
    alike = share and len(plans) == 1 and (factor == factor[0]).all() and (lag == lag[0]).all()
    if alike:  # one list serves all
        made = _records(lists[0].entered(factor[0], lag[0]))
        return made, np.tile(np.array([0, len(made)], np.int64), (n, 1)), factor, lag
    for p, plan in enumerate(lists):
        if len(plan):
            events[parts[p, 0] : parts[p, 1]] = _records(plan.entered(factor[p], lag[p]))
    return events, parts, factor, lag


def event_derivatives(
    model: PatientModel, events: Records, parts: Ints, parameters: Array, by: Sequence[str], factor: Array
) -> tuple[Array, Array]:  # fmt: skip
    """Derivatives of the values and times of events by parameters, each of shape (events, parameters).

    They come from scale, bioavailability and lag of the inputs.
    """
    values, times = np.zeros((len(events), len(by))), np.zeros((len(events), len(by)))
    d_factor, d_lag = entering_derivatives(model, parameters, by)
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


def _records(plan: Schedule) -> Records:
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
            made = _records(plan.entered(factor[p], lag[p]))
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
