"""From resources to a cohort: patients, time zero, hours, and the account of everything that was not taken."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, extras, schema
from icans.cohort.cohort import change_rows, stack
from icans.cohort.fhir_bundle import Bundles, Entry, codings, concept_text, get, items
from icans.cohort.fhir_rows import INFUSION_CODE, PROCEDURE, READERS, Row, Unread, moment, row_extras
from icans.core.errors import Problem

ANCHORS = ("infusion", "first_encounter")
RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
ETHNICITY = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity"
INPATIENT = ("IMP", "ACUTE", "NONAC")

_ZERO_REMEDY = (
    "Give it: infusion={'<patient>': '2024-03-01T10:30:00+00:00'}, or anchor='first_encounter' to count from the "
    "first encounter (for records without CAR T cells)."
)


@dataclass
class Reading:
    """Everything that is gathered on the way."""

    bundles: Bundles
    patients: dict[str, Entry] = field(default_factory=dict)
    owner: dict[int, str] = field(default_factory=dict)
    zeros: dict[str, pd.Timestamp] = field(default_factory=dict)
    visits: dict[str, list[tuple[pd.Timestamp, pd.Timestamp | None]]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    who: list[str] = field(default_factory=list)
    changes: list[pd.DataFrame] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong so far."""
        return self.bundles.problems

    def note(self, table: str, rule: str, why: str, **columns: object) -> None:
        """Add a line to the changes."""
        self.changes.append(change_rows(table, rule, why, **columns))


def find_patients(reading: Reading) -> None:
    """Name every patient: our own identifier, else the resource's id, else the end of its URL."""
    for entry in reading.bundles.of("Patient"):
        own = [
            get(i, "value", str)
            for i in items(entry.resource, "identifier")
            if i.get("system") == codes.LOCAL + "patient"
        ]
        name = (
            next((o for o in own if o), None)
            or get(entry.resource, "id", str)
            or entry.url.rsplit(":", 1)[-1].rsplit("/", 1)[-1]
        )
        if not name:
            reading.problems.append(
                entry.problem(".id", None, "an id, an identifier or a fullUrl", "Export it with one.")
            )
        elif name in reading.patients:
            reading.problems.append(entry.problem(".id", name, "each patient once", "Remove the double."))
        else:
            reading.patients[name] = entry
            reading.owner[id(entry.resource)] = name


def patient_of(reading: Reading, entry: Entry) -> str | None:
    """The patient whom a resource is about; a reference that leads nowhere is a problem."""
    reference = get(entry.resource, "subject", dict) or get(entry.resource, "patient", dict)
    target = reading.bundles.resolve(reference, entry)
    name = reading.owner.get(id(target.resource)) if target is not None else None
    if name is None:
        shown = get(reference, "reference", str)
        remedy = "Export the patient with the bundle, or remove the resource."
        reading.problems.append(entry.problem(".subject.reference", shown, "a Patient of the input", remedy))
    return name


def gather_rows(reading: Reading) -> None:
    """Rows of every resource that has any; the rest is counted."""
    for kind, reader in READERS.items():
        for entry in reading.bundles.of(kind):
            name = patient_of(reading, entry)
            if name is None:
                continue
            try:
                for row in reader(entry, reading.bundles):
                    reading.rows.append(row)
                    reading.who.append(name)
            except Unread as unread:
                reading.bundles.unread[str(unread)] += 1


