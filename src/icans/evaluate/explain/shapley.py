"""Shapley values of feature groups for any model: exact for few groups, antithetic permutations for many.

The game: the forecast (on the log odds) when the groups of a coalition have the patient's values and all others those
of a background patient, averaged over the background. Values add up: their sum is the patient's log odds less the
mean over the background.

References: Shapley LS 1953; Lundberg SM, Lee SI, NeurIPS 2017 (SHAP); Mitchell R et al., J Mach Learn Res 2022;23:43
(antithetic permutations). Linear models have a closed form (coefficient times distance from the background's mean) and
tree ensembles their own algorithm (Lundberg SM et al., Nat Mach Intell 2020;2:56); both come with the models
(``Fitted.reasons``) and are summed by group with :func:`by_group`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.evaluate.calibration import logit
from icans.evaluate.censoring import Floats

#: Groups up to which every coalition is asked (1,024 at ten).
EXACT_UP_TO = 10
#: Rows of one question to the model: bounds memory.
BLOCK = 20_000

Predict = Callable[[pd.DataFrame], Floats]


def shapley(
    predict: Predict,
    table: pd.DataFrame,
    background: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    *,
    permutations: int = 32,
    seed: int = 0,
    scale: str = "logit",
) -> pd.DataFrame:
    """Shapley value of every group for every row.

    Parameters
    ----------
    predict
        Risk of each row of a feature table, shape (n,).
    table
        Rows to explain.
    background
        Rows that stand for what is usual (training patients).
    groups
        Columns by group; columns in no group keep the patient's values.
    permutations
        Pairs of a permutation and its reverse, where there are more than :data:`EXACT_UP_TO` groups.
    seed
        Names the permutations.
    scale
        ``"logit"`` or ``"risk"``.

    Returns
    -------
    DataFrame
        Index of ``table``, one column a group.
    """
    if scale not in ("logit", "risk"):
        raise ValueError(f"scale must be 'logit' or 'risk'; got {scale!r}")
    names = list(groups)
    game = _Game(predict, background, [list(groups[name]) for name in names], scale)
    rows = []
    for k in range(len(table)):
        row = table.iloc[[k]]
        exact = len(names) <= EXACT_UP_TO
        rows.append(_exact(game, row) if exact else _sampled(game, row, permutations, seed))
    return pd.DataFrame(rows, index=table.index, columns=names)


def by_group(contributions: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Contributions of columns (``Fitted.reasons``) summed over groups; columns in no group keep their name."""
    place = {column: name for name, columns in groups.items() for column in columns}
    return contributions.T.groupby([place.get(str(c), str(c)) for c in contributions.columns], sort=False).sum().T


class _Game:
    """Value of coalitions for one row, asked in blocks."""

    def __init__(self, predict: Predict, background: pd.DataFrame, columns: list[list[str]], scale: str) -> None:
        self.predict, self.background, self.columns, self.scale = predict, background, columns, scale
        self.size = len(columns)

    def values(self, row: pd.DataFrame, coalitions: np.ndarray) -> Floats:
        """Mean forecast for each coalition, shape (m,); ``coalitions`` is (m, groups) of bool."""
        n = len(self.background)
        step = max(1, BLOCK // n)
        found = []
        for start in range(0, len(coalitions), step):
            block = coalitions[start : start + step]
            stacked = self.background.iloc[np.tile(np.arange(n), len(block))].copy()
            # Which rows are patients matters to the models' landmark: every row carries the patient's own.
            stacked.index = row.index.repeat(len(stacked))
            for g, columns in enumerate(self.columns):
                mine = np.repeat(block[:, g], n)
                for column in columns:
                    stacked[column] = _mixed(stacked[column], row[column], mine)
            for column in set(row.columns) - {c for columns in self.columns for c in columns}:
                stacked[column] = _mixed(stacked[column], row[column], np.ones(len(stacked), dtype=bool))
            risk = np.asarray(self.predict(stacked), dtype=float)
            out = logit(risk) if self.scale == "logit" else risk
            found.append(out.reshape(len(block), n).mean(axis=1))
        return np.concatenate(found)


def _mixed(background: pd.Series, row: pd.Series, mine: np.ndarray) -> pd.Series:
    """The background's column with the row's value where ``mine``."""
    if isinstance(background.dtype, pd.CategoricalDtype):
        codes = background.cat.codes.to_numpy().copy()
        known = background.cat.categories.get_indexer([row.iloc[0]])[0] if pd.notna(row.iloc[0]) else -1
        codes[mine] = known
        mixed = pd.Categorical.from_codes(codes, dtype=background.dtype)
        return pd.Series(mixed, index=background.index)
    values = background.to_numpy(copy=True)
    values[mine] = row.iloc[0]
    return pd.Series(values, index=background.index)


def _exact(game: _Game, row: pd.DataFrame) -> Floats:
    """Every coalition, weighted by how many orders lead to it."""
    m = game.size
    if m == 0:
        return np.empty(0)
    coalitions = ((np.arange(2**m)[:, None] >> np.arange(m)) & 1).astype(bool)
    value = game.values(row, coalitions)
    found = np.zeros(m)
    for g in range(m):
        others = [k for k in range(m) if k != g]
        for size in range(m):
            weight = 1.0 / (m * comb(m - 1, size))
            for chosen in combinations(others, size):
                index = sum(1 << k for k in chosen)
                found[g] += weight * (value[index | (1 << g)] - value[index])
    return found


def _sampled(game: _Game, row: pd.DataFrame, permutations: int, seed: int) -> Floats:
    """Mean gain of each group over permutations and their reverses (the same ones for every row)."""
    m = game.size
    found = np.zeros(m)
    for k in range(permutations):
        order = stream(seed, "shapley", k).permutation(m)
        for one in (order, order[::-1]):
            coalitions = np.zeros((m + 1, m), dtype=bool)
            for step, g in enumerate(one):
                coalitions[step + 1 :, g] = True
            value = game.values(row, coalitions)
            found[one] += np.diff(value)
    return found / (2 * permutations)
