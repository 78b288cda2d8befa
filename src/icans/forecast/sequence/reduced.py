"""A small part of the patient model that a network can correct: eight states, the others as in the typical patient.

Equations and parameters are those of :func:`icans.mechanism.patient.patient_model`, read from its text. The kept states
(activated myeloid cells, interferon gamma, IL-6, IL-10, CRP, ferritin, endothelium, barrier of the cortex) are
integrated for each patient with random effects; what drives them (CAR T cells in division and at the tumour, tumour,
resting myeloid cells ...) follows the typical patient's course, stretched in time and, for the cells, scaled.

Flows are split by sign into gain G and loss; with k = loss / y a step is ``y <- y e^(-k dt) + G (1 - e^(-k dt)) / k``
(exponential Euler: Hochbruck and Ostermann 2010, doi 10.1017/S0962492910000048): positive and stable at any step, of
first order. A network may multiply the gains: with a network that says nothing the equations stay what they are.

The typical patient's courses lie in a file of the package, which ``python -m icans.forecast.sequence.reduced`` makes;
where it is of other equations they are solved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icans.forecast.sequence.engine import Engine, Tensor, sigmoid, softplus

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

Floats = NDArray[np.float64]

#: States that are integrated for each patient.
KEPT = ("MYE_A", "IFNG", "IL6", "IL10", "CRP", "FERRITIN", "ENDO", "BAR_cortex")
#: States whose typical course is scaled by the random effect ``load``.
LOADED = ("CAR_P", "CAR_X")
#: Parameters with a random effect; its SD is that of the patient model.
VARIED = ("mye_activation", "ifng_car", "il6_mye", "il10_mye", "crp_base", "crp_rise", "ferritin_base", "endo_on")
#: SDs (of the logarithm) of load and speed of the cells' course: peak expansion differs by about a power of ten between
#: patients (Stein 2019, doi 10.1002/psp4.12388: CV of Cmax 180 %), its time by a few days of about ten.
SD_LOAD, SD_SPEED = 1.2, 0.25
#: Dose of the typical patient, cells: 2e6 per kg and 75 kg.
CELLS = 1.5e8
STEP_H, DAYS = 4.0, 18
#: Stored courses of the typical patient.
FILE = "typical_courses.npz"

#: Courses of driving and of kept states, shape (steps + 1, states) each.
Courses = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Reduced:
    """The reduced system, ready to run.

    Attributes
    ----------
    key
        Names the equations of the patient model from which it comes.
    course
        Typical course of the driving states every ``STEP_H`` hours, shape (steps + 1, drivers).
    typical
        Typical course of the kept states, the same times, shape (steps + 1, states).
    sd
        SD of each random effect: load, speed, then :data:`VARIED`.
    flows
        ``flows(xp, y, p)``: every flow of the kept states, from states by name and parameters by position.
    place
        Kept state of each flow.
    drivers
        Names of the driving states, definitions without differences between patients among them.
    names, values
        The parameters.
    """

    key: str
    course: NDArray[np.float32]
    typical: NDArray[np.float32]
    sd: NDArray[np.float32]
    flows: Callable[[Any, Any, Any], list[Tensor]]
    place: tuple[int, ...]
    drivers: tuple[str, ...]
    names: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the random effects."""
        return ("load", "speed", *VARIED)

    @property
    def scale(self) -> NDArray[np.float32]:
        """SD of ln(state / start) in the typical course, so that features have about the same size."""
        logs = np.log(self.typical / self.typical[0])
        return np.maximum(logs.std(axis=0), 0.05).astype(np.float32)


@lru_cache(maxsize=1)
def reduced() -> Reduced:
    """The reduced system of this version of the patient model (a third of a second, once in a process)."""
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import patient_model

    whole = part_of(patient_model(), KEPT)
    model, drivers = _driven(whole)
    chosen = [flow for flow in model.flows if flow.state in KEPT]
    course, typical = stored_courses(whole.key, drivers) or solved_courses(whole, drivers)
    rows = {row.name: row for row in model.parameters.rows}
    sd = np.array([SD_LOAD, SD_SPEED, *(rows[name].iiv for name in VARIED)])
    return Reduced(
        whole.key, course, typical, sd.astype(np.float32),
        _flows(model, [flow.text for flow in chosen]), tuple(KEPT.index(flow.state) for flow in chosen), drivers,
        tuple(model.parameters.names), tuple(float(v) for v in model.parameters.values_array()),
    )  # fmt: skip


