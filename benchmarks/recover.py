"""Simulate and recover: does the estimation of the patient model give back the population that made the data?

Synthetic patients are sampled as those of the CD22 cohort were (daily cytokines with some days missing, cell counts by
week, a floor for GM-CSF at which most values lie, ceilings for IL-6 and interferon gamma, a detection limit for
cells). Random effects of ten parameters, three of them correlated, and five error SDs are estimated by importance-
sampling EM (:mod:`icans.population.fit.importance_em`), beginning at the truth. Told are, of every
estimated number, bias and how often its 95 % interval holds the truth.

Run: ``python benchmarks/recover.py --patients 40 --replicates 20 --folder work/recover``; it goes on where it was. The
table goes to ``benchmarks/results/recover-40.md``. No real data enter.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from icans.core.files import write_json, write_text
from icans.core.provenance import package_version
from icans.core.random import stream
from icans.core.resume import Checkpoints
from icans.mechanism.doses import Dose
from icans.population.fit.importance_em import DrawSettings, fit_importance_em
from icans.population.fit.result import natural
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, NlmeModel, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import Population, start
from icans.population.nlme.records import Records, Subject, make_records
from icans.population.nlme.simulating import simulate_observations

SEED = 20260
RESULTS = Path(__file__).parent / "results"
#: Typical values and SDs of ln, near the estimates in the CD22 cohort; those without an SD are held.
TRUTH = {
    "car_rho": (0.09, 0.15), "tum_kill_half": (540.0, 1.0), "mye_activation": (0.013, 0.5), "ifng_car": (0.6, 0.8),
    "il6_mye": (570.0, 1.0), "il10": (1.05, 0.8), "gmcsf_car": (0.001, 1.0), "il6_base": (5.7, 1.0),
    "ifng_base": (14.5, 0.9), "il10_base": (1.9, 0.75), "lag": (0.1, 0.0), "traffic": (0.2, 0.0),
    "car_alpha": (0.01, 0.0), "gmcsf_base": (0.3, 0.0),
}  # fmt: skip
BLOCK = ("ifng_car", "il6_mye", "il10")
CORRELATION = np.array([[1.0, 0.45, 0.7], [0.45, 1.0, 0.6], [0.7, 0.6, 1.0]])
LINKS = {
    "lag": {"car_priming": 1.0, "car_activation": 1.0}, "traffic": {"car_egress": 1.0, "car_homing": 1.0},
    "il10": {"il10_car": 1.0, "il10_mye": 1.0},
}  # fmt: skip
ERRORS = {"IL6": 0.6, "IFNG": 0.6, "IL10": 0.5, "GMCSF": 0.7, "car_blood": 1.0}
FLOOR = {"GMCSF": 0.54, "car_blood": 0.5}
CEILING = {"IL6": 1472.0, "IFNG": 2860.0, "IL10": 750.0}
#: Days of cytokines in all patients and in about six of ten (as the cohort has them), days of cell counts, dose levels.
DAYS, SOME_DAYS, CELL_DAYS = (0, 1, 3, 5, 7, 9, 11, 13), (6, 8, 10, 12, 14, 15, 16, 17, 18, 19, 20), (7, 14, 21, 28)
CELLS = (1.65e7, 1.65e7, 1.65e7, 5.5e7, 5.5e7)


def model() -> NlmeModel:
    """The population model that makes and fits the data."""
    from icans.study.cd22_model import structure

    parameters = [Individual(n, v, iiv=sd, fixed=sd == 0.0) for n, (v, sd) in TRUTH.items()]
    structural = ode_model(structure(), list(TRUTH), list(ERRORS), links=LINKS, rtol=1e-4, threads=1)
    observed = [Observation(n, n, "lognormal", a=a) for n, a in ERRORS.items()]
    return nlme_model(structural, parameters, observed, blocks=[BLOCK])


def truth(made: NlmeModel) -> Population:
    """The population that makes the data."""
    population = start(made)
    names = [made.names[p] for p in made.varying]
    at = [names.index(n) for n in BLOCK]
    omega = population.omega.copy()
    sd = np.sqrt(np.diag(omega))[at]
    omega[np.ix_(at, at)] = CORRELATION * np.outer(sd, sd)
    return replace(population, omega=omega)


def design(patients: int, seed: int) -> Records:
    """Synthetic patients with times of samples; values are to be drawn."""
    rng = stream(seed, "design")
    subjects = []
    for i in range(patients):
        days = [*DAYS, *(d for d in SOME_DAYS if rng.random() < 0.6)]
        cytokines = [n for n in ERRORS if n != "car_blood"]
        rows = [(24.0 * d, n) for n in cytokines for d in sorted(days)]
        rows += [(24.0 * d, "car_blood") for d in CELL_DAYS]
        table = pd.DataFrame(rows, columns=["time_h", "observable"]).assign(value=1.0)
        subjects.append(Subject(f"synthetic {i}", table, (Dose(0.0, "car_t", CELLS[i % len(CELLS)], "cells"),)))
    return make_records(subjects)


def sample(made: NlmeModel, population: Population, patients: int, seed: int) -> Records:
    """One synthetic cohort, censored at the assays' limits."""
    bound = bind(made, design(patients, seed))
    drawn = simulate_observations(bound, population, seed)
    subjects = []
    for i, s in enumerate(bound.records.subjects):
        value = np.empty(len(s.observations))
        at = bound.rows.source[i] >= 0
        value[bound.rows.source[i, at]] = drawn.values[0, i, at]
        name = s.observations["observable"]
        low, high = name.map(FLOOR).fillna(0.0).to_numpy(), name.map(CEILING).fillna(np.inf).to_numpy()
        censor = np.where(value < low, "left", np.where(value > high, "right", "none"))
        table = s.observations.assign(value=np.clip(value, low, high), censor=censor)
        subjects.append(replace(s, observations=table))
    return make_records(subjects)


