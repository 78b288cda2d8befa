"""A stack from stored predictions of a cross-validation: of models that are too slow to fit again inside each fold.

The predictions of each fold were made by models that had not seen its patients. Weights for a fold are learned from
the predictions of the other folds, and applied to it. The models behind those other predictions had seen the fold's
patients (each left out its own fold only), so that the weights know them at second hand: a handful of weights can
learn next to nothing that way, but :class:`icans.forecast.integrate.stack.Stack`, which fits everything anew, is the
strict way and is to be preferred where it is affordable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import DataError, Problem
from icans.core.random import stream
from icans.forecast.integrate.members import MAX_DEVIATION
from icans.forecast.integrate.stack import level_of
from icans.forecast.integrate.weights import SPREADS, Level, fit_combiner
from icans.forecast.models.base import DayBaseline
from icans.forecast.models.coherent import isotonic
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, log_odds
from icans.forecast.tuning import ever_event, patient_folds

Floats = NDArray[np.float64]

KEYS = ["patient_id", "landmark_h"]


def stack_predictions(
    predictions: pd.DataFrame,
    models: Sequence[str] | None = None,
    *,
    name: str = "stack",
    spreads: Sequence[float] = SPREADS,
    folds: int = 5,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of a stack over models whose out-of-fold predictions are in one tidy table.

    Parameters
    ----------
    predictions
        Columns task, model, landmark_h, horizon_h, repeat, fold, patient_id, risk, time_h, event
        (:data:`icans.forecast.crossval.PREDICTION_COLUMNS`); every model in the same folds.
    models
        Models to stack; None: all.
    name
        Name of the stack in the result.
    spreads, folds, seed
        How the prior of the weights is chosen (:func:`icans.forecast.integrate.weights.fit_combiner`).

    Returns
    -------
    (predictions, weights)
        The stack's predictions in the same columns; task, repeat, fold, model, weight (where all models speak).

    Raises
    ------
    DataError
        A patient is in different folds for different models, or a model is not in the table.
    """
    chosen = list(dict.fromkeys(predictions["model"])) if models is None else list(models)
    _check(predictions, chosen)
    mine = predictions[predictions["model"].isin(chosen)]
    made, shares = [], []
    for (task, repeat), part in mine.groupby(["task", "repeat"], sort=True):
        table = _Crossed.of(part, chosen)
        for fold in np.unique(table.fold):
            risk, weight = table.applied(int(fold), spreads, folds, seed)
            rows = table.rows(int(fold), risk)
            made.append(rows.assign(task=task, model=name, repeat=repeat, fold=fold))
            shares.append(pd.DataFrame({"task": task, "repeat": repeat, "fold": fold, "model": chosen,
                                        "weight": weight}))  # fmt: skip
    columns = [c for c in predictions.columns if c in made[0].columns]
    return pd.concat(made, ignore_index=True)[columns], pd.concat(shares, ignore_index=True)


def _check(predictions: pd.DataFrame, chosen: list[str]) -> None:
    problems = [
        Problem("prediction table", None, "model", name, "a model of the table", "Name one that was predicted.")
        for name in chosen
        if name not in set(predictions["model"])
    ]
    mine = predictions[predictions["model"].isin(chosen)]
    count = mine.groupby(["task", "repeat", "patient_id"])["fold"].nunique()
    problems += [
        Problem("prediction table", None, "fold", f"{n} folds for patient {key[2]}", "the same fold in every model",
                "Cross-validate all models with one plan of folds.")
        for key, n in count[count > 1].items()
    ]  # fmt: skip
    if problems:
        raise DataError(problems)


class _Crossed:
    """One task and repeat as arrays: rows (patient, landmark), models, windows."""

    def __init__(self, outcome: pd.DataFrame, fold: NDArray[np.intp], windows: Floats, risk: Floats) -> None:
        self.outcome, self.fold, self.windows, self.risk = outcome, fold, windows, risk
        self.horizons = [Horizon(float(h)) for h in windows]

    @classmethod
    def of(cls, part: pd.DataFrame, models: list[str]) -> _Crossed:
        outcome = part.drop_duplicates(KEYS).sort_values(["landmark_h", "patient_id"], ignore_index=True)
        windows = np.sort(part["horizon_h"].unique())
        row = pd.MultiIndex.from_frame(outcome[KEYS]).get_indexer(pd.MultiIndex.from_frame(part[KEYS]))
        risk = np.full((len(outcome), len(models), len(windows)), np.nan)
        model = pd.Index(models).get_indexer(part["model"])
        risk[row, model, np.searchsorted(windows, part["horizon_h"])] = part["risk"].to_numpy(dtype=float)
        kept = outcome[[*KEYS, "time_h", "event"]]
        return cls(kept, outcome["fold"].to_numpy(dtype=np.intp), windows, risk)

    def applied(self, fold: int, spreads: Sequence[float], folds: int, seed: int) -> tuple[Floats, Floats]:
        """Risks of one fold by weights of the others, (rows of the fold, windows), and the weights."""
        train, test = self.fold != fold, self.fold == fold
        known = self.outcome[train].reset_index(drop=True)
        baseline = DayBaseline.fit(known, self.horizons)
        frames = [self.outcome[mask].set_index(KEYS) for mask in (train, test)]
        days = [np.column_stack([baseline.logit(f, h) for h in self.horizons]) for f in frames]
        said = [
            np.clip(log_odds(self.risk[m]) - d[:, None, :], -MAX_DEVIATION, MAX_DEVIATION)
            for m, d in zip((train, test), days, strict=True)
        ]
        level = level_of(known, self.horizons, days[0], said[0])
        asked = np.isfinite(self.risk[train]).any(axis=1)
        level = Level(level.day, level.deviation, level.status, level.weight * asked, level.patient)
        inner = patient_folds(ever_event(known), folds, stream(seed, "stack of predictions", fold))
        combiner = fit_combiner(
            level, np.ones(self.risk.shape[1]), known["patient_id"].map(inner).to_numpy(dtype=np.intp), spreads=spreads
        )
        risk = isotonic(expit(combiner.logit(days[1], said[1])))
        every = combiner.weights(np.ones((1, self.risk.shape[1]), dtype=bool))[0]
        return risk, every

    def rows(self, fold: int, risk: Floats) -> pd.DataFrame:
        """Long table of the fold's risks, where some model had one."""
        test = self.fold == fold
        asked = np.isfinite(self.risk[test]).any(axis=1)
        base = self.outcome[test].reset_index(drop=True)
        parts = [
            base[asked[:, k]].assign(horizon_h=float(h), risk=risk[asked[:, k], k]) for k, h in enumerate(self.windows)
        ]
        return pd.concat(parts, ignore_index=True)
