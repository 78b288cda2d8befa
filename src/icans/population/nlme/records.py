"""What was observed: subjects with doses, covariates and observations; checked once, all problems told together.

Time is hours (since infusion, or since the first dose). Nothing is dropped: an observation that cannot be used is a
problem, not a silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]

#: How an observation is censored: value known; below ``value``; above ``value``; between ``value`` and ``limit``.
QUANTIFIED, LEFT, RIGHT, INTERVAL = 0, 1, 2, 3
CENSOR_WORDS = {"none": QUANTIFIED, "left": LEFT, "right": RIGHT, "interval": INTERVAL}
COLUMNS = ("time_h", "observable", "value")
OPTIONAL = {"censor": "none", "limit": np.nan, "batch": "", "available_h": np.nan}


@dataclass(frozen=True, slots=True)
class Administration:
    """A dose for a model in closed form.

    ``compartment``: name of the compartment or depot it enters. ``duration_h`` > 0: infusion at a constant rate.
    ``interval_h`` > 0: at the time of the dose the subject is at the steady state of doses so far apart. ``reset``:
    all compartments are emptied first. Repeated doses are written out.
    """

    time_h: float
    amount: float
    compartment: str = ""
    duration_h: float = 0.0
    interval_h: float = 0.0
    reset: bool = False


@dataclass(frozen=True)
class Subject:
    """One subject.

    ``observations``: a table with ``time_h, observable, value, censor, limit, batch, available_h`` (see
    :func:`observation_table`). ``doses``: :class:`Administration`, or doses, resets and switches of a patient model.
    ``occasions``: hours at which occasions start, ascending; before the first start is the first occasion.
    """

    id: str
    observations: pd.DataFrame
    doses: tuple[Any, ...] = ()
    covariates: Mapping[str, float] = field(default_factory=dict)
    occasions: tuple[float, ...] = ()

    def until(self, landmark_h: float) -> Subject:
        """The subject as known at a landmark: observations available by then (``available_h``, else ``time_h``)."""
        table = self.observations
        known = table["available_h"].fillna(table["time_h"]) <= landmark_h
        return replace(self, observations=table[known & (table["time_h"] <= landmark_h)].reset_index(drop=True))


@dataclass(frozen=True)
class Records:
    """Subjects in order."""

    subjects: tuple[Subject, ...]

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the subjects."""
        return tuple(s.id for s in self.subjects)

    def covariate(self, name: str) -> Array:
        """A covariate of all subjects, shape (N,); NaN where a subject has none."""
        return np.array([float(s.covariates.get(name, np.nan)) for s in self.subjects])

    def subset(self, which: Iterable[int]) -> Records:
        """Some subjects, by place; a subject may come twice (bootstrap)."""
        return Records(tuple(self.subjects[i] for i in which))

    def until(self, landmark_h: float) -> Records:
        """All subjects as known at a landmark."""
        return Records(tuple(s.until(landmark_h) for s in self.subjects))

    def frame(self) -> pd.DataFrame:
        """All observations in one table with a column ``id``."""
        parts = [s.observations.assign(id=s.id) for s in self.subjects]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["id", *COLUMNS, *OPTIONAL])

    def digest(self) -> str:
        """A fingerprint of everything in it (SHA-256)."""
        text = hashlib.sha256()
        for s in self.subjects:
            text.update(repr((s.id, s.doses, sorted(s.covariates.items()), s.occasions)).encode())
            text.update(repr([(c, s.observations[c].tolist()) for c in s.observations]).encode())
        return text.hexdigest()


def observation_table(frame: pd.DataFrame, name: str = "observations") -> pd.DataFrame:
    """A table of observations in full: missing optional columns added, words checked.

    Raises
    ------
    ModelError
        Missing columns, values or times that are no numbers, unknown words of ``censor``, an interval without or with
        a wrong ``limit``: all of them, with rows.
    """
    problems = [Problem(name, None, c, None, "a column", f"Add {c}.") for c in COLUMNS if c not in frame]
    if problems:
        raise ModelError(problems)
    table = frame.reset_index(drop=True)
    table = table.assign(**{c: v for c, v in OPTIONAL.items() if c not in table})
    table["censor"] = table["censor"].fillna("none")
    for column in ("time_h", "value"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        for row in map(int, np.flatnonzero(~np.isfinite(numbers.to_numpy(float)))):
            found = str(table[column].iloc[row])
            remedy = "Leave the row out where nothing was measured."
            problems.append(Problem(name, row + 1, column, found, "a number", remedy))
        table[column] = numbers
    words = zip(table["censor"], table["value"], table["limit"], strict=True)
    for place, (word, value, limit) in enumerate(words, 1):
        if word not in CENSOR_WORDS:
            expected = "none, left, right or interval"
            problems.append(Problem(name, place, "censor", str(word), expected, "Use one of these words."))
        elif word == "interval" and not value < limit:
            problems.append(Problem(name, place, "limit", str(limit), "more than the value", "Give the upper end."))
    if problems:
        raise ModelError(problems)
    return table[["time_h", "observable", "value", *OPTIONAL]]


def make_records(subjects: Sequence[Subject]) -> Records:
    """Subjects, checked.

    Raises
    ------
    ModelError
        No subject; the same name twice; tables as :func:`observation_table` refuses them; occasions out of order: all
        problems of all subjects.
    """
    problems: list[Problem] = []
    seen: set[str] = set()
    kept = []
    for s in subjects:
        if s.id in seen:
            problems.append(Problem(s.id, None, "id", s.id, "a name of its own", "Join or rename the subjects."))
        seen.add(s.id)
        try:
            kept.append(replace(s, observations=observation_table(s.observations, f"subject {s.id}")))
        except ModelError as error:
            problems.extend(error.problems)
        if any(b <= a for a, b in zip(s.occasions, s.occasions[1:], strict=False)):
            problems.append(Problem(s.id, None, "occasions", str(s.occasions), "ascending hours", "Sort them."))
    if not subjects:
        problems.append(Problem("records", None, None, None, "at least one subject", "Give some."))
    if problems:
        raise ModelError(problems)
    return Records(tuple(kept))
