"""Importance-sampling EM: a linear model against its exact likelihood, censored data, refusals. Synthetic data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.optimize import minimize

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.population.fit.importance_em import DrawSettings, fit_importance_em
from icans.population.fit.result import read_fit, write_fit
from icans.population.nlme.model import Individual, NlmeModel, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.records import Records, Subject, make_records
from icans.population.nlme.scales import Scale

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """y = level + slope t: a structural model whose marginal likelihood is known."""

    parameters: tuple[str, ...] = ("level", "slope")
    outputs: tuple[str, ...] = ("y",)

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: npt.NDArray[np.int64]) -> Solved:
        """Ready for these times."""
        return Solved(np.asarray(time_h, dtype=float))


@dataclass(frozen=True)
class Solved:
    """The line at the times of the subjects."""

    time: Array

    def values(self, psi: Array, who: npt.NDArray[np.int64]) -> Array:
        """Values (M, R)."""
        return np.asarray(psi[:, 0, :1] + psi[:, 0, 1:] * self.time[who])

    def derivatives(self, psi: Array, who: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Values and derivatives."""
        t = self.time[who]
        return self.values(psi, who), np.stack([np.ones_like(t), t], axis=2)[:, :, None, :]


def case(n: int = 40, below: float | None = None) -> tuple[NlmeModel, Records]:
    rng = stream(4, "importance em")
    b = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.5], [0.0, 0.4]])
    subjects = []
    for i in range(n):
        t = np.sort(rng.uniform(0, 4, 6))
        y = 3.0 + b[i, 0] + (0.5 + b[i, 1]) * t + 0.5 * rng.normal(size=6)
        low = y < (below if below is not None else -np.inf)
        table = pd.DataFrame({"time_h": t, "observable": "y", "value": np.where(low, below, y),
                              "censor": np.where(low, "left", "none")})  # fmt: skip
        subjects.append(Subject(f"synthetic {i}", table))
    scale = Scale("normal")
    model = nlme_model(
        Line(), [Individual("level", 2.5, scale, iiv=0.8), Individual("slope", 0.4, scale, iiv=0.5)],
        [Observation("y", "y", "additive", a=0.7)], blocks="full",
    )  # fmt: skip
    return model, make_records(subjects)


def exact(records: Records, below: float | None = None) -> tuple[Array, float]:
    """Maximum likelihood of the linear mixed model by its closed form."""

    def objective(x: Array) -> float:
        root = np.array([[np.exp(x[2]), 0.0], [x[3], np.exp(x[4])]])
        total = 0.0
        for s in records.subjects:
            t, y = s.observations["time_h"].to_numpy(), s.observations["value"].to_numpy()
            z = np.stack([np.ones_like(t), t], axis=1)
            cov = z @ root @ root.T @ z.T + np.exp(2 * x[5]) * np.eye(len(t))
            r = y - z @ x[:2]
            total += np.linalg.slogdet(2 * np.pi * cov)[1] + r @ np.linalg.solve(cov, r)
        return float(total)

    found = minimize(objective, np.array([3.0, 0.5, 0.0, 0.4, -1.0, -0.7]), method="BFGS")
    return found.x, float(found.fun)


def test_a_linear_model_has_its_exact_maximum_likelihood_and_standard_errors() -> None:
    model, records = case()
    fit = fit_importance_em(model, records, seed=1)
    best, value = exact(records)
    assert abs(fit.objective - value) < max(0.5, 4 * 2 * fit.likelihood_se)
    assert np.allclose(fit.population.typical, best[:2], atol=0.03)
    root = np.array([[np.exp(best[2]), 0.0], [best[3], np.exp(best[4])]])
    assert np.allclose(fit.population.omega, root @ root.T, rtol=0.08, atol=0.02)
    assert fit.population.errors[0] == pytest.approx(np.exp(best[5]), rel=0.03)
    table = fit.table().set_index("name")
    z = [np.stack([np.ones(6), s.observations["time_h"].to_numpy()], axis=1) for s in records.subjects]
    cov = [x @ root @ root.T @ x.T + np.exp(2 * best[5]) * np.eye(6) for x in z]
    information = sum(x.T @ np.linalg.solve(c, x) for x, c in zip(z, cov, strict=True))
    se = np.sqrt(np.diag(np.linalg.inv(information)))
    assert np.allclose(table.loc[["level", "slope"], "se"], se, rtol=0.1)
    assert fit.converged
    assert not fit.messages


def test_censored_values_do_not_bias_and_a_fit_is_the_same_again(tmp_path: object) -> None:
    model, records = case(below=3.0)
    few = DrawSettings(rounds=8, draws=40, final=150)
    fit = fit_importance_em(model, records, seed=1, settings=few)
    whole = fit_importance_em(*case(), seed=1, settings=few)
    assert (records.frame()["censor"] == "left").mean() > 0.2
    se = fit.table()["se"].to_numpy()[:2]
    assert (np.abs(fit.population.typical - whole.population.typical) < 2 * se).all()
    again = fit_importance_em(model, records, seed=1, settings=few)
    assert (again.vector == fit.vector).all()
    path = f"{tmp_path}/fit.json"
    write_fit(fit, path)
    assert read_fit(path, model).population.typical.tolist() == fit.population.typical.tolist()


def test_what_it_cannot_do_is_refused() -> None:
    model, records = case(6)
    still = replace(model, parameters=(model.parameters[0], replace(model.parameters[1], iiv=0.0)), blocks=())
    with pytest.raises(ModelError, match="slope"):
        fit_importance_em(still, records, seed=1)
    far = replace(model.observed[0], error="lognormal")
    with pytest.raises(ModelError, match="synthetic"):
        fit_importance_em(replace(model, observed=(far,)), records, seed=1,
                          begin=None, settings=DrawSettings(rounds=1, draws=32, final=32))  # fmt: skip


def test_information_is_the_derivative_of_the_gradient() -> None:
    from icans.population.fit import importance_em as em

    model, records = case(12)
    bound, population = em.bind(model, records), em.start(model)
    pack = em.packing(model, population)
    centre, root, _ = em._modes(bound, population, DrawSettings(), None)
    laid = em.lay(bound, population, centre, root, 60, stream(1, "information"))
    vector = pack.pack(population)
    by_differences = []
    for j in range(len(vector)):
        step = np.zeros(len(vector))
        step[j] = 1e-4
        high, low = (em._gradient(bound, laid, pack, vector + s * step) for s in (1.0, -1.0))
        by_differences.append((high - low) / 2e-4)
    exact_one = em.hessian(bound, laid, pack, vector)
    assert np.allclose(exact_one, by_differences, atol=1e-5 * np.abs(exact_one).max())
