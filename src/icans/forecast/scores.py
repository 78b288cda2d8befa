"""Published scores: a registry, values with units, and values for a cohort at a landmark.

A score is only as good as its units: every input comes with its unit and is converted, and an input without one is
refused (:class:`~icans.core.errors.UnitError`). m-EASIX and CAR-HEMATOTOX want CRP in mg/dL, ten times less than
the mg/L that most laboratories send. Scores are not risks: recalibrate them
(:mod:`icans.forecast.models.recalibrated`) on the training part of a cohort before comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.core.errors import UnitError
from icans.forecast.scores_formulas import DECIDED_BY_ANY, FORMULAS, Array, Inputs, published

#: Oldest result that still describes the patient at a landmark, hours. Two weeks: blood before lymphodepletion is
#: drawn up to a week before it begins, which is about five days before infusion.
LOOKBACK_H = 14 * 24.0


@dataclass(frozen=True)
class Input:
    """One input: the unit that the formula wants, and which value of which hours it takes."""

    analyte: str
    unit: str
    statistic: Literal["last", "max"] = "last"
    hours: tuple[float, float] | None = None


@dataclass(frozen=True)
class Score:
    """A published score.

    ``basis``: read, checked or recalled (see ``published/scores.toml``); ``decided_by_any``: a missing input
    need not make the value missing.
    """

    name: str
    label: str
    inputs: tuple[Input, ...]
    formula: str
    window: str
    cite: str
    basis: str
    function: Callable[[Inputs], Array]
    decided_by_any: bool = False

    @property
    def verified(self) -> bool:
        """False when the formula was written from memory only."""
        return self.basis != "recalled"

    def value(self, **quantities: tuple[npt.ArrayLike, str]) -> Any:
        """The score of values with units, e.g. ``value(ldh=(250, "U/L"), platelets=(150, "10*9/L"))``.

        Returns
        -------
        float or ndarray
            By the shape of the values; NaN where an input is missing or impossible.

        Raises
        ------
        UnitError
            A value without a unit, or in a unit that cannot be converted to the one of the formula.
        TypeError
            An input that the score does not have, or one that is lacking.
        """
        names = [i.analyte for i in self.inputs]
        if set(quantities) != set(names):
            raise TypeError(f"{self.name} takes {names}, not {sorted(quantities)}")
        arrays = {i.analyte: to_unit(quantities[i.analyte], i) for i in self.inputs}
        shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
        with np.errstate(invalid="ignore"):
            result = self.function({name: np.broadcast_to(a, shape) for name, a in arrays.items()})
        return float(result) if shape == () else result


def to_unit(quantity: tuple[npt.ArrayLike, str], wanted: Input) -> Array:
    """A value with its unit, in the unit of the formula; UnitError without one."""
    if not (isinstance(quantity, tuple) and len(quantity) == 2 and isinstance(quantity[1], str)):
        raise UnitError(f"{wanted.analyte} needs a unit: give (value, unit), e.g. (value, {wanted.unit!r})")
    values, unit = quantity
    try:
        return vocabulary.analyte(wanted.analyte).convert(values, unit, wanted.unit)
    except UnitError as error:
        raise UnitError(f"{wanted.analyte}: {error}") from error


def _registry() -> dict[str, Score]:
    found = {}
    for name, function in FORMULAS.items():
        entry = published()[name]
        inputs = tuple(
            Input(i["analyte"], i["unit"], i.get("statistic", "last"), tuple(i["hours"]) if "hours" in i else None)
            for i in entry["inputs"]
        )
        found[name] = Score(
            name, entry["label"], inputs, entry["formula"], entry["window"], entry["cite"], entry["basis"], function,
            name in DECIDED_BY_ANY,
        )  # fmt: skip
    return found


#: Every published score by name.
SCORES: dict[str, Score] = _registry()


def score(name: str) -> Score:
    """The score called ``name``; KeyError with near misses when there is none."""
    try:
        return SCORES[name]
    except KeyError:
        raise KeyError(f"no score {name!r}{vocabulary.near(name, SCORES)}; there are {list(SCORES)}") from None


def score_at(
    cohort: Cohort,
    landmark_h: float | Mapping[str, float],
    name: str | Score,
    *,
    lookback_h: float = LOOKBACK_H,
) -> pd.DataFrame:
    """A score for every patient from what was known at a landmark.

    Only rows with ``available_h`` at or before the landmark count. A censored result counts as its limit.
    Scores over a fixed window (the trees) are missing until the window is over.

    Parameters
    ----------
    landmark_h
        Hours since infusion, one for all or one per patient.
    name
        A name of :data:`SCORES`, or a score of one's own.
    lookback_h
        Oldest result that counts for inputs without a window of their own.

    Returns
    -------
    DataFrame
        ``patient_id, value, missing`` in the order of ``patients``; ``missing`` says why a value is NaN.

    Raises
    ------
    UnitError
        A declared unit that cannot be converted.
    """
    chosen = name if isinstance(name, Score) else score(name)
    patients = pd.Index(cohort.patients["patient_id"], name="patient_id")
    landmark = pd.Series(landmark_h, dtype="float64").reindex(patients) if isinstance(landmark_h, Mapping) else (
        pd.Series(float(landmark_h), index=patients))  # fmt: skip
    known = _known(cohort, chosen, patients, landmark.to_numpy())
    values, reasons = {}, {}
    for wanted in chosen.inputs:
        values[wanted.analyte], reasons[wanted.analyte] = _input_at(known, wanted, landmark.to_numpy(), lookback_h)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.asarray(chosen.function(values), dtype=float)
    said = np.array(["; ".join(filter(None, row)) for row in zip(*reasons.values(), strict=True)], dtype=object)
    said = np.where(said == "", "an input is not a possible value", said)
    missing = pd.Series(np.where(np.isnan(result), said, ""), dtype="string[pyarrow]")
    return pd.DataFrame({"patient_id": patients, "value": result, "missing": missing})


@dataclass(frozen=True)
class _Known:
    """Rows of the inputs that were available at the landmark; ``who`` is the patient's position."""

    who: npt.NDArray[np.intp]
    time_h: Array
    number: Array
    analyte: npt.NDArray[np.object_]
    unit: npt.NDArray[np.object_]
    matrix: npt.NDArray[np.object_]

    def rows(self, kept: npt.NDArray[np.bool_]) -> _Known:
        """Some of them."""
        return _Known(*(getattr(self, field.name)[kept] for field in fields(self)))


