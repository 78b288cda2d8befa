"""Walk through the doses and requests of subjects with the closed forms of linear compartments. Compiled by numba.

Tables of a structural model bound to N subjects (see :class:`~icans.population.nlme.compartments.Compartments`):
``places``: column of ``psi`` of each canonical parameter (CL or k, V, Q or k12, V2 or k21, Q3 or k13, V3 or k31, ka, F,
lag, duration), -1 where the model has none. ``doses``: time, amount, compartment (0 depot, 1 central, 2, 3), duration
(0 bolus, -1 estimated), interval of a steady state, occasion, whether F and the lag apply. ``events``: nominal time,
kind, dose (or occasion), by how much lag and duration move it, whether it precedes observations of its time;
in nominal order. ``asked``: time, output (0
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
    general_step,
    shift,
)
from icans.population.nlme.compartment_one import step_one
from icans.population.nlme.convolutions import conv2

#: Columns of ``doses``.
D_TIME, D_AMOUNT, D_WHERE, D_LENGTH, D_INTERVAL, D_OCCASION, D_LAGS, D_BIO = range(8)
#: Columns of ``events``.
E_TIME, E_KIND, E_DOSE, E_LAG, E_LENGTH, E_FIRST = range(6)
VOLUME = 9


@njit(cache=True, nogil=True, error_model="numpy")
def natives(psi: Any, m: int, o: int, places: Any, n: int, clearances: bool, k: Any) -> bool:
    """Rate constants (0 to 4), ka, F, lag, duration, V of one occasion; whether they are possible."""
    for p in range(psi.shape[2]):
        if not math.isfinite(psi[m, o, p]):
            return False
    k[o, :] = 0.0
    k[o, BIO] = 1.0
    for q in range(KA, DURATION + 1):
        if places[q + 1] >= 0:
            k[o, q] = psi[m, o, places[q + 1]]
    volume = psi[m, o, places[1]]
    k[o, VOLUME] = volume
    if not volume > 0.0 or (places[DURATION + 1] >= 0 and not k[o, DURATION] > 0.0):
        return False
    k[o, 0] = psi[m, o, places[0]] / volume if clearances else psi[m, o, places[0]]
    for j in range(1, n):
        one, two = psi[m, o, places[2 * j]], psi[m, o, places[2 * j + 1]]
        k[o, 2 * j - 1] = one / volume if clearances else one
        k[o, 2 * j] = one / two if clearances and two > 0.0 else two
        # A peripheral compartment that nothing enters or leaves must still have a place in the symmetrised matrix.
        k[o, 2 * j] = max(k[o, 2 * j], 1e-100) if two > 0.0 else -1.0
    possible = True
    for q in range(KA + 4):
        possible &= 0.0 <= k[o, q] < 1e300
    return possible


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def chain(
    g: Any, by_volume: float, m: int, row: int, p: int, psi: Any, places: Any, k: Any, n: int, clearances: bool, by: Any
) -> None:  # fmt: skip
    """Derivatives by ``psi`` of occasion ``p`` from those by rate constants (``g``) and by the volume."""
    for q in range(KA, DURATION + 1):
        if places[q + 1] >= 0:
            by[m, row, p, places[q + 1]] = g[q]
    if not clearances:
        by[m, row, p, places[0]] = g[0]
        by[m, row, p, places[1]] = by_volume
        for j in range(1, n):
            by[m, row, p, places[2 * j]], by[m, row, p, places[2 * j + 1]] = g[2 * j - 1], g[2 * j]
        return
    volume = k[p, VOLUME]
    by_volume -= g[0] * k[p, 0] / volume
    for j in range(1, n):
        second = psi[m, p, places[2 * j + 1]]
        by[m, row, p, places[2 * j]] = g[2 * j - 1] / volume + g[2 * j] / second
        by[m, row, p, places[2 * j + 1]] = -g[2 * j] * k[p, 2 * j] / second
        by_volume -= g[2 * j - 1] * k[p, 2 * j - 1] / volume
    by[m, row, p, places[0]], by[m, row, p, places[1]] = g[0] / volume, by_volume


@njit(cache=True, nogil=True, error_model="numpy")
def in_order(time: Any, order: Any, count: int) -> None:
    """Sort events by time; equal times keep their order (insertion: they are almost sorted already)."""
    for i in range(1, count):
        j, one = i, order[i]
        while j > 0 and time[order[j - 1]] > time[one]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = one


@njit(cache=True, nogil=True, error_model="numpy")
def give(
    doses: Any, d: int, o: int, p: int, rated: int, n: int, want: bool, k: Any, left: Any, z: Any, T: Any, r: Any,
    dr: Any, sign: float,
) -> int:  # fmt: skip
    """In occasion ``o`` a bolus given in ``p`` enters, or an infusion starts (``sign`` 1) or ends (-1).

    Returns how many infusions run.
    """
    where = int(doses[d, D_WHERE])
    bio = k[p, BIO] if doses[d, D_BIO] > 0.0 else 1.0
    amount = doses[d, D_AMOUNT] * bio
    if doses[d, D_LENGTH] == 0.0:
        if where == 0:
            z[0] += amount
            T[p, BIO, 0] += doses[d, D_AMOUNT] * doses[d, D_BIO] if want else 0.0
        else:
            for i in range(n):
                z[i + 1] += left[o, i, where - 1] * amount
                T[p, BIO, i + 1] += left[o, i, where - 1] * doses[d, D_AMOUNT] * doses[d, D_BIO] if want else 0.0
        return rated
    length = doses[d, D_LENGTH] if doses[d, D_LENGTH] > 0.0 else k[p, DURATION]
    r[where] += sign * amount / length
    dr[p, BIO, where] += sign * doses[d, D_AMOUNT] * doses[d, D_BIO] / length
    if doses[d, D_LENGTH] < 0.0:
        dr[p, DURATION, where] -= sign * amount / (length * length)
    rated += int(sign)
    if rated == 0:
        r[:] = 0.0
        dr[:] = 0.0
    return rated


@njit(cache=True, nogil=True, error_model="numpy")
def steady(
    doses: Any, d: int, p: int, o: int, n: int, depot: bool, acts: Any, want: bool, k: Any, lam: Any, left: Any, u: Any,
    v: Any, z: Any, T: Any, r: Any, dr: Any, w: Any, y: Any, Y: Any, f: Any,
) -> int:  # fmt: skip
    """The steady state of equal doses ``interval`` apart, at the record's time: one interval less the lag after a dose.

    One period's response from an empty system (``y``) and what a period leaves of a state give the state before a dose.
    Returns the number of infusions still running, -1 where it cannot be (infusions or lag longer than the interval).
    """
    tau = doses[d, D_INTERVAL]
    lag = k[p, LAG] if doses[d, D_LAGS] > 0.0 else 0.0
    length = doses[d, D_LENGTH] if doses[d, D_LENGTH] >= 0.0 else k[p, DURATION]
    estimated = 1.0 if doses[d, D_LENGTH] < 0.0 else 0.0
    if length > tau or lag > tau:
        return -1
    z[:], T[:], r[:], dr[:] = 0.0, 0.0, 0.0, 0.0
    rated = give(doses, d, o, p, 0, n, want, k, left, z, T, r, dr, 1.0)
    if rated > 0:
        advance(length, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
        flow(o, n, depot, rated > 0, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, estimated)
        rated = give(doses, d, o, p, rated, n, want, k, left, z, T, r, dr, -1.0)
        flow(o, n, depot, rated > 0, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, -estimated)
    advance(tau - length, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
    y[:], Y[:] = z, T
    periodic(tau, o, n, depot, lam, left, z, w)
    if want:
        y[:], T[:] = z, 0.0
        advance(tau, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
        z[:] = y
        for q in acts:
            for a in range(len(T)):
                T[a, q] += Y[a, q]
                periodic(tau, o, n, depot, lam, left, T[a, q], w)
    if lag == 0.0 and doses[d, D_LAGS] == 0.0:
        return 0
    rated = give(doses, d, o, p, 0, n, want, k, left, z, T, r, dr, 1.0)
    phase = tau - lag
    if rated > 0 and phase >= length:
        advance(length, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
        flow(o, n, depot, rated > 0, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, estimated)
        rated = give(doses, d, o, p, rated, n, want, k, left, z, T, r, dr, -1.0)
        flow(o, n, depot, rated > 0, lam, left, z, r, f)
        shift(n, f, T, p, 0.0, -estimated)
        phase -= length
    advance(phase, o, n, depot, rated > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
    flow(o, n, depot, rated > 0, lam, left, z, r, f)
    shift(n, f, T, p, -1.0, 0.0)
    return rated


@njit(cache=True, nogil=True, error_model="numpy")
def periodic(tau: float, o: int, n: int, depot: bool, lam: Any, left: Any, z: Any, w: Any) -> None:
    """Solve ``x = (what a period leaves of x) + z`` for x, in place."""
    ea = math.exp(-lam[o, 0] * tau)
    if depot:
        z[0] = z[0] / -math.expm1(-lam[o, 0] * tau)
    for i in range(n):
        a = lam[o, i + 1]
        if depot:
            w[7, 0] = conv2(a, lam[o, 0], math.exp(-a * tau), ea, tau)
            z[i + 1] += lam[o, 0] * left[o, i, 0] * w[7, 0] * z[0]
        z[i + 1] = z[i + 1] / -math.expm1(-a * tau)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def answer(
    m: int, place: int, what: int, o: int, n: int, acts: Any, places: Any, clearances: bool, scale: float, psi: Any,
    k: Any, right: Any, z: Any, T: Any, g: Any, want: bool, by: Any,
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
            chain(g, by_volume, m, place, p, psi, places, k, n, clearances, by)
    return factor * value


@njit(cache=True, nogil=True, error_model="numpy")
def longest(first: Any) -> int:
    """The largest number of rows of a subject, at least 1."""
    most = 1
    for i in range(len(first) - 1):
        most = max(most, first[i + 1] - first[i])
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def prepare(
    m: int, psi: Any, places: Any, n: int, clearances: bool, k: Any, lam: Any, left: Any, right: Any, u: Any, v: Any
) -> bool:  # fmt: skip
    """Rate constants and eigenvectors of all occasions of a set; whether its parameters are possible."""
    for o in range(psi.shape[1]):
        if not natives(psi, m, o, places, n, clearances, k):
            return False
        lam[o, 0] = k[o, KA]
        eigen(o, n, k, lam, left, right)
        directions(o, n, left, right, u, v)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def schedule(
    first: int, last: int, events: Any, doses: Any, start: int, occasions: int, k: Any, time: Any, order: Any
) -> None:  # fmt: skip
    """Times of the events ``first`` to ``last`` of a subject, whose doses begin at ``start``, and their order."""
    for j in range(last - first):
        time[j], order[j] = events[first + j, E_TIME], j
        lag, length = events[first + j, E_LAG], events[first + j, E_LENGTH]
        if lag != 0.0 or length != 0.0:
            p = min(int(doses[start + int(events[first + j, E_DOSE]), D_OCCASION]), occasions - 1)
            time[j] += lag * k[p, LAG] + length * k[p, DURATION]
    in_order(time, order, last - first)


@njit(cache=True, nogil=True, error_model="numpy")
def happen(
    kind: int, d: int, first: int, p: int, doses: Any, running: Any, now: Any, n: int, depot: bool, acts: Any,
    want: bool, k: Any, lam: Any, left: Any, right: Any, u: Any, v: Any, z: Any, T: Any, r: Any, dr: Any, w: Any,
    y: Any, Y: Any, f: Any,
) -> bool:  # fmt: skip
    """An event of dose (or occasion) ``d``; ``now``: occasion, infusions that run, last reset. False: impossible."""
    o = now[0]
    if kind == OCCASION:
        now[0] = change(o, min(d, len(k) - 1), n, want, left, right, z, T, y)
    elif kind in (RESET, STEADY):
        z[:], T[:], r[:], dr[:] = 0.0, 0.0, 0.0, 0.0
        running[:], now[1], now[2] = 0, 0, d
        if kind == STEADY:
            now[1] = steady(doses, first + d, p, o, n, depot, acts, want, k, lam, left, u, v, z, T, r, dr, w, y, Y, f)
            running[d] = now[1]
            return now[1] >= 0
    elif running[d] > 0:
        now[1] = give(doses, first + d, o, p, now[1], n, want, k, left, z, T, r, dr, -1.0)
        running[d] -= 1
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve(
    psi: Any, who: Any, places: Any, acts: Any, n: int, depot: bool, clearances: bool, scale: float,
    doses: Any, first_dose: Any, events: Any, first_event: Any, asked_time: Any, asked_what: Any, asked_place: Any,
    asked: Any, want: bool, values: Any, by: Any,
) -> None:  # fmt: skip
    """Values (M, R) and, with ``want``, derivatives (M, R, O, P) of all sets; NaN for sets that cannot be solved."""
    occasions = psi.shape[1]
    most, drugs = longest(first_event), longest(first_dose)
    time, order, running = np.empty(most), np.empty(most, np.int64), np.zeros(drugs, np.int64)
    k, lam = np.zeros((occasions, 10)), np.zeros((occasions, STATES))
    left, right = np.zeros((occasions, 3, 3)), np.zeros((occasions, 3, 3))
    u, v = np.zeros((occasions, 5, 3)), np.zeros((occasions, 5, 3))
    z, r, f, y, g = np.zeros(STATES), np.zeros(STATES), np.zeros(STATES), np.zeros(STATES), np.zeros(NATIVE)
    T, dr = np.zeros((occasions, NATIVE, STATES)), np.zeros((occasions, NATIVE, STATES))
    Y, w = np.zeros((occasions, NATIVE, STATES)), np.zeros((8, STATES))
    now = np.zeros(3, np.int64)
    for m in range(len(psi)):
        i = who[m]
        possible = prepare(m, psi, places, n, clearances, k, lam, left, right, u, v)
        first, count, start = first_event[i], first_event[i + 1] - first_event[i], first_dose[i]
        schedule(first, first + count, events, doses, start, occasions, k, time, order)
        z[:], T[:], r[:], dr[:] = 0.0, 0.0, 0.0, 0.0
        running[:], now[0], now[1], now[2] = 0, 0, 0, -1
        clock, step, at, before, lag_before, length_before = -np.inf, 0, 0, 0, 0.0, 0.0
        while possible and at < asked[i]:
            event = first + (order[step] if step < count else 0)
            until = time[order[step]] if step < count else np.inf
            asking = asked_time[i, at] < until or (asked_time[i, at] == until and events[event, E_FIRST] == 0.0)
            until = asked_time[i, at] if asking else until
            dt, o = until - clock, now[0]
            if 0.0 < dt < np.inf:
                if n == 1:
                    step_one(dt, o, depot, now[1] > 0, acts, want, lam[o, 0], lam[o, 1], z, T, r, dr)
                else:
                    general_step(dt, o, n, depot, now[1] > 0, acts, want, lam, left, u, v, z, T, r, dr, w)
            kind = OCCASION if asking else int(events[event, E_KIND])
            lag, length, p = 0.0, 0.0, 0
            if kind != OCCASION:
                p = min(int(doses[start + int(events[event, E_DOSE]), D_OCCASION]), occasions - 1)
                lag, length = events[event, E_LAG], events[event, E_LENGTH]
            if want and (lag != 0.0 or length != 0.0 or lag_before != 0.0 or length_before != 0.0):
                flow(o, n, depot, now[1] > 0, lam, left, z, r, f)
                shift(n, f, T, before, -lag_before, -length_before)
                shift(n, f, T, p, lag, length)
            clock, before, lag_before, length_before = until, p, lag, length
            if asking:
                row = asked_place[i, at]
                values[m, row] = answer(
                    m, row, asked_what[i, at], o, n, acts, places, clearances, scale, psi, k, right, z, T, g, want, by
                )  # fmt: skip
                at += 1
                continue
            step += 1
            d = int(events[event, E_DOSE])
            if kind == GIVE:
                if d >= now[2]:  # a reset also cancels what was given before and has not entered yet
                    now[1] = give(doses, start + d, o, p, now[1], n, want, k, left, z, T, r, dr, 1.0)
                    running[d] += 1 if doses[start + d, D_LENGTH] != 0.0 else 0
                continue
            possible = happen(
                kind, d, start, p, doses, running, now, n, depot, acts, want, k, lam, left,
                right, u, v, z, T, r, dr, w, y, Y, f,
            )  # fmt: skip
        if not possible:
            values[m] = np.nan
            if want:
                by[m] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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
