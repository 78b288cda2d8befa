"""What happens to the synthetic patients: who gets CRS and ICANS, how severe, when, and the inflammation behind it.

Two implementations of :class:`CourseModel`, either of which can take the other's place without a change to what is
observed of the patients: :func:`icans.datasets.demo_simulated.simulated_course` takes courses of the patient model
(the default); :func:`published_course` imitates published incidences and times through thresholds on correlated
liabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import ndtri

from icans.datasets.demo_draws import Draws

#: Numbers that the course of a patient takes from the stream.
LAYOUT = {
    "crs_own": 1, "icans_own": 1, "crs_onset": 1, "lag": 1, "crs_duration": 1, "icans_duration": 1,
    "crs_rise": 1, "icans_rise": 1, "course_own": 1,
}  # fmt: skip
#: Lowest severity that is still a grade: an episode ends when it falls below.
END_SEVERITY = 0.5
#: Shortest onset, days.
FIRST_ONSET_D = 0.2


@dataclass(frozen=True)
class Episode:
    """One toxicity of every patient: highest grade (0: none), onset, peak and end in days. Shape (n,) each."""

    grade: np.ndarray
    onset_d: np.ndarray
    peak_d: np.ndarray
    end_d: np.ndarray

    def severity(self, time_d: np.ndarray) -> np.ndarray:
        """Severity at times of shape (n, k): rises from 1 to the highest grade, falls until the end, else 0."""
        onset, peak, end = (v[:, None] for v in (self.onset_d, self.peak_d, self.end_d))
        top = self.grade[:, None].astype(float)
        up = 1.0 + (top - 1.0) * (time_d - onset) / np.maximum(peak - onset, 1e-9)
        down = top + (END_SEVERITY - top) * (time_d - peak) / np.maximum(end - peak, 1e-9)
        inside = (time_d >= onset) & (time_d < end) & (top > 0)
        return np.where(inside, np.where(time_d < peak, up, down), 0.0)

    def daily_grade(self, days: np.ndarray) -> np.ndarray:
        """Worst grade of each day, shape (n, days): whole grades, at least 1 while the episode lasts."""
        start = np.broadcast_to(days.astype(float), (len(self.grade), len(days)))
        end = start + 1.0
        corners = [np.clip(v[:, None], start, end - 1e-9) for v in (self.onset_d, self.peak_d)]
        worst = np.max([self.severity(t) for t in (start, end - 1e-9, *corners)], axis=0)
        return np.where(worst > 0, np.maximum(np.round(worst), 1.0), 0.0)


@dataclass(frozen=True)
class Course:
    """The hidden course of every patient: two episodes, the inflammatory drive by day, and the liabilities.

    A simulated course has ``levels`` (analyte -> (n, T) at ``level_d`` days) in place of the drive, and the hours at
    which tocilizumab and dexamethasone were begun in the simulation (inf: never).
    """

    crs: Episode
    icans: Episode
    drive: np.ndarray
    crs_liability: np.ndarray
    icans_liability: np.ndarray
    levels: Mapping[str, np.ndarray] = field(default_factory=dict)
    level_d: np.ndarray | None = None
    tocilizumab_h: np.ndarray | None = None
    dexamethasone_h: np.ndarray | None = None

    def ln_level(self, analyte: str, time_d: np.ndarray) -> np.ndarray:
        """Natural logarithm of a simulated level at times of shape (n, k): straight between samples, level before."""
        assert self.level_d is not None
        step = self.level_d[1] - self.level_d[0]
        place = np.clip(time_d / step, 0.0, len(self.level_d) - 1.000001)
        low = place.astype(int)
        ln = np.log(self.levels[analyte])
        row = np.arange(len(ln))[:, None]
        return np.asarray(ln[row, low] + (place - low) * (ln[row, low + 1] - ln[row, low]))


class CourseModel(Protocol):
    """Anything that gives a :class:`Course` for patients with the columns of ``demo_patients.draw_patients``."""

    def __call__(self, patients: pd.DataFrame, days: np.ndarray, draws: Draws, numbers: dict[str, Any]) -> Course:
        """The course of each row of ``patients`` on the given days."""
        ...


def published_course(patients: pd.DataFrame, days: np.ndarray, draws: Draws, numbers: dict[str, Any]) -> Course:
    """Incidence, severity and times as published for each product (``demo.toml``)."""
    products = pd.DataFrame(numbers["product"]).T
    mine = products.loc[patients["product"]].reset_index(drop=True)
    timing = numbers["timing"]
    risk = {
        name: _liability(patients, numbers["liability"][name], draws.normal(f"{name}_own")) for name in ("crs", "icans")
    }
    crs_grade = _grades(risk["crs"], mine, "crs", numbers["grades"])
    icans_grade = _grades(risk["icans"], mine, "icans", numbers["grades"])
    crs_median = mine["crs_onset"].to_numpy(float) + 0.5
    lag_median = (mine["icans_onset"] - mine["crs_onset"]).to_numpy(float)
    crs_onset = np.maximum(crs_median * np.exp(timing["onset_sd_ln"] * draws.normal("crs_onset")), FIRST_ONSET_D)
    icans_onset = crs_onset + lag_median * np.exp(timing["lag_sd_ln"] * draws.normal("lag"))
    crs = _episode(crs_grade, crs_onset, mine["crs_duration"], "crs", draws, timing)
    icans = _episode(icans_grade, icans_onset, mine["icans_duration"], "icans", draws, timing)
    drive = _drive(days, crs_onset, risk["crs"], numbers["drive"])
    return Course(crs, icans, drive, risk["crs"], risk["icans"])


def _liability(patients: pd.DataFrame, weights: dict[str, float], own: np.ndarray) -> np.ndarray:
    known = sum(weight * patients[f"z_{name}"].to_numpy() for name, weight in weights.items())
    return np.asarray(known + np.sqrt(1.0 - sum(w**2 for w in weights.values())) * own)


def _grades(liability: np.ndarray, mine: pd.DataFrame, name: str, shares: dict[str, Any]) -> np.ndarray:
    """Grades 0-4 by thresholds on a standard normal liability, so that each product has its published shares."""
    some, severe = mine[f"{name}_any"].to_numpy(float), mine[f"{name}_severe"].to_numpy(float)
    at_least = (
        some,
        some - shares[f"{name}_1_of_mild"] * (some - severe),
        severe,
        severe * shares[f"{name}_4_of_severe"],
    )
    return np.sum([liability > ndtri(1.0 - share) for share in at_least], axis=0).astype(int)


def _episode(
    grade: np.ndarray, onset: np.ndarray, median: pd.Series, name: str, draws: Draws, timing: dict[str, Any]
) -> Episode:
    low, high = timing[f"{name}_rise_d"]
    duration = median.to_numpy(float) * np.exp(timing["duration_sd_ln"] * draws.normal(f"{name}_duration"))
    rise = np.minimum(low + (high - low) * draws.uniform(f"{name}_rise"), 0.5 * duration)
    return Episode(grade, onset, onset + rise, onset + duration)


def _drive(days: np.ndarray, onset: np.ndarray, liability: np.ndarray, shape: dict[str, float]) -> np.ndarray:
    """Inflammatory drive at noon of each day: a bump around the onset of CRS, saturating in its height."""
    time = np.maximum(days[None, :] + 0.5 + shape["lead_d"], 1e-3)
    peak = (onset + shape["peak_after_onset_d"])[:, None]
    bump = np.exp(-0.5 * (np.log(time / peak) / shape["width_ln"]) ** 2) * (days[None, :] >= 0)
    height = np.exp(shape["amplitude_ln"] * liability)[:, None]
    raw = height * bump
    return raw * (1.0 + 1.0 / shape["half_saturation"]) / (1.0 + raw / shape["half_saturation"])
