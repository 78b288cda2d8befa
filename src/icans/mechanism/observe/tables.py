"""The tables ``items.toml`` (cuts of the bedside findings) and ``schemes.toml`` (what each finding is worth)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Item:
    """One bedside finding.

    Attributes
    ----------
    latent
        Name of the quantity that tells it, a field of :class:`icans.mechanism.observe.daily.Latent`.
    words, cuts
        ``words[k]`` is found where k cuts are at or below the latent quantity.
    spread
        SD between patients: of ln(latent), or of the latent quantity itself if ``shift``.
    background
        Part of patients who show it for another reason.
    """

    name: str
    latent: str
    words: tuple[str, ...]
    cuts: Array
    spread: float = 0.0
    shift: bool = False
    background: float = 0.0


@dataclass(frozen=True)
class Cuts:
    """Everything of ``items.toml``.

    Attributes
    ----------
    common_spread
        SD between patients of ln severity that all neurological items share.
    seizure_words, seizure_first
        Kinds of seizure by rising grade, and how often the first is of the second, third and fourth kind.
    background_days, moderate, severe
        How long a background symptom lasts, and how often it is moderate or severe.
    """

    items: Mapping[str, Item]
    common_spread: float
    seizure_words: tuple[str, ...]
    seizure_first: tuple[float, ...]
    background_days: int
    moderate: float
    severe: float
    changed: Mapping[str, float] = field(default_factory=dict)


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files(__package__) / name).read_text(encoding="utf-8"))


@cache
def read_cuts() -> Cuts:
    """``items.toml``.

    Raises
    ------
    ModelError
        Cuts that do not ascend, or that do not fit the words; all of them.
    """
    raw = _read("items.toml")
    made, problems = {}, []
    for name, entry in raw["items"].items():
        cuts, words = np.array(entry["cuts"], dtype=float), tuple(entry["words"])
        if np.any(np.diff(cuts) <= 0) or len(words) != len(cuts) + 1:
            problems.append(Problem("items.toml", None, name, str(cuts.tolist()),
                                    "ascending cuts, one fewer than words", "Correct the entry."))  # fmt: skip
        made[name] = Item(name, entry["latent"], words, cuts, float(entry["spread"]), entry.get("scale") == "shift",
                          float(entry.get("background", 0.0)))  # fmt: skip
    if problems:
        raise ModelError(problems)
    fits, rest = raw["seizure"], raw["background"]
    return Cuts(made, float(raw["common"]["spread"]), tuple(fits["words"]), tuple(fits["first"]), int(rest["days"]),
                float(rest["moderate"]), float(rest["severe"]))  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """What each word of each item is worth; ``entry``: an item without which nothing counts before it first occurs."""

    toxicity: str
    name: str
    worth: Mapping[str, Mapping[str, int]]
    entry: str | None
    status: str
    source: str


@cache
def read_schemes() -> dict[tuple[str, str], Scheme]:
    """``schemes.toml``, by toxicity and name."""
    raw = _read("schemes.toml")
    found: dict[tuple[str, str], Scheme] = {}
    for toxicity, group in raw.items():
        for name, entry in group.items():
            whole = {**group.get(entry.get("extends", ""), {}), **entry}
            worth = {item: dict(table) for item, table in whole.items() if isinstance(table, dict)}
            found[toxicity, name] = Scheme(toxicity, name, worth, whole.get("entry"), entry["status"], entry["source"])
    return found
