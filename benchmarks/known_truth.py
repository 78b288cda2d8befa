"""Recovery of a known truth: forecasts of virtual patients against true risks, latent states against true states.

    python benchmarks/known_truth.py --store FOLDER

Everything is synthetic (``virtual_cohorts.py``, world ``same``). Forecasters are trained on n patients and judged on
others. Arms: 20, 40 or 60 % of laboratory values missing at random; 40 % missing not at random (those who look well are
measured less). Correction: intercept and slope from cross-validated forecasts of the training patients. The calibration
slope is that of the true risk (given the whole latent course) on the log odds of the forecast: its expectation is the
slope of the outcomes, without their noise.

Follow-up goes to a patient's last row (they come to visits, and back when ill). One training sample of 200 patients has
an incidence of its own, so that the bias of a single sample has an SD of some 8 %, and the slope that 200 patients give
by cross-validation one of some 0.2: only means over several samples say something of the method.

A new site: ``known_truth_site.py``; intervals of a risk: ``known_truth_intervals.py`` (``--intervals``: these alone).
Intervals of latent states: quantiles of the tempered posterior.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import known_truth_intervals
import known_truth_site
import numpy as np
import pandas as pd
from scipy.optimize import minimize
from virtual_cohorts import World, thinned, world
from virtual_forecasts import LANDMARKS_H, Bench, ids_of

from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.forecast.dataset import Examples
from icans.forecast.mechanistic.block import FittedMechanistic
from icans.forecast.mechanistic.posterior import quantiles
from icans.forecast.mechanistic.rungs import mechanistic_rungs
from icans.forecast.outcomes import TASKS
from icans.forecast.tuning import ever_event, patient_folds

RESULTS = Path(__file__).parent / "results"
PATIENTS, TEST, SEED = 3400, 500, 2026
#: Patients of the world that says what intervals should hold.
MANY = 5000
MODELS = ("mechanistic", "logistic_clinical", "logistic_both")
#: Models whose intervals are judged.
INTERVALS = ("logistic_clinical", "logistic_both")
#: Arm -> (share missing, not at random, {training patients: samples}, whether intervals are judged).
ARMS = {
    "20 % missing": (0.2, False, {100: 3, 200: 4, 500: 2, 2000: 1}, True),
    "40 % missing": (0.4, False, {100: 2, 200: 4, 500: 2}, False),
    "60 % missing": (0.6, False, {100: 2, 200: 4, 500: 2}, False),
    "40 % not at random": (0.4, True, {100: 2, 200: 4, 500: 2}, True),
}
#: {training patients: samples} at a new site.
SITE_SAMPLES = {200: 3, 500: 1}
#: Follow-up goes to the last row of any kind: patients who leave hospital well come to visits, and come back when ill.
TASK = replace(TASKS["icans_any"], follow_up="last_row")


def logit(p: np.ndarray) -> np.ndarray:
    """Log odds, kept finite."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def expit(x: np.ndarray) -> np.ndarray:
    """The inverse."""
    return 1 / (1 + np.exp(-x))


