"""What the laboratories of the synthetic cohort report: values, units, limits, deliveries, delays, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.vocabulary import analyte
from icans.core.times import HOURS_PER_DAY
from icans.core.units import convert
from icans.datasets.demo_care import Stay, rows
from icans.datasets.demo_course import Course
from icans.datasets.demo_draws import Draws

#: Hour of the day of the morning blood draw, and how far it strays.
DRAW_H, STRAY_H = 6.0, 1.5
#: Site that reports temperature in Fahrenheit and CRP in mg/dL without saying so.
ODD_SITE = "Site C"
ODD_UNITS = {"temperature": "[degF]", "crp": "mg/dL"}
#: Site that declares units of its own: analyte -> the unit as written.
OTHER_SITE = "Site B"
OTHER_UNITS = {"creatinine": "umol/L", "platelets": "K/uL"}


def layout(days: int, numbers: dict[str, Any]) -> dict[str, int]:
    """Numbers that the laboratories take from the stream."""
    found = {"draw_time": days, "visit": days, "temp_base": 1, "temp_noise": days, "temp_taken": days}
    for name in numbers["lab"]:
        found |= {f"{name}_base": 1, f"{name}_noise": days, f"{name}_taken": days}
    samples = len(numbers["cytokines"]["schedule_h"]) + days
    found |= {"sample_taken": samples}
    for name in numbers["cytokine"]:
        found |= {f"{name}_base": 1, f"{name}_noise": samples}
    return found


def measurements(
    patients: pd.DataFrame, course: Course, where: Stay, toci_h: np.ndarray, days: np.ndarray, draws: Draws,
    numbers: dict[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """Every result of every patient."""
    about = numbers["stay"]
    visit = np.isin(days, about["visits_d"])[None, :] & (draws.uniform("visit") < about["visit_kept"])
    baseline = np.isin(days, [numbers["cohort"]["first_day"], -1])[None, :]
    seen = (where.inside | visit | baseline) & where.alive
    time = days[None, :] * HOURS_PER_DAY + DRAW_H + STRAY_H * np.tanh(draws.normal("draw_time"))
    daily = [_lab(name, patients, course, seen, time, days, draws, numbers) for name in numbers["lab"]]
    daily.append(_temperature(patients, course, seen, time, days, draws, numbers))
    sampled = _cytokines(patients, course, where, toci_h, days, draws, numbers)
    return pd.concat([*daily, *sampled], ignore_index=True)


def _delayed(drive: np.ndarray, delay_d: float) -> np.ndarray:
    """First-order lag of the drive by day."""
    rate = 1.0 - np.exp(-1.0 / delay_d)
    result = np.zeros_like(drive)
    for day in range(1, drive.shape[1]):
        result[:, day] = result[:, day - 1] + rate * (drive[:, day] - result[:, day - 1])
    return result


def _baseline(entry: dict[str, float], own: np.ndarray, patients: pd.DataFrame) -> np.ndarray:
    ln = np.log(entry["baseline"]) + entry["baseline_sd"] * own
    ln = ln + entry.get("burden", 0.0) * patients["z_burden"].to_numpy()
    return np.asarray(ln + entry.get("inflammation", 0.0) * patients["z_inflammation"].to_numpy())


def _below(value: np.ndarray, high: float) -> np.ndarray:
    """Values bent smoothly below a bound, so that they do not pile up at it; far below it they stay as they are."""
    return np.asarray(-high * np.expm1(-value / high))


def _lab(
    name: str, patients: pd.DataFrame, course: Course, seen: np.ndarray, time: np.ndarray, days: np.ndarray,
    draws: Draws, numbers: dict[str, Any],
) -> pd.DataFrame:  # fmt: skip
    entry = numbers["lab"][name]
    simulated = name in course.levels
    if simulated:
        ln = course.ln_level(name, time / HOURS_PER_DAY)
    else:
        ln = _baseline(entry, draws.normal(f"{name}_base"), patients)[:, None]
        ln = ln + entry["drive"] * _delayed(course.drive, entry["delay_d"])
    ln = ln + entry["noise"] * draws.normal(f"{name}_noise")
    low = numbers["lymphodepletion"].get(name)
    if low and not simulated:
        ln = ln + low["depth"] * np.exp(-0.5 * ((days - low["day"]) / low["width"]) ** 2)[None, :]
    mask = seen & (draws.uniform(f"{name}_taken") < numbers["stay"]["lab_taken"])
    bounds = analyte(name)
    value = np.maximum(_below(np.exp(ln), bounds.high), bounds.low)
    return _reported(name, entry, patients, mask, time, value)


def _temperature(
    patients: pd.DataFrame, course: Course, seen: np.ndarray, time: np.ndarray, days: np.ndarray, draws: Draws,
    numbers: dict[str, Any],
) -> pd.DataFrame:  # fmt: skip
    entry = numbers["temperature"]
    if "temperature" in course.levels:
        value = _daily_most(course, days)
    else:
        grade = course.crs.daily_grade(days).astype(int)
        value = (entry["resting"] + entry["resting_sd"] * draws.normal("temp_base"))[:, None]
        value = value + np.array(entry["fever"])[grade] + entry["drive"] * course.drive
    value = np.clip(value + entry["noise"] * draws.normal("temp_noise"), 35.0, 41.5)
    mask = seen & (draws.uniform("temp_taken") < numbers["stay"]["lab_taken"])
    start = np.broadcast_to(days[None, :] * HOURS_PER_DAY, time.shape)
    known = {"unit": "Cel", "digits": 1, "latency_h": HOURS_PER_DAY}
    return _reported("temperature", known, patients, mask, start, value).assign(method="daily maximum")


def _daily_most(course: Course, days: np.ndarray) -> np.ndarray:
    """Highest simulated temperature of each day, of four readings."""
    shape = (len(course.crs.grade), len(days))
    readings = [course.ln_level("temperature", np.broadcast_to(days + part, shape)) for part in (0.0, 0.25, 0.5, 0.75)]
    return np.asarray(np.exp(np.max(readings, axis=0)))


def _reported(
    name: str, entry: dict[str, Any], patients: pd.DataFrame, mask: np.ndarray, time: np.ndarray, value: np.ndarray
) -> pd.DataFrame:
    """Rows in the units of each site, rounded as reported, available after the assay's latency."""
    site = np.broadcast_to(patients["site"].to_numpy()[:, None], mask.shape)
    table = rows(patients["patient_id"].to_numpy(), mask, time_h=time, value=value, site=site)
    unit = pd.Series(entry["unit"], index=table.index, dtype=object)
    for where, units in ((ODD_SITE, ODD_UNITS), (OTHER_SITE, OTHER_UNITS)):
        mine = table["site"] == where
        if name in units and mine.any():
            mass = analyte(name).molar_mass
            moved = convert(table.loc[mine, "value"], entry["unit"], units[name], molar_mass_g_mol=mass)
            table.loc[mine, "value"] = moved
            unit[mine] = np.nan if where == ODD_SITE else units[name]
    rounded = table["value"].round(int(entry["digits"]))
    return table.drop(columns="site").assign(
        batch=table["site"] + " laboratory",
        analyte=name, matrix=analyte(name).matrix, unit=unit, value=rounded,
        available_h=table["time_h"] + entry["latency_h"],
    )  # fmt: skip


