"""From a number made in advance, such as a published score, to a risk in the cohort at hand.

A published score carries no risk that holds elsewhere. It is recalibrated inside every training fold, for each
horizon, by its intercept alone or by intercept and slope (Steyerberg EW et al., Stat Med 2004;23:2567; recalled).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.models import logistic
from icans.forecast.models.base import DayBaseline, as_horizon, check_aligned, fitted_for, labels
from icans.forecast.models.coherent import coherent
from icans.forecast.models.logistic import FittedLogistic, LastValueLogistic
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts, ridge_from, ridge_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.preprocess import PrepareSpec
from icans.forecast.ridge import MAX_LOGIT, RidgeLogistic, expit, fit_path

Floats = NDArray[np.float64]
Method = Literal["intercept", "intercept+slope"]

#: Ridge on the slope of a recalibrated score: only enough to keep a separated score finite.
SCORE_PENALTY = 1e-3


@dataclass(frozen=True)
class Recalibrated:
    """One number, made in advance, recalibrated to the risk sets at hand.

    Parameters
    ----------
    columns
        Features that the number is made of.
    score
        Function from those columns to the number, shape (n,), e.g. a published score. NaN where it cannot be
        computed.
    max_missing
        Largest share of training rows without the number; above it the model is not fitted.
    method
        ``"intercept+slope"``: the number tells how a patient differs from the others at risk on the same day.
        ``"intercept"``: the number is log odds (of a published formula, for example) and keeps its slope of one;
        one shift for all days is fitted, and a row without the number has the incidence of its day.
    """

    columns: tuple[str, ...]
    score: Callable[[pd.DataFrame], Floats] | None = None
    max_missing: float = 0.6
    method: Method = "intercept+slope"

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedScore | FittedShift:
        """Fit the recalibration for each horizon."""
        check_aligned(table, outcome)
        values = self._values(table)
        absent = float(np.isnan(values.to_numpy()).mean())
        if absent > self.max_missing:
            raise NotEstimableError(f"the score could be computed for {1 - absent:.0%} of the rows only")
        if self.method == "intercept":
            return self._shift(values[self.label].to_numpy(dtype=float), outcome, horizons)
        if values[self.label].nunique() < 2:
            raise NotEstimableError("the score is the same in every row of the training data")
        inner = LastValueLogistic(
            penalties=(SCORE_PENALTY,), columns=list, prepare=PrepareSpec(transform="none", max_missing=1.0)
        )
        return FittedScore(self, inner.fit(values, outcome, horizons, seed))

    def _shift(self, log_odds: Floats, outcome: pd.DataFrame, horizons: Sequence[Horizon]) -> FittedShift:
        has = ~np.isnan(log_odds)
        offset = np.clip(log_odds[has], -MAX_LOGIT, MAX_LOGIT)
        models = {}
        for horizon in horizons:
            y, weight = labels(outcome, horizon)
            models[horizon] = fit_path(np.empty((len(offset), 0)), y[has], weight[has], (0.0,), offset)[0]
        return FittedShift(self, DayBaseline.fit(outcome, horizons), models, float(offset.mean()))

    def _values(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            raise NotEstimableError(f"the score needs {missing}, which this cohort does not have")
        values = table[list(self.columns)]
        number = values.iloc[:, 0].to_numpy(dtype=float) if self.score is None else self.score(values)
        return pd.DataFrame({self.label: number}, index=table.index)

    @property
    def label(self) -> str:
        """Name of the number: the feature itself when it is one."""
        return self.columns[0] if self.score is None else "score"


@dataclass(frozen=True)
class FittedScore:
    """A score recalibrated by intercept and slope."""

    spec: Recalibrated
    model: FittedLogistic

    @property
    def parameters(self) -> int:
        """One slope (none when the score does not vary)."""
        return self.model.parameters

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon."""
        return self.model.predict(self.spec._values(table), horizon)

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """The score's own contribution, log odds."""
        return self.model.reasons(self.spec._values(table), horizon)

    def settings(self) -> dict[str, float]:
        """The slope on the log odds per SD of the score, for each horizon."""
        return {f"slope, {h.label}": float(m.coefficients.sum()) for h, m in self.model.models.items()}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        return join({"kind": "score", **_spec_parts(self.spec)}, {}, model=self.model.to_parts())


@dataclass(frozen=True)
class FittedShift:
    """Published log odds, shifted to the cohort at hand."""

    spec: Recalibrated
    baseline: DayBaseline
    models: dict[Horizon, RidgeLogistic]
    centre: float

    @property
    def parameters(self) -> int:
        """The shift is an intercept: no candidate predictor is fitted."""
        return 0

    def predict(self, table: pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.models, horizon)
        log_odds = self._log_odds(table)

        def raw(one: Horizon) -> Floats:
            shifted = expit(log_odds + self.models[one].intercept)
            return np.where(np.isnan(log_odds), expit(self.baseline.logit(table, one)), shifted)

        return coherent(raw, table, list(self.models), as_horizon(horizon))

    def reasons(self, table: pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Distance of the log odds from their training mean (none for a row without them)."""
        fitted_for(self.models, horizon)
        distance = np.nan_to_num(self._log_odds(table) - self.centre, nan=0.0)
        return pd.DataFrame({self.spec.label: distance}, index=table.index)

    def settings(self) -> dict[str, float]:
        """The shift of the log odds for each horizon."""
        return {f"shift, {h.label}": model.intercept for h, model in self.models.items()}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        return join(
            {"kind": "shift", **_spec_parts(self.spec)},
            {"centre": np.array(self.centre)},
            baseline=baseline_parts(self.baseline),
            models=ridge_parts(self.models),
        )

    def _log_odds(self, table: pd.DataFrame) -> Floats:
        number = self.spec._values(table)[self.spec.label].to_numpy(dtype=float)
        return np.clip(number, -MAX_LOGIT, MAX_LOGIT)


def _spec_parts(spec: Recalibrated) -> Meta:
    if spec.score is not None:
        raise TypeError("a score made by a function of the caller cannot be saved as plain parts")
    return {"columns": list(spec.columns), "max_missing": spec.max_missing, "method": spec.method}


def from_parts(meta: Meta, arrays: Arrays) -> FittedScore | FittedShift:
    """The model again."""
    spec = Recalibrated(tuple(meta["columns"]), None, float(meta["max_missing"]), meta["method"])
    if meta["kind"] == "score":
        return FittedScore(spec, logistic.from_parts(*child(meta, arrays, "model")))
    baseline = baseline_from(*child(meta, arrays, "baseline"))
    return FittedShift(spec, baseline, ridge_from(*child(meta, arrays, "models")), float(floats(arrays["centre"])))
