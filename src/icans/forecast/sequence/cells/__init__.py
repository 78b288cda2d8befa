"""Cells: the part of a network that reads steps and sums them up as one vector of a row.

A cell is a module with two pure functions: ``init(rng, shape) -> params`` and ``summary(engine, params, batch) ->
(n, width)``; :data:`CELLS` names them. ``batch`` is what :meth:`icans.forecast.sequence.batch.Batch.arrays` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from icans.forecast.sequence.engine import Engine, Params, Tensor

_HERE = "icans.forecast.sequence.cells"

#: Cell -> (module, what it is).
CELLS: dict[str, tuple[str, str]] = {
    "gru": ("gru", "gated recurrent unit on newest values, masks and gaps"),
    "lstm": ("lstm", "long short-term memory on the same inputs"),
    "grud": ("grud", "GRU-D: newest values decay to the mean, the hidden state decays, both learned by channel"),
    "attention": ("attention", "attention over each channel's own times from a few reference times (after mTAND)"),
    "tcn": ("tcn", "causal dilated convolutions"),
    "cde": ("cde", "neural controlled differential equation along the path of newest values"),
    "bidirectional": ("bidirectional", "two GRUs, forward and backward: for whole stays, not for forecasts"),
}
#: Cells that a forecast may use.
CAUSAL = tuple(name for name in CELLS if name != "bidirectional")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network's inputs and of its hidden state."""

    channels: int
    experts: int
    hidden: int

    @property
    def step(self) -> int:
        """Width of what a cell reads at each step: newest values, masks, gaps, two clocks, expert columns."""
        return 3 * self.channels + 2 + self.experts


@dataclass(frozen=True, slots=True)
class Cell:
    """The functions of one cell."""

    init: Callable[[np.random.Generator, Shape], Params]
    summary: Callable[[Engine, Params, dict[str, Tensor]], Tensor]
    width: Callable[[Shape], int]


def cell(name: str) -> Cell:
    """A cell by name.

    Raises
    ------
    KeyError
        No such cell; the message lists them.
    """
    if name not in CELLS:
        raise KeyError(f"no cell {name!r}; there are {', '.join(CELLS)}")
    module = import_module(f"{_HERE}.{CELLS[name][0]}")
    return Cell(module.init, module.summary, getattr(module, "width", _hidden))


def _hidden(shape: Shape) -> int:
    return shape.hidden


def step_inputs(engine: Engine, batch: dict[str, Tensor], *names: str) -> Tensor:
    """Arrays with a step axis side by side, with clocks and expert columns, shape (n, T, width)."""
    xp = engine.xp
    n, steps = batch["valid"].shape
    experts = xp.broadcast_to(batch["experts"][:, None, :], (n, steps, batch["experts"].shape[1]))
    return xp.concatenate([*(batch[name] for name in names), batch["clock"], experts], axis=2)


def by_time(engine: Engine, *arrays: Any) -> tuple[Tensor, ...]:
    """Arrays (n, T, ...) as (T, n, ...)."""
    return tuple(engine.xp.swapaxes(x, 0, 1) for x in arrays)
