"""Simulate many patients: the public door of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.provenance import Provenance
from icans.mechanism.doses import Dose, Reset, Switch
from icans.mechanism.engine.batch import Events, events_of, parameter_matrix, per_patient
from icans.mechanism.engine.triggers import DIRECTIONS, Trigger, check_triggers
from icans.mechanism.trajectory import Failure, Trajectory

if TYPE_CHECKING:
    from icans.mechanism.engine.kernel import Kernel
    from icans.mechanism.model import PatientModel

__all__ = ["Dose", "Reset", "Switch", "Trigger", "simulate"]

Array = npt.NDArray[np.float64]

#: Up to this many patients the kernel of single patients is used; the bits are the same.
FEW = 5
#: Smallest absolute tolerance of a state, as a part of ``rtol`` times its usual size (at least 1 in its unit).
ATOL_SHARE = 1e-3
STARTS = ("initial", "steady")


def simulate(
    model: PatientModel,
    parameters: Any = None,
    doses: Sequence[Any] = (),
    times: npt.ArrayLike | None = None,
    *,
    outputs: Sequence[str] | None = None,
    rtol: float = 1e-6,
    atol: float | Mapping[str, float] | None = None,
    threads: int | None = None,
    triggers: Sequence[Trigger] = (),
    start: str | npt.ArrayLike = "initial",
    t_start: float | None = None,
    sensitivities: Sequence[str] = (),
    lanes: int | None = None,
    max_steps: int = 100_000,
    step_h: float | None = None,
    progress: bool = False,
) -> Trajectory:
    """Integrate the model for every patient.

    Parameters
    ----------
    parameters
        See :func:`icans.mechanism.engine.batch.parameter_matrix`: None, array (patients, parameters), or by name.
    doses
        :class:`Dose`, :class:`Reset` and :class:`Switch`, the same for all, or one list per patient.
    times
        Hours since infusion at which outputs are kept, increasing, shape (T,); every 6 h for 30 days if None. They do
        not influence the steps. A value at the time of a dose is that before the dose.
    outputs
        States and definitions to keep; None: all states.
    rtol, atol
        Tolerances. ``atol`` by state, or one for all; None: ``1e-3 rtol`` times the state's initial size (at least 1).
    threads
        Threads (None: every core). Results do not depend on it, bit for bit.
    triggers
        Therapy that answers to the course.
    start
        ``"initial"``: the model's initial values; ``"steady"``: the steady state without doses that follows from them;
        or states, shape (states,) or (patients, states).
    t_start
        Time of the start, h; None: the earliest of 0, the first time, and the first dose.
    sensitivities
        Parameters by which to differentiate the outputs (exact derivatives of the discrete solution).
    lanes
        Patients per vector (1, 4 or 8); None chooses. Results do not depend on it, bit for bit.
    max_steps
        After so many steps a patient is given up.
    step_h
        A fixed step without error control, for studies of convergence.
    progress
        Show progress on stderr.

    Returns
    -------
    A trajectory. A patient that cannot be integrated is NaN from there on, and named in ``failures``.

    Raises
    ------
    ModelError
        Doses, parameters, triggers, names, times or tolerances that cannot be used: refused before anything runs.
    KeyboardInterrupt
        Passed on after the running patients have been let go.
    """
    from icans.mechanism.engine.run import run_batch

    values = parameter_matrix(model, parameters)
    lists, count = per_patient(list(doses), len(values))
    if count > len(values):
        values = np.repeat(values, count, axis=0)
    grid = _grid(times)
    names = tuple(outputs) if outputs is not None else model.state_names
    _check_options(model, names, rtol, start)
    check_triggers(model, triggers)
    events = events_of(model, lists, values)
    begin = min(0.0, float(grid[0]), events.first_h) if t_start is None else float(t_start)
    _check_start(begin, grid, events)
    kernel = _kernel(model, names, triggers, tuple(sensitivities), lanes or (1 if count <= FEW else 8))
    tolerance = _tolerance(model, rtol, atol)
    y0 = _start(model, values, start, rtol, threads)
    answers = [events_of(model, [t.doses] * count, values, slot=k + 1) for k, t in enumerate(triggers)]
    found = run_batch(
        kernel, values, grid, events, y0=y0, outputs=names, triggers=triggers, answers=answers, rtol=rtol,
        atol=tolerance, t_start=begin, threads=threads, max_steps=max_steps, fixed=step_h or 0.0, progress=progress,
        directions=DIRECTIONS,
    )  # fmt: skip
    derivatives = None
    if sensitivities:
        from icans.mechanism.engine.sensitivity import sensitivities_of

        derivatives = sensitivities_of(
            model, kernel, values, grid, lists, events, found, outputs=names, names=tuple(sensitivities), rtol=rtol,
            atol=tolerance, t_start=begin, y0=y0,
        )  # fmt: skip
    return Trajectory(
        grid, names, found.values, {n: model.units[n] for n in names}, found.status,
        tuple(Failure(p, t, r, s) for p, t, r, s in found.failures), found.steps, found.fired,
        tuple(t.label or t.quantity for t in triggers), derivatives, tuple(sensitivities),
        Provenance(f"simulated with model {model.name} {model.key[:12]}", synthetic=True),
    )  # fmt: skip


def _grid(times: npt.ArrayLike | None) -> Array:
    grid = np.arange(0.0, 30 * 24.0 + 1, 6.0) if times is None else np.atleast_1d(np.asarray(times, dtype=float)).copy()
    if grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all() or (np.diff(grid) < 0).any():
        raise ModelError([Problem("times", None, None, str(times)[:60], "increasing hours since infusion, at least one",
                                  "Sort them and leave out what is not a number.")])  # fmt: skip
    return grid


def _check_options(model: PatientModel, names: Sequence[str], rtol: float, start: Any) -> None:
    from icans.mechanism.parameters import unknown

    problems = [unknown("state or definition", n, model.units) for n in names if n not in model.units]
    if not (np.isfinite(rtol) and 1e-13 <= rtol <= 0.1):
        problems.append(Problem("options", None, "rtol", repr(rtol), "a number from 1e-13 to 0.1", "Correct it."))
    if isinstance(start, str) and start not in STARTS:
        problems.append(Problem("options", None, "start", repr(start), f"one of {STARTS} or states", "Choose one."))
    if problems:
        raise ModelError(problems)


def _check_start(begin: float, grid: Array, events: Events) -> None:
    if begin > min(float(grid[0]), events.first_h):
        raise ModelError([Problem("options", None, "t_start", repr(begin), "a time before every output and dose",
                                  "Start earlier, or leave it out.")])  # fmt: skip


def _kernel(
    model: PatientModel, names: tuple[str, ...], triggers: Sequence[Trigger], sensitive: tuple[str, ...], lanes: int
) -> Kernel:  # fmt: skip
    """The kernel that observes the outputs and, after them, what triggers watch."""
    from icans.mechanism.engine.kernel import compile_kernel

    watched = tuple(dict.fromkeys(t.quantity for t in triggers if t.quantity not in names))
    return compile_kernel(model, lanes=lanes, outputs=names + watched, sensitivities=sensitive)


def _tolerance(model: PatientModel, rtol: float, atol: float | Mapping[str, float] | None) -> Array:
    from icans.mechanism.parameters import unknown

    usual = np.maximum(np.abs(_initial(model)), 1.0) * ATOL_SHARE * rtol
    if isinstance(atol, Mapping):
        wrong = [unknown("state", n, model.state_names) for n in atol if n not in model.state_names]
        if wrong:
            raise ModelError(wrong)
        usual = np.array([atol.get(n, v) for n, v in zip(model.state_names, usual)])
    elif atol is not None:
        usual = np.full(len(usual), float(atol))
    if not (np.isfinite(usual).all() and (usual > 0).all()):
        raise ModelError([Problem("options", None, "atol", repr(atol), "numbers above 0", "Correct it.")])
    return usual


def _initial(model: PatientModel) -> Array:
    from icans.mechanism.numeric import of_parameters

    return of_parameters(model, [s.initial for s in model.states], model.parameters.values_array()[None])[0]


def _start(model: PatientModel, values: Array, start: Any, rtol: float, threads: int | None) -> Array | None:
    if isinstance(start, str):
        if start == "initial":
            return None
        from icans.mechanism.engine.steady import steady_states

        return steady_states(model, values, threads=threads)
    given = np.atleast_2d(np.asarray(start, dtype=float))
    if given.shape not in ((1, len(model.states)), (len(values), len(model.states))) or not np.isfinite(given).all():
        raise ModelError([Problem("options", None, "start", str(given.shape), f"(patients, {len(model.states)}) numbers",
                                  "Give every state of every patient.")])  # fmt: skip
    return np.ascontiguousarray(np.broadcast_to(given, (len(values), len(model.states))))
