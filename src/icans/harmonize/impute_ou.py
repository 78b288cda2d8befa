"""Multiple imputation of a panel, analyte by analyte, with a state-space model on irregular times.

The value of patient i at time t is a smooth mean of time, a patient's own level, a stationary
Ornstein-Uhlenbeck deviation (the Gaussian process with Matern-1/2 kernel) and measurement noise::

    y_i(t) = m(t) + b_i + u_i(t) + e,   b ~ N(0, s_b^2),  cov(u(t), u(t')) = s_u^2 exp(-|t - t'| / l),  e ~ N(0, r^2)

The mean is a ridge-penalised linear spline; variances and length come from maximum likelihood through the Kalman
filter (Kalman 1960, doi 10.1115/1.3662552), which runs over all patients at once and is linear in the rows.
Draws are by forward filtering and backward sampling (Carter and Kohn 1994, doi 10.1093/biomet/81.3.541);
``causal=True`` draws each row from the filtering distribution instead, from rows up to its own time only.
Censored values are drawn inside their limits, in time order, each given what came before (sequential imputation,
Kong, Liu and Wong 1994, doi 10.1080/01621459.1994.10476469), and refined by Gibbs sweeps unless causal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError, NotFittedError
from icans.harmonize.panel import Panel, noise, truncated

Array = npt.NDArray[np.float64]

#: Knots of the mean at these quantiles of the observed times.
KNOTS = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
#: Ridge of the mean's slopes, relative to the observed variance: weak, it only steadies sparse stretches.
RIDGE = 1.0
#: Gibbs sweeps for censored values when the whole series may be used.
SWEEPS = 3
#: Observed values that an analyte must have.
SMALLEST = 10


@dataclass(frozen=True)
class OUModel:
    """Fitted parameters of one analyte (variances on the modelling scale, length in hours)."""

    knots: Array
    mean: Array
    level_sd: float
    deviation_sd: float
    length_h: float
    noise_sd: float

    def trend(self, time_h: Array) -> Array:
        """The mean at given times; constant beyond the outermost knots."""
        return np.interp(time_h, self.knots, self.mean)


@dataclass(frozen=True)
class OUImputer:
    """Fit on a training panel, then draw imputations of any panel with the same analytes."""

    causal: bool = False
    models: dict[str, OUModel] | None = None

    def fit(self, panel: Panel) -> OUImputer:
        """Fit every analyte; NotEstimableError where fewer than :data:`SMALLEST` values were observed."""
        models = {name: _fit(panel, g) for g, name in enumerate(panel.names)}
        return OUImputer(self.causal, models)

    def transform(self, panel: Panel, *, draws: int, seed: int) -> Array:
        """Completed panels, (draws, n, G); observed values are kept.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`, or an analyte that was not there.
        """
        models = self._of(panel)
        out = np.repeat(panel.values[None], draws, axis=0)
        layout = _Layout.of(panel)
        for g, name in enumerate(panel.names):
            for k in range(draws):
                numbers = noise(panel, seed, f"ou-{name}", k, 3 + SWEEPS)
                sample = _draw(panel, g, models[name], layout, numbers, self.causal)
                out[k, :, g] = np.where(np.isnan(panel.values[:, g]), sample, panel.values[:, g])
        return out

    def expected(self, panel: Panel) -> tuple[Array, Array]:
        """Mean and variance of each row's noise-free value, (n, G) each, censored values left out.

        From all of the patient's rows, or from rows up to its own time when ``causal``.
        """
        models = self._of(panel)
        layout = _Layout.of(panel)
        mean, variance = np.empty_like(panel.values), np.empty_like(panel.values)
        for g, name in enumerate(panel.names):
            model = models[name]
            trend = model.trend(panel.time_h)
            states = _filter(panel.values[:, g] - trend, layout, model)
            m, p = (states.mean, states.cov) if self.causal else _smooth(states, layout)
            mean[:, g], variance[:, g] = trend + m.sum(axis=1), p.sum(axis=(1, 2))
        return mean, variance

    def _of(self, panel: Panel) -> dict[str, OUModel]:
        if self.models is None:
            raise NotFittedError("fit the imputer before transform")
        absent = [name for name in panel.names if name not in self.models]
        if absent:
            raise NotFittedError(f"the imputer was not fitted for {absent}; it knows {sorted(self.models)}")
        return self.models


@dataclass(frozen=True)
class _Layout:
    """Rows at step k of all patients that are long enough, and hours since the row before."""

    steps: tuple[npt.NDArray[np.int64], ...]
    gap: Array

    @classmethod
    def of(cls, panel: Panel) -> _Layout:
        """Lay out the series of a panel."""
        series = panel.series
        count = np.bincount(series)
        start = np.concatenate([[0], np.cumsum(count)[:-1]])
        steps = tuple(start[count > k] + k for k in range(count.max()))
        gap = np.where(panel.first, 0.0, np.diff(panel.time_h, prepend=0.0))
        return cls(steps, gap)


@dataclass(frozen=True)
class _States:
    mean: Array
    cov: Array
    ahead_mean: Array
    ahead_cov: Array
    decay: Array
    log_likelihood: float


def _filter(
    y: Array, layout: _Layout, model: OUModel, bounds: tuple[Array, Array] | None = None, uniform: Array | None = None
) -> _States:
    """Kalman filter over all patients; the state is (level, deviation).

    With ``bounds`` and ``uniform`` a missing value with a finite bound is drawn between its bounds from its
    predictive distribution as the filter reaches it (``y`` is then filled in place).
    """
    n = len(y)
    mean, cov = np.zeros((n, 2)), np.zeros((n, 2, 2))
    ahead_mean, ahead_cov = np.zeros((n, 2)), np.zeros((n, 2, 2))
    decay = np.exp(-layout.gap / model.length_h)
    start = np.diag([model.level_sd**2, model.deviation_sd**2])
    noise_var = model.noise_sd**2
    total = 0.0
    for k, rows in enumerate(layout.steps):
        if k == 0:
            m, p = np.zeros((len(rows), 2)), np.repeat(start[None], len(rows), axis=0)
        else:
            f = np.stack([np.ones(len(rows)), decay[rows]], axis=1)
            m = f * mean[rows - 1]
            p = f[:, :, None] * cov[rows - 1] * f[:, None, :]
            p[:, 1, 1] += model.deviation_sd**2 * (1.0 - decay[rows] ** 2)
        ahead_mean[rows], ahead_cov[rows] = m, p
        gain_top = p.sum(axis=2)
        variance = gain_top.sum(axis=1) + noise_var
        predicted = m.sum(axis=1)
        if bounds is not None and uniform is not None:
            open_ = np.isnan(y[rows]) & (np.isfinite(bounds[0][rows]) | np.isfinite(bounds[1][rows]))
            at = rows[open_]
            y[at] = truncated(predicted[open_], np.sqrt(variance[open_]), bounds[0][at], bounds[1][at], uniform[at])
        seen = ~np.isnan(y[rows])
        residual = np.where(seen, y[rows] - predicted, 0.0)
        gain = np.where(seen[:, None], gain_top / variance[:, None], 0.0)
        mean[rows] = m + gain * residual[:, None]
        cov[rows] = p - gain[:, :, None] * gain_top[:, None, :]
        total -= 0.5 * float(np.sum(np.where(seen, np.log(2 * np.pi * variance) + residual**2 / variance, 0.0)))
    return _States(mean, cov, ahead_mean, ahead_cov, decay, total)


def _smooth(states: _States, layout: _Layout) -> tuple[Array, Array]:
    """Rauch-Tung-Striebel smoother (1965, doi 10.2514/3.3166)."""
    mean, cov = states.mean.copy(), states.cov.copy()
    for rows in reversed(layout.steps[1:]):
        before = rows - 1
        back = _back(states, rows)
        mean[before] += np.einsum("nij,nj->ni", back, mean[rows] - states.ahead_mean[rows])
        cov[before] += back @ (cov[rows] - states.ahead_cov[rows]) @ back.transpose(0, 2, 1)
    return mean, cov


def _back(states: _States, rows: npt.NDArray[np.int64]) -> Array:
    f = np.stack([np.ones(len(rows)), states.decay[rows]], axis=1)
    cross = states.cov[rows - 1] * f[:, None, :]
    back = np.linalg.solve(states.ahead_cov[rows] + 1e-12 * np.eye(2), cross.transpose(0, 2, 1))
    return np.asarray(back.transpose(0, 2, 1), dtype=np.float64)


def _sample(states: _States, layout: _Layout, normal: Array) -> Array:
    """One draw of every row's noise-free deviation from the mean, by backward sampling."""
    draw = states.mean + np.einsum("nij,nj->ni", _root(states.cov), normal)
    for rows in reversed(layout.steps[1:]):
        before = rows - 1
        back = _back(states, rows)
        m = states.mean[before] + np.einsum("nij,nj->ni", back, draw[rows] - states.ahead_mean[rows])
        p = states.cov[before] - back @ states.ahead_cov[rows] @ back.transpose(0, 2, 1)
        draw[before] = m + np.einsum("nij,nj->ni", _root(p), normal[before])
    return draw.sum(axis=1)


def _root(cov: Array) -> Array:
    """Cholesky factor of 2 x 2 covariances that may be singular."""
    a = np.sqrt(np.maximum(cov[:, 0, 0], 0.0))
    b = np.where(a > 0, cov[:, 1, 0] / np.where(a > 0, a, 1.0), 0.0)
    c = np.sqrt(np.maximum(cov[:, 1, 1] - b**2, 0.0))
    zero = np.zeros_like(a)
    return np.stack([np.stack([a, zero], axis=1), np.stack([b, c], axis=1)], axis=1)


def _draw(panel: Panel, g: int, model: OUModel, layout: _Layout, numbers: tuple[Array, Array], causal: bool) -> Array:
    normal, uniform = numbers
    trend = model.trend(panel.time_h)
    bounds = (panel.lower[:, g] - trend, panel.upper[:, g] - trend)
    held = np.isnan(panel.values[:, g]) & (np.isfinite(bounds[0]) | np.isfinite(bounds[1]))
    y = panel.values[:, g] - trend
    states = _filter(y, layout, model, bounds, uniform[:, 0])
    if causal:
        sd = np.sqrt(np.maximum(states.cov.sum(axis=(1, 2)), 0.0) + model.noise_sd**2)
        value = states.mean.sum(axis=1) + sd * normal[:, 2]
        return trend + np.where(held, y, value)
    x = _sample(states, layout, normal[:, :2])
    if held.any():
        for sweep in range(SWEEPS):
            y[held] = truncated(x[held], np.full(held.sum(), model.noise_sd), bounds[0][held], bounds[1][held],
                                uniform[held, 1 + sweep])  # fmt: skip
            x = _sample(_filter(y, layout, model), layout, np.roll(normal, -sweep - 1, axis=1)[:, :2])
    return trend + np.where(held, y, x + model.noise_sd * normal[:, 2])


def _fit(panel: Panel, g: int) -> OUModel:
    from scipy.optimize import minimize

    y = panel.values[:, g].copy()
    held = np.isnan(y) & (np.isfinite(panel.lower[:, g]) | np.isfinite(panel.upper[:, g]))
    observed = ~np.isnan(y)
    if observed.sum() < SMALLEST:
        name = panel.names[g]
        raise NotEstimableError(f"{name}: {int(observed.sum())} observed values, {SMALLEST} are needed to impute")
    spread = max(float(np.std(y[observed])), 1e-6)
    # For the parameters, a censored value stands half a standard deviation beyond its limit.
    upper, lower = panel.upper[:, g], panel.lower[:, g]
    y[held] = np.where(np.isfinite(upper[held]), upper[held] - 0.5 * spread, lower[held] + 0.5 * spread)
    known = ~np.isnan(y)
    knots, mean = _trend(panel.time_h[known], y[known], panel.series[known], spread)
    residual = y - np.interp(panel.time_h, knots, mean)
    layout = _Layout.of(panel)
    scale = max(float(np.nanstd(residual)), 1e-6)
    gap = panel.time_h[~panel.first] - panel.time_h[np.flatnonzero(~panel.first) - 1]
    typical = float(np.median(gap)) if len(gap) else 24.0

    def model(theta: Array) -> OUModel:
        sd = scale * np.exp(np.clip(theta[:3], -7, 3))
        length = typical * np.exp(np.clip(theta[3], -3, 5))
        return OUModel(knots, mean, float(sd[0]), float(sd[1]), float(length), float(sd[2]))

    def loss(theta: Array) -> float:
        # A weak normal prior keeps parameters that the data do not speak of near their start.
        return -_filter(residual, layout, model(theta)).log_likelihood + 0.05 * float(np.sum((theta - start) ** 2))

    start = np.array([np.log(0.6), np.log(0.6), np.log(0.3), np.log(3.0)])
    best = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 40})
    return model(best.x)


def _trend(time: Array, y: Array, series: npt.NDArray[np.int64], spread: float) -> tuple[Array, Array]:
    """Piecewise linear mean: least squares with patients weighted by the root of their rows, differences shrunk."""
    knots = np.unique(np.quantile(time, KNOTS))
    if len(knots) < 2:
        return np.array([knots[0], knots[0] + 1.0]), np.full(2, float(y.mean()))
    place = np.clip(np.searchsorted(knots, time, side="right") - 1, 0, len(knots) - 2)
    share = (time - knots[place]) / (knots[place + 1] - knots[place])
    design = np.zeros((len(time), len(knots)))
    design[np.arange(len(time)), place] = 1.0 - share
    design[np.arange(len(time)), place + 1] = share
    weight = 1.0 / np.sqrt(np.bincount(series)[series])
    penalty = np.diff(np.eye(len(knots)), axis=0)
    normal = design.T @ (weight[:, None] * design) + RIDGE * penalty.T @ penalty
    return knots, np.asarray(np.linalg.solve(normal, design.T @ (weight * y)), dtype=np.float64)
