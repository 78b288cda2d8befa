"""Prepared simulations: the same bits as simulations made anew, whoever's doses and times they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose
from icans.mechanism.engine.prepared import prepare
from icans.mechanism.engine.simulate import Switch, simulate
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_doses, small_model

MODEL = small_model()
TIMES = np.array([0.0, 20.0, 60.0, 130.0])
BY = ("rho", "f_sc", "lag_sc", "gam")


def people(n: int) -> np.ndarray:
    base = MODEL.parameters.values_array()
    return np.asarray(base * np.exp(0.2 * np.random.default_rng(4).standard_normal((n, len(base)))))


@pytest.mark.parametrize("by", [(), BY])
@pytest.mark.parametrize("n", [1, 6])
def test_a_run_gives_what_a_simulation_gives(n: int, by: tuple[str, ...]) -> None:
    made = prepare(MODEL, small_doses(), TIMES, outputs=("IL6", "leakiness"), sensitivities=by)
    for _ in range(2):  # a workspace is used again
        found = made.run(people(n))
    anew = simulate(MODEL, people(n), small_doses(), TIMES, outputs=("IL6", "leakiness"), sensitivities=by)
    assert found.ok.all()
    assert np.array_equal(found.values, anew.values)
    assert found.steps.tolist() == anew.steps.tolist()  # type: ignore[union-attr]
    if by:
        assert anew.derivatives is not None
        assert np.array_equal(found.derivatives, anew.derivatives)


def test_rows_take_the_doses_and_times_of_their_subject() -> None:
    doses = [small_doses(), [Dose(3, "car_t", 40, "1e6 cells")], []]
    times = np.array([[5.0, 50.0], [7.0, np.nan], [2.0, 90.0]])
    made = prepare(MODEL, doses, times, outputs=("IL6",), sensitivities=("rho", "lag_sc"))
    who = [2, 0, 0, 1, 2]
    found = made.run(people(5), who)
    for row, subject in enumerate(who):
        own = times[subject][~np.isnan(times[subject])]
        alone = simulate(MODEL, people(5)[row], doses[subject], own, outputs=("IL6",), sensitivities=("rho", "lag_sc"))
        assert alone.derivatives is not None
        np.testing.assert_array_equal(found.values[row, : len(own)], alone.values[0])
        np.testing.assert_array_equal(found.derivatives[row, : len(own)], alone.derivatives[0])
        assert np.isnan(found.values[row, len(own) :]).all()


def turnover() -> PatientModel:
    m = Builder()
    m.module("turnover", "Turnover")
    m.state("R", "1", "response", initial="1")
    m.flow("R", "k_in - k_out*R**2")
    rows = (Parameter("k_in", 3.0, "1", "in", "turnover"), Parameter("k_out", 0.2, "1", "out", "turnover"))
    return assemble(m, ParameterTable(rows), "turnover")


def test_steady_start_of_each_row() -> None:
    model, values = turnover(), np.array([[3.0, 0.2], [1.0, 0.5]])
    made = prepare(model, (), [0.0, 30.0], outputs=("R",), start="steady", sensitivities=("k_in",))
    found = made.run(values)
    level = np.sqrt(values[:, 0] / values[:, 1])
    np.testing.assert_allclose(found.values[:, :, 0], np.repeat(level[:, None], 2, axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.derivatives[:, 1, 0, 0], level / (2 * values[:, 0]), rtol=1e-7)


def test_parameters_out_of_bounds_are_refused_when_checked_and_harm_nobody_else() -> None:
    made = prepare(MODEL, small_doses(), TIMES, outputs=("IL6",), sensitivities=("rho",))
    bad = people(5)
    bad[2, MODEL.parameters.place("rho")] = np.nan
    with pytest.raises(ModelError, match="rho"):
        made.run(bad, check=True)
    found = made.run(bad)
    assert found.ok.tolist() == [True, True, False, True, True]
    assert np.array_equal(found.values[[0, 1, 3, 4]], made.run(people(5)).values[[0, 1, 3, 4]])
    assert np.isfinite(made.run(people(5)).derivatives).all()  # what was no number in a lane is not left in it


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outputs": ["IL_6"]}, "'IL6'"), ({"sensitivities": ["rhoo"]}, "'rho'"), ({"times": [3.0, 1.0]}, "ascending"),
        ({"doses": [[], []], "times": np.ones((3, 1))}, "one list of doses"), ({"rtol": 0.0}, "1e-14"),
        ({"sensitivities": ["rho"], "doses": [Switch(1, "rho", 0.1)]}, "no switch"),
        ({"start": np.zeros(3)}, "finite states"), ({"start": "rest"}, "'steady'"),
    ],
)  # fmt: skip
def test_refused_when_prepared(change: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        prepare(MODEL, **({"doses": (), "times": TIMES} | change))  # type: ignore[arg-type]


def test_refused_when_run() -> None:
    made = prepare(MODEL, [small_doses(), []], TIMES, outputs=("IL6",))
    assert made.subjects == 2
    for who in ([0, 2], [0], [-1, 0]):
        with pytest.raises(ModelError, match="from 0 to 1"):
            made.run(people(2), who)
    with pytest.raises(ModelError, match="shape"):
        made.run(np.ones((2, 3)))
    with pytest.raises(ModelError, match="at least one"):
        made.run(people(0))
