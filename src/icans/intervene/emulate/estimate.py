"""Clone, censor, weight: what would have happened had all started early, and had all waited.

Every patient enters both arms. A clone is censored on the day on which the patient's course stops being what the arm
asks: the early one at the end of the grace period if treatment has not begun, the waiting one when treatment begins
before the grade that allows it. What is censored is made up for by weights, the inverse of the chance to stay
(Hernan and Robins 2016, doi 10.1093/aje/kwv254; Cain et al. 2010, doi 10.2202/1557-4679.1212). In the early arm nobody
can be censored before the end of the grace period, so that the whole weight falls on those who begin on its last day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.intervene.emulate.courses import Courses, Protocol
from icans.intervene.emulate.weights import loss_chances, may_start, start_chances

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ARMS = ("early", "wait")


@dataclass(frozen=True)
class Cloned:
    """Both arms, (2, P, H + 1): ``stays``: uncensored after the choices of a day; ``weight``: that after them."""

    stays: Mask
    weight: Array
    start_chance: Array
    coefficients: Array


@dataclass(frozen=True)
class Emulated:
    """What the target trial finds.

    ``risk``: chance of the event by each day and arm, (2, H + 1), with ``low`` and ``high``; ``difference``: early less
    wait at the end of follow-up with its interval; ``naive``: crude risks of those who did as each arm asks, which is
    biased; ``shares_estimable``: share of bootstrap samples in which both arms had patients to the end.
    """

    protocol: Protocol
    courses: Courses
    risk: Array
    low: Array
    high: Array
    difference: tuple[float, float, float]
    ratio: tuple[float, float, float]
    naive: dict[str, tuple[int, int]]
    cloned: Cloned
    shares_estimable: float
    resamples: int

    def curve(self) -> pd.DataFrame:
        """Rows: arm, day, risk, low, high, patients still followed as the arm asks, and their effective number."""
        at_risk, effective = followed(self.courses, self.cloned, self.protocol)
        rows = []
        for a, arm in enumerate(ARMS):
            for k in range(self.risk.shape[1]):
                rows.append((arm, k, self.risk[a, k], self.low[a, k], self.high[a, k], at_risk[a, k], effective[a, k]))
        return pd.DataFrame(rows, columns=["arm", "day", "risk", "low", "high", "followed", "effective"])


def clone(courses: Courses, protocol: Protocol, times: Array) -> Cloned:
    """Both clones of every patient with their weights; ``times``: how often each patient counts."""
    length = courses.grade.shape[1]
    k = np.arange(length)[None, :]
    start, event = courses.start[:, None], courses.first(protocol.outcome)[:, None]
    allowed = courses.first(protocol.wait)[:, None]
    p, beta = start_chances(courses, protocol, times)
    open_ = may_start(courses, protocol.outcome)
    early_stays = (k < protocol.grace) | (start <= protocol.grace) | (event <= protocol.grace)
    too_soon = (start < allowed) & (start < event)
    wait_stays = ~(too_soon & (k >= start))
    last_chance = (k >= protocol.grace) & (start == protocol.grace) & open_[:, [protocol.grace]]
    early_weight = np.where(last_chance, 1.0 / p[:, [protocol.grace]], 1.0)
    waiting = open_ & (k < allowed)
    wait_weight = np.cumprod(np.where(waiting & (start != k), 1.0 / (1.0 - p), 1.0), axis=1)
    weight = np.stack([early_weight, wait_weight])
    if protocol.after_last == "censored":
        lost = loss_chances(courses, protocol.outcome, times, protocol.ridge)
        here = courses.known & (k < event)
        weight = weight * np.cumprod(np.where(here, 1.0 / (1.0 - np.minimum(lost, 0.99)), 1.0), axis=1)[None]
    stays = np.stack([np.broadcast_to(early_stays, (len(start), length)), wait_stays])
    return Cloned(stays, _cut(weight, stays, protocol.most_weight), p, beta)


def _cut(weight: Array, stays: Mask, quantile: float) -> Array:
    if quantile >= 1.0:
        return weight
    most = [np.quantile(weight[a][stays[a]], quantile) if stays[a].any() else np.inf for a in range(2)]
    return np.minimum(weight, np.array(most)[:, None, None])


def followed(courses: Courses, cloned: Cloned, protocol: Protocol) -> tuple[Array, Array]:
    """Clones at risk of the event on each day, and their effective number by weight, (2, H + 1) each."""
    at_risk = _at_risk(courses, cloned, protocol)
    w = _weight_before(cloned) * at_risk
    total, squares = w.sum(axis=1), (w**2).sum(axis=1)
    return at_risk.sum(axis=1).astype(float), np.where(squares > 0, total**2 / np.maximum(squares, 1e-300), 0.0)


def _weight_before(cloned: Cloned) -> Array:
    """Weight with which a day's event counts: that after the choices of the day before."""
    return np.concatenate([np.ones_like(cloned.weight[:, :, :1]), cloned.weight[:, :, :-1]], axis=2)


