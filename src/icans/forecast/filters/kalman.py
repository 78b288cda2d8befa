"""Kalman filter, smoother and forecasts for many patients at once: irregular times, gaps, censored values.

Kalman RE, J Basic Eng 1960;82:35, doi 10.1115/1.3662552; Rauch HE, Tung F, Striebel CT, AIAA J 1965;3:1445, doi
10.2514/3.3166. The channels of one time enter one after the other (their noise is independent), so that any subset of
them may be missing. A value beyond a limit enters by the mean and variance that a normal has beyond it (moment
matching: exact mean and variance for that one value, the normal shape afterwards is the approximation). Given the
whole series the approximation can be refined: every censored value keeps a normal stand-in ("site") of its own, which
is recomputed from all other values until nothing moves (expectation propagation, Minka TP, UAI 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from icans.forecast.filters.censored import truncated_moments
from icans.forecast.filters.system import LinearSystem, Panel

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Share of the new stand-in that is taken in each sweep: below 1 the sweeps do not swing.
DAMPING = 0.8
SWEEPS, TOLERANCE = 30, 1e-6


@dataclass(frozen=True)
class Sites:
    """Stand-ins of the censored values on the scale of ``H x + c``: precision and precision x mean, (N, T, m)."""

    precision: Floats
    shift: Floats


@dataclass(frozen=True)
class Filtered:
    """States given the rows up to each time.

    ``mean`` (N, T, d), ``cov`` (N, T, d, d); ``ahead_mean``, ``ahead_cov``: before the rows of that time;
    ``transition`` (N, T, d, d): from the time before; ``log_likelihood`` (N,). Behind a patient's last time the last
    state stands.
    """

    mean: Floats
    cov: Floats
    ahead_mean: Floats
    ahead_cov: Floats
    transition: Floats
    log_likelihood: Floats


@dataclass(frozen=True)
class Smoothed:
    """States given all rows: ``mean`` (N, T, d), ``cov`` (N, T, d, d).

    ``lag`` (N, T, d, d): covariance of the state with that of the time before (of the start, for the first time);
    ``start_mean``, ``start_cov``: of the state at the origin; ``sites``: stand-ins of censored values;
    ``log_likelihood`` (N,): of the filter's pass.
    """

    mean: Floats
    cov: Floats
    lag: Floats
    start_mean: Floats
    start_cov: Floats
    sites: Sites | None
    log_likelihood: Floats


@dataclass(frozen=True)
class Outlook:
    """Forecast of observations: ``mean`` and ``sd`` (N, K, m), noise included."""

    mean: Floats
    sd: Floats

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Central interval of that probability."""
        half = float(ndtri(0.5 + level / 2.0)) * self.sd
        return self.mean - half, self.mean + half


def steps_of(system: LinearSystem, gap: Floats) -> tuple[Floats, Floats, Floats]:
    """Steps over gaps of any shape; each different gap is worked out once."""
    unique, place = np.unique(np.round(gap, 9), return_inverse=True)
    F, f, Q = system.step(unique)
    where = place.reshape(gap.shape)
    return F[where], f[where], Q[where]


def kalman_filter(system: LinearSystem, panel: Panel, sites: Sites | None = None) -> Filtered:
    """States given the rows up to each time, and the log likelihood of each patient's rows.

    With ``sites`` a censored value enters as its stand-in and adds nothing to the log likelihood.
    """
    n, times = panel.time.shape
    d = len(system.start)
    F, f, Q = steps_of(system, panel.gap)
    mean, cov = np.empty((n, times, d)), np.empty((n, times, d, d))
    ahead_mean, ahead_cov = np.empty_like(mean), np.empty_like(cov)
    m, P = np.repeat(system.start[None], n, axis=0), np.repeat(system.start_cov[None], n, axis=0)
    total = np.zeros(n)
    here = ~np.isnan(panel.time)
    for k in range(times):
        live = here[:, k]
        m = np.where(live[:, None], np.einsum("nij,nj->ni", F[:, k], m) + f[:, k], m)
        P = np.where(live[:, None, None], F[:, k] @ P @ F[:, k].transpose(0, 2, 1) + Q[:, k], P)
        ahead_mean[:, k], ahead_cov[:, k] = m, P
        for j in range(len(system.offset)):
            site = None if sites is None else (sites.precision[:, k, j], sites.shift[:, k, j])
            m, P, gained = _update(system, j, panel.value[:, k, j], panel.side[:, k, j], m, P, site)
            total += gained
        mean[:, k], cov[:, k] = m, P
    return Filtered(mean, cov, ahead_mean, ahead_cov, F, total)


