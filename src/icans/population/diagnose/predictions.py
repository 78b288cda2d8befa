"""Predictions and residuals, a row per observation, as users of NONMEM, Monolix and nlmixr2 expect them.

``pred``: the typical subject with these covariates; ``ipred``: the subject's own random effects. ``iwres``: individual
residual over its SD, on the scale of the error (logarithms where that is log-normal). ``wres`` and ``cwres``:
residuals decorrelated within a subject by the model linearised at 0 (FO) and at the subject's random effects (FOCE;
Hooker, Staatz & Karlsson 2007, Pharm Res 24:2187, doi 10.1007/s11095-007-9361-x). Censored rows have predictions but no
residuals; :mod:`~icans.population.diagnose.npde` gives theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import Bound, Local, bind, covariance, local, means, phi_of
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population
from icans.population.nlme.records import LEFT, QUANTIFIED, RIGHT, Records
from icans.population.nlme.terms import Spread, spread, transformed

Array = npt.NDArray[np.float64]
WORDS = {QUANTIFIED: "none", LEFT: "left", RIGHT: "right", 3: "interval"}


@dataclass(frozen=True)
class Linear:
    """The model of N subjects linearised at random effects ``b``: location, SD and slopes, by row of the bound model.

    ``m``, ``s``, ``y``: (N, R), on the scale of the error; ``slope``: of m by b, (N, R, D); ``by_phi``: of m by the
    parameters on their scales, occasions added up, (N, R, P); ``f``: outputs (N, R).
    """

    b: Array
    f: Array
    m: Array
    s: Array
    y: Array
    slope: Array
    by_phi: Array


def linearise(bound: Bound, population: Population, b: Array) -> Linear:
    """Linearise measured values at ``b`` (N, D); NaN where a row is no measured value."""
    phi = phi_of(bound, means(bound, population), b)
    here: Local = local(bound, population, phi, bound.everyone)
    n, r = here.outputs.shape
    by_b = here.jacobian.reshape(n, r, -1) @ bound.loading.reshape(-1, bound.size)
    m, s, y = (np.full((n, r), np.nan) for _ in range(3))
    slope = np.full((n, r, bound.size), np.nan)
    whole = here.jacobian.sum(axis=2)
    by_phi = np.full(whole.shape, np.nan)
    for k, at in enumerate(bound.everyone.places):
        what = bound.model.observed[k]
        if not isinstance(what, Observation) or len(at[0]) == 0:
            continue
        factor = np.ones(len(at[0]))
        errors = population.errors[bound.own[k]]
        if what.batches:
            batch = np.concatenate([[0.0], errors[len(errors) - len(what.batches) :]])
            factor = np.exp(batch[bound.rows.batch[at]])
        part: Spread = spread(what, errors, here.outputs[at] * factor)
        m[at], s[at], y[at] = part.m, part.s, transformed(what, bound.rows.value[at])
        slope[at] = (part.m_f * factor)[:, None] * by_b[at]
        by_phi[at] = (part.m_f * factor)[:, None] * whole[at]
    return Linear(b, here.outputs, m, s, y, slope, by_phi)


def whitened(lin: Linear, omega: Array, keep: npt.NDArray[np.bool_]) -> Array:
    """Decorrelated residuals (N, R) of the rows ``keep``, under the linearised model; NaN elsewhere."""
    out = np.full(lin.m.shape, np.nan)
    for i in range(len(lin.m)):
        at = np.flatnonzero(keep[i] & np.isfinite(lin.m[i]))
        if len(at) == 0:
            continue
        g = lin.slope[i, at]
        matrix = g @ omega @ g.T + np.diag(lin.s[i, at] ** 2)
        expected = lin.m[i, at] - g @ lin.b[i]
        # The symmetric root, as NONMEM takes it: a residual stays that of its own row.
        value, vector = np.linalg.eigh(matrix)
        root = (vector / np.sqrt(np.maximum(value, 1e-300))) @ vector.T
        out[i, at] = root @ (lin.y[i, at] - expected)
    return out


def predictions(fit: Fit, records: Records) -> pd.DataFrame:
    """Observations with predictions and residuals.

    Columns: ``id, time_h, observable, value, censor, pred, ipred, res, ires, iwres, wres, cwres``. Outcomes (grades,
    counts, events) have the predicted output in ``pred`` and ``ipred`` and no residuals.

    Raises
    ------
    ModelError
        Records that the fitted model cannot be bound to, or other subjects than were fitted.
    """
    bound = bind(fit.model, records)
    own = linearise(bound, fit.population, fit.effects.mode)
    typical = linearise(bound, fit.population, np.zeros_like(fit.effects.mode))
    rows = bound.rows
    known = (rows.role == QUANTIFIED) & (rows.source >= 0)
    matrix = covariance(bound, fit.population)
    cwres, wres = whitened(own, matrix, known), whitened(typical, matrix, known)
    i, r = np.nonzero(rows.source >= 0)
    measured = known[i, r] & np.isfinite(own.m[i, r])
    value = rows.value[i, r]
    res = np.where(measured, value - typical.f[i, r], np.nan)
    ires = np.where(measured, value - own.f[i, r], np.nan)
    iwres = np.where(measured, (own.y[i, r] - own.m[i, r]) / own.s[i, r], np.nan)
    names = [bound.model.observed[k].name for k in rows.observed[i, r]]
    frame = pd.DataFrame({
        "id": [bound.records.ids[j] for j in i], "time_h": rows.time_h[i, r], "observable": names, "value": value,
        "censor": [WORDS.get(int(x), "none") for x in rows.role[i, r]], "pred": typical.f[i, r], "ipred": own.f[i, r],
        "res": res, "ires": ires, "iwres": iwres, "wres": wres[i, r], "cwres": cwres[i, r],
    })  # fmt: skip
    return frame.sort_values(["id", "observable", "time_h"], kind="stable", ignore_index=True)
