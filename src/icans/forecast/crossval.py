"""Cross-validation of the ladder, patients kept together, everything refitted in every fold.

The unit of work is a fold: all rungs are fitted on its training patients and predict its held-out ones. Folds are
independent, so they run under any executor, and finished ones are stored when a folder is given: a run that was
stopped goes on where it was. The inner choice of settings (penalty, number of trees) sees training patients only.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import ConfigError, NotEstimableError, Problem
from icans.core.execute import Executor, Serial
from icans.core.provenance import package_version
from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.forecast.blocks import FeatureBlock, with_blocks
from icans.forecast.dataset import CohortStep, Examples, cells, end_of_support, examples_for, table_digest
from icans.forecast.features import FeatureSpec
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import Rung
from icans.forecast.outcomes import DEFAULT_HORIZONS, DEFAULT_LANDMARKS_H, Horizon, Task, outcome_table
from icans.forecast.tuning import ever_event, patient_folds

PREDICTION_COLUMNS = [
    "task", "model", "landmark_h", "horizon_h", "repeat", "fold", "patient_id", "risk", "time_h", "event",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Design:
    """How models are trained and judged.

    Parameters
    ----------
    landmarks_h, horizons
        Where forecasts are made and how far they look.
    folds, repeats, seed
        Patient-grouped folds, stratified by outcome, dealt anew in each repeat.
    min_events
        A landmark and horizon with fewer events (or fewer patients known to be free of it) is not judged. With
        10 the standard error of an AUC near 0.75 is about 0.08, the largest that still tells it from 0.5.
    leave_one_out_by
        Instead of random folds, leave out one ``site``, ``product``, ``source`` (columns of the patients table)
        or ``batch`` (each patient's most frequent batch) at a time.
    end_at_support
        A horizon "to day 30" that follow-up does not support is replaced by the last day that it does.
    """

    landmarks_h: tuple[float, ...] = DEFAULT_LANDMARKS_H
    horizons: tuple[Horizon, ...] = DEFAULT_HORIZONS
    folds: int = 5
    repeats: int = 3
    seed: int = 1
    min_events: int = 10
    leave_one_out_by: str | None = None
    end_at_support: bool = True


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation gives.

    Attributes
    ----------
    predictions
        The tidy prediction table (``PREDICTION_COLUMNS``), only cells that are judged.
    cells
        Every landmark and horizon with its counts, and the reason where it is not judged.
    fits
        task, model, repeat, fold, parameters, and ``settings`` (text) of every fit; ``error`` where there was
        none.
    folds
        repeat, fold, patient_id, and ``group`` (the site left out, or "").
    horizons
        The horizons in use, replacements included.
    notes
        What a reader must know (replaced horizons, groups that were left out ...).
    """

    predictions: pd.DataFrame
    cells: pd.DataFrame
    fits: pd.DataFrame
    folds: pd.DataFrame
    horizons: tuple[Horizon, ...]
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> pd.DataFrame:
        """Landmarks and horizons that are not judged, each with the reason."""
        return self.cells[self.cells["reason"] != ""].reset_index(drop=True)


@dataclass(frozen=True)
class _Job:
    """One fold, with all it needs (it may run in another process)."""

    task: Task
    rungs: tuple[Rung, ...]
    horizons: tuple[Horizon, ...]
    seed: int
    repeat: int
    fold: int
    test_ids: frozenset[str]
    outcome: pd.DataFrame
    inputs: Inputs | None
    cohort: Cohort | None
    spec: FeatureSpec
    steps: tuple[CohortStep, ...] = field(default=())
    blocks: tuple[FeatureBlock, ...] = field(default=())

    def run(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Predictions of the held-out patients and a line for every fit."""
        train, test = self._examples()
        predictions, fits = [], []
        for rung in self.rungs:
            line: dict[str, object] = {"task": self.task.name, "model": rung.name, "repeat": self.repeat}
            line |= {"fold": self.fold, "parameters": np.nan, "settings": "", "error": ""}
            try:
                model = rung.fit(train.inputs, train.outcome, self.horizons, self._seed(rung))
            except NotEstimableError as error:
                fits.append({**line, "error": str(error)})
                continue
            chosen = "; ".join(f"{name} = {value:.4g}" for name, value in model.settings().items())
            fits.append({**line, "parameters": float(model.parameters), "settings": chosen})
            for horizon in self.horizons:
                window = horizon.window(test.outcome["landmark_h"].to_numpy(dtype=float))
                risk = model.predict(test.inputs, horizon)
                predictions.append(test.outcome.assign(model=rung.name, horizon_h=window, risk=risk))
        frame = pd.concat(predictions, ignore_index=True) if predictions else test.outcome.iloc[:0]
        return frame.assign(task=self.task.name, repeat=self.repeat, fold=self.fold), pd.DataFrame(fits)

    def _seed(self, rung: Rung) -> int:
        return int(stream(self.seed, "fit", rung.name, self.repeat, self.fold).integers(2**31 - 1))

    def _examples(self) -> tuple[Examples, Examples]:
        held_out = self.outcome["patient_id"].isin(self.test_ids).to_numpy()
        train, test = (self.outcome[mask].reset_index(drop=True) for mask in (~held_out, held_out))
        if self.cohort is None:
            if self.inputs is None:
                raise ValueError("a fold needs inputs or a cohort")
            return Examples(self.inputs[~held_out], train), Examples(self.inputs[held_out], test)
        training = self.cohort.subset([p for p in self.cohort.patient_ids if p not in self.test_ids])
        testing = self.cohort.subset(sorted(self.test_ids))
        for step in self.steps:
            fitted = step.fit(training)
            training, testing = fitted.apply(training), fitted.apply(testing)
        if self.inputs is not None and not self.steps:
            seen, asked = Examples(self.inputs[~held_out], train), Examples(self.inputs[held_out], test)
        else:
            history = any(rung.uses_history for rung in self.rungs)
            seen = examples_for(training, self.task, train, self.spec, stream=history)
            asked = examples_for(testing, self.task, test, self.spec, stream=history)
        return self._with_blocks(seen, asked, training, testing)

    def _with_blocks(
        self, seen: Examples, asked: Examples, training: Cohort, testing: Cohort
    ) -> tuple[Examples, Examples]:
        if not self.blocks:
            return seen, asked
        seed = int(stream(self.seed, "blocks", self.repeat, self.fold).integers(2**31 - 1))
        fitted = [block.fit(training, seed) for block in self.blocks]
        widened = []
        for data, cohort in ((seen, training), (asked, testing)):
            table = with_blocks(data.table, data.inputs.at_h, cohort, fitted)
            widened.append(Examples(replace(data.inputs, table=table), data.outcome))
        return widened[0], widened[1]


def cross_validate(
    cohort: Cohort,
    task: Task,
    rungs: Sequence[Rung],
    design: Design | None = None,
    *,
    spec: FeatureSpec | None = None,
    steps: Sequence[CohortStep] = (),
    blocks: Sequence[FeatureBlock] = (),
    executor: Executor | None = None,
    folder: Path | str | None = None,
) -> CrossValidation:
    """Predictions of every rung for patients that its fit has not seen.

    Parameters
    ----------
    cohort
        Harmonised cohort.
    task, rungs, design, spec
        What to forecast, with which models, how to judge, and from which features.
    steps
        Steps that learn from a cohort (batch correction ...); they are fitted on the training patients of each
        fold, and features are then made anew.
    blocks
        Blocks of features that learn from patients (the mechanistic block ...), fitted on the training patients of
        each fold likewise.
    executor
        Where folds run.
    folder
        Where finished folds are kept; a second call with the same inputs reads them back.

    Raises
    ------
    NotEstimableError
        No landmark and horizon has enough events to be judged.
    ConfigError
        ``leave_one_out_by`` names nothing that tells patients apart.
    """
    design = design or Design()
    outcome = outcome_table(cohort, task, design.landmarks_h)
    if outcome.empty:
        raise NotEstimableError(f"task {task.name!r}: nobody is at risk at any landmark")
    horizons, notes = horizons_for(outcome, design)
    counts = cells(outcome, horizons, design.min_events)
    if (counts["reason"] != "").all():
        best = counts.loc[counts["events"].idxmax()]
        raise NotEstimableError(
            f"task {task.name!r}: no landmark and horizon can be judged; the most events ({best['events']} among "
            f"{best['at_risk']} at risk, {best['free']} known to be free) are at day {best['landmark_h'] / 24:g} over "
            f"{best['horizon']}: {best['reason']}"
        )
    spec = (spec or FeatureSpec()).resolve(cohort)
    judged = set(counts.loc[counts["reason"] == "", "position"])
    horizons = tuple(h for k, h in enumerate(horizons) if k in judged)
    plan, more = _plan(cohort, outcome, design)
    jobs = _jobs(cohort, task, tuple(rungs), horizons, design, spec, tuple(steps), tuple(blocks), outcome, plan)
    results = _run(jobs, executor or Serial(), folder)
    fits = pd.concat([fit for _, fit in results], ignore_index=True)
    predictions = _judged([frame for frame, _ in results if len(frame)], counts)
    return CrossValidation(predictions, counts.assign(task=task.name), fits, plan, horizons, (*notes, *more))


def horizons_for(outcome: pd.DataFrame, design: Design) -> tuple[tuple[Horizon, ...], list[str]]:
    """The design's horizons, those "to day x" cut to what follow-up supports, and notes on what was cut."""
    limit = end_of_support(outcome, design.min_events)
    kept: list[Horizon] = []
    notes = []
    for horizon in design.horizons:
        moved = horizon
        if design.end_at_support and horizon.until and horizon.hours > limit:
            moved = Horizon(limit, until=True)
            notes.append(
                f"follow-up does not reach {horizon.label.removeprefix('to ')} for enough patients; "
                f"forecasts look {moved.label} instead"
            )
        if moved not in kept:
            kept.append(moved)
    return tuple(kept), notes


def _plan(cohort: Cohort, outcome: pd.DataFrame, design: Design) -> tuple[pd.DataFrame, list[str]]:
    """Fold of every patient in every repeat."""
    strata = ever_event(outcome)
    if design.leave_one_out_by is not None:
        return _leave_one_out(cohort, strata, design.leave_one_out_by)
    frames = []
    for repeat in range(design.repeats):
        fold = patient_folds(strata, design.folds, stream(design.seed, "folds", repeat))
        frames.append(pd.DataFrame({"repeat": repeat, "fold": fold.to_numpy(), "patient_id": fold.index, "group": ""}))
    return pd.concat(frames, ignore_index=True), []


def _leave_one_out(cohort: Cohort, strata: pd.Series, by: str) -> tuple[pd.DataFrame, list[str]]:
    if by == "batch":
        rows = cohort.measurements.dropna(subset=["batch"]).groupby("patient_id")["batch"]
        label = rows.agg(lambda values: values.mode().iloc[0])
    elif by in cohort.patients.columns:
        label = cohort.patients.set_index("patient_id")[by]
    else:
        label = pd.Series(dtype=object)
    label = label.reindex(strata.index)
    names = sorted(label.dropna().unique(), key=str)
    if len(names) < 2:
        wanted = "at least two different values among the patients"
        raise ConfigError([Problem("patients", None, by, f"{len(names)} values", wanted, "Choose another column.")])
    notes = []
    if label.isna().any():
        notes.append(f"{int(label.isna().sum())} patients have no {by}; they train every fold and are never held out")
    number = {name: k for k, name in enumerate(names)}
    known = label.dropna()
    plan = pd.DataFrame(
        {
            "repeat": 0,
            "fold": known.map(number).to_numpy(dtype=int),
            "patient_id": known.index,
            "group": known.to_numpy(),
        }
    )
    return plan, notes


def _jobs(
    cohort: Cohort,
    task: Task,
    rungs: tuple[Rung, ...],
    horizons: tuple[Horizon, ...],
    design: Design,
    spec: FeatureSpec,
    steps: tuple[CohortStep, ...],
    blocks: tuple[FeatureBlock, ...],
    outcome: pd.DataFrame,
    plan: pd.DataFrame,
) -> list[_Job]:
    # Without steps that learn, a patient's features depend on that patient only and are made once.
    history = any(rung.uses_history for rung in rungs)
    inputs = None if steps else examples_for(cohort, task, outcome, spec, stream=history).inputs
    return [
        _Job(
            task=task, rungs=rungs, horizons=horizons, seed=design.seed, repeat=int(repeat), fold=int(fold),
            test_ids=frozenset(group["patient_id"]), outcome=outcome, inputs=inputs,
            cohort=cohort if steps or blocks else None, spec=spec, steps=steps, blocks=blocks,
        )
        for (repeat, fold), group in plan.groupby(["repeat", "fold"], sort=True)
    ]  # fmt: skip


def _run(jobs: list[_Job], executor: Executor, folder: Path | str | None) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    if folder is None:
        return executor.map(_run_job, jobs, "cross-validation")
    store = Checkpoints(Path(folder), [package_version()])
    return executor.map(_Stored(store), jobs, "cross-validation")


def _run_job(job: _Job) -> tuple[pd.DataFrame, pd.DataFrame]:
    return job.run()


@dataclass(frozen=True)
class _Stored:
    """Runs a fold, or reads it back (a picklable function)."""

    store: Checkpoints

    def __call__(self, job: _Job) -> tuple[pd.DataFrame, pd.DataFrame]:
        name = f"{job.task.name}-r{job.repeat}-f{job.fold}"
        return self.store.step(name, job.run, _fingerprint(job))


def _fingerprint(job: _Job) -> str:
    """What decides a fold's result."""
    digest = hashlib.sha256()
    plain = [
        job.rungs,
        job.steps,
        job.blocks,
        job.horizons,
        asdict(job.task),
        asdict(job.spec),
        job.seed,
        sorted(job.test_ids),
    ]
    for part in plain:
        digest.update(pickle.dumps(part))
    frames = [job.outcome] if job.inputs is None else [job.outcome, job.inputs.table]
    if job.inputs is not None and job.inputs.history is not None:
        frames.append(job.inputs.history.frame())
    if job.cohort is not None:
        frames += [job.cohort.table(name) for name in ("patients", "measurements", "treatments", "grades", "events")]
    digest.update(table_digest(frames).encode())
    return digest.hexdigest()


def _judged(frames: list[pd.DataFrame], counts: pd.DataFrame) -> pd.DataFrame:
    """Predictions of judged cells, in a fixed order."""
    if not frames:
        return pd.DataFrame(columns=PREDICTION_COLUMNS)
    predictions = pd.concat(frames, ignore_index=True)
    good = counts.loc[counts["reason"] == "", ["landmark_h", "horizon_h"]].drop_duplicates()
    kept = predictions.merge(good, on=["landmark_h", "horizon_h"])[PREDICTION_COLUMNS]
    # Two horizons may look equally far from a landmark ("7 d" and "to day 7" on day 0): one line is enough.
    keys = ["task", "model", "landmark_h", "horizon_h", "repeat", "fold", "patient_id"]
    return kept.drop_duplicates(keys).sort_values(keys, ignore_index=True)
