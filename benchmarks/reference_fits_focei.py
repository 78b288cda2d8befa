"""First-order fits against published ones: NONMEM's outputs, nlmixr2's tests, R nlme.

``rows(folder)`` gives the table (case, quantity, ours, reference, difference, tolerance, inside, source); differences
and tolerances are relative where the quantity says so by ``%``. Run: ``python benchmarks/reference_fits_focei.py``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from icans.population.fit.focei import FoceiSettings, fit_focei, objective_of
from icans.population.fit.result import Fit
from icans.population.nlme.compartments import compartment_model
from icans.population.nlme.model import Individual, NlmeModel, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population, packing, start
from icans.population.nlme.records import Administration, Records, Subject, make_records
from nlme_cases import oral_simulated, phenobarbital, theophylline, wang2007

Array = np.ndarray

NONMEM_PHENO = "NONMEM 7.5.1 FOCEI output pheno.ext/.cov/.phi (pharmpy-core 2.1.1, example model)"
NLMIXR_WANG = "nlmixr2est tests/testthat/test-focei-wang2007.R (NONMEM values of Wang 2007, table 2)"
NONMEM_WANG = "NONMEM output in nlmixr tests/testthat/test-focei-wang2007.R"
NONMEM_ORAL = "NONMEM 7.4.3 FOCEI in nlmixr2test cpt/values-2.1.6-{run}_nonmem743-unix.R"
R_NLME = "R nlme (Lindstrom-Bates ML), computed"
PYNLME = "pynlme 0.5.1 Lindstrom-Bates ML, computed (-2 log L without 132 ln 2 pi)"

COLUMNS = ["case", "quantity", "ours", "reference", "difference", "tolerance", "inside", "source"]


class Table:
    """Rows as they come."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def absolute(self, case: str, quantity: str, ours: float, reference: float, tolerance: float, source: str) -> None:
        """A row whose difference is in the unit of the quantity."""
        gap = ours - reference
        self.rows.append((case, quantity, ours, reference, gap, tolerance, bool(abs(gap) <= tolerance), source))

    def percent(self, case: str, quantity: str, ours: float, reference: float, tolerance: float, source: str) -> None:
        """A row whose difference is in per cent of the reference."""
        gap = 100.0 * (ours / reference - 1.0)
        name = f"{quantity} (%)"
        self.rows.append((case, name, ours, reference, gap, tolerance, bool(abs(gap) <= tolerance), source))

    def frame(self) -> pd.DataFrame:
        """The table."""
        return pd.DataFrame(self.rows, columns=COLUMNS)


def rows(folder: Path, *, long: bool = True) -> pd.DataFrame:
    """All comparisons; ``long``: with the simulated oral sets (a minute or two)."""
    table = Table()
    phenobarbital_rows(folder, table)
    theophylline_rows(folder, table)
    wang_rows(folder, table)
    nlme_phenobarb_rows(folder, table)
    nlme_theoph_rows(folder, table)
    if long:
        oral_rows(folder, table)
    return table.frame()


# --- phenobarbital, NONMEM -----------------------------------------------------------------------------------------


def nonmem_table(path: Path) -> pd.DataFrame:
    """A table of a NONMEM output file (one header line)."""
    return pd.read_csv(path, sep=r"\s+", skiprows=1)


def pheno_natural(fit: Fit) -> tuple[Array, Array]:
    """Estimates and covariance as NONMEM reports them: theta 1-3, sigma^2, omega^2 of CL and V."""
    p = fit.population

    def values(vector: Array) -> Array:
        q = packing(fit.model, p).unpack(vector)
        return np.array([np.exp(q.typical[0]), np.exp(q.typical[1]), np.expm1(q.effects[2]), q.errors[0] ** 2,
                         q.omega[0, 0], q.omega[1, 1]])  # fmt: skip

    by = np.zeros((6, len(fit.vector)))
    for j in range(len(fit.vector)):
        step = 1e-6 * np.eye(len(fit.vector))[j]
        by[:, j] = (values(fit.vector + step) - values(fit.vector - step)) / 2e-6
    assert fit.covariance is not None
    return values(fit.vector), by @ fit.covariance @ by.T


