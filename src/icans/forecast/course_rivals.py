"""Forecasts of a patient's course without a mechanism: what a mechanistic forecast must beat.

All work on ln(value) of one analyte. They learn from other patients' whole courses and condition on the patient's own
values up to the landmark; each returns draws. Censored values enter at their limit.

* last value carried forward, with the errors that this had in the other patients at the same horizon;
* a log-linear mixed model: a smooth population curve, a random intercept and a random slope of every patient;
* a Gaussian process: the same population curve, a deviation of every patient that is correlated over days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtri

Array = npt.NDArray[np.float64]
Series = tuple[Array, Array]

#: Draws of a forecast: evenly spaced quantiles.
DRAWS = 400
#: Knots of the population curve, days.
KNOTS = (0.0, 4.0, 7.0, 10.0, 14.0, 21.0, 28.0)
#: Half-width of the window of horizons from which errors of a carried-forward value are taken, days.
WINDOW = 1.5


def carried_forward(train: list[Series], own: Series, days: Array, landmark_day: float) -> Array:
    """Draws (T, S) of ln values at ``days``: the last value plus the errors that carrying forward had in ``train``.

    The last value before the landmark is carried; without one, the training patients' values themselves are drawn.
    """
    level = (np.arange(DRAWS) + 0.5) / DRAWS
    errors, when, plain, plain_when = [], [], [], []
    for t, y in train:
        last = _last(t, y, landmark_day)
        after = t > landmark_day
        plain += list(y[after])
        plain_when += list(t[after])
        if last is not None:
            errors += list(y[after] - last)
            when += list(t[after])
    mine = _last(*own, landmark_day)
    pool, times = (plain, plain_when) if mine is None else (errors, when)
    values, at = np.array(pool), np.array(times)
    out = np.empty((len(days), DRAWS))
    for i, day in enumerate(days):
        near = np.abs(at - day) <= WINDOW
        out[i] = np.quantile(values[near] if near.sum() >= 10 else values, level) + (mine or 0.0)
    return out


def _last(t: Array, y: Array, landmark_day: float) -> float | None:
    before = np.flatnonzero(t <= landmark_day)
    return float(y[before[np.argmax(t[before])]]) if len(before) else None


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian model of courses: curve ``basis(t) @ beta`` and covariance ``kernel(t, t', theta)``, noise excluded.

    Made by :func:`fit_gaussian`; ``theta`` are logarithms, the last that of the noise's SD. ``beta_cov``: of ``beta``.
    """

    kernel: Callable[[Array, Array, Array], Array]
    theta: Array
    beta: Array
    beta_cov: Array

    def forecast(self, own: Series, days: Array) -> Array:
        """Draws (T, S) of ln values measured at ``days``, given a patient's own values; marginals are exact."""
        t, y = own
        noise = np.exp(2.0 * self.theta[-1])
        mean = basis(days) @ self.beta
        var = np.diag(self.kernel(days, days, self.theta)) + noise
        lever = basis(days)
        if len(t):
            inner = self.kernel(t, t, self.theta) + noise * np.eye(len(t))
            gain = np.linalg.solve(inner, self.kernel(t, days, self.theta)).T
            mean = mean + gain @ (y - basis(t) @ self.beta)
            var = var - np.einsum("ij,ji->i", gain, self.kernel(t, days, self.theta))
            lever = lever - gain @ basis(t)
        sd = np.sqrt(np.maximum(var, 1e-9) + np.einsum("ij,jk,ik->i", lever, self.beta_cov, lever))
        return np.asarray(mean[:, None] + sd[:, None] * ndtri((np.arange(DRAWS) + 0.5) / DRAWS)[None])


