"""Texts of the model language as formulas: presentation MathML (browsers render it offline) and LaTeX.

The printing follows the text as its author wrote it and rearranges nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from html import escape
from typing import Any

#: Words at the head of a name that are written as Greek letters.
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "gam": "γ", "delta": "δ", "eps": "ε", "epsilon": "ε", "eta": "η",
    "kappa": "κ", "lambda": "λ", "lam": "λ", "mu": "μ", "nu": "ν", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "theta": "θ", "omega": "ω", "chi": "χ", "psi": "ψ", "xi": "ξ", "zeta": "ζ",
}  # fmt: skip
_LATEX_GREEK = {"gam": "gamma", "lam": "lambda", "eps": "epsilon"}
_LEVEL = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.Pow: 4}
_UNARY, _ATOM = 3, 5


def mathml(text: str) -> str:
    """A text as the inside of a ``<math>`` element."""
    return _Printer(_MathML()).show(tidy(text))


def latex(text: str) -> str:
    """A text as LaTeX (math mode)."""
    return _Printer(_Latex()).show(tidy(text))


def tidy(text: str) -> ast.expr:
    """The syntax tree of a text without terms that are 0 and factors that are 1 (modules leave such in loops)."""
    made: ast.expr = _Tidy().visit(ast.parse(text.strip(), mode="eval").body)
    return made


class _Tidy(ast.NodeTransformer):
    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if _is(node.operand, 0) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left, right, kind = node.left, node.right, type(node.op)
        if kind in (ast.Add, ast.Sub) and _is(right, 0):
            return left
        if kind is ast.Add and _is(left, 0):
            return right
        if kind is ast.Mult and (_is(left, 0) or _is(right, 1)):
            return left
        if kind is ast.Mult and (_is(right, 0) or _is(left, 1)):
            return right
        return left if kind is ast.Div and (_is(right, 1) or _is(left, 0)) else node


def _is(node: ast.AST, value: int) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def name_mathml(name: str) -> str:
    """A name of the model: its head with the rest as subscript."""
    return _MathML().name(name)


def name_latex(name: str) -> str:
    """A name of the model in LaTeX: its head with the rest as subscript."""
    return _Latex().name(name)


def _parts(name: str) -> tuple[str, str]:
    head, _, rest = name.strip("_").partition("_")
    return head, rest.replace("__", "_").replace("_", " ")


def _number(value: float) -> tuple[str, str]:
    """Digits and power of ten of a number ('' if none is needed)."""
    text = repr(value)
    if "e" in text:
        digits, _, power = text.partition("e")
        return digits, str(int(power))
    if isinstance(value, float) and value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        digits, _, power = f"{value:e}".partition("e")
        return digits.rstrip("0").rstrip("."), str(int(power))
    return text, ""


class _MathML:
    """Pieces of formulas in presentation MathML."""

    def name(self, name: str) -> str:
        head, rest = _parts(name)
        letter = GREEK.get(head.lower(), head) if head.islower() else head
        main = f"<mi>{escape(letter)}</mi>"
        return f"<msub>{main}<mtext>{escape(rest)}</mtext></msub>" if rest else main

    def number(self, value: float) -> str:
        digits, power = _number(value)
        if not power:
            return f"<mn>{digits}</mn>"
        tens = f"<msup><mn>10</mn><mn>{power.replace('-', '−')}</mn></msup>"
        return tens if digits in ("1", "1.0") else f"<mrow><mn>{digits}</mn><mo>·</mo>{tens}</mrow>"

    def brackets(self, inside: str) -> str:
        return f"<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>"

    def infix(self, sign: str, left: str, right: str) -> str:
        operator = {"+": "<mo>+</mo>", "-": "<mo>−</mo>", "*": '<mo lspace="0.15em" rspace="0.15em">·</mo>'}[sign]
        return f"<mrow>{left}{operator}{right}</mrow>"

    def minus(self, inside: str) -> str:
        return f"<mrow><mo>−</mo>{inside}</mrow>"

    def fraction(self, top: str, bottom: str) -> str:
        return f"<mfrac><mrow>{top}</mrow><mrow>{bottom}</mrow></mfrac>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"

    def root(self, inside: str) -> str:
        return f"<msqrt>{inside}</msqrt>"

    def call(self, name: str, arguments: Sequence[str]) -> str:
        inside = "<mo>,</mo>".join(arguments)
        return f"<mrow><mi>{name}</mi><mo>&#8289;</mo><mo>(</mo>{inside}<mo>)</mo></mrow>"

    def positive_part(self, inside: str) -> str:
        return f"<msub><mrow><mo>[</mo>{inside}<mo>]</mo></mrow><mo>+</mo></msub>"

    def indicator(self, inside: str) -> str:
        return f"<mrow><mn>𝟏</mn><mo>[</mo>{inside}<mo>&gt;</mo><mn>0</mn><mo>]</mo></mrow>"


class _Latex(_MathML):
    """The same in LaTeX."""

    def name(self, name: str) -> str:
        head, rest = _parts(name)
        if head.islower() and head in GREEK:
            main = "\\" + _LATEX_GREEK.get(head, head)
        else:
            main = head if len(head) == 1 else f"\\mathrm{{{head}}}"
        below = rest.replace(" ", "\\ ")
        return f"{main}_{{\\mathrm{{{below}}}}}" if rest else main

    def number(self, value: float) -> str:
        digits, power = _number(value)
        if not power:
            return digits
        return f"10^{{{power}}}" if digits in ("1", "1.0") else f"{digits}\\cdot 10^{{{power}}}"

    def brackets(self, inside: str) -> str:
        return f"\\left({inside}\\right)"

    def infix(self, sign: str, left: str, right: str) -> str:
        return left + _LATEX_SIGN[sign] + right

    def minus(self, inside: str) -> str:
        return f"-{inside}"

    def fraction(self, top: str, bottom: str) -> str:
        return f"\\frac{{{top}}}{{{bottom}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def root(self, inside: str) -> str:
        return f"\\sqrt{{{inside}}}"

    def call(self, name: str, arguments: Sequence[str]) -> str:
        return f"\\operatorname{{{name}}}\\left({', '.join(arguments)}\\right)"

    def positive_part(self, inside: str) -> str:
        return f"\\left[{inside}\\right]_{{+}}"

    def indicator(self, inside: str) -> str:
        return f"\\mathbf{{1}}\\left[{inside}>0\\right]"


_LATEX_SIGN = {"+": " + ", "-": " - ", "*": " \\cdot "}


class _Printer:
    """Walks a syntax tree and puts brackets where precedence needs them."""

    def __init__(self, pieces: _MathML) -> None:
        self._pieces = pieces

    def show(self, node: Any, least: int = 0) -> str:
        """The formula of a node, in brackets if it binds less tightly than ``least``."""
        text, level = self._made(node)
        return self._pieces.brackets(text) if level < least else text

    def _made(self, node: Any) -> tuple[str, int]:
        made = self._pieces
        if isinstance(node, ast.Name):
            return made.name(node.id), _ATOM
        if isinstance(node, ast.Constant):
            return made.number(node.value), _ATOM  # type: ignore[arg-type]
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.UAdd):
                return self._made(node.operand)
            return made.minus(self.show(node.operand, _LEVEL[ast.Mult])), _LEVEL[ast.Mult]
        if isinstance(node, ast.Call):
            return self._call(node.func.id, node.args)  # type: ignore[attr-defined]
        level = _LEVEL[type(node.op)]
        if isinstance(node.op, ast.Div):
            return made.fraction(self.show(node.left), self.show(node.right)), _UNARY
        if isinstance(node.op, ast.Pow):
            return made.power(self.show(node.left, _ATOM), self.show(node.right)), _LEVEL[ast.Pow]
        sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
        signed = isinstance(node.right, ast.UnaryOp)
        right = self.show(node.right, _ATOM if signed else level if sign != "-" else level + 1)
        return made.infix(sign, self.show(node.left, level), right), level

    def _call(self, name: str, arguments: list[Any]) -> tuple[str, int]:
        made, show = self._pieces, self.show
        if name == "hill":
            x, half = arguments[0], arguments[1]
            if len(arguments) == 2:
                return made.fraction(show(x), made.infix("+", show(half, 1), show(x, 1))), _UNARY
            n = show(arguments[2])
            top, bottom = made.power(show(x, _ATOM), n), made.power(show(half, _ATOM), n)
            return made.fraction(top, made.infix("+", bottom, top)), _UNARY
        if name == "power":
            return made.power(show(arguments[0], _ATOM), show(arguments[1])), _LEVEL[ast.Pow]
        if name == "exp":
            return made.power(made.name("e"), show(arguments[0])), _LEVEL[ast.Pow]
        if name == "sqrt":
            return made.root(show(arguments[0])), _ATOM
        if name == "pos":
            return made.positive_part(show(arguments[0])), _ATOM
        if name == "step":
            return made.indicator(show(arguments[0])), _ATOM
        label = {"log": "ln", "expit": "logit⁻¹" if type(made) is _MathML else "logit^{-1}"}.get(name, name)
        return made.call(label, [show(a) for a in arguments]), _ATOM


def replaced(text: str, token: str, by: str) -> str:
    """``text`` with every whole word part ``token`` (between underscores or other marks) replaced."""
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(token)}(?![A-Za-z0-9])", by, text)
