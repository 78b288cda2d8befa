"""Where everything lies while a batch is solved: addresses of the kernel, regions of the workspace, lanes, patients.

The compiled loop reads all of it from a few arrays of records (numba passes a record as one pointer, without counting
references). Numbers of lanes lie in one workspace of doubles, lane-minor: ``a[row * lanes + lane]`` (see
:mod:`icans.mechanism.engine.vector`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icans.mechanism.engine.rodas import Tableau

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

#: Doubles in a vector of the solver's loops: regions are padded to it and the number of lanes divides it.
BLOCK = 8

#: How a patient ended.
DONE, RUNNING, SMALL_STEP, MANY_STEPS, BAD_START, MANY_DOSES, STOPPED, NO_STEADY = 0, 1, 2, 3, 4, 5, 6, 7
REASONS = {
    RUNNING: "not solved",
    SMALL_STEP: "the step became too small (a singular system, or values that run away)",
    MANY_STEPS: "too many steps",
    BAD_START: "the state or its rate of change is not finite at a start or after an event",
    MANY_DOSES: "more triggered doses waiting than fit",
    STOPPED: "interrupted",
    NO_STEADY: "no steady state to start from",
}


def _record(floats: str, ints: str) -> np.dtype[np.void]:
    return np.dtype([(n, "f8") for n in floats.split()] + [(n, "i8") for n in ints.split()])


#: Addresses of the kernel's functions; 0 for those that it does not have.
CALLS = _record(
    "", "prepare initial rhs factor solve observe jacobian dfdp dj_dy dj_dp initial_dp observe_jac observe_dp"
)
#: Sizes, and places of regions in the workspace: ``m`` doubles of one state vector, padded; ``u`` the stages and ``k``
#: the rows of the dense output, one vector of ``m`` each; ``p`` raw and ``q`` prepared parameters; ``o`` what the
#: kernel observes. With derivatives by ``directions`` parameters: ``s``, ``s_new``, ``s_at`` (a vector for each),
#: ``s_k`` (the rows of the dense output for each), ``s_u`` stages and ``s_x`` one ``y_i'`` for each of a block of
#: directions, ``jv``, ``kv`` and ``fp`` what the kernel's ``jacobian``, ``dj_dy`` and ``dfdp`` give for every stage
#: (``mj``, ``mf`` doubles each), and room for its other functions.
PLAN = _record(
    "",
    "lanes n m parameters inputs stages dense_rows size directions mj mf "
    "y y_new f y_stage rest u k p q rate o lu hinv ghinv theta mask norm atol rtol a b c d one "
    "zero s s_new s_at s_k s_u s_x jv kv fp djp start_dp oj op rate_dp",
)
#: Step control. ``fixed`` > 0: steps of that size without control.
OPTIONS = _record("gamma exponent memory safety shrink grow h_max fixed t_start", "max_steps")
#: A lane. ``patient`` -1: idle. ``verdict`` on the last attempt: 0 idle, 1 accepted, 2 rejected. ``stale``: what
#: triggers watch has jumped.
LANE = _record(
    "t h h_used t_new stop end error low high part",
    "patient verdict fresh rejected steps output first_output last_output event last_event record waiting stale root",
)
#: An event; ``slot`` tells infusions of the schedule (0) from those of triggers (1, 2, ...), ``entry`` is the input of
#: a dose (-1: none).
EVENT = _record("time value", "kind place slot entry")
#: A trigger: what it watches (place in what the kernel observes), and how; its infusions take ``copies`` slots in turn.
TRIGGER = _record("threshold delay lockout", "quantity direction most sustained slot copies")
#: What a lane knows of a trigger: ``side`` 1 at or above the threshold, 0 below, -1 not known; ``armed`` from when.
WATCH = _record("armed", "side fired")
#: A patient: ranges in the tables of times and events, and how it ended.
PATIENT = _record("fail_time", "time_from time_to event_from event_to status fail_state accepted rejected")


class Work(NamedTuple):
    """What belongs to one worker: lanes, waiting events (lanes, capacity), infusion rates by slot, triggers' states."""

    lane: Records  # (lanes,)
    wait: Records  # (lanes, capacity)
    slots: Array  # (lanes, slots, inputs)
    watch: Records  # (lanes, triggers)


