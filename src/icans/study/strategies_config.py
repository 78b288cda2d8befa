"""The file of a comparison of strategies (TOML): what is compared, on whom, what else is asked."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from icans.core.errors import ConfigError, ModelError, Problem
from icans.intervene.compare.running import Group
from icans.intervene.compare.value import LATENCIES_H, THRESHOLDS
from icans.intervene.strategy.checks import product_problems
from icans.intervene.strategy.lines import lines_of
from icans.intervene.strategy.reading import parse_strategies, strategies
from icans.intervene.strategy.results import results
from icans.intervene.strategy.strategy import Strategy
from icans.mechanism.parameters import STATUSES, unknown
from icans.population.covariates import diseases
from icans.population.products import products

#: Tables of the file that are no strategies, and their keys.
TABLES: Mapping[str, tuple[str, ...]] = {
    "comparison": ("name", "question", "reference", "strategies", "seed"),
    "groups": ("product", "disease", "patients"),
    "latency": ("strategy", "hours", "patients"),
    "decision": ("treat", "results", "at_h", "grade", "hours", "patients"),
    "sensitivity": ("strategies", "factor", "patients", "statuses"),
}
MOST_PATIENTS = 200_000


@dataclass(frozen=True)
class Comparison:
    """A comparison, checked.

    ``latency``: strategy whose results are made slower, hours, patients. ``decision``: what is given to those at risk,
    results, hour, grade, latencies, patients. ``sensitivity``: strategies, factor, patients, statuses.
    """

    name: str
    question: str
    reference: str
    strategies: Mapping[str, Strategy]
    groups: tuple[Group, ...]
    seed: int
    latency: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] = field(default_factory=dict)
    sensitivity: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def patients(self) -> int:
        """Patients in all groups."""
        return sum(g.n for g in self.groups)


def read_comparison(path: Path) -> Comparison:
    """Read a file.

    Raises
    ------
    ConfigError
        Everything that is wrong in it, with lines.
    FileNotFoundError
        There is none.
    """
    return parse_comparison(path.read_text(encoding="utf-8"), str(path))


def parse_comparison(text: str, file: str = "comparison") -> Comparison:
    """The same from text."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(file, None, None, None, "TOML", str(error))]) from error
    found: list[Problem] = []
    own: dict[str, Strategy] = {}
    try:
        own = parse_strategies(text, file, skip=tuple(TABLES))
    except ModelError as error:
        found += error.problems
    named = set(table) - set(TABLES)
    found += _problems(table, named)
    if found:
        lines = lines_of(text)
        raise ConfigError([_located(p, file, lines) for p in found])
    made = _made(table, {**strategies(), **own}, text)
    wrong = [p for s in made.strategies.values() for p in product_problems(s, [g.product for g in made.groups])]
    if wrong:
        lines = lines_of(text)
        raise ConfigError([_located(p, file, lines) for p in dict.fromkeys(wrong)])
    return made


def comparison_of(
    names: Sequence[str], *, product: str = "axi-cel", disease: str = "LBCL", patients: int = 500, seed: int = 20240201
) -> Comparison:  # fmt: skip
    """A comparison of strategies of the library, without a file; the first is the reference.

    Raises
    ------
    ConfigError
        Unknown names, product or disease, or too few patients.
    """
    quoted = ", ".join(f'"{n}"' for n in names)
    return parse_comparison(
        f'[comparison]\nreference = "{names[0] if names else ""}"\nstrategies = [{quoted}]\nseed = {seed}\n'
        f'[[groups]]\nproduct = "{product}"\ndisease = "{disease}"\npatients = {patients}\n', "options",
    )  # fmt: skip


def _made(table: Mapping[str, Any], known: Mapping[str, Strategy], text: str) -> Comparison:
    head = table["comparison"]
    names = list(dict.fromkeys([head["reference"], *head["strategies"]]))
    listed = [g for g in table.get("groups", [{}])]
    groups = tuple(Group(g.get("product", "axi-cel"), g.get("disease", "LBCL"), int(g.get("patients", 1000)))
                   for g in listed)  # fmt: skip
    extra: dict[str, dict[str, Any]] = {}
    for key in ("latency", "decision", "sensitivity"):
        extra[key] = dict(table[key]) if key in table else {}
    for key, one in (("latency", "strategy"), ("decision", "treat")):
        if extra[key]:
            extra[key][one] = known[extra[key][one]]
            extra[key].setdefault("hours", list(LATENCIES_H) if key == "latency" else [0.0, 24.0, 72.0])
    if extra["sensitivity"]:
        extra["sensitivity"]["strategies"] = [known[n] for n in extra["sensitivity"]["strategies"]]
    return Comparison(
        str(head.get("name", "strategies")), str(head.get("question", "")), head["reference"],
        {n: known[n] for n in names}, groups, int(head.get("seed", 20240201)), extra["latency"], extra["decision"],
        extra["sensitivity"], text,
    )  # fmt: skip


