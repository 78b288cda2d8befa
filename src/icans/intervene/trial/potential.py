"""What each patient of a simulated trial would show under every arm, as the trial's readers see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.intervene.trial.bank import Bank, day_of
from icans.intervene.trial.checks import EVENT
from icans.intervene.trial.design import TrialDesign
from icans.population import artefact
from icans.population.observe import Scheme
from icans.population.readings import schemes

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Potential:
    """Potential outcomes of R trials with n patients under A arms.

    ``hit``: the event within the follow-up, (R, n, A); ``day``: its day, infinite if none; ``rival``: day of what
    competes with it; ``level``: the ordinal category; ``positive``: the true marker, (R, n).
    """

    hit: Mask
    day: Array
    rival: Array
    level: npt.NDArray[np.int64]
    positive: Mask


@dataclass(frozen=True)
class Chances:
    """Random numbers of the patients of R trials, so that every arm and scenario meets the same people.

    ``row``: who of the eligible, uniform, (R, n); ``reader``: error of ln severity by toxicity; ``stray``: uniform and
    normal numbers of events that no severity causes; ``event`` and ``rival``: uniform numbers of stated models;
    ``real``: uniform, for effects that are real in a share of patients.
    """

    row: Array
    reader: dict[str, Array]
    stray: dict[str, Array]
    event: Array
    rival: Array
    real: Array
    marker: Array


def draw_chances(rng: np.random.Generator, rows: int, n: int, site_error: Array, extra_sd: float) -> Chances:
    """Chances of R trials; ``site_error`` (R, n) is added to every reading of a site."""
    sd = schemes()["noise"]
    shape = (rows, n)
    reader = {}
    for toxicity, name in (("icans", "nt"), ("crs", "crs")):
        own = np.hypot(sd[name], extra_sd)
        reader[toxicity] = own * rng.standard_normal(shape) + site_error
    stray = {
        "any": rng.random(shape), "mild": rng.random(shape),
        "onset": rng.standard_normal(shape), "duration": rng.standard_normal(shape),
    }  # fmt: skip
    return Chances(rng.random(shape), reader, stray, rng.random(shape), rng.random(shape), rng.random(shape),
                   rng.random(shape))  # fmt: skip


def _scheme(design: TrialDesign, toxicity: str) -> Scheme:
    readings = artefact.read().readings
    e = design.endpoint
    return readings.nt[e.icans_scheme] if toxicity == "icans" else readings.crs[e.crs_scheme]


def _stray(scheme: Scheme, chances: Chances, grade: int) -> Array:
    """Day of a stray event of at least a grade; infinite if none."""
    least = np.where(chances.stray["mild"] < scheme.stray_mild, 1, 2)
    hit = (chances.stray["any"] < scheme.stray) & (least >= grade)
    return np.where(hit, scheme.stray_onset_d * np.exp(scheme.stray_sd * chances.stray["onset"]), np.inf)


def _event_day(design: TrialDesign, bank: Bank, arm: int, patient: Array, chances: Chances, event: str) -> Array:
    if event == "iechs":
        return bank.iechs[arm][patient]
    if event == "death":
        return np.minimum(*(_graded(design, bank, arm, patient, chances, t, 5) for t in ("icans", "crs")))
    found = EVENT.match(event)
    assert found is not None  # checked with the design
    return _graded(design, bank, arm, patient, chances, found.group(1), int(found.group(2)))


def _graded(
    design: TrialDesign, bank: Bank, arm: int, patient: Array, chances: Chances, toxicity: str, grade: int
) -> Array:  # fmt: skip
    scheme = _scheme(design, toxicity)
    level = scheme.cuts[grade - 1] * np.exp(-chances.reader[toxicity])
    day = day_of(bank, toxicity, arm, patient, level)
    return np.minimum(day, _stray(scheme, chances, grade)) if scheme.stray > 0 and toxicity == "icans" else day


def from_bank(design: TrialDesign, bank: Bank, eligible: Array, chances: Chances) -> Potential:
    """Potential outcomes of patients drawn from the bank, with replacement."""
    e = design.endpoint
    patient = eligible[np.minimum((chances.row * len(eligible)).astype(int), len(eligible) - 1)]
    days, rivals, levels = [], [], []
    for arm in range(len(bank.labels)):
        seen = [_event_day(design, bank, arm, patient, chances, event) for event in e.events]
        days.append(np.minimum.reduce(seen) if seen else np.full(patient.shape, np.inf))
        against = [_event_day(design, bank, arm, patient, chances, event) for event in e.against]
        if e.against_hazard:
            against.append(-np.log(chances.rival) / e.against_hazard)
        rivals.append(np.minimum.reduce(against) if against else np.full(patient.shape, np.inf))
        levels.append(_level(design, bank, arm, patient, chances))
    day, rival = np.stack(days, axis=2), np.stack(rivals, axis=2)
    return _finished(design, day, rival, np.stack(levels, axis=2), _positive(design, bank, patient))


def _level(design: TrialDesign, bank: Bank, arm: int, patient: Array, chances: Chances) -> npt.NDArray[np.int64]:
    """The highest grade as read, 0 to 5."""
    if design.endpoint.kind != "ordinal":
        return np.zeros(patient.shape, dtype=np.int64)
    toxicity = design.endpoint.toxicity
    days = [_graded(design, bank, arm, patient, chances, toxicity, g) for g in range(1, 6)]
    return np.sum([d < design.endpoint.days for d in days], axis=0)


def _positive(design: TrialDesign, bank: Bank, patient: Array) -> Mask:
    b = design.biomarker
    if b is None:
        return np.zeros(patient.shape, dtype=bool)
    return marker_positive(design, bank.covariates[b.name].to_numpy().astype(float))[patient]


def marker_positive(design: TrialDesign, value: Array) -> Mask:
    """Whether values lie on the positive side of the cut."""
    b = design.biomarker
    assert b is not None  # checked with the design
    return np.asarray(value >= b.above if b.above is not None else value < float(b.below or 0.0))


def from_model(design: TrialDesign, chances: Chances) -> Potential:
    """Potential outcomes under stated rates, hazards or grades; arms share each patient's chance."""
    e, b = design.endpoint, design.biomarker
    positive = chances.marker < b.prevalence if b is not None and b.prevalence is not None else np.zeros_like(
        chances.marker, dtype=bool
    )  # fmt: skip
    days, rivals, levels = [], [], []
    for arm in design.arms:
        level = np.zeros(chances.event.shape, dtype=np.int64)
        if arm.hazard is not None:
            day = -np.log1p(-chances.event) / arm.hazard
        elif arm.grades is not None:
            level = np.searchsorted(np.cumsum(arm.grades)[:-1], chances.event, side="right")
            day = np.where(level > 0, 0.0, np.inf)
        else:
            rate = np.full(chances.event.shape, arm.rate)
            if arm.rate_positive is not None:
                rate = np.where(positive, arm.rate_positive, rate)
            day = np.where(chances.event < rate, e.days * chances.event / np.maximum(rate, 1e-12), np.inf)
        rival = -np.log(chances.rival) / e.against_hazard if e.against_hazard else np.full(day.shape, np.inf)
        days.append(day)
        rivals.append(rival)
        levels.append(level)
    return _finished(design, np.stack(days, 2), np.stack(rivals, 2), np.stack(levels, 2), positive)


def _finished(design: TrialDesign, day: Array, rival: Array, level: npt.NDArray[np.int64], positive: Mask) -> Potential:
    hit = (day < design.endpoint.days) & (day <= rival)
    return Potential(hit, day, rival, level, positive)


def in_scenario(potential: Potential, share: float, chances: Chances) -> Potential:
    """The same patients where an effect is real in a share of them: the others do in every arm as in the first.

    0: nobody profits, every arm is like the control; 1: as simulated.
    """
    if share >= 1.0:
        return potential
    real = (chances.real < share)[:, :, None]

    def mixed(value: npt.NDArray) -> npt.NDArray:
        return np.where(real, value, value[:, :, :1])

    return Potential(mixed(potential.hit), mixed(potential.day), mixed(potential.rival), mixed(potential.level),
                     potential.positive)  # fmt: skip
