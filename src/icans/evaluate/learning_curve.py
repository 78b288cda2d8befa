"""Learning curves judged: discrimination and calibration of each step against the number of local patients.

The interval of a point is over repeats (other local patients to learn from, other patients to be tested on); the
difference to a reference step is taken within repeats, so that both saw the same patients.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.evaluate.bootstrap import MIN_ESTIMABLE
from icans.evaluate.brier import brier_of_status
from icans.evaluate.calibration import calibration_of_status
from icans.evaluate.censoring import Floats, horizon_status
from icans.evaluate.discrimination import auc_pairs, safe_ratio

METRICS = ("auc", "brier", "brier_scaled", "intercept", "slope", "oe")
KEYS = ["model", "n_local", "landmark_h", "horizon_h"]


def learning_curve(predictions: pd.DataFrame, reference: str | None = "none", *, level: float = 0.95) -> pd.DataFrame:
    """Metrics of every step and number of local patients, over repeats.

    Parameters
    ----------
    predictions
        Of :func:`icans.forecast.transfer.learning.learning_predictions`.
    reference
        Step that the others are compared with, in the same repeats; None: none.
    level
        Share of the repeats that an interval holds.

    Returns
    -------
    DataFrame
        model, n_local, landmark_h, horizon_h, metric, value (mean over repeats), low, high (percentiles), repeats
        (that could be judged), difference, difference_low, difference_high (to the reference).
    """
    each = per_repeat(predictions)
    if each.empty:
        raise NotEstimableError("no repeat has events and patients free of them: nothing can be judged")
    wide = each.set_index([*KEYS, "repeat"])
    base = None
    if reference is not None:
        if reference not in set(each["model"]):
            raise KeyError(f"no step {reference!r}; there are {sorted(set(each['model']))}")
        base = each[each["model"] == reference].drop(columns="model").set_index([*KEYS[1:], "repeat"])
    rows = []
    for key, part in wide.groupby(level=KEYS, sort=True):
        mine = part.droplevel("model")
        for metric in METRICS:
            found = _interval(mine[metric].to_numpy(dtype=float), level)
            gap = (np.nan,) * 3
            if base is not None and key[0] != reference:
                rival = base[metric].reindex(mine.index).to_numpy(dtype=float)
                gap = _interval(mine[metric].to_numpy(dtype=float) - rival, level)
            line = dict(zip(KEYS, key, strict=True)) | {"metric": metric}
            line |= dict(zip(("value", "low", "high"), found, strict=True))
            line |= {"repeats": int(np.isfinite(mine[metric]).sum())}
            rows.append(line | dict(zip(("difference", "difference_low", "difference_high"), gap, strict=True)))
    return pd.DataFrame(rows)


def per_repeat(predictions: pd.DataFrame) -> pd.DataFrame:
    """Metrics of each step, number of local patients, landmark, horizon and repeat."""
    rows = []
    for key, part in predictions.groupby([*KEYS, "repeat"], sort=True):
        horizon = float(key[3])
        if horizon <= 0:
            continue
        risk = np.clip(part["risk"].to_numpy(dtype=float), 0.0, 1.0)
        status = horizon_status(part["time_h"], part["event"], horizon)
        if not (status.case.sum() > 0 and status.control.sum() > 0):
            continue
        numbers = calibration_of_status(risk, status, np.ones(len(risk)), smoother="spline")
        brier, scaled = brier_of_status(risk, status)
        values: dict[str, Floats] = {
            "auc": safe_ratio(*auc_pairs(risk, status.case, status.control)), "brier": brier, "brier_scaled": scaled,
            "intercept": numbers.intercept, "slope": numbers.slope, "oe": numbers.oe,
        }  # fmt: skip
        line = dict(zip([*KEYS, "repeat"], key, strict=True))
        rows.append(line | {name: float(value) for name, value in values.items()})
    return pd.DataFrame(rows, columns=[*KEYS, "repeat", *METRICS])


def _interval(values: Floats, level: float) -> tuple[float, float, float]:
    """Mean and percentiles of what could be estimated."""
    good = values[np.isfinite(values)]
    if len(good) < max(2, MIN_ESTIMABLE * len(values)):
        return (float(good.mean()) if len(good) else np.nan), np.nan, np.nan
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2])
    return float(good.mean()), float(low), float(high)
