"""Attention over time with time embeddings, channel by channel (after mTAND: Shukla 2021, arXiv 2101.10318).

A few reference times before the landmark look at each channel's own measurements: weights come from an embedding of
time, only steps where the channel was measured take part, so that neither a grid nor filled-in values are needed. What
the reference times see (a smoothed value of each channel, and whether there was anything to see) is summed up by one
dense layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.forecast.sequence.cells import Shape
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init

#: Reference times, in ln(1 + time before the landmark / scale): now, and ever further back.
REFERENCE = (0.0, 0.7, 1.4, 2.5)
#: Width of the embedding of time.
EMBEDDING = 8


def init(rng: np.random.Generator, shape: Shape) -> Params:
    """Starting parameters: periods of the embedding from short to long."""
    periods = np.geomspace(0.3, 3.0, EMBEDDING - 1)
    time = {"w": (1.0 / periods).astype(np.float32), "b": rng.uniform(0, np.pi, EMBEDDING - 1).astype(np.float32),
            "line": np.ones(1, dtype=np.float32)}  # fmt: skip
    seen = len(REFERENCE) * 2 * shape.channels
    return {
        "time": time,
        "query": dense_init(rng, EMBEDDING, EMBEDDING, 2.0),
        "key": dense_init(rng, EMBEDDING, EMBEDDING, 2.0),
        "sum": dense_init(rng, seen + shape.experts, shape.hidden),
    }


def summary(engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
    """What the reference times see, summed up, shape (n, H)."""
    xp = engine.xp
    before = batch["clock"][:, :, 1]
    key = dense(params["key"], _embedded(xp, params["time"], before))
    at = xp.asarray(np.array(REFERENCE, dtype=np.float32))
    query = dense(params["query"], _embedded(xp, params["time"], at))
    score = xp.einsum("qe,nte->nqt", query, key) / np.float32(np.sqrt(EMBEDDING))
    # Nearness in time as a start: a reference time looks first at what was measured about then.
    score = score - (before[:, None, :] - at[None, :, None]) ** 2
    weight = xp.exp(score - xp.max(score, axis=-1, keepdims=True))
    part = batch["mask"] * batch["valid"][:, :, None]
    total = xp.einsum("nqt,ntc->nqc", weight, part)
    value = xp.einsum("nqt,ntc->nqc", weight, part * batch["filled"]) / (total + 1e-6)
    presence = total / (xp.sum(weight * batch["valid"][:, None, :], axis=-1)[:, :, None] + 1e-6)
    flat = (value.shape[0], value.shape[1] * value.shape[2])
    seen = [xp.reshape(value, flat), xp.reshape(presence, flat), batch["experts"]]
    return xp.tanh(dense(params["sum"], xp.concatenate(seen, axis=1)))


def _embedded(xp: Any, params: Params, time: Tensor) -> Tensor:
    """Sines of time at learned periods, and time itself, shape (..., EMBEDDING)."""
    waves = xp.sin(time[..., None] * params["w"] + params["b"])
    return xp.concatenate([time[..., None] * params["line"], waves], axis=-1)
