"""The patient model as SBML Level 3 Version 2, with parameter values and a dosing schedule.

States are parameters with rate rules, definitions are parameters with assignment rules, initial values are initial
assignments: nothing is solved or rounded, so that another simulator starts from the same equations. Time is in hours
since ``t_start``. Every dose is an event; an infusion is a rate that events switch. Amounts, lags and bioavailabilities
stay expressions of parameters, so that one loaded file serves many patients (set the parameters, reset, run).

An output at the time of a dose is the value before it here; simulators of SBML may print the value after it.

References
----------
Hucka et al. 2019, doi 10.1515/jib-2019-0021 (SBML Level 3 Version 2 Core).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libsbml
import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.files import write_text
from icans.exchange.sbml_events import add_events, rate_id
from icans.exchange.sbml_folding import folded_values
from icans.exchange.sbml_math import DEFINED, formula, functions_used, to_math
from icans.exchange.sbml_units import Units

if TYPE_CHECKING:
    from icans.mechanism.doses import Action
    from icans.mechanism.model import PatientModel

#: Namespace of what SBML has no place for: the module of a name, its unit as UCUM, where doses go in.
NAMESPACE = "urn:icans:model:1"


def export_sbml(
    model: PatientModel,
    parameters: Mapping[str, float] | npt.ArrayLike | None = None,
    doses: Sequence[Action] = (),
    *,
    t_start: float = 0.0,
    folded: bool = False,
) -> str:
    """The model, one patient's parameters and doses as the text of an SBML file.

    Parameters
    ----------
    parameters
        Other values than the typical ones: by name, or all of them, shape (parameters,).
    doses
        Doses, resets and switches, none before ``t_start``.
    t_start
        Hours since infusion at which the file's time is 0.
    folded
        Whether definitions that depend on parameters alone are written as numbers (computed for these parameters) and
        not as equations: for simulators that expand definitions, such as libRoadRunner. See
        :mod:`icans.exchange.sbml_folding`.

    Raises
    ------
    ModelError
        Parameters or doses that the model does not have or allow; a dose before the start; or the file is not
        consistent (all of libsbml's errors are told).
    """
    from icans.mechanism.doses import Switch, check

    model = _valued(model, parameters)
    check(model, doses)
    document = libsbml.SBMLDocument(3, 2)
    made = document.createModel()
    made.setId(model.name)
    made.setName("CAR T-cell therapy: patient model")
    _annotate(made, _inputs_annotation(model))
    switched = {a.parameter for a in doses if isinstance(a, Switch)}
    numbers = folded_values(model, None, switched) if folded else {}
    _note(made, _title(model, t_start, folded))
    units = Units(made)
    _times(made, units)
    functions = _functions(made, model)
    _quantities(made, model, units, switched, numbers)
    _equations(made, model, functions, numbers)
    add_events(made, model, doses, t_start, functions)
    problems = consistency(document)
    if problems:
        raise ModelError(problems)
    return str(libsbml.writeSBMLToString(document))


def write_sbml(
    target: Path | str,
    model: PatientModel,
    parameters: Mapping[str, float] | npt.ArrayLike | None = None,
    doses: Sequence[Action] = (),
    *,
    t_start: float = 0.0,
    folded: bool = False,
) -> None:
    """Write :func:`export_sbml` to a file, atomically."""
    write_text(target, export_sbml(model, parameters, doses, t_start=t_start, folded=folded))


def consistency(document: Any) -> list[Problem]:
    """What libsbml finds wrong with a document (its errors).

    Units are declared but not reasoned about: libsbml cannot follow those of a power with a fitted exponent.
    """
    document.setConsistencyChecks(libsbml.LIBSBML_CAT_UNITS_CONSISTENCY, False)
    document.setConsistencyChecks(libsbml.LIBSBML_CAT_MODELING_PRACTICE, False)
    document.checkConsistency()
    found = [document.getError(i) for i in range(document.getNumErrors())]
    return [
        Problem("sbml", int(e.getLine()) or None, None, None, "a valid document", e.getMessage().strip())
        for e in found
        if e.getSeverity() >= libsbml.LIBSBML_SEV_ERROR
    ]


def _valued(model: PatientModel, parameters: Mapping[str, float] | npt.ArrayLike | None) -> PatientModel:
    if parameters is None:
        return model
    if not isinstance(parameters, Mapping):
        values = np.asarray(parameters, dtype=float)
        if values.shape != (len(model.parameters),):
            raise ModelError([Problem("parameters", None, None, str(values.shape), f"shape ({len(model.parameters)},)",
                                      "Give one patient's parameters, in the model's order.")])  # fmt: skip
        parameters = dict(zip(model.parameters.names, values.tolist()))
    return model.with_parameters(parameters)


def _title(model: PatientModel, t_start: float, folded: bool) -> list[str]:
    drugs = ", ".join(d.label + (" (hypothetical)" if d.hypothetical else "") for d in model.drugs) or "none"
    return [
        "Systems model of CAR T-cell therapy: cells, cytokines, endothelium, blood-brain barrier, brain, drugs. "
        "Research use only. What it simulates is synthetic.",
        f"Time is in hours; 0 is {t_start:g} h after infusion of the product. Temperatures are in degrees Celsius.",
        f"Therapies in the state vector: {drugs}.",
        "What depends on parameters alone was computed for the parameters in this file." if folded else "",
        f"Equations {model.key[:16]}.",
    ]


def _times(made: Any, units: Units) -> None:
    made.setTimeUnits(units.id_of("h"))
    made.setExtentUnits("dimensionless")
    made.setSubstanceUnits("dimensionless")


def _functions(made: Any, model: PatientModel) -> dict[str, str]:
    """Add the function definitions that the equations use; names of the language -> ids, where a name was taken."""
    texts = [d.text for d in model.definitions] + list(model.rates.values()) + [s.initial for s in model.states]
    texts += [t for i in model.inputs for t in (i.scale, i.bioavailable, i.lag_h)]
    taken = {*model.state_names, *model.parameters.names, *(d.name for d in model.definitions)}
    ids = {}
    for name in functions_used(texts):
        ids[name] = name
        while ids[name] in taken:
            ids[name] += "_"
        made_function = made.createFunctionDefinition()
        made_function.setId(ids[name])
        made_function.setMath(formula(DEFINED[name]))
    return ids


def _quantities(made: Any, model: PatientModel, units: Units, switched: set[str], numbers: Mapping[str, float]) -> None:
    for row in model.parameters.rows:
        one = _quantity(made, row.name, row.unit, units, constant=row.name not in switched)
        one.setValue(row.value)
        _annotate(one, f'<of xmlns="{NAMESPACE}" role="parameter" module="{row.module}" unit="{escape(row.unit)}"/>')
        _note(one, [row.meaning, f"Status: {row.status}. Source: {row.source}"])
    for kind, items in (("state", model.states), ("definition", model.definitions)):
        for item in items:
            one = _quantity(made, item.name, item.unit, units, constant=kind == "definition" and item.name in numbers)
            if item.name in numbers:
                one.setValue(numbers[item.name])
            extra = "" if getattr(item, "nonnegative", True) else ' nonnegative="false"'
            of = f'<of xmlns="{NAMESPACE}" role="{kind}" module="{item.module}" unit="{escape(item.unit)}"{extra}/>'
            _annotate(one, of)
            _note(one, [item.meaning or item.name])
    for entry in model.inputs:
        one = _quantity(made, rate_id(model, entry), "", units, constant=False)
        one.setValue(0.0)
        _annotate(one, f'<of xmlns="{NAMESPACE}" role="rate" module="{entry.module}"/>')
        _note(one, [f"Rate of infusion of {entry.drug} into {entry.state}, per hour; events switch it."])


def _quantity(made: Any, name: str, unit: str, units: Units, *, constant: bool) -> Any:
    one = made.createParameter()
    one.setId(name)
    one.setConstant(constant)
    unit_id = units.id_of(unit) if unit else None
    if unit_id:
        one.setUnits(unit_id)
    return one


def _equations(made: Any, model: PatientModel, functions: Mapping[str, str], numbers: Mapping[str, float]) -> None:
    for definition in model.definitions:
        if definition.name in numbers:
            continue
        rule = made.createAssignmentRule()
        rule.setVariable(definition.name)
        rule.setMath(to_math(definition.text, functions))
    infused: dict[str, list[str]] = {}
    for entry in model.inputs:
        infused.setdefault(entry.state, []).append(rate_id(model, entry))
    for state in model.states:
        rule = made.createRateRule()
        rule.setVariable(state.name)
        text = " + ".join([model.rates[state.name], *infused.get(state.name, [])])
        rule.setMath(to_math(text, functions))
        start = made.createInitialAssignment()
        start.setSymbol(state.name)
        start.setMath(to_math(state.initial, functions))


def _inputs_annotation(model: PatientModel) -> str:
    def attributes(values: Mapping[str, str]) -> str:
        return " ".join(f'{k}="{escape(v)}"' for k, v in values.items())

    rows = [
        f"<module {attributes({'name': m.name, 'title': m.title, 'sources': '; '.join(m.sources)})}/>"
        for m in model.modules
    ]
    for d in model.drugs:
        about = {"name": d.name, "label": d.label, "target": d.target, "hypothetical": str(d.hypothetical).lower()}
        rows.append(f"<drug {attributes(about)}/>")
    for i in model.inputs:
        entry = {"name": i.name, "drug": i.drug, "state": i.state, "unit": i.unit, "module": i.module,
                 "routes": " ".join(i.routes), "scale": i.scale, "bioavailable": i.bioavailable,
                 "lag_h": i.lag_h}  # fmt: skip
        rows.append(f"<input {attributes(entry)}/>")
    return f'<model xmlns="{NAMESPACE}">{"".join(rows)}</model>'


def _annotate(item: Any, xml: str) -> None:
    if item.setAnnotation(xml) != libsbml.LIBSBML_OPERATION_SUCCESS:
        raise ValueError(f"annotation not accepted: {xml}")


def _note(item: Any, lines: Sequence[str]) -> None:
    body = "".join(f"<p>{escape(line)}</p>" for line in lines if line.strip())
    if item.setNotes(f'<body xmlns="http://www.w3.org/1999/xhtml">{body}</body>') != libsbml.LIBSBML_OPERATION_SUCCESS:
        raise ValueError(f"notes not accepted: {body}")
