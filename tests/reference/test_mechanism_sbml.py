"""The SBML file in libRoadRunner and in COPASI against this package's own trajectories.

Both programs integrate the file's equations with their own solvers (CVODE; LSODA) and their own handling of events.
"""

from __future__ import annotations

import locale
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.mechanism.doses import Dose, Reset, Switch
from icans.mechanism.engine.simulate import scales, simulate
from icans.mechanism.patient import patient_model
from icans.mechanism.reference import initial, rates, solve

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_doses, small_model

pytest.importorskip("libsbml")
from icans.exchange.sbml import export_sbml, write_sbml
from icans.exchange.sbml_folding import folded_values
from icans.exchange.sbml_reading import read_sbml

#: Hours; none is a time of a dose, but the first (0), at which this package reports the value before the dose.
TIMES = np.concatenate([[0.0], np.arange(5.0, 480.0, 7.9)])


@pytest.fixture(scope="module", autouse=True)
def _locale() -> Iterator[None]:
    """The simulators set the C locale for the whole process; other tests read text in the user's."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


def values_of(model, n: int, key: str) -> np.ndarray:
    """Parameters of ``n`` synthetic patients, 20 % apart."""
    noise = stream(3, "sbml", key).normal(size=(n, len(model.parameters)))
    return model.parameters.values_array() * np.exp(0.2 * noise)


#: Tocilizumab as two infusions, dexamethasone as twelve injections.
TREATED = [
    Dose(0.0, "car_t", 1e8, "cells"),
    Dose(73.0, "tocilizumab", 560.0, "mg", duration_h=1.0),
    Dose(81.0, "tocilizumab", 560.0, "mg", duration_h=1.0),
    Dose(121.25, "dexamethasone", 10.0, "mg", every_h=6.0, count=12),
]


def patients_of(model, n: int) -> np.ndarray:
    """Parameters of ``n`` synthetic patients who vary as the table says (half as much, so that nobody is extreme)."""
    p, noise = model.parameters.values_array(), stream(3, "sbml patients").normal(size=(n, len(model.parameters)))
    rows = model.parameters.rows
    spread = np.array([0.5 * r.iiv if r.transform == "log" else 0.0 for r in rows])
    return np.clip(p * np.exp(spread * noise), [r.lower for r in rows], [r.upper for r in rows])


def in_roadrunner(
    text: str, names: tuple[str, ...], parameters: np.ndarray, model, times=TIMES, *, folded=False
) -> np.ndarray:
    """States of every patient, shape (patients, times, states): one loaded file, parameters set and reset."""
    roadrunner = pytest.importorskip("roadrunner")
    runner = roadrunner.RoadRunner(text)
    runner.integrator.relative_tolerance, runner.integrator.absolute_tolerance = 1e-9, 1e-12
    runner.integrator.maximum_num_steps = 200_000
    runner.timeCourseSelections = ["time", *names]
    found = []
    for row in parameters:
        for name, value in zip(model.parameters.names, row):
            runner[name] = float(value)
        for name, value in (folded_values(model, row) if folded else {}).items():
            runner[name] = value
        runner.reset()
        found.append(np.array(runner.simulate(times=times.tolist()))[:, 1:])
    return np.array(found)


def in_copasi(text: str, names: tuple[str, ...], times=TIMES) -> np.ndarray:
    """States of the file's patient, shape (times, states)."""
    basico = pytest.importorskip("basico")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = basico.load_model_from_string(text)
        method = {"name": "Deterministic (LSODA)", "Relative Tolerance": 1e-9, "Absolute Tolerance": 1e-12,
                  "Max Internal Steps": 1_000_000}  # fmt: skip
        basico.set_task_settings("Time-Course", {"method": method}, model=loaded)
        wanted = [f"Values[{n}]" for n in names]
        frame = basico.run_time_course_with_output(
            ["Time", *wanted], values=times.tolist(), start_time=0, model=loaded
        )  # fmt: skip
        basico.remove_datamodel(loaded)
    assert np.allclose(frame["Time"], times)
    return frame[wanted].to_numpy()


def agree(theirs: np.ndarray, ours: np.ndarray, model) -> None:
    """All states within 1e-4, relative.

    Relative to 1e-6 of a state's largest value where it is smaller than that, and to 1e-8 of its size (the typical
    initial value, or 1), as both solvers have absolute tolerances: oedema that never forms is 1e-14 in one and 2e-14
    in the other.
    """
    scale = np.abs(ours) + 1e-6 * np.abs(ours).max(axis=0) + 1e-8 * scales(model)
    off = (np.abs(theirs - ours) / scale).max(axis=0)
    assert off.max() < 1e-4, (model.state_names[off.argmax()], off.max())


def test_roadrunner_agrees_for_patients_of_the_patient_model(many: int) -> None:
    model = patient_model(["tocilizumab", "dexamethasone"])
    parameters = patients_of(model, many)
    ours = simulate(model, parameters, TREATED, TIMES, outputs=model.state_names, rtol=1e-8)
    assert not ours.failures
    text = export_sbml(model, None, TREATED, folded=True)
    theirs = in_roadrunner(text, model.state_names, parameters, model, folded=True)
    for patient, values in zip(theirs[:, 1:], ours.values[:, 1:]):
        agree(patient, values, model)


