"""The population of a fold: assay offsets, residual SDs, weights of the members and powers, from training patients.

Three parts, in turn:

1. offset and residual SD of each analyte, by expectation-maximisation over a thinned library (censored values enter by
   their moments beyond the limit);
2. weights of the members: a nonparametric population (Mallet 1986, Biometrika 73:645; Schumitzky's EM) drawn towards
   the calibrated one by a Dirichlet-type prior worth ``strength`` patients;
3. the powers of :mod:`.posterior` and that strength, by the logarithmic score of the events of the next three days at
   early landmarks, each patient foretold from a population without him.

Nothing is learned from a patient that is not in the training cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from icans.forecast.mechanistic.evidence import BELOW, EXACT, Evidence
from icans.forecast.mechanistic.foretold import EVENTS, reached
from icans.forecast.mechanistic.library import HOURS, SEVERITIES, Array, Floats, Library
from icans.forecast.mechanistic.likelihood import Asked, Assay, Likelihood, likelihood
from icans.forecast.mechanistic.posterior import Tempering, log_prior, posterior

Ints = NDArray[np.intp]

#: Members with which powers, offsets and SDs are found, and rounds of the expectation-maximisation.
THIN, ROUNDS = 1000, 6
#: SD of the prior of an offset on a logarithmic scale, and patients that the prior of a residual SD is worth.
OFFSET_SD, SD_WORTH = 1.0, 5.0
#: Landmarks (days) and hours ahead at which powers are judged, events that count, and the least number of them.
JUDGED_D, JUDGED_AHEAD_H, JUDGED, LEAST_EVENTS = (1.0, 3.0, 5.0), 72.0, ("icans_1", "crs_2"), 5
#: Powers and strengths that are tried.
LAB_POWERS, BEDSIDE_POWERS, STRENGTHS = (0.03, 0.1, 0.3, 1.0), (0.2, 0.5, 1.0), (20.0, 100.0, 1000.0)
#: Rounds of the weights.
WEIGHT_ROUNDS = 4


@dataclass(frozen=True)
class Population:
    """What a fold has learned.

    Attributes
    ----------
    assay, power, strength
        Offsets and residual SDs; powers; patients that the calibrated population is worth.
    weights
        Weights of the members, shape (J,).
    own
        What each training patient added to the weights, before scaling, shape (n, J): taken out again when that
        patient is foretold.
    marks
        Training patients (:class:`.evidence.Evidence`), in the order of ``own``.
    recorded
        Whether the training cohort records each drug (see :class:`.evidence.Evidence`): one patient alone cannot tell.
    score
        Mean logarithmic score that chose the powers (NaN: too few events, defaults kept).
    """

    assay: Assay
    power: Tempering
    strength: float
    weights: Floats
    own: Array
    marks: tuple[str, ...]
    recorded: tuple[bool, ...]
    score: float

    def without(self, prior: Floats, marks: Sequence[str]) -> Floats:
        """Weights for some patients, each without what he added himself, shape (patients, J)."""
        place = {name: k for k, name in enumerate(self.marks)}
        total = self.strength * prior + self.own.sum(axis=0, dtype=float)
        rows = np.array([place.get(name, -1) for name in marks])
        made = np.broadcast_to(total, (len(marks), len(prior))).copy()
        made[rows >= 0] -= self.own[rows[rows >= 0]]
        return np.asarray(made / made.sum(axis=1, keepdims=True))


def fit_population(library: Library, seen: Evidence, assay: Assay | None = None) -> Population:
    """Learn from the patients of ``seen`` (their whole record)."""
    assay = assay or fit_assay(library, seen)
    power, strength, score = choose(thinned(library), seen, assay)
    whole = likelihood(library, seen, assay, _everything(seen))
    own = _weigh(library, seen, whole, power, strength)
    total = strength * library.prior + own.sum(axis=0, dtype=float)
    return Population(assay, power, strength, total / total.sum(), own, seen.marks, seen.recorded, score)


def thinned(library: Library) -> Library:
    """Every so many members: what is chosen and estimated with it needs no more."""
    return library.only(np.arange(0, len(library), max(1, len(library) // THIN)))


def choose(library: Library, seen: Evidence, assay: Assay) -> tuple[Tempering, float, float]:
    """Powers, strength of the calibrated population, and their score; defaults and NaN where events are too few."""
    judge = _Judge.make(library, seen, assay)
    if not judge.targets:
        return Tempering(), STRENGTHS[1], float("nan")
    whole = likelihood(library, seen, assay, _everything(seen))

    def score(power: Tempering, strength: float) -> float:
        return judge.score(_weigh(library, seen, whole, power, strength), power, strength)

    # The powers at the middle strength, then the strength at the best powers: a third of the whole grid.
    powers = [Tempering(*p) for p in product(LAB_POWERS if seen.analytes else (1.0,), BEDSIDE_POWERS)]
    best = (Tempering(), STRENGTHS[1], -np.inf)
    for power in powers:
        best = max(best, (power, STRENGTHS[1], score(power, STRENGTHS[1])), key=lambda found: found[2])
    for strength in (s for s in STRENGTHS if s != STRENGTHS[1]):
        best = max(best, (best[0], strength, score(best[0], strength)), key=lambda found: found[2])
    return best


def _everything(seen: Evidence) -> Asked:
    return Asked(np.arange(len(seen.ids)), np.full(len(seen.ids), np.inf))


def _weigh(library: Library, seen: Evidence, whole: Likelihood, power: Tempering, strength: float) -> Array:
    """What each patient adds to the weights: his posterior over his whole record, under the population so found."""
    weights = library.prior
    own = np.zeros((len(seen.ids), len(library)), dtype=np.float32)
    for _ in range(WEIGHT_ROUNDS):
        own = posterior(log_prior(library, seen.group, weights), whole, power).weights
        total = strength * library.prior + own.sum(axis=0, dtype=float)
        weights = total / total.sum()
    return own


@dataclass(frozen=True)
class _Target:
    """An event of the next three days: rows at risk, whether it came, and each member's chances at each landmark."""

    rows: Ints
    hit: Floats
    start: Array
    end: Array


