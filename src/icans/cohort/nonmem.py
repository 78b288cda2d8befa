"""NONMEM-style data sets, both ways.

Conventions
-----------
* One comma-separated file with a header; records of a patient together, TIME not decreasing.
* EVID 0 observes, 1 doses, 2 only carries covariates, 3 resets, 4 resets and doses (see
  :class:`~icans.cohort.nonmem_options.NonmemOptions`). ADDL and II are written out as single administrations.
* MDV 1 with EVID 0 is a sample that was asked for and is missing.
* CENS 1: DV is the lower limit of quantification and the value lies below (``censor`` left); CENS -1: DV is
  the upper limit and the value lies above (right). LIMIT, the other end of the interval, has no place in a
  cohort: where it is more than "down to 0" or "up to infinity", a row of ``changes`` keeps it.
* An observation at the time of a dose is the pre-dose value; where the file lists it after the dose, a row of
  ``changes`` says so. Written files list observations first.
* DUR is not a NONMEM item but is written beside RATE, because AMT / (AMT / DUR) need not be DUR.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import cells, schema
from icans.cohort.check import check_cohort
from icans.cohort.cohort import Cohort, change_rows, make, stack
from icans.cohort.findings import Findings
from icans.cohort.nonmem_options import Dosed, NonmemOptions, Observed
from icans.cohort.nonmem_rows import Records, read_records, tell
from icans.cohort.safety import DEFAULT_LIMITS, Limits
from icans.core.errors import DataError
from icans.core.files import sha256
from icans.core.provenance import Provenance

__all__ = ["Dosed", "NonmemOptions", "Observed", "read_nonmem", "write_nonmem"]


def read_nonmem(
    path: Path | str, options: NonmemOptions, *, name: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Cohort:
    """A NONMEM-style data set as a cohort.

    Raises
    ------
    DataError
        With every problem of the file; nothing is loaded then.
    """
    path = Path(path)
    findings = Findings()
    records = read_records(path, options, findings, limits)
    if records is None or findings.has_errors():
        raise DataError(_errors(findings))
    changes: list[pd.DataFrame] = []
    _split_resets(records, options, findings, changes)
    _check_order(records, findings)
    measurements = _observations(records, options, findings, changes)
    treatments = _doses(records, options, findings, changes)
    patients, covariates = _covariates(records, options, findings)
    _set_aside(records, options, changes)
    if findings.has_errors():
        raise DataError(_errors(findings))
    own = name or path.name.split(".")[0]
    cohort = make(
        own,
        {
            "patients": patients,
            "measurements": stack(schema.MEASUREMENTS, [measurements, covariates]),
            "treatments": treatments,
        },
        provenance=Provenance(source=path.name, inputs={path.name: sha256(path)}),
        changes=stack(schema.CHANGES, changes),
    )
    errors = check_cohort(cohort, extra_analytes=options.extra_analytes).errors
    if errors:
        raise DataError(errors)
    return cohort


def write_nonmem(
    cohort: Cohort, path: Path | str, options: NonmemOptions, *, overwrite: bool = False
) -> dict[str, int]:
    """Write a cohort so that :func:`read_nonmem` with the same options gives its records again.

    Returns
    -------
    dict
        What the format has no place for and was left out: table (or ``table.column``) to number of rows.

    Raises
    ------
    FileExistsError
        The file exists and ``overwrite`` is false.
    DataError
        Measurements or treatments that the options do not name; nothing is written.
    """
    from icans.cohort.nonmem_write import write

    return write(cohort, Path(path), options, overwrite=overwrite)


def _errors(findings: Findings) -> list[Any]:
    return [p for p in findings.problems() if p.severity == "error"]


def _split_resets(records: Records, options: NonmemOptions, findings: Findings, changes: list[pd.DataFrame]) -> None:
    """What follows a reset as a patient of its own; a reset before anything else empties nothing."""
    frame = records.frame
    first = ~frame["patient"].duplicated()
    reset = frame["EVID"].isin([3, 4])
    later = reset & ~first
    if not later.any():
        return
    if options.resets == "refuse":
        tell(records, findings, later, "EVID", "no reset after a patient's first record",
             "A cohort cannot empty a patient; with resets='split' what follows is a patient of its own.")  # fmt: skip
        return
    part = later.groupby(frame["patient"]).cumsum() + 1
    named = frame["patient"] + "/" + part.astype(str).astype(schema.TEXT)
    renamed = frame["patient"].where(part.eq(1), named)
    changes.append(
        change_rows(
            "patients", "reset.split", "records after a reset (EVID 3, 4) became a patient of their own",
            patient_id=renamed[later], column="patient_id", old=frame.loc[later, "patient"], new=renamed[later],
        )
    )  # fmt: skip
    frame["patient"] = renamed


def _check_order(records: Records, findings: Findings) -> None:
    patient, time = records.frame["patient"], records.frame["TIME"]
    same = patient.eq(patient.shift())
    tell(records, findings, same & time.lt(time.shift()), "TIME", "times that do not decrease within a patient",
         "Sort the records of the patient by time, or mark a new occasion with EVID 3 or 4.")  # fmt: skip
    tell(records, findings, ~same & patient.duplicated(), "ID", "the records of a patient together",
         "Bring them together, or give the second patient another ID.")  # fmt: skip


def _observations(
    records: Records, options: NonmemOptions, findings: Findings, changes: list[pd.DataFrame]
) -> pd.DataFrame:
    frame = records.frame[records.frame["EVID"].eq(0)]
    entries = _entries(records, frame, options.observed, options.observed_by, "observed", findings)
    cens = frame["CENS"].fillna(0)
    missing = frame["MDV"].eq(1)
    censored = cens.ne(0) & ~missing
    limit = frame["DV"].where(censored)
    end = frame["LIMIT"].where(censored)
    kept = end.notna() & ~(cens.eq(1) & end.eq(0))
    if kept.any():
        changes.append(
            change_rows(
                "measurements", "censor.interval", "the other end of a censoring interval has no place in the table",
                patient_id=frame.loc[kept, "patient"], time_h=frame.loc[kept, "TIME"] * options.hours, column="limit",
                old=end[kept],
            )
        )  # fmt: skip
    _note_ties(records, changes)
    _note_dropped_values(frame, missing, options, changes)
    return pd.DataFrame(
        {
            "patient_id": frame["patient"],
            "time_h": frame["TIME"] * options.hours,
            "analyte": [e.analyte if e else None for e in entries],
            "matrix": [options.matrix(e) if e else None for e in entries],
            "value": frame["DV"].where(~missing & ~censored),
            "unit": [e.unit if e else None for e in entries],
            "censor": np.where(censored & cens.eq(1), "left", np.where(censored, "right", "none")),
            "limit": limit,
        }
    )


def _note_dropped_values(
    frame: pd.DataFrame, missing: pd.Series, options: NonmemOptions, changes: list[pd.DataFrame]
) -> None:
    """A value in DV that MDV declares missing is set aside, and told where it was not 0."""
    told = missing & frame["DV"].fillna(0).ne(0)
    if told.any():
        rows = frame[told]
        changes.append(
            change_rows(
                "measurements", "mdv.missing", "MDV is 1: the value of DV does not count",
                patient_id=rows["patient"], time_h=rows["TIME"] * options.hours, column="value", old=rows["DV"],
            )
        )  # fmt: skip


def _note_ties(records: Records, changes: list[pd.DataFrame]) -> None:
    frame = records.frame
    dose = frame["EVID"].isin([1, 4])
    after = dose.groupby([frame["patient"], frame["TIME"]]).cumsum().gt(0) & frame["EVID"].eq(0)
    if after.any():
        changes.append(
            change_rows(
                "measurements", "order.tie", "listed after a dose at the same time; taken as the value before it",
                column="time_h",
            ).assign(rows=int(after.sum()))
        )  # fmt: skip


def _doses(records: Records, options: NonmemOptions, findings: Findings, changes: list[pd.DataFrame]) -> pd.DataFrame:
    frame = records.frame[records.frame["EVID"].isin([1, 4])]
    entries = _entries(records, frame, options.dosed, "CMT", "dosed", findings)
    rate = frame["RATE"].where(frame["RATE"].gt(0))
    duration = frame["DUR"].fillna(frame["AMT"] / rate).fillna(0.0)
    single = pd.DataFrame(
        {
            "patient_id": frame["patient"],
            "time_h": frame["TIME"] * options.hours,
            "duration_h": duration * options.hours,
            "drug": [e.drug if e else None for e in entries],
            "amount": frame["AMT"],
            "unit": [e.unit if e else None for e in entries],
            "route": [e.route if e else None for e in entries],
        }
    )
    before = np.where(frame["SS"].eq(1), options.steady_state_doses or 0, 0)
    after = frame["ADDL"].fillna(0).to_numpy(int)
    counts = before + after + 1
    if counts.sum() == len(single):
        return single
    index = np.repeat(np.arange(len(single)), counts)
    step = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts) - np.repeat(before, counts)
    interval = (frame["II"].fillna(0).to_numpy(float) * options.hours)[index]
    expanded = single.iloc[index].reset_index(drop=True)
    expanded["time_h"] = np.where(step == 0, expanded["time_h"], expanded["time_h"] + step * interval)
    _note_expansion(single, after, "addl.expanded", "ADDL and II written out as single administrations", changes)
    why = "steady state (SS=1) written out as earlier doses: an approximation"
    _note_expansion(single, before, "ss.expanded", why, changes)
    return expanded


def _note_expansion(single: pd.DataFrame, extra: np.ndarray, rule: str, why: str, changes: list[pd.DataFrame]) -> None:
    some = extra > 0
    if some.any():
        rows = single[some]
        note = change_rows(
            "treatments", rule, why, patient_id=rows["patient_id"], time_h=rows["time_h"], item=rows["drug"]
        )
        changes.append(note.assign(rows=extra[some]))


def _entries(
    records: Records, frame: pd.DataFrame, given: Any, column: str, option: str, findings: Findings
) -> list[Any]:
    """What each record is, by the options; a key that they do not have is a problem."""
    if not hasattr(given, "items"):
        return [given] * len(frame)
    keys = frame[column]
    if column not in records.present:
        if len(frame):
            expected = f"a column {column} to tell what is {option}"
            findings.add(records.file, expected, f"Add it, or give one entry in {option!r}.", column=column)
        return [None] * len(frame)
    known = {key: given.get(key) for key in keys.dropna().unique()}
    known = {key: value if value is not None else given.get(_plain(key)) for key, value in known.items()}
    mask = pd.Series(False, index=records.frame.index)
    mask.loc[frame.index] = keys.isna() | keys.isin([key for key, value in known.items() if value is None])
    expected = f"one of {', '.join(given)}"
    tell(records, findings, mask, column, expected, f"Name it in {option!r}, or correct the cell.")
    return [known.get(key) for key in keys.array.to_numpy(object, na_value=None)]


def _plain(key: str) -> str:
    """``1.0`` as ``1``: data sets are often written by programs that know only floats."""
    try:
        number = float(key)
    except ValueError:
        return key
    return str(int(number)) if number == np.floor(number) and abs(number) < 1e9 else key


def _covariates(records: Records, options: NonmemOptions, findings: Findings) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = records.frame
    patient = frame["patient"]
    patients = pd.DataFrame({"patient_id": patient.dropna().unique()})
    rows: list[pd.DataFrame] = []
    for column, target in options.covariates.items():
        texts = frame[column]
        table, _, own = target.rpartition(".")
        if table == "patients":
            values = _patient_values(records, column, own, options, findings)
            patients[own] = patients["patient_id"].map(values)
            continue
        numbers = cells.parse("number", texts.array.__arrow_array__(), typed=False, file=records.file, name=column,
                              lines=records.lines, findings=findings)  # fmt: skip
        previous = numbers.groupby(patient).ffill().groupby(patient).shift()
        changed = numbers.notna() & numbers.ne(previous)
        rows.append(
            pd.DataFrame(
                {
                    "patient_id": patient[changed],
                    "time_h": frame.loc[changed, "TIME"] * options.hours,
                    "analyte": target,
                    "matrix": options.analyte(target).matrix,
                    "value": numbers[changed],
                    "unit": options.analyte(target).unit,
                    "censor": "none",
                    "method": "covariate",
                }
            )
        )
    return patients, stack(schema.MEASUREMENTS, [schema.MEASUREMENTS.shape_up(frame) for frame in rows])


def _patient_values(records: Records, column: str, own: str, options: NonmemOptions, findings: Findings) -> pd.Series:
    patient = records.frame["patient"]
    texts = records.frame[column]
    codes = options.codes.get(column)
    if codes is not None:
        coded = texts.map(lambda t: codes.get(t, codes.get(_plain(t))), na_action="ignore").astype(schema.TEXT)
        unknown = texts.notna() & coded.isna()
        tell(records, findings, unknown, column, f"one of {', '.join(codes)}", "Name it in 'codes'.")
        texts = coded
    kind = schema.PATIENTS.column(own).kind
    parsed = cells.parse(kind, texts.array.__arrow_array__(), typed=False, file=records.file, name=column,
                         lines=records.lines, findings=findings)  # fmt: skip
    first = parsed.groupby(patient).transform("first")
    varies = (parsed.notna() & parsed.ne(first)).fillna(False)
    tell(records, findings, varies, column, "one value for a patient", "Map a changing column to an analyte instead.")
    return parsed.groupby(patient).first()


def _set_aside(records: Records, options: NonmemOptions, changes: list[pd.DataFrame]) -> None:
    for column in options.ignore:
        if column in records.present:
            changes.append(
                change_rows("patients", "column.set_aside", "the options say to ignore the column", column=column)
                .assign(rows=len(records.frame))
            )  # fmt: skip
    other = int(records.frame["EVID"].isin([2, 3]).sum())
    if other:
        note = change_rows("treatments", "evid.set_aside", "EVID 2 and 3 observe and give nothing", column="EVID")
        changes.append(note.assign(rows=other))
