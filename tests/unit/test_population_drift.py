"""Levels that drift: exact derivatives, nothing before the ramp, and a known drift is found again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.population.fit.importance_em import DrawSettings, fit_importance_em
from icans.population.nlme.drift import drifting
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Effect, Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulated_records


class Levels:
    """Two outputs that do not change: ``u`` and ``u v``."""

    parameters = ("u", "v")
    outputs = ("first", "second")

    def bind(self, subjects, time_h, output):
        return Levels.Solver(output)

    class Solver:
        def __init__(self, output):
            self.output = output

        def values(self, psi, who):
            second = self.output[who] == 1
            return psi[:, 0, :1] * np.where(second, psi[:, 0, 1:2], 1.0)

        def derivatives(self, psi, who):
            second = self.output[who] == 1
            by = np.zeros((*second.shape, 1, 2))
            by[:, :, 0, 0] = np.where(second, psi[:, 0, 1:2], 1.0)
            by[:, :, 0, 1] = np.where(second, psi[:, 0, :1], 0.0)
            return self.values(psi, who), by


DAYS = np.array([0.0, 2.0, 4.0, 8.0, 12.0, 20.0, 24.0])


def study(n=40, typical=0.9):
    model = drifting(Levels(), {"drift": "second"}, from_h=96.0, until_h=240.0)
    nlme = nlme_model(
        model,
        [Individual("u", 5.0, iiv=0.3), Individual("v", 2.0, iiv=0.4),
         Individual("drift", typical, Scale("normal"), iiv=0.5)],
        [Observation(o, o, "lognormal", 0.2) for o in Levels.outputs],
        effects=[Effect("drift", "treated", "linear", value=-1.5)],
    )  # fmt: skip
    table = pd.DataFrame([(24 * d, o, 1.0) for d in DAYS for o in Levels.outputs],
                         columns=["time_h", "observable", "value"])  # fmt: skip
    records = make_records([Subject(f"s{i}", table, (), {"treated": float(i % 2)}) for i in range(n)])
    return nlme, simulated_records(bind(nlme, records), start(nlme), 11)


def test_values_and_derivatives_are_those_of_the_factor():
    nlme, records = study(n=3)
    solver = bind(nlme, records).solver
    psi = np.array([[[5.0, 2.0, 0.7]], [[4.0, 1.5, -0.4]]])
    who = np.array([0, 2])
    values, by = solver.derivatives(psi, who)
    np.testing.assert_allclose(values, solver.values(psi, who))
    rows = bind(nlme, records).rows
    second = rows.output[0] == 1
    ramp = np.clip((rows.time_h[0] - 96.0) / 144.0, 0.0, 1.0)
    np.testing.assert_allclose(values[0], 5.0 * np.where(second, 2.0 * np.exp(0.7 * ramp), 1.0))
    for p in range(3):
        step = np.zeros(3)
        step[p] = 1e-6
        slope = (solver.values(psi + step, who) - solver.values(psi - step, who)) / 2e-6
        np.testing.assert_allclose(by[:, :, 0, p], slope, rtol=1e-6, atol=1e-8)
    assert (by[0, rows.time_h[0] <= 96.0, 0, 2] == 0.0).all(), "nothing before the ramp"


def test_a_known_drift_and_what_treatment_does_to_it_are_found_again():
    nlme, records = study(n=60)
    begin = start(nlme)
    begin = replace(begin, typical=begin.typical + np.array([0.1, -0.1, -0.4]), effects=begin.effects + 0.5)
    settings = DrawSettings(rounds=5, draws=30, final=100, averaged=2)
    table = fit_importance_em(nlme, records, seed=1, begin=begin, settings=settings).table().set_index("name")
    for name, true in (("drift", 0.9), ("treated on drift", -1.5), ("omega drift", 0.5), ("v", 2.0)):
        assert table.loc[name, "low95"] < true < table.loc[name, "high95"], name


def test_what_cannot_drift_is_named():
    with pytest.raises(ModelError) as told:
        drifting(Levels(), {"u": "first", "drift": "third"}, from_h=10.0, until_h=10.0)
    assert {p.value for p in told.value.problems} >= {"u", "third", "10"}
