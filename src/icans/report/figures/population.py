"""Figures of a population fit: goodness of fit, individual fits, predictive checks, random effects, convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from icans.population.diagnose.vpc import Vpc

Array = npt.NDArray[np.float64]
PANEL_WIDTH, PANEL_HEIGHT = 2.4, 1.9
#: Ratio of largest to smallest value beyond which an axis is logarithmic.
WIDE = 30.0
#: Hours up to which time is shown in hours.
SHORT_H = 72.0


@base.figure
def fig_gof(predictions: pd.DataFrame, observable: str, unit: str = "") -> Figure:
    """Observed against predicted (typical and individual), individual residuals over time, CWRES over predictions."""
    rows = predictions[predictions["observable"] == observable]
    fig = base.new(PANEL_WIDTH * 4, PANEL_HEIGHT + 0.25)
    axes = fig.subplots(1, 4)
    quantified = rows[rows["censor"] == "none"]
    if quantified.empty:
        base.note(fig, "No quantified value.")
        return fig
    for ax, column, title in zip(axes, ("pred", "ipred"), ("Typical prediction", "Individual prediction")):
        _identity(ax, quantified[column].to_numpy(float), quantified["value"].to_numpy(float))
        ax.set(xlabel=f"{title}{f', {unit}' if unit else ''}", ylabel="Observed")
    unit_h, word = _clock(rows["time_h"])
    _residuals(axes[2], quantified["time_h"].to_numpy(float) / unit_h, quantified["iwres"].to_numpy(float))
    axes[2].set(xlabel=word, ylabel="IWRES")
    _residuals(axes[3], quantified["pred"].to_numpy(float), quantified["cwres"].to_numpy(float))
    axes[3].set(xlabel="Typical prediction", ylabel="CWRES")
    _maybe_log(axes[3], quantified["pred"].to_numpy(float), y=False)
    return fig


def _clock(hours: pd.Series | Array) -> tuple[float, str]:
    """What hours are divided by for display, and its name: days, or hours where all is over within three days."""
    longest = float(np.nanmax(np.asarray(hours, dtype=float), initial=0.0))
    return (24.0, "Days") if longest > SHORT_H else (1.0, "Hours")


def _identity(ax: Axes, x: Array, y: Array) -> None:
    ax.scatter(x, y, s=8, color=style.colour(0), alpha=0.45, lw=0)
    both = np.concatenate([x, y])
    both = both[np.isfinite(both)]
    positive = both[both > 0]
    wide = len(positive) > 0.9 * len(both) and positive.max() / positive.min() > WIDE
    low, high = (positive.min(), positive.max()) if wide else (both.min(), both.max())
    ax.plot([low, high], [low, high], color=style.SOFT, lw=1.0, ls=style.DASHES[1])
    if wide:
        ax.set(xscale="log", yscale="log")
        base.plain_log_ticks(ax.xaxis)
        base.plain_log_ticks(ax.yaxis)


def _residuals(ax: Axes, x: Array, y: Array) -> None:
    ax.axhspan(-1.96, 1.96, color=style.PANEL, lw=0)
    ax.axhline(0.0, color=style.SOFT, lw=0.8)
    ax.scatter(x, y, s=8, color=style.colour(0), alpha=0.45, lw=0)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() > 20:
        edges = np.unique(np.quantile(x[known], np.linspace(0, 1, 7)))
        which = np.clip(np.digitize(x[known], edges) - 1, 0, max(len(edges) - 2, 0))
        middle = [(x[known][which == j].mean(), y[known][which == j].mean()) for j in np.unique(which)]
        ax.plot(*np.array(middle).T, color=style.WARM, lw=1.5)


def _maybe_log(ax: Axes, values: Array, *, y: bool) -> None:
    seen = values[np.isfinite(values) & (values > 0)]
    if len(seen) and seen.max() / seen.min() > WIDE:
        (ax.set_yscale if y else ax.set_xscale)("log")
        base.plain_log_ticks(ax.yaxis if y else ax.xaxis)


@base.figure
def fig_vpcs(checks: Mapping[str, Vpc], units: Mapping[str, str] | None = None, columns: int = 3) -> Figure:
    """Predictive checks: observed statistics (lines, dots) on the simulations' bands."""
    columns = min(columns, len(checks))
    rows = -(-len(checks) // columns)
    fig = base.new(PANEL_WIDTH * 1.25 * columns, (PANEL_HEIGHT + 0.35) * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in list(axes.flat)[len(checks) :]:
        ax.set_visible(False)
    for ax, (name, check) in zip(axes.flat, checks.items()):
        (_percentile_panel if check.kind == "continuous" else _share_panel)(ax, check)
        unit = (units or {}).get(name, "")
        ax.set_title(f"{name}{f', {unit}' if unit and check.kind == 'continuous' else ''}", fontsize=8.5)
        ax.set_xlabel(_clock(check.points["time_h"])[1])
    return fig


def _percentile_panel(ax: Axes, check: Vpc) -> None:
    table = check.table[check.table["statistic"].str.match(r"^p\d")]
    unit_h, _ = _clock(check.points["time_h"])
    days = check.points["time_h"] / unit_h
    shown = np.isfinite(check.points["value"])
    ax.scatter(days[shown], check.points.loc[shown, "value"], s=5, color=style.SOFT, alpha=0.3, lw=0)
    for place, (_, part) in enumerate(table.groupby("statistic", sort=False)):
        hue = style.colour(1 if place == 1 else 0)
        x = part["time_h"].to_numpy(float) / unit_h
        ax.fill_between(x, part["low"], part["high"], color=hue, alpha=0.22, lw=0)
        ax.plot(x, part["observed"], color=hue, lw=1.6, ls=style.DASHES[0 if place == 1 else 1], marker=".", ms=4)
    seen = np.concatenate([table["observed"], table["low"], table["high"], check.points.loc[shown, "value"]])
    _maybe_log(ax, seen, y=True)
    positive = seen[np.isfinite(seen) & (seen > 0)]
    if ax.get_yscale() == "log":
        ax.set_ylim(max(positive.min(), positive.max() * 1e-6) / 1.5, positive.max() * 1.5)


def _share_panel(ax: Axes, check: Vpc) -> None:
    unit_h, _ = _clock(check.points["time_h"])
    for place, (name, part) in enumerate(check.table.groupby("statistic", sort=False)):
        hue, x = style.colour(place), part["time_h"].to_numpy(float) / unit_h
        ax.fill_between(x, part["low"], part["high"], color=hue, alpha=0.2, lw=0)
        ax.plot(x, part["observed"], color=hue, lw=1.6, marker="." if check.kind == "ordinal" else None, label=name)
    ax.set_ylim(0, 1.02)
    base.percent_ticks(ax.yaxis)
    ax.legend(fontsize=7)


@base.figure
def fig_limits(checks: Mapping[str, Vpc], columns: int = 3) -> Figure:
    """Shares of values beyond a limit, observed and simulated, where there are any."""
    found = {n: c.table[c.table["statistic"].str.contains("limit")] for n, c in checks.items()}
    found = {n: t for n, t in found.items() if len(t)}
    if not found:
        fig = base.new(5, 1)
        base.note(fig, "No value lies beyond a limit.")
        return fig
    columns = min(columns, len(found))
    rows = -(-len(found) // columns)
    fig = base.new(PANEL_WIDTH * 1.25 * columns, PANEL_HEIGHT * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in list(axes.flat)[len(found) :]:
        ax.set_visible(False)
    for ax, (name, table) in zip(axes.flat, found.items()):
        unit_h, clock = _clock(checks[name].points["time_h"])
        for place, (word, part) in enumerate(table.groupby("statistic", sort=False)):
            x, hue = part["time_h"].to_numpy(float) / unit_h, style.colour(place)
            ax.fill_between(x, part["low"], part["high"], color=hue, alpha=0.22, lw=0)
            ax.plot(x, part["observed"], color=hue, marker=".", lw=1.4, label=word)
        ax.set(title=name, ylim=(0, 1.02), xlabel=clock)
        base.percent_ticks(ax.yaxis)
        ax.legend(fontsize=7)
    return fig


@base.figure
def fig_individuals(
    predictions: pd.DataFrame, observable: str, ids: Sequence[str], unit: str = "", columns: int = 5
) -> Figure:
    """Single subjects: observations (open: beyond a limit), own and typical predictions."""
    rows = -(-len(ids) // columns)
    fig = base.new(1.9 * columns, 1.5 * rows + 0.3)
    axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    part = predictions[predictions["observable"] == observable]
    unit_h, clock = _clock(part["time_h"])
    for ax in list(axes.flat)[len(ids) :]:
        ax.set_visible(False)
    for ax, one in zip(axes.flat, ids):
        mine = part[part["id"] == one].sort_values("time_h")
        days = mine["time_h"] / unit_h
        ax.plot(days, mine["pred"], color=style.SOFT, lw=1.0, ls=style.DASHES[1])
        ax.plot(days, mine["ipred"], color=style.colour(0), lw=1.4)
        known = (mine["censor"] == "none").to_numpy()
        ax.scatter(days[known], mine["value"][known], s=10, color=style.WARM, zorder=3, lw=0)
        ax.scatter(days[~known], mine["value"][~known], s=12, facecolor="none", edgecolor=style.WARM, lw=0.8, zorder=3)
        ax.set_title(str(one), fontsize=7.5)
    _maybe_log(axes[0, 0], part["value"].to_numpy(float), y=True)
    fig.supxlabel(clock, fontsize=8.5, color=style.SOFT)
    fig.supylabel(f"{observable}{f', {unit}' if unit else ''}", fontsize=8.5, color=style.SOFT)
    return fig


@base.figure
def fig_npde(errors: pd.DataFrame, columns: int = 3) -> Figure:
    """Prediction distribution errors of each observable against normal quantiles."""
    names = list(dict.fromkeys(errors["observable"]))
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    fig = base.new(PANEL_WIDTH * columns, PANEL_HEIGHT * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, names):
        x = np.sort(errors.loc[errors["observable"] == name, "npde"].to_numpy(float))
        q = stats.norm.ppf((np.arange(1, len(x) + 1) - 0.5) / len(x))
        rank = np.arange(1, len(x) + 1)
        band = stats.norm.ppf(stats.beta.ppf([[0.025], [0.975]], rank, len(x) + 1 - rank))
        ax.fill_between(q, band[0], band[1], color=style.PANEL, lw=0)
        ax.plot(q, q, color=style.SOFT, lw=1.0, ls=style.DASHES[1])
        ax.scatter(q, x, s=6, color=style.colour(0), lw=0)
        ax.set(title=name, xlabel="Normal quantile", ylabel="NPDE")
    return fig


@base.figure
def fig_effects(effects: pd.DataFrame, sd: Mapping[str, float], columns: int = 4) -> Figure:
    """Random effects of the subjects and the normal density that the population gives them."""
    names = list(sd)
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    fig = base.new(PANEL_WIDTH * 0.85 * columns, PANEL_HEIGHT * 0.8 * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, names):
        x = effects[name].to_numpy(float)
        ax.hist(x, bins=12, density=True, color=style.colour(0), alpha=0.45, lw=0)
        grid = np.linspace(-3.5 * sd[name], 3.5 * sd[name], 121) if sd[name] > 0 else np.linspace(-1, 1, 3)
        if sd[name] > 0:
            ax.plot(grid, stats.norm.pdf(grid, 0.0, sd[name]), color=style.WARM, lw=1.4)
        ax.set_title(name.removeprefix("eta "), fontsize=8)
        ax.set_yticks([])
    return fig


@base.figure
def fig_effect_correlation(effects: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Correlations between subjects' random effects (EBEs)."""
    matrix = np.corrcoef(effects[list(names)].to_numpy(float).T).reshape(len(names), len(names))
    size = max(2.6, 0.42 * len(names) + 1.3)
    fig = base.new(size + 0.6, size)
    ax = fig.subplots()
    image = ax.imshow(matrix, vmin=-1, vmax=1, cmap=style.diverging())
    short = [n.removeprefix("eta ") for n in names]
    ax.set_xticks(range(len(names)), short, rotation=90)
    ax.set_yticks(range(len(names)), short)
    for i in range(len(names)):
        for j in range(len(names)):
            rgb = image.cmap(image.norm(matrix[i, j]))
            ax.text(
                j, i, f"{matrix[i, j]:.1f}", ha="center", va="center", fontsize=6.5, color=style.readable_on(tuple(rgb))
            )
    base.bare(ax)
    return fig


@base.figure
def fig_convergence(history: Mapping[str, Array], columns: int = 5) -> Figure:
    """Courses of estimates over iterations."""
    names = [n for n, v in history.items() if np.ndim(v) == 1 and len(v) > 1]
    if not names:
        fig = base.new(5, 1)
        base.note(fig, "The estimator left no course.")
        return fig
    rows = -(-len(names) // columns)
    fig = base.new(1.9 * columns, 1.3 * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, names):
        ax.plot(history[name], color=style.colour(0), lw=1.0)
        ax.set_title(name, fontsize=7)
        ax.tick_params(labelsize=6.5)
    return fig
