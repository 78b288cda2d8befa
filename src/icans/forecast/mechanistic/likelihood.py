"""How likely what was known of a patient by each landmark is under every member of the library.

Laboratory values: Student-t residuals on the working scale around a member's level plus the analyte's offset; a value
beyond a limit enters as the probability of being there (method M3: Beal 2001, doi 10.1023/A:1012299115260). Grades: a
member's largest severity of the day, read with a log-normal error, falls between the scheme's cuts; a small share of
readings has nothing to do with the severity. First doses: the time of the first dose of a drug scatters around the
member's own; no dose by t when the drug is recorded at all says that the member should have had none.

The two parts, laboratory and bedside, are kept apart, because the posterior tempers them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from icans.forecast.mechanistic.evidence import BELOW, EXACT, Evidence, Grades, Labs
from icans.forecast.mechanistic.library import DRUGS, HOURS, Array, Floats, Library
from icans.forecast.mechanistic.normal import ndtr
from icans.forecast.mechanistic.observed import observables

Ints = NDArray[np.intp]

#: Degrees of freedom of residuals.
TAILS = 4.0
#: SD of ln severity between bedside and model: readers (0.15 and 0.20 in ``schemes.toml``) and misfit of the course.
READING_SD = (0.35, 0.45)
#: Share of grades, and of first doses, that have nothing to do with the member's.
STRAY = 0.03
#: Days by which a first dose scatters around the member's (SD of its centre), and days over which a stray one may fall.
DOSE_SD_D, DOSE_RANGE_D = 1.5, 30.0
#: Rows of evidence handled at once.
CHUNK = 512
#: Values of one analyte up to which numpy is quicker than to start the compiled loop (a second in a new process).
FEW = 64


@dataclass(frozen=True)
class Assay:
    """Offset (of the working scale) and residual SD of each analyte."""

    analytes: tuple[str, ...]
    offset: Floats
    sd: Floats

    @classmethod
    def prior(cls, analytes: tuple[str, ...]) -> Assay:
        """No offset, and the SDs of the table."""
        table = observables()
        return cls(analytes, np.zeros(len(analytes)), np.array([table[name].sd for name in analytes], dtype=float))


@dataclass(frozen=True)
class Asked:
    """Whose posterior is wanted, and when: positions of patients and hours, shape (rows,) each.

    ``unique`` are the distinct pairs in order, ``back`` their positions for every row.
    """

    patient: Ints
    at_h: Floats
    back: Ints = field(init=False)
    unique: tuple[Ints, Floats] = field(init=False)

    def __post_init__(self) -> None:
        order = np.lexsort((self.at_h, self.patient))
        patient, at = self.patient[order], self.at_h[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (patient[1:] != patient[:-1]) | (at[1:] != at[:-1])
        back = np.empty(len(order), dtype=np.intp)
        back[order] = np.cumsum(new) - 1
        object.__setattr__(self, "back", back)
        object.__setattr__(self, "unique", (patient[new], at[new]))


@dataclass(frozen=True)
class Likelihood:
    """ln likelihood of the laboratory and of the bedside under each member, shape (rows, J) each."""

    labs: Array
    bedside: Array


def likelihood(library: Library, seen: Evidence, assay: Assay, asked: Asked) -> Likelihood:
    """Ln likelihood of what each patient of ``asked`` had known at his hour, under every member."""
    patient, at = asked.unique
    first = np.searchsorted(patient, np.arange(len(seen.ids) + 1))
    labs = np.zeros((len(at), len(library)), dtype=np.float32)
    bedside = np.zeros_like(labs)
    for j, name in enumerate(seen.analytes):
        if name in assay.analytes:
            k = assay.analytes.index(name)
            mine = seen.labs.of(seen.labs.analyte == j)
            row = _first_known(first, at, mine.patient, mine.available_h)
            kept = row >= 0
            _add_labs(labs, library, name, mine.of(kept), row[kept], float(assay.offset[k]), float(assay.sd[k]))
    row = _first_known(first, at, seen.grades.patient, seen.grades.available_h)
    _add_grades(bedside, library, seen.grades, row)
    for start, end in pairwise(first):  # known at one landmark is known at the later ones
        if end - start > 1:
            labs[start:end] = np.cumsum(labs[start:end], axis=0)
            bedside[start:end] = np.cumsum(bedside[start:end], axis=0)
    _add_doses(bedside, library, seen, patient, at)
    return Likelihood(labs[asked.back], bedside[asked.back])


def _first_known(first: Ints, at: Floats, patient: Ints, available: Floats) -> Ints:
    """The first asked row of the same patient at which an entry is known; -1: none."""
    times, rank = np.unique(np.concatenate([at, available]), return_inverse=True)
    asked = np.repeat(np.arange(len(first) - 1), np.diff(first)) * len(times) + rank[: len(at)]
    place = np.searchsorted(asked, patient * len(times) + rank[len(at) :], side="left")
    return np.where(place < first[patient + 1], place, -1)


def _sum_into(total: Array, row: Ints, parts: Array) -> None:
    """Add ``parts`` to the rows ``row`` of ``total``, which are sorted."""
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    total[row[starts]] += np.add.reduceat(parts, starts, axis=0)


def _add_labs(
    total: Array, library: Library, name: str, labs: Labs, row: Ints, offset: float, sd: float
) -> None:  # fmt: skip
    order = np.argsort(row, kind="stable")
    labs, row = labs.of(order), row[order]
    exact, series = labs.side == EXACT, library.levels[name]
    low, part = library.place(labs.time_h[exact])
    value, to = labs.value[exact] - offset, row[exact]
    if len(value) <= FEW:
        add_few(total, series, low, part, value, to, sd)
    else:
        from icans.forecast.mechanistic.kernels import add_terms

        add_terms(total, series, low, part, value, to, sd)
    beyond = np.flatnonzero(~exact)
    for chosen in np.array_split(beyond, max(1, -(-len(beyond) // CHUNK))):
        if len(chosen):
            _sum_into(total, row[chosen], beyond_terms(library, name, labs.of(chosen), offset, sd))


def add_few(total: Array, series: Array, low: Ints, part: Floats, value: Floats, row: Ints, sd: float) -> None:
    """What :func:`icans.forecast.mechanistic.kernels.add_terms` does, in numpy."""
    scale = np.float32(0.5 / sd)
    for r in range(len(value)):
        below = series[low[r]]
        level = below + np.float32(part[r]) * (series[low[r] + 1] - below)
        z = ((np.float32(value[r]) - level) * scale).astype(float)
        total[row[r]] -= (2.5 * np.log1p(z * z)).astype(np.float32) + np.float32(np.log(sd))


def beyond_terms(library: Library, name: str, labs: Labs, offset: float, sd: float) -> Array:
    """Ln probability that values of one analyte are beyond their limits under each member, shape (values, J)."""
    z = ((labs.value - offset).astype(np.float32)[:, None] - library.at(library.levels[name], labs.time_h)) / sd
    below = np.where(labs.side[:, None] == BELOW, z, -z)
    return np.log(np.maximum(t4_cdf(below), 1e-12)).astype(np.float32)


def t4_cdf(t: Array) -> Array:
    """Distribution function of Student's t with four degrees of freedom (closed form)."""
    share = t * t / (4.0 + t * t)
    return np.asarray(0.5 + 0.75 * np.sign(t) * np.sqrt(share) * (1.0 - share / 3.0))


