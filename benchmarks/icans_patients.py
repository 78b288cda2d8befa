"""Forecasts on ICANS patients: onset within three days over all patient-days at risk, and severe ICANS from day 4.

``bwh_icans`` is read as cases only (its two extractions differ by outcome), ``nulisa_cart_lbcl`` whole. Every daily
landmark from day 0 on is a row; a patient leaves the risk set at onset. Areas are pooled over patient-days (within
folds), weighted for censoring, with intervals over patients and paired differences from the forecast that knows the
day alone; calibration slopes are of the pooled log odds. The audit's word stands beside.

Run: ``ICANS_DATA=... python benchmarks/icans_patients.py [name ...]``; results go to
``benchmarks/results/icans_patients.{md,json}``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.files import write_text
from icans.datasets import load
from icans.evaluate.audit import audit_task
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.discrimination import stratified_auc
from icans.evaluate.smooth import logistic
from icans.forecast.catalogue import recipes
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.incidence import ipcw
from icans.forecast.outcomes import Horizon, daily_landmarks
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.pipeline import harmonize
from icans.study.config import ForecastSection, OutcomeSection
from icans.study.tasks import study_tasks

RESULTS = Path(__file__).resolve().parent / "results"
MODELS = ("prevalence", "crs_rule", "logistic_last", "cox_last", "discrete", "boosting", "forest", "mechanistic",
          "logistic_both", "boosting_both", "integration", "hybrid")  # fmt: skip
RESAMPLES = 1000
#: Name: data set, task, landmarks (hours), horizon, the bar that was set before.
QUESTIONS = {
    "bwh onset": ("bwh_icans", "onset_given_icans", daily_landmarks(8), Horizon(72.0), 0.72),
    "nulisa onset": ("nulisa_cart_lbcl", "icans_any", daily_landmarks(8), Horizon(72.0), 0.72),
    # Follow-up of this source ends with the stay: to day 30 hardly anybody is known to be free of it.
    "bwh severe": ("bwh_icans", "severe_of_cases", (96.0,), Horizon(168.0), 0.69),
    "nulisa severe": ("nulisa_cart_lbcl", "icans_severe", (96.0,), Horizon(720.0, until=True), 0.69),
}


def main() -> None:
    """Run the questions that are named, keep the others' stored results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(QUESTIONS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    path = RESULTS / "icans_patients.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in args.names:
        kept[name] = asked(name, args.models, args.repeats)
        RESULTS.mkdir(exist_ok=True)
        write_text(path, json.dumps(kept, indent=1))
        write_text(path.with_suffix(".md"), told(kept))
        print(name, round(kept[name]["seconds"]), "s")


