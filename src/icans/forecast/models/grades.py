"""The worst grade to come as an ordered outcome: proportional odds or adjacent categories on stacked risk sets.

The grades' distribution of each landmark's risk set enters as an offset, as the incidence by day does for the
logistic models: with an endless penalty the forecast is that distribution. Not the event-within-a-horizon interface
of the ladder: the outcome is :func:`icans.forecast.grade_outcomes.worst_grades`, the forecast a distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast import preprocess_parts
from icans.forecast.grade_outcomes import WORST
from icans.forecast.models.base import landmarks, last_value_columns
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.ordinal import FittedOrdered, OrderedRegression
from icans.forecast.ordinal_likelihood import Link
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.proportionality import free_columns
from icans.forecast.tuning import Rule, choose, patient_folds

Floats = NDArray[np.float64]

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
#: Rows of all landmarks that each landmark's distribution is drawn to.
BASELINE_ROWS = 5.0
#: A category with fewer patients joins the next lower one: its cut would rest on next to nobody.
MIN_PATIENTS = 5
#: Patients per column whose proportionality is tested, and columns at the most (the strongest ones).
PATIENTS_PER_TEST, MOST_TESTED = 20, 5


@dataclass(frozen=True)
class OrdinalGrades:
    """Ridge ordinal regression on the newest values; one penalty, by grouped inner cross-validation.

    Parameters
    ----------
    link
        ``cumulative`` (proportional odds) or ``adjacent``.
    free
        ``none``: one effect for all cuts. ``test``: the strongest columns whose effects are found to differ (score
        test, by patient, Holm) get effects of their own at each cut.
    penalties, columns, prepare, inner_folds, rule
        As in the logistic model.
    """

    link: Link = "cumulative"
    free: Literal["none", "test"] = "none"
    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 5
    rule: Rule = "best"

    def fit(self, table: pd.DataFrame, grades: pd.DataFrame, seed: int = 0) -> FittedGrades:
        """Fit to feature table and worst grades of the same patients and landmarks.

        Raises
        ------
        NotEstimableError
            One category only, or fewer than two patients with any toxicity.
        """
        grade, levels = _merged(grades)
        weight = grades["weight"].to_numpy(dtype=float)
        best = self._tune(table, grades, grade, weight, levels, seed) if len(self.penalties) > 1 else 0
        stack, X = _Stack.learn(self, table, grade, weight, levels)
        model = OrderedRegression(self.link, self.penalties[best])
        offset = stack.offset(landmarks(table), self.link)
        (fitted,) = model.fit_path([self.penalties[best]], X, grade, weight, offset)
        tested = pd.DataFrame()
        if self.free == "test":
            columns, tested = _freed(X, grade, weight, fitted, stack.names, grades["patient_id"])
            model = OrderedRegression(self.link, self.penalties[best], columns)
            (fitted,) = model.fit_path([self.penalties[best]], X, grade, weight, offset)
        return FittedGrades(stack, fitted, tested)

    def _tune(
        self, table: pd.DataFrame, grades: pd.DataFrame, grade: NDArray[np.intp], weight: Floats,
        levels: NDArray[np.intp], seed: int,
    ) -> int:  # fmt: skip
        worst = pd.Series(grade).groupby(grades["patient_id"].to_numpy()).max()
        folds = min(self.inner_folds, int((worst > levels[0]).sum()))
        if folds < 2:
            raise NotEstimableError(f"{int((worst > levels[0]).sum())} patients with any toxicity: too few")
        mine = grades["patient_id"].map(patient_folds(worst, folds, stream(seed, "inner folds"))).to_numpy()
        losses = np.full((folds, len(self.penalties)), np.nan)
        for k in range(folds):
            train, test = mine != k, mine == k
            held_out = weight[test]
            if len(np.unique(grade[train & (weight > 0)])) < len(levels) or held_out.sum() == 0:
                continue
            stack, X = _Stack.learn(self, table[train], grade[train], weight[train], levels)
            offset = stack.offset(landmarks(table[train]), self.link)
            path = OrderedRegression(self.link).fit_path(self.penalties, X, grade[train], weight[train], offset)
            outer, shift = stack.matrix(table[test]), stack.offset(landmarks(table[test]), self.link)
            place = np.searchsorted(levels, grade[test])
            for j, model in enumerate(path):
                chance = model.predict(outer, shift)[np.arange(len(place)), place]
                losses[k, j] = -np.average(np.log(np.maximum(chance, 1e-6)), weights=held_out)
        return choose(losses, self.rule)


def _merged(grades: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Grades in which rare categories have joined the next lower one, and the categories left."""
    grade = grades["grade"].to_numpy(dtype=np.intp).copy()
    known = grades["weight"].to_numpy() > 0
    for level in sorted(set(grade[known].tolist()), reverse=True):
        members = grades["patient_id"].to_numpy()[known & (grade == level)]
        lower = [other for other in set(grade[known].tolist()) if other < level]
        if len(set(members)) < MIN_PATIENTS and lower:
            grade[grade == level] = max(lower)
    levels = np.unique(grade[known])
    if len(levels) < 2:
        raise NotEstimableError("all training rows have the same worst grade (rare ones merged): nothing to order")
    place = np.maximum(np.searchsorted(levels, grade, side="right") - 1, 0)
    return levels[place], levels


