"""Linear compartment models in closed form: one to three compartments, bolus, infusion, first- or zero-order input.

The parts: :mod:`~icans.population.nlme.compartment_kernels` (mathematics), :mod:`~.compartment_solve` (walk through
doses and requests), here the declaration and the tables of a model bound to subjects. Amounts are in the unit of the
doses, times in hours, concentrations in the unit of the dose per unit of V (times ``scale``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.nlme.records import Administration, Subject

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Canonical parameters in the order of the kernel, by parameterisation.
CANONICAL = {
    "clearances": ("CL", "V", "Q", "V2", "Q3", "V3"),
    "rates": ("k", "V", "k12", "k21", "k13", "k31"),
}
ABSORPTION = ("none", "first", "zero", "zero-first")
COMPARTMENTS = ("depot", "central", "peripheral", "peripheral2")
#: What can be predicted: concentration in the central compartment, and amounts.
OUTPUTS = ("central", "central amount", "depot", "peripheral", "peripheral2")


@dataclass(frozen=True)
class Compartments:
    """A linear compartment model. Made by :func:`compartment_model`, which explains the fields."""

    compartments: int = 1
    absorption: str = "none"
    parameterisation: str = "clearances"
    lag: bool = False
    bioavailability: bool = False
    scale: float = 1.0
    names: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def canonical(self) -> tuple[str, ...]:
        """Canonical names of the parameters, in the order of ``psi``."""
        own = CANONICAL[self.parameterisation][: 2 * self.compartments]
        own += ("ka",) * (self.absorption in ("first", "zero-first")) + ("F",) * self.bioavailability
        return own + ("Tlag",) * self.lag + ("D",) * (self.absorption in ("zero", "zero-first"))

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the individual parameters, in the order of ``psi``."""
        return tuple(self.names.get(n, n) for n in self.canonical)

    @cached_property
    def depot(self) -> bool:
        """Whether there is a depot."""
        return "ka" in self.canonical

    @property
    def outputs(self) -> tuple[str, ...]:
        """What can be predicted."""
        return tuple(o for o, there in zip(OUTPUTS, self._there, strict=True) if there)

    @cached_property
    def _there(self) -> tuple[bool, ...]:
        return True, True, self.depot, self.compartments > 1, self.compartments > 2

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: Ints) -> CompartmentSolver:
        """Ready for the requests of subjects (see :class:`~icans.population.nlme.structural.Structural`).

        Raises
        ------
        ModelError
            Doses of another kind, into compartments that the model does not have, with amounts or durations that
            cannot be, at times that are no numbers; infusions longer than their interval at steady state: all.
        """
        problems: list[Problem] = []
        doses, events = [], []
        for s in subjects:
            one, two = self._subject(s, problems)
            doses.append(one)
            events.append(two)
        if problems:
            raise ModelError(problems)
        return CompartmentSolver.make(self, doses, events, time_h, output)

    def _subject(self, s: Subject, problems: list[Problem]) -> tuple[list[list[float]], list[list[float]]]:
        """Rows of doses and of events of one subject, as :mod:`~.compartment_solve` describes them."""
        from icans.population.nlme import compartment_kernels as kernel

        starts = np.array(s.occasions[1:], dtype=float)
        doses: list[list[float]] = []
        events: list[list[float]] = [[t, kernel.OCCASION, o, 0, 0, 0] for o, t in enumerate(starts, 1)]
        for place, d in enumerate(sorted(s.doses, key=lambda d: float(getattr(d, "time_h", 0.0))), 1):
            found = self._refuse(s, place, d)
            problems += found
            if found:
                continue
            number, to = len(doses), COMPARTMENTS.index(d.compartment) if d.compartment else self._entry
            absorbed = not d.compartment or d.compartment == COMPARTMENTS[self._entry] or d.compartment == "depot"
            where = 1 if self.absorption == "zero" and to == 0 else to
            estimated = "D" in self.canonical and to == 0 and d.duration_h == 0.0
            length = -1.0 if estimated else d.duration_h
            lags, bio = float(self.lag and absorbed), float(self.bioavailability and absorbed)
            occasion = float(np.searchsorted(starts, d.time_h, side="right"))
            doses.append([d.time_h, d.amount, where, length, d.interval_h, occasion, lags, bio])
            if d.interval_h > 0.0:
                events.append([d.time_h, kernel.STEADY, number, 0, 0, 0])
                if lags and length != 0.0:
                    previous = d.time_h + max(length, 0.0) - d.interval_h
                    events.append([previous, kernel.STOP_PREVIOUS, number, lags, float(estimated), 0])
            elif d.reset:
                events.append([d.time_h, kernel.RESET, number, 0, 0, 0])
            if d.amount > 0.0:
                events.append([d.time_h, kernel.GIVE, number, lags, 0, 0])
                if length != 0.0:
                    events.append([d.time_h + max(length, 0.0), kernel.STOP, number, lags, float(estimated), 0])
        _steady_first(events, kernel.STEADY)
        return doses, sorted(events, key=lambda e: (e[0], e[1]))

    @cached_property
    def _entry(self) -> int:
        """The compartment that doses enter which name none."""
        return 0 if self.absorption != "none" else 1

    def _refuse(self, s: Subject, place: int, d: object) -> list[Problem]:
        name = f"subject {s.id}"
        if not isinstance(d, Administration):
            remedy = "Use Administration(time_h, amount, ...) with models in closed form."
            return [Problem(name, place, "doses", type(d).__name__, "an Administration", remedy)]
        problems = []

        def refuse(column: str, value: object, expected: str, remedy: str) -> None:
            problems.append(Problem(f"{name}, dose", place, column, str(value), expected, remedy))

        known = [c for c, there in zip(COMPARTMENTS, self._compartments, strict=True) if there]
        if d.compartment and d.compartment not in known:
            refuse("compartment", d.compartment, f"one of {', '.join(known)}", "Rename it, or change the model.")
        if not np.isfinite(d.time_h):
            refuse("time_h", d.time_h, "a number of hours", "Mend the time.")
        if not (np.isfinite(d.amount) and d.amount >= 0.0):
            refuse("amount", d.amount, "0 or more", "Mend the amount.")
        if not (np.isfinite(d.duration_h) and d.duration_h >= 0.0):
            refuse("duration_h", d.duration_h, "0 (bolus) or more hours", "Mend the duration.")
        if not (np.isfinite(d.interval_h) and d.interval_h >= 0.0):
            refuse("interval_h", d.interval_h, "0 (no steady state) or more hours", "Mend the interval.")
        elif 0.0 < d.interval_h < d.duration_h:
            expected = "an interval of at least the infusion's duration"
            refuse("interval_h", d.interval_h, expected, "Write the infusions of a steady state out.")
        return problems

    @cached_property
    def _compartments(self) -> tuple[bool, ...]:
        return self.absorption != "none", True, self.compartments > 1, self.compartments > 2