def phenobarbital_rows(folder: Path, table: Table) -> None:
    """The NONMEM run of pharmpy's example: objective, individual objectives and effects, estimates, covariance."""
    model, records = phenobarbital(folder)
    home, case = folder / "pharmpy_pheno_moxo", "phenobarbital"
    ext, phi, cov = (nonmem_table(home / f"pheno.{e}") for e in ("ext", "phi", "cov"))
    names = ["THETA1", "THETA2", "THETA3", "SIGMA(1,1)", "OMEGA(1,1)", "OMEGA(2,2)"]
    initial, final = ext.iloc[0], ext[ext["ITERATION"] == -1000000000].iloc[0]
    first = start(model)
    first.omega[0, 0], first.omega[1, 1] = initial["OMEGA(1,1)"], initial["OMEGA(2,2)"]
    first.errors[0] = np.sqrt(initial["SIGMA(1,1)"])
    objective = objective_of(model, records, population=first)
    at_start = objective.evaluate(objective.pack.pack(first), gradient=False)
    constant = objective.bound.n_rows * np.log(2.0 * np.pi)
    table.absolute(case, "objective at the starts", at_start.total - constant.sum(), float(initial["OBJ"]), 0.001,
                   NONMEM_PHENO)  # fmt: skip
    fit = fit_focei(model, records, settings=FoceiSettings(tolerance=1e-8))
    table.absolute(case, "objective", fit.objective_nonmem, float(final["OBJ"]), 0.1, NONMEM_PHENO)
    own = objective.evaluate(fit.vector, gradient=False).objective - constant
    table.absolute(case, "individual objectives, largest difference", float(np.abs(own - phi["OBJ"]).max()), 0.0, 0.01,
                   NONMEM_PHENO)  # fmt: skip
    gap = np.abs(fit.effects.mode - phi[["ETA(1)", "ETA(2)"]].to_numpy()).max()
    table.absolute(case, "individual effects, largest difference", float(gap), 0.0, 0.001, NONMEM_PHENO)
    found, spread = pheno_natural(fit)
    wanted = cov.set_index("NAME").loc[names, names].to_numpy()
    for j, name in enumerate(names):
        table.percent(case, name, found[j], float(final[name]), 2.0, NONMEM_PHENO)
    for j, name in enumerate(names):
        table.percent(case, f"SE {name}", float(np.sqrt(spread[j, j])), float(np.sqrt(wanted[j, j])), 10.0,
                      NONMEM_PHENO)  # fmt: skip
    scale = np.sqrt(np.diag(wanted))
    worst = float(np.abs((spread - wanted) / np.outer(scale, scale)).max())
    table.absolute(case, "covariance in units of SEs, largest difference", worst, 0.0, 0.1, NONMEM_PHENO)


# --- theophylline, Wang --------------------------------------------------------------------------------------------


def theophylline_rows(folder: Path, table: Table) -> None:
    """The objective of nlmixr2 (116.8) and of Lindstrom and Bates."""
    fit = fit_focei(*theophylline(folder), settings=FoceiSettings(covariance="none"))
    case = "theophylline, 132 rows"
    table.absolute(case, "objective", fit.objective_nonmem, 116.87, 0.1, PYNLME)
    for name, value in (("ka", 1.5627), ("V", 31.476), ("CL", 2.7691), ("cp a", 0.697)):
        ours = fit.table().set_index("name").loc[name, "value"]
        table.percent(case, name, ours, value, 2.0, PYNLME)


#: Error model -> objectives of FOCEI, FOCE and FO at the starts.
WANG = {
    "proportional": (39.458, 39.207, 39.213), "additive": (-2.059, -2.059, 0.026), "combined": (39.735, 39.499, 39.505),
    "combined1": (43.554, 43.394, 43.398), "lognormal": (40.039, 40.039, 40.055),
}  # fmt: skip
#: NONMEM's individual objectives and effects, proportional error, FOCEI.
WANG_OBJ = (5.2018, 3.776, 3.7206, 3.7958, 3.848, 3.7726, 3.9287, 3.7643, 3.831, 3.8188)
WANG_ETA = (0.071545, 0.0057045, 0.024947, 0.03195, -0.0047874, 0.0039789, -0.011804, 0.0058801, -0.0031367,
            -0.00066641)  # fmt: skip


def wang_rows(folder: Path, table: Table) -> None:
    """Objectives of three methods and five error models at ke = 0.5, omega^2 = 0.04, sigma^2 = 0.1."""
    model, records = wang2007(folder)
    for error, wanted in WANG.items():
        own = replace(model, observed=(Observation("y", "central", error, float(np.sqrt(0.1)), float(np.sqrt(0.1))),))
        for method, value in zip(("focei", "foce", "fo"), wanted, strict=True):
            objective = objective_of(own, records, method=method)
            got = objective.evaluate(objective.pack.pack(start(own)), gradient=False)
            constant = objective.bound.n_rows * np.log(2.0 * np.pi)
            table.absolute(f"Wang 2007, {error}", f"objective {method.upper()}", got.total - constant.sum(), value,
                           0.001, NLMIXR_WANG)  # fmt: skip
            if (error, method) == ("proportional", "focei"):
                gap = float(np.abs(got.objective - constant - WANG_OBJ).max())
                table.absolute("Wang 2007, proportional", "individual objectives, largest difference", gap, 0.0, 1e-4,
                               NONMEM_WANG)  # fmt: skip
                gap = float(np.abs(got.modes[0].mode[:, 0] - WANG_ETA).max())
                table.absolute("Wang 2007, proportional", "individual effects, largest difference", gap, 0.0, 1e-5,
                               NONMEM_WANG)  # fmt: skip


