"""The form of a strategy's table: keys, kinds of values, names. What a rule means is checked in :mod:`.checks`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from icans.core.errors import Problem
from icans.intervene.strategy.conditions import GRADED
from icans.mechanism import regimen_checks
from icans.mechanism.parameters import unknown
from icans.mechanism.regimens import regimens
from icans.mechanism.therapies import therapies

KEYS = {"label", "include", "doses", "rules", "cells", "products", "needs", "forbid", "hypothetical", "evidence",
        "source", "status"}  # fmt: skip
RULE_KEYS = {"when", "give", "delay_h", "lockout_h", "most_times", "sustained", "taper", "from_h", "until_h"}
#: What each kind of condition may say; the first is its name.
CONDITIONS = {
    **{name: {name} for name in GRADED}, "fever": {"fever"},
    "result": {"result", "above", "below", "max_age_h"},
    "forecast": {"forecast", "grade", "within_h", "above"},
}  # fmt: skip
WANTED = {"forecast": ("grade", "within_h", "above")}
TAPER_KEYS = {"amounts", "every_h", "count"}


def problems_of(name: str, entry: Any, known: Mapping[str, Any]) -> list[Problem]:
    """Every problem of form of a strategy's table."""
    if not isinstance(entry, Mapping):
        return [_problem(name, "", entry, "a table", "Write [name] and its keys below.")]
    found = [*_keys(name, entry, KEYS)]
    rules = entry.get("rules", [])
    plain = {k: entry[k] for k in ("label", "doses", "source", "status", "evidence") if k in entry}
    found += [replace(p, file="strategies") for p in regimen_checks.problems_of(name, plain)]
    for key in ("include", "products", "forbid", "cells"):
        if not isinstance(entry.get(key, []), list):
            found.append(_problem(name, key, entry[key], "a list", "Write [...]."))
    if isinstance(entry.get("include", []), list):
        found += [p for other in entry.get("include", []) for p in _include(name, other, known)]
    found += [_named(name, "forbid", unknown("drug", str(d), therapies()))
              for d in entry.get("forbid", ()) if d not in therapies()]  # fmt: skip
    found += _cells(name, entry.get("cells", []))
    if not isinstance(rules, list):
        return [*found, _problem(name, "rules", rules, "a list of tables", "Write [[name.rules]] or rules = [{...}].")]
    for number, rule in enumerate(rules, 1):
        found += _rule(f"{name}, rule {number}", rule)
    return found


def _include(name: str, other: Any, known: Mapping[str, Any]) -> Iterator[Problem]:
    if other in known:
        return
    if other not in regimens():
        yield _named(name, "include", unknown("strategy or regimen", str(other), [*known, *regimens()]))
    elif any(rule.watch not in ("crs", "icans") for rule in regimens()[other].rules):
        yield _problem(name, "include", other, "a regimen whose rules wait for what is seen at the bedside",
                       "It waits for a hidden quantity of the model; write a rule on the result.")  # fmt: skip


def _cells(name: str, cells: Any) -> Iterator[Problem]:
    for part in cells if isinstance(cells, list) else []:
        if not (isinstance(part, list) and len(part) == 2 and all(_number(v) for v in part)):
            yield _problem(name, "cells", part, "pairs of hour and share, such as [24, 0.3]", "Correct it.")


