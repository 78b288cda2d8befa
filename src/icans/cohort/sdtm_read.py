"""From SDTM domains to the tables of a cohort: time zero, hours, supplemental qualifiers, and the account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, extras, schema
from icans.cohort.cohort import change_rows
from icans.cohort.sdtm_codes import qualifiers
from icans.cohort.sdtm_files import numbers, words
from icans.cohort.sdtm_rows import READERS, Understood, person
from icans.core.errors import Problem

ANCHORS = ("infusion", "RFXSTDTC", "RFSTDTC")
ZERO_QNAM = "ZERODTC"
#: Parameters of TS that this package writes: simulated data; times of availability are all there.
SYNTHETIC_PARAMETER, AVAILABLE_PARAMETER = "ICANSSYN", "ICANSAVL"
#: Domains whose unknown records are told test by test; the others (adverse events, say) in one line.
ONE_LINE_EACH = ("lb", "vs", "qs", "fa")
#: Day 1 is the day of RFSTDTC; there is no day 0 (SDTMIG 3.4, section 4.4.4).
FIRST_STUDY_DAY = 1


@dataclass
class Study:
    """The domains of a study and what was found on the way."""

    domains: dict[str, pd.DataFrame]
    files: dict[str, str]
    problems: list[Problem] = field(default_factory=list)
    changes: list[pd.DataFrame] = field(default_factory=list)
    zeros: pd.Series = field(default_factory=lambda: pd.Series([], dtype=clock._US))

    def note(self, table: str, rule: str, why: str, **columns: object) -> None:
        """Add a line to the changes."""
        self.changes.append(change_rows(table, rule, why, **columns))

    def parameter(self, code: str) -> str:
        """A value of TS; empty where there is none."""
        frame = self.domains.get("ts", pd.DataFrame())
        found = words(frame, "TSVAL", na=False)[words(frame, "TSPARMCD").eq(code).to_numpy()]
        return "" if found.empty else str(found.iloc[0])

    @property
    def dm(self) -> pd.DataFrame:
        """Demographics, from DM or else ADSL."""
        return self.domains["dm"] if "dm" in self.domains else self.domains["adsl"]

    @property
    def dm_file(self) -> str:
        """The file that :attr:`dm` is from."""
        return self.files["dm"] if "dm" in self.domains else self.files["adsl"]


def check_subjects(study: Study) -> None:
    """Subjects must be named, once each, and known wherever they stand."""
    name = words(study.dm, "USUBJID", na=False)
    for i in np.flatnonzero(name.eq("")):
        study.problems.append(_problem(study.dm_file, i, "USUBJID", None, "a subject", "Fill it in."))
    for i in np.flatnonzero(name.ne("") & name.duplicated()):
        study.problems.append(_problem(study.dm_file, i, "USUBJID", name.iloc[i], "each subject once", "Remove it."))
    known = set(name)
    for domain, frame in study.domains.items():
        who = words(frame, "USUBJID", na=False)
        if domain in ("dm", "adsl", "ts"):
            continue
        strange = who[~who.isin(known)]
        for subject, rows in strange.groupby(strange).groups.items():
            place, remedy = f"a subject of {study.dm_file}", "Add the subject, or remove its records."
            study.problems.append(_problem(study.files[domain], rows[0], "USUBJID", str(subject), place, remedy))


def _problem(
    file: str, position: int | np.integer, column: str, value: str | None, expected: str, remedy: str
) -> Problem:
    return Problem(file, int(position) + 2, column, value, expected, remedy)


def find_zeros(study: Study, anchor: str, infusion: Mapping[str, dt.datetime | dt.date | str] | None) -> None:
    """Time zero of every subject; subjects without one were never treated and are set aside."""
    if anchor not in ANCHORS:
        raise ValueError(f"anchor must be one of {ANCHORS}; got {anchor!r}")
    name = words(study.dm, "USUBJID", na=False)
    stated = [_own_zero(study), _cells(study)]
    if anchor != "infusion":
        stated.append(_reference(study, anchor))
    zeros = pd.Series(pd.NaT, index=name.tolist(), dtype=clock._US)
    for source in stated:
        zeros = zeros.fillna(source.reindex(zeros.index))
    clock.set_given(zeros, infusion, study.problems, "a subject of DM", "Use USUBJID.")
    without = zeros.index[zeros.isna()]
    if len(zeros) and len(without) == len(zeros):
        expected = "a time zero: an infusion of CAR T cells in EX"
        remedy = ("Give it: infusion={'<USUBJID>': '2024-03-01T10:30'}, or anchor='RFXSTDTC' to count from the first "
                  "study treatment.")  # fmt: skip
        study.problems.append(Problem(study.dm_file, None, "USUBJID", None, expected, remedy))
    elif len(without):
        why = "no time zero: never treated; the subject and all records are set aside"
        study.note("patients", "sdtm.untreated", why, patient_id=without.to_numpy(), rows=_records(study, without))
    study.zeros = zeros.dropna()


def _records(study: Study, subjects: pd.Index) -> np.ndarray:
    """Number of records that each subject has in all domains."""
    total = pd.Series(0, index=subjects)
    for frame in study.domains.values():
        if "USUBJID" in frame:
            counts = words(frame, "USUBJID", na=False).value_counts()
            total = total.add(counts.reindex(subjects), fill_value=0)
    return total.astype(int).to_numpy()


def _own_zero(study: Study) -> pd.Series:
    """Time zero as this package writes it (SUPPDM)."""
    frame = study.domains.get("suppdm", pd.DataFrame())
    mine = frame[words(frame, "QNAM").eq(ZERO_QNAM)]
    return _first(words(mine, "USUBJID", na=False), words(mine, "QVAL"))


def _cells(study: Study) -> pd.Series:
    """First administration of CAR T cells."""
    who, when = [], []
    for domain in ("ex", "cm"):
        if domain in study.domains:
            frame = study.domains[domain]
            rows = READERS[domain][0](frame, domain)
            mine = rows.frame["drug"].eq(codes.CELLS)
            who.append(words(frame, "USUBJID", na=False)[mine])
            when.append(rows.start[mine])
    return (
        _first(pd.concat(who), pd.concat(when))
        if who
        else _first(pd.Series([], dtype="object"), pd.Series([], dtype="object"))
    )


def _reference(study: Study, column: str) -> pd.Series:
    """Reference dates of DM; the analysis start date of ADSL where DM has none."""
    column = column if column in study.dm or column != "RFXSTDTC" else "TRTSDTM"
    return _first(words(study.dm, "USUBJID", na=False), words(study.dm, column))


def _first(who: pd.Series, when: pd.Series) -> pd.Series:
    instant = clock.parse(when)["instant"]
    table = pd.DataFrame({"who": who.to_numpy(), "instant": instant.to_numpy() if instant.empty else instant.array})
    found = table.dropna().groupby("who")["instant"].min() if len(table) else pd.Series([], dtype=clock._US)
    return found.astype(clock._US)


def read_domain(study: Study, domain: str) -> tuple[str, pd.DataFrame]:
    """The rows of one domain in hours, qualifiers put in; what has no place is counted in the changes."""
    frame = study.domains[domain].reset_index(drop=True)
    reader, needed = READERS[domain]
    rows = reader(frame, domain)
    table = schema.TABLES[rows.table]
    who = words(frame, "USUBJID", na=False)
    zero = pd.Series(study.zeros.reindex(who).array)
    table_rows, precision = _in_hours(study, domain, frame, rows, zero)
    table_rows["patient_id"] = who
    table_rows = _qualified(study, domain, frame, table_rows, table)
    treated = zero.notna()
    placed = table_rows[needed].notna() & treated
    timed = table_rows["time_h"].notna()
    _count_unknown(study, domain, rows, treated & table_rows[needed].isna(), needed)
    _note_times(study, domain, rows.table, placed, timed, precision)
    for (rule, why), item, count in rows.notes:
        study.note(rows.table, rule, why, item=item or domain, rows=count)
    if domain == "ae" and (placed & timed).any() and "suppae" not in study.domains:
        why = "AETOXGR is read as a CTCAE 5 grade; SDTM does not say the scheme"
        study.note("grades", "sdtm.scheme", why, column="scheme", new="CTCAE5", rows=int((placed & timed).sum()))
    return rows.table, table.shape_up(table_rows[placed & timed][[c for c in table_rows if c in table.names]])


def _in_hours(
    study: Study, domain: str, frame: pd.DataFrame, rows: Understood, zero: pd.Series
) -> tuple[pd.DataFrame, pd.Series]:
    """The rows with ``time_h`` (and ``available_h``, ``duration_h``), and how precise each time is."""
    start = clock.parse(rows.start)
    bad = np.flatnonzero(start["precision"].eq("bad") & zero.notna())
    column = domain.upper() + ("STDTC" if domain in ("ex", "cm", "ae", "ce") else "DTC")
    for i in bad[:50]:
        study.problems.append(
            _problem(study.files[domain], i, column, rows.start.iloc[i], "an ISO 8601 date or time", "Correct it.")
        )
    instant, precision = start["instant"], start["precision"].to_numpy(dtype=object)
    by_day = _from_study_day(study, domain, frame, instant)
    filled = instant.isna() & by_day.notna() & pd.Series(precision).isin(["none", "coarse"])
    instant, precision = instant.where(~filled, by_day), np.where(filled, "study day", precision)
    hours = clock.hours(instant, zero)
    daily = np.isin(precision, ["day", "study day"])
    told = study.parameter(AVAILABLE_PARAMETER) == "Y"
    table = rows.frame.reset_index(drop=True).assign(
        time_h=hours, available_h=np.where(daily, clock.end_of_day(hours), hours if told else np.nan)
    )
    if rows.end is not None:
        end = clock.parse(rows.end)
        table["duration_h"] = clock.hours(end["instant"], instant)
        wrong = np.flatnonzero(table["duration_h"] < 0)
        for i in wrong[:50]:
            study.problems.append(
                _problem(
                    study.files[domain], i, column.replace("ST", "EN"), rows.end.iloc[i], "an end after the start", ""
                )
            )
    return table, pd.Series(precision)


def _from_study_day(study: Study, domain: str, frame: pd.DataFrame, instant: pd.Series) -> pd.Series:
    """Dates from --DY, for records that have no complete date."""
    p = domain.upper()
    day = numbers(frame, f"{p}STDY" if f"{p}STDY" in frame else f"{p}DY").reset_index(drop=True)
    who = words(frame, "USUBJID", na=False)
    reference = _reference(study, "RFSTDTC").dt.floor("D")
    origin = pd.Series(reference.reindex(who).array)
    offset = day.where(day < 0, day - FIRST_STUDY_DAY).where(day.abs() < 40000)
    moved = origin + pd.to_timedelta(offset.fillna(0), unit="D")
    return moved.astype(clock._US).where(offset.notna() & origin.notna() & instant.isna())


def _qualified(study: Study, domain: str, frame: pd.DataFrame, rows: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    """The rows with the values of SUPP-- in place."""
    supp = study.domains.get(f"supp{domain}")
    if supp is None:
        return rows
    seq = numbers(frame, f"{domain.upper()}SEQ")
    key = words(frame, "USUBJID", na=False) + "\x1f" + seq.map("{:.0f}".format)
    place = pd.Series(frame.index, index=key)
    place = place[~place.index.duplicated()]
    column = words(supp, "QNAM").map(qualifiers())
    value = supp["QVAL"] if "QVAL" in supp else words(supp, "QVAL")
    wanted = words(supp, "USUBJID", na=False) + "\x1f" + numbers(supp, "IDVARVAL").map("{:.0f}".format)
    listed = pd.DataFrame({"row": wanted.map(place), "column": column, "value": value.fillna("")})
    other = listed["column"].isna()
    if other.any():
        names = ", ".join(sorted(words(supp, "QNAM")[other].unique())[:10])
        study.note(
            table.name, "sdtm.qualifier", "supplemental qualifier without a place", item=names, rows=int(other.sum())
        )
    listed = listed.dropna(subset=["row", "column"]).astype({"row": int})
    try:
        return extras.apply(rows, listed, table)
    except (ValueError, TypeError) as error:
        expected, remedy = f"qualifiers of their kind ({error})", "Correct them."
        study.problems.append(Problem(study.files[f"supp{domain}"], None, "QVAL", None, expected, remedy))
        return rows


def _count_unknown(study: Study, domain: str, rows: Understood, unknown: pd.Series, needed: str) -> None:
    if rows.label is None or not unknown.any():
        return
    counts = rows.label.reset_index(drop=True)[unknown.to_numpy()].value_counts().sort_index()
    why = f"{domain.upper()}: no {needed} of the vocabulary; set aside"
    if domain not in ONE_LINE_EACH:
        terms = f"{len(counts)} terms, most often {counts.idxmax()}"
        study.note(rows.table, "sdtm.unknown", why, item=terms, rows=int(counts.sum()))
        return
    study.note(rows.table, "sdtm.unknown", why, item=counts.index.to_numpy(), rows=counts.to_numpy())


def _note_times(
    study: Study, domain: str, table: str, placed: pd.Series, timed: pd.Series, precision: pd.Series
) -> None:
    day = placed & precision.eq("day")
    study_day = placed & precision.eq("study day")
    lost = placed & ~timed & precision.ne("bad")
    for mask, rule, why in (
        (day, "sdtm.date_only", "dated to the day: time set to 00:00, known at the end of the day"),
        (study_day, "sdtm.study_day", "no complete date: day taken from --DY, known at the end of the day"),
        (lost, "sdtm.no_time", "no date and no study day: set aside"),
    ):
        if mask.any():
            study.note(table, rule, why, item=domain, column="time_h", rows=int(mask.sum()))


def patients_table(study: Study) -> pd.DataFrame:
    """Covariates of the treated subjects, qualifiers of SUPPDM put in."""
    frame = study.dm.reset_index(drop=True)
    rows = person(frame)
    rows["patient_id"] = words(frame, "USUBJID", na=False)
    products = _products(study)
    rows["product"] = rows["patient_id"].map(products)
    supp = study.domains.get("suppdm")
    if supp is not None:
        place = pd.Series(rows.index, index=rows["patient_id"])
        listed = pd.DataFrame(
            {"row": words(supp, "USUBJID", na=False).map(place), "column": words(supp, "QNAM").map(qualifiers()),
             "value": supp["QVAL"].fillna("") if "QVAL" in supp else ""}
        ).dropna(subset=["row", "column"])  # fmt: skip
        try:
            rows = extras.apply(rows, listed.astype({"row": int}), schema.PATIENTS)
        except (ValueError, TypeError) as error:
            study.problems.append(
                Problem(study.files["suppdm"], None, "QVAL", None, f"a value of its kind ({error})", "")
            )
    return schema.PATIENTS.shape_up(rows[rows["patient_id"].isin(study.zeros.index)])


def _products(study: Study) -> dict[str, str]:
    if "ex" not in study.domains:
        return {}
    frame = study.domains["ex"]
    name = words(frame, "EXTRT")
    product = name.map({n: codes.product(n) for n in name.unique()})
    found = pd.DataFrame({"who": words(frame, "USUBJID", na=False), "product": product})
    found = found[found["product"].notna() & found["product"].ne("")].drop_duplicates("who")
    return dict(zip(found["who"], found["product"], strict=True))


def implied_events(study: Study, events: pd.DataFrame) -> pd.DataFrame:
    """Death (DTHDTC) and the end of participation (RFPENDTC) of DM, where CE does not say so already."""
    frames = [events]
    who = words(study.dm, "USUBJID", na=False)
    for event, column in (("death", "DTHDTC"), ("last_seen", "RFPENDTC")):
        told = set(events.loc[events["event"] == event, "patient_id"])
        start = clock.parse(words(study.dm, column))
        zero = pd.Series(study.zeros.reindex(who).array)
        time = clock.hours(start["instant"], zero)
        mine = ~np.isnan(time) & ~who.isin(told).to_numpy()
        daily = start["precision"].eq("day").to_numpy()
        if mine.any():
            rows = pd.DataFrame({"patient_id": who[mine].to_numpy(), "time_h": time[mine], "event": event,
                                 "available_h": np.where(daily, clock.end_of_day(time), np.nan)[mine]})  # fmt: skip
            frames.append(schema.EVENT_TABLE.shape_up(rows))
        if (mine & daily).any():
            why = "dated to the day: time set to 00:00, known at the end of the day"
            study.note("events", "sdtm.date_only", why, item=column, column="time_h", rows=int((mine & daily).sum()))
    return pd.concat([f for f in frames if len(f)], ignore_index=True) if any(len(f) for f in frames) else events