def find_zeros(reading: Reading, anchor: str, infusion: Mapping[str, dt.datetime | dt.date | str] | None) -> None:
    """Time zero of every patient; a problem for each that has none."""
    if anchor not in ANCHORS:
        raise ValueError(f"anchor must be one of {ANCHORS}; got {anchor!r}")
    given = clock.given_zeros(infusion)
    for name in sorted(set(given) - set(reading.patients)):
        reading.problems.append(
            Problem("infusion", None, None, name, "a patient of the bundles", "Use the ids that the bundles use.")
        )
    candidates = _infusions(reading)
    visits = reading.visits = _encounters(reading)
    for name, entry in reading.patients.items():
        if name in given:
            reading.zeros[name] = given[name]
            continue
        found = candidates.get(name, [])
        if found:
            reading.zeros[name] = min(found)
            if len(set(found)) > 1:
                why = "several infusions; time counts from the first (a second one is a patient of its own)"
                reading.note("patients", "fhir.infusions", why, patient_id=name, rows=len(set(found)))
        elif anchor == "first_encounter" and visits.get(name):
            reading.zeros[name] = min(start for start, _ in visits[name])
            reading.note(
                "patients", "fhir.anchor", "no infusion; time counts from the first encounter", patient_id=name
            )
        else:
            reading.problems.append(entry.problem("", name, "a time zero (an infusion of CAR T cells)", _ZERO_REMEDY))


def _infusions(reading: Reading) -> dict[str, list[pd.Timestamp]]:
    """Instants of CAR T infusions by patient: procedures, and administrations of cells."""
    found: list[tuple[str, str | None]] = []
    marked: set[str] = set()
    for entry in reading.bundles.of("Procedure"):
        concept = entry.resource.get("code")
        known = codings(concept)
        own = (PROCEDURE, INFUSION_CODE) in known
        product = None if own else _product(concept, known)
        if not own and product is None:
            reading.bundles.unread["Procedure other than an infusion of CAR T cells"] += 1
            continue
        name = patient_of(reading, entry)
        if name is None:
            continue
        start, _ = moment(entry.resource)
        found.append((name, start))
        if own:
            marked.add(name)
        elif not any(w == name and r.values.get("drug") == codes.CELLS for w, r in zip(reading.who, reading.rows)):
            reading.rows.append(Row("treatments", entry, {"drug": codes.CELLS}, start))
            reading.who.append(name)
        if product:
            reading.rows.append(Row("patients", entry, {"product": product}))
            reading.who.append(name)
    for name, row in zip(list(reading.who), list(reading.rows)):
        if row.table == "treatments" and row.values.get("drug") == codes.CELLS and row.entry.kind != "Procedure":
            if name not in marked:
                found.append((name, row.time))
            product = codes.product(concept_text(row.entry.resource.get("medicationCodeableConcept")))
            if product:
                reading.rows.append(Row("patients", row.entry, {"product": product}))
                reading.who.append(name)
    times = clock.parse(pd.Series([text for _, text in found], dtype="object"))
    return _grouped([name for name, _ in found], times["instant"])


def _product(concept: Any, known: list[tuple[str, str]]) -> str | None:
    for _, code in known or [("", "")]:
        product = codes.product(concept_text(concept), code)
        if product is not None:
            return product
    return None


def _encounters(reading: Reading) -> dict[str, list[tuple[pd.Timestamp, pd.Timestamp | None]]]:
    """Start and end of encounters by patient; the end only of inpatient stays."""
    names, starts, ends, stays = [], [], [], []
    for entry in reading.bundles.of("Encounter"):
        name = patient_of(reading, entry)
        period = get(entry.resource, "period", dict)
        if name is None or period is None:
            continue
        names.append(name)
        starts.append(get(period, "start", str))
        ends.append(get(period, "end", str))
        stays.append(get(get(entry.resource, "class", dict), "code", str) in INPATIENT)
    if names:
        why = "only start and end of encounters are used (anchor, discharge)"
        reading.note("bundle", "fhir.partly_read", why, item="Encounter", rows=len(names))
    start = clock.parse(pd.Series(starts, dtype="object"))["instant"]
    end = clock.parse(pd.Series(ends, dtype="object"))["instant"].where(pd.Series(stays, dtype=bool))
    found: dict[str, list[tuple[pd.Timestamp, pd.Timestamp | None]]] = {}
    for name, a, b in zip(names, start, end):
        if not pd.isna(a):
            found.setdefault(name, []).append((a, None if pd.isna(b) else b))
    return found


