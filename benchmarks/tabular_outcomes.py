"""Worst grade, onset time and states beside their plain rivals, out of fold; processor seconds at 200 patients.

Run with ``ICANS_DATA=... python benchmarks/tabular_outcomes.py [grades] [onset] [states] [costs]``; results go to
``benchmarks/results/tabular-<name>.md`` and ``.json``. The demo is SYNTHETIC.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from tabular import rungs, write

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.datasets import load
from icans.datasets.demo import demo_cohort
from icans.evaluate.ordinal import compare_ordinal, ordinal_scores
from icans.forecast.crossval import Design, horizons_for
from icans.forecast.dataset import examples
from icans.forecast.features import FeatureSpec, feature_table
from icans.forecast.grade_outcomes import worst_grades
from icans.forecast.grades_crossval import cross_validate_grades
from icans.forecast.models.discrete import DiscreteHazards
from icans.forecast.models.grades import OrdinalGrades
from icans.forecast.models.phenotype_model import PhenotypeModel
from icans.forecast.multistate import occupation, transition_matrix
from icans.forecast.multistate_cox import MultiState
from icans.forecast.onset_time import OnsetTimes, coverage
from icans.forecast.outcomes import DEFAULT_LANDMARKS_H, TASKS, Horizon, Task
from icans.forecast.phenotypes import phenotype_table
from icans.forecast.states import Spells, spells
from icans.forecast.tuning import ever_event, patient_folds
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.pipeline import harmonize

WEEK = Horizon(168.0)
CASES = Task("icans_given_icans", threshold=0.0, strict=True, case_threshold=0.0, cases_only=True)
SETS = {"demo (SYNTHETIC)": TASKS["icans_any"], "nulisa_cart_lbcl": TASKS["icans_any"], "bwh_icans": CASES}
RESAMPLES = 200


def cohort_of(name: str, folder: Path) -> Cohort:
    """A harmonised, graded cohort."""
    if name.startswith("demo"):
        return harmonize(demo_cohort(n=250, seed=5)).cohort
    return grade_cohort(harmonize(load(name, folder / name)).cohort)


def grades(folder: Path) -> None:
    """Ranked probability scores against the distribution of the landmark's risk set."""
    lines = [
        "## Worst ICANS grade within 7 d",
        "",
        "Out of fold (2 x 5 folds). Difference in ranked probability score to the distribution of grades of the "
        "landmark's risk set, 95 % intervals over patients; negative is better.",
        "",
        "| data | landmark | model | patients | RPS | skill | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = []
    for name, task in SETS.items():
        found, _ = cross_validate_grades(
            cohort_of(name, folder), task, (48.0, 72.0, 120.0), WEEK, repeats=2, spec=FeatureSpec(scores=())
        )
        scores = ordinal_scores(found, n_boot=2, cuts=()).set_index(["landmark_h", "model", "metric"])
        gaps = compare_ordinal(found, "grades_of_risk_set", n_boot=RESAMPLES, seed=1)
        for gap in gaps[gaps["metric"] == "rps"].sort_values(["landmark_h", "model"]).to_dict("records"):
            rps, skill = (scores.loc[(gap["landmark_h"], gap["model"], m), "value"] for m in ("rps", "rps_skill"))
            lines.append(
                f"| {name} | {gap['landmark_h'] / 24:g} d | {gap['model']} | {gap['n']} | {rps:.4f} | {skill:.3f} | "
                f"{gap['difference']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}) |"
            )
            rows.append({"data": name, **gap, "rps": rps, "skill": skill})
    write("grades", lines, {"rows": rows})


def onset(folder: Path) -> None:
    """Coverage of onset intervals, out of fold, and the error of the median given onset."""
    lines = [
        "## Onset time",
        "",
        "Out of fold (5 folds): how often the 80 % interval of the onset, given that it comes, held it (whole days: "
        "intervals hold whole bins), and the mean absolute error of the median given onset beside that of the risk "
        "set's.",
        "",
        "| data | landmark | onsets | coverage | before | after | error, d | error of the risk set's median, d |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = []
    for name in ("demo (SYNTHETIC)", "nulisa_cart_lbcl"):
        data = examples(cohort_of(name, folder), SETS[name], (24.0, 72.0, 120.0), FeatureSpec(scores=()))
        horizons, _ = horizons_for(data.outcome, Design())
        fold = patient_folds(ever_event(data.outcome), 5, stream(1, "onset folds"))
        mine = data.outcome["patient_id"].map(fold).to_numpy()
        parts = {"model": DiscreteHazards(), "rival": DiscreteHazards(penalties=(1e9,))}
        made: dict[str, list[OnsetTimes]] = {key: [] for key in parts}
        order = []
        for k in range(5):
            train, test = mine != k, mine == k
            order.append(np.flatnonzero(test))
            for key, model in parts.items():
                fitted = model.fit(data.table[train], data.outcome[train].reset_index(drop=True), horizons, k)
                made[key].append(fitted.onset(data.table[test]))
        outcome = data.outcome.iloc[np.concatenate(order)].reset_index(drop=True)
        joined = {key: _joined(times) for key, times in made.items()}
        for landmark, group in outcome.groupby("landmark_h"):
            own = {key: _rows(times, group.index.to_numpy()) for key, times in joined.items()}
            found = coverage(own["model"], group.reset_index(drop=True), 0.8)
            had = ((group["event"] == 1) & (group["time_h"] <= own["model"].edges[-1])).to_numpy()
            error = {
                key: float(np.abs(t.quantile(0.5, given_onset=True)[had] - group["time_h"][had]).mean() / 24)
                for key, t in own.items()
            }
            lines.append(
                f"| {name} | {landmark / 24:g} d | {found['onsets']:.0f} | {found['coverage']:.2f} | "
                f"{found['below']:.2f} | {found['above']:.2f} | {error['model']:.2f} | {error['rival']:.2f} |"
            )
            rows.append({"data": name, "landmark_h": landmark, **found, **error})
    write("onset", lines, {"rows": rows})


def _joined(times: list[OnsetTimes]) -> OnsetTimes:
    """Rows of all folds on the edges that they share (folds may have times of events that others lack)."""
    edges = np.unique(np.concatenate([t.edges for t in times]))
    curves = [
        [np.vstack([np.interp(edges, t.edges, row) for row in getattr(t, part)]) for t in times]
        for part in ("incidence", "free")
    ]
    index = times[0].index.append([t.index for t in times[1:]])
    return OnsetTimes(edges, np.vstack(curves[0]), np.vstack(curves[1]), index)


def _rows(times: OnsetTimes, rows: np.ndarray) -> OnsetTimes:
    return OnsetTimes(times.edges, times.incidence[rows], times.free[rows], times.index[rows])


def states(folder: Path) -> None:
    """Where a patient will be: models of every move against the landmark Aalen-Johansen curve of the state today."""
    cohort = cohort_of("demo (SYNTHETIC)", folder)
    paths = spells(cohort)
    lines = [
        "## States",
        "",
        "Out of fold (5 folds), SYNTHETIC demo, n = 250, seen from day 2: mean log score (less is better) of the state "
        "some days later, among patients whose state then is known. The rival is the Aalen-Johansen curve of the "
        "training patients who were in the same state on day 2 (of all, where fewer than ten were).",
        "",
        "| later | patients | models of every move | Aalen-Johansen | difference (95 %) |",
        "|---|---|---|---|---|",
    ]
    table = feature_table(cohort, [48.0], FeatureSpec(scores=()))
    fold = patient_folds(pd.Series(0, index=cohort.patient_ids), 5, stream(1, "state folds"))
    scores: dict[float, list[tuple[float, float]]] = {96.0: [], 168.0: [], 240.0: []}
    for k in range(5):
        train, test = set(fold.index[fold != k]), fold.index[fold == k]
        known = table.index.get_level_values("patient_id")
        fitted = MultiState().fit(table[known.isin(train)], paths.of(train), k)
        today, rows = _state_at(paths.of(set(test)).table, 48.0), table[known.isin(test)]
        for patient, state in today.items():
            row = rows.xs(patient, level="patient_id", drop_level=False)
            p = fitted.predict(row, paths.names[state], 48.0, sorted(scores))[0]
            plain = _plain(paths.of(train), paths.names[state], sorted(scores))
            for i, hours in enumerate(sorted(scores)):
                then = _state_at(paths.of({patient}).table, hours)
                if patient in then:
                    both = (p[i, then[patient]], plain[i][then[patient]])
                    scores[hours].append(tuple(-np.log(max(float(value), 1e-3)) for value in both))
    found = []
    for hours, pairs in scores.items():
        value = np.array(pairs)
        gap = value[:, 0] - value[:, 1]
        drawn = [stream(1, "states", b).choice(gap, len(gap)).mean() for b in range(500)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        lines.append(f"| {(hours - 48) / 24:g} d | {len(gap)} | {value[:, 0].mean():.3f} | {value[:, 1].mean():.3f} | "
                     f"{gap.mean():+.3f} ({low:+.3f} to {high:+.3f}) |")  # fmt: skip
        found.append({"hours": hours, "n": len(gap), "model": value[:, 0].mean(), "rival": value[:, 1].mean(),
                      "difference": gap.mean(), "low": low, "high": high})  # fmt: skip
    write("states", lines, {"synthetic": True, "rows": found})


def _plain(paths: Spells, state: str, hours: list[float]) -> list[np.ndarray]:
    """Probabilities of each state at some hours, from a state on day 2."""
    try:
        curve = occupation(paths, 48.0, state=state, intervals="none")
    except NotEstimableError:
        return [transition_matrix(paths, 48.0, h).loc[state].to_numpy() for h in hours]
    return [curve.when(h)["probability"].to_numpy() for h in hours]


def _state_at(table: pd.DataFrame, hours: float) -> dict[str, int]:
    here = table[(table["start_h"] <= hours) & (table["stop_h"] > hours)]
    return dict(zip(here["patient_id"], here["state"], strict=True))


def costs(_folder: Path) -> None:
    """Processor seconds of one fit and of forecasts at 200 patients, six landmarks, five horizons."""
    cohort = harmonize(demo_cohort(n=200, seed=5)).cohort
    data = examples(cohort, TASKS["icans_any"], DEFAULT_LANDMARKS_H)
    horizons, _ = horizons_for(data.outcome, Design())
    grade = worst_grades(cohort, TASKS["icans_any"], DEFAULT_LANDMARKS_H, WEEK)
    labels = phenotype_table(cohort, data.outcome, WEEK)
    paths = spells(cohort)
    first = data.table.xs(48.0, level="landmark_h", drop_level=False)
    jobs = {r.name: (lambda r=r: r.fit(data.table, data.outcome, horizons, 1)) for r in rungs()}
    jobs |= {"grades": lambda: OrdinalGrades().fit(data.table, grade, 1),
             "grades, free effects": lambda: OrdinalGrades(free="test").fit(data.table, grade, 1),
             "phenotypes": lambda: PhenotypeModel().fit(data.table, labels, 1),
             "states": lambda: MultiState().fit(first, paths, 1)}  # fmt: skip
    lines = ["## Costs", "", f"SYNTHETIC demo, n = 200, seed 5: {len(data.table)} rows, {data.table.shape[1]} columns, "
             f"{len(horizons)} horizons; processor seconds on one core, best of two.", "",
             "| model | fit | all forecasts |", "|---|---|---|"]  # fmt: skip
    rows = []
    for name, job in jobs.items():
        spent, asked = [], [np.nan]
        for _ in range(2):
            start = time.process_time()
            fitted = job()
            spent.append(time.process_time() - start)
        if name in {r.name for r in rungs()}:
            start = time.process_time()
            for horizon in horizons:
                fitted.predict(data.table, horizon)
            asked = [time.process_time() - start]
        lines.append(f"| {name} | {min(spent):.2f} | {'' if np.isnan(asked[0]) else f'{asked[0]:.2f}'} |")
        rows.append({"model": name, "fit_s": min(spent), "predict_s": None if np.isnan(asked[0]) else asked[0]})
    write("costs", lines, {"rows": rows})


def main() -> None:
    parts = {"grades": grades, "onset": onset, "states": states, "costs": costs}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(parts))
    warnings.simplefilter("ignore")
    for name in parser.parse_args().names:
        parts[name](Path(os.environ.get("ICANS_DATA", ".")))


if __name__ == "__main__":
    main()
