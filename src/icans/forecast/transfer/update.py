"""Coefficients updated by local patients, the old ones as prior; fine-tuning from one product to another.

The old model's log odds enter a local ridge regression as an offset:

    logit = a_h + logit_old + Z delta,      delta ~ N(0, 1 / (n penalty))

With the old model's own columns, prepared as it prepared them, this is maximum likelihood with a normal prior centred
at the old coefficients (for a logistic rung exactly so). With an endless penalty it is the old model with a new
intercept; with none it has forgotten the old one. The penalty is chosen by cross-validation among local patients, so
that few patients stay near the old model.

It works for any fitted rung, because only its log odds are asked. A model with a method ``fine_tune(inputs, outcome,
horizons, seed)`` (networks that can go on training) is asked to do it in its own way by :func:`fine_tuned`.

References: Steyerberg EW et al., Stat Med 2004;23:2567, doi 10.1002/sim.1844; Ibrahim JG, Chen MH, Stat Sci 2000;15:46
(the old data as prior); Wiens J et al., J Am Med Inform Assoc 2014;21:699 (transfer between hospitals). From memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast import preprocess_parts
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import FittedRung
from icans.forecast.models import parts
from icans.forecast.models.base import Fitted, as_horizon, check_aligned, fitted_for, labels, last_value_columns
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import FittedLogistic, sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import ridge_from, ridge_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import RidgeLogistic, deviance, expit, fit_path, log_odds
from icans.forecast.transfer.recalibrate import recalibrate
from icans.forecast.tuning import choose, inner_folds

Floats = NDArray[np.float64]

#: Penalties on the change of coefficients, strongest first; the first leaves next to nothing of it.
PENALTIES = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Updated:
    """A fitted rung of elsewhere as a model whose coefficients are updated here.

    Parameters
    ----------
    source
        The fitted rung.
    penalties
        On the change, from the strongest; chosen by cross-validation among local patients.
    slope
        Scale the old log odds by a slope that is fitted here, too.
    columns
        Columns whose effects may change. Where the source is a logistic rung its own are taken.
    prepare
        How they are prepared, for a source that has no preparation of its own.
    inner_folds
        Folds of the local cross-validation.
    """

    source: FittedRung
    penalties: tuple[float, ...] = PENALTIES
    slope: bool = False
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 5

    @property
    def uses_history(self) -> bool:
        """Whether the source reads the stream of events."""
        return self.source.rung.uses_history

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedUpdate:
        """Update on local patients.

        Raises
        ------
        NotEstimableError
            Fewer than two local patients with an event, or all alike within every horizon (where they are alike
            within one of several, that one keeps the source).
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        outcome = outcome.reset_index(drop=True)
        pipeline, columns = self._pipeline(inputs.table)
        X = pipeline.matrix(inputs.table[columns])
        old = {h: log_odds(self.source.predict(inputs, h)) for h in horizons}
        chosen = self._tune(X, old, outcome, horizons, seed)
        models, slopes = {}, {}
        for horizon in horizons:
            y, w = labels(outcome, horizon)
            slopes[horizon] = self._slope(old[horizon], y, w)
            penalty = self.penalties[chosen[horizon]]
            try:
                models[horizon] = fit_path(X, y, w, (penalty,), slopes[horizon] * old[horizon])[0]
            except NotEstimableError:
                models[horizon] = RidgeLogistic(0.0, np.zeros(X.shape[1]), float("inf"))
        if all(np.isinf(model.penalty) for model in models.values()):
            raise NotEstimableError("within every horizon all local patients have the same outcome: nothing to update")
        rung = self.source.rung
        return FittedUpdate(self.source.model, self.uses_history, rung.groups, pipeline, columns, models, slopes)

    def _pipeline(self, table: pd.DataFrame) -> tuple[Preparation, list[str]]:
        model = self.source.model
        if isinstance(model, FittedLogistic):
            return model.pipeline, model.columns
        seen = Inputs.of(table).only(self.source.rung.groups).table
        columns = self.columns(seen.columns.tolist())
        pipeline = preprocessor(self.prepare)
        pipeline.learn(table[columns])
        return pipeline, columns

    def _slope(self, old: Floats, y: Floats, w: Floats) -> float:
        if not self.slope:
            return 1.0
        try:
            return max(recalibrate(old, y, w, slope_sd=0.5).slope, 0.0)
        except NotEstimableError:
            return 1.0

    def _tune(
        self, X: Floats, old: dict[Horizon, Floats], outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int
    ) -> dict[Horizon, int]:
        fold, count = inner_folds(outcome, self.inner_folds, seed, "how far the coefficients may move")
        chosen = {}
        for horizon in horizons:
            y, w = labels(outcome, horizon)
            losses = np.full((count, len(self.penalties)), np.nan)
            for k in range(count):
                train, test = fold != k, fold == k
                if w[test].sum() == 0:
                    continue
                offset = self._slope(old[horizon][train], y[train], w[train]) * old[horizon]
                try:
                    path = fit_path(X[train], y[train], w[train], self.penalties, offset[train])
                except NotEstimableError:
                    continue
                losses[k] = [deviance(y[test], m.probability(X[test], offset[test]), w[test]) for m in path]
            chosen[horizon] = choose(losses, "best")
        return chosen