def _problems(table: Mapping[str, Any], own: set[str]) -> list[Problem]:
    found: list[Problem] = []
    known = {*strategies(), *own}
    head = table.get("comparison")
    if not isinstance(head, Mapping):
        return [_problem("comparison", "", None, "a table [comparison]", "Add it: reference and strategies.")]
    for name in (n for n in TABLES if n in table):
        for entry in table[name] if isinstance(table[name], list) else [table[name]]:
            found += [_problem(name, k, entry[k], f"one of {', '.join(TABLES[name])}", "Remove or rename the key.")
                      for k in entry if k not in TABLES[name]]  # fmt: skip
    names = head.get("strategies")
    if not isinstance(names, list) or not names:
        found.append(_problem("comparison", "strategies", names, "a list of names", "Name what is compared."))
        names = []
    if "reference" not in head:
        found.append(_problem("comparison", "reference", None, "a strategy", "Name what others are compared with."))
    found += _names("comparison", "strategies", names, known)
    found += _names("comparison", "reference", [head["reference"]] if "reference" in head else [], known)
    seed = head.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        found.append(_problem("comparison", "seed", seed, "a whole number of at least 0", "Correct it."))
    groups = table.get("groups", [{}])
    for number, group in enumerate(groups if isinstance(groups, list) else [groups], 1):
        found += _group(number, group)
    found += _more(table, known)
    return found


def _group(number: int, group: Mapping[str, Any]) -> list[Problem]:
    found = []
    for key, kind, there in (("product", "product", products()), ("disease", "disease", diseases())):
        if key in group and group[key] not in there:
            nearest = unknown(kind, str(group[key]), there)
            found.append(replace(nearest, file="comparison", column=f"groups, {number}, {key}"))
    n = group.get("patients", 1000)
    if not isinstance(n, int) or isinstance(n, bool) or not 2 <= n <= MOST_PATIENTS:
        found.append(_problem(f"groups, {number}", "patients", n, f"a whole number from 2 to {MOST_PATIENTS}",
                              "A comparison needs patients; correct the number."))  # fmt: skip
    return found


def _more(table: Mapping[str, Any], known: set[str]) -> list[Problem]:
    found: list[Problem] = []
    for key, one in (("latency", "strategy"), ("decision", "treat")):
        entry = table.get(key)
        if not isinstance(entry, Mapping):
            continue
        if one not in entry:
            found.append(_problem(key, one, None, "a strategy", "Name it."))
        found += _names(key, one, [entry[one]] if one in entry else [], known)
        hours = entry.get("hours", [0.0])
        if not isinstance(hours, list) or not hours or not all(_number(h) and 0 <= h <= 240 for h in hours):
            found.append(_problem(key, "hours", hours, "hours from 0 to 240", "Correct them."))
    decision = table.get("decision", {})
    if decision and not decision.get("results"):
        found.append(_problem("decision", "results", None, "a list of results", "Name what the risk is read from."))
    found += [replace(unknown("result", str(r), results()), file="comparison", column="decision, results")
              for r in decision.get("results", ()) if r not in results() or not results()[r].analyte]  # fmt: skip
    moved = table.get("sensitivity", {})
    if moved:
        found += _names("sensitivity", "strategies", moved.get("strategies", []), known)
        if not moved.get("strategies"):
            found.append(_problem("sensitivity", "strategies", None, "a list of strategies", "Name them."))
        if not _number(moved.get("factor", 2.0)) or not 1 < moved.get("factor", 2.0) <= 100:
            found.append(_problem("sensitivity", "factor", moved.get("factor"), "a factor above 1", "Correct it."))
        found += [_problem("sensitivity", "statuses", s, f"of {', '.join(STATUSES)}", "Correct it.")
                  for s in moved.get("statuses", ()) if s not in STATUSES]  # fmt: skip
    return found


def _names(table: str, key: str, names: Sequence[Any], known: set[str]) -> list[Problem]:
    return [replace(unknown("strategy", str(n), known), file="comparison", column=f"{table}, {key}")
            for n in names if n not in known]  # fmt: skip


def _located(problem: Problem, file: str, lines: Mapping[tuple[str, ...], int]) -> Problem:
    if problem.row is not None:
        return problem
    parts = tuple(p.strip() for p in (problem.column or "").split(","))
    paths = [parts[:k] for k in range(len(parts), 0, -1)]
    return replace(problem, file=file, row=next((lines[p] for p in paths if p in lines), None))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _problem(table: str, key: str, value: Any, expected: str, remedy: str) -> Problem:
    place = f"{table}, {key}" if key else table
    return Problem("comparison", None, place, None if value is None else str(value), expected, remedy)


__all__ = ["THRESHOLDS", "Comparison", "comparison_of", "parse_comparison", "read_comparison"]
