"""Where everything lies while a batch is solved: addresses of the kernel, regions of the workspace, lanes, patients.

All of them are named tuples of integers and arrays, which numba reads without boxing. An array of ``rows`` per lane is
lane-minor, ``a[row * lanes + lane]``, in one workspace of doubles (see :mod:`icans.mechanism.engine.vector`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icans.mechanism.engine.rodas import Tableau

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Doubles in a vector of the solver's loops: regions are padded to it and the number of lanes divides it.
BLOCK = 8

#: How a patient ended.
DONE, RUNNING, SMALL_STEP, MANY_STEPS, BAD_START, MANY_DOSES, STOPPED = 0, 1, 2, 3, 4, 5, 6
REASONS = {
    RUNNING: "not solved",
    SMALL_STEP: "the step became too small (a singular system, or values that run away)",
    MANY_STEPS: "too many steps",
    BAD_START: "the initial state or its rate of change is not finite",
    MANY_DOSES: "more triggered doses waiting than fit",
    STOPPED: "interrupted",
}


class Calls(NamedTuple):
    """Addresses of the kernel's C functions; 0 for those that it does not have."""

    prepare: int
    initial: int
    rhs: int
    factor: int
    solve: int
    observe: int
    watch: int
    jacobian: int
    dfdp: int
    dj_dy: int
    dj_dp: int
    initial_dp: int
    observe_jac: int
    observe_dp: int


class Plan(NamedTuple):
    """Sizes, and offsets of regions in the workspace."""

    lanes: int
    n: int
    m: int  # doubles of one state vector, padded
    parameters: int
    inputs: int
    outputs: int
    watched: int
    stages: int
    dense_rows: int
    y: int
    y_new: int
    f: int
    y_stage: int
    rest: int
    u: int  # stages, one vector of m each
    k: int  # rows of the dense output, one vector of m each
    p: int
    q: int
    rate: int
    o: int
    g: int
    lu: int
    hinv: int
    ghinv: int
    theta: int
    mask: int
    norm: int
    atol: int
    rtol: int
    a: int
    b: int
    c: int
    d: int
    one: int
    size: int


class Options(NamedTuple):
    """What the step control needs."""

    gamma: float
    exponent: float
    memory: float
    safety: float
    shrink: float
    grow: float
    h_max: float
    fixed: float
    max_steps: int


class Lanes(NamedTuple):
    """The state of each lane, shape (lanes,) unless told."""

    t: Array
    h: Array
    h_used: Array
    t_new: Array
    stop: Array
    end: Array
    error: Array
    patient: Ints  # -1: idle
    verdict: Ints  # of the last attempt: 0 idle, 1 accepted, 2 rejected
    fresh: Ints
    rejected: Ints
    steps: Ints
    output: Ints  # next output
    last_output: Ints
    event: Ints  # next event of the schedule
    last_event: Ints
    record: Ints
    slots: Array  # (lanes, 1 + triggers, inputs): rates of infusions by who started them
    waiting: Ints  # number of triggered events waiting
    wait_time: Array  # (lanes, capacity)
    wait_kind: Ints
    wait_place: Ints
    wait_value: Array
    wait_slot: Ints
    side: Ints  # (lanes, triggers): 1 at or above the threshold, 0 below, -1 not known
    armed: Array  # (lanes, triggers): time from which a trigger may fire again
    fired: Ints  # (lanes, triggers)
    stale: Ints  # the watched quantities jumped
    low: Array
    high: Array
    root: Ints


class Batch(NamedTuple):
    """Patients: what is given, and where results go."""

    p: Array  # (patients, parameters)
    y0: Array  # (patients or 0, states)
    t_start: float
    times: Array
    time_at: Ints  # (patients, 2)
    ev_time: Array
    ev_kind: Ints
    ev_place: Ints
    ev_value: Array
    ev_at: Ints  # (patients, 2)
    tr_quantity: Ints  # (triggers,)
    tr_threshold: Array
    tr_direction: Ints
    tr_delay: Array
    tr_lockout: Array
    tr_max: Ints
    tr_sustained: Ints
    te_time: Array
    te_kind: Ints
    te_place: Ints
    te_value: Array
    te_at: Ints  # (patients, triggers, 2)
    values: Array  # (patients, times, outputs)
    y_end: Array  # (patients or 0, states)
    status: Ints  # (patients,)
    fail_time: Array
    fail_state: Ints
    steps: Ints  # (patients, 2): accepted, rejected
    fired: Array  # (patients, triggers, most): times


def padded(count: int) -> int:
    """The next multiple of :data:`BLOCK`."""
    return -(-count // BLOCK) * BLOCK


def make_plan(sizes: dict[str, int], method: Tableau) -> Plan:
    """Lay out a workspace.

    Parameters
    ----------
    sizes
        ``lanes``, ``n``, ``parameters``, ``q``, ``inputs``, ``outputs``, ``watched``, ``lu``.
    """
    w, n = sizes["lanes"], sizes["n"]
    if w not in (1, 4, 8):
        raise ValueError(f"lanes must be 1, 4 or 8, not {w}")
    m, s, rows = padded(n * w), method.stages, len(method.dense)
    regions = {
        "y": m, "y_new": m, "f": m, "y_stage": m, "rest": m, "u": s * m, "k": rows * m, "p": sizes["parameters"] * w,
        "q": sizes["q"] * w, "rate": sizes["inputs"] * w, "o": sizes["outputs"] * w, "g": sizes["watched"] * w,
        "lu": sizes["lu"] * w, "hinv": BLOCK, "ghinv": w, "theta": BLOCK, "mask": BLOCK, "norm": w, "atol": n,
        "rtol": 1, "a": s * s, "b": s, "c": s * s, "d": rows * s, "one": 1,
    }  # fmt: skip
    places, at = {}, 0
    for name, size in regions.items():
        places[name] = at
        at += padded(max(size, 1))
    return Plan(w, n, m, sizes["parameters"], sizes["inputs"], sizes["outputs"], sizes["watched"], s, rows,
                **places, size=at)  # fmt: skip


def make_workspace(plan: Plan, method: Tableau, atol: Array, rtol: float) -> Array:
    """A workspace, aligned to 64 bytes, with the constants of the method and the tolerances in place."""
    raw = np.zeros(plan.size + BLOCK)
    skip = (-raw.ctypes.data % 64) // 8
    work = raw[skip : skip + plan.size]
    work[plan.atol : plan.atol + plan.n] = atol
    work[plan.rtol], work[plan.one] = rtol, 1.0
    for name, value in (("a", method.a), ("b", method.b), ("c", method.c), ("d", method.dense)):
        place = getattr(plan, name)
        work[place : place + value.size] = value.ravel()
    return work


def make_lanes(plan: Plan, triggers: int, capacity: int) -> Lanes:
    """Idle lanes."""
    w = plan.lanes
    shapes: dict[str, Any] = {
        "slots": (w, 1 + triggers, plan.inputs), "side": (w, triggers), "armed": (w, triggers), "fired": (w, triggers),
        **{f"wait_{k}": (w, max(capacity, 1)) for k in ("time", "kind", "place", "value", "slot")},
    }  # fmt: skip
    made = {
        name: np.zeros(shapes.get(name, (w,)), dtype=np.int64 if "Ints" in str(kind) else np.float64)
        for name, kind in Lanes.__annotations__.items()
    }
    made["patient"][:] = -1
    return Lanes(**made)
