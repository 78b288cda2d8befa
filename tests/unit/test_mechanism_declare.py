"""The declaration layer: language, parameters, assembly, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.expressions import FUNCTIONS as SYMBOLIC
from icans.mechanism.expressions import parse, pos, power, safe_log, symbol
from icans.mechanism.language import FUNCTIONS, names_in
from icans.mechanism.model import assemble
from icans.mechanism.parameters import Parameter, ParameterTable, read_parameters

TABLE = ParameterTable(
    tuple(
        Parameter(name, value, "1/h", f"the {name}", "test", upper=10.0)
        for name, value in (("k_in", 1.0), ("k_out", 0.5), ("unused", 2.0))
    )
)


def pool() -> Builder:
    """A turnover pool with an inhibitor of its production."""
    m = Builder()
    m.module("pool", "A pool")
    m.let("production", "k_in*(1 - block)")
    m.handle("block", "block of production")
    m.state("X", "mg", "the pool", initial="k_in/k_out")
    m.flow("X", "production", "production")
    m.flow("X", "-k_out*X", "loss")
    return m


def test_both_lists_of_functions_agree() -> None:
    assert set(FUNCTIONS) == set(SYMBOLIC)


@pytest.mark.parametrize(
    "text", ["__import__('os')", "a.b", "a[0]", "lambda: 1", "a if b else c", "'x'", "f(a)", "a and b", "a < b", "a =",
             "hill(a)", "exp(a, b)", "True"],
)  # fmt: skip
def test_text_outside_the_language_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|no function|arguments"):
        names_in(text)
    with pytest.raises(ValueError):
        parse(text)


def test_names() -> None:
    assert names_in("hill(C, KC, 2)*exp(-k*x) + 3") == {"C", "KC", "k", "x"}


@given(st.floats(0.0, 50.0), st.floats(0.1, 20.0), st.floats(1.0, 6.0))
def test_hill_is_a_saturating_fraction(x: float, half: float, n: float) -> None:
    expression = parse("hill(x, k, n)").subs({symbol("x"): x, symbol("k"): half, symbol("n"): n})
    value = float(expression.replace(power, lambda a, b: a**b if a > 0 else sp.Integer(0)))
    assert value == pytest.approx(x**n / (half**n + x**n), rel=1e-9)


def test_derivatives_of_guarded_functions() -> None:
    x, n = symbol("x"), symbol("n")
    assert sp.diff(power(x, n), x) == n * power(x, n - 1)
    assert sp.diff(safe_log(x), x) == 1 / x
    slope = sp.diff(pos(x**2 - 1), x)
    assert slope.has(2 * x)


def test_assembled_model() -> None:
    model = assemble(pool(), TABLE)
    assert model.state_names == ("X",)
    assert model.parameters.names == ("k_in", "k_out")
    assert [d.name for d in model.definitions] == ["block", "production"]
    x, k_out, production = symbol("X"), symbol("k_out"), symbol("production")
    assert sp.simplify(model.symbolic.rates["X"] - (production - k_out * x)) == 0


def test_effects_at_a_handle_combine_as_independent_blocks() -> None:
    m = pool()
    m.act("block", "0.5")
    m.act("block", "0.2")
    block = assemble(m, TABLE).symbolic.definitions["block"]
    assert float(block) == pytest.approx(1 - 0.5 * 0.8)


def test_key_names_equations_and_not_values() -> None:
    model = assemble(pool(), TABLE)
    assert model.with_parameters({"k_in": 2.0}).key == model.key
    other = pool()
    other.act("block", "0.1")
    assert assemble(other, TABLE).key != model.key


def test_all_problems_at_once() -> None:
    m = pool()
    m.state("Y", "mg", "no rate")
    m.let("a", "b")
    m.let("b", "a")
    m.let("production", "1")
    m.flow("Z", "1")
    m.flow("X", "k_ou*X")
    m.flow("X", "X +")
    m.act("blok", "1")
    m.input("dose", "drug", "Q", "mg")
    m.observe("W", "il_6", "pg/mL")
    with pytest.raises(ModelError) as caught:
        assemble(m, TABLE)
    text = str(caught.value)
    for part in (
        "'k_ou'",
        "'k_out'",
        "'Z'",
        "'Y'",
        "blok",
        "'Q'",
        "'W'",
        "a -> b -> a",
        "used once",
        "not an expression",
    ):
        assert part in text, part


def test_parameter_values_outside_bounds_are_refused() -> None:
    for value in (-1.0, 11.0, math.nan, math.inf):
        with pytest.raises(ModelError, match="k_in"):
            TABLE.with_values({"k_in": value})
    with pytest.raises(ModelError, match="Did you mean 'k_in'"):
        TABLE.with_values({"k_i": 1.0})


def test_the_shipped_table_is_sound() -> None:
    table = read_parameters()
    assert len(table) == len(set(table.names))
    for row in table.rows:
        assert row.lower <= row.value <= row.upper, row.name
        assert len(row.meaning) > 5, row.name
        assert row.source.strip(), row.name
        if row.transform == "log":
            assert row.value > 0 or row.iiv == 0, row.name
    assert np.isfinite(table.values_array()).all()
