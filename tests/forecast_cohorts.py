"""Cohorts for the forecasting tests: simulated ones, and the two public sets with daily grades."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort, make
from icans.core.provenance import Provenance
from icans.core.random import stream


def simulated(n: int = 80, seed: int = 1, *, signal: float = 1.5, days: int = 14, sites: int = 2) -> Cohort:
    """Daily CRP, ferritin, temperature, CRS and ICANS grades; a hidden trait drives all of them.

    ``signal=0`` cuts the trait's effect on ICANS, so that nothing can be learned.
    """
    rng = stream(seed, "forecast test cohort", n, days)
    ids = [f"p{i:04d}" for i in range(n)]
    trait = rng.normal(size=n)
    chance = 1 / (1 + np.exp(-(-2.6 + signal * trait)))
    measurements, grades, treatments, events = [], [], [], []
    for i, pid in enumerate(ids):
        stay = int(rng.integers(8, days + 1))
        onset = next((d for d in range(2, stay) if rng.random() < chance[i] * (1 if d < 8 else 0.2)), None)
        peak = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.3, 0.1]))
        dies = rng.random() < 0.04
        for d in range(stay):
            drive = 0.25 * min(d, 5) * (1 + 0.6 * trait[i]) + rng.normal(0, 0.3)
            crp, ferritin = np.exp(2.5 + drive), np.exp(6.5 + 0.8 * drive + rng.normal(0, 0.3))
            for analyte, value, unit in (
                ("crp", crp, "mg/L"), ("ferritin", ferritin, "ng/mL"), ("temperature", 37 + 0.5 * drive, "Cel"),
            ):  # fmt: skip
                if rng.random() < 0.85:
                    measurements.append((pid, 24.0 * d + 6, 24.0 * d + 10, analyte, "serum", value, unit))
            icans = 0 if onset is None or d < onset or d > onset + 4 else max(1, peak - abs(d - onset - 1))
            grades.append((pid, 24.0 * d, 24.0 * (d + 1), "ICANS", "ASTCT", float(icans)))
            grades.append((pid, 24.0 * d, 24.0 * (d + 1), "CRS", "ASTCT", float(np.clip(round(drive), 0, 4))))
            if drive > 1.6 and rng.random() < 0.3:
                treatments.append((pid, 24.0 * d + 12, 24.0 * d + 12, "tocilizumab"))
        events.append((pid, 24.0 * stay, 24.0 * stay, "death" if dies else "discharge"))
    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "site": [f"site{k}" for k in rng.integers(0, sites, n)],
            "age_y": rng.normal(60, 10, n).round(1),
            "sex": rng.choice(["female", "male"], n),
            "product": rng.choice(["axi-cel", "tisa-cel"], n),
        }
    )
    tables = {
        "patients": patients,
        "measurements": pd.DataFrame(
            measurements, columns=["patient_id", "time_h", "available_h", "analyte", "matrix", "value", "unit"]
        ),
        "grades": pd.DataFrame(grades, columns=["patient_id", "time_h", "available_h", "toxicity", "scheme", "grade"]),
        "treatments": pd.DataFrame(treatments, columns=["patient_id", "time_h", "available_h", "drug"]),
        "events": pd.DataFrame(events, columns=["patient_id", "time_h", "available_h", "event"]),
    }
    return make(f"simulated-{n}", tables, provenance=Provenance(source="simulated", synthetic=True))


def nulisa(folder: Path) -> Cohort:
    """Daily ICANS and CRS grades and treatments of the NULISA set (days 0-14)."""
    daily = pd.read_csv(folder / "nulisa_cart_lbcl" / "daily_toxicity.csv")
    when = {"time_h": 24.0 * daily["day"], "available_h": 24.0 * (daily["day"] + 1)}
    base = pd.DataFrame({"patient_id": daily["patient_id"], **when})
    grades = [
        base.assign(toxicity=tox, scheme="ASTCT", grade=daily[column])
        for tox, column in (("ICANS", "icans_grade"), ("CRS", "crs_grade"))
    ]
    drugs = {
        "toci": "tocilizumab", "siltux": "siltuximab", "steroids": "corticosteroid", "anakinra": "anakinra",
    }  # fmt: skip
    given = [base[daily[column] == 1].assign(drug=drug) for column, drug in drugs.items()]
    patients = daily[["patient_id"]].drop_duplicates().assign(product="axi-cel")
    return make("nulisa", {"patients": patients, "grades": pd.concat(grades), "treatments": pd.concat(given)})


def bwh(folder: Path, *, cases_only: bool = True) -> Cohort:
    """The BWH set; by default only its patients with ICANS, who come from one source with one set of units."""
    daily = pd.read_csv(folder / "bwh_icans" / "daily.csv").drop_duplicates(["SID", "HospitalDay"])
    if cases_only:
        worst = daily.groupby("SID")["meanscore"].transform("max")
        daily = daily[worst > 0]
    daily = daily.assign(patient_id="b" + daily["SID"].astype(str))
    base = pd.DataFrame(
        {
            "patient_id": daily["patient_id"],
            "time_h": 24.0 * daily["HospitalDay"],
            "available_h": 24.0 * (daily["HospitalDay"] + 1),
        }
    )
    columns = {
        "Temp": ("temperature", "vital"), "CRP": ("crp", "serum"), "Ferritin": ("ferritin", "serum"),
        "Procalcitonin": ("procalcitonin", "serum"), "IL_6": ("il_6", "serum"), "WBC": ("wbc", "blood"),
    }  # fmt: skip
    values = [
        base.assign(analyte=name, matrix=matrix, value=daily[column])[daily[column].notna()]
        for column, (name, matrix) in columns.items()
    ]
    grades = base.assign(toxicity="ICANS", scheme="ASTCT", grade=daily["meanscore"])
    first = daily.groupby("patient_id").first()
    patients = pd.DataFrame({"patient_id": first.index, "age_y": first["Age"].to_numpy()})
    return make("bwh", {"patients": patients, "measurements": pd.concat(values), "grades": grades})
