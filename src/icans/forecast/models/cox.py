"""Rung (e): cause-specific Cox models on stacked risk sets (landmark supermodel).

Every landmark's risk set is a stratum with a baseline of its own; covariate effects are shared by the landmarks,
and may change linearly with the landmark's day. The event's hazard has covariates, the competing event's (rare)
has only its baselines. Incidence is the product integral of both (Aalen-Johansen).

References: van Houwelingen HC, Scand J Stat 2007;34:70, doi 10.1111/j.1467-9469.2006.00529.x; Nicolaie MA et al.,
Stat Med 2013;32:2031, doi 10.1002/sim.5665 (competing risks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast import preprocess_parts
from icans.forecast.cox import FittedCox, PenalisedCox
from icans.forecast.models.base import as_horizon, check_aligned, labels, landmarks, last_value_columns
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import cox_from, cox_parts
from icans.forecast.outcomes import COMPETING, EVENT, Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import deviance
from icans.forecast.tuning import Rule, choose, inner_folds

Floats = NDArray[np.float64]

#: Penalties tried, per event of the stacked data, strongest first (see the logistic model's for the scale).
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
#: An interaction with the landmark's day is held four times as tightly as the effect itself: effects that change
#: with the day are a refinement that small cohorts seldom support.
INTERACTION_PENALTY = 4.0
#: A baseline step of one (the last of a risk set has the event) is held just below it, so that its log exists.
MAX_STEP = 1.0 - 1e-6


@dataclass(frozen=True)
class LandmarkCox:
    """Penalised cause-specific Cox supermodel on the newest values.

    Parameters
    ----------
    interactions
        Let every effect change linearly with the landmark's day.
    penalties, columns, prepare, inner_folds, rule
        As in the logistic model; one penalty serves every horizon.
    """

    interactions: bool = False
    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 5
    rule: Rule = "best"

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedLandmarkCox:
        """Choose the penalty inside the training data, then fit on all of it."""
        check_aligned(table, outcome)
        if not (outcome["event"] == EVENT).any():
            raise NotEstimableError("no event in the training data")
        table = table[self.columns(table.columns.tolist())]  # a few of hundreds: rows are taken from it many times
        best = self._tune(table, outcome, horizons, seed) if len(self.penalties) > 1 else 0
        stack, X = _Stack.learn(self, table)
        (own,), rival = stack.hazards(X, table, outcome, horizons, [self.penalties[best]])
        return FittedLandmarkCox(stack, self.penalties[best], own, rival)

    def _tune(self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int) -> int:
        mine, folds = inner_folds(outcome, self.inner_folds, seed, "a penalty")
        losses = np.full((folds, len(self.penalties)), np.nan)
        known = [labels(outcome, h) for h in horizons]
        for k in range(folds):
            train, test = mine != k, mine == k
            seen, held_out = table[train], table[test]
            stack, inner = _Stack.learn(self, seen)
            outer, at = stack.matrix(held_out), landmarks(held_out)
            path, rival = stack.hazards(inner, seen, outcome[train], horizons, self.penalties)
            for j, own in enumerate(path):
                risks = _risks(own, rival, outer, at, horizons)
                pairs = zip(risks, known, strict=True)
                scored = [deviance(y[test], r, w[test]) for r, (y, w) in pairs if w[test].sum() > 0]
                losses[k, j] = np.mean(scored) if scored else np.nan
        return choose(losses, self.rule)


@dataclass(frozen=True)
class _Stack:
    """Preprocessing fitted on the training rows, and the design matrix made with it."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    interactions: bool
    day_centre: float
    day_spread: float

    @classmethod
    def learn(cls, model: LandmarkCox, table: pd.DataFrame) -> tuple[_Stack, Floats]:
        """Learn columns, preprocessing and the scale of the day from the training rows; and their matrix."""
        # Within a stratum the landmark's day is a constant and carries nothing for the partial likelihood.
        columns = [name for name in model.columns(table.columns.tolist()) if name != "day"]
        pipeline = preprocessor(model.prepare)
        X = pipeline.learn(table[columns])
        day = landmarks(table) / 24.0
        spread = float(day.std()) or 1.0
        stack = cls(pipeline, pipeline.names_, columns, model.interactions, float(day.mean()), spread)
        return stack, stack._widened(X, table)

    def matrix(self, table: pd.DataFrame) -> Floats:
        """Prepared columns, then (with interactions) their products with the landmark's day."""
        return self._widened(self.pipeline.matrix(table[self.columns]), table)

    def _widened(self, X: Floats, table: pd.DataFrame) -> Floats:
        day = (landmarks(table) / 24.0 - self.day_centre) / self.day_spread
        return np.column_stack([X, X * day[:, None]]) if self.interactions else X

    def hazards(
        self,
        X: Floats,
        table: pd.DataFrame,
        outcome: pd.DataFrame,
        horizons: Sequence[Horizon],
        penalties: Sequence[float],
    ) -> tuple[list[FittedCox], FittedCox | None]:
        """Models of the event for each penalty (with covariates) and of the competing event (baselines only)."""
        strata = landmarks(table)
        farthest = np.max([h.window(strata) for h in horizons], axis=0)
        time = np.minimum(outcome["time_h"].to_numpy(dtype=float), farthest)
        code = np.where(outcome["time_h"].to_numpy() <= farthest, outcome["event"].to_numpy(), 0)
        width = len(self.names)
        share = np.repeat([1.0, INTERACTION_PENALTY], [width, X.shape[1] - width])
        events = max(int((code == EVENT).sum()), 1)
        alphas = [tuple(share * penalty * events) for penalty in penalties]
        own = PenalisedCox(ties="efron").fit_path(alphas, X, time, code == EVENT, strata=strata)
        if not (code == COMPETING).any():
            return own, None
        return own, PenalisedCox().fit(np.empty((len(X), 0)), time, code == COMPETING, strata=strata)


