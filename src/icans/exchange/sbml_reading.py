"""SBML files of this package read back as patient models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import libsbml

from icans.core.errors import ModelError, Problem
from icans.exchange.sbml import NAMESPACE, consistency
from icans.exchange.sbml_math import DEFINED, to_text

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel


def read_sbml(source: Path | str) -> PatientModel:
    """The patient model in a file (or text) that :func:`icans.exchange.sbml.export_sbml` made.

    Equations, parameter values, units, meanings, modules and inputs come back; events (doses) do not, nor what a
    single file need not know: variability and bounds of parameters, observables. Flows of a state come back as one.

    Raises
    ------
    ModelError
        The file is no consistent SBML, or was not made by this package.
    """
    text = str(source)
    if isinstance(source, Path) or not text.lstrip().startswith("<"):
        text = Path(source).read_text(encoding="utf-8")
    document = libsbml.readSBMLFromString(text)
    problems = consistency(document)
    if problems:
        raise ModelError(problems)
    return _assembled(document.getModel())


def _assembled(made: Any) -> PatientModel:
    from icans.mechanism.declare import Builder, Drug
    from icans.mechanism.model import assemble
    from icans.mechanism.parameters import ParameterTable

    functions = {f.getId(): _language_name(f.getId()) for f in _items(made.getListOfFunctionDefinitions())}
    quantities = {q.getId(): _described(q) for q in _items(made.getListOfParameters())}
    foreign = [n for n, about in quantities.items() if not about]
    if foreign:
        raise ModelError([Problem("sbml", None, n, None, f"an annotation in {NAMESPACE}",
                                  "Only files that this package made can be read back.") for n in foreign])  # fmt: skip
    rates = {n for n, about in quantities.items() if about["role"] == "rate"}
    start = {a.getSymbol(): to_text(a.getMath(), functions) for a in _items(made.getListOfInitialAssignments())}
    rules = {r.getVariable(): r for r in _items(made.getListOfRules())}
    builder = Builder()
    listed = _listed(made)
    for module in listed["module"]:
        builder.module(module["name"], module.get("title", ""), *_split(module.get("sources", ""), "; "))
    for drug in listed["drug"]:
        builder.drugs.append(Drug(drug["name"], drug["label"], drug.get("target", ""), drug["name"],
                                  drug.get("hypothetical") == "true"))  # fmt: skip
    rows = []
    for name, about in quantities.items():
        if about["role"] == "parameter":
            rows.append(_parameter(name, about, made.getParameter(name).getValue()))
            continue
        if about["role"] == "rate":
            continue
        value = repr(made.getParameter(name).getValue())
        if name not in rules:  # folded
            text = value
        else:
            math = rules[name].getMath() if about["role"] == "definition" else _own(rules[name], rates)
            text = to_text(math, functions)
        _declare(builder, name, about, text, start.get(name, value))
    for entry in listed["input"]:
        _input(builder, entry)
    return assemble(builder, ParameterTable(tuple(rows)), made.getId())


def _declare(builder: Any, name: str, about: dict[str, str], text: str, initial: str) -> None:
    from icans.mechanism.declare import Definition, Flow, State

    if about["role"] == "definition":
        builder.definitions.append(Definition(name, text, about["unit"], about["meaning"], about["module"]))
    else:
        nonnegative = about.get("nonnegative", "true") == "true"
        builder.states.append(State(name, about["unit"], about["meaning"], about["module"], initial, nonnegative))
        builder.flows.append(Flow(name, text, about["meaning"], about["module"]))


def _input(builder: Any, entry: dict[str, str]) -> None:
    from icans.mechanism.declare import Input

    builder.inputs.append(Input(entry["name"], entry["drug"], entry["state"], entry["unit"], entry["module"],
                                _split(entry["routes"], " "), entry["scale"], entry["bioavailable"],
                                entry["lag_h"]))  # fmt: skip


def _parameter(name: str, about: dict[str, str], value: float) -> Any:
    from icans.mechanism.parameters import Parameter

    status, _, source = about["more"].removeprefix("Status: ").partition(". Source: ")
    return Parameter(name, value, about["unit"], about["meaning"], about["module"], status=status, source=source,
                     lower=min(0.0, value))  # fmt: skip


def _own(rule: Any, rates: set[str]) -> Any:
    """The rate of change without the rates of infusion, which :func:`export_sbml` puts last in a sum."""
    node = rule.getMath().deepCopy()
    while node.getType() == libsbml.AST_PLUS and node.getRightChild().getName() in rates:
        node = node.getLeftChild().deepCopy()
    return node


def _language_name(name: str) -> str:
    plain = name.rstrip("_")
    return {"hill_n": "hill", "power_pos": "power"}.get(plain, plain if plain in DEFINED else name)


def _items(listed: Any) -> list[Any]:
    return [listed.get(i) for i in range(listed.size())]


def _attributes(node: Any) -> dict[str, str]:
    return {node.getAttrName(i): node.getAttrValue(i) for i in range(node.getAttributesLength())}


def _described(quantity: Any) -> dict[str, str]:
    """Role, module, unit and meaning of a quantity; empty without this package's annotation."""
    annotation = quantity.getAnnotation()
    for i in range(annotation.getNumChildren() if annotation is not None else 0):
        node = annotation.getChild(i)
        if node.getURI() == NAMESPACE:
            lines = _lines(quantity.getNotes())
            return {"unit": "1", **_attributes(node), "meaning": lines[0], "more": lines[1] if len(lines) > 1 else ""}
    return {}


def _lines(notes: Any) -> list[str]:
    body: Any = notes.getChild(0) if notes is not None else None
    found = []
    for i in range(body.getNumChildren() if body is not None else 0):
        paragraph = body.getChild(i)
        found.append("".join(paragraph.getChild(j).getCharacters() for j in range(paragraph.getNumChildren())))
    return found or [""]


def _listed(made: Any) -> dict[str, list[dict[str, str]]]:
    """Modules, drugs and inputs in the annotation of the model."""
    annotation = made.getAnnotation()
    rows: dict[str, list[dict[str, str]]] = {"module": [], "drug": [], "input": []}
    top: Any = annotation.getChild(0) if annotation is not None and annotation.getNumChildren() else None
    for i in range(top.getNumChildren() if top is not None else 0):
        node = top.getChild(i)
        rows[node.getName()].append(_attributes(node))
    return rows


def _split(text: str, by: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(by) if part)
