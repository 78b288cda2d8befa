"""The daily grade path in a study: forecasts of tomorrow's grade against persistence, by ranked probability score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError
from icans.core.execute import Executor
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.discrimination import ranked_probability_score
from icans.forecast.filters.ladder import path_ladder, path_with_covariates
from icans.forecast.grade_path import STATES, cross_validate_path, daily_path
from icans.forecast.outcomes import Task
from icans.study.config import ForecastSection

#: The row of the table that speaks of all landmarks together.
ALL_LANDMARKS = float("nan")
#: Fewest forecasts of a landmark and lead time that are scored by themselves.
MIN_FORECASTS = 20
#: CRS at or above this grade divides the days of the split chain: grade 2 is the first that needs fluids or oxygen.
SPLIT_CRS_GRADE = 2.0
#: Fewest patients whose grades come by the day.
MIN_PATIENTS = 20


def grade_paths(
    cohort: Cohort, task: Task, section: ForecastSection, seed: int, n_boot: int, executor: Executor | None = None
) -> pd.DataFrame | None:
    """Ranked probability score of each rival for the daily grade, and its difference from persistence.

    Parameters
    ----------
    task
        Names toxicity, scheme and source of the grades.

    Returns
    -------
    DataFrame or None
        model, landmark_h (NaN: all together), lead_h, rps, low, high, difference, difference_low, difference_high
        (model minus persistence), n (forecasts), patients; None where grades do not come by the day.
    """
    split = Task("split", toxicity="CRS", threshold=SPLIT_CRS_GRADE, scheme=task.scheme)
    has_crs = (cohort.grades["toxicity"] == "CRS").any() and task.toxicity != "CRS"
    try:
        path = daily_path(cohort, task, split=split if has_crs else None)
    except DataError:
        return None
    days = path.groupby("patient_id").size()
    if (days >= 3).sum() < MIN_PATIENTS:
        return None
    path = path_with_covariates(path, cohort, task)
    rivals = path_ladder(path, seed)
    forecasts = cross_validate_path(
        path, rivals, folds=section.folds, repeats=section.repeats, seed=seed, executor=executor
    )
    # One order for all models in every part of the table: by patient, landmark and repeat.
    forecasts = forecasts.sort_values(["patient_id", "landmark_h", "repeat"], kind="stable", ignore_index=True)
    rows = []
    for lead, part in forecasts.groupby("horizon_h"):
        rows += _scored(part, float(lead), ALL_LANDMARKS, seed, n_boot)
        for landmark, at in part.groupby("landmark_h"):
            if len(at) / at["model"].nunique() / at["repeat"].nunique() >= MIN_FORECASTS:
                rows += _scored(at, float(lead), float(landmark), seed, n_boot)
    return pd.DataFrame(rows)


def _scored(part: pd.DataFrame, lead_h: float, landmark_h: float, seed: int, n_boot: int) -> list[dict[str, object]]:
    """One row a model, in one cell. Resampling draws patients; all of a patient's days go together."""
    models = dict(iter(part.groupby("model", sort=False)))
    rows = models["persistence"]
    drawn = patient_counts(rows["patient_id"], n_boot, seed, "grade path")
    weights = np.vstack([np.ones(len(rows)), drawn])  # the first row: every patient once
    scores = {model: _score(own, weights) for model, own in models.items()}
    base = scores["persistence"]
    found = []
    for model, score in scores.items():
        value = percentile_interval(score[0], score[1:])
        gap = percentile_interval(score[0] - base[0], score[1:] - base[1:])
        found.append(
            {
                "model": model,
                "landmark_h": landmark_h,
                "lead_h": lead_h,
                "rps": value.value,
                "low": value.low,
                "high": value.high,
                "difference": gap.value,
                "difference_low": gap.low,
                "difference_high": gap.high,
                "n": int(len(rows) / rows["repeat"].nunique()),
                "patients": int(rows["patient_id"].nunique()),
            }
        )
    return found


def _score(rows: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """Ranked probability score of the forecasts under each row of weights, shape (B,)."""
    chance = rows[[f"p{k}" for k in range(STATES)]].to_numpy(dtype=float)
    return ranked_probability_score(rows["observed"], chance, weights)
