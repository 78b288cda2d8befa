"""Linear compartments, solved in closed form with exact first derivatives. Compiled by numba.

A depot feeds the central compartment (rate constant ka), which loses k10 and exchanges with peripheral compartments
(k12, k21; k13, k31). The central system is symmetrised and diagonalised, ``A = -R diag(lam) L`` with ``L = 1 / R``, and
the state is kept in its eigenvectors' coordinates, ``z = L y``. Over a step without events all solutions are sums of
convolutions of exponentials (:mod:`~icans.population.nlme.convolutions`). The derivative of the matrix exponential by a
rate constant, of which the matrix is a linear function with a derivative of rank one (``u v'``), is ``u_i conv(lam_i,
lam_j) v_j`` in these coordinates (Daleckii and Krein 1965; Higham 2008, Functions of Matrices, theorem 3.11): exact
also where eigenvalues coincide. Times of events (lag, estimated duration) carry their derivatives along.

State: ``z[0]`` depot, ``z[1:]`` central system. Derivatives: ``T[occasion, what, state]`` by k10, k12, k21, k13, k31,
ka, F, lag, duration (places 0 to 8), of each occasion.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from icans.population.nlme.compartment_one import step_one
from icans.population.nlme.convolutions import conv2, conv3, conv4

#: Numbers by which the state depends on the parameters, and compartments at most (with the depot).
NATIVE, STATES = 9, 4
KA, BIO, LAG, DURATION = 5, 6, 7, 8
#: Rows of the scratch of a step: decay, from the depot, of a rate, modal rates, of the depot's rate, new state, sums.
E, G, HOLD, RHO, LEAD, NEW, SUM = 0, 1, 2, 3, 4, 5, 6
#: Kinds of event; at one time they happen in this order, after observations.
OCCASION, RESET, STEADY, GIVE, STOP, STOP_PREVIOUS = 0, 1, 2, 3, 4, 5


@njit(cache=True, nogil=True, error_model="numpy")
def eigen(o: int, n: int, k: Any, lam: Any, left: Any, right: Any) -> None:
    """Eigenvalues and both kinds of eigenvectors of the central system with rate constants ``k`` (k10, k12, ...)."""
    if n == 1:
        lam[o, 1], left[o, 0, 0], right[o, 0, 0] = k[o, 0], 1.0, 1.0
        return
    s, v = np.zeros((n, n)), np.eye(n)
    scale = np.ones(n)
    s[0, 0] = k[o, 0]
    product = k[o, 0]
    for j in range(1, n):
        out, back = max(k[o, 2 * j - 1], 1e-30 * k[o, 2 * j]), k[o, 2 * j]
        s[0, 0] += out
        s[j, j] = back
        s[0, j] = s[j, 0] = -math.sqrt(out * back)
        scale[j] = math.sqrt(back / out)
        product *= back
    for _ in range(1 if n == 2 else 12):
        size = 0.0
        for p in range(n - 1):
            for q in range(p + 1, n):
                size += abs(s[p, q]) / math.sqrt(abs(s[p, p] * s[q, q]) + 1e-300)
                rotate(s, v, n, p, q)
        if size < 1e-17:
            break
    low = 0
    for i in range(n):
        lam[o, i + 1] = s[i, i]
        low = i if s[i, i] < s[low, low] else low
    # The least eigenvalue from the determinant, which has no cancellation.
    for i in range(n):
        product = product / lam[o, i + 1] if i != low else product
    lam[o, low + 1] = product
    for i in range(n):
        for j in range(n):
            left[o, i, j], right[o, j, i] = v[j, i] * scale[j], v[j, i] / scale[j]


@njit(cache=True, nogil=True, error_model="numpy")
def rotate(s: Any, v: Any, n: int, p: int, q: int) -> None:
    """One rotation of Jacobi's method: makes s[p, q] zero (Golub and Van Loan 2013, 8.5.2)."""
    if s[p, q] == 0.0:
        return
    theta = (s[q, q] - s[p, p]) / (2.0 * s[p, q])
    t = (1.0 if theta >= 0.0 else -1.0) / (abs(theta) + math.hypot(theta, 1.0))
    c = 1.0 / math.hypot(t, 1.0)
    d = t * c
    change = t * s[p, q]
    s[p, p] -= change
    s[q, q] += change
    s[p, q] = s[q, p] = 0.0
    for i in range(n):
        if i not in (p, q):
            one, two = s[i, p], s[i, q]
            s[i, p] = s[p, i] = c * one - d * two
            s[i, q] = s[q, i] = d * one + c * two
        one, two = v[i, p], v[i, q]
        v[i, p], v[i, q] = c * one - d * two, d * one + c * two


