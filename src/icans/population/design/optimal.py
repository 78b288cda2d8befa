"""Optimal sampling: which measurements, at which times, for the population or for what one wants to know of a patient.

Criteria: ``D`` (logarithm of the determinant of the population information), ``Ds`` (of the parameters of interest),
``ED`` (D averaged over uncertain population parameters), or the expected variance of a target in a subject
(c-optimal, Bayesian: Chaloner & Verdinelli 1995, Stat Sci 10:273, doi 10.1214/ss/1177009939). Search: forward
selection, then exchange (Cook & Nachtsheim 1980, Technometrics 22:315) until no exchange improves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.population.design.information import Candidates

Array = npt.NDArray[np.float64]
#: Added to an information matrix's diagonal while too few measurements are chosen to make it regular.
RIDGE = 1e-8


@dataclass(frozen=True)
class Schedule:
    """A chosen design: rows of the candidates, the criterion (larger is better) and how it grew with every row."""

    rows: tuple[int, ...]
    table: pd.DataFrame
    criterion: float
    path: tuple[float, ...]


def log_det(matrix: Array) -> float:
    """Logarithm of the determinant, with a ridge relative to the matrix's own scale where it is singular."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-12))
    scaled = matrix / np.outer(scale, scale) + RIDGE * np.eye(len(matrix))
    return float(np.linalg.slogdet(scaled)[1] + 2.0 * np.log(scale).sum())


def d_criterion(sets: Sequence[Candidates], subjects: int = 1, interest: Sequence[str] = ()) -> Criterion:
    """D (one candidate set), ED (the same candidates under several populations), Ds (``interest``: packed names)."""

    def value(rows: Sequence[int]) -> float:
        total = 0.0
        for c in sets:
            m = subjects * c.information(rows)
            if interest:
                keep = [c.pack.names.index(n) for n in interest]
                rest = [j for j in range(len(m)) if j not in keep]
                total += log_det(m) - (log_det(m[np.ix_(rest, rest)]) if rest else 0.0)
            else:
                total += log_det(m)
        return total / len(sets)

    return value


def target_criterion(sets: Sequence[Candidates], gradients: Sequence[Array]) -> Criterion:
    """Minus the log of the expected posterior variance of a target with these gradients by the random effects (D,)."""

    def value(rows: Sequence[int]) -> float:
        out = 0.0
        for c, g in zip(sets, gradients, strict=True):
            matrix = c.posterior_covariance(rows) if len(rows) else c.prior
            out -= float(np.log(g @ matrix @ g))
        return out / len(sets)

    return value


Criterion = Callable[[Sequence[int]], float]


def best_schedule(
    table: pd.DataFrame, criterion: Criterion, size: int, *, groups: npt.NDArray[np.int64] | None = None,
    fixed: Sequence[int] = (),
) -> Schedule:  # fmt: skip
    """The best ``size`` of the candidates, or of groups of them.

    ``groups``: (C,) group of each candidate: a blood draw measures all analytes of its group at once, and ``size``
    counts groups. ``fixed``: groups that are taken in any case.
    """
    group = np.arange(len(table)) if groups is None else np.asarray(groups)
    members = {int(g): np.flatnonzero(group == g) for g in np.unique(group)}

    def score(chosen: Sequence[int]) -> float:
        return criterion(np.concatenate([members[g] for g in chosen]).tolist() if chosen else [])

    chosen = list(fixed)
    path = []
    while len(chosen) < size:
        rest = [g for g in members if g not in chosen]
        values = [score([*chosen, g]) for g in rest]
        chosen.append(rest[int(np.argmax(values))])
        path.append(max(values))
    best, improved = score(chosen), True
    while improved:
        improved = False
        for place in range(len(fixed), len(chosen)):
            for g in members:
                if g in chosen:
                    continue
                trial = [*chosen[:place], g, *chosen[place + 1 :]]
                value = score(trial)
                if value > best + 1e-10:
                    chosen, best, improved = trial, value, True
    rows = tuple(int(r) for r in np.concatenate([members[g] for g in chosen]))
    return Schedule(rows, table.iloc[sorted(rows)].reset_index(drop=True), best, tuple(path))


def efficiency(better: float, worse: float, parameters: int) -> float:
    """D-efficiency of a design against another: part of the subjects that the better one would need."""
    return float(np.exp((worse - better) / parameters))
