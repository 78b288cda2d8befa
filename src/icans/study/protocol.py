"""The rest of the evaluation protocol in a study: alarms, groups, drift, latency, instability, explanation.

Everything speaks of one model at one landmark and horizon, declared before any result. ``short`` costs seconds: refits
of the final model serve the instability, and the models of five folds, fitted with the settings that were chosen once
on all patients, serve latency and importance. ``full`` tunes in every fold, looks at every model, and adds Shapley
values and the ordinal scores of the grade path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor
from icans.core.random import stream
from icans.evaluate.alarms import RATES, alarm_table
from icans.evaluate.closed_testing import closed_test
from icans.evaluate.distribution import risk_distribution
from icans.evaluate.drift import drift, order_of
from icans.evaluate.explain.feature_groups import correlated_groups, feature_groups
from icans.evaluate.explain.importance import contribution_stability, importance_summary, permutation_importance
from icans.evaluate.explain.rules import rule_summary
from icans.evaluate.explain.shapley import by_group, shapley
from icans.evaluate.fold_models import FoldModels, fold_models
from icans.evaluate.instability import instability
from icans.evaluate.latency import latency_table
from icans.evaluate.meta_analysis import group_estimates, pool
from icans.evaluate.performance import measure
from icans.evaluate.subgroups import group_labels, subgroup_table
from icans.evaluate.tables import check_predictions, groups
from icans.forecast.dataset import examples_for
from icans.forecast.final import FinalModel
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import FittedRung, Rung
from icans.forecast.outcomes import Horizon, outcome_table
from icans.report.behaviour import Behaviour
from icans.report.model import Headline
from icans.study.config import EvaluateSection, ForecastSection
from icans.study.forecasts import TaskForecasts, feature_spec, steps_of, with_penalty, without_scores

#: Models whose alarms are compared with the declared model's in a short protocol.
RIVALS = ("crs_rule", "logistic_last")
#: Alarms per patient-day of the short protocol: the rate that the report prints.
SHOWN_RATE = 0.10
#: Resamples and permutations of the short and the full protocol.
RESAMPLES = {"short": 200, "full": 500}
PERMUTATIONS = {"short": 3, "full": 20}
#: Background patients, and pairs of permutations, of Shapley values in a full protocol.
BACKGROUND, ORDERS, EXPLAINED = 50, 16, 40


@dataclass
class _Found:
    """Tables, sentences and reasons as they come."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def make(self, names: Sequence[str], work: Callable[[], None]) -> None:
        """Do the work; where it cannot be estimated, keep the reason under each name."""
        try:
            work()
        except NotEstimableError as error:
            self.reasons |= {name: str(error) for name in names}


def protocol(
    cohort: Cohort,
    forecast: TaskForecasts,
    cell: Headline,
    model: FinalModel | None,
    rung: Rung,
    section: ForecastSection,
    settings: EvaluateSection,
    seed: int,
    executor: Executor,
) -> Behaviour:
    """Run the protocol for the declared cell of a task.

    Parameters
    ----------
    cohort
        Harmonised and graded.
    forecast, cell
        The task's out-of-sample forecasts, and the model, landmark and horizon that were declared.
    model
        The final model with its refits (None: no instability, no contributions, no rules).
    rung
        The rung of ``cell.model``.
    section, settings, seed, executor
        Of the study.
    """
    assert forecast.result is not None  # the caller looked
    found = _Found()
    job = _Job(cohort, forecast, cell, rung, section, settings.protocol, seed, executor, found)
    job.forecasts()
    job.left_out()
    job.folds()
    if model is not None:
        found.make(["instability_summary", "contributions", "rules"], lambda: job.refits(model))
    if settings.protocol == "full":
        job.path()
    refits = 0 if model is None else len(model.refits)
    return Behaviour(forecast.name, cell.model, cell.landmark_h, cell.horizon_h, found.tables, found.words,
                     found.reasons, refits)  # fmt: skip


