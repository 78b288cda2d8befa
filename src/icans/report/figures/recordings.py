"""Features of EEG and MRI by outcome, and what MRI found by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.evaluate.calibration import wilson
from icans.report import style
from icans.report.figures import base
from icans.report.recordings import SEED, Examinations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (style.GRADES[1], style.GRADES[3], style.GRADES[4])


@base.figure
def fig_features(found: Examinations, table: pd.DataFrame, features: Sequence[str]) -> Figure:
    """One panel a feature: every recording as a dot by outcome group, with median and quartiles.

    A finding that is there or not is drawn as its share.

    Parameters
    ----------
    table
        From :func:`icans.report.recordings.by_group`.
    """
    columns = min(3, len(features))
    lines = -(-len(features) // columns)
    fig = base.new(9.2, 0.3 + 2.3 * lines)
    axes = fig.subplots(lines, columns, squeeze=False)
    groups = [str(g) for g in found.groups.cat.categories]
    rng = stream(SEED, "recordings", "jitter")
    yes_or_no = {f: bool(found.values[f].dropna().isin([0.0, 1.0]).all()) for f in features}
    for ax, feature in zip(axes.flat, features, strict=False):
        for k, group in enumerate(groups):
            values = found.values.loc[found.groups.eq(group).to_numpy(), feature].dropna()
            if yes_or_no[feature] and len(values):
                _share(ax, k, values)
                continue
            spread = rng.uniform(-0.22, 0.22, len(values))
            ax.scatter(k + spread, values, s=9, color=COLOURS[k % 3], alpha=0.75, linewidths=0, zorder=1)
            one = table[(table["feature"] == feature) & (table["group"] == group)]
            if len(one):
                row = one.iloc[0]
                ax.plot([k, k], [row["low"], row["high"]], color=style.INK, lw=1.2, zorder=2)
                ax.plot([k - 0.26, k + 0.26], [row["median"]] * 2, color=style.INK, lw=2.2, zorder=3)
        ax.set_xticks(range(len(groups)), [g.replace(" ", "\n", 1) for g in groups])
        ax.set_title(_short(found.labels[feature]))
        ax.set_xlim(-0.6, len(groups) - 0.4)
        if yes_or_no[feature]:
            ax.set_ylim(-0.03, 1.03)
            base.percent_ticks(ax.yaxis)
    for ax in list(axes.flat)[len(features) :]:
        ax.set_visible(False)
    return fig


@base.figure
def fig_regions(table: pd.DataFrame, labels: Mapping[str, str], groups: Sequence[str]) -> Figure:
    """Bright tissue by region and outcome group: medians with quartiles.

    Parameters
    ----------
    table
        From :func:`icans.report.recordings.by_group`, for the regional features.
    labels
        Feature to the name of its region.
    """
    features = list(labels)
    fig = base.new(8.2, 0.8 + 0.34 * len(features))
    ax = fig.subplots()
    step = 0.6 / max(len(groups), 1)
    for k, group in enumerate(groups):
        rows = table[table["group"] == group].set_index("feature").reindex(features)
        at = np.arange(len(features)) + (k - (len(groups) - 1) / 2) * step
        ax.hlines(at, rows["low"], rows["high"], color=COLOURS[k % 3], lw=2)
        ax.plot(
            rows["median"], at, style.MARKERS[k % 3], color=COLOURS[k % 3], ms=5, mec=style.INK, mew=0.4, label=group
        )
    ax.set_yticks(range(len(features)), [labels[f] for f in features])
    ax.invert_yaxis()
    ax.set_xlabel("bright tissue on FLAIR, mL (median and quartiles)")
    if len(groups) > 1:
        ax.legend(loc="lower right")
    return fig


def _share(ax: Axes, at: int, values: pd.Series) -> None:
    """Share of recordings that show a finding, with Wilson's interval."""
    low, high = wilson(float(values.mean()), len(values))
    ax.plot([at, at], [low, high], color=style.INK, lw=1.2)
    ax.plot(at, values.mean(), "o", ms=7, color=COLOURS[at % 3], mec=style.INK, mew=0.6)


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
