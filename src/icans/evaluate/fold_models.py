"""One model in several folds, kept: what cross-validation fits and throws away, for questions that need the fits.

The latency scenarios and the permutation importance ask the same fitted models about changed features of patients
whom they have not seen. Everything that learns from patients is fitted on the training part of each fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.evaluate.censoring import Floats
from icans.forecast.dataset import examples_for
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.ladder import Rung
from icans.forecast.models.base import Fitted
from icans.forecast.outcomes import Horizon, Task, landmark_times, outcome_table
from icans.forecast.tuning import ever_event, patient_folds


@dataclass(frozen=True)
class FoldModel:
    """A model, and the rows of the patients whom it has not seen."""

    fitted: Fitted
    rows: np.ndarray


@dataclass(frozen=True)
class FoldModels:
    """Fitted models of one rung and the stacked risk sets that they were fitted on.

    Attributes
    ----------
    table, outcome, at_h
        Features, outcomes and hours since infusion of all rows.
    models
        One for each fold; together their rows are all rows.
    horizon
        The horizon of the forecasts.
    task, rung, spec
        What they forecast, which rung they are, from which features.
    """

    task: Task
    rung: Rung
    spec: FeatureSpec
    horizon: Horizon
    table: pd.DataFrame
    outcome: pd.DataFrame
    at_h: Floats
    models: tuple[FoldModel, ...]

    def predict(self, table: pd.DataFrame | None = None) -> Floats:
        """Risk of every row by the model that has not seen its patient; of ``table`` (same rows) instead of its own."""
        table = self.table if table is None else table
        risk = np.full(len(self.table), np.nan)
        for model in self.models:
            risk[model.rows] = model.fitted.predict(table.iloc[model.rows], self.horizon)
        return risk

    def predictions(self, risk: Floats, model: str | None = None) -> pd.DataFrame:
        """Risks as a prediction table (:mod:`icans.evaluate.tables`)."""
        fold = np.zeros(len(self.table), dtype=int)
        for number, one in enumerate(self.models):
            fold[one.rows] = number
        window = self.horizon.window(self.outcome["landmark_h"].to_numpy(dtype=float))
        frame = self.outcome.assign(
            task=self.task.name, model=model or self.rung.name, horizon_h=window, repeat=0, fold=fold, risk=risk
        )
        return frame[np.isfinite(risk) & (window > 0)].reset_index(drop=True)

    def features_of(self, cohort: Cohort) -> pd.DataFrame:
        """Features of the same rows from another version of the cohort (results that came later, for example)."""
        return features_at(cohort, self.outcome[["patient_id", "landmark_h"]], self.at_h, self.spec)


def fold_models(
    cohort: Cohort,
    task: Task,
    rung: Rung,
    horizon: Horizon,
    landmarks_h: Sequence[float],
    *,
    spec: FeatureSpec | None = None,
    folds: int = 5,
    seed: int = 0,
    executor: Executor | None = None,
) -> FoldModels:
    """Fit a rung in every fold of one cross-validation.

    Raises
    ------
    NotEstimableError
        The rung cannot be estimated in a fold.
    """
    spec = (spec or FeatureSpec()).resolve(cohort)
    outcome = outcome_table(cohort, task, landmarks_h)
    data = examples_for(cohort, task, outcome, spec)
    fold = patient_folds(ever_event(outcome), folds, stream(seed, "fold models"))
    of = outcome["patient_id"].map(fold).to_numpy()
    numbers = sorted(set(of.tolist()))
    work: Callable[[int], Fitted] = partial(_fit, rung, data.table, data.outcome, of, horizon, seed)
    fitted = (executor or Serial()).map(work, numbers, f"folds of {rung.name}")
    models = tuple(FoldModel(f, np.flatnonzero(of == k)) for k, f in zip(numbers, fitted, strict=True))
    at = landmark_times(cohort, task, outcome).to_numpy(dtype=float)
    return FoldModels(task, rung, spec, horizon, data.table, data.outcome, at, models)


def _fit(
    rung: Rung, table: pd.DataFrame, outcome: pd.DataFrame, of: np.ndarray, horizon: Horizon, seed: int, fold: int
) -> Fitted:
    train = of != fold
    try:
        return rung.model.fit(table[train], outcome[train].reset_index(drop=True), [horizon], seed)
    except NotEstimableError as error:
        raise NotEstimableError(f"fold {fold} of {rung.name}: {error}") from error
