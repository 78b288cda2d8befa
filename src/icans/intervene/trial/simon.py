"""Single arm in two stages with a binary endpoint: exact characteristics, and the designs of Simon.

After ``n1`` patients the trial stops if at most ``r1`` had a success; after ``n`` it calls the treatment worth while if
more than ``r`` had one (Simon 1989, doi 10.1016/0197-2456(89)90015-9). Here a success is what the trial hopes for; for
a harm it is the patient without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, bdtrc

from icans.core.errors import ConfigError, Problem

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwoStage:
    """A two-stage design with its exact characteristics at ``p0`` (error, stopping early, mean size) and ``p1``."""

    r1: int
    n1: int
    r: int
    n: int
    error: float
    power: float
    stop_early: float
    expected_n: float


def characteristics(r1: int, n1: int, r: int, n: int, p: float) -> tuple[float, float, float]:
    """Chance to call the treatment worth while, chance to stop after the first stage, and mean size, at a rate."""
    x1 = np.arange(r1 + 1, n1 + 1)
    go = float((_mass(n1, p)[x1] * _above(r - x1, n - n1, p)).sum())
    stop = float(bdtr(r1, n1, p))
    return go, stop, n1 + (1.0 - stop) * (n - n1)


def two_stage(p0: float, p1: float, alpha: float, power: float, *, minimax: bool = False, most: int = 120) -> TwoStage:
    """The design of smallest mean size at ``p0`` (optimal), or of smallest largest size (minimax).

    Raises
    ------
    ConfigError
        Rates that are not 0 < p0 < p1 < 1, or no design within ``most`` patients.
    """
    if not 0 < p0 < p1 < 1:
        raise ConfigError([Problem("two stages", None, "p0, p1", f"{p0:g}, {p1:g}", "0 < p0 < p1 < 1", "Correct it.")])
    best: TwoStage | None = None
    for n in range(2, most + 1):
        if best is not None and minimax and n > best.n:
            break
        if best is not None and not minimax and n > 3 * best.expected_n:
            break  # designs in Simon's tables reach 2.6 times their mean size; beyond three it is not looked for
        for n1 in range(1, n):
            if best is not None and not minimax and n1 >= best.expected_n:
                break  # the mean size is at least that of the first stage
            found = _best_of(n1, n, p0, p1, alpha, power)
            if found is not None and (best is None or found.expected_n < best.expected_n - 1e-12):
                best = found
    if best is None:
        raise ConfigError([Problem("two stages", None, "power", f"{power:g}", f"a design within {most} patients",
                                   "Ask for less power, a larger error, or rates further apart.")])  # fmt: skip
    return best


def _best_of(n1: int, n: int, p0: float, p1: float, alpha: float, power: float) -> TwoStage | None:
    """The best of fixed sizes: the largest ``r1`` for which some ``r`` keeps both errors."""
    stage, rest = np.arange(n1 + 1), np.arange(n + 1)
    tails = {}
    for p in (p0, p1):
        joint = _mass(n1, p)[:, None] * _above(rest[None, :] - stage[:, None], n - n1, p)
        tails[p] = joint[::-1].cumsum(axis=0)[::-1]  # row x: success from first-stage counts of x and more
    for r1 in range(n1 - 1, -1, -1):
        fits = (tails[p0][r1 + 1] <= alpha) & (tails[p1][r1 + 1] >= power)
        fits &= rest >= r1
        if fits.any():
            r = int(np.flatnonzero(fits)[0])
            stop = float(bdtr(r1, n1, p0))
            mean = n1 + (1.0 - stop) * (n - n1)
            return TwoStage(r1, n1, r, n, float(tails[p0][r1 + 1, r]), float(tails[p1][r1 + 1, r]), stop, mean)
    return None


def exact_cut(n: int, p0: float, alpha: float) -> int:
    """Smallest number of successes in one stage that calls a rate above ``p0``, with at most ``alpha`` in error."""
    cut = np.arange(n + 2)
    return int(cut[_above(cut - 1, n, p0) <= alpha][0])


def _mass(n: int, p: float) -> Array:
    """Chances of 0 to n successes."""
    return np.diff(bdtr(np.arange(n + 1), n, p), prepend=0.0)


def _above(k: npt.NDArray[np.int64], n: int, p: float) -> Array:
    """Chance of more than k successes; k may lie outside 0 to n."""
    inside = np.clip(k, 0, n)
    return np.asarray(np.where(k < 0, 1.0, np.where(k >= n, 0.0, bdtrc(inside, n, p))))
