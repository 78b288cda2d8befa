"""Covariates and events that OMOP keeps in their own tables: PERSON, CONDITION_OCCURRENCE, DEATH, VISIT_OCCURRENCE."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import clock, extras, schema
from icans.cohort.omop_concepts import VOCABULARY, standard_ids
from icans.cohort.omop_files import moments, numbers, words
from icans.cohort.omop_read import Extract
from icans.cohort.omop_rows import PATIENT, conditions, infusions
from icans.core.errors import Problem

DAYS_PER_YEAR = 365.25


def patients_table(extract: Extract) -> pd.DataFrame:
    """Covariates of the patients who have a time zero."""
    frame = extract.table("person")
    rows = person(extract, frame)
    rows["patient_id"] = extract.who(frame)
    rows["disease"] = rows["patient_id"].map(_diseases(extract))
    rows["product"] = rows["patient_id"].map(_products(extract))
    rows["age_y"] = _ages(extract, frame, rows["patient_id"])
    rows = _covariates(extract, rows)
    return schema.PATIENTS.shape_up(rows[rows["patient_id"].isin(extract.zeros.index)])


def person(extract: Extract, frame: pd.DataFrame) -> pd.DataFrame:
    """Sex, race, ethnicity and site as PERSON has them."""
    concept = numbers(frame, "gender_concept_id")
    ids = {float(standard_ids(name)[0]): name for name in ("female", "male", "other")}
    source = words(frame, "gender_source_value").str.strip().str.lower()
    letters = {"f": "female", "female": "female", "m": "male", "male": "male", "other": "other"}
    rows = pd.DataFrame({"sex": extras.either(concept.map(ids), source.map(letters))}, index=frame.index)
    for name in ("race", "ethnicity"):
        told = words(frame, f"{name}_source_value")
        named = extract.concepts.look(numbers(frame, f"{name}_concept_id"))["name"]
        told = told.where(told.ne(""), named.where(named.ne("No matching concept"), ""))
        rows[name] = told.where(told.ne(""))
    return rows


def _ages(extract: Extract, frame: pd.DataFrame, who: pd.Series) -> np.ndarray:
    """Age at time zero from the date of birth; from the year alone its middle is taken, and noted."""
    born = clock.parse(words(frame, "birth_datetime"))["instant"]
    year, month, day = (numbers(frame, f"{part}_of_birth") for part in ("year", "month", "day"))
    plausible = year.between(1850, 2200)
    text = year.where(plausible).fillna(0).map("{:04.0f}-".format)
    text += month.where(month.between(1, 12), 7).map("{:02.0f}-".format)
    text += day.where(day.between(1, 31), 1).map("{:02.0f}".format)
    built = clock.parse(text.where(plausible, ""))["instant"]
    rough = born.isna() & built.notna() & month.isna()
    zero = pd.Series(extract.zeros.reindex(who).array)
    age = np.round(clock.hours(zero, born.fillna(built)) / 24 / DAYS_PER_YEAR, 3)
    if not extract.own and (rough & zero.notna()).any():
        why = "only the year of birth is given; its middle was taken"
        extract.note("patients", "omop.birth_year", why, column="age_y", rows=int((rough & zero.notna()).sum()))
    return age if not extract.own else np.full(len(age), np.nan)


def _diseases(extract: Extract) -> dict[str, str]:
    frame = extract.table("condition_occurrence")
    diagnosed, disease = conditions(frame, extract.concepts)
    who = extract.who(frame)
    found = pd.DataFrame({"who": who, "disease": disease, "start": diagnosed.start}).dropna()
    idle = disease.isna() & diagnosed.frame["toxicity"].isna() & who.isin(extract.zeros.index)
    if idle.any():
        counts = diagnosed.label[idle].value_counts().sort_index()
        why = "a condition that is neither the disease treated nor a graded toxicity"
        extract.note("condition_occurrence", "omop.not_read", why, item=counts.index.to_numpy(), rows=counts.to_numpy())
    first = found.sort_values("start", kind="stable").drop_duplicates("who")
    return dict(zip(first["who"], first["disease"], strict=True))


def _products(extract: Extract) -> dict[str, str]:
    frame = extract.table("procedure_occurrence")
    _, product = infusions(frame, extract.concepts)
    found = pd.DataFrame({"who": extract.who(frame), "product": product}).dropna()
    found = found[found["product"].ne("")].drop_duplicates("who")
    return dict(zip(found["who"], found["product"], strict=True))


def _covariates(extract: Extract, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the covariates that OBSERVATION records under this package's codes."""
    listed = extract.table("observation")
    code = extract.concepts.coded(listed, "observation", VOCABULARY)
    mine = code.str.startswith(PATIENT).to_numpy(dtype=bool)
    if not mine.any():
        return rows
    place = pd.Series(rows.index, index=rows["patient_id"])
    wanted = pd.DataFrame(
        {"row": extract.who(listed)[mine].map(place), "column": code[mine].str.removeprefix(PATIENT),
         "value": words(listed, "value_as_string")[mine]}
    ).dropna(subset=["row"])  # fmt: skip
    try:
        return extras.apply(rows, wanted.astype({"row": int}), schema.PATIENTS)
    except (ValueError, TypeError) as error:
        file = extract.files.get("observation", "observation")
        expected = f"covariates of their kind ({error})"
        extract.problems.append(Problem(file, None, "value_as_string", None, expected, "Correct them."))
        return rows