def _freed(
    X: Floats, grade: NDArray[np.intp], weight: Floats, fitted: FittedOrdered, names: list[str], patient: pd.Series
) -> tuple[tuple[int, ...], pd.DataFrame]:
    """The strongest columns whose effects differ between cuts, and the table of the test."""
    seen = weight > 0
    count = min(MOST_TESTED, int(patient[seen].nunique() / PATIENTS_PER_TEST), X.shape[1])
    if count == 0:
        return (), pd.DataFrame()
    strongest = np.argsort(-np.abs(fitted.coefficients))[:count]
    chosen, table = free_columns(
        X[seen][:, strongest], grade[seen], [names[k] for k in strongest], groups=patient[seen].tolist()
    )
    return tuple(sorted(int(strongest[k]) for k in chosen)), table


@dataclass(frozen=True)
class _Stack:
    """Preprocessing, and the distribution of grades in each landmark's risk set, shape (landmarks, levels)."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    at: Floats
    share: Floats

    @classmethod
    def learn(
        cls, model: OrdinalGrades, table: pd.DataFrame, grade: NDArray[np.intp], weight: Floats,
        levels: NDArray[np.intp],
    ) -> tuple[_Stack, Floats]:  # fmt: skip
        """Learn from training rows; and their prepared columns."""
        columns = model.columns(table.columns.tolist())
        pipeline = preprocessor(model.prepare)
        X = pipeline.learn(table[columns])
        own = landmarks(table)
        at = np.unique(own)
        count = np.array([[weight[(own == s) & (grade == g)].sum() for g in levels] for s in at])
        pooled = (count.sum(axis=0) + 0.5) / (count.sum() + 0.5 * len(levels))
        share = count + BASELINE_ROWS * pooled
        return cls(pipeline, pipeline.names_, columns, at, share / share.sum(axis=1, keepdims=True)), X

    def matrix(self, table: pd.DataFrame) -> Floats:
        """Prepared columns of any rows."""
        return self.pipeline.matrix(table[self.columns])

    def offset(self, landmark: Floats, link: Link) -> Floats:
        """Linear predictors of the landmark's distribution (the nearest one's where it was not seen)."""
        if link == "adjacent":
            value = np.log(self.share[:, 1:] / self.share[:, :-1])
        else:
            above = 1.0 - np.cumsum(self.share, axis=1)[:, :-1]
            value = np.log(above / (1.0 - above))
        return np.asarray(value[np.argmin(np.abs(landmark[:, None] - self.at[None, :]), axis=1)])


@dataclass(frozen=True)
class FittedGrades:
    """A fitted ordinal model; ``tested`` is the table of the test of proportionality, where it was made."""

    stack: _Stack
    model: FittedOrdered
    tested: pd.DataFrame

    @property
    def parameters(self) -> int:
        """Coefficients of features, those that differ between cuts included."""
        return len(self.model.theta) - len(self.model.cuts)

    def predict(self, table: pd.DataFrame) -> Floats:
        """Distribution over grades 0-5 for each row, shape (n, 6); grades never seen have no probability."""
        chance = self.model.predict(self.stack.matrix(table), self.stack.offset(landmarks(table), self.model.link))
        full = np.zeros((len(table), WORST + 1))
        full[:, self.model.levels] = chance
        return full

    def chance(self, table: pd.DataFrame, grade: int) -> Floats:
        """Probability of a worst grade of at least ``grade``, shape (n,).

        Where ``grade`` lies above the categories that could be told apart (rare ones join the next lower) the
        probability is 0, a floor and not a forecast; :attr:`top` says how far the model can see.
        """
        return np.asarray(self.predict(table)[:, grade:].sum(axis=1))

    @property
    def top(self) -> int:
        """Highest grade that has a category of its own."""
        return int(self.model.levels[-1])

    def reasons(self, table: pd.DataFrame) -> pd.DataFrame:
        """Effect of each feature on the linear predictor (mean over cuts), by feature."""
        parts = self.stack.matrix(table) * self.model.by_cut().mean(axis=0)
        return sum_by_source(pd.DataFrame(parts, index=table.index, columns=self.stack.names))

    def settings(self) -> dict[str, float]:
        """The penalty chosen and the number of columns whose effects differ between cuts."""
        return {"penalty": self.model.penalty, "free columns": float(len(self.model.free))}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`); the table of the test stays behind."""
        model = self.model
        meta: Meta = {"kind": "grades", "names": self.stack.names, "columns": self.stack.columns, "link": model.link}
        meta |= {"free": list(model.free), "width": model.columns}
        arrays: Arrays = {"at": self.stack.at, "share": self.stack.share, "levels": model.levels}
        arrays |= {"theta": model.theta, "penalty": np.array(model.penalty), "information": model.information}
        return join(meta, arrays, pipeline=preprocess_parts.to_parts(self.stack.pipeline))


def from_parts(meta: Meta, arrays: Arrays) -> FittedGrades:
    """The model again."""
    if meta["link"] not in ("cumulative", "adjacent"):
        raise ValueError(f"no link {meta['link']!r}")
    stack = _Stack(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        floats(arrays["at"]),
        floats(arrays["share"]),
    )
    model = FittedOrdered(
        meta["link"],
        np.asarray(arrays["levels"], dtype=np.int64),
        floats(arrays["theta"]),
        tuple(int(k) for k in meta["free"]),
        int(meta["width"]),
        float(floats(arrays["penalty"])),
        floats(arrays["information"]),
    )
    return FittedGrades(stack, model, pd.DataFrame())
