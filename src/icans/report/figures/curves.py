"""Calibration curves with the risks beneath them, and decision curves: one small figure a landmark."""

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

#: Bins of the risk histograms over 0 to 1.
RISK_BINS = 25

#: Names of the reference strategies in a decision curve.
REFERENCES = {"treat all": ("#6a7681", (0, (4, 2))), "treat none": ("#6a7681", "-")}


@base.figure
def fig_calibration(
    points: pd.DataFrame,
    risks: pd.DataFrame | None = None,
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Observed against predicted risk, flexible curve with band; beneath, the risks by outcome.

    Parameters
    ----------
    points
        Columns model, predicted, observed and, where known, low and high. One task, landmark and horizon.
    risks
        Columns risk and had_event (bool) of the first model; None: no histogram.
    labels
        Label by model; also their order.
    """
    labels = labels or {name: name for name in dict.fromkeys(points["model"])}
    fig = base.new(3.7, 4.35 if risks is not None and len(risks) else 3.5)
    if risks is not None and len(risks):
        ax, below = fig.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        _histogram(below, risks)
        below.set_xlabel("Predicted risk")
    else:
        ax = fig.subplots()
        ax.set_xlabel("Predicted risk")
    ax.plot([0, 1], [0, 1], color="#9aa4ae", lw=0.9, ls=(0, (3, 2)))
    for i, (model, label) in enumerate((m, t) for m, t in labels.items() if m in set(points["model"])):
        _curve(ax, points[points["model"] == model].sort_values("predicted"), i, label)
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Observed share", title=title)
    base.percent_ticks(ax.xaxis)
    base.percent_ticks(ax.yaxis)
    ax.grid()
    ax.legend(loc="upper left", handlelength=2.4)
    return fig


def _curve(ax: Axes, rows: pd.DataFrame, i: int, label: str) -> None:
    x, y = rows["predicted"].to_numpy(dtype=float), rows["observed"].to_numpy(dtype=float)
    if {"low", "high"} <= set(rows.columns):
        low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
        ax.fill_between(x, low, high, color=style.colour(i), alpha=0.15, lw=0)
    ax.plot(x, y, color=style.colour(i), ls=style.DASHES[i % len(style.DASHES)], label=label)


def _histogram(ax: Axes, risks: pd.DataFrame) -> None:
    """With event above the line, without event below."""
    edges = np.linspace(0, 1, RISK_BINS + 1)
    had = risks["had_event"].astype(bool)
    width = edges[1] - edges[0]
    for mask, sign, shade, label in ((had, 1, style.WARM, "event"), (~had, -1, style.ACCENT, "no event")):
        counts, _ = np.histogram(risks.loc[mask, "risk"], edges)
        ax.bar(edges[:-1] + width / 2, sign * counts, width=0.9 * width, color=shade, lw=0, label=label)
    ax.axhline(0, color="#8b96a1", lw=0.7)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)
    ax.legend(loc="upper right", ncols=2, fontsize=7, handlelength=1, handleheight=1, borderaxespad=0)


@base.figure
def fig_decision(curves: pd.DataFrame, labels: Mapping[str, str] | None = None, title: str = "") -> Figure:
    """Net benefit against the risk threshold, with bands, beside treating all and treating none.

    Parameters
    ----------
    curves
        Columns model, threshold, net_benefit and, where known, low and high. One task, landmark and horizon.
        Models ``treat all`` and ``treat none`` are the references.
    labels
        Label by model; also their order.
    """
    named = labels or {m: m for m in dict.fromkeys(curves["model"]) if m not in REFERENCES}
    fig = base.new(3.7, 3.3)
    ax = fig.subplots()
    for model, (shade, dash) in REFERENCES.items():
        rows = curves[curves["model"] == model].sort_values("threshold")
        if len(rows):
            ax.plot(rows["threshold"], rows["net_benefit"], color=shade, ls=dash, lw=1.1, label=model)
    if "treat none" not in set(curves["model"]):
        ax.axhline(0, color="#6a7681", lw=1.1, label="treat none")
    for i, (model, label) in enumerate((m, t) for m, t in named.items() if m in set(curves["model"])):
        rows = curves[curves["model"] == model].sort_values("threshold")
        if {"low", "high"} <= set(rows.columns):
            low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
            ax.fill_between(rows["threshold"], low, high, color=style.colour(i), alpha=0.13, lw=0)
        ax.plot(
            rows["threshold"], rows["net_benefit"], color=style.colour(i), ls=style.DASHES[i % len(style.DASHES)],
            label=label,
        )  # fmt: skip
    top = float(np.nanmax([*curves["net_benefit"].to_numpy(dtype=float), 0.01]))
    ax.set(ylim=(-0.35 * top, 1.15 * top), xlabel="Risk threshold", ylabel="Net benefit", title=title)
    base.percent_ticks(ax.xaxis)
    ax.grid(axis="y")
    ax.legend(loc="upper right", handlelength=2.4)
    return fig
