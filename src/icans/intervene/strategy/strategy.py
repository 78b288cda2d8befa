"""A strategy: what is planned, and what follows when something is known. Research use only; no advice on treatment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icans.intervene.strategy.conditions import Forecast, analytes_of
from icans.intervene.strategy.rules import StrategyRule, kind_of
from icans.mechanism.doses import Dose, Trigger
from icans.mechanism.regimens import Planned, Regimen
from icans.mechanism.therapies import MARK, therapies

if TYPE_CHECKING:
    from icans.population.quantities import Readings

#: What a strategy is by when it acts, least first.
KINDS = ("none", "reactive", "pre-emptive", "prophylactic")


@dataclass(frozen=True)
class Strategy:
    """What is done for a patient over the first month.

    Attributes
    ----------
    name, label
        Its name in files, and for people.
    doses
        What everybody is given, by the clock.
    rules
        What follows when something is known.
    cells
        Hours and shares of the CAR T cells; empty: as the product is given.
    products
        Products that it is for; empty: all.
    needs
        What the cells must carry that the products as sold do not (``"iCasp9"``).
    hypothetical
        No patient has been treated so; told wherever it is shown.
    evidence, source, status
        What was seen with it, where it comes from, and whether that was read, recalled or assumed.
    include
        Names of the regimens and strategies that it was put together from.
    """

    name: str
    label: str
    doses: tuple[Planned, ...] = ()
    rules: tuple[StrategyRule, ...] = ()
    cells: tuple[tuple[float, float], ...] = ()
    products: tuple[str, ...] = ()
    needs: str = ""
    hypothetical: bool = False
    evidence: str = ""
    source: str = ""
    status: str = "assumed"
    include: tuple[str, ...] = field(default=(), compare=False)

    @property
    def drugs(self) -> tuple[str, ...]:
        """Its drugs, in alphabetical order: what the model must be made with."""
        entries = [*self.doses, *(d for rule in self.rules for d in rule.doses)]
        return tuple(sorted({d.drug for d in entries}))

    @property
    def analytes(self) -> tuple[str, ...]:
        """Results that its rules read."""
        return analytes_of(tuple(c for rule in self.rules for c in rule.when))

    @property
    def forecasts(self) -> tuple[Forecast, ...]:
        """Forecasts that its rules read."""
        found = {(c.toxicity, c.grade, c.within_h) for r in self.rules for c in r.when if isinstance(c, Forecast)}
        return tuple(Forecast(t, g, h, 0.0) for t, g, h in sorted(found))

    @property
    def title(self) -> str:
        """The label, marked if hypothetical."""
        return f"{self.label} ({MARK})" if self.hypothetical else self.label

    @property
    def kind(self) -> str:
        """When it acts at the earliest, of :data:`KINDS`; antiepileptic prophylaxis alone does not count."""
        if self.cells or any("seizure" not in therapies()[d.drug].target for d in self.doses):
            return "prophylactic"
        kinds = {kind_of(rule) for rule in self.rules}
        return "pre-emptive" if "pre-emptive" in kinds else "reactive" if kinds else "none"

    @property
    def one_call(self) -> bool:
        """Whether the solver alone can carry it out: every rule waits for a bedside sign."""
        return all(rule.watched for rule in self.rules)

    @property
    def seen_on_rounds(self) -> tuple[int, ...]:
        """Places of the rules that are looked at on rounds: results, forecasts, several conditions, a window."""
        return tuple(k for k, rule in enumerate(self.rules) if not rule.watched)

    def given(self, weight_kg: float = 70.0, surface_m2: float = 1.8) -> tuple[Dose, ...]:
        """The planned doses of a patient."""
        return Regimen(self.name, self.label, self.doses).given(weight_kg, surface_m2)

    def triggers(self, readings: Readings, weight_kg: float = 70.0, surface_m2: float = 1.8) -> tuple[Trigger, ...]:
        """The watched rules of a patient, as triggers of the solver."""
        watched = tuple(r.as_rule(readings.cut["iechs"]) for r in self.rules if r.watched)
        cuts = {"crs": readings.crs["astct"].cuts, "icans": readings.nt["astct"].cuts}
        return Regimen(self.name, self.label, (), watched).triggers(weight_kg, surface_m2, cuts=cuts)

    def describe(self) -> str:
        """In plain words: a line for the name, one for every dose and rule."""
        lines = [self.title.upper() if self.hypothetical else self.title]
        if self.needs:
            lines.append(f"- needs cells that carry {self.needs}")
        if self.cells:
            parts = ", ".join(f"{100 * share:g} % at hour {hour:g}" for hour, share in self.cells)
            lines.append(f"- CAR T cells in parts: {parts}")
        lines += [f"- {_when(dose.time_h)}: {dose.describe()}" for dose in self.doses]
        lines += [f"- {rule.describe()}" for rule in self.rules]
        return "\n".join(lines if len(lines) > 1 else [*lines, "- nothing"])


def drugs_of(strategies: Sequence[Strategy]) -> tuple[str, ...]:
    """Drugs of several strategies."""
    return tuple(sorted({drug for s in strategies for drug in s.drugs}))


def is_hypothetical(drugs: Sequence[str], known: Mapping[str, bool] | None = None) -> bool:
    """Whether one of the drugs has no human data in this use."""
    return any((known or {}).get(d, d in therapies() and therapies()[d].hypothetical) for d in drugs)


def _when(time_h: float) -> str:
    day, hour = divmod(time_h, 24.0)
    if math.isclose(hour, 0.0):
        return f"day {day:g}"
    return f"day {day:g}, hour {hour:g}"
