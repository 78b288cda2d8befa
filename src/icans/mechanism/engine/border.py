"""Which shared definitions become unknowns of the linear system, so that it stays sparse.

Where many rates depend on one definition and that on many states (a sum of drives, say), the Jacobian has a dense block
of low rank. With the change of the definition as an unknown ``z`` of its own, ``(ghinv I - A) y - B z = b`` and
``z - C y - D z = 0``, the block is two thin ones. The definitions are chosen from the pattern alone: those that,
eliminated, would fill in clearly more entries than they take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from icans.mechanism.engine.derive import Gradients

Entry = tuple[int, int]

#: Entries by which a definition must pay.
EXCESS = 5


def chosen(gradients: Gradients, rates: Sequence[int]) -> list[int]:
    """Nodes to set apart, ascending; the later ones may depend on the earlier ones."""
    pattern = _Pattern(gradients, rates)
    kept = set(gradients.cuts)
    while True:
        gain = pattern.gain(kept)
        useless = {node for node, more in gain.items() if more <= 1}
        if not useless:
            return sorted(node for node, more in gain.items() if more > EXCESS)
        kept -= useless


class _Pattern:
    """On which states and shared nodes the rates and the shared nodes depend."""

    def __init__(self, gradients: Gradients, rates: Sequence[int]) -> None:
        self.gradients = gradients
        self.shared = {node: self._direct(node) for node in sorted(gradients.cuts)}
        self.rates = [self._direct(node) for node in rates]

    def _direct(self, root: int) -> set[Entry]:
        """(0, place) of states and (1, node) of shared nodes, without what lies below the latter."""
        g, found = self.gradients.g, set()
        for node in self.gradients.inside(root):
            if g.ops[node] == "load":
                found.add((0, g.args[node][1]))
            elif node in self.gradients.cuts and node != root:
                found.add((1, node))
        return found

    def gain(self, kept: Iterable[int]) -> dict[int, int]:
        """Entries that elimination of each kept node would fill in, less those that it takes."""
        kept, full = set(kept), dict[int, set[Entry]]()

        def whole(direct: set[Entry]) -> set[Entry]:
            made: set[Entry] = set()
            for kind, number in direct:
                made |= {(kind, number)} if kind == 0 or number in kept else full[number]
            return made

        for node, direct in self.shared.items():  # those below come first
            full[node] = whole(direct)
        rows = [whole(direct) for direct in self.rates] + [full[node] for node in kept]
        users = Counter(entry for row in rows for entry in row)
        return {n: len(full[n]) * users[1, n] - len(full[n]) - users[1, n] for n in kept}
