"""``icans validate`` and ``icans compare``: trained models on patients that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import ConfigError, DataError, NotEstimableError, Problem
from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, atomic_path, write_json
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.evaluate.audit import Audit, audit_task
from icans.evaluate.closed_testing import closed_test
from icans.evaluate.subgroups import group_labels, subgroup_table
from icans.forecast.crossval import PREDICTION_COLUMNS
from icans.forecast.dataset import cells, examples_for
from icans.forecast.envelope import total_sd
from icans.forecast.final import FinalModel
from icans.forecast.model_file import read_model
from icans.forecast.outcomes import DEFAULT_LANDMARKS_H, outcome_table
from icans.report.model import ReportData, RunInfo, Task
from icans.report.validation_page import ValidationPage, validation_page
from icans.study.assemble import nearest_cell, report_audit
from icans.study.config import EvaluateSection
from icans.study.judge import Judgement, judge
from icans.study.preparing import prepare
from icans.study.source import study_for

#: Fewest events, and patients free of it, for a landmark and horizon to be judged.
LEAST = 10


@dataclass(frozen=True)
class Validated:
    """What a validation found.

    Attributes
    ----------
    predictions
        The tidy prediction table.
    judgement
        Metrics with intervals, paired differences from the first model, calibration and decision curves.
    recalibration, subgroups, novelty
        What a closed test of recalibration chooses; groups of patients; how many patients are new to a model, and how.
    cells
        Landmarks and horizons with counts, and why some are not judged.
    audit
        The leakage audit of these patients.
    """

    models: tuple[FinalModel, ...]
    names: tuple[str, ...]
    cohort: Cohort
    predictions: pd.DataFrame
    judgement: Judgement
    recalibration: pd.DataFrame
    subgroups: pd.DataFrame
    novelty: pd.DataFrame
    cells: pd.DataFrame
    audit: Audit | None = None
    folder: Path | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a reader should know first."""
        said = []
        for name in self.predictions["model"].unique():
            rows = self.judgement.performance
            rows = rows[rows["model"] == name]
            auc = rows.loc[nearest_cell(rows[rows["metric"] == "auc"])]
            cell = rows[(rows["landmark_h"] == auc["landmark_h"]) & (rows["horizon_h"] == auc["horizon_h"])]
            slope, oe = (cell[cell["metric"] == metric].iloc[0] for metric in ("slope", "oe"))
            said.append(
                f"{name}: at day {auc['landmark_h'] / 24:g}, {auc['horizon_h'] / 24:g} days ahead, AUROC {_said(auc)}, "
                f"calibration slope {_said(slope)}, observed/expected {_said(oe)} ({int(auc['events'])} events in "
                f"{int(auc['n'])} patients)."
            )
        return tuple(said)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": True, "folder": None if self.folder is None else str(self.folder),
                "sentences": list(self.sentences)}  # fmt: skip

    def text(self) -> str:
        """For people."""
        page = [] if self.folder is None else [f"page: {self.folder / 'validation.html'}"]
        return "\n".join([*self.sentences, *page])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table that is written, by name."""
        own = {name: getattr(self, name) for name in ("predictions", "recalibration", "subgroups", "novelty", "cells")}
        return {name: table for name, table in (own | vars(self.judgement)).items() if len(table)}


def _said(row: pd.Series) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def validate_models(
    files: Sequence[Path | str],
    target: str,
    *,
    output: Path | str | None = None,
    overwrite: bool = False,
    bootstrap: int = 500,
    seed: int = 0,
    workers: int | None = None,
    executor: Executor | str | None = None,
) -> Validated:
    """Judge one or more trained models on a cohort.

    Parameters
    ----------
    files
        Model files of one task; differences are taken from the first.
    target
        The cohort, as for ``icans run``.
    output
        Folder for tables and the page; None: none is written.
    bootstrap, seed
        Resamples of patients behind the intervals.
    workers, executor
        Where the work is done (:func:`icans.core.execute.opened`); the results do not depend on it.

    Raises
    ------
    ConfigError
        Models of different tasks.
    NotEstimableError
        No landmark and horizon has enough events, or the patients trained a model.
    DataError
        A model file or the cohort has problems.
    """
    models = tuple(read_model(file) for file in files)
    _same_task(models, files)
    ready = prepare(study_for(target))
    cohort = ready.cohort
    _check_units(models, cohort)
    with stage("forecasting"):
        names = _names(models)
        counts, predictions, novelty = _predicted(models, names, cohort)
    with opened(executor, workers) as where:
        with stage("auditing for leakage"):
            audit = audit_task(
                ready.delivered, cohort, models[0].task, regimes=ready.harmonized.regimes, seed=seed, executor=where
            )
        with stage("judging"):
            found = _judged(models, names, cohort, counts, predictions, novelty, bootstrap, seed, where)
            found = replace(found, audit=audit)
    if output is None:
        return found
    folder = Path(output)
    with stage("page"), atomic_folder(folder, overwrite=overwrite) as temporary:
        _write(temporary, found, [str(f) for f in files], target, seed)
    return replace(found, folder=folder)


def _same_task(models: Sequence[FinalModel], files: Sequence[Path | str]) -> None:
    first = models[0].task
    wanted = f"a model of task {first.name!r} (>= {first.threshold:g} {first.toxicity})"
    problems = [
        Problem(str(file), None, "task", model.task.name, wanted, "Compare models of one task.")
        for model, file in zip(models, files, strict=True)
        if replace(model.task, name=first.name) != first
    ]
    if problems:
        raise ConfigError(problems)


def _check_units(models: Sequence[FinalModel], cohort: Cohort) -> None:
    problems = {str(p): p for model in models for p in model.envelope.unit_problems(cohort)}
    if problems:
        raise DataError(problems.values())


def _names(models: Sequence[FinalModel]) -> list[str]:
    """The rungs' names, numbered where two are alike."""
    plain = [m.rung.name for m in models]
    return [n if plain.count(n) == 1 else f"{n} ({plain[: k + 1].count(n)})" for k, n in enumerate(plain)]


