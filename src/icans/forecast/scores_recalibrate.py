"""From a published score to a risk in one's own cohort.

A published score carries no risk that holds elsewhere. Inside every training fold the score is recalibrated by
logistic regression: the intercept alone (the score enters as an offset; for scores that are log-odds already) or
intercept and slope (for any score). Patients whose score is missing get the event rate of their like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError

Array = npt.NDArray[np.float64]
Method = Literal["intercept", "intercept+slope"]

#: Fewest training patients with a missing score for whom a rate of their own is used; below, everybody's rate.
MISSING_OWN_RATE = 20
#: Events (and non-events) below which a slope is not fitted but only the intercept: two parameters on fewer are
#: noise (Peduzzi 1996, 10.1016/S0895-4356(96)00236-3, would ask for 10 per parameter; this is the bare minimum).
FEWEST_EVENTS = 2
ITERATIONS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Recalibrated:
    """A fitted recalibration: ``logit(risk) = intercept + slope * (score - centre) / scale``.

    ``missing_risk`` is the risk of a patient without a score. ``penalised`` tells that the classes were
    separated and Firth's penalty (1993, 10.1093/biomet/80.1.27) was needed to keep the slope finite.
    """

    intercept: float
    slope: float
    centre: float
    scale: float
    missing_risk: float
    method: Method
    penalised: bool
    n: int
    events: float

    @classmethod
    def fit(
        cls,
        values: npt.ArrayLike,
        outcome: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        method: Method = "intercept+slope",
    ) -> Recalibrated:
        """Fit on a training cohort.

        Parameters
        ----------
        values
            Score, shape (n,); NaN is missing. For ``method="intercept"`` it must be log-odds.
        outcome
            0 or 1, shape (n,).
        weights
            Weights, shape (n,), e.g. against censoring.

        Raises
        ------
        NotEstimableError
            Nobody to fit on, or all outcomes alike.
        """
        x, y, w = _checked(values, outcome, weights)
        rate = float((w * y).sum() / w.sum())
        absent = np.isnan(x)
        own = absent.sum() >= MISSING_OWN_RATE
        # one event more or less can always happen: half an event keeps the rate of the missing off 0 and 1
        missing_risk = float(((w * y)[absent].sum() + rate) / (w[absent].sum() + 1.0)) if own else rate
        x, y, w = x[~absent], y[~absent], w[~absent]
        spread = float(np.std(x)) if len(x) else 0.0
        # weak data: no slope can be told, everybody gets the rate
        enough = min(y.sum(), (1 - y).sum()) >= FEWEST_EVENTS
        if method == "intercept+slope" and (spread == 0.0 or not enough):
            return cls(_logit(rate), 0.0, 0.0, 1.0, missing_risk, method, False, len(x), float(y.sum()))
        if method == "intercept":
            beta, firth = _logistic(np.ones((len(x), 1)), y, w, offset=x)
            return cls(float(beta[0]), 1.0, 0.0, 1.0, missing_risk, method, firth, len(x), float(y.sum()))
        centre = float(np.mean(x))
        design = np.column_stack([np.ones(len(x)), (x - centre) / spread])
        beta, firth = _logistic(design, y, w)
        return cls(float(beta[0]), float(beta[1]), centre, spread, missing_risk, method, firth, len(x), float(y.sum()))

    def predict(self, values: npt.ArrayLike) -> Array:
        """Risk of each patient, shape (n,); never NaN."""
        x = np.asarray(values, dtype=float)
        linear = self.intercept + self.slope * (np.where(np.isnan(x), self.centre, x) - self.centre) / self.scale
        return np.where(np.isnan(x), self.missing_risk, _expit(linear))


def _checked(
    values: npt.ArrayLike, outcome: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Array, Array, Array]:
    x, y = np.asarray(values, dtype=float), np.asarray(outcome, dtype=float)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    if not (x.shape == y.shape == w.shape and x.ndim == 1):
        raise ValueError(f"values, outcome and weights must be of one length, not {x.shape}, {y.shape}, {w.shape}")
    if not np.isin(y, (0.0, 1.0)).all() or not (np.isfinite(w).all() and (w >= 0).all()):
        raise ValueError("outcome must be 0 or 1, and weights finite and not negative")
    if w.sum() == 0 or (w * y).sum() in (0.0, w.sum()):
        raise NotEstimableError("a score cannot be recalibrated where nobody, or everybody, has the event")
    return x, y, w


def _logistic(design: Array, y: Array, w: Array, offset: Array | float = 0.0) -> tuple[Array, bool]:
    """Weighted logistic regression by Newton's method; with Firth's penalty where the likelihood has no maximum."""
    beta = _newton(design, y, w, offset, firth=False)
    if beta is not None:
        return beta, False
    beta = _newton(design, y, w, offset, firth=True)
    if beta is None:
        raise NotEstimableError("the recalibration did not converge")
    return beta, True


#: A coefficient of a standardised score beyond this means separation (odds of e^15 per standard deviation).
SEPARATED = 15.0


def _newton(design: Array, y: Array, w: Array, offset: Array | float, *, firth: bool) -> Array | None:
    beta = np.zeros(design.shape[1])
    for _ in range(ITERATIONS):
        p = _expit(design @ beta + offset)
        variance = w * p * (1 - p)
        information = design.T @ (variance[:, None] * design)
        residual = w * (y - p)
        if firth:
            try:
                leverage = variance * np.einsum("ij,jk,ik->i", design, np.linalg.inv(information), design)
            except np.linalg.LinAlgError:
                return None
            residual = residual + leverage * (0.5 - p)
        try:
            step = np.linalg.solve(information, design.T @ residual)
        except np.linalg.LinAlgError:
            return None
        beta = beta + np.clip(step, -2.0, 2.0)
        if not np.isfinite(beta).all() or (not firth and np.abs(beta[1:]).max(initial=0.0) > SEPARATED):
            return None
        if np.abs(step).max() < TOLERANCE:
            return beta
    return None


def _expit(value: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-np.clip(value, -500, 500)))


def _logit(value: float) -> float:
    return float(np.log(value / (1 - value)))
