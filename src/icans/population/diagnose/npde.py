"""Normalised prediction distribution errors: where each observation lies in what the model would have given.

Decorrelated within each subject and observable by the mean and covariance of the simulations (Brendel et al. 2006,
Pharm Res 23:2036, doi 10.1007/s11095-006-9067-5); standard normal if the model is true. Values below a limit get a
random place below the model's probability of the limit (Nguyen, Comets & Mentre 2012, J Pharmacokinet Pharmacodyn
39:499, doi 10.1007/s10928-012-9264-2), above it likewise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from icans.core.random import stream
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import bind
from icans.population.nlme.observed import Observation
from icans.population.nlme.records import INTERVAL, LEFT, QUANTIFIED, RIGHT, Records
from icans.population.nlme.simulating import simulate_observations

Array = npt.NDArray[np.float64]


def npde(fit: Fit, records: Records, seed: int, *, replicates: int = 500) -> pd.DataFrame:
    """Errors of every measured value: columns ``id, time_h, observable, pred_mean, npd, npde, imputed``.

    ``npd`` is not decorrelated (its histogram by time may be read; its tests are not valid for several observations of
    a subject). Raises :class:`~icans.core.errors.ModelError` for records that cannot be bound.
    """
    bound = bind(fit.model, records)
    drawn = simulate_observations(bound, fit.population, seed, replicates)
    rng = stream(seed, "npde")
    parts = []
    for i in range(len(bound)):
        for k, what in enumerate(bound.model.observed):
            at = np.flatnonzero((bound.rows.observed[i] == k) & (bound.rows.source[i] >= 0))
            if not isinstance(what, Observation) or len(at) == 0:
                continue
            sims = drawn.values[:, i, at]
            sims = sims[np.isfinite(sims).all(axis=1)]
            y, role = bound.rows.value[i, at], bound.rows.role[i, at]
            filled, pd_ = _place(y, bound.rows.limit[i, at], role, sims, rng)
            part = {"id": bound.records.ids[i], "time_h": bound.rows.time_h[i, at], "observable": what.name}
            parts.append(pd.DataFrame({**part, "pred_mean": sims.mean(axis=0), "npd": special.ndtri(pd_),
                                       "npde": _decorrelate(filled, sims), "imputed": role != QUANTIFIED}))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _inside(p: Array, s: int) -> Array:
    """Probabilities kept off 0 and 1 by half a replicate."""
    return np.clip(p, 0.5 / s, 1.0 - 0.5 / s)


def _place(
    y: Array, limit: Array, role: npt.NDArray[np.int64], sims: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Values with the censored ones filled in, and the place of each among the simulations."""
    s = len(sims)
    below = (sims < y).mean(axis=0)
    u = rng.random(len(y))
    upto = (sims < np.where(np.isfinite(limit), limit, np.inf)).mean(axis=0)
    p = np.where(role == LEFT, u * below, below)
    p = np.where(role == RIGHT, below + u * (1.0 - below), p)
    p = _inside(np.where(role == INTERVAL, below + u * (upto - below), p), s)
    filled = y.copy()
    for j in np.flatnonzero(role != QUANTIFIED):
        filled[j] = np.quantile(sims[:, j], p[j])
    return filled, p


def _decorrelate(y: Array, sims: Array) -> Array:
    mean = sims.mean(axis=0)
    centred = sims - mean
    matrix = np.atleast_2d(centred.T @ centred / (len(sims) - 1))
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    correlation = matrix / np.outer(scale, scale) + 1e-10 * np.eye(len(y))
    factor = np.linalg.cholesky(correlation)
    white = np.linalg.solve(factor, (centred / scale).T).T
    own = np.linalg.solve(factor, (y - mean) / scale)
    return np.asarray(special.ndtri(_inside((white < own).mean(axis=0), len(sims))))


def npde_tests(errors: pd.DataFrame) -> pd.DataFrame:
    """Tests of mean 0, variance 1 and normality for each observable, with p values adjusted together (Bonferroni).

    Columns ``observable, n, mean, mean_se, sd, p_mean, p_variance, p_normal, p_global``.
    """
    rows = []
    for name, part in errors.groupby("observable", sort=False):
        x = part["npde"].to_numpy(float)
        n = len(x)
        p_mean = float(stats.wilcoxon(x).pvalue) if n > 5 else np.nan
        q = (n - 1) * x.var(ddof=1)
        p_variance = float(2.0 * min(stats.chi2.cdf(q, n - 1), stats.chi2.sf(q, n - 1))) if n > 5 else np.nan
        p_normal = float(stats.shapiro(x).pvalue) if 5 < n <= 5000 else np.nan
        overall = min(1.0, 3.0 * np.nanmin([p_mean, p_variance, p_normal])) if n > 5 else np.nan
        rows.append(
            (name, n, x.mean(), x.std(ddof=1) / np.sqrt(n), x.std(ddof=1), p_mean, p_variance, p_normal, overall)
        )
    columns = ["observable", "n", "mean", "mean_se", "sd", "p_mean", "p_variance", "p_normal", "p_global"]
    return pd.DataFrame(rows, columns=columns)
