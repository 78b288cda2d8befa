"""The individual posterior beside long Markov chains, on the patient model: how exact, and how long per patient.

Twenty synthetic patients (the systemic patient model, ten random effects, seven analytes daily for two weeks, IL-6 and
IL-10 with a limit of quantification) are drawn from the model. Every patient's posterior at day 14 is computed alone,
on one core: by Laplace, by the normal variational approximation, and by 512 to 4,096 weighted draws (1,024 is the
default); the reference is four long chains a patient. Error of a quantile: difference to the chains' over the posterior
SD, at 5, 50 and 95 %, for every patient and effect. The chains' own Monte Carlo error is told beside it (half the
difference between two of them and the other two).

Run: ``python benchmarks/posterior.py [--steps 8000] [--work FOLDER]``; results go to
``benchmarks/results/posterior.{csv,md}``. Chains are stored in the work folder, so that a run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.core.random import stream
from icans.mechanism.doses import Dose
from icans.mechanism.patient import patient_model
from icans.population.fit.result import Fit, RandomEffects
from icans.population.fit.variational import variational_posterior
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import start
from icans.population.nlme.records import Records, Subject, make_records
from icans.population.nlme.simulating import simulated_records
from icans.population.posterior.chains import Streams, mixing, run_chains
from icans.population.posterior.climb import find_tops
from icans.population.posterior.individual import individual_posterior
from icans.population.posterior.known import known_by
from icans.population.posterior.proposals import DF, Proposal
from icans.population.posterior.target import make_target

#: SDs between patients of the ten effects, and errors of the analytes (SD of ln): assumed, as a plausible population.
VARYING = {"car_rho": 0.15, "car_alpha": 0.3, "ifng_car": 0.5, "il6_mye": 0.5, "il10_mye": 0.4, "crp_rise": 0.3,
           "ferritin_mye": 0.4, "il6_base": 0.5, "tum_0": 0.6, "ldh_base": 0.25}  # fmt: skip
ANALYTES = {"IL6": 0.5, "IFNG": 0.5, "IL10": 0.5, "CRP": 0.25, "FERRITIN": 0.2, "LDH": 0.15, "CAR_E": 0.4}
LIMITS = {"IL6": 3.0, "IL10": 2.0}
DAYS, PATIENTS, LANDMARK = np.arange(1, 15), 20, 336.0
LEVELS = (0.05, 0.5, 0.95)
#: What an error of a quantile, in posterior SDs, is to stay under.
BAR = 0.1
#: Chains a patient, their warm-up, one step in so many is kept; weighted draws (the default of the package is 1,024).
CHAINS, WARM_UP, THIN, DRAWS = 4, 1000, 2, (512, 1024, 2048, 4096)
WEIGHTED = tuple(f"importance-{n}" for n in DRAWS)
#: Patients whose chains are run together and stored.
BLOCK = 5


def population() -> tuple[Fit, Records]:
    """The declared population as a fit, and synthetic patients drawn from it."""
    patient = patient_model(brain=False)
    structural = ode_model(patient, tuple(VARYING), tuple(ANALYTES), threads=1)
    model = nlme_model(
        structural, [Individual(n, patient.parameters[n].value, iiv=sd) for n, sd in VARYING.items()],
        [Observation(n, n, "lognormal", sd, floor=1e-3) for n, sd in ANALYTES.items()],
    )  # fmt: skip
    rows = [(24.0 * d, n, 1.0, LIMITS.get(n, np.nan)) for d in DAYS for n in ANALYTES]
    table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "limit"])
    product = (Dose(0.0, "car_t", 1e8, "cells"),)
    design = make_records([Subject(f"{i + 1}", table, product) for i in range(PATIENTS)])
    values = start(model)
    records = simulated_records(bind(model, design), values, 7)
    n, d = PATIENTS, len(VARYING)
    nothing = RandomEffects(np.zeros((n, d)), np.zeros((n, d, d)))
    return Fit(model, "declared", values, 0.0, "none", records.ids, 0, nothing), records


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """Result, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = work()
    return out, time.perf_counter() - wall, time.process_time() - cpu


