"""Recovery of a known truth: forecasts of virtual patients against true risks, latent states against true states.

    python benchmarks/known_truth.py --store FOLDER

Everything is synthetic (``virtual_cohorts.py``, world ``same``). Forecasters are trained on n patients and judged on
others. Arms: 20, 40 or 60 % of laboratory values missing at random; 40 % missing not at random (those who look well are
measured less); site shift (trained on two sites, judged on CD28 patients of the third, whose cytokine assay reads twice
as high). Correction: intercept and slope from cross-validated forecasts of the training patients; at the shifted site,
from 100 patients of that site. The calibration slope is that of the true risk (given the whole latent course) on the
log odds of the forecast: its expectation is the slope of the outcomes, without their noise.

Follow-up goes to a patient's last row (they come to visits, and back when ill). One training sample of 200 patients has
an incidence of its own, so that the bias of a single sample has an SD of some 8 %, and the slope that 200 patients give
by cross-validation one of some 0.2: only means over several samples say something of the method.

Intervals of a risk: percentiles of refits to resampled training patients; what they should cover is the risk that the
same procedure gives when trained on 1,500 patients. Intervals of latent states: quantiles of the tempered posterior.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from virtual_cohorts import World, thinned, world
from virtual_forecasts import HORIZONS, LANDMARKS_H, Bench, ids_of

from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.forecast.blocks import with_blocks
from icans.forecast.dataset import Examples
from icans.forecast.mechanistic.block import FittedMechanistic
from icans.forecast.mechanistic.posterior import quantiles
from icans.forecast.mechanistic.rungs import mechanistic_rungs
from icans.forecast.outcomes import TASKS
from icans.forecast.tuning import ever_event, patient_folds

RESULTS = Path(__file__).parent / "results"
PATIENTS, TEST, SEED, LIMIT = 3400, 500, 2026, 1500
MODELS = ("mechanistic", "logistic_clinical", "logistic_both")
#: Models whose intervals are judged.
INTERVALS = ("logistic_both",)
#: Arm -> (share missing, not at random, {training patients: samples}, whether intervals are judged).
ARMS = {
    "20 % missing": (0.2, False, {100: 3, 200: 4, 500: 2, 2000: 1}, True),
    "40 % missing": (0.4, False, {100: 2, 200: 4, 500: 2}, False),
    "60 % missing": (0.6, False, {100: 2, 200: 4, 500: 2}, False),
    "40 % not at random": (0.4, True, {100: 2, 200: 4, 500: 2}, True),
    "site shift": (0.2, False, {200: 4, 500: 2}, False),
}
REFITS = 40
#: Follow-up goes to the last row of any kind: patients who leave hospital well come to visits, and come back when ill.
TASK = replace(TASKS["icans_any"], follow_up="last_row")
CYTOKINES = ("il_6", "ifn_g", "il_10", "il_15", "mcp_1", "ang_2")
LOCAL = 100


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


def refits(train: Examples, test: Examples, name: str, seed: int) -> np.ndarray:
    """Risks of the test rows from refits to resampled training patients, shape (refits, horizons, rows)."""
    (rung,) = rungs((name,))
    chosen = rung.fit(train.inputs, train.outcome, HORIZONS, seed).settings()
    patients = np.array(sorted(set(train.outcome["patient_id"])))
    made = np.empty((REFITS, len(HORIZONS), len(test.outcome)))
    for k, horizon in enumerate(HORIZONS):
        penalty = min(chosen[f"penalty, {horizon.label}"], 1e6)
        fixed = replace(rung, model=replace(rung.model, penalties=(penalty,)))
        for b in range(REFITS):
            drawn = stream(seed, "refit", b).choice(patients, len(patients))
            part = train.repeated(drawn.tolist())
            made[b, k] = fixed.fit(part.inputs, part.outcome, [horizon], seed).predict(test.inputs, horizon)
    return made


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


def shifted(cohort):
    """The cohort with cytokines that read twice as high."""
    frame = cohort.measurements
    factor = np.where(frame["analyte"].isin(CYTOKINES), 2.0, 1.0)
    return cohort.with_table(
        "measurements", frame.assign(value=frame["value"] * factor, limit=frame["limit"] * factor)
    )  # fmt: skip


def one(bench: Bench, train_ids: list[str], test_ids: list[str], seed: int, with_intervals: bool) -> dict:
    """One training sample: forecasts with correction, intervals, latent states."""
    train, test, block = bench.split(train_ids, test_ids)
    frame = bench.forecasts(train, test, rungs(MODELS), seed)
    frame = corrected(frame, corrections(bench, train, seed))
    made = {"forecasts": frame, "states": states(bench, block, test, test_ids), "power": block.population.power}
    if with_intervals:
        made["intervals"] = {name: refits(train, test, name, seed) for name in INTERVALS}
    return made


def large(bench: Bench, train_ids: list[str], test_ids: list[str]) -> pd.DataFrame:
    """Forecasts of the procedure trained on very many patients: what intervals should cover."""
    train, test, _ = bench.split(train_ids, test_ids)
    return bench.forecasts(train, test, rungs(INTERVALS), SEED)


def site_shift(base: World, cohort, count: int, sample: int, seed: int) -> dict:
    """Trained on two sites, judged on the third, before and after correction on local patients."""
    people = cohort.patients.set_index("patient_id")
    there = people["site"] == "Site C"
    cd28 = people["costimulation"] == "CD28"
    away = people.index[there & cd28].tolist()
    home = people.index[~there].tolist()[sample * count : (sample + 1) * count]
    moved = shifted(cohort.subset(away))
    bench = Bench.of(base, cohort, TASK)
    train, _, block = bench.split(home, away[:3])
    other = Bench.of(base, moved, TASK)
    data = other.data
    table = with_blocks(data.table, data.inputs.at_h, moved, [block])
    test = Examples(replace(data.inputs, table=table), data.outcome)
    frame = other.forecasts(train, test, rungs(MODELS), seed)
    local = frame["patient_id"].isin(set(away[:LOCAL]))
    frame = corrected(frame[~local].reset_index(drop=True), lines(frame[local]))
    return {"forecasts": frame}


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


def coverage(found: dict, limit: pd.DataFrame) -> list[dict]:
    """Share of test rows whose interval covers the risk of the large sample."""
    rows = []
    for name, drawn in found["intervals"].items():
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        shares = []
        for k, horizon in enumerate(HORIZONS):
            target = limit[(limit["model"] == name) & (limit["horizon_h"] == horizon.hours)]["risk"].to_numpy()
            shares.append(((target >= low[k]) & (target <= high[k])).mean())
        rows.append({"model": name, "coverage": float(np.mean(shares)), "width": float((high - low).mean())})
    return rows


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

    calibration, covered, latent, intervals = [], [], [], []
    # Round by round, the dear large samples last, so that a run that is stopped has something of every arm.
    plan = [(k, n, arm) for n in (200, 100, 500, 2000) for k in range(4) for arm in ARMS if k < ARMS[arm][2].get(n, 0)]
    for k, n, arm in plan:
        found = step(f"{arm}-{n}-{k}", _sample, bench, base, test_ids, arm, n, k)
        if found is None:
            continue
        about = {"arm": arm, "n": n, "sample": k}
        calibration += [about | row for row in judged(found["forecasts"])]
        if "intervals" in found:
            intervals.append((about, found))
        if "states" in found:
            latent += [about | row for row in found["states"].to_dict("records")]
        print(arm, n, k, f"{time.process_time():.0f} s CPU", flush=True)
    for arm in dict.fromkeys(about["arm"] for about, _ in intervals):
        limit = step(f"limit-{arm}", _limit, bench, base, test_ids, arm)
        if limit is not None:
            covered += [a | row for a, found in intervals if a["arm"] == arm for row in coverage(found, limit)]
    return {"calibration": calibration, "coverage": covered, "states": latent}


def _sample(bench, base: World, test_ids: list[str], arm: str, n: int, k: int) -> dict:
    """One training sample of an arm."""
    if arm == "site shift":
        return site_shift(base, bench(arm).cohort, n, k, SEED + k)
    # Intervals are dear: one sample of each size is enough, and none where n is near the limit.
    return one(bench(arm), ids_of(base, k * n, n), test_ids, SEED + k, ARMS[arm][3] and k == 0 and n <= 500)


def _limit(bench, base: World, test_ids: list[str], arm: str) -> pd.DataFrame:
    return large(bench(arm), ids_of(base, 0, LIMIT), test_ids)


def page(found: dict[str, list[dict]]) -> str:
    """The results as a page."""
    calibration, covered, latent = (pd.DataFrame(found[k]) for k in ("calibration", "coverage", "states"))
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
    lines_ += ["", "## Intervals of a risk", "",
               "Share of test rows whose 95 % interval covers the risk of the large sample. Wanted: 93 to 97 %.", "",
               "| arm | n | model | coverage | mean width |", "|---|---|---|---|---|"]  # fmt: skip
    for row in covered.itertuples():
        lines_.append(f"| {row.arm} | {row.n} | {row.model} | {row.coverage:.1%} | {row.width:.3f} |")
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
    options = parser.parse_args()
    store = Checkpoints(options.store / "steps", ["known truth", 3])
    found = study(store, options.store, options.only_stored)
    (RESULTS / "known_truth.json").write_text(json.dumps(found, indent=0) + "\n")
    (RESULTS / "known_truth.md").write_text(page(found))


if __name__ == "__main__":
    main()
