"""Posterior weights of the library's members, tempered so that they stay a sample.

The likelihood of many daily values treats their misfit as independent, which it is not: the same wrong parameter makes
every value of a patient wrong alike. Weights are therefore ``prior x labs^a x bedside^b`` with powers a and b at most
1 (a power posterior: Holmes & Walker 2017, doi 10.1093/biomet/asx010), chosen in the fit by how well what follows is
foretold. Where a patient still leaves fewer than :data:`LEAST_ESS` effective members, his own power is lowered further
until that many are left; the shares of such rows are told by the column ``mech.power``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.forecast.mechanistic.library import Array, Floats, Library
from icans.forecast.mechanistic.likelihood import Likelihood

#: Effective number of members that every posterior keeps; 20, 60 and 150 forecast virtual patients alike.
LEAST_ESS = 40.0
#: Halvings of the search for a patient's own power.
STEPS = 7


@dataclass(frozen=True)
class Tempering:
    """Powers of the likelihood of laboratory values and of the bedside."""

    labs: float = 0.3
    bedside: float = 0.5


@dataclass(frozen=True)
class Posterior:
    """Weights of shape (rows, J), their effective number, and the share of the powers that each row kept."""

    weights: Array
    ess: Floats
    power: Floats


def quantiles(weights: Array, value: Array, levels: tuple[float, ...]) -> Floats:
    """Weighted quantiles of members' values, shape (rows, levels).

    Parameters
    ----------
    weights
        Shape (rows, J).
    value
        Shape (J,).
    """
    order = np.argsort(value, kind="stable")
    edges = np.cumsum(weights[:, order], axis=1, dtype=np.float64)
    places = [np.minimum((edges < level * edges[:, -1:]).sum(axis=1), len(value) - 1) for level in levels]
    return np.asarray(np.stack([value[order][place] for place in places], axis=1), dtype=float)


def log_prior(library: Library, group: NDArray[np.intp], population: Floats) -> Array:
    """Ln prior weights for patients of product classes ``group`` (-1: any), shape (patients, J).

    ``population``: weights of the members, shape (J,) for all patients or (patients, J) for each.
    """
    weights = np.broadcast_to(population, (len(group), len(library)))
    mine = (group[:, None] < 0) | (library.group[None, :] == group[:, None])
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(mine, weights, 0.0))
    return logs.astype(np.float32)


def posterior(prior: Array, known: Likelihood, power: Tempering, least: float = LEAST_ESS) -> Posterior:
    """Weights given what is known.

    Parameters
    ----------
    prior
        ln prior weights, shape (rows, J).
    """
    told = np.float32(power.labs) * known.labs + np.float32(power.bedside) * known.bedside
    weights, ess = _weights(prior + told)
    share = np.ones(len(weights))
    short = np.flatnonzero(ess < least)
    if len(short):
        low, high = np.zeros(len(short)), np.ones(len(short))
        before, mine = prior[short], told[short]
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            enough = _effective(before + middle.astype(np.float32)[:, None] * mine) >= least
            low, high = np.where(enough, middle, low), np.where(enough, high, middle)
        share[short] = low
        weights[short], ess[short] = _weights(before + low.astype(np.float32)[:, None] * mine)
    return Posterior(weights, ess, share)


def _weights(logs: Array) -> tuple[Array, Floats]:
    """Weights of logarithms (overwritten), and their effective number."""
    total, square = _exponentials(logs)
    logs /= total[:, None]
    return logs, total.astype(float) ** 2 / square


def _effective(logs: Array) -> Floats:
    """The effective number alone."""
    total, square = _exponentials(logs)
    return total.astype(float) ** 2 / square


def _exponentials(logs: Array) -> tuple[Array, Array]:
    """Exponentials in place, the largest of each row 1; their sums and sums of squares."""
    logs -= logs.max(axis=1, keepdims=True)
    np.exp(logs, out=logs)
    return logs.sum(axis=1), np.einsum("ij,ij->i", logs, logs)
