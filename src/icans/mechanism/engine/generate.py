"""From the model's text to the functions of its kernel: rates, factors of the linear system, derivatives.

The stages of compiling a model: text is read into a graph (:mod:`.graph`), derivatives are added to it
(:mod:`.derive`), the order of elimination is chosen (:mod:`.order`); what depends on parameters alone is moved into
``prepare``; functions are lowered to lists of operations (:mod:`.program`) and printed (:mod:`.llvm`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icans.mechanism.engine.border import chosen
from icans.mechanism.engine.derive import Gradients, Tangents
from icans.mechanism.engine.graph import STATE, Graph, read
from icans.mechanism.engine.order import Factors, factorize, factors, substitute
from icans.mechanism.engine.program import CHUNK, Function, Place, lower

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

#: Node, array, place.
Store = tuple[int, str, int]
Entry = tuple[int, int]

STATES = ("y", "q", "u")


@dataclass
class Plan:
    """What is to be printed: functions with their arguments and stores, and the patterns of sparse results."""

    graph: Graph
    known: dict[int, Place]
    hoisted: list[int]
    stores: dict[str, tuple[tuple[str, ...], list[Store]]]
    jacobian: list[Entry]
    factors: Factors
    apart: int
    dfdp: list[Entry] = field(default_factory=list)
    observe_jac: list[Entry] = field(default_factory=list)
    observe_dp: list[Entry] = field(default_factory=list)

    def functions(self, chunk: int = CHUNK) -> list[Function]:
        """The functions, lowered."""
        made = []
        for name, (arrays, stores) in self.stores.items():
            raw = name == "prepare"
            made.append(lower(self.graph, name, arrays, stores, {} if raw else self.known, chunk))
        return made


class _Reader:
    """The model's nodes by name."""

    def __init__(self, model: PatientModel) -> None:
        self.model, self.graph = model, Graph()
        g = self.graph
        self.names = {n: g.load("p", i) for i, n in enumerate(model.parameters.names)}
        constant = dict(self.names)
        self.names |= {n: g.load("y", i) for i, n in enumerate(model.state_names)}
        for definition in model.definitions:
            self.names[definition.name] = read(g, definition.text, self.names)
        self.rates = [read(g, model.rates[n], self.names) for n in model.state_names]
        constant |= {d.name: self.names[d.name] for d in model.definitions}
        self.initial = [read(g, s.initial, constant) for s in model.states]

    def with_infusions(self) -> list[int]:
        g, rates = self.graph, list(self.rates)
        place = {n: i for i, n in enumerate(self.model.state_names)}
        for i, entry in enumerate(self.model.inputs):
            rates[place[entry.state]] = g.add(rates[place[entry.state]], g.load("u", i))
        return rates


def plan(
    model: PatientModel, outputs: Sequence[str] = (), watch: Sequence[str] = (), sensitivities: Sequence[str] = ()
) -> Plan:
    """Everything that the kernel of a model computes, as nodes of one graph.

    Parameters
    ----------
    outputs, watch
        States and definitions.
    sensitivities
        Parameters by which derivatives are wanted.
    """
    r = _Reader(model)
    g = r.graph
    moving = r.with_infusions()
    seen = [r.names[n] for n in outputs]
    gradients = Gradients(g, [*r.rates, *seen], STATE, "y")
    columns = [gradients.of(rate) for rate in r.rates]
    pattern = [(i, j) for i, row in enumerate(columns) for j in row]
    values = [columns[i][j] for i, j in pattern]
    order, matrix = _system(r, gradients)
    lu = factorize(g, order, matrix)
    made = Plan(g, {}, [], {}, pattern, order, len(order.order) - len(r.rates))
    stores = made.stores
    stores["prepare"] = (("p", "q"), [])
    stores["initial"] = (("q", "y"), _dense("y", r.initial))
    stores["rhs"] = ((*STATES, "dy"), _dense("dy", moving))
    stores["factor"] = ((*STATES, "ghinv", "lu"), _dense("lu", lu))
    stores["solve"] = (("lu", "b"), substitute(g, order, len(r.rates)))
    stores["jacobian"] = ((*STATES, "jv"), _dense("jv", values))
    stores["observe"] = ((*STATES, "o"), _dense("o", seen))
    stores["watch"] = ((*STATES, "g"), _dense("g", [r.names[n] for n in watch]))
    if sensitivities:
        _sensitivities(made, r, gradients, seen, sensitivities)
    _hoist(made, len(model.parameters))
    return made


