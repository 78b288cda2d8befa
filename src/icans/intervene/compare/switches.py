"""What the safety switches do within hours: cells gone after rimiducid, signs a day later; a pause and its end.

Both are looked at around the moment at which each patient's rule acts, against the same patients without.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from icans.intervene.compare.arm import run_course
from icans.intervene.compare.running import Group
from icans.intervene.strategy.rules import StrategyRule
from icans.intervene.strategy.strategy import Strategy
from icans.mechanism.regimens import Planned
from icans.population import artefact

Array = npt.NDArray[np.float64]
Row = tuple[str, float, float, str, str, float, float, str]

#: Product and disease in which they are looked at, and the hour of a planned dose (day 7, about the peak).
WHERE, AT_H = ("axi-cel", "LBCL"), 168.0
ZHOU = "Zhou 2015, Blood 125:4103: 85 to 95 % of cells with the switch gone in 30 minutes; signs better within hours"
FOSTER = "Foster 2021, Blood 137:3306: one patient with ICANS, better within a day"
MESTERMANN = (
    "Mestermann 2019, doi 10.1126/scitranslmed.aau5907: block within hours, function back soon after the last dose"
)
HOURS = np.arange(0.0, 24.0 * 24 + 1, 2.0)
#: A day; and how long grade 3 has lasted, steroids on, when the switch is used in refractory ICANS.
DAY_H, REFRACTORY_H = 24.0, 48.0


def rimiducid_looks(strategy: Strategy, n: int, seed: int) -> list[Row]:
    """Cells gone half an hour after the infusion on day 7; signs a day after it, soon and in refractory ICANS."""
    group, readings = Group(*WHERE, n), artefact.read().readings
    patients = group.draw(seed, strategy.drugs)
    (dose,) = strategy.rules[0].give
    half = AT_H + dose.duration_h + 0.5
    gone = []
    for one in (_none(dose), replace(dose, time_h=AT_H)):
        planned = Strategy("planned", "planned", doses=(one,))
        found = run_course(planned, patients, readings, ("car_total",), times_h=np.array([0.0, AT_H, half]))
        cells = np.asarray(found.series["car_total"], dtype=float)
        gone.append(float(np.median(100.0 * (1.0 - cells[:, 2] / cells[:, 1]))))
    crs = [float(np.median(x)) for x in _around(strategy, n, seed, "crs_severity", DAY_H)]
    late = replace(strategy, rules=(replace(strategy.rules[0], delay_h=REFRACTORY_H),))
    care = _steroids()
    _, at_dose_with = _around(late, n, seed, "encephalopathy", 0.0, care)
    a_day, a_day_with = _around(late, n, seed, "encephalopathy", DAY_H, care)
    return [
        ("cells gone half an hour after the infusion, %", gone[0], gone[1], "up", "85 to 95 %", 85.0, 95.0, ZHOU),
        ("median severity of CRS a day after, without and with", crs[0], crs[1], "down", "signs better within hours",
         math.nan, math.nan, ZHOU),
        ("median severity of ICANS at the dose (grade 3 for 48 h despite steroids) and a day after",
         float(np.median(at_dose_with)), float(np.median(a_day_with)), "down", "better within a day (one patient)",
         math.nan, math.nan, FOSTER),
        ("the same a day after, without and with", float(np.median(a_day)), float(np.median(a_day_with)), "down", "",
         math.nan, math.nan, FOSTER),
    ]  # fmt: skip


def dasatinib_looks(strategy: Strategy, n: int, seed: int) -> list[Row]:
    """Engaged cells and severity during three days of dasatinib, and engaged cells after them."""
    free, held = _around(strategy, n, seed, "engaged", 12.0)
    later_free, later = _around(strategy, n, seed, "engaged", 96.0)
    severity_free, severity = _around(strategy, n, seed, "encephalopathy", 72.0)
    ratio_in, ratio_after = (float(np.median(a / np.maximum(b, 1e-9))) for a, b in ((held, free), (later, later_free)))
    return [
        ("engaged cells 12 h after the first dose, of those without", 1.0, ratio_in, "down",
         "block within hours", math.nan, math.nan, MESTERMANN),
        ("the same 36 h after the last dose, against during it (rebound)", ratio_in, ratio_after, "up",
         "function back after the last dose", math.nan, math.nan, MESTERMANN),
        ("median severity of ICANS at 72 h, without and with", float(np.median(severity_free)),
         float(np.median(severity)), "down", "mice survive; one patient", math.nan, math.nan, MESTERMANN),
    ]  # fmt: skip


def _around(
    strategy: Strategy, n: int, seed: int, output: str, after_h: float, care: tuple[StrategyRule, ...] = ()
) -> tuple[Array, Array]:  # fmt: skip
    """An output so many hours after each patient's first rule gives its dose, without and with it; care in both."""
    readings = artefact.read().readings
    treated = replace(strategy, rules=(*strategy.rules, *care))
    patients = Group(*WHERE, n).draw(seed, treated.drugs)
    with_ = run_course(treated, patients, readings, (output,), times_h=HOURS)
    nothing = Strategy("nothing", "nothing", doses=(_none(strategy.rules[0].give[0]),), rules=care)
    without = run_course(nothing, patients, readings, (output,), times_h=HOURS)
    given = with_.acted[0][:, 0] + strategy.rules[0].delay_h
    rows = np.flatnonzero(np.isfinite(given) & (given + after_h <= HOURS[-1]) & with_.ok & without.ok)
    made = [np.array([np.interp(given[i] + after_h, HOURS, c.series[output][i]) for i in rows])
            for c in (without, with_)]  # fmt: skip
    return made[0], made[1]


def _steroids() -> tuple[StrategyRule, ...]:
    """Rules of the guideline: what a patient has had before the switch is thought of."""
    from icans.intervene.strategy.reading import strategy

    return strategy("guideline").rules


def _none(dose: Planned) -> Planned:
    """No amount of the same drug: the same model without its effect."""
    return replace(dose, amount=0.0, time_h=0.0)
