"""What the model knows of each therapy: name, target, routes, where it acts, whether it was ever given to people.

A hypothetical therapy carries the word wherever it is shown: use :attr:`Therapy.title`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.parameters import unknown
from icans.mechanism.patient import Options, available_drugs

#: What is added to the name of a therapy (or regimen) that nobody has received for this purpose.
MARK = "hypothetical"


@dataclass(frozen=True, slots=True)
class Therapy:
    """A therapy of the model.

    Attributes
    ----------
    name, label, target
        Its name in doses and options, its name for people, and what it acts on.
    hypothetical
        There are no data of it in patients with this toxicity.
    routes
        Routes by which it can be given (``iv``, ``po``, ``sc``, ``im``).
    handles
        Handles of the model at which it acts; empty where it acts on cells by its own flows.
    sources
        Author, year, DOI.
    """

    name: str
    label: str
    target: str
    hypothetical: bool
    routes: tuple[str, ...]
    handles: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def title(self) -> str:
        """The label, marked if hypothetical."""
        return f"{self.label} ({MARK})" if self.hypothetical else self.label


@cache
def therapies() -> Mapping[str, Therapy]:
    """Every therapy of the model, by name in alphabetical order."""
    return MappingProxyType({name: _read(name) for name in available_drugs()})


def therapy(name: str) -> Therapy:
    """One therapy.

    Raises
    ------
    ModelError
        There is none of that name; the nearest names are told.
    """
    if name not in therapies():
        raise ModelError([unknown("drug", name, therapies())])
    return therapies()[name]


def _read(name: str) -> Therapy:
    m = Builder()
    import_module(f"icans.mechanism.modules.drugs.{name}").declare(m, Options())
    drug = m.drugs[0]
    routes = sorted({route for entry in m.inputs for route in entry.routes})
    handles = dict.fromkeys(handle for handle, _, _ in m.effects)
    return Therapy(name, drug.label, drug.target, drug.hypothetical, tuple(routes), tuple(handles), drug.sources)
