"""Opening files from elsewhere without trusting them.

Every reader of the package opens its files through this module. It refuses what is too large, what unpacks
to far more than it is (gzip, zip and Parquet bombs), archives that write outside their folder, and files cut
short; it never guesses an encoding. Refusals are :class:`~icans.core.errors.UnsafeInputError` (hostile or
oversized) or :class:`~icans.core.errors.DataError` (damaged or in an unknown encoding), each with the place.
"""

from __future__ import annotations

import codecs
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from icans.core.errors import DataError, Problem, UnsafeInputError

KIB, MIB, GIB = 2**10, 2**20, 2**30

#: Bytes that begin a file of a kind.
GZIP_MAGIC, ZIP_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"

#: At most this many damaged places of one file are listed; the last line says how many more there are.
PLACES_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an input may be. The defaults leave room for some ten million rows of a table.

    ``file_bytes``
        Size on disk.
    ``expanded_bytes``
        Size after unpacking, all members of an archive together.
    ``ratio``
        Unpacked over packed size. Deflate can reach about 1030; tables of measurements stay below 100.
        Judged only beyond ``ratio_from_bytes``, because a small repetitive file harms nobody.
    ``members``
        Entries of an archive.
    ``cell_chars``
        Longest text of one cell; 32,767 is what spreadsheet programs keep.
    """

    file_bytes: int = 2 * GIB
    expanded_bytes: int = 4 * GIB
    ratio: float = 250.0
    ratio_from_bytes: int = 32 * MIB
    members: int = 10_000
    cell_chars: int = 32_767


DEFAULT_LIMITS = Limits()
_CHUNK = MIB


def read_bytes(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The content of a file, unpacked when its name ends in ``.gz``.

    Raises
    ------
    UnsafeInputError
        Not a regular file, too large, or a gzip bomb.
    DataError
        Missing, unreadable, cut short, or gzip by name or by content only.
    """
    path = Path(path)
    size = _regular_size(path, limits)
    named = path.suffix.lower() == ".gz"
    try:
        with open(path, "rb") as handle:
            is_gzip = handle.read(2) == GZIP_MAGIC
            handle.seek(0)
            if named != is_gzip:
                raise DataError([_gzip_mismatch(path, named)])
            return _gunzip(handle, path, size, limits) if is_gzip else handle.read()
    except OSError as error:
        raise DataError(
            [_problem(path, f"a readable file ({error.strerror})", "Check the file's permissions.")]
        ) from error


