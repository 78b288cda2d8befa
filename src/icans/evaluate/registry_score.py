"""Scoring a prospective registry: sealed forecasts against outcomes that became known later.

Only the *first* sealed forecast of a patient, task, model, landmark and horizon counts; who seals again does not
choose the better one. A forecast whose outcome was known before it was sealed is not prospective and is left out, and
the result says how many. When the outcomes do not say from when they were known, the result says so, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.evaluate.performance import performance
from icans.evaluate.registry import sealed_table

#: What names a forecast.
CELL = ["task", "model", "landmark_h", "horizon_h", "patient_id"]
OUTCOME = ["task", "patient_id", "landmark_h", "time_h", "event"]


@dataclass(frozen=True)
class RegistryScore:
    """Performance of the sealed forecasts.

    Attributes
    ----------
    table
        The table of :func:`icans.evaluate.performance.performance`.
    predictions
        The forecasts that were scored, with their outcomes.
    left_out
        Those that were not, each with the reason.
    sentences
        What a reader must know.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    left_out: pd.DataFrame
    sentences: tuple[str, ...]


def score_registry(folder: Path | str, outcomes: pd.DataFrame, **options: Any) -> RegistryScore:
    """Score what was sealed.

    Parameters
    ----------
    folder
        The registry; it must be unbroken.
    outcomes
        One row for each task, patient and landmark: task, patient_id, landmark_h, time_h (hours from the landmark to
        event, competing event or censoring), event (0, 1, 2), and, where it is known, ``known_at`` (ISO time with a
        zone from which the *first* information on the outcome was there).
    options
        Those of :func:`icans.evaluate.performance.measure`.

    Raises
    ------
    DataError
        The registry is broken, or the outcomes lack columns, are double, or have times without a zone.
    """
    sealed = sealed_table(folder)
    _check(outcomes, str(folder))
    known = "known_at" in outcomes
    wanted = [*OUTCOME, "known_at"] if known else OUTCOME
    keys = ["task", "patient_id", "landmark_h"]
    joined = sealed.merge(outcomes[wanted], on=keys, how="left", validate="many_to_one")
    joined = joined.sort_values("number", kind="stable")
    reason = pd.Series("", index=joined.index, dtype=object)
    if known:
        late = pd.to_datetime(joined["sealed_at"], utc=True) >= pd.to_datetime(
            joined["known_at"], utc=True, format="ISO8601"
        )
        reason[late.to_numpy()] = "the outcome was known before the forecast was sealed"
    reason[joined.duplicated(CELL).to_numpy()] = "a forecast of the same was sealed before"
    reason[joined["event"].isna().to_numpy()] = "no outcome"
    kept = joined[reason == ""].assign(repeat=0, fold=0)
    left_out = joined.assign(reason=reason)[reason != ""][["number", *CELL, "reason"]]
    table = performance(kept, **options) if len(kept) else pd.DataFrame()
    return RegistryScore(table, kept, left_out.reset_index(drop=True), _sentences(sealed, kept, left_out, known))


def _sentences(sealed: pd.DataFrame, kept: pd.DataFrame, left_out: pd.DataFrame, known: bool) -> tuple[str, ...]:
    said = [f"{len(kept)} of {len(sealed)} sealed forecasts were scored."]
    said += [f"{count} left out: {why}." for why, count in left_out["reason"].value_counts().items()]
    if len(sealed) and sealed["synthetic"].any():
        said.append("SYNTHETIC DATA: some of these forecasts are of simulated patients or by a model of them.")
    if not known:
        said.append(
            "The outcomes do not say from when they were known; that the forecasts came first is not shown by this "
            "table."
        )
    return tuple(said)


def _check(outcomes: pd.DataFrame, file: str) -> None:
    missing = [c for c in OUTCOME if c not in outcomes]
    if missing:
        raise DataError([Problem(file, None, c, None, "a column of the outcomes", "Add it.") for c in missing])
    problems = []
    twice = outcomes.duplicated(["task", "patient_id", "landmark_h"])
    problems += [
        Problem(file, int(i) + 1, "patient_id", str(outcomes["patient_id"].iloc[i]), "one outcome each", "Remove one.")
        for i in np.flatnonzero(twice)
    ]
    if "known_at" in outcomes:
        for i, text in enumerate(outcomes["known_at"]):
            stamp = pd.to_datetime(text, errors="coerce", format="ISO8601") if isinstance(text, str) else pd.NaT
            if pd.isna(stamp) or stamp.tzinfo is None:
                problems.append(Problem(file, i + 1, "known_at", str(text), "an ISO time with a zone", "Write it so."))
    if problems:
        raise DataError(problems)
