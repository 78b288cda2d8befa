"""The header of EDF and BDF files, checked before anything else reads them.

Layout after Kemp et al. 1992 (doi:10.1016/0013-4694(92)90009-7) and Kemp and Olivan 2003 (EDF+,
doi:10.1016/S1388-2457(03)00123-8). A header that lies about its length is believed less than the size of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag

_FIELDS = (("label", 16), ("transducer", 80), ("unit", 8), ("physical minimum", 8), ("physical maximum", 8),
           ("digital minimum", 8), ("digital maximum", 8), ("prefilter", 80), ("samples", 8),
           ("reserved", 32))  # fmt: skip
#: More signals than any EEG amplifier has: a header with more is not an EDF header.
MOST_SIGNALS = 2048


@dataclass(frozen=True)
class EdfHeader:
    """Labels, samples per data record and length of a file whose header makes sense."""

    labels: tuple[str, ...]
    samples: tuple[int, ...]
    record_s: float
    records: int
    flags: tuple[Flag, ...]

    def groups(self) -> list[list[str] | None]:
        """Labels of the signals of each sampling rate, the commonest first; ``[None]`` where there is one rate.

        Signals whose label stands under two rates cannot be told apart by label: then one group, too.
        """
        signals = [(label, n) for label, n in zip(self.labels, self.samples, strict=True) if not _annotation(label)]
        rates = sorted({n for _, n in signals}, key=lambda n: -sum(m == n for _, m in signals))
        groups: list[list[str] | None] = [[label for label, n in signals if n == rate] for rate in rates]
        names = [label for group in groups for label in set(group or ())]
        return groups if len(groups) > 1 and len(names) == len(set(names)) else [None]


def read(path: Path) -> EdfHeader:
    """Read and check the header.

    Raises
    ------
    DataError
        The header is broken or impossible; every problem is named at once.
    """
    problems: list[Problem] = []

    def wrong(column: str, value: str, expected: str, remedy: str = "Export the recording again.") -> None:
        problems.append(Problem(path.name, None, column, value, expected, remedy))

    size = path.stat().st_size
    with path.open("rb") as file:
        fixed = file.read(256)
        if len(fixed) < 256:
            wrong("header", f"{len(fixed)} bytes", "a header of at least 256 bytes")
            raise DataError(problems)
        bdf = fixed[0] == 0xFF
        if not bdf and fixed[:8].strip() != b"0":
            wrong("version", repr(fixed[:8]), "version 0 (EDF) or 255 BIOSEMI (BDF)")
            raise DataError(problems)
        record_s = _number(fixed[244:252])
        count = _number(fixed[252:256])
        records = _number(fixed[236:244])
        if count is None or not 1 <= count <= MOST_SIGNALS or count != int(count):
            wrong("number of signals", _text(fixed[252:256]), f"a whole number from 1 to {MOST_SIGNALS}")
            raise DataError(problems)
        if record_s is None or record_s <= 0:
            wrong("duration of a data record", _text(fixed[244:252]), "a duration above 0 s")
        body = file.read(256 * int(count))
    if len(body) < 256 * int(count):
        wrong("header", f"{256 + len(body)} bytes", f"{256 * (int(count) + 1)} bytes for {int(count)} signals")
        raise DataError(problems)
    columns = _columns(body, int(count))
    samples = _check_signals(columns, wrong)
    if problems:
        raise DataError(problems)
    flags, there = _length(size, int(count), samples, 3 if bdf else 2, records, record_s or 1.0, wrong)
    if problems:
        raise DataError(problems)
    if fixed[192:197] == b"EDF+D":
        text = "the recording has gaps (EDF+D); its pieces are read one after the other"
        flags.append(Flag("recording.gaps", "doubt", text))
    return EdfHeader(tuple(columns["label"]), tuple(samples), record_s or 1.0, there, tuple(flags))


def _columns(body: bytes, count: int) -> dict[str, list[str]]:
    columns, place = {}, 0
    for name, width in _FIELDS:
        columns[name] = [_text(body[place + i * width : place + (i + 1) * width]) for i in range(count)]
        place += width * count
    return columns


def _check_signals(columns: dict[str, list[str]], wrong: Wrong) -> list[int]:
    """Samples per record of each signal; what is impossible is reported."""
    samples = []
    for i, label in enumerate(columns["label"]):
        where = f"signal {i + 1} ({label})"
        number = _number(columns["samples"][i].encode())
        if number is None or number < 1 or number != int(number):
            wrong(f"samples of {where}", columns["samples"][i], "a whole number above 0 (the sampling rate)")
            number = 0
        samples.append(int(number))
        for kind in ("physical", "digital"):
            low, high = (_number(columns[f"{kind} {end}"][i].encode()) for end in ("minimum", "maximum"))
            if low is None or high is None or low == high or (kind == "digital" and low > high):
                found = f"{columns[f'{kind} minimum'][i]} to {columns[f'{kind} maximum'][i]}"
                wrong(f"{kind} range of {where}", found, "two different numbers, the digital ones rising")
    return samples


def _length(
    size: int, count: int, samples: list[int], width: int, records: float | None, record_s: float, wrong: Wrong
) -> tuple[list[Flag], int]:
    """Data records that are really there, and a flag where the header says otherwise."""
    bytes_a_record = sum(samples) * width
    there = (size - 256 * (count + 1)) // bytes_a_record
    if there < 1:
        wrong("data", f"{size} bytes", f"at least one data record of {bytes_a_record} bytes",
              "The file holds a header and no samples: fetch it again.")  # fmt: skip
        return [], 0
    if records is None or records < 0:
        text = f"the header does not say how long the recording is; {there * record_s:g} s are there"
        return [Flag("header.length", "note", text)], there
    if records > there:
        text = f"the header promises {records * record_s:g} s, the file holds {there * record_s:g} s"
        return [Flag("file.truncated", "doubt", text)], there
    if records < there:
        text = f"the header promises {records * record_s:g} s, the file holds {there * record_s:g} s, which are read"
        return [Flag("header.length", "doubt", text)], there
    return [], there


class Wrong(Protocol):
    """Type of the callback that takes a problem (column, value, expected, remedy)."""

    def __call__(self, column: str, value: str, expected: str, remedy: str = "") -> None:
        """Note one problem."""


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip().strip("\x00")


def _number(raw: bytes) -> float | None:
    try:
        return float(_text(raw))
    except ValueError:
        return None


def _annotation(label: str) -> bool:
    return label.upper().endswith(("EDF ANNOTATIONS", "BDF ANNOTATIONS"))
