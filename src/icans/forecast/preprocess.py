"""From a feature table to a numeric matrix: transform, winsorise, impute, standardise, one-hot.

Each step is a small scikit-learn transformer on data frames; :func:`preprocessor` joins them. Everything that is
learned (medians, quantiles, scales, categories, which columns to keep) comes from the rows given to ``fit``, so a
pipeline fitted inside a fold knows nothing of the fold that is held out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from icans.cohort import vocabulary
from icans.core.errors import NotFittedError

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


@dataclass(frozen=True, slots=True)
class PrepareSpec:
    """Settings of :func:`preprocessor`.

    Parameters
    ----------
    transform
        ``log`` (columns of analytes that the vocabulary calls log, and others that are skewed), ``yeo-johnson``
        (every numeric column, maximum likelihood), or ``none``.
    winsor
        Quantiles to which values are drawn in; None: no winsorising.
    indicators
        Add a 0/1 column for each column with missing values. Only when the audit of the cohort allows it.
    standardise
        Mean 0 and SD 1 in the training rows.
    impute
        Fill with the training median. Without it missing values stay (for trees).
    max_missing, max_missing_static
        Columns missing more often are left out.
    """

    transform: str = "log"
    winsor: tuple[float, float] | None = WINSOR
    indicators: bool = False
    standardise: bool = True
    impute: bool = True
    max_missing: float = MAX_MISSING
    max_missing_static: float = MAX_MISSING_STATIC

    def __post_init__(self) -> None:
        if self.transform not in ("log", "yeo-johnson", "none"):
            raise ValueError(f"transform must be 'log', 'yeo-johnson' or 'none'; got {self.transform!r}")


def preprocessor(spec: PrepareSpec | None = None) -> Pipeline:
    """The steps of ``spec`` as a scikit-learn pipeline from feature table to numeric data frame."""
    spec = spec or PrepareSpec()
    steps: list[tuple[str, BaseEstimator]] = [("select", Select(spec.max_missing, spec.max_missing_static))]
    steps.append(("onehot", OneHot(MIN_CATEGORY)))
    if spec.indicators:
        steps.append(("indicate", Indicate()))
    if spec.transform == "log":
        steps.append(("log", LogSkewed(SKEW_FOR_LOG)))
    elif spec.transform == "yeo-johnson":
        steps.append(("power", YeoJohnson()))
    if spec.winsor is not None:
        steps.append(("winsor", Winsor(*spec.winsor)))
    if spec.impute:
        steps.append(("impute", MedianImpute()))
    steps.append(("varying", DropConstant()))
    if spec.standardise:
        steps.append(("scale", Standardise()))
    return Pipeline(steps)


class _Frame(ABC, TransformerMixin, BaseEstimator):
    """A transformer of data frames; ``fit`` learns in :meth:`_learn`."""

    def fit(self, X: pd.DataFrame, y: object = None) -> _Frame:
        """Learn from the training rows."""
        self._learn(X)
        self.fitted_ = True
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Apply what was learned."""
        if not getattr(self, "fitted_", False):
            raise NotFittedError(f"{type(self).__name__} was asked to transform before it was fitted")
        return self._apply(X)

    @abstractmethod
    def _learn(self, X: pd.DataFrame) -> None:
        """Keep what the training rows say."""

    @abstractmethod
    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        """The rows, changed."""


class Select(_Frame):
    """Leave out columns that are missing too often or do not vary in the training rows."""

    def __init__(self, max_missing: float = MAX_MISSING, max_missing_static: float = MAX_MISSING_STATIC) -> None:
        self.max_missing = max_missing
        self.max_missing_static = max_missing_static

    def _learn(self, X: pd.DataFrame) -> None:
        missing = X.isna().mean()
        limit = np.where(X.columns.str.startswith("static."), self.max_missing_static, self.max_missing)
        kept = missing.to_numpy() <= limit
        self.columns_ = [name for name, keep in zip(X.columns, kept, strict=True) if keep]
        self.dropped_ = {name: float(missing[name]) for name in X.columns if name not in self.columns_}

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        return X[self.columns_]


class OneHot(_Frame):
    """Categories as 0/1 columns against the most frequent one; missing and unseen ones count as the reference."""

    def __init__(self, min_share: float = MIN_CATEGORY) -> None:
        self.min_share = min_share

    def _learn(self, X: pd.DataFrame) -> None:
        self.levels_: dict[str, list[object]] = {}
        for name in X.columns[[not pd.api.types.is_numeric_dtype(t) for t in X.dtypes]]:
            share = X[name].astype(object).value_counts(normalize=True)
            by_name = share.loc[sorted(share.index, key=str)].sort_values(ascending=False, kind="stable")
            self.levels_[name] = by_name.index[1:][by_name.iloc[1:] >= self.min_share].tolist()

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        if not self.levels_:
            return X
        columns: dict[str, pd.Series] = {}
        for name in X.columns:
            if name not in self.levels_:
                columns[name] = X[name]
                continue
            for level in self.levels_[name]:
                columns[f"{name}={level}"] = (X[name].astype(object) == level).astype(float)
        return pd.DataFrame(columns, index=X.index)


