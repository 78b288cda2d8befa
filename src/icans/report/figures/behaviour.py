"""Instability of forecasts, drift over patients, and importance of feature groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves of refits drawn at most; more hide one another.
CURVES = 50
LINE = "#9aa4ae"


@base.figure
def fig_instability(patients: pd.DataFrame, curves: pd.DataFrame, threshold: float = 0.2) -> Figure:
    """Prediction instability, MAPE, classification instability and calibration instability (Riley and Collins 2023).

    Parameters
    ----------
    patients
        patient_id, risk, low, high, mape, flips_<threshold>.
    curves
        refit (0: the model itself), risk, observed; may be empty.
    threshold
        Threshold of the classification panel.
    """
    fig = base.new(7.2, 5.4)
    (a, b), (c, d) = fig.subplots(2, 2)
    risk = patients["risk"].to_numpy(dtype=float)
    a.vlines(risk, patients["low"], patients["high"], color=style.ACCENT, lw=0.6, alpha=0.5)
    a.plot([0, 1], [0, 1], color=LINE, lw=0.9, ls=(0, (3, 2)))
    a.set(title="Prediction", xlabel="Risk by the model", ylabel="Risk by refits (95 %)", xlim=(0, 1), ylim=(0, 1))
    b.plot(risk, patients["mape"], "o", ms=2.2, color=style.ACCENT, alpha=0.7, mew=0)
    b.set(title="Mean distance of refits", xlabel="Risk by the model", ylabel="MAPE", xlim=(0, 1))
    b.set_ylim(bottom=0)
    c.plot(risk, patients[f"flips_{threshold:.2f}"], "o", ms=2.2, color=style.ACCENT, alpha=0.7, mew=0)
    c.axvline(threshold, color=LINE, lw=0.9, ls=(0, (3, 2)))
    c.set(
        title=f"Side of {threshold:.0%}",
        xlabel="Risk by the model",
        ylabel="Refits that change it",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    _calibration(d, curves)
    for ax in (a, b, c, d):
        base.percent_ticks(ax.xaxis)
    for ax in (a, c, d):
        base.percent_ticks(ax.yaxis)
    return fig


def _calibration(ax: Axes, curves: pd.DataFrame) -> None:
    ax.plot([0, 1], [0, 1], color=LINE, lw=0.9, ls=(0, (3, 2)))
    for refit, part in curves.groupby("refit"):
        own = refit == 0
        if not own and int(refit) > CURVES:
            continue
        ax.plot(part["risk"], part["observed"], color=style.INK if own else style.ACCENT, lw=1.6 if own else 0.5,
                alpha=1.0 if own else 0.35, zorder=3 if own else 1)  # fmt: skip
    ax.set(title="Calibration", xlabel="Risk by each refit", ylabel="Observed share", xlim=(0, 1), ylim=(0, 1))


@base.figure
def fig_drift(windows: pd.DataFrame, path: pd.DataFrame, axis: str) -> Figure:
    """Observed over expected in moving windows, and the risk-adjusted CUSUM with its limits.

    ``windows``: position, oe, low, high. ``path``: position, up, down, limit_up, limit_down. ``axis``: what the
    order is.
    """
    fig = base.new(7.2, 2.7)
    left, right = fig.subplots(1, 2)
    left.axhline(1, color=LINE, lw=0.9, ls=(0, (3, 2)))
    reach = np.abs(windows[["low", "high"]].to_numpy().T - windows["oe"].to_numpy())
    left.errorbar(windows["position"], windows["oe"], yerr=reach, fmt="o", ms=3.5, lw=1.0, color=style.ACCENT)
    left.set(title="Observed / expected", xlabel=axis, xlim=(0, 1), ylabel="O / E")
    left.set_ylim(bottom=0)
    for name, sign, colour, word in (("up", 1, style.WARM, "more than forecast"), ("down", -1, style.ACCENT, "fewer")):
        right.plot(path["position"], sign * path[name], color=colour, lw=1.2, label=word)
        right.axhline(sign * float(path[f"limit_{name}"].iloc[0]), color=colour, lw=0.8, ls=(0, (3, 2)))
    right.axhline(0, color=LINE, lw=0.6)
    right.set(title="CUSUM", xlabel=axis, xlim=(0, 1), ylabel="Evidence")
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.25 * (high - low))  # room for the legend
    right.legend(frameon=False, fontsize=7, loc="upper left")
    for ax in (left, right):
        base.percent_ticks(ax.xaxis)
    return fig


@base.figure
def fig_importance(table: pd.DataFrame, words: Mapping[str, str], label: str, top: int = 12) -> Figure:
    """Value and range of the most important groups. ``table``: group, value, low, high, most important first."""
    rows = table.head(top)
    fig = base.new(5.4, 0.9 + 0.24 * len(rows))
    ax = fig.subplots()
    ax.axvline(0, color=LINE, lw=0.8)
    for y, row in enumerate(rows.itertuples()):
        ax.plot([row.low, row.high], [y, y], color=style.ACCENT, lw=1.4, alpha=0.6, solid_capstyle="butt")
        ax.plot(row.value, y, "o", ms=4.5, color=style.ACCENT)
    ax.set_yticks(range(len(rows)), [words.get(str(g), str(g)) for g in rows["group"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(label)
    ax.tick_params(axis="y", length=0)
    return fig
