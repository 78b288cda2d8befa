"""What is given: the cells, prophylaxis, and supportive care that answers to what is seen.

Care is a trigger on a latent severity: tocilizumab when CRS reaches a grade, dexamethasone when neurotoxicity does, as
the era had it (``care.toml``). A trigger doses for a typical weight; what is given to all is dosed by weight.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError
from icans.mechanism.doses import Dose
from icans.mechanism.engine.simulate import Trigger
from icans.mechanism.parameters import unknown
from icans.population.products import product

Array = npt.NDArray[np.float64]

TOCILIZUMAB_MG_PER_KG, TOCILIZUMAB_MOST_MG, DEXAMETHASONE_MG = 8.0, 800.0, 10.0


@cache
def tables() -> dict[str, Any]:
    """The contents of ``care.toml``."""
    return tomllib.loads((resources.files(__package__) / "care.toml").read_text(encoding="utf-8"))


def _entry(kind: str, name: str) -> dict[str, Any]:
    known = tables()[kind]
    if name not in known:
        raise ModelError([unknown("era of care" if kind == "care" else "regimen", name, known)])
    found: dict[str, Any] = known[name]
    return found


def drugs(care: str, regimen: str = "") -> tuple[str, ...]:
    """Drugs that the model needs for an era of care and a regimen."""
    wanted = set() if care == "none" else {"tocilizumab", "dexamethasone"}
    if regimen:
        wanted |= {d["drug"] for d in _entry("regimen", regimen).get("doses", ())}
    return tuple(sorted(wanted))


def level_of_grade(cuts: tuple[float, ...], grade: float) -> float:
    """Latent severity at which a grade begins; half grades lie between (1.5: halfway from grade 1 to grade 2)."""
    below = int(np.floor(grade))
    low = cuts[below - 1]
    return low + (grade - below) * (cuts[below] - low) if grade > below else low


def triggers(
    care: str, crs_cuts: tuple[float, ...], nt_cuts: tuple[float, ...], *, typical_kg: float
) -> tuple[Trigger, ...]:  # fmt: skip
    """Triggers of an era of care.

    Parameters
    ----------
    crs_cuts, nt_cuts
        Cuts of the scheme used at the bedside, grades 1 to 5.
    typical_kg
        Weight for which a trigger doses.
    """
    made = []
    for name, rule in _entry("care", care).items():
        if not isinstance(rule, dict):
            continue
        by_crs = "crs" in rule
        level = level_of_grade(crs_cuts, rule["crs"]) if by_crs else level_of_grade(nt_cuts, rule["nt"])
        if name == "tocilizumab":
            amount = min(TOCILIZUMAB_MG_PER_KG * typical_kg, TOCILIZUMAB_MOST_MG)
            doses = (Dose(0.0, "tocilizumab", amount, "mg", duration_h=1.0),)
            lockout = rule["apart_h"]
        else:
            doses = (Dose(0.0, "dexamethasone", DEXAMETHASONE_MG, "mg", every_h=rule["every_h"], count=rule["count"]),)
            lockout = rule["every_h"] * rule["count"]
        made.append(
            Trigger("crs_severity" if by_crs else "encephalopathy", level, "up", doses, delay_h=rule["delay_h"],
                    lockout_h=lockout, max_times=rule["most"], label=name)
        )  # fmt: skip
    return tuple(made)


def given(patients: pd.DataFrame, regimen: str = "") -> list[list[Dose]]:
    """Doses of every patient: the cells, and prophylaxis.

    Raises
    ------
    ModelError
        There is no such regimen.
    """
    about = _entry("regimen", regimen) if regimen else {}
    name = str(patients["product"].iloc[0])
    parts = [(float(h), float(s)) for h, s in about["cells"]] if "cells" in about else product(name).parts
    made = []
    for weight, cells in zip(patients["weight_kg"].to_numpy(), patients["cells"].to_numpy()):
        doses = [Dose(hour, "car_t", cells * share, "cells") for hour, share in parts]
        doses += [_dose(entry, float(weight)) for entry in about.get("doses", ())]
        made.append(doses)
    return made


def _dose(entry: dict[str, Any], weight: float) -> Dose:
    amount, unit = entry["amount"], entry["unit"]
    if unit.endswith("/kg"):
        amount, unit = amount * weight, unit.removesuffix("/kg")
    amount = min(amount, entry.get("most", np.inf))
    return Dose(entry["time_h"], entry["drug"], amount, unit, entry.get("route", "iv"), entry.get("duration_h", 0.0),
                entry.get("every_h"), entry.get("count", 1))  # fmt: skip