def compartment_model(
    compartments: int = 1, absorption: str = "none", *, parameterisation: str = "clearances", lag: bool = False,
    bioavailability: bool = False, scale: float = 1.0, names: Mapping[str, str] | None = None,
) -> Compartments:  # fmt: skip
    """A linear compartment model in closed form.

    ``compartments``: 1 to 3. ``absorption``: ``"none"`` (doses enter the central compartment, as a bolus or over their
    ``duration_h``), ``"first"`` (a depot and ka), ``"zero"`` (at a constant rate over an estimated duration D),
    ``"zero-first"`` (so into the depot, then ka). Doses may name another compartment (``"central"`` for an intravenous
    dose of an oral model); a ``"depot"`` dose that has a ``duration_h`` takes that instead of D.

    ``parameterisation``: ``"clearances"`` (CL, V, Q, V2, Q3, V3) or ``"rates"`` (k, V, k12, k21, k13, k31; V of the
    central compartment); then come ka, ``bioavailability`` F and ``lag`` Tlag (of doses that enter where those that
    name no compartment enter), and D. ``names``: canonical name -> name to use. ``scale``: concentration per (amount
    per volume). An occasion's F, Tlag and D are those of the dose's time; from its start on the other parameters
    change, and amounts go on. Observations at the time of a dose, a reset or the start of an occasion come before it; a
    steady state is reached before the observations of its time.

    Raises
    ------
    ModelError
        Another number of compartments, unknown words, names that clash or that the model does not have: all of them.
    """
    problems = []
    for word, value, known in (
        ("compartments", compartments, (1, 2, 3)), ("absorption", absorption, ABSORPTION),
        ("parameterisation", parameterisation, tuple(CANONICAL)),
    ):  # fmt: skip
        if value not in known:
            expected = f"one of {', '.join(map(str, known))}"
            problems.append(Problem("compartment model", None, word, str(value), expected, "Use one of these."))
    if not (np.isfinite(scale) and scale > 0.0):
        problems.append(Problem("compartment model", None, "scale", str(scale), "a number above 0", "Mend it."))
    if problems:
        raise ModelError(problems)
    model = Compartments(compartments, absorption, parameterisation, lag, bioavailability, scale, dict(names or {}))
    for n in model.names:
        if n not in model.canonical:
            expected = f"one of {', '.join(model.canonical)}"
            problems.append(Problem("compartment model", None, "names", n, expected, "Use one of these."))
    if len(set(model.parameters)) < len(model.parameters):
        found = ", ".join(model.parameters)
        problems.append(Problem("compartment model", None, "names", found, "names that differ", "Rename one."))
    if problems:
        raise ModelError(problems)
    return model


