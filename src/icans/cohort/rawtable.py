"""One table file as cells of text with their line numbers, before any meaning is read into them.

CSV here is RFC 4180: commas, ``"`` around cells that need it, doubled inside; UTF-8. An empty cell, quoted or
not, is a missing value. Structure (quotes, number of cells) is checked first and named by line, so that a
shifted row can never be read into the wrong columns.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from icans.cohort.findings import Findings
from icans.cohort.safety import DEFAULT_LIMITS, Limits, read_parquet, read_text
from icans.core.errors import DataError

_QUOTE, _COMMA, _LF, _CR = b'",\n\r'
#: Longest line that is parsed; a longer one is a missing line end or an unclosed quotation mark.
LONGEST_RECORD_BYTES = 4 * 2**20
#: The same for the header; our widest table needs some 300 bytes.
LONGEST_HEADER_BYTES = 64 * 2**10
#: Most columns of a table; our widest has 21, data sets for NONMEM have rarely more than a hundred.
MOST_COLUMNS = 1000


@dataclass(frozen=True)
class RawTable:
    """Cells as delivered: text for CSV, Arrow types for Parquet (``typed``).

    ``lines`` has one number per row: the line of the text file (its first line, header = 1), or the
    1-based row of a Parquet table.
    """

    file: str
    names: list[str]
    columns: list[Any]
    lines: npt.NDArray[np.int64]
    typed: bool

    def __len__(self) -> int:
        return len(self.lines)


def read_raw(path: Path, findings: Findings, limits: Limits = DEFAULT_LIMITS) -> RawTable | None:
    """A table file by its name (``.csv``, ``.csv.gz``, ``.parquet``); None when it has no readable structure.

    Problems go to ``findings``, under the file's name; nothing is raised for the content.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = read_parquet(path, limits)
            if table.num_columns <= MOST_COLUMNS:
                return _from_parquet(table, path.name)
            expected = f"at most {MOST_COLUMNS} columns"
            findings.add(path.name, expected, "Keep the columns of the schema.", value=str(table.num_columns))
            return None
        return parse_csv(read_text(path, limits), path.name, findings)
    except DataError as error:
        findings.extend(error.problems)
        return None


def _from_parquet(table: pa.Table, file: str) -> RawTable:
    lines = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return RawTable(file, list(table.column_names), list(table.columns), lines, typed=True)


