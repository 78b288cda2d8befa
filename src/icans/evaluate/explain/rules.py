"""A few rules that come near to a model: a shallow tree fitted to its forecasts, with how near it comes.

The tree explains the *model*, not the disease, and only as far as its fidelity goes.

Reference: Craven MW, Shavlik JW, NIPS 1996 (trees extracted from trained models).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.calibration import logit
from icans.evaluate.censoring import Floats

#: Depth of the tree and least share of rows in a leaf: at most eight rules that each speak of one row in twenty.
DEPTH = 3
LEAF_SHARE = 0.05
FOLDS = 5
#: A split that explains less (of the variance of the log odds) is rounding.
LEAST_GAIN = 1e-6
#: Fidelity below which rules are not to be read.
FAITHFUL = 0.5


@dataclass(frozen=True)
class Rules:
    """Result of :func:`rule_summary`.

    Attributes
    ----------
    table
        rule (text), n, share (of rows), risk (mean forecast of the model among them), low, high (10th and 90th
        centile of it), highest risk first.
    fidelity
        Share of the variance of the model's log odds that the tree explains, on patients that the tree was not
        fitted to (R squared).
    sentence
        What may be read from it.
    """

    table: pd.DataFrame
    fidelity: float
    sentence: str


def rule_summary(table: pd.DataFrame, risk: Floats, *, depth: int = DEPTH, seed: int = 0) -> Rules:
    """Fit a shallow tree to a model's forecasts.

    Parameters
    ----------
    table
        Feature table (index patient_id, landmark_h); text columns become one yes/no a value; a missing number is
        filled with the median of the others, and the rule says nothing of it.
    risk
        The model's forecasts, shape (n,).
    depth
        Greatest number of conditions in a rule.
    seed
        Names the folds of the fidelity.

    Raises
    ------
    NotEstimableError
        All forecasts are equal, or there are fewer than 40 rows.
    """
    from sklearn.tree import DecisionTreeRegressor

    target = logit(np.asarray(risk, dtype=float))
    if len(target) < 40 or np.ptp(target) < 1e-9:
        raise NotEstimableError("rules need 40 forecasts that differ")
    x = _numbers(table)
    tree = DecisionTreeRegressor(
        max_depth=depth, min_samples_leaf=LEAF_SHARE, min_impurity_decrease=LEAST_GAIN, random_state=0
    )
    patients = table.index.get_level_values("patient_id").to_numpy().astype(str)
    fidelity = _fidelity(tree, x.to_numpy(), target, patients, seed)
    tree.fit(x.to_numpy(), target)
    leaf = tree.apply(x.to_numpy())
    rules = _paths(tree.tree_, list(x.columns))
    rows = []
    for node in np.unique(leaf):
        mine = np.asarray(risk)[leaf == node]
        low, high = np.quantile(mine, (0.1, 0.9))
        rows.append(
            {"rule": " and ".join(rules[int(node)]) or "everyone", "n": len(mine), "share": len(mine) / len(target),
             "risk": float(mine.mean()), "low": float(low), "high": float(high)}
        )  # fmt: skip
    shown = pd.DataFrame(rows).sort_values("risk", ascending=False, ignore_index=True)
    return Rules(shown, fidelity, _sentence(fidelity, len(shown)))


def _sentence(fidelity: float, count: int) -> str:
    share = f"{max(fidelity, 0.0):.0%} of the variation of the model's forecasts (log odds), on other patients"
    if fidelity < FAITHFUL:
        return f"A tree of {count} rules reproduces only {share}: the model cannot be summed up in so few rules."
    return f"A tree of {count} rules reproduces {share}. The rules describe the model, not the disease."


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Numeric columns: text as yes/no, missing as the median; columns without a value or without spread go."""
    columns: dict[str, Floats] = {}
    for name in table.columns:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values):
            number = values.to_numpy(dtype=float)
            if np.isfinite(number).any():
                columns[str(name)] = np.where(np.isfinite(number), number, np.nanmedian(number))
            continue
        for level in sorted(values.dropna().astype(str).unique()):
            columns[f"{name} = {level}"] = (values.astype(str) == level).to_numpy(dtype=float)
    frame = pd.DataFrame(columns, index=table.index)
    return frame.loc[:, frame.nunique() > 1]


def _fidelity(tree: Any, x: Floats, target: Floats, patients: np.ndarray, seed: int) -> float:
    """R squared on patients left out of the tree's fit."""
    from sklearn.base import clone

    ids = np.unique(patients)
    fold_of = dict(zip(stream(seed, "rules").permutation(ids).tolist(), np.arange(len(ids)) % FOLDS, strict=True))
    fold = np.array([fold_of[p] for p in patients.tolist()])
    guess = np.empty(len(target))
    for k in range(FOLDS):
        guess[fold == k] = clone(tree).fit(x[fold != k], target[fold != k]).predict(x[fold == k])
    return float(1 - ((target - guess) ** 2).sum() / ((target - target.mean()) ** 2).sum())


def _paths(tree: Any, names: list[str]) -> dict[int, list[str]]:
    """Conditions on the way to each leaf; of several on one feature the tightest are kept."""
    found: dict[int, list[str]] = {}

    def walk(node: int, bounds: dict[str, tuple[float, float]]) -> None:
        if tree.children_left[node] == -1:
            found[node] = [_condition(name, *ends) for name, ends in bounds.items()]
            return
        name, cut = names[tree.feature[node]], float(tree.threshold[node])
        low, high = bounds.get(name, (-np.inf, np.inf))
        walk(int(tree.children_left[node]), {**bounds, name: (low, min(high, cut))})
        walk(int(tree.children_right[node]), {**bounds, name: (max(low, cut), high)})

    walk(0, {})
    return found


def _condition(name: str, low: float, high: float) -> str:
    if " = " in name:
        return name if low >= 0 else name.replace(" = ", " is not ")
    if np.isinf(low):
        return f"{name} ≤ {high:.4g}"
    return f"{name} > {low:.4g}" if np.isinf(high) else f"{low:.4g} < {name} ≤ {high:.4g}"
