"""The grade path by ordinal regression: a Markov chain, moved for each patient by what is known of them.

The chain of :class:`icans.forecast.grade_path.MarkovPath` gives the distribution ``ahead`` days later for anyone with
today's grade on that day. The cumulative log odds of that distribution are moved by a ridge-penalised linear
predictor (:mod:`icans.forecast.filters.tilt`) of the path so far, newest results, other toxicities and drugs. One
model serves all days ahead: each effect has a part that is the same for all of them and a part that grows with the
logarithm of the days ahead; the second is held more tightly. Offsets come from chains that were fitted without the
patient (cross-fitting), since a chain knows its own patients too well; the penalty is chosen in the same folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotFittedError
from icans.core.random import stream
from icans.forecast.filters.days import covariates, so_far
from icans.forecast.filters.tilt import cut_logits, fit_tilt, tilted
from icans.forecast.grade_path import STATES, MarkovPath
from icans.forecast.preprocess import Preparation, preprocessor
from icans.forecast.tuning import patient_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Penalties tried, from nearly the chain itself to nearly free effects (standardised columns, mean log likelihood).
PENALTIES = (3.0, 0.3, 0.1, 0.03)
#: Parts of an effect that grow with the days ahead are held this much more tightly than the common part.
TIGHTER = 4.0


@dataclass(frozen=True)
class OrdinalPath:
    """Ordinal regression on the log odds of a Markov chain.

    Parameters
    ----------
    name
        For tables.
    columns
        Feature columns of the path to use, those that are absent left out; None: all that the path carries. The
        path's own history is always used.
    days_ahead
        Days ahead that the fit learns from; others are read off the same coefficients.
    penalties
        From the strongest to the weakest; chosen by ranked probability score in inner folds.
    folds, seed
        Inner folds, patients together.
    """

    name: str = "ordinal"
    columns: tuple[str, ...] | None = None
    days_ahead: tuple[int, ...] = (1, 2, 3, 5, 7)
    penalties: tuple[float, ...] = PENALTIES
    folds: int = 5
    seed: int = 1
    by_split: bool = False
    chain: MarkovPath | None = None
    prepared: Preparation | None = None
    coefficients: Floats | None = None
    penalty: float = np.nan

    def fit(self, path: pd.DataFrame) -> OrdinalPath:
        """Choose the penalty in inner folds, then fit on all of the training patients."""
        path = path.reset_index(drop=True)
        prepared = preprocessor()
        X = prepared.learn(self._features(path))
        pairs = _pairs(path, self.days_ahead)
        worst = path.groupby("patient_id")["state"].max().clip(upper=3).replace({2: 1})
        folds = min(self.folds, len(worst))
        dealt = patient_folds(worst, folds, stream(self.seed, "ordinal path"))
        fold = path["patient_id"].map(dealt).to_numpy(dtype=np.intp)[pairs.row]
        offset = self._offsets(path, pairs, fold, folds)
        design = _design(X[pairs.row], pairs.ahead)
        chosen = self._choose(design, offset, pairs.observed, fold, folds)
        beta = self._coefficients(design, offset, pairs.observed)[chosen]
        return replace(
            self, chain=MarkovPath(by_split=self.by_split).fit(path), prepared=prepared, coefficients=beta,
            penalty=self.penalties[chosen],
        )  # fmt: skip

    def predict_path(self, path: pd.DataFrame, ahead: int) -> Floats:
        """Distribution over grades ``ahead`` days after each row, shape (n, 6)."""
        if self.chain is None or self.prepared is None or self.coefficients is None:
            raise NotFittedError("fit the grade path model first")
        X = self.prepared.matrix(self._features(path))
        design = _design(X, np.full(len(path), ahead, dtype=np.intp))
        return tilted(cut_logits(_chain(self.chain, path, ahead)), design @ self.coefficients)

    def effects(self) -> pd.DataFrame:
        """Coefficients on the cumulative log odds per SD: ``name``, ``effect`` a day ahead, ``per_log_day``."""
        if self.prepared is None or self.coefficients is None:
            raise NotFittedError("fit the grade path model first")
        half = (len(self.coefficients) - 2) // 2
        names = list(self.prepared.names_)
        return pd.DataFrame(
            {"name": names, "effect": self.coefficients[2 : 2 + half], "per_log_day": self.coefficients[2 + half :]}
        )

    def _features(self, path: pd.DataFrame) -> pd.DataFrame:
        names = covariates(path) if self.columns is None else [c for c in self.columns if c in path.columns]
        own = so_far(path).add_prefix("grade.path.")
        own["grade.path.today"] = path["state"].astype(float)
        return pd.concat([own, path[names]], axis=1)

    def _offsets(self, path: pd.DataFrame, pairs: _Pairs, fold: Ints, folds: int) -> Floats:
        out = np.empty((len(pairs.row), STATES - 1))
        patient_fold = np.empty(len(path), dtype=np.intp)
        patient_fold[pairs.row] = fold
        for k in range(folds):
            held = np.unique(path["patient_id"].to_numpy()[pairs.row[fold == k]])
            inside = path["patient_id"].isin(held).to_numpy()
            chain = MarkovPath(by_split=self.by_split).fit(path[~inside])
            for ahead in self.days_ahead:
                mine = (fold == k) & (pairs.ahead == ahead)
                if mine.any():
                    out[mine] = cut_logits(_chain(chain, path.iloc[pairs.row[mine]], ahead))
        return out

    def _choose(self, design: Floats, offset: Floats, observed: Ints, fold: Ints, folds: int) -> int:
        if len(self.penalties) == 1:
            return 0
        score = np.zeros(len(self.penalties))
        for k in range(folds):
            test = fold == k
            if test.any() and (~test).any():
                for j, beta in enumerate(self._coefficients(design[~test], offset[~test], observed[~test])):
                    score[j] += _rps_sum(tilted(offset[test], design[test] @ beta), observed[test])
        return int(np.argmin(score))

    def _coefficients(self, design: Floats, offset: Floats, observed: Ints) -> list[Floats]:
        """One solution for each penalty, each starting from the one before."""
        half = (design.shape[1] - 2) // 2
        shape = np.concatenate([[0.01, 0.01], np.ones(half), np.full(half, TIGHTER)])
        beta, found = None, []
        for penalty in self.penalties:
            beta = fit_tilt(design, offset, observed, penalty * shape, start=beta)
            found.append(beta)
        return found


@dataclass(frozen=True)
class _Pairs:
    """Training examples: the row of a path, how many days ahead, the grade that was seen then."""

    row: Ints
    ahead: Ints
    observed: Ints


def _pairs(path: pd.DataFrame, days_ahead: tuple[int, ...]) -> _Pairs:
    parts = list(_each(path, days_ahead))
    row, ahead, observed = (np.concatenate([part[k] for part in parts]).astype(np.intp) for k in range(3))
    return _Pairs(row, ahead, observed)


def _each(path: pd.DataFrame, days_ahead: tuple[int, ...]) -> Iterator[tuple[Ints, Ints, Ints]]:
    own = path[["patient_id", "day"]].assign(row=np.arange(len(path)))
    for ahead in days_ahead:
        later = path[["patient_id", "day", "state"]].assign(day=path["day"] - ahead)
        pair = own.merge(later, on=["patient_id", "day"])
        yield pair["row"].to_numpy(), np.full(len(pair), ahead), pair["state"].to_numpy()


def _chain(chain: MarkovPath, path: pd.DataFrame, ahead: int) -> Floats:
    day, state, split = (path[name].to_numpy(dtype=np.intp) for name in ("day", "state", "split"))
    return chain.predict(state, day, split, ahead)


def _design(X: Floats, ahead: Ints) -> Floats:
    """Intercept, log days ahead, features, features x log days ahead."""
    log_ahead = np.log(ahead.astype(float))[:, None]
    return np.concatenate([np.ones((len(X), 1)), log_ahead, X, X * log_ahead], axis=1)


def _rps_sum(chance: Floats, observed: Ints) -> float:
    reached = np.arange(STATES - 1)[None] >= observed[:, None]
    return float(((np.cumsum(chance, axis=1)[:, :-1] - reached) ** 2).sum())