@dataclass(frozen=True)
class FittedLandmarkCox:
    """A fitted supermodel: shared coefficients, one baseline per landmark and cause."""

    stack: _Stack
    penalty: float
    own: FittedCox
    rival: FittedCox | None

    @property
    def parameters(self) -> int:
        """Coefficients, interactions included."""
        return len(self.own.coefficients)

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Cumulative incidence of the event within the horizon; a landmark not seen takes the nearest one's
        baselines.
        """
        return _risks(self.own, self.rival, self.stack.matrix(table), landmarks(table), [as_horizon(horizon)])[0]

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Coefficient x distance from the training mean (log hazard), summed over a feature's columns."""
        parts = (self.stack.matrix(table) - self.own.centre) * self.own.coefficients
        width = len(self.stack.names)
        total = parts[:, :width] + (parts[:, width:] if self.stack.interactions else 0.0)
        return sum_by_source(pd.DataFrame(total, index=table.index, columns=self.stack.names))

    def settings(self) -> dict[str, float]:
        """The penalty chosen."""
        return {"penalty": self.penalty}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        stack = self.stack
        meta: Meta = {"kind": "landmark_cox", "names": stack.names, "columns": stack.columns}
        meta |= {"interactions": stack.interactions, "rival": self.rival is not None}
        children = {"pipeline": preprocess_parts.to_parts(stack.pipeline), "own": cox_parts(self.own)}
        if self.rival is not None:
            children["rival_model"] = cox_parts(self.rival)
        scale = np.array([stack.day_centre, stack.day_spread, self.penalty])
        return join(meta, {"scale": scale}, **children)


def from_parts(meta: Meta, arrays: Arrays) -> FittedLandmarkCox:
    """The model again."""
    centre, spread, penalty = floats(arrays["scale"]).tolist()
    stack = _Stack(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        bool(meta["interactions"]),
        centre,
        spread,
    )
    rival = cox_from(*child(meta, arrays, "rival_model")) if meta["rival"] else None
    return FittedLandmarkCox(stack, penalty, cox_from(*child(meta, arrays, "own")), rival)


def _risks(own: FittedCox, rival: FittedCox | None, X: Floats, at: Floats, horizons: Sequence[Horizon]) -> list[Floats]:
    """Cumulative incidence within each horizon for rows at landmarks ``at``."""
    relative = np.exp(np.clip(own.linear_predictor(X), -30.0, 30.0))
    known = np.array([label for label, _, _ in own.baseline], dtype=float)
    nearest = known[np.argmin(np.abs(at[:, None] - known[None, :]), axis=1)] if len(at) else at
    result = [np.zeros(len(at)) for _ in horizons]
    for label in np.unique(nearest):
        mine = nearest == label
        grid, first, second = _steps(own, rival, float(label))
        curve = _incidence(relative[mine], first, second)
        for k, horizon in enumerate(horizons):
            index = np.searchsorted(grid, horizon.window(at[mine]), side="right")
            result[k][mine] = curve[np.arange(mine.sum()), index]
    return result


def _steps(own: FittedCox, rival: FittedCox | None, label: float) -> tuple[Floats, Floats, Floats]:
    """Times and hazard steps of both causes in one stratum."""
    at, first = _jumps(own, label)
    if rival is None:
        return at, first, np.zeros(len(at))
    at_rival, second = _jumps(rival, label)
    grid = np.union1d(at, at_rival)
    both = np.zeros((2, len(grid)))
    both[0, np.searchsorted(grid, at)] = first
    both[1, np.searchsorted(grid, at_rival)] = second
    return grid, both[0], both[1]


def _jumps(model: FittedCox, label: float) -> tuple[Floats, Floats]:
    for name, at, height in model.baseline:
        if name == label:
            return at, np.diff(height, prepend=0.0)
    return np.empty(0), np.empty(0)


def _incidence(relative: Floats, own: Floats, rival: Floats) -> Floats:
    """Incidence after 0, 1, ... steps, shape (n, steps + 1).

    Times are whole days as a rule, so that steps h of the baseline are large. They are read as grouped hazards:
    an average patient survives a step with 1 - h (as in Aalen-Johansen), one of relative hazard r with
    (1 - h)^r (Kalbfleisch and Prentice, Biometrika 1973;60:267), which can never be negative.
    """
    hazard = relative[:, None] * -np.log1p(-np.minimum(own, MAX_STEP))
    total = hazard - np.log1p(-np.minimum(rival, MAX_STEP))
    free = np.exp(-np.cumsum(total, axis=1))
    before = np.column_stack([np.ones(len(relative)), free[:, :-1]]) if len(own) else np.ones((len(relative), 0))
    share = np.divide(hazard, total, out=np.zeros_like(hazard), where=total > 0)
    gained = before * -np.expm1(-total) * share
    return np.column_stack([np.zeros(len(relative)), np.cumsum(gained, axis=1)])
