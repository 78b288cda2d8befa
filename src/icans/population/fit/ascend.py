"""Minimisation of a penalised objective with exact gradients: quasi-Newton from a given metric.

With the information on the parameters as the first metric steps are in units of standard errors from the start; BFGS
updates improve it. Steps are bounded, points without a likelihood are stepped back from, and the end is where the
quadratic model promises less than ``tolerance``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
T = TypeVar("T")

#: Largest change of one (log) parameter in a step; part of the promised fall that a step must deliver; shortest step.
LONGEST, ARMIJO, SHORTEST = 1.0, 1e-4, 1e-10


@dataclass(frozen=True)
class Point(Generic[T]):
    """A point: ``value`` and ``gradient`` of the objective, and whatever was computed on the way (``extra``)."""

    x: Array
    value: float
    gradient: Array
    extra: T


@dataclass
class Descent(Generic[T]):
    """Where a minimisation ended. ``inverse``: approximate inverse Hessian; ``promised``: fall still to be had.

    ``why``: ``"converged"``, ``"flat"`` (no lower point along the direction), ``"iterations"``.
    """

    point: Point[T]
    inverse: Array
    promised: float
    why: str
    iterations: int = 0
    evaluations: int = 0
    course: list[tuple[float, float]] = field(default_factory=list)


def descend(
    look: Callable[[Array, Point[T] | None], Point[T]], begin: Point[T], metric: Array, *, tolerance: float = 1e-6,
    iterations: int = 300, longest: float = LONGEST, watch: Callable[[int, Point[T]], None] | None = None,
) -> Descent[T]:  # fmt: skip
    """The minimum of ``look`` from ``begin``.

    Parameters
    ----------
    look
        A point from a vector and the point before (to start from what was found there). ``value`` may be infinite.
    metric
        A first guess of the Hessian, positive semidefinite.
    tolerance
        Promised fall of the objective at which it has arrived.
    """
    here, inverse = begin, inverse_of(metric)
    done = Descent(here, inverse, np.inf, "iterations", evaluations=1)
    fresh = True
    for done.iterations in range(1, iterations + 1):
        direction = -inverse @ here.gradient
        fall = -float(here.gradient @ direction)
        if not fall > 0.0:
            inverse, fresh = inverse_of(metric), True
            direction = -inverse @ here.gradient
            fall = -float(here.gradient @ direction)
        done.promised = 0.5 * fall
        done.course.append((here.value, done.promised))
        if done.promised < tolerance:
            done.why = "converged"
            break
        length = min(1.0, longest / max(float(np.abs(direction).max()), 1e-300))
        there, used = _along(look, here, direction, fall, length)
        done.evaluations += used
        if there is None:
            if fresh:
                done.why = "flat"
                break
            inverse, fresh = inverse_of(metric), True
            continue
        inverse, fresh = updated(inverse, there.x - here.x, there.gradient - here.gradient), False
        here = there
        if watch is not None:
            watch(done.iterations, here)
    done.point, done.inverse = here, inverse
    return done


def _along(
    look: Callable[[Array, Point[T] | None], Point[T]], here: Point[T], direction: Array, fall: float, length: float
) -> tuple[Point[T] | None, int]:  # fmt: skip
    """A lower point along a direction, and how often was looked."""
    used = 0
    while length > SHORTEST:
        there = look(here.x + length * direction, here)
        used += 1
        # Rounding: near the minimum, a fall below the resolution of the objective cannot be seen.
        slack = 1e-10 * (1.0 + abs(here.value))
        if there.value <= here.value - ARMIJO * length * fall + slack and np.isfinite(there.gradient).all():
            return there, used
        if not np.isfinite(there.value):
            length *= 0.25
            continue
        # Minimum of the parabola through both values and the slope here.
        bend = (there.value - here.value + length * fall) / length**2
        best = 0.5 * fall / bend if bend > 0.0 else 0.5 * length
        length = float(np.clip(best, 0.1 * length, 0.5 * length))
    return None, used


def updated(inverse: Array, move: Array, turn: Array) -> Array:
    """BFGS update of an inverse Hessian; skipped where the curvature along the move is not positive."""
    curve = float(move @ turn)
    if curve <= 1e-12 * float(np.linalg.norm(move) * np.linalg.norm(turn)) or curve <= 0.0:
        return inverse
    bent = inverse @ turn
    part = np.outer(move, bent)
    scale = (1.0 + float(turn @ bent) / curve) / curve
    return np.asarray(inverse + scale * np.outer(move, move) - (part + part.T) / curve)


def inverse_of(metric: Array, ridge: float = 1e-4) -> Array:
    """Inverse of a positive semidefinite matrix whose flattest directions are given some curvature."""
    size = np.sqrt(np.maximum(np.diag(metric), 1e-12))
    value, vector = np.linalg.eigh(metric / np.outer(size, size))
    root = (vector / np.sqrt(np.maximum(value, ridge))) / size[:, None]
    return np.asarray(root @ root.T)
