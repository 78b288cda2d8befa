"""From a harmonised cohort to the records of a population model: observables, units, limits, doses, covariates.

Which analyte is which output of the patient model stands in ``observables.toml``. A value marked as censored becomes
a censored row at its limit (its likelihood is a probability, not a density: method M3); a value of zero of a counted
quantity becomes "below the floor". Sample time and the time at which a result was available are kept apart. What
cannot be used is a problem, what is moved or left out by rule is told in the notes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.mechanism.parameters import unknown
from icans.population.nlme.observed import Observation
from icans.population.nlme.records import Records, Subject, make_records

Doses = Mapping[str, tuple[Any, ...]]


@cache
def observables() -> dict[str, dict[str, Any]]:
    """The table of ``observables.toml``: analyte -> output, unit, error, floor."""
    return tomllib.loads((resources.files(__package__) / "observables.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Prepared:
    """Records of a population model, and what was done to get them.

    ``notes``: sentences. ``census``: one row an analyte: ``analyte, observable, patients, rows, left, right`` (censored
    rows at each side) and ``limits`` (distinct limits, ascending).
    """

    records: Records
    notes: tuple[str, ...]
    census: pd.DataFrame


def observations(analytes: Sequence[str]) -> list[Observation]:
    """The observations of a population model for these analytes; named as the outputs.

    Raises
    ------
    DataError
        Analytes that no output of the model answers to: all of them.
    """
    _refuse(analytes)
    rows = [observables()[a] for a in analytes]
    return [Observation(r["output"], r["output"], r["error"], a=r["a"], unit=r["unit"]) for r in rows]


def population_records(
    cohort: Cohort, analytes: Sequence[str], doses: Doses, *,
    covariates: Mapping[str, Mapping[str, float]] | None = None, until_h: float | None = None,
) -> Prepared:  # fmt: skip
    """Records of every patient of a harmonised cohort who has any of the analytes.

    Parameters
    ----------
    analytes
        Names of the vocabulary, each in ``observables.toml``.
    doses
        Patient -> doses for the structural model.
    covariates
        Patient -> covariate -> value.
    until_h
        Hours after which measurements are left out (and told).

    Raises
    ------
    DataError
        Analytes unknown or without any measurement, units other than the model's, values below zero, zeros of an
        analyte without a floor, patients without a dose: all of them.
    """
    _refuse(analytes)
    table = cohort.measurements[cohort.measurements["analyte"].isin(list(analytes))]
    table = table[table["value"].notna()].reset_index(drop=True)
    problems = _refuse_table(table, analytes, doses)
    if problems:
        raise DataError(problems)
    table, notes = _settle(table, until_h)
    subjects = []
    for patient, own in table.groupby("patient_id", sort=True):
        given = dict((covariates or {}).get(str(patient), {}))
        subjects.append(Subject(str(patient), _rows(own), doses[str(patient)], given))
    without = sorted(set(cohort.patients["patient_id"].astype(str)) - {s.id for s in subjects})
    if without:
        notes.append(f"{len(without)} patients without any of these analytes are left out")
    records = make_records(subjects)
    return Prepared(records, tuple(notes), _census(table))


def _refuse(analytes: Sequence[str]) -> None:
    problems = [unknown("analyte of the patient model", a, observables()) for a in analytes if a not in observables()]
    if problems:
        raise DataError(problems)


def _refuse_table(table: pd.DataFrame, analytes: Sequence[str], doses: Doses) -> list[Problem]:
    problems = []
    for a in analytes:
        own, row = table[table["analyte"] == a], observables()[a]
        if own.empty:
            problems.append(Problem("measurements", None, a, None, "at least one value", "Leave the analyte out."))
            continue
        for found in own["unit"].astype(str).unique():
            if found != row["unit"]:
                remedy = "Harmonise the cohort first; it converts units."
                problems.append(Problem("measurements", None, a, found, f"values in {row['unit']}", remedy))
        if (own["value"] < 0.0).any():
            worst = f"{own['value'].min():g}"
            problems.append(Problem("measurements", None, a, worst, "values of 0 or more", "Correct or remove them."))
        if (own["value"] == 0.0).any() and "floor" not in row:
            remedy = "Give the assay's limit in censor and limit, or a floor in observables.toml."
            problems.append(Problem("measurements", None, a, "0", "a value above 0", remedy))
    for patient in sorted(set(table["patient_id"].astype(str)) - set(doses)):
        problems.append(Problem(f"patient {patient}", None, "doses", None, "a dose", "Give the infusion."))
    return problems


def _settle(table: pd.DataFrame, until_h: float | None) -> tuple[pd.DataFrame, list[str]]:
    """Times from 0 on, zeros as censored, limits in place; with what was done."""
    notes = []
    early = table["time_h"] < 0.0
    useless = early & ~table["analyte"].map(lambda a: bool(observables()[a].get("before_infusion", True))).astype(bool)
    if useless.any():
        notes.append(f"{int(useless.sum())} values before the infusion of what only the infusion brings are left out")
    if (early & ~useless).any():
        notes.append(f"{int((early & ~useless).sum())} values before the infusion stand at hour 0")
    table = table[~useless].assign(time_h=table["time_h"].clip(lower=0.0))
    if until_h is not None and (late := table["time_h"] > until_h).any():
        notes.append(f"{int(late.sum())} values after hour {until_h:g} are left out")
        table = table[~late]
    value = table["value"].to_numpy(float).copy()
    censor = table["censor"].fillna("none").to_numpy(object).copy()
    limit = table["limit"].to_numpy(float)
    marked = np.isin(censor, ("left", "right")) & np.isfinite(limit)
    value[marked] = limit[marked]
    floor = table["analyte"].map(lambda a: float(observables()[a].get("floor", np.nan))).to_numpy(float)
    zero = value == 0.0
    value[zero], censor[zero] = floor[zero], "left"
    for name in pd.unique(table["analyte"][zero]):
        own = observables()[name]
        words = f"{int((zero & (table['analyte'] == name)).sum())} zeros of {name} are read as below {own['floor']:g}"
        notes.append(f"{words} ({own.get('floor_source', 'declared')})")
    table = table.assign(value=value, censor=censor)
    return table.sort_values(["patient_id", "time_h", "analyte"], kind="stable"), notes


def _rows(own: pd.DataFrame) -> pd.DataFrame:
    names = own["analyte"].map(lambda a: observables()[a]["output"])
    return pd.DataFrame({
        "time_h": own["time_h"].to_numpy(float), "observable": names.to_numpy(object),
        "value": own["value"].to_numpy(float), "censor": own["censor"].to_numpy(object),
        "available_h": own["available_h"].to_numpy(float),
        "batch": own["batch"].fillna("").astype(str).to_numpy(object),
    })  # fmt: skip


def _census(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for a, own in table.groupby("analyte", sort=True):
        limits = sorted(own.loc[own["censor"] != "none", "value"].unique())
        rows.append({
            "analyte": a, "observable": observables()[str(a)]["output"], "patients": own["patient_id"].nunique(),
            "rows": len(own), "left": int((own["censor"] == "left").sum()),
            "right": int((own["censor"] == "right").sum()), "limits": ", ".join(f"{v:g}" for v in limits),
        })  # fmt: skip
    return pd.DataFrame(rows)
