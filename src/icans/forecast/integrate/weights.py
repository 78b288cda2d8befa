"""Weights of the members of a stack: convex, following what is available, learned with a prior.

For row i with the members A_i that have something to say, horizon h and deviations d_imh (log odds against the day):

    w_im   = exp(g_m) / sum over k in A_i of exp(g_k)                 gated softmax: never negative, sums to one
    N_i    = 1 / sum_m w_im^2                                         effective number of voices
    b_i    = exp(c) * N_i ** s,   0 <= s <= 1                         how far voices add up
    logit  = day_ih + a_h + b_i * sum_m w_im d_imh

A weighted mean is never more certain than its most certain member, which is right when members repeat each other
(s = 0) and too timid when their evidence is independent (s = 1: with equal weights the deviations are then summed).
s and the calibration slope exp(c) are learned. A row in which nobody has anything to say keeps the day's incidence.

g_m has a normal prior around the log of the prior weight with standard deviation ``spread``; 0 keeps the prior
weights. The spread is chosen by cross-validation over patients on the level-one data. The likelihood counts each
patient once, however many landmarks and horizons: rows of a patient repeat each other.

References: Wolpert DH, Neural Netw 1992;5:241 (stacking); Breiman L, Mach Learn 1996;24:49 (non-negative weights);
van der Laan MJ et al., Stat Appl Genet Mol Biol 2007;6:25 (super learner), doi 10.2202/1544-6115.1309; Ranjan R,
Gneiting T, J R Stat Soc B 2010;72:71 (a pool of calibrated forecasts must be recalibrated),
doi 10.1111/j.1467-9868.2009.00726.x. Citations from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.forecast.ridge import deviance, expit
from icans.forecast.tuning import Rule, choose

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Standard deviations of the log weights that are tried: prior weights, weights within a factor of three of them, of
#: fifty, and nearly free.
SPREADS = (0.0, 0.5, 2.0, 6.0)
#: Fewer patients with an event than this leave the weights at their prior and nothing recalibrated.
MIN_EVENTS = 10
#: Prior of the log of the calibration slope (mean 0) and of the intercepts, on the log-odds scale.
SLOPE_SD = 0.5
SHIFT_SD = 1.0
#: Prior of s: normal around 0.3, because clinical predictors overlap more than they complement each other.
ADDITION_MEAN, ADDITION_SD = 0.3, 0.3


@dataclass(frozen=True)
class Combiner:
    """Learned weights.

    Attributes
    ----------
    log_weight
        g, shape (members,).
    log_slope, addition
        c and s.
    shift
        a_h, shape (horizons,).
    spread
        The prior spread that was chosen.
    """

    log_weight: Floats
    log_slope: float
    addition: float
    shift: Floats
    spread: float

    def weights(self, available: Mask) -> Floats:
        """Weight of each member in each row, shape (n, members): zero where it is not available, else sums to one."""
        return _softmax(self.log_weight, available)

    def strength(self, weights: Floats) -> Floats:
        """b_i, shape (n,)."""
        voices, _ = _voices(weights)
        return np.exp(self.log_slope + self.addition * np.log(voices))

    def parts(self, deviation: Floats) -> tuple[Floats, Floats]:
        """What each member adds to the log odds, shape (n, members, horizons), and the shift, (n, horizons)."""
        available = _available(deviation)
        weights = self.weights(available)
        scale = self.strength(weights)[:, None] * weights
        heard = np.asarray(available.any(axis=1))
        return scale[:, :, None] * np.nan_to_num(deviation), heard[:, None] * self.shift[None, :]

    def logit(self, day: Floats, deviation: Floats) -> Floats:
        """Log odds, shape (n, horizons)."""
        added, shift = self.parts(deviation)
        return day + shift + added.sum(axis=1)


@dataclass(frozen=True)
class Level:
    """Level-one data: log odds of the day (n, h), deviations (n, m, h), status and weight (n, h), patient (n,)."""

    day: Floats
    deviation: Floats
    status: Floats
    weight: Floats
    patient: NDArray[np.intp]

    def rows(self, mask: Mask) -> Level:
        """Some rows."""
        return Level(
            self.day[mask], self.deviation[mask], self.status[mask], self.weight[mask], self.patient[mask]
        )  # fmt: skip

    @property
    def events(self) -> int:
        """Patients with a known event within some horizon."""
        return len(np.unique(self.patient[((self.status * self.weight) > 0).any(axis=1)]))


def fit_combiner(
    level: Level,
    prior: Floats,
    fold: NDArray[np.intp] | None = None,
    *,
    spreads: Sequence[float] = SPREADS,
    rule: Rule = "one_se",
    min_events: int = MIN_EVENTS,
) -> Combiner:
    """Learn the weights.

    Parameters
    ----------
    level
        Out-of-fold deviations and outcomes.
    prior
        Prior weights, shape (members,), positive.
    fold
        Fold of each row, patients together: the spread is chosen over them. None: the last of ``spreads`` is taken.
    spreads
        Prior standard deviations of the log weights, from the tightest.
    rule
        ``one_se``: the tightest spread within one standard error of the best. Equal weights are hard to beat with few
        patients (the forecast combination puzzle: Smith J, Wallis KF, Oxf Bull Econ Stat 2009;71:331).
    min_events
        With fewer patients with an event the prior weights stay, and nothing is recalibrated.
    """
    start = np.log(np.asarray(prior, dtype=float))
    horizons = level.day.shape[1]
    if level.events < min_events or level.deviation.shape[1] == 0:
        return Combiner(start, 0.0, 0.0, np.zeros(horizons), 0.0)
    chosen = len(spreads) - 1
    if fold is not None and len(spreads) > 1:
        losses = np.full((int(fold.max()) + 1, len(spreads)), np.nan)
        for k in range(len(losses)):
            train, test = level.rows(fold != k), level.rows(fold == k)
            if train.events < 2 or test.weight.sum() == 0:
                continue
            losses[k] = [_loss_of(_fit(train, start, spread), test) for spread in spreads]
        chosen = choose(losses, rule)
    return _fit(level, start, spreads[chosen])


def _loss_of(combiner: Combiner, level: Level) -> float:
    risk = expit(combiner.logit(level.day, level.deviation))
    return deviance(level.status.ravel(), risk.ravel(), level.weight.ravel())


def _fit(level: Level, start: Floats, spread: float) -> Combiner:
    members, horizons = level.deviation.shape[1], level.day.shape[1]
    objective = _Objective.of(level, start, spread)
    first = np.concatenate([start, [0.0, ADDITION_MEAN], np.zeros(horizons)])
    free = (None, None) if spread > 0 else None
    bounds = [free or (g, g) for g in start.tolist()] + [(-2.0, 1.5), (0.0, 1.0)] + [(-3.0, 3.0)] * horizons
    from scipy.optimize import minimize  # half a second of imports, which a stored model does not need

    found = minimize(objective, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
    g = found.x[:members]
    return Combiner(
        g - np.log(np.exp(g).sum()), float(found.x[members]), float(found.x[members + 1]),
        found.x[members + 2 :].copy(), spread,
    )  # fmt: skip


@dataclass(frozen=True)
class _Objective:
    """Penalised negative log likelihood with its gradient; every patient counts once."""

    level: Level
    available: Mask
    deviation: Floats
    start: Floats
    spread: float
    scale: float

    @classmethod
    def of(cls, level: Level, start: Floats, spread: float) -> _Objective:
        total = float(level.weight.sum())
        scale = len(np.unique(level.patient)) / total if total > 0 else 0.0
        return cls(level, _available(level.deviation), np.nan_to_num(level.deviation), start, spread, scale)

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        members = len(self.start)
        g, c, s, shift = x[:members], x[members], x[members + 1], x[members + 2 :]
        weights = _softmax(g, self.available)
        voices, square = _voices(weights)
        strength = np.exp(c + s * np.log(voices))
        mean = np.einsum("im,imh->ih", weights, self.deviation)
        heard = np.asarray(self.available.any(axis=1))
        eta = self.level.day + heard[:, None] * shift + strength[:, None] * mean
        w, y = self.level.weight * self.scale, self.level.status
        loss = float((w * (np.logaddexp(0.0, eta) - y * eta)).sum())
        residual = w * (expit(eta) - y)
        d_mean = strength[:, None] * residual
        pull = (d_mean * mean).sum(axis=1)
        d_weight = np.einsum("ih,imh->im", d_mean, self.deviation)
        d_weight -= np.where(heard, 2.0 * s * pull / square, 0.0)[:, None] * weights
        d_g = (weights * (d_weight - (weights * d_weight).sum(axis=1, keepdims=True))).sum(axis=0)
        gradient = np.concatenate(
            [d_g, [pull.sum(), (pull * np.log(voices)).sum()], (heard[:, None] * residual).sum(axis=0)]
        )
        if self.spread > 0:
            loss += float(0.5 * (((g - self.start) / self.spread) ** 2).sum())
            gradient[:members] += (g - self.start) / self.spread**2
        prior = np.concatenate([[c / SLOPE_SD, (s - ADDITION_MEAN) / ADDITION_SD], shift / SHIFT_SD])
        spreads = np.concatenate([[SLOPE_SD, ADDITION_SD], np.full(len(shift), SHIFT_SD)])
        gradient[members:] += prior / spreads
        return loss + 0.5 * float(prior @ prior), gradient


def _softmax(g: Floats, available: Mask) -> Floats:
    top = np.where(available, g, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    # Those that are not available may lie far above the rest: they are left out before the exponential is taken.
    raw = np.exp(np.where(available, g - np.where(np.isfinite(top), top, 0.0), -np.inf))
    total = raw.sum(axis=1, keepdims=True)
    return np.divide(raw, total, out=np.zeros_like(raw), where=total > 0)


def _voices(weights: Floats) -> tuple[Floats, Floats]:
    """Effective number of voices (1 where there is none) and the sum of squared weights."""
    square = (weights**2).sum(axis=1)
    square = np.where(square > 0, square, 1.0)
    return 1.0 / square, square


def _available(deviation: Floats) -> Mask:
    """A member speaks in a row when it does for some horizon."""
    return np.asarray(np.isfinite(deviation).any(axis=2))
