"""Who is treated: parameters, covariates, cells and numbers of virtual patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Dose
from icans.mechanism.patient import WHOLE, patient_model
from icans.population import artefact, care
from icans.population.products import draw_patients, multipliers
from icans.population.sampling import individuals

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Body surface from weight alone (m2): the height of an adult of average build is in the exponent (Livingston and Lee
#: 2001, doi 10.1152/ajpendo.2001.281.3.E586: 0.1173 * weight ** 0.6466).
SURFACE = (0.1173, 0.6466)


@dataclass(frozen=True)
class Cast:
    """Virtual (synthetic) patients.

    Attributes
    ----------
    parameters
        A column per parameter (those missing are typical), a row per patient; draws of a posterior will do.
    covariates
        A row per patient; ``weight_kg`` at least.
    doses
        Cells (and what else is given to all) of every patient.
    numbers
        Numbers of the patients, from 1; they name their random numbers, so that a patient in two arms has the same.
    """

    parameters: pd.DataFrame
    covariates: pd.DataFrame
    doses: Sequence[Sequence[Dose]]
    numbers: Ints

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, chosen: npt.ArrayLike) -> Cast:
        """Some of them."""
        at = np.arange(len(self))[np.asarray(chosen)]
        return Cast(self.parameters.iloc[at].reset_index(drop=True), self.covariates.iloc[at].reset_index(drop=True),
                    [self.doses[i] for i in at], self.numbers[at])  # fmt: skip

    def put(self, rows: Ints, other: Cast) -> Cast:
        """Others in the place of some."""
        at = np.arange(len(self))
        at[rows] = len(self) + np.arange(len(rows))

        def mixed(mine: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
            return pd.concat([mine, theirs], ignore_index=True).iloc[at].reset_index(drop=True)

        doses = [*self.doses, *other.doses]
        return Cast(mixed(self.parameters, other.parameters), mixed(self.covariates, other.covariates),
                    [doses[i] for i in at], np.concatenate([self.numbers, other.numbers])[at])  # fmt: skip


def cast(
    n: int, product: str, disease: str, seed: int = 1, *, drugs: Sequence[str] = (), regions: Sequence[str] = WHOLE,
    first: int = 1, change: Sequence[tuple[str, str, float]] = (),
) -> Cast:  # fmt: skip
    """Patients ``first`` to ``first + n - 1`` of a calibrated virtual population.

    Parameters
    ----------
    drugs
        Therapies that they may get: their pharmacokinetics vary between patients, too.
    change
        Covariates that are other than drawn: (name, "set" or "times", value), as in :class:`icans.population.arms.Key`.

    Raises
    ------
    ModelError
        Unknown product, disease or drug; numbers below 1.
    """
    problems = [
        Problem("cast", None, name, repr(value), "a whole number of at least 1", "Correct it.")
        for name, value in (("n", n), ("first", first))
        if not isinstance(value, (int, np.integer)) or value < 1
    ]
    if problems:
        raise ModelError(problems)
    model = patient_model(drugs, regions=regions)
    known = artefact.read()
    patients = draw_patients(int(n), product, disease, seed, int(first))
    for name, how, value in change:
        patients[name] = patients[name] * value if how == "times" else value
    mine = individuals(model.parameters, patients, seed, multipliers(product, disease, known.factors), first=int(first))
    return Cast(mine.frame(), patients, care.given(patients), np.arange(first, first + n, dtype=np.int64))


def as_cast(given: Any) -> Cast:
    """A cast, or anything with ``parameters``, ``covariates`` and ``doses`` (a virtual population).

    Raises
    ------
    ModelError
        It is neither, or rows do not match.
    """
    if isinstance(given, Cast):
        made = given
    elif all(hasattr(given, name) for name in ("parameters", "covariates", "doses")):
        made = Cast(given.parameters, given.covariates, given.doses, np.arange(1, len(given.covariates) + 1))
    else:
        raise ModelError([Problem("patients", None, None, type(given).__name__, "a Cast or a VirtualPopulation",
                                  "Make one with cast().")])  # fmt: skip
    sizes = {len(made.parameters), len(made.covariates), len(made.doses), len(made.numbers)}
    if len(sizes) != 1 or 0 in sizes or "weight_kg" not in made.covariates:
        raise ModelError([Problem("patients", None, None, str(sorted(sizes)),
                                  "as many parameters, covariates (with weight_kg), doses and numbers, one at least",
                                  "Correct them.")])  # fmt: skip
    return made


def surface_m2(weight_kg: Array) -> Array:
    """Body surface, m2."""
    return np.asarray(SURFACE[0] * weight_kg ** SURFACE[1])
