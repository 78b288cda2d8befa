"""Outcome and feature table of a task, row by row together; steps that learn from a cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.forecast.blocks import FittedBlock, with_blocks
from icans.forecast.features import FeatureSpec, features_at
from icans.forecast.incidence import incidence, supported
from icans.forecast.inputs import Inputs, history
from icans.forecast.outcomes import EVENT, Horizon, Task, known_status, landmark_times, outcome_table


class FittedStep(Protocol):
    """A step that has learned from a training cohort."""

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort, changed by what was learned."""
        ...


class CohortStep(Protocol):
    """A step that learns from a cohort before features are made: batch correction, imputation of a panel ..."""

    def fit(self, cohort: Cohort) -> FittedStep:
        """Learn from the training patients."""
        ...


@dataclass(frozen=True)
class Examples:
    """Stacked risk sets: what a model sees and the outcome of the same rows."""

    inputs: Inputs
    outcome: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The feature table."""
        return self.inputs.table

    def of(self, patient_ids: Sequence[str] | set[str]) -> Examples:
        """The rows of some patients."""
        return self.where(self.outcome["patient_id"].isin(set(patient_ids)).to_numpy())

    def where(self, rows: np.ndarray) -> Examples:
        """Some rows, by mask or position (repeats allowed); the outcome is numbered anew."""
        return Examples(self.inputs[rows], _rows(self.outcome, rows))

    def repeated(self, patient_ids: Sequence[str]) -> Examples:
        """The rows of patients drawn with repetition (a bootstrap sample); copies keep their patient's name."""
        rows = self.outcome.groupby("patient_id").indices
        return self.where(np.concatenate([rows[p] for p in patient_ids if p in rows]))


def examples(
    cohort: Cohort,
    task: Task,
    landmarks_h: Sequence[float],
    spec: FeatureSpec | None = None,
    *,
    blocks: Sequence[FittedBlock] = (),
    stream: bool = False,
) -> Examples:
    """Risk sets of a task with what was known at each landmark; see :func:`examples_for`."""
    outcome = outcome_table(cohort, task, landmarks_h)
    return examples_for(cohort, task, outcome, spec, blocks=blocks, stream=stream)


def examples_for(
    cohort: Cohort,
    task: Task,
    outcome: pd.DataFrame,
    spec: FeatureSpec | None = None,
    *,
    blocks: Sequence[FittedBlock] = (),
    stream: bool = False,
) -> Examples:
    """Inputs for the rows of an outcome table.

    Parameters
    ----------
    blocks
        Fitted blocks whose columns are joined to the feature table.
    stream
        Also the patients' stream of events, for models of sequences.
    """
    spec = (spec or FeatureSpec()).resolve(cohort)
    at = landmark_times(cohort, task, outcome).to_numpy(dtype=float)
    table = features_at(cohort, outcome[["patient_id", "landmark_h"]], at, spec)
    if blocks:
        table = with_blocks(table, at, cohort, blocks)
    return Examples(Inputs(table, at, history(cohort, spec) if stream else None), outcome)


def _rows(frame: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
    return frame.iloc[chosen].reset_index(drop=True)


def table_digest(frames: Iterable[pd.DataFrame]) -> str:
    """A hash of the content of tables: columns, index, values."""
    digest = hashlib.sha256()
    for frame in frames:
        flat = frame.reset_index()
        text = {name: str for name, kind in flat.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)}
        digest.update(str(flat.columns.tolist()).encode())
        digest.update(pd.util.hash_pandas_object(flat.astype(text), index=False).to_numpy().tobytes())
    return digest.hexdigest()


def cells(outcome: pd.DataFrame, horizons: Sequence[Horizon], min_events: int) -> pd.DataFrame:
    """Which landmark and horizon can be judged.

    Returns
    -------
    DataFrame
        One row per landmark and horizon: landmark_h, horizon_h (window in hours), horizon (label), position (in
        ``horizons``), at_risk, events (within the window), free (known to be free of the event at its end),
        incidence (Aalen-Johansen), reason ("" when it is judged).
    """
    rows = []
    for landmark, group in outcome.groupby("landmark_h", sort=True):
        curve = incidence(group["time_h"], group["event"], EVENT)
        limit = supported(group["time_h"], group["event"])
        for position, horizon in enumerate(horizons):
            window = float(horizon.window(float(landmark)))
            status = known_status(group["time_h"].to_numpy(), group["event"].to_numpy(), window)
            rows.append(
                {
                    "landmark_h": float(landmark),
                    "horizon_h": window,
                    "horizon": horizon.label,
                    "position": position,
                    "at_risk": len(group),
                    "events": int((status == 1).sum()),
                    "free": int((status == 0).sum()),
                    "incidence": float(curve(window)),
                    "reason": _reason(window, status, limit, min_events),
                }
            )
    return pd.DataFrame(rows)


def end_of_support(outcome: pd.DataFrame, min_free: int = 1) -> float:
    """The last whole day (hours after the anchor) that follow-up of the first landmark's risk set supports.

    On that day at least one in ten would still be seen, and ``min_free`` patients are known to be free of the
    event. Infinite when follow-up sets no limit.
    """
    start = float(outcome["landmark_h"].min())
    first = outcome[outcome["landmark_h"] == start]
    time, event = first["time_h"].to_numpy(dtype=float), first["event"].to_numpy()
    limit = supported(time, event)
    if np.isinf(limit):
        return limit
    for day in range(int((limit + start) // 24), int(start // 24), -1):
        if int((known_status(time, event, 24.0 * day - start) == 0).sum()) >= min_free:
            return 24.0 * day
    return float(np.floor((limit + start) / 24.0) * 24.0)


def _reason(window: float, status: np.ndarray, limit: float, min_events: int) -> str:
    events, free = int((status == 1).sum()), int((status == 0).sum())
    if window <= 0:
        return "the landmark lies at or after the end of the horizon"
    if window > limit:
        return f"follow-up ends before: fewer than 1 in 10 would still be seen after {limit / 24:g} d"
    if events < min_events:
        return f"{events} events, fewer than {min_events}"
    if free < min_events:
        return f"{free} patients known to be free of the event at the end, fewer than {min_events}"
    return ""
