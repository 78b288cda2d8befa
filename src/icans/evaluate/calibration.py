"""Calibration: observed against expected, intercept, slope, flexible curves, and groups of patients.

With censoring or competing events each patient counts with the weights of
:func:`icans.evaluate.censoring.horizon_status`; the observed incidence is then the Aalen-Johansen estimate.

References: Cox DR, Biometrika 1958;45:562 (intercept and slope); Van Calster B et al., J Clin Epidemiol 2016;74:167
and BMC Med 2019;17:230 (levels of calibration); Austin PC, Steyerberg EW, Stat Med 2019;38:4051 (ICI, E50, E90);
Austin PC et al., Stat Med 2020;39:2714 (survival); Wilson EB, J Am Stat Assoc 1927;22:209 (interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.core.errors import NotEstimableError
from icans.evaluate.censoring import (
    Floats,
    HorizonStatus,
    aalen_johansen,
    as_weights,
    check_outcome,
    horizon_status,
    pseudo_values,
    require_status,
)
from icans.evaluate.discrimination import check_risk, safe_ratio
from icans.evaluate.smooth import KNOT_QUANTILES, SPAN, LocalLinear, logistic, recalibration_slope, restricted_cubic

Smoother = Literal["lowess", "spline"]

#: Risks are kept this far from 0 and 1 on the logit scale only (a logit of 0 or 1 is infinite).
EDGE = 1e-6


@dataclass(frozen=True)
class CalibrationNumbers:
    """Calibration in numbers; each field has shape () or (B,).

    ``oe`` observed/expected incidence; ``difference`` observed minus expected; ``intercept`` calibration in the large
    (slope fixed at 1); ``slope`` (its own intercept free); ``ici``, ``e50``, ``e90`` mean, median and 90th centile of
    the distance between forecast and smoothed observed risk.
    """

    observed: Floats
    expected: Floats
    oe: Floats
    difference: Floats
    intercept: Floats
    slope: Floats
    ici: Floats
    e50: Floats
    e90: Floats


def logit(risk: Floats) -> Floats:
    """Log odds, risks kept within ``EDGE`` of 0 and 1."""
    p = np.clip(risk, EDGE, 1 - EDGE)
    return np.log(p / (1 - p))


def calibration(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    weights: ArrayLike | None = None,
    *,
    smoother: Smoother = "lowess",
    span: float = SPAN,
) -> CalibrationNumbers:
    """Every calibration number of forecasts at one horizon, for the sample or for each resample."""
    status = horizon_status(time, event, horizon, weights)
    n = status.case.shape[-1]
    return calibration_of_status(check_risk(risk, n), status, as_weights(weights, n), smoother=smoother, span=span)


def binary_calibration(
    outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None = None, *, smoother: Smoother = "lowess",
    span: float = SPAN,
) -> CalibrationNumbers:  # fmt: skip
    """Every calibration number of forecasts of a 0/1 outcome."""
    y = np.asarray(outcome, dtype=float)
    if y.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("outcome must be one-dimensional and hold 0 and 1 only")
    w = as_weights(weights, len(y))
    status = HorizonStatus(w * y, w * (1 - y))
    return calibration_of_status(check_risk(risk, len(y)), status, w, smoother=smoother, span=span)


def calibration_of_status(
    risk: Floats, status: HorizonStatus, weights: Floats, *, smoother: Smoother = "lowess", span: float = SPAN
) -> CalibrationNumbers:
    """Calibration numbers from case and control weights and the frequency weights they came from."""
    observed = np.asarray(status.incidence)
    expected = safe_ratio(weights @ risk, weights.sum(axis=-1))
    lp = logit(risk)
    intercept = logistic(np.ones((len(risk), 1)), status.case, status.control, offset=lp)[..., 0]
    slope = recalibration_slope(lp, status.case, status.control)
    distance = np.abs(smoothed(risk, status, smoother=smoother, span=span) - risk)
    ici = safe_ratio((weights * distance).sum(axis=-1), weights.sum(axis=-1))
    e50, e90 = weighted_quantile(distance, weights, (0.5, 0.9))
    return CalibrationNumbers(
        observed, expected, safe_ratio(observed, expected), observed - expected, intercept, slope, ici, e50, e90
    )


def smoothed(risk: Floats, status: HorizonStatus, *, smoother: Smoother = "lowess", span: float = SPAN) -> Floats:
    """Smoothed observed risk at each patient's forecast, shape (..., n), kept within 0-1."""
    if smoother == "spline":
        return _spline_curve(risk, status, risk)
    local, share = _local(risk, status, span)
    return np.clip(local.fitted(local.curve(*share), risk), 0.0, 1.0)