@njit(cache=True, nogil=True, error_model="numpy")
def directions(o: int, n: int, left: Any, right: Any, u: Any, v: Any) -> None:
    """Derivatives of the central matrix by each rate constant, as ``u v'`` in the eigenvectors' coordinates."""
    for i in range(n):
        u[o, 0, i], v[o, 0, i] = -left[o, i, 0], right[o, 0, i]
        for j in range(1, n):
            u[o, 2 * j - 1, i], v[o, 2 * j - 1, i] = left[o, i, j] - left[o, i, 0], right[o, 0, i]
            u[o, 2 * j, i], v[o, 2 * j, i] = left[o, i, 0] - left[o, i, j], right[o, j, i]


@njit(cache=True, nogil=True, error_model="numpy")
def flow(o: int, n: int, depot: bool, rated: bool, lam: Any, left: Any, z: Any, r: Any, f: Any) -> None:
    """Time derivative ``f`` of the state in occasion ``o``."""
    f[0] = r[0] - lam[o, 0] * z[0] if depot else 0.0
    for i in range(n):
        f[i + 1] = -lam[o, i + 1] * z[i + 1]
        if depot:
            f[i + 1] += left[o, i, 0] * lam[o, 0] * z[0]
        if rated:
            for s in range(n):
                f[i + 1] += left[o, i, s] * r[s + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def general_step(
    dt: float, o: int, n: int, depot: bool, rated: bool, acts: Any, want: bool, lam: Any, left: Any, u: Any, v: Any,
    z: Any, T: Any, r: Any, dr: Any, w: Any,
) -> None:  # fmt: skip
    """Move the state, and with ``want`` its derivatives, by ``dt`` hours of occasion ``o``; ``w``: scratch (8, 4)."""
    ka = lam[o, 0]
    ea = math.exp(-ka * dt) if depot else 0.0
    xd, rd = z[0], r[0]
    fed = depot and (xd != 0.0 or rd != 0.0)
    for i in range(n):
        a = lam[o, i + 1]
        w[E, i] = math.exp(-a * dt)
        w[G, i] = ka * left[o, i, 0] * conv2(a, ka, w[E, i], ea, dt) if depot else 0.0
        w[HOLD, i] = conv2(0.0, a, 1.0, w[E, i], dt) if rated else 0.0
        w[LEAD, i] = ka * left[o, i, 0] * conv3(0.0, a, ka, 1.0, w[E, i], ea, dt) if rated and depot else 0.0
        w[RHO, i] = 0.0
        if rated:
            for s in range(n):
                w[RHO, i] += left[o, i, s] * r[s + 1]
        w[NEW, i] = w[E, i] * z[i + 1] + w[G, i] * xd + w[HOLD, i] * w[RHO, i] + w[LEAD, i] * rd
    filled = conv2(0.0, ka, 1.0, ea, dt) if rated and depot else 0.0
    if want:
        carry(o, n, depot, rated, ea, filled, acts, left, T, dr, w)
        rates(dt, o, n, depot, fed, rated, lam, left, u, v, z, T, r, w)
    for i in range(n):
        z[i + 1] = w[NEW, i]
    z[0] = ea * xd + filled * rd


@njit(cache=True, nogil=True, error_model="numpy")
def carry(
    o: int, n: int, depot: bool, rated: bool, ea: float, filled: float, acts: Any, left: Any, T: Any, dr: Any, w: Any
) -> None:  # fmt: skip
    """Move derivatives that are there already, and add those of running infusions' rates."""
    for p in range(o + 1):
        for q in acts:
            d0 = T[p, q, 0]
            for i in range(n):
                moved = w[E, i] * T[p, q, i + 1] + w[G, i] * d0
                if rated and q >= BIO:
                    moved += w[LEAD, i] * dr[p, q, 0]
                    for s in range(n):
                        moved += w[HOLD, i] * left[o, i, s] * dr[p, q, s + 1]
                T[p, q, i + 1] = moved
            T[p, q, 0] = ea * d0
            if rated and q >= BIO:
                T[p, q, 0] += filled * dr[p, q, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def rates(
    dt: float, o: int, n: int, depot: bool, fed: bool, rated: bool, lam: Any, left: Any, u: Any, v: Any, z: Any,
    T: Any, r: Any, w: Any,
) -> None:  # fmt: skip
    """Add to the derivatives what the rate constants of the current occasion do during the step."""
    ka, xd, rd = lam[o, 0], z[0], r[0]
    ea = math.exp(-ka * dt) if fed else 0.0
    for i in range(n):
        for j in range(n):
            w[SUM, j] = conv2(lam[o, i + 1], lam[o, j + 1], w[E, i], w[E, j], dt) * z[j + 1]
            if fed:
                w[SUM, j] += ka * left[o, j, 0] * xd * conv3(lam[o, i + 1], lam[o, j + 1], ka, w[E, i], w[E, j], ea, dt)
            if rated:
                w[SUM, j] += w[RHO, j] * conv3(0.0, lam[o, i + 1], lam[o, j + 1], 1.0, w[E, i], w[E, j], dt)
                if rd != 0.0:
                    four = conv4(0.0, lam[o, i + 1], lam[o, j + 1], ka, 1.0, w[E, i], w[E, j], ea, dt)
                    w[SUM, j] += ka * left[o, j, 0] * rd * four
        for q in range(2 * n - 1):
            total = 0.0
            for j in range(n):
                total += v[o, q, j] * w[SUM, j]
            T[o, q, i + 1] += u[o, q, i] * total
        if fed:
            a = lam[o, i + 1]
            by = (conv2(a, ka, w[E, i], ea, dt) - ka * conv3(a, ka, ka, w[E, i], ea, ea, dt)) * xd
            if rd != 0.0:
                three = conv3(0.0, a, ka, 1.0, w[E, i], ea, dt)
                by += (three - ka * conv4(0.0, a, ka, ka, 1.0, w[E, i], ea, ea, dt)) * rd
            T[o, KA, i + 1] += left[o, i, 0] * by
    if fed:
        T[o, KA, 0] -= dt * ea * xd
        if rd != 0.0:
            T[o, KA, 0] -= conv3(0.0, ka, ka, 1.0, ea, ea, dt) * rd


@njit(cache=True, nogil=True, error_model="numpy")
def advance(
    dt: float, o: int, n: int, depot: bool, rated: bool, acts: Any, want: bool, lam: Any, left: Any, u: Any, v: Any,
    z: Any, T: Any, r: Any, dr: Any, w: Any,
) -> None:  # fmt: skip
    """Move by ``dt`` hours: :func:`general_step`, or what is faster for one compartment."""
    if n == 1:
        step_one(dt, o, depot, rated, acts, want, lam[o, 0], lam[o, 1], z, T, r, dr)
    else:
        general_step(dt, o, n, depot, rated, acts, want, lam, left, u, v, z, T, r, dr, w)


@njit(cache=True, nogil=True, error_model="numpy")
def shift(n: int, f: Any, T: Any, o: int, lag: float, duration: float) -> None:
    """The end of a step moves with lag and duration of occasion ``o``: derivatives gain the time derivative."""
    for s in range(n + 1):
        T[o, LAG, s] += lag * f[s]
        T[o, DURATION, s] += duration * f[s]
