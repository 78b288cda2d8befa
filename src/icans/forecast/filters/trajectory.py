"""A Bayesian hierarchical model of a marker's course, with priors from other immunotherapies.

The natural logarithm of the marker is piecewise linear between knots; a patient's values at the knots are drawn from
a normal around the population's::

    y_ij = B(t_ij) theta_i + e,   theta_i ~ N(mu, S),   e ~ N(0, s^2)
    mu ~ N(m0, V0),   S ~ inverse Wishart(nu0, S0),   s^2 ~ inverse gamma(a0, b0)

Every full conditional is known, so that Gibbs sampling is exact (Gelfand AE, Smith AFM, J Am Stat Assoc 1990;85:398;
Lindley DV, Smith AFM, J R Stat Soc B 1972;34:1). A value beyond a limit is drawn inside it along with the rest
(Tanner MA, Wong WH, J Am Stat Assoc 1987;82:528). ``m0``, ``V0`` and ``S0`` come from published levels under other
therapies (``trajectory_priors.toml``): the spread of their medians tells how far a new therapy may lie from them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.filters.kalman import scalar_update

Floats = NDArray[np.float64]

#: Days of the knots: rise, peak and fall of the first two weeks close, then wide.
KNOTS = (0.0, 2.0, 4.0, 7.0, 10.0, 14.0, 21.0, 28.0)
#: Day by which the prior curve is back at baseline: CRS lasts a week or so from its onset (axi-cel, median 7 days).
BACK_DAY = 14.0
#: Days over which levels of a course go together.
LENGTH_D = 7.0
#: SD (ln) between therapies where only one is known: that of the median IL-6 peaks under five.
BETWEEN = 1.0
#: SD (ln) of the baseline, between therapies and between patients.
BASELINE_SD = 0.7
#: Patients that the prior of the covariance is worth.
PRIOR_PATIENTS = 4.0
#: Prior of the noise: SD 0.4 (ln), as if from four values. The assays' own error and the day's course.
NOISE_SD, NOISE_VALUES = 0.4, 4.0


@dataclass(frozen=True)
class TrajectoryPrior:
    """``mean`` (K,), ``cov`` (K, K) of the population's knots; ``scale`` (K, K), ``degrees`` of the covariance."""

    knots: Floats
    mean: Floats
    cov: Floats
    scale: Floats
    degrees: float

    @classmethod
    def informed(cls, analyte: str, knots: tuple[float, ...] = KNOTS) -> TrajectoryPrior:
        """From levels under other therapies.

        Raises
        ------
        KeyError
            No published levels are known for the analyte.
        """
        known = published()
        if analyte not in known:
            raise KeyError(f"no published levels of {analyte!r}; there are some of {sorted(known)}")
        entry, days = known[analyte], np.asarray(knots)
        peaks = np.log([peak["value"] for peak in entry["peaks"]])
        base = float(np.log(entry["baseline"]))
        mean = np.interp(days, [0.0, entry["peak_day"], BACK_DAY], [base, float(peaks.mean()), base])
        between = float(peaks.std(ddof=1)) if len(peaks) > 2 else BETWEEN
        # Nearer the peak day courses differ as peaks do, away from it as baselines do.
        weight = np.interp(days, [0.0, entry["peak_day"], BACK_DAY, 28.0], [0.0, 1.0, 0.5, 0.0])
        therapy = BASELINE_SD + weight * (max(between, BASELINE_SD) - BASELINE_SD)
        patient = BASELINE_SD + weight * (entry["spread"] - BASELINE_SD)
        together = np.exp(-np.abs(days[:, None] - days[None]) / LENGTH_D)
        scale = PRIOR_PATIENTS * together * patient[:, None] * patient[None]
        return cls(days, mean, together * therapy[:, None] * therapy[None], scale, len(days) + 1.0 + PRIOR_PATIENTS)

    @classmethod
    def vague(cls, level: float, knots: tuple[float, ...] = KNOTS) -> TrajectoryPrior:
        """Hardly any: a flat course at ``level`` (ln) give or take 10, patients that differ by 1, worth one patient."""
        days = np.asarray(knots)
        together = np.exp(-np.abs(days[:, None] - days[None]) / LENGTH_D)
        return cls(days, np.full(len(days), level), 100.0 * together, together, len(days) + 2.0)

    def basis(self, days: Floats) -> Floats:
        """Weights of the knots at each day, (T, K); constant beyond the outermost."""
        return np.stack([np.interp(days, self.knots, e) for e in np.eye(len(self.knots))], axis=-1)


