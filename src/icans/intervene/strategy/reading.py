"""Strategies from TOML: checked whole, every refusal with file, line and rule."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from icans.core.errors import ModelError, Problem
from icans.intervene.strategy import checks, shapes
from icans.intervene.strategy.conditions import GRADED, STALE_H, Condition, Fever, Forecast, GradeSeen, Result
from icans.intervene.strategy.lines import lines_of
from icans.intervene.strategy.rules import StrategyRule, Taper, from_mechanism
from icans.intervene.strategy.strategy import Strategy, is_hypothetical
from icans.mechanism.parameters import unknown
from icans.mechanism.regimens import Planned, Regimen, regimens

#: Name of the shipped file in refusals.
LIBRARY = "library.toml"
#: Where in a name the entry stands: "NAME, rule 2, dose 1, amount".
_PLACE = re.compile(r"^(?P<name>[^,]+)(?:, (?P<kind>rule|dose)s? (?P<number>\d+))?(?:.*?, (?P<key>\w+))?$")


@cache
def strategies() -> Mapping[str, Strategy]:
    """The strategies of the library, by name."""
    text = (resources.files(__package__) / LIBRARY).read_text(encoding="utf-8")
    return MappingProxyType(_read(text, LIBRARY, {}))


def strategy(name: str) -> Strategy:
    """One strategy of the library.

    Raises
    ------
    ModelError
        There is none of that name; the nearest are told.
    """
    if name not in strategies():
        raise ModelError([unknown("strategy", name, strategies())])
    return strategies()[name]


def read_strategies(path: str | Path) -> dict[str, Strategy]:
    """Strategies of a file in the form of ``library.toml``; they may include those of the library.

    Raises
    ------
    ModelError
        Everything that is wrong in the file, with line and rule.
    """
    return parse_strategies(Path(path).read_text(encoding="utf-8"), str(path))


def parse_strategies(text: str, file: str = "strategies", *, skip: tuple[str, ...] = ()) -> dict[str, Strategy]:
    """The same from text; tables named in ``skip`` are something else."""
    return _read(text, file, strategies(), skip)


def strategy_of(name: str, entry: Mapping[str, Any], known: Mapping[str, Strategy] | None = None) -> Strategy:
    """A strategy from a table.

    Raises
    ------
    ModelError
        Everything that is wrong with it.
    """
    made, found = _make(name, entry, strategies() if known is None else known)
    if found or made is None:
        raise ModelError(found)
    return made


def _read(text: str, file: str, known: Mapping[str, Strategy], skip: tuple[str, ...] = ()) -> dict[str, Strategy]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ModelError(
            [Problem(file, int(line.group(1)) if line else None, None, None, "TOML", str(error))]
        ) from error
    lines = lines_of(text)
    made: dict[str, Strategy] = {}
    found: list[Problem] = []
    for name, entry in table.items():
        if name in skip:
            continue
        one, problems = _make(name, entry, {**known, **made})
        found += [_located(p, file, lines) for p in problems]
        if one is not None:
            made[name] = one
    if found:
        raise ModelError(found)
    return made


def _located(problem: Problem, file: str, lines: Mapping[tuple[str, ...], int]) -> Problem:
    """The problem with file and line: of the entry, of the key, or of the table."""
    parts = _PLACE.match(problem.column or "")
    if parts is None:
        return replace(problem, file=file)
    name, kind, number, key = parts["name"], parts["kind"], parts["number"], parts["key"]
    paths: list[tuple[str, ...]] = [(name, f"{kind}s", str(number))] if kind else []
    paths += [(name, str(key)), (name, f"{kind}s"), (name,)]
    line = next((lines[p] for p in paths if p in lines), None)
    return replace(problem, file=file, row=line)


def _make(name: str, entry: Any, known: Mapping[str, Strategy]) -> tuple[Strategy | None, list[Problem]]:
    """The strategy, if nothing is wrong, and everything that is: also what rules of good form mean beside bad ones."""
    found = shapes.problems_of(name, entry, known)
    if not isinstance(entry, Mapping) or any(_of_all(p, name) for p in found):
        return None, found
    rules = [(k, r) for k, r in enumerate(entry.get("rules", ()), 1) if not _about(found, f"{name}, rule {k}")]
    doses = [d for k, d in enumerate(entry.get("doses", ()), 1) if not _about(found, f"{name}, dose {k}")]
    included = [_included(str(other), known) for other in entry.get("include", ())]
    inherited = [r for s in included for r in s.rules]
    numbers = [k for k, _ in rules] + [len(entry.get("rules", ())) + k for k in range(1, len(inherited) + 1)]
    made = Strategy(
        name, str(entry.get("label", name)),
        tuple(d for s in included for d in s.doses) + tuple(Planned(**d) for d in doses),
        tuple(_rule(r) for _, r in rules) + tuple(inherited),
        tuple((float(h), float(s)) for h, s in entry.get("cells", ())) or _first(s.cells for s in included),
        tuple(entry.get("products", ())), str(entry.get("needs", "")) or _first((s.needs for s in included), ""),
        bool(entry.get("hypothetical", False)) or any(s.hypothetical for s in included),
        str(entry.get("evidence", "")), str(entry["source"]), str(entry.get("status", "assumed")),
        tuple(map(str, entry.get("include", ()))),
    )  # fmt: skip
    if is_hypothetical(made.drugs):
        made = replace(made, hypothetical=True)
    found += [*checks.problems(made, numbers), *checks.product_problems(made)]
    found += [Problem("strategies", None, f"{name}, forbid", drug, "drugs that the strategy does not give",
                      "It forbids and gives the same drug: a contradiction. Remove one of the two.")
              for drug in sorted(set(entry.get("forbid", ())) & set(made.drugs))]  # fmt: skip
    return (None if found else made), found


def _of_all(problem: Problem, name: str) -> bool:
    """Whether a problem of form is not of a single rule or dose."""
    return not re.match(rf"{re.escape(name)}, (rule|dose) \d+", problem.column or "")


def _about(found: list[Problem], place: str) -> bool:
    return any(re.match(rf"{re.escape(place)}(,|$)", p.column or "") for p in found)


def _first(values: Iterable[Any], otherwise: Any = ()) -> Any:
    return next((v for v in values if v), otherwise)


def _included(name: str, known: Mapping[str, Strategy]) -> Strategy:
    return known[name] if name in known else from_regimen(regimens()[name])


def from_regimen(regimen: Regimen) -> Strategy:
    """A regimen of the patient model as a strategy.

    Raises
    ------
    ModelError
        It waits for a hidden quantity of the model.
    """
    try:
        rules = tuple(from_mechanism(rule) for rule in regimen.rules)
    except ValueError as error:
        remedy = "It waits for a hidden quantity of the model; wait for a result."
        expected = "rules on what is seen at the bedside"
        raise ModelError([Problem("strategies", None, regimen.name, str(error), expected, remedy)]) from error
    return Strategy(regimen.name, regimen.label, regimen.doses, rules, hypothetical=regimen.hypothetical,
                    evidence=regimen.evidence, source=regimen.source, status=regimen.status)  # fmt: skip


def _rule(entry: Mapping[str, Any]) -> StrategyRule:
    listed = entry.get("when", [entry])
    when = tuple(_condition(c) for c in (listed if isinstance(listed, list) else [listed]))
    lower = entry.get("taper")
    steps = None if lower is None else _taper(lower)
    return StrategyRule(
        when, tuple(Planned(**{"time_h": 0.0, **d}) for d in entry["give"]), float(entry.get("delay_h", 0.0)),
        float(entry.get("lockout_h", 0.0)), int(entry.get("most_times", 1)),
        bool(entry.get("sustained", entry.get("most_times", 1) > 1)),
        steps, float(entry.get("from_h", 0.0)), float(entry.get("until_h", math.inf)),
    )  # fmt: skip


def _taper(entry: Mapping[str, Any]) -> Taper:
    return Taper(tuple(map(float, entry["amounts"])), float(entry["every_h"]), int(entry["count"]))


def _condition(entry: Mapping[str, Any]) -> Condition:
    for toxicity in GRADED:
        if toxicity in entry:
            return GradeSeen(toxicity, int(entry[toxicity]))
    if "forecast" in entry:
        return Forecast(str(entry["forecast"]), int(entry["grade"]), float(entry["within_h"]), float(entry["above"]))
    if "fever" in entry:
        return Fever(float(entry["fever"]))
    return Result(str(entry["result"]), float(entry.get("above", math.nan)), float(entry.get("below", math.nan)),
                  float(entry.get("max_age_h", STALE_H)))  # fmt: skip
