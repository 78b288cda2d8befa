"""Published models in our language against their own curves: closed forms, their curators' SBML, other encodings.

Numbers and who computed them: ``published_curves.toml``. They test the language, the assembly, doses, switches and the
solvers, not the patient model.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from icans.core.errors import ModelError
from icans.mechanism.doses import Dose, Switch
from icans.mechanism.engine.simulate import simulate
from icans.mechanism.published import NAMES, hardiansyah_2019, published_model, stein_2019
from icans.mechanism.reference import rates, solve

CURVES = tomllib.loads((Path(__file__).parent / "published_curves.toml").read_text(encoding="utf-8"))


def test_names() -> None:
    assert {published_model(name).name for name in NAMES} == set(NAMES)
    with pytest.raises(ModelError, match="kimmel_2021"):
        published_model("kimmel")


def test_stein_against_its_closed_form() -> None:
    model = published_model("stein_2019")
    values = {row.name: row.value for row in model.parameters.rows}
    days = np.array([0.0, 1.0, 5.0, 9.0, 9.3, 10.0, 14.0, 28.0, 90.0, 365.0])
    fold, tmax, cmax, alpha, share, beta = 3900.0, 9.3, 24000.0, 0.16, 0.0079, 0.0032
    after = days - tmax
    truth = np.where(
        days < tmax, cmax / fold * np.exp(np.log(fold) / tmax * days),
        cmax * ((1 - share) * np.exp(-alpha * after) + share * np.exp(-beta * after)),
    )  # fmt: skip
    found = solve(model, None, [stein_2019.turn(values)], days * 24, outputs=["copies"], rtol=1e-10, atol=1e-8)[
        "copies"
    ]
    np.testing.assert_allclose(found, truth, rtol=1e-7)


def test_kimmel_against_the_curators_sbml() -> None:
    curve = CURVES["kimmel_2021"]
    found = solve(published_model("kimmel_2021"), None, [], np.array(curve["times_d"]) * 24, rtol=1e-11, atol=1e-16)
    for name in "NCB":
        np.testing.assert_allclose(found[name], curve[name], rtol=2e-6, atol=1e-13)


def test_kimmel_fixed_point() -> None:
    """Without CAR T cells the normal number is a steady state, and the only one beside none."""
    model = published_model("kimmel_2021")
    slope = dict(zip(model.state_names, rates(model, np.array([500.0, 0.0, 1.0]))))
    assert slope["N"] == pytest.approx(0, abs=1e-12)
    assert slope["C"] == pytest.approx(0, abs=1e-12)


def test_dwivedi_against_the_curators_sbml() -> None:
    curve = CURVES["dwivedi_2014"]
    given = [Dose(0.1, "antibody", 300, "mg"), Dose(672, "antibody", 300, "mg", every_h=672, count=2)]
    names = [n for n in curve if n not in ("computed", "times_h")]
    found = solve(published_model("dwivedi_2014"), None, given, curve["times_h"], outputs=names, method="Radau",
                  rtol=1e-8, atol=1e-13)  # fmt: skip
    for name in names:
        np.testing.assert_allclose(found[name], curve[name], rtol=1e-5, atol=1e-12, err_msg=name)


def test_dwivedi_affinities() -> None:
    """What the patient model takes from it: 5 nM for the receptor, 0.05 nM for gp130."""
    p = published_model("dwivedi_2014").parameters
    assert p["k_off"].value / p["k_on"].value == pytest.approx(5.0)
    assert p["g_off"].value / p["g_on"].value == pytest.approx(0.05)


@pytest.mark.parametrize(("patient", "cells"), [("UPN1", 1.1e9), ("UPN3", 1.4e7)])
def test_hardiansyah_against_another_encoding(patient: str, cells: float) -> None:
    curve = CURVES["hardiansyah_2019"][patient]
    times = np.arange(0.0, 351.0, 0.1) * 24  # the grid of the other encoding
    found = solve(
        published_model("hardiansyah_2019"), hardiansyah_2019.UPN3 if patient == "UPN3" else None,
        hardiansyah_2019.doses(cells), times, outputs=["cart", "M", "IL6", "IL10", "IFNG", "B"], rtol=1e-9, atol=1e-13,
    )  # fmt: skip
    for name in ("cart", "M", "IL6", "IL10", "IFNG"):
        printed = curve[name]
        digits = 5e-6 if name in ("cart", "M") else 0.05
        assert found[name].max() == pytest.approx(printed, rel=2e-4, abs=2 * digits), name
        if f"{name}_day" in curve:
            assert times[found[name].argmax()] / 24 == pytest.approx(curve[f"{name}_day"], abs=0.051)
    for day in (50, 350):
        if f"B_{day}" in curve:
            assert found["B"][day * 10] == pytest.approx(curve[f"B_{day}"], abs=6e-4)


def _mueller_schoell(days: np.ndarray, v_max: float, volume: float) -> np.ndarray:
    """Equations 5 to 9 of the paper, per day, written anew."""

    def slope(_: float, y: np.ndarray) -> list[float]:
        tn, tcm, tem, teff, v = y
        return [
            v_max * v * tn / (1.13 + tn) + 0.0005 * tn - 0.140 * tn - 0.0104 * tn,
            v_max * v * tcm / (1.13 + tcm) + 0.007 * tcm + 0.140 * tn - 0.191 * tcm - 0.0104 * tcm,
            v_max * v * tem / (1.13 + tem) + 0.007 * tem + 0.191 * tcm - 0.355 * tem - 0.0104 * tem,
            0.355 * tem - 0.518 * teff,
            0.0023 * (1 - v / 5000) * v - (2.57 * tn + 4.04 * tcm + 3.78 * tem + 4.24 * teff) * v / (276 + v),
        ]

    start = [0.1, 0.1, 0.1, 0.1, volume]
    return solve_ivp(slope, (0, days[-1]), start, t_eval=days, rtol=1e-10, atol=1e-12, method="LSODA").y


@pytest.mark.parametrize(
    ("changed", "v_max", "volume"),
    [
        ({}, 0.00846, 85.7),
        ({"volume_0": 1000.0}, 0.00846, 1000.0),
        ({"transplant": 1.0, "cd4_cd8": 0.3}, 0.00846 * 0.3**-0.385 * 3.53, 85.7),
        ({"low": 1.0, "cd4_cd8": 0.3}, 0.0007, 85.7),
    ],
)
def test_mueller_schoell_against_its_equations(changed: dict[str, float], v_max: float, volume: float) -> None:
    days = np.array([0.0, 1.0, 3.0, 5.0, 7.0, 10.0, 14.0, 28.0, 60.0])
    found = solve(published_model("mueller_schoell_2021"), changed or None, [], days * 24,
                  outputs=["TN", "TCM", "TEM", "TEFF", "V"], rtol=1e-10, atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(found.values.T, _mueller_schoell(days, v_max, volume), rtol=1e-6, atol=1e-9)


def test_mueller_schoell_classes() -> None:
    """Low expanders peak far lower; expansion rises with tumour volume (the paper's two findings)."""
    model, times = published_model("mueller_schoell_2021"), np.arange(0.0, 60.0, 0.5) * 24
    peaks = [solve(model, c, [], times, outputs=["cart"])["cart"].max()
             for c in ({"low": 1.0}, {}, {"volume_0": 1000.0})]  # fmt: skip
    assert peaks[0] < 0.5 * peaks[1] < 0.25 * peaks[2]


ACTIONS = {
    "dwivedi_2014": [Dose(0.1, "antibody", 300, "mg"), Dose(672, "antibody", 300, "mg", every_h=672, count=2)],
    "hardiansyah_2019": list(hardiansyah_2019.doses(1.1e9)),
    "kimmel_2021": [],
    "mueller_schoell_2021": [],
    "stein_2019": [Switch(9.3 * 24, "growing", 0.0)],
}


@pytest.mark.parametrize("name", NAMES)
def test_compiled_against_the_slow_reference(name: str) -> None:
    """The compiled kernels and their solver give what SciPy gives from the text of the model."""
    model, times = published_model(name), np.array([0.0, 12.0, 60.0, 150.0, 230.0, 400.0, 700.0, 1400.0])
    slow = solve(model, None, ACTIONS[name], times, outputs=model.state_names, method="Radau", rtol=1e-9, atol=1e-13)
    fast = simulate(model, None, [ACTIONS[name]], times, outputs=model.state_names, rtol=1e-8)
    assert fast.ok.all()
    for state in model.state_names:
        scale = np.abs(slow[state]).max()
        np.testing.assert_allclose(fast[state][0], slow[state], rtol=2e-5, atol=1e-9 * scale + 1e-12, err_msg=state)
