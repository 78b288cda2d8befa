"""The model's text as plain Python functions of numbers: slow, simple, without algebra.

Serves what needs few evaluations (dose scales, initial values of one patient) and the reference solver, which is the
oracle of the compiled kernels: it shares nothing with them but the text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.mechanism.language import names_in

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]


def _power(base: float, exponent: float) -> float:
    return base**exponent if base > 0 else 0.0


def _hill(x: float, half: float, exponent: float = 1.0) -> float:
    if exponent == 1:
        return x / (half + x)
    top = _power(x, exponent)
    return top / (_power(half, exponent) + top)


def _softplus(x: float) -> float:
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def _expit(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


#: Functions of the language for single numbers.
SCALAR: dict[str, Callable[..., float]] = {
    "exp": _exp, "log": math.log, "sqrt": math.sqrt, "tanh": math.tanh, "power": _power,
    "pos": lambda x: x if x > 0 else 0.0, "step": lambda x: 1.0 if x > 0 else 0.0, "hill": _hill,
    "softplus": _softplus, "expit": _expit,
}  # fmt: skip


class _Powers(ast.NodeTransformer):
    """``a**b`` with a ``b`` that is no whole number is ``power(a, b)``, as in :mod:`icans.mechanism.expressions`."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Pow) and not _whole(node.right):
            return ast.Call(ast.Name("power", ast.Load()), [node.left, node.right], [])
        return node


def _whole(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _whole(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _source(text: str, rename: Mapping[str, str]) -> str:
    tree = _Powers().visit(ast.parse(text.strip(), mode="eval"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in rename:
            node.id = rename[node.id]
    return ast.unparse(ast.fix_missing_locations(tree))


def needed(model: PatientModel, texts: Iterable[str]) -> list[str]:
    """Names of the definitions that these texts use, directly or not, in the model's order."""
    by_name = {d.name: d for d in model.definitions}
    found: set[str] = set()
    pending = [n for text in texts for n in names_in(text)]
    while pending:
        name = pending.pop()
        if name in by_name and name not in found:
            found.add(name)
            pending.extend(names_in(by_name[name].text))
    return [d.name for d in model.definitions if d.name in found]


def function(model: PatientModel, texts: Iterable[str]) -> Callable[[Any, Any], list[float]]:
    """A function ``(y, p) -> [value of each text]`` of the states and the parameters, in the model's order."""
    space: dict[str, Any] = dict(SCALAR)
    source = source_of(model, texts)
    exec(compile(source, "<model>", "exec"), space)  # noqa: S102 (text of the model language, checked by names_in)
    made: Callable[[Any, Any], list[float]] = space["made"]
    return made


def source_of(model: PatientModel, texts: Iterable[str]) -> str:
    """Python source of that function, named ``made``; the functions of the language are free names in it."""
    texts = list(texts)
    states = {name: i for i, name in enumerate(model.state_names)}
    parameters = {name: i for i, name in enumerate(model.parameters.names)}
    definitions = {d.name: d.text for d in model.definitions}
    inside = needed(model, texts)
    used = set().union(*(names_in(t) for t in texts), *(names_in(definitions[n]) for n in inside))
    # A prefix keeps the model's names apart from those of functions and of Python.
    rename = {name: f"m_{name}" for name in used | set(inside)}
    lines = [f" m_{n} = y[{states[n]}]" for n in sorted(used & states.keys())]
    lines += [f" m_{n} = p[{parameters[n]}]" for n in sorted(used & parameters.keys())]
    lines += [f" m_{n} = {_source(definitions[n], rename)}" for n in inside]
    body = ", ".join(_source(text, rename) for text in texts)
    return "def made(y, p):\n" + "\n".join(lines) + f"\n return [{body}]\n"


def of_parameters(model: PatientModel, texts: Iterable[str], values: Array) -> Array:
    """Expressions of parameters alone, for every patient.

    Parameters
    ----------
    values
        Parameters, shape (patients, parameters).

    Returns
    -------
    Shape (patients, number of texts).
    """
    texts = list(texts)
    constant = [_number(text) for text in texts]
    if all(number is not None for number in constant):
        return np.tile(np.array(constant, dtype=float), (len(values), 1))
    made = function(model, texts)
    zero = [0.0] * len(model.states)
    return np.array([made(zero, row) for row in values.tolist()], dtype=float).reshape(len(values), len(texts))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
