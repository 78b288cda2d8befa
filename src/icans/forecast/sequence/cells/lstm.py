"""Long short-term memory (Hochreiter 1997, doi 10.1162/neco.1997.9.8.1735) on the inputs of the GRU."""

from __future__ import annotations

import numpy as np

from icans.forecast.sequence.cells import Shape, by_time, step_inputs
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init, orthogonal, sigmoid


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters; the forget gate starts open (offset 1: Jozefowicz 2015)."""
    params: Params = {"in": dense_init(rng, shape.step, 4 * shape.hidden), "back": orthogonal(rng, shape.hidden, 4)}
    params["in"]["b"][shape.hidden : 2 * shape.hidden] = 1.0
    return params


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Hidden state after the newest step, shape (n, H)."""
    xp, size = engine.xp, params["back"].shape[0]
    inputs = step_inputs(engine, batch, "filled", "mask", "gap")
    projected, real = by_time(engine, dense(params["in"], inputs), batch["valid"][:, :, None])

    def step(carry: tuple[Tensor, Tensor], x: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], None]:
        hidden, memory = carry
        gates = x[0] + hidden @ params["back"]
        enter, keep, leave = (sigmoid(xp, gates[:, k * size : (k + 1) * size]) for k in range(3))
        new = keep * memory + enter * xp.tanh(gates[:, 3 * size :])
        shown = leave * xp.tanh(new)
        return (x[1] * shown + (1.0 - x[1]) * hidden, x[1] * new + (1.0 - x[1]) * memory), None

    zero = xp.zeros((inputs.shape[0], size), dtype=projected.dtype)
    (hidden, _), _ = engine.scan(step, (zero, zero), (projected, real))
    return hidden
