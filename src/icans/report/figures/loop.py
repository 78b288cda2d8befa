"""Figures of the closed loop: losses against the baseline, toxicity against efficacy, days of the doses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from icans.report import style
from icans.report.figures.base import figure, new

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figure
def fig_losses(table: pd.DataFrame, baseline: str) -> Figure:
    """Paired difference in loss from the baseline of every other policy, with its 95 % interval.

    Parameters
    ----------
    table
        As :meth:`icans.intervene.loop.compare.Comparison.table` makes it.
    """
    kept = table[table["policy"] != baseline].iloc[::-1].reset_index(drop=True)
    fig = new(6.4, 0.9 + 0.32 * len(kept))
    ax = fig.subplots()
    middle = kept["difference"].to_numpy(dtype=float)
    low, high = (kept[f"difference_{side}"].to_numpy(dtype=float) for side in ("low", "high"))
    ax.axvline(0.0, color=style.SOFT, linewidth=0.8)
    ax.hlines(range(len(kept)), low, high, color=style.ACCENT, linewidth=1.6)
    ax.plot(middle, range(len(kept)), "o", color=style.ACCENT, markersize=5)
    ax.set_yticks(range(len(kept)), list(kept["policy"]))
    ax.set_ylim(-0.6, len(kept) - 0.4)
    ax.set_xlabel(f"loss, difference from {baseline} (less is better)")
    return fig


@figure
def fig_front(table: pd.DataFrame, x: str, y: str, words: Sequence[str]) -> Figure:
    """Each policy by two outcomes; those on the front are joined.

    Parameters
    ----------
    x, y
        Columns of the table: less of ``x`` and more of ``y`` is better.
    words
        What the axes say.
    """
    fig = new(6.4, 4.0)
    ax = fig.subplots()
    front = table[table["on_front"]].sort_values(x)
    ax.plot(front[x], front[y], color=style.SOFT, linewidth=1.0)
    for row in table.itertuples():
        on = bool(row.on_front)
        ax.plot(getattr(row, x), getattr(row, y), "o", color=style.ACCENT if on else style.SOFT, markersize=6)
        ax.annotate(str(row.policy), (getattr(row, x), getattr(row, y)), textcoords="offset points", xytext=(6, 3),
                    fontsize=7)  # fmt: skip
    ax.margins(0.12)
    ax.set_xlabel(words[0])
    ax.set_ylabel(words[1])
    return fig
