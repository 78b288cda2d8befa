"""What every model of the ladder can do, and what they share: alignment, incidence by day, column choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotFittedError
from icans.forecast.incidence import incidence, ipcw
from icans.forecast.outcomes import EVENT, Horizon
from icans.forecast.plain import Plain, Table

Floats = NDArray[np.float64]
T = TypeVar("T")


class Fitted(Protocol):
    """A fitted model."""

    @property
    def parameters(self) -> int:
        """Number of candidate parameters that were fitted (for the sample-size statement)."""
        ...

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon for each row of the feature table, shape (n,)."""
        ...

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Contribution of each feature to the log odds or log hazard, one column a feature (may have none)."""
        ...

    def settings(self) -> dict[str, float]:
        """What was chosen inside the training data (penalty, number of trees ...)."""
        ...


class Forecaster(Protocol):
    """A model of the ladder before fitting: frozen settings."""

    def fit(self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0) -> Fitted:
        """Fit to stacked risk sets.

        Parameters
        ----------
        table
            Features, indexed (patient_id, landmark_h).
        outcome
            The outcome table, row by row the same patients and landmarks as ``table``.
        horizons
            The horizons that will be asked for.
        seed
            Names the random streams (inner folds, bagging).

        Raises
        ------
        NotEstimableError
            These data cannot give the model, and why.
        """
        ...


def as_horizon(horizon: Horizon | float) -> Horizon:
    """A number of hours is a window from the landmark."""
    return horizon if isinstance(horizon, Horizon) else Horizon(float(horizon))


def landmarks(table: Table) -> Floats:
    """Landmark of each row, hours."""
    if isinstance(table, Plain):
        return table.landmark_h
    return table.index.get_level_values("landmark_h").to_numpy(dtype=float)


def check_aligned(table: pd.DataFrame, outcome: pd.DataFrame) -> None:
    """Raise ValueError unless the two tables speak of the same patients and landmarks row by row."""
    same = len(table) == len(outcome) and bool(
        (table.index.get_level_values("patient_id") == outcome["patient_id"].to_numpy()).all()
        and (landmarks(table) == outcome["landmark_h"].to_numpy()).all()
    )
    if not same:
        raise ValueError("feature table and outcome table must have the same patients and landmarks in the same order")


def labels(outcome: pd.DataFrame, horizon: Horizon) -> tuple[Floats, Floats]:
    """Status within the horizon (0/1) and censoring weight of each row of stacked risk sets."""
    landmark = outcome["landmark_h"].to_numpy(dtype=float)
    return ipcw(outcome["time_h"], outcome["event"], horizon.window(landmark), landmark)


@dataclass(frozen=True)
class DayBaseline:
    """Incidence within each horizon by landmark, in the risk sets of the training data.

    Aalen-Johansen in each risk set, drawn towards one half by half an event, so that its log odds exist. Between
    landmarks the log odds are interpolated; beyond them the nearest one holds.
    """

    at: Floats
    log_odds: dict[Horizon, Floats]

    @classmethod
    def fit(cls, outcome: pd.DataFrame, horizons: Sequence[Horizon]) -> DayBaseline:
        """Estimate from the outcome table."""
        at = np.sort(outcome["landmark_h"].unique().astype(float))
        log_odds = {horizon: np.empty(len(at)) for horizon in horizons}
        for k, landmark in enumerate(at):
            rows = outcome[outcome["landmark_h"] == landmark]
            curve = incidence(rows["time_h"], rows["event"], EVENT)
            for horizon in horizons:
                risk = float(curve(horizon.window(landmark)))
                risk = (risk * len(rows) + 0.5) / (len(rows) + 1.0)
                log_odds[horizon][k] = np.log(risk / (1.0 - risk))
        return cls(at, log_odds)

    def logit(self, table: Table, horizon: Horizon | float) -> Floats:
        """Log odds for each row of a feature table."""
        return np.interp(landmarks(table), self.at, fitted_for(self.log_odds, horizon))

    def logits(self, table: Table, horizons: Sequence[Horizon]) -> Floats:
        """Log odds within several horizons, shape (n, horizons)."""
        at = landmarks(table)
        return np.stack([np.interp(at, self.at, fitted_for(self.log_odds, h)) for h in horizons], axis=1)


def fitted_for(models: dict[Horizon, T], horizon: Horizon | float) -> T:
    """What was fitted for a horizon.

    Raises
    ------
    NotFittedError
        The horizon was not among those given to ``fit``.
    """
    wanted = as_horizon(horizon)
    if wanted not in models:
        raise NotFittedError(f"not fitted for {wanted.label!r}; fitted for {[h.label for h in models]}")
    return models[wanted]


def last_value_columns(columns: Sequence[str]) -> list[str]:
    """The few features of a last-value model: day, patient, newest values, grades and drugs as known."""
    kept = (".last", ".now", ".max", ".given", ".age_d")
    return [name for name in columns if name == "day" or name.startswith("static.") or name.endswith(kept)]


def summary_columns(columns: Sequence[str]) -> list[str]:
    """Every feature but published scores, which are rungs of their own."""
    return [name for name in columns if not name.startswith("score.")]


def summed(names: Sequence[str], parts: Floats) -> tuple[list[str], Floats]:
    """Columns of the same name added up (missing values count as nothing), in the order in which names first come.

    Returns
    -------
    (names, array)
        Each name once, and shape (n, different names).
    """
    first: dict[str, int] = {}
    place = np.array([first.setdefault(name, len(first)) for name in names], dtype=np.intp)
    if len(first) == len(names):
        return list(first), np.where(np.isnan(parts), 0.0, parts)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(first)))
    return list(first), np.add.reduceat(np.where(np.isnan(parts), 0.0, parts)[:, order], starts, axis=1)
