"""Instability: how much the forecasts of single patients would change had other patients been there to learn from.

The whole procedure is fitted again on bootstrap samples of the patients and every refit forecasts the *original*
patients. The spread of a patient's forecasts is the instability of that forecast; its mean distance from the original
forecast is the mean absolute prediction error (MAPE).

Reference: Riley RD, Collins GS, Biom J 2023;65:2200302, doi 10.1002/bimj.202200302 (instability plots, MAPE,
calibration and classification instability).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError
from icans.evaluate.calibration import calibration_curve
from icans.evaluate.censoring import Floats
from icans.evaluate.discrimination import check_risk, cumulative_dynamic_auc
from icans.evaluate.net_benefit import net_benefit

#: Fewest refits: the 2.5 percentile of fewer is the smallest value itself.
MIN_REFITS = 20
#: Points of a calibration curve.
POINTS = 25
#: Thresholds of the classification instability.
THRESHOLDS = (0.10, 0.20, 0.30)


@dataclass(frozen=True)
class Instability:
    """Result of :func:`instability`.

    Attributes
    ----------
    patients
        One row for each patient: patient_id, risk (of the original model), low, high (2.5 and 97.5 percentiles over
        refits), mape, and ``flips_<threshold>`` (share of refits that put the patient on the other side of it).
    curves
        Calibration of every refit on the original patients: refit (0: the original model), risk, observed. Empty
        without outcomes.
    summary
        metric, value: mape (mean over patients), mape_p95, width (median width of the 95 % range), flips at each
        threshold (mean over patients), slope... and, with outcomes, the range of AUC and net benefit over refits.
    refits
        Number of refits.
    """

    patients: pd.DataFrame
    curves: pd.DataFrame
    summary: pd.DataFrame
    refits: int


def instability(
    patient_ids: ArrayLike,
    risk: ArrayLike,
    refitted: ArrayLike,
    *,
    time: ArrayLike | None = None,
    event: ArrayLike | None = None,
    horizon: float | None = None,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> Instability:
    """Instability of forecasts.

    Parameters
    ----------
    patient_ids, risk
        Patients and forecasts of the model fitted on all of them, shape (n,).
    refitted
        Forecasts of the same patients by each bootstrap refit, shape (B, n).
    time, event, horizon
        Outcomes at the horizon, for the calibration curves and the range of performance.
    thresholds
        Thresholds at which changes of side are counted.

    Raises
    ------
    NotEstimableError
        Fewer than :data:`MIN_REFITS` refits.
    """
    ids = np.asarray(patient_ids).astype(str)
    base = check_risk(risk, len(ids))
    drawn = np.atleast_2d(np.asarray(refitted, dtype=float))
    if drawn.shape[1:] != base.shape:
        raise ValueError(f"refitted must have shape (refits, {len(base)}); got {drawn.shape}")
    if len(drawn) < MIN_REFITS:
        raise NotEstimableError(f"{len(drawn)} refits; instability needs {MIN_REFITS}")
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    mape = np.abs(drawn - base).mean(axis=0)
    flips = {t: ((drawn >= t) != (base >= t)).mean(axis=0) for t in thresholds}
    patients = pd.DataFrame(
        {"patient_id": ids, "risk": base, "low": low, "high": high, "mape": mape,
         **{f"flips_{t:.2f}": share for t, share in flips.items()}}
    )  # fmt: skip
    rows = [
        ("mape", float(mape.mean())), ("mape_p95", float(np.quantile(mape, 0.95))),
        ("width", float(np.median(high - low))),
        *((f"flips_{t:.2f}", float(share.mean())) for t, share in flips.items()),
    ]  # fmt: skip
    curves = pd.DataFrame()
    if time is not None and event is not None and horizon is not None:
        t, e = np.asarray(time, dtype=float), np.asarray(event)
        curves = _curves(t, e, base, drawn, horizon)
        rows += _ranges(t, e, drawn, horizon, thresholds)
    return Instability(patients, curves, pd.DataFrame(rows, columns=["metric", "value"]), len(drawn))


def _curves(t: Floats, e: NDArray[np.generic], base: Floats, drawn: Floats, horizon: float) -> pd.DataFrame:
    frames = []
    for number, risk in enumerate([base, *drawn]):
        low, high = np.quantile(risk, (0.025, 0.975))
        if high - low < 1e-6:
            continue
        at = np.linspace(low, high, POINTS)
        observed = calibration_curve(t, e, risk, horizon, at)
        frames.append(pd.DataFrame({"refit": number, "risk": at, "observed": observed}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["refit", "risk", "observed"])


def _ranges(
    t: Floats, e: NDArray[np.generic], drawn: Floats, horizon: float, thresholds: tuple[float, ...]
) -> list[tuple[str, float]]:
    """2.5 and 97.5 percentiles, over refits, of AUC and net benefit on the original patients."""
    auc = np.array([float(cumulative_dynamic_auc(t, e, risk, horizon)) for risk in drawn])
    benefit = np.stack([net_benefit(t, e, risk, horizon, thresholds) for risk in drawn])
    found = [("auc_low", float(np.nanquantile(auc, 0.025))), ("auc_high", float(np.nanquantile(auc, 0.975)))]
    for k, threshold in enumerate(thresholds):
        low, high = np.nanquantile(benefit[:, k], (0.025, 0.975))
        found += [(f"net_benefit_{threshold:.2f}_low", float(low)), (f"net_benefit_{threshold:.2f}_high", float(high))]
    return found
