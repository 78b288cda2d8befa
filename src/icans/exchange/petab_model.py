"""Structural models for PEtab: their SBML, and the doses of a subject as changes at times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from icans.core.errors import Problem
from icans.population.nlme.compartments import COMPARTMENTS, Compartments
from icans.population.nlme.ode import OdeModel
from icans.population.nlme.records import Administration, Subject

#: Time -> target -> formula.
Changes = dict[float, dict[str, str]]


@dataclass
class Writer:
    """What a structural model needs in a PEtab problem. ``outputs``: name of an output -> formula in the SBML."""

    sbml: str
    outputs: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)


def number(value: float) -> str:
    """A number that reads back as itself."""
    return repr(float(value))


def compartments_sbml(model: Compartments) -> str:
    """A linear compartment model as SBML Level 3 Version 2: amounts with rate rules, doses left to the conditions."""
    import libsbml

    from icans.exchange.sbml_math import to_math

    document = libsbml.SBMLDocument(3, 2)
    made = document.createModel()
    made.setId("compartments")
    micro = _micro(model)
    states = ["central"] + (["depot"] if model.depot else []) + ["peripheral", "peripheral2"][: model.compartments - 1]
    for name in [*model.canonical, *states, *(f"rate_{s}" for s in states)]:
        one = made.createParameter()
        one.setId(name)
        one.setConstant(False)
        one.setValue(1.0 if name in model.canonical else 0.0)
    flows = {s: [f"rate_{s}"] for s in states}
    flows["central"].append(f"-({micro['k']})*central")
    if model.depot:
        flows["depot"].append("-ka*depot")
        flows["central"].append("ka*depot")
    for j, other in enumerate(["peripheral", "peripheral2"][: model.compartments - 1]):
        away, back = f"({micro[f'out{j}']})*central", f"({micro[f'back{j}']})*{other}"
        flows["central"] += [f"-{away}", back]
        flows[other] += [away, f"-{back}"]
    for state, terms in flows.items():
        rule = made.createRateRule()
        rule.setVariable(state)
        rule.setMath(to_math("+".join(terms).replace("+-", "-"), {}))
    return str(libsbml.writeSBMLToString(document))


def _micro(model: Compartments) -> dict[str, str]:
    if model.parameterisation == "rates":
        return {"k": "k", "out0": "k12", "back0": "k21", "out1": "k13", "back1": "k31"}
    return {"k": "CL/V", "out0": "Q/V", "back0": "Q/V2", "out1": "Q3/V", "back1": "Q3/V3"}


def compartments_writer(model: Compartments) -> Writer:
    """A linear compartment model; concentrations are amounts over V."""
    outputs = {"central": f"{number(model.scale)} * central / V", "central amount": "central"}
    outputs |= {name: name for name in model.outputs if name not in outputs}
    return Writer(compartments_sbml(model), outputs)


def compartment_doses(
    model: Compartments, s: Subject, values: Mapping[str, float], formulas: Mapping[str, str], problems: list[Problem]
) -> Changes:  # fmt: skip
    """Doses of one subject. ``values``: canonical parameters that are known numbers, ``formulas``: all of them.

    A lag or a duration that varies cannot be a time in PEtab, and a steady state has to be written out: problems.
    """
    changes: Changes = {}
    rates: list[tuple[float, float, str, str]] = []
    for place, d in enumerate(s.doses, 1):
        if not isinstance(d, Administration) or d.interval_h > 0.0:
            found = "a steady state" if isinstance(d, Administration) else type(d).__name__
            remedy = "Write the doses of the steady state out."
            problems.append(Problem(f"subject {s.id}", place, "doses", found, "single administrations", remedy))
            continue
        entry = "central" if model.absorption == "none" else "depot"
        home = d.compartment or entry
        into = "central" if home == "depot" and model.absorption == "zero" else home
        own = home == entry
        needed = (["Tlag"] if model.lag and own else []) + (
            ["D"] if "D" in model.canonical and home == "depot" and d.duration_h == 0.0 else []
        )
        varying = [n for n in needed if n not in values]
        for n in varying:
            remedy = "Set its iiv to 0: a time in PEtab is a number."
            problems.append(Problem(f"subject {s.id}", place, n, formulas[n], "a parameter that does not vary", remedy))
        if varying:
            continue
        start = d.time_h + (values["Tlag"] if "Tlag" in needed else 0.0)
        length = values["D"] if "D" in needed else d.duration_h
        amount = number(d.amount) + (f" * ({formulas['F']})" if model.bioavailability and own else "")
        if d.reset:
            at = changes.setdefault(d.time_h, {})
            at.update({c: "0" for c in _states(model)} | {f"rate_{c}": "0" for c in _states(model)})
            rates = [(a, min(b, d.time_h), c, f) for a, b, c, f in rates if a < d.time_h]
        if d.amount > 0.0 and length > 0.0:
            rates.append((start, start + length, into, f"({amount}) / {number(length)}"))
        elif d.amount > 0.0:
            at = changes.setdefault(start, {})
            at[into] = f"{at.get(into, into)} + {amount}"
    for into in {c for _, _, c, _ in rates}:
        mine = [r for r in rates if r[2] == into]
        for edge in sorted({t for a, b, _, _ in mine for t in (a, b)}):
            running = [f for a, b, _, f in mine if a <= edge < b]
            changes.setdefault(edge, {})[f"rate_{into}"] = " + ".join(running) or "0"
    return changes


def _states(model: Compartments) -> list[str]:
    there = zip(COMPARTMENTS, model._compartments, strict=True)
    return [c for c, has in there if has and (c != "depot" or model.depot)]


def ode_writer(model: OdeModel) -> Writer:
    """A compiled model: :func:`icans.exchange.sbml.export_sbml` without doses."""
    from icans.exchange.sbml import export_sbml

    problems = []
    if model.start != "initial":
        remedy = "Give the initial values of that state to the model."
        problems.append(Problem("model", None, "start", model.start, "a model that starts at initial values", remedy))
    return Writer(export_sbml(model.model, t_start=0.0), {o: o for o in model.outputs}, problems)


def ode_doses(model: OdeModel, s: Subject, involved: tuple[str, ...], problems: list[Problem]) -> Changes:
    """Doses, resets and switches of one subject of a compiled model, lags and bioavailabilities as numbers."""
    from icans.exchange.sbml_events import rate_id
    from icans.mechanism.doses import ADD, RATE, SET, entering_derivatives, schedule

    table = model.model.parameters
    base = table.values_array()
    for name, covariate in model.covariates.items():
        base[table.place(name)] = s.covariates.get(covariate, np.nan)
    if any(np.any(part != 0.0) for part in entering_derivatives(model.model, base[None], involved)):
        remedy = "Fix these parameters: a time and an amount in PEtab are numbers."
        found = ", ".join(involved)
        problems.append(Problem(f"subject {s.id}", None, "doses", found, "lags and amounts that do not vary", remedy))
    changes: Changes = {}
    events = schedule(model.model, s.doses, base)
    for t, kind, place, value in zip(events.time, events.kind, events.place, events.value, strict=True):
        at = changes.setdefault(float(t), {})
        if kind == ADD:
            name = model.model.state_names[place]
            at[name] = f"{at.get(name, name)} + {number(value)}"
        elif kind == RATE:
            at[rate_id(model.model, model.model.inputs[place])] = number(value)
        else:
            at[model.model.state_names[place] if kind == SET else table.names[place]] = number(value)
    return changes
