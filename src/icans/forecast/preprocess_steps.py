"""Steps of preprocessing, each of which learns from training rows only.

The first two work on data frames (choice of columns, categories as 0/1 columns); behind them every column is a
number, and a step takes names and an array.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort import vocabulary
from icans.core.errors import NotFittedError
from icans.forecast.plain import Plain, Table, coded

Floats = NDArray[np.float64]
AnyTable = TypeVar("AnyTable", pd.DataFrame, Plain)

#: A column missing in more than this share of the training rows says more about who measured than about the
#: patient once it is filled in; it is left out.
MAX_MISSING = 0.6
#: The same for columns of the patients table, which ought to be known for everybody: when a fifth lack one, the
#: gap usually has a cause (a second source, an older form) that may go with the outcome.
MAX_MISSING_STATIC = 0.2
#: Winsorising quantiles: labs have typing errors and capped results; one value in a hundred at either end is
#: drawn in, which leaves a monotone effect of the rest alone.
WINSOR = (0.01, 0.99)
#: A category seen in fewer of the training rows than this share joins the reference.
MIN_CATEGORY = 0.05
#: A non-negative column this skewed is taken on the log scale when the vocabulary does not know it.
SKEW_FOR_LOG = 2.0


class Step(ABC):
    """A transformer of data frames; ``fit`` learns in :meth:`_learn`."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Any:
        """Learn from the training rows."""
        self._learn(X)
        self.fitted_ = True
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Apply what was learned."""
        if not getattr(self, "fitted_", False):
            raise NotFittedError(f"{type(self).__name__} was asked to transform before it was fitted")
        return self._apply(X)

    def fit_transform(self, X: pd.DataFrame, y: object = None) -> pd.DataFrame:
        """Learn from the training rows and give them changed."""
        changed: pd.DataFrame = self.fit(X).transform(X)
        return changed

    @abstractmethod
    def _learn(self, X: pd.DataFrame) -> None:
        """Keep what the training rows say."""

    @abstractmethod
    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        """The rows, changed."""


class Numbers(Step):
    """A step on columns of numbers: names and an array of shape (n, p), missing values NaN."""

    def _learn(self, X: pd.DataFrame) -> None:
        self.learn(X.columns.tolist(), X.to_numpy(dtype=float))

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        names, values = self.apply(X.columns.tolist(), X.to_numpy(dtype=float))
        return pd.DataFrame(values, index=X.index, columns=names)

    @abstractmethod
    def learn(self, names: list[str], values: Floats) -> None:
        """Keep what the training rows say."""

    @abstractmethod
    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Names and values after the step; the array given is not changed."""


class Select(Step):
    """Leave out columns that are missing too often or do not vary in the training rows."""

    def __init__(self, max_missing: float = MAX_MISSING, max_missing_static: float = MAX_MISSING_STATIC) -> None:
        self.max_missing = max_missing
        self.max_missing_static = max_missing_static

    def _learn(self, X: pd.DataFrame) -> None:
        missing = X.isna().to_numpy().mean(axis=0).tolist() if len(X) else [1.0] * X.shape[1]
        self.columns_, self.dropped_ = [], {}
        for name, share in zip(X.columns, missing, strict=True):
            if share <= (self.max_missing_static if name.startswith("static.") else self.max_missing):
                self.columns_.append(name)
            else:
                self.dropped_[name] = float(share)

    def chosen(self, X: AnyTable) -> AnyTable:
        """The columns that were kept."""
        if not getattr(self, "fitted_", False):
            raise NotFittedError("Select was asked to transform before it was fitted")
        return X if len(self.columns_) == X.shape[1] else X[self.columns_]

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        return self.chosen(X)


