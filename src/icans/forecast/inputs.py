"""What a model sees of each patient at each landmark: the feature table, and the stream of what had become known.

Tabular models take the table. Models of sequences take the stream of results, grades and drugs as it is:
irregular, incomplete, each entry with the time it speaks of and the time from which it could be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.forecast.features import FeatureSpec, drug_rows, grade_rows, lab_rows
from icans.forecast.grouped import Rows
from icans.forecast.plain import Plain

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Prefixes of the columns of a feature table, by where they come from. ``day`` goes with every group.
CLINICAL = ("static", "lab", "grade", "drug", "score")
MECHANISTIC = ("mech",)


@dataclass(frozen=True)
class History:
    """Everything dated of some patients, sorted by patient, time it speaks of, channel.

    Attributes
    ----------
    patient_ids, channels
        Names; ``patient`` and ``channel`` are positions in them. Channels: ``lab.<analyte>``,
        ``grade.<toxicity>``, ``drug.<class>``.
    time_h, available_h
        Hours since infusion: what the entry speaks of, and from when it could be known.
    value
        In the harmonised unit; a grade; 1 for a drug that was given.
    """

    patient_ids: tuple[str, ...]
    channels: tuple[str, ...]
    patient: Ints
    channel: Ints
    time_h: Floats
    available_h: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.value)

    def frame(self) -> pd.DataFrame:
        """The stream as a table: patient_id, channel, time_h, available_h, value."""
        names = {"patient_id": np.array(self.patient_ids, dtype=object)[self.patient]}
        names["channel"] = np.array(self.channels, dtype=object)[self.channel]
        return pd.DataFrame(names | {k: getattr(self, k) for k in ("time_h", "available_h", "value")})


@dataclass(frozen=True)
class Events:
    """What each row of :class:`Inputs` may know: entries of row i lie at ``start[i] : start[i + 1]``, oldest first.

    Attributes
    ----------
    start
        Shape (rows + 1,).
    channel, time_h, value
        As in :class:`History`.
    before_h
        Hours from the entry's time to the row's landmark (not negative for what speaks of the past).
    """

    channels: tuple[str, ...]
    start: Ints
    channel: Ints
    time_h: Floats
    before_h: Floats
    value: Floats


def history(cohort: Cohort, spec: FeatureSpec | None = None) -> History:
    """The stream of a harmonised cohort: laboratory values, grades and drug classes that ``spec`` names.

    A result beyond a limit of its assay enters with the limit; a grade in the one scheme that features use.
    """
    spec = (spec or FeatureSpec()).resolve(cohort)
    ids = tuple(cohort.patient_ids)
    code = pd.Series(range(len(ids)), index=list(ids))
    labs = tuple(spec.analytes or ())
    found = lab_rows(cohort, labs, code)
    parts = [(found.group // max(len(labs), 1), found.group % max(len(labs), 1), found)]
    channels = [f"lab.{name}" for name in labs]
    for prefix, names in (("grade", spec.toxicities), ("drug", tuple(spec.drugs))):
        for name in names:
            rows = _rows(cohort, prefix, name, spec, code)
            parts.append((rows.group, np.full(len(rows.group), len(channels), dtype=np.intp), rows))
            channels.append(f"{prefix}.{name}")
    patient, channel = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    time, available, value = (
        np.concatenate([getattr(rows, name) for _, _, rows in parts]) for name in ("time_h", "available_h", "value")
    )
    order = np.lexsort((value, available, channel, time, patient))
    return History(
        ids, tuple(channels), patient[order], channel[order], time[order], available[order], value[order]
    )  # fmt: skip


def _rows(cohort: Cohort, prefix: str, name: str, spec: FeatureSpec, code: pd.Series) -> Rows:
    return grade_rows(cohort, name, code) if prefix == "grade" else drug_rows(cohort, spec.drugs[name], code)


@dataclass(frozen=True)
class Inputs:
    """Rows that a model is fitted to or asked about.

    Attributes
    ----------
    table
        Features, indexed (patient_id, landmark_h).
    at_h
        Hours since infusion at which each row is seen, shape (rows,). It differs from the landmark only where
        landmarks count from a patient's own onset.
    history
        The patients' stream; None where no model asks for it.
    """

    table: pd.DataFrame
    at_h: Floats
    history: History | None = None

    @classmethod
    def of(cls, table: pd.DataFrame | Inputs) -> Inputs:
        """A bare feature table as inputs without a stream."""
        if isinstance(table, Inputs):
            return table
        return cls(table, table.index.get_level_values("landmark_h").to_numpy(dtype=float))

    @cached_property
    def plain(self) -> Plain:
        """The table as arrays (made once; inputs never change)."""
        return Plain.of(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: NDArray[np.bool_] | Ints) -> Inputs:
        """Some rows, by mask or position (repeats allowed)."""
        if np.asarray(rows).dtype == bool and np.all(rows):
            return self
        chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return replace(self, table=self.table.iloc[chosen], at_h=self.at_h[chosen])

    def only(self, groups: Sequence[str] | None) -> Inputs:
        """Only columns (and, by their prefix, channels) of some groups; the day stays. None: everything."""
        if groups is None:
            return self
        return replace(self, table=self.table[self.columns_of(groups)], history=_only(self.history, groups))

    def columns_of(self, groups: Sequence[str]) -> list[str]:
        """Names of the columns of some groups, and the day."""
        return [name for name in self.table.columns if name == "day" or name.split(".", 1)[0] in groups]

    def events(self) -> Events:
        """The entries that could be known at each row's time, and no others.

        Raises
        ------
        ValueError
            The inputs were made without a stream.
        """
        if self.history is None:
            raise ValueError("these inputs carry no stream of events; make them with history=True")
        stream = self.history
        code = {name: k for k, name in enumerate(stream.patient_ids)}
        patient = np.array([code[p] for p in self.table.index.get_level_values("patient_id")], dtype=np.intp)
        first = np.searchsorted(stream.patient, np.arange(len(code) + 1))
        count = first[patient + 1] - first[patient]
        row = np.repeat(np.arange(len(patient)), count)
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        entry = np.repeat(first[patient], count) + offset
        known = stream.available_h[entry] <= self.at_h[row]
        row, entry = row[known], entry[known]
        start = np.searchsorted(row, np.arange(len(patient) + 1))
        time = stream.time_h[entry]
        return Events(
            stream.channels, start, stream.channel[entry], time, self.at_h[row] - time, stream.value[entry]
        )  # fmt: skip


def _only(stream: History | None, groups: Sequence[str]) -> History | None:
    if stream is None:
        return None
    kept = [k for k, name in enumerate(stream.channels) if name.split(".", 1)[0] in groups]
    position = np.full(len(stream.channels), -1, dtype=np.intp)
    position[kept] = np.arange(len(kept))
    mine = position[stream.channel] >= 0
    return History(
        stream.patient_ids, tuple(stream.channels[k] for k in kept), stream.patient[mine],
        position[stream.channel[mine]], stream.time_h[mine], stream.available_h[mine], stream.value[mine],
    )  # fmt: skip
