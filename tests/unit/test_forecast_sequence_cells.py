"""Cells against independent computations: other libraries' cells, closed forms, what must not matter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from icans.core.random import stream
from icans.forecast.sequence.batch import STEPS, Batch
from icans.forecast.sequence.cells import (
    CAUSAL,
    CELLS,
    Shape,
    attention,
    bidirectional,
    cde,
    cell,
    gru,
    grud,
    step_inputs,
    tcn,
)
from icans.forecast.sequence.engine import NUMPY, jax_engine, single_precision

jax = pytest.importorskip("jax")

N, T, C, E, H = 5, 7, 3, 2, 6
SHAPE = Shape(C, E, H)
#: Fast to compile, slow to run.
FAST = {"xla_backend_optimization_level": 0}


def made(steps: int = T, seed: int = 1) -> Batch:
    """Rows of different lengths with random content (synthetic), filled at the front."""
    rng = stream(seed, "cells", steps)
    length = rng.integers(2, steps + 1, N)
    length[0] = steps
    valid = (np.arange(steps) >= steps - length[:, None]).astype(np.float32)
    before = np.sort(rng.uniform(0, 3, (N, steps)), axis=1)[:, ::-1]
    arrays = {
        "filled": rng.normal(size=(N, steps, C)),
        "mask": rng.integers(0, 2, (N, steps, C)),
        "gap": rng.uniform(0, 2, (N, steps, C)),
        "clock": np.stack([rng.uniform(0, 1, (N, steps)), before], axis=2),
    }
    real = {name: (value * valid[:, :, None]).astype(np.float32) for name, value in arrays.items()}
    rows = {
        "last_gap": rng.uniform(0, 2, (N, C)),
        "context": rng.normal(size=(N, 2)),
        "experts": rng.normal(size=(N, E)),
    }
    return Batch(**real, valid=valid, **{name: value.astype(np.float32) for name, value in rows.items()})


def longer(batch: Batch, by: int = 3) -> Batch:
    """The same rows behind further filling at the front."""
    wider = {}
    for name in STEPS:
        old = getattr(batch, name)
        wider[name] = np.concatenate([np.zeros((len(old), by, *old.shape[2:]), dtype=np.float32), old], axis=1)
    return replace(batch, **wider)


def summary(name: str, batch: Batch, seed: int = 2) -> np.ndarray:
    params = cell(name).init(stream(seed, name), SHAPE)
    return np.asarray(cell(name).summary(NUMPY, params, batch.arrays()))


@pytest.mark.parametrize("name", CELLS)
def test_filling_at_the_front_changes_nothing(name):
    batch = made()
    assert summary(name, longer(batch)) == pytest.approx(summary(name, batch), abs=2e-6)


@pytest.mark.parametrize("name", CELLS)
def test_numpy_and_jax_agree(name):
    batch = made()
    params = cell(name).init(stream(2, name), SHAPE)
    with single_precision():
        compiled = jax.jit(partial(cell(name).summary, jax_engine()), compiler_options=FAST)
        theirs = compiled(params, batch.arrays())
    assert np.asarray(theirs) == pytest.approx(summary(name, batch), abs=2e-6)
    assert theirs.shape == (N, cell(name).width(SHAPE))


@pytest.mark.parametrize("name", CELLS)
def test_what_was_measured_matters_and_the_rows_do_not_mix(name):
    batch = made()
    filled = batch.filled.copy()
    mask = batch.mask.copy()
    filled[2, -1] += 1.0
    mask[2, -1] = 1.0
    before, after = (summary(name, replace(batch, mask=mask, filled=f)) for f in (batch.filled, filled))
    same = np.arange(N) != 2
    assert np.array_equal(before[same], after[same]) or before[same] == pytest.approx(after[same], abs=1e-6)
    assert np.abs(before[2] - after[2]).max() > 1e-3


@pytest.mark.parametrize("name", CELLS)
def test_expert_columns_enter_the_encoder(name):
    batch = made()
    changed = replace(batch, experts=batch.experts + 1.0)
    assert np.abs(summary(name, batch) - summary(name, changed)).max() > 1e-3


def equinox_states(kind: str, params: dict, inputs: np.ndarray) -> np.ndarray:
    """Hidden state after each step of one row by equinox."""
    import equinox as eqx

    width, blocks = inputs.shape[1], 3 if kind == "gru" else 4
    made_cell = (eqx.nn.GRUCell if kind == "gru" else eqx.nn.LSTMCell)(width, H, key=jax.random.PRNGKey(0))
    # Order of gates: (reset, update, new) and (in, forget, cell, out) there; (update, reset, new) and (in, forget,
    # out, cell) here. Their candidate keeps the old state with the update gate: ours is its complement.
    order = [1, 0, 2] if kind == "gru" else [0, 1, 3, 2]
    sign = np.repeat([1.0, -1.0, 1.0] if kind == "gru" else np.ones(4), H)
    parts = {}
    for ours, theirs in ((params["in"]["w"], "weight_ih"), (params["back"], "weight_hh")):
        block = np.split(ours, blocks, axis=1)
        parts[theirs] = np.concatenate([block[k] for k in order], axis=1).T * sign[:, None]
    bias = np.concatenate([np.split(params["in"]["b"], blocks)[k] for k in order]) * sign
    where = lambda c: (c.weight_ih, c.weight_hh, c.bias)  # noqa: E731
    made_cell = eqx.tree_at(where, made_cell, (*map(np.float32, parts.values()), bias.astype(np.float32)))
    if kind == "gru":
        made_cell = eqx.tree_at(lambda c: c.bias_n, made_cell, np.zeros(H, np.float32))

    def run(steps):
        state = jax.numpy.zeros(H) if kind == "gru" else (jax.numpy.zeros(H), jax.numpy.zeros(H))
        for x in steps:
            state = made_cell(x, state)
        return state if kind == "gru" else state[0]

    return np.asarray(jax.jit(run, compiler_options=FAST)(inputs.astype(np.float32)))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_cells_are_those_of_equinox(kind):
    pytest.importorskip("equinox")
    batch = made(2)
    params = cell(kind).init(stream(2, kind), SHAPE)
    inputs = step_inputs(NUMPY, batch.arrays(), "filled", "mask", "gap")
    with single_precision():
        expected = equinox_states(kind, params, inputs[0])  # row 0 has no filling
    assert summary(kind, batch)[0] == pytest.approx(expected, abs=2e-6)


def test_gru_d_without_gaps_is_a_gru_on_values_and_masks():
    batch = made()
    still = replace(batch, gap=np.zeros_like(batch.gap), last_gap=np.zeros_like(batch.last_gap))
    params = grud.init(stream(2, "grud"), SHAPE)
    inputs = np.concatenate(
        [still.filled, still.mask, still.clock, np.repeat(still.experts[:, None], T, axis=1)], axis=2
    )
    expected = gru.states(NUMPY, {"in": params["in"], "back": params["back"]}, inputs, still.valid)[:, -1]
    found = grud.summary(NUMPY, params, still.arrays())
    assert found[:, :H] == pytest.approx(expected, abs=1e-6)
    assert found[:, H:] == pytest.approx(still.filled[:, -1], abs=1e-6)


def test_gru_d_forgets_values_with_time():
    batch = made()
    late = replace(batch, last_gap=np.full_like(batch.last_gap, 50.0))
    params = grud.init(stream(2, "grud"), SHAPE)
    assert np.abs(grud.summary(NUMPY, params, late.arrays())[:, H:]).max() < 1e-5


def test_convolutions_see_31_steps_and_no_more():
    batch = made(40)
    full = np.flatnonzero(batch.lengths == 40)
    for steps_back, seen in ((30, True), (31, False)):
        filled = batch.filled.copy()
        filled[:, 39 - steps_back] += 5.0
        params = tcn.init(stream(2, "tcn"), SHAPE)
        a, b = (tcn.summary(NUMPY, params, replace(batch, filled=f).arrays())[full] for f in (batch.filled, filled))
        assert bool(np.abs(a - b).max() > 1e-7) is seen


def test_attention_does_not_depend_on_the_order_of_steps():
    batch = made()
    order = stream(3, "order").permutation(T)
    shuffled = replace(batch, **{name: getattr(batch, name)[:, order] for name in STEPS})
    params = attention.init(stream(2, "attention"), SHAPE)
    a, b = (attention.summary(NUMPY, params, x.arrays()) for x in (batch, shuffled))
    assert a == pytest.approx(b, abs=1e-5)


def test_attention_at_one_measurement_gives_its_value():
    """Alone, a measurement is what every reference time sees, wherever it lies."""
    batch = made()
    mask = np.zeros_like(batch.mask)
    mask[:, -2, 0] = 1.0
    params = attention.init(stream(2, "attention"), SHAPE)
    params["sum"]["w"][:] = 0.0
    params["sum"]["w"][0, 0] = 1.0  # reference time 0, channel 0
    found = attention.summary(NUMPY, params, replace(batch, mask=mask).arrays())[:, 0]
    assert np.arctanh(found) == pytest.approx(batch.filled[:, -2, 0], abs=2e-4)


def test_heun_converges_with_the_second_order():
    params = cde.init(stream(2, "cde"), SHAPE)
    start = np.float64(stream(4, "start").normal(size=(N, H)))
    moves = stream(4, "moves").normal(size=(4, N, cde.CONTROLS)) * 0.3
    params = {k: {n: np.float64(v) for n, v in layer.items()} for k, layer in params.items()}
    truth = cde.solve(NUMPY, params, start, moves, substeps=256)
    error = [np.abs(cde.solve(NUMPY, params, start, moves, substeps=k) - truth).max() for k in (8, 16)]
    assert np.log2(error[0] / error[1]) == pytest.approx(2.0, abs=0.25)


def test_controlled_equation_is_that_of_scipy():
    from scipy.integrate import solve_ivp

    params = cde.init(stream(2, "cde"), SHAPE)
    start = stream(4, "start").normal(size=(1, H)).astype(np.float32)
    moves = (stream(4, "moves").normal(size=(3, 1, cde.CONTROLS)) * 0.3).astype(np.float32)

    def speed(t, z, move):
        hidden = np.tanh(params["inner"]["w"].T @ z + params["inner"]["b"])
        return np.tanh(params["field"]["w"].T @ hidden + params["field"]["b"]).reshape(H, cde.CONTROLS) @ move

    z = start[0].astype(float)
    for move in moves[:, 0].astype(float):
        z = solve_ivp(speed, (0.0, 1.0), z, args=(move,), rtol=1e-9, atol=1e-9).y[:, -1]
    assert cde.solve(NUMPY, params, start, moves, substeps=64)[0] == pytest.approx(z, abs=1e-5)


def test_both_directions_know_the_newest_step_at_the_oldest():
    batch = made()
    params = bidirectional.init(stream(2, "both"), SHAPE)
    filled = batch.filled.copy()
    filled[0, -1] += 1.0
    a, b = (bidirectional.states(NUMPY, params, replace(batch, filled=f).arrays()) for f in (batch.filled, filled))
    assert np.array_equal(a[0, 0, :H], b[0, 0, :H])
    assert np.abs(a[0, 0, H:] - b[0, 0, H:]).max() > 1e-4


@pytest.mark.parametrize("name", CAUSAL)
def test_an_empty_record_is_allowed(name):
    batch = made()
    none = {n: np.zeros_like(getattr(batch, n)) for n in STEPS}
    assert np.isfinite(summary(name, replace(batch, **none))).all()