def solved_courses(whole: PatientModel, drivers: tuple[str, ...]) -> Courses:
    """Typical courses of driving and kept states, by solving the equations of the patient model."""
    from icans.mechanism.doses import Dose
    from icans.mechanism.reference import solve

    times = np.arange(0.0, DAYS * 24.0 + STEP_H / 2, STEP_H)
    found = solve(whole, None, [Dose(0.0, "car_t", CELLS, "cells")], times, outputs=[*drivers, *KEPT], rtol=1e-6)
    course, typical = found.values[:, : len(drivers)], np.maximum(found.values[:, len(drivers) :], 1e-6)
    return course.astype(np.float32), typical.astype(np.float32)


def stored_courses(key: str, drivers: tuple[str, ...]) -> Courses | None:
    """The same from the file of the package, without the second that the solver takes; None: of other equations."""
    with (resources.files(__package__) / FILE).open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        return (file["course"], file["typical"]) if file["settings"].tolist() == _settings(key, drivers) else None


def _settings(key: str, drivers: tuple[str, ...]) -> list[str]:
    """What stored courses are good for."""
    return [key, *drivers, *KEPT, repr((CELLS, STEP_H, DAYS))]


def main() -> None:
    """Solve the equations of the typical patient and store the courses."""
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import patient_model

    whole = part_of(patient_model(), KEPT)
    drivers = _driven(whole)[1]
    course, typical = solved_courses(whole, drivers)
    settings = np.array(_settings(whole.key, drivers))
    path = Path(str(resources.files(__package__) / FILE))
    np.savez_compressed(path, allow_pickle=False, settings=settings, course=course, typical=typical)
    print(f"{path.name}: {course.shape[0]} times, {len(drivers)} driving states, {path.stat().st_size} bytes")


def _driven(model: PatientModel) -> tuple[PatientModel, tuple[str, ...]]:
    """The model with all that no patient differs in taken as driving states, and the names of the driving states.

    A definition that depends on typical courses and fixed parameters only has a typical course, too.
    """
    from icans.mechanism.declare import State
    from icans.mechanism.language import names_in
    from icans.mechanism.numeric import needed

    texts = [flow.text for flow in model.flows if flow.state in KEPT]
    own = {*KEPT, *LOADED, *VARIED}
    typical: dict[str, str] = {}
    for d in model.definitions:  # each uses only earlier ones
        if names_in(d.text) & own:
            own.add(d.name)
        else:
            typical[d.name] = d.unit
    states = tuple(State(name, unit, "typical course", "0") for name, unit in typical.items())
    kept = tuple(d for d in model.definitions if d.name in own)
    made = replace(model, definitions=kept, states=(*model.states, *states))
    inside = {d.name: d.text for d in kept}
    used = set().union(*(names_in(t) for t in texts), *(names_in(inside[n]) for n in needed(made, texts)))
    return made, tuple(s for s in made.state_names if s in used and s not in KEPT)


def _flows(model: PatientModel, texts: list[str]) -> Callable[[Any, Any, Any], list[Tensor]]:
    """The flows as a function of an array library, states by position and parameters by position."""
    from icans.mechanism.numeric import source_of

    code = compile(source_of(model, texts), "<model>", "exec")
    order = {name: k for k, name in enumerate(model.state_names)}

    @lru_cache(maxsize=2)
    def made(xp: Any) -> Any:
        space = _functions(xp)
        exec(code, space)  # noqa: S102 (text of the model language, checked by names_in)
        return space["made"]

    def flows(xp: Any, states: dict[str, Tensor], p: list[Tensor]) -> list[Tensor]:
        y: list[Any] = [0.0] * len(order)
        for name, value in states.items():
            y[order[name]] = value
        return list(made(xp)(y, p))

    return flows


