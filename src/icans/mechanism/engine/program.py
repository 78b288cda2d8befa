"""Functions as lists of operations in order, ready to be printed in any language with vectors.

A function reads and writes arrays of which every entry holds one number per lane. Its operations come in chunks, so
that compilers, whose time grows faster than the length of what they see at once, see pieces; a value that is used in
a later chunk than its own lives in its place of output if it has one, else in a slot of the scratch array ``t``.

An operation is a tuple ``(op, out, args)``: ``out`` and ``args`` are names of values (numbers of nodes), and ``op`` is

* an operation of :mod:`icans.mechanism.engine.graph` other than ``const`` and ``load``,
* ``const`` with args ``(number,)`` (once per chunk that uses it),
* ``load`` or ``store`` with args ``(array, place)``,
* ``fma`` a*b + c, ``fnma`` c - a*b, ``fms`` a*b - c, each rounded once.

Contraction to the latter is decided here and nowhere else, so that all widths of vectors give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icans.mechanism.engine.graph import Graph

Operation = tuple[str, int, tuple]
Place = tuple[str, int]

#: Name of the scratch array.
SCRATCH = "t"
#: Operations after which a chunk ends; see the benchmark of compile times before changing it.
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Function:
    """``arrays``: the arguments in order (without scratch); ``slots``: entries of the scratch array."""

    name: str
    arrays: tuple[str, ...]
    chunks: tuple[tuple[Operation, ...], ...]
    slots: int

    @property
    def size(self) -> int:
        """Number of arithmetic operations."""
        return sum(op not in ("load", "store", "const") for chunk in self.chunks for op, _, _ in chunk)


def lower(
    g: Graph,
    name: str,
    arrays: Sequence[str],
    stores: Sequence[tuple[int, str, int]],
    known: Mapping[int, Place],
    chunk: int = CHUNK,
) -> Function:
    """The function that computes nodes and stores them.

    Parameters
    ----------
    stores
        Node, array, place. A node is stored as soon as it is computed, and it is computed when the first store that
        needs it comes up; an array that is both read and written relies on that order.
    known
        Nodes that are entries of an array (prepared parameters) and where.
    """
    order = _order(g, [node for node, _, _ in stores], known)
    fused = _fuse(g, order, [node for node, _, _ in stores], known)
    homes: dict[int, list[Place]] = {}
    for node, array, place in stores:
        homes.setdefault(node, []).append((array, place))
    body = [n for n in order if n not in fused.gone]
    of_chunk: dict[int, int] = {}  # of what is computed or stored
    length = 0
    for n in body:
        if n in fused.ops or n in homes:
            of_chunk[n] = length // chunk
            length += (n in fused.ops) + len(homes.get(n, ()))
    slots = _slots(body, fused, of_chunk, homes)
    return Function(name, tuple(arrays), *_write(g, body, fused, of_chunk, homes, slots, known))


def _ready(g: Graph, node: int, known: Mapping[int, Place]) -> bool:
    """Whether a node needs no arithmetic."""
    return node in known or g.ops[node] in ("const", "load")


def _order(g: Graph, roots: Sequence[int], known: Mapping[int, Place]) -> list[int]:
    """Nodes in the order of evaluation: what a root needs just before it."""
    done: set[int] = set()
    order: list[int] = []
    for root in roots:
        pending = [(root, False)]
        while pending:
            node, ready = pending.pop()
            if node in done:
                continue
            if ready or _ready(g, node, known):
                done.add(node)
                order.append(node)
                continue
            pending.append((node, True))
            pending.extend((a, False) for a in reversed(g.operands(node)) if a not in done)
    return order


@dataclass(slots=True)
class _Fused:
    """Operation and arguments of every computed node after contraction; ``gone``: products that went into sums."""

    ops: dict[int, tuple[str, tuple[int, ...]]]
    gone: set[int]


def _fuse(g: Graph, order: Sequence[int], roots: Sequence[int], known: Mapping[int, Place]) -> _Fused:
    users: dict[int, int] = {}
    computed = [n for n in order if not _ready(g, n, known)]
    for n in (*roots, *(a for user in computed for a in g.operands(user))):
        users[n] = users.get(n, 0) + 1
    result = _Fused({}, set())

    def lone_product(n: int) -> bool:
        return g.ops[n] == "mul" and users[n] == 1 and not _ready(g, n, known)

    for n in computed:
        op, args = g.ops[n], g.operands(n)
        if op in ("add", "sub"):
            a, b = args
            # The younger product is the one whose factors are at hand.
            if lone_product(b) and (b > a or not lone_product(a)):
                result.gone.add(b)
                op, args = ("fma" if op == "add" else "fnma"), (*g.operands(b), a)
            elif lone_product(a):
                result.gone.add(a)
                op, args = ("fma" if op == "add" else "fms"), (*g.operands(a), b)
        result.ops[n] = (op, args)
    return result


def _slots(
    body: Sequence[int], fused: _Fused, of_chunk: Mapping[int, int], homes: Mapping[int, list[Place]]
) -> dict[int, int]:
    """Scratch slots of the values that live from one chunk into another; a slot is free again after the last use."""
    last: dict[int, int] = {}
    for n in body:
        for a in fused.ops[n][1] if n in fused.ops else ():
            if a in fused.ops:
                last[a] = max(last.get(a, 0), of_chunk[n])
    crossing = [n for n in body if n in fused.ops and n not in homes and last.get(n, 0) > of_chunk[n]]
    ending: dict[int, list[int]] = {}
    free: list[int] = []
    slots: dict[int, int] = {}
    now, size = 0, 0
    for n in crossing:
        while now < of_chunk[n]:
            free.extend(ending.pop(now, ()))
            now += 1
        if not free:
            free.append(size)
            size += 1
        slots[n] = free.pop()
        ending.setdefault(last[n], []).append(slots[n])
    return slots


def _write(
    g: Graph, body: Sequence[int], fused: _Fused, of_chunk: Mapping[int, int], homes: Mapping[int, list[Place]],
    slots: Mapping[int, int], known: Mapping[int, Place],
) -> tuple[tuple[tuple[Operation, ...], ...], int]:  # fmt: skip
    chunks: list[list[Operation]] = [[]]
    here: set[int] = set()
    now = 0

    def fetch(n: int) -> None:
        if n in here:
            return
        here.add(n)
        if n in known:
            chunks[-1].append(("load", n, known[n]))
        elif g.ops[n] in ("const", "load"):
            chunks[-1].append((g.ops[n], n, g.args[n]))
        else:
            chunks[-1].append(("load", n, homes[n][0] if n in homes else (SCRATCH, slots[n])))

    for n in body:
        if n not in of_chunk:
            continue
        if of_chunk[n] > now:
            now = of_chunk[n]
            chunks.append([])
            here.clear()
        if n in fused.ops:
            op, args = fused.ops[n]
            for a in args:
                fetch(a)
            chunks[-1].append((op, n, args))
            here.add(n)
        else:
            fetch(n)
        for place in homes.get(n, [(SCRATCH, slots[n])] if n in slots else []):
            chunks[-1].append(("store", n, place))
    return tuple(tuple(c) for c in chunks), 1 + max(slots.values(), default=-1)
