"""In which order to eliminate, and what the factors look like: once per model, from the pattern alone.

Pivots stay on the diagonal: of ``I/(h gamma) - J`` it is large for small steps, and the step size control refuses a
step whose solution is not finite. The order is that of least fill by Markowitz's count (Markowitz 1957,
doi 10.1287/mnsc.3.3.255), taken greedily on the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from icans.mechanism.engine.graph import Graph


@dataclass(frozen=True, slots=True)
class Factors:
    """Pattern of L and U together in the elimination's order.

    Attributes
    ----------
    order
        ``order[k]``: the state that is eliminated k-th.
    rows
        ``rows[k]``: ascending columns (as positions in the order) of row k, the diagonal among them; those below k
        belong to L, which has ones on its diagonal.
    """

    order: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]

    @property
    def entries(self) -> list[tuple[int, int]]:
        """Row and column of every stored number, in the order of storage. The diagonal is stored inverted."""
        return [(k, j) for k, row in enumerate(self.rows) for j in row]


def factors(size: int, entries: Iterable[tuple[int, int]], apart: int = 0) -> Factors:
    """Order of elimination and pattern of the factors of a matrix with these entries and a full diagonal.

    The last ``apart`` rows are unknowns beside the states. A state that depends on itself through one of them comes
    after it, so that its pivot is whole.
    """
    row: list[set[int]] = [{i} for i in range(size)]
    column: list[set[int]] = [{i} for i in range(size)]
    for i, j in entries:
        row[i].add(j)
        column[j].add(i)
    states = size - apart
    waits = [{c for c in row[i] & column[i] if c >= states} if i < states else set[int]() for i in range(size)]
    left = set(range(size))
    order: list[int] = []
    kept: list[set[int]] = [set() for _ in range(size)]  # the full final pattern of each row
    while left:
        ready = (i for i in left if waits[i].isdisjoint(left))
        pivot = min(ready, key=lambda i: ((len(row[i]) - 1) * (len(column[i]) - 1), len(row[i]) + len(column[i]), i))
        order.append(pivot)
        left.remove(pivot)
        kept[pivot] |= row[pivot]
        below, right = column[pivot] - {pivot}, row[pivot] - {pivot}
        for i in below:
            kept[i].add(pivot)
            row[i].discard(pivot)
            row[i] |= right
        for j in right:
            column[j].discard(pivot)
            column[j] |= below
    place = {state: k for k, state in enumerate(order)}
    return Factors(tuple(order), tuple(tuple(sorted(place[j] for j in kept[i])) for i in order))


def factorize(g: Graph, pattern: Factors, matrix: Mapping[tuple[int, int], int]) -> list[int]:
    """Nodes of the factors' entries, in the order of ``pattern.entries``.

    ``matrix`` holds the nodes of the matrix by row and column (states, then other unknowns).
    """
    rows: list[dict[int, int]] = []
    for k, state in enumerate(pattern.order):
        row = {j: matrix.get((state, pattern.order[j]), g.zero) for j in pattern.rows[k]}
        for i in pattern.rows[k]:
            if i >= k:
                break
            above = rows[i]
            row[i] = g.mul(row[i], above[i])
            for j in pattern.rows[i]:
                if j > i:
                    row[j] = g.sub(row[j], g.mul(row[i], above[j]))
        row[k] = g.inv(row[k])
        rows.append(row)
    return [row[j] for k, row in enumerate(rows) for j in pattern.rows[k]]


def substitute(g: Graph, pattern: Factors, states: int) -> list[tuple[int, str, int]]:
    """Nodes that solve the system in place, each with the entry that it replaces, in order.

    Entries are of ``b``, or, for unknowns that are no states (their right-hand side is 0), of ``lu`` behind the
    factors.
    """
    number = {entry: k for k, entry in enumerate(pattern.entries)}
    size = len(pattern.order)
    value: list[int] = []
    steps: list[tuple[int, str, int]] = []

    def keep(node: int, row: int) -> None:
        steps.append((node, "b", row) if row < states else (node, "lu", len(number) + row - states))

    for k, state in enumerate(pattern.order):
        node = first = g.load("b", state) if state < states else g.zero
        for j in pattern.rows[k]:
            if j < k:
                node = g.sub(node, g.mul(g.load("lu", number[k, j]), value[j]))
        value.append(node)
        if node != first:
            keep(node, state)
    for k in range(size - 1, -1, -1):
        node = value[k]
        for j in reversed(pattern.rows[k]):  # what was solved last comes last: less to wait for
            if j > k:
                node = g.sub(node, g.mul(g.load("lu", number[k, j]), value[j]))
        value[k] = g.mul(g.load("lu", number[k, k]), node)
        if value[k] != node:
            keep(value[k], pattern.order[k])
    return steps
