"""Virtual patients under the strategy of an arm: one call of the solver for the arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from icans.mechanism.doses import Dose
from icans.population import arms, artefact
from icans.population import care as cares
from icans.population.products import product as product_named

if TYPE_CHECKING:
    from icans.intervene.strategy.strategy import Strategy
    from icans.intervene.trial.design import ArmSection, PatientsSection

#: What is kept of a course: latent severities and the drive of hyperinflammation.
KEPT = ("encephalopathy", "crs_severity", "iechs_drive")
REGIONS = ("brain",)
#: Surface of a typical patient, m2, for doses that are given by it upon a sign.
TYPICAL_M2 = 1.9


def known_strategies() -> Mapping[str, Strategy]:
    """Strategies by name."""
    from icans.intervene.strategy.reading import strategies

    return strategies()


def runs_in_one_call(strategy: Strategy) -> bool:
    """Whether every rule waits for a grade alone, so that the solver's own triggers carry it out."""
    return strategy.one_call


def course(arm: ArmSection, patients: PatientsSection, seed: int) -> arms.Arm:
    """The courses of the bank's patients under an arm; patient i is the same person in every arm."""
    calibration = artefact.read()
    key = arms.Key(str(patients.product), str(patients.disease), arm.care or "none", arm.regimen)
    if arm.strategy is None:
        return arms.run(key, patients.bank, seed, calibration.factors, calibration.readings, outputs=KEPT)
    return _under(known_strategies()[arm.strategy], key, patients.bank, seed, calibration)


def _under(strategy: Strategy, key: arms.Key, n: int, seed: int, calibration: artefact.Calibration) -> arms.Arm:
    from icans.mechanism.engine.simulate import simulate
    from icans.mechanism.patient import patient_model

    model = patient_model(strategy.drugs, regions=REGIONS)
    people, mine = arms.draw(key, n, seed, calibration.factors, model)
    weights = cares.tables()["typical_weight_kg"]
    typical = weights.get(key.disease, weights["adult"])
    parts = strategy.cells or product_named(key.product).parts
    doses = [
        [*(Dose(hour, "car_t", cells * share, "cells") for hour, share in parts), *strategy.given(float(weight))]
        for weight, cells in zip(people["weight_kg"].to_numpy(), people["cells"].to_numpy())
    ]
    found = simulate(
        model, mine.values, doses, arms.TIMES_H, outputs=KEPT, rtol=arms.RTOL,
        triggers=strategy.triggers(calibration.readings, typical, TYPICAL_M2),
    )  # fmt: skip
    series = {name: np.asarray(found[name], dtype=np.float32) for name in KEPT}
    ok = np.asarray(np.isfinite(series[KEPT[0]]).all(axis=1))
    return arms.Arm(key, people, mine, arms.TIMES_H, series, ok, getattr(found, "failures", None))
