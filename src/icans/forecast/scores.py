"""Published scores: a registry, values with units, and values for a cohort at a landmark.

A score is only as good as its units: every input comes with its unit and is converted, and an input without one is
refused (:class:`~icans.core.errors.UnitError`). m-EASIX and CAR-HEMATOTOX want CRP in mg/dL, ten times less than
the mg/L that most laboratories send. Scores are not risks: recalibrate them
(:mod:`icans.forecast.scores_recalibrate`) on the training part of a cohort before comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.core.errors import UnitError
from icans.core.units import convert
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
    mass = vocabulary.analyte(wanted.analyte).molar_mass
    try:
        return convert(values, unit, wanted.unit, molar_mass_g_mol=mass)
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
    landmark = pd.Series(landmark_h, index=patients, dtype="float64") if not isinstance(landmark_h, Mapping) else (
        pd.Series(dict(landmark_h), dtype="float64").reindex(patients))  # fmt: skip
    rows = cohort.measurements[cohort.measurements["analyte"].isin([i.analyte for i in chosen.inputs])]
    rows = rows[rows["available_h"].fillna(rows["time_h"]) <= rows["patient_id"].map(landmark)]
    values, reasons = {}, {}
    for wanted in chosen.inputs:
        values[wanted.analyte], reasons[wanted.analyte] = _input_at(rows, wanted, landmark, lookback_h)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = chosen.function({analyte: series.to_numpy() for analyte, series in values.items()})
    frame = pd.DataFrame({"patient_id": patients, "value": np.asarray(result, dtype=float)})
    lacking = pd.DataFrame(reasons, index=patients).fillna("")
    said = lacking.apply(lambda row: "; ".join(text for text in row if text), axis=1).to_numpy(dtype=object)
    said = np.where(said == "", "an input is not a possible value", said)
    return frame.assign(missing=pd.Series(np.where(frame["value"].isna(), said, ""), dtype="string[pyarrow]"))


def _input_at(rows: pd.DataFrame, wanted: Input, landmark: pd.Series, lookback_h: float) -> tuple[pd.Series, pd.Series]:
    """Value of one input by patient in the unit of the formula, and why it is missing."""
    home = {vocabulary.analyte(wanted.analyte).matrix, "plasma", "serum", "blood", "vital"}
    mine = rows[(rows["analyte"] == wanted.analyte) & rows["matrix"].fillna("blood").isin(home)]
    raw = mine["value"].where(mine["value"].notna(), mine["limit"])
    mine = mine.assign(number=raw)[raw.notna()]
    reason = pd.Series(f"{wanted.analyte} not measured", index=landmark.index, dtype=object)
    if wanted.hours is None:
        inside = mine["time_h"] >= mine["patient_id"].map(landmark) - lookback_h
    else:
        inside = mine["time_h"].between(*wanted.hours)
    reason[reason.index.isin(mine["patient_id"]) & ~reason.index.isin(mine.loc[inside, "patient_id"])] = (
        f"{wanted.analyte} not measured in the window"
    )
    mine = mine[inside]
    undeclared = mine["unit"].isna()
    reason[reason.index.isin(mine.loc[undeclared, "patient_id"])] = f"{wanted.analyte} without a unit"
    mine = _converted(mine[~undeclared], wanted)
    groups = mine.sort_values(["patient_id", "time_h"], kind="stable").groupby("patient_id")["number"]
    value = (groups.last() if wanted.statistic == "last" else groups.max()).reindex(landmark.index)
    if wanted.hours is not None:
        early = landmark < wanted.hours[1]
        value[early], reason[early] = np.nan, f"the first {wanted.hours[1]:g} h are not over"
    return value.astype(float), reason.where(value.isna(), "")


def _converted(rows: pd.DataFrame, wanted: Input) -> pd.DataFrame:
    number = rows["number"].astype(float).copy()
    for unit in rows["unit"].unique():
        same = rows["unit"] == unit
        number[same] = to_unit((number[same].to_numpy(), str(unit)), wanted)
    return rows.assign(number=number)
