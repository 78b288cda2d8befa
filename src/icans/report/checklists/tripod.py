"""The TRIPOD+AI items, filled from a run; what a program cannot answer is left to a person and says so."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

#: States of an item.
ANSWERED, PARTLY, PERSON, ABSENT = "answered", "partly", "for a person", "not in this run"


@cache
def items() -> tuple[dict[str, Any], ...]:
    """The items as written in :file:`tripod.toml`."""
    text = (resources.files("icans.report.checklists") / "tripod.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["item"])


def tripod_table(facts: Mapping[str, str]) -> pd.DataFrame:
    """One row for each item.

    Parameters
    ----------
    facts
        From :func:`icans.report.checklists.facts.facts`.

    Returns
    -------
    DataFrame
        item, topic, phase (D: development, E: evaluation), asks, in_this_run, status: ``answered``; ``partly`` (a
        person must add what the text says); ``for a person``; ``not in this run`` (a run can answer it, this one did
        not).
    """
    rows = []
    for item in items():
        named = item.get("facts", [])
        told = [facts[name] for name in named if name in facts]
        add = f" A person must add: {item['person']}." if "person" in item else ""
        if not named:
            status, text = PERSON, ""
        elif not told:
            status, text = ABSENT, add.strip()
        else:
            status, text = (PARTLY if add else ANSWERED), " ".join(told) + add
        rows.append(
            {"item": item["number"], "topic": item["topic"], "phase": item["phase"], "asks": item["ask"],
             "in_this_run": text, "status": status}
        )  # fmt: skip
    return pd.DataFrame(rows)
