"""From OMOP tables to the tables of a cohort: persons, time zero, hours, attributes, and the account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, extras, schema
from icans.cohort.cohort import change_rows
from icans.cohort.omop_concepts import VOCABULARY, Concepts
from icans.cohort.omop_files import moments, numbers, words
from icans.cohort.omop_rows import (
    EVENT,
    FIELD,
    GRADE,
    ITEM,
    RECORDING,
    ROW,
    Understood,
    conditions,
    infusions,
    measurements,
    observations,
    treatments,
)
from icans.core.errors import Problem

ANCHORS = ("infusion", "first_visit")
#: cdm_etl_reference of extracts that this package wrote.
OWN_ETL = "urn:icans:omop"
SIMULATED = "Simulated data."
_GROUPS = {"assessments": ITEM, "grades": GRADE, "events": EVENT, "recordings": RECORDING}
_NEEDED = {"measurements": "analyte", "treatments": "drug", "assessments": "item", "grades": "toxicity",
           "events": "event", "recordings": "kind"}  # fmt: skip


@dataclass
class Extract:
    """The tables of an extract and what was found on the way."""

    tables: dict[str, pd.DataFrame]
    files: dict[str, str]
    concepts: Concepts
    problems: list[Problem] = field(default_factory=list)
    changes: list[pd.DataFrame] = field(default_factory=list)
    names: pd.Series = field(default_factory=lambda: pd.Series(dtype="object"))
    zeros: pd.Series = field(default_factory=lambda: pd.Series([], dtype=clock._US))

    def note(self, table: str, rule: str, why: str, **columns: object) -> None:
        """Add a line to the changes."""
        self.changes.append(change_rows(table, rule, why, **columns))

    @property
    def own(self) -> bool:
        """Whether this package wrote the extract: every datetime is one, every time of availability is told."""
        return OWN_ETL in set(words(self.tables.get("cdm_source", pd.DataFrame()), "cdm_etl_reference"))

    def table(self, name: str) -> pd.DataFrame:
        """A table of the extract (without rows where it is absent)."""
        return self.tables.get(name, pd.DataFrame({"person_id": pd.Series([], dtype="object")}))

    def who(self, frame: pd.DataFrame) -> pd.Series:
        """Patient of each record; NaN for a person who is not in PERSON."""
        return self.names.reindex(numbers(frame, "person_id").to_numpy()).set_axis(frame.index)


def find_persons(extract: Extract) -> None:
    """Name every person: the source value, else the id; check that records belong to one."""
    person = extract.table("person")
    ids = numbers(person, "person_id")
    source = words(person, "person_source_value")
    name = source.where(source.str.strip().ne(""), words(person, "person_id"))
    for mask, value, expected in (
        (ids.isna(), words(person, "person_id"), "a number"),
        (ids.notna() & ids.duplicated(), words(person, "person_id"), "each person once"),
        (name.duplicated() & ids.notna() & ~ids.duplicated(), name, "each person_source_value once"),
    ):
        for i in np.flatnonzero(mask)[:50]:
            column = "person_source_value" if "source" in expected else "person_id"
            extract.problems.append(_problem(extract, "person", i, column, value.iloc[i], expected, "Correct it."))
    extract.names = pd.Series(name.to_numpy(), index=ids.to_numpy())[~ids.duplicated().to_numpy()]
    for table, frame in extract.tables.items():
        if table in ("person", "concept", "cdm_source"):
            continue
        strange = np.flatnonzero(~numbers(frame, "person_id").isin(ids.dropna()))
        if len(strange):
            value = words(frame, "person_id").iloc[strange[0]]
            expected, remedy = "a person of PERSON", f"Add the person, or remove the {len(strange)} records like it."
            extract.problems.append(_problem(extract, table, strange[0], "person_id", value, expected, remedy))


def _problem(
    extract: Extract, table: str, position: int, column: str, value: str | None, expected: str, remedy: str
) -> Problem:
    return Problem(extract.files.get(table, table), int(position) + 2, column, value, expected, remedy)


def find_zeros(extract: Extract, anchor: str, infusion: Mapping[str, dt.datetime | dt.date | str] | None) -> None:
    """Time zero of every patient; persons without one had no CAR T cells and are set aside."""
    if anchor not in ANCHORS:
        raise ValueError(f"anchor must be one of {ANCHORS}; got {anchor!r}")
    sources = [*_procedures(extract), _cells(extract)]
    if anchor == "first_visit":
        visits = extract.table("visit_occurrence")
        sources.append(_first(extract.who(visits), moments(visits, "visit_start")))
    zeros = pd.Series(pd.NaT, index=extract.names.tolist(), dtype=clock._US)
    for source in sources:
        zeros = zeros.fillna(source.reindex(zeros.index))
    remedy = "Use person_source_value (or person_id where there is none)."
    clock.set_given(zeros, infusion, extract.problems, "a person", remedy)
    without = zeros.index[zeros.isna()]
    if len(without) == len(zeros):
        expected = "a time zero: an infusion of CAR T cells in PROCEDURE_OCCURRENCE or DRUG_EXPOSURE"
        remedy = ("Give it: infusion={'<person>': '2024-03-01T10:30'}, or anchor='first_visit' to count from the first "
                  "visit.")  # fmt: skip
        file = extract.files.get("person", "person")
        extract.problems.append(Problem(file, None, "person_id", None, expected, remedy))
    elif len(without):
        why = "no infusion of CAR T cells: the person and all records are set aside"
        extract.note("patients", "omop.untreated", why, patient_id=without.to_numpy())
    extract.zeros = zeros.dropna()


def _procedures(extract: Extract) -> list[pd.Series]:
    """Times of this package's own mark, and of procedures that infuse CAR T cells."""
    frame = extract.table("procedure_occurrence")
    own, product = infusions(frame, extract.concepts)
    who, when = extract.who(frame), moments(frame, "procedure")
    other = product.notna()
    if (~own & ~other).any():
        why = "a procedure other than an infusion of CAR T cells"
        extract.note("procedure_occurrence", "omop.not_read", why, rows=int((~own & ~other).sum()))
    return [_first(who[own], when[own]), _first(who[other], when[other])]


