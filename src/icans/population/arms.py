"""One product in one disease under one era of care, simulated: the unit from which studies are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.mechanism.engine.simulate import simulate
from icans.mechanism.patient import patient_model
from icans.population import care as cares
from icans.population.products import draw_patients, multipliers
from icans.population.quantities import HOURS_PER_DAY, Readings
from icans.population.sampling import Individuals, individuals

Array = npt.NDArray[np.float64]

#: What is kept of every patient.
OUTPUTS = (
    "crs_severity", "encephalopathy", "car_blood", "IL6", "IFNG", "IL10", "MCP1", "CRP", "FERRITIN", "TEMP", "LDH",
    "CREAT", "PLT", "ANG2", "VWF", "VCAM1", "STNFR1", "ST2", "ADAMTS13", "PAI1", "C5B9", "NFL", "eeg_slowing", "OEDEMA",
    "bbb_permeability", "SEIZ_HAZ", "iechs_drive", "qalb_lumbar",
)  # fmt: skip
#: Hours at which it is kept: every 6 h for 16 days, then every 12 h to day 35.
TIMES_H = np.concatenate([np.arange(0.0, 16 * 24.0, 6.0), np.arange(16 * 24.0, 35 * 24.0 + 1, 12.0)])
#: Regions of the brain and tolerance used for populations (all regions and 1e-6 change no share by more than a point).
REGIONS, RTOL = ("brain",), 1e-4


@dataclass(frozen=True)
class Key:
    """What an arm is.

    ``change``: covariates that are other than drawn: (name, "set" or "times", value).
    """

    product: str
    disease: str
    care: str = "none"
    regimen: str = ""
    change: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Arm:
    """A simulated (synthetic) arm.

    ``series``: output -> shape (n, T), NaN for patients whose integration failed; ``ok``: those that did not.
    """

    key: Key
    patients: pd.DataFrame
    individuals: Individuals
    times_h: Array
    series: Mapping[str, npt.NDArray[np.float32]]
    ok: npt.NDArray[np.bool_]
    failures: Any = field(default=None)

    @property
    def days(self) -> Array:
        """Times in days."""
        return self.times_h / HOURS_PER_DAY


def draw(key: Key, n: int, seed: int, fitted: Mapping[str, float], model: Any) -> tuple[pd.DataFrame, Individuals]:
    """Patients 1 to n of an arm and their parameters."""
    patients = draw_patients(n, key.product, key.disease, seed)
    for name, how, value in key.change:
        patients[name] = patients[name] * value if how == "times" else value
    factors = multipliers(key.product, key.disease, fitted)
    return patients, individuals(model.parameters, patients, seed, factors)


def run(
    key: Key, n: int, seed: int, fitted: Mapping[str, float], readings: Readings, *,
    outputs: Sequence[str] = OUTPUTS, times_h: Array = TIMES_H, regions: Sequence[str] = REGIONS, rtol: float = RTOL,
    threads: int | None = None,
) -> Arm:  # fmt: skip
    """Simulate an arm.

    Parameters
    ----------
    n, seed
        Patients 1 to n of the seed: the same people in every arm.
    fitted
        Calibrated factors by path, see :func:`icans.population.products.multipliers`.
    readings
        Cuts; those of ASTCT are what care acts on.
    """
    model = patient_model(cares.drugs(key.care, key.regimen), regions=tuple(regions))
    patients, mine = draw(key, n, seed, fitted, model)
    weights = cares.tables()["typical_weight_kg"]
    typical = weights.get(key.disease, weights["adult"])
    care = cares.triggers(key.care, readings.crs["astct"].cuts, readings.nt["astct"].cuts, typical_kg=typical)
    found = simulate(
        model, mine.values, cares.given(patients, key.regimen), times_h, outputs=tuple(outputs), rtol=rtol,
        threads=threads, triggers=care,
    )  # fmt: skip
    series = {name: np.asarray(found[name], dtype=np.float32) for name in outputs}
    ok = np.asarray(np.isfinite(series[outputs[0]]).all(axis=1))
    return Arm(key, patients, mine, np.asarray(times_h, float), series, ok, getattr(found, "failures", None))
