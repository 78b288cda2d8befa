"""The catalogue of public data sets: what each is, whose it is, under which licence, and its traps."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from icans.cohort.vocabulary import near

#: Host that serves the files of a public repository at a commit.
RAW_HOST = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One published file: path in its repository, SHA-256 (None: not known, so it cannot be checked), address."""

    path: str
    sha256: str | None
    url: str

    @property
    def name(self) -> str:
        """The file name without its folders."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One public data set.

    ``files`` are the files as published, ``converted`` the names of the tidy tables that a local copy may
    hold instead. ``folders`` are the folder names under ``ICANS_DATA`` that may hold either. ``by_hand`` says
    how to get the files where this package cannot fetch them.
    """

    name: str
    title: str
    citation: str
    doi: str
    licence: str
    non_commercial: bool
    repository: str
    commit: str
    row_is: str
    traps: tuple[str, ...]
    folders: tuple[str, ...]
    converted: tuple[str, ...]
    files: tuple[SourceFile, ...]
    by_hand: str = ""

    @property
    def source(self) -> str:
        """Where the files come from, in one line."""
        return f"{self.repository} @ {self.commit}" if self.commit else self.repository

    @property
    def reference(self) -> str:
        """Citation with DOI."""
        return f"{self.citation}, doi:{self.doi}" if self.doi else self.citation


@cache
def catalogue() -> dict[str, Dataset]:
    """Every public data set by name, as described in ``catalogue.toml``."""
    text = (resources.files(__package__) / "catalogue.toml").read_text(encoding="utf-8")
    return {name: _dataset(name, entry) for name, entry in tomllib.loads(text).items()}


def dataset(name: str) -> Dataset:
    """The data set called ``name``; KeyError with near misses when there is none."""
    try:
        return catalogue()[name]
    except KeyError:
        known = ", ".join(catalogue())
        raise KeyError(f"unknown data set {name!r}{near(name, catalogue())}; there are: {known}") from None


def describe(name: str) -> str:
    """A description for people: title, reference, licence, files and traps."""
    entry = dataset(name)
    licence = entry.licence + (", NOT for commercial use" if entry.non_commercial else "")
    lines = [f"{entry.name}: {entry.title}", f"  reference: {entry.reference}", f"  licence: {licence}"]
    lines += [f"  source: {entry.source}", f"  a row is: {entry.row_is}"]
    lines += [
        f"  file: {f.path} ({'sha256 ' + f.sha256[:12] + '…' if f.sha256 else 'no hash'})" for f in entry.files[:4]
    ]
    if len(entry.files) > 4:
        lines.append(f"  and {len(entry.files) - 4} more files")
    if entry.by_hand:
        lines.append(f"  by hand: {entry.by_hand}")
    lines += [f"  trap: {trap}" for trap in entry.traps]
    return "\n".join(lines)


def _dataset(name: str, entry: dict[str, Any]) -> Dataset:
    many = {key: tuple(entry[key]) for key in ("traps", "folders", "converted")}
    files = tuple(_files(entry))
    return Dataset(name=name, **{**entry, **many, "files": files})


def _files(entry: dict[str, Any]) -> list[SourceFile]:
    found = []
    for item in entry.get("files", []):
        first, last = item.get("range", (0, 0))
        paths = [item["path"].format(n) for n in range(first, last + 1)] if "range" in item else [item["path"]]
        for path in paths:
            address = f"{RAW_HOST}/{entry['repository']}/{entry['commit']}/{quote(path)}"
            found.append(SourceFile(path, item.get("sha256"), address))
    return found
