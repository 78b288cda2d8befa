"""Cells of text (or Arrow values) as numbers, whole numbers, yes/no and text, and what does not fit.

Reading is strict: ``12,5`` is not 12.5, ``NA`` is not missing, ``<5`` is not 5. What does not fit becomes a
problem with its row and a remedy, and is missing in the result, which is then not loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from icans.cohort import schema
from icans.cohort.findings import Findings

NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")
#: Words that programs write for a missing value. An empty cell is the only one that is read as missing.
MISSING_WORDS = frozenset(
    {"na", "n/a", "nan", "null", "none", "nil", "missing", "unknown", "<na>", "nat", ".", "-", "--", "?"}
    | {"#n/a", "#na", "#null!", "#value!", "#ref!", "#div/0!"}
)
#: Beginnings that make a spreadsheet program run a cell as a formula.
FORMULA_START = ("=", "+", "-", "@", "\t", "\r")
#: Largest magnitude that a whole number may have to be kept exactly in a float on the way.
_EXACT = 2**53


def as_numbers(column: Any, *, typed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, shape (n,), NaN where empty or unreadable; and a mask of the unreadable (infinite included)."""
    array = _plain(column)
    if typed and not _is_text(array.type):
        if not (types.is_integer(array.type) or types.is_floating(array.type) or types.is_decimal(array.type)):
            return np.full(len(array), np.nan), ~_nulls(array)
        values = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(float)
        return np.where(np.isinf(values), np.nan, values), np.isinf(values)
    readable = pc.fill_null(pc.match_substring_regex(array, NUMBER), False)
    numeric = pc.if_else(readable, pc.utf8_trim_whitespace(pc.fill_null(array, "")), pa.scalar(None, array.type))
    numeric = pc.replace_substring_regex(numeric, r"^\+", "")
    values = _to_float(numeric)
    infinite = np.isinf(values)
    bad = ~_mask(readable) & ~_nulls(array) | infinite
    return np.where(infinite, np.nan, values), bad


def as_integers(column: Any, *, typed: bool) -> tuple[pd.Series, np.ndarray]:
    """Whole numbers (``Int64``, missing ``pd.NA``) and a mask of the unreadable; ``3.0`` is whole."""
    values, bad = as_numbers(column, typed=typed)
    with np.errstate(invalid="ignore"):
        bad = bad | (~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) > _EXACT)))
    values = np.where(bad, np.nan, values)
    return pd.Series(values).astype("Int64"), bad


def as_yesno(column: Any, *, typed: bool) -> tuple[pd.Series, np.ndarray]:
    """Yes/no (``boolean``) from true/false, yes/no or 1/0 in any case, and a mask of the unreadable."""
    array = _plain(column)
    if typed and types.is_boolean(array.type):
        return array.to_pandas(types_mapper=lambda _: pd.BooleanDtype()).reset_index(drop=True), _none(len(array))
    if typed and types.is_integer(array.type):
        array = pc.cast(array, pa.string())
    if not _is_text(array.type):
        return pd.Series(pd.NA, index=range(len(array)), dtype="boolean"), ~_nulls(array)
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    yes = pc.is_in(lower, value_set=pa.array(_YES))
    known = pc.or_(yes, pc.is_in(lower, value_set=pa.array(_NO)))
    bad = ~_mask(known) & ~_nulls(array)
    result = pd.Series(_mask(yes), dtype="boolean")
    result[~_mask(known)] = pd.NA
    return result, bad


def as_text(column: Any, *, typed: bool) -> tuple[pd.Series, np.ndarray]:
    """Text (missing NaN) and a mask of values that are not text; whole numbers of Parquet are written out."""
    array = _plain(column)
    if typed and types.is_integer(array.type):
        array = pc.cast(array, pa.string())
    if not _is_text(array.type):
        return pd.Series(np.nan, index=range(len(array)), dtype=schema.TEXT), ~_nulls(array)
    return pd.Series(array, dtype=schema.TEXT), _none(len(array))


def is_formula(texts: pd.Series) -> np.ndarray:
    """Which texts a spreadsheet program would run: they begin with ``= + - @``, tab or CR and are no number."""
    starts = texts.str.startswith(FORMULA_START).to_numpy(dtype=bool, na_value=False)
    if not starts.any():
        return starts
    found = np.flatnonzero(starts)
    suspects = texts.iloc[found]
    harmless = suspects.str.fullmatch(NUMBER.strip("^$")) | suspects.str.fullmatch(r"[-+]+")
    starts[found] = ~harmless.to_numpy(dtype=bool, na_value=False)
    return starts


