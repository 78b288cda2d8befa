"""Logistic models of the ladder on stacked risk sets, weighted for censoring.

The log odds of the incidence by day enter as an offset: with an endless penalty the model *is* the incidence by
day, and what it learns is how a patient differs from the others still at risk on that day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast import preprocess_parts
from icans.forecast.models.base import (
    DayBaseline,
    as_horizon,
    check_aligned,
    fitted_for,
    labels,
    last_value_columns,
    summed,
)
from icans.forecast.models.coherent import coherent_risks
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts, ridge_from, ridge_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Table
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor, source_column
from icans.forecast.ridge import RidgeLogistic, deviance, expit, fit_path
from icans.forecast.shrinkage import MAX_COLUMNS, START_PENALTY, draw_coefficients
from icans.forecast.tuning import Rule, choose, inner_folds

Floats = NDArray[np.float64]

#: Penalties tried, from nearly none of the predictors to nearly all of each, on standardised columns and the mean
#: log likelihood: at 10 a coefficient is held to a few hundredths, at 0.001 data of 100 patients decide alone.
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True)
class LastValueLogistic:
    """Ridge logistic regression on the newest values; penalty by grouped inner cross-validation.

    Parameters
    ----------
    penalties
        From the strongest to the weakest.
    columns
        Chooses features by name.
    prepare
        Preprocessing, fitted with the model.
    inner_folds
        Folds of the inner cross-validation (fewer where there are fewer patients with an event).
    rule
        How the penalty is chosen from it (:data:`icans.forecast.tuning.Rule`).
    average
        The risk is its mean over the posterior (:mod:`icans.forecast.shrinkage`), which needs no penalty to be chosen,
        in place of the risk at the best coefficients. On virtual patients with known truth its slope was nearer one
        (``benchmarks/results/known_truth.md``). Where there can be no posterior, the penalised fit.
    """

    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 5
    rule: Rule = "best"
    average: bool = False

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedLogistic:
        """Choose a penalty for each horizon inside the training data, then fit on all of it."""
        check_aligned(table, outcome)
        if self.average:
            loose = replace(self, penalties=(START_PENALTY,), average=False).fit(table, outcome, horizons, seed)
            made = loose.with_posterior(table, outcome, seed)
            if made.posterior:
                return made.at_mean()
        table = table[self.columns(table.columns.tolist())]  # a few of hundreds: rows are taken from it many times
        chosen = self._tune(table, outcome, horizons, seed) if len(self.penalties) > 1 else dict.fromkeys(horizons, 0)
        fold, matrix = _Stack.learn(table, outcome, horizons, self)
        models = {}
        for horizon in horizons:
            penalty = self.penalties[chosen[horizon]]
            models[horizon] = _fit_or_none(
                matrix, *labels(outcome, horizon), penalty, fold.baseline.logit(table, horizon)
            )
        if all(np.isinf(model.penalty) for model in models.values()):
            raise NotEstimableError("within every horizon all training rows have the same outcome: nothing to fit")
        return FittedLogistic(fold.pipeline, fold.names, fold.columns, fold.baseline, models)

    def _tune(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int
    ) -> dict[Horizon, int]:
        mine, folds = inner_folds(outcome, self.inner_folds, seed, "a penalty")
        losses = {h: np.full((folds, len(self.penalties)), np.nan) for h in horizons}
        known = {h: labels(outcome, h) for h in horizons}
        for k in range(folds):
            train, test = mine != k, mine == k
            seen, held_out = table[train], table[test]
            stack, inner = _Stack.learn(seen, outcome[train], horizons, self)
            outer = stack.matrix(held_out)
            for horizon in horizons:
                y, weight = known[horizon]
                if weight[test].sum() == 0:
                    continue
                start = stack.baseline.logit(seen, horizon)
                try:
                    path = fit_path(inner, y[train], weight[train], self.penalties, start)
                except NotEstimableError:
                    continue
                offset = stack.baseline.logit(held_out, horizon)
                losses[horizon][k] = [deviance(y[test], m.probability(outer, offset), weight[test]) for m in path]
        return {h: choose(loss, self.rule) for h, loss in losses.items()}


def _fit_or_none(X: Floats, y: Floats, weight: Floats, penalty: float, offset: Floats) -> RidgeLogistic:
    """The fit, or the incidence by day (the limit of an endless penalty) where all outcomes are alike."""
    try:
        return fit_path(X, y, weight, (penalty,), offset)[0]
    except NotEstimableError:
        return RidgeLogistic(0.0, np.zeros(X.shape[1]), float("inf"))


@dataclass(frozen=True)
class _Stack:
    """Preprocessing and incidence by day, fitted on the same training rows."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline

    @classmethod
    def learn(
        cls, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], model: LastValueLogistic
    ) -> tuple[_Stack, Floats]:
        """Learn columns, preprocessing and the incidence by day from the training rows; and their matrix."""
        columns = model.columns(table.columns.tolist())
        pipeline = preprocessor(model.prepare)
        X = pipeline.learn(table[columns])
        return cls(pipeline, pipeline.names_, columns, DayBaseline.fit(outcome, horizons)), X

    def matrix(self, table: pd.DataFrame) -> Floats:
        """Prepared columns, shape (n, p)."""
        return self.pipeline.matrix(table[self.columns])