def calibration_curve(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    at: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    smoother: Smoother = "lowess",
    span: float = SPAN,
) -> Floats:
    """Smoothed observed risk at given forecast risks, shape (..., len(at)); NaN outside the range of forecasts."""
    status = horizon_status(time, event, horizon, weights)
    r = check_risk(risk, status.case.shape[-1])
    grid = np.asarray(at, dtype=float)
    if smoother == "spline":
        curve = _spline_curve(r, status, grid)
    else:
        local, share = _local(r, status, span)
        curve = np.clip(local.fitted(local.curve(*share), grid), 0.0, 1.0)
    return np.where((grid >= r.min()) & (grid <= r.max()), curve, np.nan)


def _local(risk: Floats, status: HorizonStatus, span: float) -> tuple[LocalLinear, tuple[Floats, Floats]]:
    """A local smoother over the patients whose status is known in any resample, its outcomes and weights."""
    total = status.total
    known = np.asarray(np.nan_to_num(total).reshape(-1, len(risk)).any(axis=0))
    if not known.any():
        raise NotEstimableError("nobody's status at the horizon is known; choose a shorter horizon")
    outcome = np.asarray(np.nan_to_num(status.case).reshape(-1, len(risk)).any(axis=0))
    return LocalLinear(risk[known], span=span), (outcome[known].astype(float), total[..., known])


def _spline_curve(risk: Floats, status: HorizonStatus, at: Floats, knots: int = 3) -> Floats:
    """Weighted logistic regression on a restricted cubic spline of the logit; straight where knots coincide."""
    lp = logit(risk)
    places = np.unique(np.quantile(lp, KNOT_QUANTILES[knots]))

    def basis(x: Floats) -> Floats:
        terms = restricted_cubic(x, places) if len(places) >= 3 else x[:, None]
        return np.column_stack([np.ones(len(x)), terms])

    beta = logistic(basis(lp), status.case, status.control)
    return 1 / (1 + np.exp(-np.clip(beta @ basis(logit(at)).T, -35, 35)))


def weighted_quantile(values: Floats, weights: Floats, levels: tuple[float, ...]) -> list[Floats]:
    """Quantiles of ``values`` under frequency weights (smallest value with at least that share at or below it)."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    share = np.cumsum(np.take_along_axis(np.broadcast_to(weights, values.shape), order, axis=-1), axis=-1)
    total = share[..., -1:]
    found = []
    for level in levels:
        index = np.argmax(share >= level * total - 1e-9 * total, axis=-1)
        found.append(np.take_along_axis(ordered, index[..., None], axis=-1)[..., 0])
    return found


def risk_groups(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, groups: int = 5, level: float = 0.95
) -> pd.DataFrame:
    """Observed incidence in equally large groups of rising forecast risk.

    The interval is Wilson's with an effective sample size: the number of patients who, without censoring, would
    give the jackknife variance of the group's Aalen-Johansen incidence.

    Returns
    -------
    pandas.DataFrame
        One row for each group: group, n, events, risk_low, risk_high, expected, observed, low, high.
    """
    t, e = check_outcome(time, event)
    r = check_risk(risk, len(t))
    require_status(horizon_status(t, e, horizon), horizon)
    edges = np.unique(np.quantile(r, np.linspace(0, 1, groups + 1)))
    index = np.clip(np.searchsorted(edges, r, side="left") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for group in np.unique(index).tolist():
        mine = index == group
        observed, low, high = incidence_interval(t[mine], e[mine], horizon, level)
        rows.append(
            {
                "group": group + 1,
                "n": int(mine.sum()),
                "events": int(((e[mine] == 1) & (t[mine] <= horizon)).sum()),
                "risk_low": float(r[mine].min()),
                "risk_high": float(r[mine].max()),
                "expected": float(r[mine].mean()),
                "observed": observed,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def incidence_interval(
    time: ArrayLike, event: ArrayLike, horizon: float, level: float = 0.95
) -> tuple[float, float, float]:
    """Aalen-Johansen incidence at the horizon and its interval (Wilson's, effective sample size)."""
    t, e = check_outcome(time, event)
    n = len(t)
    observed = float(np.clip(aalen_johansen(t, e).at(horizon)[0], 0, 1))
    known = float(((t >= horizon) | (e > 0)).sum())
    effective = known
    if n > 2 and 0 < observed < 1:
        variance = float(pseudo_values(t, e, horizon).var(ddof=1)) / n
        if variance > 0:
            effective = min(observed * (1 - observed) / variance * n / (n - 1), float(n))
    if effective == 0:
        return observed, 0.0, 1.0
    low, high = wilson(observed, effective, level)
    return observed, low, high


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion out of ``n`` (which need not be whole)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
