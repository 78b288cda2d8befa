"""Simulations that are repeated with other parameters: everything else is checked and laid out once.

What fitting needs: the same patients, doses, times and outputs thousands of times. :func:`prepare` does what
:func:`icans.mechanism.engine.simulate.simulate` does before it integrates; each :meth:`Prepared.run` then costs little
more than the integration itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import Schedule, entering_derivatives
from icans.mechanism.engine import inputs, layout
from icans.mechanism.engine.execute import Setup, execute, make_setup, patients, plain_states
from icans.mechanism.engine.simulate import (
    Control,
    Job,
    check_control,
    check_sensitivities,
    chosen_outputs,
    lanes_for,
    starting,
)

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

__all__ = ["Outcome", "Prepared", "prepare"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run gives.

    Attributes
    ----------
    values
        Shape (n, times, outputs); NaN after a failure and behind a patient's last time.
    derivatives
        By the parameters asked for, shape (n, times, outputs, parameters).
    status
        Shape (n,): 0 where integration came to the end, else a key of :data:`icans.mechanism.engine.layout.REASONS`.
    steps
        Accepted and rejected steps, shape (n, 2).
    """

    values: Array
    derivatives: Array
    status: Ints
    steps: Ints

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which were integrated to the end, shape (n,)."""
        return np.asarray(self.status == layout.DONE, dtype=bool)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A simulation of which all but the parameters is fixed; made by :func:`prepare`, safe to share among threads."""

    job: Job
    threads: int | None
    start: str | Array
    hours: Array
    time_parts: Ints
    plans: tuple[Schedule, ...]
    setups: dict[int, Setup]
    entering: inputs.Entering
    plain: Ints

    @property
    def subjects(self) -> int:
        """Patients of whom doses or times were given one by one; 1 if they are the same for all."""
        return max(len(self.plans), len(self.time_parts))

    def run(self, parameters: Array, who: npt.ArrayLike | None = None, *, check: bool = False) -> Outcome:
        """Solve with these parameters.

        Parameters
        ----------
        parameters
            Shape (n, parameters of the model), or (parameters,) for one.
        who
            The subject (whose doses and times) of each row, shape (n,); if None all rows are of the one subject, or
            row i is of subject i.
        check
            Refuse parameters that are no numbers or out of their bounds. Without it such rows are solved as they are,
            and may fail.

        Raises
        ------
        ModelError
            A wrong shape, a subject that does not exist, or parameters refused by ``check``.
        """
        p = np.ascontiguousarray(np.atleast_2d(np.asarray(parameters, dtype=float)))
        if check or p.ndim != 2 or len(p) == 0 or p.shape[1] != len(self.job.model.parameters):
            p = inputs.parameter_table(self.job.model, p)
        times, plans = self._whose(len(p), who)
        events, event_parts, value_dp, time_dp = self._events(p, plans)
        setup = self._setup(len(p))
        y0, s0 = starting(Job(**{**vars(self.job), "parameters": p}), self.start, self.threads)
        count, outputs, k = int((times[:, 1] - times[:, 0]).max()), self.job.outputs, len(self.job.sensitivities)
        batch = layout.Batch(
            p=p, y0=y0, patient=patients(times, event_parts), times=self.hours, events=events,
            triggers=np.zeros(0, layout.TRIGGER), answers=np.zeros(0, layout.EVENT),
            answers_at=np.zeros((len(p), 0, 2), np.int64), s0=s0, value_dp=value_dp, time_dp=time_dp,
            picked=setup.picked(outputs), plain=self.plain, values=np.full((len(p), count, len(outputs)), np.nan),
            derivatives=np.full((len(p), count, len(outputs), k), np.nan), y_end=np.zeros((0, setup.kernel.n)),
            fired=np.zeros((len(p), 0, 0)),
        )  # fmt: skip
        execute(setup, batch, threads=self.threads)
        status = batch.patient["status"].copy()
        if len(y0):
            status[~np.isfinite(y0).all(axis=1)] = layout.NO_STEADY
        steps = np.stack([batch.patient["accepted"], batch.patient["rejected"]], axis=1)
        return Outcome(batch.values, batch.derivatives, status, steps)

    def _whose(self, n: int, who: npt.ArrayLike | None) -> tuple[Ints, list[Schedule]]:
        """Parts of the times, (n, 2), and plan of each row."""
        subjects = self.subjects
        chosen = np.arange(n) if who is None and subjects > 1 else np.zeros(n, np.int64) if who is None else who
        at = np.asarray(chosen)
        if at.shape != (n,) or (n and not (at.min() >= 0 and at.max() < subjects)):
            raise ModelError([Problem("who", None, None, str(at), f"{n} whole numbers from 0 to {subjects - 1}",
                                      "Give the subject of every row.")])  # fmt: skip
        times = self.time_parts[at] if len(self.time_parts) > 1 else np.repeat(self.time_parts, n, axis=0)
        several = len(self.plans) > 1
        return times, [self.plans[i if several else 0] for i in at.tolist()]

    def _events(self, p: Array, plans: list[Schedule]) -> tuple[layout.Records, Ints, Array, Array]:
        """Events of all rows, each row's part of them, derivatives of their values and times."""
        factor, lag = self.entering(p)
        by, first = self.entering.by, plans[0]
        share = all(plan is first for plan in plans) and not self.entering.slopes
        if share and (factor == factor[0]).all() and (lag == lag[0]).all():
            events = inputs.records(first.entered(factor[0], lag[0]))
            parts = np.tile(np.array([0, len(events)], np.int64), (len(p), 1))
        else:
            lists = [inputs.records(plan.entered(factor[i], lag[i])) for i, plan in enumerate(plans)]
            ends = np.cumsum([len(one) for one in lists]).astype(np.int64)
            parts = np.stack([ends - [len(one) for one in lists], ends], axis=1)
            events = np.concatenate(lists)
        none = np.zeros((len(events), len(by)))
        if not self.entering.slopes:
            return events, parts, none, none
        slopes = entering_derivatives(self.job.model, p, by, of=self.entering, used=self.entering.used)
        return events, parts, *inputs.event_slopes(events, parts, factor, *slopes)

    def _setup(self, n: int) -> Setup:
        """The kernel for this many patients, laid out."""
        job, lanes = self.job, lanes_for(n)
        if lanes not in self.setups:
            self.setups[lanes] = make_setup(job.model, job.kernel(n), job.method, job.control, job.atol, job.t_start)
        return self.setups[lanes]


