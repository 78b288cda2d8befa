"""A straight line with normal random effects, whose likelihood is known in closed form: an oracle for estimators.

All data are synthetic.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from icans.population.nlme.likelihood import Bound, bind, covariance, means
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population, start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulated_records

NORMAL = Scale("normal")


class Line:
    """``y = a + k t``; after 10 h with the ``a`` and ``k`` of the second occasion. Subjects named broken: no number."""

    parameters = ("a", "k")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        return LineSolver(np.nan_to_num(time_h), np.array([s.id.endswith("broken") for s in subjects]))


class LineSolver:
    def __init__(self, time_h, broken):
        self.t, self.broken = time_h, broken

    def values(self, psi, who):
        return self.derivatives(psi, who)[0]

    def derivatives(self, psi, who):
        t, o = self.t[who], psi.shape[1]
        place = ((t > 10.0) & (o > 1)).astype(int)
        rows = np.arange(len(psi))[:, None]
        y = psi[rows, place, 0] + psi[rows, place, 1] * t
        by = np.zeros((*t.shape, o, 2))
        m, r = np.indices(t.shape)
        by[m, r, place, 0], by[m, r, place, 1] = 1.0, t
        return np.where(self.broken[who][:, None], np.nan, y), by


def line_case(
    subjects: int, seed: int, *, iov: float = 0.0, iiv_k: float = 0.2, one_occasion: int = 0, broken: bool = False,
    truth: dict | None = None, sd_a: float = 1.0, **more,
):  # fmt: skip
    """A model and synthetic records of it; ``truth``: fields of the population that differ from the starts."""
    times = [0.0, 2.0, 5.0, 9.0, 12.0, 15.0, 19.0]
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"time_h": times, "observable": "y", "value": 1.0})
    people = []
    for i in range(subjects):
        two = iov > 0.0 and i >= one_occasion
        own = table if two or iov == 0.0 else table.iloc[:4]
        name = f"{i}broken" if broken and i == 1 else f"{i}"
        people.append(Subject(name, own, (), {"x": float(rng.standard_normal())}, (0.0, 10.0) if two else ()))
    model = nlme_model(
        Line(), [Individual("a", 5.0, NORMAL, iiv=sd_a, iov=iov), Individual("k", 0.3, NORMAL, iiv=iiv_k)],
        [Observation("y", "y", "additive", a=0.5)], **more,
    )  # fmt: skip
    records = make_records(people)
    fine = make_records([Subject(f"{i}", s.observations, (), s.covariates, s.occasions) for i, s in enumerate(people)])
    population = start(model)
    population = Population(**{**population.__dict__, **(truth or {})})
    drawn = simulated_records(bind(model, fine), population, seed, prefix="")
    renamed = [
        Subject(p.id, s.observations, (), s.covariates, s.occasions)
        for p, s in zip(records.subjects, drawn.subjects, strict=True)
    ]
    return model, make_records(renamed)


def exact(bound: Bound, population: Population) -> np.ndarray:
    """Log-likelihood of each subject, (N,)."""
    sigma, parts, n = covariance(bound, population), [], len(bound)
    there = bound.rows.observed >= 0
    for c, share in enumerate(population.shares):
        psi = np.tile(means(bound, population, c)[:, None], (1, bound.occasions, 1))
        y, by = bound.solver.derivatives(psi, np.arange(n))
        z = np.where(there[..., None], by.reshape(n, y.shape[1], -1), 0.0)
        z = z @ bound.loading.reshape(bound.occasions * 2, -1)
        # Padding has variance 1 and no residual; what that adds is taken away again.
        noise = np.where(there, population.errors[0] ** 2, 1.0)
        root = np.linalg.cholesky(z @ sigma @ np.swapaxes(z, 1, 2) + noise[:, :, None] * np.eye(y.shape[1]))
        away = np.linalg.solve(root, np.where(there, bound.rows.value - y, 0.0)[..., None])[..., 0]
        log_det = 2.0 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        own = -0.5 * ((away**2).sum(axis=1) + log_det + there.sum(axis=1) * np.log(2.0 * np.pi))
        parts.append(np.log(share) + own)
    return logsumexp(np.stack(parts), axis=0)


def posterior(bound: Bound, population: Population) -> tuple[np.ndarray, np.ndarray]:
    """Exact conditional means (N, D) and covariances (N, D, D) of random effects; one class."""
    precision, mean = np.linalg.inv(covariance(bound, population)), means(bound, population)
    modes, covs = [], []
    for i in range(len(bound)):
        there = bound.rows.observed[i] >= 0
        y, by = bound.solver.derivatives(np.tile(mean[i], (1, bound.occasions, 1)), np.array([i]))
        z = by[0, there].reshape(there.sum(), -1) @ bound.loading.reshape(bound.occasions * 2, -1)
        cov = np.linalg.inv(precision + z.T @ z / population.errors[0] ** 2)
        modes.append(cov @ z.T @ (bound.rows.value[i, there] - y[0, there]) / population.errors[0] ** 2)
        covs.append(cov)
    return np.array(modes), np.array(covs)
