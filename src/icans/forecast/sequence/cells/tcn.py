"""Temporal convolutional network (Bai 2018, arXiv 1803.01271): causal, dilated, residual."""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.forecast.sequence.cells import Shape, step_inputs
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init, relu

#: Steps back of the second and third tap in each layer: together 1 + 2 * (1 + 2 + 4 + 8) = 31 steps are seen.
DILATIONS = (1, 2, 4, 8)
TAPS = 3


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters."""
    params: Params = {"in": dense_init(rng, shape.step, shape.hidden)}
    for d in DILATIONS:
        params[f"at{d}"] = dense_init(rng, TAPS * shape.hidden, shape.hidden)
    return params


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Activations at the newest step, shape (n, H)."""
    xp = engine.xp
    valid = batch["valid"][:, :, None]
    x = dense(params["in"], step_inputs(engine, batch, "filled", "mask", "gap")) * valid
    for d in DILATIONS:
        taps = xp.concatenate([_back(xp, x, k * d) for k in range(TAPS)], axis=2)
        # Filling at the front stays zero, so that a shorter window gives the same result.
        x = (x + relu(xp, dense(params[f"at{d}"], taps))) * valid
    return xp.tanh(x[:, -1])


def _back(xp: Any, x: Tensor, steps: int) -> Tensor:
    """The sequence as it was some steps earlier, zero before its start."""
    if steps == 0:
        return x
    kept = max(x.shape[1] - steps, 0)
    front = xp.zeros((x.shape[0], x.shape[1] - kept, x.shape[2]), dtype=x.dtype)
    return xp.concatenate([front, x[:, :kept]], axis=1)
