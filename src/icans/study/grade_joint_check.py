"""The joint grade model against the rivals of the daily grade path, for patients that no fit has seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.forecast.grade_path import PATH_LADDER, _forecast_path
from icans.forecast.tuning import patient_folds
from icans.population.fit.result import Fit
from icans.population.nlme.records import Records
from icans.study.grade_joint import NOON, TOP, Origin, grade_forecasts, ranked_probability_score

Array = npt.NDArray[np.float64]

JOINT = "joint model"
KEYS = ["id", "day", "ahead"]


def path_of(records: Records, toxicity: str = "ICANS", split: str = "CRS") -> pd.DataFrame:
    """Daily grades as :mod:`icans.forecast.grade_path` takes them; split: a CRS of grade 2 or more so far."""
    frame = records.frame()
    day = np.floor((frame["time_h"] - NOON) / 24.0 + 1e-9).astype(int)
    frame = frame.assign(day=day).rename(columns={"id": "patient_id"})
    own = frame[frame["observable"] == toxicity].sort_values(["patient_id", "day"])
    other = frame[(frame["observable"] == split) & (frame["value"] >= 2.0)].groupby("patient_id")["day"].min()
    since = own["patient_id"].map(other).fillna(np.inf)
    made = pd.DataFrame({"patient_id": own["patient_id"], "day": own["day"], "state": own["value"].astype(int)})
    return made.assign(split=(since <= own["day"]).astype(int)).reset_index(drop=True)


def cross_validated_grades(
    fitter: Callable[[Records, int], Fit], records: Records, *, toxicity: str = "ICANS", folds: int = 5, seed: int,
    origin: Origin | None = None, store: Checkpoints | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Forecasts of all models on the same days: ``model, fold, id, day, ahead, today, observed, p0 .. p3, rps``."""
    path = path_of(records, toxicity)
    worst = path.groupby("patient_id")["state"].max().clip(upper=TOP).replace({2: 1})
    fold_of = patient_folds(worst, folds, stream(seed, "grade folds"))
    number = np.array([int(fold_of[i]) for i in records.ids])
    parts = []
    for fold in range(folds):

        def work(fold: int = fold) -> pd.DataFrame:
            return _fold(fitter, records, path, number, fold, toxicity, origin or Origin(), seed)

        done = work() if store is None else store.step(f"grades-{fold}", work, depends=[records.digest(), seed])
        parts.append(done)
    return pd.concat(parts, ignore_index=True)


def _fold(
    fitter: Callable[[Records, int], Fit], records: Records, path: pd.DataFrame, number: npt.NDArray[np.int64],
    fold: int, toxicity: str, origin: Origin, seed: int,
) -> pd.DataFrame:  # fmt: skip
    held = records.subset(np.flatnonzero(number == fold))
    fit = fitter(records.subset(np.flatnonzero(number != fold)), fold)
    mine = grade_forecasts(fit, held, toxicity, origin=origin, seed=seed).assign(model=JOINT)
    inside = path["patient_id"].isin(held.ids)
    parts = [mine]
    for model in PATH_LADDER:
        made = _forecast_path(model.fit(path[~inside]), path[inside], origin.ahead)
        top = made[[f"p{g}" for g in range(TOP, 6)]].sum(axis=1)
        made = pd.DataFrame({
            "id": made["patient_id"], "day": (made["landmark_h"] / 24.0 - 1.0).round().astype(int),
            "ahead": (made["horizon_h"] / 24.0).round().astype(int), "today": made["today"],
            "observed": made["observed"], **{f"p{g}": made[f"p{g}"] for g in range(TOP)}, f"p{TOP}": top,
        })  # fmt: skip
        parts.append(made[made["day"].isin(origin.days)].assign(model=model.name))
    out = pd.concat(parts, ignore_index=True).assign(fold=fold)
    return out.assign(rps=ranked_probability_score(out))


def compared(forecasts: pd.DataFrame, *, seed: int, resamples: int = 2000) -> pd.DataFrame:
    """Mean RPS by days ahead and model, and the joint model's difference with a 95 % paired bootstrap of patients."""
    rows = []
    for ahead, own in forecasts.groupby("ahead"):
        wide = own.pivot_table(index=["id", "day"], columns="model", values="rps").dropna()
        sums = wide.groupby("id").sum()
        count = wide.groupby("id").size().to_numpy(float)
        drawn = stream(seed, "grade bootstrap", int(ahead)).multinomial(
            len(sums), np.full(len(sums), 1 / len(sums)), resamples
        )  # fmt: skip
        for model in wide.columns:
            gap = (sums[JOINT] - sums[model]).to_numpy()
            low, high = np.quantile((drawn @ gap) / (drawn @ count), [0.025, 0.975])
            rows.append({
                "ahead": int(ahead), "model": model, "forecasts": len(wide), "patients": len(sums),
                "rps": float(wide[model].mean()), "difference": float(gap.sum() / count.sum()), "low95": float(low),
                "high95": float(high),
            })  # fmt: skip
    return pd.DataFrame(rows)


def calibration(
    forecasts: pd.DataFrame, *, threshold: int = 1, edges: tuple[float, ...] = (0, 0.05, 0.2, 0.5, 1.0)
) -> pd.DataFrame:
    """Predicted and observed shares of grades at or above a threshold, by model and bin of the prediction."""
    chance = forecasts[[f"p{g}" for g in range(threshold, TOP + 1)]].sum(axis=1).clip(0.0, 1.0)
    bins = pd.cut(chance, list(edges), include_lowest=True)
    table = forecasts.assign(chance=chance, happened=forecasts["observed"] >= threshold, bin=bins.astype(str))
    out = table.groupby(["model", "bin"]).agg(
        forecasts=("chance", "size"), predicted=("chance", "mean"), observed=("happened", "mean")
    )  # fmt: skip
    return out.reset_index()
