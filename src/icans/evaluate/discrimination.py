"""Discrimination: areas under curves, concordance, and scores of ordinal forecasts.

References: Hanley JA, McNeil BJ, Radiology 1982;143:29 (AUROC); Blanche P et al., Stat Med 2013;32:5381 (cumulative/
dynamic AUC, competing events as controls); Harrell FE et al., JAMA 1982;247:2543 (C); Uno H et al., Stat Med
2011;30:1105 (C with censoring weights); Wolbers M et al., Biostatistics 2014;15:526 (C with competing risks);
Somers RH, Am Sociol Rev 1962;27:799; Epstein ES, J Appl Meteorol 1969;8:985 (ranked probability score).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.evaluate.censoring import (
    CENSORED,
    COMPETING,
    EVENT,
    Floats,
    as_weights,
    censoring_curve,
    check_outcome,
    horizon_status,
)


def check_risk(risk: ArrayLike, n: int, *, probability: bool = True) -> Floats:
    """Forecasts as an array of length n.

    Raises
    ------
    ValueError
        Wrong length, missing, or (with ``probability``) outside 0-1.
    """
    r = np.asarray(risk, dtype=float)
    if r.shape != (n,):
        raise ValueError(f"risk must have shape ({n},); got {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError(f"risk must be finite; {int((~np.isfinite(r)).sum())} of {n} are not")
    if probability and (np.any(r < 0) or np.any(r > 1)):
        raise ValueError(f"risk must lie in 0-1; it runs from {r.min():g} to {r.max():g}")
    return r


def auc_pairs(risk: Floats, case: Floats, control: Floats) -> tuple[Floats, Floats]:
    """Weighted concordant pairs (ties count half) and all pairs of cases with controls, each of shape (...)."""
    order = np.argsort(risk, kind="stable")
    _, starts = np.unique(risk[order], return_index=True)
    cases = np.add.reduceat(case[..., order], starts, axis=-1)
    controls = np.add.reduceat(control[..., order], starts, axis=-1)
    below = np.cumsum(controls, axis=-1) - 0.5 * controls
    return (cases * below).sum(axis=-1), cases.sum(axis=-1) * controls.sum(axis=-1)


def auroc(outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Probability that a case has a higher risk than a control; ties count half. Shape () or (B,)."""
    y = _binary(outcome)
    w = as_weights(weights, len(y))
    return safe_ratio(*auc_pairs(check_risk(risk, len(y), probability=False), w * y, w * (1 - y)))


