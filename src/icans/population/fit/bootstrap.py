"""Case bootstrap: subjects are drawn with replacement, and the model is fitted anew to each draw.

Stratified where asked for (Efron and Tibshirani 1993, An Introduction to the Bootstrap). Replicates run in parallel and
are stored as they finish, so that a stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import IcansError, ModelError, NotEstimableError, Problem
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.population.fit.focei import FoceiSettings, fit_focei
from icans.population.fit.result import Fit, natural
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Population, packing
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]
Estimator = Callable[[NlmeModel, Records, Population], Fit]

#: Replicates below which no percentile interval is given.
FEWEST = 20


@dataclass(frozen=True)
class Replicate:
    """One fit: the packed estimates (None: it failed, and why), its objective, whether it converged."""

    number: int
    vector: Array | None
    objective: float
    converged: bool
    why: str = ""


@dataclass(frozen=True)
class Bootstrap:
    """All replicates of a bootstrap of ``fit``."""

    fit: Fit
    replicates: tuple[Replicate, ...]

    @property
    def vectors(self) -> Array:
        """Packed estimates of the replicates that could be fitted, (B, n)."""
        kept = [r.vector for r in self.replicates if r.vector is not None]
        return np.stack(kept) if kept else np.zeros((0, len(packing(self.fit.model))))

    @property
    def covariance(self) -> Array:
        """Covariance of the packed estimates over replicates."""
        return np.asarray(np.cov(self.vectors, rowvar=False)).reshape(2 * self.vectors.shape[1:])

    def estimates(self) -> pd.DataFrame:
        """Natural estimates of every replicate: one row a replicate, ``number, objective, converged`` and the names."""
        return natural_frame(self.fit, self.replicates)

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """By natural parameter: ``name, value`` (of the fit), ``mean, bias, se, low, high`` (percentiles)."""
        return interval_table(self.fit, self.estimates(), level)

    def failed(self) -> pd.DataFrame:
        """Replicates that could not be fitted, or did not converge: ``number, why``."""
        rows = [(r.number, r.why) for r in self.replicates if r.vector is None or not r.converged]
        return pd.DataFrame(rows, columns=["number", "why"])

    def applied(self) -> Fit:
        """The fit with the bootstrap's covariance."""
        return self.fit.with_covariance(self.covariance, "bootstrap")


def bootstrap(
    fit: Fit, records: Records, *, replicates: int = 200, seed: int, strata: str | None = None,
    estimator: Estimator | None = None, executor: Executor | None = None, folder: Path | None = None,
) -> Bootstrap:  # fmt: skip
    """A case bootstrap of a fit.

    Parameters
    ----------
    strata
        A covariate: draws keep the number of subjects with each of its values.
    estimator
        How to fit a draw, from a start; FOCEI (or the fit's own first-order method) from the estimates if None. It must
        be picklable where worker processes are used.
    folder
        Where finished replicates are kept; a later run with the same fit, records and seed takes them from there.

    Raises
    ------
    ModelError
        Fewer than 2 replicates, a covariate that subjects do not have.
    NotEstimableError
        No replicate could be fitted.
    """
    _check(records, replicates, strata)
    work = OneDraw(fit, records, seed, strata, estimator or FirstOrder(_own(fit)), folder)
    done = (executor or Serial()).map(work, list(range(replicates)), "bootstrap")
    if all(r.vector is None for r in done):
        raise NotEstimableError(f"no replicate could be fitted: {done[0].why}")
    return Bootstrap(fit, tuple(done))


@dataclass(frozen=True)
class FirstOrder:
    """Fits with a first-order method and without standard errors."""

    method: str = "focei"

    def __call__(self, model: NlmeModel, records: Records, begin: Population) -> Fit:
        """The fit of ``records`` from ``begin``."""
        return fit_focei(model, records, settings=FoceiSettings(method=self.method, covariance="none"), begin=begin)


@dataclass(frozen=True)
class OneDraw:
    """Draws and fits one replicate; picklable."""

    fit: Fit
    records: Records
    seed: int
    strata: str | None
    estimator: Estimator
    folder: Path | None

    def __call__(self, number: int) -> Replicate:
        """The replicate ``number``: stored, or fitted now."""
        if self.folder is None:
            return self._fit(number)
        key = (self.fit.data_digest or self.records.digest(), self.fit.vector.tolist(), self.seed, self.strata)
        return Checkpoints(self.folder, [str(k) for k in key]).step(f"replicate-{number}", lambda: self._fit(number))

    def _fit(self, number: int) -> Replicate:
        drawn = self.records.subset(draw(self.records, self.seed, number, self.strata))
        try:
            got = self.estimator(self.fit.model, drawn, self.fit.population)
        except (IcansError, np.linalg.LinAlgError) as error:
            return Replicate(number, None, float("nan"), False, str(error))
        why = "" if got.converged else "; ".join(got.messages[:1])
        return Replicate(number, got.vector, got.objective, got.converged, why)


def draw(records: Records, seed: int, number: int, strata: str | None = None) -> list[int]:
    """Places of the subjects of one draw."""
    rng = stream(seed, "bootstrap", number)
    if strata is None:
        return [int(i) for i in rng.integers(0, len(records), len(records))]
    values = records.covariate(strata)
    out: list[int] = []
    for value in np.unique(values):
        own = np.flatnonzero(values == value)
        out += [int(i) for i in rng.choice(own, len(own))]
    return out


def natural_frame(fit: Fit, replicates: tuple[Replicate, ...]) -> pd.DataFrame:
    """Natural estimates of replicates that have some."""
    pack = packing(fit.model, fit.population)
    rows = []
    for r in replicates:
        if r.vector is not None:
            own = {n.name: n.value for n in natural(fit.model, pack.unpack(r.vector))}
            rows.append({"number": r.number, "objective": r.objective, "converged": r.converged, **own})
    return pd.DataFrame(rows)


def interval_table(fit: Fit, estimates: pd.DataFrame, level: float) -> pd.DataFrame:
    """Means, bias, SEs and percentile intervals of natural estimates against the fit's own."""
    rows = []
    tail = (1.0 - level) / 2.0
    for n in natural(fit.model, fit.population):
        values = estimates[n.name].to_numpy(float) if n.name in estimates else np.full(1, np.nan)
        low, high = np.quantile(values, [tail, 1.0 - tail]) if len(values) >= FEWEST else (np.nan, np.nan)
        mean, se = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan
        rows.append((n.name, n.kind, n.value, mean, mean - n.value, se, float(low), float(high)))
    return pd.DataFrame(rows, columns=["name", "kind", "value", "mean", "bias", "se", "low", "high"])


def _own(fit: Fit) -> str:
    return fit.likelihood if fit.likelihood in ("focei", "laplace", "foce", "fo") else "focei"


def _check(records: Records, replicates: int, strata: str | None) -> None:
    problems = []
    if replicates < 2:
        problems.append(Problem("bootstrap", None, "replicates", str(replicates), "2 or more", "Ask for some 200."))
    if strata is not None and not np.isfinite(records.covariate(strata)).all():
        missing = [i for i, v in zip(records.ids, records.covariate(strata), strict=True) if not np.isfinite(v)]
        expected = "a value of every subject"
        problems.append(Problem("bootstrap", None, strata, ", ".join(missing[:5]), expected, "Give the covariate."))
    if problems:
        raise ModelError(problems)
