"""What happens to cells, at the rates asked for: killing, life, division, vessels, eating, three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from icans.tissue.agents.kinds import Kind
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.perfusion import perfusion_map
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Grid, Substance

STILL = Steps(mechanics_min=1.0, phenotype_min=6.0, mechanics=False)
SEIZE, KILL, DETACH = 0.02, 0.05, 0.1


def empty(
    kinds: list[Kind], rules: tuple[Rule, ...] = (), steps: Steps = STILL, side: int = 60, seed: int = 3
) -> Tissue:
    return Tissue(Field(Grid((side, side), 20.0), [Substance("c", 0.0)]), kinds, rules, seed=seed, steps=steps)


def lattice(count: int, apart: float) -> np.ndarray:
    side = int(np.ceil(np.sqrt(count)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:count]
    return (grid + 1.0) * apart


def near(found: float, expected: float, count: int) -> bool:
    return abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_pairs_die_as_the_chain_of_seizing_killing_and_letting_go_says():
    effector = {"attack prey": SEIZE, "kill rate": KILL, "cell detachment rate": DETACH}
    steps = Steps(mechanics_min=0.2, phenotype_min=6.0, mechanics=False)
    model = empty([Kind("T", effector), Kind("prey")], steps=steps, side=120)
    place = lattice(1600, 55.0)
    model.add("T", place)
    model.add("prey", place + np.array([12.0, 0.0]))
    model.run(60.0)
    chain = np.array([[-SEIZE, SEIZE, 0], [DETACH, -DETACH - KILL, KILL], [0, 0, 0]])
    assert near(model.kills.sum() / 1600, (expm(60 * chain))[0, 2], 1600)
    assert model.kills[0, 1] == model.kills.sum()


def test_prey_held_by_one_is_spared_by_others():
    effector = {"attack prey": 10.0}
    for alone, held in ((True, 1), (False, 3)):
        model = empty([Kind("T", effector, alone=alone), Kind("prey")])
        model.add("prey", [[100.0, 100.0]])
        model.add("T", [[110.0, 100.0], [90.0, 100.0], [100.0, 110.0]])
        model.run(6.0)
        assert (model.cells["partner"] >= 0).sum() == held


def test_a_finite_life_is_survived_by_the_power_of_what_is_left():
    steps = Steps(mechanics_min=6.0, phenotype_min=6.0, mechanics=False)
    model = empty([Kind("T", life=(1200.0, 1 / 6))], steps=steps)
    model.add("T", lattice(2000, 20.0))
    model.run(900.0)
    assert near(model.count("T") / 2000, 0.25 ** (1 / 6), 2000)
    model.run(1206.0)
    assert model.count("T") == 0


def test_a_clock_divides_all_at_its_time_and_chance_divides_as_it_falls():
    model = empty([Kind("clock", {"cycle entry": 0.01}, clock_cv=0.0), Kind("chance", {"cycle entry": 0.01})])
    model.add("clock", lattice(10, 30.0))
    model.add("chance", lattice(1000, 30.0))
    model.run(96.0)
    assert model.count("clock") == 10
    mean = np.exp(0.96)  # a Yule process has mean exp(rt) and variance exp(rt)(exp(rt) - 1)
    assert abs(model.count("chance") / 1000 - mean) < 4 * np.sqrt(mean * (mean - 1) / 1000)
    model.run(108.0)
    assert model.count("clock") == 20


def test_a_ramp_rises_over_its_width_and_scaling_multiplies_by_the_trait():
    rules = tuple(
        Rule("cell", "trait", "increases", name, 1.0, 1.25, 1.5, shape="linear")
        for name in ("immunogenicity", "apoptosis")
    )
    kind = Kind("cell", {"immunogenicity": 0.0}, scaled=("apoptosis",))
    model = empty([kind], rules)
    for trait in (0.3, 0.5, 1.0, 2.0, 3.0):
        model.add("cell", [[100.0, 100.0]], trait=trait)
    model._boxes()
    model._sense_and_rule()
    b, names = model.cells.behaviour[:, :5], model.names.behaviours
    ramp = np.array([0.0, 0.0, 1 / 3, 1.0, 1.0])
    assert b[names["immunogenicity"]] == pytest.approx(ramp)
    assert b[names["apoptosis"]] == pytest.approx(ramp * [0.3, 0.5, 1.0, 2.0, 3.0])


def test_vessels_plug_lose_their_barrier_and_let_cells_in_at_their_rates():
    does = {"plugging rate": 0.02, "unplugging rate": 0.06, "barrier loss rate": 0.01, "barrier repair rate": 0.03,
            "extravasation of T": 0.002}  # fmt: skip
    model = empty([Kind("vessel", does, movable=False, vessel=True), Kind("T")])
    model.circulating[1] = 0.5
    model.add("vessel", lattice(900, 30.0))
    model.run(120.0)
    vessels = model.of("vessel")
    assert near(model.cells["plugged"][vessels].mean(), 0.25, 900)
    assert model.cells["barrier"][vessels] == pytest.approx(0.75 + 0.25 * np.exp(-0.04 * 120), rel=1e-9)
    time = np.arange(6, 126, 6.0)
    opened = (0.75 + 0.25 * np.exp(-0.08 * time)).sum() * 6 * 900
    assert abs(model.count("T") - 0.001 * opened) < 4 * np.sqrt(0.001 * opened)


def test_perfusion_is_the_open_part_of_the_capillaries_near_by():
    model = empty([Kind("vessel", movable=False, vessel=True)])
    model.add("vessel", [[300.0, 300.0], [340.0, 300.0], [900.0, 900.0]])
    model.cells.data["plugged"][:3] = [1, 0, 1]
    found = perfusion_map(model).reshape(60, 60)
    assert found[15, 15:17].mean() == pytest.approx(0.5)
    assert found[15, 12] < 0.5 < found[15, 19]
    assert (found[45, 45], found[5, 50]) == (0.0, 1.0)


def test_dead_neighbours_are_eaten():
    model = empty([Kind("microglia", {"phagocytose dead cell": 1e3}), Kind("neuron")])
    model.add("microglia", [[100.0, 100.0]])
    model.add("neuron", [[110.0, 100.0], [500.0, 500.0]], state=1)
    model.add("neuron", [[100.0, 110.0]])
    model.step()
    assert sorted(model.cells["state"][model.of("neuron")]) == [0, 1]


def test_a_walk_in_three_dimensions_spreads_alike_along_all_axes():
    field = Field(Grid((60, 60, 60), 20.0), [Substance("c", 0.0)])
    walker = Kind("walker", {"migration speed": 5.0, "migration persistence time": 10.0})
    model = Tissue(field, [walker], seed=2, steps=STILL)
    model.add("walker", np.full((2000, 3), 600.0))
    model.run(60.0)
    square = ((model.cells["x"] - 600) ** 2).mean(axis=1)
    expected = 2 * 25 * 10 * (60 - 10 * (1 - np.exp(-6))) / 3
    assert square == pytest.approx(np.full(3, expected), rel=0.12)


def test_a_full_bias_climbs_the_gradient_at_full_speed():
    field = Field(Grid((20, 60), 20.0), [Substance("CCL2", 0.0)], np.tile(np.arange(60.0), (1, 20, 1)))
    kind = Kind("T", {"migration speed": 5.0, "migration bias": 1.0, "chemotactic response to CCL2": 1.0})
    model = Tissue(field, [kind], seed=1, steps=STILL)
    model.add("T", [[100.0, 200.0]])
    model.run(60.0)
    assert model.cells["x"][0, 0] == pytest.approx(100 + 5 * 60.5, abs=3)
    assert model.cells["x"][1, 0] == pytest.approx(200, abs=1e-6)


@pytest.mark.parametrize("arrested", [False, True])
def test_life_of_a_held_cell_stands_still_if_it_is_so(arrested):
    """Held from the start and never killed: free prey, and prey that is not arrested, divides by its clock."""
    steps = Steps(mechanics=False)
    held = Kind("prey", {"cycle entry": 1 / 50.0}, clock_cv=0.0, arrested=arrested)
    model = empty([Kind("T", {"attack prey": 1e4}), held], steps=steps)
    model.add("prey", [[100.0, 100.0], [150.0, 150.0]])  # the second is held by nobody
    model.add("T", [[112.0, 100.0]])
    model.run(0.1)
    assert model.cells["held"].max() == 1
    model.run(120.0)
    prey, left = model.of("prey"), model.cells["x"][0] < 130
    assert (prey & left).sum() == (1 if arrested else 4)
    assert (prey & ~left).sum() == 4
    if arrested:
        assert model.cells["age"][prey & left][0] == 6.0  # the step at the start, before it was held


def test_prey_draws_between_its_distances_only():
    """Towards prey at ``rate * d`` (exponentially) from ``far`` down to ``near``; nothing beyond, nothing within."""
    hunter = Kind("T", {"attack prey": 1e-12, "prey attraction": 0.01}, chase_um=(18.0, 40.0))
    ends = {}
    for start in (41.0, 30.0, 17.9):
        model = empty([hunter, Kind("prey", movable=False)], steps=Steps())
        model.add("prey", [[100.0, 100.0]])
        model.add("T", [[100.0 + start, 100.0]])
        model.run(30.0)
        ends[start] = model.cells["x"][0, model.of("T")][0] - 100.0
    assert ends[41.0] == 41.0
    assert ends[30.0] == pytest.approx(30.0 * np.exp(-0.3), rel=2e-3)
    assert ends[17.9] == pytest.approx(17.9, abs=0.35)  # adhesion alone
