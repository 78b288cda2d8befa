"""Fit the patient model to the CD22 CAR T cohort, check it, judge its forecasts.

Command: ``python -m icans.study.cd22_fit``. Steps, each stored so that a run goes on where it was:
importance-sampling EM from the declared starts (with ``--saem`` from where SAEM ends), for estimates, likelihood and
standard errors; visual predictive checks; five-fold forecasts of days 8 to 14 from what was available at the end of
day 7, the population refitted without the patients that are forecast. Everything written is of the cohort as a whole:
estimates, percentiles, mean scores; the folder of stored steps holds patients' effects and stays with the data.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.files import write_json, write_text
from icans.core.provenance import now, versions
from icans.core.resume import Checkpoints
from icans.datasets import load
from icans.harmonize.pipeline import harmonize
from icans.population.diagnose.vpc import Vpc, vpc
from icans.population.fit.importance_em import DrawSettings, fit_importance_em
from icans.population.fit.result import Fit
from icans.population.fit.saem import SaemSettings, fit_saem
from icans.population.nlme.likelihood import bind, means, phi_of, psi_of
from icans.population.nlme.population import Population
from icans.population.nlme.records import QUANTIFIED, Records
from icans.study.cd22_model import Study, cd22_study, undated
from icans.study.course_forecasts import Task, by_day, cross_validated, summary

#: SAEM (one chain a patient: 41 chains are enough to average over); importance EM of the whole cohort, of a fold.
WHOLE = SaemSettings(
    chains=1, explore=160, anneal=50, smooth=90, final=5, importance=0, standard_errors="none"
)  # fmt: skip
LAST = DrawSettings(rounds=22, draws=64, final=2000, iterations=10, averaged=4)
FOLD = DrawSettings(rounds=10, draws=48, final=48, iterations=8, averaged=3)
FORECAST = Task(("IL6", "IFNG", "IL10", "GMCSF"), 192.0, 8.0, 14.0, draws=256)
#: Values that a percentile in a written table must rest on.
LEAST = 20
REPLICATES, CHECKED = 400, ("IL6", "IFNG", "IL10", "GMCSF", "CRP", "FERRITIN", "car_blood")
#: Edges of bins, h, of what is measured once a week: between visits (days 0, 7, 14, 21, 28; cells are rarer).
WEEKLY = (-np.inf, 80.0, 240.0, 440.0, 580.0, np.inf)
BINS = {"CRP": WEEKLY, "FERRITIN": WEEKLY, "car_blood": (-np.inf, 96.0, 240.0, 420.0, 560.0, np.inf)}


@dataclass(frozen=True)
class Results:
    """What the study found, none of it of single patients."""

    fit: Fit
    checks: dict[str, dict[str, Vpc]]
    scores: pd.DataFrame
    treatment: pd.DataFrame


def population_of(study: Study, seed: int, folder: Path) -> Population:
    """The population by SAEM."""
    records = study.prepared.records
    return fit_saem(study.model, records, seed=seed, settings=WHOLE, folder=folder / "saem").population


def final_fit(study: Study, begin: Population, seed: int) -> Fit:
    """Estimates, likelihood and standard errors."""
    return fit_importance_em(study.model, study.prepared.records, seed=seed, begin=begin, settings=LAST)


def fold_fit(study: Study, seed: int, records: Records, fold: int) -> Fit:
    """The population without the patients of a fold, from the declared starts."""
    return fit_importance_em(study.model, records, seed=seed + 99 + fold, begin=study.begin, settings=FOLD)


def shrinkage(fit: Fit) -> pd.DataFrame:
    """Of every random effect: SD in the population, SD of the patients' means, share of the variance lost."""
    sd = np.sqrt(np.diag(fit.population.omega))
    own = np.var(fit.effects.mode, axis=0)
    names = [fit.model.names[p] for p in fit.model.varying]
    return pd.DataFrame({"parameter": names, "omega": sd, "sd_of_means": np.sqrt(own), "shrinkage": 1 - own / sd**2})


def by_treatment(fit: Fit, records: Records, cohort: Cohort) -> pd.DataFrame:
    """Mean ln(measured / fitted) before and after day 8, of patients who ever got a drug and of those who never did.

    Days of treatment are not known, so the model has it in the drift of CRP alone: what else treatment did shows here,
    mixed with what makes doctors treat. Quantified values alone; both groups have ten patients or more, or the rows are
    left out.
    """
    bound = bind(fit.model, records)
    phi = phi_of(bound, means(bound, fit.population), fit.effects.mode)
    fitted, rows = bound.solver.values(psi_of(bound, phi), np.arange(len(bound))), bound.rows
    out = []
    for drug in ("tocilizumab", "corticosteroid"):
        treated = np.isin(records.ids, list(undated(cohort, drug)))
        if min(treated.sum(), (~treated).sum()) < 10:
            continue
        for k, what in enumerate(fit.model.observed):
            for late in (False, True):
                at = (rows.observed == k) & (rows.role == QUANTIFIED) & ((rows.time_h >= 192.0) == late)
                away = np.where(at, np.log(np.where(at, rows.value, 1.0) / np.where(at, fitted, 1.0)), 0.0)
                for group in (False, True):
                    mine = treated == group
                    count = int(at[mine].sum())
                    out.append({"drug": drug, "observable": what.name, "from_day_8": late, "ever_treated": group,
                                "patients": int(mine.sum()), "values": count,
                                "mean": float(away[mine].sum() / max(count, 1))})  # fmt: skip
    return pd.DataFrame(out)