def _cytokines(
    patients: pd.DataFrame, course: Course, where: Stay, toci_h: np.ndarray, days: np.ndarray, draws: Draws,
    numbers: dict[str, Any],
) -> list[pd.DataFrame]:  # fmt: skip
    about = numbers["cytokines"]
    schedule = np.array(about["schedule_h"])
    extra = days * HOURS_PER_DAY + 2 * DRAW_H
    time = np.broadcast_to(np.concatenate([schedule, extra])[None, :], (len(patients), len(schedule) + len(days)))
    chance = draws.uniform("sample_taken")
    during = (course.crs.daily_grade(days) > 0) & where.inside
    mask = np.concatenate(
        [chance[:, : len(schedule)] < about["taken"], during & (chance[:, len(schedule) :] < about["on_crs_day"])],
        axis=1,
    )
    mask &= time < np.nan_to_num(where.death_d * HOURS_PER_DAY, nan=np.inf)[:, None]
    place = np.clip(np.floor(time[0] / HOURS_PER_DAY).astype(int) - days[0], 0, len(days) - 1)
    drive = course.drive[:, place]
    after = (time > toci_h[:, None]) & (time < toci_h[:, None] + 7 * HOURS_PER_DAY)
    site = patients["site"].to_numpy()
    limit = np.array([about["lower_limit"].get(s, 2.0) for s in site])
    factor = np.array(about["delivery_factor"])[patients["delivery"].to_numpy()]
    batch = np.array([f"{s} delivery {d + 1}" for s, d in zip(site, patients["delivery"])])
    parts = []
    for name, entry in numbers["cytokine"].items():
        simulated = name in course.levels
        if simulated:
            ln = course.ln_level(name, time / HOURS_PER_DAY)
        else:
            ln = _baseline(entry, draws.normal(f"{name}_base"), patients)[:, None] + entry["drive"] * drive
            ln = ln + entry["icans"] * course.icans_liability[:, None] * np.minimum(drive, 1.0)
        ln = ln + entry["noise"] * draws.normal(f"{name}_noise") + np.log(factor)[:, None]
        if name == "il_6" and not simulated:
            ln = ln + about["tocilizumab_il_6"] * after
        value = _below(np.exp(ln), analyte(name).high)
        table = rows(patients["patient_id"].to_numpy(), mask, time_h=time, value=value, limit=limit[:, None],
                     batch=batch[:, None])  # fmt: skip
        below = (table["value"] < table["limit"]) if name == "il_6" else pd.Series(False, index=table.index)
        parts.append(
            table.assign(
                analyte=name,
                matrix=analyte(name).matrix,
                unit="pg/mL",
                assay="multiplex",
                available_h=table["time_h"] + entry["latency_h"],
                value=table["value"].where(~below, table["limit"]).round(2),
                censor=np.where(below, "left", "none"),
                limit=table["limit"].where(below),
            )
        )
    return parts
