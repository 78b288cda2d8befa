"""Daily grades of CRS and ICANS and the day of discharge in one model, driven by the patient model.

The latent severities of the patient model (``crs_severity``, ``encephalopathy``) drive ordinal grades with memory
(proportional odds); their sum drives the hazard of discharge, after which no grade is recorded: leaving that out would
take the missing grades for missing at random. What is recorded of treatment (tocilizumab, glucocorticoids, by day) is
given to the model; amounts are not recorded and are usual ones. Patients differ in the speed of activation, myeloid
activation, and what the same cytokines do to circulation and brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.population.fit.result import Fit
from icans.population.nlme.model import Individual, NlmeModel, Prior, nlme_model
from icans.population.nlme.observed import Outcome
from icans.population.nlme.ode import ode_model
from icans.population.nlme.records import Records, Subject, make_records
from icans.population.posterior.courses import forecast_courses
from icans.population.posterior.individual import individual_posterior

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel

Array = npt.NDArray[np.float64]

#: Highest grade that is told apart: grades 3 and 4 are one (few patients reach 4).
TOP = 3
#: Hour of the day at which a day's grade stands, hours of observation, body weight (not in the data) in kg.
NOON, END_H, WEIGHT_KG = 12.0, 360.0, 80.0
#: Usual amounts where only the day is recorded: tocilizumab 8 mg/kg once, dexamethasone 10 mg twice a day.
TOCILIZUMAB_MG, DEXAMETHASONE_MG = 640.0, 10.0
#: Bounds of the parameters are widened by this factor.
WIDEN = 20.0
LINKS = {
    "lag": {"car_priming": 1.0, "car_activation": 1.0},
    "brain": {"micro_on": 1.0, "neuro_on": 1.0},
    "circulation": {"vaso_on": 1.0, "leak_on": 1.0},
}


@cache
def structure(product: str = "axi-cel", disease: str = "LBCL") -> PatientModel:
    """The part of the patient model that drives the severities, with the calibrated factors of a product."""
    from icans.mechanism.declare import Definition
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import WHOLE, patient_model
    from icans.population.artefact import read
    from icans.population.products import multipliers

    whole = patient_model(("tocilizumab", "dexamethasone"), regions=WHOLE)
    total = Definition("severity_sum", "crs_severity + encephalopathy", "1", "both severities", "organs")
    whole = replace(whole, definitions=(*whole.definitions, total))
    part = part_of(whole, ("crs_severity", "encephalopathy", "severity_sum"))
    table = part.parameters
    rows = tuple(
        replace(r, lower=r.lower / WIDEN, upper=r.upper * WIDEN) if r.transform == "log" else r for r in table.rows
    )  # fmt: skip
    wide = replace(part, parameters=replace(table, rows=rows))
    factors = {n: f for n, f in multipliers(product, disease, read().factors).items() if n in table.names}
    return wide.with_parameters({n: table[n].value * f for n, f in factors.items()})


def joint_model(*, discharge: bool = True, threads: int | None = None, rtol: float = 1e-4) -> NlmeModel:
    """The joint model; ``discharge``: whether leaving hospital is part of it."""
    model = structure()
    mye = model.parameters["mye_activation"].value
    parameters = [
        Individual("lag", 0.7, iiv=0.9, prior=Prior(0.0, 0.3), iiv_prior=0.5),
        Individual("mye_activation", mye, iiv=0.9, prior=Prior(float(np.log(mye)), 0.5), iiv_prior=0.8),
        Individual("circulation", 1.0, iiv=0.4, fixed=True, iiv_fixed=True),
        Individual("brain", 1.0, iiv=1.5, fixed=True, iiv_prior=1.5),
    ]
    outputs = ("crs_severity", "encephalopathy", "severity_sum")
    structural = ode_model(model, [p.name for p in parameters], outputs, links=LINKS, rtol=rtol, threads=threads)
    observed = [
        Outcome("CRS", "crs_severity", "ordinal", cuts=(2.35, 4.4, 8.5), slope=1.2, memory=1.7),
        Outcome("ICANS", "encephalopathy", "ordinal", cuts=(4.9, 7.4, 8.5), slope=1.0, memory=1.1),
    ]
    if discharge:
        observed.append(Outcome("DISCHARGE", "severity_sum", "event", cuts=(-5.2,), slope=-0.45, start_h=144.0))
    return nlme_model(structural, parameters, observed)


def joint_records(cohort: Cohort, *, product: str = "axi-cel", discharge: bool = True) -> Records:
    """Records of the patients who got ``product``: grades, discharge, cells, and treatment by day.

    Raises
    ------
    DataError
        No patient with the product.
    """
    from icans.mechanism.doses import Dose
    from icans.population.products import product as about

    people = cohort.patients[cohort.patients["product"] == product]
    if people.empty:
        found = ", ".join(sorted(cohort.patients["product"].astype(str).unique()))
        raise DataError([Problem("patients", None, "product", found, product, "Choose a product of the cohort.")])
    cells = float(about(product).cells("LBCL", np.array([WEIGHT_KG]))[0])
    subjects = []
    for patient in people["patient_id"].astype(str):
        own = cohort.grades[cohort.grades["patient_id"].astype(str) == patient]
        given = cohort.treatments[cohort.treatments["patient_id"].astype(str) == patient]
        doses: list[Any] = [Dose(0.0, "car_t", cells, "cells")]
        for drug, hour in zip(given["drug"], given["time_h"].astype(float), strict=True):
            if drug == "tocilizumab":
                doses.append(Dose(hour + NOON, "tocilizumab", TOCILIZUMAB_MG, "mg", duration_h=1.0))
            elif drug == "corticosteroid":
                doses += [Dose(hour + NOON + h, "dexamethasone", DEXAMETHASONE_MG, "mg") for h in (0.0, 11.0)]
        subjects.append(Subject(patient, _rows(own, discharge), tuple(sorted(doses, key=lambda d: d.time_h))))
    return make_records(subjects)


def _rows(own: pd.DataFrame, discharge: bool) -> pd.DataFrame:
    graded = own[own["toxicity"].isin(["CRS", "ICANS"])]
    table = pd.DataFrame({
        "time_h": graded["time_h"].to_numpy(float) + NOON, "observable": graded["toxicity"].to_numpy(object),
        "value": np.minimum(np.floor(graded["grade"].to_numpy(float) + 0.5), TOP), "censor": "none",
        "available_h": graded["available_h"].to_numpy(float),
    }).sort_values(["time_h", "observable"], kind="stable")  # fmt: skip
    if not discharge:
        return table
    end = min(float(graded["time_h"].max()) + 24.0, END_H)
    left = end < END_H
    last = pd.DataFrame({"time_h": [end], "observable": ["DISCHARGE"], "value": [end],
                         "censor": ["none" if left else "right"], "available_h": [end]})  # fmt: skip
    return pd.concat([table, last], ignore_index=True)


@dataclass(frozen=True)
class Origin:
    """When forecasts are made: at the end of ``days`` (origin), for ``ahead`` days later."""

    days: tuple[int, ...] = tuple(range(2, 12))
    ahead: tuple[int, ...] = (1, 2, 3)


def known_at(records: Records, landmark_h: float) -> Records:
    """Records as known at a landmark: grades, treatments so far, and discharge only if it has happened."""
    kept = []
    for s in records.subjects:
        table = s.observations
        known = table["available_h"].fillna(table["time_h"]) <= landmark_h
        doses = tuple(d for d in s.doses if d.time_h < landmark_h)
        now = table[known]
        if "DISCHARGE" in set(table["observable"]) and "DISCHARGE" not in set(now["observable"]):
            # Still in hospital at the landmark: that is known, too.
            still = pd.DataFrame({"time_h": [landmark_h], "observable": ["DISCHARGE"], "value": [landmark_h],
                                  "censor": ["right"], "available_h": [landmark_h]})  # fmt: skip
            now = pd.concat([now, still], ignore_index=True)
        kept.append(replace(s, observations=now.reset_index(drop=True), doses=doses))
    return make_records(kept)


def grade_forecasts(
    fit: Fit, records: Records, toxicity: str, *, origin: Origin | None = None, seed: int, draws: int = 256
) -> pd.DataFrame:
    """Probabilities of the grades of later days of patients the fit has not seen.

    Returns
    -------
    DataFrame
        ``id, day`` (of origin), ``ahead, today, observed, p0 .. p3``; one row for each later day that was graded, from
        days of origin that were.
    """
    origin = origin or Origin()
    rows = []
    for day in origin.days:
        landmark = 24.0 * (day + 1)
        known = known_at(records, landmark)
        posterior = individual_posterior(fit, known, landmark, seed=seed, draws=draws, method="laplace")
        hours = np.array([24.0 * (day + a) + NOON for a in origin.ahead])
        courses = forecast_courses(fit, posterior, known, hours, seed=seed, names=(toxicity,))
        for i, s in enumerate(records.subjects):
            own = s.observations[s.observations["observable"] == toxicity].set_index("time_h")["value"]
            now = own.get(24.0 * day + NOON)
            for j, a in enumerate(origin.ahead):
                later = own.get(float(hours[j]))
                if now is None or later is None:
                    continue
                drawn, weight = courses.values[i, :, j, 0], courses.weights[i]
                chance = {f"p{g}": float(weight[drawn == g].sum()) for g in range(TOP + 1)}
                rows.append({"id": s.id, "day": day, "ahead": a, "today": int(now), "observed": int(later), **chance})
    return pd.DataFrame(rows)


def ranked_probability_score(forecasts: pd.DataFrame) -> Array:
    """RPS of every row: squared differences of cumulative probabilities, summed over the cuts (Epstein 1969)."""
    p = forecasts[[f"p{g}" for g in range(TOP + 1)]].to_numpy(float)
    happened = (forecasts["observed"].to_numpy()[:, None] <= np.arange(TOP + 1)[None]).astype(float)
    return np.asarray(((p.cumsum(axis=1) - happened)[:, :-1] ** 2).sum(axis=1))
