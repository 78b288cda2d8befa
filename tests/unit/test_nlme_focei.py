"""FOCEI and Laplace: exact gradients against differences, known likelihoods, modes, bad starts, advice."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from icans.core.errors import ModelError
from icans.population.fit.focei import FoceiSettings, Objective, fit_focei, fit_laplace, objective_of
from icans.population.fit.focei_objective import Accuracy
from icans.population.fit.modes import find_modes
from icans.population.fit.result import read_fit, write_fit
from icans.population.nlme.likelihood import bind, log_likelihood, means, phi_of, prior_logp
from icans.population.nlme.model import Effect, Individual, Mixture, Prior, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import packing, start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulated_records
from nlme_cases import synthetic_bolus, synthetic_oral


class Decline:
    """``y = a exp(-k t)``, k of the second occasion from 10 h on; ``risk`` does nothing to it."""

    parameters = ("a", "k", "risk")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        return DeclineSolver(np.nan_to_num(time_h))


class DeclineSolver:
    def __init__(self, time_h):
        self.t = time_h

    def values(self, psi, who):
        return self.derivatives(psi, who)[0]

    def derivatives(self, psi, who):
        t = self.t[who]
        late = (t > 10.0) if psi.shape[1] > 1 else np.zeros_like(t, bool)
        first, rest = np.where(late, 10.0, t), np.where(late, t - 10.0, 0.0)
        y = psi[:, 0, :1] * np.exp(-psi[:, 0, 1:2] * first - psi[:, -1, 1:2] * rest)
        by = np.zeros((*y.shape, psi.shape[1], 3))
        by[:, :, 0, 0] = y / psi[:, 0, :1]
        by[:, :, 0, 1] += -first * y
        by[:, :, -1, 1] += -rest * y
        return y, by


def example(*, occasions=False, outcomes=False, observation=None, more=None, limit=1.2):
    """Six synthetic subjects; values below ``limit`` are left-censored."""
    rng = np.random.default_rng(5)
    subjects = []
    for i in range(6):
        a, k = 8.0 * np.exp(0.3 * rng.standard_normal()), 0.1 * np.exp(0.2 * rng.standard_normal())
        rows = []
        for t in (0.5, 2.0, 5.0, 9.0, 12.0, 20.0, 26.0):
            y = a * np.exp(-k * t) * (1.0 + 0.15 * rng.standard_normal())
            rows.append((t, "conc", max(y, limit), "left" if y < limit else "none", "B" if i % 2 else "A"))
        rows.append((27.0, "conc", 0.4, "interval", "A"))
        if outcomes:
            rows += [(12.0, "grade", i % 3, "none", ""), (24.0, "grade", (i + 1) % 3, "none", ""),
                     (13.0, "count", 2 + i % 2, "none", ""),
                     (15.0 + i, "sick", 15.0 + i, "none" if i % 2 else "right", "")]  # fmt: skip
        table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor", "batch"])
        table["limit"] = np.where(table["censor"] == "interval", 2.5, np.nan)
        covariates = {"age": 45.0 + 4 * i, "male": i % 2}
        subjects.append(Subject(f"s{i}", table, (), covariates, (0.0, 10.0) if occasions else ()))
    seen = [observation or Observation("conc", "y", "combined", 0.2, 0.1)]
    if outcomes:
        seen += [
            Outcome("grade", "y", "ordinal", (0.0, 1.5), 0.3, link="log", frailty="risk", memory=0.4),
            Outcome("count", "y", "count", (0.2,), 0.1, dispersion=0.3), Outcome("sick", "y", "event", (-4.0,), 0.2),
        ]  # fmt: skip
    model = nlme_model(
        Decline(),
        [Individual("a", 8.0, iiv=0.3), Individual("k", 0.1, iiv=0.2, iov=0.15 if occasions else 0.0),
         Individual("risk", 0.1, Scale("normal"), iiv=0.5 if outcomes else 0.0, fixed=not outcomes)],
        seen, blocks=[("a", "k")], effects=[Effect("a", "age", "log", 0.2, 50.0), Effect("k", "male", "flag", 0.1)],
        **(more or {}),
    )  # fmt: skip
    return model, make_records(subjects)


MIXED = {"mixture": Mixture(("usual", "fast"), (0.7, 0.3), {"k": (0.6,)})}
CASES = {
    "censored": lambda: example(),
    "occasions": lambda: example(occasions=True),
    "outcomes": lambda: example(outcomes=True),
    "mixture": lambda: example(more=MIXED),
    "mixture of everything": lambda: example(occasions=True, outcomes=True, more=MIXED),
    "batches": lambda: example(observation=Observation("conc", "y", "lognormal", 0.2, batches=("B",))),
    "student": lambda: example(observation=Observation("conc", "y", "student", 0.4, df=5.0)),
    "M4": lambda: example(observation=Observation("conc", "y", "combined", 0.3, 0.1, censoring="M4")),
    "M2": lambda: example(observation=Observation("conc", "y", "combined1", 0.3, 0.1, censoring="M2")),
    "oral": lambda: synthetic_oral(5, correlated=True, scale_of_bioavailability=True, covariate=True),
    "bolus": lambda: synthetic_bolus(4),
}


def numeric(objective: Objective, x, h=2e-4, near=None):
    """Fourth-order central differences of the objective; ``near``: an evaluation that modes may start from."""
    out = np.zeros(len(x))
    for j in range(len(x)):
        e = np.eye(len(x))[j] * h
        one, two = (objective.value(x + s * e, near) - objective.value(x - s * e, near) for s in (1, 2))
        out[j] = (8.0 * one - two) / (12.0 * h)
    return out


@pytest.mark.parametrize("method", ["focei", "laplace"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_exact(name, method):
    model, records = CASES[name]()
    objective = objective_of(model, records, method=method, accuracy=Accuracy(inner=1e-9))
    x = objective.pack.pack(start(model))
    x = x + 0.05 * np.random.default_rng(3).standard_normal(len(x))
    point = objective.point(x)
    wanted = numeric(objective, x, near=point.extra)
    np.testing.assert_allclose(point.gradient, wanted, rtol=1e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("method", ["foce", "fo"])
@pytest.mark.parametrize("error", ["additive", "proportional", "combined1", "lognormal"])
def test_gradients_without_interaction_are_exact(method, error):
    model, records = synthetic_oral(5, iov=0.2, covariate=True)
    model = replace(model, observed=(Observation("cp", "central", error, 0.2, 0.15),))
    objective = objective_of(model, records, method=method, accuracy=Accuracy(inner=1e-9))
    x = objective.pack.pack(start(model)) + 0.03
    np.testing.assert_allclose(objective.point(x).gradient, numeric(objective, x), rtol=1e-5, atol=1e-3)


def test_slopes_of_subjects_add_up():
    model, records = example(occasions=True, outcomes=True, more=MIXED)
    objective = objective_of(model, records)
    point = objective.point(objective.pack.pack(start(model)))
    np.testing.assert_allclose(objective.subject_gradients(point).sum(axis=0), point.gradient, rtol=1e-9, atol=1e-9)


class Line:
    """``y = a + b t``: the likelihood of a linear mixed model is known."""

    parameters = ("a", "b")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        return LineSolver(np.nan_to_num(time_h))


class LineSolver:
    def __init__(self, time_h):
        self.t = time_h

    def values(self, psi, who):
        return psi[:, 0, :1] + psi[:, 0, 1:] * self.t[who]

    def derivatives(self, psi, who):
        by = np.stack([np.ones_like(self.t[who]), self.t[who]], axis=-1)[:, :, None, :]
        return self.values(psi, who), by.copy()


def linear(seed=1, subjects=15):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky([[1.0, 0.2], [0.2, 0.25]])
    people = []
    for i in range(subjects):
        t = np.sort(rng.uniform(0, 6, 3 + i % 4))
        a, b = np.array([5.0, 1.0]) + root @ rng.standard_normal(2)
        y = a + b * t + 0.5 * rng.standard_normal(len(t))
        people.append(Subject(str(i), pd.DataFrame({"time_h": t, "observable": "y", "value": y})))
    model = nlme_model(
        Line(), [Individual("a", 4.0, Scale("normal"), iiv=0.8), Individual("b", 0.7, Scale("normal"), iiv=0.6)],
        [Observation("y", "y", "additive", 0.7)], blocks="full",
    )  # fmt: skip
    return model, make_records(people)


@pytest.mark.parametrize("method", ["focei", "laplace", "foce", "fo"])
def test_a_linear_model_has_its_exact_likelihood_and_optimum(method):
    model, records = linear()
    fit = fit_focei(model, records, settings=FoceiSettings(method=method))
    p = fit.population
    total = 0.0
    for s in records.subjects:
        t, y = s.observations["time_h"].to_numpy(), s.observations["value"].to_numpy()
        z = np.stack([np.ones_like(t), t], axis=1)
        v = z @ p.omega @ z.T + p.errors[0] ** 2 * np.eye(len(t))
        total += stats.multivariate_normal.logpdf(y, z @ p.typical, v)
    assert fit.log_likelihood == pytest.approx(total, abs=1e-7)
    assert fit.converged
    # Generalised least squares at the estimated variances gives the same typical values.
    left, right = np.zeros((2, 2)), np.zeros(2)
    for s in records.subjects:
        t, y = s.observations["time_h"].to_numpy(), s.observations["value"].to_numpy()
        z = np.stack([np.ones_like(t), t], axis=1)
        w = np.linalg.inv(z @ p.omega @ z.T + p.errors[0] ** 2 * np.eye(len(t)))
        left += z.T @ w @ z
        right += z.T @ w @ y
    np.testing.assert_allclose(p.typical, np.linalg.solve(left, right), atol=2e-4)


def test_laplace_is_near_the_integral_where_the_density_is_nearly_normal():
    model, records = synthetic_oral(4, seed=2)
    model = replace(model, parameters=tuple(replace(q, iiv=0.3 if q.name == "CL" else 0.0) for q in model.parameters))
    objective = objective_of(model, records, method="laplace")
    got = objective.evaluate(objective.pack.pack(start(model))).objective
    bound, population = objective.bound, start(model)
    for i in range(4):
        who = np.array([i])
        chosen = bound.rows.select(who)

        def density(b, i=i, chosen=chosen):
            b = np.array([[b]])
            phi = phi_of(bound, means(bound, population)[[i]], b)
            return np.exp(log_likelihood(bound, population, phi, chosen) + prior_logp(bound, population, b) + 10.0)[0]

        area = integrate.quad(density, -1.5, 1.5, points=[0.0], limit=200)[0]
        assert got[i] == pytest.approx(-2.0 * (np.log(area) - 10.0), abs=0.02)


def test_modes_are_tops_whatever_the_start():
    model, records = example(outcomes=True)
    bound, population = bind(model, records), start(model)
    found = find_modes(bound, population)
    again = find_modes(bound, population, found.mode + 2.0 * np.random.default_rng(1).standard_normal(found.mode.shape))
    assert not found.failed
    assert not again.failed
    np.testing.assert_allclose(again.mode, found.mode, atol=1e-5)
    best = log_likelihood(bound, population, phi_of(bound, means(bound, population), found.mode), bound.everyone)
    best = best + prior_logp(bound, population, found.mode)
    np.testing.assert_allclose(found.log_joint, best, rtol=1e-12)
    for j in range(bound.size):
        for s in (-1, 1):
            b = found.mode + s * 0.01 * np.eye(bound.size)[j]
            there = log_likelihood(bound, population, phi_of(bound, means(bound, population), b), bound.everyone)
            assert (there + prior_logp(bound, population, b) < best).all()


def test_a_subject_without_a_likelihood_is_named_with_its_row_and_the_others_have_modes():
    model, records = example(observation=Observation("conc", "y", "lognormal", 0.2))
    table = records.subjects[2].observations.copy()
    table.loc[2, "time_h"] = 1e6  # the prediction is 0 there
    people = list(records.subjects)
    people[2] = replace(people[2], observations=table)
    records = make_records(people)
    found = find_modes(bind(model, records), start(model))
    assert list(found.failed) == ["s2"]
    assert np.isfinite(found.log_joint[[0, 1, 3, 4, 5]]).all()
    with pytest.raises(ModelError, match=r"subject s2, row 3.*floor"):
        fit_focei(model, records)


def test_what_collapses_is_told_and_held_by_the_standard_errors():
    model, records = synthetic_oral(8, seed=3)
    flat = replace(model, parameters=tuple(replace(q, iiv=0.0) if q.name == "V" else q for q in model.parameters))
    for seed in range(20):  # a draw whose best SD of V is 0: about every second
        drawn = simulated_records(bind(flat, records), start(flat), seed)
        fit = fit_focei(model, drawn)
        if fit.population.omega[1, 1] < 1e-5:
            break
    assert any("SD of V" in m and "collapsed" in m and "Set iiv" in m for m in fit.messages)
    assert any("chol eta V:V has collapsed" in m for m in fit.messages)
    table = fit.table().set_index("name")
    assert table.loc["CL", "se"] > 0.0
    without = fit_focei(flat, drawn)
    assert fit.log_likelihood == pytest.approx(without.log_likelihood, abs=1e-3)
    assert table.loc["CL", "se"] == pytest.approx(without.table().set_index("name").loc["CL", "se"], rel=0.01)


@pytest.mark.parametrize("method", ["focei", "laplace", "foce", "fo"])
def test_without_random_effects_it_is_least_squares(method):
    model, records = synthetic_bolus(6)
    pooled = replace(model, parameters=tuple(replace(q, iiv=0.0) for q in model.parameters))
    fit = fit_focei(pooled, records, settings=FoceiSettings(method=method))
    bound = bind(pooled, records)
    f = bound.solver.values(np.tile(np.exp(fit.population.typical), (6, 1, 1)), np.arange(6))
    y, b = bound.rows.value, fit.population.errors[0]
    assert fit.log_likelihood == pytest.approx(stats.norm.logpdf(y, f, b * np.abs(f)).sum(), abs=1e-6)
    # The likelihood equation of a proportional error's SD: the mean square of relative residuals.
    assert b**2 == pytest.approx(((y / f - 1.0) ** 2).mean(), rel=1e-3)


def test_a_mixture_is_recovered_and_its_classes_have_shares():
    model, records = synthetic_oral(60, seed=3)
    small = tuple(replace(q, iiv=0.2) for q in model.parameters)
    mixed = replace(model, parameters=small, mixture=Mixture(("usual", "fast"), (0.7, 0.3), {"CL": (1.0,)}))
    drawn = simulated_records(bind(mixed, records), start(mixed), 4)
    off = replace(mixed, mixture=Mixture(("usual", "fast"), (0.5, 0.5), {"CL": (0.4,)}))
    fit = fit_focei(off, drawn)
    table = fit.table().set_index("name")
    assert fit.converged
    for name, truth in (("CL", 2.0), ("V", 20.0), ("fast on CL", 1.0), ("share fast", 0.3)):
        assert abs(table.loc[name, "value"] - truth) < 3.0 * table.loc[name, "se"], name


def test_priors_pull_and_are_told():
    model, records = synthetic_oral(6, seed=4)
    free = fit_focei(model, records, settings=FoceiSettings(covariance="none"))
    held = [replace(q, prior=Prior(np.log(10.0), 1e-3)) if q.name == "V" else q for q in model.parameters]
    fit = fit_focei(replace(model, parameters=tuple(held)), records, settings=FoceiSettings(covariance="none"))
    place = model.names.index("V")
    assert np.exp(fit.population.typical[place]) == pytest.approx(10.0, rel=0.01)
    assert fit.log_likelihood < free.log_likelihood
    assert any("Priors" in m for m in fit.messages)


def test_settings_and_data_that_do_not_fit_are_refused():
    model, records = example()
    with pytest.raises(ModelError, match=r"method.*one of focei"):
        fit_focei(model, records, settings=FoceiSettings(method="SAEM"))
    with pytest.raises(ModelError, match=r"conc.*censored.*focei or laplace"):
        fit_focei(model, records, settings=FoceiSettings(method="fo"))


def test_a_fit_stopped_early_says_so_and_can_go_on(tmp_path):
    model, records = synthetic_oral(8)
    short = fit_focei(model, records, settings=FoceiSettings(iterations=2, covariance="none"))
    assert not short.converged
    assert any("Not converged" in m and "begin=" in m for m in short.messages)
    whole = fit_laplace(model, records, begin=short.population)
    assert whole.converged
    assert whole.covariance is not None
    assert whole.method == "Laplace"
    write_fit(whole, tmp_path / "fit.json")
    back = read_fit(tmp_path / "fit.json", model)
    np.testing.assert_allclose(back.vector, whole.vector)
    assert packing(model).names == packing(back.model).names
