"""Regimens: what is given, how much, when, or upon what; approved and studied ones in ``regimens.toml``.

A regimen has planned doses, and rules that give doses when something is seen (a grade of CRS or ICANS, a level of a
quantity of the model). Amounts may be by weight or body surface, with a most; :meth:`Regimen.given` and
:meth:`Regimen.triggers` resolve them for a patient. A regimen with a hypothetical drug, or one that was never given to
people for this purpose, says so in its title and description.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Dose, Trigger
from icans.mechanism.parameters import unknown
from icans.mechanism.regimen_checks import problems_of
from icans.mechanism.therapies import MARK, therapies

#: What a rule may look at by grade, and the model's latent severity that the grades cut.
GRADED = {"crs": "crs_severity", "icans": "encephalopathy"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A dose of a regimen, perhaps by weight (``mg/kg``) or surface (``mg/m2``), at most ``most_mg``.

    Within a rule, ``time_h`` counts from when the rule acts.
    """

    time_h: float
    drug: str
    amount: float
    unit: str = "mg"
    most_mg: float = math.inf
    route: str = "iv"
    duration_h: float = 0.0
    every_h: float | None = None
    count: int = 1

    def resolve(self, weight_kg: float, surface_m2: float) -> Dose:
        """The dose of a patient."""
        factor = {"mg/kg": weight_kg, "mg/m2": surface_m2, "g": 1000.0, "ug": 0.001}.get(self.unit, 1.0)
        amount = min(self.amount * factor, self.most_mg)
        return Dose(self.time_h, self.drug, amount, "mg", self.route, self.duration_h, self.every_h, self.count)

    def describe(self) -> str:
        """In words, without the time."""
        text = f"{_title(self.drug)} {self.amount:g} {self.unit}"
        if math.isfinite(self.most_mg):
            text += f" (at most {self.most_mg:g} mg)"
        text += f" {self.route.upper()}"
        if self.duration_h:
            text += f" over {self.duration_h:g} h"
        if self.count > 1:
            text += f", every {self.every_h:g} h, {self.count} times"
        return text


@dataclass(frozen=True, slots=True)
class Rule:
    """Doses that follow when something is seen.

    ``watch``: ``crs`` or ``icans`` (``level`` is then a grade), or the name of a state or definition of the model.
    ``direction``: ``up`` or ``down``. It acts ``delay_h`` after, not again within ``lockout_h``, at most
    ``most_times``; if ``sustained``, again after ``lockout_h`` for as long as it is still seen.
    """

    watch: str
    level: float
    direction: str
    give: tuple[Planned, ...]
    delay_h: float = 0.0
    lockout_h: float = 0.0
    most_times: int = 1
    sustained: bool = False

    def describe(self) -> str:
        """In words."""
        if self.watch in GRADED:
            seen = f"{self.watch.upper()} of grade {self.level:g} or more"
        else:
            seen = f"{self.watch} {'at or above' if self.direction == 'up' else 'below'} {self.level:g}"
        text = f"upon {seen}: " + "; then ".join(d.describe() for d in self.give)
        if self.delay_h:
            text += f"; {self.delay_h:g} h after it is seen"
        if self.most_times > 1:
            again = "while it lasts" if self.sustained else "each time it is seen anew"
            text += f"; up to {self.most_times} times, {self.lockout_h:g} h apart, {again}"
        return text


@dataclass(frozen=True)
class Regimen:
    """A plan of therapy. ``evidence``: what was seen with it, in a sentence; ``status`` as of a parameter."""

    name: str
    label: str
    doses: tuple[Planned, ...] = ()
    rules: tuple[Rule, ...] = ()
    hypothetical: bool = False
    evidence: str = ""
    source: str = ""
    status: str = "assumed"

    @property
    def drugs(self) -> tuple[str, ...]:
        """Names of its drugs, in alphabetical order: what the model must be made with."""
        entries = [*self.doses, *(d for rule in self.rules for d in rule.give)]
        return tuple(sorted({d.drug for d in entries}))

    @property
    def title(self) -> str:
        """The label, marked if hypothetical."""
        return f"{self.label} ({MARK})" if self.hypothetical else self.label

    def given(self, weight_kg: float = 70.0, surface_m2: float = 1.8) -> tuple[Dose, ...]:
        """The planned doses of a patient."""
        _check_size(weight_kg, surface_m2)
        return tuple(d.resolve(weight_kg, surface_m2) for d in self.doses)

    def triggers(
        self, weight_kg: float = 70.0, surface_m2: float = 1.8, *, cuts: Mapping[str, Sequence[float]] | None = None
    ) -> tuple[Trigger, ...]:  # fmt: skip
        """The rules of a patient, as triggers of the solver.

        Parameters
        ----------
        cuts
            For ``crs`` and ``icans``: latent severity at which grades 1, 2, ... begin, by the scheme at the bedside;
            those of ``regimens.toml`` where not given.
        """
        _check_size(weight_kg, surface_m2)
        known = {**default_cuts(), **{k: tuple(v) for k, v in (cuts or {}).items()}}
        return tuple(
            Trigger(
                GRADED.get(rule.watch, rule.watch), _level(rule, known), rule.direction,
                tuple(d.resolve(weight_kg, surface_m2) for d in rule.give),
                delay_h=rule.delay_h, lockout_h=rule.lockout_h, max_times=rule.most_times,
                label=f"{self.name}: {rule.watch}", sustained=rule.sustained,
            )
            for rule in self.rules
        )  # fmt: skip

    def describe(self) -> str:
        """In words: one line for the name, one for every dose and rule."""
        lines = [self.title]
        for dose in self.doses:
            lines.append(f"- {_when(dose.time_h)}: {dose.describe()}")
        lines += [f"- {rule.describe()}" for rule in self.rules]
        if len(lines) == 1:
            lines.append("- nothing")
        return "\n".join(lines)


