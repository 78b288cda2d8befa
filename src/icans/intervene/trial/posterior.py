"""Posterior chances of arms with beta distributions, by integration on a grid instead of draws: exact and quick.

Shapes: ``a``, ``b`` and ``active`` are (R, A), one row a trial. Lower rates are better (the endpoint is a harm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Cells of the grid, standard deviations that it spans beyond the means, and trials done at once (memory).
CELLS, REACH, BLOCK = 256, 7.5, 400


@dataclass(frozen=True)
class _Grid:
    """Mass of every cell and distribution function at its middle, (R, A, CELLS) each; width of a cell."""

    mass: Array
    below: Array
    width: float


def _grid(a: Array, b: Array) -> _Grid:
    mean = a / (a + b)
    sd = np.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    low = max(0.0, float((mean - REACH * sd).min()))
    high = min(1.0, float((mean + REACH * sd).max()))
    width = (high - low) / CELLS
    x = low + (np.arange(CELLS) + 0.5) * width
    log_density = (a[..., None] - 1.0) * np.log(x) + (b[..., None] - 1.0) * np.log1p(-x)
    mass = np.exp(log_density - log_density.max(axis=-1, keepdims=True))
    mass /= mass.sum(axis=-1, keepdims=True)
    return _Grid(mass, np.cumsum(mass, axis=-1) - 0.5 * mass, width)


def _parts(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BLOCK):
        yield slice(start, start + BLOCK)


def chance_best(a: Array, b: Array, active: Mask) -> Array:
    """Chance of every active arm to have the lowest rate, (R, A); 0 for the others."""
    out = np.zeros(a.shape)
    for part in _parts(len(a)):
        grid, on = _grid(a[part], b[part]), active[part]
        above = np.where(on[..., None], 1.0 - grid.below, 1.0)
        for arm in range(a.shape[1]):
            others = np.delete(above, arm, axis=1).prod(axis=1)
            out[part, arm] = np.where(on[:, arm], (grid.mass[:, arm] * others).sum(axis=-1), 0.0)
    total = out.sum(axis=1, keepdims=True)
    return np.asarray(out / np.where(total > 0, total, 1.0))


def chance_close(a: Array, b: Array, active: Mask, difference: float) -> Array:
    """Chance that all active arms lie within a difference of each other, (R,)."""
    out = np.zeros(len(a))
    for part in _parts(len(a)):
        grid, on = _grid(a[part], b[part]), active[part]
        place = np.asarray(np.arange(CELLS) + difference / grid.width, float)
        top = np.stack([_at(grid.below, place, arm) for arm in range(a.shape[1])], axis=1)
        inside = np.where(on[..., None], top - grid.below, 1.0)
        for arm in range(a.shape[1]):
            others = np.delete(inside, arm, axis=1).prod(axis=1)  # this arm is the lowest, all others just above
            out[part] += np.where(on[:, arm], (grid.mass[:, arm] * others).sum(axis=-1), 0.0)
    return out


def chance_better(a: Array, b: Array, control: Array, active: Mask, margin: float = 0.0) -> Array:
    """Chance of every active arm to be lower than the control of its trial by more than ``margin``, (R, A).

    ``control``: index of the control, (R,). The control itself and arms out have 0.
    """
    out = np.zeros(a.shape)
    for part in _parts(len(a)):
        grid = _grid(a[part], b[part])
        chosen = grid.mass[np.arange(len(grid.mass)), control[part]]
        place = np.asarray(np.arange(CELLS) - margin / grid.width, float)
        for arm in range(a.shape[1]):
            out[part, arm] = (chosen * _at(grid.below, place, arm)).sum(axis=-1)
    out[np.arange(len(a)), control] = 0.0
    return np.where(active, out, 0.0)


def _at(below: Array, place: Array, arm: int) -> Array:
    """Distribution function of an arm at fractional cells, between cells by a straight line."""
    clipped = np.clip(place, 0.0, CELLS - 1.0)
    low = np.floor(clipped).astype(int)
    high = np.minimum(low + 1, CELLS - 1)
    part = clipped - low
    value = below[:, arm, low] * (1.0 - part) + below[:, arm, high] * part
    value = np.where(place > CELLS - 1.0, 1.0, value)
    return np.asarray(np.where(place < 0.0, 0.0, value))