class Indicate(_Frame):
    """Add ``<column>=missing`` for each column that has missing values in the training rows."""

    def _learn(self, X: pd.DataFrame) -> None:
        self.columns_ = X.columns[X.isna().any()].tolist()

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        added = X[self.columns_].isna().astype(float).add_suffix("=missing")
        return pd.concat([X, added], axis=1)


class LogSkewed(_Frame):
    """``log(x + c)`` for laboratory values that the vocabulary calls log-scaled and other skewed columns.

    c is half the smallest positive training value, so that zeros stay finite without a unit-bound constant.
    Slopes and columns with negative training values are left as they are.
    """

    def __init__(self, skew: float = SKEW_FOR_LOG) -> None:
        self.skew = skew

    def _learn(self, X: pd.DataFrame) -> None:
        self.offsets_: dict[str, float] = {}
        known = vocabulary.analytes()
        skewness = X.skew()
        lowest = X.min()
        for name in X.columns:
            if not name.startswith(("lab.", "static.tumour_burden")) or ".slope" in name or not lowest[name] >= 0:
                continue
            entry = known.get(name.split(".")[1].split("@")[0])
            if (entry.log if entry is not None else False) or skewness[name] > self.skew:
                positive = X[name][X[name] > 0]
                if len(positive):
                    self.offsets_[name] = float(positive.min()) / 2.0

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        if not self.offsets_:
            return X
        names = list(self.offsets_)
        offset = np.array([self.offsets_[n] for n in names])
        logged = np.log(np.maximum(X[names].to_numpy(dtype=float), 0.0) + offset)
        return X.assign(**dict(zip(names, logged.T, strict=True)))


class YeoJohnson(_Frame):
    """Yeo-Johnson power transform of numeric columns with more than two values (Yeo and Johnson 2000)."""

    def _learn(self, X: pd.DataFrame) -> None:
        from sklearn.preprocessing import PowerTransformer

        self.columns_ = [name for name in X.columns if X[name].nunique() > 2]
        self.power_ = PowerTransformer(standardize=False).fit(X[self.columns_].to_numpy(dtype=float))

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        moved = self.power_.transform(X[self.columns_].to_numpy(dtype=float))
        return X.assign(**dict(zip(self.columns_, moved.T, strict=True)))


class Winsor(_Frame):
    """Draw values beyond two training quantiles in to them (columns with more than two values)."""

    def __init__(self, low: float = WINSOR[0], high: float = WINSOR[1]) -> None:
        self.low = low
        self.high = high

    def _learn(self, X: pd.DataFrame) -> None:
        several = (X.nunique() > 2).to_numpy()
        values = X.to_numpy(dtype=float)
        self.low_ = np.full(X.shape[1], -np.inf)
        self.high_ = np.full(X.shape[1], np.inf)
        if several.any():
            self.low_[several], self.high_[several] = np.nanquantile(
                values[:, several], [self.low, self.high], axis=0, method="linear"
            )

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        clipped = np.clip(X.to_numpy(dtype=float), self.low_, self.high_)
        return pd.DataFrame(clipped, index=X.index, columns=X.columns)


class MedianImpute(_Frame):
    """Fill missing values with the median of the training rows."""

    def _learn(self, X: pd.DataFrame) -> None:
        self.median_ = X.median().to_numpy(dtype=float)

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        values = X.to_numpy(dtype=float)
        return pd.DataFrame(np.where(np.isnan(values), self.median_, values), index=X.index, columns=X.columns)


class DropConstant(_Frame):
    """Leave out columns that have one value in the training rows, and repetitions of an earlier column."""

    def _learn(self, X: pd.DataFrame) -> None:
        values = X.to_numpy(dtype=float)
        seen: set[bytes] = set()
        self.columns_ = []
        for name, column in zip(X.columns, values.T, strict=True):
            present = column[~np.isnan(column)]
            key = column.tobytes()
            if len(present) and present.min() < present.max() and key not in seen:
                seen.add(key)
                self.columns_.append(name)

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        return X[self.columns_]


class Standardise(_Frame):
    """Mean 0, SD 1 of the training rows (missing values set aside)."""

    def _learn(self, X: pd.DataFrame) -> None:
        self.mean_ = X.mean().to_numpy(dtype=float)
        spread = X.std(ddof=0).to_numpy(dtype=float)
        self.sd_ = np.where(spread > 0, spread, 1.0)

    def _apply(self, X: pd.DataFrame) -> pd.DataFrame:
        scaled = (X.to_numpy(dtype=float) - self.mean_) / self.sd_
        return pd.DataFrame(scaled, index=X.index, columns=X.columns)


def source_column(prepared: str) -> str:
    """The feature that a prepared column comes from (``static.sex=male`` -> ``static.sex``)."""
    return prepared.split("=", 1)[0]