def read_text(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The content of a text file as UTF-8 bytes without a byte order mark.

    Accepted are UTF-8 with or without a mark, and UTF-16 with one. Anything else is a problem that names the
    row and the byte; no other encoding is ever guessed.
    """
    return to_utf8(read_bytes(path, limits), Path(path).name)


def to_utf8(data: bytes, file: str) -> bytes:
    """``data`` as UTF-8 without a byte order mark; see :func:`read_text`."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise DataError([_problem(file, "UTF-8", "Save the file as UTF-8; it is UTF-32.")])
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = _from_utf16(data, file)
    elif data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    problems = _nul_problems(data, file) or _encoding_problems(data, file)
    if problems:
        raise DataError(problems)
    return data


def read_parquet(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Any:
    """A Parquet file as a :class:`pyarrow.Table`, text columns dictionary-encoded.

    The sizes that the file states are checked before anything is unpacked, and the text that dictionary
    entries would make is checked before it is made.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    size = _regular_size(path, limits)
    try:
        with open(path, "rb") as handle, pq.ParquetFile(handle) as parquet:
            _check_stated_size(parquet.metadata, size, path, limits)
            arrow = parquet.schema_arrow
            text = [field.name for field in arrow if _is_text(field.type)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError([_damaged(path, "Parquet", error)]) from error
    try:
        with open(path, "rb") as handle, pq.ParquetFile(handle, read_dictionary=text) as parquet:
            table = parquet.read(use_threads=False)
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        raise DataError([_damaged(path, "Parquet", error)]) from error
    _check_text_size(table, path, limits)
    return table


def unpack_zip(path: Path | str, into: Path, limits: Limits = DEFAULT_LIMITS) -> list[Path]:
    """Unpack an archive into a folder that exists, and return the files that were written.

    Every name is checked before the first byte is written: absolute names, ``..``, drive letters, links,
    encrypted members and names that occur twice (also in another case) are refused, all of them at once.
    """
    path = Path(path)
    size = _regular_size(path, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path, limits)
            return _extract(archive, members, path, into, size, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise DataError([_damaged(path, "zip", error)]) from error


@contextmanager
def opened_folder(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Iterator[Path]:
    """A folder as it is; a ``.zip`` unpacked into a temporary folder that is removed at the end.

    When everything in the archive lies in one folder, that folder is given.
    """
    path = Path(path)
    if path.is_dir():
        yield path
        return
    if path.suffix.lower() != ".zip":
        found = "nothing there" if not path.exists() else "a file"
        raise DataError(
            [Problem(str(path), None, None, found, "a folder of tables, or a .zip of one", "Check the path.")]
        )
    with tempfile.TemporaryDirectory(prefix="icans-") as name:
        folder = Path(name)
        unpack_zip(path, folder, limits)
        inner = [p for p in folder.iterdir() if p.name != "__MACOSX"]
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _regular_size(path: Path, limits: Limits) -> int:
    try:
        state = path.stat()
    except OSError as error:
        raise DataError([_problem(path, f"a readable file ({error.strerror})", "Check the path.")]) from error
    except ValueError as error:  # a NUL in the path
        raise UnsafeInputError([_problem(repr(str(path)), "a path", "Check the path.")]) from error
    if not stat.S_ISREG(state.st_mode):
        raise UnsafeInputError([_problem(path, "a regular file", "Folders, devices and pipes are not read as files.")])
    if state.st_size > limits.file_bytes:
        raise UnsafeInputError([_too_large(path, state.st_size, limits.file_bytes)])
    if state.st_size == 0:
        raise DataError([_problem(path, "content", "The file is empty (0 bytes); deliver it again.")])
    return state.st_size


def _gunzip(handle: IO[bytes], path: Path, size: int, limits: Limits) -> bytes:
    import gzip

    parts: list[bytes] = []
    total = 0
    try:
        with gzip.GzipFile(fileobj=handle) as unpacked:
            while chunk := unpacked.read(_CHUNK):
                total += len(chunk)
                _check_growth(total, size, path, limits)
                parts.append(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError([_damaged(path, "gzip", error)]) from error
    return b"".join(parts)


def _check_growth(total: int, packed: int, path: Path, limits: Limits) -> None:
    if total > limits.expanded_bytes:
        raise UnsafeInputError([_too_large(path, total, limits.expanded_bytes, "unpacked: at least ")])
    if total > limits.ratio_from_bytes and total > limits.ratio * packed:
        raise UnsafeInputError(
            [
                _problem(
                    path,
                    f"at most {limits.ratio:g} times its packed size",
                    "It unpacks like a bomb. If it is genuine, deliver it unpacked or as Parquet.",
                    f"more than {total / packed:.0f} times",
                )
            ]
        )


def _from_utf16(data: bytes, file: str) -> bytes:
    try:
        return data.decode("utf-16").encode("utf-8")
    except UnicodeError as error:
        start = getattr(error, "start", None)
        where = "" if start is None else f" from byte {start} on"
        raise DataError([_problem(file, f"UTF-16 throughout{where}", "Save the file as UTF-8.")]) from error


def _nul_problems(data: bytes, file: str) -> list[Problem]:
    count = data.count(0)
    if not count:
        return []
    if count > len(data) // 4:
        remedy = "It looks like UTF-16 without a byte order mark, or is no text at all. Save it as UTF-8."
        return [Problem(file, None, None, f"{count} NUL bytes", "UTF-8 text", remedy)]
    places = [match.start() for match in _first(re.finditer(b"\x00+", data), PLACES_LISTED)]
    rows = _line_numbers(data, places)
    problems = [
        Problem(file, row, None, f"NUL at byte {place}", "text without NUL bytes", "Remove it; the export is damaged.")
        for place, row in zip(places, rows, strict=True)
    ]
    return problems


def _encoding_problems(data: bytes, file: str) -> list[Problem]:
    try:
        data.decode("utf-8")
        return []
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", errors="surrogateescape")
    wrong = re.compile("[\udc80-\udcff]+")
    mixed = re.search("[\u0080-\ud7ff\ue000-\U0010ffff]", text) is not None
    hint = (
        "Rows of different encodings seem to be mixed: export the table again as UTF-8."
        if mixed
        else "It may be Latin-1 or Windows-1252, which is not guessed: save the file as UTF-8."
    )
    found = list(_first(wrong.finditer(text), PLACES_LISTED + 1))
    problems: list[Problem] = []
    row, done, place = 1, 0, 0
    for match in found[:PLACES_LISTED]:
        between = text[done : match.start()]
        row += between.count("\n")
        place += len(between.encode("utf-8", errors="surrogateescape"))
        done = match.start()
        raw = match.group().encode("utf-8", errors="surrogateescape")
        problems.append(Problem(file, row, None, f"byte {place}: 0x{raw[:8].hex()}", "UTF-8 text", hint))
    if len(found) > PLACES_LISTED:
        more = len(wrong.findall(text)) - PLACES_LISTED
        problems.append(Problem(file, None, None, f"{more} more such places", "UTF-8 text", hint))
    return problems


def _first(items: Iterator[Any], count: int) -> Iterator[Any]:
    for _, item in zip(range(count), items):
        yield item


def _line_numbers(data: bytes, places: list[int]) -> list[int]:
    rows, row, done = [], 1, 0
    for place in places:
        row += data.count(b"\n", done, place)
        done = place
        rows.append(row)
    return rows


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _check_stated_size(metadata: Any, size: int, path: Path, limits: Limits) -> None:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    stated = sum(group.total_byte_size for group in groups)
    # A repeated value packs to almost nothing in Parquet: what it becomes in memory counts, 8 bytes a cell.
    in_memory = metadata.num_rows * metadata.num_columns * 8
    for total in (stated, in_memory):
        if total > limits.expanded_bytes:
            raise UnsafeInputError([_too_large(path, total, limits.expanded_bytes, "unpacked: ")])
    _check_growth(stated, size, path, limits)


def _check_text_size(table: Any, path: Path, limits: Limits) -> None:
    import pyarrow.compute as pc
    import pyarrow.types as types

    for name, column in zip(table.column_names, table.columns, strict=True):
        if not types.is_dictionary(column.type):
            continue
        total = 0
        for chunk in column.chunks:
            lengths = pc.binary_length(chunk.dictionary)
            longest = pc.max(lengths).as_py() or 0
            if longest > 4 * limits.cell_chars:  # UTF-8: at most four bytes a character
                short = f"text of at most {limits.cell_chars} characters"
                problem = Problem(path.name, None, name, f"{longest} bytes in one cell", short, "Shorten or remove it.")
                raise UnsafeInputError([problem])
            total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        if total > limits.expanded_bytes:
            raise UnsafeInputError([_too_large(path, total, limits.expanded_bytes, f"column {name!r} unpacked: ")])


def _check_members(members: list[zipfile.ZipInfo], path: Path, limits: Limits) -> None:
    if len(members) > limits.members:
        problem = _problem(path, f"at most {limits.members} members", "Deliver a smaller archive.", str(len(members)))
        raise UnsafeInputError([problem])
    problems: list[Problem] = []
    seen: set[str] = set()
    for member in members:
        fault = _member_fault(member, seen)
        seen.add(member.filename.lower())
        if fault:
            remedy = "Make the archive again from a plain folder of tables."
            problems.append(Problem(path.name, None, None, member.filename, fault, remedy))
    if problems:
        raise UnsafeInputError(problems)


def _member_fault(member: zipfile.ZipInfo, seen: set[str]) -> str | None:
    name = member.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\x00" in name:
        return "a name inside the archive's own folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a file, not a link"
    if member.flag_bits & 0x1:
        return "a member that is not encrypted"
    if name.lower() in seen:
        return "a name that occurs once (upper and lower case taken as one)"
    return None


def _extract(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], path: Path, into: Path, size: int, limits: Limits
) -> list[Path]:
    written: list[Path] = []
    total = 0
    for member in members:
        if member.is_dir():
            continue
        target = into / PurePosixPath(member.filename.replace("\\", "/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, open(target, "xb") as sink:
            while chunk := source.read(_CHUNK):
                total += len(chunk)
                _check_growth(total, size, path, limits)
                sink.write(chunk)
        written.append(target)
    return written


def _gzip_mismatch(path: Path, named: bool) -> Problem:
    if named:
        return _problem(path, "gzip content", "Its name ends in .gz but it is not gzip: rename it or pack it.")
    return _problem(path, "plain content", "It is packed with gzip: add .gz to its name.")


def _damaged(path: Path, kind: str, error: BaseException) -> Problem:
    detail = str(error).strip().split("\n")[0][:200] or type(error).__name__
    return _problem(path, f"a whole {kind} file", "It is cut short or damaged: deliver it again.", detail)


def _too_large(path: Path, size: int, limit: int, label: str = "") -> Problem:
    remedy = "Split the table, or raise the limit when the source is trusted."
    return _problem(path, f"at most {limit / MIB:,.0f} MiB", remedy, f"{label}{size / MIB:,.0f} MiB")


def _problem(path: Path | str, expected: str, remedy: str, value: str | None = None) -> Problem:
    name = path.name if isinstance(path, Path) else path
    return Problem(name, None, None, value, expected, remedy)
