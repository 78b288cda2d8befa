"""What is done for the synthetic patients: stay in hospital, grades, bedside findings, treatments, events.

Treatments that a simulated course brings with it acted on it; with any other course care follows and changes nothing.
Either way this cohort cannot say what a treatment does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from icans.core.times import HOURS_PER_DAY
from icans.datasets.demo_course import Course
from icans.datasets.demo_draws import Draws

#: Hour of the day at which the bedside test is done, and hours until it is written down.
BEDSIDE_H, WRITTEN_H = 10.0, 0.5
#: Points of the ICE score in the order in which they are lost here (writing and attention first: design).
LOSS_ORDER = (
    ["ice_writing", "ice_attention"] + ["ice_orientation"] * 4 + ["ice_naming"] * 3 + ["ice_command"]
)  # fmt: skip
#: Range of the ICE score by ICANS grade (Lee et al. 2019, doi 10.1016/j.bbmt.2018.12.758); grade 4: not testable.
ICE_RANGE = ((10, 10), (7, 9), (3, 6), (0, 2), (0, 0))
CONSCIOUSNESS = ("spontaneous", "spontaneous", "voice", "touch", "unarousable")


def layout(days: int) -> dict[str, int]:
    """Numbers that care takes from the stream."""
    return {"stay": 1, "death": 1, "death_time": 1, "toci": 1, "dexa": 1, "anakinra": 1, "delay": 1,
            "ice": days, "ice_taken": days, "ice_items": days * 5}  # fmt: skip


@dataclass(frozen=True)
class Stay:
    """Days in hospital (n, days), day of the first discharge, and day of death (NaN: alive at the end)."""

    inside: np.ndarray
    discharge_d: np.ndarray
    death_d: np.ndarray
    alive: np.ndarray


def stay(course: Course, days: np.ndarray, draws: Draws, numbers: dict[str, Any]) -> Stay:
    """In hospital until a first discharge without toxicity, and again while a later toxicity lasts."""
    about = numbers["stay"]
    sick = (course.crs.daily_grade(days) > 0) | (course.icans.daily_grade(days) > 0)
    planned = about["first_discharge_day"] + np.floor(
        -about["further_days"] * np.log1p(-np.minimum(draws.uniform("stay"), 0.999))
    )
    recent = sick | np.roll(sick, 1, axis=1)
    inside = (days[None, :] >= -1) & ((days[None, :] <= planned[:, None]) | recent)
    risk = about["death_base"] + about["death_icans_4"] * (course.icans.grade == 4)
    dies = draws.uniform("death") < risk
    after = np.maximum(course.icans.peak_d, 5.0)
    death = np.where(dies, after + (days[-1] - after) * 0.8 * draws.uniform("death_time"), np.nan)
    alive = ~(days[None, :] + 1 > np.nan_to_num(death, nan=np.inf)[:, None])
    out = ~inside & (days[None, :] >= 0)
    discharge = np.where(out.any(axis=1), days[np.argmax(out, axis=1)], np.nan).astype(float)
    return Stay(
        inside & alive, np.where(discharge <= np.nan_to_num(death, nan=np.inf), discharge, np.nan), death, alive
    )


def rows(ids: np.ndarray, mask: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Rows for the true cells of an (n, k) mask: patient_id and each (n, k) column."""
    where = np.nonzero(mask)
    cells = {name: np.broadcast_to(values, mask.shape)[where] for name, values in columns.items()}
    return pd.DataFrame({"patient_id": ids[where[0]], **cells})


def grades(ids: np.ndarray, course: Course, where: Stay, days: np.ndarray) -> pd.DataFrame:
    """Delivered ASTCT grades for every day in hospital from day 0."""
    mask = where.inside & (days[None, :] >= 0)
    start = days[None, :] * HOURS_PER_DAY
    parts = [
        rows(ids, mask, time_h=start, available_h=start + HOURS_PER_DAY, grade=episode.daily_grade(days)).assign(
            toxicity=name
        )
        for name, episode in (("CRS", course.crs), ("ICANS", course.icans))
    ]
    return pd.concat(parts, ignore_index=True).assign(scheme="ASTCT", source="delivered", lower_bound=False)


