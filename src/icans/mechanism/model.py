"""The assembled patient model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from icans.core.errors import ModelError, Problem
from icans.mechanism.declare import Builder, Definition, Drug, Flow, Input, ModuleInfo, Observable, State
from icans.mechanism.language import names_in
from icans.mechanism.parameters import ParameterTable, unknown

if TYPE_CHECKING:
    import sympy as sp


@dataclass(frozen=True)
class PatientModel:
    """A system of ordinary differential equations with its parameters, inputs and sources.

    Made by :func:`assemble`. ``definitions`` are in an order in which each uses only earlier ones. ``key`` names the
    equations (not the parameters' values): equal keys, equal kernels.
    """

    name: str
    states: tuple[State, ...]
    parameters: ParameterTable
    definitions: tuple[Definition, ...]
    flows: tuple[Flow, ...]
    inputs: tuple[Input, ...]
    observables: tuple[Observable, ...]
    drugs: tuple[Drug, ...]
    modules: tuple[ModuleInfo, ...]

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states, in the solver's order."""
        return tuple(s.name for s in self.states)

    @cached_property
    def units(self) -> dict[str, str]:
        """Unit of every state and definition."""
        return {s.name: s.unit for s in self.states} | {d.name: d.unit for d in self.definitions}

    @cached_property
    def rates(self) -> dict[str, str]:
        """Rate of change of every state, per hour, as text: the sum of its flows."""
        terms: dict[str, list[str]] = {s.name: [] for s in self.states}
        for flow in self.flows:
            terms[flow.state].append(f"({flow.text})")
        return {name: " + ".join(parts) for name, parts in terms.items()}

    @cached_property
    def key(self) -> str:
        """SHA-256 of the equations."""
        content = [
            [(s.name, s.initial) for s in self.states], list(self.parameters.names),
            [(d.name, d.text) for d in self.definitions], self.rates,
            [asdict(i) for i in self.inputs],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def symbolic(self) -> Symbolic:
        """The same in sympy (made when first asked for)."""
        from icans.mechanism.expressions import parse

        return Symbolic(
            {d.name: parse(d.text) for d in self.definitions},
            {name: parse(text) for name, text in self.rates.items()},
            {s.name: parse(s.initial) for s in self.states},
        )

    def with_parameters(self, values: Mapping[str, float]) -> PatientModel:
        """The same equations with other typical values."""
        return replace(self, parameters=self.parameters.with_values(values))


@dataclass(frozen=True)
class Symbolic:
    """Definitions, rates of change and initial values as sympy expressions of the names that they use."""

    definitions: Mapping[str, sp.Expr]
    rates: Mapping[str, sp.Expr]
    initial: Mapping[str, sp.Expr]


def assemble(builder: Builder, table: ParameterTable, name: str = "patient") -> PatientModel:
    """Check what the modules declared and make the model.

    Raises
    ------
    ModelError
        Unknown names, names used twice, cycles of definitions, states without a rate, text that is no expression:
        all of them at once.
    """
    definitions = [*builder.definitions, *_handles(builder)]
    problems = _duplicates(builder, definitions, table)
    names = _Names(frozenset(s.name for s in builder.states), frozenset(d.name for d in definitions),
                   frozenset(table.names))  # fmt: skip
    problems += _unknown_targets(builder, names)
    used: set[str] = set()
    needs: dict[str, frozenset[str]] = {}
    for where, text, allowed in _texts(builder, definitions, names):
        try:
            found = names_in(text)
        except ValueError as error:
            problems.append(Problem("model", None, where, None, "an expression", str(error)))
            found = frozenset()
        problems += [
            _place(unknown("state, parameter or definition", bad, allowed), where) for bad in sorted(found - allowed)
        ]
        used |= found
        if where in names.definitions:
            needs[where] = found & names.definitions
    ordered, cycle = _order(definitions, needs)
    if cycle:
        problems.append(Problem("model", None, cycle[0], " -> ".join(cycle), "definitions without a cycle",
                                "Make one of them a state, or rewrite it."))  # fmt: skip
    if problems:
        raise ModelError(problems)
    kept = table.select(n for n in table.names if n in used)
    return PatientModel(
        name, tuple(builder.states), kept, tuple(ordered), tuple(builder.flows), tuple(builder.inputs),
        tuple(builder.observables), tuple(builder.drugs), tuple(builder.modules),
    )  # fmt: skip


@dataclass(frozen=True)
class _Names:
    """The names that equations may use."""

    states: frozenset[str]
    definitions: frozenset[str]
    parameters: frozenset[str]


def _texts(
    builder: Builder, definitions: Iterable[Definition], names: _Names
) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every expression of the model: where it stands, its text, and the names that it may use."""
    everything = names.states | names.definitions | names.parameters
    constant = names.definitions | names.parameters
    for definition in definitions:
        yield definition.name, definition.text, everything
    for flow in builder.flows:
        yield f"rate of {flow.state}", flow.text, everything
    for state in builder.states:
        yield f"initial value of {state.name}", state.initial, constant
    for item in builder.inputs:
        for text in (item.scale, item.bioavailable, item.lag_h):
            yield f"input {item.name}", text, constant


def _unknown_targets(builder: Builder, names: _Names) -> list[Problem]:
    """Flows, inputs, observables and effects that point to nothing; states that nothing changes."""
    states, seen = names.states, names.states | names.definitions
    handles = {h.name for h in builder.handles}
    moving = {flow.state for flow in builder.flows}
    return [
        *(_place(unknown("state", f.state, states), f"a flow of module {f.module}")
          for f in builder.flows if f.state not in states),
        *(Problem("model", None, s.name, None, "a rate of change", "Add a flow (or make it a parameter).")
          for s in builder.states if s.name not in moving),
        *(_place(unknown("state", i.state, states), f"input {i.name}")
          for i in builder.inputs if i.state not in states),
        *(_place(unknown("state or definition", o.name, seen), "an observable")
          for o in builder.observables if o.name not in seen),
        *(_place(unknown("handle", name, handles), f"module {module}")
          for name, _, module in builder.effects if name not in handles),
    ]  # fmt: skip


def _handles(builder: Builder) -> list[Definition]:
    made = []
    for handle in builder.handles:
        effects = [text for name, text, _ in builder.effects if name == handle.name]
        text = "0" if not effects else "1 - " + "*".join(f"(1 - ({e}))" for e in effects)
        if len(effects) == 1:
            text = effects[0]
        made.append(Definition(handle.name, text, "1", handle.meaning, handle.module))
    return made


def _duplicates(builder: Builder, definitions: Iterable[Definition], table: ParameterTable) -> list[Problem]:
    problems: list[Problem] = []
    owner: dict[str, str] = {row.name: f"parameters/{row.module}.toml" for row in table.rows}
    named: list[State | Definition] = [*builder.states, *definitions]
    for item in named:
        if item.name in owner:
            problems.append(Problem("model", None, item.name, item.module, "a name used once",
                                    f"{owner[item.name]} has it already; rename one of the two."))  # fmt: skip
        owner[item.name] = item.module
    return problems


def _place(problem: Problem, where: str) -> Problem:
    return replace(problem, column=where)


def _order(
    definitions: list[Definition], needs: Mapping[str, frozenset[str]]
) -> tuple[list[Definition], list[str]]:  # fmt: skip
    """Definitions so that each uses only earlier ones, or one cycle."""
    by_name = {d.name: d for d in definitions}
    done: dict[str, bool] = {}
    ordered: list[Definition] = []
    cycle: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if cycle or done.get(name):
            return
        if name in path:
            cycle.extend((*path[path.index(name) :], name))
            return
        for need in sorted(needs[name]):
            visit(need, (*path, name))
        done[name] = True
        ordered.append(by_name[name])

    for item in definitions:
        visit(item.name, ())
    return ordered, cycle
