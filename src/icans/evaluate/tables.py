"""The prediction table: the border between forecasting and evaluation, checked and split into groups.

One row is one out-of-sample forecast: ``task, model, landmark_h, horizon_h, repeat, fold, patient_id, risk`` with the
outcome seen from the landmark, ``time_h, event``. A *group* is one task, model, landmark and horizon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import DataError, Problem
from icans.evaluate.censoring import Floats, Integers

GROUP = ["task", "model", "landmark_h", "horizon_h"]
COLUMNS = [*GROUP, "repeat", "fold", "patient_id", "risk", "time_h", "event"]


@dataclass(frozen=True)
class Repeat:
    """The forecasts of one repeat of a group, rows sorted by patient; arrays of shape (n,)."""

    patient_id: NDArray[np.str_]
    fold: NDArray[np.int64]
    time: Floats
    event: Integers
    risk: Floats


@dataclass(frozen=True)
class Group:
    """The forecasts of one task, model, landmark and horizon."""

    task: str
    model: str
    landmark_h: float
    horizon_h: float
    repeats: tuple[Repeat, ...]

    @property
    def patients(self) -> NDArray[np.str_]:
        """Distinct patients of all repeats, sorted."""
        return np.unique(np.concatenate([r.patient_id for r in self.repeats]))

    @property
    def key(self) -> dict[str, object]:
        """The columns that name the group."""
        return {
            "task": self.task,
            "model": self.model,
            "landmark_h": self.landmark_h,
            "horizon_h": self.horizon_h,
        }

    def outcomes(self) -> dict[str, int]:
        """Numbers of patients, of events and of competing events by the horizon."""
        seen: dict[str, int] = {}
        for repeat in self.repeats:
            code = np.where(repeat.time <= self.horizon_h, repeat.event, 0)
            seen.update(zip(repeat.patient_id.tolist(), code.tolist(), strict=True))
        codes = np.array(list(seen.values()))
        return {"n": len(codes), "events": int((codes == 1).sum()), "competing": int((codes == 2).sum())}

    def averaged(self) -> Repeat:
        """The forecasts of each patient, averaged over the repeats (fold 0)."""
        columns = {
            "patient_id": np.concatenate([r.patient_id for r in self.repeats]),
            "time": np.concatenate([r.time for r in self.repeats]),
            "event": np.concatenate([r.event for r in self.repeats]),
            "risk": np.concatenate([r.risk for r in self.repeats]),
        }
        one = pd.DataFrame(columns).groupby("patient_id", sort=True)
        first, risk = one.first(), one["risk"].mean()
        return Repeat(
            first.index.to_numpy().astype(str),
            np.zeros(len(first), dtype=np.int64),
            first["time"].to_numpy(),
            first["event"].to_numpy(),
            risk.to_numpy(),
        )

    def same_patients(self, other: Group) -> bool:
        """True when both groups forecast the same patients in each repeat."""
        pairs = zip(self.repeats, other.repeats, strict=False)
        return len(self.repeats) == len(other.repeats) and all(
            np.array_equal(a.patient_id, b.patient_id) for a, b in pairs
        )

    def shared_with(self, other: Group) -> Group:
        """The forecasts for patients that the other group forecasts in the same repeat, too (repeats by position)."""
        kept = []
        for mine, theirs in zip(self.repeats, other.repeats, strict=False):
            both = np.isin(mine.patient_id, theirs.patient_id)
            kept.append(
                Repeat(mine.patient_id[both], mine.fold[both], mine.time[both], mine.event[both], mine.risk[both])
            )
        return replace(self, repeats=tuple(kept))


def check_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """The table with plain types; ``repeat`` and ``fold`` are 0 where the table has none.

    Raises
    ------
    DataError
        Every problem found: columns missing, values missing or out of range, a patient twice in a repeat, or an
        outcome that changes between rows of the same patient, task and landmark.
    """
    missing = [c for c in COLUMNS if c not in table and c not in ("repeat", "fold")]
    if missing:
        raise DataError([_problem(None, c, None, "a column of this name", "add it") for c in missing])
    frame = table.assign(**{c: 0 for c in ("repeat", "fold") if c not in table})[COLUMNS].reset_index(drop=True)
    problems = _value_problems(frame)
    if problems:
        raise DataError(problems)
    frame = frame.astype({"landmark_h": float, "horizon_h": float, "risk": float, "time_h": float, "event": np.int64})
    for column in ("task", "model", "patient_id"):
        frame[column] = frame[column].astype(str)
    frame["fold"] = pd.factorize(frame["fold"].astype(str))[0]
    problems = _consistency_problems(frame)
    if problems:
        raise DataError(problems)
    return frame


def groups(table: pd.DataFrame) -> Iterator[Group]:
    """The groups of a checked table, in order of first appearance."""
    for key, rows in table.groupby(GROUP, sort=False):
        task, model, landmark, horizon = key
        repeats = []
        for _, part in rows.groupby("repeat", sort=True):
            part = part.sort_values("patient_id", kind="stable")
            repeats.append(
                Repeat(
                    part["patient_id"].to_numpy().astype(str),
                    part["fold"].to_numpy(),
                    part["time_h"].to_numpy(),
                    part["event"].to_numpy(),
                    part["risk"].to_numpy(),
                )
            )
        yield Group(str(task), str(model), float(landmark), float(horizon), tuple(repeats))


def _value_problems(frame: pd.DataFrame) -> list[Problem]:
    problems = []
    for column in ("task", "model", "patient_id", "repeat", "fold"):
        problems += _bad(frame, column, frame[column].isna(), "a value", "fill it in")
    ranges = {
        "landmark_h": (lambda v: np.isfinite(v), "a number (hours)"),
        "horizon_h": (lambda v: np.isfinite(v) & (v > 0), "a positive number of hours"),
        "risk": (lambda v: (v >= 0) & (v <= 1), "a probability, 0 to 1"),
        "time_h": (lambda v: np.isfinite(v) & (v >= 0), "hours from the landmark, not negative"),
        "event": (lambda v: np.isin(v, (0, 1, 2)), "0 (censored), 1 (event) or 2 (competing event)"),
    }
    for column, (good, expected) in ranges.items():
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
        problems += _bad(frame, column, ~good(values), expected, "mend the forecast table")
    return problems


def _consistency_problems(frame: pd.DataFrame) -> list[Problem]:
    twice = frame.duplicated([*GROUP, "repeat", "patient_id"])
    problems = _bad(
        frame, "patient_id", twice, "each patient once in a task, model, landmark, horizon and repeat", "remove one"
    )
    keys = ["task", "landmark_h", "patient_id"]
    first = frame.groupby(keys)[["time_h", "event"]].transform("first")
    differs = (first["time_h"] != frame["time_h"]) | (first["event"] != frame["event"])
    return problems + _bad(
        frame, "event", differs, "one outcome for a patient, task and landmark", "join the outcome table again"
    )


def _bad(
    frame: pd.DataFrame, column: str, wrong: NDArray[np.bool_] | pd.Series, expected: str, remedy: str
) -> list[Problem]:
    rows = np.flatnonzero(np.asarray(wrong, dtype=bool))
    return [_problem(int(i) + 1, column, str(frame[column].iloc[i]), expected, remedy) for i in rows]


def _problem(row: int | None, column: str, value: str | None, expected: str, remedy: str) -> Problem:
    return Problem("prediction table", row, column, value, expected, remedy)