def implied_events(extract: Extract, events: pd.DataFrame) -> pd.DataFrame:
    """Deaths of DEATH and discharges of inpatient visits, where OBSERVATION does not record them already."""
    death, visit = extract.table("death"), extract.table("visit_occurrence")
    stay = numbers(visit, "visit_concept_id").isin(standard_ids("inpatient_visit", "emergency_inpatient_visit"))
    start, end = clock.parse(moments(visit, "visit_start")), clock.parse(moments(visit, "visit_end"))
    zero = pd.Series(extract.zeros.reindex(extract.who(visit)).array)
    day = zero.dt.floor("D")
    around = stay.to_numpy() & (start["instant"].array <= zero).to_numpy() & (end["instant"].array >= day).to_numpy()
    ends = moments(visit, "visit_end")[around]
    frames = [events]
    for event, who, when in (
        ("death", extract.who(death), moments(death, "death")),
        ("discharge", extract.who(visit)[around], ends),
    ):
        told = set(events.loc[events["event"] == event, "patient_id"])
        instant = clock.parse(when)
        time = clock.hours(instant["instant"], pd.Series(extract.zeros.reindex(who).array))
        mine = ~np.isnan(time) & ~who.isin(told).to_numpy()
        daily = instant["precision"].eq("day").to_numpy()
        known = np.where(daily, clock.end_of_day(time), np.nan)
        if mine.any():
            rows = pd.DataFrame({"patient_id": who[mine].to_numpy(), "time_h": time[mine], "event": event,
                                 "available_h": known[mine]})  # fmt: skip
            frames.append(schema.EVENT_TABLE.shape_up(rows.drop_duplicates(["patient_id"])))
        if (mine & daily).any():
            why = "dated to the day: time set to 00:00, known at the end of the day"
            extract.note("events", "omop.date_only", why, item=event, column="time_h", rows=int((mine & daily).sum()))
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else events


def unread_observations(extract: Extract) -> None:
    """Count OBSERVATION records that are not this package's own."""
    frame = extract.table("observation")
    code = extract.concepts.coded(frame, "observation", VOCABULARY)
    known = code.str.match(r"(?:item|grade|event|recording|patient|row):").to_numpy(dtype=bool)
    rest = frame[~known]
    if len(rest):
        name = extract.concepts.look(numbers(rest, "observation_concept_id"))["name"]
        source = words(rest, "observation_source_value")
        counts = source.where(source.ne(""), name).value_counts().sort_index()
        why = "an observation that has no place in the cohort"
        extract.note("observation", "omop.not_read", why, item=counts.index.to_numpy(), rows=counts.to_numpy())
