"""Experts that are monotone where biology says so: coefficients held to the signs of a table.

In small data a regression may learn that more ferritin is good news. A sign that several cohorts agree on is held by
refitting the tuned ridge regression with that coefficient bounded at zero; a value whose data say the opposite is then
left out instead of turned round. Preparation (logarithm, winsorising, scale) never falls, so the sign of a coefficient
is the sign of its value's effect, everything else as it is. Signs are an assumption about causes that confounding can
break (a drug given to the sickest): hold few, and only of values, not of treatments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.integrate.members import expert_model
from icans.forecast.models.base import labels
from icans.forecast.models.logistic import FittedLogistic, LastValueLogistic
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import RidgeLogistic, expit

Floats = NDArray[np.float64]


@cache
def signs() -> dict[str, int]:
    """Signs by analyte or stem, from ``signs.toml`` (each with its source there)."""
    text = resources.files("icans.forecast.integrate").joinpath("signs.toml").read_text(encoding="utf-8")
    return {name: int(entry["sign"]) for name, entry in tomllib.loads(text).items()}


def sign_of(column: str, table: Mapping[str, int] | None = None) -> int:
    """Sign of a prepared column: +1, -1, or 0 (free). Slopes, counts and categories are free."""
    known = signs() if table is None else table
    stem, _, what = column.rpartition(".")
    if "=" in column or what.startswith(("slope", "count", "age")):
        return 0
    return known.get(stem, known.get(stem.split(".", 1)[-1].split("@", 1)[0], 0))


@dataclass(frozen=True)
class SignedLogistic:
    """Ridge logistic regression with signs.

    Parameters
    ----------
    base
        Chooses columns and the penalty (without signs).
    table
        Signs by analyte (``ferritin``) or stem (``grade.CRS``); None: :func:`signs`.
    """

    base: LastValueLogistic = field(default_factory=expert_model)
    table: Mapping[str, int] | None = None

    def fit(
        self, table: pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedLogistic:
        """Tune without signs, then fit with them; a horizon that already obeys is left as it is."""
        free = self.base.fit(table, outcome, horizons, seed)
        wanted = np.array([sign_of(name, self.table) for name in free.names])
        X = free.pipeline.matrix(table[free.columns])
        models = {}
        for horizon, model in free.models.items():
            if np.isinf(model.penalty) or not (model.coefficients * wanted < 0).any():
                models[horizon] = model
                continue
            y, w = labels(outcome, horizon)
            models[horizon] = bounded(X, y, w, model, wanted, free.baseline.logit(table, horizon))
        return replace(free, models=models)


def bounded(
    X: Floats, y: Floats, weight: Floats, model: RidgeLogistic, wanted: NDArray[np.intp], offset: Floats
) -> RidgeLogistic:
    """The ridge fit of the same penalty with coefficients held to signs (``wanted``: +1, -1, 0), shape (p,)."""
    seen = weight > 0
    X, y, w, offset = X[seen], y[seen], weight[seen] / weight[seen].sum(), offset[seen]

    def loss(b: Floats) -> tuple[float, Floats]:
        eta = offset + b[0] + X @ b[1:]
        residual = w * (expit(eta) - y)
        value = float(w @ (np.logaddexp(0.0, eta) - y * eta) + 0.5 * model.penalty * (b[1:] @ b[1:]))
        return value, np.concatenate([[residual.sum()], X.T @ residual + model.penalty * b[1:]])

    low = np.where(wanted > 0, 0.0, -np.inf)
    high = np.where(wanted < 0, 0.0, np.inf)
    start = np.concatenate([[model.intercept], np.clip(model.coefficients, low, high)])
    bounds = [(None, None), *zip(low.tolist(), high.tolist(), strict=True)]
    from scipy.optimize import minimize  # half a second of imports, which a stored model does not need

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9})
    return RidgeLogistic(float(found.x[0]), np.asarray(found.x[1:], dtype=np.float64), model.penalty)
