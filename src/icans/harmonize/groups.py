"""Readings opened by comparing groups of series: two groups that lie apart by the factor of a unit.

Groups are the batches of an analyte, and the precision that its series were written with. Two groups of patients
may differ for clinical reasons, and the difference may come near a unit's factor by chance. The Bayes factor
below therefore allows a clinical difference between groups of up to about half the spread between patients, and
the prior odds are those of a rare event. Precision alone never opens a reading, nor does magnitude alone: a group
must be written on a grid that is coarser or finer by the same factor.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.harmonize.candidates import Reading
from icans.harmonize.precision import grid

Array = npt.NDArray[np.float64]

#: A reading, why it was opened, the patients of the group, the log odds, whether declared rows are the measure.
Found = tuple[int, str, npt.NDArray[np.int64], float, bool]

#: Series that a group must have.
SERIES = 5
#: Prior odds that two groups of one analyte were stored in different units.
ODDS = 0.01
#: Prior odds that rows without a declared unit are in another usual unit than the rows that declare theirs.
UNDECLARED_ODDS = 0.2
#: How near the distance must come to the unit's factor (log10 units; 0.25 is a factor of 1.8): sicker patients at one
#: site lie anywhere, another unit lies at its factor.
NEAR = 0.25
#: Clinical difference between groups, as a share of the spread between patients, and its floor (log10 units).
CLINICAL_SHARE, CLINICAL_FLOOR = 0.5, 0.15
#: Factor on the odds where the grids of the two groups differ by the reading's factor.
GRID_ODDS = 5.0
#: Odds from which a reading is opened (it is then judged row by row).
OPEN = 3.0
#: Factors closer to one than this cannot be told from a clinical difference (log10 units).
SMALLEST_SHIFT = 0.6


def opened(
    stored: Array, index: npt.NDArray[np.int64], table: pd.DataFrame, every: tuple[Reading, ...]
) -> Iterator[Found]:
    """Readings (by place in ``every``) that explain the distance between two groups, why, the group, its log odds."""
    positive = stored > 0
    frame = pd.DataFrame(
        {
            "patient": table["patient_id"].to_numpy()[index][positive],
            "batch": table["batch"].to_numpy()[index][positive],
            "x": np.log10(stored[positive]),
            "stored": stored[positive],
            "declared": table["unit_declared"].to_numpy()[index][positive],
        }
    )
    if frame["declared"].nunique() > 1:
        yield from _against_declared(frame, every)
    if frame["batch"].nunique() > 1:
        yield from _between(frame, frame["batch"], "batch", every)
    classes = precision_classes(frame["patient"], frame["stored"].to_numpy())
    if classes is not None:
        yield from _between(frame, classes, "precision", every)


def _between(frame: pd.DataFrame, label: pd.Series, name: str, every: tuple[Reading, ...]) -> Iterator[Found]:
    """Compare each group with the largest one, both ways."""
    medians = frame["x"].groupby([label, frame["patient"]]).median()
    sizes = medians.groupby(level=0).size()
    sizes = sizes[sizes >= SERIES]
    if len(sizes) < 2:
        return
    base = sizes.idxmax()
    centred = medians - medians.groupby(level=0).transform("median")
    spread = max(float(centred.abs().median()) / 0.6745, 0.05)
    clinical = max(CLINICAL_FLOOR, CLINICAL_SHARE * spread)
    grids = {group: grid(frame.loc[label == group, "stored"]) for group in sizes.index}
    # Either group may be the one in another unit: both directions are offered, and the ambiguity shows later.
    pairs = [pair for other in sizes.index.drop(base) for pair in ((other, base), (base, other))]
    for group, rest in pairs:
        distance = float(medians[group].median() - medians[rest].median())
        variance = clinical**2 + 1.57 * spread**2 * (1 / sizes[group] + 1 / sizes[rest])
        for k, reading in enumerate(every[1:], start=1):
            shift = -np.log10(abs(reading.slope))
            if reading.offset or reading.kind == "twice" or abs(shift) < SMALLEST_SHIFT:
                continue
            log_odds = np.log(ODDS) + (distance**2 - (distance - shift) ** 2) / (2.0 * variance)
            matched = abs(np.log10(grids[group] / grids[rest]) - shift) < 0.05
            if matched and log_odds + np.log(GRID_ODDS) > np.log(OPEN):
                why = (
                    f"series of {name} {group!s} lie {10**distance:.3g} times as high as those of {rest!s} and are "
                    f"written in steps {grids[group] / grids[rest]:.3g} times as large"
                )
                odds = log_odds + float(np.log(GRID_ODDS))
                yield k, why, frame.loc[label == group, "patient"].unique(), odds, False


def _against_declared(frame: pd.DataFrame, every: tuple[Reading, ...]) -> Iterator[Found]:
    """Batches without a declared unit against the rows that declare theirs, which fixes who is in the other unit.

    Only units that laboratories send for the analyte are offered; no grid has to match, because a laboratory that
    reports in another unit chooses its own decimals.
    """
    measure = frame[frame["declared"]].groupby("patient")["x"].median()
    if len(measure) < SERIES:
        return
    open_rows = frame[~frame["declared"]]
    for name, rows in open_rows.groupby(open_rows["batch"].fillna("(no batch)")):
        medians = rows.groupby("patient")["x"].median()
        if len(medians) < SERIES:
            continue
        centred = np.r_[measure - measure.median(), medians - medians.median()]
        spread = max(float(np.median(np.abs(centred))) / 0.6745, 0.05)
        clinical = max(CLINICAL_FLOOR, CLINICAL_SHARE * spread)
        variance = clinical**2 + 1.57 * spread**2 * (1 / len(measure) + 1 / len(medians))
        distance = float(medians.median() - measure.median())
        for k, reading in enumerate(every[1:], start=1):
            shift = -np.log10(abs(reading.slope))
            near = abs(distance - shift) < NEAR
            if reading.kind != "unit" or reading.offset or abs(shift) < SMALLEST_SHIFT or not near:
                continue
            log_odds = np.log(UNDECLARED_ODDS) + (distance**2 - (distance - shift) ** 2) / (2.0 * variance)
            if log_odds > np.log(OPEN):
                why = (
                    f"series of batch {name!s} declare no unit and lie {10**distance:.3g} times as high as those that "
                    "declare theirs"
                )
                yield k, why, medians.index.to_numpy(), float(log_odds), True


def precision_classes(patient: pd.Series, stored: Array) -> pd.Series | None:
    """Series written in whole numbers against series written with decimals, at the same magnitudes.

    Laboratories write large numbers with fewer decimals, so a series is compared with what others write at the
    same magnitude. None where the share of whole numbers is explained by magnitude.
    """
    size = np.floor(2.0 * np.log10(stored)).astype(int)
    whole = np.abs(stored - np.round(stored)) < 1e-6 * np.maximum(1.0, stored)
    expected = pd.Series(whole.astype(float)).groupby(size).transform("mean").to_numpy()
    telling = (expected > 0.02) & (expected < 0.98)
    if telling.sum() < 4 * SERIES:
        return None
    part = pd.DataFrame({"patient": patient.to_numpy()[telling], "w": whole[telling], "e": expected[telling]})
    part["v"] = part["e"] * (1 - part["e"])
    per = part.groupby("patient").agg(
        n=("w", "size"), w=("w", "mean"), excess=("w", "sum"), e=("e", "sum"), v=("v", "sum")
    )
    # Overdispersion between series: under one common habit the mean squared standardised excess is one.
    dispersion = float((((per["excess"] - per["e"]) ** 2) / per["v"].clip(lower=1e-9)).mean())
    if dispersion < 3.0:
        return None
    high, low = per["w"] > 0.9, per["w"] < 0.5
    classes = pd.Series(None, index=per.index, dtype=object).mask(high, "whole").mask(low, "decimal")
    return patient.map(classes)
