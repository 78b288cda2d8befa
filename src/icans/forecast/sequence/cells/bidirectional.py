"""Two GRUs over a whole record, one forward, one backward (Schuster 1997, doi 10.1109/78.650093).

For smoothing and for naming what a whole stay was (phenotypes). What comes later is used to judge what came before, so
no forecast is made with it: the model that forecasts refuses this cell.
"""

from __future__ import annotations

import numpy as np

from icans.forecast.sequence.cells import Shape, gru, step_inputs
from icans.forecast.sequence.engine import Engine, Params, Tensor


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters."""
    return {"forward": gru.init(rng, shape), "backward": gru.init(rng, shape)}


def width(shape: Shape) -> int:
    """Both hidden states."""
    return 2 * shape.hidden


def states(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Both hidden states at each step, shape (n, T, 2 H): what is known of that step from both sides."""
    inputs = step_inputs(engine, batch, "filled", "mask", "gap")
    forward = gru.states(engine, params["forward"], inputs, batch["valid"])
    backward = gru.states(engine, params["backward"], inputs, batch["valid"], reverse=True)
    return engine.xp.concatenate([forward, backward], axis=2)


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Both hidden states averaged over the steps of a record, shape (n, 2 H)."""
    xp = engine.xp
    real = batch["valid"][:, :, None]
    made = states(engine, params, batch)
    return xp.sum(made * real, axis=1) / xp.maximum(xp.sum(real, axis=1), 1.0)
