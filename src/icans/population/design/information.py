"""Expected Fisher information of a sampling design, for the population and for a single subject.

The model is linearised at the typical subject (Mentre, Mallet & Baccar 1997, Biometrika 84:429, doi
10.1093/biomet/84.2.429; Retout & Mentre 2003, J Biopharm Stat 13:209, doi 10.1081/BIP-120019267): with location m,
slopes G by the random effects and residual covariance S, the observations of a subject are N(m, V), V = G Omega G' + S,
and

    ``M[j, k] = m_j' V^-1 m_k + tr(V^-1 V_j V^-1 V_k) / 2``.

The dependence of V on typical values is left out (the reduced matrix, which those authors recommend). A value that may
fall below a limit informs less: its residual variance is divided by the share of the information on a normal mean
that left-censoring leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from icans.core.errors import ModelError, Problem
from icans.population.diagnose.predictions import linearise
from icans.population.nlme.likelihood import bind, covariance
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Packing, Population, packing
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.terms import spread

Array = npt.NDArray[np.float64]
#: Step of differences of variances by the packed parameters.
STEP = 1e-5


@dataclass(frozen=True)
class Candidates:
    """Measurements that could be taken in one kind of subject: C rows, each an observable at a time.

    ``table``: ``observable, time_h``. ``m``: predicted values (on the scale of their error), (C,). ``by_typical``:
    derivatives of m by typical values and effects (packed), (C, fixed effects). ``slope``: by the random effects,
    (C, D). ``f``: outputs, (C,). ``kept``: share of a quantified value's information that censoring leaves, (C,).
    """

    model: NlmeModel
    population: Population
    table: pd.DataFrame
    m: Array
    f: Array
    slope: Array
    by_fixed: Array
    kept: Array
    prior: Array

    @cached_property
    def pack(self) -> Packing:
        """Order of the parameters of the information matrices."""
        return packing(self.model, self.population)

    def residual_variance(self, population: Population) -> Array:
        """Variance of the residual of each candidate, (C,), more where censoring takes information."""
        s = np.empty(len(self.f))
        names = self.table["observable"].to_numpy()
        layout = packing(self.model, population).layout
        for k, what in enumerate(self.model.observed):
            at = names == what.name
            if at.any():
                assert isinstance(what, Observation)
                own = np.array([j for j, e in enumerate(layout) if e.observed == k])
                s[at] = spread(what, population.errors[own], self.f[at]).s
        return np.asarray(s**2 / self.kept)

    @cached_property
    def _by_variance(self) -> tuple[Array, Array]:
        """Derivatives of Omega (as matrices) and of the residual variances by the packed variance parameters."""
        pack = self.pack
        vector = pack.pack(self.population)
        first = len(pack.typical) + len(pack.effects)
        omegas, residuals = [], []
        for j in range(first, len(pack)):
            sides = []
            for sign in (1.0, -1.0):
                moved = vector.copy()
                moved[j] += sign * STEP
                there = pack.unpack(moved)
                sides.append((_whole(self.model, there, self.slope.shape[1]), self.residual_variance(there)))
            omegas.append((sides[0][0] - sides[1][0]) / (2 * STEP))
            residuals.append((sides[0][1] - sides[1][1]) / (2 * STEP))
        d = self.slope.shape[1]
        return np.array(omegas).reshape(-1, d, d), np.array(residuals).reshape(-1, len(self.f))

    def information(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Array:
        """Expected information of one subject measured at ``rows``, by the packed parameters: (free, free)."""
        at = np.asarray(rows, dtype=np.int64)
        g, fixed = self.slope[at], self.by_fixed[at]
        v = g @ _whole(self.model, self.population, g.shape[1]) @ g.T
        v += np.diag(self.residual_variance(self.population)[at])
        inverse = np.linalg.inv(v)
        omegas, residuals = self._by_variance
        moved = [inverse @ (g @ o @ g.T + np.diag(r[at])) for o, r in zip(omegas, residuals, strict=True)]
        n, first = len(self.pack), fixed.shape[1]
        out = np.zeros((n, n))
        out[:first, :first] = fixed.T @ inverse @ fixed
        for j, a in enumerate(moved):
            for k in range(j + 1):
                out[first + j, first + k] = out[first + k, first + j] = 0.5 * float((a * moved[k].T).sum())
        return out

    def posterior_covariance(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Array:
        """Expected covariance of a subject's random effects after the measurements ``rows``, (D, D)."""
        at = np.asarray(rows, dtype=np.int64)
        g = self.slope[at]
        precision = np.linalg.pinv(self.prior) + (g.T / self.residual_variance(self.population)[at]) @ g
        return np.asarray(np.linalg.inv(precision))