def test_copasi_agrees_for_the_patient_model() -> None:
    model = patient_model(["tocilizumab", "dexamethasone"])
    parameters = patients_of(model, 1)
    ours = simulate(model, parameters, TREATED, TIMES, outputs=model.state_names, rtol=1e-8)
    for row, values in zip(parameters, ours.values):
        theirs = in_copasi(export_sbml(model, row, TREATED), model.state_names)
        agree(theirs[1:], values[1:], model)


def test_roadrunner_agrees_for_small_patients_with_every_kind_of_dose(many: int) -> None:
    model, doses = small_model(), small_doses()
    parameters = values_of(model, many, "small")
    theirs = in_roadrunner(export_sbml(model, None, doses), model.state_names, parameters, model)
    for patient, row in zip(theirs[:, 1:], parameters):
        ours = solve(model, row, doses, TIMES, outputs=model.state_names, rtol=1e-9, atol=1e-12).values
        agree(patient, ours[1:], model)


def test_copasi_agrees() -> None:
    model, doses = small_model(), small_doses()
    for row in values_of(model, 3, "copasi"):
        theirs = in_copasi(export_sbml(model, row, doses), model.state_names)
        ours = solve(model, row, doses, TIMES, outputs=model.state_names, rtol=1e-9, atol=1e-12).values
        agree(theirs[1:], ours[1:], model)


def test_the_first_value_differs_by_the_dose_alone() -> None:
    model, doses = small_model(), small_doses()
    text = export_sbml(model, None, doses)
    theirs = in_roadrunner(text, model.state_names, model.parameters.values_array()[None], model)[0, 0]
    before = initial(model)
    dose = 100.0 * np.exp(model.parameters["log_scale"].value) / 1e4
    expected = before + dose * np.eye(len(before))[model.state_names.index("CAR_E")]
    np.testing.assert_allclose(theirs, expected, rtol=1e-12)


@pytest.mark.parametrize("program", ["roadrunner", "copasi"])
def test_start_before_infusion_resets_and_switches(program: str) -> None:
    model = small_model()
    actions = [
        Dose(-48.0, "antibody", 100.0, "mg", duration_h=3.0),
        Dose(0.0, "car_t", 200.0, "1e6 cells"),
        Reset(30.0, "IL6", 250.0),
        Dose(60.0, "antibody", 30.0, "mg"),
        Reset(60.0, "A_CEN", 5.0),
        Switch(100.0, "k_il6", 0.05),
    ]
    text = export_sbml(model, None, actions, t_start=-72.0)
    shifted = TIMES[:40]
    row = model.parameters.values_array()
    if program == "roadrunner":
        theirs = in_roadrunner(text, model.state_names, row[None], model, shifted)[0]
    else:
        theirs = in_copasi(text, model.state_names, shifted)
    ours = solve(model, None, actions, shifted - 72.0, outputs=model.state_names, t_start=-72.0, rtol=1e-9, atol=1e-12)
    agree(theirs, ours.values, model)


def test_round_trip(tmp_path: Path) -> None:
    model = small_model()
    write_sbml(tmp_path / "model.xml", model, {"kd": 0.123456789012345678}, small_doses())
    back = read_sbml(tmp_path / "model.xml")
    assert back.parameters["kd"].value == pytest.approx(0.123456789012345678, rel=1e-14)  # libsbml writes 15 digits
    assert back.parameters.names == model.parameters.names
    assert back.inputs == model.inputs
    assert back.units == model.units
    assert [m.title for m in back.modules] == [m.title for m in model.modules]
    assert back.drugs == model.drugs
    row = values_of(model, 1, "round trip")[0]
    y = np.linspace(0.5, 40.0, len(model.states))
    np.testing.assert_allclose(rates(back, y, row), rates(model, y, row), rtol=1e-14)
    np.testing.assert_allclose(initial(back, row), initial(model, row), rtol=1e-14)
    folded = read_sbml(export_sbml(model, row, small_doses(), folded=True))
    assert {d.name for d in folded.definitions} == {d.name for d in model.definitions}
    np.testing.assert_allclose(initial(folded), initial(model, row), rtol=1e-13)
    again = export_sbml(back, None, small_doses())
    assert export_sbml(read_sbml(again), None, small_doses()) == again


def test_what_is_refused() -> None:
    model = small_model()
    with pytest.raises(ModelError, match="from 0 h on"):
        export_sbml(model, None, [Dose(-1.0, "antibody", 1.0, "mg")])
    with pytest.raises(ModelError, match="Did you mean"):
        export_sbml(model, None, [Dose(1.0, "antibodi", 1.0, "mg")])
    with pytest.raises(ModelError, match="shape"):
        export_sbml(model, np.ones(3))
    with pytest.raises(ModelError, match="urn:icans:model"):
        other = '<sbml xmlns="http://www.sbml.org/sbml/level3/version2/core" level="3" version="2"><model id="m">'
        read_sbml(other + '<listOfParameters><parameter id="a" constant="true"/></listOfParameters></model></sbml>')
    with pytest.raises(ModelError, match="valid document"):
        read_sbml('<sbml xmlns="http://www.sbml.org/sbml/level3/version2/core" level="3" version="2"><modell/></sbml>')
