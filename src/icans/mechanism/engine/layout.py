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
from icans.mechanism.engine.sdirk import sdirk

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

#: Doubles in a vector of the solver's loops: regions are padded to it and the number of lanes divides it.
BLOCK = 8
#: Doubles in a vector of the loops over derivatives, and most stages of a method.
SIDE, MOST = 4, 8

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
CALLS = _record("", "prepare initial rhs factor solve observe jacobian dfdp initial_dp observe_jac observe_dp")
#: Sizes, and places of regions in the workspace: ``m`` doubles of one state vector, padded; ``u`` the stages and ``k``
#: the rows of the dense output, one vector of ``m`` each; ``p`` raw and ``q`` prepared parameters; ``o`` what the
#: kernel observes. With derivatives by ``directions`` parameters: ``s`` and the stages ``s_u`` are blocks of ``ms``
#: doubles, row by row; a row of ``row`` doubles holds one state, direction after direction, in each all lanes; behind
#: the states there is room for the ``apart`` other unknowns of the linear system. ``s_c``: coefficients of the stages.
#: ``s_at``: rows at the times of outputs, ``s_d`` their coefficients. ``jv`` and ``fp`` are what the kernel's
#: ``jacobian`` and ``dfdp`` give, and there is room for its other functions.
PLAN = _record(
    "",
    "lanes n apart m parameters inputs stages dense_rows size directions row ms "
    "y y_new f y_stage rest u k p q rate o lu hinv ghinv theta mask norm atol rtol a b c d one ones "
    "s s_u s_c s_at s_d jv fp start_dp oj op rate_dp",
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
#: A patient: ranges in the tables of times and events, and how it ended. ``h_start``: the step to begin with where a
#: course goes on from its own end (0: chosen anew); ``h_end``: the step that would have come next.
PATIENT = _record(
    "fail_time h_start h_end", "time_from time_to event_from event_to status fail_state accepted rejected"
)


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
    plain: Ints  # (outputs,): their states where all outputs are states, else empty
    values: Array  # (patients, times, outputs)
    derivatives: Array  # (patients, times, outputs, directions)
    y_end: Array  # (patients or 0, states)
    fired: Array  # (patients, triggers, most): times


class Patterns(NamedTuple):
    """Where the entries of the kernel's sparse results belong.

    The entries of row ``i`` of the Jacobian are those from ``jac_starts[i]`` to before ``jac_starts[i + 1]``.
    ``fp_place``: entries of ``dfdp``; ``fp_at``: what each is added to, as a number of direction and state together
    (``state * row + direction``, in units of all lanes). ``lu_*``: the pattern of the factors, see
    :mod:`icans.mechanism.engine.blocks`. ``oj_*``, ``op_*``: derivatives of outputs. ``seen``: states on
    which outputs depend; ``oj_seen``: the place of each ``oj`` entry's state among them.
    """

    jac_starts: Ints
    jac_cols: Ints
    fp_place: Ints
    fp_at: Ints
    lu_starts: Ints
    lu_diagonal: Ints
    lu_cols: Ints
    lu_order: Ints
    oj_row: Ints
    oj_seen: Ints
    seen: Ints
    op_row: Ints
    op_col: Ints
    input_state: Ints


def row_size(lanes: int, directions: int) -> int:
    """Doubles of one state's derivatives: whole vectors."""
    return -(-lanes * directions // SIDE) * SIDE


def make_patterns(kernel: Kernel, input_state: list[int]) -> Patterns:
    """The patterns of a kernel; empty ones for a kernel without sensitivities."""
    k = len(kernel.sensitivities)
    empty = np.zeros(0, np.int64)
    state = np.array(input_state, np.int64)
    if k == 0:
        none = dict.fromkeys(Patterns._fields, empty) | {"input_state": state}
        return Patterns(**none)

    def plain(entries: Any) -> Ints:
        return np.asarray(entries).astype(np.int64)

    order, row, col = plain(kernel.lu_order), plain(kernel.lu_rows), plain(kernel.lu_cols)
    seen = np.unique(plain(kernel.observe_jac_cols))
    # For one lane, a row may be longer than its directions; else it is a whole number of directions.
    apart = row_size(kernel.lanes, k) // kernel.lanes
    return Patterns(
        np.searchsorted(plain(kernel.jac_rows), np.arange(kernel.n + 1)).astype(np.int64), plain(kernel.jac_cols),
        np.arange(len(kernel.dfdp_rows)), plain(kernel.dfdp_rows) * apart + plain(kernel.dfdp_cols),
        np.searchsorted(row, np.arange(len(order) + 1)).astype(np.int64), np.flatnonzero(row == col).astype(np.int64),
        order[col], order, plain(kernel.observe_jac_rows),
        np.searchsorted(seen, plain(kernel.observe_jac_cols)).astype(np.int64), seen, plain(kernel.observe_dp_rows),
        plain(kernel.observe_dp_cols), state,
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
    if s > MOST or rows > MOST:
        raise ValueError(f"at most {MOST} stages, not {s}")
    regions = {
        "y": m, "y_new": m, "f": m, "y_stage": m, "rest": m, "u": s * m, "k": rows * m, "p": parameters * w,
        "q": kernel.nq * w, "rate": inputs * w, "o": observed * w, "lu": (kernel.nlu + kernel.apart) * w,
        "hinv": BLOCK, "ghinv": w, "theta": BLOCK, "mask": BLOCK, "norm": w, "atol": n, "rtol": 1, "a": s * s, "b": s,
        "c": s * s, "d": rows * s, "one": 1, "ones": BLOCK,
    }  # fmt: skip
    k = len(kernel.sensitivities)
    row = row_size(w, k)
    ms = padded((n + kernel.apart) * row)
    if k:
        count = sdirk().implicit
        regions |= {
            "s": ms, "s_u": count * ms, "s_c": count * (count + 1), "s_at": len(kernel.observe_jac_cols) * row,
            "s_d": (count + 1) * BLOCK, "jv": kernel.nnz * w, "fp": len(kernel.dfdp_rows) * w,
            "start_dp": n * k * w, "oj": len(kernel.observe_jac_rows) * w, "op": len(kernel.observe_dp_rows) * w,
            "rate_dp": k * inputs * w,
        }  # fmt: skip
    places, at = {}, 0
    for name, size in regions.items():
        places[name] = at
        at += padded(max(size, 1))
    return one_record(PLAN, lanes=w, n=n, apart=kernel.apart, m=m, parameters=parameters, inputs=inputs, stages=s,
                      dense_rows=rows, size=at, directions=k, row=row, ms=ms, **places)  # fmt: skip


def make_workspace(plan: Any, method: Tableau, atol: Array, rtol: float) -> Array:
    """A workspace, aligned to 64 bytes, with the constants of the method and the tolerances in place."""
    raw = np.zeros(int(plan["size"]) + BLOCK)
    skip = (-raw.ctypes.data % 64) // 8
    work = raw[skip : skip + int(plan["size"])]
    work[plan["atol"] : plan["atol"] + plan["n"]] = atol
    work[plan["rtol"]], work[plan["one"]] = rtol, 1.0
    work[plan["ones"] : plan["ones"] + BLOCK] = 1.0
    for name, value in (("a", method.a), ("b", method.b), ("c", method.c), ("d", method.dense)):
        work[plan[name] : plan[name] + value.size] = value.ravel()
    if plan["directions"]:
        work[plan["s_c"] : plan["s_c"] + sdirk().mix.size] = sdirk().mix.ravel()
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
