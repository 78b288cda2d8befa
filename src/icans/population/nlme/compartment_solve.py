"""Walk through the doses and requests of subjects with the closed forms of linear compartments. Compiled by numba.

Tables of a structural model bound to N subjects (see :class:`~icans.population.nlme.compartments.Compartments`):
``places``: column of ``psi`` of each canonical parameter (CL or k, V, Q or k12, V2 or k21, Q3 or k13, V3 or k31, ka, F,
lag, duration), -1 where the model has none. ``doses``: time, amount, compartment (0 depot, 1 central, 2, 3), duration
(0 bolus, -1 estimated), interval of a steady state, occasion, whether F and the lag apply. ``events``: nominal time,
kind, dose (or occasion), and by how much lag and duration move it, in nominal order. ``asked``: time, output (0
concentration, 1 central amount, 2 depot, 3 and 4 peripheral amounts), place among the subject's requests, in order of
time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from icans.population.nlme.compartment_kernels import (
    BIO,
    DURATION,
    GIVE,
    KA,
    LAG,
    NATIVE,
    OCCASION,
    RESET,
    STATES,
    STEADY,
    advance,
    directions,
    eigen,
    flow,
    shift,
)
from icans.population.nlme.convolutions import conv2

#: Columns of ``doses``.
D_TIME, D_AMOUNT, D_WHERE, D_LENGTH, D_INTERVAL, D_OCCASION, D_LAGS, D_BIO = range(8)
#: Columns of ``events``.
E_TIME, E_KIND, E_DOSE, E_LAG, E_LENGTH = range(5)
VOLUME = 9


@njit(cache=True, nogil=True)
def natives(psi: Any, places: Any, n: int, clearances: bool, k: Any) -> bool:
    """Rate constants (0 to 4), ka, F, lag, duration, V of one occasion; whether they are possible."""
    for p in range(len(psi)):
        if not math.isfinite(psi[p]):
            return False
    k[:] = 0.0
    k[BIO] = 1.0
    for q in range(KA, DURATION + 1):
        if places[q + 1] >= 0:
            k[q] = psi[places[q + 1]]
    volume = psi[places[1]]
    k[VOLUME] = volume
    if not volume > 0.0 or (places[DURATION + 1] >= 0 and not k[DURATION] > 0.0):
        return False
    k[0] = psi[places[0]] / volume if clearances else psi[places[0]]
    for j in range(1, n):
        one, two = psi[places[2 * j]], psi[places[2 * j + 1]]
        k[2 * j - 1] = one / volume if clearances else one
        k[2 * j] = one / two if clearances and two > 0.0 else two
        # A peripheral compartment that nothing enters or leaves must still have a place in the symmetrised matrix.
        k[2 * j] = max(k[2 * j], 1e-300) if two > 0.0 else -1.0
    for q in range(KA + 4):
        if not 0.0 <= k[q] < 1e300:
            return False
    return True


@njit(cache=True, nogil=True)
def chain(g: Any, by_volume: float, psi: Any, places: Any, k: Any, n: int, clearances: bool, out: Any) -> None:
    """Derivatives by ``psi`` from those by rate constants (``g``) and by the volume."""
    for q in range(KA, DURATION + 1):
        if places[q + 1] >= 0:
            out[places[q + 1]] = g[q]
    if not clearances:
        out[places[0]] = g[0]
        out[places[1]] = by_volume
        for j in range(1, n):
            out[places[2 * j]], out[places[2 * j + 1]] = g[2 * j - 1], g[2 * j]
        return
    volume = k[VOLUME]
    by_volume -= g[0] * k[0] / volume
    for j in range(1, n):
        second = psi[places[2 * j + 1]]
        out[places[2 * j]] = g[2 * j - 1] / volume + g[2 * j] / second
        out[places[2 * j + 1]] = -g[2 * j] * k[2 * j] / second
        by_volume -= g[2 * j - 1] * k[2 * j - 1] / volume
    out[places[0]], out[places[1]] = g[0] / volume, by_volume


@njit(cache=True, nogil=True)
def in_order(time: Any, order: Any, count: int) -> None:
    """Sort events by time; equal times keep their order (insertion: they are almost sorted already)."""
    for i in range(1, count):
        j, one = i, order[i]
        while j > 0 and time[order[j - 1]] > time[one]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = one


@njit(cache=True, nogil=True)
def give(
    dose: Any, o: int, rated: int, n: int, want: bool, k: Any, left: Any, z: Any, T: Any, r: Any, dr: Any, sign: float
) -> int:  # fmt: skip
    """A bolus of occasion ``o`` enters, or an infusion starts (``sign`` 1) or ends (-1); how many infusions run."""
    where = int(dose[D_WHERE])
    bio = k[o, BIO] if dose[D_BIO] > 0.0 else 1.0
    amount = dose[D_AMOUNT] * bio
    if dose[D_LENGTH] == 0.0:
        if where == 0:
            z[0] += amount
            T[o, BIO, 0] += dose[D_AMOUNT] * dose[D_BIO] if want else 0.0
        else:
            for i in range(n):
                z[i + 1] += left[i, where - 1] * amount
                T[o, BIO, i + 1] += left[i, where - 1] * dose[D_AMOUNT] * dose[D_BIO] if want else 0.0
        return rated
    length = dose[D_LENGTH] if dose[D_LENGTH] > 0.0 else k[o, DURATION]
    r[where] += sign * amount / length
    dr[o, BIO, where] += sign * dose[D_AMOUNT] * dose[D_BIO] / length
    if dose[D_LENGTH] < 0.0:
        dr[o, DURATION, where] -= sign * amount / (length * length)
    rated += int(sign)
    if rated == 0:
        r[:] = 0.0
        dr[:] = 0.0
    return rated


@njit(cache=True, nogil=True)
def steady(
    dose: Any, p: int, o: int, n: int, depot: bool, acts: Any, want: bool, k: Any, lam: Any, left: Any, u: Any,
    v: Any, z: Any, T: Any, r: Any, dr: Any, w: Any, y: Any, Y: Any, f: Any,
) -> int:  # fmt: skip
    """The steady state of equal doses ``interval`` apart, at the record's time: one interval less the lag after a dose.

    One period's response from an empty system (``y``) and what a period leaves of a state give the state before a dose.
    Returns the number of infusions still running, -1 where it cannot be (infusions or lag longer than the interval).
    """
    tau = dose[D_INTERVAL]
    lag = k[p, LAG] if dose[D_LAGS] > 0.0 else 0.0
    length = dose[D_LENGTH] if dose[D_LENGTH] >= 0.0 else k[p, DURATION]
    estimated = 1.0 if dose[D_LENGTH] < 0.0 else 0.0
    if length > tau or lag > tau:
        return -1
    z[:], T[:], r[:], dr[:] = 0.0, 0.0, 0.0, 0.0
    rated = give(dose, p, 0, n, want, k, left, z, T, r, dr, 1.0)
    if rated > 0:
        advance(length, o, n, depot, True, acts, want, lam, left, u, v, z, T, r, dr, w)
        flow(n, depot, True, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, estimated)
        rated = give(dose, p, rated, n, want, k, left, z, T, r, dr, -1.0)
        flow(n, depot, False, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, -estimated)
    advance(tau - length, o, n, depot, False, acts, want, lam, left, u, v, z, T, r, dr, w)
    y[:], Y[:] = z, T
    periodic(tau, n, depot, lam, left, z, w)
    if want:
        y[:], T[:] = z, 0.0
        advance(tau, o, n, depot, False, acts, want, lam, left, u, v, z, T, r, dr, w)
        z[:] = y
        for q in acts:
            for a in range(len(T)):
                T[a, q] += Y[a, q]
                periodic(tau, n, depot, lam, left, T[a, q], w)
    if lag == 0.0 and dose[D_LAGS] == 0.0:
        return 0
    rated = give(dose, p, 0, n, want, k, left, z, T, r, dr, 1.0)
    phase = tau - lag
    if rated > 0 and phase >= length:
        advance(length, o, n, depot, True, acts, want, lam, left, u, v, z, T, r, dr, w)
        flow(n, depot, True, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, estimated)
        rated = give(dose, p, rated, n, want, k, left, z, T, r, dr, -1.0)
        flow(n, depot, False, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, -estimated)
        phase -= length
    advance(phase, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
    flow(n, depot, rated > 0, lam, left, z, r, f)
    shift(n, f, T, p, -1.0, 0.0)
    return rated


@njit(cache=True, nogil=True)
def periodic(tau: float, n: int, depot: bool, lam: Any, left: Any, z: Any, w: Any) -> None:
    """Solve ``x = (what a period leaves of x) + z`` for x, in place."""
    ea = math.exp(-lam[0] * tau)
    if depot:
        z[0] = z[0] / -math.expm1(-lam[0] * tau)
    for i in range(n):
        a = lam[i + 1]
        if depot:
            w[7, 0] = conv2(a, lam[0], math.exp(-a * tau), ea, tau)
            z[i + 1] += lam[0] * left[i, 0] * w[7, 0] * z[0]
        z[i + 1] = z[i + 1] / -math.expm1(-a * tau)


@njit(cache=True, nogil=True)
def answer(
    what: int, o: int, n: int, acts: Any, places: Any, clearances: bool, scale: float, psi: Any, k: Any, right: Any,
    z: Any, T: Any, g: Any, want: bool, by: Any,
) -> float:  # fmt: skip
    """The requested output and, with ``want``, its derivatives by ``psi`` (O, P), into ``by``."""
    row = 0 if what < 2 else what - 2
    value = 0.0
    factor = scale / k[o, VOLUME] if what == 0 else 1.0
    if what == 2:
        value = z[0]
    else:
        for i in range(n):
            value += right[o, row, i] * z[i + 1]
    if want:
        for p in range(o + 1):
            g[:] = 0.0
            for q in acts:
                if what == 2:
                    g[q] = T[p, q, 0]
                else:
                    for i in range(n):
                        g[q] += right[o, row, i] * T[p, q, i + 1]
                g[q] *= factor
            by_volume = -factor * value / k[o, VOLUME] if what == 0 and p == o else 0.0
            chain(g, by_volume, psi[p], places, k[p], n, clearances, by[p])
    return factor * value


@njit(cache=True, nogil=True)
def solve(
    psi: Any, who: Any, places: Any, acts: Any, n: int, depot: bool, clearances: bool, scale: float,
    doses: Any, first_dose: Any, events: Any, first_event: Any, asked_time: Any, asked_what: Any, asked_place: Any,
    asked: Any, want: bool, values: Any, by: Any,
) -> None:  # fmt: skip
    """Values (M, R) and, with ``want``, derivatives (M, R, O, P) of all sets; NaN for sets that cannot be solved."""
    occasions = psi.shape[1]
    most, drugs = np.diff(first_event).max(), np.diff(first_dose).max() + 1
    time, order, running = np.empty(most), np.empty(most, np.int64), np.empty(drugs, np.int64)
    k, lam = np.zeros((occasions, 10)), np.zeros((occasions, STATES))
    left, right = np.zeros((occasions, 3, 3)), np.zeros((occasions, 3, 3))
    u, v = np.zeros((occasions, 5, 3)), np.zeros((occasions, 5, 3))
    z, r, f, y, g = np.zeros(STATES), np.zeros(STATES), np.zeros(STATES), np.zeros(STATES), np.zeros(NATIVE)
    T, dr = np.zeros((occasions, NATIVE, STATES)), np.zeros((occasions, NATIVE, STATES))
    Y, w = np.zeros((occasions, NATIVE, STATES)), np.zeros((8, STATES))
    for m in range(len(psi)):
        i = who[m]
        possible = True
        for o in range(occasions):
            possible &= natives(psi[m, o], places, n, clearances, k[o])
            lam[o, 0] = k[o, KA]
            if possible:
                eigen(n, k[o], lam[o], left[o], right[o])
                directions(n, left[o], right[o], u[o], v[o])
        if not possible:
            if want:
                by[m] = np.nan
            continue
        ours, own = doses[first_dose[i] : first_dose[i + 1]], events[first_event[i] : first_event[i + 1]]
        count = len(own)
        for j in range(count):
            time[j], order[j] = own[j, E_TIME], j
            if own[j, E_KIND] != OCCASION:
                p = min(int(ours[int(own[j, E_DOSE]), D_OCCASION]), occasions - 1)
                time[j] += own[j, E_LAG] * k[p, LAG] + own[j, E_LENGTH] * k[p, DURATION]
        in_order(time, order, count)
        z[:], r[:] = 0.0, 0.0
        if want:
            T[:], dr[:] = 0.0, 0.0
        running[:] = 0
        now, o, rated, at = -np.inf, 0, 0, 0
        before, lag_before, length_before, cut = 0, 0.0, 0.0, -1
        for step in range(count + 1):
            until = time[order[step]] if step < count else np.inf
            while at < asked[i] and asked_time[i, at] <= until:
                dt = asked_time[i, at] - now
                if 0.0 < dt < np.inf:
                    advance(dt, o, n, depot, rated > 0, acts, want, lam[o], left[o], u[o], v[o], z, T, r, dr, w)
                if want and (lag_before != 0.0 or length_before != 0.0):
                    flow(n, depot, rated > 0, lam[o], left[o], z, r, f)
                    shift(n, f, T, before, -lag_before, -length_before)
                now, lag_before, length_before = asked_time[i, at], 0.0, 0.0
                place = asked_place[i, at]
                values[m, place] = answer(
                    asked_what[i, at], o, n, acts, places, clearances, scale, psi[m], k, right, z, T, g, want,
                    by[m if want else 0, place if want else 0],
                )  # fmt: skip
                at += 1
            if step == count or at == asked[i]:
                break
            event = own[order[step]]
            kind, d = int(event[E_KIND]), int(event[E_DOSE])
            p = 0 if kind == OCCASION else min(int(ours[d, D_OCCASION]), occasions - 1)
            dt = until - now
            if 0.0 < dt < np.inf:
                advance(dt, o, n, depot, rated > 0, acts, want, lam[o], left[o], u[o], v[o], z, T, r, dr, w)
            lag, length = event[E_LAG], event[E_LENGTH]
            if want and (lag != 0.0 or length != 0.0 or lag_before != 0.0 or length_before != 0.0):
                flow(n, depot, rated > 0, lam[o], left[o], z, r, f)
                shift(n, f, T, before, -lag_before, -length_before)
                shift(n, f, T, p, lag, length)
            now, before, lag_before, length_before = until, p, lag, length
            if kind == OCCASION:
                o = change(o, min(d, occasions - 1), n, want, left, right, z, T, y)
            elif kind in (RESET, STEADY):
                z[:], T[:], r[:], dr[:] = 0.0, 0.0, 0.0, 0.0
                running[:], rated, cut = 0, 0, d
                if kind == STEADY:
                    rated = steady(
                        ours[d], p, o, n, depot, acts, want, k, lam[o], left[o], u[o], v[o], z, T, r, dr, w, y, Y, f
                    )  # fmt: skip
                    if rated < 0:
                        values[m] = np.nan
                        if want:
                            by[m] = np.nan
                        break
                    running[d] = rated
            elif d < cut:
                continue
            elif kind == GIVE:
                rated = give(ours[d], p, rated, n, want, k, left[o], z, T, r, dr, 1.0)
                running[d] += 1 if ours[d, D_LENGTH] != 0.0 else 0
            elif running[d] > 0:
                rated = give(ours[d], p, rated, n, want, k, left[o], z, T, r, dr, -1.0)
                running[d] -= 1


@njit(cache=True, nogil=True)
def change(o: int, to: int, n: int, want: bool, left: Any, right: Any, z: Any, T: Any, y: Any) -> int:
    """Amounts go on into another occasion: from its eigenvectors' coordinates to the new ones. Returns ``to``."""
    if to == o or n == 1:
        return to
    recast(n, left[to], right[o], z, y)
    if want:
        for p in range(o + 1):
            for q in range(NATIVE):
                recast(n, left[to], right[o], T[p, q], y)
    return to


@njit(cache=True, nogil=True)
def recast(n: int, left: Any, right: Any, z: Any, y: Any) -> None:
    """One state in other coordinates, in place."""
    for s in range(n):
        y[s] = 0.0
        for i in range(n):
            y[s] += right[s, i] * z[i + 1]
    for i in range(n):
        z[i + 1] = 0.0
        for s in range(n):
            z[i + 1] += left[i, s] * y[s]
