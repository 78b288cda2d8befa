"""Net benefit and decision curves.

At a threshold p a false alarm is taken to weigh p / (1 - p) of a missed case. Net benefit is the share of true alarms
less the weighted share of false alarms, of all patients.

References: Vickers AJ, Elkin EB, Med Decis Making 2006;26:565; Vickers AJ et al., BMC Med Inform Decis Mak 2008;8:53
(censoring and competing risks).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.evaluate.bootstrap import band
from icans.evaluate.censoring import Floats, HorizonStatus, aalen_johansen, as_weights, check_outcome, horizon_status
from icans.evaluate.discrimination import check_risk, safe_ratio

#: Threshold probabilities: 5-30 %, the range declared before any result (protocol, metrics).
THRESHOLDS: tuple[float, ...] = tuple(round(0.05 + 0.01 * k, 2) for k in range(26))

Method = Literal["ipcw", "flagged"]


def net_benefit_of_status(risk: Floats, status: HorizonStatus, thresholds: ArrayLike) -> Floats:
    """Net benefit of alarming at risk >= threshold, from case and control weights; shape (..., thresholds)."""
    p = _thresholds(thresholds)
    flagged = (risk[:, None] >= p).astype(float)
    total = np.asarray(status.total.sum(axis=-1))[..., None]
    return safe_ratio(status.case @ flagged, total) - safe_ratio(status.control @ flagged, total) * p / (1 - p)


def treat_all(incidence: Floats, thresholds: ArrayLike) -> Floats:
    """Net benefit of alarming for everyone, shape (..., thresholds). (For nobody it is 0.)"""
    p = _thresholds(thresholds)
    share = np.asarray(incidence, dtype=float)[..., None]
    return share - (1 - share) * p / (1 - p)


def net_benefit(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    thresholds: ArrayLike = THRESHOLDS,
    weights: ArrayLike | None = None,
    *,
    method: Method = "ipcw",
) -> Floats:
    """Net benefit at a horizon with censoring and competing events, shape (..., thresholds).

    Parameters
    ----------
    time, event, risk
        Outcome and forecast, shape (n,).
    horizon
        Horizon of the forecast.
    thresholds
        Threshold probabilities in (0, 1).
    weights
        Frequency weights.
    method
        ``"ipcw"`` weighs every patient with the censoring curve of all; ``"flagged"`` takes the Aalen-Johansen
        incidence among the flagged (Vickers 2008). Without censoring they agree.
    """
    t, e = check_outcome(time, event)
    r, w = check_risk(risk, len(t)), as_weights(weights, len(t))
    if method == "ipcw":
        return net_benefit_of_status(r, horizon_status(t, e, horizon, w), thresholds)
    p = _thresholds(thresholds)
    columns = []
    for threshold in p:
        mine = w * (r >= threshold)
        share = safe_ratio(mine.sum(axis=-1), w.sum(axis=-1))
        rate = aalen_johansen(t, e, mine).at(horizon)[..., 0]
        columns.append(share * (rate - (1 - rate) * threshold / (1 - threshold)))
    return np.stack(columns, axis=-1)


def binary_net_benefit(
    outcome: ArrayLike, risk: ArrayLike, thresholds: ArrayLike = THRESHOLDS, weights: ArrayLike | None = None
) -> Floats:
    """Net benefit for a 0/1 outcome, shape (..., thresholds)."""
    y = np.asarray(outcome, dtype=float)
    if y.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("outcome must be one-dimensional and hold 0 and 1 only")
    w = as_weights(weights, len(y))
    return net_benefit_of_status(check_risk(risk, len(y)), HorizonStatus(w * y, w * (1 - y)), thresholds)


def decision_curve(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    thresholds: ArrayLike = THRESHOLDS,
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit of the model, of treating all and of treating none, with bootstrap bands.

    Parameters
    ----------
    weights
        Resampling counts of shape (B, n) for the bands (see :mod:`icans.evaluate.bootstrap`); without them the
        bands are NaN.

    Returns
    -------
    pandas.DataFrame
        threshold, strategy (model, all, none), net_benefit, low, high, gain (over the better of all and none),
        gain_low, gain_high, flagged (share alarmed).
    """
    t, e = check_outcome(time, event)
    r, p = check_risk(risk, len(t)), _thresholds(thresholds)
    point = _strategies(r, horizon_status(t, e, horizon), p)
    drawn = None if weights is None else _strategies(r, horizon_status(t, e, horizon, weights), p)
    flagged = {"model": (r[:, None] >= p).mean(axis=0), "all": np.ones(len(p)), "none": np.zeros(len(p))}
    frames = []
    for name in ("model", "all", "none"):
        frame = pd.DataFrame({"threshold": p, "strategy": name, "net_benefit": point[name], "flagged": flagged[name]})
        frame["low"], frame["high"] = _band(drawn, name, level, len(p))
        if name == "model":
            frame["gain"] = point["gain"]
            frame["gain_low"], frame["gain_high"] = _band(drawn, "gain", level, len(p))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _strategies(risk: Floats, status: HorizonStatus, p: Floats) -> dict[str, Floats]:
    model, every = net_benefit_of_status(risk, status, p), treat_all(np.asarray(status.incidence), p)
    none = np.zeros_like(every)
    return {"model": model, "all": every, "none": none, "gain": model - np.maximum(every, none)}


def _band(drawn: dict[str, Floats] | None, name: str, level: float, size: int) -> tuple[Floats, Floats]:
    if drawn is None:
        return np.full(size, np.nan), np.full(size, np.nan)
    return band(drawn[name], level)


def _thresholds(thresholds: ArrayLike) -> Floats:
    p = np.atleast_1d(np.asarray(thresholds, dtype=float))
    if np.any(p <= 0) or np.any(p >= 1):
        raise ValueError(f"thresholds must lie between 0 and 1; got {p.tolist()}")
    return p
