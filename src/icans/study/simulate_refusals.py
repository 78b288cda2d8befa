"""How the values of a scenario are refused: what was expected and the remedy, for every value that is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from icans.core.errors import Problem
from icans.mechanism.parameters import unknown


class RefusedError(ValueError):
    """A value that cannot be, with what was expected and the remedy."""

    def __init__(self, expected: str, remedy: str) -> None:
        super().__init__(expected)
        self.expected, self.remedy = expected, remedy


class ManyRefusedError(ValueError):
    """Several entries of one table that cannot be: (name, value, expected, remedy) each."""

    def __init__(self, entries: list[tuple[str, Any, str, str]]) -> None:
        super().__init__(f"{len(entries)} problems")
        self.entries = entries


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RefusedError("a number", "Write it without quotes.")
    if not math.isfinite(value):
        raise RefusedError("a finite number", "NaN and infinity are never guessed at: give the value.")
    return float(value)


Number = Annotated[float, BeforeValidator(_number)]


def name_of(kind: str, value: str, names: Iterable[str]) -> str:
    """``value`` if it is one of ``names``; else refused with the nearest."""
    known = sorted(names)
    if value not in known:
        near = unknown(kind, value, known).remedy
        expected = f"the name of a {kind}" if len(known) > 12 else f"the name of a {kind}: {', '.join(known)}"
        remedy = near if near.startswith("Did") else "Choose one; icans simulate --list shows them."
        raise RefusedError(expected, remedy)
    return value


def problems_of(file: str, line: Any, settings: Iterable[str]) -> list[Problem]:
    """Problems behind one line of a validation error; ``settings``: what a misspelt one may have meant."""
    where = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in line["loc"]) or None
    given, context = line["input"], line.get("ctx", {})
    value = None if line["type"] == "missing" or isinstance(given, (dict, list, tuple, BaseModel)) else repr(given)
    cause = context.get("error")
    if isinstance(cause, ManyRefusedError):
        return [
            Problem(file, None, f"{where}.{name}", repr(v), what, remedy) for name, v, what, remedy in cause.entries
        ]
    if isinstance(cause, RefusedError):
        return [Problem(file, None, where, value, cause.expected, cause.remedy)]
    if line["type"] == "missing":
        return [Problem(file, None, where, None, "a value", _MISSING.get(str(line["loc"][-1]), "Add it."))]
    if line["type"] == "extra_forbidden":
        return [
            Problem(
                file, None, where, value, "a known setting", "Remove it" + _suggestion(str(line["loc"][-1]), settings)
            )
        ]
    expected = _EXPECTED.get(line["type"], line["msg"][:1].lower() + line["msg"][1:]).format(**context)
    return [Problem(file, None, where, value, expected, "See the page on simulations of the documentation.")]


_EXPECTED = {
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "at least {min_length} entry",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "string_too_long": "text of at most {max_length} letters",
    "string_too_short": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}

_MISSING = {
    "unit": "Say what the amount is in, for example mg, mg/kg or 1e6 cells; no unit is guessed.",
    "amount": "Give what is administered.",
    "drug": "Name the drug; icans simulate --list shows them.",
}


def _suggestion(name: str, settings: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(settings), n=1)
    return f", or write {near[0]!r}." if near else "."
