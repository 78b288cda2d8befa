"""The expected information of a fit's first step, against the closed form of a linear mixed model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.population.fit.focei import FoceiSettings, fit_focei, objective_of
from icans.population.fit.scoring import expected_information
from icans.population.nlme.formulas import formula_model
from icans.population.nlme.model import Effect, Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale

SD = {"a": 0.8, "s": 0.3}
SIGMA, EFFECT = 0.5, 0.4
TIMES = [np.arange(3.0), np.arange(5.0), np.array([0.0, 4.0])] * 4


def linear() -> tuple[object, object, list[float]]:
    """``y = a + s t + e`` with a covariate on a; the model, synthetic records and the covariate."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal(len(TIMES))
    subjects = []
    for i, t in enumerate(TIMES):
        y = 2.0 + EFFECT * x[i] + SD["a"] * rng.standard_normal() + (1.0 + SD["s"] * rng.standard_normal()) * t
        y = y + SIGMA * rng.standard_normal(len(t))
        subjects.append(
            Subject(str(i), pd.DataFrame({"time_h": t, "observable": "y", "value": y}), covariates={"x": x[i]})
        )
    model = nlme_model(
        formula_model(["a", "s"], {"y": "a + s * t"}),
        [Individual(n, v, scale=Scale("normal"), iiv=SD[n]) for n, v in (("a", 2.0), ("s", 1.0))],
        [Observation("y", "y", "additive", a=SIGMA)], effects=[Effect("a", "x", value=EFFECT, form="linear")],
    )  # fmt: skip
    return model, make_records(subjects), list(x)


def test_information_is_that_of_the_linear_mixed_model():
    model, records, x = linear()
    objective = objective_of(model, records)
    point = objective.point(objective.pack.pack(start(model)))
    got = expected_information(objective, point) / 2.0
    expected = np.zeros((6, 6))
    bound_of_error = exact_of_error = 0.0
    for t, xi in zip(TIMES, x, strict=True):
        z = np.stack([np.ones_like(t), t], axis=1)
        v = z @ np.diag([SD["a"] ** 2, SD["s"] ** 2]) @ z.T + SIGMA**2 * np.eye(len(t))
        inverse = np.linalg.inv(v)
        mean = np.stack([np.ones_like(t), t, xi * np.ones_like(t)], axis=1)
        expected[:3, :3] += mean.T @ inverse @ mean
        turns = [inverse @ (2.0 * SD[n] ** 2 * np.outer(z[:, j], z[:, j])) for j, n in enumerate(SD)]
        for j in range(2):
            for k in range(2):
                expected[3 + j, 3 + k] += 0.5 * np.trace(turns[j] @ turns[k])
        bound_of_error += 2.0 * SIGMA**2 * np.trace(inverse)
        exact_of_error += 2.0 * SIGMA**4 * np.trace(inverse @ inverse)
    assert objective.pack.names[:3] == ("a", "s", "x on a")
    np.testing.assert_allclose(got[:5, :5], expected[:5, :5], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(got[5, 5], bound_of_error, rtol=1e-6)
    # ... which is never less than the information there is, so that a step does not overshoot.
    assert exact_of_error <= bound_of_error <= 2.0 * exact_of_error


def test_a_linear_model_needs_few_evaluations():
    model, records, _ = linear()
    fit = fit_focei(model, records, settings=FoceiSettings(covariance="none"))
    assert fit.converged
    assert fit.settings["evaluations"] <= 15
