"""SAEM fits against published and computed ones, the truth of simulated sets, and FOCEI on censored data.

``rows(folder)`` gives the table (case, quantity, ours, reference, difference, tolerance, inside, source).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from reference_fits_focei import Table, without_steady_state
from scipy import optimize
from scipy.special import log_ndtr, logsumexp

from icans.population.fit.focei import FoceiSettings, fit_focei, fit_laplace
from icans.population.fit.result import Fit
from icans.population.fit.saem import SaemSettings, fit_saem
from icans.population.nlme.records import Records
from nlme_cases import oral_simulated, theophylline, wang2007, warfarin

Array = np.ndarray

PYNLME_ML = "pynlme 0.5.1, Lindstrom-Bates ML, computed"
PYNLME = "pynlme 0.5.1 SAEM, computed"
SAEMIX = "saemix 3.4, computed"
NLMIXR_README = "nlmixr2 SAEM, README of nlmixr2est"
NLMIXR = "nlmixr 1.1.1 SAEM, expected values of nlmixr.examples ({run})"
OWN = "FOCEI of this package on the same data"
EXACT = "maximum of the likelihood by quadrature on 1,601 nodes, computed"
TRUTH = "geometric mean of the 120 simulated true values (nlmixr2data)"
SEED = 1

#: omega is the SD. Tolerances in per cent: typical values, SDs between patients.
THEOPHYLLINE = {"ka": 1.5627, "V": 31.476, "CL": 2.7691, "omega ka": np.sqrt(0.3863), "omega V": np.sqrt(0.01826),
                "omega CL": np.sqrt(0.0701), "cp a": 0.697}  # fmt: skip
THEOPHYLLINE_NLMIXR = {"ka": 1.59, "V": 31.7, "CL": 2.74, "cp a": 0.696}
WARFARIN = {
    "combined1": (SAEMIX, {"V": 7.946, "CL": 0.1324, "omega V": 0.220, "omega CL": 0.292}),
    "combined": (PYNLME, {"V": 7.963, "CL": 0.1320, "omega V": 0.221, "omega CL": 0.288}),
}
#: Run -> part of the data, ln typical values, SD of the error.
ORAL = {
    "U060": ("single", {"CL": 1.3553, "V": 4.1872, "Q": 1.5473, "V2": 3.8871, "ka": -0.1059}, 0.1965),
    "U063": ("all", {"CL": 1.3447, "V": 4.2151, "Q": 1.4274, "V2": 3.8718, "ka": -0.0746}, 0.1988),
}


def values(fit: Fit) -> pd.Series:
    """Estimates by name."""
    return fit.table().set_index("name")["value"]


def rows(folder: Path, *, long: bool = True) -> pd.DataFrame:
    """All comparisons; ``long``: with the simulated oral sets."""
    table = Table()
    theophylline_rows(folder, table)
    warfarin_rows(folder, table)
    wang_rows(folder, table)
    if long:
        oral_rows(folder, table)
    return table.frame()


def theophylline_rows(folder: Path, table: Table) -> None:
    """Theophylline, 132 rows: typical values within 2 %, variances within 10 %."""
    fit, case = fit_saem(*theophylline(folder), seed=SEED), "theophylline, 132 rows"
    got = values(fit)
    for name, value in THEOPHYLLINE.items():
        if name.startswith("omega"):
            table.percent(case, f"{name}, variance", got[name] ** 2, float(value) ** 2, 10.0, PYNLME_ML)
        else:
            table.percent(case, name, got[name], float(value), 2.0, PYNLME_ML)
    for name, value in THEOPHYLLINE_NLMIXR.items():
        table.percent(case, name, got[name], value, 2.0, NLMIXR_README)
    for name, log_se in (("ka", 0.195), ("V", 0.0447), ("CL", 0.085)):
        se = fit.table().set_index("name").loc[name, "rse_pct"] / 100.0
        table.percent(case, f"SE of ln {name}", float(se), log_se, 10.0, NLMIXR_README)


def warfarin_rows(folder: Path, table: Table) -> None:
    """Warfarin PK: ka and the lag are hardly determined, so V and CL and how they vary are compared."""
    for error, (source, wanted) in WARFARIN.items():
        got = values(fit_saem(*warfarin(folder, error=error), seed=SEED, settings=SaemSettings(importance=0)))
        for name, value in wanted.items():
            table.percent(f"warfarin PK, {error} error", name, got[name], value, 2.0, source)


def wang_exact(records: Records) -> tuple[Array, float]:
    """ke, SD of ln ke, b and the log-likelihood at the exact maximum: one random effect, integrated by quadrature."""
    nodes = np.linspace(-8.0, 8.0, 1601)
    weights = np.exp(-0.5 * nodes**2)
    tables = [s.observations for s in records.subjects]

    def height(x: Array) -> float:
        ke = np.exp(x[0] + np.exp(x[1]) * nodes)
        total = 0.0
        for own in tables:
            logs = np.zeros_like(nodes)
            for t, y, word in zip(own["time_h"], own["value"], own["censor"], strict=True):
                f = 10.0 * np.exp(-ke * t)
                sd = np.exp(x[2]) * f
                z = (y - f) / sd
                logs += log_ndtr(z) if word == "left" else -0.5 * z * z - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
            total += logsumexp(logs, b=weights / weights.sum())
        return -float(total)

    tried = [optimize.minimize(height, np.log([0.5, s, b]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9,
             "maxiter": 4000}) for s, b in ((0.2, 0.1), (0.3, 0.03))]  # fmt: skip
    best = min(tried, key=lambda r: float(r.fun))
    return np.exp(best.x), -float(best.fun)


def wang_rows(folder: Path, table: Table) -> None:
    """Wang 2007, with values under 6 censored (M3) and without: the exact maximum, FOCEI and Laplace.

    Where nothing is censored FOCEI from these starts ends in the lower of two maxima; it is given SAEM's estimates to
    start from.
    """
    plain = FoceiSettings(covariance="none")
    for below, case in ((6.0, "Wang 2007, values below 6 censored (M3)"), (None, "Wang 2007, nothing censored")):
        model, records = wang2007(folder, below=below)
        fit = fit_saem(model, records, seed=SEED)
        got = values(fit)
        wanted, height = wang_exact(records)
        for name, value in zip(("ke", "omega ke", "y b"), wanted, strict=True):
            table.percent(case, name, got[name], float(value), 5.0, EXACT)
        table.absolute(case, "log-likelihood", fit.log_likelihood, height, 0.1, EXACT)
        for fitted, word in ((fit_focei, "FOCEI"), (fit_laplace, "Laplace")):
            other = values(fitted(model, records, settings=plain, begin=fit.population))
            for name in ("ke", "y b"):
                table.percent(case, name, got[name], other[name], 5.0, OWN.replace("FOCEI", word))


def oral_rows(folder: Path, table: Table) -> None:
    """Simulated oral data of 120 subjects: nlmixr's SAEM where its values are known, and the truth."""
    quick = SaemSettings(importance=0)
    for compartments, part in ((1, "single"), (1, "all"), (2, "single"), (2, "all")):
        model, records = oral_simulated(folder, compartments, part)
        case = f"Oral_{compartments}CPT, {part}"
        fit = fit_saem(model, records, seed=SEED, settings=quick)
        estimates = fit.table().set_index("name")
        for name in model.names:
            column = {"V": "V1", "ka": "KA"}.get(name, name) if compartments == 2 else {"ka": "KA"}.get(name, name)
            truth = float(np.exp(np.mean(np.log(records.covariate(f"true {column}")))))
            tolerance = float(2.0 * estimates.loc[name, "rse_pct"])
            table.percent(case, name, float(estimates.loc[name, "value"]), truth, tolerance, TRUTH)
        table.percent(case, "cp b", float(estimates.loc["cp b", "value"]), 0.2, 2.0, "simulated with 0.2 (nlmixr2data)")
    for run, (part, wanted, error) in ORAL.items():
        model, records = oral_simulated(folder, 2, part)
        if part == "all":
            records = without_steady_state(records)
        fit = fit_saem(model, records, seed=SEED, settings=quick)
        case = f"Oral_2CPT, {part} ({run})"
        for name, value in wanted.items():
            ours = float(fit.population.typical[model.names.index(name)])
            table.absolute(case, f"ln {name}", ours, value, 0.05, NLMIXR.format(run=run))
        table.percent(case, "cp b", float(fit.population.errors[0]), error, 2.0, NLMIXR.format(run=run))
