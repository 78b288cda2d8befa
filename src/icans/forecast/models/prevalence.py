"""Rung (a): everybody in the risk set gets the risk set's incidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.models.base import DayBaseline, check_aligned
from icans.forecast.models.parts import Arrays, Meta, Parts, child, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prevalence:
    """Incidence by day: Aalen-Johansen in each landmark's risk set. What a model must beat to say anything."""

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedPrevalence:
        """Estimate the incidence of each risk set."""
        check_aligned(table, outcome)
        return FittedPrevalence(DayBaseline.fit(outcome, horizons))


@dataclass(frozen=True)
class FittedPrevalence:
    """Incidence by landmark and horizon."""

    baseline: DayBaseline

    @property
    def parameters(self) -> int:
        """No candidate predictor."""
        return 0

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """The risk set's incidence for each row."""
        return expit(self.baseline.logit(table, horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """No column: nobody differs from anybody else."""
        return pd.DataFrame(index=table.index)

    def settings(self) -> dict[str, float]:
        """Nothing was chosen."""
        return {}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        return join({"kind": "prevalence"}, {}, baseline=baseline_parts(self.baseline))


def from_parts(meta: Meta, arrays: Arrays) -> FittedPrevalence:
    """The model again."""
    return FittedPrevalence(baseline_from(*child(meta, arrays, "baseline")))
