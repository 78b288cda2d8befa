"""Simulate patients: the one function that the rest of the package calls.

Each patient has his own steps; patients share vectors only to be fast. Results are the same to the last bit whatever
the number of threads, the order of patients or who their neighbours are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.provenance import Provenance, package_version
from icans.mechanism.doses import Action, Dose, Reset, Switch, Trigger, check_triggers
from icans.mechanism.engine import inputs, layout
from icans.mechanism.engine.execute import execute, input_states, make_setup, patients, plain_states
from icans.mechanism.engine.rodas import Tableau, tableau
from icans.mechanism.trajectory import Failure, Firing, Trajectory

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel
    from icans.mechanism.model import PatientModel

__all__ = ["Action", "Control", "Dose", "Reset", "Switch", "Trajectory", "Trigger", "simulate"]

Array = npt.NDArray[np.float64]

#: Fewer patients than this are solved one by one; more share vectors of :data:`LANES`.
FEW, LANES = 4, 4
#: Absolute tolerance as a part of the relative one times the state's initial value (or 1, where that is 0).
ABSOLUTE = 1e-2
#: Firings of a trigger of which the time is kept.
KEPT = 200
#: Results larger than this are refused (bytes).
LARGEST = 8e9


@dataclass(frozen=True)
class Control:
    """How to integrate: method, tolerances, limits. ``fixed`` > 0: steps of that size (h), without error control."""

    method: str = "rodas5p"
    rtol: float = 1e-6
    atol: Array | float | None = None
    h_max: float = math.inf
    max_steps: int = 100_000
    fixed: float = 0.0


def simulate(
    model: PatientModel,
    parameters: Any = None,
    doses: Sequence[Any] = (),
    times: Any = None,
    *,
    outputs: Sequence[str] | None = None,
    rtol: float = 1e-6,
    atol: Array | float | None = None,
    threads: int | None = None,
    triggers: Sequence[Trigger] = (),
    start: str | Array = "initial",
    t_start: float = 0.0,
    sensitivities: Sequence[str] = (),
    control: Control | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Courses of quantities in patients.

    Parameters
    ----------
    parameters
        None (one typical patient), values by name, a table with a column per parameter, or an array of shape
        (patients, parameters).
    doses
        Doses, resets and switches for all patients, or a list of them for each. A value at the time of a dose is the
        value before it.
    times
        Hours since infusion, ascending: shape (T,), or (patients, T) padded with NaN. Every 6 h for 30 days if None.
    outputs
        States and definitions; every state and observable if None.
    rtol, atol
        Tolerances of the error of a step (root mean square over the states); ``atol`` a number or one per state, by
        default a hundredth of ``rtol`` times the typical initial value (1 where that is 0).
    threads
        Threads; as many as there are processors if None.
    triggers
        Doses given when a quantity passes a threshold.
    start
        ``"initial"``, ``"steady"`` (the steady state without doses), or states, shape (states,) or (patients, states).
    t_start
        Hours at which integration starts.
    sensitivities
        Parameters by which values are differentiated (:attr:`Trajectory.derivatives`).
    control
        Method and limits; its tolerances stand in for ``rtol`` and ``atol``.
    progress
        Called now and then with the number of patients done and of all.

    Returns
    -------
    A trajectory. Patients whose integration failed are told in it and never stop the others.

    Raises
    ------
    ModelError
        Anything about parameters, doses, times, triggers or names that is wrong, before integration begins.
    """
    values = inputs.parameter_table(model, parameters)
    wanted = chosen_outputs(model, outputs)
    check_triggers(model, triggers)
    check_sensitivities(model, sensitivities, triggers, doses)
    asked, hours, time_parts = inputs.time_table(EVERY_6_H if times is None else times, len(values), t_start)
    control = control or Control(rtol=rtol, atol=atol)
    check_control(model, control)
    job = Job(model, values, wanted, tuple(sensitivities), tuple(triggers), control, t_start)
    y0, s0 = starting(job, start, threads)
    share = not sensitivities
    events, event_parts, factor, lag = inputs.event_table(model, doses, values, t_start, share=share)
    value_dp, time_dp = inputs.event_derivatives(model, events, event_parts, values, sensitivities, factor)
    kernel = job.kernel(len(values))
    setup = make_setup(model, kernel, job.method, control, job.atol, t_start)
    trigger, answers, answers_at, room = inputs.trigger_tables(triggers, kernel.outputs, model, factor, lag)
    n, T = len(values), int((time_parts[:, 1] - time_parts[:, 0]).max())
    if n * T * len(wanted) * 8 * (1 + len(sensitivities)) > LARGEST:
        raise ModelError([Problem("outputs", None, None, f"{n} patients, {T} times, {len(wanted)} outputs",
                                  f"less than {LARGEST / 1e9:g} GB of results",
                                  "Ask for fewer outputs or times.")])  # fmt: skip
    batch = layout.Batch(
        p=values, y0=y0, patient=patients(time_parts, event_parts), times=hours, events=events, triggers=trigger,
        answers=answers, answers_at=answers_at, s0=s0, value_dp=value_dp,
        time_dp=time_dp, picked=setup.picked(wanted),
        plain=plain_states(model, wanted),
        values=np.full((n, asked.shape[-1], len(wanted)), np.nan),
        derivatives=np.full((n, asked.shape[-1], len(wanted), len(sensitivities)), np.nan),
        y_end=np.full((n, kernel.n), np.nan),
        fired=np.full((n, len(triggers), min(KEPT, max((t.max_times for t in triggers), default=0))), np.nan),
    )  # fmt: skip
    execute(setup, batch, room, threads, progress)
    return _trajectory(job, batch, asked)


