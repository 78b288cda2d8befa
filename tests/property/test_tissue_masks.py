"""Cells and fields in tissue with holes (a ventricle, vessels): nobody ends in a hole, nothing leaks through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core.errors import ModelError
from icans.tissue.agents.births import inside
from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.motion import gradient
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Face, Grid, Medium, Substance
from icans.tissue.field.ledger import Ledger
from icans.tissue.run.build import build
from icans.tissue.run.spec import make_spec

H = 20.0


def holes(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A box in the middle cut out, and some single voxels (vessels)."""
    mask = np.random.default_rng(seed).random(shape) > 0.15
    mask[tuple(slice(n // 3, n // 3 + 3) for n in shape)] = False
    mask[tuple(slice(0, 2) for _ in shape)] = True
    return mask


def crowd(mask: np.ndarray, kinds: list[Kind], seed: int, count: int, **steps: float) -> Tissue:
    field = Field(Grid(mask.shape, H, mask), [Substance("a", 1000.0, 0.1)])
    model = Tissue(field, kinds, seed=seed, steps=Steps(**steps))
    place = np.random.default_rng(seed).random((40 * count, mask.ndim)) * np.array(mask.shape[::-1]) * H
    three = np.zeros((3, len(place)))
    three[: mask.ndim] = place.T
    model.add(kinds[0].name, place[inside(model, three)][:count])
    return model


CROWDED = Kind("cell", {"migration speed": 8.0, "migration persistence time": 20.0, "migration bias": 0.5,
                        "chemotactic response to a": 1.0, "a export": 1e-6, "cycle entry": 0.02})  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(((9, 11), (6, 7, 8))))
def test_no_cell_is_ever_in_a_hole(seed, shape):
    """They walk, push, divide and are let in by vessels, crowded, for an hour."""
    vessel = Kind("vessel", {"extravasation of cell": 0.002}, movable=False, vessel=True)
    model = crowd(holes(shape, seed), [CROWDED, vessel], seed, 60)
    model.add("vessel", model.cells["x"][: len(shape), :5].T)
    model.circulating[:] = 20.0, 0.0
    model.ledger = Ledger(model.field)
    born = model.cells.n

    def look(tissue: Tissue) -> None:
        assert inside(tissue, tissue.cells["x"]).all()
        assert (tissue.field.values[:, ~tissue.field.grid.tissue] == 0).all()

    model.run(60.0, look, 0.1)
    assert model.cells.n > born
    assert model.ledger.imbalance(model.field).max() < 1e-8


def test_a_wall_without_a_gap_keeps_a_substance_on_its_side():
    mask = np.ones((8, 12), bool)
    mask[:, 5] = False
    for scheme in ("explicit", "implicit", "euler"):
        field = Field(Grid((8, 12), H, mask), [Substance("a", 2000.0)])
        left = np.zeros((1, 96))
        left[0, 2 * 12 + 1] = 1.0
        for _ in range(200):
            field.step(0.05, (left, np.zeros_like(left)), scheme)
        assert (field.values[0, :, 5:] == 0).all()
        assert field.values[0, :, :5].sum() == pytest.approx(10.0, rel=1e-12)


def test_an_open_hole_takes_what_reaches_its_rim_and_no_more():
    mask = np.ones((9, 9), bool)
    mask[4, 4] = False
    field = Field(
        Grid((9, 9), H, mask), [Substance("a", 1000.0)], 1.0, Medium(faces={"mask": Face("exchange", 0.0, 2.0)})
    )
    ledger = Ledger(field)
    ledger.step(field, 0.001, None, "euler")
    series = 1.0 / (1.0 / 2.0 + (H / 2) / 1000.0)  # the wall and half a voxel one after the other, um/min
    assert ledger.left[0] == pytest.approx(4 * series * H**2 * 0.001 * 1e-12, rel=1e-12)


def test_a_hole_does_not_look_like_a_low_level():
    """The gradient of a ramp is the ramp's beside a hole too, where the empty voxels hold zeros."""
    mask = np.ones((1, 7, 7), bool)
    mask[0, 3, 3] = False
    values = np.where(mask, 5.0 + 2.0 * np.arange(7)[None, None, :], 0.0)[None]
    for b, a in ((3, 2), (3, 4), (2, 3), (4, 3)):
        gx, gy, gz = gradient(values, mask, 0, (a + 0.5) * H, (b + 0.5) * H, 0.0, H)
        assert (gx, gy, gz) == pytest.approx((2.0 / H, 0.0, 0.0))


def test_rules_of_a_gradient_see_the_same_beside_a_hole():
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    field = Field(Grid((7, 7), H, mask), [Substance("a", 0.0)], np.where(mask, 5.0, 0.0)[None])
    model = Tissue(field, [Kind("cell")], [Rule("cell", "a gradient", "increases", "cycle entry", 1.0, 1e-3)], seed=1)
    model.add("cell", [[50.0, 70.0]])
    model.run(6.0)
    assert model.cells.behaviour[model.names.behaviours["cycle entry"], 0] == 0.0


def test_cells_push_beside_a_hole_as_elsewhere_and_slide_along_it():
    """Two that overlap, with a hole below: pushed apart along it as without it, the lower one never into it."""
    paths = {}
    for hole in (False, True):
        mask = np.ones((10, 10), bool)
        mask[:4] = not hole
        model = crowd(mask, [Kind("cell")], 1, 0)
        model.add("cell", [[95.0, 84.0], [103.0, 81.0]])  # the rim of the hole is y = 80
        model.run(0.1)
        paths[hole] = model.cells["x"].copy()
        model.run(12.0)
        order = np.argsort(model.cells["identity"])
        paths[hole, "end"] = model.cells["x"][:, order]
    np.testing.assert_allclose(paths[True][:, 0], paths[False][:, 0])  # away from the rim: nothing differs
    assert paths[True, "end"][1].min() >= 80.0 > paths[False, "end"][1].min()
    apart = [np.hypot(*np.diff(paths[hole, "end"][:2], axis=1)[:, 0]) for hole in (True, False)]
    assert apart[0] == pytest.approx(apart[1], rel=0.02)


def test_places_in_a_hole_are_refused_and_a_file_can_cut_holes():
    raw = {
        "domain": {"shape": [20, 20], "hole": [{"centre_um": [200.0, 240.0], "radius_um": 100.0}]},
        "substance": [{"name": "a", "diffusion_um2_min": 1000.0}],
        "cell": [{"name": "cell", "place": [{"count": 150}]}],
    }
    tissue = build(make_spec(raw)).tissue
    far = np.hypot(*(tissue.cells["x"][:2] - np.array([[200.0], [240.0]])))
    assert far.min() > 100.0 - H  # voxels are cut where their centre lies in the hole
    area = (~tissue.field.grid.tissue).sum() * H**2
    assert area == pytest.approx(np.pi * 100.0**2, rel=0.1)
    with pytest.raises(ModelError, match="in the mask"):
        tissue.add("cell", [[200.0, 240.0]])
