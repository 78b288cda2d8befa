"""Strategies against each other: differences with intervals, toxicity against efficacy, value of results, tornado."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.report import style
from icans.report.figures import base
from icans.report.figures.therapy import HYPOTHETICAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels of the differences: measure and heading.
PANELS = (("icans_3", "ICANS grade 3+"), ("crs_3", "CRS grade 3+"), ("icu_days", "ICU days"), ("death", "Deaths"),
          ("response", "Complete responses"), ("infection_days", "Infection days"))  # fmt: skip
#: Marker of a strategy by when it acts.
KIND_MARKER = {"none": "X", "reactive": "o", "pre-emptive": "^", "prophylactic": "s"}


def label_of(title: str, hypothetical: bool, width: int = 34) -> str:
    """A title in lines of some length; a hypothetical strategy says so in a line of its own."""
    from textwrap import wrap

    lines = wrap(title.replace(" (hypothetical)", ""), width)
    return "\n".join([*lines, HYPOTHETICAL] if hypothetical else lines)


@base.figure
def fig_differences(differences: pd.DataFrame, labels: Mapping[str, str], hypothetical: Sequence[str]) -> Figure:
    """Paired differences from the reference per 1,000 patients; a row a strategy, a panel a measure.

    Parameters
    ----------
    differences
        strategy, measure, difference, low, high.
    labels
        Strategy -> label, from above; hypothetical ones say so.
    """
    shown = [(t, differences[differences["measure"] == m]) for m, t in PANELS if (differences["measure"] == m).any()]
    return _forests(shown, labels, hypothetical, shared=False)


@base.figure
def fig_groups(
    differences: pd.DataFrame, measure: str, labels: Mapping[str, str], hypothetical: Sequence[str]
) -> Figure:
    """As :func:`fig_differences` for one measure, a panel a product, disease and risk group, all on one scale.

    Parameters
    ----------
    differences
        product, disease, risk, n, strategy, measure, difference, low, high.
    """
    mine = differences[differences["measure"] == measure]
    groups = mine.groupby(["product", "disease", "risk", "n"], sort=False)
    shown = [(f"{p}, {d}, {r} ({n})", part) for (p, d, r, n), part in groups]
    return _forests(shown, labels, hypothetical, shared=True)


def _forests(
    panels: Sequence[tuple[str, pd.DataFrame]], labels: Mapping[str, str], hypothetical: Sequence[str], shared: bool
) -> Figure:
    """Forest plots by three in a row (four: two by two); ``shared``: one scale for all."""
    names = list(labels)
    columns = 2 if len(panels) in (2, 4) else 3
    rows = -(-len(panels) // columns)
    fig = base.new(8.4, rows * (0.42 * len(names) + 0.75))
    axes = fig.subplots(rows, columns, sharey=True, sharex=shared, squeeze=False)
    for place, ax in enumerate(axes.flat):
        if place >= len(panels):
            ax.set_visible(False)
            continue
        title, mine = panels[place]
        _forest(ax, mine.set_index("strategy"), names)
        ax.set_title(title, fontsize=8.5)
        ax.set_ylim(len(names) - 0.4, -0.6)
        if place % columns == 0:
            ax.set_yticks(range(len(names)), [labels[n] for n in names], fontsize=7)
            for tick, name in zip(ax.get_yticklabels(), names, strict=True):
                if name in hypothetical:
                    tick.set_color(style.WARM)
                    tick.set_fontweight("bold")
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelbottom=True)
        ax.spines["left"].set_visible(False)
        ax.locator_params(axis="x", nbins=4)
        base.grouped_ticks(ax.xaxis)
        ax.grid(axis="x")
    fig.supxlabel("Difference per 1,000 patients", fontsize=8.5, color=style.SOFT)
    return fig


def _forest(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    ax.axvline(0.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)), zorder=0)
    for y, name in enumerate(names):
        if name not in rows.index:
            continue
        value, low, high = (float(rows.loc[name, c]) for c in ("difference", "low", "high"))
        ax.plot([low, high], [y, y], color=style.colour(y), lw=1.8, solid_capstyle="butt")
        ax.plot(
            [value], [y], marker=style.MARKERS[y % len(style.MARKERS)], ms=5, color=style.colour(y), mec=style.PAPER
        )


@base.figure
def fig_pareto(
    front: pd.DataFrame, labels: Mapping[str, str], kinds: Mapping[str, str], hypothetical: Sequence[str]
) -> Figure:  # fmt: skip
    """Toxicity against efficacy; the strategies that no other beats are joined.

    Parameters
    ----------
    front
        strategy, toxicity, efficacy, front, probability, as shares.
    """
    fig = base.new(7.4, 4.0)
    ax = fig.subplots()
    best = front[front["front"]].sort_values("toxicity")
    ax.step(best["toxicity"], best["efficacy"], where="post", color=style.FAINT, lw=2, zorder=0)
    for k, row in enumerate(front.itertuples(index=False)):
        name = str(row.strategy)
        hollow = name in hypothetical
        ax.plot([row.toxicity], [row.efficacy], KIND_MARKER[kinds[name]], ms=7, color=style.colour(k),
                mfc=style.PAPER if hollow else style.colour(k), mew=1.6,
                label=f"{k + 1}  {labels[name]}".replace("\n", " "))  # fmt: skip
        ax.annotate(str(k + 1), (row.toxicity, row.efficacy), textcoords="offset points", xytext=(6, 4), fontsize=7)
    ax.set_xlabel("Patients with ICANS of grade 3 or more")
    ax.set_ylabel("Complete response")
    base.percent_ticks(ax.xaxis)
    base.percent_ticks(ax.yaxis)
    ax.grid()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5, handlelength=1.2)
    return fig


@base.figure
def fig_latency(sweep: pd.DataFrame) -> Figure:
    """What is avoided per 1,000 patients by how long results take; a panel a measure."""
    shown = [(m, t) for m, t in PANELS if (sweep["measure"] == m).any()]
    fig = base.new(7.4, 2.4)
    axes = fig.subplots(1, len(shown), squeeze=False)[0]
    for ax, (measure, title) in zip(axes, shown, strict=True):
        mine = sweep[sweep["measure"] == measure].sort_values("latency_h")
        ax.fill_between(mine["latency_h"], mine["low"], mine["high"], color=style.colour(0), alpha=0.18, lw=0)
        ax.plot(mine["latency_h"], mine["difference"], "o-", ms=4, color=style.colour(0))
        ax.axhline(0.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)))
        ax.set_title(title, fontsize=8.5)
        ax.set_xticks(sorted(mine["latency_h"].unique()))
        ax.tick_params(axis="x", labelsize=6.5)
        base.grouped_ticks(ax.yaxis)
        ax.grid(axis="y")
    axes[0].set_ylabel("Difference per 1,000")
    fig.supxlabel("Hours from draw to result", fontsize=8.5, color=style.SOFT)
    return fig


@base.figure
def fig_decision(curve: pd.DataFrame) -> Figure:
    """Net benefit by threshold, and what treating those above it avoids by how many are treated."""
    fig = base.new(7.4, 3.0)
    left, right = fig.subplots(1, 2)
    everyone = curve.drop_duplicates("threshold")
    left.plot(everyone["threshold"], everyone["treat_all"], color=style.SOFT, lw=1, ls=(0, (5, 2)), label="all")
    left.axhline(0.0, color=style.SOFT, lw=1, label="nobody")
    for k, (latency, mine) in enumerate(curve.groupby("latency_h", dropna=False)):
        label = "bedside alone" if np.isnan(float(str(latency))) else f"with results, {float(str(latency)):g} h old"
        kind = {"color": style.colour(k), "ls": style.DASHES[k % len(style.DASHES)], "label": label}
        left.plot(mine["threshold"], mine["net_benefit"], **kind)
        order = mine.sort_values("treated")
        right.plot(order["treated"], order["icans_3"], marker=style.MARKERS[k % len(style.MARKERS)], ms=3.5, **kind)
    left.set_ylim(bottom=min(-0.02, float(curve["net_benefit"].min())))
    left.set_xlabel("Threshold probability")
    left.set_ylabel("Net benefit of the forecast")
    right.set_xlabel("Patients treated")
    right.set_ylabel("ICANS grade 3+, change per 1,000")
    base.percent_ticks(left.xaxis)
    base.percent_ticks(right.xaxis)
    left.legend(fontsize=7)
    for ax in (left, right):
        ax.grid()
    return fig


@base.figure
def fig_tornado(moved: pd.DataFrame, measure: str = "icans_3", most: int = 14) -> Figure:
    """How a difference moves with each parameter down and up; those that move it most, from above.

    Those that do not move it are counted, not drawn.

    Parameters
    ----------
    moved
        Of one strategy: parameter, meaning, status, side, measure, difference, low, high.
    """
    mine = moved[moved["measure"] == measure]
    as_is = float(mine.loc[mine["side"] == "as is", "difference"].iloc[0])
    wide = mine[mine["side"] != "as is"].pivot(index="parameter", columns="side", values="difference")
    if wide.empty:
        fig = base.new(7.4, 0.8)
        base.note(fig, "The therapies bring no parameter of these kinds")
        return fig
    all_of_them = (wide - as_is).abs().max(axis=1).sort_values(ascending=False)
    reach = all_of_them[all_of_them > 0].head(most)
    if reach.empty:
        fig = base.new(7.4, 0.8)
        base.note(fig, f"None of {len(wide)} parameters moves the difference of {as_is:+.1f} per 1,000")
        return fig
    about = mine.drop_duplicates("parameter").set_index("parameter")
    names = [_short(str(about.loc[n, "meaning"]), str(about.loc[n, "status"])) for n in reach.index]
    fig = base.new(7.4, 0.155 * sum(1 + n.count("\n") for n in names) + 0.15 * len(names) + 0.8)
    ax = fig.subplots()
    for y, name in enumerate(reach.index):
        for k, side in enumerate(("down", "up")):
            value = float(wide.loc[name, side])
            ax.barh(y, value - as_is, left=as_is, height=0.62, color=style.colour(k), label=side if y == 0 else None)
    ax.axvline(as_is, color=style.INK, lw=0.9)
    ax.axvline(0.0, color=style.SOFT, lw=0.8, ls=(0, (3, 2)))
    ax.set_yticks(range(len(reach)), names)
    ax.use_sticky_edges = False
    ax.margins(x=0.06)
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.invert_yaxis()
    still = int((all_of_them == 0).sum())
    ax.set_xlabel("Difference per 1,000 patients" + (f"; {still} more parameters move nothing" if still else ""))
    ax.legend(title="parameter", fontsize=7, title_fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _short(meaning: str, status: str) -> str:
    """A meaning without what explains it, and its status, in lines."""
    from textwrap import fill

    return fill(f"{meaning.partition(' (')[0].partition(':')[0]} ({status})", 46)