@dataclass(frozen=True)
class Course:
    """One patient's values: ``days`` (T,), ``values`` (T,; ln, a limit where censored), ``side`` (T,; 0, -1, 1)."""

    days: Floats
    values: Floats
    side: NDArray[np.int8]

    @classmethod
    def exact(cls, days: Floats, values: Floats) -> Course:
        """A course without censored values."""
        return cls(np.asarray(days, float), np.asarray(values, float), np.zeros(len(days), np.int8))

    def until(self, day: float) -> Course:
        """The part up to a day."""
        kept = self.days <= day
        return Course(self.days[kept], self.values[kept], self.side[kept])


@dataclass(frozen=True)
class TrajectoryFit:
    """Draws of the posterior: ``mean`` (S, K), ``cov`` (S, K, K), ``noise`` (S,; variances), ``rhat`` of the means."""

    prior: TrajectoryPrior
    mean: Floats
    cov: Floats
    noise: Floats
    rhat: float

    def forecast(self, own: Course, days: Floats, seed: int = 0) -> Floats:
        """Draws (T, S) of ln values measured at ``days``, given a patient's own values (all of ``own``).

        Every draw of the population gives one of the patient: conjugate for exact values, by moment matching for
        censored ones (:func:`icans.forecast.filters.kalman.scalar_update`).
        """
        m, P = self.mean.copy(), self.cov.copy()
        for row, value, side in zip(self.prior.basis(own.days), own.values, own.side, strict=True):
            lever = P @ row
            m, P, _ = _observe(m, P, lever, row, value, side, self.noise)
        B = self.prior.basis(np.asarray(days, dtype=float))
        rng = stream(seed, "trajectory forecast")
        theta = m + np.einsum("sij,sj->si", _roots(P), rng.normal(size=m.shape))
        return (theta @ B.T + np.sqrt(self.noise)[:, None] * rng.normal(size=(len(m), len(B)))).T

    def population(self, days: Floats) -> Floats:
        """Draws (T, S) of the population's mean curve."""
        return self.prior.basis(np.asarray(days, dtype=float)) @ self.mean.T


@cache
def published() -> dict[str, Any]:
    """Levels under other therapies, with their sources."""
    text = (resources.files(__package__) / "trajectory_priors.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def fit_trajectory(
    courses: list[Course], prior: TrajectoryPrior, *, draws: int = 400, warm: int = 200, chains: int = 2, seed: int = 1
) -> TrajectoryFit:
    """Gibbs sampling of the population.

    Parameters
    ----------
    courses
        One a patient; empty ones are left out.
    draws, warm, chains
        Kept draws and draws left out of each chain.

    Raises
    ------
    NotEstimableError
        No patient has a value.
    """
    used = [c for c in courses if len(c.days)]
    if not used:
        raise NotEstimableError("no patient has a value of this marker: nothing to fit")
    parts = [_chain(used, prior, draws, warm, stream(seed, "trajectory", k)) for k in range(chains)]
    mean, cov, noise = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return TrajectoryFit(prior, mean, cov, noise, _rhat(np.stack([part[0] for part in parts])))


