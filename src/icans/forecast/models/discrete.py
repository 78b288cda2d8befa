"""Cause-specific hazards in discrete time: the primary engine for competing risks.

In each bin of time from the landmark a patient who is still free may have one of several events (ICANS, death ...).
The log odds of each against none are those of the landmark's life table plus effects of the patient's features,
shared by all landmarks, which may change with the time ahead and with the day of the landmark. All of follow-up is
used: a patient who leaves is used until then, and what goes with leaving (a patient discharged because well) is
allowed for as far as the features tell it. Incidence follows by Aalen-Johansen, so that it never falls with the
horizon and the incidences of all kinds add up to at most one.

References: Nicolaie MA et al., Stat Med 2013;32:2031, doi 10.1002/sim.5665 (landmarking with competing risks);
Tutz G, Schmid M 2016, doi 10.1007/978-3-319-28158-2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast import preprocess_parts
from icans.forecast.hazard_likelihood import Observed, hazards, log_likelihood, maximise
from icans.forecast.lifetable import Grid, LifeTable
from icans.forecast.models.base import as_horizon, check_aligned, landmarks, last_value_columns
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.onset_time import OnsetTimes
from icans.forecast.outcomes import CENSORED, EVENT, Horizon
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.tuning import Rule, choose, inner_folds

Floats = NDArray[np.float64]
Varying = Literal["ahead", "landmark"]

#: Penalties tried, per event of the stacked data, strongest first.
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
#: A change of an effect with time is held four times as tightly as the effect itself (as in the Cox supermodel).
VARYING_PENALTY = 4.0
#: A kind of event that fewer patients had has its life table only, no effects of features.
MIN_PATIENTS = 10
#: Penalty on effects that are left out.
SHUT = 1e9
#: Times that effects and life tables are fitted in turn, each given the other.
TURNS = 2


@dataclass(frozen=True)
class DiscreteHazards:
    """Penalised multinomial hazards on the newest values; one penalty, by grouped inner cross-validation.

    Parameters
    ----------
    varying
        What effects may change with (linearly): the time ahead, the day of the landmark.
    baseline_rows
        Rows by which each landmark's life table is drawn to that of all landmarks.
    penalties, columns, prepare, inner_folds, rule
        As in the Cox supermodel. The penalty is chosen by the likelihood of held-out patients.
    """

    varying: tuple[Varying, ...] = ("ahead", "landmark")
    baseline_rows: float = 2.0
    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 4
    rule: Rule = "best"

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedDiscrete:
        """Choose the penalty inside the training data, then fit on all of it.

        The outcome's codes may be more than two: 0 is censoring, 1 the event that :meth:`FittedDiscrete.predict`
        speaks of, every other one competes.
        """
        check_aligned(table, outcome)
        grid = Grid.of(outcome, horizons)
        inside = outcome["event"].where(outcome["time_h"] <= grid.edges[-1], CENSORED)
        codes = [int(code) for code in np.unique(inside) if code != CENSORED]
        if EVENT not in codes:
            raise NotEstimableError("no event in the training data")
        best = self._tune(table, outcome, grid, codes, seed) if len(self.penalties) > 1 else 0
        stack, X = _Stack.learn(self, table, outcome, grid, codes)
        ((tables, beta),) = stack.climb(X, table, outcome, [self.penalties[best]])
        return FittedDiscrete(replace(stack, tables=tables), beta, self.penalties[best])

    def _tune(self, table: pd.DataFrame, outcome: pd.DataFrame, grid: Grid, codes: list[int], seed: int) -> int:
        mine, folds = inner_folds(outcome, self.inner_folds, seed, "a penalty")
        losses = np.full((folds, len(self.penalties)), np.nan)
        for k in range(folds):
            train, test = mine != k, mine == k
            stack, X = _Stack.learn(self, table[train], outcome[train], grid, codes)
            try:
                path = stack.climb(X, table[train], outcome[train], self.penalties)
            except NotEstimableError:
                continue
            outer = stack.matrix(table[test])
            for j, (tables, beta) in enumerate(path):
                held_out = replace(stack, tables=tables).observed(outer, table[test], outcome[test])
                value = log_likelihood(held_out, held_out.predictor(beta))
                losses[k, j] = -value / max(float(held_out.event.sum()), 1.0)
        return choose(losses, self.rule)


@dataclass(frozen=True)
class _Stack:
    """Preprocessing, life tables and the scale of time, learned from the training rows."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    grid: Grid
    codes: list[int]
    tables: LifeTable
    varying: tuple[Varying, ...]
    scale: Floats  # centre and spread of each function of time, shape (functions, 2)
    events: Floats  # rows with each kind of event
    open: NDArray[np.bool_]  # kinds whose hazard has effects
    shrink: float  # rows by which a landmark's life table is drawn to all

    @classmethod
    def learn(
        cls, model: DiscreteHazards, table: pd.DataFrame, outcome: pd.DataFrame, grid: Grid, codes: list[int]
    ) -> tuple[_Stack, Floats]:
        """Learn from training rows; and their prepared columns."""
        columns = model.columns(table.columns.tolist())
        pipeline = preprocessor(model.prepare)
        X = pipeline.learn(table[columns])
        seen, event = grid.exposure(outcome, codes)
        at = outcome["landmark_h"].to_numpy(dtype=float)
        tables = LifeTable.fit(at, seen, event, model.baseline_rows)
        share = event.sum(axis=(0, 2))
        values = {"ahead": (grid.middle, share), "landmark": (at, event.sum(axis=(1, 2)))}
        scale = np.array([_scale(*values[name]) for name in model.varying]).reshape(-1, 2)
        had: NDArray[np.bool_] = np.any(event > 0, axis=1)
        patient = outcome["patient_id"].to_numpy()
        enough = np.array([len(set(patient[had[:, k]])) >= MIN_PATIENTS for k in range(len(codes))])
        enough |= np.array(codes) == EVENT
        stack = cls(pipeline, pipeline.names_, columns, grid, codes, tables, model.varying, scale,
                    event.sum(axis=(0, 1)), enough, model.baseline_rows)  # fmt: skip
        return stack, X

    def matrix(self, table: pd.DataFrame) -> Floats:
        """Prepared columns of any rows, shape (n, p)."""
        return self.pipeline.matrix(table[self.columns])

    def functions(self, at: Floats) -> Floats:
        """Functions of time for rows at landmarks ``at``, shape (n, B, functions), the constant first."""
        values = {
            "ahead": np.broadcast_to(self.grid.middle, (len(at), self.grid.bins)),
            "landmark": np.broadcast_to(at[:, None], (len(at), self.grid.bins)),
        }
        scaled = [(values[name] - c) / s for name, (c, s) in zip(self.varying, self.scale, strict=True)]
        return np.stack([np.ones((len(at), self.grid.bins)), *scaled], axis=2)

    def observed(self, X: Floats, table: pd.DataFrame, outcome: pd.DataFrame) -> Observed:
        """Rows in bins, ready for the likelihood."""
        at = landmarks(table)
        seen, event = self.grid.exposure(outcome, self.codes)
        return Observed(X, self.functions(at), seen, event, self.tables.offset(at), np.ones(len(X)))

    def climb(
        self, X: Floats, table: pd.DataFrame, outcome: pd.DataFrame, penalties: Sequence[float]
    ) -> list[tuple[LifeTable, Floats]]:
        """Life tables and effects for each penalty, each begun where the one before ended."""
        at, seen, tables = landmarks(table), self.observed(X, table, outcome), self.tables
        beta = np.zeros((len(self.codes), 1 + len(self.varying), len(self.names)))
        found = []
        for penalty in penalties:
            for _ in range(TURNS):
                seen = replace(seen, offset=tables.offset(at))
                beta = maximise(seen, self._alpha(penalty), beta)
                tables = tables.matched(at, seen.at_risk, seen.event, seen.effect(beta), self.shrink)
            found.append((tables, beta))
        return found

    def _alpha(self, penalty: float) -> Floats:
        """Ridge on each coefficient, shape (K, functions, columns)."""
        alpha = np.empty((len(self.codes), 1 + len(self.varying), len(self.names)))
        alpha[...] = penalty * np.maximum(self.events, 1.0)[:, None, None]
        alpha[:, 1:] *= VARYING_PENALTY
        alpha[~self.open] = SHUT
        return alpha


