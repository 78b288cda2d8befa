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
    table = _tally(labels.index, labels, patients)
    table = table.div(table.sum(axis=1).where(lambda rows: rows > 0, 1.0), axis=0)
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
    return _informative(_tally(rows["patient_id"][kept], label, cohort.patient_ids).clip(upper=1))


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
    wide = frame.groupby(["patient_id", "analyte"])[["places", "whole"]].mean().unstack("analyte")
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
    return _informative(_tally(regimes["patient_id"], label, patients).clip(upper=1))


def _informative(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in which at least ``MIN_DIFFERENT`` patients differ from the commonest value."""
    table.index.name = "patient_id"
    kept = [k for k, column in enumerate(table.to_numpy().T) if len(table) - _repeats(column) >= MIN_DIFFERENT]
    return table.iloc[:, kept]


def _repeats(column: np.ndarray) -> int:
    """How often the commonest value (missing ones set aside) occurs."""
    present = column[~np.isnan(column)]
    return int(np.unique(present, return_counts=True)[1].max()) if len(present) else 0


def _tally(owner: pd.Index | pd.Series, label: pd.Series, patients: list[str]) -> pd.DataFrame:
    """How many rows of each label (sorted) each patient has, 0 where none; rows of other patients are left out."""
    code, labels = pd.factorize(label.to_numpy(dtype=object), sort=True)
    place = pd.Index(patients, name="patient_id").get_indexer(pd.Index(owner).astype(str))
    mine = place >= 0
    counts = np.bincount(place[mine] * len(labels) + code[mine], minlength=len(patients) * len(labels))
    table = counts.reshape(len(patients), len(labels)).astype(float)
    return pd.DataFrame(table, index=pd.Index(patients, name="patient_id"), columns=labels)


def commonest(owner: pd.Series, label: pd.Series) -> pd.Series:
    """Each owner's most frequent label, the first delivered of equally frequent ones; owners and labels not missing."""
    frame = pd.DataFrame({"owner": owner.to_numpy(), "label": label.to_numpy(), "place": np.arange(len(owner))})
    seen = frame.groupby(["owner", "label"], sort=False, observed=True)["place"].agg(["size", "min"]).reset_index()
    ranked = seen.sort_values(["owner", "size", "min"], ascending=[True, False, True], kind="stable")
    return ranked.drop_duplicates("owner").set_index("owner")["label"]
