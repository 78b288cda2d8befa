"""Designs: information against closed forms and simulation, optimal schedules against brute force, global sensitivity
against functions with known indices, information of schedules against a known mutual information."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from test_population_diagnose import DAYS, Line

from icans.core.errors import ModelError
from icans.population.design.identifiability import (
    collinearity,
    individual_identifiability,
    local_identifiability,
    practical_identifiability,
    separable_sets,
)
from icans.population.design.information import candidates, expected_se
from icans.population.design.optimal import best_schedule, d_criterion, efficiency, log_det, target_criterion
from icans.population.design.sensitivity import Varied, morris, sobol
from icans.population.design.value import Assay, Measured, compare, forward_schedule, measure, worth
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import packing, start
from icans.population.nlme.records import Administration
from icans.population.nlme.scales import Scale
from nlme_cases import synthetic_oral


def line():
    normal = Scale("normal")
    model = nlme_model(
        Line(), [Individual("level", 5.0, normal, iiv=1.0), Individual("slope", 1.0, normal, iiv=0.3)],
        [Observation("y", "y", "additive", a=0.7)], blocks="full",
    )  # fmt: skip
    return model, start(model)


def test_information_of_a_linear_model_is_the_mean_observed_information():
    model, population = line()
    table = pd.DataFrame({"observable": "y", "time_h": 24 * DAYS})
    got = candidates(model, population, table).information(range(5))
    pack = packing(model, population)
    vector = pack.pack(population)
    z = np.stack([np.ones(5), DAYS], axis=1)

    def loglik(v, y):
        p = pack.unpack(v)
        return stats.multivariate_normal(z @ p.typical, z @ p.omega @ z.T + p.errors[0] ** 2 * np.eye(5)).logpdf(y)

    rng = np.random.default_rng(1)
    v = z @ population.omega @ z.T + 0.49 * np.eye(5)
    y = rng.multivariate_normal(z @ [5.0, 1.0], v, size=40000)
    h = 1e-4
    scores = np.stack([(loglik(vector + h * e, y) - loglik(vector - h * e, y)) / (2 * h) for e in np.eye(len(vector))])
    empirical = scores @ scores.T / y.shape[0]
    np.testing.assert_allclose(got, empirical, atol=0.03 * np.abs(np.diag(got)).max())
    np.testing.assert_allclose(got[:2, :2], z.T @ np.linalg.solve(v, z), rtol=1e-10)
    se = expected_se(30 * got, pack).set_index("name")["se"]
    assert se["level"] == pytest.approx(np.sqrt(np.linalg.inv(z.T @ np.linalg.solve(v, z))[0, 0] / 30), rel=1e-6)


def test_posterior_of_a_linear_model_is_exact_and_limits_take_information():
    model, population = line()
    table = pd.DataFrame({"observable": "y", "time_h": 24 * DAYS})
    free = candidates(model, population, table)
    z = np.stack([np.ones(2), DAYS[[1, 4]]], axis=1)
    wanted = np.linalg.inv(np.diag([1.0, 1 / 0.09]) + z.T @ z / 0.49)
    np.testing.assert_allclose(free.posterior_covariance([1, 4]), wanted, rtol=1e-8)
    limited = candidates(model, population, table, limits={"y": 6.0})
    assert limited.kept[0] < 0.5 < 0.999 < limited.kept[4]
    # The share kept is the Fisher information of a censored normal mean, by its definition.
    m, limit, s = 5.0, 6.0, 0.7
    low = stats.norm.pdf(limit, m, s) ** 2 / stats.norm.cdf(limit, m, s)
    high = integrate.quad(lambda y: ((y - m) / s**2) ** 2 * stats.norm.pdf(y, m, s), limit, np.inf)[0]
    assert limited.kept[0] == pytest.approx((low + high) * s**2, rel=1e-6)


def oral():
    model, _ = synthetic_oral(1)
    grid = pd.DataFrame({"observable": "cp", "time_h": [0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 24]})
    return candidates(model, start(model), grid, doses=[Administration(0.0, 100.0)]), grid


def test_the_best_schedule_is_the_best_of_all():
    own, grid = oral()
    criterion = d_criterion([own], subjects=20)
    found = best_schedule(grid, criterion, 5)
    best = max(combinations(range(10), 5), key=criterion)
    assert found.criterion == pytest.approx(criterion(best), abs=1e-9)
    assert efficiency(found.criterion, criterion([0, 1, 2, 3, 4]), len(own.pack)) < 0.9
    only = best_schedule(grid, d_criterion([own], interest=["CL"]), 4)
    assert 9 in only.rows  # the latest sample tells clearance


def test_a_target_is_served_and_draws_come_in_groups():
    own, grid = oral()
    gradient = np.array([1.0, 0.0, 0.0])
    clearance = best_schedule(grid, target_criterion([own], [gradient]), 1)
    assert clearance.table["time_h"].iloc[0] >= 8.0
    both = best_schedule(grid, d_criterion([own]), 2, groups=np.repeat(np.arange(5), 2), fixed=[0])
    assert {0, 1} <= set(both.rows)
    assert len(both.rows) == 4


def test_what_only_their_ratio_tells_is_not_identifiable():
    model, _ = synthetic_oral(1, scale_of_bioavailability=True)
    grid = pd.DataFrame({"observable": "cp", "time_h": [0.5, 1.0, 2.0, 4.0, 8.0, 24.0]})
    own = candidates(model, start(model), grid, doses=[Administration(0.0, 100.0)])
    found = individual_identifiability(own)
    assert found.rank == 3
    assert set(found.blind[0]) == {"CL", "V", "F"}
    assert found.parameters.set_index("name").loc["ka", "alone"] > 1e-3
    assert found.parameters.set_index("name").loc["F", "alone"] < 1e-6
    se = expected_se(own.information(range(6)), own.pack).set_index("name")["se"]
    assert np.isinf(se["F"])
    assert np.isfinite(se["ka"])
    table = practical_identifiability(own.information(range(6)), own.pack.names)
    assert table["se"].iloc[-1] > 1e3


def test_collinearity_and_separable_sets():
    rng = np.random.default_rng(3)
    s = rng.standard_normal((50, 4))
    s[:, 3] = s[:, 0] + 0.02 * rng.standard_normal(50)
    assert collinearity(s[:, :3]) < 2.0
    assert collinearity(s) > 20.0
    np.testing.assert_allclose(collinearity(np.eye(3)), 1.0)
    found = local_identifiability(s, list("abcd"))
    assert set(found.pairs.iloc[0][["first", "second"]]) == {"a", "d"}
    assert "a, d" not in set(separable_sets(s, list("abcd"), 2)["parameters"])
    assert len(separable_sets(s, list("abcd"), 3)) == 2


def test_sobol_indices_of_ishigamis_function():
    def model(x):
        return (np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))[:, None]

    found = sobol(model, [Varied(n, low=-np.pi, high=np.pi) for n in "abc"], ["y"], 2048, 1).set_index("parameter")
    np.testing.assert_allclose(found["first"], [0.3139, 0.4424, 0.0], atol=0.03)
    np.testing.assert_allclose(found["total"], [0.5576, 0.4424, 0.2437], atol=0.03)
    with pytest.raises(ModelError, match="power of two"):
        sobol(model, [Varied("a", low=0, high=1)], ["y"], 1000, 1)
    with pytest.raises(ModelError, match="range"):
        sobol(model, [Varied("a")], ["y"], 8, 1)


def test_screening_ranks_a_linear_function_and_failures_are_counted():
    def model(x):
        y = x @ np.array([3.0, 1.0, 0.0])
        y[0] = np.nan
        return y[:, None]

    found = morris(model, [Varied(n, sd=1.0) for n in "abc"], ["y"], 20, 1).set_index("parameter")
    assert found.loc["a", "size"] > found.loc["b", "size"] > found.loc["c", "size"]
    assert found["failed"].unique() == [1]


def test_information_of_a_schedule_is_near_the_known_one():
    rng = np.random.default_rng(4)
    n = 1500
    x = rng.standard_normal((n, 1)) @ np.ones((1, 3)) + 0.7 * rng.standard_normal((n, 3))
    p = stats.norm.cdf(2.0 * x[:, 0])
    outcome = rng.random(n) < p
    columns = pd.DataFrame({"analyte": list("aabbb"), "time_h": [0.0, 1.0, 0.0, 1.0, 2.0]})
    m = Measured(np.hstack([x, rng.standard_normal((n, 2))]), columns)
    known = -np.mean(outcome) * np.log(outcome.mean()) - (1 - outcome.mean()) * np.log(1 - outcome.mean())
    known += np.mean(p * np.log(np.maximum(p, 1e-12)) + (1 - p) * np.log(np.maximum(1 - p, 1e-12)))
    found = worth(m, np.array([0]), outcome, 1)
    assert known - 0.05 < found.nats < known + 3 * found.nats_se
    table = compare(m, {"none": m.pick(times_h=()), "one": np.array([0]), "noise": np.array([3, 4])}, outcome, 1, "one")
    table = table.set_index("schedule")
    assert table.loc["none", "nats"] == pytest.approx(0.0, abs=1e-12)
    assert abs(table.loc["noise", "nats"]) < 0.02
    assert table.loc["noise", "difference"] < -5 * table.loc["noise", "difference_se"]
    steps = forward_schedule(m, np.arange(5), outcome, 2, 1)
    assert steps["group"].iloc[0] == 0


def test_measuring_has_the_assays_error_and_limit():
    course = np.exp(np.linspace(0.0, 3.0, 4000))[:, None] * np.ones((1, 2))
    m = measure({"il6": course}, np.array([0.0, 24.0]), {"il6": Assay(0.2, 2.0)}, [0.0, 24.0], 1)
    assert (m.values >= np.log(2.0) - 1e-12).all()
    free = m.values[:, 1] > np.log(2.0) + 0.8
    assert (m.values[free, 1] - np.log(course[free, 1])).std() == pytest.approx(0.2, rel=0.05)
    alone = measure({"il6": course}, np.array([0.0, 24.0]), {"il6": Assay(0.2, 2.0)}, [24.0], 1)
    np.testing.assert_array_equal(alone.values[:, 0], m.values[:, 1])
    with pytest.raises(ModelError) as caught:
        measure({"il6": course}, np.array([0.0]), {"il8": Assay(0.2)}, [5.0], 1)
    assert len(caught.value.problems) == 2


def test_log_determinants_survive_blind_directions():
    assert np.isfinite(log_det(np.diag([1.0, 0.0])))
    assert log_det(np.diag([2.0, 3.0])) == pytest.approx(np.log(6.0), abs=1e-6)
