"""Individual parameters as latent variables with a linear mean: what SAEM samples and regresses on.

Of a subject, ``v = [parameters that vary between subjects, then those of every occasion]``, shape (D,), has the mean
``B[class, subject] theta`` and the covariance of ``b`` (Omega, then Gamma per occasion): ``v = B theta + b``. A
parameter that varies between subjects and occasions has its mean in the first part and 0 in the second; one that only
varies between occasions has it there. Parameters that do not vary at all are not in ``v`` (``still``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from icans.population.nlme.likelihood import Bound, covariance
from icans.population.nlme.model import Prior
from icans.population.nlme.population import Population

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Latent:
    """The linear model of the latent variables of N subjects. Made by :func:`latent_model`.

    ``theta``: [typical values, effects of covariates, shifts of classes] of all parameters; ``moves`` (P,): which
    parameters are in ``v``; ``design``: (C, N, D, Q); ``inside`` (Q,): which coefficients act through ``v``;
    ``free`` (Q,): which are estimated; ``active`` (N, D): False for occasions that a subject does not have; ``priors``:
    coefficient -> its prior.
    """

    bound: Bound
    moves: Bools
    design: Array
    inside: Bools
    free: Bools
    active: Bools
    priors: dict[int, Prior]
    owner: Ints
    covariate: Ints
    classes: Ints

    @property
    def everywhere(self) -> bool:
        """Whether every subject has all occasions."""
        return bool(self.active.all())

    def theta(self, population: Population) -> Array:
        """Coefficients of a population, (Q,)."""
        p = len(self.moves)
        e = len(population.effects)
        own, cls = self.owner[p + e :], self.classes[p + e :]
        return np.concatenate([population.typical, population.effects, population.shifts[cls, own]])

    def with_theta(self, population: Population, theta: Array) -> Population:
        """The population with other coefficients."""
        p, e = len(self.moves), len(population.effects)
        shifts = population.shifts.copy()
        shifts[self.classes[p + e :], self.owner[p + e :]] = theta[p + e :]
        return replace(population, typical=theta[:p].copy(), effects=theta[p : p + e].copy(), shifts=shifts)

    def mean(self, population: Population) -> Array:
        """Means of ``v`` by class, (C, N, D)."""
        return np.asarray(self.design @ self.theta(population))

    def base(self, population: Population) -> Array:
        """What ``phi`` is without ``v``: means of the still parameters by class, (C, N, P); 0 for the others."""
        theta, c, n = self.theta(population), len(population.shares), len(self.bound)
        out = np.zeros((c, n, len(self.moves)))
        for q in np.flatnonzero(~self.inside):
            p = self.owner[q]
            x = self.bound.design[:, self.covariate[q]] if self.covariate[q] >= 0 else np.ones(n)
            if self.classes[q] > 0:
                out[self.classes[q], :, p] += theta[q] * x
            else:
                out[:, :, p] += theta[q] * x
        return out

    def precision(self, population: Population) -> Array:
        """Inverse of the covariance of ``v``, (D, D)."""
        return np.asarray(np.linalg.inv(self.covariance(population)))

    def covariance(self, population: Population) -> Array:
        """Covariance of ``v`` given its mean, (D, D)."""
        return population.omega if len(population.gamma) == 0 else covariance(self.bound, population)

    @cached_property
    def rows(self) -> Ints:
        """Coefficient (typical value) of each place of ``eta``, (d,)."""
        return np.array(self.bound.model.varying, dtype=np.int64)

    @cached_property
    def simple(self) -> bool:
        """Whether coefficients are plain means of ``v``: no covariates, classes, occasions, priors, nothing fixed."""
        bound = self.bound
        return (
            len(self.design) == 1 and not bound.model.effects and not bound.model.occasional and not self.priors
            and bool(self.free[self.inside].all())
        )  # fmt: skip


def latent_model(bound: Bound) -> Latent:
    """The latent variables of a bound model."""
    model = bound.model
    d, k, n, o = len(model.varying), len(model.occasional), len(bound), bound.occasions
    names, count = model.names, len(model.parameters)
    owner = list(range(count)) + [names.index(e.parameter) for e in model.effects]
    covariate = [-1] * count + list(range(len(model.effects)))
    classes = [0] * len(owner)
    free = [not p.fixed for p in model.parameters] + [not e.fixed for e in model.effects]
    priors = {p: q.prior for p, q in enumerate(model.parameters) if q.prior is not None and not q.fixed}
    priors |= {count + j: e.prior for j, e in enumerate(model.effects) if e.prior is not None and not e.fixed}
    total = 1
    if model.mixture is not None:
        total = len(model.mixture.classes)
        for name in model.mixture.shifts:
            for c in range(1, total):
                owner.append(names.index(name))
                covariate.append(-1)
                classes.append(c)
                free.append(True)
    # Row of v that carries the mean of a parameter: between subjects if it varies so, else every occasion's.
    rows = {p: [j] for j, p in enumerate(model.varying)}
    for j, p in enumerate(model.occasional):
        if p not in rows:
            rows[p] = [d + place * k + j for place in range(o)]
    design = np.zeros((total, n, bound.size, len(owner)))
    for q, p in enumerate(owner):
        x = bound.design[:, covariate[q]] if covariate[q] >= 0 else np.ones(n)
        for row in rows.get(p, []):
            for c in range(total):
                if classes[q] in (0, c):
                    design[c, :, row, q] = x
    moves = np.array([p in rows for p in range(count)])
    active = np.ones((n, bound.size), dtype=bool)
    for i, s in enumerate(bound.records.subjects):
        active[i, d + k * max(1, len(s.occasions)) :] = False
    design *= active[None, :, :, None]
    return Latent(
        bound, moves, design, moves[np.array(owner, dtype=np.int64)], np.array(free, dtype=bool), active, priors,
        np.array(owner, dtype=np.int64), np.array(covariate, dtype=np.int64), np.array(classes, dtype=np.int64),
    )  # fmt: skip