def parse_csv(data: bytes, file: str, findings: Findings) -> RawTable | None:
    """CSV bytes (UTF-8, no byte order mark) as a table of text; None when the quotes or the header are broken."""
    layout = _Layout.of(data)
    if not _check_quotes(layout, file, findings):
        return None
    filled = np.flatnonzero(layout.lengths > 0)
    if not len(filled):
        findings.add(file, "a header line with column names", "The file has no lines.")
        return None
    if not _check_lengths(layout, filled, file, findings):
        return None
    header, body = filled[0], filled[1:]
    start, end = layout.starts[header], layout.starts[header] + layout.lengths[header]
    text = data[start:end].decode("utf-8")
    names = next(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len(names) == 1 and any(mark in text for mark in ";\t|"):
        findings.add(file, "cells separated by commas", "Export the table comma-separated.", row=1, value=text[:80])
        return None
    lines = layout.lines
    cells = layout.cells
    ragged = body[cells[body] != len(names)]
    findings.add_rows(
        file,
        None,
        "ragged",
        lines[ragged],
        [f"{n} cells" for n in cells[ragged[:1000]]],
        lambda _: (f"{len(names)} cells, as the header has", "Quote text that contains a comma; add missing commas."),
    )
    keep = body[cells[body] == len(names)]
    try:
        columns = _cells(data[end:], len(names)) if len(keep) else [pa.array([], pa.string())] * len(names)
    except pa.ArrowInvalid as error:
        findings.add(file, "a table that can be taken apart into cells", "Export it again.", value=str(error)[:200])
        return None
    return RawTable(file, names, columns, lines[keep], typed=False)


@dataclass(frozen=True)
class _Layout:
    """Where the records of a CSV text begin, how long they are, how many cells they hold."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    unclosed_line: int | None
    stray_lines: npt.NDArray[np.int64]

    @classmethod
    def of(cls, data: bytes) -> _Layout:
        """Find the cells of a text: quotes first, because they hide commas and line ends."""
        raw = np.frombuffer(data, dtype=np.uint8)
        quotes = np.flatnonzero(raw == _QUOTE)
        breaks = _line_ends(raw)
        commas = np.flatnonzero(raw == _COMMA)
        if len(quotes):
            ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
            commas = commas[np.searchsorted(quotes, commas) % 2 == 0]
        else:
            ends = breaks
        starts = np.concatenate([[0], ends + 1]).astype(np.int64)
        stops = np.concatenate([ends, [len(raw)]]).astype(np.int64)
        if starts[-1] == len(raw):
            starts, stops = starts[:-1], stops[:-1]
        crlf = (stops > starts) & (stops < len(raw)) & (_at(raw, stops) == _LF) & (_at(raw, stops - 1) == _CR)
        lengths = stops - starts - crlf
        lines = np.searchsorted(breaks, starts) + 1
        cells = np.bincount(np.searchsorted(stops, commas), minlength=len(starts))[: len(starts)] + 1
        unclosed = int(np.searchsorted(breaks, quotes[-1])) + 1 if len(quotes) % 2 else None
        stray = np.unique(np.searchsorted(breaks, _stray_quotes(raw, quotes)) + 1)
        return cls(starts, lengths, lines, cells, unclosed, stray)


def _line_ends(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where lines end: LF, or a CR that no LF follows."""
    returns = np.flatnonzero(raw == _CR)
    newlines = np.flatnonzero(raw == _LF)
    if not len(returns):
        return newlines
    lone = returns[_at(raw, returns + 1) != _LF]
    return np.sort(np.concatenate([newlines, lone]))


def _at(raw: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Bytes at places; a line feed outside the text."""
    if not len(raw):
        return np.full(len(places), _LF, dtype=np.uint8)
    inside = (places >= 0) & (places < len(raw))
    return np.where(inside, raw[np.clip(places, 0, len(raw) - 1)], _LF).astype(np.uint8)


def _stray_quotes(raw: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Quotation marks that neither begin nor end a cell nor stand doubled inside one."""
    if not len(quotes):
        return quotes
    marks = np.array([_QUOTE, _COMMA, _LF, _CR], dtype=np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    bad_open = opening[~np.isin(_at(raw, opening - 1), marks)]
    bad_close = closing[~np.isin(_at(raw, closing + 1), marks)]
    return np.sort(np.concatenate([bad_open, bad_close]))


def _check_quotes(layout: _Layout, file: str, findings: Findings) -> bool:
    remedy = "Put the whole cell in quotation marks and double those inside it."
    findings.add_rows(
        file, None, "quotes", layout.stray_lines, None, lambda _: ("quotation marks only around whole cells", remedy)
    )
    if layout.unclosed_line is not None:
        findings.add(file, "a closing quotation mark", remedy, row=layout.unclosed_line)
    return layout.unclosed_line is None and not len(layout.stray_lines)


def _check_lengths(layout: _Layout, filled: npt.NDArray[np.int64], file: str, findings: Findings) -> bool:
    header = filled[:1]
    limit = np.where(filled == header, LONGEST_HEADER_BYTES, LONGEST_RECORD_BYTES)
    long = filled[layout.lengths[filled] > limit]
    expected = (
        f"lines of at most {LONGEST_RECORD_BYTES // 2**20} MiB, a header of at most {LONGEST_HEADER_BYTES // 2**10} KiB"
    )
    remedy = "Check quotation marks and line ends."
    findings.add_rows(file, None, "long", layout.lines[long], None, lambda _: (expected, remedy))
    wide = layout.cells[header[0]] > MOST_COLUMNS
    if wide:
        findings.add(file, f"at most {MOST_COLUMNS} columns", remedy, row=1, value=str(layout.cells[header[0]]))
    return not len(long) and not wide


def _cells(body: bytes, width: int) -> list[Any]:
    """Columns of text of the records with the right number of cells; empty cells are null."""
    names = [str(i) for i in range(width)]
    table = pacsv.read_csv(
        io.BytesIO(body),
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=2 * LONGEST_RECORD_BYTES),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip"),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
            check_utf8=False,
        ),
    )
    return list(table.columns)
