"""The hierarchical trajectory model: conditionals, recovery, coverage, what an informative prior gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import invwishart, norm

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.filters.trajectory import (
    KNOTS,
    Course,
    TrajectoryPrior,
    _beyond,
    _inverse_wishart,
    fit_trajectory,
    published,
)

PRIOR = TrajectoryPrior.informed("il_6")


def drawn(n: int, seed: int, *, limit: float | None = None) -> tuple[list[Course], np.ndarray, np.ndarray]:
    """Patients from the prior's own shapes: courses, the population's knots, their covariance (synthetic)."""
    rng = stream(seed, "trajectories")
    mu = PRIOR.mean + np.linalg.cholesky(PRIOR.cov) @ rng.normal(size=len(KNOTS))
    S = PRIOR.scale / 4.0
    courses = []
    for _ in range(n):
        days = np.sort(rng.uniform(0, 28, 10))
        theta = mu + np.linalg.cholesky(S) @ rng.normal(size=len(KNOTS))
        y = PRIOR.basis(days) @ theta + 0.4 * rng.normal(size=10)
        side = np.zeros(10, np.int8)
        if limit is not None:
            side, y = -(y < limit).astype(np.int8), np.maximum(y, limit)
        courses.append(Course(days, y, side))
    return courses, mu, S


@pytest.fixture(scope="module")
def fitted():
    courses, mu, S = drawn(50, 1, limit=1.0)
    return fit_trajectory(courses, PRIOR, draws=250, warm=150), courses, mu, S


def test_the_sampler_mixes_and_finds_the_population(fitted):
    fit, courses, mu, S = fitted
    assert np.mean([(c.side != 0).mean() for c in courses]) > 0.1
    assert fit.rhat < 1.15
    z = (fit.mean.mean(axis=0) - mu) / fit.mean.std(axis=0)
    assert np.abs(z).max() < 3.3
    assert np.sqrt(fit.noise.mean()) == pytest.approx(0.4, abs=0.06)
    ratio = np.sqrt(np.diag(fit.cov.mean(axis=0)) / np.diag(S))
    assert ((ratio > 0.7) & (ratio < 1.4)).all()


def test_forecasts_cover_patients_that_were_not_seen(fitted):
    fit, *_ = fitted
    rng, inside, exact = stream(3, "new patients"), [], []
    mu, S = fitted[2:]
    for i in range(80):
        theta = mu + np.linalg.cholesky(S) @ rng.normal(size=len(KNOTS))
        days = np.array([1.0, 2.5, 4.0, 6.0, 9.0, 13.0])
        y = PRIOR.basis(days) @ theta + 0.4 * rng.normal(size=6)
        low, high = np.quantile(fit.forecast(Course.exact(days, y).until(4.0), days[3:], seed=i), [0.05, 0.95], axis=1)
        inside.append((y[3:] >= low) & (y[3:] <= high))
        exact.append(high - low)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.06)
    # What the patient has shown narrows the forecast.
    alone = np.quantile(fit.forecast(Course.exact(np.zeros(0), np.zeros(0)), days[3:]), [0.05, 0.95], axis=1)
    assert np.mean(exact) < 0.9 * (alone[1] - alone[0]).mean()


def test_a_patient_given_the_population_is_the_conjugate_normal():
    courses, *_ = drawn(20, 4)
    fit = fit_trajectory(courses, PRIOR, draws=1, warm=60, chains=1)
    many = type(fit)(PRIOR, *(np.repeat(x, 20000, axis=0) for x in (fit.mean, fit.cov, fit.noise)), fit.rhat)
    own = Course.exact(np.array([1.0, 3.0]), np.array([2.0, 4.0]))
    at = np.array([3.0, 5.0])
    B, C = PRIOR.basis(own.days), PRIOR.basis(at)
    mu, S, s = fit.mean[0], fit.cov[0], fit.noise[0]
    gain = S @ B.T @ np.linalg.inv(B @ S @ B.T + s * np.eye(2))
    mean = C @ (mu + gain @ (own.values - B @ mu))
    var = np.diag(C @ (S - gain @ B @ S) @ C.T) + s
    found = many.forecast(own, at)
    np.testing.assert_allclose(found.mean(axis=1), mean, atol=0.03)
    np.testing.assert_allclose(found.std(axis=1), np.sqrt(var), rtol=0.03)
    # A value known to lie above a limit pulls the forecast up, one below it down.
    sides = [Course(np.array([3.0]), np.array([3.0]), np.array([k], np.int8)) for k in (-1, 0, 1)]
    low, mid, high = (many.forecast(c, at).mean() for c in sides)
    assert low < mid < high


def test_draws_of_the_parts():
    rng = stream(5, "parts")
    scale = np.array([[2.0, 0.6], [0.6, 1.0]])
    mine = np.array([_inverse_wishart(9.0, scale, rng) for _ in range(2000)])
    np.testing.assert_allclose(mine.mean(axis=0), invwishart(9, scale).mean(), rtol=0.08)
    y = _beyond(np.full(20000, 1.0), 2.0, np.full(20000, 0.0), np.full(20000, -1, np.int8), rng)
    assert y.max() <= 0.0
    z = -0.5
    assert y.mean() == pytest.approx(1.0 - 2.0 * norm.pdf(z) / norm.cdf(z), abs=0.03)


def test_an_informative_prior_helps_while_patients_are_few():
    courses, *_ = drawn(64, 6)
    error: dict[str, list[float]] = {"informed": [], "vague": []}
    for n in (4, 40):
        level = float(np.mean(np.concatenate([c.values for c in courses[:n]])))
        for name, prior in (("informed", PRIOR), ("vague", TrajectoryPrior.vague(level))):
            fit = fit_trajectory(courses[:n], prior, draws=80, warm=60)
            miss = [
                np.abs(np.median(fit.forecast(c.until(5.0), c.days[c.days > 5], seed=1), axis=1) - c.values[c.days > 5])
                for c in courses[40:]
            ]
            error[name].append(float(np.mean(np.concatenate(miss))))
    assert error["informed"][0] < error["vague"][0]
    assert abs(error["informed"][1] - error["vague"][1]) < error["vague"][0] - error["informed"][0] + 0.05


def test_every_published_level_names_its_source():
    for analyte, entry in published().items():
        assert entry["peaks"], analyte
        assert all(peak["source"] and peak["therapy"] and peak["value"] > entry["baseline"] for peak in entry["peaks"])
    with pytest.raises(KeyError, match="no published levels"):
        TrajectoryPrior.informed("sodium")
    with pytest.raises(NotEstimableError):
        fit_trajectory([Course.exact(np.zeros(0), np.zeros(0))], PRIOR)
