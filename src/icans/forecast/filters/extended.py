"""Extended Kalman filter: a nonlinear drift in continuous time, seen at irregular times.

Jazwinski AH, Stochastic Processes and Filtering Theory, 1970, 6.9: between two times mean, covariance and transition
follow ``dm = f(t, m) dt``, ``dP = (J P + P J' + Q) dt``, ``dF = J F dt`` with J the Jacobian of f at m, here by the
classical Runge-Kutta rule for all patients at once; what is seen is linearised at the state before it. Rows enter as
in :mod:`icans.forecast.filters.kalman`, missing and censored ones too. Smoothing is Rauch-Tung-Striebel along the
linearised course. With a linear drift everything is the linear filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.forecast.filters.kalman import Filtered, Outlook, Smoothed, backward, scalar_update
from icans.forecast.filters.system import Panel

Floats = NDArray[np.float64]

#: Longest step of the integration, in units of time, unless the system says otherwise.
LONGEST = 0.25


@dataclass(frozen=True)
class NonlinearSystem:
    """A system with drift ``f`` and observations ``g``.

    Attributes
    ----------
    drift, drift_slope
        f: times (n,), states (n, d) -> (n, d); its Jacobian -> (n, d, d).
    observe, observe_slope
        g: states (n, d) -> (n, m); its Jacobian -> (n, m, d).
    diffusion
        Q (d, d) per time.
    noise
        Variances (m,), positive.
    start, start_cov
        Of the state at the origin: (d,) or one for each patient (N, d); (d, d).
    longest
        Longest step of the integration.
    """

    drift: Callable[[Floats, Floats], Floats]
    drift_slope: Callable[[Floats, Floats], Floats]
    observe: Callable[[Floats], Floats]
    observe_slope: Callable[[Floats], Floats]
    diffusion: Floats
    noise: Floats
    start: Floats
    start_cov: Floats
    longest: float = LONGEST

    def step(self, time: Floats, gap: Floats, m: Floats, P: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, covariance and transition after ``gap`` (n,) from ``time`` (n,)."""
        count = max(int(np.ceil(float(gap.max(initial=0.0)) / self.longest)), 1)
        h = gap / count
        F = np.broadcast_to(np.eye(m.shape[1]), P.shape)
        for k in range(count):
            m, P, F = self._runge_kutta(time + k * h, h, m, P, F)
        return m, 0.5 * (P + P.transpose(0, 2, 1)), F

    def _runge_kutta(self, t: Floats, h: Floats, m: Floats, P: Floats, F: Floats) -> tuple[Floats, Floats, Floats]:
        sums = [np.zeros_like(m), np.zeros_like(P), np.zeros_like(P)]
        slope = [np.zeros_like(m), np.zeros_like(P), np.zeros_like(P)]
        wide, long = h[:, None], h[:, None, None]
        for share, weight in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
            at = t + share * h
            mid, cov, flow = m + share * wide * slope[0], P + share * long * slope[1], F + share * long * slope[2]
            J = self.drift_slope(at, mid)
            slope = [self.drift(at, mid), J @ cov + cov @ J.transpose(0, 2, 1) + self.diffusion, J @ flow]
            sums = [s + weight * k for s, k in zip(sums, slope, strict=True)]
        return m + wide * sums[0], P + long * sums[1], F + long * sums[2]


def extended_filter(system: NonlinearSystem, panel: Panel) -> Filtered:
    """States given the rows up to each time, and the approximate log likelihood of each patient's rows."""
    n, times = panel.time.shape
    d = system.start.shape[-1]
    mean, cov = np.empty((n, times, d)), np.empty((n, times, d, d))
    ahead_mean, ahead_cov, flows = np.empty_like(mean), np.empty_like(cov), np.empty_like(cov)
    m, P = _begin(system, n)
    now, gap, total = panel.origin.copy(), panel.gap, np.zeros(n)
    for k in range(times):
        live = ~np.isnan(panel.time[:, k])
        moved = system.step(now, gap[:, k], m, P)
        m, P = np.where(live[:, None], moved[0], m), np.where(live[:, None, None], moved[1], P)
        flows[:, k], ahead_mean[:, k], ahead_cov[:, k] = moved[2], m, P
        now = np.where(live, panel.time[:, k], now)
        for j in range(len(system.noise)):
            h = system.observe_slope(m)[:, j]
            lever = np.einsum("nij,nj->ni", P, h)
            m, P, gained = scalar_update(
                m, P, lever, system.observe(m)[:, j], np.einsum("ni,ni->n", lever, h), float(system.noise[j]),
                panel.value[:, k, j], panel.side[:, k, j],
            )  # fmt: skip
            total += gained
        mean[:, k], cov[:, k] = m, P
    return Filtered(mean, cov, ahead_mean, ahead_cov, flows, total)


def extended_smoother(system: NonlinearSystem, panel: Panel) -> Smoothed:
    """States given all of a patient's rows, along the filter's linearised course."""
    return backward(_begin(system, len(panel.time)), panel, extended_filter(system, panel))


def extended_forecast(system: NonlinearSystem, panel: Panel, at: Floats, found: Filtered | None = None) -> Outlook:
    """Observations at ascending times ``at`` (K,), given each patient's rows (all of the panel).

    Raises
    ------
    ValueError
        A time lies before a patient's last row, or times do not ascend.
    """
    found = found or extended_filter(system, panel)
    n, last = len(panel.time), panel.last
    m, P = _begin(system, n)
    some = last >= 0
    m[some], P[some] = found.mean[some, last[some]], found.cov[some, last[some]]
    now = np.where(some, panel.time[np.arange(n), last], panel.origin)
    means, sds = [], []
    for time in np.asarray(at, dtype=float):
        if (time < now - 1e-9).any():
            raise ValueError("forecast times must ascend and lie behind every patient's last row; cut with until()")
        m, P, _ = system.step(now, np.maximum(time - now, 0.0), m, P)
        now = np.full(n, time)
        H = system.observe_slope(m)
        means.append(system.observe(m))
        sds.append(np.sqrt(np.einsum("nji,nik,njk->nj", H, P, H) + system.noise))
    return Outlook(np.stack(means, axis=1), np.stack(sds, axis=1))


def _begin(system: NonlinearSystem, n: int) -> tuple[Floats, Floats]:
    d = system.start.shape[-1]
    return np.array(np.broadcast_to(system.start, (n, d))), np.repeat(system.start_cov[None], n, axis=0)
