"""The daily grade path and its forecasts: persistence, the grades of that day, a first-order Markov chain.

The state of day d is the worst grade among rows with ``24 d <= time_h < 24 (d + 1)``, rounded half up to a whole
grade. A forecast made at the end of day o (landmark 24 (o + 1) hours) knows the grade of day o and gives a
distribution over the grades of days o + 1, o + 2 ... Days without a grade are not observed: no transition is
counted across them and nothing is judged there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.forecast.outcomes import Task, task_grades
from icans.forecast.tuning import patient_folds

Floats = NDArray[np.float64]

#: Grades 0 to 5.
STATES = 6
#: First days of the periods with a transition matrix each: before the usual onset, the days of onset (median 4-7
#: days for CD28, 6-9 for 4-1BB products, see the clinical references of the documentation), recovery.
PERIODS = (0, 4, 9)
#: Transitions that the prior is worth: one per row of the pooled matrix (stay 1/2, up or down by one 1/4 each), and
#: five of the pooled matrix per row of a period's or a stratum's matrix.
PRIOR_ROW = 1.0
PRIOR_POOLED = 5.0


def daily_path(cohort: Cohort, task: Task, *, split: Task | None = None) -> pd.DataFrame:
    """The grade of each day, as known at its end.

    Parameters
    ----------
    cohort, task
        The task names toxicity, scheme and source; its threshold plays no role.
    split
        Another toxicity's task whose largest grade so far (at or above its threshold or not) divides the days.

    Returns
    -------
    DataFrame
        patient_id, day, state (0-5), split (0 or 1). Grades not known by the end of their day are left out, as a
        forecaster would have to.
    """
    worst = _worst_by_day(task_grades(cohort, task))
    state = np.floor(worst["grade"] + 0.5).astype(int).clip(0, STATES - 1)
    path = worst.assign(state=state)[["patient_id", "day", "state"]]
    path["split"] = 0
    if split is not None:
        grades = task_grades(cohort, split)
        hits = grades[split.hit(grades["grade"])].groupby("patient_id")["available_h"].min()
        since = path["patient_id"].map(hits)
        path["split"] = (since <= 24.0 * (path["day"] + 1)).astype(int)
    return path.sort_values(["patient_id", "day"], ignore_index=True)


def _worst_by_day(grades: pd.DataFrame) -> pd.DataFrame:
    day = np.floor(grades["time_h"] / 24.0).astype(int)
    kept = grades.assign(day=day)[grades["available_h"] <= 24.0 * (day + 1)]
    return kept.groupby(["patient_id", "day"], as_index=False)["grade"].max()


@dataclass(frozen=True)
class Persistence:
    """Today's grade stays, with certainty."""

    name: str = "persistence"

    def fit(self, path: pd.DataFrame) -> Persistence:
        """Nothing to learn."""
        return self

    def predict(self, state: NDArray[np.intp], day: NDArray[np.intp], split: NDArray[np.intp], ahead: int) -> Floats:
        """Distribution over grades, shape (n, 6)."""
        return np.eye(STATES)[state]


@dataclass(frozen=True)
class GradesOfDay:
    """The training patients' grades on that day, whatever today's grade is."""

    name: str = "grades_of_day"
    table: Floats | None = None

    def fit(self, path: pd.DataFrame) -> GradesOfDay:
        """Count grades by day; a day draws on the whole stay with the weight of five patients."""
        last = int(path["day"].max())
        counts = np.zeros((last + 1, STATES))
        inside = path[path["day"] >= 0]
        np.add.at(counts, (inside["day"].to_numpy(), inside["state"].to_numpy()), 1.0)
        overall = (counts.sum(axis=0) + 1.0 / STATES) / (counts.sum() + 1.0)
        shrunk = counts + PRIOR_POOLED * overall
        return GradesOfDay(self.name, shrunk / shrunk.sum(axis=1, keepdims=True))

    def predict(self, state: NDArray[np.intp], day: NDArray[np.intp], split: NDArray[np.intp], ahead: int) -> Floats:
        """Distribution over grades, shape (n, 6); beyond the last training day its distribution holds."""
        if self.table is None:
            raise ValueError("fit first")
        return self.table[np.clip(day + ahead, 0, len(self.table) - 1)]


