"""Deciding on rounds: which rules act now, for all patients at once, with lock-outs and what was decided before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.intervene.strategy.conditions import Array, Mask, Seen
from icans.intervene.strategy.results import results
from icans.intervene.strategy.rules import StrategyRule
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world.assays import ANALYTES
from icans.intervene.world.observation import VITALS, Observation
from icans.mechanism.doses import Dose


@dataclass(frozen=True)
class Memory:
    """What was decided so far, shape (n, rules): hours of the last time, how many times, whether it held last time."""

    last_h: Array
    times: npt.NDArray[np.int64]
    held: Mask

    @classmethod
    def fresh(cls, n: int, strategy: Strategy) -> Memory:
        """Nothing was decided."""
        shape = (n, len(strategy.rules))
        return cls(np.full(shape, -np.inf), np.zeros(shape, np.int64), np.zeros(shape, bool))

    def rows(self, chosen: npt.ArrayLike) -> Memory:
        """Some patients."""
        at = np.asarray(chosen)
        return Memory(self.last_h[at], self.times[at], self.held[at])


def decide(
    strategy: Strategy, seen: Seen, memory: Memory, time_h: float, *, rules: tuple[int, ...] | None = None
) -> tuple[Mask, Memory]:  # fmt: skip
    """Which rules act at a time, shape (n, rules), and what is remembered.

    A rule acts where one of its conditions holds and did not hold at the last round (if ``sustained``: whenever it
    holds), the hour is within its window, its lock-out is over and it has not acted ``most_times`` yet.

    Parameters
    ----------
    rules
        Places of the rules that are looked at; all if None. The others keep what is remembered of them.
    """
    looked = tuple(range(len(strategy.rules))) if rules is None else rules
    acts = np.zeros_like(memory.held)
    held = memory.held.copy()
    for k in looked:
        rule = strategy.rules[k]
        now = np.logical_or.reduce([c.holds(seen) for c in rule.when])
        begins = now if rule.sustained else now & ~memory.held[:, k]
        free = (time_h - memory.last_h[:, k] >= rule.lockout_h - 1e-9) & (memory.times[:, k] < rule.most_times)
        inside = rule.from_h - 1e-9 <= time_h <= rule.until_h + 1e-9
        acts[:, k] = begins & free & inside
        held[:, k] = now
    return acts, Memory(np.where(acts, time_h, memory.last_h), memory.times + acts, held)


def doses_of(rule: StrategyRule, time_h: float, weight_kg: float, surface_m2: float) -> tuple[Dose, ...]:
    """What a rule that acts at a time gives a patient, by the clock of the infusion."""
    made = []
    for planned in rule.doses:
        dose = planned.resolve(weight_kg, surface_m2)
        made.append(Dose(time_h + rule.delay_h + dose.time_h, dose.drug, dose.amount, dose.unit, dose.route,
                         dose.duration_h, dose.every_h, dose.count))  # fmt: skip
    return tuple(made)


@dataclass(frozen=True)
class SeenInWorld:
    """An observation of a :class:`icans.intervene.world.World`, as rules read it.

    ``forecasts``: (toxicity, grade, within_h) -> probabilities, made from this observation.
    """

    observation: Observation
    forecasts: Mapping[tuple[str, int, float], Array]

    @property
    def grades(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Grades as read at the bedside (late hyperinflammation is not graded there)."""
        return {"crs": self.observation.crs, "icans": self.observation.icans}

    @property
    def values(self) -> Mapping[str, Array]:
        """Newest available results."""
        of = self.observation
        made = {r.name: of.value[:, ANALYTES.index(r.analyte)] for r in results().values() if r.analyte}
        return made | {"temperature": of.vitals[:, VITALS.index("TEMP")]}

    @property
    def age_h(self) -> Mapping[str, Array]:
        """Hours since they were drawn."""
        of = self.observation
        made = {r.name: of.age_h[:, ANALYTES.index(r.analyte)] for r in results().values() if r.analyte}
        return made | {"temperature": np.zeros(len(of))}

    def forecast(self, toxicity: str, grade: int, within_h: float) -> Array:
        """A forecast that was made from this observation."""
        return self.forecasts[(toxicity, grade, within_h)]