@dataclass(frozen=True)
class _Judge:
    """Early landmarks of the training patients and what came within three days."""

    library: Library
    seen: Evidence
    asked: Asked
    known: Likelihood
    targets: tuple[_Target, ...]

    @classmethod
    def make(cls, library: Library, seen: Evidence, assay: Assay) -> _Judge:
        n, hours = len(seen.ids), np.array(JUDGED_D) * HOURS
        asked = Asked(np.repeat(np.arange(n), len(hours)), np.tile(hours, n))
        targets = []
        for event in JUDGED:
            rows, hit = _events(seen, event, asked)
            if min(hit.sum(), len(hit) - hit.sum()) >= LEAST_EVENTS:
                start, end = (reached(library, event, hours + ahead) for ahead in (0.0, JUDGED_AHEAD_H))
                targets.append(_Target(rows, hit, start, end))
        return cls(library, seen, asked, likelihood(library, seen, assay, asked), tuple(targets))

    def score(self, own: Array, power: Tempering, strength: float) -> float:
        """Mean logarithmic score over the targets, each patient under a population without him."""
        total = strength * self.library.prior + own.sum(axis=0, dtype=float)
        each = (total[None, :] - own).astype(np.float32)
        each /= each.sum(axis=1, keepdims=True)
        prior = log_prior(self.library, self.seen.group, each)[self.asked.patient]
        weights = posterior(prior, self.known, power).weights
        made = []
        for target in self.targets:
            # Rows go patient by patient through the landmarks.
            free, came = np.empty(len(weights)), np.empty(len(weights))
            for k in range(len(JUDGED_D)):
                rows = slice(k, None, len(JUDGED_D))
                free[rows] = weights[rows] @ (1.0 - target.start[k])
                came[rows] = weights[rows] @ (target.end[k] - target.start[k])
            p = np.clip(came / np.maximum(free, 1e-6), 1e-3, 1.0 - 1e-3)[target.rows]
            made.append(np.mean(target.hit * np.log(p) + (1.0 - target.hit) * np.log1p(-p)))
        return float(np.mean(made))


