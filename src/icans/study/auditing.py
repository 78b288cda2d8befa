"""The leakage audit of a study: every task, and the headline's procedure checked by shuffling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.execute import Executor
from icans.evaluate.audit import Audit, audit_task
from icans.forecast.ladder import Rung
from icans.study.config import ForecastSection
from icans.study.forecasts import TaskForecasts, shuffle_checks


def audit_tasks(
    delivered: Cohort,
    harmonised: Cohort,
    regimes: pd.DataFrame,
    forecasts: Sequence[TaskForecasts],
    section: ForecastSection,
    rung: Rung,
    seed: int,
    executor: Executor,
) -> dict[str, Audit]:
    """The audit of each task by its name; tasks that could not be forecast are audited, too.

    The scopes "known by" are those of the task's judged landmarks; the shuffling checks use the one with most events.
    """
    work = partial(_audit, delivered, harmonised, regimes, section, rung, seed)
    return {audit.task: audit for audit in executor.map(work, list(forecasts), "audit")}


def _audit(
    delivered: Cohort,
    harmonised: Cohort,
    regimes: pd.DataFrame,
    section: ForecastSection,
    rung: Rung,
    seed: int,
    forecast: TaskForecasts,
) -> Audit:
    task = forecast.study_task.task
    landmarks = judged_landmarks(forecast)
    audit = audit_task(delivered, harmonised, task, regimes=regimes, landmarks_h=tuple(landmarks), seed=seed)
    if landmarks:
        best = _busiest(forecast)
        audit = audit.with_checks(*shuffle_checks(harmonised, forecast.study_task, section, rung, best, seed))
    table = audit.table.assign(task=task.name)
    return replace(audit, table=table[["task", *[c for c in table.columns if c != "task"]]])


def judged_landmarks(forecast: TaskForecasts) -> list[float]:
    """Landmarks (hours from the anchor) at which at least one horizon was judged."""
    if forecast.result is None:
        return []
    return sorted(forecast.result.predictions["landmark_h"].unique().tolist())


def _busiest(forecast: TaskForecasts) -> float:
    assert forecast.result is not None  # the caller has landmarks
    cells = forecast.result.cells
    judged = cells[cells["reason"] == ""]
    return float(judged.loc[judged["events"].idxmax(), "landmark_h"])
