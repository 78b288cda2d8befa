"""How much recalibration do local data ask for? A closed test from the forecast as it is to the most thorough update.

The candidates are nested: the original forecast; a new intercept; a new intercept and slope; a refit of the
coefficients (only where a design is given). The most thorough candidate is tested against the original, then against
each in turn; the first that it does not beat is chosen. As the tests are closed, the chance of updating a forecast
that needs none stays at the level.

Reference: Vergouwe Y et al., Stat Med 2017;36:4529, doi 10.1002/sim.7179. With censored outcomes patients carry
inverse-probability weights and the likelihood ratio is an approximation; without, it is the published test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.core.errors import NotEstimableError
from icans.evaluate.calibration import logit
from icans.evaluate.censoring import Floats, horizon_status, require_status
from icans.evaluate.discrimination import check_risk
from icans.evaluate.smooth import logistic

Update = Literal["none", "intercept", "intercept and slope", "refit"]


@dataclass(frozen=True)
class ClosedTest:
    """Result of :func:`closed_test`.

    Attributes
    ----------
    choice
        What local data ask for.
    tests
        update, intercept, slope, log_likelihood, statistic (of the most thorough against this one), df, p_value.
    intercept, slope
        On the log odds, of the choice (0 and 1 for none; NaN for a refit).
    """

    choice: Update
    tests: pd.DataFrame
    intercept: float
    slope: float

    def apply(self, risk: ArrayLike) -> Floats:
        """Forecasts after the chosen update.

        Raises
        ------
        NotEstimableError
            The choice is a refit, which has coefficients of its own.
        """
        if self.choice == "refit":
            raise NotEstimableError("a refit is a new model; fit it on the local data")
        return np.asarray(1 / (1 + np.exp(-(self.intercept + self.slope * logit(np.asarray(risk, dtype=float))))))


def closed_test(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float,
    *,
    design: ArrayLike | None = None,
    level: float = 0.05,
) -> ClosedTest:
    """Choose an update of a forecast on local data.

    Parameters
    ----------
    time, event, risk, horizon
        Local outcomes and forecasts, shape (n,).
    design
        Predictors of a refit, shape (n, p), without an intercept; default: no refit among the candidates.
    level
        Significance level of every test.

    Raises
    ------
    NotEstimableError
        No patient with, or none without, the event; or the most thorough update has no finite best fit.
    """
    status = horizon_status(time, event, horizon)
    require_status(status, horizon)
    lp = logit(check_risk(risk, status.case.shape[-1]))
    ones = np.ones((len(lp), 1))
    case, control = status.case, status.control
    slope = np.column_stack([ones, lp])
    fits: dict[Update, tuple[Floats, Floats, int]] = {
        "none": (lp, np.array([0.0, 1.0]), 0),
        "intercept": _fit(ones, lp, case, control, lambda b: np.array([b[0], 1.0])),
        "intercept and slope": _fit(slope, None, case, control, lambda b: b),
    }
    if design is not None:
        x = np.column_stack([ones, np.asarray(design, dtype=float).reshape(len(lp), -1)])
        fits["refit"] = _fit(x, None, case, control, lambda b: np.array([np.nan, np.nan]))
    return _choose(fits, case, control, level)


def _fit(
    design: Floats, offset: Floats | None, case: Floats, control: Floats, shown: Callable[[Floats], Floats]
) -> tuple[Floats, Floats, int]:
    beta = logistic(design, case, control, offset=offset)
    if not np.isfinite(beta).all():
        raise NotEstimableError("patients with and without the event are separated: no update has a finite best fit")
    eta = design @ beta + (0.0 if offset is None else offset)
    return eta, shown(beta), design.shape[1]


def _choose(fits: dict[Update, tuple[Floats, Floats, int]], case: Floats, control: Floats, level: float) -> ClosedTest:
    from scipy.stats import chi2

    log_likelihood = {name: _log_likelihood(eta, case, control) for name, (eta, _, _) in fits.items()}
    most: Update = list(fits)[-1]
    choice: Update = most
    rows = []
    decided = False
    for name, (_, coefficients, size) in fits.items():
        row = {
            "update": name,
            "intercept": coefficients[0],
            "slope": coefficients[1],
            "log_likelihood": log_likelihood[name],
        }
        df = fits[most][2] - size
        if name != most and df > 0:
            statistic = max(0.0, 2 * (log_likelihood[most] - log_likelihood[name]))
            p_value = float(chi2.sf(statistic, df))
            row |= {"statistic": statistic, "df": df, "p_value": p_value}
            if p_value >= level and not decided:
                choice, decided = name, True
        rows.append(row)
    chosen = fits[choice][1]
    return ClosedTest(choice, pd.DataFrame(rows), float(chosen[0]), float(chosen[1]))


def _log_likelihood(eta: Floats, case: Floats, control: Floats) -> float:
    return float(-(case * np.logaddexp(0.0, -eta) + control * np.logaddexp(0.0, eta)).sum())
