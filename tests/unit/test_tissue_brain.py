"""A piece of brain between blood and the patient model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from icans.core.errors import ModelError, NotEstimableError
from icans.tissue.brain.build import brain_tissue, region_of
from icans.tissue.brain.macro import BrainCourse, MacroInput, run_brain, steady_input
from icans.tissue.closure import Closure, fit_closure, response
from icans.tissue.parameters import STATUSES, Region, numbers, values

SMALL = {"box_um": 200.0}
BLOOD = {"IL6": 400.0, "TNF": 5.0, "IL1B": 8.0, "IFNG": 100.0, "MCP1": 3000.0}


@pytest.fixture(scope="module")
def ill() -> BrainCourse:
    return run_brain("cortex", steady_input(BLOOD, 0.4, 100.0), 30, seed=1, changed=SMALL)


def test_rest_is_a_steady_state() -> None:
    course = run_brain("thalamus", steady_input({}, 1.0, 0.0), 6, seed=1, changed=SMALL)
    assert course.injury.max() == 0
    assert course.production.max() == 0
    assert course.active.max() == 0
    leak = course.substances.index("LEAK")
    assert 0 < course.level[-1, leak] < 1


def test_blood_sets_the_tissue_off(ill: BrainCourse) -> None:
    il6 = ill.substances.index("IL6")
    assert ill.production[-1, il6] > 50
    assert ill.active[-1] > 0.05
    assert ill.amplification() > 1
    assert np.all(np.diff(ill.time_h) > 0)
    assert 0 <= ill.injury.min() <= ill.injury.max() <= 1


def test_the_same_seed_gives_the_same_course(ill: BrainCourse) -> None:
    again = run_brain("cortex", steady_input(BLOOD, 0.4, 100.0), 30, seed=1, changed=SMALL)
    for name in ("level", "production", "injury", "active"):
        np.testing.assert_array_equal(getattr(ill, name), getattr(again, name))


def test_effective_clearance_is_decay_and_uptake(ill: BrainCourse) -> None:
    """IL-6 made in the tissue: its own loss plus uptake by cells (closed box, no exchange)."""
    il6 = ill.substances.index("IL6")
    v = values(SMALL)
    loss = next(s.loss_per_h for s in numbers().substances if s.name == "IL6")
    assert float(np.median(ill.clearance[-10:, il6])) == pytest.approx(loss + v["uptake"], rel=0.15)


def test_a_loss_of_barrier_lets_more_in() -> None:
    leak = []
    for barrier in (1.0, 0.5):
        course = run_brain("cortex", steady_input({}, barrier, 0.0), 8, seed=1, changed=SMALL)
        leak.append(course.influx[-1, course.substances.index("LEAK")])
    assert leak[1] > 5 * leak[0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: brain_tissue("liver", seed=1), "region"),
        (lambda: brain_tissue("cortex", {"speed": 1.0}, seed=1), "No such parameter"),
        (lambda: brain_tissue("cortex", {"toxicity": -1.0}, seed=1), "toxicity"),
        (lambda: brain_tissue("cortex", {"box_um": 20.0}, seed=1), "The box is empty"),
        (lambda: MacroInput(np.array([1.0, 0.0]), {}, np.ones(2), np.zeros(2)), "rising times"),
        (lambda: MacroInput(np.array([0.0, 1.0]), {"IL6": np.ones(3)}, np.ones(2), np.zeros(2)), "plasma IL6"),
        (lambda: steady_input({"IL6": -1.0}, 1.0, 0.0), "above health"),
        (lambda: steady_input({}, 1.5, 0.0), "integrity"),
        (lambda: run_brain("cortex", steady_input({"IL8": 1.0}, 1.0, 0.0), 1, seed=1), "IL8"),
        (lambda: run_brain("cortex", steady_input({}, 1.0, 0.0), 0, seed=1), "hours"),
    ],
)
def test_refused_with_a_reason(wrong: Any, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        wrong()


def test_every_number_has_a_source_and_a_range() -> None:
    for p in numbers().parameters.values():
        assert p.status in STATUSES
        assert p.source
        assert p.low <= p.value <= p.high
        assert p.at(0.0) == pytest.approx(p.low)
        assert p.at(1.0) == pytest.approx(p.high)
    for row in (*numbers().substances, *numbers().regions.values()):
        assert row.status in STATUSES
        assert row.source


def test_a_region_of_ones_own() -> None:
    place = Region(**{**vars(region_of("cortex")), "name": "scar", "capillaries_mm2": 60.0})
    assert brain_tissue(place, SMALL, seed=1).count("vessel") == 2


def test_the_closure_finds_the_numbers_it_was_made_with() -> None:
    truth = np.array([900.0, 80.0, 1.6, 0.8, 1.3])
    plasma, loss = (a.ravel() for a in np.meshgrid([0, 20, 60, 200, 1000], [0, 0.2, 0.5, 0.9]))
    rng = np.random.default_rng(1)
    made = np.maximum(response(truth, plasma, loss) + rng.normal(0, 5, plasma.size), 0)
    found = fit_closure(np.tile(plasma, 2), np.tile(loss, 2), np.tile(made, 2), seed=1, refits=20)
    np.testing.assert_allclose(found.values, truth, rtol=0.25)
    assert found.error < 0.05
    low, high = found.interval([100.0], [0.3])
    assert low[0] <= found.production([100.0], [0.3])[0] <= high[0]
    assert isinstance(found, Closure)


def test_a_closure_needs_runs() -> None:
    with pytest.raises(NotEstimableError, match="three levels"):
        fit_closure([0, 1], [0, 1], [0, 1], seed=1)
    with pytest.raises(ModelError, match="finite"):
        fit_closure([0, 1, np.nan], [0, 1, 2], [0, 1, 2], seed=1)
