"""What every therapy does to a very ill simulated patient: the right way at its handle, downstream, and nowhere else.

Areas from day 3 to day 9 with the therapy relative to without it (synthetic patient, burden three times the typical).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from icans.mechanism.doses import Dose
from icans.mechanism.patient import WHOLE, patient_model
from icans.mechanism.reference import Course, solve
from icans.mechanism.therapies import therapies

HOURS = np.arange(0.0, 24 * 9 + 1, 6.0)
ILL = {"tum_0": 3.0}
CELLS = Dose(0, "car_t", 1.5e8, "cells")
SEEN = (
    "il6_signal", "IL6", "CRP", "il1_local", "MYE_A", "IFNG", "GMCSF", "HMP", "ENDO", "tie2_activity",
    "bbb_permeability", "engaged", "car_total", "TUM", "SEIZ_HAZ", "encephalopathy", "TEMP", "tumour_kill",
    "IL1RA_sass",
)  # fmt: skip

#: Doses, what must fall (to at most a share), what must rise (to at least), what must stay within 2 %.
EXPECTED: dict[str, tuple[Dose, dict[str, float], dict[str, float], tuple[str, ...]]] = {
    "tocilizumab": (
        Dose(72, "tocilizumab", 600, "mg", duration_h=1),
        {"il6_signal": 0.1, "CRP": 0.5, "TEMP": 1.0}, {"IL6": 1.5}, ("engaged", "TUM")),
    "siltuximab": (
        Dose(72, "siltuximab", 825, "mg", duration_h=1),
        {"il6_signal": 0.1, "CRP": 0.5, "encephalopathy": 0.95}, {"IL6": 1.5}, ("engaged", "TUM")),
    "anakinra": (
        Dose(72, "anakinra", 200, "mg", every_h=6, count=24),
        {"il1_local": 0.2, "IL6": 0.9, "ENDO": 0.95, "encephalopathy": 0.95}, {"IL1RA_sass": 10}, ("engaged", "TUM")),
    "dexamethasone": (
        Dose(72, "dexamethasone", 10, "mg", every_h=6, count=24),
        {"MYE_A": 0.7, "IL6": 0.6, "CRP": 0.7, "encephalopathy": 0.7, "TEMP": 1.0}, {}, ()),
    "methylprednisolone": (
        Dose(72, "methylprednisolone", 125, "mg", every_h=12, count=12),
        {"MYE_A": 0.7, "IL6": 0.6, "CRP": 0.7, "encephalopathy": 0.7, "TEMP": 1.0}, {}, ()),
    "lenzilumab": (
        Dose(0, "lenzilumab", 1800, "mg", duration_h=1),
        {"MYE_A": 0.95, "IL6": 0.9, "encephalopathy": 0.95}, {"GMCSF": 1.5}, ("engaged", "TUM")),
    "emapalumab": (
        Dose(48, "emapalumab", 450, "mg", duration_h=1),
        {"MYE_A": 0.95, "HMP": 0.5, "ENDO": 0.95}, {"IFNG": 1.5}, ("engaged", "TUM")),
    "ruxolitinib": (
        Dose(72, "ruxolitinib", 20, "mg", "po", every_h=12, count=12),
        {"il6_signal": 0.8, "CRP": 0.9, "HMP": 0.8}, {}, ()),
    "itacitinib": (
        Dose(0, "itacitinib", 200, "mg", "po", every_h=24, count=9),
        {"il6_signal": 0.8, "CRP": 0.9, "encephalopathy": 0.95}, {}, ()),
    "dasatinib": (
        Dose(96, "dasatinib", 140, "mg", "po", every_h=6, count=12),
        {"engaged": 0.9, "IFNG": 0.8, "car_total": 0.9, "IL6": 0.9}, {"TUM": 1.1}, ()),
    "defibrotide": (
        Dose(0, "defibrotide", 440, "mg", duration_h=2, every_h=6, count=36),
        {"ENDO": 0.98, "bbb_permeability": 0.99}, {}, ("engaged", "TUM", "IFNG")),
    "tie2_agonist": (
        Dose(0, "tie2_agonist", 350, "mg", duration_h=1),
        {"ENDO": 0.9, "bbb_permeability": 0.9}, {"tie2_activity": 1.3}, ("engaged", "TUM", "IFNG")),
    "mmp_inhibitor": (
        Dose(0, "mmp_inhibitor", 100, "mg", "po", every_h=12, count=18),
        {"bbb_permeability": 0.98}, {}, ("engaged", "TUM", "ENDO", "IL6")),
    "s1p_modulator": (
        Dose(0, "s1p_modulator", 2, "mg", "po", every_h=24, count=9),
        {"bbb_permeability": 0.98}, {}, ("engaged", "TUM", "ENDO", "IL6")),
    "rimiducid": (
        Dose(120, "rimiducid", 30, "mg", duration_h=2),
        {"car_total": 0.6, "engaged": 0.9, "IFNG": 0.9, "IL6": 0.95}, {"TUM": 1.0}, ()),
    "levetiracetam": (
        Dose(0, "levetiracetam", 1000, "mg", every_h=12, count=18),
        {"SEIZ_HAZ": 0.8}, {}, ("engaged", "TUM", "ENDO", "IL6", "encephalopathy")),
    "switchable_car": (
        Dose(96, "switchable_car", 10, "mg", "po", every_h=12, count=6),
        {"engaged": 0.9, "IFNG": 0.8, "car_total": 0.9, "IL6": 0.9}, {"TUM": 1.1}, ()),
}  # fmt: skip


@cache
def course(drug: str | None) -> Course:
    model = patient_model((drug,) if drug else (), regions=WHOLE)
    doses = [CELLS, EXPECTED[drug][0]] if drug else [CELLS]
    names = [*SEEN, *(therapies()[drug].handles if drug else ())]
    return solve(model, ILL, doses, HOURS, outputs=names, rtol=1e-5, atol=1e-7)


def areas(found: Course) -> dict[str, float]:
    late = HOURS >= 72
    return {name: float(np.trapezoid(found[name][late], HOURS[late])) for name in SEEN}


def test_every_therapy_is_here() -> None:
    assert set(EXPECTED) == set(therapies())


@pytest.mark.parametrize("drug", sorted(EXPECTED))
def test_signs(drug: str) -> None:
    found, without = course(drug), areas(course(None))
    _, falls, rises, stays = EXPECTED[drug]
    ratio = {name: value / without[name] for name, value in areas(found).items()}
    told = {name: round(value, 3) for name, value in ratio.items()}
    for name, most in falls.items():
        assert ratio[name] < most, (name, told)
    for name, least in rises.items():
        assert ratio[name] > least, (name, told)
    for name in stays:
        assert ratio[name] == pytest.approx(1, abs=0.02), (name, told)
    for handle in therapies()[drug].handles:
        assert np.all((found[handle] >= -1e-9) & (found[handle] <= 1 + 1e-9)), handle
        assert found[handle].max() > 0.02, handle


def test_a_drug_in_the_model_that_is_not_given_changes_nothing() -> None:
    drugs = ("tocilizumab", "dexamethasone", "rimiducid", "switchable_car")
    model = patient_model(drugs, regions=WHOLE)
    found = solve(model, ILL, [CELLS], HOURS, outputs=["encephalopathy", "IL6"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["IL6"], course(None)["IL6"], rtol=1e-3)


@pytest.mark.parametrize("drug", ["dasatinib", "switchable_car"])
def test_a_pause_ends_with_the_drug(drug: str) -> None:
    """Within a day or two of the last dose the cells that are left kill again."""
    kill = course(drug)["tumour_kill"]
    during, after = kill[(HOURS > 102) & (HOURS < 162)], kill[HOURS >= 192]
    assert after.max() > 5 * during.min()


def test_inflammation_slows_the_clearance_of_dexamethasone() -> None:
    """Interleukin 6 holds CYP3A4 down; blocking its receptor gives the enzyme back."""
    model = patient_model(("dexamethasone", "tocilizumab"), regions=WHOLE)
    late = Dose(150, "dexamethasone", 10, "mg")
    names = ["CYP3A4", "dexa_conc"]
    ill = solve(model, ILL, [CELLS, late], [150.0, 162.0], outputs=names, rtol=1e-6, atol=1e-9)
    blocked = solve(model, ILL, [CELLS, EXPECTED["tocilizumab"][0], late], [150.0, 162.0], outputs=names, rtol=1e-6,
                    atol=1e-9)  # fmt: skip
    assert ill["CYP3A4"][0] < 0.9
    assert blocked["CYP3A4"][0] > ill["CYP3A4"][0]
    assert blocked["dexa_conc"][1] < ill["dexa_conc"][1]
