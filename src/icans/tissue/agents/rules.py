"""Rules: one line says which signal raises or lowers which behaviour of which cell, how far, and half-way where.

The meaning is PhysiCell's (Johnson et al. 2025, DOI 10.1016/j.cell.2025.06.048; recalled): with the Hill sums
``u = sum (s/half)^n`` over the rules that raise a behaviour and ``d`` over those that lower it,
``value = base + (most - base) u/(1+u)`` and then ``value + (least - value) d/(1+d)``, where ``most`` and ``least`` are
the values at saturation of the last rule of their kind. A dead cell does nothing but push, stick, and what rules for
the dead say.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.tissue.agents.kernel import kernel
from icans.tissue.agents.kinds import may_be_negative
from icans.tissue.agents.names import ADHESION, REACH, REPULSION, Names, nearest

COLUMNS = ("cell", "signal", "direction", "behaviour", "saturation", "half_max", "hill", "dead", "shape")


@dataclass(frozen=True)
class Rule:
    """``cell``: ``signal`` ``direction`` ("increases" or "decreases") ``behaviour`` toward ``saturation``.

    ``half_max`` is in the unit of the signal, ``saturation`` in that of the behaviour. ``dead``: also in dead cells.
    ``shape`` "linear" makes a ramp instead: from nothing to all as the signal rises over a width of ``hill`` around
    ``half_max``.
    """

    cell: str
    signal: str
    direction: str
    behaviour: str
    saturation: float
    half_max: float
    hill: float = 4.0
    dead: bool = False
    shape: str = "hill"

    def __str__(self) -> str:
        if self.shape == "linear":
            low, high = self.half_max - self.hill / 2, self.half_max + self.hill / 2
            return (
                f"In {self.cell} cells, {self.signal} {self.direction} {self.behaviour} toward {self.saturation:g}, "
                f"in a straight line from {low:g} to {high:g}."
            )
        return (
            f"In {self.cell} cells, {self.signal} {self.direction} {self.behaviour} toward {self.saturation:g} "
            f"with a Hill response, with half-max {self.half_max:g} and Hill power {self.hill:g}."
        )


@dataclass(frozen=True)
class Compiled:
    """Rules as arrays, sorted by cell and behaviour: ``index`` (rules, 6) and ``number`` (rules, 3)."""

    index: npt.NDArray[np.int64]
    number: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]  # (kinds + 1,): where the rules of a kind begin


def compile_rules(rules: Sequence[Rule], names: Names, file: str = "rules") -> Compiled:
    """The rules as arrays.

    Raises
    ------
    ModelError
        An unknown cell, signal or behaviour, a direction that is neither, numbers out of range; all at once.
    """
    problems = [problem for row, rule in enumerate(rules, 1) for problem in _problems(rule, row, names, file)]
    if problems:
        raise ModelError(problems)
    rows = [
        (names.kinds.index(r.cell), names.behaviour(r.behaviour) or 0, int(r.direction == "decreases"),
         names.signals[r.signal], int(r.dead), int(r.shape == "linear"), r.saturation, r.half_max, r.hill)
        for r in rules
    ]  # fmt: skip
    rows.sort(key=lambda row: row[:3])
    index = np.array([row[:6] for row in rows], np.int64).reshape(-1, 6)
    number = np.array([row[6:] for row in rows], float).reshape(-1, 3)
    first = np.searchsorted(index[:, 0], np.arange(len(names.kinds) + 1))
    return Compiled(index, number, first)


def _problems(rule: Rule, row: int, names: Names, file: str) -> list[Problem]:
    found = []
    if rule.cell not in names.kinds:
        known = {name: 0 for name in names.kinds}
        found.append(Problem(file, row, "cell", rule.cell, "a kind of cell of this model", nearest(rule.cell, known)))
    if rule.signal not in names.signals:
        found.append(Problem(file, row, "signal", rule.signal, "a known signal", nearest(rule.signal, names.signals)))
    if names.behaviour(rule.behaviour) is None:
        remedy = nearest(rule.behaviour, names.behaviours)
        found.append(Problem(file, row, "behaviour", rule.behaviour, "a known behaviour", remedy))
    if rule.direction not in ("increases", "decreases"):
        found.append(Problem(file, row, "direction", rule.direction, "increases or decreases", "Write one of them."))
    if not (np.isfinite(rule.half_max) and rule.half_max > 0):
        found.append(Problem(file, row, "half_max", str(rule.half_max), "a number above 0", "Give the half-way level."))
    if not (np.isfinite(rule.hill) and rule.hill > 0):
        found.append(Problem(file, row, "hill", str(rule.hill), "a number above 0", "1 is a plain saturation."))
    if rule.shape not in ("hill", "linear"):
        found.append(Problem(file, row, "shape", rule.shape, "hill or linear", "Leave it out for hill."))
    if not np.isfinite(rule.saturation) or (rule.saturation < 0 and not may_be_negative(rule.behaviour)):
        found.append(Problem(file, row, "saturation", str(rule.saturation), "a rate not below 0", "0 switches it off."))
    return found


def read_rules(file: Path) -> list[Rule]:
    """Rules from a CSV file: ours (with a header) or PhysiCell's (eight columns without a header, version 3).

    Raises
    ------
    ModelError
        A line with another number of fields, or text where a number belongs; all at once.
    """
    with open(file, newline="", encoding="utf-8") as handle:
        lines = [(i, [cell.strip() for cell in row]) for i, row in enumerate(csv.reader(handle), 1)]
    lines = [(i, row) for i, row in lines if any(row) and not row[0].startswith(("//", "#"))]
    if lines and lines[0][1][0] == COLUMNS[0]:
        header = lines[0][1]
        tables = [(i, dict(zip(header, row))) for i, row in lines[1:]]
    else:
        tables = [(i, dict(zip(COLUMNS, row)) if len(row) in (8, 9) else {}) for i, row in lines]
    return rules_from(tables, str(file))


def rules_from(tables: Sequence[tuple[int, Mapping[str, Any]]], file: str) -> list[Rule]:
    """Rules from tables of text or numbers, each with its line (or place) in the file."""
    rules, problems = [], []
    for row, table in tables:
        missing = [name for name in COLUMNS[:6] if name not in table]
        if missing:
            expected = ", ".join(COLUMNS)
            problems.append(Problem(file, row, missing[0], None, f"the columns {expected}", "Complete the line."))
            continue
        try:
            rule = Rule(
                str(table["cell"]), str(table["signal"]), str(table["direction"]), str(table["behaviour"]),
                float(table["saturation"]), float(table["half_max"]), float(table.get("hill", 4.0)),
                str(table.get("dead", "0")).lower() in ("1", "1.0", "true"),
                str(table.get("shape") or "hill"),
            )  # fmt: skip
        except ValueError as error:
            problems.append(Problem(file, row, None, str(error), "numbers in the last columns", "Correct the line."))
        else:
            rules.append(rule)
    if problems:
        raise ModelError(problems)
    return rules


@kernel
def apply_rules(
    lo: int,
    hi: int,
    kind: Any,
    state: Any,
    signal: Any,
    base: Any,
    scaled: Any,
    trait: Any,
    index: Any,
    number: Any,
    first: Any,
    behaviour: Any,
) -> None:
    """Write the behaviours of cells lo … hi-1 from their signals (signals, cells) into (behaviours, room)."""
    for i in range(lo, hi):
        k = kind[i]
        for b in range(base.shape[1]):
            lives = state[i] == 0 or b in (ADHESION, REPULSION, REACH)
            behaviour[b, i] = base[k, b] if lives else 0.0

        r = first[k]
        while r < first[k + 1]:
            b, down = index[r, 1], index[r, 2]
            total, saturation = 0.0, behaviour[b, i]
            while r < first[k + 1] and index[r, 1] == b and index[r, 2] == down:
                if state[i] == 0 or index[r, 4] == 1:
                    level = signal[index[r, 3], i]
                    if index[r, 5] == 1:
                        part = min(max((level - number[r, 1]) / number[r, 2] + 0.5, 0.0), 1.0)
                        total += part / (1.0 - part) if part < 1.0 else np.inf
                    elif level > 0.0:
                        total += (level / number[r, 1]) ** number[r, 2]
                    saturation = number[r, 0]
                r += 1
            if total == np.inf:
                total = 1e300
            behaviour[b, i] += (saturation - behaviour[b, i]) * (total / (1.0 + total))
        for b in range(base.shape[1]):
            if scaled[k, b]:
                behaviour[b, i] *= trait[i]
