"""The stack beside its rungs: PBC2 by given folds, the first 1,000 stays of ICU 2012, and the synthetic demo.

Run with ``ICANS_DATA=... python benchmarks/stack.py [pbc2] [icu] [demo]``. Every rung, the super learner over the
rungs and the integration layer over modalities are fitted anew in each fold. With
``--predictions FILE.parquet`` nothing is fitted: stored out-of-fold predictions of any models (networks on sequences
beside tabular rungs, say ``benchmarks/sequence_field.py``'s) are stacked by weights learned on the other folds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.datasets import load
from icans.datasets.demo import demo_cohort
from icans.datasets.pbc import DAYS_PER_YEAR
from icans.evaluate.performance import measure
from icans.forecast.dataset import examples
from icans.forecast.features import FeatureSpec, feature_table
from icans.forecast.integrate.crossed import stack_predictions
from icans.forecast.integrate.members import expert_model, experts
from icans.forecast.integrate.modalities import MODALITIES, Modality
from icans.forecast.integrate.stack import Stack, integration_rung, stack_rung
from icans.forecast.ladder import Rung, ladder
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.tuning import ever_event, patient_folds
from icans.harmonize.pipeline import harmonize

HERE = Path(__file__).parent / "results"
YEAR = DAYS_PER_YEAR * 24.0
#: Experts of one modality each without trees, to see what trees (and the member that sees all) add.
LOGISTIC = {"": expert_model()}
METRICS = ("auc", "brier", "brier_scaled", "slope", "oe", "ici")
RESAMPLES = 500
#: Modalities of intensive care: the stack's members where there is no cytokine, EEG or imaging.
ICU_MODALITIES = (
    Modality("vital", "vital signs", analytes=("vital sign", "clinical sign")),
    Modality("gas", "blood gas", analytes=("blood gas",)),
    Modality("chemistry", "chemistry", analytes=("chemistry", "tissue", "acute phase", "coagulation")),
    Modality("blood", "blood count", analytes=("blood count",)),
    Modality("patient", "patient and unit", ("static", "lab", "grade", "drug")),
)


@dataclass(frozen=True)
class Setting:
    """A data set ready for cross-validation: features, outcome, fold of each row for each repeat."""

    name: str
    table: pd.DataFrame
    outcome: pd.DataFrame
    folds: tuple[np.ndarray, ...]
    horizons: tuple[Horizon, ...]
    modalities: tuple[Modality, ...]
    note: str


def digest(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def pbc2_folds(code: pd.Series, repeat: int) -> pd.Series:
    """The given split: five folds within strata of status, by SHA-256 of the patient's number."""
    fold: dict[str, int] = {}
    for stratum, members in code.groupby(code):
        ids = sorted(members.index, key=lambda p: digest(f"pbc2|{repeat}|{p.removeprefix('PBC-')}"))
        offset = digest(f"pbc2|{repeat}|off{stratum}") % 5
        fold |= {p: (j + offset) % 5 for j, p in enumerate(ids)}
    return pd.Series(fold)


def pbc2(folder: Path, repeats: int) -> Setting:
    """Death or transplantation within two and three years, seen from one, three and five years."""
    cohort = load("pbc2", folder / "survival_longitudinal")
    end = cohort.events.drop_duplicates("patient_id").set_index("patient_id")
    code = end["event"].map({"last_seen": 0, "death": 1, "transplant": 2})
    spec = FeatureSpec(toxicities=(), drugs={}, scores=())
    table = feature_table(cohort, [YEAR, 3 * YEAR, 5 * YEAR], spec)
    patient, landmark = (table.index.get_level_values(k) for k in range(2))
    time_h = end["time_h"].reindex(patient).to_numpy() - landmark.to_numpy()
    event = (code.reindex(patient).to_numpy() > 0).astype(int)
    outcome = pd.DataFrame({"patient_id": patient, "landmark_h": landmark, "time_h": time_h, "event": event})
    kept = time_h > 0
    outcome = outcome[kept].reset_index(drop=True)
    folds = tuple(pbc2_folds(code, r).reindex(outcome["patient_id"]).to_numpy() for r in range(repeats))
    note = "312 patients; folds given (five, within status, by SHA-256 of the patient's number); composite outcome"
    return Setting("pbc2", table[kept], outcome, folds, (Horizon(2 * YEAR), Horizon(3 * YEAR)), MODALITIES, note)


