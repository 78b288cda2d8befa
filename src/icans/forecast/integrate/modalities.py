"""Which column belongs to which modality, and which modality a row has.

The source paper's integration framework joins clinical risk factors, plasma biomarkers, EEG findings and imaging in
one weighted layer. Here each of these, and spinal fluid, omics and the mechanistic model, is a *modality*: a part of
the feature table with an expert of its own. :data:`MODALITIES` is the table that says what belongs where; another one
may be given instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort import vocabulary
from icans.forecast.inputs import History, Inputs

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Modality:
    """One kind of information.

    Attributes
    ----------
    name, label
        Short name for tables, words for people.
    groups
        Prefixes of the columns that are its own (``eeg``: ``eeg.delta_power`` ...).
    analytes
        Groups of analytes of the vocabulary whose ``lab.`` columns are its own.
    matrices
        Matrices whose ``lab.<analyte>@<matrix>`` columns are its own, whatever the analyte.
    weight
        Prior weight relative to the others, before anything is learned.
    """

    name: str
    label: str
    groups: tuple[str, ...] = ()
    analytes: tuple[str, ...] = ()
    matrices: tuple[str, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"modality {self.name!r}: the prior weight must be positive; got {self.weight}")

    def claims(self, column: str) -> bool:
        """Whether a column (or a channel of the stream) is of this modality."""
        group, _, rest = column.partition(".")
        if group != "lab":
            return group in self.groups
        analyte, _, matrix = rest.partition(".")[0].partition("@")
        if matrix in self.matrices and matrix:
            return True
        if self.analytes and _analyte_group(analyte) in self.analytes:
            return True
        return "lab" in self.groups


#: The modalities, in the order in which they are asked whether a column is theirs.
MODALITIES: tuple[Modality, ...] = (
    Modality("csf", "cerebrospinal fluid", ("csf",), matrices=("csf",)),
    Modality("eeg", "electroencephalogram", ("eeg",), analytes=("eeg",)),
    Modality("mri", "brain imaging", ("mri",)),
    Modality("omics", "omics", ("omics",)),
    Modality("mechanistic", "mechanistic model of the patient", ("mech",)),
    Modality("plasma", "plasma cytokines, endothelial and neural markers, CAR T cells in blood",
             analytes=("cytokine", "endothelium", "neural", "cells")),
    Modality("clinical", "patient, routine laboratory, vital signs, grades, drugs", ("static", "lab", "grade", "drug")),
)  # fmt: skip


def columns_of(columns: Sequence[str], name: str, table: Sequence[Modality] = MODALITIES) -> list[str]:
    """The columns of one modality, in their order. A column belongs to the first modality that claims it."""
    return [column for column in columns if owner(column, table) == name]


def owner(column: str, table: Sequence[Modality] = MODALITIES) -> str | None:
    """Name of the modality that a column belongs to; None: to none (the day, published scores)."""
    return _owner(column, tuple(table))


@lru_cache(maxsize=65536)
def _owner(column: str, table: tuple[Modality, ...]) -> str | None:
    return next((modality.name for modality in table if modality.claims(column)), None)


def is_value(column: str) -> bool:
    """Whether a column holds values: counts and ages of samples say as well that nothing was measured."""
    return ".count" not in column and not column.endswith(".age_d")


def shown(inputs: Inputs, name: str, table: Sequence[Modality] = MODALITIES) -> Inputs:
    """Only the columns (and channels) of a modality; the day stays."""
    names = inputs.table.columns.tolist()
    kept = [c for c in names if c == "day" or owner(c, table) == name]
    return replace(inputs, table=inputs.table[kept], history=_channels(inputs.history, name, table))


def availability(features: pd.DataFrame, table: Sequence[Modality] = MODALITIES) -> pd.DataFrame:
    """Which modality has any value in which row, one column of booleans for each modality.

    Counts of samples say that nothing was measured as well as that something was, and are no value. Grades and drugs
    that were not recorded are entered as none by the feature table, so a row with such columns is never without them.
    """
    names = [str(c) for c in features.columns]
    owners = np.array([owner(c, table) or "" for c in names], dtype=object)
    values = np.array([is_value(c) for c in names], dtype=bool)
    present = features.notna().to_numpy()
    found = {m.name: present[:, (owners == m.name) & values].any(axis=1) for m in table}
    return pd.DataFrame(found, index=features.index)


def _channels(stream: History | None, name: str, table: Sequence[Modality]) -> History | None:
    if stream is None:
        return None
    kept = [k for k, channel in enumerate(stream.channels) if owner(channel, table) == name]
    position = np.full(len(stream.channels), -1, dtype=np.intp)
    position[kept] = np.arange(len(kept))
    mine = position[stream.channel] >= 0
    return replace(
        stream, channels=tuple(stream.channels[k] for k in kept), patient=stream.patient[mine],
        channel=position[stream.channel[mine]], time_h=stream.time_h[mine], available_h=stream.available_h[mine],
        value=stream.value[mine],
    )  # fmt: skip


def _analyte_group(analyte: str) -> str:
    entry = vocabulary.analytes().get(analyte)
    return "" if entry is None else entry.group


def check_modalities(table: Sequence[Modality]) -> None:
    """Raise ValueError where two modalities have the same name, or there is none."""
    names = [m.name for m in table]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"modalities need names of their own; got {names}")
