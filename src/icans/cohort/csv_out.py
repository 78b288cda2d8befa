"""Tables as CSV bytes: shortest exact numbers, quotes only where needed, formulas made harmless."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from icans.cohort.cells import escape


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """A frame of text, numbers, whole numbers and yes/no as UTF-8 CSV (RFC 4180, line feeds); missing is empty."""
    header = ",".join(_quoted(pa.array(list(frame.columns), pa.large_string())).to_pylist())
    columns = [_column(frame[name]) for name in frame.columns]
    if not len(frame):
        return (header + "\n").encode()
    lines = (
        columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, pa.scalar(",", pa.large_string()))
    )
    parts = [header, *lines.to_pylist(), ""]
    return "\n".join(parts).encode("utf-8")


def _column(values: pd.Series) -> pa.Array:
    if isinstance(values.dtype, pd.StringDtype):
        array = pa.array(escape(values.reset_index(drop=True)), from_pandas=True)
        return pc.fill_null(_quoted(_one(array).cast(pa.large_string())), "")
    array = _one(pa.array(values, from_pandas=True))
    if types.is_boolean(array.type):
        array = pc.if_else(array, "true", "false")
    return pc.fill_null(array.cast(pa.large_string()), "")


def _quoted(array: pa.Array) -> pa.Array:
    """Cells with a comma, a quotation mark or a line end in quotation marks."""
    needs = pc.match_substring_regex(array, '[,"\\n\\r]')
    doubled = pc.replace_substring(array, '"', '""')
    mark = pa.scalar('"', pa.large_string())
    wrapped = pc.binary_join_element_wise(mark, doubled, mark, pa.scalar("", pa.large_string()))
    return pc.if_else(needs, wrapped, array)


def _one(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
