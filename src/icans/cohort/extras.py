"""What a foreign format has no field for, kept beside it.

FHIR extensions, OMOP observation rows and SDTM supplemental qualifiers all attach a named value to a record. The
writers use them for the *difference* between what a reader would understand from a record's own fields and what the
cohort holds; the readers put it back. So a record carries an extra only where its format falls short, and whatever
the cohort holds of a patient survives the way out and in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.cohort.clock import TOLERANCE_H

TIMES = ("time_h", "available_h", "duration_h")


def differences(
    understood: pd.DataFrame, truth: pd.DataFrame, table: schema.Table, skip: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Where ``understood`` falls short of ``truth`` (same rows, same order).

    Returns
    -------
    pandas.DataFrame
        ``row`` (position), ``column``, ``value`` (text; empty: the value is missing).
    """
    found = []
    for column in table.columns:
        if column.name in skip or column.name == "patient_id":
            continue
        want = truth[column.name].reset_index(drop=True)
        got = understood[column.name].reset_index(drop=True) if column.name in understood else None
        differs = want.notna().to_numpy() if got is None else _differs(got, want, column)
        if differs.any():
            where = np.flatnonzero(differs)
            found.append(
                pd.DataFrame({"row": where, "column": column.name, "value": as_text(want, column).iloc[where]})
            )
    if not found:
        return pd.DataFrame({"row": np.array([], dtype=int), "column": [], "value": []})
    return pd.concat(found, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)


def _differs(got: pd.Series, want: pd.Series, column: schema.Column) -> np.ndarray:
    if column.kind in ("number", "integer"):
        a, b = got.astype("float64").to_numpy(), want.astype("float64").to_numpy()
        tolerance = TOLERANCE_H if column.name in TIMES else 0.0
        with np.errstate(invalid="ignore"):
            same = (np.abs(a - b) <= tolerance) | (a == b) | (np.isnan(a) & np.isnan(b))
        return ~same
    a, b = as_text(got, column), as_text(want, column)
    return (a != b).to_numpy()


def as_text(values: pd.Series, column: schema.Column) -> pd.Series:
    """Values as text that reads back to the same: shortest round-trip numbers, true/false, empty for missing."""
    missing = values.isna()
    if column.kind == "number":
        numbers = values.astype("float64").to_numpy()
        shown = np.array([repr(float(x)) for x in numbers], dtype=object)
    elif column.kind == "yesno":
        shown = np.where(values.fillna(False).astype(bool), "true", "false").astype(object)
    else:
        shown = values.astype("object").astype(str).to_numpy()
    return pd.Series(np.where(missing, "", shown), dtype="object")


def from_text(values: pd.Series, column: schema.Column) -> pd.Series:
    """The inverse of :func:`as_text`.

    Raises
    ------
    ValueError
        A text that is no value of the column's kind.
    """
    plain = values.astype("object")
    empty = plain.isna() | plain.eq("")
    if column.kind == "text":
        return plain.where(~empty).astype(schema.TEXT)
    if column.kind == "yesno":
        wrong = ~(empty | plain.isin(["true", "false"]))
        if wrong.any():
            raise ValueError(f"{column.name}: {plain[wrong].iloc[0]!r} is neither true nor false")
        return plain.eq("true").where(~empty).astype("boolean")
    numbers = exact(plain.where(~empty))
    wrong = numbers.isna() & ~empty
    if wrong.any():
        raise ValueError(f"{column.name}: {plain[wrong].iloc[0]!r} is no number")
    if np.isinf(numbers).any():
        raise ValueError(f"{column.name}: infinite")
    return numbers if column.kind == "number" else numbers.astype("Int64")


def exact(text: pd.Series) -> pd.Series:
    """Texts as the numbers nearest to them (pandas' own reader may miss by one unit in the last place); else NaN."""
    plain = text.astype("object")
    readable = pd.to_numeric(plain, errors="coerce").notna().to_numpy()
    found = np.full(len(plain), np.nan)
    found[readable] = plain.to_numpy()[readable].astype("float64")
    return pd.Series(found, index=text.index)


def either(first: pd.Series, second: pd.Series) -> pd.Series:
    """``first`` where it is there, else ``second``."""
    return first.astype("object").where(first.notna(), second.astype("object"))


def apply(frame: pd.DataFrame, extras: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    """``frame`` with the values of ``extras`` (``row``: index label of the frame, ``column``, ``value``) put in.

    Extras of rows or columns that are not there are left alone.

    Raises
    ------
    ValueError
        A value that is not of its column's kind.
    """
    frame = frame.copy()
    for name, part in extras.groupby("column", sort=False):
        if name not in table.names or name == "patient_id":
            continue
        column = table.column(str(name))
        part = part[part["row"].isin(frame.index)].drop_duplicates("row", keep="last")
        values = from_text(part["value"], column)
        current = frame[name] if name in frame else pd.Series(pd.NA, index=frame.index, dtype="object")
        merged = current.astype("object").copy()
        merged.loc[part["row"].to_numpy()] = values.astype("object").to_numpy()
        frame[name] = merged.where(merged.notna(), np.nan if column.kind == "number" else pd.NA)
        frame[name] = frame[name].astype(schema.DTYPES[column.kind])
    return frame