# --- R nlme --------------------------------------------------------------------------------------------------------


def nlme_phenobarb(folder: Path) -> tuple[NlmeModel, Records]:
    """R's ``Phenobarb``: lCl, lV with random effects, additive error."""
    frame = pd.read_csv(folder / "nlme_pk" / "Phenobarb.csv")
    subjects = []
    for name, own in frame.groupby("Subject"):
        given = own[own["dose"].notna()]
        doses = tuple(Administration(t, a) for t, a in zip(given["time"], given["dose"], strict=True))
        seen = own[own["conc"].notna()]
        table = pd.DataFrame({"time_h": seen["time"], "observable": "conc", "value": seen["conc"]})
        subjects.append(Subject(str(name), table, doses))
    model = nlme_model(
        compartment_model(1), [Individual("CL", 0.007, iiv=0.3), Individual("V", 1.5, iiv=0.3)],
        [Observation("conc", "central", "additive", 3.0)],
    )  # fmt: skip
    return model, make_records(subjects)


def nlme_phenobarb_rows(folder: Path, table: Table) -> None:
    """Estimates of ``nlme(conc ~ phenoModel(...), random = pdDiag(lCl + lV ~ 1))``.

    R's alternating algorithm ends where both of its steps agree, which with two or three values a subject is not where
    its likelihood is highest: ours at R's estimates is R's, and rises from there.
    """
    model, records = nlme_phenobarb(folder)
    fit = fit_focei(model, records, settings=FoceiSettings(covariance="none"))
    p, case = fit.population, "Phenobarb, additive"
    there = Population(np.array([-5.0932, 0.3425]), np.zeros(0), np.diag([0.4402**2, 0.4504**2]), np.zeros((0, 0)),
                       np.array([2.7927]), np.ones(1), np.zeros((1, 2)))  # fmt: skip
    objective = objective_of(model, records, method="foce")
    got = objective.evaluate(objective.pack.pack(there), gradient=False)
    table.absolute(case, "log-likelihood at R's estimates", -0.5 * got.total, -505.42, 0.1, R_NLME)
    table.absolute(case, "lCl", float(p.typical[0]), -5.0932, 0.05, R_NLME)
    table.absolute(case, "lV", float(p.typical[1]), 0.3425, 0.05, R_NLME)
    for quantity, ours, value in (
        ("SD lCl", np.sqrt(p.omega[0, 0]), 0.4402), ("SD lV", np.sqrt(p.omega[1, 1]), 0.4504),
        ("residual SD", p.errors[0], 2.7927),
    ):  # fmt: skip
        table.percent(case, quantity, float(ours), value, 10.0, R_NLME)
    table.absolute(case, "log-likelihood", fit.log_likelihood, -505.42, 1.0, R_NLME)


class FirstOrderCompartment:
    """R's ``SSfol``: dose 1 at time 0, parameters ke, ka, cl; with exact derivatives."""

    parameters = ("ke", "ka", "cl")
    outputs = ("conc",)

    def bind(self, subjects, time_h, output):
        """Ready for the requests of subjects, whose dose is a covariate."""
        return FirstOrderSolver(np.nan_to_num(time_h), np.array([s.covariates["dose"] for s in subjects]))


class FirstOrderSolver:
    """The model bound to subjects."""

    def __init__(self, time_h: Array, dose: Array) -> None:
        self.t, self.dose = time_h, dose

    def values(self, psi: Array, who: Array) -> Array:
        """Concentrations, (M, R)."""
        return self.derivatives(psi, who)[0]

    def derivatives(self, psi: Array, who: Array) -> tuple[Array, Array]:
        """Concentrations and their derivatives by ke, ka, cl."""
        t, dose = self.t[who], self.dose[who][:, None]
        ke, ka, cl = (psi[:, 0, j : j + 1] for j in range(3))
        e, a = np.exp(-ke * t), np.exp(-ka * t)
        factor, gap = dose * ke * ka / cl, ka - ke
        y = factor * (e - a) / gap
        by = np.zeros((*t.shape, 1, 3))
        by[:, :, 0, 0] = y / ke - factor * t * e / gap + y / gap
        by[:, :, 0, 1] = y / ka + factor * t * a / gap - y / gap
        by[:, :, 0, 2] = -y / cl
        return y, by


