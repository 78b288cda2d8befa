"""Smoothers for calibration curves: weighted local linear regression and weighted logistic regression on splines.

References: Cleveland WS, J Am Stat Assoc 1979;74:829 (lowess); Harrell FE, Regression Modeling Strategies, 2nd ed.
2015, section 2.4.5 and table 2.3 (restricted cubic splines and knot quantiles).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from icans.evaluate.censoring import Floats

#: Share of the points that a local fit uses; the value of the project's reference measurements and the default of R's
#: loess.
SPAN = 0.75
#: A curve is evaluated at no more than this many points and interpolated between them.
MAX_EVALUATIONS = 200
#: Iterations, tolerance and largest coefficient of the logistic fits. A coefficient beyond it marks separated data.
MAX_STEPS = 50
STEP_TOLERANCE = 1e-6
MAX_COEFFICIENT = 1e3
#: Largest change of a linear predictor (log odds) in one step.
MAX_REACH = 5.0
#: Knot quantiles of restricted cubic splines (Harrell 2015, table 2.3).
KNOT_QUANTILES = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.50, 0.725, 0.95)}


class LocalLinear:
    """Local linear regression with tricube weights and neighbourhoods fixed by the points that were given.

    The neighbourhoods do not change from resample to resample, so that all resamples are five matrix products.
    With unit weights this is Cleveland's lowess without robustness iterations.
    """

    def __init__(self, x: ArrayLike, at: ArrayLike | None = None, span: float = SPAN) -> None:
        self.x = np.asarray(x, dtype=float)
        points = np.unique(self.x if at is None else np.asarray(at, dtype=float))
        if len(points) > MAX_EVALUATIONS:
            points = np.unique(np.quantile(self.x if at is None else points, np.linspace(0, 1, MAX_EVALUATIONS)))
        self.points = points
        count = max(min(int(span * len(self.x) + 1e-10), len(self.x)), 1)
        distance = np.abs(self.x[None, :] - points[:, None])
        width = np.partition(distance, count - 1, axis=1)[:, count - 1]
        # A neighbourhood of identical values has no width: it is the mean of those values.
        scaled = np.divide(distance, width[:, None], out=(distance > 0) * 2.0, where=width[:, None] > 0)
        self._kernel = np.clip(1 - scaled**3, 0, None) ** 3

    def curve(self, y: ArrayLike, weights: Floats) -> Floats:
        """Smooth of ``y`` at ``points``, shape (..., points); weights of shape (..., n)."""
        y = np.asarray(y, dtype=float)
        kernel, shift = self._kernel.T, self.x.mean()
        u = self.x - shift
        wy = weights * y
        s0, s1, s2 = weights @ kernel, (weights * u) @ kernel, (weights * u * u) @ kernel
        t0, t1 = wy @ kernel, (wy * u) @ kernel
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_x, mean_y = s1 / s0, t0 / s0
            spread = s2 / s0 - mean_x**2
            slope = (t1 / s0 - mean_x * mean_y) / spread
        # Without spread in x a line is not determined: take the local mean.
        flat = ~(spread > 1e-12 * max(float(np.ptp(self.x)), 1e-12) ** 2)
        slope = np.where(flat, 0.0, slope)
        return mean_y + slope * (self.points - shift - mean_x)

    def fitted(self, curve: Floats, x: ArrayLike) -> Floats:
        """Values of a curve at ``x`` by interpolation (constant outside the points), shape (..., len(x))."""
        at: Floats = np.clip(np.asarray(x, dtype=float), self.points[0], self.points[-1])
        if len(self.points) == 1:
            return np.broadcast_to(curve[..., :1], (*curve.shape[:-1], len(at)))
        right = np.clip(np.searchsorted(self.points, at), 1, len(self.points) - 1)
        share = (at - self.points[right - 1]) / (self.points[right] - self.points[right - 1])
        return curve[..., right - 1] * (1 - share) + curve[..., right] * share


def lowess(x: ArrayLike, y: ArrayLike, span: float = SPAN, weights: Floats | None = None) -> Floats:
    """Local linear smooth of y on x at each x, shape (n,) (no robustness iterations)."""
    smoother = LocalLinear(x, span=span)
    w = np.ones(len(smoother.x)) if weights is None else weights
    return smoother.fitted(smoother.curve(y, w), x)


def restricted_cubic(x: ArrayLike, knots: ArrayLike) -> Floats:
    """Restricted cubic spline basis without intercept, shape (n, knots - 1): x itself and the non-linear terms."""
    x, k = np.asarray(x, dtype=float), np.asarray(knots, dtype=float)
    if len(k) < 3 or np.any(np.diff(k) <= 0):
        raise ValueError("a restricted cubic spline needs at least three rising knots")
    scale = (k[-1] - k[0]) ** 2

    def cube(knot: float) -> Floats:
        return np.clip(x - knot, 0, None) ** 3

    terms = [x]
    for knot in k[:-2]:
        tail = cube(k[-2]) * (k[-1] - knot) - cube(k[-1]) * (k[-2] - knot)
        terms.append((cube(knot) - tail / (k[-1] - k[-2])) / scale)
    return np.stack(terms, axis=1)


def logistic(design: Floats, case: Floats, control: Floats, offset: Floats | None = None) -> Floats:
    """Weighted logistic regression for each row of weights, all rows at once.

    Parameters
    ----------
    design
        Columns (with the intercept, if wanted), shape (n, p).
    case, control
        Weight of each patient as a case and as a control, shape (..., n).
    offset
        Added to the linear predictor, shape (n,).

    Returns
    -------
    Floats
        Coefficients, shape (..., p); NaN where the fit does not settle (separated or empty data).
    """
    batch = case.shape[:-1]
    if batch and batch[0] > 1:
        # The fit to all resamples together is a start from which each settles in two or three steps.
        common = logistic(design, np.nan_to_num(case).mean(axis=0), np.nan_to_num(control).mean(axis=0), offset)
        start = np.nan_to_num(common)
    else:
        start = np.zeros(design.shape[1])
    case, control = case.reshape(-1, case.shape[-1]), control.reshape(-1, control.shape[-1])
    total = case + control
    beta = np.tile(start, (len(case), 1))
    base = np.zeros(design.shape[0]) if offset is None else offset
    usable = (np.nan_to_num(case).sum(axis=1) > 0) & (np.nan_to_num(control).sum(axis=1) > 0)
    usable &= np.isfinite(total).all(axis=1)
    settled = np.zeros(len(case), dtype=bool)
    # A second, slower try from zero catches the rare rows in which the first one swings to and fro.
    for reach, steps in ((MAX_REACH, MAX_STEPS), (MAX_REACH / 10, 10 * MAX_STEPS)):
        active = np.flatnonzero(usable & ~settled)
        for _ in range(steps):
            if not len(active):
                break
            step = _logistic_step(design, case[active], total[active], beta[active], base, reach)
            beta[active] += step
            small = np.abs(step).max(axis=1) < STEP_TOLERANCE
            wild = ~np.isfinite(step).all(axis=1) | (np.abs(beta[active]).max(axis=1) > MAX_COEFFICIENT)
            settled[active[small & ~wild]] = True
            active = active[~small & ~wild]
        beta[~settled] = 0.0
    beta[~settled] = np.nan
    return beta.reshape(*batch, design.shape[1])


def recalibration_slope(predictor: Floats, case: Floats, control: Floats) -> Floats:
    """Slope of a logistic regression on one predictor, shape (...); NaN where cases and controls do not overlap.

    Where every case lies on one side of every control (touching allowed), no finite slope is best.
    """
    present = np.nan_to_num(case) > 0, np.nan_to_num(control) > 0
    low = [np.where(p, predictor, np.inf).min(axis=-1) for p in present]
    high = [np.where(p, predictor, -np.inf).max(axis=-1) for p in present]
    overlap = np.asarray((low[0] < high[1]) & (low[1] < high[0]))
    slope = np.full(case.shape[:-1], np.nan)
    if overlap.any():
        design = np.stack([np.ones(len(predictor)), predictor], axis=1)
        slope[overlap] = logistic(design, case[overlap], control[overlap])[..., 1]
    return slope


def _logistic_step(design: Floats, case: Floats, total: Floats, beta: Floats, base: Floats, reach: float) -> Floats:
    """One Newton step for each row of weights, damped to at most ``reach`` on the scale of the linear predictor."""
    eta = np.clip(beta @ design.T + base, -35, 35)
    p = 1 / (1 + np.exp(-eta))
    gradient = (case - total * p) @ design
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    size = design.shape[1]
    information = ((total * p * (1 - p)) @ products).reshape(-1, size, size)
    information = information + 1e-10 * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(size)
    try:
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
    except np.linalg.LinAlgError:
        step = np.stack([np.linalg.lstsq(a, g, rcond=None)[0] for a, g in zip(information, gradient, strict=True)])
    moved = np.abs(step @ design.T).max(axis=1)
    return step * np.minimum(1.0, reach / np.maximum(moved, 1e-300))[:, None]
