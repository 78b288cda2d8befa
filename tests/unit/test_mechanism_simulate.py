"""Simulation: events, triggers, failures, sameness of results, derivatives, trajectories on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.engine import simulate as module
from icans.mechanism.engine.simulate import Control, Dose, Reset, Switch, Trigger, simulate
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.mechanism.reference import solve
from icans.mechanism.trajectory import read_trajectory
from small_patient import small_doses, small_model

Array = npt.NDArray[np.float64]
MODEL = small_model()
TIMES = np.arange(0.0, 241.0, 6.0)


def own(name: str, value: float, upper: float = 100.0) -> Parameter:
    return Parameter(name, value, "1", name, "line", lower=-100.0, upper=upper)


def line_model() -> PatientModel:
    """``X`` rises evenly, ``Y`` is lost at a rate that a switch may change, ``Z`` runs away if ``burst`` is above 0."""
    m = Builder()
    m.module("line", "A line")
    m.state("X", "1", "rises")
    m.flow("X", "slope")
    m.state("Y", "mg", "lost", initial="y_0")
    m.flow("Y", "-loss*Y")
    m.state("Z", "1", "runs away", initial="1")
    m.flow("Z", "burst*Z**2 - Z*(1 - burst)*0.1")
    m.let("X2", "2*X")
    m.input("into_Y", "drug", "Y", "mg", scale="gain", lag_h="lag")
    values = {"slope": 1.0, "loss": 0.1, "y_0": 0.0, "burst": 0.0, "gain": 1.0, "lag": 0.0}
    return assemble(m, ParameterTable(tuple(own(n, v) for n, v in values.items())), "line")


LINE = line_model()


def people(n: int, seed: int = 1) -> Array:
    base = MODEL.parameters.values_array()
    return np.asarray(base * np.exp(0.2 * np.random.default_rng(seed).standard_normal((n, len(base)))))


def test_agrees_with_the_reference() -> None:
    mine = simulate(MODEL, None, small_doses(), TIMES, outputs=MODEL.state_names, rtol=1e-9)
    other = solve(MODEL, None, small_doses(), TIMES, outputs=MODEL.state_names, method="Radau", rtol=1e-10, atol=1e-12)
    scale = np.abs(other.values) + 1e-3 * np.abs(other.values).max(axis=0) + 1e-12
    assert (np.abs(mine.values[0] - other.values) / scale).max() < 1e-6
    assert mine.units["IL6"] == "pg/mL"
    assert mine.provenance.synthetic


def test_results_do_not_depend_on_threads_order_or_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = people(23)
    first = simulate(MODEL, values, small_doses(), TIMES, threads=1).values
    assert np.array_equal(first, simulate(MODEL, values, small_doses(), TIMES, threads=3).values)
    order = np.random.default_rng(2).permutation(23)
    assert np.array_equal(first[order], simulate(MODEL, values[order], small_doses(), TIMES).values)
    assert np.array_equal(first[4:5], simulate(MODEL, values[4:5], small_doses(), TIMES).values)  # one lane
    monkeypatch.setattr(module, "LANES", 8)
    assert np.array_equal(first, simulate(MODEL, values, small_doses(), TIMES).values)


def test_output_times_change_neither_steps_nor_values() -> None:
    few = simulate(MODEL, None, small_doses(), [0.0, 60.0, 240.0])
    many = simulate(MODEL, None, small_doses(), np.linspace(0, 240, 961))
    assert np.array_equal(few.steps, many.steps)
    assert np.array_equal(few.values[0, 1], many.values[0, 240])


def test_every_patient_may_have_times_of_his_own() -> None:
    values = people(2)
    times = np.array([[0.0, 5.0, 30.0], [12.0, 50.0, np.nan]])
    found = simulate(MODEL, values, small_doses(), times, outputs=["IL6"])
    alone = simulate(MODEL, values[1], small_doses(), [12.0, 50.0], outputs=["IL6"])
    assert np.array_equal(found["IL6"][1, :2], alone["IL6"][0])
    assert np.isnan(found["IL6"][1, 2])
    assert len(found.frame()) == 5


def test_value_at_a_dose_is_the_one_before_it() -> None:
    found = simulate(LINE, None, [Dose(0, "drug", 5, "mg"), Dose(10, "drug", 7, "mg")], [0, 10, 10.0 + 1e-9])
    before = 5 * np.exp(-1)
    np.testing.assert_allclose(found["Y"][0], [0, before, before + 7], rtol=1e-6)


def test_reset_and_switch() -> None:
    actions = [Reset(5, "X", 100.0), Reset(5, "Y", 1.0), Switch(5, "loss", 0.5)]
    found = simulate(LINE, None, actions, [5.0, 6.0])
    assert found["X"][0].tolist() == pytest.approx([5.0, 101.0], rel=1e-9)
    assert found["Y"][0, 1] == pytest.approx(np.exp(-0.5), rel=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 7.25, 11.999])
def test_trigger_fires_at_the_exact_root(threshold: float) -> None:
    trigger = Trigger("X2", 2 * threshold, "up", (Dose(1.0, "drug", 3, "mg"),), delay_h=0.5, label="rule")
    found = simulate(LINE, None, (), [threshold + 1.4999, threshold + 2.5], triggers=[trigger])
    assert [f.label for f in found.fired] == ["rule"]
    assert found.fired[0].time_h == pytest.approx(threshold, abs=1e-9)
    assert found["Y"][0] == pytest.approx([0.0, 3 * np.exp(-0.1)], rel=1e-6, abs=1e-7)


def test_trigger_down_is_repeated_at_each_passage() -> None:
    trigger = Trigger("Y", 1.0, "down", (Dose(0.0, "drug", np.e - 1, "mg"),), max_times=3)
    found = simulate(LINE, {"y_0": np.e}, (), [0.0, 50.0], triggers=[trigger], rtol=1e-9)
    np.testing.assert_allclose([f.time_h for f in found.fired], [10, 20, 30], rtol=1e-6)


def test_sustained_trigger_asks_again_after_its_lockout() -> None:
    again = Trigger("X", 3.0, "up", (Dose(0.0, "drug", 1, "mg"),), lockout_h=4.0, max_times=3, sustained=True)
    found = simulate(LINE, None, (), [0.0, 50.0], triggers=[again])
    np.testing.assert_allclose([f.time_h for f in found.fired], [3, 7, 11], atol=1e-9)
    once = simulate(LINE, None, (), [0.0, 50.0], triggers=[Trigger("X", 3.0, max_times=3, lockout_h=4.0)])
    assert len(once.fired) == 1
    beyond = simulate(LINE, None, (), [0.0, 5.0], triggers=[Trigger("X", -1.0, sustained=True)])
    assert [f.time_h for f in beyond.fired] == [0.0]


def test_overlapping_infusions_of_a_trigger_add_up() -> None:
    course = (Dose(0.0, "drug", 10, "mg", duration_h=10),)
    trigger = Trigger("X", 2.0, "up", course, lockout_h=2.0, max_times=3, sustained=True)
    found = simulate(LINE, {"loss": 0.0}, (), [40.0], triggers=[trigger])
    assert found["Y"][0, 0] == pytest.approx(30.0, rel=1e-9)


def test_a_trigger_among_many_patients_does_not_touch_the_others() -> None:
    slopes = np.linspace(0.1, 2.0, 9)
    trigger = Trigger("X", 5.0, "up", (Dose(0.0, "drug", 1, "mg"),))
    found = simulate(LINE, {"slope": slopes}, (), [0.0, 20.0], triggers=[trigger], rtol=1e-8)
    np.testing.assert_allclose([f.time_h for f in found.fired], (5 / slopes)[5 / slopes <= 20], rtol=1e-6)
    assert (found["Y"][5 / slopes > 20] == 0).all()


def test_a_patient_who_fails_stops_nobody() -> None:
    burst = np.zeros(9)
    burst[4] = 1.0  # Z = 1/(1 - t)
    found = simulate(LINE, {"burst": burst}, (), [0.0, 0.5, 2.0])
    assert found.ok.tolist() == [p != 4 for p in range(9)]
    assert (found.failures[0].patient, found.failures[0].state) == (5, "Z")
    assert found.failures[0].time_h == pytest.approx(1.0, abs=1e-3)
    assert found["Z"][4, 1] == pytest.approx(2.0, rel=1e-5)
    assert np.isnan(found["Z"][4, 2])
    assert np.isfinite(found["Z"][found.ok]).all()


def test_too_many_steps_is_told() -> None:
    found = simulate(MODEL, None, small_doses(), TIMES, control=Control(max_steps=10))
    assert "too many steps" in found.failures[0].reason


def test_steady_start() -> None:
    found = simulate(LINE, {"slope": 0.0, "y_0": 3.0}, (), [0.0, 10.0], start="steady", outputs=["Y", "Z"])
    assert np.abs(found.values).max() < 1e-6
    runs_away = simulate(LINE, {"burst": np.array([1.0, 0.0])}, (), [0.0, 1.0], start="steady")
    assert runs_away.ok.tolist() == [False, True]
    assert "steady" in runs_away.failures[0].reason


def test_start_from_given_states_continues_a_course() -> None:
    doses = [d for d in small_doses() if d.time_h < 100]
    whole = simulate(MODEL, None, doses, [120.0, 200.0], rtol=1e-9)
    half = simulate(MODEL, None, doses, [120.0], rtol=1e-9)
    assert half.end is not None
    rest = simulate(MODEL, None, (), [200.0], start=half.end, t_start=120.0, rtol=1e-9)
    np.testing.assert_allclose(rest.values[0, 0], whole.values[0, 1], rtol=1e-6, atol=1e-9)


def test_derivatives_agree_with_differences() -> None:
    by, names = ("rho", "p_il6", "f_sc", "lag_sc", "log_scale", "gam"), ("IL6", "A_CEN", "CRP", "leakiness")
    times = [0.0, 50.0, 100.0, 121.7, 150.0, 200.0]
    # Below 38 Cel: where the model itself has a step, the moment of passing it is not differentiated.
    model = MODEL.with_parameters({"temp_gain": 0.2})
    exact = simulate(model, None, small_doses(), times, outputs=names, sensitivities=by, rtol=1e-9)
    assert exact.derivatives is not None
    base = model.parameters.values_array()
    for j, name in enumerate(by):
        place, step = MODEL.parameters.place(name), 1e-4 * MODEL.parameters[name].value
        moved = np.tile(base, (4, 1))
        moved[:, place] += step * np.array([1, -1, 2, -2])
        f = simulate(model, moved, small_doses(), times, outputs=names, rtol=1e-11).values
        slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * step)
        error = np.abs(exact.derivatives[0, :, :, j] - slope).max(axis=0)
        noise = 1e-8 * np.abs(f[0]).max(axis=0) / MODEL.parameters[name].value
        assert (error <= 1e-5 * np.abs(slope).max(axis=0) + noise).all(), (name, error)


def test_derivatives_are_the_same_in_every_lane() -> None:
    values = people(6)
    many = simulate(MODEL, values, small_doses(), TIMES, outputs=["IL6"], sensitivities=["rho", "lag_sc", "gam"])
    one = simulate(MODEL, values[3], small_doses(), TIMES, outputs=["IL6"], sensitivities=["rho", "lag_sc", "gam"])
    assert np.array_equal(many.derivative("IL6", "lag_sc")[3], one.derivative("IL6", "lag_sc")[0])


def test_infusions_rates_and_their_derivative() -> None:
    doses = [Dose(1, "drug", 10, "mg", duration_h=4)]
    found = simulate(LINE, {"lag": 0.5}, doses, [3.0], outputs=["Y"], sensitivities=["gain", "lag"], rtol=1e-10)
    grown = 2.5 * (1 - np.exp(-0.15)) / 0.1
    assert found["Y"][0, 0] == pytest.approx(grown, rel=1e-8)
    assert found.derivative("Y", "gain")[0, 0] == pytest.approx(grown, rel=1e-7)
    assert found.derivative("Y", "lag")[0, 0] == pytest.approx(-2.5 * np.exp(-0.15), rel=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {"rhoo": 1.0}}, "'rho'"),
        ({"parameters": {"rho": -1.0}}, "from 0"),
        ({"parameters": {"rho": np.nan}}, "a number from"),
        ({"parameters": np.ones((2, 3))}, "shape"),
        ({"times": []}, "ascending"),
        ({"times": [3.0, 1.0]}, "ascending"),
        ({"times": [-1.0, 1.0]}, "hours from 0"),
        ({"times": [0.0, np.nan]}, "ascending"),
        ({"doses": [Dose(-5, "car_t", 1, "1e6 cells")]}, "start"),
        ({"doses": [[], []]}, "one list of doses"),
        ({"doses": [Dose(0, "car_t", 1, "kg")]}, "converts"),
        ({"outputs": ["IL_6"]}, "'IL6'"),
        ({"outputs": []}, "at least one"),
        ({"start": "rest"}, "'steady'"),
        ({"start": np.zeros(3)}, "finite states"),
        ({"rtol": 0.0}, "1e-14"),
        ({"atol": -1.0}, "above 0"),
        ({"sensitivities": ["rhoo"]}, "'rho'"),
        ({"sensitivities": ["rho"], "triggers": [Trigger("IL6", 1.0)]}, "no triggers"),
        ({"sensitivities": ["rho"], "doses": [Switch(1, "rho", 0.1)]}, "no switch"),
    ],
)  # fmt: skip
def test_refused_before_anything_runs(change: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"parameters": None, "doses": (), "times": TIMES} | change
    with pytest.raises(ModelError, match=said):
        simulate(MODEL, **given)  # type: ignore[arg-type]


def test_parameters_from_a_table() -> None:
    table = pd.DataFrame({"rho": [0.03, 0.05]})
    found = simulate(MODEL, table, small_doses(), [100.0], outputs=["CAR_E"])
    assert found["CAR_E"][0, 0] < found["CAR_E"][1, 0]


def test_interruption_ends_the_threads() -> None:
    def interrupt(done: int, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(MODEL, people(64), small_doses(), TIMES, threads=2, progress=interrupt)
    told: list[int] = []
    simulate(MODEL, people(64), small_doses(), TIMES, threads=2, progress=lambda done, n: told.append(done))
    assert told[-1] == 64


def test_trajectory_on_disk(tmp_path: Path) -> None:
    trigger = Trigger("IL6", 50.0, "up", label="high")
    found = simulate(MODEL, people(3), small_doses(), TIMES, triggers=[trigger])
    found.write(tmp_path / "run")
    back = read_trajectory(tmp_path / "run")
    assert np.array_equal(back.values, found.values)
    assert back.names == found.names
    assert back.fired == found.fired
    assert back.failures == found.failures
    assert back.provenance == found.provenance
    with pytest.raises(FileExistsError):
        found.write(tmp_path / "run")
    exact = simulate(MODEL, people(2), (), [0.0, 9.0], outputs=["IL6"], sensitivities=["rho"])
    exact.write(tmp_path / "other")
    again = read_trajectory(tmp_path / "other")
    assert again.derivatives is not None
    assert np.array_equal(again.derivatives, exact.derivatives)


def test_tidy_table() -> None:
    found = simulate(MODEL, people(2), small_doses(), [0.0, 10.0], outputs=["IL6", "CRP"])
    table = found.frame()
    assert len(table) == 8
    assert table["synthetic"].all()
    row = table[(table["patient"] == 2) & (table["time_h"] == 10) & (table["quantity"] == "CRP")]
    assert row["value"].item() == found["CRP"][1, 1]
    assert row["unit"].item() == "mg/L"
    with pytest.raises(KeyError, match="IL6"):
        found["IL_6"]


def test_steady_state_and_its_derivative() -> None:
    m = Builder()
    m.module("turnover", "Turnover")
    m.state("R", "1", "response", initial="1")
    m.flow("R", "k_in - k_out*R**2")
    m.state("COUNT", "1", "adds up", initial="2")
    m.flow("COUNT", "R")
    model = assemble(m, ParameterTable((own("k_in", 3.0), own("k_out", 0.2))), "turnover")
    found = simulate(model, None, (), [0.0, 5.0], start="steady", sensitivities=["k_in", "k_out"])
    level = np.sqrt(3.0 / 0.2)
    np.testing.assert_allclose(found["R"][0], level, rtol=1e-9)
    np.testing.assert_allclose(found["COUNT"][0], [2, 2 + 5 * level], rtol=1e-7)
    np.testing.assert_allclose(found.derivative("R", "k_in")[0], level / 6, rtol=1e-7)
    np.testing.assert_allclose(found.derivative("R", "k_out")[0], -level / 0.4, rtol=1e-7)
