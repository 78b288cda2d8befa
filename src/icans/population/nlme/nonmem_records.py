"""NONMEM-style data sets as records, and back. The vocabulary is that of :mod:`icans.cohort.nonmem`.

Conventions
-----------
* One table with a header; rows of a subject together, TIME not decreasing. EVID 0 observes, 1 doses, 2 only carries
  covariates, 3 resets, 4 resets and doses. Without EVID: a row with AMT is a dose, one with MDV 1 is ignored.
* ADDL and II are written out. SS 1 is kept: at the dose the subject is at the steady state of doses II apart.
* MDV 1 with EVID 0 is a sample that was asked for and is missing: left out.
* CENS 1: the value lies below DV (and above LIMIT, where that is given and not 0); CENS -1: above DV (and below LIMIT).
* An observation at the time of a dose comes before it, wherever it is listed. OCC counts occasions; an occasion starts
  with its first row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.times import TIME_UNITS_H
from icans.mechanism.doses import Dose
from icans.population.nlme.nonmem_columns import (
    Table,
    check_order,
    check_rows,
    fill_events,
    load,
    read_covariates,
)
from icans.population.nlme.records import Administration, Records, Subject, make_records

#: More administrations than this from ADDL are a mistake.
MOST_DOSES = 2_000_000


@dataclass(frozen=True, slots=True)
class Given:
    """What a dose is to a compiled model: drug, unit of AMT, route (as :class:`icans.mechanism.doses.Dose`)."""

    drug: str
    unit: str
    route: str = "iv"


def read_nonmem_records(
    source: Path | str | pd.DataFrame, observed: str | Mapping[str, str] = "cp", *, observed_by: str = "DVID",
    dosed: str | Given | Mapping[str, str | Given] = "", time_unit: str = "h",
    covariates: Sequence[str] | Mapping[str, str] = (), codes: Mapping[str, Mapping[str, float]] | None = None,
    ignore: Sequence[str] = (), missing: Sequence[str] = (".", "", "NA"), classic_evid: bool = False,
    estimated_duration: bool = False, mdv: str = "refuse", separator: str | None = None,
    told: list[Problem] | None = None,
) -> Records:  # fmt: skip
    """A NONMEM-style data set (file or table) as records.

    ``observed``: name of what DV is, or one for each value of ``observed_by`` (``"DVID"`` or ``"CMT"``). ``dosed``:
    compartment that AMT enters (``""``: the model's own), or a drug of a compiled model, or one for each CMT.
    ``covariates``: columns (and their names); ``codes``: column -> text -> number. ``ignore``: columns set aside; any
    other is a problem. ``time_unit``: of TIME, II and DUR; RATE is per this unit. ``estimated_duration``: RATE -2 means
    that the model estimates the duration. ``mdv``: a value in DV where MDV is 1 is a problem (``"refuse"``), or left
    out (``"drop"``). ``separator``: comma or blanks, by the header, if None. ``told``: a list to which is appended what
    was noticed but is no error: doses after the last observation, subjects without any, observations listed after a
    dose of the same time.

    Raises
    ------
    ModelError
        Every problem of the data set, with line, column and remedy; nothing is loaded then.
    """
    by = {c: c for c in covariates} if not isinstance(covariates, Mapping) else dict(covariates)
    wrong = [] if time_unit in TIME_UNITS_H else [Problem(
        "call", None, "time_unit", time_unit, f"one of {', '.join(TIME_UNITS_H)}", "Use one of these.")]  # fmt: skip
    if observed_by not in ("DVID", "CMT"):
        wrong.append(Problem("call", None, "observed_by", observed_by, "DVID or CMT", "Use one of these."))
    if mdv not in ("refuse", "drop"):
        wrong.append(Problem("call", None, "mdv", mdv, "refuse or drop", "Use one of these."))
    if wrong:
        raise ModelError(wrong)
    table = load(source, covariates=tuple(by), ignore=ignore, missing=missing, separator=separator)
    if "TIME" not in table.frame:  # columns are missing or unknown
        _stop(table)
    fill_events(table, classic=classic_evid)
    check_rows(table, estimated=estimated_duration, mdv=mdv)
    check_order(table)
    own = read_covariates(table, by, codes or {})
    seen, given = _named(table, observed, observed_by, "observed"), _named(table, dosed, "CMT", "dosed")
    extra = table.frame["ADDL"].where(table.frame["EVID"].isin([1.0, 4.0])).fillna(0.0).clip(lower=0.0)
    if extra.sum() > MOST_DOSES:
        table.tell(extra.gt(MOST_DOSES / max(1, len(extra))), "ADDL", f"{MOST_DOSES:,} doses at most", "Mend ADDL.")
    _note(table)
    _stop(table)
    if told is not None:
        told += [p for p in table.problems if p.severity == "warning"]
    hours, frame = TIME_UNITS_H[time_unit], table.frame.assign(seen=seen, given=given)
    frame = frame.assign(hours=frame["TIME"] * hours)
    subjects = [_subject(str(i), rows, own[str(i)], hours) for i, rows in frame.groupby("ID", sort=False)]
    return make_records(subjects)


def _stop(table: Table) -> None:
    errors = [p for p in table.problems if p.severity == "error"]
    if not errors and len(table.lines) == 0:
        errors = [Problem(table.name, None, None, None, "at least one row", "Give the data.")]
    if errors:
        raise ModelError(errors)


def _named(table: Table, given: Any, column: str, option: str) -> list[Any]:
    """What each row observes or gives, by the call; a key without an entry is a problem."""
    rows = table.frame["EVID"].eq(0.0) if option == "observed" else table.frame["EVID"].isin([1.0, 3.0, 4.0])
    keys = table.frame[column]
    if isinstance(given, Mapping):
        if column not in table.present and column != "CMT":
            told = Problem(
                table.name, 1, column, None, f"a column {column}", f"Add it, or give one name in {option!r}."
            )
            table.problems.append(told)
            return [None] * len(keys)
        resets = table.frame["EVID"].eq(3.0)
        table.tell(rows & ~resets & ~keys.isin(list(given)), column, f"one of {', '.join(given)}",
                   f"Name it in {option!r}, or mend the cell.")  # fmt: skip
        return [given.get(k, "") for k in keys]
    if column in table.present and option == "dosed":
        used = sorted(set(keys[rows & table.frame["EVID"].ne(3.0)]))
        if len(used) > 1:
            table.tell(rows & keys.ne(used[0]), column, "one compartment for all doses",
                       "Say in 'dosed' which compartment each CMT is.")  # fmt: skip
    if column in table.present and option == "observed":
        used = sorted(set(keys[rows]))
        if len(used) > 1:
            table.tell(rows & keys.ne(used[0]), column, "one kind of observation", "Say in 'observed' what each is.")
    return [given] * len(keys)


def _note(table: Table) -> None:
    """What is loaded and told: late doses, subjects without observations, observations listed after a dose."""
    frame = table.frame
    dose, use = frame["EVID"].isin([1.0, 4.0]), frame["EVID"].eq(0.0) & frame["MDV"].eq(0.0)
    last = frame["TIME"].where(use).groupby(frame["ID"]).transform("max")
    table.tell(dose & frame["TIME"].ge(last), "TIME", "doses before the last observation of the subject",
               "It has no effect on the fit: check its time, or leave it out.", warning=True)  # fmt: skip
    first = ~frame["ID"].duplicated()
    table.tell(first & last.isna(), "ID", "an observation of the subject",
               "A fit needs one: leave the subject out.", warning=True)  # fmt: skip
    after = dose.groupby([frame["ID"], frame["TIME"]]).cumsum().gt(0) & use
    remedy = "Taken as the value before the dose: give a later time if it was drawn after it."
    table.tell(after, "TIME", "observations listed before a dose of the same time", remedy, warning=True)
    if "OCC" in table.present:
        start = frame["TIME"].groupby([frame["ID"], frame["OCC"]]).transform("min")
        later = frame["OCC"].ne(frame["OCC"].groupby(frame["ID"]).transform("first"))
        remedy = "Taken with the parameters of the occasion before: give a later time."
        table.tell(use & later & frame["TIME"].eq(start), "OCC", "observations after their occasion's start", remedy,
                   warning=True)  # fmt: skip


def _subject(name: str, rows: pd.DataFrame, covariates: Mapping[str, float], hours: float) -> Subject:
    seen = rows[rows["EVID"].eq(0.0) & rows["MDV"].eq(0.0)]
    cens, limit = seen["CENS"].fillna(0.0).to_numpy(), seen["LIMIT"].to_numpy(float)
    value = seen["DV"].to_numpy(float)
    between = ((cens == 1.0) & np.isfinite(limit) & (limit != 0.0)) | ((cens == -1.0) & np.isfinite(limit))
    observations = pd.DataFrame({
        "time_h": seen["hours"].to_numpy(float), "observable": seen["seen"].to_numpy(object),
        "value": np.where(between & (cens == 1.0), limit, value),
        "censor": np.select([between, cens == 1.0, cens == -1.0], ["interval", "left", "right"], "none"),
        "limit": np.where(between, np.where(cens == 1.0, value, limit), np.nan),
    })  # fmt: skip
    doses = [d for row in rows[rows["EVID"].isin([1.0, 3.0, 4.0])].itertuples() for d in _doses(row, hours)]
    starts: tuple[float, ...] = ()
    if rows["OCC"].notna().any():
        starts = tuple(rows.loc[~rows["OCC"].duplicated(), "hours"])
    return Subject(name, observations, tuple(doses), dict(covariates), starts)


def _doses(row: Any, hours: float) -> list[Administration | Dose]:
    """The administrations of one row, written out."""
    amount = 0.0 if row.EVID == 3.0 else float(row.AMT)
    duration = float(row.DUR) if np.isfinite(row.DUR) else amount / row.RATE if row.RATE > 0.0 else 0.0
    interval = float(row.II) * hours if np.isfinite(row.II) else 0.0
    again = int(row.ADDL) if np.isfinite(row.ADDL) and row.EVID != 3.0 else 0
    steady = interval if row.SS == 1.0 and row.EVID != 3.0 else 0.0
    times = [row.hours + i * interval for i in range(again + 1)]
    if isinstance(row.given, Given):
        what = row.given
        if steady or row.EVID != 1.0:
            expected = "single doses (no SS, no EVID 3 or 4) of a compiled model"
            raise ModelError([Problem("data", None, "EVID", f"{row.EVID:g}", expected, "Write the doses out.")])
        return [Dose(t, what.drug, amount, what.unit, what.route, duration * hours) for t in times]
    return [
        Administration(t, amount, row.given, duration * hours, steady if i == 0 else 0.0, row.EVID != 1.0 and i == 0)
        for i, t in enumerate(times)
    ]


def nonmem_frame(records: Records) -> tuple[pd.DataFrame, dict[str, str], dict[str, str]]:
    """Records as a NONMEM-style table (times in hours), and what its DVID and CMT mean: for ``observed`` and ``dosed``.

    Doses of closed-form models only. Observations come before doses of the same time.

    Raises
    ------
    ModelError
        A dose that is no :class:`~icans.population.nlme.records.Administration`.
    """
    names = sorted({str(o) for s in records.subjects for o in s.observations["observable"]})
    homes = sorted({d.compartment for s in records.subjects for d in s.doses if isinstance(d, Administration)})
    dvid = {name: str(k) for k, name in enumerate(names, 1)}
    cmt = {home: str(k) for k, home in enumerate(homes, 1)}
    rows: list[dict[str, Any]] = []
    for s in records.subjects:
        odd = [d for d in s.doses if not isinstance(d, Administration)]
        if odd:
            expected, remedy = "doses of a model in closed form", "Write the data from where it came."
            raise ModelError([Problem(f"subject {s.id}", None, "doses", type(odd[0]).__name__, expected, remedy)])
        own = [_observed_row(s, o, dvid) for o in s.observations.itertuples()] + [
            _dosed_row(s, d, cmt) for d in s.doses
        ]
        rows += sorted(own, key=lambda row: (row["TIME"], row["EVID"] != 0))
    frame = pd.DataFrame(rows)
    if any(s.occasions for s in records.subjects):
        frame["OCC"] = [_occasion(records, row) for row in rows]
    return frame, {v: k for k, v in dvid.items()}, {v: k for k, v in cmt.items()}


def _observed_row(s: Subject, o: Any, dvid: Mapping[str, str]) -> dict[str, Any]:
    cens = {"none": 0, "left": 1, "right": -1, "interval": 1}[o.censor]
    value, limit = (o.limit, o.value) if o.censor == "interval" else (o.value, np.nan)
    return {"ID": s.id, "TIME": o.time_h, "EVID": 0, "MDV": 0, "AMT": 0.0, "DUR": 0.0, "CMT": "0", "DV": value,
            "DVID": dvid[str(o.observable)], "CENS": cens, "LIMIT": limit, "II": 0.0, "SS": 0,
            **s.covariates}  # fmt: skip


def _dosed_row(s: Subject, d: Administration, cmt: Mapping[str, str]) -> dict[str, Any]:
    evid = (3 if d.amount == 0.0 else 4) if d.reset else 1
    return {"ID": s.id, "TIME": d.time_h, "EVID": evid, "MDV": 1, "AMT": d.amount, "DUR": d.duration_h,
            "CMT": cmt[d.compartment], "DV": np.nan, "DVID": "0", "CENS": 0, "LIMIT": np.nan, "II": d.interval_h,
            "SS": int(d.interval_h > 0.0), **s.covariates}  # fmt: skip


def _occasion(records: Records, row: Mapping[str, Any]) -> int:
    starts = records.subjects[records.ids.index(row["ID"])].occasions
    later = np.searchsorted(starts[1:], row["TIME"], side="right" if row["EVID"] else "left")
    return int(later) + 1
