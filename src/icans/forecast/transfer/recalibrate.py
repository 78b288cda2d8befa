"""The recalibration ladder for any fitted rung: none, intercept, intercept and slope.

    logit(new) = intercept + slope * logit(old)

fitted to local patients. A handful of local events can carry an intercept, a few dozen a slope; more steps are not
better steps (:mod:`icans.forecast.transfer.learning` shows from which number on). Updating the coefficients themselves
with the old ones as prior is the next step (:mod:`icans.forecast.transfer.update`).

References: Cox DR, Biometrika 1958;45:562; Steyerberg EW et al., Stat Med 2004;23:2567, doi 10.1002/sim.1844;
Vergouwe Y et al., Stat Med 2017;36:4529 (closed testing). Citations from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import FittedRung
from icans.forecast.models import parts
from icans.forecast.models.base import Fitted, as_horizon, check_aligned, fitted_for, labels
from icans.forecast.models.coherent import coherent
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, horizons_in, horizons_out, join
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, log_odds

Floats = NDArray[np.float64]
Method = Literal["none", "intercept", "intercept+slope"]

METHODS: tuple[Method, ...] = ("none", "intercept", "intercept+slope")
MAX_STEPS = 100
#: Separated data (every event above every non-event) have no finite slope.
MAX_SLOPE = 20.0


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Intercept and slope on the log odds."""

    intercept: float = 0.0
    slope: float = 1.0

    def logit(self, logit_risk: ArrayLike) -> Floats:
        """Recalibrated log odds."""
        return np.asarray(self.intercept + self.slope * np.asarray(logit_risk, dtype=float))


def recalibrate(
    logit_risk: ArrayLike,
    status: ArrayLike,
    weight: ArrayLike | None = None,
    method: Method = "intercept+slope",
    *,
    slope_sd: float | None = None,
) -> Recalibration:
    """Intercept and slope by weighted maximum likelihood.

    Parameters
    ----------
    logit_risk
        Log odds of the old risks, shape (n,).
    status, weight
        0/1 within the horizon, and censoring weights (0: not known), shape (n,); see
        :func:`icans.forecast.models.base.labels`.
    method
        A step of the ladder.
    slope_sd
        Prior standard deviation of the slope around 1 (one observation of weight one counts once); None: no prior.

    Raises
    ------
    NotEstimableError
        No row of known status; all of them alike; or, for the slope, no variation, or data that are separated.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}; got {method!r}")
    x, y = np.asarray(logit_risk, dtype=float), np.asarray(status, dtype=float)
    w = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=float)
    seen = w > 0
    x, y, w = x[seen], y[seen], w[seen]
    if method == "none":
        return Recalibration()
    if not len(y) or np.ptp(y) == 0:
        raise NotEstimableError("all local patients have the same outcome within the horizon: nothing to recalibrate")
    if method == "intercept":
        return Recalibration(float(_newton(np.ones((len(y), 1)), y, w, x)[0]), 1.0)
    if np.ptp(x) < 1e-9:
        raise NotEstimableError("the old risks do not vary: they have no slope")
    precision = np.zeros(2) if slope_sd is None else np.array([0.0, slope_sd**-2])
    # The slope is 1 + the coefficient, so that a prior around 1 is a ridge.
    found = _newton(np.column_stack([np.ones(len(y)), x]), y, w, x, precision)
    if not np.isfinite(found).all() or abs(found[1]) > MAX_SLOPE:
        raise NotEstimableError("the old risks separate the local outcomes: the slope is not finite")
    return Recalibration(float(found[0]), float(1.0 + found[1]))


@dataclass(frozen=True)
class Transferred:
    """A fitted rung of elsewhere as a model that learns its recalibration here.

    Parameters
    ----------
    source
        The fitted rung.
    method, slope_sd
        As in :func:`recalibrate`; one recalibration for each horizon.
    """

    source: FittedRung
    method: Method = "intercept+slope"
    slope_sd: float | None = None

    @property
    def uses_history(self) -> bool:
        """Whether the source reads the stream of events."""
        return self.source.rung.uses_history

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedTransfer:
        """Recalibrate for each horizon on local patients; a horizon that cannot be keeps the old risks.

        Raises
        ------
        NotEstimableError
            No horizon can be recalibrated.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        found, reason = {}, None
        for horizon in horizons:
            x = source_logit(self.source, inputs, horizon)
            try:
                found[horizon] = recalibrate(x, *labels(outcome, horizon), self.method, slope_sd=self.slope_sd)
            except NotEstimableError as error:
                found[horizon], reason = Recalibration(), error
        if reason is not None and all(r == Recalibration() for r in found.values()):
            raise reason
        return FittedTransfer(self.source.model, self.uses_history, self.source.rung.groups, self.method, found)


