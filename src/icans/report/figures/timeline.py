"""One patient over time: laboratory lanes, drugs, grades, and the forecast risk with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.cohort.vocabulary import analytes
from icans.report import format as fmt
from icans.report import style
from icans.report.figures import base
from icans.report.outcomes import daily_worst

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from icans.cohort.cohort import Cohort

#: Analytes shown first where the patient has them; others follow by number of results.
LANES = ("temperature", "crp", "ferritin", "il_6", "platelets", "wbc")
LANE_LIMIT = 5


@base.figure
def fig_timeline(
    cohort: Cohort,
    patient_id: str,
    forecasts: pd.DataFrame | None = None,
    first_day: float = -3,
    last_day: float = 30,
    lanes: Sequence[str] | None = None,
) -> Figure:
    """Lanes of one patient, all against days since infusion.

    Parameters
    ----------
    cohort
        Holds the patient.
    forecasts
        Rows of this patient and of one task, model and horizon: landmark_h, risk and, where known, low, high,
        horizon_h. A dot is a forecast; what it could not know lies right of it.
    first_day, last_day
        Days drawn; the end shrinks to the patient's last row.
    lanes
        Analytes to draw (default: :data:`LANES`, then those with most results).
    """
    last_day = _end(cohort.subset([patient_id]), first_day, last_day)
    one = _window(cohort.subset([patient_id]), first_day, last_day)
    names = list(lanes) if lanes is not None else _lanes(one)
    toxicities = [t for t in ("ICANS", "CRS") if (one.grades["toxicity"] == t).any()]
    drugs = _drugs(one)
    has_risk = forecasts is not None and len(forecasts) > 0
    heights = [1.5] * has_risk + [0.3 + 0.3 * len(toxicities)] * bool(toxicities)
    heights += [0.25 + 0.26 * len(drugs)] * bool(drugs) + [0.8] * len(names)
    if not heights:
        fig = base.new(9.2, 1.0)
        base.note(fig, "Nothing was recorded for this patient in these days.")
        return fig
    fig = base.new(9.2, 0.95 + 0.82 * sum(heights))
    axes = list(fig.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    rest = iter(axes)
    if has_risk:
        _risk_lane(next(rest), forecasts)
    if toxicities:
        _grade_lane(next(rest), one, toxicities)
    if drugs:
        _drug_lane(next(rest), one, drugs)
    for name in names:
        _lab_lane(next(rest), one, name)
    _finish(axes, forecasts if has_risk else None, first_day, last_day)
    return fig


def _end(one: Cohort, first_day: float, last_day: float) -> float:
    times = [one.measurements["time_h"], one.grades["time_h"], one.treatments["time_h"]]
    latest = max((t.max() for t in times if len(t) and t.notna().any()), default=last_day * 24)
    return float(min(last_day, max(first_day + 7, latest / 24 + 1)))


def _window(one: Cohort, first_day: float, last_day: float) -> Cohort:
    """The rows of the days that are drawn."""
    for name in ("measurements", "grades", "treatments"):
        rows = one.table(name)
        one = one.with_table(name, rows[rows["time_h"].between(first_day * 24, last_day * 24, inclusive="left")])
    return one


def _lanes(one: Cohort) -> list[str]:
    counts = one.measurements.loc[one.measurements["value"].notna(), "analyte"].value_counts()
    first = [name for name in LANES if name in counts.index]
    others = sorted((n for n in counts.index if n not in first), key=lambda n: (-counts[n], n))
    return [*first, *others][:LANE_LIMIT]


def _drugs(one: Cohort) -> list[str]:
    return [d for d in dict.fromkeys(one.treatments.sort_values("time_h")["drug"]) if d != "car_t"]


def _risk_lane(ax: Axes, forecasts: pd.DataFrame) -> None:
    rows = forecasts.sort_values("landmark_h")
    day = rows["landmark_h"] / 24
    if {"low", "high"} <= set(rows.columns):
        low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
        ax.fill_between(day, low, high, color=style.ACCENT, alpha=0.18, lw=0)
        ax.vlines(day, low, high, color=style.ACCENT, lw=1.2, alpha=0.6)
    ax.plot(day, rows["risk"], color=style.ACCENT, marker="o", ms=4.5, mec=style.PAPER, mew=0.7)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1])
    base.percent_ticks(ax.yaxis)
    ax.grid(axis="y")
    _name(ax, "Forecast risk")


def _grade_lane(ax: Axes, one: Cohort, toxicities: list[str]) -> None:
    for y, toxicity in enumerate(toxicities):
        daily = daily_worst(one, toxicity)
        shades = [style.grade_colour(grade) for grade in daily["grade"]]
        ax.barh(np.full(len(daily), y), 0.94, left=daily["day"] + 0.03, height=0.8, color=shades, ec="#9aa4ae", lw=0.3)
        for row, shade in zip(daily.itertuples(), shades, strict=True):
            ink = style.readable_on([int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            said = ax.text(row.day + 0.5, y, f"{row.grade:g}", ha="center", va="center", fontsize=6.5, color=ink)
            said.set_in_layout(False)  # it lies within its lane
    ax.set_ylim(len(toxicities) - 0.45, -0.55)
    ax.set_yticks(range(len(toxicities)), [f"{t} grade" for t in toxicities])
    base.bare(ax)


def _drug_lane(ax: Axes, one: Cohort, drugs: list[str]) -> None:
    for y, drug in enumerate(drugs):
        rows = one.treatments[one.treatments["drug"] == drug]
        start = rows["time_h"].to_numpy(dtype=float) / 24
        length = rows["duration_h"].fillna(0).to_numpy(dtype=float) / 24
        ax.barh(np.full(len(start), y), np.maximum(length, 0.15), left=start, height=0.5, color=style.WARM, lw=0)
    ax.set_ylim(len(drugs) - 0.45, -0.55)
    ax.set_yticks(range(len(drugs)), [d.replace("_", " ") for d in drugs])
    base.bare(ax)


def _lab_lane(ax: Axes, one: Cohort, name: str) -> None:
    rows = one.measurements[(one.measurements["analyte"] == name) & one.measurements["value"].notna()]
    known = analytes().get(name)
    at_limit = rows["censor"].isin(["left", "right"])
    day = rows["time_h"] / 24
    ax.plot(day, rows["value"], color=style.SOFT, lw=1)
    ax.plot(day[~at_limit], rows.loc[~at_limit, "value"], ls="none", marker="o", ms=3.2, color=style.INK)
    ax.plot(day[at_limit], rows.loc[at_limit, "value"], ls="none", marker="v", ms=4, mfc=style.PAPER, mec=style.INK)
    positive = rows["value"][rows["value"] > 0]
    if known is not None and known.log and len(positive) and positive.max() / positive.min() > 10:
        ax.set_yscale("log")
        base.plain_log_ticks(ax.yaxis)
    else:
        ax.locator_params(axis="y", nbins=3)
        base.grouped_ticks(ax.yaxis)
    unit = rows["unit"].dropna()
    label = known.label if known is not None else name
    _name(ax, f"{label}\n{fmt.unit(unit.iloc[0] if len(unit) else None)}")
    ax.grid(axis="y")


def _name(ax: Axes, text: str) -> None:
    ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6, color=style.INK, fontsize=8)


def _finish(axes: list[Axes], forecasts: pd.DataFrame | None, first_day: float, last_day: float) -> None:
    for ax in axes:
        ax.axvline(0, color=style.INK, lw=0.8, zorder=0)
        ax.set_xlim(first_day, last_day)
        ax.spines["bottom"].set_visible(ax is axes[-1])
        ax.xaxis.set_visible(ax is axes[-1])
        for landmark in () if forecasts is None else forecasts["landmark_h"].unique():
            ax.axvline(landmark / 24, color=style.ACCENT, lw=0.6, ls=(0, (2, 3)), alpha=0.7, zorder=0)
    if len(forecasts if forecasts is not None else ()) and "horizon_h" in forecasts:  # type: ignore[operator]
        axes[0].set_title(f"Risk within {fmt.horizon(forecasts['horizon_h'].iloc[0])} of each landmark", fontsize=8.5)  # type: ignore[index]
    axes[-1].set_xlabel("Day since infusion")
    axes[-1].locator_params(axis="x", integer=True, nbins=12)
    base.align_names(axes)