def _predicted(
    models: Sequence[FinalModel], names: Sequence[str], cohort: Cohort
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    task = models[0].task
    low = max(m.envelope.landmarks_h[0] for m in models)
    high = min(m.envelope.landmarks_h[1] for m in models)
    landmarks = [hour for hour in DEFAULT_LANDMARKS_H if low <= hour <= high] or [low]
    outcome = outcome_table(cohort, task, landmarks)
    if outcome.empty:
        raise NotEstimableError(f"task {task.name!r}: nobody of cohort {cohort.name!r} is at risk at any landmark")
    horizons = [h for h in models[0].horizons if all(h in m.horizons for m in models)]
    counts = cells(outcome, horizons, LEAST)
    if (counts["reason"] != "").all():
        most = counts.loc[counts["events"].idxmax()]
        raise NotEstimableError(
            f"task {task.name!r}: no landmark and horizon of cohort {cohort.name!r} can be judged; at most "
            f"{most['events']} events and {most['free']} free of it, {LEAST} of each are needed"
        )
    frames, notes = [], []
    for model, name in zip(models, names, strict=True):
        seen = cohort
        for step in model.steps:
            seen = step.apply(seen)
        data = examples_for(seen, task, outcome, model.spec, blocks=model.blocks, stream=model.rung.uses_history)
        for horizon in horizons:
            window = horizon.window(outcome["landmark_h"].to_numpy(dtype=float))
            risk = model.fitted.predict(data.inputs, horizon)
            frames.append(outcome.assign(task=task.name, model=name, horizon_h=window, repeat=0, fold=0, risk=risk))
        notes.append(_novelty(model, name, seen, data.table))
    good = counts.loc[counts["reason"] == "", ["landmark_h", "horizon_h"]].drop_duplicates()
    table = pd.concat(frames, ignore_index=True).merge(good, on=["landmark_h", "horizon_h"])[PREDICTION_COLUMNS]
    keys = ["task", "model", "landmark_h", "horizon_h", "patient_id"]
    return counts, table.drop_duplicates(keys).sort_values(keys, ignore_index=True), pd.concat(notes)


def _novelty(model: FinalModel, name: str, cohort: Cohort, table: pd.DataFrame) -> pd.DataFrame:
    """How many patients are new to the model, and in which way, at the first landmark."""
    landmark = table.index.get_level_values("landmark_h").min()
    first = table[table.index.get_level_values("landmark_h") == landmark]
    known = cohort.available_by(float(landmark))
    notes = model.envelope.notes_of(known, first, model.used(first))
    rows = [
        {"model": name, "kind": note.kind, "about": note.about, "patient": k}
        for k, mine in enumerate(notes)
        for note in mine
        if note.kind not in ("size", "missing")
    ]
    wide = float(np.mean([total_sd(mine) > 0 for mine in notes])) if notes else 0.0
    columns = ["model", "kind", "about", "patients", "share_widened"]
    if not rows:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(rows).groupby(["model", "kind", "about"])["patient"].nunique().rename("patients").reset_index()
    return table.assign(share_widened=wide)[columns]


def _judged(
    models: Sequence[FinalModel], names: Sequence[str], cohort: Cohort, counts: pd.DataFrame,
    predictions: pd.DataFrame, novelty: pd.DataFrame, bootstrap: int, seed: int, executor: Executor,
) -> Validated:  # fmt: skip
    settings = EvaluateSection(bootstrap=bootstrap)
    judgement = judge(predictions, settings, seed, names[:1], executor)
    labels = group_labels(cohort.patients)
    groups = subgroup_table(predictions, labels, seed=seed) if labels.shape[1] else pd.DataFrame()
    return Validated(
        models=tuple(models), names=tuple(names), cohort=cohort, predictions=predictions, judgement=judgement,
        recalibration=_recalibration(predictions), subgroups=groups, novelty=novelty, cells=counts,
    )  # fmt: skip


def _recalibration(predictions: pd.DataFrame) -> pd.DataFrame:
    """What the closed test chooses in each cell: as it is, a new intercept, or intercept and slope."""
    rows = []
    keys = ["task", "model", "landmark_h", "horizon_h"]
    for place, cell in predictions.groupby(keys, sort=True):
        line = dict(zip(keys, place, strict=True))
        try:
            test = closed_test(cell["time_h"], cell["event"], cell["risk"], float(line["horizon_h"]))
        except NotEstimableError as error:
            rows.append({**line, "choice": "", "intercept": np.nan, "slope": np.nan, "reason": str(error)})
            continue
        rows.append({**line, "choice": test.choice, "intercept": test.intercept, "slope": test.slope, "reason": ""})
    return pd.DataFrame(rows)


def _write(folder: Path, found: Validated, files: Sequence[str], target: str, seed: int) -> None:
    for name, table in found.tables().items():
        labelled = table.assign(synthetic=True) if found.cohort.synthetic else table
        with atomic_path(folder / "tables" / f"{name}.parquet") as temporary:
            labelled.to_parquet(temporary, index=False)
    (folder / "validation.html").write_text(validation_page(_page(found)), encoding="utf-8")
    record = {"models": files, "digests": [m.digest for m in found.models], "cohort": target, "seed": seed, "at": now()}
    write_json(folder / "validation.json", record | {"source": found.cohort.provenance.as_dict()})


def _page(found: Validated) -> ValidationPage:
    task, judged, card = found.models[0].task, found.judgement, found.models[0].card
    data = ReportData(
        study=f"{card.get('label', task.name)} on {found.cohort.name}",
        harmonised=found.cohort,
        tasks=(Task(task.name, str(card.get("label", task.name)), str(card.get("description", ""))),),
        performance=judged.performance,
        comparisons=None if judged.comparisons.empty else judged.comparisons,
        calibration=judged.calibration, decision=judged.decision, predictions=found.predictions,
        models={name: model.rung.description for name, model in zip(found.names, found.models, strict=True)},
        audit=None if found.audit is None else report_audit(found.audit, found.audit.table.assign(task=task.name)),
        run=RunInfo(finished=now(), versions=versions()),
    )  # fmt: skip
    warnings = tuple(
        f"{name}: {' '.join(map(str, model.card['audit']['reasons']))}"
        for name, model in zip(found.names, found.models, strict=True)
        if model.card.get("audit", {}).get("declined")
    )
    if found.audit is not None and not found.audit.occurrence_can_be_validated and not task.cases_only:
        warnings += (f"{found.cohort.name} (these patients): {' '.join(found.audit.reasons)}",)
    synthetic = found.cohort.synthetic or any(model.synthetic for model in found.models)
    about = [
        f"{name}: {model.rung.description}; trained on {model.training[0]} patients, {model.training[1]} with the "
        f"event (file {model.digest[:16]})."
        for name, model in zip(found.names, found.models, strict=True)
    ]
    return ValidationPage(
        data=data, sentences=found.sentences, models=tuple(about), warnings=warnings,
        recalibration=found.recalibration, subgroups=found.subgroups, novelty=found.novelty,
        skipped=found.cells[found.cells["reason"] != ""], synthetic=synthetic,
    )  # fmt: skip
