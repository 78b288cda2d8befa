"""Results of the ladder: one row a model, one panel a landmark, estimate and interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from icans.report import format as fmt
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@base.figure
def fig_ladder(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Figure:
    """Dot and interval for every model, a panel for every landmark.

    Parameters
    ----------
    table
        Rows of one task, one horizon and one metric: model, landmark_h, metric, value, low, high, events.
    labels
        Label by model, in the order of the ladder (top to bottom).
    """
    labels = labels or {name: name for name in dict.fromkeys(table["model"])}
    models = [m for m in labels if m in set(table["model"])]
    landmarks = sorted(table["landmark_h"].unique())
    name = str(table["metric"].iloc[0])
    panel = 1.75 if len(landmarks) <= 4 else 1.35
    fig = base.new(max(3.4, 1.9 + panel * len(landmarks)), 1.15 + 0.26 * len(models))
    axes = fig.subplots(1, len(landmarks), sharex=True, sharey=True, squeeze=False)[0]
    for ax, landmark in zip(axes, landmarks, strict=True):
        _panel(ax, table[table["landmark_h"] == landmark].set_index("model"), models, name)
        ax.set_title(f"{fmt.landmark(landmark)}", pad=14)
        _events(ax, table[table["landmark_h"] == landmark])
    axes[0].set_yticks(range(len(models)), [labels[m] for m in models])
    axes[0].set_ylim(len(models) - 0.5, -0.5)
    fig.supxlabel(fmt.metric(name), fontsize=8.5, color=style.SOFT)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, models: list[str], metric: str) -> None:
    if metric in fmt.REFERENCE_VALUE:
        ax.axvline(fmt.REFERENCE_VALUE[metric], color="#9aa4ae", lw=0.8, ls=(0, (3, 2)), zorder=0)
    for y, model in enumerate(models):
        if y % 2 == 0:
            ax.axhspan(y - 0.5, y + 0.5, color=style.PANEL, lw=0, zorder=-1)
        if model not in rows.index or fmt.absent(rows.at[model, "value"]):
            continue
        row = rows.loc[model]
        shade = style.colour(y)
        if not fmt.absent(row["low"]) and not fmt.absent(row["high"]):
            ax.plot([row["low"], row["high"]], [y, y], color=shade, lw=1.6, solid_capstyle="butt")
        ax.plot(row["value"], y, marker="o", ms=5, color=shade, mec=style.PAPER, mew=0.7)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=4)


def _events(ax: Axes, rows: pd.DataFrame) -> None:
    known = rows.dropna(subset=["n", "events"])
    if len(known):
        text = f"{fmt.whole(known['events'].max())} of {fmt.whole(known['n'].max())}"
        ax.text(0, 1.01, text, transform=ax.transAxes, fontsize=7, color=style.SOFT, ha="left", va="bottom")


@base.figure
def fig_differences(table: pd.DataFrame, label: str) -> Figure:
    """Paired differences with intervals, one line for each pair of models, a panel for each task.

    Parameters
    ----------
    table
        Columns task, model, reference_model, difference, low, high; one metric.
    label
        Name of the axis.
    """
    pairs = table[["model", "reference_model"]].drop_duplicates().itertuples(index=False, name=None)
    names = {pair: f"{pair[0]} − {pair[1]}".replace("_", " ") for pair in pairs}
    tasks = table["task"].unique()
    fig = base.new(3.4 + 2.4 * len(tasks), 1.15 + 0.3 * len(names))
    axes = fig.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for ax, task in zip(axes, tasks, strict=True):
        ax.axvline(0, color="#9aa4ae", lw=0.8, ls=(0, (3, 2)), zorder=0)
        rows = table[table["task"] == task].set_index(["model", "reference_model"])
        for y, pair in enumerate(names):
            if pair in rows.index:
                row = rows.loc[pair]
                ax.plot([row["low"], row["high"]], [y, y], color=style.ACCENT, lw=1.6, solid_capstyle="butt")
                ax.plot(row["difference"], y, marker="o", ms=5, color=style.ACCENT, mec=style.PAPER, mew=0.7)
        ax.set_title(str(task).replace("_", " "))
        ax.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(names)), list(names.values()))
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    fig.supxlabel(f"Difference in {label}", fontsize=8.5, color=style.SOFT)
    return fig


@base.figure
def fig_grade_paths(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> Figure:
    """Ranked probability score of the forecast grade against lead time (lower is better), a panel a landmark.

    Parameters
    ----------
    table
        Columns model, landmark_h, lead_h, rps and, where known, low and high.
    """
    labels = labels or {name: name for name in dict.fromkeys(table["model"])}
    models = [m for m in labels if m in set(table["model"])]
    landmarks = sorted(table["landmark_h"].unique())
    fig = base.new(max(4.2, 1.2 + 2.3 * len(landmarks)), 2.9)
    axes = fig.subplots(1, len(landmarks), sharex=True, sharey=True, squeeze=False)[0]
    for ax, landmark in zip(axes, landmarks, strict=True):
        for i, model in enumerate(models):
            rows = table[(table["landmark_h"] == landmark) & (table["model"] == model)].sort_values("lead_h")
            if len(rows):
                _line(ax, rows, i, labels[model])
        ax.set_title(fmt.landmark(landmark))
        ax.grid(axis="y")
    axes[0].set_ylabel("Ranked probability score")
    axes[0].set_ylim(bottom=0)
    fig.supxlabel("Days ahead of the landmark", fontsize=8.5, color=style.SOFT)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper left", ncols=min(4, max(1, len(names))))
    return fig


def _line(ax: Axes, rows: pd.DataFrame, i: int, label: str) -> None:
    lead = rows["lead_h"] / 24.0
    if {"low", "high"} <= set(rows.columns):
        ax.fill_between(
            lead, rows["low"].astype(float), rows["high"].astype(float), color=style.colour(i), alpha=0.13, lw=0
        )
    dash = style.DASHES[i % len(style.DASHES)]
    marker = style.MARKERS[i % len(style.MARKERS)]
    ax.plot(lead, rows["rps"], color=style.colour(i), ls=dash, marker=marker, ms=3.5, label=label)
