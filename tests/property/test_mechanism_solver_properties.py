"""What holds whatever the numbers: balance, positivity, linearity, sameness."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from icans.mechanism.declare import Builder
from icans.mechanism.engine.simulate import Dose, simulate
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable


def chain() -> PatientModel:
    """Three pools that exchange, one of them saturably, and what has left them."""
    rates = {"ab": 0.3, "ba": 0.1, "bc": 2.0, "vmax": 5.0, "km": 1.0, "out": 0.05, "share": 0.8, "lag": 0.5}
    m = Builder()
    m.module("chain", "A chain")
    for name in "ABC":
        m.state(name, "mg", f"pool {name}")
    m.state("GONE", "mg", "what has left")
    m.move("A", "B", "ab*A")
    m.move("B", "A", "ba*B")
    m.move("B", "C", "vmax*hill(B, km, bc)")
    m.move("C", "GONE", "out*C")
    m.let("total", "A + B + C + GONE", "mg")
    m.input("into_A", "x", "A", "mg", bioavailable="share", lag_h="lag", routes=("sc",))
    m.input("into_C", "x", "C", "mg")
    table = ParameterTable(tuple(Parameter(n, v, "1", n, "chain", upper=1e4) for n, v in rates.items()))
    return assemble(m, table, "chain")


MODEL = chain()
DOSES = st.lists(
    st.builds(
        Dose, st.floats(0, 50), st.just("x"), st.floats(0, 1000), st.just("mg"), st.sampled_from(["iv", "sc"]),
        st.sampled_from([0.0, 0.25, 7.0]), st.sampled_from([3.0, 10.0]), st.integers(1, 4),
    ),
    max_size=5,
)  # fmt: skip
TIMES = np.array([0.0, 20.0, 150.0])


@settings(max_examples=60, deadline=None)
@given(DOSES, st.floats(0.01, 50.0), st.floats(0.01, 50.0), st.floats(1.0, 5.0))
def test_nothing_is_lost_and_nothing_is_negative(doses: list[Dose], ab: float, vmax: float, bc: float) -> None:
    found = simulate(MODEL, {"ab": ab, "vmax": vmax, "bc": bc}, doses, TIMES)
    given_mg = sum(d.amount * d.count * (0.8 if d.route == "sc" else 1.0) for d in doses)
    end = found.values[0, -1, [found.names.index(n) for n in ("A", "B", "C", "GONE")]]
    assert found.ok.all()
    assert_allclose(end.sum(), given_mg, rtol=1e-9, atol=1e-9)
    assert found.values.min() >= -1e-5 * max(given_mg, 1e-3)


@settings(max_examples=25, deadline=None)
@given(DOSES, st.floats(0.1, 10.0))
def test_a_linear_part_is_linear_in_the_dose(doses: list[Dose], factor: float) -> None:
    def gone(times: float) -> np.ndarray:
        more = [Dose(d.time_h, d.drug, d.amount * times, d.unit, "iv", d.duration_h, d.every_h, d.count) for d in doses]
        return simulate(MODEL, None, more, TIMES, outputs=["C", "GONE"], rtol=1e-8).values

    assert_allclose(gone(factor), factor * gone(1.0), rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(DOSES, st.integers(0, 2**31), st.integers(2, 13), st.integers(1, 3))
def test_neighbours_and_threads_do_not_matter(doses: list[Dose], seed: int, n: int, threads: int) -> None:
    base = MODEL.parameters.values_array()
    values = base * np.exp(0.3 * np.random.default_rng(seed).standard_normal((n, len(base))))
    all_of_them = simulate(MODEL, values, doses, TIMES, threads=threads).values
    last = simulate(MODEL, values[-1], doses, TIMES).values
    assert np.array_equal(all_of_them[-1:], last)


@settings(max_examples=30, deadline=None)
@given(DOSES, st.lists(st.floats(0.5, 149.0), min_size=1, max_size=8, unique=True))
def test_values_do_not_depend_on_the_other_times(doses: list[Dose], more: list[float]) -> None:
    few = simulate(MODEL, None, doses, TIMES)
    many = simulate(MODEL, None, doses, np.union1d(TIMES, more))
    kept = np.searchsorted(np.union1d(TIMES, more), TIMES)
    assert np.array_equal(few.values[0], many.values[0, kept])