EVERY_6_H = np.arange(0.0, 30 * 24.0 + 1, 6.0)


@dataclass(frozen=True)
class Job:
    """What is to be simulated, checked."""

    model: PatientModel
    parameters: Array
    outputs: tuple[str, ...]
    sensitivities: tuple[str, ...]
    triggers: tuple[Trigger, ...]
    control: Control
    t_start: float

    @property
    def method(self) -> Tableau:
        """The method's coefficients."""
        return tableau(self.control.method)

    def kernel(self, patients: int) -> Kernel:
        """One kernel for all outputs and triggers: every state and definition is observed, and some are picked."""
        from icans.mechanism.engine.kernel import compile_kernel

        model = self.model
        lanes = lanes_for(patients)
        if self.sensitivities:
            return compile_kernel(model, lanes=lanes, outputs=self.outputs, sensitivities=self.sensitivities)
        return compile_kernel(model, lanes=lanes, outputs=everything(model))

    @property
    def atol(self) -> Array:
        """Absolute tolerance of each state."""
        given = self.control.atol
        if given is not None:
            return np.broadcast_to(np.asarray(given, dtype=float), (len(self.model.states),)).copy()
        return self.control.rtol * ABSOLUTE * scales(self.model)


def lanes_for(patients: int) -> int:
    """How many patients share a vector."""
    return 1 if patients < FEW else LANES


def everything(model: PatientModel) -> tuple[str, ...]:
    """Names of all states and definitions."""
    return (*model.state_names, *(d.name for d in model.definitions))


def scales(model: PatientModel) -> Array:
    """Size of each state: its typical initial value, 1 where that is 0; shape (states,)."""
    return np.array(_scales(model.key, model.parameters.values_array().tobytes(), _Same(model)))


class _Same:
    """Hands a model through a cache that knows it by its key."""

    def __init__(self, model: PatientModel) -> None:
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _scales(key: str, values: bytes, same: _Same) -> tuple[float, ...]:
    from icans.mechanism.reference import initial

    size = np.abs(initial(same.model))
    return tuple(np.where(np.isfinite(size) & (size > 0), size, 1.0).tolist())


