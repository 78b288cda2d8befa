"""Whatever is done to a folder: it loads as a valid cohort, or every problem is named. Nothing else, ever."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort_folders import TABLES, write_valid
from icans.cohort import cells, schema
from icans.cohort.check import check, check_cohort
from icans.cohort.cohort import make
from icans.cohort.csv_out import csv_bytes
from icans.cohort.findings import Findings
from icans.cohort.folder import read_folder, write_folder
from icans.cohort.rawtable import parse_csv
from icans.core.errors import DataError

TABLE = st.sampled_from(sorted(TABLES))
NASTY = st.sampled_from(
    ["", "NaN", "inf", "-inf", "NA", "12,5", "1e999", "=1+1", "@SUM(A1)", "'", "''", '"', '""', "\x00", "é", "\u202e",
     " ", "1.", ".5", "0x10", "1_000", "１２", "-0", "true", "2020-01-01", "a,b",
     "x\ny", "\r", "\ufeff", "P1", "P9", "none"]
)  # fmt: skip
CELL = st.one_of(NASTY, st.text(max_size=8), st.floats().map(str))


def change_rows(draw, rows: list[list[str]]) -> list[list[str]]:
    """One mutation of the cells."""
    row = draw(st.integers(0, len(rows) - 1))
    column = draw(st.integers(0, max(len(rows[row]) - 1, 0)))
    kind = draw(st.sampled_from(["cell", "cell", "header", "drop", "double", "shuffle", "cut row", "repeat", "column"]))
    changed = [list(r) for r in rows]
    if kind == "cell" and rows[row]:
        changed[row][column] = draw(CELL)
    if kind == "header" and rows[0]:
        changed[0][column % len(rows[0])] = draw(st.one_of(CELL, st.sampled_from(schema.MEASUREMENTS.names)))
    if kind == "cut row":
        changed[row] = rows[row][:column]
    whole = {
        "drop": lambda: [r[:column] + r[column + 1 :] for r in rows],
        "double": lambda: [r + r[column : column + 1] for r in rows],
        "shuffle": lambda: [rows[0], *draw(st.permutations(rows[1:]))],
        "repeat": lambda: [*rows, list(rows[row])],
        "column": lambda: [[*r, draw(CELL)] for r in rows],
    }
    return whole[kind]() if kind in whole else changed


def change_bytes(draw, data: bytes) -> bytes:
    """One mutation of the file, or none."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    byte = bytes([draw(st.integers(0, 255))])
    ways = {
        "none": data,
        "cut": data[:at],
        "byte": data[:at] + byte + data[at + 1 :],
        "latin": data + b"caf\xe9\n",
        "utf-16": data.decode("utf-8", errors="replace").encode("utf-16"),
        "crlf": data.replace(b"\n", b"\r\n"),
    }
    return ways[draw(st.sampled_from(["none", "none", *ways]))]


@st.composite
def mutated(draw) -> tuple[str, bytes]:
    """One table after one to three mutations of its text, and perhaps one of its bytes."""
    name = draw(TABLE)
    rows = [line.split(",") for line in TABLES[name].rstrip("\n").split("\n")]
    for _ in range(draw(st.integers(1, 3))):
        rows = change_rows(draw, rows)
    data = ("\n".join(",".join(r) for r in rows) + "\n").encode("utf-8", errors="surrogatepass")
    return name, change_bytes(draw, data)


