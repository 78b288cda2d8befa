"""Small kernels written by hand, with the functions that the solver calls, to test it without the code generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

POINTER = types.CPointer(types.float64)


@dataclass(frozen=True)
class HandKernel:
    """What :mod:`icans.mechanism.engine` reads of a kernel."""

    lanes: int
    n: int
    nq: int
    nlu: int
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: dict[str, int]
    keep: tuple[Any, ...]
    watched: tuple[str, ...] = ()
    sensitivities: tuple[str, ...] = ()
    apart: int = 0

    def address(self, name: str) -> int:
        """Address of a function; 0 if there is none."""
        return self.functions.get(name, 0)


def _c(count: int, body: Callable[..., None]) -> Any:
    return cfunc(types.void(*[POINTER] * count))(body)


def hand_kernel(  # noqa: C901
    lanes: int, n: int, parameters: int, inputs: int, rates: Callable[..., None], jacobian: Callable[..., None],
    initial: Callable[..., None],
) -> HandKernel:  # fmt: skip
    """A kernel of ``rates(y, p, u, dy)``, ``jacobian(y, p, j)`` and ``initial(p, y)``, all for one lane.

    The outputs are the states; the matrix is factored as it stands, without pivoting.
    """
    w = lanes
    f, jac, start = njit(rates), njit(jacobian), njit(initial)

    @njit
    def lane(a: Any, count: int, l: int) -> Any:
        return a[l : l + count * w : w]

    def prepare(p: Any, q: Any) -> None:
        a, b = carray(p, parameters * w), carray(q, parameters * w)
        b[:] = a

    def begin(q: Any, y: Any) -> None:
        a, b = carray(q, parameters * w), carray(y, n * w)
        for l in range(w):
            start(lane(a, parameters, l), lane(b, n, l))

    def rhs(y: Any, q: Any, u: Any, dy: Any) -> None:
        a, b, d = carray(y, n * w), carray(q, parameters * w), carray(dy, n * w)
        v = carray(u, max(inputs, 1) * w)
        for l in range(w):
            f(lane(a, n, l), lane(b, parameters, l), lane(v, max(inputs, 1), l), lane(d, n, l))

    def factor(y: Any, q: Any, u: Any, ghinv: Any, lu: Any) -> None:
        a, b, g, m = carray(y, n * w), carray(q, parameters * w), carray(ghinv, w), carray(lu, n * n * w)
        matrix = np.zeros((n, n))
        for l in range(w):
            matrix[:] = 0.0
            jac(lane(a, n, l), lane(b, parameters, l), matrix)
            matrix *= -1.0
            for i in range(n):
                matrix[i, i] += g[l]
            for k in range(n):
                for i in range(k + 1, n):
                    matrix[i, k] /= matrix[k, k]
                    for j in range(k + 1, n):
                        matrix[i, j] -= matrix[i, k] * matrix[k, j]
            for i in range(n):
                for j in range(n):
                    m[(i * n + j) * w + l] = matrix[i, j]

    def solve(lu: Any, x: Any) -> None:
        m, b = carray(lu, n * n * w), carray(x, n * w)
        for l in range(w):
            for i in range(n):
                for j in range(i):
                    b[i * w + l] -= m[(i * n + j) * w + l] * b[j * w + l]
            for i in range(n - 1, -1, -1):
                for j in range(i + 1, n):
                    b[i * w + l] -= m[(i * n + j) * w + l] * b[j * w + l]
                b[i * w + l] /= m[(i * n + i) * w + l]

    def observe(y: Any, q: Any, u: Any, o: Any) -> None:
        a, b = carray(y, n * w), carray(o, n * w)
        b[:] = a

    made = {
        "prepare": _c(2, prepare), "initial": _c(2, begin), "rhs": _c(4, rhs), "factor": _c(5, factor),
        "solve": _c(2, solve), "observe": _c(4, observe),
    }  # fmt: skip
    names = tuple(f"y{i}" for i in range(n))
    return HandKernel(
        w, n, parameters, n * n, tuple(f"p{i}" for i in range(parameters)), tuple(f"u{i}" for i in range(inputs)),
        names, {name: one.address for name, one in made.items()}, tuple(made.values()),
    )  # fmt: skip


def _robertson(y: Any, p: Any, u: Any, dy: Any) -> None:
    dy[0] = -p[0] * y[0] + p[1] * y[1] * y[2]
    dy[2] = p[2] * y[1] * y[1]
    dy[1] = -dy[0] - dy[2]


def _robertson_jacobian(y: Any, p: Any, j: Any) -> None:
    j[0, 0], j[0, 1], j[0, 2] = -p[0], p[1] * y[2], p[1] * y[1]
    j[2, 1] = 2 * p[2] * y[1]
    j[1, 0], j[1, 1], j[1, 2] = p[0], -p[1] * y[2] - 2 * p[2] * y[1], -p[1] * y[1]


def _robertson_start(p: Any, y: Any) -> None:
    y[0], y[1], y[2] = 1.0, 0.0, 0.0


def robertson(lanes: int = 8) -> HandKernel:
    """Robertson 1966: three chemical species, rates of 0.04, 1e4 and 3e7."""
    return hand_kernel(lanes, 3, 3, 0, _robertson, _robertson_jacobian, _robertson_start)