def nlme_theoph(folder: Path) -> tuple[NlmeModel, Records]:
    """R's ``Theoph`` by ``SSfol``; random effects of lKa and lCl (that of lKe is 0 in R's fit)."""
    frame = pd.read_csv(folder / "nlme_pk" / "Theoph.csv")
    subjects = []
    for name, own in frame.groupby("Subject"):
        table = pd.DataFrame({"time_h": own["Time"], "observable": "conc", "value": own["conc"]})
        subjects.append(Subject(str(name), table, (), {"dose": float(own["Dose"].iloc[0])}))
    model = nlme_model(
        FirstOrderCompartment(),
        [Individual("ke", 0.1), Individual("ka", 1.5, iiv=0.5), Individual("cl", 0.04, iiv=0.2)],
        [Observation("conc", "conc", "additive", 0.7)],
    )
    return model, make_records(subjects)


def nlme_theoph_rows(folder: Path, table: Table) -> None:
    """Estimates of ``nlme(conc ~ SSfol(...), random = pdDiag(lKe + lKa + lCl ~ 1))``."""
    fit = fit_focei(*nlme_theoph(folder), settings=FoceiSettings(covariance="none"))
    p, case = fit.population, "Theoph, SSfol per kg"
    for j, (name, value) in enumerate((("lKe", -2.4546), ("lKa", 0.4655), ("lCl", -3.2272))):
        table.absolute(case, name, float(p.typical[j]), value, 0.02, R_NLME)
    table.percent(case, "SD lKa", float(np.sqrt(p.omega[0, 0])), 0.6439, 2.0, R_NLME)
    table.percent(case, "SD lCl", float(np.sqrt(p.omega[1, 1])), 0.1669, 2.0, R_NLME)
    table.percent(case, "residual SD", float(p.errors[0]), 0.7092, 2.0, R_NLME)
    table.absolute(case, "log-likelihood", fit.log_likelihood, -177.02, 0.1, R_NLME)


# --- simulated oral sets -------------------------------------------------------------------------------------------

#: Run -> compartments, rows, objective, ln typical values, variances, SD of the error (NONMEM 7.4.3 FOCEI).
ORAL = {
    "U023": (1, "single", 19365.1937539, {"CL": 1.389711615, "V": 4.192751778, "ka": -0.0267177},
             {"CL": 0.06425412, "V": 0.07514316, "ka": 0.10378009}, 0.198607009),
    "U026": (1, "all", 62205.8776589, {"CL": 1.389688045, "V": 4.202907438, "ka": -0.0048275},
             {"CL": 0.06787561, "V": 0.07793687, "ka": 0.11062238}, 0.198099506),
    "U060": (2, "single", 19498.8973059,
             {"CL": 1.375940357, "V": 4.23058125, "Q": 1.469147901, "V2": 3.821663508, "ka": -0.07299217},
             {"CL": 0.09810548, "V": 0.070382, "Q": 0.16143138, "V2": 0.07957386, "ka": 0.11502394}, 0.19738166),
    "U063": (2, "all", 64206.2407235,
             {"CL": 1.350892684, "V": 4.227689779, "Q": 1.438354702, "V2": 3.858517834, "ka": -0.07413216},
             {"CL": 0.10021497, "V": 0.06803297, "Q": 0.14727405, "V2": 0.08477082, "ka": 0.10652088}, 0.19906996),
}  # fmt: skip


def without_steady_state(records: Records) -> Records:
    """Doses as plain doses: the runs on all rows agree with NONMEM to 0.02 only if its steady-state flag is unused."""
    return make_records([
        replace(s, doses=tuple(replace(d, interval_h=0.0, reset=False) for d in s.doses)) for s in records.subjects
    ])  # fmt: skip


def oral_rows(folder: Path, table: Table) -> None:
    """Simulated oral one- and two-compartment data, 120 subjects, proportional error."""
    for run, (compartments, part, objective, typical, variance, error) in ORAL.items():
        model, records = oral_simulated(folder, compartments, part)
        if part == "all":
            records = without_steady_state(records)
        fit = fit_focei(model, records, settings=FoceiSettings(covariance="none"))
        case, source = f"Oral_{compartments}CPT, {part} ({run})", NONMEM_ORAL.format(run=run)
        table.absolute(case, "objective", fit.objective_nonmem, objective, 0.1, source)
        for name, value in typical.items():
            place = model.names.index(name)
            table.absolute(case, f"ln {name}", float(fit.population.typical[place]), value, 0.02, source)
            own = float(fit.population.omega[model.varying.index(place), model.varying.index(place)])
            table.percent(case, f"omega^2 {name}", own, variance[name], 5.0, source)
        table.percent(case, "error SD", float(fit.population.errors[0]), error, 2.0, source)


def main() -> None:
    """Print the table."""
    folder = Path(os.environ["ICANS_DATA"])
    with pd.option_context("display.width", 200, "display.max_rows", None, "display.max_colwidth", 60):
        print(rows(folder).drop(columns="source").to_string())


if __name__ == "__main__":
    main()
