"""What can be wrong with a regimen's table, all of it at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from icans.core.errors import Problem
from icans.mechanism.parameters import STATUSES, unknown
from icans.mechanism.therapies import therapies

#: Grades of CRS and ICANS that a rule may wait for.
GRADES = (1, 2, 3, 4)
UNITS = ("mg", "g", "ug", "mg/kg", "mg/m2")
KEYS = {"label", "doses", "rules", "hypothetical", "evidence", "source", "status"}
DOSE_KEYS = {"time_h", "drug", "amount", "unit", "most_mg", "route", "duration_h", "every_h", "count"}
RULE_KEYS = {"crs", "icans", "quantity", "above", "below", "give", "delay_h", "lockout_h", "most_times", "sustained"}


def problems_of(name: str, entry: Mapping[str, Any]) -> list[Problem]:
    """Every problem of a regimen's table."""
    if not isinstance(entry, Mapping):
        return [Problem("regimens", None, name, repr(entry), "a table", "Give label, doses, rules, source, status.")]
    found = list(_unknown_keys(name, entry, KEYS))
    if not isinstance(entry.get("label", ""), str):
        found.append(_problem(name, "label", entry["label"], "text", "Name the regimen."))
    if entry.get("status", "assumed") not in STATUSES:
        found.append(_problem(name, "status", entry["status"], f"one of {STATUSES}", "Choose one."))
    if "source" not in entry:
        found.append(_problem(name, "source", None, "a source", "Say where the regimen comes from."))
    for key, one, of in (("doses", "dose", _dose), ("rules", "rule", _rule)):
        given = entry.get(key, [])
        if not isinstance(given, list):
            found.append(_problem(name, key, given, "a list of tables", "Write [[...]] or [{...}, {...}]."))
            continue
        for number, item in enumerate(given, 1):
            found += of(f"{name}, {one} {number}", item)
    return found


def _dose(place: str, dose: Mapping[str, Any], *, relative: bool = False) -> Iterator[Problem]:
    if not isinstance(dose, Mapping):
        yield _problem(place, None, dose, "a table", "Give time_h, drug, amount, unit.")
        return
    yield from _unknown_keys(place, dose, DOSE_KEYS)
    for key in ("time_h", "drug", "amount", "unit"):
        if key not in dose:
            yield _problem(place, key, None, f"a key {key!r}", "Add it.")
    drug = dose.get("drug")
    if drug is not None and drug not in therapies():
        yield replace(unknown("drug", str(drug), therapies()), file="regimens", column=f"{place}, drug")
    elif drug is not None and dose.get("route", "iv") not in therapies()[drug].routes:
        routes = ", ".join(therapies()[drug].routes)
        yield _problem(place, "route", dose.get("route", "iv"), f"a route that {drug} has: {routes}", "Choose one.")
    if "unit" in dose and dose["unit"] not in UNITS:
        yield _problem(place, "unit", dose["unit"], f"one of {', '.join(UNITS)}", "Choose one.")
    yield from _number(place, dose, "time_h", least=0.0 if relative else -math.inf)
    for key in ("amount", "duration_h"):
        yield from _number(place, dose, key, least=0.0)
    for key in ("most_mg", "every_h"):
        yield from _number(place, dose, key, above=0.0)
    yield from _count(place, dose, "count")
    if dose.get("count", 1) != 1 and "every_h" not in dose:
        yield _problem(place, "every_h", None, "hours between doses where count is above 1", "Add it.")


def _rule(place: str, rule: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(rule, Mapping):
        yield _problem(place, None, rule, "a table", "Give what is watched and what is given.")
        return
    yield from _unknown_keys(place, rule, RULE_KEYS)
    watched = [k for k in ("crs", "icans", "quantity") if k in rule]
    if len(watched) != 1:
        yield _problem(place, None, ", ".join(watched) or None, "one of crs, icans, quantity", "Say what is watched.")
    for key in ("crs", "icans"):
        if key in rule and rule[key] not in GRADES:
            yield _problem(place, key, rule[key], f"a grade, one of {GRADES}", "Correct it.")
    if "quantity" in rule and ("above" in rule) == ("below" in rule):
        yield _problem(place, "above", None, "either above or below", "Give one level.")
    for key in ("above", "below"):
        yield from _number(place, rule, key, least=-math.inf)
    for key in ("delay_h", "lockout_h"):
        yield from _number(place, rule, key, least=0.0)
    yield from _count(place, rule, "most_times")
    if not isinstance(rule.get("sustained", False), bool):
        yield _problem(place, "sustained", rule["sustained"], "true or false", "Correct it.")
    if rule.get("most_times", 1) != 1 and not rule.get("lockout_h", 0.0):
        yield _problem(place, "lockout_h", rule.get("lockout_h"), "hours between two times", "Give them.")
    if not rule.get("give"):
        yield _problem(place, "give", None, "at least one dose", "Say what is given.")
    for number, dose in enumerate(rule.get("give", ()), 1):
        yield from _dose(f"{place}, dose {number}", dose, relative=True)


def _unknown_keys(place: str, entry: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    for key in sorted(entry.keys() - known):
        yield _problem(place, key, entry[key], f"one of {', '.join(sorted(known))}", "Remove or rename the key.")


def _number(
    place: str, entry: Mapping[str, Any], key: str, *, least: float = -math.inf, above: float = -math.inf
) -> Iterator[Problem]:  # fmt: skip
    if key not in entry:
        return
    value = entry[key]
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < least or value <= above:
        bound = (
            f" of at least {least:g}" if math.isfinite(least) else f" above {above:g}" if math.isfinite(above) else ""
        )
        yield _problem(place, key, value, f"a number{bound}", "Correct it.")


def _count(place: str, entry: Mapping[str, Any], key: str) -> Iterator[Problem]:
    value = entry.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        yield _problem(place, key, value, "a whole number of at least 1", "Correct it.")


def _problem(place: str, column: str | None, value: object, expected: str, remedy: str) -> Problem:
    where = place if column is None else f"{place}, {column}"
    return Problem("regimens", None, where, None if value is None else str(value), expected, remedy)
