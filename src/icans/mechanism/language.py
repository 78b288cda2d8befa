"""The model language without algebra: which names a text uses, and whether it is of the language at all.

Kept apart from :mod:`icans.mechanism.expressions` so that a model whose kernels are in the cache never loads sympy.
"""

from __future__ import annotations

import ast
from functools import lru_cache

#: Functions of the language and how many arguments they take.
FUNCTIONS: dict[str, tuple[int, ...]] = {
    "exp": (1,), "log": (1,), "sqrt": (1,), "tanh": (1,), "power": (2,), "pos": (1,), "step": (1,),
    "hill": (2, 3), "softplus": (1,), "expit": (1,),
}  # fmt: skip

_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd,
)  # fmt: skip


@lru_cache(maxsize=8192)
def names_in(text: str) -> frozenset[str]:
    """The names that an expression uses, functions left out.

    Raises
    ------
    ValueError
        The text is not of the model language; the message says where and what is allowed.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not an expression: {error.msg} (column {error.offset})") from error
    functions: set[int] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{text!r}: {ast.unparse(node)!r} is not allowed; use numbers, names, + - * / ** and "
                             f"the functions {', '.join(sorted(FUNCTIONS))}")  # fmt: skip
        if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
            raise ValueError(f"{text!r}: {node.value!r} is not a number")
        if isinstance(node, ast.Call):
            counts = FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None
            if counts is None or node.keywords:
                known = ", ".join(sorted(FUNCTIONS))
                raise ValueError(f"{text!r}: no function {ast.unparse(node.func)!r}; there are {known}")
            if len(node.args) not in counts:
                raise ValueError(f"{text!r}: {ast.unparse(node)!r} has {len(node.args)} arguments, not {counts}")
            functions.add(id(node.func))
        elif isinstance(node, ast.Name) and id(node) not in functions:
            names.add(node.id)
    return frozenset(names)
