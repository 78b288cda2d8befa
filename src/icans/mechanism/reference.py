"""The slow reference: one patient, the model's text evaluated as it stands, SciPy's solvers.

It shares nothing with the compiled kernels but the text of the model, and stops and restarts at every event, which is
why it serves as their oracle. Seconds, not milliseconds, per patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, NotEstimableError
from icans.mechanism.doses import ADD, RATE, SET, Action, check, schedule
from icans.mechanism.numeric import function
from icans.mechanism.parameters import bound_problems

if TYPE_CHECKING:
    import pandas as pd

    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """A simulated (synthetic) patient: ``values`` of shape (times, names)."""

    times_h: Array
    names: tuple[str, ...]
    values: Array

    def __getitem__(self, name: str) -> Array:
        return self.values[:, self.names.index(name)]

    def frame(self) -> pd.DataFrame:
        """One row per time, one column per name."""
        import pandas as pd

        return pd.DataFrame(self.values, index=pd.Index(self.times_h, name="time_h"), columns=list(self.names))


def initial(model: PatientModel, parameters: Mapping[str, float] | Array | None = None) -> Array:
    """Initial states, shape (states,)."""
    p = _parameters(model, parameters)
    made = function(model, [s.initial for s in model.states])
    return np.array(made([0.0] * len(model.states), p.tolist()), dtype=float)


def rates(model: PatientModel, y: Array, parameters: Mapping[str, float] | Array | None = None) -> Array:
    """Rates of change at the states ``y`` without infusions, per hour, shape (states,)."""
    p = _parameters(model, parameters)
    return np.array(function(model, [model.rates[n] for n in model.state_names])(y.tolist(), p.tolist()))


def solve(
    model: PatientModel,
    parameters: Mapping[str, float] | npt.ArrayLike | None = None,
    doses: Sequence[Action] = (),
    times: npt.ArrayLike = (),
    *,
    outputs: Sequence[str] | None = None,
    method: str = "LSODA",
    rtol: float = 1e-8,
    atol: float | Array = 1e-10,
    t_start: float = 0.0,
    y_start: Array | None = None,
) -> Course:
    """Integrate one patient.

    Parameters
    ----------
    parameters
        Other values than the typical ones: by name, or all of them, shape (parameters,).
    doses
        Doses, resets and switches. A value at the time of a dose is the value before it.
    times
        Hours at which values are wanted, ascending, from ``t_start`` on.
    outputs
        Names of states and definitions; all of them if None.
    method
        ``LSODA``, ``Radau``, ``BDF`` or another method of :func:`scipy.integrate.solve_ivp`.
    y_start
        States at ``t_start`` in place of the initial values.

    Raises
    ------
    ModelError
        Parameters, doses or names that the model does not have or allow.
    NotEstimableError
        The solver gave up.
    """
    p = _parameters(model, parameters)
    check(model, doses)
    events = schedule(model, doses, p)
    wanted = np.asarray(times, dtype=float)
    names = tuple(outputs) if outputs is not None else (*model.state_names, *(d.name for d in model.definitions))
    f, seen = function(model, [model.rates[n] for n in model.state_names]), function(model, names)
    y = initial(model, p) if y_start is None else np.array(y_start, dtype=float)
    u, entry = np.zeros(len(model.inputs)), [model.state_names.index(i.state) for i in model.inputs]

    def slope(_: float, y: Array) -> Array:
        dy = np.array(f(y.tolist(), now.tolist()))
        np.add.at(dy, entry, u)
        return dy

    now = p.copy()
    values = np.full((len(wanted), len(names)), np.nan)
    t, first = t_start, True
    for stop in [*np.unique(events.time), np.inf]:
        inside = np.flatnonzero(((wanted > t) | (first & (wanted == t))) & (wanted <= stop))
        first = False
        end = float(stop) if np.isfinite(stop) else float(wanted[inside].max(initial=t))
        y, found = _leg(slope, y, (t, end), wanted[inside], method, rtol, atol)
        for row, state in zip(inside, found):
            values[row] = seen(state.tolist(), now.tolist())
        for at in np.flatnonzero(events.time == stop):
            _apply(int(events.kind[at]), int(events.place[at]), float(events.value[at]), (y, u, now))
        t = end
    return Course(wanted, names, values)


def _apply(kind: int, place: int, value: float, to: tuple[Array, Array, Array]) -> None:
    y, u, p = to
    if kind == ADD:
        y[place] += value
    elif kind == RATE:
        u[place] = value
    elif kind == SET:
        y[place] = value
    else:
        p[place] = value


def _leg(
    slope: Callable[[float, Array], Array], y: Array, span: tuple[float, float], times: Array, method: str,
    rtol: float, atol: float | Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Integrate between two events: states at the end, and at the times, shape (times, states)."""
    from scipy.integrate import solve_ivp

    if span[1] <= span[0]:
        return y.copy(), np.tile(y, (len(times), 1))
    asked = np.union1d(times, [span[1]])
    result: Any = solve_ivp(slope, span, y, method=method, t_eval=asked, rtol=rtol, atol=atol)
    if not result.success:
        raise NotEstimableError(
            f"{method} stopped at {result.t[-1] if len(result.t) else span[0]:g} h: {result.message}"
        )
    return result.y[:, -1].copy(), result.y.T[np.searchsorted(asked, times)]


def _parameters(model: PatientModel, given: Mapping[str, float] | npt.ArrayLike | None) -> Array:
    if given is None:
        return model.parameters.values_array()
    if isinstance(given, Mapping):
        return model.parameters.with_values(given).values_array()
    values = np.asarray(given, dtype=float)
    problems = bound_problems(model.parameters.rows, values[None])
    if problems:
        raise ModelError(problems)
    return values
