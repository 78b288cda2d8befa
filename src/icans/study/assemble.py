"""From the findings of a study to the report: labels, headline, audit rows, sentences, tables."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import Problem
from icans.core.provenance import now, versions
from icans.evaluate.audit import Audit
from icans.evaluate.sample_size import statement
from icans.forecast.final import FinalModel
from icans.forecast.ladder import Rung
from icans.harmonize.pipeline import Harmonized
from icans.report import model as report
from icans.report.atlas import atlas
from icans.report.behaviour import Behaviour
from icans.report.format import estimate, landmark
from icans.study.config import Study
from icans.study.forecasts import TaskForecasts
from icans.study.judge import Judgement
from icans.study.mechanism_value import MechanismValue
from icans.study.words import PATH_LABELS, limits, methods, model_label

#: The landmark and horizon of the headline, declared before any result: day 3 is when CD28 products begin to show
#: ICANS and the last day at which prevention could start; a week ahead covers most onsets. Hours.
HEADLINE_LANDMARK_H, HEADLINE_HORIZON_H = 72.0, 168.0


@dataclass(frozen=True)
class Findings:
    """Everything that a study found."""

    study: Study
    delivered: Cohort
    cohort: Cohort
    harmonized: Harmonized
    rungs: tuple[Rung, ...]
    forecasts: tuple[TaskForecasts, ...]
    judgement: Judgement | None
    left_out: pd.DataFrame | None
    audits: dict[str, Audit]
    optimism: pd.DataFrame | None
    paths: pd.DataFrame | None
    crosswalk: pd.DataFrame | None
    agreement: pd.DataFrame | None
    sample: tuple[str, ...]
    shown: pd.DataFrame | None
    model: FinalModel | None
    warnings: tuple[Problem, ...]
    headline: report.Headline | None
    behaviour: Behaviour | None = None
    mechanism: MechanismValue | None = None

    @property
    def occurrence(self) -> Audit | None:
        """The audit of the first occurrence task."""
        return next((self.audits[f.name] for f in self.forecasts if not f.study_task.task.cases_only), None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a reader must know first: never a score without its audit."""
        n = len(self.cohort)
        said = [("SYNTHETIC DATA. " if self.cohort.synthetic else "") + f"{n} patients, {len(self.forecasts)} tasks."]
        audit = self.occurrence
        if audit is None:
            return (*said, "No grades of the outcome: nothing was forecast.")
        if not audit.occurrence_can_be_validated:
            return (*said, *self._audit_words(audit)[:2], *self._cases_only())
        return (*said, *self._headline_sentence(), self._audit_words(audit)[0])

    def _audit_words(self, audit: Audit) -> list[str]:
        """The audit's sentences with the task's label for its name."""
        label = next(f.study_task.label for f in self.forecasts if f.name == audit.task)
        return [sentence.replace(audit.task, label) for sentence in audit.sentences]

    def _headline_sentence(self) -> tuple[str, ...]:
        if self.headline is None or self.judgement is None:
            return ("No landmark and horizon had enough events to be judged.",)
        return self._sentence(self.headline)

    def _cases_only(self) -> tuple[str, ...]:
        """AUROC of the tasks within cases, each at its declared cell."""
        if self.headline is None:
            return ()
        return tuple(
            sentence
            for f in self.forecasts
            if f.study_task.task.cases_only and f.result is not None
            for sentence in self._sentence(declared_cell(f, self.headline.model))
        )

    def _sentence(self, cell: report.Headline) -> tuple[str, ...]:
        if self.judgement is None:
            return ()
        p = self.judgement.performance
        row = p[
            (p["task"] == cell.task) & (p["model"] == cell.model) & (p["metric"] == "auc_within_fold")
            & (p["landmark_h"] == cell.landmark_h) & (p["horizon_h"] == cell.horizon_h)
        ]  # fmt: skip
        if row.empty:
            return ()
        r = row.iloc[0]
        task = next(f.study_task for f in self.forecasts if f.name == cell.task)
        since = "from onset" if task.task.anchor == "onset" else ""
        when = f"{landmark(cell.landmark_h)} {since}".strip()
        return (
            f"{task.label} within {cell.horizon_h / 24:g} days, forecast at {when} by {model_label(cell.model)}: AUROC "
            f"{estimate(r['value'], r['low'], r['high'])}, {r['events']} events in {r['n']} patients.",
        )

    def audit_table(self) -> pd.DataFrame:
        """The audits of all tasks below each other."""
        frames = [audit.table for audit in self.audits.values()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table of the results folder, by name."""
        found: dict[str, pd.DataFrame | None] = {
            "findings": self.harmonized.findings,
            "regimes": self.harmonized.regimes,
            "changes": self.cohort.changes,
            "grades": self.cohort.grades,
            "audit": self.audit_table(),
            "grade_paths": self.paths,
            "scheme_counts": self.crosswalk,
            "scheme_agreement": self.agreement,
            "left_out": self.left_out,
            "optimism": self.optimism,
            "forecasts": self.shown,
            "mechanism": None if self.mechanism is None else self.mechanism.differences,
            "mechanism_performance": None if self.mechanism is None else self.mechanism.performance,
            "atlas": atlas(self.cohort),
            "problems": pd.DataFrame([problem.as_dict() for problem in self.warnings]),
            **self.validation_tables(),
        }
        if self.judgement is not None:
            for name in ("performance", "comparisons", "calibration", "decision"):
                found[name] = getattr(self.judgement, name)
        if self.behaviour is not None:
            found |= {f"protocol_{name}": frame for name, frame in self.behaviour.tables.items()}
        return {name: frame for name, frame in found.items() if frame is not None and len(frame)}

    def validation_tables(self) -> dict[str, pd.DataFrame]:
        """Predictions, judged cells, fits and folds of all tasks; empty when nothing could be forecast."""
        results = [f.result for f in self.forecasts if f.result is not None]
        if not results:
            return {}
        return {
            "predictions": pd.concat([r.predictions for r in results], ignore_index=True),
            "cells": pd.concat([r.cells for r in results], ignore_index=True),
            "fits": pd.concat([r.fits for r in results], ignore_index=True),
            "folds": pd.concat([r.folds for r in results], ignore_index=True).drop_duplicates(),
        }

    def model_card(self) -> dict[str, object]:
        """What the final model is: task, features, training, settings."""
        assert self.model is not None  # the caller asks only then
        patients, events, digest = self.model.training
        return {
            "research_use_only": True,
            "synthetic": self.model.synthetic,
            "task": self.model.task.name,
            "model": self.model.rung.name,
            "description": self.model.rung.description,
            "horizons": [h.label for h in self.model.horizons],
            "candidate_parameters": self.model.fitted.parameters,
            "settings": self.model.fitted.settings(),
            "training": {"patients": patients, "events": events, "digest": digest},
            "refits": len(self.model.refits),
            "version": self.model.version,
        }


def headline_of(forecasts: Sequence[TaskForecasts], model: str) -> report.Headline | None:
    """The cell that leads the report: declared task, landmark, horizon and model; the nearest judged one else."""
    for forecast in forecasts:
        if forecast.result is not None:
            return declared_cell(forecast, model)
    return None


def declared_cell(forecast: TaskForecasts, model: str) -> report.Headline:
    """The landmark and horizon of a task that lead: the judged ones nearest to those declared."""
    assert forecast.result is not None  # the caller looked
    cells = forecast.result.cells
    cells = cells[cells["reason"] == ""]
    start = 0.0 if forecast.study_task.task.anchor == "onset" else HEADLINE_LANDMARK_H
    best = cells.loc[nearest_cell(cells, start)]
    return report.Headline(forecast.name, model, float(best["landmark_h"]), float(best["horizon_h"]), "auc_within_fold")


def nearest_cell(rows: pd.DataFrame, landmark_h: float = HEADLINE_LANDMARK_H) -> Hashable:
    """Index of the row (landmark_h, horizon_h) nearest to the landmark and horizon that lead a report."""
    far = (rows["landmark_h"] - landmark_h).abs() * 1e3 + (rows["horizon_h"] - HEADLINE_HORIZON_H).abs()
    return far.idxmin()


def report_data(found: Findings, *, started: str, seconds: dict[str, float]) -> report.ReportData:
    """The findings as the report wants them."""
    study, judged = found.study, found.judgement
    return report.ReportData(
        study=study.study.name,
        delivered=found.delivered,
        harmonised=found.cohort,
        findings=found.harmonized.findings,
        problems=found.warnings,
        audit=_audit(found),
        tasks=tuple(
            report.Task(
                f.name, f.study_task.label, _description(f), f.study_task.task.cases_only, f.study_task.task.anchor
            )
            for f in found.forecasts
        ),
        headline=found.headline,
        performance=None if judged is None else judged.performance,
        comparisons=None if judged is None or judged.comparisons.empty else judged.comparisons,
        calibration=None if judged is None else judged.calibration,
        decision=None if judged is None else judged.decision,
        grade_paths=None if found.paths is None else found.paths.dropna(subset=["landmark_h"]),
        crosswalk=found.crosswalk,
        agreement=found.agreement,
        predictions=found.validation_tables().get("predictions"),
        forecasts=found.shown,
        mechanism=_mechanism(found),
        behaviour=found.behaviour,
        sample_size=_sample_size(found),
        limits=limits(found.cohort),
        methods=methods(study, found.rungs),
        models={rung.name: model_label(rung.name) for rung in found.rungs} | PATH_LABELS,
        sample_patients=found.sample,
        extra_tables=_extra_tables(found),
        run=report.RunInfo(
            config=study.model_dump_json(indent=2),
            command="icans run study.toml",
            seed=study.study.seed,
            started=started,
            finished=now(),
            versions=versions(),
            inputs=found.delivered.provenance.inputs,
            seconds=seconds,
            facts={"source": found.delivered.provenance.source, "citation": found.delivered.provenance.citation},
        ),
    )


def _audit(found: Findings) -> report.Audit | None:
    return None if found.occurrence is None else report_audit(found.occurrence, found.audit_table())


def _mechanism(found: Findings) -> report.Mechanism | None:
    value = found.mechanism
    return None if value is None else report.Mechanism(value.differences, value.performance, value.sentences())


def report_audit(audit: Audit, table: pd.DataFrame) -> report.Audit:
    """An audit as the report wants it; ``table`` holds the rows of all tasks (with the column task)."""
    scored = audit.table["auroc"].notna().any()
    shown = table.rename(columns={"auroc": "value"})
    return report.Audit(shown, audit.sentences, audit.occurrence_can_be_validated if scored else None)


def _description(forecast: TaskForecasts) -> str:
    notes = [] if forecast.result is None else list(forecast.result.notes)
    said = [forecast.study_task.description, *notes]
    return " ".join([*said, f"Not forecast: {forecast.reason}"] if forecast.reason else said)


def _sample_size(found: Findings) -> tuple[str, ...]:
    """Riley's criteria for each task at its declared cell, for the largest number of candidate parameters."""
    said = []
    for forecast in found.forecasts:
        if forecast.result is None:
            continue
        cell = declared_cell(forecast, "")
        cells = forecast.result.cells
        row = cells[(cells["landmark_h"] == cell.landmark_h) & (cells["horizon_h"] == cell.horizon_h)].iloc[0]
        most = int(forecast.result.fits["parameters"].max())
        text = statement(n=int(row["at_risk"]), events=int(row["events"]), candidate_parameters=most)
        said.append(f"{forecast.study_task.label}: {text}")
    return tuple(said)


def _extra_tables(found: Findings) -> dict[str, pd.DataFrame]:
    extra = {}
    if found.left_out is not None and len(found.left_out):
        extra["Leave one group out"] = found.left_out
    if found.optimism is not None and len(found.optimism):
        extra["Optimism of the declared model (bootstrap, whole procedure refitted)"] = found.optimism
    if found.paths is not None:
        overall = found.paths[found.paths["landmark_h"].isna()].drop(columns="landmark_h")
        extra["Grade path: all days together"] = overall
    skipped = [f.result.skipped for f in found.forecasts if f.result is not None]
    if skipped:
        extra["Cells not judged"] = pd.concat(skipped, ignore_index=True)
    return extra
