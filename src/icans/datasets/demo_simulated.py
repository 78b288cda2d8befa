"""The course of the synthetic patients as the patient model simulates it: episodes, treatment, laboratory levels.

Courses come from a stored library of simulated virtual patients (:mod:`icans.datasets.demo_library`). A patient of the
cohort gets one of the product's, by rank of tumour burden and a chance of its own, so that every course of the library
is as likely as the next and shares of grades stay as they are there.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from icans.core.times import HOURS_PER_DAY
from icans.datasets.demo_course import Course, Episode
from icans.datasets.demo_draws import Draws

#: How closely rank of burden decides which course a patient gets (a correlation).
BY_BURDEN = 0.9


@cache
def library() -> dict[str, npt.NDArray[Any]]:
    """The stored courses: ``<product>|<what>`` -> one row per course."""
    with (resources.files(__package__) / "demo_courses.npz").open("rb") as handle, np.load(handle) as file:
        return {name: file[name] for name in file.files}


def simulated_course(patients: pd.DataFrame, days: np.ndarray, draws: Draws, numbers: dict[str, Any]) -> Course:
    """Courses of the library: see :class:`icans.datasets.demo_course.CourseModel`."""
    stored = library()
    n = len(patients)
    rank = ndtr(BY_BURDEN * patients["z_burden"].to_numpy() + np.sqrt(1 - BY_BURDEN**2) * draws.normal("course_own"))
    columns = [name.partition("|")[2] for name in stored if name.startswith("axi-cel|")]
    taken: dict[str, np.ndarray] = {}
    for product in numbers["product"]:
        mine = np.flatnonzero(patients["product"].to_numpy() == product)
        order = np.argsort(stored[f"{product}|score"], kind="stable")
        rows = order[np.minimum((rank[mine] * len(order)).astype(int), len(order) - 1)]
        for name in columns:
            values = stored[f"{product}|{name}"][rows].astype(float)
            taken.setdefault(name, np.full((n, *values.shape[1:]), np.nan))[mine] = values
    levels = {name.removeprefix("level "): np.exp(taken[name]) for name in columns if name.startswith("level ")}
    crs, icans = (_episode(taken, name, draws) for name in ("crs", "icans"))
    drive = np.zeros((n, len(days)))
    return Course(crs, icans, drive, np.zeros(n), np.zeros(n), levels, stored["grid_h"] / HOURS_PER_DAY,
                  taken["tocilizumab_h"], taken["dexamethasone_h"])  # fmt: skip


def _episode(taken: dict[str, np.ndarray], name: str, draws: Draws) -> Episode:
    """An episode whose parts are in order, with the hour at which a chart first has it."""
    grade = taken[f"{name} grade"].astype(int)
    onset = np.maximum(taken[f"{name} onset"], 0.05)
    peak = np.maximum(taken[f"{name} peak"], onset)
    return Episode(grade, onset, peak, np.maximum(taken[f"{name} end"], peak + 0.1))