def loads_or_tells(folder: Path) -> None:
    """The property itself."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    report = check(folder)
    for problem in report.problems:
        assert problem.file
        assert problem.expected
        assert problem.remedy
    report.text()
    report.as_dict()
    if report.ok:
        cohort = read_folder(folder)
        back = read_folder(write_folder(cohort, folder.parent / "out"))
        for name in (*schema.TABLES, "changes"):
            pd.testing.assert_frame_equal(cohort.table(name), back.table(name), check_exact=True)
    else:
        with pytest.raises(DataError) as caught:
            read_folder(folder)
        assert caught.value.problems == report.errors
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@settings(max_examples=20)
@given(st.lists(mutated(), min_size=1, max_size=2))
def test_mutated_folders_load_or_tell(changes):
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_valid(Path(scratch) / "study")
        for name in set(TABLES) - {"patients", *(name for name, _ in changes)}:
            (folder / f"{name}.csv").unlink()
        for name, data in changes:
            (folder / f"{name}.csv").write_bytes(data)
        loads_or_tells(folder)


@settings(max_examples=10)
@given(TABLE, st.sampled_from(["csv.gz", "parquet"]), st.data())
def test_damaged_packed_files_load_or_tell(name, format, data):
    with tempfile.TemporaryDirectory() as scratch:
        cohort = read_folder(write_valid(Path(scratch) / "valid"))
        folder = write_folder(cohort, Path(scratch) / "study", format=format)
        for other in set(TABLES) - {"patients", name}:
            (folder / f"{other}.{format}").unlink()
        path = folder / f"{name}.{format}"
        raw = bytearray(path.read_bytes())
        kind = data.draw(st.sampled_from(["cut", "bytes", "bomb"]))
        if kind == "cut":
            raw = raw[: data.draw(st.integers(0, len(raw)))]
        elif kind == "bytes":
            for _ in range(data.draw(st.integers(1, 4))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        elif format == "csv.gz":
            raw = bytearray(gzip.compress(b"0" * 50_000_000))
        path.write_bytes(bytes(raw))
        loads_or_tells(folder)


@given(st.lists(st.one_of(st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x00")), NASTY
                          .filter(lambda t: "\x00" not in t)), min_size=1, max_size=20))  # fmt: skip
def test_escaped_text_survives_csv_and_hides_formulas(texts):
    frame = pd.DataFrame({"a": pd.Series(texts, dtype=schema.TEXT), "b": pd.Series(range(len(texts)), dtype="Int64")})
    escaped = cells.escape(frame["a"])
    assert not cells.is_formula(escaped).any()
    assert cells.unescape(escaped).tolist() == texts
    findings = Findings()
    raw = parse_csv(csv_bytes(frame), "a.csv", findings)
    assert not findings.problems()
    read, bad = cells.as_text(raw.columns[0], typed=False)
    assert not bad.any()
    assert cells.unescape(read).tolist() == texts
    assert raw.columns[1].to_pylist() == [str(i) for i in range(len(texts))]


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=50))
def test_numbers_survive_csv_to_the_last_bit(values):
    frame = pd.DataFrame({"a": values, "b": 1.0})
    raw = parse_csv(csv_bytes(frame), "a.csv", Findings())
    read, bad = cells.as_numbers(raw.columns[0], typed=False)
    assert not bad.any()
    np.testing.assert_array_equal(read, np.array(values))
    np.testing.assert_array_equal(np.signbit(read[~np.isnan(read)]), np.signbit(np.array(values)[~np.isnan(read)]))


@given(st.lists(st.lists(st.text(alphabet='ab",\n\r ;', max_size=4), min_size=2, max_size=2), min_size=1, max_size=8))
def test_csv_structure_agrees_with_the_standard_library(rows):
    import csv
    import io

    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["x", "y"], *rows])
    findings = Findings()
    raw = parse_csv(sink.getvalue().encode(), "a.csv", findings)
    assert not findings.problems()
    assert [[cell or "" for cell in pair] for pair in zip(*(c.to_pylist() for c in raw.columns), strict=True)] == rows
    text = sink.getvalue()
    starts, line = [], 1
    reader = csv.reader(io.StringIO(text, newline=""))
    for record in reader:
        starts.append(line)
        line += 1 + sum(cell.count("\n") + cell.replace("\r\n", "\n").count("\r") for cell in record)
    assert raw.lines.tolist() == starts[1:]


@settings(max_examples=8)
@given(st.data())
def test_csv_and_parquet_hold_the_same_cohort(data):
    ids = data.draw(st.lists(st.text("ABCé-1", min_size=1, max_size=4).filter(lambda t: t.strip("-")), min_size=1,
                             max_size=5, unique=True))  # fmt: skip
    count = data.draw(st.integers(0, 12))
    number = st.floats(min_value=-1e4, max_value=1e4)
    batch = st.one_of(st.none(), st.text("a'=,\n", max_size=4))
    rows = pd.DataFrame(
        {
            "patient_id": data.draw(st.lists(st.sampled_from(ids), min_size=count, max_size=count)),
            "time_h": data.draw(st.lists(number, min_size=count, max_size=count)),
            "analyte": data.draw(st.lists(st.sampled_from(["crp", "il_6", "gcs"]), min_size=count, max_size=count)),
            "value": data.draw(st.lists(st.one_of(number, st.just(np.nan)), min_size=count, max_size=count)),
            "batch": data.draw(st.lists(batch, min_size=count, max_size=count)),
        }
    )
    cohort = make("x", {"patients": pd.DataFrame({"patient_id": ids}), "measurements": rows})
    scratch = Path(tempfile.mkdtemp())
    try:
        if not check_cohort(cohort).ok:
            return
        for format in ("csv", "parquet"):
            write_folder(cohort, scratch / format, format=format)
            back = read_folder(scratch / format)
            for name in (*schema.TABLES, "changes"):
                pd.testing.assert_frame_equal(cohort.table(name), back.table(name), check_exact=True)
    finally:
        shutil.rmtree(scratch)