def _grouped(names: list[str], instants: pd.Series) -> dict[str, list[pd.Timestamp]]:
    found: dict[str, list[pd.Timestamp]] = {}
    for name, instant in zip(names, instants):
        if not pd.isna(instant):
            found.setdefault(name, []).append(instant)
    return found


def build_table(reading: Reading, table: schema.Table) -> pd.DataFrame:
    """The rows of one table in hours, with their extras put in."""
    mine = [(name, row) for name, row in zip(reading.who, reading.rows) if row.table == table.name]
    if not mine:
        return table.empty()
    frame = pd.DataFrame([row.values for _, row in mine])
    frame["patient_id"] = [name for name, _ in mine]
    zero = pd.Series([reading.zeros.get(name, pd.NaT) for name, _ in mine], dtype=clock._US)
    start = clock.parse(pd.Series([row.time for _, row in mine], dtype="object"))
    known = clock.parse(pd.Series([row.available for _, row in mine], dtype="object"))
    end = clock.parse(pd.Series([row.end for _, row in mine], dtype="object"))
    frame["time_h"] = clock.hours(start["instant"], zero)
    frame["available_h"] = clock.hours(known["instant"], zero)
    if table.name == "treatments":
        frame["duration_h"] = clock.hours(end["instant"], start["instant"])
    keep = _check_times(reading, table, mine, frame, start, known, end)
    frame = _put_extras(reading, table, mine, frame)
    frame = frame[keep].reset_index(drop=True)
    return table.shape_up(frame)


def _check_times(
    reading: Reading,
    table: schema.Table,
    mine: list[tuple[str, Row]],
    frame: pd.DataFrame,
    start: pd.DataFrame,
    known: pd.DataFrame,
    end: pd.DataFrame,
) -> np.ndarray:
    """Which rows have a time; what was assumed of the others' times goes to the changes."""
    for times, where in ((start, "time"), (known, "issued"), (end, "end")):
        for i in np.flatnonzero(times["precision"].eq("bad")):
            row = mine[i][1]
            text = {"time": row.time, "issued": row.available, "end": row.end}[where]
            reading.problems.append(
                row.entry.problem(f" ({where})", text, "a FHIR dateTime that exists", "Correct it.")
            )
    day = start["precision"].eq("day").to_numpy()
    if day.any():
        frame.loc[day & frame["available_h"].isna().to_numpy(), "available_h"] = clock.end_of_day(
            frame.loc[day & frame["available_h"].isna().to_numpy(), "time_h"]
        )
        why = "dated to the day: time set to 00:00, known at the end of the day where no time of issue is given"
        reading.note(table.name, "fhir.date_only", why, column="time_h", rows=int(day.sum()))
    zoneless = (start["precision"].eq("time") & ~start["zoned"]).to_numpy()
    if zoneless.any():
        why = "time without a time zone, taken as UTC"
        reading.note(table.name, "fhir.timezone", why, column="time_h", rows=int(zoneless.sum()))
    timeless = frame["time_h"].isna().to_numpy() & ~start["precision"].eq("bad").to_numpy()
    for name, count in Counter(mine[i][0] for i in np.flatnonzero(timeless) if mine[i][0] in reading.zeros).items():
        why = "no time, or one to the month or year only"
        reading.note(table.name, "fhir.no_time", why, patient_id=name, rows=count)
    return ~frame["time_h"].isna().to_numpy()


def _put_extras(
    reading: Reading, table: schema.Table, mine: list[tuple[str, Row]], frame: pd.DataFrame
) -> pd.DataFrame:
    found = [(i, column, text) for i, (_, row) in enumerate(mine) for column, text in row.extras]
    if not found:
        return frame
    listed = pd.DataFrame(found, columns=["row", "column", "value"])
    try:
        return extras.apply(frame, listed, table)
    except (ValueError, OverflowError) as error:
        entry = mine[found[0][0]][1].entry
        reading.problems.append(entry.problem(".extension", str(error), "a value of the column's kind", "Correct it."))
        return frame