@dataclass(frozen=True)
class FittedTransfer:
    """A source and its local recalibration by horizon."""

    source: Fitted
    uses_history: bool
    groups: tuple[str, ...] | None
    method: Method
    found: dict[Horizon, Recalibration]

    @property
    def parameters(self) -> int:
        """Parameters that were fitted here."""
        return METHODS.index(self.method)

    def predict(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows."""
        fitted_for(self.found, horizon)
        view = self._view(table)

        def raw(one: Horizon) -> Floats:
            return expit(self.found[one].logit(log_odds(self.source.predict(view, one))))

        return coherent(raw, Inputs.of(table).table, list(self.found), as_horizon(horizon))

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """The source's reasons times the slope."""
        return self.source.reasons(self._view(table), horizon) * fitted_for(self.found, horizon).slope

    def settings(self) -> dict[str, float]:
        """Intercept and slope of each horizon."""
        found = {f"intercept, {h.label}": r.intercept for h, r in self.found.items()}
        return found | {f"slope, {h.label}": r.slope for h, r in self.found.items()}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "transfer", "method": self.method, "horizons": horizons_out(list(self.found))}
        meta |= {"uses_history": self.uses_history, "groups": None if self.groups is None else list(self.groups)}
        numbers = np.array([[r.intercept, r.slope] for r in self.found.values()], dtype=float).reshape(-1, 2)
        return join(meta, {"numbers": numbers}, source=parts.to_parts(self.source))

    def _view(self, table: pd.DataFrame | Inputs) -> pd.DataFrame | Inputs:
        mine = Inputs.of(table).only(self.groups)
        return mine if self.uses_history else mine.table


def from_parts(meta: Meta, arrays: Arrays) -> FittedTransfer:
    """The model again."""
    rows = [Recalibration(a, b) for a, b in floats(arrays["numbers"]).tolist()]
    groups = None if meta["groups"] is None else tuple(map(str, meta["groups"]))
    source = parts.from_parts(*child(meta, arrays, "source"))
    found = dict(zip(horizons_in(meta["horizons"]), rows, strict=True))
    return FittedTransfer(source, bool(meta["uses_history"]), groups, meta["method"], found)


def source_logit(source: FittedRung, inputs: Inputs | pd.DataFrame, horizon: Horizon | float) -> Floats:
    """Log odds of a fitted rung's risks."""
    return log_odds(source.predict(inputs, horizon))


def _newton(design: Floats, y: Floats, w: Floats, offset: Floats, precision: Floats | None = None) -> Floats:
    """Coefficients of a weighted logistic regression with an offset, and a ridge (per unit of likelihood)."""
    ridge = np.zeros(design.shape[1]) if precision is None else precision
    beta = np.zeros(design.shape[1])

    def loss(b: Floats) -> float:
        eta = offset + design @ b
        return float((w * (np.logaddexp(0.0, eta) - y * eta)).sum() + 0.5 * ridge @ b**2)

    value = loss(beta)
    for _ in range(MAX_STEPS):
        p = expit(offset + design @ beta)
        gradient = design.T @ (w * (y - p)) - ridge * beta
        curvature = design.T @ (design * (w * p * (1 - p))[:, None]) + np.diag(ridge + 1e-10)
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < 1e-12:
            break
        size = 1.0
        while (new := loss(beta + size * step)) > value and size > 1e-6:
            size /= 2.0
        beta, value = beta + size * step, min(new, value)
        if np.abs(beta).max() > 1e3:
            break
    return beta
