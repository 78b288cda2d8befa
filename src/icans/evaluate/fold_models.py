"""One model in several folds, kept: what cross-validation fits and throws away, for questions that need the fits.

The latency scenarios and the permutation importance ask the same fitted models about changed features of patients
whom they have not seen. Everything that learns from patients (steps, blocks, the model) is fitted on the training part
of each fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.evaluate.censoring import Floats
from icans.forecast.blocks import FeatureBlock, FittedBlock, with_blocks
from icans.forecast.dataset import CohortStep, Examples, FittedStep, examples_for
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.inputs import Inputs, history
from icans.forecast.ladder import FittedRung, Rung
from icans.forecast.outcomes import Horizon, Task, landmark_times, outcome_table
from icans.forecast.tuning import ever_event, patient_folds


@dataclass(frozen=True)
class FoldModel:
    """A fitted model with what it sees of the patients whom it has not seen in training.

    ``outcome`` and ``inputs`` are of the same rows; ``steps`` and ``blocks`` were fitted on its training patients.
    """

    fitted: FittedRung
    outcome: pd.DataFrame
    inputs: Inputs
    steps: tuple[FittedStep, ...] = ()
    blocks: tuple[FittedBlock, ...] = ()

    def at(self, landmark_h: float) -> FoldModel:
        """The same with the rows of one landmark."""
        mine = self.outcome["landmark_h"].to_numpy(dtype=float) == landmark_h
        return replace(self, outcome=self.outcome[mine].reset_index(drop=True), inputs=self.inputs[mine])


@dataclass(frozen=True)
class FoldModels:
    """Fitted models of one rung, one for each fold.

    Attributes
    ----------
    task, rung, spec, horizon
        What they forecast, which rung they are, from which features, how far.
    models
        One for each fold; every row of the risk sets belongs to one of them.
    """

    task: Task
    rung: Rung
    spec: FeatureSpec
    horizon: Horizon
    models: tuple[FoldModel, ...]

    def at(self, landmark_h: float) -> FoldModels:
        """The same with the rows of one landmark."""
        return replace(self, models=tuple(model.at(landmark_h) for model in self.models))

    def risks(self, inputs: Sequence[Inputs] | None = None) -> list[Floats]:
        """Forecasts of each fold's patients; from other inputs for the same rows, where they are given."""
        given = [model.inputs for model in self.models] if inputs is None else inputs
        return [
            model.fitted.predict(one, self.horizon) if len(one) else np.empty(0)
            for model, one in zip(self.models, given, strict=True)
        ]

    def predictions(self, risks: Sequence[Floats] | None = None) -> pd.DataFrame:
        """The forecasts as a prediction table (:mod:`icans.evaluate.tables`)."""
        frames = []
        for fold, (model, risk) in enumerate(zip(self.models, risks or self.risks(), strict=True)):
            window = self.horizon.window(model.outcome["landmark_h"].to_numpy(dtype=float))
            frame = model.outcome.assign(horizon_h=window, fold=fold, risk=risk)
            frames.append(frame[window > 0])
        joined = pd.concat(frames, ignore_index=True)
        return joined.assign(task=self.task.name, model=self.rung.name, repeat=0)

    def inputs_of(self, cohort: Cohort) -> list[Inputs]:
        """What each fold's model sees of its patients in another version of the cohort (results that came later)."""
        if any(model.steps or model.blocks for model in self.models):
            return [self._again(cohort, model) if len(model.outcome) else model.inputs for model in self.models]
        # Features that depend on the patient alone are made for all folds at once.
        rows = pd.concat([model.outcome for model in self.models], ignore_index=True)
        at_h = np.concatenate([model.inputs.at_h for model in self.models])
        every = _inputs(cohort, rows, at_h, self.spec, (), (), self.rung.uses_history)
        ends = np.cumsum([len(model.outcome) for model in self.models])
        return [every[np.arange(end - len(m.outcome), end)] for m, end in zip(self.models, ends, strict=True)]

    def _again(self, cohort: Cohort, model: FoldModel) -> Inputs:
        mine = cohort.subset(sorted(set(model.outcome["patient_id"])))
        return _inputs(
            mine, model.outcome, model.inputs.at_h, self.spec, model.steps, model.blocks, self.rung.uses_history
        )