def chosen_outputs(model: PatientModel, outputs: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the outputs, checked."""
    from icans.mechanism.parameters import unknown

    if outputs is None:
        return tuple(dict.fromkeys((*model.state_names, *(o.name for o in model.observables))))
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    problems = [unknown("state or definition", n, model.units) for n in wanted if n not in model.units]
    if not wanted:
        problems.append(Problem("outputs", None, None, "()", "at least one name", "Give one."))
    if problems:
        raise ModelError(problems)
    return wanted


def check_sensitivities(
    model: PatientModel, names: Sequence[str], triggers: Sequence[Trigger], doses: Sequence[Any]
) -> None:  # fmt: skip
    """Refuse derivatives that cannot be had."""
    from icans.mechanism.parameters import unknown

    problems = [unknown("parameter", n, model.parameters.names) for n in names if n not in model.parameters]
    if names and triggers:
        problems.append(Problem("sensitivities", None, None, None, "no triggers where derivatives are asked for",
                                "Leave one of the two out."))  # fmt: skip
    flat = [a for d in doses for a in (d if isinstance(d, (list, tuple)) else (d,))]
    problems += [
        Problem("sensitivities", None, None, a.parameter, "a parameter that no switch changes", "Leave it out.")
        for a in flat if isinstance(a, Switch) and a.parameter in names
    ]  # fmt: skip
    if problems:
        raise ModelError(problems)


def check_control(model: PatientModel, control: Control) -> None:
    """Refuse tolerances that are no tolerances."""
    problems = []
    if not (1e-14 <= control.rtol <= 0.1):
        problems.append(
            Problem("control", None, "rtol", repr(control.rtol), "a number from 1e-14 to 0.1", "Correct it.")
        )
    if control.atol is not None:
        given = np.asarray(control.atol, dtype=float)
        if given.shape not in ((), (len(model.states),)) or not (np.isfinite(given).all() and (given > 0).all()):
            problems.append(Problem("control", None, "atol", str(given.shape), "a number above 0, or one per state",
                                    "Correct it."))  # fmt: skip
    if problems:
        raise ModelError(problems)


def starting(job: Job, start: str | Array, threads: int | None) -> tuple[Array, Array]:
    """Initial states, shape (patients or 0, states), and their derivatives (patients or 0, directions, states)."""
    n, states, k = len(job.parameters), len(job.model.states), len(job.sensitivities)
    if isinstance(start, str):
        if start == "initial":
            return np.zeros((0, states)), np.zeros((0, k, states))
        if start == "steady":
            return _steady(job, threads)
    else:
        given = np.asarray(start, dtype=float)
        if given.shape in ((states,), (n, states)) and np.isfinite(given).all():
            return np.ascontiguousarray(np.broadcast_to(given, (n, states))), np.zeros((0, k, states))
    raise ModelError([Problem("start", None, None, str(np.shape(start) or start),
                              f"'initial', 'steady' or finite states of shape ({n}, {states})",
                              "Correct it.")])  # fmt: skip


def _steady(job: Job, threads: int | None) -> tuple[Array, Array]:
    """Steady states without doses, NaN where there is none."""
    from icans.mechanism.engine import steady

    model, n = job.model, len(job.parameters)
    control = Control(job.control.method, rtol=1e-6)
    before = simulate(model, job.parameters, (), [0.0, steady.LONG], outputs=model.state_names[:1], threads=threads,
                      control=control)  # fmt: skip
    assert before.end is not None
    y, kernel = before.end.copy(), job.kernel(n)
    fixed = steady.accumulators(kernel)
    plan = layout.make_plan(kernel, job.method)
    work = layout.make_workspace(plan[0], job.method, job.atol, job.control.rtol)
    patterns = layout.make_patterns(kernel, input_states(model))
    s = np.zeros((n if job.sensitivities else 0, len(job.sensitivities), kernel.n))
    steady.polisher()(layout.make_calls(kernel), plan, patterns, work, job.parameters, y, fixed, scales(model), s)
    # What Newton's method finds far from where integration had come to is another, perhaps unstable, steady state.
    far = np.abs(y - before.end) > steady.NEAR * (np.abs(before.end) + scales(model))
    y[(far & (fixed == 0)).any(axis=1)] = np.nan
    at_start = simulate(model, job.parameters, (), [0.0], outputs=model.state_names, threads=threads)
    for i in np.flatnonzero(fixed):
        y[:, i] = np.where(np.isfinite(y).any(axis=1), at_start.values[:, 0, i], np.nan)
    return y, s


@cache
def _version() -> str:
    return package_version()


def _trajectory(job: Job, batch: layout.Batch, asked: Array) -> Trajectory:
    patient, names = batch.patient, job.model.state_names
    status = patient["status"].copy()
    if len(batch.y0):
        status[~np.isfinite(batch.y0).all(axis=1)] = layout.NO_STEADY
    failures = tuple(
        Failure(int(p) + 1, float(patient["fail_time"][p]), layout.REASONS[int(status[p])],
                names[patient["fail_state"][p]] if patient["fail_state"][p] >= 0 else None)
        for p in np.flatnonzero(status)
    )  # fmt: skip
    fired = tuple(
        Firing(int(p) + 1, job.triggers[k].label or job.triggers[k].quantity, float(batch.fired[p, k, j]))
        for p, k, j in np.argwhere(np.isfinite(batch.fired))
    )
    units = {name: job.model.units[name] for name in job.outputs}
    about = Provenance(f"simulated by icans {_version()}", synthetic=True,
                       notes=(f"model {job.model.key[:16]}", f"rtol {job.control.rtol:g}",
                              job.control.method))  # fmt: skip
    return Trajectory(
        asked, job.outputs, batch.values, status, failures, units, fired, job.sensitivities,
        batch.derivatives if job.sensitivities else None,
        np.stack([patient["accepted"], patient["rejected"]], axis=1), batch.y_end, about,
    )  # fmt: skip
