"""Cells and field together against the partial differential equations that many small cells obey.

Walkers that secrete what kills them: with N cells each making 1/N of the whole, the number alive after an hour tends
to that of dn/dt = D n'' - k(C) n, dC/dt = E C'' - l C + s n, solved here by scipy without anything of the package.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Grid, Substance

LONG, WIDE, H = 40, 2, 20.0
SPEED, PERSISTENCE = 6.0, 2.0
DIFFUSION, DECAY, MADE = 60.0, 0.05, 0.1
RATE, HALF, HILL = 0.08, 2.0, 3.0
TIME = 60.0


def mean_field() -> float:
    """Part of the cells that lives at the end, by the equations; cells start in the left half."""
    walk = SPEED**2 * PERSISTENCE / 2  # two dimensions
    start = np.zeros((2, LONG))
    start[0, : LONG // 2] = 1.0

    def spread(y: np.ndarray) -> np.ndarray:
        padded = np.concatenate([y[:1], y, y[-1:]])
        return (padded[2:] - 2 * y + padded[:-2]) / H**2

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        n, c = flat.reshape(2, LONG)
        u = (np.maximum(c, 0) / HALF) ** HILL
        dies = RATE * u / (1 + u) * n
        return np.concatenate([walk * spread(n) - dies, DIFFUSION * spread(c) - DECAY * c + MADE * n])

    last = solve_ivp(slope, (0, TIME), start.ravel(), method="BDF", rtol=1e-8, atol=1e-10).y[:, -1]
    return float(last[:LONG].sum() / start[0].sum())


def survivors(cells: int, seed: int) -> float:
    """The same by cells; their secretion is MADE per voxel and minute where they start."""
    field = Field(Grid((WIDE, LONG), H), [Substance("poison", DIFFUSION, DECAY)])
    export = MADE * (WIDE * LONG / 2) / cells * H**3 * 1e-12
    kind = Kind("cell", {"poison export": export, "migration speed": SPEED, "migration persistence time": PERSISTENCE})
    rule = Rule("cell", "poison", "increases", "apoptosis", RATE, HALF, HILL)
    steps = Steps(mechanics_min=0.5, phenotype_min=1.0, fluid_share=1.0, mechanics=False)
    model = Tissue(field, [kind], [rule], seed=seed, steps=steps)
    place = np.random.default_rng(seed).random((cells, 2)) * (LONG * H / 2, WIDE * H)
    model.add("cell", place)
    model.run(TIME)
    return model.count("cell") / cells


@pytest.fixture(scope="module")
def gaps() -> dict[int, tuple[float, float]]:
    expected = mean_field()
    found = {}
    for cells, runs in ((8, 16), (64, 8), (2048, 1)):
        alive = np.array([survivors(cells, seed) for seed in range(runs)])
        found[cells] = (alive.mean() - expected, np.sqrt(expected * (1 - expected) / (cells * runs)))
    return found


def test_few_large_cells_poison_themselves(gaps):
    """The equations are wrong for few cells: each lies in its own cloud."""
    gap, error = gaps[8]
    assert gap < -4 * error


def test_the_mean_of_cells_tends_to_the_equations_as_they_shrink(gaps):
    assert abs(gaps[8][0]) > abs(gaps[64][0]) > abs(gaps[2048][0])
    gap, error = gaps[2048]
    assert abs(gap) < 3 * error + 0.01
