"""Drift: does a forecast that was right become wrong as patients go by?

Patients are put in order, by the date of infusion where the cohort has dates. Where it has none, the order of the
delivery is all there is; it need not be the order of time, and every result says which of the two it is.

Three views: observed over expected in a window that moves along; a risk-adjusted CUSUM for a doubling (and for a
halving) of the odds, with limits that a forecast without drift stays within in 19 of 20 series of this length; the
trend of the calibration in the large along the order.

References: Steiner SH et al., Biostatistics 2000;1:441, doi 10.1093/biostatistics/1.4.441 (risk-adjusted CUSUM);
Davis SE et al., J Am Med Inform Assoc 2017;24:1052, doi 10.1093/jamia/ocx030 (calibration drift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.bootstrap import Interval, patient_counts, percentile_interval
from icans.evaluate.calibration import logit
from icans.evaluate.censoring import Floats
from icans.evaluate.discrimination import check_risk
from icans.evaluate.smooth import logistic
from icans.evaluate.subgroups import MIN_EVENTS

#: Odds ratio that the CUSUM is tuned to, either way.
ODDS_RATIO = 2.0
#: Share of series without drift that cross one limit or the other (half of it each).
FALSE_ALARMS = 0.05
#: Series simulated from the forecasts themselves to find the limit.
SIMULATIONS = 1000
#: Share of dates that must be there for them to give the order.
DATED = 0.8
#: Windows along the order (each patient in two of them).
WINDOWS = 8

BY_DATE = "date of infusion"
BY_ORDER = "order of the delivery"


@dataclass(frozen=True)
class Drift:
    """Result of :func:`drift`.

    Attributes
    ----------
    basis
        :data:`BY_DATE` or :data:`BY_ORDER`.
    windows
        Rolling calibration: position (mean rank, 0 to 1), start, end (first and last rank), n, events, expected,
        oe, low, high (exact Poisson interval of the observed count over the expected).
    path
        CUSUM by patient: position, patient_id, up, down, limit_up, limit_down.
    summary
        metric, value, low, high: ``trend`` (change of the log odds of O against E from the first to the last
        patient), ``crossed_up``, ``crossed_down`` (0/1), ``unknown`` (share left out: outcome unknown).
    sentences
        In words.
    """

    basis: str
    windows: pd.DataFrame
    path: pd.DataFrame
    summary: pd.DataFrame
    sentences: tuple[str, ...]


def order_of(patients: pd.DataFrame) -> tuple[pd.Series, str]:
    """Rank of each patient in time (index patient_id) and what it rests on.

    Dates count where at least four in five patients have one; patients without are left out then. Without dates it is
    the order of the rows.
    """
    ids = patients["patient_id"].astype(str)
    if "infusion_date" in patients:
        date = pd.to_datetime(patients["infusion_date"].astype(object), errors="coerce", format="ISO8601")
        if len(date) and date.notna().mean() >= DATED and date.nunique() > 1:
            rank = pd.Series(date.rank(method="first").to_numpy(), index=ids).dropna()
            return rank, BY_DATE
    return pd.Series(np.arange(1.0, len(ids) + 1), index=ids), BY_ORDER


def drift(
    patient_ids: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    rank: pd.Series,
    basis: str,
    *,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Drift:
    """Look for drift along an order of patients.

    Parameters
    ----------
    patient_ids, time, event, risk, horizon
        Out-of-sample forecasts of one task, model, landmark and horizon, with outcomes.
    rank, basis
        From :func:`order_of`.
    n_boot, seed, level
        Resamples for the interval of the trend.

    Raises
    ------
    NotEstimableError
        Fewer than :data:`MIN_EVENTS` patients with or without the event whose outcome is known.
    """
    ids = np.asarray(patient_ids).astype(str)
    t, e, p = np.asarray(time, dtype=float), np.asarray(event), check_risk(risk, len(ids))
    place = rank.reindex(ids).to_numpy(dtype=float)
    known = ((e > 0) | (t >= horizon)) & np.isfinite(place)
    y = ((e == 1) & (t <= horizon)).astype(float)
    if min(y[known].sum(), (1 - y[known]).sum()) < MIN_EVENTS:
        raise NotEstimableError(
            f"{int(y[known].sum())} with and {int((1 - y[known]).sum())} without the event in a known order; drift "
            f"needs {MIN_EVENTS} of each"
        )
    order = np.flatnonzero(known)[np.argsort(place[known], kind="stable")]
    ids, y, p = ids[order], y[order], np.clip(p[order], 1e-6, 1 - 1e-6)
    windows = _windows(y, p, level)
    path, crossed = _cusum(ids, y, p, seed)
    trend = _trend(ids, y, p, n_boot, seed, level)
    unknown = float(1 - known.mean())
    rows = [
        {"metric": "trend", "value": trend.value, "low": trend.low, "high": trend.high},
        {"metric": "crossed_up", "value": float(crossed[0])},
        {"metric": "crossed_down", "value": float(crossed[1])},
        {"metric": "unknown", "value": unknown},
    ]
    said = _sentences(basis, len(y), crossed, trend.low, trend.high)
    return Drift(basis, windows, path, pd.DataFrame(rows), said)


def _windows(y: Floats, p: Floats, level: float) -> pd.DataFrame:
    from scipy.stats import chi2

    n = len(y)
    width = max(int(np.ceil(2 * n / (WINDOWS + 1))), 1)
    rows = []
    for start in np.unique(np.linspace(0, n - width, WINDOWS).round().astype(int)).tolist():
        seen, expected = float(y[start : start + width].sum()), float(p[start : start + width].sum())
        tail = (1 - level) / 2
        low = float(chi2.ppf(tail, 2 * seen) / 2) if seen else 0.0
        high = float(chi2.ppf(1 - tail, 2 * seen + 2) / 2)
        rows.append(
            {"position": (start + width / 2) / n, "start": start + 1, "end": start + width, "n": width,
             "events": int(seen), "expected": expected, "oe": seen / expected, "low": low / expected,
             "high": high / expected}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _weights(p: Floats, ratio: float) -> tuple[Floats, Floats]:
    """Log likelihood ratio of a patient with and without the event, odds multiplied by ``ratio`` against unchanged."""
    base = -np.log1p(p * (ratio - 1))
    return np.log(ratio) + base, base


def _run(steps: Floats) -> Floats:
    """CUSUM of each row, shape (..., n): the running sum, never below zero."""
    total = np.cumsum(steps, axis=-1)
    return total - np.minimum(np.minimum.accumulate(total, axis=-1), 0.0)


def _cusum(ids: np.ndarray, y: Floats, p: Floats, seed: int) -> tuple[pd.DataFrame, tuple[bool, bool]]:
    draws = stream(seed, "cusum").random((SIMULATIONS, len(p))) < p
    columns: dict[str, object] = {"position": (np.arange(len(p)) + 1) / len(p), "patient_id": ids}
    crossed = []
    for name, ratio in (("up", ODDS_RATIO), ("down", 1 / ODDS_RATIO)):
        ill, well = _weights(p, ratio)
        path = _run(np.where(y == 1, ill, well))
        limit = float(np.quantile(_run(np.where(draws, ill, well)).max(axis=1), 1 - FALSE_ALARMS / 2))
        columns |= {name: path, f"limit_{name}": limit}
        crossed.append(bool((path > limit).any()))
    return pd.DataFrame(columns), (crossed[0], crossed[1])


def _trend(ids: np.ndarray, y: Floats, p: Floats, n_boot: int, seed: int, level: float) -> Interval:
    """Coefficient of the position (0 to 1) in a logistic regression with the forecast's log odds as offset."""
    position = np.linspace(-0.5, 0.5, len(y))
    design = np.column_stack([np.ones(len(y)), position])
    weights = np.vstack([np.ones(len(y)), patient_counts(ids, n_boot, seed, "drift")])
    found = logistic(design, weights * y, weights * (1 - y), offset=logit(p))[:, 1]
    return percentile_interval(found[0], found[1:], level)


def _sentences(basis: str, n: int, crossed: tuple[bool, bool], low: float, high: float) -> tuple[str, ...]:
    first = (
        f"Patients ({n} with a known outcome) are in the order of their dates of infusion."
        if basis == BY_DATE
        else f"The cohort has no dates. Patients ({n} with a known outcome) are in the order of the delivery, which "
        "need not be the order of time: what follows cannot show or rule out drift over calendar time."
    )
    ups = [w for w, c in zip(("more", "fewer"), crossed, strict=True) if c]
    second = (
        f"The CUSUM crossed its limit: at some point {' and '.join(ups)} patients than forecast had the event."
        if ups
        else "The CUSUM stayed within its limits (a forecast without drift crosses either in 1 of 20 such series)."
    )
    trend = "" if not np.isfinite([low, high]).all() or low <= 0 <= high else (
        f" Along the order the event became {'more' if low > 0 else 'less'} frequent than forecast."
    )  # fmt: skip
    return first, second + trend