def icu(folder: Path, repeats: int) -> Setting:
    """Death in hospital, seen from 24 and 48 hours of intensive care; leaving alive competes."""
    cohort = harmonize(load("cinc2012_icu", folder / "cinc2012_icu")).cohort
    events = cohort.events.sort_values("time_h").drop_duplicates("patient_id").set_index("patient_id")["event"]
    died = (events == "death").reindex(cohort.patient_ids)
    named = tuple(sorted(set(cohort.measurements["analyte"].astype(str)) - {"saps_i", "sofa"}))
    spec = FeatureSpec(analytes=named, static=("age_y", "sex", "site"), toxicities=(), drugs={}, scores=())
    table = feature_table(cohort, [24.0, 48.0], spec)
    patient, landmark = (table.index.get_level_values(k) for k in range(2))
    event = np.where(died.reindex(patient).to_numpy(), 1, 2)
    # The day is not used: deaths are put before the end of the window, and leaving alive after them.
    when = np.where(event == 1, 24.0, 36.0)
    outcome = pd.DataFrame({"patient_id": patient, "landmark_h": landmark, "time_h": when, "event": event})
    strata = ever_event(outcome)
    folds = tuple(
        outcome["patient_id"].map(patient_folds(strata, 5, stream(1, "icu folds", r))).to_numpy()
        for r in range(repeats)
    )
    note = "first 1,000 stays of set A; in-hospital death as a status (no time); five folds by outcome"
    return Setting("icu", table, outcome, folds, (Horizon(48.0),), ICU_MODALITIES, note)


def demo(_folder: Path, repeats: int) -> Setting:
    """ICANS of any grade in 250 synthetic patients."""
    cohort = harmonize(demo_cohort(n=250, seed=5)).cohort
    data = examples(cohort, TASKS["icans_any"], (24.0, 72.0, 120.0), FeatureSpec(scores=()))
    strata = ever_event(data.outcome)
    folds = tuple(
        data.outcome["patient_id"].map(patient_folds(strata, 5, stream(1, "demo folds", r))).to_numpy()
        for r in range(repeats)
    )
    note = "SYNTHETIC patients (demo cohort, n = 250, seed 5); five folds by outcome"
    return Setting("demo", data.table, data.outcome, folds, (Horizon(72.0), Horizon(120.0)), MODALITIES, note)


SETTINGS = {"pbc2": pbc2, "icu": icu, "demo": demo}