def _scale(values: Floats, weight: Floats) -> tuple[float, float]:
    """Weighted mean and SD (1 where nothing varies)."""
    if weight.sum() <= 0:
        return float(np.mean(values)), 1.0
    centre = float(np.average(values, weights=weight))
    spread = float(np.sqrt(np.average((values - centre) ** 2, weights=weight)))
    return centre, spread if spread > 0 else 1.0


@dataclass(frozen=True)
class FittedDiscrete:
    """Coefficients of shape (kinds, functions of time, columns)."""

    stack: _Stack
    beta: Floats
    penalty: float

    @property
    def parameters(self) -> int:
        """Coefficients of features, for kinds of event that have them."""
        return int(self.stack.open.sum()) * self.beta.shape[1] * len(self.stack.names)

    def curves(self, table: pd.DataFrame) -> tuple[Floats, Floats]:
        """Incidence of each kind of event at the edges of the bins, shape (n, K, B + 1), and freedom from all."""
        at = landmarks(table)
        stack = self.stack
        seen = Observed(
            stack.matrix(table), stack.functions(at), np.empty((0, 0)), np.empty((0, 0, 0)),
            stack.tables.offset(at), np.empty(0),
        )  # fmt: skip
        hazard = hazards(seen.predictor(self.beta))
        free = np.cumprod(1.0 - hazard.sum(axis=2), axis=1)
        start = np.column_stack([np.ones(len(at)), free])
        gained = np.cumsum(start[:, :-1, None] * hazard, axis=1).transpose(0, 2, 1)
        zero = np.zeros((len(at), len(stack.codes), 1))
        return np.concatenate([zero, gained], axis=2), start

    def incidence(self, table: pd.DataFrame, horizon: Horizon | float, code: int = EVENT) -> Floats:
        """Cumulative incidence of one kind of event within the horizon, shape (n,); straight within a bin."""
        curve = self.curves(table)[0][:, self.stack.codes.index(code)] if code in self.stack.codes else None
        if curve is None:
            return np.zeros(len(table))
        window = as_horizon(horizon).window(landmarks(table))
        return np.array([np.interp(w, self.stack.grid.edges, c) for w, c in zip(window, curve, strict=True)])

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Cumulative incidence of the event within the horizon; any horizon may be asked for."""
        return self.incidence(table, horizon)

    def onset(self, table: pd.DataFrame) -> OnsetTimes:
        """Distribution of the time to the event for each row."""
        incidence, free = self.curves(table)
        return OnsetTimes(self.stack.grid.edges, incidence[:, self.stack.codes.index(EVENT)], free, table.index)

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Effect on the log odds of the event per bin, mean over the bins within the horizon, by feature."""
        at = landmarks(table)
        window = as_horizon(horizon).window(at)
        inside = (self.stack.grid.edges[None, 1:] <= np.maximum(window, self.stack.grid.edges[1])[:, None]) * 1.0
        mean = np.einsum("ib,ibm->im", inside, self.stack.functions(at)) / inside.sum(axis=1, keepdims=True)
        parts = self.stack.matrix(table) * (mean @ self.beta[self.stack.codes.index(EVENT)])
        return sum_by_source(pd.DataFrame(parts, index=table.index, columns=self.stack.names))

    def settings(self) -> dict[str, float]:
        """The penalty chosen."""
        return {"penalty": self.penalty}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        stack = self.stack
        arrays: Arrays = {
            "beta": self.beta,
            "numbers": np.array([self.penalty, stack.shrink]),
            "edges": stack.grid.edges,
            "at": stack.tables.at,
            "log_odds": stack.tables.log_odds,
            "pooled": stack.tables.pooled,
            "scale": stack.scale,
            "events": stack.events,
            "open": stack.open,
        }
        meta: Meta = {"kind": "discrete", "names": stack.names, "columns": stack.columns, "codes": stack.codes}
        meta["varying"] = list(stack.varying)
        return join(meta, arrays, pipeline=preprocess_parts.to_parts(stack.pipeline))


def from_parts(meta: Meta, arrays: Arrays) -> FittedDiscrete:
    """The model again."""
    penalty, shrink = floats(arrays["numbers"]).tolist()
    stack = _Stack(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        Grid(floats(arrays["edges"])),
        [int(code) for code in meta["codes"]],
        LifeTable(floats(arrays["at"]), floats(arrays["log_odds"]), floats(arrays["pooled"])),
        tuple(meta["varying"]),
        floats(arrays["scale"]),
        floats(arrays["events"]),
        np.asarray(arrays["open"]).astype(bool),
        shrink,
    )
    return FittedDiscrete(stack, floats(arrays["beta"]), penalty)
