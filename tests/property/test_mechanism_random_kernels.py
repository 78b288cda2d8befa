"""Compiled kernels of random models against algebra at high precision, and of random systems against LAPACK."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import Phase, assume, event, given, settings
from hypothesis import strategies as st

from icans.core.random import stream
from icans.mechanism import numeric
from icans.mechanism.engine.kernel import compile_kernel
from icans.mechanism.engine.order import factors
from icans.mechanism.expressions import parse, pos, power, safe_log, step, symbol
from icans.mechanism.model import PatientModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernel_calls import Array, call, dense, everything, model_of

STATES, PARAMETERS, CHOSEN = ("x", "y", "z"), ("a", "b", "c"), ("c", "a")
EPS = 2.0**-52


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path_factory.getbasetemp()))


# An evaluation that knows how far rounding may take an ordinary one


@dataclass(frozen=True)
class Sized:
    """A value at high precision, and by how many roundings of size 1 a computation in doubles may be off."""

    value: mp.mpf
    size: mp.mpf


class NoValueError(ValueError):
    """A pole, an overflow, or a jump too near to say on which side a computation in doubles is."""


def _moved(value: Any, *parts: Any) -> Sized:
    value = mp.mpf(value)
    size = mp.fsum([abs(value), *parts])
    if not mp.isfinite(value) or size > mp.mpf(10) ** 60:
        raise NoValueError
    return Sized(value, size)


def _above(x: Sized) -> bool:
    if x.size * EPS * 1000 > abs(x.value) and x.size > 0:
        raise NoValueError
    return x.value > 0


def _product(a: Sized, b: Sized) -> Sized:
    return _moved(a.value * b.value, abs(a.value) * b.size, abs(b.value) * a.size)


def _raised(a: Sized, n: Sized) -> Sized:
    value = a.value**n.value
    by_n = abs(value * mp.log(a.value)) * n.size if n.size else 0
    return _moved(value, abs(n.value * value / a.value) * a.size, by_n)


def _sum(*parts: Sized) -> Sized:
    return _moved(mp.fsum(p.value for p in parts), *(abs(p.value) + p.size for p in parts))


def _products(*parts: Sized) -> Sized:
    return reduce(_product, parts)


def _pow(a: Sized, n: Sized) -> Sized:
    if not n.value:
        return _exactly(1)
    if a.size * EPS * 1000 > abs(a.value) or (not a.value and n.value < 1):
        raise NoValueError
    return _raised(a, n) if a.value else a


def _log(x: Sized) -> Sized:
    if not _above(x):
        raise NoValueError
    return _moved(mp.log(x.value), x.size / x.value)


def _safe_log(x: Sized) -> Sized:
    return _log(x) if _above(x) else _exactly(mp.log(mp.mpf("1e-300")))  # times power(x, n), which is 0 there


def _exp(x: Sized) -> Sized:
    if abs(x.value) > 8:  # expit(1 - expit) of the kernel loses digits where expit is nearly 1; it may
        raise NoValueError
    return _moved(mp.exp(x.value), mp.exp(x.value) * x.size)


def _tanh(x: Sized) -> Sized:
    return _moved(mp.tanh(x.value), (1 - mp.tanh(x.value) ** 2) * x.size)


def _exactly(value: Any) -> Sized:
    return Sized(mp.mpf(value), mp.mpf(0))


RULES: dict[Any, Callable[..., Sized]] = {
    sp.Add: _sum, sp.Mul: _products, sp.Pow: _pow, sp.log: _log, safe_log: _safe_log, sp.exp: _exp, sp.tanh: _tanh,
    power: lambda x, n: _raised(x, n) if _above(x) else _exactly(0), pos: lambda x: x if _above(x) else _exactly(0),
    step: lambda x: _exactly(1 if _above(x) else 0), sp.Abs: lambda x: Sized(abs(x.value), x.size),
    sp.sign: lambda x: _exactly(1 if _above(x) else -1),
}  # fmt: skip


def sized(expression: sp.Expr, at: dict[str, float]) -> Sized:
    """An expression of the language (or a derivative of one) at a point."""
    if expression.is_Symbol:
        return _exactly(at[expression.name])
    if expression.is_Number or expression is sp.E:
        value = expression._to_mpmath(200) if expression.is_Number else mp.e
        return Sized(mp.mpf(value), abs(mp.mpf(value)))
    return RULES[expression.func](*(sized(a, at) for a in expression.args))


# Random models

NUMBERS = st.sampled_from(["2", "0.5", "3", "1.75", "10", "1e-3", "7", "1", "0.1"])


def expressions(names: tuple[str, ...], size: int = 4) -> st.SearchStrategy[str]:
    """Text of the language that has a value for all values of the names (denominators, logarithms and roots of what
    is above 0, exponentials of what is not large)."""
    atoms = st.one_of(st.sampled_from(names), st.sampled_from(names), NUMBERS)

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        above = st.builds("({} + ({})**2)".format, NUMBERS, inner)
        return st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner),
            st.builds("{}/{}".format, inner, above),
            st.builds("-{}".format, st.builds("({})".format, inner)),
            st.builds("({})**{}".format, inner, st.integers(1, 9)),
            st.builds("{}**-{}".format, above, st.integers(1, 3)),
            st.builds("({})**{}".format, inner, st.sampled_from(["1.5", "2.25", "(1 + a**2)"])),
            st.builds("power({}, {})".format, inner, st.sampled_from(["1.3", "2.0", "(1.1 + b**2)", "12"])),
            st.builds("power({}, {})".format, above, st.integers(1, 8)),
            st.builds("hill(pos({}), {}, {})".format, inner, above, st.sampled_from(["1", "2", "1.4", "(1.2 + c**2)"])),
            st.builds("hill(pos({}), {})".format, inner, above),
            st.builds("{}({})".format, st.sampled_from(["tanh", "expit", "softplus", "pos", "step"]), inner),
            st.builds("{}({})".format, st.sampled_from(["log", "sqrt"]), above),
            st.builds("exp({}*tanh({}))".format, NUMBERS, inner),
            st.builds("exp(-({})**2)".format, inner),
        )

    return st.recursive(atoms, larger, max_leaves=size)


@st.composite
def models(draw: st.DrawFn) -> tuple[PatientModel, sp.Matrix, list[sp.Expr], list[sp.Expr]]:
    """A model with rates, a definition of parameters, one of states, and initial values; and the same as algebra."""
    fixed = draw(expressions(PARAMETERS))
    moving = draw(expressions((*STATES, *PARAMETERS, "fixed")))
    everything_ = (*STATES, *PARAMETERS, "fixed", "moving", "moving")
    rates = [draw(expressions(everything_)) for _ in STATES]
    # All parameters are in the model.
    rates[0] = f"{rates[0]} + a*moving - b*x - c"
    initial = [draw(expressions((*PARAMETERS, "fixed"), 3)) for _ in STATES]
    model = model_of(rates, PARAMETERS, [("moving", moving), ("fixed", fixed)], initial)
    inside = {symbol("fixed"): parse(fixed)}
    inside[symbol("moving")] = parse(moving).subs(inside)

    def whole(text: str) -> sp.Expr:
        return parse(text).subs(inside, simultaneous=True)

    algebra = [whole(r) for r in rates]
    start = [whole(i) for i in initial]
    seen = [inside[symbol("moving")], symbol("y")]
    assume(not any(e.has(sp.zoo, sp.nan, sp.oo, sp.I) for e in (*algebra, *start, *seen)))
    assume(sum(e.count_ops() for e in (*algebra, *start)) < 120)
    return model, sp.Matrix(algebra), start, seen


VALUES = st.one_of(
    st.floats(-3, 3).map(lambda v: round(v, 6)),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.25, 1e-8, -1e-8, 40.0, -40.0]),
)


def agree(found: float, expression: sp.Expr, at: dict[str, float], often: int, what: object) -> None:
    """Within so many roundings of the size of what was added and multiplied."""
    try:
        exact = sized(expression, at)
    except NoValueError:
        event("no value")
        return
    event("compared")
    bound = often * EPS * float(exact.size) + 1e-200
    assert abs(found - float(exact.value)) <= bound, (what, found, float(exact.value), bound)


@settings(max_examples=8, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    models(), st.lists(VALUES, min_size=6, max_size=6), st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    st.sampled_from([1, 2, 8]),
)  # fmt: skip
def test_random_models_against_algebra(
    made: tuple[PatientModel, sp.Matrix, list[sp.Expr], list[sp.Expr]], values: list[float], more: list[float],
    lanes: int,
) -> None:  # fmt: skip
    model, rates, start, seen = made
    kernel = compile_kernel(model, lanes=lanes, outputs=("moving", "y"), watch=("x", "fixed"), sensitivities=CHOSEN)
    lane, at = lanes - 1, dict(zip((*STATES, *PARAMETERS), values))
    rng = stream(5, "neighbours")

    def spread(numbers: list[float]) -> Array:
        array = rng.uniform(0.5, 2, (len(numbers), lanes))
        array[:, lane] = numbers
        return array

    p = spread([at[n] for n in model.parameters.names])
    found = everything(kernel, p, spread(values[:3]), spread([more[3]]), spread([1e4]),
                       spread([1.0, 2.0, 3.0]))  # fmt: skip
    states, chosen = [symbol(n) for n in STATES], [symbol(n) for n in CHOSEN]
    infused = rates + sp.Matrix([symbol("u"), 0, 0])
    with mp.workdps(50):
        for i in range(3):
            agree(found["rhs"][i, lane], infused[i], at | {"u": more[3]}, 450, ("rate", i))  # 1e-13
            agree(found["initial"][i, lane], start[i], at, 450, ("initial", i))
            for j, name in enumerate(chosen):
                agree(
                    found["initial_dp"].reshape(3, 2, lanes)[i, j, lane], start[i].diff(name), at, 50_000, "initial_dp"
                )
        jacobian = rates.jacobian(states)
        compare(found["jacobian"], kernel.jac_rows, kernel.jac_cols, jacobian, at, lane)
        compare(found["dfdp"], kernel.dfdp_rows, kernel.dfdp_cols, rates.jacobian(chosen), at, lane)
        outputs = sp.Matrix(seen)
        for i in range(2):
            agree(found["observe"][i, lane], outputs[i], at, 450, ("output", i))
        compare(found["observe_jac"], kernel.observe_jac_rows, kernel.observe_jac_cols, outputs.jacobian(states), at,
                lane)  # fmt: skip
        compare(found["observe_dp"], kernel.observe_dp_rows, kernel.observe_dp_cols, outputs.jacobian(chosen), at, lane)
    try:
        reference = numeric.function(model, [model.rates[n] for n in STATES])(values[:3], p[:, lane].tolist())
    except (OverflowError, ZeroDivisionError):
        return
    with mp.workdps(50):  # the reference in plain Python, which shares the text alone
        for i in (1, 2):
            if np.isfinite(reference[i]):
                agree(reference[i], infused[i], at, 450, ("reference", i))


def compare(values: Array, rows: Array, cols: Array, exact: sp.Matrix, at: dict[str, float], lane: int) -> None:
    """A sparse result against a matrix of expressions; what is not stored must be zero."""
    whole = dense(rows, cols, values[:, lane], exact.shape)
    for i in range(exact.rows):
        for j in range(exact.cols):
            agree(whole[i, j], exact[i, j], at, 50_000, (i, j))


# Random sparse systems


@st.composite
def patterns(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    n = draw(st.integers(1, 14))
    places = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    return n, sorted(draw(st.sets(places, max_size=4 * n)))


@settings(max_examples=30)
@given(patterns(), st.integers(0, 10**6))
def test_random_sparse_systems_against_lapack(pattern: tuple[int, list[tuple[int, int]]], seed: int) -> None:
    n, entries = pattern
    names = [f"y{i}" for i in range(n)]
    parameters = [f"p{k}" for k in range(len(entries))]
    terms: list[list[str]] = [["0"] for _ in range(n)]
    for k, (i, j) in enumerate(entries):
        terms[i].append(f"p{k}*{names[j]}")
    model = model_of([" + ".join(t) for t in terms], parameters, names=names)
    kernel = compile_kernel(model, lanes=4)
    rng = stream(seed, "systems")
    values = rng.normal(size=(len(entries), 4)) * np.exp(rng.normal(size=(len(entries), 4)) * 2)
    order = [int(name[1:]) for name in kernel.parameters]
    q = call(kernel, "prepare", p=values[order])
    jacobians = np.zeros((4, n, n))
    for k, (i, j) in enumerate(entries):
        jacobians[:, i, j] = values[k]
    # Large enough that no pivoting is needed: strictly dominant rows.
    ghinv = 1.01 * np.abs(jacobians).sum(axis=2).max(axis=1) + 1e-3
    at = {"y": rng.normal(size=(n, 4)), "q": q, "u": np.zeros((1, 4))}
    assert sorted(zip(kernel.jac_rows.tolist(), kernel.jac_cols.tolist())) == entries
    found = call(kernel, "jacobian", **at)
    lu = call(kernel, "factor", **at, ghinv=ghinv[None, :])
    b = rng.normal(size=(n, 4))
    x = call(kernel, "solve", lu=lu, b=b)
    for lane in range(4):
        np.testing.assert_array_equal(dense(kernel.jac_rows, kernel.jac_cols, found[:, lane], (n, n)), jacobians[lane])
        matrix = ghinv[lane] * np.eye(n) - jacobians[lane]
        residual = np.abs(matrix @ x[:, lane] - b[:, lane])
        assert np.all(residual <= 1e-13 * (np.abs(matrix) @ np.abs(x[:, lane]) + np.abs(b[:, lane])))
        exact = np.linalg.solve(matrix, b[:, lane])
        assert np.abs(x[:, lane] - exact).max() <= 1e-14 * np.linalg.cond(matrix) * np.abs(exact).max()


@given(patterns())
def test_factors_hold_every_entry_and_all_fill(pattern: tuple[int, list[tuple[int, int]]]) -> None:
    n, entries = pattern
    found = factors(n, entries)
    assert sorted(found.order) == list(range(n))
    place = {state: k for k, state in enumerate(found.order)}
    filled = np.eye(n, dtype=bool)
    for i, j in entries:
        filled[place[i], place[j]] = True
    for k in range(n):  # elimination on the pattern
        for i in range(k + 1, n):
            if filled[i, k]:
                filled[i, k:] |= filled[k, k:]
    assert set(found.entries) == {(int(i), int(j)) for i, j in np.argwhere(filled)}
    if all(i <= j for i, j in entries) or all(i >= j for i, j in entries):  # triangular: there is an order without fill
        assert len(found.entries) == len({*entries, *((i, i) for i in range(n))})
