"""What the field refuses, and small things it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.core.errors import ModelError
from icans.tissue.field.control import advance, step_error
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Face, Grid, Medium, Substance, perivascular_flow
from icans.tissue.field.sources import Sources, capillary_sources, no_sources, secretion_pg_ml_min
from icans.tissue.field.steady import steady_state

GRID = Grid((6, 7), 20.0)
IL6 = Substance("IL6", 2450.0, 0.01)


def field(**more: Any) -> Field:
    return Field(GRID, [IL6], **more)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: Grid((0, 5)), "at least one voxel"),
        (lambda: Grid((5,)), "shape"),
        (lambda: Grid((5, 5), -1.0), "spacing_um"),
        (lambda: Grid((5, 5), (20.0, 20.0, 20.0)), "spacing_um"),
        (lambda: Grid((5, 5), mask=np.zeros((5, 5), bool)), "The domain is empty"),
        (lambda: Grid((5, 5), mask=np.ones((4, 5), bool)), "mask"),
        (lambda: Substance("a", -1.0), "cannot be negative"),
        (lambda: Substance("a", 1.0, float("nan")), "decay_per_min"),
        (lambda: Face("open"), "closed, fixed or exchange"),
        (lambda: Face("fixed", -1.0), "outside"),
        (lambda: field(medium=Medium(faces={"z-": Face("fixed")})), "faces"),
        (lambda: field(medium=Medium(faces={"x-": Face("fixed", {"TNF": 1.0})})), "No such substance"),
        (lambda: field(medium=Medium(relative_diffusion=np.ones((7, 6)))), "relative_diffusion"),
        (lambda: field(medium=Medium(relative_diffusion=-np.ones((6, 7)))), "cannot be negative"),
        (lambda: field(medium=Medium(flow_um_min=[np.ones((6, 7))])), "one velocity per axis"),
        (lambda: Field(GRID, []), "at least one"),
        (lambda: Field(GRID, [IL6, IL6]), "each name once"),
        (lambda: field(values=np.ones((1, 7, 6))), "another grid"),
        (lambda: field(values=-1.0), "cannot be negative"),
        (lambda: field().step(0.1, scheme="euler"), "a step of at most 0.0408"),
        (lambda: field().step(0.0), "positive number of minutes"),
        (lambda: field().step(0.1, scheme="fast"), "scheme"),
        (lambda: field().step(0.1, (np.zeros((1, 41)), np.zeros((1, 41)))), "another grid"),
        (lambda: field().step(0.1, (np.zeros((1, 42)), -np.ones((1, 42)))), "loss"),
        (lambda: field().step(0.1, (np.full((1, 42), np.nan), np.zeros((1, 42)))), "production"),
        (lambda: field(medium=Medium(relative_diffusion=np.ones((6, 7)))).step(1.0, scheme="exact"), "uniform box"),
        (lambda: advance(field(values=1.0), 1.0, tolerance=0.0), "tolerance"),
        (lambda: steady_state(Field(GRID, [Substance("a", 1.0)])), "Nothing removes"),
        (lambda: perivascular_flow(GRID, -1.0, 100.0), "speed_um_min"),
        (lambda: capillary_sources(GRID, [-1.0], [1.0], np.ones(42)), "cannot be negative"),
    ],
)
def test_refused_with_a_reason(wrong: Any, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        wrong()


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ModelError) as told:
        Grid((5, 5), 0.0, np.zeros((5, 5), bool), -1.0)
    assert len(told.value.problems) == 3


def test_the_step_that_is_named_is_stable_and_a_little_more_is_refused() -> None:
    """Also with sinks and in heterogeneous tissue with flow: the bound holds, and is not far off."""
    rng = np.random.default_rng(1)
    medium = Medium(rng.uniform(0.5, 1.0, GRID.shape), [rng.normal(0, 5, GRID.shape) for _ in range(2)])
    sources = (np.zeros((1, 42)), rng.uniform(0, 3, (1, 42)))
    made = field(values=rng.random((1, 6, 7)), medium=medium)
    largest = 2 / float(made.fastest(sources)[0])
    for _ in range(300):
        made.step(largest, sources, "euler")
    assert np.abs(made.values).max() < 1
    with pytest.raises(ModelError, match="unstable"):
        made.step(1.01 * largest, sources, "euler")


def test_an_impossible_tolerance_is_told() -> None:
    start = np.zeros((1, 6, 7))
    start[0, 3, 3] = 1.0
    with pytest.raises(ModelError, match="shorter steps"):
        advance(field(values=start), 1.0, tolerance=1e-9, first_min=0.5, shortest_min=0.5, scheme="explicit")


@given(scale=st.floats(1e-6, 1e6), scheme=st.sampled_from(["euler", "explicit", "exact", "implicit"]))
def test_linear_in_start_and_production(scale: float, scheme: str) -> None:
    rng = np.random.default_rng(2)
    start, made, lost = rng.random((1, 6, 7)), rng.random((1, 42)), rng.random((1, 42))
    one, many = field(values=start), field(values=scale * start)
    one.step(0.03, (made, lost), scheme)
    many.step(0.03, (scale * made, lost), scheme)
    np.testing.assert_allclose(many.values, scale * one.values, rtol=1e-10)


@given(st.data())
def test_a_level_everywhere_stays_a_level(data: st.DataObject) -> None:
    """Without decay nothing moves where nothing differs, whatever the tissue is like."""
    scheme = data.draw(st.sampled_from(["euler", "explicit", "implicit"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = rng.random((6, 7)) > 0.3
    mask[0, 0] = True
    made = Field(Grid((6, 7), 20.0, mask), [Substance("a", 2450.0)], 3.0, Medium(rng.uniform(0, 1, (6, 7))))
    made.step(0.03, scheme=scheme)
    np.testing.assert_allclose(made.values[0], np.where(mask, 3.0, 0.0), rtol=1e-12)


def test_sources_add_up_and_outside_the_mask_nothing_is_made() -> None:
    mask = np.ones((6, 7), bool)
    mask[2, 2] = False
    sources = no_sources(GRID, 1)
    sources.production[:] = 1.0
    both = sources.plus(Sources(np.ones((1, 6, 7)), np.zeros((1, 6, 7))))
    made = Field(Grid((6, 7), 20.0, mask), [Substance("a", 0.0)])
    made.step(0.5, both)
    np.testing.assert_allclose(made.values[0], np.where(mask, 1.0, 0.0))


def test_capillaries_bring_plasma_to_its_level() -> None:
    sources = capillary_sources(GRID, [0.2], [7.0], np.ones(42))
    made = Field(GRID, [Substance("a", 100.0)])
    for _ in range(200):
        made.step(0.5, sources)
    np.testing.assert_allclose(made.values, 7.0, rtol=1e-6)


def test_flow_between_vessels_keeps_what_is_dissolved_but_for_what_leaves() -> None:
    grid = Grid((2, 40), 10.0)
    medium = perivascular_flow(grid, 2.0, 100.0)
    made = Field(grid, [Substance("a", 500.0)], 1.0, medium)
    before = made.values.sum()
    rate = float((np.asarray(medium.washout_per_min) * made.values[0]).sum())
    made.step(1e-3)
    assert before - made.values.sum() == pytest.approx(rate * 1e-3, rel=1e-3)


def test_secretion_of_one_cell() -> None:
    """10 molecules/s of 21 kDa into a fifth of a 20 um voxel: 2.09e-5 pg/min over 1.6e-9 mL."""
    assert secretion_pg_ml_min(GRID, 10.0, 21.0) == pytest.approx(10 * 60 * 21e3 / 6.022e23 * 1e12 / 1.6e-9, rel=1e-3)


def test_points_find_their_voxel() -> None:
    mask = np.ones((6, 7), bool)
    mask[5, 6] = False
    grid = Grid((6, 7), 20.0, mask)
    assert grid.voxel_of([[0, 0], [119, 139], [119, 10], [-1, 5], [50, 45]]).tolist() == [0, -1, 35, -1, 16]


def test_the_same_bits_again() -> None:
    rng = np.random.default_rng(3)
    start, sources = rng.random((1, 6, 7)), (rng.random((1, 42)), rng.random((1, 42)))
    ends = []
    for _ in range(2):
        made = field(values=start)
        for scheme in ("explicit", "implicit", "exact"):
            made.step(0.2, sources, scheme)
        ends.append(made.values)
    np.testing.assert_array_equal(*ends)
    told = step_error(made, 0.1, sources)
    assert told.relative >= 0
    np.testing.assert_array_equal(made.values, ends[1])