@cache
def regimens() -> Mapping[str, Regimen]:
    """The regimens of ``regimens.toml``, by name."""
    return MappingProxyType({n: parse(n, entry) for n, entry in _table().items() if n != "cuts"})


def regimen(name: str) -> Regimen:
    """One of them.

    Raises
    ------
    ModelError
        There is none of that name; the nearest names are told.
    """
    if name not in regimens():
        raise ModelError([unknown("regimen", name, regimens())])
    return regimens()[name]


def read_regimens(path: str | Path) -> dict[str, Regimen]:
    """Regimens of a TOML file in the form of ``regimens.toml``.

    Raises
    ------
    ModelError
        Everything that is wrong in the file.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ModelError([Problem(str(path), None, None, None, "a TOML file", str(error))]) from error
    made: dict[str, Regimen] = {}
    problems: list[Problem] = []
    for name, entry in table.items():
        if name == "cuts":
            continue
        try:
            made[name] = parse(name, entry)
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError(problems)
    return made


def parse(name: str, entry: Mapping[str, Any]) -> Regimen:
    """A regimen from a table: ``label``, ``doses``, ``rules``, ``evidence``, ``source``, ``status``, ``hypothetical``.

    Raises
    ------
    ModelError
        Unknown keys, drugs or routes, amounts and times that make no sense: all of them.
    """
    found = problems_of(name, entry)
    if found:
        raise ModelError(found)
    doses = tuple(Planned(**d) for d in entry.get("doses", ()))
    rules = tuple(_rule(r) for r in entry.get("rules", ()))
    made = Regimen(name, entry.get("label", name), doses, rules, bool(entry.get("hypothetical", False)),
                   entry.get("evidence", ""), entry.get("source", ""), entry.get("status", "assumed"))  # fmt: skip
    if any(therapies()[d].hypothetical for d in made.drugs if d in therapies()):
        object.__setattr__(made, "hypothetical", True)
    return made


def default_cuts() -> dict[str, tuple[float, ...]]:
    """Latent severity at which grades begin, by the scale on which the model states it."""
    return {k: tuple(v) for k, v in _table()["cuts"].items() if k in GRADED}


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((resources.files(__package__) / "regimens.toml").read_text(encoding="utf-8"))


def _rule(entry: Mapping[str, Any]) -> Rule:
    watch = next((k for k in GRADED if k in entry), None) or entry["quantity"]
    level = entry[watch] if watch in GRADED else entry.get("above", entry.get("below"))
    return Rule(
        watch, float(level), "down" if "below" in entry else "up", tuple(Planned(**d) for d in entry["give"]),
        float(entry.get("delay_h", 0.0)), float(entry.get("lockout_h", 0.0)), int(entry.get("most_times", 1)),
        bool(entry.get("sustained", entry.get("most_times", 1) > 1)),
    )  # fmt: skip


def _level(rule: Rule, cuts: Mapping[str, tuple[float, ...]]) -> float:
    if rule.watch not in GRADED:
        return rule.level
    scale, grade = cuts[rule.watch], int(rule.level)
    if not 1 <= grade <= len(scale):
        raise ModelError([Problem("regimens", None, rule.watch, str(rule.level), f"a grade from 1 to {len(scale)}",
                                  "Correct the rule, or give the cuts of more grades.")])  # fmt: skip
    return scale[grade - 1]


def _check_size(weight_kg: float, surface_m2: float) -> None:
    wrong = [
        Problem("patient", None, name, repr(value), f"a number above 0 and below {most:g}", "Correct it.")
        for name, value, most in (("weight_kg", weight_kg, 500.0), ("surface_m2", surface_m2, 5.0))
        if not 0 < value < most
    ]
    if wrong:
        raise ModelError(wrong)


def _title(drug: str) -> str:
    return therapies()[drug].title if drug in therapies() else drug


def _when(time_h: float) -> str:
    day, hour = divmod(time_h, 24.0)
    return f"day {day:g}" if hour == 0 else f"day {day:g}, hour {hour:g}"
