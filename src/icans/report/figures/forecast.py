"""Figures of one forecast: what moves it, and what a missing result would add."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.evaluate.explain.reasons import feature_words
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from icans.forecast.forecast import Forecast

#: Missing inputs drawn at most; the largest moves come first.
MOST = 8


@base.figure
def fig_reasons(forecast: Forecast) -> Figure:
    """Bars of the largest contributions, log odds against the average training patient; largest on top."""
    reasons = list(forecast.reasons)[::-1]
    fig = base.new(5.6, 0.9 + 0.36 * len(reasons))
    ax = fig.subplots()
    value = np.array([r.contribution for r in reasons])
    colours = [style.WARM if v > 0 else style.ACCENT for v in value]
    ax.barh(np.arange(len(reasons)), value, color=colours, height=0.62)
    ax.axvline(0, color=style.INK, lw=0.8)
    labels = [f"{_shortened(feature_words(r.feature))} ({_shown(r.value)})" for r in reasons]
    ax.set_yticks(np.arange(len(reasons)), labels, fontsize=7.5)
    ax.set_xlabel("Lowers the forecast   ←   log odds   →   raises it")
    reach = max(float(np.abs(value).max()) * 1.1, 0.1) if len(value) else 1.0
    ax.set_xlim(-reach, reach)
    base.bare(ax)
    return fig


@base.figure
def fig_worth(worth: pd.DataFrame) -> Figure:
    """For each missing input the risk with a low and with a high result, beside the forecast as it is.

    Parameters
    ----------
    worth
        The table of :func:`icans.forecast.worth.worth_of_missing`.
    """
    rows = worth.head(MOST).iloc[::-1]
    fig = base.new(5.6, 1.0 + 0.36 * len(rows))
    ax = fig.subplots()
    y = np.arange(len(rows))
    ax.hlines(y, rows["risk_low"], rows["risk_high"], color=style.SOFT, lw=2)
    ax.plot(rows["risk_low"], y, "o", color=style.ACCENT, ms=5, label="low result (10th percentile)")
    ax.plot(rows["risk_high"], y, "o", color=style.WARM, ms=5, label="high result (90th percentile)")
    ax.axvline(float(rows["risk"].iloc[0]), color=style.INK, lw=0.9, ls=(0, (3, 2)), label="forecast as it is")
    ax.set_yticks(y, [_shortened(feature_words(f"{name}.last").removeprefix("newest ")) for name in rows["input"]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(left=0)
    base.percent_ticks(ax.xaxis)
    ax.set_xlabel("Risk")
    base.bare(ax)
    fig.legend(loc="outside lower center", ncols=3, fontsize=6.8, frameon=False)
    return fig


def _shown(value: float | str | None) -> str:
    if value is None:
        return "missing"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _shortened(text: str, length: int = 44) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
