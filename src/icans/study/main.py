"""The main job: cohort in, results folder with a report out. Each stage is kept, so that a stopped run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import pandas as pd

from icans.cohort.check import check_cohort
from icans.cohort.cohort import Cohort
from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, slug
from icans.core.progress import stage
from icans.core.provenance import code_digest, now
from icans.core.resume import Checkpoints
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.pipeline import Harmonized, HarmonizeSettings, harmonize
from icans.report.sections.individuals import sample as sample_patients
from icans.study.agreement import scheme_agreement
from icans.study.assemble import Findings, declared_cell, headline_of, report_data
from icans.study.auditing import audit_tasks
from icans.study.config import Study
from icans.study.folder import check_target
from icans.study.forecasts import TaskForecasts, feature_spec, forecast_task, rungs_of
from icans.study.individuals import final_model, shown_forecasts
from icans.study.judge import judge, judge_left_out
from icans.study.mechanism_value import MechanismValue, mechanism_value
from icans.study.optimism import optimism_table
from icans.study.outputs import write_outputs
from icans.study.paths import grade_paths
from icans.study.protocol import protocol
from icans.study.source import read_cohort
from icans.study.tasks import StudyTask, study_tasks
from icans.study.words import summarised

R = TypeVar("R")

#: Models that every other is compared with: the clinical rule, and the simplest model that learns.
REFERENCES = ("crs_rule", "logistic_last")
#: The model whose forecasts are shown for single patients and stand in the headline, declared before any result.
DECLARED_MODEL = "cox_last"


@dataclass(frozen=True)
class RunResult:
    """Where the results lie, and what a reader should know first."""

    folder: Path
    sentences: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": True,
            "folder": str(self.folder),
            "report": str(self.report),
            "sentences": list(self.sentences),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def text(self) -> str:
        """The result for people."""
        return "\n".join([*self.sentences, f"report: {self.report}"])


@dataclass
class _Run:
    """A run in progress: stages by name, kept under a key of everything that decides them."""

    store: Checkpoints
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, label: str, work: Callable[[], R]) -> R:
        """The stored result of a stage, or the work now; its time is kept."""
        start = perf_counter()
        with stage(label):
            result = self.store.step(name, work)
        self.seconds[name] = perf_counter() - start
        return result


def run_study(
    study: Study,
    *,
    output: Path | str | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    workers: int | None = None,
    executor: Executor | str | None = None,
) -> RunResult:
    """Run a study and write its results folder.

    Parameters
    ----------
    study
        From :func:`icans.study.config.read_study`.
    output
        Results folder; by default ``results/<name of the study>``.
    overwrite
        Replace an earlier results folder. Other folders are never replaced.
    fresh
        Forget the stages that an interrupted run has finished.
    workers
        Processes; by default every core. Results do not depend on it.
    executor
        Where the work is done instead (:func:`icans.core.execute.opened`); by default what the study says.

    Raises
    ------
    DataError
        The cohort has problems (all of them are listed); nothing is written.
    FileExistsError
        The folder exists and must not be replaced.
    """
    started = now()
    folder = Path(output) if output is not None else Path("results") / slug(study.study.name, "study")
    check_target(folder, overwrite)
    work = folder.parent / f".{folder.name}.unfinished"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    delivered = read_cohort(study.cohort, study.study.seed)
    key = [study.decides(), delivered.provenance.as_dict(), code_digest()]
    run = _Run(Checkpoints(work, key))
    if executor is None and workers is None:
        executor = study.execute.executor
    with opened(executor, workers) as where:
        found = _analyse(study, delivered, run, where, work)
        with stage("report"), atomic_folder(folder, overwrite=overwrite) as temporary:
            write_outputs(temporary, found, report_data(found, started=started, seconds=run.seconds), where)
    shutil.rmtree(work, ignore_errors=True)
    return RunResult(folder, found.sentences, run.seconds)


def _analyse(study: Study, delivered: Cohort, run: _Run, executor: Executor, work: Path) -> Findings:
    seed, section = study.study.seed, study.forecast
    rungs = {rung.name: rung for rung in rungs_of(section.models)}
    settings = HarmonizeSettings(apply=study.harmonize.apply_confidence)
    mended: Harmonized = run.stage("harmonise", "harmonising", partial(harmonize, delivered, settings))
    cohort: Cohort = run.stage("grade", "grading", partial(grade_cohort, mended.cohort))
    tasks = study_tasks(cohort, study.outcome, section)
    forecasts = [_forecast(run, cohort, task, study, executor, work) for task in tasks]
    predictions = [f.result.predictions for f in forecasts if f.result is not None]
    judgement = left_out = None
    if predictions:
        table = pd.concat(predictions, ignore_index=True)
        judgement = run.stage("judge", "judging", partial(judge, table, study.evaluate, seed, REFERENCES, executor))
        left_out = run.stage("outside", "judging left-out groups", partial(_left_out, forecasts, study, executor))
    headline = headline_of(forecasts, DECLARED_MODEL)
    chosen = rungs.get(DECLARED_MODEL) or next(iter(reversed(rungs.values())))
    audits = run.stage(
        "audit", "auditing for leakage",
        partial(audit_tasks, delivered, cohort, mended.regimes, forecasts, section, chosen, seed, executor),
    )  # fmt: skip
    paths = (
        run.stage("paths", "grade paths",
                  partial(grade_paths, cohort, tasks[0].task, section, seed, study.evaluate.bootstrap, executor))
        if tasks else None
    )  # fmt: skip
    optimism = None
    if study.evaluate.optimism:
        cells = [(f, declared_cell(f, chosen.name)) for f in forecasts if f.result is not None]
        optimism = run.stage(
            "optimism", "optimism of the declared model",
            partial(optimism_table, cohort, cells, section, chosen, study.evaluate.optimism, seed, executor),
        )  # fmt: skip
    crosswalk, agreement = scheme_agreement(cohort, seed)
    sample = sample_patients(cohort, study.report.patients)
    shown = model = None
    if forecasts and forecasts[0].result is not None:
        first = forecasts[0].study_task
        shown = run.stage("patients", "patients one by one",
                          partial(shown_forecasts, cohort, sample, first, section, chosen, seed, executor))  # fmt: skip
        model = run.stage("final", "final model", partial(final_model, cohort, first, section, chosen, seed, executor))
    behaviour = None
    if headline is not None and study.evaluate.protocol != "off":
        first_judged = next(f for f in forecasts if f.result is not None)
        declared = replace(headline, model=chosen.name)
        own = model if first_judged is forecasts[0] else None
        behaviour = run.stage(
            "protocol", "alarms, groups, drift, latency, instability, reasons",
            partial(protocol, cohort, first_judged, declared, own, chosen, section, study.evaluate, seed, executor),
        )  # fmt: skip
    mechanism = None
    if section.mechanism != "off" and forecasts:
        mechanism = run.stage("mechanism", "does mechanism help?",
                              partial(_mechanism, cohort, forecasts, study, executor, work))  # fmt: skip
    return Findings(
        study=study, delivered=delivered, cohort=cohort, harmonized=mended, rungs=tuple(rungs.values()),
        forecasts=tuple(forecasts), judgement=judgement, left_out=left_out, audits=audits, optimism=optimism,
        paths=paths, crosswalk=crosswalk, agreement=agreement, sample=tuple(sample), shown=shown, model=model,
        headline=headline, behaviour=behaviour, mechanism=mechanism,
        warnings=summarised(check_cohort(delivered).warnings),
    )  # fmt: skip


def _forecast(
    run: _Run, cohort: Cohort, task: StudyTask, study: Study, executor: Executor, work: Path
) -> TaskForecasts:
    job = partial(forecast_task, cohort, task, study.forecast, study.study.seed, executor, work)
    return run.stage(f"forecast-{task.task.name}", f"forecasting: {task.label}", job)


def _mechanism(
    cohort: Cohort, forecasts: list[TaskForecasts], study: Study, executor: Executor, work: Path
) -> MechanismValue:
    """The standing experiment on the tasks that could be judged; in ``first``, without the trees and one repeat."""
    section = study.forecast
    judged = [f.study_task for f in forecasts if f.result is not None and f.study_task.task.anchor == "infusion"]
    every = section.mechanism == "all"
    return mechanism_value(
        cohort, judged if every else judged[:1], seed=study.study.seed, folds=section.folds,
        repeats=section.repeats if every else 1, n_boot=study.evaluate.bootstrap, boosting=every,
        spec=feature_spec(section, cohort), executor=executor, folder=work / "folds",
    )  # fmt: skip


def _left_out(forecasts: list[TaskForecasts], study: Study, executor: Executor) -> pd.DataFrame:
    groups = [(f.name, by, result) for f in forecasts for by, result in f.left_out.items()]
    return judge_left_out(groups, study.evaluate, study.study.seed, executor)