@dataclass(frozen=True)
class MarkovPath:
    """First-order Markov chain with a transition matrix per period and, when ``by_split``, per stratum.

    Each matrix is drawn to the one above it (period and stratum to period, period to pooled, pooled to "stay or
    move by one"), so that grades seldom seen do not get certain transitions.
    """

    name: str = "markov"
    by_split: bool = False
    periods: tuple[int, ...] = PERIODS
    matrices: Floats | None = None

    def fit(self, path: pd.DataFrame) -> MarkovPath:
        """Count transitions between consecutive days."""
        step = path.groupby("patient_id")
        consecutive = (step["day"].shift(-1) - path["day"]) == 1
        origin = path[consecutive]
        target = step["state"].shift(-1)[consecutive].to_numpy(dtype=int)
        period = self._period(origin["day"].to_numpy(dtype=int) + 1)
        counts = np.zeros((2, len(self.periods), STATES, STATES))
        key = (origin["split"].to_numpy(dtype=int), period, origin["state"].to_numpy(dtype=int), target)
        np.add.at(counts, key, 1.0)
        pooled = _rows(counts.sum(axis=(0, 1)) + PRIOR_ROW * _neighbours())
        by_period = _rows(counts.sum(axis=0) + PRIOR_POOLED * pooled)
        matrices = _rows(counts + PRIOR_POOLED * by_period) if self.by_split else np.stack([by_period, by_period])
        return MarkovPath(self.name, self.by_split, self.periods, matrices)

    def predict(self, state: NDArray[np.intp], day: NDArray[np.intp], split: NDArray[np.intp], ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days later, shape (n, 6); the stratum of today is kept."""
        if self.matrices is None:
            raise ValueError("fit first")
        forecast = np.eye(STATES)[state]
        for k in range(1, ahead + 1):
            step = self.matrices[split, self._period(day + k)]
            forecast = np.einsum("ni,nij->nj", forecast, step)
        return forecast

    def _period(self, day: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.maximum(np.searchsorted(self.periods, day, side="right") - 1, 0)


@runtime_checkable
class HistoryModel(Protocol):
    """A rival that sees a patient's days so far, and the columns of the path that were known at the end of each."""

    @property
    def name(self) -> str:
        """Short name, used in tables."""
        ...

    def fit(self, path: pd.DataFrame) -> HistoryModel:
        """Learn from the training patients' path."""
        ...

    def predict_path(self, path: pd.DataFrame, ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days after each row of ``path``, shape (len(path), 6).

        A row's forecast may use the same patient's rows up to its own day, and nothing of later days.
        """
        ...


PathModel = Persistence | GradesOfDay | MarkovPath | HistoryModel

#: The rivals for the daily grade path, in order.
PATH_LADDER: tuple[PathModel, ...] = (
    Persistence(),
    GradesOfDay(),
    MarkovPath(),
    MarkovPath("markov_split", by_split=True),
)


def cross_validate_path(
    path: pd.DataFrame,
    models: Sequence[PathModel] = PATH_LADDER,
    *,
    task: str = "grade_path",
    days_ahead: Sequence[int] = (1, 2, 3, 5),
    folds: int = 5,
    repeats: int = 3,
    seed: int = 1,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Forecast grade distributions for patients that the fit has not seen.

    Parameters
    ----------
    path
        From :func:`daily_path`.
    days_ahead
        How many days ahead.
    folds, repeats, seed
        Patient-grouped folds, stratified by the largest grade (0, 1-2, 3 and more).
    executor
        Where folds run.

    Returns
    -------
    DataFrame
        task, model, landmark_h (end of the day of origin), horizon_h, repeat, fold, patient_id, today, observed,
        p0 ... p5; one row for each forecast whose day was graded.
    """
    worst = path.groupby("patient_id")["state"].max().clip(upper=3).replace({2: 1})
    held_out = []
    for repeat in range(repeats):
        fold_of = patient_folds(worst, folds, stream(seed, "path folds", repeat))
        mine = path["patient_id"].map(fold_of).to_numpy()
        held_out += [(repeat, fold, mine == fold) for fold in range(folds)]
    work = partial(_fold, path, tuple(models), task, tuple(days_ahead))
    frames = (executor or Serial()).map(work, held_out, "grade paths")
    columns = ["task", "model", "landmark_h", "horizon_h", "repeat", "fold", "patient_id", "today", "observed"]
    result = pd.concat(frames, ignore_index=True)
    return result[[*columns, *(f"p{k}" for k in range(STATES))]]


def _fold(
    path: pd.DataFrame, models: Sequence[PathModel], task: str, days_ahead: Sequence[int],
    held_out: tuple[int, int, NDArray[np.bool_]],
) -> pd.DataFrame:  # fmt: skip
    """Forecasts of every rival for the rows that are held out (repeat, fold, mask)."""
    repeat, fold, mask = held_out
    train, test = path[~mask], path[mask]
    fitted: dict[str, PathModel] = {}
    frames = []
    pairs = [_pairs(test, ahead) for ahead in days_ahead]
    for model in models:
        fitted[model.name] = _fit_or_assemble(model, train, fitted)
        frame = _forecast_path(fitted[model.name], test, days_ahead, pairs)
        frames.append(frame.assign(task=task, model=model.name, repeat=repeat, fold=fold))
    return pd.concat(frames, ignore_index=True)


def _fit_or_assemble(model: PathModel, train: pd.DataFrame, fitted: Mapping[str, PathModel]) -> PathModel:
    """A pool takes members that were fitted on the same patients under the same name; the others are fitted."""
    assemble = getattr(model, "assemble", None)
    made: PathModel | None = assemble(fitted) if assemble is not None else None
    return made if made is not None else model.fit(train)


def forecast_rows(model: PathModel, path: pd.DataFrame, ahead: int) -> Floats:
    """Distribution over grades ``ahead`` days after each row of a path, shape (len(path), 6), from a fitted model."""
    if isinstance(model, HistoryModel):
        return model.predict_path(path, ahead)
    day, state, split = (path[name].to_numpy(dtype=np.intp) for name in ("day", "state", "split"))
    return model.predict(state, day, split, ahead)


def _pairs(path: pd.DataFrame, ahead: int) -> pd.DataFrame:
    """Rows of a path (``row``) whose day ``ahead`` days later was graded (``observed``)."""
    later = path[["patient_id", "day", "state"]].rename(columns={"state": "observed"})
    later = later.assign(day=later["day"] - ahead)
    own = path[["patient_id", "day", "state"]].assign(row=np.arange(len(path)))
    return own.merge(later, on=["patient_id", "day"])


def _forecast_path(
    model: PathModel, path: pd.DataFrame, days_ahead: Sequence[int], pairs: Sequence[pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Forecasts of a fitted model; ``pairs`` of the path (:func:`_pairs`) where they are known already."""
    frames = []
    for ahead, pair in zip(days_ahead, pairs or [_pairs(path, a) for a in days_ahead], strict=True):
        day, state = (pair[name].to_numpy(dtype=np.intp) for name in ("day", "state"))
        chances = forecast_rows(model, path, ahead)[pair["row"].to_numpy()]
        chance = pd.DataFrame(chances, columns=[f"p{k}" for k in range(STATES)])
        frame = pd.DataFrame(
            {
                "patient_id": pair["patient_id"],
                "landmark_h": 24.0 * (day + 1),
                "horizon_h": 24.0 * ahead,
                "today": state,
                "observed": pair["observed"].to_numpy(dtype=int),
            }
        )
        frames.append(pd.concat([frame, chance], axis=1))
    return pd.concat(frames, ignore_index=True)


def _rows(counts: Floats) -> Floats:
    return counts / counts.sum(axis=-1, keepdims=True)


def _neighbours() -> Floats:
    """Stay with 1/2, move up or down by one with 1/4 each (what falls off an end stays)."""
    matrix = 0.5 * np.eye(STATES) + 0.25 * np.eye(STATES, k=1) + 0.25 * np.eye(STATES, k=-1)
    matrix[0, 0] += 0.25
    matrix[-1, -1] += 0.25
    return matrix
