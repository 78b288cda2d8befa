"""The prospective registry: forecasts sealed before their outcomes are known, and scored later.

A registry is a folder of numbered JSON files, one for each sealing. Every file holds the forecasts, when they were
sealed, up to which hour data were used, the digest of the model and of the data, and the SHA-256 of the file before
it; its own digest stands in its name. Whoever changes, removes, inserts or reorders a file breaks the chain, and
:func:`verify` says where. What a chain alone cannot show is that files were cut off its *end*, or that the whole
folder was written anew: publish :func:`head` somewhere else (a trial registry, a message with a date) and give it to
:func:`verify`. The clock is that of the computer that seals.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.provenance import package_version
from icans.forecast.forecast import Forecast

#: Name and version of the layout.
FORMAT = "icans-registry/1"
#: What the first file names as the digest of the one before it.
START = "0" * 64
#: Hexadecimal digits of a file's digest that stand in its name.
SHOWN = 16
#: Tries to find a free number when several programs seal at once.
TRIES = 50


@dataclass(frozen=True)
class Entry:
    """One sealing: its number (from 1), file, digest, and content."""

    number: int
    path: Path
    digest: str
    content: dict[str, Any]

    @property
    def forecasts(self) -> list[Forecast]:
        """The sealed forecasts."""
        return [Forecast.from_dict(value) for value in self.content["forecasts"]]


@dataclass(frozen=True)
class Verdict:
    """What a verification found: whether the registry is whole, its problems, entries and head."""

    problems: tuple[str, ...]
    entries: tuple[Entry, ...]
    head: str

    @property
    def intact(self) -> bool:
        """True when no problem was found."""
        return not self.problems

    def text(self) -> str:
        """For people."""
        count = sum(len(e.content["forecasts"]) for e in self.entries)
        if self.intact:
            some = f"{len(self.entries)} sealing{'' if len(self.entries) == 1 else 's'} with {count} forecasts"
            return f"{some}, unbroken; head {self.head}"
        return "The registry is broken:\n" + "\n".join(f"- {p}" for p in self.problems)


def seal(
    folder: Path | str,
    forecasts: Sequence[Forecast],
    *,
    model_digest: str,
    data_digest: str = "",
    note: str = "",
    now: datetime | None = None,
) -> Entry:
    """Append forecasts to a registry.

    Parameters
    ----------
    folder
        The registry; made when it is not there.
    forecasts
        At least one. Each carries its own data cut-off (``data_cutoff_h``).
    model_digest
        SHA-256 (or another fixed digest) of the model file that made them.
    data_digest
        Digest of the data that they were made from.
    note
        Free text, sealed with them (protocol number, reason).
    now
        Time of sealing with a time zone; default: now.

    Returns
    -------
    Entry
        The new entry; publish its ``digest`` to fix the registry up to here.

    Raises
    ------
    DataError
        Nothing to seal, no model digest, or the registry is already broken (nothing is appended to it).
    """
    folder = Path(folder)
    found = verify(folder)
    problems = [
        _problem(folder, None, "registry", p, "an unbroken registry", "Start a new one.") for p in found.problems
    ]
    if not forecasts:
        problems.append(_problem(folder, None, "forecasts", None, "at least one forecast", "Forecast first."))
    if not model_digest:
        problems.append(_problem(folder, None, "model_digest", None, "the digest of the model file", "Give it."))
    if problems:
        raise DataError(problems)
    when = (now or datetime.now(UTC)).astimezone(UTC)
    content: dict[str, Any] = {
        "format": FORMAT,
        "sealed_at": when.isoformat(timespec="seconds"),
        "program": package_version(),
        "model_digest": model_digest,
        "data_digest": data_digest,
        "note": note,
        "data_cutoff_h": max(f.data_cutoff_h for f in forecasts),
        "synthetic": any(f.synthetic for f in forecasts),
        "forecasts": [f.as_dict() for f in forecasts],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(TRIES):
        entries = _entries(folder)
        number, previous = (entries[-1].number + 1, entries[-1].digest) if entries else (1, START)
        written = _write(folder, number, {"number": number, "previous": previous, **content})
        if written is not None:
            return written
    raise DataError([_problem(folder, None, None, None, "a free number", "Other programs are sealing; try again.")])


def verify(folder: Path | str, *, head: str | None = None) -> Verdict:
    """Look for any change of a registry.

    Parameters
    ----------
    folder
        The registry; one that does not exist has no entries and no problems.
    head
        A digest that was published earlier: it must belong to an entry of the registry.
    """
    folder = Path(folder)
    problems: list[str] = []
    entries = _entries(folder, problems)
    previous, last_time = START, ""
    for place, entry in enumerate(entries, 1):
        if entry.number != place:
            problems.append(f"{entry.path.name}: number {place} expected; a file is missing, doubled or renamed")
        if entry.content.get("number") != entry.number:
            problems.append(f"{entry.path.name}: says inside that it is number {entry.content.get('number')}")
        if entry.content.get("previous") != previous:
            problems.append(f"{entry.path.name}: does not follow the file before it (digest {previous[:SHOWN]})")
        sealed = str(entry.content.get("sealed_at", ""))
        if sealed < last_time:
            problems.append(f"{entry.path.name}: sealed at {sealed}, before the file in front of it ({last_time})")
        previous, last_time = entry.digest, sealed
    if head is not None and head not in {entry.digest for entry in entries}:
        problems.append(f"no file has the published digest {head}: the end was cut off, or everything was written anew")
    return Verdict(tuple(problems), tuple(entries), entries[-1].digest if entries else START)


def head(folder: Path | str) -> str:
    """Digest of the newest entry: publish it elsewhere."""
    return verify(folder).head


def sealed_table(folder: Path | str) -> pd.DataFrame:
    """Every sealed forecast as a row: number, sealed_at, model_digest, and the forecast's own columns.

    Raises
    ------
    DataError
        The registry is broken.
    """
    found = verify(folder)
    if not found.intact:
        raise DataError(
            [_problem(folder, None, None, p, "an unbroken registry", "See what changed.") for p in found.problems]
        )
    rows = []
    for entry in found.entries:
        about = {k: entry.content[k] for k in ("sealed_at", "model_digest")}
        rows += [{"number": entry.number, **about, **{k: v for k, v in f.as_dict().items() if k != "reasons"}}
                 for f in entry.forecasts]  # fmt: skip
    return pd.DataFrame(rows)


def _entries(folder: Path, problems: list[str] | None = None) -> list[Entry]:
    """Entries by number; files that are none, and files whose content does not fit their name, are problems."""
    said = [] if problems is None else problems
    entries = []
    if not folder.is_dir():
        return []
    for path in sorted(folder.iterdir()):
        number, _, shown = path.stem.partition("-")
        if path.suffix != ".json" or not number.isdigit() or len(shown) != SHOWN:
            if not path.name.startswith("."):
                said.append(f"{path.name}: does not belong here")
            continue
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        if not digest.startswith(shown):
            said.append(f"{path.name}: its content is not what was sealed (digest {digest[:SHOWN]})")
        try:
            content = json.loads(raw)
            if content["format"] != FORMAT:
                said.append(f"{path.name}: format {content['format']!r}, not {FORMAT!r}")
            entries.append(Entry(int(number), path, digest, content))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            said.append(f"{path.name}: cannot be read as a sealing")
    return sorted(entries, key=lambda e: e.number)


def _write(folder: Path, number: int, content: dict[str, Any]) -> Entry | None:
    """A new file under that number, or None when the number was taken meanwhile. Half a file is never seen."""
    raw = (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    digest = hashlib.sha256(raw).hexdigest()
    claim = folder / f".{number:06d}.claim"
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return None
    try:
        if any(folder.glob(f"{number:06d}-*.json")):
            return None
        path = folder / f"{number:06d}-{digest[:SHOWN]}.json"
        temporary = folder / f".{number:06d}.writing"
        temporary.write_bytes(raw)
        temporary.chmod(0o444)  # a reminder, not a protection: the chain protects
        os.replace(temporary, path)
        return Entry(number, path, digest, content)
    finally:
        claim.unlink(missing_ok=True)


def _problem(
    folder: Path | str, row: int | None, column: str | None, value: str | None, expected: str, remedy: str
) -> Problem:
    return Problem(str(folder), row, column, value, expected, remedy)
