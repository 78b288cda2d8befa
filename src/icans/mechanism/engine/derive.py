"""Derivatives of nodes of a graph, made of further nodes of it.

:class:`Gradients` takes first derivatives by all states: backwards through each expression as far as nodes with several
users (definitions mostly), forwards across those, which is cheaper than either alone for a model of chained
definitions. :class:`Tangents` takes the derivative in one direction, forwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from icans.mechanism.engine.graph import Graph

#: A base of ``pow`` below this counts as zero in derivatives: the square of its reciprocal must be finite, for the
#: power may be 0 there already, and 0 times infinity is not a slope.
_NOTHING = 1e-150


def partials(g: Graph, node: int) -> list[tuple[int, int]]:
    """Arguments of a node and the partial derivatives by them (``gate`` apart, which callers treat)."""
    op, args = g.ops[node], g.args[node]
    a = args[0]
    if op == "add":
        return [(a, g.one), (args[1], g.one)]
    if op == "sub":
        return [(a, g.one), (args[1], g.const(-1.0))]
    if op == "mul":
        return [(a, args[1]), (args[1], a)]
    if op == "neg":
        return [(a, g.const(-1.0))]
    if op == "pow":
        n = args[1]
        inside = g.sub(a, g.const(_NOTHING))
        return [(a, g.gate(inside, g.mul(n, g.mul(node, g.inv(a))))), (n, g.gate(a, g.mul(node, g.call("log", a))))]
    return [(a, _slope(g, op, a, node))]


def _slope(g: Graph, op: str, a: int, value: int) -> int:
    """Derivative of a function of one argument."""
    if op == "inv":
        return g.neg(g.mul(value, value))
    if op == "exp":
        return value
    if op == "log":
        return g.inv(a)
    if op == "sqrt":
        return g.mul(g.const(0.5), g.inv(value))
    if op == "tanh":
        return g.sub(g.one, g.mul(value, value))
    if op == "expit":
        return g.mul(value, g.sub(g.one, value))
    if op == "softplus":
        return g.call("expit", a)
    raise ValueError(op)


def reachable(g: Graph, roots: Iterable[int]) -> list[int]:
    """Every node that the roots are made of, ascending."""
    found = set(roots)
    pending = list(found)
    while pending:
        for a in g.operands(pending.pop()):
            if a not in found:
                found.add(a)
                pending.append(a)
    return sorted(found)


class Gradients:
    """First derivatives by the leaves of one array (states).

    Parameters
    ----------
    roots
        The nodes of which derivatives will be asked; nodes with several users among their ancestors are where the
        backward sweeps end.
    apart
        Nodes among these that count as variables themselves, with the place that each has among the variables.
    """

    def __init__(
        self, g: Graph, roots: Iterable[int], bit: int, array: str, apart: Mapping[int, int] | None = None
    ) -> None:
        self.g, self.bit, self.array, self.apart = g, bit, array, dict(apart or {})
        users: dict[int, int] = {}
        roots = list(roots)
        for root in roots:
            users[root] = users.get(root, 0) + 1
        for node in reachable(g, roots):
            for a in set(g.operands(node)):
                users[a] = users.get(a, 0) + 1
        self.cuts = {n for n, count in users.items() if count > 1 and g.mask[n] & bit and g.ops[n] != "load"}
        self._known: dict[int, dict[int, int]] = {}
        for cut in sorted(self.cuts):  # those below come first
            self._known[cut] = self._sweep(cut)

    def of(self, root: int) -> dict[int, int]:
        """Derivative nodes of ``root`` by place in the array; zeros left out."""
        if not self.g.mask[root] & self.bit:
            return {}
        return self._known[root] if root in self._known else self._sweep(root)

    def _sweep(self, root: int) -> dict[int, int]:
        g = self.g
        result: dict[int, int] = {}
        adjoint = {root: g.one}
        for node in reversed(self.inside(root)):
            weight = adjoint.get(node, g.zero)
            if weight == g.zero:
                continue
            if g.ops[node] == "load":
                place = g.args[node][1]
                result[place] = g.add(result.get(place, g.zero), weight)
            elif node in self.apart and node != root:
                place = self.apart[node]
                result[place] = g.add(result.get(place, g.zero), weight)
            elif node in self.cuts and node != root:
                for place, slope in self._known[node].items():
                    result[place] = g.add(result.get(place, g.zero), g.mul(weight, slope))
            elif g.ops[node] == "gate":
                c, a = g.args[node]
                adjoint[a] = g.add(adjoint.get(a, g.zero), g.gate(c, weight))
            else:
                for a, slope in partials(g, node):
                    if g.mask[a] & self.bit:
                        adjoint[a] = g.add(adjoint.get(a, g.zero), g.mul(weight, slope))
        return {place: node for place, node in sorted(result.items()) if node != g.zero}

    def inside(self, root: int) -> list[int]:
        """Nodes between a root and the cuts and leaves below it, ascending."""
        g, found, pending = self.g, {root}, [root]
        while pending:
            node = pending.pop()
            if node in self.cuts and node != root:
                continue
            for a in g.operands(node):
                if a not in found and g.mask[a] & self.bit:
                    found.add(a)
                    pending.append(a)
        return sorted(n for n in found if g.ops[n] != "load" or g.args[n][0] == self.array)


class Tangents:
    """The derivative of nodes in one direction, given the derivatives of leaves (nodes by node)."""

    def __init__(self, g: Graph, seeds: Mapping[int, int]) -> None:
        self.g = g
        self._known = dict(seeds)
        self._bits = 0
        for seed in seeds:
            self._bits |= g.mask[seed]

    def of(self, roots: Iterable[int]) -> list[int]:
        """Derivative nodes of the roots."""
        roots = list(roots)
        for node in self._needed(roots):
            self._known[node] = self._tangent(node)
        return [self._known.get(root, self.g.zero) for root in roots]

    def _needed(self, roots: list[int]) -> list[int]:
        g, found = self.g, set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node not in found and node not in self._known and g.mask[node] & self._bits:
                found.add(node)
                pending.extend(g.operands(node))
        return sorted(found)

    def _tangent(self, node: int) -> int:
        g, zero = self.g, self.g.zero
        if g.ops[node] == "load":
            return zero
        if g.ops[node] == "gate":
            c, a = g.args[node]
            return g.gate(c, self._known.get(a, zero))
        if not any(self._known.get(a, zero) != zero for a in g.args[node]):
            return zero
        result = zero
        for a, slope in partials(g, node):
            moved = self._known.get(a, zero)
            if moved != zero:
                result = g.add(result, g.mul(slope, moved))
        return result