class Batch(NamedTuple):
    """Patients: what is given, and where results go."""

    p: Array  # (patients, parameters)
    y0: Array  # (patients or 0, states)
    patient: Records  # (patients,)
    times: Array
    events: Records
    triggers: Records  # (triggers,)
    answers: Records  # events of triggers, times relative to firing
    answers_at: Ints  # (patients, triggers, 2)
    s0: Array  # (patients or 0, directions, states)
    value_dp: Array  # (events, directions): derivatives of the events' values
    time_dp: Array  # (events, directions): of their times
    picked: Ints  # (outputs,): which of the quantities that the kernel observes are the outputs
    values: Array  # (patients, times, outputs)
    derivatives: Array  # (patients, times, outputs, directions)
    y_end: Array  # (patients or 0, states)
    fired: Array  # (patients, triggers, most): times


class Patterns(NamedTuple):
    """Where the entries of the kernel's sparse results belong. Those by parameter are listed parameter by parameter.

    The entries of row ``i`` of the Jacobian are those from ``starts[i]`` to before ``starts[i + 1]``.
    ``fp_place`` (number among the values of ``dfdp``) and ``fp_row`` (state) of parameter ``j`` are those from
    ``fp_from[j]`` to before ``fp_from[j + 1]``; ``djp`` likewise, for entries of the Jacobian.
    """

    starts: Ints
    col: Ints
    fp_place: Ints
    fp_row: Ints
    fp_from: Ints
    djp_place: Ints
    djp_row: Ints
    djp_col: Ints
    djp_from: Ints
    oj_row: Ints
    oj_col: Ints
    op_row: Ints
    op_col: Ints
    input_state: Ints


def make_patterns(kernel: Kernel, input_state: list[int]) -> Patterns:
    """The patterns of a kernel; empty ones for a kernel without sensitivities."""
    k = len(kernel.sensitivities)
    empty = np.zeros(0, np.int64)
    state = np.array(input_state, np.int64)
    if k == 0:
        none = np.zeros(1, np.int64)
        return Patterns(empty, empty, empty, empty, none, empty, empty, empty, none, empty, empty, empty, empty, state)

    def by_parameter(rows: Any, cols: Any) -> tuple[Ints, Ints, Ints]:
        order = np.argsort(cols, kind="stable").astype(np.int64)
        begin = np.searchsorted(np.asarray(cols)[order], np.arange(k + 1)).astype(np.int64)
        return order, np.asarray(rows)[order].astype(np.int64), begin

    if (np.diff(kernel.jac_rows) < 0).any():
        raise ValueError("the entries of the Jacobian must come row by row")
    starts = np.searchsorted(kernel.jac_rows, np.arange(kernel.n + 1)).astype(np.int64)
    plain = [np.asarray(a).astype(np.int64) for a in (
        kernel.jac_cols, kernel.observe_jac_rows, kernel.observe_jac_cols, kernel.observe_dp_rows,
        kernel.observe_dp_cols)]  # fmt: skip
    place, entry, djp_from = by_parameter(kernel.djdp_entries, kernel.djdp_cols)
    row, col = (np.asarray(a).astype(np.int64)[entry] for a in (kernel.jac_rows, kernel.jac_cols))
    fp_place, fp_row, fp_from = by_parameter(kernel.dfdp_rows, kernel.dfdp_cols)
    return Patterns(
        starts, plain[0], fp_place, fp_row, fp_from, place, row, col, djp_from, plain[1], plain[2], plain[3], plain[4],
        state,
    )  # fmt: skip


