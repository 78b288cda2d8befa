"""Sampling importance resampling of population parameters (Dosne, Bergstrand and Karlsson 2017).

Vectors are drawn from a normal proposal around the estimates, weighted by likelihood over proposal, and resampled
without replacement; the resamples make the next proposal (J Pharmacokinet Pharmacodyn 44:509, doi
10.1007/s10928-017-9542-0). The packed vector (logarithms of positive quantities) takes the place of that paper's
Box-Cox transformation. No model is refitted: some thousand evaluations of the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from icans.core.errors import ModelError, NotEstimableError, Problem
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.population.fit.bootstrap import Replicate, interval_table, natural_frame
from icans.population.fit.focei import Objective, objective_of
from icans.population.fit.focei_objective import Evaluation
from icans.population.fit.result import Fit
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

#: Vectors drawn and resampled per iteration, as in the paper's automated procedure.
DRAWN, KEPT = (1000, 1000, 1000, 2000, 2000), (200, 400, 500, 1000, 1000)
#: Vectors that one task evaluates.
CHUNK = 50


@dataclass(frozen=True)
class Sir:
    """Resampled vectors (m, n) of a fit, and how the sampling went.

    ``iterations``: per iteration ``drawn, kept, effective`` (effective sample size), ``df_proposal`` and ``df_kept``:
    mean rise of the objective over all draws and over the resamples. The latter should be close to the number of
    parameters and stay the same between the last iterations.
    """

    fit: Fit
    vectors: Array
    rise: Array
    iterations: pd.DataFrame
    messages: tuple[str, ...]

    @property
    def covariance(self) -> Array:
        """Covariance of the resampled vectors."""
        return np.asarray(np.cov(self.vectors, rowvar=False)).reshape(2 * self.vectors.shape[1:])

    def estimates(self) -> pd.DataFrame:
        """Natural values of every resampled vector."""
        base = self.fit.objective
        made = tuple(
            Replicate(i, v, base + r, True) for i, (v, r) in enumerate(zip(self.vectors, self.rise, strict=True))
        )
        return natural_frame(self.fit, made)

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """By natural parameter: ``name, value, mean, bias, se, low, high`` (percentiles of the resamples)."""
        return interval_table(self.fit, self.estimates(), level)

    def applied(self) -> Fit:
        """The fit with this covariance."""
        return self.fit.with_covariance(self.covariance, "SIR")


def sir(
    fit: Fit, records: Records, *, seed: int, covariance: Array | None = None, drawn: Sequence[int] = DRAWN,
    kept: Sequence[int] = KEPT, inflation: float = 1.0, executor: Executor | None = None,
) -> Sir:  # fmt: skip
    """Uncertainty of a first-order fit by SIR.

    Parameters
    ----------
    covariance
        Of the first proposal (packed vector): the fit's own if None. Where that does not exist, give that of a small
        bootstrap.
    inflation
        Factor of the first proposal's covariance.

    Raises
    ------
    ModelError
        Numbers of draws and resamples that do not fit each other.
    NotEstimableError
        No covariance to start from; no draw with a likelihood.
    """
    _check(drawn, kept)
    first = fit.covariance if covariance is None else covariance
    if first is None:
        raise NotEstimableError("SIR needs a first covariance: fit with standard errors, or give that of a bootstrap")
    method = fit.likelihood if fit.likelihood in ("focei", "laplace", "foce", "fo") else "focei"
    objective = objective_of(fit.model, records, method=method, population=fit.population)
    here = objective.evaluate(fit.vector, gradient=True)
    base = objective.value(fit.vector, here)
    centre, spread = fit.vector, first * inflation
    rows, rng = [], stream(seed, "sir")
    chosen, rises = np.zeros((0, len(centre))), np.zeros(0)
    for count, keep in zip(drawn, kept, strict=True):
        vectors = rng.multivariate_normal(centre, spread, size=count, method="eigh")
        rise = _rises(objective, here, vectors, base, executor or Serial())
        logs = -0.5 * rise - stats.multivariate_normal.logpdf(vectors, centre, spread, allow_singular=True)
        good = np.isfinite(logs)
        if not good.any():
            raise NotEstimableError("SIR: no drawn vector has a likelihood; give a smaller covariance")
        weights = np.where(good, np.exp(logs - logs[good].max()), 0.0)
        weights /= weights.sum()
        # Without replacement by the Gumbel trick: the order of log weight plus noise.
        order = np.argsort(-(np.where(good, logs, -np.inf) + rng.gumbel(size=count)))[: min(keep, int(good.sum()))]
        chosen, rises = vectors[order], rise[order]
        rows.append((count, len(order), 1.0 / (weights**2).sum(), float(rise[good].mean()), float(rises.mean())))
        centre, spread = chosen.mean(axis=0), np.cov(chosen, rowvar=False).reshape(spread.shape)
    names = ["drawn", "kept", "effective", "df_proposal", "df_kept"]
    frame = pd.DataFrame(rows, columns=names)
    return Sir(fit, chosen, rises, frame, tuple(_notes(frame, len(centre))))


@dataclass(frozen=True)
class Chunk:
    """Evaluates some vectors; picklable."""

    objective: Objective
    here: Evaluation
    base: float

    def __call__(self, vectors: Array) -> Array:
        """Rises of the objective, (k,); infinite where there is no likelihood."""
        out = np.empty(len(vectors))
        for i, v in enumerate(vectors):
            try:
                out[i] = self.objective.value(v, self.here) - self.base
            except np.linalg.LinAlgError:
                out[i] = np.inf
        return np.where(np.isnan(out), np.inf, out)


def _rises(objective: Objective, here: Evaluation, vectors: Array, base: float, executor: Executor) -> Array:
    parts = [vectors[i : i + CHUNK] for i in range(0, len(vectors), CHUNK)]
    return np.concatenate(executor.map(Chunk(objective, here, base), parts, "SIR"))


def _notes(frame: pd.DataFrame, size: int) -> list[str]:
    out = []
    last = frame.iloc[-1]
    if last["effective"] < 0.1 * last["drawn"]:
        out.append(f"Few draws count ({last['effective']:.0f} of {last['drawn']:.0f}): add an iteration, or inflate "
                   "the proposal.")  # fmt: skip
    if len(frame) > 1 and abs(last["df_kept"] - frame.iloc[-2]["df_kept"]) > 0.15 * size:
        out.append("The resamples still change between iterations: add one.")
    if last["df_proposal"] < 0.9 * last["df_kept"]:
        out.append("The proposal is narrower than the likelihood: start again with inflation 1.5 or more.")
    return out


def _check(drawn: Sequence[int], kept: Sequence[int]) -> None:
    if len(drawn) != len(kept) or not drawn or any(k < 2 or k > d for d, k in zip(drawn, kept, strict=False)):
        expected = "as many resamples as draws, each 2 or more and no more than its draws"
        raise ModelError([Problem("sir", None, "drawn, kept", f"{drawn}, {kept}", expected, "Mend the numbers.")])
