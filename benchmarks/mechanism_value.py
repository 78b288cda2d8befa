"""Does mechanism help? Learners with clinical columns, mechanistic ones, both; by number of training patients.

    python benchmarks/mechanism_value.py --virtual --real --store FOLDER

Virtual (synthetic) cohorts (``virtual_cohorts.py``): trained on n patients, judged on 500 others of the same world, in
two worlds. In world ``same`` the block's model is the truth, which flatters it; in world ``other`` the parameters are
moved and ICANS comes from another barrier head. Real sets (ICANS_DATA must name their folder) and the demonstration
cohort: cross-validation, :mod:`icans.study.mechanism_value`. Steps are stored and read back.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from virtual_cohorts import WORLDS, world
from virtual_forecasts import Bench, ids_of

import icans
from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.datasets import load
from icans.forecast.ladder import ladder
from icans.forecast.mechanistic.rungs import mechanistic_rungs
from icans.study.config import ForecastSection, OutcomeSection
from icans.study.mechanism_value import PAIRS, mechanism_value
from icans.study.tasks import study_tasks

RESULTS = Path(__file__).parent / "results"
PATIENTS, TEST, SEED = 3400, 500, 2026
#: Training patients -> independent training samples.
SIZES = {50: 4, 100: 4, 200: 3, 1000: 1}
RESAMPLES = 300
SETS = {
    "nulisa_cart_lbcl": (("icans_any", "icans_severe"), "ICANS", 2),
    "bwh_icans": (("onset_given_icans", "severity_given_icans"), "ICANS", 2),
    "cd22_car_hlh": (("crs_any", "crs_severe"), "CRS", 3),
    "demo": (("icans_any", "icans_severe"), "ICANS", 1),
}


def auc(y: np.ndarray, risk: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted area under the curve, ties half; weights of shape (resamples, rows)."""
    order = np.argsort(risk, kind="stable")
    y, r, w = y[order], risk[order], weight[:, order]
    below = np.concatenate([np.zeros((len(w), 1)), np.cumsum(w * (1 - y), axis=1)], axis=1)
    left, right = np.searchsorted(r, r, "left"), np.searchsorted(r, r, "right")
    hits = y > 0
    concordant = (w[:, hits] * 0.5 * (below[:, left[hits]] + below[:, right[hits]])).sum(axis=1)
    return concordant / (w[:, hits].sum(axis=1) * below[:, -1])