def assessments(
    ids: np.ndarray,
    site: np.ndarray,
    course: Course,
    where: Stay,
    days: np.ndarray,
    draws: Draws,
    numbers: dict[str, Any],
) -> pd.DataFrame:
    """ICE by items (one site: only the total) and level of consciousness, at one time of each day in hospital."""
    about = numbers["stay"]
    time = np.broadcast_to(days[None, :] * HOURS_PER_DAY + BEDSIDE_H, (len(ids), len(days)))
    grade = np.round(course.icans.severity(time / HOURS_PER_DAY)).astype(int)
    taken = where.inside & (days[None, :] >= 0) & (draws.uniform("ice_taken") < about["ice_taken"])
    low, high = (np.array([pair[i] for pair in ICE_RANGE])[grade] for i in (0, 1))
    total = np.minimum(low + np.floor(draws.uniform("ice") * (high - low + 1)), high).astype(int)
    kept = draws.uniform("ice_items").reshape(len(ids), len(days), 5) < about["ice_item_taken"]
    only_total = (site == "Site C")[:, None]
    testable = taken & (grade < 4)
    written = time + WRITTEN_H
    parts = [rows(ids, testable & only_total, time_h=time, available_h=written, value=total).assign(item="ice_total")]
    for place, item in enumerate(dict.fromkeys(LOSS_ORDER)):
        lost_before = np.cumsum([name == item for name in LOSS_ORDER])
        points = lost_before[-1] - np.concatenate([[0], lost_before])[10 - total]
        mask = testable & ~only_total & kept[:, :, place]
        parts.append(rows(ids, mask, time_h=time, available_h=written, value=points).assign(item=item))
    awake = rows(ids, taken, time_h=time, available_h=written, value=np.array(CONSCIOUSNESS)[grade])
    parts.append(awake.assign(item="consciousness"))
    never = rows(ids, taken & (grade == 4), time_h=time, available_h=written).assign(value="yes")
    parts.append(never.assign(item="cognitive_test_untestable"))
    return pd.concat([part.assign(value=part["value"].astype(str)) for part in parts], ignore_index=True)


