"""Cells of a tissue: random numbers by name, motion, rules, killing, exchange, births, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.philox import philox, uniforms
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Grid, Substance


def field(side: int = 20, **substances: float) -> Field:
    made = [Substance(name, 1000.0, decay) for name, decay in (substances or {"IFN": 0.1}).items()]
    return Field(Grid((side, side), 20.0), made)


WALKER = Kind("walker", {"migration speed": 5.0, "migration persistence time": 10.0})
TUMOUR = Kind("tumour")


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, words):
    assert tuple(int(w) for w in philox(*counter, *key)) == words


def test_draws_are_named_by_seed_cell_step_and_purpose():
    draws = {uniforms(*name) for name in [(1, 2, 3, 4), (2, 2, 3, 4), (1, 3, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5)]}
    assert len(draws) == 5
    assert uniforms(1, 2, 3, 4) == uniforms(1, 2, 3, 4)


def test_a_persistent_walk_spreads_as_fuerth_says():
    """Mean squared displacement 2 v^2 P (t - P (1 - exp(-t/P))) (Fuerth 1920, DOI 10.1007/BF01328731)."""
    model = Tissue(field(200), [WALKER], seed=5, steps=Steps(mechanics=False))
    model.add("walker", np.full((1500, 2), 2000.0))
    start = {}
    for time in (6.0, 36.0):
        model.run(time)
        order = np.argsort(model.cells["identity"])
        x = model.cells["x"][:, order]
        start.setdefault("x", np.full_like(x, 2000.0)[:2])
        square = ((x[:2] - start["x"]) ** 2).sum(axis=0)
        expected = 2 * 25 * 10 * (time - 10 * (1 - np.exp(-time / 10)))
        assert abs(square.mean() - expected) < 4 * square.std() / np.sqrt(1500) + 0.01 * expected


def test_two_cells_rest_where_push_and_pull_balance():
    model = Tissue(field(), [TUMOUR], seed=1)
    model.add("tumour", [[200.0, 200.0], [206.0, 200.0]])
    model.run(60.0)
    x, r = model.cells["x"], model.cells["radius"]
    apart = np.hypot(*(x[:2, 0] - x[:2, 1]))
    touch = r.sum()  # 10 (1 - d/R)^2 = 0.4 (1 - d/1.25R)^2
    assert apart == pytest.approx(touch * (np.sqrt(10) - np.sqrt(0.4)) / (np.sqrt(10) - np.sqrt(0.4) / 1.25), rel=1e-3)
    assert x[0].mean() == pytest.approx(203.0, abs=1e-9)


def crowd(threads: int, seed: int = 3) -> Tissue:
    kinds = [
        Kind("T", {"migration speed": 5, "migration bias": 0.5, "migration persistence time": 10,
                   "chemotactic response to IFN": 1, "attack tumour": 0.05, "kill rate": 0.07,
                   "cell detachment rate": 0.02}),
        Kind("tumour", {"IFN secretion": 1, "IFN secretion target": 10, "cycle entry": 0.002}, trait=(1, 0.2, 0, 2)),
        Kind("vessel", {"extravasation of T": 0.05}, movable=False, vessel=True),
    ]  # fmt: skip
    rules = [Rule("tumour", "pressure", "decreases", "cycle entry", 0.0, 1.0)]
    model = Tissue(field(), kinds, rules, seed=seed, threads=threads)
    model.circulating[0] = 0.2
    place = np.random.default_rng(0)
    model.add("tumour", place.random((500, 2)) * 400)
    model.add("T", place.random((100, 2)) * 400)
    model.add("vessel", place.random((20, 2)) * 400)
    model.run(30.0)
    return model


@pytest.fixture(scope="module")
def crowded() -> Tissue:
    return crowd(1)


@pytest.mark.parametrize("threads", [2, 5])
def test_a_run_is_the_same_to_the_last_bit_for_any_number_of_threads(crowded, threads):
    other = crowd(threads)
    assert crowded.kills.sum() > 0
    assert crowded.cells.next_identity > 620
    assert (other.kills == crowded.kills).all()
    for name in crowded.cells.data:
        assert (other.cells[name] == crowded.cells[name]).all(), name
    assert (other.field.values == crowded.field.values).all()


def test_another_seed_is_another_run(crowded):
    assert not np.array_equal(crowd(1, seed=4).field.values, crowded.field.values)


def test_rules_follow_the_hill_sum():
    rules = [
        Rule("tumour", "IFN", "increases", "apoptosis", 0.9, 2.0, 2.0),
        Rule("tumour", "volume", "increases", "apoptosis", 0.9, 2494.0, 1.0),
        Rule("tumour", "damage", "decreases", "migration speed", 0.0, 1.0, 1.0),
    ]
    kind = Kind("tumour", {"migration speed": 4.0, "apoptosis": 0.1})
    source = field()
    source.values[:] = 6.0
    model = Tissue(source, [kind], rules, seed=1)
    model.add("tumour", [[200.0, 200.0]], damage=3.0)
    model._boxes()
    model._sense_and_rule()
    up = (6 / 2) ** 2 + 1.0
    b = model.cells.behaviour
    assert b[model.names.behaviours["apoptosis"], 0] == pytest.approx(0.1 + 0.8 * up / (1 + up), rel=1e-12)
    assert b[model.names.behaviours["migration speed"], 0] == pytest.approx(4.0 * (1 - 3 / 4), rel=1e-12)


def test_what_cells_export_is_what_the_field_gains():
    model = Tissue(field(IFN=0.0), [Kind("source", {"IFN export": 1e-6})], seed=1)
    model.add("source", np.random.default_rng(1).random((50, 2)) * 400)
    model.run(12.0)
    assert model.field.amounts_pg(fluid_share=0.2)[0] == pytest.approx(50 * 1e-6 * 12, rel=1e-9)


def test_cells_added_between_two_steps_of_phenotypes_disturb_nobody():
    model = Tissue(field(IFN=0.0), [Kind("source", {"IFN export": 1e-6})], seed=1)
    model.add("source", np.random.default_rng(1).random((50, 2)) * 400)
    model.run(3.0)
    model.add("source", np.random.default_rng(2).random((100, 2)) * 400)
    model.run(12.0)
    assert model.field.amounts_pg(fluid_share=0.2)[0] == pytest.approx(1e-6 * (50 * 12 + 100 * 6), rel=1e-9)


def test_division_halves_volume_and_death_removes():
    model = Tissue(field(), [Kind("tumour", {"cycle entry": 1e3})], seed=1)
    model.add("tumour", [[200.0, 200.0]])
    model.step()
    volume = sum(model.cells[name] for name in ("fluid", "nuclear", "cytoplasm"))
    assert volume == pytest.approx([1247.0, 1247.0], rel=1e-3)
    slow = Steps(mechanics_min=3.0)
    dying = Tissue(field(), [Kind("tumour", {"apoptosis": 1e3})], seed=1, steps=slow)
    dying.add("tumour", [[200.0, 200.0]])
    dying.run(510.0)
    assert dying.count("tumour", 1) == 1
    dying.run(530.0)
    assert dying.cells.n == 0


def test_unknown_names_and_negative_rates_are_refused_all_at_once():
    rules = [
        Rule("tumor", "IFN", "increases", "apoptosis", 0.9, 2.0),
        Rule("tumour", "IFM", "raises", "apoptossis", -0.9, 0.0),
    ]
    with pytest.raises(ModelError) as error:
        Tissue(field(), [TUMOUR], rules, seed=1)
    found = {(p.row, p.column) for p in error.value.problems}
    assert {(1, "cell"), (2, "signal"), (2, "behaviour"), (2, "direction"), (2, "half_max")} <= found
    assert "tumour" in error.value.problems[0].remedy
    with pytest.raises(ModelError, match="not below 0"):
        Tissue(field(), [Kind("tumour", {"apoptosis": -1.0})], seed=1)


def test_more_cells_than_the_capacity_and_places_outside_are_refused():
    model = Tissue(field(), [TUMOUR], seed=1, capacity=3)
    with pytest.raises(ModelError, match="at most 3 cells"):
        model.add("tumour", np.full((4, 2), 100.0))
    with pytest.raises(ModelError, match="outside"):
        model.add("tumour", [[100.0, 500.0]])
    with pytest.raises(ModelError, match="multiple"):
        Tissue(field(), [TUMOUR], seed=1, steps=Steps(phenotype_min=0.25))


def test_kept_code_goes_by_all_sources_of_the_package():
    from icans.tissue import compiled
    from icans.tissue.agents.motion import forces
    from icans.tissue.field.sweeps import factored

    for kernel in (forces, factored):
        assert kernel._cache._cache_file._source_stamp[1] == compiled._sources()
