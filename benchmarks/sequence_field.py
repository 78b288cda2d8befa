"""Networks on sequences against the field, same splits: PBC2 (five given folds) and intensive care 2012 (three folds).

Each fit (set, repeat, fold, model) is one step that is stored; a run that was stopped goes on where it was.
Run: ``ICANS_DATA=... python benchmarks/sequence_field.py [pbc2|icu] [--folder F] [--repeats R]``. Out-of-fold
predictions go to ``<folder>/<set>.parquet`` in the columns of the ladder, so that others can be joined to them; tables
go to ``benchmarks/results/sequence_field-<set>.md`` and ``.json``. Settings are the documented ones.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.core.resume import Checkpoints
from icans.datasets import load
from icans.datasets.pbc import DAYS_PER_YEAR
from icans.evaluate.performance import measure
from icans.forecast.crossval import PREDICTION_COLUMNS
from icans.forecast.features import FeatureSpec, feature_table
from icans.forecast.inputs import Inputs, history
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import Horizon
from icans.forecast.sequence.encode import EncodeSpec
from icans.forecast.sequence.rung import SequenceModel
from icans.forecast.sequence.train import TrainSpec

YEAR = DAYS_PER_YEAR * 24.0
CELLS = ("gru", "lstm", "grud", "attention", "tcn", "cde")
METRICS = ("auc", "auc_within_fold", "brier", "brier_scaled", "oe", "slope", "ici")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Field:
    """A set of data with its splits.

    ``train`` and ``asked`` say which rows train the networks, and at which forecasts are made (tables train the
    others, too: a landmark model has a baseline for each of its landmarks).
    """

    name: str
    inputs: Inputs
    outcome: pd.DataFrame
    asked: np.ndarray
    horizons: tuple[Horizon, ...]
    folds: tuple[pd.Series, ...]
    models: dict[str, Any]
    unit: tuple[float, str]
    about: str


def digest(text: str) -> int:
    """A number that decides a place in a split."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def split(code: pd.Series, folds: int, name: str) -> pd.Series:
    """Folds within strata: sorted by digest of the patient's number, dealt in turn from an offset of the stratum."""
    fold: dict[str, int] = {}
    for stratum, members in code.groupby(code):
        ids = sorted(members.index, key=lambda p: digest(f"{name}|{p.split('-')[1]}"))
        offset = digest(f"{name}|off{stratum}") % folds
        fold |= {p: (j + offset) % folds for j, p in enumerate(ids)}
    return pd.Series(fold)


def networks(encode: EncodeSpec, hidden: int, train: TrainSpec) -> dict[str, SequenceModel]:
    """One model for each cell."""
    return {cell: SequenceModel(cell, hidden, 16, encode, train) for cell in CELLS}


def pbc2(folder: Path, repeats: int) -> Field:
    """Death or transplantation after 1, 3 and 5 years, within two and three years."""
    cohort = load("pbc2", folder / "survival_longitudinal")
    end = cohort.events.drop_duplicates("patient_id").set_index("patient_id")
    code = end["event"].map({"last_seen": 0, "death": 1, "transplant": 2})
    spec = FeatureSpec(statistics=("max", "min", "mean", "slope"), windows_d=(None,), toxicities=(), drugs={},
                       scores=()).resolve(cohort)  # fmt: skip
    grid = [0.5 * YEAR * k for k in range(17)]
    table = feature_table(cohort, grid, spec)
    patient, landmark = (table.index.get_level_values(k) for k in range(2))
    ahead = end["time_h"].reindex(patient).to_numpy() - landmark.to_numpy()
    event = (code.reindex(patient).to_numpy() > 0).astype(int)
    outcome = pd.DataFrame({"patient_id": patient, "landmark_h": landmark, "time_h": ahead, "event": event})
    at_risk = ahead > 0
    inputs = Inputs(table, landmark.to_numpy(dtype=float), history(cohort, spec))[at_risk]
    outcome = outcome[at_risk].reset_index(drop=True)
    asked = outcome["landmark_h"].isin([YEAR, 3 * YEAR, 5 * YEAR]).to_numpy()
    encode = EncodeSpec(bin_h=720.0, max_steps=16, scale_h=YEAR / 2)
    models = {
        "logistic_last": LastValueLogistic(),
        "cox_last": LandmarkCox(),
        "boosting": Boosting(),
        **networks(encode, 16, TrainSpec()),
    }
    about = (
        f"{cohort.patients['patient_id'].nunique()} patients, {int((code == 1).sum())} deaths and "
        f"{int((code == 2).sum())} transplantations (one event together). Networks train on risk sets of every half "
        "year from 0 to 8, the others on those of years 1, 3 and 5 (a baseline each). Five folds within strata, given."
    )
    folds = tuple(split(code, 5, f"pbc2|{r}") for r in range(repeats))
    return Field("pbc2", inputs, outcome, asked, (Horizon(2 * YEAR), Horizon(3 * YEAR)), folds, models, (YEAR, "y"),
                 about)  # fmt: skip