def _known(cohort: Cohort, chosen: Score, patients: pd.Index, landmark: Array) -> _Known:
    rows = cohort.measurements
    mine = rows["analyte"].isin([i.analyte for i in chosen.inputs])
    rows = rows.loc[mine, ["patient_id", "time_h", "available_h", "analyte", "value", "limit", "unit", "matrix"]]
    who = patients.get_indexer(pd.Index(rows["patient_id"]))
    time, available, value, limit = (
        rows[name].to_numpy(dtype=float) for name in ("time_h", "available_h", "value", "limit")
    )
    number = np.where(np.isnan(value), limit, value)  # a censored result counts as its limit
    kept = (who >= 0) & (np.where(np.isnan(available), time, available) <= landmark[who]) & ~np.isnan(number)
    words = (rows[name].to_numpy(dtype=object) for name in ("analyte", "unit", "matrix"))
    return _Known(who, time, number, *words).rows(kept)


#: Matrices that a blood result may be filed under; a result from urine or CSF is another quantity.
BLOOD = frozenset({"plasma", "serum", "blood"})


def _input_at(known: _Known, wanted: Input, landmark: Array, lookback_h: float) -> tuple[Array, npt.NDArray]:
    """Value of one input by patient in the unit of the formula, shape (n,), and why it is missing."""
    home = vocabulary.analyte(wanted.analyte).matrix
    mine = known.rows(known.analyte == wanted.analyte)
    there = pd.notna(mine.matrix)
    usual = np.array([m in BLOOD if home in BLOOD else m == home for m in mine.matrix], dtype=bool)
    mine = mine.rows(usual | ~there)
    n = len(landmark)
    reason = np.full(n, f"{wanted.analyte} not measured", dtype=object)
    reason[mine.who] = f"{wanted.analyte} not measured in the window"
    first, last = wanted.hours if wanted.hours is not None else (landmark[mine.who] - lookback_h, np.inf)
    mine = mine.rows((mine.time_h >= first) & (mine.time_h <= last))
    undeclared = pd.isna(mine.unit)
    reason[mine.who[undeclared]] = f"{wanted.analyte} without a unit"
    value = _by_patient(_converted(mine.rows(~undeclared), wanted), wanted.statistic, n)
    if wanted.hours is not None:
        early = ~(landmark >= wanted.hours[1])
        value[early], reason[early] = np.nan, f"the first {wanted.hours[1]:g} h are not over"
    reason[~np.isnan(value)] = ""
    return value, reason


def _converted(rows: _Known, wanted: Input) -> _Known:
    number = rows.number.copy()
    for unit in dict.fromkeys(rows.unit.tolist()):
        mine = rows.unit == unit
        number[mine] = to_unit((number[mine], str(unit)), wanted)
    return replace(rows, number=number)


def _by_patient(rows: _Known, statistic: str, n: int) -> Array:
    """Last or highest number of each patient, shape (n,); of equal times the later row."""
    who, number = rows.who, rows.number
    order = np.lexsort((rows.time_h if statistic == "last" else number, who))
    value = np.full(n, np.nan)
    value[who[order]] = number[order]  # the last of equal patients stays
    return value
