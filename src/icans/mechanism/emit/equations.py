"""All equations of a model to read: LaTeX, and one HTML page that needs no network.

By module: what it is and its sources, rates of change term by term, definitions, handles; then the parameters with
value, variability, status and source. Equations that repeat for regions or solutes are told once.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from icans.mechanism.emit.families import Equation, equations
from icans.mechanism.emit.typeset import latex, mathml, name_latex, name_mathml, tidy

if TYPE_CHECKING:
    from icans.mechanism.declare import ModuleInfo
    from icans.mechanism.model import PatientModel
    from icans.mechanism.parameters import Parameter

_STYLE = """
:root { --ink: #1d2733; --soft: #5b6878; --line: #dfe5ec; --wash: #f6f8fa; --accent: #1f6f8b; --warn: #9a5b13; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
  display: grid; grid-template-columns: 16rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.6rem 1.2rem; background: var(--wash);
  border-right: 1px solid var(--line); font-size: .9rem; }
nav a { display: block; padding: .22rem 0; color: var(--ink); text-decoration: none; }
nav a:hover { color: var(--accent); }
nav b { display: block; margin: 0 0 .6rem; }
main { padding: 1.8rem 2.4rem 4rem; max-width: 78rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .2rem; padding-top: .6rem; border-top: 2px solid var(--accent); }
h3 { font-size: .82rem; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 1.5rem 0 .4rem; }
p, .sources { color: var(--soft); margin: .2rem 0 .6rem; max-width: 60rem; }
.eq { display: grid; grid-template-columns: minmax(0, 1fr) 17rem; gap: 1.2rem; padding: .55rem 0;
  border-bottom: 1px solid var(--line); align-items: center; }
