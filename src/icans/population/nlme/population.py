"""Values of a population's parameters, and the vector of unconstrained numbers that estimators move.

The vector holds, in this order: typical values and effects of covariates (on the parameters' scales), the Cholesky
factors of the blocks of Omega and Gamma (logarithms on the diagonal), parameters of what is observed (logarithms of
SDs; cuts as the first one and logarithms of the gaps), shifts of classes and log odds of their shares against the
first. What is fixed is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from icans.population.nlme.model import Individual, NlmeModel
from icans.population.nlme.observed import ERROR_PARAMETERS, Observation, Outcome

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """Population parameters, or derivatives by them.

    ``typical``: (P,) on the parameters' scales. ``effects``: (E,). ``omega``: (d, d), ``gamma``: (d2, d2), covariances
    of ``eta`` and ``kappa``. ``errors``: (K,), natural values of :func:`error_layout`. ``shares``: (C,); ``shifts``:
    (C, P), 0 in the first row.
    """

    typical: Array
    effects: Array
    omega: Array
    gamma: Array
    errors: Array
    shares: Array
    shifts: Array


@dataclass(frozen=True, slots=True)
class ErrorParameter:
    """One parameter of what is observed: ``field`` (a, b, batch, cut, slope, memory, dispersion), place in the field.

    ``positive``: moved on a log scale.
    """

    observed: int
    field: str
    place: int
    name: str
    positive: bool
    fixed: bool


def error_layout(observed: Sequence[Observation | Outcome]) -> tuple[ErrorParameter, ...]:
    """The parameters of all observed things, in order."""
    found: list[ErrorParameter] = []
    for k, o in enumerate(observed):
        if isinstance(o, Observation):
            for field in ERROR_PARAMETERS[o.error]:
                found.append(ErrorParameter(k, field, 0, f"{o.name} {field}", True, o.fixed))
            for place, batch in enumerate(o.batches):
                found.append(ErrorParameter(k, "batch", place, f"{o.name} ln factor {batch}", False, o.fixed))
            continue
        for place in range(len(o.cuts)):
            found.append(ErrorParameter(k, "cut", place, f"{o.name} cut {place + 1}", False, o.fixed))
        found.append(ErrorParameter(k, "slope", 0, f"{o.name} slope", False, o.fixed))
        if o.memory is not None:
            found.append(ErrorParameter(k, "memory", 0, f"{o.name} memory", False, o.fixed))
        if o.dispersion is not None:
            found.append(ErrorParameter(k, "dispersion", 0, f"{o.name} dispersion", True, o.fixed))
    return tuple(found)


def _start_of(e: ErrorParameter, o: Observation | Outcome) -> float:
    if e.field == "cut":
        assert isinstance(o, Outcome)
        return o.cuts[e.place]
    return 0.0 if e.field == "batch" else float(getattr(o, e.field))


def start(model: NlmeModel) -> Population:
    """The declared starts."""
    p = len(model.parameters)
    typical = np.array([float(q.scale.forward(q.value)) for q in model.parameters])
    omega = np.diag(np.array([model.parameters[i].iiv ** 2 for i in model.varying], dtype=float))
    gamma = np.diag(np.array([model.parameters[i].iov ** 2 for i in model.occasional], dtype=float))
    errors = np.array([_start_of(e, model.observed[e.observed]) for e in error_layout(model.observed)], dtype=float)
    shares, shifts = np.ones(1), np.zeros((1, p))
    if model.mixture is not None:
        shares = np.array(model.mixture.shares)
        shifts = np.zeros((len(shares), p))
        for name, values in model.mixture.shifts.items():
            shifts[1:, model.names.index(name)] = values
    return Population(typical, np.array([e.value for e in model.effects]), omega, gamma, errors, shares, shifts)


def block_places(model: NlmeModel, *, occasions: bool = False) -> tuple[tuple[int, ...], ...]:
    """Places in ``eta`` (or ``kappa``) of each block; those in no block stand alone. Fixed ones are left out."""
    order = model.occasional if occasions else model.varying
    names = [model.parameters[i].name for i in order]
    groups = model.iov_blocks if occasions else model.blocks
    taken = {n for g in groups for n in g}
    blocks = [tuple(names.index(n) for n in g) for g in groups] + [(names.index(n),) for n in names if n not in taken]
    held = {names.index(p.name) for p in model.parameters if p.name in names and p.iiv_fixed}
    return tuple(b for b in sorted(blocks) if not held & set(b))


@dataclass(frozen=True)
class Packing:
    """Where each free number stands in the vector. Made by :func:`packing`."""

    model: NlmeModel
    names: tuple[str, ...]
    typical: Ints
    effects: Ints
    omega: tuple[tuple[int, ...], ...]
    gamma: tuple[tuple[int, ...], ...]
    errors: Ints
    layout: tuple[ErrorParameter, ...]
    shifts: tuple[tuple[int, int], ...]
    classes: int
    base: Population

    def __len__(self) -> int:
        return len(self.names)

    def pack(self, population: Population) -> Array:
        """The vector of a population."""
        parts: list[Array] = [population.typical[self.typical], population.effects[self.effects]]
        for blocks, matrix in ((self.omega, population.omega), (self.gamma, population.gamma)):
            parts += [_pack_block(matrix[np.ix_(b, b)]) for b in blocks]
        values = population.errors.copy()
        for j, e in enumerate(self.layout):
            if e.positive:
                values[j] = np.log(values[j])
            elif e.field == "cut" and e.place > 0:
                values[j] = np.log(population.errors[j] - population.errors[j - 1])
        parts.append(values[self.errors])
        parts.append(np.array([population.shifts[c, p] for c, p in self.shifts]))
        if self.classes > 1:
            parts.append(np.log(population.shares[1:] / population.shares[0]))
        return np.concatenate(parts)

    def unpack(self, vector: Array) -> Population:
        """The population of a vector; what is fixed has its declared value."""
        base, at = self.base, 0
        typical, effects, errors = base.typical.copy(), base.effects.copy(), base.errors.copy()
        omega, gamma = base.omega.copy(), base.gamma.copy()
        shares, shifts = base.shares.copy(), base.shifts.copy()
        typical[self.typical] = vector[: len(self.typical)]
        at += len(self.typical)
        effects[self.effects] = vector[at : at + len(self.effects)]
        at += len(self.effects)
        for blocks, matrix in ((self.omega, omega), (self.gamma, gamma)):
            for b in blocks:
                size = len(b) * (len(b) + 1) // 2
                factor = _factor(vector[at : at + size], len(b))
                matrix[np.ix_(b, b)] = factor @ factor.T
                at += size
        free = vector[at : at + len(self.errors)]
        at += len(self.errors)
        for j, value in zip(self.errors, free, strict=True):
            e = self.layout[j]
            gap = e.field == "cut" and e.place > 0
            errors[j] = np.exp(value) if e.positive else (errors[j - 1] + np.exp(value) if gap else value)
        for (c, p), value in zip(self.shifts, vector[at : at + len(self.shifts)], strict=True):
            shifts[c, p] = value
        at += len(self.shifts)
        if self.classes > 1:
            odds = np.concatenate([[0.0], vector[at:]])
            shares = np.exp(odds - odds.max()) / np.exp(odds - odds.max()).sum()
        return Population(typical, effects, omega, gamma, errors, shares, shifts)

    def gradient(self, vector: Array, by: Population) -> Array:
        """Derivatives by the vector from derivatives ``by`` the natural values (``omega``, ``gamma``: symmetric)."""
        here = self.unpack(vector)
        parts: list[Array] = [by.typical[self.typical], by.effects[self.effects]]
        for blocks, matrix, slope in ((self.omega, here.omega, by.omega), (self.gamma, here.gamma, by.gamma)):
            for b in blocks:
                factor = np.linalg.cholesky(matrix[np.ix_(b, b)])
                g = np.tril((slope + slope.T)[np.ix_(b, b)] @ factor)
                g[np.diag_indices(len(b))] *= np.diag(factor)
                parts.append(g[_lower(len(b))])
        slopes = by.errors.copy()
        for j in reversed(range(len(self.layout))):
            e = self.layout[j]
            if e.positive:
                slopes[j] *= here.errors[j]
            elif e.field == "cut" and e.place > 0:
                slopes[j - 1] += slopes[j]
                slopes[j] *= here.errors[j] - here.errors[j - 1]
        parts.append(slopes[self.errors])
        parts.append(np.array([by.shifts[c, p] for c, p in self.shifts]))
        if self.classes > 1:
            parts.append(here.shares[1:] * (by.shares[1:] - here.shares @ by.shares))
        return np.concatenate(parts)


@lru_cache(maxsize=64)
def _lower(size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.tril_indices(size)


def _pack_block(matrix: Array) -> Array:
    factor = np.linalg.cholesky(matrix)
    factor[np.diag_indices(len(factor))] = np.log(np.diag(factor))
    return np.asarray(factor[_lower(len(factor))])


def _factor(free: Array, size: int) -> Array:
    factor = np.zeros((size, size))
    factor[_lower(size)] = free
    factor[np.diag_indices(size)] = np.exp(np.diag(factor))
    return factor


def _free(parameters: Sequence[Individual]) -> Ints:
    return np.array([i for i, p in enumerate(parameters) if not p.fixed], dtype=np.int64)


def packing(model: NlmeModel, base: Population | None = None) -> Packing:
    """The packing of a model; ``base`` holds the values of what is fixed (the declared starts if None)."""
    layout = error_layout(model.observed)
    omega, gamma = block_places(model), block_places(model, occasions=True)
    typical = _free(model.parameters)
    effects = np.array([j for j, e in enumerate(model.effects) if not e.fixed], dtype=np.int64)
    errors = np.array([j for j, e in enumerate(layout) if not e.fixed], dtype=np.int64)
    names = [model.parameters[i].name for i in typical]
    names += [f"{model.effects[j].covariate} on {model.effects[j].parameter}" for j in effects]
    for blocks, order, word in ((omega, model.varying, "eta"), (gamma, model.occasional, "kappa")):
        for b in blocks:
            own = [model.parameters[order[i]].name for i in b]
            names += [f"chol {word} {own[i]}:{own[j]}" for i in range(len(b)) for j in range(i + 1)]
    names += [layout[j].name for j in errors]
    shifts: list[tuple[int, int]] = []
    classes = 1
    if model.mixture is not None:
        classes = len(model.mixture.classes)
        shifts = [(c, model.names.index(n)) for n in model.mixture.shifts for c in range(1, classes)]
        names += [f"{model.mixture.classes[c]} on {model.names[p]}" for c, p in shifts]
        names += [f"log odds {c}" for c in model.mixture.classes[1:]]
    return Packing(model, tuple(names), typical, effects, omega, gamma, errors, layout, tuple(shifts), classes,
                   base or start(model))  # fmt: skip