def _rule(place: str, rule: Any) -> Iterator[Problem]:
    if not isinstance(rule, Mapping):
        yield _problem(place, "", rule, "a table", "Say when it acts and what it gives.")
        return
    inline = set().union(*CONDITIONS.values()) | {"quantity"}
    yield from _keys(place, rule, RULE_KEYS | inline)
    if "when" in rule and set(rule) & inline:
        yield _problem(place, "when", ", ".join(sorted(set(rule) & inline)), "conditions either in `when` or beside it",
                       "Move them into `when`.")  # fmt: skip
    given = rule.get("when", [{k: rule[k] for k in rule if k in inline}])
    for condition in given if isinstance(given, list) else [given]:
        yield from _condition(place, condition)
    alike = ("delay_h", "lockout_h", "most_times", "sustained")
    like = {"crs": 1, "give": _from_zero(rule.get("give"))}
    like |= {k: rule[k] for k in alike if k in rule and not _negative(rule[k])}
    checked = regimen_checks.problems_of(place, {"rules": [like], "source": ""})
    yield from (replace(p, file="strategies", column=(p.column or "").replace(f"{place}, rule 1", place))
                for p in checked if "time_h" not in (p.column or "") or not _negative_text(p.value))  # fmt: skip
    for key in ("from_h", "until_h"):
        if key in rule and not _number(rule[key]):
            yield _problem(place, key, rule[key], "hours since the infusion", "Correct it.")
    yield from _taper(place, rule.get("taper"))


def _condition(place: str, one: Any) -> Iterator[Problem]:
    if not isinstance(one, Mapping):
        yield _problem(place, "when", one, "a table such as { icans = 2 }", "Correct it.")
        return
    if "quantity" in one:
        yield _problem(place, "when", one["quantity"], "a grade, a result, a forecast or fever",
                       "A quantity of the model is hidden and never available: wait for a result, as in "
                       "{ result = \"ferritin\", above = 5000 }.")  # fmt: skip
        return
    kinds = [k for k in CONDITIONS if k in one]
    if len(kinds) != 1:
        yield _problem(place, "when", ", ".join(kinds) or None, f"one of {', '.join(CONDITIONS)}",
                       "Without a condition the rule can never act; name one.")  # fmt: skip
        return
    kind = kinds[0]
    yield from _keys(place, one, CONDITIONS[kind])
    for key in WANTED.get(kind, ()):
        if key not in one:
            yield _problem(place, "when", None, f"a key {key!r}", "Add it.")
    for key, value in one.items():
        words = key in ("result", "forecast")
        if words != isinstance(value, str) or (not words and not _number(value)):
            yield _problem(place, "when", value, "text" if words else "a number", f"Correct {key!r}.")
        elif (key in GRADED or key == "grade") and not float(value).is_integer():
            yield _problem(place, "when", value, "a whole grade", "Correct it.")


def _taper(place: str, taper: Any) -> Iterator[Problem]:
    if taper is None:
        return
    good = isinstance(taper, Mapping) and set(taper) == TAPER_KEYS and isinstance(taper["amounts"], list)
    numbers = good and all(_number(v) and v > 0 for v in [*taper["amounts"], taper["every_h"], taper["count"]])
    if not numbers or not taper["amounts"]:
        yield _problem(place, "taper", taper, "{ amounts = [8, 4, 2], every_h = 12, count = 2 }", "Correct it.")
    elif any(b >= a for a, b in zip(taper["amounts"], taper["amounts"][1:])):
        yield _problem(place, "taper", taper["amounts"], "amounts that fall", "A taper goes down.")


def _from_zero(give: Any) -> Any:
    """Doses of a rule, at once where they say nothing of the time."""
    if not isinstance(give, list):
        return give
    return [{"time_h": 0.0, **d} if isinstance(d, Mapping) else d for d in give]


def _keys(place: str, entry: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    for key in sorted(set(entry) - known):
        yield _problem(place, key, entry[key], f"one of {', '.join(sorted(known))}", "Remove or rename the key.")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _negative(value: Any) -> bool:
    return _number(value) and value < 0


def _negative_text(value: str | None) -> bool:
    try:
        return float(value or "0") < 0
    except ValueError:
        return False


def _problem(place: str, column: str, value: Any, expected: str, remedy: str) -> Problem:
    where = f"{place}, {column}" if column else place
    return Problem("strategies", None, where, None if value is None else str(value), expected, remedy)


def _named(place: str, column: str, problem: Problem) -> Problem:
    return replace(problem, file="strategies", column=f"{place}, {column}")
