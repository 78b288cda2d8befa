"""The same draws with and without a therapy: paired courses, paired outcomes, and when it is too late.

Both arms have the same care and the same past; the therapy begins at or after the landmark. What differs is the
therapy's doing in the model, with the uncertainty that what is known of the patient leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.intervene.compare.arm import RTOL, TIMES_H, Course, run_course
from icans.intervene.compare.results import outcome_table
from icans.intervene.compare.running import outputs_of
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.whatif.draws import Draws
from icans.population import artefact

Array = npt.NDArray[np.float64]

#: Courses that are kept and shown, beside those that outcomes need.
SHOWN = ("IL6", "FERRITIN", "CRP")
#: Outcomes that are told: column, label, whether less is better (None: neither).
OUTCOMES: tuple[tuple[str, str, bool | None], ...] = (
    ("icans_3", "P(ICANS of grade 3 or more)", True), ("icans_2", "P(ICANS of grade 2 or more)", True),
    ("days_icans_ge2", "Days with ICANS of grade 2 or more", True), ("crs_3", "P(CRS of grade 3 or more)", True),
    ("days_crs_ge2", "Days with CRS of grade 2 or more", True), ("iechs", "P(IEC-HS)", True),
    ("seizure", "P(seizure)", True), ("icu_days", "Days in intensive care", True),
    ("death_probability", "P(death from toxicity or infection)", True),
    ("car_auc_0_28", "CAR T cells, AUC days 0 to 28", False),
    ("tumour_log10_reduction", "Tumour, log10 reduction", False),
    ("response_probability", "P(complete response)", False), ("bcell_aplasia_days", "Days with B-cell aplasia", None),
    ("infection_days", "Days with infection", True), ("neutropenia_days", "Days with neutropenia", True),
    ("steroid_mg_dex_equivalent", "Steroid, mg of dexamethasone", True),
)  # fmt: skip
#: Outcomes that a draw has or has not.
FLAGS = ("icans_3", "icans_2", "crs_3", "iechs", "seizure")
#: Hours after the landmark at which the therapy is tried.
STARTS_H = (0.0, 12.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0, 240.0)
#: Share of the benefit at once below which a start counts as too late.
MATTERS = 0.5


@dataclass(frozen=True)
class WhatIf:
    """With and without a therapy, draw by draw.

    ``without``, ``with_``: courses; ``outcomes``: a row a draw and arm; ``effects``: see :func:`effects`; ``window``:
    see :func:`start_window`, empty where it was not asked for.
    """

    draws: Draws
    therapy: Strategy
    care: Strategy
    start_h: float
    without: Course
    with_: Course
    outcomes: pd.DataFrame
    effects: pd.DataFrame
    window: pd.DataFrame

    @property
    def hypothetical(self) -> bool:
        """Whether nobody has been treated so."""
        return self.therapy.hypothetical


def therapy_from(strategy: Strategy, care: Strategy, start_h: float) -> Strategy:
    """Care, with what a strategy adds to it beginning at ``start_h``.

    Planned doses move so that the first is given then; rules are in force from then on.

    Raises
    ------
    ModelError
        The strategy adds nothing to the care, or splits the cells, which have been given.
    """
    rules = tuple(r for r in strategy.rules if r not in care.rules and r not in _grades_of_guideline())
    doses = tuple(d for d in strategy.doses if d not in care.doses)
    problems = []
    if strategy.cells:
        problems.append(Problem("what-if", None, strategy.name, None, "a therapy after the infusion",
                                "The cells have been given; compare the split with `icans strategies`."))  # fmt: skip
    if not rules and not doses:
        problems.append(Problem("what-if", None, strategy.name, None, "a strategy that adds to the care",
                                "Both arms would be alike; name a therapy."))  # fmt: skip
    if problems:
        raise ModelError(problems)
    first = min((d.time_h for d in doses), default=0.0)
    moved = tuple(replace(d, time_h=d.time_h - first + start_h) for d in doses)
    later = tuple(replace(r, from_h=max(r.from_h, start_h)) for r in rules)
    return Strategy(f"{care.name} + {strategy.name}", strategy.label, (*care.doses, *moved), (*care.rules, *later),
                    hypothetical=strategy.hypothetical, evidence=strategy.evidence, source=strategy.source,
                    status=strategy.status, needs=strategy.needs)  # fmt: skip


def _grades_of_guideline() -> tuple[object, ...]:
    """Rules of the guideline, which strategies of the library stand on: the care is told apart from the therapy."""
    from icans.intervene.strategy.reading import strategy

    return strategy("guideline").rules


def what_if(
    draws: Draws, strategy: Strategy, care: Strategy, *, start_h: float | None = None, seed: int = 1,
    starts_h: Sequence[float] = STARTS_H, rtol: float = RTOL,
) -> WhatIf:  # fmt: skip
    """Simulate every draw with and without the therapy.

    Parameters
    ----------
    strategy
        What it adds to ``care`` is the therapy.
    start_h
        Hours since the infusion, the landmark if None.
    starts_h
        Hours after the landmark at which the start is tried for the window; none if empty.

    Raises
    ------
    ModelError
        A start before the landmark; a strategy that adds nothing.
    """
    start = draws.landmark_h if start_h is None else float(start_h)
    if start < draws.landmark_h or not math.isfinite(start):
        raise ModelError([Problem("what-if", None, "start_h", f"{start:g}", f"hours from {draws.landmark_h:g} on",
                                  "What lies before the landmark has happened; begin then or later.")])  # fmt: skip
    therapy = therapy_from(strategy, care, start)
    without, with_ = _run(draws, care, rtol), _run(draws, therapy, rtol)
    readings = artefact.read().readings
    tables = [outcome_table(c, draws.patients, readings, seed).assign(arm=arm)
              for c, arm in ((without, "without"), (with_, "with"))]  # fmt: skip
    told = _flags(pd.concat(tables, ignore_index=True))
    window = _window(draws, strategy, care, told, seed, starts_h, rtol) if len(starts_h) else pd.DataFrame()
    return WhatIf(draws, therapy, care, start, without, with_, told, effects(told, draws.ess), window)


def _run(draws: Draws, strategy: Strategy, rtol: float) -> Course:
    outputs = (*outputs_of(strategy), *SHOWN)
    return run_course(strategy, draws.patients, artefact.read().readings, outputs, rtol=rtol)


def _flags(table: pd.DataFrame) -> pd.DataFrame:
    """Grades as yes or no beside the outcome vector."""
    return table.assign(
        icans_2=(table["max_icans_grade"] >= 2).astype(float), icans_3=(table["max_icans_grade"] >= 3).astype(float),
        crs_3=(table["max_crs_grade"] >= 3).astype(float),
    )  # fmt: skip


def effects(outcomes: pd.DataFrame, effective: float = math.inf) -> pd.DataFrame:
    """Difference that the therapy makes, outcome by outcome.

    Parameters
    ----------
    effective
        Effective number of members behind the draws: they tell no more than so many.

    Returns
    -------
    Columns outcome, label, without, with, difference (means over draws), low, high (95 % interval of the mean
    difference as far as the effective draws go), q05, q95 (where 90 % of the draws' differences lie), better (share of
    draws in which it is better; NaN where neither way is), draws.
    """
    a = outcomes[outcomes["arm"] == "without"].sort_values("patient")
    b = outcomes[outcomes["arm"] == "with"].sort_values("patient")
    good = a["ok"].to_numpy() & b["ok"].to_numpy()
    rows = []
    for name, label, less in OUTCOMES:
        x, y = (t[name].to_numpy(dtype=float)[good] for t in (a, b))
        d = y - x
        count = min(len(d), effective)
        half = 1.959964 * float(d.std(ddof=1)) / math.sqrt(count)
        if name in FLAGS and not d.any():  # none of the draws differs: at most 3/n do (rule of three)
            half = 3.0 / count
        better = math.nan if less is None else float(((d < 0) if less else (d > 0)).mean())
        q05, q95 = np.quantile(d, (0.05, 0.95))
        rows.append((name, label, float(x.mean()), float(y.mean()), float(d.mean()), float(d.mean()) - half,
                     float(d.mean()) + half, float(q05), float(q95), better, len(d)))  # fmt: skip
    columns = ["outcome", "label", "without", "with", "difference", "low", "high", "q05", "q95", "better", "draws"]
    return pd.DataFrame(rows, columns=columns)


def _window(
    draws: Draws, strategy: Strategy, care: Strategy, told: pd.DataFrame, seed: int, starts_h: Sequence[float],
    rtol: float,
) -> pd.DataFrame:  # fmt: skip
    readings = artefact.read().readings
    without = told[told["arm"] == "without"]
    rows = []
    for after in starts_h:
        start = draws.landmark_h + float(after)
        if start >= TIMES_H[-1]:
            continue
        course = _run(draws, therapy_from(strategy, care, start), rtol)
        table = _flags(outcome_table(course, draws.patients, readings, seed).assign(arm="with"))
        found = effects(pd.concat([without, table], ignore_index=True), draws.ess).set_index("outcome")
        for name in ("icans_3", "days_icans_ge2", "icu_days"):
            three = [float(found.loc[name, c]) for c in ("difference", "low", "high")]
            rows.append((float(after), start, name, *three))
    return pd.DataFrame(rows, columns=["after_h", "start_h", "outcome", "difference", "low", "high"])


def last_useful_h(window: pd.DataFrame, outcome: str = "days_icans_ge2") -> float | None:
    """Latest start tried whose benefit is at least half of the largest and whose interval excludes none; None: none.

    Hours after the landmark. Every start up to it must do so, too.
    """
    mine = window[window["outcome"] == outcome].sort_values("after_h")
    if mine.empty or not (mine["high"] < 0).any():
        return None
    best = float(mine["difference"].min())
    useful = (mine["difference"] <= MATTERS * best) & (mine["high"] < 0)
    if not useful.iloc[0]:
        first = int(np.argmax(useful.to_numpy()))
        useful, mine = useful.iloc[first:], mine.iloc[first:]
    run = int(np.argmin(np.append(useful.to_numpy(), False)))
    return float(mine["after_h"].iloc[run - 1]) if run else None


def bands(course: Course, name: str, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
    """Quantiles of a course over draws, shape (levels, T)."""
    values = np.asarray(course.series[name], dtype=float)[course.ok]
    return np.asarray(np.quantile(values, levels, axis=0))