@dataclass(frozen=True)
class _Job:
    cohort: Cohort
    forecast: TaskForecasts
    cell: Headline
    rung: Rung
    section: ForecastSection
    depth: str
    seed: int
    executor: Executor
    found: _Found

    @property
    def full(self) -> bool:
        """Whether every model is looked at."""
        return self.depth == "full"

    def forecasts(self) -> None:
        """What needs nothing but the out-of-sample forecasts."""
        assert self.forecast.result is not None
        table, n_boot, found = self.forecast.result.predictions, RESAMPLES[self.depth], self.found
        ahead = table[table["horizon_h"] == self.cell.horizon_h]
        mine = ahead[ahead["model"] == self.cell.model]
        here = mine[mine["landmark_h"] == self.cell.landmark_h]
        rivals = ahead if self.full else ahead[ahead["model"].isin([self.cell.model, *RIVALS])]
        rates = RATES if self.full else (SHOWN_RATE,)
        found.tables["alarms"] = alarm_table(rivals, rates=rates, n_boot=n_boot, seed=self.seed)
        found.tables["distribution"] = risk_distribution(ahead if self.full else mine, n_boot=n_boot, seed=self.seed)
        labels = group_labels(self.cohort.patients)
        chosen = ahead[ahead["landmark_h"] == self.cell.landmark_h] if self.full else here
        found.tables["subgroups"] = subgroup_table(chosen, labels, n_boot=n_boot, seed=self.seed)
        found.make(["drift_windows"], lambda: self._drift(here))

    def _drift(self, here: pd.DataFrame) -> None:
        one = next(iter(groups(check_predictions(here)))).averaged()
        rank, basis = order_of(self.cohort.patients)
        result = drift(one.patient_id, one.time, one.event, one.risk, self.cell.horizon_h, rank, basis, seed=self.seed)
        self.found.tables |= {
            "drift_windows": result.windows, "drift_path": result.path, "drift_summary": result.summary,
        }  # fmt: skip
        self.found.words["drift_windows"] = result.sentences

    def left_out(self) -> None:
        """Groups that training left out: pooled performance, and the recalibration that each would ask for."""
        estimates, updates = [], []
        for by, result in self.forecast.left_out.items():
            names = result.folds.drop_duplicates("fold").set_index("fold")["group"]
            p = result.predictions
            here = p[(p["horizon_h"] == self.cell.horizon_h) & (p["landmark_h"] == self.cell.landmark_h)]
            here = here if self.full else here[here["model"] == self.cell.model]
            for fold, part in here.groupby("fold"):
                about = {"by": by, "group": str(names[fold])}
                measured = measure(part, n_boot=RESAMPLES[self.depth], seed=self.seed)
                estimates.append(group_estimates(measured).assign(**about))
                updates += self._updates(part[part["model"] == self.cell.model], about)
        if not estimates:
            self.found.reasons["pooled"] = "no group of patients was left out of training at this landmark and horizon"
            return
        table = pd.concat(estimates, ignore_index=True)
        self.found.tables |= {"groups": table, "pooled": pool(table), "updating": pd.DataFrame(updates)}

    def _updates(self, part: pd.DataFrame, about: dict[str, str]) -> list[dict[str, Any]]:
        counts = {
            "n": part["patient_id"].nunique(),
            "events": int(((part["event"] == 1) & (part["time_h"] <= self.cell.horizon_h)).sum()),
        }
        try:
            test = closed_test(part["time_h"], part["event"], part["risk"], self.cell.horizon_h)
        except NotEstimableError as error:
            return [{**about, **counts, "choice": "not estimable", "note": str(error)}]
        p_value = float(test.tests.set_index("update").loc["none", "p_value"])
        return [
            {
                **about,
                **counts,
                "choice": test.choice,
                "intercept": test.intercept,
                "slope": test.slope,
                "p_value": p_value,
            }
        ]

    def folds(self) -> None:
        """Latency and permutation importance by the models of five folds."""

        def work() -> None:
            models = self._fold_models().at(self.cell.landmark_h)
            n_boot = RESAMPLES[self.depth]
            self.found.tables["latency"] = latency_table(self.cohort, models, n_boot=n_boot, seed=self.seed)
            table = pd.concat([model.inputs.table for model in models.models])
            used = self._used(models, table)
            by_fold = permutation_importance(
                models, used, landmark_h=self.cell.landmark_h, repeats=PERMUTATIONS[self.depth], seed=self.seed
            )
            self.found.tables["importance"] = importance_summary(by_fold)
            if self.full:
                self._shapley(models, used)

        self.found.make(["latency", "importance"], work)

    def _fold_models(self) -> FoldModels:
        rung = self.rung if self.full else settled(self.rung, self._settings())
        if rung is not self.rung:
            self.found.words["latency"] = self.found.words["importance"] = (
                "The models of these five folds use the penalty that was chosen most often in the cross-validation.",
            )
        task, spec = self.forecast.study_task, feature_spec(self.section, self.cohort)
        spec = without_scores(rung, spec)
        return fold_models(
            self.cohort, task.task, rung, Horizon(self.cell.horizon_h), task.landmarks_h,
            spec=spec, steps=steps_of(self.section), seed=self.seed,
            executor=self.executor,
        )  # fmt: skip

    def _settings(self) -> str:
        assert self.forecast.result is not None
        fits = self.forecast.result.fits
        mine = fits.loc[(fits["model"] == self.cell.model) & (fits["settings"] != ""), "settings"]
        return str(mine.mode().iloc[0]) if len(mine) else ""

    def _used(self, models: FoldModels, table: pd.DataFrame) -> dict[str, list[str]]:
        """Groups of the features that the model reads, those joined that go together."""
        first = next(model for model in models.models if len(model.outcome))
        reasons = first.fitted.reasons(first.inputs, models.horizon)
        named = [c for c in table.columns if c in set(map(str, reasons.columns))]
        columns = named or list(table.columns)
        return correlated_groups(table[columns], feature_groups(columns))

    def _shapley(self, models: FoldModels, used: dict[str, list[str]]) -> None:
        """Shapley values of patients whom the model of their fold has not seen."""
        if models.rung.uses_history:
            self.found.reasons["shapley"] = "the model reads the stream of events; contributions are of tables only"
            return
        frames = []
        for fold, model in enumerate(models.models):
            others = pd.concat([m.inputs.table for m in models.models if m is not model])
            rng = stream(self.seed, "shapley background", fold)
            background = others.iloc[rng.choice(len(others), min(BACKGROUND, len(others)), replace=False)]
            shown = model.inputs.table.iloc[: max(1, EXPLAINED // len(models.models))]
            predict = partial(_risk, model.fitted, models.horizon)
            frames.append(shapley(predict, shown, background, used, permutations=ORDERS, seed=self.seed))
        table = pd.concat(frames).reset_index()
        self.found.tables["shapley"] = table

    def refits(self, model: FinalModel) -> None:
        """Instability, stability of contributions, and rules, by the final model and its refits."""
        outcome = outcome_table(self.cohort, model.task, [self.cell.landmark_h])
        inputs = self._inputs(model, outcome)
        horizon = Horizon(self.cell.horizon_h)
        if horizon not in model.horizons:
            raise NotEstimableError("the final model was not fitted for this horizon")
        risk = model.fitted.predict(inputs, horizon)
        self.found.make(["instability_summary"], lambda: self._instability(model, outcome, inputs, risk))
        parts = [refit.reasons(inputs, horizon) for refit in model.refits]
        if len(parts) > 1 and parts[0].shape[1]:
            used = feature_groups(sorted({str(c) for part in parts for c in part.columns}))
            table, w = contribution_stability([by_group(part, used) for part in parts])
            self.found.tables["contributions"] = table
            self.found.words["contributions"] = (
                f"Agreement of the ranking over {len(parts)} refits on resampled patients: Kendall's W {w:.2f} (1: the "
                "same order always).",
            )
        self.found.make(["rules"], lambda: self._rules(inputs, risk, parts))

    def _inputs(self, model: FinalModel, outcome: pd.DataFrame) -> Inputs:
        cohort = self.cohort
        for step in model.steps:
            cohort = step.apply(cohort)
        return examples_for(
            cohort,
            model.task,
            outcome,
            without_scores(model.rung, model.spec),
            blocks=model.blocks,
            stream=model.rung.uses_history,
        ).inputs

    def _instability(self, model: FinalModel, outcome: pd.DataFrame, inputs: Inputs, risk: np.ndarray) -> None:
        horizon = Horizon(self.cell.horizon_h)
        drawn = (
            np.stack([refit.predict(inputs, horizon) for refit in model.refits])
            if model.refits
            else np.empty((0, len(risk)))
        )
        result = instability(
            outcome["patient_id"],
            risk,
            drawn,
            time=outcome["time_h"],
            event=outcome["event"],
            horizon=self.cell.horizon_h,
        )
        self.found.tables |= {
            "instability_patients": result.patients, "instability_curves": result.curves,
            "instability_summary": result.summary,
        }  # fmt: skip

    def _rules(self, inputs: Inputs, risk: np.ndarray, parts: list[pd.DataFrame]) -> None:
        named = {str(c) for part in parts[:1] for c in part.columns}
        columns = [c for c in inputs.table.columns if c in named] or list(inputs.table.columns)
        result = rule_summary(inputs.table[columns], risk, seed=self.seed)
        self.found.tables["rules"] = result.table
        self.found.words["rules"] = (result.sentence,)

    def path(self) -> None:
        """Ordinal scores of the daily grade path."""
        from icans.core.errors import DataError
        from icans.evaluate.ordinal import ordinal_scores
        from icans.forecast.grade_path import cross_validate_path, daily_path

        try:
            path = daily_path(self.cohort, self.forecast.study_task.task)
        except DataError as error:
            self.found.reasons["ordinal"] = f"grades do not come by the day: {error.problems[0].expected}"
            return
        forecasts = cross_validate_path(path, repeats=1, seed=self.seed)
        at = forecasts[forecasts["landmark_h"] == self.cell.landmark_h]
        if len(at):
            self.found.tables["ordinal"] = ordinal_scores(at, n_boot=RESAMPLES[self.depth], seed=self.seed)


def _risk(fitted: FittedRung, horizon: Horizon, table: pd.DataFrame) -> np.ndarray:
    return fitted.predict(table, horizon)


def settled(rung: Rung, settings: str) -> Rung:
    """The rung with its penalty fixed to the one named in the settings of a fit, where it has just one to choose."""
    parts = [part.partition(" = ") for part in settings.split("; ")]
    return with_penalty(rung, {name: float(value) for name, _, value in parts if value})
