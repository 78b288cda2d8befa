"""Error control: how far off a step is, which step a tolerance needs, and advancing with steps chosen by it.

The error of a step is estimated by doing it again in two halves: for a scheme of order p the two differ by 2^p - 1
times the error of the halves (Richardson 1911, 10.1098/rsta.1911.0009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.core.errors import ModelError
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Array, problem
from icans.tissue.field.sources import Sources

#: Order of every scheme in the step.
ORDER = {"auto": 2, "explicit": 2, "exact": 2, "implicit": 2, "euler": 1}
#: How much a step may shrink or grow at once, and the share of the step that the estimate allows which is taken.
SHRINK, GROW, CAREFUL = 0.2, 3.0, 0.85


@dataclass(frozen=True)
class StepError:
    """``relative``: largest estimated error of the step over all substances, as a share of each one's largest level.

    ``needed_min``: the step at which that share would be the tolerance, min.
    """

    relative: float
    needed_min: float


@dataclass(frozen=True)
class Advance:
    """What :func:`advance` did: steps taken and refused, the shortest and longest (min), summed error estimates."""

    steps: int
    refused: int
    shortest_min: float
    longest_min: float
    error: float


def step_error(
    field: Field,
    dt_min: float,
    sources: Sources | tuple[Array, Array] | None = None,
    *,
    tolerance: float = 1e-3,
    scheme: str = "auto",
) -> StepError:
    """The error that a step of ``dt_min`` minutes would make, and the step that the tolerance needs.

    The field stays as it is.

    Raises
    ------
    ModelError
        As :meth:`icans.tissue.field.field.Field.step`; a tolerance that is not positive.
    """
    _check(tolerance)
    start, time = field.values.copy(), field.time_min
    try:
        return _tried(field, start, dt_min, sources, tolerance, scheme)
    finally:
        field.values[:] = start
        field.time_min = time


def advance(
    field: Field,
    duration_min: float,
    sources: Sources | tuple[Array, Array] | None = None,
    *,
    tolerance: float = 1e-3,
    first_min: float | None = None,
    shortest_min: float = 1e-6,
    scheme: str = "auto",
) -> Advance:
    """Advance by ``duration_min`` minutes with steps whose error stays below the tolerance.

    Parameters
    ----------
    tolerance
        Error of a step as a share of each substance's largest concentration.
    first_min
        First step; default: that of forward Euler's limit, or the duration.
    shortest_min
        Steps shorter than this are not tried.

    Raises
    ------
    ModelError
        The tolerance needs shorter steps than ``shortest_min``; what a step raises.
    """
    _check(tolerance)
    limit = float(field.fastest(sources).max())
    dt = min(duration_min, first_min or (2 / limit if limit > 0 else duration_min))
    end, left = field.time_min + duration_min, duration_min
    taken: list[float] = []
    refused, summed = 0, 0.0
    while left > 1e-12 * duration_min:
        dt = min(dt, left)
        start, time = field.values.copy(), field.time_min
        made = _tried(field, start, dt, sources, tolerance, scheme)
        if made.relative <= tolerance:
            taken.append(dt)
            summed += made.relative
            left = end - field.time_min
        else:
            refused += 1
            field.values[:] = start
            field.time_min = time
            if dt <= shortest_min:
                reached = f"at least {made.relative:.2g} at steps of {dt:.2g} min"
                raise ModelError([problem("tolerance", tolerance, reached, "Allow a larger error or shorter steps.")])
        dt = max(shortest_min, min(max(CAREFUL * made.needed_min, SHRINK * dt), GROW * dt))
    return Advance(len(taken), refused, min(taken), max(taken), summed)


def _tried(field: Field, start: Array, dt: float, sources: Sources | tuple[Array, Array] | None, tolerance: float,
           scheme: str) -> StepError:  # fmt: skip
    """Do the step whole and in halves; the field is left at the end of the halves."""
    order = ORDER.get(scheme, 1)
    field.step(dt, sources, scheme)
    whole = field.values.copy()
    field.values[:] = start
    field.time_min -= dt
    field.step(dt / 2, sources, scheme)
    field.step(dt / 2, sources, scheme)
    axes = tuple(range(1, start.ndim))
    size = np.maximum(np.abs(field.values).max(axis=axes), np.abs(start).max(axis=axes))
    apart = np.abs(field.values - whole).max(axis=axes) / (2**order - 1)
    relative = float(np.divide(apart, size, out=np.zeros_like(size), where=size > 0).max())
    needed = dt * (tolerance / relative) ** (1 / (order + 1)) if relative > 0 else np.inf
    return StepError(relative, needed)


def _check(tolerance: float) -> None:
    if not tolerance > 0:
        raise ModelError([problem("tolerance", tolerance, "a positive share", "Give for example 1e-3.")])
