"""What a cohort says about its patients without any clinical value: where rows came from, how many, how written.

Every function gives a table with one row for each patient (index ``patient_id``, in the cohort's order) and numeric
columns; no columns where there is nothing to tell patients apart.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.cohort.schema import PATIENTS

#: A level (site, batch ...) needs this many patients for a column of its own; a level of one patient names the patient.
MIN_LEVEL = 2
#: A column that has the same value in all but fewer than this many patients is left out.
MIN_DIFFERENT = 3
#: Decimals are counted up to this number; beyond it a value is the result of a computation.
MAX_DECIMALS = 4
#: Days since infusion for which the presence of rows is looked at.
PRESENCE_DAYS = (-7, 30)
#: Tables whose rows make up a patient's record (events are left out: they hold the outcome and the competing ones).
RECORD = ("measurements", "treatments", "assessments", "grades")


def level_features(levels: pd.Series, patients: list[str]) -> pd.DataFrame:
    """Share of a patient's rows in each level of a grouping.

    Parameters
    ----------
    levels
        Labels with ``patient_id`` as index (one or many for each patient); missing labels are a level of their own.
    patients
        Patients, in the order wanted.
    """
    labels = levels.astype("object").where(levels.notna(), "(missing)").astype(str)
    table = pd.crosstab(pd.Series(labels.index.astype(str), name="patient_id"), labels.to_numpy(), normalize="index")
    table = table.reindex(patients).fillna(0.0)
    enough = (table > 0).sum(axis=0) >= MIN_LEVEL
    return _informative(table.loc[:, enough])


def field_levels(cohort: Cohort, field: str) -> pd.Series:
    """A column of the patients table, by patient."""
    return cohort.patients.set_index("patient_id")[field]


def row_levels(cohort: Cohort, field: str) -> pd.Series:
    """A column of the measurements table (batch, assay, unit ...), one entry for each row, by patient."""
    return cohort.measurements.set_index("patient_id")[field]


def missing_fields(cohort: Cohort) -> pd.DataFrame:
    """Which columns of the patients table are filled in (1) for each patient."""
    names = [c.name for c in PATIENTS.columns if c.name not in ("patient_id", "source", "site", "product")]
    table = cohort.patients.set_index("patient_id")[names].notna().astype(float)
    return _informative(table)


def presence(cohort: Cohort) -> pd.DataFrame:
    """Whether a patient has a value of an analyte on a day, for each analyte and day since infusion."""
    rows = cohort.measurements
    rows = rows[rows["value"].notna()]
    day = np.floor(rows["time_h"] / 24.0)
    kept = day.between(*PRESENCE_DAYS)
    label = rows["analyte"][kept].astype(str) + " day " + day[kept].astype(int).astype(str)
    seen = pd.crosstab(rows["patient_id"][kept].astype(str), label).clip(upper=1) if kept.any() else pd.DataFrame()
    return _informative(seen.reindex(cohort.patient_ids).fillna(0.0).astype(float))


def row_counts(cohort: Cohort) -> pd.DataFrame:
    """Rows of each table and values of each analyte, by patient."""
    columns = {f"{name} rows": cohort.table(name).groupby("patient_id").size() for name in RECORD}
    rows = cohort.measurements
    filled = rows[rows["value"].notna()]
    for analyte, part in filled.groupby("analyte"):
        columns[f"{analyte} values"] = part.groupby("patient_id").size()
    return _informative(pd.DataFrame(columns).reindex(cohort.patient_ids).fillna(0.0).astype(float))


def value_format(cohort: Cohort) -> pd.DataFrame:
    """How values are written: share of whole numbers and mean number of decimals, by patient and analyte.

    A patient without values of an analyte gets the mean of the others, so that missingness is not told here.
    """
    rows = cohort.measurements
    rows = rows[rows["value"].notna()]
    places = decimals(rows["value"].to_numpy())
    frame = pd.DataFrame(
        {"patient_id": rows["patient_id"].astype(str), "analyte": rows["analyte"].astype(str), "places": places}
    )
    frame["whole"] = (frame["places"] == 0).astype(float)
    if frame.empty:
        return pd.DataFrame(index=pd.Index(cohort.patient_ids, name="patient_id"))
    wide = frame.pivot_table(index="patient_id", columns="analyte", values=["places", "whole"], aggfunc="mean")
    wide.columns = [
        f"{analyte} {'decimals' if kind == 'places' else 'whole numbers'}" for kind, analyte in wide.columns
    ]
    wide = wide.reindex(cohort.patient_ids)
    return _informative(wide.fillna(wide.mean()))


def decimals(values: np.ndarray) -> np.ndarray:
    """Number of decimals that each value was written with, at most ``MAX_DECIMALS``."""
    places = np.full(len(values), MAX_DECIMALS)
    for count in range(MAX_DECIMALS - 1, -1, -1):
        places[np.isclose(values, np.round(values, count), rtol=1e-9, atol=1e-9)] = count
    return places


def record_length(cohort: Cohort) -> pd.DataFrame:
    """First and last day of a patient's record and the number of distinct days in it."""
    parts = [cohort.table(name)[["patient_id", "time_h"]] for name in RECORD]
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(index=pd.Index(cohort.patient_ids, name="patient_id"))
    rows = pd.concat(filled, ignore_index=True)
    day = np.floor(rows["time_h"] / 24.0)
    grouped = day.groupby(rows["patient_id"].astype(str))
    table = pd.DataFrame({"first day": grouped.min(), "last day": grouped.max(), "days": grouped.nunique()})
    table = table.reindex(cohort.patient_ids)
    return _informative(table.fillna(table.median()).astype(float))


def regime_features(regimes: pd.DataFrame, patients: list[str]) -> pd.DataFrame:
    """Detected unit regimes (patient_id, analyte, regime): a column for each regime of analytes that have several."""
    if len(regimes):
        regimes = regimes[regimes.groupby("analyte")["regime"].transform("nunique") > 1]
    if regimes.empty:
        return pd.DataFrame(index=pd.Index(patients, name="patient_id"))
    label = regimes["analyte"].astype(str) + ": " + regimes["regime"].astype(str)
    table = pd.crosstab(regimes["patient_id"].astype(str), label).clip(upper=1)
    return _informative(table.reindex(patients).fillna(0.0).astype(float))


def _informative(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in which at least ``MIN_DIFFERENT`` patients differ from the commonest value."""
    table.index.name = "patient_id"
    kept = [name for name in table if len(table) - table[name].value_counts().max() >= MIN_DIFFERENT]
    return table[kept]
