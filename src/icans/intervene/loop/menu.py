"""Actions and their limits: what may be given when, and the doses that an action stands for. See ``menu.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.intervene.world import ANALYTES, Given, join
from icans.intervene.world.dosing import Entries
from icans.mechanism.parameters import unknown

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Hours over which the most of a day is counted.
DAY_H = 24.0


@cache
def table() -> dict[str, Any]:
    """The contents of ``menu.toml``."""
    return tomllib.loads((resources.files(__package__) / "menu.toml").read_text(encoding="utf-8"))


def weights(changes: Mapping[str, float] | None = None) -> dict[str, float]:
    """Loss per unit of each outcome, with changes.

    Raises
    ------
    ModelError
        A weight for what is no outcome, or that is no number.
    """
    from icans.intervene.world import meanings

    made = {name: float(v) for name, v in table()["weights"].items() if name in meanings()}
    problems = [unknown("outcome", name, meanings()) for name in changes or () if name not in meanings()]
    problems += [
        Problem("weights", None, name, repr(v), "a number", "Correct it.")
        for name, v in (changes or {}).items() if not np.isfinite(v)
    ]  # fmt: skip
    if problems:
        raise ModelError(problems)
    return made | {name: float(v) for name, v in (changes or {}).items()}


@dataclass(frozen=True)
class Level:
    """One dose level."""

    amount: float
    unit: str
    most_mg: float = np.inf
    route: str = "iv"
    duration_h: float = 0.0
    every_h: float | None = None
    count: int = 1

    def mg(self, weight_kg: Array) -> Array:
        """Amounts for patients, mg."""
        each = weight_kg if self.unit == "mg/kg" else np.ones_like(weight_kg)
        return np.asarray(np.minimum(self.amount * each, self.most_mg))


@dataclass(frozen=True)
class Item:
    """A drug of the menu and its limits."""

    drug: str
    levels: tuple[Level, ...]
    lockout_h: float
    most_day_mg: float
    most_times: int


@dataclass(frozen=True)
class Menu:
    """What an action chooses from. ``switch``: drug and doses of the cells' switch, None without one."""

    items: tuple[Item, ...]
    switch: Item | None = None
    switch_name: str = ""

    @property
    def drugs(self) -> tuple[str, ...]:
        """Drugs that the world must have."""
        more = () if self.switch is None else (self.switch.drug,)
        return tuple(dict.fromkeys((*(i.drug for i in self.items), *more)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Levels of each item, none counted in."""
        return tuple(1 + len(i.levels) for i in self.items)

    def place(self, drug: str) -> int:
        """Column of a drug; -1 if it is not on the menu."""
        return next((k for k, i in enumerate(self.items) if i.drug == drug), -1)


def make_menu(drugs: Sequence[str], switch: str | None) -> Menu:
    """The menu of some drugs and a switch (``"icasp9"``, ``"dasatinib"`` or None).

    Raises
    ------
    ModelError
        Drugs or a switch that the table does not have.
    """
    problems = [unknown("drug of the menu", d, table()["drug"]) for d in drugs if d not in table()["drug"]]
    if switch is not None and switch not in table()["switch"]:
        problems.append(unknown("switch", switch, table()["switch"]))
    if problems:
        raise ModelError(problems)
    items = tuple(
        Item(d, tuple(Level(**level) for level in e["levels"]), e["lockout_h"], e["most_day_mg"], e["most_times"])
        for d in drugs for e in (table()["drug"][d],)
    )  # fmt: skip
    if switch is None:
        return Menu(items)
    entry = table()["switch"][switch]
    levels = tuple(Level(**dose) for dose in entry["doses"])
    return Menu(items, Item(entry["drug"], levels, np.inf, np.inf, 1), switch)


@dataclass(frozen=True)
class Actions:
    """What is done for every patient.

    ``doses``: levels, shape (n, items), 0 for none; ``assays``: samples to draw, (n, analytes); ``eeg``, ``switch``,
    ``icu``: (n,).
    """

    doses: Ints
    assays: Mask
    eeg: Mask
    switch: Mask
    icu: Mask

    def rows(self, chosen: npt.ArrayLike) -> Actions:
        """Those of some patients."""
        return Actions(*(getattr(self, f.name)[np.asarray(chosen)] for f in fields(self)))

    def with_dose(self, column: int, level: int, who: Mask) -> Actions:
        """With at least a level of a drug for some; unchanged where the drug is not on the menu."""
        if column < 0:
            return self
        doses = self.doses.copy()
        doses[who, column] = np.maximum(doses[who, column], level)
        return replace(self, doses=doses)


def nothing(n: int, menu: Menu) -> Actions:
    """No action."""
    no = np.zeros(n, dtype=bool)
    return Actions(np.zeros((n, len(menu.items)), np.int64), np.zeros((n, len(ANALYTES)), bool), no, no.copy(),
                   no.copy())  # fmt: skip


@dataclass
class Limits:
    """What was given by now, for the limits: shape (n, items); ``recent``: doses of the last day."""

    last_h: Array
    times: Ints
    switched: Mask
    recent: list[tuple[Array, Array]] = field(default_factory=list)

    @classmethod
    def none(cls, n: int, menu: Menu) -> Limits:
        """Nothing was given."""
        shape = (n, len(menu.items))
        return cls(np.full(shape, -np.inf), np.zeros(shape, np.int64), np.zeros(n, bool))

    def rows(self, at: Ints) -> Limits:
        """Those of some patients."""
        recent = [(time[at], mg[at]) for time, mg in self.recent]
        return Limits(self.last_h[at], self.times[at], self.switched[at], recent)

    def forget(self, at: Ints) -> None:
        """New patients in some rows."""
        self.last_h[at], self.times[at], self.switched[at] = -np.inf, 0, False
        for _, mg in self.recent:
            mg[at] = 0.0

    def day_mg(self, clock_h: Array) -> Array:
        """Given in the last 24 h, mg, shape (n, items)."""
        total = np.zeros(self.last_h.shape)
        for time, mg in self.recent:
            total += np.where((clock_h - time < DAY_H - 1e-6)[:, None], mg, 0.0)
        return total

    def allowed(self, menu: Menu, clock_h: Array) -> Mask:
        """Which drugs may be given now at some level, shape (n, items)."""
        lockout, day, times = _limits(menu)
        rested = clock_h[:, None] - self.last_h >= lockout - 1e-6
        return np.asarray(rested & (self.times < times) & (self.day_mg(clock_h) < day - 1e-6))

    def take(self, menu: Menu, levels: Ints, clock_h: Array, weight_kg: Array) -> tuple[Ints, Array]:
        """Levels that are given after the limits, and their mg, shape (n, items) each; they count from now on."""
        mg = np.zeros(levels.shape)
        for k, item in enumerate(menu.items):
            for number, level in enumerate(item.levels, 1):
                mg[:, k] = np.where(levels[:, k] == number, level.mg(weight_kg), mg[:, k])
        _, day, _ = _limits(menu)
        good = (levels > 0) & self.allowed(menu, clock_h) & (self.day_mg(clock_h) + mg <= day + 1e-6)
        kept, mg = np.where(good, levels, 0), np.where(good, mg, 0.0)
        self.last_h = np.where(good, clock_h[:, None], self.last_h)
        self.times = self.times + good
        if good.any():
            self.recent.append((clock_h.copy(), mg))
        self.recent = [r for r in self.recent if (clock_h - r[0]).min() < DAY_H]
        return kept, mg


def _limits(menu: Menu) -> tuple[Array, Array, Array]:
    columns = [[i.lockout_h for i in menu.items], [i.most_day_mg for i in menu.items],
               [float(i.most_times) for i in menu.items]]  # fmt: skip
    lockout, day, times = (np.array(c, dtype=float) for c in columns)
    return lockout, day, times


def doses_of(
    menu: Menu, entries: Entries, weight_kg: Array, clock_h: Array, levels: Ints, switch: Mask
) -> Given:  # fmt: skip
    """Doses that allowed levels and a use of the switch stand for, from now on."""

    def given(drug: str, level: Level, who: Ints) -> Given:
        return entries.give(who, drug, level.mg(weight_kg[who]), "mg", clock_h[who], route=level.route,
                            duration_h=level.duration_h, every_h=level.every_h, count=level.count)  # fmt: skip

    parts = []
    for k, item in enumerate(menu.items):
        for number, level in enumerate(item.levels, 1):
            who = np.flatnonzero(levels[:, k] == number)
            if len(who):
                parts.append(given(item.drug, level, who))
    if menu.switch is not None and switch.any():
        parts += [given(menu.switch.drug, level, np.flatnonzero(switch)) for level in menu.switch.levels]
    return join(parts)
