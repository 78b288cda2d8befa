"""Forecasts for the patients that a report shows one by one, by a model that has not seen them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor
from icans.forecast.crossval import Design
from icans.forecast.final import FinalModel, fit_final
from icans.forecast.forecast import to_frame
from icans.forecast.ladder import Rung
from icans.study.config import ForecastSection
from icans.study.forecasts import feature_spec, steps_of
from icans.study.tasks import StudyTask


def final_model(
    cohort: Cohort, study_task: StudyTask, section: ForecastSection, rung: Rung, seed: int, executor: Executor
) -> FinalModel | None:
    """A rung fitted on every patient of a cohort, with bootstrap refits; None when it cannot be estimated."""
    design = Design(landmarks_h=study_task.landmarks_h, horizons=study_task.horizons, seed=seed)
    spec = feature_spec(section, cohort)
    try:
        return fit_final(cohort, study_task.task, rung, design, spec=spec, steps=steps_of(section), executor=executor)
    except NotEstimableError:
        return None


def shown_forecasts(
    cohort: Cohort,
    patients: Sequence[str],
    study_task: StudyTask,
    section: ForecastSection,
    rung: Rung,
    seed: int,
    executor: Executor,
) -> pd.DataFrame | None:
    """Forecasts of some patients at every landmark, by a model fitted on all the *other* patients.

    Returns
    -------
    DataFrame or None
        The table of :func:`icans.forecast.forecast.to_frame`; None when the model cannot be estimated or the task
        does not count from infusion.
    """
    if study_task.task.anchor != "infusion" or not len(patients):
        return None
    others = cohort.subset(set(cohort.patient_ids) - set(patients))
    model = final_model(others, study_task, section, rung, seed, executor)
    if model is None:
        return None
    made = []
    for landmark in study_task.landmarks_h:
        made += model.forecast(cohort, landmark, list(patients))[0]
    return to_frame(made) if made else None
