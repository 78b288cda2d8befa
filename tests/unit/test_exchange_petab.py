"""Population models as PEtab v2: valid by PEtab's own linter, and the same numbers when simulated from the files."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import nlme_cases
from icans.core.errors import ModelError
from icans.exchange.petab import write_petab
from icans.population.nlme.compartments import compartment_model
from icans.population.nlme.likelihood import bind, means, phi_of, psi_of
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import start
from icans.population.nlme.records import Administration, Subject, make_records
from icans.population.nlme.scales import Scale
from small_patient import small_doses, small_model

TABLES = ("parameters", "observables", "conditions", "experiments", "measurements")


def lint(folder):
    petab = pytest.importorskip("petab.v2", reason="petab is not installed")
    problem = petab.Problem.from_yaml(folder / "problem.yaml")
    return [issue for issue in problem.validate() if issue.level >= petab.lint.ValidationIssueSeverity.ERROR]


def evaluate(formula, names):
    functions = {"exp": math.exp, "sqrt": math.sqrt}
    return eval(formula.replace("^", "**"), {"__builtins__": {}}, functions | names)  # our own file


def simulated(folder, effects):
    """Predictions of all measurements, from the files alone, by libRoadRunner; ``effects``: values of eta, kappa."""
    roadrunner = pytest.importorskip("roadrunner", reason="libRoadRunner is not installed")
    tables = {name: pd.read_csv(folder / f"{name}.tsv", sep="\t") for name in TABLES}
    values = dict(zip(tables["parameters"]["parameterId"], tables["parameters"]["nominalValue"], strict=True))
    values |= effects
    formulas = dict(zip(tables["observables"]["observableId"], tables["observables"]["observableFormula"], strict=True))
    out = []
    for _, rows in tables["measurements"].groupby("experimentId", sort=False):
        model = roadrunner.RoadRunner((folder / "model.xml").read_text())
        model.integrator.relative_tolerance, model.integrator.absolute_tolerance = 1e-10, 1e-12
        periods = tables["experiments"]
        periods = periods[periods["experimentId"] == rows["experimentId"].iloc[0]]
        events = [(t, 1, c) for t, c in zip(periods["time"], periods["conditionId"], strict=True)]
        events += [(t, 2, r) for r, t in rows["time"].items()]
        clock, got = None, {}
        for t, kind, what in sorted(events, key=lambda e: e[:2]):
            if clock is not None and t > clock:
                model.simulate(clock, t, 2)
            clock = t
            here = values | {i: model[i] for i in model.model.getGlobalParameterIds()}
            if kind == 1:
                changes = tables["conditions"]
                changes = changes[changes["conditionId"] == what]
                new = {i: evaluate(str(f), here) for i, f in zip(changes["targetId"], changes["targetValue"],
                                                                 strict=True)}  # fmt: skip
                for i, value in new.items():
                    model[i] = value
            else:
                got[what] = evaluate(formulas[rows.loc[what, "observableId"]], here)
        out += [got[r] for r in rows.index]
    return np.array(out)


def expected(model, records, b):
    bound = bind(model, records)
    psi = psi_of(bound, phi_of(bound, means(bound, start(model)), b))
    values = bound.solver.values(psi, np.arange(len(bound)))
    out = np.full(bound.rows.source.shape, np.nan)
    i, r = np.nonzero(bound.rows.source >= 0)
    out[i, bound.rows.source[i, r]] = values[i, r]
    return out[np.isfinite(out)]


def compare(model, records, folder, seed=1):
    """With random effects that are not zero."""
    assert write_petab(model, records, folder) == []
    assert lint(folder) == []
    bound = bind(model, records)
    b = 0.3 * np.random.default_rng(seed).normal(size=(len(records), bound.size))
    effects = {}
    d, e = len(model.varying), len(model.occasional)
    for n in range(len(records)):
        effects |= {f"eta_{model.names[p]}_s{n + 1}": b[n, j] for j, p in enumerate(model.varying)}
        for o in range(bound.occasions if e else 0):
            names = [f"kappa_{model.names[p]}_s{n + 1}_o{o + 1}" for p in model.occasional]
            effects |= dict(zip(names, b[n, d + o * e :], strict=False))
    np.testing.assert_allclose(simulated(folder, effects), expected(model, records, b), rtol=2e-5, atol=1e-8)


def test_oral_doses_with_occasions_a_covariate_and_bioavailability(tmp_path):
    case = nlme_cases.synthetic_oral(3, iov=0.2, covariate=True, scale_of_bioavailability=True)
    compare(*case, tmp_path)


def test_two_compartments_with_infusions(tmp_path):
    compare(*nlme_cases.synthetic_bolus(3), tmp_path)


def test_three_compartments_a_lag_and_doses_everywhere(tmp_path):
    doses = (
        Administration(0.0, 50.0), Administration(0.0, 10.0, "central"), Administration(3.0, 20.0, "central", 4.0),
        Administration(5.0, 20.0, "central", 4.0), Administration(6.0, 5.0, "peripheral2"),
        Administration(12.0, 0.0, reset=True), Administration(14.0, 30.0),
    )  # fmt: skip
    table = pd.DataFrame({"time_h": [1.0, 4.0, 6.0, 8.0, 13.0, 20.0], "observable": "cp", "value": 1.0})
    parameters = [Individual(n, v, iiv=0.2) for n, v in
                  {"k": 0.2, "V": 9.0, "k12": 0.3, "k21": 0.4, "k13": 0.1, "ka": 0.9}.items()]  # fmt: skip
    parameters += [Individual("k31", 0.05), Individual("Tlag", 0.7), Individual("D", 1.5, Scale("normal"))]
    model = nlme_model(
        compartment_model(3, "zero-first", lag=True, parameterisation="rates"), parameters,
        [Observation("cp", "central", "combined1", a=0.1, b=0.2)],
    )  # fmt: skip
    compare(model, make_records([Subject("synthetic", table, doses)]), tmp_path)


def test_a_compiled_model_with_infusions_and_depots(tmp_path):
    """Two subjects; random effects on parameters that no initial value depends on, one of them a link."""
    structural = ode_model(small_model(), ("rho", "cl", "speed"), ("IL6", "LEAK", "A_CEN"), rtol=1e-10,
                           links={"speed": {"leak": 1.0, "c50": -0.5}})  # fmt: skip
    names = [("IL6", 20.0), ("LEAK", 60.0), ("IL6", 100.0), ("A_CEN", 96.0), ("A_CEN", 130.0)]
    table = pd.DataFrame({"time_h": [t for _, t in names], "observable": [n for n, _ in names], "value": 1.0})
    rho, cl = (structural.model.parameters[n].value for n in ("rho", "cl"))
    model = nlme_model(
        structural, [Individual("rho", rho, iiv=0.2), Individual("cl", cl, iiv=0.3), Individual("speed", 1.0, iiv=0.2)],
        [Observation(n, n, "lognormal", a=0.3) for n in ("IL6", "LEAK", "A_CEN")],
    )  # fmt: skip
    subjects = [Subject("synthetic a", table, tuple(small_doses())), Subject("b", table, tuple(small_doses()[:1]))]
    compare(model, make_records(subjects), tmp_path)


def test_noise_and_priors_are_written(tmp_path):
    model, records = nlme_cases.synthetic_oral(2, correlated=True)
    population = start(model)
    population.omega[0, 1] = population.omega[1, 0] = 0.03
    told = write_petab(model, records, tmp_path, population)
    assert [(p.file, p.severity) for p in told] == [("omega", "warning")]
    parameters = pd.read_csv(tmp_path / "parameters.tsv", sep="\t").set_index("parameterId")
    assert parameters.loc["eta_CL_s2", "priorParameters"] == "0;0.3"
    assert parameters.loc["mu_V", "nominalValue"] == pytest.approx(np.log(20.0))
    assert not parameters.loc["mu_V", "estimate"]
    noise = pd.read_csv(tmp_path / "observables.tsv", sep="\t").loc[0, "noiseFormula"]
    assert evaluate(noise.replace("1.0 * central / V", "f"), {"sd_a_cp": 3.0, "sd_b_cp": 0.5, "f": 8.0}) == 5.0


def test_what_petab_has_no_place_for_is_told_together(tmp_path):
    table = pd.DataFrame({"time_h": [1.0], "observable": ["cp"], "value": [1.0], "censor": ["left"]})
    doses = (Administration(0.0, 1.0, interval_h=12.0), Administration(20.0, 1.0))
    model = nlme_model(
        compartment_model(1, "first", lag=True),
        [Individual("CL", 1.0), Individual("V", 1.0), Individual("ka", 1.0), Individual("Tlag", 1.0, iiv=0.3)],
        [Observation("cp", "central", "student", a=0.1), Outcome("grade", "central")],
    )
    with pytest.raises(ModelError) as error:
        write_petab(model, make_records([Subject("1", table, doses)]), tmp_path)
    assert {p.column for p in error.value.problems} == {"cp", "grade", "censor", "doses", "Tlag"}
    assert not list(tmp_path.iterdir())
