"""Rules of a strategy: what is waited for, what follows, how often, and how it is tapered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from icans.intervene.strategy.conditions import Condition, Fever, Forecast, GradeSeen, Result
from icans.mechanism.regimens import Planned, Rule
from icans.mechanism.therapies import therapies

#: Conditions that nurses watch all the time, so that the solver itself can; others are looked at on rounds.
WATCHED = (GradeSeen, Fever)


@dataclass(frozen=True, slots=True)
class Taper:
    """Lower doses after a course: each step ``count`` times, ``every_h`` apart, from ``every_h`` after the last."""

    amounts: tuple[float, ...]
    every_h: float
    count: int

    def after(self, course: Planned) -> tuple[Planned, ...]:
        """The steps that follow a course of the same drug, in its unit and by its route."""
        start = course.time_h + (course.every_h or 0.0) * (course.count - 1) + self.every_h
        span = self.every_h * self.count
        return tuple(
            replace(course, time_h=start + k * span, amount=amount, every_h=self.every_h, count=self.count)
            for k, amount in enumerate(self.amounts)
        )

    def describe(self, unit: str) -> str:
        """In words."""
        steps = ", ".join(f"{a:g}" for a in self.amounts)
        return f"tapered to {steps} {unit}, {self.count} times each, {self.every_h:g} h apart"


@dataclass(frozen=True, slots=True)
class StrategyRule:
    """Doses that follow when any of some conditions holds.

    Attributes
    ----------
    when
        Conditions of which one suffices.
    give
        Doses, their times in hours after the decision (plus ``delay_h``).
    taper
        Follows the last entry of ``give``.
    delay_h, lockout_h, most_times, sustained
        As in :class:`icans.mechanism.regimens.Rule`.
    from_h, until_h
        It is in force between these hours after the infusion.
    """

    when: tuple[Condition, ...]
    give: tuple[Planned, ...]
    delay_h: float = 0.0
    lockout_h: float = 0.0
    most_times: int = 1
    sustained: bool = False
    taper: Taper | None = None
    from_h: float = 0.0
    until_h: float = math.inf

    @property
    def doses(self) -> tuple[Planned, ...]:
        """What is given each time, the taper included."""
        return self.give if self.taper is None else (*self.give, *self.taper.after(self.give[-1]))

    @property
    def watched(self) -> bool:
        """Whether one bedside sign at any time is all that is waited for: the solver can then act on it itself."""
        always = self.from_h <= 0.0 and math.isinf(self.until_h)
        return always and len(self.when) == 1 and isinstance(self.when[0], WATCHED)

    def as_rule(self, iechs_cut: float) -> Rule:
        """The rule as the mechanism has it (for :meth:`watched` ones alone)."""
        (sign,) = self.when
        if isinstance(sign, Fever):
            watch, level = "TEMP", sign.from_c
        elif isinstance(sign, GradeSeen) and sign.toxicity == "iechs":
            watch, level = "iechs_drive", iechs_cut
        elif isinstance(sign, GradeSeen):
            watch, level = sign.toxicity, float(sign.grade)
        else:  # pragma: no cover - watched rules have no other condition
            raise TypeError(type(sign))
        return Rule(watch, level, "up", self.doses, self.delay_h, self.lockout_h, self.most_times, self.sustained)

    def describe(self) -> str:
        """In words."""
        text = "upon " + ", or ".join(c.describe() for c in self.when) + ": "
        text += "; then ".join(d.describe() if d.time_h == 0 else f"{d.describe()} from {d.time_h:g} h"
                               for d in self.give)  # fmt: skip
        if self.taper is not None:
            text += f", {self.taper.describe(self.give[-1].unit)}"
        text += f"; {self.delay_h:g} h after it is known" if self.delay_h else ""
        if self.from_h > 0 or math.isfinite(self.until_h):
            end = f" to {_day(self.until_h)}" if math.isfinite(self.until_h) else " on"
            text += f"; in force from {_day(self.from_h)}{end}"
        if self.most_times > 1:
            again = "while it lasts" if self.sustained else "each time it is known anew"
            text += f"; up to {self.most_times} times, {self.lockout_h:g} h apart, {again}"
        return text


def from_mechanism(rule: Rule) -> StrategyRule:
    """A rule of a regimen that waits for a grade.

    Raises
    ------
    ValueError
        It waits for a hidden quantity of the model, which nobody at the bedside sees.
    """
    if rule.watch not in ("crs", "icans"):
        raise ValueError(rule.watch)
    return StrategyRule((GradeSeen(rule.watch, int(rule.level)),), rule.give, rule.delay_h, rule.lockout_h,
                        rule.most_times, rule.sustained)  # fmt: skip


def kind_of(rule: StrategyRule) -> str:
    """``reactive`` (signs that are there), ``pre-emptive`` (results and forecasts before them)."""
    early = (Result, Forecast, Fever)
    return "pre-emptive" if any(isinstance(c, early) for c in rule.when) else "reactive"


def title_of(drug: str) -> str:
    """Name of a drug for people, marked if hypothetical."""
    return therapies()[drug].title if drug in therapies() else drug


def _day(hours: float) -> str:
    day, hour = divmod(hours, 24.0)
    return f"day {day:g}" if hour == 0 else f"day {day:g}, hour {hour:g}"
