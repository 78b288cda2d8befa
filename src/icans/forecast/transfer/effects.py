"""Random intercepts and slopes of products, sites or any other label, by empirical Bayes.

For row i, horizon h, a rung's log odds x (out of fold in training) and the labels g of each factor f:

    logit = a_h + b x_ih + sum_f ( u_{f,g} + v_{f,g} (x_ih - centre) ),   u ~ N(0, tau_f^2), v ~ N(0, omega_f^2)

tau and omega maximise the Laplace marginal likelihood times a half-normal prior, on the log scale, which keeps them off
zero: two products cannot show that products do not differ (Chung Y et al., Psychometrika 2013;78:685). A label that was
not there in training has effects 0 with variances tau^2 and omega^2: its forecast is drawn to the middle, and its
interval is wide. Each patient counts once, however many landmarks and horizons.

References: Robbins H, Proc Third Berkeley Symp 1956;1:157 (empirical Bayes); Debray TPA et al., Stat Med 2013;32:3158
(random intercepts in prediction across studies). Citations from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from icans.forecast.ridge import expit

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Half-normal prior scales of tau and omega: odds of ICANS differ some threefold between products (0.5 to 1 on the log
#: odds between axi-cel and tisa-cel, liso-cel), and slopes seldom by more than a half.
TAU_SCALE, OMEGA_SCALE = 1.0, 0.3
#: Priors of the fixed part: intercepts around 0, the slope around 1.
SHIFT_SD, SLOPE_SD = 2.0, 0.5
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


@dataclass(frozen=True)
class Effects:
    """Fitted effects.

    Attributes
    ----------
    levels
        Labels of each factor, in the order of their effects.
    theta, covariance
        a_h, b - 1, then u and v of each factor; posterior mode and covariance at the chosen variances.
    tau, omega
        Standard deviations of intercepts and slopes, one for each factor.
    centre
        Mean log odds of training.
    horizons
        Number of horizons.
    """

    levels: tuple[tuple[str, ...], ...]
    theta: Floats
    covariance: Floats
    tau: Floats
    omega: Floats
    centre: float
    horizons: int

    def logit(self, x: Floats, codes: Ints, horizon: int) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the log odds, shape (n,).

        Parameters
        ----------
        x
            The rung's log odds, shape (n,).
        codes
            Position of each row's label among the levels, shape (n, factors); -1: not there in training.
        horizon
            Position of the horizon.
        """
        design, extra = self._design(x, codes, horizon)
        mean = x + design @ self.theta
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design) + extra
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def code(self, factor: int, labels: Sequence[object]) -> Ints:
        """Position of labels among the levels of a factor; -1 for one that is not known."""
        place = {name: k for k, name in enumerate(self.levels[factor])}
        return np.array([place.get(str(v), -1) for v in labels], dtype=np.intp)

    def table(self) -> list[dict[str, float | str | int]]:
        """Each label's intercept and slope effect with their standard deviations, one line a label."""
        sd = np.sqrt(np.diag(self.covariance))
        lines: list[dict[str, float | str | int]] = []
        at = self.horizons + 1
        for k, names in enumerate(self.levels):
            for j, name in enumerate(names):
                i, s = at + j, at + len(names) + j
                lines.append(
                    {
                        "factor": k,
                        "label": name,
                        "intercept": float(self.theta[i]),
                        "intercept_sd": float(sd[i]),
                        "slope": float(self.theta[s]),
                        "slope_sd": float(sd[s]),
                    }
                )
            at += 2 * len(names)
        return lines

    def _design(self, x: Floats, codes: Ints, horizon: int) -> tuple[Floats, Floats]:
        design = np.zeros((len(x), len(self.theta)))
        design[:, horizon] = 1.0
        design[:, self.horizons] = x - self.centre
        at, extra = self.horizons + 1, np.zeros(len(x))
        for k, names in enumerate(self.levels):
            known = codes[:, k] >= 0
            rows = np.flatnonzero(known)
            design[rows, at + codes[known, k]] = 1.0
            design[rows, at + len(names) + codes[known, k]] = x[known] - self.centre
            unseen = self.tau[k] ** 2 + (self.omega[k] * (x - self.centre)) ** 2
            extra += np.where(known, 0.0, unseen)
            at += 2 * len(names)
        return design, extra