def predict(setting: Setting, rungs: list[Rung]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold predictions of every rung, and seconds and settings of every fit."""
    made, fits = [], []
    for repeat, fold in enumerate(setting.folds):
        for k in np.unique(fold).tolist():
            train, test = fold != k, fold == k
            known, asked = (setting.outcome[m].reset_index(drop=True) for m in (train, test))
            for rung in rungs:
                start = time.process_time()
                try:
                    model = rung.fit(setting.table[train], known, setting.horizons, 1000 * repeat + k)
                except NotEstimableError as error:
                    print(setting.name, rung.name, error, flush=True)
                    continue
                line = {"repeat": repeat, "fold": k, "model": rung.name, "seconds": time.process_time() - start}
                fits.append(line | {"settings": model.settings()})
                for horizon in setting.horizons:
                    risk = model.predict(setting.table[test], horizon)
                    columns = {"model": rung.name, "horizon_h": horizon.hours, "risk": risk}
                    made.append(asked.assign(**columns, repeat=repeat, fold=k))
            print(setting.name, "repeat", repeat, "fold", k, flush=True)
    return pd.concat(made, ignore_index=True).assign(task=setting.name), pd.DataFrame(fits)


def judged(setting: Setting, predictions: pd.DataFrame, stacks: list[str]) -> dict[str, object]:
    """Performance of all, and each stack minus each rung on the same resamples of patients."""
    measured = measure(predictions, n_boot=RESAMPLES, seed=1)
    table = measured.performance()
    table = table[table["metric"].isin(METRICS)]
    wanted = ["model", "landmark_h", "horizon_h", "metric", "value", "low", "high", "n", "events"]
    differences = []
    for name in [m for m in predictions["model"].unique() if m not in stacks]:
        gap = measured.compare(name)
        differences.append(gap[gap["model"].isin(stacks) & gap["metric"].isin(("auc", "brier"))])
    gaps = pd.concat(differences)
    columns = ["model", "reference_model", "landmark_h", "horizon_h", "metric", "difference", "low", "high"]
    return {"note": setting.note, "performance": table[wanted].to_dict("records"),
            "differences": gaps[columns].to_dict("records")}  # fmt: skip


def text(name: str, found: dict[str, object], fits: pd.DataFrame) -> str:
    """The results as a page."""
    table = pd.DataFrame(found["performance"])
    gaps = pd.DataFrame(found["differences"])
    unit, word = (YEAR, "y") if name.startswith("pbc2") else (24.0, "d")
    lines = [f"## {name}", "", str(found["note"]), "",
             "| landmark | horizon | model | AUC | Brier | scaled | slope | O/E | ICI |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip  # noqa: E501
    for (at, horizon, model), part in table.groupby(["landmark_h", "horizon_h", "model"], sort=False):
        v = part.set_index("metric")
        auc = v.loc["auc"]
        lines.append(
            f"| {at / unit:.3g} {word} | {horizon / unit:.3g} {word} | {model} | {auc['value']:.3f} ({auc['low']:.3f}-"
            f"{auc['high']:.3f}) | {v.loc['brier', 'value']:.4f} | {v.loc['brier_scaled', 'value']:.3f} | "
            f"{v.loc['slope', 'value']:.2f} | {v.loc['oe', 'value']:.2f} | {v.loc['ici', 'value']:.3f} |"
        )
    lines += ["", "Each stack minus the best single rung (lowest Brier score of the cell, chosen after the fact, which "
              "favours the rung), and minus each other, 95 % intervals over patients:", "",
              "| landmark | horizon | stack | best rung | Brier | AUC |", "|---|---|---|---|---|---|"]  # fmt: skip
    stacks = set(gaps["model"])
    brier = table[(table["metric"] == "brier") & ~table["model"].isin(stacks)]
    for (at, horizon), part in brier.groupby(["landmark_h", "horizon_h"], sort=False):
        best = part.loc[part["value"].idxmin(), "model"]
        mine = gaps[(gaps["landmark_h"] == at) & (gaps["horizon_h"] == horizon) & (gaps["reference_model"] == best)]
        for model, rows in mine.groupby("model", sort=False):
            v = rows.set_index("metric")
            cells = [f"{v.loc[m, 'difference']:.4f} ({v.loc[m, 'low']:.4f} to {v.loc[m, 'high']:.4f})"
                     for m in ("brier", "auc")]  # fmt: skip
            lines.append(
                f"| {at / unit:.3g} {word} | {horizon / unit:.3g} {word} | {model} | {best} | {cells[0]} | {cells[1]} |"
            )
    lines += ["", "Mean settings of the stacks over the fits, and processor seconds of a fit:", ""]
    for model, part in fits.groupby("model", sort=False):
        chosen = pd.DataFrame(part["settings"].tolist()).mean().round(3).to_dict() if model in stacks else {}
        lines.append(f"- {model}: {part['seconds'].mean():.1f} s" + (f"; {chosen}" if chosen else ""))
    return "\n".join(lines) + "\n"


def stored(path: Path) -> None:
    """Stack stored predictions: everything, the networks alone, the tabular models alone."""
    predictions = pd.read_parquet(path)
    name = f"{predictions['task'].iloc[0]}-stored"
    every = predictions["model"].unique().tolist()
    tabular = [m for m in every if m in ("prevalence", "logistic_last", "cox_last", "cox_supermodel", "boosting")]
    networks = [m for m in every if m not in tabular]
    parts, shares = [predictions], []
    chosen = {"stack_all": every, "stack_tabular": tabular, "stack_networks": networks}
    for label, models in chosen.items():
        if len(models) > 1:
            made, weights = stack_predictions(predictions, models, name=label)
            parts.append(made)
            shares.append(weights.assign(stack=label))
    note = f"stored out-of-fold predictions of {', '.join(every)}; weights from the other folds"
    setting = Setting(name, pd.DataFrame(), pd.DataFrame(), (), (), MODALITIES, note)
    found = judged(setting, pd.concat(parts, ignore_index=True), list(chosen))
    weights = pd.concat(shares).groupby(["stack", "model"], sort=False)["weight"].mean().round(3)
    page = text(name, found, pd.DataFrame(columns=["model", "seconds", "settings"]))
    page = page.split("Mean settings of the stacks")[0]
    lines = [f"- {stack}: " + ", ".join(f"{m} {w:g}" for m, w in part.droplevel(0).items())
             for stack, part in weights.groupby(level=0, sort=False)]  # fmt: skip
    page += "\n".join(["Mean weights over folds:", "", *lines]) + "\n"
    (HERE / f"stack-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / f"stack-{name}.md").write_text(page)
    print(page, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--predictions", type=Path, help="parquet of out-of-fold predictions of other models")
    options = parser.parse_args()
    if options.predictions is not None:
        return stored(options.predictions)
    folder = Path(os.environ["ICANS_DATA"])
    rungs = [r for r in ladder(scores=()) if r.name not in ("crs_rule",)]
    HERE.mkdir(exist_ok=True)
    for name in options.names:
        setting = SETTINGS[name](folder, options.repeats)
        alone = Rung("experts", "", Stack(experts(setting.table, setting.modalities)))
        plain = Rung("experts_logistic", "", Stack(experts(setting.table, setting.modalities, models=LOGISTIC)))
        every = [*rungs, stack_rung(rungs), integration_rung(setting.modalities), alone, plain]
        predictions, fits = predict(setting, every)
        stacks = ["stack", "integration", "experts", "experts_logistic"]
        found = judged(setting, predictions, stacks)
        (HERE / f"stack-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        (HERE / f"stack-{name}.md").write_text(text(name, found, fits))
        print(text(name, found, fits), flush=True)


if __name__ == "__main__":
    main()
