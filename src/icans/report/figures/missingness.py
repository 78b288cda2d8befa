"""Which analyte was measured on which day: one panel a state (measured, at a limit, asked for and missing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.cohort.vocabulary import analytes
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STATES = {
    "result": "Result (also at a limit)",
    "censored": "Only results at a limit",
    "missing": "Asked for, no value",
    "not_measured": "Not measured: no row",
}


@base.figure
def fig_missingness(table: pd.DataFrame) -> Figure:
    """Share of the patients under observation, by analyte and day, in each state that occurs.

    Parameters
    ----------
    table
        From :func:`icans.report.missing.daily_missingness`.
    """
    if table.empty:
        fig = base.new(7, 1.2)
        base.note(fig, "No measurements in this range of days.")
        return fig
    table = table.assign(result=table["measured"] + table["censored"])
    states = [state for state in STATES if state in ("result", "not_measured") or table[state].sum()]
    names = _order(table)
    columns = 2
    lines = -(-len(states) // columns)
    fig = base.new(9.6, 0.75 + lines * (0.75 + 0.2 * len(names)))
    axes = fig.subplots(lines, columns, sharey=True, squeeze=False)
    for i, ax in enumerate(axes.flat):
        if i < len(states):
            image = _panel(ax, table, states[i], names)
        else:
            ax.set_visible(False)
    bar = fig.colorbar(image, ax=list(axes.flat), location="bottom", fraction=0.03, aspect=60, pad=0.02)
    base.percent_ticks(bar.ax.xaxis)
    bar.set_label("Share of the patients under observation on that day")
    bar.outline.set_visible(False)
    return fig


def _order(table: pd.DataFrame) -> list[str]:
    """Analytes, most often measured first."""
    totals = table.groupby("analyte")["result"].sum()
    return sorted(totals.index, key=lambda name: (-totals[name], name))


def _panel(ax: Axes, table: pd.DataFrame, state: str, names: list[str]) -> AxesImage:
    grid = table.assign(share=table[state] / table["observed"]).pivot(index="analyte", columns="day", values="share")
    grid = grid.reindex(names)
    days = grid.columns.to_numpy()
    image = ax.imshow(
        np.ma.masked_invalid(grid.to_numpy(dtype=float)), aspect="auto", interpolation="none", vmin=0, vmax=1,
        cmap=style.sequential(), extent=(days[0] - 0.5, days[-1] + 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    known = analytes()
    ax.set_yticks(range(len(names)), [known[n].label if n in known else n for n in names])
    ax.set_title(STATES[state])
    ax.set_xlabel("Day since infusion")
    base.bare(ax)
    return image
