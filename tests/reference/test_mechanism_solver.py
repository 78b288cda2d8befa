"""The solver against closed forms, published end values, and its own order.

Robertson and HIRES: reference end values of the test set for initial value problems (Mazzia & Magherini 2008,
archimede.uniba.it/~testset, as recalled; HIRES is from Schäfer 1975, Robertson from Robertson 1966).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose

from icans.mechanism.declare import Builder
from icans.mechanism.engine import layout
from icans.mechanism.engine.rodas import tableau
from icans.mechanism.engine.simulate import Control, Dose, simulate
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from mechanism_kernels import robertson as by_hand

Array = npt.NDArray[np.float64]
METHODS = ("rodas4", "rodas5p")


def table(**values: float) -> ParameterTable:
    return ParameterTable(tuple(Parameter(n, v, "1", n, "test", upper=1e9) for n, v in values.items()))


def made(rates: dict[str, str], start: dict[str, str], **values: float) -> PatientModel:
    m = Builder()
    m.module("test", "Test")
    for name, rate in rates.items():
        m.state(name, "1", name, initial=start.get(name, "0"))
        m.flow(name, rate)
    return assemble(m, table(**values), "test")


ROBERTSON = made(
    {"A": "-k1*A + k2*B*C", "B": "k1*A - k2*B*C - k3*B**2", "C": "k3*B**2"}, {"A": "1"}, k1=0.04, k2=1e4, k3=3e7
)
HIRES = made(
    {
        "y1": "-1.71*y1 + 0.43*y2 + 8.32*y3 + 0.0007", "y2": "1.71*y1 - 8.75*y2",
        "y3": "-10.03*y3 + 0.43*y4 + 0.035*y5", "y4": "8.32*y2 + 1.71*y3 - 1.12*y4",
        "y5": "-1.745*y5 + 0.43*y6 + 0.43*y7", "y6": "-280*y6*y8 + 0.69*y4 + 1.71*y5 - 0.43*y6 + 0.69*y7",
        "y7": "280*y6*y8 - 1.81*y7", "y8": "-280*y6*y8 + 1.81*y7",
    },
    {"y1": "1", "y8": "0.0057"},
)  # fmt: skip
HIRES_END = [
    0.7371312573325668e-3, 0.1442485726316185e-3, 0.5888729740967575e-4, 0.1175651343283149e-2, 0.2386356198831331e-2,
    0.6238968252742796e-2, 0.2849998395185769e-2, 0.2850001604814231e-2,
]  # fmt: skip


def pk_model() -> PatientModel:
    """One compartment, with a depot under the skin."""
    m = Builder()
    m.module("pk", "Pharmacokinetics")
    m.state("C", "mg/L", "concentration")
    m.flow("C", "-ke*C")
    m.state("D", "mg", "depot")
    m.move("D", "C", "ka*D", gain="1/V")
    m.state("AUC", "mg*h/L", "exposure")
    m.flow("AUC", "C")
    m.input("iv", "x", "C", "mg", scale="1/V")
    m.input("sc", "x", "D", "mg", routes=("sc",), bioavailable="F", lag_h="lag")
    return assemble(m, table(ke=0.3, V=5.0, ka=0.5, F=0.7, lag=0.25), "pk")


PK = pk_model()
KE, V, KA, F, LAG = 0.3, 5.0, 0.5, 0.7, 0.25
HOURS = np.linspace(0.0, 48.0, 97)


def bolus(t: Array, at: float, amount: float) -> Array:
    return np.where(t > at, amount / V * np.exp(-KE * np.clip(t - at, 0, None)), 0.0)


def infusion(t: Array, at: float, amount: float, hours: float) -> Array:
    rate, on = amount / hours / V, np.clip(t - at, 0, hours)
    return rate / KE * (1 - np.exp(-KE * on)) * np.exp(-KE * np.clip(t - at - hours, 0, None))


def absorbed(t: Array, at: float, amount: float) -> Array:
    s = np.clip(t - at - LAG, 0, None)
    return F * amount / V * KA / (KA - KE) * (np.exp(-KE * s) - np.exp(-KA * s))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("doses", "exact"),
    [
        ([Dose(3, "x", 100, "mg")], bolus(HOURS, 3, 100)),
        ([Dose(3, "x", 0.1, "g", duration_h=2.5)], infusion(HOURS, 3, 100, 2.5)),
        ([Dose(3, "x", 100, "mg", route="sc")], absorbed(HOURS, 3, 100)),
        ([Dose(0, "x", 200, "mg"), Dose(6, "x", 50, "mg", every_h=6, count=6)],
         bolus(HOURS, 0, 200) + sum(bolus(HOURS, 6 * k, 50) for k in range(1, 7))),
        ([Dose(1, "x", 40, "mg", duration_h=3, every_h=2, count=5)],
         sum(infusion(HOURS, 1 + 2 * k, 40, 3) for k in range(5))),
    ],
    ids=["bolus", "infusion", "under the skin", "loading and repeated", "overlapping infusions"],
)  # fmt: skip
def test_closed_forms_of_pharmacokinetics(doses: list[Dose], exact: Array, method: str) -> None:
    found = simulate(PK, None, doses, HOURS, outputs=["C"], control=Control(method, rtol=1e-8))
    assert_allclose(found["C"][0], exact, rtol=2e-7, atol=2e-8)


def test_steady_state_by_superposition() -> None:
    tau = 8.0
    doses = [Dose(0, "x", 100, "mg", every_h=tau, count=40)]
    late = 39 * tau + np.linspace(0.01, tau, 9)
    found = simulate(PK, None, doses, late, outputs=["C"], rtol=1e-8)
    exact = 20 * np.exp(-KE * (late - 39 * tau)) / (1 - np.exp(-KE * tau))
    assert_allclose(found["C"][0], exact, rtol=1e-6)


def test_exposure_equals_dose_over_clearance() -> None:
    doses = [Dose(0, "x", 100, "mg", route="sc"), Dose(7, "x", 30, "mg", duration_h=9)]
    found = simulate(PK, None, doses, [500.0], outputs=["AUC"], rtol=1e-8)
    assert found["AUC"][0, 0] == pytest.approx((F * 100 + 30) / (KE * V), rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_robertson(method: str) -> None:
    exact = [0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050]
    found = simulate(ROBERTSON, None, (), [0.0, 1e11], control=Control(method, rtol=1e-8, atol=1e-16))
    assert_allclose(found.values[0, -1], exact, rtol=1e-6)
    assert found.steps is not None
    assert found.steps.sum() < 3000


@pytest.mark.parametrize("method", METHODS)
def test_hires(method: str) -> None:
    found = simulate(HIRES, None, (), [321.8122], outputs=HIRES.state_names, control=Control(method, rtol=1e-9))
    assert_allclose(found.values[0, 0], HIRES_END, rtol=1e-6)


PREY = made({"prey": "prey - prey*fox", "fox": "prey*fox - r*fox"}, {"prey": "1.5", "fox": "0.7"}, r=1.0)


def prey(times: Array, method: str, **given: float) -> Array:
    return simulate(PREY, None, (), times, outputs=("prey", "fox"), control=Control(method, **given)).values


@pytest.mark.parametrize(("method", "order"), [("rodas4", 4), ("rodas5p", 5)])
def test_observed_order(method: str, order: int) -> None:
    assert tableau(method).order == order
    end = np.array([4.0])
    fine = prey(end, method, rtol=1e-13)
    errors = np.array([np.abs(prey(end, method, fixed=h) - fine).max() for h in (0.2, 0.1, 0.05)])
    assert np.log2(errors[:-1] / errors[1:]).min() > order - 0.4


@pytest.mark.parametrize(("method", "order"), [("rodas4", 3), ("rodas5p", 4)])
def test_dense_output_between_steps(method: str, order: int) -> None:
    """Its error falls at least with the power of its order plus one."""
    times = np.linspace(0.0, 2.0, 81)
    fine = prey(times, method, rtol=1e-13)
    errors = [np.abs(prey(times, method, fixed=h) - fine).max() for h in (0.2, 0.1)]
    assert np.log2(errors[0] / errors[1]) > order + 0.5


def test_coefficients_are_consistent() -> None:
    for method in METHODS:
        t = tableau(method)
        assert_allclose(t.a[-1, :-1], t.b[:-1], rtol=1e-14)  # stiffly accurate: the last stage is the error
        assert t.b[-1] == 1.0


def test_generated_and_handwritten_kernels_take_the_same_steps() -> None:
    from icans.mechanism.engine.driver import driver

    kernel, method, times = by_hand(4), tableau("rodas4"), np.array([0.4, 40.0, 4e5])
    plan = layout.make_plan(kernel, method)  # type: ignore[arg-type]
    patient = np.zeros(1, dtype=layout.PATIENT)
    patient["time_to"], patient["status"] = 3, layout.RUNNING
    values, none = np.full((1, 3, 3), np.nan), np.zeros((0, 0))
    batch = layout.Batch(
        np.array([[0.04, 1e4, 3e7]]), np.zeros((0, 3)), patient, times, np.zeros(0, layout.EVENT),
        np.zeros(0, layout.TRIGGER), np.zeros(0, layout.EVENT), np.zeros((1, 0, 2), np.int64), np.zeros((0, 0, 3)),
        none, none, np.arange(3), np.arange(3), values, np.zeros((1, 3, 3, 0)), np.zeros((1, 3)), np.zeros((1, 0, 0)),
    )  # fmt: skip
    options = layout.one_record(layout.OPTIONS, gamma=0.25, exponent=0.25, safety=0.9, shrink=0.2, grow=6.0,
                                h_max=1e300, max_steps=10000)  # fmt: skip
    space = layout.make_workspace(plan[0], method, np.full(3, 1e-12), 1e-8)
    driver()(
        layout.make_calls(kernel), plan, options, layout.make_work(plan[0], batch.triggers, 0), batch,  # type: ignore[arg-type]
        layout.make_patterns(kernel, []), space, np.zeros(1, np.int64), np.zeros(1, np.int64),  # type: ignore[arg-type]
    )  # fmt: skip
    found = simulate(ROBERTSON, None, (), times, outputs=("A", "B", "C"), control=Control("rodas4", 1e-8, 1e-12))
    assert_allclose(found.values, values, rtol=1e-9)
