"""Cox proportional hazards with a ridge penalty, fitted by Newton steps on whole arrays.

The penalised log partial likelihood is

    l(b) = sum over events of the log partial likelihood  -  1/2 * sum_j alpha_j * b_j**2,

the penalty being on the *sum* (not the mean) of the log likelihood. Ties: Breslow (1974) or Efron (1977).
Baseline: Breslow's estimator, one for each stratum.

References: Cox DR, J R Stat Soc B 1972;34:187; Breslow N, Biometrics 1974;30:89; Efron B, J Am Stat Assoc
1977;72:557; Verweij PJM, van Houwelingen HC, Stat Med 1994;13:2427 (penalised likelihood),
doi 10.1002/sim.4780132307.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.partial_likelihood import MAX_PREDICTOR, Design, Floats, Ties, newton


@dataclass(frozen=True)
class PenalisedCox:
    """Settings of a ridge-penalised Cox model; :meth:`fit` gives a :class:`FittedCox`.

    Parameters
    ----------
    alpha
        Ridge penalty on the sum of the log partial likelihood: one number, or one for each column.
    ties
        How tied event times are treated.
    standardise
        Penalise coefficients per SD of their column (weighted, divisor n) rather than per unit.
    """

    alpha: float | tuple[float, ...] = 0.0
    ties: Ties = "efron"
    standardise: bool = False

    def fit(
        self,
        X: ArrayLike,
        time: ArrayLike,
        event: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        strata: ArrayLike | None = None,
    ) -> FittedCox:
        """Fit the coefficients and the baseline hazard.

        Parameters
        ----------
        X
            Covariates, shape (n, p), without missing values. p may be 0 (Nelson-Aalen baseline).
        time
            Time to event or censoring, shape (n,), any unit.
        event
            1/True: event; 0/False: censored. Shape (n,).
        weights
            Case weights >= 0 (frequency weights of a bootstrap, for example). Shape (n,).
        strata
            Labels; each stratum has its own baseline. Shape (n,).

        Raises
        ------
        NotEstimableError
            No event with positive weight, missing or infinite values, or a singular information matrix.
        """
        return self.fit_path([self.alpha], X, time, event, weights=weights, strata=strata)[0]

    def fit_path(
        self,
        alphas: Sequence[float | tuple[float, ...]],
        X: ArrayLike,
        time: ArrayLike,
        event: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        strata: ArrayLike | None = None,
    ) -> list[FittedCox]:
        """One model for each penalty, each begun where the one before ended (``alpha`` itself plays no part).

        Penalties are best given from the strongest to the weakest. The other parameters and what is raised are
        those of :meth:`fit`.
        """
        x, t, d, w, s = _checked(X, time, event, weights, strata)
        centre = np.average(x, axis=0, weights=w)
        scale = np.ones(x.shape[1])
        if self.standardise:
            spread = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=w))
            scale = np.where(spread > 0, spread, 1.0)
        design = Design.build((x - centre) / scale, t, d, w, s, self.ties)
        labels = np.unique(s).tolist()
        fitted, beta = [], np.zeros(x.shape[1])
        for alpha in alphas:
            beta, likelihood, information, converged = newton(design, _penalty(alpha, x.shape[1]), beta)
            baseline = tuple(
                (label, *steps) for label, steps in zip(labels, _breslow(design, beta, len(labels)), strict=True)
            )
            fitted.append(
                FittedCox(beta / scale, centre, information * np.outer(scale, scale), likelihood, converged, baseline)
            )
        return fitted


@dataclass(frozen=True)
class FittedCox:
    """A fitted Cox model.

    Attributes
    ----------
    coefficients
        Log hazard ratios per unit of each column, shape (p,).
    centre
        Column means of the training data; the baseline is for a patient with these values.
    information
        Penalised information matrix at the solution (per unit), shape (p, p).
    log_likelihood
        Log partial likelihood at the solution, without the penalty.
    converged
        False when Newton's steps did not settle (separated data with a small penalty).
    baseline
        For each stratum: its label, event times, cumulative baseline hazard just after them.
    """

    coefficients: Floats
    centre: Floats
    information: Floats
    log_likelihood: float
    converged: bool
    baseline: tuple[tuple[object, Floats, Floats], ...]

    def linear_predictor(self, X: ArrayLike) -> Floats:
        """Log hazard relative to a patient at the training means, shape (n,)."""
        return (_matrix(X) - self.centre) @ self.coefficients

    def cumulative_hazard(self, X: ArrayLike, times: ArrayLike, strata: ArrayLike | None = None) -> Floats:
        """Cumulative hazard at each time, shape (n, len(times)).

        Beyond the last event time of a stratum it stays constant. ``strata`` is required, one label for each
        row, when the model has more than one stratum.

        Raises
        ------
        KeyError
            A stratum that the training data did not have.
        """
        risk = np.exp(np.clip(self.linear_predictor(X), -MAX_PREDICTOR, MAX_PREDICTOR))
        grid = np.atleast_1d(np.asarray(times, dtype=float))
        if len(self.baseline) == 1 and strata is None:
            return risk[:, None] * _step(*self.baseline[0][1:], grid)
        if strata is None:
            raise KeyError(f"the model has {len(self.baseline)} strata; give one label for each row")
        labels = np.asarray(strata)
        result = np.full((len(risk), len(grid)), np.nan)
        known = {label: (at, height) for label, at, height in self.baseline}
        for label in np.unique(labels).tolist():
            if label not in known:
                raise KeyError(f"stratum {label!r} was not in the training data; it had {list(known)}")
            mine = labels == label
            result[mine] = risk[mine, None] * _step(*known[label], grid)
        return result

    def predict_survival(self, X: ArrayLike, times: ArrayLike, strata: ArrayLike | None = None) -> Floats:
        """Probability of no event up to and including each time, shape (n, len(times))."""
        return np.exp(-self.cumulative_hazard(X, times, strata))

    def predict_risk(self, X: ArrayLike, horizon: float, strata: ArrayLike | None = None) -> Floats:
        """Probability of the event by ``horizon``, shape (n,)."""
        return -np.expm1(-self.cumulative_hazard(X, [horizon], strata)[:, 0])


def cause_specific_incidence(models: list[FittedCox], X: ArrayLike, times: ArrayLike) -> Floats:
    """Cumulative incidence of each cause from one unstratified cause-specific Cox model per cause.

    The cause-specific hazards' steps are combined by the product integral (Aalen-Johansen), so that the
    incidences and the event-free probability add up to one where no hazard step exceeds one; a patient's total
    step is capped at one.

    Parameters
    ----------
    models
        One model for each cause (the others' events taken as censoring when fitted).
    X
        Covariates, shape (n, p); the same columns for every model.
    times
        Times, shape (k,).

    Returns
    -------
    Floats
        Shape (number of causes, n, k).
    """
    grid = np.unique(np.concatenate([at for model in models for _, at, _ in model.baseline]))
    steps = np.stack([np.diff(m.cumulative_hazard(X, grid), axis=1, prepend=0.0) for m in models])
    total = steps.sum(axis=0)
    steps = steps / np.maximum(total, 1.0)
    free = np.cumprod(1.0 - np.minimum(total, 1.0), axis=1)
    before = np.concatenate([np.ones((free.shape[0], 1)), free[:, :-1]], axis=1)
    incidence = np.cumsum(before * steps, axis=2)
    index = np.searchsorted(grid, np.atleast_1d(np.asarray(times, dtype=float)), side="right")
    padded = np.concatenate([np.zeros((*incidence.shape[:2], 1)), incidence], axis=2)
    return padded[:, :, index]


def _breslow(design: Design, beta: Floats, strata: int) -> list[tuple[Floats, Floats]]:
    """For each stratum: event times and Breslow's cumulative baseline hazard just after them."""
    eta = np.clip(design.x @ beta, -MAX_PREDICTOR, MAX_PREDICTOR)
    jump = design.w[design.step_row] / design.at_risk(design.w * np.exp(eta))
    time, stratum = design.time[design.step_row], design.stratum[design.step_row]
    found = []
    for code in range(strata):
        mine = stratum == code
        at, index = np.unique(time[mine], return_inverse=True)
        height: Floats = np.cumsum(np.bincount(index, jump[mine], minlength=len(at)), dtype=float)
        found.append((at, height))
    return found


def _step(at: Floats, height: Floats, grid: Floats) -> Floats:
    return np.r_[0.0, height][np.searchsorted(at, grid, side="right")]


def _penalty(alpha: float | tuple[float, ...], columns: int) -> Floats:
    penalty = np.broadcast_to(np.asarray(alpha, dtype=float), (columns,)).copy()
    if np.any(~np.isfinite(penalty)) or np.any(penalty < 0):
        raise ValueError(f"alpha must be finite and not negative; got {alpha}")
    return penalty


def _matrix(X: ArrayLike) -> Floats:
    x = np.asarray(X, dtype=float)
    if x.ndim != 2:
        raise ValueError(f"X must have two dimensions (patients, columns); got shape {x.shape}")
    return x


def _checked(
    X: ArrayLike, time: ArrayLike, event: ArrayLike, weights: ArrayLike | None, strata: ArrayLike | None
) -> tuple[Floats, Floats, NDArray[np.bool_], Floats, NDArray[np.generic]]:
    x, t = _matrix(X), np.asarray(time, dtype=float)
    d = np.asarray(event).astype(bool)
    w = np.ones(len(t)) if weights is None else np.asarray(weights, dtype=float)
    s = np.zeros(len(t), dtype=np.intp) if strata is None else np.asarray(strata)
    if not len(x) == len(t) == len(d) == len(w) == len(s):
        raise ValueError(
            f"lengths differ: X {len(x)}, time {len(t)}, event {len(d)}, weights {len(w)}, strata {len(s)}"
        )
    if not (np.isfinite(x).all() and np.isfinite(t).all() and np.isfinite(w).all()):
        raise NotEstimableError("the Cox model needs finite covariates, times and weights; impute missing values first")
    if np.any(w < 0):
        raise ValueError("weights must not be negative")
    if not np.any(d & (w > 0)):
        raise NotEstimableError("the Cox model needs at least one event; there is none in the training data")
    return x, t, d, w, s