def escape(texts: pd.Series) -> pd.Series:
    """Texts as CSV cells: a formula, an apostrophe before one, and empty text get a leading apostrophe.

    :func:`unescape` is the exact inverse for every text.
    """
    plain = texts.fillna("x")
    needs = (
        is_formula(plain)
        | plain.str.fullmatch("(?s:'([=+\\-@\\t\\r'].*)?)").to_numpy(bool)
        | (plain == "").to_numpy(bool)
    )
    return texts.where(~needs, "'" + texts) if needs.any() else texts


def unescape(texts: pd.Series) -> pd.Series:
    """The inverse of :func:`escape`."""
    if not texts.str.startswith("'").to_numpy(dtype=bool, na_value=False).any():
        return texts
    marked = texts.str.fullmatch("(?s:'([=+\\-@\\t\\r'].*)?)").to_numpy(dtype=bool, na_value=False)
    return texts.where(~marked, texts.str.slice(1)) if marked.any() else texts


def describe_number(whole: bool = False) -> Callable[[str | None], tuple[str, str]]:
    """For a cell that is no number: what was expected and how to mend what was found."""
    expected = "a whole number" if whole else "a number with a decimal point"

    def describe(value: str | None) -> tuple[str, str]:
        text = (value or "").strip()
        low = text.lower()
        if low in MISSING_WORDS:
            return expected, "Leave the cell empty where the value is missing."
        if re.fullmatch(r"[+-]?(inf|infinity)", low) or re.fullmatch(NUMBER, text):
            return expected if whole and "e" not in low else f"{expected}, finite", "Correct the value."
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            return expected, f"Write the decimal comma as a point, {text.replace(',', '.')}, if it is one."
        if re.fullmatch(r"[+-]?\d{1,3}([ ,'.\u00a0\u202f]\d{3})+([.,]\d+)?", text):
            return expected, "Write the number without thousands separators."
        if re.match(r"[<>≤≥]", text):
            side = "left" if text[0] in "<≤" else "right"
            return expected, f"Put the number in 'limit', leave 'value' empty and set 'censor' to '{side}'."
        if re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?\s*[^\d\s].*", text):
            return expected, "Move the text behind the number to a column of its own (for a unit: 'unit')."
        return expected, "Correct the cell, or leave it empty where the value is missing."

    return describe


def parse(
    kind: schema.Kind, column: Any, *, typed: bool, file: str, name: str, lines: np.ndarray, findings: Findings
) -> pd.Series:
    """One column by its kind; what cannot be read goes to ``findings`` and is missing in the result."""
    array = _plain(column)
    values: pd.Series
    describe: Callable[[str | None], tuple[str, str]]
    if kind in ("number", "integer"):
        describe = describe_number(kind == "integer")
        if kind == "integer":
            values, bad = as_integers(array, typed=typed)
        else:
            numbers, bad = as_numbers(array, typed=typed)
            values = pd.Series(numbers)
    elif kind == "yesno":
        values, bad = as_yesno(array, typed=typed)
        describe = _describe_yesno
    else:
        values, bad = as_text(array, typed=typed)
        describe = _describe_text
    if bad.any():
        where = np.flatnonzero(bad)
        found = [_show(v) for v in array.take(pa.array(where[:1000])).to_pylist()]
        findings.add_rows(file, name, f"type:{kind}", lines[where], found, describe)
    return values


def _describe_yesno(value: str | None) -> tuple[str, str]:
    empty = (value or "").strip().lower() in MISSING_WORDS
    return "true or false", "Leave the cell empty where it is not known." if empty else "Write true or false."


def _describe_text(value: str | None) -> tuple[str, str]:
    return "text", "Store the column as text (a number such as 101.0 is not a name)."


def _plain(column: Any) -> Any:
    """One Arrow array without dictionary encoding, text as ``large_string``."""
    if isinstance(column, pa.ChunkedArray):
        if types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if types.is_null(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_string()) if types.is_string(column.type) else column


def _is_text(kind: Any) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _to_float(array: Any) -> np.ndarray:
    """Texts of the form of a number as the nearest doubles (infinite beyond their range)."""
    try:
        return pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False).astype(float)
    except pa.ArrowInvalid:  # a magnitude that no double has, or a form that Arrow does not take, such as "3."
        return np.array([np.nan if text is None else float(text) for text in array.to_pylist()], dtype=float)


def _nulls(array: Any) -> np.ndarray:
    return _mask(pc.is_null(array, nan_is_null=True))


def _mask(array: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def _none(length: int) -> np.ndarray:
    return np.zeros(length, dtype=bool)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
