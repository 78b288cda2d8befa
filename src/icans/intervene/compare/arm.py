"""One strategy on given patients.

Rules on bedside signs are carried out by the solver itself, at the hour at which the sign appears. Rules on results and
forecasts are decided on rounds: the course without them is simulated, the first round at which one acts is found, its
doses are added, and the course is simulated again from the start. What lies before the decision does not change, so
that nothing is decided on what comes later; a patient is simulated once more for every hour at which a rule acted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.intervene.compare.watch import ROUND_H, Known, Ward, make_watch, outputs_for
from icans.intervene.strategy.deciding import Memory, decide, doses_of
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world.cast import Cast, surface_m2
from icans.mechanism.doses import Dose, unit_factor
from icans.mechanism.engine.simulate import simulate
from icans.mechanism.model import PatientModel
from icans.mechanism.patient import WHOLE, patient_model
from icans.population.quantities import Readings

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Forecaster = Callable[[Known, str, int, float], Array]

#: Hours at which courses are kept.
TIMES_H = np.arange(0.0, 30 * 24.0 + 1, 6.0)
RTOL = 1e-4
#: The solver's triggers dose for weights rounded to so many kg, as a pharmacy rounds to vials.
ROUNDED_KG = 5.0
#: Hours within which no patient is decided upon more often than this.
MOST_PASSES = 40


@dataclass(frozen=True)
class Course:
    """What happened: courses of outputs, shape (n, T); mg given by drug, (n,); hours at which each rule acted.

    ``acted``: for every rule (n, times) hours, NaN-padded. ``ok``: patients whose integration did not fail.
    """

    strategy: Strategy
    times_h: Array
    series: Mapping[str, npt.NDArray[np.float32]]
    given_mg: Mapping[str, Array]
    acted: tuple[Array, ...]
    ok: npt.NDArray[np.bool_]


def parameters_for(patients: Cast, model: PatientModel) -> Array:
    """Parameters of the patients for a model, shape (n, parameters); typical where the patients have none."""
    names = model.parameters.names
    values = np.tile(model.parameters.values_array(), (len(patients), 1))
    for k, name in enumerate(names):
        if name in patients.parameters:
            values[:, k] = patients.parameters[name].to_numpy(dtype=float)
    return values


def run_course(
    strategy: Strategy, patients: Cast, readings: Readings, outputs: Sequence[str], *, ward: Ward | None = None,
    forecaster: Forecaster | None = None, analytes: Sequence[str] = (), times_h: Array = TIMES_H, rtol: float = RTOL,
    threads: int | None = 1, regions: Sequence[str] = WHOLE,
) -> Course:  # fmt: skip
    """Simulate a strategy.

    Parameters
    ----------
    outputs
        Outputs of the model that are kept.
    analytes
        Results that the forecaster reads, beside those of the rules.
    times_h
        Where they are kept; rounds are on its multiples of 6 h.

    Raises
    ------
    ModelError
        Patients, doses or outputs that the model does not have.
    ValueError
        A rule asks for a forecast and there is no forecaster.
    """
    model = patient_model(strategy.drugs, regions=tuple(regions))
    needed = tuple(dict.fromkeys([*strategy.analytes, *(analytes if strategy.forecasts else ())]))
    kept = tuple(dict.fromkeys([*outputs, *(outputs_for(needed) if strategy.seen_on_rounds else ())]))
    job = _Job(strategy, model, parameters_for(patients, model), patients, readings, kept, times_h, rtol, threads)
    n = len(patients)
    doses = [list(planned_doses(strategy, patients, i)) for i in range(n)]
    state = _State({name: np.full((n, len(times_h)), np.nan, np.float32) for name in kept}, doses,
                   [np.full((n, max(r.most_times, 1)), np.nan) for r in strategy.rules])  # fmt: skip
    job.solve(state, np.arange(n))
    if strategy.seen_on_rounds:
        _rounds(job, state, needed, ward or Ward(), forecaster)
    ok = np.asarray(np.isfinite(state.series[kept[0]]).all(axis=1))
    given = _given(strategy, patients, state, float(times_h[-1]))
    return Course(strategy, times_h, {o: state.series[o] for o in outputs}, given, tuple(state.acted), ok)


def planned_doses(strategy: Strategy, patients: Cast, row: int) -> tuple[Dose, ...]:
    """Cells (in parts where the strategy says so) and planned doses of one patient."""
    cells: list[Dose] = [d for d in patients.doses[row] if d.drug == "car_t"]
    others = [d for d in patients.doses[row] if d.drug != "car_t"]
    if strategy.cells and cells:
        whole = sum(d.amount for d in cells)
        cells = [replace(cells[0], time_h=hour, amount=whole * share) for hour, share in strategy.cells]
    weight = float(patients.covariates["weight_kg"].iloc[row])
    return (*cells, *others, *strategy.given(weight, float(surface_m2(np.array([weight]))[0])))


@dataclass
class _State:
    """What is filled in as simulations go on."""

    series: dict[str, npt.NDArray[np.float32]]
    doses: list[list[Dose]]
    acted: list[Array]


@dataclass(frozen=True)
class _Job:
    strategy: Strategy
    model: PatientModel
    values: Array
    patients: Cast
    readings: Readings
    outputs: tuple[str, ...]
    times_h: Array
    rtol: float
    threads: int | None

    @property
    def weights(self) -> Array:
        return np.asarray(self.patients.covariates["weight_kg"].to_numpy(dtype=float))

    def solve(self, state: _State, rows: Ints) -> None:
        """Simulate some patients with the doses that they have by now."""
        watched = [k for k, r in enumerate(self.strategy.rules) if r.watched]
        rounded = np.maximum(np.round(self.weights[rows] / ROUNDED_KG) * ROUNDED_KG, ROUNDED_KG)
        by_weight = any("/" in d.unit for k in watched for d in self.strategy.rules[k].doses)
        groups = np.unique(rounded) if by_weight else np.array([np.nan])
        for weight in groups:
            mine = rows if np.isnan(weight) else rows[rounded == weight]
            kg = 70.0 if np.isnan(weight) else float(weight)
            made = self.strategy.triggers(self.readings, kg, float(surface_m2(np.array([kg]))[0]))
            triggers = tuple(replace(t, label=str(k)) for k, t in zip(watched, made, strict=True))
            found = simulate(
                self.model, self.values[mine], [state.doses[i] for i in mine], self.times_h, outputs=self.outputs,
                rtol=self.rtol, threads=self.threads, triggers=triggers,
            )  # fmt: skip
            for place, name in enumerate(self.outputs):
                state.series[name][mine] = found.values[:, :, place]
            for k in watched:
                state.acted[k][mine] = np.nan
            for one in found.fired:  # in the order in which they happened
                row = state.acted[int(one.label)][mine[one.patient - 1]]
                row[np.argmax(np.isnan(row))] = one.time_h


def _rounds(job: _Job, state: _State, analytes: Sequence[str], ward: Ward, forecaster: Forecaster | None) -> None:
    """Decide on rounds, and simulate again those for whom something was decided, until nothing is."""
    n, strategy = len(job.patients), job.strategy
    memory = Memory.fresh(n, strategy)
    next_h = np.zeros(n)  # the first round that has not been held yet
    open_ = np.arange(n)
    for _ in range(MOST_PASSES):
        series = {name: values[open_] for name, values in state.series.items()}
        watch = make_watch(job.times_h, series, analytes, job.patients.numbers[open_], job.readings, ward)
        changed = np.zeros(len(open_), bool)
        for hour in np.arange(next_h[open_].min(), job.times_h[-1] + 1e-9, ROUND_H):
            here = np.flatnonzero(~changed & (next_h[open_] <= hour + 1e-9))
            if len(here) == 0:
                continue
            who = open_[here]
            acts, after = decide(strategy, watch.at(float(hour), here, forecaster), memory.rows(who), float(hour),
                                 rules=strategy.seen_on_rounds)  # fmt: skip
            _remember(memory, after, who)
            next_h[who] = hour + ROUND_H
            for row, k in np.argwhere(acts):
                _add(job, state, int(who[row]), int(k), float(hour))
            changed[here] = acts.any(axis=1)
        open_ = open_[changed]
        if len(open_) == 0:
            return
        job.solve(state, open_)
    raise RuntimeError(f"{strategy.name}: rules still act after {MOST_PASSES} passes")  # pragma: no cover


def _remember(memory: Memory, after: Memory, who: Ints) -> None:
    memory.last_h[who], memory.times[who], memory.held[who] = after.last_h, after.times, after.held


def _add(job: _Job, state: _State, patient: int, k: int, hour: float) -> None:
    weight = float(job.weights[patient])
    surface = float(surface_m2(np.array([weight]))[0])
    state.doses[patient] += doses_of(job.strategy.rules[k], hour, weight, surface)
    row = state.acted[k][patient]
    row[np.argmax(np.isnan(row))] = hour


def _given(strategy: Strategy, patients: Cast, state: _State, end_h: float) -> dict[str, Array]:
    """Milligrams of every drug given by the end of the course, rules and plan together."""
    weights = patients.covariates["weight_kg"].to_numpy(dtype=float)
    made = {drug: np.zeros(len(patients)) for drug in strategy.drugs}
    courses = [(planned, np.zeros((len(patients), 1))) for planned in strategy.doses]
    courses += [(planned, acted + rule.delay_h) for rule, acted in zip(strategy.rules, state.acted, strict=True)
                for planned in rule.doses]  # fmt: skip
    for planned, starts in courses:
        times = starts[:, :, None] + planned.time_h + (planned.every_h or 0.0) * np.arange(planned.count)
        count = (times < end_h - 1e-9).sum(axis=(1, 2))  # NaN: it did not act
        per = [planned.resolve(w, float(s)) for w, s in zip(weights, surface_m2(weights), strict=True)]
        made[planned.drug] += count * np.array([d.amount * unit_factor(d.unit, "mg") for d in per])
    return made