def _chain(
    courses: list[Course], prior: TrajectoryPrior, draws: int, warm: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    n, K = len(courses), len(prior.knots)
    who = np.repeat(np.arange(n), [len(c.days) for c in courses])
    B = prior.basis(np.concatenate([c.days for c in courses]))
    limit = np.concatenate([c.values for c in courses])
    side = np.concatenate([c.side for c in courses])
    y, beyond = limit.copy(), side != 0
    gram = np.zeros((n, K, K))
    np.add.at(gram, who, B[:, :, None] * B[:, None, :])
    before, mu, S, noise = np.linalg.inv(prior.cov), prior.mean.copy(), prior.scale / PRIOR_PATIENTS, NOISE_SD**2
    kept: tuple[list[Floats], list[Floats], list[float]] = ([], [], [])
    for k in range(warm + draws):
        right = np.zeros((n, K))
        np.add.at(right, who, B * y[:, None])
        precision = np.linalg.inv(S)
        theta = _normal(gram / noise + precision, right / noise + precision @ mu, rng)
        mu = _normal((before + n * precision)[None], (before @ prior.mean + precision @ theta.sum(axis=0))[None], rng)[
            0
        ]
        apart = theta - mu
        S = _inverse_wishart(prior.degrees + n, prior.scale + apart.T @ apart, rng)
        fitted = np.einsum("tk,tk->t", B, theta[who])
        if beyond.any():
            y[beyond] = _beyond(fitted[beyond], np.sqrt(noise), limit[beyond], side[beyond], rng)
        shape = 0.5 * (NOISE_VALUES + len(y))
        noise = 0.5 * (NOISE_VALUES * NOISE_SD**2 + float(((y - fitted) ** 2).sum())) / rng.gamma(shape)
        if k >= warm:
            kept[0].append(mu)
            kept[1].append(S)
            kept[2].append(noise)
    return np.array(kept[0]), np.array(kept[1]), np.array(kept[2])


def _observe(
    m: Floats, P: Floats, lever: Floats, row: Floats, value: float, side: int, noise: Floats
) -> tuple[Floats, Floats, Floats]:
    """One value for every draw. The noise differs between draws: each is scaled to noise 1."""
    sd, count = np.sqrt(noise), len(noise)
    return scalar_update(
        m, P, lever / sd[:, None], (m @ row) / sd, (lever @ row) / noise, 1.0, np.full(count, value) / sd,
        np.full(count, side, dtype=np.int8),
    )  # fmt: skip


def _normal(precision: Floats, right: Floats, rng: np.random.Generator) -> Floats:
    """Draws of normals given precision (n, K, K) and precision x mean (n, K)."""
    root = np.linalg.cholesky(precision)
    half = np.linalg.solve(root, right[..., None])
    # mean + L'^-1 z, both by one solve.
    drawn = np.linalg.solve(root.transpose(0, 2, 1), half + rng.normal(size=half.shape))
    return np.asarray(drawn[..., 0])


def _inverse_wishart(degrees: float, scale: Floats, rng: np.random.Generator) -> Floats:
    """One draw, by Bartlett's decomposition (Bartlett MS, Proc R Soc Edinb 1933;53:260)."""
    K = len(scale)
    A = np.tril(rng.normal(size=(K, K)), -1)
    A[np.arange(K), np.arange(K)] = np.sqrt(rng.chisquare(degrees - np.arange(K)))
    root = np.linalg.cholesky(scale)
    half = np.linalg.solve(A, root.T)
    return half.T @ half


def _beyond(mean: Floats, sd: float, limit: Floats, side: NDArray[np.int8], rng: np.random.Generator) -> Floats:
    """Draws of normals inside their limits, by inversion on the logarithmic scale (exact far in the tail)."""
    sign = np.where(side < 0, 1.0, -1.0)
    log_mass = log_ndtr(sign * (limit - mean) / sd)
    return mean + sign * sd * ndtri_exp(np.log(rng.random(len(mean))) + log_mass)


def _roots(P: Floats) -> Floats:
    """Symmetric roots of covariances (S, K, K) that may be nearly singular."""
    value, vector = np.linalg.eigh(0.5 * (P + P.transpose(0, 2, 1)))
    return vector * np.sqrt(np.maximum(value, 0.0))[:, None, :]


def _rhat(draws: Floats) -> float:
    """Largest split R-hat of the columns of draws (chains, S, K); NaN: too few draws.

    Gelman A, Rubin DB, Stat Sci 1992;7:457.
    """
    half = draws.shape[1] // 2
    if half < 2:
        return float("nan")
    parts = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between) / within).max())
