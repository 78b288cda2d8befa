"""The bank: synthetic outcomes of the same virtual patients under every arm, from which trials draw.

A course is kept as the day on which a latent severity first reaches each step of a ladder, and its peak. That is
enough to read it under any scheme, with any reader's error: a reader who sees a severity 20 % too high meets a cut when
the severity is at the cut less 20 %.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ConfigError, Problem
from icans.core.progress import stage
from icans.core.provenance import code_digest
from icans.core.resume import Checkpoints
from icans.intervene.trial.checks import CONDITION
from icans.intervene.trial.design import ArmSection, PatientsSection
from icans.intervene.trial.treat import Course, course, known_strategies
from icans.population import artefact
from icans.population.observe import first_crossing
from icans.population.quantities import HOURS_PER_DAY

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Steps of the ladder of latent severities.
LADDER = np.geomspace(0.15, 9.0, 64)
SEVERITY = {"icans": "encephalopathy", "crs": "crs_severity"}


@dataclass(frozen=True)
class Bank:
    """Synthetic patients and what becomes of them under each of A arms.

    ``reach``: toxicity -> first day at every step of :data:`LADDER`, (A, N, L), infinite if never; ``peak``: toxicity
    -> highest severity, (A, N); ``peak_day``; ``iechs``: day of onset of hyperinflammation, infinite if never, (A, N);
    ``whole``: patients whose courses could be computed in every arm.
    """

    labels: tuple[str, ...]
    covariates: pd.DataFrame
    reach: dict[str, npt.NDArray[np.float32]]
    peak: dict[str, Array]
    peak_day: dict[str, Array]
    iechs: Array
    whole: Mask

    def eligible(self, conditions: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """Rows of the patients that meet every condition.

        Raises
        ------
        ConfigError
            None does: each condition is told with how many meet it.
        """
        kept = self.whole.copy()
        counts = []
        for text in conditions:
            meets = _meets(self.covariates, text)
            counts.append(f"{text} ({int(meets.sum())} of {len(meets)})")
            kept &= meets
        if not kept.any():
            told = "; ".join(counts)
            raise ConfigError([Problem("design", None, "patients.eligible", told, "at least one eligible patient",
                                       "Loosen the conditions, or enlarge the bank.")])  # fmt: skip
        return np.flatnonzero(kept)


def _meets(covariates: pd.DataFrame, text: str) -> Mask:
    found = CONDITION.match(text)
    if found is None:
        raise ConfigError([Problem("design", None, "patients.eligible", text, "covariate, comparison, number",
                                   "Correct it.")])  # fmt: skip
    name, sign, word = found.groups()
    value = {"true": 1.0, "false": 0.0}.get(word)
    value = float(word) if value is None else value
    column = covariates[name].to_numpy().astype(float)
    made: Mask = {
        "<": column < value, "<=": column <= value, ">": column > value, ">=": column >= value,
        "==": column == value, "!=": column != value,
    }[sign]  # fmt: skip
    return made


def make_bank(patients: PatientsSection, arms: tuple[ArmSection, ...], seed: int, folder: Path | None = None) -> Bank:
    """Simulate the bank, or read what is stored of it: one step an arm, so that an interrupted run goes on.

    Parameters
    ----------
    folder
        Where finished arms are kept; None: nowhere.
    """
    made = [_stored(arm, patients, seed, folder) for arm in arms]
    first = made[0]
    return Bank(
        tuple(arm.name for arm in arms), first.covariates,
        {k: np.concatenate([m.reach[k] for m in made]) for k in SEVERITY},
        {k: np.concatenate([m.peak[k] for m in made]) for k in SEVERITY},
        {k: np.concatenate([m.peak_day[k] for m in made]) for k in SEVERITY},
        np.concatenate([m.iechs for m in made]), np.logical_and.reduce([m.whole for m in made]),
    )  # fmt: skip


def _stored(arm: ArmSection, patients: PatientsSection, seed: int, folder: Path | None) -> Bank:
    def work() -> Bank:
        with stage(f"virtual patients: {arm.name}"):
            return of_course(course(arm, patients, seed), arm.name)

    if folder is None:
        return work()
    drawn = [patients.product, patients.disease, patients.bank, seed, arm.care, arm.regimen, arm.name]
    plan = repr(known_strategies()[arm.strategy]) if arm.strategy is not None else None
    key = [drawn, plan, dict(artefact.read().factors), code_digest(), LADDER.tolist()]
    name = "arm-" + re.sub(r"[^a-z0-9]+", "-", arm.name.lower()).strip("-")
    return Checkpoints(folder, key).step(name, work)


def of_course(arm: Course, label: str) -> Bank:
    """The part of a bank that one arm fills."""
    reach, peak, day = {}, {}, {}
    for toxicity, output in SEVERITY.items():
        series = np.where(arm.ok[:, None], arm.series[output], 0.0).astype(float)
        times = np.asarray(arm.times_h) / HOURS_PER_DAY
        first = np.stack([first_crossing(times, series, level) for level in LADDER], axis=1)
        reach[toxicity] = np.where(np.isnan(first), np.inf, first).astype(np.float32)[None]
        peak[toxicity] = series.max(axis=1)[None]
        day[toxicity] = times[series.argmax(axis=1)][None]
    drive = np.where(arm.ok[:, None], arm.series["iechs_drive"], 0.0).astype(float)
    onset = first_crossing(np.asarray(arm.times_h) / HOURS_PER_DAY, drive, artefact.read().readings.cut["iechs"])
    iechs = np.where(np.isnan(onset), np.inf, onset)[None]
    return Bank((label,), arm.patients.reset_index(drop=True), reach, peak, day, iechs, arm.ok)


def day_of(bank: Bank, toxicity: str, arm: int, patient: npt.NDArray[Any], level: Array) -> Array:
    """Day on which patients' severity first reaches a level of each, by straight lines; infinite if never.

    ``patient`` and ``level`` have one shape.
    """
    step = np.searchsorted(LADDER, level, side="left")
    high = np.clip(step, 0, len(LADDER) - 1)
    low = np.clip(step - 1, 0, len(LADDER) - 1)
    reach = bank.reach[toxicity][arm]
    begin, end = reach[patient, low].astype(float), reach[patient, high].astype(float)
    peak = bank.peak[toxicity][arm][patient]
    whole = np.isfinite(end)  # else the course turns between two steps, at its peak
    end = np.where(whole, end, bank.peak_day[toxicity][arm][patient])
    gap = np.where(whole, LADDER[high], peak) - LADDER[low]
    part = np.clip((level - LADDER[low]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    begin = np.where(np.isfinite(begin), begin, end)
    day = begin + part * (np.maximum(end, begin) - begin)
    return np.where(peak >= level, day, np.inf)
