"""Virtual patients under the strategy of an arm: one simulation of the arm, patient i the same person in every arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import Problem
from icans.population import arms, artefact

if TYPE_CHECKING:
    from icans.intervene.strategy.strategy import Strategy
    from icans.intervene.trial.design import ArmSection, PatientsSection

#: What is kept of a course: latent severities and the drive of hyperinflammation.
KEPT = ("encephalopathy", "crs_severity", "iechs_drive")
#: Hours at which courses under a strategy are kept; its rounds are on multiples of 6 h.
TIMES_H = np.arange(0.0, 35 * 24.0 + 1.0, 6.0)


def known_strategies() -> Mapping[str, Strategy]:
    """Strategies by name."""
    from icans.intervene.strategy.reading import strategies

    return strategies()


def product_problems(strategy: Strategy, product: str) -> list[Problem]:
    """Why a strategy is not for a product."""
    from icans.intervene.strategy.checks import product_problems as of_product

    return of_product(strategy, (product,))


@dataclass(frozen=True)
class Course:
    """What happened in an arm: people, hours, series of :data:`KEPT` of shape (n, T), and whose could be computed."""

    patients: pd.DataFrame
    times_h: npt.NDArray[np.float64]
    series: Mapping[str, npt.NDArray[np.float32]]
    ok: npt.NDArray[np.bool_]


def course(arm: ArmSection, patients: PatientsSection, seed: int) -> Course:
    """The courses of the bank's patients under an arm.

    Raises
    ------
    ModelError
        The strategy is not for the product.
    NotEstimableError
        Its rules ask for a forecast that cannot be fitted.
    """
    product, disease = str(patients.product), str(patients.disease)
    if arm.strategy is not None:
        return _under(known_strategies()[arm.strategy], product, disease, patients.bank, seed)
    calibration = artefact.read()
    key = arms.Key(product, disease, arm.care or "none", arm.regimen)
    found = arms.run(key, patients.bank, seed, calibration.factors, calibration.readings, outputs=KEPT)
    return Course(found.patients, found.times_h, found.series, found.ok)


def _under(strategy: Strategy, product: str, disease: str, n: int, seed: int) -> Course:
    from icans.intervene.compare.arm import run_course
    from icans.intervene.compare.running import Group, tasks_for

    group = Group(product, disease, n)
    task = tasks_for(group, [strategy], seed, chunk=n)[0]
    fitted = task.forecasts if strategy.forecasts else None
    people = group.draw(seed, strategy.drugs)
    found = run_course(
        strategy, people, artefact.read().readings, KEPT, ward=task.ward, times_h=TIMES_H, threads=None,
        forecaster=None if fitted is None else fitted.predict, analytes=() if fitted is None else fitted.analytes,
    )  # fmt: skip
    return Course(people.covariates, TIMES_H, found.series, found.ok)
