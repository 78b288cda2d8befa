"""Cohorts as NONMEM-style data sets; see :mod:`icans.cohort.nonmem` for the conventions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import Cohort
from icans.cohort.csv_out import csv_bytes
from icans.cohort.nonmem_options import Dosed, NonmemOptions, Observed
from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path

#: Order of records at one time: covariates, then observations, then doses.
_RANK = {2: 0, 0: 1, 1: 2}


def write(cohort: Cohort, path: Path, options: NonmemOptions, *, overwrite: bool) -> dict[str, int]:
    """See :func:`icans.cohort.nonmem.write_nonmem`."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another file or allow overwriting")
    problems: list[Problem] = []
    timed = {c: t for c, t in options.covariates.items() if not t.startswith("patients.")}
    is_covariate = cohort.measurements["analyte"].isin(list(timed.values())) & (
        cohort.measurements["method"] == "covariate"
    )
    observed = _observed(cohort.measurements[~is_covariate], options, problems)
    dosed = _dosed(cohort.treatments, options, problems)
    if problems:
        raise DataError(problems)
    rows = [observed, dosed]
    for column, analyte in timed.items():
        mine = cohort.measurements[is_covariate & (cohort.measurements["analyte"] == analyte)]
        rows.append(_frame(mine, options, EVID=2, **{column: mine["value"]}))
    records = pd.concat([r for r in rows if len(r)], ignore_index=True) if any(map(len, rows)) else observed
    for column in timed:
        records[column] = _column(records, column)
    records = _carry_covariates(records, list(timed))
    records = _with_patients(records, cohort.patients, options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(csv_bytes(_finished(records, options)))
    return _left_out(cohort, records)


def _frame(source: pd.DataFrame, options: NonmemOptions, **columns: Any) -> pd.DataFrame:
    base = pd.DataFrame({"patient": source["patient_id"], "TIME": source["time_h"] / options.hours})
    return base.assign(**columns).reset_index(drop=True)


def _observed(rows: pd.DataFrame, options: NonmemOptions, problems: list[Problem]) -> pd.DataFrame:
    key = options.observed_by
    entries = {"": options.observed} if isinstance(options.observed, Observed) else dict(options.observed)
    found = {(e.analyte, options.matrix(e), e.unit): name for name, e in entries.items()}
    codes = _lookup(rows, ["analyte", "matrix", "unit"], found, "observed", "measurements", problems)
    censor = rows["censor"]
    cens = np.where(censor == "left", 1.0, np.where(censor == "right", -1.0, 0.0))
    dv = rows["limit"].where(censor.isin(["left", "right"]), rows["value"])
    columns: dict[str, Any] = {"EVID": 0, "DV": dv, "CENS": cens}
    if not isinstance(options.observed, Observed):
        columns[key] = codes
    return _frame(rows, options, **columns)


def _dosed(rows: pd.DataFrame, options: NonmemOptions, problems: list[Problem]) -> pd.DataFrame:
    entries = {"": options.dosed} if isinstance(options.dosed, Dosed) else dict(options.dosed)
    found = {(e.drug, e.unit, e.route): name for name, e in entries.items()}
    codes = _lookup(rows, ["drug", "unit", "route"], found, "dosed", "treatments", problems)
    for place in np.flatnonzero(rows["amount"].isna().to_numpy(bool)):
        problems.append(Problem("treatments", int(place) + 1, "amount", None, "an amount for AMT", "Fill it."))
    duration = rows["duration_h"].fillna(0.0) / options.hours
    rate = (rows["amount"] / duration.where(duration > 0)).fillna(0.0)
    columns: dict[str, Any] = {"EVID": 1, "AMT": rows["amount"], "RATE": rate, "DUR": duration}
    if not isinstance(options.dosed, Dosed):
        columns["CMT"] = codes
    return _frame(rows, options, **columns)


def _lookup(
    rows: pd.DataFrame, columns: list[str], found: dict[Any, str], option: str, table: str, problems: list[Problem]
) -> list[str]:
    values = [rows[c].array.to_numpy(object, na_value=None) for c in columns]
    keys = list(zip(*values, strict=True))
    for key in dict.fromkeys(keys):
        if key not in found:
            shown = ", ".join(str(part) for part in key)
            count = keys.count(key)
            remedy = f"Name it in {option!r}, or take the {count} rows out."
            problems.append(Problem(table, None, columns[0], shown, f"what {option!r} names", remedy))
    return [found.get(key, "") for key in keys]


def _carry_covariates(records: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Records in order, covariates carried forward, EVID 2 only where no other record stands at the time."""
    rank = records["EVID"].map(_RANK)
    records = records.assign(_rank=rank).sort_values(["patient", "TIME", "_rank"], kind="stable", ignore_index=True)
    if not columns:
        return records.drop(columns="_rank")
    records[columns] = records.groupby("patient", sort=False)[columns].ffill()
    last = records.groupby(["patient", "TIME"], sort=False)[columns].transform("last")
    records[columns] = records[columns].where(last.isna(), last)
    real = records["EVID"].ne(2)
    served = real.groupby([records["patient"], records["TIME"]]).transform("any")
    repeated = ~real & records.duplicated(["patient", "TIME", "EVID"])
    keep = real | (~served & ~repeated)
    return records[keep].drop(columns="_rank").reset_index(drop=True)


def _with_patients(records: pd.DataFrame, patients: pd.DataFrame, options: NonmemOptions) -> pd.DataFrame:
    """Patients' covariates beside each record; a patient without records gets one that says only these."""
    absent = patients.loc[~patients["patient_id"].isin(records["patient"]), "patient_id"]
    if len(absent):
        alone = pd.DataFrame({"patient": absent, "TIME": 0.0, "EVID": 2})
        records = pd.concat([records, alone], ignore_index=True)
        records = records.sort_values(["patient", "TIME"], kind="stable", ignore_index=True)
    known = patients.set_index("patient_id")
    for column, target in options.covariates.items():
        if target.startswith("patients."):
            values = known[target.removeprefix("patients.")]
            back = {own: code for code, own in options.codes.get(column, {}).items()}
            mapped = records["patient"].map(values)
            records[column] = mapped.map(lambda v, b=back: b.get(v, v), na_action="ignore") if back else mapped
    return records


def _finished(records: pd.DataFrame, options: NonmemOptions) -> pd.DataFrame:
    ids = records["patient"].astype(schema.TEXT)
    numeric = bool(ids.str.fullmatch("[0-9]{1,9}").all())
    dose = records["EVID"].eq(1)
    value = _column(records, "DV")
    written: dict[str, Any] = {"ID": ids if numeric else pd.factorize(ids)[0] + 1}
    if not numeric:
        written["SUBJID"] = ids
    written |= {"TIME": records["TIME"].astype(float), "EVID": records["EVID"].astype("Int64")}
    written["MDV"] = (records["EVID"].ne(0) | value.isna()).astype("Int64")
    written["AMT"] = _column(records, "AMT").fillna(0.0)
    for name in ("RATE", "DUR"):
        written[name] = _column(records, name).where(dose, 0.0).fillna(0.0)
    for name in ("CMT", "DVID"):
        if name in records:
            written[name] = records[name].astype(schema.TEXT)
    written["DV"] = value
    written["CENS"] = _column(records, "CENS").fillna(0.0).astype("Int64")
    for name in options.covariates:
        written[name] = records.get(name, np.nan)
    frame = pd.DataFrame(written)
    return pd.DataFrame({name: _dots(frame[name]) for name in frame})


def _column(records: pd.DataFrame, name: str) -> pd.Series:
    return records[name].astype(float) if name in records else pd.Series(np.nan, index=records.index)


def _dots(values: pd.Series) -> pd.Series:
    """Missing as a dot, which NONMEM reads; numbers stay numbers where none is missing."""
    if not values.isna().any():
        return values
    if isinstance(values.dtype, pd.StringDtype):
        return values.fillna(".")
    texts = [
        None if pd.isna(v) else (repr(float(v)) if isinstance(v, (float, np.floating)) else str(v)) for v in values
    ]
    return pd.Series(texts, dtype=schema.TEXT).fillna(".")


def _left_out(cohort: Cohort, records: pd.DataFrame) -> dict[str, int]:
    left = {name: len(cohort.table(name)) for name in ("assessments", "grades", "events", "recordings")}
    for name, columns in (("measurements", ("assay", "batch", "method")), ("treatments", ())):
        frame = cohort.table(name)
        left[f"{name}.available_h"] = int((frame["available_h"] != frame["time_h"]).sum())
        for column in columns:
            left[f"{name}.{column}"] = int((frame[column].notna() & (frame[column] != "covariate")).sum())
    censored = cohort.measurements[cohort.measurements["censor"] != "none"]
    left["measurements.value"] = int(censored["value"].notna().sum())
    return {name: count for name, count in left.items() if count}
