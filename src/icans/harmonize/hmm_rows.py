"""Rows of one analyte as the hidden Markov model wants them, and the parameters it starts from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import vocabulary
from icans.harmonize import hmm
from icans.harmonize.candidates import KIND_WEIGHT, Reading
from icans.harmonize.precision import decimals

Array = npt.NDArray[np.float64]

#: Smallest within-patient step and spread, as a share of the cohort's spread: guards against constant data.
STEP_FLOOR = 0.05
#: Weight of the identity among the readings before anything is seen.
IDENTITY_WEIGHT = 0.9
#: Classes of decimals: none, a half, one, two, three or more.
PLACES = 5
#: Classes of magnitude of the stored number: below 1, 1-10, 10-100, 100-1000, above.
SIZES = 5
#: Concentrations may exceed the vocabulary's range by this factor before a unit is suspected: ranges of markers
#: that span many decades have soft ends.
MARGIN = 1.5
#: Log weight taken from every other reading where the row declares a unit: one declaration in fifty is wrong.
DECLARED = float(np.log(0.02))


def bounds(analyte: vocabulary.Analyte) -> tuple[float, float]:
    """Range outside which a stored number is taken for impossible: the vocabulary's, with a margin."""
    if analyte.log:
        return analyte.low / MARGIN, analyte.high * MARGIN
    return analyte.low, analyte.high


def rows_of(
    chosen: tuple[Reading, ...], table: pd.DataFrame, mine: npt.NDArray[np.int64], stored: Array,
    analyte: vocabulary.Analyte,
) -> hmm.Rows:  # fmt: skip
    """Values, possibility, decimals and order of the rows at ``mine``, one series a patient."""
    canonical = np.stack([reading.canonical(stored) for reading in chosen], axis=1)
    low, high = bounds(analyte)
    possible = (canonical >= low) & (canonical <= high)
    slopes = np.array([reading.slope for reading in chosen])
    if analyte.log:
        possible &= canonical > 0
        values, jacobian = np.log(np.where(canonical > 0, canonical, 1.0)), np.zeros(len(chosen))
    else:
        values, jacobian = canonical, np.log(slopes)
    patient = table["patient_id"].to_numpy()[mine]
    time = table["time_h"].to_numpy()[mine]
    fresh = np.concatenate([[True], patient[1:] != patient[:-1]])
    series = np.cumsum(fresh) - 1
    gap = np.concatenate([[0.0], np.diff(time)])
    declared = table["unit_declared"].to_numpy()[mine]
    share = np.bincount(series, declared.astype(float)) / np.bincount(series)
    prior = np.zeros((series[-1] + 1, len(chosen)))
    prior[:, 1:] = DECLARED * (share > 0.5)[:, None]
    return hmm.Rows(
        values, possible, series, np.maximum(gap, 0.0), places(stored), _sizes(stored), prior, jacobian,
        np.zeros(len(chosen), dtype=bool),
    )  # fmt: skip


def places(stored: Array) -> npt.NDArray[np.int64]:
    """Class of decimals: 0 none, 1 a half (the mean of two whole numbers ends so), 2 one, 3 two, 4 more."""
    found = decimals(stored).astype(np.int64)
    classes = np.where(found == 0, 0, np.minimum(found + 1, PLACES - 1))
    doubled = 2.0 * stored
    half = (found == 1) & (np.abs(doubled - np.round(doubled)) < 1e-9 * np.maximum(1.0, np.abs(doubled)))
    return np.where(half, 1, classes)


def _sizes(stored: Array) -> npt.NDArray[np.int64]:
    magnitude = np.floor(np.log10(np.maximum(np.abs(stored), 1e-12)))
    return np.clip(magnitude + 1, 0, SIZES - 1).astype(np.int64)


def start_of(rows: hmm.Rows, chosen: tuple[Reading, ...], analyte: vocabulary.Analyte) -> hmm.Parameters:
    """Starting parameters: spread and step from the rows as stored, other readings' decimals by shifting."""
    inside = rows.possible[:, 0]
    values = rows.values[:, 0][inside]
    if inside.mean() >= 0.2:
        location = float(np.median(values))
        spread = float(np.median(np.abs(values - location))) / 0.6745
    else:
        low, high = (np.log(max(analyte.low, analyte.high * 1e-6)), np.log(analyte.high)) if analyte.log \
            else (analyte.low, analyte.high)  # fmt: skip
        location, spread = (low + high) / 2.0, (high - low) / 6.0
    full = analyte.high - analyte.low if not analyte.log else 5.0
    spread = max(spread, 0.01 * full)
    step, typical = _steps(rows, spread)
    kinds = np.array([KIND_WEIGHT[reading.kind] for reading in chosen[1:]])
    weights = np.concatenate([[IDENTITY_WEIGHT], (1 - IDENTITY_WEIGHT) * kinds / max(kinds.sum(), 1e-9)])
    weights = weights / weights.sum()
    return hmm.Parameters(location, spread, step, typical, weights, 0.01, _decimals(rows, chosen))


def _steps(rows: hmm.Rows, spread: float) -> tuple[float, float]:
    """Within-patient step per typical gap, robust to changes of reading."""
    follows = np.concatenate([[False], rows.series[1:] == rows.series[:-1]])
    follows &= rows.possible[:, 0] & np.concatenate([[False], rows.possible[:-1, 0]])
    if follows.sum() < 5:
        return 0.5 * spread, 24.0
    gap = rows.gap[follows]
    typical = float(max(np.median(gap), 1e-3))
    difference = np.abs(np.diff(rows.values[:, 0], prepend=np.nan)[follows]) / np.sqrt(np.clip(gap / typical, 0.25, 16))
    return max(float(np.median(difference)) / 0.741, STEP_FLOOR * spread), typical


def _decimals(rows: hmm.Rows, chosen: tuple[Reading, ...]) -> Array:
    """Starting probabilities of the classes of decimals, (S, SIZES, PLACES).

    A number written with d decimals in one unit has d - p of them in a unit p powers of ten smaller.
    """
    inside = rows.possible[:, 0]
    counts = np.bincount(rows.places[inside], minlength=PLACES) + 0.5
    identity = counts / counts.sum()
    tables = [identity]
    for reading in chosen[1:]:
        shift = np.log10(abs(reading.slope))
        shifted = np.full(PLACES, 1.0 / PLACES)
        if abs(shift - round(shift)) < 0.01 and not reading.offset:
            shifted = 0.8 * _shift(identity, round(shift)) + 0.2 * shifted
        tables.append(shifted)
    return np.repeat(np.stack(tables)[:, None, :], SIZES, axis=1)


def _shift(table: Array, powers: int) -> Array:
    """Classes of decimals after the stored numbers were multiplied by ``10 ** -powers``."""
    decimals_of = np.array([0, 1, 1, 2, 3])
    class_of = {0: 0, 1: 2, 2: 3, 3: 4}
    moved = np.zeros(PLACES)
    for k, share in enumerate(table):
        moved[class_of[int(np.clip(decimals_of[k] + powers, 0, 3))]] += share
    return moved / moved.sum()
