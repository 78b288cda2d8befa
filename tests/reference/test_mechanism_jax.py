"""JAX functions of the model against the slow reference, and JAX's Jacobian against sympy's derivatives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from icans.core.random import stream
from icans.mechanism.emit.jax_rhs import jax_initial, jax_rates, jax_values
from icans.mechanism.model import PatientModel
from icans.mechanism.patient import patient_model
from icans.mechanism.reference import initial, rates

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_model

jax = pytest.importorskip("jax")

MODELS = {"small": small_model, "patient": lambda: patient_model(["tocilizumab", "dexamethasone"])}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PatientModel:
    return MODELS[request.param]()


@pytest.fixture(autouse=True)
def _double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def point(model: PatientModel, key: str) -> tuple[np.ndarray, np.ndarray]:
    """States and parameters of a patient in the middle of a course (synthetic)."""
    rng = stream(5, "jax", key)
    p = model.parameters.values_array()
    varies = np.array([row.transform == "log" and row.iiv > 0 for row in model.parameters.rows])
    p = np.where(varies, p * np.exp(0.1 * rng.normal(size=p.size)), p)
    y = initial(model, p)
    return (np.abs(y) + 0.01) * rng.uniform(0.6, 1.8, y.size), p


def test_rates_and_initial_states(model: PatientModel) -> None:
    y, p = point(model, "rates")
    np.testing.assert_allclose(jax_initial(model)(p), initial(model, p), rtol=1e-12)
    expected = rates(model, y, p)
    compiled = jax.jit if len(y) < 50 else lambda f: f  # the patient model takes XLA ten seconds and more
    np.testing.assert_allclose(compiled(jax_rates(model))(y, p, 0.0), expected, rtol=1e-9, atol=1e-9)
    infused = np.zeros(len(model.inputs))
    infused[0] = 2.5
    changed = jax_rates(model)(y, p, infused) - expected
    assert changed[model.state_names.index(model.inputs[0].state)] == pytest.approx(2.5)


def test_patients_side_by_side() -> None:
    model = small_model()
    pairs = [point(model, f"batch {i}") for i in range(4)]
    y, p = (np.stack(part, axis=1) for part in zip(*pairs))
    together = jax_rates(model)(y, p, 0.0)
    for column, (one, row) in zip(np.asarray(together).T, pairs):
        np.testing.assert_allclose(column, rates(model, one, row), rtol=1e-12)


def test_directional_derivatives_are_those_of_the_kernel(model: PatientModel) -> None:
    import ctypes

    from icans.mechanism.engine.kernel import compile_kernel

    kernel = compile_kernel(model, lanes=1)
    y, p = point(model, "kernel")
    direction = stream(5, "direction").normal(size=y.size) * (np.abs(y) + 0.1)
    q, u, jv = np.zeros(kernel.nq), np.zeros(max(len(kernel.inputs), 1)), np.zeros(kernel.nnz)

    def call(name: str, *arrays: np.ndarray) -> None:
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(kernel.address(name))
        function(*[a.ctypes.data for a in arrays])

    call("prepare", p, q)
    call("jacobian", y, q, u, jv)
    ours, size = np.zeros(kernel.n), np.zeros(kernel.n)
    np.add.at(ours, kernel.jac_rows, jv * direction[kernel.jac_cols])
    np.add.at(size, kernel.jac_rows, np.abs(jv * direction[kernel.jac_cols]))
    theirs = np.asarray(jax.jvp(lambda s: jax_rates(model)(s, p, 0.0), (y,), (direction,))[1])
    assert (np.abs(theirs - ours) <= 1e-10 * size + 1e-14).all()


def test_jacobian_is_that_of_sympy() -> None:
    import sympy as sp

    from icans.mechanism.expressions import pos, power, safe_log, step, symbol

    model = small_model()
    y, p = point(model, "jacobian")
    theirs = np.asarray(jax.jacfwd(jax_rates(model))(y, p, 0.0))
    expressions = dict(model.symbolic.rates)
    for d in reversed(model.definitions):
        swap = {symbol(d.name): model.symbolic.definitions[d.name]}
        expressions = {name: e.subs(swap) for name, e in expressions.items()}
    names = [symbol(n) for n in (*model.state_names, *model.parameters.names)]
    functions = {"power": lambda x, n: x**n if x > 0 else 0.0, "pos": lambda x: max(x, 0.0),
                 "step": lambda x: float(x > 0), "safe_log": np.log}  # fmt: skip
    assert {f.__name__ for f in (power, pos, step, safe_log)} == functions.keys()
    matrix = sp.Matrix([[sp.diff(expressions[a], symbol(b)) for b in model.state_names] for a in model.state_names])
    ours = np.array(sp.lambdify(names, matrix, modules=[functions, "numpy"])(*y, *p), dtype=float)
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-12)


def test_derivatives_are_finite_where_guarded_functions_are_zero() -> None:
    model = small_model()
    y, p = initial(model), model.parameters.values_array()
    assert y[model.state_names.index("CAR_E")] == 0
    assert np.isfinite(jax.jacfwd(jax_rates(model))(y, p, 0.0)).all()


def test_definitions_by_name(model: PatientModel) -> None:
    y, p = point(model, "names")
    names = [model.definitions[-1].name, model.state_names[0]]
    values = jax_values(model, names)(y, p)
    assert values.shape == (2,)
    assert values[1] == y[0]
