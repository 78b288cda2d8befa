"""The tabular rungs beside the older ones: public sets, the synthetic demo, and synthetic patients with known risks.

Run with ``ICANS_DATA=... python benchmarks/tabular.py [pbc2] [icu] [demo] [nulisa] [bwh] [truth]`` (each one or two
minutes of one core); results go to ``benchmarks/results/tabular-<name>.md`` and ``.json``. Every rung is fitted anew
in each fold with its settings chosen inside; intervals are percentiles over patients with the predictions held fixed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import stack

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.datasets import load
from icans.evaluate.performance import measure
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.hazard_likelihood import hazards
from icans.forecast.ladder import Rung, ladder
from icans.forecast.models.discrete import DiscreteHazards
from icans.forecast.models.explainable import ExplainableBoosting
from icans.forecast.models.forest import RandomForest
from icans.forecast.models.network import NeuralNetwork
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, fit_path
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.pipeline import harmonize
from icans.study.config import ForecastSection, OutcomeSection
from icans.study.tasks import study_tasks

HERE = Path(__file__).parent / "results"
METRICS = ("auc", "brier", "brier_scaled", "slope", "oe", "ici")
RESAMPLES = 300
#: Data set -> tasks and horizon (hours) that are shown.
REAL = {
    "nulisa": ("nulisa_cart_lbcl", ("icans_any", "icans_severe")),
    "bwh": ("bwh_icans", ("onset_given_icans", "severity_given_icans")),
}
SHOWN_H = 72.0


def rungs() -> list[Rung]:
    """The older rungs, then the tabular ones."""
    older = ladder(scores=(), names=["prevalence", "logistic_last", "cox_last", "boosting"])
    newer = [
        Rung("discrete", "", DiscreteHazards()),
        Rung("forest", "", RandomForest()),
        Rung("explainable", "", ExplainableBoosting()),
        Rung("network", "", NeuralNetwork()),
    ]
    return [*older, *newer]


def folded(name: str, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """A data set with stored folds: predictions and fits as :func:`stack.predict` makes them."""
    setting = stack.SETTINGS[name](folder, 1)
    predictions, fits = stack.predict(setting, rungs())
    return predictions, fits, setting.note


def real(name: str, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """ICANS patients: tasks as ``icans run`` makes them, two repeats of five folds."""
    key, wanted = REAL[name]
    cohort = grade_cohort(harmonize(load(key, folder / key)).cohort)
    predictions, fits = [], []
    for task in study_tasks(cohort, OutcomeSection(), ForecastSection()):
        if task.task.name not in wanted:
            continue
        design = Design(task.landmarks_h, (Horizon(SHOWN_H),), repeats=2)
        start = time.process_time()
        try:
            found = cross_validate(cohort, task.task, rungs(), design)
        except NotEstimableError as error:
            print(name, task.task.name, error)
            continue
        print(name, task.task.name, f"{time.process_time() - start:.0f} s", flush=True)
        predictions.append(found.predictions)
        fits.append(found.fits)
    note = f"{len(cohort)} patients of {key}; tasks {', '.join(wanted)}; within {SHOWN_H / 24:g} d; 2 x 5 folds"
    return pd.concat(predictions, ignore_index=True), pd.concat(fits, ignore_index=True), note


def shown(name: str, predictions: pd.DataFrame, fits: pd.DataFrame, note: str) -> None:
    """Measure, write, print."""
    unit, word = (stack.YEAR, "y") if name == "pbc2" else (24.0, "d")
    lines = [f"## {name}", "", note, "", "| task | landmark | horizon | model | events | AUC | Brier | scaled | slope "
             "| O/E | ICI |", "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    tables = []
    for task, part in predictions.groupby("task", sort=False):
        table = measure(part, n_boot=RESAMPLES, seed=1).performance()
        tables.append(table[table["metric"].isin(METRICS)].assign(task=task))
        for (at, horizon, model), rows in tables[-1].groupby(["landmark_h", "horizon_h", "model"], sort=False):
            v = rows.set_index("metric")
            auc = v.loc["auc"]
            cells = [f"{v.loc[m, 'value']:.3f}" if m in v.index else "" for m in METRICS[1:]]
            lines.append(
                f"| {task} | {at / unit:.3g} {word} | {horizon / unit:.3g} {word} | {model} | {auc['events']:.0f} | "
                f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f}) | " + " | ".join(cells) + " |"
            )
    table = pd.concat(tables)
    mean = table.pivot_table(index=["task", "model"], columns="metric", values="value", sort=False)[list(METRICS)]
    lines += ["", "Means over landmarks and horizons:", "", "| task | model | " + " | ".join(METRICS) + " |",
              "|---" * (len(METRICS) + 2) + "|"]  # fmt: skip
    for (task, model), row in mean.round(3).iterrows():
        lines.append(f"| {task} | {model} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    if "seconds" in fits:
        spent = fits.groupby("model", sort=False)["seconds"].mean()
        lines += ["", "Processor seconds of a fit: " + ", ".join(f"{m} {s:.2f}" for m, s in spent.items()) + "."]
    if "error" in fits and (fits["error"] != "").any():
        failed = fits[fits["error"] != ""].groupby(["task", "model", "error"], sort=False).size()
        lines += ["", "Not fitted:", "", *(f"- {t}, {m} ({n} fits): {e}" for (t, m, e), n in failed.items())]
    columns = ["task", "model", "landmark_h", "horizon_h", "metric", "value", "low", "high", "n", "events"]
    write(name, lines, {"note": note, "performance": table[columns].to_dict("records")})


def write(name: str, lines: list[str], found: dict[str, object]) -> None:
    """The page and its numbers."""
    text = "\n".join(lines) + "\n"
    (HERE / f"tabular-{name}.md").write_text(text)
    (HERE / f"tabular-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(text, flush=True)


def known(n: int, seed: int, *, leaves_when_well: bool, missing: float = 0.3) -> tuple[pd.DataFrame, ...]:
    """SYNTHETIC rows with known risks: ten days, a rival, eight features of which three matter, some missing.

    With ``leaves_when_well`` patients of low hazard leave early, as patients do who are discharged.
    """
    rng = stream(seed, "known risks", n)
    x = rng.normal(size=(n, 8))
    day = np.arange(10)
    pull = x[:, :1] * (1.2 - 0.08 * day) + 0.6 * x[:, 1:2] + 0.5 * (x[:, 2:3] ** 2 - 1)
    chance = hazards(np.stack([-2.6 + pull, np.full((n, 10), -4.5)], axis=2))
    leaving = expit(-3.0 - 1.5 * pull.mean(axis=1)) if leaves_when_well else np.full(n, 0.06)
    time_h, event = np.full(n, 240.0), np.zeros(n, dtype=int)
    here = np.ones(n, dtype=bool)
    for b in day:
        u = rng.random(n)
        total = np.cumsum(chance[:, b], axis=1)
        hit = here & (u < total[:, 1])
        event[hit], time_h[hit] = np.where(u < total[:, 0], 1, 2)[hit], 24.0 * (b + 1)
        here &= ~hit
        gone = here & (rng.random(n) < leaving)
        time_h[gone] = 24.0 * (b + 1)
        here &= ~gone
    free = np.cumprod(1 - chance.sum(axis=2), axis=1)
    risk = np.cumsum(np.column_stack([np.ones(n), free[:, :-1]]) * chance[:, :, 0], axis=1)
    ids = [f"SYN-{i:05d}" for i in range(n)]
    index = pd.MultiIndex.from_arrays([ids, np.zeros(n)], names=["patient_id", "landmark_h"])
    seen = np.where(rng.random(x.shape) < missing, np.nan, x)
    table = pd.DataFrame(seen, index=index, columns=[f"lab.x{k}.last" for k in range(8)])
    outcome = pd.DataFrame({"patient_id": ids, "landmark_h": 0.0, "time_h": time_h, "event": event})
    return table, outcome, pd.DataFrame(risk[:, [2, 6]], index=index, columns=[72.0, 168.0])


def truth() -> None:
    """Distance from the known risks for cohorts of 100, 200 and 500: 9, 7 and 3 of each, medians over them."""
    rows = []
    for well in (False, True):
        table, _, risk = known(2000, 99, leaves_when_well=well)
        for n, times in ((100, 9), (200, 7), (500, 3)):
            for seed in range(times):
                train, outcome, _ = known(n, seed, leaves_when_well=well)
                for rung in rungs():
                    try:
                        fitted = rung.fit(train, outcome, (Horizon(72.0), Horizon(168.0)), seed)
                    except NotEstimableError as error:
                        print(n, seed, rung.name, error)
                        continue
                    for hours in (72.0, 168.0):
                        rows.append(
                            {"leaving": "when well" if well else "at random", "n": n, "seed": seed,
                             "model": rung.name, "hours": hours,
                             **distance(fitted.predict(table, hours), risk[hours].to_numpy())}
                        )  # fmt: skip
            print("truth", well, n, flush=True)
    frame = pd.DataFrame(rows)
    mean = frame.groupby(["leaving", "n", "hours", "model"], sort=False)[["rmse", "slope", "mean_error"]].median()
    lines = [
        "## truth",
        "",
        "SYNTHETIC patients with known risks (ten days, a rival event, eight features of which three matter, one of "
        "them by its square; 30 % of the values missing). Distance from the risks given *all* features, in 2,000 new "
        "patients, medians over cohorts; a model that sees 70 % of the values cannot reach nought.",
        "",
        "| leaving | n | horizon | model | RMSE of the risk | slope | mean error |",
        "|---|---|---|---|---|---|---|",
    ]
    for (leaving, n, hours, model), row in mean.iterrows():
        lines.append(f"| {leaving} | {n} | {hours / 24:g} d | {model} | {row['rmse']:.3f} | {row['slope']:.2f} | "
                     f"{row['mean_error']:+.3f} |")  # fmt: skip
    write("truth", lines, {"synthetic": True, "means": mean.reset_index().to_dict("records")})


def distance(risk: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Root mean square error, calibration slope against the true risks, mean error."""
    logit = np.log(np.clip(risk, 1e-4, 1 - 1e-4) / (1 - np.clip(risk, 1e-4, 1 - 1e-4)))
    slope = np.nan
    if np.ptp(logit) > 1e-6:
        x, w = np.tile(logit, 2)[:, None], np.r_[true, 1 - true]
        slope = fit_path(x, np.r_[np.ones(len(true)), np.zeros(len(true))], w, (1e-9,))[0].coefficients[0]
    error = risk - true
    return {"rmse": float(np.sqrt(np.mean(error**2))), "slope": float(slope), "mean_error": float(error.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*stack.SETTINGS, *REAL, "truth"])
    warnings.simplefilter("ignore")
    HERE.mkdir(exist_ok=True)
    folder = Path(os.environ.get("ICANS_DATA", "."))
    for name in parser.parse_args().names:
        if name == "truth":
            truth()
        else:
            shown(name, *(real if name in REAL else folded)(name, folder))


if __name__ == "__main__":
    main()
