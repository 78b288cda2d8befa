"""Triggers: therapy that answers to what happens, located on the solution rather than on a grid of visits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Action, check
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

DIRECTIONS = {"up": 1, "down": -1}


@dataclass(frozen=True, slots=True)
class Trigger:
    """Doses that follow when a quantity passes a threshold.

    Attributes
    ----------
    quantity
        A state or definition of the model.
    threshold
        In its unit; the quantity counts as above when it is at the threshold.
    direction
        ``"up"``: fires when it rises to the threshold; ``"down"``: when it falls below.
    doses
        What is given (and set, and switched); their ``time_h`` count from the firing plus ``delay_h``.
    delay_h
        Hours from the passage to the first dose (recognition, ordering, preparation).
    lockout_h
        Hours after a firing in which it does not fire again.
    max_times
        How often it fires at most.
    sustained
        Whether it also fires when the quantity is beyond the threshold at the start, or still is when the lock ends:
        a rule of treatment ("again while the grade is at least 2") rather than of passage alone.
    """

    quantity: str
    threshold: float
    direction: str = "up"
    doses: tuple[Action, ...] = ()
    delay_h: float = 0.0
    lockout_h: float = 0.0
    max_times: int = 1
    label: str = ""
    sustained: bool = True


def check_triggers(model: PatientModel, triggers: Iterable[Trigger]) -> None:
    """Refuse triggers that cannot work.

    Raises
    ------
    ModelError
        Unknown quantities, thresholds or times that are not numbers, doses that cannot be given: all of them.
    """
    problems: list[Problem] = []
    for number, trigger in enumerate(triggers, 1):
        problems += _problems(model, trigger, number)
        try:
            check(model, trigger.doses)
        except ModelError as error:
            problems += [replace(p, file=f"triggers, {trigger.label or number}: {p.file}") for p in error.problems]
    if problems:
        raise ModelError(problems)


def _problems(model: PatientModel, trigger: Trigger, number: int) -> list[Problem]:
    def problem(column: str, value: object, expected: str, remedy: str) -> Problem:
        return Problem("triggers", number, column, repr(value), expected, remedy)

    found = []
    if trigger.quantity not in model.units:
        found.append(
            replace(unknown("state or definition", trigger.quantity, model.units), row=number, column="quantity")
        )
    if not math.isfinite(trigger.threshold):
        found.append(problem("threshold", trigger.threshold, "a number", "Give the threshold in the quantity's unit."))
    if trigger.direction not in DIRECTIONS:
        found.append(problem("direction", trigger.direction, "'up' or 'down'", "Choose one."))
    for name in ("delay_h", "lockout_h"):
        value = getattr(trigger, name)
        if not (math.isfinite(value) and value >= 0):
            found.append(problem(name, value, "hours, at least 0", "Correct it."))
    if not 1 <= trigger.max_times <= 1000:
        found.append(problem("max_times", trigger.max_times, "a whole number from 1 to 1000", "Correct it."))
    if trigger.max_times > 1 and trigger.lockout_h <= 0 and trigger.sustained:
        found.append(problem("lockout_h", trigger.lockout_h, "hours above 0 where it may fire again while sustained",
                             "Give a lockout, or sustained=False."))  # fmt: skip
    return found
