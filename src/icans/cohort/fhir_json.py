"""JSON from strangers: read whole or refused, with the file and the JSON path of everything that is wrong.

Python's reader takes NaN, keeps the last of duplicate keys, makes infinity of 1e999 and recurses on nesting; none of
that is wanted of clinical data. Sizes and depths are bounded, so that no file can take the machine down.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icans.core.errors import DataError, Problem, UnsafeInputError

#: Bounds on one file, far above any bundle met in practice (a FHIR export page is a few MB; resources nest below 20).
MAX_BYTES = 256 * 2**20
MAX_DEPTH = 64
MAX_STRING = 2**20
MAX_DIGITS = 18
MAX_PROBLEMS = 200


@dataclass(frozen=True, slots=True)
class _Bad:
    """A literal that JSON or FHIR does not allow, until its path is known."""

    value: str
    expected: str


class _Repeated(dict):
    """An object in which a key stands twice."""

    repeated: str = ""


def load(path: Path) -> Any:
    """The JSON value of a file (plain or gzip).

    Raises
    ------
    UnsafeInputError
        Too large, too deep, a string or a number beyond all reason.
    DataError
        Not JSON, not UTF-8, a key twice, NaN.
    """
    text = _decoded(path)
    try:
        value = json.loads(
            text, parse_float=_float, parse_int=_int, parse_constant=_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise UnsafeInputError([_problem(path, "$", None, f"at most {MAX_DEPTH} levels of nesting", "")]) from None
    except json.JSONDecodeError as error:
        raise DataError(
            [Problem(path.name, error.lineno, None, None, f"JSON ({error.msg}, character {error.colno})",
                     "Export the bundle again as JSON.")]
        ) from None  # fmt: skip
    _inspect(path, value)
    return value


def _decoded(path: Path) -> str:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError([_problem(path, "$", None, f"a gzip file ({error})", "Compress the bundle again.")]) from None
    if len(raw) > MAX_BYTES:
        remedy = "Split the export into several bundles in one folder."
        raise UnsafeInputError([_problem(path, "$", None, f"at most {MAX_BYTES // 2**20} MB of JSON", remedy)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError([_problem(path, "$", None, f"UTF-8 text ({error.reason} at byte {error.start})", "")]) from None


def _float(text: str) -> object:
    value = float(text) if len(text) < 400 else math.inf
    return value if math.isfinite(value) else _Bad(text[:40], "a number that a computer can hold")


def _int(text: str) -> object:
    return int(text) if len(text.lstrip("-")) <= MAX_DIGITS else _Bad(text[:40], f"at most {MAX_DIGITS} digits")


def _constant(text: str) -> object:
    return _Bad(text, "a number (JSON knows no NaN and no infinity)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    marked = _Repeated(plain)
    marked.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def walk(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Every value below ``value`` with its JSON path and depth, without recursion."""
    stack: list[tuple[str, Any, int]] = [("$", value, 0)]
    while stack:
        path, item, depth = stack.pop()
        yield path, item, depth
        if depth > MAX_DEPTH:
            continue
        if isinstance(item, dict):
            stack.extend((f"{path}.{key[:80]}", child, depth + 1) for key, child in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((f"{path}[{i}]", item[i], depth + 1) for i in range(len(item) - 1, -1, -1))


def _inspect(file: Path, value: Any) -> None:
    """Refuse what the parser let through marked, deep or long."""
    wrong: list[Problem] = []
    unsafe: list[Problem] = []
    for path, item, depth in walk(value):
        if isinstance(item, _Bad):
            wrong.append(_problem(file, path, item.value, item.expected, "Correct the number, or leave it out."))
        elif isinstance(item, _Repeated):
            wrong.append(_problem(file, path, item.repeated[:80], "each key once", "Keep one of the two."))
        elif depth > MAX_DEPTH:
            unsafe.append(_problem(file, path, None, f"at most {MAX_DEPTH} levels of nesting", ""))
        elif isinstance(item, str) and len(item) > MAX_STRING:
            unsafe.append(
                _problem(file, path, f"{len(item)} characters", f"at most {MAX_STRING}", "Remove attachments.")
            )
        if len(wrong) + len(unsafe) >= MAX_PROBLEMS:
            break
    if unsafe:
        raise UnsafeInputError([*unsafe, *wrong])
    if wrong:
        raise DataError(wrong)


def _problem(file: Path, path: str, value: str | None, expected: str, remedy: str) -> Problem:
    return Problem(file.name, None, path, value, expected, remedy)
