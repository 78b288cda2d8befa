"""Fetching the published files of a data set: checked against their SHA-256, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path, sha256, write_json
from icans.core.progress import track
from icans.datasets.registry import Dataset, SourceFile, dataset

#: Environment variable that replaces the cache folder.
CACHE_VARIABLE = "ICANS_CACHE"
#: Seconds without an answer after which a server is given up.
TIMEOUT_S = 60.0
#: Largest file that is taken, bytes: the largest of the catalogue is below 30 MB.
LARGEST_BYTES = 500 * 2**20
#: Size of one read, bytes.
BLOCK = 2**20
#: Name of the note that records the hashes of files that could not be checked.
UNVERIFIED = "unverified.json"


def cache_folder() -> Path:
    """Where fetched data sets live: ``ICANS_CACHE``, else the user's cache folder of this platform."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("icans") / "datasets"


def fetch(name: str | Dataset, folder: Path | str | None = None, *, unverified: bool = False) -> Path:
    """Fetch the files of a data set into the cache and return their folder.

    A file that is there and has the right hash is not fetched again. The licence is printed on stderr.

    Parameters
    ----------
    name
        Name in the catalogue (or an entry of it).
    folder
        Where to put the files; the cache without it.
    unverified
        Also fetch files whose hash the catalogue does not know; the hashes found are written beside them.

    Raises
    ------
    DataError
        The set can only be had by hand, a file cannot be had, or a file is not the one that the catalogue
        names. Files that arrived and are right stay; a wrong one is never put in place.
    """
    entry = name if isinstance(name, Dataset) else dataset(name)
    target = Path(folder) if folder is not None else cache_folder() / entry.name
    wanted = _wanted(entry, unverified)
    licence = entry.licence + (" (not for commercial use)" if entry.non_commercial else "")
    print(f"{entry.name}: {entry.reference}\n  licence: {licence}\n  to {target}", file=sys.stderr)
    problems: list[Problem] = []
    hashes: dict[str, str] = {}
    for file in track(wanted, f"fetch {entry.name}", total=len(wanted)):
        try:
            found = _one(file, target / file.name)
        except DataError as error:
            problems += error.problems
            continue
        if file.sha256 is None:
            hashes[file.name] = found
    if hashes:
        _note_unverified(target, hashes)
    if problems:
        raise DataError(problems)
    return target


def _wanted(entry: Dataset, unverified: bool) -> list[SourceFile]:
    if entry.by_hand:
        raise DataError([Problem(entry.source, None, None, None, "files that can be checked", entry.by_hand)])
    unchecked = [file for file in entry.files if file.sha256 is None]
    if unchecked and not unverified:
        text = f"{len(unchecked)} of {len(entry.files)} files have no hash in the catalogue"
        remedy = "Allow it with unverified=True; the hashes of what comes are then written beside the files."
        raise DataError([Problem(entry.source, None, None, text, "files that can be checked", remedy)])
    return list(entry.files)


def _one(file: SourceFile, path: Path) -> str:
    """Fetch one file unless it is there and right; its hash."""
    if path.is_file():
        present = sha256(path)
        if file.sha256 in (None, present):
            return present
    import urllib.error  # a tenth of a second with what they bring, which who fetches nothing need not wait for
    import urllib.request

    with atomic_path(path) as temporary:
        try:
            request = urllib.request.Request(file.url, headers={"User-Agent": "icans"})  # noqa: S310 - catalogue
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, open(temporary, "wb") as out:  # noqa: S310
                _copy(answer, out, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            remedy = "Check the network, or download by hand and give the folder."
            raise DataError([Problem(file.url, None, None, reason, "an answer", remedy)]) from error
        found = sha256(temporary)
        if file.sha256 is not None and found != file.sha256:
            remedy = "Nothing was kept. The file changed or was tampered with; do not use it."
            raise DataError([Problem(file.url, None, None, found, f"SHA-256 {file.sha256}", remedy)])
    return found


def _copy(answer: BinaryIO, out: BinaryIO, file: SourceFile) -> None:
    size = 0
    while block := answer.read(BLOCK):
        size += len(block)
        if size > LARGEST_BYTES:
            text = f"more than {LARGEST_BYTES} bytes"
            raise DataError([Problem(file.url, None, None, text, "a file of the catalogue", "Nothing was kept.")])
        out.write(block)


def _note_unverified(target: Path, hashes: dict[str, str]) -> None:
    path = target / UNVERIFIED
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    changed = sorted(name for name, value in hashes.items() if known.get(name, value) != value)
    if changed:
        raise DataError(
            [
                Problem(str(target / n), None, None, hashes[n], f"SHA-256 {known[n]} as first fetched", "Look into it.")
                for n in changed
            ]
        )
    write_json(path, {**known, **hashes})


def remove(name: str) -> bool:
    """Remove a data set from the cache; false when it was not there."""
    folder = cache_folder() / dataset(name).name
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True