def normal_quantiles(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Quantiles (levels, D) of a normal approximation."""
    from scipy.stats import norm

    return norm.ppf(np.array(LEVELS))[:, None] * np.sqrt(np.diag(covariance)) + mean


def one_patient(fit: Fit, records: Records, i: int, truth: np.ndarray, sd: np.ndarray) -> dict[str, object]:
    """Times and errors of every method for one patient."""
    mine = records.subset([i])
    row: dict[str, object] = {"id": mine.ids[0]}
    laplace, *times = timed(lambda: individual_posterior(fit, mine, LANDMARK, method="laplace", seed=1, draws=DRAWS[0]))
    row["laplace_s"], row["laplace_cpu_s"] = times
    found = {"laplace": normal_quantiles(laplace.mode[0], laplace.covariance[0])}
    for name, n in zip(WEIGHTED, DRAWS, strict=True):
        weighted, *times = timed(lambda n=n: individual_posterior(fit, mine, LANDMARK, seed=1, draws=n))
        row[f"{name}_s"], row[f"{name}_cpu_s"] = times
        row[f"{name}_way"], row[f"{name}_k_hat"] = weighted.method[0], weighted.k_hat[0]
        row[f"{name}_effective"] = weighted.effective[0]
        found[name] = weighted.quantiles(LEVELS)[0]

    def fit_normal() -> object:
        return variational_posterior(bind(fit.model, known_by(fit.model, mine, LANDMARK)), fit.population, 1)

    normal, *times = timed(fit_normal)
    row["variational_s"], row["variational_cpu_s"] = times
    found["variational"] = normal_quantiles(normal.mean[0], normal.covariance[0])
    for name, q in found.items():
        off = np.abs(q - truth) / sd
        row[f"{name}_mean"], row[f"{name}_rms"] = float(off.mean()), float(np.sqrt((off**2).mean()))
        row[f"{name}_worst"], row[f"{name}_above"] = float(off.max()), int((off >= BAR).sum())
    return row


def long_chains(fit: Fit, records: Records, steps: int, work: Path) -> tuple[np.ndarray, float]:
    """Kept steps (patients, CHAINS, steps, effects), stored block by block, and the CPU seconds they took."""
    runs, cpu = [], 0.0
    for first in range(0, PATIENTS, BLOCK):
        store = work / f"chains-{steps}-{first}.npz"
        if not store.exists():
            mine = known_by(fit.model, records.subset(list(range(first, first + BLOCK))), LANDMARK)
            draws, _, used = timed(lambda mine=mine: chains_of(fit, mine, steps))
            np.savez(store, draws=draws.astype(np.float32), cpu=used)
            print(f"chains of patients {first + 1} to {first + BLOCK}: {used:.0f} CPU s", flush=True)
        with np.load(store) as held:
            runs.append(held["draws"].astype(np.float64))
            cpu += float(held["cpu"])
    return np.concatenate(runs), cpu


def chains_of(fit: Fit, known: Records, steps: int) -> np.ndarray:
    """Chains (n, CHAINS, steps, effects) as the package runs them, each from a draw around the mode."""
    target = make_target(bind(fit.model, known), fit.population)
    modes, at = find_tops(target), np.arange(len(known))
    proposal = Proposal(np.ones((len(known), 1)), modes.z, modes.factor, DF)
    streams = Streams([stream(2, "long chains", i) for i in known.ids], CHAINS)
    first = proposal.place(streams.normal(target.size), np.zeros(len(at) * CHAINS, np.int64), np.repeat(at, CHAINS))
    begin = first.reshape(len(at), CHAINS, -1), np.zeros((len(at), CHAINS), np.int64)
    return target.b(run_chains(target, proposal, begin, at, streams, warmup=WARM_UP, steps=steps, thin=THIN).z)


def main(steps: int, work: Path) -> None:
    """Run it all and write the table."""
    work.mkdir(parents=True, exist_ok=True)
    fit, records = population()
    individual_posterior(fit, records.subset([0]), LANDMARK, seed=1)  # compiles the kernels
    runs, cpu = long_chains(fit, records, steps, work)
    n, d = runs.shape[0], runs.shape[3]
    flat = runs.reshape(n, -1, d)
    truth, sd = np.quantile(flat, LEVELS, axis=1).swapaxes(0, 1), flat.std(axis=1)
    halves = [np.quantile(runs[:, pair].reshape(n, -1, d), LEVELS, axis=1) for pair in ([0, 1], [2, 3])]
    noise = np.abs(halves[0] - halves[1]).swapaxes(0, 1) / 2.0 / sd[:, None, :]
    rows = []
    for i in range(n):
        r_hat, bulk, tail = mixing(runs[i])
        rows.append({**one_patient(fit, records, i, truth[i], sd[i]), "chains_r_hat": r_hat, "chains_bulk": bulk,
                     "chains_tail": tail, "chains_mean": float(noise[i].mean()),
                     "chains_rms": float(np.sqrt((noise[i] ** 2).mean())), "chains_worst": float(noise[i].max()),
                     "chains_above": int((noise[i] >= BAR).sum())})  # fmt: skip
        print(f"{i + 1}/{n}: RMS error {rows[-1][f'{WEIGHTED[1]}_rms']:.3f} SD", flush=True)
    table = pd.DataFrame(rows)
    out = Path(__file__).parent / "results"
    write_text(out / "posterior.csv", table.to_csv(index=False, float_format="%.4g"))
    write_text(out / "posterior.md", report(table, steps, cpu, n * d * len(LEVELS)))


def report(table: pd.DataFrame, steps: int, cpu: float, count: int) -> str:
    """The table in words and figures."""
    lines = [
        "# Individual posterior beside long chains", "", str(__doc__).split("\n\n")[1].replace("\n", " "), "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()} cores (load of others "
        f"{os.getloadavg()[1]:.1f} at the end, so wall times are upper bounds), Python {platform.python_version()}. "
        f"Chains: {CHAINS} x {steps} kept steps a patient (one in {THIN}), {cpu:.0f} CPU s for all.", "",
        f"Asked: under {BAR} SD. Errors over the {count // PATIENTS} quantiles of a patient and over all {count}:", "",
        f"| way | wall s per patient (median, worst) | CPU s (median, worst) | mean error: all, worst patient | RMS: "
        f"all, worst patient | patients with RMS under {BAR} | worst of all quantiles | quantiles at {BAR} or more |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in ("laplace", "variational", *WEIGHTED, "chains"):
        mean, rms, spent = table[f"{name}_mean"], table[f"{name}_rms"], " | "
        if name != "chains":
            wall, used = table[f"{name}_s"], table[f"{name}_cpu_s"]
            spent = f"{wall.median():.2f}, {wall.max():.2f} | {used.median():.2f}, {used.max():.2f}"
        lines.append(
            f"| {name if name != 'chains' else '(Monte Carlo error of the chains)'} | {spent} | {mean.mean():.3f}, "
            f"{mean.max():.3f} | {np.sqrt((rms**2).mean()):.3f}, {rms.max():.3f} | {(rms < BAR).sum()} of {len(rms)} | "
            f"{table[f'{name}_worst'].max():.3f} | {table[f'{name}_above'].sum()} |"
        )
    lines.append("")
    for name, n in zip(WEIGHTED, DRAWS, strict=True):
        ways = ", ".join(f"{k} {v}" for k, v in table[f"{name}_way"].value_counts().items())
        own = table[f"{name}_effective"]
        lines.append(f"{n} weighted draws: effective {own.median():.0f} (least {own.min():.0f}), k-hat at most "
                     f"{table[f'{name}_k_hat'].max():.2f}; ways: {ways}.")  # fmt: skip
    lines += [f"Chains: R-hat at most {table['chains_r_hat'].max():.3f}, effective draws at least "
              f"{table['chains_bulk'].min():.0f} (bulk), {table['chains_tail'].min():.0f} (tail).", ""]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--steps", type=int, default=8000, help="kept steps of a chain")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "icans-posterior-chains")
    given = parser.parse_args()
    main(given.steps, given.work)
