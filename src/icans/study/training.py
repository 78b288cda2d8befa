"""``icans train``: a cohort in, one model file out, with how it was validated and what the audit said inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import ConfigError, NotEstimableError, Problem
from icans.core.execute import Executor, opened
from icans.core.progress import stage
from icans.evaluate.audit import Audit, audit_task
from icans.evaluate.performance import measure
from icans.forecast.catalogue import Recipe, recipe, recipes
from icans.forecast.crossval import CrossValidation, Design, cross_validate
from icans.forecast.envelope import GROUPS, LEAST_EVENTS, LEAST_PATIENTS
from icans.forecast.final import REFITS, FinalModel, fit_final
from icans.forecast.model_file import with_card, write_model
from icans.forecast.outcomes import outcome_table
from icans.study.assemble import nearest_cell
from icans.study.config import Study
from icans.study.forecasts import feature_spec, steps_of
from icans.study.group_spread import group_spreads
from icans.study.preparing import Prepared, prepare
from icans.study.tasks import StudyTask, study_tasks

#: What is kept of the internal validation.
CARD_METRICS = ("auc", "auc_within_fold", "brier_scaled", "oe", "slope", "ici")
#: The model that needs nothing: every trained one is validated beside it.
BASELINE = "prevalence"


@dataclass(frozen=True)
class Trained:
    """A trained model, where it lies, and what a reader should know first."""

    path: Path
    digest: str
    model: FinalModel
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": True, "model": str(self.path), "digest": self.digest, "task": self.model.task.name,
            "rung": self.model.rung.name, "sentences": list(self.sentences),
        }  # fmt: skip

    def text(self) -> str:
        """For people."""
        return "\n".join([*self.sentences, f"model: {self.path} ({self.digest[:16]})"])


def train_model(
    study: Study,
    *,
    model: str = "cox_last",
    task: str | None = None,
    output: Path | str | None = None,
    refits: int = REFITS,
    despite_audit: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    executor: Executor | str | None = None,
) -> Trained:
    """Train a model, validate it inside the cohort, and write it to a file.

    Parameters
    ----------
    study
        Cohort, landmarks, horizons, folds (:func:`icans.study.source.study_for`).
    model
        A name of :func:`icans.forecast.catalogue.model_names`.
    task
        A task of the study by name; None: the first (any ICANS).
    output
        The file; default ``<task>-<model>.icans``.
    refits
        Bootstrap refits behind the intervals.
    despite_audit
        Train though the leakage audit declines this cohort for the task; every forecast will say so.
    overwrite
        Replace an existing file.
    workers, executor
        Where the work is done (:func:`icans.core.execute.opened`); the results do not depend on it.

    Raises
    ------
    NotEstimableError
        Too few patients or events, or the audit declines the task.
    ConfigError
        An unknown model or task.
    FileExistsError
        The file exists.
    """
    found = _recipe(model)
    ready = prepare(study)
    chosen = _task(study_tasks(ready.cohort, study.outcome, study.forecast), task, ready.cohort)
    path = Path(output) if output is not None else Path(f"{chosen.task.name}-{model}.icans")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; give --overwrite to replace it")
    _check_size(ready.cohort, chosen)
    if executor is None and workers is None:
        executor = study.execute.executor
    with opened(executor, workers) as where:
        audit = _audited(ready, chosen, study.study.seed, where, despite_audit)
        with stage("validating inside the cohort"):
            validated = _validated(ready.cohort, chosen, found, study, where)
        with stage("training"):
            trained = _trained(ready.cohort, chosen, found, study, refits, where)
    card = _card(study, ready, audit, validated, despite_audit, chosen)
    trained = with_card(trained, card)
    digest = write_model(trained, path)
    return Trained(path, digest, replace(trained, digest=digest), _sentences(trained, card, chosen))


def _recipe(name: str) -> Recipe:
    try:
        return recipe(name)
    except KeyError as error:
        problem = Problem("train", None, "model", repr(name), "a model of the catalogue", str(error.args[0]))
        raise ConfigError([problem]) from error


def _task(tasks: Sequence[StudyTask], name: str | None, cohort: Cohort) -> StudyTask:
    possible = [t for t in tasks if t.task.anchor == "infusion"]
    if not possible:
        raise NotEstimableError(f"cohort {cohort.name!r} has no grades of the toxicity: there is nothing to learn")
    if name is None:
        return possible[0]
    for t in possible:
        if t.task.name == name:
            return t
    wanted = ", ".join(t.task.name for t in possible)
    raise ConfigError([Problem("train", None, "task", repr(name), f"one of {wanted}", "Choose one of them.")])


def _check_size(cohort: Cohort, chosen: StudyTask) -> None:
    outcome = outcome_table(cohort, chosen.task, chosen.landmarks_h)
    patients = outcome["patient_id"].nunique()
    events = outcome.loc[outcome["event"] == 1, "patient_id"].nunique()
    free = patients - events
    if patients < LEAST_PATIENTS or min(events, free) < LEAST_EVENTS:
        raise NotEstimableError(
            f"task {chosen.task.name!r}: {patients} patients, {events} with and {free} without the event; a model "
            f"needs at least {LEAST_PATIENTS} patients with {LEAST_EVENTS} of each kind. Recalibrate an existing "
            "model to these patients instead (`icans validate` says how far that goes)."
        )


def _audited(ready: Prepared, chosen: StudyTask, seed: int, executor: Executor, despite: bool) -> Audit:
    with stage("auditing for leakage"):
        found = audit_task(
            ready.delivered, ready.cohort, chosen.task, regimes=ready.harmonized.regimes, seed=seed, executor=executor
        )
    if not found.occurrence_can_be_validated and not chosen.task.cases_only and not despite:
        why = " ".join(found.reasons)
        raise NotEstimableError(
            f"the leakage audit declines {chosen.task.name!r} on cohort {ready.cohort.name!r}: {why} What may be asked "
            f"of it: {', '.join(found.recommended_tasks) or 'nothing'}. To train nevertheless, and have every forecast "
            "say so, give --despite-audit."
        )
    return found


def _validated(cohort: Cohort, chosen: StudyTask, found: Recipe, study: Study, executor: Executor) -> CrossValidation:
    names = [BASELINE, *([found.name] if found.name != BASELINE else [])]
    rungs, blocks = recipes(names)
    section = study.forecast
    design = Design(
        landmarks_h=chosen.landmarks_h, horizons=chosen.horizons, folds=section.folds, repeats=1, seed=study.study.seed,
        min_events=LEAST_EVENTS,
    )  # fmt: skip
    return cross_validate(
        cohort, chosen.task, rungs, design, spec=feature_spec(section, cohort), steps=steps_of(section), blocks=blocks,
        executor=executor,
    )  # fmt: skip


def _trained(
    cohort: Cohort, chosen: StudyTask, found: Recipe, study: Study, refits: int, executor: Executor
) -> FinalModel:
    design = Design(landmarks_h=chosen.landmarks_h, horizons=chosen.horizons, seed=study.study.seed)
    model = fit_final(
        cohort, chosen.task, found.rung, design, spec=feature_spec(study.forecast, cohort),
        steps=steps_of(study.forecast), blocks=found.blocks, refits=refits, executor=executor,
    )  # fmt: skip
    outcome = outcome_table(cohort, chosen.task, chosen.landmarks_h[:1])
    # A model that has effects of groups knows their spread better than raw incidences do.
    spreads = group_spreads(cohort, outcome, GROUPS) | model.envelope.group_sd
    return replace(model, envelope=replace(model.envelope, group_sd=spreads))


def _card(
    study: Study, ready: Prepared, audit: Audit, validated: CrossValidation, despite: bool, chosen: StudyTask
) -> dict[str, Any]:
    table = measure(validated.predictions, n_boot=200, seed=study.study.seed).performance()
    kept = table[table["metric"].isin(CARD_METRICS)]
    return {
        "label": chosen.label,
        "description": chosen.description,
        "cohort": ready.cohort.name,
        "source": ready.delivered.provenance.as_dict(),
        "study": study.decides(),
        "validation": _plain(kept.drop(columns=[c for c in ("task",) if c in kept])),
        "audit": {
            "declined": not audit.occurrence_can_be_validated and not chosen.task.cases_only,
            "despite": bool(despite),
            "reasons": list(audit.reasons),
        },
        "errors": sorted({str(e) for e in validated.fits["error"].dropna() if e}),
        "notes": list(validated.notes),
    }


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    clean = frame.astype(object).where(frame.notna(), None)
    return [
        {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in clean.to_dict("records")
    ]


def _sentences(model: FinalModel, card: dict[str, Any], chosen: StudyTask) -> tuple[str, ...]:
    patients, events, _ = model.training
    start = "SYNTHETIC training data. " if model.synthetic else ""
    said = [f"{start}{chosen.label}: {model.rung.name} trained on {patients} patients, {events} with the event."]
    rows = pd.DataFrame(card["validation"])
    mine = rows[(rows["model"] == model.rung.name) & (rows["metric"] == "auc")] if len(rows) else rows
    if len(mine):
        best = mine.loc[nearest_cell(mine)]
        said.append(
            f"Cross-validated AUROC at day {best['landmark_h'] / 24:g}, {best['horizon_h'] / 24:g} days ahead: "
            f"{best['value']:.2f} ({best['low']:.2f} to {best['high']:.2f}), {int(best['events'])} events. "
            "Inside its own cohort: it says nothing about another hospital."
        )
    for column in ("product", "site"):
        seen = model.envelope.groups[column]
        if len(seen) == 1:
            said.append(f"All training patients share one {column} ({seen[0]}); another one widens every interval.")
    if card["audit"]["declined"]:
        said.append("The leakage audit declines this task on this cohort; every forecast will say so.")
    return tuple(said)
