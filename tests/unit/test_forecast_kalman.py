"""The Kalman filter and smoother against dense Gaussian conditioning, statsmodels and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal, norm, truncnorm
from statsmodels.tsa.statespace.mlemodel import MLEModel

from icans.core.random import stream
from icans.forecast.filters.censored import truncated_moments
from icans.forecast.filters.kalman import forecast, kalman_filter, kalman_smoother
from icans.forecast.filters.system import LinearSystem, Panel

SYSTEM = LinearSystem(
    drift=np.array([[-0.30, 0.20], [0.05, -0.10]]),
    push=np.array([0.4, -0.1]),
    diffusion=np.array([[0.30, 0.05], [0.05, 0.20]]),
    loading=np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]]),
    offset=np.array([0.1, -0.2, 0.3]),
    noise=np.array([0.2, 0.1, 0.4]),
    start=np.array([1.0, -1.0]),
    start_cov=np.array([[1.0, 0.3], [0.3, 0.8]]),
)


def irregular(rng: np.random.Generator, n: int = 4, times: int = 6, missing: float = 0.4) -> Panel:
    """Random times, values and gaps; patients with fewer rows, and one with none."""
    rows = []
    for i in range(n - 1):
        for t in np.sort(rng.uniform(0.0, 12.0, times - i)):
            rows += [(i, t, j, rng.normal(0, 2)) for j in range(3) if rng.random() > missing]
    patient, time, channel, value = map(np.array, zip(*rows, strict=True))
    return Panel.of(patient, time, channel, value, patients=n, channels=3, origin=0.0)


def dense(system: LinearSystem, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (K d) and covariance of the states at ``times`` after the origin 0, by integrals on a fine grid."""
    d = len(system.start)
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def moved(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s, w = 0.5 * t * (nodes + 1), 0.5 * t * weights
        E = np.stack([expm(system.drift * x) for x in s])
        return (
            expm(system.drift * t),
            np.einsum("k,kij,j->i", w, E, system.push),
            np.einsum("k,kij,jl,kml->im", w, E, system.diffusion, E),
        )

    mean, cov = np.empty(len(times) * d), np.empty((len(times) * d,) * 2)
    for i, t in enumerate(times):
        F, f, Q = moved(t)
        mean[i * d : (i + 1) * d] = F @ system.start + f
        own = F @ system.start_cov @ F.T + Q
        for j in range(i, len(times)):
            block = expm(system.drift * (times[j] - t)) @ own
            cov[j * d : (j + 1) * d, i * d : (i + 1) * d] = block
            cov[i * d : (i + 1) * d, j * d : (j + 1) * d] = block.T
    return mean, cov


def conditioned(system: LinearSystem, panel: Panel, i: int, extra: float | None = None):
    """Exact log likelihood and posterior of patient i's states (and of those at one later time)."""
    times = panel.time[i][~np.isnan(panel.time[i])]
    k = len(times)
    mean, cov = dense(system, times if extra is None else np.append(times, extra))
    H = np.kron(np.eye(len(mean) // 2), system.loading)[: k * 3]
    y = panel.value[i, :k].ravel()
    seen = ~np.isnan(y)
    H, y = H[seen], y[seen]
    c, r = np.tile(system.offset, k)[seen], np.tile(system.noise, k)[seen]
    S = H @ cov @ H.T + np.diag(r)
    gain = np.linalg.solve(S, H @ cov).T
    log_density = multivariate_normal(H @ mean + c, S).logpdf(y)
    return float(log_density), mean + gain @ (y - H @ mean - c), cov - gain @ H @ cov


def test_filter_smoother_and_forecast_equal_dense_conditioning():
    panel = irregular(stream(1, "kalman"))
    found, smooth = kalman_filter(SYSTEM, panel), kalman_smoother(SYSTEM, panel)
    ahead = forecast(SYSTEM, panel, np.array([14.5]))
    for i in range(3):
        log_density, mean, cov = conditioned(SYSTEM, panel, i, extra=14.5)
        k = int(panel.last[i]) + 1
        assert found.log_likelihood[i] == pytest.approx(log_density, rel=1e-9)
        np.testing.assert_allclose(smooth.mean[i, :k].ravel(), mean[: 2 * k], atol=1e-8)
        for t in range(k):
            np.testing.assert_allclose(smooth.cov[i, t], cov[2 * t : 2 * t + 2, 2 * t : 2 * t + 2], atol=1e-8)
        for t in range(1, k):
            np.testing.assert_allclose(smooth.lag[i, t], cov[2 * t : 2 * t + 2, 2 * t - 2 : 2 * t], atol=1e-8)
        y = SYSTEM.loading @ mean[-2:] + SYSTEM.offset
        var = np.diag(SYSTEM.loading @ cov[-2:, -2:] @ SYSTEM.loading.T) + SYSTEM.noise
        np.testing.assert_allclose(ahead.mean[i, 0], y, atol=1e-8)
        np.testing.assert_allclose(ahead.sd[i, 0], np.sqrt(var), atol=1e-8)
    # A patient without a row is forecast from the start alone.
    assert found.log_likelihood[3] == 0.0
    mean, cov = dense(SYSTEM, np.array([14.5]))
    np.testing.assert_allclose(ahead.mean[3, 0], SYSTEM.loading @ mean + SYSTEM.offset, atol=1e-8)


def test_long_gaps_of_a_fast_system_reach_its_stationary_law():
    fast = LinearSystem(
        np.array([[-40.0]]), np.array([8.0]), np.array([[2.0]]), np.eye(1), np.zeros(1), np.ones(1),
        np.array([5.0]), np.eye(1),
    )  # fmt: skip
    F, f, Q = fast.step(np.array([0.0, 0.1, 500.0]))
    np.testing.assert_allclose(F[:, 0, 0], [1.0, np.exp(-4.0), 0.0], atol=1e-12)
    np.testing.assert_allclose(f[:, 0], [0.0, 0.2 * (1 - np.exp(-4.0)), 0.2], atol=1e-12)
    np.testing.assert_allclose(Q[:, 0, 0], [0.0, (1 - np.exp(-8.0)) / 40.0, 1 / 40.0], atol=1e-12)


def test_regular_times_with_gaps_equal_statsmodels():
    y = stream(2, "regular").normal(0, 1, (30, 3))
    y[stream(3, "gaps").random(y.shape) < 0.3] = np.nan
    F, f, Q = (part[0] for part in SYSTEM.step(np.array([0.7])))
    other = MLEModel(y, k_states=2, k_posdef=2)
    ssm = other.ssm
    ssm["transition"], ssm["state_intercept"], ssm["state_cov"] = F, f[:, None], Q
    ssm["selection"], ssm["design"] = np.eye(2), SYSTEM.loading
    ssm["obs_intercept"], ssm["obs_cov"] = SYSTEM.offset[:, None], np.diag(SYSTEM.noise)
    ssm.initialize_known(SYSTEM.start, SYSTEM.start_cov)
    theirs = ssm.smooth()
    panel = Panel(0.7 * np.arange(30.0)[None], y[None], np.zeros((1, 30, 3), np.int8), np.zeros(1))
    assert kalman_filter(SYSTEM, panel).log_likelihood[0] == pytest.approx(theirs.llf_obs.sum(), rel=1e-9)
    smooth = kalman_smoother(SYSTEM, panel)
    np.testing.assert_allclose(smooth.mean[0], theirs.smoothed_state.T, atol=1e-8)
    np.testing.assert_allclose(smooth.cov[0], theirs.smoothed_state_cov.transpose(2, 0, 1), atol=1e-8)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("limit", [-3.0, 0.4, 9.0])
def test_moments_beyond_a_limit(side: int, limit: float):
    log_mass, mean, var = truncated_moments(
        np.array([1.2]), np.array([2.25]), np.array([limit]), np.array([side], dtype=np.int8)
    )
    z = (limit - 1.2) / 1.5
    other = truncnorm(-np.inf, z, 1.2, 1.5) if side < 0 else truncnorm(z, np.inf, 1.2, 1.5)
    assert log_mass[0] == pytest.approx(norm.logcdf(z) if side < 0 else norm.logsf(z), rel=1e-10)
    assert (mean[0], var[0]) == (pytest.approx(other.mean(), rel=1e-6), pytest.approx(other.var(), rel=1e-5))


def test_moments_far_beyond_a_limit_stay_finite():
    log_mass, mean, var = truncated_moments(np.zeros(1), np.ones(1), np.array([-2e5]), np.array([-1], dtype=np.int8))
    assert np.isfinite(log_mass[0])
    assert mean[0] == pytest.approx(-2e5, rel=1e-6)
    assert var[0] == pytest.approx(1.0 / 2e5**2, rel=1e-3)


def test_one_censored_value_is_exact():
    """A single state seen once, below a limit: the posterior mean and variance are those of the integral."""
    system = LinearSystem(np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1)), np.eye(1), np.zeros(1), np.array([0.5]),
                          np.array([1.0]), np.array([[2.0]]))  # fmt: skip
    panel = Panel(np.zeros((1, 1)), np.full((1, 1, 1), 0.3), np.full((1, 1, 1), -1, np.int8), np.zeros(1))
    found = kalman_filter(system, panel)
    x = np.linspace(-12, 12, 40001)
    weight = norm.pdf(x, 1.0, np.sqrt(2.0)) * norm.cdf((0.3 - x) / np.sqrt(0.5))
    mass = np.trapezoid(weight, x)
    mean = np.trapezoid(weight * x, x) / mass
    assert found.log_likelihood[0] == pytest.approx(np.log(mass), abs=1e-6)
    assert found.mean[0, 0, 0] == pytest.approx(mean, abs=1e-6)
    assert found.cov[0, 0, 0, 0] == pytest.approx(np.trapezoid(weight * (x - mean) ** 2, x) / mass, abs=1e-6)


def test_many_censored_values_after_refinement_are_near_the_integral():
    """An Ornstein-Uhlenbeck course, half of it below the limit, against numerical integration on a grid."""
    system = LinearSystem(np.array([[-0.5]]), np.zeros(1), np.array([[1.0]]), np.eye(1), np.zeros(1),
                          np.array([0.3]), np.zeros(1), np.eye(1))  # fmt: skip
    value = np.array([0.2, -0.5, -0.5, 0.4, -0.5, 1.2])[None, :, None]
    side = np.array([0, -1, -1, 0, -1, 0], dtype=np.int8)[None, :, None]
    panel = Panel(np.array([[0.0, 0.7, 1.1, 2.0, 3.5, 4.0]]), value, side, np.zeros(1))
    x = np.linspace(-6, 6, 601)
    step = x[1] - x[0]
    seen = [
        norm.cdf((y - x) / np.sqrt(0.3)) if s else norm.pdf(y, x, np.sqrt(0.3))
        for y, s in zip(value[0, :, 0], side[0, :, 0], strict=True)
    ]
    F, _, Q = system.step(panel.gap[0])
    links = [norm.pdf(x[None], F[k, 0, 0] * x[:, None], np.sqrt(Q[k, 0, 0])) * step for k in range(1, 6)]
    ahead = [norm.pdf(x) * seen[0]]
    for k in range(5):
        ahead.append((ahead[-1] @ links[k]) * seen[k + 1])
    back = [np.ones_like(x)]
    for k in range(4, -1, -1):
        back.insert(0, links[k] @ (seen[k + 1] * back[0]))
    exact = [(a * b / (a * b).sum()) @ x for a, b in zip(ahead, back, strict=True)]
    plain = kalman_smoother(system, panel, refine=False)
    refined = kalman_smoother(system, panel)
    error = np.abs(refined.mean[0, :, 0] - exact)
    assert error.max() < 0.01
    assert error.sum() < np.abs(plain.mean[0, :, 0] - exact).sum()


def test_what_lies_behind_a_landmark_does_not_change_the_forecast():
    panel = irregular(stream(4, "landmark"))
    later = panel.time > 6.0
    changed = Panel(panel.time, np.where(later[:, :, None], 50.0, panel.value), panel.side, panel.origin)
    ours, theirs = (forecast(SYSTEM, p.until(6.0), np.array([7.0, 9.0])) for p in (panel, changed))
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    with pytest.raises(ValueError, match="before a patient's last row"):
        forecast(SYSTEM, panel, np.array([1.0]))


def test_rows_before_the_origin_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="before the origin"):
        Panel.of([0], [-1.0], [0], [2.0], patients=1, channels=1, origin=0.0)
    with pytest.raises(ValueError, match="shapes do not fit"):
        LinearSystem(np.eye(2), np.zeros(1), np.eye(2), np.eye(2), np.zeros(2), np.ones(2), np.zeros(2), np.eye(2))
