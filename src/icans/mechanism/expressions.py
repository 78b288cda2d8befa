"""Equations as text, read into sympy.

The language is the arithmetic of Python (``+ - * / **``), numbers, names, and the functions of
:data:`FUNCTIONS`. Nothing is evaluated: the text is parsed and translated node by node.
:mod:`icans.mechanism.language` holds what is allowed, without sympy.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import sympy as sp

from icans.mechanism.language import names_in


class power(sp.Function):  # noqa: N801 (a function of the model language, written in lower case there)
    """``power(x, n)``: x to the n for x > 0 and 0 for x <= 0, so that Hill terms hold at zero. n >= 1 (or x > 0)."""

    nargs = 2

    @classmethod
    def eval(cls, base: sp.Expr, exponent: sp.Expr) -> sp.Expr | None:
        """Small whole exponents become products."""
        if exponent.is_Integer and 0 <= int(exponent) <= 8:
            return base**exponent
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """The partial derivative; by the exponent it is only needed where that is estimated."""
        base, exponent = self.args
        if argindex == 1:
            return exponent * power(base, exponent - 1)
        return power(base, exponent) * safe_log(base)


class safe_log(sp.Function):  # noqa: N801
    """``safe_log(x)``: the natural logarithm, of 1e-300 where x is smaller than that."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """1/x."""
        return 1 / self.args[0]


class pos(sp.Function):  # noqa: N801
    """``pos(x)``: x where x > 0, else 0."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """1 where x > 0, else 0."""
        return step(self.args[0])


class step(sp.Function):  # noqa: N801
    """``step(x)``: 1 where x > 0, else 0. Its derivative is taken as 0."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """0."""
        return sp.Integer(0)


def hill(x: sp.Expr, half: sp.Expr, exponent: sp.Expr | int = 1) -> sp.Expr:
    """x^n / (half^n + x^n); 0 at x = 0."""
    if exponent == 1:
        return x / (half + x)
    return power(x, exponent) / (power(half, exponent) + power(x, exponent))


def softplus(x: sp.Expr) -> sp.Expr:
    """log(1 + exp(x))."""
    return sp.log(1 + sp.exp(x))


def expit(x: sp.Expr) -> sp.Expr:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + sp.exp(-x))


#: The functions of the model language.
FUNCTIONS: dict[str, Callable[..., sp.Expr]] = {
    "exp": sp.exp,
    "log": sp.log,
    "sqrt": sp.sqrt,
    "tanh": sp.tanh,
    "power": power,
    "pos": pos,
    "step": step,
    "hill": hill,
    "softplus": softplus,
    "expit": expit,
}  # fmt: skip

_BINARY: dict[type, Callable[[Any, Any], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def parse(text: str) -> sp.Expr:
    """One expression as sympy, with a real symbol for every name.

    Raises
    ------
    ValueError
        The text is not of the model language; the message says where and what is allowed.
    """
    names_in(text)
    return _read(ast.parse(text.strip(), mode="eval").body)


def symbol(name: str) -> sp.Symbol:
    """The symbol that stands for a name of the model."""
    return sp.Symbol(name, real=True)


def _read(node: Any) -> sp.Expr:
    if isinstance(node, ast.Name):
        return symbol(node.id)
    if isinstance(node, ast.Constant):
        return sp.Integer(node.value) if isinstance(node.value, int) else sp.Float(node.value)
    if isinstance(node, ast.UnaryOp):
        return -_read(node.operand) if isinstance(node.op, ast.USub) else _read(node.operand)
    if isinstance(node, ast.Call):
        return FUNCTIONS[node.func.id](*(_read(argument) for argument in node.args))  # type: ignore[attr-defined]
    left, right = _read(node.left), _read(node.right)
    if isinstance(node.op, ast.Pow):
        return left**right if right.is_Integer else power(left, right)
    return _BINARY[type(node.op)](left, right)