def _cells(extract: Extract) -> pd.Series:
    frame = extract.table("drug_exposure")
    rows = treatments(frame, extract.concepts)
    mine = rows.frame["drug"].eq(codes.CELLS)
    return _first(extract.who(frame)[mine], rows.start[mine])


def _first(who: pd.Series, when: pd.Series) -> pd.Series:
    table = pd.DataFrame({"who": who.to_numpy(dtype=object), "instant": clock.parse(when)["instant"].array}).dropna()
    found = table.groupby("who")["instant"].min() if len(table) else pd.Series([], dtype=clock._US)
    return found.astype(clock._US)


def read_table(extract: Extract, name: str) -> pd.DataFrame:
    """All rows of one table of the cohort."""
    table = schema.TABLES[name]
    if name == "measurements":
        return _rows(extract, "measurement", measurements(extract.table("measurement"), extract.concepts))
    if name == "treatments":
        cells = _infused_cells(extract)
        rows = _rows(extract, "drug_exposure", treatments(extract.table("drug_exposure"), extract.concepts))
        return pd.concat([rows, table.shape_up(cells)], ignore_index=True) if len(cells) else rows
    frame = extract.table("observation")
    code = extract.concepts.coded(frame, "observation", VOCABULARY)
    mine = code.str.startswith(_GROUPS[name]).to_numpy(dtype=bool)
    part = frame[mine].reset_index(drop=True)
    rows = _rows(extract, "observation", observations(part, extract.concepts, name), part)
    if name == "grades" and "condition_occurrence" in extract.tables:
        diagnosed, _ = conditions(extract.table("condition_occurrence"), extract.concepts)
        more = _rows(extract, "condition_occurrence", diagnosed, unknown=False)
        rows = pd.concat([rows, more], ignore_index=True) if len(more) else rows
    return table.shape_up(rows)


def _infused_cells(extract: Extract) -> pd.DataFrame:
    """A treatment row for procedures that infuse cells, where DRUG_EXPOSURE has no cells for the patient."""
    frame = extract.table("procedure_occurrence")
    _, product = infusions(frame, extract.concepts)
    exposure = extract.table("drug_exposure")
    told = set(extract.who(exposure)[treatments(exposure, extract.concepts).frame["drug"].eq(codes.CELLS)])
    who = extract.who(frame)
    mine = (product.notna() & who.isin(extract.zeros.index) & ~who.isin(told)).to_numpy(dtype=bool)
    start = clock.parse(moments(frame, "procedure")[mine])
    zero = pd.Series(extract.zeros.reindex(who[mine]).array)
    rows = pd.DataFrame({"patient_id": who[mine].to_numpy(), "time_h": clock.hours(start["instant"], zero)})
    return rows.assign(drug=codes.CELLS).dropna()


