"""One patient as the patient model sees him at a landmark: courses of levels and states, past and ahead, with bands."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.forecast.mechanistic.block import FittedMechanistic
from icans.forecast.mechanistic.foretold import EVENTS, reached
from icans.forecast.mechanistic.library import Floats
from icans.forecast.mechanistic.observed import observables
from icans.forecast.mechanistic.posterior import quantiles

#: Levels of the band.
BAND = (0.05, 0.5, 0.95)


def courses(block: FittedMechanistic, cohort: Cohort, patient_id: str, at_h: float) -> pd.DataFrame:
    """Courses of a patient from what was known by ``at_h``.

    Returns
    -------
    DataFrame
        Columns quantity, kind, unit, time_h, mean, low, median, high. Kinds: ``level`` (an analyte as this cohort's
        assays would report it: the offset is in it), ``state`` (latent, in the model's own scale) and ``risk``
        (probability that the event has been seen by then, given that it had not by ``at_h``; no band). The band holds
        90 % of the members' weight; it is of the model's course, without the scatter of single measurements.

    Raises
    ------
    KeyError
        The patient is not in the cohort.
    """
    if patient_id not in set(cohort.patient_ids):
        raise KeyError(f"no patient {patient_id!r} in cohort {cohort.name!r}")
    plan = pd.DataFrame({"patient_id": [patient_id], "landmark_h": [at_h]})
    members, assay = block.library, block.population.assay
    weights = block.posterior(cohort.subset([patient_id]), plan, np.array([at_h])).weights
    grid = members.grid_h
    parts = []
    for name, course in members.levels.items():
        entry = observables()[name]
        offset = assay.offset[assay.analytes.index(name)] if name in assay.analytes else 0.0
        parts.append(_banded(name, "level", entry.unit, grid, weights, course + np.float32(offset), entry.scale))
    for name, course in members.states.items():
        parts.append(_banded(name, "state", "1", grid, weights, course, "linear"))
    later = grid[grid >= at_h]
    for event in EVENTS:
        by = reached(members, event, np.concatenate([[at_h], later]))
        risk = ((by[1:] - by[0]) @ weights[0]) / max(float((1.0 - by[0]) @ weights[0]), 1e-6)
        made = {"quantity": event, "kind": "risk", "unit": "1", "time_h": later, "mean": risk.astype(float)}
        parts.append(pd.DataFrame(made))
    return pd.concat(parts, ignore_index=True)


def _banded(
    name: str, kind: str, unit: str, grid: Floats, weights: np.ndarray, course: np.ndarray, scale: str
) -> pd.DataFrame:  # fmt: skip
    back = np.exp if scale == "log" else np.asarray
    band = np.array([quantiles(weights, values, BAND)[0] for values in course])
    mean = (course @ weights[0]).astype(float)
    columns = {"mean": back(mean)} | {n: back(band[:, k]) for k, n in enumerate(("low", "median", "high"))}
    return pd.DataFrame({"quantity": name, "kind": kind, "unit": unit, "time_h": grid} | columns)
