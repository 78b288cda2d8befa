"""States of a batch of patients, integrated from one decision to the next.

The model does not depend on time itself, so every step runs on a clock that starts at 0: patients of one batch may be
at different hours. A step begins with the step size with which the one before ended, unless an event comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.intervene.world.dosing import SAME, Entries, Given, events_of_step, join, nothing
from icans.mechanism.engine import inputs, layout
from icans.mechanism.engine.execute import Setup, execute, make_setup, patients
from icans.mechanism.engine.simulate import Control, Job, chosen_outputs, lanes_for, simulate
from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Solver:
    """What all steps share: the model, its kernels, tolerance, outputs and the grid of hours on which they are kept."""

    model: PatientModel
    outputs: tuple[str, ...]
    rtol: float
    record_h: float
    threads: int
    entries: Entries
    setups: dict[int, Setup]

    def setup(self, n: int) -> Setup:
        """The kernel for so many patients."""
        lanes = lanes_for(n)
        if lanes not in self.setups:
            control = Control(rtol=self.rtol)
            job = Job(self.model, self.model.parameters.values_array()[None], self.outputs, (), (), control, 0.0)
            self.setups[lanes] = make_setup(self.model, job.kernel(n), job.method, control, job.atol, 0.0)
        return self.setups[lanes]


def make_solver(
    model: PatientModel, outputs: tuple[str, ...], *, rtol: float, record_h: float, threads: int
) -> Solver:  # fmt: skip
    """A solver; refuses unknown outputs and tolerances that are none."""
    wrong = [
        Problem("world", None, name, repr(value), expected, "Correct it.")
        for name, value, good, expected in (
            ("rtol", rtol, 1e-12 <= rtol <= 0.1, "a number from 1e-12 to 0.1"),
            ("record_h", record_h, 0 < record_h <= 24, "hours above 0, at most 24"),
            ("threads", threads, threads >= 1, "a whole number from 1"),
        )
        if not good
    ]
    if wrong:
        raise ModelError(wrong)
    return Solver(model, chosen_outputs(model, outputs), rtol, record_h, threads, Entries(model), {})


@dataclass(frozen=True)
class Stretch:
    """What a step gave: values at times, shape (n, T, outputs), NaN where there are fewer than T.

    ``time_h``: hours since infusion, (n, T); ``on_grid``: whether it is an hour of the record, (n, T); ``last``: place
    of the end of the step, (n,).
    """

    values: Array
    time_h: Array
    on_grid: Mask
    last: Ints

    @property
    def end(self) -> Array:
        """Outputs at the end of the step, shape (n, outputs)."""
        return np.asarray(self.values[np.arange(len(self.last)), self.last])


#: Arrays and queues of :class:`Hidden` that have a row, or entries, for every patient.
FIELDS = ("parameters", "factor", "lag", "state", "size_h", "clock_h", "given", "ok")
QUEUES = ("planned", "boluses", "infusions")


@dataclass
class Hidden:
    """The hidden side of patients, rows of a batch."""

    solver: Solver
    parameters: Array
    factor: Array
    lag: Array
    state: Array
    size_h: Array
    clock_h: Array
    planned: Given
    boluses: Given
    infusions: Given
    given: Array
    ok: Mask

    def __len__(self) -> int:
        return len(self.clock_h)

    def rows(self, chosen: Ints) -> Hidden:
        """Copies of some patients with all that waits for them."""
        at = np.asarray(chosen)
        fields = {name: getattr(self, name)[at] for name in FIELDS}
        queues = {name: getattr(self, name).of(at) for name in QUEUES}
        return replace(self, **fields, **queues)

    def put(self, rows: Ints, other: Hidden) -> None:
        """Other patients in the place of some: what waited for those is gone."""
        for name in FIELDS:
            mine = getattr(self, name).copy()
            mine[rows] = getattr(other, name)
            setattr(self, name, mine)
        for name in QUEUES:
            mine, theirs = getattr(self, name), getattr(other, name)
            kept = mine.take(~np.isin(mine.who, rows))
            setattr(self, name, join([kept, replace(theirs, who=rows[theirs.who])]))

    def plan(self, doses: Given) -> None:
        """Put doses among those that wait.

        Raises
        ------
        ModelError
            A dose for a patient who is not there, or for a time that has passed.
        """
        if not len(doses):
            return
        here = (doses.who >= 0) & (doses.who < len(self))
        early = here & (doses.time_h < self.clock_h[np.where(here, doses.who, 0)] - SAME)
        problems = []
        if not here.all():
            who = sorted(set(doses.who[~here].tolist()))[:5]
            problems.append(Problem("doses", None, "who", str(who), f"rows 0 to {len(self) - 1}", "Correct them."))
        if early.any():
            found = float(doses.time_h[early][0])
            problems.append(Problem("doses", None, "time_h", f"{found:g}", "a time that has not passed",
                                    f"The clock is at {float(self.clock_h[doses.who[early][0]]):g} h."))  # fmt: skip
        if problems:
            raise ModelError(problems)
        self.planned = join([self.planned, doses])

    def step(self, hours: float) -> Stretch:
        """Go on for so many hours.

        Raises
        ------
        ModelError
            Hours that are not above 0.
        """
        if not (np.isfinite(hours) and hours > 0):
            raise ModelError([Problem("step", None, "hours", repr(hours), "hours above 0", "Correct them.")])
        self._enter(hours)
        end = self.clock_h + hours
        rows, which, on_grid, last = _times(self.clock_h, hours, self.solver.record_h)
        run = self.boluses.time_h < end[self.boluses.who] - SAME
        begun = self.infusions.time_h < end[self.infusions.who] - SAME
        events, parts = events_of_step(
            self.boluses.take(run), self.infusions.take(begun), self.clock_h, hours, self.solver.entries.state
        )  # fmt: skip
        values = self._solve(rows, which, events, parts)
        self.boluses = self.boluses.take(~run)
        over = self.infusions.time_h + self.infusions.duration_h
        self.infusions = self.infusions.take(over > end[self.infusions.who] + SAME)
        time = self.clock_h[:, None] + np.nan_to_num(rows, nan=np.inf)[which]
        self.clock_h = end
        return Stretch(values, time, on_grid[which], last[which])

    def _enter(self, hours: float) -> None:
        """Doses whose time lies in the step enter the body: they are counted, and wait for their lag or run."""
        q = self.planned
        if not len(q):
            return
        due = q.time_h < self.clock_h[q.who] + hours - SAME
        if not due.any():
            return
        now, entries = q.take(due), self.solver.entries
        np.add.at(self.given, (now.who, entries.drug_of[now.entry]), now.amount)
        amount = now.amount * self.factor[now.who, now.entry]
        time = now.time_h + self.lag[now.who, now.entry]
        runs = now.duration_h > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(runs, amount / now.duration_h, 0.0)
        self.infusions = join([self.infusions, Given(now.who[runs], time[runs], now.entry[runs], rate[runs],
                                                     now.duration_h[runs])])  # fmt: skip
        bolus = ~runs
        self.boluses = join([self.boluses, Given(now.who[bolus], time[bolus], now.entry[bolus], amount[bolus],
                                                 now.duration_h[bolus])])  # fmt: skip
        self.planned = q.take(~due)

    def _solve(self, rows: Array, which: Ints, events: layout.Records, parts: Ints) -> Array:
        n, s = len(self), self.solver
        setup = s.setup(n)
        counts = np.isfinite(rows).sum(axis=1)
        stops = np.cumsum(counts)
        times = np.stack([stops - counts, stops], axis=1)[which]
        who = patients(times, parts)
        who["h_start"] = self.size_h
        states = self.state.shape[1]
        batch = layout.Batch(
            p=self.parameters, y0=self.state, patient=who, times=rows[np.isfinite(rows)], events=events,
            triggers=np.zeros(0, layout.TRIGGER), answers=np.zeros(0, layout.EVENT),
            answers_at=np.zeros((n, 0, 2), np.int64), s0=np.zeros((n, 0, states)), value_dp=np.zeros((len(events), 0)),
            time_dp=np.zeros((len(events), 0)), picked=setup.picked(s.outputs), plain=np.zeros(0, np.int64),
            values=np.full((n, rows.shape[1], len(s.outputs)), np.nan),
            derivatives=np.zeros((n, rows.shape[1], len(s.outputs), 0)), y_end=np.full((n, states), np.nan),
            fired=np.zeros((n, 0, 0)),
        )  # fmt: skip
        execute(setup, batch, threads=s.threads)
        good = who["status"] == layout.DONE
        self.ok &= good
        self.state = np.where(good[:, None], batch.y_end, self.state)
        self.size_h = np.where(good, who["h_end"], 0.0)
        return batch.values


def _times(clock: Array, hours: float, record_h: float) -> tuple[Array, Ints, Mask, Ints]:
    """Times of a step from its start, one row per phase of the grid, padded with NaN.

    Returns
    -------
    Rows (R, T), the row of each patient (n,), which are hours of the record (R, T), place of the end (R,).
    """
    phase = np.round(np.mod(clock, record_h), 9) % record_h
    kinds, which = np.unique(phase, return_inverse=True)
    made, grid = [], []
    for start in kinds:
        count = int(np.floor((start + hours) / record_h + SAME))
        times = record_h * np.arange(1, count + 1) - start
        off = not count or abs(times[-1] - hours) > SAME
        if not off:
            times[-1] = hours
        made.append(np.append(times, hours) if off else times)
        grid.append(np.append(np.ones(count, bool), False) if off else np.ones(count, bool))
    most = max(len(m) for m in made)
    rows, marks = np.full((len(kinds), most), np.nan), np.zeros((len(kinds), most), bool)
    for r, (times, on) in enumerate(zip(made, grid)):
        rows[r, : len(times)], marks[r, : len(on)] = times, on
    return rows, which, marks, np.array([len(m) - 1 for m in made])


def start(solver: Solver, parameters: Array) -> tuple[Hidden, Array]:
    """Patients at infusion, before anything is given; and their outputs, shape (n, outputs)."""
    model, n = solver.model, len(parameters)
    found = simulate(model, parameters, (), [0.0], outputs=solver.outputs, rtol=solver.rtol, threads=solver.threads)
    assert found.end is not None
    factor, lag = inputs.Entering(model)(parameters)
    made = Hidden(solver, parameters, np.array(factor), np.array(lag), found.end.copy(), np.zeros(n), np.zeros(n),
                  nothing(), nothing(), nothing(), np.zeros((n, len(solver.entries.drugs))),
                  np.asarray(found.status == layout.DONE))  # fmt: skip
    return made, found.values[:, 0, :]