def _system(r: _Reader, whole: Gradients) -> tuple[Factors, dict[Entry, int]]:
    """Pattern of the factors of ``ghinv I - J``, and the matrix, with shared definitions as further unknowns."""
    g, n = r.graph, len(r.rates)
    nodes = chosen(whole, r.rates)
    parts = Gradients(g, r.rates, STATE, "y", {node: n + k for k, node in enumerate(nodes)})
    rows = [parts.of(root) for root in (*r.rates, *nodes)]
    matrix = {(i, i): g.load("ghinv", 0) if i < n else g.one for i in range(len(rows))}
    pattern = [(i, j) for i, row in enumerate(rows) for j in row]
    for i, j in pattern:
        matrix[i, j] = g.sub(matrix.get((i, j), g.zero), rows[i][j])
    return factors(len(rows), pattern, len(nodes)), matrix


def _dense(array: str, nodes: Iterable[int]) -> list[Store]:
    return [(node, array, i) for i, node in enumerate(nodes)]


def _sparse(g: Graph, columns: Sequence[Sequence[int]]) -> tuple[list[Entry], list[int]]:
    """Places (row, column) and nodes of what is not zero, given columns of nodes; by rows."""
    found = [(i, j, node) for j, column in enumerate(columns) for i, node in enumerate(column) if node != g.zero]
    found.sort()
    return [(i, j) for i, j, _ in found], [node for _, _, node in found]


def _sensitivities(made: Plan, r: _Reader, gradients: Gradients, seen: list[int], chosen: Sequence[str]) -> None:
    g, stores = r.graph, made.stores
    by = [Tangents(g, {r.names[n]: g.one}) for n in chosen]
    made.dfdp, dfdp = _sparse(g, [t.of(r.rates) for t in by])
    made.observe_dp, observe_dp = _sparse(g, [t.of(seen) for t in by])
    first = [t.of(r.initial) for t in by]
    slopes = [gradients.of(node) for node in seen]
    made.observe_jac = [(i, j) for i, row in enumerate(slopes) for j in row]
    stores["dfdp"] = ((*STATES, "v"), _dense("v", dfdp))
    stores["initial_dp"] = (("q", "v"), _dense("v", [first[j][i] for i in range(len(r.rates)) for j in range(len(by))]))
    stores["observe_jac"] = ((*STATES, "v"), _dense("v", [slopes[i][j] for i, j in made.observe_jac]))
    stores["observe_dp"] = ((*STATES, "v"), _dense("v", observe_dp))


def _hoist(made: Plan, parameters: int) -> None:
    """Move into ``prepare`` what depends on parameters alone and is used beside states."""
    g = made.graph

    def simple(node: int) -> bool:
        return g.ops[node] in ("const", "load")

    hoisted: dict[int, None] = {}
    seen: set[int] = set()
    for name, (_, stores) in made.stores.items():
        pending = [node for node, _, _ in stores]
        if name not in ("initial", "initial_dp"):
            hoisted |= {node: None for node in pending if g.fixed(node) and not simple(node)}
        while pending:
            node = pending.pop()
            if node in seen or g.fixed(node):
                continue
            seen.add(node)
            for a in g.operands(node):
                if not g.fixed(a):
                    pending.append(a)
                elif not simple(a):
                    hoisted[a] = None
    made.hoisted = sorted(hoisted)
    made.known = {g.load("p", i): ("q", i) for i in range(parameters)}
    made.known |= {node: ("q", parameters + k) for k, node in enumerate(made.hoisted)}
    raw = [g.load("p", i) for i in range(parameters)]
    made.stores["prepare"] = (("p", "q"), _dense("q", [*raw, *made.hoisted]))
