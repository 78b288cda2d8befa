"""Rung (f): gradient boosting on summaries, with the settings of small data.

Trees start from the incidence by day (as the logistic models do), so that no tree at all means "incidence by
day". Missing values are filled as for the linear models: left to the trees they would become a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.random import stream
from icans.forecast import preprocess_parts
from icans.forecast.models.base import DayBaseline, as_horizon, check_aligned, fitted_for, labels, summary_columns
from icans.forecast.models.boosted_trees import BoostedTrees, pack, unpack
from icans.forecast.models.coherent import coherent_risks
from icans.forecast.models.logistic import by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, horizons_in, horizons_out, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Table
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import deviance, expit
from icans.forecast.tuning import Rule, choose, inner_folds

Floats = NDArray[np.float64]

#: Trees only need order: no transform, no scale, no winsorising.
PREPARE = PrepareSpec(transform="none", winsor=None, standardise=False)


@dataclass(frozen=True)
class Boosting:
    """LightGBM on every summary feature; the number of trees by grouped inner cross-validation.

    Parameters
    ----------
    trees
        Numbers of trees tried; 0 is the incidence by day.
    leaves, min_rows, rate, ridge, feature_share, row_share
        Shallow trees (interactions of two or three), leaves of at least ``min_rows`` stacked rows (some five
        patients), slow learning and a ridge on the leaf values, because cohorts have tens of events.
    tune_horizon
        Position in the list of horizons at which the number of trees is chosen. None: the middle one (the shortest
        has few events, the longest much that no feature foretells).
    columns, prepare
        Features by name, and their preprocessing.
    inner_folds, rule
        Folds of the inner cross-validation.
    """

    trees: tuple[int, ...] = (0, 10, 20, 40, 80)
    leaves: int = 4
    min_rows: int = 25
    rate: float = 0.05
    ridge: float = 5.0
    feature_share: float = 0.5
    row_share: float = 0.8
    tune_horizon: int | None = None
    inner_folds: int = 3
    rule: Rule = "best"
    columns: Callable[[Sequence[str]], list[str]] = summary_columns
    prepare: PrepareSpec = field(default_factory=lambda: PREPARE)

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedBoosting:
        """Choose the number of trees inside the training data, then fit one model for each horizon."""
        check_aligned(table, outcome)
        columns = self.columns(table.columns.tolist())
        table = table[columns]
        middle = len(horizons) // 2 if self.tune_horizon is None else self.tune_horizon
        count = self.trees[self._tune(table, outcome, horizons[middle], seed)]
        pipeline = preprocessor(self.prepare)
        X = pipeline.learn(table)
        baseline = DayBaseline.fit(outcome, horizons)
        models = {}
        for horizon in horizons:
            y, weight = labels(outcome, horizon)
            models[horizon] = self._boost(X, y, weight, baseline.logit(table, horizon), count, seed)
        return FittedBoosting(pipeline, pipeline.names_, columns, baseline, models, count)

    def _tune(self, table: pd.DataFrame, outcome: pd.DataFrame, horizon: Horizon, seed: int) -> int:
        mine, folds = inner_folds(outcome, self.inner_folds, seed, "the number of trees")
        losses = np.full((folds, len(self.trees)), np.nan)
        y, weight = labels(outcome, horizon)
        for k in range(folds):
            train, test = mine != k, mine == k
            pipeline = preprocessor(self.prepare)
            inner = pipeline.learn(table[train])
            baseline = DayBaseline.fit(outcome[train], [horizon])
            offset = baseline.logit(table[train], horizon)
            model = self._boost(inner, y[train], weight[train], offset, max(self.trees), seed)
            if weight[test].sum() == 0:
                continue
            start, X = baseline.logit(table[test], horizon), pipeline.matrix(table[test])
            for j, trees in enumerate(self.trees):
                losses[k, j] = deviance(y[test], expit(start + _raw(model, X, trees)), weight[test])
        return choose(losses, self.rule)

    def _boost(
        self, X: Floats, y: Floats, weight: Floats, offset: Floats, trees: int, seed: int
    ) -> BoostedTrees | None:
        import lightgbm  # more than a second, which a stored model does not need

        seen = weight > 0
        if trees == 0 or X.shape[1] == 0 or np.ptp(y[seen]) == 0:
            return None
        data = lightgbm.Dataset(X[seen], y[seen], weight=weight[seen], init_score=offset[seen], free_raw_data=True)
        grown = lightgbm.train(self._parameters(seed), data, num_boost_round=trees)
        return BoostedTrees.read(grown.model_to_string())

    def _parameters(self, seed: int) -> dict[str, Any]:
        return {
            "objective": "binary",
            "boost_from_average": False,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows,
            "learning_rate": self.rate,
            "lambda_l2": self.ridge,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "max_bin": 63,
            "seed": int(stream(seed, "boosting").integers(2**31 - 1)),
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }


@dataclass(frozen=True)
class FittedBoosting:
    """The trees of each horizon (None: no tree)."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline
    models: dict[Horizon, BoostedTrees | None]
    trees: int
    takes_plain: ClassVar[bool] = True

    @property
    def parameters(self) -> int:
        """Candidate features; trees have no smaller count of parameters to state."""
        return len(self.names)

    def predict(self, table: Table, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)
        return self.risks(table)[:, list(self.models).index(as_horizon(horizon))]

    def risks(self, table: Table) -> Floats:
        """Probability of the event within every fitted horizon, shape (n, horizons)."""
        X = self.pipeline.matrix(table[self.columns])

        def raw(one: Horizon) -> Floats:
            return expit(self.baseline.logit(table, one) + _raw(self.models[one], X, self.trees))

        return coherent_risks(raw, table, list(self.models))

    def reasons(self, table: Table, horizon: Horizon | float) -> pd.DataFrame:
        """Shapley values of the trees on the log odds (Lundberg 2020), summed over a feature's columns."""
        model = fitted_for(self.models, horizon)
        parts = np.zeros((len(table), len(self.names)))
        if model is not None:
            X = self.pipeline.matrix(table[self.columns])
            parts = model.contributions(X)
        return by_source(parts, self.names, table.index)

    def settings(self) -> dict[str, float]:
        """The number of trees chosen."""
        return {"trees": float(self.trees)}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "boosting", "names": self.names, "columns": self.columns, "trees": self.trees}
        return join(
            meta | {"horizons": horizons_out(list(self.models))},
            {f"boosted_{name}": value for name, value in pack(list(self.models.values())).items()},
            pipeline=preprocess_parts.to_parts(self.pipeline),
            baseline=baseline_parts(self.baseline),
        )


def from_parts(meta: Meta, arrays: Arrays) -> FittedBoosting:
    """The model again."""
    names = list(map(str, meta["names"]))
    if "boosters" in meta:  # a file of before, with LightGBM's text in it
        boosters = [None if text is None else BoostedTrees.read(str(text)) for text in meta["boosters"]]
    else:
        mine = {name.removeprefix("boosted_"): v for name, v in arrays.items() if name.startswith("boosted_")}
        boosters = unpack(mine, len(names))
    return FittedBoosting(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        names,
        list(meta["columns"]),
        baseline_from(*child(meta, arrays, "baseline")),
        dict(zip(horizons_in(meta["horizons"]), boosters, strict=True)),
        int(meta["trees"]),
    )


def _raw(model: BoostedTrees | None, X: Floats, trees: int) -> Floats:
    return np.zeros(len(X)) if model is None else model.raw(X, trees)
