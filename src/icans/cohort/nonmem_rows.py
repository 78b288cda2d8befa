"""The records of a NONMEM-style data set: columns as numbers, kinds of record, order, what cannot be kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icans.cohort import cells, schema
from icans.cohort.findings import Findings
from icans.cohort.nonmem_options import RESERVED, NonmemOptions
from icans.cohort.rawtable import RawTable, parse_csv
from icans.cohort.safety import DEFAULT_LIMITS, Limits, read_text

#: At most this many administrations are written out from ADDL and SS, in all.
MOST_EXPANDED = 2_000_000
#: RATE and DUR in one record may differ by rounding in the file.
RATE_TOLERANCE = 1e-6
_NUMERIC = ("TIME", "EVID", "MDV", "AMT", "RATE", "DUR", "DV", "CENS", "LIMIT", "ADDL", "II", "SS")


@dataclass(frozen=True)
class Records:
    """The records: one row each, in the order of the file.

    ``frame`` has every reserved column (numbers NaN, texts NaN where the file has none), ``patient``, and the
    covariates under their own names as text. ``lines`` are lines of the file, ``present`` the columns that it has
    (CMT also where classic EVID says it).
    """

    file: str
    frame: pd.DataFrame
    lines: np.ndarray
    present: frozenset[str]


def read_records(
    path: Path, options: NonmemOptions, findings: Findings, limits: Limits = DEFAULT_LIMITS
) -> Records | None:
    """The records of a file with every check that needs no other record; None when the file has no structure."""
    raw = parse_csv(read_text(path, limits), path.name, findings)
    if raw is None:
        return None
    names = [name.strip().upper() if name.strip().upper() in RESERVED else name.strip() for name in raw.names]
    _check_columns(names, raw, options, findings)
    texts = {name: _text(column, options) for name, column in reversed(list(zip(names, raw.columns, strict=True)))}
    data: dict[str, pd.Series] = {}
    for name in RESERVED:
        if name not in texts:
            kind = "float64" if name in _NUMERIC else schema.TEXT
            data[name] = pd.Series(np.nan, index=range(len(raw)), dtype=kind)
        elif name in _NUMERIC:
            data[name] = cells.parse(
                "number", texts[name], typed=False, file=raw.file, name=name, lines=raw.lines, findings=findings
            )
        else:
            data[name] = cells.unescape(pd.Series(texts[name], dtype=schema.TEXT).str.strip())
    for name in options.covariates:
        if name in texts:
            data[name] = cells.unescape(pd.Series(texts[name], dtype=schema.TEXT).str.strip())
    frame = pd.DataFrame(data, index=range(len(raw)))
    told = {"CMT"} if options.classic_evid else set()
    records = Records(raw.file, frame, raw.lines, frozenset(names) | told)
    frame["patient"] = frame["SUBJID"] if "SUBJID" in records.present else frame["ID"]
    _fill_evid(records, options, findings)
    _check_records(records, options, findings)
    return records


def tell(
    records: Records, findings: Findings, mask: np.ndarray | pd.Series, column: str, expected: str, remedy: str
) -> None:
    """One problem for each record in ``mask``."""
    where = np.flatnonzero(np.asarray(mask, dtype=bool))
    if len(where):
        shown = records.frame[column].iloc[where[:1000]]
        findings.add_rows(records.file, column, expected, records.lines[where], shown, lambda _: (expected, remedy))


def _text(column: pa.ChunkedArray, options: NonmemOptions) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    trimmed = pc.utf8_trim_whitespace(array)
    missing = pc.is_in(trimmed, value_set=pa.array(list(options.missing), pa.string()))
    return pc.if_else(missing, pa.scalar(None, array.type), array).cast(pa.large_string())


def _check_columns(names: list[str], raw: RawTable, options: NonmemOptions, findings: Findings) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.add(raw.file, "each column once", "Keep one of the columns.", row=1, column=name, value=name)
    for name in ("ID", "TIME", "DV"):
        if name not in names:
            findings.add(raw.file, f"a column {name}", "Add the column.", column=name)
    known = {*RESERVED, *options.covariates, *options.ignore}
    for name in names:
        if name not in known:
            remedy = "Name it in 'covariates' with its meaning, or in 'ignore'."
            findings.add(raw.file, "a column whose meaning is given", remedy, row=1, column=name, value=name)
    for name in options.covariates:
        if name not in names:
            findings.add(
                raw.file, f"the covariate {name}", "Add the column, or take it out of 'covariates'.", column=name
            )
    if "DATE" in names:
        findings.add(raw.file, "TIME as a number since one origin", "Compute TIME from DATE and TIME.", column="DATE")


def _fill_evid(records: Records, options: NonmemOptions, findings: Findings) -> None:
    """EVID where the file has none, by NONMEM's rule; classic EVID taken apart."""
    frame = records.frame
    dose = frame["AMT"].fillna(0).ne(0)
    other = frame["MDV"].eq(1) & ~dose
    derived = np.where(dose, 1.0, np.where(other, 2.0, 0.0))
    evid = frame["EVID"].fillna(0.0 if "EVID" in records.present else np.nan)
    if options.classic_evid:
        classic = evid.ge(100)
        bolus = classic & evid.mod(100).eq(1) & evid.lt(10_000)
        tell(records, findings, classic & ~bolus, "EVID", "a bolus in classic form (100 x CMT + 1)",
             "Infusions and resets of the classic form are not read: use EVID 0-4 with RATE.")  # fmt: skip
        cmt = (evid // 100).where(bolus)
        stated = pd.to_numeric(frame["CMT"], errors="coerce")
        tell(records, findings, bolus & stated.notna() & stated.ne(cmt), "CMT", "the compartment that EVID says",
             "Correct CMT or EVID.")  # fmt: skip
        frame["CMT"] = frame["CMT"].where(
            ~bolus, cmt.map(lambda c: "" if np.isnan(c) else f"{c:g}").astype(schema.TEXT)
        )
        evid = evid.where(~classic, 1.0)
    frame["EVID"] = evid.fillna(pd.Series(derived, index=frame.index))
    frame["MDV"] = frame["MDV"].fillna(frame["EVID"].ne(0).astype(float))


def _check_records(records: Records, options: NonmemOptions, findings: Findings) -> None:
    frame = records.frame
    dose = frame["EVID"].isin([1, 4])
    rules = [*_record_rules(frame), *_dose_rules(frame, dose), *_censor_rules(frame), *_steady_state(frame, options)]
    for mask, column, expected, remedy in rules:
        tell(records, findings, mask, column, expected, remedy)
    with np.errstate(invalid="ignore", divide="ignore"):
        implied = frame["AMT"] / frame["RATE"].where(frame["RATE"].gt(0))
    off = (implied - frame["DUR"]).abs() > RATE_TOLERANCE * implied.abs()
    tell(records, findings, dose & off, "DUR", "AMT / RATE", "Correct one of the three.")
    extra = frame["ADDL"].fillna(0).clip(lower=0).where(dose, 0).sum()
    if extra > MOST_EXPANDED:
        expected = f"at most {MOST_EXPANDED:,} doses from ADDL"
        findings.add(records.file, expected, "Correct ADDL.", column="ADDL", value=f"{extra:g}")


Rule = tuple[pd.Series, str, str, str]


def _record_rules(frame: pd.DataFrame) -> list[Rule]:
    """Records that break a rule, the column, what was expected, how to mend it."""
    missing = frame["EVID"].eq(0) & frame["MDV"].eq(0) & frame["DV"].isna()
    classic = "For 101 and the like (RxODE's classic form) set classic_evid."
    return [
        (frame["patient"].isna(), "ID", "an ID in every record", "Fill it."),
        (frame["TIME"].isna(), "TIME", "a time in every record", "Fill it; clock times are not read."),
        (~frame["EVID"].isin([0, 1, 2, 3, 4]), "EVID", "0, 1, 2, 3 or 4", classic),
        (~frame["MDV"].isin([0, 1]), "MDV", "0 or 1", "Correct the cell."),
        (missing, "DV", "a value where MDV is 0", "Set MDV to 1 where the value is missing."),
    ]


def _dose_rules(frame: pd.DataFrame, dose: pd.Series) -> list[Rule]:
    amount, rate, more = frame["AMT"], frame["RATE"], frame["ADDL"].fillna(0)
    estimated = "Rates and durations that a model estimates (-1, -2) are no data."
    constant = "A constant infusion at steady state cannot be kept as an administration."
    nothing = "0 where nothing is given (EVID 0, 2, 3)"
    return [
        (dose & (amount.isna() | amount.lt(0)), "AMT", "0 or more with EVID 1 or 4", "Fill or correct it."),
        (frame["EVID"].isin([0, 2, 3]) & amount.fillna(0).ne(0), "AMT", nothing, "Correct AMT or EVID."),
        (rate.lt(0), "RATE", "0 or more", estimated),
        (frame["DUR"].lt(0), "DUR", "0 or more", "Correct the cell."),
        (rate.gt(0) & dose & amount.eq(0), "RATE", "0 where AMT is 0", constant),
        (~_whole(frame["ADDL"]), "ADDL", "a whole number, 0 or more", "Correct the cell."),
        (more.gt(0) & ~frame["II"].gt(0), "II", "more than 0 where ADDL is", "Fill the interval."),
        (more.gt(0) & ~dose, "ADDL", nothing, "Correct ADDL or EVID."),
    ]


def _censor_rules(frame: pd.DataFrame) -> list[Rule]:
    cens, limit, value = frame["CENS"].fillna(0), frame["LIMIT"], frame["DV"]
    below = "With CENS 1, DV is the lower limit of quantification and LIMIT the lower end of the interval."
    above = "With CENS -1, DV is the upper limit of quantification and LIMIT the upper end of the interval."
    return [
        (~cens.isin([-1, 0, 1]), "CENS", "-1, 0 or 1", "Correct the cell."),
        (cens.ne(0) & frame["EVID"].ne(0), "CENS", "0 where nothing is observed", "Correct the cell."),
        (cens.eq(1) & limit.ge(value), "LIMIT", "less than DV (CENS 1)", below),
        (cens.eq(-1) & limit.le(value), "LIMIT", "more than DV (CENS -1)", above),
    ]


def _steady_state(frame: pd.DataFrame, options: NonmemOptions) -> list[Rule]:
    state = frame["SS"].fillna(0)
    rules = [(~state.isin([0, 1]), "SS", "0 or 1",
              "SS 2 adds a steady state to what is there, which is no list of administrations.")]  # fmt: skip
    if options.steady_state_doses is None:
        why = "A cohort lists what was given and steady state does not say when it began: write the earlier doses out, "
        rules.append((state.eq(1), "SS", "0", why + "or set steady_state_doses to have that many written."))
    else:
        rules.append((state.eq(1) & ~frame["II"].gt(0), "II", "more than 0 where SS is 1", "Fill the interval."))
    return rules


def _whole(values: pd.Series) -> pd.Series:
    filled = values.fillna(0)
    return filled.ge(0) & filled.eq(np.floor(filled))
