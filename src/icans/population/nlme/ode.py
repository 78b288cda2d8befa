"""Any compiled model of :mod:`icans.mechanism` as a structural model.

An individual parameter is a parameter of the model, or moves several of them together (``links``): a model parameter
is its own value times the individual parameter to a power. Derivatives are the solver's forward sensitivities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Action, Switch
from icans.mechanism.parameters import unknown
from icans.population.nlme.records import Subject

if TYPE_CHECKING:
    from icans.mechanism.engine.prepared import Prepared
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Relative step of differences, used only for parameters that change between occasions.
STEP = 1e-4


@dataclass(frozen=True)
class OdeModel:
    """A compiled model with the individual parameters ``parameters``.

    ``links``: individual parameter -> {model parameter: power}; an individual parameter without links is the model
    parameter of its name. ``covariates``: model parameter -> covariate that gives its value in each subject (body
    weight ...). ``outputs``: states and definitions that can be asked for (all if empty). ``rtol``: tolerance of the
    solver. ``start``: ``"initial"`` or ``"steady"``; ``t_start``: hours at which integration starts.
    """

    model: PatientModel
    parameters: tuple[str, ...]
    outputs: tuple[str, ...]
    links: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    covariates: Mapping[str, str] = field(default_factory=dict)
    rtol: float = 1e-6
    start: str = "initial"
    t_start: float = 0.0
    threads: int | None = None

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: Ints) -> OdeSolver:
        """Ready for the requests of subjects (see :class:`~icans.population.nlme.structural.Structural`).

        Raises
        ------
        ModelError
            Doses that the model cannot take, times before the start, missing covariates: all of them, by subject.
        """
        from icans.mechanism.doses import check

        problems: list[Problem] = []
        rows = []
        for i, s in enumerate(subjects):
            try:
                check(self.model, s.doses)
            except ModelError as error:
                problems += [Problem(f"subject {s.id}", p.row, p.column, p.value, p.expected, p.remedy)
                             for p in error.problems]  # fmt: skip
            early = np.flatnonzero(time_h[i] < self.t_start)
            if len(early):
                expected, remedy = f"hours from {self.t_start:g} on", "Start the model earlier (t_start)."
                found = f"{time_h[i][early[0]]:g}"
                problems.append(Problem(f"subject {s.id}", None, "time_h", found, expected, remedy))
            values = {p: float(s.covariates.get(c, np.nan)) for p, c in self.covariates.items()}
            problems += [Problem(f"subject {s.id}", None, self.covariates[p], "nan", "a number", "Give the covariate.")
                         for p, v in values.items() if not np.isfinite(v)]  # fmt: skip
            rows.append(values)
        if problems:
            raise ModelError(problems)
        return OdeSolver.make(self, subjects, time_h, output, rows)


def ode_model(
    model: PatientModel, parameters: Sequence[str], outputs: Sequence[str], *,
    links: Mapping[str, Mapping[str, float]] | None = None, covariates: Mapping[str, str] | None = None,
    rtol: float = 1e-6, start: str = "initial", t_start: float = 0.0, threads: int | None = None,
) -> OdeModel:  # fmt: skip
    """A compiled model as a structural model.

    Raises
    ------
    ModelError
        Names that the model does not have (the nearest are told), a model parameter that two individual parameters
        claim as their own: all of them.
    """
    links = links or {}
    names = model.parameters.names
    problems = [unknown("parameter", p, names) for p in parameters if p not in links and p not in names]
    problems += [unknown("parameter", q, names) for own in links.values() for q in own if q not in names]
    problems += [unknown("individual parameter", p, tuple(parameters)) for p in links if p not in parameters]
    problems += [unknown("parameter", p, names) for p in covariates or {} if p not in names]
    problems += [unknown("state or definition", o, model.units) for o in outputs if o not in model.units]
    if len(set(parameters)) < len(parameters):
        problems.append(Problem("parameters", None, None, str(parameters), "each name once", "Leave one out."))
    if problems:
        raise ModelError(problems)
    return OdeModel(model, tuple(parameters), tuple(outputs), links, covariates or {}, rtol, start, t_start, threads)


@dataclass(frozen=True)
class OdeSolver:
    """A compiled model bound to subjects.

    ``times``: (N, T) distinct times of each subject, ascending, NaN pads; ``place``: (N, R) where each request is
    among them; ``pick``: (N, R) which output. ``base``: (N, model parameters) before individual parameters act.
    ``power``: (P, involved), exponents of the individual parameters in the ``involved`` model parameters; ``own``: (P,)
    place in ``involved`` of those that set their parameter outright, -1 for links.
    """

    ode: OdeModel
    doses: tuple[tuple[Action, ...], ...]
    occasions: tuple[tuple[float, ...], ...]
    times: Array
    place: Ints
    pick: Ints
    base: Array
    involved: tuple[str, ...]
    columns: Ints
    power: Array
    own: Ints
    low: Array
    high: Array

    @classmethod
    def make(
        cls, ode: OdeModel, subjects: Sequence[Subject], time_h: Array, output: Ints,
        rows: Sequence[Mapping[str, float]],
    ) -> OdeSolver:  # fmt: skip
        """Lay out what does not change between calls."""
        table = ode.model.parameters
        times, place = _distinct(time_h, ode.t_start)
        base = np.tile(table.values_array(), (len(subjects), 1))
        for i, values in enumerate(rows):
            for name, value in values.items():
                base[i, table.place(name)] = value
        linked = [q for p in ode.parameters for q in ode.links.get(p, {})]
        involved = tuple(dict.fromkeys([p for p in ode.parameters if p not in ode.links] + linked))
        power = np.zeros((len(ode.parameters), len(involved)))
        own = np.full(len(ode.parameters), -1)
        for j, p in enumerate(ode.parameters):
            if p not in ode.links:
                own[j] = involved.index(p)
            for q, exponent in ode.links.get(p, {}).items():
                power[j, involved.index(q)] = exponent
        bounds = [(table[q].lower, table[q].upper) for q in involved]
        low, high = np.array(bounds, dtype=float).reshape(-1, 2).T
        return cls(ode, tuple(tuple(s.doses) for s in subjects), tuple(s.occasions for s in subjects), times, place,
                   np.maximum(output, 0), base, involved, np.array([table.place(q) for q in involved]), power, own,
                   low, high)  # fmt: skip

    def values(self, psi: Array, who: Ints) -> Array:
        """Outputs, shape (M, R); NaN where a set cannot be solved."""
        values, _ = self._solve(psi, who, derivatives=False)
        return values

    def derivatives(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Outputs (M, R) and their derivatives by ``psi`` (M, R, O, P)."""
        if psi.shape[1] > 1:
            return self._differences(psi, who)
        values, by = self._solve(psi, who, derivatives=True)
        assert by is not None
        return values, by[:, :, None, :]

    def _parameters(self, psi: Array, who: Ints) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """Model parameters (M, all), values of the involved (M, involved), and which sets lie within bounds."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            start = self.base[who][:, self.columns]
            direct = self.own >= 0
            start[:, self.own[direct]] = psi[:, direct]
            factor = np.exp(np.log(np.where(psi > 0.0, psi, np.nan))[:, ~direct] @ self.power[~direct])
            involved = start * factor
            inside = np.isfinite(involved) & (involved >= self.low) & (involved <= self.high)
        good: npt.NDArray[np.bool_] = np.asarray(np.all(inside, axis=1), dtype=np.bool_)
        full = self.base[who]
        full[np.ix_(good, self.columns)] = involved[good]
        return full, involved, good

    @cached_property
    def _plain(self) -> Prepared:
        """Everything but parameters, for values."""
        return self._prepare(())

    @cached_property
    def _tangent(self) -> Prepared:
        """Everything but parameters, for values and derivatives by the involved parameters."""
        return self._prepare(self.involved)

    def _prepare(self, by: tuple[str, ...]) -> Prepared:
        from icans.mechanism.engine.prepared import prepare

        o = self.ode
        return prepare(o.model, list(self.doses), self.times, outputs=o.outputs, sensitivities=by, rtol=o.rtol,
                       threads=o.threads, start=o.start, t_start=o.t_start)  # fmt: skip

    def _solve(self, psi: Array, who: Ints, *, derivatives: bool) -> tuple[Array, Array | None]:
        full, involved, good = self._parameters(psi[:, 0], who)
        if psi.shape[1] > 1:
            found, ok = self._switched(full, psi, who)
            by = None
        else:
            run = (self._tangent if derivatives else self._plain).run(full, who)
            found, ok, by = run.values, run.ok, run.derivatives
        fine = good & ok
        rows, at = np.arange(len(who))[:, None], self.place[who]
        values = np.where(fine[:, None] & (at >= 0), found[rows, np.maximum(at, 0), self.pick[who]], np.nan)
        if not derivatives or by is None:
            return values, None
        slopes = by[rows, np.maximum(at, 0), self.pick[who]]
        slopes[~np.isfinite(values)] = np.nan
        return values, slopes @ self._chain(psi[:, 0], involved)

    def _switched(self, full: Array, psi: Array, who: Ints) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Values where parameters change between occasions: every set has doses of its own."""
        from icans.mechanism.engine.simulate import simulate

        doses = [self._doses(psi[m], int(i)) for m, i in enumerate(who)]
        run = simulate(
            self.ode.model, full, doses, self.times[who], outputs=self.ode.outputs, rtol=self.ode.rtol,
            threads=self.ode.threads, start=self.ode.start, t_start=self.ode.t_start,
        )  # fmt: skip
        return run.values, run.ok

    def _chain(self, psi: Array, involved: Array) -> Array:
        """Derivatives of the involved model parameters by ``psi``: (M, involved, P)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            out = involved[:, :, None] * self.power.T[None] / psi[:, None, :]
            for j, i in enumerate(self.own):
                if i >= 0:
                    out[:, i, j] = involved[:, i] / psi[:, j]
        for j, i in enumerate(self.own):  # no power acts on most: exact also where psi is 0
            if i >= 0 and not self.power[:, i].any():
                out[:, i, j] = 1.0
        return np.asarray(np.where(np.isfinite(out), out, 0.0))

    def _doses(self, psi: Array, i: int) -> tuple[Action, ...]:
        """Doses, and switches of parameters at the start of every occasion after the first."""
        extra: list[Action] = []
        for o, hours in enumerate(self.occasions[i][1:], 1):
            _, involved, _ = self._parameters(psi[o][None], np.array([i]))
            changed = np.flatnonzero(psi[o] != psi[0])
            for j in changed:
                for place in {int(self.own[j])} - {-1} | set(map(int, np.flatnonzero(self.power[j]))):
                    extra.append(Switch(hours, self.involved[place], float(involved[0, place])))
        return (*self.doses[i], *extra)

    def _differences(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Central differences by every occasion's parameters, all of them solved at once."""
        m, occasions, p = psi.shape
        sets = [psi]
        steps = STEP * np.maximum(np.abs(psi), STEP)
        for o in range(occasions):
            for j in range(p):
                for sign in (1.0, -1.0):
                    moved = psi.copy()
                    moved[:, o, j] += sign * steps[:, o, j]
                    sets.append(moved)
        values = self.values(np.concatenate(sets), np.tile(who, len(sets))).reshape(len(sets), m, -1)
        by = np.empty((m, values.shape[2], occasions, p))
        for o in range(occasions):
            for j in range(p):
                at = 1 + 2 * (o * p + j)
                by[:, :, o, j] = (values[at] - values[at + 1]) / (2.0 * steps[:, None, o, j])
        return values[0], by


def _distinct(time_h: Array, t_start: float) -> tuple[Array, Ints]:
    """Distinct times of every subject, (N, T) padded with NaN, and where each request is among them (-1 pads)."""
    rows = [np.unique(row[np.isfinite(row)]) for row in time_h]
    rows = [row if len(row) else np.array([t_start]) for row in rows]
    times = np.full((len(rows), max(map(len, rows))), np.nan)
    place = np.full(time_h.shape, -1)
    for i, row in enumerate(rows):
        times[i, : len(row)] = row
        known = np.isfinite(time_h[i])
        place[i, known] = np.searchsorted(row, time_h[i, known])
    return times, place
