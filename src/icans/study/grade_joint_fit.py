"""Fit the joint model of daily grades and discharge to the LBCL cohort and judge it: a command.

``python -m icans.study.grade_joint_fit``: estimates with the discharge as part of the model and without it, held-out
forecasts of ICANS grades one to three days ahead (five folds) beside the rivals of the daily grade path, and how the
predicted shares agree with the observed ones. Nothing that is written is of a single patient.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_json, write_text
from icans.core.provenance import now, versions
from icans.core.resume import Checkpoints
from icans.datasets import load
from icans.population.fit.importance_em import DrawSettings, fit_importance_em
from icans.population.fit.result import Fit
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Population
from icans.population.nlme.records import Records
from icans.study.grade_joint import joint_model, joint_records
from icans.study.grade_joint_check import calibration, compared, cross_validated_grades

WHOLE = DrawSettings(rounds=10, draws=48, final=1000, iterations=10)
FOLD = DrawSettings(rounds=5, draws=40, final=40, iterations=10, averaged=2)


def estimate(
    model: NlmeModel, records: Records, seed: int, settings: DrawSettings, begin: Population | None = None
) -> Fit:  # fmt: skip
    """The population of these records."""
    return fit_importance_em(model, records, seed=seed, settings=settings, begin=begin)


def fold_fit(model: NlmeModel, records: Records, fold: int) -> Fit:
    """The population without the patients of a fold."""
    return estimate(model, records, fold, FOLD)


def shrinkage(fit: Fit) -> pd.DataFrame:
    """Of every random effect: SD in the population, SD of the patients' means, share of the variance lost."""
    sd, own = np.sqrt(np.diag(fit.population.omega)), np.std(fit.effects.mode, axis=0)
    names = [fit.model.names[p] for p in fit.model.varying]
    return pd.DataFrame({"parameter": names, "omega": sd, "sd_of_means": own, "shrinkage": 1 - (own / sd) ** 2})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for tables")
    parser.add_argument("--work", type=Path, required=True, help="folder for stored steps (stays with the data)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of the data set (else ICANS_DATA or the cache)")
    given = parser.parse_args()
    cohort, seed = load("nulisa_cart_lbcl", given.data), int(given.seed)
    model, records = joint_model(threads=1), joint_records(cohort)
    store = Checkpoints(given.work / "steps", ["grades 1", records.digest(), repr(model.parameters), seed])
    forecasts = cross_validated_grades(partial(fold_fit, model), records, seed=seed, store=store)
    fit = estimate(model, records, seed, WHOLE)
    alone = estimate(joint_model(discharge=False, threads=1), joint_records(cohort, discharge=False), seed, WHOLE)
    both = fit.table().merge(alone.table()[["name", "value", "se"]], on="name", how="left",
                             suffixes=("", "_without_discharge"))  # fmt: skip
    tables = {
        "estimates": both, "shrinkage": shrinkage(fit), "rps": compared(forecasts, seed=seed),
        "calibration": pd.concat([calibration(forecasts, threshold=g).assign(grade_at_least=g) for g in (1, 2, 3)]),
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_text(given.out / f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    write_json(given.out / "run.json", {
        "command": f"python -m icans.study.grade_joint_fit --seed {seed}", "seed": seed, "when": now(),
        "versions": versions(), "patients": len(records), "observations": fit.observations,
        "products": {str(k): int(v) for k, v in cohort.patients["product"].value_counts().items()},
        "objective": fit.objective, "objective_se": 2.0 * fit.likelihood_se, "settings": dict(fit.settings),
        "messages": [m for m in fit.messages if not any(i in m for i in records.ids)], "data": fit.data_digest,
    })  # fmt: skip


if __name__ == "__main__":
    main()
