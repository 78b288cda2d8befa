"""Latency: what a forecast is worth when laboratory results come late.

Models are fitted on the record as it is; at forecast time every laboratory result becomes known so many hours later
than the record says. Bedside values (vital signs, grades, drugs) are known at once and stay. The outcome is not
touched. Where the source does not say when results were known, 0 h is the time of sampling and a delay of some hours
is the truer case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.brier import brier_of_status
from icans.evaluate.censoring import Floats, horizon_status
from icans.evaluate.discrimination import safe_ratio, stratified_auc
from icans.evaluate.fold_models import FoldModels
from icans.evaluate.tables import Group, groups

#: Delays of laboratory results, hours (protocol, targets).
DELAYS_H = (0.0, 6.0, 24.0)
#: Matrices that are read at the bedside and do not wait for a laboratory.
BEDSIDE = ("vital", "clinical")


def delayed(cohort: Cohort, hours: float) -> Cohort:
    """The cohort with every laboratory result known ``hours`` later than it says (a missing time counts as sampled)."""
    if hours < 0:
        raise ValueError(f"a delay cannot be negative; got {hours}")
    rows = cohort.measurements
    known = rows["available_h"].fillna(rows["time_h"])
    waits = ~rows["matrix"].isin(BEDSIDE)
    return cohort.with_table("measurements", rows.assign(available_h=known + hours * waits.to_numpy(dtype=float)))


def latency_table(
    cohort: Cohort,
    models: FoldModels,
    *,
    delays_h: Sequence[float] = DELAYS_H,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Performance on patients not seen in training when results are late, and what the delay costs.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, delay_h, metric (auc_within_fold, brier, oe), value, low, high, change
        (from no delay, in the same resamples), change_low, change_high, moved (mean distance of the forecasts from
        those without delay), n, events.
    """
    base = models.risks()
    plain = list(groups(models.predictions(base)))
    rows: list[dict[str, object]] = []
    for delay in delays_h:
        risks = base if delay == 0 else models.risks(models.inputs_of(delayed(cohort, delay)))
        for before, after in zip(plain, groups(models.predictions(risks)), strict=True):
            rows += _rows(before, after, float(delay), n_boot, seed, level)
    return pd.DataFrame(rows)


def _rows(before: Group, after: Group, delay: float, n_boot: int, seed: int, level: float) -> list[dict[str, object]]:
    counts = after.outcomes()
    if counts["events"] == 0 or counts["events"] == counts["n"]:
        return []
    ids = after.repeats[0].patient_id
    drawn = patient_counts(ids, n_boot, seed, after.task, after.landmark_h)
    weights = np.vstack([np.ones(len(ids)), drawn])
    own, rival = _numbers(after, weights), _numbers(before, weights)
    moved = float(np.abs(after.repeats[0].risk - before.repeats[0].risk).mean())
    rows = []
    for metric, values in own.items():
        value = percentile_interval(values[0], values[1:], level)
        gap = values - rival[metric]
        change = percentile_interval(gap[0], gap[1:], level)
        rows.append(
            {**after.key, "delay_h": delay, "metric": metric, "value": value.value, "low": value.low,
             "high": value.high, "change": change.value, "change_low": change.low, "change_high": change.high,
             "moved": moved, "n": counts["n"], "events": counts["events"]}
        )  # fmt: skip
    return rows


def _numbers(group: Group, weights: Floats) -> dict[str, Floats]:
    one = group.repeats[0]
    status = horizon_status(one.time, one.event, group.horizon_h, weights)
    expected = safe_ratio(weights @ one.risk, weights.sum(axis=-1))
    return {
        "auc_within_fold": stratified_auc(one.risk, status.case, status.control, one.fold),
        "brier": brier_of_status(one.risk, status)[0],
        "oe": safe_ratio(np.asarray(status.incidence), expected),
    }
