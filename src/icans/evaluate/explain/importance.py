"""Permutation importance of feature groups on patients whom the model has not seen, and how stable it is.

A group's values are handed to other patients (all columns of the group together, so that what belongs together stays
together); the loss of performance says what the forecast draws from it that no other group gives. Groups that stand
in for one another share the loss, and each can look unimportant: read it beside the correlated groups.

References: Breiman L, Mach Learn 2001;45:5; Fisher A et al., J Mach Learn Res 2019;20:177 (model reliance); Kendall MG,
Babington Smith B, Ann Math Stat 1939;10:275 (agreement of ranks: W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.random import stream
from icans.evaluate.brier import brier_of_status
from icans.evaluate.censoring import Floats, HorizonStatus, horizon_status
from icans.evaluate.discrimination import auc_pairs, safe_ratio
from icans.evaluate.fold_models import FoldModel, FoldModels
from icans.forecast.inputs import History, Inputs


def permutation_importance(
    models: FoldModels, groups: Mapping[str, Sequence[str]], *, landmark_h: float, repeats: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Loss of AUC and gain of Brier score when a group is permuted, in each fold.

    Parameters
    ----------
    models
        Fold models; each is asked about the patients it has not seen, at one landmark.
    groups
        Columns by group.
    landmark_h
        The landmark.
    repeats
        Permutations in each fold, averaged.

    Returns
    -------
    DataFrame
        group, fold, auc_loss, brier_gain (both: more is more important), n, events; one row for each group and fold
        in which both outcomes occur.
    """
    rows = []
    for fold, model in enumerate(models.at(landmark_h).models):
        if len(model.outcome) > 1:
            rows += _of_fold(models, model, fold, groups, repeats, seed)
    return pd.DataFrame(rows, columns=["group", "fold", "auc_loss", "brier_gain", "n", "events"])


def _of_fold(
    models: FoldModels, model: FoldModel, fold: int, groups: Mapping[str, Sequence[str]], repeats: int, seed: int
) -> list[dict[str, object]]:
    inputs, outcome = model.inputs, model.outcome
    window = float(models.horizon.window(float(outcome["landmark_h"].iloc[0])))
    status = horizon_status(outcome["time_h"], outcome["event"], window)
    if not np.nan_to_num(status.case).any() or not np.nan_to_num(status.control).any():
        return []
    auc, brier = _numbers(model.fitted.predict(inputs, models.horizon), status)
    events = int(((outcome["event"] == 1) & (outcome["time_h"] <= window)).sum())
    orders = {
        group: [stream(seed, "importance", group, fold, k).permutation(len(inputs)) for k in range(repeats)]
        for group in groups
    }
    rows: list[dict[str, object]] = []
    for group, risks in _permuted(model, groups, orders, models).items():
        changed = np.array([_numbers(risk, status) for risk in risks])
        rows.append(
            {"group": group, "fold": fold, "auc_loss": auc - float(changed[:, 0].mean()),
             "brier_gain": float(changed[:, 1].mean()) - brier, "n": len(inputs), "events": events}
        )  # fmt: skip
    return rows


def _permuted(
    model: FoldModel, groups: Mapping[str, Sequence[str]], orders: Mapping[str, list[NDArray[np.intp]]],
    models: FoldModels,
) -> dict[str, Floats]:  # fmt: skip
    """Forecasts with a group's columns (and what the stream holds of it) handed to other patients, (orders, n)."""
    inputs, n = model.inputs, len(model.inputs)
    tables = _stacked(inputs.table, groups, orders)
    if inputs.history is None:
        # One question for everything: most of a model's time goes into preparing a table.
        asked = Inputs(pd.concat(list(tables.values())), np.tile(inputs.at_h, sum(map(len, orders.values()))))
        risk = np.split(model.fitted.predict(asked, models.horizon), len(groups))
        return {group: one.reshape(-1, n) for group, one in zip(groups, risk, strict=True)}
    found = {}
    for group, columns in groups.items():
        channels = {".".join(c.split(".")[:2]) for c in columns}
        found[group] = np.stack(
            [
                model.fitted.predict(
                    Inputs(tables[group].iloc[k * n : (k + 1) * n], inputs.at_h, _handed(inputs, channels, order)),
                    models.horizon,
                )
                for k, order in enumerate(orders[group])
            ]
        )
    return found


def _stacked(
    table: pd.DataFrame, groups: Mapping[str, Sequence[str]], orders: Mapping[str, list[NDArray[np.intp]]]
) -> dict[str, pd.DataFrame]:
    """For each group the table once for every order, the group's columns in that order."""
    n, found = len(table), {}
    for group, columns in groups.items():
        plain = np.tile(np.arange(n), len(orders[group]))
        mixed = table.iloc[plain].copy()
        for column in [c for c in columns if c in table]:
            mixed[column] = table[column].array.take(np.concatenate(orders[group]))
        found[group] = mixed
    return found


