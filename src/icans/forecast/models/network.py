"""A small neural network on the newest values: one hidden layer, one output a horizon, an ensemble of patients' folds.

The outputs are added to the log odds of the incidence by day and start at nought, so that a network that has learned
nothing *is* the incidence by day. Each member of the ensemble leaves out one fold of patients, which tells it when to
stop; the members' predictions for those patients together recalibrate the ensemble. Written in plain arrays: at this
size a step takes less time than the overhead of a deep-learning library.

References: Prechelt L 1998, doi 10.1007/3-540-49430-8_3 (early stopping); Kingma DP, Ba J, arXiv 1412.6980 (Adam);
Sundararajan M et al., arXiv 1703.01365 (integrated gradients: exact here in closed form).
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
    last_value_columns,
)
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.models.shrink import Shrink, check_enough, fit_shrink
from icans.forecast.outcomes import Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import expit
from icans.forecast.tuning import inner_folds

Floats = NDArray[np.float64]
Weights = tuple[Floats, Floats, Floats, Floats]

#: Steps between two looks at the held-out patients, and looks without a gain after which a member stops.
LOOK, PATIENCE = 5, 6


@dataclass(frozen=True)
class NeuralNetwork:
    """Ensemble of one-hidden-layer networks with early stopping on patients.

    Parameters
    ----------
    hidden
        Hidden units (tanh).
    members
        Folds of patients, each left out by one member (fewer where fewer patients have the event).
    decay, rate, steps
        Weight decay (on the mean loss), learning rate of Adam, and most steps.
    columns, prepare
        Features by name, and their preprocessing.
    """

    hidden: int = 12
    members: int = 5
    decay: float = 0.01
    rate: float = 0.01
    steps: int = 300
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedNetwork:
        """Train every member until its held-out patients gain no more, then recalibrate the ensemble."""
        check_aligned(table, outcome)
        check_enough(outcome, "a network")
        mine, folds = inner_folds(outcome, self.members, seed, "when to stop training")
        columns = self.columns(table.columns.tolist())
        pipeline = preprocessor(self.prepare)
        X = pipeline.learn(table[columns])
        if X.shape[1] == 0:
            raise NotEstimableError("no feature is left that varies and is known often enough")
        known = [labels(outcome, h) for h in horizons]
        y, weight = (np.column_stack([pair[k] for pair in known]) for k in range(2))
        if np.all([np.ptp(a[w > 0]) == 0 for a, w in known if (w > 0).any()]):
            raise NotEstimableError("within every horizon all training rows have the same outcome: nothing to fit")
        baseline = DayBaseline.fit(outcome, horizons)
        offset = np.column_stack([baseline.logit(table, h) for h in horizons])
        trained, unseen, stops = [], np.zeros_like(y), []
        for k in range(folds):
            train, test = mine != k, mine == k
            first = self._begin(X.shape[1], len(horizons), seed, k)
            weights, stop = self._train(first, [a[train] for a in (X, offset, y, weight)],
                                        [a[test] for a in (X, offset, y, weight)])  # fmt: skip
            trained.append(weights)
            stops.append(stop)
            unseen[test] = _forward(weights, X[test])[1]
        shrink = fit_shrink(list(offset.T), list(unseen.T), list(y.T), list(weight.T))
        members = tuple(np.stack([w[k] for w in trained]) for k in range(4))
        return FittedNetwork(
            pipeline, pipeline.names_, columns, baseline, members, shrink, list(horizons), float(np.mean(stops))
        )

    def _begin(self, columns: int, outputs: int, seed: int, member: int) -> Weights:
        rng = stream(seed, "network", member)
        first = rng.normal(size=(columns, self.hidden)) / np.sqrt(columns)
        return first, np.zeros(self.hidden), np.zeros((self.hidden, outputs)), np.zeros(outputs)

    def _train(self, weights: Weights, train: list[Floats], test: list[Floats]) -> tuple[Weights, int]:
        """Adam on all rows at once; the weights at the best look, and its step (0: the incidence by day)."""
        current = [w.copy() for w in weights]
        mean, square = ([np.zeros_like(w) for w in current] for _ in range(2))
        best, best_loss, stop, waited = weights, _loss(weights, test), 0, 0
        for step in range(1, self.steps + 1):
            gradient = _gradient(current, train, self.decay)
            for k, g in enumerate(gradient):
                mean[k] = 0.9 * mean[k] + 0.1 * g
                square[k] = 0.999 * square[k] + 0.001 * g * g
                size = np.sqrt(square[k] / (1 - 0.999**step)) + 1e-8
                current[k] = current[k] - self.rate * (mean[k] / (1 - 0.9**step)) / size
            if step % LOOK:
                continue
            loss = _loss(current, test)
            waited += 1
            if loss < best_loss - 1e-6:
                best, best_loss, stop, waited = tuple(w.copy() for w in current), loss, step, 0  # type: ignore[assignment]
            if waited >= PATIENCE:
                break
        return best, stop


def _forward(weights: Sequence[Floats], X: Floats) -> tuple[Floats, Floats]:
    """Hidden units, shape (n, hidden), and outputs, shape (n, horizons)."""
    hidden = np.tanh(X @ weights[0] + weights[1])
    return hidden, hidden @ weights[2] + weights[3]


def _loss(weights: Sequence[Floats], data: list[Floats]) -> float:
    """Weighted mean of the log loss, mean over horizons."""
    X, offset, y, weight = data
    eta = np.clip(offset + _forward(weights, X)[1], -30.0, 30.0)
    total = np.maximum(weight.sum(axis=0), 1e-12)
    return float(np.mean((weight * (np.logaddexp(0.0, eta) - y * eta)).sum(axis=0) / total))


def _gradient(weights: Sequence[Floats], data: list[Floats], decay: float) -> list[Floats]:
    X, offset, y, weight = data
    hidden, out = _forward(weights, X)
    share = weight / np.maximum(weight.sum(axis=0), 1e-12) / y.shape[1]
    error = share * (expit(offset + out) - y)
    back = (error @ weights[2].T) * (1.0 - hidden**2)
    return [
        X.T @ back + decay * weights[0],
        back.sum(axis=0),
        hidden.T @ error + decay * weights[2],
        error.sum(axis=0),
    ]


@dataclass(frozen=True)
class FittedNetwork:
    """The members' weights: ``members`` holds input weights (m, p, h), hidden (m, h), output (m, h, k) and (m, k)."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    baseline: DayBaseline
    members: tuple[Floats, ...]
    shrink: Shrink
    horizons: list[Horizon]
    stop: float

    @property
    def parameters(self) -> int:
        """Weights of one member (early stopping and decay leave far fewer free)."""
        return int(sum(w[0].size for w in self.members))

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.baseline.log_odds, horizon)
        X = self.pipeline.matrix(table[self.columns])
        outputs = np.mean([_forward(w, X)[1] for w in zip(*self.members, strict=True)], axis=0)

        def raw(one: Horizon) -> Floats:
            deviation = outputs[:, self.horizons.index(one)]
            return expit(self.shrink.logit(self.baseline.logit(table, one), deviation))

        return coherent(raw, table, self.horizons, as_horizon(horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Integrated gradients from the average patient: they add up to the difference in log odds."""
        fitted_for(self.baseline.log_odds, horizon)
        output = self.horizons.index(as_horizon(horizon))
        X = self.pipeline.matrix(table[self.columns])
        parts = np.zeros_like(X)
        for first, bias, second, _ in zip(*self.members, strict=True):
            pull = X @ first
            rise = np.tanh(pull + bias) - np.tanh(bias)
            slope = np.divide(rise, pull, out=np.tile(1.0 - np.tanh(bias) ** 2, (len(X), 1)), where=np.abs(pull) > 1e-8)
            parts += X * ((slope * second[:, output]) @ first.T)
        parts *= self.shrink.slope / len(self.members[0])
        return sum_by_source(pd.DataFrame(parts, index=table.index, columns=self.names))

    def settings(self) -> dict[str, float]:
        """Mean number of steps at which members stopped, and the slope of the recalibration."""
        return {"steps": self.stop, "slope": self.shrink.slope}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        numbers = np.array([self.shrink.intercept, self.shrink.slope, self.stop])
        arrays: Arrays = {f"weights{k}": w for k, w in enumerate(self.members)} | {"numbers": numbers}
        return join(
            {"kind": "network", "names": self.names, "columns": self.columns},
            arrays,
            pipeline=preprocess_parts.to_parts(self.pipeline),
            baseline=baseline_parts(self.baseline),
        )


def from_parts(meta: Meta, arrays: Arrays) -> FittedNetwork:
    """The model again."""
    baseline = baseline_from(*child(meta, arrays, "baseline"))
    intercept, slope, stop = floats(arrays["numbers"]).tolist()
    return FittedNetwork(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        baseline,
        tuple(floats(arrays[f"weights{k}"]) for k in range(4)),
        Shrink(intercept, slope),
        list(baseline.log_odds),
        stop,
    )
