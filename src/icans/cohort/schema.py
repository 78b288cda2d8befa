"""The tables of a cohort, column by column. Readers fill them, checks hold them, everybody reads them.

Conventions
-----------
* Time is hours since infusion (float, actual, negative before). ``available_h`` is when the row could be
  *known* (result time, not sample time); where the source does not say, it equals ``time_h``, and a row of
  ``changes`` records that assumption.
* Missing text is NaN (pandas string type with NaN semantics), missing numbers are NaN, a missing yes/no is
  ``pd.NA``. *Censored*, *missing* and *not measured* are three things: a censored value carries ``censor``
  and ``limit``; a missing value is a row with NaN; what was not measured has no row.
* A table always has all its columns, in this order; optional ones may be wholly missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd

Kind = Literal["text", "number", "integer", "yesno"]

#: Text with NaN as the missing value, so that comparisons give plain booleans.
TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
DTYPES: dict[Kind, object] = {"text": TEXT, "number": "float64", "integer": "Int64", "yesno": "boolean"}

#: Earliest and latest plausible time of a row, hours since infusion (two years before to 25 years after).
TIME_RANGE_H = (-2 * 365.25 * 24.0, 25 * 365.25 * 24.0)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its kind, whether a value is required in every row, allowed values or range."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    allowed: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row is, its columns, and the columns that together name a row."""

    name: str
    row_is: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [c.name for c in self.columns]

    def column(self, name: str) -> Column:
        """The column called ``name``; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name!r} has no column {name!r}; it has {self.names}")

    def empty(self) -> pd.DataFrame:
        """The table with no rows and the right types."""
        return _empty(self).copy()

    def shape_up(self, frame: pd.DataFrame) -> pd.DataFrame:
        """``frame`` with every column of the table, in order and with its type, and a fresh index.

        Columns that the table does not know are an error (KeyError): dropping them is the reader's decision.
        Values that do not fit the type raise ValueError/TypeError; run the checks first for a full list.
        """
        unknown = [name for name in frame.columns if name not in self.names]
        if unknown:
            raise KeyError(f"table {self.name!r} has no column {unknown}; it has {self.names}")
        dtypes = _empty(self).dtypes
        if frame.columns.equals(dtypes.index) and (frame.dtypes == dtypes).all():
            return frame.reset_index(drop=True)
        # Arrays, not series: a data frame of series compares the index of each with that of every other.
        columns = {}
        for column in self.columns:
            if column.name in frame:
                columns[column.name] = frame[column.name].astype(DTYPES[column.kind]).array
            elif column.kind == "number":
                columns[column.name] = np.full(len(frame), np.nan)
            else:
                columns[column.name] = pd.array([pd.NA] * len(frame), dtype=dtypes[column.name])
        return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)), columns=self.names, copy=False)


@cache
def _empty(table: Table) -> pd.DataFrame:
    """The table with no rows, made once: never handed out itself."""
    return pd.DataFrame({c.name: pd.Series([], dtype=DTYPES[c.kind]) for c in table.columns})


_ID = Column("patient_id", "text", "patient, unique in the cohort", required=True)
_TIME = Column("time_h", "number", "hours since infusion, actual", True, low=TIME_RANGE_H[0], high=TIME_RANGE_H[1])
_AVAILABLE = Column("available_h", "number", "when the row could be known, hours since infusion",
                    low=TIME_RANGE_H[0], high=TIME_RANGE_H[1])  # fmt: skip

MATRICES = ("plasma", "serum", "blood", "urine", "csf", "vital", "eeg", "mri", "clinical")
CENSORING = ("none", "left", "right")
TOXICITIES = ("ICANS", "CRS", "IEC-HS", "ICAHT", "T-ICAHT", "TIAN", "neurotoxicity")
SCHEMES = ("ASTCT", "ASTCT_adjusted", "CARTOX", "mCRES", "CTCAE4", "CTCAE5", "Lee2014", "Penn", "ICE", "ICAHT",
           "ICAHT_early", "ICAHT_late", "TIAN2023", "IEC-HS2023")  # fmt: skip
GRADE_SOURCES = ("delivered", "derived")
EVENTS = ("discharge", "death", "relapse", "next_therapy", "last_seen", "transplant", "icu_admission", "icu_discharge")
RECORDING_KINDS = ("eeg", "mri")

PATIENTS = Table(
    "patients",
    "a patient (one infusion; a second infusion is a patient of its own)",
    (
        _ID,
        Column("site", "text", "centre"),
        Column("source", "text", "delivery or extraction that the patient came in, where known"),
        Column("age_y", "number", "age at infusion, years", low=0, high=120),
        Column("sex", "text", "sex", allowed=("female", "male", "other")),
        Column("race", "text", "as recorded"),
        Column("ethnicity", "text", "as recorded"),
        Column("disease", "text", "disease treated, e.g. DLBCL, B-ALL, MCL, FL, MM"),
        Column("product", "text", "cell product, e.g. axi-cel"),
        Column("costimulation", "text", "costimulatory domain", allowed=("CD28", "4-1BB", "other")),
        Column("dose", "number", "cells infused", low=0),
        Column("dose_unit", "text", "e.g. {cells} or {cells}/kg"),
        Column("lymphodepletion", "text", "regimen, e.g. Flu/Cy"),
        Column("tumour_burden", "number", "burden before infusion", low=0),
        Column("tumour_burden_unit", "text", "e.g. mL, %, mm2"),
        Column("prior_lines", "integer", "earlier lines of therapy", low=0, high=40),
        Column("cns_involvement", "yesno", "disease in the CNS before infusion"),
        Column("comorbidities", "text", "separated by semicolons"),
        Column("baseline_neurology", "text", "neurological history, separated by semicolons"),
        Column("developmental_delay", "yesno", "delay that makes ICE unusable (CAPD is then used)"),
        Column("infusion_date", "text", "ISO date, only where it may be kept"),
    ),
    ("patient_id",),
)
MEASUREMENTS = Table(
    "measurements",
    "one result",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("analyte", "text", "name in the vocabulary", required=True),
        Column("matrix", "text", "what was measured", allowed=MATRICES),
        Column("value", "number", "the result; NaN: asked for and missing"),
        Column("unit", "text", "unit as declared (UCUM or a known spelling); missing: not declared"),
        Column("censor", "text", "left: below limit, right: above", allowed=CENSORING),
        Column("limit", "number", "the limit that censors the value, same unit"),
        Column("assay", "text", "assay or platform"),
        Column("batch", "text", "plate, run, delivery"),
        Column("method", "text", "method or statistic, e.g. daily maximum"),
    ),
    ("patient_id", "time_h", "analyte", "matrix", "assay", "method"),
)
TREATMENTS = Table(
    "treatments",
    "one administration (drug or cells)",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("duration_h", "number", "length of infusion; 0 or missing: bolus", low=0),
        Column("drug", "text", "generic name in lower case, e.g. tocilizumab; car_t for the infusion", required=True),
        Column("amount", "number", "amount given; missing: given, amount not recorded", low=0),
        Column("unit", "text", "unit of amount"),
        Column("route", "text", "e.g. iv, sc, po, it, icv"),
    ),
    ("patient_id", "time_h", "drug", "route"),
)
ASSESSMENTS = Table(
    "assessments",
    "one bedside finding",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("item", "text", "name in the item vocabulary", required=True),
        Column("value", "text", "as the item's vocabulary says (number or word)"),
        Column("attributable", "yesno", "attributable to the toxicity; missing: not judged, taken as yes"),
    ),
    ("patient_id", "time_h", "item"),
)
GRADES = Table(
    "grades",
    "one grade as delivered or derived",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("toxicity", "text", "what is graded", required=True, allowed=TOXICITIES),
        Column("scheme", "text", "under which scheme", required=True, allowed=SCHEMES),
        Column("grade", "number", "0-5, half steps allowed; NaN: not gradable", low=0, high=5),
        Column("source", "text", "delivered or derived", allowed=GRADE_SOURCES),
        Column("lower_bound", "yesno", "true: items were missing, the grade is at least this"),
    ),
    ("patient_id", "time_h", "toxicity", "scheme", "source"),
)
EVENT_TABLE = Table(
    "events",
    "one event",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("event", "text", "what happened", required=True, allowed=EVENTS),
        Column("detail", "text", "free text"),
    ),
    ("patient_id", "time_h", "event"),
)
RECORDINGS = Table(
    "recordings",
    "one signal or image file",
    (
        _ID,
        _TIME,
        _AVAILABLE,
        Column("kind", "text", "eeg or mri", required=True, allowed=RECORDING_KINDS),
        Column("path", "text", "path relative to the cohort folder, or absolute", required=True),
        Column("sha256", "text", "hash of the file"),
    ),
    ("patient_id", "time_h", "kind", "path"),
)
CHANGES = Table(
    "changes",
    "one thing that was changed, assumed or set aside, and why",
    (
        Column("table", "text", "table that was changed", required=True),
        Column("patient_id", "text", "patient; missing: the whole table"),
        Column("time_h", "number", "time of the row; missing: every time"),
        Column("item", "text", "analyte, drug, item, event ..."),
        Column("column", "text", "column that was changed; missing: the whole row"),
        Column("old", "text", "value before"),
        Column("new", "text", "value after; missing: row set aside"),
        Column("rule", "text", "name of the rule, e.g. unit.detected", required=True),
        Column("why", "text", "the reason, in words", required=True),
        Column("confidence", "number", "0-1 where the rule gives one", low=0, high=1),
        Column("rows", "integer", "number of rows that the line speaks of", low=0),
    ),
    (),
)

#: The tables that hold patients' data, in the order in which they are written.
TABLES: dict[str, Table] = {
    t.name: t for t in (PATIENTS, MEASUREMENTS, TREATMENTS, ASSESSMENTS, GRADES, EVENT_TABLE, RECORDINGS)
}
