"""Small population models with known posteriors; all data made here are synthetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from icans.population.fit.result import Fit, RandomEffects
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulate_observations

NORMAL = Scale("normal")
OMEGA = np.array([[1.0, 0.1], [0.1, 0.09]])
ERROR = 0.7


class Line:
    """``y = a + c t``, and its double."""

    parameters = ("a", "c")
    outputs = ("y", "double")

    def bind(self, subjects, time_h, output):
        return Line.Solver(np.nan_to_num(time_h), output)

    class Solver:
        def __init__(self, t, output):
            self.t, self.factor = t, 1.0 + (output == 1)

        def values(self, psi, who):
            return self.factor[who] * (psi[:, 0, :1] + psi[:, 0, 1:2] * self.t[who])

        def derivatives(self, psi, who):
            y = self.values(psi, who)
            by = np.zeros((*y.shape, psi.shape[1], 2))
            by[:, :, 0, 0], by[:, :, 0, 1] = self.factor[who], self.factor[who] * self.t[who]
            return y, by


class Decay:
    """``y = a exp(-k t)``; no course where k is above ``LARGEST``."""

    parameters = ("a", "k")
    outputs = ("y",)
    LARGEST = 50.0

    def bind(self, subjects, time_h, output):
        return Decay.Solver(np.nan_to_num(time_h))

    class Solver:
        def __init__(self, t):
            self.t = t

        def values(self, psi, who):
            y = psi[:, 0, :1] * np.exp(-psi[:, 0, 1:2] * self.t[who])
            return np.where(psi[:, 0, 1:2] > Decay.LARGEST, np.nan, y)

        def derivatives(self, psi, who):
            y = self.values(psi, who)
            by = np.zeros((*y.shape, 1, 2))
            by[:, :, 0, 0], by[:, :, 0, 1] = y / psi[:, 0, :1], -self.t[who] * y
            return y, by


def as_fit(model, population, ids):
    """A population that nobody had to estimate."""
    d = len(model.varying)
    nothing = RandomEffects(np.zeros((len(ids), d)), np.zeros((len(ids), d, d)))
    return Fit(model, "declared", population, 0.0, "none", tuple(ids), 0, nothing)


def line_model(**more):
    return nlme_model(
        Line(), [Individual("a", 1.0, NORMAL, iiv=1.0), Individual("c", 0.5, NORMAL, iiv=0.3)],
        [Observation("y", "y", "additive", ERROR)], blocks="full", **more,
    )  # fmt: skip


def lines(n=6, times=(0.0, 2.0, 4.0, 6.0, 8.0)):
    """A fit of the line, and records of n subjects drawn from it."""
    model = line_model()
    population = replace(start(model), omega=OMEGA)
    rng = np.random.default_rng(1)
    t = np.array(times)
    subjects = []
    for i in range(n):
        a, c = rng.multivariate_normal([1.0, 0.5], OMEGA)
        y = a + c * t + ERROR * rng.standard_normal(len(t))
        subjects.append(Subject(f"synthetic {i}", pd.DataFrame({"time_h": t, "observable": "y", "value": y})))
    records = make_records(subjects)
    return as_fit(model, population, records.ids), records


def line_posterior(subject, landmark_h=np.inf):
    """Mean and covariance of (eta a, eta c), and log evidence, in closed form."""
    table = subject.until(landmark_h).observations
    x = np.stack([np.ones(len(table)), table["time_h"].to_numpy()], axis=1)
    precision = np.linalg.inv(OMEGA) + x.T @ x / ERROR**2
    covariance = np.linalg.inv(precision)
    residual = table["value"].to_numpy() - x @ [1.0, 0.5]
    marginal = x @ OMEGA @ x.T + ERROR**2 * np.eye(len(table))
    evidence = -0.5 * (residual @ np.linalg.solve(marginal, residual) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    return covariance @ x.T @ residual / ERROR**2, covariance, evidence


def decays(n, seed=3, times=(1.0, 4.0, 12.0), limit=0.8):
    """A fit of the decay with sparse, censored, log-normal data of n subjects, and their true effects (n, 2)."""
    model = nlme_model(
        Decay(), [Individual("a", 8.0, iiv=0.6), Individual("k", 0.2, iiv=0.7)],
        [Observation("conc", "y", "lognormal", 0.4)],
    )  # fmt: skip
    population = start(model)
    table = pd.DataFrame({"time_h": times, "observable": "conc", "value": 1.0})
    design = make_records([Subject(f"synthetic {i}", table) for i in range(n)])
    drawn = simulate_observations(bind(model, design), population, seed)
    subjects = []
    for i, s in enumerate(design.subjects):
        y = drawn.values[0, i]
        seen = s.observations.assign(value=np.maximum(y, limit), censor=np.where(y < limit, "left", "none"))
        subjects.append(Subject(s.id, seen))
    records = make_records(subjects)
    return as_fit(model, population, records.ids), records, drawn.b[0]


def on_grid(fit, records, i, points=301, reach=5.0):
    """Posterior of a decay's two effects by quadrature on a grid: means, SDs, 5/50/95 % quantiles, log evidence."""
    from scipy.stats import norm

    s = records.subjects[i].observations
    sd = np.sqrt(np.diag(fit.population.omega))
    z = np.linspace(-reach, reach, points)
    a, k = np.meshgrid(z * sd[0], z * sd[1], indexing="ij")
    logp = norm.logpdf(a, 0, sd[0]) + norm.logpdf(k, 0, sd[1])
    error = float(fit.population.errors[0])
    for t, y, censor in zip(s["time_h"], s["value"], s["censor"], strict=True):
        m = np.log(8.0) + a - 0.2 * np.exp(k) * t
        logp = logp + (norm.logcdf(np.log(y), m, error) if censor == "left" else norm.logpdf(np.log(y), m, error)
                       - np.log(y))  # fmt: skip
    p = np.exp(logp - logp.max())
    cell = (z[1] - z[0]) ** 2 * sd[0] * sd[1]
    evidence = float(np.log(p.sum() * cell) + logp.max())
    p /= p.sum()
    out = []
    for axis, width in ((1, sd[0]), (0, sd[1])):
        w, x = p.sum(axis=axis), z * width
        mean = w @ x
        below = np.cumsum(w) - w / 2
        out.append((mean, np.sqrt(w @ (x - mean) ** 2), *np.interp([0.05, 0.5, 0.95], below, x)))
    return np.array(out), evidence