def _update(
    system: LinearSystem, j: int, value: Floats, side: NDArray[np.int8], m: Floats, P: Floats,
    site: tuple[Floats, Floats] | None,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """One channel of one time for all patients; returns the state and the log density of what was seen."""
    h = system.loading[j]
    predicted = m @ h + system.offset[j]
    return scalar_update(m, P, P @ h, predicted, P @ h @ h, float(system.noise[j]), value, side, site)


def scalar_update(
    m: Floats, P: Floats, lever: Floats, predicted: Floats, spread: Floats, noise: float, value: Floats,
    side: NDArray[np.int8], site: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Condition states (n, d) on one scalar each.

    Parameters
    ----------
    lever, spread
        Covariance of the state with the noise-free value (n, d), and that value's variance (n,).
    predicted
        Mean of the value (n,).
    value, side
        As in :class:`icans.forecast.filters.system.Panel`; NaN leaves the state as it is.
    site
        Stand-in (precision, precision x mean) for censored values.
    """
    exact = ~np.isnan(value) & (side == 0)
    beyond = ~np.isnan(value) & (side != 0)
    variance = spread + noise
    centre, left = np.where(exact, value, predicted), np.where(exact, 0.0, variance)
    gained = np.where(exact, -0.5 * (np.log(2 * np.pi * variance) + (centre - predicted) ** 2 / variance), 0.0)
    if site is None:
        if beyond.any():
            log_mass, mean, var = truncated_moments(predicted[beyond], variance[beyond], value[beyond], side[beyond])
            centre[beyond], left[beyond], gained[beyond] = mean, var, log_mass
    else:
        precision, shift = site
        usable = beyond & (precision > 1e-12)
        # A stand-in of mean u and variance v is an exact value u with noise v in place of the channel's own.
        variance = np.where(usable, spread + 1.0 / np.where(usable, precision, 1.0), variance)
        centre = np.where(usable, shift / np.where(usable, precision, 1.0), centre)
        left = np.where(usable, 0.0, np.where(exact, 0.0, variance))
    gain = lever / variance[:, None]
    m = m + gain * (centre - predicted)[:, None]
    P = P - gain[:, :, None] * gain[:, None, :] * (variance - left)[:, None, None]
    return m, P, gained


def kalman_smoother(system: LinearSystem, panel: Panel, *, refine: bool = True) -> Smoothed:
    """States given all of a patient's rows; censored values by expectation propagation when ``refine``."""
    found = kalman_filter(system, panel)
    start = (
        np.repeat(system.start[None], len(panel.time), axis=0),
        np.repeat(system.start_cov[None], len(panel.time), axis=0),
    )
    smooth = backward(start, panel, found)
    if not refine or not panel.censored.any():
        return smooth
    sites = Sites(np.zeros(panel.value.shape), np.zeros(panel.value.shape))
    first = found.log_likelihood
    for sweep in range(SWEEPS):
        share = 1.0 if sweep == 0 else DAMPING
        new = _refit(system, panel, smooth, sites, share, whole=sweep > 0)
        moved = max(np.abs(new.precision - sites.precision).max(), np.abs(new.shift - sites.shift).max())
        sites = new
        smooth = backward(start, panel, kalman_filter(system, panel, sites), sites)
        if moved < TOLERANCE * max(1.0, float(np.abs(sites.shift).max())):
            break
    return Smoothed(smooth.mean, smooth.cov, smooth.lag, smooth.start_mean, smooth.start_cov, sites, first)


def cavity(system: LinearSystem, panel: Panel, smooth: Smoothed, sites: Sites) -> tuple[Floats, Floats]:
    """Mean and variance of ``H x + c`` given all rows but the channel's own, (N, T, m); valid where censored."""
    z, spread = system.observed(smooth.mean, smooth.cov)
    spread = spread - system.noise
    precision = np.maximum(1.0 / np.maximum(spread, 1e-12) - sites.precision, 1e-9)
    variance = 1.0 / precision
    return variance * (z / np.maximum(spread, 1e-12) - sites.shift), variance


def _refit(system: LinearSystem, panel: Panel, smooth: Smoothed, sites: Sites, share: float, *, whole: bool) -> Sites:
    """New stand-ins of all censored values from the states given everything else.

    In the first sweep (not ``whole``) the smoothed states already hold each value's own limit by moment matching; it
    is taken as if it did not, which only sets where the sweeps begin.
    """
    at = panel.censored
    centre, variance = (a[at] for a in cavity(system, panel, smooth, sites))
    noise = np.broadcast_to(system.noise, panel.value.shape)[at]
    total = variance + noise
    _, mean, var = truncated_moments(centre, total, panel.value[at], panel.side[at])
    gain = variance / total
    new_mean = centre + gain * (mean - centre)
    new_var = variance - gain**2 * (total - var)
    precision, shift = sites.precision.copy(), sites.shift.copy()
    tau = np.maximum(1.0 / new_var - 1.0 / variance, 1e-12)
    nu = new_mean / new_var - centre / variance
    precision[at] += share * (tau - precision[at])
    shift[at] += share * (nu - shift[at])
    return Sites(precision, shift)


def backward(start: tuple[Floats, Floats], panel: Panel, found: Filtered, sites: Sites | None = None) -> Smoothed:
    """The Rauch-Tung-Striebel pass behind a filter's; ``start``: mean (N, d) and covariance (N, d, d) it began with."""
    times = panel.time.shape[1]
    mean, cov = found.mean.copy(), found.cov.copy()
    lag = np.zeros_like(cov)
    here = ~np.isnan(panel.time)
    for k in range(times - 1, -1, -1):
        before = start if k == 0 else (found.mean[:, k - 1], found.cov[:, k - 1])
        F, live = found.transition[:, k], here[:, k]
        cross = before[1] @ F.transpose(0, 2, 1)
        back = solve_right(cross, found.ahead_cov[:, k])
        m = before[0] + np.einsum("nij,nj->ni", back, mean[:, k] - found.ahead_mean[:, k])
        P = before[1] + back @ (cov[:, k] - found.ahead_cov[:, k]) @ back.transpose(0, 2, 1)
        m, P = np.where(live[:, None], m, before[0]), np.where(live[:, None, None], P, before[1])
        lag[:, k] = np.where(live[:, None, None], cov[:, k] @ back.transpose(0, 2, 1), 0.0)
        if k == 0:
            start = (m, P)
        else:
            mean[:, k - 1], cov[:, k - 1] = m, P
    return Smoothed(mean, cov, lag, start[0], start[1], sites, found.log_likelihood)


def solve_right(left: Floats, right: Floats) -> Floats:
    """``left @ inv(right)`` for symmetric positive semi-definite ``right``, (n, d, d)."""
    d = right.shape[-1]
    scale = np.trace(right, axis1=1, axis2=2)[:, None, None] / d
    solved = np.linalg.solve(right + (1e-12 * scale + 1e-300) * np.eye(d), left.transpose(0, 2, 1))
    return np.asarray(solved.transpose(0, 2, 1))


def forecast(system: LinearSystem, panel: Panel, at: Floats, found: Filtered | None = None) -> Outlook:
    """Observations at times ``at`` (K,) or (N, K), given each patient's rows (all of the panel).

    Raises
    ------
    ValueError
        A time lies before a patient's last row.
    """
    found = found or kalman_filter(system, panel)
    last = panel.last
    none = last < 0
    m = np.where(none[:, None], system.start, found.mean[np.arange(len(last)), last])
    P = np.where(none[:, None, None], system.start_cov, found.cov[np.arange(len(last)), last])
    now = np.where(none, panel.origin, panel.time[np.arange(len(last)), last])
    when = np.broadcast_to(np.asarray(at, dtype=float), (len(last), np.asarray(at).shape[-1]))
    gap = when - now[:, None]
    if (gap < -1e-9).any():
        raise ValueError("a forecast time lies before a patient's last row; cut the panel with until()")
    F, f, Q = steps_of(system, np.maximum(gap, 0.0))
    mean = np.einsum("nkij,nj->nki", F, m) + f
    cov = F @ P[:, None] @ F.transpose(0, 1, 3, 2) + Q
    y, variance = system.observed(mean, cov)
    return Outlook(y, np.sqrt(variance))
