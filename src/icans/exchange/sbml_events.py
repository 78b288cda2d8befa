"""Doses, resets and switches as events of SBML.

At one time, additions come before rates of infusion, resets and switches, as in :mod:`icans.mechanism.doses`; events
carry priorities for it, and each is computed from the values that the one before it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icans.core.errors import ModelError, Problem
from icans.exchange.sbml_math import formula, to_math
from icans.mechanism.doses import ADD, RATE, SET, SWITCH, Dose, Reset, Switch, unit_factor

if TYPE_CHECKING:
    from icans.mechanism.declare import Input
    from icans.mechanism.doses import Action
    from icans.mechanism.model import PatientModel


def rate_id(model: PatientModel, entry: Input) -> str:
    """Name of the rate of infusion of an input, which no other quantity of the model has."""
    taken = {*model.state_names, *model.parameters.names, *(d.name for d in model.definitions)}
    name = f"rate_{entry.name}"
    while name in taken:
        name += "_"
    return name


def add_events(
    made: Any, model: PatientModel, actions: Sequence[Action], t_start: float, functions: Mapping[str, str]
) -> None:  # fmt: skip
    """Add the events of one patient to an SBML model.

    Raises
    ------
    ModelError
        An action before ``t_start``.
    """
    early = [
        Problem(
            "doses", n, "time_h", repr(a.time_h), f"a time from {t_start:g} h on", "Start earlier, or leave it out."
        )
        for n, a in enumerate(actions, 1)
        if a.time_h < t_start
    ]
    if early:
        raise ModelError(early)
    writer = _Writer(made, functions, t_start)
    spans: dict[str, list[tuple[float, float, float]]] = {}
    for action in actions:
        if isinstance(action, Reset):
            writer.event(SET, action.time_h, "0", action.state, repr(float(action.value)), f"{action.state} set")
        elif isinstance(action, Switch):
            text = f"{action.parameter} switched"
            writer.event(SWITCH, action.time_h, "0", action.parameter, repr(float(action.value)), text)
        else:
            for entry in (e for e in model.inputs if e.drug == action.drug and action.route in e.routes):
                _give(writer, entry, action, spans)
    for entry in model.inputs:
        running = spans.get(entry.name, [])
        for edge in sorted({edge for start, stop, _ in running for edge in (start, stop)}):
            total = sum(rate for start, stop, rate in running if start <= edge < stop)
            text = f"{entry.drug}: infusion " + ("rate changed" if total else "ended")
            writer.event(RATE, edge, entry.lag_h, rate_id(model, entry), _amount(total, entry), text)


def _give(writer: _Writer, entry: Input, dose: Dose, spans: dict[str, list[tuple[float, float, float]]]) -> None:
    amount = dose.amount * unit_factor(dose.unit, entry.unit)
    label = f"{dose.drug} {dose.amount:g} {dose.unit} {dose.route}"
    for start in dose.times().tolist():
        if dose.duration_h > 0:
            span = (start, start + dose.duration_h, amount / dose.duration_h)
            spans.setdefault(entry.name, []).append(span)
        else:
            writer.event(ADD, start, entry.lag_h, entry.state, f"{entry.state} + {_amount(amount, entry)}", label)


def _amount(amount: float, entry: Input) -> str:
    parts = [repr(float(amount)), *(f"({t})" for t in (entry.scale, entry.bioavailable) if t.strip() != "1")]
    return "*".join(parts)


class _Writer:
    """Adds numbered events to one SBML model."""

    def __init__(self, made: Any, functions: Mapping[str, str], t_start: float) -> None:
        self._made, self._functions, self._start = made, functions, t_start

    def event(self, kind: int, time_h: float, lag: str, target: str, text: str, label: str) -> None:
        """At ``time_h`` plus the lag, ``target`` takes the value of ``text``."""
        number = self._made.getNumEvents() + 1
        event = self._made.createEvent()
        event.setId(f"event_{number}")
        event.setName(label)
        event.setUseValuesFromTriggerTime(False)
        trigger = event.createTrigger()
        trigger.setPersistent(True)
        trigger.setInitialValue(False)  # so that a dose at time 0 is given
        due = formula(repr(time_h - self._start))
        condition = formula("time >= 0")
        if lag.strip() not in ("0", "0.0"):
            total = formula("x + y")
            total.replaceChild(0, due)
            total.replaceChild(1, to_math(lag, self._functions))
            due = total
        condition.replaceChild(1, due)
        trigger.setMath(condition)
        priority = event.createPriority()
        priority.setMath(formula(str(10 - kind)))
        assignment = event.createEventAssignment()
        assignment.setVariable(target)
        assignment.setMath(to_math(text, self._functions))
