"""Policies that look at the chart alone: never, guideline, prophylaxis, threshold on a forecast.

A policy is begun with the number of patients and asked at every step what to do; it keeps what it must remember.
Those that plan ahead (:mod:`.planning`) build on the guideline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from icans.intervene.loop.menu import Actions, Menu, nothing
from icans.intervene.loop.ward import Chart, Ward
from icans.intervene.world import RiskForecast

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Policy(Protocol):
    """What decides."""

    name: str

    def begin(self, ward: Ward) -> None:
        """Patients are at infusion. Only the oracle may keep the ward and look into it."""

    def act(self, chart: Chart) -> Actions:
        """What to do now."""


@dataclass
class Never:
    """Nothing is ever given."""

    name: str = "never"

    def begin(self, ward: Ward) -> None:
        """Nothing to remember."""

    def act(self, chart: Chart) -> Actions:
        """Nothing."""
        return nothing(len(chart), chart.menu)


@dataclass
class Guideline:
    """Care that answers to grades, as ``standard_care`` of ``mechanism/regimens.toml`` (Neelapu 2018; Lee 2019).

    Tocilizumab from grade ``crs_from`` CRS (again after 8 h); dexamethasone 10 mg every 6 h from grade 2 ICANS or
    grade 3 CRS; methylprednisolone 1 g a day at grade 4 ICANS; intensive care from grade 3; EEG from grade 2 ICANS.
    """

    crs_from: int = 2
    icans_from: int = 2
    name: str = "guideline"

    def begin(self, ward: Ward) -> None:
        """Nothing to remember: lock-outs are the menu's."""

    def act(self, chart: Chart) -> Actions:
        """By the grades read now."""
        return self.by_grades(chart.seen.crs, chart.seen.icans, chart.menu)

    def by_grades(self, crs: Ints, icans: Ints, menu: Menu) -> Actions:
        """By grades of shape (n,) each."""
        made = nothing(len(crs), menu)
        steroid = (icans >= self.icans_from) | (crs >= 3)
        made = made.with_dose(menu.place("tocilizumab"), 1, crs >= self.crs_from)
        made = made.with_dose(menu.place("dexamethasone"), 1, steroid & (icans < 4))
        made = made.with_dose(menu.place("methylprednisolone"), 1, icans >= 4)
        return Actions(made.doses, made.assays, icans >= 2, made.switch, np.maximum(icans, crs) >= 3)


@dataclass
class Prophylaxis:
    """A drug to everybody on some days, and the guideline beside it."""

    drug: str
    level: int
    from_h: float
    until_h: float
    every_h: float
    care: Guideline = field(default_factory=Guideline)
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or f"{self.drug} prophylaxis"

    def begin(self, ward: Ward) -> None:
        """Nobody has had any."""
        self.care.begin(ward)

    def act(self, chart: Chart) -> Actions:
        """The drug where its hour has come."""
        made, time = self.care.act(chart), chart.seen.time_h
        late = np.mod(time - self.from_h, self.every_h)
        due = (time >= self.from_h - 1e-6) & (time < self.until_h - 1e-6) & (late < chart.step_h - 1e-6)
        return made.with_dose(chart.menu.place(self.drug), self.level, due)


def anakinra_prophylaxis() -> Prophylaxis:
    """100 mg under the skin every 12 h, days 0 to 7 (``anakinra_days_0_7``: Strati 2023)."""
    return Prophylaxis("anakinra", 1, 0.0, 8 * 24.0, 12.0, name="anakinra prophylaxis")


def steroid_prophylaxis() -> Prophylaxis:
    """Dexamethasone 10 mg on days 0, 1 and 2 (``dexamethasone_days_0_2``: Oluwole 2021)."""
    return Prophylaxis("dexamethasone", 1, 0.0, 3 * 24.0, 24.0, name="steroid prophylaxis")


@dataclass
class Threshold:
    """Treats ahead where a forecast passes a threshold, and as the guideline otherwise.

    ``forecast``: fitted on other patients. ``give``: drug, level and hours between doses of what is given ahead, for
    ``hold_h`` after the last time that the risk was above ``above``; until ``until_h`` hours after infusion.
    """

    forecast: RiskForecast
    above: float = 0.3
    give: tuple[tuple[str, int, float], ...] = (("anakinra", 1, 12.0), ("dexamethasone", 1, 12.0))
    hold_h: float = 24.0
    until_h: float = 14 * 24.0
    care: Guideline = field(default_factory=Guideline)
    name: str = "forecast threshold"

    def begin(self, ward: Ward) -> None:
        """Nobody has been above."""
        n = len(ward)
        self.care.begin(ward)
        self.alarm_h = np.full(n, -np.inf)
        self.last_h = np.full((n, len(self.give)), -np.inf)

    def act(self, chart: Chart) -> Actions:
        """By the forecast from what is known now."""
        made, time = self.care.act(chart), chart.seen.time_h
        risk = self.forecast.predict(chart.seen)
        self.alarm_h = np.where((risk > self.above) & (time <= self.until_h), time, self.alarm_h)
        ahead = time - self.alarm_h < self.hold_h - 1e-6
        for k, (drug, level, every) in enumerate(self.give):
            due = ahead & (time - self.last_h[:, k] >= every - 1e-6)
            self.last_h[:, k] = np.where(due, time, self.last_h[:, k])
            made = made.with_dose(chart.menu.place(drug), level, due)
        return made
