"""Equations that repeat for every region of the brain or every solute, told once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icans.mechanism.emit.typeset import replaced

if TYPE_CHECKING:
    from icans.mechanism.declare import Definition, Flow, State
    from icans.mechanism.model import PatientModel

#: What stands for a region and for a solute in a family of equations.
REGION, SOLUTE = "r", "S"


@dataclass(frozen=True)
class Equation:
    """A state with its flows, or a definition; ``members`` are the names that share it (one if it stands alone)."""

    name: str
    unit: str
    meaning: str
    text: str
    initial: str | None
    terms: tuple[tuple[str, str], ...]
    members: tuple[str, ...]
    regions: tuple[str, ...] = ()
    solutes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """For which regions and solutes a family holds; empty for a single equation."""
        parts = [f"{REGION} = {', '.join(self.regions)}"] if self.regions else []
        parts += [f"{SOLUTE} = {', '.join(self.solutes)}"] if self.solutes else []
        return "; ".join(parts)


def equations(model: PatientModel, module: str) -> tuple[list[Equation], list[Equation]]:
    """Definitions and states of a module, families folded; in the model's order."""
    flows: dict[str, list[Flow]] = {}
    for flow in model.flows:
        flows.setdefault(flow.state, []).append(flow)
    definitions = [_definition(d) for d in model.definitions if d.module == module]
    states = [_state(s, flows[s.name], model) for s in model.states if s.module == module]
    return fold(definitions), fold(states)


def _definition(item: Definition) -> Equation:
    return Equation(item.name, item.unit, item.meaning, item.text, None, (), (item.name,))


def _state(item: State, flows: Sequence[Flow], model: PatientModel) -> Equation:
    titles = {m.name: m.title for m in model.modules}
    terms = tuple(
        (flow.text, flow.meaning + (f" ({titles.get(flow.module, flow.module)})" if flow.module != item.module else ""))
        for flow in flows
    )
    return Equation(item.name, item.unit, item.meaning, "", item.initial, terms, (item.name,))


def fold(items: Sequence[Equation]) -> list[Equation]:
    """Equations alike but for a region, a solute or both become one, where the first of them stood."""
    return _fold(_fold(list(items), _regions(), REGION), _solutes(), SOLUTE)


def _fold(items: list[Equation], tokens: Sequence[str], by: str) -> list[Equation]:
    groups: dict[tuple[object, ...], list[tuple[Equation, str]]] = {}
    keys: list[tuple[object, ...]] = []
    for item in items:
        token = next((t for t in tokens if replaced(item.name, t, by) != item.name), "")
        made = _general(item, token, by) if token else item
        key: tuple[object, ...] = (
            made.name,
            made.text,
            made.initial,
            tuple(text for text, _ in made.terms),
            made.where,
        )
        if key not in groups:
            keys.append(key)
        groups.setdefault(key, []).append((item, token))
    folded = []
    for group in (groups[k] for k in keys):
        first, token = group[0]
        if len(group) == 1:
            folded.append(first)
            continue
        general = _general(first, token, by)
        found = tuple(t for _, t in group)
        members = tuple(m for item, _ in group for m in item.members)
        meaning = _shared([item.meaning for item, _ in group], general.meaning, by)
        folded.append(
            Equation(
                general.name, first.unit, meaning, general.text, general.initial, general.terms, members,
                found if by == REGION else first.regions, found if by == SOLUTE else first.solutes,
            )
        )  # fmt: skip
    return folded


def _shared(meanings: Sequence[str], general: str, by: str) -> str:
    """What the meanings of a family have in common after their first words, which name its members."""
    if len(set(meanings)) == 1:
        return general
    ends = [m[m.index(", ") :] if ", " in m else "" for m in meanings]
    return by + ends[0] if len(set(ends)) == 1 and ends[0] else general


def _general(item: Equation, token: str, by: str) -> Equation:
    def general(text: str) -> str:
        return replaced(text, token, by)

    spoken = token.replace("_", " ")
    meaning = item.meaning.replace(spoken, by) if len(spoken) > 2 else item.meaning
    return Equation(
        general(item.name), item.unit, general(meaning), general(item.text),
        None if item.initial is None else general(item.initial),
        tuple((general(text), general(said)) for text, said in item.terms), item.members, item.regions, item.solutes,
    )  # fmt: skip


def _regions() -> tuple[str, ...]:
    from icans.mechanism.patient import REGIONS

    return REGIONS


def _solutes() -> tuple[str, ...]:
    from icans.mechanism.patient import SOLUTES

    return SOLUTES