def _whole(model: NlmeModel, population: Population, size: int) -> Array:
    """Omega, and Gamma once (designs are of one occasion)."""
    out = np.zeros((size, size))
    d = len(model.varying)
    out[:d, :d] = population.omega
    if size > d:
        out[d:, d:] = population.gamma
    return out


def candidates(
    model: NlmeModel, population: Population, measurements: pd.DataFrame, *, doses: Sequence[Any] = (),
    covariates: Mapping[str, float] | None = None, limits: Mapping[str, float] | None = None,
    at: Array | None = None,
) -> Candidates:  # fmt: skip
    """Everything that could be measured in a subject with these doses and covariates.

    ``measurements``: ``observable, time_h``, a row each. ``limits``: lower limit of quantification by observable.
    ``at``: random effects at which to linearise, (D,); the typical subject if None.

    Raises
    ------
    ModelError
        Outcomes (only measured values have this information), unknown observables, doses or covariates that the model
        refuses, a model with variability between occasions in which nothing else varies.
    """
    outcomes = {o.name for o in model.observed if not isinstance(o, Observation)}
    wrong = sorted(set(measurements["observable"]) & outcomes)
    if wrong:
        remedy = "Use measured quantities; for outcomes see icans.population.design.schedule."
        raise ModelError([Problem("measurements", None, "observable", n, "a measured quantity", remedy) for n in wrong])
    dummy = measurements[["observable", "time_h"]].assign(value=1.0)
    starts = (0.0, float(dummy["time_h"].max()) + 1.0) if model.occasional else ()
    subject = Subject("design", dummy, tuple(doses), dict(covariates or {}), starts)
    bound = bind(model, make_records([subject]))
    b = np.zeros((1, bound.size)) if at is None else np.asarray(at, dtype=float)[None]
    lin = linearise(bound, population, b)
    place = np.argsort(bound.rows.source[0])
    order = place[bound.rows.source[0][place] >= 0]
    m, slope, f = lin.m[0, order], lin.slope[0, order], lin.f[0, order]
    pack = packing(model, population)
    fixed = _fixed_slopes(model, pack, bound.design[0], lin.by_phi[0, order])
    size = len(model.varying) + len(model.occasional)
    kept = _kept(model, population, measurements, m, f, limits or {})
    prior = covariance(bound, population)[:size, :size]
    table = measurements[["observable", "time_h"]].reset_index(drop=True)
    return Candidates(model, population, table, m, f, slope[:, :size], fixed, kept, prior)


def _fixed_slopes(model: NlmeModel, pack: Packing, design: Array, by_phi: Array) -> Array:
    """Derivatives of the location by free typical values and effects, from those by every parameter (C, P)."""
    columns = [by_phi[:, p] for p in pack.typical]
    columns += [by_phi[:, model.names.index(model.effects[j].parameter)] * design[j] for j in pack.effects]
    return np.stack(columns, axis=1) if columns else np.zeros((len(by_phi), 0))


def _kept(
    model: NlmeModel, population: Population, measurements: pd.DataFrame, m: Array, f: Array,
    limits: Mapping[str, float],
) -> Array:  # fmt: skip
    """Part of the information on a normal mean that left-censoring at the limit leaves."""
    out = np.ones(len(m))
    names = measurements["observable"].to_numpy()
    layout = packing(model, population).layout
    for k, what in enumerate(model.observed):
        at = names == what.name
        if what.name not in limits or not at.any():
            continue
        assert isinstance(what, Observation)
        own = np.array([j for j, e in enumerate(layout) if e.observed == k])
        part = spread(what, population.errors[own], f[at])
        limit = limits[what.name]
        edge = np.log(limit + what.floor) if what.error in ("lognormal", "logstudent") else limit
        z = (edge - part.m) / part.s
        ratio = np.exp(stats.norm.logpdf(z) - stats.norm.logcdf(z))
        out[at] = np.clip(stats.norm.sf(z) + stats.norm.pdf(z) * (z + ratio), 1e-12, 1.0)
    return out


def expected_se(information: Array, pack: Packing) -> pd.DataFrame:
    """Expected standard errors of the packed parameters from a design's information: ``name, se`` (inf: unknown)."""
    value, vector = np.linalg.eigh(information)
    tiny = value < 1e-10 * max(value.max(), 1e-300)
    inverse = (vector / np.where(tiny, np.inf, value)) @ vector.T
    blind = (np.abs(vector[:, tiny]) > 1e-3).any(axis=1)
    return pd.DataFrame({"name": pack.names, "se": np.where(blind, np.inf, np.sqrt(np.diag(inverse)))})
