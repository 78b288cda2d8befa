"""Where patients are, and when: Aalen-Johansen for any states, with intervals, from spells.

The transition matrix is the product of I + dA(u) over the times u at which somebody moves, dA(u) holding moves over
patients at risk (Aalen OO, Johansen S, Scand J Stat 1978;5:141). Occupation probabilities are right even where the
future depends on more than the present state (Datta S, Satten GA, Stat Probab Lett 2001;55:403); probabilities *from
a state at a later time* are not, unless only the patients who are in it then are used, which ``landmark=True`` does
(Putter H, Spitoni C, Stat Methods Med Res 2018;27:2081). Intervals are percentiles over bootstrap samples of patients,
or from Greenwood's formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.states import UNSEEN, Spells

Floats = NDArray[np.float64]

#: Fewest patients to start from.
MIN_PATIENTS = 10


@dataclass(frozen=True)
class Occupation:
    """Probability of each state over time.

    Attributes
    ----------
    names
        States.
    at
        Hours, the start first, shape (T,).
    probability, low, high
        Shape (T, states); bounds NaN where no interval was asked for.
    patients
        Patients at the start.
    """

    names: tuple[str, ...]
    at: Floats
    probability: Floats
    low: Floats
    high: Floats
    patients: int

    def when(self, hours: float) -> pd.DataFrame:
        """Probabilities at one time (the last change before it): state, probability, low, high."""
        k = int(np.searchsorted(self.at, hours, side="right")) - 1
        if k < 0:
            raise ValueError(f"{hours} h lies before the start ({self.at[0]:g} h)")
        columns = {"probability": self.probability[k], "low": self.low[k], "high": self.high[k]}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="state"))

    def mean_time(self, until_h: float) -> pd.Series:
        """Expected hours in each state from the start to ``until_h``."""
        inside = self.at < until_h
        width = np.diff(np.r_[self.at[inside], until_h])
        return pd.Series(width @ self.probability[inside], index=list(self.names))


def counts(spells: Spells, weight: Floats | None = None) -> tuple[Floats, Floats, Floats]:
    """Times of moves (T,), moves (T, S, S), patients at risk (T, S), each spell counted with ``weight``."""
    table, size = spells.table, len(spells.names)
    w = np.ones(len(table)) if weight is None else weight
    start, stop, state, after = (table[name].to_numpy() for name in ("start_h", "stop_h", "state", "next"))
    moved = after != UNSEEN
    at = np.unique(stop[moved])
    moves, at_risk = np.zeros((len(at), size, size)), np.zeros((len(at), size))
    np.add.at(moves, (np.searchsorted(at, stop[moved]), state[moved], after[moved]), w[moved])
    # At risk at u: entered before u, left at u or later.
    entered, left = np.searchsorted(at, start, side="right"), np.searchsorted(at, stop, side="right")
    change = np.zeros((len(at) + 1, size))
    np.add.at(change, (entered, state), w)
    np.add.at(change, (left, state), -w)
    at_risk = np.cumsum(change, axis=0)[:-1]
    return at, moves, np.maximum(at_risk, 0.0)


def increments(moves: Floats, at_risk: Floats) -> Floats:
    """Transition matrices I + dA, shape (T, S, S)."""
    share = np.divide(moves, at_risk[:, :, None], out=np.zeros_like(moves), where=at_risk[:, :, None] > 1e-9)
    size = moves.shape[1]
    share[:, range(size), range(size)] = 1.0 - (share.sum(axis=2) - share[:, range(size), range(size)])
    return share


def transition_matrix(spells: Spells, start_h: float, end_h: float) -> pd.DataFrame:
    """Aalen-Johansen matrix of probabilities from each state at ``start_h`` to each at ``end_h``.

    Assumes that the present state tells all of the past that matters (Markov).
    """
    at, moves, at_risk = counts(spells)
    inside = (at > start_h) & (at <= end_h)
    product = np.eye(len(spells.names))
    for step in increments(moves[inside], at_risk[inside]):
        product = product @ step
    return pd.DataFrame(product, index=list(spells.names), columns=list(spells.names))


def occupation(
    spells: Spells,
    start_h: float = 0.0,
    *,
    state: str | None = None,
    landmark: bool = True,
    intervals: Literal["bootstrap", "greenwood", "none"] = "bootstrap",
    level: float = 0.95,
    n_boot: int = 200,
    seed: int = 0,
) -> Occupation:
    """State occupation probabilities from a start on.

    Parameters
    ----------
    spells
        Paths (:func:`icans.forecast.states.spells`).
    start_h
        Hours since infusion at which the patients are as they are.
    state
        Start from this state; None: from where the patients are.
    landmark
        With a ``state``: use only the patients who are in it at ``start_h`` (needs no Markov assumption), or all
        patients' moves after it.
    intervals, level, n_boot, seed
        How intervals are made.

    Raises
    ------
    NotEstimableError
        Fewer than ten patients at the start.
    """
    used, here, people = _starters(spells, start_h, state, landmark)
    at, moves, at_risk = counts(used)
    later = at > start_h
    grid, size = np.r_[start_h, at[later]], len(spells.names)
    first = np.bincount(used.table["state"].to_numpy()[here], minlength=size) / here.sum()
    steps = increments(moves[later], at_risk[later])
    probability = _along(first[None], steps[None])[0]
    low = high = np.full_like(probability, np.nan)
    if intervals == "bootstrap":
        low, high = _bootstrap(used, here, start_h, grid, level, n_boot, seed)
    elif intervals == "greenwood":
        spread = _greenwood(first, people if state is None else np.inf, steps, at_risk[later])
        low, high = _bounds(probability, spread, level)
    return Occupation(spells.names, grid, probability, low, high, people)


def _starters(
    spells: Spells, start_h: float, state: str | None, landmark: bool
) -> tuple[Spells, NDArray[np.bool_], int]:
    """The spells that are used, which of them are under way at the start, and how many patients these are."""
    number = None if state is None else spells.number(state)

    def under_way(table: pd.DataFrame) -> NDArray[np.bool_]:
        # Whoever moves at the start is already in the next state.
        there = (table["start_h"] <= start_h) & (table["stop_h"] > start_h)
        if number is not None:
            there &= table["state"] == number
        return there.to_numpy(dtype=bool)

    people = set(spells.table.loc[under_way(spells.table), "patient_id"])
    if len(people) < MIN_PATIENTS:
        where = "" if state is None else f" in state {state!r}"
        raise NotEstimableError(f"{len(people)} patients{where} at hour {start_h:g}: fewer than {MIN_PATIENTS}")
    used = spells.of(people) if landmark or state is None else spells
    return used, under_way(used.table), len(people)


def _along(first: Floats, steps: Floats) -> Floats:
    """Row vectors carried through the matrices: (B, S) and (B, T, S, S) to (B, T + 1, S)."""
    path = [first]
    for k in range(steps.shape[1]):
        path.append(np.einsum("bs,bst->bt", path[-1], steps[:, k]))
    return np.stack(path, axis=1)


def _bootstrap(
    used: Spells, here: NDArray[np.bool_], start_h: float, grid: Floats, level: float, n_boot: int, seed: int
) -> tuple[Floats, Floats]:
    """Percentiles over samples of patients (a sample in which nobody is at the start is left out)."""
    ids, code = np.unique(used.table["patient_id"].to_numpy(dtype=str), return_inverse=True)
    state, size = used.table["state"].to_numpy(), len(used.names)
    first, steps = [], []
    for k in range(n_boot):
        rng = stream(seed, "occupation", k)
        weight = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids)).astype(float)[code]
        if weight[here].sum() == 0:
            continue
        at, moves, at_risk = counts(used, weight)
        later = at > start_h
        first.append(np.bincount(state[here], weight[here], size) / weight[here].sum())
        steps.append(increments(moves[later], at_risk[later]))
    paths = _along(np.array(first), np.array(steps))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(paths, [tail, 100.0 - tail], axis=0)
    return low, high


def _greenwood(first: Floats, people: float, steps: Floats, at_risk: Floats) -> Floats:
    """Standard errors of the occupation probabilities, shape (T + 1, S) (Andersen PK et al. 1993, section IV.4)."""
    size = len(first)
    covariance = (np.diag(first) - np.outer(first, first)) / people
    p, found = first, [np.diag(covariance)]
    for step, risk in zip(steps, at_risk, strict=True):
        covariance = step.T @ covariance @ step
        for j in range(size):
            if risk[j] <= 0 or p[j] == 0:
                continue
            share = step[j]
            covariance = covariance + p[j] ** 2 * (np.diag(share) - np.outer(share, share)) / risk[j]
        p = p @ step
        found.append(np.diag(covariance))
    return np.sqrt(np.maximum(np.array(found), 0.0))


def _bounds(probability: Floats, spread: Floats, level: float) -> tuple[Floats, Floats]:
    """Intervals on the log odds, so that they stay within 0 and 1; none where the probability is 0 or 1."""
    inside = (probability > 1e-9) & (probability < 1 - 1e-9)
    p = np.where(inside, probability, 0.5)
    centre, width = np.log(p / (1 - p)), norm.ppf(0.5 + level / 2) * spread / (p * (1 - p))
    low, high = (expit(centre + sign * width) for sign in (-1, 1))
    return np.where(inside, low, probability), np.where(inside, high, probability)
