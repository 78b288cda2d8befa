"""Forecasts of courses for left-out patients: the population refitted without them, and rivals without a mechanism.

Every fold's population is fitted to the other patients alone. A left-out patient contributes what was available by the
landmark; later values judge. Scores are on ln(value), censored values by what the assay can show
(:mod:`icans.evaluate.crps`). Treatment after the landmark is not known to any forecaster: forecasts are "under usual
care".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.evaluate.crps import covered, crps
from icans.forecast.course_rivals import KERNELS, carried_forward, fit_gaussian
from icans.population.fit.result import Fit
from icans.population.nlme.records import Records
from icans.population.posterior.courses import forecast_courses
from icans.population.posterior.individual import individual_posterior

Array = npt.NDArray[np.float64]

MECHANISM, CARRIED = "patient model", "last value carried forward"


@dataclass(frozen=True)
class Task:
    """What is forecast: observables ``names`` at days in ``(first_day, last_day)``, from data by ``landmark_h``."""

    names: tuple[str, ...]
    landmark_h: float
    first_day: float
    last_day: float
    draws: int = 512


def folds_of(records: Records, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Fold of every subject, (N,): random, sizes as equal as they can be."""
    order = stream(seed, "course folds").permutation(len(records))
    out = np.empty(len(records), dtype=np.int64)
    out[order] = np.arange(len(records)) % count
    return out