def fit_effects(
    x: Floats,
    status: Floats,
    weight: Floats,
    labels: Sequence[Sequence[object]],
    patient: Ints,
) -> Effects:
    """Fit the effects.

    Parameters
    ----------
    x
        Log odds of a rung that had not seen the patient, shape (n, horizons).
    status, weight
        0/1 within each horizon and censoring weights, shape (n, horizons).
    labels
        For each factor, the label of each row (missing labels have no effect).
    patient
        Patient of each row, shape (n,).
    """
    n, horizons = x.shape
    levels = tuple(tuple(sorted({str(v) for v in column if v == v and v is not None})) for column in labels)
    centre = float(np.average(x, weights=weight)) if weight.sum() > 0 else 0.0
    empty = Effects(levels, np.zeros(horizons + 1 + 2 * sum(map(len, levels))), np.empty((0, 0)),
                    np.zeros(len(levels)), np.zeros(len(levels)), centre, horizons)  # fmt: skip
    codes = np.column_stack([empty.code(k, column) for k, column in enumerate(labels)] or [np.empty((n, 0), np.intp)])
    design = np.concatenate([empty._design(x[:, h], codes, h)[0] for h in range(horizons)])
    scale = len(np.unique(patient)) / weight.sum() if weight.sum() > 0 else 0.0
    problem = _Problem(design, x.T.ravel(), status.T.ravel(), weight.T.ravel() * scale, levels, horizons)
    count = len(levels)
    log_sd: Floats = np.log(np.r_[np.full(count, 0.5 * TAU_SCALE), np.full(count, 0.5 * OMEGA_SCALE)])
    if count:
        found = minimize(problem.loss, log_sd, method="Nelder-Mead", options={"xatol": 0.02, "fatol": 0.005,
                                                                              "maxfev": 80 * count})  # fmt: skip
        log_sd = found.x
    sd = np.exp(np.asarray(log_sd, dtype=np.float64))
    theta, information = problem.mode(sd)
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return Effects(levels, theta, covariance, sd[:count], sd[count:], centre, horizons)


def integrated(mean: Floats, sd: Floats) -> Floats:
    """E expit(mean + sd Z): the risk when the log odds themselves are uncertain (Gauss-Hermite)."""
    return np.asarray(expit(mean[:, None] + sd[:, None] * _NODES) @ (_WEIGHTS / _WEIGHTS.sum()))


@dataclass(frozen=True)
class _Problem:
    design: Floats
    offset: Floats
    y: Floats
    w: Floats
    levels: tuple[tuple[str, ...], ...]
    horizons: int

    def precision(self, sd: Floats) -> Floats:
        parts = [np.full(self.horizons, SHIFT_SD**-2), np.array([SLOPE_SD**-2])]
        count = len(self.levels)
        for k, names in enumerate(self.levels):
            parts += [np.full(len(names), sd[k] ** -2), np.full(len(names), sd[count + k] ** -2)]
        return np.concatenate(parts)

    def mode(self, sd: Floats) -> tuple[Floats, Floats]:
        """Posterior mode and information by Newton steps."""
        precision = self.precision(sd)
        theta = np.zeros(self.design.shape[1])
        loss = self._loss(theta, precision)
        information = np.diag(precision)
        for _ in range(50):
            p = expit(self.offset + self.design @ theta)
            gradient = self.design.T @ (self.w * (self.y - p)) - precision * theta
            information = self.design.T @ (self.design * (self.w * p * (1 - p))[:, None]) + np.diag(precision)
            step = np.linalg.solve(information, gradient)
            if float(gradient @ step) < 1e-9:
                break
            size = 1.0
            while (new := self._loss(theta + size * step, precision)) > loss and size > 1e-6:
                size /= 2.0
            theta, loss = theta + size * step, min(new, loss)
        return theta, information

    def loss(self, log_sd: Floats) -> float:
        """Minus the log marginal likelihood (Laplace) and the log prior of the standard deviations."""
        sd = np.exp(np.clip(log_sd, -6.0, 3.0))
        theta, information = self.mode(sd)
        precision = self.precision(sd)
        count = len(self.levels)
        scale = np.r_[np.full(count, TAU_SCALE), np.full(count, OMEGA_SCALE)]
        prior = float((log_sd - 0.5 * (sd / scale) ** 2).sum())
        marginal = -self._loss(theta, precision) + 0.5 * float(np.log(precision).sum())
        return -(marginal - 0.5 * float(np.linalg.slogdet(information)[1]) + prior)

    def _loss(self, theta: Floats, precision: Floats) -> float:
        eta = self.offset + self.design @ theta
        return float((self.w * (np.logaddexp(0.0, eta) - self.y * eta)).sum() + 0.5 * precision @ theta**2)
