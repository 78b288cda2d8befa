"""Forecasts of the daily ICANS grade on public cohorts: every rival, paired differences, and what the AUC hides.

Three questions. (1) Ranked probability score of each rival 1 to 7 days ahead for patients that its fit has not seen,
with paired differences from persistence and from the re-implemented HMM + lasso (Amidi 2022), patients resampled.
(2) The area under the ROC curve five days ahead as the paper reports it (all patient-days together, days with ICANS
included) beside the same forecasts judged among patients without ICANS so far, and within one day. (3) The onset rung
of that rival in the usual landmark task.

Run: ``ICANS_DATA=... python benchmarks/grade_paths.py``; results go to ``benchmarks/results/grade_paths.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.files import write_text
from icans.datasets import load
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.discrimination import ranked_probability_score, stratified_auc
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.filters.ladder import PATH_DESCRIPTIONS, path_ladder, path_with_covariates, rival
from icans.forecast.filters.rung import OnsetLasso
from icans.forecast.grade_path import STATES, cross_validate_path, daily_path
from icans.forecast.incidence import ipcw
from icans.forecast.ladder import Rung, ladder
from icans.forecast.outcomes import TASKS, Horizon, Task, subjects
from icans.harmonize.pipeline import harmonize

RESULTS = Path(__file__).resolve().parent / "results"
CHANCES = [f"p{k}" for k in range(STATES)]
DAYS = (1, 2, 3, 5, 7)
RESAMPLES = 2000
TASK = TASKS["icans_any"]
#: Cohort: data set, whether only patients who ever have a positive score, what it is for.
COHORTS = {
    "nulisa": ("nulisa_cart_lbcl", False, "46 axi-cel patients, days 0-14; no laboratory values"),
    "bwh, cases": ("bwh_icans", True, "patients who ever have ICANS: conditional on the future, as the source's two "
                   "extractions differ by outcome"),
    "bwh, all": ("bwh_icans", False, "all patients. The extraction alone tells the outcome (AUC 0.99), and harmonised "
                 "values still carry traces of it: no figure of this cohort is a measure of forecasting skill; it is "
                 "here because the paper's figures come from it"),
}  # fmt: skip


def data_of(name: str) -> str:
    """The data set of a cohort."""
    return COHORTS[name][0]


def cohort_of(name: str) -> tuple[Cohort, pd.DataFrame]:
    """A harmonised cohort and its path with covariates."""
    data, cases_only, _ = COHORTS[name]
    cohort = harmonize(load(data)).cohort
    if cases_only:
        positive = subjects(cohort, Task("positive", threshold=0.0, strict=True, end_h=np.inf))
        cohort = cohort.subset(sorted(positive.index[positive["onset_h"].notna()]))
    path = daily_path(cohort, TASK, split=Task("split", toxicity="CRS", threshold=2.0))
    return cohort, path_with_covariates(path, cohort, TASK)


def forecasts_of(path: pd.DataFrame, repeats: int, seed: int) -> pd.DataFrame:
    """Cross-validated forecasts of every rival, and of the published one without its perturbed copies."""
    plain = replace(rival(path), name="hmm_lasso_counts", copies=0)
    models = (*path_ladder(path, seed), plain)
    return cross_validate_path(path, models, days_ahead=DAYS, repeats=repeats, seed=seed)


def scores(found: pd.DataFrame, seed: int) -> list[dict[str, object]]:
    """RPS by model and days ahead, and differences from persistence and from each form of the published rival."""
    rows = []
    keys = ["patient_id", "landmark_h", "repeat"]
    for ahead, part in found.groupby("horizon_h"):
        models = {m: r.sort_values(keys) for m, r in part.groupby("model", sort=False)}
        first = next(iter(models.values()))
        drawn = patient_counts(first["patient_id"], RESAMPLES, seed, "grade path benchmark")
        weight = np.vstack([np.ones(len(first)), drawn])
        value = {m: ranked_probability_score(r["observed"], r[CHANCES].to_numpy(), weight) for m, r in models.items()}
        for model, score in value.items():
            row: dict[str, object] = {"days_ahead": int(ahead / 24), "model": model, "rps": float(score[0])}
            row["n"] = len(first) // first["repeat"].nunique()
            for base in ("persistence", "hmm_lasso", "hmm_lasso_counts"):
                gap = percentile_interval(score[0] - value[base][0], score[1:] - value[base][1:])
                row[f"minus {base}"] = [gap.value, gap.low, gap.high]
            rows.append(row)
    return rows


def areas(found: pd.DataFrame, path: pd.DataFrame, seed: int) -> list[dict[str, object]]:
    """AUC five days ahead: all days pooled, days without the event so far, the same within one day."""
    worst = path.sort_values(["patient_id", "day"]).assign(worst=path.groupby("patient_id")["state"].cummax())
    so_far = worst.set_index(["patient_id", "day"])["worst"]
    rows = []
    for model, part in found[found["horizon_h"] == 120.0].groupby("model", sort=False):
        day = (part["landmark_h"] / 24 - 1).round().astype(int)
        past = so_far.reindex(pd.MultiIndex.from_arrays([part["patient_id"], day])).to_numpy()
        weight = np.vstack([np.ones(len(part)), patient_counts(part["patient_id"], 500, seed, "areas")])
        for label, grade in (("any", 1), ("severe", 3)):
            y = (part["observed"] >= grade).to_numpy(dtype=float)
            risk = part[[f"p{k}" for k in range(grade, STATES)]].sum(axis=1).to_numpy()
            free = (past < grade).astype(float)
            fold = (part["repeat"] * 100 + part["fold"]).to_numpy()
            for kind, used, stratum in (
                ("all patient-days", np.ones(len(part)), fold),
                ("at risk", free, fold),
                ("at risk, same day", free, fold * 1000 + day.to_numpy()),
            ):
                auc = stratified_auc(risk, weight * used * y, weight * used * (1 - y), stratum)
                interval = percentile_interval(auc[0], auc[1:])
                rows.append({"model": model, "event": label, "days": kind, "auc": [interval.value, interval.low,
                             interval.high], "events": int((used * y).sum() / part["repeat"].nunique())})  # fmt: skip
    return rows


def as_published(path: pd.DataFrame, seed: int) -> list[dict[str, object]]:
    """The rival's AUC five days ahead the way the published scripts lay out days: 28 of them for everybody.

    Days behind the record, or without a grade, count as grade 0, with the newest values carried on.
    """
    every = pd.MultiIndex.from_product([sorted(path["patient_id"].unique()), range(28)], names=["patient_id", "day"])
    wide = path.set_index(["patient_id", "day"]).reindex(every)
    carried = wide.drop(columns="state").groupby("patient_id").ffill()
    padded = carried.assign(state=wide["state"].fillna(0).astype(int), split=carried["split"].fillna(0).astype(int))
    padded = padded.reset_index()
    found = cross_validate_path(padded, [rival(path)], days_ahead=(5,), repeats=1, seed=seed)
    return areas(found, padded, seed)


def onset_rung(cohort: Cohort, repeats: int, seed: int) -> list[dict[str, object]]:
    """The rival's onset hazard among patients at risk at each landmark: AUC within folds, by landmark and window."""
    rungs = (*ladder(scores=(), names=["prevalence", "crs_rule", "logistic_last"]),
             Rung("onset_lasso", "lasso onset hazard (Amidi 2022)", OnsetLasso()))  # fmt: skip
    design = Design(
        (48.0, 72.0, 96.0, 120.0), (Horizon(72.0), Horizon(120.0)), repeats=repeats, seed=seed, min_events=8
    )
    found = cross_validate(cohort, TASK, rungs, design).predictions
    rows = []
    for (model, window), part in found.groupby(["model", "horizon_h"], sort=False):
        y, weight = ipcw(part["time_h"], part["event"], part["horizon_h"])
        stratum = ((part["repeat"] * 100 + part["fold"]) * 1000 + part["landmark_h"] / 24).to_numpy()
        drawn = np.vstack([np.ones(len(part)), patient_counts(part["patient_id"], 500, seed, "onset")])
        auc = stratified_auc(part["risk"].to_numpy(), drawn * y * weight, drawn * (1 - y) * weight, stratum)
        interval = percentile_interval(auc[0], auc[1:])
        rows.append({"model": model, "window_d": window / 24, "auc": [interval.value, interval.low, interval.high]})
    return rows


