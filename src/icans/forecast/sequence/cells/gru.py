"""Gated recurrent unit (Cho 2014, arXiv 1406.1078) on newest values, masks, gaps, clocks and expert columns."""

from __future__ import annotations

import numpy as np

from icans.forecast.sequence.cells import Shape, by_time, step_inputs
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init, orthogonal, sigmoid


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters."""
    return unit_init(rng, shape.step, shape.hidden)


def unit_init(rng: np.random.Generator, inputs: int, hidden: int) -> Params:
    """A unit for inputs of any width."""
    return {"in": dense_init(rng, inputs, 3 * hidden), "back": orthogonal(rng, hidden, 3)}


def unit(engine: Engine, params: Params, hidden: Tensor, projected: Tensor) -> Tensor:
    """One step: update gate, reset gate, candidate; ``projected`` are the inputs behind their weights."""
    xp, size = engine.xp, hidden.shape[1]
    back = hidden @ params["back"]
    update = sigmoid(xp, projected[:, :size] + back[:, :size])
    reset = sigmoid(xp, projected[:, size : 2 * size] + back[:, size : 2 * size])
    candidate = xp.tanh(projected[:, 2 * size :] + reset * back[:, 2 * size :])
    return (1.0 - update) * hidden + update * candidate


def states(engine: Engine, params: Params, inputs: Tensor, valid: Tensor, *, reverse: bool = False) -> Tensor:
    """Hidden state after each step, shape (n, T, H); steps that are filling leave it as it is."""
    xp = engine.xp
    projected, real = by_time(engine, dense(params["in"], inputs), valid[:, :, None])
    if reverse:
        projected, real = projected[::-1], real[::-1]

    def step(hidden: Tensor, x: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        new = x[1] * unit(engine, params, hidden, x[0]) + (1.0 - x[1]) * hidden
        return new, new

    start = xp.zeros((valid.shape[0], params["back"].shape[0]), dtype=projected.dtype)
    _, made = engine.scan(step, start, (projected, real))
    return xp.swapaxes(made[::-1] if reverse else made, 0, 1)


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Hidden state after the newest step, shape (n, H)."""
    return states(engine, params, step_inputs(engine, batch, "filled", "mask", "gap"), batch["valid"])[:, -1]
