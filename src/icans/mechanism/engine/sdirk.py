"""The diagonally implicit method of order 5 that solves for derivatives by parameters (``sdirk.toml``).

L-stable, stiffly accurate (the last stage is the result), of stage order 2, with an explicit first stage. For a linear
equation ``S' = J(t) S + g(t)`` implicit stage ``i`` solves ``(I/(gamma h) - J(t_i)) W_i = Z_i/(gamma h) + g(t_i)``
with ``Z_i = S + sum_j a_ij/gamma (W_j - Z_j)``. The ``Z`` are eliminated: because the first two columns of ``a`` are
the same, ``Z_i`` is a sum of ``S`` and of earlier ``W_j`` (rows of ``mix``), and in the first implicit stage
``S/(gamma h) + S'`` stands for ``Z/(gamma h)``. Between steps ``S`` is a sum of the same vectors, of order 4
(``dense``).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sdirk:
    """Coefficients: ``a`` (stages, stages) with ``gamma`` on the diagonal but for its first entry, ``c`` (stages,).

    ``mix[i]``: ``Z`` of implicit stage ``i`` as a sum of ``S`` and ``W_0, W_1, ...``, shape (implicit, implicit + 1).
    ``dense``: the same for the value at the part ``t`` of a step, as polynomials: ``sum_k dense[j, k] t^(k+1)``, and
    1 more for ``S``; shape (implicit + 1, 5).
    """

    gamma: float
    a: Array
    c: Array
    mix: Array
    dense: Array
    source: str

    @property
    def times(self) -> Array:
        """Parts of the step of the implicit stages."""
        return self.c[1:]

    @property
    def implicit(self) -> int:
        """Number of implicit stages."""
        return len(self.c) - 1


@cache
def sdirk() -> Sdirk:
    """The method."""
    row = tomllib.loads((resources.files(__package__) / "sdirk.toml").read_text(encoding="utf-8"))["esdirk54"]
    gamma, count = row["gamma"], len(row["a"]) - 1
    a = np.eye(count + 1) * gamma
    a[0, 0] = 0.0
    for i, given in enumerate(row["a"]):
        a[i, :i] = given
    mix = np.zeros((count, count + 1))
    mix[:, 0] = 1.0
    steps = np.zeros((count, count + 1))  # gamma h times the rates of the stages, the first two in one
    steps[0, :2] = -1.0, 1.0
    for i in range(1, count):
        mix[i] += (a[i + 1, 1 : i + 1] / gamma) @ steps[:i]
        steps[i] = -mix[i]
        steps[i, 1 + i] += 1.0
    c = a.sum(axis=1)
    return Sdirk(gamma, a, c, mix, steps.T @ weights(a, c) / gamma, row["source"])


def conditions(a: Array, c: Array) -> list[tuple[int, int, Array]]:
    """(order, denominator, v) of every condition ``b v = 1/denominator`` up to order 5 that a linear equation has."""
    return [
        (1, 1, np.ones(len(c))), (2, 2, c), (3, 3, c**2), (3, 6, a @ c), (4, 4, c**3), (4, 8, c * (a @ c)),
        (4, 12, a @ c**2), (4, 24, a @ a @ c), (5, 5, c**4), (5, 10, c**2 * (a @ c)), (5, 15, c * (a @ c**2)),
        (5, 30, c * (a @ a @ c)), (5, 20, a @ c**3), (5, 40, a @ (c * (a @ c))), (5, 60, a @ a @ c**2),
        (5, 120, a @ a @ a @ c),
    ]  # fmt: skip


def weights(a: Array, c: Array) -> Array:
    """``b_i(t) = sum_k made[i, k] t^(k+1)``, one row for the first two stages together, shape (implicit, 5).

    All conditions of order 4 hold for every t; what freedom is left goes to the least squares of those of order 5,
    which makes the result that of the step at t = 1.
    """
    low, high = ([o for o in conditions(a, c) if (o[0] == 5) == last] for last in (False, True))

    def system(some: list[tuple[int, int, Array]]) -> tuple[Array, Array]:
        left, right = np.array([v for _, _, v in some]), np.zeros((len(some), 5))
        for k, (order, below, _) in enumerate(some):
            right[k, order - 1] = 1.0 / below
        return np.hstack([left[:, :1] + left[:, 1:2], left[:, 2:]]), right

    left, right = system(low)
    base = np.linalg.pinv(left, rcond=1e-10) @ right
    free = np.linalg.svd(left)[2][np.linalg.matrix_rank(left, tol=1e-10) :].T
    left, right = system(high)
    return np.asarray(base + free @ np.linalg.pinv(left @ free) @ (right - left @ base))
