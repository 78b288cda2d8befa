"""Neural controlled differential equation (Kidger 2020, arXiv 2005.08926): dz = f(z) dX along the path of the record.

The control path is linear between steps, of newest values, cumulative counts of measurements (when one measures is
information, too), and time up to the landmark; a learned linear map takes it to a few dimensions. Each piece is solved
by Heun's method of second order, ``SUBSTEPS`` steps a piece.
"""

from __future__ import annotations

import numpy as np

from icans.forecast.sequence.cells import Shape, by_time
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init

#: Dimensions of the projected control path.
CONTROLS = 8
SUBSTEPS = 1


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters."""
    path = 2 * shape.channels + 1
    return {
        "path": {"w": dense_init(rng, path, CONTROLS)["w"]},
        "start": dense_init(rng, path + shape.experts, shape.hidden),
        "inner": dense_init(rng, shape.hidden, shape.hidden),
        # A slow field at first: over tens of pieces a fast one is far away before anything has been learned.
        "field": dense_init(rng, shape.hidden, shape.hidden * CONTROLS, 0.05),
    }


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """The solution at the landmark, shape (n, H)."""
    xp = engine.xp
    path = control_path(engine, batch)
    increments = (path[:, 1:] - path[:, :-1]) @ params["path"]["w"]
    first = xp.concatenate([path[:, 0], batch["experts"]], axis=1)
    start = xp.tanh(dense(params["start"], first))
    (moves,) = by_time(engine, increments)
    return solve(engine, params, start, moves)


def control_path(engine: Engine, batch: dict[str, Tensor]) -> Tensor:
    """The path at each step and at the landmark, shape (n, T + 1, 2 C + 1); filling at the front stands still.

    It starts at the zero of every coordinate, so that the first measurement, too, moves the solution.
    """
    xp = engine.xp
    valid = batch["valid"][:, :, None]
    counts = xp.log1p(xp.cumsum(batch["mask"] * valid, axis=1))
    oldest = xp.max(batch["clock"][:, :, 1:] * valid, axis=1, keepdims=True)
    time = (oldest - batch["clock"][:, :, 1:]) * valid
    path = xp.concatenate([batch["filled"] * valid, counts, time], axis=2)
    still = xp.zeros_like(path[:, :1])
    end = xp.concatenate([path[:, -1:, :-1], oldest], axis=2)
    return xp.concatenate([still, path, end], axis=1)


def solve(engine: Engine, params: Params, start: Tensor, moves: Tensor, substeps: int = SUBSTEPS) -> Tensor:
    """Heun's method over increments of the projected path, shape (pieces, n, CONTROLS)."""
    xp = engine.xp

    def speed(z: Tensor, move: Tensor) -> Tensor:
        field = xp.tanh(dense(params["field"], xp.tanh(dense(params["inner"], z))))
        return xp.einsum("nhc,nc->nh", xp.reshape(field, (*z.shape, CONTROLS)), move)

    def piece(z: Tensor, x: tuple[Tensor, ...]) -> tuple[Tensor, None]:
        move = x[0] / np.float32(substeps)
        for _ in range(substeps):
            first = speed(z, move)
            z = z + 0.5 * (first + speed(z + first, move))
        return z, None

    return engine.scan(piece, start, (moves,))[0]
