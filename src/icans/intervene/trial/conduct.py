"""How a trial runs: sites that open one after the other, patients who come by chance, arms, and what goes missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.intervene.trial.design import ConductSection, TrialDesign
from icans.intervene.trial.potential import Potential

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

DAYS_PER_MONTH = 365.25 / 12.0


@dataclass(frozen=True)
class People:
    """Patients of R trials in the order in which they came.

    ``month``: time of enrolment, (R, n); ``site``; ``leaves``: day on which a patient drops out, infinite if never;
    ``known``: uniform number behind missing outcomes; ``order``: uniform numbers that allocate; ``read``: uniform
    numbers behind the reading of the marker, (R, n, 2).
    """

    month: Array
    site: Whole
    leaves: Array
    known: Array
    order: Array
    read: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Trials, patients."""
        return self.month.shape[0], self.month.shape[1]


def draw_people(rng: np.random.Generator, rows: int, n: int, conduct: ConductSection) -> tuple[People, Array]:
    """Patients of R trials, and the error of their sites' readings, (R, n).

    Sites open ``open_every`` months apart and then enrol as Poisson processes; a patient comes to any open site alike.
    """
    opened = np.asarray(conduct.open_every * np.arange(conduct.sites), float)
    work = np.asarray(rng.standard_exponential((rows, n)).cumsum(axis=1), float)  # expected patients by each enrolment
    month = _when(work, opened, conduct.per_month)
    open_sites = np.maximum(np.searchsorted(opened, month, side="right"), 1)
    site = np.minimum((rng.random((rows, n)) * open_sites).astype(np.int64), open_sites - 1)
    error = conduct.site_sd * rng.standard_normal((rows, conduct.sites))
    leaves = rng.standard_exponential((rows, n)) / conduct.dropout if conduct.dropout else np.full((rows, n), np.inf)
    people = People(month, site, leaves, rng.random((rows, n)), rng.random((rows, n)), rng.random((rows, n, 2)))
    return people, np.take_along_axis(error, site, axis=1)


def _when(work: Array, opened: Array, per_month: float) -> Array:
    """Month by which so many patients are expected: the inverse of a broken line."""
    slopes = per_month * np.arange(1, len(opened) + 1)
    at = np.concatenate([[0.0], np.cumsum(np.diff(opened) * slopes[:-1])])
    step = np.clip(np.searchsorted(at, work, side="right") - 1, 0, len(opened) - 1)
    return np.asarray(opened[step] + (work - at[step]) / slopes[step])


def read_marker(design: TrialDesign, positive: Mask, value: Array | None, people: People) -> Whole:
    """The marker as the trial knows it: 1 positive, 0 negative; where the assay failed, as ``when_failed`` says.

    ``value``: true values of the covariate, (R, n), read with a log-normal error; None: a stated marker, read with
    sensitivity and specificity.
    """
    b = design.biomarker
    if b is None:
        return np.zeros(positive.shape, dtype=np.int64)
    if value is not None and b.cv > 0:
        from scipy.special import ndtri

        from icans.intervene.trial.potential import marker_positive

        spread = np.sqrt(np.log1p(b.cv**2))
        seen = marker_positive(design, value * np.exp(spread * ndtri(people.read[..., 0])))
    else:
        right = people.read[..., 0] < np.where(positive, b.sensitivity, b.specificity)
        seen = np.where(right, positive, ~positive)
    failed = people.read[..., 1] < b.failure
    return np.where(failed, b.when_failed == "positive", seen).astype(np.int64)


def allocate(order: Array, ratio: tuple[int, ...], stratum: Whole | None = None) -> Whole:
    """Arms by permuted blocks of twice the ratio, within strata where given; (R, n)."""
    if stratum is None:
        return _blocks(order, ratio)
    arm = np.zeros(order.shape, dtype=np.int64)
    for s in np.unique(stratum):
        mine = stratum == s
        place = np.cumsum(mine, axis=1) - 1
        sequence = _blocks(order if s == 0 else np.mod(order + 0.5 * s / (s + 1.0), 1.0), ratio)
        arm = np.where(mine, np.take_along_axis(sequence, np.maximum(place, 0), axis=1), arm)
    return arm


def _blocks(order: Array, ratio: tuple[int, ...]) -> Whole:
    rows, n = order.shape
    block = np.repeat(np.arange(len(ratio)), np.asarray(ratio) * 2)
    size = len(block)
    number = -(-n // size)
    padded = np.concatenate([order, np.mod(order[:, : number * size - n] * 7919.0, 1.0)], axis=1) if (
        number * size > n
    ) else order  # fmt: skip
    rank = np.argsort(padded.reshape(rows, number, size), axis=2)
    return np.asarray(block[rank].reshape(rows, number * size)[:, :n])


def missing(design: TrialDesign, hit: Mask, people: People) -> Mask:
    """Whose outcome is never known; more or fewer of those with the event where the design says so."""
    c = design.conduct
    chance = np.where(hit, c.missing if c.missing_with_event is None else c.missing_with_event, c.missing)
    return np.asarray(people.known < chance)


def chosen(value: npt.NDArray, arm: Whole) -> npt.NDArray:
    """Of potential outcomes (R, n, A), those of the arm that each patient is in, (R, n)."""
    return np.take_along_axis(value, arm[..., None], axis=2)[..., 0]


@dataclass(frozen=True)
class Seen:
    """What a trial knows of its patients, (R, n) each: arm, event and its day, rival, category, missing, marker."""

    arm: Whole
    hit: Mask
    day: Array
    rival: Array
    level: Whole
    gone: Mask
    marker: Whole
    people: People


def see(design: TrialDesign, potential: Potential, arm: Whole, marker: Whole, people: People) -> Seen:
    """Outcomes under the allocation."""
    hit = chosen(potential.hit, arm).astype(bool)
    return Seen(arm, hit, chosen(potential.day, arm), chosen(potential.rival, arm), chosen(potential.level, arm),
                missing(design, hit, people), marker, people)  # fmt: skip
