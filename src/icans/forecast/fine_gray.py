"""The Fine-Gray model: effects of features on the incidence itself, for reporting.

Patients with a competing event stay in the risk set with the weight P(not yet censored at t | not at their event),
so that the hazard fitted is that of the incidence (the subdistribution). Its ratios say how the *incidence* differs,
which mixes an effect on the event and an effect on its rival, and models of several events need not add up to at
most one: forecasts are made with :mod:`icans.forecast.models.discrete`. Ties: Breslow. Standard errors allow for the
censoring distribution having been estimated.

References: Fine JP, Gray RJ, J Am Stat Assoc 1999;94:496, doi 10.1080/01621459.1999.10474144; Austin PC, Fine JP,
Stat Med 2017;36:4391, doi 10.1002/sim.7501 (what to report).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from icans.core.errors import NotEstimableError
from icans.forecast.incidence import Steps
from icans.forecast.outcomes import CENSORED, EVENT
from icans.forecast.preprocess import PrepareSpec, preprocessor

Floats = NDArray[np.float64]

MAX_STEPS, TOLERANCE = 50, 1e-10
#: Bound on the linear predictor either way while fitting.
MAX_PREDICTOR = 30.0
#: Events per column below which a table of effects is refused: standard errors mean nothing then.
MIN_EVENTS_PER_COLUMN = 5


@dataclass(frozen=True)
class FineGray:
    """Settings: ``alpha`` is a ridge on the sum of the log partial likelihood."""

    alpha: float = 0.0

    def fit(self, X: ArrayLike, time: ArrayLike, event: ArrayLike, cause: int = EVENT) -> FittedFineGray:
        """Fit to one risk set.

        Parameters
        ----------
        X
            Shape (n, p), without missing values.
        time, event
            Time from the landmark; 0 censored, ``cause`` the event, any other code competing. Shape (n,).

        Raises
        ------
        NotEstimableError
            No event, or a singular information matrix.
        """
        x, t, code = np.asarray(X, dtype=float), np.asarray(time, dtype=float), np.asarray(event)
        if x.ndim != 2 or not len(x) == len(t) == len(code):
            raise ValueError(f"X, time and event must have the same length; got {x.shape}, {t.shape}, {code.shape}")
        if not (code == cause).any():
            raise NotEstimableError("no event of the cause asked for")
        centre = x.mean(axis=0)
        risk_set = _RiskSet.of(x - centre, t, code, cause)
        beta, information = self._newton(risk_set)
        inverse: Floats = np.linalg.inv(information).astype(float) if len(beta) else np.zeros((0, 0))
        rows = risk_set.influence(beta)
        covariance = inverse @ (rows.T @ rows) @ inverse
        return FittedFineGray(beta, centre, covariance, inverse, risk_set.at, np.cumsum(risk_set.jumps(beta)))

    def _newton(self, data: _RiskSet) -> tuple[Floats, Floats]:
        beta = np.zeros(data.x.shape[1])
        value = data.likelihood(beta)
        information = np.zeros((len(beta), len(beta)))
        for _ in range(MAX_STEPS):
            if len(beta) == 0:
                break
            gradient, information = data.derivatives(beta)
            gradient = gradient - self.alpha * beta
            information = information + self.alpha * np.eye(len(beta))
            if np.linalg.cond(information) > 1e13:
                raise NotEstimableError("the information matrix of the Fine-Gray model is singular: fewer columns")
            step = np.linalg.solve(information, gradient)
            if float(gradient @ step) < TOLERANCE:
                beta = beta + step
                break
            size = 1.0
            while size > 1e-8:
                trial = beta + size * step
                new = data.likelihood(trial) - 0.5 * self.alpha * float(trial @ trial)
                if new >= value:
                    break
                size /= 2.0
            beta, value = trial, new
        return beta, information


@dataclass(frozen=True)
class _RiskSet:
    """Weights of every row at every time of an event, shape (n, m), and the events there."""

    x: Floats
    time: Floats
    own: NDArray[np.bool_]  # rows with the event
    gone: NDArray[np.bool_]  # rows censored
    at: Floats
    weight: Floats
    place: NDArray[np.intp]  # time of each row with the event, in ``at``

    @classmethod
    def of(cls, x: Floats, time: Floats, code: NDArray[np.generic], cause: int) -> _RiskSet:
        own, gone = code == cause, code == CENSORED
        at, place = np.unique(time[own], return_inverse=True)
        curve = _staying(time, gone)
        later = curve.just_before(at)[None, :] / np.maximum(curve.just_before(time), 1e-12)[:, None]
        weight = np.where((~gone & ~own)[:, None], later, 0.0)
        weight = np.where(time[:, None] >= at[None, :], 1.0, weight)
        return cls(x, time, own, gone, at, weight, place)

    @property
    def count(self) -> Floats:
        """Events at each time."""
        return np.bincount(self.place, minlength=len(self.at)).astype(float)

    def risks(self, beta: Floats) -> Floats:
        return np.exp(np.clip(self.x @ beta, -MAX_PREDICTOR, MAX_PREDICTOR))

    def likelihood(self, beta: Floats) -> float:
        """Log partial likelihood."""
        return float((self.x[self.own] @ beta).sum() - self.count @ np.log(self.weight.T @ self.risks(beta)))

    def derivatives(self, beta: Floats) -> tuple[Floats, Floats]:
        """Gradient and information of the log partial likelihood."""
        risk = self.risks(beta)
        s0 = self.weight.T @ risk
        mean = self.weight.T @ (risk[:, None] * self.x) / s0[:, None]
        exposure = risk * (self.weight @ (self.count / s0))
        gradient = self.x[self.own].sum(axis=0) - self.count @ mean
        information = self.x.T @ (exposure[:, None] * self.x) - mean.T @ (self.count[:, None] * mean)
        return gradient, information

    def jumps(self, beta: Floats) -> Floats:
        """Steps of the baseline subdistribution hazard (Breslow)."""
        return np.asarray(self.count / (self.weight.T @ self.risks(beta)))

    def influence(self, beta: Floats) -> Floats:
        """Each row's part of the score, that in the estimate of the censoring included, shape (n, p)."""
        risk = self.risks(beta)
        mean = self.weight.T @ (risk[:, None] * self.x) / (self.weight.T @ risk)[:, None]
        expected = self.weight * self.jumps(beta) * risk[:, None]
        eta = expected @ mean - expected.sum(axis=1)[:, None] * self.x
        eta[self.own] += self.x[self.own] - mean[self.place]
        return eta + self._through_censoring(expected, mean)

    def _through_censoring(self, expected: Floats, mean: Floats) -> Floats:
        """What a row's leaving (or staying) does to the weights of those with a competing event (psi of 1999)."""
        psi = np.zeros_like(self.x)
        competing = ~self.own & ~self.gone
        for u in np.unique(self.time[self.gone]):
            past = competing & (self.time < u)
            pull = expected[past][:, self.at >= u]
            q = pull.sum(axis=1) @ self.x[past] - pull.sum(axis=0) @ mean[self.at >= u]
            there = self.time >= u
            leaves = self.gone & (self.time == u)
            psi += np.outer((leaves * 1.0 - there * (leaves.sum() / there.sum())) / there.sum(), q)
        return psi


