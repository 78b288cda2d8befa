"""Concentrations of therapies against closed forms with the published numbers, and against published levels.

Every number here is typed from its source, in its source's units, so that a slip in a parameter file shows.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from icans.mechanism.doses import Dose
from icans.mechanism.drug_covariates import factors
from icans.mechanism.reference import solve
from mechanism_drugs import drug_alone

HOURS = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 18.0, 24.0, 36.0, 48.0])


def linear(cl: float, v1: float, q: float, v2: float, dose: float, times: np.ndarray, *, ka: float = np.inf,
           f: float = 1.0, lag: float = 0.0, infusion: float = 0.0) -> np.ndarray:  # fmt: skip
    """Concentrations after one dose: bolus, infusion, or absorption by first order; matrix exponential."""
    a = np.array([
        [0.0, 0.0, 0.0, 0.0],  # the dose: a constant that feeds the infusion
        [0.0, -ka if np.isfinite(ka) else 0.0, 0.0, 0.0],
        [0.0, ka if np.isfinite(ka) else 0.0, -(cl + q) / v1, q / v2],
        [0.0, 0.0, q / v1, -q / v2],
    ])  # fmt: skip
    out = []
    for t in times - lag:
        if t < 0:
            out.append(0.0)
        elif infusion:
            a[2, 0] = 1.0
            y = expm(a * min(t, infusion)) @ np.array([dose / infusion, 0.0, 0.0, 0.0])
            y[0] = 0.0
            out.append((expm(a * max(t - infusion, 0.0)) @ y)[2] / v1)
        else:
            start = [0.0, f * dose, 0.0, 0.0] if np.isfinite(ka) else [0.0, 0.0, f * dose, 0.0]
            out.append((expm(a * t) @ np.array(start))[2] / v1)
    return np.array(out)


def concentration(
    drug: str, prefix: str, dose: Dose | list[Dose], times: np.ndarray, **parameters: float
) -> np.ndarray:
    doses = dose if isinstance(dose, list) else [dose]
    return solve(drug_alone(drug), parameters or None, doses, times, outputs=[f"{prefix}_conc"])[f"{prefix}_conc"]


DAY = 24.0
LINEAR = {
    "siltuximab, 11 mg/kg, Nikanjam 2019": (
        "siltuximab", "silt", Dose(0, "siltuximab", 803, "mg", duration_h=1),
        dict(cl=0.214 / DAY, v1=3.66, q=0.624 / DAY, v2=3.13, infusion=1.0), HOURS * 10),
    "anakinra, 100 mg under the skin, Urien 2013": (
        "anakinra", "anak", Dose(0, "anakinra", 100, "mg", "sc"),
        dict(cl=6.24, v1=65.2, q=0.0, v2=1.0, ka=0.38), HOURS),
    "dexamethasone, 6 mg by mouth, Krzyzanski 2021": (
        "dexamethasone", "dexa", Dose(0, "dexamethasone", 6, "mg", "po"),
        dict(cl=9.29, v1=51.3, q=0.538, v2=5.06, ka=0.936, f=1.04), HOURS),
    "dexamethasone, 6 mg into muscle, Krzyzanski 2021": (
        "dexamethasone", "dexa", Dose(0, "dexamethasone", 6, "mg", "im"),
        dict(cl=9.29, v1=51.3, q=0.538, v2=5.06, ka=0.46), HOURS),
    "methylprednisolone, 1 g in an hour, Hong 2007": (
        "methylprednisolone", "mpred", Dose(0, "methylprednisolone", 1, "g", duration_h=1),
        dict(cl=22.8, v1=78.4, q=0.0, v2=1.0, infusion=1.0), HOURS),
    "dasatinib, 140 mg by mouth, Hassouneh 2024": (
        "dasatinib", "dasa", Dose(0, "dasatinib", 140, "mg", "po"),
        dict(cl=273.14, v1=18.98, q=64.62, v2=487.9, ka=0.37, lag=0.48), HOURS),
    "siponimod, 2 mg by mouth, Huth 2019": (
        "s1p_modulator", "s1pm", Dose(0, "s1p_modulator", 2, "mg", "po"),
        dict(cl=3.12, v1=43.7, q=30.0, v2=72.4, ka=0.687, f=0.849, lag=1.5), HOURS),
    "levetiracetam, 1 g in half an hour, Bilbao-Meseguer 2021": (
        "levetiracetam", "leve", Dose(0, "levetiracetam", 1000, "mg", duration_h=0.5),
        dict(cl=3.5 + 1.0, v1=20.7, q=31.9, v2=33.5, infusion=0.5), HOURS),
    "emapalumab, 1 mg/kg, Brossard 2025": (
        "emapalumab", "emap", Dose(0, "emapalumab", 70, "mg", duration_h=1),
        dict(cl=0.0143 + 0.121 * (5 / 1e6) ** 0.542, v1=3.08, q=0.105, v2=4.28, infusion=1.0), HOURS * 10),
}  # fmt: skip


@pytest.mark.parametrize("case", LINEAR)
def test_closed_form(case: str) -> None:
    drug, prefix, dose, numbers, times = LINEAR[case]
    expected = linear(dose=dose.amount * (1000 if dose.unit == "g" else 1), times=times, **numbers)
    np.testing.assert_allclose(concentration(drug, prefix, dose, times), expected, rtol=1e-6, atol=1e-9)


def test_tocilizumab_frey() -> None:
    """The model of Frey 2010 (saturable elimination) written anew in days; four doses of 8 mg/kg, four weeks apart."""

    def slope(t: float, y: np.ndarray) -> list[float]:
        rate = 560.0 * 24 if t % 28 < 1 / 24 else 0.0
        c = y[0] / 3.5
        return [rate - 0.3 * c - 7.5 * c / (2.7 + c) - 0.2 * (c - y[1] / 2.9), 0.2 * (c - y[1] / 2.9)]

    days = np.array([0.5, 1, 3, 7, 14, 21, 27.9, 28.5, 35, 56.0, 84.0, 111.9])
    truth = solve_ivp(slope, (0, 112), [0, 0], t_eval=days, rtol=1e-9, atol=1e-9, max_step=1 / 48).y[0] / 3.5
    given = Dose(0, "tocilizumab", 560, "mg", duration_h=1, every_h=28 * 24, count=4)
    np.testing.assert_allclose(concentration("tocilizumab", "toci", given, days * 24), truth, rtol=1e-4)


def test_tocilizumab_label() -> None:
    """Label of tocilizumab, 8 mg/kg every four weeks, steady state: peak 183, trough 9.7 ug/mL (mostly women)."""
    women = factors({"female": True})
    table = drug_alone("tocilizumab").parameters
    own = {name: table[name].value * women[name] for name in women if name in table}
    given = Dose(0, "tocilizumab", 560, "mg", duration_h=1, every_h=28 * 24, count=8)
    times = np.array([7 * 672 + 1.01, 8 * 672 - 0.01])
    peak, trough = concentration("tocilizumab", "toci", given, times, **own)
    assert peak == pytest.approx(183, rel=0.15)
    assert 6 < trough < 20


def test_siltuximab_label() -> None:
    """Label of siltuximab, 11 mg/kg every three weeks in Castleman's disease: mean peak 332 and trough 84 ug/mL.

    Clearance there is 1.24 times that of the reference (Nikanjam 2019).
    """
    given = Dose(0, "siltuximab", 803, "mg", duration_h=1, every_h=21 * 24, count=12)
    times = np.array([11 * 504 + 1.01, 12 * 504 - 0.01])
    peak, trough = concentration("siltuximab", "silt", given, times, silt_cl=0.214 * 1.24 / 24)
    assert peak == pytest.approx(332, rel=0.15)
    assert trough == pytest.approx(84, rel=0.25)


def test_emapalumab_clearance_by_interferon_gamma() -> None:
    """Brossard and Laveille 2024: clearance of a child of 10 kg at 1e3, 1e4, 1e5, 1e6 pg/mL of interferon gamma."""
    child = factors({"weight_kg": 10.0, "age_y": 1.0})
    p = {name: drug_alone("emapalumab").parameters[name].value * child.get(name, 1.0)
         for name in ("emap_cl", "emap_cl_ifng", "emap_ifng_power")}  # fmt: skip
    levels = np.array([1e3, 1e4, 1e5, 1e6])
    clearance = p["emap_cl"] + p["emap_cl_ifng"] * (levels / 1e6) ** p["emap_ifng_power"]
    np.testing.assert_allclose(clearance, [0.00218, 0.00308, 0.00623, 0.0172], rtol=0.01)
    assert _clearance_in_model() == pytest.approx(0.0143 + 0.121 * 0.001**0.542, rel=1e-3)


def _clearance_in_model() -> float:
    """Dose over area in the model with interferon gamma held at a thousandth of the reference."""
    times = np.linspace(0, 24 * 400, 4001)
    c = concentration(
        "emapalumab", "emap", Dose(0, "emapalumab", 70, "mg"), times + 1e-6, ifng_base=100.0, emap_ifng_ref=1e5
    )
    return float(70 / np.trapezoid(c, times))


def test_rimiducid_after_an_infusion() -> None:
    """Iuliucci 2001: 18, 7 and 1 % of the peak 0.5, 2 and 10 h after a 2-h infusion; 1,275 ng/mL at 1 mg/kg."""
    c = concentration(
        "rimiducid", "rimi", Dose(0, "rimiducid", 70, "mg", duration_h=2), np.array([2.0, 2.5, 4.0, 12.0])
    )
    assert c[0] == pytest.approx(1.275, rel=0.01)
    np.testing.assert_allclose(c[1:] / c[0], [0.18, 0.07, 0.01], atol=0.003)
    small = concentration("rimiducid", "rimi", Dose(0, "rimiducid", 0.7, "mg", duration_h=2), np.array([2.0]))
    assert small[0] == pytest.approx(0.010, rel=0.3)


def test_icaspase_9_kills_nine_in_ten_in_half_an_hour() -> None:
    """Zhou 2015: 85 to 95 % gone 30 minutes after the drug (0.4 mg/kg); what resists stays, in every pool alike."""
    model = drug_alone("rimiducid")
    pools = [n for n in model.state_names if n.startswith("CAR_")]
    dose = Dose(0, "rimiducid", 28, "mg", duration_h=2)
    course = solve(model, None, [dose], [0.0, 0.5, 48.0], outputs=[*pools, "RIMI_R", "rimi_death"])
    left = np.array([course[p] for p in pools])
    assert np.all((left[:, 1] > 0.05) & (left[:, 1] < 0.2))
    resistant = model.parameters["rimi_resistant"].value
    np.testing.assert_allclose(left[:, 2], resistant, rtol=1e-5)
    np.testing.assert_allclose(
        left * course["RIMI_R"], resistant, rtol=1e-6
    )  # resistant cells are neither made nor lost
    everyone = solve(model, {"rimi_resistant": 0.6}, [dose], [48.0], outputs=["CAR_E"])["CAR_E"]
    np.testing.assert_allclose(everyone, 0.6, rtol=1e-5)


def test_icaspase_9_against_explicit_sub_populations() -> None:
    """The one state of the resistant share does the same as sensitive and resistant cells counted apart."""
    r, rate, death = 0.1, np.array([[-0.3, 0.2], [0.3, -0.2 + 0.05]]), 2.0

    def apart(_: float, y: np.ndarray) -> np.ndarray:
        return np.concatenate([rate @ y[:2] - death * y[:2], rate @ y[2:]])

    def shared(_: float, y: np.ndarray) -> np.ndarray:
        return np.append(rate @ y[:2] - death * (1 - y[2]) * y[:2], death * y[2] * (1 - y[2]))

    start = np.array([3.0, 1.0])
    a = solve_ivp(apart, (0, 5), np.concatenate([(1 - r) * start, r * start]), rtol=1e-10, atol=1e-12).y[:, -1]
    b = solve_ivp(shared, (0, 5), np.append(start, r), rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(a[:2] + a[2:], b[:2], rtol=1e-7)


def test_dasatinib_levels() -> None:
    """Published levels: 140 mg gives a peak of 105 to 131 ng/mL near one hour (Hassouneh 2024, observed and typical).

    For 100 mg: peak 104.5 ng/mL, area 314 ng h/mL, half-life 3.6 h, clearance by bioavailability 319 L/h.
    """
    times = np.linspace(0.01, 48, 4800)
    c = concentration("dasatinib", "dasa", Dose(0, "dasatinib", 140, "mg", "po"), times) * 1000
    assert 105 < c.max() < 145
    assert 0.6 < times[c.argmax()] < 1.2
    assert np.trapezoid(c, times) == pytest.approx(140e3 / 273.14, rel=0.01)
    assert c.max() / 1.4 == pytest.approx(104.5, rel=0.15)
    assert np.trapezoid(c, times) / 1.4 == pytest.approx(314, rel=0.25)


def test_dasatinib_twice_a_day_does_not_hold() -> None:
    """A block that is complete at 100 nM wears off within half a day: twice a day leaves gaps."""
    c = solve(drug_alone("dasatinib"), None, [Dose(0, "dasatinib", 100, "mg", "po", every_h=12, count=4)],
              np.arange(36.0, 48.01, 0.25), outputs=["inh_car_function"])["inh_car_function"]  # fmt: skip
    assert c.max() > 0.95
    assert c.min() < 0.3


HALF_LIVES = {
    "methylprednisolone": ("mpred", Dose(0, "methylprednisolone", 40, "mg"), (6, 12), (2.38, 0.02)),  # Hong 2007
    "dexamethasone": ("dexa", Dose(0, "dexamethasone", 10, "mg"), (4, 12), (4.0, 0.15)),  # Krzyzanski 2021: about 4 h
    "defibrotide": ("defi", Dose(0, "defibrotide", 440, "mg", duration_h=2), (3, 6), (1.3, 0.6)),  # label: under 2 h
    "levetiracetam": ("leve", Dose(0, "levetiracetam", 500, "mg"), (6, 24), (8.4, 0.3)),  # label: 6 to 8 h, volunteers
    "mmp_inhibitor": ("mmpi", Dose(0, "mmp_inhibitor", 100, "mg", "po"), (24, 48), (18.0, 0.1)),  # doxycycline
    "ruxolitinib": ("ruxo", Dose(0, "ruxolitinib", 10, "mg", "po"), (3, 8), (2.5, 0.3)),  # label: about 3 h
    "itacitinib": ("itac", Dose(0, "itacitinib", 200, "mg", "po"), (10, 20), (2.7, 0.3)),
    "switchable_car": ("swit", Dose(0, "switchable_car", 10, "mg", "po"), (4, 10), (3.0, 0.1)),  # label
    "siltuximab": ("silt", Dose(0, "siltuximab", 800, "mg"), (30 * 24, 60 * 24), (20.6 * 24, 0.25)),  # label: 20.6 d
    "emapalumab": ("emap", Dose(0, "emapalumab", 70, "mg"), (30 * 24, 60 * 24), (16 * 24, 0.3)),
    "lenzilumab": ("lenz", Dose(0, "lenzilumab", 600, "mg"), (30 * 24, 60 * 24), (22 * 24, 0.25)),  # immunoglobulin G
    "tie2_agonist": ("tie2", Dose(0, "tie2_agonist", 350, "mg"), (30 * 24, 60 * 24), (22 * 24, 0.25)),
}  # fmt: skip


@pytest.mark.parametrize("drug", HALF_LIVES)
def test_half_life(drug: str) -> None:
    prefix, dose, window, (expected, within) = HALF_LIVES[drug]
    first, last = concentration(drug, prefix, dose, np.array(window, float))
    assert np.log(2) * (window[1] - window[0]) / np.log(first / last) == pytest.approx(expected, rel=within)


def test_anakinra_intravenous_and_subcutaneous_areas() -> None:
    """Under the skin 95 % arrives."""
    times = np.linspace(0, 120, 4801)
    vein = concentration("anakinra", "anak", Dose(0, "anakinra", 100, "mg"), times + 1e-9)
    skin = concentration("anakinra", "anak", Dose(0, "anakinra", 100, "mg", "sc"), times + 1e-9)
    assert np.trapezoid(skin, times) / np.trapezoid(vein, times) == pytest.approx(0.95, rel=1e-3)


def test_steroid_effect_lags_and_outlasts() -> None:
    """The effect of one dose rises over hours and is still there after a day, when little of the drug is."""
    course = solve(drug_alone("dexamethasone"), None, [Dose(0, "dexamethasone", 10, "mg")],
                   [0.5, 6.0, 24.0, 48.0], outputs=["steroid", "steroid_cns", "dexa_conc"])  # fmt: skip
    effect = course["steroid"]
    assert effect[0] < 0.3
    assert effect[1] > 0.8
    assert effect[2] > 0.5
    assert effect[3] < 0.3
    assert np.all(course["steroid_cns"][1:3] < effect[1:3])
