"""Early and late ICAHT (neutrophils) and T-ICAHT (platelets) from daily series.

Rules in ``rules.toml`` (sections ``cytopenia.*``): days at or below a level, cumulated over the window; a
recovery shorter than three days counts as still low. Days without a result count as low between two low
results and not otherwise, so that the grade is never too high; it is marked a lower bound when they could matter.

The series is cut at progression, next therapy, transplant or death. Grade 4 of early ICAHT for "never above
500/uL" needs a series followed to the end of the window or to death; counts of the first days, which
lymphodepletion may not have lowered yet, are let pass (``onset_day``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.harmonize.grading.findings import Grade
from icans.harmonize.grading.rules import rules

RULES = ("ICAHT_early", "ICAHT_late", "T-ICAHT_early", "T-ICAHT_late")
#: Events after which blood counts are no longer judged (T-ICAHT table, ASH 12809257).
CENSORING_EVENTS = ("death", "relapse", "next_therapy", "transplant")


@dataclass(frozen=True)
class Series:
    """Lowest count of each day with a result, 10*9/L. ``end_day``: last day at risk (None: not censored)."""

    day: npt.NDArray[np.int64]
    count: npt.NDArray[np.float64]
    end_day: float | None = None
    died: bool = False


def grade_cytopenia(series: Series, rule_name: str) -> Grade:
    """Grade under one of :data:`RULES`.

    No result in the window gives None. The grade is a lower bound when days at risk in the window are unknown
    and more low days could raise it.
    """
    rule = rules()["cytopenia"][rule_name]
    toxicity = "T-ICAHT" if rule_name.startswith("T-") else "ICAHT"
    first, last = int(rule["from_day"]), int(rule["to_day"])
    at_risk = last if series.end_day is None else int(min(last, np.floor(series.end_day)))
    inside = (series.day >= first) & (series.day <= at_risk) & np.isfinite(series.count)
    days, counts = series.day[inside], series.count[inside]
    flags = frozenset({"censored"}) if at_risk < last else frozenset()
    if len(days) < int(rule.get("min_results", 1)):
        return Grade(rule_name, toxicity, None, True, notes=("too few results in the window",), flags=flags)
    grade, deciding = _by_duration(days, counts, rule)
    whole = days.max() > last - int(rule["gap_days"]) or (series.died and at_risk < last)
    never = rule.get("never_above")
    if never and whole and not (counts[days >= never["onset_day"]] > never["level"]).any() and grade > 0:
        grade, deciding = max(grade, float(never["grade"])), f"never above {never['level']:g}"
    top = max(float(step["grade"]) for step in rule["duration"])
    unseen = at_risk - first + 1 - len(np.unique(days)) > 0
    lower_bound = grade < top and (unseen or at_risk < last)
    return Grade(rule_name, toxicity, grade, lower_bound, (deciding,) if grade else (), flags=flags, adjusted=grade)


def _by_duration(
    days: npt.NDArray[np.int64], counts: npt.NDArray[np.float64], rule: dict[str, Any]
) -> tuple[float, str]:
    grade, deciding = 0.0, ""
    for step in rule["duration"]:
        length = low_days(days, counts, step["level"], inclusive=rule["inclusive"], gap_days=rule["gap_days"])
        if length >= step["days"] and step["grade"] > grade:
            grade, deciding = float(step["grade"]), f"{length} days at {step['level']:g} or less"
    return grade, deciding


def low_days(
    days: npt.NDArray[np.int64],
    counts: npt.NDArray[np.float64],
    level: float,
    *,
    inclusive: bool = True,
    gap_days: int = 3,
) -> int:
    """Cumulative days at or below (``inclusive``) or below a level.

    Days without a result count as low between two low results; a recovery of fewer than ``gap_days`` days
    between two low results counts as low, too.
    """
    order = np.argsort(days, kind="stable")
    days, counts = days[order], counts[order]
    low = counts <= level if inclusive else counts < level
    if not low.any():
        return 0
    first_days = days[low]
    total = 1
    for before, after in pairwise(first_days.tolist()):
        between = days[(days > before) & (days < after)]
        recovered = after - before - 1 if not len(between) else int(after - between.min())
        joined = not len(between) or recovered < gap_days
        total += int(after - before) if joined else 1
    return total
