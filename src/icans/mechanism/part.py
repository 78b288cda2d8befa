"""The part of a model that some outputs depend on: the same equations with fewer states.

Nothing is approximated: a state is left out only when neither a wanted output nor any state that is kept uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from icans.core.errors import ModelError
from icans.mechanism.language import names_in
from icans.mechanism.model import PatientModel
from icans.mechanism.parameters import unknown


def part_of(model: PatientModel, outputs: Iterable[str]) -> PatientModel:
    """The smallest closed part of ``model`` that gives ``outputs`` (states and definitions).

    Inputs into states that are left out, and observables of what is left out, go with them; parameters that nothing
    uses any more, too.

    Raises
    ------
    ModelError
        Outputs that the model does not have: all of them, with the nearest names.
    """
    wanted = tuple(outputs)
    missing = [unknown("state or definition", o, model.units) for o in wanted if o not in model.units]
    if missing:
        raise ModelError(missing)
    needs = _needs(model)
    kept: set[str] = set()
    open_ = list(wanted)
    while open_:
        name = open_.pop()
        if name in kept:
            continue
        kept.add(name)
        open_ += [n for n in needs.get(name, ()) if n not in kept]
    states = tuple(s for s in model.states if s.name in kept)
    inputs = tuple(i for i in model.inputs if i.state in kept)
    texts = [t for i in inputs for t in (i.scale, i.bioavailable, i.lag_h)]
    for text in texts:
        for name in names_in(text):
            kept |= _closure(name, needs)
    return replace(
        model,
        name=f"part of {model.name}",
        states=states,
        parameters=model.parameters.select(n for n in model.parameters.names if n in kept),
        definitions=tuple(d for d in model.definitions if d.name in kept),
        flows=tuple(f for f in model.flows if f.state in kept),
        inputs=inputs,
        observables=tuple(o for o in model.observables if o.name in kept),
    )


def _needs(model: PatientModel) -> dict[str, frozenset[str]]:
    """What every state and definition uses: states by their rate and initial value."""
    needs = {d.name: names_in(d.text) for d in model.definitions}
    for state in model.states:
        needs[state.name] = names_in(model.rates[state.name]) | names_in(state.initial)
    return needs


def _closure(name: str, needs: dict[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    open_ = [name]
    while open_:
        one = open_.pop()
        if one not in found:
            found.add(one)
            open_ += list(needs.get(one, ()))
    return found
