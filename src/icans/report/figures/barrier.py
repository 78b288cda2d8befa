"""The blood-brain barrier: integrity by region over days, and the probability that it is open."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import quantities as words
from icans.report import style
from icans.report.figures import base, brain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

#: Days of which the map shows a brain.
DAYS = (0, 2, 4, 6, 8, 10, 14, 21)
#: The colour scale ends at the lowest integrity shown, but never above this: small changes must look small.
LEAST_SPAN = 0.5


def _floor(values: pd.Series) -> float:
    lowest = float(values.min()) if len(values) else 1.0
    return min(1 - LEAST_SPAN, np.floor(lowest * 10) / 10) if np.isfinite(lowest) else 1 - LEAST_SPAN


@base.figure
def fig_barrier_map(
    regional: pd.DataFrame, arms: Sequence[str], days: Sequence[int] = DAYS, hypothetical: Sequence[str] = ()
) -> Figure:
    """Brains in the colour of each region's integrity: one row of days, or one row for each arm.

    Parameters
    ----------
    regional
        Rows per arm, region and time_h with ``value``, the integrity (median over patients), 1 intact.
    arms
        Rows of the map, in order. With one arm, its days are laid out in two rows.
    days
        Days since infusion; those beyond the simulated time are left out.
    hypothetical
        Arms that give something without human data.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    last = regional["time_h"].max() / 24
    days = [d for d in days if d <= last] or [0]
    norm, cmap = Normalize(_floor(regional["value"]), 1.0), style.barrier()
    if len(arms) == 1:
        columns = -(-len(days) // 2) if len(days) > 5 else len(days)
        cells = [[(arms[0], d) for d in days[i : i + columns]] for i in range(0, len(days), columns)]
    else:
        if len(days) > 6:
            days = [d for d in days if d in (0, 4, 6, 8, 14, 21)]
        columns = len(days)
        cells = [[(arm, d) for d in days] for arm in arms]
    names = int(len(arms) > 1)  # a column for the names of the arms
    tall = 1.1 if names else 1.35
    fig = base.new(7.4, 2.5 + (tall + 0.05) * len(cells) + 0.35)
    grid = fig.add_gridspec(
        len(cells) + 1,
        columns + names,
        height_ratios=[2.3, *[tall] * len(cells)],
        width_ratios=[0.75] * names + [1] * columns,
    )
    top = grid[0, :].subgridspec(1, 2, width_ratios=[1.35, 1])
    _key(fig.add_subplot(top[0]), regional, arms, cmap, norm)
    _lines(fig.add_subplot(top[1]), regional, arms, hypothetical)
    axes = [fig.add_subplot(grid[y + 1, x + names]) for y in range(len(cells)) for x in range(columns)]
    for place, ax in enumerate(axes):
        y, x = divmod(place, columns)
        if x >= len(cells[y]):
            ax.set_axis_off()
            continue
        arm, day = cells[y][x]
        brain.draw(ax, at_day(regional, arm, day), cmap, norm, line=0.45)
        if not names or y == 0:
            ax.set_title(f"Day {day}", loc="center", fontsize=8.5, fontweight="normal")
    for y, arm in enumerate(arms if names else ()):
        ax = fig.add_subplot(grid[y + 1, 0])
        ax.set_axis_off()
        ax.text(
            0,
            0.5,
            textwrap.fill(words.arm_label(arm, hypothetical), 14),
            color=style.WARM if arm in hypothetical else style.INK,
            fontsize=8,
            fontweight="bold",
            va="center",
            ha="left",
            transform=ax.transAxes,
        )
    bar = fig.colorbar(ScalarMappable(norm, cmap), ax=axes, orientation="horizontal", shrink=0.5, aspect=38, pad=0.03)
    bar.set_label("Integrity of the barrier (1: intact)", fontsize=8)
    bar.outline.set_visible(False)
    return fig


def at_day(regional: pd.DataFrame, arm: str, day: float) -> dict[str, float]:
    """Integrity of every region at a day, between simulated times on a straight line."""
    found = {}
    for region, rows in regional[regional["arm"] == arm].groupby("region", sort=False):
        rows = rows.sort_values("time_h")
        found[str(region)] = float(np.interp(24 * day, rows["time_h"], rows["value"]))
    return found


def worst_day(regional: pd.DataFrame, arm: str) -> float:
    """Day on which the mean over regions is lowest."""
    mean = regional[regional["arm"] == arm].groupby("time_h")["value"].mean()
    return float(mean.idxmin()) / 24


def _key(ax: Axes, regional: pd.DataFrame, arms: Sequence[str], cmap: Colormap, norm: Normalize) -> None:
    day = worst_day(regional, arms[0])
    brain.draw(ax, at_day(regional, arms[0], day), cmap, norm, line=0.6, scale=True)
    brain.label(ax, 8)
    ax.set_title(f"{arms[0]}, worst day ({day:.0f})" if len(arms) > 1 else f"Worst day ({day:.0f})")


def _lines(ax: Axes, regional: pd.DataFrame, arms: Sequence[str], hypothetical: Sequence[str]) -> None:
    """With one arm a line for each region; with several, the most vulnerable region of each arm."""
    first = regional[regional["arm"] == arms[0]]
    lowest = first.groupby("region", sort=False)["value"].min().sort_values(ascending=False)
    if len(arms) == 1:
        lines = [(brain.REGION_LABELS.get(str(r), str(r)), first[first["region"] == r]) for r in lowest.index]
        ax.set_title("By region")
    else:
        worst = lowest.index[-1]
        lines = [
            (words.arm_label(a, hypothetical), regional[(regional["arm"] == a) & (regional["region"] == worst)])
            for a in arms
        ]
        ax.set_title(f"{brain.REGION_LABELS.get(str(worst), str(worst))}, by arm")
    for place, (name, rows) in enumerate(lines):
        one = rows.sort_values("time_h")
        dash = style.DASHES[place % len(style.DASHES)]
        ax.plot(one["time_h"] / 24, one["value"], color=style.colour(place), ls=dash, lw=1.5, label=name)
    ax.legend(fontsize=6.8, loc="lower right", handlelength=2.2, labelspacing=0.25)
    ax.set_ylim(min(0.5, _floor(regional["value"])), 1.02)
    ax.set_xlim(0, regional["time_h"].max() / 24)
    ax.locator_params(axis="x", nbins=5, integer=True)
    ax.set_xlabel("Days since infusion")
    ax.set_ylabel("Integrity")
    ax.grid(axis="y")


#: The three ways to say that the barrier is open, and how their lines look.
HEADS: dict[str, tuple[str, int]] = {
    "threshold": ("Threshold on markers", 0),
    "regression": ("Regression on markers", 1),
    "hazard": ("Cumulative hazard", 2),
}


@base.figure
def fig_barrier_open(heads: pd.DataFrame, arms: Sequence[str], hypothetical: Sequence[str] = ()) -> Figure:
    """P(barrier open by day t), one panel an arm, one line a head.

    Parameters
    ----------
    heads
        Rows per arm, head and time_h with ``value``, the mean probability over patients.
    """
    from matplotlib.lines import Line2D

    columns = 2 if len(arms) == 4 else min(3, len(arms))
    rows = -(-len(arms) // columns)
    fig = base.new(2.45 * columns + (1.3 if columns == 1 else 0.2), 1.9 * rows + 0.55)
    axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    top = 1.0 if heads["value"].max() > 0.4 else 0.4
    for place, ax in enumerate(axes.flat):
        if place >= len(arms):
            ax.set_visible(False)
            continue
        for head, (_, look) in HEADS.items():
            one = heads[(heads["arm"] == arms[place]) & (heads["head"] == head)].sort_values("time_h")
            ax.plot(one["time_h"] / 24, one["value"], color=style.colour(look), ls=style.DASHES[look])
        ax.set_title(textwrap.fill(words.arm_label(arms[place], hypothetical), 26))
        ax.set_ylim(0, top)
        ax.set_xlim(0, heads["time_h"].max() / 24)
        ax.set_yticks(np.linspace(0, top, 5))
        ax.locator_params(axis="x", nbins=5, integer=True)
        base.percent_ticks(ax.yaxis)
        ax.grid(axis="y")
        if place + columns >= len(arms):
            ax.set_xlabel("Days since infusion")
            ax.tick_params(axis="x", labelbottom=True)
    lines = [Line2D([], [], color=style.colour(k), ls=style.DASHES[k], lw=1.6) for _, k in HEADS.values()]
    fig.legend(
        lines,
        [text for text, _ in HEADS.values()],
        loc="outside upper left",
        ncols=min(3, columns + 1),
        handlelength=2.6,
    )
    return fig