def crs_findings(ids: np.ndarray, course: Course, where: Stay, days: np.ndarray) -> pd.DataFrame:
    """Fever, hypotension, vasopressors and oxygen of each day of CRS in hospital, such that they give the day's grade.

    Grade 2 is hypotension without a vasopressor, or oxygen by nasal cannula; grades 3 and 4 need one or two
    vasopressors (Lee et al. 2019). Fever is recorded on every day. They sum up the day: known when it is over.
    """
    time = np.broadcast_to(days[None, :] * HOURS_PER_DAY, (len(ids), len(days)))
    grade = course.crs.daily_grade(days)
    seen = where.inside & (days[None, :] >= 0)
    by_oxygen = (np.arange(len(ids)) % 2 == 0)[:, None]
    masks = {
        ("fever", "yes"): seen & (grade >= 1),
        ("fever", "no"): seen & (grade < 1),
        ("hypotension", "yes"): seen & ((grade >= 3) | ((grade == 2) & ~by_oxygen)),
        ("oxygen_device", "nasal_cannula"): seen & (grade >= 2) & by_oxygen,
        ("oxygen_flow_l_min", "4"): seen & (grade >= 2) & by_oxygen,
        ("vasopressors", "0"): seen & (grade >= 1) & (grade < 3),
        ("vasopressors", "1"): seen & (grade == 3),
        ("vasopressors", "2"): seen & (grade == 4),
    }
    parts = [
        rows(ids, mask, time_h=time, available_h=time + HOURS_PER_DAY).assign(item=item, value=value)
        for (item, value), mask in masks.items()
    ]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def treatments(
    patients: pd.DataFrame, course: Course, where: Stay, days: np.ndarray, draws: Draws, numbers: dict[str, Any]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The cells, tocilizumab, dexamethasone, anakinra; and the time of tocilizumab in hours (inf: none)."""
    about = numbers["care"]
    ids = patients["patient_id"].to_numpy()
    first, last = about["hours_after_finding"]
    delay = first + (last - first) * draws.uniform("delay")
    crs_2 = (course.crs.grade >= 2) & (draws.uniform("toci") < about["tocilizumab_crs_2"])
    crs_1 = (course.crs.grade == 1) & (draws.uniform("toci") < about["tocilizumab_crs_1"])
    toci_h = np.where(crs_2 | crs_1, course.crs.peak_d * HOURS_PER_DAY + delay, np.inf)
    if course.tocilizumab_h is not None:  # given in the simulation, which went on accordingly
        toci_h = course.tocilizumab_h
    end_h = np.nan_to_num(where.death_d * HOURS_PER_DAY, nan=np.inf)
    toci_h = np.where(toci_h < end_h, toci_h, np.inf)
    given = np.isfinite(toci_h)
    dose = np.minimum(np.round(about["tocilizumab_mg_per_kg"] * patients["weight_kg"].to_numpy()), 800.0)
    cells = pd.DataFrame({"patient_id": ids, "time_h": 0.0, "drug": "car_t", "amount": patients["dose"],
                          "unit": patients["dose_unit"], "route": "iv"})  # fmt: skip
    toci = pd.DataFrame({"patient_id": ids[given], "time_h": toci_h[given], "duration_h": 1.0, "drug": "tocilizumab",
                         "amount": dose[given], "unit": "mg", "route": "iv"})  # fmt: skip
    dexa = _course_of(ids, course, days, delay, end_h, draws.uniform("dexa") < about["dexamethasone_icans_2"], 2,
                      about["dexamethasone_every_h"])  # fmt: skip
    last_line = draws.uniform("anakinra") < about["anakinra_icans_4"]
    if course.dexamethasone_h is not None:
        grid = about["simulated_every_h"] * np.arange(about["simulated_doses"])
        time = course.dexamethasone_h[:, None] + grid[None, :]
        dexa, last_line = (
            rows(ids, time < np.minimum(end_h, 30 * HOURS_PER_DAY)[:, None], time_h=time),
            last_line & False,
        )
    anakinra = _course_of(ids, course, days, delay, end_h, last_line, 4, HOURS_PER_DAY)
    parts = [cells, toci, dexa.assign(drug="dexamethasone", amount=about["dexamethasone_mg"], unit="mg", route="iv"),
             anakinra.assign(drug="anakinra", amount=about["anakinra_mg"], unit="mg", route="sc")]  # fmt: skip
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return table.assign(available_h=table["time_h"]), toci_h


def _course_of(
    ids: np.ndarray, course: Course, days: np.ndarray, delay: np.ndarray, end_h: np.ndarray,
    chosen: np.ndarray, from_grade: int, every_h: float,
) -> pd.DataFrame:  # fmt: skip
    """Repeated doses from the first time the severity reaches a grade until it falls below grade 2 (or 4)."""
    grid = np.arange(0.0, (days[-1] + 1) * HOURS_PER_DAY, every_h)
    time = grid[None, :] + delay[:, None]
    before = np.broadcast_to(grid[None, :], time.shape)
    due = (np.round(course.icans.severity(before / HOURS_PER_DAY)) >= from_grade) & chosen[:, None]
    return rows(ids, due & (time < end_h[:, None]), time_h=time)


def events(ids: np.ndarray, where: Stay, days: np.ndarray) -> pd.DataFrame:
    """First discharge, death, and last seen for everybody alive at the end of follow-up."""
    home, dead = np.isfinite(where.discharge_d), np.isfinite(where.death_d)
    last = np.full(len(ids), (days[-1] + 1) * HOURS_PER_DAY)
    parts = [
        pd.DataFrame(
            {"patient_id": ids[home], "time_h": where.discharge_d[home] * HOURS_PER_DAY, "event": "discharge"}
        ),
        pd.DataFrame({"patient_id": ids[dead], "time_h": where.death_d[dead] * HOURS_PER_DAY, "event": "death"}),
        pd.DataFrame({"patient_id": ids[~dead], "time_h": last[~dead], "event": "last_seen"}),
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(available_h=table["time_h"])
