"""The cohort: tidy tables of one or many patients, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.core.provenance import Provenance

SORT = {
    "patients": ["patient_id"],
    "measurements": ["patient_id", "time_h", "analyte"],
    "treatments": ["patient_id", "time_h", "drug"],
    "assessments": ["patient_id", "time_h", "item"],
    "grades": ["patient_id", "time_h", "toxicity", "scheme"],
    "events": ["patient_id", "time_h", "event"],
    "recordings": ["patient_id", "time_h", "kind", "path"],
}


@dataclass(frozen=True)
class Cohort:
    """Patients and everything known of them, in the tables of :mod:`icans.cohort.schema`.

    Build one with :func:`make`, which shapes, types and sorts the tables. Treat the tables as read-only;
    use :meth:`with_table` to replace one.
    """

    name: str
    patients: pd.DataFrame
    measurements: pd.DataFrame
    treatments: pd.DataFrame
    assessments: pd.DataFrame
    grades: pd.DataFrame
    events: pd.DataFrame
    recordings: pd.DataFrame
    changes: pd.DataFrame
    provenance: Provenance = field(default_factory=Provenance)

    def __len__(self) -> int:
        return len(self.patients)

    def __repr__(self) -> str:
        label = ", synthetic" if self.synthetic else ""
        sizes = ", ".join(f"{len(self.table(name))} {name}" for name in schema.TABLES if len(self.table(name)))
        return f"<Cohort {self.name!r}{label}: {sizes}>"

    @property
    def synthetic(self) -> bool:
        """True when any of the data were simulated."""
        return self.provenance.synthetic

    @property
    def patient_ids(self) -> list[str]:
        """Patients, in the order of the table (sorted)."""
        return self.patients["patient_id"].tolist()

    def table(self, name: str) -> pd.DataFrame:
        """A table by name (``changes`` included)."""
        if name not in schema.TABLES and name != "changes":
            raise KeyError(f"no table {name!r}; there are {[*schema.TABLES, 'changes']}")
        return getattr(self, name)

    def with_table(self, name: str, frame: pd.DataFrame, changes: pd.DataFrame | None = None) -> Cohort:
        """The cohort with one table replaced and, when given, rows added to ``changes``."""
        definition = schema.CHANGES if name == "changes" else schema.TABLES[name]
        shaped = definition.shape_up(frame)
        if name in SORT:
            shaped = _sorted(shaped, SORT[name])
        replaced: dict[str, Any] = {name: shaped}
        cohort = replace(self, **replaced)
        return cohort if changes is None else cohort.with_changes(changes)

    def with_changes(self, changes: pd.DataFrame) -> Cohort:
        """The cohort with rows appended to ``changes``."""
        return replace(self, changes=stack(schema.CHANGES, [self.changes, schema.CHANGES.shape_up(changes)]))

    def subset(self, patient_ids: Iterable[str]) -> Cohort:
        """The cohort of some of its patients; KeyError when one is not in it."""
        wanted = set(patient_ids)
        missing = sorted(wanted - set(self.patient_ids))
        if missing:
            raise KeyError(f"{len(missing)} patients are not in cohort {self.name!r}, e.g. {missing[:3]}")
        kept: dict[str, Any] = {}
        for name in schema.TABLES:
            frame = self.table(name)
            kept[name] = frame[frame["patient_id"].isin(wanted)].reset_index(drop=True)
        mine = self.changes["patient_id"].isna() | self.changes["patient_id"].isin(wanted)
        return replace(self, **kept, changes=self.changes[mine].reset_index(drop=True))

    def available_by(self, time_h: float | Mapping[str, float]) -> Cohort:
        """What could be known by a landmark: rows with ``available_h <= time_h`` (the patients stay).

        ``time_h`` is one landmark for all, or one for each patient.
        """
        kept: dict[str, Any] = {}
        for name in schema.TABLES:
            frame = self.table(name)
            if name == "patients":
                continue
            limit: Any = time_h if isinstance(time_h, (int, float)) else frame["patient_id"].map(dict(time_h))
            known = frame["available_h"].fillna(frame["time_h"]) <= limit
            kept[name] = frame[known].reset_index(drop=True)
        return replace(self, **kept)

    def analytes(self) -> list[str]:
        """Analytes that have at least one row, sorted."""
        return sorted(self.measurements["analyte"].dropna().unique())


def make(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    provenance: Provenance | None = None,
    changes: pd.DataFrame | None = None,
) -> Cohort:
    """A cohort from tables, shaped, typed and sorted.

    Where ``available_h`` is missing it becomes ``time_h``, and one row of ``changes`` per table says for how
    many rows. Tables that are not given are empty.

    Raises
    ------
    KeyError
        A table or a column that the schema does not have, or no ``patients``.
    """
    unknown = [key for key in tables if key not in schema.TABLES]
    if unknown or "patients" not in tables:
        raise KeyError(f"tables must be of {list(schema.TABLES)} and contain 'patients'; got {list(tables)}")
    shaped: dict[str, pd.DataFrame] = {}
    notes: list[dict[str, object]] = []
    for key, definition in schema.TABLES.items():
        frame = definition.shape_up(tables[key]) if key in tables else definition.empty()
        if "available_h" in frame:
            absent = frame["available_h"].isna()
            if absent.any():
                frame = frame.assign(available_h=frame["available_h"].fillna(frame["time_h"]))
                notes.append(
                    {
                        "table": key,
                        "column": "available_h",
                        "new": "time_h",
                        "rule": "available.assumed",
                        "why": "the source does not say when the row became known; taken as known at once",
                        "rows": int(absent.sum()),
                    }
                )
        if key == "measurements":
            frame = frame.assign(censor=frame["censor"].fillna("none"))
        if key == "grades":
            frame = frame.assign(
                source=frame["source"].fillna("delivered"), lower_bound=frame["lower_bound"].fillna(False)
            )
        shaped[key] = _sorted(frame, SORT[key])
    logged = [] if changes is None else [schema.CHANGES.shape_up(changes)]
    if notes:
        logged.append(schema.CHANGES.shape_up(pd.DataFrame(notes)))
    return Cohort(
        name=name, **shaped, changes=stack(schema.CHANGES, logged), provenance=provenance or Provenance(source=name)
    )


def change_rows(table: str, rule: str, why: str, **columns: object) -> pd.DataFrame:
    """Rows for ``changes``: one rule and reason, the other columns as scalars or equally long arrays."""
    lengths = [len(v) for v in columns.values() if isinstance(v, (list, np.ndarray, pd.Series))]
    index = range(lengths[0] if lengths else 1)
    data = {k: (v.to_numpy() if isinstance(v, pd.Series) else v) for k, v in columns.items()}
    frame = pd.DataFrame({"table": table, "rule": rule, "why": why, "rows": 1, **data}, index=index)
    for text in ("old", "new"):
        if text in frame:
            frame[text] = frame[text].map(_as_text)
    return schema.CHANGES.shape_up(frame)


def stack(table: schema.Table, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames of one table below each other (none: the empty table)."""
    filled = [frame for frame in frames if len(frame)]
    return table.shape_up(pd.concat(filled, ignore_index=True)) if filled else table.empty()


def _sorted(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return frame.sort_values(keys, kind="stable", ignore_index=True)


def _as_text(value: object) -> object:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return np.nan
    return f"{value:.10g}" if isinstance(value, float) else str(value)