def icu(folder: Path, repeats: int) -> Field:
    """Death in hospital, seen from 6, 12, 24 and 48 hours after admission."""
    cohort = load("cinc2012_icu", folder / "cinc2012_icu")
    raw = pd.read_csv(folder / "cinc2012_icu" / "outcomes_a.csv")
    raw.index = pd.Index("ICU-" + raw["RecordID"].astype(str))
    died = raw["In-hospital_death"] == 1
    stay = (raw["Length_of_stay"].clip(lower=2) + 1) * 24.0
    end = stay.where(~died, (raw["Survival"].where(raw["Survival"] > 0, raw["Length_of_stay"]) + 1).clip(lower=3) * 24)
    seen = sorted(set(cohort.measurements["analyte"]) - {"saps_i", "sofa"})
    spec = FeatureSpec(analytes=tuple(seen), static=("age_y", "sex", "site"), windows_d=(None,), toxicities=(),
                       statistics=("max", "min", "mean", "slope", "count"), drugs={}, scores=(),
                       missingness_features=True)  # fmt: skip
    at = [6.0, 12.0, 24.0, 48.0]
    table = feature_table(cohort, at, spec)
    patient, landmark = (table.index.get_level_values(k) for k in range(2))
    outcome = pd.DataFrame({"patient_id": patient, "landmark_h": landmark})
    outcome["time_h"] = end.reindex(patient).to_numpy() - landmark.to_numpy()
    outcome["event"] = np.where(died.reindex(patient), 1, 2)
    inputs = Inputs(table, landmark.to_numpy(dtype=float), history(cohort, spec))
    horizon = Horizon(float(np.ceil(end.max() / 24.0) + 1) * 24.0, until=True)
    encode = EncodeSpec(bin_h=2.0, max_steps=24)
    models = {
        "logistic_last": LastValueLogistic(),
        "cox_last": LandmarkCox(),
        "boosting": Boosting(trees=(0, 40, 80, 160), leaves=8),
        **networks(encode, 32, TrainSpec(check_every=15, patience=6)),
    }
    about = (
        f"{len(died)} stays (a random quarter of set A), {int(died.sum())} deaths in hospital; discharge competes. "
        "Three folds within strata (two thirds train, a third tests); one network for all four landmarks, steps of 2 h."
    )
    folds = tuple(split(died.astype(int), 3, f"icu|{r}") for r in range(repeats))
    return Field("icu", inputs, outcome, np.ones(len(outcome), dtype=bool), (horizon,), folds, models, (1.0, "h"),
                 about)  # fmt: skip


