"""Calibration curves with the risks beneath them, and decision curves: one small figure a landmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    shown: Sequence[str] | None = None,
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
        Label by model in the order of the ladder, which gives the colours.
    shown
        Models to draw, the first on top (default: all).
    """
    labels = labels or {name: name for name in dict.fromkeys(points["model"])}
    fig = base.new(3.7, 4.75 if risks is not None and len(risks) else 3.9)
    if risks is not None and len(risks):
        ax, below = fig.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        _histogram(below, risks)
        below.set_xlabel("Predicted risk")
    else:
        ax = fig.subplots()
        ax.set_xlabel("Predicted risk")
    ax.plot([0, 1], [0, 1], color="#9aa4ae", lw=0.9, ls=(0, (3, 2)))
    for i, model in _models(points, labels, shown):
        _curve(ax, points[points["model"] == model].sort_values("predicted"), i, labels[model])
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Observed share", title=title)
    base.percent_ticks(ax.xaxis)
    base.percent_ticks(ax.yaxis)
    ax.grid()
    _legend_below(fig, ax)
    return fig


def _models(frame: pd.DataFrame, labels: Mapping[str, str], shown: Sequence[str] | None) -> list[tuple[int, str]]:
    """(place in the ladder, model) of the models to draw."""
    ladder = list(labels)
    met = set(frame["model"])
    return [(ladder.index(m), m) for m in (ladder if shown is None else shown) if m in met and m in labels]


def _legend_below(fig: Figure, ax: Axes) -> None:
    handles, names = ax.get_legend_handles_labels()
    columns = 1 if max(map(len, names), default=0) > 24 else 2
    fig.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.4, fontsize=7.5)


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
    for mask, sign, shade in ((had, 1, style.WARM), (~had, -1, style.ACCENT)):
        counts, _ = np.histogram(risks.loc[mask, "risk"], edges)
        ax.bar(edges[:-1] + width / 2, sign * counts, width=0.9 * width, color=shade, lw=0)
    ax.axhline(0, color="#8b96a1", lw=0.7)
    low, high = ax.get_ylim()
    ax.set_yticks([high / 2, low / 2], ["event", "no event"], fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)


@base.figure
def fig_decision(
    curves: pd.DataFrame,
    labels: Mapping[str, str] | None = None,
    shown: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Net benefit against the risk threshold, with bands, beside treating all and treating none.

    Parameters
    ----------
    curves
        Columns model, threshold, net_benefit and, where known, low and high. One task, landmark and horizon.
        Models ``treat all`` and ``treat none`` are the references.
    labels, shown
        As in :func:`fig_calibration`.
    """
    named = labels or {m: m for m in dict.fromkeys(curves["model"]) if m not in REFERENCES}
    fig = base.new(3.7, 3.7)
    ax = fig.subplots()
    for model, (shade, dash) in REFERENCES.items():
        rows = curves[curves["model"] == model].sort_values("threshold")
        if len(rows):
            ax.plot(rows["threshold"], rows["net_benefit"], color=shade, ls=dash, lw=1.1, label=model)
    if "treat none" not in set(curves["model"]):
        ax.axhline(0, color="#6a7681", lw=1.1, label="treat none")
    for i, model in _models(curves, named, shown):
        rows = curves[curves["model"] == model].sort_values("threshold")
        if {"low", "high"} <= set(rows.columns):
            low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
            ax.fill_between(rows["threshold"], low, high, color=style.colour(i), alpha=0.13, lw=0)
        ax.plot(
            rows["threshold"], rows["net_benefit"], color=style.colour(i), ls=style.DASHES[i % len(style.DASHES)],
            label=named[model],
        )  # fmt: skip
    highest = "high" if "high" in curves and curves["high"].notna().any() else "net_benefit"
    top = float(np.nanmax([*curves["net_benefit"].to_numpy(dtype=float), *curves[highest].to_numpy(dtype=float), 0.01]))
    ax.set(ylim=(-0.35 * top, 1.15 * top), xlabel="Risk threshold", ylabel="Net benefit", title=title)
    base.percent_ticks(ax.xaxis)
    ax.grid(axis="y")
    _legend_below(fig, ax)
    return fig
