"""Rungs with the mechanistic block: its own forecast, and the same learners with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import CLINICAL, MECHANISTIC
from icans.forecast.ladder import Rung
from icans.forecast.mechanistic.foretold import AHEAD_H, EVENTS
from icans.forecast.models import recalibrated
from icans.forecast.models.base import as_horizon, check_aligned, fitted_for, labels, landmarks, last_value_columns
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.parts import Arrays, Meta, Parts, child, horizons_in, horizons_out, join
from icans.forecast.models.recalibrated import FittedScore, FittedShift, Recalibrated
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import deviance

Floats = NDArray[np.float64]

#: Columns of the block that a linear model is given: states that differ in kind, the barrier, the event ahead.
KEY = ("mech.activation", "mech.endothelium", "mech.neurons", "mech.neurons.72h", "mech.open.72h",
       "mech.icans_1.72h", "mech.icans_3.72h", "mech.crs_2.72h")  # fmt: skip


def with_key_columns(columns: Sequence[str]) -> list[str]:
    """The features of a last-value model, and the few columns of the block that a linear model is given."""
    return [*last_value_columns(columns), *(name for name in KEY if name in set(columns))]


@dataclass(frozen=True)
class MechanisticForecast:
    """The patient model's own forecast, recalibrated by intercept and slope for each horizon.

    Parameters
    ----------
    event
        Event of the block. None: the one that fits the training data best, of those that the block foretells.
    """

    event: str | None = None

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedMechanisticForecast:
        """Recalibrate the column of the nearest span for each horizon."""
        check_aligned(table, outcome)
        best: tuple[float, FittedMechanisticForecast] | None = None
        for event in EVENTS if self.event is None else (self.event,):
            models: dict[Horizon, FittedScore | FittedShift] = {}
            lost = 0.0
            for horizon in horizons:
                column = nearest(event, horizon, landmarks(table))
                models[horizon] = Recalibrated((column,)).fit(table, outcome, [horizon], seed)
                y, weight = labels(outcome, horizon)
                lost += deviance(y, models[horizon].predict(table, horizon), weight)
            if best is None or lost < best[0]:
                best = (lost, FittedMechanisticForecast(event, models))
        if best is None:
            raise NotEstimableError("no event of the mechanistic block to recalibrate")
        return best[1]


@dataclass(frozen=True)
class FittedMechanisticForecast:
    """One recalibrated column for each horizon."""

    event: str
    models: dict[Horizon, FittedScore | FittedShift]

    @property
    def parameters(self) -> int:
        """One slope."""
        return max(model.parameters for model in self.models.values())

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)

        def raw(one: Horizon) -> Floats:
            return self.models[one].predict(table, one)

        return coherent(raw, table, list(self.models), as_horizon(horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """The column's own contribution, log odds."""
        return fitted_for(self.models, horizon).reasons(table, horizon)

    def settings(self) -> dict[str, float]:
        """The slope of each horizon, and which event was taken."""
        made = {f"event {self.event}": 1.0}
        for model in self.models.values():
            made |= model.settings()
        return made

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        inner = {f"model{k}": model.to_parts() for k, model in enumerate(self.models.values())}
        meta: Meta = {"kind": "mechanistic", "event": self.event, "horizons": horizons_out(list(self.models))}
        return join(meta, {}, **inner)


def from_parts(meta: Meta, arrays: Arrays) -> FittedMechanisticForecast:
    """The model again."""
    horizons = horizons_in(meta["horizons"])
    models = [recalibrated.from_parts(*child(meta, arrays, f"model{k}")) for k in range(len(horizons))]
    return FittedMechanisticForecast(str(meta["event"]), dict(zip(horizons, models, strict=True)))


def nearest(event: str, horizon: Horizon, at_h: Floats) -> str:
    """The column whose span is nearest to a horizon (its median window where it ends on a fixed day)."""
    window = float(np.median(horizon.window(at_h))) if len(at_h) else horizon.hours
    spans = np.array(AHEAD_H)
    return f"mech.{event}.{spans[np.argmin(np.abs(np.log(spans / max(window, 1.0))))]:g}h"


def mechanistic_rungs(boosting: bool = True) -> tuple[Rung, ...]:
    """The block's own forecast, and each learner with clinical columns only, mechanistic ones only, and both."""
    both = (*CLINICAL, *MECHANISTIC)
    linear = LastValueLogistic(columns=with_key_columns)
    rungs = [
        Rung("mechanistic", "the patient model's own forecast, recalibrated", MechanisticForecast(), MECHANISTIC),
        Rung("logistic_clinical", "ridge logistic regression, clinical columns only", linear, CLINICAL),
        Rung("logistic_mechanistic", "the same, mechanistic columns only", linear, MECHANISTIC),
        Rung("logistic_both", "the same, both", linear, both),
    ]
    if boosting:
        rungs += [
            Rung("boosting_clinical", "gradient-boosted trees, clinical columns only", Boosting(), CLINICAL),
            Rung("boosting_mechanistic", "the same, mechanistic columns only", Boosting(), MECHANISTIC),
            Rung("boosting_both", "the same, both", Boosting(), both),
        ]
    return tuple(rungs)