def _inputs(
    cohort: Cohort, outcome: pd.DataFrame, at_h: Floats, spec: FeatureSpec, steps: Sequence[FittedStep],
    blocks: Sequence[FittedBlock], stream_too: bool,
) -> Inputs:  # fmt: skip
    for step in steps:
        cohort = step.apply(cohort)
    table = features_at(cohort, outcome[["patient_id", "landmark_h"]], at_h, spec)
    table = with_blocks(table, at_h, cohort, blocks) if blocks else table
    return Inputs(table, at_h, history(cohort, spec) if stream_too else None)


def fold_models(
    cohort: Cohort,
    task: Task,
    rung: Rung,
    horizon: Horizon,
    landmarks_h: Sequence[float],
    *,
    spec: FeatureSpec | None = None,
    steps: Sequence[CohortStep] = (),
    blocks: Sequence[FeatureBlock] = (),
    folds: int = 5,
    seed: int = 0,
    executor: Executor | None = None,
) -> FoldModels:
    """Fit a rung in every fold of one cross-validation (patients kept together, stratified by outcome).

    Raises
    ------
    NotEstimableError
        The rung cannot be estimated in a fold.
    """
    spec = (spec or FeatureSpec()).resolve(cohort)
    outcome = outcome_table(cohort, task, landmarks_h)
    fold = outcome["patient_id"].map(patient_folds(ever_event(outcome), folds, stream(seed, "fold models"))).to_numpy()
    # Without steps that learn, a patient's features depend on that patient only and are made once.
    shared = None if steps else examples_for(cohort, task, outcome, spec, stream=rung.uses_history)
    needed = cohort if steps or blocks else None
    at_h = landmark_times(cohort, task, outcome).to_numpy(dtype=float) if shared is None else shared.inputs.at_h
    work = [
        _Work(rung, horizon, seed, k, outcome, fold, at_h, spec, shared, needed, tuple(steps), tuple(blocks))
        for k in sorted(set(fold.tolist()))
    ]
    models = (executor or Serial()).map(_fit, work, f"folds of {rung.name}")
    return FoldModels(task, rung, spec, horizon, tuple(models))


@dataclass(frozen=True)
class _Work:
    rung: Rung
    horizon: Horizon
    seed: int
    number: int
    outcome: pd.DataFrame
    fold: np.ndarray
    at_h: Floats
    spec: FeatureSpec
    shared: Examples | None
    cohort: Cohort | None
    steps: tuple[CohortStep, ...]
    blocks: tuple[FeatureBlock, ...]


def _fit(work: _Work) -> FoldModel:
    train, test = work.fold != work.number, work.fold == work.number
    seen, asked = (work.outcome[mask].reset_index(drop=True) for mask in (train, test))
    fitted_steps: list[FittedStep] = []
    fitted_blocks: list[FittedBlock] = []
    parts = {}
    if work.cohort is not None:
        training = work.cohort.subset(sorted(set(seen["patient_id"])))
        for step in work.steps:
            fitted_steps.append(step.fit(training))
            training = fitted_steps[-1].apply(training)
        fitted_blocks = [block.fit(training, work.seed + work.number) for block in work.blocks]
    make = partial(_inputs, spec=work.spec, steps=fitted_steps, blocks=fitted_blocks,
                   stream_too=work.rung.uses_history)  # fmt: skip
    for name, mask, rows in (("train", train, seen), ("test", test, asked)):
        if work.cohort is None:
            assert work.shared is not None  # fold_models made one or the other
            parts[name] = work.shared.inputs[mask]
        else:
            parts[name] = make(work.cohort.subset(sorted(set(rows["patient_id"]))), rows, work.at_h[mask])
    try:
        fitted = work.rung.fit(parts["train"], seen, [work.horizon], work.seed)
    except NotEstimableError as error:
        raise NotEstimableError(f"fold {work.number} of {work.rung.name}: {error}") from error
    return FoldModel(fitted, asked, parts["test"], tuple(fitted_steps), tuple(fitted_blocks))