def basis(days: Array) -> Array:
    """Natural cubic spline (linear beyond the outer knots), (T, knots): Hastie, Tibshirani and Friedman 2009, 5.2.1."""
    t, k = np.asarray(days, dtype=float)[:, None] / 7.0, np.array(KNOTS) / 7.0

    def part(j: int) -> Array:
        return np.asarray((np.maximum(t[:, 0] - k[j], 0) ** 3 - np.maximum(t[:, 0] - k[-1], 0) ** 3) / (k[-1] - k[j]))

    last = part(len(k) - 2)
    return np.column_stack([np.ones(len(t)), t[:, 0], *(part(j) - last for j in range(len(k) - 2))])


def line_kernel(a: Array, b: Array, theta: Array) -> Array:
    """Random intercept and slope: theta = ln SD of the intercept, ln SD of the slope, atanh correlation, ln noise."""
    si, ss, r = np.exp(theta[0]), np.exp(theta[1]), np.tanh(theta[2])
    x, z = (a[..., :, None] - 7.0) / 7.0, (b[..., None, :] - 7.0) / 7.0
    return np.asarray(si**2 + r * si * ss * (x + z) + ss**2 * x * z)


def process_kernel(a: Array, b: Array, theta: Array) -> Array:
    """A patient's level and a deviation with a Matern 3/2 correlation: ln SDs of both, ln days, ln noise."""
    gap = np.sqrt(3.0) * np.abs(a[..., :, None] - b[..., None, :]) / np.exp(theta[2])
    return np.asarray(np.exp(2.0 * theta[0]) + np.exp(2.0 * theta[1]) * (1.0 + gap) * np.exp(-gap))


KERNELS = {
    "log-linear mixed model": (line_kernel, np.array([0.0, -0.5, 0.0, -0.5])),
    "Gaussian process": (process_kernel, np.array([-0.3, 0.0, 1.0, -0.7])),
}


def fit_gaussian(name: str, train: list[Series]) -> Gaussian:
    """Fit one of :data:`KERNELS` by restricted maximum likelihood to the courses of other patients."""
    kernel, begin = KERNELS[name]
    used = [s for s in train if len(s[0])]
    size = max(len(t) for t, _ in used)
    seen = np.array([np.arange(size) < len(t) for t, _ in used])
    days, values = np.zeros(seen.shape), np.zeros(seen.shape)
    days[seen], values[seen] = np.concatenate([t for t, _ in used]), np.concatenate([y for _, y in used])
    design = basis(days.ravel()).reshape(*seen.shape, len(KNOTS)) * seen[..., None]
    both = np.asarray(seen[:, :, None] & seen[:, None, :])
    right_side = np.concatenate([design, values[..., None]], axis=2)

    def gathered(theta: Array) -> tuple[float, Array, Array]:
        # Places that pad a patient's series have variance 1, no covariance and no value: they add nothing.
        cov = kernel(days, days, theta) * both
        cov[:, np.arange(size), np.arange(size)] += np.where(seen, np.exp(2.0 * theta[-1]) + 1e-9, 1.0)
        factor = np.linalg.cholesky(cov)
        solved = np.linalg.solve(factor, right_side)
        xs, ys = solved[..., :-1], solved[..., -1]
        left, right = np.einsum("nti,ntj->ij", xs, xs), np.einsum("nti,nt->i", xs, ys)
        beta_cov = np.linalg.inv(left + 1e-6 * np.eye(len(left)))
        beta = beta_cov @ right
        total = 2.0 * float(np.log(np.diagonal(factor, axis1=1, axis2=2)).sum()) + float((ys * ys).sum())
        total -= float(right @ beta) + float(np.linalg.slogdet(beta_cov)[1])
        return 0.5 * total, beta, beta_cov

    def objective(theta: Array) -> float:
        # A weak pull keeps lengths and SDs of small samples in place.
        return gathered(theta)[0] + 0.5 * float((((theta - begin) / 2.0) ** 2).sum())

    done = minimize(objective, begin, method="L-BFGS-B", options={"maxiter": 60})
    _, beta, cov = gathered(done.x)
    return Gaussian(kernel, done.x, beta, cov)