def asked(name: str, models: list[str], repeats: int) -> dict[str, object]:
    """One question: pooled areas and slopes of every model, and the audit."""
    started = time.perf_counter()
    data, wanted, landmarks, horizon, bar = QUESTIONS[name]
    delivered = load(data)
    mended = harmonize(delivered)
    cohort = grade_cohort(mended.cohort)
    tasks = {t.task.name: t.task for t in study_tasks(cohort, OutcomeSection(), ForecastSection())}
    task = _severe_of_cases(tasks) if wanted == "severe_of_cases" else tasks[wanted]
    rungs, blocks = recipes(models)
    design = Design(landmarks_h=landmarks, horizons=(horizon,), repeats=repeats, min_events=1, seed=20261125)
    found = cross_validate(cohort, task, rungs, design, blocks=blocks)
    audit = audit_task(delivered, cohort, task, regimes=mended.regimes)
    errors = sorted({str(e) for e in found.fits["error"] if e})
    return {
        "question": f"{task.name}, {horizon.label}, landmarks days {landmarks[0] / 24:g} to {landmarks[-1] / 24:g}",
        "patients": int(found.predictions["patient_id"].nunique()), "bar": bar, "models": pooled(found.predictions),
        "audit": list(audit.sentences[:2]), "errors": errors, "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _severe_of_cases(tasks: dict[str, object]) -> object:
    """Grade 3 or higher among patients who have or will have ICANS, counted from the infusion."""
    from dataclasses import replace

    severity = tasks["severity_given_icans"]
    return replace(severity, name="severe_of_cases", anchor="infusion")  # type: ignore[type-var]


def pooled(predictions: pd.DataFrame) -> list[dict[str, object]]:
    """Area, difference from the day alone, and slope of each model over all rows."""
    keys = ["repeat", "fold", "patient_id", "landmark_h"]
    models = {m: part.sort_values(keys) for m, part in predictions.groupby("model", sort=False)}
    first = next(iter(models.values()))
    y, weight = ipcw(first["time_h"], first["event"], first["horizon_h"], first["landmark_h"])
    fold = (first["repeat"] * 100 + first["fold"]).to_numpy()
    drawn = np.vstack([np.ones(len(first)), patient_counts(first["patient_id"], RESAMPLES, 1, "icans patients")])
    case, control = drawn * (y * weight), drawn * ((1 - y) * weight)
    base = stratified_auc(models["prevalence"]["risk"].to_numpy(dtype=float), case, control, fold)
    rows = []
    for model in (m for m in MODELS if m in models):
        risk = models[model]["risk"].to_numpy(dtype=float)
        auc = stratified_auc(risk, case, control, fold)
        interval = percentile_interval(auc[0], auc[1:])
        gap = percentile_interval(auc[0] - base[0], auc[1:] - base[1:])
        row: dict[str, object] = {"model": model, "auc": [interval.value, interval.low, interval.high],
                                  "minus_day": [gap.value, gap.low, gap.high]}  # fmt: skip
        row |= _slope(risk, case, control)
        rows.append(row)
    repeats = first["repeat"].nunique()
    events = float((y * (weight > 0)).sum() / repeats)
    return [row | {"rows": len(first) // repeats, "events": round(events)} for row in rows]


def _slope(risk: np.ndarray, case: np.ndarray, control: np.ndarray) -> dict[str, object]:
    inside = np.clip(risk, 1e-6, 1 - 1e-6)
    design = np.column_stack([np.ones(len(risk)), np.log(inside / (1 - inside))])
    try:
        slopes = np.array([logistic(design, case[k], control[k])[1] for k in range(201)])
    except (NotEstimableError, np.linalg.LinAlgError):
        return {"slope": None}
    i = percentile_interval(slopes[0], slopes[1:])
    expected = float((risk * (case[0] + control[0])).sum())
    return {"slope": [i.value, i.low, i.high], "oe": float(case[0].sum() / expected)}


def told(kept: dict[str, dict[str, object]]) -> str:
    """The results as a page."""
    lines = ["# Forecasts on ICANS patients", "", __doc__.split("\n\n")[1].strip(), ""]  # type: ignore[union-attr]
    for name, one in kept.items():
        lines += [f"## {name}", ""]
        lines += [f"{one['question']}; {one['patients']} patients; bar {one['bar']}. " + " ".join(one["audit"]), ""]  # type: ignore[arg-type]
        lines += ["| model | rows | events | AUROC | minus day alone | calibration slope | O/E |", "|---" * 7 + "|"]
        for row in one["models"]:  # type: ignore[attr-defined]
            slope = "" if row["slope"] is None else said(row["slope"])
            oe = "" if row.get("oe") is None else f"{row['oe']:.2f}"
            lines.append(f"| {row['model']} | {row['rows']} | {row['events']} | {said(row['auc'])} | "
                         f"{said(row['minus_day'], '+')} | {slope} | {oe} |")  # fmt: skip
        lines += [""] + [f"Not fitted somewhere: {e}" for e in one["errors"]] + [""]  # type: ignore[attr-defined]
    return "\n".join(lines)


def said(values: list[float], sign: str = "") -> str:
    """A value with its interval."""
    return f"{values[0]:{sign}.2f} ({values[1]:{sign}.2f} to {values[2]:{sign}.2f})"


if __name__ == "__main__":
    main()
