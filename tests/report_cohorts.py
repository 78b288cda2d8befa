"""Small synthetic cohorts and results, labelled so, for the tests of the report. None of it is patients' data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort, change_rows, make
from icans.core.errors import Problem
from icans.core.provenance import Provenance
from icans.core.random import stream
from icans.report.model import Audit, Headline, ReportData, RunInfo, Task
from icans.report.render import render

LANDMARKS_H = (24.0, 72.0, 120.0)
HORIZON_H = 168.0
MODELS = {
    "prevalence": "Prevalence",
    "last_value": "Last value",
    "ridge": "Ridge landmark model",
    "gbm": "Boosted trees",
}


def synthetic_cohort(n: int = 60, seed: int = 1, synthetic: bool = True) -> Cohort:
    """Patients with labs, grades and drugs over 15 days; values below a limit and missing values included."""
    rng = stream(seed, "report cohort")
    ids = [f"P{i:03d}" for i in range(n)]
    worst = rng.choice([0, 1, 2, 3, 4], n, p=[0.45, 0.2, 0.15, 0.12, 0.08])
    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "site": rng.choice(["North", "South"], n),
            "source": rng.choice(["A", "B"], n),
            "age_y": rng.normal(61, 9, n).round(),
            "sex": rng.choice(["female", "male"], n),
            "disease": rng.choice(["DLBCL", "MCL", "FL"], n, p=[0.7, 0.2, 0.1]),
            "product": rng.choice(["axi-cel", "liso-cel", "brexu-cel"], n),
            "prior_lines": rng.integers(1, 6, n),
        }
    )
    patients.loc[::7, "age_y"] = np.nan
    tables = {
        "patients": patients,
        "measurements": _measurements(rng, ids, worst),
        "grades": _grades(rng, ids, worst),
        "treatments": _treatments(ids, worst),
    }
    label = Provenance(source="made in a test", synthetic=synthetic, citation="Nobody (1900).", licence="none")
    cohort = make("test cohort", tables, provenance=label)
    note = change_rows("measurements", "unit.detected", "values fit degrees Fahrenheit", item="temperature", rows=40)
    return cohort.with_changes(note)


def _measurements(rng: np.random.Generator, ids: list[str], worst: np.ndarray) -> pd.DataFrame:
    base = {
        "temperature": (37.0, 0.4, "Cel", "vital"),
        "crp": (20.0, 0.7, "mg/L", "serum"),
        "ferritin": (600.0, 0.8, "ng/mL", "serum"),
        "il_6": (8.0, 1.0, "pg/mL", "plasma"),
        "platelets": (90.0, 0.4, "10*9/L", "blood"),
        "gfap": (150.0, 0.5, "pg/mL", "csf"),
    }
    rows = []
    for i, patient in enumerate(ids):
        stay = int(rng.integers(8, 16))
        for day in range(-1, stay):
            for name, (centre, spread, unit, matrix) in base.items():
                if rng.random() < (0.75 if name != "gfap" else 0.04):
                    rise = worst[i] * 0.35 * np.exp(-(((day - 6) / 3) ** 2))
                    if name == "temperature":
                        value = centre + rng.normal(0, spread) + rise
                    else:
                        value = centre * np.exp(rng.normal(0, spread) + rise)
                    rows.append((patient, day * 24.0 + 6, name, matrix, round(float(value), 2), unit))
    frame = pd.DataFrame(rows, columns=["patient_id", "time_h", "analyte", "matrix", "value", "unit"])
    low = (frame["analyte"] == "il_6") & (frame["value"] < 3)
    frame["censor"] = np.where(low, "left", "none")
    frame["limit"] = np.where(low, 3.0, np.nan)
    frame.loc[low, "value"] = 3.0
    frame.loc[rng.random(len(frame)) < 0.03, "value"] = np.nan
    frame["available_h"] = frame["time_h"] + 4
    return frame


def _grades(rng: np.random.Generator, ids: list[str], worst: np.ndarray) -> pd.DataFrame:
    rows = []
    for i, patient in enumerate(ids):
        onset = int(rng.integers(3, 7))
        stay = int(rng.integers(10, 15))
        for day in range(stay):
            shape = max(0.0, 1 - abs(day - onset - 2) / 4) if worst[i] else 0.0
            for toxicity, peak in (("ICANS", worst[i]), ("CRS", min(3, worst[i] + 1))):
                rows.append((patient, day * 24.0, day * 24.0 + 24, toxicity, "ASTCT", float(np.ceil(peak * shape))))
    return pd.DataFrame(rows, columns=["patient_id", "time_h", "available_h", "toxicity", "scheme", "grade"])


def _treatments(ids: list[str], worst: np.ndarray) -> pd.DataFrame:
    rows = [(p, 0.0, "car_t", 0.5) for p in ids]
    rows += [(p, 96.0, "tocilizumab", 1.0) for p, g in zip(ids, worst, strict=True) if g >= 2]
    rows += [
        (p, 110.0 + 24 * k, "dexamethasone", 24.0) for p, g in zip(ids, worst, strict=True) if g >= 3 for k in range(3)
    ]
    return pd.DataFrame(rows, columns=["patient_id", "time_h", "drug", "duration_h"])


def synthetic_data(can_validate: bool | None = True, n: int = 60, synthetic: bool = True) -> ReportData:
    """A report with every part filled, from made-up results."""
    cohort = synthetic_cohort(n, synthetic=synthetic)
    rng = stream(3, "report results")
    return ReportData(
        study="Synthetic study of the tests",
        delivered=cohort,
        harmonised=cohort,
        findings=_findings(),
        problems=(
            Problem("measurements.csv", 12, "unit", "mg", "a unit of concentration", "Write mg/L.", "warning"),
            Problem("patients.csv", 3, "age_y", None, "an age", "Fill it in.", "warning"),
        ),
        audit=_audit(can_validate),
        tasks=(
            Task("icans_any", "Any ICANS", "First ICANS grade of 1 or more; death competes."),
            Task("icans_severe_cases", "Grade 3 or more, among cases", cases_only=True, anchor="onset"),
        ),
        headline=Headline("icans_any", "ridge", 72.0, HORIZON_H),
        performance=_performance(rng),
        comparisons=_comparisons(),
        calibration=_calibration(),
        decision=_decision(),
        grade_paths=_grade_paths(),
        crosswalk=pd.DataFrame(
            [("ICANS", "ASTCT", "CARTOX", a, b, 40 - 12 * abs(a - b)) for a in range(4) for b in range(4)],
            columns=["toxicity", "scheme_a", "scheme_b", "grade_a", "grade_b", "n"],
        ),
        agreement=pd.DataFrame(
            [("ICANS", "ASTCT", "CARTOX", 160, 0.71, 0.62, 0.80)],
            columns=["toxicity", "scheme_a", "scheme_b", "n", "kappa", "low", "high"],
        ),
        predictions=_predictions(rng, cohort),
        forecasts=_forecasts(rng, cohort),
        sample_size=("With 33 events, 3 candidate predictors can be afforded (made-up sentence).",),
        limits=("A made-up limit.",),
        methods={"Resampling": "5-fold, patients grouped, 3 repeats"},
        models=MODELS,
        run=RunInfo(
            config='[study]\nname = "test"\n', command="icans run study.toml", seed=1, started="2024-01-01T00:00:00",
            finished="2024-01-01T00:01:00", versions={"python": "3.11"}, inputs={"patients.csv": "ab" * 32},
            seconds={"harmonise": 1.25},
        ),
    )  # fmt: skip


def _findings() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("temperature", "batch", None, "unit", "[degF] to Cel", 40, 1.0, "98.6 in one batch, 37.0 in another"),
            ("crp", "patient", "P001", "unit", "mg/dL to mg/L", 6, 0.71, "values ten times lower than the cohort's"),
        ],
        columns=["analyte", "scope", "patient_id", "kind", "proposal", "n_rows", "confidence", "evidence"],
    )  # fmt: skip


def _audit(can_validate: bool | None) -> Audit:
    bad = can_validate is False
    table = pd.DataFrame(
        [
            (
                "icans_any",
                "source only",
                "separates" if bad else "quiet",
                0.99 if bad else 0.54,
                0.42,
                1.0,
                "source alone",
            ),
            ("icans_any", "decimals", "quiet", 0.55, 0.45, 0.65, "rounding alone"),
            ("icans_any", "missingness", "tells", 0.63, 0.52, 0.74, "pattern of what was measured"),
        ],
        columns=["task", "check", "verdict", "value", "low", "high", "what"],
    )
    words = (
        "The source alone tells who had ICANS (AUROC 0.99)." if bad else "The source alone says little (AUROC 0.54)."
    )
    return Audit(table, (words,), can_validate)


def _performance(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for task in ("icans_any", "icans_severe_cases"):
        for landmark in LANDMARKS_H:
            for horizon in (72.0, HORIZON_H):
                for i, model in enumerate(MODELS):
                    auroc = 0.5 if i == 0 else float(np.clip(0.55 + 0.07 * i + rng.normal(0, 0.03), 0.5, 0.95))
                    common = (task, model, landmark, horizon)
                    rows.append((*common, "auc", auroc, auroc - 0.09, auroc + 0.08, 55, 24))
                    rows.append((*common, "brier_scaled", 0.05 * i, 0.05 * i - 0.08, 0.05 * i + 0.09, 55, 24))
                    rows.append((*common, "oe", 1.04, 0.8, 1.3, 55, 24))
    columns = ["task", "model", "landmark_h", "horizon_h", "metric", "value", "low", "high", "n", "events"]
    return pd.DataFrame(rows, columns=columns)


def _comparisons() -> pd.DataFrame:
    rows = [("icans_any", "gbm", "ridge", 72.0, HORIZON_H, "auc", 0.01, -0.04, 0.06)]
    columns = ["task", "model", "reference_model", "landmark_h", "horizon_h", "metric", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _cells() -> list[tuple[str, str, float, float]]:
    return [("icans_any", m, s, HORIZON_H) for m in MODELS for s in LANDMARKS_H]


def _calibration() -> pd.DataFrame:
    x = np.linspace(0.05, 0.9, 30)
    parts = []
    for i, (task, model, landmark, horizon) in enumerate(_cells()):
        y = np.clip(x ** (1 + 0.05 * (i % 5)), 0, 1)
        parts.append(
            pd.DataFrame({"predicted": x, "observed": y, "low": y - 0.1, "high": y + 0.1}).assign(
                task=task, model=model, landmark_h=landmark, horizon_h=horizon
            )
        )
    return pd.concat(parts, ignore_index=True)


def _decision() -> pd.DataFrame:
    t = np.linspace(0.05, 0.3, 20)
    parts = []
    for task, model, landmark, horizon in [*_cells(), *[("icans_any", "treat all", s, HORIZON_H) for s in LANDMARKS_H]]:
        share = 0.4
        benefit = share - (1 - share) * t / (1 - t) if model == "treat all" else 0.36 - 0.4 * t
        band = {} if model == "treat all" else {"low": benefit - 0.05, "high": benefit + 0.05}
        frame = pd.DataFrame({"threshold": t, "net_benefit": benefit, **band})
        parts.append(frame.assign(task=task, model=model, landmark_h=landmark, horizon_h=horizon))
    return pd.concat(parts, ignore_index=True)


def _grade_paths() -> pd.DataFrame:
    rows = [
        (model, landmark, lead, rate * lead / 24, rate * lead / 30, rate * lead / 20, 50)
        for model, rate in (("persistence", 0.03), ("markov", 0.024))
        for landmark in LANDMARKS_H
        for lead in (24.0, 48.0, 72.0, 120.0)
    ]
    return pd.DataFrame(rows, columns=["model", "landmark_h", "lead_h", "rps", "low", "high", "n"])


def _predictions(rng: np.random.Generator, cohort: Cohort) -> pd.DataFrame:
    parts = []
    for task, model, landmark, horizon in _cells():
        n = len(cohort)
        event = rng.choice([0, 1, 2], n, p=[0.55, 0.4, 0.05])
        risk = np.clip(rng.beta(2, 4, n) + 0.2 * (event == 1), 0, 1)
        parts.append(
            pd.DataFrame(
                {
                    "task": task, "model": model, "landmark_h": landmark, "horizon_h": horizon, "repeat": 0, "fold": 0,
                    "patient_id": cohort.patient_ids, "risk": risk, "time_h": rng.uniform(1, 400, n), "event": event,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _forecasts(rng: np.random.Generator, cohort: Cohort) -> pd.DataFrame:
    rows = []
    for patient in cohort.patient_ids:
        for landmark in LANDMARKS_H:
            risk = float(rng.uniform(0.1, 0.8))
            rows.append(("icans_any", "ridge", landmark, HORIZON_H, patient, risk, risk * 0.6, min(1.0, risk * 1.3)))
    columns = ["task", "model", "landmark_h", "horizon_h", "patient_id", "risk", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def whole_page(once: Callable[[str, Callable[[], str]], Path]) -> Path:
    """A whole report, made once for all test files (``once``: the fixture of that name)."""
    return once("whole-report.html", lambda: render(synthetic_data(n=24)))
