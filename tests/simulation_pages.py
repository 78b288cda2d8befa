"""A made-up simulation for tests of figures and page: smooth bumps, no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.report import quantities as words
from icans.report.figures.brain import REGION_LABELS
from icans.report.model import RunInfo
from icans.report.simulation import SimulationData

TIMES = np.arange(0.0, 30 * 24 + 1, 12.0)
ARMS = ("No prophylaxis", "Tocilizumab, day 2", "S1P modulator")
LABELS = ("ICANS, any grade", "ICANS, grade 3+", "CRS, any grade", "CRS, grade 3+")
UNITS = {"car_blood": "/uL", "IL6": "pg/mL", "CRP": "mg/L", "FERRITIN": "ug/L", "TEMP": "Cel", "GFAP": "pg/mL"}


def bump(day: float, height: float) -> np.ndarray:
    return height * np.exp(-((np.log(np.maximum(TIMES, 1.0) / 24 / day)) ** 2) / 0.3)


def bands(arms: tuple[str, ...], many: bool = True) -> pd.DataFrame:
    parts = []
    for k, arm in enumerate(arms):
        for group in words.GROUPS:
            for quantity in group.quantities:
                middle = (1.0 if quantity.log else 0.01) + bump(6 + k, 100.0 if quantity.log else 0.5)
                spread = {f"q{q:02d}": middle * np.exp(z) if many else np.nan
                          for q, z in ((5, -1.6), (25, -0.7), (75, 0.7), (95, 1.6))}  # fmt: skip
                parts.append(
                    pd.DataFrame({"arm": arm, "quantity": quantity.name, "time_h": TIMES, "q50": middle} | spread)
                )
    return pd.concat(parts, ignore_index=True)


def regional(arms: tuple[str, ...]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"arm": arm, "region": region, "time_h": TIMES, "value": 1 - bump(7, 0.4 + 0.02 * r - 0.1 * k)})
        for k, arm in enumerate(arms)
        for r, region in enumerate(REGION_LABELS)
    ]
    return pd.concat(parts, ignore_index=True)


def heads(arms: tuple[str, ...]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"arm": arm, "head": head, "time_h": TIMES, "value": 0.5 / (1 + np.exp(6 + k - TIMES / 24))})
        for k, arm in enumerate(arms)
        for head in ("threshold", "regression", "hazard")
    ]
    return pd.concat(parts, ignore_index=True)


def incidence(arms: tuple[str, ...]) -> pd.DataFrame:
    rows = [(arm, label, 0.5 - 0.1 * j - 0.05 * k) for k, arm in enumerate(arms) for j, label in enumerate(LABELS)]
    frame = pd.DataFrame(rows, columns=["arm", "label", "value"])
    return frame.assign(low=frame["value"] - 0.05, high=frame["value"] + 0.05)


def worst(arms: tuple[str, ...]) -> pd.DataFrame:
    shares = (0.4, 0.2, 0.2, 0.12, 0.07, 0.01)
    rows = [(arm, t, g, s) for arm in arms for t in ("ICANS", "CRS") for g, s in enumerate(shares)]
    return pd.DataFrame(rows, columns=["arm", "toxicity", "grade", "share"])


def course() -> pd.DataFrame:
    rows = [pd.DataFrame({"quantity": q, "time_h": TIMES, "value": 1 + bump(6, 50.0)}) for q in words.PANEL]
    return pd.concat(rows, ignore_index=True)


def daily_grades() -> pd.DataFrame:
    rows = [(t, d, float(g)) for t in ("ICANS", "CRS") for d, g in enumerate((0, 0, 1, 2, 3, 2, 1, 0))]
    return pd.DataFrame(rows, columns=["toxicity", "day", "grade"])


def doses() -> pd.DataFrame:
    rows = [(0.0, 0.0, "car_t"), (48.0, 1.0, "tocilizumab"), (72.0, 0.0, "s1p_modulator")]
    return pd.DataFrame(rows, columns=["time_h", "duration_h", "drug"])


def page(arms: tuple[str, ...] = ARMS, patients: int = 100) -> SimulationData:
    many = patients > 1
    reference = incidence(arms)
    change = reference[reference["arm"] != arms[0]].assign(value=-0.05, low=-0.1, high=0.02)
    known = [
        ("tocilizumab", "Tocilizumab", "IL-6R", False, "Frey 2010"),
        ("s1p_modulator", "S1P modulator", "S1P1", True, ""),
    ]
    drugs = pd.DataFrame(known, columns=["drug", "label", "target", "hypothetical", "sources"])
    plan = pd.DataFrame([(a, "car_t", "axi-cel", "day 0") for a in arms], columns=["arm", "drug", "amount", "when"])
    peaks = pd.DataFrame([("IL-6, pg/mL", a, "97", "6") for a in arms], columns=["quantity", "arm", "peak", "day"])
    return SimulationData(
        study="A made-up <simulation>", question="What is drawn?", product="axi-cel", disease="LBCL", patients=patients,
        days=30.0, arms=arms, units=UNITS, bands=bands(arms, many), regional=regional(arms), heads=heads(arms),
        drugs=drugs if "S1P modulator" in arms else drugs.iloc[:1], regimens=plan, incidence=reference,
        differences=change, worst=worst(arms), summary=peaks, courses={"Patient 1": course()},
        grades={"Patient 1": daily_grades()}, doses={"Patient 1": doses()},
        hypothetical_arms=tuple(a for a in arms if a.startswith("S1P")), schemes={"ICANS": "ASTCT", "CRS": "ASTCT"},
        notes=("A note.",), run=RunInfo(seed=1, command="icans simulate", config="[simulation]"),
    )  # fmt: skip
