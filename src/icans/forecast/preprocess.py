"""From a feature table to a numeric matrix: transform, winsorise, impute, standardise, one-hot.

Each step is a small transformer of data frames with ``fit`` and ``transform``; :func:`preprocessor` joins them.
scikit-learn is not needed (its import would be the longest part of a single forecast). Everything that is
learned (medians, quantiles, scales, categories, which columns to keep) comes from the rows given to ``fit``, so a
pipeline fitted inside a fold knows nothing of the fold that is held out.

A model is tuned by some hundred fits, each with its own preprocessing. Behind the first two steps all columns are
numbers, and :class:`Preparation` hands one array from step to step instead of a data frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icans.forecast.plain import Table
from icans.forecast.preprocess_steps import (
    MAX_MISSING,
    MAX_MISSING_STATIC,
    MIN_CATEGORY,
    SKEW_FOR_LOG,
    WINSOR,
    DropConstant,
    Floats,
    Indicate,
    LogSkewed,
    MedianImpute,
    Numbers,
    OneHot,
    Select,
    Standardise,
    Step,
    Winsor,
    YeoJohnson,
)


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


def preprocessor(spec: PrepareSpec | None = None) -> Preparation:
    """The steps of ``spec`` joined, from feature table to numeric data frame."""
    spec = spec or PrepareSpec()
    steps: list[tuple[str, Step]] = [("select", Select(spec.max_missing, spec.max_missing_static))]
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
    return Preparation(steps)


class Preparation:
    """The steps in order, each under a name: selection of columns, categories as 0/1 columns, then steps on numbers."""

    names_: list[str]

    def __init__(self, steps: Sequence[tuple[str, Any]]) -> None:
        self.steps = list(steps)

    @property
    def named_steps(self) -> dict[str, Any]:
        """The steps by name."""
        return dict(self.steps)

    def fit(self, X: pd.DataFrame, y: object = None, **_: object) -> Preparation:
        """Learn from the training rows."""
        self.learn(X)
        return self

    def learn(self, X: pd.DataFrame) -> Floats:
        """Learn from the training rows, and give them prepared, shape (n, p)."""
        select, onehot, numeric = self._parts()
        chosen = select.fit(X).transform(X)
        names, values = onehot.fit(chosen).numbers(chosen)
        for step in numeric:
            step.learn(names, values)
            names, values = step.apply(names, values)
        self.names_ = names
        return values

    def matrix(self, X: Table) -> Floats:
        """Prepared columns of any rows, shape (n, p)."""
        select, onehot, numeric = self._parts()
        names, values = onehot.numbers(select.chosen(X))
        for step in numeric:
            names, values = step.apply(names, values)
        return values

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Prepared columns of any rows as a data frame."""
        return pd.DataFrame(self.matrix(X), index=X.index, columns=self.names_)

    def fit_transform(self, X: pd.DataFrame, y: object = None, **_: object) -> pd.DataFrame:
        """Learn from the rows and give them prepared."""
        values = self.learn(X)
        return pd.DataFrame(values, index=X.index, columns=self.names_)

    def _parts(self) -> tuple[Select, OneHot, list[Numbers]]:
        select, onehot, *numeric = (step for _, step in self.steps)
        return select, onehot, numeric


def source_column(prepared: str) -> str:
    """The feature that a prepared column comes from (``static.sex=male`` -> ``static.sex``)."""
    return prepared.split("=", 1)[0]