def _at_risk(courses: Courses, cloned: Cloned, protocol: Protocol) -> Mask:
    k = np.arange(courses.grade.shape[1])[None, None, :]
    stayed = np.concatenate([np.ones_like(cloned.stays[:, :, :1]), cloned.stays[:, :, :-1]], axis=2)
    before = k <= courses.first(protocol.outcome)[None, :, None]
    if protocol.after_last == "censored":
        return stayed & before & courses.known[None]
    return stayed & before


def risks(courses: Courses, cloned: Cloned, protocol: Protocol, times: Array) -> Array:
    """Weighted chance of the event by each day, (2, H + 1); NaN from where an arm has nobody left."""
    k = np.arange(courses.grade.shape[1])[None, None, :]
    w = _weight_before(cloned) * _at_risk(courses, cloned, protocol) * times[None, :, None]
    event = k == courses.first(protocol.outcome)[None, :, None]
    total = w.sum(axis=1)
    hazard = np.where(total > 0, (w * event).sum(axis=1) / np.maximum(total, 1e-300), np.nan)
    return np.asarray(1.0 - np.cumprod(1.0 - hazard, axis=1))


def emulate(courses: Courses, protocol: Protocol, seed: int = 1, resamples: int = 500) -> Emulated:
    """The target trial from the courses, with a bootstrap over patients (weights are fitted anew in each sample).

    Raises
    ------
    NotEstimableError
        One arm has no patient who did as it asks.
    """
    count = len(courses.patients)
    ones = np.ones(count)
    cloned = clone(courses, protocol, ones)
    risk = risks(courses, cloned, protocol, ones)
    if not np.isfinite(risk[:, -1]).all():
        without = " and ".join(ARMS[a] for a in range(2) if not np.isfinite(risk[a, -1]))
        raise NotEstimableError(
            f"nobody did as the arm {without!r} asks and was followed to day {protocol.days}; fewer days may do"
        )
    drawn = np.full((resamples, *risk.shape), np.nan)
    for b in range(resamples):
        rows = stream(seed, "emulate", b).integers(0, count, count)
        times = np.bincount(rows, minlength=count).astype(float)
        drawn[b] = risks(courses, clone(courses, protocol, times), protocol, times)
    fine = np.isfinite(drawn[:, :, -1]).all(axis=1)
    kept = drawn[fine]
    if len(kept) < 2:
        raise NotEstimableError("no bootstrap sample had patients in both arms")
    low, high = np.quantile(kept, 0.025, axis=0), np.quantile(kept, 0.975, axis=0)
    gap = kept[:, 0, -1] - kept[:, 1, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = kept[:, 0, -1] / kept[:, 1, -1]
        ratio = float(risk[0, -1] / risk[1, -1]) if risk[1, -1] > 0 else float("nan")
    usable = ratios[np.isfinite(ratios)]
    ends = np.quantile(usable, [0.025, 0.975]) if len(usable) > 1 else (np.nan, np.nan)
    return Emulated(
        protocol, courses, risk, low, high,
        (float(risk[0, -1] - risk[1, -1]), float(np.quantile(gap, 0.025)), float(np.quantile(gap, 0.975))),
        (ratio, float(ends[0]), float(ends[1])), naive(courses, protocol), cloned, float(fine.mean()), resamples,
    )  # fmt: skip


def naive(courses: Courses, protocol: Protocol) -> dict[str, tuple[int, int]]:
    """Events and patients by what was done: started below the waiting grade, or not. Biased: who fell ill before
    treatment could begin counts as untreated, and those who looked worse were treated.
    """
    event = courses.first(protocol.outcome) <= protocol.days
    early = courses.start < np.minimum(courses.first(protocol.wait), courses.first(protocol.outcome))
    return {
        "started below the waiting grade": (int(event[early].sum()), int(early.sum())),
        "did not": (int(event[~early].sum()), int((~early).sum())),
    }