def padded(count: int) -> int:
    """The next multiple of :data:`BLOCK`."""
    return -(-count // BLOCK) * BLOCK


def one_record(kind: np.dtype[np.void], **values: float) -> Records:
    """An array of one record."""
    made = np.zeros(1, dtype=kind)
    for name, value in values.items():
        made[name] = value
    return made


def make_calls(kernel: Kernel) -> Records:
    """The addresses of a kernel."""
    return one_record(CALLS, **{name: kernel.address(name) for name in CALLS.names or ()})


def make_plan(kernel: Kernel, method: Tableau) -> Records:
    """Lay out a workspace."""
    w, n = kernel.lanes, kernel.n
    inputs, observed, parameters = len(kernel.inputs), len(kernel.outputs), len(kernel.parameters)
    if w not in (1, 4, 8):
        raise ValueError(f"lanes must be 1, 4 or 8, not {w}")
    m, s, rows = padded(n * w), method.stages, len(method.dense)
    regions = {
        "y": m, "y_new": m, "f": m, "y_stage": m, "rest": m, "u": s * m, "k": rows * m, "p": parameters * w,
        "q": kernel.nq * w, "rate": inputs * w, "o": observed * w, "lu": kernel.nlu * w, "hinv": BLOCK, "ghinv": w,
        "theta": BLOCK, "mask": BLOCK, "norm": w, "atol": n, "rtol": 1, "a": s * s, "b": s, "c": s * s,
        "d": rows * s, "one": 1,
    }  # fmt: skip
    k = len(kernel.sensitivities)
    mj, mf = (
        padded(len(a) * w) if k else 0 for a in (getattr(kernel, "jac_rows", ()), getattr(kernel, "dfdp_rows", ()))
    )
    if k:
        regions |= {
            "s": k * m, "s_new": k * m, "s_at": k * m, "s_k": k * rows * m, "s_u": 4 * s * m, "s_x": 4 * m,
            "zero": m, "jv": s * mj, "kv": s * mj, "fp": s * mf,
            "djp": len(kernel.djdp_entries) * w, "start_dp": n * k * w, "oj": len(kernel.observe_jac_rows) * w,
            "op": len(kernel.observe_dp_rows) * w, "rate_dp": k * inputs * w,
        }  # fmt: skip
    places, at = {}, 0
    for name, size in regions.items():
        places[name] = at
        at += padded(max(size, 1))
    return one_record(PLAN, lanes=w, n=n, m=m, parameters=parameters, inputs=inputs, stages=s, dense_rows=rows,
                      size=at, directions=k, mj=mj, mf=mf, **places)  # fmt: skip


def make_workspace(plan: Any, method: Tableau, atol: Array, rtol: float) -> Array:
    """A workspace, aligned to 64 bytes, with the constants of the method and the tolerances in place."""
    raw = np.zeros(int(plan["size"]) + BLOCK)
    skip = (-raw.ctypes.data % 64) // 8
    work = raw[skip : skip + int(plan["size"])]
    work[plan["atol"] : plan["atol"] + plan["n"]] = atol
    work[plan["rtol"]], work[plan["one"]] = rtol, 1.0
    for name, value in (("a", method.a), ("b", method.b), ("c", method.c), ("d", method.dense)):
        work[plan[name] : plan[name] + value.size] = value.ravel()
    return work


def make_work(plan: Any, triggers: Records, capacity: int) -> Work:
    """Idle lanes."""
    slots = int((triggers["slot"] + triggers["copies"]).max(initial=1))
    w = int(plan["lanes"])
    made = Work(
        np.zeros(w, dtype=LANE), np.zeros((w, max(capacity, 1)), dtype=EVENT),
        np.zeros((w, slots, int(plan["inputs"]))), np.zeros((w, len(triggers)), dtype=WATCH),
    )  # fmt: skip
    made.lane["patient"] = -1
    return made
