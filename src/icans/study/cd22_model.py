"""The patient model as a population model of the CD22 CAR T cohort (``cd22_model.toml``), and the cohort as records.

Clearances of cytokines are held at the patient model's values; what patients differ in is growth, timing and number of
CAR T cells, what cells release, and where every analyte starts. Tocilizumab and steroids were given to four in ten, but
the data say only whether, not when: no dose can be simulated, so courses after treatment are fitted as if untreated.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from icans.cohort.cohort import Cohort
from icans.population.nlme.drift import drifting
from icans.population.nlme.model import Effect, Individual, NlmeModel, Prior, nlme_model
from icans.population.nlme.ode import ode_model
from icans.population.nlme.population import Population, start
from icans.population.nlme.scales import Scale
from icans.study.population_records import Prepared, observables, observations, population_records

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

#: Tolerance of the solver: the objective differs from that at 1e-6 by 0.01 of 16,000.
RTOL = 1e-4


@cache
def settings() -> dict[str, Any]:
    """The contents of ``cd22_model.toml``."""
    return tomllib.loads((resources.files(__package__) / "cd22_model.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Study:
    """Model, records (with what was done to get them), and where estimation starts."""

    model: NlmeModel
    prepared: Prepared
    begin: Population


@cache
def structure() -> PatientModel:
    """The part of the patient model that the analytes depend on, with what is held and with wider bounds."""
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import patient_model

    about = settings()
    outputs = [observables()[a]["output"] for a in about["analytes"]]
    whole = part_of(patient_model(brain=False), outputs)
    by = float(about["widen"])
    rows = tuple(
        replace(r, lower=r.lower / by, upper=r.upper * by) if r.transform == "log" else r for r in whole.parameters.rows
    )  # fmt: skip
    wide = replace(whole, parameters=replace(whole.parameters, rows=rows))
    held = {
        name: float(h["value"]) if "value" in h else float(h["factor"]) * whole.parameters[name].value
        for name, h in about["held"].items()
    }
    return wide.with_parameters(held)


def cd22_model(*, rtol: float = RTOL, threads: int | None = None) -> NlmeModel:
    """The population model; ``threads`` for the solver (None: all)."""
    about = settings()
    parameters = [
        Individual(
            n,
            p["value"],
            iiv=p["iiv"],
            fixed=p.get("fixed", False),
            iiv_fixed=p.get("iiv_fixed", False),
            unit=p["unit"],
            scale=Scale(p.get("scale", "log")),
            prior=Prior(float(np.log(p["prior"][0])), p["prior"][1]) if "prior" in p else None,
        )
        for n, p in about["parameter"].items()
    ]
    links = {n: p["links"] for n, p in about["parameter"].items() if "links" in p}
    outputs = [observables()[a]["output"] for a in about["analytes"]]
    drifts = {n: p["drift"] for n, p in about["parameter"].items() if "drift" in p}
    own = [n for n in about["parameter"] if n not in drifts]
    solved = ode_model(structure(), own, outputs, links=links, rtol=rtol, threads=threads)
    structural = drifting(solved, drifts, **about["drift_h"])
    effects = [Effect(e["parameter"], name, e["form"], value=e["value"]) for name, e in about["effect"].items()]
    observed = [replace(o, **about["error"][o.name]) for o in observations(about["analytes"])]
    return nlme_model(structural, parameters, observed, blocks=list(about["blocks"].values()), effects=effects)


def undated(cohort: Cohort, drug: str) -> set[str]:
    """Patients who ever got a drug on a day that the data do not tell."""
    told = cohort.changes
    return set(told.loc[(told["rule"] == "treatment.undated") & (told["item"] == drug), "patient_id"].astype(str))


def cd22_records(cohort: Cohort) -> Prepared:
    """Records of the harmonised cohort with doses by dose level; covariates: marrow blasts, tocilizumab at any time."""
    from icans.mechanism.doses import Dose

    about = settings()
    people = cohort.patients
    blasts = people["tumour_burden"].astype(float)
    centred = np.log1p(blasts) - np.log1p(blasts.median())
    ever = undated(cohort, "tocilizumab")
    covariates = {
        str(p): {"burden": float(v), "tocilizumab": float(str(p) in ever)}
        for p, v in zip(people["patient_id"], centred.fillna(0.0), strict=True)
    }
    doses = {}
    for patient, level in zip(people["patient_id"], people["dose"], strict=True):
        cells = about["cells_per_kg"][f"{int(level)}"] * about["weight_kg"]
        doses[str(patient)] = (Dose(0.0, "car_t", cells, "cells"),)
    prepared = population_records(cohort, about["analytes"], doses, covariates=covariates, until_h=about["until_h"])
    missing = int(blasts.isna().sum())
    note = f"{missing} patients without marrow blasts have the median" if missing else ""
    return replace(prepared, notes=(*prepared.notes, *([note] if note else [])))


def cd22_study(cohort: Cohort, *, rtol: float = RTOL, threads: int | None = None) -> Study:
    """Model and records of a harmonised cohort."""
    model = cd22_model(rtol=rtol, threads=threads)
    return Study(model, cd22_records(cohort), start(model))
