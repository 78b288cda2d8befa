"""The tables of ``rules.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where a scheme's rules come from. ``basis``: read, checked (recalled, found alike elsewhere), recalled."""

    scheme: str
    basis: str
    cite: str

    @property
    def verified(self) -> bool:
        """False for rules written from memory only."""
        return self.basis != "recalled"


@cache
def rules() -> dict[str, Any]:
    """Every table, as read."""
    return tomllib.loads((resources.files(__package__) / "rules.toml").read_text(encoding="utf-8"))


@cache
def sources() -> dict[str, Source]:
    """Source of every scheme by name."""
    return {name: Source(name, **entry) for name, entry in rules()["sources"].items()}


@cache
def grades_of(*path: str) -> dict[str, float]:
    """A table of word to grade, e.g. ``grades_of("crs", "penn", "device")``."""
    table: Any = rules()
    for key in path:
        table = table[key]
    return {word: float(grade) for word, grade in table.items()}
