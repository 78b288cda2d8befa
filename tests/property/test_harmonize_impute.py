"""Imputation: the state-space model against dense Gaussian algebra, calibration, limits, and no look ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.cohort import schema
from icans.core.errors import NotEstimableError, NotFittedError
from icans.harmonize.impute_chained import ChainedImputer
from icans.harmonize.impute_ou import OUImputer, OUModel, _filter, _Layout
from icans.harmonize.panel import Panel, noise, panel, truncated

MODEL = OUModel(np.array([0.0, 1.0]), np.zeros(2), 0.8, 0.6, 40.0, 0.2)


def simulate(seed: int, patients: int = 40, days: int = 14, missing: float = 0.4) -> tuple[Panel, np.ndarray]:
    """Two log analytes that share a patient level and an Ornstein-Uhlenbeck course; the full truth."""
    rng = np.random.default_rng(seed)
    keep = [np.sort(rng.choice(days, rng.integers(4, days + 1), replace=False)) for _ in range(patients)]
    owner = np.repeat([f"p{k:03d}" for k in range(patients)], [len(k) for k in keep]).astype(object)
    time = 24.0 * np.concatenate(keep)
    y = np.empty((len(time), 2))
    start = 0
    for k in keep:
        t = 24.0 * k
        cov = 0.64 + 0.36 * np.exp(-np.abs(t[:, None] - t[None]) / 40.0)
        course = np.linalg.cholesky(cov + 1e-9 * np.eye(len(t))) @ rng.normal(size=len(t))
        y[start : start + len(t), 0] = 2.0 + np.exp(-(((t - 120) / 72) ** 2)) + course + 0.2 * rng.normal(size=len(t))
        start += len(t)
    y[:, 1] = 1.0 + 0.8 * y[:, 0] + 0.4 * rng.normal(size=len(y))
    values = np.where(rng.random(y.shape) < missing, np.nan, y)
    full = np.full(y.shape, np.inf)
    return Panel(owner, time, ("il_6", "crp"), values, -full, full), y


def test_filter_and_smoother_equal_dense_gaussian_algebra():
    sample, _ = simulate(3, patients=4)
    imputer = OUImputer(models={"il_6": MODEL, "crp": MODEL})
    mean, variance = imputer.expected(sample)
    causal, _ = OUImputer(True, imputer.models).expected(sample)
    total = 0.0
    for patient in np.unique(sample.patient):
        rows = np.flatnonzero(sample.patient == patient)
        t, y = sample.time_h[rows], sample.values[rows, 0]
        cov = 0.64 + 0.36 * np.exp(-np.abs(t[:, None] - t[None]) / 40.0)
        seen = ~np.isnan(y)
        inner = cov[np.ix_(seen, seen)] + 0.04 * np.eye(seen.sum())
        weight = cov[:, seen] @ np.linalg.inv(inner)
        np.testing.assert_allclose(mean[rows, 0], weight @ y[seen], atol=1e-9)
        np.testing.assert_allclose(variance[rows, 0], np.diag(cov - weight @ cov[seen]), atol=1e-9)
        _, logdet = np.linalg.slogdet(2 * np.pi * inner)
        total -= 0.5 * (logdet + y[seen] @ np.linalg.solve(inner, y[seen]))
        known = seen & (np.arange(len(t)) <= 2)
        past = cov[2, known] @ np.linalg.inv(cov[np.ix_(known, known)] + 0.04 * np.eye(known.sum())) @ y[known]
        assert causal[rows[2], 0] == pytest.approx(past)
    states = _filter(sample.values[:, 0], _Layout.of(sample), MODEL)
    assert states.log_likelihood == pytest.approx(total)


@pytest.fixture(scope="module")
def trained() -> dict[str, OUImputer | ChainedImputer]:
    sample, _ = simulate(0, patients=120)
    return {
        "ou": OUImputer().fit(sample), "ou causal": OUImputer(causal=True).fit(sample),
        "chained": ChainedImputer().fit(sample), "chained causal": ChainedImputer(causal=True).fit(sample),
        "pmm": ChainedImputer(causal=True, method="pmm").fit(sample),
    }  # fmt: skip


def test_parameters_are_recovered(trained):
    model = trained["ou"].models["il_6"]
    total = np.sqrt(model.level_sd**2 + model.deviation_sd**2)
    assert total == pytest.approx(1.0, abs=0.15)
    assert model.noise_sd < 0.4
    assert model.trend(np.array([120.0]))[0] - model.trend(np.array([312.0]))[0] == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("kind", ["ou", "ou causal", "chained", "chained causal", "pmm"])
def test_new_patients_are_imputed_better_than_by_the_mean_with_honest_spread(trained, kind: str):
    sample, truth = simulate(1, patients=60)
    draws = trained[kind].transform(sample, draws=20, seed=4)
    gap = np.isnan(sample.values)
    assert np.isfinite(draws).all()
    assert (draws[:, ~gap] == sample.values[~gap]).all()
    for g in range(2):
        at = gap[:, g]
        error = draws[:, at, g].mean(axis=0) - truth[at, g]
        naive = truth[at, g] - np.nanmean(sample.values[:, g])
        assert np.sqrt(np.mean(error**2)) < 0.9 * np.sqrt(np.mean(naive**2))
        low, high = np.quantile(draws[:, at, g], [0.05, 0.95], axis=0)
        assert 0.78 < np.mean((truth[at, g] >= low) & (truth[at, g] <= high)) < 0.98


@pytest.mark.parametrize("kind", ["ou causal", "chained causal", "pmm"])
@settings(max_examples=5)
@given(seed=st.integers(0, 1000), cut=st.floats(48.0, 240.0))
def test_causal_draws_do_not_change_with_the_future(trained, kind: str, seed: int, cut: float):
    sample, _ = simulate(seed, patients=8)
    rng = np.random.default_rng(seed)
    before = sample.time_h <= cut
    changed = sample.values.copy()
    changed[~before] += rng.normal(0, 5, changed[~before].shape)
    shorter = Panel(*(x[before] if not isinstance(x, tuple) else x for x in (
        sample.patient, sample.time_h, sample.names, sample.values, sample.lower, sample.upper)))  # fmt: skip
    first = trained[kind].transform(sample, draws=2, seed=9)[:, before]
    np.testing.assert_allclose(trained[kind].transform(sample.with_values(changed), draws=2, seed=9)[:, before], first)
    np.testing.assert_allclose(trained[kind].transform(shorter, draws=2, seed=9), first)


@pytest.mark.parametrize("kind", ["ou", "ou causal", "chained", "pmm"])
def test_censored_values_are_imputed_beyond_their_limit(trained, kind: str):
    sample, truth = simulate(2, patients=40, missing=0.1)
    limit = np.quantile(truth[:, 0], 0.25)
    below = truth[:, 0] < limit
    values, upper = sample.values.copy(), sample.upper.copy()
    values[below, 0], upper[below, 0] = np.nan, limit
    censored = Panel(sample.patient, sample.time_h, sample.names, values, sample.lower, upper)
    draws = trained[kind].transform(censored, draws=5, seed=1)
    assert (draws[:, below, 0] <= limit + 1e-9).all()
    assert draws[:, below, 0].mean() == pytest.approx(truth[below, 0].mean(), abs=0.35)
    assert len(np.unique(draws[:, below, 0].round(6))) > 20


def test_draws_differ_and_depend_on_the_seed_alone(trained):
    sample, _ = simulate(5, patients=10)
    one = trained["chained"].transform(sample, draws=3, seed=1)
    np.testing.assert_array_equal(one, trained["chained"].transform(sample, draws=3, seed=1))
    gap = np.isnan(sample.values)
    assert (one[0][gap] != one[1][gap]).all()
    np.testing.assert_array_equal(one[:2], trained["chained"].transform(sample, draws=2, seed=1))


def test_what_cannot_be_imputed_is_refused():
    sample, _ = simulate(5, patients=10)
    with pytest.raises(NotFittedError):
        OUImputer().transform(sample, draws=1, seed=0)
    with pytest.raises(NotFittedError):
        ChainedImputer().transform(sample, draws=1, seed=0)
    empty = sample.with_values(np.full_like(sample.values, np.nan))
    for imputer in (OUImputer(), ChainedImputer()):
        with pytest.raises(NotEstimableError, match="observed values"):
            imputer.fit(empty)


@given(st.floats(-3, 3), st.floats(0.1, 5), st.floats(-40, 40), st.floats(0.01, 30), st.floats(1e-6, 1 - 1e-6))
def test_truncated_draws_stay_inside_and_follow_the_distribution(mean, sd, low, width, uniform):
    from scipy.stats import truncnorm

    a, b = np.array([low]), np.array([low + width])
    value = truncated(np.array([mean]), np.array([sd]), a, b, np.array([uniform]))[0]
    assert low - 1e-9 <= value <= low + width + 1e-9
    if abs((low - mean) / sd) < 5:
        lower, upper = (low - mean) / sd, (low + width - mean) / sd
        # Where the lower end lies above the mean the draw is mirrored, which keeps precision and the distribution.
        assert value == pytest.approx(truncnorm.ppf(uniform, lower, upper, mean, sd), rel=1e-4, abs=1e-4)


def test_panel_keeps_limits_and_bins():
    table = schema.MEASUREMENTS.shape_up(
        pd.DataFrame(
            {
                "patient_id": ["a", "a", "b"], "time_h": [1.0, 30.0, 2.0], "analyte": "il_6",
                "value": [10.0, 400.0, 5.0],
                "censor": ["none", "right", "left"], "limit": [np.nan, 400.0, 5.0],
            }
        )
    )  # fmt: skip
    times = pd.DataFrame({"patient_id": ["b"], "time_h": [48.0]})
    made = panel(table, ["il_6", "crp"], times=times)
    assert made.time_h.tolist() == [0.0, 24.0, 0.0, 48.0]
    assert made.lower[1, 0] == pytest.approx(np.log(400))
    assert made.upper[2, 0] == pytest.approx(np.log(5))
    assert np.isnan(made.values[1:, 0]).all()
    assert made.frame()["il_6"].iloc[0] == pytest.approx(10.0)
    a, _ = noise(made, 1, "x", 0, 3)
    b, _ = noise(made, 1, "x", 1, 3)
    assert (a != b).all()
