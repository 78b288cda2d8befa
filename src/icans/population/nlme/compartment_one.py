"""The step of a one-compartment model with or without a depot: the general step, written out. Compiled by numba.

What :func:`~icans.population.nlme.compartment_kernels.general_step` does with matrices is done here with numbers, which
is several times faster for the most frequent model; a test holds the two together.
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from icans.population.nlme.convolutions import conv2, conv3, conv4

#: Places of derivatives, as in :mod:`~icans.population.nlme.compartment_kernels`.
KA, BIO = 5, 6


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def step_one(
    dt: float, o: int, depot: bool, rated: bool, acts: Any, want: bool, ka: float, k: float, z: Any, T: Any, r: Any,
    dr: Any,
) -> None:  # fmt: skip
    """Move the state, and with ``want`` its derivatives, by ``dt`` hours of occasion ``o``."""
    e, ea = math.exp(-k * dt), math.exp(-ka * dt)
    two = conv2(k, ka, e, ea, dt) if depot else 0.0
    xd, xc, rd, rc = z[0], z[1], 0.0, 0.0
    hold, lead, filled = 0.0, 0.0, 0.0
    if rated:
        rd, rc = r[0], r[1]
        hold = conv2(0.0, k, 1.0, e, dt)
        if depot:
            filled = conv2(0.0, ka, 1.0, ea, dt)
            lead = ka * conv3(0.0, k, ka, 1.0, e, ea, dt)
    z[1] = e * xc + ka * two * xd + hold * rc + lead * rd
    z[0] = ea * xd + filled * rd
    if not want:
        return
    for p in range(o + 1):
        for j in range(len(acts)):
            q = acts[j]
            T[p, q, 1] = e * T[p, q, 1] + ka * two * T[p, q, 0]
            T[p, q, 0] *= ea
            if rated and q >= BIO:
                T[p, q, 1] += lead * dr[p, q, 0] + hold * dr[p, q, 1]
                T[p, q, 0] += filled * dr[p, q, 0]
    total = dt * e * xc
    if rated:
        total += rc * conv3(0.0, k, k, 1.0, e, e, dt)
        if rd != 0.0:
            total += ka * rd * conv4(0.0, k, k, ka, 1.0, e, e, ea, dt)
            by = conv3(0.0, k, ka, 1.0, e, ea, dt) - ka * conv4(0.0, k, ka, ka, 1.0, e, ea, ea, dt)
            T[o, KA, 1] += by * rd
            T[o, KA, 0] -= conv3(0.0, ka, ka, 1.0, ea, ea, dt) * rd
    if depot and xd != 0.0:
        total += ka * xd * conv3(k, k, ka, e, e, ea, dt)
        T[o, KA, 1] += (two - ka * conv3(k, ka, ka, e, ea, ea, dt)) * xd
        T[o, KA, 0] -= dt * ea * xd
    T[o, 0, 1] -= total