def _functions(xp: Any) -> dict[str, Any]:
    """The functions of the model language over an array library; branches not taken make no NaN in derivatives."""

    def power(base: Tensor, exponent: Tensor) -> Tensor:
        return xp.where(base > 0, xp.where(base > 0, base, 1.0) ** exponent, 0.0)

    def hill(x: Tensor, half: Tensor, exponent: Tensor = 1.0) -> Tensor:
        linear = isinstance(exponent, int | float) and exponent == 1
        top, bottom = (x, half) if linear else (power(x, exponent), power(half, exponent))
        return top / (bottom + top)

    return {
        "exp": xp.exp, "log": xp.log, "sqrt": xp.sqrt, "tanh": xp.tanh, "power": power, "hill": hill,
        "pos": lambda x: xp.maximum(x, 0.0), "step": lambda x: xp.where(x > 0, 1.0, 0.0),
        "softplus": lambda x: softplus(xp, xp.asarray(x)), "expit": lambda x: sigmoid(xp, xp.asarray(x)),
    }  # fmt: skip


def run(
    engine: Engine,
    system: Reduced,
    effects: Tensor,
    correct: Callable[[Tensor], Tensor] | None = None,
    *,
    substeps: int = 1,
) -> Tensor:
    """Courses of the kept states, shape (steps + 1, n, states), at ``STEP_H`` hours from the infusion on.

    Parameters
    ----------
    effects
        Random effects in units of their SDs, shape (n, effects).
    correct
        From ln(state / start) of the kept states and the ln of the cells' load, shape (n, states + 1), factors of the
        gains, shape (n, states). None: the equations as they are.
    substeps
        Steps of the solver within ``STEP_H``.
    """
    xp = engine.xp
    size = xp.exp(effects * system.sd)
    p: list[Any] = [np.float32(v) for v in system.values]
    for k, name in enumerate(VARIED):
        at = system.names.index(name)
        p[at] = p[at] * size[:, 2 + k]
    start = xp.asarray(system.typical[0])[None, :] * xp.ones_like(size[:, :1])
    base = {"CRP": "crp_base", "FERRITIN": "ferritin_base"}
    columns = [start[:, k] * (size[:, 2 + VARIED.index(base[s])] if s in base else 1.0) for k, s in enumerate(KEPT)]
    start = xp.stack(columns, axis=1)
    course = xp.asarray(system.course)
    loaded = np.array([name in LOADED for name in system.drivers])
    gain_of, steps = np.array(system.place), len(system.course) - 1
    onehot = xp.asarray(np.eye(len(KEPT), dtype=np.float32)[gain_of])
    dt = np.float32(STEP_H / substeps)

    def step(y: Tensor, x: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        # The time of the middle of the step on the patient's own clock of the cells.
        place = xp.clip((x[0] + np.float32(0.5 / substeps)) * size[:, 1], 0.0, steps - 1e-3)
        lower = xp.floor(place).astype("int32")
        part = (place - lower)[:, None]
        driver = (1.0 - part) * course[lower] + part * course[lower + 1]
        driver = xp.where(loaded[None, :], driver * size[:, :1], driver)
        states = {name: driver[:, k] for k, name in enumerate(system.drivers)}
        states |= {name: y[:, k] for k, name in enumerate(KEPT)}
        flow = xp.stack([xp.broadcast_to(f, y[:, 0].shape) for f in system.flows(xp, states, p)], axis=1)
        gain, loss = xp.maximum(flow, 0.0) @ onehot, xp.maximum(-flow, 0.0) @ onehot
        if correct is not None:
            load = xp.log1p(driver[:, loaded].sum(axis=1, keepdims=True))
            gain = gain * correct(xp.concatenate([xp.log(y / start), load], axis=1))
        decay = dt * loss / y
        share = xp.where(decay > 1e-3, -xp.expm1(-decay) / xp.maximum(decay, 1e-3), 1.0 - 0.5 * decay)
        new = y * xp.exp(-decay) + dt * gain * share
        return new, new

    grid = (np.arange(steps * substeps) / substeps).astype(np.float32)
    _, made = engine.scan(step, start, (grid,))
    return xp.concatenate([start[None], made[substeps - 1 :: substeps]], axis=0)


if __name__ == "__main__":
    main()
