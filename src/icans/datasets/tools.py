"""What the readers of single data sets share: reading with checks, daily times, long tables, recorded mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import change_rows, stack
from icans.cohort.vocabulary import analyte
from icans.core.errors import DataError, Problem
from icans.core.times import HOURS_PER_DAY


@dataclass
class Draft:
    """Tables of a cohort in the making, what was changed on the way, and the files that were read."""

    tables: dict[str, pd.DataFrame]
    changes: list[pd.DataFrame] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def log(self, table: str, rule: str, why: str, **columns: object) -> None:
        """Record a change (see :func:`icans.cohort.cohort.change_rows`)."""
        self.changes.append(change_rows(table, rule, why, **columns))

    @property
    def all_changes(self) -> pd.DataFrame:
        """Every recorded change as one table."""
        return stack(schema.CHANGES, self.changes)


def read_csv(path: Path, columns: Iterable[str], **options: object) -> pd.DataFrame:
    """A CSV with at least these columns; DataError naming every absent one."""
    return require(pd.read_csv(path, **options), columns, path)


def require(frame: pd.DataFrame, columns: Iterable[str], path: Path) -> pd.DataFrame:
    """``frame`` when it has the columns, else DataError with one problem for each that it lacks."""
    problems = [
        Problem(str(path), None, name, None, "this column", "Check that the file is the one in the catalogue.")
        for name in columns
        if name not in frame
    ]
    if problems:
        raise DataError(problems)
    return frame


def numbers(frame: pd.DataFrame, columns: Iterable[str], path: Path, first_row: int = 2) -> pd.DataFrame:
    """``frame`` with the columns as numbers; DataError naming each cell that is not one."""
    result, problems = frame.copy(), []
    for name in columns:
        value = pd.to_numeric(frame[name], errors="coerce")
        for position in np.flatnonzero((value.isna() & frame[name].notna()).to_numpy())[:20]:
            found = str(frame[name].iloc[position])
            row = int(position) + first_row
            problems.append(Problem(str(path), row, name, found, "a number", "Correct the cell or leave it empty."))
        result[name] = value.astype(float)
    if problems:
        raise DataError(problems)
    return result


def daily(day: pd.Series) -> dict[str, pd.Series]:
    """Times of a daily summary: it belongs to the day's start and is known at the day's end."""
    time = day.astype(float) * HOURS_PER_DAY
    return {"time_h": time, "available_h": time + HOURS_PER_DAY}


def long_measurements(
    wide: pd.DataFrame, names: Mapping[str, str], units: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row per filled cell of the columns in ``names`` (column -> analyte); the other columns are repeated.

    ``wide`` holds ``patient_id``, ``time_h`` and perhaps ``available_h``. ``units`` maps analyte to the declared
    unit; an analyte that is absent there stays undeclared. The matrix is the usual one of the vocabulary.
    """
    keys = [c for c in ("patient_id", "time_h", "available_h") if c in wide]
    parts = []
    for column, name in names.items():
        part = wide.loc[wide[column].notna(), [*keys, column]].rename(columns={column: "value"})
        unit = (units or {}).get(name, np.nan)
        parts.append(part.assign(analyte=name, matrix=analyte(name).matrix, unit=unit))
    return pd.concat(parts, ignore_index=True)


def recode(draft: Draft, table: str, column: str, values: pd.Series, codes: Mapping[Any, str]) -> pd.Series:
    """Values under their agreed names; each code that changes is recorded once with its number of rows.

    A value without a code stays as it is (text, stripped).
    """
    text = values.map(lambda v: codes.get(v, v if pd.isna(v) else str(v).strip()))
    moved = values.notna() & (values.astype("object") != text.astype("object"))
    counts = values[moved].astype(str).value_counts().sort_index()
    if len(counts):
        new = [str(text[moved][values[moved].astype(str) == old].iloc[0]) for old in counts.index]
        draft.log(
            table, "code.renamed", "spelling of the source brought to the agreed name",
            column=column, old=counts.index.to_numpy(), new=np.array(new), rows=counts.to_numpy(),
        )  # fmt: skip
    return text


def set_aside(draft: Draft, table: str, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Record columns of the source that no table of the cohort holds (column -> reason)."""
    for column, why in columns.items():
        if column in frame:
            rows = int(frame[column].notna().sum())
            draft.log(table, "column.set_aside", why, column=column, rows=rows)


def no_row(draft: Draft, table: str, frame: pd.DataFrame, columns: Sequence[str], why: str) -> None:
    """Record how many empty cells of the columns gave no row."""
    empty = frame[list(columns)].isna().sum()
    empty = empty[empty > 0]
    if len(empty):
        draft.log(table, "empty.no_row", why, item=empty.index.to_numpy(), rows=empty.to_numpy())


def last_seen(patient_id: pd.Series, time_h: pd.Series, detail: str) -> pd.DataFrame:
    """Events ``last_seen`` at the last time of each patient, known a day later (day resolution)."""
    last = time_h.groupby(patient_id.to_numpy()).max()
    return pd.DataFrame(
        {
            "patient_id": last.index,
            "time_h": last.to_numpy(),
            "available_h": last.to_numpy() + HOURS_PER_DAY,
            "event": "last_seen",
            "detail": detail,
        }
    )
