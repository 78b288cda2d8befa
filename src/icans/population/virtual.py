"""Virtual patients by product and disease, ready to be simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Dose
from icans.mechanism.parameters import unknown
from icans.mechanism.patient import patient_model
from icans.population import artefact, care
from icans.population.products import draw_patients, multipliers
from icans.population.sampling import individuals
from icans.population.studies import axes_of, study, tables
from icans.population.tilt import effective, weights_of


@dataclass(frozen=True)
class VirtualPopulation:
    """Virtual (synthetic) patients.

    Attributes
    ----------
    parameters
        One row per patient, one column per parameter of the model.
    covariates
        One row per patient: disease, product, age, burden, history ...
    weights
        Shape (n,), sum 1: equal, or those of a study.
    doses
        Cells and prophylaxis of every patient.
    ess
        Effective sample size of the weights, as a share of n.
    redrawn, clipped
        Parameter -> patients drawn again because a value was out of bounds, and set to a bound after all.
    provenance
        Says that everything is synthetic, with seed and command.
    """

    parameters: pd.DataFrame
    covariates: pd.DataFrame
    weights: npt.NDArray[np.float64]
    doses: list[list[Dose]]
    ess: float
    redrawn: dict[str, int]
    clipped: dict[str, int]
    provenance: dict[str, Any] = field(default_factory=dict)

    def resample(self, n: int, seed: int) -> npt.NDArray[np.int64]:
        """Rows of ``n`` patients drawn by weight."""
        from icans.core.random import stream

        return np.asarray(stream(seed, "population", "resample").choice(len(self.weights), size=n, p=self.weights))


def virtual_population(
    n: int, product: str, disease: str, seed: int = 1, *, study_name: str = "", regimen: str = "", model: Any = None
) -> VirtualPopulation:
    """Draw virtual patients.

    Parameters
    ----------
    n
        How many, at least 1. Patient i is the same whatever n is.
    product, disease
        Names in ``products.toml`` and ``covariates.toml``.
    seed
        Seed of the patients' random streams.
    study_name
        Weight the patients as those of this study (``studies.toml``).
    regimen
        Prophylaxis given to all (``care.toml``).
    model
        The model whose parameters are drawn; the full one without drugs if None.

    Raises
    ------
    ModelError
        Unknown product, disease, study or regimen, or n below 1.
    """
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ModelError([Problem("population", None, "n", repr(n), "a whole number of at least 1", "Correct it.")])
    if study_name and study_name not in tables():
        raise ModelError([unknown("study", study_name, tables())])
    known = artefact.read()
    patients = draw_patients(int(n), product, disease, seed)
    table = (model if model is not None else patient_model(care.drugs("modern", regimen))).parameters
    mine = individuals(table, patients, seed, multipliers(product, disease, known.factors))
    weights = np.full(n, 1.0 / n)
    if study_name:
        tilt = known.tilts.get(study(study_name).like or study_name)
        if tilt is not None:
            weights = weights_of(axes_of(mine.axes), tilt)
    about = {"synthetic": True, "source": f"icans.population, seed {seed}", "study": study_name or None,
             "calibration": dict(known.about)}  # fmt: skip
    return VirtualPopulation(mine.frame(), patients, weights, care.given(patients, regimen), effective(weights),
                             mine.redrawn, mine.clipped, about)  # fmt: skip
