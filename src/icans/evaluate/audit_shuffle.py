"""Two checks of a model: does it look ahead, and does its fitting procedure find signal where there is none?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.cohort import schema
from icans.cohort.cohort import Cohort
from icans.core.random import stream
from icans.evaluate.audit_words import MEANINGS
from icans.evaluate.discrimination import auroc

#: A forecast counts as unchanged within this (rounding of sums taken in another order).
SAME = 1e-9
#: With permuted labels the mean AUROC may exceed a half by this much at most, beside its standard error: folds and
#: ties scatter it by about 0.01 at n near 100.
MARGIN = 0.02

ForecastFn = Callable[[Cohort, float], pd.Series]
FitPredict = Callable[[np.ndarray], np.ndarray]


def future_shuffled(
    forecast: ForecastFn, cohort: Cohort, landmark_h: float, *, repeats: int = 3, seed: int = 0
) -> dict[str, object]:
    """Permute everything that became known after the landmark; the forecasts must not change.

    Parameters
    ----------
    forecast
        Gives forecasts by patient from a cohort and a landmark (an already fitted model).
    cohort
        Cohort to forecast.
    landmark_h
        Hours since infusion.
    repeats, seed
        Permutations.

    Returns
    -------
    dict
        A row for :meth:`icans.evaluate.audit.Audit.with_checks`; ``high`` is the largest change of a forecast.
    """
    before = _series(forecast(cohort, landmark_h))
    largest = 0.0
    for k in range(repeats):
        after = _series(forecast(shuffle_future(cohort, landmark_h, seed, k), landmark_h))
        if not before.index.equals(after.index) or (before.isna() != after.isna()).any():
            largest = np.inf
            break
        largest = max(largest, float((before - after).abs().max(skipna=True)) if len(before) else 0.0)
    passes = largest <= SAME
    said = (
        f"Permuting everything later than day {landmark_h / 24:g} left every forecast of that day unchanged."
        if passes
        else f"Permuting everything later than day {landmark_h / 24:g} changed forecasts of that day by up to "
        f"{largest:.3g}: the model looks ahead."
    )
    return _row("future shuffled", f"day {landmark_h / 24:g}", passes, len(before), said) | {"high": largest}


def shuffle_future(cohort: Cohort, landmark_h: float, seed: int = 0, *keys: object) -> Cohort:
    """The cohort with the contents of all rows that became known after the landmark permuted within each table.

    Patient, analyte, time and value are torn apart; times move among themselves, so that ``available_h`` stays after
    the landmark.
    """
    shuffled = cohort
    for name in schema.TABLES:
        if name == "patients":
            continue
        frame = cohort.table(name)
        future = np.flatnonzero((frame["available_h"] > landmark_h).to_numpy())
        if len(future) < 2:
            continue
        parts = {"patient_id": ["patient_id"], "times": ["time_h", "available_h"]}
        parts["rest"] = [c for c in frame.columns if c not in ("patient_id", "time_h", "available_h")]
        mixed = frame.copy()
        for part, columns in parts.items():
            order = stream(seed, "future", name, part, *keys).permutation(future)
            for column in columns:
                values = frame[column].array.copy()
                values[future] = frame[column].array[order]
                mixed[column] = values
        shuffled = shuffled.with_table(name, mixed)
    return shuffled


def labels_shuffled(
    fit_predict: FitPredict, outcome: ArrayLike, *, repeats: int = 20, seed: int = 0
) -> dict[str, object]:
    """Permute the outcomes and run the whole fitting procedure; the AUROC must straddle a half.

    Parameters
    ----------
    fit_predict
        Gives out-of-sample forecasts, shape (n,), from outcomes, shape (n,): the whole procedure, cross-validation
        included.
    outcome
        0/1, shape (n,).
    repeats, seed
        Permutations.

    Returns
    -------
    dict
        A row for :meth:`icans.evaluate.audit.Audit.with_checks`: mean AUROC and its central 95 % range.
    """
    y = np.asarray(outcome, dtype=float)
    found = []
    for k in range(repeats):
        mixed = stream(seed, "labels", k).permutation(y)
        found.append(float(auroc(mixed, fit_predict(mixed))))
    scores = np.array(found)
    mean, error = float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(repeats))
    passes = mean - 1.96 * error <= 0.5 + MARGIN
    low, high = np.quantile(scores, (0.025, 0.975)).tolist()
    said = f"With permuted outcomes the mean AUROC is {mean:.2f} ({low:.2f} to {high:.2f}): " + (
        "the procedure finds no signal where there is none." if passes else "the procedure leaks the outcome."
    )
    row = _row("labels shuffled", f"{repeats} permutations", passes, len(y), said)
    return row | {"auroc": mean, "low": low, "high": high, "events": int(y.sum())}


def _row(check: str, scope: str, passes: bool, n: int, said: str) -> dict[str, object]:
    return {
        "check": check,
        "kind": "model",
        "scope": scope,
        "data": "harmonised",
        "n": n,
        "events": np.nan,
        "columns": np.nan,
        "auroc": np.nan,
        "low": np.nan,
        "high": np.nan,
        "verdict": "passes" if passes else "fails",
        "meaning": f"{said} ({MEANINGS[check]})",
    }


def _series(forecast: pd.Series) -> pd.Series:
    return pd.Series(forecast, dtype=float).sort_index()