def line(risk: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Intercept and slope of outcomes (or true risks) on the log odds of a forecast; a weak ridge keeps them finite."""
    x = logit(risk)
    w = np.ones(len(x)) / len(x) if weight is None else weight / weight.sum()

    def lost(b: np.ndarray) -> tuple[float, np.ndarray]:
        eta = b[0] + b[1] * x
        p = expit(eta)
        value = w @ (np.logaddexp(0, eta) - y * eta) + 1e-4 * (b[1] - 1) ** 2
        return value, np.array([w @ (p - y), w @ ((p - y) * x) + 2e-4 * (b[1] - 1)])

    return minimize(lost, np.array([0.0, 1.0]), jac=True).x


def corrections(bench: Bench, train: Examples, seed: int) -> dict[tuple[str, float], np.ndarray]:
    """(model, horizon) -> intercept and slope from cross-validated forecasts of the training patients."""
    folds = patient_folds(ever_event(train.outcome), 3, stream(seed, "correction"))
    mine = train.outcome["patient_id"].map(folds).to_numpy()
    frames = [
        bench.forecasts(train.where(mine != k), train.where(mine == k), rungs(MODELS), seed) for k in np.unique(mine)
    ]
    return lines(pd.concat(frames, ignore_index=True))


def lines(frame: pd.DataFrame) -> dict[tuple[str, float], np.ndarray]:
    """(model, horizon) -> intercept and slope of the outcomes of a table of forecasts."""
    known = frame[frame["y"].notna()]
    return {
        key: line(rows["risk"].to_numpy(), rows["y"].to_numpy(), rows["weight"].to_numpy())
        for key, rows in known.groupby(["model", "horizon_h"])
    }


def corrected(frame: pd.DataFrame, found: dict[tuple[str, float], np.ndarray]) -> pd.DataFrame:
    """The table with the column ``corrected``."""
    made = np.empty(len(frame))
    for key, place in frame.groupby(["model", "horizon_h"]).indices.items():
        a, b = found[key]
        made[place] = expit(a + b * logit(frame["risk"].to_numpy()[place]))
    return frame.assign(corrected=made)


def rungs(names: tuple[str, ...]) -> tuple:
    """Rungs by name."""
    return tuple(rung for rung in mechanistic_rungs(boosting=False) if rung.name in names)


def states(bench: Bench, block: FittedMechanistic, test: Examples, ids: list[str]) -> pd.DataFrame:
    """Coverage and bias of latent states at the landmark and three days on: state, ahead_h, coverage, bias, sd."""
    cohort = bench.cohort.subset(ids)
    plan = test.outcome[["patient_id", "landmark_h"]].reset_index(drop=True)
    at = plan["landmark_h"].to_numpy()
    weights = block.posterior(cohort, plan, at).weights
    place = {name: k for k, name in enumerate(bench.world.ids)}
    row = plan["patient_id"].map(place).to_numpy()
    rows = []
    for state, output in (("endothelium", "ENDO"), ("barrier", "bar_loss_mean"), ("neurons", "NEURO")):
        for ahead in (0.0, 72.0):
            covered, gap, truth_all = [], [], []
            for landmark in LANDMARKS_H:
                mine = np.flatnonzero(at == landmark)
                hour = np.array([landmark + ahead])
                value = block.library.at(block.library.states[state], hour)[0]
                truth = World.at(bench.world.states[output][row[mine]], float(hour[0]))
                low, high = quantiles(weights[mine], value, (0.025, 0.975)).T
                slack = 1e-3  # the library keeps half-precision numbers
                covered += ((truth >= low - slack) & (truth <= high + slack)).tolist()
                gap += (weights[mine] @ value - truth).tolist()
                truth_all += truth.tolist()
            rows.append({"state": state, "ahead_h": ahead, "coverage": float(np.mean(covered)),
                         "bias": float(np.mean(gap)), "sd": float(np.std(truth_all))})  # fmt: skip
    return pd.DataFrame(rows)


def one(bench: Bench, train_ids: list[str], test_ids: list[str], seed: int) -> dict:
    """One training sample: forecasts with correction, latent states."""
    train, test, block = bench.split(train_ids, test_ids)
    frame = bench.forecasts(train, test, rungs(MODELS), seed)
    frame = corrected(frame, corrections(bench, train, seed))
    return {"forecasts": frame, "states": states(bench, block, test, test_ids), "power": block.population.power}


def judged(frame: pd.DataFrame) -> list[dict]:
    """Slope and bias of every model, uncorrected and corrected, against the true risk; both horizons together."""
    rows = []
    for model, part in frame.groupby("model", sort=False):
        for column in ("risk", "corrected"):
            found = [line(rows_["risk_"], rows_["truth"])[1] for _, rows_ in _by_horizon(part, column)]
            bias = [float(r["risk_"].mean() / r["truth"].mean() - 1) for _, r in _by_horizon(part, column)]
            rows.append({"model": model, "which": column, "slope": float(np.mean(found)), "bias": float(np.mean(bias))})
    return rows


def _by_horizon(part: pd.DataFrame, column: str):
    for horizon, rows in part.groupby("horizon_h"):
        yield horizon, {"risk_": rows[column].to_numpy(), "truth": rows["truth"].to_numpy()}


def study(store: Checkpoints, folder: Path, only_stored: bool) -> dict[str, list[dict]]:
    """All arms."""
    base = None if only_stored else world("same", PATIENTS, SEED, folder)
    test_ids = [] if base is None else ids_of(base, PATIENTS - TEST, TEST)
    cohorts: dict[str, object] = {}
    benches: dict[str, Bench] = {}

    def bench(arm: str) -> Bench:
        if arm not in benches:
            share, mnar, *_ = ARMS[arm]
            cohorts[arm] = thinned(base.cohort, share, SEED, not_at_random=mnar)
            benches[arm] = Bench.of(base, cohorts[arm], TASK)
        return benches[arm]

    def step(name: str, work, *about):
        if only_stored and name not in store.done():
            return None
        return store.step(name, partial(work, *about))

    calibration, latent = [], []
    # Round by round, the dear large samples last, so that a run that is stopped has something of every arm.
    plan = [(k, n, arm) for n in (200, 100, 500, 2000) for k in range(4) for arm in ARMS if k < ARMS[arm][2].get(n, 0)]
    for k, n, arm in plan:
        found = step(f"{arm}-{n}-{k}", _sample, bench, base, test_ids, arm, n, k)
        if found is None:
            continue
        about = {"arm": arm, "n": n, "sample": k}
        calibration += [about | row for row in judged(found["forecasts"])]
        if "states" in found:
            latent += [about | row for row in found["states"].to_dict("records")]
        print(arm, n, k, f"{time.process_time():.0f} s CPU", flush=True)
    return {"calibration": calibration, "states": latent}


def intervals(store: Checkpoints, folder: Path, only_stored: bool) -> list[dict]:
    """Intervals in the arms where they are judged."""
    worlds = [] if only_stored else [world("same", PATIENTS, SEED, folder), world("same", MANY, SEED + 1, folder)]
    test_ids = ids_of(worlds[0], PATIENTS - TEST, TEST) if worlds else []

    def step(name: str, work):
        return None if only_stored and name not in store.done() else store.step(name, work)

    rows = []
    for arm in (name for name, about in ARMS.items() if about[3]):
        # Each bench is made when first asked for: an arm that is stored needs none.
        made = [cache(partial(_bench, of, arm)) for of in worlds] or [None, None]
        rows += known_truth_intervals.arm_rows(arm, *made, rungs(INTERVALS), test_ids, step)
    return rows


def sites(store: Checkpoints, folder: Path, only_stored: bool) -> list[dict]:
    """Forecasts and corrections at a new site; among the models the mean over the posterior."""
    base = None if only_stored else world("same", PATIENTS, SEED, folder)
    cohort = None if base is None else thinned(base.cohort, 0.2, SEED)
    mean = tuple(
        replace(rung, name=f"{rung.name}, posterior mean", model=replace(rung.model, average=True))
        for rung in rungs(INTERVALS)
    )
    models = (*rungs(MODELS), *mean)
    rows = []
    for n, samples in SITE_SAMPLES.items():
        for k in range(samples):
            name = f"site-{n}-{k}"
            if only_stored and name not in store.done():
                continue
            frame = store.step(name, partial(known_truth_site.forecasts, base, cohort, TASK, models, n, k, SEED + k))
            rows += [{"n": n, "sample": k} | row for row in known_truth_site.judged(frame, line)]
            print("site", n, k, f"{time.process_time():.0f} s CPU", flush=True)
    return rows


def _bench(of: World, arm: str) -> Bench:
    """A world as an arm shows it."""
    share, mnar, *_ = ARMS[arm]
    return Bench.of(of, thinned(of.cohort, share, SEED, not_at_random=mnar), TASK)


def _sample(bench, base: World, test_ids: list[str], arm: str, n: int, k: int) -> dict:
    """One training sample of an arm."""
    return one(bench(arm), ids_of(base, k * n, n), test_ids, SEED + k)


def page(found: dict[str, list[dict]]) -> str:
    """The results as a page."""
    calibration, latent = (pd.DataFrame(found[k]) for k in ("calibration", "states"))
    lines_ = ["# Recovery of known truth (synthetic)", "", "`python benchmarks/known_truth.py --store FOLDER`", "",
              (__doc__ or "").split("\n\n", 2)[2].strip(), "",
              "## Calibration slope and bias against the true risk", "",
              "Means over training samples (range in brackets where there are several). Wanted after correction: slope "
              "0.9 to 1.1, bias under 10 %.", "",
              "| arm | n | model | slope, as fitted | slope, corrected | bias, as fitted | bias, corrected | met |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for (arm, n, model), rows in calibration.groupby(["arm", "n", "model"], sort=False):
        raw, fixed = (rows[rows["which"] == w] for w in ("risk", "corrected"))
        s, b = fixed["slope"].mean(), fixed["bias"].mean()
        met = "yes" if 0.9 <= s <= 1.1 and abs(b) < 0.1 else "no"
        lines_.append(
            f"| {arm} | {n} | {model} | {_spread(raw['slope'])} | {_spread(fixed['slope'])} | "
            f"{raw['bias'].mean():+.0%} | {b:+.0%} | {met} |"
        )
    lines_ += known_truth_site.lines(found["sites"])
    lines_ += known_truth_intervals.lines(found["intervals"])
    lines_ += ["", "## Latent states", "",
               "Coverage of 95 % posterior intervals, bias of the posterior mean in SDs over patients.", "",
               "| arm | n | state | hours ahead | coverage | bias (SD) |", "|---|---|---|---|---|---|"]  # fmt: skip
    for (arm, n, state, ahead), rows in latent.groupby(["arm", "n", "state", "ahead_h"], sort=False):
        bias = (rows["bias"] / rows["sd"]).mean()
        lines_.append(f"| {arm} | {n} | {state} | {ahead:g} | {rows['coverage'].mean():.1%} | {bias:+.2f} |")
    return "\n".join(lines_) + "\n"


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.2f}" + (f" ({values.min():.2f}-{values.max():.2f})" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only-stored", action="store_true", help="make the page of the steps that are there")
    parser.add_argument("--intervals", action="store_true", help="only intervals and sites anew; the rest as it was")
    options = parser.parse_args()
    store = Checkpoints(options.store / "steps", ["known truth", 3])
    path = RESULTS / "known_truth.json"
    if options.intervals:
        kept = json.loads(path.read_text())
        found = {k: [row for row in kept[k] if row["arm"] in ARMS] for k in ("calibration", "states")}
    else:
        found = study(store, options.store, options.only_stored)
    mine = Checkpoints(options.store / "steps", ["known truth, intervals", 3])
    found["sites"] = sites(Checkpoints(options.store / "steps", ["known truth, sites", 1]), options.store,
                           options.only_stored)  # fmt: skip
    found["intervals"] = intervals(mine, options.store, options.only_stored)
    path.write_text(json.dumps(found, indent=0) + "\n")
    (RESULTS / "known_truth.md").write_text(page(found))


if __name__ == "__main__":
    main()
