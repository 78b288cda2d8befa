"""Optimism of the declared model: Harrell's bootstrap with the whole procedure refitted, beside cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor
from icans.evaluate.bootstrap import optimism_corrected
from icans.evaluate.brier import ipcw_scaled_brier
from icans.evaluate.calibration import calibration
from icans.evaluate.discrimination import cumulative_dynamic_auc
from icans.forecast.dataset import examples
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import FittedRung, Rung
from icans.forecast.outcomes import Horizon
from icans.report.model import Headline
from icans.study.config import ForecastSection
from icans.study.forecasts import TaskForecasts, feature_spec

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]


def optimism_table(
    cohort: Cohort,
    cells: Sequence[tuple[TaskForecasts, Headline]],
    section: ForecastSection,
    rung: Rung,
    resamples: int,
    seed: int,
    executor: Executor,
) -> pd.DataFrame:
    """Apparent and corrected performance of a rung in one cell of each task.

    Parameters
    ----------
    cells
        Each task with the landmark and horizon that is judged; the model is fitted on all landmarks of the task.
    resamples
        Resamples of patients; the procedure, inner choices included, is refitted in each.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, metric, apparent, optimism, corrected, low, high, n_boot, degenerate.
    """
    frames = []
    for forecast, cell in cells:
        task = forecast.study_task
        data = examples(cohort, task.task, task.landmarks_h, feature_spec(section, cohort))
        horizon = Horizon(cell.horizon_h)
        fit = _Fit(rung, data.inputs, data.outcome, horizon, seed)
        metrics = _Metrics(data.outcome, cell.landmark_h, cell.horizon_h)
        try:
            found = optimism_corrected(
                fit, metrics, data.outcome["patient_id"], n_boot=resamples, seed=seed, executor=executor
            )
        except NotEstimableError:
            continue
        place = {"task": forecast.name, "model": rung.name, "landmark_h": cell.landmark_h, "horizon_h": cell.horizon_h}
        frames.append(found.table.assign(**place)[[*place, *found.table.columns]])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


@dataclass(frozen=True)
class _Fit:
    """The procedure: fits a rung on rows of the stacked risk sets (repeats allowed)."""

    rung: Rung
    inputs: Inputs
    outcome: pd.DataFrame
    horizon: Horizon
    seed: int

    def __call__(self, rows: Rows) -> Callable[[Rows], Floats]:
        outcome = self.outcome.iloc[rows].reset_index(drop=True)
        model = self.rung.fit(self.inputs[rows], outcome, [self.horizon], self.seed)
        return _Predict(model, self.inputs, self.horizon)


@dataclass(frozen=True)
class _Predict:
    model: FittedRung
    inputs: Inputs
    horizon: Horizon

    def __call__(self, rows: Rows) -> Floats:
        return self.model.predict(self.inputs[rows], self.horizon)


@dataclass(frozen=True)
class _Metrics:
    """Discrimination, accuracy and calibration at one landmark."""

    outcome: pd.DataFrame
    landmark_h: float
    horizon_h: float

    def __call__(self, rows: Rows, risk: Floats) -> Mapping[str, float]:
        part = self.outcome.iloc[rows]
        here = (part["landmark_h"] == self.landmark_h).to_numpy()
        time, event = part["time_h"].to_numpy()[here], part["event"].to_numpy()[here]
        try:
            numbers = calibration(time, event, risk[here], self.horizon_h)
            return {
                "auc": float(cumulative_dynamic_auc(time, event, risk[here], self.horizon_h)),
                "brier_scaled": float(ipcw_scaled_brier(time, event, risk[here], self.horizon_h)),
                "oe": float(numbers.oe),
                "slope": float(numbers.slope),
            }
        except NotEstimableError:
            return dict.fromkeys(("auc", "brier_scaled", "oe", "slope"), float("nan"))
