"""Batch correction by location and scale with empirical Bayes shrinkage (ComBat), with fit and transform apart.

Johnson WE, Li C, Rabinovic A. Biostatistics 2007;8:118, doi 10.1093/biostatistics/kxj037. The parametric version:
batch means have a normal prior and batch variances an inverse gamma prior across the features of a batch.
Covariates are kept: their effects are estimated together with the batches and put back. Missing values are left
out feature by feature and stay missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError, NotFittedError, UnseenBatchError

Array = npt.NDArray[np.float64]

#: Relative change at which the posterior iterations stop, and how many there may be.
TOLERANCE, ITERATIONS = 1e-6, 500


@dataclass(frozen=True)
class Prior:
    """Hyperparameters of one batch: normal (mean, variance) of shifts, inverse gamma (shape, scale) of variances."""

    mean: float
    variance: float
    shape: float
    scale: float


@dataclass(frozen=True)
class Fitted:
    """What a fit knows: grand mean and covariate effects, pooled SD, and shift and scale of each batch."""

    batches: tuple[str, ...]
    intercept: Array
    effects: Array
    sd: Array
    shift: Array
    spread: Array
    priors: tuple[Prior, ...]


@dataclass(frozen=True)
class ComBat:
    """Location and scale correction of batches.

    Parameters
    ----------
    shrink
        Empirical Bayes (True) or plain location and scale (False).
    mean_only
        Correct means, leave variances.
    reference_batch
        A batch that stays as it is; the others are brought to it.
    unseen
        A batch that was not there in ``fit``: ``"error"`` raises :class:`UnseenBatchError`; ``"shrink"``
        estimates it from its own rows in ``transform``, shrunk towards the average of the fitted batches (uses
        only features, never outcomes; all rows of the batch must come together); ``"identity"`` leaves it.
    """

    shrink: bool = True
    mean_only: bool = False
    reference_batch: str | None = None
    unseen: Literal["error", "shrink", "identity"] = "error"
    fitted: Fitted | None = None

    def __post_init__(self) -> None:
        if self.unseen not in ("error", "shrink", "identity"):
            raise ValueError(f"unseen must be 'error', 'shrink' or 'identity', got {self.unseen!r}")

    def fit(self, values: npt.ArrayLike, batch: Sequence[str], covariates: npt.ArrayLike | None = None) -> ComBat:
        """Estimate the batches.

        Parameters
        ----------
        values
            (n, G) on a scale on which batches shift and stretch (log for concentrations); NaN is missing.
        batch
            (n,) names.
        covariates
            (n, p) numbers whose effects are to stay; no intercept, no missing values.

        Raises
        ------
        NotEstimableError
            A batch with fewer than two values of a feature, or covariates that are confounded with batches.
        """
        y, names = np.asarray(values, dtype=float), np.asarray(batch, dtype=object).astype(str)
        x = _covariates(covariates, len(y))
        levels = tuple(sorted(set(names)))
        if self.reference_batch is not None and self.reference_batch not in levels:
            raise NotEstimableError(f"reference batch {self.reference_batch!r} is not among {list(levels)}")
        dummies = np.stack([names == level for level in levels], axis=1).astype(float)
        _check(y, dummies, x, levels)
        reference = levels.index(self.reference_batch) if self.reference_batch is not None else None
        intercept, effects, sd = _standard(y, dummies, x, reference)
        z = (y - intercept - x @ effects) / sd
        shift, spread, priors = [], [], []
        for k in range(len(levels)):
            part = z[dummies[:, k] == 1]
            prior = _prior(part)
            g, d = self._estimate(part, prior)
            if k == reference:
                g, d = np.zeros_like(g), np.ones_like(d)
            shift.append(g)
            spread.append(d)
            priors.append(prior)
        fitted = Fitted(levels, intercept, effects, sd, np.stack(shift), np.stack(spread), tuple(priors))
        return ComBat(self.shrink, self.mean_only, self.reference_batch, self.unseen, fitted)

    def transform(self, values: npt.ArrayLike, batch: Sequence[str], covariates: npt.ArrayLike | None = None) -> Array:
        """Corrected values, (n, G); NaN stays NaN. See ``unseen`` for batches that were not fitted."""
        if self.fitted is None:
            raise NotFittedError("fit the correction before transform")
        f = self.fitted
        y, names = np.asarray(values, dtype=float), np.asarray(batch, dtype=object).astype(str)
        x = _covariates(covariates, len(y))
        if x.shape[1] != len(f.effects):
            raise ValueError(f"fitted with {len(f.effects)} covariates, got {x.shape[1]}")
        expected = f.intercept + x @ f.effects
        z = (y - expected) / f.sd
        out = y.copy()
        for level in sorted(set(names)):
            rows = names == level
            if level in f.batches:
                k = f.batches.index(level)
                if level == self.reference_batch:
                    continue
                g, d = f.shift[k], f.spread[k]
            elif self.unseen == "identity":
                continue
            elif self.unseen == "shrink":
                g, d = self._estimate(z[rows], _pooled(f))
            else:
                raise UnseenBatchError(
                    f"batch {level!r} was not in the fit ({', '.join(f.batches)}); set unseen to 'shrink' or 'identity'"
                )
            out[rows] = (z[rows] - g) / np.sqrt(d) * f.sd + expected[rows]
        return out

    def _estimate(self, part: Array, prior: Prior) -> tuple[Array, Array]:
        """Shift and variance of one batch from its standardised rows."""
        n = (~np.isnan(part)).sum(axis=0).astype(float)
        mean = np.where(n > 0, np.nansum(part, axis=0) / np.maximum(n, 1), 0.0)
        square = np.nansum((part - mean) ** 2, axis=0)
        variance = np.where(n > 1, square / np.maximum(n - 1, 1), 1.0)
        if not self.shrink:
            return mean, np.ones_like(mean) if self.mean_only else np.maximum(variance, 1e-12)
        if self.mean_only:
            return _shift(n, mean, np.ones_like(mean), prior), np.ones_like(mean)
        return posterior(part, prior)


def posterior(part: Array, prior: Prior) -> tuple[Array, Array]:
    """Posterior means of shift and variance of each feature, by alternating their two conditional means."""
    n = (~np.isnan(part)).sum(axis=0).astype(float)
    mean = np.where(n > 0, np.nansum(part, axis=0) / np.maximum(n, 1), prior.mean)
    variance = np.where(n > 1, np.nansum((part - mean) ** 2, axis=0) / np.maximum(n - 1, 1), 1.0)
    g, d = mean, np.maximum(variance, 1e-12)
    for _ in range(ITERATIONS):
        g_new = _shift(n, mean, d, prior)
        square = np.nansum((part - g_new) ** 2, axis=0)
        d_new = (prior.scale + 0.5 * square) / (0.5 * n + prior.shape - 1.0)
        change = max(np.max(np.abs(g_new - g) / (np.abs(g) + 1e-8)), np.max(np.abs(d_new - d) / d))
        g, d = g_new, d_new
        if change < TOLERANCE:
            break
    return g, d


def _shift(n: Array, mean: Array, variance: Array, prior: Prior) -> Array:
    return (n * prior.variance * mean + variance * prior.mean) / (n * prior.variance + variance)


def _prior(part: Array) -> Prior:
    """Hyperparameters of a batch by moments across its features; weak ones where there are too few features."""
    n = (~np.isnan(part)).sum(axis=0)
    mean = np.nanmean(part, axis=0)
    variance = np.nanvar(part, axis=0, ddof=1)
    usable = (n > 1) & np.isfinite(variance)
    if usable.sum() < 2:
        return Prior(float(np.mean(mean)), 1e6, 1.0 + 1e-3, 1e-3)
    v, s2 = float(variance[usable].mean()), float(variance[usable].var(ddof=1))
    s2 = max(s2, 1e-8)
    return Prior(float(mean.mean()), max(float(mean.var(ddof=1)), 1e-8), (2 * s2 + v**2) / s2, (v * s2 + v**3) / s2)


def _pooled(f: Fitted) -> Prior:
    """The prior for a batch never seen: the average of the fitted batches, its variance widened by their scatter."""
    means = np.array([p.mean for p in f.priors])
    between = float(means.var(ddof=1)) if len(means) > 1 else 1.0
    variance = float(np.mean([p.variance for p in f.priors])) + between
    return Prior(float(means.mean()), variance, float(np.median([p.shape for p in f.priors])),
                 float(np.median([p.scale for p in f.priors])))  # fmt: skip


def _covariates(covariates: npt.ArrayLike | None, n: int) -> Array:
    x = np.zeros((n, 0)) if covariates is None else np.asarray(covariates, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != n or np.isnan(x).any():
        raise ValueError(f"covariates need {n} rows without missing values, got {x.shape}")
    return x


def _check(y: Array, dummies: Array, x: Array, levels: tuple[str, ...]) -> None:
    if y.ndim != 2 or len(y) != len(dummies):
        raise ValueError(f"values must be (n, G) with one batch a row, got {y.shape} and {len(dummies)} batches")
    counts = dummies.T @ (~np.isnan(y))
    if (counts < 2).any():
        few = [levels[k] for k in np.flatnonzero((counts < 2).any(axis=1))]
        raise NotEstimableError(f"batches with fewer than two values of some feature: {few}")
    design = np.concatenate([dummies, x], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise NotEstimableError("batches and covariates are confounded: their effects cannot be told apart")


def _standard(y: Array, dummies: Array, x: Array, reference: int | None) -> tuple[Array, Array, Array]:
    """Grand mean, covariate effects and pooled SD of each feature, from its observed rows."""
    design = np.concatenate([dummies, x], axis=1)
    count = dummies.shape[1]
    intercept, sd = np.empty(y.shape[1]), np.empty(y.shape[1])
    effects = np.empty((x.shape[1], y.shape[1]))
    for g in range(y.shape[1]):
        seen = ~np.isnan(y[:, g])
        beta, *_ = np.linalg.lstsq(design[seen], y[seen, g], rcond=None)
        residual = y[seen, g] - design[seen] @ beta
        share = dummies[seen].mean(axis=0)
        if reference is None:
            intercept[g] = share @ beta[:count]
        else:
            intercept[g] = beta[reference]
            residual = residual[dummies[seen, reference] == 1]
        sd[g] = max(float(np.sqrt(np.mean(residual**2))), 1e-12)
        effects[:, g] = beta[count:]
    return intercept, effects, sd
