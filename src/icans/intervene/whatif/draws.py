"""Draws of one patient: virtual patients of the calibrated population, weighed by what was known of this one.

Where no population fit is at hand, the library of :mod:`icans.forecast.mechanistic` stands in for it: its members are
weighed by the patient's available results, grades and doses, and resampled. What a member is, parameters and all, is
drawn again from its random streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, NotEstimableError, Problem
from icans.core.random import stream
from icans.forecast.mechanistic.block import FittedMechanistic, MechanisticBlock
from icans.forecast.mechanistic.evidence import evidence
from icans.forecast.mechanistic.library import Library, Recipe, library
from icans.forecast.mechanistic.likelihood import Assay
from icans.forecast.mechanistic.population import Population
from icans.forecast.mechanistic.posterior import Tempering
from icans.intervene.world.cast import Cast, cast

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Patients of a cohort below which nothing is learned of its assays and its population.
FEW = 20


@dataclass(frozen=True)
class Draws:
    """Draws of one patient.

    Attributes
    ----------
    patients
        The draws as virtual patients, equally probable; their numbers name their random numbers.
    members
        Members of the library that they are, shape (S,).
    ess
        Effective number of members behind them.
    power
        Share of the evidence that the posterior could keep (1: all of it).
    seen
        Results of the patient by the landmark: analyte, time_h, value, unit, available_h.
    """

    patient: str
    landmark_h: float
    patients: Cast
    members: Ints
    ess: float
    power: float
    seen: pd.DataFrame
    notes: tuple[str, ...] = ()
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.patients)


def library_draws(
    cohort: Cohort, patient_id: str, at_h: float, *, draws: int = 200, drugs: Sequence[str] = (), seed: int = 1,
    recipe: Recipe | None = None,
) -> Draws:  # fmt: skip
    """Draws of a patient from what was available by ``at_h``.

    Assay offsets, powers and the population's weights are learned from the *other* patients of the cohort, where there
    are enough of them.

    Parameters
    ----------
    drugs
        Therapies that will be asked about: how the draws handle them is drawn, too.

    Raises
    ------
    DataError
        The patient is not in the cohort.
    """
    _check(cohort, patient_id, draws)
    recipe = recipe or Recipe()
    others = [p for p in cohort.patient_ids if p != patient_id]
    notes = []
    mine = cohort.subset([patient_id])
    if len(others) >= FEW:
        block = MechanisticBlock(recipe).fit(cohort.subset(others), seed)
        notes.append(f"assays and population learned from {len(others)} other patients of {cohort.name}")
    else:
        block = untrained(mine, recipe)
        notes.append("too few other patients to learn from: calibrated population and assays as they are")
    plan = pd.DataFrame({"patient_id": [patient_id], "landmark_h": [float(at_h)]})
    found = block.posterior(mine, plan, np.array([float(at_h)]))
    picked = resampled(found.weights[0], draws, seed, patient_id)
    patients = members_as_patients(block.library, recipe, picked, drugs)
    rows = mine.measurements
    known = rows[rows["available_h"].fillna(rows["time_h"]) <= at_h]
    seen = known[["analyte", "time_h", "value", "unit", "available_h"]].reset_index(drop=True)
    return Draws(patient_id, float(at_h), patients, picked, float(found.ess[0]), float(found.power[0]), seen,
                 tuple(notes), bool(cohort.provenance.synthetic))  # fmt: skip


def untrained(cohort: Cohort, recipe: Recipe) -> FittedMechanistic:
    """The block as it is before any patient was seen."""
    members, seen = library(recipe), evidence(cohort)
    none = np.zeros((1, len(members)), dtype=np.float32)
    population = Population(Assay.prior(seen.analytes), Tempering(), 100.0, members.prior, none, ("",), seen.recorded,
                            float("nan"))  # fmt: skip
    return FittedMechanistic(recipe, population, seen.notes)


def resampled(weights: npt.NDArray[np.floating], count: int, seed: int, name: str) -> Ints:
    """Members drawn by weight, evenly (systematic resampling), in order."""
    edges = np.cumsum(weights.astype(float))
    start = float(stream(seed, "what-if", name).random())
    return np.asarray(np.searchsorted(edges / edges[-1], (np.arange(count) + start) / count), dtype=np.int64)


def members_as_patients(members: Library, recipe: Recipe, picked: Ints, drugs: Sequence[str]) -> Cast:
    """Members of a library as virtual patients with parameters for these drugs.

    Numbers run from 1 in the order of ``picked``, so that two draws of one member have their own luck at the bedside.

    Raises
    ------
    NotEstimableError
        Integrations failed when the library was made, so that places and members no longer match.
    """
    counts = [round(recipe.members * share) for _, _, share in recipe.mix]
    if sum(counts) != len(members):
        raise NotEstimableError(f"the library holds {len(members)} of {sum(counts)} members: some could not be "
                                "integrated; use a recipe with another seed")  # fmt: skip
    parameters, covariates, doses = [], [], []
    place = np.empty(len(picked), dtype=np.int64)
    below = filled = 0
    for number, (name, disease, _) in enumerate(recipe.mix):
        inside = np.flatnonzero((picked >= below) & (picked < below + counts[number]))
        if len(inside):
            seed = int(stream(recipe.seed, "library", number).integers(2**31 - 1))
            arm = cast(counts[number], name, disease, seed, drugs=tuple(drugs)).rows(picked[inside] - below)
            parameters.append(arm.parameters)
            covariates.append(arm.covariates.assign(product=name, disease=disease))
            doses += list(arm.doses)
            place[inside] = filled + np.arange(len(inside))
            filled += len(inside)
        below += counts[number]
    table = pd.concat(covariates, ignore_index=True)
    together = Cast(pd.concat(parameters, ignore_index=True), table, doses, np.arange(1, filled + 1))
    return replace(together.rows(place), numbers=np.arange(1, len(picked) + 1))


def _check(cohort: Cohort, patient_id: str, draws: int) -> None:
    problems = []
    if patient_id not in set(cohort.patient_ids):
        from difflib import get_close_matches

        near = get_close_matches(patient_id, list(cohort.patient_ids), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`icans check` lists what a cohort holds."
        problems.append(Problem(cohort.name, None, "patient_id", patient_id, "a patient of the cohort", hint))
    if draws < 20:
        problems.append(Problem("what-if", None, "draws", str(draws), "20 or more", "Ask for more draws."))
    if problems:
        raise DataError(problems)
