"""The individual posterior beside long Markov chains, on the patient model: how exact, and how long per patient.

Twenty synthetic patients (the systemic patient model, ten random effects, seven analytes daily for two weeks, IL-6 and
IL-10 with a limit of quantification) are drawn from the model. Every patient's posterior at day 14 is computed alone,
on one core: by Laplace, by weighted draws, and by the normal variational approximation; the reference is four long
chains a patient. Error of a quantile: difference to the chains' over the posterior SD, at 5, 50 and 95 %, for every
patient and effect. The chains' own Monte Carlo error is told beside it (half the difference between two of them and the
other two).

Run: ``python benchmarks/posterior.py [steps of a chain]``; results go to ``benchmarks/results/posterior.{csv,md}``.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
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
from icans.population.posterior.chains import mixing
from icans.population.posterior.individual import individual_posterior
from icans.population.posterior.known import known_by

#: SDs between patients of the ten effects, and errors of the analytes (SD of ln): assumed, as a plausible population.
VARYING = {"car_rho": 0.15, "car_alpha": 0.3, "ifng_car": 0.5, "il6_mye": 0.5, "il10_mye": 0.4, "crp_rise": 0.3,
           "ferritin_mye": 0.4, "il6_base": 0.5, "tum_0": 0.6, "ldh_base": 0.25}  # fmt: skip
ANALYTES = {"IL6": 0.5, "IFNG": 0.5, "IL10": 0.5, "CRP": 0.25, "FERRITIN": 0.2, "LDH": 0.15, "CAR_E": 0.4}
LIMITS = {"IL6": 3.0, "IL10": 2.0}
DAYS, PATIENTS, LANDMARK = np.arange(1, 15), 20, 336.0
LEVELS = (0.05, 0.5, 0.95)
#: Chains a patient, and weighted draws (half of the package's default).
CHAINS, DRAWS = 4, 512


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
    laplace, *times = timed(lambda: individual_posterior(fit, mine, LANDMARK, method="laplace", seed=1, draws=DRAWS))
    row["laplace_s"], row["laplace_cpu_s"] = times
    weighted, *times = timed(
        lambda: individual_posterior(fit, mine, LANDMARK, method="importance", seed=1, draws=DRAWS)
    )
    row["importance_s"], row["importance_cpu_s"] = times
    row.update(way=weighted.method[0], k_hat=weighted.k_hat[0], effective=weighted.effective[0])

    def fit_normal() -> object:
        return variational_posterior(bind(fit.model, known_by(fit.model, mine, LANDMARK)), fit.population, 1)

    normal, *times = timed(fit_normal)
    row["variational_s"], row["variational_cpu_s"] = times
    found = {
        "laplace": normal_quantiles(laplace.mode[0], laplace.covariance[0]),
        "importance": weighted.quantiles(LEVELS)[0],
        "variational": normal_quantiles(normal.mean[0], normal.covariance[0]),
    }
    for name, q in found.items():
        off = np.abs(q - truth) / sd
        row[f"{name}_rms"], row[f"{name}_worst"] = float(np.sqrt((off**2).mean())), float(off.max())
    return row


def main(steps: int) -> None:
    """Run it all and write the table."""
    fit, records = population()
    individual_posterior(fit, records.subset([0]), LANDMARK, seed=1)  # compiles the kernels
    chains, seconds, _ = timed(lambda: individual_posterior(
        fit, records, LANDMARK, method="mcmc", seed=2, draws=CHAINS * steps, steps=steps, warmup=500, thin=1
    ))  # fmt: skip
    n, d = chains.mode.shape
    truth, sd = chains.quantiles(LEVELS), chains.sd
    runs = chains.draws.reshape(n, CHAINS, steps, d)
    halves = [np.quantile(runs[:, pair].reshape(n, -1, d), LEVELS, axis=1) for pair in ([0, 1], [2, 3])]
    noise = np.abs(halves[0] - halves[1]).swapaxes(0, 1) / 2.0 / sd[:, None, :]
    rows = []
    for i in range(n):
        r_hat, bulk, tail = mixing(runs[i])
        rows.append({**one_patient(fit, records, i, truth[i], sd[i]), "chains_r_hat": r_hat, "chains_bulk": bulk,
                     "chains_tail": tail, "chains_noise_rms": float(np.sqrt((noise[i] ** 2).mean())),
                     "chains_noise_worst": float(noise[i].max())})  # fmt: skip
        print(f"{i + 1}/{n}: RMS error {rows[-1]['importance_rms']:.3f} SD", flush=True)
    table = pd.DataFrame(rows)
    out = Path(__file__).parent / "results"
    write_text(out / "posterior.csv", table.to_csv(index=False, float_format="%.4g"))
    write_text(out / "posterior.md", report(table, steps, seconds))


def report(table: pd.DataFrame, steps: int, seconds: float) -> str:
    """The table in words and figures."""
    lines = [
        "# Individual posterior beside long chains", "", str(__doc__).split("\n\n")[1].replace("\n", " "), "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()} cores (load of others "
        f"{os.getloadavg()[1]:.1f} at the end, so wall times are upper bounds), Python {platform.python_version()}. "
        f"Chains: {CHAINS} x {steps} kept steps a patient, {seconds:.0f} s for all.", "",
        "| way | s per patient (median, worst) | CPU s (median, worst) | error of quantiles, SD (RMS, "
        "worst patient's RMS, worst of all) |", "|---|---|---|---|",
    ]  # fmt: skip
    for name in ("laplace", "variational", "importance"):
        wall, cpu, rms = table[f"{name}_s"], table[f"{name}_cpu_s"], table[f"{name}_rms"]
        lines.append(
            f"| {name} | {wall.median():.2f}, {wall.max():.2f} | {cpu.median():.2f}, {cpu.max():.2f} | "
            f"{np.sqrt((rms**2).mean()):.3f}, {rms.max():.3f}, {table[f'{name}_worst'].max():.3f} |"
        )
    noise = table["chains_noise_rms"]
    lines += [
        f"| (Monte Carlo error of the chains) | | | {np.sqrt((noise**2).mean()):.3f}, {noise.max():.3f}, "
        f"{table['chains_noise_worst'].max():.3f} |", "",
        f"Weighted draws: {DRAWS} a patient, effective {table['effective'].median():.0f} (least "
        f"{table['effective'].min():.0f}), k-hat at most {table['k_hat'].max():.2f}; ways: "
        f"{', '.join(f'{k} {v}' for k, v in table['way'].value_counts().items())}. Chains: R-hat at most "
        f"{table['chains_r_hat'].max():.3f}, bulk effective draws at least {table['chains_bulk'].min():.0f}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6000)
