"""Explicit schemes: forward Euler on the stencil, and Runge-Kutta-Legendre, which is stable at any step.

Runge-Kutta-Legendre of second order (Meyer, Balsara & Aslam 2014, 10.1016/j.jcp.2013.08.021): s stages of the same
stencil reach a step (s^2 + s - 2)/4 times the largest of forward Euler, at second order. Sources and sinks are in the
stencil, so that steady states carry no error of splitting.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from icans.core.errors import ModelError
from icans.tissue.field.grid import Array, problem


@cache
def legendre_weights(stages: int) -> Array:
    """Weights of the stages, shape (stages, 5), for :func:`icans.tissue.field.kernels.legendre`.

    ``stages`` is odd and at least 3; 1 gives forward Euler.
    """
    w = np.zeros((stages, 5))
    if stages == 1:
        w[0, 3] = 1.0
        w.setflags(write=False)
        return w
    j = np.arange(stages + 1, dtype=float)
    b = np.full(stages + 1, 1 / 3)
    b[3:] = (j[3:] ** 2 + j[3:] - 2) / (2 * j[3:] * (j[3:] + 1))
    a = 1 - b
    w1 = 4 / (stages**2 + stages - 2)
    w[0, 3] = b[1] * w1
    for n in range(2, stages + 1):
        mu = (2 * n - 1) / n * b[n] / b[n - 1]
        nu = -(n - 1) / n * b[n] / b[n - 2]
        w[n - 1] = mu, nu, 1 - mu - nu, mu * w1, -a[n - 1] * mu * w1
    w.setflags(write=False)
    return w


def stages_for(dt: float, fastest: float) -> int:
    """Stages (odd) that make a step of ``dt`` minutes stable where the fastest rate is ``fastest`` per minute."""
    need = 2 * dt * fastest  # (s^2 + s - 2)/4 >= dt fastest/2
    stages = int(np.ceil((-1 + np.sqrt(9 + 4 * need)) / 2))
    return max(3, stages + 1 - stages % 2)


def largest_euler_step(fastest: float) -> float:
    """Largest stable step of forward Euler, min."""
    return np.inf if fastest == 0 else 2.0 / fastest


def refuse_unstable(dt: float, fastest: float) -> None:
    """Refuse a step at which forward Euler would blow up.

    Raises
    ------
    ModelError
        With the largest step that is stable.
    """
    largest = largest_euler_step(fastest)
    if dt > largest * (1 + 1e-12):
        raise ModelError([problem("dt_min", dt, f"a step of at most {largest:.6g} min",
                                  f"Forward Euler is unstable here: step by {largest:.4g} min or less, or use the"
                                  " scheme 'explicit', 'exact' or 'implicit'.")])  # fmt: skip
