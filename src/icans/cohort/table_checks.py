"""One table against its contract: header, types, required and allowed values, ranges.

The contract is :mod:`icans.cohort.schema`; :func:`contract` writes it as a pandera schema, which is checked
lazily, so that every failure of every column is found in one pass.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import cells, schema
from icans.cohort.findings import Findings, always
from icans.cohort.rawtable import RawTable
from icans.cohort.safety import DEFAULT_LIMITS
from icans.cohort.vocabulary import near

#: Columns that may hold missing values but must be in the header: a table without them says nothing.
MUST_BE_PRESENT = {"measurements": ("value",), "assessments": ("value",), "grades": ("grade",)}

#: Text columns with free words. The other text columns are names of something (patients, vocabulary, units).
FREE_TEXT = frozenset(
    {"site", "source", "race", "ethnicity", "disease", "product", "lymphodepletion", "comorbidities"}
    | {"baseline_neurology", "detail", "assay", "batch", "method", "path"}
)
#: Control characters, zero-width characters, marks of writing direction.
INVISIBLE = "[\\x00-\\x1f\\x7f\u200b-\u200f\u2028-\u202e\ufeff]"

_ANY_INVISIBLE = re.compile(INVISIBLE)


def definition(name: str) -> schema.Table:
    """The table called ``name``, ``changes`` included."""
    return schema.CHANGES if name == "changes" else schema.TABLES[name]


def parse_table(raw: RawTable, name: str, findings: Findings) -> pd.DataFrame:
    """The known columns of a raw table by their kinds; everything that does not fit goes to ``findings``."""
    table = definition(name)
    check_header(raw.names, table, raw.file, findings)
    columns: dict[str, pd.Series] = {}
    for column_name, column in zip(raw.names, raw.columns, strict=True):
        if column_name not in table.names or column_name in columns:
            continue
        kind = table.column(column_name).kind
        values = cells.parse(
            kind, column, typed=raw.typed, file=raw.file, name=column_name, lines=raw.lines, findings=findings
        )
        if kind == "text":
            check_text(values, column_name, name, raw, findings)
            values = values if raw.typed else cells.unescape(values)
        columns[column_name] = values
    return table.shape_up(pd.DataFrame(columns, index=range(len(raw))))


def check_header(names: list[str], table: schema.Table, file: str, findings: Findings) -> None:
    """Columns that are unknown, missing or there twice."""
    known = table.names
    for name, count in Counter(names).items():
        if count > 1:
            findings.add(file, "each column once", f"Keep one of the {count} columns.", row=1, column=name, value=name)
        if name in known:
            continue
        free = [k for k in known if k not in names]
        close = difflib.get_close_matches(name.strip().lower().replace(" ", "_"), free, n=1, cutoff=0.6)
        if not name.strip():
            remedy = "Remove the column without a name (row numbers of a spreadsheet?), or name it."
        elif close:
            remedy = f"Rename it to {close[0]!r} if that is what it holds, or remove it."
        else:
            remedy = "Remove the column, or rename it to one of the table's own."
        findings.add(file, f"a column of {table.name!r}: {', '.join(known)}", remedy, row=1, column=name, value=name)
    needed = [c.name for c in table.columns if c.required] + list(MUST_BE_PRESENT.get(table.name, ()))
    for name in needed:
        if name not in names:
            findings.add(file, f"a column {name!r} ({table.column(name).meaning})", "Add the column.", column=name)


def check_text(values: pd.Series, column: str, table: str, raw: RawTable, findings: Findings) -> None:
    """Formulas, stray spaces and control characters, and words that stand for a missing value."""
    if not any(_suspect(word) for word in values.dropna().unique()):
        return
    free = table == "changes" or (column in FREE_TEXT and not (table == "grades" and column == "source"))
    formula = np.flatnonzero(cells.is_formula(values))
    if len(formula):
        # Parquet never reaches a spreadsheet unescaped: the writer escapes it on the way to CSV.
        severity = "warning" if free or raw.typed else "error"
        remedy = "Remove the leading sign, or put an apostrophe before it: a spreadsheet would run the cell."
        _rows(findings, raw, column, "formula", formula, values, "text that is no formula", remedy, severity)
    limit = DEFAULT_LIMITS.cell_chars
    long = np.flatnonzero(values.str.len().to_numpy(dtype=float, na_value=0.0) > limit)
    _rows(
        findings,
        raw,
        column,
        "long",
        long,
        values.str.slice(0, 40),
        f"at most {limit} characters",
        "Shorten it.",
        "error",
    )
    nul = np.flatnonzero(values.str.contains("\\x00", regex=True).to_numpy(dtype=bool, na_value=False))
    _rows(findings, raw, column, "nul", nul, values, "text without NUL", "Remove the NUL character.", "error")
    # An apostrophe escapes only what would otherwise be run, and text of one apostrophe stands for empty text.
    plain = values if raw.typed else cells.unescape(values)
    if free:
        words = plain.str.strip().str.lower().isin(cells.MISSING_WORDS - {"none", "nil", "unknown"}).to_numpy(bool)
        remedy = "Leave the cell empty where the value is missing; it is read as the text that it is."
        _rows(findings, raw, column, "word", np.flatnonzero(words), values, "words or an empty cell", remedy, "warning")
        return
    spaced = (plain != plain.str.strip()).to_numpy(bool) & plain.notna().to_numpy(bool)
    control = plain.str.contains(INVISIBLE, regex=True)
    faulty = np.flatnonzero(spaced | control.to_numpy(dtype=bool, na_value=False))
    remedy = "Remove the spaces or invisible characters: it would be taken for another name."
    _rows(findings, raw, column, "spaces", faulty, values, "a name without spaces around it", remedy, "error")
    if table == "assessments" and column == "value":
        return  # 'none' and 'unknown' are words of some items; the item's own check judges them
    words = np.flatnonzero(plain.str.lower().isin(cells.MISSING_WORDS - {"none", "unknown"}).to_numpy(bool))
    remedy = "Leave the cell empty where the value is missing."
    _rows(findings, raw, column, "word", words, values, "a name or an empty cell", remedy, "error")


def _suspect(word: str) -> bool:
    """Whether a text deserves the full checks; most columns have few different texts and none that do."""
    return (
        word[:1] in "=+-@'\t\r"
        or word != word.strip()
        or len(word) > DEFAULT_LIMITS.cell_chars
        or word.lower() in cells.MISSING_WORDS
        or _ANY_INVISIBLE.search(word) is not None
    )


def _rows(
    findings: Findings,
    raw: RawTable,
    column: str,
    kind: str,
    where: np.ndarray,
    values: pd.Series,
    expected: str,
    remedy: str,
    severity: str,
) -> None:
    if len(where):
        shown = values.iloc[where[:1000]]
        words = always(expected, remedy)
        findings.add_rows(raw.file, column, kind, raw.lines[where], shown, words, severity=severity)


@cache
def contract(name: str) -> Any:
    """The pandera schema of a table: required values, allowed values and ranges (types are read before)."""
    import pandera.pandas as pa

    def checks(column: schema.Column) -> list[Any]:
        found = []
        if column.allowed is not None:
            found.append(pa.Check.isin(column.allowed, name="allowed"))
        if column.low is not None:
            found.append(pa.Check.ge(column.low, name="low"))
        if column.high is not None:
            found.append(pa.Check.le(column.high, name="high"))
        if column.required and column.kind == "text":
            found.append(pa.Check(lambda s: s != "", name="empty"))
        return found

    columns = {
        column.name: pa.Column(checks=checks(column), nullable=not column.required, required=True)
        for column in definition(name).columns
    }
    return pa.DataFrameSchema(columns, name=name)


def check_contract(
    frame: pd.DataFrame, name: str, file: str, lines: np.ndarray, findings: Findings, skip: frozenset[str] = frozenset()
) -> None:
    """Every value against the contract. ``skip``: columns that are missing wholly and already told."""
    if _keeps_contract(frame, name):
        return
    import pandera.errors

    try:
        with warnings.catch_warnings():
            # pandera joins its own lists of failures in a way that pandas is about to change; ours is untouched.
            warnings.simplefilter("ignore", FutureWarning)
            contract(name).validate(frame, lazy=True)
        return
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
    table = definition(name)
    for (column_name, check), group in cases.groupby(["column", "check"], sort=False):
        if column_name in skip:
            continue
        column = table.column(str(column_name))
        where = group["index"].to_numpy(dtype=np.int64)
        order = np.argsort(where, kind="stable")
        where = where[order]
        values = group["failure_case"].to_numpy(dtype=object)[order]
        findings.add_rows(file, column.name, str(check), lines[where], values, partial(_describe, column))


def _keeps_contract(frame: pd.DataFrame, name: str) -> bool:
    """Whether a table keeps :func:`contract` wholly: the usual case, told without the second that pandera takes."""
    for column in definition(name).columns:
        if column.name not in frame:
            return False
        if not column.required and column.allowed is None and column.low is None and column.high is None:
            continue
        values = frame[column.name]
        present = values[values.notna()]
        if column.required and (len(present) < len(values) or (column.kind == "text" and (present == "").any())):
            return False
        if column.allowed is not None and not present.isin(column.allowed).all():
            return False
        if column.low is not None and not (present >= column.low).all():
            return False
        if column.high is not None and not (present <= column.high).all():
            return False
    return True


def _describe(column: schema.Column, value: str | None) -> tuple[str, str]:
    if value is None or value == "":
        return f"a value in every row ({column.meaning})", "Fill the cell, or take the row out."
    if column.allowed is not None:
        expected = "one of " + ", ".join(column.allowed)
        hint = near(value, column.allowed)
        return expected, f"Use one of these words{hint}" if hint else "Use one of these words."
    bounds = f"between {_bound(column.low, '-∞')} and {_bound(column.high, '∞')}"
    if column.name in ("time_h", "available_h"):
        return f"hours since infusion, {bounds}", "Check the unit of time (hours) and the date of infusion."
    return f"{column.meaning}, {bounds}", "Correct the value."


def _bound(value: float | None, none: str) -> str:
    return none if value is None else f"{value:g}"
