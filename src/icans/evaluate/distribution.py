"""How forecast risks are spread among patients with and without the event.

Beside discrimination, calibration and net benefit the distribution of risks by outcome is what a report of a forecast
must show (Van Calster B et al., Lancet Digit Health 2025, on measures for medical AI): it tells whether the forecast
says anything at all, and where thresholds could lie.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.calibration import weighted_quantile
from icans.evaluate.censoring import Floats, horizon_status
from icans.evaluate.discrimination import safe_ratio
from icans.evaluate.tables import check_predictions, groups

LEVELS = (0.05, 0.25, 0.50, 0.75, 0.95)


def risk_distribution(
    predictions: pd.DataFrame, *, n_boot: int = 200, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Quantiles and mean of the risks by outcome at the horizon, weighted for censoring.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, outcome (``event``, ``no event``), n (known), mean, q5, q25, q50, q75,
        q95, separation (mean risk of patients with the event less that of the others: the discrimination slope, Yates
        1982), separation_low, separation_high.
    """
    rows = []
    for group in groups(check_predictions(predictions)):
        mean = group.averaged()
        counts = patient_counts(mean.patient_id, n_boot, seed, group.task, group.landmark_h)
        point = _separation(mean.time, mean.event, mean.risk, group.horizon_h, None)
        drawn = _separation(mean.time, mean.event, mean.risk, group.horizon_h, counts)
        gap = percentile_interval(point, drawn, level)
        status = horizon_status(mean.time, mean.event, group.horizon_h)
        for name, weight in (("event", status.case), ("no event", status.control)):
            seen = np.nan_to_num(weight) > 0
            if not seen.any():
                continue
            marks = [float(q) for q in weighted_quantile(mean.risk[seen], weight[seen], LEVELS)]
            rows.append(
                {**group.key, "outcome": name, "n": int(seen.sum()),
                 "mean": float(np.average(mean.risk[seen], weights=weight[seen])),
                 **{f"q{round(100 * p)}": q for p, q in zip(LEVELS, marks, strict=True)},
                 "separation": gap.value, "separation_low": gap.low, "separation_high": gap.high}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _separation(time: Floats, event: np.ndarray, risk: Floats, horizon: float, weights: Floats | None) -> Floats:
    status = horizon_status(time, event, horizon, weights)
    ill = safe_ratio(status.case @ risk, status.case.sum(axis=-1))
    well = safe_ratio(status.control @ risk, status.control.sum(axis=-1))
    return np.asarray(ill - well)