.eq > div:first-child { overflow-x: auto; overflow-y: hidden; padding: .2rem 0; }
.eq small { color: var(--soft); display: block; line-height: 1.4; }
.eq small.where { color: var(--accent); }
table.terms { border-collapse: collapse; } table.terms td { padding: .12rem .5rem .12rem 0; vertical-align: middle; }
table.terms td:last-child { color: var(--soft); font-size: .82rem; padding-left: 1rem; }
math { font-size: 1.06em; white-space: nowrap; }
table.values { border-collapse: collapse; width: 100%; font-size: .86rem; }
table.values th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--ink); }
table.values td, table.values th { padding: .3rem .7rem .3rem 0; vertical-align: top; }
table.values td { border-bottom: 1px solid var(--line); } td.number { font-variant-numeric: tabular-nums; }
.status { border-radius: 3px; padding: 0 .4em; background: var(--wash); border: 1px solid var(--line); }
.status.assumed, .status.recalled, .hypothetical { color: var(--warn); }
table.values td:first-child { white-space: nowrap; padding-right: 1.4rem; }
details summary { cursor: pointer; color: var(--accent); margin: .8rem 0 .4rem; }
@media (max-width: 900px) { body, .eq { display: block; } nav { display: none; } main { padding: 1rem; } }
@media print { nav { display: none; } body { display: block; } details[open] summary { display: none; } }
"""


def equations_html(model: PatientModel, title: str = "Equations of the patient model") -> str:
    """A self-contained page: MathML, no scripts, nothing from the network."""
    drugs = {d.name: d for d in model.drugs}
    links, bodies = [], []
    for module in model.modules:
        links.append(f'<a href="#{escape(module.name)}">{escape(module.title)}</a>')
        note = " · hypothetical" if module.name in drugs and drugs[module.name].hypothetical else ""
        bodies.append(_module_html(model, module, note))
    count = f"{len(model.states)} states, {len(model.definitions)} definitions, {len(model.parameters)} parameters"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><nav><b>{escape(title)}</b>"
        f"{''.join(links)}</nav>\n<main><h1>{escape(title)}</h1><p>{count}. Time in hours since infusion; rates per "
        "hour. [x]<sub>+</sub> is x where it is positive, else 0; <b>1</b>[x &gt; 0] is 1 there, else 0. Powers of "
        "what is not positive are 0. Research use only; every simulation is synthetic.</p>\n"
        + "\n".join(bodies)
        + "</main></body></html>\n"
    )


def equations_latex(model: PatientModel, title: str = "Equations of the patient model") -> str:
    """A LaTeX document (article, amsmath, longtable) of the same content."""
    parts = [
        "\\documentclass{article}\n\\usepackage{amsmath,amssymb,longtable,breqn}\n\\usepackage[margin=2cm]{geometry}\n"
        f"\\title{{{_tex(title)}}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle\n"
    ]
    for module in model.modules:
        definitions, states = equations(model, module.name)
        parts.append(f"\\section{{{_tex(module.title)}}}\n{_tex('; '.join(module.sources))}\n")
        for item in states:
            parts.append(_caption_latex(item) + _block(f"\\frac{{\\mathrm{{d}}}}{{\\mathrm{{d}}t}}\\,"
                         f"{name_latex(item.name)} ={_sum_latex(item)}"))  # fmt: skip
            if item.initial not in (None, "0"):
                parts.append(_block(f"{name_latex(item.name)}(0) = {latex(str(item.initial))}"))
        for item in definitions:
            parts.append(_caption_latex(item) + _block(f"{name_latex(item.name)} = {latex(item.text)}"))
    parts.append("\\section{Parameters}\n\\begin{longtable}{llllp{6cm}}\n")
    parts += [
        f"${name_latex(r.name)}$ & {r.value:.4g} & {_tex(r.unit)} & {r.status} & {_tex(r.meaning)} \\\\\n"
        for r in model.parameters.rows
    ]
    return "".join(parts) + "\\end{longtable}\n\\end{document}\n"


def _block(text: str) -> str:
    return f"\\begin{{dmath*}}\n{text}\n\\end{{dmath*}}\n"


def _caption_latex(item: Equation) -> str:
    where = f" ({item.where})" if item.where else ""
    return f"\\noindent {_tex(item.meaning or item.name)} [{_tex(item.unit)}]{_tex(where)}\n"


def _sum_latex(item: Equation) -> str:
    text = ""
    for term, _ in _terms(item):
        sign, rest = _signed(term)
        text += f" {'-' if sign < 0 else '+' if text else ''} {latex(rest)}"
    return text or " 0"


def _tex(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


_ESCAPES = {c: f"\\{c}" for c in "&%_#${}"} | {"\\": "/", "^": "\\^{}", "<": "$<$", ">": "$>$"}


def _terms(item: Equation) -> list[tuple[str, str]]:
    """Terms of a rate of change, without those that are nothing."""
    kept = []
    for text, meaning in item.terms:
        tree = tidy(text)
        if not (isinstance(tree, ast.Constant) and tree.value == 0):
            kept.append((ast.unparse(tree), meaning))
    return kept


def _signed(text: str) -> tuple[int, str]:
    """The sign of a term and the rest of it."""
    tree = ast.parse(text, mode="eval").body
    place = tree
    while isinstance(place, ast.BinOp) and isinstance(place.op, (ast.Mult, ast.Div)):
        parent, place = place, place.left
        if isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.USub):
            parent.left = place.operand
            return -1, ast.unparse(tree)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -1, ast.unparse(tree.operand)
    return 1, text


def _module_html(model: PatientModel, module: ModuleInfo, note: str) -> str:
    definitions, states = equations(model, module.name)
    parts = [
        f'<section id="{escape(module.name)}"><h2>{escape(module.title)}<span class="hypothetical">{note}</span></h2>'
    ]
    if module.sources:
        parts.append(f'<div class="sources">{escape("; ".join(module.sources))}</div>')
    if states:
        parts.append("<h3>Rates of change</h3>" + "".join(_rate_html(s) for s in states))
    if definitions:
        parts.append("<h3>Definitions</h3>" + "".join(_definition_html(d) for d in definitions))
    doses = [i for i in model.inputs if i.module == module.name]
    if doses:
        rows = "".join(
            f"<tr><td>{escape(i.drug)} ({escape(', '.join(i.routes))})</td><td>{_math(name_mathml(i.state))}</td>"
            f"<td>{escape(i.unit)}</td><td>{_math(mathml(f'({i.scale})*({i.bioavailable})'))}</td>"
            f"<td>{_math(mathml(i.lag_h))}</td></tr>"
            for i in doses
        )
        parts.append("<h3>Doses</h3><table class='values'><tr><th>Drug (route)</th><th>Goes into</th><th>Unit</th>"
                     f"<th>Times</th><th>Lag, h</th></tr>{rows}</table>")  # fmt: skip
    values = [r for r in model.parameters.rows if r.module == module.name]
    if values:
        parts.append(f"<details open><summary>{len(values)} parameters</summary>{_table(values)}</details>")
    return "".join(parts) + "</section>"


#: Terms longer than this many characters have their meaning below and not beside them.
_LONG = 80


def _math(inside: str) -> str:
    return f'<math displaystyle="true"><mrow>{inside}</mrow></math>'


def _said(item: Equation) -> str:
    unit = "" if item.unit in ("1", "") else f" [{escape(item.unit)}]"
    where = f'<small class="where">{escape(item.where)}</small>' if item.where else ""
    return f"<small>{escape(item.meaning or item.name)}{unit}</small>{where}"


def _rate_html(item: Equation) -> str:
    rows = []
    left = f"<mfrac><mi>d</mi><mrow><mi>d</mi><mi>t</mi></mrow></mfrac>{name_mathml(item.name)}"
    for number, (text, meaning) in enumerate(_terms(item) or [("0", "")]):
        sign, rest = _signed(text)
        mark = "<mo>−</mo>" if sign < 0 else "<mo>+</mo>" if number else ""
        head = f"<td>{_math(left + '<mo>=</mo>') if not number else ''}</td>"
        below = f"<small>{escape(meaning)}</small>" if len(rest) > _LONG and meaning else ""
        beside = "" if below else escape(meaning)
        rows.append(f"<tr>{head}<td>{_math(mark + mathml(rest))}{below}</td><td>{beside}</td></tr>")
    start = ""
    if item.initial not in (None, "0"):
        start = f"<small>starts at {_math(mathml(str(item.initial)))}</small>"
    return (
        f'<div class="eq"><div><table class="terms">{"".join(rows)}</table></div><div>{_said(item)}{start}</div></div>'
    )


def _definition_html(item: Equation) -> str:
    equation = f"{name_mathml(item.name)}<mo>=</mo>{mathml(item.text)}"
    return f'<div class="eq"><div>{_math(equation)}</div><div>{_said(item)}</div></div>'


def _without(source: str, status: str) -> str:
    """A source without the word of its status at the head."""
    return source.removeprefix(status).lstrip("; ,") if source.startswith(status) else source


def _table(rows: Iterable[Parameter]) -> str:
    def line(r: Parameter) -> str:
        varies = f"{r.iiv:g} ({r.transform})" if r.iiv else ""
        upper = "∞" if math.isinf(r.upper) else f"{r.upper:g}"
        return (
            f"<tr><td>{_math(name_mathml(r.name))}</td><td class='number'>{r.value:.5g}</td><td>{escape(r.unit)}</td>"
            f"<td class='number'>{varies}</td><td class='number'>{r.lower:g}–{upper}</td><td>{escape(r.meaning)}</td>"
            f"<td><span class='status {r.status}'>{r.status}</span> {escape(_without(r.source, r.status))}</td></tr>"
        )

    head = "<tr><th>Symbol</th><th>Value</th><th>Unit</th><th>SD between patients</th><th>Bounds</th><th>Meaning</th>"
    return f"<table class='values'>{head}<th>Status and source</th></tr>{''.join(map(line, rows))}</table>"
