"""Compiled kernels: elementary functions, edges, lanes, chunks, derivatives of the whole model, the cache."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.mechanism import numeric
from icans.mechanism.engine import kernel as kernels
from icans.mechanism.engine import llvm
from icans.mechanism.engine.generate import plan
from icans.mechanism.engine.kernel import Kernel, compile_kernel
from icans.mechanism.model import PatientModel
from icans.mechanism.patient import patient_model

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernel_calls import Array, call, dense, everything, model_of
from small_patient import small_model

SMALLEST, TINY, HUGE = 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308
SENSITIVITIES = ("rho", "kd", "gam", "crp_out", "barrier_50", "k_tum")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path_factory.getbasetemp()))


# Elementary functions


def values_of(text: str, x: Array, n: Array | None = None) -> Array:
    """An expression of x (and n) at many points, through ``observe``."""
    states = "x" if n is None else "xn"
    model = model_of(["0"] * len(states), (), [("f", text)], names=states)
    kernel = compile_kernel(model, lanes=16, outputs=("f",))
    given = np.array([x] if n is None else np.broadcast_arrays(x, n), dtype=float)
    count = given.shape[1]
    given = np.pad(given, ((0, 0), (0, -count % 16)), constant_values=1.0)
    parts = [
        call(kernel, "observe", y=given[:, k : k + 16], q=np.zeros((0, 16)), u=np.zeros((1, 16)))[0]
        for k in range(0, given.shape[1], 16)
    ]
    return np.concatenate(parts)[:count]


def worst_ulp(found: Array, exact: list[mp.mpf]) -> float:
    """Largest error in units in the last place of the exact value."""
    errors = []
    for got, true in zip(found.tolist(), exact):
        nearest = float(true)
        if math.isinf(nearest):
            assert got == nearest
            continue
        errors.append(float(abs(mp.mpf(got) - true) / mp.mpf(math.ulp(nearest))))
    return max(errors)


def spread(low: float, high: float, count: int = 400) -> Array:
    """Numbers of both signs whose sizes are even on the logarithmic scale."""
    rng = stream(1, "spread", str(low), str(high))
    size = np.exp(rng.uniform(math.log(low), math.log(high), count))
    return np.concatenate([size, -size])


@pytest.mark.parametrize(
    ("name", "points", "exact", "bound"),
    [
        ("exp", np.append(spread(1e-20, 700.0), [-708.0, 709.7, 709.78]), mp.exp, 1.0),
        ("log", np.append(np.abs(spread(1e-307, 1e307)), [1 - 1e-16, 1 + 3e-16, 1.0, 0.7071, 1.4143]), mp.log, 1.0),
        ("log", np.array([SMALLEST, 1e-320, 1e-310, TINY, HUGE]), mp.log, 1.0),
        ("log", 1 + spread(1e-15, 0.9), mp.log, 1.0),
        ("sqrt", np.append(np.abs(spread(1e-307, 1e307)), [SMALLEST, 4.0]), mp.sqrt, 0.5001),
        ("tanh", np.append(spread(1e-300, 30.0), [0.6249999, 0.625, 0.6250001]), mp.tanh, 1.5),
        ("expit", spread(1e-20, 700.0), lambda x: 1 / (1 + mp.exp(-x)), 2.5),
        ("softplus", spread(1e-20, 700.0), lambda x: mp.log1p(mp.exp(x)), 2.5),
    ],
)
def test_elementary_functions_against_arbitrary_precision(
    name: str, points: Array, exact: Callable[[Any], Any], bound: float
) -> None:
    with mp.workdps(60 if name != "softplus" else 400):
        assert worst_ulp(values_of(f"{name}(x)", points), [exact(mp.mpf(x)) for x in points.tolist()]) <= bound


def test_power_against_arbitrary_precision() -> None:
    rng = stream(2, "power")
    x = np.exp(rng.uniform(-700, 700, 1500))
    n = rng.normal(size=1500) * np.minimum(700 / np.abs(np.log(x)), 8.0)
    x[:300] = 1 + rng.normal(size=300) * 1e-3
    n[:300] = rng.uniform(-3e5, 3e5, 300)
    with mp.workdps(60):
        exact = [mp.power(mp.mpf(a), mp.mpf(b)) for a, b in zip(x.tolist(), n.tolist())]
        normal = [k for k, value in enumerate(exact) if TINY <= value <= HUGE]
        assert len(normal) > 1100
        assert worst_ulp(values_of("power(x, n)", x, n)[normal], [exact[k] for k in normal]) <= 1.5


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("exp(x)", [0, -0.0, math.inf, -math.inf, math.nan, 710, -746, 1e300, -1e300, SMALLEST],
         [1, 1, math.inf, 0, math.nan, math.inf, 0, math.inf, 0, 1]),
        ("log(x)", [0, -0.0, 1, math.inf, -math.inf, math.nan, -1, -SMALLEST],
         [-math.inf, -math.inf, 0, math.inf, math.nan, math.nan, math.nan, math.nan]),
        ("sqrt(x)", [0, 4, math.inf, -1, math.nan], [0, 2, math.inf, math.nan, math.nan]),
        ("tanh(x)", [0, math.inf, -math.inf, math.nan, 1e300, -400, SMALLEST, -1e-310],
         [0, 1, -1, math.nan, 1, -1, SMALLEST, -1e-310]),
        ("expit(x)", [0, math.inf, -math.inf, math.nan, 1e5, -1e5, 40], [0.5, 1, 0, math.nan, 1, 0, 1]),
        ("softplus(x)", [0, math.inf, -math.inf, math.nan, 1e300, -1e300, 800], [math.log(2), math.inf, 0, math.nan,
         1e300, 0, 800]),
        ("pos(x)", [0, -0.0, 3, -3, math.inf, -math.inf, math.nan, SMALLEST], [0, 0, 3, 0, math.inf, 0, math.nan,
         SMALLEST]),
        ("step(x)", [0, -0.0, 3, -3, math.inf, -math.inf, SMALLEST], [0, 0, 1, 0, 1, 0, 1]),
        ("power(x, 2.5)", [0, -0.0, -3, 4, math.inf, -math.inf, math.nan, SMALLEST, 1e300], [0, 0, 0, 32, math.inf, 0,
         math.nan, 0, math.inf]),
        ("power(x, -0.5)", [4, math.inf, 0, -1], [0.5, 0, 0, 0]),
        ("power(x, 3)", [0, 2, -2, math.inf, math.nan], [0, 8, 0, math.inf, math.nan]),
        ("power(x, 0)", [0, 2, -2], [0, 1, 0]),
        ("power(x, 1)", [0, 2, -2], [0, 2, 0]),
        ("hill(x, 2, 2)", [0, 2, -2], [0, 0.5, 0]),
        ("x**3", [0, 2, -2, math.inf], [0, 8, -8, math.inf]),
        ("hill(x, 2, 1.5)", [0, -1, 2, math.nan], [0, 0, 0.5, math.nan]),
        ("hill(x, 2)", [0, 2, 6], [0, 0.5, 0.75]),
        ("x**-2", [2, -2, math.inf], [0.25, 0.25, 0]),
        ("pos(x)*0 + step(1)", [5, math.inf], [1, 1]),
    ],
)  # fmt: skip
def test_edges(text: str, at: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(values_of(text, np.array(at, dtype=float)), np.array(expected, dtype=float))


def test_results_below_the_normal_numbers_are_rounded_once() -> None:
    x = np.linspace(-745.1, -708.5, 300)
    with mp.workdps(60):
        exact = [mp.exp(mp.mpf(v)) for v in x.tolist()]
        off = [float(abs(mp.mpf(g) - e) / SMALLEST) for g, e in zip(values_of("exp(x)", x).tolist(), exact)]
    assert max(off) <= 1.0
    assert max(o for o, e in zip(off, exact) if e < 1e-311) <= 0.51


@pytest.mark.parametrize("text", ["power(x, a)", "hill(x, b, a)", "x*power(x, a)"])
@pytest.mark.parametrize("exponent", [1.0, 1.01, 1.7, 2.0, 4.5])
def test_derivatives_of_powers_hold_at_and_beside_zero(text: str, exponent: float) -> None:
    at = np.array([0.0, -0.0, SMALLEST, 1e-320, 1e-310, TINY, 1e-300, 1e-200, 1e-160, 1e-100, 1e-20, -1e-310, -1, 2.0,
                   1e-3, 30.0])  # fmt: skip
    kernel = compile_kernel(model_of([f"{text} + b"], "ab", names="x"), lanes=16, sensitivities=("a", "b"))
    q = call(kernel, "prepare", p=np.array([exponent, 3.0])[[kernel.parameters.index(n) for n in "ab"]])
    given = {"y": at[None, :], "q": q, "u": np.zeros((1, 16))}
    slope, by = call(kernel, "jacobian", **given)[0], call(kernel, "dfdp", **given)
    for values in (slope, by):
        assert np.isfinite(values).all()
    np.testing.assert_array_equal(slope[at <= 0], 0.0)
    large = at > 1e-4
    with mp.workdps(40):

        def f(x: Any, a: Any) -> Any:
            top = x**a
            return {"power(x, a)": top, "hill(x, b, a)": top / (3**a + top), "x*power(x, a)": x * top}[text]

        for k in np.flatnonzero(large):
            x, a = mp.mpf(float(at[k])), mp.mpf(exponent)
            assert slope[k] == pytest.approx(float(mp.diff(f, (x, a), (1, 0))), rel=1e-12)
            assert by[0, k] == pytest.approx(float(mp.diff(f, (x, a), (0, 1))), rel=1e-12)


# Lanes, chunks, hoisting


def arguments(model: PatientModel, lanes: int, label: str) -> dict[str, Array]:
    """Arguments in the middle of a course, different in every lane (synthetic)."""
    rng = stream(3, label)
    n = len(model.states)
    start = np.array(numeric.of_parameters(model, [s.initial for s in model.states],
                                           model.parameters.values_array()[None, :]))[0]  # fmt: skip
    p = model.parameters.values_array()[:, None] * np.exp(0.05 * rng.normal(size=(len(model.parameters), lanes)))
    return {
        "p": p, "y": (np.abs(start)[:, None] + 0.02) * np.exp(rng.normal(size=(n, lanes))),
        "u": rng.uniform(0, 2, (len(model.inputs), lanes)),
        "ghinv": np.exp(rng.uniform(-1, 6, (1, lanes))), "b": rng.normal(size=(n, lanes)),
    }  # fmt: skip


def small_kernel(lanes: int = 8, **other: Any) -> Kernel:
    return compile_kernel(
        small_model(), lanes=lanes, outputs=("IL6", "leakiness"), watch=("TEMP",), sensitivities=SENSITIVITIES, **other
    )


def test_every_width_gives_the_same_bits() -> None:
    given = arguments(small_model(), 16, "lanes")
    reference = everything(small_kernel(1), **{k: v[:, :1] for k, v in given.items()})
    alone = {name: [value[:, 0]] for name, value in reference.items()}
    for k in range(1, 16):
        for name, value in everything(small_kernel(1), **{a: v[:, k : k + 1] for a, v in given.items()}).items():
            alone[name].append(value[:, 0])
    for lanes in (2, 4, 8, 16):
        for first in range(0, 16, lanes):
            part = everything(small_kernel(lanes), **{a: v[:, first : first + lanes] for a, v in given.items()})
            for name, value in part.items():
                assert np.isfinite(value).all(), name
                expected = np.array(alone[name][first : first + lanes]).T
                assert value.tobytes() == np.ascontiguousarray(expected).tobytes(), (name, lanes, first)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1e300, 1e-320])
def test_a_lane_does_not_touch_its_neighbours(bad: float) -> None:
    given = arguments(small_model(), 8, "neighbours")
    clean = everything(small_kernel(), **given)
    for name in ("p", "y", "u", "ghinv", "b"):
        given[name][:, 3] = bad
    others = [0, 1, 2, 4, 5, 6, 7]
    for name, value in everything(small_kernel(), **given).items():
        np.testing.assert_array_equal(value[:, others], clean[name][:, others], err_msg=name)


@pytest.mark.parametrize("chunk", [1, 3, 17, 10_000])
def test_where_chunks_end_changes_no_bit(chunk: int) -> None:
    whole = small_kernel(4)
    made = plan(small_model(), whole.outputs, whole.watched, whole.sensitivities)
    functions = made.functions(chunk=chunk)
    assert max(len(f.chunks) for f in functions) > 1 or chunk == 10_000
    engine, addresses = llvm.load_object(llvm.compile_object(llvm.module(functions, 4, 2)), [f.name for f in functions])
    other = Kernel(**{**vars(whole), "functions": addresses})
    given = arguments(small_model(), 4, "chunks")
    expected = everything(whole, **given)
    for name, value in everything(other, **given).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert engine is not None


def test_what_depends_on_parameters_alone_is_computed_once() -> None:
    model = small_model()
    made = plan(model, ("IL6", "leakiness"), ("TEMP",), SENSITIVITIES)
    moving = [f for f in made.functions() if f.name not in ("prepare", "initial", "initial_dp")]
    assert {f.name for f in moving} >= {"rhs", "factor", "jacobian", "dfdp"}
    for function in moving:
        varies: dict[object, bool] = {}
        for op, out, args in (entry for chunk in function.chunks for entry in chunk):
            if op == "load":
                varies[out] = args[0] != "q" if args[0] != "t" else varies[out]
            elif op == "const":
                varies[out] = False
            elif op == "store":
                continue
            else:
                varies[out] = any(varies[a] for a in args)
                assert varies[out], (function.name, op)
    kernel = small_kernel()
    given = arguments(model, 8, "hoist")
    q = call(kernel, "prepare", p=given["p"])
    np.testing.assert_array_equal(q[: len(model.parameters)], given["p"])
    assert kernel.nq > len(model.parameters)
    assert len(np.unique(q[len(model.parameters) :, 0])) == kernel.nq - len(model.parameters)  # nothing twice


# The small model and the whole model against an oracle that shares only the text


def oracle(model: PatientModel, texts: list[str]) -> Callable[[Array, Array], Array]:
    """Values of texts at complex arguments (entries, points): a step along i gives derivatives to the last digits."""

    def power(x: Any, n: Any) -> Any:
        above = np.real(x) > 0
        return np.where(above, np.where(above, x, 1.0) ** n, 0.0)

    def hill(x: Any, half: Any, n: Any = 1) -> Any:
        return power(x, n) / (power(half, n) + power(x, n))

    def softplus(x: Any) -> Any:
        above = np.real(x) > 0
        return np.where(above, x, 0.0) + np.log1p(np.exp(np.where(above, -x, x)))

    space: dict[str, Any] = {
        "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "power": power, "hill": hill,
        "softplus": softplus, "expit": lambda x: 1 / (1 + np.exp(-x)),
        "pos": lambda x: np.where(np.real(x) > 0, x, 0.0), "step": lambda x: np.where(np.real(x) > 0, 1.0, 0.0),
    }  # fmt: skip
    exec(numeric.source_of(model, texts), space)

    def evaluate(y: Array, p: Array) -> Array:
        points = max(y.shape[1], p.shape[1])
        return np.array([np.broadcast_to(v, points) for v in space["made"](y, p)])

    return evaluate


STEP = 1e-150


def derivative(f: Callable[[Array, Array], Array], y: Array, p: Array, by: str, places: list[int]) -> Array:
    """df_i/dx_j at one point, x the states or some parameters."""
    yy, pp = (np.repeat(a[:, None].astype(complex), len(places), axis=1) for a in (y, p))
    (yy if by == "y" else pp)[places, np.arange(len(places))] += 1j * STEP
    return np.imag(f(yy, pp)) / STEP


def close(found: Array, exact: Array, relative: float, absolute: Array) -> None:
    off = np.abs(found - exact) - relative * np.abs(exact) - absolute
    worst = np.unravel_index(np.argmax(off), off.shape)
    assert off[worst] <= 0, (worst, found[worst], exact[worst])


def check_against_oracle(model: PatientModel, kernel: Kernel, label: str) -> None:
    given = arguments(model, kernel.lanes, label)
    found = everything(kernel, **given)
    lane = kernel.lanes - 1
    y, p, u = (given[a][:, lane] for a in ("y", "p", "u"))
    n, chosen = kernel.n, [model.parameters.names.index(k) for k in kernel.sensitivities]
    rates, states = oracle(model, [model.rates[k] for k in model.state_names]), list(range(n))
    infused = np.zeros(n)
    for k, entry in enumerate(model.inputs):
        infused[model.state_names.index(entry.state)] += u[k]
    exact = rates(y[:, None], p[:, None])[:, 0]
    jacobian = derivative(rates, y, p, "y", states)
    size = np.abs(exact) + np.abs(jacobian) @ np.abs(y) + np.abs(infused)
    assert np.all(np.abs(found["rhs"][:, lane] - exact - infused) <= 1e-13 * size)
    ours = dense(kernel.jac_rows, kernel.jac_cols, found["jacobian"][:, lane], (n, n))
    close(ours, jacobian, 1e-10, 1e-13 * np.abs(jacobian).max(axis=1, keepdims=True))
    check_solution(jacobian, given["ghinv"][0, lane], given["b"][:, lane], found["solve"][:, lane])
    first = oracle(model, [state.initial for state in model.states])
    np.testing.assert_allclose(found["initial"][:, lane], first(y[:, None], p[:, None])[:, 0], rtol=1e-12)
    seen = oracle(model, list(kernel.outputs))
    np.testing.assert_allclose(found["observe"][:, lane], seen(y[:, None], p[:, None])[:, 0], rtol=1e-12)
    k, o = len(chosen), len(kernel.outputs)
    for f, rows, cols, values, shape, by, places in (
        (rates, kernel.dfdp_rows, kernel.dfdp_cols, found["dfdp"], (n, k), "p", chosen),
        (seen, kernel.observe_jac_rows, kernel.observe_jac_cols, found["observe_jac"], (o, n), "y", states),
        (seen, kernel.observe_dp_rows, kernel.observe_dp_cols, found["observe_dp"], (o, k), "p", chosen),
    ):
        true = derivative(f, y, p, by, places)
        np.testing.assert_allclose(dense(rows, cols, values[:, lane], shape), true, rtol=1e-9,
                                   atol=1e-13 * np.abs(true).max())  # fmt: skip
    by_p = derivative(first, y, p, "p", chosen)
    np.testing.assert_allclose(found["initial_dp"][:, lane].reshape(n, k), by_p, rtol=1e-10, atol=1e-300)


def check_solution(jacobian: Array, ghinv: float, b: Array, x: Array) -> None:
    """Backward error of rounding size, and the solution of LAPACK as far as the condition allows."""
    matrix = ghinv * np.eye(len(b)) - jacobian
    residual = np.abs(matrix @ x - b)
    assert np.all(residual <= 1e-11 * (np.abs(matrix) @ np.abs(x) + np.abs(b)))
    scale = np.abs(matrix).max(axis=1, keepdims=True)  # rows of like size: the condition of the scaled system counts
    theirs = np.linalg.solve(matrix / scale, b / scale[:, 0])
    assert np.abs(x - theirs).max() <= 1e-14 * np.linalg.cond(matrix / scale) * np.abs(theirs).max()


@pytest.mark.parametrize("lanes", [1, 8])
def test_small_model_against_the_oracle(lanes: int) -> None:
    for label in ("a", "b", "c", "d"):
        check_against_oracle(small_model(), small_kernel(lanes), label)


@pytest.fixture(scope="module")
def whole() -> PatientModel:
    return patient_model(("tocilizumab", "dexamethasone", "anakinra"))


def whole_kernel(model: PatientModel, lanes: int = 8) -> Kernel:
    varied = [row.name for row in model.parameters.rows if row.iiv > 0][::12]
    assert len(varied) >= 4
    outputs = ("IL6", "ice_expected", "crs_severity", "qalb_lumbar")
    return compile_kernel(model, lanes=lanes, outputs=outputs, watch=("TEMP", "ice_expected"), sensitivities=varied)


def test_whole_model_against_the_oracle(whole: PatientModel) -> None:
    check_against_oracle(whole, whole_kernel(whole), "whole")


def test_whole_model_against_the_reference_text(whole: PatientModel) -> None:
    kernel = whole_kernel(whole)
    given = arguments(whole, 8, "reference")
    found = call(kernel, "rhs", y=given["y"], q=call(kernel, "prepare", p=given["p"]), u=0 * given["u"])
    reference = numeric.function(whole, [whole.rates[n] for n in whole.state_names])
    rates = oracle(whole, [whole.rates[n] for n in whole.state_names])
    for lane in range(8):
        y, p = given["y"][:, lane], given["p"][:, lane]
        size = np.abs(derivative(rates, y, p, "y", list(range(kernel.n)))) @ np.abs(y)
        exact = np.array(reference(y.tolist(), p.tolist()))
        assert np.all(np.abs(found[:, lane] - exact) <= 1e-13 * (size + np.abs(exact)))


@pytest.mark.parametrize("ghinv", [1e-2, 1.0, 1e3, 1e8])
def test_whole_model_is_solved_without_pivoting(whole: PatientModel, ghinv: float) -> None:
    kernel = whole_kernel(whole)
    given = arguments(whole, 8, "solve") | {"ghinv": np.full((1, 8), ghinv)}
    found = everything(kernel, **given)
    for lane in (0, 5):
        jacobian = dense(kernel.jac_rows, kernel.jac_cols, found["jacobian"][:, lane], (kernel.n, kernel.n))
        check_solution(jacobian, ghinv, given["b"][:, lane], found["solve"][:, lane])


# The cache on disk


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """An empty cache, nothing in memory; grows by one with every module that is compiled."""
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_KERNELS", {})
    count: list[int] = []
    true = llvm.compile_object

    def counted(text: str, *args: Any) -> bytes:
        count.append(len(text))
        return true(text, *args)

    monkeypatch.setattr(llvm, "compile_object", counted)
    return count


def tiny(rate: str = "a*x") -> PatientModel:
    return model_of([rate], "a", names="x")


def rate_of(kernel: Kernel) -> float:
    q = call(kernel, "prepare", p=np.array([3.0]))
    return float(call(kernel, "rhs", y=np.array([2.0]), q=q, u=np.zeros(1))[0, 0])


def forget() -> None:
    kernels._KERNELS.clear()


def test_kernels_are_kept_in_memory_and_on_disk(compiled: list[int]) -> None:
    first = compile_kernel(tiny())
    assert len(compiled) == 1
    assert compile_kernel(tiny()) is first
    assert compile_kernel(tiny().with_parameters({"a": 7.0})) is first  # values are not part of a kernel
    forget()
    second = compile_kernel(tiny())
    assert len(compiled) == 1
    assert second is not first
    for name, value in vars(first).items():
        if name != "functions":
            np.testing.assert_array_equal(getattr(second, name), value, err_msg=name)
    assert second.functions.keys() == first.functions.keys()
    assert rate_of(second) == rate_of(first) == 6.0


def test_what_a_kernel_depends_on_is_in_its_key(compiled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(["a*x", "b*x"], "ab")
    options: list[dict[str, Any]] = [
        {}, {"lanes": 4}, {"outputs": ("x",)}, {"outputs": ("x", "y")}, {"outputs": ("y", "x")}, {"watch": ("x",)},
        {"sensitivities": ("a",)}, {"sensitivities": ("a", "b")}, {"sensitivities": ("b", "a")},
    ]  # fmt: skip
    keys = {compile_kernel(model, **chosen).key for chosen in options}
    keys.add(compile_kernel(model_of(["a*x", "b*y"], "ab")).key)
    assert len(keys) == len(options) + 1 == len(compiled)
    monkeypatch.setattr(kernels, "_surroundings", lambda: "another processor")
    assert compile_kernel(model).key not in keys


@pytest.mark.parametrize("kind", ["empty", "header", "half", "last byte", "flipped", "foreign", "other", "folder"])
def test_bad_files_in_the_cache_are_replaced(compiled: list[int], tmp_path: Path, kind: str) -> None:
    kernel = compile_kernel(tiny())
    path = tmp_path / "kernels" / f"{kernel.key}.kernel"
    good = path.read_bytes()
    if kind == "other":  # whole and undamaged, but another model's
        forget()
        compiled.clear()
        other = compile_kernel(tiny("-a*x"))
        path.write_bytes((tmp_path / "kernels" / f"{other.key}.kernel").read_bytes())
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 0x10
        path.write_bytes({"empty": b"", "header": good[:20], "half": good[: len(good) // 2], "last byte": good[:-1],
                          "flipped": bytes(flipped), "foreign": b"PK\x03\x04" + good}[kind])  # fmt: skip
    forget()
    compiled.clear()
    assert rate_of(compile_kernel(tiny())) == 6.0
    assert len(compiled) == 1
    if kind != "folder":
        assert kernels._stored(kernel.key) is not None
    assert not [f for f in path.parent.iterdir() if f.name.startswith(".")]


def test_a_cache_that_cannot_be_written_is_no_error(
    compiled: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path / "file"))
    assert rate_of(compile_kernel(tiny())) == 6.0
    forget()
    assert rate_of(compile_kernel(tiny())) == 6.0
    assert len(compiled) == 2


def test_the_cache_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert kernels.cache_folder().name == "kernels"
    monkeypatch.delenv("ICANS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.cache_folder().name == "kernels"
    assert "icans" in str(kernels.cache_folder())


def test_from_the_cache_without_sympy(whole: PatientModel) -> None:
    kernel = whole_kernel(whole)
    chosen = {"outputs": kernel.outputs, "watch": kernel.watched, "sensitivities": kernel.sensitivities, "lanes": 8}
    program = f"""
import json, sys
from icans.mechanism.engine import kernel, llvm
from icans.mechanism.patient import patient_model
def refuse(*args): raise AssertionError("compiled again")
llvm.compile_object = refuse
made = kernel.compile_kernel(patient_model({[d.name for d in whole.drugs]!r}), **json.loads({json.dumps(chosen)!r}))
print(json.dumps([made.key, "sympy" in sys.modules, "numba" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [kernel.key, False, False]


# Refusals


def test_unknown_names_are_all_told_with_near_ones() -> None:
    with pytest.raises(ModelError) as caught:
        compile_kernel(small_model(), lanes=3, outputs=("IL66", "IL6"), watch=("TEMPO",), sensitivities=("rhoo", "IL6"))
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    for part in ("'IL66'", "'IL6'", "TEMPO", "'TEMP'", "rhoo", "'rho'", "lanes", "1, 2, 4, 8 or 16"):
        assert part in text or part.strip("'") in text, part


@pytest.mark.parametrize("lanes", [0, -1, 3, 5, 32, 2.5])
def test_other_numbers_of_lanes_are_refused(lanes: Any) -> None:
    with pytest.raises(ModelError, match="1, 2, 4, 8 or 16"):
        compile_kernel(small_model(), lanes=lanes)
