"""Explainable boosting on the newest values: a sum of one curve for each feature, read off as a table.

The machine (cyclic boosting of single features, bagged) is that of interpret-core. Bags are dealt by patient, so that
the rows on which a bag stops early belong to patients that it has not seen. What was learned is kept as plain tables
(cuts and heights), from which risks and reasons are computed here; the package is needed for training only.

References: Lou Y et al., KDD 2012, doi 10.1145/2339530.2339556; Nori H et al., arXiv 1909.09223.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast import preprocess_parts
from icans.forecast.models.base import (
    DayBaseline,
    as_horizon,
    check_aligned,
    fitted_for,
    labels,
    last_value_columns,
)
from icans.forecast.models.boosting import PREPARE
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, horizons_in, horizons_out, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.models.shrink import check_enough
from icans.forecast.outcomes import Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import expit
from icans.forecast.tuning import inner_folds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """A sum of step functions.

    Attributes
    ----------
    intercept
        Added to every row.
    cuts, heights
        For each column: cuts (k,) and the heights (k + 1,) below, between and above them; a value equal to a cut
        lies above it.
    """

    intercept: float
    cuts: tuple[Floats, ...]
    heights: tuple[Floats, ...]

    def parts(self, X: Floats) -> Floats:
        """Contribution of each column to the log odds, shape (n, p)."""
        result = np.zeros(X.shape)
        for j, (cut, height) in enumerate(zip(self.cuts, self.heights, strict=True)):
            result[:, j] = height[np.searchsorted(cut, X[:, j], side="right")]
        return result


@dataclass(frozen=True)
class ExplainableBoosting:
    """Explainable boosting machine for each horizon, on top of the incidence by day.

    Parameters
    ----------
    bags
        Bags of patients; each leaves one inner fold out to stop early.
    max_bins
        Steps of a curve at the most.
    rounds, rate, min_rows, ridge, patience
        Passes over the features at the most, learning rate, rows in a step at the least, ridge on the heights, and
        passes without a gain after which a bag stops.
    columns, prepare
        Features by name, and their preprocessing.
    """

    bags: int = 5
    max_bins: int = 16
    rounds: int = 200
    rate: float = 0.04
    min_rows: int = 25
    ridge: float = 5.0
    patience: int = 20
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=lambda: PREPARE)

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedExplainable:
        """Boost one machine for each horizon.

        Raises
        ------
        NotEstimableError
            Too few events, nothing to learn from, or the package interpret-core is not there.
        """
        check_aligned(table, outcome)
        check_enough(outcome, "explainable boosting")
        mine, folds = inner_folds(outcome, self.bags, seed, "when to stop boosting")
        columns = self.columns(table.columns.tolist())
        pipeline = preprocessor(self.prepare)
        X = pipeline.learn(table[columns])
        if X.shape[1] == 0:
            raise NotEstimableError("no feature is left that varies and is known often enough")
        baseline = DayBaseline.fit(outcome, horizons)
        models = {}
        for horizon in horizons:
            y, weight = labels(outcome, horizon)
            models[horizon] = self._boost(X, y, weight, baseline.logit(table, horizon), (mine, folds), seed)
        if all(len(cut) == 0 for model in models.values() for cut in model.cuts):
            raise NotEstimableError("within every horizon all training rows have the same outcome: nothing to fit")
        return FittedExplainable(pipeline, pipeline.names_, columns, baseline, models)

    def _boost(
        self, X: Floats, y: Floats, weight: Floats, offset: Floats, folds: tuple[NDArray[np.intp], int], seed: int
    ) -> Curves:
        """One machine as curves (flat where all outcomes known in a bag are alike)."""
        seen = weight > 0
        mine = folds[0][seen]
        bags = np.array([np.where(mine == k, -1, 1) for k in range(folds[1])], dtype=np.int8)
        sides = [y[seen][bag == side] for bag in bags for side in (1, -1)]
        if any(len(side) == 0 for side in sides) or any(np.ptp(side) == 0 for side in sides[::2]):
            flat = np.zeros(1)
            return Curves(0.0, tuple(np.empty(0) for _ in range(X.shape[1])), tuple(flat for _ in range(X.shape[1])))
        machine = _machine()(
            feature_types=["continuous"] * X.shape[1], interactions=0, max_bins=self.max_bins, outer_bags=folds[1],
            learning_rate=self.rate, max_rounds=self.rounds, early_stopping_rounds=self.patience,
            min_samples_leaf=self.min_rows, reg_lambda=self.ridge, smoothing_rounds=0, n_jobs=1,
            random_state=int(stream(seed, "explainable").integers(2**31 - 1)),
        )  # fmt: skip
        machine.fit(X[seen], y[seen].astype(int), sample_weight=weight[seen], bags=bags.T, init_score=offset[seen])
        return _curves(machine, X.shape[1])


def _machine() -> Any:
    try:
        from interpret.glassbox import ExplainableBoostingClassifier
    except ImportError as error:
        raise NotEstimableError("explainable boosting needs the package interpret-core") from error
    return ExplainableBoostingClassifier


def _curves(machine: Any, columns: int) -> Curves:
    """Cuts and heights of a fitted machine; bins for missing and unknown values, which cannot occur, left out."""
    cuts, heights = [np.empty(0) for _ in range(columns)], [np.zeros(1) for _ in range(columns)]
    for term, score in zip(machine.term_features_, machine.term_scores_, strict=True):
        (feature,) = term
        cuts[feature] = np.asarray(machine.bins_[feature][0], dtype=float)
        heights[feature] = np.asarray(score, dtype=float)[1:-1]
    return Curves(float(np.ravel(machine.intercept_)[0]), tuple(cuts), tuple(heights))


@dataclass(frozen=True)
class FittedExplainable:
    """Curves by horizon; :meth:`curve` reads one off."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline
    models: dict[Horizon, Curves]

    @property
    def parameters(self) -> int:
        """Candidate features (each a curve)."""
        return len(self.names)

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)
        X = self.pipeline.matrix(table[self.columns])

        def raw(one: Horizon) -> Floats:
            model = self.models[one]
            return expit(self.baseline.logit(table, one) + model.intercept + model.parts(X).sum(axis=1))

        return coherent(raw, table, list(self.models), as_horizon(horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Height of each feature's curve at the row's value, log odds."""
        parts = fitted_for(self.models, horizon).parts(self.pipeline.matrix(table[self.columns]))
        return sum_by_source(pd.DataFrame(parts, index=table.index, columns=self.names))

    def curve(self, name: str, horizon: Horizon | float) -> pd.DataFrame:
        """The curve of one prepared column: columns ``start`` (-inf first), ``end`` (inf last), ``log_odds``."""
        model, place = fitted_for(self.models, horizon), self.names.index(name)
        edges = np.r_[-np.inf, model.cuts[place], np.inf]
        return pd.DataFrame({"start": edges[:-1], "end": edges[1:], "log_odds": model.heights[place]})

    def settings(self) -> dict[str, float]:
        """Largest range of a curve, log odds, for each horizon."""
        return {
            f"largest range, {h.label}": max(float(np.ptp(height)) for height in m.heights)
            for h, m in self.models.items()
        }

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        arrays: Arrays = {"intercept": np.array([m.intercept for m in self.models.values()])}
        for k, model in enumerate(self.models.values()):
            arrays[f"size{k}"] = np.array([len(cut) for cut in model.cuts], dtype=np.int64)
            arrays[f"cuts{k}"] = np.concatenate(model.cuts)
            arrays[f"heights{k}"] = np.concatenate(model.heights)
        return join(
            {"kind": "explainable", "names": self.names, "columns": self.columns}
            | {"horizons": horizons_out(list(self.models))},
            arrays,
            pipeline=preprocess_parts.to_parts(self.pipeline),
            baseline=baseline_parts(self.baseline),
        )


def from_parts(meta: Meta, arrays: Arrays) -> FittedExplainable:
    """The model again."""
    models = {}
    for k, horizon in enumerate(horizons_in(meta["horizons"])):
        size = np.asarray(arrays[f"size{k}"], dtype=np.int64)
        cuts = np.split(floats(arrays[f"cuts{k}"]), np.cumsum(size)[:-1])
        heights = np.split(floats(arrays[f"heights{k}"]), np.cumsum(size + 1)[:-1])
        if any(len(h) != len(c) + 1 for c, h in zip(cuts, heights, strict=True)):
            raise ValueError("cuts and heights of a curve do not belong together")
        models[horizon] = Curves(float(floats(arrays["intercept"])[k]), tuple(cuts), tuple(heights))
    return FittedExplainable(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        baseline_from(*child(meta, arrays, "baseline")),
        models,
    )
