"""Simulated courses: median and bands of every quantity of a group, arms in one panel; one patient over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.report import quantities as words
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: Columns of a table of bands, from below; without a population only the middle one is filled.
BANDS = ("q05", "q25", "q50", "q75", "q95")
#: Arms above which only the band of half of the patients is drawn, and above which none is.
FEW_ARMS, MANY_ARMS = 1, 3
#: Narrowest range of a logarithmic axis (ratio of its ends), so that noise does not fill the panel.
LEAST_RATIO = 3.0
PANEL_WIDTH, PANEL_HEIGHT = 2.45, 1.75


@base.figure
def fig_courses(
    bands: pd.DataFrame, group: words.Group, units: Mapping[str, str], arms: Sequence[str], columns: int = 3,
    hypothetical: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Small multiples of one group of quantities over days since infusion.

    Parameters
    ----------
    bands
        Rows per arm, quantity and time_h, with the columns of :data:`BANDS`.
    units
        Unit of every quantity.
    arms
        In the order of their colours.
    hypothetical
        Those of them that give something without human data.
    """
    names = [q.name for q in group.quantities if (bands["quantity"] == q.name).any()]
    if not names:
        fig = base.new(5, 1)
        base.note(fig, "Nothing of this group was simulated.")
        return fig
    columns = 2 if len(names) == 4 else min(columns, len(names))
    rows = -(-len(names) // columns)
    legend = len(arms) > 1
    fig = base.new(PANEL_WIDTH * columns + 0.15, PANEL_HEIGHT * rows + 0.35 * legend + 0.35)
    axes = fig.subplots(rows, columns, sharex=True, squeeze=False)
    for ax, name in zip(axes.flat, names):
        _course(ax, bands[bands["quantity"] == name], arms, words.BY_NAME[name])
        ax.set_title(words.label(name, units), fontsize=8.5)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    last = bands["time_h"].max() / 24
    for place, ax in enumerate(axes.flat):
        _days(ax, last)
        ax.tick_params(axis="x", labelbottom=place + columns >= len(names))
    fig.supxlabel("Days since infusion", fontsize=8.5, color=style.SOFT)
    if legend:
        lines = [_handle(i) for i in range(len(arms))]
        labels = [words.arm_label(a, hypothetical) for a in arms]
        wide = max(len(label) for label in labels) > 26 or columns < 3
        fig.legend(lines, labels, loc="outside upper left", ncols=min(2 if wide else 3, len(arms)), handlelength=2.4)
    return fig


def _handle(place: int) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.colour(place), ls=style.DASHES[place % len(style.DASHES)], lw=1.8)


def _course(ax: Axes, rows: pd.DataFrame, arms: Sequence[str], quantity: words.Quantity) -> None:
    for place, arm in enumerate(arms):
        one = rows[rows["arm"] == arm].sort_values("time_h")
        if one.empty:
            continue
        day, hue = one["time_h"].to_numpy() / 24, style.colour(place)
        if len(arms) <= FEW_ARMS:
            ax.fill_between(day, one["q05"], one["q95"], color=hue, alpha=0.14, lw=0)
        if len(arms) <= MANY_ARMS:
            ax.fill_between(day, one["q25"], one["q75"], color=hue, alpha=0.26 if len(arms) == 1 else 0.15, lw=0)
        ax.plot(day, one["q50"], color=hue, ls=style.DASHES[place % len(style.DASHES)], lw=1.7)
    shown = BANDS if len(arms) <= FEW_ARMS else BANDS[1:4] if len(arms) <= MANY_ARMS else BANDS[2:3]
    _scale(ax, rows[list(shown)].to_numpy(dtype=float), quantity)
    ax.grid(axis="y")


def _scale(ax: Axes, seen: npt.NDArray[np.float64], quantity: words.Quantity) -> None:
    """Limits and ticks for the values that are drawn."""
    seen = seen[np.isfinite(seen)]
    positive = seen[seen > 0]
    if quantity.log and len(positive):
        high = positive.max()
        low = max(positive.min(), high * 1e-5)
        if high / low < LEAST_RATIO:
            middle = np.sqrt(high * low)
            low, high = middle / np.sqrt(LEAST_RATIO), middle * np.sqrt(LEAST_RATIO)
        ax.set_yscale("log")
        ax.set_ylim(low / 1.25, high * 1.25)
        _log_ticks(ax, low, high)
    elif len(seen):
        ax.locator_params(axis="y", nbins=4)
        base.grouped_ticks(ax.yaxis)
        if quantity.span is not None:
            low, high = min(quantity.span[0], float(seen.min())), max(quantity.span[1], float(seen.max()))
            ax.set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))
        elif np.ptp(seen) <= 1e-6 * max(1.0, abs(seen).max()):  # a constant: its rounding must not fill the panel
            ax.set_ylim(min(0.0, 2 * seen.min()), max(1.0, 1.3 * seen.max()))