def run(
    out: Path, work: Path, *, seed: int = 1, data: Path | None = None, forecasts: bool = True, saem: bool = False
) -> Results:
    """Everything, into ``out``; steps are stored under ``work``."""
    cohort = harmonize(load("cd22_car_hlh", data)).cohort
    study = cd22_study(cohort, threads=1)
    records = study.prepared.records
    made_of = [study.model.parameters, study.model.blocks, study.model.effects, study.model.observed]
    store = Checkpoints(work / "steps", ["cd22 2", records.digest(), repr(made_of), seed])
    begin = study.begin
    if saem:
        begin = store.step("population", partial(population_of, study, seed, work), depends=asdict(WHOLE))
    made = store.step("fit", partial(_written, study, begin, seed, work), depends=[asdict(LAST), saem])
    fit = _read(study, made)
    checks = {
        word: vpc(fit, records, seed, observables=CHECKED, replicates=REPLICATES, bins=BINS, patients_equal=equal)
        for word, equal in (("values", False), ("patients", True))
    }
    scores = pd.DataFrame()
    if forecasts:
        fitter = partial(fold_fit, study, seed)
        scores = cross_validated(fitter, records, FORECAST, seed=seed, store=store)
    found = Results(fit, checks, scores, by_treatment(fit, records, cohort))
    write(out, study, found, f"python -m icans.study.cd22_fit --seed {seed}{' --saem' if saem else ''}", seed)
    return found


def _written(study: Study, begin: Population, seed: int, work: Path) -> Path:
    from icans.population.fit.result import write_fit

    path = work / "fit.json"
    write_fit(final_fit(study, begin, seed), path)
    return path


def _read(study: Study, path: Path) -> Fit:
    from icans.population.fit.result import read_fit

    return read_fit(path, study.model)


def write(out: Path, study: Study, found: Results, command: str, seed: int) -> None:
    """Tables, and what made them."""
    out.mkdir(parents=True, exist_ok=True)
    fit = found.fit
    tables = {"estimates": fit.table(), "shrinkage": shrinkage(fit), "census": study.prepared.census}
    flat = [(by, n, c) for by, found_ones in found.checks.items() for n, c in found_ones.items()]
    whole = pd.concat([c.table.assign(observable=n, weighed_by=by) for by, n, c in flat], ignore_index=True)
    # Percentiles of few values would show single patients.
    tables["vpc"] = whole[whole["n"] >= LEAST]
    tables["vpc_inside"] = pd.DataFrame([
        {"observable": n, "weighed_by": by, "statistics": int(c.table[["observed", "low"]].notna().all(axis=1).sum()),
         "inside": c.inside, "usual_p5": c.usual[0], "usual_p50": c.usual[1], "usual_p95": c.usual[2]}
        for by, n, c in flat
    ])  # fmt: skip
    tables["by_treatment"] = (
        found.treatment[found.treatment["values"] >= LEAST] if len(found.treatment) else found.treatment
    )
    if len(found.scores):
        tables["forecasts"] = summary(found.scores, seed=seed)
        tables["forecasts_by_day"] = by_day(found.scores)
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    write_json(out / "run.json", {
        "command": command, "seed": seed, "when": now(), "versions": versions(),
        "patients": len(study.prepared.records), "observations": fit.observations, "notes": list(study.prepared.notes),
        "objective": fit.objective, "objective_se": 2.0 * fit.likelihood_se, "method": fit.method,
        "settings": dict(fit.settings), "messages": [_anonymous(m) for m in fit.messages], "data": fit.data_digest,
    })  # fmt: skip


def _anonymous(message: str) -> str:
    """A message without names of patients."""
    return " ".join("(a patient)" if word.startswith("CD22-") else word for word in message.split(" "))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for tables")
    parser.add_argument("--work", type=Path, required=True, help="folder for stored steps (holds patients' effects)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of the data set (else ICANS_DATA or the cache)")
    parser.add_argument("--no-forecasts", action="store_true", help="leave the five-fold forecasts out")
    parser.add_argument("--saem", action="store_true", help="begin where SAEM ends")
    given = parser.parse_args()
    run(given.out, given.work, seed=given.seed, data=given.data, forecasts=not given.no_forecasts, saem=given.saem)


if __name__ == "__main__":
    main()
