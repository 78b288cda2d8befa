"""The model's arithmetic as one graph, in which equal expressions are one node.

A node is a number: its place in three lists that give operation, arguments and what it depends on. Arguments come
before their users, so that numbers ascend along every path. Asking for a node that exists returns the existing one
(hash-consing), which is how Jacobian, sensitivities and rates share what they have in common. Nothing here knows of a
processor or a language: a back end prints :mod:`icans.mechanism.engine.program`, which lists the operations in order.

Operations, all on double precision, lane by lane:

=============  ====================  =============================================================================
operation      arguments             value
=============  ====================  =============================================================================
``const``      number                the number
``load``       array, place          an entry of an array: ``p`` raw parameters, ``q`` prepared parameters, ``y``
                                     states, ``u`` rates of infusion, ``s`` a direction of states, ``ghinv`` the
                                     diagonal of the linear system, ``lu`` its factors, ``b`` its right-hand side
``add``        a, b                  a + b
``sub``        a, b                  a - b
``mul``        a, b                  a * b
``neg``        a                     -a
``inv``        a                     1 / a (``a / b`` is ``mul(a, inv(b))``: derivatives reuse the reciprocal)
``exp``        a                     e to the a
``log``        a                     natural logarithm: -inf at 0, NaN below
``sqrt``       a                     square root
``tanh``       a                     hyperbolic tangent
``expit``      a                     1 / (1 + exp(-a))
``softplus``   a                     log(1 + exp(a))
``pow``        a, n                  a to the n for a > 0, else 0
``gate``       c, a                  a for c > 0, else 0, even where a is not finite (``pos(x)`` is ``gate(x, x)``)
=============  ====================  =============================================================================

``gate`` and ``pow`` let NaN of c and a through. There is nothing else.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

#: What a node depends on, one bit for every kind of array.
PARAMETER, STATE, OTHER = 1, 2, 4
_BITS = {"p": PARAMETER, "q": PARAMETER, "y": STATE}

#: Functions of one argument.
UNARY = ("exp", "log", "sqrt", "tanh", "expit", "softplus")


def _expit(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


_FOLD: dict[str, Callable[..., float]] = {
    "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "tanh": math.tanh, "expit": _expit, "softplus": _softplus,
    "pow": lambda a, n: a**n if a > 0 else 0.0,
}  # fmt: skip


class Graph:
    """The nodes. ``ops[i]``, ``args[i]`` and ``mask[i]`` describe node ``i``."""

    def __init__(self) -> None:
        self.ops: list[str] = []
        self.args: list[tuple] = []
        self.mask: list[int] = []
        self._seen: dict[tuple, int] = {}
        self.zero, self.one = self.const(0.0), self.const(1.0)

    def _node(self, op: str, args: tuple, mask: int) -> int:
        key = (op, *args)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = len(self.ops)
            self.ops.append(op)
            self.args.append(args)
            self.mask.append(mask)
        return found

    def _join(self, op: str, *args: int) -> int:
        mask = 0
        for a in args:
            mask |= self.mask[a]
        return self._node(op, args, mask)

    def operands(self, node: int) -> tuple[int, ...]:
        """The nodes that a node is made of (none for constants and entries of arrays)."""
        return () if self.ops[node] in ("const", "load") else self.args[node]

    def number(self, node: int) -> float | None:
        """The value of a constant; None for other nodes."""
        return self.args[node][0] if self.ops[node] == "const" else None

    def fixed(self, node: int) -> bool:
        """Whether a node depends on nothing but parameters."""
        return self.mask[node] <= PARAMETER

    def const(self, value: float) -> int:
        """A number."""
        return self._node("const", (float(value) + 0.0,), 0)

    def load(self, array: str, place: int) -> int:
        """An entry of an array."""
        return self._node("load", (array, place), _BITS.get(array, OTHER))

    def add(self, a: int, b: int) -> int:
        """``a + b``."""
        x, y = self.number(a), self.number(b)
        if x is not None and y is not None:
            return self.const(x + y)
        if x == 0:
            return b
        if y == 0:
            return a
        if self.ops[b] == "neg":
            return self.sub(a, self.args[b][0])
        if self.ops[a] == "neg":
            return self.sub(b, self.args[a][0])
        if a == b:
            return self.mul(self.const(2.0), a)
        return self._join("add", min(a, b), max(a, b))

    def sub(self, a: int, b: int) -> int:
        """``a - b``."""
        x, y = self.number(a), self.number(b)
        if x is not None and y is not None:
            return self.const(x - y)
        if y == 0:
            return a
        if x == 0:
            return self.neg(b)
        if a == b:
            return self.zero
        if self.ops[b] == "neg":
            return self.add(a, self.args[b][0])
        if self.ops[a] == "neg":
            return self.neg(self.add(self.args[a][0], b))
        return self._join("sub", a, b)

    def mul(self, a: int, b: int) -> int:
        """``a * b``; factors that depend on parameters alone are gathered, so that they can be computed once."""
        x, y = self.number(a), self.number(b)
        if x is not None and y is not None:
            return self.const(x * y)
        if y is not None or (self.fixed(b) and not self.fixed(a)):
            a, b, x = b, a, y
        if x == 0:
            return self.zero
        if x == 1:
            return b
        if x == -1:
            return self.neg(b)
        if self.ops[a] == "neg":
            return self.neg(self.mul(self.args[a][0], b))
        if self.ops[b] == "neg":
            return self.neg(self.mul(a, self.args[b][0]))
        if self.fixed(a) and self.ops[b] == "mul":
            c, d = self.args[b]
            if self.number(c) is not None or (self.fixed(c) and not self.fixed(d)):
                return self.mul(self.mul(a, c), d)
        if x is None and self.fixed(a) == self.fixed(b) and a > b:
            a, b = b, a
        return self._join("mul", a, b)

    def neg(self, a: int) -> int:
        """-a."""
        x = self.number(a)
        if x is not None:
            return self.const(-x)
        if self.ops[a] == "neg":
            return self.args[a][0]
        if self.ops[a] == "sub":
            return self.sub(self.args[a][1], self.args[a][0])
        if self.ops[a] == "mul" and self.number(self.args[a][0]) is not None:
            return self.mul(self.neg(self.args[a][0]), self.args[a][1])
        return self._join("neg", a)

    def inv(self, a: int) -> int:
        """1 / a."""
        x = self.number(a)
        if x is not None and x != 0:
            return self.const(1.0 / x)
        if self.ops[a] == "neg":
            return self.neg(self.inv(self.args[a][0]))
        if self.ops[a] == "inv":
            return self.args[a][0]
        return self._join("inv", a)

    def div(self, a: int, b: int) -> int:
        """``a / b``."""
        x, y = self.number(a), self.number(b)
        if x is not None and y:
            return self.const(x / y)
        return self.mul(a, self.inv(b))

    def call(self, op: str, *args: int) -> int:
        """A function of :data:`UNARY`, or ``pow``."""
        numbers = [self.number(a) for a in args]
        if None not in numbers:
            try:
                return self.const(_FOLD[op](*numbers))
            except (ValueError, OverflowError, ZeroDivisionError):
                pass  # left for the processor to say inf or NaN
        if op == "pow" and numbers[1] is not None and numbers[1] == 1:
            return self.gate(args[0], args[0])
        return self._join(op, *args)

    def gate(self, c: int, a: int) -> int:
        """``a`` where ``c > 0``, else 0."""
        x = self.number(c)
        if x is not None:
            return a if x > 0 else self.zero
        if a == self.zero or (self.ops[a] == "gate" and self.args[a][0] == c):
            return a
        if self.ops[a] == "pow" and self.args[a][0] == c:
            return a
        if self.ops[a] == "neg":
            return self.neg(self.gate(c, self.args[a][0]))
        return self._join("gate", c, a)

    def whole_power(self, a: int, n: int) -> int:
        """A whole power, as products."""
        if n < 0:
            return self.inv(self.whole_power(a, -n))
        result, square = self.one, a
        while n:
            if n & 1:
                result = square if result == self.one else self.mul(result, square)
            n >>= 1
            if n:
                square = self.mul(square, square)
        return result


#: Largest whole exponent of ``power`` that becomes products (of a base above 0, else the value is 0 as for all powers).
PRODUCTS = 8


def read(graph: Graph, text: str, names: Mapping[str, int]) -> int:
    """The node of an expression of the model language.

    Parameters
    ----------
    text
        Checked by :func:`icans.mechanism.language.names_in`.
    names
        Nodes of the names in it.
    """
    return _read(graph, ast.parse(text.strip(), mode="eval").body, names)


def _read(g: Graph, node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return g.const(node.value)
    if isinstance(node, ast.UnaryOp):
        inner = _read(g, node.operand, names)
        return g.neg(inner) if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left = _read(g, node.left, names)
        if isinstance(node.op, ast.Pow):
            whole = _whole(node.right)
            return g.whole_power(left, whole) if whole is not None else _power(g, left, node.right, names)
        right = _read(g, node.right, names)
        operation = {ast.Add: g.add, ast.Sub: g.sub, ast.Mult: g.mul, ast.Div: g.div}[type(node.op)]
        return operation(left, right)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(f"{ast.unparse(node)!r} is not of the model language")
    return _call(g, node.func.id, node.args, names)


def _call(g: Graph, name: str, given: list[ast.expr], names: Mapping[str, int]) -> int:
    first = _read(g, given[0], names)
    if name in UNARY:
        return g.call(name, first)
    if name == "pos":
        return g.gate(first, first)
    if name == "step":
        return g.gate(first, g.one)
    if name == "power":
        return _power(g, first, given[1], names)
    if name != "hill":
        raise ValueError(f"no function {name!r} in the model language")
    half = _read(g, given[1], names)
    if len(given) == 2 or _whole(given[2]) == 1:
        return g.div(first, g.add(half, first))
    top = _power(g, first, given[2], names)
    return g.div(top, g.add(_power(g, half, given[2], names), top))


def _power(g: Graph, base: int, exponent: ast.expr, names: Mapping[str, int]) -> int:
    whole = _whole(exponent)
    if whole is not None and 0 <= whole <= PRODUCTS:
        return g.gate(base, g.whole_power(base, whole))
    return g.call("pow", base, _read(g, exponent, names))


def _whole(node: ast.expr) -> int | None:
    """The value of a whole number written as one."""
    if isinstance(node, ast.UnaryOp):
        inner = _whole(node.operand)
        return None if inner is None else -inner if isinstance(node.op, ast.USub) else inner
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None