def _events(seen: Evidence, event: str, asked: Asked) -> tuple[Ints, Floats]:
    """Rows at risk of an event whose next three days are known, and whether it came."""
    toxicity, grade = EVENTS[event]
    mine = seen.grades.toxicity == list(SEVERITIES).index(toxicity)
    first, last = np.full(len(seen.ids), np.inf), np.full(len(seen.ids), -np.inf)
    hits = mine & (seen.grades.grade >= (grade if grade > 1 else 0.5))
    np.minimum.at(first, seen.grades.patient[hits], seen.grades.available_h[hits])
    np.maximum.at(last, seen.grades.patient[mine], seen.grades.available_h[mine])
    first, last = first[asked.patient], last[asked.patient]
    end = asked.at_h + JUDGED_AHEAD_H
    at_risk = (first > asked.at_h) & (last > asked.at_h)
    known = at_risk & ((first <= end) | (last >= end))
    rows = np.flatnonzero(known)
    return rows, (first[rows] <= end[rows]).astype(float)


def fit_assay(library: Library, seen: Evidence, power: Tempering | None = None) -> Assay:
    """Offset and residual SD of each analyte, by expectation-maximisation over a thinned library."""
    assay = Assay.prior(seen.analytes)
    if not len(seen.labs.patient):
        return assay
    thin = thinned(library)
    prior = log_prior(thin, seen.group, thin.prior)
    for _ in range(ROUNDS):
        known = likelihood(thin, seen, assay, _everything(seen))
        assay = _maximise(thin, seen, assay, posterior(prior, known, power or Tempering()).weights)
    return assay


def _maximise(library: Library, seen: Evidence, assay: Assay, weights: Array) -> Assay:
    """New offsets and residual SDs, with the weights of members held."""
    from icans.forecast.mechanistic.kernels import moments  # compiled: not needed to apply what was learned

    offset, sd = assay.offset.copy(), assay.sd.copy()
    for j, first in enumerate(Assay.prior(seen.analytes).sd):
        labs = seen.labs.of(seen.labs.analyte == j)
        series = library.levels[seen.analytes[j]]
        exact = labs.of(labs.side == EXACT)
        low, part = library.place(exact.time_h)
        s0, s1, s2 = moments(weights, series, low, part, exact.value, exact.patient, offset[j], sd[j])
        beyond = labs.of(labs.side != EXACT)
        if len(beyond.patient):
            w = weights[beyond.patient].astype(float)
            gap, square = _beyond(
                beyond.value[:, None] - library.at(series, beyond.time_h), beyond.side, offset[j], sd[j]
            )
            s0, s1, s2 = s0 + w.sum(), s1 + (w * gap).sum(), s2 + (w * square).sum()
        new = s1 / (s0 + (sd[j] / OFFSET_SD) ** 2)
        spread = s2 - 2.0 * new * s1 + new**2 * s0
        sd[j] = np.sqrt((spread + SD_WORTH * first**2) / (len(labs.patient) + SD_WORTH))
        offset[j] = new
    return replace(assay, offset=offset, sd=sd)


def _beyond(limit: Floats, side: NDArray[np.int8], offset: float, sd: float) -> tuple[Floats, Floats]:
    """Mean and mean square of a normal gap to the level that is known to lie beyond ``limit``."""
    from scipy.special import log_ndtr  # not needed to apply what was learned

    sign = np.where(side == BELOW, 1.0, -1.0)[:, None]
    z = sign * (limit - offset) / sd
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(z))
    mean = offset - sign * sd * ratio
    return mean, sd**2 * np.maximum(1.0 - z * ratio - ratio**2, 0.0) + mean**2