def average_precision(outcome: ArrayLike, risk: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Area under the precision-recall curve as the step sum (average precision). Shape () or (B,)."""
    y = _binary(outcome)
    w = as_weights(weights, len(y))
    return precision_area(check_risk(risk, len(y), probability=False), w * y, w * (1 - y))


def precision_area(risk: Floats, case: Floats, control: Floats) -> Floats:
    """Average precision from case and control weights of shape (..., n)."""
    order = np.argsort(-risk, kind="stable")
    _, starts = np.unique(-risk[order], return_index=True)
    cases = np.add.reduceat(case[..., order], starts, axis=-1)
    controls = np.add.reduceat(control[..., order], starts, axis=-1)
    true, flagged = np.cumsum(cases, axis=-1), np.cumsum(cases + controls, axis=-1)
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    return safe_ratio((cases * precision).sum(axis=-1), cases.sum(axis=-1))


def cumulative_dynamic_auc(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> Floats:
    """AUC of cases by the horizon against controls at the horizon, weighted for censoring. Shape () or (B,).

    A competing event before the horizon makes a control. Without censoring this is the AUROC of the status at the
    horizon.
    """
    status = horizon_status(time, event, horizon, weights)
    r = check_risk(risk, status.case.shape[-1], probability=False)
    return safe_ratio(*auc_pairs(r, status.case, status.control))


def stratified_auc(risk: Floats, case: Floats, control: Floats, stratum: NDArray[np.generic]) -> Floats:
    """AUC from pairs within the same stratum (fold) only: the average of the folds' AUCs, weighted by their pairs.

    Pooling forecasts of several folds compares patients of different models; the folds' mean risk falls as the
    held-out incidence rises, which pulls the pooled AUC down. Pairs within a fold do not have that bias.
    """
    concordant: Floats = np.zeros(case.shape[:-1])
    pairs: Floats = np.zeros(case.shape[:-1])
    for label in np.unique(stratum):
        mine = stratum == label
        a, b = auc_pairs(risk[mine], case[..., mine], control[..., mine])
        concordant, pairs = concordant + a, pairs + b
    return safe_ratio(concordant, pairs)


class Concordance:
    """Pairs of patients that tell concordance: everything that does not depend on the forecasts, computed once.

    A pair counts when the earlier of the two had the event by the horizon; a censoring at the same time counts as
    later. A patient with an earlier competing event is taken as never having the event.
    """

    def __init__(self, time: ArrayLike, event: ArrayLike, horizon: float, weights: ArrayLike | None = None) -> None:
        t, e = check_outcome(time, event)
        self._w = as_weights(weights, len(t))
        self._cases = np.flatnonzero((e == EVENT) & (t <= horizon))
        mine = t[self._cases, None]
        self._later = ((t > mine) | ((t == mine) & (e == CENSORED))).astype(float)
        self._never = ((e == COMPETING) & (t <= mine)).astype(float)
        g = censoring_curve(t, e, self._w).before(t)
        inverse = np.divide(1.0, g, out=np.zeros_like(g), where=g > 0)
        self._single = self._w * inverse
        self._squared = self._single * inverse
        self._harrell_pairs = self._sum(self._w, self._later + self._never, self._w)
        self._uno_pairs = self._uno_sum(self._later, self._never)

    def harrell(self, risk: Floats) -> Floats:
        """Harrell's C, not corrected for censoring. Shape () or (B,)."""
        return safe_ratio(
            self._sum(self._w, (self._later + self._never) * self._higher(risk), self._w), self._harrell_pairs
        )

    def uno(self, risk: Floats) -> Floats:
        """C weighted for censoring: pairs weigh 1/G(T_i-)^2, or 1/(G(T_i-) G(T_j-)) where j had a competing event."""
        higher = self._higher(risk)
        return safe_ratio(self._uno_sum(self._later * higher, self._never * higher), self._uno_pairs)

    def _higher(self, risk: Floats) -> Floats:
        mine = risk[self._cases, None]
        return (mine > risk) + 0.5 * (mine == risk)

    def _uno_sum(self, later: Floats, never: Floats) -> Floats:
        total = self._sum(self._squared, later, self._w)
        return total + self._sum(self._single, never, self._single) if never.any() else total

    def _sum(self, left: Floats, matrix: Floats, right: Floats) -> Floats:
        return np.asarray(((left[..., self._cases] @ matrix) * right).sum(axis=-1))


def harrell_c(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    horizon: float = np.inf,
    weights: ArrayLike | None = None,
) -> Floats:
    """Harrell's concordance, events up to the horizon only (see :class:`Concordance`). Shape () or (B,)."""
    pairs = Concordance(time, event, horizon, weights)
    return pairs.harrell(check_risk(risk, len(np.asarray(time)), probability=False))


def uno_c(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> Floats:
    """Concordance weighted for censoring, events up to the horizon only (see :class:`Concordance`)."""
    pairs = Concordance(time, event, horizon, weights)
    return pairs.uno(check_risk(risk, len(np.asarray(time)), probability=False))


def somers_dxy(outcome: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Somers' Dxy of a score for an ordinal outcome: concordant less discordant over pairs with unequal outcome."""
    y = np.asarray(outcome, dtype=float)
    s, w = check_risk(score, len(y), probability=False), as_weights(weights, len(y))
    unequal = y[:, None] > y
    sign = np.sign(s[:, None] - s)
    return safe_ratio(_bilinear(w, unequal * sign, w), _bilinear(w, unequal, w))


def ranked_probability_score(outcome: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Mean ranked probability score of an ordinal forecast, divided by the number of cuts. Shape () or (B,).

    Parameters
    ----------
    outcome
        Category 0..k-1 of each patient, shape (n,).
    probabilities
        Forecast probability of each category, shape (n, k), rows adding up to 1.
    weights
        Frequency weights.

    Returns
    -------
    Floats
        0 (perfect) to 1; for two categories it is the Brier score.
    """
    p = np.asarray(probabilities, dtype=float)
    y = np.asarray(outcome)
    if p.ndim != 2 or len(p) != len(y) or p.shape[1] < 2:
        raise ValueError(f"probabilities must have shape ({len(y)}, categories); got {p.shape}")
    if np.any(p < -1e-9) or not np.allclose(p.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError("each row of probabilities must be non-negative and add up to 1")
    if np.any((y < 0) | (y >= p.shape[1])) or np.any(y != np.floor(y)):
        raise ValueError(f"outcome must hold whole categories 0 to {p.shape[1] - 1}")
    cuts = np.arange(p.shape[1] - 1)
    score = ((np.cumsum(p, axis=1)[:, :-1] - (y[:, None] <= cuts)) ** 2).mean(axis=1)
    w = as_weights(weights, len(y))
    return safe_ratio(w @ score, w.sum(axis=-1))


def safe_ratio(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where ``whole`` is 0 or NaN."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=result, where=np.nan_to_num(whole) > 0)


def _bilinear(left: Floats, matrix: NDArray[np.generic], right: Floats) -> Floats:
    return ((left @ matrix.astype(float)) * right).sum(axis=-1)


def _binary(outcome: ArrayLike) -> Floats:
    y = np.asarray(outcome, dtype=float)
    if y.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("outcome must be one-dimensional and hold 0 and 1 only")
    return y
