"""The worst of each day of the quantities that the bedside tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]

#: Field of :class:`Latent`: name in the patient model, and value in health (None: must be there).
SOURCES: dict[str, tuple[str, float | None]] = {
    "encephalopathy": ("encephalopathy", None),
    "seizure_hazard": ("SEIZ_HAZ", 0.0),
    "oedema": ("OEDEMA", 0.0),
    "icp": ("icp", 0.0),
    "temperature": ("TEMP", 0.0),
    "hypotension": ("crs_hypotension", 0.0),
    "hypoxia": ("crs_hypoxia", 0.0),
    "creatinine": ("CREAT", 0.0),
    "alt": ("ALT", 0.0),
}


class _Course(Protocol):
    times_h: Array

    @property
    def names(self) -> tuple[str, ...]: ...

    def __getitem__(self, name: str) -> Array: ...


@dataclass(frozen=True)
class Latent:
    """Worst value of each day of each latent quantity, shape (patients, days); ``days`` counts from infusion (day 0).

    Synthetic: made by simulation. Quantities that were not simulated are what they are in health, or lower.
    """

    days: npt.NDArray[np.int64]
    encephalopathy: Array
    seizure_hazard: Array
    oedema: Array
    icp: Array
    temperature: Array
    hypotension: Array
    hypoxia: Array
    creatinine: Array
    alt: Array

    def __len__(self) -> int:
        return len(self.encephalopathy)


def daily(course: _Course | Any, *, sources: dict[str, tuple[str, float | None]] | None = None) -> Latent:
    """Worst values by day of a trajectory.

    Parameters
    ----------
    course
        Anything with ``times_h`` (T,), ``names``, and values by name, shape (patients, T) or (T,): a trajectory, or
        the course of one patient. Times before infusion are left out. Days without a time repeat the day before.

    Raises
    ------
    ModelError
        Names that are missing, or no time from infusion on.
    """
    sources = sources or SOURCES
    times = np.asarray(course.times_h, dtype=float)
    problems = [
        Problem("trajectory", None, name, None, "an output of the simulation", f"Simulate with {name!r} as an output.")
        for name, default in sources.values() if name not in course.names and default is None
    ]  # fmt: skip
    inside = np.flatnonzero(times >= 0)
    if not len(inside):
        problems.append(Problem("trajectory", None, "times_h", None, "times from infusion (0) on", "Simulate some."))
    if problems:
        raise ModelError(problems)
    # A value at midnight belongs to the day that it ends, so that a daily grid needs no shift; time 0 is day 0.
    day = np.maximum(np.ceil(times[inside] / 24.0) - 1, 0).astype(np.int64)
    days = np.arange(day.max() + 1)
    known = [np.atleast_2d(course[name])[:, inside] for name, _ in sources.values() if name in course.names]
    patients = max(len(values) for values in known)
    made = {}
    for field, (name, default) in sources.items():
        if name in course.names:
            made[field] = _worst(np.atleast_2d(np.asarray(course[name], dtype=float))[:, inside], day, len(days))
        else:
            made[field] = np.full((patients, len(days)), default)
    return Latent(days, **made)


def _worst(values: Array, day: npt.NDArray[np.int64], count: int) -> Array:
    """Maximum by day, shape (patients, days)."""
    worst = np.full((len(values), count), -np.inf)
    starts = np.flatnonzero(np.diff(day, prepend=-1))
    worst[:, day[starts]] = np.maximum.reduceat(values, starts, axis=1)
    for d in range(1, count):
        if np.isneginf(worst[:, d]).all():
            worst[:, d] = worst[:, d - 1]
    return worst


#: Where grades 1 to 4 of ASTCT begin for a typical patient, on the scales that ``items.toml`` cuts.
ICANS_BEGINS = (1.0, 2.0, 3.0, 4.0)
#: Where grades 2 to 4 begin, on the scales of hypotension and hypoxia.
CRS_BEGINS = (1.5, 2.5, 3.5)


def rescale(
    latent: Latent, *, icans: Sequence[float] = ICANS_BEGINS, crs: Sequence[float] = CRS_BEGINS
) -> Latent:  # fmt: skip
    """The same courses where grades begin at other levels, e.g. at those that a calibration found.

    Parameters
    ----------
    icans
        Level of ``encephalopathy`` at which grades 1, 2, 3 and 4 of ASTCT begin for a typical patient.
    crs
        Level of ``crs_hypotension`` and ``crs_hypoxia`` at which grades 2, 3 and 4 begin.

    Raises
    ------
    ModelError
        Levels that do not ascend from above 0, or another number of them.
    """
    problems = [
        Problem("grades", None, name, str(tuple(given)), f"{len(normal)} ascending levels above 0", "Correct it.")
        for name, given, normal in (("icans", icans, ICANS_BEGINS), ("crs", crs, CRS_BEGINS))
        if len(given) != len(normal) or not np.all(np.diff([0.0, *given]) > 0)
    ]  # fmt: skip
    if problems:
        raise ModelError(problems)
    return replace(
        latent,
        encephalopathy=_stretch(latent.encephalopathy, icans, ICANS_BEGINS),
        hypotension=_stretch(latent.hypotension, crs, CRS_BEGINS),
        hypoxia=_stretch(latent.hypoxia, crs, CRS_BEGINS),
    )


def _stretch(values: Array, levels: Sequence[float], to: Sequence[float]) -> Array:
    """Straight lines through 0 and the levels; beyond the last, in proportion."""
    inside = np.interp(values, [0.0, *levels], [0.0, *to])
    return np.where(values > levels[-1], values * (to[-1] / levels[-1]), inside)