@dataclass(frozen=True)
class CompartmentSolver:
    """A compartment model bound to N subjects: tables of :mod:`~icans.population.nlme.compartment_solve`."""

    model: Compartments
    places: Ints
    acts: Ints
    doses: Array
    first_dose: Ints
    events: Array
    first_event: Ints
    asked_time: Array
    asked_what: Ints
    asked_place: Ints
    asked: Ints

    @classmethod
    def make(
        cls, model: Compartments, doses: Sequence[Sequence[Sequence[float]]],
        events: Sequence[Sequence[Sequence[float]]], time_h: Array, output: Ints,
    ) -> CompartmentSolver:  # fmt: skip
        """Lay out what does not change between calls."""
        from icans.population.nlme import compartment_kernels as kernel

        whole = (*CANONICAL[model.parameterisation], "ka", "F", "Tlag", "D")
        places = np.array([model.canonical.index(n) if n in model.canonical else -1 for n in whole])
        acts = list(range(2 * model.compartments - 1))
        acts += [q for q in range(kernel.KA, kernel.DURATION + 1) if places[q + 1] >= 0]
        codes = np.flatnonzero(model._there)
        order = np.argsort(np.where(output >= 0, time_h, np.inf), axis=1, kind="stable")
        what = np.take_along_axis(np.where(output >= 0, codes[output], 0), order, axis=1)
        return cls(
            model, places, np.array(acts), _flat(doses, 8), _firsts(doses), _flat(events, 6), _firsts(events),
            np.take_along_axis(np.asarray(time_h, dtype=float), order, axis=1), what, order, (output >= 0).sum(axis=1),
        )  # fmt: skip

    def values(self, psi: Array, who: Ints) -> Array:
        """Outputs, shape (M, R); NaN where a set cannot be solved."""
        return self._solve(psi, who, want=False)[0]

    def derivatives(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Outputs (M, R) and their exact derivatives by ``psi`` (M, R, O, P)."""
        return self._solve(psi, who, want=True)

    def _solve(self, psi: Array, who: Ints, *, want: bool) -> tuple[Array, Array]:
        from icans.population.nlme.compartment_solve import solve

        m, requests = len(psi), self.asked_time.shape[1]
        values = np.full((m, requests), np.nan)
        by = np.zeros((m, requests, *psi.shape[1:]) if want else (1, 1, *psi.shape[1:]))
        solve(
            np.ascontiguousarray(psi, dtype=np.float64), np.asarray(who, dtype=np.int64), self.places, self.acts,
            self.model.compartments, self.model.depot, self.model.parameterisation == "clearances", self.model.scale,
            self.doses, self.first_dose, self.events, self.first_event, self.asked_time, self.asked_what,
            self.asked_place, self.asked, want, values, by,
        )  # fmt: skip
        return values, by


def _steady_first(events: list[list[float]], steady: int) -> None:
    """A trough at the time of a dose at steady state is one: what makes the state precedes observations of its time."""
    at = {e[0] for e in events if e[1] == steady}
    for e in events:
        e[5] = float(e[0] in at and e[1] <= steady)


def _flat(rows: Sequence[Sequence[Sequence[float]]], width: int) -> Array:
    return np.array([one for own in rows for one in own], dtype=np.float64).reshape(-1, width)


def _firsts(rows: Sequence[Sequence[Sequence[float]]]) -> Ints:
    return np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.int64)
