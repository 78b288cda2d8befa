"""How a module says what it is made of.

A module is a function ``declare(m, options)`` in :mod:`icans.mechanism.modules` that tells a :class:`Builder` its
states, definitions, rates, handles, inputs and observables, as text in the language of
:mod:`icans.mechanism.language`. Names are global: what one module defines another may use. Parameters are not
declared here but in ``parameters/<module>.toml``; an equation names them.

Time is in hours since infusion. Equations have no explicit time: what changes by the clock is a state or an input.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class State:
    """A quantity that the solver integrates. ``initial`` is an expression of parameters (and definitions of them)."""

    name: str
    unit: str
    meaning: str
    module: str
    initial: str = "0"
    nonnegative: bool = True


@dataclass(frozen=True, slots=True)
class Definition:
    """A named expression of states, parameters, inputs and other definitions."""

    name: str
    text: str
    unit: str
    meaning: str
    module: str


@dataclass(frozen=True, slots=True)
class Flow:
    """One term of a rate of change: what it is, and its expression (unit of the state per hour)."""

    state: str
    text: str
    meaning: str
    module: str


@dataclass(frozen=True, slots=True)
class Input:
    """Where doses of a drug or product go in.

    A dose of ``a`` (in ``unit``) adds ``a * scale`` to ``state``; an infusion adds it evenly over its duration, through
    a rate that the solver holds constant. ``scale``, ``bioavailable`` and ``lag_h`` are expressions of parameters
    alone; ``routes`` names the routes that lead here.
    """

    name: str
    drug: str
    state: str
    unit: str
    module: str
    routes: tuple[str, ...] = ("iv",)
    scale: str = "1"
    bioavailable: str = "1"
    lag_h: str = "0"


@dataclass(frozen=True, slots=True)
class Handle:
    """A place where drugs act: a definition in [0, 1], 0 without any, 1 - prod(1 - effect) with several."""

    name: str
    meaning: str
    module: str


@dataclass(frozen=True, slots=True)
class Observable:
    """A state or definition that can be measured: its name in the cohort's vocabulary, matrix and unit there.

    ``scale`` turns the model's unit into the cohort's.
    """

    name: str
    analyte: str
    matrix: str
    unit: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Drug:
    """A therapy as the model knows it."""

    name: str
    label: str
    target: str
    module: str
    hypothetical: bool = False
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What a module is, for documentation and diagrams."""

    name: str
    title: str
    sources: tuple[str, ...] = ()


@dataclass
class Builder:
    """Collects what modules declare. :func:`icans.mechanism.model.assemble` checks it and makes the model."""

    states: list[State] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)
    effects: list[tuple[str, str, str]] = field(default_factory=list)
    observables: list[Observable] = field(default_factory=list)
    drugs: list[Drug] = field(default_factory=list)
    modules: list[ModuleInfo] = field(default_factory=list)

    @property
    def _module(self) -> str:
        return self.modules[-1].name if self.modules else "model"

    def module(self, name: str, title: str, *sources: str) -> None:
        """Begin a module; what follows belongs to it. ``sources``: author, year, DOI."""
        self.modules.append(ModuleInfo(name, title, sources))

    def state(
        self, name: str, unit: str, meaning: str, initial: str = "0", *, nonnegative: bool = True
    ) -> None:  # fmt: skip
        """Declare a state."""
        self.states.append(State(name, unit, meaning, self._module, str(initial), nonnegative))

    def let(self, name: str, text: str, unit: str = "1", meaning: str = "") -> None:
        """Declare a definition."""
        self.definitions.append(Definition(name, text, unit, meaning, self._module))

    def flow(self, state: str, text: str, meaning: str = "") -> None:
        """Add a term to the rate of change of a state (of this module or another)."""
        self.flows.append(Flow(state, text, meaning, self._module))

    def move(self, source: str, target: str, text: str, meaning: str = "", gain: str = "1") -> None:
        """Take ``text`` per hour from one state and give ``gain`` times as much to another."""
        self.flow(source, f"-({text})", meaning)
        self.flow(target, text if gain == "1" else f"({gain})*({text})", meaning)

    def input(
        self, name: str, drug: str, state: str, unit: str, *, routes: tuple[str, ...] = ("iv",),
        scale: str = "1", bioavailable: str = "1", lag_h: str = "0",
    ) -> None:  # fmt: skip
        """Declare where doses go in."""
        self.inputs.append(Input(name, drug, state, unit, self._module, routes, scale, bioavailable, lag_h))

    def handle(self, name: str, meaning: str) -> None:
        """Declare a place where drugs may act."""
        self.handles.append(Handle(name, meaning, self._module))

    def act(self, handle: str, text: str) -> None:
        """Let a drug act at a handle; ``text`` is in [0, 1]. Acting on a handle that no module declares is an error."""
        self.effects.append((handle, text, self._module))

    def observe(self, name: str, analyte: str, unit: str, matrix: str = "plasma", scale: float = 1.0) -> None:
        """Declare a state or definition measurable."""
        self.observables.append(Observable(name, analyte, matrix, unit, scale))

    def drug(self, name: str, label: str, target: str, *sources: str, hypothetical: bool = False) -> None:
        """Begin the module of a drug."""
        self.module(name, label, *sources)
        self.drugs.append(Drug(name, label, target, name, hypothetical, sources))