@dataclass(frozen=True)
class FittedUpdate:
    """A source and the local change of its coefficients."""

    source: Fitted
    uses_history: bool
    groups: tuple[str, ...] | None
    pipeline: Preparation
    columns: list[str]
    models: dict[Horizon, RidgeLogistic]
    slopes: dict[Horizon, float]

    @property
    def parameters(self) -> int:
        """Coefficients that could change, and the slope."""
        return len(self.pipeline.names_) + 1

    def predict(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)
        features = Inputs.of(table).table
        view, X = self._view(table), self.pipeline.matrix(features.reindex(columns=self.columns))

        def raw(one: Horizon) -> Floats:
            old = log_odds(self.source.predict(view, one))
            return expit(self.models[one].logit(X, self.slopes[one] * old))

        return coherent(raw, features, list(self.models), as_horizon(horizon))

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """The source's reasons and the change, summed over features."""
        features = Inputs.of(table).table
        model = fitted_for(self.models, horizon)
        change = self.pipeline.matrix(features.reindex(columns=self.columns)) * model.coefficients
        own = self.source.reasons(self._view(table), horizon) * self.slopes[as_horizon(horizon)]
        moved = sum_by_source(pd.DataFrame(change, index=features.index, columns=self.pipeline.names_))
        together = pd.concat([own, moved], axis=1)
        return together.T.groupby(level=0, sort=False).sum().T

    def settings(self) -> dict[str, float]:
        """The penalty on the change and the slope of each horizon."""
        found = {f"penalty, {h.label}": m.penalty for h, m in self.models.items()}
        return found | {f"slope, {h.label}": v for h, v in self.slopes.items()}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "update", "uses_history": self.uses_history, "columns": self.columns}
        meta |= {"groups": None if self.groups is None else list(self.groups)}
        return join(
            meta,
            {"slopes": np.array(list(self.slopes.values()), dtype=float)},
            source=parts.to_parts(self.source),
            pipeline=preprocess_parts.to_parts(self.pipeline),
            models=ridge_parts(self.models),
        )

    def _view(self, table: pd.DataFrame | Inputs) -> pd.DataFrame | Inputs:
        mine = Inputs.of(table).only(self.groups)
        return mine if self.uses_history else mine.table


def from_parts(meta: Meta, arrays: Arrays) -> FittedUpdate:
    """The model again."""
    models = ridge_from(*child(meta, arrays, "models"))
    slopes = dict(zip(models, floats(arrays["slopes"]).tolist(), strict=True))
    groups = None if meta["groups"] is None else tuple(map(str, meta["groups"]))
    return FittedUpdate(
        parts.from_parts(*child(meta, arrays, "source")),
        bool(meta["uses_history"]),
        groups,
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["columns"]),
        models,
        slopes,
    )


def fine_tuned(
    source: FittedRung,
    table: pd.DataFrame | Inputs,
    outcome: pd.DataFrame,
    horizons: Sequence[Horizon],
    seed: int = 0,
    *,
    slope: bool = False,
) -> FittedRung | FittedUpdate:
    """A rung of one product adapted to another's patients: the model's own ``fine_tune`` if it has one, else an update.

    A model's own way is a warm start from its weights with a penalty on leaving them; it returns a fitted model.
    """
    own = getattr(source.model, "fine_tune", None)
    if own is None:
        return Updated(source, slope=slope).fit(table, outcome, horizons, seed)
    return FittedRung(source.rung, own(source.rung.shown(table), outcome, horizons, seed))
