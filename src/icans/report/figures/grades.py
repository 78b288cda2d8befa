"""Toxicity grades over days: shares of the cohort, and every patient as one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.atlas import MIN_PATIENTS
from icans.report.figures import base
from icans.report.outcomes import grade_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows of the patient grid drawn at most; more would be thinner than a pixel.
ROW_LIMIT = 400


@base.figure
def fig_grade_shares(daily: pd.DataFrame, toxicity: str, first_day: int = 0, last_day: int = 30) -> Figure:
    """Stacked shares of each grade by day, with the number of patients graded above each bar.

    Parameters
    ----------
    daily
        Columns patient_id, day, grade: one row for each patient and day with a grade.
    toxicity
        For the title.
    first_day, last_day
        Days drawn.
    """
    shares = grade_shares(daily, first_day, last_day)
    fig = base.new(9.6, 3.1)
    ax = fig.subplots()
    floor = np.zeros(len(shares))
    for grade in range(5, -1, -1):
        height = shares[grade].fillna(0).to_numpy()
        if height.any():
            ax.bar(
                shares["day"], height, bottom=floor, width=0.88, color=style.GRADES[grade], label=f"grade {grade}",
                edgecolor="#9aa4ae", linewidth=0.3,
            )  # fmt: skip
        floor += height
    few = shares.loc[(shares["n"] > 0) & (shares["n"] < MIN_PATIENTS), "day"]
    ax.bar(few, 1, width=0.88, color=style.PAPER, alpha=0.65, lw=0)
    ax.bar(few, 1, width=0.88, facecolor="none", edgecolor="#b9c2cb", hatch="////", lw=0)
    for day, n in zip(shares["day"], shares["n"], strict=True):
        ax.text(day, 1.02, f"{n}", ha="center", va="bottom", fontsize=6.5, color=style.SOFT)
    ax.annotate("n graded", (first_day - 0.7, 1.02), ha="right", va="bottom", fontsize=6.5, color=style.SOFT)
    ax.set(xlim=(first_day - 0.7, last_day + 0.7), ylim=(0, 1), xlabel="Day since infusion")
    ax.set_ylabel("Share of those graded")
    ax.set_title(f"{toxicity}: grade by day", pad=16)
    base.percent_ticks(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, handlelength=1, handleheight=1)
    return fig


@base.figure
def fig_grade_rows(
    daily: pd.DataFrame, toxicity: str, patients: list[str], first_day: int = 0, last_day: int = 30
) -> Figure:
    """Every patient as a row of coloured days, the worst and earliest on top; days without a grade stay grey.

    Parameters
    ----------
    daily
        Columns patient_id, day, grade.
    patients
        All patients of the cohort; those without a grade are at the bottom.
    """
    grid = daily.pivot(index="patient_id", columns="day", values="grade")
    grid = grid.reindex(index=patients, columns=range(first_day, last_day + 1))
    grid = grid.loc[_order(grid)].iloc[:ROW_LIMIT]
    fig = base.new(9.6, min(7.0, 1.3 + 0.055 * len(grid)))
    ax = fig.subplots()
    _draw_rows(ax, grid, first_day, last_day)
    ax.set_title(f"{toxicity}: {len(grid)} of {len(patients)} patients, one row each")
    ax.set_xlabel("Day since infusion")
    ax.set_ylabel("Patients, worst grade first")
    _legend(ax, np.unique(np.ceil(grid.to_numpy()[~np.isnan(grid.to_numpy())])))
    return fig


def _order(grid: pd.DataFrame) -> list[str]:
    """Worst grade first, then earliest day of a grade of 1 or more, then longest graded."""
    worst = grid.max(axis=1).fillna(-1)
    reached = (grid >= 1).to_numpy()
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), grid.shape[1])
    graded = grid.notna().sum(axis=1)
    frame = pd.DataFrame({"worst": -worst, "first": first, "graded": -graded}, index=grid.index)
    return frame.sort_values(["worst", "first", "graded"], kind="stable").index.tolist()


def _draw_rows(ax: Axes, grid: pd.DataFrame, first_day: int, last_day: int) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    chart = ListedColormap(list(style.GRADES)).with_extremes(bad=style.NOT_GRADED)
    ax.imshow(
        np.ma.masked_invalid(np.ceil(grid.to_numpy(dtype=float))), aspect="auto", interpolation="none", cmap=chart,
        norm=BoundaryNorm(np.arange(-0.5, 6), 6), extent=(first_day - 0.5, last_day + 0.5, len(grid), 0),
    )  # fmt: skip
    ax.set_yticks([])
    ax.tick_params(length=0)


def _legend(ax: Axes, grades: np.ndarray) -> None:
    from matplotlib.patches import Patch

    entries = [
        Patch(facecolor=style.GRADES[int(g)], label=f"grade {int(g)}", edgecolor="#9aa4ae", lw=0.3) for g in grades
    ]
    entries.append(Patch(facecolor=style.NOT_GRADED, label="not graded", edgecolor="#9aa4ae", lw=0.3))
    ax.legend(handles=entries[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1, handleheight=1)


@base.figure
def fig_crosswalk(counts: pd.DataFrame, scheme_a: str, scheme_b: str) -> Figure:
    """Grades of the same patient-days under two schemes: a count in every cell.

    Parameters
    ----------
    counts
        Columns grade_a, grade_b, n.
    """
    values = sorted({*counts["grade_a"], *counts["grade_b"]})
    grid = counts.pivot_table(index="grade_a", columns="grade_b", values="n", aggfunc="sum", fill_value=0)
    grid = grid.reindex(index=values, columns=values, fill_value=0)
    share = grid.div(grid.sum(axis=1).where(grid.sum(axis=1) > 0), axis=0)
    fig = base.new(1.2 + 0.5 * len(values), 1.1 + 0.42 * len(values))
    ax = fig.subplots()
    ax.imshow(np.ma.masked_invalid(share.to_numpy(dtype=float)), cmap=style.sequential(), vmin=0, vmax=1, aspect="auto")
    for i in range(len(values)):
        for j in range(len(values)):
            n = int(grid.iat[i, j])
            if n:
                ink = style.readable_on(style.sequential()(share.iat[i, j]))
                ax.text(j, i, f"{n:,}", ha="center", va="center", fontsize=7.5, color=ink)
    ax.set_xticks(range(len(values)), [f"{v:g}" for v in values])
    ax.set_yticks(range(len(values)), [f"{v:g}" for v in values])
    ax.set_xlabel(f"Grade under {scheme_b}")
    ax.set_ylabel(f"Grade under {scheme_a}")
    base.bare(ax)
    return fig