def one_fit(field: Field, repeat: int, fold: int, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit one model on one fold; predictions of the patients left out, and what it took."""
    held = field.folds[repeat].reindex(field.outcome["patient_id"]).to_numpy() == fold
    model = field.models[name]
    network = isinstance(model, SequenceModel)
    train, test = (~held if network else ~held & field.asked), held & field.asked
    begin = time.process_time()
    seen = field.inputs[train] if network else field.inputs[train].table
    fitted = model.fit(seen, field.outcome[train].reset_index(drop=True), field.horizons, seed=1000 * repeat + fold)
    spent = time.process_time() - begin
    frames = []
    for horizon in field.horizons:
        shown = field.inputs[test] if network else field.inputs[test].table
        rows = field.outcome[test]
        window = horizon.window(rows["landmark_h"].to_numpy(dtype=float))
        frames.append(rows.assign(horizon_h=window, risk=fitted.predict(shown, horizon)))
    made = pd.concat(frames, ignore_index=True)
    made = made.assign(task=field.name, model=name, repeat=repeat, fold=fold)[PREDICTION_COLUMNS]
    line = {"model": name, "repeat": repeat, "fold": fold, "cpu_s": spent, "parameters": int(fitted.parameters)}
    return made, line | {k: round(float(v), 4) for k, v in fitted.settings().items()}


def run(field: Field, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All fits, those that are stored read back."""
    store = Checkpoints(folder / field.name, [field.about])
    frames, lines = [], []
    for repeat, plan in enumerate(field.folds):
        for fold in sorted(plan.unique()):
            for name, model in field.models.items():
                step = f"{name}-r{repeat}-f{fold}"
                frame, line = store.step(step, lambda r=repeat, k=fold, n=name: one_fit(field, r, k, n), repr(model))
                print(f"{field.name} {step}: {line['cpu_s']:.1f} s of CPU", flush=True)
                frames.append(frame)
                lines.append(line)
    return pd.concat(frames, ignore_index=True), pd.DataFrame(lines)


def averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with two means of risks added: of all networks, and of Cox, boosting and GRU-D."""
    keys = [c for c in PREDICTION_COLUMNS if c not in ("model", "risk")]
    parts = [predictions]
    for name, members in (("mean_networks", CELLS), ("mean_cox_boosting_grud", ("cox_last", "boosting", "grud"))):
        some = predictions[predictions["model"].isin(members)]
        parts.append(some.groupby(keys, as_index=False)["risk"].mean().assign(model=name))
    return pd.concat(parts, ignore_index=True)[PREDICTION_COLUMNS]


def report(field: Field, predictions: pd.DataFrame, fits: pd.DataFrame) -> None:
    """Tables of performance and paired differences, as text and as JSON."""
    measured = measure(averaged(predictions), n_boot=300, seed=1)
    found = measured.performance()
    found = found[found["metric"].isin(METRICS)].sort_values(["landmark_h", "horizon_h"], kind="stable")
    references = ["cox_last", "boosting"]
    gaps = pd.concat([measured.compare(r) for r in references])
    gaps = gaps[gaps["metric"].isin(["auc", "brier"])].sort_values(["landmark_h", "horizon_h"], kind="stable")
    cost = fits.groupby("model", sort=False).agg(cpu_s=("cpu_s", "mean"), parameters=("parameters", "max"))
    lines = [f"# Networks on sequences against the field: {field.name}", "", field.about, ""]
    lines += [
        "Metrics are means over repeats of the cross-validation on out-of-fold risks; 95 % intervals from 300 "
        "resamples of patients, forecasts fixed. `mean_...` are plain means of risks. Settings were not searched for; "
        "the neural CDE's start was changed once after a look at the inner loss of training patients of one fold of "
        "the intensive care set.",
        "",
    ]
    lines += [*_performance_table(field, found), "", "## Paired differences", "", *_difference_table(field, gaps)]
    lines += ["", "## Cost of a fit (CPU seconds, one core, compilation included where it fell) and size", ""]
    lines += ["| model | CPU s | parameters |", "|---|---|---|"]
    lines += [f"| {name} | {row.cpu_s:.1f} | {int(row.parameters)} |" for name, row in cost.iterrows()]
    write_text(RESULTS / f"sequence_field-{field.name}.md", "\n".join(lines) + "\n")
    keep = ["model", "landmark_h", "horizon_h", "metric", "value", "low", "high", "n", "events"]
    body = {"about": field.about, "performance": _plain(found[keep]),
            "differences": _plain(gaps[["model", "reference_model", "landmark_h", "horizon_h", "metric",
                                        "difference", "low", "high"]]),
            "fits": _plain(fits)}  # fmt: skip
    write_text(RESULTS / f"sequence_field-{field.name}.json", json.dumps(body, indent=0) + "\n")


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.round(5).astype(object).where(frame.notna(), None)
    return rows.to_dict("records")


def _performance_table(field: Field, found: pd.DataFrame) -> list[str]:
    unit, letter = field.unit
    heads = ("landmark", "window", "model", "n (events)", "AUC (95 % CI)", "AUC within fold", "Brier", "scaled", "O/E",
             "slope", "ICI")  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (at, window, model), rows in found.groupby(["landmark_h", "horizon_h", "model"], sort=False):
        get = rows.set_index("metric")
        v = get["value"]
        lines.append(
            f"| {at / unit:.3g} {letter} | {window / unit:.3g} {letter} | {model} | {int(get['n'].iloc[0])} "
            f"({int(get['events'].iloc[0])}) | {v['auc']:.3f} ({get['low']['auc']:.3f}-{get['high']['auc']:.3f}) | "
            f"{v['auc_within_fold']:.3f} | {v['brier']:.4f} | {v['brier_scaled']:.3f} | {v['oe']:.2f} | "
            f"{v['slope']:.2f} | {v['ici']:.3f} |"
        )
    return lines


def _difference_table(field: Field, gaps: pd.DataFrame) -> list[str]:
    unit, letter = field.unit
    lines = ["| landmark | window | model minus reference | AUC (95 % CI) | Brier (95 % CI) |", "|---|---|---|---|---|"]
    keys = ["landmark_h", "horizon_h", "model", "reference_model"]
    for (at, window, model, reference), rows in gaps.groupby(keys, sort=False):
        get = rows.set_index("metric")
        cells = [f"{get['difference'][m]:+.4f} ({get['low'][m]:+.4f}, {get['high'][m]:+.4f})" for m in ("auc", "brier")]
        lines.append(f"| {at / unit:.3g} {letter} | {window / unit:.3g} {letter} | {model} - {reference} | "
                     f"{cells[0]} | {cells[1]} |")  # fmt: skip
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sets that were asked for and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["pbc2", "icu"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "icans-sequence-field")
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args(arguments)
    data = Path(os.environ["ICANS_DATA"])
    for name in asked.sets:
        field = {"pbc2": pbc2, "icu": icu}[name](data, asked.repeats)
        predictions, fits = run(field, asked.folder)
        predictions.to_parquet(asked.folder / f"{name}.parquet", index=False)
        report(field, predictions, fits)


if __name__ == "__main__":
    main()
