"""The books of a field balance to 1e-8 whatever happens in it, in every scheme, and say the right thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Face, Grid, Medium, Substance
from icans.tissue.field.ledger import Ledger
from icans.tissue.field.sources import Sources, capillary_sources

#: Books may be off by this share of all that was there and came in.
BAR = 1e-8


def faces(draw, dimensions: int, masked: bool) -> dict[str, Face]:
    names = [axis + side for axis in "zyx"[3 - dimensions :] for side in "-+"] + (["mask"] if masked else [])
    made = {}
    for name in names:
        kind = draw(st.sampled_from(("closed", "fixed", "exchange")))
        made[name] = Face(kind, draw(st.floats(0, 5)), draw(st.floats(0, 200)))
    return made


@st.composite
def worlds(draw):
    """A field with everything on, its sources, a scheme and a step."""
    scheme = draw(st.sampled_from(("euler", "explicit", "implicit", "exact")))
    shape = draw(st.sampled_from(((6, 7), (1, 9), (3, 4, 5))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    uniform = scheme == "exact"
    masked = not uniform and draw(st.booleans())
    mask = rng.random(shape) > 0.25 if masked else None
    if mask is not None:
        mask.flat[0] = True
    grid = Grid(shape, 20.0, mask)
    still = draw(st.booleans())
    if uniform:
        flow = None if still else [np.full(shape, rng.normal(0, 5)) for _ in shape]
        medium = Medium(flow_um_min=flow, faces=faces(draw, len(shape), False))
    else:
        flow = None if still else [rng.normal(0, 8, shape) for _ in shape]
        washout = None if still else rng.uniform(0, 0.2, shape)
        relative = None if draw(st.booleans()) else rng.uniform(0.1, 1, shape)
        medium = Medium(relative, flow, faces(draw, len(shape), masked), washout)
    substances = [Substance("a", draw(st.floats(0, 5000)), draw(st.floats(0, 2))), Substance("b", 300.0, 0.0)]
    field = Field(grid, substances, rng.random((2, *shape)) * draw(st.sampled_from((0.0, 1.0))), medium)
    cells = Sources(rng.random((2, grid.voxels)), rng.exponential(draw(st.sampled_from((0.1, 5.0))), (2, grid.voxels)))
    vessels = capillary_sources(grid, [0.3, 0.02], [4.0, 9.0], rng.random(shape))
    sources = draw(st.sampled_from((None, cells, cells.plus(vessels))))
    if sources is not None and mask is not None:
        inside = mask.reshape(-1)
        sources = Sources(sources.production * inside, sources.loss * inside)
    dt = draw(st.floats(0.01, 3.0))
    if scheme == "euler":
        dt = min(dt, 1.9 / max(float(field.fastest(sources).max()), 1e-9))
    return field, sources, scheme, dt


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_books_balance(world):
    field, sources, scheme, dt = world
    ledger, twin = Ledger(field), Field(field.grid, field.substances, field.values, field.medium)
    for _ in range(2):
        ledger.step(field, dt, sources, scheme)
        twin.step(dt, sources, scheme)
    np.testing.assert_array_equal(field.values, twin.values)
    assert ledger.imbalance(field).max() < BAR, (scheme, dt, ledger.imbalance(field))


def test_a_trace_below_the_smallest_number_of_full_precision_has_no_share():
    grid = Grid((6, 7), 20.0)
    wall = {"y+": Face("fixed", 1.0)}
    field = Field(grid, [Substance("a", 1e-309, 0.0)], np.zeros((1, 6, 7)), Medium(faces=wall))
    ledger = Ledger(field)
    for _ in range(2):
        ledger.step(field, 0.2, None, "euler")
    assert 0 < field.values.sum() < np.finfo(float).tiny
    assert ledger.imbalance(field).tolist() == [0.0]


def test_books_name_the_right_account():
    """One voxel, forward Euler, by hand: 2 pg/mL; decay 0.1, sink 0.3, production 0.5, wall at 3 pg/mL."""
    grid = Grid((1, 1), 10.0)
    wall = 2 * 600.0 / 10.0**2
    field = Field(grid, [Substance("a", 600.0, 0.1)], 2.0, Medium(faces={"x+": Face("fixed", 3.0)}))
    ledger = Ledger(field)
    dt = 0.01
    ledger.step(field, dt, (np.full((1, 1), 0.5), np.full((1, 1), 0.3)), "euler")
    pg = 1000.0 * 1e-12
    found = {name: getattr(ledger, name)[0] / (pg * dt) for name in ("made", "taken", "decayed", "entered", "left")}
    assert found == pytest.approx({"made": 0.5, "taken": 0.6, "decayed": 0.2, "entered": 3 * wall, "left": 2 * wall})
    assert ledger.washed_out[0] == 0


def test_books_of_a_long_decay_are_the_closed_form():
    grid = Grid((5, 5), 20.0)
    for scheme, tolerance in (("exact", 1e-12), ("implicit", 1e-4), ("explicit", 1e-4)):
        field = Field(grid, [Substance("a", 1000.0, 0.2)], 3.0)
        ledger = Ledger(field)
        for _ in range(40):
            ledger.step(field, 0.1, None, scheme)
        assert ledger.decayed[0] == pytest.approx(ledger.start[0] * (1 - np.exp(-0.2 * 4.0)), rel=tolerance)


def test_a_sum_that_is_wrong_is_seen():
    field = Field(Grid((4, 4), 20.0), [Substance("a", 1000.0, 0.2)], 1.0)
    ledger = Ledger(field)
    ledger.step(field, 0.1)
    field.values[0, 1, 1] *= 1 + 1e-5
    assert ledger.imbalance(field)[0] > BAR


@pytest.mark.parametrize("scheme", ["auto", "explicit"])
def test_a_tissue_with_vessels_cells_and_open_walls_keeps_its_books(scheme):
    mask = np.ones((12, 12), bool)
    mask[4:6, 3:7] = False
    medium = Medium(
        faces={"x-": Face("fixed", 2.0), "y+": Face("exchange", 0.5, 30.0), "mask": Face("exchange", 0.0, 5.0)}
    )
    field = Field(
        Grid((12, 12), 20.0, mask), [Substance("IL6", 2450.0, 0.06), Substance("O2", 9000.0, 0.1)], 1.0, medium
    )
    secretes = {
        "IL6 export": 1e-7,
        "O2 uptake": 8.0,
        "IL6 secretion": 2.0,
        "IL6 secretion target": 5.0,
        "migration speed": 4.0,
    }
    vessel = {"IL6 exchange": 500.0, "O2 exchange": 4000.0}
    kinds = [Kind("cell", {**secretes, "cycle entry": 0.003}), Kind("vessel", vessel, movable=False, vessel=True)]
    model = Tissue(field, kinds, seed=4, steps=Steps(scheme=scheme))
    model.plasma[:] = 30.0, 12.0
    rng = np.random.default_rng(3)
    place = rng.random((400, 2)) * 240
    place = place[mask[(place[:, 1] / 20).astype(int), (place[:, 0] / 20).astype(int)]]
    model.add("cell", place[:60])
    model.add("vessel", place[60:75])
    model.ledger = Ledger(field)
    model.run(18.0)
    assert model.ledger.imbalance(field).max() < BAR
    assert min(model.ledger.made.min(), model.ledger.taken.min(), model.ledger.left.min()) > 0