def study(name: str, repeats: int, seed: int) -> dict[str, object]:
    """Everything of one cohort."""
    cohort, path = cohort_of(name)
    found = forecasts_of(path, repeats, seed)
    return {
        "cohort": name, "about": COHORTS[name][2], "patients": int(path["patient_id"].nunique()), "days": len(path),
        "scores": scores(found, seed), "areas": areas(found, path, seed), "onset": onset_rung(cohort, repeats, seed),
        "padded": as_published(path, seed) if data_of(name) == "bwh_icans" else [],
    }  # fmt: skip


def page(studies: list[dict], repeats: int, seed: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Forecasts of the daily ICANS grade: ranked probability score against every rival", "",
        f"Made by `benchmarks/grade_paths.py --repeats {repeats} --seed {seed}`. Five patient-grouped folds, {repeats} "
        f"repeats, everything fitted in the fold; 95 % intervals from {RESAMPLES} resamples of patients (AUC: 500). "
        "Ranked probability score: lower is better. Negative differences favour the model of the row.", "",
        *(f"- `{k}`: {v}" for k, v in PATH_DESCRIPTIONS.items()),
        "- `hmm_lasso_counts`: `hmm_lasso` without the perturbed copies of courses", "",
    ]  # fmt: skip
    for s in studies:
        lines += [f"## {s['cohort']}: {s['patients']} patients, {s['days']} graded days", "", s["about"] + ".", ""]
        lines += ["| days ahead | model | RPS | minus persistence | minus HMM + lasso | the same, counts | n |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in s["scores"]:
            gaps = " | ".join(_three(r[f"minus {b}"], 4) for b in ("persistence", "hmm_lasso", "hmm_lasso_counts"))
            lines.append(f"| {r['days_ahead']} | {r['model']} | {r['rps']:.4f} | {gaps} | {r['n']} |")
        lines += ["", "AUC five days ahead, pairs within a fold:", "",
                  "| event | days | model | AUC (95 %) | event days |", "|---|---|---|---|---|"]  # fmt: skip
        kept = [r for r in s["areas"] if r["model"] in ("persistence", "hmm_lasso", "path_pool", "grades_of_day")]
        lines += [
            f"| {r['event']} | {r['days']} | {r['model']} | {_three(r['auc'], 3)} | {r['events']} |" for r in kept
        ]
        lines += [
            f"| {r['event']} | {r['days']}, 28 for everybody | {r['model']} | {_three(r['auc'], 3)} | {r['events']} |"
            for r in s["padded"]
        ]
        lines += ["", "Onset among patients at risk (landmarks day 2 to 5, pairs within fold and landmark):", "",
                  "| window, days | model | AUC (95 %) |", "|---|---|---|"]  # fmt: skip
        lines += [f"| {r['window_d']:g} | {r['model']} | {_three(r['auc'], 3)} |" for r in s["onset"]] + [""]
    return "\n".join(lines)


def _three(v: list[float], digits: int) -> str:
    return f"{v[0]:.{digits}f} ({v[1]:.{digits}f}, {v[2]:.{digits}f})"


def main() -> None:
    """Run, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if "ICANS_DATA" not in os.environ:
        sys.exit("set ICANS_DATA to the folder with the public data sets")
    studies = [study(name, chosen.repeats, chosen.seed) for name in COHORTS]
    write_text(RESULTS / "grade_paths.json", json.dumps(studies, indent=1) + "\n")
    write_text(RESULTS / "grade_paths.md", page(studies, chosen.repeats, chosen.seed))


if __name__ == "__main__":
    main()
