"""The leakage audit of a study: every task, and the headline's procedure checked by shuffling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

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
    # The two parts of each task by themselves, the longer ones first, so that no worker is left with one at the end.
    works: list[Callable[[], Any]] = [partial(_shuffled, harmonised, section, rung, seed, f) for f in forecasts]
    works += [partial(_audit, delivered, harmonised, regimes, seed, f) for f in forecasts]
    parts = executor.map(_done, works, "audit")
    checks, audits = parts[: len(forecasts)], parts[len(forecasts) :]
    return {a.task: _labelled(a.with_checks(*rows) if rows else a) for a, rows in zip(audits, checks, strict=True)}


def _done(work: Callable[[], Any]) -> Any:
    return work()


def _audit(delivered: Cohort, harmonised: Cohort, regimes: pd.DataFrame, seed: int, forecast: TaskForecasts) -> Audit:
    landmarks = tuple(judged_landmarks(forecast))
    task = forecast.study_task.task
    return audit_task(delivered, harmonised, task, regimes=regimes, landmarks_h=landmarks, seed=seed)


def _shuffled(
    harmonised: Cohort, section: ForecastSection, rung: Rung, seed: int, forecast: TaskForecasts
) -> list[dict[str, object]]:
    if not judged_landmarks(forecast):
        return []
    return shuffle_checks(harmonised, forecast.study_task, section, rung, _busiest(forecast), seed)


def _labelled(audit: Audit) -> Audit:
    table = audit.table.assign(task=audit.task)
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
