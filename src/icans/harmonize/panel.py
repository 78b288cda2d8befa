"""Measurements as a panel: one row for each patient and time, one column for each analyte, limits kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import vocabulary
from icans.core.random import stream

Array = npt.NDArray[np.float64]

#: Zeros of analytes on a log scale stand at this share of the smallest positive value of the panel.
ZERO_SHARE = 0.5


@dataclass(frozen=True)
class Panel:
    """Rows sorted by patient and time. ``values`` (n, G) on the modelling scale (log for concentrations).

    NaN is missing. A censored value is NaN with a finite ``upper`` (below the limit) or ``lower`` (above it).
    ``available_h`` is not needed: build the panel from rows that were known.
    """

    patient: npt.NDArray[np.object_]
    time_h: Array
    names: tuple[str, ...]
    values: Array
    lower: Array
    upper: Array

    def __len__(self) -> int:
        return len(self.time_h)

    @property
    def first(self) -> npt.NDArray[np.bool_]:
        """True where a patient's rows begin."""
        return np.concatenate([[True], self.patient[1:] != self.patient[:-1]])

    @property
    def series(self) -> npt.NDArray[np.int64]:
        """Number of the patient of each row, 0, 1, ..."""
        return np.cumsum(self.first) - 1

    def with_values(self, values: Array) -> Panel:
        """The panel with other values."""
        return replace(self, values=values)

    def natural(self, values: Array | None = None) -> Array:
        """Values in canonical units."""
        values = self.values if values is None else values
        logged = np.array([vocabulary.analyte(name).log for name in self.names])
        return np.where(logged, np.exp(np.minimum(values, 700.0)), values)

    def frame(self, values: Array | None = None) -> pd.DataFrame:
        """``patient_id, time_h`` and one column for each analyte, canonical units."""
        table = pd.DataFrame(self.natural(values), columns=list(self.names))
        table.insert(0, "time_h", self.time_h)
        table.insert(0, "patient_id", self.patient)
        return table


def panel(
    table: pd.DataFrame, analytes: list[str], *, times: pd.DataFrame | None = None, step_h: float = 24.0
) -> Panel:
    """Measurements on a common grid of times.

    Parameters
    ----------
    table
        Measurements in canonical units.
    analytes
        Columns of the panel, names of the vocabulary.
    times
        ``patient_id, time_h`` of the rows wanted besides those that were measured.
    step_h
        Times are put into bins of this width (the bin's start); the last value in a bin counts.
    """
    rows = table[table["analyte"].isin(analytes) & table["value"].notna()]
    work = pd.DataFrame(
        {
            "patient_id": rows["patient_id"].to_numpy(object),
            "time_h": np.floor(rows["time_h"].to_numpy() / step_h) * step_h,
            "analyte": rows["analyte"].to_numpy(object),
            "value": rows["value"].to_numpy(),
            "censor": rows["censor"].to_numpy(object),
            "limit": rows["limit"].to_numpy(),
        }
    )
    work = work.drop_duplicates(["patient_id", "time_h", "analyte"], keep="last")
    keys = work[["patient_id", "time_h"]]
    if times is not None:
        more = times[["patient_id", "time_h"]].astype({"patient_id": object})
        keys = pd.concat([keys, more.assign(time_h=np.floor(more["time_h"] / step_h) * step_h)])
    keys = keys.drop_duplicates().sort_values(["patient_id", "time_h"], ignore_index=True)
    index = pd.MultiIndex.from_frame(keys)
    shape = (len(keys), len(analytes))
    values, lower, upper = np.full(shape, np.nan), np.full(shape, -np.inf), np.full(shape, np.inf)
    for g, name in enumerate(analytes):
        part = work[work["analyte"] == name]
        at = index.get_indexer(pd.MultiIndex.from_frame(part[["patient_id", "time_h"]]))
        scaled = _scale(name, part["value"].to_numpy())
        limit = _scale(name, part["limit"].fillna(part["value"]).to_numpy())
        censor = part["censor"].to_numpy(object)
        left, right = censor == "left", censor == "right"
        values[at, g] = np.where(left | right, np.nan, scaled)
        upper[at[left], g] = limit[left]
        lower[at[right], g] = limit[right]
    return Panel(keys["patient_id"].to_numpy(object), keys["time_h"].to_numpy(), tuple(analytes), values, lower, upper)


def _scale(name: str, value: Array) -> Array:
    if not vocabulary.analyte(name).log:
        return value
    positive = value[value > 0]
    floor = ZERO_SHARE * positive.min() if len(positive) else 1.0
    return np.log(np.maximum(value, floor))


def noise(panel: Panel, seed: int, label: str, draw: int, width: int) -> tuple[Array, Array]:
    """Standard normal and uniform numbers, (n, width) each, that belong to patient and place in the series.

    A patient's earlier rows keep their numbers whatever comes later and whoever else is in the panel, so that
    an imputation cannot depend on the future through the random numbers.
    """
    normal, uniform = np.empty((len(panel), width)), np.empty((len(panel), width))
    starts = np.flatnonzero(panel.first)
    for begin, end in zip(starts, [*starts[1:], len(panel)], strict=True):
        generator = stream(seed, label, draw, str(panel.patient[begin]))
        both = generator.random((end - begin, 2, width))
        normal[begin:end], uniform[begin:end] = _normal(both[:, 0]), both[:, 1]
    return normal, uniform


def _normal(uniform: Array) -> Array:
    from scipy.special import ndtri

    return ndtri(np.clip(uniform, 1e-15, 1 - 1e-15))


def truncated(mean: Array, sd: Array, lower: Array, upper: Array, uniform: Array) -> Array:
    """Normal draws between bounds by inversion, stable in both tails."""
    from scipy.special import log_ndtr, ndtri_exp

    low, high = (lower - mean) / sd, (upper - mean) / sd
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    log_low, log_high = log_ndtr(low), log_ndtr(high)
    share = np.where(flip, 1.0 - uniform, uniform)
    ratio = np.exp(np.where(np.isneginf(log_low), -np.inf, log_low - log_high))
    log_p = log_high + np.log(np.clip(share + (1.0 - share) * ratio, 1e-300, 1.0))
    z = ndtri_exp(np.minimum(log_p, -1e-16))
    z = np.clip(z, low, high)
    return mean + sd * np.where(flip, -z, z)
