"""Expressions of the model language as MathML of SBML, and back.

The functions that SBML lacks (``hill``, ``pos`` ...) become function definitions of the same names, so that a reader of
the file sees the equations as they were written.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any, cast

import libsbml

#: Function definitions of the file, as L3 formulas: name in the file -> arguments and body. Of these only ``step`` is
#: piecewise, as the others are continuous and some simulators (libRoadRunner) look for a root at every piece, which a
#: state that rests at zero never leaves.
DEFINED: dict[str, str] = {
    "power_pos": "lambda(x, n, max(x, 0)^n)",
    "pos": "lambda(x, max(x, 0))",
    "step": "lambda(x, piecewise(1, x > 0, 0))",
    "hill": "lambda(x, k, x/(k + x))",
    "hill_n": "lambda(x, k, n, max(x, 0)^n/(k^n + max(x, 0)^n))",
    "softplus": "lambda(x, max(x, 0) + ln(1 + exp(-abs(x))))",
    "expit": "lambda(x, 1/(1 + exp(-x)))",
}

_NATIVE = {
    "exp": libsbml.AST_FUNCTION_EXP, "log": libsbml.AST_FUNCTION_LN, "sqrt": libsbml.AST_FUNCTION_ROOT,
    "tanh": libsbml.AST_FUNCTION_TANH,
}  # fmt: skip
_BINARY: dict[type, int] = {
    ast.Add: libsbml.AST_PLUS, ast.Sub: libsbml.AST_MINUS, ast.Mult: libsbml.AST_TIMES, ast.Div: libsbml.AST_DIVIDE,
}  # fmt: skip
_SIGNS = {
    libsbml.AST_PLUS: ("+", "0"), libsbml.AST_TIMES: ("*", "1"), libsbml.AST_MINUS: ("-", ""),
    libsbml.AST_DIVIDE: ("/", ""), libsbml.AST_POWER: ("**", ""), libsbml.AST_FUNCTION_POWER: ("**", ""),
}  # fmt: skip


def functions_used(texts: Iterable[str]) -> list[str]:
    """Names (in the file) of the function definitions that these expressions need, in the order of :data:`DEFINED`."""
    found: set[str] = set()
    for text in texts:
        for node in ast.walk(ast.parse(text.strip(), mode="eval")):
            if isinstance(node, ast.Call):
                found.add(_file_name(node))
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _whole(node.right):
                found.add("power_pos")
    return [name for name in DEFINED if name in found]


def to_math(text: str, ids: Mapping[str, str] | None = None) -> Any:
    """A text of the model language as a ``libsbml.ASTNode``.

    Parameters
    ----------
    ids
        Names of functions in the file, where they are not those of :data:`DEFINED` (a model may have the name).
    """
    return _node(ast.parse(text.strip(), mode="eval").body, ids or {})


def formula(text: str) -> Any:
    """An L3 formula (with ``ln``, ``piecewise``, ``time``) as a ``libsbml.ASTNode``."""
    made = libsbml.parseL3Formula(text)
    if made is None:
        raise ValueError(libsbml.getLastParseL3Error())
    return made


def _file_name(node: ast.Call) -> str:
    name = node.func.id  # type: ignore[attr-defined]
    if name == "hill" and len(node.args) == 3:
        return "hill_n"
    return "power_pos" if name == "power" else name


def _whole(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _whole(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _node(node: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(node, ast.Name):
        made = libsbml.ASTNode(libsbml.AST_NAME)
        made.setName(node.id)
        return made
    if isinstance(node, ast.Constant):
        made, number = libsbml.ASTNode(), cast("int | float", node.value)
        made.setValue(number if isinstance(number, float) or abs(number) < 2**31 else float(number))
        return made
    if isinstance(node, ast.UnaryOp):
        inner = _node(node.operand, ids)
        return inner if isinstance(node.op, ast.UAdd) else _parent(libsbml.AST_MINUS, [inner])
    if isinstance(node, ast.Call):
        return _call(_file_name(node), [_node(a, ids) for a in node.args], ids)
    pair = [_node(node.left, ids), _node(node.right, ids)]
    if isinstance(node.op, ast.Pow):
        return _parent(libsbml.AST_POWER, pair) if _whole(node.right) else _call("power_pos", pair, ids)
    return _parent(_BINARY[type(node.op)], pair)


def _call(name: str, arguments: list[Any], ids: Mapping[str, str]) -> Any:
    if name in _NATIVE:
        return _parent(_NATIVE[name], arguments)
    made = _parent(libsbml.AST_FUNCTION, arguments)
    made.setName(ids.get(name, name))
    return made


def _parent(kind: int, children: list[Any]) -> Any:
    made = libsbml.ASTNode(kind)
    for child in children:
        made.addChild(child)
    return made


def to_text(node: Any, functions: Mapping[str, str] | None = None) -> str:
    """MathML as text of the model language, every operation in brackets.

    Parameters
    ----------
    functions
        Names of functions in the file -> names in the language.

    Raises
    ------
    ValueError
        The file uses what the language does not have (time, delays, relations ...).
    """
    return ast.unparse(ast.parse(_text(node, functions or {}), mode="eval"))


def _text(node: Any, functions: Mapping[str, str]) -> str:
    kind = node.getType()
    children = [_text(node.getChild(i), functions) for i in range(node.getNumChildren())]
    if kind == libsbml.AST_NAME:
        return str(node.getName())
    if node.isNumber():
        return str(node.getInteger()) if node.isInteger() else repr(float(node.getValue()))
    if kind == libsbml.AST_MINUS and len(children) == 1:
        return f"(-{children[0]})"
    if kind in _SIGNS:
        sign, empty = _SIGNS[kind]
        return f"({f' {sign} '.join(children)})" if children else empty
    if kind == libsbml.AST_FUNCTION_ROOT:
        return f"sqrt({children[-1]})"
    for name, native in _NATIVE.items():
        if kind == native:
            return f"{name}({', '.join(children)})"
    if kind == libsbml.AST_FUNCTION and node.getName() in functions:
        return f"{functions[node.getName()]}({', '.join(children)})"
    raise ValueError(f"{libsbml.formulaToL3String(node)!r} uses what the model language does not have")