def patients_table(reading: Reading) -> pd.DataFrame:
    """The patients' covariates: own extensions first, else what FHIR elements say."""
    records, listed = [], []
    extra_rows: dict[str, dict[str, Any]] = {}
    for name, row in zip(reading.who, reading.rows):
        if row.table == "patients":
            for key, value in row.values.items():
                extra_rows.setdefault(name, {}).setdefault(key, value)
    for i, (name, entry) in enumerate(reading.patients.items()):
        resource = entry.resource
        sex = resource.get("gender")
        record = {
            "patient_id": name,
            "sex": sex if sex in ("female", "male", "other") else None,
            "race": _person(resource, RACE),
            "ethnicity": _person(resource, ETHNICITY),
            "age_y": _age(reading, entry, name),
            **extra_rows.get(name, {}),
        }
        records.append(record)
        listed += [(i, column, text) for column, text in row_extras(resource)]
    frame = schema.PATIENTS.shape_up(pd.DataFrame(records))
    mine = [(name, Row("patients", entry, {})) for name, entry in reading.patients.items()]
    for i, column, text in listed:
        mine[i][1].extras.append((column, text))
    return schema.PATIENTS.shape_up(_put_extras(reading, schema.PATIENTS, mine, frame))


def _person(resource: dict[str, Any], url: str) -> str | None:
    for extension in items(resource, "extension"):
        if extension.get("url") == url:
            parts = {p.get("url"): p for p in items(extension, "extension") if isinstance(p.get("url"), str)}
            return get(parts.get("text"), "valueString", str)
    return None


def _age(reading: Reading, entry: Entry, name: str) -> float:
    born = get(entry.resource, "birthDate", str)
    zero = reading.zeros.get(name)
    if born is None or zero is None:
        return np.nan
    padded = {4: born + "-07-01", 7: born + "-15"}.get(len(born), born)
    instant = clock.parse(pd.Series([padded], dtype="object"))["instant"].iloc[0]
    if pd.isna(instant):
        reading.problems.append(entry.problem(".birthDate", born, "a date", "Correct it."))
        return np.nan
    if padded != born:
        why = "birth date to the month or year only; its middle was taken"
        reading.note("patients", "fhir.birth_date", why, patient_id=name, column="age_y")
    return round((zero - instant).total_seconds() / 86400 / 365.25, 3)


def add_implied_events(reading: Reading) -> None:
    """Deaths of the Patient resource and discharges of inpatient stays, where no event says so already."""
    told = {(n, r.values["event"]) for n, r in zip(reading.who, reading.rows) if r.table == "events"}
    for name, entry in reading.patients.items():
        died = get(entry.resource, "deceasedDateTime", str)
        if (name, "death") not in told and died is not None:
            reading.rows.append(Row("events", entry, {"event": "death"}, died))
            reading.who.append(name)
        elif (name, "death") not in told and entry.resource.get("deceasedBoolean") is True:
            why = "the patient died, but the time is not given: no event made"
            reading.note("events", "fhir.death_undated", why, patient_id=name, item="death")
        if (name, "discharge") in told or name not in reading.zeros:
            continue
        for start, end in reading.visits.get(name, []):
            if end is not None and start <= reading.zeros[name] <= end:
                stamp = clock.text(pd.Series([end], dtype=clock._US)).iloc[0]
                reading.rows.append(Row("events", entry, {"event": "discharge"}, stamp))
                reading.who.append(name)
                break


def account(reading: Reading) -> pd.DataFrame:
    """The changes: one line for each kind of thing that was not taken."""
    bundles = reading.bundles
    for what, count in sorted(bundles.unread.items()):
        reading.note("bundle", "fhir.not_read", "no place for it in the cohort", item=what, rows=count)
    for (kind, status), count in sorted(bundles.void.items()):
        reading.note("bundle", "fhir.void", f"status {status}: set aside", item=kind, old=status, rows=count)
    for kind, count in sorted(bundles.replaced.items()):
        why = "the same resource twice; the later version was taken"
        reading.note("bundle", "fhir.replaced", why, item=kind, rows=count)
    return stack(schema.CHANGES, reading.changes)
