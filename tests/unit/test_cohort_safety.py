"""Hostile and damaged files are refused with a problem; nothing is guessed."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icans.cohort.safety import (
    Limits,
    opened_folder,
    read_bytes,
    read_parquet,
    read_text,
    to_utf8,
    unpack_zip,
)
from icans.core.errors import DataError, UnsafeInputError

SMALL = Limits(file_bytes=10_000, expanded_bytes=100_000, ratio=50.0, ratio_from_bytes=10_000, members=5)


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "raw",
    [
        "né\n".encode(),
        b"\xef\xbb\xbf" + "né\n".encode(),
        "né\n".encode("utf-16"),
        b"\xfe\xff" + "né\n".encode("utf-16-be"),
    ],
)
def test_utf8_and_marked_utf16_are_read(tmp_path, raw):
    assert read_text(write(tmp_path / "a.csv", raw)).decode() == "né\n"


def test_latin1_is_named_by_row_and_byte(tmp_path):
    with pytest.raises(DataError) as caught:
        read_text(write(tmp_path / "a.csv", b"a,b\n1,2\n3,caf\xe9\n"))
    (problem,) = caught.value.problems
    assert problem.row == 3
    assert problem.value == "byte 13: 0xe9"
    assert "Latin-1" in problem.remedy


def test_mixed_encodings_are_told_apart(tmp_path):
    raw = "a\nné\n".encode() + b"n\xe9\n" + b"n\xe9\n"
    with pytest.raises(DataError) as caught:
        to_utf8(raw, "a.csv")
    assert [p.row for p in caught.value.problems] == [3, 4]
    assert "mixed" in caught.value.problems[0].remedy


def test_many_wrong_bytes_are_counted_not_all_listed():
    with pytest.raises(DataError) as caught:
        to_utf8(b"\xe9\n" * 3000, "a.csv")
    assert len(caught.value.problems) == 1001
    assert caught.value.problems[-1].value == "2000 more such places"


def test_nul_bytes_and_unmarked_utf16():
    with pytest.raises(DataError, match="NUL at byte 5"):
        to_utf8(b"a,b\n1\x00,2\n3,4\n", "a.csv")
    with pytest.raises(DataError, match="without a byte order mark"):
        to_utf8("abc,def\n".encode("utf-16-le"), "a.csv")
    with pytest.raises(DataError, match="UTF-32"):
        to_utf8("abc".encode("utf-32"), "a.csv")
    with pytest.raises(DataError, match="UTF-16 throughout"):
        to_utf8("abc".encode("utf-16")[:-1], "a.csv")


def test_gzip_bomb_is_refused_while_unpacking(tmp_path):
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"0" * 90_000))
    with pytest.raises(UnsafeInputError, match="bomb"):
        read_bytes(path, SMALL)
    path = write(tmp_path / "b.csv.gz", gzip.compress(os.urandom(5_000) * 30))
    with pytest.raises(UnsafeInputError, match="MiB"):
        read_bytes(path, Limits(expanded_bytes=100_000, ratio=1e9))


def test_small_repetitive_gzip_is_no_bomb(tmp_path):
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"0" * 9_000))
    assert len(read_bytes(path, SMALL)) == 9_000


@pytest.mark.parametrize("cut", [3, 15, -1, -6])
def test_truncated_gzip(tmp_path, cut):
    with pytest.raises(DataError, match="whole gzip file"):
        read_bytes(write(tmp_path / "a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:cut]))


def test_gzip_by_name_or_content_only(tmp_path):
    with pytest.raises(DataError, match="not gzip"):
        read_bytes(write(tmp_path / "a.csv.gz", b"a,b\n"))
    with pytest.raises(DataError, match=r"add \.gz"):
        read_bytes(write(tmp_path / "a.csv", gzip.compress(b"a,b\n")))


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_bytes(tmp_path / "absent.csv")
    with pytest.raises(UnsafeInputError, match="regular file"):
        read_bytes(tmp_path)
    with pytest.raises(DataError, match="empty"):
        read_bytes(write(tmp_path / "a.csv", b""))
    with pytest.raises(UnsafeInputError, match="at most"):
        read_bytes(write(tmp_path / "b.csv", b"x" * 20_000), SMALL)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UnsafeInputError, match="regular file"):
        read_bytes(tmp_path / "pipe.csv")


def test_truncated_and_foreign_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), path)
    assert read_parquet(path).num_rows == 2
    whole = path.read_bytes()
    for cut in (5, len(whole) // 2, len(whole) - 3):
        with pytest.raises(DataError):
            read_parquet(write(tmp_path / "cut.parquet", whole[:cut]))
    with pytest.raises(DataError):
        read_parquet(write(tmp_path / "text.parquet", b"a,b\n1,2\n"))


def test_parquet_bombs(tmp_path):
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": pa.array([0] * 1_000_000, pa.int64())}), rows)
    with pytest.raises(UnsafeInputError):
        read_parquet(rows, Limits(expanded_bytes=1_000_000))
    text = tmp_path / "text.parquet"
    pq.write_table(pa.table({"a": pa.array(["x" * 10_000] * 50_000).dictionary_encode()}), text)
    assert text.stat().st_size < 100_000
    with pytest.raises(UnsafeInputError, match="column 'a'"):
        read_parquet(text, Limits(expanded_bytes=10_000_000))
    cell = tmp_path / "cell.parquet"
    pq.write_table(pa.table({"a": ["x" * 200_000]}), cell)
    with pytest.raises(UnsafeInputError, match="one cell"):
        read_parquet(cell)


@pytest.mark.parametrize("name", ["../out.csv", "/etc/out.csv", "a/../../out.csv", "C:\\out.csv", "..\\out.csv"])
def test_archives_that_climb_out(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("patients.csv", "patient_id\nP1\n")
        archive.writestr(name, "x")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(UnsafeInputError, match="own folder"):
        unpack_zip(tmp_path / "a.zip", into)
    assert not list(into.iterdir())
    assert not (tmp_path / "out.csv").exists()


def test_archives_with_links_twins_and_bombs(tmp_path):
    into = tmp_path / "into"
    into.mkdir()
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("patients.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeInputError, match="not a link"):
        unpack_zip(path, into)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("A.csv", "x")
        archive.writestr("a.csv", "y")
    with pytest.raises(UnsafeInputError, match="occurs once"):
        unpack_zip(path, into)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "0" * 90_000)
    with pytest.raises(UnsafeInputError, match="bomb"):
        unpack_zip(path, into, SMALL)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.csv", "x")
    with pytest.raises(UnsafeInputError, match="at most 5"):
        unpack_zip(path, into, SMALL)


def test_damaged_and_encrypted_archives(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("patients.csv", "patient_id\n" + "P1\n" * 200)
    whole = bytearray(path.read_bytes())
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(DataError, match="whole zip"):
        unpack_zip(write(tmp_path / "cut.zip", bytes(whole[:-30])), into)
    at = whole.find(b"PK\x01\x02") + 8
    whole[at : at + 2] = struct.pack("<H", 1)
    with pytest.raises(UnsafeInputError, match="not encrypted"):
        unpack_zip(write(tmp_path / "locked.zip", bytes(whole)), into)


def test_opened_folder_gives_folders_and_archives(tmp_path):
    with opened_folder(tmp_path) as folder:
        assert folder == tmp_path
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("study/patients.csv", "patient_id\nP1\n")
    with opened_folder(tmp_path / "a.zip") as folder:
        assert (folder / "patients.csv").exists()
        kept = folder
    assert not kept.exists()
    for bad in ("absent", "a.tar"):
        with pytest.raises(DataError, match="folder of tables"), opened_folder(tmp_path / bad):
            pass
