"""The extended Kalman filter: the linear filter where the drift is linear; a small cytokine model otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_forecast_kalman import SYSTEM, irregular

from icans.core.random import stream
from icans.forecast.filters.extended import NonlinearSystem, extended_filter, extended_forecast, extended_smoother
from icans.forecast.filters.kalman import forecast, kalman_filter, kalman_smoother
from icans.forecast.filters.system import Panel

LINEAR = NonlinearSystem(
    drift=lambda t, x: x @ SYSTEM.drift.T + SYSTEM.push,
    drift_slope=lambda t, x: np.broadcast_to(SYSTEM.drift, (len(x), 2, 2)),
    observe=lambda x: x @ SYSTEM.loading.T + SYSTEM.offset,
    observe_slope=lambda x: np.broadcast_to(SYSTEM.loading, (len(x), 3, 2)),
    diffusion=SYSTEM.diffusion, noise=SYSTEM.noise, start=SYSTEM.start, start_cov=SYSTEM.start_cov, longest=0.1,
)  # fmt: skip

# A small mechanistic model in logarithms (days): cells E grow until day 7 and decline after it (times as in
# Stein AM et al., CPT Pharmacometrics Syst Pharmacol 2019;8:285); they release a cytokine C, saturating, which is
# cleared at rate 3 a day.
GROWTH, DECLINE, TURN, RELEASE, HALF, CLEAR = 0.9, 0.15, 7.0, 60.0, 20.0, 3.0


def rate(t: np.ndarray) -> np.ndarray:
    return np.where(t < TURN, GROWTH, -DECLINE)


def drift(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    cells = np.exp(x[:, 0])
    return np.stack([rate(t), RELEASE * cells / (HALF + cells) / np.exp(x[:, 1]) - CLEAR], axis=1)


def drift_slope(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    cells, level = np.exp(x[:, 0]), np.exp(x[:, 1])
    out = np.zeros((len(x), 2, 2))
    out[:, 1, 0] = RELEASE * cells * HALF / (HALF + cells) ** 2 / level
    out[:, 1, 1] = -RELEASE * cells / (HALF + cells) / level
    return out


CYTOKINE = NonlinearSystem(
    drift, drift_slope, observe=lambda x: x, observe_slope=lambda x: np.broadcast_to(np.eye(2), (len(x), 2, 2)),
    diffusion=np.diag([0.02, 0.05]), noise=np.array([0.1, 0.05]), start=np.array([-2.0, 0.0]),
    start_cov=np.diag([0.5, 0.2]), longest=0.1,
)  # fmt: skip


def simulated(n: int, seed: int) -> tuple[Panel, np.ndarray]:
    """Patients drawn by small Euler-Maruyama steps, seen every day or so; and their states at those times."""
    rng = stream(seed, "cytokine model")
    x = rng.multivariate_normal(CYTOKINE.start, CYTOKINE.start_cov, n)
    root, dt, when = np.sqrt(np.diag(CYTOKINE.diffusion)), 0.01, np.array([1.0, 2.0, 3.5, 5.0, 6.0, 8.0, 9.5, 12.0])
    states = []
    for k in range(round(when[-1] / dt)):
        x = x + dt * drift(np.full(n, k * dt), x) + np.sqrt(dt) * root * rng.normal(size=x.shape)
        if np.isclose(when, (k + 1) * dt).any():
            states.append(x)
    truth = np.stack(states, axis=1)
    value = truth + np.sqrt(CYTOKINE.noise) * rng.normal(size=truth.shape)
    side = np.zeros(value.shape, np.int8)
    side[..., 1] = -(value[..., 1] < 0.5).astype(np.int8)  # an assay's lower limit on the cytokine
    value[..., 1] = np.maximum(value[..., 1], 0.5)
    value[rng.random(value.shape) < 0.3] = np.nan
    return Panel(np.repeat(when[None], n, axis=0), value, side, np.zeros(n)), truth


def test_a_linear_drift_gives_the_linear_filter():
    panel = irregular(stream(1, "kalman"))
    ours, theirs = extended_filter(LINEAR, panel), kalman_filter(SYSTEM, panel)
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-5)
    np.testing.assert_allclose(ours.cov, theirs.cov, atol=1e-5)
    np.testing.assert_allclose(ours.log_likelihood, theirs.log_likelihood, atol=1e-4)
    smooth, other = extended_smoother(LINEAR, panel), kalman_smoother(SYSTEM, panel)
    np.testing.assert_allclose(smooth.mean, other.mean, atol=1e-5)
    np.testing.assert_allclose(smooth.lag, other.lag, atol=1e-5)
    at = np.array([13.0, 15.0])
    a, b = extended_forecast(LINEAR, panel, at), forecast(SYSTEM, panel, at)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-5)
    np.testing.assert_allclose(a.sd, b.sd, atol=1e-5)


def test_the_jacobian_is_the_slope_of_the_drift():
    x = stream(1, "jacobian").normal(0, 1, (5, 2))
    t = np.array([0.0, 3.0, 6.9, 7.1, 20.0])
    slope = drift_slope(t, x)
    for j, e in enumerate(1e-6 * np.eye(2)):
        np.testing.assert_allclose(slope[:, :, j], (drift(t, x + e) - drift(t, x - e)) / 2e-6, rtol=1e-6, atol=1e-6)


def test_states_of_the_cytokine_model_are_recovered_with_their_uncertainty():
    panel, truth = simulated(300, seed=1)
    assert panel.censored.mean() > 0.02
    smooth = extended_smoother(CYTOKINE, panel)
    error = smooth.mean - truth
    sd = np.sqrt(np.einsum("ntii->nti", smooth.cov))
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.05
    # 2400 states each of cells and cytokine, correlated within 300 patients: standard error below 0.01.
    assert (np.abs(error) < 1.96 * sd).mean(axis=(0, 1)) == pytest.approx(0.95, abs=0.03)
    naive = np.where(np.isnan(panel.value), np.nanmean(panel.value, axis=0), panel.value) - truth
    assert np.sqrt((error**2).mean()) < 0.6 * np.sqrt((naive**2).mean())


def test_forecasts_three_days_ahead_cover_what_comes():
    panel, _ = simulated(400, seed=2)
    cut = panel.until(5.0)
    ahead = extended_forecast(CYTOKINE, cut, np.array([6.0, 8.0]))
    low, high = ahead.interval(0.9)
    value, exact = panel.value[:, 4:6], panel.seen[:, 4:6] & ~panel.censored[:, 4:6]
    assert ((value >= low) & (value <= high))[exact].mean() == pytest.approx(0.9, abs=0.035)
    changed = replace(panel, value=np.where((panel.time > 5.0)[:, :, None], 9.0, panel.value)).until(5.0)
    np.testing.assert_array_equal(extended_forecast(CYTOKINE, changed, np.array([6.0, 8.0])).mean, ahead.mean)
    with pytest.raises(ValueError, match="ascend"):
        extended_forecast(CYTOKINE, cut, np.array([8.0, 6.0]))