def replicate(patients: int, number: int, draws: int) -> dict[str, Any]:
    """One cohort simulated and fitted: estimates, intervals, truth."""
    made = model()
    known = truth(made)
    seed = SEED + 1000 * patients + number
    began = time.process_time()
    records = sample(made, known, patients, seed)
    fit = fit_importance_em(made, records, seed=seed, begin=known, settings=DrawSettings(final=draws))
    table = fit.table()
    table = table[~table["fixed"]].reset_index(drop=True)
    true = {r.name: r.value for r in natural(made, known)}
    frame = records.frame()
    return {
        "patients": patients, "replicate": number, "seed": seed, "cpu_s": time.process_time() - began,
        "objective": fit.objective, "messages": list(fit.messages), "settings": dict(fit.settings),
        "censored": float((frame["censor"] != "none").mean()),
        "table": table.assign(truth=[true[n] for n in table["name"]]).to_dict("records"),
    }  # fmt: skip


def summary(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Bias and coverage of every estimated number over replicates."""
    rows = pd.concat([pd.DataFrame(d["table"]) for d in done], ignore_index=True)
    rows["inside"] = (rows["low95"] <= rows["truth"]) & (rows["truth"] <= rows["high95"])
    rows["known"] = rows["se"].notna()
    out = []
    for name, own in rows.groupby("name", sort=False):
        kind, true = own["kind"].iloc[0], float(own["truth"].iloc[0])
        away = own["value"] - true if kind == "correlation" else np.log(own["value"] / true)
        usable = own[own["known"]]
        out.append({
            "name": name, "kind": kind, "truth": true, "mean": float(own["value"].mean()), "bias": float(away.mean()),
            "se_bias": float(away.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else np.nan,
            "coverage": float(usable["inside"].mean()) if len(usable) else np.nan, "intervals": len(usable),
        })  # fmt: skip
    return pd.DataFrame(out)


def report(done: list[dict[str, Any]], patients: int) -> str:
    """The table as Markdown."""
    table = summary(done)
    inside = float((table["coverage"] * table["intervals"]).sum())
    count = int(table["intervals"].sum())
    distance = float(np.nanmean([d["settings"]["distance"] or np.nan for d in done]))
    failed = sum(1 for d in done if any("not positive" in m for m in d["messages"]))
    lines = [
        f"# Simulate and recover: {patients} synthetic patients", "",
        f"{len(done)} replicates (seeds {min(d['seed'] for d in done)} to {max(d['seed'] for d in done)}), "
        f"{100 * np.mean([d['censored'] for d in done]):.0f} % of values censored; importance-sampling EM "
        f"(8 rounds), begun at the truth; {np.mean([d['cpu_s'] for d in done]):.0f} s of one core a replicate; "
        f"on average the maximum was {distance:.1f} standard errors away at the end; "
        f" {failed} replicates without standard errors. Bias: of ln(value), of correlations the difference.",
        "", f"**Pooled coverage of 95 % intervals: {100 * inside / max(count, 1):.1f} % of {count}.**", "",
        "| number | truth | mean | bias | SE of bias | coverage |", "|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for r in table.itertuples():
        lines.append(
            f"| {r.name} | {r.truth:.4g} | {r.mean:.4g} | {r.bias:+.3f} | {r.se_bias:.3f} | {r.coverage:.2f} |"
        )
    command = f"python benchmarks/recover.py --patients {patients} --replicates {len(done)} --folder FOLDER"
    return "\n".join([*lines, "", f"Command: `{command}`; icans {package_version()}.", ""])


def _plain(value: Any) -> Any:
    """The same with None for what is no number."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main() -> None:
    """Run what is not done yet; write the table after every replicate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    store = Checkpoints(given.folder, ["recover 1", repr(TRUTH), repr(ERRORS), given.patients, given.draws])
    done: list[dict[str, Any]] = []
    for number in range(given.replicates):
        work = partial(replicate, given.patients, number, given.draws)
        done.append(store.step(f"replicate-{given.patients}-{number:03d}", work))
        told, last = done[-1]["settings"], done[-1]
        how = f"{told['effective']:.0f} effective draws, {told['distance'] or np.nan:.2f} SE away {last['messages']}"
        print(f"{number + 1}: {last['objective']:.1f}, {last['cpu_s']:.0f} s, {how}")
        write_text(RESULTS / f"recover-{given.patients}.md", report(done, given.patients))
        write_json(RESULTS / f"recover-{given.patients}.json", {"synthetic": True, "replicates": _plain(done)})


if __name__ == "__main__":
    main()