@dataclass(frozen=True)
class FittedLogistic:
    """Coefficients by horizon, on prepared columns; with draws from their posterior where intervals are wanted."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline
    models: dict[Horizon, RidgeLogistic]
    posterior: dict[Horizon, Floats] = field(default_factory=dict)
    averaged: bool = False
    takes_plain: ClassVar[bool] = True

    @property
    def parameters(self) -> int:
        """Prepared columns, each a candidate coefficient."""
        return len(self.names)

    def predict(self, table: Table, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)
        return self.risks(table)[:, list(self.models).index(as_horizon(horizon))]

    def risks(self, table: Table) -> Floats:
        """Probability of the event within every fitted horizon, shape (n, horizons)."""
        X = self._matrix(table)

        def raw(one: Horizon) -> Floats:
            offset = self.baseline.logit(table, one)
            if self.averaged:
                return expit(offset[:, None] + self._effects(X, one)).mean(axis=1)
            return self.models[one].probability(X, offset)

        return coherent_risks(raw, table, list(self.models))

    def with_posterior(self, table: pd.DataFrame, outcome: pd.DataFrame, seed: int = 0) -> FittedLogistic:
        """The model with what its training rows leave open (:mod:`icans.forecast.shrinkage`), for :meth:`bounds`.

        Without it where there are too many columns, or a horizon within which all outcomes are alike.
        """
        if self.posterior or len(self.names) > MAX_COLUMNS or any(np.isinf(m.penalty) for m in self.models.values()):
            return self
        X = self._matrix(table)
        patient = np.unique(outcome["patient_id"].to_numpy(), return_inverse=True)[1].astype(np.intp)
        made = {}
        for horizon in self.models:
            y, weight = labels(outcome, horizon)
            drawn = draw_coefficients(X, y, weight, patient, self.baseline.logit(table, horizon), seed=seed)
            made[horizon] = drawn.astype(np.float32).astype(float)  # as stored: a model read back says the same
        return replace(self, posterior=made)

    def bounds(self, table: Table, level: float = 0.95) -> Floats | None:
        """Interval of the risk within every fitted horizon, shape (2, n, horizons): the posterior's quantiles."""
        if not self.posterior:
            return None
        X, tails = self._matrix(table), (0.5 - level / 2, 0.5 + level / 2)
        ends: tuple[dict[Horizon, Floats], ...] = ({}, {})
        for horizon in self.posterior:
            found = np.quantile(self._effects(X, horizon), tails, axis=1)
            for side, value in zip(ends, found, strict=True):
                side[horizon] = expit(self.baseline.logit(table, horizon) + value)
        return np.stack([coherent_risks(side.__getitem__, table, list(self.models)) for side in ends])

    def at_mean(self) -> FittedLogistic:
        """The model whose risk is the mean over its posterior, and whose coefficients are the posterior's means."""
        means = {h: drawn.mean(axis=0) for h, drawn in self.posterior.items()}
        models = {h: RidgeLogistic(float(b[0]), b[1:], self.models[h].penalty) for h, b in means.items()}
        return replace(self, models=models, averaged=True)

    def _effects(self, X: Floats, horizon: Horizon) -> Floats:
        """What each draw adds to the log odds of the day, shape (n, draws)."""
        drawn = self.posterior[horizon]
        return np.asarray(drawn[:, 0] + X @ drawn[:, 1:].T)

    def reasons(self, table: Table, horizon: Horizon | float) -> pd.DataFrame:
        """Coefficient x distance from the training mean, log odds, summed over a feature's columns."""
        parts = self._matrix(table) * fitted_for(self.models, horizon).coefficients
        return by_source(parts, self.names, table.index)

    def settings(self) -> dict[str, float]:
        """The penalty chosen for each horizon."""
        return {f"penalty, {h.label}": model.penalty for h, model in self.models.items()}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        drawn = [self.posterior[h].astype(np.float32) for h in self.models if h in self.posterior]
        return join(
            {"kind": "logistic", "names": self.names, "columns": self.columns, "averaged": self.averaged},
            {"posterior": np.stack(drawn)} if drawn else {},
            pipeline=preprocess_parts.to_parts(self.pipeline),
            baseline=baseline_parts(self.baseline),
            models=ridge_parts(self.models),
        )

    def _matrix(self, table: Table) -> Floats:
        return self.pipeline.matrix(table[self.columns])


def from_parts(meta: Meta, arrays: Arrays) -> FittedLogistic:
    """The model again."""
    models = ridge_from(*child(meta, arrays, "models"))
    drawn = dict(zip(models, floats(arrays["posterior"]), strict=True)) if "posterior" in arrays else {}
    return FittedLogistic(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        baseline_from(*child(meta, arrays, "baseline")),
        models,
        drawn,
        bool(meta.get("averaged", False)),
    )


def sum_by_source(parts: pd.DataFrame) -> pd.DataFrame:
    """Contributions of prepared columns summed over the feature they come from."""
    return by_source(parts.to_numpy(dtype=float), parts.columns.tolist(), parts.index)


def by_source(parts: Floats, names: Sequence[str], index: pd.Index) -> pd.DataFrame:
    """The same for an array of shape (n, len(names)), as a data frame with an index."""
    sources, values = summed([source_column(name) for name in names], parts)
    return pd.DataFrame(values, index=index, columns=sources)
