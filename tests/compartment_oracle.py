"""Linear compartments by matrix exponentials in complex arithmetic: an oracle for the closed forms and derivatives.

Written from the definitions, slowly: one exponential of the augmented matrix per interval; steady states as sums over
earlier doses. A complex step through everything, event times included, gives derivatives without differences.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm
from scipy.stats import ortho_group

from icans.population.nlme.compartments import COMPARTMENTS, Compartments
from icans.population.nlme.records import Subject

STEP = 1e-30
#: Earlier doses of a steady state: two to this power.
DOUBLINGS = 12


def oracle(model: Compartments, psi, subject: Subject, times, outputs):
    """Values of ``outputs`` at ``times`` (left limits, but after a steady state is reached); ``psi`` (O, P)."""
    named = [dict(zip(model.canonical, row, strict=True)) for row in np.asarray(psi, dtype=complex)]
    matrices = [_matrix(model, p) for p in named]
    size = len(matrices[0])
    timeline = _timeline(model, named, subject)
    timeline += [(t, -1.0, "ask", place) for place, t in enumerate(times)]
    timeline.sort(key=lambda e: (np.real(e[0]), e[1]))
    state, running, clock, o, cut = np.zeros(size, complex), {}, None, 0, -1
    answers = np.zeros(len(times), complex)
    for when, _, kind, what in timeline:
        if clock is not None:
            state = _move(matrices[o], state, sum(running.values(), np.zeros(size, complex)), when - clock)
        clock = when
        if kind == "ask":
            answers[what] = _output(model, named[o], state, outputs[what])
        elif kind == "occasion":
            o = what
        elif kind == "reset":
            state, running, cut = np.zeros(size, complex), {}, what
        elif kind == "steady":
            state, before, cut = _steady(model, matrices[o], subject, what, named, size), {}, what
            running = before
            d = _dose(model, subject, what, named)
            if d["length"] != 0 and np.real(d["interval"] - d["lag"]) < np.real(d["length"]):
                running[(what, "previous")] = d["input"] / d["length"]
        elif kind == "give" and what >= cut:
            d = _dose(model, subject, what, named)
            if d["length"] == 0:
                state = state + d["input"]
            else:
                running[(what, "own")] = d["input"] / d["length"]
        elif kind in ("stop own", "stop previous"):
            running.pop((what, kind.split()[1]), None)
    return answers


def derivatives(model, psi, subject, times, outputs):
    """Derivatives (R, O, P) by complex steps."""
    psi = np.asarray(psi, dtype=float)
    out = np.zeros((len(times), *psi.shape))
    for o, p in np.ndindex(*psi.shape):
        moved = psi.astype(complex)
        moved[o, p] += 1j * STEP
        out[:, o, p] = oracle(model, moved, subject, times, outputs).imag / STEP
    return out


def _matrix(model, p):
    """States: depot (if any), central, peripherals."""
    n = model.compartments
    if model.parameterisation == "clearances":
        k = {"k": p["CL"] / p["V"]}
        for j, (q, v) in enumerate((("Q", "V2"), ("Q3", "V3"))[: n - 1]):
            k[f"out{j}"], k[f"back{j}"] = p[q] / p["V"], p[q] / p[v]
    else:
        k = {"k": p["k"]}
        for j, (a, b) in enumerate((("k12", "k21"), ("k13", "k31"))[: n - 1]):
            k[f"out{j}"], k[f"back{j}"] = p[a], p[b]
    a = np.zeros((n + 1, n + 1), complex)
    a[1, 1] = -k["k"]
    for j in range(n - 1):
        a[1, 1] -= k[f"out{j}"]
        a[j + 2, 1], a[1, j + 2], a[j + 2, j + 2] = k[f"out{j}"], k[f"back{j}"], -k[f"back{j}"]
    a[0, 0] = -1.0
    if model.depot:
        a[0, 0], a[1, 0] = -p["ka"], p["ka"]
    return a


def _move(a, state, rate, dt):
    if dt == 0:
        return state
    size = len(a)
    big = np.zeros((size + 1, size + 1), complex)
    big[:size, :size], big[:size, size] = a, rate
    # In other coordinates: SciPy's formulas for triangular matrices lose complex steps where two rates are equal.
    turn = ortho_group.rvs(size + 1, random_state=1)
    return (turn.T @ expm(turn @ (big * dt) @ turn.T) @ turn @ np.append(state, 1.0))[:size]


def _dose(model, subject, place, named):
    d = sorted(subject.doses, key=lambda d: d.time_h)[place]
    o = sum(d.time_h >= t for t in subject.occasions[1:])
    p = named[min(o, len(named) - 1)]
    entry = "depot" if model.absorption != "none" else "central"
    where = d.compartment or entry
    own = where == entry
    length = d.duration_h
    if where == "depot" and "D" in p and length == 0.0:
        length = p["D"]
    target = np.zeros(model.compartments + 1, complex)
    target[1 if where == "depot" and model.absorption == "zero" else COMPARTMENTS.index(where)] = d.amount
    bio = p.get("F", 1.0) if own else 1.0
    lag = p.get("Tlag", 0.0) if own else 0.0
    return {"time": d.time_h, "input": target * bio, "length": length, "lag": lag, "interval": d.interval_h,
            "reset": d.reset}  # fmt: skip


def _timeline(model, named, subject):
    troughs = [d.time_h for d in subject.doses if d.interval_h > 0.0]
    starts = [(o, t) for o, t in enumerate(subject.occasions[1:], 1) if o < len(named)]
    events = [(t, -3.0 if t in troughs else 0.0, "occasion", o) for o, t in starts]
    for place in range(len(subject.doses)):
        d = _dose(model, subject, place, named)
        start = d["time"] + d["lag"]
        if d["reset"] and not d["interval"] > 0.0:
            events.append((d["time"], -2.5 if d["time"] in troughs else 1.0, "reset", place))
        if d["interval"] > 0.0:
            events.append((d["time"], -2.0, "steady", place))
            if d["length"] != 0 and np.real(d["interval"] - d["lag"]) < np.real(d["length"]):
                events.append((start + d["length"] - d["interval"], 3.0, "stop previous", place))
        events.append((start, 3.0, "give", place))
        if d["length"] != 0:
            events.append((start + d["length"], 4.0, "stop own", place))
    return events


def _steady(model, a, subject, place, named, size):
    d = _dose(model, subject, place, named)
    turn, total = ortho_group.rvs(size, random_state=1), np.zeros(size, complex)
    step = turn.T @ expm(turn @ a @ turn.T * d["interval"]) @ turn
    none = np.zeros(size, complex)
    first = d["interval"] - d["lag"]
    if d["length"] == 0:
        one = _move(a, d["input"], none, first)
    elif np.real(first) < np.real(d["length"]):
        total += _move(a, none, d["input"] / d["length"], first)
        full = _move(a, none, d["input"] / d["length"], d["length"])
        one = _move(a, full, none, first + d["interval"] - d["length"])
    else:
        one = _move(a, _move(a, none, d["input"] / d["length"], d["length"]), none, first - d["length"])
    for _ in range(DOUBLINGS):
        one, step = one + step @ one, step @ step
    assert np.abs(step).max() < 1e-12
    return total + one


def _output(model, p, state, name):
    if name == "central":
        return model.scale * state[1] / p["V"]
    return state[{"depot": 0, "central amount": 1, "peripheral": 2, "peripheral2": 3}[name]]