def cross_validated(
    fitter: Callable[[Records, int], Fit], records: Records, task: Task, *, folds: int = 5, seed: int,
    store: Checkpoints | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Scores of all forecasters for every later value: ``id, fold, name, day, model, crps, covered, censored``.

    ``fitter(records, fold)`` fits the population to training records. ``id`` is a running number, not the patient's.
    """
    which = folds_of(records, folds, seed)
    parts = []
    for fold in range(folds):

        def work(fold: int = fold) -> pd.DataFrame:
            return _fold(
                fitter, records, np.flatnonzero(which != fold), np.flatnonzero(which == fold), fold, task, seed
            )

        parts.append(
            work() if store is None else store.step(f"fold-{fold}", work, depends=[records.digest(), task, seed])
        )
    return pd.concat(parts, ignore_index=True)


def _fold(
    fitter: Callable[[Records, int], Fit], records: Records, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64],
    fold: int, task: Task, seed: int,
) -> pd.DataFrame:  # fmt: skip
    learned, held = records.subset(train), records.subset(test)
    fit = fitter(learned, fold)
    rows = []
    for name in task.names:
        rows += _rivals(learned, held, test, name, task)
    rows += _mechanism(fit, held, test, task, seed)
    return pd.DataFrame(rows).assign(fold=fold)


def limits(records: Records, name: str) -> tuple[float, float]:
    """Floor and ceiling of an observable in these records: medians of its limits, 0 and infinite where it has none."""
    frame = records.frame()
    own = frame[frame["observable"] == name]
    low, high = own.loc[own["censor"] == "left", "value"], own.loc[own["censor"] == "right", "value"]
    return (float(low.median()) if len(low) else 0.0), (float(high.median()) if len(high) else np.inf)


def targets(held: Records, i: int, name: str, task: Task) -> pd.DataFrame:
    """Values of subject ``i`` to be forecast."""
    table = held.subjects[i].observations
    day = table["time_h"] / 24.0
    later = table["available_h"].fillna(table["time_h"]) > task.landmark_h
    return table[(table["observable"] == name) & later & (day >= task.first_day) & (day <= task.last_day)]


def _mechanism(fit: Fit, held: Records, test: npt.NDArray[np.int64], task: Task, seed: int) -> list[dict[str, object]]:
    posterior = individual_posterior(fit, held, task.landmark_h, seed=seed, draws=task.draws)
    wanted = [targets(held, i, n, task) for i in range(len(held)) for n in task.names]
    hours = np.unique(np.concatenate([w["time_h"].to_numpy(float) for w in wanted]))
    courses = forecast_courses(fit, posterior, held, hours, seed=seed, names=task.names)
    rows = []
    for i in range(len(held)):
        for j, name in enumerate(task.names):
            own = targets(held, i, name, task)
            at = np.searchsorted(hours, own["time_h"].to_numpy(float))
            with np.errstate(divide="ignore"):
                draws = np.log(courses.values[i][:, at, j].T)
            weights = np.tile(courses.weights[i], (len(own), 1))
            rows += _scored(draws, weights, own, name, MECHANISM, int(test[i]), held)
    return rows


def _rivals(
    learned: Records, held: Records, test: npt.NDArray[np.int64], name: str, task: Task
) -> list[dict[str, object]]:
    train = [_series(learned, i, name) for i in range(len(learned))]
    gaussian = {model: fit_gaussian(model, train) for model in KERNELS}
    known = held.until(task.landmark_h)
    landmark_day = task.landmark_h / 24.0 - 1.0
    rows = []
    for i in range(len(held)):
        own, target = _series(known, i, name), targets(held, i, name, task)
        days = target["time_h"].to_numpy(float) / 24.0
        made = {model: g.forecast(own, days) for model, g in gaussian.items()}
        made[CARRIED] = carried_forward(train, own, days, max(landmark_day, 0.0))
        for model, draws in made.items():
            weights = np.full(draws.shape, 1.0 / draws.shape[1])
            rows += _scored(draws, weights, target, name, model, int(test[i]), held)
    return rows


def _series(records: Records, i: int, name: str) -> tuple[Array, Array]:
    table = records.subjects[i].observations
    own = table[table["observable"] == name]
    return own["time_h"].to_numpy(float) / 24.0, np.log(own["value"].to_numpy(float))


def _scored(
    draws: Array, weights: Array, own: pd.DataFrame, name: str, model: str, number: int, held: Records
) -> list[dict[str, object]]:
    if own.empty:
        return []
    y = np.log(own["value"].to_numpy(float))
    low, high = limits(held, name)
    with np.errstate(divide="ignore"):
        # A value beyond the usual limit was diluted or run on another plate: its own limit is its value.
        bottom = np.minimum(np.log(low), y)
        top = np.maximum(np.log(high), y)
    bottom = np.where(own["censor"] == "left", y, bottom)
    top = np.where(own["censor"] == "right", y, top)
    scores = crps(draws, y, weights, bottom, top)
    inside = covered(draws, y, 0.9, weights, bottom, top)
    return [
        {"id": number, "name": name, "day": float(t) / 24.0, "model": model, "crps": float(s), "covered": bool(c),
         "censored": word != "none"}
        for t, s, c, word in zip(own["time_h"], scores, inside, own["censor"], strict=True)
    ]  # fmt: skip


def summary(scores: pd.DataFrame, *, seed: int, resamples: int = 2000) -> pd.DataFrame:
    """Per observable and forecaster: mean CRPS, coverage, and the patient model's difference with a 95 % interval.

    Patients weigh equally: their values are averaged first. Intervals are paired bootstraps of patients; a negative
    difference is the patient model's gain.
    """
    rows = []
    for name, own in scores.groupby("name", sort=False):
        table = own.groupby(["id", "model"])["crps"].mean().unstack("model")
        counts = stream(seed, "course bootstrap", str(name)).multinomial(
            len(table), np.full(len(table), 1 / len(table)), resamples
        )  # fmt: skip
        for model in table.columns:
            gap = (table[MECHANISM] - table[model]).to_numpy()
            drawn = counts @ gap / len(gap)
            low, high = np.quantile(drawn, [0.025, 0.975])
            mine = own[own["model"] == model]
            rows.append({
                "name": name, "model": model, "patients": len(table), "values": len(mine),
                "censored": int(mine["censored"].sum()), "crps": float(table[model].mean()),
                "coverage90": float(mine["covered"].mean()), "difference": float(gap.mean()), "low95": float(low),
                "high95": float(high),
            })  # fmt: skip
    return pd.DataFrame(rows)


def by_day(scores: pd.DataFrame, edges: Sequence[float] = (8, 10, 12, 15)) -> pd.DataFrame:
    """Mean CRPS by observable, forecaster and span of days."""
    spans = pd.cut(scores["day"], list(edges), right=False)
    labels = spans.map(lambda s: f"{s.left:g} to {s.right - 1:g}").astype(str)
    return scores.assign(days=labels).groupby(["name", "days", "model"])["crps"].mean().unstack("model").reset_index()
