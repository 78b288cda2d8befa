"""From parameters and doses of many patients to the arrays of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.doses import ADD, RATE, Action, Dose, check, schedule
from icans.mechanism.engine.layout import EVENT
from icans.mechanism.numeric import of_parameters
from icans.mechanism.parameters import bound_problems, unknown

if TYPE_CHECKING:
    import pandas as pd

    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]
Parameters = "Mapping[str, float | npt.ArrayLike] | pd.DataFrame | npt.ArrayLike | None"


def parameter_matrix(model: PatientModel, given: Any) -> Array:
    """Parameters of every patient, shape (patients, parameters), checked against the bounds.

    Parameters
    ----------
    given
        None (one typical patient); an array of shape (parameters,) or (patients, parameters) in the model's order; or a
        mapping or data frame by name, the others typical.

    Raises
    ------
    ModelError
        Unknown names, another shape, NaN, or values outside the bounds: all of them.
    """
    typical = model.parameters.values_array()
    if given is None:
        return typical[None].copy()
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        names = list(given.keys())
        wrong = [unknown("parameter of this model", str(n), model.parameters.names) for n in names
                 if n not in model.parameters]  # fmt: skip
        if wrong:
            raise ModelError(wrong)
        columns = {n: np.atleast_1d(np.asarray(given[n], dtype=float)) for n in names}
        count = max((len(c) for c in columns.values()), default=1)
        values = np.tile(typical, (count, 1))
        for name, column in columns.items():
            values[:, model.parameters.place(name)] = column
    else:
        values = np.atleast_2d(np.asarray(given, dtype=float)).copy()
    if values.ndim != 2 or values.shape[1] != len(typical):
        raise ModelError([Problem("parameters", None, None, str(values.shape), f"(patients, {len(typical)})",
                                  "Give one column a parameter, in the order of model.parameters, or a data frame.")])  # fmt: skip
    problems = bound_problems(model.parameters.rows, values)
    if problems:
        raise ModelError(problems)
    return np.ascontiguousarray(values)


@dataclass(frozen=True)
class Events:
    """Events of all patients in one table, and each patient's range in it, shape (patients, 2)."""

    table: npt.NDArray[np.void]
    ranges: npt.NDArray[np.int64]

    @property
    def first_h(self) -> float:
        """Time of the earliest event; infinite without any."""
        return float(self.table["time"].min()) if len(self.table) else np.inf

    @property
    def most(self) -> int:
        """The largest number of events of a patient."""
        return int(np.diff(self.ranges, axis=1).max()) if len(self.ranges) else 0


def per_patient(doses: Sequence[Any], patients: int) -> tuple[list[Sequence[Action]], int]:
    """Doses as one list per patient, and the number of patients.

    ``doses`` are actions for all, or a sequence of them for each patient.

    Raises
    ------
    ModelError
        Another number of lists than of patients.
    """
    shared = all(not isinstance(d, list | tuple) for d in doses)
    if shared:
        return [tuple(doses)] * patients, patients
    if patients == 1 and len(doses) > 1:
        patients = len(doses)
    if len(doses) != patients:
        raise ModelError([Problem("doses", None, None, str(len(doses)), f"{patients} lists of doses, one a patient",
                                  "Give one list for each patient, or one for all.")])  # fmt: skip
    return list(doses), patients


def events_of(model: PatientModel, doses: Sequence[Sequence[Action]], parameters: Array, slot: int = 0) -> Events:
    """Events of every patient; patients with the same doses are worked out together.

    Lag and bioavailability shift and scale all doses into one input alike, so one schedule serves them all.
    """
    groups: dict[tuple[Action, ...], list[int]] = {}
    for patient, mine in enumerate(doses):
        groups.setdefault(tuple(mine), []).append(patient)
    for actions in groups:
        check(model, actions)
    tables: list[npt.NDArray[np.void]] = []
    counts = np.zeros(len(doses), dtype=np.int64)
    owners: list[npt.NDArray[np.int64]] = []
    for actions, members in groups.items():
        made = _group(model, actions, parameters[members], slot)
        counts[members] = made.shape[1]
        tables.append(made.reshape(-1))
        owners.append(np.repeat(members, made.shape[1]))
    table = np.concatenate(tables) if tables else np.zeros(0, dtype=EVENT)
    owner = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int64)
    ends = np.cumsum(counts)
    return Events(
        np.ascontiguousarray(table[np.argsort(owner, kind="stable")]), np.stack([ends - counts, ends], axis=1)
    )


def _group(model: PatientModel, actions: tuple[Action, ...], parameters: Array, slot: int) -> npt.NDArray[np.void]:
    """Events of patients with the same doses, shape (patients, events), each row in order of time and kind."""
    parts = [_of_input(model, actions, number, parameters) for number in range(len(model.inputs))]
    others = schedule(model, [a for a in actions if not isinstance(a, Dose)], parameters[0])
    n = len(parameters)
    parts.append(tuple(np.tile(c, (n, 1)) for c in (others.time, others.value, others.kind, others.place)))
    time, value, kind, place = (np.concatenate([p[i] for p in parts], axis=1) for i in range(4))
    order = np.lexsort((np.broadcast_to(np.arange(time.shape[1]), time.shape), kind, time), axis=1)
    made = np.zeros(time.shape, dtype=EVENT)
    for name, column in (("time", time), ("value", value), ("kind", kind), ("place", place)):
        made[name] = np.take_along_axis(column, order, axis=1)
    made["slot"] = slot
    return made


def _of_input(model: PatientModel, actions: tuple[Action, ...], number: int, parameters: Array) -> tuple[Any, ...]:
    """Times, values, kinds and places of what enters through one input, shape (patients, events) each."""
    from dataclasses import replace

    entry = model.inputs[number]
    mine = [a for a in actions if isinstance(a, Dose) and a.drug == entry.drug and a.route in entry.routes]
    n = len(parameters)
    if not mine:
        return tuple(np.zeros((n, 0)) for _ in range(4))
    # of a model with this input alone, unscaled and without lag
    alone = replace(model, inputs=(replace(entry, scale="1", bioavailable="1", lag_h="0"),))
    base = schedule(alone, mine, parameters[0])
    enters = of_parameters(model, [entry.scale, entry.bioavailable, entry.lag_h], parameters)
    place = np.where(base.kind == RATE, number, base.place)
    assert set(np.unique(base.kind)) <= {ADD, RATE}
    return (
        base.time[None] + enters[:, 2:3], base.value[None] * (enters[:, 0] * enters[:, 1])[:, None],
        np.tile(base.kind, (n, 1)), np.tile(place, (n, 1)),
    )  # fmt: skip
