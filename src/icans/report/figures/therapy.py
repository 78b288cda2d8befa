"""Arms of a comparison against each other: incidences with intervals, and the worst grade of every patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import quantities as words
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HYPOTHETICAL = "HYPOTHETICAL"


def arm_label(arm: str, hypothetical: Sequence[str]) -> str:
    """The arm's name; an arm with a drug that has no human data in this use says so, loudly."""
    return f"{arm}\n{HYPOTHETICAL}" if arm in hypothetical else arm


@base.figure
def fig_incidence(incidence: pd.DataFrame, arms: Sequence[str], hypothetical: Sequence[str] = ()) -> Figure:
    """Share of patients with each outcome, one panel an outcome, one row an arm.

    Parameters
    ----------
    incidence
        Rows per arm and outcome: ``label`` of the outcome, ``value``, ``low``, ``high`` as shares.
    arms
        From above; the first is what the others are compared with, and its value is a line.
    """
    labels = list(dict.fromkeys(incidence["label"]))
    columns = min(4 if len(labels) != 6 else 3, len(labels))
    rows = -(-len(labels) // columns)
    tall = sum(0.46 if a in hypothetical else 0.33 for a in arms)
    fig = base.new(1.4 + 1.62 * columns, rows * (tall + 0.62))
    axes = fig.subplots(rows, columns, sharey=True, sharex=True, squeeze=False)
    top = min(1.0, float(np.ceil(incidence["high"].max() * 10 + 0.5) / 10))
    for place, ax in enumerate(axes.flat):
        if place >= len(labels):
            ax.set_visible(False)
            continue
        _outcome(ax, incidence[incidence["label"] == labels[place]].set_index("arm"), arms)
        ax.set_title(labels[place], fontsize=8.5)
        ax.set_xlim(-0.02 * top, top)
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.set_yticks(range(len(arms)), [arm_label(a, hypothetical) for a in arms])
        for tick, arm in zip(ax.get_yticklabels(), arms):
            if arm in hypothetical:
                tick.set_color(style.WARM)
                tick.set_fontweight("bold")
        ax.tick_params(axis="y", length=0)
        base.percent_ticks(ax.xaxis)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
    return fig


def _outcome(ax: Axes, rows: pd.DataFrame, arms: Sequence[str]) -> None:
    if arms and arms[0] in rows.index and len(arms) > 1:
        ax.axvline(float(rows.loc[arms[0], "value"]), color=style.SOFT, lw=0.8, ls=(0, (3, 2)), zorder=0)
    for y, arm in enumerate(arms):
        if arm not in rows.index:
            continue
        value, low, high = (float(rows.loc[arm, c]) for c in ("value", "low", "high"))
        ax.plot([low, high], [y, y], color=style.colour(y), lw=1.8, solid_capstyle="butt")
        ax.plot(
            [value], [y], marker=style.MARKERS[y % len(style.MARKERS)], ms=6, color=style.colour(y), mec=style.PAPER
        )


@base.figure
def fig_worst_grades(grades: pd.DataFrame, arms: Sequence[str], hypothetical: Sequence[str] = ()) -> Figure:
    """Worst grade of every patient: a bar of shares for each arm, one panel for ICANS and one for CRS.

    Parameters
    ----------
    grades
        Rows per arm, toxicity and grade with ``share``.
    """
    from matplotlib.patches import Patch

    toxicities = [t for t in ("ICANS", "CRS") if (grades["toxicity"] == t).any()]
    tall = sum(0.5 if a in hypothetical else 0.36 for a in arms)
    fig = base.new(7.2, tall + 0.95)
    axes = fig.subplots(1, len(toxicities), sharey=True, squeeze=False)[0]
    for ax, toxicity in zip(axes, toxicities):
        for y, arm in enumerate(arms):
            one = grades[(grades["arm"] == arm) & (grades["toxicity"] == toxicity)].sort_values("grade")
            left = 0.0
            for row in one.itertuples():
                shade = style.grade_colour(row.grade)
                ax.barh(y, row.share, left=left, height=0.68, color=shade, edgecolor=style.PAPER, lw=0.6)
                if row.share >= 0.07:
                    ink = style.readable_on([int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)])
                    ax.text(
                        left + row.share / 2,
                        y,
                        f"{100 * row.share:.0f}",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color=ink,
                    )
                left += row.share
        ax.set_title(f"Worst {toxicity} grade, % of patients")
        ax.set_xlim(0, 1)
        ax.set_ylim(len(arms) - 0.45, -0.55)
        ax.set_yticks(range(len(arms)), [arm_label(a, hypothetical) for a in arms])
        ax.set_xticks([])
        base.bare(ax)
        for tick, arm in zip(ax.get_yticklabels(), arms):
            if arm in hypothetical:
                tick.set_color(style.WARM)
                tick.set_fontweight("bold")
    boxes = [Patch(facecolor=style.GRADES[g], edgecolor="#9aa4ae", lw=0.4) for g in range(6)]
    fig.legend(
        boxes, [f"Grade {g}" for g in range(6)], loc="outside lower center", ncols=6, handlelength=1, columnspacing=1.2
    )
    return fig


@base.figure
def fig_differences(differences: pd.DataFrame, arms: Sequence[str], hypothetical: Sequence[str] = ()) -> Figure:
    """What an arm changes in the same patients, in points of percentage, with bootstrap intervals.

    Parameters
    ----------
    differences
        Rows per arm (all but the first) and ``label``: ``value``, ``low``, ``high`` as differences of shares.
    """
    from matplotlib.ticker import FuncFormatter

    labels = list(dict.fromkeys(differences["label"]))
    others = [a for a in arms if (differences["arm"] == a).any()]
    fig = base.new(7.2, 0.75 + len(labels) * (0.22 * len(others) + 0.16))
    ax = fig.subplots()
    step = 0.8 / max(1, len(others))
    for y, label in enumerate(labels):
        for k, arm in enumerate(others):
            one = differences[(differences["arm"] == arm) & (differences["label"] == label)]
            if one.empty:
                continue
            place, look = y - 0.4 + step * (k + 0.5), arms.index(arm)
            low, high, value = (float(one[c].iloc[0]) for c in ("low", "high", "value"))
            ax.plot([low, high], [place, place], color=style.colour(look), lw=1.8, solid_capstyle="butt")
            ax.plot([value], [place], marker=style.MARKERS[look % 7], ms=5.5, color=style.colour(look), mec=style.PAPER,
                    ls="none", label=words.arm_label(arm, hypothetical) if y == 0 else None)  # fmt: skip
        if y:
            ax.axhline(y - 0.5, color=style.FAINT, lw=0.6)
    ax.axvline(0, color=style.INK, lw=0.8)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:+.0f}".replace("-", "−").replace("+0", "0")))
    ax.set_xlabel(f"Patients with the outcome against “{arms[0]}”, in percentage points (left: fewer)")
    ax.grid(axis="x")
    longest = max((len(words.arm_label(a, hypothetical)) for a in others), default=0)
    fig.legend(loc="outside upper left", ncols=min(3 if longest <= 28 else 2 if longest <= 44 else 1, len(others)))
    return fig
