"""Alarms over time: what a forecast that is made again and again would have meant on the ward.

A patient is forecast at every landmark; an alarm is a risk at or above a threshold. The threshold is set so that
alarms come at a fixed rate (alarms per patient-day at risk), because that is what a ward can bear; models are then
compared at the same burden. A patient-day is a day under observation, free of the event, from a landmark to the next
(or to the event, competing event or end of follow-up). An alarm foresees an event that comes within the forecast's
horizon; lead time runs from the first such alarm to the event. Events beyond the horizon of every forecast could not
be foreseen by any of them and are not counted.

Reference: Hyland SL et al., Nat Med 2020;26:364, doi 10.1038/s41591-020-0789-4 (a repeated forecast judged by the
events that it precedes and by its alarm burden).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.times import HOURS_PER_DAY
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.censoring import Floats
from icans.evaluate.tables import check_predictions

#: Alarms per patient-day at which models are compared: one alarm in twenty, ten and five patient-days.
RATES = (0.05, 0.10, 0.20)
#: Lead time that leaves room to act: a dose of dexamethasone takes hours, transfer and imaging most of a day.
ROOM_H = 24.0


@dataclass(frozen=True)
class _Rows:
    """Forecasts of one model at one horizon, one row for each patient and landmark, sorted by falling risk."""

    patient: NDArray[np.intp]
    landmark: Floats
    risk: Floats
    days: Floats
    onset: Floats
    within: Floats
    ids: NDArray[np.str_]

    @property
    def onset_of(self) -> Floats:
        """Time of the event by patient, hours since the anchor (NaN: none within the horizon of any forecast)."""
        found = np.full(len(self.ids), np.nan)
        mine = self.within == 1
        found[self.patient[mine]] = self.onset[mine]
        return found


def alarm_table(
    predictions: pd.DataFrame,
    *,
    rates: Sequence[float] = RATES,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
    room_h: float = ROOM_H,
) -> pd.DataFrame:
    """What alarms at fixed rates would have done, for every task, model and horizon with two landmarks or more.

    Parameters
    ----------
    predictions
        Prediction table (:mod:`icans.evaluate.tables`); forecasts are averaged over repeats.
    rates
        Alarms per patient-day at risk; the threshold is the lowest at which alarms do not come more often.
    n_boot, seed, level
        Resamples of patients; the threshold is set anew in each.
    room_h
        Lead time that counts as room to act, hours.

    Returns
    -------
    DataFrame
        task, model, horizon_h, rate (wanted), metric, value, low, high, patients, events, note. Metrics:
        ``threshold``; ``alarms_per_day`` (reached); ``detected`` (share of patients with the event whom an alarm
        foresaw); ``in_time`` (foresaw by at least ``room_h``); ``lead_h`` (median hours from the first such alarm to
        the event, among the detected); ``false_patients`` (share alarmed among the patients without it);
        ``right`` (share of alarms followed by the event within the horizon, among alarms whose end is known);
        ``alarms_per_detected`` (alarms raised for each patient detected).
    """
    frames = []
    for (task, model, horizon), part in check_predictions(predictions).groupby(
        ["task", "model", "horizon_h"], sort=False
    ):
        if part["landmark_h"].nunique() < 2:
            continue
        rows = _rows(part, float(horizon))
        about = {"task": task, "model": model, "horizon_h": float(horizon)}
        frames += [pd.DataFrame(_at_rate(rows, about, rate, n_boot, seed, level, room_h)) for rate in rates]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def lead_times(predictions: pd.DataFrame, rate: float = 0.10) -> pd.DataFrame:
    """First alarm and lead time of every patient with the event, for one task, model and horizon.

    Returns
    -------
    DataFrame
        patient_id, onset_h, alarm_h (NaN: no alarm before the event), lead_h.

    Raises
    ------
    NotEstimableError
        More than one task, model or horizon, or fewer than two landmarks.
    """
    checked = check_predictions(predictions)
    if len(checked[["task", "model", "horizon_h"]].drop_duplicates()) != 1 or checked["landmark_h"].nunique() < 2:
        raise NotEstimableError("lead times are of one task, model and horizon, forecast at two landmarks or more")
    rows = _rows(checked, float(checked["horizon_h"].iloc[0]))
    first = _first_alarm(rows, _threshold(rows, np.ones(len(rows.ids)), rate)[0], rows.within == 1)
    onset = rows.onset_of
    mine = np.isfinite(onset)
    alarm = np.where(np.isfinite(first), first, np.nan)[mine]
    return pd.DataFrame(
        {"patient_id": rows.ids[mine], "onset_h": onset[mine], "alarm_h": alarm, "lead_h": onset[mine] - alarm}
    )


def _rows(part: pd.DataFrame, horizon: float) -> _Rows:
    keys = ["patient_id", "landmark_h"]
    mean = part.groupby(keys, as_index=False).agg(
        risk=("risk", "mean"), time_h=("time_h", "first"), event=("event", "first")
    )
    marks = np.sort(mean["landmark_h"].unique())
    # The last landmark stands for as long as the one before it.
    gap = np.append(np.diff(marks), marks[-1] - marks[-2])
    length = gap[np.searchsorted(marks, mean["landmark_h"])]
    time, event, mark = (mean[c].to_numpy(dtype=float) for c in ("time_h", "event", "landmark_h"))
    ids, patient = np.unique(mean["patient_id"].to_numpy().astype(str), return_inverse=True)
    within = np.where((time < horizon) & (event == 0), np.nan, ((event == 1) & (time <= horizon)).astype(float))
    order = np.argsort(-mean["risk"].to_numpy(), kind="stable")
    return _Rows(
        patient[order], mark[order], mean["risk"].to_numpy()[order], (np.minimum(length, time) / HOURS_PER_DAY)[order],
        np.where(event == 1, mark + time, np.nan)[order], within[order], ids,
    )  # fmt: skip


def _threshold(rows: _Rows, weight: Floats, rate: float) -> tuple[float, float]:
    """The lowest threshold at which alarms per patient-day do not exceed ``rate``, and the rate reached."""
    mine = weight[rows.patient]
    total = float((mine * rows.days).sum())
    if total <= 0:
        return np.inf, np.nan
    alarms = np.cumsum(mine)
    # Equal risks alarm together: only the last row of each tie is a place for the threshold.
    last = np.append(rows.risk[1:] != rows.risk[:-1], True)
    allowed = np.flatnonzero(last & (alarms / total <= rate + 1e-12))
    if not len(allowed):
        return np.inf, 0.0
    return float(rows.risk[allowed[-1]]), float(alarms[allowed[-1]] / total)


def _first_alarm(rows: _Rows, threshold: float, among: NDArray[np.bool_]) -> Floats:
    """Landmark of each patient's first alarm in some of the rows (inf: none)."""
    first = np.full(len(rows.ids), np.inf)
    mine = (rows.risk >= threshold) & among
    np.minimum.at(first, rows.patient[mine], rows.landmark[mine])
    return first