def edges(cuts: Floats, grade: Floats) -> tuple[Floats, Floats]:
    """Ln severities between which a reported grade lies; half steps take half of each neighbour."""
    half = np.where(grade % 1.0 == 0.0, 0.5, 0.25)
    places = np.arange(len(cuts)) + 0.5
    first = cuts[1] - cuts[0]
    low, high = (np.interp(x, places, cuts) for x in (grade - half, grade + half))
    # Below the cut of grade 1 half steps lie as far apart as above it.
    low = np.where(grade - half < 0.5, cuts[0] + (grade - half - 0.5) * first, low)
    high = np.where(grade + half < 0.5, cuts[0] + (grade + half - 0.5) * first, high)
    return np.where(grade <= 0.0, -np.inf, low), np.where(grade >= len(cuts), np.inf, high)


def _add_grades(total: Array, library: Library, grades: Grades, row: Ints) -> None:
    for axis, sd in enumerate(READING_SD):
        mine = np.flatnonzero((grades.toxicity == axis) & (row >= 0))
        if not len(mine):
            continue
        mine = mine[np.argsort(row[mine], kind="stable")]
        low, high = edges(library.cuts[axis], grades.grade[mine])
        day = np.minimum(grades.day[mine], library.daily.shape[1] - 1)
        # A day and a grade come again and again: one line for each kind.
        kinds, found = np.unique(np.column_stack([day, low, high]), axis=0, return_inverse=True)
        severity = library.daily[axis][np.asarray(kinds[:, 0], dtype=np.intp)].astype(float)
        inside = ndtr((kinds[:, 2:3] - severity) / sd) - ndtr((kinds[:, 1:2] - severity) / sd)
        lines = np.log((1.0 - STRAY) * inside + STRAY / 5.0).astype(np.float32)
        places = np.asarray(found).ravel()
        for chosen in np.array_split(np.arange(len(mine)), max(1, -(-len(mine) // CHUNK))):
            _sum_into(total, row[mine[chosen]], lines[places[chosen]])


def _add_doses(total: Array, library: Library, seen: Evidence, patient: Ints, at: Floats) -> None:
    """First doses as known at each row; not a sum over time, because a later record may tell of an earlier dose."""
    doses = seen.doses
    for number in range(len(DRUGS)):
        if not seen.recorded[number]:
            continue
        mine = doses.drug == number
        first = np.full(len(at), np.inf)
        for row in range(len(at)):
            known = mine & (doses.patient == patient[row]) & (doses.available_h <= at[row])
            first[row] = doses.time_h[known].min() if known.any() else np.inf
        own = library.first_dose_h[number]
        given = np.isfinite(first)
        total[given] += _given(first[given], own)
        later = own[None, :] > at[~given, None]
        total[~given] += np.where(later, np.float32(np.log1p(-STRAY)), np.float32(np.log(STRAY)))


def _given(first_h: Floats, own_h: Array) -> Array:
    """Ln density of the day of a first dose under each member, shape (rows, J)."""
    with np.errstate(invalid="ignore"):
        z = (first_h[:, None] - own_h[None, :]) / (HOURS * DOSE_SD_D)
    t = 0.375 * (1.0 + z**2 / TAILS) ** (-0.5 * (TAILS + 1.0))  # density of Student's t with four degrees of freedom
    density = np.where(np.isfinite(own_h)[None, :], t / DOSE_SD_D, 0.0)
    return np.log((1.0 - STRAY) * density + STRAY / DOSE_RANGE_D).astype(np.float32)
