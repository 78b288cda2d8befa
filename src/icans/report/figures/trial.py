"""Figures of trials not yet run (success against effect, sizes, bounds, allocation) and of an emulated one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from icans.intervene.trial.assess import Assurance
    from icans.intervene.trial.operate import Operating


@base.figure
def fig_power(curve: pd.DataFrame, error: float, belief: Assurance | None = None) -> Figure:
    """Share of trials that reject against the share of the effect that is real, with its Monte-Carlo interval."""
    fig = base.new(5.6, 3.0)
    ax = fig.subplots()
    x, y = curve["real"].to_numpy(), curve["success"].to_numpy()
    ax.errorbar(x, y, [y - curve["low"], curve["high"] - y], color=style.ACCENT, marker="o", ms=4, lw=1.6, capsize=2,
                label="trials that reject")  # fmt: skip
    ax.axhline(error, color=style.WARM, lw=0.9, ls=(0, (4, 2)), label=f"error allowed, {100 * error:g}%")
    if belief is not None:
        ax.vlines(belief.real, 0, belief.weight, color=style.SOFT, lw=5, alpha=0.5, label="what is believed")
    ax.set_xlabel("Share of the effect that is real")
    ax.set_ylim(0, 1)
    base.percent_ticks(ax.xaxis)
    base.percent_ticks(ax.yaxis)
    fig.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return fig


@base.figure
def fig_sizes(found: list[Operating]) -> Figure:
    """Patients enrolled by the end of the trial: share of trials up to each number."""
    fig = base.new(5.6, 2.6)
    ax = fig.subplots()
    for i, one in enumerate(found):
        n = np.sort(one.found["n"])
        ax.step(n, (np.arange(len(n)) + 1) / len(n), where="post", color=style.QUALITATIVE[i], ls=style.DASHES[i % 5],
                lw=1.5, label=one.scenario.name)  # fmt: skip
    ax.set_xlabel("Patients enrolled")
    ax.set_ylabel("Share of trials")
    base.percent_ticks(ax.yaxis)
    ax.legend(fontsize=7, loc="upper left")
    return fig


@base.figure
def fig_bounds(table: pd.DataFrame, sided: int) -> Figure:
    """Bounds of the score at every look."""
    fig = base.new(5.6, 2.6)
    ax = fig.subplots()
    x, z = table["information"].to_numpy(), table["score"].to_numpy()
    ax.plot(x, z, "o-", color=style.ACCENT, lw=1.5, ms=4)
    if sided == 2:
        ax.plot(x, -z, "o-", color=style.ACCENT, lw=1.5, ms=4)
    ax.axhline(0, color=style.SOFT, lw=0.7)
    ax.set_xlabel("Information")
    ax.set_ylabel("Score in favour of the new arm")
    base.percent_ticks(ax.xaxis)
    return fig


@base.figure
def fig_allocation(found: Operating, names: list[str], known: tuple[int, ...]) -> Figure:
    """Mean allocation to each arm at each look, over the trials that were still running."""
    fig = base.new(5.6, 2.6)
    ax = fig.subplots()
    running = np.maximum(found.found["running"], 1.0)
    for arm, name in enumerate(names):
        share = np.where(found.found["running"] > 0, found.found["allocation"][:, arm] / running, np.nan)
        ax.plot(known, share, color=style.QUALITATIVE[arm], ls=style.DASHES[arm % 5], marker=style.MARKERS[arm], ms=4,
                lw=1.5, label=name)  # fmt: skip
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Patients with known outcome at the look")
    ax.set_ylabel("Allocation")
    base.percent_ticks(ax.yaxis)
    ax.legend(fontsize=7)
    return fig


@base.figure
def fig_drift(table: pd.DataFrame, error: float) -> Figure:
    """How often a treatment without effect is called worth while when the control has drifted."""
    fig = base.new(5.6, 2.4)
    ax = fig.subplots()
    ax.plot(table["drift"], table["called"], "o-", color=style.ACCENT, lw=1.5, ms=4)
    ax.axhline(error, color=style.WARM, lw=0.9, ls=(0, (4, 2)))
    ax.set_xlabel("Success of today's control less that of the historical one")
    ax.set_ylabel("Called worth while")
    base.percent_ticks(ax.xaxis)
    base.percent_ticks(ax.yaxis)
    ax.set_ylim(bottom=0)
    return fig


@base.figure
def fig_emulated(curve: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Weighted chance of the event by day in both arms, with intervals; below, clones followed and effective number."""
    fig = base.new(5.6, 4.0)
    top, below = fig.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for i, (arm, rows) in enumerate(curve.groupby("arm", sort=False)):
        colour = style.QUALITATIVE[i]
        top.fill_between(rows["day"], rows["low"], rows["high"], step="post", color=colour, alpha=0.15, lw=0)
        top.step(
            rows["day"], rows["risk"], where="post", color=colour, ls=style.DASHES[i], lw=1.8, label=labels[str(arm)]
        )
        below.plot(rows["day"], rows["followed"], color=colour, ls=style.DASHES[i], lw=1.2)
        below.plot(rows["day"], rows["effective"], color=colour, ls=style.DASHES[i], marker="o", ms=3, lw=0.8)
    top.set_ylim(0, 1)
    base.percent_ticks(top.yaxis)
    top.set_ylabel("Risk")
    below.set_ylim(bottom=0)
    below.set_ylabel("Patients")
    below.set_xlabel("Days from grade 1 (dots: effective number)")
    fig.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return fig