class OneHot(Step):
    """Categories as 0/1 columns against the most frequent one; missing and unseen ones count as the reference."""

    def __init__(self, min_share: float = MIN_CATEGORY) -> None:
        self.min_share = min_share

    def _learn(self, X: pd.DataFrame) -> None:
        self.levels_: dict[str, list[object]] = {}
        for name in X.columns[[not pd.api.types.is_numeric_dtype(t) for t in X.dtypes]]:
            code, levels = coded(X[name])
            count = np.bincount(code[code >= 0], minlength=len(levels))
            by_name = sorted((k for k in range(len(levels)) if count[k]), key=lambda k: str(levels[k]))
            order = sorted(by_name, key=lambda k: -count[k])
            total = count.sum()
            self.levels_[name] = [levels[k] for k in order[1:] if count[k] / total >= self.min_share]

    def numbers(self, X: Table) -> tuple[list[str], Floats]:
        """Names and values of the columns, categories turned to numbers."""
        if not getattr(self, "fitted_", False):
            raise NotFittedError("OneHot was asked to transform before it was fitted")
        plain = [name for name in X.columns if name not in self.levels_]
        if len(plain) == X.shape[1]:
            return plain, X.numbers(plain) if isinstance(X, Plain) else X.to_numpy(dtype=float)
        place = {name: k for k, name in enumerate(plain)}
        numbers = X.numbers(plain) if isinstance(X, Plain) else X[plain].to_numpy(dtype=float)
        names: list[str] = []
        columns: list[Floats] = []
        for name in X.columns:
            if name in place:
                names.append(name)
                columns.append(numbers[:, place[name]])
            elif self.levels_[name]:
                code, levels = X.coded(name) if isinstance(X, Plain) else coded(X[name])
                known = {level: k for k, level in enumerate(levels)}
                names += [f"{name}={level}" for level in self.levels_[name]]
                columns += [(code == known.get(level, len(levels))).astype(float) for level in self.levels_[name]]
        return names, np.column_stack(columns) if columns else np.empty((len(X), 0))

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        if not self.levels_:
            return X
        names, values = self.numbers(X)
        return pd.DataFrame(values, index=X.index, columns=names)


class Indicate(Numbers):
    """Add ``<column>=missing`` for each column that has missing values in the training rows."""

    def learn(self, names: list[str], values: Floats) -> None:
        """Find the columns with missing values."""
        missing = np.flatnonzero(np.isnan(values).any(axis=0)).tolist()
        self.columns_ = [names[k] for k in missing]

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Add a 0/1 column for each of them."""
        mine = np.isin(names, self.columns_)
        return [*names, *(f"{n}=missing" for n in self.columns_)], np.hstack([values, np.isnan(values[:, mine]) * 1.0])


class LogSkewed(Numbers):
    """``log(x + c)`` for laboratory values that the vocabulary calls log-scaled and other skewed columns.

    c is half the smallest positive training value, so that zeros stay finite without a unit-bound constant.
    Slopes and columns with negative training values are left as they are.
    """

    def __init__(self, skew: float = SKEW_FOR_LOG) -> None:
        self.skew = skew

    def learn(self, names: list[str], values: Floats) -> None:
        """Choose the columns and their offsets."""
        self.offsets_: dict[str, float] = {}
        known = vocabulary.analytes()
        for k, name in enumerate(names):
            if not name.startswith(("lab.", "static.tumour_burden")) or ".slope" in name:
                continue
            present = values[~np.isnan(values[:, k]), k]
            if not len(present) or present.min() < 0:
                continue
            entry = known.get(name.split(".")[1].split("@")[0])
            if (entry is not None and entry.log) or pd.Series(present).skew() > self.skew:
                positive = present[present > 0]
                if len(positive):
                    self.offsets_[name] = float(positive.min()) / 2.0

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Take logarithms."""
        if not self.offsets_:
            return names, values
        mine = np.array([name in self.offsets_ for name in names])
        offset = np.array([self.offsets_[name] for name in names if name in self.offsets_])
        moved = values.copy()
        moved[:, mine] = np.log(np.maximum(values[:, mine], 0.0) + offset)
        return names, moved