def metrics(frame: pd.DataFrame, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Averages over cells, for weights of shape (resamples, rows): AUROC, Brier, log score, RMSE to the true risk."""
    made: dict[str, list[np.ndarray]] = {"auc": [], "brier": [], "log_score": [], "rmse_truth": []}
    known = frame["y"].notna().to_numpy()
    for _, place in frame.groupby(["landmark_h", "horizon_h"]).indices.items():
        rows = place[known[place]]
        y, r, truth = (frame[c].to_numpy()[rows] for c in ("y", "risk", "truth"))
        w = weight[:, rows]
        total = w.sum(axis=1)
        p = np.clip(r, 1e-3, 1 - 1e-3)
        made["auc"].append(auc(y, r, w))
        made["brier"].append(w @ (y - r) ** 2 / total)
        made["log_score"].append(w @ (y * np.log(p) + (1 - y) * np.log1p(-p)) / total)
        made["rmse_truth"].append(np.sqrt(w @ (truth - r) ** 2 / total))
    return {name: np.mean(values, axis=0) for name, values in made.items()}


def virtual(store: Checkpoints, folder: Path, only_stored: bool) -> pd.DataFrame:
    """Rows world, n, model (or "a - b"), metric, value, low, high; over test patients and training samples."""
    rungs = (*ladder(names=["crs_rule"]), *mechanistic_rungs())
    benches: dict[str, Bench] = {}
    frames: dict[tuple[str, int], list[pd.DataFrame]] = {}
    # Round by round, so that a run that is stopped has something of every size and world.
    steps = [(k, n, name) for k in range(max(SIZES.values())) for n in SIZES for name in WORLDS if k < SIZES[n]]
    for k, n, name in steps:
        if only_stored and f"virtual-{name}-{n}-{k}" not in store.done():
            continue
        if name not in benches and not only_stored:
            benches[name] = Bench.of(world(name, PATIENTS, SEED, folder))
        work = partial(trained, benches.get(name), n, k, rungs)
        frames.setdefault((name, n), []).append(store.step(f"virtual-{name}-{n}-{k}", work, [PATIENTS, TEST, SEED]))
        print(name, n, k, f"{time.process_time():.0f} s CPU", flush=True)
    rows = [row for name in WORLDS for n in SIZES for row in summary(name, n, frames.get((name, n), []))]
    return pd.DataFrame(rows)


def trained(bench: Bench, n: int, sample: int, rungs: tuple) -> pd.DataFrame:
    """Forecasts of the test patients by rungs trained on others."""
    test_ids = ids_of(bench.world, PATIENTS - TEST, TEST)
    train, test, _ = bench.split(ids_of(bench.world, sample * n, n), test_ids)
    return bench.forecasts(train, test, rungs, SEED + sample)


def summary(name: str, n: int, frames: list[pd.DataFrame]) -> list[dict]:
    """Metrics and differences, with intervals from resampling test patients and training samples together."""
    if not frames:
        return []
    models = list(dict.fromkeys(frames[0]["model"]))
    patients = frames[0]["patient_id"].unique()
    place = {p: k for k, p in enumerate(patients)}
    split = [[f[f["model"] == m].reset_index(drop=True) for m in models] for f in frames]
    where = [s[0]["patient_id"].map(place).to_numpy() for s in split]
    random = stream(SEED, "resample", name, n)
    size = len(patients)
    counts = [np.ones(size)]
    counts += [np.bincount(random.integers(0, size, size), minlength=size) for _ in range(RESAMPLES)]
    drawn_patients = np.array(counts, dtype=float)
    # How often each training sample is drawn; the first row is what was observed.
    chosen = random.multinomial(len(frames), np.full(len(frames), 1 / len(frames)), RESAMPLES + 1) / len(frames)
    chosen[0] = 1 / len(frames)
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for j, model in enumerate(models):
        each = [metrics(split[k][j], drawn_patients[:, where[k]]) for k in range(len(frames))]
        drawn[model] = {q: sum(chosen[:, k] * each[k][q] for k in range(len(frames))) for q in each[0]}
    rows = []
    for a, b in [(m, "") for m in models] + list(PAIRS):
        for metric in drawn[a]:
            series = drawn[a][metric] - (drawn[b][metric] if b else 0.0)
            low, high = np.quantile(series[1:], [0.025, 0.975])
            rows.append(
                {"world": name, "n": n, "samples": len(frames), "model": a, "reference": b, "metric": metric,
                 "value": float(series[0]), "low": float(low), "high": float(high)}
            )  # fmt: skip
    return rows


def real(store: Checkpoints, only_stored: bool) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Performance and differences of every set, and notes."""
    tables, gaps, notes = [], [], []
    for name, (tasks, toxicity, repeats) in SETS.items():
        if only_stored and f"real-{name}" not in store.done():
            continue

        def work(name=name, tasks=tasks, toxicity=toxicity, repeats=repeats):
            cohort = icans.demo_cohort(n=240) if name == "demo" else load(name)
            cohort = icans.harmonize_cohort(cohort).cohort
            outcome = OutcomeSection(toxicity=toxicity, severe_grade=3.0 if toxicity == "ICANS" else 2.0)
            chosen = [t for t in study_tasks(cohort, outcome, ForecastSection()) if t.task.name in tasks]
            found = mechanism_value(cohort, chosen, repeats=repeats, n_boot=300, boosting=True)
            return found.performance, found.differences, found.cells, found.notes

        performance, differences, cells, said = store.step(f"real-{name}", work)
        print(name, flush=True)
        judged = cells[cells["reason"] == ""].groupby("task").size() if len(cells) else pd.Series(dtype=int)
        tables.append(
            performance.assign(set=name, cells=performance["task"].map(judged)) if len(performance) else performance
        )
        gaps.append(differences.assign(set=name))
        notes += [f"{name}: {text}" for text in said]
    return pd.concat(tables), pd.concat(gaps), notes


def told(row, digits: int = 3) -> str:
    return f"{row.value:+.{digits}f} ({row.low:+.{digits}f} to {row.high:+.{digits}f})"


def virtual_page(table: pd.DataFrame) -> list[str]:
    lines = [
        "## Virtual cohorts (synthetic), 500 test patients",
        "",
        "Landmarks day 1, 3, 5; horizons 3 and 7 days; any ICANS; averages over the six cells. `rmse`: root mean "
        "square distance of the forecast from the true risk given the whole latent course, which no forecast can "
        "know. Intervals: test patients and training samples resampled together.",
        "",
    ]
    for name in WORLDS:
        words = (
            "the block's own model is the truth"
            if name == "same"
            else "misspecified: parameters moved, another barrier head"
        )
        lines += [
            f"### World `{name}`: {words}",
            "",
            "| n | training samples | model | AUROC | Brier | log score | rmse |",
            "|---|---|---|---|---|---|---|",
        ]
        part = table[(table["world"] == name) & (table["reference"] == "")]
        for (n, model), rows in part.groupby(["n", "model"], sort=False):
            v = rows.set_index("metric")["value"]
            lines.append(
                f"| {n} | {rows['samples'].iloc[0]} | {model} | {v['auc']:.3f} | {v['brier']:.4f} | "
                f"{v['log_score']:.3f} | {v['rmse_truth']:.3f} |"
            )
        lines += ["", "| n | difference | AUROC | Brier | log score |", "|---|---|---|---|---|"]
        part = table[(table["world"] == name) & (table["reference"] != "")]
        for (n, model, other), rows in part.groupby(["n", "model", "reference"], sort=False):
            v = {r.metric: told(r, 4 if r.metric == "brier" else 3) for r in rows.itertuples()}
            lines.append(f"| {n} | {model} - {other} | {v['auc']} | {v['brier']} | {v['log_score']} |")
        lines.append("")
    return lines


def real_page(performance: pd.DataFrame, differences: pd.DataFrame, notes: list[str]) -> list[str]:
    lines = [
        "## Real sets and the demonstration",
        "",
        "Cross-validation by patients (5 folds), everything refitted in each fold; averages over the judged cells; "
        "intervals over patients, the same in every cell. `demo` is synthetic and of the block's own model.",
        "",
        "| set | task | cells | model | AUROC | Brier | log score |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, task, model), rows in performance.groupby(["set", "task", "model"], sort=False):
        v = rows.set_index("metric")["value"]
        numbers = f"{v['auc_within_fold']:.3f} | {v['brier']:.4f} | {v['log_score']:.3f}"
        lines.append(f"| {name} | {task} | {rows['cells'].iloc[0]:.0f} | {model} | {numbers} |")
    lines += ["", "| set | task | difference | AUROC | Brier | log score |", "|---|---|---|---|---|---|"]
    for (name, task, a, b), rows in differences.groupby(["set", "task", "model", "reference_model"], sort=False):
        v = {r.metric: f"{r.difference:+.3f} ({r.low:+.3f} to {r.high:+.3f})" for r in rows.itertuples()}
        lines.append(f"| {name} | {task} | {a} - {b} | {v['auc_within_fold']} | {v['brier']} | {v['log_score']} |")
    return [*lines, "", *(f"* {note}" for note in notes), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--virtual", action="store_true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only-stored", action="store_true", help="make the page of the steps that are there")
    options = parser.parse_args()
    store = Checkpoints(options.store / "steps", ["mechanism value", 1])
    path = RESULTS / "mechanism_value.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if options.virtual:
        kept["virtual"] = virtual(store, options.store, options.only_stored).to_dict("records")
    if options.real:
        performance, differences, notes = real(store, options.only_stored)
        kept["real"] = {
            "performance": performance.to_dict("records"),
            "differences": differences.to_dict("records"),
            "notes": notes,
        }
    path.write_text(json.dumps(kept, indent=0) + "\n")
    lines = ["# Does mechanism help?", "", "`python benchmarks/mechanism_value.py --virtual --real --store FOLDER`", ""]
    if "virtual" in kept:
        lines += virtual_page(pd.DataFrame(kept["virtual"]))
    if "real" in kept:
        r = kept["real"]
        lines += real_page(pd.DataFrame(r["performance"]), pd.DataFrame(r["differences"]), r["notes"])
    (RESULTS / "mechanism_value.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
