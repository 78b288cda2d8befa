"""Forecasting in a study: every task through cross-validation, and its checks by shuffling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import ConfigError, NotEstimableError, Problem
from icans.core.execute import Executor
from icans.core.random import stream
from icans.evaluate.audit_shuffle import future_shuffled, labels_shuffled
from icans.forecast.blocks import FeatureBlock
from icans.forecast.catalogue import recipes
from icans.forecast.crossval import CrossValidation, Design, cross_validate
from icans.forecast.dataset import CohortStep, examples
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.inputs import Inputs, history
from icans.forecast.ladder import Rung, ladder
from icans.forecast.outcomes import Horizon, known_status
from icans.forecast.steps import AssayStep, BatchStep
from icans.forecast.tuning import patient_folds
from icans.study.config import ForecastSection
from icans.study.tasks import StudyTask

#: Permutations of the label check; the standard error of a mean AUROC over 10 is near 0.02 at n = 100, which is the
#: margin that the check allows.
LABEL_PERMUTATIONS = 10


@dataclass(frozen=True)
class TaskForecasts:
    """A task, its cross-validated predictions (None: not estimable, see ``reason``), and leave-one-group-out ones."""

    study_task: StudyTask
    result: CrossValidation | None
    left_out: dict[str, CrossValidation]
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.study_task.task.name


def rungs_of(names: Sequence[str] | None) -> tuple[Rung, ...]:
    """The models that a study wants (None: the ladder); see :func:`models_of`."""
    return models_of(names)[0]


def models_of(names: Sequence[str] | None) -> tuple[tuple[Rung, ...], tuple[FeatureBlock, ...]]:
    """The models that a study wants (None: the ladder), and the blocks of features that they need.

    Raises
    ------
    ConfigError
        A name that the catalogue does not have.
    """
    if names is None:
        return ladder(), ()
    try:
        return recipes(names)
    except KeyError as error:
        problem = Problem("study", None, "forecast.models", repr(names), "names that `icans models` lists",
                          str(error.args[0]))  # fmt: skip
        raise ConfigError([problem]) from error


def feature_spec(section: ForecastSection, cohort: Cohort) -> FeatureSpec:
    """Which features a study makes, written out for its cohort."""
    return FeatureSpec(missingness_features=section.allow_missingness_features).resolve(cohort)


def steps_of(section: ForecastSection) -> tuple[CohortStep, ...]:
    """Corrections that learn from patients and are refitted in every training fold."""
    known: dict[str, CohortStep] = {"batch": BatchStep(), "assay": AssayStep()}
    return tuple(known[name] for name in section.corrections)


def forecast_task(
    cohort: Cohort, study_task: StudyTask, section: ForecastSection, seed: int, executor: Executor, folder: Path
) -> TaskForecasts:
    """One task through cross-validation and, where the patients differ in it, each leave-one-group-out."""
    rungs, blocks = models_of(section.models)
    spec = feature_spec(section, cohort)
    design = _design(study_task, section, seed)
    try:
        result = cross_validate(
            cohort,
            study_task.task,
            rungs,
            design,
            spec=spec,
            steps=steps_of(section),
            blocks=blocks,
            executor=executor,
            folder=folder / "folds",
        )
    except NotEstimableError as error:
        return TaskForecasts(study_task, None, {}, str(error))
    left_out: dict[str, CrossValidation] = {}
    notes = []
    for by in section.leave_out:
        try:
            left_out[by] = cross_validate(
                cohort, study_task.task, rungs, _design(study_task, section, seed, by), spec=spec,
                steps=steps_of(section), blocks=blocks, executor=executor, folder=folder / "folds",
            )  # fmt: skip
        except (ConfigError, NotEstimableError) as error:
            notes.append(f"leave one {by} out: {error}")
    return TaskForecasts(study_task, result, left_out, notes=tuple(notes))


def shuffle_checks(
    cohort: Cohort, study_task: StudyTask, section: ForecastSection, rung: Rung, landmark_h: float, seed: int
) -> list[dict[str, object]]:
    """Rows for the audit: forecasts must ignore the future, and the procedure must find nothing in permuted labels.

    Parameters
    ----------
    rung
        The model that stands for the procedure: it is fitted, and fitted again in every fold of every permutation,
        with the penalty that the true outcomes chose. A penalty chosen anew for outcomes without signal would be the
        strongest, which hides a leak rather than shows it, and choosing takes ten times as long as fitting.
    landmark_h
        Landmark of both checks, hours from the task's anchor.
    """
    task, spec = study_task.task, without_scores(rung, feature_spec(section, cohort))
    horizon = max((h for h in study_task.horizons if not h.until), default=study_task.horizons[-1])
    data = examples(cohort, task, [landmark_h], spec, stream=rung.uses_history)
    try:
        model = rung.fit(data.inputs, data.outcome, [horizon], seed)
    except NotEstimableError:
        return []

    def forecast(other: Cohort, at_h: float) -> pd.Series:
        # Features at the landmark itself: who is a case is known of the whole record only and must not be asked anew.
        rows = data.outcome[["patient_id", "landmark_h"]]
        at = np.full(len(rows), at_h)
        stream = history(other, spec) if rung.uses_history else None
        risk = model.predict(Inputs(features_at(other, rows, at, spec), at, stream), horizon)
        return pd.Series(risk, index=data.outcome["patient_id"].to_numpy())

    rows = []
    if task.anchor == "infusion":
        rows.append(future_shuffled(forecast, cohort, landmark_h, seed=seed))
    status = known_status(
        data.outcome["time_h"].to_numpy(), data.outcome["event"].to_numpy(), float(horizon.window(landmark_h))
    )
    known = ~np.isnan(status)
    if min(status[known].sum(), (1 - status[known]).sum()) >= section.folds:
        fit_predict = _Procedure(
            with_penalty(rung, model.settings()),
            data.inputs[known],
            data.outcome[known].reset_index(drop=True),
            horizon,
            section,
            seed,
        )
        rows.append(labels_shuffled(fit_predict, status[known], repeats=LABEL_PERMUTATIONS, seed=seed))
    return rows


def without_scores(rung: Rung, spec: FeatureSpec) -> FeatureSpec:
    """The features without published scores, where the rung does not read them: scores cost more than all others."""
    columns = getattr(rung.model, "columns", None)
    if callable(columns) and not columns([f"score.{name}" for name in spec.scores or ()]):
        return replace(spec, scores=())
    return spec


def with_penalty(rung: Rung, settings: Mapping[str, float]) -> Rung:
    """The rung with its penalty fixed to the one in the settings of a fit, where it has just one to choose."""
    values = {value for name, value in settings.items() if name.startswith("penalty")}
    if len(values) != 1 or not hasattr(rung.model, "penalties"):
        return rung
    wanted = values.pop()
    nearest = min(rung.model.penalties, key=lambda p: abs(np.log(p) - np.log(wanted)) if wanted > 0 else p)
    return replace(rung, model=replace(rung.model, penalties=(nearest,)))  # type: ignore[type-var]


@dataclass(frozen=True)
class _Procedure:
    """Out-of-fold forecasts of a rung for given labels, fitted from the feature table on in each fold."""

    rung: Rung
    inputs: Inputs
    outcome: pd.DataFrame
    horizon: Horizon
    section: ForecastSection
    seed: int

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        window = float(self.horizon.window(float(self.outcome["landmark_h"].iloc[0])))
        # An event at half the window, or none seen until its end.
        outcome = self.outcome.assign(time_h=np.where(labels == 1, window / 2, window), event=labels.astype(int))
        strata = pd.Series(labels.astype(int), index=outcome["patient_id"].to_numpy())
        fold = patient_folds(strata, self.section.folds, stream(self.seed, "label folds")).to_numpy()
        risk = np.full(len(outcome), np.nan)
        for k in np.unique(fold):
            train, test = fold != k, fold == k
            model = self.rung.fit(self.inputs[train], outcome[train].reset_index(drop=True), [self.horizon], self.seed)
            risk[test] = model.predict(self.inputs[test], self.horizon)
        return risk


def _design(study_task: StudyTask, section: ForecastSection, seed: int, by: str | None = None) -> Design:
    return Design(
        landmarks_h=study_task.landmarks_h,
        horizons=study_task.horizons,
        folds=section.folds,
        repeats=section.repeats,
        seed=seed,
        leave_one_out_by=by,
    )
