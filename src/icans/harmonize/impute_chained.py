"""Multiple imputation of a panel by chained Bayesian regressions that respect time within the patient.

Each analyte is regressed on the other analytes of the same row, on its own last value and the time since, on the
other analytes' last values, on time, and (unless ``causal``) on its own next value. Fitting gives each
regression's posterior (conjugate normal-inverse-gamma); drawing takes parameters from it and then values, sweep by
sweep (van Buuren and Groothuis-Oudshoorn 2011, doi 10.18637/jss.v045.i03). With ``causal=True`` a row depends on
its own and earlier rows only. Censored values are drawn inside their limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError, NotFittedError
from icans.core.random import stream
from icans.harmonize.panel import Panel, noise, truncated

Array = npt.NDArray[np.float64]

#: Prior precision of the standardised coefficients, in rows' worth of information: mild shrinkage.
SHRINK = 1.0
#: Sweeps over the analytes when parameters are learned and when values are drawn.
FIT_SWEEPS, DRAW_SWEEPS = 5, 5
#: Donors of predictive mean matching.
DONORS = 5
#: Observed values that an analyte must have.
SMALLEST = 10
#: Time since the last row enters as exp(-gap / this), hours.
MEMORY_H = 48.0


@dataclass(frozen=True)
class Regression:
    """Posterior of one regression: coefficients' mean and covariance root (per unit noise), shape and rate."""

    mean: Array
    root: Array
    shape: float
    rate: float
    fitted: Array = field(repr=False)
    observed: Array = field(repr=False)


@dataclass(frozen=True)
class ChainedImputer:
    """Fit on a training panel, then draw imputations of any panel with the same analytes."""

    causal: bool = False
    method: Literal["normal", "pmm"] = "normal"
    seed: int = 0
    names: tuple[str, ...] | None = None
    centre: Array | None = None
    scale: Array | None = None
    regressions: tuple[Regression, ...] = ()

    def fit(self, panel: Panel) -> ChainedImputer:
        """Learn the regressions; NotEstimableError where an analyte has fewer than :data:`SMALLEST` values."""
        known = (~np.isnan(panel.values)).sum(axis=0)
        if (known < SMALLEST).any():
            few = [f"{n} ({int(k)})" for n, k in zip(panel.names, known, strict=True) if k < SMALLEST]
            raise NotEstimableError(f"fewer than {SMALLEST} observed values: {', '.join(few)}")
        centre, scale = np.nanmean(panel.values, axis=0), np.maximum(np.nanstd(panel.values, axis=0), 1e-9)
        z = _standard(panel, centre, scale)
        filled = _start(z)
        generator = stream(self.seed, "chained-fit")
        regressions: list[Regression] = []
        for _ in range(FIT_SWEEPS):
            regressions = []
            for g in range(len(panel.names)):
                design = _design(filled, z, g, self.causal)
                seen = ~np.isnan(z.values[:, g])
                regression = _regress(design[seen], z.values[seen, g])
                regressions.append(regression)
                beta, sd = _parameters(regression, generator)
                mean = design @ beta
                drawn = truncated(
                    mean, np.full(len(mean), sd), z.lower[:, g], z.upper[:, g], generator.random(len(mean))
                )
                filled[:, g] = np.where(seen, z.values[:, g], drawn)
        return ChainedImputer(self.causal, self.method, self.seed, panel.names, centre, scale, tuple(regressions))

    def transform(self, panel: Panel, *, draws: int, seed: int) -> Array:
        """Completed panels, (draws, n, G); observed values are kept.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`, or other analytes than those fitted.
        """
        if self.names is None or self.centre is None or self.scale is None:
            raise NotFittedError("fit the imputer before transform")
        if panel.names != self.names:
            raise NotFittedError(f"the imputer was fitted for {self.names}, got {panel.names}")
        z = _standard(panel, self.centre, self.scale)
        out = np.empty((draws, *panel.values.shape))
        for k in range(draws):
            out[k] = self._one(z, seed, k) * self.scale + self.centre
        return np.where(np.isnan(panel.values)[None], out, panel.values[None])

    def _one(self, z: Panel, seed: int, draw: int) -> Array:
        count = len(z.names)
        generator = stream(seed, "chained-parameters", draw)
        parameters = [_parameters(r, generator) for r in self.regressions]
        _, uniform = noise(z, seed, "chained", draw, (DRAW_SWEEPS + 1) * count)
        filled = _start(z)
        for sweep in range(DRAW_SWEEPS):
            for g in range(count):
                beta, sd = parameters[g]
                mean = _design(filled, z, g, self.causal) @ beta
                u = uniform[:, sweep * count + g]
                drawn = truncated(mean, np.full(len(mean), sd), z.lower[:, g], z.upper[:, g], u)
                if self.method == "pmm":
                    free = ~(np.isfinite(z.lower[:, g]) | np.isfinite(z.upper[:, g]))
                    drawn = np.where(free, _donor(self.regressions[g], mean, u), drawn)
                filled[:, g] = np.where(np.isnan(z.values[:, g]), drawn, z.values[:, g])
        return filled


