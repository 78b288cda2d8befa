"""Population models with records, for tests of every estimator: real data sets, and small synthetic ones.

Real data come from the folder with the public data sets (fixture ``data_folder``); where they come from and who
published which estimates is in the documentation. Starts are deliberately off the estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.population.nlme.compartments import compartment_model
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Effect, Individual, NlmeModel, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import start
from icans.population.nlme.records import Administration, Records, Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulated_records

Case = tuple[NlmeModel, Records]


def _subject(name: object, seen: pd.DataFrame, doses: Sequence[Administration], **covariates: float) -> Subject:
    """``seen``: columns time, value, and observable."""
    table = pd.DataFrame({"time_h": seen["time"], "observable": seen["observable"], "value": seen["value"]})
    return Subject(str(name), table, tuple(doses), covariates)


def theophylline(folder: Path, *, rows: int = 132, error: str = "additive") -> Case:
    """Oral theophylline, 12 subjects, one compartment; 132 rows, or the 120 after the dose.

    The two versions of the data have other residual errors and likelihoods. Doses in mg (nlmixr2data ``theo_sd``).
    """
    frame = pd.read_csv(folder / "nlmixr2data" / "theo_sd.csv")
    subjects = []
    for name, own in frame.groupby("ID"):
        seen = own[(own["EVID"] == 0) & ((own["TIME"] > 0.0) | (rows == 132))]
        seen = seen.rename(columns={"TIME": "time", "DV": "value"}).assign(observable="cp")
        subjects.append(_subject(name, seen, [Administration(0.0, own["AMT"].max())], WT=float(own["WT"].iloc[0])))
    model = nlme_model(
        compartment_model(1, "first"),
        [Individual("CL", 3.5, iiv=0.4), Individual("V", 25.0, iiv=0.3), Individual("ka", 1.0, iiv=0.5)],
        [Observation("cp", "central", error, a=1.0, b=0.1)],
    )
    return model, make_records(subjects)


def phenobarbital(folder: Path) -> Case:
    """Intravenous phenobarbital in 59 neonates: CL = th1 WGT, V = th2 WGT (1 + th3 if APGR < 5), proportional error.

    The model of the NONMEM output of pharmpy's example ``pheno``; th3 is exp(effect) - 1.
    """
    frame = pd.read_csv(folder / "pharmpy_pheno_moxo" / "pheno.dta", sep=r"\s+")
    subjects = []
    for name, own in frame.groupby("ID"):
        doses = [Administration(t, a) for t, a in zip(own["TIME"], own["AMT"], strict=True) if a > 0.0]
        seen = own[own["AMT"] == 0.0].rename(columns={"TIME": "time", "DV": "value"}).assign(observable="cp")
        first = own.iloc[0]
        low = float(first["APGR"] < 5)
        subjects.append(_subject(name, seen, doses, WGT=float(first["WGT"]), LOW=low, APGR=float(first["APGR"])))
    model = nlme_model(
        compartment_model(1),
        [Individual("CL", 0.00469307, iiv=0.176), Individual("V", 1.00916, iiv=0.176)],
        [Observation("cp", "central", "proportional", b=0.114)],
        effects=[
            Effect("CL", "WGT", "log", value=1.0, centre=1.0, fixed=True),
            Effect("V", "WGT", "log", value=1.0, centre=1.0, fixed=True),
            Effect("V", "LOW", "flag", value=float(np.log1p(0.1))),
        ],
    )
    return model, make_records(subjects)


def warfarin(folder: Path, *, error: str = "combined", pca: bool = False) -> Case:
    """Oral warfarin, 32 subjects, 251 concentrations: one compartment with a lag (nlmixr2data ``warfarin``).

    With ``pca``, the records also have the 232 prothrombin complex activities, as observable ``pca``; the model does
    not.
    """
    model = nlme_model(
        compartment_model(1, "first", lag=True),
        [
            Individual("CL", 0.1, iiv=0.5), Individual("V", 10.0, iiv=0.5), Individual("ka", 1.0, iiv=0.7),
            Individual("Tlag", 0.5, iiv=0.5),
        ],
        [Observation("cp", "central", error, a=0.5, b=0.1)],
    )  # fmt: skip
    return model, warfarin_records(folder, pca=pca)


def warfarin_records(folder: Path, *, pca: bool) -> Records:
    """The records of :func:`warfarin`."""
    frame = pd.read_csv(folder / "nlmixr2data" / "warfarin.csv")
    subjects = []
    for name, own in frame.groupby("id"):
        doses = [Administration(0.0, float(own["amt"].max()))]
        seen = own[(own["evid"] == 0) & (own["dvid"].eq("cp") | pca)]
        seen = seen.rename(columns={"dv": "value", "dvid": "observable"})
        first = own.iloc[0]
        more = {"wt": float(first["wt"]), "age": float(first["age"]), "male": float(first["sex"] == "male")}
        subjects.append(_subject(name, seen, doses, **more))
    return make_records(subjects)


_WARFARIN = {
    "ka": (1.5, "1/h"), "V": (8.0, "L"), "CL": (0.13, "L/h"), "Tlag": (0.8, "h"), "e0": (97.0, "1"),
    "kout": (0.055, "1/h"), "emax": (0.95, "1"), "ec50": (1.2, "mg/L"),
}  # fmt: skip


def warfarin_turnover() -> PatientModel:
    """Warfarin that inhibits the synthesis of prothrombin complex activity: absorption, kinetics, turnover.

    Turnover as in O'Reilly & Aggeler 1968 (Circulation 38:169); the inhibition is an Emax of the concentration.
    """
    table = ParameterTable(tuple(
        Parameter(name, value, unit, f"{name} of warfarin", "warfarin", iiv=0.3, status="assumed", source="test")
        for name, (value, unit) in _WARFARIN.items()
    ))  # fmt: skip
    m = Builder()
    m.module("warfarin", "Warfarin and prothrombin complex activity", "O'Reilly 1968")
    m.state("DEPOT", "mg", "amount to be absorbed")
    m.flow("DEPOT", "-ka*DEPOT")
    m.state("CENTRAL", "mg", "amount in the central compartment")
    m.flow("CENTRAL", "ka*DEPOT - CL/V*CENTRAL")
    m.let("CONC", "CENTRAL/V", "mg/L", "concentration")
    m.state("PCA", "1", "prothrombin complex activity, percent of normal", initial="e0")
    m.flow("PCA", "e0*kout*(1 - emax*CONC/(ec50 + CONC)) - kout*PCA", "turnover")
    m.input("oral", "warfarin", "DEPOT", "mg", routes=("po",), lag_h="Tlag")
    return assemble(m, table, "warfarin")


def warfarin_pkpd(folder: Path) -> Case:
    """Warfarin concentrations and prothrombin complex activity together (515 rows less 32 doses), a compiled model."""
    records = warfarin_records(folder, pca=True)
    subjects = [
        replace(s, doses=tuple(Dose(d.time_h, "warfarin", d.amount, "mg", route="po") for d in s.doses))
        for s in records.subjects
    ]
    names = ("CL", "V", "ka", "Tlag", "e0", "kout", "emax", "ec50")
    starts = {"CL": (0.1, 0.3), "V": (10.0, 0.3), "ka": (1.0, 0.6), "Tlag": (0.7, 0.4), "e0": (90.0, 0.1),
              "kout": (0.07, 0.2), "emax": (0.9, 0.3), "ec50": (1.5, 0.4)}  # fmt: skip
    model = nlme_model(
        ode_model(warfarin_turnover(), names, ("CONC", "PCA")),
        [Individual(n, v, Scale("logit") if n == "emax" else Scale(), iiv=sd) for n, (v, sd) in starts.items()],
        [Observation("cp", "CONC", "combined", a=0.5, b=0.1), Observation("pca", "PCA", "additive", a=5.0)],
    )
    return model, make_records(subjects)


#: The bolus of Wang 2007 is given this long before the first sample, which is taken at "time 0" after it.
JUST_BEFORE_H = 1e-9


def wang2007(folder: Path, *, error: str = "proportional", below: float | None = None) -> Case:
    """Ten subjects with two samples: y = 10 exp(-ke t), ke log-normal (Wang 2007, doi 10.1007/s10928-007-9060-6).

    ``below``: values under it are left-censored there (M3).
    """
    frame = pd.read_csv(folder / "nlmixr2data" / "Wang2007.csv")
    subjects = []
    for name, own in frame.groupby("ID"):
        seen = own.rename(columns={"Time": "time", "Y": "value"}).assign(observable="y")
        subject = _subject(name, seen, [Administration(-JUST_BEFORE_H, 10.0)])
        if below is not None:
            table = subject.observations
            low = table["value"] < below
            table["censor"] = np.where(low, "left", "none")
            table["value"] = table["value"].mask(low, below)
        subjects.append(subject)
    model = nlme_model(
        compartment_model(1, parameterisation="rates", names={"k": "ke"}),
        [Individual("ke", 0.5, iiv=0.2), Individual("V", 1.0, fixed=True)],
        [Observation("y", "central", error, a=0.316, b=0.316)],
    )
    return model, make_records(subjects)


#: Which rows of the simulated oral sets: first dose; steady-state dose and what follows; all.
PARTS = ("single", "multiple", "steady", "all")


def oral_simulated(folder: Path, compartments: int, part: str = "single") -> Case:
    """Synthetic oral data of 120 subjects (nlmixr2data ``Oral_1CPT``, ``Oral_2CPT``), proportional error.

    The subjects' true parameters are among the covariates. Amounts in micrograms, volumes in L. The noise is
    log-normal (SD of ln 0.2); the dose marked as a steady state was simulated as one more dose after seven (see
    ``tests/reference/test_nlme_cases.py``), so the two-compartment ``"steady"`` part has a bias of 2 % as marked.
    """
    frame = pd.read_csv(folder / "nlmixr2data" / f"Oral_{compartments}CPT.csv")
    frame = frame[frame["EVID"] != 2]
    steady = frame["TIME"] >= frame["ID"].map(frame[frame["SS"] == 1].groupby("ID")["TIME"].min())
    kept = {"single": frame["SD"] == 1, "multiple": (frame["SD"] == 0) & ~steady, "steady": steady}.get(part)
    truth = ["CL", "V", "KA"] if compartments == 1 else ["CL", "V1", "Q", "V2", "KA"]
    subjects = []
    for name, own in (frame if kept is None else frame[kept]).groupby("ID"):
        given = own[own["EVID"] == 1]
        doses = [
            Administration(t, a, interval_h=ii if ss == 1 else 0.0, reset=ss == 1)
            for t, a, ii, ss in zip(given["TIME"], given["AMT"], given["II"], given["SS"], strict=True)
        ]
        seen = own[own["EVID"] == 0].rename(columns={"TIME": "time", "DV": "value"}).assign(observable="cp")
        more = {f"true {c}": float(own[c].iloc[0]) for c in truth}
        subjects.append(_subject(name, seen, doses, **more))
    own_parameters = [Individual("CL", 3.0, iiv=0.4), Individual("V", 60.0, iiv=0.4), Individual("ka", 1.5, iiv=0.4)]
    if compartments == 2:
        own_parameters += [Individual("Q", 3.0, iiv=0.4), Individual("V2", 40.0, iiv=0.4)]
    model = nlme_model(
        compartment_model(compartments, "first"), own_parameters, [Observation("cp", "central", "proportional", b=0.3)]
    )
    return model, make_records(subjects)


def synthetic_oral(
    subjects: int = 20, seed: int = 1, *, below: float | None = None, iov: float = 0.0, correlated: bool = False,
    scale_of_bioavailability: bool = False, covariate: bool = False,
) -> Case:  # fmt: skip
    """Synthetic oral one-compartment data from the model's own starts: the truth is ``start(model)``.

    ``below``: limit of quantification; ``iov``: SD of ln CL between two occasions; ``correlated``: CL and V (0.5);
    ``scale_of_bioavailability``: F with a logit scale; ``covariate``: weight on CL.
    """
    times = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0)
    starts = (0.0, 48.0) if iov > 0.0 else (0.0,)
    rng = stream(seed, "synthetic oral design")
    people = []
    for i in range(subjects):
        time = np.concatenate([np.array(times) + s for s in starts])
        table = pd.DataFrame({"time_h": time, "observable": "cp", "value": 1.0})
        if below is not None:
            table = table.assign(censor="none", limit=below)
        weight = float(np.exp(rng.normal(np.log(70.0), 0.2)))
        given = tuple(Administration(s, 100.0) for s in starts)
        people.append(Subject(f"{i + 1}", table, given, {"WT": weight}, starts if iov > 0.0 else ()))
    parameters = [
        Individual("CL", 2.0, iiv=0.3, iov=iov), Individual("V", 20.0, iiv=0.2), Individual("ka", 1.0, iiv=0.4),
    ]  # fmt: skip
    if scale_of_bioavailability:
        parameters.append(Individual("F", 0.7, Scale("logit"), iiv=0.3))
    model = nlme_model(
        compartment_model(1, "first", bioavailability=scale_of_bioavailability), parameters,
        [Observation("cp", "central", "combined", a=0.1, b=0.1)], blocks=(("CL", "V"),) if correlated else (),
        effects=[Effect("CL", "WT", "log", value=0.75, centre=70.0)] if covariate else (),
    )  # fmt: skip
    population = start(model)
    if correlated:
        population.omega[0, 1] = population.omega[1, 0] = 0.5 * 0.3 * 0.2
    return model, simulated_records(bind(model, make_records(people)), population, seed)


def synthetic_bolus(subjects: int = 12, seed: int = 1) -> Case:
    """Synthetic intravenous two-compartment data (bolus, then an infusion) from the model's own starts."""
    table = pd.DataFrame({"time_h": [0.25, 1.0, 3.0, 8.0, 24.0, 26.5, 30.0, 48.0], "observable": "cp", "value": 1.0})
    doses = (Administration(0.0, 100.0), Administration(24.0, 100.0, duration_h=2.0))
    model = nlme_model(
        compartment_model(2),
        [
            Individual("CL", 3.0, iiv=0.3), Individual("V", 15.0, iiv=0.2), Individual("Q", 4.0), Individual("V2", 30.0)
        ],
        [Observation("cp", "central", "proportional", b=0.1)],
    )  # fmt: skip
    records = make_records([Subject(f"{i + 1}", table, doses) for i in range(subjects)])
    return model, simulated_records(bind(model, records), start(model), seed)
