"""A random forest on summaries: one forest for all horizons, grown on samples of patients.

The trees split on how a row's weighted outcomes (event within the horizon / probability of still being observed)
differ from the incidence of its day, for all horizons at once. Each tree is grown on a bootstrap sample of
*patients*, so that the patients left out have not been seen at any landmark; their predictions choose the size of
the leaves and recalibrate the forest, whose risks are too narrow by construction. Breiman L, Mach Learn 2001;45:5;
weighted responses: Molinaro AM et al., J Multivar Anal 2004;90:154.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    summary_columns,
)
from icans.forecast.models.boosting import PREPARE
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.models.shrink import MIN_RISK, Shrink, check_enough, fit_shrink
from icans.forecast.models.trees import Trees
from icans.forecast.outcomes import Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import deviance, expit, log_odds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RandomForest:
    """Regression forest on weighted outcomes, recalibrated on the patients that each tree has not seen.

    Parameters
    ----------
    trees
        Number of trees.
    leaf_rows
        Smallest leaves tried, in stacked rows (a patient has one row a landmark); the best out of bag is kept.
    feature_share
        Share of columns tried at a split.
    columns, prepare
        Features by name, and their preprocessing.
    """

    trees: int = 100
    leaf_rows: tuple[int, ...] = (10,)
    feature_share: float = 1.0 / 3.0
    columns: Callable[[Sequence[str]], list[str]] = summary_columns
    prepare: PrepareSpec = field(default_factory=lambda: PREPARE)

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedForest:
        """Grow, choose the size of the leaves out of bag, recalibrate."""
        check_aligned(table, outcome)
        check_enough(outcome, "a forest")
        columns = self.columns(table.columns.tolist())
        pipeline = preprocessor(self.prepare)
        X = pipeline.learn(table[columns])
        if X.shape[1] == 0:
            raise NotEstimableError("no feature is left that varies and is known often enough")
        baseline = DayBaseline.fit(outcome, horizons)
        known = [labels(outcome, h) for h in horizons]
        start = np.column_stack([baseline.logit(table, h) for h in horizons])
        target = np.column_stack([y * w for y, w in known]) - expit(start)
        best: tuple[float, int, Trees, Shrink] | None = None
        for leaf in self.leaf_rows:
            trees, unseen = self._grow(X, target, outcome["patient_id"].to_numpy(), leaf, seed)
            shrink, loss = _recalibrate(start, unseen, known)
            if best is None or loss < best[0]:
                best = loss, leaf, trees, shrink
        if best is None:
            raise ValueError("leaf_rows names no size")
        return FittedForest(pipeline, pipeline.names_, columns, baseline, best[2], best[3], list(horizons), best[1])

    def _grow(
        self, X: Floats, target: Floats, patient: NDArray[np.object_], leaf: int, seed: int
    ) -> tuple[Trees, Floats]:
        """Trees, and the mean of the trees that have not seen a row's patient (NaN: all have), shape (n, horizons)."""
        from sklearn.tree import DecisionTreeRegressor

        single = X.astype(np.float32)
        ids, code = np.unique(patient.astype(str), return_inverse=True)
        total, count = np.zeros_like(target), np.zeros(len(X))
        grown = []
        for k in range(self.trees):
            rng = stream(seed, "forest", k)
            times = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))[code]
            mine = times > 0
            tree = DecisionTreeRegressor(
                max_features=self.feature_share, min_samples_leaf=leaf, random_state=int(rng.integers(2**31 - 1))
            )
            tree.fit(single[mine], target[mine], sample_weight=times[mine].astype(float))
            grown.append(tree)
            if not mine.all():
                total[~mine] += tree.predict(single[~mine]).reshape(-1, target.shape[1])
                count[~mine] += 1
        unseen = np.divide(total, count[:, None], out=np.full_like(total, np.nan), where=count[:, None] > 0)
        return Trees.of(grown), unseen


def _recalibrate(start: Floats, unseen: Floats, known: Sequence[tuple[Floats, Floats]]) -> tuple[Shrink, float]:
    """Intercept and slope from predictions of unseen patients, and the loss that they leave."""
    base = expit(start)
    deviation = log_odds(base + np.nan_to_num(unseen), MIN_RISK) - log_odds(base, MIN_RISK)
    weight = [w * ~np.isnan(unseen[:, k]) for k, (_, w) in enumerate(known)]
    status = [y for y, _ in known]
    shrink = fit_shrink(list(start.T), list(deviation.T), status, weight)
    losses = [
        deviance(y, expit(shrink.logit(start[:, k], deviation[:, k])), w)
        for k, (y, w) in enumerate(zip(status, weight, strict=True))
        if w.sum() > 0
    ]
    return shrink, float(np.mean(losses)) if losses else float("inf")


@dataclass(frozen=True)
class FittedForest:
    """Trees as arrays, the incidence by day that they correct, and how far they are believed."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline
    trees: Trees
    shrink: Shrink
    horizons: list[Horizon]
    leaf: int

    @property
    def parameters(self) -> int:
        """Candidate features; trees have no smaller count of parameters to state."""
        return len(self.names)

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.baseline.log_odds, horizon)
        grown = self.trees.predict(self.pipeline.matrix(table[self.columns])) if len(table) else np.empty((0, 1))

        def raw(one: Horizon) -> Floats:
            start = self.baseline.logit(table, one)
            base = expit(start)
            deviation = log_odds(base + grown[:, self.horizons.index(one)], MIN_RISK) - log_odds(base, MIN_RISK)
            return expit(self.shrink.logit(start, deviation))

        return coherent(raw, table, self.horizons, as_horizon(horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """What the splits on each feature added, turned to log odds by the secant from the incidence of the day."""
        fitted_for(self.baseline.log_odds, horizon)
        output = self.horizons.index(as_horizon(horizon))
        X = self.pipeline.matrix(table[self.columns])
        parts = self.trees.parts(X, output)
        base = expit(self.baseline.logit(table, horizon))
        grown = parts.sum(axis=1)
        rise = log_odds(base + grown, MIN_RISK) - log_odds(base, MIN_RISK)
        tangent = 1.0 / np.maximum(base * (1.0 - base), 1e-3)
        secant = np.divide(rise, grown, out=tangent, where=np.abs(grown) > 1e-9)
        frame = pd.DataFrame(parts * (self.shrink.slope * secant)[:, None], index=table.index, columns=self.names)
        return sum_by_source(frame)

    def settings(self) -> dict[str, float]:
        """Leaf size chosen, and the slope by which the forest was stretched."""
        return {"smallest leaf": float(self.leaf), "slope": self.shrink.slope}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        return join(
            {"kind": "forest", "names": self.names, "columns": self.columns, "leaf": self.leaf},
            {"shrink": np.array([self.shrink.intercept, self.shrink.slope])},
            pipeline=preprocess_parts.to_parts(self.pipeline),
            baseline=baseline_parts(self.baseline),
            trees=({}, self.trees.arrays()),
        )


def from_parts(meta: Meta, arrays: Arrays) -> FittedForest:
    """The model again."""
    baseline = baseline_from(*child(meta, arrays, "baseline"))
    return FittedForest(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        baseline,
        Trees.from_arrays(child(meta, arrays, "trees")[1]),
        Shrink(*floats(arrays["shrink"]).tolist()),
        list(baseline.log_odds),
        int(meta["leaf"]),
    )