def _handed(inputs: Inputs, channels: set[str], order: NDArray[np.intp]) -> History:
    """The stream with some channels of the rows' patients handed round in the given order."""
    assert inputs.history is not None  # the caller looked
    old = inputs.history
    code = {name: k for k, name in enumerate(old.patient_ids)}
    mine = np.array([code[p] for p in inputs.table.index.get_level_values("patient_id")], dtype=np.intp)
    to = np.arange(len(old.patient_ids))
    to[mine[order]] = mine  # row i gets what belonged to row order[i]
    moves = np.isin(old.channel, [k for k, name in enumerate(old.channels) if name in channels])
    patient = np.where(moves, to[old.patient], old.patient)
    sort = np.lexsort((old.value, old.available_h, old.channel, old.time_h, patient))
    return History(old.patient_ids, old.channels, patient[sort], old.channel[sort], old.time_h[sort],
                   old.available_h[sort], old.value[sort])  # fmt: skip


def _numbers(risk: Floats, status: HorizonStatus) -> tuple[float, float]:
    return (
        float(safe_ratio(*auc_pairs(risk, status.case, status.control))),
        float(brier_of_status(risk, status)[0]),
    )


def importance_summary(by_fold: pd.DataFrame, metric: str = "auc_loss") -> pd.DataFrame:
    """Mean over folds, their spread, and in how many folds a group was among the five most important.

    Returns
    -------
    DataFrame
        group, value, sd, low, high (smallest and largest fold), top (share of folds in which it is among the five
        most important), sign (share of folds in which it helped), folds; most important first.
    """
    if by_fold.empty:
        return pd.DataFrame(columns=["group", "value", "sd", "low", "high", "top", "sign", "folds"])
    wide = by_fold.pivot(index="group", columns="fold", values=metric)
    top = wide.rank(ascending=False, method="min") <= 5
    table = pd.DataFrame(
        {"value": wide.mean(axis=1), "sd": wide.std(axis=1, ddof=1), "low": wide.min(axis=1),
         "high": wide.max(axis=1), "top": top.mean(axis=1), "sign": (wide > 0).mean(axis=1),
         "folds": wide.notna().sum(axis=1)}
    )  # fmt: skip
    return table.sort_values("value", ascending=False).reset_index()


def contribution_stability(contributions: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, float]:
    """How the mean absolute contribution of each group ranks over refits.

    Parameters
    ----------
    contributions
        One table of contributions (rows: patients; columns: groups) for each refit, of the same patients.

    Returns
    -------
    (DataFrame, float)
        group, value (mean over refits of the mean absolute contribution), low, high (2.5 and 97.5 percentiles),
        rank_low, rank_high (of its rank), top (share of refits in which it is among the five largest), sign (share of
        refits in which a larger contribution went to the same patients as in the average refit: the sign of the
        correlation), largest first; and Kendall's W, the agreement of the ranks (0: none, 1: the same order always).
    """
    columns = sorted({str(c) for one in contributions for c in one.columns})
    filled = [one.reindex(columns=columns, fill_value=0.0) for one in contributions]
    size = pd.DataFrame([one.abs().mean(axis=0) for one in filled])
    ranks = size.rank(axis=1, ascending=False)
    mean = sum(filled) / len(filled)
    same = np.mean([[_same_way(one[c], mean[c]) for c in columns] for one in filled], axis=0)
    table = pd.DataFrame(
        {"group": columns, "value": size.mean().to_numpy(), "low": size.quantile(0.025).to_numpy(),
         "high": size.quantile(0.975).to_numpy(), "rank_low": ranks.quantile(0.025).to_numpy(),
         "rank_high": ranks.quantile(0.975).to_numpy(), "top": (ranks <= 5).mean().to_numpy(), "sign": same}
    )  # fmt: skip
    return table.sort_values("value", ascending=False, ignore_index=True), kendall_w(size.to_numpy())


def _same_way(one: pd.Series, mean: pd.Series) -> bool:
    a, b = one.to_numpy(dtype=float), mean.to_numpy(dtype=float)
    return bool(((a - a.mean()) * (b - b.mean())).sum() > 0)


def kendall_w(scores: Floats) -> float:
    """Kendall's coefficient of concordance of m rankings of k things, corrected for ties; scores of shape (m, k)."""
    from scipy.stats import rankdata

    m, k = scores.shape
    if m < 2 or k < 2:
        return float("nan")
    ranks = np.apply_along_axis(rankdata, 1, scores)
    spread = ((ranks.sum(axis=0) - m * (k + 1) / 2) ** 2).sum()
    ties = sum(float((counts**3 - counts).sum()) for counts in (np.unique(r, return_counts=True)[1] for r in ranks))
    whole = m**2 * (k**3 - k) - m * ties
    return float(12 * spread / whole) if whole > 0 else float("nan")
