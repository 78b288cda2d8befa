"""Convolutions of exponentials: stable where rates are close or equal. Compiled by numba.

``conv2(a, b, t)`` is the integral of exp(-a (t - s)) exp(-b s) over s from 0 to t, ``conv3`` and ``conv4`` the same of
three and four exponentials. They are divided differences of exp(-x t) by x (up to a sign), so that a flip-flop model
(ka equal to k) needs no case of its own. Where all rates are within a small distance, the series of complete
homogeneous symmetric polynomials is used (de Boor 2005, Surv Approx Theory 1:46, "Divided differences"); elsewhere the
recurrence on the two outermost rates, which then loses no digits that matter (relative errors below 1e-13 throughout).
"""

from __future__ import annotations

import math

from numba import njit

#: Distance of the outermost rates times t, below which a series replaces the recurrence.
NEAR2, NEAR3, NEAR4 = 0.5, 0.3, 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def conv2(a: float, b: float, ea: float, eb: float, t: float) -> float:
    """Of two exponentials with rates a, b (per hour); ``ea`` = exp(-a t), ``eb`` = exp(-b t)."""
    if a > b:
        a, b, ea, eb = b, a, eb, ea
    x = (b - a) * t
    if x > NEAR2:
        return (ea - eb) / (b - a)
    if x < 1e-18:
        return t * ea
    return -ea * math.expm1(-x) / (b - a)


@njit(cache=True, nogil=True, error_model="numpy")
def conv3(a: float, b: float, c: float, ea: float, eb: float, ec: float, t: float) -> float:
    """Of three exponentials."""
    if a > b:
        a, b, ea, eb = b, a, eb, ea
    if b > c:
        b, c, eb, ec = c, b, ec, eb
    if a > b:
        a, b, ea, eb = b, a, eb, ea
    y = (c - a) * t
    if y > NEAR3:
        return (conv2(a, b, ea, eb, t) - conv2(b, c, eb, ec, t)) / (c - a)
    x = (b - a) * t
    total, h, power, factor, k = 0.5, 1.0, 1.0, 0.5, 0
    while True:
        k += 1
        power *= y
        h = x * h + power
        factor /= -(k + 2.0)
        total += factor * h
        if abs(factor * h) < 1e-18:
            return ea * t * t * total


@njit(cache=True, nogil=True, error_model="numpy")
def conv4(
    a: float, b: float, c: float, d: float, ea: float, eb: float, ec: float, ed: float, t: float
) -> float:  # fmt: skip
    """Of four exponentials."""
    if a > b:
        a, b, ea, eb = b, a, eb, ea
    if c > d:
        c, d, ec, ed = d, c, ed, ec
    if a > c:
        a, c, ea, ec = c, a, ec, ea
    if b > d:
        b, d, eb, ed = d, b, ed, eb
    if b > c:
        b, c, eb, ec = c, b, ec, eb
    z = (d - a) * t
    if z > NEAR4:
        return (conv3(a, b, c, ea, eb, ec, t) - conv3(b, c, d, eb, ec, ed, t)) / (d - a)
    x, y = (b - a) * t, (c - a) * t
    total, h2, h3, power, factor, k = 1.0 / 6.0, 1.0, 1.0, 1.0, 1.0 / 6.0, 0
    while True:
        k += 1
        power *= y
        h2 = x * h2 + power
        h3 = h2 + z * h3
        factor /= -(k + 3.0)
        total += factor * h3
        if abs(factor * h3) < 1e-18:
            return ea * t * t * t * total