def _measure(rows: _Rows, weight: Floats, rate: float, room_h: float) -> dict[str, float]:
    threshold, reached = _threshold(rows, weight, rate)
    first, onset = _first_alarm(rows, threshold, rows.within == 1), rows.onset_of
    case, free = np.isfinite(onset), ~np.isfinite(onset)
    lead = onset - first
    caught = case & np.isfinite(first)
    alarm = rows.risk >= threshold
    alarmed = np.zeros(len(rows.ids), dtype=bool)
    alarmed[rows.patient[alarm]] = True
    known = alarm & np.isfinite(rows.within)
    each = weight[rows.patient]
    detected = (weight * caught).sum()
    return {
        "threshold": threshold if np.isfinite(threshold) else np.nan,
        "alarms_per_day": reached,
        "detected": _share(weight * caught, weight * case),
        "in_time": _share(weight * (caught & (lead >= room_h)), weight * case),
        "lead_h": _median(lead[caught], weight[caught]),
        "false_patients": _share(weight * (free & alarmed), weight * free),
        "right": _share(each * known * np.nan_to_num(rows.within), each * known),
        "alarms_per_detected": float((each * alarm).sum() / detected) if detected > 0 else np.nan,
    }


def _at_rate(
    rows: _Rows, about: dict[str, object], rate: float, n_boot: int, seed: int, level: float, room_h: float
) -> list[dict[str, object]]:
    point = _measure(rows, np.ones(len(rows.ids)), rate, room_h)
    counts = patient_counts(rows.ids, n_boot, seed, "alarms") if n_boot else np.empty((0, len(rows.ids)))
    drawn = [_measure(rows, w, rate, room_h) for w in counts]
    events = int(np.isfinite(rows.onset_of).sum())
    note = "fewer than 20 events: uninformative" if events < 20 else ""
    if not np.isfinite(point["threshold"]):
        note = "no threshold alarms so seldom: too many forecasts are equal"
    found: list[dict[str, object]] = []
    for name, value in point.items():
        interval = percentile_interval(value, [d[name] for d in drawn], level)
        found.append(
            {**about, "rate": rate, "metric": name, "value": value, "low": interval.low, "high": interval.high,
             "patients": len(rows.ids), "events": events, "note": note}
        )  # fmt: skip
    return found


def _share(part: Floats, whole: Floats) -> float:
    total = float(whole.sum())
    return float(part.sum()) / total if total > 0 else np.nan


def _median(values: Floats, weights: Floats) -> float:
    if weights.sum() <= 0:
        return np.nan
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.argmax(share >= 0.5 - 1e-12)])