def _rows(
    extract: Extract, source: str, rows: Understood, frame: pd.DataFrame | None = None, *, unknown: bool = True
) -> pd.DataFrame:
    """Rows in hours with their attributes put in; what has no place is counted."""
    frame = extract.table(source) if frame is None else frame
    table, needed = schema.TABLES[rows.table], _NEEDED[rows.table]
    who = extract.who(frame)
    zero = pd.Series(extract.zeros.reindex(who).array)
    start = clock.parse(rows.start)
    daily = _daily(extract, start)
    hours = clock.hours(start["instant"], zero)
    filled = rows.frame.reset_index(drop=True).assign(
        patient_id=who.to_numpy(), time_h=hours,
        available_h=np.where(daily, clock.end_of_day(hours), hours if extract.own else np.nan),
    )  # fmt: skip
    if rows.table == "treatments":
        end = clock.parse(rows.end)
        timed = end["precision"].eq("time").to_numpy() & ~daily
        length = np.where(timed, clock.hours(end["instant"], start["instant"]), np.nan)
        filled["duration_h"] = np.where(length < 0, np.nan, length)
        if (length < 0).any():
            why = "ends before it starts: no length is given"
            extract.note(rows.table, "omop.end", why, column="duration_h", rows=int((length < 0).sum()))
    filled = _attributes(extract, source, frame, filled, table)
    treated = zero.notna()
    placed = filled[needed].notna() & treated
    _tell(extract, source, rows, filled, placed, treated, start, daily, unknown)
    return table.shape_up(filled[placed & filled["time_h"].notna()][[c for c in filled if c in table.names]])


def _daily(extract: Extract, start: pd.DataFrame) -> np.ndarray:
    """Records dated to the day. A foreign table whose datetimes are all midnight holds dates only."""
    day = start["precision"].eq("day")
    timed = start["precision"].eq("time")
    if not extract.own and timed.any() and (start["instant"][timed].dt.floor("D") == start["instant"][timed]).all():
        day = day | timed
    return day.to_numpy()


def _attributes(
    extract: Extract, source: str, frame: pd.DataFrame, rows: pd.DataFrame, table: schema.Table
) -> pd.DataFrame:
    """The rows with the OBSERVATION records that point at them put in."""
    listed = extract.table("observation")
    code = extract.concepts.coded(listed, "observation", VOCABULARY)
    target = extract.concepts.look(numbers(listed, "obs_event_field_concept_id"))["code"]
    mine = (code.str.startswith(ROW) & target.eq(f"{FIELD}{source}.{source}_id")).to_numpy(dtype=bool)
    if not mine.any():
        return rows
    ids = numbers(frame, f"{source}_id")
    place = pd.Series(rows.index, index=ids.to_numpy())[~ids.duplicated().to_numpy()]
    wanted = pd.DataFrame(
        {"row": numbers(listed, "observation_event_id")[mine].map(place),
         "column": code[mine].str.removeprefix(ROW), "value": words(listed, "value_as_string")[mine]}
    ).dropna(subset=["row"])  # fmt: skip
    try:
        return extras.apply(rows, wanted.astype({"row": int}), table)
    except (ValueError, TypeError) as error:
        file = extract.files.get("observation", "observation")
        expected = f"attributes of their kind ({error})"
        extract.problems.append(Problem(file, None, "value_as_string", None, expected, "Correct them."))
        return rows


def _tell(
    extract: Extract,
    source: str,
    rows: Understood,
    filled: pd.DataFrame,
    placed: pd.Series,
    treated: pd.Series,
    start: pd.DataFrame,
    daily: np.ndarray,
    unknown: bool,
) -> None:
    """Lines of the changes for unknown records and for times that are dates, and problems for times that are none."""
    bad = np.flatnonzero(start["precision"].eq("bad").to_numpy() & treated.to_numpy())
    for i in bad[:50]:
        column = f"{source}_datetime"
        expected = "an ISO 8601 date or datetime"
        extract.problems.append(_problem(extract, source, i, column, rows.start.iloc[i], expected, "Correct it."))
    lost = treated & ~placed
    if unknown and lost.any():
        counts = rows.label.reset_index(drop=True)[lost.to_numpy()].value_counts().sort_index()
        why = f"{source.upper()}: not of the vocabulary; set aside"
        extract.note(rows.table, "omop.unknown", why, item=counts.index.to_numpy(), rows=counts.to_numpy())
    dated = placed.to_numpy() & daily
    if dated.any():
        why = "dated to the day: time set to 00:00, known at the end of the day"
        extract.note(rows.table, "omop.date_only", why, item=source, column="time_h", rows=int(dated.sum()))
    timeless = placed & filled["time_h"].isna() & start["precision"].isin(["none", "coarse"]).to_numpy()
    if timeless.any():
        extract.note(rows.table, "omop.no_time", "no date: set aside", item=source, rows=int(timeless.sum()))