def _staying(time: Floats, gone: NDArray[np.bool_]) -> Steps:
    """P(not censored by t), Kaplan-Meier, events at a time counted as at risk of censoring there.

    This is the convention of R's cmprsk, so that reported ratios can be set beside published ones; elsewhere in the
    package events come before censoring at tied times.
    """
    at, leaving = np.unique(time[gone], return_counts=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), at, side="left")
    return Steps(at, np.cumprod(1.0 - leaving / at_risk, dtype=np.float64), 1.0)


@dataclass(frozen=True)
class FittedFineGray:
    """A fitted model.

    Attributes
    ----------
    coefficients
        Log subdistribution hazard ratios, shape (p,).
    centre
        Column means; the baseline is for a row with these values.
    covariance
        Robust covariance of the coefficients, shape (p, p).
    inverse_information
        The naive one (weights taken as known).
    at, height
        Times and cumulative baseline subdistribution hazard just after them.
    """

    coefficients: Floats
    centre: Floats
    covariance: Floats
    inverse_information: Floats
    at: Floats
    height: Floats

    @property
    def standard_errors(self) -> Floats:
        """Robust standard errors, shape (p,)."""
        return np.sqrt(np.diag(self.covariance))

    def incidence(self, X: ArrayLike, times: ArrayLike) -> Floats:
        """Cumulative incidence at each time, shape (n, len(times)): 1 - exp(-cumulative hazard)."""
        risk = np.exp((np.asarray(X, dtype=float) - self.centre) @ self.coefficients)
        place = np.searchsorted(self.at, np.atleast_1d(np.asarray(times, dtype=float)), side="right")
        return np.asarray(-np.expm1(-risk[:, None] * np.r_[0.0, self.height][place]))


def effects_on_incidence(
    table: pd.DataFrame,
    outcome: pd.DataFrame,
    landmark_h: float,
    columns: Sequence[str],
    *,
    cause: int = EVENT,
    level: float = 0.95,
    prepare: PrepareSpec | None = None,
) -> pd.DataFrame:
    """The table to report: subdistribution hazard ratios per SD of prepared columns, in one landmark's risk set.

    Parameters
    ----------
    table, outcome
        Stacked risk sets, row by row together.
    landmark_h, columns
        Which risk set; which features.
    cause, level
        Event; level of the intervals.

    Returns
    -------
    DataFrame
        column, ratio, low, high, p, events, at_risk. Not adjusted for the number of columns.

    Raises
    ------
    NotEstimableError
        Fewer than five events for each prepared column, or a model that cannot be fitted.
    """
    mine = (outcome["landmark_h"] == landmark_h).to_numpy()
    pipeline = preprocessor(prepare)
    X = pipeline.learn(table.loc[mine, list(columns)])
    time, code = (outcome.loc[mine, name].to_numpy() for name in ("time_h", "event"))
    events = int((code == cause).sum())
    if events < MIN_EVENTS_PER_COLUMN * max(X.shape[1], 1):
        raise NotEstimableError(
            f"{events} events for {X.shape[1]} columns: fewer than {MIN_EVENTS_PER_COLUMN} for each, "
            "the ratios would mean nothing; name fewer columns"
        )
    fitted = FineGray().fit(X, time, code, cause)
    error, z = fitted.standard_errors, norm.ppf(0.5 + level / 2.0)
    return pd.DataFrame(
        {
            "column": pipeline.names_,
            "ratio": np.exp(fitted.coefficients),
            "low": np.exp(fitted.coefficients - z * error),
            "high": np.exp(fitted.coefficients + z * error),
            "p": 2.0 * norm.sf(np.abs(fitted.coefficients) / error),
            "events": events,
            "at_risk": int(mine.sum()),
        }
    )
