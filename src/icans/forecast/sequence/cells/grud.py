"""GRU-D (Che 2018, doi 10.1038/s41598-018-24271-9): what was measured long ago counts less.

Between measurements the newest value of a channel decays to its mean (0 here) and the hidden state decays to 0, each at
a rate learned from the gaps. Gaps come as ln(1 + t / scale), so decay is a power of time, which holds for hours as for
years. Behind the newest step, values and hidden state decay on to the landmark.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.forecast.sequence.cells import Shape, by_time, step_inputs
from icans.forecast.sequence.cells.gru import unit, unit_init
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init, relu


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters: values keep about half after ln(1 + t / scale) = 1."""
    c, h = shape.channels, shape.hidden
    params = unit_init(rng, 2 * c + 2 + shape.experts, h)
    fade = {"w": np.full(c, 0.3, dtype=np.float32), "b": np.zeros(c, dtype=np.float32)}
    forget = dense_init(rng, c, h, 0.3)
    return params | {"fade": fade, "forget": forget}


def width(shape: Shape) -> int:
    """The hidden state and the decayed values, both at the landmark."""
    return shape.hidden + shape.channels


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """Hidden state and values, decayed to the landmark, shape (n, H + C)."""
    xp = engine.xp
    shown = batch["mask"] * batch["filled"] + (1.0 - batch["mask"]) * _faded(xp, params, batch["filled"], batch["gap"])
    inputs = step_inputs(engine, batch | {"shown": shown}, "shown", "mask")
    decay = xp.exp(-relu(xp, dense(params["forget"], batch["gap"])))
    projected, real, kept = by_time(engine, dense(params["in"], inputs), batch["valid"][:, :, None], decay)

    def step(hidden: Tensor, x: tuple[Tensor, ...]) -> tuple[Tensor, None]:
        new = unit(engine, params, x[2] * hidden, x[0])
        return x[1] * new + (1.0 - x[1]) * hidden, None

    start = xp.zeros((inputs.shape[0], params["back"].shape[0]), dtype=projected.dtype)
    hidden, _ = engine.scan(step, start, (projected, real, kept))
    hidden = hidden * xp.exp(-relu(xp, dense(params["forget"], batch["last_gap"])))
    newest = batch["filled"][:, -1]
    return xp.concatenate([hidden, _faded(xp, params, newest, batch["last_gap"])], axis=1)


def _faded(xp: Any, params: Params, value: Tensor, gap: Tensor) -> Tensor:
    return value * xp.exp(-relu(xp, params["fade"]["w"] * gap + params["fade"]["b"]))
