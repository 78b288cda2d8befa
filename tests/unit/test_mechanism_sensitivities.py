"""Derivatives by parameters: the method's coefficients and order, its linear algebra, the patient model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose

from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose
from icans.mechanism.engine import blocks, layout
from icans.mechanism.engine.kernel import compile_kernel
from icans.mechanism.engine.sdirk import conditions, sdirk
from icans.mechanism.engine.simulate import Control, simulate
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.mechanism.patient import patient_model

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_model

METHOD = sdirk()


def test_coefficients_have_order_5_and_stage_order_2() -> None:
    b = METHOD.a[-1]
    for order, below, vector in conditions(METHOD.a, METHOD.c):
        assert b @ vector == pytest.approx(1 / below, abs=1e-15), (order, below)
    assert_allclose(METHOD.a @ METHOD.c, METHOD.c**2 / 2, atol=1e-15)
    assert_allclose(METHOD.a[2:, 0], METHOD.a[2:, 1], atol=1e-16)  # what the elimination of Z rests on
    assert METHOD.c[-1] == pytest.approx(1.0, abs=1e-15)
    # L-stable: the result for S' = z S falls to nothing as z goes to minus infinity.
    one = np.ones(len(b))
    grown = [abs(1 + z * b @ np.linalg.solve(np.eye(len(b)) - z * METHOD.a, one)) for z in (-1e4, -1e8)]
    assert grown[0] < 1e-2
    assert grown[1] < 1e-6
    along = [abs(1 + z * b @ np.linalg.solve(np.eye(len(b)) - z * METHOD.a, one)) for z in 1j * np.logspace(-3, 4, 400)]
    assert max(along) <= 1 + 1e-9  # A-stable


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.83, 1.0])
def test_between_steps_the_order_is_4(t: float) -> None:
    """Stages whose rates are those of exact polynomials: the value between steps is exact up to t^4."""
    for power in range(5):
        values = METHOD.times**power  # W where S = t^power; S at 0 is 1 for power 0
        weights = METHOD.dense @ t ** np.arange(1, 6)
        start = 1.0 if power == 0 else 0.0
        assert (1 + weights[0]) * start + weights[1:] @ values == pytest.approx(t**power, abs=2e-13 if power < 3 else 1)
    ends = METHOD.dense.sum(axis=1)
    assert_allclose(ends, [-1, 0, 0, 0, 0, 0, 1], atol=1e-10)  # at the end of the step the last stage


def one_state(rate: str, **values: float) -> PatientModel:
    m = Builder()
    m.module("one", "One")
    m.state("X", "1", "x", initial="start")
    m.flow("X", rate)
    table = ParameterTable(tuple(Parameter(n, v, "1", n, "one", lower=-100.0) for n, v in values.items()))
    return assemble(m, table, "one")


def test_observed_order_at_steps_and_between_them() -> None:
    """Logistic growth, whose derivatives are known."""
    model = one_state("r*X*(1 - X)", r=1.3, start=0.1)
    times = np.linspace(0.0, 6.0, 31)  # every fifth at a step of the longest kind

    def errors(h: float) -> tuple[float, float]:
        found = simulate(model, None, (), times, control=Control("rodas5p", fixed=h), sensitivities=("r", "start"))
        e = np.exp(1.3 * times)
        below = 0.9 + 0.1 * e
        exact = np.stack([0.1 * 0.9 * times * e / below**2, e / below**2], axis=1)
        assert found.derivatives is not None
        off = np.abs(found.derivatives[0, :, 0, :] - exact)
        return float(off[::5].max()), float(off.max())

    coarse, fine = errors(1.0), errors(0.25)
    assert np.log2(coarse[0] / fine[0]) / 2 > 4.5
    assert np.log2(coarse[1] / fine[1]) / 2 > 4.0


def test_a_stiff_rate_leaves_no_trace() -> None:
    """Rates 1e6 times as fast as the steps: the derivative is that of the state at rest."""
    found = simulate(one_state("k*(level - X)", k=1e6, level=3.0, start=0.0), None, (), [0.0, 10.0, 100.0],
                     sensitivities=("k", "level", "start"))  # fmt: skip
    assert found.derivatives is not None
    assert_allclose(found.derivatives[0, 1:, 0, 1], 1.0, rtol=1e-6)
    assert np.abs(found.derivatives[0, 1:, 0, [0, 2]]).max() < 1e-9


@pytest.mark.parametrize(("lanes", "directions"), [(1, 3), (1, 10), (4, 1), (4, 7), (8, 5)])
def test_many_right_hand_sides_give_the_bits_of_one(lanes: int, directions: int) -> None:
    """Against the kernel's own ``solve``, and products against a dense matrix."""
    model = patient_model(brain=False)
    names = [r.name for r in model.parameters.rows if r.iiv > 0][:directions]
    kernel = compile_kernel(model, lanes=lanes, outputs=("IL6",), sensitivities=names)
    assert kernel.apart > 0  # some definition is an unknown of the system
    patterns, rng = layout.make_patterns(kernel, []), np.random.default_rng(8)
    by, wide = layout.row_size(lanes, directions), max(lanes, blocks.SIDE)
    rows, nlu, nnz = kernel.n + kernel.apart, kernel.nlu, kernel.nnz
    at_b = layout.padded((nlu + kernel.apart) * lanes)
    at_out, at_jac = at_b + layout.padded(rows * by), at_b + 2 * layout.padded(rows * by)
    work = np.zeros(at_jac + nnz * lanes + 64)
    work[: nlu * lanes] = rng.normal(size=nlu * lanes) * 0.1
    work[at_jac : at_jac + nnz * lanes] = rng.normal(size=nnz * lanes)
    b = rng.normal(size=(kernel.n, directions, lanes))
    block = np.zeros((rows, by))
    block[: kernel.n, : directions * lanes] = b.reshape(kernel.n, -1)
    work[at_b : at_b + rows * by] = block.ravel()
    solve = {1: blocks.solve_rows_1, 4: blocks.solve_rows_4, 8: blocks.solve_rows_8}[lanes]
    product = {1: blocks.product_rows_1, 4: blocks.product_rows_4, 8: blocks.product_rows_8}[lanes]
    starts, diagonal, cols, order = patterns.lu_starts, patterns.lu_diagonal, patterns.lu_cols, patterns.lu_order
    jac_starts, jac_cols = patterns.jac_starts, patterns.jac_cols
    most = blocks.AT_ONCE_8 if lanes == 8 else blocks.AT_ONCE

    @njit
    def run(ws):  # type: ignore[no-untyped-def]
        for first in range(0, by // wide, most):
            count = min(most, by // wide - first)
            product(ws, at_jac, at_b + first * wide, at_out + first * wide, count, by, jac_starts, jac_cols)
            solve(ws, 0, at_b + first * wide, count, by, starts, diagonal, cols, order)

    from kernel_calls import call

    run(work)
    found = work[at_b : at_b + kernel.n * by].reshape(kernel.n, by)[:, : directions * lanes]
    lu = work[: nlu * lanes].reshape(nlu, lanes)
    for d in range(directions):
        alone = call(kernel, "solve", lu=lu, b=b[:, d])
        np.testing.assert_array_equal(found[:, d * lanes : (d + 1) * lanes], alone)
    times = work[at_out : at_out + kernel.n * by].reshape(kernel.n, by)
    for lane in range(lanes):
        matrix = np.zeros((kernel.n, kernel.n))
        matrix[kernel.jac_rows, kernel.jac_cols] = work[at_jac + lane : at_jac + nnz * lanes : lanes]
        assert_allclose(times[:, lane : directions * lanes : lanes], matrix @ b[:, :, lane], atol=1e-12)


def test_patient_model_agrees_with_central_differences_at_the_usual_tolerance() -> None:
    model = patient_model(brain=False)
    by, outputs = ("crp_rise", "car_memory", "fever_il6_half", "mye_decay"), ("IL6", "CRP", "CAR_E", "FERRITIN", "TEMP")
    doses, times = [Dose(0, "car_t", 1e8, "cells")], np.arange(12.0, 361.0, 12.0)
    found = simulate(model, None, doses, times, outputs=outputs, sensitivities=by)
    assert found.derivatives is not None
    base = model.parameters.values_array()
    for j, name in enumerate(by):
        step = 1e-3 * model.parameters[name].value
        moved = np.tile(base, (4, 1))
        moved[:, model.parameters.place(name)] += step * np.array([1, -1, 2, -2])
        f = simulate(model, moved, doses, times, outputs=outputs, rtol=1e-12).values
        slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * step)
        error = np.abs(found.derivatives[0, :, :, j] - slope).max(axis=0)
        least = 1e-3 * np.abs(f[0]).max(axis=0) / model.parameters[name].value  # 1 % more changes it by 1e-5
        size = np.maximum(np.abs(slope).max(axis=0), least)
        assert (error <= 2e-5 * size).all(), (name, error / size)


def test_derivatives_change_smoothly_with_parameters() -> None:
    """What optimisers need: along a line, derivatives follow a parabola to far below their own size."""
    model = small_model()
    values = np.tile(model.parameters.values_array(), (41, 1))
    place = model.parameters.place("rho")
    values[:, place] *= 1 + 1e-5 * np.linspace(-1, 1, 41)
    found = simulate(model, values, [Dose(0, "car_t", 50, "1e6 cells")], [60.0, 110.0], outputs=("IL6",),
                     sensitivities=("rho", "gam"))  # fmt: skip
    assert found.derivatives is not None
    x = np.linspace(-1, 1, 41)
    for slopes in found.derivatives.reshape(41, -1).T:
        rest = slopes - np.polynomial.Polynomial.fit(x, slopes, 2)(x)
        assert np.abs(rest).max() <= 1e-5 * np.abs(slopes).max()
