"""FOCEI on a compiled model: gradients as exact as the solver allows, and a synthetic population recovered."""

import numpy as np
import pandas as pd
import pytest

from icans.mechanism.doses import Dose
from icans.population.fit.focei import FoceiSettings, fit_focei, objective_of
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.simulating import simulated_records
from small_patient import small_model

MODEL = small_model()
CELLS = next(i for i in MODEL.inputs if i.drug != "antibody")


def cohort(subjects, rtol=1e-6, seed=2):
    """Synthetic patients of the small model: IL-6 (log-normal error) and CRP (combined).

    Until 144 h: later the temperature crosses a step of the model, whose moment depends on the parameters, and forward
    sensitivities of what comes after do not see that.
    """
    structural = ode_model(MODEL, ("rho", "p_il6"), ("IL6", "CRP"), rtol=rtol)
    times = np.array([12.0, 36.0, 72.0, 96.0, 120.0, 144.0])
    table = pd.DataFrame({"time_h": np.repeat(times, 2), "observable": ["il6", "crp"] * 6, "value": 1.0})
    people = [Subject(f"s{i}", table, (Dose(0.0, CELLS.drug, 3.0, CELLS.unit),), {"weight": 70.0})
              for i in range(subjects)]  # fmt: skip
    model = nlme_model(
        structural, [Individual(n, MODEL.parameters[n].value, iiv=s) for n, s in (("rho", 0.05), ("p_il6", 0.4))],
        [Observation("il6", "IL6", "lognormal", a=0.3, floor=1e-3), Observation("crp", "CRP", "combined", 0.5, 0.15)],
    )  # fmt: skip
    return model, simulated_records(bind(model, make_records(people)), start(model), seed)


def test_gradients_are_as_exact_as_the_solver():
    objective = objective_of(*cohort(4))
    assert objective.accuracy.step > 1e-3
    x = objective.pack.pack(start(objective.bound.model)) + 0.02
    point = objective.point(x)
    for j in range(len(x)):
        e = 3e-3 * np.eye(len(x))[j]
        near, far = (objective.value(x + s * e, point.extra) - objective.value(x - s * e, point.extra) for s in (1, 2))
        numeric = (8.0 * near - far) / (12.0 * 3e-3)
        assert point.gradient[j] == pytest.approx(numeric, rel=1e-3, abs=2e-3 * np.abs(point.gradient).max())


def test_a_population_of_a_compiled_model_is_recovered():
    model, records = cohort(16)
    fit = fit_focei(model, records, settings=FoceiSettings(covariance="R"))
    assert fit.converged or any("resolution" in m for m in fit.messages)
    table = fit.table().set_index("name")
    truth = {"rho": MODEL.parameters["rho"].value, "p_il6": MODEL.parameters["p_il6"].value, "omega rho": 0.05,
             "omega p_il6": 0.4, "il6 a": 0.3, "crp b": 0.15}  # fmt: skip
    for name, value in truth.items():
        assert abs(table.loc[name, "value"] - value) < 3.5 * table.loc[name, "se"], name
