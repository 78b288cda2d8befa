"""A network: a cell, the description of the patient beside it, and a head.

Logits are those of everybody at that landmark (an offset) plus a sum: a line in the newest values and the patient's
description, and a small dense layer on what the cell made of the record. With all weights at zero the forecast is the
incidence by day, to which weight decay draws it when the data say little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from icans.forecast.models.parts import Meta
from icans.forecast.sequence.cells import Shape, cell
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init

#: No layer of a network is wider.
MAX_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Network:
    """Sizes of a network (hashable, so that compiled steps can be shared).

    Attributes
    ----------
    cell
        Name in :data:`icans.forecast.sequence.cells.CELLS`.
    shape
        Widths of its inputs and hidden state.
    context
        Columns of the patient's description.
    width
        Units of the dense layer before the output.
    scores, repeats
        The head asks for ``repeats`` vectors of ``scores`` numbers: bins x causes, or 1 x labels. The line in the
        newest values has ``scores`` numbers, the same in every bin (as in a model of proportional hazards).
    """

    cell: str
    shape: Shape
    context: int
    width: int
    scores: int
    repeats: int

    def init(self, rng: np.random.Generator) -> Params:
        """Starting parameters."""
        made = cell(self.cell)
        inputs = made.width(self.shape) + self.context + self.shape.experts
        line = self.shape.channels + self.context + self.shape.experts
        return {
            "cell": made.init(rng, self.shape),
            "dense": dense_init(rng, inputs, self.width),
            "out": dense_init(rng, self.width, self.scores * self.repeats, 0.3),
            "line": {"w": np.zeros((line, self.scores), dtype=np.float32)},
        }

    def dropped(self, rng: np.random.Generator, rows: int, share: float) -> np.ndarray:
        """Factors for what enters the dense layer: 0 for a share of it, else 1 / (1 - share) (Srivastava 2014)."""
        inputs = cell(self.cell).width(self.shape) + self.context + self.shape.experts
        kept = rng.random((rows, inputs)) >= share
        return (kept / (1.0 - share)).astype(np.float32)

    def scores_of(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any = None) -> Tensor:
        """Output of the network before offsets, shape (n, repeats, scores)."""
        xp = engine.xp
        about = [batch["context"], batch["experts"]]
        seen = xp.concatenate([cell(self.cell).summary(engine, params["cell"], batch), *about], axis=1)
        if dropped is not None:
            seen = seen * dropped
        out = dense(params["out"], xp.tanh(dense(params["dense"], seen)))
        line = xp.concatenate([batch["filled"][:, -1], *about], axis=1) @ params["line"]["w"]
        return xp.reshape(out, (out.shape[0], self.repeats, self.scores)) + line[:, None, :]

    def meta(self) -> Meta:
        """JSON values."""
        return asdict(self)


def network_from(meta: Meta) -> Network:
    """The network of :meth:`Network.meta`.

    Raises
    ------
    ValueError
        A size that no network here has.
    """
    check_sizes(meta)
    return Network(**(meta | {"shape": Shape(**meta["shape"])}))


def check_sizes(meta: Meta) -> None:
    """Raise ValueError where a file asks for a network too large to be one of ours (before anything is made)."""
    sizes = [v for v in (*meta.values(), *meta["shape"].values()) if isinstance(v, int)]
    if not all(0 <= size <= MAX_SIZE for size in sizes):
        raise ValueError(f"sizes of a network lie between 0 and {MAX_SIZE}; got {max(sizes, key=abs)}")


def competing_logits(engine: Engine, scores: Tensor, start: Tensor) -> Tensor:
    """Logits of {none, event, competing} from scores of the two causes (n, K, 2) and the offset (n, K, 3)."""
    xp = engine.xp
    return start + xp.concatenate([xp.zeros_like(scores[:, :, :1]), scores], axis=2)
