"""A pool of grade path models: the weighted mean of their distributions.

A mean of forecasts is no worse in ranked probability score than the mean of their scores (the score is convex), and
models that err in different ways gain on each other (Genest C, Zidek JV, Stat Sci 1986;1:114). Weights are equal
unless given: with tens of patients, weights that are learned mostly learn noise (Clemen RT, Int J Forecast 1989;5:559).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.grade_path import PathModel, forecast_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PooledPath:
    """The weighted mean of several models.

    Parameters
    ----------
    name
        For tables.
    members
        Models of the grade path.
    weights
        Of the members, not negative; None: equal.
    """

    members: tuple[PathModel, ...]
    name: str = "pool"
    weights: tuple[float, ...] | None = None

    def fit(self, path: pd.DataFrame) -> PooledPath:
        """Fit every member."""
        return replace(self, members=tuple(member.fit(path) for member in self.members))

    def assemble(self, fitted: Mapping[str, PathModel]) -> PooledPath | None:
        """The pool of members that have been fitted already (by name); None where one has not."""
        if any(member.name not in fitted for member in self.members):
            return None
        return replace(self, members=tuple(fitted[member.name] for member in self.members))

    def predict_path(self, path: pd.DataFrame, ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days after each row, shape (n, 6)."""
        weights = np.ones(len(self.members)) if self.weights is None else np.asarray(self.weights, dtype=float)
        parts = np.stack([forecast_rows(member, path, ahead) for member in self.members])
        return np.einsum("m,mng->ng", weights / weights.sum(), parts)