def prepare(
    model: PatientModel,
    doses: Sequence[Any] = (),
    times: Any = (),
    *,
    outputs: Sequence[str] | None = None,
    sensitivities: Sequence[str] = (),
    subjects: int | None = None,
    rtol: float = 1e-6,
    atol: Array | float | None = None,
    threads: int | None = None,
    start: str | Array = "initial",
    t_start: float = 0.0,
    control: Control | None = None,
) -> Prepared:
    """Check and lay out a simulation that will be run with many parameters.

    Parameters not told here are those of :func:`icans.mechanism.engine.simulate.simulate`.

    Parameters
    ----------
    doses, times
        For all, or one list of doses and one row of times (padded with NaN) for each subject.
    subjects
        How many there are; told by ``doses`` or ``times`` where one of them is given subject by subject.
    start
        ``"initial"``, ``"steady"``, or the states of all, shape (states,).

    Raises
    ------
    ModelError
        Anything that is wrong, as there.
    """
    doses, grid = list(doses), np.asarray(times, dtype=float)
    several = len(doses) if doses and isinstance(doses[0], (list, tuple)) else 1
    count = subjects or (len(grid) if grid.ndim == 2 else several)
    typical = np.repeat(model.parameters.values_array()[None], count, axis=0)
    wanted = chosen_outputs(model, outputs)
    check_sensitivities(model, sensitivities, (), doses)
    _, hours, parts = inputs.time_table(grid, count, t_start)
    control = control or Control(rtol=rtol, atol=atol)
    check_control(model, control)
    plans = inputs.plans(model, doses, count, t_start)
    job = Job(model, typical, wanted, tuple(sensitivities), (), control, t_start)
    if not isinstance(start, str) or start != "steady":  # of all patients the same, so that it can be checked here
        starting(Job(**{**vars(job), "parameters": typical[:1]}), start, 1)
    return Prepared(job, threads, start, hours, parts if grid.ndim == 2 else parts[:1], tuple(plans), {},
                    inputs.Entering(model, sensitivities), plain_states(model, wanted))  # fmt: skip