def _standard(panel: Panel, centre: Array, scale: Array) -> Panel:
    return Panel(panel.patient, panel.time_h, panel.names, (panel.values - centre) / scale,
                 (panel.lower - centre) / scale, (panel.upper - centre) / scale)  # fmt: skip


def _start(z: Panel) -> Array:
    """Start: the last observed value of the patient, the limit where censored, else the mean (zero)."""
    values = np.where(np.isfinite(z.upper), z.upper, np.where(np.isfinite(z.lower), z.lower, z.values))
    rows = np.arange(len(z))
    begin = np.maximum.accumulate(np.where(z.first, rows, 0))
    filled = np.empty_like(values)
    for g in range(values.shape[1]):
        known = ~np.isnan(values[:, g])
        last = np.maximum.accumulate(np.where(known, rows, -1))
        usable = last >= begin
        filled[:, g] = np.where(usable, values[np.maximum(last, 0), g], 0.0)
    return filled


def _design(filled: Array, z: Panel, g: int, causal: bool) -> Array:
    """Predictors of analyte g: intercept, other analytes now, all analytes' last, own last x memory, time, own next."""
    n = len(filled)
    first = z.first
    before = np.maximum(np.arange(n) - 1, 0)
    gap = np.where(first, np.inf, z.time_h - z.time_h[before])
    memory = np.exp(-gap / MEMORY_H)
    last = np.where(first[:, None], 0.0, filled[before]) * memory[:, None]
    time = np.clip(z.time_h / (7 * 24.0), -2, 4)
    parts = [np.ones((n, 1)), np.delete(filled, g, axis=1), last, memory[:, None], time[:, None], time[:, None] ** 2]
    if not causal:
        final = np.concatenate([first[1:], [True]])
        after = np.minimum(np.arange(n) + 1, n - 1)
        ahead = np.where(final, np.inf, z.time_h[after] - z.time_h)
        weight = np.exp(-ahead / MEMORY_H)
        parts += [(np.where(final, 0.0, filled[after, g]) * weight)[:, None], weight[:, None]]
    return np.concatenate(parts, axis=1)


def _regress(design: Array, y: Array) -> Regression:
    """Posterior of a linear regression with a normal-inverse-gamma prior (unit-information ridge)."""
    precision = design.T @ design + SHRINK * np.eye(design.shape[1])
    mean = np.asarray(np.linalg.solve(precision, design.T @ y), dtype=np.float64)
    residual = y - design @ mean
    rate = 0.5 * (float(residual @ residual) + SHRINK * float(mean @ mean)) + 0.5e-3
    root = np.asarray(np.linalg.inv(np.linalg.cholesky(precision)).T, dtype=np.float64)
    return Regression(mean, root, 0.5 * len(y) + 0.5, rate, design @ mean, y)


def _parameters(regression: Regression, generator: np.random.Generator) -> tuple[Array, float]:
    """Coefficients and noise drawn from their posterior."""
    sd = float(np.sqrt(regression.rate / generator.gamma(regression.shape)))
    return regression.mean + sd * regression.root @ generator.standard_normal(len(regression.mean)), sd


def _donor(regression: Regression, mean: Array, uniform: Array) -> Array:
    """Observed training values whose fitted values lie nearest to the drawn means (predictive mean matching)."""
    order = np.argsort(regression.fitted, kind="stable")
    fitted, observed = regression.fitted[order], regression.observed[order]
    place = np.searchsorted(fitted, mean)
    count = min(DONORS, len(fitted))
    begin = np.clip(place - count // 2, 0, len(fitted) - count)
    return observed[begin + np.minimum((uniform * count).astype(int), count - 1)]
