"""A locked external set: its fingerprint is logged before it is opened, and it is opened once for each model.

The log is a file of lines (JSON), each with the SHA-256 of the line before it. :func:`lock` writes the fingerprint of
a cohort; :func:`open_once` gives leave to judge a model on it, and refuses a second time: the second look is no longer
an outside evaluation. As with the registry, publish the head to show that no line was cut off.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from icans.cohort import schema
from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.core.files import write_text
from icans.forecast.dataset import table_digest

START = "0" * 64


@dataclass(frozen=True)
class Line:
    """One line of the log: what was done, and its digest."""

    content: dict[str, Any]
    digest: str


def cohort_digest(cohort: Cohort) -> str:
    """SHA-256 of everything a cohort holds but its name and its list of changes."""
    return table_digest([cohort.table(name) for name in schema.TABLES if name != "changes"])


def read_log(path: Path | str) -> list[Line]:
    """The lines of a log, verified.

    Raises
    ------
    DataError
        A line was changed, removed or inserted.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines, previous = [], START
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            content = json.loads(raw)
            whole = content["previous"] == previous
        except (json.JSONDecodeError, KeyError, TypeError):
            content, whole = {}, False
        if not whole:
            problem = Problem(
                str(path), number, None, raw, "a line that follows the one before it", "See what changed."
            )
            raise DataError([problem])
        previous = hashlib.sha256(raw.encode()).hexdigest()
        lines.append(Line(content, previous))
    return lines


def lock(path: Path | str, cohort: Cohort, note: str = "", *, now: datetime | None = None) -> Line:
    """Log the fingerprint of an external cohort before any model is judged on it.

    Raises
    ------
    DataError
        The log is broken, or another cohort is locked in it.
    """
    digest = cohort_digest(cohort)
    locked = [line for line in read_log(path) if line.content["what"] == "lock"]
    if locked and locked[0].content["cohort"] != digest:
        raise DataError([_refusal(path, cohort.name, "the cohort that is locked here", "Use a log of its own.")])
    if locked:
        return locked[0]
    about = {"what": "lock", "cohort": digest, "name": cohort.name, "patients": len(cohort), "note": note}
    return _append(path, about, now)


def open_once(path: Path | str, cohort: Cohort, model_digest: str, *, now: datetime | None = None) -> Line:
    """Log that a model is about to be judged on the locked cohort.

    Raises
    ------
    DataError
        The cohort is not locked, is not the one that was locked, or this model has been judged on it before.
    """
    lines = read_log(path)
    locked = [line for line in lines if line.content["what"] == "lock"]
    digest = cohort_digest(cohort)
    if not locked:
        raise DataError([_refusal(path, cohort.name, "a locked cohort", "Lock it before any model is judged.")])
    if locked[0].content["cohort"] != digest:
        raise DataError([_refusal(path, cohort.name, "the cohort as it was locked", "It has been changed since.")])
    opened = [line for line in lines if line.content["what"] == "open"]
    if any(line.content["model"] == model_digest for line in opened):
        raise DataError([_refusal(path, model_digest, "a model not judged here before", "One look is all there is.")])
    looks = len({line.content["model"] for line in opened}) + 1
    return _append(path, {"what": "open", "cohort": digest, "model": model_digest, "look": looks}, now)


def _append(path: Path | str, about: dict[str, Any], now: datetime | None) -> Line:
    path = Path(path)
    lines = read_log(path)
    when = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    content = {"previous": lines[-1].digest if lines else START, "at": when, **about}
    raw = json.dumps(content, sort_keys=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + raw + "\n")
    return Line(content, hashlib.sha256(raw.encode()).hexdigest())


def _refusal(path: Path | str, value: str, expected: str, remedy: str) -> Problem:
    return Problem(str(path), None, None, value, expected, remedy)