def _log_ticks(ax: Axes, low: float, high: float) -> None:
    """Powers of ten where there are several, else 1-2-5 steps; few enough to be read."""
    from matplotlib.ticker import FixedLocator, NullLocator

    decades = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
    ticks = 10.0**decades
    inside = ticks[(ticks >= low / 1.25) & (ticks <= high * 1.25)]
    if len(inside) < 2:
        steps = np.outer(ticks, [1, 2, 5]).ravel()
        inside = steps[(steps >= low / 1.25) & (steps <= high * 1.25)]
    inside = inside[:: max(1, -(-len(inside) // 4))]
    ax.yaxis.set_major_locator(FixedLocator(inside.tolist()))
    ax.yaxis.set_minor_locator(NullLocator())
    base.plain_log_ticks(ax.yaxis)


def _days(ax: Axes, last: float) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlim(0, last)
    if last % 7 == 0 or last > 20:
        ax.set_xticks(np.arange(0, last + 0.1, 7))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


@base.figure
def fig_patient(
    course: pd.DataFrame, units: Mapping[str, str], grades: pd.DataFrame | None, doses: pd.DataFrame,
    hypothetical: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """One simulated patient: grades by day, what was given, and the quantities of :data:`PANEL`.

    Parameters
    ----------
    course
        Rows per quantity and time_h with a value.
    grades
        Rows per toxicity and day with a grade, or None.
    doses
        Rows per administration: time_h, duration_h, drug.
    hypothetical
        Drugs without human data in this use; they are marked so.
    """
    names = [n for n in words.PANEL if (course["quantity"] == n).any()]
    drugs = [d for d in dict.fromkeys(doses.sort_values("time_h")["drug"]) if d != "car_t"]
    toxicities = [] if grades is None else [t for t in ("ICANS", "CRS") if (grades["toxicity"] == t).any()]
    heights = [0.3 + 0.3 * len(toxicities)] * bool(toxicities) + [0.25 + 0.3 * len(drugs)] * bool(drugs)
    heights += [0.82] * len(names)
    fig = base.new(7.2, 0.75 + 0.86 * sum(heights))
    axes = list(fig.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    rest = iter(axes)
    last = course["time_h"].max() / 24
    if grades is not None and toxicities:
        _grade_lane(next(rest), grades, toxicities)
    if drugs:
        _dose_lane(next(rest), doses, drugs, hypothetical)
    for name, ax in zip(names, rest):
        one = course[course["quantity"] == name].sort_values("time_h")
        ax.plot(one["time_h"] / 24, one["value"], color=style.ACCENT, lw=1.6)
        _scale(ax, one["value"].to_numpy(dtype=float), words.BY_NAME[name])
        ax.grid(axis="y")
        _name(ax, words.label(name, units).replace(", ", "\n"))
    for ax in axes:
        ax.spines["bottom"].set_visible(ax is axes[-1])
        if ax is not axes[-1]:
            ax.tick_params(axis="x", length=0)
    _days(axes[-1], last)
    axes[-1].set_xlabel("Days since infusion")
    return fig


def _grade_lane(ax: Axes, grades: pd.DataFrame, toxicities: Sequence[str]) -> None:
    for y, toxicity in enumerate(toxicities):
        for row in grades[grades["toxicity"] == toxicity].itertuples():
            shade = style.grade_colour(row.grade)
            ax.barh(y, 0.94, left=row.day + 0.03, height=0.8, color=shade, edgecolor="#9aa4ae", lw=0.3)
            ink = style.readable_on([int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            ax.text(row.day + 0.5, y, f"{row.grade:g}", ha="center", va="center", fontsize=6.5, color=ink)
    ax.set_ylim(len(toxicities) - 0.45, -0.55)
    ax.set_yticks(range(len(toxicities)), [f"{t} grade" for t in toxicities])
    base.bare(ax)


def _dose_lane(ax: Axes, doses: pd.DataFrame, drugs: Sequence[str], hypothetical: Sequence[str]) -> None:
    for y, drug in enumerate(drugs):
        rows = doses[doses["drug"] == drug]
        start = rows["time_h"].to_numpy(dtype=float) / 24
        length = rows["duration_h"].to_numpy(dtype=float) / 24
        bars = ax.barh(
            np.full(len(start), y), np.maximum(length, 0.18), left=start, height=0.55, lw=0.8, color=style.WARM
        )
        for bar in bars if drug in hypothetical else ():
            bar.set(facecolor=style.PAPER, edgecolor=style.WARM, hatch="/////")
    ax.set_ylim(len(drugs) - 0.45, -0.55)
    ax.set_yticks(range(len(drugs)), [drug_label(d, hypothetical) for d in drugs])
    base.bare(ax)


def drug_label(drug: str, hypothetical: Sequence[str]) -> str:
    """A drug's name for people; what has no human data says so."""
    name = drug.replace("_", " ")
    return f"{name}\nHYPOTHETICAL" if drug in hypothetical else name


def _name(ax: Axes, text: str) -> None:
    ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6, color=style.INK, fontsize=8)