class YeoJohnson(Numbers):
    """Yeo-Johnson power transform of numeric columns with more than two values (Yeo and Johnson 2000)."""

    def learn(self, names: list[str], values: Floats) -> None:
        """Fit the powers by maximum likelihood."""
        from sklearn.preprocessing import PowerTransformer

        self.mine_ = _distinct(np.sort(values, axis=0)) > 2
        self.power_ = PowerTransformer(standardize=False).fit(values[:, self.mine_])

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Apply the powers."""
        moved = values.copy()
        moved[:, self.mine_] = self.power_.transform(values[:, self.mine_])
        return names, moved


class Winsor(Numbers):
    """Draw values beyond two training quantiles in to them (columns with more than two values)."""

    def __init__(self, low: float = WINSOR[0], high: float = WINSOR[1]) -> None:
        self.low = low
        self.high = high

    def learn(self, names: list[str], values: Floats) -> None:
        """Find the quantiles."""
        ordered = np.sort(values, axis=0)
        several = _distinct(ordered) > 2
        low, high = (_quantile(ordered, level) for level in (self.low, self.high))
        self.low_ = np.where(several, low, -np.inf)
        self.high_ = np.where(several, high, np.inf)

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Draw values in."""
        return names, np.clip(values, self.low_, self.high_)


class MedianImpute(Numbers):
    """Fill missing values with the median of the training rows."""

    def learn(self, names: list[str], values: Floats) -> None:
        """Find the medians."""
        self.median_ = _quantile(np.sort(values, axis=0), 0.5)

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Fill."""
        return names, np.where(np.isnan(values), self.median_, values)


class DropConstant(Numbers):
    """Leave out columns that have one value in the training rows, and repetitions of an earlier column."""

    def learn(self, names: list[str], values: Floats) -> None:
        """Find the columns worth keeping."""
        varying = _distinct(np.sort(values, axis=0)) > 1
        seen: set[bytes] = set()
        self.kept_ = np.zeros(len(names), dtype=bool)
        for k in np.flatnonzero(varying).tolist():
            key = values[:, k].tobytes()
            self.kept_[k] = key not in seen
            seen.add(key)

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Keep them."""
        if self.kept_.all():
            return names, values
        return [name for name, keep in zip(names, self.kept_, strict=True) if keep], values[:, self.kept_]


class Standardise(Numbers):
    """Mean 0, SD 1 of the training rows (missing values set aside)."""

    def learn(self, names: list[str], values: Floats) -> None:
        """Find means and spreads."""
        count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
        self.mean_ = np.nansum(values, axis=0) / count
        spread = np.sqrt(np.nansum((values - self.mean_) ** 2, axis=0) / count)
        self.sd_ = np.where(spread > 0, spread, 1.0)

    def apply(self, names: list[str], values: Floats) -> tuple[list[str], Floats]:
        """Centre and scale."""
        return names, (values - self.mean_) / self.sd_


def _distinct(ordered: Floats) -> NDArray[np.intp]:
    """Number of different values in each column, given sorted (missing values last)."""
    if not len(ordered):
        return np.zeros(ordered.shape[1], dtype=np.intp)
    # A missing value differs from nothing: NaN != NaN is true, NaN > x is not.
    return np.asarray((ordered[1:] > ordered[:-1]).sum(axis=0) + ~np.isnan(ordered[0]))


def _quantile(ordered: Floats, level: float) -> Floats:
    """Quantile of each column's values by linear interpolation, given sorted (missing values last; all: NaN)."""
    count = (~np.isnan(ordered)).sum(axis=0)
    if not len(ordered):
        return np.full(ordered.shape[1], np.nan)
    at = level * np.maximum(count - 1, 0)
    below = np.floor(at).astype(np.intp)
    column = np.arange(ordered.shape[1])
    first, second = ordered[below, column], ordered[np.minimum(below + 1, np.maximum(count - 1, 0)), column]
    step = np.subtract(second, first, out=np.zeros_like(first), where=second != first)  # infinite ones may meet
    return np.asarray(first + step * (at - below))
